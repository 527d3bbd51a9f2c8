//! The credit ledger: SQL entry points, and the one way that every entry is written.

use billing_core::credits::account::{Account, Part};
use billing_core::credits::{
    EntryKind, RawRequest, Request, Source, credit_type as checked_type, gate, history_rows,
};
use billing_core::customers::{Identifier, Uuid};
use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::charges;
use crate::customers::{self, Person};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Gates, JsonbArgument, Row, RowWriter, Sharing, Time};

mod batch;
mod end_users;
mod expiry;
mod holds;
mod ledger;
mod merge;
mod opening;
mod reversals;
mod store;

use ledger::Locked;
pub use merge::{merge, prepare_merge};
pub use opening::{adopt_sources, open_balances, openings};
pub use reversals::undo;
use store::{AccountKey, Entry, HistoryEntry, Keyed, NewEntry};
pub use store::{Origin, credit_types};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn apply_credit_purchase(
    user_id: default!(Option<&str>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    stripe_session_id: default!(Option<&str>, "NULL"),
    amount_minor: default!(Option<i64>, "NULL"),
    currency: default!(Option<&str>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
    expires_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    metadata: default!(Option<JsonbArgument>, "'{}'"),
    source_ref: default!(Option<&str>, "NULL"),
) -> Result<CreditOutcome, ErrorReport> {
    let raw = RawRequest {
        user_id,
        credits,
        idempotency_key,
        stripe_session_id,
        amount_minor,
        currency,
        credit_type,
        expires_at: expires_at.map(|at| Time::of(at).micros()),
        priority: None,
        metadata: metadata.as_ref().map(JsonbArgument::text),
        source_ref,
    };
    Ok(answer(EntryKind::Purchase, &raw, metadata.as_ref())?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn grant_credits(
    user_id: default!(Option<&str>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
    expires_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    priority: default!(Option<i32>, "0"),
    metadata: default!(Option<JsonbArgument>, "'{}'"),
) -> Result<CreditOutcome, ErrorReport> {
    let raw = RawRequest {
        user_id,
        credits,
        idempotency_key,
        credit_type,
        expires_at: expires_at.map(|at| Time::of(at).micros()),
        priority,
        metadata: metadata.as_ref().map(JsonbArgument::text),
        ..RawRequest::default()
    };
    Ok(answer(EntryKind::Grant, &raw, metadata.as_ref())?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn spend_credits(
    user_id: default!(Option<&str>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
    metadata: default!(Option<JsonbArgument>, "'{}'"),
) -> Result<CreditOutcome, ErrorReport> {
    let raw = RawRequest {
        user_id,
        credits,
        idempotency_key,
        credit_type,
        metadata: metadata.as_ref().map(JsonbArgument::text),
        ..RawRequest::default()
    };
    Ok(answer(EntryKind::Spend, &raw, metadata.as_ref())?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn credit_balance(
    user_id: default!(Option<&str>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<CreditBalance, ErrorReport> {
    Ok(pg::read(|client| {
        let Some((customer_id, credit_type)) = reader(client, user_id, credit_type)? else {
            return Ok(CreditBalance::default());
        };
        balance_now(client, AccountKey { customer_id, credit_type })
    })?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn credit_history(
    user_id: default!(Option<&str>, "NULL"),
    max_rows: default!(Option<i32>, "50"),
    before_entry_id: default!(Option<i64>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<SetOfIterator<'static, HistoryEntry>, ErrorReport> {
    let entries = pg::read(|client| {
        let Some(rows) = history_rows(max_rows) else { return Ok(Vec::new()) };
        let Some((customer_id, credit_type)) = reader(client, user_id, credit_type)? else {
            return Ok(Vec::new());
        };
        let before = before_entry_id.unwrap_or(i64::MAX);
        store::history(client, AccountKey { customer_id, credit_type }, before, rows)
    })?;
    Ok(SetOfIterator::new(entries))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn credit_balance_at(
    user_id: default!(Option<&str>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<CreditBalance, ErrorReport> {
    Ok(pg::read(|client| {
        let Some(at) = at.map(Time::of) else { return Ok(CreditBalance::default()) };
        let Some((customer_id, credit_type)) = reader(client, user_id, credit_type)? else {
            return Ok(CreditBalance::default());
        };
        let balance = balance_at(client, AccountKey { customer_id, credit_type }, at)?;
        let credit_type = credit_type.to_owned();
        Ok(CreditBalance { customer_id: Some(customer_id), credit_type, balance, now: None })
    })?)
}

/// The account as it would be if it were settled now.
fn balance_now(client: &Client, key: AccountKey) -> Result<CreditBalance> {
    let (account, balance) = ledger::look(client, key)?.unwrap_or_default();
    Ok(CreditBalance {
        customer_id: Some(key.customer_id),
        credit_type: key.credit_type.to_owned(),
        balance,
        now: Some(account),
    })
}

/// The balance after the last entry up to and including that time. Times rise with the entries' numbers,
/// so the entry is found by halving, whatever their count.
fn balance_at(client: &Client, key: AccountKey, at: Time) -> Result<i64> {
    let Some(last) = store::last_entry(client, key)? else { return Ok(0) };
    let (mut low, mut high, mut balance) = (1, last, 0);
    while low <= high {
        let middle = i64::midpoint(low, high);
        match store::first_entry_within(client, key, middle, high)? {
            Some((entry_id, created_at, balance_after)) if created_at <= at => {
                balance = balance_after;
                low = entry_id + 1;
            }
            _ => high = middle - 1,
        }
    }
    Ok(balance)
}

/// Whose credits a reading call asks for; none for bad input and unknown users.
fn reader<'a>(
    client: &Client,
    user_id: Option<&str>,
    credit_type: Option<&'a str>,
) -> Result<Option<(Uuid, &'a str)>> {
    let Ok(identifier) = Identifier::classify(user_id, customers::external_ids()) else { return Ok(None) };
    let Ok(credit_type) = checked_type(credit_type) else { return Ok(None) };
    match customers::find(client, &identifier)? {
        Person::Known(customer_id) => Ok(Some((customer_id, credit_type))),
        Person::New(_) | Person::Unknown => Ok(None),
    }
}

/// Validates and applies a request that a caller made.
fn answer(kind: EntryKind, raw: &RawRequest, metadata: Option<&JsonbArgument>) -> Result<CreditOutcome> {
    pg::write(|client| match Request::parse(kind, raw, customers::external_ids()) {
        Ok(request) => apply(client, &request, metadata),
        Err(refusal) => Ok(CreditOutcome::refused(refusal)),
    })
}

/// What this very call made on the way to an entry, to be taken back if no entry comes of it.
#[derive(Default)]
struct Made<'a> {
    charge: Option<&'a str>,
    customer: Option<Uuid>,
    /// Whose.
    balance: Option<Uuid>,
}

/// Applies a well-formed request of a caller.
///
/// Locks the charge, then makes the customer if need be, then locks the balance; the unique indexes of
/// the ledger decide between rivals. Whatever is refused leaves nothing behind.
fn apply(client: &Client, request: &Request, metadata: Option<&JsonbArgument>) -> Result<CreditOutcome> {
    share_key(client, &request.idempotency_key)?;
    let person = customers::find(client, &request.user)?;
    if let Some(keyed) = store::by_key(client, &request.idempotency_key)? {
        return replay(client, request, &person, keyed);
    }
    let mut made = Made::default();
    let (charges, credited) = lock_charges(client, request, &mut made)?;
    if credited {
        take_back(client, request, &made)?;
        // By this very request, if the rival that was waited for was one.
        return standing(client, request, &person)?.ok_or(Error::BrokenInvariant);
    }
    let posting = Posting { metadata, ..Posting::of(request, &charges, Origin::default()) };
    write(client, &posting, &person, made)
}

/// Until the transaction ends no hold gets the key of an entry: no index spans ledger and holds. Keys that are
/// derived here need none of this, as no hold may have one.
fn share_key(client: &Client, key: &str) -> Result<()> {
    pg::gate(Gates::Keys, gate(key), Sharing::Shared);
    if pg::keeps_one_snapshot() && pg::read_latest(|latest| store::is_hold_key(latest, key))? {
        return if store::is_hold_key(client, key)? { Ok(()) } else { Err(Error::ConcurrentUpdate) };
    }
    Ok(())
}

/// Applies the purchase of an event, found uncredited just before, its charge tied and locked: the key
/// is derived from the source, so that one look was enough, and the unique indexes decide the rest.
pub fn apply_event(
    client: &Client,
    request: &Request,
    person: &Person,
    charge: Option<&charges::Locked>,
    origin: Origin,
) -> Result<CreditOutcome> {
    let charges = charge.map_or(&[][..], std::slice::from_ref);
    write(client, &Posting::of(request, charges, origin), person, Made::default())
}

/// Grants what a paid period of a plan includes, in the same way; it ends the plan's former lot.
pub fn apply_period(
    client: &Client,
    request: &Request,
    person: &Person,
    charges: &[charges::Locked],
    origin: Origin,
    plan: &str,
) -> Result<CreditOutcome> {
    let posting = Posting { ends_lots_of: Some(plan), ..Posting::of(request, charges, origin) };
    write(client, &posting, person, Made::default())
}

/// The entry that credited an event's source already, whoever told of it. `charge`: the source's own,
/// locked; one just made stands for a payment that no call and no event has named before.
pub fn credited(
    client: &Client,
    source: &Source,
    charge: Option<&charges::Locked>,
) -> Result<Option<CreditOutcome>> {
    let found = match charge {
        Some(charge) if charge.new => store::by_session(client, &source.source_ref)?,
        _ => store::by_source(client, source)?,
    };
    Ok(found.entry.map(CreditOutcome::already_credited))
}

/// Locks the charges behind a call's source, as far as they are known, and looks whether it is credited.
fn lock_charges<'a>(
    client: &Client,
    request: &'a Request,
    made: &mut Made<'a>,
) -> Result<(Vec<charges::Locked>, bool)> {
    let Some(source) = &request.source else { return Ok((Vec::new(), false)) };
    let Some(payment_ref) = source.payment_ref.as_deref() else {
        pg::gate(Gates::Sources, gate(&source.source_ref), Sharing::Shared);
        let sourced = store::by_source(client, source)?;
        let charges = charges::lock_tied(client, &source.source_ref, sourced.payments)?;
        return Ok((charges, sourced.entry.is_some()));
    };
    let charge = charges::lock(client, payment_ref, Some(&source.source_ref))?;
    made.charge = charge.new.then_some(payment_ref);
    Ok((vec![charge], store::by_source(client, source)?.entry.is_some()))
}

/// A request with all that goes with it.
struct Posting<'a> {
    request: &'a Request<'a>,
    /// What it was paid with, locked.
    charges: &'a [charges::Locked],
    origin: Origin<'a>,
    metadata: Option<&'a JsonbArgument>,
    /// The plan whose former lot ends with it.
    ends_lots_of: Option<&'a str>,
}

impl<'a> Posting<'a> {
    const fn of(request: &'a Request<'a>, charges: &'a [charges::Locked], origin: Origin<'a>) -> Posting<'a> {
        Posting { request, charges, origin, metadata: None, ends_lots_of: None }
    }
}

/// The one way that purchases, grants and spends are written.
fn write(client: &Client, posting: &Posting, person: &Person, mut made: Made) -> Result<CreditOutcome> {
    let request = posting.request;
    let entered = match admit(client, request, person, &mut made)? {
        Err(refusal) => Entered::Refused(refusal),
        Ok(customer_id) => enter(client, posting, customer_id, &mut made)?,
    };
    if let Entered::Applied(outcome) = entered {
        undo_contested(client, &outcome, posting)?;
        return Ok(outcome);
    }
    take_back(client, request, &made)?;
    // A rival with the same key or source may have committed while this call waited for a lock: then
    // its entry is the answer, whatever else would be refused now.
    match (standing(client, request, person)?, entered) {
        (Some(outcome), _) => Ok(outcome),
        (None, Entered::Refused(refusal)) => Ok(CreditOutcome::refused(refusal)),
        (None, _) => Err(Error::BrokenInvariant),
    }
}

/// A purchase that was refunded or disputed before it came here is undone with it.
fn undo_contested(client: &Client, outcome: &CreditOutcome, posting: &Posting) -> Result<()> {
    let (Some(source), Some(entry)) = (&posting.request.source, &outcome.entry) else { return Ok(()) };
    for charge in posting.charges.iter().filter(|charge| charge.charge.is_contested()) {
        charges::name_source(client, charge, &source.source_ref)?;
        // Just credited, so there is nothing to give back that could be too much.
        charges::bring(client, charge, entry.entry_id, &source.source_ref, posting.origin)?
            .map_err(|_| Error::BrokenInvariant)?;
    }
    Ok(())
}

/// The customer to be written to, made if need be. Spending makes nobody: there is nothing to spend.
fn admit(
    client: &Client,
    request: &Request,
    person: &Person,
    made: &mut Made,
) -> Result<Result<Uuid, Refusal>> {
    if let Person::New(_) = person
        && request.credits < 0
    {
        return Ok(Err(invalid(Detail::InsufficientCredits)));
    }
    Ok(match customers::find_or_make(client, person)? {
        None => Err(invalid(Detail::UnknownUser)),
        Some((customer_id, new)) => {
            made.customer = new.then_some(customer_id);
            Ok(customer_id)
        }
    })
}

/// What trying to write an entry came to.
enum Entered {
    Applied(CreditOutcome),
    Refused(Refusal),
    /// The key or the source stands already.
    Conflict,
}

/// Locks the balance, decides, writes the entry and the balance.
fn enter(client: &Client, posting: &Posting, customer_id: Uuid, made: &mut Made) -> Result<Entered> {
    let request = posting.request;
    let key = AccountKey { customer_id, credit_type: &request.credit_type };
    let mut locked = match Locked::open(client, key)? {
        Some(locked) => locked,
        None if request.credits < 0 => return Ok(Entered::Refused(invalid(Detail::InsufficientCredits))),
        None => make_account(client, key, made)?,
    };
    let key = locked.key;
    // The ledger's own index does not know the keys of holds, and a session with the library of 0.1.0 makes
    // them without passing the gate of their key.
    if locked.hold_count > 0 && store::is_hold_key(client, &request.idempotency_key)? {
        return Ok(Entered::Conflict);
    }
    if let Some(plan) = posting.ends_lots_of {
        let until = request.terms.expires_at.map(Time::of_micros);
        locked.end_lots(store::lots_of_plan(client, key, plan, until)?);
    }
    let parts = match change(&mut locked, request) {
        Ok(parts) => parts,
        Err(refusal) => return Ok(Entered::Refused(refusal)),
    };
    let makes_a_lot = request.credits > 0 && request.terms.make_a_lot();
    if makes_a_lot {
        locked.account.in_lots += request.credits;
    }
    let new = NewEntry {
        kind: request.kind,
        credits: request.credits,
        balance_after: locked.account.balance,
        idempotency_key: &request.idempotency_key,
        fingerprint: request.fingerprint(&key.customer_id),
        money: request.money.as_ref(),
        source: request.source.as_ref(),
        origin: posting.origin,
        metadata: posting.metadata.map(JsonbArgument::datum),
        reverses: None,
        shortfall: None,
    };
    let entry_id = locked.commit(client, 0, |client| {
        let Some(entry_id) = store::insert_entry(client, key, new, locked.at)? else { return Ok(None) };
        store::insert_uses(client, entry_id, &parts)?;
        if makes_a_lot {
            store::insert_lot(client, key, entry_id, request.credits, request.terms)?;
        }
        Ok(Some(entry_id))
    })?;
    let Some(entry_id) = entry_id else { return Ok(Entered::Conflict) };
    let shown = Shown {
        entry_id,
        customer_id: key.customer_id,
        credit_type: request.credit_type.clone().into_owned(),
        credits: request.credits,
        balance: locked.account.balance,
        created_at: locked.at.timestamp().ok_or(Error::BrokenInvariant)?,
    };
    Ok(Entered::Applied(CreditOutcome { reason: Reason::Applied, detail: None, entry: Some(shown) }))
}

/// How often the balance is looked for anew because its customer was merged meanwhile.
const MAX_ROUNDS: usize = 100;

/// Makes a customer's first balance of a type. Inserting waits for an operator who merges the customer into
/// another: then it is that one's.
fn make_account<'a>(client: &Client, mut key: AccountKey<'a>, made: &mut Made) -> Result<Locked<'a>> {
    for _ in 0..MAX_ROUNDS {
        let new = store::insert_balance(client, key, pg::now())?;
        let locked = Locked::open(client, key)?;
        if let Some(locked) = locked.filter(|locked| locked.key == key) {
            made.balance = new.then_some(key.customer_id);
            return Ok(locked);
        }
        if new {
            store::discard_balance(client, key)?;
        }
        key.customer_id = customers::heir(client, key.customer_id)?;
    }
    Err(Error::BrokenInvariant)
}

/// What the request does to the account: which lots a spend takes from.
pub(in crate::credits) fn change(
    locked: &mut Locked,
    request: &Request,
) -> std::result::Result<Vec<Part>, Refusal> {
    if request.credits < 0 {
        return locked.account.spend(-request.credits, locked.at.micros());
    }
    locked.account.add(request.credits)?;
    Ok(Vec::new())
}

fn take_back(client: &Client, request: &Request, made: &Made) -> Result<()> {
    if let Some(customer_id) = made.balance {
        store::discard_balance(client, AccountKey { customer_id, credit_type: &request.credit_type })?;
    }
    if let Some(customer_id) = made.customer {
        customers::discard(client, customer_id)?;
    }
    if let Some(payment_ref) = made.charge {
        charges::discard(client, payment_ref)?;
    }
    Ok(())
}

/// What the ledger says now of the request's key and source.
fn standing(client: &Client, request: &Request, person: &Person) -> Result<Option<CreditOutcome>> {
    if let Some(keyed) = store::by_key(client, &request.idempotency_key)? {
        return replay(client, request, person, keyed).map(Some);
    }
    match &request.source {
        None => Ok(None),
        Some(source) => credited(client, source, None),
    }
}

/// The answer to a key that stands: the original's row, if it is the same request.
fn replay(client: &Client, request: &Request, person: &Person, keyed: Keyed) -> Result<CreditOutcome> {
    if let Keyed::Entry(entry) = keyed
        && request.fingerprint(&entry.customer_id).as_slice() == entry.fingerprint
        && customers::is_known_as(client, person, &request.user, entry.customer_id)?
    {
        return Ok(CreditOutcome { reason: Reason::Replay, detail: None, entry: Some(entry.into()) });
    }
    Ok(CreditOutcome::refused(invalid(Detail::IdempotencyKeyReused)))
}

/// SQL type `credit_outcome`.
#[derive(Debug)]
pub struct CreditOutcome {
    /// Why.
    pub reason: Reason,
    /// What more.
    pub detail: Option<Detail>,
    /// The entry it is about: this call's, the original's, or the one that stands for the source.
    pub entry: Option<Shown>,
}

/// What outcomes show of an entry.
#[derive(Debug)]
pub struct Shown {
    pub entry_id: i64,
    pub customer_id: Uuid,
    pub credit_type: String,
    pub credits: i64,
    pub balance: i64,
    pub created_at: TimestampWithTimeZone,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Shown {
        Shown {
            entry_id: entry.entry_id,
            customer_id: entry.customer_id,
            credit_type: entry.credit_type,
            credits: entry.credits,
            balance: entry.balance_after,
            created_at: entry.created_at,
        }
    }
}

impl CreditOutcome {
    fn refused(refusal: Refusal) -> CreditOutcome {
        CreditOutcome { reason: refusal.reason, detail: Some(refusal.detail), entry: None }
    }

    fn already_credited(entry: Entry) -> CreditOutcome {
        CreditOutcome {
            reason: Reason::Duplicate,
            detail: Some(Detail::AlreadyCredited),
            entry: Some(entry.into()),
        }
    }
}

impl Row for CreditOutcome {
    fn write(self, row: &mut RowWriter) {
        row.outcome(self.reason, self.detail);
        match self.entry {
            None => row.nulls(6),
            Some(entry) => row
                .column(Some(entry.entry_id))
                .column(Some(PgUuid::from_bytes(entry.customer_id)))
                .column(Some(entry.credit_type))
                .column(Some(entry.credits))
                .column(Some(entry.balance))
                .column(Some(entry.created_at)),
        };
    }
}

pg::sql_row!(CreditOutcome, "credit_outcome");

/// SQL type `credit_balance`.
#[derive(Debug, Default)]
struct CreditBalance {
    customer_id: Option<Uuid>,
    credit_type: String,
    balance: i64,
    /// As it would be if it were settled now; none where another time is asked for.
    now: Option<Account>,
}

impl Row for CreditBalance {
    fn write(self, row: &mut RowWriter) {
        let Some(customer_id) = self.customer_id else {
            row.nulls(7);
            return;
        };
        let next = self.now.as_ref().and_then(Account::next_expiry);
        row.column(Some(PgUuid::from_bytes(customer_id)))
            .column(Some(self.credit_type))
            .column(Some(self.balance))
            .column(self.now.as_ref().map(|account| account.held))
            .column(self.now.as_ref().map(Account::available))
            .column(next.and_then(|(at, _)| Time::of_micros(at).timestamp()))
            .column(next.map(|(_, credits)| credits));
    }
}

pg::sql_row!(CreditBalance, "credit_balance");

impl Row for HistoryEntry {
    fn write(self, row: &mut RowWriter) {
        row.column(Some(self.entry_id))
            .column(Some(self.kind))
            .column(Some(self.credits))
            .column(Some(self.balance_after))
            .column(Some(self.credit_type))
            .column(self.reverses)
            .column(self.source_ref)
            .column(Some(self.idempotency_key))
            .column(pg::jsonb(&self.metadata))
            .column(Some(self.created_at));
    }
}

pg::sql_row!(HistoryEntry, "credit_entry");
