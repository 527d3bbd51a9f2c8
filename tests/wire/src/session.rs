//! Clients: one connection each, which calls functions and tries again where the contract says so.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::cluster::{Cluster, Database};

/// A superuser's connection.
pub struct Admin {
    client: Client,
    connection: tokio::task::JoinHandle<()>,
}

pub(crate) fn config(cluster: &Cluster, database: &str, user: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&cluster.host).port(cluster.port).dbname(database).user(user);
    config
}

impl Admin {
    /// Connects; after a crash the server may still be reading its log for a while.
    pub async fn connect(cluster: &Cluster, database: &str) -> Admin {
        let begun = Instant::now();
        loop {
            match Admin::try_connect(cluster, database).await {
                Ok(admin) => return admin,
                Err(error) => {
                    assert!(is_retryable(&error) && begun.elapsed() < PATIENCE, "no connection: {error:?}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Connects, if the server is up.
    pub async fn try_connect(cluster: &Cluster, database: &str) -> Tried<Admin> {
        let config = config(cluster, database, "postgres");
        let (client, connection) = config.connect(NoTls).await?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Admin { client, connection })
    }

    /// The client itself.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of the first row, as text.
    pub async fn text(&self, sql: &str) -> Option<String> {
        self.texts(sql).await.into_iter().next().flatten()
    }

    /// The first column of every row, as text.
    pub async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let rows = self.client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The first column of the first row, as a number.
    pub async fn number(&self, sql: &str) -> i64 {
        let text = self.text(&format!("SELECT ({sql})::text")).await;
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {sql}"))
    }

    /// Rows of every table of schema billing that deliveries and calls write to.
    pub async fn rows(&self) -> String {
        let tables = self
            .texts(
                "SELECT c.oid::regclass::text FROM pg_class c
                 WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r' ORDER BY 1",
            )
            .await;
        let counts: Vec<String> = tables
            .iter()
            .flatten()
            .map(|table| format!("'{table} ' || (SELECT count(*) FROM {table})"))
            .collect();
        self.text(&format!("SELECT concat_ws(', ', {})", counts.join(", "))).await.expect("counts")
    }

    /// Calls as the application, in a transaction that is rolled back: the rows, and how many rows the call
    /// wrote to tables of schema billing. `read_only`: in a transaction that may not write at all.
    pub async fn probe(&self, call: &Call, read_only: bool) -> Tried<(Vec<Answer>, i64)> {
        let mode = if read_only { "READ ONLY" } else { "READ WRITE" };
        let client = &self.client;
        // What earlier transactions of the session wrote may still be counted in: the difference is the call's.
        let written = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint
                       FROM pg_stat_xact_user_tables WHERE schemaname = 'billing'";
        client.batch_execute(&format!("BEGIN {mode}")).await?;
        let before: i64 = client.query_one(written, &[]).await?.get(0);
        client.batch_execute("SET LOCAL ROLE wire_application").await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            call.arguments.iter().map(|(_, _, value)| value as &(dyn ToSql + Sync)).collect();
        let rows = match client.query(&call.sql(), &values).await {
            Ok(rows) => rows,
            Err(error) => {
                client.batch_execute("ROLLBACK").await?;
                return Err(error);
            }
        };
        client.batch_execute("RESET ROLE").await?;
        let after: i64 = client.query_one(written, &[]).await?.get(0);
        client.batch_execute("ROLLBACK").await?;
        Ok((rows.iter().map(|row| Answer::parse(row.get(0)).checked()).collect(), after - before))
    }

    /// What EXPLAIN says of the call as the application makes it, and whether it took a transaction id.
    pub async fn explain(&self, call: &Call) -> (Vec<String>, bool) {
        self.run("BEGIN; SET LOCAL ROLE wire_application").await;
        let lines = self.texts(&format!("EXPLAIN (ANALYZE, WAL, TIMING OFF) {}", call.literal_sql())).await;
        let id = self.text("SELECT pg_current_xact_id_if_assigned()::text").await;
        self.run("COMMIT").await;
        (lines.into_iter().flatten().collect(), id.is_some())
    }

    /// Ends the connection, and waits until it has ended.
    pub async fn close(self) {
        drop(self.client);
        let _ = self.connection.await;
    }
}

/// Who a client logs in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member of billing_service.
    Application,
    /// PostgREST's authenticator: becomes billing_webhook for a request.
    Gateway,
}

/// Who sends a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Stripe,
    Paystack,
}

impl Provider {
    /// The endpoint's function.
    pub const fn endpoint(self) -> &'static str {
        match self {
            Provider::Stripe => "stripe_webhook",
            Provider::Paystack => "paystack_webhook",
        }
    }

    /// The name of the signature's header, as PostgREST hands it over.
    pub const fn header_name(self) -> &'static str {
        match self {
            Provider::Stripe => "stripe-signature",
            Provider::Paystack => "x-paystack-signature",
        }
    }

