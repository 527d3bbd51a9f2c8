//! How fast billing_rpc is: ratios of two things measured in turns in the same run.
//!
//! `world` makes the database, `calls` are what is compared, `measure` measures them in turns, `report` prints.
//! Sections that need more than that have a module of their own, named as they are (`batch` and `hot` are in `bulk`).

mod application;
mod bulk;
mod calls;
mod kept;
mod large;
mod lots;
mod measure;
mod memory;
mod needs;
mod options;
mod pgbouncer;
mod policy;
mod pooled;
mod random;
mod report;
mod signature;
mod size;
mod stats;
mod wal;
mod webhook;
mod world;

use std::time::Instant;

use calls::{Call, Kind, Side};
use measure::Contender;
use options::Options;
use report::{Report, Requirement, Setting, Wanted};
use tokio_postgres::Client;
use world::World;

/// Whatever ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Both are measured with each number of clients.
const CLIENTS: [usize; 2] = [1, 8];
const REPORT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench.json");

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

/// Comparisons of calls.
struct Comparison {
    section: &'static str,
    title: &'static str,
    contenders: Vec<(&'static str, Call)>,
    /// By the number of clients.
    ratios: fn(usize) -> Vec<Wanted>,
}

fn ratio(name: &'static str, of: usize, to: usize) -> Wanted {
    Wanted { name, of, to, requirement: None }
}

fn at_least(name: &'static str, of: usize, to: usize, least: f64) -> Wanted {
    Wanted { name, of, to, requirement: Some(Requirement::AtLeast(least)) }
}

/// Two measurements of one thing.
fn control(of: usize, to: usize) -> Wanted {
    Wanted { name: "control", of, to, requirement: Some(Requirement::Same(0.05)) }
}

fn comparisons() -> Vec<Comparison> {
    let call = |side, kind| Call { side, kind };
    vec![
        Comparison {
            section: "purchase",
            title: "purchase",
            contenders: vec![
                ("ours", call(Side::Ours, Kind::Purchase)),
                ("twin in PL/pgSQL", call(Side::Twin, Kind::Purchase)),
                ("floor of bare SQL", call(Side::Floor, Kind::Purchase)),
                ("ours once more", call(Side::Ours, Kind::Purchase)),
            ],
            ratios: |_| {
                vec![at_least("ours / floor", 0, 2, 0.60), at_least("ours / twin", 0, 1, 1.20), control(3, 0)]
            },
        },
        Comparison {
            section: "spend",
            title: "spend",
            contenders: vec![
                ("ours", call(Side::Ours, Kind::Spend)),
                ("twin in PL/pgSQL", call(Side::Twin, Kind::Spend)),
                ("floor of bare SQL", call(Side::Floor, Kind::Spend)),
            ],
            ratios: |_| vec![ratio("ours / floor", 0, 2), ratio("ours / twin", 0, 1)],
        },
        Comparison {
            section: "replay",
            title: "replay",
            contenders: vec![
                ("ours replay", call(Side::Ours, Kind::Replay)),
                ("twin replay", call(Side::Twin, Kind::Replay)),
                ("floor lookup by key", call(Side::Floor, Kind::Replay)),
                ("ours applied", call(Side::Ours, Kind::Purchase)),
            ],
            ratios: |_| {
                vec![
                    ratio("replay / applied", 0, 3),
                    ratio("ours / twin", 0, 1),
                    ratio("ours / floor's lookup", 0, 2),
                ]
            },
        },
        Comparison {
            section: "webhook",
            title: "webhook, signed checkout body",
            contenders: vec![
                ("ours", call(Side::Ours, Kind::Webhook)),
                ("twin in PL/pgSQL", call(Side::Twin, Kind::Webhook)),
                ("application over a driver", call(Side::Application, Kind::Webhook)),
                ("ours once more", call(Side::Ours, Kind::Webhook)),
            ],
            ratios: |clients| {
                let application = if clients == 1 { 1.5 } else { 2.0 };
                vec![
                    at_least("ours / twin", 0, 1, 1.5),
                    at_least("ours / application", 0, 2, application),
                    control(3, 0),
                ]
            },
        },
        Comparison {
            section: "deliveries",
            title: "deliveries that change no balance",
            contenders: vec![
                ("applied", call(Side::Ours, Kind::Webhook)),
                ("delivered again", call(Side::Ours, Kind::Redelivery)),
                ("type without effect", call(Side::Ours, Kind::Ignored)),
                ("signature refused", call(Side::Ours, Kind::Forged)),
            ],
            ratios: |_| {
                vec![
                    ratio("replay / applied", 1, 0),
                    ratio("ignored / applied", 2, 0),
                    ratio("refused / applied", 3, 0),
                ]
            },
        },
    ]
}

async fn run() -> Result<bool, Failure> {
    let options = Options::read()?;
    let started = Instant::now();
    let progress = |text: &str| eprintln!("[{:>4} s] {text}", started.elapsed().as_secs());
    let mut report = Report::default();

    progress("making the tables four times, with 1,000 customers");
    let control = world::connect(None).await?;
    let server: String = control.query_one("SELECT version()", &[]).await?.get(0);
    needs::check(&control, &options).await?;
    let world = world::make(&control).await?;

    if options.wants("wal") {
        progress("WAL per call");
        wal::measure(&control, &world, &options, &mut report).await?;
    }
    for comparison in comparisons() {
        if options.wants(comparison.section) {
            compare(&comparison, &world, &options, &mut report, &progress).await?;
        }
    }
    if options.wants("signature") {
        progress("check of a signature beside OpenSSL's HMAC");
        signature::measure(&control, &world, &options, &mut report).await?;
    }
    if options.wants("batch") {
        progress("batch beside COPY and single calls");
        bulk::batch(&world, &options, &mut report).await?;
    }
    if options.wants("hot") {
        progress("batch of one customer's spends beside single calls");
        bulk::hot(&world, &options, &mut report).await?;
    }
    progress("checking the books");
    world::check(&control).await?;
    if options.wants("purchase") {
        report.heading("after all of that");
        hot_share(&control, &mut report).await?;
    }
    if options.wants("size") {
        progress("a large database beside a small one");
        size::measure(&control, &options, &mut report, &progress).await?;
    }
    if options.wants("lots") {
        progress("customers with lots beside customers without");
        lots::measure(&control, &options, &mut report).await?;
    }
    if options.wants("kept") {
        progress("a session as old as the tables against a new one");
        kept::measure(&control, &options, &mut report).await?;
    }

    if options.wants("policy") {
        progress("row policies that ask for credits beside constant ones");
        policy::measure(&control, &options, &mut report).await?;
    }
    if options.wants("pooled") {
        progress("connections through pgbouncer beside direct ones");
        pooled::measure(&control, &options, &mut report).await?;
    }
    if options.wants("large") {
        progress("what operators wait for where much is stored");
        large::measure(&control, &options, &mut report, &progress).await?;
    }
    if options.wants("memory") {
        progress("memory of a session that is kept open");
        memory::measure(&control, &options, &mut report, &progress).await?;
    }

    let json = report.json(options.rounds, options.seconds, &server);
    std::fs::write(REPORT_FILE, format!("{json:#}\n"))?;
    progress("done; the same figures are in target/bench.json");
    let (missed, unsure) = report.verdicts();
    println!("\nrequirements missed: {missed}, unsure: {unsure}");
    Ok(missed == 0 || !options.require)
}

async fn compare(
    comparison: &Comparison,
    world: &World,
    options: &Options,
    report: &mut Report,
    progress: &impl Fn(&str),
) -> Result<(), Failure> {
    prepare(comparison.section, world).await?;
    let most = CLIENTS.into_iter().max().unwrap_or(1);
    let mut contenders = Vec::new();
    for (name, call) in &comparison.contenders {
        contenders.push(Contender::open(name, *call, most, None).await?);
    }
    for on in &options.synchronous_commit {
        for contender in &contenders {
            contender.synchronous_commit(*on).await?;
            contender.warm_up(world).await?;
        }
        for clients in CLIENTS {
            let mode = if *on { "on" } else { "off" };
            progress(&format!("{}: clients {clients}, synchronous_commit {mode}", comparison.title));
            let worlds = vec![world; contenders.len()];
            let named =
                measure::in_turns(&contenders, &worlds, clients, options.rounds, options.seconds).await?;
            report.comparison(
                Setting::calls(comparison.title, clients, *on),
                &named,
                &(comparison.ratios)(clients),
            );
        }
    }
    Ok(())
}

/// What has to be there before a section's sessions are opened.
async fn prepare(section: &str, world: &World) -> Result<(), Failure> {
    match section {
        "replay" => remember(world, Kind::Purchase, &[Side::Ours, Side::Twin, Side::Floor]).await,
        "webhook" => {
            let control = world::connect(None).await?;
            webhook::check_alike(&control, world).await?;
            remember(world, Kind::Webhook, &[Side::Ours, Side::Twin, Side::Application]).await?;
            // A plan that is made and kept while its tables are empty scans them ever after.
            Ok(control.batch_execute("VACUUM ANALYZE").await?)
        }
        "deliveries" => remember(world, Kind::Webhook, &[Side::Ours]).await,
        _ => Ok(()),
    }
}

/// Has each side apply requests that can be sent again.
async fn remember(world: &World, kind: Kind, sides: &[Side]) -> Result<(), Failure> {
    for side in sides {
        let contender = Contender::open("", Call { side: *side, kind }, 4, None).await?;
        contender.synchronous_commit(false).await?;
        contender.calls(world, 500).await?;
    }
    Ok(())
}

/// How many updates of balances left the indexes alone.
async fn hot_share(client: &Client, report: &mut Report) -> Result<(), Failure> {
    // Sessions hand in their statistics when they end, at the latest.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let share = "SELECT coalesce(n_tup_hot_upd::float8 / nullif(n_tup_upd, 0), 0)
        FROM pg_stat_user_tables WHERE schemaname = 'billing' AND relname = 'balances'";
    let share: f64 = client.query_one(share, &[]).await?.get(0);
    report.share("HOT updates of balances", share, 0.90);
    Ok(())
}
