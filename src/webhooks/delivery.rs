//! A delivery: verify, claim, apply and complete in one transaction.

use std::collections::VecDeque;

use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use billing_core::webhooks::{Event, Status, http_status, status_after_failure};

use super::EventOutcome;
use super::checkout;
use super::claims::{self, Asked};
use super::store::{self, Claim, EventKey, Failure, NewEvent};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended};
use crate::settings::{self, PayloadRetention};
use crate::signatures;

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

/// What an event's processing did.
#[derive(Debug, Default)]
pub struct Effect {
    /// Why; never invalid.
    pub reason: Option<Reason>,
    /// What more.
    pub detail: Option<Detail>,
    /// The entry of the ledger, if it is about one.
    pub entry: Option<crate::credits::Shown>,
    /// Provider codes that became a customer's: what waits for them is processed next.
    pub linked: Vec<String>,
}

/// Why processing stopped, to be tried again.
#[derive(Debug)]
pub struct Setback {
    pub detail: Detail,
    /// The provider code whose link would help.
    pub waits_for: Option<String>,
}

/// A Stripe delivery.
pub fn stripe(client: &Client, payload: &str, header: Option<&str>) -> Result<Answer> {
    if payload.len() > settings::max_payload_bytes() {
        return Ok(Answer::refused(Detail::PayloadTooLarge));
    }
    let verdict = signatures::verify_stripe(client, payload, header, None)?;
    if let Some(detail) = verdict.detail {
        return Ok(Answer::refused(detail));
    }
    let event = match Event::parse_stripe(payload) {
        Ok(event) => event,
        Err(detail) => return Ok(Answer::refused(detail)),
    };
    let key = EventKey { provider: "stripe", event_id: &event.summary.id };
    match without_effect(client, &event)? {
        Some(detail) => acknowledge(client, key, &event, payload, detail),
        None => claim_and_process(client, key, &event, payload),
    }
}

/// Why the event has no effect whatever it says, if so.
fn without_effect(client: &Client, event: &Event) -> Result<Option<Detail>> {
    let allowed = match &event.account_id {
        Some(account_id) => store::account_is_allowed(client, account_id)?,
        None => false,
    };
    let ignored = event.ignored(settings::accepted_mode(), allowed);
    let unhandled = !checkout::handles(&event.summary.event_type);
    Ok(ignored.or(unhandled.then_some(Detail::EventTypeNotHandled)))
}

/// Records an event that has no effect: one row, complete as it arrives.
fn acknowledge(
    client: &Client,
    key: EventKey,
    event: &Event,
    payload: &str,
    detail: Detail,
) -> Result<Answer> {
    let effect = Effect { reason: Some(Reason::Ignored), detail: Some(detail), ..Effect::default() };
    let result = result_json(&effect);
    let new = NewEvent {
        summary: &event.summary,
        event: Some(event),
        status: Status::Completed,
        lease_until: None,
        payload: claims::keeps_payload().then_some(payload),
        result: Some(&result),
    };
    if store::insert(client, key, &new, pg::now())?.is_none() {
        // It stands already: failed or claimed under other settings, or completed.
        return claim_and_process(client, key, event, payload);
    }
    Ok(Answer {
        outcome: EventOutcome {
            event_type: Some(event.summary.event_type.clone()),
            status: Some(Status::Completed),
            attempts: Some(1),
            result: Some(result),
            ..EventOutcome::of(key, Reason::Ignored, Some(detail))
        },
        payload_kept: claims::keeps_payload(),
    })
}

fn claim_and_process(client: &Client, key: EventKey, event: &Event, payload: &str) -> Result<Answer> {
    let kept = claims::keeps_payload().then_some(payload);
    match claims::ask(client, key, &event.summary, Some(event), kept, None)? {
        Asked::Answered(answer) => Ok(Answer { outcome: answer.0, payload_kept: answer.1.payload_kept }),
        Asked::Got(claim) => {
            let (answer, linked) = process(client, key, event, payload, &claim)?;
            process_waiting(client, linked)?;
            Ok(answer)
        }
    }
}

/// The business part of a claimed event, in a savepoint, and what it leaves in the event's row.
fn process(
    client: &Client,
    key: EventKey,
    event: &Event,
    payload: &str,
    claim: &Claim,
) -> Result<(Answer, Vec<String>)> {
    match pg::savepoint(pg::Errors::Answered, || effect_of(client, key, event))? {
        Ended::Done(effect) => {
            let answer = completed(client, key, claim, &effect)?;
            Ok((answer, effect.linked))
        }
        Ended::Refused(setback) => Ok((failed(client, key, payload, claim, &setback, None)?, Vec::new())),
        Ended::Error(sqlstate) => {
            let setback = Setback { detail: Detail::InternalError, waits_for: None };
            Ok((failed(client, key, payload, claim, &setback, Some(&sqlstate))?, Vec::new()))
        }
        Ended::Busy => Err(Error::BrokenInvariant),
    }
}

