//! SQL statements of monitoring: what they read is bounded, or a table that must be read whole.

use billing_core::adoption::SOURCES_CUSTOMER;
use billing_core::monitoring::{MAX_COUNTED, Secret};
use billing_core::openmetrics::Sample;
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::pg::{self, Client, Columns, Time, statements};

/// The types of events that there are, found by one probe of an index each, a thousand at most.
macro_rules! sample_of_types {
    () => {
        "WITH RECURSIVE types (event_type, place) AS (
             (SELECT v.event_type, 1 FROM billing.webhook_events v ORDER BY v.event_type LIMIT 1)
             UNION ALL
             SELECT (SELECT v.event_type FROM billing.webhook_events v WHERE v.event_type > t.event_type
                     ORDER BY v.event_type LIMIT 1), t.place + 1
             FROM types t WHERE t.event_type IS NOT NULL AND t.place < 1000)"
    };
}

statements! {
    OLDEST_DUE(TIMESTAMPTZOID) =
        "SELECT next_attempt_at FROM billing.webhook_events
         WHERE next_attempt_at <= $1 AND next_attempt_at IS NOT NULL AND payload IS NOT NULL
             AND status IN ('recorded', 'failed', 'processing')
         ORDER BY next_attempt_at LIMIT 1";
    LEASES_RAN_OUT(TIMESTAMPTZOID, INT8OID) =
        "SELECT pg_catalog.count(*), pg_catalog.min(l.lease_until)
         FROM (SELECT v.lease_until FROM billing.webhook_events v
               WHERE v.lease_until <= $1 AND v.lease_until IS NOT NULL AND v.status = 'processing'
               ORDER BY v.lease_until LIMIT $2) l";
    FAILING(INT4OID, INT8OID) =
        "SELECT 1 FROM (SELECT v.status, v.attempts FROM billing.webhook_events v
                        WHERE v.error_message IS NOT NULL AND v.next_attempt_at IS NOT NULL
                        ORDER BY v.next_attempt_at LIMIT $2) f
         WHERE f.status = 'failed' AND f.attempts >= $1 LIMIT 1";
    DEAD() =
        "SELECT 1 FROM billing.webhook_events
         WHERE error_message IS NOT NULL AND next_attempt_at IS NULL AND status = 'dead' LIMIT 1";
    // The newest and the oldest of each type: a database goes from test mode to live mode, or back, at some time, and
    // events of both modes that lie between are not what its ends are like.
    LIVE() = concat!(sample_of_types!(), "
         SELECT 1 FROM types t, LATERAL (
             (SELECT v.livemode FROM billing.webhook_events v WHERE v.event_type = t.event_type
              ORDER BY v.received_at DESC LIMIT 100)
             UNION ALL
             (SELECT v.livemode FROM billing.webhook_events v WHERE v.event_type = t.event_type
              ORDER BY v.received_at LIMIT 100)) s
         WHERE s.livemode LIMIT 1");
    TEST() = "SELECT 1 FROM billing.webhook_events WHERE NOT livemode LIMIT 1";
    OLD_PAYLOADS(INT4OID) = concat!(sample_of_types!(), "
         SELECT 1 FROM types t, LATERAL (
             SELECT v.status, v.processed_at, v.payload IS NOT NULL AS kept
             FROM billing.webhook_events v WHERE v.event_type = t.event_type ORDER BY v.received_at LIMIT 100) s
         WHERE s.kept AND s.status = 'completed'
             AND s.processed_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(days => $1) LIMIT 1");
    SECRETS() =
        "SELECT secret_id, provider, valid_until, true FROM billing.webhook_secrets ORDER BY secret_id";
    SECRETS_WITH_VAULT() =
        "SELECT w.secret_id, w.provider, w.valid_until,
                w.vault_name IS NULL OR EXISTS (SELECT FROM billing.vault_secrets v WHERE v.name = w.vault_name)
         FROM billing.webhook_secrets w ORDER BY w.secret_id";
    // Endpoints that somebody may call beside those whom the install names, and providers whose deliveries are here: a
    // claim knows no mode.
    IN_USE() =
        "SELECT s.provider FROM (VALUES ('stripe', 'stripe_webhook'), ('paystack', 'paystack_webhook')) s (provider, name)
         WHERE EXISTS (
             SELECT FROM (SELECT v.livemode, v.unsigned FROM billing.webhook_events v WHERE v.provider = s.provider
                          ORDER BY v.event_id DESC LIMIT 100) e
             WHERE e.livemode IS NOT NULL AND NOT e.unsigned)
         OR EXISTS (
             SELECT FROM pg_catalog.pg_extension x
             JOIN pg_catalog.pg_proc p ON p.pronamespace = x.extnamespace AND p.proname = s.name,
                 LATERAL pg_catalog.aclexplode(p.proacl) a
             WHERE x.extname = 'billing_rpc' AND a.grantee <> p.proowner AND a.grantee NOT IN (
                 SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname IN ('billing_service', 'billing_webhook')))";
    ENDPOINTS_GIVEN() =
        "SELECT 1 FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
         WHERE r.rolname = 'billing_webhook' LIMIT 1";
    // What operators named is seen through views that belong to whoever named it: is that role still allowed to read it?
    UNREADABLE() =
        "SELECT 1 FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid
         JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> c.oid AND d.refobjsubid > 0
         WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'billing')
             AND c.relname IN ('application_users', 'refetch_source', 'vault_secrets')
             AND NOT pg_catalog.has_column_privilege(c.relowner, d.refobjid, d.refobjsubid::smallint, 'SELECT')
         UNION ALL
         SELECT 1 FROM pg_catalog.pg_class c
         WHERE c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'billing')
             AND c.relname IN ('application_users', 'refetch_source', 'vault_secrets')
             AND NOT pg_catalog.has_table_privilege('billing_owner', c.oid, 'SELECT')
         LIMIT 1";
    AUDIT() = "SELECT 1 FROM billing.access_audit() LIMIT 1";
    SCHEMA_VERSION() = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'billing_rpc'";
    ROWS_INSERTED(TEXTOID) = "SELECT pg_catalog.pg_stat_get_tuples_inserted($1::pg_catalog.regclass)";
    // Of the two providers that deliver here, each status is told, be it 0: a series that comes and goes is hard to ask for.
    UNFINISHED(INT8OID) =
        "SELECT k.provider, k.status, pg_catalog.sum(k.events)::bigint
         FROM (SELECT u.provider, u.status, 1 AS events
               FROM (SELECT v.provider, v.status FROM billing.unfinished_events v LIMIT $1) u
               UNION ALL
               SELECT p.provider, s.status, 0
               FROM (VALUES ('stripe'), ('paystack')) p (provider),
                    (VALUES ('recorded'), ('processing'), ('failed'), ('dead')) s (status)) k
         GROUP BY k.provider, k.status ORDER BY k.provider, k.status";
    UNSIGNED(INT8OID) =
        "SELECT pg_catalog.count(*) FROM (SELECT FROM billing.webhook_events v WHERE v.unsigned LIMIT $1) u";
    REFETCH_QUEUE(INT8OID) =
        "SELECT pg_catalog.count(*), pg_catalog.min(r.requested_at)
         FROM (SELECT q.requested_at FROM billing.refetch_queue q ORDER BY q.requested_at LIMIT $1) r";
    OPEN_HOLDS(TIMESTAMPTZOID, INT8OID) =
        "SELECT o.credit_type, pg_catalog.count(*)
         FROM (SELECT h.credit_type FROM billing.holds h WHERE h.status = 'open' AND h.expires_at > $1
               ORDER BY h.expires_at LIMIT $2) o
         GROUP BY o.credit_type ORDER BY o.credit_type";
    CREDIT_TOTALS() =
        "SELECT t.credit_type, t.customers, t.balance::text, t.held::text FROM billing.credit_totals t";
    // $1: who holds adopted sources, and is nobody.
    CUSTOMERS(UUIDOID) = "SELECT pg_catalog.count(*) FROM billing.customers WHERE customer_id <> $1";
    SUBSCRIPTIONS() =
        "SELECT provider, status, pg_catalog.count(*) FROM billing.subscriptions
         GROUP BY provider, status ORDER BY provider, status";
}

