//! Many clients, everything that the extension does, and everything that can happen to them and to the server. In
//! the end the books have to agree with what the clients were told.
//!
//! The seed decides the plan of each client, call by call. It does not decide how the calls interleave, nor where
//! the faults hit.

mod chaos;
mod check;
mod client;
mod loss;
mod plan;
mod report;
mod servers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub use self::loss::{Loss, lose};
pub use self::report::Report;

use self::chaos::{Follows, Scene};
use self::check::Ledger;
use self::client::{LOGIN, Line, Record, Sent, Tally, Worker, World};
use self::plan::Facts;
use self::servers::{Disk, Pooler};
use crate::books;
use crate::cluster::{Cluster, Database};
use crate::proxy::{Proxy, Target};
use crate::session::Admin;
use crate::stripe;

/// What happens to the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Stopped at once, and started again.
    Stop,
    /// One of its backends killed, whereupon it restarts itself.
    Kill,
    /// A full disk; left out where there is none that may be filled.
    FullDisk,
    /// Gone for good, and its standby promoted.
    FailOver,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Asked {
    pub clients: usize,
    pub duration: Duration,
    /// In this order, in equal distances.
    pub blows: Vec<Blow>,
    /// With pgbouncer before a quarter of the clients, where it is installed.
    pub pooler: bool,
    /// Says how it goes.
    pub talkative: bool,
}

/// The server crashes here, never the machine: what was written is the kernel's, so that fsync would only cost time
/// (four seconds at each restart). All else is as in production.
const SETTINGS: [&str; 4] =
    ["fsync=off", "synchronous_commit=on", "full_page_writes=on", "restart_after_crash=on"];

/// Commits whose connection is cut somewhere.
const CUTS_OF_TEN_THOUSAND: u64 = 200;

/// Clients that check at the end whether everything is answered again as it was.
const RESENDERS: usize = 8;

/// Runs it: what was seen, and what was wrong.
pub async fn torture(asked: Asked) -> Report {
    let begun = Instant::now();
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", *setting]).collect::<Vec<_>>();
    let cluster = Cluster::start("torture", &settings);
    let database = cluster.database().await;
    prepare(&database).await;

    let disks = Disk::mounted();
    if let Some(disk) = disks.first() {
        onto(&database, &disk.tablespace(&cluster)).await;
    }
    let mut proxies = Vec::new();
    for part in 0..2 {
        let proxy = Proxy::start(chaos::socket(&cluster), crate::seed() ^ part).await.expect("a proxy");
        proxies.push(proxy);
    }
    // One between the clients and the pooler, and one between the pooler and the server.
    let pooler = match asked.pooler {
        true => Pooler::start(&cluster, &database.name, proxies[1].port),
        false => None,
    };
    let before = match &pooler {
        Some(pooler) => {
            Some(Proxy::start(Target::Tcp(pooler.port), crate::seed() ^ 2).await.expect("a proxy"))
        }
        None => None,
    };
    let scene = Arc::new(Scene::new(&cluster, &database.name, proxies.clone(), disks));
    let world = Arc::new(World {
        database: database.name.clone(),
        direct: proxies[0].port,
        pooled: before.as_ref().map(|proxy| proxy.port),
        seed_time: stripe::now(),
        clients: asked.clients,
        ..World::default()
    });
    proxies.extend(before);
    for proxy in &proxies {
        proxy.cut(CUTS_OF_TEN_THOUSAND);
    }
    let mut workers = JoinSet::new();
    for number in 0..asked.clients {
        workers.spawn(Worker::new(&world, number).work());
    }
    let mut disturbers = JoinSet::new();
    disturbers.spawn(chaos::terminate(scene.clone(), Duration::from_millis(120)));
    disturbers.spawn(chaos::cancel(scene.clone(), Duration::from_millis(15)));
    let working = Instant::now();
    if asked.talkative {
        disturbers.spawn(progress(world.clone(), scene.clone(), working, asked.duration));
    }
    strike(&scene, &asked, working).await;
    tokio::time::sleep(asked.duration.saturating_sub(working.elapsed())).await;

    world.stop.store(true, Ordering::Relaxed);
    world.calm.store(true, Ordering::Relaxed);
    scene.stop.store(true, Ordering::Relaxed);
    while disturbers.join_next().await.is_some() {}
    for proxy in &proxies {
        proxy.cut(0);
    }
    let (mut records, mut claims, mut facts) = (Vec::new(), BTreeMap::new(), Facts::default());
    while let Some(done) = workers.join_next().await {
        match done {
            Ok((theirs, their_claims, their_facts)) => {
                records.extend(theirs);
                claims.extend(their_claims);
                facts.join(their_facts);
            }
            Err(error) => world.tally.lock().expect("tally").wrong.push(format!("a client ended: {error}")),
        }
    }
    let worked = working.elapsed();
    let mut wrong = std::mem::take(&mut world.tally.lock().expect("tally").wrong);
    let tally = std::mem::take(&mut *world.tally.lock().expect("tally"));
    let entries = judge(&world, &scene, &records, &claims, &facts, &mut wrong).await;
    Report {
        asked,
        worked,
        whole: begun.elapsed(),
        tally,
        resent: std::mem::take(&mut *world.tally.lock().expect("tally")),
        pooled: pooler.is_some(),
        commits: proxies.iter().map(|proxy| proxy.commits()).sum(),
        cuts: std::array::from_fn(|cut| proxies.iter().map(|proxy| proxy.cuts()[cut]).sum()),
        scene,
        entries,
        wrong,
    }
}

