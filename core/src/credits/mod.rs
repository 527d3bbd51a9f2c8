//! The credit ledger: requests, their fingerprints, and what they do to a balance.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::customers::{Identifier, Uuid};
use crate::outcome::{Detail, Refusal, invalid};
use crate::text::{self, MAX_REFERENCE_BYTES, is_solid};

pub mod account;
pub mod batch;
#[cfg(any(test, feature = "model"))]
pub mod model;

use account::Micros;

/// What null reads as for a credit type.
pub const DEFAULT_CREDIT_TYPE: &str = "credits";
/// Keys that begin so are the extension's own.
pub const RESERVED_KEY_PREFIX: &str = "billing_rpc:";
/// Rows of history when nothing is said.
pub const DEFAULT_HISTORY_ROWS: i64 = 50;
/// Rows of history at the most.
pub const MAX_HISTORY_ROWS: i64 = 1_000;

/// Kinds of ledger entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Credits paid for.
    Purchase,
    /// Credits given.
    Grant,
    /// Credits used.
    Spend,
    /// Another entry undone, in whole or in part.
    Reversal,
    /// Credits that ran out.
    Expiry,
    /// Credits of a hold used.
    Capture,
    /// Books put right by an operator.
    Adjustment,
}

impl EntryKind {
    /// As stored and answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::Purchase => "purchase",
            EntryKind::Grant => "grant",
            EntryKind::Spend => "spend",
            EntryKind::Reversal => "reversal",
            EntryKind::Expiry => "expiry",
            EntryKind::Capture => "capture",
            EntryKind::Adjustment => "adjustment",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<EntryKind> {
        use EntryKind::*;
        [Purchase, Grant, Spend, Reversal, Expiry, Capture, Adjustment]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// How long the credits of a purchase or grant live, and when they are burnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// None: never.
    pub expires_at: Option<Micros>,
    /// Lowest first; 0 without an expiry makes no lot.
    pub priority: i32,
}

impl Terms {
    /// Whether the credits make a lot of their own.
    pub const fn make_a_lot(&self) -> bool {
        self.expires_at.is_some() || self.priority != 0
    }
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// Minor units, zero or more.
    pub amount_minor: i64,
    /// ISO 4217, lower case.
    pub currency: String,
}

impl Money {
    /// Both parts, or neither.
    pub fn parse(amount_minor: Option<i64>, currency: Option<&str>) -> Result<Option<Money>, Detail> {
        if amount_minor.is_some_and(|amount| amount < 0) {
            return Err(Detail::AmountNegative);
        }
        if let Some(currency) = currency
            && (currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_alphabetic()))
        {
            return Err(Detail::CurrencyInvalid);
        }
        match (amount_minor, currency) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(Detail::AmountWithoutCurrency),
            (None, Some(_)) => Err(Detail::CurrencyWithoutAmount),
            (Some(amount_minor), Some(currency)) => {
                Ok(Some(Money { amount_minor, currency: currency.to_ascii_lowercase() }))
            }
        }
    }
}

/// The business fact behind a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `stripe:cs_...`, `stripe:pi_...` or `paystack:<reference>`.
    pub source_ref: String,
    /// The payment, as refunds and disputes will name it, where it is known.
    pub payment_ref: Option<String>,
}

impl Source {
    /// The source of a checkout session.
    pub fn of_session(session_id: &str, payment_ref: Option<&str>) -> Source {
        Source { source_ref: format!("stripe:{session_id}"), payment_ref: payment_ref.map(str::to_owned) }
    }

    /// Reads the two arguments that can name a source.
    pub fn parse(session_id: Option<&str>, source_ref: Option<&str>) -> Result<Option<Source>, Detail> {
        let session = match session_id {
            None => None,
            Some(id) if is_session_id(id) => Some(Source::of_session(id, None)),
            Some(_) => return Err(Detail::StripeSessionIdInvalid),
        };
        let source = match source_ref {
            None => None,
            Some(text) => Some(Source::read(text).ok_or(Detail::SourceRefInvalid)?),
        };
        match (session, source) {
            (Some(session), Some(source)) if session != source => Err(Detail::SourcesDiffer),
            (session, source) => Ok(session.or(source)),
        }
    }