    /// The signature's header of a delivery made now, with the tests' secret.
    pub fn sign(self, body: &str) -> String {
        match self {
            Provider::Stripe => crate::stripe::header(body),
            Provider::Paystack => crate::paystack::signature(body, crate::paystack::SECRET),
        }
    }

    /// What the call with that signature and that body as text is.
    pub fn process(self, body: &str, signature: &str) -> Call {
        match self {
            Provider::Stripe => Call::process(body, signature),
            Provider::Paystack => Call::process_paystack(body, signature),
        }
    }
}

/// An isolation level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    /// Weakest first.
    pub const ALL: [Isolation; 3] =
        [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

    /// As SQL names it.
    pub const fn sql(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        }
    }
}

/// A call of one of the clients' functions, its arguments by name.
#[derive(Clone, Debug)]
pub struct Call {
    function: &'static str,
    /// Parameter, its type, the value as text.
    arguments: Vec<(&'static str, &'static str, Option<String>)>,
}

impl Call {
    /// A call with every parameter at its default.
    pub fn of(function: &'static str) -> Call {
        Call { function, arguments: Vec::new() }
    }

    /// Gives one argument, or changes it.
    pub fn with(mut self, parameter: &'static str, sql_type: &'static str, value: Option<String>) -> Call {
        self.arguments.retain(|(given, _, _)| *given != parameter);
        self.arguments.push((parameter, sql_type, value));
        self
    }

    fn text(self, parameter: &'static str, value: &str) -> Call {
        self.with(parameter, "text", Some(value.to_owned()))
    }

    fn number(self, parameter: &'static str, value: i64) -> Call {
        self.with(parameter, "bigint", Some(value.to_string()))
    }

    /// `apply_credit_purchase`
    pub fn purchase(user: &str, credits: i64, key: &str) -> Call {
        let call = Call::of("apply_credit_purchase").text("user_id", user).number("credits", credits);
        call.text("idempotency_key", key)
    }

    /// The session that a purchase is for.
    pub fn session(self, session_id: &str) -> Call {
        self.text("stripe_session_id", session_id)
    }

    /// The source that a purchase is for.
    pub fn source(self, source_ref: &str) -> Call {
        self.text("source_ref", source_ref)
    }

    /// `grant_credits`
    pub fn grant(user: &str, credits: i64, key: &str) -> Call {
        let call = Call::of("grant_credits").text("user_id", user).number("credits", credits);
        call.text("idempotency_key", key)
    }

    /// `spend_credits`
    pub fn spend(user: &str, credits: i64, key: &str) -> Call {
        let call = Call::of("spend_credits").text("user_id", user).number("credits", credits);
        call.text("idempotency_key", key)
    }

