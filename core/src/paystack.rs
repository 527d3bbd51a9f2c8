//! Paystack's events: their identity, payments that buy credits, and refunds.

use std::borrow::Cow;

use crate::charges::Report;
use crate::checkout::{Buyer, Goods, Order, Purchase, count};
use crate::credits::account::Micros;
use crate::credits::{Money, RESERVED_KEY_PREFIX, Source};
use crate::json::{Object, Value};
use crate::outcome::{Detail, Reason, Refusal};
use crate::signatures::body_digest;
use crate::text::{MAX_REFERENCE_BYTES, is_solid};
use crate::time;
use crate::webhooks::{Event, Provider, Summary, reference};

/// Reads an event: an object with a text `event` and `data`, an object or an array.
pub fn event<'a>(event: &Object<'a>, body: &str) -> Option<Event<'a>> {
    let event_type = reference(event.text("event"))?;
    let data = event.get("data")?;
    let object = data.object();
    if object.is_none() {
        data.array()?;
    }
    let of_data = |keys: &[&str]| keys.iter().find_map(|key| scalar(object.as_ref()?.get(key)?));
    let id = reference(Some(Cow::Owned(event_id(&event_type, body, of_data)?)))?;
    let object_id =
        of_data(&["reference", "transaction_reference", "subscription_code", "invoice_code", "id"]);
    let object_type = event_type.rsplit_once('.').map(|(object, _)| Cow::Owned(object.to_owned()));
    let mode = object.as_ref().and_then(|data| data.text("domain"));
    Some(Event {
        provider: Provider::Paystack,
        summary: Summary {
            id,
            event_type,
            object_id: reference(object_id),
            object_type: reference(object_type),
        },
        connected: false,
        account_id: None,
        livemode: match mode.as_deref() {
            Some("live") => Some(true),
            Some("test") => Some(false),
            _ => None,
        },
        api_version: None,
        created: object
            .as_ref()
            .and_then(|data| written_at(data, &["paid_at", "paidAt", "created_at", "createdAt"])),
        thin: false,
        object,
    })
}

/// Paystack gives events no id: it is put together from what tells them apart.
fn event_id<'a>(
    event_type: &str,
    body: &str,
    of_data: impl Fn(&[&str]) -> Option<Cow<'a, str>>,
) -> Option<String> {
    let digest = || body_digest(body.as_bytes());
    if event_type.starts_with("charge.") || event_type.starts_with("transfer.") {
        return Some(format!("{event_type}:{}", of_data(&["id", "reference"])?));
    }
    let (whose, which) = if event_type.starts_with("refund.") {
        let which = of_data(&["refund_reference"]).map_or_else(digest, Cow::into_owned);
        (of_data(&["id", "transaction_reference"]), which)
    } else {
        (of_data(&["subscription_code", "invoice_code"]), digest())
    };
    Some(format!("{event_type}:{}:{which}", whose.unwrap_or_default()))
}

