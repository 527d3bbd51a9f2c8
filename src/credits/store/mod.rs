//! SQL statements on balances, the ledger and charges.

use billing_core::charges::Undone as UndoneBy;
use billing_core::credits::account::{Account, Lot, Part, RunOut, Use};
use billing_core::credits::{EntryKind, Fingerprint, Money, Source, Terms, hold_fingerprint};
use billing_core::customers::Uuid;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::{JsonB, Uuid as PgUuid};

use crate::error::{Error, Result};
use crate::pg::{self, Client, Columns, Rows, Time, statements};

pub mod bulk;

statements! {
    ENTRY_BY_KEY(TEXTOID) direct =
        "SELECT entry_id, customer_id, credit_type, credits, balance_after, created_at, fingerprint
         FROM billing.ledger WHERE idempotency_key = $1";
    HOLD_BY_KEY(TEXTOID) direct =
        "SELECT hold_id, customer_id, fingerprint FROM billing.holds WHERE idempotency_key = $1";
    // The second part tells that others were merged into the customer, whose keys are theirs.
    OPENING(TEXTOID, UUIDOID) =
        "SELECT e.credits FROM billing.ledger e WHERE e.idempotency_key = $1
         UNION ALL
         SELECT NULL FROM (SELECT FROM billing.customers c WHERE c.merged_into = $2 LIMIT 1) AS merged";
    CREDITS_BY_KEYS(TEXTARRAYOID) =
        "SELECT e.credits FROM pg_catalog.unnest($1) AS k (key) JOIN billing.ledger e ON e.idempotency_key = k.key";
    HOLD_KEY(TEXTOID) direct = "SELECT hold_id FROM billing.holds WHERE idempotency_key = $1";
    ENTRY_BY_SOURCE(TEXTOID) direct =
        "SELECT entry_id, customer_id, credit_type, credits, balance_after, created_at, fingerprint
         FROM billing.ledger WHERE source_ref = $1";
    TIED_TO_SOURCE(TEXTOID) direct = "SELECT payment_ref FROM billing.charges WHERE source_ref = $1";
    TIED_TO_PAYMENT(TEXTOID) direct = "SELECT source_ref FROM billing.charges WHERE payment_ref = $1";
    LOCK_BALANCE(UUIDOID, TEXTOID) direct =
        "SELECT balance, held, in_lots, hold_count, last_entry_at FROM billing.balances
         WHERE customer_id = $1 AND credit_type = $2 FOR UPDATE";
    LOCK_BALANCE_IF_FREE(UUIDOID, TEXTOID) =
        "SELECT balance, held, in_lots, hold_count, last_entry_at FROM billing.balances
         WHERE customer_id = $1 AND credit_type = $2 FOR UPDATE SKIP LOCKED";
    INSERT_BALANCE(UUIDOID, TEXTOID, TIMESTAMPTZOID) =
        "INSERT INTO billing.balances (customer_id, credit_type, balance, last_entry_at) VALUES ($1, $2, 0, $3)
         ON CONFLICT DO NOTHING RETURNING customer_id";
    DELETE_BALANCE(UUIDOID, TEXTOID) =
        "DELETE FROM billing.balances WHERE customer_id = $1 AND credit_type = $2";
    UPDATE_BALANCE(UUIDOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID)
        direct[checks c"balances_balance_check", c"balances_held_check", c"balances_in_lots_check"; locked; hopeful false] =
        "UPDATE billing.balances
         SET balance = $3, held = $4, in_lots = $5, hold_count = $6, last_entry_at = $8
         WHERE customer_id = $1 AND credit_type = $2 AND balance = $7 RETURNING balance";
    INSERT_ENTRY(UUIDOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
                 BYTEAOID, TEXTOID, BOOLOID, JSONBOID, TIMESTAMPTZOID, INT8OID, INT8OID)
        direct[checks c"ledger_balance_after_check", c"ledger_kind_check", c"ledger_check"; locked c"balances"; hopeful true] =
        "INSERT INTO billing.ledger
             (customer_id, credit_type, kind, credits, balance_after, amount_minor, currency, idempotency_key,
              source_ref, payment_ref, fingerprint, event, livemode, metadata, created_at, reverses, shortfall)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT DO NOTHING RETURNING entry_id";
    LOTS(UUIDOID, TEXTOID) =
        "SELECT lot_id, entry_id, priority, expires_at, remaining, held FROM billing.lots
         WHERE customer_id = $1 AND credit_type = $2 AND remaining > 0";
    LOTS_BY_ID(INT8ARRAYOID) =
        "SELECT lot_id, entry_id, priority, expires_at, remaining, held FROM billing.lots
         WHERE lot_id = ANY ($1) AND remaining = 0";
    LOT_OF(INT8OID) = "SELECT lot_id FROM billing.lots WHERE entry_id = $1";
    INSERT_LOT(INT8OID, UUIDOID, TEXTOID, INT8OID, TIMESTAMPTZOID, INT4OID) =
        "INSERT INTO billing.lots (entry_id, customer_id, credit_type, remaining, expires_at, priority)
         VALUES ($1, $2, $3, $4, $5, $6)";
    UPDATE_LOTS(INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID) =
        "UPDATE billing.lots l SET remaining = c.remaining, held = c.held
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
             AS c (lot_id, remaining, held)
         WHERE l.lot_id = c.lot_id RETURNING l.lot_id";
    LOTS_OF_PLAN(UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID) =
        "SELECT l.lot_id FROM billing.lots l JOIN billing.ledger e ON e.entry_id = l.entry_id
         WHERE l.customer_id = $1 AND l.credit_type = $2 AND l.remaining > 0
             AND l.expires_at IS NOT NULL AND ($4 IS NULL OR l.expires_at <= $4) AND e.kind = 'grant'
             AND pg_catalog.substr(e.source_ref, pg_catalog.strpos(e.source_ref, '#') + 1) = $3";
    END_LOTS(INT8ARRAYOID, TIMESTAMPTZOID) =
        "UPDATE billing.lots SET expires_at = $2 WHERE lot_id = ANY ($1) RETURNING lot_id";
    INSERT_USES(INT8OID, INT8ARRAYOID, INT8ARRAYOID) =
        "INSERT INTO billing.lot_uses (entry_id, lot_id, credits)
         SELECT $1, c.lot_id, c.credits
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS c (lot_id, credits)";
    USES(INT8OID) =
        "SELECT u.lot_id, u.credits, u.returned
         FROM billing.lot_uses u JOIN billing.lots l ON l.lot_id = u.lot_id
         WHERE u.entry_id = $1 ORDER BY l.priority, l.expires_at NULLS LAST, l.lot_id";
    UPDATE_USES(INT8OID, INT8ARRAYOID, INT8ARRAYOID) =
        "UPDATE billing.lot_uses u SET returned = c.returned
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS c (lot_id, returned)
         WHERE u.entry_id = $1 AND u.lot_id = c.lot_id RETURNING u.lot_id";
    RUN_OUT(UUIDOID, TEXTOID, TIMESTAMPTZOID) =
        "SELECT h.hold_id, h.credits,
                ARRAY(SELECT p.lot_id FROM billing.hold_lots p WHERE p.hold_id = h.hold_id ORDER BY p.lot_id),
                ARRAY(SELECT p.credits FROM billing.hold_lots p WHERE p.hold_id = h.hold_id ORDER BY p.lot_id)
         FROM billing.holds h
         WHERE h.customer_id = $1 AND h.credit_type = $2 AND h.status = 'open' AND h.expires_at <= $3";
    EXPIRE_HOLDS(UUIDARRAYOID, TIMESTAMPTZOID) =
        "UPDATE billing.holds SET status = 'expired', ended_at = $2
         WHERE hold_id = ANY ($1) AND status = 'open' RETURNING hold_id";
    INSERT_HOLD(UUIDOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, BYTEAOID, JSONBOID) =
        "INSERT INTO billing.holds
             (customer_id, credit_type, credits, created_at, expires_at, idempotency_key, fingerprint, metadata)
         VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, '{}'))
         ON CONFLICT DO NOTHING RETURNING hold_id";
    INSERT_HOLD_LOTS(UUIDOID, INT8ARRAYOID, INT8ARRAYOID) =
        "INSERT INTO billing.hold_lots (hold_id, lot_id, credits)
         SELECT $1, c.lot_id, c.credits
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS c (lot_id, credits)";
    HOLD(UUIDOID) =
        "SELECT hold_id, customer_id, credit_type, status, credits, captured_credits, expires_at
         FROM billing.holds WHERE hold_id = $1";
    HOLD_LOTS(UUIDOID) = "SELECT lot_id, credits FROM billing.hold_lots WHERE hold_id = $1";
    END_HOLD(UUIDOID, TEXTOID, INT8OID, TIMESTAMPTZOID) =
        "UPDATE billing.holds SET status = $2, captured_credits = $3, ended_at = $4
         WHERE hold_id = $1 AND status = 'open' RETURNING hold_id";
    ENTRY(INT8OID) =
        "SELECT customer_id, credit_type, kind, credits, amount_minor FROM billing.ledger WHERE entry_id = $1";
    UNDONE_BY(INT8OID) =
        "SELECT coalesce(pg_catalog.sum(coalesce(shortfall, 0) - credits)
                    FILTER (WHERE pg_catalog.starts_with(idempotency_key, 'billing_rpc:undo:')), 0)::bigint,
                coalesce(pg_catalog.sum(coalesce(shortfall, 0) - credits)
                    FILTER (WHERE NOT pg_catalog.starts_with(idempotency_key, 'billing_rpc:undo:')), 0)::bigint,
                coalesce(pg_catalog.sum(shortfall), 0)::bigint, pg_catalog.count(*)
         FROM billing.ledger WHERE reverses = $1";
    UNDONE(INT8OID) =
        "SELECT coalesce(pg_catalog.sum(credits), 0)::bigint, coalesce(pg_catalog.sum(shortfall), 0)::bigint
         FROM billing.ledger WHERE reverses = $1";
    DUE_ACCOUNTS(TIMESTAMPTZOID, INT8OID) =
        "SELECT customer_id, credit_type FROM (
             SELECT customer_id, credit_type FROM (
                 (SELECT customer_id, credit_type, expires_at FROM billing.lots
                  WHERE remaining > held AND expires_at IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2)
                 UNION ALL
                 (SELECT customer_id, credit_type, expires_at FROM billing.holds
                  WHERE status = 'open' AND expires_at <= $1 ORDER BY expires_at LIMIT $2)
             ) overdue ORDER BY expires_at LIMIT $2
         ) due GROUP BY customer_id, credit_type ORDER BY customer_id, credit_type";
    BALANCE_AT(UUIDOID, TEXTOID, INT8OID, INT8OID) =
        "SELECT entry_id, created_at, balance_after FROM billing.ledger
         WHERE customer_id = $1 AND credit_type = $2 AND entry_id >= $3 AND entry_id <= $4
         ORDER BY customer_id, credit_type, entry_id LIMIT 1";
    LAST_ENTRY(UUIDOID, TEXTOID) =
        "SELECT entry_id FROM billing.ledger WHERE customer_id = $1 AND credit_type = $2
         ORDER BY customer_id DESC, credit_type DESC, entry_id DESC LIMIT 1";
    BALANCE(UUIDOID, TEXTOID) direct =
        "SELECT balance, held, in_lots, hold_count, last_entry_at FROM billing.balances
         WHERE customer_id = $1 AND credit_type = $2";
    CREDIT_TYPES(UUIDOID) =
        "SELECT credit_type FROM billing.balances WHERE customer_id = $1 ORDER BY credit_type";
    // Lots are found by the entries that made them, for those that are used up are in no index of their own.
    HAND_OVER_LOTS(UUIDOID, UUIDOID, TEXTOID, UUIDARRAYOID) =
        "UPDATE billing.lots l SET customer_id = $2 FROM billing.ledger e
         WHERE e.customer_id = ANY ($4) AND e.credit_type = $3 AND l.entry_id = e.entry_id
             AND l.customer_id = $1 AND l.credit_type = $3";
    OPEN_HOLDS(UUIDOID, TEXTOID) =
        "SELECT hold_id, credits FROM billing.holds
         WHERE customer_id = $1 AND credit_type = $2 AND status = 'open'";
    HAND_OVER_HOLD(UUIDOID, UUIDOID, BYTEAOID) =
        "UPDATE billing.holds SET customer_id = $2, fingerprint = $3 WHERE hold_id = $1 RETURNING hold_id";
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
        customer_id: uuid(row, 2)?,
        credit_type: row.get(3)?,
        credits: row.get(4)?,
        balance_after: row.get(5)?,
        created_at: row.get(6)?,
        fingerprint: row.get(7)?,
    })
}

