//! Reversals: one way to undo an entry, in whole or in part, for callers and for what providers take back.

use std::borrow::Cow;

use billing_core::charges::{Charge, Step, step};
use billing_core::credits::{EntryKind, ReversalRequest, undo_key};
use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ledger::{Locked, load_used_up};
use super::store::{self, AccountKey, Keyed, NewEntry, Origin, Undone};
use super::{CreditOutcome, Shown, share_key};
use crate::error::{Error, Result};
use crate::pg::{self, Client, JsonbArgument};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn reverse_credit_entry(
    entry_id: default!(Option<i64>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
    metadata: default!(Option<JsonbArgument>, "'{}'"),
) -> Result<CreditOutcome, ErrorReport> {
    let text = metadata.as_ref().map(JsonbArgument::text);
    Ok(match ReversalRequest::parse(entry_id, idempotency_key, credits, text) {
        Ok(request) => pg::write(|client| reverse(client, &request, metadata.as_ref()))?,
        Err(refusal) => CreditOutcome::refused(refusal),
    })
}

/// Undoes an entry as far as a caller asks.
fn reverse(
    client: &Client,
    request: &ReversalRequest,
    metadata: Option<&JsonbArgument>,
) -> Result<CreditOutcome> {
    share_key(client, &request.idempotency_key)?;
    if let Some(outcome) = standing(client, request)? {
        return Ok(outcome);
    }
    let Some(undone) = store::entry_by_id(client, request.entry_id)? else {
        return Ok(CreditOutcome::refused(invalid(Detail::UnknownEntry)));
    };
    let key = AccountKey { customer_id: undone.customer_id, credit_type: &undone.credit_type };
    let mut locked = Locked::open(client, key)?.ok_or(Error::BrokenInvariant)?;
    // A rival with the same key may have committed while this call waited for the lock.
    if let Some(outcome) = standing(client, request)? {
        return Ok(outcome);
    }
    match plan(client, request, &undone, &mut locked)? {
        Err(refusal) => Ok(CreditOutcome::refused(refusal)),
        Ok(plan) => match write(client, request, Origin::default(), metadata, &undone, &locked, &plan)? {
            Some(entry) => Ok(CreditOutcome { reason: Reason::Applied, detail: None, entry: Some(entry) }),
            None => standing(client, request)?.ok_or(Error::BrokenInvariant),
        },
    }
}

/// What bringing an entry to what its charge calls for came to.
pub struct Brought {
    /// How many credits are called for to be undone.
    pub called_for: i64,
    /// The entry that undid or gave back, if there was anything to do.
    pub entry: Option<Shown>,
}

/// Undoes a purchase or grant, or gives back of it, where its charge calls for more or less than `before`.
/// The charge's row is locked; `others`: what other charges of the same source call for.
pub fn undo(
    client: &Client,
    entry_id: i64,
    charge: &Charge,
    before: i64,
    others: impl FnOnce(&Client) -> Result<i64>,
    origin: Origin,
) -> Result<std::result::Result<Brought, Refusal>> {
    let undone = store::entry_by_id(client, entry_id)?.ok_or(Error::BrokenInvariant)?;
    let called_for = charge.called_for(undone.credits, undone.amount_minor);
    if called_for == before {
        return Ok(Ok(Brought { called_for, entry: None }));
    }
    let key = AccountKey { customer_id: undone.customer_id, credit_type: &undone.credit_type };
    let mut locked = Locked::open(client, key)?.ok_or(Error::BrokenInvariant)?;
    let others = others(client)?;
    let (so_far, reversals) = store::undone_by(client, entry_id)?;
    let lot_id = store::lot_of(client, entry_id)?;
    let (change, credits, shortfall) = match step(before.max(others), called_for.max(others), so_far) {
        Step::Nothing => return Ok(Ok(Brought { called_for, entry: None })),
        Step::Take(credits) => {
            let taken = locked.account.undo_credit(credits, lot_id);
            (credits, -taken, credits - taken)
        }
        Step::GiveBack { shortfall, credits } => {
            load_used_up(client, &mut locked.account, lot_id.into_iter().collect())?;
            if let Err(refusal) = locked.account.give_back(credits, lot_id, locked.at.micros()) {
                return Ok(Err(refusal));
            }
            (-shortfall - credits, credits, -shortfall)
        }
    };
    // Under the balance's lock the number of reversals tells each from the others.
    let idempotency_key = Cow::Owned(undo_key(entry_id, reversals));
    let request = ReversalRequest { entry_id, idempotency_key, credits: Some(change) };
    let plan = Plan { credits, shortfall: Some(shortfall), uses: Vec::new() };
    let entry = write(client, &request, origin, None, &undone, &locked, &plan)?;
    Ok(Ok(Brought { called_for, entry: Some(entry.ok_or(Error::BrokenInvariant)?) }))
}

/// The answer to a key that stands.
fn standing(client: &Client, request: &ReversalRequest) -> Result<Option<CreditOutcome>> {
    Ok(match store::by_key(client, &request.idempotency_key)? {
        None => None,
        Some(Keyed::Entry(entry)) if entry.fingerprint == request.fingerprint() => {
            Some(CreditOutcome { reason: Reason::Replay, detail: None, entry: Some(entry.into()) })
        }
        Some(_) => Some(CreditOutcome::refused(invalid(Detail::IdempotencyKeyReused))),
    })
}

/// What a reversal writes, the account being changed already.
struct Plan {
    credits: i64,
    shortfall: Option<i64>,
    uses: Vec<billing_core::credits::account::Use>,
}

fn plan(
    client: &Client,
    request: &ReversalRequest,
    undone: &Undone,
    locked: &mut Locked,
) -> Result<std::result::Result<Plan, Refusal>> {
    let (credits_so_far, shortfall_so_far) = store::reversed(client, request.entry_id)?;
    let spent = undone.credits < 0;
    let so_far = if spent { credits_so_far } else { shortfall_so_far - credits_so_far };
    let credits = match request.credits_of(undone.kind, undone.credits, so_far) {
        Ok(credits) => credits,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !spent {
        let lot_id = store::lot_of(client, request.entry_id)?;
        let taken = locked.account.undo_credit(credits, lot_id);
        return Ok(Ok(Plan { credits: -taken, shortfall: Some(credits - taken), uses: Vec::new() }));
    }
    let mut uses = store::uses(client, request.entry_id)?;
    load_used_up(client, &mut locked.account, uses.iter().map(|used| used.lot_id).collect())?;
    let in_lots: i64 = uses.iter().map(|used| used.credits).sum();
    let returned_to_lots: i64 = uses.iter().map(|used| used.returned).sum();
    let loose = (-undone.credits - in_lots) - (so_far - returned_to_lots);
    let at = locked.at.micros();
    Ok(locked.account.undo_spend(credits, loose, &mut uses, at).map(|()| Plan {
        credits,
        shortfall: None,
        uses,
    }))
}

fn write(
    client: &Client,
    request: &ReversalRequest,
    origin: Origin,
    metadata: Option<&JsonbArgument>,
    undone: &Undone,
    locked: &Locked,
    plan: &Plan,
) -> Result<Option<Shown>> {
    let new = NewEntry {
        kind: EntryKind::Reversal,
        credits: plan.credits,
        balance_after: locked.account.balance,
        idempotency_key: &request.idempotency_key,
        fingerprint: request.fingerprint(),
        money: None,
        source: None,
        origin,
        metadata: metadata.map(JsonbArgument::datum),
        reverses: Some(request.entry_id),
        shortfall: plan.shortfall,
    };
    let entry_id = locked.commit(client, 0, |client| {
        let entry_id = store::insert_entry(client, locked.key, new, locked.at)?;
        if entry_id.is_some() {
            store::update_uses(client, request.entry_id, &plan.uses)?;
        }
        Ok(entry_id)
    })?;
    let Some(entry_id) = entry_id else { return Ok(None) };
    let shown = Shown {
        entry_id,
        customer_id: locked.key.customer_id,
        credit_type: undone.credit_type.clone(),
        credits: plan.credits,
        balance: locked.account.balance,
        created_at: locked.at.timestamp().ok_or(Error::BrokenInvariant)?,
    };
    Ok(Some(shown))
}
