//! Authentic bodies that are odd in one place: each is answered, in little time and memory, and nothing is
//! miscounted. Every place of every object that is read is tried, each with every odd value.

use std::time::{Duration, Instant};

use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Answer, Call, Provider, Session};
use billing_wire::{Tested, figure, long, paystack, random, run, stripe};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("bad_bodies::each_place", || run(each_place()));
    add("bad_bodies::to_the_limit", || run(to_the_limit()));
}

/// A kind of event: its good form, and what that does.
struct Form {
    name: &'static str,
    provider: Provider,
    event: fn(&Tags) -> Value,
    /// What happened before, so that it has something to do.
    before: fn(&Tags) -> Vec<Message>,
    /// The credits of the entry that it writes, if it writes one.
    credits: Option<i64>,
    /// Places of the object that may hold anything: the event does what it does.
    free: &'static [&'static str],
}

impl Form {
    /// Whether the place may hold anything. No event needs what is told around its object.
    fn is_free(&self, path: &[String]) -> bool {
        let around = ["object", "api_version", "pending_webhooks", "livemode"];
        let path = path.join(".");
        let (around, object) = match self.provider {
            Provider::Stripe => {
                (around.contains(&path.as_str()) || path.starts_with("request"), "data.object.")
            }
            Provider::Paystack => (false, "data."),
        };
        around || path.strip_prefix(object).is_some_and(|place| self.free.contains(&place))
    }
}

enum Message {
    Event(Provider, Value),
    Call(Call),
}

/// The names of one case: nobody else's.
struct Tags {
    user: String,
    session: String,
    intent: String,
    customer: String,
    email: String,
    reference: String,
    number: u64,
}

/// The first number beyond 64 bits.
const TOO_LARGE: &str = "9223372036854775808";
const T0: i64 = 1_772_000_000;

fn tags(number: u64) -> Tags {
    Tags {
        user: format!("{}", 100_000 + number),
        session: format!("cs_{number}"),
        intent: format!("pi_{number}"),
        customer: format!("cus_{number}"),
        email: format!("bad.{number}@wire.example"),
        reference: format!("ref{number}"),
        number,
    }
}

impl Tags {
    fn event_id(&self) -> String {
        format!("evt_{}", self.number)
    }

    fn purchase(&self) -> Message {
        let call = Call::purchase(&self.user, 10, &format!("call {}", self.number));
        Message::Call(call.source(&format!("stripe:{}", self.intent)))
    }

    fn session(&self, more: Value) -> Value {
        let mut session = stripe::session(
            &self.session,
            10,
            json!({
                "created": T0,
                "customer": self.customer,
                "customer_details": {"email": self.email},
                "client_reference_id": null,
                "metadata": {"user_id": self.user},
                "payment_intent": self.intent,
            }),
        );
        stripe::lay_over(&mut session, more);
        stripe::at(T0, stripe::event(&self.event_id(), "checkout.session.completed", session))
    }

    fn charge(&self, more: Value) -> Value {
        let mut charge = paystack::charge(
            self.number,
            &self.reference,
            10,
            json!({
                "metadata": {"user_id": self.user},
                "customer": {"customer_code": format!("CUS_{}", self.number), "email": self.email},
            }),
        );
        stripe::lay_over(&mut charge, more);
        paystack::event("charge.success", charge)
    }

    fn refunded(&self, event_id: &str) -> Value {
        stripe::refunded(event_id, &self.intent, 100, 50, T0)
    }
}

fn nothing(_: &Tags) -> Vec<Message> {
    Vec::new()
}

fn bought(tags: &Tags) -> Vec<Message> {
    vec![tags.purchase()]
}

fn bought_and_refunded(tags: &Tags) -> Vec<Message> {
    let refunded = tags.refunded(&format!("evt_before_{}", tags.number));
    vec![tags.purchase(), Message::Event(Provider::Stripe, refunded)]
}

fn charged(tags: &Tags) -> Vec<Message> {
    vec![Message::Event(Provider::Paystack, tags.charge(json!({})))]
}

const IN_SESSIONS: &[&str] = &[
    "object",
    "amount_subtotal",
    "created",
    "client_reference_id",
    "customer",
    "customer.id",
    "customer.object",
    "customer_details",
    "customer_details.email",
    "payment_intent.object",
];
const IN_TRANSACTIONS: &[&str] = &[
    "domain",
    "channel",
    "paid_at",
    "created_at",
    "customer",
    "customer.id",
    "customer.customer_code",
    "customer.email",
];