fn uuid(row: &Columns, ordinal: usize) -> Result<Uuid> {
    Ok(*row.get::<PgUuid>(ordinal)?.as_bytes())
}

/// What an idempotency key stands for: ledger and holds share one name space.
#[derive(Clone, Debug)]
pub enum Keyed {
    /// An entry of the ledger.
    Entry(Entry),
    /// A hold: its id, its customer, its fingerprint.
    Hold(Uuid, Uuid, Vec<u8>),
}

/// What the key stands for.
pub fn by_key(client: &Client, key: &str) -> Result<Option<Keyed>> {
    pg::at_once(client, |client| {
        let found = ENTRY_BY_KEY.with(|s| s.run(client, &[key.into()]))?.first(entry)?;
        match found {
            Some(entry) => Ok(Some(Keyed::Entry(entry))),
            None => HOLD_BY_KEY
                .with(|s| s.run(client, &[key.into()]))?
                .first(|row| Ok(Keyed::Hold(uuid(row, 1)?, uuid(row, 2)?, row.get(3)?))),
        }
    })
}

/// Whether the key is a hold's.
pub fn is_hold_key(client: &Client, key: &str) -> Result<bool> {
    Ok(HOLD_KEY.with(|s| s.run(client, &[key.into()]))?.len() > 0)
}

