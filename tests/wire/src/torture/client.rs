//! A client that keeps to the contract: it sends the same request until it has an answer, and writes it down.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;
use serde_json::json;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::plan::{Earlier, Facts, Made, Plan, Step, What};
use crate::session::{Answer, Call, Isolation, Provider, is_retryable};

/// A login that is a member of billing_service and of billing_webhook.
pub const LOGIN: &str = "torture";

/// How long one attempt may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lease of a claim that is lost with its answer: as short as it may be.
const LEASE_SECONDS: i64 = 2;

/// What all clients share.
#[derive(Debug, Default)]
pub struct World {
    pub database: String,
    /// Ports of 127.0.0.1: the proxy before the server, and the one before pgbouncer.
    pub direct: u16,
    pub pooled: Option<u16>,
    pub seed_time: i64,
    pub clients: usize,
    /// See `Plan`.
    pub by_key_only: bool,
    /// No more is begun.
    pub stop: AtomicBool,
    /// No more timeouts are asked for.
    pub calm: AtomicBool,
    pub made: Mutex<HashMap<Earlier, String>>,
    pub tally: Mutex<Tally>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered calls, by function and outcome.
    pub answers: BTreeMap<(&'static str, String), u64>,
    /// Errors by SQLSTATE; an empty one is a connection that was lost, or could not be made.
    pub errors: BTreeMap<String, u64>,
    /// Attempts whose connection was lost after something was sent, so that nobody knew what became of it.
    pub doubts: u64,
    /// Attempts that had no answer in time.
    pub hung: u64,
    /// Steps left out, because what they needed was refused.
    pub skipped: u64,
    /// What the contract does not allow.
    pub wrong: Vec<String>,
}

impl Tally {
    /// Calls that were answered.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }
}

/// What was sent.
#[derive(Clone, Debug)]
pub enum Sent {
    Call(Call),
    Event {
        provider: Provider,
        body: String,
        endpoint: bool,
    },
    /// `billing.expire_credits`, whose answer is a number.
    Expire,
}

impl Sent {
    /// The function that it goes to.
    pub fn function(&self) -> &'static str {
        match self {
            Sent::Call(call) => call.function(),
            Sent::Event { provider, endpoint: true, .. } => provider.endpoint(),
            Sent::Event { provider: Provider::Stripe, .. } => "process_stripe_webhook",
            Sent::Event { provider: Provider::Paystack, .. } => "process_paystack_webhook",
            Sent::Expire => "billing.expire_credits",
        }
    }
}

/// A request, and the answer that was acknowledged in the end.
#[derive(Clone, Debug)]
pub struct Record {
    pub name: String,
    pub sent: Sent,
    pub answers: Vec<Answer>,
    /// Attempts of which nobody knows what became of them.
    pub doubts: u32,
}

/// How one attempt is made.
#[derive(Clone, Copy, Debug)]
struct Mode {
    isolation: Isolation,
    /// In BEGIN and COMMIT; else a statement by itself.
    explicit: bool,
    /// The simple query protocol; else the extended one.
    simple: bool,
    statement_timeout: Option<u32>,
    lock_timeout: Option<u32>,
    /// An event is only recorded: `retry_webhook_events` processes it.
    record: bool,
}

impl Mode {
    /// Some calls are made impatiently, but not for ever.
    fn draw(attempt: u32, calm: bool) -> Mode {
        let mut random = rand::rng();
        let isolation = match random.random_range(0..10) {
            0..6 => Isolation::ReadCommitted,
            6..8 => Isolation::RepeatableRead,
            _ => Isolation::Serializable,
        };
        let hasty = !calm && attempt < 4;
        let some = |random: &mut rand::rngs::ThreadRng| {
            (hasty && random.random_ratio(1, 12)).then(|| random.random_range(1..8))
        };
        let (statement_timeout, lock_timeout) = (some(&mut random), some(&mut random));
        Mode {
            // Somebody else's retry may be what a strict one collides with for ever.
            isolation: if attempt > 20 { Isolation::ReadCommitted } else { isolation },
            explicit: random.random_bool(0.4),
            simple: random.random_bool(0.4),
            statement_timeout,
            lock_timeout,
            record: !calm && random.random_ratio(1, 8),
        }
    }

