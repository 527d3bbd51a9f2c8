//! The statements of batches: as the single ones, for many rows at once.

use std::collections::HashMap;

use billing_core::credits::account::Lot;
use billing_core::credits::{EntryKind, Fingerprint, Money, Source};
use billing_core::customers::Uuid;
use pgrx::Uuid as PgUuid;
use pgrx::datum::DatumWithOid;

use super::{AccountKey, BalanceRow, Entry, Keyed, balance_row, entry, exactly, uuid};
use crate::error::{Error, Result};
use crate::pg::{self, Client, JsonbDatum, Statement, Time, statements};

statements! {
    LOCK_BALANCES(UUIDARRAYOID, TEXTARRAYOID) =
        "SELECT b.balance, b.held, b.in_lots, b.hold_count, b.last_entry_at, b.customer_id, b.credit_type
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS a (customer_id, credit_type)
         JOIN billing.balances b ON b.customer_id = a.customer_id AND b.credit_type = a.credit_type
         ORDER BY b.customer_id, b.credit_type FOR UPDATE OF b";
    INSERT_BALANCES(UUIDARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.balances (customer_id, credit_type, balance, last_entry_at)
         SELECT a.customer_id, a.credit_type, 0, $3
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS a (customer_id, credit_type)
         ORDER BY a.customer_id, a.credit_type
         ON CONFLICT DO NOTHING RETURNING customer_id, credit_type";
    BY_KEYS(TEXTARRAYOID) =
        "SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint,
                NULL::uuid, k.key
         FROM pg_catalog.unnest($1) AS k (key) JOIN billing.ledger e ON e.idempotency_key = k.key
         UNION ALL
         SELECT NULL, h.customer_id, NULL, NULL, NULL, NULL, h.fingerprint, h.hold_id, k.key
         FROM pg_catalog.unnest($1) AS k (key) JOIN billing.holds h ON h.idempotency_key = k.key";
    BY_SOURCES(TEXTARRAYOID) =
        "SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint,
                NULL::uuid, e.source_ref
         FROM pg_catalog.unnest($1) AS s (source_ref) JOIN billing.ledger e ON e.source_ref = s.source_ref";
    TIES(TEXTARRAYOID, TEXTARRAYOID) =
        "SELECT c.payment_ref, c.source_ref
         FROM pg_catalog.unnest($1) AS p (payment_ref) JOIN billing.charges c ON c.payment_ref = p.payment_ref
         WHERE c.source_ref IS NOT NULL
         UNION ALL
         SELECT c.payment_ref, c.source_ref
         FROM pg_catalog.unnest($2) AS s (source_ref) JOIN billing.charges c ON c.source_ref = s.source_ref";
    NEXT_ENTRY_IDS(INT8OID) =
        "SELECT pg_catalog.nextval('billing.ledger_entry_id_seq') FROM pg_catalog.generate_series(1, $1)";
    NEXT_LOT_IDS(INT8OID) =
        "SELECT pg_catalog.nextval('billing.lots_lot_id_seq') FROM pg_catalog.generate_series(1, $1)";
    INSERT_LOTS(INT8ARRAYOID, INT8ARRAYOID, UUIDARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID,
                INT4ARRAYOID) =
        "INSERT INTO billing.lots (lot_id, entry_id, customer_id, credit_type, remaining, expires_at, priority)
         OVERRIDING SYSTEM VALUE
         SELECT l.lot_id, l.entry_id, l.customer_id, l.credit_type, l.remaining, l.expires_at, l.priority
         FROM ROWS FROM (
             pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),
             pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)
         ) AS l (lot_id, entry_id, customer_id, credit_type, remaining, expires_at, priority)";
    INSERT_ENTRIES(INT8ARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
                   TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAARRAYOID, TEXTARRAYOID,
                   TIMESTAMPTZARRAYOID) =
        "INSERT INTO billing.ledger
             (entry_id, customer_id, credit_type, kind, credits, balance_after, amount_minor, currency,
              idempotency_key, source_ref, payment_ref, fingerprint, metadata, created_at)
         OVERRIDING SYSTEM VALUE
         SELECT e.entry_id, e.customer_id, e.credit_type, e.kind, e.credits, e.balance_after, e.amount_minor, e.currency,
                e.key, e.source_ref, e.payment_ref, e.fingerprint, coalesce(e.metadata::jsonb, '{}'), e.created_at
         FROM ROWS FROM (
             pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),
             pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),
             pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12),
             pg_catalog.unnest($13), pg_catalog.unnest($14)
         ) AS e (entry_id, customer_id, credit_type, kind, credits, balance_after, amount_minor, currency, key,
                 source_ref, payment_ref, fingerprint, metadata, created_at)
         ON CONFLICT DO NOTHING";
    // One by one, but without the executor.
    INSERT_NUMBERED(INT8OID, UUIDOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
                    BYTEAOID, JSONBOID, TIMESTAMPTZOID)
        direct[checks c"ledger_balance_after_check", c"ledger_kind_check", c"ledger_check"; locked c"balances"; hopeful true] =
        "INSERT INTO billing.ledger
             (entry_id, customer_id, credit_type, kind, credits, balance_after, amount_minor, currency, idempotency_key,
              source_ref, payment_ref, fingerprint, metadata, created_at)
         OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT DO NOTHING RETURNING entry_id";
    UPDATE_BALANCES(UUIDARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
                    TIMESTAMPTZARRAYOID) =
        "UPDATE billing.balances b
         SET balance = a.balance, held = a.held, in_lots = a.in_lots, last_entry_at = a.at
         FROM ROWS FROM (
             pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),
             pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)
         ) AS a (customer_id, credit_type, balance, held, in_lots, before, at)
         WHERE b.customer_id = a.customer_id AND b.credit_type = a.credit_type AND b.balance = a.before";
}

