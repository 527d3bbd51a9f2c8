//! What an operator says of a pack or a plan: a line for each of name, credit type, currency, unit and the five
//! numbers (amount, credits, and the months, days and microseconds of an interval), then a price id per line.

use billing_core::credits::Money;
use billing_core::interval::Interval;
use billing_core::packs::{Pack, RawPack, credits_for};
use billing_core::plans::{Plan, RawPlan, parse_price_ids};

use super::{is_reference, stripe, text};

/// A hundred years of 365.25 days.
const CENTURY_MICROS: i128 = 36_525 * 86_400_000_000;
const MONTH_MICROS: i128 = CENTURY_MICROS / 1_200;

/// The target.
pub fn definitions(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut lines = text.lines();
    let [name, credit_type, currency, unit] = [(); 4].map(|()| lines.next());
    let [amount, credits, months, days, micros] = [(); 5].map(|()| lines.next()?.parse::<i64>().ok());
    let part = |number: Option<i64>| number.and_then(|number| i32::try_from(number).ok());
    let interval = Interval {
        months: part(months).unwrap_or_default(),
        days: part(days).unwrap_or_default(),
        micros: micros.unwrap_or_default(),
    };
    lengths(&interval);
    pack(&RawPack {
        pack: name,
        credits,
        amount_minor: amount,
        currency,
        credit_type,
        expires_after: micros.map(|_| interval),
    });
    plan(&RawPlan {
        plan: name,
        amount_minor: amount,
        currency,
        interval_unit: unit,
        interval_count: part(months),
        credits_per_period: credits,
        credits_grace: micros.map(|_| interval),
        credit_type,
        per_branch: days.map(|days| days > 0),
        ..RawPlan::default()
    });
    price_ids(lines.map(|line| Some(line.to_owned()).filter(|line| line != "null")).collect());
}

/// Forward in every part, and not beyond a century; counted with other arithmetic.
fn lengths(interval: &Interval) {
    let Interval { months, days, micros } = *interval;
    let whole = [i128::from(months) * MONTH_MICROS, i128::from(days) * 86_400_000_000, i128::from(micros)];
    let forward = whole.iter().all(|part| *part >= 0) && whole.iter().sum::<i128>() <= CENTURY_MICROS;
    assert_eq!(interval.is_forward(), forward);
    assert_eq!(interval.is_positive(), forward && whole.iter().any(|part| *part > 0));
}

fn is_name(name: &str) -> bool {
    is_reference(name) && name.len() <= 63
}

fn pack(raw: &RawPack) {
    let Ok(pack) = Pack::parse(raw) else { return };
    assert!(is_name(pack.pack) && is_name(pack.credit_type) && pack.credits > 0);
    is_a_price(&pack.price, 1);
    assert!(pack.expires_after.is_none_or(|after| after.is_positive()));
    // Whole packs only, and never more than was paid for.
    let price = pack.price.amount_minor;
    for packs in [1, 2, i64::MAX / price] {
        let Some(paid) = price.checked_mul(packs) else { continue };
        assert_eq!(credits_for(paid, price, pack.credits).ok(), packs.checked_mul(pack.credits));
        if let Some(more) = paid.checked_add(1).filter(|_| price > 1) {
            assert!(credits_for(more, price, pack.credits).is_err());
        }
    }
}

fn plan(raw: &RawPlan) {
    let Ok(plan) = Plan::parse(raw) else { return };
    assert!(is_name(&plan.plan) && is_name(&plan.credit_type) && plan.credits_per_period >= 0);
    is_a_price(&plan.price, 0);
    assert!(plan.credits_grace.is_forward());
    assert!(plan.period().is_some_and(|period| period.is_positive()));
    let one = plan.amount_for(0);
    assert_eq!(one, Some(plan.price.amount_minor));
    let three = if plan.per_branch { plan.price.amount_minor.checked_mul(3) } else { one };
    assert_eq!(plan.amount_for(3), three);
}

fn is_a_price(price: &Money, least: i64) {
    stripe::money(price);
    assert!(price.amount_minor >= least);
}

fn price_ids(given: Vec<Option<String>>) {
    let Ok(ids) = parse_price_ids(given.clone()) else { return };
    assert!(ids.len() <= 1_000 && ids.iter().all(|id| is_reference(id) && !id.contains(char::is_whitespace)));
    assert!(ids.is_sorted_by(|one, next| one < next));
    assert!(given.iter().flatten().all(|id| ids.contains(id)));
}
