//! The generated parts of docs/performance.md: a pure function of the report file.

use std::fmt::Write as _;

use serde_json::Value;

use crate::Failure;
use crate::results::{beside as beside_limit, list, measured, number, shown, shown_in, text, thousands};

/// A generated part stands between these two lines; the first one names it.
const BEGIN: &str = "<!-- made of performance.json: ";
const END: &str = "<!-- end of what is made -->";

/// The page with its generated parts made anew.
pub fn page(page: &str, results: &Value) -> Result<String, Failure> {
    let mut made = String::new();
    let mut rest = page;
    while let Some(start) = rest.find(BEGIN) {
        let (before, part) = rest.split_at(start);
        let (first, body) = part.split_once('\n').ok_or("a marker ends its line")?;
        let name = first.strip_prefix(BEGIN).and_then(|name| name.strip_suffix(" -->"));
        let (_, after) = body.split_once(END).ok_or("a generated part has an end")?;
        let text = match name.ok_or("a marker names its part")? {
            "run" => run(results),
            "requirements" => requirements(results),
            "figures" => figures(results),
            _ => return Err("a marker names a part that there is not".into()),
        };
        made.push_str(&format!("{before}{first}\n\n{}\n\n{END}", text.trim_end()));
        rest = after;
    }
    made.push_str(rest);
    Ok(made)
}

/// What it was measured on, and for how long.
fn run(results: &Value) -> String {
    let machine = &results["machine"];
    if machine.is_null() {
        return "Nothing has been measured yet.".to_owned();
    }
    let settings: Vec<String> = machine["settings"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} = {}", value.as_str().unwrap_or_default()))
        .collect();
    let server: String = text(machine, "server").split(" on ").take(1).collect();
    let trial = if results["trial"] == true {
        "**A trial run, which measured less than what is required is about: it does not count.** "
    } else {
        ""
    };
    format!(
        "{trial}Measured with version {} on {server}, {} cores ({}), {} GB of memory; {} rounds of {} s for each contender in each \
         setting. Settings of the server: `{}`.",
        text(machine, "extension"),
        number(machine, "cores").unwrap_or_default(),
        text(machine, "processor"),
        shown(number(machine, "memory_kb").unwrap_or_default() / 1_048_576.0),
        number(results, "rounds").unwrap_or_default(),
        number(results, "seconds").unwrap_or_default(),
        settings.join("`, `"),
    )
}

/// One row for each requirement.
fn requirements(results: &Value) -> String {
    let mut table = table(&["measure", "required", "measured", "middle half", "processor", "verdict"]);
    for row in list(results, "requirements") {
        let worst = &row["worst"];
        let (figure, half, processor) = if worst.is_null() {
            (String::new(), String::new(), String::new())
        } else {
            (worst_figure(row), middle_half(&worst["figures"]), shown_or_not(number(worst, "processor")))
        };
        let verdict = match text(row, "verdict") {
            "met" => "met".to_owned(),
            other => format!("**{other}**"),
        };
        cells(&mut table, &[text(row, "measure"), text(row, "least"), &figure, &half, &processor, &verdict]);
    }
    table
}

/// The figure that counts, and in which of the settings it was found.
fn worst_figure(row: &Value) -> String {
    let worst = &row["worst"];
    let median = number(&worst["figures"], "median").unwrap_or(f64::NAN);
    let figure = match (text(worst, "unit"), number(&worst["requirement"], "limit")) {
        ("", Some(limit)) => beside_limit(median, limit),
        (unit, _) => shown_in(median, unit),
    };
    let of_processor = if worst["of_processor"] == true { " in processor time" } else { "" };
    match number(row, "settings") {
        Some(settings) if settings > 1.0 => {
            // Which of the figures, where the row has more than one.
            let name = if row["several_figures"] == true { text(worst, "name") } else { "" };
            let comma = if name.is_empty() { "" } else { ", " };
            format!(
                "{figure}{of_processor}, the worst of {settings}: {name}{comma}{}",
                text(worst, "setting")
            )
        }
        _ => format!("{figure}{of_processor}"),
    }
}

fn middle_half(figures: &Value) -> String {
    match (number(figures, "q1"), number(figures, "q3"), number(figures, "rounds")) {
        (Some(q1), Some(q3), Some(rounds)) if rounds > 1.0 => format!("{}..{}", shown(q1), shown(q3)),
        _ => String::new(),
    }
}

fn shown_or_not(value: Option<f64>) -> String {
    value.map_or_else(String::new, shown)
}

/// Everything that was measured, section by section.
fn figures(results: &Value) -> String {
    let mut sections: Vec<&str> = Vec::new();
    for one in list(results, "measured") {
        if !sections.contains(&text(one, "section")) {
            sections.push(text(one, "section"));
        }
    }
    let mut made = String::new();
    for section in sections {
        let _ = write!(made, "### Section {section}\n\n");
        for title in titles(results, section) {
            comparison(&mut made, results, section, title);
        }
        plain(&mut made, results, section);
    }
    made
}

