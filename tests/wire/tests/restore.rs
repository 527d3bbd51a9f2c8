//! Dump and restore into another cluster: every row but the secrets, and everything goes on from there.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use billing_wire::books;
use billing_wire::cluster::{Cluster, Database, program, root};
use billing_wire::session::{Admin, Answer, Call, Session};
use billing_wire::{Tested, random, run, sized, stripe, uuid};
use rand::Rng;
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("restore::plain_and_custom", || run(plain_and_custom()));
    add("restore::into_other_places", || run(into_other_places()));
}

/// What was done before the dump, to be sent again after it.
struct Story {
    calls: Vec<(Call, Answer)>,
    bodies: Vec<(String, Answer)>,
}

async fn plain_and_custom() {
    let source = Cluster::shared().database().await;
    let story = tell(&source).await;
    let folder = Folder::new();
    // Another cluster: the group roles come with CREATE EXTENSION, the logins with nobody.
    let target = Cluster::start("wire-restore", &[]);
    for format in ["plain", "custom"] {
        let file = folder.0.join(format);
        dump(&source, format, &file);
        let text = readable(format, &file);
        assert!(text.contains("cs_restore_0"), "the dump holds the rows");
        assert!(!text.contains(stripe::SECRET), "the {format} dump holds the secret");
        assert!(!text.contains("webhook_secrets "), "the {format} dump holds the table of secrets");

        let restored = target.empty_database(&format!("restored_{format}")).await;
        restore(&restored, format, &file);
        same_rows(&source, &restored).await;
        same_walls(&source, &restored).await;
        goes_on(&target, &restored, &story).await;
    }
}

/// The functions in a schema of their own; a clean restore, over books and over nothing; by who may not.
async fn into_other_places() {
    let cluster = Cluster::start("wire-places", &[]);
    let source = cluster.empty_database("places").await;
    let admin = source.admin().await;
    admin.run("CREATE SCHEMA api; CREATE EXTENSION billing_rpc SCHEMA api").await;
    let granted = "SELECT (api.grant_credits('7', 10, 'gift')).reason::text";
    assert_eq!(admin.text(granted).await.as_deref(), Some("applied"));
    let folder = Folder::new();
    let file = folder.0.join("places");
    dump(&source, "custom", &file);
    let file = file.to_string_lossy().into_owned();

    let restored = cluster.empty_database("restored_places").await;
    tool("pg_restore", &cluster, &["-e", "--clean", "--if-exists", "-d", &restored.name, &file]);
    same_rows_of(&source, &restored).await;
    same_walls(&source, &restored).await;
    let admin = restored.admin().await;
    assert_eq!(admin.text(granted).await.as_deref(), Some("replay"));
    let placed = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'billing_rpc'";
    assert_eq!(admin.text(placed).await.as_deref(), Some("api"));

    // Over books: it begins by dropping them, which is refused, and ends there.
    admin.run("SELECT api.grant_credits('7', 5, 'after the dump')").await;
    let before = contents(&admin).await;
    let clean = ["-e", "--clean", "--if-exists", "-d", &restored.name, &file];
    let refusal = failure("pg_restore", &cluster, "postgres", &clean);
    assert!(refusal.contains("the books of billing_rpc would be dropped"), "{refusal}");
    assert_eq!(contents(&admin).await, before, "nothing is lost, nothing is there twice");

    // Only a superuser makes an extension, so only one restores it.
    admin.run("CREATE ROLE wire_nobody LOGIN").await;
    admin.run("CREATE DATABASE nobodys OWNER wire_nobody").await;
    let refusal =
        failure("pg_restore", &cluster, "wire_nobody", &["-e", "--no-owner", "-d", "nobodys", &file]);
    assert!(refusal.contains("permission denied to create extension \"billing_rpc\""), "{refusal}");
    let nobodys = Admin::connect(&cluster, "nobodys").await;
    let left = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('billing')";
    assert_eq!(nobodys.number(left).await, 0);
}

