//! Reasons and details: the vocabulary of every answer.

/// Why a writing function answered as it did (SQL enum `billing_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// This call made the change.
    Applied,
    /// This very request was applied before.
    Replay,
    /// Another request stands for the same business fact, or holds the claim.
    Duplicate,
    /// Cannot be applied as asked.
    Invalid,
    /// An authentic event without effect on purpose.
    Ignored,
    /// An authentic event whose processing failed and will be tried again.
    Failed,
}

impl Reason {
    /// Every reason, in the order of the SQL enum.
    pub const ALL: [Reason; 6] = [
        Reason::Applied,
        Reason::Replay,
        Reason::Duplicate,
        Reason::Invalid,
        Reason::Ignored,
        Reason::Failed,
    ];

    /// The label of the SQL enum.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Applied => "applied",
            Reason::Replay => "replay",
            Reason::Duplicate => "duplicate",
            Reason::Invalid => "invalid",
            Reason::Ignored => "ignored",
            Reason::Failed => "failed",
        }
    }
}

/// An answer that is not `applied`: the reason, and the code that says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason of the outcome row.
    pub reason: Reason,
    /// The detail of the outcome row.
    pub detail: Detail,
}

/// The short form for the most frequent refusal.
pub const fn invalid(detail: Detail) -> Refusal {
    Refusal { reason: Reason::Invalid, detail }
}

macro_rules! details {
    ($($variant:ident = $code:literal, $meaning:literal;)*) => {
        /// Why, as a stable code; the table of docs/reasons.md is compared with this list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Detail {
            $(#[doc = concat!("`", $code, "`")] $variant,)*
        }

        impl Detail {
            /// Every code there is.
            pub const ALL: &'static [Detail] = &[$(Detail::$variant,)*];

            /// The code as answered in `detail`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Detail::$variant => $code,)* }
            }

            /// One sentence for people; also what a failed event keeps as its message.
            pub const fn meaning(self) -> &'static str {
                match self { $(Detail::$variant => $meaning,)* }
            }

            /// The code's variant, if there is such a code.
            pub fn parse(code: &str) -> Option<Detail> {
                Detail::ALL.iter().copied().find(|detail| detail.as_str() == code)
            }
        }
    };
}

