//! What a checkout session buys, for whom, and whom it links.

use std::borrow::Cow;

use crate::credits::{EntryKind, Money, Request, Source, is_session_id};
use crate::customers::{Identifier, ProviderCode};
use crate::json::{Object, Value};
use crate::outcome::{Detail, Reason, Refusal};
use crate::text::{MAX_REFERENCE_BYTES, is_solid};

/// A checkout session, read.
#[derive(Debug)]
pub struct Session<'a> {
    id: Option<Cow<'a, str>>,
    paid: bool,
    mode: Mode,
    payment_ref: Option<Cow<'a, str>>,
    pack: bool,
    credits: Option<i64>,
    money: Result<Option<Money>, Detail>,
    user_id: Option<Cow<'a, str>>,
    client_reference_id: Option<Cow<'a, str>>,
    customer: Option<Cow<'a, str>>,
    email: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Payment,
    LinksOnly,
    Other,
}

/// What is to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// So many credits are bought.
    Credits(i64),
    /// Nothing is bought; the named user and the provider's customer are linked.
    Link,
}

impl<'a> Session<'a> {
    /// Reads the session; what is odd in it shows when it is needed.
    pub fn parse(object: &Object<'a>) -> Session<'a> {
        let metadata = object.object("metadata").unwrap_or_default();
        let mode = match object.text("mode").as_deref() {
            Some("payment") => Mode::Payment,
            Some("subscription" | "setup") => Mode::LinksOnly,
            _ => Mode::Other,
        };
        let payment_status = object.text("payment_status");
        Session {
            id: object.text("id").filter(|id| is_session_id(id)),
            paid: matches!(payment_status.as_deref(), Some("paid" | "no_payment_required")),
            mode,
            payment_ref: object
                .id("payment_intent")
                .filter(|id| is_solid(id) && id.len() <= MAX_REFERENCE_BYTES),
            pack: metadata.get("pack").is_some(),
            credits: metadata.get("credits").and_then(positive_integer),
            money: paid_amount(object),
            user_id: metadata.get("user_id").and_then(text_or_number),
            client_reference_id: object.text("client_reference_id"),
            customer: object.id("customer"),
            email: object.object("customer_details").and_then(|details| details.text("email")),
        }
    }

    /// Steps 1 and 2: whether it is paid, and what it buys.
    pub fn order(&self) -> Result<Order, Refusal> {
        let ignored = |detail| Err(Refusal { reason: Reason::Ignored, detail });
        if !self.paid {
            return ignored(Detail::PaymentPending);
        }
        match (self.mode, self.credits) {
            (Mode::LinksOnly, _) => Ok(Order::Link),
            (Mode::Payment, _) if self.pack => {
                Err(Refusal { reason: Reason::Failed, detail: Detail::UnknownPack })
            }
            (Mode::Payment, Some(credits)) if self.id.is_some() && self.money.is_ok() => {
                Ok(Order::Credits(credits))
            }
            (Mode::Payment, Some(_)) => {
                Err(Refusal { reason: Reason::Failed, detail: Detail::ObjectMalformed })
            }
            _ => ignored(Detail::NotACreditPurchase),
        }
    }

    /// Step 3, the explicitly named user: `metadata.user_id`, then `client_reference_id`.
    pub fn named_users(&self, external_ids: bool) -> Vec<Identifier<'_>> {
        [&self.user_id, &self.client_reference_id]
            .into_iter()
            .filter_map(|text| Identifier::classify(text.as_deref(), external_ids).ok())
            .collect()
    }

    /// Step 3, after the named users: the provider's customer, if known here, then the e-mail.
    pub fn other_users(&self) -> Vec<Identifier<'_>> {
        let email = self.email.as_deref().and_then(crate::customers::parse_email);
        let code = self.customer_code().map(ProviderCode::identifier);
        code.into_iter().chain(email.map(Identifier::Email)).collect()
    }

    /// The provider's customer.
    pub fn customer_code(&self) -> Option<ProviderCode<'_>> {
        ProviderCode::parse(self.customer.as_deref()?)
    }

    /// The payment intent.
    pub fn payment_ref(&self) -> Option<&str> {
        self.payment_ref.as_deref()
    }

    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// The session's own source, tied to its payment.
    pub fn source(&self) -> Source {
        Source::of_session(self.id(), self.payment_ref())
    }

    /// The credit request of the session; its key is derived from the session's id.
    pub fn request<'b>(&self, user: Identifier<'b>, credits: i64) -> Request<'b> {
        Request {
            kind: EntryKind::Purchase,
            user,
            credits,
            credit_type: Cow::Borrowed(crate::credits::DEFAULT_CREDIT_TYPE),
            idempotency_key: Cow::Owned(format!(
                "{}stripe:{}",
                crate::credits::RESERVED_KEY_PREFIX,
                self.id()
            )),
            money: self.money.clone().unwrap_or_default(),
            source: Some(self.source()),
            terms: crate::credits::Terms::default(),
        }
    }
}

