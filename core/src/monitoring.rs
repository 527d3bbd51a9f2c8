//! Monitoring: what is judged of how things are, and the numbers that are told.

use crate::openmetrics::{Family, Kind};
use crate::webhooks::AcceptedMode;

/// Seconds for which an event, a lease or a refetch may be due before somebody has to look.
pub const PATIENCE_SECONDS: i64 = 600;
/// Attempts after which a failed event does not mend itself.
pub const FAILING_ATTEMPTS: i32 = 3;
/// Seconds before the end of a provider's last secret in which it is said.
pub const SECRET_WARNING_SECONDS: i64 = 7 * 86_400;
/// Days for which the bodies of completed events may be kept before it is said.
pub const OLD_PAYLOAD_DAYS: i32 = 90;
/// The most rows that a number is counted from: more are told as this many.
pub const MAX_COUNTED: i64 = 100_000;

macro_rules! checks {
    ($($variant:ident = $name:literal, $advice:literal;)*) => {
        /// What health looks at; the table of docs/monitoring.md is compared with this list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Check {
            /// Every check there is, in the order in which they are told.
            pub const ALL: &'static [Check] = &[$(Check::$variant,)*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Check::$variant => $name,)* }
            }

            /// What to do when it fails: one sentence, with the statement to run.
            pub const fn advice(self) -> &'static str {
                match self { $(Check::$variant => $advice,)* }
            }
        }
    };
}

checks! {
    EventsDue = "events_due", "Events have been due for more than 10 minutes, so no worker runs: schedule SELECT retry_webhook_events(), once a minute or so.";
    LeasesRanOut = "leases_ran_out", "Claims ran out more than 10 minutes ago, and nobody has taken the events again: see SELECT * FROM billing.stuck_events, and mend the program that claims.";
    FailingEvents = "failing_events", "Events have failed 3 times or more: see SELECT * FROM billing.failed_events, and mend what error_detail names before they are dead.";
    DeadEvents = "dead_events", "Events are dead and are not tried again: see SELECT * FROM billing.failed_events WHERE status = 'dead', then call billing.revive_event or billing.dismiss_event for each.";
    BothModes = "both_modes", "Events of live mode and of test mode came in, and both are processed: ALTER SYSTEM SET billing_rpc.accepted_mode = 'live' (or 'test'), then SELECT pg_reload_conf().";
    SecretMissing = "secret_missing", "A webhook endpoint is in use and its provider has no secret here, so that deliveries are answered with 500: SELECT billing.add_webhook_secret('stripe', 'whsec_...').";
    SecretEnding = "secret_ending", "The last secret of a provider ends within 7 days, or has ended: see SELECT * FROM billing.webhook_secret_list, then SELECT billing.add_webhook_secret('stripe', 'whsec_...').";
    E2eTestMode = "e2e_test_mode", "Events of test mode are let in without a signature, by anybody: ALTER SYSTEM SET billing_rpc.e2e_test_mode = off, then SELECT pg_reload_conf().";
    WebhookMode = "webhook_mode", "Deliveries are recorded or refused, and not processed: ALTER SYSTEM SET billing_rpc.webhook_mode = 'process', then SELECT pg_reload_conf() and SELECT retry_webhook_events().";
    RefetchQueue = "refetch_queue", "Subscriptions have waited for more than 10 minutes for their truth to be fetched: run a worker that hands what SELECT * FROM pending_refetches() names to apply_subscription_update.";
    OldPayloads = "old_payloads", "Bodies of events that were completed more than 90 days ago are kept, and hold personal data: schedule SELECT billing.purge_webhook_events('90 days', 10000).";
    Sources = "sources", "The users table, the refetch source or the vault cannot be read any more by whoever named it: give that role SELECT again, or name the relation anew by billing.set_users_table, billing.set_refetch_source or billing.use_vault_secret.";
    Access = "access", "Somebody has rights beyond the intended ones: SELECT * FROM billing.access_audit() lists them, each with the statement that mends it.";
    Version = "version", "The library and the schema are of different versions: ALTER EXTENSION billing_rpc UPDATE, then connect anew.";
}

/// A webhook secret, as far as it may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its number.
    pub secret_id: i64,
    /// Whose it is.
    pub provider: String,
    /// Seconds until it ends, below zero if it has; none: until it is retired.
    pub remaining_seconds: Option<i64>,
    /// Whether it can be read: the vault may not have it any more.
    pub present: bool,
}

impl Secret {
    fn lasts(&self, seconds: i64) -> bool {
        self.present && self.remaining_seconds.is_none_or(|remaining| remaining > seconds)
    }
}

