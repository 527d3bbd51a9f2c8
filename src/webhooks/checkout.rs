//! Payments that buy credits: for whom they name, and the link of user and provider customer.

use std::borrow::Cow;

use billing_core::checkout::{Buyer, Goods, Order, Purchase, Session};
use billing_core::credits::{DEFAULT_CREDIT_TYPE, Terms};
use billing_core::customers::ProviderCode;
use billing_core::json::Object;
use billing_core::outcome::{Detail, Reason, Refusal};
use billing_core::paystack;
use billing_core::webhooks::{Event, Provider};

use super::effects::{Effect, Judged, Setback, first_usable, link_only, refused};
use crate::charges;
use crate::credits::{self, CreditOutcome, Origin};
use crate::customers::{self, Link, Person};
use crate::error::Result;
use crate::pg::{Client, Time};
use crate::{packs, payments};

/// Judges a Stripe session's event step by step: paid, what, whose, price, link.
pub fn session(client: &Client, event: &Event, object: &Object, origin: Origin) -> Result<Judged> {
    let session = Session::parse(object, event.created);
    let tie = session.tie();
    let links = match session.order(&event.summary.event_type) {
        Ok(Order::Purchase(purchase)) => {
            let charge = charges::tie(client, &purchase.source, None)?;
            return buy(client, Provider::Stripe, &purchase, charge, origin);
        }
        Ok(Order::Link(buyer)) => Ok(buyer),
        Err(refusal) => Err(refusal),
    };
    if let Some(source) = tie
        && let Err(refusal) = charges::tie_uncredited(client, &source, origin)?
    {
        return Ok(refused(refusal));
    }
    match links {
        Ok(buyer) => link_only(client, &buyer),
        Err(refusal) => Ok(refused(refusal)),
    }
}

/// Judges a Paystack transaction: the payment of a subscription that was started here, else as a checkout.
pub fn transaction(client: &Client, event: &Event, data: &Object, origin: Origin) -> Result<Judged> {
    if let Some(verified) = verify_payment(client, event, data)? {
        return Ok(verified);
    }
    let charge = match paystack::charge(data) {
        Some((source, amount_minor)) => charges::tie(client, &source, amount_minor)?,
        None => None,
    };
    match paystack::order(data) {
        Ok(Order::Purchase(purchase)) => buy(client, Provider::Paystack, &purchase, charge, origin),
        Ok(Order::Link(buyer)) => link_only(client, &buyer),
        Err(refusal) => match settle(client, Provider::Paystack, charge.as_ref(), origin)? {
            Err(overflow) => Ok(refused(overflow)),
            Ok(()) => Ok(refused(refusal)),
        },
    }
}

/// Verifies the payment that was started with the transaction's reference; none if none was.
fn verify_payment(client: &Client, event: &Event, data: &Object) -> Result<Option<Judged>> {
    let Some(reference) = paystack::transaction_reference(data).filter(|_| paystack::succeeded(data)) else {
        return Ok(None);
    };
    if !payments::is_started(client, &reference)? {
        return Ok(None);
    }
    let Ok(Some(paid)) = paystack::paid(data) else {
        return Ok(Some(Err(Detail::ObjectMalformed.into())));
    };
    let paid_at = event.created.and_then(Time::of_unix);
    let outcome =
        payments::verify_from_event(client, &reference, paid.amount_minor, &paid.currency, paid_at)?;
    Ok(outcome.map(|outcome| match (outcome.reason, outcome.detail) {
        (Reason::Applied | Reason::Replay, detail) => {
            Ok(Effect { reason: outcome.reason, detail, ..Effect::applied() })
        }
        (_, detail) => Err(detail.unwrap_or(Detail::InternalError).into()),
    }))
}

