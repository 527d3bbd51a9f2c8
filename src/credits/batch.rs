//! Batches: many operations in one transaction, each answered as its single call would be.
//!
//! All locks are taken first, in their one order, so that two batches over the same customers never wait
//! for each other. Then keys and sources are looked up at once, the operations run in memory one after the
//! other, and what they did is written in a few statements. Where a rival turns out to have used a key or
//! source meanwhile, what was written is undone and the operations run anew.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use billing_core::credits::account::{Lot, Part, WriteOff};
use billing_core::credits::batch::{Operation, parse};
use billing_core::credits::{EntryKind, Request, expiry_fingerprint, expiry_key, gate};
use billing_core::customers::Uuid;
use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ledger::{Locked, write_off_metadata};
use super::store::bulk::{self, BulkBalance, BulkEntry};
use super::store::{self, AccountKey, Entry, Keyed};
use super::{CreditOutcome, Shown, apply, change, replay};
use crate::charges;
use crate::customers::{self, Person};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended, Gates, JsonbArgument, Sharing};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn apply_credit_batch(
    operations: default!(Option<JsonbArgument>, "NULL"),
) -> Result<SetOfIterator<'static, CreditOutcome>, ErrorReport> {
    let outcomes = match parse(operations.as_ref().map(JsonbArgument::text)) {
        Ok(operations) => run(&operations)?,
        Err(refusal) => vec![CreditOutcome::refused(refusal)],
    };
    Ok(SetOfIterator::new(outcomes))
}

type Parsed<'a> = std::result::Result<(Request<'a>, Option<&'a str>), Refusal>;

/// How often the operations run anew because of rivals.
const MAX_ROUNDS: usize = 100;

fn run(operations: &[std::result::Result<Operation, Refusal>]) -> Result<Vec<CreditOutcome>> {
    let external_ids = customers::external_ids();
    let requests: Vec<Parsed> = operations
        .iter()
        .map(|operation| {
            let operation = operation.as_ref().map_err(|refusal| *refusal)?;
            let (kind, raw) = operation.call();
            Request::parse(kind, &raw, external_ids).map(|request| (request, operation.metadata()))
        })
        .collect();
    pg::write(|client| {
        share_keys(client, &requests)?;
        let charges = Charges::lock(client, &requests)?;
        if charges.contested {
            charges.discard(client)?;
            return one_by_one(client, &requests);
        }
        let prepared = Prepared::lock(client, charges, &requests)?;
        for rounds in 0..MAX_ROUNDS {
            let mut round = Round::load(client, &prepared, &requests)?;
            if customers::any_merged(client, &round.poor)? {
                prepared.take_back(client, &round)?;
                return one_by_one(client, &requests);
            }
            let outcomes = round.run(client, &prepared, &requests)?;
            // At first in the hope that there is no rival.
            let (hope, errors) = match rounds {
                0 => (true, pg::Errors::NotNew),
                _ => (false, pg::Errors::Through),
            };
            match pg::savepoint(errors, || pg::hopeful(hope, || round.write(client)))? {
                Ended::Done(()) => {
                    prepared.take_back(client, &round)?;
                    return Ok(outcomes);
                }
                Ended::Refused(Rival) => {}
                Ended::Error(_) if hope => {}
                Ended::Busy | Ended::Error(_) => return Err(Error::BrokenInvariant),
            }
        }
        Err(Error::BrokenInvariant)
    })
}

/// The same as `share_key`, for all at once.
fn share_keys(client: &Client, requests: &[Parsed]) -> Result<()> {
    let keys = || requests.iter().flatten().map(|(request, _)| request.idempotency_key.as_ref());
    let gates: BTreeSet<u16> = keys().map(gate).collect();
    gates.into_iter().for_each(|number| pg::gate(Gates::Keys, number, Sharing::Shared));
    if pg::keeps_one_snapshot() {
        let holds = |client: &Client| {
            let keyed = bulk::by_keys(client, keys().map(str::to_owned).collect())?;
            Ok(keyed.values().filter(|keyed| matches!(keyed, Keyed::Hold(..))).count())
        };
        if pg::read_latest(holds)? != holds(client)? {
            return Err(Error::ConcurrentUpdate);
        }
    }
    Ok(())
}

