//! Webhooks: SQL entry points for deliveries, claims and operators.

use billing_core::outcome::{Detail, Reason, Refusal};
use billing_core::text;
use billing_core::webhooks::Status;
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::{self, JsonArgument, JsonbArgument, Row, RowWriter};

mod checkout;
mod claims;
mod delivery;
mod store;

pub use delivery::process_waiting;
use store::EventKey;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn process_stripe_webhook(
    payload: default!(Option<&str>, "NULL"),
    signature_header: default!(Option<&str>, "NULL"),
) -> Result<EventOutcome, ErrorReport> {
    let payload = payload.unwrap_or_default();
    Ok(pg::write(|client| delivery::stripe(client, payload, signature_header))?.outcome)
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
    let payload = body.map(|body| body.0).unwrap_or_default();
    Ok(pg::write(|client| {
        let header = delivery::request_header(client, "stripe-signature")?;
        let answer = delivery::stripe(client, &payload, header.as_deref())?;
        delivery::set_http_status(client, answer.http_status())?;
        Ok(answer.outcome)
    })?)
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
fn allow_account(
    account_id: default!(Option<&str>, "NULL"),
    allowed: default!(Option<bool>, "true"),
) -> Result<(), ErrorReport> {
    let account_id = account_id
        .filter(|id| text::is_solid(id) && id.len() <= text::MAX_REFERENCE_BYTES)
        .ok_or(Error::BadArgument("the account id is missing, blank or too long"))?;
    Ok(pg::write(|client| store::allow_account(client, account_id, allowed.unwrap_or(true)))?)
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

pg::sql_row!(EventOutcome, "event_outcome");
