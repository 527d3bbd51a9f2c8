//! How long operators wait where ten million events are stored.

use std::time::Instant;

use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::calls::Kind;
use crate::options::Options;
use crate::report::{Report, Requirement};
use crate::stats::Figures;
use crate::webhook;
use crate::world::{self, World, connect};

const DATABASE: &str = "bench_large";
const SHAPES: &str = "bench_shapes";
/// Nobody waits longer than that for any of them, in milliseconds.
const LIMIT: Requirement = Requirement::Below(1_000.0);
/// Calls of each, of which the median counts.
const CALLS: usize = 5;
/// Events that are due at once, and customers whose checkouts they are.
const DUE: usize = 100;
/// Events that a batch of the purge takes.
const PURGED: i64 = 1_000;

const PAGE: &str = "SELECT count(*) FROM billing_dashboard() page WHERE page LIKE '%</html>'";
const RETRY: &str = "SELECT count(*) FROM retry_webhook_events(100)";

/// The shape in which there are old events.
const QUIET: &str = "two months";

/// What is looked at by whoever looks on.
const LOOKS: [(&str, &str); 8] = [
    ("health()", "SELECT count(*) FROM billing.health()"),
    ("metrics()", "SELECT count(*) FROM billing.metrics() AS told WHERE told LIKE '%# EOF%'"),
    ("failed_events", "SELECT count(*) FROM billing.failed_events"),
    ("stuck_events", "SELECT count(*) FROM billing.stuck_events"),
    ("unfinished_events", "SELECT count(*) FROM billing.unfinished_events"),
    ("recent_events", "SELECT count(*) FROM billing.recent_events"),
    ("ledger_entries, 20 of them", "SELECT count(*) FROM (SELECT FROM billing.ledger_entries LIMIT 20) AS e"),
    ("credit_totals", "SELECT count(*) FROM billing.credit_totals"),
];

/// One large database as years leave it, then the dashboard on a tenth as many events in shapes that are hard for it.
pub async fn measure(
    control: &Client,
    options: &Options,
    report: &mut Report,
    progress: &impl Fn(&str),
) -> Result<(), Failure> {
    let events = options.events;
    progress(&format!("filling a database with {events} events"));
    let admin = database(control, DATABASE).await?;
    let world = World::of(world::register(&admin, DUE).await?);
    admin.batch_execute(&include_str!("../sql/large.sql").replace("@events@", &events.to_string())).await?;
    world::settle(&admin).await?;
    control.batch_execute("CHECKPOINT").await?;

    report.heading(&format!("{events} events, {} customers: milliseconds of {CALLS} calls", events / 10));
    progress("looking at it");
    looks(&admin, report).await?;
    progress("events that are due");
    retries(&admin, &world, report).await?;
    progress("batches of the purge");
    purge(&admin, "purge, a third purged before", "90 days", report).await?;
    purge_from_the_beginning(&admin, "90 days", report).await?;
    drop(admin);
    control.batch_execute(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await?;
    shapes(control, events / 10, report, progress).await
}

/// A database where nothing is vacuumed or analysed by chance.
async fn database(control: &Client, name: &str) -> Result<Client, Failure> {
    let admin = world::make_database(control, name).await?;
    admin.batch_execute(include_str!("../sql/no_autovacuum.sql")).await?;
    Ok(admin)
}

/// A session as a member of one of the roles.
async fn session(database: &str, role: &str) -> Result<Client, Failure> {
    let client = connect(Some(database)).await?;
    client.batch_execute(&format!("SET ROLE {role}")).await?;
    Ok(client)
}

/// What a statement answered, and how long that took.
async fn timed(client: &Client, statement: &Statement) -> Result<(f64, i64), Failure> {
    let start = Instant::now();
    let answer = client.query_one(statement, &[]).await?.get(0);
    Ok((start.elapsed().as_secs_f64() * 1_000.0, answer))
}

/// The same, where one answer only is right.
async fn answered(client: &Client, statement: &Statement, right: i64) -> Result<f64, Failure> {
    let (time, answer) = timed(client, statement).await?;
    if answer == right { Ok(time) } else { Err(format!("answered {answer}, not {right}").into()) }
}

async fn looks(admin: &Client, report: &mut Report) -> Result<(), Failure> {
    page(DATABASE, "dashboard", report).await?;
    let monitor = session(DATABASE, "billing_monitor").await?;
    for (name, statement) in LOOKS {
        let statement = monitor.prepare(statement).await?;
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let (time, answer) = timed(&monitor, &statement).await?;
            if name.ends_with("()") && answer == 0 {
                return Err(format!("{name} tells nothing").into());
            }
            times.push(time);
        }
        report.judged(name, &Figures::new(times), "ms", LIMIT);
    }
    // The numbers are the tables' own.
    let same = "SELECT count(*) = 2 FROM regexp_split_to_table(billing.metrics(), '\\n') AS line
        WHERE line IN ('billing_rpc_customers ' || (SELECT count(*) FROM billing.customers),
                       'billing_rpc_ledger_entries_total ' || (SELECT count(*) FROM billing.ledger))";
    if admin.query_one(same, &[]).await?.get(0) {
        Ok(())
    } else {
        Err("metrics() does not tell the tables' numbers".into())
    }
}