/// What is known of a source: the entry that credited it, or what a charge says is the same fact; and
/// the payments that events tied to it, where the source does not name its own.
#[derive(Debug, Default)]
pub struct Sourced {
    pub entry: Option<Entry>,
    pub payments: Vec<String>,
}

/// What is known of the source without its payment.
pub fn by_session(client: &Client, source_ref: &str) -> Result<Sourced> {
    pg::at_once(client, |client| {
        let mut payments = tied_to_source(client, source_ref)?;
        payments.sort();
        let entry = match entry_of(client, source_ref)? {
            None => entry_of_payments(client, &payments)?,
            found => found,
        };
        Ok(Sourced { entry, payments })
    })
}

/// What is known of the source. A session and its payment are one fact once a charge ties them.
pub fn by_source(client: &Client, source: &Source) -> Result<Sourced> {
    let (Some(payment_ref), Some(payment_source)) = (&source.payment_ref, source.payment_source()) else {
        return by_session(client, &source.source_ref);
    };
    pg::at_once(client, |client| {
        let mut found = entry_of(client, &source.source_ref)?;
        if found.is_none() {
            found = entry_of(client, &payment_source)?;
        }
        if found.is_none() {
            let tied = TIED_TO_PAYMENT.with(|s| s.run(client, &[payment_ref.as_str().into()]))?;
            if let Some(source_ref) = tied.first(|row| row.maybe::<String>(1))?.flatten() {
                found = entry_of(client, &source_ref)?;
            }
        }
        if found.is_none() {
            found = entry_of_payments(client, &tied_to_source(client, &source.source_ref)?)?;
        }
        Ok(Sourced { entry: found, payments: Vec::new() })
    })
}

