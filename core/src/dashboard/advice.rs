//! What to do about a failure: one fixed sentence or two per code.

use crate::outcome::Detail;

/// What to do about events that failed with that code; none is a failure that the application reported.
pub const fn of(detail: Option<Detail>) -> &'static str {
    match detail {
        None => {
            "Your application claimed the event and reported this failure. Mend the cause there; it can claim the event again at any time."
        }
        Some(Detail::UnknownUser) => {
            "Nobody here has the identifier that the event carries. Register the person with register_billing_user, or put metadata.user_id into your checkout; linking the provider's customer code processes the events that wait for it, at once."
        }
        Some(Detail::UnknownPack) => {
            "The checkout names a pack that is not defined. Define it with billing.define_pack, or correct metadata.pack in your checkout; the event is then tried again."
        }
        Some(Detail::AmountMismatch) => {
            "What was paid is not the price that was valid when the checkout began. Compare billing.pack_prices or billing.plans with the provider's prices, and mend whichever is wrong; refund the payment, or grant the credits by hand and dismiss the event, if it is to stay as it is."
        }
        Some(Detail::CurrencyMismatch) => {
            "There is no price in the currency that was paid. Define one with billing.define_pack or billing.define_plan, or offer the checkout in a currency that has one."
        }
        Some(Detail::UnknownPlan) => {
            "The plan is not defined. Define it with billing.define_plan, with the provider's price ids; the event is then tried again."
        }
        Some(Detail::ObjectMalformed) => {
            "The event's object lacks a part that is needed. Look at it in the provider's own dashboard: its API version may be a very old one, or something else may have written it."
        }
        Some(Detail::InternalError) => {
            "Processing ended in an error of the database. The message has its SQLSTATE, the server's log has the rest: look there at the time of the last attempt, and for triggers on the tables of schema billing."
        }
        Some(Detail::LeaseRanOut) => {
            "Somebody claimed the event and never came back, on its last attempt. Look for a worker that crashes or is too slow for its lease, then revive the event."
        }
        Some(Detail::BalanceOverflow) => {
            "The balance would be larger than can be stored. Look for a wrong number of credits in the pack or in the checkout's metadata."
        }
        Some(_) => {
            "Mend what the sentence above names; the event is then tried again. docs/reasons.md lists every code."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_advice_in_whole_sentences() {
        for detail in Detail::ALL.iter().copied().map(Some).chain([None]) {
            let advice = of(detail);
            assert!(advice.ends_with('.') && advice.starts_with(char::is_uppercase), "{detail:?}");
        }
    }
}
