//! Many clients on few customers, everything that the ledger can do, and backends that are ended in the
//! middle of it: the books stay right, what was acknowledged is there, and nothing is there twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use billing_wire::books::check_tables;
use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Admin, Answer, Call, Session, is_retryable};
use billing_wire::{Tested, figure, iso, random, run, sized, stripe};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("ledger_crashes::books_stay_right", || run(books_stay_right()));
}

const CLIENTS: usize = 32;
const CUSTOMERS: i64 = 20;

/// A call that was sent, and what was acknowledged of it.
struct Sent {
    name: String,
    call: Call,
    acknowledged: Option<Vec<Answer>>,
}

/// What all clients know, so that they reverse and capture each other's.
#[derive(Default)]
struct Known {
    entries: Mutex<Vec<i64>>,
    holds: Mutex<Vec<String>>,
    stop: AtomicBool,
}

fn pick<T: Clone>(random: &mut StdRng, from: &Mutex<Vec<T>>) -> Option<T> {
    let all = from.lock().expect("known");
    // The newest most often: those are the ones that others end too.
    let newest = all.len().saturating_sub(20);
    all[newest..].choose(random).cloned()
}

fn terms(random: &mut StdRng, call: Call) -> Call {
    match random.random_range(0..4) {
        0 => call.with("priority", "int", Some(random.random_range(-2..3).to_string())),
        1 => call.with("expires_at", "timestamptz", Some(iso(stripe::now() + random.random_range(-1..4)))),
        2 => call.with("expires_at", "timestamptz", Some("2999-01-01T00:00:00Z".to_owned())),
        _ => call,
    }
}

fn call(random: &mut StdRng, known: &Known, name: &str) -> Call {
    let user = random.random_range(1..=CUSTOMERS).to_string();
    let credits = random.random_range(1..50);
    match random.random_range(0..20) {
        0..4 => terms(random, Call::grant(&user, credits, name)),
        4..6 => Call::purchase(&user, credits, name).source(&format!("stripe:pi_{name}")),
        6..10 => Call::spend(&user, credits, name),
        10..12 => {
            let seconds = *[1, 2, 900].choose(random).expect("one");
            Call::hold(&user, credits, name).with("ttl_seconds", "int", Some(seconds.to_string()))
        }
        12..15 => match (pick(random, &known.holds), random.random_range(0..3)) {
            (None, _) => Call::spend(&user, credits, name),
            (Some(hold), 0) => Call::release(&hold),
            (Some(hold), 1) => Call::capture(&hold, Some(credits)),
            (Some(hold), _) => Call::capture(&hold, None),
        },
        15..18 => match pick(random, &known.entries) {
            None => Call::grant(&user, credits, name),
            Some(entry) => Call::reverse(entry, name, random.random_bool(0.5).then_some(credits / 4 + 1)),
        },
        _ => Call::batch(&batch(random, name)),
    }
}

fn batch(random: &mut StdRng, name: &str) -> String {
    let operations: Vec<Value> = (0..random.random_range(1..8))
        .map(|place| {
            let user = random.random_range(1..=CUSTOMERS).to_string();
            let credits = random.random_range(1..20);
            let key = format!("{name}_{place}");
            match random.random_range(0..4) {
                0 => json!({"op": "purchase", "user_id": user, "credits": credits, "idempotency_key": key,
                            "source_ref": format!("paystack:{key}")}),
                1 => json!({"op": "grant", "user_id": user, "credits": credits, "idempotency_key": key,
                            "priority": random.random_range(-1..2)}),
                _ => json!({"op": "spend", "user_id": user, "credits": credits, "idempotency_key": key}),
            }
        })
        .collect();
    json!(operations).to_string()
}

