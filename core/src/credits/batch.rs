//! `apply_credit_batch`: its operations, each a single call written as JSON.

use std::borrow::Cow;

use super::account::Micros;
use super::{EntryKind, RawRequest};
use crate::json::{Object, Value, elements};
use crate::outcome::{Detail, Refusal, invalid};
use crate::time;

/// Operations of one batch at the most.
pub const MAX_OPERATIONS: usize = 100_000;

/// One operation, its values read by their JSON type but not validated yet.
#[derive(Debug, Default)]
pub struct Operation<'a> {
    kind: Option<EntryKind>,
    user_id: Option<Cow<'a, str>>,
    credits: Option<i64>,
    idempotency_key: Option<Cow<'a, str>>,
    stripe_session_id: Option<Cow<'a, str>>,
    amount_minor: Option<i64>,
    currency: Option<Cow<'a, str>>,
    credit_type: Option<Cow<'a, str>>,
    expires_at: Option<Micros>,
    priority: Option<i32>,
    metadata: Option<&'a str>,
    source_ref: Option<Cow<'a, str>>,
}

/// Reads the operations; each that cannot be read has its own refusal.
#[allow(clippy::type_complexity)]
pub fn parse(json: Option<&str>) -> Result<Vec<Result<Operation<'_>, Refusal>>, Refusal> {
    let elements = json.and_then(elements).ok_or(invalid(Detail::OperationsNotAnArray))?;
    if elements.len() > MAX_OPERATIONS {
        return Err(invalid(Detail::TooManyOperations));
    }
    Ok(elements.into_iter().map(|element| Operation::parse(element).map_err(invalid)).collect())
}

impl<'a> Operation<'a> {
    fn parse(element: Value<'a>) -> Result<Operation<'a>, Detail> {
        let object = element.object().ok_or(Detail::OperationMalformed)?;
        let op = object.text("op").ok_or(Detail::OperationMalformed)?;
        let kind = match op.as_ref() {
            "purchase" => EntryKind::Purchase,
            "grant" => EntryKind::Grant,
            "spend" => EntryKind::Spend,
            _ => return Err(Detail::UnknownOperation),
        };
        let mut operation = Operation { kind: Some(kind), ..Operation::default() };
        for key in object.keys() {
            operation.set(kind, &key, &object)?;
        }
        Ok(operation)
    }

    fn set(&mut self, kind: EntryKind, key: &str, object: &Object<'a>) -> Result<(), Detail> {
        use EntryKind::{Purchase, Spend};
        let value = object.get(key);
        match key {
            "op" => {}
            "user_id" => self.user_id = text(value)?,
            "credits" => self.credits = integer(value)?,
            "idempotency_key" => self.idempotency_key = text(value)?,
            "credit_type" => self.credit_type = text(value)?,
            "metadata" => self.metadata = value.map(Value::raw),
            "expires_at" if kind != Spend => self.expires_at = timestamp(value)?,
            "priority" if kind == EntryKind::Grant => self.priority = integer(value)?,
            "stripe_session_id" if kind == Purchase => self.stripe_session_id = text(value)?,
            "amount_minor" if kind == Purchase => self.amount_minor = integer(value)?,
            "currency" if kind == Purchase => self.currency = text(value)?,
            "source_ref" if kind == Purchase => self.source_ref = text(value)?,
            _ => return Err(Detail::UnknownParameter),
        }
        Ok(())
    }

    /// Which single call the operation stands for, and its arguments.
    pub fn call(&self) -> (EntryKind, RawRequest<'_>) {
        let raw = RawRequest {
            user_id: self.user_id.as_deref(),
            credits: self.credits,
            idempotency_key: self.idempotency_key.as_deref(),
            stripe_session_id: self.stripe_session_id.as_deref(),
            amount_minor: self.amount_minor,
            currency: self.currency.as_deref(),
            credit_type: self.credit_type.as_deref(),
            expires_at: self.expires_at,
            priority: self.priority,
            metadata: self.metadata,
            source_ref: self.source_ref.as_deref(),
        };
        (self.kind.unwrap_or(EntryKind::Spend), raw)
    }

    /// The operation's metadata as JSON text, where it has some.
    pub const fn metadata(&self) -> Option<&'a str> {
        self.metadata
    }
}

fn text<'a>(value: Option<Value<'a>>) -> Result<Option<Cow<'a, str>>, Detail> {
    value.map(|value| value.text().ok_or(Detail::ParameterTypeMismatch)).transpose()
}

fn integer<T: TryFrom<i64>>(value: Option<Value>) -> Result<Option<T>, Detail> {
    let read = |value: Value| value.integer().and_then(|number| T::try_from(number).ok());
    value.map(|value| read(value).ok_or(Detail::ParameterTypeMismatch)).transpose()
}

