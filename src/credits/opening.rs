//! Books of an existing application in the ledger: one opening entry per balance, one entry of no credits per
//! source that was credited before.

use std::collections::HashSet;

use billing_core::adoption::{
    PROGRESS_ROWS, SOURCES_CREDIT_TYPE, SOURCES_CUSTOMER, Verdict, opening_fingerprint, opening_key,
    source_fingerprint, source_key,
};
use billing_core::credits::{EntryKind, Source};
use billing_core::customers::Uuid;
use pgrx::Uuid as PgUuid;

use super::ledger::Locked;
use super::store::bulk::{self, BulkBalance, BulkEntry};
use super::store::{self, AccountKey, BalanceRow, NewEntry, Origin};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Time};
use crate::{charges, customers};

const BALANCE_METADATA: &str = "{\"adopted\": \"balance\"}";
const SOURCE_METADATA: &str = "{\"adopted\": \"source\"}";

/// The credits of the customer's opening entries of that type: of more than one only after others, opened
/// too, were merged into the customer.
pub fn openings(client: &Client, customer_id: Uuid, credit_type: &str) -> Result<Vec<i64>> {
    let own = opening_key(&PgUuid::from_bytes(customer_id).to_string(), credit_type);
    let (credits, others_merged) = store::opening(client, &own, customer_id)?;
    if !others_merged {
        return Ok(credits);
    }
    store::credits_by_keys(client, opening_keys(&customers::family(client, customer_id)?, credit_type))
}

fn opening_keys(customers: &[Uuid], credit_type: &str) -> Vec<String> {
    customers.iter().map(|id| opening_key(&PgUuid::from_bytes(*id).to_string(), credit_type)).collect()
}

/// Opens the balances of these customers, each once, in rising order; what became of each. Left are those
/// opened meanwhile, and those merged into others.
pub fn open_balances(client: &Client, credit_type: &str, rows: &[(Uuid, i64)]) -> Result<Vec<Verdict>> {
    let mut made = HashSet::new();
    for chunk in rows.chunks(PROGRESS_ROWS) {
        let keys = keys(chunk, credit_type);
        made.extend(bulk::insert_balances(client, &keys, pg::now())?.into_iter().map(|(id, _)| id));
        pgrx::check_for_interrupts!();
    }
    let mut opened = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(PROGRESS_ROWS) {
        opened.extend(open_chunk(client, credit_type, chunk)?);
        pgrx::check_for_interrupts!();
        if chunk.len() == PROGRESS_ROWS {
            pgrx::notice!("{} balances adopted so far", opened.len());
        }
    }
    for ((customer_id, _), opened) in rows.iter().zip(&opened) {
        if *opened != Verdict::Adopted && made.contains(customer_id) {
            store::discard_balance(client, AccountKey { customer_id: *customer_id, credit_type })?;
        }
    }
    Ok(opened)
}

fn keys<'a>(rows: &[(Uuid, i64)], credit_type: &'a str) -> Vec<AccountKey<'a>> {
    rows.iter().map(|(customer_id, _)| AccountKey { customer_id: *customer_id, credit_type }).collect()
}

