//! SQL statements on webhook events and allowed accounts.

use std::collections::{HashMap, HashSet};

use billing_core::customers::Uuid;
use billing_core::customers::mend::Traces;
use billing_core::outcome::Detail;
use billing_core::webhooks::{Event, Standing, Status, Summary, standing};
use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::{JsonB, Uuid as PgUuid};

use crate::error::{Error, Result};
use crate::pg::{self, Client, Columns, JsonText, JsonbArgument, Time, statements};

statements! {
    INSERT(TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
           TIMESTAMPTZOID, UUIDOID, BOOLOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID,
           TEXTOID, JSONBOID, BOOLOID)
        direct[checks c"webhook_events_status_check"; locked; hopeful true] =
        "INSERT INTO billing.webhook_events
             (provider, event_id, event_type, status, attempts, received_at, lease_until, processed_at, next_attempt_at,
              occurred_at, claim_token, livemode, account_id, api_version, object_id, object_type, customer_code,
              error_detail, error_message, payload_summary, payload, result, unsigned)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
         ON CONFLICT (provider, event_id) DO NOTHING RETURNING event_id";
    READ(TEXTOID, TEXTOID) direct =
        "SELECT event_type, status, attempts, lease_until, claim_token, result, payload
         FROM billing.webhook_events WHERE provider = $1 AND event_id = $2";
    LOCK(TEXTOID, TEXTOID) direct =
        "SELECT event_type, status, attempts, lease_until, claim_token, result, payload
         FROM billing.webhook_events WHERE provider = $1 AND event_id = $2 FOR UPDATE";
    TAKE(TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, BOOLOID) =
        "UPDATE billing.webhook_events
         SET status = 'processing', attempts = attempts + 1, claim_token = pg_catalog.gen_random_uuid(),
             lease_until = $4, next_attempt_at = CASE WHEN payload IS NOT NULL THEN $4 END,
             unsigned = unsigned OR $6
         WHERE provider = $1 AND event_id = $2
             AND (status IN ('recorded', 'failed')
                  OR (status = 'processing' AND lease_until <= $3 AND attempts < $5))
         RETURNING event_type, attempts, claim_token";
    BURY(TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID) =
        "UPDATE billing.webhook_events SET status = 'dead', lease_until = NULL, next_attempt_at = NULL, error_detail = $5, error_message = $6
         WHERE provider = $1 AND event_id = $2
             AND status = 'processing' AND lease_until <= $3 AND attempts >= $4
         RETURNING event_id";
    COMPLETE(TEXTOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, JSONBOID, BOOLOID) =
        "UPDATE billing.webhook_events
         SET status = 'completed', processed_at = $4, result = $5, lease_until = NULL, next_attempt_at = NULL,
             error_detail = NULL, error_message = NULL, customer_code = NULL,
             payload = CASE WHEN $6 THEN payload END
         WHERE provider = $1 AND event_id = $2 AND status = 'processing' AND claim_token = $3
         RETURNING event_id";
    FAIL(TEXTOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID) =
        "UPDATE billing.webhook_events
         SET status = $4, error_detail = $5, error_message = $6,
             next_attempt_at = CASE WHEN $4 = 'failed' THEN $7 END, lease_until = NULL,
             customer_code = $8, payload = coalesce($9, payload)
         WHERE provider = $1 AND event_id = $2 AND status = 'processing' AND claim_token = $3
         RETURNING payload IS NOT NULL";
    RECORD(TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID) =
        "UPDATE billing.webhook_events
         SET payload = $3, next_attempt_at = coalesce(next_attempt_at, $4), unsigned = unsigned OR $5
         WHERE provider = $1 AND event_id = $2 AND payload IS NULL RETURNING event_id";
    REVIVE(TEXTOID, TEXTOID, TIMESTAMPTZOID) =
        "UPDATE billing.webhook_events SET status = 'failed', attempts = 0, next_attempt_at = $3
         WHERE provider = $1 AND event_id = $2 AND status = 'dead'
         RETURNING event_type";
    DISMISS(TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID, BOOLOID) =
        "UPDATE billing.webhook_events
         SET status = 'completed', processed_at = $3, result = $4, lease_until = NULL, next_attempt_at = NULL,
             customer_code = NULL, error_detail = NULL, error_message = NULL,
             payload = CASE WHEN $5 THEN payload END
         WHERE provider = $1 AND event_id = $2 AND status IN ('failed', 'dead')
         RETURNING event_type, attempts";
    // One look per event: a join, planned while the table is empty, would go through all events for each.
    STATES(TEXTARRAYOID, TIMESTAMPTZOID) =
        "SELECT e.event_id, v.status = 'processing' AND v.lease_until > $2, v.status = 'completed'
         FROM pg_catalog.unnest($1) AS e (event_id), LATERAL (
             SELECT w.status, w.lease_until FROM billing.webhook_events w
             WHERE w.provider = 'stripe' AND w.event_id = e.event_id LIMIT 1) AS v";
    // Who still works on one by a lease that ran out has lost its claim.
    ADOPT(TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, JSONBOID, BOOLOID) =
        "INSERT INTO billing.webhook_events AS v
             (provider, event_id, event_type, status, attempts, received_at, processed_at, payload_summary, result)
         SELECT 'stripe', e.event_id, e.event_type, 'completed', 0, e.at, e.at, e.summary::pg_catalog.jsonb, $6
         FROM ROWS FROM (
             pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)
         ) WITH ORDINALITY AS e (event_id, event_type, summary, at, place)
         ORDER BY e.place
         ON CONFLICT (provider, event_id) DO UPDATE
         SET status = 'completed', processed_at = excluded.processed_at, result = excluded.result, claim_token = NULL,
             lease_until = NULL, next_attempt_at = NULL, customer_code = NULL, error_detail = NULL, error_message = NULL,
             payload = CASE WHEN $7 THEN v.payload END
         WHERE v.status IN ('recorded', 'failed', 'dead')
             OR v.status = 'processing' AND (v.lease_until IS NULL OR v.lease_until <= $5)
         RETURNING event_id";
    // Looks at every event, for no index knows what a body says. $1: the provider codes, $2: identifiers as
    // a body has them, in lower case, $3: a legacy id where a body names its user, $4: the customers, $5: identifiers
    // without quotes, for messages; $6: the result of what is dismissed; $7: the codes as a body has them, as they are written.
    FORGET(TEXTARRAYOID, TEXTARRAYOID, TEXTOID, UUIDARRAYOID, TEXTARRAYOID, JSONBOID, TEXTARRAYOID) =
        "WITH theirs AS MATERIALIZED (
             SELECT v.provider, v.event_id FROM billing.webhook_events v
             WHERE v.customer_code = ANY ($1) OR v.object_id = ANY ($1)
                 OR v.payload IS NOT NULL AND (
                     v.payload ~ $3
                     OR EXISTS (SELECT FROM pg_catalog.unnest($2) n (needle)
                                WHERE pg_catalog.strpos(pg_catalog.lower(v.payload), n.needle) > 0)
                     OR EXISTS (SELECT FROM pg_catalog.unnest($7) n (needle) WHERE pg_catalog.strpos(v.payload, n.needle) > 0)
                     OR v.provider || ':' || v.event_id = ANY (ARRAY(
                         SELECT e.event FROM billing.ledger e WHERE e.customer_id = ANY ($4) AND e.event IS NOT NULL)))
                 OR v.result IS NOT NULL AND (
                     v.result::text ~ $3
                     OR EXISTS (SELECT FROM pg_catalog.unnest($2) n (needle)
                                WHERE pg_catalog.strpos(pg_catalog.lower(v.result::text), n.needle) > 0)
                     OR EXISTS (SELECT FROM pg_catalog.unnest($7) n (needle) WHERE pg_catalog.strpos(v.result::text, n.needle) > 0))
                 OR EXISTS (SELECT FROM pg_catalog.unnest($5) n (needle)
                            WHERE pg_catalog.strpos(pg_catalog.lower(v.error_message), n.needle) > 0)
                 OR EXISTS (SELECT FROM pg_catalog.unnest($1) n (needle) WHERE pg_catalog.strpos(v.error_message, n.needle) > 0)
             ORDER BY v.provider, v.event_id FOR UPDATE)
         UPDATE billing.webhook_events v
         SET payload = NULL, customer_code = NULL, error_message = NULL, next_attempt_at = NULL,
             object_id = CASE WHEN v.object_id = ANY ($1) THEN NULL ELSE v.object_id END,
             payload_summary = CASE WHEN v.payload_summary ->> 'object_id' = ANY ($1)
                 THEN v.payload_summary - 'object_id' ELSE v.payload_summary END,
             result = CASE WHEN v.status IN ('recorded', 'failed', 'dead') THEN $6
                 WHEN v.result::text ~ $3
                     OR EXISTS (SELECT FROM pg_catalog.unnest($2) n (needle)
                                WHERE pg_catalog.strpos(pg_catalog.lower(v.result::text), n.needle) > 0)
                     OR EXISTS (SELECT FROM pg_catalog.unnest($7) n (needle) WHERE pg_catalog.strpos(v.result::text, n.needle) > 0)
                 THEN NULL ELSE v.result END,
             error_detail = CASE WHEN v.status IN ('recorded', 'failed', 'dead') THEN NULL ELSE v.error_detail END,
             processed_at = CASE WHEN v.status IN ('recorded', 'failed', 'dead')
                 THEN pg_catalog.clock_timestamp() ELSE v.processed_at END,
             status = CASE WHEN v.status IN ('recorded', 'failed', 'dead') THEN 'completed' ELSE v.status END
         FROM theirs t WHERE v.provider = t.provider AND v.event_id = t.event_id";
    PURGE(INTERVALOID, INT8OID) =
        "UPDATE billing.webhook_events e SET payload = NULL, result = NULL
         FROM (SELECT v.provider, v.event_id FROM billing.webhook_events v
               WHERE v.status = 'completed' AND v.processed_at < pg_catalog.clock_timestamp() - $1 AND (v.payload IS NOT NULL OR v.result IS NOT NULL)
               LIMIT $2 FOR UPDATE SKIP LOCKED) old
         WHERE e.provider = old.provider AND e.event_id = old.event_id
         RETURNING e.event_id";
    DUE(TIMESTAMPTZOID, INT8OID) =
        "SELECT provider, event_id FROM billing.webhook_events
         WHERE next_attempt_at <= $1 AND next_attempt_at IS NOT NULL AND payload IS NOT NULL
             AND status IN ('recorded', 'failed', 'processing')
         ORDER BY next_attempt_at LIMIT $2 FOR UPDATE SKIP LOCKED";
    PAYLOAD(TEXTOID, TEXTOID) =
        "SELECT payload FROM billing.webhook_events WHERE provider = $1 AND event_id = $2";
    WAITING(TEXTOID) =
        "SELECT provider, event_id FROM billing.webhook_events
         WHERE customer_code = $1 AND status = 'failed' AND error_detail = 'unknown_user' AND payload IS NOT NULL
         ORDER BY received_at, event_id FOR UPDATE SKIP LOCKED";
    HAS_LIVE() = "SELECT event_id FROM billing.webhook_events WHERE livemode LIMIT 1";
    REQUEST_HEADERS() = "SELECT pg_catalog.current_setting('request.headers', true)";
    RESPONSE_STATUS(TEXTOID) = "SELECT pg_catalog.set_config('response.status', $1, true)";
    ACCOUNT(TEXTOID) = "SELECT account_id FROM billing.allowed_accounts WHERE account_id = $1";
    ALLOW_ACCOUNT(TEXTOID) =
        "INSERT INTO billing.allowed_accounts (account_id) VALUES ($1) ON CONFLICT DO NOTHING";
    FORBID_ACCOUNT(TEXTOID) = "DELETE FROM billing.allowed_accounts WHERE account_id = $1";
}