fn timestamp(value: Option<Value>) -> Result<Option<Micros>, Detail> {
    let read = |value: Value| time::parse(&value.text()?);
    value.map(|value| read(value).ok_or(Detail::ParameterTypeMismatch)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(json: &str) -> Vec<Option<Detail>> {
        let operations = parse(Some(json)).unwrap();
        operations.into_iter().map(|operation| operation.err().map(|refusal| refusal.detail)).collect()
    }

    #[test]
    fn a_batch_is_an_array_of_bounded_length() {
        for json in [None, Some("null"), Some("1"), Some("{}"), Some("\"[]\"")] {
            assert_eq!(parse(json).err(), Some(invalid(Detail::OperationsNotAnArray)));
        }
        assert!(parse(Some("[]")).unwrap().is_empty());
        let most = format!("[{}]", vec!["0"; MAX_OPERATIONS].join(","));
        assert_eq!(parse(Some(&most)).unwrap().len(), MAX_OPERATIONS);
        let one_more = format!("[{}]", vec!["0"; MAX_OPERATIONS + 1].join(","));
        assert_eq!(parse(Some(&one_more)).err(), Some(invalid(Detail::TooManyOperations)));
    }

    #[test]
    fn each_operation_is_read_on_its_own() {
        let json = r#"[
            {"op": "grant", "user_id": "7", "credits": 5, "idempotency_key": "k", "priority": null},
            null, 7, {}, {"op": 1}, {"op": "refund"}, {"op": "spend", "priority": 1},
            {"op": "grant", "credits": "5"}, {"op": "grant", "credits": 5.0}, {"op": "grant", "user_id": 7},
            {"op": "grant", "priority": 2147483648}, {"op": "purchase", "expires_at": "tomorrow"},
            {"op": "purchase", "expires_at": "2026-12-31T00:00:00Z", "amount_minor": 1, "currency": "eur"}
        ]"#;
        let mismatch = Some(Detail::ParameterTypeMismatch);
        let malformed = Some(Detail::OperationMalformed);
        assert_eq!(
            details(json),
            [
                None,
                malformed,
                malformed,
                malformed,
                malformed,
                Some(Detail::UnknownOperation),
                Some(Detail::UnknownParameter),
                mismatch,
                mismatch,
                mismatch,
                mismatch,
                mismatch,
                None,
            ]
        );
    }

    /// Every parameter, what it is read as, and which operations have it.
    #[test]
    fn each_operation_has_its_own_parameters_and_no_others() {
        type Check = fn(&RawRequest) -> bool;
        let all = ["purchase", "grant", "spend"];
        let parameters: [(&str, &str, &[&str], Check); 11] = [
            ("user_id", "\"7\"", &all, |raw| raw.user_id == Some("7")),
            ("credits", "7", &all, |raw| raw.credits == Some(7)),
            ("idempotency_key", "\"k\"", &all, |raw| raw.idempotency_key == Some("k")),
            ("credit_type", "\"gold\"", &all, |raw| raw.credit_type == Some("gold")),
            ("metadata", r#"{"a": 1}"#, &all, |raw| raw.metadata == Some(r#"{"a": 1}"#)),
            ("expires_at", "\"2000-01-01\"", &all[..2], |raw| raw.expires_at == Some(0)),
            ("priority", "-2", &all[1..2], |raw| raw.priority == Some(-2)),
            ("stripe_session_id", "\"cs_1\"", &all[..1], |raw| raw.stripe_session_id == Some("cs_1")),
            ("amount_minor", "5", &all[..1], |raw| raw.amount_minor == Some(5)),
            ("currency", "\"eur\"", &all[..1], |raw| raw.currency == Some("eur")),
            ("source_ref", "\"stripe:pi_1\"", &all[..1], |raw| raw.source_ref == Some("stripe:pi_1")),
        ];
        for (name, value, operations, check) in parameters {
            for op in all {
                let json = format!(r#"[{{"op": "{op}", "{name}": {value}}}]"#);
                let parsed = parse(Some(&json)).unwrap().remove(0);
                if !operations.contains(&op) {
                    assert_eq!(parsed.err(), Some(invalid(Detail::UnknownParameter)), "{json}");
                    continue;
                }
                let operation = parsed.unwrap();
                let (kind, raw) = operation.call();
                assert_eq!(kind.as_str(), op);
                assert!(check(&raw), "{json}");
                assert_eq!(operation.metadata(), raw.metadata);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse(Some(&text)).map(|operations| operations.len());
        }
    }
}
