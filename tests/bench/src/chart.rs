//! The charts of docs/performance.md: pure functions of the report file, drawn by hand as SVG.
//!
//! Colours follow the reader's light or dark; nothing is told by colour alone, and every chart has a title and a
//! description for who does not see it.

use std::fmt::{Display, Write as _};

use serde_json::Value;

use crate::results::{beside, is_again, list, measured, number, shown, text, thousands};

/// File name and content of each.
pub fn charts(results: &Value) -> [(&'static str, String); 4] {
    [
        ("performance-ratios.svg", ratios(results)),
        ("performance-calls.svg", calls(results)),
        ("performance-processor.svg", processor(results)),
        ("performance-size.svg", size(results)),
    ]
}

const WIDTH: f64 = 820.0;
const STYLE: &str = "<style>
:root { --card: #ffffff; --ink: #161d2f; --soft: #545e75; --line: #dce0ea;
  --ours: #4036c9; --twin: #a34a06; --floor: #6b7280; --app: #0d7a6b; --bad: #b3172b; }
@media (prefers-color-scheme: dark) {
  :root { --card: #161d2e; --ink: #e8ecf6; --soft: #a3adc4; --line: #2b3550;
    --ours: #aab4ff; --twin: #ffb861; --floor: #a8b0c0; --app: #58d6bf; --bad: #ff97a3; }
}
text { font: 13px system-ui, -apple-system, \"Segoe UI\", Roboto, sans-serif; fill: var(--ink); }
.soft { fill: var(--soft); font-size: 12px; }
.head { font-weight: 600; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: var(--line); }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.mark { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 3 2; }
.edge { fill: none; stroke-width: 2; }
.card { fill: var(--card); }
</style>";

/// A chart that is being drawn.
struct Drawing {
    title: &'static str,
    description: String,
    height: f64,
    body: String,
}

impl Drawing {
    fn new(title: &'static str) -> Drawing {
        Drawing { title, description: String::new(), height: 16.0, body: String::new() }
    }

    fn text(&mut self, x: f64, y: f64, class: &str, words: &str) {
        let words = escaped(words);
        let _ = writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{words}</text>");
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        );
    }

    fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: impl Display) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\" fill=\"var(--{colour})\" \
             fill-opacity=\"0.75\"/>",
            width.max(1.0)
        );
    }

    /// From the lower to the upper quartile.
    fn whisker(&mut self, from: f64, to: f64, y: f64) {
        self.line((from, y), (to, y), "whisker");
        for x in [from, to] {
            self.line((x, y - 4.0), (x, y + 4.0), "whisker");
        }
    }

    fn tell(&mut self, sentence: &str) {
        self.description.push_str(sentence);
        self.description.push(' ');
    }

    fn finish(mut self) -> String {
        if self.description.is_empty() {
            self.tell("Nothing has been measured yet.");
            self.text(16.0, self.height + 14.0, "soft", "Nothing has been measured yet.");
            self.height += 24.0;
        }
        let height = self.height + 12.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
             height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title description\">\n\
             <title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n{STYLE}\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" class=\"card\"/>\n{}</svg>\n",
            escaped(self.title),
            escaped(self.description.trim_end()),
            self.body
        )
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The end of an axis that holds the value, and its steps.
fn axis(most: f64) -> (f64, f64) {
    let most = most.max(f64::MIN_POSITIVE);
    let power = 10f64.powf(most.log10().floor());
    let step = [0.2, 0.5, 1.0, 2.0].map(|part| part * power).into_iter().find(|step| most / step <= 6.0);
    let step = step.unwrap_or(2.0 * power);
    ((most / step).ceil() * step, step)
}

/// Vertical lines with their values below.
fn grid(drawing: &mut Drawing, (left, width): (f64, f64), (top, bottom): (f64, f64), most: f64, step: f64) {
    let mut value = 0.0;
    while value <= most + step / 2.0 {
        let x = left + width * value / most;
        drawing.line((x, top), (x, bottom), "grid");
        let label = if step >= 1.0 { thousands(value) } else { format!("{value:.1}") };
        drawing.text(x, bottom + 15.0, "soft middle", &label);
        value += step;
    }
}

/// Words in lines of so many characters at most.
fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Ratios that are required to be at least something; those of ten and more would make the others small.
fn ratios(results: &Value) -> String {
    const LEFT: f64 = 300.0;
    const RIGHT: f64 = 196.0;
    let mut drawing = Drawing::new("Ratios, what is required of them, and the middle half of the rounds");
    let rows: Vec<&Value> = list(results, "requirements").iter().filter(|row| is_ratio(row)).collect();
    let figure = |row: &Value, name: &str| number(&row["worst"]["figures"], name).unwrap_or_default();
    let limit = |row: &Value| number(&row["worst"]["requirement"], "limit").unwrap_or_default();
    let most = rows.iter().map(|row| figure(row, "q3").max(limit(row))).fold(0.0, f64::max);
    if rows.is_empty() {
        return drawing.finish();
    }
    let (end, step) = axis(most);
    let width = WIDTH - LEFT - RIGHT;
    let at = |value: f64| LEFT + width * value / end;
    let top = drawing.height;
    let labels: Vec<Vec<String>> = rows.iter().map(|row| wrapped(text(row, "measure"), 44)).collect();
    let height = labels.iter().map(|lines| 20.0 + 15.0 * lines.len() as f64).sum::<f64>();
    grid(&mut drawing, (LEFT, width), (top, top + height), end, step);
    let mut y = top;
    for (row, lines) in rows.iter().zip(&labels) {
        let verdict = text(row, "verdict");
        let high = 20.0 + 15.0 * lines.len() as f64;
        let middle = y + high / 2.0;
        for (place, line) in lines.iter().enumerate() {
            let below = 4.5 + 15.0 * (place as f64 - (lines.len() - 1) as f64 / 2.0);
            drawing.text(LEFT - 10.0, middle + below, "right", line);
        }
        let colour = match verdict {
            "met" => "ours",
            "missed" => "bad",
            _ => "floor",
        };
        drawing.bar((LEFT, middle - 8.0), (at(figure(row, "median")) - LEFT, 16.0), colour);
        drawing.whisker(at(figure(row, "q1")), at(figure(row, "q3")), middle);
        drawing.line((at(limit(row)), y + 3.0), (at(limit(row)), y + high - 3.0), "mark");
        let told = format!("{} of {}", beside(figure(row, "median"), limit(row)), shown(limit(row)));
        drawing.text(WIDTH - RIGHT + 10.0, middle + 4.5, "head", &format!("{told}, {verdict}"));
        drawing.tell(&format!("{}: {told} required, {verdict}.", text(row, "measure")));
        y += high;
    }
    drawing.text(LEFT, y + 34.0, "soft", "dashed: at least required; whisker: middle half of the rounds");
    drawing.height = y + 38.0;
    drawing.finish()
}

fn is_ratio(row: &Value) -> bool {
    let worst = &row["worst"];
    let limit = number(&worst["requirement"], "limit").unwrap_or_default();
    let rounds = number(&worst["figures"], "rounds").unwrap_or_default();
    text(&worst["requirement"], "text").starts_with(">=") && limit < 5.0 && rounds > 1.0
}

/// A contender's colour and mark, whatever the section calls it.
fn looks(name: &str) -> (&'static str, Mark) {
    match name.split_whitespace().next() {
        Some("twin") => ("twin", Mark::Square),
        Some("floor") => ("floor", Mark::Triangle),
        Some("application") => ("app", Mark::Diamond),
        _ => ("ours", Mark::Circle),
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Circle,
    Square,
    Triangle,
    Diamond,
}

impl Mark {
    fn draw(self, drawing: &mut Drawing, x: f64, y: f64, colour: &str) {
        let corners: &[(f64, f64)] = match self {
            Mark::Circle => {
                let _ = writeln!(
                    drawing.body,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"var(--{colour})\"/>"
                );
                return;
            }
            Mark::Square => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
            Mark::Triangle => &[(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)],
            Mark::Diamond => &[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)],
        };
        let points: Vec<String> =
            corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        let _ = writeln!(drawing.body, "<polygon points=\"{}\" fill=\"var(--{colour})\"/>", points.join(" "));
    }
}

/// The sections that are drawn by contender.
const DRAWN: [(&str, &str); 3] = [("purchase", "purchase"), ("spend", "spend"), ("webhook", "whole webhook")];

/// What each mark stands for, in a line.
fn legend(drawing: &mut Drawing) {
    let each = [
        ("ours", "ours", 0.0),
        ("twin", "twin in PL/pgSQL", 70.0),
        ("floor", "floor of bare SQL", 215.0),
        ("application", "application over a driver", 360.0),
    ];
    let y = drawing.height + 12.0;
    for (name, words, x) in each {
        let (colour, mark) = looks(name);
        mark.draw(drawing, x + 26.0, y - 4.0, colour);
        drawing.text(x + 38.0, y, "", words);
    }
    drawing.height += 32.0;
}

/// Calls per second by the number of clients: a panel for each call, commits that wait for the disk below.
fn calls(results: &Value) -> String {
    let mut drawing = Drawing::new("Calls per second by the number of clients");
    let panel = (WIDTH - 24.0) / DRAWN.len() as f64;
    let any = DRAWN.iter().any(|(section, _)| {
        !rates(results, section, true).is_empty() || !rates(results, section, false).is_empty()
    });
    if !any {
        return drawing.finish();
    }
    legend(&mut drawing);
    for on in [false, true] {
        let top = drawing.height;
        for (place, (section, name)) in DRAWN.iter().enumerate() {
            let rates = rates(results, section, on);
            let left = 12.0 + panel * place as f64;
            if !rates.is_empty() {
                panel_of_calls(&mut drawing, (left, top), panel, (name, on), &rates);
            }
        }
        drawing.height = top + 244.0;
    }
    drawing.text(WIDTH / 2.0, drawing.height, "soft middle", "clients");
    drawing.height += 6.0;
    drawing.finish()
}

/// A contender's name, and calls per second by clients.
type Rate = (String, Vec<(f64, f64)>);

fn rates(results: &Value, section: &str, on: bool) -> Vec<Rate> {
    let mut rates: Vec<Rate> = Vec::new();
    let settings = measured(results, "comparison")
        .filter(|one| one["section"] == section && one["synchronous_commit"] == on);
    for one in settings {
        let clients = number(one, "clients").unwrap_or_default();
        for contender in list(one, "contenders").iter().filter(|one| !is_again(one)) {
            let name = text(contender, "name");
            let rate = number(&contender["calls_per_second"], "median").unwrap_or_default();
            match rates.iter_mut().find(|(known, _)| known == name) {
                Some((_, points)) => points.push((clients, rate)),
                None => rates.push((name.to_owned(), vec![(clients, rate)])),
            }
        }
    }
    rates
}

fn panel_of_calls(
    drawing: &mut Drawing,
    (left, top): (f64, f64),
    panel: f64,
    (name, on): (&str, bool),
    rates: &[Rate],
) {
    const HEIGHT: f64 = 165.0;
    let (left, width, top) = (left + 48.0, panel - 60.0, top + 40.0);
    let most = rates.iter().flat_map(|(_, points)| points).map(|(_, rate)| *rate).fold(0.0, f64::max);
    let (end, step) = axis(most);
    let mut clients: Vec<f64> =
        rates.iter().flat_map(|(_, points)| points).map(|(clients, _)| *clients).collect();
    clients.sort_by(f64::total_cmp);
    clients.dedup();
    let mode = if on { "synchronous_commit on" } else { "synchronous_commit off" };
    drawing.text(left - 40.0, top - 26.0, "head", name);
    drawing.text(left - 40.0, top - 11.0, "soft", mode);
    let mut value = 0.0;
    while value <= end + step / 2.0 {
        let y = top + HEIGHT * (1.0 - value / end);
        drawing.line((left, y), (left + width, y), "grid");
        drawing.text(left - 6.0, y + 4.0, "soft right", &thousands(value));
        value += step;
    }
    // Evenly apart: from 8 to 32 clients is as much of a step as from 1 to 8.
    let x = |of: f64| {
        let place = clients.iter().position(|known| *known == of).unwrap_or_default() as f64;
        left + width * (place + 0.5) / clients.len() as f64
    };
    for of in &clients {
        drawing.text(x(*of), top + HEIGHT + 16.0, "soft middle", &thousands(*of));
    }
    for (contender, points) in rates {
        let (colour, mark) = looks(contender);
        let places: Vec<(f64, f64)> =
            points.iter().map(|(clients, rate)| (x(*clients), top + HEIGHT * (1.0 - rate / end))).collect();
        curve(drawing, &places, colour, mark);
        let told: Vec<String> =
            points.iter().map(|(clients, rate)| format!("{} with {clients}", thousands(*rate))).collect();
        drawing.tell(&format!("{name}, {mode}, {contender}: {}.", told.join(", ")));
    }
}

/// Processor time of the server per call: one client, commits that do not wait.
fn processor(results: &Value) -> String {
    const LEFT: f64 = 250.0;
    const RIGHT: f64 = 90.0;
    let mut drawing =
        Drawing::new("Processor time of the server per call, one client, synchronous_commit off");
    let groups: Vec<(&str, Vec<&Value>)> = [DRAWN[0], DRAWN[1], ("replay", "replay"), DRAWN[2]]
        .into_iter()
        .map(|(section, name)| (name, costs(results, section)))
        .filter(|(_, costs)| !costs.is_empty())
        .collect();
    let quartile = |one: &Value, name: &str| number(&one["server_cpu_us"], name).unwrap_or_default();
    let most = groups.iter().flat_map(|(_, costs)| costs).map(|one| quartile(one, "q3")).fold(0.0, f64::max);
    if groups.is_empty() {
        return drawing.finish();
    }
    let (end, step) = axis(most);
    let width = WIDTH - LEFT - RIGHT;
    let at = |value: f64| LEFT + width * value / end;
    let top = drawing.height;
    let bottom = top + groups.iter().map(|(_, costs)| 34.0 + 24.0 * costs.len() as f64).sum::<f64>();
    grid(&mut drawing, (LEFT, width), (top, bottom), end, step);
    let mut y = top;
    for (name, costs) in groups {
        drawing.text(16.0, y + 18.0, "head", name);
        y += 26.0;
        for one in costs {
            let (called, median) = (text(one, "name"), quartile(one, "median"));
            drawing.text(LEFT - 10.0, y + 16.0, "right", called);
            drawing.bar((LEFT, y + 3.0), (at(median) - LEFT, 16.0), looks(called).0);
            drawing.whisker(at(quartile(one, "q1")), at(quartile(one, "q3")), y + 11.0);
            drawing.text(at(end) + 10.0, y + 16.0, "", &format!("{} µs", thousands(median)));
            drawing.tell(&format!("{name}, {called}: {} µs.", thousands(median)));
            y += 24.0;
        }
        y += 8.0;
    }
    drawing.text(LEFT, y + 34.0, "soft", "microseconds; whisker: middle half of the rounds");
    drawing.height = y + 38.0;
    drawing.finish()
}

/// The contenders of a section with one client where commits do not wait.
fn costs<'a>(results: &'a Value, section: &str) -> Vec<&'a Value> {
    let one_client = |one: &&Value| {
        one["section"] == section && one["synchronous_commit"] == false && number(one, "clients") == Some(1.0)
    };
    measured(results, "comparison")
        .find(one_client)
        .map(|one| list(one, "contenders"))
        .unwrap_or_default()
        .iter()
        .filter(|one| !is_again(one) && !one["server_cpu_us"].is_null())
        .collect()
}