fn account_columns(keys: &[AccountKey]) -> [DatumWithOid<'static>; 2] {
    let customers: Vec<PgUuid> = keys.iter().map(|key| PgUuid::from_bytes(key.customer_id)).collect();
    let types: Vec<String> = keys.iter().map(|key| key.credit_type.to_owned()).collect();
    [customers.into(), types.into()]
}

/// Locks the balances that there are, in the order of locking.
pub fn lock_balances(client: &Client, keys: &[AccountKey]) -> Result<HashMap<(Uuid, String), BalanceRow>> {
    let rows = LOCK_BALANCES.with(|s| s.run(client, &account_columns(keys)))?;
    let rows = rows.all(|row| Ok(((uuid(row, 6)?, row.get(7)?), balance_row(row)?)))?;
    Ok(rows.into_iter().collect())
}

/// Makes the missing ones of these balances, empty: which.
pub fn insert_balances(client: &Client, keys: &[AccountKey], now: Time) -> Result<Vec<(Uuid, String)>> {
    let [customers, types] = account_columns(keys);
    let rows = INSERT_BALANCES.with(|s| s.run(client, &[customers, types, now.timestamp().into()]))?;
    rows.all(|row| Ok((uuid(row, 1)?, row.get(2)?)))
}

/// What the keys stand for, those that do.
pub fn by_keys(client: &Client, keys: Vec<String>) -> Result<HashMap<String, Keyed>> {
    let rows = BY_KEYS.with(|s| s.run(client, &[keys.into()]))?.all(|row| {
        let keyed = match row.maybe::<PgUuid>(8)? {
            Some(hold_id) => Keyed::Hold(*hold_id.as_bytes(), uuid(row, 2)?, row.get(7)?),
            None => Keyed::Entry(entry(row)?),
        };
        Ok((row.get(9)?, keyed))
    })?;
    Ok(rows.into_iter().collect())
}

/// The entries that credited the sources, by source.
pub fn by_sources(client: &Client, sources: Vec<String>) -> Result<HashMap<String, Entry>> {
    let rows = BY_SOURCES.with(|s| s.run(client, &[sources.into()]))?;
    Ok(rows.all(|row| Ok((row.get(9)?, entry(row)?)))?.into_iter().collect())
}

/// What charges say belongs together: payment and source.
pub fn ties(client: &Client, payments: Vec<String>, sources: Vec<String>) -> Result<Vec<(String, String)>> {
    let rows = TIES.with(|s| s.run(client, &[payments.into(), sources.into()]))?;
    rows.all(|row| Ok((row.get(1)?, row.get(2)?)))
}

/// So many new numbers for entries, rising.
pub fn next_entry_ids(client: &Client, count: usize) -> Result<Vec<i64>> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    NEXT_ENTRY_IDS.with(|s| s.run(client, &[count.into()]))?.all(|row| row.get(1))
}

/// So many new numbers for lots, rising.
pub fn next_lot_ids(client: &Client, count: usize) -> Result<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    NEXT_LOT_IDS.with(|s| s.run(client, &[count.into()]))?.all(|row| row.get(1))
}

/// Makes lots of entries just appended, as they were made: what the batch took from them comes after.
pub fn insert_lots(client: &Client, lots: &[(AccountKey, Lot)]) -> Result<()> {
    if lots.is_empty() {
        return Ok(());
    }
    let keys: Vec<AccountKey> = lots.iter().map(|(key, _)| *key).collect();
    let [customers, types] = account_columns(&keys);
    let numbers =
        |of: fn(&Lot) -> i64| DatumWithOid::from(lots.iter().map(|(_, lot)| of(lot)).collect::<Vec<i64>>());
    let expiries: Vec<_> =
        lots.iter().map(|(_, lot)| lot.expires_at.map(Time::of_micros).and_then(Time::timestamp)).collect();
    let priorities: Vec<i32> = lots.iter().map(|(_, lot)| lot.priority).collect();
    let arguments = [
        numbers(|lot| lot.lot_id),
        numbers(|lot| lot.entry_id),
        customers,
        types,
        numbers(|lot| lot.remaining),
        expiries.into(),
        priorities.into(),
    ];
    exactly(lots.len(), &INSERT_LOTS.with(|s| s.run(client, &arguments))?)
}

