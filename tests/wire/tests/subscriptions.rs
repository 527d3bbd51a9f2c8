//! Subscriptions as deliveries tell of them.
//!
//! - The first minute of a subscriber: six events in all 720 orders of arrival, of one second and a second apart.
//! - Whatever is said of one subscription: every sequence of up to three words in every order of arrival, compared
//!   with what the core crate decides (which tries longer ones by itself). Long runs play all 84,120, others 1,000
//!   of them that the seed decides.

use std::collections::HashMap;
use std::time::Instant;

use billing_core::subscriptions::orders::{Said, Word, arrivals, each_sequence, hear};
use billing_core::subscriptions::{Facts, State, Status, Verdict};
use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Answer, Call, Provider, Session};
use billing_wire::{Tested, books, figure, iso, long, random, run, stripe};
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("subscriptions::the_first_minute", || run(first_minutes()));
    add("subscriptions::what_is_said", || run(what_is_said()));
}

fn deliver(event: &Value) -> Call {
    let body = event.to_string();
    Provider::Stripe.process(&body, &Provider::Stripe.sign(&body))
}

/// Reason and detail are one of these.
fn check_why(answer: &Answer, expected: &[&str], told: impl FnOnce() -> String) {
    assert!(expected.contains(&answer.why().as_str()), "{}: {answer:?}, not {expected:?}", told());
}

// ---- The usual first minute of a subscriber, whose events Stripe delivers in any order.

/// What is told, in the order in which it happens.
const MINUTE: [&str; 6] = [
    "customer.created",
    "customer.subscription.created",
    "invoice.paid",
    "customer.subscription.updated",
    "invoice_payment.paid",
    "checkout.session.completed",
];
const UPDATED: usize = 3;
const T0: i64 = 1_772_000_000;

/// The object of that event, for the subscriber of that number.
fn object(event_type: &str, number: usize) -> Value {
    let customer = format!("cus_{number}");
    let subscription = |status| {
        json!({
            "id": format!("sub_{number}"), "object": "subscription", "customer": customer, "status": status,
            "items": { "data": [{
                "price": { "id": "price_pro" }, "quantity": 1,
                "current_period_start": 4_102_444_800_i64, "current_period_end": 4_105_123_200_i64,
            }] },
            "metadata": {},
        })
    };
    match event_type {
        "customer.created" => json!({ "id": customer, "object": "customer", "metadata": {} }),
        "customer.subscription.created" => subscription("incomplete"),
        "customer.subscription.updated" => subscription("active"),
        "invoice.paid" => json!({
            "id": format!("in_{number}"), "object": "invoice", "customer": customer,
            "billing_reason": "subscription_create", "status": "paid",
            "parent": { "type": "subscription_details", "subscription_details": {
                "subscription": format!("sub_{number}"), "metadata": {},
            } },
            "lines": { "data": [{
                "amount": 900, "quantity": 1, "period": { "start": 4_102_444_800_i64, "end": 4_105_123_200_i64 },
                "pricing": { "price_details": { "price": "price_pro", "product": "prod_pro" } },
                "parent": { "subscription_item_details": { "proration": false } },
            }] },
        }),
        "invoice_payment.paid" => json!({
            "id": format!("inpay_{number}"), "object": "invoice_payment", "invoice": format!("in_{number}"),
            "payment": { "type": "payment_intent", "payment_intent": format!("pi_{number}") },
        }),
        _ => json!({
            "id": format!("cs_{number}"), "object": "checkout.session", "mode": "subscription",
            "payment_status": "paid", "customer": customer, "subscription": format!("sub_{number}"),
            "client_reference_id": number.to_string(), "metadata": {},
        }),
    }
}

/// Tells everything in that order, `apart` seconds lying between one thing and the next.
async fn tell(client: &mut Session, order: &[usize], number: usize, apart: i64) {
    for place in order {
        let event_type = MINUTE[*place];
        let event = stripe::event(&format!("evt_{number}_{place}"), event_type, object(event_type, number));
        let created = T0 + apart * i64::try_from(*place).expect("a place");
        let answer = client.call(&deliver(&stripe::at(created, event))).await;
        let expected: &[&str] = match event_type {
            "customer.created" => &["ignored / nothing_to_link"],
            "customer.subscription.created" | "customer.subscription.updated" => {
                &["applied", "applied / customer_unlinked", "ignored / stale_event"]
            }
            // Nobody has its customer yet: done by the link.
            "invoice.paid" => &["applied", "failed / unknown_user"],
            _ => &["applied"],
        };
        check_why(&answer, expected, || format!("{event_type} in {order:?}, {apart} s apart"));
    }
}