fn open_chunk(client: &Client, credit_type: &str, rows: &[(Uuid, i64)]) -> Result<Vec<Verdict>> {
    let found = bulk::lock_balances(client, &keys(rows, credit_type))?;
    let ids: Vec<Uuid> = rows.iter().map(|(customer_id, _)| *customer_id).collect();
    let balance = |id: &Uuid| found.get(&(*id, credit_type.to_owned()));
    // Merging leaves nothing behind: only who has nothing needs to be asked after.
    let poor: Vec<Uuid> =
        ids.iter().copied().filter(|id| balance(id).is_some_and(|row| row.balance == 0)).collect();
    let any_merged = customers::any_merged(client, &poor)?;
    // Whoever opens a balance has its lock: what stands now is all that there is.
    let standing = bulk::by_keys(client, opening_keys(&ids, credit_type))?;
    let mut entry_ids = bulk::next_entry_ids(client, rows.len())?.into_iter();
    let mut opened = Vec::with_capacity(rows.len());
    let (mut entries, mut balances) = (Vec::new(), Vec::new());
    for (customer_id, credits) in rows {
        let key = AccountKey { customer_id: *customer_id, credit_type };
        let idempotency_key = opening_key(&PgUuid::from_bytes(*customer_id).to_string(), credit_type);
        let gone = any_merged && customers::heir(client, *customer_id)? != *customer_id;
        let row = *balance(customer_id).ok_or(Error::BrokenInvariant)?;
        let Some(sum) = row.balance.checked_add(*credits) else {
            opened.push(Verdict::Malformed);
            continue;
        };
        if gone || standing.contains_key(&idempotency_key) {
            opened.push(Verdict::Remaining);
            continue;
        }
        opened.push(Verdict::Adopted);
        if (row.held > 0 || row.in_lots > 0) && open_settled(client, key, row, *credits, &idempotency_key)? {
            continue;
        }
        let at = pg::now().max(row.last_entry_at);
        entries.push(BulkEntry {
            entry_id: entry_ids.next().ok_or(Error::BrokenInvariant)?,
            key,
            kind: EntryKind::Adjustment,
            credits: *credits,
            balance_after: sum,
            money: None,
            fingerprint: opening_fingerprint(customer_id, credit_type, *credits),
            idempotency_key,
            source: None,
            metadata: Some(BALANCE_METADATA.to_owned()),
            at,
        });
        let (held, in_lots) = (row.held, row.in_lots);
        balances.push(BulkBalance { key, before: row.balance, balance: sum, held, in_lots, at });
    }
    if !bulk::insert_entries(client, &entries)? {
        return Err(Error::BrokenInvariant);
    }
    bulk::update_balances(client, &balances)?;
    Ok(opened)
}

/// Opens a balance that has something to settle first; false, and nothing written, if it has not.
fn open_settled(
    client: &Client,
    key: AccountKey,
    row: BalanceRow,
    credits: i64,
    idempotency_key: &str,
) -> Result<bool> {
    let mut locked = Locked::settled(client, key, row)?;
    if !locked.is_due() {
        return Ok(false);
    }
    locked.account.balance = locked.account.balance.checked_add(credits).ok_or(Error::BrokenInvariant)?;
    let new = NewEntry {
        kind: EntryKind::Adjustment,
        credits,
        balance_after: locked.account.balance,
        idempotency_key,
        fingerprint: opening_fingerprint(&key.customer_id, key.credit_type, credits),
        money: None,
        source: None,
        origin: Origin::default(),
        metadata: pg::jsonb(BALANCE_METADATA).map(Into::into),
        reverses: None,
        shortfall: None,
    };
    let written = locked.commit(client, 0, |client| store::insert_entry(client, key, new, locked.at))?;
    written.map(|_| true).ok_or(Error::BrokenInvariant)
}

/// Keeps sources as credited, at most so many that are not yet; in a dry run only says what would become of
/// them. A source stands by an entry of no credits under the unique index that judges every purchase, so that
/// nothing else has to be looked at when one comes.
pub fn adopt_sources(
    client: &Client,
    sources: &[&Source],
    dry_run: bool,
    at_most: usize,
) -> Result<Vec<Verdict>> {
    let mut verdicts = vec![Verdict::Already; sources.len()];
    let books = if dry_run || sources.is_empty() { None } else { Some(lock_books(client)?) };
    let mut places: Vec<usize> = (0..sources.len()).collect();
    // Charges in their order of locking, after the sessions and invoices, which have none of their own.
    places.sort_by_key(|place| (sources[*place].payment_ref.as_deref(), sources[*place].source_ref.as_str()));
    places.dedup_by_key(|place| sources[*place].source_ref.as_str());
    let mut adopted = Vec::new();
    for place in places {
        let writes = books.is_some() && adopted.len() < at_most;
        if is_credited(client, sources[place], writes)? {
            continue;
        }
        if adopted.len() < at_most {
            verdicts[place] = Verdict::Adopted;
            adopted.push(place);
        } else {
            verdicts[place] = Verdict::Remaining;
        }
    }
    if let Some((row, at)) = books {
        let rows: Vec<&Source> = adopted.iter().map(|place| sources[*place]).collect();
        let written = enter_sources(client, &rows, row, at)?;
        for (place, written) in adopted.into_iter().zip(written) {
            // Bought at this very moment: that purchase stands for it.
            verdicts[place] = if written { Verdict::Adopted } else { Verdict::Already };
        }
    }
    Ok(verdicts)
}