    /// Reads a source written in full.
    pub fn read(text: &str) -> Option<Source> {
        if text.len() > MAX_REFERENCE_BYTES || !is_solid(text) {
            return None;
        }
        let (provider, id) = text.split_once(':')?;
        let payment_ref = match provider {
            "stripe" if is_session_id(id) => None,
            "stripe" if id.len() > 3 && id.starts_with("pi_") => Some(id.to_owned()),
            "paystack" if !id.is_empty() => Some(id.to_owned()),
            _ => return None,
        };
        Some(Source { source_ref: text.to_owned(), payment_ref })
    }

    /// The source that the payment itself would be, where the source is a checkout session.
    pub fn payment_source(&self) -> Option<String> {
        let payment = self.payment_ref.as_deref()?;
        self.source_ref.starts_with("stripe:").then(|| format!("stripe:{payment}"))
    }
}

/// Whether the text is a checkout session's id.
pub fn is_session_id(text: &str) -> bool {
    text.len() > "cs_".len()
        && text.len() + "stripe:".len() <= MAX_REFERENCE_BYTES
        && text.starts_with("cs_")
        && is_solid(text)
}

/// So many gates, and no more: a batch of any size cannot fill Postgres's table of locks.
pub const GATES: u16 = 1_024;

/// The gate at which those wait for each other who are about to write of the same source or idempotency key.
pub fn gate(name: &str) -> u16 {
    let digest = Sha256::digest(name);
    u16::from_be_bytes([digest[0], digest[1]]) % GATES
}

/// The raw arguments of purchase, grant and spend.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRequest<'a> {
    /// Any identifier.
    pub user_id: Option<&'a str>,
    /// Above zero.
    pub credits: Option<i64>,
    /// The caller's.
    pub idempotency_key: Option<&'a str>,
    /// Purchases only.
    pub stripe_session_id: Option<&'a str>,
    /// Purchases only.
    pub amount_minor: Option<i64>,
    /// Purchases only.
    pub currency: Option<&'a str>,
    /// Null reads as `credits`.
    pub credit_type: Option<&'a str>,
    /// As Postgres stores it: infinite at the ends of the number line.
    pub expires_at: Option<Micros>,
    /// Null reads as 0.
    pub priority: Option<i32>,
    /// JSON text; null reads as `{}`.
    pub metadata: Option<&'a str>,
    /// Purchases only.
    pub source_ref: Option<&'a str>,
}

/// A request that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Which function was called.
    pub kind: EntryKind,
    /// Whose credits.
    pub user: Identifier<'a>,
    /// As the ledger will show it: below zero for a spend.
    pub credits: i64,
    /// Whose balance.
    pub credit_type: Cow<'a, str>,
    /// Unique over all credit calls.
    pub idempotency_key: Cow<'a, str>,
    /// What was paid.
    pub money: Option<Money>,
    /// What it stands for.
    pub source: Option<Source>,
    /// How long the credits live.
    pub terms: Terms,
}

impl<'a> Request<'a> {
    /// Validates the arguments, in their order.
    pub fn parse(kind: EntryKind, raw: &RawRequest<'a>, external_ids: bool) -> Result<Request<'a>, Refusal> {
        let user =
            Identifier::classify(raw.user_id, external_ids).map_err(|unusable| invalid(unusable.detail()))?;
        Request::parse_rest(kind, user, raw).map_err(invalid)
    }

    fn parse_rest(
        kind: EntryKind,
        user: Identifier<'a>,
        raw: &RawRequest<'a>,
    ) -> Result<Request<'a>, Detail> {
        let credits = positive_credits(raw.credits)?;
        let idempotency_key = idempotency_key(raw.idempotency_key)?;
        let money = Money::parse(raw.amount_minor, raw.currency)?;
        let credit_type = credit_type(raw.credit_type)?;
        if raw.expires_at.is_some_and(|at| at == Micros::MIN || at == Micros::MAX) {
            return Err(Detail::ExpiresAtInfinite);
        }
        check_metadata(raw.metadata)?;
        Ok(Request {
            kind,
            user,
            credits: if kind == EntryKind::Spend { -credits } else { credits },
            credit_type: Cow::Borrowed(credit_type),
            idempotency_key: Cow::Borrowed(idempotency_key),
            money,
            source: Source::parse(raw.stripe_session_id, raw.source_ref)?,
            terms: Terms { expires_at: raw.expires_at, priority: raw.priority.unwrap_or_default() },
        })
    }

