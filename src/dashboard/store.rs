//! SQL statements of the dashboard: each reads at most so many rows, by an index, whatever there is.

use billing_core::dashboard::{
    Check, Credits, DayOfCredits, Entry, Events, HourOfEvents, StatusOfSubscriptions, Stuck, Subscriptions,
    Trouble, TypeOfEvents,
};
use billing_core::webhooks::Status;
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::pg::{Client, Columns, Time, statements};

statements! {
    // From one type of events to the next by the index, without looking at what is between. $1: since, $2: types at
    // most, $3: after how many events of a type to look.
    TYPES(TIMESTAMPTZOID, INT4OID, INT4OID) =
        "WITH RECURSIVE types (event_type, place) AS (
             (SELECT v.event_type, 1 FROM billing.webhook_events v ORDER BY v.event_type LIMIT 1)
             UNION ALL
             SELECT (SELECT v.event_type FROM billing.webhook_events v
                     WHERE v.event_type > t.event_type ORDER BY v.event_type LIMIT 1), t.place + 1
             FROM types t WHERE t.event_type IS NOT NULL AND t.place < $2)
         SELECT t.event_type,
             (SELECT v.received_at FROM billing.webhook_events v WHERE v.event_type = t.event_type AND v.received_at >= $1
              ORDER BY v.received_at DESC OFFSET $3 LIMIT 1)
         FROM types t WHERE t.event_type IS NOT NULL";
    // $1: types, $2: how many of each at most, $3: since. Where a type has more, nothing older than its oldest is
    // counted of any type, so that the counts compare.
    EVENTS(TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZOID) =
        "WITH counted AS MATERIALIZED (
             SELECT t.event_type, t.bound, v.status, v.received_at
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t (event_type, bound)
             CROSS JOIN LATERAL (
                 SELECT e.status, e.received_at FROM billing.webhook_events e
                 WHERE e.event_type = t.event_type AND e.received_at >= $3
                 ORDER BY e.received_at DESC LIMIT t.bound) v
         ), cut AS MATERIALIZED (
             SELECT pg_catalog.max(o.oldest) AS since FROM (
                 SELECT pg_catalog.min(c.received_at) AS oldest FROM counted c
                 GROUP BY c.event_type, c.bound HAVING pg_catalog.count(*) >= c.bound) o
         )
         SELECT c.event_type, c.status, pg_catalog.date_trunc('hour', c.received_at, 'UTC'), pg_catalog.count(*), cut.since
         FROM counted c, cut WHERE c.received_at >= coalesce(cut.since, $3)
         GROUP BY GROUPING SETS ((2, 3, 5), (1, 2, 5))";
    FAILED(INT4OID) =
        "SELECT provider, event_id, event_type, received_at, next_attempt_at, attempts, error_detail, error_message,
                payload IS NOT NULL, status
         FROM billing.webhook_events WHERE error_message IS NOT NULL AND next_attempt_at IS NOT NULL
         ORDER BY next_attempt_at LIMIT $1";
    DEAD(INT4OID) =
        "SELECT provider, event_id, event_type, received_at, next_attempt_at, attempts, error_detail, error_message,
                payload IS NOT NULL, status
         FROM billing.webhook_events WHERE error_message IS NOT NULL AND next_attempt_at IS NULL
         ORDER BY next_attempt_at DESC, received_at DESC LIMIT $1";
    RAN_OUT(TIMESTAMPTZOID, INT4OID) =
        "SELECT provider, event_id, event_type, lease_until, status = 'processing' FROM billing.webhook_events
         WHERE lease_until < $1 ORDER BY lease_until LIMIT $2";
    OVERDUE(TIMESTAMPTZOID, INT4OID) =
        "SELECT provider, event_id, event_type, next_attempt_at, status IN ('recorded', 'failed') FROM billing.webhook_events
         WHERE next_attempt_at < $1 - interval '10 minutes' AND payload IS NOT NULL ORDER BY next_attempt_at LIMIT $2";
    RECORDED(INT4OID) =
        "SELECT pg_catalog.count(*) FILTER (WHERE w.status = 'recorded'), pg_catalog.count(*) FROM (
             SELECT status FROM billing.webhook_events
             WHERE next_attempt_at IS NOT NULL AND payload IS NOT NULL ORDER BY next_attempt_at LIMIT $1) w";
    CLAIMED(TIMESTAMPTZOID, INT4OID) =
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FROM (
             SELECT FROM billing.webhook_events WHERE lease_until >= $1 ORDER BY lease_until LIMIT $2) w";
    REFETCHES(INT4OID) =
        "SELECT pg_catalog.count(*), pg_catalog.count(*) FROM (
             SELECT FROM billing.refetch_queue ORDER BY requested_at LIMIT $1) w";
    // $1: since, $2: entries at most, $3: credit types at most.
    CREDITS(TIMESTAMPTZOID, INT4OID, INT4OID) =
        "WITH newest AS MATERIALIZED (
             SELECT credit_type, created_at, credits FROM billing.ledger ORDER BY entry_id DESC LIMIT $2
         ), cut AS MATERIALIZED (
             SELECT pg_catalog.min(n.created_at) AS since FROM newest n HAVING pg_catalog.count(*) >= $2
         ), sums AS MATERIALIZED (
             SELECT n.credit_type, pg_catalog.date_trunc('day', n.created_at, 'UTC') AS day, pg_catalog.count(*) AS entries,
                 coalesce(pg_catalog.sum(n.credits) FILTER (WHERE n.credits > 0), 0) AS added,
                 -coalesce(pg_catalog.sum(n.credits) FILTER (WHERE n.credits < 0), 0) AS taken
             FROM newest n WHERE n.created_at >= $1 AND n.credits <> 0 GROUP BY 1, 2
         ), types AS MATERIALIZED (
             SELECT s.credit_type, pg_catalog.row_number() OVER (ORDER BY pg_catalog.sum(s.entries) DESC, s.credit_type) AS place
             FROM sums s GROUP BY s.credit_type ORDER BY 2 LIMIT $3
         )
         SELECT s.credit_type, s.day, s.added::text, s.taken::text, (SELECT c.since FROM cut c WHERE c.since > $1)
         FROM types t JOIN sums s ON s.credit_type = t.credit_type ORDER BY t.place, s.day";
    ENTRIES(INT4OID) =
        "SELECT entry_id, created_at, customer_id::text, kind, credits, balance_after, credit_type, source_ref
         FROM billing.ledger ORDER BY entry_id DESC LIMIT $1";
    SUBSCRIPTIONS(INT4OID) =
        "SELECT s.status, pg_catalog.count(*),
             pg_catalog.count(*) FILTER (WHERE s.cancel_at_period_end AND s.status IN ('active', 'trialing', 'past_due', 'unpaid', 'paused')),
             pg_catalog.count(*) FILTER (WHERE s.customer_id IS NULL)
         FROM (SELECT status, cancel_at_period_end, customer_id FROM billing.subscriptions
               ORDER BY provider, subscription_id LIMIT $1) s
         GROUP BY s.status";
    HEALTH() = "SELECT check_name, ok, advice FROM billing.health()";
    HEADERS() = "SELECT pg_catalog.current_setting('response.headers', true)";
    SET_HEADERS(TEXTOID) = "SELECT pg_catalog.set_config('response.headers', $1, true)";
}

