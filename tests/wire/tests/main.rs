//! The extension as clients meet it. `BILLING_LONG=1` for the stated sizes, `BILLING_SEED=n` to repeat a run,
//! `BILLING_FIXTURES=folder` for more bodies, `BILLING_SABOTAGE=sql` to break the schema and see tests fail.

use libtest_mimic::{Arguments, Trial};

mod adoption;
mod any_arguments;
mod bad_bodies;
mod bad_input;
mod canaries;
mod corpus;
mod crashes;
mod deliveries;
mod drop_guard;
mod exits;
mod inbox;
mod ledger_crashes;
mod ledger_model;
mod permutations;
mod plans;
mod races;
mod raw_bodies;
mod replication;
mod restore;
mod schedule;
mod subscriptions;
mod tampering;
mod torture;

fn main() {
    let mut arguments = Arguments::from_args();
    if arguments.test_threads.is_none() && billing_wire::long() {
        // Figures are worth something only with the machine to oneself.
        arguments.test_threads = Some(1);
    }
    println!("seed {} (BILLING_SEED repeats it)", billing_wire::seed());
    let mut trials = Vec::new();
    let mut add = |name: &str, test: fn() -> billing_wire::Tested| trials.push(Trial::test(name, test));
    deliveries::add(&mut add);
    races::add(&mut add);
    raw_bodies::add(&mut add);
    corpus::add(&mut add);
    bad_input::add(&mut add);
    bad_bodies::add(&mut add);
    any_arguments::add(&mut add);
    canaries::add(&mut add);
    permutations::add(&mut add);
    inbox::add(&mut add);
    subscriptions::add(&mut add);
    plans::add(&mut add);
    exits::add(&mut add);
    restore::add(&mut add);
    replication::add(&mut add);
    drop_guard::add(&mut add);
    adoption::add(&mut add);
    crashes::add(&mut add);
    ledger_model::add(&mut add);
    tampering::add(&mut add);
    schedule::add(&mut add);
    ledger_crashes::add(&mut add);
    torture::add(&mut add);

    let conclusion = libtest_mimic::run(&arguments, trials);
    let complaints = billing_wire::cluster::close_all();
    for complaint in &complaints {
        println!("server log: {complaint}");
    }
    // As the runner of the other tests counts: the logs are one test more.
    let (passed, failed) = if complaints.is_empty() { (1, 0) } else { (0, 1) };
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("server logs: test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    if failed > 0 || conclusion.has_failed() {
        std::process::exit(101);
    }
}
