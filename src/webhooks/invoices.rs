//! Invoices: the status that they move, and the credits that a paid period of a plan includes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use billing_core::credits::{EntryKind, RESERVED_KEY_PREFIX, Request, Source, Terms};
use billing_core::invoices::{self as core, Invoice, Settled};
use billing_core::json::Object;
use billing_core::outcome::{Detail, Reason};
use billing_core::paystack;
use billing_core::plans::Plan;
use billing_core::subscriptions::Status;
use billing_core::webhooks::{Event, Provider};

use super::effects::{Effect, Judged, Setback, first_usable};
use crate::charges;
use crate::credits::{self, CreditOutcome, Origin};
use crate::customers::{self, Link};
use crate::error::Result;
use crate::pg::{Client, Time};
use crate::{plans, subscriptions};

/// Notes which invoice a payment was for: refunds and disputes will name only the payment.
pub fn payment(client: &Client, object: &Object, origin: Origin) -> Result<Judged> {
    let (invoice_id, payment_ref) = match core::invoice_payment(object) {
        Ok(read) => read,
        Err(detail) => return Ok(Err(detail.into())),
    };
    let source = Source { source_ref: core::source_ref(&invoice_id), payment_ref };
    Ok(match charges::tie_uncredited(client, &source, origin)? {
        Ok(true) => Ok(Effect::applied()),
        Ok(false) => Ok(Effect::ignored(Detail::NothingToDo)),
        Err(refusal) => super::effects::refused(refusal),
    })
}

/// Judges an invoice that was paid, or whose payment failed.
pub fn settled(client: &Client, event: &Event, object: &Object, origin: Origin) -> Result<Judged> {
    let invoice = match Invoice::parse(object) {
        Ok(invoice) => invoice,
        Err(detail) => return Ok(Err(detail.into())),
    };
    let Some(settled) = Settled::of(&event.summary.event_type) else {
        return Ok(Err(Detail::InternalError.into()));
    };
    let Some(subscription_id) = &invoice.subscription_id else {
        return Ok(Ok(Effect::ignored(Detail::NotASubscriptionInvoice)));
    };
    let periods = match settled {
        Settled::Paid => paid_periods(client, &invoice)?,
        Settled::PaymentFailed => BTreeMap::new(),
    };
    let charges = lock_charges(client, &invoice, settled)?;
    let moved = move_status(client, event, &invoice, subscription_id, settled)?;
    let named = first_usable(client, invoice.buyer.named_users(customers::external_ids()))?;
    let code = invoice.buyer.customer_code();
    let link = match (&named, code) {
        (Some((_, person)), Some(code)) => Some(customers::link(client, person, code)?),
        _ => None,
    };
    let mut effect = Summed { linked: moved.linked, ..Summed::default() };
    if let (Some(Link::Made(_)), Some(code)) = (&link, code) {
        effect.linked.push(code.as_str().to_owned());
        effect.applied = true;
    }
    effect.applied |= moved.applied;
    effect.ignored = moved.ignored;
    if periods.is_empty() {
        return Ok(Ok(effect.judged(link == Some(Link::Refused))));
    }
    let whose = match named {
        Some(named) => Some(named),
        None => first_usable(client, invoice.buyer.other_users())?,
    };
    let Some((identifier, _)) = whose else {
        let waits_for = code.map(|code| code.as_str().to_owned());
        return Ok(Err(Setback { detail: Detail::UnknownUser, waits_for }));
    };
    for ((_, plan_name), (plan, end)) in &periods {
        let granted = match grant_request(client, &invoice, identifier.clone(), plan, *end)? {
            Ok(request) => grant(client, &request, &charges, origin, plan_name)?,
            Err(detail) => return Ok(Err(detail.into())),
        };
        if let Err(detail) = effect.add(granted) {
            return Ok(Err(detail.into()));
        }
    }
    Ok(Ok(effect.judged(link == Some(Link::Refused))))
}

/// By credit type and name, in the order of locking: the plans that the invoice pays periods of and that
/// include credits, and the end of the period in Unix seconds.
type Periods = BTreeMap<(String, String), (Plan, Option<i64>)>;

fn paid_periods(client: &Client, invoice: &Invoice) -> Result<Periods> {
    let mut periods = Periods::new();
    for (price_id, period) in &invoice.periods {
        let Some(plan) = plans::by_price(client, price_id)? else { continue };
        if plan.credits_per_period > 0 {
            let key = (plan.credit_type.clone(), plan.plan.clone());
            let entry = periods.entry(key).or_insert((plan, period.end));
            entry.1 = entry.1.max(period.end);
        }
    }
    Ok(periods)
}

/// The charges that paid the invoice, as far as they are known.
fn lock_charges(client: &Client, invoice: &Invoice, settled: Settled) -> Result<Vec<charges::Locked>> {
    if settled != Settled::Paid {
        return Ok(Vec::new());
    }
    let source = Source { source_ref: invoice.source_ref(), payment_ref: invoice.payment_ref.clone() };
    let mut charges = charges::lock_of_source(client, &source.source_ref)?;
    let known = |payment_ref: &String| charges.iter().any(|charge| &charge.payment_ref == payment_ref);
    if source.payment_ref.as_ref().is_some_and(|payment_ref| !known(payment_ref)) {
        charges.extend(charges::tie(client, &source, None)?);
    }
    Ok(charges)
}

/// What became of the subscription's status.
#[derive(Default)]
struct Moved {
    applied: bool,
    ignored: Option<Detail>,
    linked: Vec<String>,
}

