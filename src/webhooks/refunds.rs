//! Refunds and disputes: what an event reports of a charge, and what that undoes.

use billing_core::credits::Source;
use billing_core::json::Object;
use billing_core::outcome::Detail;
use billing_core::webhooks::{Event, Provider};
use billing_core::{charges as core, invoices, paystack};

use super::effects::{Effect, Judged, refused};
use crate::charges::{self, Heard};
use crate::credits::Origin;
use crate::error::Result;
use crate::payments;
use crate::pg::{Client, Time};

/// Remembers what the event reports, and brings the credits undone to what that calls for.
pub fn apply(client: &Client, event: &Event, object: &Object, origin: Origin) -> Result<Judged> {
    let summary = &event.summary;
    let read = match event.provider {
        Provider::Stripe => core::read_stripe(&summary.event_type, object, event.created),
        Provider::Paystack => paystack::refund(object, &summary.id),
    };
    // A time that cannot be stored is as none.
    let storable = event.created.is_none_or(|at| Time::of_unix(at).is_some());
    let (payment_ref, report) = match read {
        Ok(read) if storable => read,
        Ok(_) => return Ok(Err(Detail::ObjectMalformed.into())),
        Err(detail) => return Ok(Err(detail.into())),
    };
    if event.provider == Provider::Paystack && payments::is_started(client, &payment_ref)? {
        return Ok(Ok(Effect::ignored(Detail::SubscriptionPayment)));
    }
    // A charge of the older shape says itself which invoice it paid.
    if let Some(invoice_id) =
        invoices::invoice_of_charge(object).filter(|_| event.provider == Provider::Stripe)
    {
        let source_ref = invoices::source_ref(&invoice_id);
        let source = Source { source_ref, payment_ref: Some(payment_ref.clone()) };
        if let Err(refusal) = charges::tie_uncredited(client, &source, origin)? {
            return Ok(refused(refusal));
        }
    }
    Ok(match charges::hear(client, event.provider, &payment_ref, report, origin)? {
        Err(refusal) => refused(refusal),
        Ok(Heard::Unknown) => Ok(Effect::ignored(Detail::UnknownPayment)),
        Ok(Heard::Unchanged) => Ok(Effect::ignored(Detail::NothingToUndo)),
        Ok(Heard::Undone(entry)) => Ok(Effect { entry: Some(entry), ..Effect::applied() }),
    })
}