/// Whole seconds from then to now, not below zero.
fn seconds_since(then: TimestampWithTimeZone, now: Time) -> i64 {
    now.unix().saturating_sub(Time::of(then).unix()).max(0)
}

/// For how long the event that waits longest has been due; none if none is due.
pub fn oldest_due_seconds(client: &Client, now: Time) -> Result<Option<i64>> {
    let rows = OLDEST_DUE.with(|s| s.run(client, &[now.timestamp().into()]))?;
    rows.first(|row| Ok(seconds_since(row.get(1)?, now)))
}

/// How many wait, up to the limit, and since when the first.
#[derive(Debug)]
pub struct Waiting {
    pub count: i64,
    pub oldest_seconds: Option<i64>,
}

fn waiting(row: &Columns, now: Time) -> Result<Waiting> {
    let oldest = row.maybe::<TimestampWithTimeZone>(2)?;
    Ok(Waiting { count: row.get(1)?, oldest_seconds: oldest.map(|then| seconds_since(then, now)) })
}

/// Claims whose lease ran out.
pub fn leases_ran_out(client: &Client, now: Time) -> Result<Waiting> {
    let rows = LEASES_RAN_OUT.with(|s| s.run(client, &[now.timestamp().into(), MAX_COUNTED.into()]))?;
    rows.first(|row| waiting(row, now))?.ok_or(Error::BrokenInvariant)
}

