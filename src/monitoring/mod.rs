//! Monitoring: SQL entry points for what shows how things are.
//!
//! Both look at as much as they must and no more: unfinished events by their partial indexes, modes and bodies by
//! a few rows of each type. Only tables of customers, balances and subscriptions are counted whole, and only by metrics.

use billing_core::monitoring::{self as rules, Check, Signs};
use billing_core::openmetrics::{self, Family, Number, Sample};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Result;
use crate::pg::{self, Client};
use crate::settings::{self, WebhookMode};

mod store;

/// The library's version.
const LIBRARY_VERSION: &str = env!("CARGO_PKG_VERSION");

#[pg_extern(stable, parallel_restricted, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
fn health() -> Result<
    TableIterator<
        'static,
        (name!(check_name, &'static str), name!(ok, bool), name!(advice, Option<&'static str>)),
    >,
    ErrorReport,
> {
    let signs = pg::read(signs)?;
    Ok(TableIterator::new(Check::ALL.iter().map(move |check| {
        let ok = signs.pass(*check);
        (check.as_str(), ok, (!ok).then(|| check.advice()))
    })))
}

#[pg_extern(stable, parallel_restricted, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn metrics() -> Result<String, ErrorReport> {
    let mut told = pg::read(looked_up)?;
    told.extend(pg::survey(counted)?);
    // In the order of the list, whichever way each was found.
    let families = rules::FAMILIES.into_iter().map(|family| {
        let samples = told.iter().filter(|(of, _)| of.name == family.name);
        (family, samples.flat_map(|(_, samples)| samples.clone()).collect())
    });
    Ok(openmetrics::render(families))
}

/// What health is judged by.
fn signs(client: &Client) -> Result<Signs> {
    let now = pg::now();
    Ok(Signs {
        due_seconds: store::oldest_due_seconds(client, now)?,
        lease_over_seconds: store::leases_ran_out(client, now)?.oldest_seconds,
        failing: store::has_failing(client, rules::FAILING_ATTEMPTS)?,
        dead: store::has_dead(client)?,
        live: store::has_live(client)?,
        test: store::has_test(client)?,
        accepted: settings::accepted_mode(),
        secrets: store::secrets(client, now)?,
        in_use: store::providers_in_use(client)?,
        endpoints_given: store::endpoints_given(client)?,
        e2e_test_mode: settings::e2e_test_mode(),
        processing: settings::webhook_mode() == WebhookMode::process,
        refetch_seconds: store::refetch_queue(client, now)?.oldest_seconds,
        old_payloads: store::has_old_payloads(client, rules::OLD_PAYLOAD_DAYS)?,
        sources_readable: store::sources_readable(client)?,
        access_as_intended: store::access_as_intended(client)?,
        version_fits: store::schema_version(client)? == LIBRARY_VERSION,
    })
}

type Told = (&'static Family, Vec<Sample>);

/// A number that no label tells from others.
fn plain(family: &'static Family, number: i64) -> Told {
    (family, vec![Sample { labels: vec![], number: number.into() }])
}

/// What is found by indexes and in the catalogue.
fn looked_up(client: &Client) -> Result<Vec<Told>> {
    let now = pg::now();
    let signs = signs(client)?;
    let health = Check::ALL.iter().map(|check| Sample {
        labels: vec![("check", check.as_str().to_owned())],
        number: i64::from(signs.pass(*check)).into(),
    });
    let versions =
        vec![("version", store::schema_version(client)?), ("library_version", LIBRARY_VERSION.to_owned())];
    let secrets = signs.secrets.iter().map(|secret| Sample {
        labels: vec![("provider", secret.provider.clone()), ("secret_id", secret.secret_id.to_string())],
        number: secret.remaining_seconds.map_or(Number::Infinite, Number::from),
    });
    let refetches = store::refetch_queue(client, now)?;
    Ok(vec![
        (&rules::EXTENSION, vec![Sample { labels: versions, number: Number::Whole(1) }]),
        (&rules::HEALTH, health.collect()),
        plain(&rules::EVENTS_RECEIVED, store::rows_inserted(client, "billing.webhook_events")?),
        plain(&rules::LEDGER_ENTRIES, store::rows_inserted(client, "billing.ledger")?),
        (&rules::UNFINISHED_EVENTS, store::unfinished_events(client)?),
        plain(&rules::UNSIGNED_EVENTS, store::unsigned_events(client)?),
        plain(&rules::OLDEST_DUE, signs.due_seconds.unwrap_or(0)),
        plain(&rules::LEASES_RAN_OUT, store::leases_ran_out(client, now)?.count),
        plain(&rules::REFETCH_QUEUE, refetches.count),
        plain(&rules::REFETCH_AGE, refetches.oldest_seconds.unwrap_or(0)),
        (&rules::OPEN_HOLDS, store::open_holds(client, now)?),
        (&rules::SECRET_REMAINING, secrets.collect()),
    ])
}

/// What whole tables are read for.
fn counted(client: &Client) -> Result<Vec<Told>> {
    let totals = store::credit_totals(client)?;
    let of_type = |number: fn(&store::CreditTotal) -> Number| {
        let samples = totals.iter().map(|total| Sample {
            labels: vec![("credit_type", total.credit_type.clone())],
            number: number(total),
        });
        samples.collect::<Vec<_>>()
    };
    Ok(vec![
        plain(&rules::CUSTOMERS, store::customers(client)?),
        (&rules::BALANCES, of_type(|total| total.customers.into())),
        (&rules::OUTSTANDING, of_type(|total| Number::Whole(total.balance))),
        (&rules::HELD, of_type(|total| Number::Whole(total.held))),
        (&rules::SUBSCRIPTIONS, store::subscriptions(client)?),
    ])
}