fn forms() -> Vec<Form> {
    let stripe = |name, event, before, credits, free| Form {
        name,
        provider: Provider::Stripe,
        event,
        before,
        credits,
        free,
    };
    let paystack = |name, event, before, credits, free| Form {
        name,
        provider: Provider::Paystack,
        event,
        before,
        credits,
        free,
    };
    vec![
        stripe("session", |tags| tags.session(json!({})), nothing, Some(10), IN_SESSIONS),
        stripe(
            "session with a pack",
            |tags| tags.session(json!({"metadata": {"pack": "ten", "credits": null}})),
            nothing,
            Some(10),
            &["object", "created", "customer", "customer_details", "client_reference_id"],
        ),
        stripe(
            "session, expanded",
            |tags| {
                let customer = json!({"id": tags.customer, "object": "customer"});
                let intent = json!({"id": tags.intent, "object": "payment_intent"});
                let mut event = tags.session(json!({}));
                event["data"]["object"]["customer"] = customer;
                event["data"]["object"]["payment_intent"] = intent;
                event
            },
            nothing,
            Some(10),
            IN_SESSIONS,
        ),
        stripe(
            "charge.refunded",
            |tags| tags.refunded(&tags.event_id()),
            bought,
            Some(-5),
            &["object", "currency", "refunded"],
        ),
        stripe(
            "refund.failed",
            |tags| {
                let refund_id = format!("re_{}", tags.number);
                stripe::refund_failed(&tags.event_id(), &refund_id, &tags.intent, 50, T0 + 5)
            },
            bought_and_refunded,
            Some(5),
            &["object", "status", "charge"],
        ),
        stripe(
            "dispute",
            |tags| {
                let dispute_id = format!("du_{}", tags.number);
                stripe::dispute(&tags.event_id(), "funds_withdrawn", &dispute_id, &tags.intent)
            },
            bought,
            Some(-10),
            &["object", "status", "amount", "charge"],
        ),
        stripe(
            "customer",
            |tags| {
                let metadata = json!({"user_id": tags.user});
                let customer = json!({"id": tags.customer, "object": "customer", "metadata": metadata});
                stripe::event(&tags.event_id(), "customer.created", customer)
            },
            nothing,
            None,
            &["object"],
        ),
        paystack("transaction", |tags| tags.charge(json!({})), nothing, Some(10), IN_TRANSACTIONS),
        paystack(
            "transaction, metadata as text",
            |tags| {
                let metadata = json!({"credits": "10", "user_id": tags.user}).to_string();
                let mut event = tags.charge(json!({}));
                event["data"]["metadata"] = metadata.into();
                event
            },
            nothing,
            Some(10),
            IN_TRANSACTIONS,
        ),
        paystack(
            "refund.processed",
            |tags| {
                let id = format!("rr{}", tags.number);
                paystack::event("refund.processed", paystack::refund(&id, &tags.reference, json!("50")))
            },
            charged,
            Some(-5),
            &["status", "domain", "currency"],
        ),
    ]
}

/// The places of a body: keys from the outside in.
fn places(value: &Value, path: &[String], all: &mut Vec<Vec<String>>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = [path, std::slice::from_ref(key)].concat();
        places(inner, &path, all);
        all.push(path);
    }
}

/// JSON texts that are wrong wherever they stand; those of the second kind are large.
fn odd_values() -> (Vec<String>, Vec<String>) {
    let small = [
        "null",
        "true",
        "[]",
        "{}",
        "[null]",
        r#"{"id":[]}"#,
        r#""""#,
        r#"" \t""#,
        r#""\u0000""#,
        r#""a\u0000b""#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        "10.5",
        "1e131071",
        "-1",
        "-0.1e-131071",
        TOO_LARGE,
    ];
    let mut small: Vec<String> = small.map(str::to_owned).to_vec();
    small.push(format!("\"{}\"", "x".repeat(300)));
    let depth = 100_000;
    let large = vec![
        format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)),
        format!("\"{}\"", "é\u{202e}".repeat(100_000)),
        "9".repeat(300_000),
    ];
    (small, large)
}

/// The body with something else in that place: instead of the good value, before it and after it.
fn bodies(event: &Value, path: &[String], odd: &str) -> Vec<String> {
    const HERE: &str = "-=here=-";
    let key = path.last().expect("a key");
    let holder = path[..path.len() - 1].iter().fold(event.clone(), |value, key| value[key].clone());
    let good = holder[key].to_string();
    let mut marked = event.clone();
    *path.iter().fold(&mut marked, |value, key| &mut value[key]) = HERE.into();
    let marked = marked.to_string();
    let member = |value: &str| format!("{}:{value}", json!(key));
    let here = member(&json!(HERE).to_string());
    [member(odd), format!("{},{}", member(odd), member(&good)), format!("{},{}", member(&good), member(odd))]
        .iter()
        .map(|members| marked.replacen(&here, members, 1))
        .collect()
}

