//! How fast billing_rpc is: ratios of two things measured in turns in the same run.
//!
//! `world` makes the database, `calls` are what is compared, `measure` measures them in turns, `report` collects and
//! prints. Most sections are comparisons of calls (`compare`); the others have a module of their own.

mod application;
mod bulk;
mod calls;
mod chart;
mod compare;
mod drive;
mod goals;
mod kept;
mod large;
mod latency;
mod lots;
mod machine;
mod measure;
mod memory;
mod needs;
mod options;
mod pgbouncer;
mod policy;
mod pooled;
mod publish;
mod random;
mod render;
mod report;
mod resources;
mod results;
mod signature;
mod size;
mod stats;
mod wal;
mod webhook;
mod world;

use std::pin::Pin;
use std::time::Instant;

use options::Options;
use report::Report;
use tokio_postgres::Client;
use world::World;

/// Whatever ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const REPORT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench.json");

/// What every section has to hand.
pub struct Bench {
    pub control: Client,
    pub world: World,
    pub options: Options,
    pub report: Report,
    started: Instant,
}

/// A part of the run that can be asked for alone.
struct Section {
    name: &'static str,
    run: for<'a> fn(&'a mut Bench) -> Running<'a>,
}
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

const fn section(name: &'static str, run: for<'a> fn(&'a mut Bench) -> Running<'a>) -> Section {
    Section { name, run }
}

/// In the order in which they run.
const SECTIONS: &[Section] = &[
    section("wal", |b| Box::pin(wal::measure(&b.control, &b.world, &b.options, &mut b.report))),
    section("purchase", |b| Box::pin(compare::section(b, "purchase"))),
    section("spend", |b| Box::pin(compare::section(b, "spend"))),
    section("replay", |b| Box::pin(compare::section(b, "replay"))),
    section("webhook", |b| Box::pin(compare::section(b, "webhook"))),
    section("deliveries", |b| Box::pin(compare::section(b, "deliveries"))),
    section("latency", |b| Box::pin(latency::measure(&b.world, &b.options, &mut b.report))),
    section("signature", |b| Box::pin(signature::measure(&b.control, &b.world, &b.options, &mut b.report))),
    section("batch", |b| Box::pin(bulk::batch(&b.world, &b.options, &mut b.report))),
    section("hot", |b| Box::pin(bulk::hot(&b.world, &b.options, &mut b.report))),
    section("size", |b| {
        let progress = progress(b.started);
        Box::pin(async move { size::measure(&b.control, &b.options, &mut b.report, &progress).await })
    }),
    section("lots", |b| Box::pin(lots::measure(&b.control, &b.options, &mut b.report))),
    section("kept", |b| Box::pin(kept::measure(&b.control, &b.options, &mut b.report))),
    section("policy", |b| Box::pin(policy::measure(&b.control, &b.options, &mut b.report))),
    section("pooled", |b| Box::pin(pooled::measure(&b.control, &b.options, &mut b.report))),
    section("large", |b| {
        let progress = progress(b.started);
        Box::pin(async move { large::measure(&b.control, &b.options, &mut b.report, &progress).await })
    }),
    section("memory", |b| {
        let progress = progress(b.started);
        Box::pin(async move { memory::measure(&b.control, &b.options, &mut b.report, &progress).await })
    }),
];

fn main() -> std::process::ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {}", told(failure.as_ref()));
            std::process::ExitCode::from(2)
        }
    }
}

/// An error with what the server said about it.
fn told(failure: &(dyn std::error::Error + 'static)) -> String {
    let database = failure.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.as_db_error());
    database.map_or_else(|| failure.to_string(), |error| format!("{error} {:?}", error.where_()))
}

/// Tells how far the run is.
fn progress(started: Instant) -> impl Fn(&str) {
    move |text| eprintln!("[{:>4} s] {text}", started.elapsed().as_secs())
}

async fn run() -> Result<bool, Failure> {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let options = Options::read(&names)?;
    if let Some(file) = &options.render {
        publish::render(file)?;
        return Ok(true);
    }
    if let Some(what) = &options.drive {
        drive::drive(what).await?;
        return Ok(true);
    }
    let started = Instant::now();
    let progress = progress(started);
    progress("making the tables four times, with 1,000 customers");
    let control = world::connect(None).await?;
    needs::check(&control, &options).await?;
    let world = world::make(&control).await?;
    let mut bench = Bench { control, world, options, report: Report::default(), started };
    for section in SECTIONS {
        if bench.options.wants(section.name) {
            progress(section.name);
            bench.report.section(section.name);
            (section.run)(&mut bench).await?;
        }
    }
    progress("checking the books");
    world::check(&bench.control).await?;
    bench.report.section("books");
    bench.report.heading("after all of that");
    hot_share(&bench.control, &mut bench.report).await?;
    end(&bench, &progress).await
}

/// Writes what was measured, and says whether it is as it should be.
async fn end(bench: &Bench, progress: &impl Fn(&str)) -> Result<bool, Failure> {
    let Bench { options, report, .. } = bench;
    let machine = machine::facts(&bench.control).await?;
    let results = report.json(options, &machine);
    std::fs::write(REPORT_FILE, format!("{results:#}\n"))?;
    if options.publish {
        publish::publish(&results)?;
        progress("docs/performance.md and its charts are made of this run");
    }
    progress("done; the same figures are in target/bench.json");
    let (missed, unsure) = report.verdicts();
    println!("\nrequirements missed: {missed}, unsure: {unsure}");
    Ok(missed == 0 || !options.require)
}

/// How many updates of balances left the indexes alone.
async fn hot_share(client: &Client, report: &mut Report) -> Result<(), Failure> {
    // Sessions hand in their statistics when they end, at the latest.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let share = "SELECT n_tup_hot_upd::float8 / nullif(n_tup_upd, 0)
        FROM pg_stat_user_tables WHERE schemaname = 'billing' AND relname = 'balances'";
    let share: Option<f64> = client.query_one(share, &[]).await?.get(0);
    match share {
        Some(share) => report.share("HOT updates of balances", share, 0.95),
        None => report.heading("no balance was updated"),
    }
    Ok(())
}
