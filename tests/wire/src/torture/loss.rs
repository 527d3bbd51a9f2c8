//! What an asynchronous standby can lose, and how that is found again: the clients send what they know of again,
//! with the same keys, and the providers deliver their events again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use super::chaos::{self, Follows, Scene};
use super::check::{self, Ledger, Lost};
use super::client::{LOGIN, Line, Record, Worker, World};
use super::plan::Facts;
use super::{SETTINGS, prepare, resend};
use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::session::Admin;
use crate::stripe;

/// A failover that lost something.
#[derive(Debug, Default)]
pub struct Loss {
    /// How long the standby had heard nothing when it took over.
    pub milliseconds: u64,
    pub lost: Lost,
    /// Requests sent again, and how many of them made a change then.
    pub resent: usize,
    pub applied: usize,
    pub wrong: Vec<String>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "asynchronous standby, {} ms behind when it took over: of {} acknowledged entries and events {} were lost \
             (the ids of {} were given to other entries); of {} requests sent again with the same keys {} made a change, and the books agree with the plans: {}",
            self.milliseconds,
            self.lost.acknowledged,
            self.lost.lost,
            self.lost.ids_given_again,
            self.resent,
            self.applied,
            if self.wrong.is_empty() { "yes" } else { "NO" }
        )?;
        for wrong in self.wrong.iter().take(20) {
            write!(f, "\n  {wrong}")?;
        }
        Ok(())
    }
}

/// Loses the last milliseconds before a failover, then finds them again.
pub async fn lose(clients: usize, milliseconds: u64) -> Loss {
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", *setting]).collect::<Vec<_>>();
    let cluster = Cluster::start("torture-loss", &settings);
    let database = cluster.database().await;
    prepare(&database).await;
    let proxy = Proxy::start(chaos::socket(&cluster), crate::seed()).await.expect("a proxy");
    let scene = Arc::new(Scene::new(&cluster, &database.name, vec![proxy.clone()], Vec::new()));
    let world = Arc::new(World {
        database: database.name.clone(),
        direct: proxy.port,
        seed_time: stripe::now(),
        clients,
        by_key_only: true,
        ..World::default()
    });
    let mut workers = JoinSet::new();
    for number in 0..clients {
        let worker = Worker::new(&world, number);
        workers.spawn(async move { (number, worker.work().await) });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    chaos::fail_over(&scene, Follows::AllBut(milliseconds)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.stop.store(true, Ordering::Relaxed);
    world.calm.store(true, Ordering::Relaxed);

    let (mut theirs, mut facts) = (Vec::new(), Facts::default());
    while let Some(done) = workers.join_next().await {
        let (_, (records, _, plan)) = done.expect("a client");
        theirs.push(records);
        facts.join(plan);
    }
    let admin = Admin::connect(&scene.cluster(), &scene.database).await;
    let all: Vec<Record> = theirs.iter().flatten().cloned().collect();
    let lost = check::lost(&all, &Ledger::read(&admin).await, &admin).await;

    let (records, applied) = again(&world, theirs).await;
    let mut loss = Loss { milliseconds, lost, resent: records.len(), applied, wrong: Vec::new() };
    loss.wrong.append(&mut world.tally.lock().expect("tally").wrong);
    // By now nothing is new to the server.
    loss.wrong.extend(resend(&world, &records).await);
    let ledger = Ledger::read(&admin).await;
    loss.wrong.extend(check::acknowledged(&records, &facts, &ledger));
    loss.wrong.extend(check::explained(&records, &ledger));
    loss.wrong.extend(check::facts(&records, &facts, &ledger, &admin).await);
    loss.wrong.extend(check::others(&facts, &Default::default(), &admin).await);
    let problems = admin.texts("SELECT to_jsonb(p)::text FROM billing.reconcile() p").await;
    loss.wrong.extend(problems.into_iter().flatten());
    loss.wrong.append(&mut scene.complaints.lock().expect("complaints"));
    admin.close().await;
    loss
}

/// Each client sends all of its requests again, in their order; what they come to now, and how many were new to the
/// server. What was refused for want of something that had been lost is possible now, so that goes on until nothing
/// is new.
async fn again(world: &Arc<World>, theirs: Vec<Vec<Record>>) -> (Vec<Record>, usize) {
    let mut senders = JoinSet::new();
    for mut records in theirs {
        let mut line = Line::new(world, false, LOGIN);
        senders.spawn(async move {
            let mut applied = 0;
            for _ in 0..3 {
                for record in &mut records {
                    let (answers, _) = line.ask(&record.sent).await;
                    applied += usize::from(answers.iter().any(|answer| answer.reason() == "applied"));
                    // A replay of what was in doubt is as good.
                    (record.answers, record.doubts) = (answers, record.doubts + 1);
                }
            }
            (records, applied)
        });
    }
    let (mut all, mut applied) = (Vec::new(), 0);
    while let Some(done) = senders.join_next().await {
        let (records, theirs) = done.expect("a sender");
        all.extend(records);
        applied += theirs;
    }
    (all, applied)
}
