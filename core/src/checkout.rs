//! What a payment buys, for whom, and whom it links: checkout sessions, and what all payments share.

use std::borrow::Cow;

use crate::credits::{EntryKind, Money, RESERVED_KEY_PREFIX, Request, Source, Terms, is_session_id};
use crate::customers::{Identifier, ProviderCode};
use crate::json::{Object, Value};
use crate::outcome::{Detail, Reason, Refusal};
use crate::text::{MAX_REFERENCE_BYTES, is_solid};

/// What a payment is to bring about.
#[derive(Debug)]
pub enum Order<'a> {
    /// Credits are bought.
    Purchase(Purchase<'a>),
    /// Nothing is bought; the named user and the provider's customer are linked.
    Link(Buyer<'a>),
}

/// What is bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goods {
    /// So many credits.
    Credits(i64),
    /// Packs of that name; the price says how many.
    Pack(String),
}

impl Goods {
    /// Reads metadata: a pack wins over a number of credits.
    pub fn read(metadata: &Object) -> Option<Goods> {
        if let Some(pack) = metadata.get("pack") {
            return Some(Goods::Pack(text_or_number(pack).unwrap_or_default().into_owned()));
        }
        let credits = metadata.get("credits").and_then(count).filter(|credits| *credits > 0)?;
        Some(Goods::Credits(credits))
    }
}

/// A payment that buys credits.
#[derive(Debug)]
pub struct Purchase<'a> {
    /// The business fact, with its payment where known.
    pub source: Source,
    /// Derived from the source, so that it stands for it alone.
    pub idempotency_key: String,
    /// What is bought.
    pub goods: Goods,
    /// What is compared with a pack's price: before tax, shipping and promotion codes.
    pub price: Option<Money>,
    /// What was paid.
    pub paid: Option<Money>,
    /// Unix seconds at which the price must have been valid; none: now.
    pub at: Option<i64>,
    /// Whose it is.
    pub buyer: Buyer<'a>,
}

impl Purchase<'_> {
    /// The credit request of the payment.
    pub fn request<'b>(
        &self,
        user: Identifier<'b>,
        credits: i64,
        credit_type: Cow<'b, str>,
        terms: Terms,
    ) -> Request<'b> {
        Request {
            kind: EntryKind::Purchase,
            user,
            credits,
            credit_type,
            idempotency_key: Cow::Owned(self.idempotency_key.clone()),
            money: self.paid.clone(),
            source: Some(self.source.clone()),
            terms,
        }
    }
}

/// Who is named by a payment.
#[derive(Debug, Default)]
pub struct Buyer<'a> {
    /// Set by the merchant.
    pub user_id: Option<Cow<'a, str>>,
    /// Anyone can set that one in a payment link's URL.
    pub client_reference_id: Option<Cow<'a, str>>,
    /// The provider's customer.
    pub customer: Option<Cow<'a, str>>,
    /// Names who is credited, and links nothing.
    pub email: Option<Cow<'a, str>>,
}

impl Buyer<'_> {
    /// The explicitly named user: `metadata.user_id`, then `client_reference_id`.
    pub fn named_users(&self, external_ids: bool) -> Vec<Identifier<'_>> {
        [&self.user_id, &self.client_reference_id]
            .into_iter()
            .filter_map(|text| Identifier::classify(text.as_deref(), external_ids).ok())
            .collect()
    }

    /// After the named users: the provider's customer, if known here, then the e-mail.
    pub fn other_users(&self) -> Vec<Identifier<'_>> {
        let email = self.email.as_deref().and_then(crate::customers::parse_email);
        let code = self.customer_code().map(ProviderCode::identifier);
        code.into_iter().chain(email.map(Identifier::Email)).collect()
    }

    /// The provider's customer.
    pub fn customer_code(&self) -> Option<ProviderCode<'_>> {
        ProviderCode::parse(self.customer.as_deref()?)
    }
}

