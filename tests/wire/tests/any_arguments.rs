//! Every function of the extension, called with whatever Postgres can read into its parameters.
//!
//! - The backend lives: no panic, no XX..., whatever comes.
//! - Clients' functions never raise; a detail is one of those in docs/reasons.md.
//! - Operators' functions raise 22023 at most, in sentences that hold nothing of the arguments.
//! - Where Postgres itself cannot read a value into the type, nothing of ours has run: that is told apart by
//!   trying the casts alone.
//! - The books are right afterwards, and the backend's memory does not grow with the number of calls.
//!
//! The settings through which PostgREST hands over a request are arguments, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use billing_wire::arguments::{self, Function, Pool};
use billing_wire::cluster::{Cluster, Database, root};
use billing_wire::session::{Admin, Call, Provider};
use billing_wire::{Tested, figure, paystack, random, run, sized, stripe};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Statement};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("any_arguments::of_every_function", || run(of_every_function()));
    add("any_arguments::in_bounded_memory", || run(in_bounded_memory()));
}

/// A call, with the settings of the request that it comes with.
struct Attempt<'a> {
    function: &'a Function,
    arguments: Vec<Option<String>>,
    settings: [String; 3],
    commit: bool,
}

const SETTINGS: [&str; 3] = ["request.headers", "request.jwt.claims", "request.jwt.claim.sub"];

/// The codes in docs/reasons.md.
fn details() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/reasons.md")).expect("docs/reasons.md");
    let code = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let codes: BTreeSet<String> = page.lines().filter_map(code).collect();
    assert!(codes.len() > 100 && codes.contains("user_id_blank"), "{}", codes.len());
    codes
}

fn pool() -> Pool {
    Pool::new(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures"))
}

async fn stage(pool: &mut Pool) -> (Database, Admin) {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    admin
        .run(
            "SELECT billing.define_plan('any_plan', 5000, 'ngn', 'month', price_ids => '{price_any}', credits_per_period => 7);
             SELECT billing.define_pack('any_pack', 100, 5000, 'usd');
             CREATE TABLE public.any_users (id uuid, email text);",
        )
        .await;
    let mut client = database.application();
    for call in [
        Call::grant("7", 1_000, "any start"),
        Call::purchase("8", 500, "any purchase"),
        Call::hold("7", 10, "any hold"),
        Call::register("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee").email("any@wire.example").customer("cus_any"),
        Call::claim("evt_any_held"),
        Call::start_payment("any_started", "7", "any_plan", 5_000),
    ] {
        let answer = client.call(&call).await;
        assert_eq!(answer.why(), "applied", "{call:?}");
        pool.learn_row(&Value::Object(answer.0));
    }
    (database, admin)
}

/// Arguments for the function; a webhook's body is signed more often than not.
fn attempt<'a>(random: &mut StdRng, pool: &Pool, function: &'a Function) -> Attempt<'a> {
    let odd = *[0.03, 0.1, 0.4, 0.8].choose(random).expect("one");
    let mut arguments: Vec<Option<String>> =
        function.parameters.iter().map(|parameter| pool.value(random, parameter, odd)).collect();
    let text = |random: &mut StdRng| match random.random_range(0..4) {
        0 => arguments::json_text(random),
        1 => arguments::any_text(random),
        _ => String::new(),
    };
    let mut settings = [text(random), text(random), text(random)];
    if random.random_bool(0.7) {
        let place = |sought: &[&str]| {
            function.parameters.iter().position(|parameter| sought.contains(&parameter.name.as_str()))
        };
        let (provider, body) = pool.event(random);
        let signature = provider.sign(&body);
        let endpoint = function.name.ends_with("_webhook") && function.parameters.len() == 1;
        if let (Some(payload), Some(header)) =
            (place(&["payload"]), place(&["signature_header", "signature"]))
        {
            if function.parameters[payload].sql_type == "text" {
                arguments[payload] = Some(body);
                arguments[header] = Some(signature);
            }
        } else if endpoint {
            settings[0] = json!({ provider.header_name(): signature }).to_string();
            arguments[0] = Some(body);
        }
    }
    // What is set for all calls to come would make them all alike.
    let lasting = ["billing.set_", "billing.retire_"].iter().any(|start| function.name.starts_with(start));
    Attempt { function, arguments, settings, commit: !lasting && random.random_bool(0.7) }
}

/// A backend that calls, with its statements.
struct Caller<'a> {
    admin: &'a Admin,
    statements: BTreeMap<&'a str, Statement>,
    settings: Statement,
}