fn micros(row: &Columns, ordinal: usize) -> Result<i64> {
    Ok(Time::of(row.get(ordinal)?).micros())
}

fn maybe_micros(row: &Columns, ordinal: usize) -> Result<Option<i64>> {
    Ok(row.maybe::<TimestampWithTimeZone>(ordinal)?.map(|time| Time::of(time).micros()))
}

fn status(row: &Columns, ordinal: usize) -> Result<Status> {
    Status::parse(&row.get::<String>(ordinal)?).ok_or(Error::BrokenInvariant)
}

/// Types of events, the first ones by name; each with when the event after its newest `probe` was received.
pub fn event_types(
    client: &Client,
    since: Time,
    max_types: i32,
    probe: i32,
) -> Result<Vec<(String, Option<i64>)>> {
    let arguments = [since.timestamp().into(), max_types.into(), probe.into()];
    TYPES.with(|s| s.run(client, &arguments))?.all(|row| Ok((row.get(1)?, maybe_micros(row, 2)?)))
}

/// The newest events of each type, as far as its bound, counted.
pub fn events(client: &Client, since: Time, types: Vec<String>, bounds: Vec<i32>) -> Result<Events> {
    let mut events = Events::default();
    EVENTS.with(|s| s.run(client, &[types.into(), bounds.into(), since.timestamp().into()]))?.all(|row| {
        events.since = maybe_micros(row, 5)?;
        let (status, count) = (status(row, 2)?, row.get(4)?);
        match maybe_micros(row, 3)? {
            Some(hour) => events.hours.push(HourOfEvents { hour, status, events: count }),
            None => events.types.push(TypeOfEvents { event_type: row.get(1)?, status, events: count }),
        }
        Ok(())
    })?;
    Ok(events)
}

/// Events that failed and have another attempt before them, or are in the midst of it; with their status.
pub fn failed(client: &Client, max_rows: i32) -> Result<Vec<(Status, Trouble)>> {
    FAILED.with(|s| s.run(client, &[max_rows.into()]))?.all(trouble)
}

/// Events that failed and have no attempt before them, or are in the midst of one; with their status.
pub fn dead(client: &Client, max_rows: i32) -> Result<Vec<(Status, Trouble)>> {
    DEAD.with(|s| s.run(client, &[max_rows.into()]))?.all(trouble)
}

fn trouble(row: &Columns) -> Result<(Status, Trouble)> {
    let trouble = Trouble {
        provider: row.get(1)?,
        event_id: row.get(2)?,
        event_type: row.get(3)?,
        received_at: micros(row, 4)?,
        next_attempt_at: maybe_micros(row, 5)?,
        attempts: row.get(6)?,
        detail: row.maybe(7)?,
        message: row.get(8)?,
        payload_kept: row.get(9)?,
    };
    Ok((status(row, 10)?, trouble))
}

