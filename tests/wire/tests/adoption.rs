//! An old application moved over: side by side with its old handler, in any order of the steps, and cut off in
//! the middle.

use std::time::Duration;

use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Admin, Call, Session};
use billing_wire::{Tested, figure, random, run, sized, stripe};
use rand::Rng;
use rand::seq::SliceRandom;
use serde_json::json;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("adoption::side_by_side_ends_credited_once", || run(side_by_side()));
    add("adoption::cut_off_and_run_again", || run(cut_off()));
}

/// The old application: its tables, and how its handler credits.
const OLD: &str = "
    CREATE TABLE public.users (id bigint PRIMARY KEY, email text, credits_balance integer NOT NULL DEFAULT 0);
    CREATE TABLE public.stripe_events (event_id text PRIMARY KEY, event_type text, processed_at timestamptz,
        processing_status text, error_message text);
    CREATE TABLE public.credit_purchases (stripe_session_id text UNIQUE, user_id bigint, credits integer)";

const ADOPT: [&str; 3] = [
    "SELECT format('%s %s', adopted, remaining)
     FROM billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processed_at', dry_run => false)",
    "SELECT format('%s %s', adopted, remaining)
     FROM billing.adopt_sources('public.credit_purchases', 'stripe_session_id', dry_run => false)",
    "SELECT format('%s %s', adopted, remaining)
     FROM billing.adopt_balances('public.users', 'id', 'credits_balance', dry_run => false)",
];

/// A purchase of user 1: its number names event, session and payment, and is a bit of the sum.
fn bought(number: u32) -> (String, i64) {
    let credits = 1 << number;
    let more = json!({"metadata": {"user_id": "1"}, "payment_intent": format!("pi_{number}")});
    let session = stripe::session(&format!("cs_{number}"), credits, more);
    (stripe::completed(&format!("evt_{number}"), session), credits)
}

async fn old_handler(admin: &Admin, number: u32, works: bool) {
    let credits = bought(number).1;
    let event = if works {
        format!("'evt_{number}', 'checkout.session.completed', now(), 'completed', NULL")
    } else {
        format!("'evt_{number}', 'checkout.session.completed', NULL, 'failed', 'timeout'")
    };
    admin.run(&format!("INSERT INTO public.stripe_events VALUES ({event})")).await;
    if works {
        let credit =
            format!("UPDATE public.users SET credits_balance = credits_balance + {credits} WHERE id = 1");
        let note = format!("INSERT INTO public.credit_purchases VALUES ('cs_{number}', 1, {credits})");
        admin.run(&format!("{credit}; {note}")).await;
    }
}

const BEFORE: u32 = 0;
const BESIDE: u32 = 1;
const BESIDE_FAILED: u32 = 2;
const MEANWHILE: u32 = 3;
const AFTER: u32 = 4;

/// The steps of adopting in every order: none depends on another.
async fn side_by_side() {
    let mut orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    orders.shuffle(&mut random(1_701));
    for order in &orders[..sized(2, 6)] {
        let order = *order;
        let database = Cluster::shared().database().await;
        let admin = database.admin().await;
        admin.run(OLD).await;
        admin
            .run("INSERT INTO public.users VALUES (1, 'ada@example.com', 0), (2, 'bob@example.com', 7)")
            .await;
        old_handler(&admin, BEFORE, true).await;

        database.set("billing_rpc.webhook_mode", "record").await;
        let mut gateway = database.gateway();
        for (number, works) in [(BESIDE, true), (BESIDE_FAILED, false)] {
            assert_eq!(deliver(&mut gateway, number).await, "ignored / recorded");
            old_handler(&admin, number, works).await;
        }
        // From here on the old handler is stopped.
        assert_eq!(deliver(&mut gateway, MEANWHILE).await, "ignored / recorded");
        for step in order {
            assert_eq!(admin.text(ADOPT[step]).await.as_deref(), Some("2 0"), "{order:?}: {step}");
            assert_eq!(deliver(&mut gateway, BESIDE_FAILED).await, "ignored / recorded");
        }

        database.set("billing_rpc.webhook_mode", "process").await;
        let mut gateway = database.gateway();
        assert_eq!(database.application().rows(&Call::retry(100)).await.len(), 2, "{order:?}");
        assert_eq!(deliver(&mut gateway, AFTER).await, "applied");
        once(&database, &admin, &mut gateway, &format!("{order:?}")).await;
        for step in order {
            assert_eq!(admin.text(ADOPT[step]).await.as_deref(), Some("0 0"), "{order:?}: {step} again");
        }
        once(&database, &admin, &mut gateway, &format!("{order:?}, adopted again")).await;
    }
}

async fn deliver(gateway: &mut Session, number: u32) -> String {
    gateway.deliver(&bought(number).0).await.answer.why()
}

