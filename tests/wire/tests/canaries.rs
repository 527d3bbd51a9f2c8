//! Secrets and personal data: each kind is planted as a text that stands nowhere else, everything is done with
//! it that can go well or wrong, and then it is looked for in all places where something may come to light.
//! `PROMISES` says where each kind is; it must be found there and nowhere else.
//!
//! The places: every column of every table and view, the planner's statistics, a dump, the server's log,
//! pg_stat_statements (statements within functions too), pg_stat_activity, and all that a client gets: answers,
//! messages down to DEBUG5, every field of an error.
//!
//! The server is at its most talkative: log_min_messages = debug5, log_statement = all, every duration, the plan
//! of every statement within a function by auto_explain. Three settings are left, because what they print is the
//! values that the caller sends with a statement, by definition and before anything of ours runs:
//! log_parameter_max_length(_on_error) is 0, debug_print_* and auto_explain.log_verbose are off. For the same
//! reason all values are sent as bound parameters: a literal in a statement is what log_statement prints. A
//! value that Postgres cannot read into a parameter's type (a body that is no JSON, given to the endpoint that
//! takes json) is quoted by Postgres's own error.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use billing_wire::canaries::{Canaries, Ear, look_everywhere};
use billing_wire::cluster::{Cluster, Database};
use billing_wire::{Tested, paystack, run, stripe};
use serde_json::{Value, json};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("canaries::are_only_where_promised", || run(only_where_promised()));
    add("canaries::planted_leaks_are_found", || run(planted_leaks()));
}

