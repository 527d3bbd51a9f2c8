//! SQL statements on subscription payments and the branches that they pay for.

use billing_core::credits::Money;
use billing_core::customers::Uuid;
use billing_core::interval::Interval;
use billing_core::payments::{Payment, Start, Status};
use pgrx::Uuid as PgUuid;
use pgrx::datum::{Interval as PgInterval, TimestampWithTimeZone};

use crate::error::{Error, Result};
use crate::pg::{self, Client, Columns, JsonbArgument, Rows, Time, statements};

statements! {
    INSERT(UUIDOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, INTERVALOID, TEXTARRAYOID, TEXTOID, JSONBOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.payments (customer_id, reference, plan, amount_minor, currency, period, branch_ids,
                                       main_branch_id, metadata, started_at, status)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, '{}'), $10, 'pending')
         ON CONFLICT (reference) DO NOTHING RETURNING payment_id";
    BY_REFERENCE(TEXTOID) =
        "SELECT p.payment_id, p.customer_id, p.reference, p.plan, p.amount_minor, p.currency, p.period, p.status,
                p.branch_ids, p.main_branch_id, p.paid_at, p.subscription_end,
                (SELECT pg_catalog.count(*) FROM billing.branch_subscriptions b WHERE b.payment_id = p.payment_id)
         FROM billing.payments p WHERE p.reference = $1";
    IS_STARTED(TEXTOID) = "SELECT payment_id FROM billing.payments WHERE reference = $1";
    LOCK(TEXTOID) = "SELECT payment_id FROM billing.payments WHERE reference = $1 FOR NO KEY UPDATE";
    FAIL(INT8OID) =
        "UPDATE billing.payments SET status = 'failed' WHERE payment_id = $1 AND status = 'pending'
         RETURNING payment_id";
    SUCCEED(INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID) =
        "UPDATE billing.payments SET status = 'success', paid_at = $2, subscription_end = $3, verified_at = $4
         WHERE payment_id = $1 AND status <> 'success' RETURNING payment_id";
    ADD_BRANCHES(INT8OID, TEXTARRAYOID, TEXTOID) =
        "INSERT INTO billing.branch_subscriptions (payment_id, is_main_branch, branch_id)
         SELECT $1, b.branch_id IS NOT DISTINCT FROM $3, b.branch_id FROM pg_catalog.unnest($2) AS b (branch_id)
         ON CONFLICT (payment_id, branch_id) DO NOTHING";
    OWNED(UUIDOID) = "SELECT reference FROM billing.payments WHERE customer_id = $1 ORDER BY payment_id";
    HAND_OVER(TEXTARRAYOID, UUIDOID) =
        "UPDATE billing.payments SET customer_id = $2 WHERE reference = ANY ($1) RETURNING payment_id";
    LATEST_END(UUIDOID, TEXTOID, TIMESTAMPTZOID) =
        "SELECT subscription_end FROM billing.payments
         WHERE customer_id = $1 AND subscription_end > $3 AND plan = $2
         ORDER BY subscription_end DESC LIMIT 1";
    RUNNING(UUIDOID, TIMESTAMPTZOID) =
        "SELECT reference, plan, subscription_end FROM billing.payments
         WHERE customer_id = $1 AND subscription_end > $2
         ORDER BY subscription_end DESC, payment_id";
}

/// The references of a customer's payments, in the order of locking.
pub fn owned(client: &Client, customer_id: Uuid) -> Result<Vec<String>> {
    OWNED.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?.all(|row| row.get(1))
}

/// Locks those payments.
pub fn lock_owned(client: &Client, references: &[String]) -> Result<()> {
    references.iter().try_for_each(|reference| lock(client, reference))
}

/// Gives those payments to another customer.
pub fn hand_over(client: &Client, references: &[String], customer_id: Uuid) -> Result<()> {
    let arguments = [references.to_vec().into(), PgUuid::from_bytes(customer_id).into()];
    let rows = HAND_OVER.with(|s| s.run(client, &arguments))?;
    if rows.len() == references.len() { Ok(()) } else { Err(Error::BrokenInvariant) }
}