    /// What the same key must stand for to be the same request: not metadata, not expiry.
    pub fn fingerprint(&self, customer_id: &Uuid) -> Fingerprint {
        let money = self.money.as_ref();
        fingerprint(
            &[self.credits, money.map_or(-1, |money| money.amount_minor)],
            customer_id,
            &[
                Some(self.kind.as_str()),
                Some(&self.credit_type),
                money.map(|money| money.currency.as_str()),
                self.source.as_ref().map(|source| source.source_ref.as_str()),
            ],
        )
    }
}

/// What a stored request is compared by.
pub type Fingerprint = [u8; 16];

fn fingerprint(numbers: &[i64], customer_id: &Uuid, texts: &[Option<&str>]) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(customer_id);
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    for text in texts {
        // The length in front keeps neighbours apart; an absent text differs from an empty one.
        hash.update(text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
        hash.update(text.unwrap_or_default());
    }
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&hash.finalize()[..16]);
    fingerprint
}

/// The key of the entry that captures a hold.
pub fn capture_key(hold_id: &str) -> String {
    format!("{RESERVED_KEY_PREFIX}capture:{hold_id}")
}

/// The key of the entry that writes off what expired of a lot.
pub fn expiry_key(write_off: &account::WriteOff) -> String {
    format!("{RESERVED_KEY_PREFIX}expiry:{}:{}", write_off.lot_id, write_off.left)
}

/// The key of an entry that brings a purchase to what its charge calls for: the first such entry is number
/// zero, counted with all other reversals of it.
pub fn undo_key(entry_id: i64, number: i64) -> String {
    format!("{RESERVED_KEY_PREFIX}undo:{entry_id}:{number}")
}

/// The keys of the two entries that move a balance to another customer; `last_entry` is the one that the
/// balance was made by, so that it moves once.
pub fn merge_keys(last_entry: i64) -> (String, String) {
    let key = |side| format!("{RESERVED_KEY_PREFIX}merge:{last_entry}:{side}");
    (key("from"), key("into"))
}

/// What the keys of a merge stand for.
pub fn merge_fingerprint(customer_id: &Uuid, credits: i64) -> Fingerprint {
    fingerprint(&[credits], customer_id, &[Some("merge")])
}

/// What the key of something adopted stands for: a balance of that type, or that source.
pub fn adoption_fingerprint(customer_id: &Uuid, credits: i64, what: &str) -> Fingerprint {
    fingerprint(&[credits], customer_id, &[Some("adopt"), Some(what)])
}

/// What a capture's key stands for.
pub fn capture_fingerprint(hold_id: &Uuid, credits: i64) -> Fingerprint {
    fingerprint(&[credits], hold_id, &[Some("capture")])
}

/// What a write-off's key stands for.
pub fn expiry_fingerprint(write_off: &account::WriteOff) -> Fingerprint {
    fingerprint(&[write_off.lot_id, write_off.credits], &[0; 16], &[Some("expiry")])
}

/// Seconds that a hold lives when nothing is said.
pub const DEFAULT_TTL_SECONDS: i32 = 900;
/// Seconds that a hold may live: a leap year.
pub const MAX_TTL_SECONDS: i32 = 366 * 86_400;

/// A well-formed `hold_credits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest<'a> {
    /// Whose credits.
    pub user: Identifier<'a>,
    /// How many, above zero.
    pub credits: i64,
    /// Unique over all credit calls.
    pub idempotency_key: &'a str,
    /// Seconds.
    pub ttl_seconds: i32,
    /// Whose balance.
    pub credit_type: &'a str,
}

