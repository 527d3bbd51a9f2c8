//! The report file as others read it: by name, and as numbers are printed.

use serde_json::Value;

/// A text, or nothing.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A list, or none.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// A number, if there is one.
pub fn number(value: &Value, name: &str) -> Option<f64> {
    value[name].as_f64()
}

/// What was measured, of that kind.
pub fn measured<'a>(results: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    list(results, "measured").iter().filter(move |one| one["kind"] == kind)
}

/// Whether it only measures another contender a second time.
pub fn is_again(contender: &Value) -> bool {
    let name = text(contender, "name");
    name.ends_with("once more") || name.ends_with("again") && name != "delivered again"
}

/// A number as one reads it: few digits, thousands apart.
pub fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => thousands(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A number beside a limit: with more digits where fewer would make it look like the limit.
pub fn beside(value: f64, limit: f64) -> String {
    let short = shown(value);
    if short == shown(limit) && (value - limit).abs() > f64::EPSILON { format!("{value:.4}") } else { short }
}

/// A number with its unit.
pub fn shown_in(value: f64, unit: &str) -> String {
    match unit {
        "" => shown(value),
        "bytes" | "kB" => format!("{} {unit}", thousands(value)),
        _ => format!("{} {unit}", shown(value)),
    }
}

/// Rounded, with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(shown(0.683), "0.68");
        assert_eq!(shown(0.0123), "0.012");
        assert_eq!(shown(12.34), "12.3");
        assert_eq!(shown(1_234.5), "1,234");
        assert_eq!(shown(0.0), "0.00");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(-1_234.0), "-1,234");
        assert_eq!(beside(0.4961, 0.5), "0.4961");
        assert_eq!(beside(0.5, 0.5), "0.50");
        assert_eq!(beside(0.61, 0.5), "0.61");
        assert_eq!(shown_in(2_300.4, "bytes"), "2,300 bytes");
    }
}
