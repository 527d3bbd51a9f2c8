//! Subscriptions: SQL entry points, and the one way that every word on a subscription goes.
//!
//! Locks: the subscription, its request on the queue, the customer, the code's meeting. Whoever links a
//! code comes from the customer, so that way takes only subscriptions that are free ([`attach`]); for
//! that, whoever has locked a subscription without a customer looks for one before ending
//! ([`settle_customer`]).

use billing_core::customers::{ProviderCode, Uuid};
use billing_core::json::Object;
use billing_core::outcome::{Detail, Reason};
use billing_core::subscriptions::{
    self as rules, Decision, Micros, Origin, Refetch, Snapshot, Status, Verdict, refetch_rows,
};
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::customers::{self, Link, Person};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Ended, JsonbArgument, Row, RowWriter, Time};
use crate::{payments, settings, webhooks};

mod store;
#[cfg(any(test, feature = "pg_test"))]
mod tests;

use store::{Key, Request, Shown, Stored};
pub use store::{Owned, forget, hand_over, lock_owned, owned};

const STRIPE: &str = "stripe";
const PAYSTACK: &str = "paystack";

/// How often a word is judged anew because a rival stored the subscription first.
const MAX_ROUNDS: usize = 100;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn apply_subscription_update(
    subscription: default!(Option<JsonbArgument>, "NULL"),
    observed_at: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> Result<SubscriptionEffect, ErrorReport> {
    let text = subscription.as_ref().map(JsonbArgument::text);
    let observed_at = observed_at.map(|at| Time::of(at).micros());
    Ok(pg::write(|client| {
        let Some(object) = text.and_then(Object::parse) else {
            return Ok(SubscriptionEffect::invalid(Detail::ObjectMalformed));
        };
        if matches!(observed_at, Some(Micros::MIN | Micros::MAX)) {
            return Ok(SubscriptionEffect::invalid(Detail::ObservedAtInfinite));
        }
        match Snapshot::of_stripe(&object) {
            Err(detail) => Ok(SubscriptionEffect::invalid(detail)),
            Ok(snapshot) => apply_truth(client, &snapshot, observed_at, livemode(&object)),
        }
    })?)
}

#[pg_extern(immutable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn can_transition_subscription(
    from_status: default!(Option<&str>, "NULL"),
    to_status: default!(Option<&str>, "NULL"),
) -> bool {
    rules::can_transition_by_name(from_status, to_status)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn subscription_status(user_id: default!(Option<&str>, "NULL")) -> Result<SubscriptionState, ErrorReport> {
    Ok(pg::read(|client| match customers::known(client, user_id)? {
        Some(customer_id) => best(client, customer_id),
        None => Ok(SubscriptionState::default()),
    })?)
}

// Written out: pgrx would declare a function without parameters STRICT.
#[pg_extern(
    stable,
    parallel_restricted,
    security_definer,
    sql = "CREATE FUNCTION my_subscription() RETURNS subscription_state \
           LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO pg_catalog, pg_temp \
           AS 'MODULE_PATHNAME', 'my_subscription_wrapper';"
)]
fn my_subscription() -> Result<SubscriptionState, ErrorReport> {
    Ok(pg::read(|client| match customers::end_user(client)? {
        Some(customer_id) => best(client, customer_id),
        None => Ok(SubscriptionState::default()),
    })?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn has_active_subscription(plan: default!(Option<&str>, "NULL")) -> Result<bool, ErrorReport> {
    Ok(pg::read(|client| {
        let Some(customer_id) = customers::end_user(client)? else { return Ok(false) };
        has_active(client, customer_id, plan)
    })?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn pending_refetches(
    max_rows: default!(Option<i32>, "100"),
) -> Result<SetOfIterator<'static, Request>, ErrorReport> {
    let requests = pg::read(|client| match refetch_rows(max_rows) {
        Some(rows) => store::pending(client, rows),
        None => Ok(Vec::new()),
    })?;
    Ok(SetOfIterator::new(requests))
}

/// Applies a Stripe event on a subscription (`customer.subscription.*`). `created` is the event's time in
/// Unix seconds; the inner error is why the event fails.
pub fn apply_event(
    client: &Client,
    event_type: &str,
    object: &Object,
    created: Option<i64>,
    livemode: Option<bool>,
) -> Result<Result<SubscriptionEffect, Detail>> {
    let snapshot = match Snapshot::of_stripe_event(event_type, object) {
        Ok(snapshot) => snapshot,
        Err(detail) => return Ok(Err(detail)),
    };
    let created = match created {
        Some(seconds) => Time::of_unix(seconds),
        None => Time::of_unix(pg::now().unix()),
    };
    let Some(created) = created else { return Ok(Err(Detail::ObjectMalformed)) };
    let origin = Origin::Event { created: created.micros() };
    apply(client, STRIPE, &snapshot, origin, livemode).map(Ok)
}

/// Applies a Paystack event on a subscription: `subscription.create`, `.not_renew` or `.disable`.
pub fn apply_paystack(
    client: &Client,
    event_type: &str,
    data: &Object,
    livemode: Option<bool>,
) -> Result<Result<SubscriptionEffect, Detail>> {
    match Snapshot::of_paystack(event_type, data) {
        Ok(snapshot) => apply(client, PAYSTACK, &snapshot, Origin::Untimed, livemode).map(Ok),
        Err(detail) => Ok(Err(detail)),
    }
}

/// Applies what was fetched from Stripe. The undated truth is as old as the request that it answers; where
/// there is none, it was fetched just now.
fn apply_truth(
    client: &Client,
    snapshot: &Snapshot,
    observed_at: Option<Micros>,
    livemode: Option<bool>,
) -> Result<SubscriptionEffect> {
    if let Some(replay) = replayed(client, snapshot, observed_at)? {
        return Ok(replay);
    }
    // Locked before the queue is looked at: of several that answer one request, one takes it off.
    store::lock(client, Key { provider: STRIPE, subscription_id: &snapshot.subscription_id })?;
    let origin = truth(client, snapshot, observed_at)?;
    let effect = apply(client, STRIPE, snapshot, origin, livemode)?;
    webhooks::process_waiting(client, effect.linked.clone())?;
    Ok(effect)
}

fn truth(client: &Client, snapshot: &Snapshot, observed_at: Option<Micros>) -> Result<Origin> {
    let said = match observed_at {
        Some(at) => Some(at),
        None => store::requested_at(client, &snapshot.subscription_id)?,
    };
    Ok(Origin::Truth { observed_at: said.unwrap_or(pg::now().micros()), dated: said.is_some() })
}

/// A replay, told before anything is locked or written. Not deciding here is right too: [`apply`] does.
fn replayed(
    client: &Client,
    snapshot: &Snapshot,
    observed_at: Option<Micros>,
) -> Result<Option<SubscriptionEffect>> {
    let key = Key { provider: STRIPE, subscription_id: &snapshot.subscription_id };
    let Some(stored) = store::read(client, key)? else { return Ok(None) };
    let origin = truth(client, snapshot, observed_at)?;
    let decision = rules::decide(Some(&stored.state), snapshot, origin);
    Ok((decision.verdict == Verdict::Replay)
        .then(|| told(key, &stored, &Verdict::Replay, stored.previous_status)))
}

/// Judges a word on a subscription and stores what comes of it: the one way for events and the truth.
fn apply(
    client: &Client,
    provider: &'static str,
    snapshot: &Snapshot,
    origin: Origin,
    livemode: Option<bool>,
) -> Result<SubscriptionEffect> {
    let key = Key { provider, subscription_id: &snapshot.subscription_id };
    let (before, decision) = store_word(client, key, snapshot, origin, livemode)?;
    let mut linked = follow_up(client, key, &decision, origin)?;
    let applied = matches!(decision.verdict, Verdict::Store(_));
    let link = if applied { link_named(client, snapshot)? } else { None };
    if let (Some(Link::Made(_)), Some(code)) = (&link, snapshot.customer_code()) {
        linked.push(code.as_str().to_owned());
    }
    settle_customer(client, key)?;
    let stored = store::read(client, key)?.ok_or(Error::BrokenInvariant)?;
    let previous = match (&decision.verdict, &before) {
        (Verdict::Replay, _) => stored.previous_status,
        (_, before) => before.as_ref().map(|before| before.state.status),
    };
    let mut effect = told(key, &stored, &decision.verdict, previous);
    effect.linked = linked;
    if applied && link == Some(Link::Refused) {
        effect.detail = Some(Detail::LinkRefused);
    }
    Ok(effect)
}

/// Locks the subscription, decides, and writes the row. Who finds none and is too late with its own begins
/// again with the rival's.
fn store_word(
    client: &Client,
    key: Key,
    snapshot: &Snapshot,
    origin: Origin,
    livemode: Option<bool>,
) -> Result<(Option<Stored>, Decision)> {
    for _ in 0..MAX_ROUNDS {
        let before = store::lock(client, key)?;
        let decision = rules::decide(before.as_ref().map(|before| &before.state), snapshot, origin);
        let written = match (&decision.verdict, &before) {
            (Verdict::Store(state), None) => store::insert(client, key, state, livemode)?,
            (Verdict::Store(state), Some(before)) => {
                store::update(client, key, state, Some(before.state.status), livemode)?;
                true
            }
            _ => true,
        };
        if written {
            return Ok((before, decision));
        }
    }
    Err(Error::BrokenInvariant)
}

/// What a decision calls for on the queue: the truth takes a request off, or, being stale, leaves it for a
/// later one; an event may put one on. Provider codes that were linked on the way.
fn follow_up(client: &Client, key: Key, decision: &Decision, origin: Origin) -> Result<Vec<String>> {
    match origin {
        Origin::Untimed => Ok(Vec::new()),
        Origin::Truth { observed_at, .. } => {
            match decision.refetch {
                Some(_) => store::renew(client, key.subscription_id)?,
                None => store::dequeue(client, key.subscription_id, observed_at)?,
            }
            Ok(Vec::new())
        }
        Origin::Event { .. } => {
            let always = settings::refetch_always().then_some(Refetch::Always);
            match decision.refetch.or(always) {
                Some(reason) => refetch(client, key.subscription_id, reason.as_str()),
                None => Ok(Vec::new()),
            }
        }
    }
}

/// Gets the truth on a Stripe subscription: from the refetch source, where one is set and has it, else by
/// the queue. Provider codes that were linked on the way.
pub fn refetch(client: &Client, subscription_id: &str, reason: &str) -> Result<Vec<String>> {
    if let Some((snapshot, observed_at, livemode)) = from_source(client, subscription_id)? {
        let origin = Origin::Truth { observed_at, dated: true };
        let effect = apply(client, STRIPE, &snapshot, origin, livemode)?;
        if effect.reason != Reason::Ignored {
            return Ok(effect.linked);
        }
    }
    store::enqueue(client, subscription_id, reason)?;
    Ok(Vec::new())
}

/// The subscription as the refetch source has it now; none where that fails in any way: the source may
/// be a server far away.
fn from_source(client: &Client, subscription_id: &str) -> Result<Option<(Snapshot, Micros, Option<bool>)>> {
    if !pg::refetch_source_is_set() {
        return Ok(None);
    }
    let observed_at = pg::now().micros();
    let read = || Ok(Ok::<_, ()>(store::from_source(client, subscription_id)?));
    let Ended::Done(Some(attrs)) = pg::savepoint(pg::Errors::Answered, read)? else { return Ok(None) };
    let Some(object) = Object::parse(&attrs) else { return Ok(None) };
    let snapshot = Snapshot::of_stripe(&object).ok();
    let snapshot = snapshot.filter(|snapshot| snapshot.subscription_id == subscription_id);
    Ok(snapshot.map(|snapshot| (snapshot, observed_at, livemode(&object))))
}

/// What an invoice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Applied, or ignored with the detail.
    pub reason: Reason,
    /// Why nothing moved.
    pub detail: Option<Detail>,
    /// Whose subscription it is, if that is known.
    pub customer_id: Option<Uuid>,
}

/// Moves a subscription's status as an invoice's payment calls for: to active or to past_due. None for a
/// subscription that is not known. `at` (Unix seconds) and `period_end` are none where the provider does
/// not tell them.
pub fn move_by_invoice(
    client: &Client,
    provider: &'static str,
    subscription_id: &str,
    to: Status,
    at: Option<i64>,
    period_end: Option<Micros>,
) -> Result<Option<Moved>> {
    let key = Key { provider, subscription_id };
    let Some(before) = store::lock(client, key)? else { return Ok(None) };
    let at = at.and_then(Time::of_unix).map(Time::micros);
    let decision = rules::move_by_invoice(&before.state, to, at, period_end);
    let detail = match &decision.verdict {
        Verdict::Store(state) => {
            store::update(client, key, state, before.previous_status, None)?;
            None
        }
        Verdict::Ignore(detail) => Some(*detail),
        Verdict::Replay => return Err(Error::BrokenInvariant),
    };
    if let Some(reason) = decision.refetch {
        refetch(client, subscription_id, reason.as_str())?;
    }
    let customer_id = settle_customer(client, key)?;
    let reason = if detail.is_none() { Reason::Applied } else { Reason::Ignored };
    Ok(Some(Moved { reason, detail, customer_id }))
}

/// Links the user whom the object names to the provider's customer, as a checkout does.
fn link_named(client: &Client, snapshot: &Snapshot) -> Result<Option<Link>> {
    let Some(identifier) = snapshot.named_user(customers::external_ids()) else { return Ok(None) };
    let Some(code) = snapshot.customer_code() else { return Ok(None) };
    match customers::find(client, &identifier)? {
        Person::Unknown => Ok(None),
        person => customers::link(client, &person, code).map(Some),
    }
}

/// Gives a locked subscription the customer who has its provider code, if there is one by now.
///
/// A link that is not committed yet cannot be seen: so the second look comes after the meeting at the code's
/// row, where whoever links the code goes after its link and before its look for subscriptions that wait.
fn settle_customer(client: &Client, key: Key) -> Result<Option<Uuid>> {
    let stored = store::read(client, key)?.ok_or(Error::BrokenInvariant)?;
    if stored.customer_id.is_some() {
        return Ok(stored.customer_id);
    }
    let code = ProviderCode::parse(&stored.state.facts.provider_customer).ok_or(Error::BrokenInvariant)?;
    let mut given = None;
    for _ in 0..MAX_ROUNDS {
        let owner = owner_of(client, code)?;
        // The second look: an operator who moves the code away holds its customer, so that giving waited.
        if owner == given {
            return Ok(given);
        }
        store::set_customer(client, key, owner)?;
        given = owner;
    }
    Err(Error::BrokenInvariant)
}

fn owner_of(client: &Client, code: ProviderCode) -> Result<Option<Uuid>> {
    let mut person = customers::find(client, &code.identifier())?;
    if person == Person::Unknown {
        store::meet(client, code.as_str())?;
        person = customers::find(client, &code.identifier())?;
    }
    Ok(match person {
        Person::Known(customer_id) => Some(customer_id),
        Person::New(_) | Person::Unknown => None,
    })
}

/// Whether a provider code is anybody's, for something that is written to wait for it: the look comes after
/// the meeting, so that either this sees the link or whoever links sees what waits.
pub fn meet_owner(client: &Client, code: &str) -> Result<bool> {
    store::meet(client, code)?;
    Ok(match ProviderCode::parse(code) {
        Some(code) => customers::find(client, &code.identifier())? != Person::Unknown,
        None => false,
    })
}

/// Gives the subscriptions that wait for a provider code to the customer to whom it was just linked. To be
/// called after the link is written, by whoever writes one.
pub fn attach(client: &Client, code: &str, customer_id: Uuid) -> Result<()> {
    store::meet(client, code)?;
    store::attach(client, code, customer_id)
}

/// The best of a customer's subscriptions.
fn best(client: &Client, customer_id: Uuid) -> Result<SubscriptionState> {
    let now = pg::now().micros();
    let all = standing(client, customer_id, now)?;
    let order = |(shown, active): &(Shown, bool)| {
        rules::order_of_showing(shown.status, *active, shown.current_period_end)
    };
    let Some((shown, active)) = all.into_iter().min_by_key(order) else {
        return Ok(SubscriptionState::default());
    };
    let plan = plans_of(client, &shown)?.into_iter().next();
    Ok(SubscriptionState(Some((shown, customer_id, plan, active))))
}

/// Whether a customer has an active subscription; to that plan, if one is named.
fn has_active(client: &Client, customer_id: Uuid, plan: Option<&str>) -> Result<bool> {
    let now = pg::now().micros();
    for (shown, active) in standing(client, customer_id, now)? {
        if active && is_of_plan(client, &shown, plan)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_of_plan(client: &Client, shown: &Shown, plan: Option<&str>) -> Result<bool> {
    match plan {
        None => Ok(true),
        Some(plan) => Ok(plans_of(client, shown)?.iter().any(|name| name == plan)),
    }
}

fn plans_of(client: &Client, shown: &Shown) -> Result<Vec<String>> {
    match &shown.plan {
        Some(plan) => Ok(vec![plan.clone()]),
        None => store::plans(client, &shown.price_ids),
    }
}

/// What a customer has, and whether it counts as active: subscriptions, and verified payments whose end
/// lies ahead, with the reference as their id.
fn standing(client: &Client, customer_id: Uuid, now: Micros) -> Result<Vec<(Shown, bool)>> {
    let subscriptions = store::of_customer(client, customer_id)?.into_iter().map(|shown| {
        let ends_at = shown.cancel_at.or(shown.current_period_end.filter(|_| shown.cancel_at_period_end));
        let active = rules::is_active(shown.status, ends_at, now);
        (shown, active)
    });
    let payments = payments::running(client, customer_id, Time::of_micros(now))?.into_iter().map(|paid| {
        let shown = Shown {
            provider: PAYSTACK.to_owned(),
            subscription_id: paid.reference,
            price_ids: Vec::new(),
            plan: Some(paid.plan),
            status: Status::Active,
            quantity: None,
            current_period_end: Some(paid.subscription_end.micros()),
            cancel_at_period_end: false,
            trial_end: None,
            cancel_at: None,
        };
        (shown, true)
    });
    Ok(subscriptions.chain(payments).collect())
}

/// Real money or not, where the object says so.
fn livemode(object: &Object) -> Option<bool> {
    object.get("livemode").and_then(|value| value.boolean())
}

/// SQL type `subscription_outcome`; and for whoever applies an event, what it did.
#[derive(Clone, Debug)]
pub struct SubscriptionEffect {
    /// Applied, replay, ignored or invalid.
    pub reason: Reason,
    /// What more.
    pub detail: Option<Detail>,
    /// Provider codes that became a customer's: what waits for them is to be processed next.
    pub linked: Vec<String>,
    pub provider: Option<&'static str>,
    pub subscription_id: Option<String>,
    pub customer_id: Option<Uuid>,
    pub previous_status: Option<Status>,
    pub status: Option<Status>,
    pub current_period_end: Option<Micros>,
    pub cancel_at_period_end: Option<bool>,
}

impl SubscriptionEffect {
    const fn invalid(detail: Detail) -> SubscriptionEffect {
        SubscriptionEffect {
            reason: Reason::Invalid,
            detail: Some(detail),
            linked: Vec::new(),
            provider: None,
            subscription_id: None,
            customer_id: None,
            previous_status: None,
            status: None,
            current_period_end: None,
            cancel_at_period_end: None,
        }
    }
}

/// The answer about a subscription as it is stored.
fn told(key: Key, stored: &Stored, verdict: &Verdict, previous: Option<Status>) -> SubscriptionEffect {
    let unlinked = stored.customer_id.is_none().then_some(Detail::CustomerUnlinked);
    let (reason, detail, status) = match verdict {
        Verdict::Store(_) => (Reason::Applied, unlinked, stored.state.status),
        // The original's numbers: an invoice may have moved the status since.
        Verdict::Replay => (Reason::Replay, unlinked, stored.state.object_status),
        Verdict::Ignore(detail) => (Reason::Ignored, Some(*detail), stored.state.status),
    };
    SubscriptionEffect {
        reason,
        detail,
        linked: Vec::new(),
        provider: Some(key.provider),
        subscription_id: Some(key.subscription_id.to_owned()),
        customer_id: stored.customer_id,
        previous_status: previous,
        status: Some(status),
        current_period_end: stored.state.facts.current_period_end,
        cancel_at_period_end: Some(stored.state.facts.cancel_at_period_end),
    }
}

impl Row for SubscriptionEffect {
    fn write(self, row: &mut RowWriter) {
        row.outcome(self.reason, self.detail)
            .column(self.provider)
            .column(self.subscription_id)
            .column(self.customer_id.map(PgUuid::from_bytes))
            .column(self.previous_status.map(Status::as_str))
            .column(self.status.map(Status::as_str))
            .column(store::timestamp(self.current_period_end))
            .column(self.cancel_at_period_end);
    }
}

pg::sql_row!(SubscriptionEffect, "subscription_outcome");

/// SQL type `subscription_state`: a subscription, its customer, its plan, and whether it counts as active.
#[derive(Debug, Default)]
struct SubscriptionState(Option<(Shown, Uuid, Option<String>, bool)>);

impl Row for SubscriptionState {
    fn write(self, row: &mut RowWriter) {
        let Some((shown, customer_id, plan, active)) = self.0 else {
            row.nulls(10);
            return;
        };
        row.column(Some(shown.provider))
            .column(Some(shown.subscription_id))
            .column(Some(PgUuid::from_bytes(customer_id)))
            .column(plan)
            .column(Some(shown.status.as_str()))
            .column(shown.quantity)
            .column(store::timestamp(shown.current_period_end))
            .column(Some(shown.cancel_at_period_end))
            .column(store::timestamp(shown.trial_end))
            .column(Some(active));
    }
}

pg::sql_row!(SubscriptionState, "subscription_state");

impl Row for Request {
    fn write(self, row: &mut RowWriter) {
        row.column(Some(self.object_type))
            .column(Some(self.object_id))
            .column(Some(self.requested_reason))
            .column(Some(self.requested_at));
    }
}

pg::sql_row!(Request, "refetch_request");
