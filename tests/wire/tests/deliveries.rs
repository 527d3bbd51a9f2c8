//! Many clients, many deliveries of few facts: each fact counts once, whoever tells it, however often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use billing_wire::books::{self, Books};
use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Answer, Call, Isolation, Session};
use billing_wire::{Tested, figure, random, run, sized, stripe, uuid};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("deliveries::read_committed", || run(deliveries(Isolation::ReadCommitted)));
    add("deliveries::repeatable_read", || run(deliveries(Isolation::RepeatableRead)));
    add("deliveries::serializable", || run(deliveries(Isolation::Serializable)));
}

/// How a person is named in what is sent.
#[derive(Clone, Debug)]
struct User {
    /// For calls: any of these, always the same person.
    names: Vec<String>,
    /// For sessions: laid over the session.
    in_sessions: Vec<Value>,
    /// A code that no call knows before some session linked it.
    late_code: Option<String>,
}

/// A call or an event about a fact.
#[derive(Clone, Debug)]
enum Telling {
    Call(Call),
    Event(String),
}

#[derive(Clone, Debug)]
struct Message {
    fact: String,
    name: String,
    telling: Telling,
}

/// What must come of everything that was sent.
#[derive(Default)]
struct Model {
    messages: Vec<Message>,
    /// Credits of each fact, and whose; spends may be refused.
    facts: BTreeMap<String, (usize, i64)>,
    /// Facts that may happen without any client being told `applied`: an event that waited for a link.
    waiting: BTreeSet<String>,
}

fn people(random: &mut StdRng, count: usize) -> Vec<User> {
    (0..count)
        .map(|number| match number % 5 {
            0 => {
                let id = uuid(random);
                let odd = format!("{{{}}}", id.to_uppercase());
                User {
                    in_sessions: vec![
                        json!({"metadata": {"user_id": id}}),
                        json!({"client_reference_id": odd, "metadata": {"user_id": "{{user_id}}"}}),
                    ],
                    names: vec![id, odd],
                    late_code: None,
                }
            }
            1 => {
                let id = random.random_range(1..i64::MAX);
                User {
                    in_sessions: vec![
                        json!({"metadata": {"user_id": id}}),
                        json!({"client_reference_id": id.to_string()}),
                    ],
                    names: vec![id.to_string()],
                    late_code: None,
                }
            }
            2 => {
                let email = format!("someone.{}@wire.example", random.random::<u32>());
                User {
                    in_sessions: vec![
                        json!({"customer_details": {"email": email}}),
                        json!({"customer_details": {"email": email.to_uppercase()}, "client_reference_id": " "}),
                    ],
                    names: vec![email.clone(), email.replace("someone", "SomeOne")],
                    late_code: None,
                }
            }
            // Registered before anything is sent: known by all of its names.
            3 => {
                let id = uuid(random);
                let email = format!("member.{}@wire.example", random.random::<u32>());
                let code = format!("cus_member{}", random.random::<u32>());
                User {
                    in_sessions: vec![
                        json!({"metadata": {"user_id": id}}),
                        json!({"customer": code}),
                        json!({"customer": {"id": code, "object": "customer"}}),
                        json!({"customer_details": {"email": email}, "customer": "cus_notknown"}),
                    ],
                    names: vec![id, email, code],
                    late_code: None,
                }
            }
            // Linked by some session: those that name only the code wait until then.
            _ => {
                let id = uuid(random);
                let code = format!("cus_late{}", random.random::<u32>());
                User {
                    in_sessions: vec![
                        json!({"metadata": {"user_id": id}, "customer": code}),
                        json!({"customer": code}),
                    ],
                    names: vec![id],
                    late_code: Some(code),
                }
            }
        })
        .collect()
}

