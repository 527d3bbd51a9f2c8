//! What refunds and disputes say of a payment, and how many credits that calls for to be undone.
//!
//! Nothing here depends on the order of events: each only adds to what is known of the charge, and what is
//! called for is computed from all that is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::Object;
use crate::outcome::Detail;
use crate::text::{MAX_REFERENCE_BYTES, is_solid};

/// What an event reports of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// So much of the whole amount is refunded by now (Stripe).
    Refunded {
        /// The whole charge, in minor units.
        amount_minor: i64,
        /// Of that, refunded.
        refunded_minor: i64,
        /// Unix seconds of the event.
        at: i64,
    },
    /// A refund came to nothing (Stripe).
    RefundFailed {
        /// `re_...`
        refund_id: String,
        /// Minor units.
        amount_minor: i64,
        /// Unix seconds of the event.
        at: i64,
    },
    /// One refund was paid out (Paystack): they add up.
    RefundPaid {
        /// What tells this refund from others of the charge.
        refund_id: String,
        /// Minor units.
        amount_minor: i64,
    },
    /// A dispute took the money away.
    Withdrawn {
        /// `dp_...` or `du_...`
        dispute_id: String,
    },
    /// A dispute was won.
    Reinstated {
        /// `dp_...` or `du_...`
        dispute_id: String,
    },
    /// Nothing that counts: a refund under way, or one that succeeded.
    Nothing,
}

/// Whether Stripe's events of the type report of a charge.
pub fn is_reported_by(event_type: &str) -> bool {
    matches!(
        event_type,
        "charge.refunded"
            | "refund.failed"
            | "refund.updated"
            | "charge.refund.updated"
            | "charge.dispute.funds_withdrawn"
            | "charge.dispute.funds_reinstated"
    )
}

/// Reads what a Stripe event reports, and of which payment: `pi_...`, else `ch_...`.
pub fn read_stripe(
    event_type: &str,
    object: &Object,
    created: Option<i64>,
) -> Result<(String, Report), Detail> {
    let read = || {
        let id = reference(object, "id")?;
        let charge =
            if event_type == "charge.refunded" { Some(id.clone()) } else { reference(object, "charge") };
        let payment_ref = reference(object, "payment_intent").or(charge)?;
        Some((payment_ref, report(event_type, object, id, created)?))
    };
    read().ok_or(Detail::ObjectMalformed)
}

fn report(event_type: &str, object: &Object, id: String, created: Option<i64>) -> Option<Report> {
    let minor = |key| object.get(key)?.integer().filter(|amount| *amount >= 0);
    let failed = || {
        let status = object.text("status");
        event_type == "refund.failed" || matches!(status.as_deref(), Some("failed" | "canceled"))
    };
    Some(match event_type {
        "charge.refunded" => Report::Refunded {
            amount_minor: minor("amount")?,
            refunded_minor: minor("amount_refunded")?,
            at: created?,
        },
        "charge.dispute.funds_withdrawn" => Report::Withdrawn { dispute_id: id },
        "charge.dispute.funds_reinstated" => Report::Reinstated { dispute_id: id },
        _ if failed() => Report::RefundFailed { refund_id: id, amount_minor: minor("amount")?, at: created? },
        _ => Report::Nothing,
    })
}

fn reference(object: &Object, key: &str) -> Option<String> {
    let id = object.id(key).filter(|id| is_solid(id) && id.len() <= MAX_REFERENCE_BYTES)?;
    Some(id.into_owned())
}

/// A single refund: one that failed (Stripe), or one that was paid out (Paystack).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Minor units.
    pub amount: i64,
    /// Unix seconds at which it failed; none for one that was paid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<i64>,
}

/// Where a dispute's money is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dispute {
    /// Taken away.
    Withdrawn,
    /// Given back; once so, it stays so.
    Reinstated,
}

/// All that is known of a charge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The whole charge in minor units, where an event told it.
    pub amount_minor: Option<i64>,
    /// Refunded in total, as the latest `charge.refunded` says.
    pub refunded_minor: i64,
    /// Unix seconds of that event.
    pub refunded_at: Option<i64>,
    /// By the refund's id.
    pub refunds: BTreeMap<String, Refund>,
    /// By the dispute's id.
    pub disputes: BTreeMap<String, Dispute>,
}

