//! Plans: how long a period lasts, what it costs, and which credits it grants.

use crate::credits::{DEFAULT_CREDIT_TYPE, Money};
use crate::interval::Interval;
use crate::text::{MAX_REFERENCE_BYTES, is_name, is_solid};

/// Price ids of one plan at the most.
pub const MAX_PRICE_IDS: usize = 1_000;
/// What null reads as for `credits_grace`: three hours.
pub const DEFAULT_CREDITS_GRACE: Interval = Interval { months: 0, days: 0, micros: 3 * 3_600_000_000 };

/// What periods are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalUnit {
    /// Calendar days, in UTC.
    Day,
    /// Seven of them.
    Week,
    /// Calendar months.
    Month,
    /// Twelve of them.
    Year,
}

impl IntervalUnit {
    /// As given and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            IntervalUnit::Day => "day",
            IntervalUnit::Week => "week",
            IntervalUnit::Month => "month",
            IntervalUnit::Year => "year",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<IntervalUnit> {
        use IntervalUnit::*;
        [Day, Week, Month, Year].into_iter().find(|unit| unit.as_str() == text)
    }
}

/// A plan, as defined and as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub plan: String,
    /// What a period costs; of each branch, if the plan is per branch. Zero for a free plan.
    pub price: Money,
    /// What the period is counted in.
    pub interval_unit: IntervalUnit,
    /// How many of these a period lasts.
    pub interval_count: i32,
    /// Credits that a paid period grants.
    pub credits_per_period: i64,
    /// Whether they expire with their period.
    pub credits_expire: bool,
    /// How long after the period's end.
    pub credits_grace: Interval,
    /// Of which type they are.
    pub credit_type: String,
    /// Whether the price is one branch's.
    pub per_branch: bool,
}

/// The raw arguments of `billing.define_plan`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawPlan<'a> {
    /// Any text.
    pub plan: Option<&'a str>,
    /// Any number.
    pub amount_minor: Option<i64>,
    /// Any text.
    pub currency: Option<&'a str>,
    /// Any text.
    pub interval_unit: Option<&'a str>,
    /// Null reads as 1.
    pub interval_count: Option<i32>,
    /// Null reads as 0.
    pub credits_per_period: Option<i64>,
    /// Null reads as true.
    pub credits_expire: Option<bool>,
    /// Null reads as three hours.
    pub credits_grace: Option<Interval>,
    /// Null reads as the default.
    pub credit_type: Option<&'a str>,
    /// Null reads as false.
    pub per_branch: Option<bool>,
}

impl Plan {
    /// Validates; else the sentence that says what is wrong.
    pub fn parse(raw: &RawPlan) -> Result<Plan, &'static str> {
        let plan = raw.plan.filter(|name| is_name(name));
        let credit_type = Some(raw.credit_type.unwrap_or(DEFAULT_CREDIT_TYPE)).filter(|name| is_name(name));
        let grace = raw.credits_grace.unwrap_or(DEFAULT_CREDITS_GRACE);
        let plan = Plan {
            plan: plan.ok_or("a plan has a name that is not blank, of at most 63 bytes")?.to_owned(),
            price: Money::parse(raw.amount_minor, raw.currency)
                .ok()
                .flatten()
                .ok_or("a plan costs zero or more minor units of a currency of three letters")?,
            interval_unit: raw
                .interval_unit
                .and_then(IntervalUnit::parse)
                .ok_or("the interval unit is day, week, month or year")?,
            interval_count: raw.interval_count.unwrap_or(1),
            credits_per_period: Some(raw.credits_per_period.unwrap_or(0))
                .filter(|credits| *credits >= 0)
                .ok_or("a period grants zero or more credits")?,
            credits_expire: raw.credits_expire.unwrap_or(true),
            credits_grace: Some(grace)
                .filter(Interval::is_forward)
                .ok_or("credits_grace is an interval from zero to 100 years")?,
            credit_type: credit_type
                .ok_or("a credit type is a name that is not blank, of at most 63 bytes")?
                .to_owned(),
            per_branch: raw.per_branch.unwrap_or(false),
        };
        match plan.period() {
            Some(period) if period.is_positive() => Ok(plan),
            _ => Err("a period lasts from one day to 100 years"),
        }
    }

    /// How long a period lasts; none where no interval can hold it.
    pub fn period(&self) -> Option<Interval> {
        let (months, days) = match self.interval_unit {
            IntervalUnit::Day => (0, self.interval_count),
            IntervalUnit::Week => (0, self.interval_count.checked_mul(7)?),
            IntervalUnit::Month => (self.interval_count, 0),
            IntervalUnit::Year => (self.interval_count.checked_mul(12)?, 0),
        };
        Some(Interval { months, days, micros: 0 })
    }

    /// What a period costs for so many branches; none where the amount would leave 64 bits.
    pub fn amount_for(&self, branches: usize) -> Option<i64> {
        if !self.per_branch {
            return Some(self.price.amount_minor);
        }
        self.price.amount_minor.checked_mul(i64::try_from(branches.max(1)).ok()?)
    }
}