/// The call's name, and for each size its label and how many times the cost of the smallest it is.
type Curve = (String, Vec<(String, f64)>);

/// What a call costs where more is stored, beside what it costs where little is.
fn size(results: &Value) -> String {
    const HEIGHT: f64 = 200.0;
    const LEFT: f64 = 64.0;
    const RIGHT: f64 = 110.0;
    const LOOKS: [(&str, Mark); 3] = [("ours", Mark::Circle), ("app", Mark::Diamond), ("twin", Mark::Square)];
    let mut drawing = Drawing::new("Processor time of a call by what is stored, the smallest as 1");
    let curves = curves(results);
    let Some((_, longest)) = curves.iter().max_by_key(|(_, points)| points.len()) else {
        return drawing.finish();
    };
    let limit = list(results, "requirements")
        .iter()
        .find(|row| row["id"] == "size")
        .and_then(|row| number(&row["worst"]["requirement"], "limit"));
    let most = curves.iter().flat_map(|(_, points)| points).map(|(_, cost)| *cost).fold(1.0, f64::max);
    let (end, step) = axis(most.max(limit.unwrap_or_default()));
    let (width, top) = (WIDTH - LEFT - RIGHT, drawing.height + 10.0);
    let y = |value: f64| top + HEIGHT * (1.0 - value / end);
    let x = |place: usize| LEFT + width * (place as f64 + 0.5) / longest.len() as f64;
    let mut value = 0.0;
    while value <= end + step / 2.0 {
        drawing.line((LEFT, y(value)), (LEFT + width, y(value)), "grid");
        drawing.text(LEFT - 8.0, y(value) + 4.0, "soft right", &shown(value));
        value += step;
    }
    for (place, (label, _)) in longest.iter().enumerate() {
        drawing.text(x(place), top + HEIGHT + 18.0, "soft middle", label);
    }
    if let Some(limit) = limit {
        drawing.line((LEFT, y(limit)), (LEFT + width, y(limit)), "mark");
        drawing.text(LEFT + width + 10.0, y(limit) + 4.0, "", &format!("at most {}", shown(limit)));
    }
    for ((name, points), (colour, mark)) in curves.iter().zip(LOOKS) {
        let places: Vec<(f64, f64)> =
            points.iter().enumerate().map(|(place, (_, cost))| (x(place), y(*cost))).collect();
        curve(&mut drawing, &places, colour, mark);
        let told: Vec<String> =
            points.iter().map(|(label, cost)| format!("{} at {label}", shown(*cost))).collect();
        drawing.tell(&format!("{name}: {}.", told.join(", ")));
    }
    // Labels beside the lines would lie on each other: below.
    let below = top + HEIGHT + 44.0;
    for (place, ((name, _), (colour, mark))) in curves.iter().zip(LOOKS).enumerate() {
        let left = LEFT + 180.0 * place as f64;
        mark.draw(&mut drawing, left, below - 4.0, colour);
        drawing.text(left + 12.0, below, "", name);
    }
    drawing.height = below + 4.0;
    drawing.finish()
}

