//! What to measure, and for how long.

use std::path::PathBuf;

use crate::Failure;
use crate::calls::Kind;
use crate::drive::{self, Drive};

const USAGE: &str = "arguments of the benchmark:
  --only SECTION[,SECTION]           default: all
  --synchronous-commit on|off|both   default: both
  --entries N                        entries of the largest database of section size, at least 100000 (default
                                     10000000)
  --events N                         events of section large, at least 100000 (default 10000000)
  --memory-calls N                   calls of section memory (default 1000000)
  --require                          end with status 1 if a requirement is missed
  --publish                          make docs/performance.md, .json and charts of this run
  --render FILE                      make page and charts of that report file, and measure nothing
  --load KIND SECONDS                for a profiler: one client makes calls; KIND is purchase, spend, replay or webhook
  --script KIND COUNT                for a profiler: prints calls for a server without clients
environment:
  BILLING_BENCH_ROUNDS    rounds of each comparison (default 15; fewer make a trial run, and it says so)
  BILLING_BENCH_SECONDS   seconds of each measurement (default 0.25; less makes a trial run, too)
sections:";

/// Fewer rounds say little about how far the figures spread, and shorter ones little at all.
const FULL_ROUNDS: usize = 15;
const FULL_SECONDS: f64 = 0.25;
/// Entries and events of large databases, and calls after which the memory of a session is looked at.
const FULL_ROWS: usize = 10_000_000;
const FULL_CALLS: usize = 1_000_000;

/// What the caller asked for.
pub struct Options {
    pub rounds: usize,
    pub seconds: f64,
    pub sections: Vec<String>,
    pub synchronous_commit: Vec<bool>,
    pub require: bool,
    /// Entries of the largest database whose size is measured.
    pub entries: usize,
    /// Events of the database that operators look at.
    pub events: usize,
    /// Calls after which the memory of a session is looked at.
    pub memory_calls: usize,
    pub publish: bool,
    pub render: Option<PathBuf>,
    pub drive: Option<Drive>,
}

impl Options {
    /// From the arguments and the environment; the sections are those that there are.
    pub fn read(sections: &[&str]) -> Result<Options, Failure> {
        let usage = || Failure::from(format!("{USAGE} {}", sections.join(", ")));
        let mut options = Options {
            rounds: environment("BILLING_BENCH_ROUNDS", FULL_ROUNDS)?,
            seconds: environment("BILLING_BENCH_SECONDS", FULL_SECONDS)?,
            sections: sections.iter().map(|&name| name.to_owned()).collect(),
            synchronous_commit: vec![true, false],
            require: false,
            entries: FULL_ROWS,
            events: FULL_ROWS,
            memory_calls: FULL_CALLS,
            publish: false,
            render: None,
            drive: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), &mut arguments) {
                ("--require", _) => options.require = true,
                ("--publish", _) => options.publish = true,
                ("--render", rest) => {
                    options.render = Some(rest.next().ok_or_else(usage)?.into());
                }
                ("--load", rest) => options.drive = Some(work(rest, Drive::Load).ok_or_else(usage)?),
                ("--script", rest) => options.drive = Some(work(rest, Drive::Script).ok_or_else(usage)?),
                ("--only", rest) => {
                    let names = rest.next().unwrap_or_default();
                    options.sections = names.split(',').map(str::to_owned).collect();
                }
                ("--synchronous-commit", rest) => {
                    options.synchronous_commit = match rest.next().as_deref() {
                        Some("on") => vec![true],
                        Some("off") => vec![false],
                        Some("both") => vec![true, false],
                        _ => return Err(usage()),
                    };
                }
                ("--entries", rest) => options.entries = number(rest).ok_or_else(usage)?,
                ("--events", rest) => options.events = number(rest).ok_or_else(usage)?,
                ("--memory-calls", rest) => options.memory_calls = number(rest).ok_or_else(usage)?,
                _ => return Err(usage()),
            }
        }
        let known = options.sections.iter().all(|name| sections.contains(&name.as_str()));
        let too_small = options.entries < 100_000 || options.events < 100_000;
        if !known || too_small || options.rounds < 3 || options.seconds.is_nan() || options.seconds < 0.01 {
            return Err(usage());
        }
        Ok(options)
    }

    /// Whether less is measured than the requirements are about.
    pub fn is_trial(&self) -> bool {
        self.rounds < FULL_ROUNDS
            || self.seconds < FULL_SECONDS
            || self.entries < FULL_ROWS
            || self.events < FULL_ROWS
            || self.memory_calls < FULL_CALLS
    }

    /// Whether the section is wanted.
    pub fn wants(&self, section: &str) -> bool {
        self.sections.iter().any(|name| name == section)
    }
}

/// The number that follows an argument.
fn number(rest: &mut impl Iterator<Item = String>) -> Option<usize> {
    rest.next()?.parse().ok().filter(|number| *number > 0)
}

/// A kind of call, and how much of it.
fn work<T: std::str::FromStr>(
    rest: &mut impl Iterator<Item = String>,
    make: fn(Kind, T) -> Drive,
) -> Option<Drive> {
    let kind = drive::kind(&rest.next()?)?;
    Some(make(kind, rest.next()?.parse().ok()?))
}

fn environment<T: std::str::FromStr>(name: &str, default: T) -> Result<T, Failure> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|_| format!("{name} is not a number\n{USAGE}").into()),
    }
}
