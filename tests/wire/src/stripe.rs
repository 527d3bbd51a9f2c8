//! Stripe's side: signatures as its public description says, and bodies of events.
//! Nothing of the extension is used, so that it is not checked against itself.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The endpoint's secret in these tests.
pub const SECRET: &str = "whsec_w1reT3st5ecretThatStandsInNoDump";

/// The time, as Stripe's header counts it.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the end of time")
}

/// The hex HMAC-SHA256 of `<t>.<body>`, keyed with the whole secret.
pub fn v1(body: &str, secret: &str, at: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `Stripe-Signature` header of a delivery made at that time.
pub fn header_at(body: &str, secret: &str, at: i64) -> String {
    format!("t={at},v1={}", v1(body, secret, at))
}

/// The `Stripe-Signature` header of a delivery made now, with the tests' secret.
pub fn header(body: &str) -> String {
    header_at(body, SECRET, now())
}

/// An event around an object.
pub fn event(event_id: &str, event_type: &str, object: Value) -> Value {
    json!({
        "id": event_id,
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": now(),
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": event_type,
    })
}

/// A paid checkout session that buys credits; `more` is laid over it.
pub fn session(session_id: &str, credits: i64, more: Value) -> Value {
    let mut session = json!({
        "id": session_id,
        "object": "checkout.session",
        "amount_subtotal": credits * 10,
        "amount_total": credits * 10,
        "created": now(),
        "currency": "usd",
        "customer": null,
        "customer_details": null,
        "metadata": { "credits": credits.to_string() },
        "mode": "payment",
        "payment_status": "paid",
    });
    lay_over(&mut session, more);
    session
}

/// Lays values over others, objects key by key.
pub fn lay_over(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// The event that tells of a completed session.
pub fn completed(event_id: &str, session: Value) -> String {
    event(event_id, "checkout.session.completed", session).to_string()
}

/// The same event made at another time.
pub fn at(created: i64, mut event: Value) -> Value {
    event["created"] = created.into();
    event
}

/// So much of a charge is refunded by now.
pub fn refunded(event_id: &str, intent: &str, amount: i64, refunded: i64, created: i64) -> Value {
    let charge = json!({
        "id": format!("ch_of_{intent}"), "object": "charge", "amount": amount, "amount_refunded": refunded,
        "currency": "usd", "payment_intent": intent, "refunded": refunded == amount,
    });
    at(created, event(event_id, "charge.refunded", charge))
}

/// A refund came to nothing.
pub fn refund_failed(event_id: &str, refund_id: &str, intent: &str, amount: i64, created: i64) -> Value {
    let refund = json!({
        "id": refund_id, "object": "refund", "amount": amount, "charge": format!("ch_of_{intent}"),
        "payment_intent": intent, "status": "failed",
    });
    at(created, event(event_id, "refund.failed", refund))
}

/// A dispute's funds moved: `funds_withdrawn` or `funds_reinstated`.
pub fn dispute(event_id: &str, what: &str, dispute_id: &str, intent: &str) -> Value {
    let dispute = json!({
        "id": dispute_id, "object": "dispute", "amount": 1, "charge": format!("ch_of_{intent}"),
        "payment_intent": intent, "status": "under_review",
    });
    event(event_id, &format!("charge.dispute.{what}"), dispute)
}
