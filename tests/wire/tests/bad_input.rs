//! Whatever Postgres can read into a parameter is answered: never an SQL error, and nothing written.

use std::collections::{BTreeMap, BTreeSet};

use billing_wire::cluster::{Cluster, Database, root};
use billing_wire::session::{Admin, Answer, Call};
use billing_wire::{Tested, figure, random, run, sized};
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("bad_input::each_parameter", || run(each_parameter()));
    add("bad_input::batches", || run(batches()));
    add("bad_input::rounds_of_retries", || run(rounds_of_retries()));
    add("bad_input::all_together", || run(all_together()));
    add("bad_input::reading_functions", || run(reading_functions()));
    add("bad_input::subscriptions", || run(subscriptions()));
    add("bad_input::end_users", || run(end_users()));
    add("bad_input::every_function_is_probed", || run(every_function_is_probed()));
}

/// One parameter: its good value, values that must be refused, and values that need only be answered.
struct Parameter {
    name: &'static str,
    sql_type: &'static str,
    good: Option<String>,
    bad: Vec<Option<String>>,
    odd: Vec<Option<String>>,
    /// How the details begin that a bad value may be answered with.
    tells: &'static [&'static str],
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

const NULL: Option<String> = None;

fn blanks() -> Vec<Option<String>> {
    ["", " ", "\t\r\n", "\u{a0}", "\u{2003}\u{3000}\u{85}"].map(text).to_vec()
}

/// Blank, or longer than any limit.
fn hopeless() -> Vec<Option<String>> {
    let mut values = blanks();
    values.push(Some("x".repeat(1_000_000)));
    values.push(Some("é".repeat(500_000)));
    values
}

/// Texts that some code would trip over; good or not depends on the parameter.
fn tricky() -> Vec<Option<String>> {
    ["'; DROP TABLE billing.ledger; --", "\u{1}\u{7f}", "\u{202e}abc", "%s%n", "\\", "a\u{301}", "😀", "NULL"]
        .map(text)
        .to_vec()
}

fn with(mut values: Vec<Option<String>>, more: &[&str]) -> Vec<Option<String>> {
    values.extend(more.iter().copied().map(text));
    values
}

fn parameter(
    name: &'static str,
    sql_type: &'static str,
    good: Option<&str>,
    bad: Vec<Option<String>>,
    odd: Vec<Option<String>>,
    tells: &'static [&'static str],
) -> Parameter {
    Parameter { name, sql_type, good: good.map(str::to_owned), bad, odd, tells }
}

/// A person with 100 credits.
const USER: &str = "7";
const USER_ID: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
/// An event that an application holds, and one that nobody knows.
const HELD: &str = "evt_held";

fn user(good: &str) -> Parameter {
    let mut bad = with(
        hopeless(),
        &[
            "null",
            "Undefined",
            "NONE",
            "NaN",
            "<id>",
            "{{user_id}}",
            "${user}",
            "0",
            "-1",
            "+1",
            "1.0",
            "9223372036854775808",
            " 42",
            "42 ",
            "42\n",
            "٤٢",
            "a@b",
            "a@@b.de",
            "a b@c.de",
            "@b.de",
            "a@b.de ",
            "cus_",
            "cus_nobody",
            "CUS_nobody",
            "cus_ x",
            "x y",
            "{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeeee",
            "'; DROP TABLE billing.ledger; --",
            "\u{1}",
        ],
    );
    bad.push(NULL);
    parameter("user_id", "text", Some(good), bad, Vec::new(), &["user_id_", "unknown_user"])
}

fn credits() -> Parameter {
    let mut bad: Vec<_> = ["0", "-1", "-9223372036854775808", "9223372036854775807"].map(text).to_vec();
    bad.push(NULL);
    parameter(
        "credits",
        "bigint",
        Some("5"),
        bad,
        Vec::new(),
        &["credits_", "insufficient_credits", "balance_overflow"],
    )
}

fn key() -> Parameter {
    let mut bad = with(hopeless(), &["billing_rpc:mine", &"k".repeat(256)]);
    bad.push(NULL);
    parameter(
        "idempotency_key",
        "text",
        Some("probe"),
        bad,
        with(tricky(), &[&"k".repeat(255)]),
        &["idempotency_key_"],
    )
}

fn credit_type() -> Parameter {
    let mut odd = with(tricky(), &["t", &"t".repeat(63)]);
    odd.push(NULL);
    parameter(
        "credit_type",
        "text",
        Some("credits"),
        with(hopeless(), &[&"t".repeat(64)]),
        odd,
        &["credit_type_"],
    )
}

fn documents(least: usize) -> Vec<Option<String>> {
    let big = |bytes: usize| Some(json!({ "a": "x".repeat(bytes) }).to_string());
    let mut values = vec![big(1_000_000)];
    if least > 0 {
        values.extend(["[]", "null", "1", "\"x\"", "true", "[{}]"].map(text));
        values.push(big(least));
    }
    values
}