/// How each subscriber ends, by number.
async fn minutes(database: &Database) -> HashMap<String, String> {
    let ends = database
        .admin()
        .await
        .texts(
            "SELECT c.legacy_id || ' ' || concat_ws(', ', c.stripe_customer_id,
                 (SELECT string_agg(concat_ws(' ', s.subscription_id, s.status, s.object_status,
                      extract(epoch FROM s.object_at)::bigint, extract(epoch FROM s.status_at)::bigint), '; ')
                  FROM billing.subscriptions s WHERE s.customer_id = c.customer_id),
                 (SELECT concat_ws(' ', s.plan, s.active) FROM subscription_status(c.legacy_id::text) s),
                 (SELECT string_agg(concat_ws(' ', l.kind, l.credits, l.source_ref), '; ')
                  FROM billing.ledger l WHERE l.customer_id = c.customer_id),
                 (SELECT b.available FROM credit_balance(c.legacy_id::text) b),
                 (SELECT string_agg(p.payment_ref, '; ') FROM billing.charges p
                  WHERE p.source_ref = 'stripe:in_' || c.legacy_id))
             FROM billing.customers c",
        )
        .await;
    let split = |end: &String| end.split_once(' ').map(|(number, end)| (number.to_owned(), end.to_owned()));
    ends.iter().flatten().filter_map(split).collect()
}

