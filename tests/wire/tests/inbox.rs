//! The inbox under load: many clients deliver the same events many times, in any order, while backends are
//! terminated, workers retry, and for a while events are only recorded. The end is the one that the contract calls
//! for, to the unit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use billing_wire::books;
use billing_wire::cluster::{Cluster, Database};
use billing_wire::ends::Payment;
use billing_wire::session::{Admin, Call, Provider, Session, is_retryable};
use billing_wire::{Tested, figure, paystack, random, run, sized, stripe};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};
use tokio::sync::Barrier;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("inbox::under_load", || run(under_load()));
}

const CLIENTS: usize = 64;
/// Clients that call instead of delivering.
const CALLERS: usize = 4;
const WORKERS: usize = 3;
/// In the second events are only recorded.
const PARTS: usize = 3;
/// How often each message is sent in the storm.
const TIMES: usize = 5;
/// Who buys and spends nothing: all may share purchases of any kind.
const SHARERS: u64 = 20;
const T0: i64 = 1_772_000_000;

#[derive(Clone, Debug)]
enum Message {
    Event(Provider, String),
    Call(Call),
}

/// A payment, whose it is, what tells of it, and what must come of it.
#[derive(Default)]
struct Story {
    user: u64,
    payment: Payment,
    /// The sources that may stand in the ledger, and the key of the charge's row, if it must have one.
    sources: Vec<String>,
    charge: Option<String>,
    /// Before the storm, in this order.
    setup: Vec<Call>,
    messages: Vec<Message>,
    /// What the charge's row must say it paid for.
    paid_for: Option<String>,
}

/// How a payment comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Session,
    /// By a code that some event links to the user.
    LateSession,
    Pack,
    ExpiringPacks,
    SessionAndCall,
    IntentByCall,
    /// The application names a session that no event tells of.
    SessionByCall,
    Paystack,
    PaystackAndCall,
    /// Credited and in part spent before the storm, by a user without anything else.
    Spent,
    Reversed,
    /// A pack at a price that it does not have.
    WrongPrice,
    /// Somebody else's payment.
    Unknown,
}

const KINDS: [Kind; 13] = [
    Kind::Session,
    Kind::LateSession,
    Kind::Pack,
    Kind::ExpiringPacks,
    Kind::SessionAndCall,
    Kind::IntentByCall,
    Kind::SessionByCall,
    Kind::Paystack,
    Kind::PaystackAndCall,
    Kind::Spent,
    Kind::Reversed,
    Kind::WrongPrice,
    Kind::Unknown,
];

fn late_code(user: u64) -> String {
    format!("cus_late{user}")
}

impl Story {
    fn stripe(&mut self, event: Value) {
        self.messages.push(Message::Event(Provider::Stripe, event.to_string()));
    }

    fn paystack(&mut self, event_type: &str, data: Value) {
        let event = paystack::event(event_type, data);
        self.messages.push(Message::Event(Provider::Paystack, format!("{event:#}")));
    }

    fn events(&self) -> usize {
        self.messages.iter().filter(|message| matches!(message, Message::Event(..))).count()
    }

    /// Refunds, failing ones among them, and disputes of a Stripe payment.
    fn contest_stripe(&mut self, random: &mut StdRng, number: usize) {
        let intent = format!("pi_{number}");
        let amount = self.payment.amount;
        let mut told = 0;
        for step in 0..random.random_range(0..4_i64) {
            let refund = random.random_range(1..=amount - told);
            told += refund;
            let at = T0 + 10 * step;
            self.payment.refunded.push((at, told));
            self.stripe(stripe::refunded(&format!("evt_r{step}_{number}"), &intent, amount, told, at));
            if random.random_ratio(1, 3) {
                let refund_id = format!("re_{step}_{number}");
                // Stripe tells of a failure by several types of events.
                for event_type in ["refund.failed", "charge.refund.updated"] {
                    let id = format!("evt_f{step}{}_{number}", event_type.len());
                    let mut event = stripe::refund_failed(&id, &refund_id, &intent, refund, at + 5);
                    event["type"] = event_type.into();
                    self.stripe(event);
                }
                self.payment.failed.insert(refund_id, (at + 5, refund));
            }
            if told == amount {
                break;
            }
        }
        for dispute in 0..random.random_range(0..3) {
            let id = format!("du_{dispute}_{number}");
            if random.random_ratio(3, 4) {
                self.payment.withdrawn.insert(id.clone());
                self.stripe(stripe::dispute(&format!("evt_w_{id}"), "funds_withdrawn", &id, &intent));
            }
            if random.random() {
                self.payment.reinstated.insert(id.clone());
                self.stripe(stripe::dispute(&format!("evt_i_{id}"), "funds_reinstated", &id, &intent));
            }
        }
    }

