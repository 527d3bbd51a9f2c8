//! What a Stripe invoice says: whose it is, which credits it pays for, and what it does to a subscription.
//!
//! Both shapes are read: the subscription on the invoice itself or under `parent`, prices on the line or
//! under `pricing`, payments on the invoice or in events of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::checkout::{Buyer, text_or_number};
use crate::json::{Object, Value};
use crate::outcome::Detail;
use crate::text::{MAX_REFERENCE_BYTES, is_solid};

/// What became of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is paid.
    Paid,
    /// An attempt to pay it failed.
    PaymentFailed,
}

impl Settled {
    /// By the type of Stripe's event.
    pub fn of(event_type: &str) -> Option<Settled> {
        match event_type {
            "invoice.paid" | "invoice.payment_succeeded" => Some(Settled::Paid),
            "invoice.payment_failed" => Some(Settled::PaymentFailed),
            _ => None,
        }
    }
}

/// Why the invoice was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Billing {
    Create,
    Cycle,
    /// Manual, or for usage above a threshold: grants nothing.
    BesidePeriods,
    Other,
}

/// What one price's lines pay for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Unix seconds; none where no line says so.
    pub end: Option<i64>,
}

/// An invoice, read.
#[derive(Debug)]
pub struct Invoice<'a> {
    /// `in_...`
    pub id: String,
    /// `sub_...`; none for invoices of other things.
    pub subscription_id: Option<String>,
    /// The payment, where the invoice itself names it.
    pub payment_ref: Option<String>,
    /// Whose it is.
    pub buyer: Buyer<'a>,
    /// By price id: what the lines that count pay for.
    pub periods: BTreeMap<String, Period>,
    billing: Billing,
}

