//! Webhook events: their identity, their life as rows, and the HTTP status of an answer.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::json::{Envelope, Object};
use crate::outcome::{Detail, Reason, Refusal, invalid};
use crate::text::{self, MAX_REFERENCE_BYTES, is_blank};
use crate::{charges, checkout, invoices, paystack, time};

/// A provider whose webhooks are verified and processed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// stripe.com
    Stripe,
    /// paystack.com
    Paystack,
}

impl Provider {
    /// As stored and answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Provider::Stripe => "stripe",
            Provider::Paystack => "paystack",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Provider> {
        [Provider::Stripe, Provider::Paystack].into_iter().find(|provider| provider.as_str() == text)
    }
}

/// What events of a type are about, where they have an effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A Stripe checkout session.
    Checkout,
    /// Refunds and disputes of a Stripe charge.
    Charge,
    /// A Stripe customer made or changed.
    Customer,
    /// A Stripe customer deleted.
    CustomerDeleted,
    /// A subscription, Stripe's or Paystack's.
    Subscription,
    /// An invoice that was paid, or whose payment failed.
    Invoice,
    /// A payment of a Stripe invoice.
    InvoicePayment,
    /// A Paystack transaction that succeeded.
    Transaction,
    /// A Paystack refund that was paid out.
    Refund,
}

impl Topic {
    /// None: the type is acknowledged, and has no effect.
    pub fn of(provider: Provider, event_type: &str) -> Option<Topic> {
        match (provider, event_type) {
            (Provider::Stripe, "customer.created" | "customer.updated") => Some(Topic::Customer),
            (Provider::Stripe, "customer.deleted") => Some(Topic::CustomerDeleted),
            (Provider::Stripe, _) if checkout::is_told_by(event_type) => Some(Topic::Checkout),
            (Provider::Stripe, _) if charges::is_reported_by(event_type) => Some(Topic::Charge),
            (
                Provider::Stripe,
                "customer.subscription.created"
                | "customer.subscription.updated"
                | "customer.subscription.deleted"
                | "customer.subscription.paused"
                | "customer.subscription.resumed",
            ) => Some(Topic::Subscription),
            (Provider::Stripe, "invoice_payment.paid") => Some(Topic::InvoicePayment),
            (Provider::Stripe, _) if invoices::Settled::of(event_type).is_some() => Some(Topic::Invoice),
            (
                Provider::Paystack,
                "subscription.create" | "subscription.not_renew" | "subscription.disable",
            ) => Some(Topic::Subscription),
            (Provider::Paystack, "invoice.update" | "invoice.payment_failed") => Some(Topic::Invoice),
            (Provider::Paystack, "charge.success") => Some(Topic::Transaction),
            (Provider::Paystack, "refund.processed") => Some(Topic::Refund),
            _ => None,
        }
    }
}

/// First delay after a failure, in seconds; each further one is twice as long.
pub const FIRST_BACKOFF_SECONDS: i64 = 300;
/// The longest delay, in seconds.
pub const MAX_BACKOFF_SECONDS: i64 = 86_400;
/// The longest lease and the longest delay that a caller may ask for, in seconds.
pub const MAX_ASKED_SECONDS: i32 = 30 * 86_400;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Verified and kept, to be processed later.
    Recorded,
    /// Somebody holds a claim on it.
    Processing,
    /// Done, with or without effect.
    Completed,
    /// To be tried again.
    Failed,
    /// Failed too often.
    Dead,
}

impl Status {
    /// As stored and answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Recorded => "recorded",
            Status::Processing => "processing",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Dead => "dead",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Recorded, Status::Processing, Status::Completed, Status::Failed, Status::Dead]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// What an event's row says to somebody who wants to claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// May be taken: failed, recorded, or its lease ran out.
    Free,
    /// Its lease ran out on the last attempt that it had: it is dead from now on.
    RanOut,
    /// Done: the claim is answered with the kept result.
    Done,
    /// Taken by a live lease, or dead.
    Taken(Detail),
}

