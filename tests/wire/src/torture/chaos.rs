//! Who disturbs: backends ended and cancelled all the time, the server stopped now and then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::RwLock;

use super::servers::{Disk, Standby};
use crate::cluster::Cluster;
use crate::proxy::{Proxy, Target};
use crate::session::Admin;

/// What was done to the server.
#[derive(Debug, Default)]
pub struct Done {
    pub terminated: AtomicU64,
    pub cancelled: AtomicU64,
    pub cancelled_waiting_for_locks: AtomicU64,
    /// Cancels by what the backend was waiting for.
    pub waits: Mutex<BTreeMap<String, u64>>,
    pub killed: AtomicU64,
    pub stopped: AtomicU64,
    pub full_disks: AtomicU64,
    pub promotions: AtomicU64,
}

/// The server that is in use, and who may disturb it.
#[derive(Debug)]
pub struct Scene {
    pub database: String,
    pub cluster: Mutex<Arc<Cluster>>,
    pub done: Done,
    pub stop: AtomicBool,
    /// Held while nobody may be ended or cancelled.
    pub truce: RwLock<()>,
    /// Those that lead to the server.
    pub proxies: Vec<Arc<Proxy>>,
    /// The small disks: the tables are on the first, those of the next standby on the second.
    pub disks: Mutex<Vec<Disk>>,
    /// What the logs of servers that are gone said.
    pub complaints: Mutex<Vec<String>>,
}

impl Scene {
    pub fn new(cluster: &Arc<Cluster>, database: &str, proxies: Vec<Arc<Proxy>>, disks: Vec<Disk>) -> Scene {
        Scene {
            database: database.to_owned(),
            cluster: Mutex::new(cluster.clone()),
            proxies,
            disks: Mutex::new(disks),
            complaints: Mutex::default(),
            done: Done::default(),
            stop: AtomicBool::new(false),
            truce: RwLock::new(()),
        }
    }

    /// The server in use.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.cluster.lock().expect("cluster").clone()
    }

    async fn admin(&self) -> Option<Admin> {
        Admin::try_connect(&self.cluster(), &self.database).await.ok()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Backends of clients that do something now. One that waits for a standby is left alone: to end that wait is to
/// have the commit acknowledged, or seen by others, before the standby has it. Postgres says so in a warning.
const BUSY: &str = "FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'torture' AND pid <> pg_backend_pid()
        AND wait_event IS DISTINCT FROM 'SyncRep'";

/// Ends the backend of some client, again and again.
pub async fn terminate(scene: Arc<Scene>, pause: Duration) {
    let sql = format!(
        "SELECT coalesce(sum(pg_terminate_backend(pid)::int), 0)::text
         FROM (SELECT pid {BUSY} ORDER BY state = 'active' DESC, random() LIMIT 1) p"
    );
    while !scene.stopped() {
        let truce = scene.truce.read().await;
        if let Some(admin) = scene.admin().await
            && let Ok(rows) = admin.client().query(&sql, &[]).await
        {
            let count = rows.first().map_or("0", |row| row.get(0));
            scene.done.terminated.fetch_add(count.parse().unwrap_or_default(), Ordering::Relaxed);
            admin.close().await;
        }
        drop(truce);
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.2..1.8))).await;
    }
}

/// Cancels what clients have asked for, at whatever they wait for: every other time somebody who waits for a lock.
pub async fn cancel(scene: Arc<Scene>, pause: Duration) {
    let sql = format!(
        "SELECT wait, (CASE WHEN pg_cancel_backend(pid) THEN 1 ELSE 0 END)::text
         FROM (SELECT pid, coalesce(wait_event_type || ':' || wait_event, 'running') AS wait {BUSY}
                   AND state = 'active' AND ($1 OR wait_event_type IS DISTINCT FROM 'Client')
                   AND (NOT $1 OR wait_event_type = 'Lock')
               ORDER BY random() LIMIT 2) p"
    );
    let mut waiting = false;
    while !scene.stopped() {
        let Some(admin) = scene.admin().await else {
            tokio::time::sleep(pause).await;
            continue;
        };
        while !scene.stopped() {
            let truce = scene.truce.read().await;
            waiting = !waiting;
            let Ok(rows) = admin.client().query(&sql, &[&waiting]).await else { break };
            drop(truce);
            for row in rows.iter().filter(|row| row.get::<_, &str>(1) == "1") {
                scene.done.cancelled.fetch_add(1, Ordering::Relaxed);
                let wait: String = row.get(0);
                if wait.starts_with("Lock:") {
                    scene.done.cancelled_waiting_for_locks.fetch_add(1, Ordering::Relaxed);
                }
                *scene.done.waits.lock().expect("waits").entry(wait).or_default() += 1;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.2..1.8))).await;
        }
    }
}

