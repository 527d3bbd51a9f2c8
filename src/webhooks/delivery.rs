//! A delivery: verify, claim, apply and complete in one transaction.

use std::borrow::Cow;

use billing_core::outcome::{Detail, Reason, invalid};
use billing_core::webhooks::{Event, Provider, Standing, Status, http_status, status_after_failure};
use serde::Serialize;

use super::EventOutcome;
use super::claims::{self, Asked};
use super::effects::{self, Effect, Setback};
use super::retries;
use super::store::{self, Claim, EventKey, Failure, NewEvent};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended, Time};
use crate::settings::{self, PayloadRetention, WebhookMode};
use crate::{signatures, subscriptions};

/// What came in.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// Whose endpoint was called.
    pub provider: Provider,
    /// The raw body.
    pub payload: &'a str,
    /// The signature's header; none if it was absent.
    pub signature: Option<&'a str>,
}

/// An outcome, and whether the database holds what it needs to finish the job.
pub struct Answer {
    pub outcome: EventOutcome,
    payload_kept: bool,
}

impl Answer {
    /// The status for the provider's HTTP client.
    pub fn http_status(&self) -> u16 {
        http_status(self.outcome.reason, self.outcome.detail, self.payload_kept)
    }

    fn refused(detail: Detail) -> Answer {
        Answer { outcome: EventOutcome::refused(invalid(detail)), payload_kept: false }
    }
}

/// Takes a delivery.
pub fn receive(client: &Client, delivery: Delivery) -> Result<Answer> {
    let mode = settings::webhook_mode();
    if mode == WebhookMode::off {
        return Ok(Answer::refused(Detail::WebhooksOff));
    }
    if delivery.payload.len() > settings::max_payload_bytes() {
        return Ok(Answer::refused(Detail::PayloadTooLarge));
    }
    let (event, unsigned) = match authentic(client, delivery)? {
        Ok(authentic) => authentic,
        Err(detail) => return Ok(Answer::refused(detail)),
    };
    let new = NewEvent {
        event: Some(&event),
        unsigned,
        payload: claims::keeps_payload().then_some(delivery.payload),
        ..NewEvent::of(&event.summary, Status::Processing)
    };
    let key = EventKey { provider: event.provider.as_str(), event_id: &event.summary.id };
    claims::alone(key, || match mode {
        WebhookMode::record => record(client, key, NewEvent { payload: Some(delivery.payload), ..new }),
        _ => take(client, key, &event, delivery.payload, &new),
    })
}

/// Processes an event that nobody else is about to insert. One that is new is written once, as it is in the end.
fn take(client: &Client, key: EventKey, event: &Event, payload: &str, new: &NewEvent) -> Result<Answer> {
    let mut processed = match first_attempt(client, key, event, payload, new)? {
        Some(processed) => processed,
        // It is there already, or somebody inserts it who did not wait to be alone: its row says what to do.
        None => match claims::take_over(client, key, None, new.unsigned)? {
            Asked::Answered(answer) => {
                return Ok(Answer { outcome: answer.0, payload_kept: answer.1.payload_kept });
            }
            Asked::Got(claim) => process(client, key, event, payload, &claim)?,
        },
    };
    if let Some(claim) = linked_meanwhile(client, key, &processed)? {
        processed = process(client, key, event, payload, &claim)?;
    }
    retries::process_waiting(client, processed.linked)?;
    Ok(processed.answer)
}

/// The first attempt at an event, and then its row, complete; none if it has one.
fn first_attempt(
    client: &Client,
    key: EventKey,
    event: &Event,
    payload: &str,
    new: &NewEvent,
) -> Result<Option<Processed>> {
    if store::is_there(client, key)? {
        return Ok(None);
    }
    if let Some(detail) = effects::without_effect(client, event)? {
        return Ok(acknowledge(client, key, new, detail)?.map(Processed::of));
    }
    let received_at = pg::now();
    let complete = NewEvent { status: Status::Completed, ..*new };
    // With its row, or without both: the unique index decides, whoever came in by another way.
    let attempt = |hope| {
        pg::savepoint(pg::Errors::Answered, || {
            pg::hopeful(hope, || {
                let effect = match effects::apply(client, event)? {
                    Ok(effect) => effect,
                    Err(setback) => return Ok(Err(Some(setback))),
                };
                let result = result_json(&effect);
                let complete = NewEvent { result: Some(&result), ..complete };
                let inserted = store::insert(client, key, &complete, received_at)?;
                Ok(if inserted { Ok((effect, result)) } else { Err(None) })
            })
        })
    };
    let ended = match attempt(true)? {
        Ended::Error(sqlstate) if sqlstate == UNIQUE_VIOLATION => attempt(false)?,
        ended => ended,
    };
    let (setback, sqlstate) = match ended {
        Ended::Done((mut effect, result)) => {
            let linked = std::mem::take(&mut effect.linked);
            let answer = completed(key, &event.summary.event_type, 1, effect, result);
            return Ok(Some(Processed { linked, ..Processed::of(answer) }));
        }
        Ended::Refused(None) => return Ok(None),
        Ended::Refused(Some(setback)) => (setback, None),
        Ended::Error(sqlstate) => (Detail::InternalError.into(), Some(sqlstate)),
        Ended::Busy => return Err(Error::BrokenInvariant),
    };
    fail_first(client, key, payload, &complete, received_at, setback, sqlstate)
}