/// A bit of everything: calls, events of each end, linked and unlinked people, claims.
async fn tell(database: &Database) -> Story {
    let mut random = random(40);
    let (mut client, mut gateway) = (database.application(), database.gateway());
    let mut story = Story { calls: Vec::new(), bodies: Vec::new() };
    let admin = database.admin().await;
    admin.run("SELECT billing.allow_account('acct_restore')").await;
    admin.run("SELECT billing.define_pack('starter', 100, 900, 'eur', expires_after => '1 year')").await;
    admin
        .run("SELECT billing.define_plan('monthly', 500, 'ngn', 'month', price_ids => '{price_restore}')")
        .await;
    let mut calls = Vec::new();
    for number in 0..sized(30, 1_000) {
        let user = match number % 3 {
            0 => uuid(&mut random),
            1 => random.random_range(1..1_000_000).to_string(),
            _ => format!("restore.{number}@wire.example"),
        };
        let purchase = Call::purchase(&user, 100, &format!("restore_p{number}"));
        calls.push(purchase.source(&format!("stripe:pi_restore_{number}")));
        calls.push(Call::grant(&user, 7, &format!("restore_g{number}\n\\.\t\"quoted\"")));
        calls.push(Call::spend(&user, 50, &format!("restore_s{number}")));
        let reference = format!("restore_ref{number}");
        calls.push(Call::start_payment(&reference, &user, "monthly", 500).branches("{\"a,b\",c}"));
        calls.push(Call::verify_payment(&reference, 500));
        if number % 3 == 0 {
            let call = Call::register(&user).email(&format!("restored.{number}@wire.example"));
            calls.push(call.customer(&format!("cus_restore{number}")));
            calls.push(Call::register(&user).customer(&format!("cus_second{number}")));
        }
        let more = match number % 4 {
            // Waits for its customer, body and all.
            0 => json!({"customer": format!("cus_unknown{number}")}),
            1 => json!({"payment_status": "unpaid"}),
            _ => json!({"metadata": {"user_id": user}, "payment_intent": format!("pi_own_{number}")}),
        };
        let session = stripe::session(&format!("cs_restore_{number}"), 40, more);
        let body = stripe::completed(&format!("evt_restore_{number}"), session);
        let delivered = gateway.deliver(&body).await;
        story.bodies.push((body, delivered.answer));
    }
    for call in calls {
        let answer = client.call(&call).await;
        assert_eq!(answer.why(), "applied", "{call:?}");
        story.calls.push((call, answer));
    }
    let claim = client.call(&Call::claim("evt_claimed_before_the_dump")).await;
    assert_eq!(claim.why(), "applied");
    story
}

