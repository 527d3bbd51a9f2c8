//! Claims: one INSERT decides who gets an event, one UPDATE who takes it over.

use billing_core::outcome::{Detail, Reason, invalid};
use billing_core::text;
use billing_core::webhooks::{
    ClaimRequest, Standing, Status, Summary, backoff_seconds, check_retry_in, event_gate,
    status_after_failure,
};
use pgrx::Uuid as PgUuid;

use super::EventOutcome;
use super::store::{self, Claim, EventKey, EventRow, Failure, NewEvent};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Gates, JsonbArgument, Time};
use crate::settings::{self, PayloadRetention};

/// What asking for an event came to.
pub enum Asked {
    /// The event is the caller's.
    Got(Claim),
    /// Somebody or something else answers.
    Answered(Box<(EventOutcome, EventRow)>),
}

/// Asks for an event: the INSERT is the claim; if the event is there already, its row is looked
/// at, as committed then, and taken over if it is free. `lease_until`: none for a delivery, which is done
/// with the event when its transaction is.
pub fn ask(client: &Client, key: EventKey, new: &NewEvent) -> Result<Asked> {
    let token = new_token()?;
    // The look spares a claim on an event that is there the writing: the insert decides.
    if !store::is_there(client, key)?
        && store::insert(client, key, &NewEvent { token: Some(token), ..*new }, pg::now())?
    {
        return Ok(Asked::Got(Claim { event_type: new.summary.event_type.clone(), attempts: 1, token }));
    }
    take_over(client, key, new.lease_until, new.unsigned)
}

/// What names an attempt to whoever makes it.
pub fn new_token() -> Result<PgUuid> {
    pg::random_uuid().ok_or(Error::BrokenInvariant)
}

/// Runs the body as the only one who may insert the event: whoever does so late, with what it called for done
/// already, must find nobody who did so early and waits for what is done.
pub fn alone<T>(key: EventKey, body: impl FnOnce() -> Result<T>) -> Result<T> {
    pg::in_gate(Gates::Events, event_gate(key.provider, key.event_id), body)
}

/// How often a row is looked at anew because a rival changed it in between.
const MAX_ROUNDS: usize = 100;

/// Takes the event over if it is free.
pub fn take_over(client: &Client, key: EventKey, lease_until: Option<Time>, unsigned: bool) -> Result<Asked> {
    let max_attempts = settings::max_attempts();
    for _ in 0..MAX_ROUNDS {
        let now = pg::now();
        let Some(row) = store::read(client, key)? else {
            // It is there, so what this transaction sees is too old to tell.
            return Err(if pg::keeps_one_snapshot() {
                Error::ConcurrentUpdate
            } else {
                Error::BrokenInvariant
            });
        };
        match row.standing(now, max_attempts) {
            Standing::Free => {
                let taken = store::take(client, key, now, lease_until, max_attempts, unsigned)?;
                if let Some(claim) = taken {
                    return Ok(Asked::Got(claim));
                }
            }
            Standing::RanOut => store::bury(client, key, now, max_attempts)?,
            Standing::Done => return Ok(Asked::answered(key, Reason::Replay, None, row)),
            Standing::Taken(detail) => return Ok(Asked::answered(key, Reason::Duplicate, Some(detail), row)),
        }
    }
    Err(Error::BrokenInvariant)
}

impl Asked {
    fn answered(key: EventKey, reason: Reason, detail: Option<Detail>, row: EventRow) -> Asked {
        Asked::Answered(Box::new((as_it_stands(key, reason, detail, &row), row)))
    }
}

/// An answer about an event as its row stands.
pub fn as_it_stands(key: EventKey, reason: Reason, detail: Option<Detail>, row: &EventRow) -> EventOutcome {
    EventOutcome {
        event_type: Some(row.event_type.clone()),
        status: Some(row.status),
        attempts: Some(row.attempts),
        lease_until: row.lease_until.and_then(Time::timestamp),
        result: row.result.clone(),
        ..EventOutcome::of(key, reason, detail)
    }
}

/// `claim_webhook_event`.
pub fn claim(
    provider: Option<&str>,
    event_id: Option<&str>,
    event_type: Option<&str>,
    payload_summary: Option<&str>,
    lease_seconds: Option<i32>,
) -> Result<EventOutcome> {
    let request = match ClaimRequest::parse(provider, event_id, event_type, payload_summary, lease_seconds) {
        Ok(request) => request,
        Err(refusal) => return Ok(EventOutcome::refused(refusal)),
    };
    let key = EventKey { provider: request.provider, event_id: request.event_id };
    let summary = Summary::of_claim(&request, payload_summary);
    let seconds = request.lease_seconds.unwrap_or_else(settings::claim_lease_seconds);
    let lease_until = Some(pg::now().plus_seconds(seconds.into()));
    let new = NewEvent { lease_until, ..NewEvent::of(&summary, Status::Processing) };
    Ok(match pg::write(|client| alone(key, || ask(client, key, &new)))? {
        Asked::Answered(answer) => answer.0,
        Asked::Got(claim) => EventOutcome {
            event_type: Some(claim.event_type),
            status: Some(Status::Processing),
            attempts: Some(claim.attempts),
            claim_token: Some(claim.token),
            lease_until: lease_until.and_then(Time::timestamp),
            ..EventOutcome::of(key, Reason::Applied, None)
        },
    })
}

