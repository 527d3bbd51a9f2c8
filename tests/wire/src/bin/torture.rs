//! `make torture`: the torture test for as long as asked. TORTURE_MINUTES=n, BILLING_SEED=n.

use std::time::Duration;

use billing_wire::cluster;
use billing_wire::torture::{Asked, Blow, lose, torture};

const CLIENTS: usize = 64;

/// How far an asynchronous standby is behind when it takes over.
const LAG_MILLISECONDS: u64 = 200;

/// Five blows a minute.
const ROUND: [Blow; 5] = [Blow::Stop, Blow::FullDisk, Blow::FailOver, Blow::FullDisk, Blow::Kill];

fn main() {
    let minutes: f64 = match std::env::var("TORTURE_MINUTES") {
        Ok(minutes) => minutes.parse().expect("TORTURE_MINUTES is a number"),
        Err(_) => 1.0,
    };
    println!("torture: seed {}, {minutes} minutes", billing_wire::seed());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let asked = Asked {
        clients: CLIENTS,
        duration: Duration::from_secs_f64(minutes * 60.0),
        blows: ROUND.into_iter().cycle().take((minutes * 5.0).ceil() as usize).collect(),
        pooler: true,
        talkative: true,
    };
    let runtime = runtime.expect("a runtime");
    let report = runtime.block_on(torture(asked));
    println!("{report}");
    let loss = runtime.block_on(lose(CLIENTS, LAG_MILLISECONDS));
    println!("{loss}");
    let complaints = cluster::close_all();
    for complaint in &complaints {
        println!("server log: {complaint}");
    }
    if !report.wrong.is_empty() || !loss.wrong.is_empty() || !complaints.is_empty() {
        std::process::exit(1);
    }
}
