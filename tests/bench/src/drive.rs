//! Work for a profiler: one kind of call over and over, in a session or as a script.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::calls::{AMOUNT_MINOR, CREDITS, CURRENCY, Call, Kind, Side};
use crate::measure::Contender;
use crate::random::Random;
use crate::webhook;
use crate::world::{self, Customer, World};

/// Calls before anything is looked at, and calls between two looks at the clock.
const WARM_UP: usize = 500;
const BURST: usize = 200;

/// What is to be done for a profiler.
pub enum Drive {
    /// Calls from one client for so many seconds.
    Load(Kind, f64),
    /// So many calls as a script for a server without clients (`postgres --single -j`).
    Script(Kind, usize),
}

/// The kinds that are worth a profile.
pub fn kind(name: &str) -> Option<Kind> {
    match name {
        "purchase" => Some(Kind::Purchase),
        "spend" => Some(Kind::Spend),
        "replay" => Some(Kind::Replay),
        "webhook" => Some(Kind::Webhook),
        _ => None,
    }
}

/// Does it, in a database that was empty.
pub async fn drive(what: &Drive) -> Result<(), Failure> {
    let control = world::connect(None).await?;
    let world = world::make(&control).await?;
    // What is to be sent again is applied before.
    if matches!(what, Drive::Load(Kind::Replay, _) | Drive::Script(Kind::Replay, _)) {
        let purchases = Call { side: Side::Ours, kind: Kind::Purchase };
        Contender::open("", purchases, 1, None).await?.calls(&world, WARM_UP).await?;
    }
    match what {
        Drive::Load(kind, seconds) => load(&world, *kind, *seconds).await,
        Drive::Script(kind, count) => {
            print!("{}", script(&world, *kind, *count)?);
            Ok(())
        }
    }
}

/// Names the server process when it is warm, then makes calls.
async fn load(world: &World, kind: Kind, seconds: f64) -> Result<(), Failure> {
    let contender = Contender::open("", Call { side: Side::Ours, kind }, 1, None).await?;
    contender.synchronous_commit(false).await?;
    contender.calls(world, WARM_UP).await?;
    println!("process {}", contender.process().ok_or("no session")?);
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        contender.calls(world, BURST).await?;
        calls += BURST;
    }
    println!("{calls} calls in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// One prepared statement, and calls of it; each command ends as `-j` wants it.
fn script(world: &World, kind: Kind, count: usize) -> Result<String, Failure> {
    let statement = Call { side: Side::Ours, kind }.only_statement();
    let mut script = format!("SET synchronous_commit = off;\n\nPREPARE call AS {statement};\n\n");
    if kind == Kind::Webhook {
        webhook::sign(world, kind, count)?;
    }
    let mut random = Random::new(7);
    for _ in 0..count {
        let arguments = match kind {
            Kind::Purchase => purchase(world, &mut random),
            Kind::Spend => spend(world, &mut random),
            Kind::Replay => replay(world, &mut random)?,
            _ => delivery(world)?,
        };
        write!(script, "EXECUTE call({arguments});\n\n")?;
    }
    Ok(script)
}

fn purchase(world: &World, random: &mut Random) -> String {
    let customer = &world.customers[world.next(random)];
    bought(customer, &random.uuid().to_string(), &random.session())
}

fn replay(world: &World, random: &mut Random) -> Result<String, Failure> {
    let applied = world.applied[Side::Ours as usize].borrow();
    let one = applied.get(random.below(applied.len().max(1))).ok_or("nothing was applied yet")?;
    Ok(bought(&world.customers[one.customer], &one.key, &one.session))
}

fn bought(customer: &Customer, key: &str, session: &str) -> String {
    format!("'{}', {CREDITS}, '{key}', '{session}', {AMOUNT_MINOR}, '{CURRENCY}'", customer.user_id)
}

fn spend(world: &World, random: &mut Random) -> String {
    let customer = &world.customers[world.next(random)];
    format!("'{}', {CREDITS}, '{}'", customer.user_id, random.uuid())
}

fn delivery(world: &World) -> Result<String, Failure> {
    let (body, header) = world.bodies.borrow_mut().pop().ok_or("no body is left")?;
    Ok(format!("'{}', '{header}'", body.replace('\'', "''")))
}
