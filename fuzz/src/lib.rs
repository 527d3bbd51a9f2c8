//! What the parsers of `billing_core` promise of any input: one function over bytes per target.
//!
//! libFuzzer calls them from `fuzz_targets/`; `core/tests/corpus.rs` includes this very file and replays
//! the corpus with every `make test`. Inputs are plain text, so that real bodies are seeds as they are.

mod batch;
mod charges;
mod claims;
mod definitions;
mod identifiers;
mod json;
mod payments;
mod paystack;
mod recurring;
mod signatures;
mod stripe;
mod times;

pub use batch::batch;
pub use charges::charges;
pub use claims::claims;
pub use definitions::definitions;
pub use identifiers::identifiers;
pub use json::json;
pub use payments::payments;
pub use paystack::paystack;
pub use recurring::recurring;
pub use signatures::signatures;
pub use stripe::stripe;
pub use times::times;

/// A target and its name, as its folder in the corpus is called.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
#[allow(dead_code)] // Only the replay goes through them all.
pub const TARGETS: [Target; 12] = [
    ("batch", batch),
    ("charges", charges),
    ("claims", claims),
    ("definitions", definitions),
    ("identifiers", identifiers),
    ("json", json),
    ("payments", payments),
    ("paystack", paystack),
    ("recurring", recurring),
    ("signatures", signatures),
    ("stripe", stripe),
    ("times", times),
];

/// The bytes as Postgres would hand them over: UTF-8 without NUL. Other bytes never get this far.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok().filter(|text| !text.contains('\0'))
}

/// Fit for a column that holds a key, an id or a type.
fn is_reference(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace()) && text.len() <= 255 && !text.contains('\0')
}

/// The same, where there may be none.
fn is_reference_or_none(text: Option<&str>) -> bool {
    text.is_none_or(is_reference)
}
