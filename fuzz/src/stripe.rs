//! A body that Stripe is said to have sent, and every reader of its object.

use billing_core::charges::read_stripe;
use billing_core::checkout::{Buyer, Goods, Order, Purchase, Session, buyer_of_customer};
use billing_core::credits::{DEFAULT_CREDIT_TYPE, Money, RESERVED_KEY_PREFIX, Source, Terms};
use billing_core::customers::Identifier;
use billing_core::json::{Object, is_json};
use billing_core::outcome::{Detail, Reason, Refusal};
use billing_core::webhooks::{AcceptedMode, Event, Provider, Topic};
use serde_json::Value;

use super::{charges, identifiers, is_reference, is_reference_or_none, text, times};

/// Types by which Stripe tells of a session or a charge, and one that tells of neither.
const TYPES: [&str; 11] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "charge.refunded",
    "refund.failed",
    "refund.updated",
    "charge.refund.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "price.updated",
];

/// The target: whatever the event's own type, its object is read as each that has an effect.
pub fn stripe(data: &[u8]) {
    let Some(body) = text(data) else { return };
    let Some(event) = read(Provider::Stripe, body) else { return };
    assert_eq!(event.object.is_none(), event.thin);
    let Some(object) = &event.object else { return };
    for created in [None, event.created] {
        session(object, created);
        for event_type in TYPES {
            if let Ok((payment_ref, report)) = read_stripe(event_type, object, created) {
                assert!(is_reference(&payment_ref));
                charges::is_heard_once(report);
            }
        }
    }
    buyer(&buyer_of_customer(object));
}

/// Reads a body: an event that can be stored, or one of two refusals.
pub fn read(provider: Provider, body: &str) -> Option<Event<'_>> {
    let event = match Event::parse(provider, body) {
        Ok(event) => event,
        Err(detail) => {
            let expected = if is_json(body) { Detail::NotAnEvent } else { Detail::PayloadMalformed };
            assert_eq!(detail, expected);
            return None;
        }
    };
    let summary = &event.summary;
    assert!(is_reference(&summary.id) && is_reference(&summary.event_type));
    for optional in [&summary.object_id, &summary.object_type, &event.account_id, &event.api_version] {
        assert!(is_reference_or_none(optional.as_deref()));
    }
    assert!(event.created.is_none_or(times::is_storable));
    let stored: Value = serde_json::from_str(&summary.to_json()).unwrap_or_default();
    assert_eq!(
        stored,
        serde_json::json!({
            "id": summary.id, "type": summary.event_type,
            "object_id": summary.object_id, "object_type": summary.object_type,
        })
    );
    assert!(event.connected || event.account_id.is_none());
    assert_eq!(Event::parse(provider, body).map(|again| again.summary).ok().as_ref(), Some(summary));
    judged(&event);
    Some(event)
}

/// Whose events and of which mode are let in.
fn judged(event: &Event) {
    for accepted in [AcceptedMode::Any, AcceptedMode::Live, AcceptedMode::Test] {
        let refused = event.ignored(accepted, false);
        assert_eq!(event.connected, refused == Some(Detail::ConnectedAccount));
        let refused = event.ignored(accepted, true);
        assert_ne!(refused, Some(Detail::ConnectedAccount));
        assert!(refused.is_some() || !event.thin);
    }
    let both = |accepted| event.ignored(accepted, true).is_none();
    assert!(!(both(AcceptedMode::Live) && both(AcceptedMode::Test)));
    let _ = Topic::of(event.provider, &event.summary.event_type);
}

fn session(object: &Object, created: Option<i64>) {
    let tie = Session::parse(object, created).tie();
    for event_type in TYPES {
        let ordered = Session::parse(object, created).order(event_type);
        order(&ordered);
        if let (Ok(Order::Purchase(purchase)), Some(tie)) = (&ordered, &tie) {
            assert_eq!(purchase.source, *tie);
        }
    }
    if let Some(tie) = tie {
        source(&tie);
        assert!(tie.payment_ref.is_some());
    }
}

/// An order that can be carried out, or a refusal that an event can have.
pub fn order(order: &Result<Order, Refusal>) {
    match order {
        Ok(Order::Purchase(purchase)) => is_sound(purchase),
        Ok(Order::Link(whose)) => buyer(whose),
        Err(refusal) => assert!(matches!(refusal.reason, Reason::Ignored | Reason::Failed)),
    }
}

fn is_sound(purchase: &Purchase) {
    source(&purchase.source);
    buyer(&purchase.buyer);
    let key = purchase.idempotency_key.strip_prefix(RESERVED_KEY_PREFIX);
    assert_eq!(key, Some(purchase.source.source_ref.as_str()));
    for amount in [&purchase.price, &purchase.paid].into_iter().flatten() {
        money(amount);
    }
    match &purchase.goods {
        Goods::Pack(name) => assert!(!name.contains('\0')),
        Goods::Credits(credits) => {
            assert!(*credits > 0);
            let user = Identifier::LegacyId(1);
            let request = purchase.request(user, *credits, DEFAULT_CREDIT_TYPE.into(), Terms::default());
            assert_eq!(request.fingerprint(&[1; 16]), request.fingerprint(&[1; 16]));
            assert_ne!(request.fingerprint(&[1; 16]), request.fingerprint(&[2; 16]));
        }
    }
}

/// A source as an event tells of it is the one that a call would name.
fn source(source: &Source) {
    assert!(is_reference(&source.source_ref));
    assert!(is_reference_or_none(source.payment_ref.as_deref()));
    let named = Source::parse(None, Some(&source.source_ref)).ok().flatten();
    assert_eq!(named.map(|named| named.source_ref).as_ref(), Some(&source.source_ref));
}

/// An amount as it is stored.
pub fn money(money: &Money) {
    assert!(money.amount_minor >= 0);
    assert!(money.currency.len() == 3 && money.currency.bytes().all(|byte| byte.is_ascii_lowercase()));
}

fn buyer(buyer: &Buyer) {
    let named = buyer.named_users(true);
    assert!(buyer.named_users(false).iter().all(|user| named.contains(user)));
    for user in named.iter().chain(&buyer.other_users()) {
        identifiers::is_sound(user);
    }
    assert!(is_reference_or_none(buyer.customer_code().map(|code| code.as_str())));
}