/// What the checks are judged by. Ages are seconds; none where there is nothing of the kind.
#[derive(Clone, Debug)]
pub struct Signs {
    /// Of the event that has been due for longest.
    pub due_seconds: Option<i64>,
    /// Since the oldest lease ran out.
    pub lease_over_seconds: Option<i64>,
    /// Whether a failed event has been tried [`FAILING_ATTEMPTS`] times or more.
    pub failing: bool,
    /// Whether there is a dead event.
    pub dead: bool,
    /// Whether an event of live mode is stored.
    pub live: bool,
    /// Whether one of test mode is.
    pub test: bool,
    /// Which of them are processed.
    pub accepted: AcceptedMode,
    /// Every secret.
    pub secrets: Vec<Secret>,
    /// Providers whose endpoint is opened to somebody, or whose deliveries are stored.
    pub in_use: Vec<String>,
    /// Whether somebody has both endpoints, so that it does not say which provider is in use.
    pub endpoints_given: bool,
    /// Whether unsigned events may come in.
    pub e2e_test_mode: bool,
    /// Whether deliveries are processed as they come in.
    pub processing: bool,
    /// Of the oldest request for a truth.
    pub refetch_seconds: Option<i64>,
    /// Whether a body was found that should have been purged.
    pub old_payloads: bool,
    /// Whether what operators named can be read.
    pub sources_readable: bool,
    /// Whether nobody has more rights than intended.
    pub access_as_intended: bool,
    /// Whether the schema is of the library's version.
    pub version_fits: bool,
}

impl Signs {
    /// Whether the check finds nothing to say.
    pub fn pass(&self, check: Check) -> bool {
        let soon = |age: Option<i64>| age.is_none_or(|seconds| seconds <= PATIENCE_SECONDS);
        match check {
            Check::EventsDue => soon(self.due_seconds),
            Check::LeasesRanOut => soon(self.lease_over_seconds),
            Check::FailingEvents => !self.failing,
            Check::DeadEvents => !self.dead,
            Check::BothModes => !(self.live && self.test && self.accepted == AcceptedMode::Any),
            Check::SecretMissing => self.no_secret_missing(),
            Check::SecretEnding => self.no_secret_ending(),
            Check::E2eTestMode => !self.e2e_test_mode,
            Check::WebhookMode => self.processing,
            Check::RefetchQueue => soon(self.refetch_seconds),
            Check::OldPayloads => !self.old_payloads,
            Check::Sources => self.sources_readable,
            Check::Access => self.access_as_intended,
            Check::Version => self.version_fits,
        }
    }

    fn no_secret_missing(&self) -> bool {
        let known = |provider: &String| self.secrets.iter().any(|secret| secret.provider == *provider);
        self.in_use.iter().all(known) && !(self.endpoints_given && self.secrets.is_empty())
    }

    /// A provider that never had a secret is not looked at here.
    fn no_secret_ending(&self) -> bool {
        self.secrets.iter().all(|one| {
            let of_provider = |other: &&Secret| other.provider == one.provider;
            self.secrets.iter().filter(of_provider).any(|other| other.lasts(SECRET_WARNING_SECONDS))
        })
    }
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, unit, help }
}

/// The extension's versions.
pub const EXTENSION: Family = Family {
    name: "billing_rpc_extension",
    kind: Kind::Info,
    unit: "",
    help: "Versions of the schema and of the library.",
};
/// What health says.
pub const HEALTH: Family =
    gauge("billing_rpc_health", "", "1 where the check of billing.health() passes, 0 where it has advice.");
/// Events taken in.
pub const EVENTS_RECEIVED: Family = Family {
    name: "billing_rpc_events_received",
    kind: Kind::Counter,
    unit: "",
    help: "Webhook events stored since the server's statistics began, those of calls that were rolled back included.",
};
/// Entries booked.
pub const LEDGER_ENTRIES: Family = Family {
    name: "billing_rpc_ledger_entries",
    kind: Kind::Counter,
    unit: "",
    help: "Ledger entries written since the server's statistics began, those of calls that were rolled back included.",
};
/// Events not completed.
pub const UNFINISHED_EVENTS: Family = gauge(
    "billing_rpc_unfinished_events",
    "",
    "Webhook events that are not completed, by provider and status; counted up to 100000 in all.",
);
/// Events that nobody signed.
pub const UNSIGNED_EVENTS: Family = gauge(
    "billing_rpc_unsigned_events",
    "",
    "Webhook events let in without a signature by e2e_test_mode; counted up to 100000.",
);
/// Age of the oldest due event.
pub const OLDEST_DUE: Family = gauge(
    "billing_rpc_oldest_due_event_age_seconds",
    "seconds",
    "For how long the event that waits longest has been due to be processed here; 0 if none is.",
);
/// Claims whose owners are gone.
pub const LEASES_RAN_OUT: Family =
    gauge("billing_rpc_leases_ran_out", "", "Claimed events whose lease ran out, counted up to 100000.");