/// A purchase that is undone as soon as it is made changes what the operations after it find, and so does an
/// operator who merged a customer while the locks were waited for: then each is a call of its own.
fn one_by_one(client: &Client, requests: &[Parsed]) -> Result<Vec<CreditOutcome>> {
    let call = |parsed: &Parsed| match parsed {
        Err(refusal) => Ok(CreditOutcome::refused(*refusal)),
        Ok((request, metadata)) => {
            let metadata = metadata.and_then(JsonbArgument::of_text);
            apply(client, request, metadata.as_ref())
        }
    };
    requests.iter().map(call).collect()
}

/// A key or source of the batch was used by somebody else meanwhile.
struct Rival;

fn name(request: &Request) -> Vec<u8> {
    customers::name(&request.user)
}

/// The charges behind the operations, locked.
struct Charges {
    /// Those that this call made.
    made: BTreeSet<String>,
    /// Whether a refund or dispute was heard of any.
    contested: bool,
}

impl Charges {
    /// Locks in sorted order what is known of the payments behind the operations' sources.
    fn lock(client: &Client, requests: &[Parsed]) -> Result<Charges> {
        let sources = || requests.iter().flatten().filter_map(|(request, _)| request.source.as_ref());
        let sessions: Vec<String> = sources()
            .filter(|source| source.payment_ref.is_none())
            .map(|source| source.source_ref.clone())
            .collect();
        let mut payments: BTreeMap<String, Option<&str>> = sources()
            .filter_map(|source| Some((source.payment_ref.clone()?, Some(source.source_ref.as_str()))))
            .collect();
        for payment_ref in tied_payments(client, sessions)? {
            payments.entry(payment_ref).or_default();
        }
        let mut charges = Charges { made: BTreeSet::new(), contested: false };
        for (payment_ref, source_ref) in payments {
            let locked = charges::lock(client, &payment_ref, source_ref)?;
            charges.contested |= locked.charge.is_contested();
            if locked.new {
                charges.made.insert(payment_ref);
            }
        }
        Ok(charges)
    }

    fn discard(&self, client: &Client) -> Result<()> {
        self.made.iter().try_for_each(|payment_ref| charges::discard(client, payment_ref))
    }
}

/// The payments that events tied to sessions which the batch may credit; no further ones are tied from now
/// on, until the transaction ends.
fn tied_payments(client: &Client, sessions: Vec<String>) -> Result<Vec<String>> {
    let gates: BTreeSet<u16> = sessions.iter().map(|session| gate(session)).collect();
    if gates.is_empty() {
        return Ok(Vec::new());
    }
    gates.into_iter().for_each(|number| pg::gate(Gates::Sources, number, Sharing::Shared));
    let ties = bulk::ties(client, Vec::new(), sessions.clone())?;
    if pg::keeps_one_snapshot() {
        let latest = pg::read_latest(|latest| bulk::ties(latest, Vec::new(), sessions))?;
        if latest.len() != ties.len() {
            return Err(Error::ConcurrentUpdate);
        }
    }
    Ok(ties.into_iter().map(|(payment_ref, _)| payment_ref).collect())
}

/// Who is meant by the operations, and what was made for them to be locked.
#[derive(Default)]
struct Prepared {
    people: HashMap<Vec<u8>, Person>,
    charges: BTreeSet<String>,
    customers: BTreeSet<Uuid>,
    balances: Vec<(Uuid, String)>,
}

impl Prepared {
    /// Makes missing customers, makes missing balances: each in sorted order.
    fn lock(client: &Client, charges: Charges, requests: &[Parsed]) -> Result<Prepared> {
        let mut prepared = Prepared { charges: charges.made, ..Prepared::default() };
        let requests = || requests.iter().flatten().map(|(request, _)| request);
        let mut people: BTreeMap<Vec<u8>, (&Request, bool)> = BTreeMap::new();
        for request in requests() {
            people.entry(name(request)).or_insert((request, false)).1 |= request.credits > 0;
        }
        for (name, (request, credited)) in people {
            let person = customers::find(client, &request.user)?;
            let person = if credited { prepared.make(client, person)? } else { person };
            prepared.people.insert(name, person);
        }
        let mut credited: Vec<AccountKey> =
            requests().filter(|request| request.credits > 0).filter_map(|r| prepared.key(r)).collect();
        credited.sort_by_key(|key| (key.customer_id, key.credit_type));
        credited.dedup();
        prepared.balances = bulk::insert_balances(client, &credited, pg::now())?;
        Ok(prepared)
    }

    fn make(&mut self, client: &Client, person: Person) -> Result<Person> {
        match customers::find_or_make(client, &person)? {
            None => Ok(Person::Unknown),
            Some((customer_id, made)) => {
                if made {
                    self.customers.insert(customer_id);
                }
                Ok(Person::Known(customer_id))
            }
        }
    }