/// An event by its identity.
#[derive(Clone, Copy, Debug)]
pub struct EventKey<'a> {
    pub provider: &'a str,
    pub event_id: &'a str,
}

impl<'a> EventKey<'a> {
    fn arguments(&self) -> [DatumWithOid<'a>; 2] {
        [self.provider.into(), self.event_id.into()]
    }
}

/// What a new row says, beside its identity.
pub struct NewEvent<'a> {
    pub summary: &'a Summary,
    /// The event itself; none where an application claims it.
    pub event: Option<&'a Event<'a>>,
    pub status: Status,
    /// Of a claim that outlives its transaction.
    pub lease_until: Option<Time>,
    pub payload: Option<&'a str>,
    pub result: Option<&'a str>,
    /// Let in without a signature.
    pub unsigned: bool,
    /// Of the attempt that it is in, or was completed or failed by.
    pub token: Option<PgUuid>,
    /// What its first attempt ended in.
    pub failure: Option<&'a Failure<'a>>,
}

impl<'a> NewEvent<'a> {
    /// A row that says nothing else.
    pub const fn of(summary: &'a Summary, status: Status) -> NewEvent<'a> {
        NewEvent {
            summary,
            event: None,
            status,
            lease_until: None,
            payload: None,
            result: None,
            unsigned: false,
            token: None,
            failure: None,
        }
    }
}

/// Inserts the event, received then; whether it was not there.
pub fn insert(client: &Client, key: EventKey, new: &NewEvent, received_at: Time) -> Result<bool> {
    let event = new.event;
    let failure = new.failure;
    let [provider, event_id] = key.arguments();
    let next_attempt_at = match new.status {
        Status::Recorded => Some(received_at),
        Status::Failed => failure.and_then(|failure| failure.next_attempt_at),
        Status::Processing | Status::Completed | Status::Dead => None,
    };
    let arguments = [
        provider,
        event_id,
        new.summary.event_type.as_str().into(),
        new.status.as_str().into(),
        i32::from(new.status != Status::Recorded).into(),
        received_at.timestamp().into(),
        new.lease_until.and_then(Time::timestamp).into(),
        (new.status == Status::Completed).then(pg::now).and_then(Time::timestamp).into(),
        next_attempt_at.and_then(Time::timestamp).into(),
        event.and_then(|event| event.created).and_then(Time::of_unix).and_then(Time::timestamp).into(),
        new.token.into(),
        event.and_then(|event| event.livemode).into(),
        event.and_then(|event| event.account_id.as_deref()).into(),
        event.and_then(|event| event.api_version.as_deref()).into(),
        new.summary.object_id.as_deref().into(),
        new.summary.object_type.as_deref().into(),
        failure.and_then(|failure| failure.customer_code).into(),
        failure.and_then(|failure| failure.detail).map(Detail::as_str).into(),
        failure.map(|failure| failure.message).into(),
        pg::jsonb(&new.summary.to_json()).into(),
        failure.map_or(new.payload, |failure| failure.payload).into(),
        new.result.and_then(pg::jsonb).into(),
        new.unsigned.into(),
    ];
    Ok(INSERT.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Whether the event is there, once nobody is inserting or changing it.
pub fn is_there(client: &Client, key: EventKey) -> Result<bool> {
    let is_there = match READ.with(|s| s.is_there(&key.arguments())) {
        Some(is_there) => is_there,
        None => read(client, key)?.is_some(),
    };
    // An older snapshot may show it as it was, or not at all.
    let look = |client: &Client| {
        let row = read(client, key)?;
        Ok(row.map(|row| (row.status, row.attempts, row.claim_token, row.lease_until)))
    };
    if is_there && pg::keeps_one_snapshot() && pg::read_latest(look)? != look(client)? {
        return Err(Error::ConcurrentUpdate);
    }
    Ok(is_there)
}

/// What a row says of its event's life.
#[derive(Debug)]
pub struct EventRow {
    pub event_type: String,
    pub status: Status,
    pub attempts: i32,
    pub lease_until: Option<Time>,
    pub claim_token: Option<PgUuid>,
    pub result: Option<String>,
    pub payload_kept: bool,
}

impl EventRow {
    /// What the row says to somebody who wants the event.
    pub fn standing(&self, now: Time, max_attempts: i32) -> Standing {
        let lease_over = self.lease_until.is_none_or(|until| until <= now);
        standing(self.status, lease_over, self.attempts, max_attempts)
    }
}

fn event_row(row: &Columns) -> Result<EventRow> {
    Ok(EventRow {
        event_type: row.get(1)?,
        status: Status::parse(&row.get::<String>(2)?).ok_or(Error::BrokenInvariant)?,
        attempts: row.get(3)?,
        lease_until: row.maybe::<TimestampWithTimeZone>(4)?.map(Time::of),
        claim_token: row.maybe(5)?,
        result: row.maybe::<JsonText>(6)?.map(|result| result.0),
        payload_kept: row.has(7)?,
    })
}

/// The event's row as committed now.
pub fn read(client: &Client, key: EventKey) -> Result<Option<EventRow>> {
    READ.with(|s| s.run(client, &key.arguments()))?.first(event_row)
}

/// The event's row, locked.
pub fn lock(client: &Client, key: EventKey) -> Result<Option<EventRow>> {
    LOCK.with(|s| s.run(client, &key.arguments()))?.first(event_row)
}

/// A claim that was got.
#[derive(Debug)]
pub struct Claim {
    pub event_type: String,
    pub attempts: i32,
    pub token: PgUuid,
}

/// Takes an event that is free; none if it is not, or no longer.
pub fn take(
    client: &Client,
    key: EventKey,
    now: Time,
    lease_until: Option<Time>,
    max_attempts: i32,
    unsigned: bool,
) -> Result<Option<Claim>> {
    let [provider, event_id] = key.arguments();
    let arguments = [
        provider,
        event_id,
        now.timestamp().into(),
        lease_until.and_then(Time::timestamp).into(),
        max_attempts.into(),
        unsigned.into(),
    ];
    TAKE.with(|s| s.run(client, &arguments))?
        .first(|row| Ok(Claim { event_type: row.get(1)?, attempts: row.get(2)?, token: row.get(3)? }))
}

/// Marks an event dead whose lease ran out on its last attempt.
pub fn bury(client: &Client, key: EventKey, now: Time, max_attempts: i32) -> Result<()> {
    let [provider, event_id] = key.arguments();
    let why = Detail::LeaseRanOut;
    let arguments = [
        provider,
        event_id,
        now.timestamp().into(),
        max_attempts.into(),
        why.as_str().into(),
        why.meaning().into(),
    ];
    BURY.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Completes a claimed event; whether the token held it.
pub fn complete(
    client: &Client,
    key: EventKey,
    token: PgUuid,
    result: DatumWithOid,
    keep_payload: bool,
) -> Result<bool> {
    let [provider, event_id] = key.arguments();
    let arguments =
        [provider, event_id, token.into(), pg::now().timestamp().into(), result, keep_payload.into()];
    Ok(COMPLETE.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// The result of a completed event, for [`complete`].
pub fn result_of(argument: Option<&JsonbArgument>) -> DatumWithOid<'_> {
    argument.map_or(DatumWithOid::null::<JsonB>(), JsonbArgument::datum)
}

/// Why an event failed, and what becomes of it.
#[derive(Debug)]
pub struct Failure<'a> {
    pub status: Status,
    pub detail: Option<Detail>,
    pub message: &'a str,
    pub next_attempt_at: Option<Time>,
    /// The provider code that it waits for.
    pub customer_code: Option<&'a str>,
    /// The body, if it is to be kept from now on.
    pub payload: Option<&'a str>,
}

/// Fails a claimed event: none if the token does not hold it, else whether its body is kept.
pub fn fail(client: &Client, key: EventKey, token: PgUuid, failure: &Failure) -> Result<Option<bool>> {
    let [provider, event_id] = key.arguments();
    let arguments = [
        provider,
        event_id,
        token.into(),
        failure.status.as_str().into(),
        failure.detail.map(Detail::as_str).into(),
        failure.message.into(),
        failure.next_attempt_at.and_then(Time::timestamp).into(),
        failure.customer_code.into(),
        failure.payload.into(),
    ];
    FAIL.with(|s| s.run(client, &arguments))?.first(|row| row.get(1))
}

/// Makes a dead event due at once, with its attempts at zero: its type, if it was dead.
pub fn revive(client: &Client, key: EventKey, now: Time) -> Result<Option<String>> {
    let [provider, event_id] = key.arguments();
    REVIVE.with(|s| s.run(client, &[provider, event_id, now.timestamp().into()]))?.first(|row| row.get(1))
}

/// Keeps the body of an event that is not finished, to be processed later.
pub fn record(client: &Client, key: EventKey, payload: &str, now: Time, unsigned: bool) -> Result<()> {
    let [provider, event_id] = key.arguments();
    let arguments = [provider, event_id, payload.into(), now.timestamp().into(), unsigned.into()];
    RECORD.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Completes a failed or dead event without effect: its type and attempts, if it was one.
pub fn dismiss(
    client: &Client,
    key: EventKey,
    result: &str,
    keep_payload: bool,
) -> Result<Option<(String, i32)>> {
    let [provider, event_id] = key.arguments();
    let result = pg::jsonb(result).into();
    let arguments = [provider, event_id, pg::now().timestamp().into(), result, keep_payload.into()];
    DISMISS.with(|s| s.run(client, &arguments))?.first(|row| Ok((row.get(1)?, row.get(2)?)))
}

/// Takes a person out of all events: bodies, codes, results. What is not finished is completed with that
/// result. `customers`: whose entries tell of their events.
pub fn forget(client: &Client, traces: Traces, customers: &[Uuid], result: &str) -> Result<()> {
    let customers: Vec<PgUuid> = customers.iter().copied().map(PgUuid::from_bytes).collect();
    let arguments = [
        traces.codes.into(),
        traces.names_in_bodies.into(),
        traces.legacy_id.into(),
        customers.into(),
        traces.names.into(),
        pg::jsonb(result).into(),
        traces.codes_in_bodies.into(),
    ];
    FORGET.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Drops body and result of so many events that were completed longer ago; how many.
pub fn purge(client: &Client, older_than: Interval, max_rows: i64) -> Result<usize> {
    Ok(PURGE.with(|s| s.run(client, &[older_than.into(), max_rows.into()]))?.len())
}

/// Provider and id of events, to be processed.
pub type Identities = Vec<(String, String)>;

/// The events that are due and whose body is kept, longest due first, locked; those locked elsewhere are
/// left out.
pub fn due(client: &Client, now: Time, max_events: i64) -> Result<Identities> {
    DUE.with(|s| s.run(client, &[now.timestamp().into(), max_events.into()]))?
        .all(|row| Ok((row.get(1)?, row.get(2)?)))
}

/// The failed events that wait for the code and whose body is kept, locked; those locked elsewhere are
/// left out.
pub fn waiting(client: &Client, code: &str) -> Result<Identities> {
    WAITING.with(|s| s.run(client, &[code.into()]))?.all(|row| Ok((row.get(1)?, row.get(2)?)))
}

/// The kept body.
pub fn payload(client: &Client, key: EventKey) -> Result<Option<String>> {
    Ok(PAYLOAD.with(|s| s.run(client, &key.arguments()))?.first(|row| row.maybe(1))?.flatten())
}

/// Whether an event of real money was ever stored.
pub fn has_live(client: &Client) -> Result<bool> {
    Ok(HAS_LIVE.with(|s| s.run(client, &[]))?.len() > 0)
}

/// Whether the connected account was allowed.
pub fn account_is_allowed(client: &Client, account_id: &str) -> Result<bool> {
    Ok(ACCOUNT.with(|s| s.run(client, &[account_id.into()]))?.len() == 1)
}

/// Allows a connected account, or no longer.
pub fn allow_account(client: &Client, account_id: &str, allowed: bool) -> Result<()> {
    let statement = if allowed { &ALLOW_ACCOUNT } else { &FORBID_ACCOUNT };
    statement.with(|s| s.run(client, &[account_id.into()]))?;
    Ok(())
}

/// The headers of the HTTP request as JSON, where PostgREST set them.
pub fn request_headers(client: &Client) -> Result<Option<String>> {
    Ok(REQUEST_HEADERS.with(|s| s.run(client, &[]))?.first(|row| row.maybe(1))?.flatten())
}

/// Sets the status of the HTTP answer for PostgREST to read.
pub fn set_response_status(client: &Client, status: &str) -> Result<()> {
    RESPONSE_STATUS.with(|s| s.run(client, &[status.into()]))?;
    Ok(())
}

/// How Stripe's events stand, of those that are there: whether a live lease holds one, whether it is completed.
pub fn states(client: &Client, event_ids: Vec<String>, now: Time) -> Result<HashMap<String, (bool, bool)>> {
    let arguments = [event_ids.into(), now.timestamp().into()];
    let rows = STATES.with(|s| s.run(client, &arguments))?;
    let rows = rows.all(|row| Ok((row.get(1)?, (row.maybe(2)?.unwrap_or(false), row.get(3)?))))?;
    Ok(rows.into_iter().collect())
}

/// Completes Stripe's events as of those times, whether they are here or not, unless they are completed or a
/// live lease holds them; which.
pub fn adopt(
    client: &Client,
    events: &[(Summary, Time)],
    now: Time,
    result: &str,
    keep_payload: bool,
) -> Result<HashSet<String>> {
    let ids: Vec<String> = events.iter().map(|(summary, _)| summary.id.clone()).collect();
    let types: Vec<String> = events.iter().map(|(summary, _)| summary.event_type.clone()).collect();
    let summaries: Vec<String> = events.iter().map(|(summary, _)| summary.to_json()).collect();
    let times: Vec<_> = events.iter().map(|(_, at)| at.timestamp()).collect();
    let arguments = [
        ids.into(),
        types.into(),
        summaries.into(),
        times.into(),
        now.timestamp().into(),
        pg::jsonb(result).into(),
        keep_payload.into(),
    ];
    Ok(ADOPT.with(|s| s.run(client, &arguments))?.all(|row| row.get(1))?.into_iter().collect())
}
