//! SQL statements on subscriptions and the refetch queue.

use billing_core::customers::Uuid;
use billing_core::subscriptions::{Facts, Micros, State, Status};
use pgrx::Uuid as PgUuid;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};

use crate::error::{Error, Result};
use crate::pg::{Client, Columns, Rows, Time, statements};

/// The columns of a stored subscription, in the order that [`stored`] reads them.
macro_rules! columns {
    () => {
        "customer_id, status, object_status, object_at, status_at, is_truth, provider_customer, price_ids, quantity,
         current_period_start, current_period_end, cancel_at, trial_end, cancel_at_period_end, previous_status"
    };
}

statements! {
    READ(TEXTOID, TEXTOID) = concat!("SELECT ", columns!(), " FROM billing.subscriptions
         WHERE provider = $1 AND subscription_id = $2");
    LOCK(TEXTOID, TEXTOID) = concat!("SELECT ", columns!(), " FROM billing.subscriptions
         WHERE provider = $1 AND subscription_id = $2 FOR NO KEY UPDATE");
    INSERT(TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, TEXTARRAYOID,
           INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, BOOLOID) =
        "INSERT INTO billing.subscriptions
             (provider, subscription_id, status, object_status, object_at, status_at, is_truth, provider_customer,
              price_ids, quantity, current_period_start, current_period_end, cancel_at, trial_end,
              cancel_at_period_end, previous_status, livemode)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (provider, subscription_id) DO NOTHING RETURNING subscription_id";
    UPDATE(TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, TEXTARRAYOID,
           INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, BOOLOID) =
        "UPDATE billing.subscriptions
         SET status = $3, object_status = $4, object_at = $5, status_at = $6, is_truth = $7,
             customer_id = CASE WHEN provider_customer = $8 THEN customer_id END, provider_customer = $8,
             price_ids = $9, quantity = $10, current_period_start = $11, current_period_end = $12, cancel_at = $13,
             trial_end = $14, cancel_at_period_end = $15, previous_status = $16, livemode = coalesce($17, livemode)
         WHERE provider = $1 AND subscription_id = $2 RETURNING subscription_id";
    SET_CUSTOMER(TEXTOID, TEXTOID, UUIDOID) =
        "UPDATE billing.subscriptions SET customer_id = $3
         WHERE provider = $1 AND subscription_id = $2 RETURNING subscription_id";
    MEET(TEXTOID) =
        "INSERT INTO billing.code_meetings (code, met_at) VALUES ($1, pg_catalog.clock_timestamp())
         ON CONFLICT (code) DO UPDATE SET met_at = excluded.met_at RETURNING code";
    ATTACH(TEXTOID, UUIDOID) =
        "WITH waiting AS MATERIALIZED (
             SELECT provider, subscription_id FROM billing.subscriptions
             WHERE provider_customer = $1 AND customer_id IS NULL FOR NO KEY UPDATE SKIP LOCKED)
         UPDATE billing.subscriptions s SET customer_id = $2 FROM waiting w
         WHERE s.provider = w.provider AND s.subscription_id = w.subscription_id";
    OWNED(UUIDOID) =
        "SELECT provider, subscription_id, provider_customer FROM billing.subscriptions
         WHERE customer_id = $1 ORDER BY provider, subscription_id";
    LOCK_OWNED(TEXTOID, TEXTOID) =
        "SELECT subscription_id FROM billing.subscriptions
         WHERE provider = $1 AND subscription_id = $2 FOR NO KEY UPDATE";
    HAND_OVER(TEXTOID, TEXTOID, UUIDOID) =
        "UPDATE billing.subscriptions SET customer_id = $3 WHERE provider = $1 AND subscription_id = $2";
    // What no code of a provider looks like.
    FORGET(UUIDOID, TEXTARRAYOID) =
        "UPDATE billing.subscriptions s SET customer_id = $1, provider_customer = 'forgotten'
         FROM (SELECT provider, subscription_id FROM billing.subscriptions WHERE customer_id = $1
               UNION ALL
               SELECT provider, subscription_id FROM billing.subscriptions
               WHERE provider_customer = ANY ($2) AND customer_id IS NULL) theirs
         WHERE s.provider = theirs.provider AND s.subscription_id = theirs.subscription_id";
    DEQUEUE_OF(UUIDOID) =
        "DELETE FROM billing.refetch_queue q USING billing.subscriptions s
         WHERE s.customer_id = $1 AND q.object_type = 'subscription' AND q.object_id = s.subscription_id";
    FORGET_MEETINGS(TEXTARRAYOID) = "DELETE FROM billing.code_meetings WHERE code = ANY ($1)";
    OF_CUSTOMER(UUIDOID) =
        "SELECT provider, subscription_id, price_ids, status, quantity, current_period_end, cancel_at_period_end,
                trial_end, cancel_at
         FROM billing.subscriptions WHERE customer_id = $1 ORDER BY provider, subscription_id";
    PLANS(TEXTARRAYOID) =
        "SELECT DISTINCT c.plan FROM pg_catalog.unnest($1) AS p (price)
         JOIN billing.plan_prices c ON c.price_id = p.price ORDER BY c.plan";
    ENQUEUE(TEXTOID, TEXTOID) =
        "INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at)
         VALUES ('subscription', $1, $2, pg_catalog.clock_timestamp())
         ON CONFLICT (object_type, object_id)
         DO UPDATE SET requested_reason = excluded.requested_reason, requested_at = excluded.requested_at";
    REQUESTED_AT(TEXTOID) =
        "SELECT requested_at FROM billing.refetch_queue WHERE object_type = 'subscription' AND object_id = $1";
    DEQUEUE(TEXTOID, TIMESTAMPTZOID) =
        "DELETE FROM billing.refetch_queue
         WHERE object_type = 'subscription' AND object_id = $1 AND requested_at <= $2";
    RENEW(TEXTOID) =
        "UPDATE billing.refetch_queue SET requested_at = pg_catalog.clock_timestamp()
         WHERE object_type = 'subscription' AND object_id = $1";
    PENDING(INT8OID) =
        "SELECT object_type, object_id, requested_reason, requested_at FROM billing.refetch_queue
         ORDER BY requested_at LIMIT $1";
    SOURCE(TEXTOID) = "SELECT r.attrs::text FROM billing.refetch_source r WHERE r.id = $1";
}

/// A subscription by its identity.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub provider: &'static str,
    pub subscription_id: &'a str,
}