/// `amount_total` and `currency`: what was paid. Absent ones are allowed, odd ones are not.
fn paid_amount(object: &Object) -> Result<Option<Money>, Detail> {
    let Some(amount) = object.get("amount_total") else { return Ok(None) };
    let amount = amount.integer().ok_or(Detail::ObjectMalformed)?;
    let currency = object.text("currency");
    Money::parse(Some(amount), currency.as_deref()).map_err(|_| Detail::ObjectMalformed)
}

/// A positive integer as number or as text of ASCII digits.
fn positive_integer(value: Value) -> Option<i64> {
    let number = match value.text() {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Some(_) => None,
        None => value.integer(),
    };
    number.filter(|number| *number > 0)
}

/// An identifier in metadata: text, as Stripe sends it, or a bare number.
fn text_or_number(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.text().or_else(|| value.integer().map(|_| Cow::Borrowed(value.raw())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: &str) -> Result<Order, Detail> {
        let object = Object::parse(json).unwrap();
        Session::parse(&object).order().map_err(|refusal| refusal.detail)
    }

    fn with(members: &str) -> String {
        format!(r#"{{"id":"cs_1","mode":"payment","payment_status":"paid",{members}}}"#)
    }

    #[test]
    fn only_paid_payments_with_credits_buy_credits() {
        assert_eq!(order(&with(r#""metadata":{"credits":"100"}"#)), Ok(Order::Credits(100)));
        assert_eq!(order(&with(r#""metadata":{"credits":100}"#)), Ok(Order::Credits(100)));
        for credits in [
            "0",
            "-1",
            "10.5",
            "1e2",
            "\"\"",
            "\"+5\"",
            "\" 5\"",
            "\"0\"",
            "null",
            "true",
            "[]",
            "9223372036854775808",
            "\"9223372036854775808\"",
            "1e131071",
        ] {
            let session = with(&format!(r#""metadata":{{"credits":{credits}}}"#));
            assert_eq!(order(&session), Err(Detail::NotACreditPurchase), "{credits}");
        }
        assert_eq!(order(&with(r#""metadata":null"#)), Err(Detail::NotACreditPurchase));
        assert_eq!(order(&with(r#""metadata":{"credits":"1"},"mode":"subscription""#)), Ok(Order::Link));
        assert_eq!(order(&with(r#""metadata":{"credits":"1"},"mode":"setup""#)), Ok(Order::Link));
        assert_eq!(
            order(&with(r#""metadata":{"credits":"1"},"mode":null"#)),
            Err(Detail::NotACreditPurchase)
        );
        let pack = with(r#""metadata":{"credits":"1","pack":"small"}"#);
        assert_eq!(order(&pack), Err(Detail::UnknownPack));
    }

    #[test]
    fn the_payment_comes_first() {
        for status in ["\"unpaid\"", "null", "1", "\"PAID\""] {
            let session = with(&format!(r#""metadata":{{"credits":"1"}},"payment_status":{status}"#));
            assert_eq!(order(&session), Err(Detail::PaymentPending), "{status}");
        }
        let free = with(r#""metadata":{"credits":"1"},"payment_status":"no_payment_required""#);
        assert_eq!(order(&free), Ok(Order::Credits(1)));
    }

    #[test]
    fn parts_of_the_wrong_type_are_malformed() {
        for members in [
            r#""id":7"#,
            r#""id":"pi_1""#,
            r#""amount_total":"x""#,
            r#""amount_total":10.5,"currency":"eur""#,
            r#""amount_total":-1,"currency":"eur""#,
            r#""amount_total":5,"currency":"euro""#,
            r#""amount_total":5"#,
        ] {
            let buys = with(&format!(r#""metadata":{{"credits":"1"}},{members}"#));
            assert_eq!(order(&buys), Err(Detail::ObjectMalformed), "{members}");
            assert_eq!(order(&with(members)), Err(Detail::NotACreditPurchase), "{members}");
        }
        assert_eq!(order("{}"), Err(Detail::PaymentPending));
    }

    #[test]
    fn whose_it_is() {
        let json = with(
            r#""metadata":{"user_id":"{{user}}","credits":"1"},"client_reference_id":"7",
               "customer":{"id":"cus_1"},"customer_details":{"email":"A@b.de"},
               "payment_intent":"pi_1","amount_total":500,"currency":"EUR""#,
        );
        let object = Object::parse(&json).unwrap();
        let session = Session::parse(&object);
        assert_eq!(session.named_users(false), [Identifier::LegacyId(7)]);
        assert_eq!(
            session.other_users(),
            [Identifier::StripeCustomer("cus_1"), Identifier::Email("a@b.de".to_owned())]
        );
        let request = session.request(Identifier::LegacyId(7), 1);
        assert_eq!(request.idempotency_key, "billing_rpc:stripe:cs_1");
        assert_eq!(request.money, Some(Money { amount_minor: 500, currency: "eur".to_owned() }));
        assert_eq!(request.source, Some(Source::of_session("cs_1", Some("pi_1"))));
    }

    #[test]
    fn a_number_names_a_user_too() {
        let json = with(r#""metadata":{"user_id":42}"#);
        let object = Object::parse(&json).unwrap();
        assert_eq!(Session::parse(&object).named_users(false), [Identifier::LegacyId(42)]);
    }
}
