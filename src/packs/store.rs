//! SQL statements on packs and their prices.

use billing_core::packs::Pack;
use pgrx::datum::TimestampWithTimeZone;

use crate::error::{Error, Result};
use crate::pg::{self, Client, Time, statements};

statements! {
    INSERT_FIRST(TEXTOID, INT8OID, TEXTOID, INTERVALOID) =
        "INSERT INTO billing.packs (valid_from, expires_after, credits, pack, credit_type)
         VALUES ('-infinity', $4, $2, $1, $3)
         ON CONFLICT (pack, valid_from) DO NOTHING RETURNING pack";
    LOCK(TEXTOID) =
        "SELECT pack FROM billing.packs WHERE pack = $1 AND valid_from = '-infinity' FOR UPDATE";
    /// Intervals are compared as text: to Postgres a month equals thirty days. A clock that was put back
    /// must not date a definition before the one that it follows.
    AMEND(TEXTOID, INT8OID, TEXTOID, INTERVALOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.packs (valid_from, expires_after, credits, pack, credit_type)
         SELECT GREATEST(last.valid_from, pg_catalog.date_trunc('second', $5)), $4, $2, $1, $3
         FROM (SELECT valid_from, expires_after, credits, credit_type FROM billing.packs
               WHERE pack = $1 ORDER BY valid_from DESC LIMIT 1) AS last
         WHERE (last.credits, last.credit_type) IS DISTINCT FROM ($2, $3)
             OR last.expires_after::text IS DISTINCT FROM $4::text
         ON CONFLICT (pack, valid_from) DO UPDATE SET
             expires_after = excluded.expires_after, credits = excluded.credits, credit_type = excluded.credit_type";
    INSERT_FIRST_PRICE(TEXTOID, TEXTOID, INT8OID) =
        "INSERT INTO billing.pack_prices (valid_from, amount_minor, pack, currency)
         VALUES ('-infinity', $3, $1, $2)
         ON CONFLICT (pack, currency, valid_from) DO NOTHING RETURNING pack";
    AMEND_PRICE(TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID) =
        "INSERT INTO billing.pack_prices (valid_from, amount_minor, pack, currency)
         SELECT GREATEST(last.valid_from, pg_catalog.date_trunc('second', $4)), $3, $1, $2
         FROM (SELECT valid_from, amount_minor FROM billing.pack_prices
               WHERE pack = $1 AND currency = $2 ORDER BY valid_from DESC LIMIT 1) AS last
         WHERE last.amount_minor <> $3
         ON CONFLICT (pack, currency, valid_from) DO UPDATE SET amount_minor = excluded.amount_minor";
    /// In one statement, so that contents and price are of one definition.
    VALID(TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID) =
        "SELECT given.credits, given.credit_type,
                pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', $4) + given.expires_after), cost.amount_minor
         FROM (SELECT credits, credit_type, expires_after FROM billing.packs
               WHERE pack = $1 AND valid_from <= $3 ORDER BY valid_from DESC LIMIT 1) AS given
         LEFT JOIN (SELECT amount_minor FROM billing.pack_prices
                    WHERE pack = $1 AND currency = $2 AND valid_from <= $3 ORDER BY valid_from DESC LIMIT 1) AS cost
             ON true";
}

/// Makes the pack's first row; false if it has one.
pub fn insert_first(client: &Client, pack: &Pack) -> Result<bool> {
    let arguments = [
        pack.pack.into(),
        pack.credits.into(),
        pack.credit_type.into(),
        pack.expires_after.and_then(pg::interval).into(),
    ];
    Ok(INSERT_FIRST.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Locks the pack against other definitions of it.
pub fn lock(client: &Client, pack: &str) -> Result<()> {
    let locked = LOCK.with(|s| s.run(client, &[pack.into()]))?.len();
    if locked == 1 { Ok(()) } else { Err(Error::BrokenInvariant) }
}

/// Adds a row if the pack gives something else from now on.
pub fn amend(client: &Client, pack: &Pack, now: Time) -> Result<()> {
    let arguments = [
        pack.pack.into(),
        pack.credits.into(),
        pack.credit_type.into(),
        pack.expires_after.and_then(pg::interval).into(),
        now.timestamp().into(),
    ];
    AMEND.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Makes the first price of the pack in its currency; false if it has one.
pub fn insert_first_price(client: &Client, pack: &Pack) -> Result<bool> {
    let arguments = [pack.pack.into(), pack.price.currency.as_str().into(), pack.price.amount_minor.into()];
    Ok(INSERT_FIRST_PRICE.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Adds a price if the pack costs something else from now on.
pub fn amend_price(client: &Client, pack: &Pack, now: Time) -> Result<()> {
    let arguments = [
        pack.pack.into(),
        pack.price.currency.as_str().into(),
        pack.price.amount_minor.into(),
        now.timestamp().into(),
    ];
    AMEND_PRICE.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// What a pack gave and cost at some time.
pub struct Valid {
    pub credits: i64,
    pub credit_type: String,
    /// Counted from now.
    pub expires_at: Option<Time>,
    /// None: it has no price in that currency.
    pub amount_minor: Option<i64>,
}

/// What the pack gave and cost at that time; none if there is no such pack.
pub fn valid(client: &Client, pack: &str, currency: &str, at: Time, now: Time) -> Result<Option<Valid>> {
    let arguments = [pack.into(), currency.into(), at.timestamp().into(), now.timestamp().into()];
    VALID.with(|s| s.run(client, &arguments))?.first(|row| {
        Ok(Valid {
            credits: row.get(1)?,
            credit_type: row.get(2)?,
            expires_at: row.maybe::<TimestampWithTimeZone>(3)?.map(Time::of),
            amount_minor: row.maybe(4)?,
        })
    })
}
