//! A pgbouncer of one's own, which ends with the benchmark.

use std::fs::{File, read_to_string, remove_file, write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio_postgres::Client;

use crate::Failure;
use crate::world;

/// Names the socket; there is no other way in.
const PORT: u16 = 6432;

/// Beside the server, in the folder of its socket.
pub struct Pgbouncer {
    child: Child,
    folder: PathBuf,
}

/// Runs another program, which is found also where only root looks for programs.
pub fn command() -> Command {
    let mut command = Command::new("setpriv");
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// The folder of the server's socket.
pub fn folder() -> Result<PathBuf, Failure> {
    let folder = PathBuf::from(std::env::var("PGHOST").unwrap_or_default());
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err("section pooled needs a server on this machine: PGHOST is the folder of its socket".into())
    }
}

impl Pgbouncer {
    /// In transaction mode, for one database; it takes connections when this returns.
    pub async fn start(database: &str, pool: usize, clients: usize) -> Result<Pgbouncer, Failure> {
        let folder = folder()?;
        let configuration = folder.join("pgbouncer.ini");
        let server_port = std::env::var("PGPORT").unwrap_or_else(|_| "5432".to_owned());
        let user = std::env::var("PGUSER").unwrap_or_else(|_| "postgres".to_owned());
        let host = folder.display();
        write(
            &configuration,
            format!(
                "[databases]\n{database} = host={host} port={server_port} user={user}\n\
                 [pgbouncer]\nunix_socket_dir = {host}\nlisten_port = {PORT}\nauth_type = any\n\
                 pool_mode = transaction\ndefault_pool_size = {pool}\nmax_client_conn = {clients}\n\
                 log_connections = 0\nlog_disconnections = 0\n"
            ),
        )?;
        // It ends with this process, however that ends; and it refuses to be root.
        let mut command = command();
        command.args(["--pdeathsig", "TERM"]);
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            let owner = std::fs::metadata(&folder)?;
            let (user, group) = (owner.uid().to_string(), owner.gid().to_string());
            command.args(["--reuid", &user, "--regid", &group, "--clear-groups"]);
        }
        let log = File::create(folder.join("pgbouncer.log"))?;
        command.arg("pgbouncer").arg(&configuration).current_dir("/");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut started = Pgbouncer { child, folder };
        started.wait(database).await?;
        Ok(started)
    }

    /// Until it answers.
    async fn wait(&mut self, database: &str) -> Result<(), Failure> {
        for _ in 0..50 {
            if self.child.try_wait()?.is_some() {
                break;
            }
            if self.connect(database).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = read_to_string(self.folder.join("pgbouncer.log"))?;
        Err(format!("pgbouncer does not answer: {}", log.trim()).into())
    }

    /// A connection through it.
    pub async fn connect(&self, database: &str) -> Result<Client, Failure> {
        world::connect_by(world::configuration(Some(database), Some(PORT))?).await
    }

    /// Its process.
    pub fn process(&self) -> Result<i32, Failure> {
        Ok(i32::try_from(self.child.id())?)
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        // Whatever of this fails has happened already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in
            ["pgbouncer.ini", "pgbouncer.log", &format!(".s.PGSQL.{PORT}"), &format!(".s.PGSQL.{PORT}.lock")]
        {
            let _ = remove_file(self.folder.join(file));
        }
    }
}