impl<'a> Key<'a> {
    fn arguments(&self) -> [DatumWithOid<'a>; 2] {
        [self.provider.into(), self.subscription_id.into()]
    }
}

/// A row of `billing.subscriptions`.
#[derive(Clone, Debug)]
pub struct Stored {
    pub customer_id: Option<Uuid>,
    pub state: State,
    /// The status before the last object was applied.
    pub previous_status: Option<Status>,
}

/// A subscription as it is shown to people.
#[derive(Clone, Debug)]
pub struct Shown {
    pub provider: String,
    pub subscription_id: String,
    /// What is paid for: the plan is found by these, where it is not known by its name.
    pub price_ids: Vec<String>,
    pub plan: Option<String>,
    pub status: Status,
    pub quantity: Option<i64>,
    pub current_period_end: Option<Micros>,
    pub cancel_at_period_end: bool,
    pub trial_end: Option<Micros>,
    pub cancel_at: Option<Micros>,
}

/// A row of `billing.refetch_queue`.
#[derive(Clone, Debug)]
pub struct Request {
    pub object_type: String,
    pub object_id: String,
    pub requested_reason: String,
    pub requested_at: TimestampWithTimeZone,
}

/// The subscription, without waiting for anybody who changes it.
pub fn read(client: &Client, key: Key) -> Result<Option<Stored>> {
    READ.with(|s| s.run(client, &key.arguments()))?.first(stored)
}

/// The subscription, locked.
pub fn lock(client: &Client, key: Key) -> Result<Option<Stored>> {
    LOCK.with(|s| s.run(client, &key.arguments()))?.first(stored)
}

