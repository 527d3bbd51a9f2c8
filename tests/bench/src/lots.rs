//! What lots cost a spend: those it takes from, and those that are used up.

use tokio_postgres::Client;

use crate::Failure;
use crate::bulk::{Batches, operations, spend};
use crate::calls::{CREDITS, Call, Kind, Side};
use crate::compare::once_more;
use crate::measure::{Contender, Measured, Slice, order};
use crate::options::Options;
use crate::random::Random;
use crate::report::{Report, Requirement, Setting, Wanted};
use crate::world::{Customer, World, grant_first, make_database, register};

const DATABASE: &str = "bench_lots";
/// Lots that one spend uses up.
const CROSSED: usize = 10;
/// Customers whose spends use lots up, and those beside them; each spends once a turn, and those beside them once more.
const SPENDERS: usize = 100;
/// Used-up lots of one customer.
const DEAD: usize = 1_000;
/// Customers who have those, and those beside them.
const VETERANS: usize = 10;
/// Spends of those a turn.
const VETERANS_SPENDS: usize = 250;
/// Credits of a lot that is never used up.
const LASTING: i64 = 1_000_000_000_000;
/// Each measurement of a round is done in so many parts.
const TURNS: usize = 10;

/// In a database of its own; each comparison in turns.
pub async fn measure(control: &Client, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let admin = make_database(control, DATABASE).await?;
    let batches = Batches::open(Some(DATABASE)).await?;
    let mut random = Random::new(5);

    let mut groups = Vec::new();
    for (dead, lasting) in [(0, false), (DEAD, false), (0, true), (DEAD, true)] {
        let customers = register(&admin, VETERANS).await?;
        grant_first(&admin, &customers).await?;
        for customer in &customers {
            if dead > 0 {
                batches.send(&operations(0..dead, |_| lot(customer, 1, &mut random)), dead).await?;
                batches.send(&operations([customer], |c| spend(c, dead as i64, &mut random)), 1).await?;
            }
        }
        if lasting {
            let lots = operations(&customers, |customer| lot(customer, LASTING, &mut random));
            batches.send(&lots, customers.len()).await?;
        }
        groups.push(World::in_turn(customers));
    }
    let mut spenders = Vec::new();
    for _ in 0..2 {
        let customers = register(&admin, SPENDERS).await?;
        grant_first(&admin, &customers).await?;
        spenders.push(World::in_turn(customers));
    }
    admin.batch_execute("VACUUM ANALYZE").await?;
    check(&admin, VETERANS * DEAD * 2).await?;

    let [none, dead, lasting, both] = &groups[..] else { return Err("four groups are compared".into()) };
    let [plain, crossing] = &spenders[..] else { return Err("two groups are compared".into()) };
    let refill = async || -> Result<(), Failure> {
        let mut random = Random::new(6);
        let credits = CREDITS / CROSSED as i64;
        let each = crossing.customers.iter().flat_map(|customer| [customer; CROSSED]);
        let lots = operations(each, |customer| lot(customer, credits, &mut random));
        batches.send(&lots, crossing.customers.len() * CROSSED).await?;
        Ok(())
    };
    let nothing = async || -> Result<(), Failure> { Ok(()) };

    let title = format!("spend that uses up {CROSSED} lots");
    let worlds = [("without lots", plain), ("using up lots", crossing), ("without lots once more", plain)];
    let measured = compare(worlds, SPENDERS, options, refill).await?;
    let ratio = Wanted { name: "with / without lots", of: 1, to: 0, requirement: None };
    report.comparison(Setting::calls(&title, 1, false), &measured, &[ratio, once_more(2, 0)]);

    let requirement = Some(Requirement::ProcessorAtLeast(0.90));
    let ratio = Wanted { name: "with / without dead lots", of: 1, to: 0, requirement };
    let title = format!("spend of customers with {DEAD} used-up lots and none left");
    let worlds = [("no lots", none), ("dead lots", dead), ("no lots once more", none)];
    let measured = compare(worlds, VETERANS_SPENDS, options, nothing).await?;
    report.comparison(Setting::calls(&title, 1, false), &measured, &[ratio, once_more(2, 0)]);
    let title = format!("spend of customers with {DEAD} used-up lots and one left");
    let worlds = [("one lot", lasting), ("dead lots and one", both), ("one lot once more", lasting)];
    let measured = compare(worlds, VETERANS_SPENDS, options, nothing).await?;
    report.comparison(Setting::calls(&title, 1, false), &measured, &[ratio, once_more(2, 0)]);

    let crossed = (options.rounds + 1) * TURNS * SPENDERS * CROSSED;
    check(&admin, VETERANS * DEAD * 2 + crossed).await?;
    let problems = "SELECT count(*) FROM billing.reconcile()";
    let problems: i64 = admin.query_one(problems, &[]).await?.get(0);
    if problems > 0 {
        return Err(format!("billing.reconcile() tells of {problems} problems").into());
    }
    drop((admin, batches));
    control.batch_execute(&format!("DROP DATABASE {DATABASE} WITH (FORCE)")).await?;
    Ok(())
}

/// A grant that makes a lot, as an operation.
fn lot(customer: &Customer, credits: i64, random: &mut Random) -> String {
    format!(
        r#"{{"op":"grant","user_id":"{}","credits":{credits},"idempotency_key":"{}","priority":-1}}"#,
        customer.user_id,
        random.uuid()
    )
}

/// Whether so many lots are used up: what is measured is what is meant to be.
async fn check(client: &Client, used_up: usize) -> Result<(), Failure> {
    let count = "SELECT count(*) FROM billing.lots WHERE remaining = 0";
    let count: i64 = client.query_one(count, &[]).await?.get(0);
    if count == used_up as i64 {
        Ok(())
    } else {
        Err(format!("{count} lots are used up, not {used_up}").into())
    }
}

/// Groups of customers in turns, each with one client, the first group twice; what has to be done before a turn is
/// not measured.
async fn compare(
    worlds: [(&'static str, &World); 3],
    calls: usize,
    options: &Options,
    before: impl AsyncFn() -> Result<(), Failure>,
) -> Result<Vec<Measured>, Failure> {
    let call = Call { side: Side::Ours, kind: Kind::Spend };
    let mut contenders = Vec::new();
    for (name, _) in worlds {
        let contender = Contender::open(name, call, 1, Some(DATABASE)).await?;
        contender.synchronous_commit(false).await?;
        contenders.push(contender);
    }
    let mut measured: Vec<Measured> = worlds.map(|(name, _)| (name, Vec::new())).into();
    // The first round warms up.
    for round in 0..=options.rounds {
        let mut slices = [const { Vec::new() }; 3];
        for turn in 0..TURNS {
            before().await?;
            for index in order(contenders.len(), round * TURNS + turn) {
                slices[index].push(contenders[index].slice(worlds[index].1, calls).await?);
            }
        }
        if round > 0 {
            for ((_, samples), slices) in measured.iter_mut().zip(&slices) {
                samples.push(Slice::whole(slices));
            }
        }
    }
    Ok(measured)
}
