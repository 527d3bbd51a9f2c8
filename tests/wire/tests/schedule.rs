//! The worker as an operator sets it up: pg_cron calls retry_webhook_events, and what is due gets done.

use std::time::{Duration, Instant};

use billing_wire::cluster::{Cluster, program};
use billing_wire::session::{Admin, Call, Provider};
use billing_wire::{Tested, figure, long, paystack, run, stripe};
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("schedule::pg_cron_does_what_is_due", || run(pg_cron()));
}

/// In long runs every minute, which is as often as pg_cron before 1.5 can; else once, when the server is up.
fn schedule() -> &'static str {
    if long() { "* * * * *" } else { "@reboot" }
}

async fn wait_for(admin: &Admin, what: &str, sql: &str) {
    let begun = Instant::now();
    while admin.text(sql).await.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(90), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    figure(|| format!("{what} after {:.1?}", begun.elapsed()));
}

async fn pg_cron() {
    let library = program("pg_config").parent().map(|bin| bin.join("../lib/pg_cron.so"));
    let there = library.is_some_and(|library| library.exists());
    assert!(
        there,
        "this Postgres has no pg_cron: run make deps (a private one: scripts/private_postgres.sh)"
    );
    // Background workers need no way in over the network.
    let preload = ["-c", "shared_preload_libraries=pg_cron", "-c", "cron.use_background_workers=on"];
    let cluster = Cluster::start("wire-cron", &preload);
    let database = cluster.database().await;
    let admin = database.admin().await;

    // Failed, and due: a pack that is defined only after it was bought.
    let mut gateway = database.gateway();
    let pack = json!({"metadata": {"user_id": "1", "pack": "late", "credits": null}});
    let failing = stripe::completed("evt_failing", stripe::session("cs_failing", 10, pack));
    assert_eq!(gateway.deliver(&failing).await.answer.why(), "failed / unknown_pack");
    admin.run("SELECT billing.define_pack('late', 10, 100, 'usd')").await;
    admin.run("UPDATE billing.webhook_events SET next_attempt_at = clock_timestamp()").await;
    // Failed, and not due yet.
    let nobody = stripe::session("cs_nobody", 10, json!({"customer": "cus_nobody"}));
    let waiting = stripe::completed("evt_waiting", nobody);
    assert_eq!(gateway.deliver(&waiting).await.answer.why(), "failed / unknown_user");
    // Recorded: due at once.
    database.set("billing_rpc.webhook_mode", "record").await;
    let charge = paystack::charge(7, "recorded", 25, json!({"metadata": {"user_id": "1"}}));
    let recorded = paystack::event("charge.success", charge).to_string();
    let delivered = database.gateway().deliver_to(Provider::Paystack, &recorded).await;
    assert_eq!(delivered.answer.why(), "ignored / recorded");
    assert_eq!(admin.number("SELECT count(*) FROM billing.ledger").await, 0);

    let cron = Admin::connect(&cluster, "postgres").await;
    cron.run("CREATE EXTENSION pg_cron").await;
    let (name, schedule) = (&database.name, schedule());
    cron.run(&format!(
        "SELECT cron.schedule_in_database('billing: retry events', '{schedule}',
             'SELECT count(*) FROM public.retry_webhook_events(100)', '{name}', 'wire_application')"
    ))
    .await;
    if !long() {
        drop(admin);
        drop(cron);
        gateway.disconnect();
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || cluster.restart()).await.expect("a restart");
    }
    let admin = database.admin().await;
    let done = "SELECT 1::text FROM billing.webhook_events WHERE status = 'completed'
                HAVING count(*) = 2";
    wait_for(&admin, "the processing", done).await;
    let balance = database.application().call(&Call::balance("1")).await;
    assert_eq!(balance.int("balance"), 35);
    let left =
        admin.texts("SELECT event_id || ' ' || attempts FROM billing.webhook_events WHERE status = 'failed'");
    assert_eq!(left.await, [Some("evt_waiting 1".to_owned())], "what is not due is let alone");
    let cron = Admin::connect(&cluster, "postgres").await;
    let succeeded = "SELECT 1::text FROM cron.job_run_details WHERE status = 'succeeded' LIMIT 1";
    wait_for(&cron, "the job's end", succeeded).await;
}