fn entry_of(client: &Client, source_ref: &str) -> Result<Option<Entry>> {
    ENTRY_BY_SOURCE.with(|s| s.run(client, &[source_ref.into()]))?.first(entry)
}

fn tied_to_source(client: &Client, source_ref: &str) -> Result<Vec<String>> {
    TIED_TO_SOURCE.with(|s| s.run(client, &[source_ref.into()]))?.all(|row| row.get(1))
}

/// The entry of one of the payments that was credited as such.
fn entry_of_payments(client: &Client, payments: &[String]) -> Result<Option<Entry>> {
    for payment_ref in payments {
        if let Some(found) = entry_of(client, &format!("stripe:{payment_ref}"))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The credits of the customer's entry of that key, if there is one; and whether others were merged into the
/// customer.
pub fn opening(client: &Client, key: &str, customer_id: Uuid) -> Result<(Vec<i64>, bool)> {
    let rows = OPENING.with(|s| s.run(client, &[key.into(), PgUuid::from_bytes(customer_id).into()]))?;
    let rows = rows.all(|row| row.maybe::<i64>(1))?;
    let merged = rows.contains(&None);
    Ok((rows.into_iter().flatten().collect(), merged))
}

/// The credits of the entries of those keys, as far as there are some.
pub fn credits_by_keys(client: &Client, keys: Vec<String>) -> Result<Vec<i64>> {
    CREDITS_BY_KEYS.with(|s| s.run(client, &[keys.into()]))?.all(|row| row.get(1))
}

/// The balance row of a customer and credit type, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountKey<'a> {
    pub customer_id: Uuid,
    pub credit_type: &'a str,
}

impl<'a> AccountKey<'a> {
    fn arguments(&self) -> [DatumWithOid<'a>; 2] {
        [PgUuid::from_bytes(self.customer_id).into(), self.credit_type.into()]
    }
}

/// A row of `billing.balances`.
#[derive(Clone, Copy, Debug)]
pub struct BalanceRow {
    pub balance: i64,
    pub held: i64,
    pub in_lots: i64,
    pub hold_count: i64,
    pub last_entry_at: Time,
}

fn balance_row(row: &Columns) -> Result<BalanceRow> {
    Ok(BalanceRow {
        balance: row.get(1)?,
        held: row.get(2)?,
        in_lots: row.get(3)?,
        hold_count: row.get(4)?,
        last_entry_at: Time::of(row.get(5)?),
    })
}

/// Locks the balance; none if there is no row yet.
pub fn lock_balance(client: &Client, key: AccountKey) -> Result<Option<BalanceRow>> {
    LOCK_BALANCE.with(|s| s.run(client, &key.arguments()))?.first(balance_row)
}

/// Locks the balance if nobody else has it.
pub fn lock_balance_if_free(client: &Client, key: AccountKey) -> Result<Option<BalanceRow>> {
    LOCK_BALANCE_IF_FREE.with(|s| s.run(client, &key.arguments()))?.first(balance_row)
}

/// The balance, unlocked.
pub fn balance(client: &Client, key: AccountKey) -> Result<Option<BalanceRow>> {
    BALANCE.with(|s| s.run(client, &key.arguments()))?.first(balance_row)
}

/// Makes an empty balance row, locked by being new; whether it was not there.
pub fn insert_balance(client: &Client, key: AccountKey, now: Time) -> Result<bool> {
    let [customer, credit_type] = key.arguments();
    let arguments = [customer, credit_type, now.timestamp().into()];
    Ok(INSERT_BALANCE.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Takes back a balance row that this very call made.
pub fn discard_balance(client: &Client, key: AccountKey) -> Result<()> {
    DELETE_BALANCE.with(|s| s.run(client, &key.arguments()))?;
    Ok(())
}

/// Writes the locked balance, and verifies that it was what the account was computed from.
pub fn update_balance(
    client: &Client,
    key: AccountKey,
    before: i64,
    after: &Account,
    hold_count: i64,
    at: Time,
) -> Result<()> {
    // The checks of the table, kept here where the executor is not asked.
    if after.balance < 0 || after.held < 0 || after.in_lots < 0 {
        return Err(Error::BrokenInvariant);
    }
    let [customer, credit_type] = key.arguments();
    let arguments = [
        customer,
        credit_type,
        after.balance.into(),
        after.held.into(),
        after.in_lots.into(),
        hold_count.into(),
        before.into(),
        at.timestamp().into(),
    ];
    let stored = UPDATE_BALANCE.with(|s| s.run(client, &arguments))?.first(|row| row.get::<i64>(1))?;
    if stored == Some(after.balance) { Ok(()) } else { Err(Error::BrokenInvariant) }
}

/// Where an entry comes from, beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// `<provider>:<event id>`
    pub event: Option<&'a str>,
    /// Of that event.
    pub livemode: Option<bool>,
}

/// An entry to be appended.
pub struct NewEntry<'a> {
    pub kind: EntryKind,
    pub credits: i64,
    pub balance_after: i64,
    pub idempotency_key: &'a str,
    pub fingerprint: Fingerprint,
    pub money: Option<&'a Money>,
    pub source: Option<&'a Source>,
    pub origin: Origin<'a>,
    pub metadata: Option<DatumWithOid<'a>>,
    pub reverses: Option<i64>,
    pub shortfall: Option<i64>,
}

/// Appends the entry; none if its key or source stands already.
pub fn insert_entry(client: &Client, key: AccountKey, new: NewEntry, at: Time) -> Result<Option<i64>> {
    // The checks of the table, kept here where the executor is not asked: kinds and money are so by their types.
    if new.balance_after < 0 {
        return Err(Error::BrokenInvariant);
    }
    let [customer, credit_type] = key.arguments();
    let arguments = [
        customer,
        credit_type,
        new.kind.as_str().into(),
        new.credits.into(),
        new.balance_after.into(),
        new.money.map(|money| money.amount_minor).into(),
        new.money.map(|money| money.currency.as_str()).into(),
        new.idempotency_key.into(),
        new.source.map(|source| source.source_ref.as_str()).into(),
        new.source.and_then(|source| source.payment_ref.as_deref()).into(),
        new.fingerprint.as_slice().into(),
        new.origin.event.into(),
        new.origin.livemode.into(),
        new.metadata.unwrap_or_else(|| pg::jsonb("{}").into()),
        at.timestamp().into(),
        new.reverses.into(),
        new.shortfall.into(),
    ];
    INSERT_ENTRY.with(|s| s.run(client, &arguments))?.first(|row| row.get(1))
}

fn lot(row: &Columns) -> Result<Lot> {
    Ok(Lot {
        lot_id: row.get(1)?,
        entry_id: row.get(2)?,
        priority: row.get(3)?,
        expires_at: row.maybe::<TimestampWithTimeZone>(4)?.map(|at| Time::of(at).micros()),
        remaining: row.get(5)?,
        held: row.get(6)?,
        changed: false,
    })
}

/// The lots that have something left.
pub fn lots(client: &Client, key: AccountKey) -> Result<Vec<Lot>> {
    LOTS.with(|s| s.run(client, &key.arguments()))?.all(lot)
}

/// Of these lots, those that have nothing left.
pub fn used_up_lots(client: &Client, lot_ids: Vec<i64>) -> Result<Vec<Lot>> {
    LOTS_BY_ID.with(|s| s.run(client, &[lot_ids.into()]))?.all(lot)
}

/// The lot that the entry made, if it made one.
pub fn lot_of(client: &Client, entry_id: i64) -> Result<Option<i64>> {
    LOT_OF.with(|s| s.run(client, &[entry_id.into()]))?.first(|row| row.get(1))
}

/// Makes the lot of an entry just appended.
pub fn insert_lot(client: &Client, key: AccountKey, entry_id: i64, credits: i64, terms: Terms) -> Result<()> {
    let [customer, credit_type] = key.arguments();
    let expires_at = terms.expires_at.map(Time::of_micros).and_then(Time::timestamp);
    let arguments =
        [entry_id.into(), customer, credit_type, credits.into(), expires_at.into(), terms.priority.into()];
    INSERT_LOT.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Writes the lots that changed.
pub fn update_lots(client: &Client, account: &Account) -> Result<()> {
    let column = |of: fn(&Lot) -> i64| account.changed_lots().map(of).collect::<Vec<i64>>();
    let lot_ids = column(|lot| lot.lot_id);
    if lot_ids.is_empty() {
        return Ok(());
    }
    let count = lot_ids.len();
    let arguments = [lot_ids.into(), column(|lot| lot.remaining).into(), column(|lot| lot.held).into()];
    exactly(count, &UPDATE_LOTS.with(|s| s.run(client, &arguments))?)
}

/// The live lots that the plan's grants made and that end no later than then (none: whenever).
pub fn lots_of_plan(client: &Client, key: AccountKey, plan: &str, until: Option<Time>) -> Result<Vec<i64>> {
    let [customer, credit_type] = key.arguments();
    let arguments = [customer, credit_type, plan.into(), until.and_then(Time::timestamp).into()];
    LOTS_OF_PLAN.with(|s| s.run(client, &arguments))?.all(|row| row.get(1))
}

/// Ends lots before their time.
pub fn end_lots(client: &Client, lot_ids: &[i64], at: Time) -> Result<()> {
    if lot_ids.is_empty() {
        return Ok(());
    }
    let arguments = [lot_ids.to_vec().into(), at.timestamp().into()];
    exactly(lot_ids.len(), &END_LOTS.with(|s| s.run(client, &arguments))?)
}

fn columns_of(parts: &[Part]) -> [DatumWithOid<'static>; 2] {
    let lot_ids: Vec<i64> = parts.iter().map(|part| part.lot_id).collect();
    let credits: Vec<i64> = parts.iter().map(|part| part.credits).collect();
    [lot_ids.into(), credits.into()]
}

/// Notes what an entry took from which lot.
pub fn insert_uses(client: &Client, entry_id: i64, parts: &[Part]) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let [lot_ids, credits] = columns_of(parts);
    INSERT_USES.with(|s| s.run(client, &[entry_id.into(), lot_ids, credits]))?;
    Ok(())
}

/// What an entry took from which lot, in the order of burning.
pub fn uses(client: &Client, entry_id: i64) -> Result<Vec<Use>> {
    USES.with(|s| s.run(client, &[entry_id.into()]))?
        .all(|row| Ok(Use { lot_id: row.get(1)?, credits: row.get(2)?, returned: row.get(3)? }))
}

/// Notes what came back.
pub fn update_uses(client: &Client, entry_id: i64, uses: &[Use]) -> Result<()> {
    if uses.is_empty() {
        return Ok(());
    }
    let lot_ids: Vec<i64> = uses.iter().map(|used| used.lot_id).collect();
    let returned: Vec<i64> = uses.iter().map(|used| used.returned).collect();
    let arguments = [entry_id.into(), lot_ids.into(), returned.into()];
    exactly(uses.len(), &UPDATE_USES.with(|s| s.run(client, &arguments))?)
}

/// The account's open holds whose lifetime is over.
pub fn run_out_holds(client: &Client, key: AccountKey, now: Time) -> Result<Vec<RunOut>> {
    let [customer, credit_type] = key.arguments();
    RUN_OUT.with(|s| s.run(client, &[customer, credit_type, now.timestamp().into()]))?.all(|row| {
        let lot_ids: Vec<i64> = row.get(3)?;
        let credits: Vec<i64> = row.get(4)?;
        let parts = lot_ids.into_iter().zip(credits).map(|(lot_id, credits)| Part { lot_id, credits });
        Ok(RunOut { hold_id: uuid(row, 1)?, credits: row.get(2)?, parts: parts.collect() })
    })
}

/// Marks holds that ran out.
pub fn expire_holds(client: &Client, hold_ids: &[Uuid], now: Time) -> Result<()> {
    if hold_ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<PgUuid> = hold_ids.iter().map(|id| PgUuid::from_bytes(*id)).collect();
    exactly(hold_ids.len(), &EXPIRE_HOLDS.with(|s| s.run(client, &[ids.into(), now.timestamp().into()]))?)
}

/// A hold to be made.
pub struct NewHold<'a> {
    pub credits: i64,
    pub idempotency_key: &'a str,
    pub fingerprint: Fingerprint,
    pub created_at: Time,
    pub expires_at: Time,
    pub metadata: Option<DatumWithOid<'a>>,
}

