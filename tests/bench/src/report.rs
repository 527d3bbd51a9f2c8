//! What was measured: printed as it comes, kept for the report file.

use serde_json::{Value, json};

use crate::goals;
use crate::measure::Measured;
use crate::options::Options;
use crate::stats::{Figures, rounded};

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

    /// All but the title.
    fn text(self) -> String {
        let plural = if self.clients == 1 { "" } else { "s" };
        let mode = if self.synchronous_commit { "on" } else { "off" };
        format!("{} client{plural}, synchronous_commit {mode}", self.clients)
    }
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
pub enum Requirement {
    AtLeast(f64),
    AtMost(f64),
    /// Less than that: an absolute figure, in its own unit.
    Below(f64),
    /// In processor time of the server, the other way round; in calls per second where that is not to be seen.
    ProcessorAtLeast(f64),
    /// The same, of what costs more.
    ProcessorAtMost(f64),
    /// What would be good, and is no miss if it is not so.
    Goal(f64),
    /// Within that much of 1: two measurements of one thing.
    Same(f64),
}

impl Requirement {
    fn met(self, median: f64) -> bool {
        self.reach(median) >= 1.0
    }

    /// How much of what is required is reached; 1 and more is enough.
    pub fn reach(self, figure: f64) -> f64 {
        match self {
            Requirement::AtLeast(least) | Requirement::ProcessorAtLeast(least) | Requirement::Goal(least) => {
                figure / least
            }
            // Nothing at all is reached by nothing at all.
            Requirement::AtMost(most) | Requirement::ProcessorAtMost(most) if figure <= most => {
                if figure > 0.0 { most / figure } else { f64::INFINITY }
            }
            Requirement::AtMost(most) | Requirement::ProcessorAtMost(most) => most / figure,
            Requirement::Below(limit) if figure < limit => limit / figure.max(f64::MIN_POSITIVE),
            // The limit itself is too much.
            Requirement::Below(limit) => (limit / figure).min(1.0 - f64::EPSILON),
            Requirement::Same(away) if (figure - 1.0).abs() <= away => 1.0,
            Requirement::Same(_) => 0.0,
        }
    }

    fn limit(self) -> f64 {
        match self {
            Requirement::AtLeast(limit)
            | Requirement::AtMost(limit)
            | Requirement::Below(limit)
            | Requirement::ProcessorAtLeast(limit)
            | Requirement::ProcessorAtMost(limit)
            | Requirement::Goal(limit)
            | Requirement::Same(limit) => limit,
        }
    }

    /// Whether it is the processor's time that is judged.
    fn of_processor(self) -> bool {
        matches!(self, Requirement::ProcessorAtLeast(_) | Requirement::ProcessorAtMost(_))
    }

    fn text(self) -> String {
        match self {
            Requirement::AtLeast(least) => format!(">= {least:.2}"),
            Requirement::AtMost(most) => format!("<= {most:.2}"),
            Requirement::Below(limit) => format!("< {limit}"),
            Requirement::ProcessorAtLeast(least) => format!(">= {least:.2} in processor time"),
            Requirement::ProcessorAtMost(most) => format!("<= {most:.2} in processor time"),
            Requirement::Goal(goal) => format!("goal {goal:.2}"),
            Requirement::Same(away) => format!("1 +- {away:.2}"),
        }
    }

    fn json(self) -> Value {
        json!({"text": self.text(), "limit": self.limit()})
    }
}

/// Whether a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    NotReached,
    /// The machine was too busy to tell.
    Unsure,
    Missed,
}

impl Verdict {
    /// As printed in the page.
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::NotReached => "not reached",
            Verdict::Unsure => "unsure",
            Verdict::Missed => "missed",
        }
    }

    fn told(self) -> &'static str {
        match self {
            Verdict::Met => "ok:",
            Verdict::NotReached => "not reached:",
            Verdict::Unsure => "UNSURE, the machine is too busy to tell:",
            Verdict::Missed => "MISSED:",
        }
    }
}

/// A figure of which something is required.
pub struct Judged {
    pub section: &'static str,
    pub name: String,
    /// What it was measured in.
    pub setting: String,
    pub clients: Option<usize>,
    pub requirement: Requirement,
    /// What counts, and how it spreads.
    pub figures: Figures,
    pub unit: String,
    /// In processor time, beside it.
    pub processor: Option<f64>,
    pub verdict: Verdict,
}

impl Judged {
    /// How much of what is required is reached; nothing, where nothing is known.
    pub fn reach(&self) -> f64 {
        let reach = self.requirement.reach(self.figures.median());
        if reach.is_nan() { 0.0 } else { reach }
    }

    /// For the report file.
    pub fn json(&self) -> Value {
        json!({
            "section": self.section,
            "name": self.name,
            "setting": self.setting,
            "clients": self.clients,
            "requirement": self.requirement.json(),
            "of_processor": self.requirement.of_processor(),
            "figures": self.figures.json(),
            "unit": self.unit,
            "processor": self.processor.map(rounded),
            "verdict": self.verdict.text(),
        })
    }
}

