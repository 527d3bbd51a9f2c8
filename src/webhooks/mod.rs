//! Webhooks: SQL entry points for deliveries, claims and operators.

use billing_core::customers::mend::Traces;
use billing_core::customers::{Customer, Uuid};
use billing_core::outcome::{Detail, Reason, Refusal};
use billing_core::text;
use billing_core::webhooks::{Provider, Status, check_max_events};
use pgrx::Uuid as PgUuid;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::{self, Client, JsonArgument, JsonbArgument, Row, RowWriter};

mod adoption;
mod checkout;
mod claims;
mod delivery;
mod effects;
mod invoices;
mod refunds;
mod retries;
mod store;

pub use adoption::{OldEvent, adopt};
use delivery::Delivery;
pub use retries::process_waiting;
use store::EventKey;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn process_stripe_webhook(
    payload: default!(Option<&str>, "NULL"),
    signature_header: default!(Option<&str>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    Ok(process(Provider::Stripe, payload, signature_header)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn process_paystack_webhook(
    payload: default!(Option<&str>, "NULL"),
    signature: default!(Option<&str>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    Ok(process(Provider::Paystack, payload, signature)?)
}

fn process(provider: Provider, payload: Option<&str>, signature: Option<&str>) -> Result<EventOutcome> {
    let delivery = Delivery { provider, payload: payload.unwrap_or_default(), signature };
    Ok(pg::write(|client| delivery::receive(client, delivery))?.outcome)
}

#[pg_extern(
    volatile,
    parallel_unsafe,
    security_definer,
    sql = "CREATE FUNCTION stripe_webhook(json) RETURNS event_outcome \
           LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path TO pg_catalog, pg_temp \
           AS 'MODULE_PATHNAME', 'stripe_webhook_wrapper';"
)]
fn stripe_webhook(body: Option<JsonArgument>) -> Result<EventOutcome, ErrorReport> {
    Ok(endpoint(Provider::Stripe, body, "stripe-signature")?)
}

#[pg_extern(
    volatile,
    parallel_unsafe,
    security_definer,
    sql = "CREATE FUNCTION paystack_webhook(json) RETURNS event_outcome \
           LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path TO pg_catalog, pg_temp \
           AS 'MODULE_PATHNAME', 'paystack_webhook_wrapper';"
)]
fn paystack_webhook(body: Option<JsonArgument>) -> Result<EventOutcome, ErrorReport> {
    Ok(endpoint(Provider::Paystack, body, "x-paystack-signature")?)
}