/// Whom a Stripe customer names: `metadata.user_id`, never an e-mail.
pub fn buyer_of_customer<'a>(object: &Object<'a>) -> Buyer<'a> {
    let metadata = object.object("metadata").unwrap_or_default();
    Buyer {
        user_id: metadata.get("user_id").and_then(text_or_number),
        customer: object.text("id"),
        ..Buyer::default()
    }
}

/// A checkout session, read; what is odd in it shows when it is needed.
#[derive(Debug)]
pub struct Session<'a> {
    id: Option<Cow<'a, str>>,
    paid: bool,
    mode: Mode,
    payment_ref: Option<Cow<'a, str>>,
    goods: Option<Goods>,
    amounts: Result<Amounts, Detail>,
    created: Option<i64>,
    buyer: Buyer<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Payment,
    LinksOnly,
    Other,
}

/// `amount_total`, and what a pack's price is compared with.
#[derive(Clone, Debug, Default)]
struct Amounts {
    paid: Option<Money>,
    price: Option<Money>,
}

/// Whether Stripe's events of the type tell of a session.
pub fn is_told_by(event_type: &str) -> bool {
    matches!(
        event_type,
        "checkout.session.completed"
            | "checkout.session.async_payment_succeeded"
            | "checkout.session.async_payment_failed"
            | "checkout.session.expired"
    )
}

impl<'a> Session<'a> {
    /// Reads the session of an event that was made at `created`.
    pub fn parse(object: &Object<'a>, created: Option<i64>) -> Session<'a> {
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
            goods: Goods::read(&metadata),
            amounts: Amounts::read(object),
            created: object.get("created").and_then(Value::integer).or(created),
            buyer: Buyer {
                user_id: metadata.get("user_id").and_then(text_or_number),
                client_reference_id: object.text("client_reference_id"),
                customer: object.id("customer"),
                email: object.object("customer_details").and_then(|details| details.text("email")),
            },
        }
    }

    /// The session and its payment, where it names both: they are one fact, whatever else is judged.
    pub fn tie(&self) -> Option<Source> {
        Some(Source::of_session(self.id.as_deref()?, Some(self.payment_ref.as_deref()?)))
    }

    /// Whether it is paid, and what it buys.
    pub fn order(self, event_type: &str) -> Result<Order<'a>, Refusal> {
        let ignored = |detail| Err(Refusal { reason: Reason::Ignored, detail });
        match event_type {
            "checkout.session.async_payment_failed" => return ignored(Detail::PaymentFailed),
            "checkout.session.expired" => return ignored(Detail::SessionExpired),
            _ if !self.paid => return ignored(Detail::PaymentPending),
            _ => {}
        }
        match (self.mode, self.goods) {
            (Mode::LinksOnly, _) => Ok(Order::Link(self.buyer)),
            (Mode::Payment, Some(goods)) => match (self.id, self.amounts) {
                (Some(id), Ok(amounts)) => Ok(Order::Purchase(Purchase {
                    idempotency_key: format!("{RESERVED_KEY_PREFIX}stripe:{id}"),
                    source: Source::of_session(&id, self.payment_ref.as_deref()),
                    goods,
                    price: amounts.price,
                    paid: amounts.paid,
                    at: self.created,
                    buyer: self.buyer,
                })),
                _ => Err(Refusal { reason: Reason::Failed, detail: Detail::ObjectMalformed }),
            },
            _ => ignored(Detail::NotACreditPurchase),
        }
    }
}

impl Amounts {
    /// Absent ones are allowed. An odd price matters to packs alone, which find none then; it is never
    /// taken for an absent one.
    fn read(object: &Object) -> Result<Amounts, Detail> {
        let currency = object.text("currency");
        let money = |key| {
            let Some(amount) = object.get(key) else { return Ok(None) };
            let amount = amount.integer().ok_or(Detail::ObjectMalformed)?;
            Money::parse(Some(amount), currency.as_deref()).map_err(|_| Detail::ObjectMalformed)
        };
        let paid = money("amount_total")?;
        let price = match money("amount_subtotal") {
            Ok(price) => price.or_else(|| paid.clone()),
            Err(_) => None,
        };
        Ok(Amounts { paid, price })
    }
}