/// Events whose lease ran out; with whether that is still so.
pub fn ran_out(client: &Client, now: Time, max_rows: i32) -> Result<Vec<(bool, Stuck)>> {
    RAN_OUT.with(|s| s.run(client, &[now.timestamp().into(), max_rows.into()]))?.all(stuck)
}

/// Events that have been due for long; with whether they are still to be taken.
pub fn overdue(client: &Client, now: Time, max_rows: i32) -> Result<Vec<(bool, Stuck)>> {
    OVERDUE.with(|s| s.run(client, &[now.timestamp().into(), max_rows.into()]))?.all(stuck)
}

fn stuck(row: &Columns) -> Result<(bool, Stuck)> {
    let stuck = Stuck {
        provider: row.get(1)?,
        event_id: row.get(2)?,
        event_type: row.get(3)?,
        since: micros(row, 4)?,
    };
    Ok((row.get(5)?, stuck))
}

/// How many of the events that are due first are recorded ones, and how many were looked at.
pub fn recorded(client: &Client, max_rows: i32) -> Result<(i64, i64)> {
    let rows = RECORDED.with(|s| s.run(client, &[max_rows.into()]))?;
    rows.first(counts)?.ok_or(Error::BrokenInvariant)
}

/// How many claims live, twice.
pub fn claimed(client: &Client, now: Time, max_rows: i32) -> Result<(i64, i64)> {
    let rows = CLAIMED.with(|s| s.run(client, &[now.timestamp().into(), max_rows.into()]))?;
    rows.first(counts)?.ok_or(Error::BrokenInvariant)
}

/// How many objects are to be fetched, twice.
pub fn refetches(client: &Client, max_rows: i32) -> Result<(i64, i64)> {
    let rows = REFETCHES.with(|s| s.run(client, &[max_rows.into()]))?;
    rows.first(counts)?.ok_or(Error::BrokenInvariant)
}

fn counts(row: &Columns) -> Result<(i64, i64)> {
    Ok((row.get(1)?, row.get(2)?))
}

/// The newest entries of the ledger, summed by credit type and day.
pub fn credits(client: &Client, since: Time, max_entries: i32, max_types: i32) -> Result<Credits> {
    let mut credits = Credits::default();
    let arguments = [since.timestamp().into(), max_entries.into(), max_types.into()];
    credits.days = CREDITS.with(|s| s.run(client, &arguments))?.all(|row| {
        credits.since = maybe_micros(row, 5)?;
        let sum = |ordinal| row.get::<String>(ordinal)?.parse().map_err(|_| Error::BrokenInvariant);
        Ok(DayOfCredits { credit_type: row.get(1)?, day: micros(row, 2)?, added: sum(3)?, taken: sum(4)? })
    })?;
    Ok(credits)
}

/// The last entries of the ledger, the latest first.
pub fn entries(client: &Client, max_rows: i32) -> Result<Vec<Entry>> {
    ENTRIES.with(|s| s.run(client, &[max_rows.into()]))?.all(|row| {
        Ok(Entry {
            entry_id: row.get(1)?,
            created_at: micros(row, 2)?,
            customer_id: row.get(3)?,
            kind: row.get(4)?,
            credits: row.get(5)?,
            balance_after: row.get(6)?,
            credit_type: row.get(7)?,
            source_ref: row.maybe(8)?,
        })
    })
}

/// Subscriptions by status, as far as the bound.
pub fn subscriptions(client: &Client, max_rows: i32) -> Result<Subscriptions> {
    let statuses = SUBSCRIPTIONS.with(|s| s.run(client, &[max_rows.into()]))?.all(|row| {
        Ok(StatusOfSubscriptions {
            status: row.get(1)?,
            subscriptions: row.get(2)?,
            ending: row.get(3)?,
            unlinked: row.get(4)?,
        })
    })?;
    let counted: i64 = statuses.iter().map(|row| row.subscriptions).sum();
    Ok(Subscriptions { statuses, more: counted >= max_rows.into() })
}

/// The checks of `billing.health()`.
pub fn health(client: &Client) -> Result<Vec<Check>> {
    HEALTH.with(|s| s.run(client, &[]))?.all(|row| {
        Ok(Check { name: row.get(1)?, ok: row.get(2)?, advice: row.maybe(3)?.unwrap_or_default() })
    })
}

/// What PostgREST has been told so far to send as headers.
pub fn response_headers(client: &Client) -> Result<Option<String>> {
    Ok(HEADERS.with(|s| s.run(client, &[]))?.first(|row| row.maybe(1))?.flatten())
}

/// Tells PostgREST which headers to send, until the transaction ends.
pub fn set_response_headers(client: &Client, headers: &str) -> Result<()> {
    SET_HEADERS.with(|s| s.run(client, &[headers.into()]))?;
    Ok(())
}