    /// `start_subscription_payment`, in NGN
    pub fn start_payment(reference: &str, user: &str, plan: &str, amount: i64) -> Call {
        let call = Call::of("start_subscription_payment").text("reference", reference).text("user_id", user);
        call.text("plan", plan).number("amount_minor", amount).text("currency", "ngn")
    }

    /// The branches of a payment, as an array in text form.
    pub fn branches(self, ids: &str) -> Call {
        self.with("branch_ids", "text[]", Some(ids.to_owned()))
    }

    /// `verify_subscription_payment`, a success in NGN
    pub fn verify_payment(reference: &str, amount: i64) -> Call {
        let call = Call::of("verify_subscription_payment").text("reference", reference);
        call.text("gateway_status", "success").number("amount_minor", amount).text("currency", "ngn")
    }

    /// `subscription_payment_status`
    pub fn payment_status(reference: &str) -> Call {
        Call::of("subscription_payment_status").text("reference", reference)
    }

    /// `hold_credits`
    pub fn hold(user: &str, credits: i64, key: &str) -> Call {
        let call = Call::of("hold_credits").text("user_id", user).number("credits", credits);
        call.text("idempotency_key", key)
    }

    /// `capture_hold`
    pub fn capture(hold_id: &str, credits: Option<i64>) -> Call {
        let call = Call::of("capture_hold").with("hold_id", "uuid", Some(hold_id.to_owned()));
        call.with("credits", "bigint", credits.map(|credits| credits.to_string()))
    }

    /// `release_hold`
    pub fn release(hold_id: &str) -> Call {
        Call::of("release_hold").with("hold_id", "uuid", Some(hold_id.to_owned()))
    }

    /// `reverse_credit_entry`
    pub fn reverse(entry_id: i64, key: &str, credits: Option<i64>) -> Call {
        let call = Call::of("reverse_credit_entry").number("entry_id", entry_id);
        let call = call.text("idempotency_key", key);
        call.with("credits", "bigint", credits.map(|credits| credits.to_string()))
    }

    /// `apply_credit_batch`
    pub fn batch(operations: &str) -> Call {
        Call::of("apply_credit_batch").with("operations", "jsonb", Some(operations.to_owned()))
    }

    /// `register_billing_user`
    pub fn register(user_id: &str) -> Call {
        Call::of("register_billing_user").with("user_id", "uuid", Some(user_id.to_owned()))
    }

    /// The e-mail of a registration.
    pub fn email(self, email: &str) -> Call {
        self.text("email", email)
    }

    /// The Stripe customer of a registration.
    pub fn customer(self, code: &str) -> Call {
        self.text("stripe_customer_id", code)
    }

    /// `claim_stripe_event`
    pub fn claim(event_id: &str) -> Call {
        Call::of("claim_stripe_event").text("event_id", event_id).text("event_type", "wire.test")
    }

    /// `complete_stripe_event`
    pub fn complete(event_id: &str, token: &str) -> Call {
        let call = Call::of("complete_stripe_event").text("event_id", event_id);
        call.with("claim_token", "uuid", Some(token.to_owned()))
    }

    /// `fail_stripe_event`
    pub fn fail(event_id: &str, token: &str, message: &str) -> Call {
        let call = Call::of("fail_stripe_event").text("event_id", event_id).text("error_message", message);
        call.with("claim_token", "uuid", Some(token.to_owned()))
    }

    /// `process_stripe_webhook`
    pub fn process(body: &str, header: &str) -> Call {
        Call::of("process_stripe_webhook").text("payload", body).text("signature_header", header)
    }

    /// `process_paystack_webhook`
    pub fn process_paystack(body: &str, signature: &str) -> Call {
        Call::of("process_paystack_webhook").text("payload", body).text("signature", signature)
    }

    /// `retry_webhook_events`
    pub fn retry(max_events: i32) -> Call {
        Call::of("retry_webhook_events").with("max_events", "int", Some(max_events.to_string()))
    }

    /// `credit_balance`
    pub fn balance(user: &str) -> Call {
        Call::of("credit_balance").text("user_id", user)
    }

