//! Holds: credits reserved for a while.

use billing_core::credits::{EntryKind, HoldRequest, RawRequest, capture_fingerprint, capture_key, gate};
use billing_core::customers::Uuid;
use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ledger::{self, Locked};
use super::store::{self, AccountKey, Hold, Keyed, NewEntry, NewHold, Origin};
use crate::customers::{self, Person};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Gates, JsonbArgument, Row, RowWriter, Sharing};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn hold_credits(
    user_id: default!(Option<&str>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    ttl_seconds: default!(Option<i32>, "900"),
    credit_type: default!(Option<&str>, "'credits'"),
    metadata: default!(Option<JsonbArgument>, "'{}'"),
) -> Result<HoldOutcome, ErrorReport> {
    let raw = RawRequest {
        user_id,
        credits,
        idempotency_key,
        credit_type,
        metadata: metadata.as_ref().map(JsonbArgument::text),
        ..RawRequest::default()
    };
    Ok(pg::write(|client| match HoldRequest::parse(&raw, ttl_seconds, customers::external_ids()) {
        Ok(request) => hold(client, &request, metadata.as_ref()),
        Err(refusal) => Ok(HoldOutcome::refused(refusal)),
    })?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn capture_hold(
    hold_id: default!(Option<PgUuid>, "NULL"),
    credits: default!(Option<i64>, "NULL"),
) -> Result<HoldOutcome, ErrorReport> {
    Ok(end(hold_id, End::Capture(credits))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn release_hold(hold_id: default!(Option<PgUuid>, "NULL")) -> Result<HoldOutcome, ErrorReport> {
    Ok(end(hold_id, End::Release)?)
}

fn hold(client: &Client, request: &HoldRequest, metadata: Option<&JsonbArgument>) -> Result<HoldOutcome> {
    let person = customers::find(client, &request.user)?;
    if let Some(outcome) = standing(client, request, &person)? {
        return Ok(outcome);
    }
    take_key(client, request.idempotency_key)?;
    let customer_id = match person {
        Person::Known(customer_id) => customer_id,
        Person::New(_) => return Ok(HoldOutcome::refused(invalid(Detail::InsufficientCredits))),
        Person::Unknown => return Ok(HoldOutcome::refused(invalid(Detail::UnknownUser))),
    };
    let key = AccountKey { customer_id, credit_type: request.credit_type };
    let Some(mut locked) = Locked::open(client, key)? else {
        return Ok(HoldOutcome::refused(invalid(Detail::InsufficientCredits)));
    };
    let key = locked.key;
    // A rival with the same key may have committed while this call waited for its turn.
    if let Some(outcome) = standing(client, request, &person)? {
        return Ok(outcome);
    }
    let parts = match locked.account.hold(request.credits, locked.at.micros()) {
        Ok(parts) => parts,
        Err(refusal) => return Ok(HoldOutcome::refused(refusal)),
    };
    let new = NewHold {
        credits: request.credits,
        idempotency_key: request.idempotency_key,
        fingerprint: request.fingerprint(&key.customer_id),
        created_at: locked.at,
        expires_at: locked.at.plus_seconds(request.ttl_seconds.into()),
        metadata: metadata.map(JsonbArgument::datum),
    };
    match locked.commit(client, 1, |client| store::insert_hold(client, key, new, &parts))? {
        Some(hold_id) => shown(client, Reason::Applied, None, hold_id),
        None => standing(client, request, &person)?.ok_or(Error::BrokenInvariant),
    }
}

/// Until the transaction ends no entry gets the key: no index spans ledger and holds.
fn take_key(client: &Client, key: &str) -> Result<()> {
    pg::gate(Gates::Keys, gate(key), Sharing::Exclusive);
    let taken = |client: &Client| Ok(store::by_key(client, key)?.is_some());
    if pg::keeps_one_snapshot() && pg::read_latest(taken)? && !taken(client)? {
        return Err(Error::ConcurrentUpdate);
    }
    Ok(())
}

/// The answer to a key that stands: the hold as it is now, if it is the same request.
fn standing(client: &Client, request: &HoldRequest, person: &Person) -> Result<Option<HoldOutcome>> {
    let Some(keyed) = store::by_key(client, request.idempotency_key)? else { return Ok(None) };
    if let Keyed::Hold(hold_id, customer_id, fingerprint) = keyed
        && request.fingerprint(&customer_id).as_slice() == fingerprint
        && customers::is_known_as(client, person, &request.user, customer_id)?
    {
        return shown(client, Reason::Replay, None, hold_id).map(Some);
    }
    Ok(Some(HoldOutcome::refused(invalid(Detail::IdempotencyKeyReused))))
}

/// How a hold ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// So many credits are spent, none given: all; the rest is released.
    Capture(Option<i64>),
    /// Nothing is spent.
    Release,
}

fn end(hold_id: Option<PgUuid>, end: End) -> Result<HoldOutcome> {
    let Some(hold_id) = hold_id.map(|id| *id.as_bytes()) else {
        return Ok(HoldOutcome::refused(invalid(Detail::HoldIdMissing)));
    };
    if matches!(end, End::Capture(Some(credits)) if credits <= 0) {
        return Ok(HoldOutcome::refused(invalid(Detail::CreditsNotPositive)));
    }
    pg::write(|client| {
        let Some(hold) = store::hold(client, hold_id)? else {
            return Ok(HoldOutcome::refused(invalid(Detail::UnknownHold)));
        };
        let key = AccountKey { customer_id: hold.customer_id, credit_type: &hold.credit_type };
        let mut locked = Locked::open(client, key)?.ok_or(Error::BrokenInvariant)?;
        // The balance's lock is the hold's too: what is read now stays.
        let hold = store::hold(client, hold_id)?.ok_or(Error::BrokenInvariant)?;
        match judge(&hold, end, locked.at) {
            Judged::Answer(reason, detail) => shown(client, reason, detail, hold_id),
            Judged::Spend(credits) => {
                finish(client, &mut locked, &hold, credits)?;
                shown(client, Reason::Applied, None, hold_id)
            }
        }
    })
}

enum Judged {
    Answer(Reason, Option<Detail>),
    /// The hold ends now, and so many credits are spent.
    Spend(Option<i64>),
}

fn judge(hold: &Hold, end: End, now: pg::Time) -> Judged {
    let captured = match end {
        End::Capture(credits) => Some(credits.unwrap_or(hold.credits)),
        End::Release => None,
    };
    if hold.status == "open" && hold.expires_at > now {
        return match captured {
            Some(credits) if credits > hold.credits => {
                Judged::Answer(Reason::Invalid, Some(Detail::ExceedsHold))
            }
            captured => Judged::Spend(captured),
        };
    }
    let same = match captured {
        Some(_) => hold.status == "captured" && hold.captured_credits == captured,
        None => hold.status == "released",
    };
    if same {
        Judged::Answer(Reason::Replay, None)
    } else {
        Judged::Answer(Reason::Invalid, Some(Detail::HoldEnded))
    }
}

fn finish(client: &Client, locked: &mut Locked, hold: &Hold, captured: Option<i64>) -> Result<()> {
    let parts = store::hold_lots(client, hold.hold_id)?;
    let spent = locked.account.end_hold(hold.credits, &parts, captured.unwrap_or_default());
    let hold_id = PgUuid::from_bytes(hold.hold_id).to_string();
    let written = locked.commit(client, 0, |client| {
        let status = if captured.is_some() { "captured" } else { "released" };
        if let Some(credits) = captured {
            let new = NewEntry {
                kind: EntryKind::Capture,
                credits: -credits,
                balance_after: locked.account.balance,
                idempotency_key: &capture_key(&hold_id),
                fingerprint: capture_fingerprint(&hold.hold_id, credits),
                money: None,
                source: None,
                origin: Origin::default(),
                metadata: None,
                reverses: None,
                shortfall: None,
            };
            let entry_id =
                store::insert_entry(client, locked.key, new, locked.at)?.ok_or(Error::BrokenInvariant)?;
            store::insert_uses(client, entry_id, &spent)?;
        }
        store::end_hold(client, hold.hold_id, status, captured, locked.at).map(Some)
    })?;
    written.ok_or(Error::BrokenInvariant)
}

/// The hold and the customer's credits as they are now.
fn shown(client: &Client, reason: Reason, detail: Option<Detail>, hold_id: Uuid) -> Result<HoldOutcome> {
    let hold = store::hold(client, hold_id)?.ok_or(Error::BrokenInvariant)?;
    let key = AccountKey { customer_id: hold.customer_id, credit_type: &hold.credit_type };
    let (account, balance) = ledger::look(client, key)?.ok_or(Error::BrokenInvariant)?;
    let available = account.available();
    Ok(HoldOutcome { reason, detail, shown: Some(Shown { hold, balance, available }) })
}

/// SQL type `hold_outcome`.
struct HoldOutcome {
    reason: Reason,
    detail: Option<Detail>,
    shown: Option<Shown>,
}

struct Shown {
    hold: Hold,
    balance: i64,
    available: i64,
}

impl HoldOutcome {
    const fn refused(refusal: Refusal) -> HoldOutcome {
        HoldOutcome { reason: refusal.reason, detail: Some(refusal.detail), shown: None }
    }
}

impl Row for HoldOutcome {
    fn write(self, row: &mut RowWriter) {
        row.outcome(self.reason, self.detail);
        let Some(Shown { hold, balance, available }) = self.shown else {
            row.nulls(9);
            return;
        };
        let run_out = hold.status == "open" && hold.expires_at <= pg::now();
        row.column(Some(PgUuid::from_bytes(hold.hold_id)))
            .column(Some(PgUuid::from_bytes(hold.customer_id)))
            .column(Some(hold.credit_type))
            .column(Some(if run_out { "expired".to_owned() } else { hold.status }))
            .column(Some(hold.credits))
            .column(hold.captured_credits)
            .column(Some(balance))
            .column(Some(available))
            .column::<TimestampWithTimeZone>(hold.expires_at.timestamp());
    }
}

pg::sql_row!(HoldOutcome, "hold_outcome");
