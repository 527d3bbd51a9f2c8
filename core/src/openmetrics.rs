//! The text form of OpenMetrics 1.0: families of samples in, one document out.

use std::fmt::Write;

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only rise, until they begin anew at zero.
    Counter,
    /// They go up and down.
    Gauge,
    /// Always 1: the labels are what is told.
    Info,
}

impl Kind {
    /// As the document says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
        }
    }

    /// What the name of a sample has after the family's.
    const fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Info => "_info",
        }
    }
}

/// What samples of one name have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the kind's suffix; ends with the unit, if there is one.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// What they count; blank where the name says it.
    pub unit: &'static str,
    /// One sentence for people.
    pub help: &'static str,
}

impl Family {
    /// The name that its samples have, and that queries ask for.
    pub fn sample_name(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }
}

/// A number; wide enough for the sum of any number of 64-bit ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Whole.
    Whole(i128),
    /// Without end.
    Infinite,
}

impl From<i64> for Number {
    fn from(number: i64) -> Number {
        Number::Whole(number.into())
    }
}

/// One number, and what tells it from the others of its family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Names and values, each name once.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub number: Number,
}

/// A document of the families and their samples, in that order.
pub fn render<'a>(families: impl IntoIterator<Item = (&'a Family, Vec<Sample>)>) -> String {
    let mut text = String::new();
    for (family, samples) in families {
        head(&mut text, family);
        for sample in &samples {
            line(&mut text, family, sample);
        }
    }
    text.push_str("# EOF\n");
    text
}

// Writing to a String never fails, so what `write!` answers is let go.

fn head(text: &mut String, family: &Family) {
    let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind.as_str());
    if !family.unit.is_empty() {
        let _ = writeln!(text, "# UNIT {} {}", family.name, family.unit);
    }
    let _ = writeln!(text, "# HELP {} {}", family.name, escaped(family.help));
}

fn line(text: &mut String, family: &Family, sample: &Sample) {
    text.push_str(family.name);
    text.push_str(family.kind.suffix());
    for (place, (name, value)) in sample.labels.iter().enumerate() {
        let before = if place == 0 { '{' } else { ',' };
        let _ = write!(text, "{before}{name}=\"{}\"", escaped(value));
    }
    if !sample.labels.is_empty() {
        text.push('}');
    }
    let _ = match sample.number {
        Number::Whole(number) => writeln!(text, " {number}"),
        Number::Infinite => writeln!(text, " +Inf"),
    };
}

/// A value as it stands between quotes: any text may be one, and only these three need a backslash.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREDITS: Family =
        Family { name: "held_credits", kind: Kind::Gauge, unit: "credits", help: "Held \"now\"." };
    const SEEN: Family = Family { name: "seen", kind: Kind::Counter, unit: "", help: "Seen." };
    const BUILD: Family = Family { name: "build", kind: Kind::Info, unit: "", help: "Built." };

    fn sample(labels: &[(&'static str, &str)], number: i64) -> Sample {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Sample { labels, number: number.into() }
    }

    #[test]
    fn a_document() {
        let text = render([
            (&BUILD, vec![sample(&[("version", "1.0"), ("schema", "0.9")], 1)]),
            (&CREDITS, vec![sample(&[("credit_type", "a\\b\"c\nd")], -5)]),
            (&SEEN, vec![sample(&[], 7)]),
        ]);
        let expected = r#"# TYPE build info
# HELP build Built.
build_info{version="1.0",schema="0.9"} 1
# TYPE held_credits gauge
# UNIT held_credits credits
# HELP held_credits Held \"now\".
held_credits{credit_type="a\\b\"c\nd"} -5
# TYPE seen counter
# HELP seen Seen.
seen_total 7
# EOF
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn numbers_are_exact_and_may_be_endless() {
        let number = |number| {
            let text = render([(&CREDITS, vec![Sample { labels: vec![], number }])]);
            text.lines().find_map(|line| line.strip_prefix("held_credits ").map(str::to_owned))
        };
        assert_eq!(number(Number::Infinite).as_deref(), Some("+Inf"));
        assert_eq!(number(Number::Whole(i128::MAX)), Some(i128::MAX.to_string()));
    }

    #[test]
    fn nothing_to_tell_is_a_document_too() {
        assert_eq!(render([]), "# EOF\n");
    }

    /// Reads one value as the format says: the character after a backslash, n as a line's end.
    fn unescaped(value: &str) -> String {
        let mut text = String::new();
        let mut rest = value.chars();
        while let Some(c) = rest.next() {
            text.extend(if c == '\\' {
                rest.next().map(|c| if c == 'n' { '\n' } else { c })
            } else {
                Some(c)
            });
        }
        text
    }

    proptest! {
        /// Whatever a label holds, its sample is one line, and a reader gets the same text back.
        #[test]
        fn any_text_comes_back(value in ".*|[\\\\\"\n,{}=# ]{0,20}", number: i64) {
            let text = render([(&CREDITS, vec![sample(&[("credit_type", &value)], number)])]);
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert_eq!(lines.len(), 6);
            let line = lines.get(3).copied().unwrap_or_default();
            let inside = line
                .strip_prefix("held_credits{credit_type=\"")
                .and_then(|rest| rest.strip_suffix(&format!("\"}} {number}")));
            prop_assert_eq!(inside.map(unescaped), Some(value));
            // No quote ends the value before its end.
            let bare = inside.unwrap_or_default().replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!bare.contains('"'));
        }
    }
}