/// The event and the token that a caller names.
fn named<'a>(
    provider: Option<&'a str>,
    event_id: Option<&'a str>,
    claim_token: Option<PgUuid>,
) -> Result<(EventKey<'a>, PgUuid), Detail> {
    let provider = text::PROVIDER.check(provider)?;
    let event_id = text::EVENT_ID.check(event_id)?;
    Ok((EventKey { provider, event_id }, claim_token.ok_or(Detail::ClaimTokenMissing)?))
}

/// `complete_webhook_event`.
pub fn complete(
    provider: Option<&str>,
    event_id: Option<&str>,
    claim_token: Option<PgUuid>,
    result: Option<&JsonbArgument>,
) -> Result<EventOutcome> {
    let (key, token) = match named(provider, event_id, claim_token) {
        Ok(named) => named,
        Err(detail) => return Ok(EventOutcome::refused(invalid(detail))),
    };
    if result.is_some_and(|result| result.text().len() > text::MAX_DOCUMENT_BYTES) {
        return Ok(EventOutcome::refused(invalid(Detail::ResultTooLarge)));
    }
    pg::write(|client| {
        let Some(row) = store::lock(client, key)? else {
            return Ok(EventOutcome::refused(invalid(Detail::UnknownEvent)));
        };
        if row.claim_token != Some(token) {
            return Ok(lost(key));
        }
        match row.status {
            Status::Completed => Ok(told(key, Reason::Replay, row)),
            Status::Processing => {
                if !store::complete(client, key, token, store::result_of(result), keeps_payload())? {
                    return Err(Error::BrokenInvariant);
                }
                let result = result.map(|result| result.text().to_owned());
                Ok(told(key, Reason::Applied, EventRow { status: Status::Completed, result, ..row }))
            }
            Status::Recorded | Status::Failed | Status::Dead => Ok(lost(key)),
        }
    })
}

/// `fail_webhook_event`.
pub fn fail(
    provider: Option<&str>,
    event_id: Option<&str>,
    claim_token: Option<PgUuid>,
    error_message: Option<&str>,
    retry_in_seconds: Option<i32>,
) -> Result<EventOutcome> {
    let (key, token) = match named(provider, event_id, claim_token) {
        Ok(named) => named,
        Err(detail) => return Ok(EventOutcome::refused(invalid(detail))),
    };
    let message = match text::ERROR_MESSAGE.check(error_message) {
        Ok(message) => message,
        Err(detail) => return Ok(EventOutcome::refused(invalid(detail))),
    };
    let retry_in_seconds = match check_retry_in(retry_in_seconds) {
        Ok(seconds) => seconds,
        Err(refusal) => return Ok(EventOutcome::refused(refusal)),
    };
    pg::write(|client| {
        let Some(row) = store::lock(client, key)? else {
            return Ok(EventOutcome::refused(invalid(Detail::UnknownEvent)));
        };
        if row.claim_token != Some(token) {
            return Ok(lost(key));
        }
        match row.status {
            Status::Failed | Status::Dead => Ok(told(key, Reason::Replay, row)),
            Status::Processing => {
                let failure = Failure {
                    status: status_after_failure(row.attempts, settings::max_attempts()),
                    detail: None,
                    message,
                    next_attempt_at: next_attempt(row.attempts, token, retry_in_seconds),
                    customer_code: None,
                    payload: None,
                };
                store::fail(client, key, token, &failure)?.ok_or(Error::BrokenInvariant)?;
                Ok(told(key, Reason::Applied, EventRow { status: failure.status, ..row }))
            }
            Status::Recorded | Status::Completed => Ok(lost(key)),
        }
    })
}

/// When a failed event is due again: as asked, else after the back-off, its jitter taken from the
/// random token of the attempt.
pub fn next_attempt(attempts: i32, token: PgUuid, asked_seconds: Option<i32>) -> Option<Time> {
    let jitter = token.as_bytes().first().copied().unwrap_or_default();
    let delay = asked_seconds.map_or_else(|| backoff_seconds(attempts, jitter), i64::from);
    Some(pg::now().plus_seconds(delay))
}

/// Whether a completed event keeps its body.
pub fn keeps_payload() -> bool {
    settings::payload_retention() == PayloadRetention::always
}

fn lost(key: EventKey) -> EventOutcome {
    EventOutcome::of(key, Reason::Invalid, Some(Detail::ClaimLost))
}

fn told(key: EventKey, reason: Reason, row: EventRow) -> EventOutcome {
    EventOutcome {
        event_type: Some(row.event_type),
        status: Some(row.status),
        attempts: Some(row.attempts),
        result: row.result,
        ..EventOutcome::of(key, reason, None)
    }
}
