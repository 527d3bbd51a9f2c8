//! Credit packs: what one gives, what it costs, and how many a payment buys.

use crate::credits::{DEFAULT_CREDIT_TYPE, Money};
use crate::interval::Interval;
use crate::outcome::Detail;
use crate::text::is_name;

/// The raw arguments of `billing.define_pack`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawPack<'a> {
    /// Any text.
    pub pack: Option<&'a str>,
    /// Any number.
    pub credits: Option<i64>,
    /// Any number.
    pub amount_minor: Option<i64>,
    /// Any text.
    pub currency: Option<&'a str>,
    /// Null reads as the default.
    pub credit_type: Option<&'a str>,
    /// Null is never.
    pub expires_after: Option<Interval>,
}

/// A well-formed definition of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack<'a> {
    /// Its name.
    pub pack: &'a str,
    /// What one gives.
    pub credits: i64,
    /// What one costs.
    pub price: Money,
    /// Of which type its credits are.
    pub credit_type: &'a str,
    /// How long its credits live; none: for ever.
    pub expires_after: Option<Interval>,
}

impl<'a> Pack<'a> {
    /// Validates; else the sentence that says what is wrong.
    pub fn parse(raw: &RawPack<'a>) -> Result<Pack<'a>, &'static str> {
        let pack = raw.pack.filter(|name| is_name(name));
        let credit_type = Some(raw.credit_type.unwrap_or(DEFAULT_CREDIT_TYPE)).filter(|name| is_name(name));
        if raw.expires_after.is_some_and(|after| !after.is_positive()) {
            return Err("expires_after is a positive interval of at most 100 years");
        }
        Ok(Pack {
            pack: pack.ok_or("a pack has a name that is not blank, of at most 63 bytes")?,
            credits: raw
                .credits
                .filter(|credits| *credits > 0)
                .ok_or("a pack gives a positive number of credits")?,
            price: Money::parse(raw.amount_minor, raw.currency)
                .ok()
                .flatten()
                .filter(|price| price.amount_minor > 0)
                .ok_or("a pack costs a positive number of minor units of a currency of three letters")?,
            credit_type: credit_type
                .ok_or("a credit type is a name that is not blank, of at most 63 bytes")?,
            expires_after: raw.expires_after,
        })
    }
}

/// The credits that a payment buys: only whole packs, one or more.
pub fn credits_for(paid_minor: i64, price_minor: i64, credits: i64) -> Result<i64, Detail> {
    let whole = paid_minor.checked_rem(price_minor) == Some(0);
    paid_minor
        .checked_div(price_minor)
        .filter(|packs| whole && *packs > 0)
        .and_then(|packs| packs.checked_mul(credits))
        .ok_or(Detail::AmountMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw() -> RawPack<'static> {
        RawPack {
            pack: Some("starter"),
            credits: Some(100),
            amount_minor: Some(900),
            currency: Some("EUR"),
            ..RawPack::default()
        }
    }

    #[test]
    fn a_definition_is_read() {
        let pack = Pack::parse(&raw()).unwrap();
        assert_eq!((pack.pack, pack.credits, pack.credit_type), ("starter", 100, "credits"));
        assert_eq!(pack.price, Money { amount_minor: 900, currency: "eur".to_owned() });
        let month = Interval { months: 1, ..Interval::default() };
        let pack =
            Pack::parse(&RawPack { expires_after: Some(month), credit_type: Some("gold"), ..raw() }).unwrap();
        assert_eq!((pack.credit_type, pack.expires_after), ("gold", Some(month)));
    }

    #[test]
    fn bad_definitions_are_refused() {
        let long = "x".repeat(64);
        let names = [None, Some(""), Some("\u{2003}"), Some(long.as_str())];
        let bad = names
            .map(|pack| RawPack { pack, ..raw() })
            .into_iter()
            .chain([None, Some(0), Some(-1)].map(|credits| RawPack { credits, ..raw() }))
            .chain([None, Some(0), Some(-1)].map(|amount_minor| RawPack { amount_minor, ..raw() }))
            .chain([None, Some(""), Some("eu"), Some("euro")].map(|currency| RawPack { currency, ..raw() }))
            .chain([Some(" "), Some(long.as_str())].map(|credit_type| RawPack { credit_type, ..raw() }))
            .chain([0, -1, i32::MAX].map(|months| RawPack {
                expires_after: Some(Interval { months, ..Interval::default() }),
                ..raw()
            }));
        for raw in bad {
            assert!(Pack::parse(&raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn only_whole_packs_are_bought() {
        assert_eq!(credits_for(900, 900, 100), Ok(100));
        assert_eq!(credits_for(2_700, 900, 100), Ok(300));
        for paid in [0, 1, 899, 901, 1_350, -900, i64::MIN] {
            assert_eq!(credits_for(paid, 900, 100), Err(Detail::AmountMismatch), "{paid}");
        }
        assert_eq!(
            credits_for(i64::MAX, 1, 2),
            Err(Detail::AmountMismatch),
            "more credits than 64 bits hold"
        );
    }

    proptest! {
        #[test]
        fn what_is_bought_costs_what_was_paid(paid: i64, price in 1..=i64::MAX, credits in 1..=i64::MAX) {
            if let Ok(bought) = credits_for(paid, price, credits) {
                prop_assert!(bought > 0);
                prop_assert_eq!(bought / credits * price, paid);
                prop_assert_eq!(bought % credits, 0);
            }
        }

        #[test]
        fn several_packs_give_as_often(packs in 1..1_000_i64, price in 1..1_000_000_i64, credits in 1..1_000_000_i64) {
            prop_assert_eq!(credits_for(packs * price, price, credits), Ok(packs * credits));
        }
    }
}