/// Makes a hold on those lots; none if its key stands already.
pub fn insert_hold(client: &Client, key: AccountKey, new: NewHold, parts: &[Part]) -> Result<Option<Uuid>> {
    let [customer, credit_type] = key.arguments();
    let arguments = [
        customer,
        credit_type,
        new.credits.into(),
        new.created_at.timestamp().into(),
        new.expires_at.timestamp().into(),
        new.idempotency_key.into(),
        new.fingerprint.as_slice().into(),
        new.metadata.unwrap_or(DatumWithOid::null::<JsonB>()),
    ];
    let Some(hold_id) = INSERT_HOLD.with(|s| s.run(client, &arguments))?.first(|row| uuid(row, 1))? else {
        return Ok(None);
    };
    if !parts.is_empty() {
        let [lot_ids, credits] = columns_of(parts);
        let arguments = [PgUuid::from_bytes(hold_id).into(), lot_ids, credits];
        INSERT_HOLD_LOTS.with(|s| s.run(client, &arguments))?;
    }
    Ok(Some(hold_id))
}

/// A row of `billing.holds`.
#[derive(Clone, Debug)]
pub struct Hold {
    pub hold_id: Uuid,
    pub customer_id: Uuid,
    pub credit_type: String,
    pub status: String,
    pub credits: i64,
    pub captured_credits: Option<i64>,
    pub expires_at: Time,
}