impl<'a> Caller<'a> {
    async fn new(admin: &'a Admin, functions: &'a [Function]) -> Caller<'a> {
        let mut statements = BTreeMap::new();
        for function in functions {
            let statement = admin.client().prepare(&function.sql()).await.expect("a callable function");
            statements.insert(function.name.as_str(), statement);
        }
        let [a, b, c] = SETTINGS;
        let settings = format!(
            "SELECT set_config('{a}', $1, true), set_config('{b}', $2, true), set_config('{c}', $3, true)"
        );
        let settings = admin.client().prepare(&settings).await.expect("settings");
        Caller { admin, statements, settings }
    }

    /// The rows of the call.
    async fn call(&self, attempt: &Attempt<'_>) -> Result<Vec<Value>, Error> {
        let client = self.admin.client();
        let role = attempt.function.role.as_deref().map(|role| format!("; SET LOCAL ROLE {role}"));
        client.batch_execute(&format!("BEGIN{}", role.unwrap_or_default())).await?;
        let [a, b, c] = &attempt.settings;
        client.query_one(&self.settings, &[a, b, c]).await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            attempt.arguments.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let answer = client.query(&self.statements[attempt.function.name.as_str()], &values).await;
        let end = if answer.is_ok() && attempt.commit { "COMMIT" } else { "ROLLBACK" };
        client.batch_execute(end).await?;
        let parse = |row: &tokio_postgres::Row| {
            row.get::<_, Option<&str>>(0)
                .map_or(Value::Null, |text| serde_json::from_str(text).expect("JSON"))
        };
        Ok(answer?.iter().map(parse).collect())
    }

    /// Whether Postgres cannot read the arguments, so that nothing of ours has run.
    async fn are_unreadable(&self, attempt: &Attempt<'_>) -> bool {
        let sql = format!("SELECT {}", attempt.function.casts());
        let values: Vec<&(dyn ToSql + Sync)> =
            attempt.arguments.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.admin.client().execute(&sql, &values).await.is_err()
    }
}

fn shown(attempt: &Attempt) -> String {
    let cut = |text: &str| format!("{:?} ({} bytes)", text.chars().take(80).collect::<String>(), text.len());
    let arguments = attempt.arguments.iter().map(|value| value.as_deref().map_or("null".to_owned(), cut));
    let settings = attempt.settings.iter().map(|value| cut(value));
    format!(
        "{}({})\n    with settings {}",
        attempt.function.name,
        arguments.collect::<Vec<_>>().join(", "),
        settings.collect::<Vec<_>>().join(", ")
    )
}

/// What an operator's function may say to refuse.
fn check_refusal(attempt: &Attempt, error: &Error) {
    let told = || format!("{}: {error:?}", shown(attempt));
    assert!(!attempt.function.is_for_clients, "a client's function raised: {}", told());
    let refusal = error.as_db_error().unwrap_or_else(|| panic!("the backend is gone: {}", told()));
    assert_eq!(refusal.code().code(), "22023", "{}", told());
    let texts = [Some(refusal.message()), refusal.detail(), refusal.hint()];
    let given = attempt.arguments.iter().flatten();
    for given in given.filter(|given| given.len() >= 12 && !given.contains(char::is_whitespace)) {
        let repeated = texts.iter().flatten().any(|text| text.contains(given.as_str()));
        assert!(!repeated, "the error repeats an argument: {}", told());
    }
}

/// What holds of every row.
fn check_row(attempt: &Attempt, row: &Value, details: &BTreeSet<String>) {
    let what = || format!("{}: {row}", shown(attempt));
    if let Some(detail) = row.get("detail").and_then(Value::as_str) {
        assert!(details.contains(detail), "an unknown detail: {}", what());
    }
    let Some(reason) = row.get("reason").and_then(Value::as_str) else { return };
    let reasons = ["applied", "replay", "duplicate", "invalid", "ignored", "failed"];
    assert!(reasons.contains(&reason), "{}", what());
    assert_eq!(row["applied"] == true, reason == "applied", "{}", what());
    assert!(reason != "invalid" || row["detail"].is_string(), "{}", what());
    // An error that stopped an event's processing is one that should have been an answer.
    assert_ne!(row["detail"], "internal_error", "{}", what());
}

async fn of_every_function() {
    let mut pool = pool();
    let (_database, admin) = stage(&mut pool).await;
    let details = details();
    let functions = arguments::functions(&admin).await;
    assert!(functions.len() > 45, "{}", functions.len());
    let caller = Caller::new(&admin, &functions).await;
    let mut random = random(90);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut tally = BTreeMap::from([("answered", 0_usize), ("refused", 0), ("unreadable", 0)]);
    let calls = sized(40, 1_000) * functions.len();
    for number in 0..calls {
        let function = &functions[number % functions.len()];
        let attempt = attempt(&mut random, &pool, function);
        match caller.call(&attempt).await {
            Ok(rows) => {
                *tally.entry("answered").or_default() += 1;
                for row in &rows {
                    check_row(&attempt, row, &details);
                    if let Some(reason) = row.get("reason").and_then(Value::as_str) {
                        *reasons.entry(format!("{} {reason}", function.name)).or_default() += 1;
                    }
                    pool.learn_row(row);
                }
                for (parameter, value) in function.parameters.iter().zip(&attempt.arguments) {
                    let applied = rows.first().is_some_and(|row| row["applied"] == true);
                    if let Some(value) = value.as_ref().filter(|_| applied) {
                        pool.learn(&parameter.name, value);
                    }
                }
            }
            Err(_) if caller.are_unreadable(&attempt).await => *tally.entry("unreadable").or_default() += 1,
            Err(error) => {
                check_refusal(&attempt, &error);
                *tally.entry("refused").or_default() += 1;
            }
        }
    }
    let problems = admin.texts("SELECT to_jsonb(r)::text FROM billing.reconcile() r").await;
    assert!(problems.is_empty(), "{problems:?}");
    // So that the values go on going deep.
    let applied = reasons.keys().filter(|key| key.ends_with(" applied")).count();
    assert!(applied >= 12, "{reasons:#?}");
    assert!(tally["unreadable"] * 20 < calls, "{tally:?}");
    figure(|| {
        format!("{calls} calls of {} functions: {tally:?}, {applied} functions applied", functions.len())
    });
}