impl Charge {
    /// Adds what an event reports; whether anything is new.
    pub fn hear(&mut self, report: Report) -> bool {
        let before = self.clone();
        match report {
            Report::Refunded { amount_minor, refunded_minor, at } => {
                let known = (self.refunded_at, self.refunded_minor, self.amount_minor);
                let told = (Some(at), refunded_minor, Some(amount_minor));
                (self.refunded_at, self.refunded_minor, self.amount_minor) = known.max(told);
            }
            Report::RefundFailed { refund_id, amount_minor, at } => {
                // Told again later, it still failed when it failed.
                let told = Refund { amount: amount_minor, failed_at: Some(at) };
                let known = self.refunds.entry(refund_id).or_insert(told);
                if (told.failed_at, -told.amount) < (known.failed_at, -known.amount) {
                    *known = told;
                }
            }
            Report::RefundPaid { refund_id, amount_minor } => {
                let told = Refund { amount: amount_minor, failed_at: None };
                self.refunds.entry(refund_id).or_insert(told);
            }
            Report::Withdrawn { dispute_id } => {
                self.disputes.entry(dispute_id).or_insert(Dispute::Withdrawn);
            }
            Report::Reinstated { dispute_id } => {
                self.disputes.insert(dispute_id, Dispute::Reinstated);
            }
            Report::Nothing => {}
        }
        *self != before
    }

    /// Whether any refund or dispute was heard of.
    pub fn is_contested(&self) -> bool {
        self.refunded_at.is_some() || !self.refunds.is_empty() || !self.disputes.is_empty()
    }

    /// Refunded so far, in minor units.
    fn refunded(&self) -> i64 {
        let paid = self.refunds.values().filter(|refund| refund.failed_at.is_none());
        let paid = paid.fold(0, |sum: i64, refund| sum.saturating_add(refund.amount));
        let failed = self.refunds.values().filter(|refund| {
            // In the same second the failure is the later of the two: what fails was refunded before.
            refund.failed_at.is_some_and(|at| self.refunded_at.is_some_and(|told| at >= told))
        });
        let failed = failed.fold(0, |sum: i64, refund| sum.saturating_add(refund.amount));
        self.refunded_minor.saturating_sub(failed).max(0).saturating_add(paid)
    }

    /// How many of the credits that it paid for are called for to be undone. `paid_minor`: what the
    /// purchase says was paid; where nobody knows, any refund counts as a full one.
    pub fn called_for(&self, gave: i64, paid_minor: Option<i64>) -> i64 {
        if self.disputes.values().any(|dispute| *dispute == Dispute::Withdrawn) {
            return gave;
        }
        let refunded = self.refunded();
        match self.amount_minor.or(paid_minor) {
            _ if refunded == 0 => 0,
            Some(amount) if refunded < amount => {
                let share = i128::from(gave) * i128::from(refunded) / i128::from(amount);
                i64::try_from(share).unwrap_or(gave)
            }
            _ => gave,
        }
    }

    /// The refunds as stored.
    pub fn refunds_json(&self) -> String {
        serde_json::to_string(&self.refunds).unwrap_or_default()
    }

    /// The disputes as stored.
    pub fn disputes_json(&self) -> String {
        serde_json::to_string(&self.disputes).unwrap_or_default()
    }
}

/// Reads refunds or disputes as stored.
pub fn stored<T: serde::de::DeserializeOwned>(json: &str) -> Option<BTreeMap<String, T>> {
    serde_json::from_str(json).ok()
}

/// What the reversals of an entry have undone of it so far: taken credits and shortfall alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// By refunds and disputes.
    pub by_charge: i64,
    /// By callers.
    pub by_others: i64,
    /// Of both, what could not be taken.
    pub shortfall: i64,
}

/// What brings an entry to what its charge calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there already.
    Nothing,
    /// So many more are to be undone.
    Take(i64),
    /// Less is called for than before.
    GiveBack {
        /// The shortfall shrinks first.
        shortfall: i64,
        /// Then credits come back.
        credits: i64,
    },
}

