//! SQL statements on plans and their price ids.

use billing_core::credits::Money;
use billing_core::interval::Interval;
use billing_core::plans::{IntervalUnit, Plan};
use pgrx::datum::{Interval as PgInterval, TimestampWithTimeZone};

use crate::error::{Error, Result};
use crate::pg::{self, Client, Columns, Time, statements};

statements! {
    PUT(TEXTOID, INT8OID, TEXTOID, TEXTOID, INT4OID, INT8OID, BOOLOID, INTERVALOID, TEXTOID, BOOLOID) =
        "INSERT INTO billing.plans (plan, amount_minor, currency, interval_unit, interval_count, credits_per_period,
                                    credits_expire, credits_grace, credit_type, per_branch)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (plan) DO UPDATE SET
             amount_minor = excluded.amount_minor, currency = excluded.currency,
             interval_unit = excluded.interval_unit, interval_count = excluded.interval_count,
             credits_per_period = excluded.credits_per_period, credits_expire = excluded.credits_expire,
             credits_grace = excluded.credits_grace, credit_type = excluded.credit_type,
             per_branch = excluded.per_branch";
    DROP_PRICES(TEXTOID, TEXTARRAYOID) =
        "DELETE FROM billing.plan_prices WHERE plan = $1 AND price_id <> ALL ($2)";
    ADD_PRICES(TEXTOID, TEXTARRAYOID) =
        "INSERT INTO billing.plan_prices (price_id, plan) SELECT id, $1 FROM pg_catalog.unnest($2) AS given (id)
         ON CONFLICT (price_id) DO NOTHING";
    PRICES(TEXTOID) = "SELECT price_id FROM billing.plan_prices WHERE plan = $1";
    BY_NAME(TEXTOID) =
        "SELECT plan, amount_minor, currency, interval_unit, interval_count, credits_per_period,
                credits_expire, credits_grace, credit_type, per_branch
         FROM billing.plans WHERE plan = $1";
    BY_PRICE(TEXTOID) =
        "SELECT p.plan, p.amount_minor, p.currency, p.interval_unit, p.interval_count, p.credits_per_period,
                p.credits_expire, p.credits_grace, p.credit_type, p.per_branch
         FROM billing.plan_prices i JOIN billing.plans p ON p.plan = i.plan WHERE i.price_id = $1";
    /// The limit is 4,000 years before the last timestamp: no interval accepted here is near as long.
    AFTER(TIMESTAMPTZOID, INTERVALOID) =
        "SELECT CASE WHEN $1 < '290000-01-01 00:00:00+00' AND $1 > '-infinity'
                     THEN pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', $1) + $2) END";
}

/// Inserts or replaces the plan; its row stays locked.
pub fn put(client: &Client, plan: &Plan) -> Result<()> {
    let arguments = [
        plan.plan.as_str().into(),
        plan.price.amount_minor.into(),
        plan.price.currency.as_str().into(),
        plan.interval_unit.as_str().into(),
        plan.interval_count.into(),
        plan.credits_per_period.into(),
        plan.credits_expire.into(),
        pg::interval(plan.credits_grace).into(),
        plan.credit_type.as_str().into(),
        plan.per_branch.into(),
    ];
    PUT.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Gives the plan these price ids and no others; how many it has then. Fewer than given: another plan
/// has the rest.
pub fn replace_prices(client: &Client, plan: &str, price_ids: Vec<String>) -> Result<usize> {
    DROP_PRICES.with(|s| s.run(client, &[plan.into(), price_ids.clone().into()]))?;
    ADD_PRICES.with(|s| s.run(client, &[plan.into(), price_ids.into()]))?;
    Ok(PRICES.with(|s| s.run(client, &[plan.into()]))?.len())
}

/// The plan of that name.
pub fn by_name(client: &Client, plan: &str) -> Result<Option<Plan>> {
    BY_NAME.with(|s| s.run(client, &[plan.into()]))?.first(read)
}

/// The plan that a provider's price id stands for.
pub fn by_price(client: &Client, price_id: &str) -> Result<Option<Plan>> {
    BY_PRICE.with(|s| s.run(client, &[price_id.into()]))?.first(read)
}

fn read(row: &Columns) -> Result<Plan> {
    Ok(Plan {
        plan: row.get(1)?,
        price: Money { amount_minor: row.get(2)?, currency: row.get(3)? },
        interval_unit: IntervalUnit::parse(&row.get::<String>(4)?).ok_or(Error::BrokenInvariant)?,
        interval_count: row.get(5)?,
        credits_per_period: row.get(6)?,
        credits_expire: row.get(7)?,
        credits_grace: pg::interval_of(row.get::<PgInterval>(8)?),
        credit_type: row.get(9)?,
        per_branch: row.get(10)?,
    })
}

/// That time plus the interval by the calendar, in UTC; none where no timestamp can hold it.
pub fn after(client: &Client, time: Time, interval: Interval) -> Result<Option<Time>> {
    let arguments = [time.timestamp().into(), pg::interval(interval).into()];
    let after =
        AFTER.with(|s| s.run(client, &arguments))?.first(|row| row.maybe::<TimestampWithTimeZone>(1))?;
    Ok(after.flatten().map(Time::of))
}