/// Works until told to stop. Some calls are given up when the connection is lost, the others are sent again.
async fn work(database: Database, number: usize, known: Arc<Known>) -> Vec<Sent> {
    let mut random = random(700 + number as u64);
    let mut client = database.application();
    let mut sent: Vec<Sent> = Vec::new();
    while !known.stop.load(Ordering::Relaxed) {
        let name = format!("{number}_{}", sent.len());
        let call = call(&mut random, &known, &name);
        let hasty = random.random_bool(0.4);
        let mut acknowledged = None;
        while acknowledged.is_none() && !known.stop.load(Ordering::Relaxed) {
            match client.try_rows(&call).await {
                Ok(answers) => acknowledged = Some(answers),
                Err(error) => {
                    assert!(is_retryable(&error), "{call:?}: {error:?}");
                    client.disconnect();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    if hasty {
                        break;
                    }
                }
            }
        }
        for answer in acknowledged.iter().flatten().filter(|answer| answer.reason() == "applied") {
            if let Some(entry) = answer.0.get("entry_id").and_then(Value::as_i64) {
                known.entries.lock().expect("known").push(entry);
            }
            if call.function() == "hold_credits" {
                known.holds.lock().expect("known").push(answer.str("hold_id").to_owned());
            }
        }
        sent.push(Sent { name, call, acknowledged });
    }
    sent
}

/// Ends backends: most as an operator does, and once in a while as the memory killer does, after which the
/// server restarts itself. How many of each.
async fn disturb(cluster: &Arc<Cluster>, database: &Database) -> (i64, usize) {
    let mut random = random(699);
    let (mut ended, mut killed) = (0, 0);
    for round in 0..sized(8, 200) {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..300))).await;
        let Ok(admin) = Admin::try_connect(cluster, &database.name).await else { continue };
        if round % sized(4, 20) == sized(4, 20) - 1 {
            let pid = "SELECT pid FROM pg_stat_activity WHERE usename = 'wire_application' ORDER BY random() LIMIT 1";
            if let Ok(row) = admin.client().query_one(pid, &[]).await {
                killed += usize::from(cluster.kill(row.get::<_, i32>(0).unsigned_abs()));
            }
            continue;
        }
        let expired = admin.client().query("SELECT billing.expire_credits(100)", &[]).await;
        assert!(expired.is_ok() || expired.as_ref().is_err_and(is_retryable), "{expired:?}");
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM (
                       SELECT pid FROM pg_stat_activity WHERE usename = 'wire_application'
                       ORDER BY random() LIMIT 4) chosen";
        match admin.client().query_one(sql, &[]).await {
            Ok(row) => ended += row.get::<_, i64>(0),
            Err(error) => assert!(is_retryable(&error), "{error:?}"),
        }
    }
    (ended, killed)
}

async fn books_stay_right() {
    let options = ["--durable", "-c", "restart_after_crash=on"];
    let cluster = Cluster::start("wire-ledger", &options);
    let database = cluster.database().await;
    let mut setup = database.application();
    for user in 1..=CUSTOMERS {
        setup.call(&Call::grant(&user.to_string(), 500, &format!("start{user}"))).await;
    }
    setup.disconnect();

    let known = Arc::new(Known::default());
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(work(database.clone(), number, known.clone()));
    }
    let (ended, killed) = disturb(&cluster, &database).await;
    known.stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    while let Some(done) = tasks.join_next().await {
        sent.extend(done.expect("a client"));
    }
    let seconds = begun.elapsed().as_secs_f64();

    let admin = calm(&database).await;
    check(&admin).await;
    everything_acknowledged_is_there(&admin, &sent).await;
    let tally = nothing_twice(&database, &sent).await;
    check(&admin).await;
    let in_doubt = sent.iter().filter(|sent| sent.acknowledged.is_none()).count();
    assert!(
        ended > 0 && killed > 0 && in_doubt > 0,
        "no client was disturbed: {ended}, {killed}, {in_doubt}"
    );
    figure(|| {
        format!(
            "{} calls in {seconds:.1} s, {ended} backends terminated, {killed} killed, {in_doubt} calls in doubt; {tally:?}",
            sent.len()
        )
    });
}