/// What the event does.
fn effect_of(client: &Client, key: EventKey, event: &Event) -> Result<Result<Effect, Setback>> {
    if let Some(detail) = without_effect(client, event)? {
        return Ok(Ok(Effect { reason: Some(Reason::Ignored), detail: Some(detail), ..Effect::default() }));
    }
    let origin = format!("{}:{}", key.provider, key.event_id);
    checkout::apply(client, event, &origin)
}

fn completed(client: &Client, key: EventKey, claim: &Claim, effect: &Effect) -> Result<Answer> {
    let result = result_json(effect);
    let datum = pg::jsonb(&result).into();
    if !store::complete(client, key, claim.token, datum, claims::keeps_payload())? {
        return Err(Error::BrokenInvariant);
    }
    Ok(Answer {
        outcome: EventOutcome {
            event_type: Some(claim.event_type.clone()),
            status: Some(Status::Completed),
            attempts: Some(claim.attempts),
            result: Some(result),
            ..EventOutcome::of(key, effect.reason.unwrap_or(Reason::Applied), effect.detail)
        },
        payload_kept: claims::keeps_payload(),
    })
}

fn failed(
    client: &Client,
    key: EventKey,
    payload: &str,
    claim: &Claim,
    setback: &Setback,
    sqlstate: Option<&str>,
) -> Result<Answer> {
    let mut message = setback.detail.meaning().to_owned();
    if let Some(sqlstate) = sqlstate {
        message = format!("{message} SQLSTATE {sqlstate}.");
    }
    let failure = Failure {
        status: status_after_failure(claim.attempts, settings::max_attempts()),
        detail: Some(setback.detail),
        message: &message,
        next_attempt_at: claims::next_attempt(claim.attempts, claim.token, None),
        customer_code: setback.waits_for.as_deref(),
        payload: (settings::payload_retention() != PayloadRetention::none).then_some(payload),
    };
    let payload_kept = store::fail(client, key, claim.token, &failure)?.ok_or(Error::BrokenInvariant)?;
    Ok(Answer {
        outcome: EventOutcome {
            event_type: Some(claim.event_type.clone()),
            status: Some(failure.status),
            attempts: Some(claim.attempts),
            ..EventOutcome::of(key, Reason::Failed, Some(setback.detail))
        },
        payload_kept,
    })
}

/// What a completed event keeps, and what its replay answers.
fn result_json(effect: &Effect) -> String {
    let mut result = serde_json::Map::new();
    let reason = effect.reason.unwrap_or(Reason::Applied);
    result.insert("reason".to_owned(), reason.as_str().into());
    result.insert("detail".to_owned(), effect.detail.map(Detail::as_str).into());
    if let Some(entry) = &effect.entry {
        let customer_id = pgrx::Uuid::from_bytes(entry.customer_id).to_string();
        result.insert("entry_id".to_owned(), entry.entry_id.into());
        result.insert("customer_id".to_owned(), customer_id.into());
        result.insert("credit_type".to_owned(), entry.credit_type.as_str().into());
        result.insert("credits".to_owned(), entry.credits.into());
        result.insert("balance".to_owned(), entry.balance.into());
    }
    serde_json::Value::Object(result).to_string()
}

/// Processes the failed events that waited for the codes, and what waits for codes that those link.
///
/// The customer is locked by now, so events and charges come out of order here: events locked
/// elsewhere are left out, and any other lock is taken only if it is free.
pub fn process_waiting(client: &Client, codes: Vec<String>) -> Result<()> {
    let mut codes = VecDeque::from(codes);
    while let Some(code) = codes.pop_front() {
        for (event_id, payload) in store::waiting(client, &code)? {
            let key = EventKey { provider: "stripe", event_id: &event_id };
            codes.extend(process_kept(client, key, &payload)?);
        }
    }
    Ok(())
}

/// Tries a kept event again; what it linked. A busy one is left as it was.
fn process_kept(client: &Client, key: EventKey, payload: &str) -> Result<Vec<String>> {
    let Ok(event) = Event::parse_stripe(payload) else { return Err(Error::BrokenInvariant) };
    let attempt = || {
        let now = pg::now();
        let lease_until = now.plus_seconds(settings::claim_lease_seconds().into());
        match store::take(client, key, now, lease_until, settings::max_attempts())? {
            Some(claim) => process(client, key, &event, payload, &claim).map(|(_, linked)| Ok(linked)),
            None => Ok(Ok(Vec::new())),
        }
    };
    match pg::savepoint::<_, Refusal>(pg::Errors::AnsweredAndBusy, || pg::only_free_locks(attempt))? {
        Ended::Done(linked) => Ok(linked),
        Ended::Busy | Ended::Refused(_) | Ended::Error(_) => Ok(Vec::new()),
    }
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