/// Judges a claim on an existing row. `lease_over`: whether a processing row's lease ran out.
pub fn standing(status: Status, lease_over: bool, attempts: i32, max_attempts: i32) -> Standing {
    match status {
        Status::Completed => Standing::Done,
        Status::Dead => Standing::Taken(Detail::Dead),
        Status::Processing if !lease_over => Standing::Taken(Detail::InProgress),
        Status::Processing if attempts >= max_attempts => Standing::RanOut,
        Status::Processing | Status::Recorded | Status::Failed => Standing::Free,
    }
}

/// The status after a failure of the given attempt.
pub const fn status_after_failure(attempts: i32, max_attempts: i32) -> Status {
    if attempts >= max_attempts { Status::Dead } else { Status::Failed }
}

/// Seconds until the next attempt: doubling from five minutes to a day, with up to a tenth less by
/// `jitter`, so that events that failed together do not come back together.
pub fn backoff_seconds(attempts: i32, jitter: u8) -> i64 {
    let doublings = attempts.clamp(1, 20) - 1;
    let delay = (FIRST_BACKOFF_SECONDS << doublings).min(MAX_BACKOFF_SECONDS);
    delay - delay * i64::from(jitter) / 2_550
}

/// The life of an event that a caller may steer: who, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest<'a> {
    /// Any provider's name.
    pub provider: &'a str,
    /// The provider's id of the event.
    pub event_id: &'a str,
    /// The provider's name of its type.
    pub event_type: &'a str,
    /// Seconds; none is the setting's.
    pub lease_seconds: Option<i32>,
}

impl<'a> ClaimRequest<'a> {
    /// Validates the arguments of a claim, in their order.
    pub fn parse(
        provider: Option<&'a str>,
        event_id: Option<&'a str>,
        event_type: Option<&'a str>,
        payload_summary: Option<&str>,
        lease_seconds: Option<i32>,
    ) -> Result<ClaimRequest<'a>, Refusal> {
        let request = ClaimRequest {
            provider: text::PROVIDER.check(provider).map_err(invalid)?,
            event_id: text::EVENT_ID.check(event_id).map_err(invalid)?,
            event_type: text::EVENT_TYPE.check(event_type).map_err(invalid)?,
            lease_seconds,
        };
        if let Some(summary) = payload_summary {
            let wrong = Detail::PayloadSummaryInvalid;
            text::check_object(summary, wrong, wrong).map_err(invalid)?;
        }
        if lease_seconds.is_some_and(|seconds| !(1..=MAX_ASKED_SECONDS).contains(&seconds)) {
            return Err(invalid(Detail::LeaseSecondsInvalid));
        }
        Ok(request)
    }
}

/// Validates the delay that a caller asks for.
pub fn check_retry_in(seconds: Option<i32>) -> Result<Option<i32>, Refusal> {
    match seconds {
        Some(seconds) if !(0..=MAX_ASKED_SECONDS).contains(&seconds) => {
            Err(invalid(Detail::RetryInSecondsInvalid))
        }
        seconds => Ok(seconds),
    }
}

/// Events that one call of `retry_webhook_events` takes when nothing is said.
pub const DEFAULT_MAX_EVENTS: i32 = 100;

/// Validates how many events a call may take.
pub fn check_max_events(max_events: Option<i32>) -> Result<i64, Refusal> {
    match max_events.unwrap_or(DEFAULT_MAX_EVENTS) {
        max_events if max_events > 0 => Ok(max_events.into()),
        _ => Err(invalid(Detail::MaxEventsInvalid)),
    }
}

/// The only four things that are kept of every event.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// The event's id.
    pub id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The id of its object.
    pub object_id: Option<String>,
    /// The type of its object.
    pub object_type: Option<String>,
}

impl Summary {
    /// What a caller's summary tells of the object; anything else in it is left out.
    pub fn of_claim(request: &ClaimRequest, payload_summary: Option<&str>) -> Summary {
        let given = payload_summary.and_then(Object::parse).unwrap_or_default();
        Summary {
            id: request.event_id.to_owned(),
            event_type: request.event_type.to_owned(),
            object_id: reference(given.text("object_id")),
            object_type: reference(given.text("object_type")),
        }
    }

