//! Throwaway clusters of `scripts/cluster.sh`, and what their logs say at the end.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use crate::session::{Admin, Role, Session};
use crate::{paystack, stripe};

/// What the databases of the tests verify deliveries with.
const SECRETS: [(&str, &str); 2] = [("stripe", stripe::SECRET), ("paystack", paystack::SECRET)];

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    pub host: String,
    pub port: u16,
    data: PathBuf,
    log: PathBuf,
    /// Backends that a test killed on purpose.
    killed: Mutex<HashSet<u32>>,
    databases: Mutex<u32>,
}

/// Every cluster of this run, for the reading of the logs.
static CLUSTERS: Mutex<Vec<Arc<Cluster>>> = Mutex::new(Vec::new());

/// The database that the others are copied from: the extension, the roles' members and the secret.
const TEMPLATE: &str = "wire_template";

/// The root of the repository.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository's root")
}

/// A program of the Postgres in use.
pub fn program(name: &str) -> PathBuf {
    let config =
        std::env::var("PG_CONFIG").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin/pg_config".to_owned());
    let answer = Command::new(config).arg("--bindir").output().expect("pg_config runs");
    Path::new(String::from_utf8_lossy(&answer.stdout).trim()).join(name)
}

fn script(arguments: &[&str]) -> HashMap<String, String> {
    let answer = Command::new(root().join("scripts/cluster.sh")).args(arguments).output();
    let answer = answer.expect("scripts/cluster.sh runs");
    let errors = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "cluster.sh {arguments:?}: {errors}");
    let lines = String::from_utf8_lossy(&answer.stdout).into_owned();
    lines.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