/// The hold of that id.
pub fn hold(client: &Client, hold_id: Uuid) -> Result<Option<Hold>> {
    HOLD.with(|s| s.run(client, &[PgUuid::from_bytes(hold_id).into()]))?.first(|row| {
        Ok(Hold {
            hold_id: uuid(row, 1)?,
            customer_id: uuid(row, 2)?,
            credit_type: row.get(3)?,
            status: row.get(4)?,
            credits: row.get(5)?,
            captured_credits: row.maybe(6)?,
            expires_at: Time::of(row.get(7)?),
        })
    })
}

/// Which lots the hold lies on.
pub fn hold_lots(client: &Client, hold_id: Uuid) -> Result<Vec<Part>> {
    HOLD_LOTS
        .with(|s| s.run(client, &[PgUuid::from_bytes(hold_id).into()]))?
        .all(|row| Ok(Part { lot_id: row.get(1)?, credits: row.get(2)? }))
}

/// Ends an open hold.
pub fn end_hold(
    client: &Client,
    hold_id: Uuid,
    status: &str,
    captured: Option<i64>,
    now: Time,
) -> Result<()> {
    let arguments =
        [PgUuid::from_bytes(hold_id).into(), status.into(), captured.into(), now.timestamp().into()];
    exactly(1, &END_HOLD.with(|s| s.run(client, &arguments))?)
}

