//! The database that is measured: the same customers and the same tables four times over.

use std::cell::{Cell, RefCell};

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::Failure;
use crate::random::Random;

/// Known customers, one of which each call picks at random.
pub const CUSTOMERS: usize = 1_000;
/// Nobody runs out of credits.
const FIRST_CREDITS: i64 = 1_000_000_000_000;
/// The secret that bodies are signed with.
pub const WEBHOOK_SECRET: &str = "whsec_0123456789abcdefghijklmnopqrstuv";

/// Schemas with the same tables as schema billing.
const COPIES: [&str; 3] = ["floor", "twin", "app"];

/// One of the known customers.
#[derive(Clone)]
pub struct Customer {
    /// The application's id, as callers name the customer.
    pub user_id: String,
    /// The row's own id, as bare SQL names it.
    pub customer_id: Uuid,
    /// The provider's id, linked already.
    pub code: String,
}

/// A request that was applied, to be sent again.
pub struct Applied {
    pub customer: usize,
    pub key: String,
    pub session: String,
}

/// What calls take their arguments from.
#[derive(Default)]
pub struct World {
    pub customers: Vec<Customer>,
    /// Whose turn it is, where customers are taken in turn rather than at random.
    pub turn: Option<Cell<usize>>,
    /// Applied requests, per implementation in the order ours, twin, floor.
    pub applied: [RefCell<Vec<Applied>>; 3],
    /// Signed bodies that were not sent yet.
    pub bodies: RefCell<Vec<(String, String)>>,
    /// Bodies that the extension applied, to be delivered again.
    pub sent: RefCell<Vec<String>>,
}

impl World {
    /// These customers.
    pub fn of(customers: Vec<Customer>) -> World {
        World { customers, ..World::default() }
    }

    /// These customers, each in turn.
    pub fn in_turn(customers: Vec<Customer>) -> World {
        World { customers, turn: Some(Cell::new(0)), ..World::default() }
    }

    /// The customer of the next call, by place.
    pub fn next(&self, random: &mut Random) -> usize {
        match &self.turn {
            None => random.below(self.customers.len()),
            Some(turn) => {
                let place = turn.get() % self.customers.len();
                turn.set(place + 1);
                place
            }
        }
    }
}

/// A connection as the environment says, to another database if one is named.
pub async fn connect(database: Option<&str>) -> Result<Client, Failure> {
    connect_by(configuration(database, None)?).await
}

/// What the environment says, but for a database and a port that are named.
pub fn configuration(database: Option<&str>, port: Option<u16>) -> Result<Config, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut config = Config::new();
    config
        .host(variable("PGHOST").unwrap_or_else(|| "/var/run/postgresql".to_owned()))
        .port(port.map_or_else(|| variable("PGPORT").map_or(Ok(5432), |port| port.parse()), Ok)?)
        .user(variable("PGUSER").unwrap_or_else(|| "postgres".to_owned()))
        .dbname(database.map_or_else(own_database, str::to_owned))
        .application_name("billing_bench");
    if let Some(password) = variable("PGPASSWORD") {
        config.password(password);
    }
    Ok(config)
}

/// A connection.
pub async fn connect_by(config: Config) -> Result<Client, Failure> {
    let (client, connection) = config.connect(NoTls).await?;
    // A lost connection shows at the next call.
    tokio::spawn(connection);
    Ok(client)
}

/// The database that the environment names.
pub fn own_database() -> String {
    std::env::var("PGDATABASE").unwrap_or_else(|_| "bench".to_owned())
}