/// Requests for a truth.
pub const REFETCH_QUEUE: Family = gauge(
    "billing_rpc_refetch_queue_length",
    "",
    "Subscriptions whose truth is to be fetched from the provider, counted up to 100000.",
);
/// Age of the oldest of them.
pub const REFETCH_AGE: Family = gauge(
    "billing_rpc_refetch_queue_oldest_age_seconds",
    "seconds",
    "For how long the oldest of them has waited; 0 if there is none.",
);
/// Who there is.
pub const CUSTOMERS: Family =
    gauge("billing_rpc_customers", "", "Customers, those merged into others included.");
/// Accounts.
pub const BALANCES: Family =
    gauge("billing_rpc_balances", "", "Customers who ever had credits of the type, by credit type.");
/// What customers have.
pub const OUTSTANDING: Family = gauge(
    "billing_rpc_outstanding_credits",
    "credits",
    "Sum of all balances, by credit type; expired credits count until they are written off.",
);
/// What of it is held.
pub const HELD: Family = gauge(
    "billing_rpc_held_credits",
    "credits",
    "Of the sum of all balances, what is under holds, by credit type.",
);
/// Holds.
pub const OPEN_HOLDS: Family = gauge(
    "billing_rpc_open_holds",
    "",
    "Holds that are open and have not run out, by credit type; counted up to 100000 in all.",
);
/// Subscriptions.
pub const SUBSCRIPTIONS: Family =
    gauge("billing_rpc_subscriptions", "", "Subscriptions, by provider and status.");
/// Secrets' ends.
pub const SECRET_REMAINING: Family = gauge(
    "billing_rpc_webhook_secret_remaining_seconds",
    "seconds",
    "Time until a webhook secret ends, below zero once it has; +Inf for one that lasts until it is retired.",
);