/// Linked, active, granted once, the payment tied to the invoice; every event done, without any worker.
async fn first_minutes() {
    let database = Cluster::shared().database().await;
    let admin = database.admin().await;
    admin
        .run(
            "SELECT billing.define_plan('pro', 900, 'usd', 'month', price_ids => '{price_pro}',
                 credits_per_period => 100)",
        )
        .await;
    let begun = Instant::now();
    let orders = arrivals(MINUTE.len());
    let mut tasks = tokio::task::JoinSet::new();
    for apart in [0, 1] {
        let (orders, mut client) = (orders.clone(), database.application());
        tasks.spawn(async move {
            for (place, order) in orders.iter().enumerate() {
                tell(&mut client, order, number(place, apart), apart).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a client");
    }
    figure(|| format!("{} orders, each in one second and in six, in {:.1?}", orders.len(), begun.elapsed()));

    let ends = minutes(&database).await;
    assert_eq!(ends.len(), 2 * orders.len());
    for apart in [0, 1] {
        let at = T0 + apart * i64::try_from(UPDATED).expect("a place");
        for (place, order) in orders.iter().enumerate() {
            let number = number(place, apart);
            let expected = format!(
                "cus_{number}, sub_{number} active active {at} {at}, pro t, \
                 grant 100 stripe:in_{number}#pro, 100, pi_{number}"
            );
            assert_eq!(ends[&number.to_string()], expected, "{order:?}, {apart} s apart");
        }
    }
    let not_done = "SELECT count(*) FROM billing.webhook_events WHERE status <> 'completed'";
    assert_eq!(admin.number(not_done).await, 0);
    books::check_tables(&admin).await;
    assert_eq!(admin.number("SELECT count(*) FROM billing.reconcile()").await, 0);
}

/// The subscriber of an order, told with so many seconds in between.
fn number(order: usize, apart: i64) -> usize {
    1 + 2 * order + usize::try_from(apart).expect("zero or one")
}

// ---- Whatever is said of one subscription.

/// One sequence of words, as they arrive.
#[derive(Clone, Debug)]
struct Play {
    number: usize,
    said: Vec<Said>,
    /// The second from which times count. From one that lies ahead, truth is newer than any request for it.
    beginning: i64,
}

const PAST: i64 = 1_700_000_000;
const AHEAD: i64 = 4_000_000_000;
const LENGTH: usize = 3;

/// Every sequence of up to three words in every order of arrival, seen from both beginnings: 84,120 plays.
fn plays() -> Vec<Play> {
    let mut plays: Vec<Play> = Vec::new();
    for length in 1..=LENGTH {
        let orders = arrivals(length);
        each_sequence(length, &mut |said| {
            for order in &orders {
                let said: Vec<Said> = order.iter().map(|place| said[*place]).collect();
                for beginning in [PAST, AHEAD] {
                    plays.push(Play { number: plays.len(), said: said.clone(), beginning });
                }
            }
        });
    }
    plays
}

fn call(word: &Said, place: usize, play: &Play) -> Call {
    let tag = format!("{}_{place}", play.number);
    let second = play.beginning + word.at / 1_000_000;
    let subscription = |status: Status| {
        json!({
            "id": format!("sub_{}", play.number), "object": "subscription", "customer": "cus_said",
            "status": status.as_str(), "items": { "data": [] },
        })
    };
    let event = |event_type, object| {
        deliver(&stripe::at(second, stripe::event(&format!("evt_{tag}"), event_type, object)))
    };
    match word.word {
        Word::Object(status) => event("customer.subscription.updated", subscription(status)),
        Word::Invoice(to) => {
            let invoice = json!({
                "id": format!("in_{tag}"), "object": "invoice", "customer": "cus_said", "lines": { "data": [] },
                "billing_reason": "subscription_cycle", "subscription": format!("sub_{}", play.number),
            });
            let settled = if to == Status::Active { "invoice.paid" } else { "invoice.payment_failed" };
            event(settled, invoice)
        }
        Word::Truth(status) => {
            let at = iso(second).replace('Z', &format!(".{:06}Z", word.at % 1_000_000));
            Call::of("apply_subscription_update")
                .with("subscription", "jsonb", Some(subscription(status).to_string()))
                .with("observed_at", "timestamptz", Some(at))
        }
    }
}

/// What core decides of it, word by word: the subscription, and whether the truth is still asked for.
#[derive(Default)]
struct Expected {
    stored: Option<State>,
    asked: bool,
}

impl Expected {
    /// Hears the next word; the answer that is due.
    fn hear(&mut self, word: &Said, beginning: i64) -> String {
        let Some(decision) = hear(self.stored.as_ref(), *word, &Facts::default()) else {
            self.asked = true;
            return "ignored / nothing_to_do".to_owned();
        };
        match word.word {
            Word::Truth(_) if decision.refetch.is_none() && beginning == AHEAD => self.asked = false,
            Word::Truth(_) => {}
            Word::Object(_) | Word::Invoice(_) => self.asked |= decision.refetch.is_some(),
        }
        match decision.verdict {
            Verdict::Store(state) => {
                self.stored = Some(state);
                "applied".to_owned()
            }
            Verdict::Replay => "replay".to_owned(),
            Verdict::Ignore(detail) => format!("ignored / {}", detail.as_str()),
        }
    }

    /// The end as [`ends`] shows it.
    fn end(&self, beginning: i64) -> String {
        let stored = self.stored.as_ref().map(|state| {
            let at = |at: Option<i64>| at.map_or(-1, |at| at + beginning * 1_000_000);
            let (status, object_status) = (state.status.as_str(), state.object_status.as_str());
            let (object_at, status_at) = (at(state.object_at), at(state.status_at));
            format!("{status} {object_status} {object_at} {status_at} {}", state.is_truth)
        });
        format!("{}, asked {}", stored.unwrap_or_default(), self.asked)
    }
}

/// What is left of each subscription, and whether the truth is asked for, by id.
async fn ends(database: &Database) -> HashMap<String, String> {
    let rows = database
        .admin()
        .await
        .texts(
            "SELECT id || ' ' || concat_ws(' ', s.status, s.object_status,
                 (extract(epoch FROM s.object_at) * 1000000)::bigint,
                 (extract(epoch FROM s.status_at) * 1000000)::bigint, s.is_truth::text)
                 || ', asked ' || (q.object_id IS NOT NULL)::text
             FROM (SELECT subscription_id AS id, * FROM billing.subscriptions) s
             FULL JOIN (SELECT object_id AS id, object_id FROM billing.refetch_queue) q USING (id)",
        )
        .await;
    let split = |row: &String| row.split_once(' ').map(|(id, end)| (id.to_owned(), end.to_owned()));
    rows.iter().flatten().filter_map(split).collect()
}

async fn say(client: &mut Session, play: &Play) -> String {
    let mut expected = Expected::default();
    for (place, word) in play.said.iter().enumerate() {
        let due = expected.hear(word, play.beginning);
        let answer = client.call(&call(word, place, play)).await;
        check_why(&answer, &[&due], || format!("word {place} of {play:?}"));
    }
    expected.end(play.beginning)
}

async fn what_is_said() {
    let database = Cluster::shared().database().await;
    let linked = database
        .application()
        .call(&Call::register(&billing_wire::uuid(&mut random(811))).customer("cus_said"))
        .await;
    assert_eq!(linked.why(), "applied");
    let all = plays();
    assert_eq!(all.len(), 84_120);
    let plays: Vec<Play> =
        if long() { all } else { all.choose_multiple(&mut random(812), 1_000).cloned().collect() };
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    const CLIENTS: usize = 4;
    for client in 0..CLIENTS {
        let share: Vec<Play> = plays.iter().skip(client).step_by(CLIENTS).cloned().collect();
        let mut client = database.application();
        tasks.spawn(async move {
            let mut ends = Vec::new();
            for play in share {
                let end = say(&mut client, &play).await;
                ends.push((play, end));
            }
            ends
        });
    }
    let mut expected = Vec::new();
    while let Some(done) = tasks.join_next().await {
        expected.extend(done.expect("a client"));
    }
    let words: usize = plays.iter().map(|play| play.said.len()).sum();
    figure(|| format!("{} plays, {words} words in {:.1?}", plays.len(), begun.elapsed()));

    let ends = ends(&database).await;
    for (play, end) in &expected {
        assert_eq!(&ends[&format!("sub_{}", play.number)], end, "{play:?}");
    }
    assert_eq!(ends.len(), plays.len());
    books::check_tables(&database.admin().await).await;
}
