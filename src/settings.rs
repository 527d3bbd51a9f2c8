//! Settings `billing_rpc.*`. Only superusers, or whom they grant SET, may change them: the functions
//! that read them run with the owner's rights.

use std::ffi::CStr;

use billing_core::signatures::DEFAULT_TOLERANCE_SECONDS;
use billing_core::webhooks::AcceptedMode;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

/// How long an event's body is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types)]
pub enum PayloadRetention {
    /// Never.
    none,
    /// While the event is unfinished.
    until_completed,
    /// For ever.
    always,
}

/// Which events are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types)]
pub enum ModeSetting {
    /// Both.
    any,
    /// Real money only.
    live,
    /// Test mode only.
    test,
}

/// What is done with deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types)]
pub enum WebhookMode {
    /// They are verified and processed.
    process,
    /// They are verified and kept, to be processed later.
    record,
    /// They are refused.
    off,
}

/// When the truth on a subscription is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types)]
pub enum Refetch {
    /// When an event cannot be applied as it is.
    conflict,
    /// At every subscription event.
    always,
}

static TOLERANCE_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_TOLERANCE_SECONDS);
static CLAIM_LEASE_SECONDS: GucSetting<i32> = GucSetting::<i32>::new(300);
static MAX_ATTEMPTS: GucSetting<i32> = GucSetting::<i32>::new(10);
static MAX_PAYLOAD_BYTES: GucSetting<i32> = GucSetting::<i32>::new(1_048_576);
static PAYLOAD_RETENTION: GucSetting<PayloadRetention> =
    GucSetting::<PayloadRetention>::new(PayloadRetention::until_completed);
static ACCEPTED_MODE: GucSetting<ModeSetting> = GucSetting::<ModeSetting>::new(ModeSetting::any);
static WEBHOOK_MODE: GucSetting<WebhookMode> = GucSetting::<WebhookMode>::new(WebhookMode::process);
static E2E_TEST_MODE: GucSetting<bool> = GucSetting::<bool>::new(false);
static REFETCH: GucSetting<Refetch> = GucSetting::<Refetch>::new(Refetch::conflict);
static EXTERNAL_IDS: GucSetting<bool> = GucSetting::<bool>::new(false);
static ALLOW_DROP: GucSetting<bool> = GucSetting::<bool>::new(false);

/// Seconds that a signature's time may be away from now.
pub fn tolerance_seconds() -> i32 {
    TOLERANCE_SECONDS.get()
}

/// Seconds that a claim lasts.
pub fn claim_lease_seconds() -> i32 {
    CLAIM_LEASE_SECONDS.get()
}

/// Failures after which an event is dead.
pub fn max_attempts() -> i32 {
    MAX_ATTEMPTS.get()
}

/// The largest body, in bytes.
pub fn max_payload_bytes() -> usize {
    usize::try_from(MAX_PAYLOAD_BYTES.get()).unwrap_or_default()
}

/// How long an event's body is kept.
pub fn payload_retention() -> PayloadRetention {
    PAYLOAD_RETENTION.get()
}

/// What is done with deliveries.
pub fn webhook_mode() -> WebhookMode {
    WEBHOOK_MODE.get()
}

/// Whether events of test mode come in without a signature.
pub fn e2e_test_mode() -> bool {
    E2E_TEST_MODE.get()
}

/// Which events are processed.
pub fn accepted_mode() -> AcceptedMode {
    match ACCEPTED_MODE.get() {
        ModeSetting::any => AcceptedMode::Any,
        ModeSetting::live => AcceptedMode::Live,
        ModeSetting::test => AcceptedMode::Test,
    }
}

/// Whether every subscription event asks for the truth.
pub fn refetch_always() -> bool {
    REFETCH.get() == Refetch::always
}

/// Whether texts of no other kind are user ids.
pub fn external_ids() -> bool {
    EXTERNAL_IDS.get()
}

/// Whether the books may be dropped with rows in them.
pub fn allow_drop() -> bool {
    ALLOW_DROP.get()
}

/// Defines the settings and reserves their prefix.
pub fn register() {
    let seconds = |name: &'static CStr,
                   what: &'static CStr,
                   more: &'static CStr,
                   setting: &'static GucSetting<i32>,
                   least,
                   most| {
        GucRegistry::define_int_guc(
            name,
            what,
            more,
            setting,
            least,
            most,
            GucContext::Suset,
            GucFlags::default(),
        );
    };
    let whole = |name: &'static CStr,
                 what: &'static CStr,
                 more: &'static CStr,
                 setting: &'static GucSetting<i32>,
                 most| {
        GucRegistry::define_int_guc(
            name,
            what,
            more,
            setting,
            1,
            most,
            GucContext::Suset,
            GucFlags::default(),
        );
    };
    seconds(
        c"billing_rpc.signature_tolerance_seconds",
        c"How far a webhook signature's time may be from now.",
        c"In seconds, past or future; 0 is zero seconds. A call may say otherwise.",
        &TOLERANCE_SECONDS,
        0,
        i32::MAX,
    );
    seconds(
        c"billing_rpc.claim_lease_seconds",
        c"How long a claim on an event lasts.",
        c"In seconds, where the call does not say. Then the event may be claimed by another worker.",
        &CLAIM_LEASE_SECONDS,
        1,
        billing_core::webhooks::MAX_ASKED_SECONDS,
    );
    whole(
        c"billing_rpc.max_attempts",
        c"Failures after which an event is dead.",
        c"A dead event is not tried again until billing.revive_event; ten attempts last about two days.",
        &MAX_ATTEMPTS,
        1_000,
    );
    whole(
        c"billing_rpc.max_payload_bytes",
        c"The largest webhook body, in bytes.",
        c"A larger one is refused before its signature is looked at.",
        &MAX_PAYLOAD_BYTES,
        256 * 1_048_576,
    );
    GucRegistry::define_enum_guc(
        c"billing_rpc.payload_retention",
        c"How long an event's body is kept.",
        c"none, until_completed (only unfinished events have theirs, to be tried again) or always; bodies hold personal data.",
        &PAYLOAD_RETENTION,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"billing_rpc.accepted_mode",
        c"Which events are processed: of both modes, live ones or test ones.",
        c"any, live or test; the others are ignored with the detail mode_not_accepted.",
        &ACCEPTED_MODE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"billing_rpc.webhook_mode",
        c"What is done with deliveries: processed, recorded for later, or refused.",
        c"process, record (verified and kept for retry_webhook_events, whatever the retention) or off (answered with 503, so that the provider comes back).",
        &WEBHOOK_MODE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"billing_rpc.e2e_test_mode",
        c"Whether events of test mode come in without a signature, as long as none of live mode was stored.",
        c"For end-to-end tests of a staging database. Each is marked unsigned, with a warning in the log.",
        &E2E_TEST_MODE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"billing_rpc.refetch",
        c"When the truth on a subscription is asked for: on a conflict, or at every event.",
        c"conflict (an event cannot be applied as it is) or always.",
        &REFETCH,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"billing_rpc.external_ids",
        c"Whether texts of no other kind are user ids.",
        c"For ids of Clerk, Auth0, Firebase and the like; on by itself where the users table has an id of type text.",
        &EXTERNAL_IDS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"billing_rpc.allow_drop",
        c"Whether the extension may be dropped while the ledger, the webhook events or the payments hold rows.",
        c"Set it nowhere but in the session that drops.",
        &ALLOW_DROP,
        GucContext::Suset,
        GucFlags::default(),
    );
    crate::pg::reserve_settings_prefix(c"billing_rpc");
}
