//! What stands beside the server: a pooler before it, a standby behind it, a small disk under it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::client::LOGIN;
use crate::cluster::{Cluster, program, root};
use crate::proxy::Proxy;
use crate::session::Admin;

/// A program that runs as the user whose server it is.
fn as_server(cluster: &Cluster, program: &Path) -> Command {
    let owner = fs::metadata(cluster.data()).expect("the server's folder");
    let mut command = Command::new(program);
    if fs::metadata("/proc/self").expect("this process").uid() != owner.uid() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.current_dir("/").stdin(Stdio::null());
    for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS"] {
        command.env_remove(name);
    }
    // As scripts/cluster.sh starts one.
    command.envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("RUST_BACKTRACE", "0")]);
    command
}

fn run(command: &mut Command) {
    let done = command.output().expect("a program runs");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}");
}

/// Makes a file or folder the server's user's.
fn give(cluster: &Cluster, path: &Path) {
    let owner = fs::metadata(cluster.data()).expect("the server's folder");
    chown(path, Some(owner.uid()), Some(owner.gid())).expect("a file of the server's user");
}

/// pgbouncer in transaction mode. It ends with this value.
#[derive(Debug)]
pub struct Pooler {
    pub port: u16,
    child: Child,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pooler {
    /// The program, if it is installed.
    fn installed() -> Option<PathBuf> {
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
    }

    /// Between its clients and the proxy at that port; none where it is not installed.
    pub fn start(cluster: &Cluster, database: &str, server_port: u16) -> Option<Pooler> {
        let program = Pooler::installed()?;
        let folder = cluster.data().parent().expect("a folder");
        let users = folder.join("pgbouncer.users");
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        drop(listener);
        let settings = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server_port} dbname={database}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 10\n\
             max_client_conn = 500\nserver_login_retry = 0.1\nquery_wait_timeout = 15\nlogfile = {}\n",
            users.display(),
            folder.join("pgbouncer.log").display(),
        );
        let ini = folder.join("pgbouncer.ini");
        fs::write(&users, format!("\"{LOGIN}\" \"\"\n")).expect("the pooler's users");
        fs::write(&ini, settings).expect("the pooler's settings");
        give(cluster, &users);
        give(cluster, &ini);
        let mut command = as_server(cluster, &program);
        let child = command.arg("-q").arg(&ini).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Some(Pooler { port, child: child.expect("the pooler starts") })
    }
}

/// A standby that streams from a server.
#[derive(Debug)]
pub struct Standby {
    pub cluster: Arc<Cluster>,
}

impl Standby {
    /// A copy of the server, which follows it through the proxy. A tablespace at the first folder is at the other
    /// one there.
    pub fn start(of: &Cluster, number: u64, through: &Proxy, moved: Option<(&Path, &Path)>) -> Standby {
        let from = of.data().parent().expect("a folder");
        let name = format!("torture-standby.{}.{number}", std::process::id());
        let folder = from.parent().expect("a folder").join(name);
        let socket = PathBuf::from(format!("/tmp/billing_rpc.{}.s{number}", std::process::id()));
        for path in [&folder, &socket] {
            fs::create_dir(path).expect("a folder for the standby");
            give(of, path);
        }
        // As scripts/cluster.sh marks what it may stop and remove, and whose it is.
        let (mark, env) = (folder.join("billing_rpc_cluster"), folder.join("env"));
        let owner = std::process::id().to_string();
        fs::write(&mark, format!("{owner}\n")).expect("a mark");
        fs::write(&env, format!("PGHOST={}\nPGPORT={}\n", socket.display(), of.port)).expect("its settings");
        let (data, log) = (folder.join("data"), folder.join("server.log"));
        let mut copy = as_server(of, &program("pg_basebackup"));
        copy.args([
            "-h",
            &of.host,
            "-p",
            &of.port.to_string(),
            "-U",
            "postgres",
            "-c",
            "fast",
            "-X",
            "stream",
        ]);
        copy.arg("--no-sync").arg("-D").arg(&data);
        if let Some((old, new)) = moved {
            copy.arg(format!("--tablespace-mapping={}={}", old.display(), new.display()));
        }
        run(&mut copy);
        // Its settings are to outlive the server that it was copied from.
        let (theirs, own) = (from.join("throwaway.conf"), folder.join("throwaway.conf"));
        fs::copy(&theirs, &own).expect("its settings");
        give(of, &own);
        let file = data.join("postgresql.conf");
        let text = fs::read_to_string(&file).expect("its settings");
        let text = text.replace(&theirs.display().to_string(), &own.display().to_string());
        fs::write(&file, text).expect("its settings");
        let settings = format!(
            "unix_socket_directories = '{}'\nwal_retrieve_retry_interval = '200ms'\n\
             synchronous_standby_names = ''\n\
             primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name=torture'\n",
            socket.display(),
            through.port
        );
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.auto.conf"))
            .expect("its settings");
        file.write_all(settings.as_bytes()).expect("its settings");
        fs::write(data.join("standby.signal"), "").expect("the mark of a standby");
        give(of, &data.join("standby.signal"));
        // `setsid --fork` ends at once; the watch lives as long as there is something to watch.
        let mut watch = Command::new("setsid");
        watch.arg("--fork").arg(root().join("scripts/cluster.sh")).arg("watch").arg(&data).arg(&owner);
        let quiet = watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(quiet.status().expect("its watch").success(), "nobody watches the standby");
        let mut start = as_server(of, &program("pg_ctl"));
        run(start
            .arg("-D")
            .arg(&data)
            .arg("-l")
            .arg(&log)
            .args(["-w", "-t", "60", "-s", "start"])
            .stdout(Stdio::null()));
        Standby { cluster: Cluster::adopt(socket.display().to_string(), of.port, data, log) }
    }

    /// Waits until it follows the server.
    pub async fn follows(&self, server: &Cluster) {
        let sql = "SELECT 1::text FROM pg_stat_replication WHERE state = 'streaming'";
        for _ in 0..300 {
            if let Ok(admin) = Admin::try_connect(server, "postgres").await
                && let Ok(rows) = admin.client().query(sql, &[]).await
                && !rows.is_empty()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the standby does not follow");
    }

    /// Makes it a server of its own.
    pub fn promote(&self) {
        let mut promote = as_server(&self.cluster, &program("pg_ctl"));
        run(promote.arg("-D").arg(self.cluster.data()).args(["-w", "-t", "60", "-s", "promote"]));
    }
}

/// A small disk: a folder on a file system of its own.
#[derive(Clone, Debug)]
pub struct Disk {
    pub folder: PathBuf,
}

impl Disk {
    /// Folders mounted by scripts/torture.sh, which needs root for that: TORTURE_DISKS, separated by colons.
    pub fn mounted() -> Vec<Disk> {
        let folders = std::env::var("TORTURE_DISKS").unwrap_or_default();
        folders
            .split(':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| Disk { folder: folder.into() })
            .collect()
    }

    /// The folder of a tablespace on it, empty.
    pub fn tablespace(&self, cluster: &Cluster) -> PathBuf {
        let folder = self.folder.join("tables");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder on the small disk");
        give(cluster, &folder);
        folder
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).expect("a file on the small disk");
        for size in [1 << 20, 4096] {
            let block = vec![0_u8; size];
            while filler.write_all(&block).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }
}
