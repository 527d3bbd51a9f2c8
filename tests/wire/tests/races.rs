//! The same request by many clients at the same moment: exactly one is applied, the others say the same.

use std::sync::Arc;

use billing_wire::books;
use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Answer, Call, Isolation, Session};
use billing_wire::{Tested, figure, random, run, sized, stripe, uuid};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::sync::Barrier;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("races::read_committed", || run(races(Isolation::ReadCommitted)));
    add("races::repeatable_read", || run(races(Isolation::RepeatableRead)));
    add("races::serializable", || run(races(Isolation::Serializable)));
}

const RIVALS: usize = 16;

/// What one rival does at the signal.
#[derive(Clone, Debug)]
enum Move {
    Call(Call),
    Deliver(String),
}

/// The clients, connected once.
struct Rivals(Vec<(Session, Session)>);

impl Rivals {
    fn new(database: &Database, isolation: Isolation) -> Rivals {
        let pair = || (database.application().at(isolation), database.gateway().at(isolation));
        Rivals((0..RIVALS).map(|_| pair()).collect())
    }

    /// All at once; the answers.
    async fn go(&mut self, moves: Vec<Move>) -> Vec<Answer> {
        let barrier = Arc::new(Barrier::new(RIVALS));
        let mut tasks = tokio::task::JoinSet::new();
        for ((mut client, mut gateway), step) in self.0.drain(..).zip(moves) {
            let barrier = barrier.clone();
            tasks.spawn(async move {
                client.pid().await.expect("connected");
                gateway.pid().await.expect("connected");
                barrier.wait().await;
                let answer = match &step {
                    Move::Call(call) => client.call(call).await,
                    Move::Deliver(body) => {
                        let delivered = gateway.deliver(body).await;
                        let busy = delivered.answer.why() == "duplicate / in_progress";
                        assert_eq!(delivered.status, if busy { 409 } else { 200 }, "{delivered:?}");
                        delivered.answer
                    }
                };
                (client, gateway, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (client, gateway, answer) = done.expect("a rival");
            self.0.push((client, gateway));
            answers.push(answer);
        }
        answers
    }

    async fn all_the_same(&mut self, step: Move) -> Vec<Answer> {
        self.go(vec![step; RIVALS]).await
    }
}

/// One is applied; the others answer so, and show the same numbers.
fn one_of(answers: &[Answer], others: &str) -> Answer {
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.reason() == "applied");
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in lost {
        assert_eq!(answer.why(), others, "{answers:?}");
        assert_eq!(answer.numbers(), won[0].numbers(), "the very same numbers");
    }
    won[0].clone()
}

async fn races(isolation: Isolation) {
    let database = Cluster::shared().database().await;
    let mut random = random(isolation as u64 + 20);
    let mut rivals = Rivals::new(&database, isolation);
    let rounds = sized(3, 100);
    database.admin().await.run("SELECT billing.define_plan('monthly', 500, 'ngn', 'month')").await;
    let begun = std::time::Instant::now();
    for round in 0..rounds {
        for known in [true, false] {
            same_credit_calls(&database, &mut rivals, &mut random, known, round).await;
            one_session_many_ways(&database, &mut rivals, &mut random, known).await;
            payments(&database, &mut rivals, &mut random, known).await;
        }
        spends(&database, &mut rivals, &mut random).await;
        claims(&database, &mut rivals, &mut random).await;
        registrations(&database, &mut rivals, &mut random).await;
        waiting_and_linking(&database, &mut rivals, &mut random).await;
    }
    let retries: u64 = rivals.0.iter().map(|(client, gateway)| client.retries + gateway.retries).sum();
    figure(|| {
        format!(
            "{}: {rounds} rounds of races by {RIVALS} in {:.1?}, {retries} retried",
            isolation.sql(),
            begun.elapsed()
        )
    });
    if isolation == Isolation::ReadCommitted {
        assert!(retries <= rounds as u64, "at READ COMMITTED retries are rare, not {retries}");
    }
    books::check_tables(&database.admin().await).await;
}

/// A person of any kind; known ones were granted something.
async fn person(database: &Database, random: &mut StdRng, known: bool) -> String {
    let name = match random.random_range(0..3) {
        0 => uuid(random),
        1 => random.random_range(1..i64::MAX).to_string(),
        _ => format!("racer.{}@wire.example", random.random::<u64>()),
    };
    if known {
        let key = format!("start_{}", random.random::<u64>());
        let answer = database.application().call(&Call::grant(&name, 1_000, &key)).await;
        assert_eq!(answer.why(), "applied");
    }
    name
}

async fn balance(database: &Database, name: &str) -> Option<i64> {
    database.application().call(&Call::balance(name)).await.get("balance").as_i64()
}

async fn same_credit_calls(
    database: &Database,
    rivals: &mut Rivals,
    random: &mut StdRng,
    known: bool,
    round: usize,
) {
    let name = person(database, random, known).await;
    let tag = random.random::<u64>();
    let before = if known { 1_000 } else { 0 };
    let purchase = Call::purchase(&name, 70, &format!("race_p{tag}"));
    let purchase = match round % 3 {
        0 => purchase,
        1 => purchase.session(&format!("cs_{tag}")),
        _ => purchase.source(&format!("stripe:pi_{tag}")),
    };
    let won = one_of(&rivals.all_the_same(Move::Call(purchase)).await, "replay");
    assert_eq!((won.int("credits"), won.int("balance")), (70, before + 70));

    let grant = Call::grant(&name, 5, &format!("race_g{tag}"));
    let won = one_of(&rivals.all_the_same(Move::Call(grant)).await, "replay");
    assert_eq!(won.int("balance"), before + 75);
    assert_eq!(balance(database, &name).await, Some(before + 75));
}

async fn spends(database: &Database, rivals: &mut Rivals, random: &mut StdRng) {
    let name = person(database, random, true).await;
    let tag = random.random::<u64>();
    let spend = Call::spend(&name, 900, &format!("race_s{tag}"));
    let won = one_of(&rivals.all_the_same(Move::Call(spend)).await, "replay");
    assert_eq!((won.int("credits"), won.int("balance")), (-900, 100));

    // Different spends race for the last hundred: three fit.
    let moves = (0..RIVALS).map(|n| Move::Call(Call::spend(&name, 30, &format!("race_s{tag}_{n}"))));
    let answers = rivals.go(moves.collect()).await;
    let fit = answers.iter().filter(|answer| answer.reason() == "applied").count();
    let rest = answers.iter().filter(|answer| answer.why() == "invalid / insufficient_credits").count();
    assert_eq!((fit, rest), (3, RIVALS - 3), "{answers:?}");
    assert_eq!(balance(database, &name).await, Some(10));

    // Spending makes nobody.
    let nobody = uuid(random);
    let spend = Call::spend(&nobody, 1, &format!("race_n{tag}"));
    for answer in rivals.all_the_same(Move::Call(spend)).await {
        assert_eq!(answer.why(), "invalid / insufficient_credits");
    }
    assert_eq!(balance(database, &nobody).await, None);
}

/// One payment started by all and verified by all, then as many payments as rivals for the same plan.
async fn payments(database: &Database, rivals: &mut Rivals, random: &mut StdRng, known: bool) {
    let name = person(database, random, known).await;
    let tag = random.random::<u64>();
    let reference = |number: usize| format!("race_ref{tag}_{number}");
    let start = |number| Call::start_payment(&reference(number), &name, "monthly", 500).branches("{a,b}");
    let first = reference(RIVALS);
    one_of(&rivals.all_the_same(Move::Call(start(RIVALS))).await, "replay");
    let verify = Call::verify_payment(&first, 500);
    let won = one_of(&rivals.all_the_same(Move::Call(verify)).await, "replay");
    assert_eq!((won.str("status"), won.int("branches")), ("success", 2));

    let all = async |rivals: &mut Rivals, call: &dyn Fn(usize) -> Call| {
        let answers = rivals.go((0..RIVALS).map(|number| Move::Call(call(number))).collect()).await;
        assert!(answers.iter().all(|answer| answer.reason() == "applied"), "{answers:?}");
    };
    all(rivals, &start).await;
    all(rivals, &|number| Call::verify_payment(&reference(number), 500)).await;
    let chain = format!(
        "SELECT count(*) FROM (
             SELECT subscription_end AT TIME ZONE 'UTC' AS this,
                 lag(subscription_end) OVER (ORDER BY subscription_end) AT TIME ZONE 'UTC' AS before
             FROM billing.payments WHERE starts_with(reference, 'race_ref{tag}_')) ends
         WHERE this = before + interval '1 month'"
    );
    let linked = database.admin().await.number(&chain).await;
    assert_eq!(linked, i64::try_from(RIVALS).expect("few"), "each end follows another");
}

/// Calls under keys of their own and events under ids of their own, all of one session.
async fn one_session_many_ways(database: &Database, rivals: &mut Rivals, random: &mut StdRng, known: bool) {
    let name = person(database, random, known).await;
    let tag = random.random::<u64>();
    let session_id = format!("cs_many{tag}");
    let by_payment: bool = random.random();
    let session = stripe::session(
        &session_id,
        33,
        json!({"metadata": {"user_id": name}, "payment_intent": format!("pi_many{tag}"),
               "customer": format!("cus_many{tag}")}),
    );
    let step = |number: usize| match number % 2 {
        0 => Move::Deliver(stripe::completed(&format!("evt_many{tag}_{}", number % 8), session.clone())),
        _ => {
            let call = Call::purchase(&name, 33, &format!("race_m{tag}_{number}"));
            Move::Call(if by_payment {
                call.source(&format!("stripe:pi_many{tag}"))
            } else {
                call.session(&session_id)
            })
        }
    };
    let answers = rivals.go((0..RIVALS).map(step).collect()).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.reason() == "applied").collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in &answers {
        let allowed = ["applied", "duplicate / already_credited", "replay"];
        assert!(allowed.contains(&answer.why().as_str()), "{answer:?}");
        let is_call = answer.0.contains_key("entry_id");
        assert!(!is_call || answer.reason() != "replay", "other keys are no replay: {answer:?}");
    }
    let before = if known { 1_000 } else { 0 };
    assert_eq!(balance(database, &name).await, Some(before + 33));
    assert_eq!(balance(database, &format!("cus_many{tag}")).await, Some(before + 33), "linked");
}

