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

/// What a ratio has to be.
#[derive(Clone, Copy)]
pub enum Requirement {
    AtLeast(f64),
    /// Within that much of 1: two measurements of one thing.
    Same(f64),
}

impl Requirement {
    fn met(self, median: f64) -> bool {
        match self {
            Requirement::AtLeast(least) => median >= least,
            Requirement::Same(away) => (median - 1.0).abs() <= away,
        }
    }

    fn text(self) -> String {
        match self {
            Requirement::AtLeast(least) => format!(">= {least:.2}"),
            Requirement::Same(away) => format!("1 +- {away:.2}"),
        }
    }
}

/// What is printed at the end, and written to the file.
#[derive(Default)]
pub struct Report {
    lines: Vec<String>,
    sections: Vec<Value>,
    missed: usize,
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

    /// A share that must not be lower.
    pub fn share(&mut self, name: &str, share: f64, least: f64) {
        let verdict = self.verdict(Requirement::AtLeast(least), share);
        self.line(format!("  {name:<26} {share:>9.3}   {verdict}"));
        self.sections.push(json!({"name": name, "share": share, "at_least": least, "met": share >= least}));
    }

    /// One comparison: the contenders' rates, then the ratios.
    pub fn comparison(
        &mut self,
        title: &str,
        clients: usize,
        synchronous_commit: Option<bool>,
        contenders: &[(&'static str, Vec<Sample>)],
        wanted: &[Wanted],
    ) {
        let mode = match synchronous_commit {
            Some(true) => ", synchronous_commit on",
            Some(false) => ", synchronous_commit off",
            None => "",
        };
        self.heading(&format!("{title}: {clients} client{}{mode}", if clients == 1 { "" } else { "s" }));
        let mut rates = Vec::new();
        let mut json_contenders = Vec::new();
        for (name, samples) in contenders {
            let per_second: Vec<f64> = samples.iter().map(|sample| sample.calls_per_second).collect();
            let cpu: Option<Vec<f64>> = samples.iter().map(|sample| sample.cpu_micros_per_call).collect();
            let cpu = cpu.map(Figures::new);
            let figures = Figures::new(per_second.clone());
            let (min, max) = figures.range();
            let server = cpu.as_ref().map_or_else(String::new, |cpu| format!("{:>7.0} us", cpu.median()));
            self.line(format!(
                "  {name:<26} {:>9.0} calls/s ({min:.0}..{max:.0}) server processor {server}",
                figures.median()
            ));
            let cpu = cpu.as_ref().map(Figures::json);
            json_contenders
                .push(json!({"name": name, "calls_per_second": figures.json(), "server_cpu_us": cpu}));
            rates.push(per_second);
        }
        let mut json_ratios = Vec::new();
        for ratio in wanted {
            let figures = Figures::ratio(&rates[ratio.of], &rates[ratio.to]);
            let ((q1, q3), (min, max)) = (figures.quartiles(), figures.range());
            let median = figures.median();
            let verdict = ratio.requirement.map_or_else(String::new, |wish| self.verdict(wish, median));
            self.line(format!(
                "    {:<24} {median:>9.2}   middle half {q1:.2}..{q3:.2}, all {min:.2}..{max:.2}   {verdict}",
                ratio.name
            ));
            json_ratios.push(json!({
                "name": ratio.name,
                "ratio": figures.json(),
                "requirement": ratio.requirement.map(Requirement::text),
                "met": ratio.requirement.map(|wish| wish.met(median)),
            }));
        }
        self.sections.push(json!({
            "name": title,
            "clients": clients,
            "synchronous_commit": synchronous_commit,
            "contenders": json_contenders,
            "ratios": json_ratios,
        }));
    }

    fn verdict(&mut self, requirement: Requirement, median: f64) -> String {
        let met = requirement.met(median);
        self.missed += usize::from(!met);
        format!("{} {}", if met { "ok: " } else { "MISSED: " }, requirement.text())
    }

    /// How many requirements were missed.
    pub fn missed(&self) -> usize {
        self.missed
    }

    /// The report file.
    pub fn json(&self, rounds: usize, seconds: f64, server: &str) -> Value {
        json!({
            "server": server,
            "rounds": rounds,
            "seconds": seconds,
            "missed": self.missed,
            "measured": self.sections,
            "table": self.lines,
        })
    }
}