impl Cluster {
    /// The cluster that most tests share, made by the first that asks.
    pub fn shared() -> Arc<Cluster> {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start("wire", &[])).clone()
    }

    /// A cluster of its own. It is gone when this program ends, however it ends.
    pub fn start(name: &str, options: &[&str]) -> Arc<Cluster> {
        let owner = std::process::id().to_string();
        let mut arguments = vec!["start", "--name", name, "--owner", &owner];
        // The SQLSTATE in each line, so that XX... can be told from what is expected.
        arguments.extend(["-c", "log_line_prefix=%m [%p] %e "]);
        arguments.extend(options);
        let told = script(&arguments);
        let cluster = Arc::new(Cluster {
            host: told["PGHOST"].clone(),
            port: told["PGPORT"].parse().expect("a port"),
            data: PathBuf::from(&told["PGDATA"]),
            log: PathBuf::from(&told["LOG"]),
            killed: Mutex::default(),
            databases: Mutex::default(),
        });
        CLUSTERS.lock().expect("clusters").push(cluster.clone());
        cluster
    }

    /// A server that this program started by other means, in a folder marked as a throwaway cluster's.
    pub(crate) fn adopt(host: String, port: u16, data: PathBuf, log: PathBuf) -> Arc<Cluster> {
        let (killed, databases) = (Mutex::default(), Mutex::default());
        let cluster = Arc::new(Cluster { host, port, data, log, killed, databases });
        CLUSTERS.lock().expect("clusters").push(cluster.clone());
        cluster
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Stops the server as a crash would.
    pub(crate) fn crash(&self) {
        script(&["stop-immediate", &self.data.to_string_lossy()]);
    }

    /// Removes a cluster before the end: what its log complains of.
    pub(crate) fn retire(&self) -> Vec<String> {
        CLUSTERS.lock().expect("clusters").retain(|cluster| cluster.data != self.data);
        let complaints = self.complaints();
        script(&["stop", &self.data.to_string_lossy()]);
        complaints
    }

    /// A fresh database with the extension in it. A copy of one that was made once: quicker.
    pub async fn database(self: &Arc<Self>) -> Database {
        let name = {
            let mut count = self.databases.lock().expect("databases");
            *count += 1;
            format!("wire_{count}")
        };
        // Copying needs the template to itself: one at a time.
        static COPYING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = COPYING.lock().await;
        let postgres = Admin::connect(self, "postgres").await;
        if postgres.text("SELECT 1::text FROM pg_database WHERE datname = 'wire_template'").await.is_none() {
            postgres.run(&format!("CREATE DATABASE {TEMPLATE}")).await;
            let template = Admin::connect(self, TEMPLATE).await;
            template.run("CREATE EXTENSION billing_rpc").await;
            for (provider, secret) in SECRETS {
                template.run(&format!("SELECT billing.add_webhook_secret('{provider}', '{secret}')")).await;
            }
            // To see a test fail: `BILLING_SABOTAGE='DROP INDEX ...'` breaks what the test relies on.
            if let Ok(sabotage) = std::env::var("BILLING_SABOTAGE") {
                template.run(&sabotage).await;
            }
            // As PostgREST logs in: a role that may become others; and an application's own role.
            template.run("CREATE ROLE wire_gateway LOGIN NOINHERIT").await;
            template.run("GRANT billing_webhook, billing_service TO wire_gateway").await;
            template.run("CREATE ROLE wire_application LOGIN").await;
            template.run("GRANT billing_service TO wire_application").await;
            template.close().await;
        }
        postgres.run(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
        Database { cluster: self.clone(), name }
    }

    /// A database without anything in it.
    pub async fn empty_database(self: &Arc<Self>, name: &str) -> Database {
        let postgres = Admin::connect(self, "postgres").await;
        postgres.run(&format!("CREATE DATABASE {name}")).await;
        Database { cluster: self.clone(), name: name.to_owned() }
    }

    /// Kills one backend as the system's memory killer would; the server restarts itself.
    pub fn kill(&self, pid: u32) -> bool {
        // The number may be another process's by now.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let server = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if server.is_empty() || parent.map(str::trim) != server.lines().next() {
            return false;
        }
        self.killed.lock().expect("killed").insert(pid);
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Stops the server as a crash would, and starts it again.
    pub fn crash_and_restart(&self) {
        let data = self.data.to_string_lossy();
        script(&["stop-immediate", &data]);
        script(&["restart", &data]);
    }

    /// Stops the server as an operator would, and starts it again.
    pub fn restart(&self) {
        script(&["restart", &self.data.to_string_lossy()]);
    }

    /// The server's log so far.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What the log says that no log should say.
    fn complaints(&self) -> Vec<String> {
        let killed = self.killed.lock().expect("killed");
        let expected = |line: &str| {
            // They always end so, the one when a server is stopped in good order, the other with its subscription.
            let stopped = line.contains("background worker \"logical replication ")
                && line.ends_with("exited with exit code 1");
            let killed = killed
                .iter()
                .any(|pid| line.contains(&format!("server process (PID {pid}) was terminated by signal 9")));
            // Asked for it, the server also says how all that is well ended, and which columns a client asked for.
            stopped || killed || line.contains(" DEBUG:  ") || line.contains("proleakproof")
        };
        let wrong = |line: &&str| {
            let lower = line.to_lowercase();
            let crash = ["was terminated by", "panic", "trap:", "exited with exit code", "core dumped"];
            let left_open = ["leak", "was not closed", "not released", "still referenced"];
            let broken = line.contains("] XX");
            let secret = SECRETS.iter().any(|(_, secret)| line.contains(secret))
                && !line.contains("add_webhook_secret");
            crash.iter().chain(&left_open).any(|word| lower.contains(word)) || broken || secret
        };
        let log = self.log_text();
        log.lines().filter(wrong).filter(|line| !expected(line)).map(str::to_owned).collect()
    }

    /// Waits until every backend of a client has ended, so that its exit is in the log.
    async fn quiesce(self: &Arc<Self>) {
        let postgres = Admin::connect(self, "postgres").await;
        for _ in 0..100 {
            let others = "SELECT count(*)::text FROM pg_stat_activity
                          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            if postgres.text(others).await.as_deref() == Some("0") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("backends are left over in {}", self.data.display());
    }
}

/// Reads the log of every cluster of this run, then stops them: the complaints.
pub fn close_all() -> Vec<String> {
    let clusters = std::mem::take(&mut *CLUSTERS.lock().expect("clusters"));
    let mut complaints = Vec::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for cluster in &clusters {
        let quiet = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(cluster.quiesce());
        }));
        if quiet.is_err() {
            complaints.push(format!("{} did not come to rest", cluster.data.display()));
        }
        complaints.extend(cluster.complaints());
        script(&["stop", &cluster.data.to_string_lossy()]);
    }
    complaints
}

/// One database of a cluster.
#[derive(Clone, Debug)]
pub struct Database {
    pub cluster: Arc<Cluster>,
    pub name: String,
}

impl Database {
    /// A superuser's connection, for looking and for settings.
    pub async fn admin(&self) -> Admin {
        Admin::connect(&self.cluster, &self.name).await
    }

    /// A client that logs in as the application does.
    pub fn application(&self) -> Session {
        Session::new(self, Role::Application)
    }

    /// A client that logs in as PostgREST does.
    pub fn gateway(&self) -> Session {
        Session::new(self, Role::Gateway)
    }

    /// Sets something for all sessions to come.
    pub async fn set(&self, setting: &str, value: &str) {
        let statement = format!("ALTER DATABASE {} SET {setting} = '{value}'", self.name);
        self.admin().await.run(&statement).await;
    }
}