    fn begin(self, is_event: bool) -> Option<String> {
        let timeouts = self.statement_timeout.is_some() || self.lock_timeout.is_some();
        let record = self.record && is_event;
        if !self.explicit && !timeouts && !record && self.isolation == Isolation::ReadCommitted {
            return None;
        }
        let mut begin = format!("BEGIN ISOLATION LEVEL {}", self.isolation.sql());
        if record {
            begin += "; SET LOCAL billing_rpc.webhook_mode = 'record'";
        }
        for (name, value) in
            [("statement_timeout", self.statement_timeout), ("lock_timeout", self.lock_timeout)]
        {
            if let Some(value) = value {
                begin += &format!("; SET LOCAL {name} = '{value}ms'");
            }
        }
        Some(begin)
    }
}

type Tried<T> = Result<T, tokio_postgres::Error>;

/// One client's connection.
pub struct Line {
    world: Arc<World>,
    port: u16,
    user: &'static str,
    client: Option<Client>,
    /// Not even a ROLLBACK was answered.
    broken: bool,
}

impl Line {
    /// A line that connects with its first request.
    pub fn new(world: &Arc<World>, pooled: bool, user: &'static str) -> Line {
        let port = world.pooled.filter(|_| pooled).unwrap_or(world.direct);
        Line { world: world.clone(), port, user, client: None, broken: false }
    }

    async fn connect(&mut self) -> Tried<&Client> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let mut config = Config::new();
            config.host("127.0.0.1").port(self.port).user(self.user).dbname(&self.world.database);
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            self.client = Some(client);
        }
        Ok(self.client.as_ref().expect("connected"))
    }

    async fn rows(client: &Client, sent: &Sent, simple: bool) -> Tried<Vec<Answer>> {
        match sent {
            Sent::Call(call) => rows_of(client, call, simple).await,
            Sent::Expire => {
                client.query_typed("SELECT billing.expire_credits(50)", &[]).await.map(|_| Vec::new())
            }
            Sent::Event { provider, body, endpoint: false } => {
                rows_of(client, &provider.process(body, &provider.sign(body)), simple).await
            }
            Sent::Event { provider, body, endpoint: true } => {
                let headers = json!({ provider.header_name(): provider.sign(body) }).to_string();
                let settings = "SELECT set_config('request.headers', $1, true)";
                client.query_typed(settings, &[(&headers, Type::TEXT)]).await?;
                let sql =
                    format!("SELECT to_jsonb(x)::text FROM public.{}($1::text::json) x", provider.endpoint());
                let rows = client.query_typed(&sql, &[(body, Type::TEXT)]).await?;
                Ok(rows.iter().map(|row| Answer::parse(row.get(0)).checked()).collect())
            }
        }
    }

    /// One attempt, in a transaction of its own however that is asked for.
    async fn attempt(&mut self, sent: &Sent, mode: Mode) -> Tried<Vec<Answer>> {
        let client = self.connect().await?;
        let as_gateway = matches!(sent, Sent::Event { endpoint: true, .. });
        let begin = match mode.begin(matches!(sent, Sent::Event { .. })) {
            None if as_gateway => Some("BEGIN".to_owned()),
            begin => begin,
        };
        let Some(mut begin) = begin else {
            return Line::rows(client, sent, mode.simple).await;
        };
        if as_gateway {
            begin += "; SET LOCAL ROLE billing_webhook";
        }
        let within = async {
            client.batch_execute(&begin).await?;
            let rows = Line::rows(client, sent, mode.simple).await?;
            client.batch_execute("COMMIT").await?;
            Ok(rows)
        };
        let result: Tried<Vec<Answer>> = within.await;
        if result.is_err() && !client.is_closed() && client.batch_execute("ROLLBACK").await.is_err() {
            self.broken = true;
        }
        result
    }

    /// Writes an error down; how long to wait before the next attempt.
    fn setback(&mut self, error: &tokio_postgres::Error, sent: &Sent) -> Duration {
        let was_connected = self.client.is_some();
        let code = error.code().map(|code| code.code().to_owned());
        // Of class 08 and 57P: the connection is ending, whether or not the driver has seen that yet.
        let ending = code.as_ref().is_none_or(|code| code.starts_with("57P") || code.starts_with("08"));
        let lost =
            ending || std::mem::take(&mut self.broken) || self.client.as_ref().is_none_or(Client::is_closed);
        let mut tally = self.world.tally.lock().expect("tally");
        // A pooler's own words are of class 08.
        let allowed = is_retryable(error) || code.is_none();
        if !allowed || code.as_deref() == Some("40P01") {
            tally.wrong.push(format!("{}: {error:?}", sent.function()));
        }
        *tally.errors.entry(code.unwrap_or_default()).or_default() += 1;
        tally.doubts += u64::from(lost && was_connected);
        drop(tally);
        if lost {
            self.client = None;
        }
        // A server that is down is not asked all the time.
        let most = if was_connected { if lost { 60_000 } else { 10_000 } } else { 400_000 };
        Duration::from_micros(rand::random_range(500..most))
    }

    /// Sends the request until it is answered: the rows, and of how many attempts nobody knows what became of them.
    pub async fn ask(&mut self, sent: &Sent) -> (Vec<Answer>, u32) {
        let (mut attempt, mut doubts) = (0, 0);
        loop {
            let calm = self.world.calm.load(Ordering::Relaxed);
            let mode = Mode::draw(attempt, calm);
            attempt += 1;
            let error = match tokio::time::timeout(PATIENCE, self.attempt(sent, mode)).await {
                Ok(Ok(rows)) => {
                    let mut tally = self.world.tally.lock().expect("tally");
                    for row in &rows {
                        let why = if row.0.contains_key("reason") { row.why() } else { String::new() };
                        *tally.answers.entry((sent.function(), why)).or_default() += 1;
                    }
                    if rows.is_empty() {
                        *tally.answers.entry((sent.function(), "no rows".to_owned())).or_default() += 1;
                    }
                    return (rows, doubts);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    self.client = None;
                    doubts += 1;
                    let mut tally = self.world.tally.lock().expect("tally");
                    tally.hung += 1;
                    if attempt > 60 {
                        tally.wrong.push(format!("{}: no answer in {attempt} attempts", sent.function()));
                        return (Vec::new(), doubts);
                    }
                    continue;
                }
            };
            let was_connected = self.client.is_some();
            let pause = self.setback(&error, sent);
            doubts += u32::from(was_connected && self.client.is_none());
            tokio::time::sleep(pause).await;
        }
    }
}

