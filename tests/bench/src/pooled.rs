//! Many connections through pgbouncer in transaction mode, beside as many direct ones as the pool has.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::Failure;
use crate::calls::{AMOUNT_MINOR, CREDITS, CURRENCY};
use crate::measure::{Measured, Sample, order, process, process_nanos};
use crate::options::Options;
use crate::pgbouncer::Pgbouncer;
use crate::random::Random;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::stats::Figures;
use crate::world::{self, World, connect};

const DATABASE: &str = "bench_pooled";
const CONNECTIONS: usize = 500;
/// Server connections of the pool, and direct connections beside it.
const POOL: usize = 8;
/// Calls of each connection before anything is measured, through the pool so many of all together.
const WARM_UP_CALLS: usize = 50;
/// Each measurement of a round is done in so many parts.
const TURNS: usize = 2;

/// Judged with commits that wait for the disk and without: pgbouncer and the client share the processors with the
/// server, so what pgbouncer takes is shown as well.
pub async fn measure(control: &Client, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let admin = world::make_database(control, DATABASE).await?;
    let world = World::of(world::register(&admin, world::CUSTOMERS).await?);
    world::grant_first(&admin, &world.customers).await?;
    admin.batch_execute("VACUUM ANALYZE").await?;
    for on in &options.synchronous_commit {
        // Through a pool nothing can be set for a session.
        let mode = if *on { "on" } else { "off" };
        admin.batch_execute(&format!("ALTER DATABASE {DATABASE} SET synchronous_commit = {mode}")).await?;
        compare(&admin, &world, *on, options, report).await?;
    }
    world::check_balances(&admin, "billing").await?;
    drop(admin);
    control.batch_execute(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await?;
    Ok(())
}

async fn compare(
    admin: &Client,
    world: &World,
    on: bool,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let direct = Connections::direct().await?;
    direct.calls(world, WARM_UP_CALLS).await?;
    let pgbouncer = Pgbouncer::start(DATABASE, POOL, CONNECTIONS).await?;
    let pooled = Connections::pooled(&pgbouncer, admin, world, &direct).await?;

    let contenders =
        [("500 through pgbouncer", &pooled), ("8 direct", &direct), ("8 direct once more", &direct)];
    let mut measured: Vec<Measured> = contenders.map(|(name, _)| (name, Vec::new())).into();
    let mut own = Vec::new();
    for round in 0..options.rounds {
        let mut parts = contenders.map(|_| Part::default());
        let before = process_nanos(pgbouncer.process()?);
        for turn in 0..TURNS {
            for place in order(contenders.len(), round * TURNS + turn) {
                parts[place].add(&contenders[place].1.measure(world, options.seconds).await?);
            }
        }
        // While the direct ones are measured it sleeps.
        let after = process_nanos(pgbouncer.process()?);
        own.extend(
            after.zip(before).map(|(after, before)| (after - before) as f64 / 1_000.0 / parts[0].calls),
        );
        for ((_, samples), part) in measured.iter_mut().zip(&parts) {
            samples.push(part.sample());
        }
    }

    let requirement = Some(Requirement::AtLeast(0.90));
    let wanted = [
        Wanted { name: "pooled / direct", of: 0, to: 1, requirement },
        Wanted { name: "control", of: 2, to: 1, requirement: Some(Requirement::Same(0.05)) },
    ];
    let title = "purchases and spends by unnamed statements, through a pool of 8 and direct";
    report.comparison(Setting::calls(title, CONNECTIONS, on), &measured, &wanted);
    report.figure("pgbouncer's own processor time", &Figures::new(own), "us per call");
    // Whoever is not answered ends the run; whoever never had a turn is counted here.
    report.share("connections that were answered", pooled.answered() as f64 / CONNECTIONS as f64, 1.0);
    Ok(())
}

/// Connections that call one after the other's answer, all at once.
struct Connections {
    clients: Vec<Client>,
    /// Answers that each got while it was measured.
    answers: Vec<Cell<u64>>,
    /// The server's processes behind them.
    processes: Vec<i32>,
}

/// What was measured of a contender.
#[derive(Default)]
struct Part {
    calls: f64,
    seconds: f64,
    cpu_nanos: Option<u64>,
}

impl Connections {
    async fn direct() -> Result<Connections, Failure> {
        let (mut clients, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..POOL {
            let client = connect(Some(DATABASE)).await?;
            processes.push(process(&client).await?);
            clients.push(client);
        }
        Ok(Connections { clients, answers: vec![Cell::new(0); POOL], processes })
    }

    /// Warmed up; the pool is full then.
    async fn pooled(
        pgbouncer: &Pgbouncer,
        admin: &Client,
        world: &World,
        direct: &Connections,
    ) -> Result<Connections, Failure> {
        let mut clients = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            clients.push(pgbouncer.connect(DATABASE).await?);
        }
        let mut pooled =
            Connections { clients, answers: vec![Cell::new(0); CONNECTIONS], processes: Vec::new() };
        pooled.calls(world, (WARM_UP_CALLS * POOL).div_ceil(CONNECTIONS)).await?;
        let sessions = "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL ($1)
                AND backend_type = 'client backend'";
        let sessions = admin.query(sessions, &[&direct.processes]).await?;
        pooled.processes = sessions.iter().map(|row| row.get(0)).collect();
        if pooled.processes.len() == POOL {
            Ok(pooled)
        } else {
            Err(format!("the pool has {} server connections, not {POOL}", pooled.processes.len()).into())
        }
    }

    /// So many calls of each.
    async fn calls(&self, world: &World, count: usize) -> Result<(), Failure> {
        let run = async |(seed, client): (usize, &Client)| -> Result<(), Failure> {
            let mut random = Random::new(seed as u64);
            for number in 0..count {
                call(client, world, number as u64, &mut random).await?;
            }
            Ok(())
        };
        try_join_all(self.clients.iter().enumerate().map(run)).await?;
        Ok(())
    }

    /// Calls for so long; the last ones are waited for.
    async fn measure(&self, world: &World, seconds: f64) -> Result<Part, Failure> {
        let cpu_before = self.cpu_nanos();
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let run = async |(seed, client): (usize, &Client)| -> Result<u64, Failure> {
            let mut random = Random::new(seed as u64);
            let mut calls = 0;
            while Instant::now() < end {
                call(client, world, calls, &mut random).await?;
                calls += 1;
            }
            self.answers[seed].set(self.answers[seed].get() + calls);
            Ok(calls)
        };
        let calls: u64 = try_join_all(self.clients.iter().enumerate().map(run)).await?.into_iter().sum();
        let cpu_nanos = self.cpu_nanos().zip(cpu_before).map(|(after, before)| after - before);
        Ok(Part { calls: calls as f64, seconds: start.elapsed().as_secs_f64(), cpu_nanos })
    }

    fn cpu_nanos(&self) -> Option<u64> {
        self.processes.iter().map(|process| process_nanos(*process)).sum()
    }

    /// How many got an answer.
    fn answered(&self) -> usize {
        self.answers.iter().filter(|answers| answers.get() > 0).count()
    }
}

impl Part {
    fn add(&mut self, other: &Part) {
        let first = self.calls == 0.0;
        self.calls += other.calls;
        self.seconds += other.seconds;
        let so_far = if first { Some(0) } else { self.cpu_nanos };
        self.cpu_nanos = so_far.zip(other.cpu_nanos).map(|(sum, nanos)| sum + nanos);
    }

    fn sample(&self) -> Sample {
        Sample {
            calls_per_second: self.calls / self.seconds,
            cpu_micros_per_call: self.cpu_nanos.map(|nanos| nanos as f64 / 1_000.0 / self.calls),
        }
    }
}

/// A purchase and a spend by turns. A statement that is prepared by name belongs to a server connection, which the next
/// transaction of the same client need not get: so these are sent whole, each parsed anew, on both sides.
async fn call(client: &Client, world: &World, number: u64, random: &mut Random) -> Result<(), Failure> {
    let user = &world.customers[world.next(random)].user_id;
    let key = random.uuid().to_string();
    let row = if number.is_multiple_of(2) {
        let purchase = "SELECT applied FROM public.apply_credit_purchase($1, $2, $3, stripe_session_id => $4,
            amount_minor => $5, currency => $6)";
        let session = random.session();
        let arguments: [(&(dyn ToSql + Sync), Type); 6] = [
            (user, Type::TEXT),
            (&CREDITS, Type::INT8),
            (&key, Type::TEXT),
            (&session, Type::TEXT),
            (&AMOUNT_MINOR, Type::INT8),
            (&CURRENCY, Type::TEXT),
        ];
        client.query_typed_one(purchase, &arguments).await?
    } else {
        let spend = "SELECT applied FROM public.spend_credits($1, $2, $3)";
        let arguments: [(&(dyn ToSql + Sync), Type); 3] =
            [(user, Type::TEXT), (&CREDITS, Type::INT8), (&key, Type::TEXT)];
        client.query_typed_one(spend, &arguments).await?
    };
    if row.try_get(0)? { Ok(()) } else { Err("a call through a pool was not applied".into()) }
}