/// What a section compares.
fn titles<'a>(results: &'a Value, section: &str) -> Vec<&'a str> {
    let mut titles = Vec::new();
    for one in measured(results, "comparison").filter(|one| one["section"] == section) {
        if !titles.contains(&text(one, "name")) {
            titles.push(text(one, "name"));
        }
    }
    titles
}

/// Rates of the contenders, then the ratios; each setting has a column.
fn comparison(made: &mut String, results: &Value, section: &str, title: &str) {
    let settings: Vec<&Value> = measured(results, "comparison")
        .filter(|one| one["section"] == section && one["name"] == title)
        .collect();
    let Some(first) = settings.first() else { return };
    let resources =
        measured(results, "resources").find(|one| one["section"] == section && one["name"] == title);
    let columns: Vec<String> = settings.iter().map(|one| setting(one)).collect();
    let unit = text(first, "unit");

    let rates = format!("{title}: {unit} per second (processor time of the server per call)");
    let mut heads = vec![rates.as_str()];
    heads.extend(columns.iter().map(String::as_str));
    if resources.is_some() {
        heads.extend(["buffers", "WAL", "private memory"]);
    }
    made.push_str(&table(&heads));
    for (place, contender) in list(first, "contenders").iter().enumerate() {
        let mut row = vec![text(contender, "name").to_owned()];
        row.extend(settings.iter().map(|one| rate(&one["contenders"][place])));
        if let Some(resources) = resources {
            row.extend(beside(&resources["contenders"][place]));
        }
        cells(made, &row);
    }
    made.push('\n');

    let mut heads = vec!["ratio (middle half; in processor time)"];
    heads.extend(columns.iter().map(String::as_str));
    heads.push("required");
    made.push_str(&table(&heads));
    for (place, ratio) in list(first, "ratios").iter().enumerate() {
        let mut row = vec![text(ratio, "name").to_owned()];
        row.extend(settings.iter().map(|one| quotient(&one["ratios"][place])));
        row.push(required(settings.iter().map(|one| &one["ratios"][place])));
        cells(made, &row);
    }
    made.push('\n');
}

fn setting(comparison: &Value) -> String {
    let clients = number(comparison, "clients").unwrap_or_default();
    let mode = if comparison["synchronous_commit"] == true { "on" } else { "off" };
    format!("{clients} client{}, {mode}", if clients == 1.0 { "" } else { "s" })
}

fn rate(contender: &Value) -> String {
    let rate = thousands(number(&contender["calls_per_second"], "median").unwrap_or(f64::NAN));
    match number(&contender["server_cpu_us"], "median") {
        Some(micros) => format!("{rate} ({} µs)", shown(micros)),
        None => rate,
    }
}

/// What a call costs beside time.
fn beside(contender: &Value) -> [String; 3] {
    let shown = |name: &str, unit: &str| {
        number(contender, name).map_or_else(String::new, |value| shown_in(value, unit))
    };
    [shown("buffers", ""), shown("wal_bytes", "bytes"), shown("private_memory_kb", "kB")]
}

fn quotient(ratio: &Value) -> String {
    let Some(median) = number(&ratio["ratio"], "median") else { return String::new() };
    let processor = number(&ratio["ratio_of_processor_time"], "median")
        .map_or_else(String::new, |processor| format!("; {}", shown(processor)));
    let verdict = match text(ratio, "verdict") {
        "" | "met" => String::new(),
        other => format!(" **{other}**"),
    };
    format!("{} ({}{processor}){verdict}", shown(median), middle_half(&ratio["ratio"]))
}

/// What is required in these settings; settings may differ in it.
fn required<'a>(ratios: impl Iterator<Item = &'a Value>) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for ratio in ratios {
        let text = text(&ratio["requirement"], "text");
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(", ")
}

/// Figures that are no comparisons, under the headings that they had.
fn plain(made: &mut String, results: &Value, section: &str) {
    let mut heading = None;
    for one in measured(results, "figure").filter(|one| one["section"] == section) {
        if heading.replace(text(one, "under")) != Some(text(one, "under")) {
            if !made.ends_with("\n\n") {
                made.push('\n');
            }
            made.push_str(&table(&[text(one, "under"), "median", "all", "required", "verdict"]));
        }
        let figures = &one["figures"];
        let median = shown_in(number(figures, "median").unwrap_or(f64::NAN), text(one, "unit"));
        let all = match (number(figures, "min"), number(figures, "max"), number(figures, "rounds")) {
            (Some(min), Some(max), Some(rounds)) if rounds > 1.0 => format!("{}..{}", shown(min), shown(max)),
            _ => String::new(),
        };
        let verdict = match text(one, "verdict") {
            "" | "met" => text(one, "verdict").to_owned(),
            other => format!("**{other}**"),
        };
        cells(made, &[text(one, "name"), &median, &all, text(&one["requirement"], "text"), &verdict]);
    }
    if !made.ends_with("\n\n") {
        made.push('\n');
    }
}

