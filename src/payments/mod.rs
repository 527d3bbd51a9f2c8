//! Subscription payments: started here, verified by whoever hears of the provider's verdict first.

use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use billing_core::payments::{Payment, RawReport, RawStart, Report, Start, Status, Verdict, judge};
use billing_core::text;
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::customers::{self, Person};
use crate::error::{Error, Result};
use crate::pg::{self, Client, JsonbArgument, Row, RowWriter, Time};
use crate::plans;

mod store;

pub use store::{hand_over, lock_owned, owned};

pub use store::is_started;
pub use store::running;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn start_subscription_payment(
    reference: default!(Option<&str>, "NULL"),
    user_id: default!(Option<&str>, "NULL"),
    plan: default!(Option<&str>, "NULL"),
    amount_minor: default!(Option<i64>, "NULL"),
    currency: default!(Option<&str>, "NULL"),
    branch_ids: default!(Option<Vec<Option<String>>>, "'{}'"),
    main_branch_id: default!(Option<&str>, "NULL"),
    metadata: default!(Option<JsonbArgument>, "'{}'"),
) -> Result<PaymentOutcome, ErrorReport> {
    let raw = RawStart {
        reference,
        user_id,
        plan,
        amount_minor,
        currency,
        branch_ids,
        main_branch_id,
        metadata: metadata.as_ref().map(JsonbArgument::text),
    };
    Ok(pg::write(|client| match Start::parse(raw, customers::external_ids()) {
        Ok(request) => start(client, &request, metadata.as_ref()),
        Err(refusal) => Ok(PaymentOutcome::refused(refusal, None)),
    })?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn verify_subscription_payment(
    reference: default!(Option<&str>, "NULL"),
    gateway_status: default!(Option<&str>, "NULL"),
    amount_minor: default!(Option<i64>, "NULL"),
    currency: default!(Option<&str>, "NULL"),
    paid_at: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> Result<PaymentOutcome, ErrorReport> {
    let paid_at = paid_at.map(|at| Time::of(at).micros());
    let raw = RawReport { gateway_status, amount_minor, currency, paid_at };
    Ok(pg::write(|client| match text::REFERENCE.check(reference) {
        Ok(reference) => verify(client, reference, &raw),
        Err(detail) => Ok(PaymentOutcome::refused(invalid(detail), None)),
    })?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn subscription_payment_status(
    reference: default!(Option<&str>, "NULL"),
) -> Result<PaymentOutcome, ErrorReport> {
    Ok(pg::read(|client| {
        let payment = match text::REFERENCE.check(reference) {
            Ok(reference) => store::by_reference(client, reference)?.ok_or(Detail::UnknownPayment),
            Err(detail) => Err(detail),
        };
        Ok(match payment {
            Ok(payment) => PaymentOutcome::standing(payment),
            Err(detail) => PaymentOutcome::refused(invalid(detail), None),
        })
    })?)
}

/// Records a pending payment; the unique index of its reference decides between rivals.
fn start(client: &Client, request: &Start, metadata: Option<&JsonbArgument>) -> Result<PaymentOutcome> {
    let refused = |detail| Ok(PaymentOutcome::refused(invalid(detail), None));
    let person = customers::find(client, &request.user)?;
    if let Some(payment) = store::by_reference(client, request.reference)? {
        return replay(client, request, &person, payment);
    }
    if person == Person::Unknown {
        return refused(Detail::UnknownUser);
    }
    let Some(plan) = plans::by_name(client, request.plan)? else { return refused(Detail::UnknownPlan) };
    if let Err(detail) = request.check_price(&plan) {
        return refused(detail);
    }
    let period = plan.period().ok_or(Error::BrokenInvariant)?;
    let Some((customer_id, made)) = customers::find_or_make(client, &person)? else {
        return refused(Detail::UnknownUser);
    };
    let inserted = store::insert(client, request, customer_id, period, metadata)?;
    if !inserted && made {
        customers::discard(client, customer_id)?;
    }
    // Inserting waits for an operator who merges the customer into another.
    let heir = customers::heir(client, customer_id)?;
    if inserted && heir != customer_id {
        store::hand_over(client, &[request.reference.to_owned()], heir)?;
    }
    let payment = store::by_reference(client, request.reference)?.ok_or(Error::BrokenInvariant)?;
    if !inserted {
        return replay(client, request, &person, payment);
    }
    Ok(PaymentOutcome { reason: Reason::Applied, detail: None, payment: Some(payment) })
}

/// The answer to a reference that stands: the payment as it is now, if this very request started it.
fn replay(client: &Client, request: &Start, person: &Person, payment: Payment) -> Result<PaymentOutcome> {
    if request.started(&payment)
        && customers::is_known_as(client, person, &request.user, payment.customer_id)?
    {
        return Ok(PaymentOutcome::standing(payment));
    }
    Ok(PaymentOutcome::refused(invalid(Detail::IdempotencyKeyReused), None))
}

/// What an event says of a payment: its success; none if no payment of that reference was started here.
pub fn verify_from_event(
    client: &Client,
    reference: &str,
    amount_minor: i64,
    currency: &str,
    paid_at: Option<Time>,
) -> Result<Option<PaymentOutcome>> {
    if !is_started(client, reference)? {
        return Ok(None);
    }
    let raw = RawReport {
        gateway_status: Some("success"),
        amount_minor: Some(amount_minor),
        currency: Some(currency),
        paid_at: paid_at.map(Time::micros),
    };
    verify(client, reference, &raw).map(Some)
}

/// Judges what is said of a payment: the one way that a payment becomes paid.
///
/// A paid one is answered before anything else is looked at. Locks the payment, then the customer.
fn verify(client: &Client, reference: &str, raw: &RawReport) -> Result<PaymentOutcome> {
    let known = store::by_reference(client, reference)?;
    if let Some(paid) = known.as_ref().filter(|payment| payment.status == Status::Success) {
        return Ok(PaymentOutcome::standing(paid.clone()));
    }
    let report = match Report::parse(raw) {
        Ok(report) => report,
        Err(detail) => return Ok(PaymentOutcome::refused(invalid(detail), None)),
    };
    if known.is_none() {
        return Ok(PaymentOutcome::refused(invalid(Detail::UnknownPayment), None));
    }
    store::lock(client, reference)?;
    let payment = store::by_reference(client, reference)?.ok_or(Error::BrokenInvariant)?;
    match judge(&payment, &report) {
        Verdict::Replay => Ok(PaymentOutcome::standing(payment)),
        Verdict::Refuse(refusal) => Ok(PaymentOutcome::refused(refusal, Some(payment))),
        Verdict::Fail => {
            store::fail(client, payment.payment_id)?;
            applied(client, reference)
        }
        Verdict::Succeed(paid_at) => succeed(client, payment, paid_at.map(Time::of_micros)),
    }
}

/// Marks a locked payment as paid, until a period after the end of what the customer has paid for.
///
/// The customer is locked, so that two payments for one plan add up, whichever comes first.
fn succeed(client: &Client, payment: Payment, paid_at: Option<Time>) -> Result<PaymentOutcome> {
    customers::serialize(client, payment.customer_id)?;
    let now = pg::now();
    let begin = store::latest_end(client, payment.customer_id, &payment.plan, now)?.unwrap_or(now);
    let Some(end) = plans::after(client, begin, payment.period)? else {
        return Ok(PaymentOutcome::refused(invalid(Detail::SubscriptionEndOverflow), Some(payment)));
    };
    store::succeed(client, payment.payment_id, paid_at.unwrap_or(now), end, now)?;
    store::add_branches(client, &payment)?;
    applied(client, &payment.reference)
}

/// The payment as this call left it.
fn applied(client: &Client, reference: &str) -> Result<PaymentOutcome> {
    let payment = store::by_reference(client, reference)?.ok_or(Error::BrokenInvariant)?;
    Ok(PaymentOutcome { reason: Reason::Applied, detail: payment.detail(), payment: Some(payment) })
}

/// SQL type `payment_outcome`.
#[derive(Debug)]
pub struct PaymentOutcome {
    /// Why.
    pub reason: Reason,
    /// What more.
    pub detail: Option<Detail>,
    /// The payment it is about.
    pub payment: Option<Payment>,
}

impl PaymentOutcome {
    const fn refused(refusal: Refusal, payment: Option<Payment>) -> PaymentOutcome {
        PaymentOutcome { reason: refusal.reason, detail: Some(refusal.detail), payment }
    }

    /// The payment as it stands, where nothing is to be changed.
    fn standing(payment: Payment) -> PaymentOutcome {
        PaymentOutcome { reason: Reason::Replay, detail: payment.detail(), payment: Some(payment) }
    }
}

impl Row for PaymentOutcome {
    fn write(self, row: &mut RowWriter) {
        row.outcome(self.reason, self.detail);
        let Some(payment) = self.payment else {
            row.nulls(9);
            return;
        };
        let time = |micros: Option<i64>| micros.map(Time::of_micros).and_then(Time::timestamp);
        row.column(Some(payment.reference))
            .column(Some(payment.status.as_str()))
            .column(Some(PgUuid::from_bytes(payment.customer_id)))
            .column(Some(payment.plan))
            .column(Some(payment.money.amount_minor))
            .column(Some(payment.money.currency))
            .column(time(payment.paid_at))
            .column(time(payment.subscription_end))
            .column(i32::try_from(payment.branches).ok());
    }
}

pg::sql_row!(PaymentOutcome, "payment_outcome");
