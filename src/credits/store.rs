//! SQL statements on balances, the ledger and charges.

use billing_core::credits::{Balance, Request, Source};
use billing_core::customers::Uuid;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::{JsonB, Uuid as PgUuid};

use crate::error::{Error, Result};
use crate::pg::{Client, Columns, Rows, Time, statements};

statements! {
    BY_KEY(TEXTOID) =
        "SELECT entry_id, customer_id, credit_type, credits, balance_after, created_at, fingerprint
         FROM billing.ledger WHERE idempotency_key = $1";
    // A session and its payment are one fact once a charge ties them: $1 is the source, $2 the payment,
    // $3 the payment written as a source.
    BY_SOURCE(TEXTOID, TEXTOID, TEXTOID) =
        "SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint
         FROM billing.ledger e WHERE e.source_ref = $1
         UNION ALL
         SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint
         FROM billing.ledger e WHERE e.source_ref = $3
         UNION ALL
         SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint
         FROM billing.charges c JOIN billing.ledger e ON e.source_ref = c.source_ref
         WHERE c.payment_ref = $2
         UNION ALL
         SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint
         FROM billing.charges c JOIN billing.ledger e ON e.source_ref = 'stripe:' || c.payment_ref
         WHERE c.source_ref = $1
         LIMIT 1";
    INSERT_CHARGE(TEXTOID, TEXTOID) =
        "INSERT INTO billing.charges (payment_ref, source_ref) VALUES ($1, $2)
         ON CONFLICT DO NOTHING RETURNING payment_ref";
    LOCK_CHARGE(TEXTOID) = "SELECT source_ref FROM billing.charges WHERE payment_ref = $1 FOR UPDATE";
    TIE_CHARGE(TEXTOID, TEXTOID) =
        "UPDATE billing.charges SET source_ref = $2
         WHERE payment_ref = $1 AND (source_ref IS NULL OR source_ref = 'stripe:' || payment_ref)";
    DELETE_CHARGE(TEXTOID) = "DELETE FROM billing.charges WHERE payment_ref = $1";
    LOCK_BALANCE(UUIDOID, TEXTOID) =
        "SELECT balance, held, last_entry_at FROM billing.balances
         WHERE customer_id = $1 AND credit_type = $2 FOR UPDATE";
    INSERT_BALANCE(UUIDOID, TEXTOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.balances (customer_id, credit_type, balance, last_entry_at) VALUES ($1, $2, 0, $3)
         ON CONFLICT DO NOTHING RETURNING customer_id";
    DELETE_BALANCE(UUIDOID, TEXTOID) =
        "DELETE FROM billing.balances WHERE customer_id = $1 AND credit_type = $2";
    UPDATE_BALANCE(UUIDOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID) =
        "UPDATE billing.balances SET balance = $3, last_entry_at = $5
         WHERE customer_id = $1 AND credit_type = $2 AND balance = $4 RETURNING balance";
    INSERT_ENTRY(UUIDOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
                       BYTEAOID, TEXTOID, BOOLOID, JSONBOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.ledger
             (customer_id, credit_type, kind, credits, balance_after, amount_minor, currency, idempotency_key,
              source_ref, payment_ref, fingerprint, event, livemode, metadata, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, coalesce($14, '{}'), $15)
         ON CONFLICT DO NOTHING RETURNING entry_id";
    BALANCE(UUIDOID, TEXTOID) =
        "SELECT balance, held FROM billing.balances WHERE customer_id = $1 AND credit_type = $2";
    HISTORY(UUIDOID, TEXTOID, INT8OID, INT8OID) =
        "SELECT entry_id, kind, credits, balance_after, credit_type, reverses, source_ref, idempotency_key,
                metadata::text, created_at
         FROM billing.ledger
         WHERE customer_id = $1 AND credit_type = $2 AND entry_id < $3
         ORDER BY customer_id DESC, credit_type DESC, entry_id DESC LIMIT $4";
}

/// What outcomes show of an entry of the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    pub entry_id: i64,
    pub customer_id: Uuid,
    pub credit_type: String,
    pub credits: i64,
    pub balance_after: i64,
    pub created_at: TimestampWithTimeZone,
    pub fingerprint: Vec<u8>,
}

fn entry(row: &Columns) -> Result<Entry> {
    Ok(Entry {
        entry_id: row.get(1)?,
        customer_id: *row.get::<PgUuid>(2)?.as_bytes(),
        credit_type: row.get(3)?,
        credits: row.get(4)?,
        balance_after: row.get(5)?,
        created_at: row.get(6)?,
        fingerprint: row.get(7)?,
    })
}

/// The entry of that key.
pub fn by_key(client: &Client, key: &str) -> Result<Option<Entry>> {
    BY_KEY.with(|s| s.run(client, &[key.into()]))?.first(entry)
}

/// The entry that credited the source, or what a charge says is the same fact.
pub fn by_source(client: &Client, source: &Source) -> Result<Option<Entry>> {
    let payment_source = source.payment_source();
    let arguments = [
        source.source_ref.as_str().into(),
        source.payment_ref.as_deref().into(),
        payment_source.as_deref().into(),
    ];
    BY_SOURCE.with(|s| s.run(client, &arguments))?.first(entry)
}

/// Inserts the charge's row, or locks the one that is there; whether it is new.
pub fn lock_charge(client: &Client, payment_ref: &str, source_ref: &str) -> Result<bool> {
    let rows = INSERT_CHARGE.with(|s| s.run(client, &[payment_ref.into(), source_ref.into()]))?;
    if rows.len() == 1 {
        return Ok(true);
    }
    one(&LOCK_CHARGE.with(|s| s.run(client, &[payment_ref.into()]))?)?;
    Ok(false)
}

/// Tells a locked charge which session it paid for, if it does not know.
pub fn tie_charge(client: &Client, payment_ref: &str, source_ref: &str) -> Result<()> {
    TIE_CHARGE.with(|s| s.run(client, &[payment_ref.into(), source_ref.into()]))?;
    Ok(())
}

/// Takes back a charge that this very call made.
pub fn discard_charge(client: &Client, payment_ref: &str) -> Result<()> {
    DELETE_CHARGE.with(|s| s.run(client, &[payment_ref.into()]))?;
    Ok(())
}

/// The balance row of a customer and credit type, as the ledger calls it.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    pub customer_id: Uuid,
    pub credit_type: &'a str,
}

