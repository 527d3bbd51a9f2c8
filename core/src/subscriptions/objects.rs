//! Subscription objects of the providers, read in their old and their present shapes.

use std::borrow::Cow;

use super::{Facts, MICROS_PER_SECOND, Micros, Status};
use crate::customers::{Identifier, ProviderCode};
use crate::json::{Object, Value};
use crate::outcome::Detail;
use crate::text::{MAX_REFERENCE_BYTES, is_solid};
use crate::time::{self, POSTGRES_EPOCH_UNIX};

/// Items that are looked at; Stripe allows 20 of a subscription.
const MAX_ITEMS: usize = 100;

/// The first and the last moment that a `timestamptz` holds.
const TIMES: std::ops::Range<Micros> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// A subscription as an object of its provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `sub_...` or `SUB_...`
    pub subscription_id: String,
    /// Where it stands.
    pub status: Status,
    /// What else it says.
    pub facts: Facts,
    /// `metadata.user_id`: whom the merchant says it belongs to.
    pub user_id: Option<String>,
}

impl Snapshot {
    /// Reads a Stripe subscription. What it must have is an id, a customer and a known status; whatever
    /// else is missing or odd counts as absent.
    pub fn of_stripe(object: &Object) -> Result<Snapshot, Detail> {
        let customer = object.id("customer");
        let Some(ProviderCode::Stripe(customer)) = customer.as_deref().and_then(ProviderCode::parse) else {
            return Err(Detail::ObjectMalformed);
        };
        let status = object.text("status").and_then(|text| Status::parse(&text));
        let items = items(object);
        let (period_start, period_end) = period(object, &items);
        let cancel_at = time(object, "cancel_at");
        Ok(Snapshot {
            subscription_id: reference(object.text("id")).ok_or(Detail::ObjectMalformed)?,
            status: status.ok_or(Detail::ObjectMalformed)?,
            facts: Facts {
                provider_customer: customer.to_owned(),
                price_ids: price_ids(object, &items),
                quantity: quantity(object, &items),
                current_period_start: period_start,
                current_period_end: period_end,
                cancel_at,
                trial_end: time(object, "trial_end"),
                // Stripe's portal sets `cancel_at` to the period's end instead of the flag, depending on the
                // API version: what ends with the period says so either way.
                cancel_at_period_end: boolean(object, "cancel_at_period_end")
                    || matches!((cancel_at, period_end), (Some(at), Some(end)) if at <= end),
            },
            user_id: user_id(object),
        })
    }

    /// The same for an event: what was deleted is over, whatever its object says.
    pub fn of_stripe_event(event_type: &str, object: &Object) -> Result<Snapshot, Detail> {
        let mut snapshot = Snapshot::of_stripe(object)?;
        if event_type == "customer.subscription.deleted" && !snapshot.status.is_final() {
            snapshot.status = Status::Canceled;
        }
        Ok(snapshot)
    }

    /// Reads the `data` of a Paystack event; its type tells the status.
    pub fn of_paystack(event_type: &str, data: &Object) -> Result<Snapshot, Detail> {
        let (status, cancel_at_period_end) = match event_type {
            "subscription.create" => (Status::Active, false),
            "subscription.not_renew" => (Status::Active, true),
            "subscription.disable" => (Status::Canceled, false),
            _ => return Err(Detail::EventTypeNotHandled),
        };
        let code = data.object("customer").and_then(|customer| customer.text("customer_code"));
        let Some(ProviderCode::Paystack(customer)) = code.as_deref().and_then(ProviderCode::parse) else {
            return Err(Detail::ObjectMalformed);
        };
        let plan = data.object("plan").map_or_else(|| data.text("plan"), |plan| plan.text("plan_code"));
        let next_payment = data.text("next_payment_date").and_then(|text| time::parse(&text));
        Ok(Snapshot {
            subscription_id: reference(data.text("subscription_code")).ok_or(Detail::ObjectMalformed)?,
            status,
            facts: Facts {
                provider_customer: customer.to_owned(),
                price_ids: reference(plan).into_iter().collect(),
                quantity: whole(data, "quantity"),
                current_period_end: next_payment.filter(|at| TIMES.contains(at)),
                cancel_at_period_end,
                ..Facts::default()
            },
            user_id: user_id(data),
        })
    }