/// Every family, in the order in which they are told; the table of docs/monitoring.md is compared with this list.
pub const FAMILIES: [&Family; 17] = [
    &EXTENSION,
    &HEALTH,
    &EVENTS_RECEIVED,
    &UNFINISHED_EVENTS,
    &UNSIGNED_EVENTS,
    &OLDEST_DUE,
    &LEASES_RAN_OUT,
    &REFETCH_QUEUE,
    &REFETCH_AGE,
    &LEDGER_ENTRIES,
    &CUSTOMERS,
    &BALANCES,
    &OUTSTANDING,
    &HELD,
    &OPEN_HOLDS,
    &SUBSCRIPTIONS,
    &SECRET_REMAINING,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// As it should be: nothing to say.
    fn well() -> Signs {
        Signs {
            due_seconds: Some(600),
            lease_over_seconds: Some(600),
            failing: false,
            dead: false,
            live: true,
            test: false,
            accepted: AcceptedMode::Any,
            secrets: vec![secret("stripe", None)],
            in_use: vec!["stripe".to_owned()],
            endpoints_given: true,
            e2e_test_mode: false,
            processing: true,
            refetch_seconds: Some(600),
            old_payloads: false,
            sources_readable: true,
            access_as_intended: true,
            version_fits: true,
        }
    }

    fn secret(provider: &str, remaining_seconds: Option<i64>) -> Secret {
        Secret { secret_id: 1, provider: provider.to_owned(), remaining_seconds, present: true }
    }

    fn failing(signs: &Signs) -> Vec<Check> {
        Check::ALL.iter().copied().filter(|check| !signs.pass(*check)).collect()
    }

    #[test]
    fn each_sign_fails_its_own_check_and_no_other() {
        assert_eq!(failing(&well()), []);
        let cases = [
            (Signs { due_seconds: Some(601), ..well() }, Check::EventsDue),
            (Signs { lease_over_seconds: Some(601), ..well() }, Check::LeasesRanOut),
            (Signs { failing: true, ..well() }, Check::FailingEvents),
            (Signs { dead: true, ..well() }, Check::DeadEvents),
            (Signs { test: true, ..well() }, Check::BothModes),
            (Signs { in_use: vec!["stripe".into(), "paystack".into()], ..well() }, Check::SecretMissing),
            (Signs { in_use: vec![], secrets: vec![], ..well() }, Check::SecretMissing),
            (Signs { secrets: vec![secret("stripe", Some(60))], ..well() }, Check::SecretEnding),
            (Signs { e2e_test_mode: true, ..well() }, Check::E2eTestMode),
            (Signs { processing: false, ..well() }, Check::WebhookMode),
            (Signs { refetch_seconds: Some(601), ..well() }, Check::RefetchQueue),
            (Signs { old_payloads: true, ..well() }, Check::OldPayloads),
            (Signs { sources_readable: false, ..well() }, Check::Sources),
            (Signs { access_as_intended: false, ..well() }, Check::Access),
            (Signs { version_fits: false, ..well() }, Check::Version),
        ];
        let mut seen = BTreeSet::new();
        for (signs, check) in cases {
            assert_eq!(failing(&signs), [check]);
            seen.insert(check.as_str());
        }
        assert_eq!(seen.len(), Check::ALL.len());
    }

    #[test]
    fn both_modes_are_no_matter_once_one_is_refused() {
        let both = |live, test, accepted| Signs { live, test, accepted, ..well() }.pass(Check::BothModes);
        for accepted in [AcceptedMode::Any, AcceptedMode::Live, AcceptedMode::Test] {
            assert_eq!(both(true, true, accepted), accepted != AcceptedMode::Any);
            assert!(
                both(true, false, accepted) && both(false, true, accepted) && both(false, false, accepted)
            );
        }
    }

    #[test]
    fn a_secret_that_ends_needs_a_successor_of_the_same_provider() {
        let check = |secrets: &[Secret]| {
            Signs { secrets: secrets.to_vec(), in_use: vec![], ..well() }.pass(Check::SecretEnding)
        };
        let day = 86_400;
        assert!(check(&[]));
        assert!(check(&[secret("stripe", Some(7 * day + 1))]));
        assert!(!check(&[secret("stripe", Some(7 * day))]));
        assert!(!check(&[secret("stripe", Some(-day))]), "over and done");
        assert!(check(&[secret("stripe", Some(-day)), secret("stripe", None)]));
        assert!(check(&[secret("stripe", Some(day)), secret("stripe", Some(30 * day))]));
        assert!(!check(&[secret("stripe", Some(day)), secret("paystack", None)]), "another's is none");
        let gone = Secret { present: false, ..secret("stripe", None) };
        assert!(!check(std::slice::from_ref(&gone)), "named, but not in the vault");
        assert!(check(&[gone, secret("stripe", None)]));
    }

    #[test]
    fn nothing_set_up_yet_is_no_fault() {
        let fresh = Signs {
            due_seconds: None,
            lease_over_seconds: None,
            live: false,
            secrets: vec![],
            in_use: vec![],
            endpoints_given: false,
            refetch_seconds: None,
            ..well()
        };
        assert_eq!(failing(&fresh), []);
    }

    #[test]
    fn the_sentences_say_the_limits_that_count() {
        let said = |check: Check, number: i64| {
            assert!(check.advice().contains(&number.to_string()), "{}", check.as_str());
        };
        said(Check::EventsDue, PATIENCE_SECONDS / 60);
        said(Check::LeasesRanOut, PATIENCE_SECONDS / 60);
        said(Check::RefetchQueue, PATIENCE_SECONDS / 60);
        said(Check::FailingEvents, FAILING_ATTEMPTS.into());
        said(Check::SecretEnding, SECRET_WARNING_SECONDS / 86_400);
        said(Check::OldPayloads, OLD_PAYLOAD_DAYS.into());
        for family in FAMILIES.iter().filter(|family| family.help.contains("counted up to")) {
            assert!(family.help.contains(&MAX_COUNTED.to_string()), "{}", family.name);
        }
    }

    #[test]
    fn names_keep_to_the_rules_of_the_format() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len(), "each once");
        for family in FAMILIES {
            let name = family.name;
            assert!(
                name.starts_with("billing_rpc_") && name.chars().all(|c| c == '_' || c.is_ascii_lowercase())
            );
            assert!(name.ends_with(family.unit), "{name} ends with its unit");
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}: the kind adds that");
            assert!(family.help.ends_with('.'), "{name}");
        }
        let checks: BTreeSet<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(checks.len(), Check::ALL.len());
    }

    /// The rows of the table under the heading, without their outer bars.
    fn table(heading: &str) -> Vec<String> {
        include_str!("../../docs/monitoring.md")
            .lines()
            .skip_while(|line| *line != heading)
            .skip(1)
            .take_while(|line| !line.starts_with("## "))
            .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |").map(str::to_owned))
            .collect()
    }

    #[test]
    fn the_documentation_lists_these_checks() {
        let real: Vec<_> =
            Check::ALL.iter().map(|check| format!("{}` | {}", check.as_str(), check.advice())).collect();
        assert_eq!(table("## Health"), real);
    }

    #[test]
    fn the_documentation_lists_these_metrics() {
        let real: Vec<_> = FAMILIES
            .iter()
            .map(|family| format!("{}` | {} | {}", family.sample_name(), family.kind.as_str(), family.help))
            .collect();
        assert_eq!(table("## Metrics"), real);
    }
}