const UNIQUE_VIOLATION: &str = "23505";

/// The row of an event whose first attempt came to nothing; none if it has one.
fn fail_first(
    client: &Client,
    key: EventKey,
    payload: &str,
    new: &NewEvent,
    received_at: Time,
    setback: Setback,
    sqlstate: Option<String>,
) -> Result<Option<Processed>> {
    let token = claims::new_token()?;
    let claim = Claim { event_type: new.summary.event_type.clone(), attempts: 1, token };
    let message = message(&setback, sqlstate.as_deref());
    let failure = failure(&claim, &setback, &message, payload);
    let failed = NewEvent { status: failure.status, token: Some(token), failure: Some(&failure), ..*new };
    if !store::insert(client, key, &failed, received_at)? {
        return Ok(None);
    }
    let answer = gave_up(key, &claim, &setback, failure.status, failure.payload.is_some());
    Ok(Some(Processed { waits_for: setback.waits_for, ..Processed::of(answer) }))
}

/// The event, and whether it was let in without a signature; or why it is refused.
fn authentic<'a>(
    client: &Client,
    delivery: Delivery<'a>,
) -> Result<std::result::Result<(Event<'a>, bool), Detail>> {
    let event = || Event::parse(delivery.provider, delivery.payload);
    if delivery.signature.is_none()
        && settings::e2e_test_mode()
        && let Ok(event) = event()
        && event.livemode == Some(false)
        && !store::has_live(client)?
    {
        pgrx::warning!("a webhook without a signature was let in: billing_rpc.e2e_test_mode is on");
        return Ok(Ok((event, true)));
    }
    let verdict = signatures::verify(client, delivery.provider, delivery.payload, delivery.signature)?;
    Ok(match verdict.detail {
        Some(detail) => Err(detail),
        None => event().map(|event| (event, false)),
    })
}

/// Records an event that has no effect: one row, complete as it arrives. None if there is a row already:
/// failed or claimed under other settings, or completed.
fn acknowledge(client: &Client, key: EventKey, new: &NewEvent, detail: Detail) -> Result<Option<Answer>> {
    let effect = Effect::ignored(detail);
    let result = result_json(&effect);
    let complete = NewEvent { status: Status::Completed, result: Some(&result), ..*new };
    if !store::insert(client, key, &complete, pg::now())? {
        return Ok(None);
    }
    Ok(Some(completed(key, &new.summary.event_type, 1, effect, result)))
}

/// Keeps an event to be processed later, whatever the retention of bodies.
fn record(client: &Client, key: EventKey, new: NewEvent) -> Result<Answer> {
    let now = pg::now();
    let new = NewEvent { status: Status::Recorded, ..new };
    let mut attempts = 0;
    let mut status = Status::Recorded;
    if store::is_there(client, key)? || !store::insert(client, key, &new, now)? {
        let row = store::lock(client, key)?.ok_or(Error::BrokenInvariant)?;
        match row.standing(now, settings::max_attempts()) {
            Standing::Free | Standing::RanOut => {}
            Standing::Done => return Ok(as_it_stands(key, Reason::Replay, None, &row)),
            Standing::Taken(detail) => return Ok(as_it_stands(key, Reason::Duplicate, Some(detail), &row)),
        }
        store::record(client, key, new.payload.unwrap_or_default(), now, new.unsigned)?;
        (attempts, status) = (row.attempts, row.status);
    }
    Ok(Answer {
        outcome: EventOutcome {
            event_type: Some(new.summary.event_type.clone()),
            status: Some(status),
            attempts: Some(attempts),
            ..EventOutcome::of(key, Reason::Ignored, Some(Detail::Recorded))
        },
        payload_kept: true,
    })
}

fn as_it_stands(key: EventKey, reason: Reason, detail: Option<Detail>, row: &store::EventRow) -> Answer {
    Answer { outcome: claims::as_it_stands(key, reason, detail, row), payload_kept: row.payload_kept }
}

/// What processing a claimed event came to.
pub struct Processed {
    pub answer: Answer,
    /// The provider codes that it linked.
    pub linked: Vec<String>,
    /// The provider code that it failed for want of.
    pub waits_for: Option<String>,
}

impl Processed {
    /// Processing that linked nobody, and waits for nobody.
    pub fn of(answer: Answer) -> Processed {
        Processed { answer, linked: Vec::new(), waits_for: None }
    }
}

/// A new claim on an event that failed for want of a link, if that was made meanwhile: whoever made it did
/// not see the event, and nobody else might look before it is due.
fn linked_meanwhile(client: &Client, key: EventKey, processed: &Processed) -> Result<Option<Claim>> {
    match &processed.waits_for {
        Some(code) if subscriptions::meet_owner(client, code)? => {
            store::take(client, key, pg::now(), None, settings::max_attempts(), false)
        }
        _ => Ok(None),
    }
}