/// A kind of canary, and the places where it is.
type Promise = (&'static str, &'static [&'static str]);

const SECRET: &str = "a webhook secret";
const SECRET_IN_HAND: &str = "a secret given to a function that keeps none";
const SIGNATURE: &str = "a signature";
const TOKEN: &str = "a claim's token";
const HEADER: &str = "another header of the request, or a claim of its token";
const FINISHED: &str = "the body of an event that is finished";
const FINISHED_SINCE: &str = "the body of an event that failed first and is finished by now";
const UNFINISHED: &str = "the body of an event that is not finished";
const KEPT: &str = "a body that payload_retention = always keeps";
const DROPPED: &str = "the body of a failed event that payload_retention = none drops";
const REFUSED_BODY: &str = "the body of a delivery that is refused";
const EMAIL: &str = "the e-mail of a customer";
const USER: &str = "the user id of a customer";
const METADATA: &str = "the metadata of a credit call";
const MESSAGE: &str = "the error message of an application";
const SUMMARY: &str = "what a claim's summary holds too much";
const ARGUMENT: &str = "an argument of a call that was refused, interrupted or broken";

const RELATION: &str = "the name of a relation that is not there";
const CONSTRAINED: &str = "a row that a constraint of the operator's own refuses";

/// Where each kind is, everywhere else it is not.
const PROMISES: &[Promise] = &[
    (SECRET, &["column webhook_secrets.secret"]),
    (SECRET_IN_HAND, &[]),
    (SIGNATURE, &[]),
    (TOKEN, &["column webhook_events.claim_token", "dump", "answer of public.claim_stripe_event"]),
    (HEADER, &[]),
    (FINISHED, &[]),
    (FINISHED_SINCE, &[]),
    (UNFINISHED, &["column webhook_events.payload", "dump"]),
    (KEPT, &["column webhook_events.payload", "dump"]),
    (DROPPED, &[]),
    (REFUSED_BODY, &[]),
    (
        EMAIL,
        &[
            "column customers.email",
            "dump",
            "answer of public.register_billing_user",
            "answer of public.resolve_billing_user",
        ],
    ),
    (
        USER,
        &[
            "column customers.user_id",
            "column customer_credits.user_id",
            "dump",
            "answer of public.register_billing_user",
            "answer of public.resolve_billing_user",
        ],
    ),
    (
        METADATA,
        &[
            "column ledger.metadata",
            "column holds.metadata",
            "column payments.metadata",
            "statistics of ledger.metadata",
            "dump",
            "answer of public.credit_history",
        ],
    ),
    (
        MESSAGE,
        &[
            "column webhook_events.error_message",
            "column failed_events.error_message",
            "column stripe_events.error_message",
            "answer of public.billing_dashboard",
            "statistics of webhook_events.error_message",
            "dump",
        ],
    ),
    (SUMMARY, &[]),
    // It says how a text is read as a source, and nothing else.
    (ARGUMENT, &["answer of billing.adoption_source"]),
    // Postgres says at DEBUG1 which relation it does not find.
    (RELATION, &["log", "notice"]),
    // Postgres shows the row; the extension's own constraints hold no text of anybody's.
    (CONSTRAINED, &["error", "log"]),
];

/// The most talkative server there is.
fn cluster() -> Arc<Cluster> {
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    let start = || {
        let settings = [
            "shared_preload_libraries=pg_stat_statements,auto_explain",
            "pg_stat_statements.track=all",
            "pg_stat_statements.track_utility=on",
            "auto_explain.log_min_duration=0",
            "auto_explain.log_nested_statements=on",
            "auto_explain.log_analyze=on",
            "auto_explain.log_triggers=on",
            "log_min_messages=debug5",
            "log_min_error_statement=debug5",
            "log_error_verbosity=verbose",
            "log_statement=all",
            "log_duration=on",
            "log_min_duration_statement=0",
            "log_lock_waits=on",
            "deadlock_timeout=50ms",
            "log_parameter_max_length=0",
            "log_parameter_max_length_on_error=0",
            // XX001 is made to happen here: without the mark by which other clusters' logs are judged.
            "log_line_prefix=%m %p %u %e ",
        ];
        let options: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
        Cluster::start("wire-canaries", &options)
    };
    CLUSTER.get_or_init(start).clone()
}

/// A database with canaries as its secrets, and who listens.
struct Stage {
    database: Database,
    canaries: Canaries,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    ear: Ear,
    stripe_secret: String,
    paystack_secret: String,
}

async fn stage(sabotage: &str) -> Stage {
    let database = cluster().database().await;
    let admin = database.admin().await;
    admin
        .run(
            "CREATE EXTENSION pg_stat_statements SCHEMA public;
             DO $$ BEGIN
                 IF to_regrole('canary_nobody') IS NULL THEN CREATE ROLE canary_nobody; END IF;
             END $$;
             SELECT billing.define_plan('canary_plan', 5000, 'ngn', 'month');",
        )
        .await;
    admin.run(sabotage).await;
    let canaries = Canaries::default();
    let heard = Arc::default();
    let ear = Ear::connect(&database, &heard).await;
    let stripe_secret = format!("whsec_{}", canaries.plant(SECRET));
    let paystack_secret = format!("sk_{}", canaries.plant(SECRET));
    let stage = Stage { database, canaries, heard, ear, stripe_secret, paystack_secret };
    for (provider, secret) in [("stripe", &stage.stripe_secret), ("paystack", &stage.paystack_secret)] {
        stage.good("billing.add_webhook_secret", &[("provider", provider), ("secret", secret)]).await;
    }
    stage
}

impl Stage {
    /// A call that does not raise; its first row.
    async fn good(&self, function: &str, given: &[(&str, &str)]) -> Value {
        let rows =
            self.ear.call(function, given).await.unwrap_or_else(|error| panic!("{function}: {error:?}"));
        rows.into_iter().next().unwrap_or(Value::Null)
    }

    /// A call whose row is to say that.
    async fn expect(&self, why: &str, function: &str, given: &[(&str, &str)]) -> Value {
        let row = self.good(function, given).await;
        let detail = row["detail"].as_str().map(|detail| format!(" / {detail}"));
        let told = format!("{}{}", row["reason"].as_str().unwrap_or_default(), detail.unwrap_or_default());
        assert_eq!(told, why, "{function}: {row}");
        row
    }

    /// A call that is to raise that.
    async fn raises(&self, sqlstate: &str, function: &str, given: &[(&str, &str)]) {
        let error = self.ear.call(function, given).await.expect_err(function);
        assert_eq!(error.code().map(|code| code.code()), Some(sqlstate), "{function}: {error:?}");
    }

    /// The signature's header of a body, made now.
    fn sign(&self, body: &str) -> String {
        let at = stripe::now();
        self.canaries.note(SIGNATURE, &stripe::v1(body, &self.stripe_secret, at));
        stripe::header_at(body, &self.stripe_secret, at)
    }

    fn sign_paystack(&self, body: &str) -> String {
        let signature = paystack::signature(body, &self.paystack_secret);
        self.canaries.note(SIGNATURE, &signature);
        signature
    }

    /// Delivers a body of Stripe by the function for callers, and says what is to be answered.
    async fn deliver(&self, why: &str, body: &str) {
        let given = [("payload", body), ("signature_header", &*self.sign(body))];
        self.expect(why, "public.process_stripe_webhook", &given).await;
    }

    /// Delivers as PostgREST does, with other headers and a token's claims beside.
    async fn deliver_raw(&self, endpoint: &str, header: &str, signature: &str, body: &str) -> Value {
        let other = self.canaries.plant(HEADER);
        let headers =
            json!({ header: signature, "authorization": format!("Bearer {other}"), "cookie": other });
        let claims = json!({ "sub": other, "email": format!("{other}@wire.example"), "role": "anon" });
        self.ear.run("BEGIN; SET LOCAL ROLE billing_webhook").await;
        let set =
            "SELECT set_config('request.headers', $1, true), set_config('request.jwt.claims', $2, true)";
        self.ear.query(set, &[&headers.to_string(), &claims.to_string()]).await.expect("settings");
        let row = self.good(endpoint, &[("", body)]).await;
        self.ear.run("COMMIT").await;
        row
    }

    /// A checkout about a person, in each of whose places a canary sits.
    fn checkout(&self, kind: &'static str, more: Value) -> String {
        let text = self.canaries.plant(kind);
        let mut session = stripe::session(
            &format!("cs_{:x}", rand::random::<u64>()),
            10,
            json!({
                "customer_details": {
                    "name": format!("Ada {text}"), "phone": text, "email": format!("{text}@wire.example"),
                    "address": { "line1": text, "city": text, "postal_code": text },
                },
                "metadata": { "user_id": "4711", "note": text, text.as_str(): 1 },
                "custom_fields": [{ "key": "k", "text": { "value": text } }],
            }),
        );
        stripe::lay_over(&mut session, more);
        stripe::completed(&format!("evt_{:x}", rand::random::<u64>()), session)
    }

    async fn set(&self, setting: &str, value: &str) {
        self.ear.run(&format!("SET billing_rpc.{setting} = '{value}'")).await;
    }
}

/// Nobody: a checkout that names no one who can be credited.
fn of_nobody(code: &str) -> Value {
    json!({ "customer": code, "metadata": { "user_id": "{{user_id}}" }, "customer_details": { "email": null } })
}

async fn only_where_promised() {
    let stage = stage("").await;
    people_and_credits(&stage).await;
    signatures(&stage).await;
    let finished_later = webhooks(&stage).await;
    claims(&stage).await;
    let activity = interrupted(&stage).await;
    every_function_by_every_role(&stage).await;
    broken(&stage).await;
    // Statistics of what is there now outlive it.
    stage.database.admin().await.run("ANALYZE").await;
    stage.deliver("applied", &finished_later).await;

    let mut seen = look_everywhere(&stage.database, &stage.canaries, &stage.heard).await;
    for text in activity {
        seen.look(&stage.canaries, "pg_stat_activity", &text);
    }
    let known: BTreeSet<&str> = PROMISES.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(stage.canaries.kinds(), known, "every kind is planted");
    let mut broken = Vec::new();
    for (kind, places) in PROMISES {
        let promised: BTreeSet<&str> = places.iter().copied().collect();
        if seen.of(kind) != promised {
            broken.push(format!("{kind}: promised {promised:?}, found {:#?}", seen.first(kind)));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    // And the server did talk: of statements within functions, of plans, of errors.
    let log = stage.database.cluster.log_text();
    for said in ["INSERT INTO billing.balances", "Query Text: ", "XX001", "42501", "57014", "DEBUG:  00000"] {
        assert!(log.contains(said), "the log holds no {said}");
    }
}

/// What goes well with people and their credits.
async fn people_and_credits(stage: &Stage) {
    let user = stage.canaries.plant_uuid(USER);
    let email = format!("{}@wire.example", stage.canaries.plant(EMAIL));
    let person = [("user_id", &*user), ("email", &*email), ("stripe_customer_id", "cus_canary")];
    stage.expect("applied", "public.register_billing_user", &person).await;
    stage.expect("replay", "public.register_billing_user", &person).await;
    for identifier in [&user, &email] {
        let found = stage.good("public.resolve_billing_user", &[("identifier", identifier)]).await;
        assert_eq!(found["found"], true);
    }
    let metadata = |kind| json!({ "note": stage.canaries.plant(kind) }).to_string();
    for (function, key, why) in [
        ("public.grant_credits", "canary grant", "applied"),
        ("public.apply_credit_purchase", "canary purchase", "applied"),
        ("public.spend_credits", "canary spend", "applied"),
        ("public.hold_credits", "canary hold", "applied"),
        ("public.grant_credits", "canary spend", "invalid / idempotency_key_reused"),
    ] {
        let noted = metadata(if why == "applied" { METADATA } else { ARGUMENT });
        let given = [("user_id", &*user), ("credits", "10"), ("idempotency_key", key), ("metadata", &*noted)];
        stage.expect(why, function, &given).await;
    }
    let started = [
        ("reference", "canary_reference"),
        ("user_id", &*user),
        ("plan", "canary_plan"),
        ("amount_minor", "5000"),
        ("currency", "ngn"),
        ("metadata", &*metadata(METADATA)),
    ];
    stage.expect("applied", "public.start_subscription_payment", &started).await;
    stage.good("public.credit_history", &[("user_id", &user)]).await;
    // An e-mail that only a payment tells of makes a customer.
    let told = format!("{}@wire.example", stage.canaries.plant(EMAIL));
    let session = stripe::session("cs_canary_by_email", 5, json!({ "customer_details": { "email": told } }));
    stage.deliver("applied", &stripe::completed("evt_canary_by_email", session)).await;
    let twice = [("user_id", &*user), ("email", &*told)];
    stage.expect("invalid / identity_conflict", "public.register_billing_user", &twice).await;
}

/// Secrets and signatures in hand, and a secret that is refused.
async fn signatures(stage: &Stage) {
    let secret = format!("whsec_{}", stage.canaries.plant(SECRET_IN_HAND));
    let body = stage.checkout(REFUSED_BODY, json!({}));
    for provider in ["paypal", ""] {
        let given = [("provider", provider), ("secret", &*secret)];
        stage.raises("22023", "billing.add_webhook_secret", &given).await;
    }
    let at = stripe::now();
    let header = stripe::header_at(&body, &secret, at);
    stage.canaries.note(SIGNATURE, &stripe::v1(&body, &secret, at));
    let hex: String = body.bytes().map(|byte| format!("{byte:02x}")).collect();
    let given = [
        ("payload", &*format!("\\x{hex}")),
        ("signature_header", &*header),
        ("secrets", &*format!("{{{secret}}}")),
    ];
    let verdict = stage.good("billing.verify_stripe_signature_with", &given).await;
    assert_eq!(verdict["valid"], true);
    // Told to whoever asks for it, and to nobody else: what it answers is the signature itself, so it is not noted.
    let other = stage.canaries.plant(SECRET_IN_HAND);
    stage.good("billing.sign_stripe_payload", &[("payload", &body), ("secret", &other)]).await;
    let verdict = [("payload", &*body), ("signature_header", &*stage.sign(&body))];
    assert_eq!(stage.good("public.verify_stripe_signature", &verdict).await["valid"], true);
    for (header, detail) in [
        (header.as_str(), "signature_mismatch"),
        ("t=1", "signature_mismatch"),
        ("nonsense", "signature_malformed"),
        (&*stripe::header_at(&body, &stage.stripe_secret, 1_000), "signature_expired"),
    ] {
        let given = [("payload", &*body), ("signature_header", header)];
        stage.expect(&format!("invalid / {detail}"), "public.process_stripe_webhook", &given).await;
    }
    let signature = paystack::signature(&body, &secret);
    stage.canaries.note(SIGNATURE, &signature);
    let given = [("payload", &*body), ("signature", &*signature)];
    stage.expect("invalid / signature_mismatch", "public.process_paystack_webhook", &given).await;
}

/// Deliveries that succeed, fail and are refused, under each setting. Answers a body that failed, and will not
/// once more.
async fn webhooks(stage: &Stage) -> String {
    for body in [
        stage.checkout(FINISHED, json!({})),
        stage.checkout(FINISHED, json!({ "payment_status": "unpaid" })),
        stage.checkout(FINISHED, json!({ "mode": "setup" })),
    ] {
        let signature = stage.sign(&body);
        let row = stage.deliver_raw("public.stripe_webhook", "stripe-signature", &signature, &body).await;
        assert_eq!(row["status"], "completed", "{row}");
        assert_eq!(
            stage.deliver_raw("public.stripe_webhook", "stripe-signature", &signature, &body).await["reason"],
            "replay"
        );
        let row = stage.deliver_raw("public.stripe_webhook", "stripe-signature", "t=1,v1=00", &body).await;
        assert_eq!(row["detail"], "signature_mismatch");
    }
    let person = stage.canaries.plant(FINISHED);
    let charge = paystack::event(
        "charge.success",
        paystack::charge(
            77,
            "canary_charge",
            10,
            json!({
                "customer": { "first_name": person, "phone": person, "email": format!("{person}@wire.example") },
                "authorization": { "account_name": person }, "metadata": { "user_id": "4711", "note": person },
            }),
        ),
    );
    let charge = charge.to_string();
    let signature = stage.sign_paystack(&charge);
    let row = stage.deliver_raw("public.paystack_webhook", "x-paystack-signature", &signature, &charge).await;
    assert_eq!(row["reason"], "applied", "{row}");

    let unfinished = stage.checkout(UNFINISHED, of_nobody("cus_canary_nobody"));
    stage.deliver("failed / unknown_user", &unfinished).await;
    stage.deliver("failed / unknown_user", &unfinished).await;
    // Finished when somebody is linked: in a call about that person.
    stage.deliver("failed / unknown_user", &stage.checkout(FINISHED, of_nobody("cus_canary_late"))).await;
    stage
        .expect(
            "applied",
            "public.register_billing_user",
            &[("legacy_id", "4712"), ("stripe_customer_id", "cus_canary_late")],
        )
        .await;
    // Fails now, and is finished after the statistics were made.
    let later = stage.checkout(FINISHED_SINCE, of_nobody("cus_canary_later"));
    stage.deliver("failed / unknown_user", &later).await;

    under_other_settings(stage).await;
    let later_link = [("legacy_id", "4713"), ("stripe_customer_id", "cus_canary_later")];
    // In one statement with nothing: the waiting event is locked elsewhere, so that it stays for later.
    let admin = stage.database.admin().await;
    admin
        .run("BEGIN; SELECT FROM billing.webhook_events WHERE customer_code = 'cus_canary_later' FOR UPDATE")
        .await;
    stage.expect("applied", "public.register_billing_user", &later_link).await;
    admin.run("COMMIT").await;
    later
}

async fn under_other_settings(stage: &Stage) {
    stage.set("payload_retention", "none").await;
    stage.deliver("failed / unknown_user", &stage.checkout(DROPPED, of_nobody("cus_canary_dropped"))).await;
    stage.set("payload_retention", "always").await;
    stage.deliver("applied", &stage.checkout(KEPT, json!({}))).await;
    stage.set("payload_retention", "until_completed").await;
    stage.set("max_attempts", "1").await;
    stage.deliver("failed / unknown_user", &stage.checkout(UNFINISHED, of_nobody("cus_canary_dead"))).await;
    stage.set("max_attempts", "10").await;
    stage.set("webhook_mode", "record").await;
    stage.deliver("ignored / recorded", &stage.checkout(FINISHED, json!({}))).await;
    stage.set("webhook_mode", "process").await;
    stage.good("public.retry_webhook_events", &[("max_events", "100")]).await;
    stage.set("webhook_mode", "off").await;
    stage.deliver("invalid / webhooks_off", &stage.checkout(REFUSED_BODY, json!({}))).await;
    stage.set("webhook_mode", "process").await;
    stage.set("max_payload_bytes", "100").await;
    stage.deliver("invalid / payload_too_large", &stage.checkout(REFUSED_BODY, json!({}))).await;
    stage.set("max_payload_bytes", "1048576").await;
    stage.set("accepted_mode", "live").await;
    stage.deliver("ignored / mode_not_accepted", &stage.checkout(FINISHED, json!({}))).await;
    stage.set("accepted_mode", "any").await;
    stage.set("e2e_test_mode", "on").await;
    let unsigned = stage.checkout(FINISHED, json!({}));
    stage.expect("applied", "public.process_stripe_webhook", &[("payload", &unsigned)]).await;
    stage.set("e2e_test_mode", "off").await;
    let no_event = json!({ "name": stage.canaries.plant(REFUSED_BODY) }).to_string();
    stage.deliver("invalid / not_an_event", &no_event).await;
    let no_json = format!("{{\"name\": {}", stage.canaries.plant(REFUSED_BODY));
    stage.deliver("invalid / payload_malformed", &no_json).await;
}

/// An application that does the business part itself.
async fn claims(stage: &Stage) {
    let claim = async |event_id: &str| {
        let summary =
            json!({ "object_id": "x", "customer_email": stage.canaries.plant(SUMMARY) }).to_string();
        let given = [("event_id", event_id), ("event_type", "wire.test"), ("payload_summary", &*summary)];
        let row = stage.expect("applied", "public.claim_stripe_event", &given).await;
        let token = row["claim_token"].as_str().expect("a token").to_owned();
        stage.canaries.note(TOKEN, &token);
        stage.expect("duplicate / in_progress", "public.claim_stripe_event", &given).await;
        token
    };
    let (failed, completed) = (claim("evt_canary_failed").await, claim("evt_canary_completed").await);
    let wrong = stage.canaries.plant_uuid(ARGUMENT);
    let message = stage.canaries.plant(MESSAGE);
    for (why, event_id, token) in [
        ("invalid / claim_lost", "evt_canary_failed", &wrong),
        ("invalid / claim_lost", "evt_canary_completed", &failed),
        ("invalid / unknown_event", "evt_canary_nobody", &wrong),
        ("applied", "evt_canary_failed", &failed),
    ] {
        let given = [("event_id", event_id), ("claim_token", &**token), ("error_message", &*message)];
        stage.expect(why, "public.fail_stripe_event", &given).await;
    }
    let given = [("event_id", "evt_canary_completed"), ("claim_token", &*completed), ("result", "{}")];
    stage.expect("applied", "public.complete_stripe_event", &given).await;
    stage.expect("replay", "public.complete_stripe_event", &given).await;
}

/// Calls that wait and are interrupted; what pg_stat_activity showed of them meanwhile, to several roles.
async fn interrupted(stage: &Stage) -> Vec<String> {
    let admin = stage.database.admin().await;
    admin
        .run("BEGIN; SELECT FROM billing.balances FOR UPDATE; SELECT FROM billing.webhook_events FOR UPDATE")
        .await;
    let metadata = json!({ "note": stage.canaries.plant(ARGUMENT) }).to_string();
    let grant = [
        ("user_id", "4711"),
        ("credits", "1"),
        ("idempotency_key", "canary waits"),
        ("metadata", &*metadata),
    ];
    let mut shown = Vec::new();
    for (setting, sqlstate) in [("statement_timeout", "57014"), ("lock_timeout", "55P03")] {
        stage.ear.run(&format!("SET {setting} = '60ms'")).await;
        stage.raises(sqlstate, "public.grant_credits", &grant).await;
        stage.ear.run(&format!("RESET {setting}")).await;
    }
    let body = stage.checkout(ARGUMENT, json!({}));
    let delivery = [("payload", body.as_str()), ("signature_header", &*stage.sign(&body))];
    for (how, sqlstate) in [("cancel", "57014"), ("terminate", "57P01")] {
        for (function, given) in
            [("public.process_stripe_webhook", &delivery[..]), ("public.grant_credits", &grant)]
        {
            let ear = Ear::connect(&stage.database, &stage.heard).await;
            let pid = ear.pid().await;
            let (answer, ()) = tokio::join!(ear.call(function, given), async {
                let look = stage.database.admin().await;
                wait_for_lock(&look, &pid).await;
                for role in ["postgres", "pg_read_all_stats", "billing_monitor", "canary_nobody"] {
                    look.run(&format!("SET ROLE {role}")).await;
                    let rows = look.texts("SELECT to_jsonb(a)::text FROM pg_stat_activity a").await;
                    assert!(rows.len() > 3);
                    shown.extend(rows.into_iter().flatten());
                    look.run("RESET ROLE").await;
                }
                look.run(&format!("SELECT pg_{how}_backend({pid})")).await;
            });
            let error = answer.expect_err("interrupted");
            assert_eq!(error.code().map(|code| code.code()), Some(sqlstate), "{error:?}");
        }
    }
    admin.run("COMMIT").await;
    shown
}

async fn wait_for_lock(admin: &billing_wire::session::Admin, pid: &str) {
    for _ in 0..500 {
        let waits = format!("SELECT wait_event_type FROM pg_stat_activity WHERE pid = {pid}");
        if admin.text(&waits).await.as_deref() == Some("Lock") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the call does not wait");
}

/// Every function, called by each role, with a canary in every place that can hold one: refused for want of
/// rights or by the rules. What is applied all the same is rolled back.
async fn every_function_by_every_role(stage: &Stage) {
    let text = stage.canaries.plant(ARGUMENT);
    let uuid = stage.canaries.plant_uuid(ARGUMENT);
    let relation = stage.canaries.plant(RELATION);
    let value = |name: &str, sql_type: &str, form: usize| match sql_type {
        "text" if name == "relation" => Some(relation.clone()),
        "text" => Some(match form {
            0 => format!("{text} x"),
            1 => format!("{text}@wire..example"),
            _ => text.repeat(20),
        }),
        "text[]" => Some(format!("{{{text},NULL}}")),
        "uuid" => Some(uuid.clone()),
        "jsonb" | "json" => Some(match form {
            0 => json!([text]).to_string(),
            1 => json!([{ "op": "grant", "user_id": text, "credits": text, text.as_str(): 1 }]).to_string(),
            _ => json!({ "id": text, text.as_str(): { "a": text } }).to_string(),
        }),
        "bytea" => Some(format!("\\x{}", text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>())),
        "bigint" | "integer" => Some("-1".to_owned()),
        _ => None,
    };
    let roles = [
        "postgres",
        "wire_application",
        "billing_webhook",
        "billing_user",
        "billing_monitor",
        "canary_nobody",
    ];
    let mut refused = 0;
    for role in roles {
        for function in stage.ear.functions() {
            let forms = if ["postgres", "wire_application"].contains(&role) { 0..3 } else { 0..1 };
            for form in forms {
                let values: Vec<_> =
                    function.parameters.iter().map(|p| value(&p.name, &p.sql_type, form)).collect();
                stage.ear.run(&format!("BEGIN; SET LOCAL ROLE {role}")).await;
                if let Err(error) = stage.ear.call_with(function, &values).await {
                    let code = error.code().map(|code| code.code()).unwrap_or_default();
                    assert!(["22023", "42501"].contains(&code), "{} as {role}: {error:?}", function.name);
                    refused += 1;
                }
                stage.ear.run("ROLLBACK").await;
            }
        }
    }
    assert!(refused > 200, "{refused}");
}

/// Rows that are not as the functions left them: the transaction ends with an error, or the event fails.
async fn broken(stage: &Stage) {
    let admin = stage.database.admin().await;
    admin
        .run(
            "CREATE FUNCTION public.canary_swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE FUNCTION public.canary_raise() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'broken on purpose'; END $$;",
        )
        .await;
    for (table, event, function, sqlstate) in [
        ("balances", "BEFORE UPDATE", "canary_swallow", "XX001"),
        ("ledger", "BEFORE INSERT", "canary_raise", "P0001"),
    ] {
        admin
            .run(&format!("CREATE TRIGGER canary {event} ON billing.{table} FOR EACH ROW EXECUTE FUNCTION public.{function}()"))
            .await;
        let metadata = json!({ "note": stage.canaries.plant(ARGUMENT) }).to_string();
        let key = stage.canaries.plant(ARGUMENT);
        let grant =
            [("user_id", "4711"), ("credits", "1"), ("idempotency_key", &*key), ("metadata", &*metadata)];
        stage.raises(sqlstate, "public.grant_credits", &grant).await;
        if sqlstate == "P0001" {
            // An event meets it within its savepoint, and keeps nothing of what was said.
            stage.deliver("failed / internal_error", &stage.checkout(UNFINISHED, json!({}))).await;
        }
        admin.run(&format!("DROP TRIGGER canary ON billing.{table}")).await;
    }
    // A constraint's error shows the row to those who may read it all.
    admin.run("ALTER TABLE billing.ledger ADD CONSTRAINT canary CHECK (credits <> 4242)").await;
    stage.ear.run("SET ROLE wire_application").await;
    let metadata = json!({ "note": stage.canaries.plant(CONSTRAINED) }).to_string();
    let grant = [
        ("user_id", "4711"),
        ("credits", "4242"),
        ("idempotency_key", "canary 4242"),
        ("metadata", &*metadata),
    ];
    stage.raises("23514", "public.grant_credits", &grant).await;
    stage.ear.run("RESET ROLE").await;
    admin.run("ALTER TABLE billing.ledger DROP CONSTRAINT canary").await;
}

/// What would show each place up, if it were not looked at.
const LEAKS: &str = "
    CREATE TABLE billing.copied (note text);
    CREATE FUNCTION public.spill_secret() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        RAISE LOG 'a secret: %', NEW.secret;
        INSERT INTO billing.copied VALUES (encode(NEW.secret::bytea, 'hex'));
        RETURN NEW;
    END $$;
    CREATE TRIGGER spill AFTER INSERT ON billing.webhook_secrets FOR EACH ROW EXECUTE FUNCTION public.spill_secret();
    CREATE FUNCTION public.spill_email() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        RAISE DEBUG 'an e-mail: %', NEW.email;
        EXECUTE format('SET application_name = %L', NEW.email);
        RETURN NEW;
    END $$;
    CREATE TRIGGER spill AFTER INSERT ON billing.customers FOR EACH ROW EXECUTE FUNCTION public.spill_email();
    CREATE FUNCTION public.spill_metadata() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        RAISE EXCEPTION 'refused' USING DETAIL = NEW.metadata;
    END $$;
    CREATE TRIGGER spill AFTER INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION public.spill_metadata();
    CREATE FUNCTION public.spill_message() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        NEW.result := coalesce(OLD.result, to_jsonb(NEW.error_message), NEW.result);
        RETURN NEW;
    END $$;
    CREATE TRIGGER spill BEFORE UPDATE ON billing.webhook_events FOR EACH ROW EXECUTE FUNCTION public.spill_message();
    ALTER TABLE billing.webhook_secrets ALTER COLUMN secret SET STATISTICS -1;
    CREATE ROLE canary_looker;
";

/// Each place is looked at: what is leaked there on purpose is found.
async fn planted_leaks() {
    let stage = stage(LEAKS).await;
    let email = format!("{}@wire.example", stage.canaries.plant(EMAIL));
    stage
        .expect("applied", "public.register_billing_user", &[("legacy_id", "4711"), ("email", &email)])
        .await;
    let metadata = json!({ "note": stage.canaries.plant(METADATA) }).to_string();
    let grant =
        [("user_id", "4711"), ("credits", "1"), ("idempotency_key", "canary"), ("metadata", &*metadata)];
    stage.raises("P0001", "public.grant_credits", &grant).await;
    let claim = [("event_id", "evt_canary"), ("event_type", "wire.test")];
    let token = stage.expect("applied", "public.claim_stripe_event", &claim).await;
    let token = token["claim_token"].as_str().expect("a token");
    let message = stage.canaries.plant(MESSAGE);
    let fail = [("event_id", "evt_canary"), ("claim_token", token), ("error_message", &*message)];
    stage.expect("applied", "public.fail_stripe_event", &fail).await;
    let token = stage.expect("applied", "public.claim_stripe_event", &claim).await;
    let token = token["claim_token"].as_str().expect("a token");
    let complete = [("event_id", "evt_canary"), ("claim_token", token)];
    stage.expect("applied", "public.complete_stripe_event", &complete).await;
    stage.expect("replay", "public.claim_stripe_event", &claim).await;
    let admin = stage.database.admin().await;
    admin.run("ANALYZE; SET ROLE canary_looker").await;
    let activity = admin.texts("SELECT to_jsonb(a)::text FROM pg_stat_activity a").await;
    let mut seen = look_everywhere(&stage.database, &stage.canaries, &stage.heard).await;
    for text in activity.iter().flatten() {
        seen.look(&stage.canaries, "pg_stat_activity", text);
    }
    for (kind, place) in [
        (SECRET, "log"),
        (SECRET, "column copied.note"),
        (SECRET, "dump"),
        (SECRET, "statistics of webhook_secrets.secret"),
        (EMAIL, "notice"),
        (EMAIL, "log"),
        (EMAIL, "pg_stat_statements"),
        (EMAIL, "pg_stat_activity"),
        (METADATA, "error"),
        (METADATA, "log"),
        (MESSAGE, "answer of public.claim_stripe_event"),
        (MESSAGE, "column webhook_events.result"),
    ] {
        assert!(seen.of(kind).contains(place), "{kind} is not found in {place}: {:?}", seen.of(kind));
    }
}