fn stored(row: &Columns) -> Result<Stored> {
    Ok(Stored {
        customer_id: row.maybe::<PgUuid>(1)?.map(|id| *id.as_bytes()),
        state: State {
            status: status(row, 2)?,
            object_status: status(row, 3)?,
            object_at: time(row, 4)?,
            status_at: time(row, 5)?,
            is_truth: row.get(6)?,
            facts: Facts {
                provider_customer: row.get(7)?,
                price_ids: row.get(8)?,
                quantity: row.maybe(9)?,
                current_period_start: time(row, 10)?,
                current_period_end: time(row, 11)?,
                cancel_at: time(row, 12)?,
                trial_end: time(row, 13)?,
                cancel_at_period_end: row.get(14)?,
            },
        },
        previous_status: row.maybe::<String>(15)?.and_then(|text| Status::parse(&text)),
    })
}

fn status(row: &Columns, ordinal: usize) -> Result<Status> {
    Status::parse(&row.get::<String>(ordinal)?).ok_or(Error::BrokenInvariant)
}

fn time(row: &Columns, ordinal: usize) -> Result<Option<Micros>> {
    Ok(row.maybe::<TimestampWithTimeZone>(ordinal)?.map(|at| Time::of(at).micros()))
}

/// A time for a statement or an answer.
pub fn timestamp(at: Option<Micros>) -> Option<TimestampWithTimeZone> {
    at.map(Time::of_micros).and_then(Time::timestamp)
}

/// Stores a subscription that was not there; false if it is by now.
pub fn insert(client: &Client, key: Key, state: &State, livemode: Option<bool>) -> Result<bool> {
    let rows = INSERT.with(|s| s.run(client, &written(key, state, None, livemode)))?;
    Ok(rows.len() == 1)
}

/// Stores what became of a locked subscription.
pub fn update(
    client: &Client,
    key: Key,
    state: &State,
    previous: Option<Status>,
    livemode: Option<bool>,
) -> Result<()> {
    one(UPDATE.with(|s| s.run(client, &written(key, state, previous, livemode)))?)
}

fn written<'a>(
    key: Key<'a>,
    state: &'a State,
    previous: Option<Status>,
    livemode: Option<bool>,
) -> [DatumWithOid<'a>; 17] {
    let facts = &state.facts;
    [
        key.provider.into(),
        key.subscription_id.into(),
        state.status.as_str().into(),
        state.object_status.as_str().into(),
        timestamp(state.object_at).into(),
        timestamp(state.status_at).into(),
        state.is_truth.into(),
        facts.provider_customer.as_str().into(),
        facts.price_ids.clone().into(),
        facts.quantity.into(),
        timestamp(facts.current_period_start).into(),
        timestamp(facts.current_period_end).into(),
        timestamp(facts.cancel_at).into(),
        timestamp(facts.trial_end).into(),
        facts.cancel_at_period_end.into(),
        previous.map(Status::as_str).into(),
        livemode.into(),
    ]
}

/// Gives a locked subscription its customer, or none.
pub fn set_customer(client: &Client, key: Key, customer_id: Option<Uuid>) -> Result<()> {
    let [provider, subscription_id] = key.arguments();
    let arguments = [provider, subscription_id, customer_id.map(PgUuid::from_bytes).into()];
    one(SET_CUSTOMER.with(|s| s.run(client, &arguments))?)
}

/// Waits for whoever links the code, or stores a subscription that waits for it, at this moment; from
/// then on they wait for this transaction. At the higher isolation levels the later one ends in 40001.
pub fn meet(client: &Client, code: &str) -> Result<()> {
    one(MEET.with(|s| s.run(client, &[code.into()]))?)
}

/// Gives the subscriptions that wait for the code to their customer. Those locked elsewhere are left to
/// whoever holds them.
pub fn attach(client: &Client, code: &str, customer_id: Uuid) -> Result<()> {
    ATTACH.with(|s| s.run(client, &[code.into(), PgUuid::from_bytes(customer_id).into()]))?;
    Ok(())
}

/// A subscription of a customer's, as far as mending people needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub provider: String,
    pub subscription_id: String,
    pub provider_customer: String,
}

impl Owned {
    fn arguments(&self) -> [DatumWithOid<'_>; 2] {
        [self.provider.as_str().into(), self.subscription_id.as_str().into()]
    }
}

/// The subscriptions of a customer, in the order of locking.
pub fn owned(client: &Client, customer_id: Uuid) -> Result<Vec<Owned>> {
    OWNED.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?.all(|row| {
        Ok(Owned { provider: row.get(1)?, subscription_id: row.get(2)?, provider_customer: row.get(3)? })
    })
}