async fn claims(database: &Database, rivals: &mut Rivals, random: &mut StdRng) {
    let event_id = format!("evt_claim{}", random.random::<u64>());
    for attempt in 1..=2 {
        let answers = rivals.all_the_same(Move::Call(Call::claim(&event_id))).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.reason() == "applied").collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert_eq!((won[0].int("attempts"), won[0].str("status")), (attempt, "processing"));
        for lost in answers.iter().filter(|answer| answer.reason() != "applied") {
            assert_eq!(lost.why(), "duplicate / in_progress");
            assert!(lost.get("claim_token").is_null(), "the token is the winner's alone: {lost:?}");
        }
        let token = won[0].str("claim_token").to_owned();
        if attempt == 1 {
            let fail = Call::fail(&event_id, &token, "try again");
            one_of_events(&rivals.all_the_same(Move::Call(fail)).await);
        } else {
            let complete = Call::complete(&event_id, &token).with(
                "result",
                "jsonb",
                Some(json!({"done": attempt}).to_string()),
            );
            one_of_events(&rivals.all_the_same(Move::Call(complete)).await);
        }
    }
    let answer = database.application().call(&Call::claim(&event_id)).await;
    assert_eq!((answer.why().as_str(), answer.get("result")), ("replay", &json!({"done": 2})));
}