/// The first two lines of a table.
fn table(heads: &[&str]) -> String {
    let mut lines = String::new();
    cells(&mut lines, heads);
    cells(&mut lines, &vec!["---"; heads.len()]);
    lines
}

fn cells<T: AsRef<str>>(made: &mut String, cells: &[T]) {
    let escaped: Vec<String> =
        cells.iter().map(|cell| cell.as_ref().replace('|', "\\|").replace('<', "&lt;")).collect();
    let _ = writeln!(made, "| {} |", escaped.join(" | "));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures_of(median: f64) -> Value {
        json!({"median": median, "q1": median - 0.01, "q3": median + 0.01, "min": 0.1, "max": 9.0, "rounds": 15})
    }

    fn sample() -> Value {
        let contender = |name: &str, rate: f64| json!({"name": name, "calls_per_second": figures_of(rate), "server_cpu_us": figures_of(200.0)});
        let comparison = |clients: usize, ratio: f64, verdict: &str| {
            json!({
                "section": "purchase", "kind": "comparison", "name": "purchase", "unit": "calls",
                "clients": clients, "synchronous_commit": false, "noisy": false,
                "contenders": [contender("ours", 1_234.0), contender("floor", 2_345.0)],
                "ratios": [{"name": "ours / floor", "ratio": figures_of(ratio), "ratio_of_processor_time": null,
                    "requirement": {"text": ">= 0.70", "limit": 0.7}, "verdict": verdict}],
            })
        };
        json!({
            "machine": {"cores": 2, "processor": "a processor", "memory_kb": 1_048_576, "server": "PostgreSQL 15.1 on x",
                "extension": "0.2.0", "settings": {"fsync": "on"}},
            "rounds": 15, "seconds": 0.25, "trial": false,
            "requirements": [
                {"id": "purchase-floor", "measure": "purchase / floor", "least": "at least 0.70", "verdict": "missed",
                 "settings": 2, "worst": {"name": "ours / floor", "setting": "purchase: 8 clients",
                    "figures": figures_of(0.62), "unit": "", "processor": 0.5, "of_processor": false}},
                {"id": "size", "measure": "size", "least": "at most 1.3", "verdict": "not measured", "settings": 0,
                 "worst": null},
            ],
            "measured": [
                comparison(1, 0.71, "met"), comparison(8, 0.62, "missed"),
                {"section": "wal", "kind": "figure", "under": "WAL per call", "name": "ours", "unit": "bytes",
                 "figures": figures_of(991.0), "requirement": null, "verdict": null},
            ],
        })
    }

    #[test]
    fn what_is_around_the_parts_stays() -> Result<(), Failure> {
        let before = format!("# Title\n\n{BEGIN}requirements -->\nold\n{END}\n\nby hand\n");
        let made = page(&before, &sample())?;
        assert!(
            made.starts_with("# Title\n\n<!-- made of performance.json: requirements -->\n\n| measure |")
        );
        assert!(made.ends_with(&format!("{END}\n\nby hand\n")));
        assert!(!made.contains("old"));
        assert_eq!(page(&made, &sample())?, made);
        Ok(())
    }

    #[test]
    fn a_wrong_marker_is_refused() {
        assert!(page(&format!("{BEGIN}nothing -->\n{END}"), &sample()).is_err());
        assert!(page(&format!("{BEGIN}run -->\n"), &sample()).is_err());
    }

    #[test]
    fn a_miss_is_said_with_its_setting() {
        let table = requirements(&sample());
        assert!(table.contains(
            "| purchase / floor | at least 0.70 | 0.62, the worst of 2: purchase: 8 clients | 0.61..0.63 | 0.50 | **missed** |"
        ));
        assert!(table.contains("| size | at most 1.3 |  |  |  | **not measured** |"));
    }

    #[test]
    fn settings_are_columns() {
        let tables = figures(&sample());
        assert!(tables.contains("| 1 client, off | 8 clients, off |"));
        assert!(tables.contains("| ours | 1,234 (200 µs) | 1,234 (200 µs) |"));
        assert!(
            tables.contains("| ours / floor | 0.71 (0.70..0.72) | 0.62 (0.61..0.63) **missed** | >= 0.70 |")
        );
        assert!(tables.contains("| ours | 991 bytes | 0.10..9.00 |  |  |"));
    }

    #[test]
    fn a_trial_says_so() {
        let mut results = sample();
        assert!(!run(&results).contains("trial"));
        results["trial"] = true.into();
        assert!(run(&results).contains("trial"));
        assert_eq!(run(&json!({})), "Nothing has been measured yet.");
    }
}