/// What a reversal needs to know of the entry that it undoes.
#[derive(Clone, Debug)]
pub struct Undone {
    pub customer_id: Uuid,
    pub credit_type: String,
    pub kind: EntryKind,
    pub credits: i64,
    pub amount_minor: Option<i64>,
}

/// The entry of that number.
pub fn entry_by_id(client: &Client, entry_id: i64) -> Result<Option<Undone>> {
    ENTRY.with(|s| s.run(client, &[entry_id.into()]))?.first(|row| {
        Ok(Undone {
            customer_id: uuid(row, 1)?,
            credit_type: row.get(2)?,
            kind: EntryKind::parse(&row.get::<String>(3)?).ok_or(Error::BrokenInvariant)?,
            credits: row.get(4)?,
            amount_minor: row.maybe(5)?,
        })
    })
}

/// What reversals of a credited entry have undone so far, and how many there are.
pub fn undone_by(client: &Client, entry_id: i64) -> Result<(UndoneBy, i64)> {
    let sums = UNDONE_BY.with(|s| s.run(client, &[entry_id.into()]))?;
    sums.first(|row| {
        let undone = UndoneBy { by_charge: row.get(1)?, by_others: row.get(2)?, shortfall: row.get(3)? };
        Ok((undone, row.get(4)?))
    })?
    .ok_or(Error::BrokenInvariant)
}