    /// `credit_history`
    pub fn history(user: &str) -> Call {
        Call::of("credit_history").text("user_id", user)
    }

    /// `resolve_billing_user`
    pub fn resolve(identifier: &str) -> Call {
        Call::of("resolve_billing_user").text("identifier", identifier)
    }

    /// The values, in the order of `sql`.
    pub(crate) fn values(&self) -> Vec<Option<&str>> {
        self.arguments.iter().map(|(_, _, value)| value.as_deref()).collect()
    }

    /// The function called.
    pub fn function(&self) -> &'static str {
        self.function
    }

    pub(crate) fn sql(&self) -> String {
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .enumerate()
            .map(|(place, (name, sql_type, _))| format!("{name} => ${}::text::{sql_type}", place + 1))
            .collect();
        format!("SELECT to_jsonb(x)::text FROM public.{}({}) x", self.function, arguments.join(", "))
    }

    /// The statement with its values written in, for EXPLAIN.
    pub fn literal_sql(&self) -> String {
        let quoted = |value: &Option<String>| match value {
            None => "NULL".to_owned(),
            Some(text) => format!("'{}'", text.replace('\'', "''")),
        };
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .map(|(name, sql_type, value)| format!("{name} => {}::{sql_type}", quoted(value)))
            .collect();
        format!("SELECT * FROM public.{}({})", self.function, arguments.join(", "))
    }
}

/// One row that a function answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(pub Map<String, Value>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let told = self.0.iter().filter(|(_, value)| !value.is_null());
        f.debug_map().entries(told.map(|(key, value)| (key, value.to_string()))).finish()
    }
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Answer {
        Answer(serde_json::from_str(text).expect("a row as JSON"))
    }

    /// A column.
    pub fn get(&self, column: &str) -> &Value {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column} in {self:?}"))
    }

    /// A text column, empty if null.
    pub fn str(&self, column: &str) -> &str {
        self.get(column).as_str().unwrap_or_default()
    }

    /// A whole number.
    pub fn int(&self, column: &str) -> i64 {
        self.get(column).as_i64().unwrap_or_else(|| panic!("no number in {column} of {self:?}"))
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        self.str("reason")
    }

    /// Reason and detail, as `reason` or `reason / detail`.
    pub fn why(&self) -> String {
        match self.get("detail").as_str() {
            Some(detail) => format!("{} / {detail}", self.reason()),
            None => self.reason().to_owned(),
        }
    }

    /// The columns that a replay shares with the original.
    pub fn numbers(&self) -> Map<String, Value> {
        let mut numbers = self.0.clone();
        for column in ["applied", "reason", "detail"] {
            numbers.remove(column);
        }
        numbers
    }

    /// Checks what holds of every outcome: `applied` is true exactly with that reason.
    pub(crate) fn checked(self) -> Answer {
        if let (Some(applied), Some(reason)) = (self.0.get("applied"), self.0.get("reason")) {
            assert_eq!(applied == &json!(true), reason == "applied", "{self:?}");
            let known = ["applied", "replay", "duplicate", "invalid", "ignored", "failed"];
            assert!(known.contains(&self.reason()), "{self:?}");
        }
        self
    }
}

/// A `json` parameter whose text goes out byte for byte, as PostgREST sends a raw body.
#[derive(Debug)]
struct RawBody<'a>(&'a str);

impl ToSql for RawBody<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(sql_type: &Type) -> bool {
        *sql_type == Type::JSON
    }

    to_sql_checked!();
}

/// What a webhook delivery came back with.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The HTTP status that PostgREST would send.
    pub status: u16,
    pub answer: Answer,
}

/// How long a client goes on trying.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client.
pub struct Session {
    database: Database,
    role: Role,
    pub isolation: Isolation,
    connection: Option<(Client, HashMap<String, Statement>)>,
    /// How often the contract's retryable errors came.
    pub retries: u64,
    /// Options for the connection, for instance `-c application_name=x`.
    pub options: Option<String>,
}

