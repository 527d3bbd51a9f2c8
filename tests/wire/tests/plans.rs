//! What a long session does as its tables grow, and what a replay does not write.

use std::time::{Duration, Instant};

use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Admin, Call, Session};
use billing_wire::{Tested, figure, run, sized, stripe};
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("plans::a_session_from_the_first_row_on", || run(first_row_on()));
    add("plans::a_replay_writes_nothing", || run(replays()));
}

/// Every function once, about one user; the numbers keep their calls apart.
async fn everything(client: &mut Session, gateway: &mut Session, number: usize) {
    let user = (number % 50 + 1).to_string();
    let id = format!("00000000-0000-4000-8000-{number:012}");
    client.call(&Call::grant(&user, 10, &format!("g{number}"))).await;
    client
        .call(&Call::purchase(&user, 5, &format!("p{number}")).source(&format!("stripe:pi_{number}")))
        .await;
    client.call(&Call::purchase(&user, 5, &format!("q{number}")).session(&format!("cs_call_{number}"))).await;
    client.call(&Call::spend(&user, 3, &format!("s{number}"))).await;
    client.call(&Call::balance(&user)).await;
    client.rows(&Call::history(&user)).await;
    let reference = format!("ref{number}");
    client.call(&Call::start_payment(&reference, &user, "monthly", 500).branches("{a,b}")).await;
    let paid = client.call(&Call::verify_payment(&reference, 500)).await;
    assert_eq!(paid.why(), "applied");
    client.call(&Call::verify_payment(&reference, 500)).await;
    client.call(&Call::payment_status(&reference)).await;
    let register = Call::register(&id).email(&format!("{number}@wire.example"));
    client.call(&register.customer(&format!("cus_{number}"))).await;
    client.call(&Call::register(&id).customer(&format!("cus_alias_{number}"))).await;
    client.call(&Call::resolve(&format!("cus_alias_{number}"))).await;
    let claim = client.call(&Call::claim(&format!("evt_claim_{number}"))).await;
    client.call(&Call::fail(&format!("evt_claim_{number}"), claim.str("claim_token"), "again")).await;
    let claim = client.call(&Call::claim(&format!("evt_claim_{number}"))).await;
    client.call(&Call::complete(&format!("evt_claim_{number}"), claim.str("claim_token"))).await;
    for whose in [json!({"metadata": {"user_id": user}}), json!({"customer": format!("cus_{number}")})] {
        let tag = format!("{number}_{}", whose.get("customer").is_some());
        let session = stripe::session(&format!("cs_{tag}"), 7, whose);
        let body = stripe::completed(&format!("evt_{tag}"), session);
        let answer = gateway.deliver(&body).await.answer;
        assert_eq!(answer.why(), "applied");
        gateway.deliver(&body).await;
        client.call(&Call::process(&body, &stripe::header(&body))).await;
    }
}

/// Sequential scans of the extension's tables, as far as sessions have told.
async fn sequential_scans(admin: &Admin, sessions: [&mut Session; 2]) -> Vec<Option<String>> {
    for session in sessions {
        // In a statement of its own: what was counted before it is sent when it ends.
        session.client().await.batch_execute("SELECT pg_stat_force_next_flush()").await.expect("a flush");
    }
    admin
        .texts(
            "SELECT relname || ' ' || seq_scan || ' sequential' FROM pg_stat_user_tables
             WHERE schemaname = 'billing' ORDER BY 1",
        )
        .await
}