/// A request that PostgREST handed over: the body as it came, the signature in a header.
fn endpoint(provider: Provider, body: Option<JsonArgument>, header: &str) -> Result<EventOutcome> {
    let payload = body.map(|body| body.0).unwrap_or_default();
    pg::write(|client| {
        let signature = delivery::request_header(client, header)?;
        let delivery = Delivery { provider, payload: &payload, signature: signature.as_deref() };
        let answer = delivery::receive(client, delivery)?;
        delivery::set_http_status(client, answer.http_status())?;
        Ok(answer.outcome)
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn retry_webhook_events(
    max_events: default!(Option<i32>, "100"),
) -> Result<SetOfIterator<'static, EventOutcome>, ErrorReport> {
    let outcomes = match check_max_events(max_events) {
        Ok(max_events) => pg::write(|client| retries::retry(client, max_events))?,
        Err(refusal) => vec![EventOutcome::refused(refusal)],
    };
    Ok(SetOfIterator::new(outcomes))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn claim_stripe_event(
    event_id: default!(Option<&str>, "NULL"),
    event_type: default!(Option<&str>, "NULL"),
    payload_summary: default!(Option<JsonbArgument>, "NULL"),
    lease_seconds: default!(Option<i32>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    let summary = payload_summary.as_ref().map(JsonbArgument::text);
    Ok(claims::claim(Some("stripe"), event_id, event_type, summary, lease_seconds)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn claim_webhook_event(
    provider: default!(Option<&str>, "NULL"),
    event_id: default!(Option<&str>, "NULL"),
    event_type: default!(Option<&str>, "NULL"),
    payload_summary: default!(Option<JsonbArgument>, "NULL"),
    lease_seconds: default!(Option<i32>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    let summary = payload_summary.as_ref().map(JsonbArgument::text);
    Ok(claims::claim(provider, event_id, event_type, summary, lease_seconds)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn complete_stripe_event(
    event_id: default!(Option<&str>, "NULL"),
    claim_token: default!(Option<PgUuid>, "NULL"),
    result: default!(Option<JsonbArgument>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    Ok(claims::complete(Some("stripe"), event_id, claim_token, result.as_ref())?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn complete_webhook_event(
    provider: default!(Option<&str>, "NULL"),
    event_id: default!(Option<&str>, "NULL"),
    claim_token: default!(Option<PgUuid>, "NULL"),
    result: default!(Option<JsonbArgument>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    Ok(claims::complete(provider, event_id, claim_token, result.as_ref())?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn fail_stripe_event(
    event_id: default!(Option<&str>, "NULL"),
    claim_token: default!(Option<PgUuid>, "NULL"),
    error_message: default!(Option<&str>, "NULL"),
    retry_in_seconds: default!(Option<i32>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    Ok(claims::fail(Some("stripe"), event_id, claim_token, error_message, retry_in_seconds)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn fail_webhook_event(
    provider: default!(Option<&str>, "NULL"),
    event_id: default!(Option<&str>, "NULL"),
    claim_token: default!(Option<PgUuid>, "NULL"),
    error_message: default!(Option<&str>, "NULL"),
    retry_in_seconds: default!(Option<i32>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    Ok(claims::fail(provider, event_id, claim_token, error_message, retry_in_seconds)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn revive_event(
    provider: default!(Option<&str>, "NULL"),
    event_id: default!(Option<&str>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    let key = EventKey { provider: provider.unwrap_or_default(), event_id: event_id.unwrap_or_default() };
    let revived = pg::write(|client| store::revive(client, key, pg::now()))?;
    let event_type = revived.ok_or(Error::BadArgument("there is no dead event of that provider and id"))?;
    Ok(EventOutcome {
        event_type: Some(event_type),
        status: Some(Status::Failed),
        attempts: Some(0),
        ..EventOutcome::of(key, Reason::Applied, None)
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn dismiss_event(
    provider: default!(Option<&str>, "NULL"),
    event_id: default!(Option<&str>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    let key = EventKey { provider: provider.unwrap_or_default(), event_id: event_id.unwrap_or_default() };
    let result = delivery::result_json(&effects::Effect::ignored(Detail::Dismissed));
    let dismissed = pg::write(|client| store::dismiss(client, key, &result, claims::keeps_payload()))?;
    let (event_type, attempts) =
        dismissed.ok_or(Error::BadArgument("there is no failed or dead event of that provider and id"))?;
    Ok(EventOutcome {
        event_type: Some(event_type),
        status: Some(Status::Completed),
        attempts: Some(attempts),
        result: Some(result),
        ..EventOutcome::of(key, Reason::Applied, None)
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn purge_webhook_events(
    older_than: default!(Option<Interval>, "NULL"),
    max_rows: default!(Option<i32>, "NULL"),
) -> Result<i64, ErrorReport> {
    let older_than = older_than
        .filter(is_age)
        .ok_or(Error::BadArgument("older_than is an interval from zero to a thousand years"))?;
    let max_rows =
        max_rows.filter(|rows| *rows > 0).ok_or(Error::BadArgument("max_rows is a number above zero"))?;
    let purged = pg::write(|client| store::purge(client, older_than, max_rows.into()))?;
    Ok(i64::try_from(purged).unwrap_or(i64::MAX))
}

/// Whether a time that lies so far back exists.
fn is_age(interval: &Interval) -> bool {
    const THOUSAND_YEARS: i64 = 1_000 * 366 * 86_400_000_000;
    (0..=12_000).contains(&interval.months())
        && (0..=366_000).contains(&interval.days())
        && (0..=THOUSAND_YEARS).contains(&interval.micros())
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn allow_account(
    account_id: default!(Option<&str>, "NULL"),
    allowed: default!(Option<bool>, "true"),
) -> Result<(), ErrorReport> {
    let account_id = account_id
        .filter(|id| text::is_solid(id) && id.len() <= text::MAX_REFERENCE_BYTES)
        .ok_or(Error::BadArgument("the account id is missing, blank or too long"))?;
    Ok(pg::write(|client| store::allow_account(client, account_id, allowed.unwrap_or(true)))?)
}

/// Takes a person who is to be forgotten out of all events; `customers` are those of the person. What has
/// not been processed yet never will be.
pub fn forget(client: &Client, person: &Customer, customers: &[Uuid]) -> Result<()> {
    let result = delivery::result_json(&effects::Effect::ignored(Detail::Dismissed));
    store::forget(client, Traces::of(person), customers, &result)
}

/// SQL type `event_outcome`.
#[derive(Debug)]
pub struct EventOutcome {
    reason: Reason,
    detail: Option<Detail>,
    provider: Option<String>,
    event_id: Option<String>,
    event_type: Option<String>,
    status: Option<Status>,
    attempts: Option<i32>,
    claim_token: Option<PgUuid>,
    lease_until: Option<TimestampWithTimeZone>,
    result: Option<String>,
}

impl EventOutcome {
    /// An answer about an event.
    fn of(key: EventKey, reason: Reason, detail: Option<Detail>) -> EventOutcome {
        EventOutcome {
            provider: Some(key.provider.to_owned()),
            event_id: Some(key.event_id.to_owned()),
            ..EventOutcome::nameless(reason, detail)
        }
    }

    /// An answer about nothing that could be named.
    fn refused(refusal: Refusal) -> EventOutcome {
        EventOutcome::nameless(refusal.reason, Some(refusal.detail))
    }

    fn nameless(reason: Reason, detail: Option<Detail>) -> EventOutcome {
        EventOutcome {
            reason,
            detail,
            provider: None,
            event_id: None,
            event_type: None,
            status: None,
            attempts: None,
            claim_token: None,
            lease_until: None,
            result: None,
        }
    }
}

pg::sql_row!(EventOutcome, "event_outcome");

impl Row for EventOutcome {
    fn write(self, row: &mut RowWriter) {
        row.outcome(self.reason, self.detail)
            .column(self.provider)
            .column(self.event_id)
            .column(self.event_type)
            .column(self.status.map(Status::as_str))
            .column(self.attempts)
            .column(self.claim_token)
            .column(self.lease_until)
            .column(self.result.as_deref().and_then(pg::jsonb));
    }
}