/// Requests for a subscription's truth.
pub fn refetch_queue(client: &Client, now: Time) -> Result<Waiting> {
    let rows = REFETCH_QUEUE.with(|s| s.run(client, &[MAX_COUNTED.into()]))?;
    rows.first(|row| waiting(row, now))?.ok_or(Error::BrokenInvariant)
}

/// Whether a failed event has been tried so many times.
pub fn has_failing(client: &Client, attempts: i32) -> Result<bool> {
    Ok(FAILING.with(|s| s.run(client, &[attempts.into(), MAX_COUNTED.into()]))?.len() > 0)
}

/// Whether there is a dead event.
pub fn has_dead(client: &Client) -> Result<bool> {
    Ok(DEAD.with(|s| s.run(client, &[]))?.len() > 0)
}

/// Whether an event of live mode is among the newest or the oldest of any type.
pub fn has_live(client: &Client) -> Result<bool> {
    Ok(LIVE.with(|s| s.run(client, &[]))?.len() > 0)
}

/// Whether an event of test mode was ever stored.
pub fn has_test(client: &Client) -> Result<bool> {
    Ok(TEST.with(|s| s.run(client, &[]))?.len() > 0)
}

/// Whether a body is among the oldest of any type that was completed more days ago.
pub fn has_old_payloads(client: &Client, days: i32) -> Result<bool> {
    Ok(OLD_PAYLOADS.with(|s| s.run(client, &[days.into()]))?.len() > 0)
}

/// Every secret, without what is secret of it.
pub fn secrets(client: &Client, now: Time) -> Result<Vec<Secret>> {
    let statement = if pg::has_relation(c"vault_secrets") { &SECRETS_WITH_VAULT } else { &SECRETS };
    let remaining = |until: TimestampWithTimeZone| match Time::of(until).unix() {
        i64::MAX => None,
        until => Some(until.saturating_sub(now.unix())),
    };
    statement.with(|s| s.run(client, &[]))?.all(|row| {
        Ok(Secret {
            secret_id: row.get(1)?,
            provider: row.get(2)?,
            remaining_seconds: row.maybe(3)?.and_then(remaining),
            present: row.get(4)?,
        })
    })
}

