//! A time as text, read back from the calendar by other arithmetic.

use billing_core::time::{POSTGRES_EPOCH_UNIX, parse, unix};

use super::text;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// The first and the first no longer valid time of Postgres (4714 BC and 294277 AD), in Unix seconds.
const STORABLE_UNIX: std::ops::Range<i64> = -210_866_803_200..9_224_318_016_000;

/// The target.
pub fn times(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(micros) = parse(text) else { return };
    if text.ends_with("infinity") {
        return assert!(micros == i64::MIN || micros == i64::MAX);
    }
    assert!(is_storable(unix(micros)));
    let (year, written) = calendar(micros);
    // An offset can lead beyond the years that are written with four digits.
    if (1..=9_999).contains(&year) {
        assert_eq!(parse(&written), Some(micros), "{written}");
    }
}

/// Whether a `timestamptz` can hold it.
pub fn is_storable(unix: i64) -> bool {
    STORABLE_UNIX.contains(&unix)
}

/// The year, and the whole as ISO 8601 (days to civil dates by eras of 400 years that begin in March).
fn calendar(micros: i64) -> (i64, String) {
    let (days, micros) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    let days = days + POSTGRES_EPOCH_UNIX / 86_400 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    (year, format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z"))
}