/// What reversals of the entry have done so far: the sum of their credits, and of their shortfalls.
pub fn reversed(client: &Client, entry_id: i64) -> Result<(i64, i64)> {
    let sums = UNDONE.with(|s| s.run(client, &[entry_id.into()]))?;
    sums.first(|row| Ok((row.get(1)?, row.get(2)?)))?.ok_or(Error::BrokenInvariant)
}

/// Accounts with something to settle, so many lots and holds at the most, in the order of locking.
pub fn due_accounts(client: &Client, now: Time, max_rows: i64) -> Result<Vec<(Uuid, String)>> {
    DUE_ACCOUNTS
        .with(|s| s.run(client, &[now.timestamp().into(), max_rows.into()]))?
        .all(|row| Ok((uuid(row, 1)?, row.get(2)?)))
}

/// The first entry of the account within those numbers: its number, its time, the balance after it.
pub fn first_entry_within(
    client: &Client,
    key: AccountKey,
    from: i64,
    to: i64,
) -> Result<Option<(i64, Time, i64)>> {
    let [customer, credit_type] = key.arguments();
    BALANCE_AT
        .with(|s| s.run(client, &[customer, credit_type, from.into(), to.into()]))?
        .first(|row| Ok((row.get(1)?, Time::of(row.get(2)?), row.get(3)?)))
}

/// The number of the account's last entry.
pub fn last_entry(client: &Client, key: AccountKey) -> Result<Option<i64>> {
    LAST_ENTRY.with(|s| s.run(client, &key.arguments()))?.first(|row| row.get(1))
}

/// The types of which a customer has a balance, if only of zero.
pub fn credit_types(client: &Client, customer_id: Uuid) -> Result<Vec<String>> {
    CREDIT_TYPES.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?.all(|row| row.get(1))
}

/// Gives all lots of a locked account to another's; `family` has made them.
pub fn hand_over_lots(client: &Client, from: AccountKey, into: Uuid, family: &[Uuid]) -> Result<()> {
    let [customer, credit_type] = from.arguments();
    let family: Vec<PgUuid> = family.iter().copied().map(PgUuid::from_bytes).collect();
    let arguments = [customer, PgUuid::from_bytes(into).into(), credit_type, family.into()];
    HAND_OVER_LOTS.with(|s| s.run(client, &arguments))?;
    Ok(())
}

/// Gives the open holds of a locked account to another's, so that their keys stand for the other's request.
pub fn hand_over_holds(client: &Client, from: AccountKey, into: Uuid) -> Result<()> {
    let open: Vec<(Uuid, i64)> =
        OPEN_HOLDS.with(|s| s.run(client, &from.arguments()))?.all(|row| Ok((uuid(row, 1)?, row.get(2)?)))?;
    for (hold_id, credits) in open {
        let fingerprint = hold_fingerprint(&into, from.credit_type, credits);
        let arguments = [
            PgUuid::from_bytes(hold_id).into(),
            PgUuid::from_bytes(into).into(),
            fingerprint.as_slice().into(),
        ];
        exactly(1, &HAND_OVER_HOLD.with(|s| s.run(client, &arguments))?)?;
    }
    Ok(())
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
pub fn history(client: &Client, key: AccountKey, before: i64, rows: i64) -> Result<Vec<HistoryEntry>> {
    let [customer, credit_type] = key.arguments();
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

fn exactly(count: usize, rows: &Rows) -> Result<()> {
    if rows.len() == count { Ok(()) } else { Err(Error::BrokenInvariant) }
}