async fn rows_of(client: &Client, call: &Call, simple: bool) -> Tried<Vec<Answer>> {
    if simple {
        let sql = format!("SELECT to_jsonb(x)::text FROM ({}) x", call.literal_sql());
        let messages = client.simple_query(&sql).await?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(|text| Answer::parse(text).checked()),
            _ => None,
        };
        return Ok(messages.iter().filter_map(row).collect());
    }
    let values = call.values();
    let typed: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect();
    let rows = client.query_typed(&call.sql(), &typed).await?;
    Ok(rows.iter().map(|row| Answer::parse(row.get(0)).checked()).collect())
}

/// One client: its plan, its line and its record.
pub struct Worker {
    world: Arc<World>,
    line: Line,
    twin: Line,
    operator: Line,
    plan: Plan,
    pub records: Vec<Record>,
    /// By event that the application processed itself: claims answered `applied`, and those in doubt.
    pub claims: BTreeMap<String, (u32, u32)>,
}

impl Worker {
    pub fn new(world: &Arc<World>, number: usize) -> Worker {
        Worker {
            world: world.clone(),
            // Every fourth comes through the pooler.
            line: Line::new(world, number % 4 == 3, LOGIN),
            twin: Line::new(world, number % 4 == 1, LOGIN),
            operator: Line::new(world, false, "postgres"),
            plan: Plan::new(number, world.clients, world.seed_time, world.by_key_only),
            records: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    /// Works until told to stop, then finishes what follows from what was begun.
    pub async fn work(mut self) -> (Vec<Record>, BTreeMap<String, (u32, u32)>, Facts) {
        while !self.world.stop.load(Ordering::Relaxed) {
            let step = self.plan.next();
            self.carry_out(step).await;
        }
        for step in self.plan.rest() {
            self.carry_out(step).await;
        }
        (self.records, self.claims, self.plan.facts)
    }

    async fn carry_out(&mut self, step: Step) {
        let Step { name, what, makes } = step;
        let made = |earlier: &Earlier| self.world.made.lock().expect("made").get(earlier).cloned();
        let sent = match what {
            What::Call(call) => Some(Sent::Call(call)),
            What::Event { provider, body, endpoint } => Some(Sent::Event { provider, body, endpoint }),
            What::Capture(hold, part) => made(&hold).map(|hold| Sent::Call(Call::capture(&hold, part))),
            What::Release(hold) => made(&hold).map(|hold| Sent::Call(Call::release(&hold))),
            What::Reverse(entry, part) => made(&entry)
                .and_then(|entry| entry.parse().ok())
                .map(|entry| Sent::Call(Call::reverse(entry, &name, part))),
            What::Claim { completes } => return self.claim(&name, completes).await,
            What::Retry => {
                self.line.ask(&Sent::Call(Call::retry(20))).await;
                return;
            }
            What::Expire => {
                self.operator.ask(&Sent::Expire).await;
                return;
            }
        };
        let Some(sent) = sent else {
            self.world.tally.lock().expect("tally").skipped += 1;
            return;
        };
        // Two that hear from different servers may both be told `applied`, where one of them forgot.
        let at_once = rand::random_ratio(1, 15) && !self.world.by_key_only;
        let (answers, doubts) =
            if at_once { self.twice(&name, &sent).await } else { self.line.ask(&sent).await };
        if let (Some(makes), Some(answer)) = (makes, answers.first()) {
            let id = match makes.made {
                Made::Hold => answer.str("hold_id").to_owned(),
                Made::Entry => answer.get("entry_id").to_string(),
            };
            if ["applied", "replay"].contains(&answer.reason()) {
                self.world.made.lock().expect("made").insert(makes, id);
            }
        }
        self.records.push(Record { name, sent, answers, doubts });
    }

    /// The same request twice at once, as a client sends it that does not wait for the first. One makes the change.
    async fn twice(&mut self, name: &str, sent: &Sent) -> (Vec<Answer>, u32) {
        let ((one, doubts), (other, _)) = tokio::join!(self.line.ask(sent), self.twin.ask(sent));
        for (one, other) in one.iter().zip(&other) {
            let both = (one.reason(), other.reason());
            let entry =
                |answer: &Answer| answer.0.get("entry_id").or_else(|| answer.0.get("hold_id")).cloned();
            let right = match both {
                ("applied", "applied") => false,
                // Refused, and possible a moment later.
                ("invalid", _) | (_, "invalid") => true,
                ("applied" | "replay", "applied" | "replay") => entry(one) == entry(other),
                _ => true,
            };
            if !right {
                let complaint = format!("{name}, sent twice at once: {one:?} and {other:?}");
                self.world.tally.lock().expect("tally").wrong.push(complaint);
            }
        }
        // Each may have made what the other one was told of. Of a batch some here, some there.
        let first = |(one, other): (Answer, Answer)| if one.reason() == "invalid" { other } else { one };
        (one.into_iter().zip(other).map(first).collect(), doubts + 1)
    }

    /// Claims an event until it is ours, does nothing with it, and completes it; some fail once before.
    async fn claim(&mut self, name: &str, completes: bool) {
        let event_id = format!("evt_claim_{name}");
        let lease = Some(LEASE_SECONDS.to_string());
        let claim = Call::claim(&event_id).with("lease_seconds", "int", lease);
        let (mut granted, mut doubted, mut fails) = (0, 0, !completes);
        loop {
            let (answers, doubts) = self.line.ask(&Sent::Call(claim.clone())).await;
            doubted += doubts;
            let Some(answer) = answers.first() else { break };
            match answer.why().as_str() {
                "applied" => granted += 1,
                // Granted, and the answer lost: until the lease runs out.
                "duplicate / in_progress" if doubted > 0 => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    continue;
                }
                other => {
                    let complaint = format!("claim of {event_id}: {other}");
                    self.world.tally.lock().expect("tally").wrong.push(complaint);
                    break;
                }
            }
            let token = answer.str("claim_token");
            let end = if fails {
                Call::fail(&event_id, token, "not this time")
            } else {
                Call::complete(&event_id, token)
            };
            let (answers, doubts) = self.line.ask(&Sent::Call(end)).await;
            let why = answers.first().map(Answer::why).unwrap_or_default();
            match why.as_str() {
                "applied" | "replay" if fails => fails = false,
                "applied" | "replay" => break,
                // Failing again with a token that is used up says that it is lost.
                "invalid / claim_lost" if fails && doubts > 0 => fails = false,
                other => {
                    let complaint = format!("end of {event_id}: {other}");
                    self.world.tally.lock().expect("tally").wrong.push(complaint);
                    break;
                }
            }
        }
        self.claims.insert(event_id, (granted, doubted));
    }
}
