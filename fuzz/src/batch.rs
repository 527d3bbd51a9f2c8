//! The operations of a batch, and the calls that they stand for.

use billing_core::credits::batch::{Operation, parse};
use billing_core::credits::{EntryKind, RESERVED_KEY_PREFIX, Request};
use billing_core::json::elements;
use billing_core::outcome::{Reason, Refusal};

use super::{identifiers, is_reference, is_reference_or_none, stripe, text, times};

/// More would only make a run slow.
const MOST_OPERATIONS: usize = 32;

/// The target.
pub fn batch(data: &[u8]) {
    let Some(json) = text(data) else { return };
    let Ok(operations) = parse(Some(json)) else { return };
    let elements = elements(json).unwrap_or_default();
    assert_eq!(elements.len(), operations.len());
    for (element, operation) in elements.iter().zip(&operations).take(MOST_OPERATIONS) {
        // Alone it is what it is among others.
        let alone = parse(Some(&format!("[{}]", element.raw()))).map(|mut alone| {
            let only = alone.pop();
            assert!(alone.is_empty());
            only.map(|only| called(&only))
        });
        assert_eq!(alone, Ok(Some(called(operation))));
    }
}

/// The request that an operation comes to, as text.
fn called(operation: &Result<Operation, Refusal>) -> String {
    let request = match operation {
        Err(refusal) => Err(*refusal),
        Ok(operation) => {
            let (kind, raw) = operation.call();
            Request::parse(kind, &raw, true).inspect(|request| {
                is_sound(request);
                assert!(operation.metadata().is_none_or(|json| json.len() <= 16 * 1024));
            })
        }
    };
    if let Err(refusal) = &request {
        assert_eq!(refusal.reason, Reason::Invalid);
    }
    format!("{request:?}")
}

fn is_sound(request: &Request) {
    identifiers::is_sound(&request.user);
    assert!(request.credits != 0 && request.credits > i64::MIN);
    assert_eq!(request.credits < 0, request.kind == EntryKind::Spend);
    assert!(is_reference(&request.idempotency_key));
    assert!(!request.idempotency_key.starts_with(RESERVED_KEY_PREFIX));
    assert!(is_reference(&request.credit_type) && request.credit_type.len() <= 63);
    if let Some(money) = &request.money {
        stripe::money(money);
    }
    if let Some(source) = &request.source {
        assert_eq!(request.kind, EntryKind::Purchase);
        assert!(is_reference(&source.source_ref) && is_reference_or_none(source.payment_ref.as_deref()));
    }
    let expires_at = request.terms.expires_at;
    assert!(expires_at.is_none_or(|at| times::is_storable(billing_core::time::unix(at))));
    assert!(expires_at.is_none() || request.kind != EntryKind::Spend);
}
