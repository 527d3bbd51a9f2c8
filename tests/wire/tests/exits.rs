//! Sessions that end in every way, and live through what happens around them: the server stays up.

use std::time::Duration;

use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Admin, Call, Session};
use billing_wire::{Tested, run, sized, stripe};
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("exits::however_a_session_ends", || run(ends()));
    add("exits::a_session_outlives_the_extension", || run(outlives()));
    add("exits::a_pooled_connection", || run(pooled()));
}

async fn use_it(client: &mut Session, gateway: &mut Session, tag: &str) {
    client.call(&Call::grant("1", 10, &format!("g{tag}"))).await;
    client.call(&Call::spend("1", 3, &format!("s{tag}"))).await;
    client.rows(&Call::history("1")).await;
    client.call(&Call::resolve("1")).await;
    client.call(&Call::claim(&format!("evt_claim{tag}"))).await;
    for user in ["1", "{{nobody}}"] {
        let session = stripe::session(&format!("cs_{tag}{user}"), 7, json!({"metadata": {"user_id": user}}));
        gateway.deliver(&stripe::completed(&format!("evt_{tag}{user}"), session)).await;
    }
}

async fn gone(admin: &Admin, pid: u32) {
    for _ in 0..200 {
        if admin.number(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("backend {pid} does not end");
}

async fn ends() {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    for round in 0..sized(3, 50) {
        for how in ["closed", "terminated", "in a transaction", "after an error", "canceled"] {
            let (mut client, mut gateway) = (database.application(), database.gateway());
            use_it(&mut client, &mut gateway, &format!("{round}{how}")).await;
            let pid = client.pid().await.expect("a backend");
            end(&database, &admin, client, pid, how).await;
            gone(&admin, pid).await;
        }
    }
    let log = database.cluster.log_text();
    for trace in ["reinitializing", "crash of another server process", "in recovery mode"] {
        assert!(!log.contains(trace), "{trace}");
    }
}

async fn end(database: &Database, admin: &Admin, mut client: Session, pid: u32, how: &str) {
    match how {
        "terminated" => {
            assert_eq!(
                admin.text(&format!("SELECT pg_terminate_backend({pid})::text")).await.as_deref(),
                Some("true")
            );
        }
        "in a transaction" => {
            client.client().await.batch_execute("BEGIN").await.expect("a transaction");
            client.call(&Call::grant("1", 1, "never committed")).await;
        }
        "after an error" => {
            client.client().await.batch_execute("BEGIN").await.expect("a transaction");
            client.call(&Call::grant("1", 1, "never committed")).await;
            let error = client.client().await.batch_execute("SELECT 1/0").await;
            assert!(error.is_err());
        }
        "canceled" => {
            // It waits for the balance that another holds.
            let mut holder = database.application();
            holder.client().await.batch_execute("BEGIN").await.expect("a transaction");
            holder.call(&Call::grant("1", 1, "never committed")).await;
            let key = format!("canceled{pid}");
            let call = Call::grant("1", 1, &key);
            let waiting = tokio::spawn(async move {
                let error = client.try_call(&call).await.expect_err("canceled");
                assert_eq!(error.code().map(|code| code.code()), Some("57014"));
                // The session goes on.
                assert_eq!(client.call(&Call::resolve("1")).await.get("found"), &json!(true));
            });
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let waits = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"
                );
                if admin.number(&waits).await == 1 {
                    break;
                }
            }
            admin.text(&format!("SELECT pg_cancel_backend({pid})::text")).await;
            waiting.await.expect("the canceled client");
            holder.client().await.batch_execute("ROLLBACK").await.expect("a rollback");
            assert_eq!(database.application().call(&Call::grant("1", 1, &key)).await.why(), "applied");
            let undone = "SELECT count(*) FROM billing.ledger WHERE idempotency_key = 'never committed'";
            assert_eq!(admin.number(undone).await, 0);
        }
        _ => client.disconnect(),
    }
}

/// The extension dropped and made again, and tables changed, under sessions that have kept plans.
async fn outlives() {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    let (mut client, mut gateway) = (database.application(), database.gateway());
    use_it(&mut client, &mut gateway, "before").await;
    admin.run("CREATE INDEX extra ON billing.ledger (created_at); ANALYZE billing.ledger").await;
    use_it(&mut client, &mut gateway, "indexed").await;
    admin
        .run("SET billing_rpc.allow_drop = on; DROP EXTENSION billing_rpc; CREATE EXTENSION billing_rpc")
        .await;
    admin.run(&format!("SELECT billing.add_webhook_secret('stripe', '{}')", stripe::SECRET)).await;
    // A driver prepares its statements anew, the backend is the same.
    let pid = client.pid().await.expect("a backend");
    client.forget_statements();
    gateway.forget_statements();
    use_it(&mut client, &mut gateway, "after").await;
    assert_eq!(client.pid().await.expect("a backend"), pid);
    assert_eq!(client.call(&Call::balance("1")).await.int("balance"), 14, "10 - 3 + 7 of the new books only");
}

/// What one request leaves in a connection must not reach the next.
async fn pooled() {
    let database = Cluster::shared().database().await;
    let mut gateway = database.gateway();
    let body = stripe::completed("evt_p", stripe::session("cs_p", 7, json!({"metadata": {"user_id": "1"}})));
    assert_eq!(gateway.deliver(&body).await.answer.why(), "applied");
    // The next request has no signature: that of the last must be gone, and so its status.
    let next = gateway.try_deliver(&body, None).await.expect("an answer");
    assert_eq!((next.status, next.answer.why().as_str()), (400, "invalid / signature_missing"));
    let client = gateway.client().await;
    for setting in
        ["response.status", "enable_seqscan", "plan_cache_mode", "lock_timeout", "search_path", "role"]
    {
        let row = client.query_one(&format!("SELECT current_setting('{setting}', true)"), &[]).await;
        let value: Option<String> = row.expect("a setting").get(0);
        let fresh = match setting {
            "response.status" => "",
            "enable_seqscan" => "on",
            "plan_cache_mode" => "auto",
            "lock_timeout" => "0",
            "search_path" => "\"$user\", public",
            _ => "none",
        };
        assert_eq!(value.as_deref().unwrap_or_default(), fresh, "{setting}");
    }
}