impl<'a> Invoice<'a> {
    /// Reads the invoice.
    pub fn parse(object: &Object<'a>) -> Result<Invoice<'a>, Detail> {
        let id = reference(object, "id").ok_or(Detail::ObjectMalformed)?;
        let parent = object.object("parent").and_then(|parent| parent.object("subscription_details"));
        let details = parent.or_else(|| object.object("subscription_details")).unwrap_or_default();
        let metadata = details.object("metadata").unwrap_or_default();
        let billing = match object.text("billing_reason").as_deref() {
            Some("subscription_create") => Billing::Create,
            Some("manual" | "subscription_threshold") => Billing::BesidePeriods,
            Some("subscription_cycle") => Billing::Cycle,
            Some(_) => Billing::Other,
            None if object.has("billing_reason") && object.get("billing_reason").is_some() => Billing::Other,
            None => Billing::Cycle,
        };
        let lines = object.object("lines").and_then(|lines| lines.get("data")?.array()).unwrap_or_default();
        Ok(Invoice {
            id,
            subscription_id: reference(object, "subscription")
                .or_else(|| reference(&details, "subscription")),
            payment_ref: reference(object, "payment_intent").or_else(|| reference(object, "charge")),
            buyer: Buyer {
                user_id: metadata.get("user_id").and_then(text_or_number),
                customer: object.id("customer"),
                ..Buyer::default()
            },
            periods: periods(&lines, billing)?,
            billing,
        })
    }

    /// Whether it says anything of the subscription's status.
    pub const fn moves_status(&self) -> bool {
        matches!(self.billing, Billing::Create | Billing::Cycle)
    }

    /// The invoice as a source, which its plans' grants are parts of.
    pub fn source_ref(&self) -> String {
        source_ref(&self.id)
    }
}

/// The source of an invoice; its plans' grants are `<source>#<plan>`.
pub fn source_ref(invoice_id: &str) -> String {
    format!("stripe:{invoice_id}")
}

/// Whether a source is an invoice: each plan's grant is a part of it.
pub fn is_invoice(source_ref: &str) -> bool {
    source_ref.starts_with("stripe:in_")
}

fn periods(lines: &[Value], billing: Billing) -> Result<BTreeMap<String, Period>, Detail> {
    let mut periods = BTreeMap::new();
    if billing == Billing::BesidePeriods {
        return Ok(periods);
    }
    let least = if billing == Billing::Create { 0 } else { 1 };
    for line in lines {
        let line = line.object().ok_or(Detail::ObjectMalformed)?;
        let Some(price_id) = price_id(&line) else { continue };
        let amount = line.get("amount").and_then(Value::integer).ok_or(Detail::ObjectMalformed)?;
        if amount < least || is_proration(&line) {
            continue;
        }
        let end = line.object("period").and_then(|period| period.get("end")?.integer());
        let period: &mut Period = periods.entry(price_id).or_insert(Period { end });
        period.end = period.end.max(end);
    }
    Ok(periods)
}

fn price_id(line: &Object) -> Option<String> {
    let details = line.object("pricing").and_then(|pricing| pricing.object("price_details"));
    details
        .and_then(|details| reference(&details, "price"))
        .or_else(|| reference(line, "price"))
        .or_else(|| reference(line, "plan"))
}

fn is_proration(line: &Object) -> bool {
    let says = |object: &Object| object.get("proration").and_then(Value::boolean) == Some(true);
    let parent = line.object("parent").unwrap_or_default();
    let under = |key| parent.object(key).is_some_and(|details| says(&details));
    says(line) || under("subscription_item_details") || under("invoice_item_details")
}

/// A payment of an invoice: which invoice, and which payment; none where it was paid elsewhere.
pub fn invoice_payment(object: &Object) -> Result<(String, Option<String>), Detail> {
    let read = || {
        let invoice_id = reference(object, "invoice")?;
        let payment = object.object("payment")?;
        let payment_ref = reference(&payment, "payment_intent").or_else(|| reference(&payment, "charge"));
        Some((invoice_id, payment_ref))
    };
    read().ok_or(Detail::ObjectMalformed)
}

/// The invoice that a charge of the older shape names.
pub fn invoice_of_charge(object: &Object) -> Option<String> {
    reference(object, "invoice")
}

fn reference(object: &Object, key: &str) -> Option<String> {
    let id = object.id(key).filter(|id| is_solid(id) && id.len() <= MAX_REFERENCE_BYTES)?;
    Some(Cow::into_owned(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Invoice<'static>, Detail> {
        let json: &'static str = json.to_owned().leak();
        Invoice::parse(&Object::parse(json).unwrap())
    }

    fn line(members: &str) -> String {
        format!(r#"{{"amount":900,"price":{{"id":"price_1"}},"period":{{"end":500}},{members}}}"#)
    }

    fn periods_of(members: &str, lines: &[String]) -> Result<Vec<(String, Option<i64>)>, Detail> {
        let lines = lines.join(",");
        let invoice = read(&format!(r#"{{"id":"in_1","lines":{{"data":[{lines}]}},{members}}}"#))?;
        Ok(invoice.periods.into_iter().map(|(price_id, period)| (price_id, period.end)).collect())
    }

    #[test]
    fn both_shapes() {
        let old = read(
            r#"{"id":"in_1","subscription":{"id":"sub_1"},"customer":"cus_1","payment_intent":"pi_1",
                "subscription_details":{"metadata":{"user_id":"7"}},"billing_reason":"subscription_create",
                "lines":{"data":[{"amount":0,"plan":{"id":"price_1"},"period":{"end":5}}]}}"#,
        )
        .unwrap();
        let new = read(
            r#"{"id":"in_1","customer":{"id":"cus_1"},"billing_reason":"subscription_create",
                "parent":{"type":"subscription_details","subscription_details":{
                    "subscription":"sub_1","metadata":{"user_id":7}}},
                "lines":{"data":[{"amount":0,"period":{"end":5},
                    "pricing":{"price_details":{"price":"price_1","product":"prod_1"}},
                    "parent":{"subscription_item_details":{"proration":false,"subscription":"sub_1"}}}]}}"#,
        )
        .unwrap();
        for invoice in [&old, &new] {
            assert_eq!(invoice.subscription_id.as_deref(), Some("sub_1"));
            assert_eq!(invoice.buyer.customer.as_deref(), Some("cus_1"));
            assert_eq!(invoice.buyer.named_users(false).len(), 1);
            assert_eq!(invoice.periods, BTreeMap::from([("price_1".to_owned(), Period { end: Some(5) })]));
            assert!(invoice.moves_status());
            assert_eq!(invoice.source_ref(), "stripe:in_1");
            assert!(is_invoice(&invoice.source_ref()) && !is_invoice("stripe:pi_1"));
        }
        assert_eq!((old.payment_ref.as_deref(), new.payment_ref), (Some("pi_1"), None));
    }

    #[test]
    fn these_events_settle_an_invoice() {
        assert_eq!(Settled::of("invoice.paid"), Some(Settled::Paid));
        assert_eq!(Settled::of("invoice.payment_succeeded"), Some(Settled::Paid));
        assert_eq!(Settled::of("invoice.payment_failed"), Some(Settled::PaymentFailed));
        assert_eq!(Settled::of("invoice.finalized"), None);
    }

    #[test]
    fn a_charge_of_the_older_shape_names_its_invoice() {
        let of = |json: &str| invoice_of_charge(&Object::parse(json).unwrap());
        let longest = "x".repeat(MAX_REFERENCE_BYTES);
        assert_eq!(of(r#"{"invoice":"in_1"}"#).as_deref(), Some("in_1"));
        assert_eq!(of(r#"{"invoice":{"id":"in_1"}}"#).as_deref(), Some("in_1"));
        assert_eq!(of(&format!(r#"{{"invoice":"{longest}"}}"#)), Some(longest.clone()));
        for odd in
            [r#"{"invoice":null}"#, "{}", r#"{"invoice":"in 1"}"#, &format!(r#"{{"invoice":"{longest}x"}}"#)]
        {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_lines_that_count() {
        let one = || Ok(vec![("price_1".to_owned(), Some(500))]);
        let none = || Ok(Vec::new());
        let create = r#""billing_reason":"subscription_create""#;
        let cycle = r#""billing_reason":"subscription_cycle""#;
        assert_eq!(periods_of(cycle, &[line(r#""quantity":3"#)]), one());
        assert_eq!(periods_of(r#""billing_reason":null"#, &[line(r#""quantity":3"#)]), one());
        for odd in [r#""amount":0"#, r#""amount":-900"#, r#""proration":true"#] {
            assert_eq!(periods_of(cycle, &[line(odd)]), none(), "{odd}");
        }
        for parent in ["subscription_item_details", "invoice_item_details"] {
            let proration = format!(r#""parent":{{"{parent}":{{"proration":true}}}}"#);
            assert_eq!(periods_of(cycle, &[line(&proration)]), none());
        }
        assert_eq!(periods_of(create, &[line(r#""amount":0"#)]), one(), "the first invoice of a trial");
        assert_eq!(periods_of(create, &[line(r#""amount":-1"#)]), none());
        for reason in ["manual", "subscription_threshold"] {
            assert_eq!(periods_of(&format!(r#""billing_reason":"{reason}""#), &[line(r#""x":1"#)]), none());
        }
        assert_eq!(periods_of(r#""billing_reason":"subscription_update""#, &[line(r#""x":1"#)]), one());
        assert_eq!(periods_of(cycle, &[r#"{"amount":5}"#.to_owned()]), none(), "no price, no plan");
        let later = line(r#""period":{"end":900}"#);
        let twice = periods_of(cycle, &[line(r#""x":1"#), later, line(r#""x":1"#)]);
        assert_eq!(twice, Ok(vec![("price_1".to_owned(), Some(900))]));
    }

    #[test]
    fn wrong_parts() {
        for amount in ["null", "\"900\"", "10.5", "1e131071"] {
            let odd = line(&format!(r#""amount":{amount}"#));
            assert_eq!(periods_of(r#""x":1"#, &[odd]), Err(Detail::ObjectMalformed), "{amount}");
        }
        assert_eq!(periods_of(r#""x":1"#, &["7".to_owned()]), Err(Detail::ObjectMalformed));
        for json in ["{}", r#"{"id":7}"#, r#"{"id":" "}"#] {
            assert_eq!(read(json).err(), Some(Detail::ObjectMalformed));
        }
        let bare = read(r#"{"id":"in_1","lines":7,"subscription":[],"parent":"x","customer":{}}"#).unwrap();
        assert_eq!((bare.subscription_id, bare.periods.len()), (None, 0));
    }

    #[test]
    fn which_invoices_speak_of_the_status() {
        let moves = |reason: &str| {
            read(&format!(r#"{{"id":"in_1","billing_reason":{reason}}}"#)).unwrap().moves_status()
        };
        assert!(moves("\"subscription_create\"") && moves("\"subscription_cycle\"") && moves("null"));
        for reason in ["\"subscription_update\"", "\"manual\"", "\"subscription_threshold\"", "\"x\"", "7"] {
            assert!(!moves(reason), "{reason}");
        }
    }

    #[test]
    fn payments_of_invoices() {
        let read = |json: &str| invoice_payment(&Object::parse(json).unwrap());
        let pair = |payment: Option<&str>| Ok(("in_1".to_owned(), payment.map(str::to_owned)));
        for (payment, payment_ref) in [
            (r#"{"type":"payment_intent","payment_intent":"pi_1"}"#, Some("pi_1")),
            (r#"{"type":"payment_intent","payment_intent":{"id":"pi_1"},"charge":"ch_1"}"#, Some("pi_1")),
            (r#"{"type":"charge","charge":"ch_1"}"#, Some("ch_1")),
            (r#"{"type":"out_of_band_payment"}"#, None),
        ] {
            let json = format!(r#"{{"invoice":"in_1","payment":{payment}}}"#);
            assert_eq!(read(&json), pair(payment_ref), "{json}");
        }
        let bare = r#"{"payment":{"payment_intent":"pi_1"}}"#;
        for json in ["{}", r#"{"invoice":"in_1"}"#, bare] {
            assert_eq!(read(json), Err(Detail::ObjectMalformed), "{json}");
        }
    }
}
