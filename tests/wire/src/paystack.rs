//! Paystack's side: signatures as its public description says, and bodies of events.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha512;

/// The secret key in these tests.
pub const SECRET: &str = "sk_test_w1reT3st5ecretThatStandsInNoDump";

/// The hex HMAC-SHA512 of the body.
pub fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An event around its data.
pub fn event(event_type: &str, data: Value) -> Value {
    json!({ "event": event_type, "data": data })
}

/// A transaction that succeeded and buys credits at ten minor units each; `more` is laid over it.
pub fn charge(id: u64, reference: &str, credits: i64, more: Value) -> Value {
    let mut charge = json!({
        "id": id,
        "domain": "test",
        "status": "success",
        "reference": reference,
        "amount": credits * 10,
        "currency": "NGN",
        "paid_at": "2026-03-01T10:00:05.000Z",
        "created_at": "2026-03-01T10:00:00.000Z",
        "channel": "card",
        "customer": { "id": 1, "customer_code": null, "email": null },
        "metadata": { "credits": credits },
    });
    crate::stripe::lay_over(&mut charge, more);
    charge
}

/// A refund of a part of a transaction.
pub fn refund(refund_reference: &str, reference: &str, amount: Value) -> Value {
    json!({
        "status": "processed",
        "domain": "test",
        "transaction_reference": reference,
        "refund_reference": refund_reference,
        "amount": amount,
        "currency": "NGN",
    })
}