type Tried<T> = Result<T, tokio_postgres::Error>;

impl Session {
    /// A client that connects with its first call.
    pub fn new(database: &Database, role: Role) -> Session {
        let isolation = Isolation::ReadCommitted;
        Session { database: database.clone(), role, isolation, connection: None, retries: 0, options: None }
    }

    /// The same at another isolation level.
    pub fn at(mut self, isolation: Isolation) -> Session {
        self.isolation = isolation;
        self
    }

    async fn connect(&mut self) -> Tried<()> {
        if self.connection.as_ref().is_some_and(|(client, _)| !client.is_closed()) {
            return Ok(());
        }
        let user = match self.role {
            Role::Application => "wire_application",
            Role::Gateway => "wire_gateway",
        };
        let mut config = config(&self.database.cluster, &self.database.name, user);
        let level = self.isolation.sql().replace(' ', "\\ ");
        let more = self.options.as_deref().unwrap_or_default();
        config.options(format!("-c default_transaction_isolation={level} {more}"));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        self.connection = Some((client, HashMap::new()));
        Ok(())
    }

    /// The client itself, connected.
    pub async fn client(&mut self) -> &Client {
        self.connect().await.expect("a connection");
        &self.connection.as_ref().expect("connected").0
    }

    /// The number of the backend.
    pub async fn pid(&mut self) -> Tried<u32> {
        self.connect().await?;
        let (client, _) = self.connection.as_ref().expect("connected");
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        Ok(row.get::<_, i32>(0).unsigned_abs())
    }

    /// Ends the connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Prepares every statement anew, as a driver does after a change of the schema.
    pub fn forget_statements(&mut self) {
        if let Some((_, statements)) = &mut self.connection {
            statements.clear();
        }
    }

    async fn prepared(&mut self, sql: &str) -> Tried<Statement> {
        self.connect().await?;
        self.prepared_here(sql).await
    }