fn curves(results: &Value) -> Vec<Curve> {
    let cost = |one: &Value| number(&one["server_cpu_us"], "median");
    let mut curves = Vec::new();
    for one in measured(results, "comparison").filter(|one| one["section"] == "size") {
        let sizes: Vec<&Value> = list(one, "contenders").iter().filter(|one| !is_again(one)).collect();
        let Some(smallest) = sizes.first().and_then(|size| cost(size)) else { continue };
        let points = sizes
            .iter()
            .filter_map(|size| Some((text(size, "name").to_owned(), cost(size)? / smallest)))
            .collect();
        let name = text(one, "name").split_whitespace().next().unwrap_or_default();
        curves.push((name.to_owned(), points));
    }
    curves
}

/// A line through its marks.
fn curve(drawing: &mut Drawing, places: &[(f64, f64)], colour: &str, mark: Mark) {
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        drawing.body,
        "<polyline points=\"{}\" class=\"edge\" stroke=\"var(--{colour})\"/>",
        path.join(" ")
    );
    for (x, y) in places {
        mark.draw(drawing, *x, *y, colour);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figures(median: f64) -> Value {
        json!({"median": median, "q1": median * 0.9, "q3": median * 1.1, "min": 0, "max": median * 2.0, "rounds": 15})
    }

    fn sample() -> Value {
        let contender = |name: &str, rate: f64| json!({"name": name, "calls_per_second": figures(rate), "server_cpu_us": figures(rate / 10.0)});
        let comparison = |clients: usize| {
            json!({
                "section": "purchase", "kind": "comparison", "name": "purchase", "unit": "calls",
                "clients": clients, "synchronous_commit": false,
                "contenders": [contender("ours", 1_000.0), contender("floor of bare SQL", 2_000.0),
                    contender("ours once more", 999.0)],
                "ratios": [],
            })
        };
        json!({
            "requirements": [{
                "id": "purchase-floor", "measure": "purchase / floor & <more>", "verdict": "missed",
                "worst": {"figures": figures(0.5), "requirement": {"text": ">= 0.70", "limit": 0.7}},
            }],
            "measured": [comparison(1), comparison(8), {
                "section": "size", "kind": "comparison", "name": "purchase where much is stored", "unit": "calls",
                "clients": 1, "synchronous_commit": false,
                "contenders": [contender("10^4 entries", 1_000.0), contender("10^5 entries", 1_500.0),
                    contender("10^4 entries once more", 1_001.0)],
                "ratios": [],
            }],
        })
    }

    #[test]
    fn each_chart_tells_its_numbers_in_words_too() {
        let [(_, ratios), (_, calls), (_, processor), (_, size)] = charts(&sample());
        assert!(ratios.contains("purchase / floor &amp; &lt;more&gt;: 0.50 of 0.70 required, missed."));
        assert!(calls.contains("purchase, synchronous_commit off, ours: 1,000 with 1, 1,000 with 8."));
        assert!(processor.contains("purchase, floor of bare SQL: 200 µs."));
        assert!(size.contains("purchase: 1.00 at 10^4 entries, 1.50 at 10^5 entries."));
        for chart in [&ratios, &calls, &processor, &size] {
            assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"));
            assert!(chart.contains("<title id=\"title\">") && chart.contains("prefers-color-scheme: dark"));
            assert!(!chart.contains("once more") && !chart.contains("NaN"));
        }
    }

    #[test]
    fn bars_end_where_the_axis_says() {
        let [(_, ratios), ..] = charts(&sample());
        // 324 wide for 0 to 0.8: 0.5 ends after 202.5.
        assert!(ratios.contains("width=\"202.5\""), "{ratios}");
    }

    #[test]
    fn without_figures_a_chart_says_so() {
        for (_, chart) in charts(&json!({})) {
            assert!(chart.contains("Nothing has been measured yet."));
        }
    }

    #[test]
    fn an_axis_ends_above_its_values() {
        assert_eq!(axis(0.7), (0.8, 0.1 * 2.0));
        assert_eq!(axis(2.9), (3.0, 0.5));
        assert_eq!(axis(14_500.0), (15_000.0, 5_000.0));
        for value in [0.3, 1.0, 7.2, 99.0, 1_234.0] {
            let (end, step) = axis(value);
            assert!(end >= value && end / step <= 7.0, "{value}: {end} by {step}");
        }
    }

    #[test]
    fn long_labels_take_two_lines() {
        assert_eq!(wrapped("one two three four", 9), ["one two", "three", "four"]);
    }
}