fn without(event: &Value, path: &[String]) -> String {
    let mut event = event.clone();
    let (key, holders) = path.split_last().expect("a key");
    let holder = holders.iter().fold(&mut event, |value, key| &mut value[key]);
    holder.as_object_mut().expect("an object").shift_remove(key);
    event.to_string()
}

/// Answers that an authentic body may have.
fn is_an_answer(answer: &Answer) -> bool {
    let why = answer.why();
    let of_form = ["invalid / not_an_event", "failed / object_malformed"];
    let of_sense = [
        "failed / unknown_user",
        "failed / unknown_pack",
        "failed / amount_mismatch",
        "failed / currency_mismatch",
        "applied / link_refused",
        "applied",
    ];
    of_form.contains(&why.as_str()) || of_sense.contains(&why.as_str()) || answer.reason() == "ignored"
}

struct Prober {
    client: Session,
    gateway: Session,
    /// Entries that were answered.
    entries: i64,
    cases: u64,
    slowest: Duration,
}

impl Prober {
    async fn before(&mut self, form: &Form, tags: &Tags) {
        for message in (form.before)(tags) {
            let answer = match message {
                Message::Call(call) => self.client.call(&call).await,
                Message::Event(provider, event) => {
                    self.gateway.deliver_to(provider, &event.to_string()).await.answer
                }
            };
            assert_eq!(answer.why(), "applied", "before {}", form.name);
            self.entries += 1;
        }
    }