    fn person(&self, request: &Request) -> &Person {
        self.people.get(&name(request)).unwrap_or(&Person::Unknown)
    }

    fn key<'a>(&self, request: &'a Request) -> Option<AccountKey<'a>> {
        match self.person(request) {
            Person::Known(customer_id) => {
                Some(AccountKey { customer_id: *customer_id, credit_type: &request.credit_type })
            }
            Person::New(_) | Person::Unknown => None,
        }
    }

    /// Takes back what was made for operations that were refused in the end.
    fn take_back(&self, client: &Client, round: &Round) -> Result<()> {
        let used: BTreeSet<(Uuid, &str)> =
            round.entries.iter().map(|entry| (entry.key.customer_id, entry.key.credit_type)).collect();
        let paid: BTreeSet<&str> = round
            .entries
            .iter()
            .filter_map(|entry| entry.source.and_then(|source| source.payment_ref.as_deref()))
            .collect();
        for (customer_id, credit_type) in &self.balances {
            if !used.contains(&(*customer_id, credit_type)) {
                store::discard_balance(client, AccountKey { customer_id: *customer_id, credit_type })?;
            }
        }
        let customers: BTreeSet<Uuid> = used.iter().map(|(customer_id, _)| *customer_id).collect();
        for customer_id in &self.customers {
            if !customers.contains(customer_id) {
                customers::discard(client, *customer_id)?;
            }
        }
        for payment_ref in &self.charges {
            if !paid.contains(payment_ref.as_str()) {
                charges::discard(client, payment_ref)?;
            }
        }
        Ok(())
    }
}

