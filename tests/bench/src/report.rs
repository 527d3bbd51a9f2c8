//! The table, and the report file.

use serde_json::{Value, json};

use crate::measure::Sample;
use crate::stats::Figures;

/// A ratio that is asked for.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub name: &'static str,
    /// Places among the contenders.
    pub of: usize,
    pub to: usize,
    pub requirement: Option<Requirement>,
}

/// What a comparison was measured in.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub title: &'a str,
    /// What is counted.
    pub unit: &'static str,
    pub clients: usize,
    pub synchronous_commit: bool,
}

impl<'a> Setting<'a> {
    /// Calls are counted.
    pub const fn calls(title: &'a str, clients: usize, synchronous_commit: bool) -> Setting<'a> {
        Setting { title, unit: "calls", clients, synchronous_commit }
    }
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
pub enum Requirement {
    AtLeast(f64),
    /// In processor time of the server, the other way round; in calls per second where that is not to be seen.
    ProcessorAtLeast(f64),
    /// The same, of what costs more.
    ProcessorAtMost(f64),
    /// What would be good, and is no miss if it is not so.
    Goal(f64),
    /// An absolute figure, in its own unit.
    Below(f64),
    /// Within that much of 1: two measurements of one thing.
    Same(f64),
}

impl Requirement {
    fn met(self, median: f64) -> bool {
        match self {
            Requirement::AtLeast(least) | Requirement::ProcessorAtLeast(least) | Requirement::Goal(least) => {
                median >= least
            }
            Requirement::ProcessorAtMost(most) => median <= most,
            Requirement::Below(most) => median < most,
            Requirement::Same(away) => (median - 1.0).abs() <= away,
        }
    }

    fn text(self) -> String {
        match self {
            Requirement::AtLeast(least) => format!(">= {least:.2}"),
            Requirement::ProcessorAtLeast(least) => format!(">= {least:.2} in processor time"),
            Requirement::ProcessorAtMost(most) => format!("<= {most:.2} in processor time"),
            Requirement::Goal(goal) => format!("goal {goal:.2}"),
            Requirement::Below(most) => format!("< {most:.0}"),
            Requirement::Same(away) => format!("1 +- {away:.2}"),
        }
    }
}

/// The widest middle half of a control that is trusted.
const MOST_NOISE: f64 = 0.15;

/// What is printed at the end, and written to the file.
#[derive(Default)]
pub struct Report {
    lines: Vec<String>,
    sections: Vec<Value>,
    missed: usize,
    unsure: usize,
}

impl Report {
    /// Prints a line now and keeps it for the end.
    fn line(&mut self, text: String) {
        println!("{text}");
        self.lines.push(text);
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        self.line(format!("\n{text}"));
    }

    /// A plain figure.
    pub fn figure(&mut self, name: &str, figures: &Figures, unit: &str) {
        let (min, max) = figures.range();
        self.line(format!("  {name:<26} {:>9.1} {unit} ({min:.1}..{max:.1})", figures.median()));
        self.sections.push(json!({"name": name, "unit": unit, "figures": figures.json()}));
    }

    /// A figure of which something is asked.
    pub fn judged(&mut self, name: &str, figures: &Figures, unit: &str, requirement: Requirement) {
        let (figure, (min, max)) = (figures.median(), figures.range());
        let verdict = self.verdict(requirement, figure, false);
        self.line(format!("  {name:<26} {figure:>9.1} {unit} ({min:.1}..{max:.1})   {verdict}"));
        self.sections.push(json!({
            "name": name,
            "unit": unit,
            "figures": figures.json(),
            "requirement": requirement.text(),
            "met": requirement.met(figure),
        }));
    }

    /// A share that must not be lower.
    pub fn share(&mut self, name: &str, share: f64, least: f64) {
        let verdict = self.verdict(Requirement::AtLeast(least), share, false);
        self.line(format!("  {name:<26} {share:>9.3}   {verdict}"));
        self.sections.push(json!({"name": name, "share": share, "at_least": least, "met": share >= least}));
    }

    /// One comparison: the contenders' rates, then the ratios.
    pub fn comparison(
        &mut self,
        setting: Setting,
        contenders: &[(&'static str, Vec<Sample>)],
        wanted: &[Wanted],
    ) {
        let Setting { title, unit, clients, synchronous_commit } = setting;
        let mode = if synchronous_commit { ", synchronous_commit on" } else { ", synchronous_commit off" };
        self.heading(&format!("{title}: {clients} client{}{mode}", if clients == 1 { "" } else { "s" }));
        let mut rates = Vec::new();
        let mut costs = Vec::new();
        let mut json_contenders = Vec::new();
        for (name, samples) in contenders {
            let per_second: Vec<f64> = samples.iter().map(|sample| sample.calls_per_second).collect();
            let cpu: Option<Vec<f64>> = samples.iter().map(|sample| sample.cpu_micros_per_call).collect();
            costs.push(cpu.clone());
            let cpu = cpu.map(Figures::new);
            let figures = Figures::new(per_second.clone());
            let (min, max) = figures.range();
            let server = cpu.as_ref().map_or_else(String::new, |cpu| format!("{:>7.0} us", cpu.median()));
            self.line(format!(
                "  {name:<26} {:>9.0} {unit}/s ({min:.0}..{max:.0}) server processor {server}",
                figures.median()
            ));
            let cpu = cpu.as_ref().map(Figures::json);
            json_contenders
                .push(json!({"name": name, "calls_per_second": figures.json(), "server_cpu_us": cpu}));
            rates.push(per_second);
        }
        // Where two measurements of one thing differ much, a miss says nothing.
        let noisy = wanted.iter().any(|ratio| {
            let (q1, q3) = Figures::ratio(&rates[ratio.of], &rates[ratio.to]).quartiles();
            matches!(ratio.requirement, Some(Requirement::Same(_))) && q3 - q1 > MOST_NOISE
        });
        let mut json_ratios = Vec::new();
        for ratio in wanted {
            let figures = Figures::ratio(&rates[ratio.of], &rates[ratio.to]);
            // What the server spends is steadier than the clock, but leaves out the client and the disk.
            let cost = match (&costs[ratio.of], &costs[ratio.to]) {
                (Some(of), Some(to)) => Some(Figures::ratio(to, of)),
                _ => None,
            };
            let ((q1, q3), (min, max)) = (figures.quartiles(), figures.range());
            let judged = match (ratio.requirement, &cost) {
                (Some(Requirement::ProcessorAtLeast(_) | Requirement::ProcessorAtMost(_)), Some(cost)) => {
                    cost.median()
                }
                _ => figures.median(),
            };
            let verdict =
                ratio.requirement.map_or_else(String::new, |wish| self.verdict(wish, judged, noisy));
            let processor =
                cost.as_ref().map_or_else(String::new, |cost| format!("; processor {:.2}", cost.median()));
            self.line(format!(
                "    {:<24} {:>9.2}   middle half {q1:.2}..{q3:.2}, all {min:.2}..{max:.2}{processor}   {verdict}",
                ratio.name,
                figures.median(),
            ));
            json_ratios.push(json!({
                "name": ratio.name,
                "ratio": figures.json(),
                "ratio_of_processor_time": cost.as_ref().map(Figures::json),
                "requirement": ratio.requirement.map(Requirement::text),
                "met": ratio.requirement.map(|wish| wish.met(judged)),
            }));
        }
        self.sections.push(json!({
            "name": title,
            "unit": unit,
            "clients": clients,
            "synchronous_commit": synchronous_commit,
            "contenders": json_contenders,
            "noisy": noisy,
            "ratios": json_ratios,
        }));
    }

    fn verdict(&mut self, requirement: Requirement, figure: f64, noisy: bool) -> String {
        let verdict = match (requirement.met(figure), noisy) {
            (true, _) => "ok:",
            (false, _) if matches!(requirement, Requirement::Goal(_)) => "not reached:",
            (false, true) => {
                self.unsure += 1;
                "UNSURE, the machine is too busy to tell:"
            }
            (false, false) => {
                self.missed += 1;
                "MISSED:"
            }
        };
        format!("{verdict} {}", requirement.text())
    }

    /// How many requirements were missed, and of how many the machine was too busy to tell.
    pub fn verdicts(&self) -> (usize, usize) {
        (self.missed, self.unsure)
    }

    /// The report file.
    pub fn json(&self, rounds: usize, seconds: f64, server: &str) -> Value {
        json!({
            "server": server,
            "rounds": rounds,
            "seconds": seconds,
            "missed": self.missed,
            "unsure": self.unsure,
            "measured": self.sections,
            "table": self.lines,
        })
    }
}
