//! What an event does, by what it is about.

use billing_core::checkout::Buyer;
use billing_core::customers::Identifier;
use billing_core::json::Object;
use billing_core::outcome::{Detail, Reason, Refusal};
use billing_core::webhooks::{Event, Provider, Topic};

use super::{checkout, invoices, refunds, store};
use crate::credits::{Origin, Shown};
use crate::customers::{self, Link, Person};
use crate::error::Result;
use crate::pg::Client;
use crate::{settings, subscriptions};

/// What an event's processing did.
#[derive(Debug)]
pub struct Effect {
    /// Why; never invalid or failed.
    pub reason: Reason,
    /// What more.
    pub detail: Option<Detail>,
    /// The entry of the ledger, if it is about one.
    pub entry: Option<Shown>,
    /// Provider codes that became a customer's: what waits for them is processed next.
    pub linked: Vec<String>,
}

impl Effect {
    /// The event did something.
    pub fn applied() -> Effect {
        Effect { reason: Reason::Applied, detail: None, entry: None, linked: Vec::new() }
    }

    /// The event has no effect on purpose.
    pub fn ignored(detail: Detail) -> Effect {
        Effect { reason: Reason::Ignored, detail: Some(detail), ..Effect::applied() }
    }
}

/// Why processing stopped, to be tried again.
#[derive(Debug)]
pub struct Setback {
    /// Kept with the event.
    pub detail: Detail,
    /// The provider code whose link would help.
    pub waits_for: Option<String>,
}

impl From<Detail> for Setback {
    fn from(detail: Detail) -> Setback {
        Setback { detail, waits_for: None }
    }
}

/// An effect, or what stood in its way.
pub type Judged = std::result::Result<Effect, Setback>;

/// A refusal of the rules, as what it means for an event.
pub fn refused(refusal: Refusal) -> Judged {
    match refusal.reason {
        Reason::Ignored => Ok(Effect::ignored(refusal.detail)),
        _ => Err(refusal.detail.into()),
    }
}

/// Why the event has no effect whatever it says, if so.
pub fn without_effect(client: &Client, event: &Event) -> Result<Option<Detail>> {
    let allowed = match &event.account_id {
        Some(account_id) => store::account_is_allowed(client, account_id)?,
        None => false,
    };
    if let Some(detail) = event.ignored(settings::accepted_mode(), allowed) {
        return Ok(Some(detail));
    }
    Ok(match Topic::of(event.provider, &event.summary.event_type) {
        None => Some(Detail::EventTypeNotHandled),
        Some(Topic::CustomerDeleted) => Some(Detail::CustomerKept),
        Some(_) => None,
    })
}

/// Does what the event calls for.
pub fn apply(client: &Client, event: &Event) -> Result<Judged> {
    if let Some(detail) = without_effect(client, event)? {
        return Ok(Ok(Effect::ignored(detail)));
    }
    let (Some(topic), Some(object)) =
        (Topic::of(event.provider, &event.summary.event_type), event.object.as_ref())
    else {
        return Ok(Err(Detail::ObjectMalformed.into()));
    };
    let source = format!("{}:{}", event.provider.as_str(), event.summary.id);
    let origin = Origin { event: Some(&source), livemode: event.livemode };
    match topic {
        Topic::Checkout => checkout::session(client, event, object, origin),
        Topic::Transaction => checkout::transaction(client, event, object, origin),
        Topic::Charge | Topic::Refund => refunds::apply(client, event, object, origin),
        Topic::Customer => link_only(client, &billing_core::checkout::buyer_of_customer(object)),
        Topic::CustomerDeleted => Ok(Ok(Effect::ignored(Detail::CustomerKept))),
        Topic::Subscription => subscription(client, event, object),
        Topic::InvoicePayment => invoices::payment(client, object, origin),
        Topic::Invoice => match event.provider {
            Provider::Stripe => invoices::settled(client, event, object, origin),
            Provider::Paystack => invoices::of_paystack(client, event, object),
        },
    }
}

fn subscription(client: &Client, event: &Event, object: &Object) -> Result<Judged> {
    let (event_type, livemode) = (&event.summary.event_type, event.livemode);
    let effect = match event.provider {
        Provider::Stripe => subscriptions::apply_event(client, event_type, object, event.created, livemode)?,
        Provider::Paystack => subscriptions::apply_paystack(client, event_type, object, livemode)?,
    };
    Ok(effect.map_err(Setback::from).map(|effect| Effect {
        reason: effect.reason,
        detail: effect.detail,
        entry: None,
        linked: effect.linked,
    }))
}

/// The first of the identifiers that names somebody, or somebody to be made.
pub fn first_usable<'a>(
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

/// Links the explicitly named user and the provider's customer.
pub fn link_only(client: &Client, buyer: &Buyer) -> Result<Judged> {
    let named = first_usable(client, buyer.named_users(customers::external_ids()))?;
    let (Some((_, person)), Some(code)) = (named, buyer.customer_code()) else {
        return Ok(Ok(Effect::ignored(Detail::NothingToLink)));
    };
    Ok(Ok(match customers::link(client, &person, code)? {
        Link::Made(_) => Effect { linked: vec![code.as_str().to_owned()], ..Effect::applied() },
        Link::Stood => Effect::ignored(Detail::NothingToLink),
        Link::Refused => Effect::ignored(Detail::LinkRefused),
    }))
}
