//! Writing off what ran out, without waiting for the customers' next call.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ledger::Locked;
use super::store::{self, AccountKey};
use crate::error::{Error, Result};
use crate::pg::{self, Client};

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn expire_credits(max_rows: default!(Option<i32>, "NULL")) -> Result<i64, ErrorReport> {
    let max_rows = max_rows
        .filter(|rows| *rows > 0)
        .ok_or(Error::BadArgument("max_rows is the number of lots and holds to look at, above zero"))?;
    Ok(pg::write(|client| expire(client, max_rows.into()))?)
}

/// Settles accounts with something due; how many. Those locked elsewhere are left: whoever holds them
/// settles them, or the next run does.
fn expire(client: &Client, max_rows: i64) -> Result<i64> {
    let mut settled = 0;
    for (customer_id, credit_type) in store::due_accounts(client, pg::now(), max_rows)? {
        let key = AccountKey { customer_id, credit_type: &credit_type };
        let Some(locked) = Locked::open_if_free(client, key)? else { continue };
        if locked.is_due() {
            locked.commit(client, 0, |_| Ok(Some(())))?.ok_or(Error::BrokenInvariant)?;
            settled += 1;
        }
    }
    Ok(settled)
}
