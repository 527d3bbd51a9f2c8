//! Contenders, and measuring them in turns.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::calls::Call;
use crate::random::Random;
use crate::webhook;
use crate::world::{World, connect};

/// Sessions that make one call over and over.
pub struct Contender {
    pub name: &'static str,
    call: Call,
    sessions: Vec<Session>,
    /// Calls per second at the last measurement, to have enough bodies for the next.
    pace: Cell<f64>,
}

struct Session {
    client: Client,
    prepared: Vec<Statement>,
    process: i32,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub calls_per_second: f64,
    /// Processor time of the sessions' server processes; none where it cannot be seen from here.
    pub cpu_micros_per_call: Option<f64>,
}

/// A part of a measurement.
#[derive(Clone, Copy)]
pub struct Slice {
    calls: u64,
    seconds: f64,
    cpu_nanos: Option<u64>,
}

/// Each measurement of a round is done in so many parts, taken in turns with the other contenders': what
/// slows the machine or the disk down for a moment hits all of them. Several clients need longer parts,
/// because they end one after the other.
const fn slices(clients: usize) -> usize {
    if clients == 1 { 25 } else { 5 }
}

/// Calls of each session before anything is measured: plans and caches are as they will stay.
const WARM_UP_CALLS: usize = 50;

impl Contender {
    /// Opens the sessions.
    pub async fn open(
        name: &'static str,
        call: Call,
        sessions: usize,
        database: Option<&str>,
    ) -> Result<Contender, Failure> {
        let mut opened = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            opened.push(Session::open(connect(database).await?, call).await?);
        }
        Ok(Contender { name, call, sessions: opened, pace: Cell::new(5_000.0) })
    }

    /// Of one session that is open already.
    pub async fn of(name: &'static str, call: Call, client: Client) -> Result<Contender, Failure> {
        let session = Session::open(client, call).await?;
        Ok(Contender { name, call, sessions: vec![session], pace: Cell::new(5_000.0) })
    }

    /// Whether commits wait for the disk.
    pub async fn synchronous_commit(&self, on: bool) -> Result<(), Failure> {
        let setting = if on { "SET synchronous_commit = on" } else { "SET synchronous_commit = off" };
        try_join_all(self.sessions.iter().map(|session| session.client.batch_execute(setting))).await?;
        Ok(())
    }

    /// Calls until plans and caches are warm.
    pub async fn warm_up(&self, world: &World) -> Result<(), Failure> {
        self.calls(world, WARM_UP_CALLS).await
    }

    /// So many calls of each session.
    pub async fn calls(&self, world: &World, count: usize) -> Result<(), Failure> {
        if self.call.kind.is_delivery() {
            webhook::sign(world, self.call.kind, count * self.sessions.len())?;
        }
        let run = async |(seed, session): (usize, &Session)| -> Result<(), Failure> {
            let mut random = Random::new(seed as u64);
            for _ in 0..count {
                self.call.make(&session.client, &session.prepared, world, &mut random).await?;
            }
            Ok(())
        };
        try_join_all(self.sessions.iter().enumerate().map(run)).await?;
        Ok(())
    }

    /// So many calls of the first session, off the clock.
    pub async fn calls_of_one(&self, world: &World, count: usize) -> Result<(), Failure> {
        if self.call.kind.is_delivery() {
            webhook::sign(world, self.call.kind, count)?;
        }
        self.slice(world, count).await?;
        Ok(())
    }

    /// The first session's counters become visible to others.
    pub async fn hand_in_statistics(&self) -> Result<(), Failure> {
        let session = self.sessions.first().ok_or("no session")?;
        session.client.batch_execute("SELECT pg_stat_force_next_flush()").await?;
        // Handed in when that statement's transaction is over; after the next one it certainly was.
        Ok(session.client.batch_execute("SELECT 1").await?)
    }

    /// The first session's server process.
    pub fn process(&self) -> Option<i32> {
        self.sessions.first().map(|session| session.process)
    }

    /// So many calls of the first session.
    pub async fn slice(&self, world: &World, count: usize) -> Result<Slice, Failure> {
        let session = self.sessions.first().ok_or("no session")?;
        let mut random = Random::new(0);
        let meter = Meter::start(session.process);
        for _ in 0..count {
            self.call.make(&session.client, &session.prepared, world, &mut random).await?;
        }
        Ok(meter.stop(count))
    }

    /// Milliseconds of each call from so many sessions at once for so long.
    pub async fn latencies(&self, world: &World, clients: usize, seconds: f64) -> Result<Vec<f64>, Failure> {
        let latencies = RefCell::new(Vec::new());
        let record = |latency: Duration| latencies.borrow_mut().push(latency.as_secs_f64() * 1_000.0);
        self.run(world, clients, seconds, record).await?;
        Ok(latencies.into_inner())
    }

    async fn measure(&self, world: &World, clients: usize, seconds: f64) -> Result<Slice, Failure> {
        self.run(world, clients, seconds, |_| ()).await
    }

    /// Calls from so many sessions at once for so long; how long each took is told as it ends.
    async fn run(
        &self,
        world: &World,
        clients: usize,
        seconds: f64,
        record: impl Fn(Duration),
    ) -> Result<Slice, Failure> {
        if self.call.kind.is_delivery() {
            let count = (self.pace.get() * seconds * 2.0) as usize + 20 * clients;
            webhook::sign(world, self.call.kind, count)?;
        }
        let sessions = &self.sessions[..clients];
        let cpu_before = cpu_nanos(sessions);
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let run = async |(seed, session): (usize, &Session)| -> Result<u64, Failure> {
            let mut random = Random::new(seed as u64);
            let (mut calls, mut now) = (0, Instant::now());
            while now < end {
                if !self.call.make(&session.client, &session.prepared, world, &mut random).await? {
                    break;
                }
                let done = Instant::now();
                record(done - now);
                (calls, now) = (calls + 1, done);
            }
            Ok(calls)
        };
        let calls: u64 = try_join_all(sessions.iter().enumerate().map(run)).await?.into_iter().sum();
        let seconds = start.elapsed().as_secs_f64();
        self.pace.set(calls as f64 / seconds);
        let cpu_nanos = cpu_nanos(sessions).zip(cpu_before).map(|(after, before)| after - before);
        Ok(Slice { calls, seconds, cpu_nanos })
    }
}