/// Credits the purchase, its charge tied and locked before.
fn buy(
    client: &Client,
    provider: Provider,
    purchase: &Purchase,
    charge: Option<charges::Locked>,
    origin: Origin,
) -> Result<Judged> {
    let named = first_usable(client, purchase.buyer.named_users(customers::external_ids()))?;
    if let Some(standing) = credits::credited(client, &purchase.source, charge.as_ref())? {
        if let Err(refusal) = settle(client, provider, charge.as_ref(), origin)? {
            return Ok(refused(refusal));
        }
        let link = match &named {
            Some((_, person @ Person::Known(_))) => link(client, person, purchase.buyer.customer_code())?,
            _ => None,
        };
        return Ok(effect(standing, link));
    }
    let code = purchase.buyer.customer_code().filter(|_| named.is_some());
    let whose = match named {
        Some(named) => Some(named),
        None => first_usable(client, purchase.buyer.other_users())?,
    };
    let Some((identifier, person)) = whose else { return Ok(Err(unknown_user(&purchase.buyer))) };
    let (credits, credit_type, terms) = match goods(client, purchase)? {
        Ok(goods) => goods,
        Err(detail) => return Ok(Err(detail.into())),
    };
    let before = match &person {
        Person::Known(_) => link(client, &person, code)?,
        _ => None,
    };
    let request = purchase.request(identifier, credits, credit_type, terms);
    let credited = credits::apply_event(client, &request, &person, charge.as_ref(), origin)?;
    if credited.reason != Reason::Applied
        && let Err(refusal) = settle(client, provider, charge.as_ref(), origin)?
    {
        return Ok(refused(refusal));
    }
    let after = match (&person, &credited.entry) {
        // Somebody new is made by being credited, and linked only then.
        (Person::New(_), Some(entry)) if credited.reason == Reason::Applied => {
            link(client, &Person::Known(entry.customer_id), code)?
        }
        _ => None,
    };
    Ok(effect(credited, before.or(after)))
}

/// Undoes what another event or a call credited, as far as refunds call for: that the charge belongs to it
/// may be this event's news.
fn settle(
    client: &Client,
    provider: Provider,
    charge: Option<&charges::Locked>,
    origin: Origin,
) -> Result<std::result::Result<(), Refusal>> {
    match charge.filter(|charge| charge.charge.is_contested()) {
        Some(charge) => Ok(charges::settle(client, provider, charge, origin)?.map(|_| ())),
        None => Ok(Ok(())),
    }
}

fn unknown_user(buyer: &Buyer) -> Setback {
    let waits_for = buyer.customer_code().map(|code| code.as_str().to_owned());
    Setback { detail: Detail::UnknownUser, waits_for }
}

type Bought = (i64, Cow<'static, str>, Terms);

/// How many credits, of which type, and how long they live.
fn goods(client: &Client, purchase: &Purchase) -> Result<std::result::Result<Bought, Detail>> {
    let pack = match &purchase.goods {
        Goods::Credits(credits) => return Ok(Ok((*credits, DEFAULT_CREDIT_TYPE.into(), Terms::default()))),
        Goods::Pack(pack) => pack,
    };
    let Some(paid) = &purchase.price else { return Ok(Err(Detail::ObjectMalformed)) };
    let at = purchase.at.and_then(Time::of_unix);
    Ok(packs::price(client, pack, paid, at)?.map(|bought| {
        let terms = Terms { expires_at: bought.expires_at.map(Time::micros), priority: 0 };
        (bought.credits, bought.credit_type.into(), terms)
    }))
}

/// Links the named user and the payment's customer, where the payment names both.
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
            detail: refused.then_some(Detail::LinkRefused),
            entry: credited.entry,
            linked,
            ..Effect::applied()
        }),
        // The source's own key stands: it was credited by another event, perhaps to somebody whom the
        // event names otherwise today.
        (Reason::Replay | Reason::Duplicate, _) | (_, Some(Detail::IdempotencyKeyReused)) => Ok(Effect {
            reason: Reason::Duplicate,
            detail: Some(Detail::AlreadyCredited),
            entry: credited.entry,
            linked,
        }),
        (_, detail) => Err(detail.unwrap_or(Detail::InternalError).into()),
    }
}
