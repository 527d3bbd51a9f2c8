//! Batches, beside `COPY` of the same rows and beside as many single calls.

use std::fmt::Write as _;
use std::io::Cursor;

use futures_util::SinkExt;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::Failure;
use crate::calls::{AMOUNT_MINOR, CREDITS, CURRENCY, Call, Kind, Side};
use crate::measure::{Contender, Measured, Meter, Slice, order, process};
use crate::options::Options;
use crate::random::Random;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::world::{Customer, World, connect};

/// Purchases of one batch.
const PURCHASES: usize = 10_000;
/// Single purchases that are measured beside it.
const SINGLE_PURCHASES: usize = 500;
/// Spends of one customer, in one batch and one by one.
const SPENDS: usize = 1_000;

/// A session that sends batches.
pub struct Batches {
    client: Client,
    statement: Statement,
    process: i32,
}

impl Batches {
    /// Opens it.
    pub async fn open(database: Option<&str>) -> Result<Batches, Failure> {
        let client = connect(database).await?;
        let statement = client.prepare("SELECT * FROM apply_credit_batch($1::text::jsonb)").await?;
        let process = process(&client).await?;
        Ok(Batches { client, statement, process })
    }

    /// Sends these operations, so many, and sees that each is applied.
    pub async fn send(&self, operations: &str, count: usize) -> Result<Slice, Failure> {
        let meter = Meter::start(self.process);
        let rows = self.client.query(&self.statement, &[&operations]).await?;
        let slice = meter.stop(count);
        let applied = rows.iter().filter(|row| row.get::<_, bool>(0)).count();
        if applied == count {
            Ok(slice)
        } else {
            Err(format!("{applied} of {count} operations applied").into())
        }
    }
}

/// Operations as the JSON array that a batch takes.
pub fn operations<T>(of: impl IntoIterator<Item = T>, mut write: impl FnMut(T) -> String) -> String {
    let mut text = String::from("[");
    for item in of {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&write(item));
    }
    text.push(']');
    text
}

/// A spend as an operation.
pub fn spend(customer: &Customer, credits: i64, random: &mut Random) -> String {
    format!(
        r#"{{"op":"spend","user_id":"{}","credits":{credits},"idempotency_key":"{}"}}"#,
        customer.user_id,
        random.uuid()
    )
}

fn purchase(customer: &Customer, random: &mut Random) -> String {
    format!(
        r#"{{"op":"purchase","user_id":"{}","credits":{CREDITS},"idempotency_key":"{}","stripe_session_id":"{}","amount_minor":{AMOUNT_MINOR},"currency":"{CURRENCY}"}}"#,
        customer.user_id,
        random.uuid(),
        random.session()
    )
}

/// The same rows as bare SQL writes them at best: one `COPY` of the entries, one update of the balances.
struct Copying {
    client: Client,
    update: Statement,
    process: i32,
}

impl Copying {
    async fn open() -> Result<Copying, Failure> {
        let client = connect(None).await?;
        let update = client.prepare(include_str!("../sql/floor_batch.sql")).await?;
        let process = process(&client).await?;
        Ok(Copying { client, update, process })
    }

    async fn send(&self, world: &World, random: &mut Random, count: usize) -> Result<Slice, Failure> {
        let time: String = self.client.query_one("SELECT clock_timestamp()::text", &[]).await?.get(0);
        let mut balances = Vec::with_capacity(world.customers.len());
        let balance = "SELECT balance FROM floor.balances WHERE customer_id = $1 AND credit_type = 'credits'";
        let balance = self.client.prepare(balance).await?;
        for customer in &world.customers {
            balances.push(self.client.query_one(&balance, &[&customer.customer_id]).await?.get::<_, i64>(0));
        }
        let before = balances.clone();
        let mut lines = String::new();
        for _ in 0..count {
            let place = random.below(world.customers.len());
            balances[place] += CREDITS;
            let (customer, balance) = (world.customers[place].customer_id, balances[place]);
            let (key, session, fingerprint) = (random.uuid(), random.session(), random.uuid().simple());
            writeln!(
                lines,
                "{time}\t{CREDITS}\t{balance}\t{AMOUNT_MINOR}\t{customer}\tcredits\tpurchase\t{CURRENCY}\t{key}\t\
                 stripe:{session}\t\\\\x{fingerprint}\t{{}}"
            )?;
        }
        let changed = || (0..balances.len()).filter(|place| balances[*place] != before[*place]);
        let customers: Vec<Uuid> = changed().map(|place| world.customers[place].customer_id).collect();
        let sums: Vec<i64> = changed().map(|place| balances[place] - before[place]).collect();

        let meter = Meter::start(self.process);
        self.client.batch_execute("BEGIN").await?;
        let sink = self.client.copy_in::<_, Cursor<String>>(include_str!("../sql/floor_copy.sql")).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Cursor::new(lines)).await?;
        let copied = sink.finish().await?;
        let updated = self.client.execute(&self.update, &[&customers, &sums, &time]).await?;
        self.client.batch_execute("COMMIT").await?;
        let slice = meter.stop(count);
        if (copied, updated) == (count as u64, customers.len() as u64) {
            Ok(slice)
        } else {
            Err(format!("{copied} entries copied, {updated} balances changed").into())
        }
    }
}

