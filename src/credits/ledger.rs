//! A balance under its lock: loaded with its lots and holds, changed in memory, written once.

use billing_core::credits::account::{Account, WriteOff};
use billing_core::credits::{EntryKind, expiry_fingerprint, expiry_key};
use billing_core::customers::Uuid;

use super::store::{self, AccountKey, BalanceRow, NewEntry, Origin};
use crate::customers;
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended, Time};

/// A locked, settled account. What settling calls for is written together with what the call does, or not
/// at all.
pub struct Locked<'a> {
    /// Whose and of which type.
    pub key: AccountKey<'a>,
    /// As it is after settling, and after what the call has done since.
    pub account: Account,
    /// The time of whatever is written: the clock, but never before the entry before.
    pub at: Time,
    /// Holds ever made.
    pub hold_count: i64,
    before: i64,
    ended_holds: Vec<Uuid>,
    write_offs: Vec<WriteOff>,
    ended_lots: Vec<i64>,
}

impl<'a> Locked<'a> {
    /// Locks the account; none if it has no row yet. Of a customer who was merged into another it is that
    /// one's, whose key it then has.
    pub fn open(client: &Client, mut key: AccountKey<'a>) -> Result<Option<Locked<'a>>> {
        loop {
            let row = store::lock_balance(client, key)?;
            // Merging leaves nothing behind: only who has nothing needs to be asked after.
            if row.is_none_or(|row| row.balance == 0) {
                let heir = customers::heir(client, key.customer_id)?;
                if heir != key.customer_id {
                    key.customer_id = heir;
                    continue;
                }
            }
            return row.map(|row| Locked::settled(client, key, row)).transpose();
        }
    }

    /// Locks the account of that very customer, who must have it.
    pub fn open_itself(client: &Client, key: AccountKey<'a>) -> Result<Locked<'a>> {
        let row = store::lock_balance(client, key)?.ok_or(Error::BrokenInvariant)?;
        Locked::settled(client, key, row)
    }

    /// Locks the account if nobody else has it.
    pub fn open_if_free(client: &Client, key: AccountKey<'a>) -> Result<Option<Locked<'a>>> {
        match store::lock_balance_if_free(client, key)? {
            Some(row) => Locked::settled(client, key, row).map(Some),
            None => Ok(None),
        }
    }

    /// The account of a row just locked.
    pub fn settled(client: &Client, key: AccountKey<'a>, row: BalanceRow) -> Result<Locked<'a>> {
        let at = pg::now().max(row.last_entry_at);
        let mut account = load(client, key, row, at)?;
        let (ended_holds, write_offs) = account.settle(at.micros());
        let (before, hold_count) = (row.balance, row.hold_count);
        Ok(Locked { key, account, at, hold_count, before, ended_holds, write_offs, ended_lots: Vec::new() })
    }

    /// The balance as the row has it.
    pub const fn before(&self) -> i64 {
        self.before
    }

    /// Ends lots before their time.
    pub fn end_lots(&mut self, lot_ids: Vec<i64>) {
        self.write_offs.extend(self.account.end_lots(&lot_ids, self.at.micros()));
        self.ended_lots = lot_ids;
    }

    /// What settling writes off.
    pub fn write_offs(&self) -> &[WriteOff] {
        &self.write_offs
    }

    /// Writes what settling and the call did to holds and lots; entries and balance are the caller's.
    pub fn write_holds_and_lots(&self, client: &Client) -> Result<()> {
        store::expire_holds(client, &self.ended_holds, self.at)?;
        store::end_lots(client, &self.ended_lots, self.at)?;
        store::update_lots(client, &self.account)
    }

    /// Whether settling alone calls for a write.
    pub fn is_due(&self) -> bool {
        !(self.ended_holds.is_empty() && self.write_offs.is_empty())
    }

    /// Writes what settling called for, then what the call writes, then lots and balance. The call's own
    /// part answers none if a key or source stands already: then nothing at all is written.
    ///
    /// A conflict is found out by the insert itself; only where something was to be written before it, a
    /// savepoint takes that back.
    pub fn commit<T>(
        &self,
        client: &Client,
        new_holds: i64,
        write: impl FnOnce(&Client) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        if self.write_offs.is_empty() {
            return self.write_all(client, new_holds, write);
        }
        let body = || self.write_all(client, new_holds, write).map(|written| written.ok_or(()));
        match pg::savepoint(pg::Errors::Through, body)? {
            Ended::Done(written) => Ok(Some(written)),
            Ended::Refused(()) => Ok(None),
            Ended::Busy | Ended::Error(_) => Err(Error::BrokenInvariant),
        }
    }

    fn write_all<T>(
        &self,
        client: &Client,
        new_holds: i64,
        write: impl FnOnce(&Client) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        for write_off in &self.write_offs {
            self.write_off(client, write_off)?;
        }
        let Some(written) = write(client)? else { return Ok(None) };
        self.write_holds_and_lots(client)?;
        let hold_count = self.hold_count + new_holds;
        store::update_balance(client, self.key, self.before, &self.account, hold_count, self.at)?;
        Ok(Some(written))
    }

    fn write_off(&self, client: &Client, write_off: &WriteOff) -> Result<()> {
        let metadata = write_off_metadata(write_off);
        let new = NewEntry {
            kind: EntryKind::Expiry,
            credits: -write_off.credits,
            balance_after: write_off.balance_after,
            idempotency_key: &expiry_key(write_off),
            fingerprint: expiry_fingerprint(write_off),
            money: None,
            source: None,
            origin: Origin::default(),
            metadata: pg::jsonb(&metadata).map(Into::into),
            reverses: None,
            shortfall: None,
        };
        store::insert_entry(client, self.key, new, self.at)?.ok_or(Error::BrokenInvariant)?;
        Ok(())
    }
}

/// What a write-off's entry says of the lot.
pub fn write_off_metadata(write_off: &WriteOff) -> String {
    format!("{{\"entry_id\": {}}}", write_off.entry_id)
}

/// The account as its rows say, lots and holds only where the balance says that there are some.
fn load(client: &Client, key: AccountKey, row: BalanceRow, at: Time) -> Result<Account> {
    let lots = if row.in_lots > 0 { store::lots(client, key)? } else { Vec::new() };
    let run_out = if row.held > 0 { store::run_out_holds(client, key, at)? } else { Vec::new() };
    Ok(Account::new(row.balance, row.held, row.in_lots, lots, run_out))
}

/// The account as it would be if it were settled now, and its balance as it is.
pub fn look(client: &Client, key: AccountKey) -> Result<Option<(Account, i64)>> {
    let Some(row) = store::balance(client, key)? else { return Ok(None) };
    let now = pg::now();
    let mut account = load(client, key, row, now)?;
    account.settle(now.micros());
    Ok(Some((account, row.balance)))
}

/// Adds used-up lots to an account, for what comes back to them.
pub fn load_used_up(client: &Client, account: &mut Account, lot_ids: Vec<i64>) -> Result<()> {
    if !lot_ids.is_empty() {
        for lot in store::used_up_lots(client, lot_ids)? {
            account.add_lot(lot);
        }
    }
    Ok(())
}