/// Measures what one session does.
pub struct Meter {
    process: i32,
    start: Instant,
    cpu_nanos: Option<u64>,
}

impl Meter {
    /// From now on, by the server process of the session.
    pub fn start(process: i32) -> Meter {
        Meter { process, cpu_nanos: process_nanos(process), start: Instant::now() }
    }

    /// Until now, for so many calls.
    pub fn stop(self, calls: usize) -> Slice {
        let seconds = self.start.elapsed().as_secs_f64();
        let after = process_nanos(self.process);
        let cpu_nanos = after.zip(self.cpu_nanos).map(|(after, before)| after - before);
        Slice { calls: calls as u64, seconds, cpu_nanos }
    }
}

impl Slice {
    /// The parts of one measurement as a whole.
    pub fn whole(slices: &[Slice]) -> Sample {
        let calls = slices.iter().map(|slice| slice.calls).sum::<u64>() as f64;
        let seconds: f64 = slices.iter().map(|slice| slice.seconds).sum();
        let cpu: Option<u64> = slices.iter().map(|slice| slice.cpu_nanos).sum();
        Sample {
            calls_per_second: calls / seconds,
            cpu_micros_per_call: cpu.map(|nanos| nanos as f64 / 1_000.0 / calls),
        }
    }
}

impl Session {
    async fn open(client: Client, call: Call) -> Result<Session, Failure> {
        let prepared = call.prepare(&client).await?;
        let process = process(&client).await?;
        Ok(Session { client, prepared, process })
    }
}

/// Time that the sessions' processes spent on a processor, where the server runs on this machine.
fn cpu_nanos(sessions: &[Session]) -> Option<u64> {
    sessions.iter().map(|session| process_nanos(session.process)).sum()
}

/// Time that a process spent on a processor.
pub fn process_nanos(process: i32) -> Option<u64> {
    let file = format!("/proc/{process}/schedstat");
    std::fs::read_to_string(file).ok()?.split(' ').next()?.parse().ok()
}

/// The server process of a session.
pub async fn process(client: &Client) -> Result<i32, Failure> {
    Ok(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0))
}

/// The order in which so many contenders take their turns: another one every time.
pub fn order(contenders: usize, turn: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contenders).collect();
    order.rotate_left(turn / 2 % contenders);
    if turn % 2 == 1 {
        order.reverse();
    }
    order
}

/// What was measured of a contender, by rounds.
pub type Measured = (&'static str, Vec<Sample>);

/// Measures every contender once a round, each in its world, in turns whose order changes.
pub async fn in_turns(
    contenders: &[Contender],
    worlds: &[&World],
    clients: usize,
    rounds: usize,
    seconds: f64,
) -> Result<Vec<Measured>, Failure> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    let turns = slices(clients);
    for round in 0..rounds {
        let mut slices = vec![Vec::with_capacity(turns); contenders.len()];
        for turn in 0..turns {
            for index in order(contenders.len(), round * turns + turn) {
                let slice = contenders[index].measure(worlds[index], clients, seconds / turns as f64);
                slices[index].push(slice.await?);
            }
        }
        for (samples, slices) in samples.iter_mut().zip(&slices) {
            samples.push(Slice::whole(slices));
        }
    }
    Ok(contenders.iter().map(|contender| contender.name).zip(samples).collect())
}