/// Stops the server at once, or kills one of its backends so that it restarts itself; then it comes back.
pub async fn crash(scene: &Arc<Scene>, by_kill: bool) {
    let cluster = scene.cluster();
    if !by_kill {
        let stopping = cluster.clone();
        tokio::task::spawn_blocking(move || stopping.crash_and_restart()).await.expect("a restart");
        scene.done.stopped.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let Some(admin) = scene.admin().await else { return };
    let sql = format!("SELECT pid::text {BUSY} AND state = 'active' ORDER BY random() LIMIT 1");
    let Ok(rows) = admin.client().query(&sql, &[]).await else { return };
    let pid = rows.first().and_then(|row| row.get::<_, &str>(0).parse().ok());
    if pid.is_some_and(|pid| cluster.kill(pid)) {
        scene.done.killed.fetch_add(1, Ordering::Relaxed);
    }
    admin.close().await;
    // Until it has recovered.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Admin::connect(&cluster, "postgres").await.close().await;
}

/// The server's socket.
pub fn socket(cluster: &Cluster) -> Target {
    Target::Unix(format!("{}/.s.PGSQL.{}", cluster.host, cluster.port))
}

/// For a while no table can grow.
pub async fn fill_disk(scene: &Arc<Scene>) {
    let Some(disk) = scene.disks.lock().expect("disks").first().cloned() else { return };
    let filled = disk.clone();
    tokio::task::spawn_blocking(move || filled.fill()).await.expect("a full disk");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    disk.free();
    scene.done.full_disks.fetch_add(1, Ordering::Relaxed);
}

/// Standbys that this program has made.
static STANDBYS: AtomicU64 = AtomicU64::new(0);

/// What the standby that takes over knows.
#[derive(Clone, Copy, Debug)]
pub enum Follows {
    /// All that was acknowledged: it is a synchronous one.
    Everything,
    /// Not the last so many milliseconds: it is an asynchronous one, and its connection is lost before the server is.
    AllBut(u64),
}

/// The server is gone, and its standby takes over.
pub async fn fail_over(scene: &Arc<Scene>, follows: Follows) {
    let old = scene.cluster();
    let number = STANDBYS.fetch_add(1, Ordering::Relaxed);
    let stream = Proxy::plain(socket(&old)).await.expect("a proxy for the standby");
    let standby = {
        let (old, stream, scene) = (old.clone(), stream.clone(), scene.clone());
        tokio::task::spawn_blocking(move || {
            let disks = scene.disks.lock().expect("disks").clone();
            let folders: Option<(PathBuf, PathBuf)> = match &disks[..] {
                [now, next] => Some((now.folder.join("tables"), next.tablespace(&old))),
                _ => None,
            };
            let moved = folders.as_ref().map(|(now, next)| (now.as_path(), next.as_path()));
            Standby::start(&old, number, &stream, moved)
        })
        .await
        .expect("a standby")
    };
    standby.follows(&old).await;
    if let Follows::Everything = follows {
        let admin = Admin::connect(&old, "postgres").await;
        admin.run("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        admin.run("SELECT pg_reload_conf()").await;
        admin.close().await;
    }
    // Whatever was acknowledged before is there as well by then.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let truce = scene.truce.write().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    if let Follows::AllBut(milliseconds) = follows {
        stream.lead_to(Target::Nowhere);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let new = standby.cluster.clone();
    let taken = {
        let old = old.clone();
        tokio::task::spawn_blocking(move || {
            old.crash();
            standby.promote();
        })
    };
    taken.await.expect("a promotion");
    *scene.cluster.lock().expect("cluster") = new.clone();
    scene.disks.lock().expect("disks").reverse();
    for proxy in &scene.proxies {
        proxy.lead_to(socket(&new));
    }
    drop(truce);
    scene.done.promotions.fetch_add(1, Ordering::Relaxed);
    let complaints = tokio::task::spawn_blocking(move || {
        let deadlocks = old.log_text().matches("deadlock detected").count();
        let mut complaints = old.retire();
        complaints.extend((deadlocks > 0).then(|| format!("{deadlocks} deadlocks in the log")));
        complaints
    });
    let complaints = complaints.await.expect("a retired server");
    scene.complaints.lock().expect("complaints").extend(complaints);
}