/// Text that is not blank, or a whole number as it is written.
fn scalar(value: Value<'_>) -> Option<Cow<'_, str>> {
    let digits = || value.raw().bytes().all(|byte| byte.is_ascii_digit());
    let text = value.text().or_else(|| digits().then(|| Cow::Borrowed(value.raw())))?;
    (!crate::text::is_blank(&text)).then_some(text)
}

fn written_at(data: &Object, keys: &[&str]) -> Option<i64> {
    keys.iter().find_map(|key| time::parse(&data.text(key)?)).map(time::unix)
}

/// A number of minor units, as number or as text.
fn minor(value: Option<Value>) -> Result<Option<i64>, Detail> {
    value.map(|value| count(value).ok_or(Detail::ObjectMalformed)).transpose()
}

/// The reference of the transaction that a `charge.success` tells of.
pub fn transaction_reference(data: &Object) -> Option<String> {
    let reference = data.text("reference")?;
    (is_solid(&reference) && "paystack:".len() + reference.len() <= MAX_REFERENCE_BYTES)
        .then(|| reference.into_owned())
}

/// What was paid: an amount and its currency.
pub fn paid(data: &Object) -> Result<Option<Money>, Detail> {
    let Some(amount) = minor(data.get("amount"))? else { return Ok(None) };
    Money::parse(Some(amount), data.text("currency").as_deref()).map_err(|_| Detail::ObjectMalformed)
}

/// Whether a `charge.success` tells of a payment that succeeded.
pub fn succeeded(data: &Object) -> bool {
    data.text("status").is_some_and(|status| status == "success")
}

/// The charge that a successful transaction is, and its whole amount: refunds will not tell it.
pub fn charge(data: &Object) -> Option<(Source, Option<i64>)> {
    let reference = succeeded(data).then(|| transaction_reference(data))??;
    let amount_minor = minor(data.get("amount")).ok()?;
    Some((Source { source_ref: format!("paystack:{reference}"), payment_ref: Some(reference) }, amount_minor))
}

/// What a `charge.success` buys, judged as a checkout.
pub fn order<'a>(data: &Object<'a>) -> Result<Order<'a>, Refusal> {
    if !succeeded(data) {
        return Err(Refusal { reason: Reason::Ignored, detail: Detail::PaymentFailed });
    }
    // Metadata is an object, or a text that holds one.
    let text = data.text("metadata");
    let inner = text.as_deref().and_then(Object::parse);
    let metadata = data.object("metadata").or(inner).unwrap_or_default();
    let Some(goods) = Goods::read(&metadata) else {
        return Err(Refusal { reason: Reason::Ignored, detail: Detail::NotACreditPurchase });
    };
    let customer = data.object("customer").unwrap_or_default();
    let buyer = Buyer {
        user_id: metadata
            .get("user_id")
            .and_then(crate::checkout::text_or_number)
            .map(|id| Cow::Owned(id.into_owned())),
        client_reference_id: None,
        customer: customer.text("customer_code"),
        email: customer.text("email"),
    };
    let read = || {
        let reference = transaction_reference(data).ok_or(Detail::ObjectMalformed)?;
        let paid = paid(data)?;
        Ok(Order::Purchase(Purchase {
            idempotency_key: format!("{RESERVED_KEY_PREFIX}paystack:{reference}"),
            source: Source { source_ref: format!("paystack:{reference}"), payment_ref: Some(reference) },
            goods,
            price: paid.clone(),
            paid,
            at: written_at(data, &["created_at", "createdAt"]),
            buyer,
        }))
    };
    read().map_err(|detail| Refusal { reason: Reason::Failed, detail })
}

/// What a `refund.processed` reports, and of which transaction. `event_id`: what tells this refund from
/// others.
pub fn refund(data: &Object, event_id: &str) -> Result<(String, Report), Detail> {
    let read = || {
        let reference = data.text("transaction_reference")?;
        let reference =
            (is_solid(&reference) && reference.len() <= MAX_REFERENCE_BYTES).then_some(reference)?;
        let amount_minor = minor(data.get("amount")).ok()??;
        Some((reference.into_owned(), Report::RefundPaid { refund_id: event_id.to_owned(), amount_minor }))
    };
    read().ok_or(Detail::ObjectMalformed)
}

/// What a subscription's invoice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionInvoice {
    /// `SUB_...`
    pub subscription_id: String,
    /// Whether it is paid; none where it says neither.
    pub paid: bool,
    /// The end of the period that it is for.
    pub period_end: Option<Micros>,
}

