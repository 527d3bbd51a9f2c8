//! People mended by hand: identifiers moved, customers merged, a person forgotten.
//!
//! Locks: events, subscriptions, payments, customers sorted. What else belongs to a customer is found
//! before the customer is locked and looked for again after; if more has come meanwhile, everything is let go
//! and begun anew.

use billing_core::customers::mend::{MovePlan, codes, plan_merge, plan_move};
use billing_core::customers::{Customer, Identifier, ProviderCode, Registration, Uuid};
use billing_core::outcome::{Detail, Reason, invalid};
use pgrx::Uuid as PgUuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::store::mend::{self as store, Standing};
use super::{IdentityOutcome, MAX_ROUNDS, external_ids, store as people};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended};
use crate::{credits, payments, subscriptions, webhooks};

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn move_identifier(
    identifier: default!(Option<&str>, "NULL"),
    customer_id: default!(Option<PgUuid>, "NULL"),
) -> Result<IdentityOutcome, ErrorReport> {
    let identifier = Identifier::classify(identifier, external_ids()).map_err(|_| NO_IDENTIFIER)?;
    let target = customer_id.map(|id| *id.as_bytes()).ok_or(UNKNOWN_CUSTOMER)?;
    Ok(pg::write(|client| {
        let outcome = in_rounds(|| try_move(client, &identifier, target))?;
        if let (Reason::Applied, Some(code)) = (outcome.reason, code_of(&identifier)) {
            webhooks::process_waiting(client, vec![code.as_str().to_owned()])?;
        }
        Ok::<_, Error>(outcome)
    })?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn forget_customer(customer_id: default!(Option<PgUuid>, "NULL")) -> Result<IdentityOutcome, ErrorReport> {
    let customer_id = customer_id.map(|id| *id.as_bytes()).ok_or(UNKNOWN_CUSTOMER)?;
    Ok(pg::write(|client| in_rounds(|| try_forget(client, customer_id)))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn merge_customers(
    from_id: default!(Option<PgUuid>, "NULL"),
    into_id: default!(Option<PgUuid>, "NULL"),
) -> Result<IdentityOutcome, ErrorReport> {
    let from = from_id.map(|id| *id.as_bytes()).ok_or(UNKNOWN_CUSTOMER)?;
    let into = into_id.map(|id| *id.as_bytes()).ok_or(UNKNOWN_CUSTOMER)?;
    if from == into {
        return Err(ONESELF.into());
    }
    Ok(pg::write(|client| in_rounds(|| try_merge(client, from, into)))?)
}

const NO_IDENTIFIER: Error =
    Error::BadArgument("the identifier is missing, or none that can name a customer");
const UNKNOWN_CUSTOMER: Error = Error::BadArgument("there is no such customer");
const ONESELF: Error = Error::BadArgument("a customer cannot be merged into itself");
const MERGED: Error = Error::BadArgument("the customer was merged into another one");
const FORGOTTEN: Error = Error::BadArgument("the customer was forgotten");

/// Why a round is undone.
enum Undone {
    /// Something came meanwhile that had to be locked before the customers were.
    Again,
    /// It is refused.
    Refused(IdentityOutcome),
}

type Round = Result<Result<IdentityOutcome, Undone>>;

/// Runs the body in a savepoint, again and again until nothing comes in between: the savepoint lets go of
/// its locks.
fn in_rounds(body: impl Fn() -> Round) -> Result<IdentityOutcome> {
    for _ in 0..MAX_ROUNDS {
        match pg::savepoint(pg::Errors::Through, &body)? {
            Ended::Done(answer) => return Ok(answer),
            Ended::Refused(Undone::Refused(answer)) => return Ok(answer),
            Ended::Refused(Undone::Again) => {}
            Ended::Busy | Ended::Error(_) => return Err(Error::BrokenInvariant),
        }
    }
    Err(Error::BrokenInvariant)
}

/// What is committed now; an older snapshot that shows less must not decide.
fn look<T: PartialEq>(client: &Client, look: impl Fn(&Client) -> Result<T>) -> Result<T> {
    let seen = look(client)?;
    if pg::keeps_one_snapshot() && pg::read_latest(&look)? != seen {
        return Err(Error::ConcurrentUpdate);
    }
    Ok(seen)
}

/// Refuses customers who are not there, or no longer.
fn living(client: &Client, customer_id: Uuid) -> Result<()> {
    match store::standing(client, customer_id)? {
        None => Err(UNKNOWN_CUSTOMER),
        Some(Standing::Live) => Ok(()),
        Some(Standing::Merged(_)) => Err(MERGED),
        Some(Standing::Forgotten) => Err(FORGOTTEN),
    }
}

fn whole(client: &Client, customer_id: Uuid) -> Result<Customer> {
    look(client, |client| store::whole(client, customer_id))?.ok_or(UNKNOWN_CUSTOMER)
}

fn code_of<'a>(identifier: &Identifier<'a>) -> Option<ProviderCode<'a>> {
    match identifier {
        Identifier::StripeCustomer(code) | Identifier::PaystackCustomer(code) => ProviderCode::parse(code),
        Identifier::UserId(_) | Identifier::LegacyId(_) | Identifier::Email(_) | Identifier::External(_) => {
            None
        }
    }
}

fn told(reason: Reason, customer: Customer) -> IdentityOutcome {
    IdentityOutcome { reason, detail: None, customer_id: Some(customer.customer_id), known: customer.known }
}

fn refused(detail: Detail) -> IdentityOutcome {
    IdentityOutcome::refused(invalid(detail))
}

/// The subscriptions of a customer that go with a provider code.
fn of_code(client: &Client, holder: Uuid, code: ProviderCode) -> Result<Vec<subscriptions::Owned>> {
    let mut owned = subscriptions::owned(client, holder)?;
    owned.retain(|subscription| subscription.provider_customer == code.as_str());
    Ok(owned)
}

fn try_move(client: &Client, identifier: &Identifier, target: Uuid) -> Round {
    living(client, target)?;
    let holder = people::by_identifier(client, identifier)?.filter(|holder| *holder != target);
    let moving = code_of(identifier).zip(holder);
    let with_it = |client: &Client| match moving {
        Some((code, holder)) => of_code(client, holder, code),
        None => Ok(Vec::new()),
    };
    let subscriptions = with_it(client)?;
    subscriptions::lock_owned(client, &subscriptions)?;
    let mut customers: Vec<Uuid> = holder.into_iter().chain([target]).collect();
    customers.sort_unstable();
    for customer_id in customers {
        match holder {
            Some(holder) if holder == customer_id => store::lock_alone(client, holder)?,
            _ => people::lock(client, customer_id)?,
        }
    }
    living(client, target)?;
    let standing = people::by_identifier(client, identifier)?.filter(|holder| *holder != target);
    if standing != holder || look(client, with_it)? != subscriptions {
        return Ok(Err(Undone::Again));
    }
    let holder = holder.map(|holder| whole(client, holder)).transpose()?;
    let target = whole(client, target)?;
    Ok(match plan_move(identifier, holder.as_ref(), &target) {
        MovePlan::Replay => Ok(told(Reason::Replay, target)),
        MovePlan::Refuse(detail) => Ok(refused(detail)),
        MovePlan::Write { holder, target } => {
            if holder.is_none() && !is_free(client, identifier)? {
                return Ok(Err(Undone::Again));
            }
            store::write(client, holder.as_deref(), &target)?;
            subscriptions::hand_over(client, &subscriptions, target.customer_id)?;
            if let Some(code) = code_of(identifier) {
                subscriptions::attach(client, code.as_str(), target.customer_id)?;
            }
            Ok(told(Reason::Applied, *target))
        }
    })
}

/// Whether nobody has the identifier, or is about to: the gate that every new identifier passes.
fn is_free(client: &Client, identifier: &Identifier) -> Result<bool> {
    let Some(gate) = people::claim(client, &Registration::of(identifier))? else { return Ok(false) };
    people::discard(client, gate)?;
    Ok(true)
}

/// What of a customer's is locked before the customer is.
fn possessions(client: &Client, customer_id: Uuid) -> Result<(Vec<subscriptions::Owned>, Vec<String>)> {
    Ok((subscriptions::owned(client, customer_id)?, payments::owned(client, customer_id)?))
}

/// Whether the customer is part of the other one already; refused if it can become part of nobody.
fn is_merged(client: &Client, from: Uuid, into: Uuid) -> Result<bool> {
    match store::standing(client, from)? {
        None => Err(UNKNOWN_CUSTOMER),
        Some(Standing::Live) => Ok(false),
        Some(Standing::Forgotten) => Err(FORGOTTEN),
        Some(Standing::Merged(_)) if store::heir(client, from)? == into => Ok(true),
        Some(Standing::Merged(_)) => Err(MERGED),
    }
}

fn try_merge(client: &Client, from: Uuid, into: Uuid) -> Round {
    let merged = is_merged(client, from, into)?;
    living(client, into)?;
    let listed = possessions(client, from)?;
    subscriptions::lock_owned(client, &listed.0)?;
    payments::lock_owned(client, &listed.1)?;
    let mut customers = [from, into];
    customers.sort_unstable();
    customers.iter().try_for_each(|customer_id| people::lock(client, *customer_id))?;
    living(client, into)?;
    let credit_types = credits::credit_types(client, from)?;
    credits::prepare_merge(client, into, &credit_types)?;
    store::lock_alone(client, from)?;
    if is_merged(client, from, into)? != merged
        || look(client, |client| possessions(client, from))? != listed
        || look(client, |client| credits::credit_types(client, from))? != credit_types
    {
        return Ok(Err(Undone::Again));
    }
    let target = match plan_merge(&whole(client, from)?, &whole(client, into)?) {
        Ok(target) => target,
        Err(detail) => return Ok(Err(Undone::Refused(refused(detail)))),
    };
    let family = store::family(client, from)?;
    let moved = match credits::merge(client, from, into, &credit_types, &family)? {
        Ok(moved) => moved,
        Err(refusal) => return Ok(Err(Undone::Refused(IdentityOutcome::refused(refusal)))),
    };
    if merged && !moved && listed.0.is_empty() && listed.1.is_empty() {
        return Ok(Err(Undone::Refused(told(Reason::Replay, target))));
    }
    subscriptions::hand_over(client, &listed.0, into)?;
    payments::hand_over(client, &listed.1, into)?;
    let nobody = Customer { customer_id: from, ..Customer::default() };
    store::write(client, Some(&nobody), &target)?;
    if !merged {
        store::mark_merged(client, from, into)?;
    }
    Ok(Ok(told(Reason::Applied, target)))
}

fn try_forget(client: &Client, customer_id: Uuid) -> Round {
    let forgotten = |reason| Ok(Ok(told(reason, Customer { customer_id, ..Customer::default() })));
    match store::standing(client, customer_id)? {
        None => return Err(UNKNOWN_CUSTOMER),
        Some(Standing::Merged(_)) => return Err(MERGED),
        Some(Standing::Forgotten) => return forgotten(Reason::Replay),
        Some(Standing::Live) => {}
    }
    let customer = whole(client, customer_id)?;
    let family = store::family(client, customer_id)?;
    webhooks::forget(client, &customer, &family)?;
    let owned = |client: &Client| subscriptions::owned(client, customer_id);
    let subscriptions = owned(client)?;
    subscriptions::lock_owned(client, &subscriptions)?;
    store::lock_alone(client, customer_id)?;
    if whole(client, customer_id)? != customer
        || store::standing(client, customer_id)? != Some(Standing::Live)
        || look(client, owned)? != subscriptions
    {
        return Ok(Err(Undone::Again));
    }
    let codes: Vec<String> = codes(&customer).map(|code| code.as_str().to_owned()).collect();
    subscriptions::forget(client, customer_id, codes)?;
    let nobody = Customer { customer_id, ..Customer::default() };
    store::write(client, None, &nobody)?;
    store::mark_forgotten(client, customer_id)?;
    forgotten(Reason::Applied)
}