fn one_of_events(answers: &[Answer]) {
    let applied = answers.iter().filter(|answer| answer.reason() == "applied").count();
    let replayed = answers.iter().filter(|answer| answer.why() == "replay").count();
    assert_eq!((applied, replayed), (1, RIVALS - 1), "{answers:?}");
}

async fn registrations(database: &Database, rivals: &mut Rivals, random: &mut StdRng) {
    let tag = random.random::<u64>();
    let (user_id, email, code) = (uuid(random), format!("new.{tag}@wire.example"), format!("cus_new{tag}"));
    let call = Call::register(&user_id).email(&email).customer(&code);
    one_of(&rivals.all_the_same(Move::Call(call)).await, "replay");

    // Many want one code: one gets it, the others are refused and leave nobody behind.
    let code = format!("cus_wanted{tag}");
    let people: Vec<String> = (0..RIVALS).map(|_| uuid(random)).collect();
    let moves = people.iter().map(|id| Move::Call(Call::register(id).customer(&code))).collect();
    let answers = rivals.go(moves).await;
    let won = answers.iter().filter(|answer| answer.reason() == "applied").count();
    let conflicts = answers.iter().filter(|answer| answer.why() == "invalid / identity_conflict").count();
    assert_eq!((won, conflicts), (1, RIVALS - 1), "{answers:?}");
    let mut known = 0;
    for id in &people {
        let found = database.application().call(&Call::resolve(id)).await;
        known += usize::from(found.get("found") == &json!(true));
    }
    assert_eq!(known, 1, "refused registrations leave nobody behind");

    // Parts of one person, told at once: they end as one customer with all of them.
    let parts = [
        Call::register(&user_id).customer(&format!("cus_a{tag}")),
        Call::register(&user_id).customer(&format!("cus_b{tag}")),
        Call::register(&user_id).email(&email),
        Call::grant(&user_id, 1, &format!("race_part{tag}")),
    ];
    let answers = rivals.go((0..RIVALS).map(|n| Move::Call(parts[n % 4].clone())).collect()).await;
    assert!(answers.iter().all(|answer| ["applied", "replay"].contains(&answer.reason())), "{answers:?}");
    let customers: std::collections::BTreeSet<_> =
        answers.iter().map(|answer| answer.str("customer_id").to_owned()).collect();
    assert_eq!(customers.len(), 1, "{answers:?}");
}

