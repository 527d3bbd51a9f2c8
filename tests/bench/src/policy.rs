//! What a row policy costs that asks for credits, beside one that compares with a constant.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::measure::{Measured, Meter, Slice, order, process};
use crate::options::Options;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::world::{self, connect};

const DATABASE: &str = "bench_policy";
const ROWS: i64 = 100_000;
/// Each measurement of a round is done in so many parts.
const TURNS: usize = 5;

/// One role each, with a policy of its own on the one table.
const ROLES: [&str; 6] = [
    "bench_constant",
    "bench_has_credits",
    "bench_each_row",
    "bench_constant_price",
    "bench_my_credits",
    "bench_credit_balance",
];

/// All of a table by an end user (`credit_balance`: by a member of billing_service), in turns.
pub async fn measure(control: &Client, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let admin = world::make_database(control, DATABASE).await?;
    drop_roles(control).await?;
    let customers = world::register(&admin, 1).await?;
    world::grant_first(&admin, &customers).await?;
    let policies = include_str!("../sql/policies.sql").replace("@rows@", &ROWS.to_string());
    for statement in policies.split_inclusive(";\n") {
        admin.batch_execute(statement).await?;
    }
    let user = &customers[0].user_id;
    let mut readers = Vec::new();
    for (name, role) in [
        ("a constant", ROLES[0]),
        ("(SELECT has_credits(10))", ROLES[1]),
        ("a constant once more", ROLES[0]),
        ("has_credits(10), each row", ROLES[2]),
    ] {
        readers.push(Reader::open(name, role, user).await?);
    }
    let most = Some(Requirement::ProcessorAtMost(1.20));
    let wanted = [
        Wanted { name: "cost, asking / constant", of: 0, to: 1, requirement: most },
        Wanted { name: "cost, each row / constant", of: 0, to: 3, requirement: None },
        Wanted { name: "control", of: 2, to: 0, requirement: Some(Requirement::Same(0.05)) },
    ];
    compare("row policy that is true", &readers, &wanted, options, report).await?;

    let mut readers = Vec::new();
    for (name, role) in [
        ("price <= a constant", ROLES[3]),
        ("<= (SELECT my_credits())", ROLES[4]),
        ("<= (SELECT credit_balance)", ROLES[5]),
        ("<= a constant once more", ROLES[3]),
    ] {
        readers.push(Reader::open(name, role, user).await?);
    }
    let wanted = [
        Wanted { name: "cost, my_credits / constant", of: 0, to: 1, requirement: most },
        Wanted { name: "cost, balance / constant", of: 0, to: 2, requirement: most },
        Wanted { name: "control", of: 3, to: 0, requirement: Some(Requirement::Same(0.05)) },
    ];
    compare("row policy that compares each row", &readers, &wanted, options, report).await?;

    drop((admin, readers));
    control.batch_execute(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await?;
    drop_roles(control).await
}

/// They belong to the whole server, and are not wanted there.
async fn drop_roles(control: &Client) -> Result<(), Failure> {
    Ok(control.batch_execute(&format!("DROP ROLE IF EXISTS {}", ROLES.join(", "))).await?)
}

/// A session that reads the table as one of the roles.
struct Reader {
    name: &'static str,
    client: Client,
    process: i32,
    count: Statement,
    /// Asked once for every row it takes a hundred times as long.
    slow: bool,
}

impl Reader {
    async fn open(name: &'static str, role: &str, user: &str) -> Result<Reader, Failure> {
        let client = connect(Some(DATABASE)).await?;
        // Only what this session's own process does is counted.
        client
            .batch_execute(&format!(
                "SET ROLE {role}; SET \"request.jwt.claims\" = '{{\"sub\": \"{user}\"}}'; SET jit = off;
                 SET max_parallel_workers_per_gather = 0"
            ))
            .await?;
        let count = client.prepare("SELECT count(*) FROM public.renderings").await?;
        let process = process(&client).await?;
        Ok(Reader { name, client, process, count, slow: role == ROLES[2] })
    }

    /// Reads for so long, and at least once.
    async fn read(&self, seconds: f64) -> Result<Slice, Failure> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let meter = Meter::start(self.process);
        let mut calls = 0;
        loop {
            let rows: i64 = self.client.query_one(&self.count, &[]).await?.get(0);
            if rows != ROWS {
                return Err(format!("{}: {rows} rows are seen, not {ROWS}", self.name).into());
            }
            calls += 1;
            if Instant::now() >= end {
                return Ok(meter.stop(calls));
            }
        }
    }
}

async fn compare(
    title: &str,
    readers: &[Reader],
    wanted: &[Wanted],
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut measured: Vec<Measured> = readers.iter().map(|reader| (reader.name, Vec::new())).collect();
    // The first round warms up.
    for round in 0..=options.rounds {
        let mut slices = vec![Vec::new(); readers.len()];
        for turn in 0..TURNS {
            for place in order(readers.len(), round * TURNS + turn) {
                let reader = &readers[place];
                if turn == 0 || !reader.slow {
                    slices[place].push(reader.read(options.seconds / TURNS as f64).await?);
                }
            }
        }
        if round > 0 {
            for ((_, samples), slices) in measured.iter_mut().zip(&slices) {
                samples.push(Slice::whole(slices));
            }
        }
    }
    let title = format!("{title}, all of {ROWS} rows");
    let setting = Setting { unit: "reads", ..Setting::calls(&title, 1, false) };
    report.comparison(setting, &measured, wanted);
    Ok(())
}