/// The dashboard for the first time in a session, and once more.
async fn page(database: &str, what: &str, report: &mut Report) -> Result<(), Failure> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let monitor = session(database, "billing_monitor").await?;
        let statement = monitor.prepare(PAGE).await?;
        first.push(answered(&monitor, &statement, 1).await?);
        second.push(answered(&monitor, &statement, 1).await?);
    }
    report.judged(&format!("{what}, first page"), &Figures::new(first), "ms", LIMIT);
    report.judged(&format!("{what}, second page"), &Figures::new(second), "ms", LIMIT);
    Ok(())
}

/// Finding that nothing is due, and processing what is: checkouts whose bodies were kept.
async fn retries(admin: &Client, world: &World, report: &mut Report) -> Result<(), Failure> {
    let service = session(DATABASE, "billing_service").await?;
    let statement = service.prepare(RETRY).await?;
    let (mut nothing, mut due) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        nothing.push(answered(&service, &statement, 0).await?);
    }
    for _ in 0..CALLS {
        make_due(admin, world).await?;
        due.push(answered(&service, &statement, DUE as i64).await?);
    }
    report.judged("retry, nothing due", &Figures::new(nothing), "ms", LIMIT);
    report.judged("retry, 100 due and applied", &Figures::new(due), "ms", LIMIT);
    let completed = "SELECT count(*) FROM billing.webhook_events
        WHERE event_type = 'checkout.session.completed' AND status = 'completed' AND result ->> 'reason' = 'applied'";
    let completed: i64 = admin.query_one(completed, &[]).await?.get(0);
    if completed == (DUE * CALLS) as i64 {
        Ok(())
    } else {
        Err("an event that was due was not applied".into())
    }
}

/// As if so many deliveries had been recorded a minute ago.
async fn make_due(admin: &Client, world: &World) -> Result<(), Failure> {
    webhook::sign(world, Kind::Webhook, DUE)?;
    let bodies: Vec<String> = world.bodies.borrow_mut().drain(..).map(|(body, _)| body).collect();
    let record = "INSERT INTO billing.webhook_events
            (received_at, next_attempt_at, attempts, livemode, provider, event_id, event_type, status, payload_summary, payload)
        SELECT now(), now() - interval '1 minute', 0, false, 'stripe', body::json ->> 'id', body::json ->> 'type', 'recorded', '{}', body
        FROM unnest($1::text[]) AS body";
    admin.execute(record, &[&bodies]).await?;
    Ok(())
}

/// Batches of the purge, one after the other.
async fn purge(admin: &Client, name: &str, older_than: &str, report: &mut Report) -> Result<(), Failure> {
    let times = batches(admin, older_than).await?;
    report.judged(name, &Figures::new(times), "ms", LIMIT);
    Ok(())
}

/// The same where each searches from the table's beginning: as a rule the server lets a search begin where the last
/// one ended (`synchronize_seqscans`), and only the first after a restart takes that long.
async fn purge_from_the_beginning(
    admin: &Client,
    older_than: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    admin.batch_execute("SET synchronize_seqscans = off").await?;
    let times = batches(admin, older_than).await?;
    admin.batch_execute("RESET synchronize_seqscans").await?;
    report.figure("the same, each from the table's beginning", &Figures::new(times), "ms");
    Ok(())
}

async fn batches(admin: &Client, older_than: &str) -> Result<Vec<f64>, Failure> {
    let batch = format!("SELECT billing.purge_webhook_events('{older_than}', {PURGED})");
    let batch = admin.prepare(&batch).await?;
    let mut times = Vec::new();
    for _ in 0..CALLS {
        times.push(answered(admin, &batch, PURGED).await?);
    }
    Ok(times)
}

/// The dashboard before and after the tables are analysed.
async fn shapes(
    control: &Client,
    rows: usize,
    report: &mut Report,
    progress: &impl Fn(&str),
) -> Result<(), Failure> {
    let admin = database(control, SHAPES).await?;
    report.heading(&format!("the dashboard on {rows} events: milliseconds of {CALLS} sessions"));
    for shape in ["one hour", QUIET, "no two alike"] {
        progress(&format!("{rows} events of {shape}"));
        let fill = include_str!("../sql/shape.sql").replace("@shape@", shape);
        admin.batch_execute(&fill.replace("@rows@", &rows.to_string())).await?;
        pages(&admin, &format!("events of {shape}"), report).await?;
        if shape == QUIET {
            purge(&admin, "purge, nothing purged before", "30 days", report).await?;
        }
    }
    progress(&format!("{rows} entries of the ledger"));
    let fill = include_str!("../sql/busy_day.sql").replace("@rows@", &rows.to_string());
    admin.batch_execute(&fill).await?;
    pages(&admin, "and as many entries of a day", report).await?;
    drop(admin);
    control.batch_execute(&format!("DROP DATABASE {SHAPES} WITH (FORCE)")).await?;
    Ok(())
}

async fn pages(admin: &Client, what: &str, report: &mut Report) -> Result<(), Failure> {
    page(SHAPES, &format!("{what}, never analysed"), report).await?;
    admin.batch_execute("VACUUM ANALYZE").await?;
    page(SHAPES, &format!("{what}, analysed"), report).await
}