fn model(random: &mut StdRng, people: &[User], facts: usize) -> Model {
    let mut model = Model::default();
    let links = people.iter().enumerate().filter(|(_, user)| user.late_code.is_some());
    let links: Vec<usize> = links.map(|(whose, _)| whose).collect();
    for number in 0..facts + 10 * links.len() {
        // Beyond the random facts: one session of each code that surely links it.
        let links = number.checked_sub(facts).filter(|past| past % 10 == 0).map(|past| links[past / 10]);
        if number >= facts && links.is_none() {
            continue;
        }
        let whose = links.unwrap_or_else(|| random.random_range(0..people.len()));
        let user = &people[whose];
        let fact = format!("fact{number}");
        let credits = random.random_range(1..1_000);
        let tag = random.random::<u32>();
        let mut add = |name: String, telling: Telling| {
            model.messages.push(Message { fact: fact.clone(), name, telling });
        };
        match number % 10 {
            0..=4 => {
                let session_id = format!("cs_test_{number}_{tag}");
                let intent = format!("pi_{number}_{tag}");
                let mut over = user.in_sessions.choose(random).expect("a session").clone();
                if links.is_some() {
                    over = user.in_sessions[0].clone();
                }
                over["payment_intent"] = json!(intent);
                let session = stripe::session(&session_id, credits, over);
                // Two events tell of one session.
                for event_type in ["completed", "async_payment_succeeded"] {
                    let id = format!("evt_{number}_{tag}_{event_type}");
                    let event_type = format!("checkout.session.{event_type}");
                    let event = stripe::event(&id, &event_type, session.clone());
                    let body = if random.random() { event.to_string() } else { format!("{event:#}\n") };
                    add(id, Telling::Event(body));
                }
                // The application credits it too, at its success page, by the session or by the payment.
                let waits = user.late_code.is_some() && session["metadata"]["user_id"].is_null();
                if number % 3 != 0 {
                    let key = format!("purchase_{number}_{tag}");
                    let name = user.names.choose(random).expect("a name");
                    let call = Call::purchase(name, credits, &key);
                    let call = if random.random() {
                        call.session(&session_id)
                    } else {
                        call.source(&format!("stripe:{intent}"))
                    };
                    add(key, Telling::Call(call));
                }
                if waits {
                    model.waiting.insert(fact.clone());
                }
                model.facts.insert(fact, (whose, credits));
            }
            5..=7 => {
                let key = format!("grant_{number}_{tag}");
                for name in &user.names {
                    // The same request by another name of the same person is the same request.
                    add(key.clone(), Telling::Call(Call::grant(name, credits, &key)));
                }
                model.facts.insert(fact, (whose, credits));
            }
            _ => {
                let key = format!("spend_{number}_{tag}");
                let name = user.names.choose(random).expect("a name");
                add(key.clone(), Telling::Call(Call::spend(name, credits, &key)));
                model.facts.insert(fact, (whose, -credits));
            }
        }
    }
    // What names nobody, or asks for nothing sensible, leaves nobody behind.
    for number in 0..facts / 20 {
        let nobody = uuid(random);
        let name = format!("nonsense{number}");
        let call = match number % 4 {
            0 => Call::spend(&nobody, 5, &name),
            1 => Call::grant(&nobody, 0, &name),
            2 => Call::purchase("cus_nobodyatall", 5, &name),
            _ => Call::purchase(&nobody, 5, &name).source("stripe:wrong"),
        };
        let fact = format!("nothing{number}");
        model.messages.push(Message { fact, name, telling: Telling::Call(call) });
    }
    model
}

async fn send(client: &mut Session, gateway: &mut Session, books: &mut Books, message: &Message) {
    let answer: Answer = match &message.telling {
        Telling::Call(call) => client.call(call).await,
        Telling::Event(body) => {
            let delivered = gateway.deliver(body).await;
            assert_eq!(delivered.status, 200, "{delivered:?}");
            delivered.answer
        }
    };
    let allowed = match &message.telling {
        Telling::Event(_) => ["applied", "replay", "duplicate / already_credited", "failed / unknown_user"],
        Telling::Call(call) if call.function() == "spend_credits" => {
            ["applied", "replay", "invalid / insufficient_credits", ""]
        }
        Telling::Call(_) => ["applied", "replay", "duplicate / already_credited", ""],
    };
    let why = answer.why();
    let nonsense = message.fact.starts_with("nothing");
    assert!(
        if nonsense { why.starts_with("invalid") } else { allowed.contains(&why.as_str()) },
        "{answer:?}"
    );
    books.note(&message.fact, &message.name, &answer);
}