    /// As stored in `payload_summary`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The gate of an event that has no row yet: 32 bits, so that two events hardly ever have the same.
pub fn event_gate(provider: &str, event_id: &str) -> u32 {
    let digest = Sha256::new().chain_update(provider).chain_update(":").chain_update(event_id).finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Text that is fit to be kept as a reference: not blank, not too long.
pub fn reference(text: Option<Cow<str>>) -> Option<String> {
    text.filter(|text| !is_blank(text) && text.len() <= MAX_REFERENCE_BYTES).map(Cow::into_owned)
}

/// An event as a provider sent it, its object still unread.
#[derive(Debug)]
pub struct Event<'a> {
    /// Who sent it.
    pub provider: Provider,
    /// Id, type, and the object's id and type.
    pub summary: Summary,
    /// Whether the event belongs to a connected account.
    pub connected: bool,
    /// That account's id.
    pub account_id: Option<String>,
    /// Real money or not; none where the event does not say.
    pub livemode: Option<bool>,
    /// The API version that shaped the object.
    pub api_version: Option<String>,
    /// Unix seconds of the event; none where it tells no time that could be kept.
    pub created: Option<i64>,
    /// Whether it tells only that something happened, not what.
    pub thin: bool,
    /// What the event is about; none for thin events and for lists.
    pub object: Option<Object<'a>>,
}

/// Which events' modes are processed (setting `billing_rpc.accepted_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedMode {
    /// Both.
    Any,
    /// Real money only.
    Live,
    /// Test mode only.
    Test,
}

impl<'a> Event<'a> {
    /// Reads an event; the body is parsed once, its object not copied.
    pub fn parse(provider: Provider, body: &'a str) -> Result<Event<'a>, Detail> {
        if provider == Provider::Stripe
            && let Some(Envelope { members, object }) = Envelope::parse(body)
        {
            return Event::of_stripe(&members, Some(object)).ok_or(Detail::NotAnEvent);
        }
        let Some(event) = Object::parse(body) else {
            return Err(if crate::json::is_json(body) {
                Detail::NotAnEvent
            } else {
                Detail::PayloadMalformed
            });
        };
        match provider {
            Provider::Stripe => {
                Event::of_stripe(&event, event.object("data").and_then(|data| data.object("object")))
            }
            Provider::Paystack => paystack::event(&event, body),
        }
        .ok_or(Detail::NotAnEvent)
    }

    fn of_stripe(event: &Object<'a>, object: Option<Object<'a>>) -> Option<Event<'a>> {
        let id = reference(event.text("id"))?;
        let event_type = reference(event.text("type"))?;
        let thin = event.text("object").is_some_and(|object| object == "v2.core.event");
        if object.is_none() && !thin {
            return None;
        }
        let of_object = |key| reference(object.as_ref().and_then(|object| object.text(key)));
        Some(Event {
            provider: Provider::Stripe,
            summary: Summary { id, event_type, object_id: of_object("id"), object_type: of_object("object") },
            connected: event.get("account").is_some(),
            account_id: reference(event.text("account")),
            livemode: event.get("livemode").and_then(|value| value.boolean()),
            api_version: reference(event.text("api_version")),
            created: event
                .get("created")
                .and_then(|value| value.integer())
                .filter(|created| time::is_storable(*created)),
            thin,
            object: if thin { None } else { object },
        })
    }

    /// Why the event has no effect whatever it says, if so. `account_allowed`: whether the
    /// connected account was allowed by name.
    pub fn ignored(&self, accepted: AcceptedMode, account_allowed: bool) -> Option<Detail> {
        if self.connected && !account_allowed {
            return Some(Detail::ConnectedAccount);
        }
        let accepted = match accepted {
            AcceptedMode::Any => true,
            AcceptedMode::Live => self.livemode == Some(true),
            AcceptedMode::Test => self.livemode == Some(false),
        };
        if !accepted {
            return Some(Detail::ModeNotAccepted);
        }
        self.thin.then_some(Detail::ThinEvent)
    }
}

