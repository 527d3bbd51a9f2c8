//! Books of an existing application: how what they name is read, and by which keys it is taken over once.

use sha2::{Digest, Sha256};

use crate::credits::{Fingerprint, RESERVED_KEY_PREFIX, Source, adoption_fingerprint};
use crate::customers::{Identifier, Registration, Uuid};
use crate::text::{EVENT_ID, MAX_REFERENCE_BYTES, is_blank};

/// Who holds the entries of adopted sources: a customer without identifiers, whom nobody can ask for.
///
/// A uuid of version 8, so that it is none that Postgres makes.
pub const SOURCES_CUSTOMER: Uuid = [0xad, 0x09, 0x7e, 0xd0, 0, 0, 0x80, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
/// Of those entries, so that no total of real credits counts them.
pub const SOURCES_CREDIT_TYPE: &str = "adopted_sources";
/// The type of an adopted event whose own is not known.
pub const UNKNOWN_EVENT_TYPE: &str = "unknown";
/// Rows after which progress is told.
pub const PROGRESS_ROWS: usize = 10_000;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken over; in a dry run: would be.
    Adopted,
    /// Stood here before.
    Already,
    /// A worker holds it by a live lease.
    InProgress,
    /// Names nothing that can be kept.
    Malformed,
    /// Could be adopted, but not in this call.
    Remaining,
}

impl Verdict {
    /// As reports count it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Adopted => "adopted",
            Verdict::Already => "already",
            Verdict::InProgress => "in_progress",
            Verdict::Malformed => "malformed",
            Verdict::Remaining => "remaining",
        }
    }
}

/// Ids of Stripe that look like references, and are no source.
const NO_SOURCES: [&str; 17] = [
    "acct_", "ch_", "cus_", "dp_", "du_", "evt_", "il_", "pm_", "po_", "price_", "prod_", "py_", "pyr_",
    "re_", "seti_", "src_", "sub_",
];

/// Reads the name of a source as old books have it: `cs_...`, `pi_...` and `in_...#<plan>` with or without
/// `stripe:`, and any other reference as Paystack's, with or without `paystack:`.
pub fn source(text: &str) -> Option<Source> {
    if is_blank(text) || text.len() > MAX_REFERENCE_BYTES {
        return None;
    }
    if text.starts_with("stripe:") {
        return stripe_source(text);
    }
    if ["cs_", "pi_", "in_"].iter().any(|prefix| text.starts_with(prefix)) {
        return stripe_source(&format!("stripe:{text}"));
    }
    if text.starts_with("paystack:") {
        return Source::read(text);
    }
    if NO_SOURCES.iter().any(|prefix| text.starts_with(prefix)) || text.contains(':') {
        return None;
    }
    Source::read(&format!("paystack:{text}"))
}

fn stripe_source(source_ref: &str) -> Option<Source> {
    let Some(invoice) = source_ref.strip_prefix("stripe:in_") else { return Source::read(source_ref) };
    let (id, plan) = invoice.split_once('#')?;
    let id_is_one = !id.is_empty() && !id.chars().any(|c| c.is_whitespace() || c.is_control());
    (id_is_one && !is_blank(plan) && source_ref.len() <= MAX_REFERENCE_BYTES)
        .then(|| Source { source_ref: source_ref.to_owned(), payment_ref: None })
}

/// The event id, if it can be one.
pub fn event_id(text: Option<&str>) -> Option<&str> {
    EVENT_ID.check(text).ok()
}

/// The event's type: whether an event was processed does not depend on it, so a missing one stops nothing.
pub fn event_type(text: Option<&str>) -> &str {
    text.filter(|text| !is_blank(text) && text.len() <= MAX_REFERENCE_BYTES).unwrap_or(UNKNOWN_EVENT_TYPE)
}

/// The key of the entry that opens a balance. Neither table nor column is in it: under another name they
/// are the same books.
pub fn opening_key(customer_id: &str, credit_type: &str) -> String {
    format!("{RESERVED_KEY_PREFIX}adopt:balance:{customer_id}:{credit_type}")
}

/// What the key of an opening entry stands for.
pub fn opening_fingerprint(customer_id: &Uuid, credit_type: &str, credits: i64) -> Fingerprint {
    adoption_fingerprint(customer_id, credits, credit_type)
}

/// The key of the entry that stands for an adopted source; hashed, as a source may be as long as a key.
pub fn source_key(source_ref: &str) -> String {
    let digest: String = Sha256::digest(source_ref).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{RESERVED_KEY_PREFIX}adopt:source:{digest}")
}

/// What the key of an adopted source stands for.
pub fn source_fingerprint(source_ref: &str) -> Fingerprint {
    adoption_fingerprint(&SOURCES_CUSTOMER, 0, source_ref)
}

/// Whose balance a row is, in a form that the rows of a table can be grouped and sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A customer.
    Customer(Uuid),
    /// Nobody yet: adopting makes the customer.
    New(Registration),
}