fn tool(name: &str, cluster: &Cluster, arguments: &[&str]) -> String {
    let output = Command::new(program(name))
        .args(["-h", &cluster.host, "-p", &cluster.port.to_string(), "-U", "postgres"])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    // The ledger refers to itself (`reverses`), of which pg_dump warns; a whole COPY restores it all the same.
    let expected = |line: &&str| {
        let known = ["circular foreign-key constraints on this table", "detail: ledger", "hint: "];
        known.iter().any(|text| line.contains(text))
    };
    let wrong: Vec<&str> = errors.lines().filter(|line| !expected(line)).collect();
    assert!(output.status.success() && wrong.is_empty(), "{name} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the tool says when it fails, which it must.
fn failure(name: &str, cluster: &Cluster, user: &str, arguments: &[&str]) -> String {
    let output = Command::new(program(name))
        .args(["-h", &cluster.host, "-p", &cluster.port.to_string(), "-U", user])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!output.status.success(), "{name} {arguments:?} goes through");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn dump(source: &Database, format: &str, file: &std::path::Path) {
    let file = file.to_string_lossy();
    tool("pg_dump", &source.cluster, &["-F", format, "-f", &file, &source.name]);
}

/// The dump as text.
fn readable(format: &str, file: &std::path::Path) -> String {
    if format == "plain" {
        return std::fs::read_to_string(file).expect("the dump");
    }
    let output = Command::new(program("pg_restore")).arg("-f").arg("-").arg(file).output();
    let output = output.expect("pg_restore runs");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn restore(into: &Database, format: &str, file: &std::path::Path) {
    let file = file.to_string_lossy();
    if format == "plain" {
        let stop = "ON_ERROR_STOP=1";
        tool(
            "psql",
            &into.cluster,
            &["-q", "-X", "-v", stop, "-d", &into.name, "-o", "/dev/null", "-f", &file],
        );
    } else {
        tool("pg_restore", &into.cluster, &["-e", "-d", &into.name, &file]);
    }
}

/// Rows of each table, in a digest, and where the sequence stands.
async fn contents(admin: &Admin) -> Vec<String> {
    let tables = "SELECT c.relname::text FROM pg_class c
                  WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r'
                  AND c.relname <> 'webhook_secrets' ORDER BY 1";
    let mut contents = Vec::new();
    for table in admin.texts(tables).await.into_iter().flatten() {
        let digest = format!(
            "SELECT '{table} ' || count(*) || ' ' || md5(coalesce(string_agg(t::text, '\n' ORDER BY t::text), ''))
             FROM billing.{table} t"
        );
        contents.push(admin.text(&digest).await.expect("a digest"));
    }
    for sequence in ["ledger_entry_id_seq", "payments_payment_id_seq"] {
        contents.extend(admin.text(&format!("SELECT 'last ' || last_value FROM billing.{sequence}")).await);
    }
    contents
}

async fn same_rows(source: &Database, restored: &Database) {
    let before = same_rows_of(source, restored).await;
    let filled = before.iter().filter(|table| !table.contains(" 0 ")).count();
    assert!(filled >= 13, "each table of this scope has rows: {before:?}");
    let secrets = restored.admin().await.number("SELECT count(*) FROM billing.webhook_secrets").await;
    assert_eq!(secrets, 0);
}

/// The rows that both have, in digests.
async fn same_rows_of(source: &Database, restored: &Database) -> Vec<String> {
    let (before, after) = (contents(&source.admin().await).await, contents(&restored.admin().await).await);
    assert_eq!(before, after);
    before
}

/// Row security, policies, triggers, rights and the guard are those of the source, and the guard guards.
async fn same_walls(source: &Database, restored: &Database) {
    let walls = "SELECT concat_ws(' ', relname, relrowsecurity, relforcerowsecurity, relowner::regrole, relacl)
        FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'v', 'S')
        UNION ALL SELECT concat_ws(' ', tablename, policyname, permissive, roles, cmd, qual, with_check) FROM pg_policies
        UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', evtname, evtevent, evtenabled, evtfoid::regprocedure, evttags)
        FROM pg_event_trigger
        UNION ALL SELECT concat_ws(' ', p.oid::regprocedure, p.prosecdef, p.proconfig, p.proowner::regrole, p.proacl)
        FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'billing_rpc' ORDER BY 1";
    let admin = restored.admin().await;
    let after = admin.texts(walls).await;
    assert_eq!(source.admin().await.texts(walls).await, after);
    assert!(
        after.iter().flatten().any(|line| line.starts_with("billing_rpc_drop_guard ddl_command_start A"))
    );
    let dropped = admin.client().batch_execute("DROP EXTENSION billing_rpc CASCADE").await;
    let code = dropped.err().and_then(|error| error.code().map(|code| code.code().to_owned()));
    assert_eq!(code.as_deref(), Some("2BP01"), "restored books are guarded");
    assert_eq!(admin.number("SELECT count(*) FROM billing.reconcile()").await, 0);
}

/// Everything again is known; something new works.
async fn goes_on(target: &Arc<Cluster>, restored: &Database, story: &Story) {
    let admin = restored.admin().await;
    if admin.text("SELECT 1::text FROM pg_roles WHERE rolname = 'wire_gateway'").await.is_none() {
        admin.run("CREATE ROLE wire_gateway LOGIN NOINHERIT").await;
        admin.run("GRANT billing_webhook, billing_service TO wire_gateway").await;
        admin.run("CREATE ROLE wire_application LOGIN; GRANT billing_service TO wire_application").await;
    }
    let (mut client, mut gateway) = (restored.application(), restored.gateway());
    let unarmed = gateway.deliver(&story.bodies[0].0).await;
    assert_eq!((unarmed.status, unarmed.answer.why().as_str()), (500, "invalid / secret_missing"));
    admin.run(&format!("SELECT billing.add_webhook_secret('stripe', '{}')", stripe::SECRET)).await;

    for (call, before) in &story.calls {
        let answer = client.call(call).await;
        assert_eq!(answer.why(), "replay", "{call:?}");
        if before.0.contains_key("entry_id") {
            assert_eq!(answer.numbers(), before.numbers());
        }
    }
    for (body, before) in &story.bodies {
        let answer = gateway.deliver(body).await.answer;
        if before.reason() == "failed" {
            assert_eq!((answer.why().as_str(), answer.int("attempts")), ("failed / unknown_user", 2));
        } else {
            assert_eq!(answer.why(), "replay");
            assert_eq!(answer.numbers(), before.numbers());
        }
    }
    let claim = client.call(&Call::claim("evt_claimed_before_the_dump")).await;
    assert_eq!(claim.why(), "duplicate / in_progress");
    new_things(&mut client, &mut gateway, &admin).await;
    books::check_tables(&admin).await;
    assert!(target.log_text().len() < 1_000_000);
}

async fn new_things(client: &mut Session, gateway: &mut Session, admin: &Admin) {
    let last = admin.number("SELECT max(entry_id) FROM billing.ledger").await;
    let new = client.call(&Call::purchase("4711", 10, "after").session("cs_after")).await;
    assert_eq!(new.why(), "applied");
    assert_eq!(new.int("entry_id"), last + 1, "the sequence goes on");
    // What waited in the dump is done when its customer is linked here.
    let user = "00000000-0000-4000-8000-000000000001";
    let linked = client.call(&Call::register(user).customer("cus_unknown0")).await;
    assert_eq!(linked.why(), "applied");
    assert_eq!(client.call(&Call::balance(user)).await.int("balance"), 40);
    let session = stripe::session("cs_after2", 5, json!({"metadata": {"user_id": user}}));
    let delivered = gateway.deliver(&stripe::completed("evt_after2", session)).await;
    assert_eq!((delivered.status, delivered.answer.why().as_str()), (200, "applied"));
    let refused = admin
        .text(
            "SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'billing.ledger'::regclass AND tgenabled = 'A')
                 ::text",
        )
        .await;
    assert_eq!(refused.as_deref(), Some("1"), "the ledger is still append-only");
}

/// A folder for dumps, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let folder = root().join(format!(
            "target/wire-dumps.{}.{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
