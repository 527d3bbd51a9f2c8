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
