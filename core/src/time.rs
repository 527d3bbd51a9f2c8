//! Times written as text, read as Postgres counts them.

use crate::credits::account::Micros;

/// Seconds from the Unix epoch to Postgres's, which `timestamptz` counts from.
pub const POSTGRES_EPOCH_UNIX: i64 = 946_684_800;
/// From 24 November 4714 BC until before 294277 AD: what a `timestamptz` can hold, in Unix seconds.
const STORABLE_UNIX: std::ops::Range<i64> = -210_866_803_200..9_224_318_016_000;

/// Reads an ISO 8601 time with an offset (`2026-12-31T23:59:59.5+01:00`, `2026-12-31 23:59Z`) or a date
/// (midnight UTC), as Postgres counts it; `infinity` and `-infinity` too.
pub fn parse(text: &str) -> Option<Micros> {
    match text {
        "infinity" => return Some(Micros::MAX),
        "-infinity" => return Some(Micros::MIN),
        _ => {}
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00Z"),
    };
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    // As Postgres has it, 1 BC is written otherwise, and there is no year 0.
    if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let (clock, offset_minutes) = split_offset(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() {
        0
    } else {
        digits(fraction, fraction.len())? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?)
    };
    let seconds = days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        - offset_minutes * 60
        - POSTGRES_EPOCH_UNIX;
    Some(seconds * 1_000_000 + micros)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The clock part, and the offset in minutes east of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (clock, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let offset = &offset[1..];
    let (hours, minutes) = match offset.split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
        None if offset.len() == 4 => (digits(offset.get(..2)?, 2)?, digits(offset.get(2..)?, 2)?),
        None => (digits(offset, 2)?, 0),
    };
    (hours <= 15 && minutes <= 59).then_some((clock, sign * (hours * 60 + minutes)))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400;
    let days_before_month: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    days_before_year + days_before_month + day - 1 - 719_162
}

/// Unix seconds of a point in time, rounded down.
pub const fn unix(at: Micros) -> i64 {
    at.div_euclid(1_000_000) + POSTGRES_EPOCH_UNIX
}

/// Whether Postgres can keep that point in time.
pub fn is_storable(unix_seconds: i64) -> bool {
    STORABLE_UNIX.contains(&unix_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_postgres_reads_them() {
        for (text, micros) in [
            ("2000-01-01T00:00:00Z", Some(0)),
            ("2000-01-01", Some(0)),
            ("1970-01-01T00:00:00Z", Some(-POSTGRES_EPOCH_UNIX * 1_000_000)),
            ("2000-01-01 01:00+01", Some(0)),
            ("2000-01-01T01:30:00.000001+0130", Some(1)),
            ("1999-12-31T23:00:00.5-01:00", Some(500_000)),
            ("2024-02-29T12:00:00Z", Some(762_523_200_000_000)),
            ("infinity", Some(Micros::MAX)),
            ("-infinity", Some(Micros::MIN)),
            ("2023-02-29T12:00:00Z", None),
            ("0001-01-01", Some(-63_082_281_600_000_000)),
            ("0000-12-31", None),
            ("2000-13-01", None),
            ("2000-01-01T24:00:00Z", None),
            ("2000-01-01T00:00:00", None),
            ("2000-1-1", None),
            ("", None),
            ("T", None),
        ] {
            assert_eq!(parse(text), micros, "{text}");
        }
    }

    /// Days computed by other means: the first of March, after a leap day or none, and each month of a year.
    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        for (text, days) in [
            ("0001-03-01", -730_060),
            ("0004-03-01", -728_964),
            ("0100-03-01", -693_901),
            ("0101-03-01", -693_536),
            ("0400-03-01", -584_328),
            ("1600-03-01", -146_037),
            ("1700-03-01", -109_513),
            ("1900-03-01", -36_465),
            ("1969-03-01", -11_263),
            ("1970-03-01", -10_898),
            ("1999-03-01", -306),
            ("2000-03-01", 60),
            ("2001-03-01", 425),
            ("2004-03-01", 1_521),
            ("2023-03-01", 8_460),
            ("2024-03-01", 8_826),
            ("2100-03-01", 36_584),
            ("2400-03-01", 146_157),
            ("9999-03-01", 2_921_634),
            ("2023-01-01", 8_401),
            ("2023-02-01", 8_432),
            ("2023-03-01", 8_460),
            ("2023-04-01", 8_491),
            ("2023-05-01", 8_521),
            ("2023-06-01", 8_552),
            ("2023-07-01", 8_582),
            ("2023-08-01", 8_613),
            ("2023-09-01", 8_644),
            ("2023-10-01", 8_674),
            ("2023-11-01", 8_705),
            ("2023-12-01", 8_735),
        ] {
            assert_eq!(parse(text), Some(days * 86_400_000_000), "{text}");
        }
    }

    #[test]
    fn months_have_their_lengths_and_leap_years_their_day() {
        for (month, last) in (1..).zip([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
            assert!(parse(&format!("2023-{month:02}-{last}")).is_some(), "{month}");
            assert_eq!(parse(&format!("2023-{month:02}-{}", last + 1)), None, "{month}");
        }
        for (year, leap) in [
            (4, true),
            (100, false),
            (400, true),
            (1900, false),
            (2000, true),
            (2023, false),
            (2024, true),
            (2026, false),
            (2100, false),
            (2200, false),
        ] {
            assert_eq!(parse(&format!("{year:04}-02-29")).is_some(), leap, "{year}");
        }
        for text in ["2023-00-01", "2023-01-00", "2023-13-01"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_part_of_a_clock_has_its_bounds() {
        let at = |clock: &str| parse(&format!("2000-01-01T{clock}"));
        for (clock, micros) in [
            ("00:00Z", Some(0)),
            ("00:00:01Z", Some(1_000_000)),
            ("00:01:00Z", Some(60_000_000)),
            ("01:00:00Z", Some(3_600_000_000)),
            ("23:59:59.999999Z", Some(86_399_999_999)),
            ("00:00:00.1z", Some(100_000)),
            ("00:00:00.000001Z", Some(1)),
            ("00:00:00.0000001Z", None),
            ("24:00:00Z", None),
            ("00:60:00Z", None),
            ("00:00:60Z", None),
            ("00:00:00:00Z", None),
            ("00Z", None),
            ("0:00Z", None),
            ("00:00:00", None),
            ("00:00+00:00", Some(0)),
            ("00:00-01:30", Some(5_400_000_000)),
            ("00:00+01:30", Some(-5_400_000_000)),
            ("00:00-0130", Some(5_400_000_000)),
            ("00:00-01", Some(3_600_000_000)),
            ("00:00-15:59", Some(57_540_000_000)),
            ("00:00-16:00", None),
            ("00:00-00:60", None),
            ("00:00-001", None),
            ("00:00-00000", None),
        ] {
            assert_eq!(at(clock), micros, "{clock}");
        }
    }

    #[test]
    fn unix_time_is_rounded_down() {
        for (micros, seconds) in [(0, 0), (999_999, 0), (1_000_000, 1), (-1, -1), (-1_000_000, -1)] {
            assert_eq!(unix(micros), POSTGRES_EPOCH_UNIX + seconds, "{micros}");
        }
    }

    #[test]
    fn the_ends_of_postgres_time() {
        for unix in [-210_866_803_200, 0, 9_224_318_015_999] {
            assert!(is_storable(unix), "{unix}");
        }
        for unix in [i64::MIN, -210_866_803_201, 9_224_318_016_000, i64::MAX] {
            assert!(!is_storable(unix), "{unix}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse(&text);
        }
    }
}