async fn deliveries(isolation: Isolation) {
    let database = Cluster::shared().database().await;
    let mut random = random(isolation as u64 + 10);
    let people = people(&mut random, sized(15, 100));
    register(&database, &people).await;
    let model = model(&mut random, &people, sized(200, 5_000));

    let clients = sized(8, 32);
    let begun = Instant::now();
    let mut books = Books::default();
    let (mut sent, mut retries) = (0, 0);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        let mut share: Vec<Message> =
            model.messages.iter().filter(|_| random.random_range(0..clients) < 3).cloned().collect();
        // Every message at least once.
        share.extend(model.messages.iter().skip(number).step_by(clients).cloned());
        share.shuffle(&mut random);
        sent += share.len();
        let (mut client, mut gateway) =
            (database.application().at(isolation), database.gateway().at(isolation));
        tasks.spawn(async move {
            let mut books = Books::default();
            for message in &share {
                send(&mut client, &mut gateway, &mut books, message).await;
            }
            (books, client.retries + gateway.retries)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (theirs, again) = done.expect("a client");
        books.join(theirs);
        retries += again;
    }
    let elapsed = begun.elapsed();
    figure(|| {
        format!(
            "{}: {sent} deliveries by {clients} clients in {elapsed:.1?}, {:.0}/s, {retries} retried, {:?}",
            isolation.sql(),
            sent as f64 / elapsed.as_secs_f64(),
            books.tally,
        )
    });

    // Everything once more, in order: what waited is done now, and spends may find credits.
    let (mut client, mut gateway) = (database.application(), database.gateway());
    for message in &model.messages {
        send(&mut client, &mut gateway, &mut books, message).await;
    }
    // And once more: by now nothing is left to do.
    let mut last = Books::default();
    for message in &model.messages {
        send(&mut client, &mut gateway, &mut last, message).await;
    }
    assert_eq!((last.count("applied"), last.count("failed")), (0, 0), "{:?}", last.tally);
    books.join(last);
    books.check_nothing_twice();

    let admin = database.admin().await;
    books::check_tables(&admin).await;
    compare(&database, &people, &model, &books).await;
    let events = model.messages.iter().filter(|message| matches!(message.telling, Telling::Event(_)));
    let stored = admin.number("SELECT count(*) FROM billing.webhook_events").await;
    assert_eq!(stored, i64::try_from(events.count()).unwrap(), "one row per event");
}

/// Those of the third kind are members before anything is sent; told twice, to see the replay.
async fn register(database: &Database, people: &[User]) {
    let mut client = database.application();
    for user in people.iter().skip(3).step_by(5) {
        let call = Call::register(&user.names[0]).email(&user.names[1]).customer(&user.names[2]);
        let first = client.call(&call).await;
        assert_eq!(first.why(), "applied");
        let second = client.call(&call).await;
        assert_eq!((second.why().as_str(), second.numbers()), ("replay", first.numbers()));
    }
}

/// Balances to the unit, facts exactly once, customers only those who had a reason to be.
async fn compare(database: &Database, people: &[User], model: &Model, books: &Books) {
    let admin = database.admin().await;
    let mut expected = vec![0; people.len()];
    let mut entries = 0;
    let mut touched = BTreeSet::new();
    for (fact, (whose, credits)) in &model.facts {
        let applied = books.applied(fact);
        if *credits > 0 && !model.waiting.contains(fact) {
            assert_eq!(applied, 1, "{fact}");
        }
        // A fact that waited was told to nobody, but it happened: a session that links came for each code.
        if applied == 1 || (*credits > 0 && model.waiting.contains(fact)) {
            expected[*whose] += credits;
            entries += 1;
            touched.insert(*whose);
        }
    }
    let mut client = database.application();
    for (whose, user) in people.iter().enumerate() {
        let mut balances = Vec::new();
        for name in user.names.iter().chain(&user.late_code) {
            let answer = client.call(&Call::balance(name)).await;
            balances.push(answer.get("balance").as_i64());
        }
        let known = touched.contains(&whose) || whose % 5 == 3;
        let wanted = known.then_some(expected[whose]);
        assert!(balances.iter().all(|balance| *balance == wanted), "{user:?}: {balances:?}, not {wanted:?}");
    }
    let ledger = admin.number("SELECT count(*) FROM billing.ledger").await;
    assert_eq!(ledger, entries, "entries");
    let customers = admin.number("SELECT count(*) FROM billing.customers").await;
    let members = (0..people.len()).filter(|whose| whose % 5 == 3 || touched.contains(whose)).count();
    assert_eq!(customers, i64::try_from(members).unwrap(), "customers");
}
