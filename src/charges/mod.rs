//! Charges: provider payments, what they paid for, and what refunds and disputes undo of it.

use std::collections::BTreeMap;

use billing_core::charges::{Charge, Report};
use billing_core::credits::{Source, gate};
use billing_core::invoices::is_invoice;
use billing_core::outcome::Refusal;
use billing_core::webhooks::Provider;

use crate::credits::{self, Origin, Shown};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Gates, Sharing};

mod store;

pub use store::discard;

/// A charge whose row this transaction has locked.
#[derive(Debug)]
pub struct Locked {
    /// `pi_...`, `ch_...` or Paystack's reference.
    pub payment_ref: String,
    /// What it paid for, where known.
    pub source_ref: Option<String>,
    /// Whether this call made the row.
    pub new: bool,
    /// What was said of it.
    pub charge: Charge,
    /// How many credits were called for to be undone when that was looked at last: by grant of an invoice,
    /// else by the payment itself.
    pub called_for: BTreeMap<String, i64>,
}

/// Locks the charge's row, inserted if absent.
pub fn lock(client: &Client, payment_ref: &str, source_ref: Option<&str>) -> Result<Locked> {
    lock_amount(client, payment_ref, source_ref, None)
}

fn lock_amount(
    client: &Client,
    payment_ref: &str,
    source_ref: Option<&str>,
    amount_minor: Option<i64>,
) -> Result<Locked> {
    // The look spares a charge that is there the writing: the insert decides.
    if !store::is_known(client, payment_ref)? && store::insert(client, payment_ref, source_ref, amount_minor)?
    {
        return Ok(Locked {
            payment_ref: payment_ref.to_owned(),
            source_ref: source_ref.map(str::to_owned),
            new: true,
            charge: Charge { amount_minor, ..Charge::default() },
            called_for: BTreeMap::new(),
        });
    }
    store::lock(client, payment_ref)?.ok_or(Error::BrokenInvariant)
}

/// Locks the charge of an event's source and notes that the two are one fact, and the whole amount where
/// refunds do not tell it: an event's word for that stands, whatever else comes of it.
pub fn tie(client: &Client, source: &Source, amount_minor: Option<i64>) -> Result<Option<Locked>> {
    let Some(payment_ref) = source.payment_ref.as_deref() else { return Ok(None) };
    let mut locked = lock_amount(client, payment_ref, Some(&source.source_ref), amount_minor)?;
    if !locked.new && store::tie(client, payment_ref, &source.source_ref)? {
        locked.source_ref = Some(source.source_ref.clone());
    }
    if amount_minor.is_some() && locked.charge.amount_minor.is_none() {
        locked.charge.amount_minor = amount_minor;
        store::update(client, payment_ref, &locked.charge)?;
    }
    Ok(Some(locked))
}

/// The same for a session or invoice that this event does not credit; whether that is new. Somebody may be
/// crediting it right now, without a row in common with the charge: each looks for what the other wrote,
/// and the gate makes one wait.
pub fn tie_uncredited(
    client: &Client,
    source: &Source,
    origin: Origin,
) -> Result<std::result::Result<bool, Refusal>> {
    pg::gate(Gates::Sources, gate(&source.source_ref), Sharing::Exclusive);
    let entries = |client: &Client| store::entries_of(client, &source.source_ref, None);
    if pg::keeps_one_snapshot() && pg::read_latest(entries)? != entries(client)? {
        return Err(Error::ConcurrentUpdate);
    }
    let Some(payment_ref) = source.payment_ref.as_deref() else { return Ok(Ok(false)) };
    let mut locked = lock(client, payment_ref, Some(&source.source_ref))?;
    let new = locked.new || store::tie(client, payment_ref, &source.source_ref)?;
    if new {
        locked.source_ref = Some(source.source_ref.clone());
    }
    Ok(settle(client, Provider::Stripe, &locked, origin)?.map(|_| new))
}

/// Notes what a locked charge paid for, where only refunds and disputes have told of it so far.
pub fn name_source(client: &Client, locked: &Locked, source_ref: &str) -> Result<()> {
    if locked.source_ref.is_none() {
        store::tie(client, &locked.payment_ref, source_ref)?;
    }
    Ok(())
}

/// The charges that events tied to a session or invoice which is about to be credited, locked.
pub fn lock_of_source(client: &Client, source_ref: &str) -> Result<Vec<Locked>> {
    pg::gate(Gates::Sources, gate(source_ref), Sharing::Shared);
    let payments = store::payments_of(client, source_ref)?;
    lock_tied(client, source_ref, payments)
}