/// Zero or more, as number or as text of ASCII digits.
pub fn count(value: Value) -> Option<i64> {
    let number = match value.text() {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Some(_) => None,
        None => value.integer(),
    };
    number.filter(|number| *number >= 0)
}

/// An identifier in metadata: text, as Stripe sends it, or a bare number.
pub fn text_or_number(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.text().or_else(|| value.integer().map(|_| Cow::Borrowed(value.raw())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The goods of what is bought; none for what only links.
    fn order(json: &str) -> Result<Option<Goods>, Detail> {
        order_of("checkout.session.completed", json)
    }

    fn order_of(event_type: &str, json: &str) -> Result<Option<Goods>, Detail> {
        let object = Object::parse(json).unwrap();
        match Session::parse(&object, None).order(event_type) {
            Ok(Order::Purchase(purchase)) => Ok(Some(purchase.goods)),
            Ok(Order::Link(_)) => Ok(None),
            Err(refusal) => Err(refusal.detail),
        }
    }

    fn with(members: &str) -> String {
        format!(r#"{{"id":"cs_1","mode":"payment","payment_status":"paid",{members}}}"#)
    }

    #[test]
    fn only_paid_payments_with_credits_buy_credits() {
        assert_eq!(order(&with(r#""metadata":{"credits":"100"}"#)), Ok(Some(Goods::Credits(100))));
        assert_eq!(order(&with(r#""metadata":{"credits":100}"#)), Ok(Some(Goods::Credits(100))));
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
        assert_eq!(order(&with(r#""metadata":{"credits":"1"},"mode":"subscription""#)), Ok(None));
        assert_eq!(order(&with(r#""metadata":{"credits":"1"},"mode":"setup""#)), Ok(None));
        assert_eq!(
            order(&with(r#""metadata":{"credits":"1"},"mode":null"#)),
            Err(Detail::NotACreditPurchase)
        );
        let pack = with(r#""metadata":{"credits":"1","pack":"small"}"#);
        assert_eq!(order(&pack), Ok(Some(Goods::Pack("small".to_owned()))));
        for odd in ["\"\"", "true", "[]", "{}"] {
            let pack = with(&format!(r#""metadata":{{"credits":"1","pack":{odd}}}"#));
            assert_eq!(order(&pack), Ok(Some(Goods::Pack(String::new()))), "{odd}");
        }
    }

    #[test]
    fn these_events_tell_of_sessions_and_no_others() {
        for event_type in [
            "checkout.session.completed",
            "checkout.session.async_payment_succeeded",
            "checkout.session.async_payment_failed",
            "checkout.session.expired",
        ] {
            assert!(is_told_by(event_type), "{event_type}");
        }
        for event_type in ["checkout.session.created", "payment_intent.succeeded", ""] {
            assert!(!is_told_by(event_type), "{event_type}");
        }
    }

    #[test]
    fn a_customer_names_the_user_of_its_metadata_and_itself() {
        let object =
            Object::parse(r#"{"id":"cus_1","email":"a@example.com","metadata":{"user_id":7}}"#).unwrap();
        let buyer = buyer_of_customer(&object);
        assert_eq!(buyer.user_id.as_deref(), Some("7"));
        assert_eq!(buyer.customer.as_deref(), Some("cus_1"));
        assert_eq!(buyer.email, None, "anybody may have given that one");
        assert_eq!(buyer.client_reference_id, None);
    }

    #[test]
    fn a_payment_that_no_refund_could_name_is_none() {
        let tied = |payment: &str| {
            let session = with(&format!(r#""payment_intent":"{payment}""#));
            Session::parse(&Object::parse(&session).unwrap(), None).tie().is_some()
        };
        assert!(tied("pi_1"));
        assert!(tied(&"x".repeat(MAX_REFERENCE_BYTES)));
        assert!(!tied(&"x".repeat(MAX_REFERENCE_BYTES + 1)));
        assert!(!tied("pi 1"));
    }

    #[test]
    fn the_payment_comes_first() {
        for status in ["\"unpaid\"", "null", "1", "\"PAID\""] {
            let session = with(&format!(r#""metadata":{{"credits":"1"}},"payment_status":{status}"#));
            assert_eq!(order(&session), Err(Detail::PaymentPending), "{status}");
        }
        let free = with(r#""metadata":{"credits":"1"},"payment_status":"no_payment_required""#);
        assert_eq!(order(&free), Ok(Some(Goods::Credits(1))));
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
    fn an_odd_price_is_none_and_not_what_was_paid() {
        for subtotal in ["1e400", "\"x\"", "10.5", "-1", "[]", "9223372036854775808"] {
            let json = with(&format!(
                r#""metadata":{{"credits":"1"}},"amount_total":5,"currency":"eur","amount_subtotal":{subtotal}"#
            ));
            let object = Object::parse(&json).unwrap();
            let order = Session::parse(&object, None).order("checkout.session.completed");
            let Ok(Order::Purchase(purchase)) = order else { panic!("{subtotal}") };
            assert_eq!(purchase.price, None, "{subtotal}");
            assert_eq!(purchase.paid.map(|paid| paid.amount_minor), Some(5), "{subtotal}");
        }
    }

    #[test]
    fn a_session_that_came_to_nothing() {
        let bought = with(r#""metadata":{"credits":"1"}"#);
        let failed = order_of("checkout.session.async_payment_failed", &bought);
        assert_eq!(failed, Err(Detail::PaymentFailed));
        assert_eq!(order_of("checkout.session.expired", &bought), Err(Detail::SessionExpired));
        let succeeded = order_of("checkout.session.async_payment_succeeded", &bought);
        assert_eq!(succeeded, Ok(Some(Goods::Credits(1))));
    }

    #[test]
    fn whose_it_is() {
        let json = with(
            r#""metadata":{"user_id":"{{user}}","credits":"1"},"client_reference_id":"7",
               "customer":{"id":"cus_1"},"customer_details":{"email":"A@b.de"},
               "payment_intent":"pi_1","amount_total":500,"amount_subtotal":450,"currency":"EUR""#,
        );
        let object = Object::parse(&json).unwrap();
        let session = Session::parse(&object, Some(5));
        assert_eq!(session.tie(), Some(Source::of_session("cs_1", Some("pi_1"))));
        let Ok(Order::Purchase(purchase)) = session.order("checkout.session.completed") else { panic!() };
        assert_eq!(purchase.buyer.named_users(false), [Identifier::LegacyId(7)]);
        assert_eq!(
            purchase.buyer.other_users(),
            [Identifier::StripeCustomer("cus_1"), Identifier::Email("a@b.de".to_owned())]
        );
        assert_eq!(purchase.at, Some(5));
        let money = |amount_minor| Some(Money { amount_minor, currency: "eur".to_owned() });
        assert_eq!(purchase.price, money(450));
        let request = purchase.request(Identifier::LegacyId(7), 1, "credits".into(), Terms::default());
        assert_eq!(request.idempotency_key, "billing_rpc:stripe:cs_1");
        assert_eq!(request.money, money(500));
        assert_eq!(request.source, Some(Source::of_session("cs_1", Some("pi_1"))));
    }

    #[test]
    fn a_number_names_a_user_too() {
        let json = with(r#""metadata":{"user_id":42}"#);
        let object = Object::parse(&json).unwrap();
        assert_eq!(Session::parse(&object, None).buyer.named_users(false), [Identifier::LegacyId(42)]);
    }
}