/// Strikes one blow after the other.
async fn strike(scene: &Arc<Scene>, asked: &Asked, begun: Instant) {
    let between = asked.duration / (u32::try_from(asked.blows.len()).expect("a few blows") + 1);
    for (place, blow) in (1_u32..).zip(&asked.blows) {
        tokio::time::sleep((between * place).saturating_sub(begun.elapsed())).await;
        match blow {
            Blow::Stop => chaos::crash(scene, false).await,
            Blow::Kill => chaos::crash(scene, true).await,
            Blow::FullDisk => chaos::fill_disk(scene).await,
            Blow::FailOver => chaos::fail_over(scene, Follows::Everything).await,
        }
    }
}

/// Moves every table and index of the extension to that folder.
async fn onto(database: &Database, folder: &Path) {
    let admin = database.admin().await;
    admin.run(&format!("CREATE TABLESPACE small LOCATION '{}'", folder.display())).await;
    for kind in ["TABLE", "INDEX"] {
        admin.run(&format!("ALTER {kind} ALL IN TABLESPACE pg_default SET TABLESPACE small")).await;
    }
    admin.close().await;
}

async fn prepare(database: &Database) {
    let admin = database.admin().await;
    admin
        .run(&format!(
            "CREATE ROLE {LOGIN} LOGIN;
             GRANT billing_service, billing_webhook TO {LOGIN};
             GRANT SET ON PARAMETER billing_rpc.webhook_mode TO {LOGIN};
             ALTER DATABASE {} SET billing_rpc.max_attempts = 1000;
             SELECT billing.define_plan('pro', 900, 'usd', 'month', price_ids => '{{price_pro}}', credits_per_period => {});
             SELECT billing.define_plan('branches', 500, 'ngn', 'month', per_branch => true)",
            database.name,
            plan::PERIOD_CREDITS
        ))
        .await;
    admin.close().await;
}

/// Says every few seconds how far it is.
async fn progress(world: Arc<World>, scene: Arc<Scene>, begun: Instant, duration: Duration) {
    let mut last = Instant::now();
    while !scene.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if last.elapsed() < Duration::from_secs(5) {
            continue;
        }
        last = Instant::now();
        let tally = world.tally.lock().expect("tally");
        let errors: u64 = tally.errors.values().sum();
        println!(
            "  {:>4} of {} s: {} calls answered, {errors} attempts failed, {} backends ended, {} cancelled, {} stops, {} full disks, {} promotions, {} wrong",
            begun.elapsed().as_secs(),
            duration.as_secs(),
            tally.answered(),
            scene.done.terminated.load(Ordering::Relaxed),
            scene.done.cancelled.load(Ordering::Relaxed),
            scene.done.stopped.load(Ordering::Relaxed) + scene.done.killed.load(Ordering::Relaxed),
            scene.done.full_disks.load(Ordering::Relaxed),
            scene.done.promotions.load(Ordering::Relaxed),
            tally.wrong.len()
        );
    }
}