/// The same where the gate is passed and the payments are known.
pub fn lock_tied(client: &Client, source_ref: &str, payments: Vec<String>) -> Result<Vec<Locked>> {
    if pg::keeps_one_snapshot() {
        let latest = pg::read_latest(|latest| store::payments_of(latest, source_ref))?;
        if latest.len() != payments.len() {
            return Err(Error::ConcurrentUpdate);
        }
    }
    payments
        .iter()
        .map(|payment_ref| store::lock(client, payment_ref)?.ok_or(Error::BrokenInvariant))
        .collect()
}

/// What hearing of a refund or dispute came to.
pub enum Heard {
    /// The charge paid for nothing that is known here; what was said is remembered.
    Unknown,
    /// Nothing to undo or give back.
    Unchanged,
    /// The last entry that undid or gave back.
    Undone(Shown),
}

/// Remembers what an event reports of a charge, and undoes what that calls for.
pub fn hear(
    client: &Client,
    provider: Provider,
    payment_ref: &str,
    report: Report,
    origin: Origin,
) -> Result<std::result::Result<Heard, Refusal>> {
    let locked = match report {
        // Nothing to remember: no row for every payment that was refunded somewhere.
        Report::Nothing => match store::lock(client, payment_ref)? {
            Some(locked) => locked,
            None => Locked {
                payment_ref: payment_ref.to_owned(),
                source_ref: None,
                new: false,
                charge: Charge::default(),
                called_for: BTreeMap::new(),
            },
        },
        report => {
            let mut locked = lock(client, payment_ref, None)?;
            if locked.charge.hear(report) {
                store::update(client, payment_ref, &locked.charge)?;
            }
            locked
        }
    };
    settle(client, provider, &locked, origin)
}

/// Brings every entry that the charge paid for to what is called for.
pub fn settle(
    client: &Client,
    provider: Provider,
    locked: &Locked,
    origin: Origin,
) -> Result<std::result::Result<Heard, Refusal>> {
    let look = |client: &Client| store::entries(client, provider, locked);
    let entries = look(client)?;
    // Whoever credits what the charge was tied to before locks its row without a change: an older snapshot
    // passes that lock, and would not see the entry.
    if pg::keeps_one_snapshot() && pg::read_latest(look)? != entries {
        return Err(Error::ConcurrentUpdate);
    }
    if entries.is_empty() {
        return Ok(Ok(Heard::Unknown));
    }
    let mut heard = Heard::Unchanged;
    for (entry_id, source_ref) in entries {
        match bring(client, locked, entry_id, &source_ref, origin)? {
            Ok(Some(shown)) => heard = Heard::Undone(shown),
            Ok(None) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(Ok(heard))
}

/// Brings an entry that the charge paid for to what is called for, where that has changed; the entry that
/// does.
pub fn bring(
    client: &Client,
    locked: &Locked,
    entry_id: i64,
    source_ref: &str,
    origin: Origin,
) -> Result<std::result::Result<Option<Shown>, Refusal>> {
    // Of an invoice each grant has its own; a payment has one purchase, by whichever source it was credited.
    let noted = if is_invoice(source_ref) { source_ref } else { &locked.payment_ref };
    let before = locked.called_for.get(noted).copied().unwrap_or_default();
    let others = |client: &Client| others_called_for(client, locked, source_ref);
    let brought = match credits::undo(client, entry_id, &locked.charge, before, others, origin)? {
        Ok(brought) => brought,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if brought.called_for != before {
        store::note_called_for(client, &locked.payment_ref, noted, brought.called_for)?;
    }
    Ok(Ok(brought.entry))
}

/// How many credits of a grant the other charges of its invoice called for, the balance being locked: an
/// invoice may be paid by several payments, and then the one that calls for most counts.
fn others_called_for(client: &Client, locked: &Locked, grant: &str) -> Result<i64> {
    let Some(invoice) = locked.source_ref.as_deref().filter(|source_ref| is_invoice(source_ref)) else {
        return Ok(0);
    };
    // Each notes what it calls for under the balance's lock: no lock on the others is needed, but what is
    // committed by now is.
    let others = |client: &Client| store::others_called_for(client, invoice, &locked.payment_ref, grant);
    if pg::keeps_one_snapshot() { pg::read_latest(others) } else { others(client) }
}
