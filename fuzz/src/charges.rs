//! Reports of one charge, in the order in which they are written and in others.

use billing_core::charges::{Charge, Dispute, Refund, Report, Step, Undone, read_stripe, step, stored};
use billing_core::webhooks::{Event, Provider};
use serde_json::value::RawValue;

use super::{is_reference, text, times};

/// More would only make a run slow.
const MOST_REPORTS: usize = 12;
const GAVE: [i64; 4] = [0, 1, 100, i64::MAX];
const PAID: [Option<i64>; 4] = [None, Some(0), Some(900), Some(i64::MAX)];

/// The target: Stripe's events, one after the other, all taken to be of one charge.
pub fn charges(data: &[u8]) {
    let Some(bodies) = text(data) else { return };
    let bodies = serde_json::Deserializer::from_str(bodies).into_iter::<&RawValue>();
    let reports: Vec<Report> =
        bodies.map_while(Result::ok).filter_map(|body| report(body.get())).take(MOST_REPORTS).collect();
    let charge = heard(reports.iter());
    is_sound(&charge);
    assert_eq!(charge, heard(reports.iter().rev()));
    assert_eq!(charge, heard(reports.iter().chain(&reports)));
    let middle = reports.len() / 2;
    assert_eq!(charge, heard(reports[middle..].iter().chain(&reports[..middle])));
}

fn report(body: &str) -> Option<Report> {
    let event = Event::parse(Provider::Stripe, body).ok()?;
    let object = event.object.as_ref()?;
    read_stripe(&event.summary.event_type, object, event.created).ok().map(|(_, report)| report)
}

fn heard<'a>(reports: impl Iterator<Item = &'a Report>) -> Charge {
    let mut charge = Charge::default();
    for report in reports {
        charge.hear(report.clone());
    }
    charge
}

/// A report can be stored, and says nothing new when it is told again.
pub fn is_heard_once(report: Report) {
    let (id, amount, at) = match &report {
        Report::Refunded { amount_minor, refunded_minor, at } => {
            assert!(*refunded_minor >= 0);
            (None, *amount_minor, *at)
        }
        Report::RefundFailed { refund_id, amount_minor, at } => (Some(refund_id), *amount_minor, *at),
        Report::RefundPaid { refund_id, amount_minor } => (Some(refund_id), *amount_minor, 0),
        Report::Withdrawn { dispute_id } | Report::Reinstated { dispute_id } => (Some(dispute_id), 0, 0),
        Report::Nothing => (None, 0, 0),
    };
    assert!(id.is_none_or(|id| is_reference(id)) && amount >= 0 && times::is_storable(at));
    let mut charge = Charge::default();
    assert_eq!(charge.hear(report.clone()), report != Report::Nothing);
    assert_eq!(charge.is_contested(), report != Report::Nothing);
    assert!(!charge.hear(report));
    is_sound(&charge);
}

/// Never more than everything is called for, one step leads there, and it is all stored.
fn is_sound(charge: &Charge) {
    for gave in GAVE {
        for paid in PAID {
            let called_for = charge.called_for(gave, paid);
            assert!((0..=gave).contains(&called_for));
            assert!(called_for == 0 || charge.is_contested());
            let there = Undone { by_charge: called_for, ..Undone::default() };
            assert_eq!(step(called_for, called_for, there), Step::Nothing);
            let first = step(0, called_for, Undone::default());
            assert_eq!(first, if called_for == 0 { Step::Nothing } else { Step::Take(called_for) });
        }
    }
    assert_eq!(stored::<Refund>(&charge.refunds_json()).as_ref(), Some(&charge.refunds));
    assert_eq!(stored::<Dispute>(&charge.disputes_json()).as_ref(), Some(&charge.disputes));
}
