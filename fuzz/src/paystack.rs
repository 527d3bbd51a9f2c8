//! A body that Paystack is said to have sent, and every reader of its data.

use billing_core::charges::Report;
use billing_core::paystack::{charge, order, paid, refund, succeeded, transaction_reference};
use billing_core::webhooks::Provider;

use super::{charges, is_reference, stripe, text};

/// The target: whatever the event's own type, its data is read as each that has an effect.
pub fn paystack(data: &[u8]) {
    let Some(body) = text(data) else { return };
    let Some(event) = stripe::read(Provider::Paystack, body) else { return };
    assert!(!event.connected && !event.thin);
    // What kind of event it is stands in front: no two types share an identity.
    let rest = event.summary.id.strip_prefix(&event.summary.event_type);
    assert!(rest.is_some_and(|rest| rest.starts_with(':')));
    let Some(data) = &event.object else { return };
    let reference = transaction_reference(data);
    if let Some(reference) = &reference {
        assert!(is_reference(&format!("paystack:{reference}")));
    }
    if let Some((source, amount_minor)) = charge(data) {
        assert!(succeeded(data) && source.payment_ref == reference);
        assert!(amount_minor.is_none_or(|amount| amount >= 0));
    }
    if let Ok(Some(money)) = paid(data) {
        stripe::money(&money);
    }
    stripe::order(&order(data));
    if let Ok((reference, report)) = refund(data, &event.summary.id) {
        assert!(is_reference(&reference));
        assert!(matches!(report, Report::RefundPaid { .. }));
        charges::is_heard_once(report);
    }
}