    fn contest_paystack(&mut self, random: &mut StdRng, reference: &str) {
        let mut told = 0;
        for step in 0..random.random_range(0..4) {
            if told == self.payment.amount {
                break;
            }
            let refund = random.random_range(1..=self.payment.amount - told);
            told += refund;
            let id = format!("{step}{reference}");
            let amount = if random.random() { json!(refund) } else { json!(refund.to_string()) };
            self.paystack("refund.processed", paystack::refund(&id, reference, amount));
            self.payment.paid_out.insert(id, refund);
        }
    }

    /// What is left, what could not be taken, and what is undone by refunds, disputes and calls.
    fn end(&self) -> (i64, i64, i64) {
        let payment = &self.payment;
        if self.paid_for.is_none() {
            // Nobody told which payment it was: what is told of that one undoes nothing.
            return (payment.gave, 0, 0);
        }
        (payment.left(), payment.shortfall(), payment.called_for() + payment.reversed)
    }

    fn is_contested(&self) -> bool {
        let payment = &self.payment;
        !(payment.refunded.is_empty()
            && payment.failed.is_empty()
            && payment.paid_out.is_empty()
            && payment.withdrawn.is_empty()
            && payment.reinstated.is_empty())
    }
}

fn story(random: &mut StdRng, kind: Kind, number: usize) -> Story {
    let alone = matches!(kind, Kind::Spent | Kind::Reversed);
    let user = match kind {
        _ if alone => 1_000 + number as u64,
        Kind::LateSession => 500 + random.random_range(0..5),
        _ => random.random_range(1..=SHARERS),
    };
    let packs = random.random_range(1..4);
    let gave = match kind {
        Kind::Pack | Kind::ExpiringPacks | Kind::WrongPrice => packs * 60,
        _ => random.random_range(1..200),
    };
    let (session_id, intent, reference) =
        (format!("cs_{number}"), format!("pi_{number}"), format!("ref{number}"));
    let mut story = Story {
        user,
        payment: Payment { gave, amount: gave * 10, ..Payment::default() },
        sources: vec![format!("stripe:{session_id}"), format!("stripe:{intent}")],
        ..Story::default()
    };
    let name = user.to_string();
    let call = Call::purchase(&name, gave, &format!("call {number}"));
    let mut over = json!({"metadata": {"user_id": name}, "payment_intent": intent});
    match kind {
        Kind::LateSession => {
            over = json!({"customer": late_code(user), "payment_intent": intent});
        }
        Kind::Pack => over["metadata"]["pack"] = "plain".into(),
        Kind::ExpiringPacks => over["metadata"]["pack"] = "expiring".into(),
        Kind::WrongPrice => {
            over["metadata"]["pack"] = "plain".into();
            over["amount_subtotal"] = json!(gave * 10 + 1);
        }
        _ => {}
    }
    match kind {
        Kind::Session
        | Kind::LateSession
        | Kind::Pack
        | Kind::ExpiringPacks
        | Kind::SessionAndCall
        | Kind::WrongPrice => {
            let session = stripe::session(&session_id, gave, over);
            story.stripe(stripe::event(
                &format!("evt_c_{number}"),
                "checkout.session.completed",
                session.clone(),
            ));
            if random.random() {
                let id = format!("evt_a_{number}");
                story.stripe(stripe::event(&id, "checkout.session.async_payment_succeeded", session));
            }
            let by_session: bool = random.random();
            if kind == Kind::SessionAndCall {
                let source = &story.sources[usize::from(!by_session)];
                story.messages.push(Message::Call(call.source(source)));
            }
            // What an event of a wrong price says is undone with all that it did.
            story.paid_for = (kind != Kind::WrongPrice).then(|| story.sources[0].clone());
        }
        Kind::IntentByCall => {
            story.messages.push(Message::Call(call.source(&story.sources[1])));
            story.paid_for = Some(story.sources[1].clone());
        }
        Kind::SessionByCall => story.messages.push(Message::Call(call.session(&session_id))),
        Kind::Paystack | Kind::PaystackAndCall => {
            story.sources = vec![format!("paystack:{reference}")];
            story.paid_for = Some(story.sources[0].clone());
            for again in 0..random.random_range(1..3) {
                let charge = paystack::charge(number as u64 * 2 + again, &reference, gave, over.clone());
                story.paystack("charge.success", charge);
            }
            if kind == Kind::PaystackAndCall {
                story.messages.push(Message::Call(call.source(&story.sources[0])));
            }
        }
        Kind::Spent | Kind::Reversed => {
            story.setup.push(call.source(&story.sources[1]));
            let part = random.random_range(1..=gave);
            if kind == Kind::Spent {
                story.payment.spent = part;
                story.setup.push(Call::spend(&name, part, &format!("spend {number}")));
            } else {
                // The entry is known only once it is there.
                story.payment.reversed = part;
            }
            if random.random() {
                let session = stripe::session(&session_id, gave, over);
                story.stripe(stripe::event(
                    &format!("evt_c_{number}"),
                    "checkout.session.completed",
                    session,
                ));
                story.paid_for = Some(story.sources[0].clone());
            } else {
                story.paid_for = Some(story.sources[1].clone());
            }
        }
        Kind::Unknown => {}
    }
    if matches!(kind, Kind::Paystack | Kind::PaystackAndCall) {
        story.contest_paystack(random, &reference);
        story.charge = Some(reference);
    } else {
        story.contest_stripe(random, number);
        story.charge = (story.is_contested() || story.paid_for.is_some()).then_some(intent);
    }
    match kind {
        Kind::WrongPrice | Kind::Unknown => story.payment.gave = 0,
        _ => {}
    }
    story
}