impl<'a> Account<'a> {
    fn arguments(&self) -> [DatumWithOid<'a>; 2] {
        [PgUuid::from_bytes(self.customer_id).into(), self.credit_type.into()]
    }
}

/// Locks the balance; none if there is no row yet. With the time of its last entry.
pub fn lock_balance(client: &Client, account: Account) -> Result<Option<(Balance, Time)>> {
    LOCK_BALANCE.with(|s| s.run(client, &account.arguments()))?.first(|row| {
        let balance = Balance { balance: row.get(1)?, held: row.get(2)? };
        Ok((balance, Time::of(row.get(3)?)))
    })
}

/// Makes an empty balance row, locked by being new; whether it was not there.
pub fn insert_balance(client: &Client, account: Account, now: Time) -> Result<bool> {
    let [customer, credit_type] = account.arguments();
    let arguments = [customer, credit_type, now.timestamp().into()];
    Ok(INSERT_BALANCE.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Takes back a balance row that this very call made.
pub fn discard_balance(client: &Client, account: Account) -> Result<()> {
    DELETE_BALANCE.with(|s| s.run(client, &account.arguments()))?;
    Ok(())
}

/// Sets the locked balance, and verifies that it was what the entry was computed from.
pub fn update_balance(client: &Client, account: Account, from: i64, to: i64, at: Time) -> Result<()> {
    let [customer, credit_type] = account.arguments();
    let arguments = [customer, credit_type, to.into(), from.into(), at.timestamp().into()];
    let stored = UPDATE_BALANCE.with(|s| s.run(client, &arguments))?.first(|row| row.get::<i64>(1))?;
    if stored == Some(to) { Ok(()) } else { Err(Error::BrokenInvariant) }
}

/// Where an entry comes from, beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// `<provider>:<event id>`
    pub event: Option<&'a str>,
    /// Of that event.
    pub livemode: Option<bool>,
}

/// Appends the entry; none if its key or source stands already.
pub fn insert_entry(
    client: &Client,
    customer_id: Uuid,
    request: &Request,
    origin: Origin,
    metadata: Option<DatumWithOid>,
    balance_after: i64,
    at: Time,
) -> Result<Option<i64>> {
    let money = request.money.as_ref();
    let source = request.source.as_ref();
    let arguments = [
        PgUuid::from_bytes(customer_id).into(),
        request.credit_type.as_ref().into(),
        request.kind.as_str().into(),
        request.credits.into(),
        balance_after.into(),
        money.map(|money| money.amount_minor).into(),
        money.map(|money| money.currency.as_str()).into(),
        request.idempotency_key.as_ref().into(),
        source.map(|source| source.source_ref.as_str()).into(),
        source.and_then(|source| source.payment_ref.as_deref()).into(),
        request.fingerprint(&customer_id).as_slice().into(),
        origin.event.into(),
        origin.livemode.into(),
        metadata.unwrap_or(DatumWithOid::null::<JsonB>()),
        at.timestamp().into(),
    ];
    INSERT_ENTRY.with(|s| s.run(client, &arguments))?.first(|row| row.get(1))
}

/// The balance, unlocked.
pub fn balance(client: &Client, account: Account) -> Result<Option<Balance>> {
    let rows = BALANCE.with(|s| s.run(client, &account.arguments()))?;
    rows.first(|row| Ok(Balance { balance: row.get(1)?, held: row.get(2)? }))
}

/// One entry as history shows it.
#[derive(Debug)]
pub struct HistoryEntry {
    pub entry_id: i64,
    pub kind: String,
    pub credits: i64,
    pub balance_after: i64,
    pub credit_type: String,
    pub reverses: Option<i64>,
    pub source_ref: Option<String>,
    pub idempotency_key: String,
    pub metadata: String,
    pub created_at: TimestampWithTimeZone,
}

/// Entries before that one, newest first.
pub fn history(client: &Client, account: Account, before: i64, rows: i64) -> Result<Vec<HistoryEntry>> {
    let [customer, credit_type] = account.arguments();
    let arguments = [customer, credit_type, before.into(), rows.into()];
    HISTORY.with(|s| s.run(client, &arguments))?.all(|row| {
        Ok(HistoryEntry {
            entry_id: row.get(1)?,
            kind: row.get(2)?,
            credits: row.get(3)?,
            balance_after: row.get(4)?,
            credit_type: row.get(5)?,
            reverses: row.maybe(6)?,
            source_ref: row.maybe(7)?,
            idempotency_key: row.get(8)?,
            metadata: row.get(9)?,
            created_at: row.get(10)?,
        })
    })
}

fn one(rows: &Rows) -> Result<()> {
    if rows.len() == 1 { Ok(()) } else { Err(Error::BrokenInvariant) }
}