/// Reads the `data` of an `invoice.update` or `invoice.payment_failed`; none for invoices of other things.
pub fn invoice(data: &Object) -> Option<SubscriptionInvoice> {
    let subscription = data.object("subscription")?;
    let code = subscription.text("subscription_code");
    let subscription_id = reference(code.filter(|code| is_solid(code)))?;
    let paid = data.get("paid").is_some_and(|paid| paid.boolean() == Some(true) || paid.integer() == Some(1));
    let period_end = data.text("period_end").and_then(|text| time::parse(&text));
    // A period that never ends is none that an invoice can be for.
    let period_end = period_end.filter(|at| time::is_storable(time::unix(*at)));
    Some(SubscriptionInvoice { subscription_id, paid, period_end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(body: &str) -> Result<String, Detail> {
        Event::parse(Provider::Paystack, body).map(|event| event.summary.id)
    }

    #[test]
    fn a_transaction_that_succeeded_is_a_charge() {
        let of = |data: &str| charge(&Object::parse(data).unwrap());
        let source = Source { source_ref: "paystack:T1".to_owned(), payment_ref: Some("T1".to_owned()) };
        let told = of(r#"{"reference":"T1","status":"success","amount":5}"#);
        assert_eq!(told, Some((source.clone(), Some(5))));
        assert_eq!(of(r#"{"reference":"T1","status":"success"}"#), Some((source, None)));
        assert_eq!(of(r#"{"reference":"T1","status":"failed","amount":5}"#), None);
        assert_eq!(of(r#"{"reference":"T1","status":"success","amount":-5}"#), None);
    }

    #[test]
    fn a_reference_is_solid_and_fits_into_its_source() {
        let of = |reference: &str| {
            let data = format!(r#"{{"reference":"{reference}"}}"#);
            transaction_reference(&Object::parse(&data).unwrap()).is_some()
        };
        let longest = "x".repeat(MAX_REFERENCE_BYTES - "paystack:".len());
        assert!(of("T1") && of(&longest));
        assert!(!of(&format!("{longest}x")) && !of("T 1") && !of(""));
        let refunded = |reference: &str| {
            let data = format!(r#"{{"transaction_reference":"{reference}","amount":5}}"#);
            refund(&Object::parse(&data).unwrap(), "e").is_ok()
        };
        let longest = "x".repeat(MAX_REFERENCE_BYTES);
        assert!(refunded("T1") && refunded(&longest));
        assert!(!refunded(&format!("{longest}x")) && !refunded("T 1") && !refunded(""));
    }

    #[test]
    fn identity() {
        let digest = |body: &str| body_digest(body.as_bytes());
        for (body, expected) in [
            (r#"{"event":"charge.success","data":{"id":302961,"reference":"r"}}"#, "charge.success:302961"),
            (r#"{"event":"charge.success","data":{"id":"302961"}}"#, "charge.success:302961"),
            (r#"{"event":"charge.success","data":{"id":null,"reference":"r"}}"#, "charge.success:r"),
            (r#"{"event":"charge.success","data":{"id":1e3,"reference":"r"}}"#, "charge.success:r"),
            (r#"{"event":"charge.dispute.create","data":{"id":358950}}"#, "charge.dispute.create:358950"),
            (r#"{"event":"transfer.failed","data":{"reference":"t"}}"#, "transfer.failed:t"),
            (
                r#"{"event":"refund.processed","data":{"transaction_reference":"T1","refund_reference":"132"}}"#,
                "refund.processed:T1:132",
            ),
            (
                r#"{"event":"refund.processed","data":{"id":7,"transaction_reference":"T1","refund_reference":132}}"#,
                "refund.processed:7:132",
            ),
        ] {
            assert_eq!(id(body).as_deref(), Ok(expected), "{body}");
        }
        for (body, start) in [
            (r#"{"event":"refund.processed","data":{"transaction_reference":"T1"}}"#, "refund.processed:T1:"),
            (r#"{"event":"refund.processed","data":{}}"#, "refund.processed::"),
            (
                r#"{"event":"subscription.create","data":{"subscription_code":"SUB_1"}}"#,
                "subscription.create:SUB_1:",
            ),
            (r#"{"event":"invoice.update","data":{"invoice_code":"INV_1"}}"#, "invoice.update:INV_1:"),
            (r#"{"event":"subscription.expiring_cards","data":[]}"#, "subscription.expiring_cards::"),
            (r#"{"event":"x","data":{}}"#, "x::"),
        ] {
            assert_eq!(id(body), Ok(format!("{start}{}", digest(body))), "{body}");
        }
        for body in [
            "{}",
            "[]",
            r#"{"event":"charge.success"}"#,
            r#"{"event":"charge.success","data":{}}"#,
            r#"{"event":"charge.success","data":[]}"#,
            r#"{"event":"charge.success","data":"x"}"#,
            r#"{"event":" ","data":{"id":1}}"#,
            r#"{"event":7,"data":{"id":1}}"#,
        ] {
            assert_eq!(id(body), Err(Detail::NotAnEvent), "{body}");
        }
        assert_eq!(id("{"), Err(Detail::PayloadMalformed));
    }

    #[test]
    fn what_it_is_about_is_named_by_its_type() {
        let object_type = |event_type: &str| {
            let body = format!(r#"{{"event":"{event_type}","data":{{"id":1}}}}"#);
            Event::parse(Provider::Paystack, &body).unwrap().summary.object_type
        };
        assert_eq!(object_type("charge.dispute.create").as_deref(), Some("charge.dispute"));
        for odd in ["x", ".x", " .x"] {
            assert_eq!(object_type(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_mode_is_the_domain() {
        let mode = |domain: &str| {
            let body = format!(r#"{{"event":"charge.success","data":{{"id":1,"domain":{domain}}}}}"#);
            Event::parse(Provider::Paystack, &body).unwrap().livemode
        };
        assert_eq!(mode("\"live\""), Some(true));
        assert_eq!(mode("\"test\""), Some(false));
        assert_eq!(mode("false"), None);
    }

    fn judged(members: &str) -> Result<Purchase<'static>, Detail> {
        let json = format!(
            r#"{{"status":"success","reference":"r1","amount":"90000","currency":"NGN",
                "created_at":"2016-09-30T21:09:56.000Z","customer":{{"customer_code":"CUS_1","email":"A@b.de"}},{members}}}"#
        );
        let json: &'static str = json.leak();
        match order(&Object::parse(json).unwrap()) {
            Ok(Order::Purchase(purchase)) => Ok(purchase),
            Ok(Order::Link(_)) => panic!("a payment links nobody by itself"),
            Err(refusal) => Err(refusal.detail),
        }
    }

    #[test]
    fn metadata_is_an_object_or_a_text_that_holds_one() {
        for metadata in [r#"{"credits":100,"user_id":7}"#, r#""{\"credits\":\"100\",\"user_id\":\"7\"}""#] {
            let purchase = judged(&format!(r#""metadata":{metadata}"#)).unwrap();
            assert_eq!(purchase.goods, Goods::Credits(100));
            assert_eq!(purchase.paid, Some(Money { amount_minor: 90_000, currency: "ngn".to_owned() }));
            assert_eq!(purchase.source.source_ref, "paystack:r1");
            assert_eq!(purchase.at, Some(1_475_269_796));
            assert_eq!(purchase.buyer.named_users(false).len(), 1);
            assert_eq!(purchase.buyer.other_users().len(), 2);
        }
        for metadata in ["0", "null", "\"\"", "\"x\"", "{}", "[]", "\"[1]\"", r#"{"credits":"many"}"#] {
            assert_eq!(judged(&format!(r#""metadata":{metadata}"#)).unwrap_err(), Detail::NotACreditPurchase);
        }
        let pack = judged(r#""metadata":{"credits":5,"pack":"small"}"#).unwrap();
        assert_eq!(pack.goods, Goods::Pack("small".to_owned()));
    }

    #[test]
    fn odd_payments() {
        let bought = r#""metadata":{"credits":5}"#;
        assert_eq!(judged(&format!(r#"{bought},"status":"failed""#)).unwrap_err(), Detail::PaymentFailed);
        for member in [
            r#""reference":null"#,
            r#""reference":7"#,
            r#""reference":"a b""#,
            r#""amount":-1"#,
            r#""amount":10.5"#,
            r#""amount":1e131071"#,
            r#""amount":"x""#,
            r#""currency":null"#,
            r#""currency":"naira""#,
        ] {
            assert_eq!(
                judged(&format!("{bought},{member}")).unwrap_err(),
                Detail::ObjectMalformed,
                "{member}"
            );
        }
    }

    #[test]
    fn refunds() {
        let read = |json: &str| refund(&Object::parse(json).unwrap(), "e");
        let report = Report::RefundPaid { refund_id: "e".to_owned(), amount_minor: 5_000 };
        for amount in ["5000", "\"5000\""] {
            let json = format!(r#"{{"transaction_reference":"T1","amount":{amount}}}"#);
            assert_eq!(read(&json), Ok(("T1".to_owned(), report.clone())));
        }
        for json in [
            "{}",
            r#"{"transaction_reference":"T1"}"#,
            r#"{"amount":5}"#,
            r#"{"transaction_reference":7,"amount":5}"#,
            r#"{"transaction_reference":"T1","amount":-5}"#,
            r#"{"transaction_reference":"T1","amount":"5.5"}"#,
        ] {
            assert_eq!(read(json), Err(Detail::ObjectMalformed), "{json}");
        }
    }

    #[test]
    fn invoices() {
        let read = |json: &str| invoice(&Object::parse(json).unwrap());
        let paid = read(
            r#"{"paid":true,"period_end":"2000-01-01T00:00:01.000Z","subscription":{"subscription_code":"SUB_1"}}"#,
        );
        let expected = SubscriptionInvoice {
            subscription_id: "SUB_1".to_owned(),
            paid: true,
            period_end: Some(1_000_000),
        };
        assert_eq!(paid, Some(expected));
        for (word, paid) in
            [("1", true), ("0", false), ("false", false), ("null", false), ("\"true\"", false)]
        {
            let json = format!(r#"{{"paid":{word},"subscription":{{"subscription_code":"SUB_1"}}}}"#);
            assert_eq!(read(&json).map(|invoice| (invoice.paid, invoice.period_end)), Some((paid, None)));
        }
        for end in ["infinity", "-infinity", "soon"] {
            let json = format!(r#"{{"period_end":"{end}","subscription":{{"subscription_code":"SUB_1"}}}}"#);
            assert_eq!(read(&json).map(|invoice| invoice.period_end), Some(None), "{end}");
        }
        for json in ["{}", r#"{"subscription":{}}"#, r#"{"subscription":{"subscription_code":7}}"#] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