/// An entry to be appended, its number known.
pub struct BulkEntry<'a> {
    pub entry_id: i64,
    pub key: AccountKey<'a>,
    pub kind: EntryKind,
    pub credits: i64,
    pub balance_after: i64,
    pub money: Option<&'a Money>,
    pub idempotency_key: String,
    pub source: Option<&'a Source>,
    pub fingerprint: Fingerprint,
    pub metadata: Option<String>,
    pub at: Time,
}

/// Appends the entries of locked balances; false if a key or source among them stands already.
pub fn insert_entries(client: &Client, entries: &[BulkEntry]) -> Result<bool> {
    if pg::is_hopeful() && INSERT_NUMBERED.with(Statement::is_direct) {
        return pg::in_passing(|| {
            let empty = pg::jsonb("{}");
            for entry in entries {
                if !insert_numbered(client, entry, empty.as_ref())? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
    }
    insert_by_columns(client, entries)
}

fn insert_numbered(client: &Client, entry: &BulkEntry, empty: Option<&JsonbDatum>) -> Result<bool> {
    // The check of the table, kept here where the executor is not asked.
    if entry.balance_after < 0 {
        return Err(Error::BrokenInvariant);
    }
    let metadata = match &entry.metadata {
        Some(metadata) => pg::jsonb(metadata).into(),
        None => empty.copied().into(),
    };
    let arguments = [
        entry.entry_id.into(),
        PgUuid::from_bytes(entry.key.customer_id).into(),
        entry.key.credit_type.into(),
        entry.kind.as_str().into(),
        entry.credits.into(),
        entry.balance_after.into(),
        entry.money.map(|money| money.amount_minor).into(),
        entry.money.map(|money| money.currency.as_str()).into(),
        entry.idempotency_key.as_str().into(),
        entry.source.map(|source| source.source_ref.as_str()).into(),
        entry.source.and_then(|source| source.payment_ref.as_deref()).into(),
        entry.fingerprint.as_slice().into(),
        metadata,
        entry.at.timestamp().into(),
    ];
    Ok(INSERT_NUMBERED.with(|s| s.run(client, &arguments))?.len() == 1)
}

fn insert_by_columns(client: &Client, entries: &[BulkEntry]) -> Result<bool> {
    fn column<'a, T>(entries: &'a [BulkEntry], of: impl FnMut(&'a BulkEntry) -> T) -> DatumWithOid<'static>
    where
        Vec<T>: pgrx::IntoDatum,
    {
        entries.iter().map(of).collect::<Vec<T>>().into()
    }
    let text = |text: &str| Some(text.to_owned());
    let arguments = [
        column(entries, |e| e.entry_id),
        column(entries, |e| PgUuid::from_bytes(e.key.customer_id)),
        column(entries, |e| e.key.credit_type.to_owned()),
        column(entries, |e| e.kind.as_str().to_owned()),
        column(entries, |e| e.credits),
        column(entries, |e| e.balance_after),
        column(entries, |e| e.money.map(|money| money.amount_minor)),
        column(entries, |e| e.money.and_then(|money| text(&money.currency))),
        column(entries, |e| e.idempotency_key.clone()),
        column(entries, |e| e.source.and_then(|source| text(&source.source_ref))),
        column(entries, |e| e.source.and_then(|source| source.payment_ref.clone())),
        column(entries, |e| e.fingerprint.to_vec()),
        column(entries, |e| e.metadata.clone()),
        column(entries, |e| e.at.timestamp()),
    ];
    Ok(INSERT_ENTRIES.with(|s| s.run(client, &arguments))?.len() == entries.len())
}

/// A locked balance to be written: its key, what it was, what it is.
pub struct BulkBalance<'a> {
    pub key: AccountKey<'a>,
    pub before: i64,
    pub balance: i64,
    pub held: i64,
    pub in_lots: i64,
    pub at: Time,
}

/// Writes the balances, and verifies that each was what its account was computed from.
pub fn update_balances(client: &Client, balances: &[BulkBalance]) -> Result<()> {
    if balances.is_empty() {
        return Ok(());
    }
    let keys: Vec<AccountKey> = balances.iter().map(|balance| balance.key).collect();
    let [customers, types] = account_columns(&keys);
    let numbers =
        |of: fn(&BulkBalance) -> i64| DatumWithOid::from(balances.iter().map(of).collect::<Vec<i64>>());
    let times: Vec<_> = balances.iter().map(|balance| balance.at.timestamp()).collect();
    let arguments = [
        customers,
        types,
        numbers(|b| b.balance),
        numbers(|b| b.held),
        numbers(|b| b.in_lots),
        numbers(|b| b.before),
        times.into(),
    ];
    exactly(balances.len(), &UPDATE_BALANCES.with(|s| s.run(client, &arguments))?)
}
