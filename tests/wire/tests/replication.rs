//! The books, replicated to plain tables of a reporting database on another server.

use std::time::Duration;

use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Admin, Call};
use billing_wire::{Tested, run, sized};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("replication::reporting", || run(reporting()));
}

const TABLES: [&str; 3] = ["ledger", "customers", "balances"];

async fn reporting() {
    let source = Cluster::start("wire-publisher", &["-c", "wal_level=logical"]).database().await;
    let report = Cluster::start("wire-reporting", &[]).empty_database("reporting").await;
    let (publisher, subscriber) = (source.admin().await, report.admin().await);
    let mut client = source.application();
    let rounds = sized(30, 2_000);
    for number in 0..rounds {
        client.call(&Call::purchase("7", 10, &format!("before {number}"))).await;
    }

    subscriber.run("CREATE SCHEMA billing").await;
    for table in TABLES {
        subscriber.run(&plain(&publisher, table).await).await;
    }
    let published = TABLES.map(|table| format!("billing.{table}")).join(", ");
    publisher.run(&format!("CREATE PUBLICATION reporting FOR TABLE {published}")).await;
    let (host, port, name) = (&source.cluster.host, source.cluster.port, &source.name);
    let connection = format!("host={host} port={port} dbname={name} user=postgres");
    // What arrived is on disk before the publisher hears of it. Left to itself a subscription commits without
    // waiting, and a crash in the moment the first copy ends forgets that it ended, after its slot was dropped.
    subscriber
        .run(&format!(
            "CREATE SUBSCRIPTION reporting CONNECTION '{connection}' PUBLICATION reporting
             WITH (synchronous_commit = 'on')"
        ))
        .await;

    // What follows the first copy: new rows, changed balances, and what is rolled back.
    for number in 0..rounds {
        let user = (number % 5 + 7).to_string();
        client.call(&Call::purchase(&user, 10, &format!("after {number}"))).await;
        client.call(&Call::spend(&user, 3, &format!("spent {number}"))).await;
    }
    publisher.run("BEGIN; SELECT grant_credits('7', 1000, 'undone'); ROLLBACK").await;
    catch_up(&source, &report).await;
    first_copy_ended(&subscriber).await;
    let entries = i64::try_from(3 * rounds).expect("a number");
    assert_eq!(subscriber.number("SELECT count(*) FROM billing.ledger").await, entries);
    let wrong = "SELECT count(*) FROM billing.balances b WHERE balance <>
                 (SELECT sum(credits) FROM billing.ledger l WHERE l.customer_id = b.customer_id)";
    assert_eq!(subscriber.number(wrong).await, 0, "the reporting database adds up by itself");

    // While it is away nothing is lost.
    report.cluster.crash_and_restart();
    client.call(&Call::purchase("7", 10, "meanwhile")).await;
    catch_up(&source, &report).await;
    report.admin().await.run("DROP SUBSCRIPTION reporting").await;
}

/// A table of the same shape, without anything that belongs to the extension.
async fn plain(publisher: &Admin, table: &str) -> String {
    let made = format!(
        "SELECT format('CREATE TABLE billing.{table} (%s, %s)',
             string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum),
             (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = attrelid AND contype = 'p'))
         FROM pg_attribute WHERE attrelid = 'billing.{table}'::regclass AND attnum > 0 AND NOT attisdropped
         GROUP BY attrelid"
    );
    publisher.text(&made).await.expect("a definition")
}

/// Rows and their digest.
async fn digests(database: &Database) -> Vec<Option<String>> {
    let admin = database.admin().await;
    let mut digests = Vec::new();
    for table in TABLES {
        let digest = format!(
            "SELECT '{table} ' || count(*) || ' ' || md5(string_agg(t::text, '\n' ORDER BY t::text)) FROM billing.{table} t"
        );
        digests.push(admin.text(&digest).await);
    }
    digests
}

/// Waits until every table has changed over from the first copy to the stream of changes.
async fn first_copy_ended(subscriber: &Admin) {
    let copying = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
    for _ in 0..300 {
        if subscriber.number(copying).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the first copy does not end");
}

/// Waits until both have the same rows.
async fn catch_up(source: &Database, report: &Database) {
    let expected = digests(source).await;
    let mut found = Vec::new();
    for _ in 0..300 {
        found = digests(report).await;
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(found, expected, "the reporting database has other rows");
}