/// Providers whose endpoint is opened to somebody, or whose deliveries are stored.
pub fn providers_in_use(client: &Client) -> Result<Vec<String>> {
    IN_USE.with(|s| s.run(client, &[]))?.all(|row| row.get(1))
}

/// Whether somebody is a member of the role that has both endpoints.
pub fn endpoints_given(client: &Client) -> Result<bool> {
    Ok(ENDPOINTS_GIVEN.with(|s| s.run(client, &[]))?.len() > 0)
}

/// Whether the relations that operators named can be read by whoever named them.
pub fn sources_readable(client: &Client) -> Result<bool> {
    Ok(UNREADABLE.with(|s| s.run(client, &[]))?.len() == 0)
}

/// Whether the audit of rights finds nothing.
pub fn access_as_intended(client: &Client) -> Result<bool> {
    Ok(AUDIT.with(|s| s.run(client, &[]))?.len() == 0)
}

/// The version that the database's schema is at.
pub fn schema_version(client: &Client) -> Result<String> {
    let rows = SCHEMA_VERSION.with(|s| s.run(client, &[]))?;
    rows.first(|row| row.get(1))?.ok_or(Error::BrokenInvariant)
}

/// Rows that the server's statistics saw going into the table.
pub fn rows_inserted(client: &Client, table: &str) -> Result<i64> {
    let rows = ROWS_INSERTED.with(|s| s.run(client, &[table.into()]))?;
    Ok(rows.first(|row| row.maybe(1))?.flatten().unwrap_or(0))
}

/// A count, told by the two labels of its columns.
fn by_provider_and_status(row: &Columns) -> Result<Sample> {
    let labels = vec![("provider", row.get(1)?), ("status", row.get(2)?)];
    Ok(Sample { labels, number: row.get::<i64>(3)?.into() })
}

/// Events that are not completed, by provider and status.
pub fn unfinished_events(client: &Client) -> Result<Vec<Sample>> {
    UNFINISHED.with(|s| s.run(client, &[MAX_COUNTED.into()]))?.all(by_provider_and_status)
}

/// Subscriptions, by provider and status.
pub fn subscriptions(client: &Client) -> Result<Vec<Sample>> {
    SUBSCRIPTIONS.with(|s| s.run(client, &[]))?.all(by_provider_and_status)
}

/// Events that were let in without a signature.
pub fn unsigned_events(client: &Client) -> Result<i64> {
    let rows = UNSIGNED.with(|s| s.run(client, &[MAX_COUNTED.into()]))?;
    rows.first(|row| row.get(1))?.ok_or(Error::BrokenInvariant)
}

/// Holds that count, by credit type.
pub fn open_holds(client: &Client, now: Time) -> Result<Vec<Sample>> {
    OPEN_HOLDS.with(|s| s.run(client, &[now.timestamp().into(), MAX_COUNTED.into()]))?.all(|row| {
        Ok(Sample { labels: vec![("credit_type", row.get(1)?)], number: row.get::<i64>(2)?.into() })
    })
}

/// Credits of all customers of one type.
#[derive(Debug)]
pub struct CreditTotal {
    pub credit_type: String,
    pub customers: i64,
    pub balance: i128,
    pub held: i128,
}

/// Credits of all customers, by credit type.
pub fn credit_totals(client: &Client) -> Result<Vec<CreditTotal>> {
    let whole = |text: String| text.parse().map_err(|_| Error::BrokenInvariant);
    CREDIT_TOTALS.with(|s| s.run(client, &[]))?.all(|row| {
        Ok(CreditTotal {
            credit_type: row.get(1)?,
            customers: row.get(2)?,
            balance: whole(row.get(3)?)?,
            held: whole(row.get(4)?)?,
        })
    })
}

/// How many customers there are.
pub fn customers(client: &Client) -> Result<i64> {
    let nobody = PgUuid::from_bytes(SOURCES_CUSTOMER);
    CUSTOMERS
        .with(|s| s.run(client, &[nobody.into()]))?
        .first(|row| row.get(1))?
        .ok_or(Error::BrokenInvariant)
}