/// The operations run once, in memory.
struct Round<'a> {
    keys: HashMap<String, Keyed>,
    sources: HashMap<String, Entry>,
    /// Per source, all that is the same fact.
    same: HashMap<&'a str, Vec<String>>,
    accounts: HashMap<(Uuid, &'a str), Locked<'a>>,
    /// Customers who have nothing in an account: merging leaves nothing behind, so only they may be merged.
    poor: Vec<Uuid>,
    /// Accounts that an operation was applied to.
    touched: BTreeSet<(Uuid, &'a str)>,
    entries: Vec<BulkEntry<'a>>,
    /// By place in `entries`: which lots the entry took from.
    uses: Vec<(usize, Vec<Part>)>,
    /// Lots that entries made, as they were made.
    lots: Vec<(AccountKey<'a>, Lot)>,
    /// Accounts with such a lot that had expired already: the next operation settles them anew.
    due: BTreeSet<(Uuid, &'a str)>,
    /// What settling wrote off, to be entered before the account's next entry.
    write_offs: HashMap<(Uuid, &'a str), Vec<WriteOff>>,
    ids: std::vec::IntoIter<i64>,
    lot_ids: std::vec::IntoIter<i64>,
}

impl<'a> Round<'a> {
    fn load(client: &Client, prepared: &Prepared, requests: &'a [Parsed<'a>]) -> Result<Round<'a>> {
        let all = || requests.iter().flatten().map(|(request, _)| request);
        let mut keys: Vec<AccountKey> = all().filter_map(|request| prepared.key(request)).collect();
        keys.sort_by_key(|key| (key.customer_id, key.credit_type));
        keys.dedup();
        let rows = bulk::lock_balances(client, &keys)?;
        let mut accounts = HashMap::with_capacity(keys.len());
        let balance = |key: &AccountKey| rows.get(&(key.customer_id, key.credit_type.to_owned()));
        let poor = keys.iter().filter(|key| balance(key).is_none_or(|row| row.balance == 0));
        let poor = poor.map(|key| key.customer_id).collect();
        for key in keys {
            if let Some(row) = rows.get(&(key.customer_id, key.credit_type.to_owned())) {
                accounts.insert((key.customer_id, key.credit_type), Locked::settled(client, key, *row)?);
            }
        }
        let same = same_facts(client, requests)?;
        let write_offs: HashMap<_, _> =
            accounts.iter().map(|(account, locked)| (*account, locked.write_offs().to_vec())).collect();
        let lots = all().filter(|request| makes_a_lot(request)).count();
        // Each lot of the batch may expire in it.
        let entries = all().count() + lots + write_offs.values().map(Vec::len).sum::<usize>();
        Ok(Round {
            keys: bulk::by_keys(client, all().map(|r| r.idempotency_key.clone().into_owned()).collect())?,
            sources: bulk::by_sources(client, same.values().flatten().cloned().collect())?,
            same,
            accounts,
            poor,
            touched: BTreeSet::new(),
            entries: Vec::new(),
            uses: Vec::new(),
            lots: Vec::new(),
            due: BTreeSet::new(),
            write_offs,
            ids: bulk::next_entry_ids(client, entries)?.into_iter(),
            lot_ids: bulk::next_lot_ids(client, lots)?.into_iter(),
        })
    }

    fn run(
        &mut self,
        client: &Client,
        prepared: &Prepared,
        requests: &'a [Parsed<'a>],
    ) -> Result<Vec<CreditOutcome>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(match request {
                Err(refusal) => CreditOutcome::refused(*refusal),
                Ok((request, metadata)) => self.apply(client, prepared, request, *metadata)?,
            });
        }
        Ok(outcomes)
    }

    /// One operation, judged as its single call: replay, duplicate, then the rules.
    fn apply(
        &mut self,
        client: &Client,
        prepared: &Prepared,
        request: &'a Request<'a>,
        metadata: Option<&str>,
    ) -> Result<CreditOutcome> {
        let person = prepared.person(request);
        if let Some(keyed) = self.keys.get(request.idempotency_key.as_ref()) {
            return replay(client, request, person, keyed.clone());
        }
        let same = request.source.as_ref().and_then(|source| self.same.get(source.source_ref.as_str()));
        if let Some(entry) = same.into_iter().flatten().find_map(|source| self.sources.get(source)) {
            return Ok(CreditOutcome::already_credited(entry.clone()));
        }
        let refused = |detail| Ok(CreditOutcome::refused(invalid(detail)));
        if *person == Person::Unknown {
            return refused(Detail::UnknownUser);
        }
        let Some(key) = prepared.key(request) else { return refused(Detail::InsufficientCredits) };
        let account = (key.customer_id, key.credit_type);
        let Some(locked) = self.accounts.get_mut(&account) else {
            return refused(Detail::InsufficientCredits);
        };
        let unsettled = self.due.contains(&account).then(|| locked.account.clone());
        let write_offs = match unsettled {
            Some(_) => locked.account.settle(locked.at.micros()).1,
            None => Vec::new(),
        };
        let parts = match change(locked, request) {
            Ok(parts) => parts,
            Err(refusal) => {
                // What is refused writes nothing off either.
                if let Some(unsettled) = unsettled {
                    locked.account = unsettled;
                }
                return Ok(CreditOutcome::refused(refusal));
            }
        };
        if !write_offs.is_empty() {
            self.due.remove(&account);
            self.write_offs.insert(account, write_offs);
        }
        let (at, balance_after) = (locked.at, locked.account.balance);
        self.touch(key)?;
        self.enter(key, request, metadata, parts, at, balance_after)
    }

    /// Before an entry of an account stand its write-offs.
    fn touch(&mut self, key: AccountKey<'a>) -> Result<()> {
        let account = (key.customer_id, key.credit_type);
        self.touched.insert(account);
        let locked = self.accounts.get(&account).ok_or(Error::BrokenInvariant)?;
        for write_off in &self.write_offs.remove(&account).unwrap_or_default() {
            self.entries.push(BulkEntry {
                entry_id: self.ids.next().ok_or(Error::BrokenInvariant)?,
                key,
                kind: EntryKind::Expiry,
                credits: -write_off.credits,
                balance_after: write_off.balance_after,
                money: None,
                idempotency_key: expiry_key(write_off),
                source: None,
                fingerprint: expiry_fingerprint(write_off),
                metadata: Some(write_off_metadata(write_off)),
                at: locked.at,
            });
        }
        Ok(())
    }

    fn enter(
        &mut self,
        key: AccountKey<'a>,
        request: &'a Request<'a>,
        metadata: Option<&str>,
        parts: Vec<Part>,
        at: pg::Time,
        balance_after: i64,
    ) -> Result<CreditOutcome> {
        let entry_id = self.ids.next().ok_or(Error::BrokenInvariant)?;
        let fingerprint = request.fingerprint(&key.customer_id);
        if !parts.is_empty() {
            self.uses.push((self.entries.len(), parts));
        }
        if makes_a_lot(request) {
            self.make_lot(key, request, entry_id)?;
        }
        self.entries.push(BulkEntry {
            entry_id,
            key,
            kind: request.kind,
            credits: request.credits,
            balance_after,
            money: request.money.as_ref(),
            idempotency_key: request.idempotency_key.clone().into_owned(),
            source: request.source.as_ref(),
            fingerprint,
            metadata: metadata.map(str::to_owned),
            at,
        });
        let entry = Entry {
            entry_id,
            customer_id: key.customer_id,
            credit_type: key.credit_type.to_owned(),
            credits: request.credits,
            balance_after,
            created_at: at.timestamp().ok_or(Error::BrokenInvariant)?,
            fingerprint: fingerprint.to_vec(),
        };
        if let Some(source) = &request.source {
            self.sources.insert(source.source_ref.clone(), entry.clone());
        }
        self.keys.insert(request.idempotency_key.clone().into_owned(), Keyed::Entry(entry.clone()));
        Ok(CreditOutcome { reason: Reason::Applied, detail: None, entry: Some(Shown::from(entry)) })
    }

    /// The later operations burn it as any other.
    fn make_lot(&mut self, key: AccountKey<'a>, request: &Request, entry_id: i64) -> Result<()> {
        let lot = Lot {
            lot_id: self.lot_ids.next().ok_or(Error::BrokenInvariant)?,
            entry_id,
            priority: request.terms.priority,
            expires_at: request.terms.expires_at,
            remaining: request.credits,
            held: 0,
            changed: false,
        };
        let account = (key.customer_id, key.credit_type);
        let locked = self.accounts.get_mut(&account).ok_or(Error::BrokenInvariant)?;
        if !lot.lives(locked.at.micros()) {
            self.due.insert(account);
        }
        locked.account.add_lot(lot.clone());
        self.lots.push((key, lot));
        Ok(())
    }

    /// Writes what the operations did; refused if a rival was faster.
    fn write(&self, client: &Client) -> Result<std::result::Result<(), Rival>> {
        for entries in self.entries.chunks(ENTRIES_PER_STATEMENT) {
            if !bulk::insert_entries(client, entries)? {
                return Ok(Err(Rival));
            }
            pgrx::check_for_interrupts!();
        }
        for lots in self.lots.chunks(ENTRIES_PER_STATEMENT) {
            bulk::insert_lots(client, lots)?;
        }
        for (place, parts) in &self.uses {
            store::insert_uses(client, self.entries[*place].entry_id, parts)?;
        }
        let mut balances = Vec::with_capacity(self.touched.len());
        for account in &self.touched {
            let locked = self.accounts.get(account).ok_or(Error::BrokenInvariant)?;
            locked.write_holds_and_lots(client)?;
            balances.push(BulkBalance {
                key: locked.key,
                before: locked.before(),
                balance: locked.account.balance,
                held: locked.account.held,
                in_lots: locked.account.in_lots,
                at: locked.at,
            });
        }
        bulk::update_balances(client, &balances)?;
        Ok(Ok(()))
    }
}