/// Whatever comes again: every purchase is credited once.
async fn once(database: &Database, admin: &Admin, gateway: &mut Session, when: &str) {
    let mut application = database.application();
    for number in BEFORE..=AFTER {
        assert_eq!(deliver(gateway, number).await, "replay", "{when}: {number}");
        // What the old handler credited is known by its session; only an event that is processed here tells of the
        // payment.
        let names: &[&str] = if number <= BESIDE { &["cs"] } else { &["cs", "pi"] };
        for name in names {
            let call = Call::purchase("1", 1, &format!("again_{number}_{name}"))
                .source(&format!("stripe:{name}_{number}"));
            let why = application.call(&call).await.why();
            assert_eq!(why, "duplicate / already_credited", "{when}: {call:?}");
        }
    }
    let balance = application.call(&Call::balance("1")).await;
    assert_eq!(balance.int("balance"), 0b11111, "{when}: each purchase is a bit");
    assert_eq!(application.call(&Call::balance("2")).await.int("balance"), 7, "{when}");
    assert_eq!(admin.number("SELECT count(*) FROM billing.reconcile()").await, 0, "{when}");
}

/// Adopts in batches until nothing is left, in a session that is ended again and again.
async fn cut_off() {
    let cluster = Cluster::shared();
    let database = cluster.database().await;
    let admin = database.admin().await;
    let rows = sized(1_000, 100_000);
    admin.run(OLD).await;
    admin
        .run(&format!(
            "INSERT INTO public.users SELECT n, NULL, n FROM generate_series(1, {rows}) AS n;
             INSERT INTO public.stripe_events SELECT 'evt_' || n, 'invoice.paid', now(), 'completed' FROM generate_series(1, {rows}) AS n;
             INSERT INTO public.credit_purchases SELECT (CASE WHEN n % 2 = 0 THEN 'cs_' ELSE 'pi_' END) || n, n, n
             FROM generate_series(1, {rows}) AS n"
        ))
        .await;
    let mut random = random(1_700);
    let mut application = database.application();
    let batch = rows / 2;
    let (mut killed, mut spent) = (0, 0);
    for (step, statement) in ADOPT.iter().enumerate() {
        let statement = statement.replace("false)", &format!("false, max_rows => {batch})"));
        // How long a batch takes is not known: from far too early on, a little later each time.
        let mut patience = Duration::from_millis(5);
        loop {
            let worker = database.admin().await;
            let pid = worker.number("SELECT pg_backend_pid()").await;
            let query = worker.client().query(&statement, &[]);
            let ended = tokio::time::timeout(patience, query).await;
            match ended {
                Ok(Ok(answer)) => {
                    let told: String = answer[0].get(0);
                    let adopted: usize =
                        told.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                    assert!(adopted <= batch, "{statement}: {told}");
                    if adopted == 0 {
                        assert_eq!(told, "0 0", "{statement}");
                        break;
                    }
                    patience = Duration::from_millis(5);
                }
                Ok(Err(error)) => panic!("{statement}: {error:?}"),
                Err(_) => {
                    admin.run(&format!("SELECT pg_terminate_backend({pid}, 10000)")).await;
                    killed += 1;
                    patience = patience.mul_f64(random.random_range(1.5..3.0));
                }
            }
            // Somebody buys meanwhile.
            if step == 2 {
                let user = random.random_range(1..=rows).to_string();
                let call = Call::grant(&user, 5, &format!("meanwhile_{spent}"));
                assert_eq!(application.call(&call).await.why(), "applied");
                spent += 1;
            }
        }
    }
    figure(|| format!("{killed} sessions ended in the middle, {spent} grants beside"));
    assert!(killed >= 3, "nothing was cut off");
    let openings = "SELECT sum(credits) FROM billing.ledger WHERE kind = 'adjustment'";
    let sum = (rows * (rows + 1) / 2) as i64;
    assert_eq!(admin.number(openings).await, sum);
    let total = "SELECT sum(balance) FROM billing.credit_totals WHERE credit_type = 'credits'";
    assert_eq!(admin.number(total).await, sum + 5 * spent);
    let wrong = "SELECT count(*) FROM public.users u
        LEFT JOIN billing.customers c ON c.legacy_id = u.id
        LEFT JOIN billing.ledger e ON e.customer_id = c.customer_id AND e.kind = 'adjustment'
        WHERE e.credits IS DISTINCT FROM u.credits_balance";
    assert_eq!(admin.number(wrong).await, 0);
    let events = "SELECT count(*) FROM billing.webhook_events WHERE status = 'completed'";
    assert_eq!(admin.number(events).await, rows as i64);
    let sources = "SELECT count(*) FROM billing.ledger WHERE source_ref IS NOT NULL";
    assert_eq!(admin.number(sources).await, rows as i64);
    assert_eq!(admin.number("SELECT count(*) FROM billing.reconcile()").await, 0);
}