impl<'a> HoldRequest<'a> {
    /// Validates the arguments, in their order.
    pub fn parse(
        raw: &RawRequest<'a>,
        ttl_seconds: Option<i32>,
        external_ids: bool,
    ) -> Result<HoldRequest<'a>, Refusal> {
        let user =
            Identifier::classify(raw.user_id, external_ids).map_err(|unusable| invalid(unusable.detail()))?;
        let credits = positive_credits(raw.credits).map_err(invalid)?;
        let idempotency_key = idempotency_key(raw.idempotency_key).map_err(invalid)?;
        let ttl_seconds = ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS);
        if !(1..=MAX_TTL_SECONDS).contains(&ttl_seconds) {
            return Err(invalid(Detail::TtlSecondsInvalid));
        }
        let credit_type = credit_type(raw.credit_type).map_err(invalid)?;
        check_metadata(raw.metadata).map_err(invalid)?;
        Ok(HoldRequest { user, credits, idempotency_key, ttl_seconds, credit_type })
    }

    /// What the same key must stand for to be the same hold: not its lifetime, not metadata.
    pub fn fingerprint(&self, customer_id: &Uuid) -> Fingerprint {
        hold_fingerprint(customer_id, self.credit_type, self.credits)
    }
}

/// What a hold's key stands for.
pub fn hold_fingerprint(customer_id: &Uuid, credit_type: &str, credits: i64) -> Fingerprint {
    fingerprint(&[credits], customer_id, &[Some("hold"), Some(credit_type)])
}

/// A well-formed `reverse_credit_entry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversalRequest<'a> {
    /// Which entry.
    pub entry_id: i64,
    /// Unique over all credit calls.
    pub idempotency_key: Cow<'a, str>,
    /// How many; none is what is left.
    pub credits: Option<i64>,
}

impl<'a> ReversalRequest<'a> {
    /// Validates the arguments, in their order.
    pub fn parse(
        entry_id: Option<i64>,
        key: Option<&'a str>,
        credits: Option<i64>,
        metadata: Option<&str>,
    ) -> Result<ReversalRequest<'a>, Refusal> {
        let parse = || {
            let entry_id = entry_id.ok_or(Detail::EntryIdMissing)?;
            let idempotency_key = Cow::Borrowed(idempotency_key(key)?);
            let credits = credits.map(|credits| positive_credits(Some(credits))).transpose()?;
            check_metadata(metadata)?;
            Ok(ReversalRequest { entry_id, idempotency_key, credits })
        };
        parse().map_err(invalid)
    }

    /// What the same key must stand for to be the same reversal: the entry and the credits.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&[self.entry_id, self.credits.unwrap_or_default()], &[0; 16], &[Some("reversal")])
    }

    /// How many credits to undo of an entry of that kind and size, of which so many were undone.
    pub fn credits_of(&self, kind: EntryKind, credits: i64, undone: i64) -> Result<i64, Refusal> {
        use EntryKind::*;
        if matches!(kind, Reversal | Expiry | Adjustment) {
            return Err(invalid(Detail::NotReversible));
        }
        let left = credits.saturating_abs().saturating_sub(undone);
        if left <= 0 {
            return Err(invalid(Detail::NothingToReverse));
        }
        match self.credits {
            Some(credits) if credits > left => Err(invalid(Detail::ExceedsEntry)),
            Some(credits) => Ok(credits),
            None => Ok(left),
        }
    }
}

fn positive_credits(credits: Option<i64>) -> Result<i64, Detail> {
    match credits {
        None => Err(Detail::CreditsMissing),
        Some(credits) if credits <= 0 => Err(Detail::CreditsNotPositive),
        Some(credits) => Ok(credits),
    }
}

fn idempotency_key(text: Option<&str>) -> Result<&str, Detail> {
    let key = text::IDEMPOTENCY_KEY.check(text)?;
    if key.starts_with(RESERVED_KEY_PREFIX) { Err(Detail::IdempotencyKeyReserved) } else { Ok(key) }
}

fn check_metadata(metadata: Option<&str>) -> Result<(), Detail> {
    let check = |text| text::check_object(text, Detail::MetadataNotAnObject, Detail::MetadataTooLarge);
    metadata.map_or(Ok(()), |metadata| check(metadata).map(|_| ()))
}