/// The HTTP status of an answer: 2xx exactly when the database durably holds all that it needs to
/// finish the job. `payload_kept`: whether the event's row holds its body.
pub const fn http_status(reason: Reason, detail: Option<Detail>, payload_kept: bool) -> u16 {
    match (reason, detail) {
        (Reason::Duplicate, Some(Detail::InProgress)) => 409,
        (Reason::Failed, _) | (Reason::Duplicate, Some(Detail::Dead)) if !payload_kept => 500,
        (Reason::Invalid, Some(Detail::WebhooksOff)) => 503,
        (Reason::Invalid, Some(Detail::SecretMissing | Detail::ToleranceInvalid)) => 500,
        (Reason::Invalid, _) => 400,
        _ => 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stripe(body: &str) -> Result<Event<'_>, Detail> {
        Event::parse(Provider::Stripe, body)
    }

    #[test]
    fn the_table_of_claims() {
        let free = Standing::Free;
        assert_eq!(standing(Status::Recorded, false, 1, 10), free);
        assert_eq!(standing(Status::Failed, false, 3, 10), free);
        assert_eq!(standing(Status::Processing, true, 3, 10), free);
        assert_eq!(standing(Status::Processing, true, 10, 10), Standing::RanOut);
        let in_progress = Standing::Taken(Detail::InProgress);
        assert_eq!(standing(Status::Processing, false, 10, 10), in_progress);
        assert_eq!(standing(Status::Dead, true, 10, 10), Standing::Taken(Detail::Dead));
        assert_eq!(standing(Status::Completed, true, 1, 10), Standing::Done);
        assert_eq!(status_after_failure(9, 10), Status::Failed);
        assert_eq!(status_after_failure(10, 10), Status::Dead);
    }

    /// The event types that have an effect; all others are acknowledged.
    #[test]
    fn these_types_have_an_effect_and_no_others() {
        const STRIPE: &[(&str, Topic)] = &[
            ("charge.dispute.funds_reinstated", Topic::Charge),
            ("charge.dispute.funds_withdrawn", Topic::Charge),
            ("charge.refund.updated", Topic::Charge),
            ("charge.refunded", Topic::Charge),
            ("checkout.session.async_payment_failed", Topic::Checkout),
            ("checkout.session.async_payment_succeeded", Topic::Checkout),
            ("checkout.session.completed", Topic::Checkout),
            ("checkout.session.expired", Topic::Checkout),
            ("customer.created", Topic::Customer),
            ("customer.deleted", Topic::CustomerDeleted),
            ("customer.subscription.created", Topic::Subscription),
            ("customer.subscription.deleted", Topic::Subscription),
            ("customer.subscription.paused", Topic::Subscription),
            ("customer.subscription.resumed", Topic::Subscription),
            ("customer.subscription.updated", Topic::Subscription),
            ("customer.updated", Topic::Customer),
            ("invoice.paid", Topic::Invoice),
            ("invoice.payment_failed", Topic::Invoice),
            ("invoice.payment_succeeded", Topic::Invoice),
            ("invoice_payment.paid", Topic::InvoicePayment),
            ("refund.failed", Topic::Charge),
            ("refund.updated", Topic::Charge),
        ];
        const PAYSTACK: &[(&str, Topic)] = &[
            ("charge.success", Topic::Transaction),
            ("invoice.payment_failed", Topic::Invoice),
            ("invoice.update", Topic::Invoice),
            ("refund.processed", Topic::Refund),
            ("subscription.create", Topic::Subscription),
            ("subscription.disable", Topic::Subscription),
            ("subscription.not_renew", Topic::Subscription),
        ];
        for (provider, own, others) in
            [(Provider::Stripe, STRIPE, PAYSTACK), (Provider::Paystack, PAYSTACK, STRIPE)]
        {
            for (event_type, topic) in own {
                assert_eq!(Topic::of(provider, event_type), Some(*topic), "{event_type}");
            }
            for (event_type, _) in others {
                let known = own.iter().any(|(own, _)| own == event_type);
                assert_eq!(Topic::of(provider, event_type).is_some(), known, "{event_type}");
            }
            assert_eq!(Topic::of(provider, "payment_intent.created"), None);
        }
    }

    #[test]
    fn providers_are_stored_by_these_words() {
        assert_eq!(Provider::parse("stripe"), Some(Provider::Stripe));
        assert_eq!(Provider::parse("paystack"), Some(Provider::Paystack));
        assert_eq!(Provider::parse("Stripe"), None);
        assert_eq!((Provider::Stripe.as_str(), Provider::Paystack.as_str()), ("stripe", "paystack"));
    }

    #[test]
    fn what_callers_ask_for_has_bounds() {
        assert_eq!(check_max_events(None), Ok(100));
        for (asked, expected) in [(1, Some(1)), (i32::MAX, Some(i32::MAX)), (0, None), (-1, None)] {
            assert_eq!(check_max_events(Some(asked)).ok(), expected.map(i64::from), "{asked}");
        }
        assert_eq!(check_retry_in(None), Ok(None));
        for (asked, good) in [(0, true), (2_592_000, true), (-1, false), (2_592_001, false)] {
            assert_eq!(check_retry_in(Some(asked)).ok(), good.then_some(Some(asked)), "{asked}");
        }
        let claim = |seconds| ClaimRequest::parse(Some("p"), Some("e"), Some("t"), None, seconds).is_ok();
        assert!(claim(None) && claim(Some(1)) && claim(Some(2_592_000)));
        assert!(!claim(Some(0)) && !claim(Some(2_592_001)));
    }

    #[test]
    fn a_reference_is_not_blank_and_of_bounded_length() {
        let longest = "x".repeat(MAX_REFERENCE_BYTES);
        assert_eq!(reference(Some(longest.as_str().into())), Some(longest.clone()));
        assert_eq!(reference(Some(format!("{longest}x").into())), None);
        assert_eq!(reference(Some(" ".into())), None);
        assert_eq!(reference(None), None);
    }

    #[test]
    fn ten_attempts_last_about_two_days() {
        let total: i64 = (1..10).map(|attempt| backoff_seconds(attempt, 0)).sum();
        assert_eq!(total, 300 * 511);
        assert_eq!(backoff_seconds(1, 0), 300);
        assert_eq!(backoff_seconds(1, 255), 270);
        assert_eq!(backoff_seconds(i32::MAX, 0), 86_400);
        assert_eq!(backoff_seconds(i32::MIN, 0), 300);
    }

    #[test]
    fn statuses_and_status_texts() {
        for status in ["recorded", "processing", "completed", "failed", "dead"] {
            assert_eq!(Status::parse(status).unwrap().as_str(), status);
        }
        assert_eq!(Status::parse("x"), None);
        for (reason, detail, kept, status) in [
            (Reason::Applied, None, false, 200),
            (Reason::Replay, None, false, 200),
            (Reason::Ignored, Some(Detail::ThinEvent), false, 200),
            (Reason::Duplicate, Some(Detail::AlreadyCredited), false, 200),
            (Reason::Duplicate, Some(Detail::InProgress), true, 409),
            (Reason::Duplicate, Some(Detail::Dead), true, 200),
            (Reason::Duplicate, Some(Detail::Dead), false, 500),
            (Reason::Failed, Some(Detail::UnknownUser), true, 200),
            (Reason::Failed, Some(Detail::UnknownUser), false, 500),
            (Reason::Invalid, Some(Detail::SignatureMismatch), false, 400),
            (Reason::Invalid, Some(Detail::PayloadTooLarge), false, 400),
            (Reason::Invalid, Some(Detail::NotAnEvent), false, 400),
            (Reason::Invalid, Some(Detail::SecretMissing), false, 500),
            (Reason::Invalid, Some(Detail::ToleranceInvalid), false, 500),
            (Reason::Invalid, Some(Detail::WebhooksOff), false, 503),
        ] {
            assert_eq!(http_status(reason, detail, kept), status, "{reason:?} {detail:?} {kept}");
        }
    }

    #[test]
    fn a_stripe_event_has_an_id_a_type_and_an_object() {
        let body = r#"{"id":"evt_1","type":"x.y","livemode":false,"created":1,"api_version":"2020-08-27",
            "data":{"object":{"id":"cs_1","object":"checkout.session"}}}"#;
        let event = stripe(body).unwrap();
        assert_eq!(
            event.summary.to_json(),
            r#"{"id":"evt_1","type":"x.y","object_id":"cs_1","object_type":"checkout.session"}"#
        );
        assert_eq!((event.livemode, event.created, event.connected), (Some(false), Some(1), false));
        let thin = stripe(r#"{"id":"evt_2","type":"v1.x","object":"v2.core.event"}"#).unwrap();
        assert_eq!(thin.ignored(AcceptedMode::Any, false), Some(Detail::ThinEvent));
        for body in [
            "[]",
            "null",
            "{}",
            r#"{"id":1,"type":"x","data":{"object":{}}}"#,
            r#"{"id":" ","type":"x","data":{"object":{}}}"#,
            r#"{"id":"evt_1","data":{"object":{}}}"#,
            r#"{"id":"evt_1","type":"x"}"#,
            r#"{"id":"evt_1","type":"x","data":[]}"#,
            r#"{"id":"evt_1","type":"x","data":{"object":"cs_1"}}"#,
            r#"{"id":"evt\u0000","type":"x","data":{"object":{}}}"#,
        ] {
            assert_eq!(stripe(body).err(), Some(Detail::NotAnEvent), "{body}");
        }
        for body in ["", "{", "x", "{\"id\":}"] {
            assert_eq!(stripe(body).err(), Some(Detail::PayloadMalformed), "{body}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_kept_is_none() {
        let created = |created: &str| {
            stripe(&format!(r#"{{"id":"evt_1","type":"x","created":{created},"data":{{"object":{{}}}}}}"#))
                .unwrap()
                .created
        };
        assert_eq!(created("1700000000"), Some(1_700_000_000));
        for odd in ["9223372036854775807", "-9223372036854775808", "9224318016000", "1.5", "\"1\"", "null"] {
            assert_eq!(created(odd), None, "{odd}");
        }
    }

    #[test]
    fn accounts_and_modes() {
        let parse = |account: &str, livemode: &str| {
            let body = format!(
                r#"{{"id":"evt_1","type":"x","account":{account},"livemode":{livemode},"data":{{"object":{{}}}}}}"#
            );
            let event = stripe(&body).unwrap();
            [AcceptedMode::Any, AcceptedMode::Live, AcceptedMode::Test]
                .map(|mode| (event.ignored(mode, false), event.ignored(mode, true)))
        };
        let connected = Some(Detail::ConnectedAccount);
        let mode = Some(Detail::ModeNotAccepted);
        assert_eq!(parse("\"acct_1\"", "true"), [(connected, None), (connected, None), (connected, mode)]);
        assert_eq!(parse("null", "true"), [(None, None), (None, None), (mode, mode)]);
        assert_eq!(parse("null", "false"), [(None, None), (mode, mode), (None, None)]);
        assert_eq!(parse("null", "\"true\""), [(None, None), (mode, mode), (mode, mode)]);
    }

    #[test]
    fn a_summary_holds_four_things() {
        let request = ClaimRequest::parse(Some("stripe"), Some("evt_1"), Some("x"), None, None).unwrap();
        let given = r#"{"id":"other","object_id":"cs_1","object_type":7,"email":"a@b.de"}"#;
        assert_eq!(
            Summary::of_claim(&request, Some(given)).to_json(),
            r#"{"id":"evt_1","type":"x","object_id":"cs_1","object_type":null}"#
        );
    }

    #[test]
    fn claims_are_validated() {
        let parse = |provider, id, event_type, summary, lease| {
            ClaimRequest::parse(provider, id, event_type, summary, lease).err().map(|refusal| refusal.detail)
        };
        let ok = Some("x");
        assert_eq!(parse(ok, ok, ok, Some("{}"), Some(1)), None);
        assert_eq!(parse(None, ok, ok, None, None), Some(Detail::ProviderMissing));
        assert_eq!(parse(ok, Some(" "), ok, None, None), Some(Detail::EventIdBlank));
        assert_eq!(parse(ok, ok, None, None, None), Some(Detail::EventTypeMissing));
        assert_eq!(parse(ok, ok, ok, Some("[]"), None), Some(Detail::PayloadSummaryInvalid));
        for lease in [0, -1, i32::MAX, MAX_ASKED_SECONDS + 1] {
            assert_eq!(parse(ok, ok, ok, None, Some(lease)), Some(Detail::LeaseSecondsInvalid));
        }
        assert!(check_retry_in(Some(0)).is_ok());
        assert!(check_retry_in(Some(-1)).is_err());
        assert!(check_retry_in(Some(i32::MAX)).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_answered(body: String) {
            let _ = stripe(&body);
        }

        #[test]
        fn backoff_stays_within_its_bounds(attempts: i32, jitter: u8) {
            let delay = backoff_seconds(attempts, jitter);
            prop_assert!((FIRST_BACKOFF_SECONDS * 9 / 10..=MAX_BACKOFF_SECONDS).contains(&delay));
        }
    }
}
