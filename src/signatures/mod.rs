//! Webhook signatures: SQL entry points for checking and making them, and the secrets.

use billing_core::outcome::Detail;
use billing_core::signatures::{self, DEFAULT_TOLERANCE_SECONDS, Verdict};
use billing_core::text::is_blank;
use billing_core::webhooks::Provider;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::{self, Client, Row, RowWriter, Time};
use crate::settings;

mod store;

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn verify_stripe_signature(
    payload: default!(Option<&str>, "NULL"),
    signature_header: default!(Option<&str>, "NULL"),
    tolerance_seconds: default!(Option<i32>, "NULL"),
) -> Result<SignatureVerdict, ErrorReport> {
    let payload = payload.unwrap_or_default();
    Ok(pg::read(|client| verify_stripe(client, payload, signature_header, tolerance_seconds))
        .map(SignatureVerdict)?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn verify_paystack_signature(
    payload: default!(Option<&str>, "NULL"),
    signature: default!(Option<&str>, "NULL"),
) -> Result<SignatureVerdict, ErrorReport> {
    let payload = payload.unwrap_or_default();
    Ok(pg::read(|client| verify_paystack(client, payload, signature)).map(SignatureVerdict)?)
}

#[pg_extern(stable, parallel_safe, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn verify_stripe_signature_with(
    payload: default!(Option<&[u8]>, "NULL"),
    signature_header: default!(Option<&str>, "NULL"),
    secrets: default!(Option<Vec<Option<String>>>, "NULL"),
    tolerance_seconds: default!(Option<i32>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> SignatureVerdict {
    SignatureVerdict(signatures::verify_stripe(
        payload.unwrap_or_default(),
        signature_header.map(str::as_bytes),
        &present(secrets),
        tolerance_seconds.unwrap_or(DEFAULT_TOLERANCE_SECONDS),
        at.map_or_else(pg::now, Time::of).unix(),
    ))
}

#[pg_extern(immutable, parallel_safe, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn verify_paystack_signature_with(
    payload: default!(Option<&[u8]>, "NULL"),
    signature: default!(Option<&str>, "NULL"),
    secrets: default!(Option<Vec<Option<String>>>, "NULL"),
) -> SignatureVerdict {
    SignatureVerdict(signatures::verify_paystack(
        payload.unwrap_or_default(),
        signature.map(str::as_bytes),
        &present(secrets),
    ))
}

#[pg_extern(stable, parallel_safe, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn sign_stripe_payload(
    payload: default!(Option<&str>, "NULL"),
    secret: default!(Option<&str>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> Result<String, ErrorReport> {
    let at = at.map_or_else(pg::now, Time::of).unix();
    Ok(signatures::sign_stripe(payload.unwrap_or_default().as_bytes(), secret.unwrap_or_default(), at)
        .ok_or(BLANK_SECRET)?)
}

#[pg_extern(immutable, parallel_safe, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn sign_paystack_payload(
    payload: default!(Option<&str>, "NULL"),
    secret: default!(Option<&str>, "NULL"),
) -> Result<String, ErrorReport> {
    Ok(signatures::sign_paystack(payload.unwrap_or_default().as_bytes(), secret.unwrap_or_default())
        .ok_or(BLANK_SECRET)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn add_webhook_secret(
    provider: default!(Option<&str>, "NULL"),
    secret: default!(Option<&str>, "NULL"),
    valid_until: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> Result<i64, ErrorReport> {
    let provider = provider.filter(|text| Provider::parse(text).is_some()).ok_or(UNKNOWN_PROVIDER)?;
    let secret = secret.filter(|secret| !is_blank(secret)).ok_or(BLANK_SECRET)?;
    let number = pg::write(|client| store::add(client, provider, secret, valid_until.map(Time::of)))?;
    Ok(number.ok_or(Error::BrokenInvariant)?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn retire_webhook_secret(
    secret_id: default!(Option<i64>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "pg_catalog.now()"),
) -> Result<(), ErrorReport> {
    let secret_id = secret_id.ok_or(UNKNOWN_SECRET)?;
    let at = at.map_or_else(pg::now, Time::of);
    if !pg::write(|client| store::retire(client, secret_id, at))? {
        return Err(UNKNOWN_SECRET.into());
    }
    Ok(())
}

const UNKNOWN_PROVIDER: Error = Error::BadArgument("the provider is stripe or paystack");
const BLANK_SECRET: Error = Error::BadArgument("the secret is missing or blank");
const UNKNOWN_SECRET: Error = Error::BadArgument("there is no webhook secret of that number");

/// Checks a delivery of the provider with the stored secrets.
pub fn verify(
    client: &Client,
    provider: Provider,
    payload: &str,
    signature: Option<&str>,
) -> Result<Verdict> {
    match provider {
        Provider::Stripe => verify_stripe(client, payload, signature, None),
        Provider::Paystack => verify_paystack(client, payload, signature),
    }
}

fn verify_paystack(client: &Client, payload: &str, signature: Option<&str>) -> Result<Verdict> {
    let secrets = store::valid_secrets(client, Provider::Paystack.as_str(), pg::now())?;
    Ok(signatures::verify_paystack(payload.as_bytes(), signature.map(str::as_bytes), &secrets))
}

/// Checks a Stripe body with the stored secrets; a null tolerance is the setting's.
fn verify_stripe(
    client: &Client,
    payload: &str,
    header: Option<&str>,
    tolerance_seconds: Option<i32>,
) -> Result<Verdict> {
    let now = pg::now();
    let secrets = store::valid_secrets(client, Provider::Stripe.as_str(), now)?;
    let tolerance_seconds = tolerance_seconds.unwrap_or_else(settings::tolerance_seconds);
    let header = header.map(str::as_bytes);
    Ok(signatures::verify_stripe(payload.as_bytes(), header, &secrets, tolerance_seconds, now.unix()))
}

fn present(secrets: Option<Vec<Option<String>>>) -> Vec<String> {
    secrets.unwrap_or_default().into_iter().flatten().collect()
}

/// SQL type `signature_verdict`.
struct SignatureVerdict(Verdict);

impl Row for SignatureVerdict {
    fn write(self, row: &mut RowWriter) {
        row.column(Some(self.0.valid()))
            .column(self.0.detail.map(Detail::as_str))
            .column(self.0.signed_at.and_then(Time::of_unix).and_then(Time::timestamp));
    }
}

pg::sql_row!(SignatureVerdict, "signature_verdict");