/// Reads a credit type argument: null is the default.
pub fn credit_type(text: Option<&str>) -> Result<&str, Detail> {
    match text {
        None => Ok(DEFAULT_CREDIT_TYPE),
        some => text::CREDIT_TYPE.check(some),
    }
}

/// How many rows a history call asks for; none where the argument is no positive number.
pub fn history_rows(max_rows: Option<i32>) -> Option<i64> {
    let rows = max_rows.map_or(DEFAULT_HISTORY_ROWS, i64::from);
    (rows > 0).then(|| rows.min(MAX_HISTORY_ROWS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw<'a>() -> RawRequest<'a> {
        RawRequest {
            user_id: Some("42"),
            credits: Some(10),
            idempotency_key: Some("k"),
            ..RawRequest::default()
        }
    }

    fn detail(raw: RawRequest) -> Option<Detail> {
        Request::parse(EntryKind::Purchase, &raw, false).err().map(|refusal| refusal.detail)
    }

    #[test]
    fn kinds_are_stored_by_these_words() {
        use EntryKind::*;
        for (kind, word) in [
            (Purchase, "purchase"),
            (Grant, "grant"),
            (Spend, "spend"),
            (Reversal, "reversal"),
            (Expiry, "expiry"),
            (Capture, "capture"),
            (Adjustment, "adjustment"),
        ] {
            assert_eq!(kind.as_str(), word);
            assert_eq!(EntryKind::parse(word), Some(kind));
        }
        assert_eq!(EntryKind::parse("Spend"), None);
        assert_eq!(EntryKind::parse(""), None);
    }

    #[test]
    fn a_source_is_solid_and_of_bounded_length() {
        let read = |text: &str| Source::parse(None, Some(text));
        for id in ["cs_1", "pi_1"] {
            let text = format!("stripe:{id}");
            assert_eq!(read(&text).unwrap().unwrap().source_ref, text);
        }
        let longest = format!("paystack:{}", "x".repeat(MAX_REFERENCE_BYTES - "paystack:".len()));
        assert_eq!(read(&longest).unwrap().unwrap().source_ref, longest);
        for text in
            [&*format!("{longest}x"), "stripe:pi_", "stripe:pi 1", "paystack:", "paystack:a b", "pi_1"]
        {
            assert_eq!(read(text), Err(Detail::SourceRefInvalid), "{text}");
        }
        let session = format!("cs_{}", "x".repeat(MAX_REFERENCE_BYTES - "stripe:cs_".len()));
        assert!(is_session_id(&session) && is_session_id("cs_1"));
        for text in [&*format!("{session}x"), "cs_", "cs_ 1", "cs", "pi_1"] {
            assert!(!is_session_id(text), "{text}");
        }
    }

    #[test]
    fn each_argument_has_its_code() {
        assert_eq!(detail(raw()), None);
        let long = "x".repeat(256);
        let big = format!("{{\"a\":\"{}\"}}", "x".repeat(16 * 1024));
        for (request, expected) in [
            (RawRequest { user_id: None, ..raw() }, Detail::UserIdBlank),
            (RawRequest { user_id: Some("null"), ..raw() }, Detail::UserIdPlaceholder),
            (RawRequest { user_id: Some("what is it"), ..raw() }, Detail::UserIdMalformed),
            (RawRequest { credits: None, ..raw() }, Detail::CreditsMissing),
            (RawRequest { credits: Some(0), ..raw() }, Detail::CreditsNotPositive),
            (RawRequest { credits: Some(i64::MIN), ..raw() }, Detail::CreditsNotPositive),
            (RawRequest { idempotency_key: None, ..raw() }, Detail::IdempotencyKeyMissing),
            (RawRequest { idempotency_key: Some("\t"), ..raw() }, Detail::IdempotencyKeyBlank),
            (RawRequest { idempotency_key: Some(&long), ..raw() }, Detail::IdempotencyKeyTooLong),
            (RawRequest { idempotency_key: Some("billing_rpc:x"), ..raw() }, Detail::IdempotencyKeyReserved),
            (RawRequest { amount_minor: Some(-1), ..raw() }, Detail::AmountNegative),
            (RawRequest { amount_minor: Some(1), ..raw() }, Detail::AmountWithoutCurrency),
            (RawRequest { currency: Some("eur"), ..raw() }, Detail::CurrencyWithoutAmount),
            (RawRequest { amount_minor: Some(1), currency: Some("e"), ..raw() }, Detail::CurrencyInvalid),
            (RawRequest { amount_minor: Some(1), currency: Some(""), ..raw() }, Detail::CurrencyInvalid),
            (RawRequest { credit_type: Some(" "), ..raw() }, Detail::CreditTypeBlank),
            (RawRequest { credit_type: Some(&long), ..raw() }, Detail::CreditTypeTooLong),
            (RawRequest { expires_at: Some(Micros::MAX), ..raw() }, Detail::ExpiresAtInfinite),
            (RawRequest { expires_at: Some(Micros::MIN), ..raw() }, Detail::ExpiresAtInfinite),
            (RawRequest { metadata: Some("[]"), ..raw() }, Detail::MetadataNotAnObject),
            (RawRequest { metadata: Some(&big), ..raw() }, Detail::MetadataTooLarge),
            (RawRequest { stripe_session_id: Some("pi_1"), ..raw() }, Detail::StripeSessionIdInvalid),
            (RawRequest { stripe_session_id: Some(""), ..raw() }, Detail::StripeSessionIdInvalid),
            (RawRequest { source_ref: Some("stripe:in_1"), ..raw() }, Detail::SourceRefInvalid),
            (RawRequest { source_ref: Some("paystack:"), ..raw() }, Detail::SourceRefInvalid),
            (RawRequest { source_ref: Some(&long), ..raw() }, Detail::SourceRefInvalid),
            (
                RawRequest { stripe_session_id: Some("cs_1"), source_ref: Some("stripe:cs_2"), ..raw() },
                Detail::SourcesDiffer,
            ),
        ] {
            assert_eq!(detail(request), Some(expected));
        }
    }

    #[test]
    fn sources_name_their_payment() {
        let source = |session, source| Source::parse(session, source).unwrap().unwrap();
        assert_eq!(source(Some("cs_1"), None), source(None, Some("stripe:cs_1")));
        assert_eq!(source(Some("cs_1"), Some("stripe:cs_1")).payment_ref, None);
        assert_eq!(source(None, Some("stripe:pi_1")).payment_ref.as_deref(), Some("pi_1"));
        assert_eq!(source(None, Some("paystack:ref")).payment_ref.as_deref(), Some("ref"));
        let tied = Source::of_session("cs_1", Some("pi_1"));
        assert_eq!(tied.payment_source().as_deref(), Some("stripe:pi_1"));
        assert_eq!(source(None, Some("paystack:ref")).payment_source(), None);
    }

    #[test]
    fn only_an_expiry_or_a_priority_makes_a_lot() {
        let terms = |expires_at, priority| Terms { expires_at, priority }.make_a_lot();
        assert!(!terms(None, 0));
        assert!(terms(Some(0), 0) && terms(None, 1) && terms(None, -1));
    }

    #[test]
    fn holds_are_validated() {
        let parse = |raw: RawRequest, ttl| {
            HoldRequest::parse(&raw, ttl, false)
                .map(|hold| hold.ttl_seconds)
                .map_err(|refusal| refusal.detail)
        };
        assert_eq!(parse(raw(), None), Ok(900));
        assert_eq!((parse(raw(), Some(1)), parse(raw(), Some(31_622_400))), (Ok(1), Ok(31_622_400)));
        for ttl in [0, -1, 31_622_401, i32::MAX] {
            assert_eq!(parse(raw(), Some(ttl)), Err(Detail::TtlSecondsInvalid));
        }
        assert_eq!(parse(RawRequest { credits: Some(0), ..raw() }, None), Err(Detail::CreditsNotPositive));
        assert_eq!(parse(RawRequest { user_id: Some(" "), ..raw() }, None), Err(Detail::UserIdBlank));
    }

    #[test]
    fn a_reversal_is_within_its_entry() {
        let reversal = |credits| ReversalRequest::parse(Some(1), Some("k"), credits, None).unwrap();
        let of = |credits, kind, size, undone| {
            reversal(credits).credits_of(kind, size, undone).map_err(|refusal| refusal.detail)
        };
        assert_eq!(of(None, EntryKind::Purchase, 10, 4), Ok(6));
        assert_eq!(of(Some(6), EntryKind::Spend, -10, 4), Ok(6));
        assert_eq!(of(Some(7), EntryKind::Capture, -10, 4), Err(Detail::ExceedsEntry));
        assert_eq!(of(None, EntryKind::Grant, 10, 10), Err(Detail::NothingToReverse));
        assert_eq!(of(None, EntryKind::Capture, 0, 0), Err(Detail::NothingToReverse));
        for kind in [EntryKind::Reversal, EntryKind::Expiry, EntryKind::Adjustment] {
            assert_eq!(of(None, kind, 10, 0), Err(Detail::NotReversible));
        }
        let parse = |entry, credits| ReversalRequest::parse(entry, Some("k"), credits, None).err();
        assert_eq!(parse(None, None), Some(invalid(Detail::EntryIdMissing)));
        assert_eq!(parse(Some(1), Some(0)), Some(invalid(Detail::CreditsNotPositive)));
        assert_ne!(reversal(None).fingerprint(), reversal(Some(1)).fingerprint());
    }

    /// Rows of earlier versions are compared with what is computed now, and sessions of two versions meet at
    /// the same gate.
    #[test]
    fn what_is_stored_is_computed_the_same_for_ever() {
        let hex = |print: Fingerprint| crate::signatures::encode_hex(&print);
        let order = RawRequest {
            amount_minor: Some(900),
            currency: Some("eur"),
            source_ref: Some("stripe:cs_1"),
            ..raw()
        };
        let print = |kind, raw| hex(Request::parse(kind, &raw, false).unwrap().fingerprint(&[1; 16]));
        assert_eq!(print(EntryKind::Purchase, order), "62773d57dc993aa4dd11933e59685058");
        assert_eq!(print(EntryKind::Spend, raw()), "6188e3ba0c3925e62f960fb9bb4447cc");
        assert_eq!(
            hex(HoldRequest::parse(&raw(), None, false).unwrap().fingerprint(&[1; 16])),
            "da2edeca9c8dde61a49472fedffc8ae7"
        );
        let reversal = ReversalRequest::parse(Some(7), Some("k"), None, None).unwrap();
        assert_eq!(hex(reversal.fingerprint()), "9f2f3c0b8fc7bd8c58a8d09a802cfbfd");
        assert_eq!(hex(capture_fingerprint(&[1; 16], 5)), "d71c6a8627104fe57c1c769e64581d6d");
        let write_off = account::WriteOff { entry_id: 1, lot_id: 2, credits: 3, balance_after: 4, left: 5 };
        assert_eq!(hex(expiry_fingerprint(&write_off)), "e67e839f48e7fd8bd2fc77eccb73e2f4");
        assert_eq!(expiry_key(&write_off), "billing_rpc:expiry:2:5");
        assert_eq!(capture_key("x"), "billing_rpc:capture:x");
        assert_eq!(hex(merge_fingerprint(&[1; 16], 5)), "0aa862bb79fdea1f9e74d36620e851d2");
        let keys = ("billing_rpc:merge:7:from".to_owned(), "billing_rpc:merge:7:into".to_owned());
        assert_eq!(merge_keys(7), keys);
        assert_eq!(undo_key(7, 0), "billing_rpc:undo:7:0");
        assert_eq!((gate("stripe:cs_1"), gate("stripe:cs_2")), (894, 798));
    }

    #[test]
    fn a_spend_is_below_zero() {
        let credits = |kind| Request::parse(kind, &raw(), false).unwrap().credits;
        assert_eq!(credits(EntryKind::Purchase), 10);
        assert_eq!(credits(EntryKind::Grant), 10);
        assert_eq!(credits(EntryKind::Spend), -10);
    }

    #[test]
    fn each_parameter_alone_makes_another_request() {
        let print = |kind, raw: &RawRequest, customer| {
            Request::parse(kind, raw, false).unwrap().fingerprint(&[customer; 16])
        };
        let order = RawRequest {
            amount_minor: Some(5),
            currency: Some("eur"),
            source_ref: Some("paystack:a"),
            ..raw()
        };
        let mut prints = vec![
            print(EntryKind::Purchase, &order, 1),
            print(EntryKind::Purchase, &order, 2),
            print(EntryKind::Grant, &order, 1),
        ];
        for other in [
            RawRequest { credits: Some(11), ..order },
            RawRequest { credit_type: Some("gold"), ..order },
            RawRequest { amount_minor: Some(6), ..order },
            RawRequest { currency: Some("usd"), ..order },
            RawRequest { source_ref: Some("paystack:b"), ..order },
            RawRequest { source_ref: None, ..order },
        ] {
            prints.push(print(EntryKind::Purchase, &other, 1));
        }
        let hold = |raw: &RawRequest, customer| {
            HoldRequest::parse(raw, None, false).unwrap().fingerprint(&[customer; 16])
        };
        prints.extend([
            hold(&raw(), 1),
            hold(&raw(), 2),
            hold(&RawRequest { credits: Some(11), ..raw() }, 1),
            hold(&RawRequest { credit_type: Some("gold"), ..raw() }, 1),
        ]);
        let reversal = |entry_id, credits| {
            ReversalRequest::parse(Some(entry_id), Some("k"), credits, None).unwrap().fingerprint()
        };
        prints.extend([reversal(1, None), reversal(1, Some(1)), reversal(2, None)]);
        let count = prints.len();
        prints.sort();
        prints.dedup();
        assert_eq!(prints.len(), count);
    }

    #[test]
    fn currency_is_compared_without_regard_to_case() {
        let request = |currency| {
            let raw = RawRequest { amount_minor: Some(5), currency: Some(currency), ..raw() };
            Request::parse(EntryKind::Purchase, &raw, false).unwrap().fingerprint(&[1; 16])
        };
        assert_eq!(request("EUR"), request("eur"));
        assert_ne!(request("EUR"), request("usd"));
    }

    #[test]
    fn history_rows_have_bounds() {
        assert_eq!(history_rows(None), Some(50));
        assert_eq!(history_rows(Some(0)), None);
        assert_eq!(history_rows(Some(i32::MIN)), None);
        assert_eq!(history_rows(Some(i32::MAX)), Some(1_000));
    }

    proptest! {
        #[test]
        fn the_fingerprint_sees_every_parameter(
            credits in 1i64..5, other_credits in 1i64..5, amount in 0i64..3, other_amount in 0i64..3,
            type_ in "[ab]{1,2}", other_type in "[ab]{1,2}", source in "[ab]{1,2}", other_source in "[ab]{1,2}",
            customer in 0u8..2, other_customer in 0u8..2,
        ) {
            let print = |credits, amount, type_: &str, source: &str, customer| {
                let source = format!("paystack:{source}");
                let raw = RawRequest {
                    credits: Some(credits), amount_minor: Some(amount), currency: Some("eur"),
                    credit_type: Some(type_), source_ref: Some(&source), ..raw()
                };
                Request::parse(EntryKind::Purchase, &raw, false).unwrap().fingerprint(&[customer; 16])
            };
            let same = (credits, amount, &type_, &source, customer)
                == (other_credits, other_amount, &other_type, &other_source, other_customer);
            prop_assert_eq!(
                print(credits, amount, &type_, &source, customer)
                    == print(other_credits, other_amount, &other_type, &other_source, other_customer),
                same
            );
        }

        #[test]
        fn any_arguments_are_answered(
            user: Option<String>, credits: Option<i64>, key: Option<String>, session: Option<String>,
            amount: Option<i64>, currency: Option<String>, type_: Option<String>, source: Option<String>,
        ) {
            let raw = RawRequest {
                user_id: user.as_deref(), credits, idempotency_key: key.as_deref(),
                stripe_session_id: session.as_deref(), amount_minor: amount, currency: currency.as_deref(),
                credit_type: type_.as_deref(), source_ref: source.as_deref(), ..RawRequest::default()
            };
            for kind in [EntryKind::Purchase, EntryKind::Grant, EntryKind::Spend] {
                let _ = Request::parse(kind, &raw, true);
            }
        }
    }
}
