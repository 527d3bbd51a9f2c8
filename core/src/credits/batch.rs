//! `apply_credit_batch`: its operations, each a single call written as JSON.

use std::borrow::Cow;

use super::account::Micros;
use super::{EntryKind, RawRequest};
use crate::json::{Object, Value, elements};
use crate::outcome::{Detail, Refusal, invalid};

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
    let read = |value: Value| parse_timestamp(&value.text()?);
    value.map(|value| read(value).ok_or(Detail::ParameterTypeMismatch)).transpose()
}

/// Seconds from the Unix epoch to Postgres's, which `timestamptz` counts from.
pub(crate) const POSTGRES_EPOCH_UNIX: i64 = 946_684_800;

/// Reads an ISO 8601 time with an offset (`2026-12-31T23:59:59.5+01:00`, `2026-12-31 23:59Z`) or a date
/// (midnight UTC), as Postgres counts it; `infinity` and `-infinity` too.
pub(crate) fn parse_timestamp(text: &str) -> Option<Micros> {
    match text {
        "infinity" => return Some(Micros::MAX),
        "-infinity" => return Some(Micros::MIN),
        _ => {}
    }
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00Z"),
    };
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let (clock, offset_minutes) = split_offset(time)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let micros = if fraction.is_empty() {
        0
    } else {
        digits(fraction, fraction.len())? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?)
    };
    let seconds = days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        - offset_minutes * 60
        - POSTGRES_EPOCH_UNIX;
    Some(seconds * 1_000_000 + micros)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The clock part, and the offset in minutes east of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (clock, offset) = time.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let offset = &offset[1..];
    let (hours, minutes) = match offset.split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
        None if offset.len() == 4 => (digits(offset.get(..2)?, 2)?, digits(offset.get(2..)?, 2)?),
        None => (digits(offset, 2)?, 0),
    };
    (hours <= 15 && minutes <= 59).then_some((clock, sign * (hours * 60 + minutes)))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let days_before_year = before * 365 + before / 4 - before / 100 + before / 400;
    let days_before_month: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    days_before_year + days_before_month + day - 1 - 719_162
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

    #[test]
    fn times_are_read_as_postgres_reads_them() {
        for (text, micros) in [
            ("2000-01-01T00:00:00Z", Some(0)),
            ("2000-01-01", Some(0)),
            ("1970-01-01T00:00:00Z", Some(-POSTGRES_EPOCH_UNIX * 1_000_000)),
            ("2000-01-01 01:00+01", Some(0)),
            ("2000-01-01T01:30:00.000001+0130", Some(1)),
            ("1999-12-31T23:00:00.5-01:00", Some(500_000)),
            ("2024-02-29T12:00:00Z", Some(762_523_200_000_000)),
            ("infinity", Some(Micros::MAX)),
            ("-infinity", Some(Micros::MIN)),
            ("2023-02-29T12:00:00Z", None),
            ("2000-13-01", None),
            ("2000-01-01T24:00:00Z", None),
            ("2000-01-01T00:00:00", None),
            ("2000-1-1", None),
            ("", None),
            ("T", None),
        ] {
            assert_eq!(parse_timestamp(text), micros, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse_timestamp(&text);
            let _ = parse(Some(&text)).map(|operations| operations.len());
        }
    }
}