/// Makes the four sets of tables and fills them with the same customers and balances.
pub async fn make(client: &Client) -> Result<World, Failure> {
    let customers = register(client, CUSTOMERS).await?;
    grant_first(client, &customers).await?;
    client.execute("SELECT billing.add_webhook_secret('stripe', $1)", &[&WEBHOOK_SECRET]).await?;
    for schema in COPIES {
        client.batch_execute(&include_str!("../sql/tables.sql").replace("@schema@", schema)).await?;
        for table in ["customers", "balances", "ledger", "webhook_secrets"] {
            let copy =
                format!("INSERT INTO {schema}.{table} OVERRIDING SYSTEM VALUE SELECT * FROM billing.{table}");
            client.batch_execute(&copy).await?;
        }
        let next = format!(
            "SELECT setval(pg_get_serial_sequence('{schema}.ledger', 'entry_id'),
                 (SELECT max(entry_id) FROM {schema}.ledger))"
        );
        client.batch_execute(&next).await?;
    }
    client.batch_execute(include_str!("../sql/twin.sql")).await?;
    for statement in ["CREATE EXTENSION IF NOT EXISTS pg_walinspect", "VACUUM ANALYZE", "CHECKPOINT"] {
        client.batch_execute(statement).await?;
    }
    Ok(World::of(customers))
}

/// Gives each of them more credits than they will spend.
pub async fn grant_first(client: &Client, customers: &[Customer]) -> Result<(), Failure> {
    let grant = client.prepare("SELECT applied FROM public.grant_credits($1, $2, $3)").await?;
    for customer in customers {
        let key = format!("first:{}", customer.user_id);
        let row = client.query_one(&grant, &[&customer.user_id, &FIRST_CREDITS, &key]).await?;
        if !row.get::<_, bool>(0) {
            return Err("a first grant was not applied".into());
        }
    }
    Ok(())
}

/// A database of its own with the extension, and a session in it.
pub async fn make_database(control: &Client, name: &str) -> Result<Client, Failure> {
    control.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await?;
    control.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
    let client = connect(Some(name)).await?;
    client.batch_execute("CREATE EXTENSION billing_rpc").await?;
    Ok(client)
}

/// Registers so many customers, each with a provider code.
pub async fn register(client: &Client, count: usize) -> Result<Vec<Customer>, Failure> {
    let register = client
        .prepare(
            "SELECT customer_id FROM public.register_billing_user($1::text::uuid, stripe_customer_id => $2)",
        )
        .await?;
    let mut random = Random::new(1);
    let mut customers = Vec::with_capacity(count);
    for _ in 0..count {
        let (user_id, code) = (random.uuid().to_string(), random.id("cus_", 14));
        let row = client.query_one(&register, &[&user_id, &code]).await?;
        customers.push(Customer { user_id, customer_id: row.get(0), code });
    }
    Ok(customers)
}

/// Analyses what a fill left, whose indexes have to be in use again.
pub async fn settle(client: &Client) -> Result<(), Failure> {
    client.batch_execute("VACUUM ANALYZE").await?;
    let unused = "SELECT count(*) FROM pg_index WHERE NOT (indisready AND indisvalid)";
    let unused: i64 = client.query_one(unused, &[]).await?.get(0);
    if unused == 0 { Ok(()) } else { Err(format!("{unused} indexes are not in use").into()) }
}

/// Whether every balance is the sum of its entries, in all sets of tables.
pub async fn check(client: &Client) -> Result<(), Failure> {
    for schema in ["billing"].into_iter().chain(COPIES) {
        check_balances(client, schema).await?;
    }
    Ok(())
}

/// The same in one schema.
pub async fn check_balances(client: &Client, schema: &str) -> Result<(), Failure> {
    let wrong = format!(
        "SELECT count(*) FROM {schema}.balances b WHERE b.balance <>
                 (SELECT sum(e.credits) FROM {schema}.ledger e
                  WHERE e.customer_id = b.customer_id AND e.credit_type = b.credit_type)"
    );
    let wrong: i64 = client.query_one(&wrong, &[]).await?.get(0);
    if wrong > 0 {
        return Err(format!("{wrong} balances in schema {schema} are not the sum of their entries").into());
    }
    Ok(())
}