details! {
    // people
    UserIdBlank = "user_id_blank", "The user identifier is missing or only white space.";
    UserIdPlaceholder = "user_id_placeholder", "The user identifier is an unfilled template such as null, undefined or {{id}}.";
    UserIdMalformed = "user_id_malformed", "The user identifier is none of the known kinds.";
    UnknownUser = "unknown_user", "Nobody is known by that identifier.";
    IdentifierMissing = "identifier_missing", "At least one identifier is needed.";
    IdentityConflict = "identity_conflict", "The identifiers belong to different customers, or the customer has another one of that kind.";
    LegacyIdInvalid = "legacy_id_invalid", "A legacy id is an integer from 1 on.";
    EmailMalformed = "email_malformed", "The e-mail address is blank or not well formed.";
    StripeCustomerIdMalformed = "stripe_customer_id_malformed", "A Stripe customer id begins with cus_ and has no white space.";
    PaystackCustomerCodeMalformed = "paystack_customer_code_malformed", "A Paystack customer code begins with CUS_ and has no white space.";
    ExternalIdMalformed = "external_id_malformed", "An external id is text without white space that is no identifier of another kind.";
    ExternalIdsOff = "external_ids_off", "External ids are off: no text id column is set and billing_rpc.external_ids is off.";
    // credits
    CreditsMissing = "credits_missing", "The number of credits is missing.";
    CreditsNotPositive = "credits_not_positive", "The number of credits must be above zero.";
    CreditTypeBlank = "credit_type_blank", "The credit type is only white space.";
    CreditTypeTooLong = "credit_type_too_long", "A credit type has at most 63 bytes.";
    IdempotencyKeyMissing = "idempotency_key_missing", "An idempotency key is needed.";
    IdempotencyKeyBlank = "idempotency_key_blank", "The idempotency key is only white space.";
    IdempotencyKeyTooLong = "idempotency_key_too_long", "An idempotency key has at most 255 bytes.";
    IdempotencyKeyReserved = "idempotency_key_reserved", "Keys that begin with billing_rpc: are the extension's own.";
    IdempotencyKeyReused = "idempotency_key_reused", "The key stands for a request with other parameters.";
    StripeSessionIdInvalid = "stripe_session_id_invalid", "A Stripe checkout session id begins with cs_, has no white space and at most 247 bytes.";
    SourceRefInvalid = "source_ref_invalid", "A source is stripe:cs_..., stripe:pi_... or paystack:<reference>, without white space, at most 255 bytes.";
    SourcesDiffer = "sources_differ", "stripe_session_id and source_ref name different sources.";
    AmountNegative = "amount_negative", "An amount is zero or more minor units.";
    AmountWithoutCurrency = "amount_without_currency", "amount_minor needs its currency.";
    CurrencyWithoutAmount = "currency_without_amount", "currency needs its amount_minor.";
    CurrencyInvalid = "currency_invalid", "A currency is a code of three letters (ISO 4217).";
    MetadataNotAnObject = "metadata_not_an_object", "metadata must be a JSON object.";
    MetadataTooLarge = "metadata_too_large", "metadata has at most 16 KiB as text.";
    ExpiresAtInfinite = "expires_at_infinite", "An expiry is a finite time; leave it out for never.";
    InsufficientCredits = "insufficient_credits", "Fewer credits are available than asked for.";
    BalanceOverflow = "balance_overflow", "The balance would leave 64 bits.";
    AlreadyCredited = "already_credited", "The same source was credited before, by another key, call or event.";
    TtlSecondsInvalid = "ttl_seconds_invalid", "A hold lives from 1 second to 366 days.";
    HoldIdMissing = "hold_id_missing", "The hold's id is missing.";
    UnknownHold = "unknown_hold", "There is no such hold.";
    HoldEnded = "hold_ended", "The hold has ended otherwise; its status says how.";
    ExceedsHold = "exceeds_hold", "More credits than the hold has.";
    EntryIdMissing = "entry_id_missing", "The entry's id is missing.";
    UnknownEntry = "unknown_entry", "There is no such entry.";
    NotReversible = "not_reversible", "Reversals, expiries and adjustments cannot be reversed.";
    NothingToReverse = "nothing_to_reverse", "All of the entry is reversed already.";
    ExceedsEntry = "exceeds_entry", "More credits than are left of the entry.";
    OperationsNotAnArray = "operations_not_an_array", "The operations must be a JSON array.";
    TooManyOperations = "too_many_operations", "A batch has at most 100,000 operations.";
    OperationMalformed = "operation_malformed", "An operation is a JSON object with a text op.";
    UnknownOperation = "unknown_operation", "An operation is purchase, grant or spend.";
    UnknownParameter = "unknown_parameter", "The operation has a key that its function has no parameter for.";
    ParameterTypeMismatch = "parameter_type_mismatch", "A value of the operation has the wrong JSON type, or does not fit its parameter.";
    // claims
    ProviderMissing = "provider_missing", "The provider is missing.";
    ProviderBlank = "provider_blank", "The provider is only white space.";
    ProviderTooLong = "provider_too_long", "A provider's name has at most 63 bytes.";
    EventIdMissing = "event_id_missing", "The event id is missing.";
    EventIdBlank = "event_id_blank", "The event id is only white space.";
    EventIdTooLong = "event_id_too_long", "An event id has at most 255 bytes.";
    EventTypeMissing = "event_type_missing", "The event type is missing.";
    EventTypeBlank = "event_type_blank", "The event type is only white space.";
    EventTypeTooLong = "event_type_too_long", "An event type has at most 255 bytes.";
    PayloadSummaryInvalid = "payload_summary_invalid", "payload_summary must be a JSON object of at most 16 KiB.";
    LeaseSecondsInvalid = "lease_seconds_invalid", "A lease lasts from 1 second to 30 days.";
    ClaimTokenMissing = "claim_token_missing", "The claim token is missing.";
    ResultTooLarge = "result_too_large", "A result has at most 16 KiB as text.";
    ErrorMessageMissing = "error_message_missing", "The error message is missing.";
    ErrorMessageBlank = "error_message_blank", "The error message is only white space.";
    ErrorMessageTooLong = "error_message_too_long", "An error message has at most 16 KiB.";
    RetryInSecondsInvalid = "retry_in_seconds_invalid", "A retry comes after 0 seconds to 30 days.";
    UnknownEvent = "unknown_event", "There is no such event.";
    ClaimLost = "claim_lost", "The token is not the one that holds the event.";
    InProgress = "in_progress", "Another worker holds the event by a live lease.";
    Dead = "dead", "The event failed too often and waits for billing.revive_event.";
    LeaseRanOut = "lease_ran_out", "The claim ran out, and no attempt was left.";
    Dismissed = "dismissed", "An operator dismissed the event.";
    Adopted = "adopted", "The event was processed before billing.adopt_stripe_events took it over.";
    MaxEventsInvalid = "max_events_invalid", "max_events is a number above zero.";
    // signatures
    SecretMissing = "secret_missing", "No valid webhook secret is stored for the provider.";
    ToleranceInvalid = "tolerance_invalid", "The tolerance is a number of seconds from zero on.";
    SignatureMissing = "signature_missing", "The signature header is absent or empty.";
    SignatureMalformed = "signature_malformed", "The signature header is not well formed.";
    SignatureMismatch = "signature_mismatch", "No signature matches the body under any valid secret.";
    SignatureExpired = "signature_expired", "The signature's time is too far from now.";
    // webhooks
    WebhooksOff = "webhooks_off", "billing_rpc.webhook_mode is off.";
    PayloadTooLarge = "payload_too_large", "The body is larger than billing_rpc.max_payload_bytes.";
    PayloadMalformed = "payload_malformed", "The body is not JSON.";
    NotAnEvent = "not_an_event", "The body is JSON, but not an event of the provider.";
    ConnectedAccount = "connected_account", "The event belongs to a connected account that is not allowed.";
    ModeNotAccepted = "mode_not_accepted", "The event's mode is not billing_rpc.accepted_mode.";
    ThinEvent = "thin_event", "A thin event carries no object.";
    EventTypeNotHandled = "event_type_not_handled", "Events of that type have no effect here.";
    Recorded = "recorded", "The event is kept to be processed later.";
    ObjectMalformed = "object_malformed", "The event's object lacks a part, or has one of the wrong type.";
    InternalError = "internal_error", "Processing stopped at an unexpected error.";
    // checkout
    PaymentPending = "payment_pending", "The payment is not complete yet.";
    NotACreditPurchase = "not_a_credit_purchase", "The session does not buy credits.";
    NothingToLink = "nothing_to_link", "The session names no user and provider code to link, or they are linked already.";
    LinkRefused = "link_refused", "The provider code belongs to another customer and stays there.";
    PaymentFailed = "payment_failed", "The payment did not succeed.";
    SessionExpired = "session_expired", "The session expired without a payment.";
    CustomerKept = "customer_kept", "Whoever is deleted at the provider keeps credits and links here.";
    UnknownPack = "unknown_pack", "There is no such credit pack.";
    AmountMismatch = "amount_mismatch", "The amount is not the price, nor a whole multiple of it where that is allowed.";
    CurrencyMismatch = "currency_mismatch", "There is no price in that currency.";
    // refunds and disputes
    UnknownPayment = "unknown_payment", "There is no such payment, or it paid for nothing that is known here.";
    NothingToUndo = "nothing_to_undo", "As many credits are undone already as the event calls for.";
    // subscription payments
    ReferenceMissing = "reference_missing", "The payment's reference is missing.";
    ReferenceBlank = "reference_blank", "The payment's reference is only white space.";
    ReferenceTooLong = "reference_too_long", "A reference has at most 255 bytes.";
    PlanMissing = "plan_missing", "The plan is missing.";
    PlanBlank = "plan_blank", "The plan is only white space.";
    PlanTooLong = "plan_too_long", "A plan's name has at most 63 bytes.";
    AmountMissing = "amount_missing", "The amount and its currency are missing.";
    BranchIdBlank = "branch_id_blank", "A branch id is null or only white space.";
    BranchIdTooLong = "branch_id_too_long", "A branch id has at most 255 bytes.";
    TooManyBranches = "too_many_branches", "A payment is for at most 1,000 branches.";
    MainBranchUnknown = "main_branch_unknown", "The main branch is not one of the branches.";
    UnknownPlan = "unknown_plan", "There is no such plan.";
    GatewayStatusMissing = "gateway_status_missing", "The gateway's status is missing.";
    GatewayStatusBlank = "gateway_status_blank", "The gateway's status is only white space.";
    PaidAtInfinite = "paid_at_infinite", "A time of payment is a finite time; leave it out for now.";
    SubscriptionEndOverflow = "subscription_end_overflow", "The subscription's end would be later than a timestamp can say.";
    // subscriptions
    StaleEvent = "stale_event", "Something newer was applied before, or of the same second something further on.";
    TransitionNotAllowed = "transition_not_allowed", "The subscription's status cannot become that one.";
    CustomerUnlinked = "customer_unlinked", "It is stored; nobody here has its provider code yet.";
    ObservedAtInfinite = "observed_at_infinite", "The time of an observation is finite.";
    NothingToDo = "nothing_to_do", "The event calls for nothing that is not done.";
    NotASubscriptionInvoice = "not_a_subscription_invoice", "The invoice is not for a subscription.";
    SubscriptionPayment = "subscription_payment", "The refund is of a subscription payment, which gave no credits.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_are_the_labels_of_the_sql_enum() {
        let script = include_str!("../../sql/bootstrap.sql");
        let labels = Reason::ALL.map(|reason| format!("'{}'", reason.as_str())).join(", ");
        assert!(script.contains(&format!("billing_reason AS ENUM\n    ({labels});")), "{labels}");
    }

    #[test]
    fn codes_are_unique_snake_case_and_parse_back() {
        let mut seen = HashSet::new();
        for detail in Detail::ALL {
            let code = detail.as_str();
            assert!(seen.insert(code), "{code} twice");
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
            assert_eq!(Detail::parse(code), Some(*detail));
            assert!(detail.meaning().ends_with('.'), "{code}");
        }
        assert_eq!(Detail::parse("no such code"), None);
    }

    #[test]
    fn the_docs_list_every_code() {
        let page = include_str!("../../docs/reasons.md");
        let listed: Vec<(String, String)> = page
            .lines()
            .skip_while(|line| !line.starts_with("## "))
            .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
            .map(|(code, meaning)| (code.to_owned(), meaning.replace("\\<", "<")))
            .collect();
        let real: Vec<_> =
            Detail::ALL.iter().map(|d| (d.as_str().to_owned(), d.meaning().to_owned())).collect();
        assert_eq!(listed, real);
    }
}
