//! A purchase and a whole webhook where much is stored, beside one where little is.

use tokio_postgres::Client;

use crate::Failure;
use crate::calls::{Call, Kind, Side};
use crate::measure::{Contender, in_turns};
use crate::options::Options;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::stats::Figures;
use crate::wal;
use crate::world::{Customer, WEBHOOK_SECRET, World, make_database, settle};

/// Entries, ten of each customer; the first is what the others are compared with.
const SIZES: [Size; 4] = [
    Size { entries: 10_000, name: "10^4 entries", cost: "control", full_pages: "10^4 entries, full pages" },
    Size {
        entries: 100_000,
        name: "10^5 entries",
        cost: "cost, 10^5 / 10^4",
        full_pages: "10^5 entries, full pages",
    },
    Size {
        entries: 1_000_000,
        name: "10^6 entries",
        cost: "cost, 10^6 / 10^4",
        full_pages: "10^6 entries, full pages",
    },
    Size {
        entries: 10_000_000,
        name: "10^7 entries",
        cost: "cost, 10^7 / 10^4",
        full_pages: "10^7 entries, full pages",
    },
];
const ENTRIES_OF_A_CUSTOMER: usize = 10;
/// Calls after which the WAL is looked at.
const CALLS: usize = 200;

struct Size {
    entries: usize,
    name: &'static str,
    cost: &'static str,
    full_pages: &'static str,
}

impl Size {
    fn customers(&self) -> usize {
        self.entries / ENTRIES_OF_A_CUSTOMER
    }

    fn database(&self) -> String {
        format!("bench_{}", self.entries)
    }
}

/// Databases of one server, called alternately.
pub async fn measure(
    control: &Client,
    options: &Options,
    report: &mut Report,
    progress: &impl Fn(&str),
) -> Result<(), Failure> {
    let sizes: Vec<&Size> = SIZES.iter().filter(|size| size.entries <= options.entries).collect();
    let mut worlds = Vec::new();
    for size in &sizes {
        progress(&format!("filling a database with {} entries", size.entries));
        let client = make_database(control, &size.database()).await?;
        worlds.push(World::of(fill(&client, size).await?));
    }
    // What the fills left to write is not to be written while something is measured.
    control.batch_execute("CHECKPOINT").await?;
    for (title, kind) in [("purchase", Kind::Purchase), ("webhook", Kind::Webhook)] {
        progress(&format!("{title} in each of them"));
        compare(title, kind, &sizes, &worlds, options, report).await?;
        full_pages(control, title, kind, &sizes, &worlds, report).await?;
    }
    for size in sizes {
        control.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", size.database())).await?;
    }
    Ok(())
}

/// All of them in turns, the smallest twice; the largest is judged.
async fn compare(
    title: &str,
    kind: Kind,
    sizes: &[&Size],
    worlds: &[World],
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let call = Call { side: Side::Ours, kind };
    let (mut contenders, mut each) = (Vec::new(), Vec::new());
    for (size, world) in sizes.iter().zip(worlds) {
        contenders.push(Contender::open(size.name, call, 1, Some(&size.database())).await?);
        each.push(world);
    }
    contenders.push(Contender::open("10^4 entries once more", call, 1, Some(&sizes[0].database())).await?);
    each.push(&worlds[0]);
    for (contender, world) in contenders.iter().zip(&each) {
        contender.synchronous_commit(false).await?;
        contender.warm_up(world).await?;
    }
    let measured = in_turns(&contenders, &each, 1, options.rounds, options.seconds).await?;
    let last = sizes.len() - 1;
    let mut wanted = Vec::new();
    for (place, size) in sizes.iter().enumerate().skip(1) {
        let requirement = (place == last).then_some(Requirement::ProcessorAtMost(1.30));
        wanted.push(Wanted { name: size.cost, of: 0, to: place, requirement });
    }
    let requirement = Some(Requirement::Same(0.05));
    wanted.push(Wanted { name: SIZES[0].cost, of: sizes.len(), to: 0, requirement });
    let title = format!(
        "{title} where up to {} entries of {} customers are stored",
        sizes[last].entries,
        sizes[last].customers()
    );
    report.comparison(Setting::calls(&title, 1, false), &measured, &wanted);
    Ok(())
}

/// The first change of a page after a checkpoint logs the page as a whole, and where there are more pages, that is
/// so more often: what it comes to, as it is part of what was measured.
async fn full_pages(
    control: &Client,
    title: &str,
    kind: Kind,
    sizes: &[&Size],
    worlds: &[World],
    report: &mut Report,
) -> Result<(), Failure> {
    report.heading(&format!("{title}: WAL per call that is full-page images, right after what was measured"));
    for (size, world) in sizes.iter().zip(worlds) {
        let call = Call { side: Side::Ours, kind };
        let contender = Contender::open(size.name, call, 1, Some(&size.database())).await?;
        let before = wal::flushed(control).await?;
        contender.calls(world, CALLS).await?;
        let after = wal::flushed(control).await?;
        let bytes = wal::full_page_bytes(control, &before, &after).await?;
        report.figure(size.full_pages, &Figures::new(vec![bytes / CALLS as f64]), "bytes");
    }
    Ok(())
}

/// Writes the rows directly: as many calls would take hours.
async fn fill(client: &Client, size: &Size) -> Result<Vec<Customer>, Failure> {
    let sql = include_str!("../sql/fill.sql")
        .replace("@entries@", &size.entries.to_string())
        .replace("@customers@", &size.customers().to_string());
    client.batch_execute(&sql).await?;
    settle(client).await?;
    client.execute("SELECT billing.add_webhook_secret('stripe', $1)", &[&WEBHOOK_SECRET]).await?;
    let rows = client
        .query("SELECT user_id::text, customer_id, stripe_customer_id FROM billing.customers", &[])
        .await?;
    Ok(rows
        .iter()
        .map(|row| Customer { user_id: row.get(0), customer_id: row.get(1), code: row.get(2) })
        .collect())
}