impl Target {
    /// As text: the customer's id, or the new customer's one identifier.
    pub fn to_text(&self, uuid_text: impl Fn(Uuid) -> String) -> Option<String> {
        match self {
            Target::Customer(customer_id) => Some(format!("customer:{}", uuid_text(*customer_id))),
            Target::New(person) => {
                let identifier = person
                    .user_id
                    .map(&uuid_text)
                    .or_else(|| person.legacy_id.map(|id| id.to_string()))
                    .or_else(|| person.external_id.clone())
                    .or_else(|| person.email.clone())?;
                Some(format!("person:{identifier}"))
            }
        }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Target> {
        if let Some(customer_id) = text.strip_prefix("customer:") {
            return crate::customers::parse_uuid(customer_id).map(Target::Customer);
        }
        match Identifier::classify(Some(text.strip_prefix("person:")?), true).ok()? {
            Identifier::StripeCustomer(_) | Identifier::PaystackCustomer(_) => None,
            identifier => Some(Target::New(Registration::of(&identifier))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<(String, Option<String>)> {
        source(text).map(|source| (source.source_ref, source.payment_ref))
    }

    #[test]
    fn sources_are_read_with_and_without_their_provider() {
        let plain = |source_ref: &str| Some((source_ref.to_owned(), None));
        let paid = |source_ref: &str, payment: &str| Some((source_ref.to_owned(), Some(payment.to_owned())));
        assert_eq!(read("cs_test_1"), plain("stripe:cs_test_1"));
        assert_eq!(read("stripe:cs_test_1"), plain("stripe:cs_test_1"));
        assert_eq!(read("pi_1"), paid("stripe:pi_1", "pi_1"));
        assert_eq!(read("stripe:pi_1"), paid("stripe:pi_1", "pi_1"));
        assert_eq!(read("T685312322670591"), paid("paystack:T685312322670591", "T685312322670591"));
        assert_eq!(read("paystack:pi_1"), paid("paystack:pi_1", "pi_1"));
        assert_eq!(read("in_1#gold plan"), plain("stripe:in_1#gold plan"));
        assert_eq!(read("stripe:in_1#gold"), plain("stripe:in_1#gold"));
    }

    #[test]
    fn what_is_no_source_is_told() {
        for text in [
            "",
            " ",
            "cs_",
            "pi_",
            "stripe:",
            "stripe:cs_",
            "stripe:ref",
            "paystack:",
            "paystack: ",
            "in_1",
            "in_#gold",
            "in_1#",
            "in_1# ",
            "in_ 1#gold",
            "stripe:in_1",
            "ch_1",
            "cus_1",
            "evt_1",
            "sub_1",
            "re_1",
            "cs_1 ",
            " cs_1",
            "a b",
            "a:b",
            "adyen:1",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(source(&format!("cs_{}", "x".repeat(245))).is_some());
        assert!(source(&format!("cs_{}", "x".repeat(246))).is_none());
        assert!(source(&format!("in_1#{}", "x".repeat(243))).is_some());
        assert!(source(&format!("in_1#{}", "x".repeat(244))).is_none());
    }

    #[test]
    fn sources_are_those_that_purchases_and_invoices_name() {
        assert_eq!(source("cs_1"), Source::parse(Some("cs_1"), None).unwrap());
        assert_eq!(source("pi_1"), Source::parse(None, Some("stripe:pi_1")).unwrap());
        assert_eq!(source("ref-1"), Source::parse(None, Some("paystack:ref-1")).unwrap());
        assert!(source("in_1#gold").unwrap().source_ref.starts_with(&crate::invoices::source_ref("in_1")));
    }

    #[test]
    fn an_event_is_adopted_whatever_its_type() {
        assert_eq!(event_type(Some("invoice.paid")), "invoice.paid");
        for text in [None, Some(""), Some(" \u{a0}"), Some("x".repeat(256).as_str())] {
            assert_eq!(event_type(text), "unknown");
        }
        assert_eq!(event_id(Some("evt_1")), Some("evt_1"));
        for text in [None, Some(""), Some("\u{2003}"), Some("x".repeat(256).as_str())] {
            assert_eq!(event_id(text), None);
        }
    }

    #[test]
    fn keys_are_reserved_and_short_enough() {
        let opening = opening_key(&"0".repeat(36), &"x".repeat(63));
        let source = source_key(&"x".repeat(255));
        for key in [opening, source] {
            assert!(key.starts_with(RESERVED_KEY_PREFIX) && key.len() <= MAX_REFERENCE_BYTES, "{key}");
        }
        assert_ne!(source_key("stripe:cs_1"), source_key("stripe:cs_2"));
    }

    #[test]
    fn the_customer_of_sources_is_no_random_uuid() {
        assert_eq!(SOURCES_CUSTOMER[6] >> 4, 8);
        assert!(crate::text::is_name(SOURCES_CREDIT_TYPE));
    }

    fn uuid_text(uuid: Uuid) -> String {
        uuid.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn provider_codes_are_no_targets() {
        for text in ["person:cus_1", "person:CUS_1", "person:", "customer:7", "7", ""] {
            assert_eq!(Target::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_source_read_is_read_again_as_itself(text in "(stripe:|paystack:)?(cs_|pi_|in_|ch_)?[a-z0-9#: _-]{0,20}") {
            if let Some(found) = source(&text) {
                prop_assert_eq!(source(&found.source_ref), Some(found.clone()));
                prop_assert!(found.source_ref.ends_with(&text));
                prop_assert!(found.source_ref.len() <= MAX_REFERENCE_BYTES);
                prop_assert!(found.payment_ref.is_none_or(|payment| found.source_ref.ends_with(&payment)));
            }
        }

        #[test]
        fn targets_survive_as_text(user in any::<Uuid>(), number in 1..=i64::MAX, word in "[a-z]{1,9}", kind in 0..5) {
            let target = match kind {
                0 => Target::Customer(user),
                1 => Target::New(Registration { user_id: Some(user), ..Registration::default() }),
                2 => Target::New(Registration { legacy_id: Some(number), ..Registration::default() }),
                3 => Target::New(Registration { email: Some(format!("{word}@example.com")), ..Registration::default() }),
                _ => Target::New(Registration { external_id: Some(format!("user_{word}")), ..Registration::default() }),
            };
            let text = target.to_text(uuid_text).expect("one identifier");
            prop_assert_eq!(Target::parse(&text), Some(target));
        }
    }
}
