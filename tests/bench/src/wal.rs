//! Bytes of WAL that one call writes, full-page images apart.

use tokio_postgres::Client;

use crate::Failure;
use crate::calls::{Call, Kind, Side};
use crate::measure::Contender;
use crate::options::Options;
use crate::report::{Report, Requirement};
use crate::stats::Figures;
use crate::world::World;

const CALLS: usize = 100;

/// What is required of some of them.
const LIMITS: [(&str, f64); 2] = [("ours replay", 0.0), ("webhook, ours", 2_300.0)];

/// One client, contenders in turns; the median leaves out what the server writes on its own account.
pub async fn measure(
    client: &Client,
    world: &World,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let calls = [
        ("ours applied", Side::Ours, Kind::Purchase),
        ("floor applied", Side::Floor, Kind::Purchase),
        ("ours applied once more", Side::Ours, Kind::Purchase),
        ("twin applied", Side::Twin, Kind::Purchase),
        ("ours replay", Side::Ours, Kind::Replay),
        ("twin replay", Side::Twin, Kind::Replay),
        ("floor lookup by key", Side::Floor, Kind::Replay),
        ("webhook, ours", Side::Ours, Kind::Webhook),
        ("webhook, twin", Side::Twin, Kind::Webhook),
        ("webhook, application", Side::Application, Kind::Webhook),
        ("webhook delivered again", Side::Ours, Kind::Redelivery),
        ("webhook ignored", Side::Ours, Kind::Ignored),
        ("webhook refused", Side::Ours, Kind::Forged),
    ];
    let mut contenders = Vec::new();
    for (name, side, kind) in calls {
        let contender = Contender::open(name, Call { side, kind }, 1, None).await?;
        contender.warm_up(world).await?;
        contenders.push(contender);
    }
    let mut samples = vec![Vec::new(); contenders.len()];
    for _ in 0..options.rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let before = flushed(client).await?;
            contender.calls(world, CALLS).await?;
            let after = flushed(client).await?;
            samples.push(bytes(client, &before, &after).await? / CALLS as f64);
        }
    }
    report.heading("WAL per call: 1 client, full-page images left out");
    for (contender, samples) in contenders.iter().zip(&samples) {
        let figures = Figures::new(samples.clone());
        match LIMITS.iter().find(|(name, _)| *name == contender.name) {
            Some((name, most)) => report.judged(name, &figures, "bytes", Requirement::AtMost(*most)),
            None => report.figure(contender.name, &figures, "bytes"),
        }
    }
    if let [ours, floor, again, ..] = &samples[..] {
        report.judged("purchase / floor", &Figures::ratio(ours, floor), "", Requirement::AtMost(1.1));
        report.judged("control", &Figures::ratio(again, ours), "", Requirement::Same(0.05));
    }
    Ok(())
}

/// The end of the WAL; with synchronous commit all that was committed is before it.
pub async fn flushed(client: &Client) -> Result<String, Failure> {
    Ok(client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?.get(0))
}

/// Bytes of WAL between two ends that are images of whole pages.
pub async fn full_page_bytes(client: &Client, from: &str, to: &str) -> Result<f64, Failure> {
    let sum = "SELECT coalesce(sum(fpi_size), 0)::float8
        FROM pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn)";
    Ok(client.query_one(sum, &[&from, &to]).await?.get(0))
}

/// Between these two places.
pub async fn bytes(client: &Client, from: &str, to: &str) -> Result<f64, Failure> {
    if from == to {
        return Ok(0.0);
    }
    let sum = "SELECT coalesce(sum(record_size), 0)::float8
        FROM pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn)";
    Ok(client.query_one(sum, &[&from, &to]).await?.get(0))
}
