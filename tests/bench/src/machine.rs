//! What the figures were measured on: everything that a reader needs to judge them, and no name of anybody.

use serde_json::{Map, Value, json};
use tokio_postgres::Client;

use crate::Failure;

/// Settings that change what a call costs.
const SETTINGS: &str = "SELECT name, current_setting(name) FROM pg_settings
    WHERE name = ANY (ARRAY['autovacuum', 'checkpoint_timeout', 'commit_delay', 'fsync', 'full_page_writes', 'jit',
        'max_wal_size', 'plan_cache_mode', 'shared_buffers', 'track_io_timing', 'wal_buffers', 'wal_compression',
        'wal_level', 'wal_sync_method'])
    ORDER BY name";

/// Processor, memory, server and its settings.
pub async fn facts(client: &Client) -> Result<Value, Failure> {
    let server: String = client.query_one("SELECT version()", &[]).await?.get(0);
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'billing_rpc'";
    let version: String = client.query_one(version, &[]).await?.get(0);
    let mut settings = Map::new();
    for row in client.query(SETTINGS, &[]).await? {
        settings.insert(row.get(0), Value::String(row.get(1)));
    }
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "processor": field("/proc/cpuinfo", "model name"),
        "memory_kb": field("/proc/meminfo", "MemTotal").and_then(|text| kilobytes(&text)),
        "server": server,
        "extension": version,
        "settings": settings,
    }))
}

/// What a file of /proc says of a name, if there is such a file here.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `123 kB`.
fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse().ok()
}

/// Memory that a process has for itself, in kB: what it wrote to, not what it maps or shares.
pub fn private_memory(process: i32) -> Option<u64> {
    kilobytes(&field(&format!("/proc/{process}/status"), "RssAnon")?)
}
