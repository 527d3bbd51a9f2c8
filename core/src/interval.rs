//! Calendar intervals in the three parts that Postgres keeps: a month or a day has no fixed length.

const MICROS_PER_DAY: i128 = 86_400_000_000;
/// A year of 365.25 days, so that 100 years, 1,200 months and 36,525 days are equally long here.
const MICROS_PER_MONTH: i128 = MICROS_PER_DAY * 36_525 / 1_200;
const MAX_MICROS: i128 = MICROS_PER_DAY * 36_525;

/// A length of time on the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Calendar months; a year is twelve.
    pub months: i32,
    /// Calendar days; a week is seven.
    pub days: i32,
    /// The rest.
    pub micros: i64,
}

impl Interval {
    /// Whether no part goes back in time and the whole is no longer than 100 years.
    ///
    /// Parts of different signs (a month less thirty days) would be ahead from one date and behind from
    /// another.
    pub fn is_forward(&self) -> bool {
        let whole = i128::from(self.months) * MICROS_PER_MONTH
            + i128::from(self.days) * MICROS_PER_DAY
            + i128::from(self.micros);
        self.months >= 0 && self.days >= 0 && self.micros >= 0 && whole <= MAX_MICROS
    }

    /// Whether it is [forward](Interval::is_forward), and not zero.
    pub fn is_positive(&self) -> bool {
        *self != Interval::default() && self.is_forward()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn interval(months: i32, days: i32, micros: i64) -> Interval {
        Interval { months, days, micros }
    }

    #[test]
    fn from_nothing_to_a_century() {
        assert!(interval(0, 0, 0).is_forward());
        assert!(!interval(0, 0, 0).is_positive());
        for longest in
            [interval(1_200, 0, 0), interval(0, 36_525, 0), interval(0, 0, 36_525 * 86_400_000_000)]
        {
            assert!(longest.is_positive());
            assert!(!Interval { micros: longest.micros + 1, ..longest }.is_forward());
        }
    }

    #[test]
    fn no_part_goes_back() {
        for mixed in [interval(1, -1, 0), interval(-1, 60, 0), interval(0, 1, -1), interval(0, -1, i64::MAX)]
        {
            assert!(!mixed.is_forward(), "{mixed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_interval_is_judged(months: i32, days: i32, micros: i64) {
            let any = interval(months, days, micros);
            prop_assert!(any.is_forward() || !any.is_positive());
        }
    }
}