fn stories(random: &mut StdRng, events: usize) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    // One event of each user whose code is not known from the start links it.
    for user in 500..505 {
        let mut story = Story { user, ..Story::default() };
        let customer = json!({"id": late_code(user), "object": "customer", "metadata": {"user_id": user}});
        story.stripe(stripe::event(&format!("evt_link{user}"), "customer.created", customer));
        stories.push(story);
    }
    let mut told = 0;
    while told < events {
        let number = stories.len();
        // Every kind is there, then any.
        let kind = KINDS.get(number - 5).unwrap_or_else(|| KINDS.choose(random).expect("a kind"));
        let story = story(random, *kind, number);
        told += story.events();
        stories.push(story);
    }
    stories
}

/// What all clients share while they work.
struct Storm {
    parts: Barrier,
    recorded: AtomicUsize,
    retried: AtomicUsize,
    over: AtomicBool,
}

async fn send(session: &mut Session, message: &Message, storm: &Storm) -> String {
    let why = match message {
        Message::Call(call) => session.call(call).await.why(),
        Message::Event(provider, body) => {
            let delivered = session.deliver_to(*provider, body).await;
            assert_eq!(delivered.status, 200, "{delivered:?}");
            delivered.answer.why()
        }
    };
    let expected = [
        "applied",
        "replay",
        "duplicate / already_credited",
        "ignored / recorded",
        "ignored / unknown_payment",
        "ignored / nothing_to_undo",
        "ignored / nothing_to_link",
        "failed / unknown_user",
        "failed / amount_mismatch",
        // A wrong price fails each time.
        "duplicate / dead",
    ];
    assert!(expected.contains(&why.as_str()), "{message:?}: {why}");
    storm.recorded.fetch_add(usize::from(why == "ignored / recorded"), Ordering::Relaxed);
    why
}

