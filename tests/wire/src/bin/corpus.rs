//! `make corpus DIR=folder`: every JSON file of the folder, signed and delivered twice to a throwaway database.
//! What is looked for is told in `src/corpus.rs`. Ends with 1 if anything was found.

use std::path::PathBuf;
use std::process::ExitCode;

use billing_wire::cluster::{self, Cluster};
use billing_wire::corpus;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from).filter(|folder| folder.is_dir()) else {
        eprintln!("usage: corpus FOLDER (that holds JSON files, one event each)");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut report = runtime.block_on(async {
        // Errors with all that the server has to say about them.
        let cluster = Cluster::start("corpus", &["-c", "log_error_verbosity=verbose"]);
        let database = cluster.database().await;
        corpus::run(&database, &folder).await
    });
    drop(runtime);
    report.problems.extend(cluster::close_all());
    for line in &report.lines {
        println!("{line}");
    }
    println!("\n{} events, {} texts about persons looked for", report.lines.len(), report.personal);
    for (why, count) in &report.tally {
        println!("{count:6}  {why}");
    }
    for problem in &report.problems {
        println!("problem: {problem}");
    }
    if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