/// A batch of purchases beside `COPY` and beside single calls, each with one durable commit.
pub async fn batch(world: &World, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let batches = Batches::open(None).await?;
    let (copying, again) = (Copying::open().await?, Copying::open().await?);
    let call = Call { side: Side::Ours, kind: Kind::Purchase };
    let singles = Contender::open("single calls", call, 1, None).await?;
    singles.warm_up(world).await?;
    let mut random = Random::new(3);
    let mut measured: Vec<Measured> =
        ["one batch", "COPY and one update", "single calls", "COPY and one update again"]
            .map(|name| (name, Vec::new()))
            .into();
    // The first round warms up.
    for round in 0..=options.rounds {
        for index in order(measured.len(), round) {
            let slice = match index {
                0 => {
                    let operations = operations(0..PURCHASES, |_| {
                        purchase(&world.customers[random.below(world.customers.len())], &mut random)
                    });
                    batches.send(&operations, PURCHASES).await?
                }
                1 => copying.send(world, &mut random, PURCHASES).await?,
                2 => singles.slice(world, SINGLE_PURCHASES).await?,
                _ => again.send(world, &mut random, PURCHASES).await?,
            };
            if round > 0 {
                measured[index].1.push(Slice::whole(&[slice]));
            }
        }
    }
    let ratios = [
        Wanted { name: "batch / COPY", of: 0, to: 1, requirement: Some(Requirement::AtLeast(0.50)) },
        Wanted { name: "batch / single calls", of: 0, to: 2, requirement: Some(Requirement::AtLeast(30.0)) },
        // What the disk allows at best.
        Wanted { name: "COPY / single calls", of: 1, to: 2, requirement: None },
        Wanted { name: "control", of: 3, to: 1, requirement: Some(Requirement::Same(0.10)) },
    ];
    let title = format!("batch of {PURCHASES} purchases by {} customers", world.customers.len());
    let setting = Setting { title: &title, unit: "entries", clients: 1, synchronous_commit: true };
    report.comparison(setting, &measured, &ratios);
    Ok(())
}

/// One customer's spends as a batch, and one by one.
pub async fn hot(world: &World, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let customer = world.customers.first().ok_or("no customer")?;
    let one = World::of(vec![customer.clone()]);
    let (batches, again) = (Batches::open(None).await?, Batches::open(None).await?);
    let call = Call { side: Side::Ours, kind: Kind::Spend };
    let singles = Contender::open("single calls", call, 1, None).await?;
    singles.warm_up(&one).await?;
    let mut random = Random::new(4);
    let mut measured: Vec<Measured> =
        ["one batch", "single calls", "one batch once more"].map(|name| (name, Vec::new())).into();
    for round in 0..=options.rounds {
        for index in order(measured.len(), round) {
            let slice = match index {
                1 => singles.slice(&one, SPENDS).await?,
                _ => {
                    let operations = operations(0..SPENDS, |_| spend(customer, CREDITS, &mut random));
                    let batches = if index == 0 { &batches } else { &again };
                    batches.send(&operations, SPENDS).await?
                }
            };
            if round > 0 {
                measured[index].1.push(Slice::whole(&[slice]));
            }
        }
    }
    let ratio =
        Wanted { name: "batch / single calls", of: 0, to: 1, requirement: Some(Requirement::AtLeast(10.0)) };
    // A batch is one measurement of some milliseconds: less steady than many calls.
    let control = Wanted { name: "control", of: 2, to: 0, requirement: Some(Requirement::Same(0.10)) };
    let title = format!("batch of {SPENDS} spends of one customer");
    let setting = Setting { title: &title, unit: "entries", clients: 1, synchronous_commit: true };
    report.comparison(setting, &measured, &[ratio, control]);
    Ok(())
}