fn move_status(
    client: &Client,
    event: &Event,
    invoice: &Invoice,
    subscription_id: &str,
    settled: Settled,
) -> Result<Moved> {
    if !invoice.moves_status() {
        return Ok(Moved::default());
    }
    let to = match settled {
        Settled::Paid => Status::Active,
        Settled::PaymentFailed => Status::PastDue,
    };
    match subscriptions::move_by_invoice(client, "stripe", subscription_id, to, event.created, None)? {
        Some(moved) => {
            Ok(Moved { applied: moved.reason == Reason::Applied, ignored: moved.detail, linked: Vec::new() })
        }
        None => {
            let linked = subscriptions::refetch(client, subscription_id, "unknown_subscription")?;
            Ok(Moved { linked, ..Moved::default() })
        }
    }
}

/// The request to grant what the invoice's period of the plan includes.
fn grant_request<'a>(
    client: &Client,
    invoice: &Invoice,
    user: billing_core::customers::Identifier<'a>,
    plan: &Plan,
    end: Option<i64>,
) -> Result<std::result::Result<Request<'a>, Detail>> {
    let expires_at = if plan.credits_expire {
        let end = end.and_then(Time::of_unix);
        let Some(end) = end else { return Ok(Err(Detail::ObjectMalformed)) };
        let Some(at) = plans::after(client, end, plan.credits_grace)? else {
            return Ok(Err(Detail::ObjectMalformed));
        };
        Some(at.micros())
    } else {
        None
    };
    let source_ref = format!("{}#{}", invoice.source_ref(), plan.plan);
    Ok(Ok(Request {
        kind: EntryKind::Grant,
        user,
        credits: plan.credits_per_period,
        credit_type: Cow::Owned(plan.credit_type.clone()),
        idempotency_key: Cow::Owned(format!("{RESERVED_KEY_PREFIX}{source_ref}")),
        money: None,
        source: Some(Source { source_ref, payment_ref: None }),
        terms: Terms { expires_at, priority: 0 },
    }))
}

/// Grants it, once. What another event granted is undone as far as refunds call for: which charge paid the
/// invoice may be this event's news.
fn grant(
    client: &Client,
    request: &Request,
    charges: &[charges::Locked],
    origin: Origin,
    plan: &str,
) -> Result<CreditOutcome> {
    let standing = match &request.source {
        Some(source) => credits::credited(client, source, None)?,
        None => None,
    };
    let granted = match standing {
        Some(standing) => standing,
        None => {
            let person = customers::find(client, &request.user)?;
            credits::apply_period(client, request, &person, charges, origin, plan)?
        }
    };
    if granted.reason != Reason::Applied {
        for charge in charges.iter().filter(|charge| charge.charge.is_contested()) {
            if let Err(refusal) = charges::settle(client, Provider::Stripe, charge, origin)? {
                return Ok(CreditOutcome {
                    reason: refusal.reason,
                    detail: Some(refusal.detail),
                    entry: None,
                });
            }
        }
    }
    Ok(granted)
}

/// What all parts of the invoice came to.
#[derive(Default)]
struct Summed {
    applied: bool,
    duplicate: bool,
    ignored: Option<Detail>,
    entry: Option<credits::Shown>,
    linked: Vec<String>,
}

impl Summed {
    fn add(&mut self, granted: CreditOutcome) -> std::result::Result<(), Detail> {
        match (granted.reason, granted.detail) {
            (Reason::Applied, _) => {
                self.applied = true;
                self.entry = granted.entry;
            }
            (Reason::Replay | Reason::Duplicate, _) | (_, Some(Detail::IdempotencyKeyReused)) => {
                self.duplicate = true;
                self.entry = self.entry.take().or(granted.entry);
            }
            (_, detail) => return Err(detail.unwrap_or(Detail::InternalError)),
        }
        Ok(())
    }

    fn judged(self, link_refused: bool) -> Effect {
        let Summed { applied, duplicate, ignored, entry, linked } = self;
        let (reason, detail) = match () {
            () if applied => (Reason::Applied, link_refused.then_some(Detail::LinkRefused)),
            () if duplicate => (Reason::Duplicate, Some(Detail::AlreadyCredited)),
            () => {
                let nothing = if link_refused { Detail::LinkRefused } else { Detail::NothingToDo };
                let ignored = ignored.filter(|detail| *detail != Detail::NothingToDo);
                (Reason::Ignored, Some(ignored.unwrap_or(nothing)))
            }
        };
        Effect { reason, detail, entry, linked }
    }
}

/// Judges an invoice of a Paystack subscription: it carries no time, so the validator alone judges.
pub fn of_paystack(client: &Client, event: &Event, data: &Object) -> Result<Judged> {
    let Some(invoice) = paystack::invoice(data) else {
        return Ok(Ok(Effect::ignored(Detail::NotASubscriptionInvoice)));
    };
    let (to, period_end) = match event.summary.event_type.as_str() {
        "invoice.payment_failed" => (Status::PastDue, None),
        _ if invoice.paid => (Status::Active, invoice.period_end),
        _ => return Ok(Ok(Effect::ignored(Detail::NothingToDo))),
    };
    let id = &invoice.subscription_id;
    let moved = subscriptions::move_by_invoice(client, "paystack", id, to, None, period_end)?;
    Ok(Ok(match moved {
        Some(moved) if moved.reason == Reason::Applied => Effect::applied(),
        Some(moved) => Effect::ignored(moved.detail.unwrap_or(Detail::NothingToDo)),
        None => Effect::ignored(Detail::NothingToDo),
    }))
}
