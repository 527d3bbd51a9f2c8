//! A session that began when the tables were empty, against a new one: kept plans use indexes from the
//! first row on.

use tokio_postgres::Client;

use crate::Failure;
use crate::calls::{Call, Kind, Side};
use crate::compare::once_more;
use crate::measure::{Contender, in_turns};
use crate::options::Options;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::world::{self, World, connect};

const DATABASE: &str = "bench_kept";
/// Entries written between the first call of the old sessions and the measurement, by purchase and by webhook.
const SHARES: [usize; 2] = [16_000, 4_000];
const WRITERS: usize = 8;

/// In a database of its own, whose tables are never analysed, so that nothing but the plans themselves helps.
pub async fn measure(control: &Client, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let admin = world::make_database(control, DATABASE).await?;
    admin.batch_execute(include_str!("../sql/no_autovacuum.sql")).await?;

    admin.execute("SELECT billing.add_webhook_secret('stripe', $1)", &[&world::WEBHOOK_SECRET]).await?;

    // The old sessions' plans are made here, on empty tables.
    let call = |kind| Call { side: Side::Ours, kind };
    let kinds = [("purchase", Kind::Purchase), ("webhook", Kind::Webhook)];
    let mut sessions = Vec::new();
    for (title, kind) in kinds {
        let old = connect(Some(DATABASE)).await?;
        old.batch_execute("SET synchronous_commit = off").await?;
        let world = World::of(world::register(&old, 1).await?);
        let old = Contender::of("session from the start", call(kind), old).await?;
        old.calls(&world, 1).await?;
        sessions.push((title, kind, old));
    }

    let world = World::of(world::register(&admin, world::CUSTOMERS).await?);
    for ((_, kind), share) in kinds.into_iter().zip(SHARES) {
        let fill = Contender::open("", call(kind), WRITERS, Some(DATABASE)).await?;
        fill.synchronous_commit(false).await?;
        fill.calls(&world, share / WRITERS).await?;
    }

    for (title, kind, old) in sessions {
        let open = |name| Contender::open(name, call(kind), 1, Some(DATABASE));
        let contenders = [old, open("new session").await?, open("new session once more").await?];
        for contender in &contenders {
            contender.synchronous_commit(false).await?;
            contender.warm_up(&world).await?;
        }
        let worlds = [&world; 3];
        let named = in_turns(&contenders, &worlds, 1, options.rounds, options.seconds).await?;
        let requirement = Some(Requirement::ProcessorAtLeast(0.90));
        let ratio = Wanted { name: "old / new", of: 0, to: 1, requirement };
        let title = format!("{title} after 20,000 entries, tables never analysed");
        report.comparison(Setting::calls(&title, 1, false), &named, &[ratio, once_more(2, 1)]);
    }
    crate::hot_share(&admin, report).await?;
    drop(admin);
    // Sessions end a moment after their connections are dropped.
    control.batch_execute(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await?;
    Ok(())
}
