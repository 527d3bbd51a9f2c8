//! Backends killed and a server stopped in the middle of the work: what was acknowledged is there, once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use billing_wire::books::{self, Books};
use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Answer, Call, Session, is_retryable};
use billing_wire::{Tested, figure, random, run, sized, stripe};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("crashes::nothing_lost_nothing_twice", || run(crashes()));
}

#[derive(Clone, Debug)]
enum Telling {
    Call(Call),
    Event(String),
}

/// A message that was sent, and what was acknowledged of it.
#[derive(Clone, Debug)]
struct Sent {
    name: String,
    telling: Telling,
    acknowledged: Option<Answer>,
}

const USERS: i64 = 10;

fn message(random: &mut StdRng, client: usize, number: usize) -> (String, Telling) {
    let user = random.random_range(1..=USERS).to_string();
    let credits = random.random_range(1..100);
    let name = format!("{client}_{number}");
    let telling = match random.random_range(0..4) {
        0 => Telling::Call(Call::purchase(&user, credits, &name).source(&format!("stripe:pi_{name}"))),
        1 => Telling::Call(Call::grant(&user, credits, &name)),
        2 => Telling::Call(Call::spend(&user, 1, &name)),
        _ => {
            let session = stripe::session(
                &format!("cs_{name}"),
                credits,
                json!({"metadata": {"user_id": user}, "payment_intent": format!("pi_{name}")}),
            );
            Telling::Event(stripe::completed(&format!("evt_{name}"), session))
        }
    };
    (name, telling)
}

async fn send(
    client: &mut Session,
    gateway: &mut Session,
    telling: &Telling,
) -> Result<Answer, tokio_postgres::Error> {
    match telling {
        Telling::Call(call) => client.try_call(call).await,
        Telling::Event(body) => {
            let headers = json!({"stripe-signature": stripe::header(body)}).to_string();
            gateway.try_deliver(body, Some(&headers)).await.map(|delivered| delivered.answer)
        }
    }
}

/// Works until told to stop; each message until it is acknowledged, or once only if `hasty`.
async fn work(
    database: Database,
    number: usize,
    stop: Arc<AtomicBool>,
    pids: Arc<Mutex<HashMap<usize, u32>>>,
) -> Vec<Sent> {
    let mut random = random(300 + number as u64);
    let (mut client, mut gateway) = (database.application(), database.gateway());
    let mut sent: Vec<Sent> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if let (Ok(one), Ok(two)) = (client.pid().await, gateway.pid().await) {
            let mut pids = pids.lock().expect("pids");
            pids.insert(number * 2, one);
            pids.insert(number * 2 + 1, two);
        }
        let (name, telling) = message(&mut random, number, sent.len());
        let hasty = random.random_bool(0.5);
        let mut acknowledged = None;
        while acknowledged.is_none() && !stop.load(Ordering::Relaxed) {
            match send(&mut client, &mut gateway, &telling).await {
                Ok(answer) => acknowledged = Some(answer),
                Err(error) => {
                    assert!(is_retryable(&error), "{telling:?}: {error:?}");
                    client.disconnect();
                    gateway.disconnect();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if hasty {
                        break;
                    }
                }
            }
        }
        sent.push(Sent { name, telling, acknowledged });
    }
    sent
}

