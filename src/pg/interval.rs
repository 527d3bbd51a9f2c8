//! Intervals, as Postgres hands them over and takes them.

use billing_core::interval::Interval;
use pgrx::datum::Interval as PgInterval;

/// Of an `interval`.
pub fn interval_of(interval: PgInterval) -> Interval {
    Interval { months: interval.months(), days: interval.days(), micros: interval.micros() }
}

/// As an `interval`; none for parts of different signs, which the core refuses before.
pub fn interval(interval: Interval) -> Option<PgInterval> {
    PgInterval::new(interval.months, interval.days, interval.micros).ok()
}