async fn first_row_on() {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    let (mut client, mut gateway) = (database.application(), database.gateway());
    admin.run("SELECT billing.define_plan('monthly', 500, 'ngn', 'month')").await;
    // With the tables empty: whatever a plan would be, it is kept from here on.
    everything(&mut client, &mut gateway, 0).await;
    let before = sequential_scans(&admin, [&mut client, &mut gateway]).await;
    let pids = (client.pid().await.unwrap(), gateway.pid().await.unwrap());

    // Six entries a round: 5,000 entries in long runs.
    let rounds = sized(200, 834);
    let mut slices = Vec::new();
    let mut begun = Instant::now();
    for number in 1..=rounds {
        everything(&mut client, &mut gateway, number).await;
        if number % (rounds / 4) == 0 {
            slices.push(begun.elapsed());
            begun = Instant::now();
        }
    }
    let after = sequential_scans(&admin, [&mut client, &mut gateway]).await;
    assert_eq!(before, after, "no call of a session reads a table from end to end");
    // An index read from end to end is no sequential scan, but as slow. A search goes down a tree of two
    // pages here, and a new entry touches about as many.
    let pages = admin
        .texts(
            "SELECT format('%s: %s pages a use', indexrelname, round(pages / uses, 1))
             FROM pg_statio_user_indexes JOIN pg_stat_user_indexes USING (indexrelid, relid, schemaname, relname, indexrelname)
             JOIN pg_stat_user_tables t USING (relid, schemaname, relname),
                 LATERAL (SELECT (idx_blks_hit + idx_blks_read)::numeric AS pages,
                              pg_stat_user_indexes.idx_scan + n_tup_ins + n_tup_upd AS uses) n
             WHERE schemaname = 'billing' AND pages > 100 AND pages / uses > 2.5",
        )
        .await;
    assert!(pages.is_empty(), "{pages:?}");
    assert_eq!(pids, (client.pid().await.unwrap(), gateway.pid().await.unwrap()), "the same sessions");
    let used = "SELECT min(idx_scan) FROM pg_stat_user_tables WHERE schemaname = 'billing'
                AND relname IN ('ledger', 'customers', 'balances', 'webhook_events', 'charges', 'plans', 'payments')";
    assert!(
        admin.number(used).await >= i64::try_from(rounds).unwrap(),
        "the figures are about these sessions"
    );
    let entries = admin.number("SELECT count(*) FROM billing.ledger").await;
    assert_eq!(entries, 6 * (i64::try_from(rounds).unwrap() + 1));
    figure(|| format!("{entries} entries by one session, its quarters took {slices:.2?}"));
}

async fn replays() {
    // Nothing else runs here that would write.
    let quiet = [
        "-c",
        "autovacuum=off",
        "-c",
        "wal_level=minimal",
        "-c",
        "max_wal_senders=0",
        "-c",
        "checkpoint_timeout=1h",
    ];
    let cluster = Cluster::start("wire-quiet", &quiet);
    let database = cluster.database().await;
    let admin = database.admin().await;
    let mut client = database.application();
    let user = "00000000-0000-4000-8000-000000000001";
    let body = stripe::completed("evt_r", stripe::session("cs_r", 7, json!({"metadata": {"user_id": user}})));
    admin.run("SELECT billing.define_plan('monthly', 500, 'ngn', 'month')").await;
    let calls = [
        Call::grant(user, 100, "g"),
        Call::purchase(user, 5, "p"),
        Call::purchase(user, 5, "p_session").session("cs_own"),
        Call::purchase(user, 5, "p_payment").source("stripe:pi_own"),
        Call::spend(user, 3, "s"),
        Call::register(user).email("quiet@wire.example").customer("cus_quiet"),
        Call::start_payment("ref_quiet", user, "monthly", 500),
        Call::verify_payment("ref_quiet", 500),
        Call::process(&body, &stripe::header(&body)),
    ];
    for call in &calls {
        let (plan, id) = admin.explain(call).await;
        assert!(id && plan.iter().any(|line| line.contains("WAL: records")), "{call:?} does write: {plan:?}");
        assert_eq!(client.call(call).await.why(), "replay");
    }
    let claim = client.call(&Call::claim("evt_done")).await;
    client.call(&Call::complete("evt_done", claim.str("claim_token"))).await;
    let reads = [
        Call::claim("evt_done"),
        Call::balance(user),
        Call::history(user),
        Call::resolve("cus_quiet"),
        Call::payment_status("ref_quiet"),
        Call::grant(user, 1, "g"),
        Call::grant(user, 0, "bad"),
    ];
    for call in calls.iter().chain(&reads) {
        let (plan, id) = admin.explain(call).await;
        let wrote = plan.iter().any(|line| line.contains("WAL:"));
        assert!(!wrote, "{call:?} writes to the log: {plan:?}");
        assert!(!id, "{call:?} takes a transaction id");
    }
    quiet_log(&database, &admin, &mut client, &calls, &body).await;
}

/// The same by the log's own position, through real clients.
async fn quiet_log(database: &Database, admin: &Admin, client: &mut Session, calls: &[Call], body: &str) {
    let mut gateway = database.gateway();
    gateway.deliver(body).await;
    let position = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let mut grown = Vec::new();
    // A background process may write once in a while, for instance a snapshot of what runs.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = admin.number(position).await;
        for call in calls {
            assert_eq!(client.call(call).await.why(), "replay");
        }
        assert_eq!(gateway.deliver(body).await.answer.why(), "replay");
        grown.push(admin.number(position).await - before);
    }
    assert!(grown.contains(&0), "replays made the log grow: {grown:?}");
}