/// The business part of a claimed event, in a savepoint, and what it leaves in the event's row.
pub fn process(
    client: &Client,
    key: EventKey,
    event: &Event,
    payload: &str,
    claim: &Claim,
) -> Result<Processed> {
    match pg::savepoint(pg::Errors::Answered, || effects::apply(client, event))? {
        Ended::Done(mut effect) => {
            let linked = std::mem::take(&mut effect.linked);
            let result = result_json(&effect);
            let datum = pg::jsonb(&result).into();
            if !store::complete(client, key, claim.token, datum, claims::keeps_payload())? {
                return Err(Error::BrokenInvariant);
            }
            let answer = completed(key, &claim.event_type, claim.attempts, effect, result);
            Ok(Processed { linked, ..Processed::of(answer) })
        }
        Ended::Refused(setback) => {
            let answer = failed(client, key, payload, claim, &setback, None)?;
            Ok(Processed { waits_for: setback.waits_for, ..Processed::of(answer) })
        }
        Ended::Error(sqlstate) => {
            let setback = Detail::InternalError.into();
            failed(client, key, payload, claim, &setback, Some(&sqlstate)).map(Processed::of)
        }
        Ended::Busy => Err(Error::BrokenInvariant),
    }
}

fn completed(key: EventKey, event_type: &str, attempts: i32, effect: Effect, result: String) -> Answer {
    Answer {
        outcome: EventOutcome {
            event_type: Some(event_type.to_owned()),
            status: Some(Status::Completed),
            attempts: Some(attempts),
            result: Some(result),
            ..EventOutcome::of(key, effect.reason, effect.detail)
        },
        payload_kept: claims::keeps_payload(),
    }
}

/// Gives a claimed event back as failed.
pub fn failed(
    client: &Client,
    key: EventKey,
    payload: &str,
    claim: &Claim,
    setback: &Setback,
    sqlstate: Option<&str>,
) -> Result<Answer> {
    let message = message(setback, sqlstate);
    let failure = failure(claim, setback, &message, payload);
    let payload_kept = store::fail(client, key, claim.token, &failure)?.ok_or(Error::BrokenInvariant)?;
    Ok(gave_up(key, claim, setback, failure.status, payload_kept))
}

/// The sentence of a failure.
fn message(setback: &Setback, sqlstate: Option<&str>) -> Cow<'static, str> {
    let meaning = setback.detail.meaning();
    sqlstate.map_or(Cow::Borrowed(meaning), |sqlstate| format!("{meaning} SQLSTATE {sqlstate}.").into())
}

fn failure<'a>(claim: &Claim, setback: &'a Setback, message: &'a str, payload: &'a str) -> Failure<'a> {
    Failure {
        status: status_after_failure(claim.attempts, settings::max_attempts()),
        detail: Some(setback.detail),
        message,
        next_attempt_at: claims::next_attempt(claim.attempts, claim.token, None),
        customer_code: setback.waits_for.as_deref(),
        payload: (settings::payload_retention() != PayloadRetention::none).then_some(payload),
    }
}

fn gave_up(key: EventKey, claim: &Claim, setback: &Setback, status: Status, payload_kept: bool) -> Answer {
    Answer {
        outcome: EventOutcome {
            event_type: Some(claim.event_type.clone()),
            status: Some(status),
            attempts: Some(claim.attempts),
            ..EventOutcome::of(key, Reason::Failed, Some(setback.detail))
        },
        payload_kept,
    }
}

/// What a completed event keeps, and what its replay answers.
pub fn result_json(effect: &Effect) -> String {
    let result = EventResult {
        reason: effect.reason.as_str(),
        detail: effect.detail.map(Detail::as_str),
        entry: effect.entry.as_ref().map(|entry| EntryResult {
            entry_id: entry.entry_id,
            customer_id: pgrx::Uuid::from_bytes(entry.customer_id).to_string(),
            credit_type: &entry.credit_type,
            credits: entry.credits,
            balance: entry.balance,
        }),
    };
    serde_json::to_string(&result).unwrap_or_default()
}

#[derive(Serialize)]
struct EventResult<'a> {
    reason: &'a str,
    detail: Option<&'a str>,
    #[serde(flatten)]
    entry: Option<EntryResult<'a>>,
}

#[derive(Serialize)]
struct EntryResult<'a> {
    entry_id: i64,
    customer_id: String,
    credit_type: &'a str,
    credits: i64,
    balance: i64,
}

/// A header of the HTTP request, as PostgREST hands it over.
pub fn request_header(client: &Client, name: &str) -> Result<Option<String>> {
    let headers = store::request_headers(client)?;
    let headers = headers.as_deref().and_then(billing_core::json::Object::parse);
    Ok(headers.and_then(|headers| headers.text(name).map(|value| value.into_owned())))
}

/// The status of the HTTP answer, as PostgREST takes it.
pub fn set_http_status(client: &Client, status: u16) -> Result<()> {
    store::set_response_status(client, &status.to_string())
}
