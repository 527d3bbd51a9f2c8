//! Events tried again: those that are due, and those that waited for a provider code.

use std::collections::VecDeque;

use billing_core::outcome::{Detail, Refusal};
use billing_core::webhooks::{Event, Provider, Status};

use super::EventOutcome;
use super::claims::{self, Asked};
use super::delivery::{self, Processed};
use super::store::{self, EventKey};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended};

/// How locks are taken that others may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    /// In the one order of locks, so waiting is safe.
    Waited,
    /// Something later in that order is locked already: only if free.
    OnlyFree,
}

/// Processes events that are due; what became of each. A busy one is left for the next round, uncounted.
pub fn retry(client: &Client, max_events: i64) -> Result<Vec<EventOutcome>> {
    let mut outcomes = Vec::new();
    let mut locks = Locks::Waited;
    for (provider, event_id) in store::due(client, pg::now(), max_events)? {
        let key = EventKey { provider: &provider, event_id: &event_id };
        if let Some(kept) = process_kept(client, key, locks)? {
            outcomes.push(kept.outcome);
            outcomes.extend(process_waiting(client, kept.linked)?);
        }
        locks = Locks::OnlyFree;
        pgrx::check_for_interrupts!();
    }
    Ok(outcomes)
}

/// Processes the failed events that waited for the codes, and what waits for codes that those link; what
/// became of each.
///
/// The customer is locked by now, so events and charges come out of order here: events locked
/// elsewhere are left out, and any other lock is taken only if it is free.
pub fn process_waiting(client: &Client, codes: Vec<String>) -> Result<Vec<EventOutcome>> {
    let mut outcomes = Vec::new();
    let mut codes = VecDeque::from(codes);
    while let Some(code) = codes.pop_front() {
        for (provider, event_id) in store::waiting(client, &code)? {
            let key = EventKey { provider: &provider, event_id: &event_id };
            if let Some(kept) = process_kept(client, key, Locks::OnlyFree)? {
                outcomes.push(kept.outcome);
                codes.extend(kept.linked);
            }
        }
    }
    Ok(outcomes)
}

/// What trying a kept event came to.
struct Kept {
    outcome: EventOutcome,
    linked: Vec<String>,
}

impl From<Processed> for Kept {
    fn from(processed: Processed) -> Kept {
        Kept { outcome: processed.answer.outcome, linked: processed.linked }
    }
}

/// Tries a kept event in a savepoint of its own; none if it is busy, or needs no attempt any more.
fn process_kept(client: &Client, key: EventKey, locks: Locks) -> Result<Option<Kept>> {
    let body = || attempt(client, key, None).map(Ok::<_, Refusal>);
    let ended = match locks {
        Locks::Waited => pg::savepoint(pg::Errors::OfOneEvent, body),
        Locks::OnlyFree => pg::savepoint(pg::Errors::OfOneEventOrBusy, || pg::only_free_locks(body)),
    };
    match ended {
        Ok(Ended::Done(kept)) => Ok(kept),
        Ok(Ended::Busy | Ended::Refused(_)) => Ok(None),
        // One that cannot even be finished must not keep the others from their turn.
        Ok(Ended::Error(sqlstate)) => attempt(client, key, Some(&sqlstate)),
        Err(Error::BrokenInvariant) => attempt(client, key, Some("XX001")),
        Err(error) => Err(error),
    }
}

/// Takes the event and processes it, or fails it with what its processing ended in.
fn attempt(client: &Client, key: EventKey, broken: Option<&str>) -> Result<Option<Kept>> {
    let (Some(provider), Some(payload)) = (Provider::parse(key.provider), store::payload(client, key)?)
    else {
        return Ok(None);
    };
    let claim = match claims::take_over(client, key, None, false)? {
        Asked::Got(claim) => claim,
        Asked::Answered(answer) if answer.1.status == Status::Dead => {
            return Ok(Some(Kept { outcome: answer.0, linked: Vec::new() }));
        }
        Asked::Answered(_) => return Ok(None),
    };
    let processed = match (broken, Event::parse(provider, &payload)) {
        (None, Ok(event)) => delivery::process(client, key, &event, &payload, &claim)?,
        _ => {
            let setback = Detail::InternalError.into();
            let answer = delivery::failed(client, key, &payload, &claim, &setback, broken)?;
            Processed::of(answer)
        }
    };
    Ok(Some(processed.into()))
}