    /// In the connection as it is, so that several statements belong to one.
    async fn prepared_here(&mut self, sql: &str) -> Tried<Statement> {
        let (client, statements) = self.connection.as_mut().expect("connected");
        if let Some(statement) = statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await?;
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Calls once; all rows.
    pub async fn try_rows(&mut self, call: &Call) -> Tried<Vec<Answer>> {
        let statement = self.prepared(&call.sql()).await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            call.arguments.iter().map(|(_, _, value)| value as &(dyn ToSql + Sync)).collect();
        let (client, _) = self.connection.as_ref().expect("connected");
        let rows = client.query(&statement, &values).await?;
        Ok(rows.iter().map(|row| Answer::parse(row.get(0)).checked()).collect())
    }

    /// Calls once; the one row.
    pub async fn try_call(&mut self, call: &Call) -> Tried<Answer> {
        let mut rows = self.try_rows(call).await?;
        assert_eq!(rows.len(), 1, "{call:?}");
        Ok(rows.remove(0))
    }

    /// Calls, again and again where the contract lets a caller simply retry.
    pub async fn call(&mut self, call: &Call) -> Answer {
        let begun = Instant::now();
        loop {
            match self.try_call(call).await {
                Ok(answer) => return answer,
                Err(error) => self.again(begun, &error, &format!("{call:?}")).await,
            }
        }
    }

    /// Calls a reading function that returns a set.
    pub async fn rows(&mut self, call: &Call) -> Vec<Answer> {
        self.try_rows(call).await.unwrap_or_else(|error| panic!("{call:?}: {error:?}"))
    }

    /// Delivers a body of Stripe once.
    pub async fn try_deliver(&mut self, body: &str, headers: Option<&str>) -> Tried<Delivered> {
        self.try_deliver_to(Provider::Stripe, body, headers).await
    }

    /// Delivers a body once, as PostgREST does it: one transaction, the request in settings.
    pub async fn try_deliver_to(
        &mut self,
        provider: Provider,
        body: &str,
        headers: Option<&str>,
    ) -> Tried<Delivered> {
        self.connect().await?;
        let settings = self.prepared_here("SELECT set_config('request.headers', $1, true)").await?;
        let sql = format!("SELECT to_jsonb(x)::text FROM public.{}($1) x", provider.endpoint());
        let statement = self.prepared_here(&sql).await?;
        let status =
            self.prepared_here("SELECT nullif(current_setting('response.status', true), '')").await?;
        let (client, _) = self.connection.as_ref().expect("connected");
        let within = async {
            client.batch_execute("BEGIN; SET LOCAL ROLE billing_webhook").await?;
            if let Some(headers) = headers {
                client.query_one(&settings, &[&headers]).await?;
            }
            let row = client.query_one(&statement, &[&RawBody(body)]).await?;
            let answer = Answer::parse(row.get(0)).checked();
            let status: Option<String> = client.query_one(&status, &[]).await?.get(0);
            client.batch_execute("COMMIT").await?;
            let status = status.and_then(|status| status.parse().ok()).expect("an HTTP status");
            Ok(Delivered { status, answer })
        };
        let result: Tried<Delivered> = within.await;
        if result.is_err() {
            let _ = client.batch_execute("ROLLBACK").await;
        }
        result
    }

    /// Delivers a signed body once, with the headers that the provider sends.
    pub async fn try_deliver_signed(
        &mut self,
        provider: Provider,
        body: &str,
        signature: &str,
    ) -> Tried<Delivered> {
        let headers = json!({
            "host": "localhost", "content-type": "application/json", provider.header_name(): signature,
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        });
        self.try_deliver_to(provider, body, Some(&headers.to_string())).await
    }

    /// Delivers a signed body, again where PostgREST would answer 5xx.
    pub async fn deliver_signed_to(&mut self, provider: Provider, body: &str, signature: &str) -> Delivered {
        let begun = Instant::now();
        loop {
            match self.try_deliver_signed(provider, body, signature).await {
                Ok(delivered) => return delivered,
                Err(error) => self.again(begun, &error, provider.endpoint()).await,
            }
        }
    }

    /// Delivers a body of Stripe with that signature header, again where PostgREST would answer 5xx.
    pub async fn deliver_signed(&mut self, body: &str, header: &str) -> Delivered {
        self.deliver_signed_to(Provider::Stripe, body, header).await
    }

    /// Delivers a body, signed now with the tests' secret.
    pub async fn deliver_to(&mut self, provider: Provider, body: &str) -> Delivered {
        self.deliver_signed_to(provider, body, &provider.sign(body)).await
    }

    /// Delivers a body of Stripe, signed now with the tests' secret.
    pub async fn deliver(&mut self, body: &str) -> Delivered {
        self.deliver_to(Provider::Stripe, body).await
    }

    async fn again(&mut self, begun: Instant, error: &tokio_postgres::Error, what: &str) {
        assert!(is_retryable(error), "{what}: {error:?}");
        assert!(begun.elapsed() < PATIENCE, "{what}: no end of {error:?}");
        self.retries += 1;
        let lost = error.code().is_none_or(|code| code.code().starts_with("57P"));
        if lost {
            self.connection = None;
        }
        let most = if lost { 60_000 } else { 4_000 };
        tokio::time::sleep(Duration::from_micros(rand::random_range(200..most))).await;
    }
}

/// Whether the contract says that a caller should simply try again.
pub fn is_retryable(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => {
            let code = code.code();
            ["40", "53", "08"].iter().any(|class| code.starts_with(class))
                || ["55P03", "57014", "57P01", "57P02", "57P03"].contains(&code)
        }
        // No SQLSTATE: the connection was lost, or could not be made.
        None => error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>()),
    }
}