    /// Delivers by the way that any application uses, or by PostgREST's.
    async fn deliver(&mut self, provider: Provider, body: &str, raw: bool) -> Answer {
        if raw {
            return self.gateway.deliver_to(provider, body).await.answer;
        }
        let call = provider.process(body, &provider.sign(body));
        self.client.try_call(&call).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    async fn probe(&mut self, form: &Form, tags: &Tags, body: &str, path: &[String], what: &str) {
        self.before(form, tags).await;
        self.cases += 1;
        let begun = Instant::now();
        // Postgres itself refuses json nested too deeply, before any function is called.
        let raw = self.cases.is_multiple_of(5) && body.len() < 50_000;
        let answer = self.deliver(form.provider, body, raw).await;
        self.slowest = self.slowest.max(begun.elapsed());
        assert!(is_an_answer(&answer), "{what}: {answer:?}");
        assert!(answer.reason() == "applied" || !form.is_free(path), "{what}: {answer:?}");
        let entry = answer.get("result").as_object().and_then(|result| result.get("credits"));
        if let Some(credits) = entry {
            self.entries += 1;
            assert_eq!(credits.as_i64(), form.credits, "{what}: {answer:?}");
        }
        assert!(
            answer.reason() != "applied" || entry.is_some() == form.credits.is_some(),
            "{what}: {answer:?}"
        );
    }
}

/// Bytes of the backend's own memory.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a backend");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

async fn stage() -> Database {
    let database = Cluster::shared().database().await;
    database.admin().await.run("SELECT billing.define_pack('ten', 10, 100, 'usd')").await;
    database
}

async fn each_place() {
    let database = stage().await;
    let mut random: StdRng = random(71);
    let mut prober = Prober {
        client: database.application(),
        gateway: database.gateway(),
        entries: 0,
        cases: 0,
        slowest: Duration::ZERO,
    };
    let (small, large) = odd_values();
    let mut number = 0;
    let mut next = || {
        number += 1;
        tags(number)
    };
    for form in forms() {
        let tags = next();
        let good = (form.event)(&tags);
        prober.before(&form, &tags).await;
        let answer = prober.deliver(form.provider, &good.to_string(), true).await;
        assert_eq!(answer.why(), "applied", "{}", form.name);
        prober.entries += i64::from(form.credits.is_some());
        let mut all = Vec::new();
        places(&good, &[], &mut all);
        for (place, path) in all.iter().enumerate() {
            let what = |value: &str| format!("{} with {path:?} {:.80}", form.name, value);
            let tags = next();
            prober.probe(&form, &tags, &without(&(form.event)(&tags), path), path, &what("left out")).await;
            for (kind, odd) in small.iter().enumerate() {
                // Instead of the good value, before it, after it: all in long runs, else by turns.
                let ways = if long() { vec![0, 1, 2] } else { vec![(place + kind) % 4 % 3] };
                for way in ways {
                    let tags = next();
                    // Of an id that is put together from numbers another case's would be a replay.
                    let odd = odd.replace(TOO_LARGE, &format!("9223372036854{}", 775_808 + tags.number));
                    let body = bodies(&(form.event)(&tags), path, &odd).swap_remove(way);
                    prober.probe(&form, &tags, &body, path, &what(&odd)).await;
                }
            }
        }
        let some = all.choose_multiple(&mut random, if long() { all.len() } else { 2 });
        for path in some {
            for odd in &large {
                let tags = next();
                let body = bodies(&(form.event)(&tags), path, odd).swap_remove(0);
                prober
                    .probe(&form, &tags, &body, path, &format!("{} with {path:?} {odd:.20}", form.name))
                    .await;
            }
        }
    }
    settle(&database, prober).await;
}

/// Nothing but what was answered is in the books, and the backend is none the larger.
async fn settle(database: &Database, mut prober: Prober) {
    let (cases, slowest) = (prober.cases, prober.slowest);
    let memory = memory(prober.client.pid().await.expect("a backend"));
    figure(|| format!("{cases} odd bodies, the slowest {slowest:.1?}, {} MB in the end", memory >> 20));
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(memory < 64 << 20, "{memory} bytes of memory");
    let admin = database.admin().await;
    assert_eq!(admin.number("SELECT count(*) FROM billing.ledger").await, prober.entries);
    let odd = "SELECT to_jsonb(l)::text FROM billing.ledger l
               WHERE kind = 'purchase' AND (credits <> 10 OR amount_minor <> 100)";
    assert_eq!(admin.texts(odd).await, [], "purchases of other numbers");
    billing_wire::books::check_tables(&admin).await;
    assert_eq!(admin.texts("SELECT to_jsonb(r)::text FROM billing.reconcile() r").await, []);
}

/// A body of exactly that many bytes.
fn padded(event: &Value, bytes: usize) -> String {
    let body = event.to_string();
    let (head, tail) = body.split_at(body.len() - 1);
    let pad = "p".repeat(bytes - body.len() - r#","pad":"""#.len());
    format!(r#"{head},"pad":"{pad}"{tail}"#)
}

async fn to_the_limit() {
    const LIMIT: usize = 1_048_576;
    let database = stage().await;
    let (mut client, mut gateway) = (database.application(), database.gateway());
    for (number, provider) in [(1, Provider::Stripe), (2, Provider::Paystack)] {
        let tags = tags(number);
        let event = match provider {
            Provider::Stripe => tags.session(json!({})),
            Provider::Paystack => tags.charge(json!({})),
        };
        let over = padded(&event, LIMIT + 1);
        let signature = provider.sign(&over);
        let delivered = gateway.deliver_signed_to(provider, &over, &signature).await;
        assert_eq!((delivered.status, delivered.answer.why().as_str()), (400, "invalid / payload_too_large"));
        let answer = client.call(&provider.process(&over, &signature)).await;
        assert_eq!(answer.why(), "invalid / payload_too_large");
        // Before anything is judged of a body that may be of any size.
        let answer = client.call(&provider.process(&"x".repeat(LIMIT + 1), "")).await;
        assert_eq!(answer.why(), "invalid / payload_too_large");

        let full = padded(&event, LIMIT);
        assert_eq!(full.len(), LIMIT);
        let delivered = gateway.deliver_to(provider, &full).await;
        assert_eq!((delivered.status, delivered.answer.why().as_str()), (200, "applied"));
    }
    // Nested too deeply for Postgres's own json: refused before the function is called, and nothing is written.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let signature = Provider::Stripe.sign(&deep);
    let refused = gateway.try_deliver_signed(Provider::Stripe, &deep, &signature).await;
    let code = refused.err().and_then(|error| error.code().cloned());
    assert_eq!(code.as_ref().map(SqlState::code), Some("54001"));
    let answer = client.call(&Provider::Stripe.process(&deep, &signature)).await;
    assert_eq!(answer.why(), "invalid / not_an_event", "as text it is answered");
    let admin = database.admin().await;
    assert_eq!(admin.number("SELECT count(*) FROM billing.ledger").await, 2);
    assert_eq!(admin.number("SELECT count(*) FROM billing.webhook_events").await, 2);
}
