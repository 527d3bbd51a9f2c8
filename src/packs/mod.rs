//! Credit packs: what they give, and what a payment buys of them.

use billing_core::credits::Money;
use billing_core::outcome::Detail;
use billing_core::packs::{Pack, RawPack, credits_for};
use pgrx::datum::Interval as PgInterval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::{self, Client, Time};

mod store;

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn define_pack(
    pack: default!(Option<&str>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
    amount_minor: default!(Option<i64>, "NULL"),
    currency: default!(Option<&str>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
    expires_after: default!(Option<PgInterval>, "NULL"),
) -> Result<(), ErrorReport> {
    let expires_after = expires_after.map(pg::interval_of);
    let raw = RawPack { pack, credits, amount_minor, currency, credit_type, expires_after };
    let pack = Pack::parse(&raw).map_err(Error::BadArgument)?;
    Ok(pg::write(|client| define(client, &pack))?)
}

/// Writes what is new in the definition.
///
/// A pack's first row is valid from ever, is never deleted, and is what rivals who define the same pack
/// wait for: each sees what the one before it made.
fn define(client: &Client, pack: &Pack) -> Result<()> {
    if !store::insert_first(client, pack)? {
        store::lock(client, pack.pack)?;
        store::amend(client, pack, pg::now())?;
    }
    if !store::insert_first_price(client, pack)? {
        store::amend_price(client, pack, pg::now())?;
    }
    Ok(())
}

/// What a payment for packs buys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// Of all the packs together.
    pub credits: i64,
    /// Of which type they are.
    pub credit_type: String,
    /// When they expire, if they are credited now; none: never.
    pub expires_at: Option<Time>,
}

/// What was bought of a pack for that money, by the contents and the price valid at that time (none: now).
pub fn price(client: &Client, pack: &str, paid: &Money, at: Option<Time>) -> Result<Result<Bought, Detail>> {
    let now = pg::now();
    let Some(valid) = store::valid(client, pack, &paid.currency, at.unwrap_or(now), now)? else {
        return Ok(Err(Detail::UnknownPack));
    };
    let Some(price_minor) = valid.amount_minor else { return Ok(Err(Detail::CurrencyMismatch)) };
    Ok(credits_for(paid.amount_minor, price_minor, valid.credits).map(|credits| Bought {
        credits,
        credit_type: valid.credit_type,
        expires_at: valid.expires_at,
    }))
}
