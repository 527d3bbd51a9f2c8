//! What a call costs beside time: buffers, WAL, memory. Measured apart, so that looking on slows nothing down.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::measure::Contender;
use crate::stats::{Figures, rounded};
use crate::world::World;
use crate::{Failure, machine, wal};

/// Calls of one measurement, and how often it is done; the median leaves out what the server does meanwhile.
const CALLS: usize = 100;
const TIMES: usize = 5;

/// Per call, in the median; memory of the backend when all was over.
pub struct Resources {
    buffers: f64,
    buffers_read: f64,
    wal_bytes: f64,
    private_memory_kb: Option<u64>,
}

impl Resources {
    /// For the printed table.
    pub fn text(&self) -> String {
        let memory =
            self.private_memory_kb.map_or_else(String::new, |kb| format!(", private memory {kb} kB"));
        format!(
            "{:>7.1} buffers ({:.1} read), {:.0} bytes of WAL{memory}",
            self.buffers, self.buffers_read, self.wal_bytes
        )
    }

    /// For the report file.
    pub fn json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "buffers": rounded(self.buffers),
            "buffers_read": rounded(self.buffers_read),
            "wal_bytes": rounded(self.wal_bytes),
            "private_memory_kb": self.private_memory_kb,
        })
    }
}

/// Of the first session of each, in turns.
pub async fn measure(
    contenders: &[Contender],
    world: &World,
) -> Result<Vec<(&'static str, Resources)>, Failure> {
    // From another database: reading the counters touches buffers too.
    let watch = crate::world::connect(Some("postgres")).await?;
    watch.batch_execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect").await?;
    let mut samples = vec![[const { Vec::new() }; 3]; contenders.len()];
    for _ in 0..TIMES {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            for (samples, value) in samples.iter_mut().zip(sample(contender, world, &watch).await?) {
                samples.push(value / CALLS as f64);
            }
        }
    }
    let mut measured = Vec::new();
    for (contender, samples) in contenders.iter().zip(samples) {
        let [hit, read, wal_bytes] = samples.map(|samples| Figures::new(samples).median());
        let private_memory_kb = contender.process().and_then(machine::private_memory);
        let resources = Resources { buffers: hit + read, buffers_read: read, wal_bytes, private_memory_kb };
        measured.push((contender.name, resources));
    }
    Ok(measured)
}

/// Buffers hit, buffers read, bytes of WAL.
async fn sample(contender: &Contender, world: &World, watch: &Client) -> Result<[f64; 3], Failure> {
    contender.hand_in_statistics().await?;
    let before = buffers(watch).await?;
    let from = wal::flushed(watch).await?;
    contender.calls_of_one(world, CALLS).await?;
    let to = wal::flushed(watch).await?;
    contender.hand_in_statistics().await?;
    let after = buffers(watch).await?;
    Ok([after.0 - before.0, after.1 - before.1, wal::bytes(watch, &from, &to).await?])
}

/// Of the database that is measured, since ever.
async fn buffers(watch: &Client) -> Result<(f64, f64), Failure> {
    let counters = "SELECT blks_hit::float8, blks_read::float8 FROM pg_stat_database WHERE datname = $1";
    let row = watch.query_one(counters, &[&crate::world::own_database()]).await?;
    Ok((row.get(0), row.get(1)))
}