/// The widest middle half of a control that is trusted.
const MOST_NOISE: f64 = 0.15;

/// What is printed at the end, and written to the file.
#[derive(Default)]
pub struct Report {
    section: &'static str,
    heading: String,
    lines: Vec<String>,
    sections: Vec<Value>,
    judged: Vec<Judged>,
    missed: usize,
    unsure: usize,
}

impl Report {
    /// What comes belongs to that section.
    pub fn section(&mut self, name: &'static str) {
        self.section = name;
    }

    /// Prints a line now and keeps it for the end.
    fn line(&mut self, text: String) {
        println!("{text}");
        self.lines.push(text);
    }

    /// A heading: what the figures that follow have in common.
    pub fn heading(&mut self, text: &str) {
        text.clone_into(&mut self.heading);
        self.line(format!("\n{text}"));
    }

    /// A plain figure.
    pub fn figure(&mut self, name: &str, figures: &Figures, unit: &str) {
        let (min, max) = figures.range();
        self.line(format!("  {name:<26} {:>9.1} {unit} ({min:.1}..{max:.1})", figures.median()));
        self.keep_figure(name, figures, unit, Value::Null, Value::Null);
    }

    /// A figure of which something is required; its unit is empty where it is a ratio.
    pub fn judged(&mut self, name: &str, figures: &Figures, unit: &str, requirement: Requirement) {
        let verdict = self.judge(requirement, figures.median(), false);
        let (min, max) = figures.range();
        self.line(format!(
            "  {name:<26} {:>9.2} {unit} ({min:.2}..{max:.2})   {} {}",
            figures.median(),
            verdict.told(),
            requirement.text()
        ));
        self.keep_figure(name, figures, unit, requirement.json(), verdict.text().into());
        if matches!(requirement, Requirement::Same(_)) {
            return;
        }
        self.judged.push(Judged {
            section: self.section,
            name: name.to_owned(),
            setting: self.heading.clone(),
            clients: None,
            requirement,
            figures: figures.clone(),
            unit: unit.to_owned(),
            processor: None,
            verdict,
        });
    }

    fn keep_figure(&mut self, name: &str, figures: &Figures, unit: &str, requirement: Value, verdict: Value) {
        self.sections.push(json!({
            "section": self.section,
            "kind": "figure",
            "under": self.heading,
            "name": name,
            "unit": unit,
            "figures": figures.json(),
            "requirement": requirement,
            "verdict": verdict,
        }));
    }

    /// A share that must not be lower.
    pub fn share(&mut self, name: &str, share: f64, least: f64) {
        self.judged(name, &Figures::new(vec![share]), "", Requirement::AtLeast(least));
    }

    /// One comparison: the contenders' rates, then the ratios.
    pub fn comparison(&mut self, setting: Setting, contenders: &[Measured], wanted: &[Wanted]) {
        self.heading(&format!("{}: {}", setting.title, setting.text()));
        let measured: Vec<Rates> =
            contenders.iter().map(|contender| self.rates(setting.unit, contender)).collect();
        // Where two measurements of one thing differ much, a miss says nothing.
        let noisy = wanted.iter().any(|ratio| {
            let (q1, q3) = ratio_of_calls(&measured, ratio).quartiles();
            matches!(ratio.requirement, Some(Requirement::Same(_))) && q3 - q1 > MOST_NOISE
        });
        let ratios: Vec<Value> =
            wanted.iter().map(|ratio| self.ratio(setting, &measured, ratio, noisy)).collect();
        self.sections.push(json!({
            "section": self.section,
            "kind": "comparison",
            "name": setting.title,
            "unit": setting.unit,
            "clients": setting.clients,
            "synchronous_commit": setting.synchronous_commit,
            "contenders": measured.iter().map(Rates::json).collect::<Value>(),
            "noisy": noisy,
            "ratios": ratios,
        }));
    }

    /// Prints what one contender did.
    fn rates(&mut self, unit: &str, (name, samples): &Measured) -> Rates {
        let per_second: Vec<f64> = samples.iter().map(|sample| sample.calls_per_second).collect();
        let cpu: Option<Vec<f64>> = samples.iter().map(|sample| sample.cpu_micros_per_call).collect();
        let figures = Figures::new(per_second.clone());
        let (min, max) = figures.range();
        let server = cpu
            .as_ref()
            .map_or_else(String::new, |cpu| format!("{:>7.0} us", Figures::new(cpu.clone()).median()));
        self.line(format!(
            "  {name:<26} {:>9.0} {unit}/s ({min:.0}..{max:.0}) server processor {server}",
            figures.median()
        ));
        Rates { name, per_second, cpu }
    }

