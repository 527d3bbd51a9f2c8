//! Numbers and times as people read them.

use super::html::Html;
use crate::credits::account::Micros;
use crate::time::unix;

/// Between groups of three digits: thin, and no place to break a line.
const THIN: char = '\u{202f}';
/// A minus sign, as wide as a plus.
const MINUS: char = '\u{2212}';

/// A number, its digits in groups of three.
pub fn number(value: i128) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    if value < 0 {
        text.push(MINUS);
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(THIN);
        }
        text.push(digit);
    }
    text
}

/// A number with its sign, where it says what was added or taken.
pub fn signed(value: i128) -> String {
    if value > 0 { format!("+{}", number(value)) } else { number(value) }
}

/// One thing or several: `1 event`, `2 events`.
pub fn counted(count: i128, one: &str, several: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { several })
}

/// The share of the whole in percent, rounded so that only all is 100 and only none is 0.
pub fn percent(part: i128, whole: i128) -> String {
    if whole <= 0 || part <= 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    let tenths = (part.saturating_mul(1_000) / whole).clamp(1, 999);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// At most so many characters of a text; what is left out is marked.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A point in time on the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 1 to 9999.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
}

impl Civil {
    /// None for what is not in the years 1 to 9999.
    pub fn of(at: Micros) -> Option<Civil> {
        // The first second of the year 1 and of the year 10000.
        const YEARS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
        let seconds = unix(at);
        if !YEARS.contains(&seconds) {
            return None;
        }
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years that begin in March, so that the leap day is a year's last; counted in eras of 400 years.
        let since_march_0000 = days + 719_468;
        let (era, day_of_era) = (since_march_0000.div_euclid(146_097), since_march_0000.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Some(Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        })
    }

    /// `2026-11-21`.
    pub fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `21 Nov`.
    pub fn short_date(self) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = usize::try_from(self.month - 1).ok().and_then(|month| MONTHS.get(month));
        format!("{} {}", self.day, month.unwrap_or(&""))
    }

    /// `18:15`.
    pub fn clock(self) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }

    /// As `datetime` has it: `2026-11-21T18:15:26Z`.
    pub fn machine(self) -> String {
        format!("{}T{}:{:02}Z", self.date(), self.clock(), self.second)
    }

    /// `2026-11-21 18:15:26 UTC`.
    pub fn full(self) -> String {
        format!("{} {}:{:02} UTC", self.date(), self.clock(), self.second)
    }
}

/// How long ago, or how far ahead: `3 min ago`, `in 2 days`.
pub fn relative(at: Micros, now: Micros) -> String {
    let seconds = (i128::from(now) - i128::from(at)) / 1_000_000;
    let (size, unit) = match seconds.unsigned_abs() {
        0..60 => return if seconds >= 0 { "just now".to_owned() } else { "in a moment".to_owned() },
        size @ 60..3_600 => (size / 60, "min"),
        size @ 3_600..172_800 => (size / 3_600, "h"),
        size => (size / 86_400, "days"),
    };
    let size = number(i128::try_from(size).unwrap_or(i128::MAX));
    if seconds > 0 { format!("{size} {unit} ago") } else { format!("in {size} {unit}") }
}

/// Writes a time, as it is on the calendar and as seen from now.
pub fn time(html: &mut Html, at: Micros, now: Micros) {
    match Civil::of(at) {
        Some(civil) => {
            html.words("time", &[("datetime", &civil.machine())], &civil.full());
            html.text(" ");
            html.words("span", &[("class", "ago")], &relative(at, now));
        }
        None => {
            html.text(if at < now { "before all calendars" } else { "never" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse;
    use proptest::prelude::*;

    #[test]
    fn digits_stand_in_threes() {
        for (value, text) in [
            (0, "0"),
            (7, "7"),
            (-7, "−7"),
            (999, "999"),
            (1_000, "1\u{202f}000"),
            (-1_234_567, "−1\u{202f}234\u{202f}567"),
            (i64::MAX.into(), "9\u{202f}223\u{202f}372\u{202f}036\u{202f}854\u{202f}775\u{202f}807"),
        ] {
            assert_eq!(number(value), text);
        }
        assert!(number(i128::MIN).ends_with("728"));
        assert_eq!([signed(5), signed(0), signed(-5)], ["+5", "0", "−5"]);
        assert_eq!([counted(1, "event", "events"), counted(0, "event", "events")], ["1 event", "0 events"]);
    }

    #[test]
    fn only_all_is_all_and_only_none_is_none() {
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 10, "0 %"),
            (10, 10, "100 %"),
            (1, 3, "33.3 %"),
            (1, 1_000_000, "0.1 %"),
            (999_999, 1_000_000, "99.9 %"),
        ] {
            assert_eq!(percent(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü!", 3), "äöü…");
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn times_as_seen_from_now() {
        const SECOND: i64 = 1_000_000;
        for (seconds, text) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
            (86_400 * 1_234, "1\u{202f}234 days ago"),
            (-5, "in a moment"),
            (-60, "in 1 min"),
            (-7_200, "in 2 h"),
            (-259_200, "in 3 days"),
        ] {
            assert_eq!(relative(-seconds * SECOND, 0), text, "{seconds}");
        }
        assert!(relative(Micros::MIN, Micros::MAX).ends_with("days ago"));
    }

    #[test]
    fn the_ends_of_time_are_words() {
        let written = |at: Micros| {
            Html::document("en", |_| {}, |body| time(body, at, 0))
                .replace("<!doctype html>\n<html lang=\"en\"><head></head>\n", "")
        };
        assert_eq!(written(Micros::MAX), "<body>never</body></html>");
        assert_eq!(written(Micros::MIN), "<body>before all calendars</body></html>");
        assert_eq!(
            written(-60_000_000),
            "<body><time datetime=\"1999-12-31T23:59:00Z\">1999-12-31 23:59:00 UTC</time> \
             <span class=\"ago\">1 min ago</span></body></html>"
        );
    }

    #[test]
    fn only_the_years_that_have_four_digits() {
        assert_eq!(Civil::of(parse("0001-01-01").unwrap()).unwrap().full(), "0001-01-01 00:00:00 UTC");
        assert_eq!(Civil::of(parse("0001-01-01").unwrap() - 1), None);
        assert_eq!(
            Civil::of(parse("9999-12-31T23:59:59Z").unwrap()).unwrap().machine(),
            "9999-12-31T23:59:59Z"
        );
        assert_eq!(Civil::of(parse("9999-12-31T23:59:59Z").unwrap() + 1_000_000), None);
        assert_eq!(Civil::of(parse("2024-02-29").unwrap()).unwrap().short_date(), "29 Feb");
    }

    proptest! {
        /// The reader of times, written by other means, reads back what is written here.
        #[test]
        fn the_calendar_is_the_readers(seconds in -63_082_281_600_i64..252_455_616_000) {
            let at = seconds * 1_000_000;
            let civil = Civil::of(at).expect("in range");
            prop_assert_eq!(parse(&civil.machine()), Some(at));
            prop_assert_eq!(parse(&civil.full().replace(" UTC", "Z")), Some(at));
        }
    }
}
