//! Whether a session that is kept open for long keeps its memory to itself.

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::calls::{Call, Kind, Side};
use crate::measure::process;
use crate::options::Options;
use crate::random::Random;
use crate::report::{Report, Requirement};
use crate::stats::Figures;
use crate::webhook;
use crate::world::{self, World, connect};

const DATABASE: &str = "bench_memory";
/// Until plans and caches are as they will stay.
const WARM_UP_CALLS: usize = 5_000;
/// Calls that are under way at once; each is a transaction of its own.
const PIPELINED: usize = 100;
/// How often it is told how far it is.
const STEPS: usize = 10;
/// Kilobytes by which a session may have grown.
const MOST_GROWTH: f64 = 1_024.0;

/// What is called, as often each.
const KINDS: [Option<Kind>; 5] =
    [Some(Kind::Purchase), Some(Kind::Spend), Some(Kind::Replay), Some(Kind::Webhook), None];
const BALANCE: &str = "SELECT balance IS NOT NULL FROM public.credit_balance($1)";

/// One session in a database of its own.
pub async fn measure(
    control: &Client,
    options: &Options,
    report: &mut Report,
    progress: &impl Fn(&str),
) -> Result<(), Failure> {
    let admin = world::make_database(control, DATABASE).await?;
    let world = World::of(world::register(&admin, world::CUSTOMERS).await?);
    world::grant_first(&admin, &world.customers).await?;
    admin.execute("SELECT billing.add_webhook_secret('stripe', $1)", &[&world::WEBHOOK_SECRET]).await?;
    let session = Session::open(&world).await?;

    let mut sizes = vec![session.private_memory()?];
    for step in 1..=STEPS {
        session.calls(&world, options.memory_calls / STEPS).await?;
        let size = session.private_memory()?;
        progress(&format!("{} calls made, {size:.0} kB", options.memory_calls / STEPS * step));
        sizes.push(size);
    }
    let (first, last) = (sizes[0], sizes[STEPS]);
    report.heading(&format!(
        "private memory of one session (RssAnon) over {} calls: purchase, spend, replay, webhook, balance",
        options.memory_calls
    ));
    report.figure("at the start and after", &Figures::new(sizes), "kB");
    let growth = Figures::new(vec![last - first]);
    report.judged("growth", &growth, "kB", Requirement::Below(MOST_GROWTH));
    drop((session, admin));
    // Sessions end a moment after their connections are dropped.
    control.batch_execute(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await?;
    Ok(())
}

struct Session {
    client: Client,
    process: i32,
    calls: Vec<(Call, Vec<Statement>)>,
    balance: Statement,
}

impl Session {
    /// With plans and caches as they will stay.
    async fn open(world: &World) -> Result<Session, Failure> {
        let client = connect(Some(DATABASE)).await?;
        client.batch_execute("SET synchronous_commit = off").await?;
        let mut calls = Vec::new();
        for kind in KINDS.into_iter().flatten() {
            let call = Call { side: Side::Ours, kind };
            calls.push((call, call.prepare(&client).await?));
        }
        let balance = client.prepare(BALANCE).await?;
        let process = process(&client).await?;
        let session = Session { client, process, calls, balance };
        // There has to be something to replay.
        let (purchase, prepared) = &session.calls[0];
        purchase.make(&session.client, prepared, world, &mut Random::new(0)).await?;
        session.calls(world, WARM_UP_CALLS).await?;
        Ok(session)
    }

    /// At least so many, of every kind in turn.
    async fn calls(&self, world: &World, count: usize) -> Result<(), Failure> {
        for _ in 0..count.div_ceil(PIPELINED) {
            webhook::sign(world, Kind::Webhook, PIPELINED)?;
            try_join_all((0..PIPELINED).map(|number| self.call(world, number))).await?;
        }
        Ok(())
    }

    async fn call(&self, world: &World, number: usize) -> Result<(), Failure> {
        let mut random = Random::new(number as u64);
        match self.calls.get(number % KINDS.len()) {
            Some((call, prepared)) => {
                call.make(&self.client, prepared, world, &mut random).await?;
            }
            None => {
                let user = &world.customers[random.below(world.customers.len())].user_id;
                if !self.client.query_one(&self.balance, &[user]).await?.get::<_, bool>(0) {
                    return Err("a customer has no balance".into());
                }
            }
        }
        Ok(())
    }

    /// Kilobytes that the server's process has for itself alone.
    fn private_memory(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process))
            .map_err(|_| "the server's processes are not to be seen from here")?;
        let size = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
        Ok(size.ok_or("this system tells nothing of private memory")?.parse()?)
    }
}
