//! What to measure, and for how long.

use crate::Failure;

const USAGE: &str = "arguments of the benchmark:
  --only SECTION[,SECTION]           of wal, purchase, spend, replay, webhook, deliveries, signature, batch,
                                     hot, size, lots, kept, policy, pooled, large, memory (default: all)
  --synchronous-commit on|off|both   default: both
  --entries N                        entries of the largest database of section size, at least 100000 (default
                                     10000000)
  --events N                         events of section large, at least 100000 (default 10000000)
  --memory-calls N                   calls of section memory (default 1000000)
  --require                          end with status 1 if a requirement is missed
environment:
  BILLING_BENCH_ROUNDS    rounds of each comparison, at least 7 (default 11)
  BILLING_BENCH_SECONDS   seconds of each measurement (default 0.25)";

/// The sections, in the order in which they run.
pub const SECTIONS: [&str; 16] = [
    "wal",
    "purchase",
    "spend",
    "replay",
    "webhook",
    "deliveries",
    "signature",
    "batch",
    "hot",
    "size",
    "lots",
    "kept",
    "policy",
    "pooled",
    "large",
    "memory",
];

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
}

impl Options {
    /// From the arguments and the environment.
    pub fn read() -> Result<Options, Failure> {
        let mut options = Options {
            rounds: environment("BILLING_BENCH_ROUNDS", 11)?,
            seconds: environment("BILLING_BENCH_SECONDS", 0.25)?,
            sections: SECTIONS.map(str::to_owned).to_vec(),
            synchronous_commit: vec![true, false],
            require: false,
            entries: 10_000_000,
            events: 10_000_000,
            memory_calls: 1_000_000,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), &mut arguments) {
                ("--require", _) => options.require = true,
                ("--only", rest) => {
                    let names = rest.next().unwrap_or_default();
                    options.sections = names.split(',').map(str::to_owned).collect();
                }
                ("--synchronous-commit", rest) => {
                    options.synchronous_commit = match rest.next().as_deref() {
                        Some("on") => vec![true],
                        Some("off") => vec![false],
                        Some("both") => vec![true, false],
                        _ => return Err(USAGE.into()),
                    };
                }
                ("--entries", rest) => options.entries = number(rest)?,
                ("--events", rest) => options.events = number(rest)?,
                ("--memory-calls", rest) => options.memory_calls = number(rest)?,
                _ => return Err(USAGE.into()),
            }
        }
        let known = options.sections.iter().all(|name| SECTIONS.contains(&name.as_str()));
        let too_small = options.entries < 100_000 || options.events < 100_000;
        if !known || too_small || options.rounds < 7 || options.seconds.is_nan() || options.seconds < 0.01 {
            return Err(USAGE.into());
        }
        Ok(options)
    }

    /// Whether the section is wanted.
    pub fn wants(&self, section: &str) -> bool {
        self.sections.iter().any(|name| name == section)
    }
}

/// The number that follows an argument.
fn number(arguments: &mut impl Iterator<Item = String>) -> Result<usize, Failure> {
    arguments.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0).ok_or(USAGE.into())
}

fn environment<T: std::str::FromStr>(name: &str, default: T) -> Result<T, Failure> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|_| format!("{name} is not a number\n{USAGE}").into()),
    }
}
