//! An object that is to be a subscription or its invoice, of either provider: what is read of it fits where it
//! is stored, and saying it twice changes nothing.

use billing_core::invoices::{Invoice, invoice_of_charge, invoice_payment};
use billing_core::json::Object;
use billing_core::paystack;
use billing_core::subscriptions::{Origin, Snapshot, Status, Verdict, decide, move_by_invoice};

use super::{identifiers, is_reference, is_reference_or_none, text, times};

const MICROS: i64 = 1_000_000;
const NOW: i64 = 800_000_000 * MICROS;

/// The target.
pub fn recurring(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(object) = Object::parse(text) else { return };
    let stripe = ["customer.subscription.updated", "customer.subscription.deleted"];
    let paystack = ["subscription.create", "subscription.not_renew", "subscription.disable"];
    let of_stripe = stripe.map(|event_type| Snapshot::of_stripe_event(event_type, &object).ok());
    let of_paystack = paystack.map(|event_type| Snapshot::of_paystack(event_type, &object).ok());
    for snapshot in of_stripe.iter().chain(&of_paystack).flatten() {
        is_storable(snapshot);
        twice(snapshot);
    }
    assert!(of_stripe[1].as_ref().is_none_or(|deleted| deleted.status.is_final()));
    invoice(&object);
    if let Some(invoice) = paystack::invoice(&object) {
        assert!(is_reference(&invoice.subscription_id));
        is_time(invoice.period_end);
    }
}

/// A finite time that a `timestamptz` holds.
fn is_time(micros: Option<i64>) {
    let holds = |micros| {
        micros != i64::MIN && micros != i64::MAX && times::is_storable(billing_core::time::unix(micros))
    };
    assert!(micros.is_none_or(holds), "{micros:?}");
}

fn is_storable(snapshot: &Snapshot) {
    assert!(is_reference(&snapshot.subscription_id));
    assert!(snapshot.customer_code().is_some());
    let facts = &snapshot.facts;
    assert!(is_reference(&facts.provider_customer) && facts.price_ids.iter().all(|id| is_reference(id)));
    assert!(facts.price_ids.is_sorted_by(|one, next| one < next));
    assert!(facts.quantity.is_none_or(|quantity| quantity >= 0));
    for at in [facts.current_period_start, facts.current_period_end, facts.cancel_at, facts.trial_end] {
        is_time(at);
    }
    if let Some(user) = snapshot.named_user(true) {
        identifiers::is_sound(&user);
    }
}

/// The same word again, by event or as the truth, is no news; later it may be.
fn twice(snapshot: &Snapshot) {
    let event = Origin::Event { created: NOW };
    let truth = Origin::Truth { observed_at: NOW, dated: true };
    for origin in [event, truth, Origin::Untimed] {
        let first = decide(None, snapshot, origin).verdict;
        assert!(matches!(first, Verdict::Store(_)));
        let Verdict::Store(state) = first else { return };
        assert_eq!((state.status, &state.facts), (snapshot.status, &snapshot.facts));
        let again = decide(Some(&state), snapshot, origin);
        assert_eq!(again.refetch, None);
        match origin {
            Origin::Event { .. } => assert!(matches!(again.verdict, Verdict::Ignore(_))),
            Origin::Truth { .. } => assert_eq!(again.verdict, Verdict::Replay),
            Origin::Untimed => assert_eq!(again.verdict, Verdict::Store(state.clone())),
        }
        let earlier = decide(Some(&state), snapshot, Origin::Event { created: NOW - MICROS });
        assert!(origin == Origin::Untimed || matches!(earlier.verdict, Verdict::Ignore(_)));
        // An invoice moves the status and the period, and what is final stays so.
        for (to, end) in [(Status::Active, Some(NOW)), (Status::PastDue, None)] {
            if let Verdict::Store(moved) = move_by_invoice(&state, to, Some(NOW + MICROS), end).verdict {
                assert!(!state.status.is_final() && moved.status == to);
                assert!(moved.facts.current_period_end >= state.facts.current_period_end);
            }
        }
    }
}

fn invoice(object: &Object) {
    if let Ok(invoice) = Invoice::parse(object) {
        assert!(is_reference(&invoice.id) && is_reference_or_none(invoice.subscription_id.as_deref()));
        assert!(is_reference_or_none(invoice.payment_ref.as_deref()));
        assert!(invoice.periods.keys().all(|price_id| is_reference(price_id)));
        assert!(invoice.source_ref().ends_with(&invoice.id));
        for user in invoice.buyer.named_users(true) {
            identifiers::is_sound(&user);
        }
    }
    if let Ok((invoice_id, payment_ref)) = invoice_payment(object) {
        assert!(is_reference(&invoice_id) && is_reference_or_none(payment_ref.as_deref()));
    }
    assert!(is_reference_or_none(invoice_of_charge(object).as_deref()));
}