/// Once the server has recovered.
async fn calm(database: &Database) -> Admin {
    for _ in 0..100 {
        if let Ok(admin) = Admin::try_connect(&database.cluster, &database.name).await {
            return admin;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the server is not back");
}

async fn check(admin: &Admin) {
    check_tables(admin).await;
    let problems = admin.texts("SELECT to_jsonb(p)::text FROM billing.reconcile() p").await;
    assert!(problems.is_empty(), "{problems:?}");
}

/// Every entry and hold that a client was told of is there as it was told, and nothing that was refused.
async fn everything_acknowledged_is_there(admin: &Admin, sent: &[Sent]) {
    let rows = |sql: &'static str| async move {
        admin.texts(sql).await.into_iter().flatten().collect::<HashSet<String>>()
    };
    let entries = rows(
        "SELECT concat_ws('|', entry_id, customer_id, credit_type, credits, balance_after) FROM billing.ledger",
    )
    .await;
    let holds = rows(
        "SELECT concat_ws('|', hold_id, customer_id, credits) FROM billing.holds
         UNION ALL SELECT concat_ws('|', hold_id, customer_id, credits, status, captured_credits) FROM billing.holds
         WHERE status IN ('captured', 'released')",
    )
    .await;
    let keys = rows(
        "SELECT idempotency_key FROM billing.ledger UNION ALL SELECT idempotency_key FROM billing.holds",
    )
    .await;
    for sent in sent {
        for (place, answer) in sent.acknowledged.iter().flatten().enumerate() {
            if answer.reason() == "invalid" {
                let batch = sent.call.function() == "apply_credit_batch";
                let key = if batch { format!("{}_{place}", sent.name) } else { sent.name.clone() };
                assert!(!keys.contains(&key), "{:?} was refused with {answer:?} and is there", sent.call);
            }
            if !["applied", "replay"].contains(&answer.reason()) {
                continue;
            }
            let told: Vec<String> =
                ["entry_id", "hold_id", "customer_id", "credit_type", "credits", "balance"]
                    .iter()
                    .filter_map(|column| answer.0.get(*column))
                    .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                    .collect();
            let there = match sent.call.function() {
                "hold_credits" => {
                    holds.contains(&[&told[0], &told[1], &told[3]].map(String::as_str).join("|"))
                }
                "capture_hold" => {
                    let end = format!("captured|{}", answer.int("captured_credits"));
                    holds.contains(&[&told[0], &told[1], &told[3], &end].map(String::as_str).join("|"))
                }
                "release_hold" => holds
                    .contains(&[&told[0], &told[1], &told[3], "released"].map(|text: &str| text).join("|")),
                _ => entries.contains(&told.join("|")),
            };
            assert!(there, "{:?} was acknowledged with {answer:?} and is not there", sent.call);
        }
    }
}

/// Everything again: what was applied is a replay of the same numbers, and no hold has ended twice.
async fn nothing_twice(database: &Database, sent: &[Sent]) -> BTreeMap<String, usize> {
    let mut client = database.application();
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    let mut ends: HashMap<&str, usize> = HashMap::new();
    for sent in sent {
        let function = sent.call.function();
        for answer in sent.acknowledged.iter().flatten() {
            *tally.entry(format!("{function}: {}", answer.why())).or_default() += 1;
            if ["capture_hold", "release_hold"].contains(&function) && answer.reason() == "applied" {
                *ends.entry(answer.str("hold_id")).or_default() += 1;
            }
        }
        let answers = again(&mut client, &sent.call).await;
        for (before, now) in sent.acknowledged.iter().flatten().zip(&answers) {
            if ["applied", "replay"].contains(&before.reason()) {
                assert_eq!(now.reason(), "replay", "{:?}: {before:?}, then {now:?}", sent.call);
                // A hold is shown as it is now.
                let same = function.contains("hold") || before.numbers() == now.numbers();
                assert!(same, "{:?}: {before:?}, then {now:?}", sent.call);
            }
        }
    }
    assert!(ends.values().all(|ends| *ends == 1), "a hold ended twice: {ends:?}");
    tally
}

async fn again(client: &mut Session, call: &Call) -> Vec<Answer> {
    client.try_rows(call).await.unwrap_or_else(|error| panic!("{call:?}: {error:?}"))
}