    /// The user that the object names, if it names one.
    pub fn named_user(&self, external_ids: bool) -> Option<Identifier<'_>> {
        Identifier::classify(self.user_id.as_deref(), external_ids).ok()
    }

    /// The provider's customer.
    pub fn customer_code(&self) -> Option<ProviderCode<'_>> {
        ProviderCode::parse(&self.facts.provider_customer)
    }
}

/// Text that is fit to be kept as an id.
fn reference(text: Option<Cow<str>>) -> Option<String> {
    text.filter(|text| is_solid(text) && text.len() <= MAX_REFERENCE_BYTES).map(Cow::into_owned)
}

fn items<'a>(object: &Object<'a>) -> Vec<Object<'a>> {
    let data = object.object("items").and_then(|items| items.get("data")).and_then(Value::array);
    data.unwrap_or_default().into_iter().filter_map(Value::object).take(MAX_ITEMS).collect()
}

/// The price of each item (`price`, or `plan` of old), else of the subscription; sorted, each once.
fn price_ids(object: &Object, items: &[Object]) -> Vec<String> {
    let price = |of: &Object| reference(of.id("price").or_else(|| of.id("plan")));
    let mut prices: Vec<String> = items.iter().filter_map(price).collect();
    if prices.is_empty() {
        prices.extend(price(object));
    }
    prices.sort_unstable();
    prices.dedup();
    prices
}

fn quantity(object: &Object, items: &[Object]) -> Option<i64> {
    whole(object, "quantity").or_else(|| items.iter().find_map(|item| whole(item, "quantity")))
}

/// The period of the object, else of the item whose period ends last.
fn period(object: &Object, items: &[Object]) -> (Option<Micros>, Option<Micros>) {
    let of = |source: &Object| (time(source, "current_period_start"), time(source, "current_period_end"));
    match of(object) {
        (_, None) => items.iter().map(of).max_by_key(|(_, end)| *end).unwrap_or_default(),
        period => period,
    }
}

/// Unix seconds, as Postgres counts time.
fn time(object: &Object, key: &str) -> Option<Micros> {
    let seconds = object.get(key)?.integer()?.checked_sub(POSTGRES_EPOCH_UNIX)?;
    seconds.checked_mul(MICROS_PER_SECOND).filter(|at| TIMES.contains(at))
}

fn whole(object: &Object, key: &str) -> Option<i64> {
    object.get(key)?.integer().filter(|number| *number >= 0)
}

fn boolean(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::boolean).unwrap_or_default()
}