const BOOKS: AccountKey = AccountKey { customer_id: SOURCES_CUSTOMER, credit_type: SOURCES_CREDIT_TYPE };

/// The account of adopted sources, locked: adopting takes turns on it. Nobody else ever does, so that it may
/// come before charges.
fn lock_books(client: &Client) -> Result<(BalanceRow, Time)> {
    customers::make_nobody(client, SOURCES_CUSTOMER)?;
    store::insert_balance(client, BOOKS, pg::now())?;
    let row = store::lock_balance(client, BOOKS)?.ok_or(Error::BrokenInvariant)?;
    Ok((row, pg::now().max(row.last_entry_at)))
}

/// Whether the source, or what is the same fact, was credited or adopted. `lock`: and nobody is about to
/// credit it by another of its names, until the transaction ends.
fn is_credited(client: &Client, source: &Source, lock: bool) -> Result<bool> {
    // What stands stays: a further run passes over most sources here, and locks nothing.
    if store::by_source(client, source)?.entry.is_some() {
        return Ok(true);
    }
    if !lock {
        return Ok(false);
    }
    let Some(payment_ref) = source.payment_ref.as_deref() else {
        charges::lock_of_source(client, &source.source_ref)?;
        return stands_by_now(client, source);
    };
    let charge = charges::lock(client, payment_ref, Some(&source.source_ref))?;
    let credited = stands_by_now(client, source)?;
    if credited && charge.new {
        charges::discard(client, payment_ref)?;
    }
    Ok(credited)
}

/// Under the locks: an older snapshot that shows less must not decide.
fn stands_by_now(client: &Client, source: &Source) -> Result<bool> {
    let look = |client: &Client| Ok::<_, Error>(store::by_source(client, source)?.entry.is_some());
    let credited = look(client)?;
    if pg::keeps_one_snapshot() && pg::read_latest(look)? != credited {
        return Err(Error::ConcurrentUpdate);
    }
    Ok(credited)
}

/// Writes an entry of no credits per source; which of them stand by it now.
fn enter_sources(client: &Client, sources: &[&Source], row: BalanceRow, at: Time) -> Result<Vec<bool>> {
    let ids = bulk::next_entry_ids(client, sources.len())?;
    let entries: Vec<BulkEntry> = ids
        .into_iter()
        .zip(sources)
        .map(|(entry_id, source)| BulkEntry {
            entry_id,
            key: BOOKS,
            kind: EntryKind::Adjustment,
            credits: 0,
            balance_after: row.balance,
            money: None,
            idempotency_key: source_key(&source.source_ref),
            source: Some(source),
            fingerprint: source_fingerprint(&source.source_ref),
            metadata: Some(SOURCE_METADATA.to_owned()),
            at,
        })
        .collect();
    let all = bulk::insert_entries(client, &entries)?;
    let (balance, held, in_lots) = (row.balance, row.held, row.in_lots);
    bulk::update_balances(
        client,
        &[BulkBalance { key: BOOKS, before: balance, balance, held, in_lots, at }],
    )?;
    if all {
        return Ok(vec![true; sources.len()]);
    }
    let keys = || sources.iter().map(|source| source_key(&source.source_ref));
    let standing = bulk::by_keys(client, keys().collect())?;
    Ok(keys().map(|key| standing.contains_key(&key)).collect())
}