/// Compares everything, sends everything again, and compares everything again. The number of entries.
async fn judge(
    world: &Arc<World>,
    scene: &Scene,
    records: &[Record],
    claims: &BTreeMap<String, (u32, u32)>,
    facts: &Facts,
    wrong: &mut Vec<String>,
) -> usize {
    let cluster = scene.cluster();
    let admin = Admin::connect(&cluster, &scene.database).await;
    // Before anything is sent again: that would bring back what was lost.
    let ledger = Ledger::read(&admin).await;
    wrong.extend(check::acknowledged(records, facts, &ledger));
    wrong.extend(check::holds(records, &admin).await);
    wrong.extend(check::explained(records, &ledger));

    wrong.extend(resend(world, records).await);

    let ledger = Ledger::read(&admin).await;
    wrong.extend(check::facts(records, facts, &ledger, &admin).await);
    wrong.extend(check::others(facts, claims, &admin).await);
    let problems = admin.texts("SELECT to_jsonb(p)::text FROM billing.reconcile() p").await;
    wrong.extend(problems.into_iter().flatten().map(|problem| format!("reconcile: {problem}")));
    let open = "SELECT event_id || ' ' || status FROM billing.webhook_events WHERE status <> 'completed'";
    wrong.extend(admin.texts(open).await.into_iter().flatten().map(|event| format!("unfinished: {event}")));
    let deadlocks = admin
        .number("SELECT coalesce(sum(deadlocks), 0) FROM pg_stat_database WHERE datname = current_database()")
        .await;
    // The counters do not outlive a crash; the log does.
    let logged = cluster.log_text().matches("deadlock detected").count();
    if deadlocks > 0 || logged > 0 {
        wrong.push(format!("{deadlocks} deadlocks counted, {logged} in the log"));
    }
    wrong.append(&mut scene.complaints.lock().expect("complaints"));
    let consistent = tokio::spawn(async move {
        books::check_tables(&admin).await;
    });
    if let Err(error) = consistent.await {
        wrong.push(format!("the tables: {error}"));
    }
    ledger.count()
}

/// Everything that was acknowledged, again: a replay of the same numbers. Events that waited are done by now.
async fn resend(world: &Arc<World>, records: &[Record]) -> Vec<String> {
    let mut senders = JoinSet::new();
    let records: Arc<[Record]> = records.into();
    for sender in 0..RESENDERS {
        let (mut line, records) = (Line::new(world, false, LOGIN), records.clone());
        senders.spawn(async move {
            let mut wrong = Vec::new();
            for record in records.iter().skip(sender).step_by(RESENDERS) {
                wrong.extend(send_again(&mut line, record).await);
            }
            wrong
        });
    }
    let mut wrong = Vec::new();
    while let Some(theirs) = senders.join_next().await {
        wrong.extend(theirs.unwrap_or_else(|error| vec![format!("a resender ended: {error}")]));
    }
    wrong
}

async fn send_again(line: &mut Line, record: &Record) -> Vec<String> {
    // What was refused may be possible now: that would be a new request.
    if record.answers.iter().any(|answer| answer.reason() == "invalid") {
        return Vec::new();
    }
    let (answers, _) = line.ask(&record.sent).await;
    let mut wrong = Vec::new();
    if answers.len() != record.answers.len() {
        wrong.push(format!("{}: {} rows, then {}", record.name, record.answers.len(), answers.len()));
    }
    for (before, now) in record.answers.iter().zip(&answers) {
        let right = match &record.sent {
            // A hold is shown as it is now.
            Sent::Call(call) if call.function().contains("hold") => now.reason() == "replay",
            // So is a customer.
            Sent::Call(call) if call.function().starts_with("register") => now.reason() == "replay",
            Sent::Call(call) if call.function().contains("payment") => now.reason() == "replay",
            Sent::Call(_) if before.reason() == "duplicate" => now == before,
            Sent::Call(_) => now.reason() == "replay" && now.numbers() == before.numbers(),
            Sent::Event { .. } if before.str("status") != "completed" => {
                now.reason() != "failed" && now.str("status") == "completed"
            }
            Sent::Event { .. } => now.reason() == "replay" && now.get("result") == before.get("result"),
            Sent::Expire => true,
        };
        if !right {
            wrong.push(format!("{}: {before:?}, then {now:?}", record.name));
        }
    }
    wrong
}

impl Facts {
    /// Joins what another client's plan comes to.
    fn join(&mut self, other: Facts) {
        self.asked.extend(other.asked);
        self.payments.extend(other.payments);
        self.sales.extend(other.sales);
        self.invoices.extend(other.invoices);
        self.subscriptions.extend(other.subscriptions);
        self.started.extend(other.started);
        self.codes.extend(other.codes);
    }
}