/// Events that wait for a code, delivered again while the code is being linked.
async fn waiting_and_linking(database: &Database, rivals: &mut Rivals, random: &mut StdRng) {
    let tag = random.random::<u64>();
    let (user_id, code) = (uuid(random), format!("cus_wait{tag}"));
    let body = |number: usize| {
        let session = stripe::session(&format!("cs_wait{tag}_{number}"), 10, json!({"customer": code}));
        stripe::completed(&format!("evt_wait{tag}_{number}"), session)
    };
    let mut gateway = database.gateway();
    for number in 0..4 {
        let first = gateway.deliver(&body(number)).await;
        assert_eq!((first.status, first.answer.why().as_str()), (200, "failed / unknown_user"));
    }
    let step = |number: usize| match number % 4 {
        0 => Move::Call(Call::register(&user_id).customer(&code)),
        _ => Move::Deliver(body(number % 4)),
    };
    let answers = rivals.go((0..RIVALS).map(step).collect()).await;
    let registered: Vec<_> = answers.iter().filter(|answer| answer.0.contains_key("legacy_id")).collect();
    assert_eq!(registered.iter().filter(|answer| answer.reason() == "applied").count(), 1, "{answers:?}");
    // Those that were busy at that moment are done by their next delivery.
    for number in 0..4 {
        gateway.deliver(&body(number)).await;
        let again = gateway.deliver(&body(number)).await;
        assert_eq!(again.answer.why(), "replay");
    }
    assert_eq!(balance(database, &user_id).await, Some(40));
}