/// A worker as a clock would start it, again and again.
async fn work(mut session: Session, storm: Arc<Storm>) {
    while !storm.over.load(Ordering::Relaxed) {
        match session.try_rows(&Call::retry(20)).await {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    assert_ne!(outcome.str("detail"), "internal_error", "{outcome:?}");
                }
                storm.retried.fetch_add(outcomes.len(), Ordering::Relaxed);
            }
            Err(error) => {
                assert!(is_retryable(&error), "{error:?}");
                session.disconnect();
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Terminates backends of this database's clients and workers: so many, or all.
async fn terminate(admin: &Admin, limit: &str) -> i64 {
    admin
        .number(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM (
                 SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename ~ '^wire_'
                 ORDER BY random() LIMIT {limit}) b"
        ))
        .await
}

/// Terminates backends all along.
async fn disturb(database: Database, storm: Arc<Storm>) -> i64 {
    let admin = database.admin().await;
    let mut terminated = 0;
    while !storm.over.load(Ordering::Relaxed) {
        terminated += terminate(&admin, "2").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    terminated
}

/// Sends a share in three parts; all clients wait for each other before the second and the third.
async fn send_share(mut session: Session, share: Vec<Message>, storm: Arc<Storm>) -> u64 {
    for part in 0..PARTS {
        if part > 0 {
            storm.parts.wait().await;
            storm.parts.wait().await;
        }
        for message in share.iter().skip(part).step_by(PARTS) {
            send(&mut session, message, &storm).await;
        }
    }
    session.retries
}

/// Between the parts: events are only recorded in the second. The setting is read by new connections.
async fn switch(database: &Database, storm: &Storm) {
    let admin = database.admin().await;
    for mode in ["record", "process"] {
        storm.parts.wait().await;
        database.set("billing_rpc.webhook_mode", mode).await;
        terminate(&admin, "ALL").await;
        storm.parts.wait().await;
    }
}

async fn setup(database: &Database, stories: &[Story]) {
    let admin = database.admin().await;
    admin.run("SELECT billing.define_pack('plain', 60, 600, 'usd')").await;
    admin.run("SELECT billing.define_pack('expiring', 60, 600, 'usd', expires_after => '1 year')").await;
    let mut client = database.application();
    for story in stories {
        let mut entry = None;
        for call in &story.setup {
            let answer = client.call(call).await;
            assert_eq!(answer.why(), "applied", "{call:?}");
            entry = entry.or(Some(answer.int("entry_id")));
        }
        if story.payment.reversed > 0 {
            let key = format!("reverse {}", story.user);
            let call = Call::reverse(entry.expect("a purchase"), &key, Some(story.payment.reversed));
            assert_eq!(client.call(&call).await.why(), "applied", "{call:?}");
        }
    }
}

async fn under_load() {
    let database = Cluster::shared().database().await;
    let mut random = random(900);
    let stories = stories(&mut random, sized(150, 2_000));
    setup(&database, &stories).await;
    let messages: Vec<Message> = stories.iter().flat_map(|story| story.messages.clone()).collect();
    let mut storm_of: Vec<Message> = (0..TIMES).flat_map(|_| messages.clone()).collect();
    storm_of.shuffle(&mut random);
    let (events, calls): (Vec<Message>, Vec<Message>) =
        storm_of.into_iter().partition(|message| matches!(message, Message::Event(..)));

    let begun = Instant::now();
    let storm = Arc::new(Storm {
        parts: Barrier::new(CLIENTS + CALLERS + 1),
        recorded: AtomicUsize::new(0),
        retried: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    let mut clients = tokio::task::JoinSet::new();
    let shares = (0..CLIENTS).map(|n| (database.gateway(), events.iter().skip(n).step_by(CLIENTS)));
    let of_callers = (0..CALLERS).map(|n| (database.application(), calls.iter().skip(n).step_by(CALLERS)));
    for (session, share) in shares.chain(of_callers) {
        clients.spawn(send_share(session, share.cloned().collect(), storm.clone()));
    }
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(database.application(), storm.clone()));
    }
    let disturbing = tokio::spawn(disturb(database.clone(), storm.clone()));
    switch(&database, &storm).await;
    let mut retries = 0;
    while let Some(done) = clients.join_next().await {
        retries += done.expect("a client");
    }
    storm.over.store(true, Ordering::Relaxed);
    let terminated = disturbing.await.expect("the disturber");
    while let Some(done) = workers.join_next().await {
        done.expect("a worker");
    }
    let elapsed = begun.elapsed();
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (recorded, retried) = (count(&storm.recorded), count(&storm.retried));
    figure(|| {
        format!(
            "{} events, {} messages sent in {elapsed:.1?}, {retries} sent again, {terminated} backends \
             terminated, {recorded} answered as recorded, {retried} processed by workers",
            events.len() / TIMES,
            events.len() + calls.len(),
        )
    });
    assert!(terminated > 0 && recorded > 0 && retried > 0, "{terminated} {recorded} {retried}");

    // What waits for a link or is only recorded is done by its next delivery; then nothing is left to do.
    let mut calm = (database.gateway(), database.application());
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..2 {
        for message in &messages {
            let session = match message {
                Message::Event(..) => &mut calm.0,
                Message::Call(_) => &mut calm.1,
            };
            let why = send(session, message, &storm).await;
            if round == 1 {
                *last.entry(why).or_default() += 1;
            }
        }
    }
    let settled = ["replay", "duplicate / already_credited", "failed / amount_mismatch", "duplicate / dead"];
    assert!(last.keys().all(|why| settled.contains(&why.as_str())), "{last:?}");
    compare(&database, &stories, events.len() / TIMES).await;
}

/// Balances, shortfalls, each purchase and each charge, as the contract counts them.
async fn compare(database: &Database, stories: &[Story], events: usize) {
    let admin = database.admin().await;
    books::check_tables(&admin).await;
    let problems = admin.texts("SELECT to_jsonb(r)::text FROM billing.reconcile() r").await;
    assert!(problems.is_empty(), "{problems:?}");

    let mut users: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for story in stories.iter().filter(|story| story.payment.gave > 0) {
        let (balance, shortfall) = users.entry(story.user.to_string()).or_default();
        let (left, missing, _) = story.end();
        *balance += left;
        *shortfall += missing;
    }
    let wanted: Vec<String> =
        users.iter().map(|(user, (balance, shortfall))| format!("{user} {balance} {shortfall}")).collect();
    let mut found: Vec<String> = admin
        .texts(
            "SELECT concat_ws(' ', c.legacy_id, (SELECT sum(b.balance) FROM billing.balances b
                     WHERE b.customer_id = c.customer_id), coalesce(sum(l.shortfall), 0))
             FROM billing.customers c JOIN billing.ledger l USING (customer_id) GROUP BY c.customer_id",
        )
        .await
        .into_iter()
        .flatten()
        .collect();
    found.sort_by_key(|row| row.split(' ').next().map(str::to_owned));
    assert_eq!(found, wanted, "user, balance, shortfall");

    for story in stories.iter().filter(|story| !story.sources.is_empty()) {
        purchase_is_right(&admin, story).await;
        charge_is_right(&admin, story).await;
    }
    let stored = admin.number("SELECT count(*) FROM billing.webhook_events").await;
    assert_eq!(stored, i64::try_from(events).expect("a count"), "one row per event");
}