/// Locks those subscriptions.
pub fn lock_owned(client: &Client, owned: &[Owned]) -> Result<()> {
    for subscription in owned {
        one(LOCK_OWNED.with(|s| s.run(client, &subscription.arguments()))?)?;
    }
    Ok(())
}

/// Gives those locked subscriptions to another customer.
pub fn hand_over(client: &Client, owned: &[Owned], customer_id: Uuid) -> Result<()> {
    for subscription in owned {
        let [provider, subscription_id] = subscription.arguments();
        let arguments = [provider, subscription_id, PgUuid::from_bytes(customer_id).into()];
        HAND_OVER.with(|s| s.run(client, &arguments))?;
    }
    Ok(())
}

/// Takes the provider codes of a customer who is forgotten out of everything about subscriptions.
pub fn forget(client: &Client, customer_id: Uuid, codes: Vec<String>) -> Result<()> {
    let customer: DatumWithOid = PgUuid::from_bytes(customer_id).into();
    FORGET.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into(), codes.clone().into()]))?;
    DEQUEUE_OF.with(|s| s.run(client, &[customer]))?;
    FORGET_MEETINGS.with(|s| s.run(client, &[codes.into()]))?;
    Ok(())
}

/// Every subscription of a customer; few.
pub fn of_customer(client: &Client, customer_id: Uuid) -> Result<Vec<Shown>> {
    let rows = OF_CUSTOMER.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?;
    rows.all(|row| {
        Ok(Shown {
            provider: row.get(1)?,
            subscription_id: row.get(2)?,
            price_ids: row.get(3)?,
            plan: None,
            status: status(row, 4)?,
            quantity: row.maybe(5)?,
            current_period_end: time(row, 6)?,
            cancel_at_period_end: row.get(7)?,
            trial_end: time(row, 8)?,
            cancel_at: time(row, 9)?,
        })
    })
}

/// The plans that the prices stand for, in alphabetical order.
pub fn plans(client: &Client, price_ids: &[String]) -> Result<Vec<String>> {
    PLANS.with(|s| s.run(client, &[price_ids.to_vec().into()]))?.all(|row| row.get(1))
}

/// Puts the subscription on the queue, or says anew that it is wanted.
pub fn enqueue(client: &Client, subscription_id: &str, reason: &str) -> Result<()> {
    ENQUEUE.with(|s| s.run(client, &[subscription_id.into(), reason.into()]))?;
    Ok(())
}

/// Since when the subscription is on the queue.
pub fn requested_at(client: &Client, subscription_id: &str) -> Result<Option<Micros>> {
    let at = REQUESTED_AT.with(|s| s.run(client, &[subscription_id.into()]))?.first(|row| time(row, 1))?;
    Ok(at.flatten())
}

/// Takes the subscription off the queue, unless it was asked for after that time.
pub fn dequeue(client: &Client, subscription_id: &str, observed_at: Micros) -> Result<()> {
    DEQUEUE.with(|s| s.run(client, &[subscription_id.into(), timestamp(Some(observed_at)).into()]))?;
    Ok(())
}

/// Lets a request that is on the queue begin anew: truth that is dated by it is then newer than what stands.
pub fn renew(client: &Client, subscription_id: &str) -> Result<()> {
    RENEW.with(|s| s.run(client, &[subscription_id.into()]))?;
    Ok(())
}

/// So many requests, the oldest first.
pub fn pending(client: &Client, rows: i64) -> Result<Vec<Request>> {
    PENDING.with(|s| s.run(client, &[rows.into()]))?.all(|row| {
        Ok(Request {
            object_type: row.get(1)?,
            object_id: row.get(2)?,
            requested_reason: row.get(3)?,
            requested_at: row.get(4)?,
        })
    })
}

/// The subscription's object as the refetch source has it. May fail in any way that a foreign server can.
pub fn from_source(client: &Client, subscription_id: &str) -> Result<Option<String>> {
    let rows = SOURCE.with(|s| s.run(client, &[subscription_id.into()]))?;
    Ok(rows.first(|row| row.maybe(1))?.flatten())
}

fn one(rows: Rows) -> Result<()> {
    if rows.len() == 1 { Ok(()) } else { Err(Error::BrokenInvariant) }
}