fn odd_documents() -> Vec<Option<String>> {
    let mut odd = vec![NULL];
    odd.extend([r#"{"a":1e400,"b":10.50}"#, r#"{"":null}"#, r#"{"a":{"a":{"a":[[[]]]}}}"#].map(text));
    odd
}

fn metadata() -> Parameter {
    parameter("metadata", "jsonb", Some("{}"), documents(17_000), odd_documents(), &["metadata_"])
}

fn expiry() -> Parameter {
    let bad = ["infinity", "-infinity"].map(text).to_vec();
    let odd = ["4714-11-24 00:00:00 BC", "294276-12-31 23:59:59", "epoch"].map(text).to_vec();
    parameter("expires_at", "timestamptz", None, bad, odd, &["expires_at_infinite"])
}

fn entry_id() -> Parameter {
    let mut bad: Vec<_> = ["0", "-1", "-9223372036854775808", "9223372036854775807"].map(text).to_vec();
    bad.push(NULL);
    parameter("entry_id", "bigint", None, bad, Vec::new(), &["entry_id_missing", "unknown_entry"])
}

fn hold_id() -> Parameter {
    let bad = vec![
        NULL,
        text("00000000-0000-0000-0000-000000000000"),
        text("ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ];
    parameter("hold_id", "uuid", None, bad, Vec::new(), &["hold_id_missing", "unknown_hold"])
}

/// Credits of something that is there: null is all of it.
fn part(tells: &'static [&'static str]) -> Parameter {
    let bad = ["0", "-1", "-9223372036854775808", "9223372036854775807"].map(text).to_vec();
    parameter("credits", "bigint", None, bad, vec![text("1")], tells)
}

fn lifetime() -> Parameter {
    let bad = ["0", "-1", "-2147483648", "2147483647", "31622401"].map(text).to_vec();
    let odd = vec![NULL, text("1"), text("31622400")];
    parameter("ttl_seconds", "int", Some("60"), bad, odd, &["ttl_seconds_invalid"])
}

/// Batches that are none, and batches of one operation that cannot be applied.
fn operations() -> Parameter {
    let good = r#"{"op": "grant", "user_id": "7", "credits": 5, "idempotency_key": "probe"}"#;
    let mut bad = ["null", "1", "\"x\"", "true", "{}", good].map(text).to_vec();
    bad.push(NULL);
    bad.push(Some(format!("[{}]", vec!["0"; 100_001].join(","))));
    for operation in
        ["null", "7", "true", "\"grant\"", "[]", "{}", r#"{"op": null}"#, r#"{"op": 1}"#, r#"{"op": ""}"#]
    {
        bad.push(Some(format!("[{operation}]")));
    }
    // One value of a good operation changed, or one more.
    for op in ["purchase", "grant", "spend"] {
        for change in [
            json!({"op": "hold"}),
            json!({"op": "GRANT"}),
            json!({"user_id": 7}),
            json!({"user_id": null}),
            json!({"user_id": ""}),
            json!({"user_id": ["7"]}),
            json!({"credits": "5"}),
            json!({"credits": 5.5}),
            json!({"credits": null}),
            json!({"credits": 0}),
            json!({"credits": -5}),
            json!({"credits": true}),
            json!({"credits": 9_223_372_036_854_775_807_i64}),
            json!({"credits": 9_223_372_036_854_775_808_u64}),
            json!({"credits": -9_223_372_036_854_775_808_i64}),
            json!({"idempotency_key": 1}),
            json!({"idempotency_key": null}),
            json!({"idempotency_key": " "}),
            json!({"idempotency_key": "k".repeat(256)}),
            json!({"idempotency_key": "billing_rpc:mine"}),
            json!({"credit_type": 1}),
            json!({"credit_type": " "}),
            json!({"credit_type": "t".repeat(64)}),
            json!({"metadata": []}),
            json!({"metadata": "{}"}),
            json!({"metadata": {"a": "x".repeat(17_000)}}),
            json!({"expires_at": 5}),
            json!({"expires_at": "soon"}),
            json!({"expires_at": "infinity"}),
            json!({"expires_at": "2026-02-30"}),
            json!({"priority": "1"}),
            json!({"priority": 2_147_483_648_i64}),
            json!({"ttl_seconds": 1}),
            json!({"source_ref": 1}),
            json!({"source_ref": "in_1"}),
            json!({"stripe_session_id": "pi_1"}),
            json!({"amount_minor": -1, "currency": "usd"}),
            json!({"amount_minor": 1}),
            json!({"currency": "usd"}),
            json!({"": 1}),
            json!({"Credits": 5}),
        ] {
            let mut operation = json!({"op": op, "user_id": "7", "credits": 5, "idempotency_key": "probe"});
            for (key, value) in change.as_object().into_iter().flatten() {
                operation[key] = value.clone();
            }
            bad.push(Some(json!([operation]).to_string()));
        }
    }
    let tells = &[
        "operation",
        "too_many_operations",
        "unknown_operation",
        "unknown_parameter",
        "parameter_type_mismatch",
        "user_id_",
        "credits_",
        "insufficient_credits",
        "balance_overflow",
        "idempotency_key_",
        "credit_type_",
        "metadata_",
        "expires_at_",
        "source_ref_",
        "stripe_session_id_",
        "amount_",
        "currency_",
    ];
    parameter("operations", "jsonb", Some(&format!("[{good}]")), bad, Vec::new(), tells)
}

fn event_id(good: &str) -> Parameter {
    let mut bad = with(hopeless(), &[&"e".repeat(256)]);
    bad.push(NULL);
    parameter("event_id", "text", Some(good), bad, with(tricky(), &[&"e".repeat(255)]), &["event_id_"])
}

fn provider() -> Parameter {
    let mut bad = with(hopeless(), &[&"p".repeat(64)]);
    bad.push(NULL);
    parameter("provider", "text", Some("stripe"), bad, with(tricky(), &[&"p".repeat(63)]), &["provider_"])
}

fn seconds(name: &'static str, zero_is_bad: bool, tells: &'static [&'static str]) -> Parameter {
    let mut bad: Vec<_> = ["-1", "-2147483648", "2147483647", "2592001"].map(text).to_vec();
    let mut odd: Vec<_> = ["1", "2592000"].map(text).to_vec();
    odd.push(NULL);
    if zero_is_bad { &mut bad } else { &mut odd }.push(text("0"));
    parameter(name, "int", Some("60"), bad, odd, tells)
}

fn token() -> Parameter {
    let bad = vec![
        NULL,
        text("00000000-0000-0000-0000-000000000000"),
        text("ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ];
    parameter("claim_token", "uuid", None, bad, Vec::new(), &["claim_token_missing", "claim_lost"])
}

fn claim_parameters() -> Vec<Parameter> {
    let mut types = with(hopeless(), &[&"e".repeat(256)]);
    types.push(NULL);
    vec![
        event_id("evt_new"),
        parameter("event_type", "text", Some("wire.test"), types, tricky(), &["event_type_"]),
        parameter(
            "payload_summary",
            "jsonb",
            Some("{}"),
            documents(17_000),
            odd_documents(),
            &["payload_summary_"],
        ),
        seconds("lease_seconds", true, &["lease_seconds_"]),
    ]
}

fn complete_parameters() -> Vec<Parameter> {
    let mut odd = odd_documents();
    odd.extend(["[]", "null", "1"].map(text));
    vec![event_id(HELD), token(), parameter("result", "jsonb", Some("{}"), documents(0), odd, &["result_"])]
}

fn fail_parameters() -> Vec<Parameter> {
    let mut messages = hopeless();
    messages.push(NULL);
    vec![
        event_id(HELD),
        token(),
        parameter("error_message", "text", Some("no"), messages, tricky(), &["error_message_"]),
        seconds("retry_in_seconds", false, &["retry_in_seconds_"]),
    ]
}

/// A payment that is started, and its plan.
const STARTED: &str = "ref_started";
const PLAN: &str = "probe";

fn reference(good: &str, unknown: &[&str], tells: &'static [&'static str]) -> Parameter {
    let mut bad = with(hopeless(), &[&"r".repeat(256)]);
    bad.extend(unknown.iter().copied().map(text));
    bad.push(NULL);
    let odd = if unknown.is_empty() { with(tricky(), &[&"r".repeat(255)]) } else { Vec::new() };
    parameter("reference", "text", Some(good), bad, odd, tells)
}

/// What must be the plan's: anything else is refused.
fn price() -> [Parameter; 2] {
    let amounts = ["0", "1", "-1", "-9223372036854775808", "9223372036854775807"];
    let currencies = ["us", "usdd", "u$d", "us ", "usd", "zzz"];
    let and_null = |mut values: Vec<Option<String>>| {
        values.push(NULL);
        values
    };
    [
        parameter(
            "amount_minor",
            "bigint",
            Some("5000"),
            and_null(amounts.map(text).to_vec()),
            Vec::new(),
            &["amount_", "currency_without_amount"],
        ),
        parameter(
            "currency",
            "text",
            Some("ngn"),
            and_null(with(hopeless(), &currencies)),
            vec![text("NgN")],
            &["currency_", "amount_without_currency"],
        ),
    ]
}

fn start_parameters() -> Vec<Parameter> {
    let [amount, currency] = price();
    let mut plans = with(hopeless(), &["Probe", "probe ", "gold", &"p".repeat(64)]);
    plans.push(NULL);
    let long = format!("{{{}}}", "b".repeat(256));
    let many = format!("{{{}}}", (0..1_001).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    vec![
        reference("ref_new", &[], &["reference_"]),
        user(USER),
        parameter("plan", "text", Some(PLAN), plans, Vec::new(), &["plan_", "unknown_plan"]),
        amount,
        currency,
        parameter(
            "branch_ids",
            "text[]",
            Some("{main}"),
            ["{NULL,main}", "{main,\"\"}", "{\u{2003},main}", &long, &many].map(text).to_vec(),
            ["{main,main,other}", "{{main,a},{b,c}}", "{main,😀}"].map(text).to_vec(),
            &["branch_id_", "too_many_branches", "main_branch_unknown"],
        ),
        parameter(
            "main_branch_id",
            "text",
            Some("main"),
            with(hopeless(), &["Main", "main ", "other"]),
            vec![NULL],
            &["main_branch_unknown"],
        ),
        metadata(),
    ]
}

fn verify_parameters() -> Vec<Parameter> {
    let [amount, currency] = price();
    let mut statuses = blanks();
    statuses.push(NULL);
    vec![
        reference(
            STARTED,
            &["ref_nobody", "REF_STARTED", " ref_started"],
            &["reference_", "unknown_payment"],
        ),
        parameter(
            "gateway_status",
            "text",
            Some("success"),
            statuses,
            ["failed", "abandoned"].map(text).to_vec(),
            &["gateway_status_"],
        ),
        amount,
        currency,
        parameter(
            "paid_at",
            "timestamptz",
            None,
            ["infinity", "-infinity"].map(text).to_vec(),
            ["4714-11-24 00:00:00 BC", "294276-12-31 23:59:59"].map(text).to_vec(),
            &["paid_at_infinite"],
        ),
    ]
}

fn for_any_provider(mut parameters: Vec<Parameter>) -> Vec<Parameter> {
    parameters.insert(0, provider());
    parameters
}

/// What the probes are about: an event that is held, an entry, a hold.
struct Given {
    token: String,
    entry_id: i64,
    hold_id: String,
}

/// Every writing function, with its parameters.
fn writers(given: &Given) -> Vec<(&'static str, Vec<Parameter>)> {
    let code = |name, good, other: &'static str, tells| {
        let wrong = [other, "cus", "cus_", "CUS_", "cus_ x", " cus_x", "42"];
        parameter(name, "text", Some(good), with(hopeless(), &wrong), Vec::new(), tells)
    };
    let mut functions = vec![
        (
            "apply_credit_purchase",
            vec![
                user(USER),
                credits(),
                key(),
                parameter(
                    "stripe_session_id",
                    "text",
                    Some("cs_probe"),
                    with(
                        hopeless(),
                        &["cs_", "pi_1", "cs_ 1", " cs_1", "CS_1", &format!("cs_{}", "x".repeat(246))],
                    ),
                    vec![NULL, text("cs_😀")],
                    &["stripe_session_id_"],
                ),
                parameter(
                    "amount_minor",
                    "bigint",
                    Some("100"),
                    vec![NULL, text("-1"), text("-9223372036854775808")],
                    vec![text("0"), text("9223372036854775807")],
                    &["amount_", "currency_without_amount"],
                ),
                parameter(
                    "currency",
                    "text",
                    Some("usd"),
                    with(hopeless(), &["us", "usdd", "u$d", "us ", "üsd"])
                        .into_iter()
                        .chain([NULL])
                        .collect(),
                    vec![text("UsD"), text("zzz")],
                    &["currency_invalid", "amount_without_currency"],
                ),
                credit_type(),
                expiry(),
                metadata(),
                parameter(
                    "source_ref",
                    "text",
                    None,
                    with(
                        hopeless(),
                        &[
                            "stripe:",
                            "stripe:in_1",
                            "paypal:1",
                            "paystack:",
                            "stripe:pi_",
                            "cs_1",
                            "stripe: cs_1",
                            "stripe:cs_another",
                            "stripe:pi_another",
                            "paystack:another",
                            ":",
                            "STRIPE:cs_1",
                        ],
                    ),
                    vec![text("stripe:cs_probe")],
                    &["source_ref_invalid", "sources_differ"],
                ),
            ],
        ),
        (
            "grant_credits",
            vec![
                user(USER),
                credits(),
                key(),
                credit_type(),
                expiry(),
                parameter(
                    "priority",
                    "int",
                    Some("0"),
                    Vec::new(),
                    ["1", "-1", "-2147483648", "2147483647"].map(text).to_vec(),
                    &[],
                ),
                metadata(),
            ],
        ),
        ("spend_credits", vec![user(USER), credits(), key(), credit_type(), metadata()]),
        (
            "reverse_credit_entry",
            vec![entry_id(), key(), part(&["credits_not_positive", "exceeds_entry"]), metadata()],
        ),
        ("hold_credits", vec![user(USER), credits(), key(), lifetime(), credit_type(), metadata()]),
        ("capture_hold", vec![hold_id(), part(&["credits_not_positive", "exceeds_hold"])]),
        ("release_hold", vec![hold_id()]),
        ("apply_credit_batch", vec![operations()]),
        ("start_subscription_payment", start_parameters()),
        ("verify_subscription_payment", verify_parameters()),
        (
            "register_billing_user",
            vec![
                parameter(
                    "user_id",
                    "uuid",
                    Some(USER_ID),
                    Vec::new(),
                    vec![NULL, text("00000000-0000-0000-0000-000000000000")],
                    &[],
                ),
                parameter(
                    "email",
                    "text",
                    Some("probe@wire.example"),
                    with(
                        hopeless(),
                        &[
                            "a",
                            "a@b",
                            "a b@c.de",
                            "@c.de",
                            "a@",
                            "a@b@c.de",
                            " a@b.de",
                            &format!("{}@b.de", "a".repeat(250)),
                        ],
                    ),
                    vec![NULL],
                    &["email_"],
                ),
                parameter(
                    "legacy_id",
                    "bigint",
                    None,
                    ["0", "-1", "-9223372036854775808"].map(text).to_vec(),
                    vec![text("9223372036854775807")],
                    &["legacy_id_"],
                ),
                code("stripe_customer_id", "cus_probe", "CUS_x", &["stripe_customer_id_"]),
                code("paystack_customer_code", "CUS_probe", "cus_x", &["paystack_customer_code_"]),
                parameter(
                    "external_id",
                    "text",
                    None,
                    with(hopeless(), &["ext_1", "a b", "42"]),
                    Vec::new(),
                    &["external_id"],
                ),
            ],
        ),
        ("claim_stripe_event", claim_parameters()),
        ("claim_webhook_event", for_any_provider(claim_parameters())),
        ("complete_stripe_event", complete_parameters()),
        ("complete_webhook_event", for_any_provider(complete_parameters())),
        ("fail_stripe_event", fail_parameters()),
        ("fail_webhook_event", for_any_provider(fail_parameters())),
        (
            "process_stripe_webhook",
            vec![
                parameter(
                    "payload",
                    "text",
                    Some("{}"),
                    with(hopeless(), &["{", "[]", "null", "\u{feff}{}", "{}{}"])
                        .into_iter()
                        .chain([NULL])
                        .collect(),
                    Vec::new(),
                    &["signature_", "payload_"],
                ),
                parameter(
                    "signature_header",
                    "text",
                    Some("t=1,v1=00"),
                    with(hopeless(), &["t=1", "v1=x", ",,,", "t=1,t=1", "t=é,v1=0"])
                        .into_iter()
                        .chain([NULL])
                        .collect(),
                    tricky(),
                    &["signature_"],
                ),
            ],
        ),
    ];
    let payload = || {
        let bad = with(hopeless(), &["{", "[]", "null", r#"{"event":"x","data":{}}"#]);
        parameter(
            "payload",
            "text",
            Some("{}"),
            bad.into_iter().chain([NULL]).collect(),
            Vec::new(),
            &["signature_"],
        )
    };
    let signature = || {
        let bad = with(hopeless(), &["0", &"0".repeat(128), &"é".repeat(64), "sha512=00", "t=1,v1=00"]);
        parameter(
            "signature",
            "text",
            Some("00"),
            bad.into_iter().chain([NULL]).collect(),
            tricky(),
            &["signature_"],
        )
    };
    functions.push(("process_paystack_webhook", vec![payload(), signature()]));
    for parameter in functions.iter_mut().flat_map(|(_, parameters)| parameters) {
        match parameter.name {
            "claim_token" => parameter.good = text(&given.token),
            "entry_id" => parameter.good = Some(given.entry_id.to_string()),
            "hold_id" => parameter.good = text(&given.hold_id),
            _ => {}
        }
    }
    functions
}

/// The codes in core/src/outcome.rs: what may stand in `detail`.
fn codes() -> BTreeSet<String> {
    let source = std::fs::read_to_string(root().join("core/src/outcome.rs")).expect("core/src/outcome.rs");
    let list = source.split("\ndetails! {").nth(1).expect("the list of details");
    let code = |line: &str| Some(line.split_once(" = \"")?.1.split_once('"')?.0.to_owned());
    let codes: BTreeSet<String> = list.lines().take_while(|line| *line != "}").filter_map(code).collect();
    assert!(codes.len() > 50 && codes.contains("credits_missing"), "{codes:?}");
    codes
}

async fn stage() -> (Database, Admin, Given) {
    let database = Cluster::shared().database().await;
    let mut client = database.application();
    let start = client.call(&Call::grant(USER, 100, "start")).await;
    assert_eq!(start.why(), "applied");
    let hold = client.call(&Call::hold(USER, 10, "held")).await;
    assert_eq!(hold.why(), "applied");
    assert_eq!(client.call(&Call::register(USER_ID)).await.why(), "applied");
    let claim = client.call(&Call::claim(HELD)).await;
    let admin = database.admin().await;
    admin.run(&format!("SELECT billing.define_plan('{PLAN}', 5000, 'ngn', 'month')")).await;
    let payment = client.call(&Call::start_payment(STARTED, USER, PLAN, 5_000)).await;
    assert_eq!(payment.why(), "applied");
    let given = Given {
        token: claim.str("claim_token").to_owned(),
        entry_id: start.int("entry_id"),
        hold_id: hold.str("hold_id").to_owned(),
    };
    (database, admin, given)
}

fn good_call(function: &'static str, parameters: &[Parameter]) -> Call {
    parameters.iter().fold(Call::of(function), |call, p| call.with(p.name, p.sql_type, p.good.clone()))
}

fn shown(value: &Option<String>) -> String {
    match value {
        None => "null".to_owned(),
        Some(text) => format!("{:?} ({} bytes)", text.chars().take(40).collect::<String>(), text.len()),
    }
}

/// What holds of any answer: one row, a known detail, and nothing written unless it says so.
async fn probe(admin: &Admin, codes: &BTreeSet<String>, what: &str, call: &Call) -> Answer {
    let (mut rows, written) =
        admin.probe(call, false).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(rows.len(), 1, "{what}");
    let answer = rows.remove(0);
    if let Some(detail) = answer.get("detail").as_str() {
        assert!(codes.contains(detail), "{what}: {detail} is in no list");
    }
    if ["invalid", "replay", "duplicate"].contains(&answer.reason()) {
        assert_eq!(written, 0, "{what}: {answer:?} wrote something");
    } else {
        assert!(written > 0, "{what}: {answer:?} wrote nothing");
    }
    if answer.reason() == "invalid" {
        assert!(answer.get("detail").is_string(), "{what}: {answer:?} says not why");
    }
    answer
}

async fn each_parameter() {
    let (_database, admin, given) = stage().await;
    let codes = codes();
    let rows = admin.rows().await;
    let mut count = 0;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (function, parameters) in writers(&given) {
        let good = good_call(function, &parameters);
        let answer = probe(&admin, &codes, function, &good).await;
        let signed = function.starts_with("process_");
        assert!(signed || answer.reason() == "applied", "{function} with good values: {answer:?}");
        // Every parameter has a default: nothing at all is answered too.
        let bare = probe(&admin, &codes, function, &Call::of(function)).await;
        assert_eq!(bare.reason(), "invalid", "{function}()");
        for parameter in &parameters {
            for value in parameter.bad.iter().chain(&parameter.odd) {
                let what = format!("{function}({} => {})", parameter.name, shown(value));
                let call = good.clone().with(parameter.name, parameter.sql_type, value.clone());
                let answer = probe(&admin, &codes, &what, &call).await;
                count += 1;
                *seen.entry(answer.why()).or_default() += 1;
                if parameter.bad.contains(value) {
                    assert_eq!(answer.reason(), "invalid", "{what}: {answer:?}");
                    let detail = answer.str("detail");
                    let tells = parameter.tells.iter().any(|start| detail.starts_with(start));
                    assert!(tells, "{what} is answered with {detail}");
                }
            }
        }
    }
    assert_eq!(admin.rows().await, rows);
    figure(|| format!("{count} bad and odd values, {} different answers", seen.len()));
}

/// An empty batch has no answer, and bad operations among good ones have theirs each.
async fn batches() {
    let (_database, admin, _) = stage().await;
    let (rows, written) = admin.probe(&Call::batch("[]"), false).await.expect("no rows");
    assert_eq!((rows.len(), written), (0, 0));
    let good = |key: &str| json!({"op": "grant", "user_id": "7", "credits": 5, "idempotency_key": key});
    let operations = operations();
    // Only what is wrong by itself: the largest numbers are wrong or right by what came before.
    let bad: Vec<Value> = operations
        .bad
        .iter()
        .flatten()
        .filter(|json| json.len() < 100_000 && !json.contains("9223372036854775807"))
        .filter_map(|json| Some(serde_json::from_str::<Value>(json).ok()?.as_array()?.clone()))
        .flatten()
        .collect();
    assert!(bad.len() > 100, "{}", bad.len());
    let mut all: Vec<Value> = bad.clone();
    all.insert(0, good("first"));
    all.push(good("last"));
    let (rows, _) = admin.probe(&Call::batch(&json!(all).to_string()), false).await.expect("answers");
    assert_eq!(rows.len(), all.len());
    for (answer, operation) in rows.iter().zip(&all) {
        let is_good =
            operation["idempotency_key"] == json!("first") || operation["idempotency_key"] == json!("last");
        assert_eq!(answer.reason(), if is_good { "applied" } else { "invalid" }, "{operation}: {answer:?}");
    }
    assert_eq!(rows[rows.len() - 1].int("balance"), 110);
    let (rows, written) = admin.probe(&Call::batch(&json!(bad).to_string()), false).await.expect("answers");
    assert_eq!((rows.len(), written), (bad.len(), 0), "only bad ones: nothing is written");
}

/// How many events a worker may take: one refusal, or no rows where nothing is due.
async fn rounds_of_retries() {
    let (_database, admin, _) = stage().await;
    for max_events in ["0", "-1", "-2147483648"] {
        let call = Call::of("retry_webhook_events").with("max_events", "int", text(max_events));
        let answer = probe(&admin, &codes(), max_events, &call).await;
        assert_eq!(answer.why(), "invalid / max_events_invalid", "{max_events}");
    }
    for max_events in [NULL, text("1"), text("2147483647")] {
        let call = Call::of("retry_webhook_events").with("max_events", "int", max_events);
        let (rows, written) = admin.probe(&call, false).await.expect("no rows");
        assert_eq!((rows.len(), written), (0, 0), "{call:?}");
    }
}

/// Random choices for all parameters at once.
async fn all_together() {
    let (_database, admin, given) = stage().await;
    let codes = codes();
    let rows = admin.rows().await;
    let mut random = random(70);
    let writers = writers(&given);
    for _ in 0..sized(400, 20_000) {
        let (function, parameters) = writers.choose(&mut random).expect("a function");
        let mut call = Call::of(function);
        let mut bad = false;
        for parameter in parameters {
            let (value, is_bad) = match random.random_range(0..10) {
                0 if !parameter.bad.is_empty() => {
                    (parameter.bad.choose(&mut random).expect("one").clone(), true)
                }
                1 if !parameter.odd.is_empty() => {
                    (parameter.odd.choose(&mut random).expect("one").clone(), false)
                }
                // Left out: the default, which may be as bad as null.
                2 => continue,
                _ => (parameter.good.clone(), false),
            };
            // Neither amount nor currency is good again, so a null of one of the two is no sure refusal; a source
            // that differs from a session needs that session, and a main branch its branches.
            let depends =
                ["amount_minor", "currency", "source_ref", "main_branch_id"].contains(&parameter.name);
            // With another type or event the balance or the claim is another one.
            let relative = (parameter.name == "credits" && value.as_deref() == Some("9223372036854775807"))
                || parameter.name == "claim_token";
            bad |= is_bad && !depends && !relative;
            call = call.with(parameter.name, parameter.sql_type, value);
        }
        let what = format!("{function}: {}", call.literal_sql().chars().take(2_000).collect::<String>());
        let answer = probe(&admin, &codes, &what, &call).await;
        assert!(!bad || answer.reason() == "invalid", "{what}: {answer:?}");
    }
    assert_eq!(admin.rows().await, rows);
}

fn reader_values() -> Vec<Option<String>> {
    let mut values =
        with(hopeless(), &["null", "{{x}}", "0", "-1", "cus_nobody", "4711", "nobody@wire.example", USER_ID]);
    values.extend(tricky());
    values.push(NULL);
    values
}

/// Reading functions: nulls, no rows, false; in a transaction that may not write.
async fn reading_functions() {
    let (_database, admin, _) = stage().await;
    let read = async |call: &Call| match admin.probe(call, true).await {
        Ok((rows, _)) => rows,
        Err(error) => panic!("{call:?}: {error:?}"),
    };
    let is_empty = |answer: &Answer| answer.0.values().all(Value::is_null);
    let number = |value: &str| text(value);

    assert_eq!(read(&Call::balance(USER)).await[0].int("balance"), 100);
    assert_eq!(
        read(&Call::balance(USER_ID)).await[0].get("balance").as_i64(),
        Some(0),
        "known, without entries"
    );
    assert_eq!(read(&Call::history(USER)).await.len(), 1);
    for value in reader_values() {
        let known = value.as_deref() == Some(USER_ID);
        let call = Call::of("credit_balance").with("user_id", "text", value.clone());
        assert_eq!(is_empty(&read(&call).await[0]), !known, "{}", shown(&value));
        let call = Call::of("credit_balance_at").with("user_id", "text", value.clone());
        let call = call.with("at", "timestamptz", text("infinity"));
        assert_eq!(is_empty(&read(&call).await[0]), !known, "{}", shown(&value));
        let call = Call::of("credit_history").with("user_id", "text", value.clone());
        assert_eq!(read(&call).await.len(), 0, "{}", shown(&value));
        let call = Call::of("resolve_billing_user").with("identifier", "text", value.clone());
        let resolution = &read(&call).await[0];
        assert_eq!(resolution.get("found"), &json!(known), "{resolution:?}");
        assert!(known || codes().contains(resolution.str("detail")), "{resolution:?}");
        let kinds = [
            "blank",
            "placeholder",
            "stripe_customer",
            "paystack_customer",
            "uuid",
            "integer",
            "email",
            "external",
            "malformed",
        ];
        assert!(kinds.contains(&resolution.str("kind")), "{resolution:?}");
        if !known {
            let call = Call::balance(USER).with("credit_type", "text", value.clone());
            let answer = &read(&call).await[0];
            // Null reads as the default; another type is one without entries.
            let bad = hopeless().contains(&value);
            assert_eq!(is_empty(answer), bad, "{}: {answer:?}", shown(&value));
        }
    }
    for value in reader_values() {
        let payment =
            &read(&Call::of("subscription_payment_status").with("reference", "text", value)).await[0];
        assert_eq!(payment.reason(), "invalid", "{payment:?}");
        assert!(codes().contains(payment.str("detail")), "{payment:?}");
    }
    let started = Call::payment_status(STARTED);
    assert_eq!(read(&started).await[0].str("status"), "pending");
    let at = |at: Option<String>| {
        Call::of("credit_balance_at").with("user_id", "text", text(USER)).with("at", "timestamptz", at)
    };
    for (time, balance) in
        [("infinity", 100), ("294276-12-31 23:59:59", 100), ("-infinity", 0), ("4714-11-24 00:00:00 BC", 0)]
    {
        assert_eq!(read(&at(text(time))).await[0].int("balance"), balance, "{time}");
    }
    assert!(is_empty(&read(&at(NULL)).await[0]));
    for rows in ["0", "-1", "-2147483648"] {
        let call = Call::history(USER).with("max_rows", "int", number(rows));
        assert_eq!(read(&call).await.len(), 0, "{rows}");
    }
    for rows in [NULL, number("1"), number("2147483647")] {
        assert_eq!(read(&Call::history(USER).with("max_rows", "int", rows)).await.len(), 1);
    }
    for (before, found) in [("0", 0), ("-9223372036854775808", 0), ("9223372036854775807", 1)] {
        let call = Call::history(USER).with("before_entry_id", "bigint", number(before));
        assert_eq!(read(&call).await.len(), found, "{before}");
    }
    for (function, payload, signature) in [
        ("verify_stripe_signature", "payload", "signature_header"),
        ("verify_paystack_signature", "payload", "signature"),
    ] {
        for value in reader_values() {
            for parameter in [payload, signature] {
                let call = Call::of(function).with(parameter, "text", value.clone());
                let verdict = &read(&call).await[0];
                assert_eq!(verdict.get("valid"), &json!(false), "{verdict:?}");
                assert!(codes().contains(verdict.str("detail")), "{verdict:?}");
            }
        }
    }
    let call = Call::of("verify_stripe_signature").with("signature_header", "text", text("t=1,v1=00"));
    for seconds in ["-1", "-2147483648"] {
        let verdict = &read(&call.clone().with("tolerance_seconds", "int", number(seconds))).await[0];
        assert_eq!(verdict.str("detail"), "tolerance_invalid");
    }
}

/// What is said and asked of subscriptions: refused without a write, or nobody's.
async fn subscriptions() {
    let (_database, admin, _) = stage().await;
    let codes = codes();
    let good = r#"{"id": "sub_probe", "customer": "cus_probe", "status": "active"}"#;
    let update = |object: Option<String>, observed_at: Option<String>| {
        let call = Call::of("apply_subscription_update").with("subscription", "jsonb", object);
        call.with("observed_at", "timestamptz", observed_at)
    };
    for object in [
        "null",
        "7",
        "\"sub_probe\"",
        "[]",
        "[{}]",
        "{}",
        r#"{"id": 7, "customer": "cus_probe", "status": "active"}"#,
        r#"{"id": " ", "customer": "cus_probe", "status": "active"}"#,
        r#"{"id": "sub_probe", "status": "active"}"#,
        r#"{"id": "sub_probe", "customer": "CUS_probe", "status": "active"}"#,
        r#"{"id": "sub_probe", "customer": {"id": []}, "status": "active"}"#,
        r#"{"id": "sub_probe", "customer": "cus_probe"}"#,
        r#"{"id": "sub_probe", "customer": "cus_probe", "status": "ACTIVE"}"#,
        r#"{"id": "sub_probe", "customer": "cus_probe", "status": {"a": 1}}"#,
    ] {
        let answer = probe(&admin, &codes, object, &update(text(object), NULL)).await;
        assert_eq!(answer.reason(), "invalid", "{object}: {answer:?}");
    }
    assert_eq!(probe(&admin, &codes, "null", &update(NULL, NULL)).await.reason(), "invalid");
    for at in ["infinity", "-infinity"] {
        let answer = probe(&admin, &codes, at, &update(text(good), text(at))).await;
        assert_eq!(answer.reason(), "invalid", "{at}: {answer:?}");
    }
    let ancient = update(text(good), text("4714-11-24 00:00:00 BC"));
    assert_eq!(probe(&admin, &codes, "ancient", &ancient).await.reason(), "applied");

    let read = async |call: &Call| admin.probe(call, true).await.expect("an answer").0;
    for value in reader_values() {
        let call = Call::of("subscription_status").with("user_id", "text", value.clone());
        let state = &read(&call).await[0];
        assert!(state.0.values().all(Value::is_null), "{}: {state:?}", shown(&value));
    }
    for max_rows in [NULL, text("0"), text("-2147483648"), text("2147483647")] {
        assert!(read(&Call::of("pending_refetches").with("max_rows", "int", max_rows)).await.is_empty());
    }
    assert!(read(&Call::of("my_subscription")).await[0].0.values().all(Value::is_null));
    let booleans = admin.texts(
        "SELECT DISTINCT answer::text FROM (
             SELECT has_active_subscription(plan) FROM unnest(ARRAY[NULL, '', ' ', 'no such plan', repeat('x', 1000000)]) plan
             UNION ALL
             SELECT can_transition_subscription(a, b) FROM unnest(ARRAY[NULL, '', 'ACTIVE', 'gone']) a, unnest(ARRAY[NULL, 'active']) b
         ) AS answers (answer)",
    );
    assert_eq!(booleans.await, [Some("false".to_owned())]);
}

/// What an end user asks about themselves, signed in as the person with 100 credits.
async fn end_users() {
    let (_database, admin, _) = stage().await;
    let read = async |call: &Call| match admin.probe(call, true).await {
        Ok((rows, _)) => rows,
        Err(error) => panic!("{call:?}: {error:?}"),
    };
    let claims = format!("{{\"sub\": \"{USER}\"}}");
    admin.texts(&format!("SELECT set_config('request.jwt.claims', '{claims}', false)")).await;
    let of = |function, value| Call::of(function).with("credit_type", "text", value);
    assert_eq!(read(&of("my_credits", NULL)).await[0].int("balance"), 100);
    for value in reader_values().into_iter().filter(Option::is_some) {
        let credits = &read(&of("my_credits", value.clone())).await[0];
        let bad = hopeless().contains(&value);
        assert_eq!(credits.0.values().all(Value::is_null), bad, "{}: {credits:?}", shown(&value));
        assert!(read(&of("my_credit_history", value)).await.is_empty());
    }
    for (parameter, sql_type, value, found) in [
        ("max_rows", "int", "0", 0),
        ("max_rows", "int", "-2147483648", 0),
        ("max_rows", "int", "2147483647", 1),
        ("before_entry_id", "bigint", "-9223372036854775808", 0),
        ("before_entry_id", "bigint", "9223372036854775807", 1),
    ] {
        let call = Call::of("my_credit_history").with(parameter, sql_type, text(value));
        assert_eq!(read(&call).await.len(), found, "{parameter} {value}");
    }
    let enough = admin.texts(
        "SELECT string_agg(credits || ' ' || coalesce(credit_type, 'null'), ', ' ORDER BY credits)
         FROM unnest('{-9223372036854775808, -1, 0, 1, 100, 101, 9223372036854775807, null}'::bigint[]) credits,
             unnest(ARRAY[NULL, '', ' ', 'no such type', repeat('x', 1000000)]) credit_type
         WHERE has_credits(credits, credit_type)",
    );
    // Some of the 100 are held.
    assert_eq!(enough.await, [Some("1 null".to_owned())]);
}

/// A function that the application may call and that no test here probes is an oversight.
async fn every_function_is_probed() {
    let (_database, admin, given) = stage().await;
    let callable = admin
        .texts(
            "SELECT DISTINCT p.proname::text FROM pg_proc p
             JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
             JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'billing_rpc'
             WHERE p.pronamespace = 'public'::regnamespace
                 AND has_function_privilege('wire_application', p.oid, 'EXECUTE')
             ORDER BY 1",
        )
        .await;
    let mut probed: BTreeSet<&str> = writers(&given).into_iter().map(|(function, _)| function).collect();
    probed.extend([
        "credit_balance",
        "credit_balance_at",
        "credit_history",
        "resolve_billing_user",
        "verify_stripe_signature",
        "verify_paystack_signature",
        "subscription_payment_status",
        "retry_webhook_events",
        "apply_subscription_update",
        "can_transition_subscription",
        "has_active_subscription",
        "has_credits",
        "my_credit_history",
        "my_credits",
        "my_subscription",
        "pending_refetches",
        "subscription_status",
        // By raw_bodies.
        "stripe_webhook",
        "paystack_webhook",
    ]);
    let missing: Vec<_> = callable.iter().flatten().filter(|name| !probed.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not probed: {missing:?}");
    assert_eq!(callable.len(), probed.len(), "{callable:?}");
}
