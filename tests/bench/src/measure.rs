//! Contenders, and measuring them in turns.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::calls::{Call, Kind};
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
    statement: Statement,
    process: i32,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub calls_per_second: f64,
    /// Processor time of the sessions' server processes; none where it cannot be seen from here.
    pub cpu_micros_per_call: Option<f64>,
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
        if self.call.kind == Kind::Webhook {
            webhook::sign(world, WARM_UP_CALLS * self.sessions.len())?;
        }
        self.calls(world, WARM_UP_CALLS).await
    }

    /// So many calls of each session.
    pub async fn calls(&self, world: &World, count: usize) -> Result<(), Failure> {
        let run = async |(seed, session): (usize, &Session)| -> Result<(), Failure> {
            let mut random = Random::new(seed as u64);
            for _ in 0..count {
                self.call.make(&session.client, &session.statement, world, &mut random).await?;
            }
            Ok(())
        };
        try_join_all(self.sessions.iter().enumerate().map(run)).await?;
        Ok(())
    }

    /// Calls from so many sessions at once for so long.
    async fn measure(&self, world: &World, clients: usize, seconds: f64) -> Result<Sample, Failure> {
        if self.call.kind == Kind::Webhook {
            webhook::sign(world, (self.pace.get() * seconds * 1.5) as usize + 100)?;
        }
        let sessions = &self.sessions[..clients];
        let cpu_before = cpu_nanos(sessions);
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let run = async |(seed, session): (usize, &Session)| -> Result<u64, Failure> {
            let mut random = Random::new(seed as u64);
            let mut calls = 0;
            while Instant::now() < end {
                if !self.call.make(&session.client, &session.statement, world, &mut random).await? {
                    break;
                }
                calls += 1;
            }
            Ok(calls)
        };
        let calls: u64 = try_join_all(sessions.iter().enumerate().map(run)).await?.into_iter().sum();
        let calls_per_second = calls as f64 / start.elapsed().as_secs_f64();
        let cpu = cpu_nanos(sessions).zip(cpu_before).map(|(after, before)| after - before);
        self.pace.set(calls_per_second);
        Ok(Sample {
            calls_per_second,
            cpu_micros_per_call: cpu.map(|nanos| nanos as f64 / 1_000.0 / calls as f64),
        })
    }
}

impl Session {
    async fn open(client: Client, call: Call) -> Result<Session, Failure> {
        let statement = call.prepare(&client).await?;
        let process = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        Ok(Session { client, statement, process })
    }
}

/// Time that the sessions' processes spent on a processor, where the server runs on this machine.
fn cpu_nanos(sessions: &[Session]) -> Option<u64> {
    sessions
        .iter()
        .map(|session| {
            let file = format!("/proc/{}/schedstat", session.process);
            std::fs::read_to_string(file).ok()?.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// Measures every contender once a round, the order turned round by round.
pub async fn in_turns(
    contenders: &[Contender],
    world: &World,
    clients: usize,
    rounds: usize,
    seconds: f64,
) -> Result<Vec<Vec<Sample>>, Failure> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        order.rotate_left(round / 2 % contenders.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            samples[index].push(contenders[index].measure(world, clients, seconds).await?);
        }
    }
    Ok(samples)
}
