//! A purchase where much is stored, beside one where little is.

use tokio_postgres::Client;

use crate::Failure;
use crate::calls::{Call, Kind, Side};
use crate::measure::{Contender, in_turns};
use crate::options::Options;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::world::{Customer, World, make_database};

/// Entries and customers.
const SMALL: (usize, usize) = (10_000, 1_000);
const LARGE: (usize, usize) = (1_000_000, 100_000);

/// Two databases of one server, called alternately.
pub async fn measure(
    control: &Client,
    options: &Options,
    report: &mut Report,
    progress: &impl Fn(&str),
) -> Result<(), Failure> {
    let databases = [("bench_small", "small", SMALL), ("bench_large", "large", LARGE)];
    let call = Call { side: Side::Ours, kind: Kind::Purchase };
    let (mut contenders, mut worlds) = (Vec::new(), Vec::new());
    for (database, name, (entries, customers)) in databases {
        progress(&format!("filling a database with {entries} entries"));
        let client = make_database(control, database).await?;
        worlds.push(World::of(fill(&client, entries, customers).await?));
        contenders.push(Contender::open(name, call, 1, Some(database)).await?);
    }
    progress("a purchase in either");
    for (contender, world) in contenders.iter().zip(&worlds) {
        contender.synchronous_commit(false).await?;
        contender.warm_up(world).await?;
    }
    let each: Vec<&World> = worlds.iter().collect();
    let measured = in_turns(&contenders, &each, 1, options.rounds, options.seconds).await?;
    let requirement = Some(Requirement::ProcessorAtMost(1.30));
    let ratio = Wanted { name: "cost, large / small", of: 0, to: 1, requirement };
    let title = format!(
        "purchase where {} entries of {} customers are stored, beside {} of {}",
        LARGE.0, LARGE.1, SMALL.0, SMALL.1
    );
    report.comparison(Setting::calls(&title, 1, false), &measured, &[ratio]);
    drop(contenders);
    for (database, ..) in databases {
        control.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await?;
    }
    Ok(())
}

/// Writes the rows directly: as many calls would take minutes.
async fn fill(client: &Client, entries: usize, customers: usize) -> Result<Vec<Customer>, Failure> {
    let sql = include_str!("../sql/fill.sql")
        .replace("@entries@", &entries.to_string())
        .replace("@customers@", &customers.to_string());
    client.batch_execute(&sql).await?;
    client.batch_execute("VACUUM ANALYZE").await?;
    let rows = client
        .query("SELECT user_id::text, customer_id, stripe_customer_id FROM billing.customers", &[])
        .await?;
    Ok(rows
        .iter()
        .map(|row| Customer { user_id: row.get(0), customer_id: row.get(1), code: row.get(2) })
        .collect())
}