/// Validates the price ids of a plan: sorted, each once; else the sentence that says what is wrong.
pub fn parse_price_ids(given: Vec<Option<String>>) -> Result<Vec<String>, &'static str> {
    const SENTENCE: &str = "a price id has no white space and at most 255 bytes";
    let mut ids = given.into_iter().collect::<Option<Vec<String>>>().ok_or(SENTENCE)?;
    if ids.iter().any(|id| !is_solid(id) || id.len() > MAX_REFERENCE_BYTES) {
        return Err(SENTENCE);
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MAX_PRICE_IDS {
        return Err("a plan has at most 1,000 price ids");
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_price_id_may_be_as_long_as_its_limit() {
        let of = |bytes: usize| parse_price_ids(vec![Some("x".repeat(bytes))]).is_ok();
        assert!(of(MAX_REFERENCE_BYTES) && !of(MAX_REFERENCE_BYTES + 1) && !of(0));
    }

    fn raw() -> RawPlan<'static> {
        RawPlan {
            plan: Some("pro"),
            amount_minor: Some(5_000),
            currency: Some("NGN"),
            interval_unit: Some("month"),
            ..RawPlan::default()
        }
    }

    #[test]
    fn nulls_read_as_the_defaults() {
        let plan = Plan::parse(&raw()).unwrap();
        assert_eq!(plan.price, Money { amount_minor: 5_000, currency: "ngn".to_owned() });
        assert_eq!((plan.interval_count, plan.credits_per_period, plan.credits_expire), (1, 0, true));
        assert_eq!(plan.credits_grace, Interval { micros: 10_800_000_000, ..Interval::default() });
        assert_eq!((plan.credit_type.as_str(), plan.per_branch), ("credits", false));
    }

    #[test]
    fn bad_definitions_are_refused() {
        let long = "x".repeat(64);
        let bad = [None, Some(" "), Some(long.as_str())]
            .map(|plan| RawPlan { plan, ..raw() })
            .into_iter()
            .chain([None, Some(-1)].map(|amount_minor| RawPlan { amount_minor, ..raw() }))
            .chain([None, Some("n"), Some("12n")].map(|currency| RawPlan { currency, ..raw() }))
            .chain(
                [None, Some(""), Some("Month"), Some("months")]
                    .map(|unit| RawPlan { interval_unit: unit, ..raw() }),
            )
            .chain([0, -1, 1_201, i32::MAX].map(|count| RawPlan { interval_count: Some(count), ..raw() }))
            .chain([
                RawPlan { interval_unit: Some("year"), interval_count: Some(i32::MAX), ..raw() },
                RawPlan { interval_unit: Some("week"), interval_count: Some(i32::MIN), ..raw() },
                RawPlan { credits_per_period: Some(-1), ..raw() },
                RawPlan { credits_grace: Some(Interval { days: -1, ..Interval::default() }), ..raw() },
                RawPlan { credit_type: Some(""), ..raw() },
            ]);
        for raw in bad {
            assert!(Plan::parse(&raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn periods_are_of_the_calendar() {
        let period = |unit, count| {
            let raw = RawPlan { interval_unit: Some(unit), interval_count: Some(count), ..raw() };
            Plan::parse(&raw).unwrap().period().map(|period| (period.months, period.days))
        };
        assert_eq!(period("day", 36_525), Some((0, 36_525)));
        assert_eq!(period("week", 2), Some((0, 14)));
        assert_eq!(period("month", 3), Some((3, 0)));
        assert_eq!(period("year", 100), Some((1_200, 0)));
    }

    #[test]
    fn a_free_plan_is_a_plan() {
        assert!(Plan::parse(&RawPlan { amount_minor: Some(0), ..raw() }).is_ok());
    }

    #[test]
    fn branches_multiply_only_where_the_plan_says_so() {
        let plan = Plan::parse(&raw()).unwrap();
        assert_eq!(plan.amount_for(3), Some(5_000));
        let plan = Plan { per_branch: true, ..plan };
        assert_eq!(
            [0, 1, 3].map(|branches| plan.amount_for(branches)),
            [Some(5_000), Some(5_000), Some(15_000)]
        );
        let dear = Plan { price: Money { amount_minor: i64::MAX, ..plan.price.clone() }, ..plan };
        assert_eq!((dear.amount_for(1), dear.amount_for(2)), (Some(i64::MAX), None));
    }

    #[test]
    fn price_ids_are_sorted_and_each_once() {
        let given = |ids: &[&str]| parse_price_ids(ids.iter().map(|id| Some((*id).to_owned())).collect());
        assert_eq!(
            given(&["price_2", "PLN_1", "price_2"]),
            Ok(vec!["PLN_1".to_owned(), "price_2".to_owned()])
        );
        assert_eq!(given(&[]), Ok(Vec::new()));
        assert!(parse_price_ids(vec![None]).is_err());
        for bad in ["", " ", "a b", &"x".repeat(256)] {
            assert!(given(&[bad]).is_err(), "{bad:?}");
        }
        let many = |count: usize| parse_price_ids((0..count).map(|n| Some(n.to_string())).collect());
        assert!(many(1_000).is_ok());
        assert!(many(1_001).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_has_a_period(unit in "day|week|month|year", count: i32) {
            let raw = RawPlan { interval_unit: Some(&unit), interval_count: Some(count), ..raw() };
            if let Ok(plan) = Plan::parse(&raw) {
                prop_assert!(plan.period().is_some_and(|period| period.is_positive()));
            } else {
                prop_assert!(!(1..=100).contains(&count));
            }
        }
    }
}