fn makes_a_lot(request: &Request) -> bool {
    request.credits > 0 && request.terms.make_a_lot()
}

/// Bounds the memory of one statement's arguments.
const ENTRIES_PER_STATEMENT: usize = 5_000;

/// Per source of the batch, every source that is the same fact, as charges tell.
fn same_facts<'a>(client: &Client, requests: &'a [Parsed<'a>]) -> Result<HashMap<&'a str, Vec<String>>> {
    let sources = || requests.iter().flatten().filter_map(|(request, _)| request.source.as_ref());
    let payments: Vec<String> = sources().filter_map(|source| source.payment_ref.clone()).collect();
    let refs: Vec<String> = sources().map(|source| source.source_ref.clone()).collect();
    let ties = if refs.is_empty() { Vec::new() } else { bulk::ties(client, payments, refs)? };
    let mut by_payment: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut by_source: HashMap<&str, Vec<&str>> = HashMap::new();
    for (payment_ref, source_ref) in &ties {
        by_payment.entry(payment_ref).or_default().push(source_ref);
        by_source.entry(source_ref).or_default().push(payment_ref);
    }
    let mut same = HashMap::new();
    for source in sources() {
        if let MapEntry::Vacant(vacant) = same.entry(source.source_ref.as_str()) {
            let mut all = vec![source.source_ref.clone()];
            let payment = source.payment_ref.as_deref();
            let told = payment.and_then(|payment| by_payment.get(payment)).into_iter().flatten();
            all.extend(told.map(|source| (*source).to_owned()));
            let paid = by_source.get(source.source_ref.as_str()).into_iter().flatten();
            all.extend(paid.map(|payment| format!("stripe:{payment}")));
            vacant.insert(all);
        }
    }
    Ok(same)
}