/// Records a pending payment; false if the reference stands already.
pub fn insert(
    client: &Client,
    request: &Start,
    customer_id: Uuid,
    period: Interval,
    metadata: Option<&JsonbArgument>,
) -> Result<bool> {
    let arguments = [
        PgUuid::from_bytes(customer_id).into(),
        request.reference.into(),
        request.plan.into(),
        request.money.amount_minor.into(),
        request.money.currency.as_str().into(),
        pg::interval(period).into(),
        request.branch_ids.clone().into(),
        request.main_branch_id.into(),
        metadata.map_or_else(|| None::<pgrx::JsonB>.into(), JsonbArgument::datum),
        pg::now().timestamp().into(),
    ];
    Ok(INSERT.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// The payment of that reference, as the statement sees it.
pub fn by_reference(client: &Client, reference: &str) -> Result<Option<Payment>> {
    BY_REFERENCE.with(|s| s.run(client, &[reference.into()]))?.first(payment)
}

fn payment(row: &Columns) -> Result<Payment> {
    Ok(Payment {
        payment_id: row.get(1)?,
        customer_id: *row.get::<PgUuid>(2)?.as_bytes(),
        reference: row.get(3)?,
        plan: row.get(4)?,
        money: Money { amount_minor: row.get(5)?, currency: row.get(6)? },
        period: pg::interval_of(row.get::<PgInterval>(7)?),
        status: Status::parse(&row.get::<String>(8)?).ok_or(Error::BrokenInvariant)?,
        branch_ids: row.get(9)?,
        main_branch_id: row.maybe(10)?,
        paid_at: time(row, 11)?.map(Time::micros),
        subscription_end: time(row, 12)?.map(Time::micros),
        branches: row.get(13)?,
    })
}

fn time(row: &Columns, ordinal: usize) -> Result<Option<Time>> {
    Ok(row.maybe::<TimestampWithTimeZone>(ordinal)?.map(Time::of))
}

/// Whether a payment of that reference was started here.
pub fn is_started(client: &Client, reference: &str) -> Result<bool> {
    Ok(IS_STARTED.with(|s| s.run(client, &[reference.into()]))?.len() == 1)
}

/// Locks a payment that there is. What it is by then is for another statement to read: this one would
/// count its branches as they were before the wait.
pub fn lock(client: &Client, reference: &str) -> Result<()> {
    one(LOCK.with(|s| s.run(client, &[reference.into()]))?)
}

/// Marks a locked, pending payment as failed.
pub fn fail(client: &Client, payment_id: i64) -> Result<()> {
    one(FAIL.with(|s| s.run(client, &[payment_id.into()]))?)
}

/// Marks a locked payment as paid.
pub fn succeed(client: &Client, payment_id: i64, paid_at: Time, end: Time, now: Time) -> Result<()> {
    let arguments =
        [payment_id.into(), paid_at.timestamp().into(), end.timestamp().into(), now.timestamp().into()];
    one(SUCCEED.with(|s| s.run(client, &arguments))?)
}

/// Gives each branch of the payment that has none yet its subscription.
pub fn add_branches(client: &Client, payment: &Payment) -> Result<()> {
    let arguments = [
        payment.payment_id.into(),
        payment.branch_ids.clone().into(),
        payment.main_branch_id.as_deref().into(),
    ];
    ADD_BRANCHES.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Until when the customer has paid for the plan; none if that is over.
pub fn latest_end(client: &Client, customer_id: Uuid, plan: &str, now: Time) -> Result<Option<Time>> {
    let arguments = [PgUuid::from_bytes(customer_id).into(), plan.into(), now.timestamp().into()];
    LATEST_END.with(|s| s.run(client, &arguments))?.first(|row| row.get(1).map(Time::of))
}

/// A verified payment that still pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The provider's reference.
    pub reference: String,
    /// For which plan.
    pub plan: String,
    /// Until when.
    pub subscription_end: Time,
}

/// The customer's verified payments whose end lies ahead, the latest end first.
pub fn running(client: &Client, customer_id: Uuid, now: Time) -> Result<Vec<Running>> {
    let arguments = [PgUuid::from_bytes(customer_id).into(), now.timestamp().into()];
    RUNNING.with(|s| s.run(client, &arguments))?.all(|row| {
        Ok(Running { reference: row.get(1)?, plan: row.get(2)?, subscription_end: row.get(3).map(Time::of)? })
    })
}

fn one(rows: Rows) -> Result<()> {
    if rows.len() == 1 { Ok(()) } else { Err(Error::BrokenInvariant) }
}
