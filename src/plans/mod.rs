//! Plans: their definition, and how they are found.

use billing_core::plans::{Plan, RawPlan, parse_price_ids};
use pgrx::datum::Interval as PgInterval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::{self, Client};

mod store;

pub use store::by_price;
pub use store::{after, by_name};

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn define_plan(
    plan: default!(Option<&str>, "NULL"),
    amount_minor: default!(Option<i64>, "NULL"),
    currency: default!(Option<&str>, "NULL"),
    interval_unit: default!(Option<&str>, "NULL"),
    interval_count: default!(Option<i32>, "1"),
    price_ids: default!(Option<Vec<Option<String>>>, "'{}'"),
    credits_per_period: default!(Option<i64>, "0"),
    credits_expire: default!(Option<bool>, "true"),
    credits_grace: default!(Option<PgInterval>, "'3 hours'"),
    credit_type: default!(Option<&str>, "'credits'"),
    per_branch: default!(Option<bool>, "false"),
) -> Result<(), ErrorReport> {
    let raw = RawPlan {
        plan,
        amount_minor,
        currency,
        interval_unit,
        interval_count,
        credits_per_period,
        credits_expire,
        credits_grace: credits_grace.map(pg::interval_of),
        credit_type,
        per_branch,
    };
    let plan = Plan::parse(&raw).map_err(Error::BadArgument)?;
    let price_ids = parse_price_ids(price_ids.unwrap_or_default()).map_err(Error::BadArgument)?;
    Ok(pg::write(|client| define(client, &plan, price_ids))?)
}

/// Inserts or replaces the plan; from then on the price ids given are its, and no others.
fn define(client: &Client, plan: &Plan, price_ids: Vec<String>) -> Result<()> {
    store::put(client, plan)?;
    let count = price_ids.len();
    if store::replace_prices(client, &plan.plan, price_ids)? != count {
        return Err(Error::BadArgument("a price id stands for another plan already"));
    }
    Ok(())
}
