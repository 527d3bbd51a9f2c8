//! What sections need that may not be there, told before anything is measured.

use std::process::{Command, Stdio};

use tokio_postgres::Client;

use crate::Failure;
use crate::measure::{process, process_nanos};
use crate::options::Options;
use crate::pgbouncer;

/// Whether all of it is there, for the sections that are wanted.
pub async fn check(control: &Client, options: &Options) -> Result<(), Failure> {
    if options.wants("signature") && !runs(Command::new("openssl").arg("version")) {
        return Err("section signature compares with openssl: apt-get install openssl".into());
    }
    if options.wants("pooled") {
        if !runs(pgbouncer::command().args(["pgbouncer", "--version"])) {
            return Err("section pooled runs pgbouncer: apt-get install pgbouncer util-linux".into());
        }
        pgbouncer::folder()?;
    }
    let beside = ["signature", "memory"];
    let seen = process_nanos(process(control).await?).is_some();
    match beside.into_iter().find(|section| options.wants(section)) {
        Some(section) if !seen => Err(format!(
            "section {section} looks at the server's processes, which are not to be seen from here"
        )
        .into()),
        _ => Ok(()),
    }
}

fn runs(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
