//! Limits and checks that all text parameters share.

use crate::outcome::Detail;

/// Keys, references, ids and event types: bytes.
pub const MAX_REFERENCE_BYTES: usize = 255;
/// Names of credit types, packs, plans and providers: bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Metadata, summaries and results, as JSON text, and error messages: bytes.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;

/// Whether the text is empty or only white space, Unicode's included.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Whether the text can stand inside an identifier: no white space and no control characters.
pub fn is_solid(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether the text can name a pack, a plan or a credit type.
pub fn is_name(text: &str) -> bool {
    !is_blank(text) && text.len() <= MAX_NAME_BYTES
}

/// The codes that one text parameter answers with.
#[derive(Clone, Copy, Debug)]
pub struct TextRule {
    /// When it is null.
    pub missing: Detail,
    /// When it is empty or only white space.
    pub blank: Detail,
    /// When it has more than `max_bytes`.
    pub too_long: Detail,
    /// The most bytes that it may have.
    pub max_bytes: usize,
}

impl TextRule {
    /// The text, or the code that says what is wrong with it.
    pub fn check<'a>(&self, text: Option<&'a str>) -> Result<&'a str, Detail> {
        let text = text.ok_or(self.missing)?;
        if is_blank(text) {
            return Err(self.blank);
        }
        if text.len() > self.max_bytes {
            return Err(self.too_long);
        }
        Ok(text)
    }
}

/// Rule for idempotency keys.
pub const IDEMPOTENCY_KEY: TextRule = TextRule {
    missing: Detail::IdempotencyKeyMissing,
    blank: Detail::IdempotencyKeyBlank,
    too_long: Detail::IdempotencyKeyTooLong,
    max_bytes: MAX_REFERENCE_BYTES,
};

/// Rule for credit types; a null one reads as the default before the rule is asked.
pub const CREDIT_TYPE: TextRule = TextRule {
    missing: Detail::CreditTypeBlank,
    blank: Detail::CreditTypeBlank,
    too_long: Detail::CreditTypeTooLong,
    max_bytes: MAX_NAME_BYTES,
};

/// Rule for provider names.
pub const PROVIDER: TextRule = TextRule {
    missing: Detail::ProviderMissing,
    blank: Detail::ProviderBlank,
    too_long: Detail::ProviderTooLong,
    max_bytes: MAX_NAME_BYTES,
};

/// Rule for the reference of a payment.
pub const REFERENCE: TextRule = TextRule {
    missing: Detail::ReferenceMissing,
    blank: Detail::ReferenceBlank,
    too_long: Detail::ReferenceTooLong,
    max_bytes: MAX_REFERENCE_BYTES,
};

/// Rule for the name of a plan.
pub const PLAN: TextRule = TextRule {
    missing: Detail::PlanMissing,
    blank: Detail::PlanBlank,
    too_long: Detail::PlanTooLong,
    max_bytes: MAX_NAME_BYTES,
};

/// Rule for event ids.
pub const EVENT_ID: TextRule = TextRule {
    missing: Detail::EventIdMissing,
    blank: Detail::EventIdBlank,
    too_long: Detail::EventIdTooLong,
    max_bytes: MAX_REFERENCE_BYTES,
};

/// Rule for event types.
pub const EVENT_TYPE: TextRule = TextRule {
    missing: Detail::EventTypeMissing,
    blank: Detail::EventTypeBlank,
    too_long: Detail::EventTypeTooLong,
    max_bytes: MAX_REFERENCE_BYTES,
};

/// Rule for the message of a failed event.
pub const ERROR_MESSAGE: TextRule = TextRule {
    missing: Detail::ErrorMessageMissing,
    blank: Detail::ErrorMessageBlank,
    too_long: Detail::ErrorMessageTooLong,
    max_bytes: MAX_DOCUMENT_BYTES,
};

/// Checks a JSON document given as text: an object, and not too large.
pub fn check_object(json: &str, not_an_object: Detail, too_large: Detail) -> Result<&str, Detail> {
    if !json.trim_start().starts_with('{') {
        return Err(not_an_object);
    }
    if json.len() > MAX_DOCUMENT_BYTES {
        return Err(too_large);
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_knows_unicode_white_space() {
        for text in ["", " ", "\t\n\r", "\u{a0}", "\u{2003}\u{3000}", "\u{85}"] {
            assert!(is_blank(text), "{text:?}");
        }
        assert!(!is_blank(" a "));
    }

    #[test]
    fn limits_are_bytes_and_inclusive() {
        assert!(IDEMPOTENCY_KEY.check(Some(&"k".repeat(255))).is_ok());
        assert_eq!(IDEMPOTENCY_KEY.check(Some(&"k".repeat(256))), Err(Detail::IdempotencyKeyTooLong));
        assert_eq!(CREDIT_TYPE.check(Some(&"é".repeat(32))), Err(Detail::CreditTypeTooLong));
        assert_eq!(EVENT_ID.check(None), Err(Detail::EventIdMissing));
        assert_eq!(EVENT_ID.check(Some("\u{2003}")), Err(Detail::EventIdBlank));
    }

    #[test]
    fn a_document_may_be_as_large_as_its_limit() {
        let of = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
        let check = |json: &str| {
            check_object(json, Detail::MetadataNotAnObject, Detail::MetadataTooLarge).map(str::len)
        };
        assert_eq!(check(&of(16_384)), Ok(16_384));
        assert_eq!(check(&of(16_385)), Err(Detail::MetadataTooLarge));
    }

    #[test]
    fn objects_are_told_from_other_json() {
        let check =
            |json: &'static str| check_object(json, Detail::MetadataNotAnObject, Detail::MetadataTooLarge);
        assert!(check("{}").is_ok());
        for json in ["[]", "null", "1", "\"{}\""] {
            assert_eq!(check(json), Err(Detail::MetadataNotAnObject));
        }
    }
}