/// The largest value of the type that a caller may reasonably send, or unreasonably.
fn heaviest(sql_type: &str) -> Option<String> {
    let value = match sql_type {
        "text" => "x".repeat(1_000_000),
        "jsonb" | "json" => arguments::wide(100_000),
        "text[]" => format!("{{{}}}", vec!["x"; 100_000].join(",")),
        "bigint[]" => format!("{{{}}}", vec!["5"; 100_000].join(",")),
        "timestamp with time zone[]" => format!("{{{}}}", vec!["2000-01-01"; 100_000].join(",")),
        "bytea" => format!("\\x{}", "78".repeat(1_000_000)),
        "uuid" => "00000000-0000-0000-0000-000000000000".to_owned(),
        "integer" | "bigint" => "5".to_owned(),
        "boolean" => "true".to_owned(),
        "timestamp with time zone" => "2100-01-01".to_owned(),
        "interval" => "1 day".to_owned(),
        "regclass" => "billing.customers".to_owned(),
        other => panic!("no values are made of type {other} yet"),
    };
    Some(value)
}

/// All arguments at their heaviest; only those that are no text; and a body of a megabyte that is authentic.
fn heavy_attempts<'a>(function: &'a Function, pool: &Pool) -> Vec<Attempt<'a>> {
    let attempt = |arguments| Attempt { function, arguments, settings: Default::default(), commit: false };
    let all: Vec<_> = function.parameters.iter().map(|given| heaviest(&given.sql_type)).collect();
    let mut random = random(91);
    let some = |given: &arguments::Parameter| match given.sql_type.as_str() {
        "jsonb" | "json" | "text[]" | "bytea" => heaviest(&given.sql_type),
        _ => pool.value(&mut random, given, 0.0),
    };
    let some: Vec<_> = function.parameters.iter().map(some).collect();
    let mut attempts = vec![attempt(all.clone())];
    let is_mixed =
        function.parameters.iter().any(|given| ["jsonb", "text[]"].contains(&given.sql_type.as_str()));
    if is_mixed {
        attempts.push(attempt(some));
    }
    if function.name.ends_with("_webhook") && function.parameters.iter().any(|given| given.name == "payload")
    {
        let provider = if function.name.contains("paystack") { Provider::Paystack } else { Provider::Stripe };
        let note = "x".repeat(1_000_000);
        let body = match provider {
            Provider::Stripe => {
                stripe::completed("evt_heavy", stripe::session("cs_heavy", 5, json!({ "note": note })))
            }
            Provider::Paystack => {
                paystack::event("charge.success", paystack::charge(1, "heavy", 5, json!({ "note": note })))
                    .to_string()
            }
        };
        let signature = provider.sign(&body);
        attempts.push(attempt(vec![Some(body), Some(signature)]));
    }
    attempts
}

/// Memory of the backend that is its own, in KiB.
fn resident(pid: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend's status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// What a round of calls may add to the backend's memory. A call that forgot one of its heavy arguments would
/// add a megabyte each time.
const GROWTH_KIB: i64 = 2_048;

/// Memory that an allocator keeps for the next call settles; memory that is forgotten grows in every round.
const ROUNDS: usize = 4;

async fn in_bounded_memory() {
    let mut pool = pool();
    let (_database, admin) = stage(&mut pool).await;
    let functions = arguments::functions(&admin).await;
    let caller = Caller::new(&admin, &functions).await;
    let pid = admin.text("SELECT pg_backend_pid()::text").await.expect("a number");
    let calls = sized(5, 50);
    let (mut most, mut peak) = (0, 0);
    let some = functions.choose_multiple(&mut random(92), sized(12, functions.len()));
    for attempt in some.flat_map(|function| heavy_attempts(function, &pool)) {
        let mut growth = Vec::new();
        for _ in 0..ROUNDS {
            let before = resident(&pid);
            for _ in 0..calls {
                if let Err(error) = caller.call(&attempt).await {
                    check_refusal(&attempt, &error);
                }
            }
            let after = resident(&pid);
            growth.push(after - before);
            peak = peak.max(after);
            if after - before <= GROWTH_KIB {
                break;
            }
        }
        let last = *growth.last().expect("a round");
        assert!(
            last <= GROWTH_KIB,
            "rounds of {calls} calls grew the backend by {growth:?} KiB: {}",
            shown(&attempt)
        );
        most = most.max(last);
    }
    figure(|| format!("rounds of {calls} heavy calls: {most} KiB more at most, {peak} KiB at the peak"));
}
