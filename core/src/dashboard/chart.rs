//! Bar charts as inline SVG: stretched to whatever width there is, so words stand beside them in HTML.

use super::html::Html;

/// The height of a chart's own coordinates; it is stretched to its place on the page.
const HEIGHT: i128 = 1_000;
/// What a bar needs to be seen at all, however small it is beside the largest.
const SMALLEST: i128 = 15;
/// From one bar to the next, in the chart's own coordinates; and how wide one is.
const STEP: usize = 10;
const WIDTH: &str = "8";

/// A chart of one bar per hour or day.
pub struct Chart<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// Its look.
    pub class: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// What there is to see.
    pub description: &'a str,
    /// The bars, from left to right.
    pub bars: &'a [Bar],
}

/// One bar: up from the line, down from it, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// What a pointer resting on it is told.
    pub label: String,
    /// Above the line.
    pub up: i128,
    /// Below the line.
    pub down: i128,
}

/// Where the line is and how high a unit is.
struct Scale {
    /// The largest value above the line, and the largest below it.
    up: i128,
    down: i128,
}

impl Scale {
    fn of(bars: &[Bar]) -> Scale {
        let largest = |value: fn(&Bar) -> i128| bars.iter().map(value).max().unwrap_or(0).max(0);
        Scale { up: largest(|bar| bar.up), down: largest(|bar| bar.down) }
    }

    /// How high a bar of that value is.
    fn height(&self, value: i128) -> i128 {
        let whole = self.up.saturating_add(self.down).max(1);
        if value <= 0 {
            return 0;
        }
        // Beyond what can be multiplied, the last digits are too small to be seen.
        let (value, whole) =
            if whole > i128::MAX / HEIGHT { (value / HEIGHT, whole / HEIGHT) } else { (value, whole) };
        (value * HEIGHT / whole).max(SMALLEST)
    }

    /// Where the line is, from above.
    fn line(&self) -> i128 {
        match (self.up, self.down) {
            (_, 0) => HEIGHT,
            (0, _) => 0,
            _ => self.height(self.up).min(HEIGHT - SMALLEST),
        }
    }
}

impl Chart<'_> {
    /// Writes the chart.
    pub fn write(&self, html: &mut Html) {
        let scale = Scale::of(self.bars);
        let (title, description) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        let attributes = [
            ("class", self.class),
            ("role", "img"),
            ("aria-labelledby", &title),
            ("aria-describedby", &description),
            ("viewBox", &format!("0 0 {} {HEIGHT}", self.bars.len() * STEP)),
            ("preserveAspectRatio", "none"),
        ];
        html.element("svg", &attributes, |html| {
            html.words("title", &[("id", &title)], self.title);
            html.words("desc", &[("id", &description)], self.description);
            for (place, bar) in self.bars.iter().enumerate() {
                write_bar(html, &scale, place, bar);
            }
            write_line(html, scale.line(), self.bars.len() * STEP);
        });
    }
}

fn write_bar(html: &mut Html, scale: &Scale, place: usize, bar: &Bar) {
    let (line, up, down) = (scale.line(), scale.height(bar.up), scale.height(bar.down));
    let x = (place * STEP + 1).to_string();
    html.element("g", &[], |html| {
        html.words("title", &[], &bar.label);
        // The whole height answers to a pointer, not only what there is of the bar.
        rectangle(html, "slot", &x, 0, HEIGHT);
        if up > 0 {
            rectangle(html, "up", &x, (line - up).max(0), up.min(line));
        }
        if down > 0 {
            rectangle(html, "down", &x, line, down.min(HEIGHT - line));
        }
    });
}

fn rectangle(html: &mut Html, class: &str, x: &str, y: i128, height: i128) {
    let (y, height) = (y.to_string(), height.to_string());
    let attributes = [("class", class), ("x", x), ("y", &y), ("width", WIDTH), ("height", &height)];
    html.element("rect", &attributes, |_| {});
}

fn write_line(html: &mut Html, at: i128, width: usize) {
    let (at, width) = (at.to_string(), width.to_string());
    html.element("line", &[("x1", "0"), ("x2", &width), ("y1", &at), ("y2", &at)], |_| {});
}

/// A share of the whole as a bar that lies; the number stands beside it.
pub fn share(html: &mut Html, part: i128, whole: i128) {
    let width = Scale { up: whole, down: 0 }.height(part).min(HEIGHT).to_string();
    let attributes = [
        ("class", "share"),
        ("aria-hidden", "true"),
        ("viewBox", "0 0 1000 10"),
        ("preserveAspectRatio", "none"),
    ];
    html.element("svg", &attributes, |html| {
        html.element("rect", &[("class", "slot"), ("width", "1000"), ("height", "10")], |_| {});
        html.element("rect", &[("class", "up"), ("width", &width), ("height", "10")], |_| {});
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scale(up: i128, down: i128) -> Scale {
        Scale { up, down }
    }

    #[test]
    fn the_largest_bar_is_as_high_as_the_chart() {
        assert_eq!([scale(7, 0).height(7), scale(7, 0).line()], [1_000, 1_000]);
        assert_eq!([scale(0, 7).height(7), scale(0, 7).line()], [1_000, 0]);
        assert_eq!([scale(3, 1).height(3), scale(3, 1).height(1), scale(3, 1).line()], [750, 250, 750]);
    }

    #[test]
    fn one_of_a_million_is_seen_and_none_is_not() {
        assert_eq!([scale(1_000_000, 0).height(1), scale(1_000_000, 0).height(0)], [SMALLEST, 0]);
        assert_eq!(scale(1_000_000, 1).line(), HEIGHT - SMALLEST);
        assert_eq!(scale(1, 1_000_000).line(), SMALLEST);
    }

    proptest! {
        /// Whatever the numbers, no bar leaves the chart.
        #[test]
        fn bars_stay_inside(up in 0..i128::MAX, down in 0..i128::MAX) {
            let scale = scale(up, down);
            prop_assert!((0..=HEIGHT).contains(&scale.line()));
            for value in [up, down, up / 2, down / 3] {
                prop_assert!((0..=HEIGHT + SMALLEST).contains(&scale.height(value)), "{}", scale.height(value));
            }
        }
    }
}
