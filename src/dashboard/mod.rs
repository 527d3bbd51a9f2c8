//! The dashboard: reads at most so many rows of each kind, the newest, and hands them to the page.

use billing_core::dashboard::{self, Bounded, Count, Credits, Dashboard, Events, Sample, Stuck};
use billing_core::webhooks::Status;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Result;
use crate::pg::{self, Client, Time};

mod store;

// What the page may cost, however much there is: about 0.2 seconds at all of these.

/// Events read for the charts, about; in the worst case twice as many.
const EVENTS: i32 = 50_000;
/// Types of events looked at.
const EVENT_TYPES: i32 = 200;
/// Events of a type that are looked at to tell how many come in a time.
const PROBE: i32 = 100;
/// Entries of the ledger summed.
const ENTRIES: i32 = 50_000;
/// Entries of the ledger shown.
const LAST_ENTRIES: i32 = 20;
/// Failed events read, and as many dead ones.
const TROUBLES: i32 = 1_000;
/// Events read of those that nobody takes care of, and counted of those that wait.
const STUCK: i32 = 1_000;
/// Subscriptions counted.
const SUBSCRIPTIONS: i32 = 100_000;

// Not parallel at all: it sets headers.
#[pg_extern(
    stable,
    parallel_unsafe,
    security_definer,
    requires = ["dashboard"],
    sql = "CREATE FUNCTION billing_dashboard() RETURNS billing.\"text/html\" \
           LANGUAGE c STABLE PARALLEL UNSAFE SECURITY DEFINER SET search_path TO pg_catalog, pg_temp \
           AS 'MODULE_PATHNAME', 'billing_dashboard_wrapper';"
)]
fn billing_dashboard() -> Result<String, ErrorReport> {
    Ok(pg::read(|client| {
        let data = collect(client, pg::now())?;
        let headers = dashboard::response_headers(store::response_headers(client)?.as_deref());
        store::set_response_headers(client, &headers)?;
        Ok(dashboard::page(&data))
    })?)
}

fn collect(client: &Client, now: Time) -> Result<Dashboard> {
    let micros = now.micros();
    let stuck = |rows: Vec<(bool, Stuck)>| bounded(rows, STUCK, |is_so| is_so);
    Ok(Dashboard {
        now: micros,
        events: events(client, micros, dashboard::first_hour(micros))?,
        failed: bounded(store::failed(client, TROUBLES + 1)?, TROUBLES, |status| status == Status::Failed),
        dead: bounded(store::dead(client, TROUBLES + 1)?, TROUBLES, |status| status == Status::Dead),
        ran_out: stuck(store::ran_out(client, now, STUCK + 1)?),
        overdue: stuck(store::overdue(client, now, STUCK + 1)?),
        recorded: count(store::recorded(client, STUCK + 1)?),
        claimed: count(store::claimed(client, now, STUCK + 1)?),
        refetches: count(store::refetches(client, STUCK + 1)?),
        credits: credits(client, Time::of_micros(dashboard::first_day(micros)))?,
        subscriptions: store::subscriptions(client, SUBSCRIPTIONS)?,
        entries: store::entries(client, LAST_ENTRIES)?,
        health: store::health(client)?,
    })
}

/// The rows within the bound that are wanted; others lie between them in the same index, and are few.
fn bounded<K, T>(rows: Vec<(K, T)>, bound: i32, is_wanted: impl Fn(K) -> bool) -> Bounded<T> {
    let bounded = Bounded::of(rows, usize::try_from(bound).unwrap_or(usize::MAX));
    let wanted = bounded.rows.into_iter().filter_map(|(kind, row)| is_wanted(kind).then_some(row));
    Bounded { rows: wanted.collect(), more: bounded.more }
}

fn count((wanted, looked_at): (i64, i64)) -> Count {
    let bound = i64::from(STUCK);
    Count { counted: wanted.min(bound), more: looked_at > bound }
}

/// The newest events, of all types back to the same moment.
fn events(client: &Client, now: i64, first_hour: i64) -> Result<Events> {
    let looked_at = usize::try_from(EVENT_TYPES).unwrap_or(usize::MAX);
    let found = store::event_types(client, Time::of_micros(first_hour), EVENT_TYPES + 1, PROBE)?;
    let more_types = found.len() > looked_at;
    let (types, begun): (Vec<_>, Vec<_>) = found.into_iter().take(looked_at).unzip();
    let Sample { since, bounds } = dashboard::sample(now, first_hour, &begun, PROBE, EVENTS);
    let mut events = store::events(client, Time::of_micros(since), types, bounds)?;
    events.more_types = more_types;
    // Without a type that has more than its bound, all were counted since then.
    events.since = events.since.or((since > first_hour).then_some(since));
    Ok(events)
}

fn credits(client: &Client, since: Time) -> Result<Credits> {
    let shown = i32::try_from(dashboard::CREDIT_TYPES).unwrap_or(i32::MAX - 1);
    store::credits(client, since, ENTRIES, shown + 1)
}