    /// Prints and judges one ratio.
    fn ratio(&mut self, setting: Setting, measured: &[Rates], ratio: &Wanted, noisy: bool) -> Value {
        let calls = ratio_of_calls(measured, ratio);
        // What the server spends is steadier than the clock, but leaves out the client and the disk.
        let cost = match (&measured[ratio.of].cpu, &measured[ratio.to].cpu) {
            (Some(of), Some(to)) => Some(Figures::ratio(to, of)),
            _ => None,
        };
        let figures = match (ratio.requirement, &cost) {
            (Some(wish), Some(cost)) if wish.of_processor() => cost,
            _ => &calls,
        };
        let verdict = ratio.requirement.map(|wish| self.judge(wish, figures.median(), noisy));
        let told = verdict
            .zip(ratio.requirement)
            .map_or_else(String::new, |(verdict, wish)| format!("{} {}", verdict.told(), wish.text()));
        let ((q1, q3), (min, max)) = (calls.quartiles(), calls.range());
        let processor =
            cost.as_ref().map_or_else(String::new, |cost| format!("; processor {:.2}", cost.median()));
        self.line(format!(
            "    {:<24} {:>9.2}   middle half {q1:.2}..{q3:.2}, all {min:.2}..{max:.2}{processor}   {told}",
            ratio.name,
            calls.median(),
        ));
        if let (Some(verdict), Some(requirement)) = (verdict, ratio.requirement)
            && !matches!(requirement, Requirement::Same(_))
        {
            self.judged.push(Judged {
                section: self.section,
                name: ratio.name.to_owned(),
                setting: format!("{}: {}", setting.title, setting.text()),
                clients: Some(setting.clients),
                requirement,
                figures: figures.clone(),
                unit: String::new(),
                processor: cost.as_ref().map(Figures::median),
                verdict,
            });
        }
        json!({
            "name": ratio.name,
            "ratio": calls.json(),
            "ratio_of_processor_time": cost.as_ref().map(Figures::json),
            "requirement": ratio.requirement.map(Requirement::json),
            "verdict": verdict.map(Verdict::text),
        })
    }

    /// What a call of each contender costs beside time.
    pub fn resources(&mut self, title: &str, contenders: &[(&'static str, crate::resources::Resources)]) {
        self.heading(&format!("{title}: a call beside its time, 1 client"));
        for (name, resources) in contenders {
            self.line(format!("  {name:<26} {}", resources.text()));
        }
        let each: Value = contenders.iter().map(|(name, resources)| resources.json(name)).collect();
        self.sections
            .push(json!({"section": self.section, "kind": "resources", "name": title, "contenders": each}));
    }

    fn judge(&mut self, requirement: Requirement, figure: f64, noisy: bool) -> Verdict {
        match (requirement.met(figure), noisy) {
            (true, _) => Verdict::Met,
            (false, _) if matches!(requirement, Requirement::Goal(_)) => Verdict::NotReached,
            (false, true) => {
                self.unsure += 1;
                Verdict::Unsure
            }
            (false, false) => {
                self.missed += 1;
                Verdict::Missed
            }
        }
    }

    /// How many requirements were missed, and of how many the machine was too busy to tell.
    pub fn verdicts(&self) -> (usize, usize) {
        (self.missed, self.unsure)
    }

    /// The report file.
    pub fn json(&self, options: &Options, machine: &Value) -> Value {
        json!({
            "machine": machine,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "trial": options.is_trial(),
            "missed": self.missed,
            "unsure": self.unsure,
            "requirements": goals::rows(&self.judged),
            "measured": self.sections,
            "table": self.lines,
        })
    }
}

/// What one contender did, round by round.
struct Rates {
    name: &'static str,
    per_second: Vec<f64>,
    cpu: Option<Vec<f64>>,
}

impl Rates {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "calls_per_second": Figures::new(self.per_second.clone()).json(),
            "server_cpu_us": self.cpu.clone().map(|cpu| Figures::new(cpu).json()),
        })
    }
}

fn ratio_of_calls(measured: &[Rates], ratio: &Wanted) -> Figures {
    Figures::ratio(&measured[ratio.of].per_second, &measured[ratio.to].per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_from_its_own_side() {
        assert!(Requirement::AtLeast(0.7).met(0.7));
        assert!(!Requirement::AtLeast(0.7).met(0.69));
        assert!(Requirement::AtMost(1.1).met(1.1));
        assert!(!Requirement::AtMost(1.1).met(1.11));
        assert!(Requirement::AtMost(0.0).met(0.0));
        assert!(!Requirement::AtMost(0.0).met(0.1));
        assert!(Requirement::Below(5.0).met(4.99));
        assert!(Requirement::Below(5.0).met(-1.0));
        assert!(!Requirement::Below(5.0).met(5.0));
        assert!(!Requirement::Below(5.0).met(f64::NAN));
        assert!(Requirement::Same(0.05).met(0.96));
        assert!(!Requirement::Same(0.05).met(1.06));
        assert!(!Requirement::AtLeast(0.7).met(f64::NAN));
        assert!(!Requirement::AtMost(0.7).met(f64::NAN));
    }
}
