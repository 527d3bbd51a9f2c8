//! A row on its way into the books while somebody drops the extension.

use std::time::Duration;

use billing_wire::cluster::Cluster;
use billing_wire::session::Admin;
use billing_wire::{Tested, run};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("drop_guard::a_row_in_flight", || run(a_row_in_flight()));
}

/// How the session that drops begins.
const BEGINNINGS: [&str; 2] = [
    "BEGIN",
    // Its snapshot is older than the row.
    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM billing.ledger",
];

/// The drop waits for the writer, and then goes by what the writer did, whatever its own snapshot shows.
async fn a_row_in_flight() {
    for beginning in BEGINNINGS {
        for (end, refused) in [("COMMIT", true), ("ROLLBACK", false)] {
            let database = Cluster::shared().database().await;
            let (writer, dropper) = (database.admin().await, database.admin().await);
            writer.run("BEGIN; SELECT grant_credits('7', 10, 'in flight')").await;
            dropper.run(beginning).await;
            let pid = dropper.number("SELECT pg_backend_pid()").await;
            let dropped = tokio::spawn(async move {
                let dropped = dropper.client().batch_execute("DROP EXTENSION billing_rpc; COMMIT").await;
                (dropper, dropped)
            });
            waits(&database.admin().await, pid).await;
            writer.run(end).await;
            let (_dropper, dropped) = dropped.await.expect("the drop ends");
            let code = dropped.err().and_then(|error| error.code().map(|code| code.code().to_owned()));
            assert_eq!(code.as_deref(), refused.then_some("2BP01"), "{beginning}, {end}");
            let left = "SELECT count(*) FROM pg_extension WHERE extname = 'billing_rpc'";
            let left = database.admin().await.number(left).await;
            assert_eq!(left, i64::from(refused), "{beginning}, {end}");
        }
    }
}

/// Until that backend waits for a lock.
async fn waits(admin: &Admin, pid: i64) {
    let waiting = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
    for _ in 0..600 {
        if admin.number(&waiting).await > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the drop does not wait for the writer");
}