/// What follows when the credits called for have changed since they were looked at last (`before`).
///
/// Other reversals count as undone already, and are never given back. As long as no more and no less is
/// called for, nothing follows: what somebody undid by hand beside it stays undone.
pub fn step(before: i64, called_for: i64, undone: Undone) -> Step {
    let total = undone.by_charge + undone.by_others;
    if called_for > before {
        return if called_for > total { Step::Take(called_for - total) } else { Step::Nothing };
    }
    let back = (total - called_for.max(undone.by_others)).min(undone.by_charge);
    if called_for == before || back <= 0 {
        return Step::Nothing;
    }
    let shortfall = back.min(undone.shortfall.max(0));
    Step::GiveBack { shortfall, credits: back - shortfall }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refunded(at: i64, refunded_minor: i64) -> Report {
        Report::Refunded { amount_minor: 900, refunded_minor, at }
    }

    fn failed(id: &str, amount_minor: i64, at: i64) -> Report {
        Report::RefundFailed { refund_id: id.to_owned(), amount_minor, at }
    }

    fn called_for(reports: &[Report]) -> i64 {
        let mut charge = Charge::default();
        for report in reports {
            charge.hear(report.clone());
        }
        charge.called_for(100, None)
    }

    #[test]
    fn the_refunded_share_is_rounded_down_and_the_whole_is_the_whole() {
        for (minor, credits) in
            [(0, 0), (8, 0), (9, 1), (300, 33), (450, 50), (899, 99), (900, 100), (999, 100)]
        {
            assert_eq!(called_for(&[refunded(10, minor)]), credits, "{minor}");
        }
        let huge = Charge {
            amount_minor: Some(i64::MAX),
            refunded_minor: i64::MAX - 1,
            refunded_at: Some(0),
            ..Charge::default()
        };
        assert_eq!(huge.called_for(i64::MAX, None), i64::MAX - 1);
        let free = Charge { amount_minor: Some(0), refunded_at: Some(0), ..Charge::default() };
        assert_eq!(free.called_for(100, None), 0);
    }

    #[test]
    fn the_latest_refunded_event_counts_and_of_one_second_the_highest() {
        assert_eq!(called_for(&[refunded(10, 450), refunded(9, 900)]), 50);
        assert_eq!(called_for(&[refunded(9, 900), refunded(10, 450)]), 50);
        assert_eq!(called_for(&[refunded(10, 450), refunded(10, 900)]), 100);
        assert_eq!(called_for(&[refunded(10, 900), refunded(10, 450)]), 100);
    }

    #[test]
    fn a_failed_refund_counts_once_and_only_from_its_time_on() {
        assert_eq!(called_for(&[refunded(10, 900), failed("re_1", 450, 11)]), 50);
        assert_eq!(called_for(&[failed("re_1", 450, 11), refunded(10, 900)]), 50);
        assert_eq!(called_for(&[refunded(10, 900), failed("re_1", 450, 11), failed("re_1", 450, 12)]), 50);
        assert_eq!(called_for(&[refunded(10, 900), failed("re_1", 450, 11), failed("re_2", 450, 12)]), 0);
        assert_eq!(called_for(&[refunded(10, 900), failed("re_1", 450, 9)]), 100, "told with it already");
        assert_eq!(called_for(&[refunded(10, 900), failed("re_1", 900, 10)]), 0, "in the same second");
        // Told again after another refund: it failed before that.
        let told_again = [failed("re_1", 450, 9), refunded(10, 450), failed("re_1", 450, 11)];
        assert_eq!(called_for(&told_again), 50);
    }

    #[test]
    fn refunds_paid_out_add_up() {
        let paid = |id: &str, amount_minor| Report::RefundPaid { refund_id: id.to_owned(), amount_minor };
        let mut charge = Charge::default();
        assert!(charge.hear(paid("a", 300)));
        assert!(!charge.hear(paid("a", 300)));
        assert!(charge.hear(paid("b", 150)));
        assert_eq!(charge.called_for(100, Some(900)), 50);
        assert_eq!(charge.called_for(100, None), 100, "of an unknown amount any refund is a full one");
        charge.amount_minor = Some(4_500);
        assert_eq!(charge.called_for(100, Some(900)), 10, "what an event told comes before the ledger");
        charge.hear(paid("c", i64::MAX));
        charge.hear(paid("d", i64::MAX));
        assert_eq!(charge.called_for(100, Some(900)), 100);
    }

    #[test]
    fn one_refund_or_dispute_of_any_kind_makes_a_charge_contested() {
        let heard = |report| {
            let mut charge = Charge::default();
            charge.hear(report);
            charge.is_contested()
        };
        assert!(!heard(Report::Nothing));
        assert!(heard(refunded(10, 450)));
        assert!(heard(failed("re_1", 450, 10)));
        assert!(heard(Report::Withdrawn { dispute_id: "dp_1".to_owned() }));
    }

    #[test]
    fn a_dispute_takes_all_until_it_is_reinstated_for_good() {
        let withdrawn = |id: &str| Report::Withdrawn { dispute_id: id.to_owned() };
        let reinstated = |id: &str| Report::Reinstated { dispute_id: id.to_owned() };
        assert_eq!(called_for(&[withdrawn("dp_1")]), 100);
        assert_eq!(called_for(&[withdrawn("dp_1"), reinstated("dp_1")]), 0);
        assert_eq!(called_for(&[reinstated("dp_1"), withdrawn("dp_1")]), 0);
        assert_eq!(called_for(&[reinstated("dp_1"), withdrawn("dp_1"), reinstated("dp_1")]), 0);
        assert_eq!(called_for(&[withdrawn("dp_1"), reinstated("dp_2")]), 100);
        assert_eq!(called_for(&[withdrawn("dp_1"), reinstated("dp_1"), refunded(5, 450)]), 50);
    }

    #[test]
    fn a_step_leaves_what_others_undid() {
        let undone = |by_charge, by_others, shortfall| Undone { by_charge, by_others, shortfall };
        assert_eq!(step(0, 50, undone(0, 0, 0)), Step::Take(50));
        assert_eq!(step(50, 50, undone(50, 0, 10)), Step::Nothing);
        assert_eq!(step(50, 100, undone(50, 20, 0)), Step::Take(30));
        assert_eq!(step(0, 10, undone(0, 20, 0)), Step::Nothing);
        assert_eq!(step(50, 0, undone(50, 0, 20)), Step::GiveBack { shortfall: 20, credits: 30 });
        assert_eq!(step(50, 40, undone(50, 0, 20)), Step::GiveBack { shortfall: 10, credits: 0 });
        assert_eq!(step(50, 0, undone(30, 20, 50)), Step::GiveBack { shortfall: 30, credits: 0 });
        // Undone by hand after the refund: nothing follows until more or less is called for.
        assert_eq!(step(50, 50, undone(50, 20, 0)), Step::Nothing);
        assert_eq!(step(50, 60, undone(50, 20, 0)), Step::Nothing);
        assert_eq!(step(50, 30, undone(50, 20, 0)), Step::GiveBack { shortfall: 0, credits: 40 });
    }

    #[test]
    fn what_stripe_says_is_read() {
        let read = |event_type: &str, json: &str, created| {
            read_stripe(event_type, &Object::parse(json).unwrap(), created)
        };
        let charge = r#"{"id":"ch_1","amount":900,"amount_refunded":300,"payment_intent":{"id":"pi_1"}}"#;
        assert_eq!(read("charge.refunded", charge, Some(7)), Ok(("pi_1".to_owned(), refunded(7, 300))));
        let old = r#"{"id":"ch_1","amount":900,"amount_refunded":300,"payment_intent":null}"#;
        assert_eq!(read("charge.refunded", old, Some(7)), Ok(("ch_1".to_owned(), refunded(7, 300))));
        let refund =
            r#"{"id":"re_1","amount":300,"charge":"ch_1","payment_intent":"pi_1","status":"failed"}"#;
        let pi = || "pi_1".to_owned();
        for event_type in ["refund.failed", "refund.updated", "charge.refund.updated"] {
            assert_eq!(read(event_type, refund, Some(7)), Ok((pi(), failed("re_1", 300, 7))));
        }
        let pending = refund.replace("failed", "pending");
        assert_eq!(read("refund.updated", &pending, None), Ok((pi(), Report::Nothing)));
        assert_eq!(read("refund.failed", &pending, Some(7)), Ok((pi(), failed("re_1", 300, 7))));
        let dispute = r#"{"id":"dp_1","charge":{"id":"ch_1"},"payment_intent":null}"#;
        assert_eq!(
            read("charge.dispute.funds_withdrawn", dispute, None),
            Ok(("ch_1".to_owned(), Report::Withdrawn { dispute_id: "dp_1".to_owned() }))
        );
        assert_eq!(
            read("charge.dispute.funds_reinstated", dispute, None),
            Ok(("ch_1".to_owned(), Report::Reinstated { dispute_id: "dp_1".to_owned() }))
        );
        for (event_type, json, created) in [
            ("charge.refunded", charge, None),
            ("charge.refunded", "{}", Some(7)),
            ("charge.refunded", r#"{"id":"ch_1","amount":"900","amount_refunded":300}"#, Some(7)),
            ("charge.refunded", r#"{"id":"ch_1","amount":900,"amount_refunded":-1}"#, Some(7)),
            ("charge.refunded", r#"{"id":"ch_1","amount":900,"amount_refunded":1e131071}"#, Some(7)),
            ("charge.refunded", r#"{"id":"ch_1","amount":10.5,"amount_refunded":1}"#, Some(7)),
            ("charge.refunded", r#"{"id":7,"amount":900,"amount_refunded":1}"#, Some(7)),
            ("refund.failed", r#"{"id":"re_1","amount":300,"status":"failed"}"#, Some(7)),
            ("refund.failed", r#"{"id":"re_1","charge":"ch_1","status":"failed"}"#, Some(7)),
            ("charge.dispute.funds_withdrawn", r#"{"id":"dp_1","charge":7}"#, Some(7)),
            ("charge.dispute.funds_withdrawn", r#"{"id":" ","charge":"ch_1"}"#, Some(7)),
        ] {
            assert_eq!(read(event_type, json, created), Err(Detail::ObjectMalformed), "{json}");
        }
    }

    #[test]
    fn these_events_tell_of_charges_and_no_others() {
        for event_type in [
            "charge.refunded",
            "refund.failed",
            "refund.updated",
            "charge.refund.updated",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
        ] {
            assert!(is_reported_by(event_type), "{event_type}");
        }
        for event_type in ["charge.succeeded", "charge.dispute.created", "refund.created", ""] {
            assert!(!is_reported_by(event_type), "{event_type}");
        }
    }

    #[test]
    fn of_one_second_the_highest_failure_counts() {
        for reports in [
            [failed("re_1", 300, 11), failed("re_1", 450, 11)],
            [failed("re_1", 450, 11), failed("re_1", 300, 11)],
        ] {
            let mut charge = Charge::default();
            reports.into_iter().for_each(|report| {
                charge.hear(report);
            });
            assert_eq!(charge.refunds["re_1"].amount, 450);
        }
    }

    #[test]
    fn what_is_stored_reads_back() {
        let mut charge = Charge::default();
        assert!(!charge.is_contested());
        charge.hear(failed("re_1", 300, 7));
        charge.hear(Report::RefundPaid { refund_id: "a:b".to_owned(), amount_minor: 5 });
        charge.hear(Report::Withdrawn { dispute_id: "dp_1".to_owned() });
        assert!(charge.is_contested());
        assert_eq!(stored::<Refund>(&charge.refunds_json()).unwrap(), charge.refunds);
        assert_eq!(stored::<Dispute>(&charge.disputes_json()).unwrap(), charge.disputes);
        assert_eq!(charge.disputes_json(), r#"{"dp_1":"withdrawn"}"#);
    }

    fn reports() -> impl Strategy<Value = Report> {
        let id = || (0u8..3).prop_map(|number| format!("x{number}"));
        prop_oneof![
            (0i64..4, 0i64..10).prop_map(|(at, part)| refunded(at, part * 100)),
            (id(), 0i64..4, 0i64..5).prop_map(|(id, part, at)| failed(&id, part * 100, at)),
            id().prop_map(|dispute_id| Report::Withdrawn { dispute_id }),
            id().prop_map(|dispute_id| Report::Reinstated { dispute_id }),
        ]
    }

    proptest! {
        /// Every order of the same reports, each told once or twice, ends in the same.
        #[test]
        fn no_order_matters(
            reports in prop::collection::vec(reports(), 0..5),
            shuffled in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let mut straight = Charge::default();
            for report in &reports {
                straight.hear(report.clone());
            }
            let mut other = Charge::default();
            if !reports.is_empty() {
                for index in &shuffled {
                    other.hear(index.get(&reports).clone());
                }
                for report in reports.iter().rev() {
                    other.hear(report.clone());
                }
            }
            prop_assert_eq!(&straight, &other);
            let called_for = straight.called_for(100, None);
            prop_assert!((0..=100).contains(&called_for));
        }

        /// A change leads to what is called for: never to less than others undid, never to more because of
        /// a fall; and the shortfall stays within it.
        #[test]
        fn one_step_is_enough(
            gave in 0i64..50, other in 0i64..50, own in 0i64..50, short in 0i64..50, before in 0i64..50,
            calls in 0i64..50,
        ) {
            let (other, before, calls) = (other.min(gave), before.min(gave), calls.min(gave));
            let own = own.min(gave - other);
            let total = own + other;
            let mut undone = Undone { by_charge: own, by_others: other, shortfall: short.min(total) };
            match step(before, calls, undone) {
                Step::Nothing => {}
                Step::Take(credits) => {
                    prop_assert!(credits > 0 && calls > before);
                    undone.by_charge += credits;
                }
                Step::GiveBack { shortfall, credits } => {
                    prop_assert!(shortfall >= 0 && credits >= 0 && shortfall + credits > 0 && calls < before);
                    undone.shortfall -= shortfall;
                    undone.by_charge -= shortfall + credits;
                }
            }
            let expected = match calls.cmp(&before) {
                std::cmp::Ordering::Greater => calls.max(total),
                std::cmp::Ordering::Less => calls.max(other).min(total),
                std::cmp::Ordering::Equal => total,
            };
            prop_assert_eq!(undone.by_charge + undone.by_others, expected);
            prop_assert!(undone.shortfall >= 0 && undone.by_charge >= 0);
            prop_assert_eq!(step(calls, calls, undone), Step::Nothing);
        }
    }
}