async fn purchase_is_right(admin: &Admin, story: &Story) {
    let sources = story.sources.join("', '");
    let found = admin
        .texts(&format!(
            "SELECT concat_ws(' ', p.credits, (SELECT coalesce(sum(coalesce(r.shortfall, 0) - r.credits), 0)
                 FROM billing.ledger r WHERE r.reverses = p.entry_id))
             FROM billing.ledger p WHERE p.source_ref IN ('{sources}')"
        ))
        .await;
    let payment = &story.payment;
    let mut wanted = Vec::new();
    if payment.gave > 0 {
        wanted.push(Some(format!("{} {}", payment.gave, story.end().2)));
    }
    assert_eq!(found, wanted, "credits given and undone of {:?}: {payment:?}", story.sources);
}

/// What is known of the charge: what it paid for, refunded by the latest word, and its disputes.
async fn charge_is_right(admin: &Admin, story: &Story) {
    let Some(payment_ref) = &story.charge else { return };
    let found = admin
        .text(&format!(
            "SELECT jsonb_build_array(source_ref, refunded_minor, disputes)::text FROM billing.charges
             WHERE payment_ref = '{payment_ref}'"
        ))
        .await;
    let found: Value = serde_json::from_str(&found.expect("a charge")).expect("an array");
    let payment = &story.payment;
    let refunded = payment.refunded.iter().max().map(|(_, amount)| *amount);
    let mut disputes = serde_json::Map::new();
    for dispute in payment.withdrawn.union(&payment.reinstated) {
        let state = if payment.reinstated.contains(dispute) { "reinstated" } else { "withdrawn" };
        disputes.insert(dispute.clone(), state.into());
    }
    let disputes = if disputes.is_empty() { Value::Null } else { disputes.into() };
    assert_eq!(found[0], json!(story.paid_for), "what {payment_ref} paid for");
    assert_eq!((&found[1], &found[2]), (&json!(refunded), &disputes), "{payment_ref}: {payment:?}");
}