async fn crashes() {
    // What is to survive has to be written for good.
    let cluster = Cluster::start("wire-crash", &["--durable", "-c", "restart_after_crash=on"]);
    let database = cluster.database().await;
    let mut setup = database.application();
    for user in 1..=USERS {
        setup.call(&Call::grant(&user.to_string(), 1_000_000, &format!("start{user}"))).await;
    }
    setup.disconnect();

    let stop = Arc::new(AtomicBool::new(false));
    let pids = Arc::new(Mutex::new(HashMap::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..sized(6, 24) {
        tasks.spawn(work(database.clone(), number, stop.clone(), pids.clone()));
    }
    let begun = Instant::now();
    let kills = disturb(&cluster, &pids).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    while let Some(done) = tasks.join_next().await {
        sent.extend(done.expect("a client"));
    }
    let elapsed = begun.elapsed();

    let admin = database.admin().await;
    books::check_tables(&admin).await;
    let in_doubt = sent.iter().filter(|sent| sent.acknowledged.is_none()).count();
    let lost = everything_acknowledged_is_there(&database, &sent).await;
    assert_eq!(lost, Vec::<String>::new());
    let late = resend(&database, &sent).await;
    books::check_tables(&admin).await;
    let entries = admin.number("SELECT count(*) FROM billing.ledger WHERE idempotency_key !~ '^start'").await;
    assert_eq!(entries, i64::try_from(sent.len()).unwrap(), "one entry per message");
    // The log is read at the end: the kills are known there, anything else is a complaint.
    assert!(in_doubt > 0 && kills > 0, "no client was disturbed: {in_doubt} in doubt, {kills} kills");
    figure(|| {
        format!(
            "{} messages in {elapsed:.1?}, {kills} backends killed, 2 stops, {in_doubt} in doubt, of those {late} not yet done",
            sent.len()
        )
    });
}

/// Kills backends in the middle of their work, and stops the server twice.
async fn disturb(cluster: &Arc<Cluster>, pids: &Mutex<HashMap<usize, u32>>) -> usize {
    let mut random = random(299);
    let mut kills = 0;
    for round in 0..sized(4, 40) {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..900))).await;
        let mut all: Vec<u32> = pids.lock().expect("pids").values().copied().collect();
        all.shuffle(&mut random);
        // Those that a former crash ended are none of the server's any more.
        kills += usize::from(all.iter().any(|pid| cluster.kill(*pid)));
        if round % sized(3, 20) == 1 {
            // Up again after the kill first, so that the stop is one of its own.
            tokio::time::sleep(Duration::from_millis(800)).await;
            let cluster = cluster.clone();
            tokio::task::spawn_blocking(move || cluster.crash_and_restart()).await.expect("a restart");
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    kills
}

/// What was acknowledged and is not in the ledger with the same numbers.
async fn everything_acknowledged_is_there(database: &Database, sent: &[Sent]) -> Vec<String> {
    let admin = database.admin().await;
    let rows = admin
        .texts(
            "SELECT concat_ws('|', entry_id, credits, balance_after) FROM billing.ledger ORDER BY entry_id",
        )
        .await;
    let rows: std::collections::HashSet<String> = rows.into_iter().flatten().collect();
    let mut lost = Vec::new();
    for message in sent {
        let Some(answer) = &message.acknowledged else { continue };
        let told = answer.0.get("result").and_then(|result| result.as_object()).unwrap_or(&answer.0);
        let entry = format!("{}|{}|{}", told["entry_id"], told["credits"], told["balance"]);
        let happened = ["applied", "replay", "duplicate / already_credited"];
        assert!(happened.contains(&answer.why().as_str()), "{answer:?}");
        if !rows.contains(&entry) {
            lost.push(format!("{}: {entry}", message.name));
        }
    }
    lost
}

/// Everything again: what was acknowledged is a replay of the same numbers, the rest is a replay or is
/// applied now. How much was applied now.
async fn resend(database: &Database, sent: &[Sent]) -> u64 {
    let (mut client, mut gateway) = (database.application(), database.gateway());
    let mut books = Books::default();
    let mut late = 0;
    for message in sent {
        let answer = send(&mut client, &mut gateway, &message.telling).await.expect("a calm server");
        books.note(&message.name, &message.name, &answer);
        match &message.acknowledged {
            Some(before) => {
                assert_eq!(answer.why(), "replay", "{message:?}");
                assert_eq!(answer.numbers(), before.numbers(), "{message:?}");
            }
            None => {
                assert!(["applied", "replay"].contains(&answer.reason()), "{answer:?}");
                late += u64::from(answer.reason() == "applied");
            }
        }
    }
    books.check_nothing_twice();
    late
}