/// Text, as Stripe sends it, or a bare number.
fn user_id(object: &Object) -> Option<String> {
    let value = object.object("metadata")?.get("user_id")?;
    value.text().map(Cow::into_owned).or_else(|| value.integer().map(|number| number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    fn read(json: &Json) -> Result<Snapshot, Detail> {
        let text = json.to_string();
        Snapshot::of_stripe(&Object::parse(&text).unwrap())
    }

    /// The same object with parts replaced; a null part is absent.
    fn with(parts: Json) -> Json {
        let mut object = json!({"id": "sub_1", "customer": "cus_1", "status": "active"});
        for (key, value) in parts.as_object().unwrap() {
            object[key] = value.clone();
        }
        object
    }

    fn at(unix: i64) -> Option<Micros> {
        Some((unix - POSTGRES_EPOCH_UNIX) * MICROS_PER_SECOND)
    }

    #[test]
    fn the_old_and_the_present_shape_say_the_same() {
        let old = with(json!({
            "current_period_start": 1_700_000_000, "current_period_end": 1_702_592_000, "quantity": 3,
            "items": {"data": [{"plan": {"id": "price_1"}, "quantity": 3}]},
        }));
        let present = with(json!({
            "items": {"data": [{"price": {"id": "price_1"}, "quantity": 3,
                "current_period_start": 1_700_000_000, "current_period_end": 1_702_592_000}]},
            "customer": {"id": "cus_1", "email": "ada@example.com"},
        }));
        let read_old = read(&old).unwrap();
        assert_eq!(read_old, read(&present).unwrap());
        assert_eq!(read_old.facts.price_ids, ["price_1"]);
        assert_eq!(read_old.facts.quantity, Some(3));
        assert_eq!(read_old.facts.current_period_start, at(1_700_000_000));
        assert_eq!(read_old.facts.current_period_end, at(1_702_592_000));
        let older = with(json!({"plan": {"id": "gold"}, "quantity": 1, "trial_end": 1_700_000_000}));
        assert_eq!(read(&older).unwrap().facts.price_ids, ["gold"]);
        assert_eq!(read(&older).unwrap().facts.trial_end, at(1_700_000_000));
    }

    #[test]
    fn several_items() {
        let object = with(json!({"items": {"data": [
            {"price": {"id": "price_b"}, "current_period_end": 1_700_000_000, "quantity": 2},
            null, 7,
            {"price": "price_a", "current_period_start": 1, "current_period_end": 1_800_000_000},
            {"price": {"id": "price_b"}},
        ]}}));
        let facts = read(&object).unwrap().facts;
        assert_eq!(facts.price_ids, ["price_a", "price_b"]);
        assert_eq!((facts.current_period_start, facts.current_period_end), (at(1), at(1_800_000_000)));
        assert_eq!(facts.quantity, Some(2));
    }

    #[test]
    fn what_it_must_have() {
        for parts in [
            json!({"id": null}),
            json!({"id": ""}),
            json!({"id": "sub 1"}),
            json!({"id": 1}),
            json!({"id": "x".repeat(256)}),
            json!({"customer": null}),
            json!({"customer": "CUS_1"}),
            json!({"customer": "ada"}),
            json!({"customer": {}}),
            json!({"status": null}),
            json!({"status": "ACTIVE"}),
            json!({"status": "ended"}),
        ] {
            assert_eq!(read(&with(parts.clone())), Err(Detail::ObjectMalformed), "{parts}");
        }
    }

    #[test]
    fn what_is_odd_counts_as_absent() {
        let plain = read(&with(json!({}))).unwrap();
        for parts in [
            json!({"items": null}),
            json!({"items": []}),
            json!({"items": {"data": {}}}),
            json!({"items": {"data": [{"price": null, "quantity": -1, "current_period_end": "x"}]}}),
            json!({"current_period_end": 1e300, "current_period_start": i64::MAX}),
            json!({"current_period_end": i64::MIN, "trial_end": 10_000_000_000_000_i64}),
            json!({"cancel_at_period_end": "true", "cancel_at": "soon"}),
            json!({"metadata": []}),
            json!({"metadata": {"user_id": {"id": 7}}}),
            json!({"quantity": "3"}),
        ] {
            assert_eq!(read(&with(parts.clone())).as_ref(), Ok(&plain), "{parts}");
        }
    }

    #[test]
    fn what_ends_with_its_period_says_so() {
        let ending = |parts| read(&with(parts)).unwrap().facts;
        let flag = ending(json!({"current_period_end": 2000, "cancel_at_period_end": true}));
        assert_eq!((flag.cancel_at_period_end, flag.ends_at()), (true, at(2000)));
        let portal = ending(json!({"current_period_end": 2000, "cancel_at": 2000}));
        assert_eq!((portal.cancel_at_period_end, portal.ends_at()), (true, at(2000)));
        let later = ending(json!({"current_period_end": 2000, "cancel_at": 9000}));
        assert_eq!((later.cancel_at_period_end, later.ends_at()), (false, at(9000)));
    }

    #[test]
    fn what_was_deleted_is_over() {
        let of = |event_type, parts| {
            let text = with(parts).to_string();
            Snapshot::of_stripe_event(event_type, &Object::parse(&text).unwrap()).unwrap().status
        };
        assert_eq!(of("customer.subscription.deleted", json!({})), Status::Canceled);
        assert_eq!(of("customer.subscription.updated", json!({})), Status::Active);
        let expired = json!({"status": "incomplete_expired"});
        assert_eq!(of("customer.subscription.deleted", expired), Status::IncompleteExpired);
    }

    #[test]
    fn whom_it_names() {
        let user = |parts| {
            let snapshot = read(&with(parts)).unwrap();
            snapshot.named_user(false).map(|user| user.kind())
        };
        assert_eq!(user(json!({"metadata": {"user_id": "7"}})), Some("integer"));
        assert_eq!(user(json!({"metadata": {"user_id": 7}})), Some("integer"));
        assert_eq!(user(json!({"metadata": {"user_id": "{{user}}"}})), None);
        assert_eq!(user(json!({"metadata": {"user_id": "user_2x"}})), None);
        assert_eq!(user(json!({})), None);
        let snapshot = read(&with(json!({"metadata": {"user_id": "user_2x"}}))).unwrap();
        assert_eq!(snapshot.named_user(true), Some(Identifier::External("user_2x")));
        assert_eq!(snapshot.customer_code(), Some(ProviderCode::Stripe("cus_1")));
    }

    fn read_paystack(event_type: &str, data: &Json) -> Result<Snapshot, Detail> {
        let text = data.to_string();
        Snapshot::of_paystack(event_type, &Object::parse(&text).unwrap())
    }

    #[test]
    fn paystack_subscriptions() {
        let mut data = json!({
            "subscription_code": "SUB_1", "status": "active", "customer": {"customer_code": "CUS_1", "email": "a@b.de"},
            "plan": {"plan_code": "PLN_1"}, "next_payment_date": "2026-05-19T07:00:00.000Z",
            "quantity": 3, "metadata": {"user_id": 7},
        });
        let created = read_paystack("subscription.create", &data).unwrap();
        assert_eq!((created.subscription_id.as_str(), created.status), ("SUB_1", Status::Active));
        assert_eq!(created.facts.provider_customer, "CUS_1");
        assert_eq!(created.facts.price_ids, ["PLN_1"]);
        assert_eq!(created.facts.quantity, Some(3));
        assert_eq!(created.named_user(false), Some(Identifier::LegacyId(7)));
        assert_eq!(created.customer_code(), Some(ProviderCode::Paystack("CUS_1")));
        assert_eq!(created.facts.current_period_end, at(1_779_174_000));
        assert!(!created.facts.cancel_at_period_end);
        data["next_payment_date"] = Json::Null;
        let ending = read_paystack("subscription.not_renew", &data).unwrap();
        assert_eq!((ending.status, ending.facts.cancel_at_period_end), (Status::Active, true));
        assert_eq!(ending.facts.current_period_end, None);
        data["status"] = json!("complete");
        assert_eq!(read_paystack("subscription.disable", &data).unwrap().status, Status::Canceled);
        assert_eq!(read_paystack("subscription.expiring_cards", &data), Err(Detail::EventTypeNotHandled));
        for (key, odd) in
            [("subscription_code", json!(7)), ("customer", json!("CUS_1")), ("customer", json!({}))]
        {
            let mut data = data.clone();
            data[key] = odd;
            assert_eq!(read_paystack("subscription.create", &data), Err(Detail::ObjectMalformed), "{key}");
        }
        data["next_payment_date"] = json!("infinity");
        data["plan"] = json!("PLN_2");
        let odd = read_paystack("subscription.create", &data).unwrap();
        assert_eq!((odd.facts.current_period_end, odd.facts.price_ids), (None, vec!["PLN_2".to_owned()]));
    }

    proptest! {
        #[test]
        fn any_object_is_answered(key in "[a-z_]{1,20}|status|items|customer|current_period_end", value: String, number: i64) {
            for value in [json!(value), json!(number), json!([value]), json!({ "data": [{ "price": value }] })] {
                let object = with(json!({ key.clone(): value }));
                let _ = read(&object);
                let _ = read_paystack("subscription.create", &object);
            }
        }
    }
}
