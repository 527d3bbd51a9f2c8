//! Checkout sessions: credits for whom they name, and the link of user and provider customer.

use billing_core::checkout::{Order, Session};
use billing_core::customers::{Identifier, ProviderCode};
use billing_core::outcome::{Detail, Reason};
use billing_core::webhooks::Event;

use super::delivery::{Effect, Setback};
use crate::credits::{self, CreditOutcome, Origin};
use crate::customers::{self, Link, Person};
use crate::error::Result;
use crate::pg::Client;

/// Whether events of the type are handled here.
pub fn handles(event_type: &str) -> bool {
    matches!(event_type, "checkout.session.completed" | "checkout.session.async_payment_succeeded")
}

type Judged = Result<Effect, Setback>;

/// Judges a session's event by the steps of the contract: paid, what, whose, price, link.
pub fn apply(client: &Client, event: &Event, origin: &str) -> Result<Judged> {
    let Some(object) = &event.object else { return Ok(Err(setback(Detail::ObjectMalformed))) };
    let session = Session::parse(object);
    match session.order() {
        Err(refusal) if refusal.reason == Reason::Ignored => Ok(Ok(ignored(refusal.detail))),
        Err(refusal) => Ok(Err(setback(refusal.detail))),
        Ok(Order::Link) => link_only(client, &session),
        Ok(Order::Credits(count)) => {
            let origin = Origin { event: Some(origin), livemode: event.livemode };
            buy(client, &session, count, origin)
        }
    }
}

fn setback(detail: Detail) -> Setback {
    Setback { detail, waits_for: None }
}

fn ignored(detail: Detail) -> Effect {
    Effect { reason: Some(Reason::Ignored), detail: Some(detail), ..Effect::default() }
}

/// The first of the identifiers that names somebody, or somebody to be made.
fn first_usable<'a>(
    client: &Client,
    identifiers: Vec<Identifier<'a>>,
) -> Result<Option<(Identifier<'a>, Person)>> {
    for identifier in identifiers {
        let person = customers::find(client, &identifier)?;
        if person != Person::Unknown {
            return Ok(Some((identifier, person)));
        }
    }
    Ok(None)
}

fn buy(client: &Client, session: &Session, count: i64, origin: Origin) -> Result<Judged> {
    // The order of locks: the charge, then the customer, then the balance.
    credits::tie(client, &session.source())?;
    let named = first_usable(client, session.named_users(customers::external_ids()))?;
    let code = session.customer_code().filter(|_| named.is_some());
    let whose = match named {
        Some(named) => Some(named),
        None => first_usable(client, session.other_users())?,
    };
    let Some((identifier, person)) = whose else {
        let waits_for = session.customer_code().map(|code| code.as_str().to_owned());
        return Ok(Err(Setback { detail: Detail::UnknownUser, waits_for }));
    };
    let before = match &person {
        Person::Known(_) => link(client, &person, code)?,
        _ => None,
    };
    let credited = credits::apply(client, &session.request(identifier, count), origin, None)?;
    let after = match (&person, &credited.entry) {
        // Somebody new is made by being credited, and linked only then.
        (Person::New(_), Some(entry)) if credited.reason == Reason::Applied => {
            link(client, &Person::Known(entry.customer_id), code)?
        }
        _ => None,
    };
    Ok(effect(credited, before.or(after)))
}

/// Links the named user and the session's customer, where the session names both.
fn link(client: &Client, person: &Person, code: Option<ProviderCode>) -> Result<Option<(Link, String)>> {
    match code {
        None => Ok(None),
        Some(code) => Ok(Some((customers::link(client, person, code)?, code.as_str().to_owned()))),
    }
}

fn effect(credited: CreditOutcome, link: Option<(Link, String)>) -> Judged {
    let linked = match &link {
        Some((Link::Made(_), code)) => vec![code.clone()],
        _ => Vec::new(),
    };
    let refused = matches!(link, Some((Link::Refused, _)));
    match (credited.reason, credited.detail) {
        (Reason::Applied, _) => Ok(Effect {
            reason: Some(Reason::Applied),
            detail: refused.then_some(Detail::LinkRefused),
            entry: credited.entry,
            linked,
        }),
        // The session's own key stands: it was credited by another event, perhaps to somebody whom the
        // event names otherwise today.
        (Reason::Replay | Reason::Duplicate, _) | (_, Some(Detail::IdempotencyKeyReused)) => Ok(Effect {
            reason: Some(Reason::Duplicate),
            detail: Some(Detail::AlreadyCredited),
            entry: credited.entry,
            linked,
        }),
        (_, detail) => Err(setback(detail.unwrap_or(Detail::InternalError))),
    }
}

fn link_only(client: &Client, session: &Session) -> Result<Judged> {
    let named = first_usable(client, session.named_users(customers::external_ids()))?;
    let (Some((_, person)), Some(code)) = (named, session.customer_code()) else {
        return Ok(Ok(ignored(Detail::NothingToLink)));
    };
    Ok(Ok(match customers::link(client, &person, code)? {
        Link::Made(_) => Effect {
            reason: Some(Reason::Applied),
            linked: vec![code.as_str().to_owned()],
            ..Effect::default()
        },
        Link::Stood => ignored(Detail::NothingToLink),
        Link::Refused => ignored(Detail::LinkRefused),
    }))
}
