//! The calls that are compared, each one prepared statement and one round trip, an application's own apart.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::application;
use crate::random::Random;
use crate::world::{Applied, World};

/// Whose implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The extension.
    Ours = 0,
    /// The same contract in PL/pgSQL.
    Twin = 1,
    /// Bare SQL that writes the same rows.
    Floor = 2,
    /// A program that does by itself, statement by statement, what a webhook calls for.
    Application = 3,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Purchase,
    Spend,
    Replay,
    /// Whom an identifier names; only read.
    Resolve,
    /// A signed checkout, new every time.
    Webhook,
    /// One that was applied, delivered again.
    Redelivery,
    /// The same body of a type without effect.
    Ignored,
    /// The same body, signed with another secret.
    Forged,
}

impl Kind {
    /// Whether signed bodies are sent.
    pub fn is_delivery(self) -> bool {
        matches!(self, Kind::Webhook | Kind::Redelivery | Kind::Ignored | Kind::Forged)
    }

    /// What is to be answered: applied, and the detail.
    fn expected(self) -> (bool, Option<&'static str>) {
        match self {
            Kind::Purchase | Kind::Spend | Kind::Resolve | Kind::Webhook => (true, None),
            Kind::Replay | Kind::Redelivery => (false, None),
            Kind::Ignored => (false, Some("event_type_not_handled")),
            Kind::Forged => (false, Some("signature_mismatch")),
        }
    }
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub side: Side,
    pub kind: Kind,
}

/// Credits of each call, and what a purchase costs.
pub const CREDITS: i64 = 100;
pub const AMOUNT_MINOR: i64 = 1_999;
pub const CURRENCY: &str = "usd";

impl Call {
    /// The statement, or those of an application.
    fn sql(self) -> Vec<String> {
        if self.side == Side::Application {
            return application::STATEMENTS.map(str::to_owned).to_vec();
        }
        vec![self.only_statement()]
    }

    /// Of all sides but the application, which has several.
    pub fn only_statement(self) -> String {
        let schema = if self.side == Side::Twin { "twin" } else { "public" };
        match (self.kind, self.side) {
            (Kind::Purchase, Side::Floor) => include_str!("../sql/floor_purchase.sql").to_owned(),
            (Kind::Spend, Side::Floor) => include_str!("../sql/floor_spend.sql").to_owned(),
            (Kind::Replay, Side::Floor) => include_str!("../sql/floor_lookup.sql").to_owned(),
            (Kind::Purchase | Kind::Replay, _) => format!(
                "SELECT * FROM {schema}.apply_credit_purchase($1, $2, $3, stripe_session_id => $4,
                     amount_minor => $5, currency => $6)"
            ),
            (Kind::Spend, _) => format!("SELECT * FROM {schema}.spend_credits($1, $2, $3)"),
            // In the places where the other answers have them: whether, what it is, no detail, no entry.
            (Kind::Resolve, _) => {
                format!("SELECT found, kind, NULL::text, NULL::bigint FROM {schema}.resolve_billing_user($1)")
            }
            (Kind::Webhook | Kind::Redelivery | Kind::Ignored | Kind::Forged, _) => {
                format!("SELECT * FROM {schema}.process_stripe_webhook($1, $2)")
            }
        }
    }

    /// Prepares it.
    pub async fn prepare(self, client: &Client) -> Result<Vec<Statement>, Failure> {
        let mut prepared = Vec::new();
        for sql in self.sql() {
            prepared.push(client.prepare(&sql).await?);
        }
        Ok(prepared)
    }

    /// Makes the call with fresh arguments, and checks the answer; false if there is nothing left to send.
    pub async fn make(
        self,
        client: &Client,
        prepared: &[Statement],
        world: &World,
        random: &mut Random,
    ) -> Result<bool, Failure> {
        let statement = prepared.first().ok_or("nothing is prepared")?;
        match self.kind {
            Kind::Webhook | Kind::Redelivery | Kind::Ignored | Kind::Forged => {
                let Some((body, header)) = world.bodies.borrow_mut().pop() else { return Ok(false) };
                if self.side == Side::Application {
                    application::deliver(client, prepared, &body, &header).await?;
                    return Ok(true);
                }
                self.send(client, statement, &[&body, &header]).await?;
                let mut sent = world.sent.borrow_mut();
                if (self.kind, self.side) == (Kind::Webhook, Side::Ours) && sent.len() < MAX_REPLAYS {
                    sent.push(body);
                }
            }
            Kind::Replay => {
                let (customer, key, session) = {
                    let applied = world.applied[self.side as usize].borrow();
                    let one = &applied[random.below(applied.len())];
                    (one.customer, one.key.clone(), one.session.clone())
                };
                self.purchase(client, statement, world, (customer, &key, &session), random).await?;
            }
            Kind::Purchase => {
                let customer = world.next(random);
                let (key, session) = (random.uuid().to_string(), random.session());
                self.purchase(client, statement, world, (customer, &key, &session), random).await?;
                let mut applied = world.applied[self.side as usize].borrow_mut();
                if applied.len() < MAX_REPLAYS {
                    applied.push(Applied { customer, key, session });
                }
            }
            Kind::Resolve => {
                let customer = &world.customers[world.next(random)];
                self.send(client, statement, &[&customer.user_id]).await?;
            }
            Kind::Spend => {
                let customer = &world.customers[world.next(random)];
                let key = random.uuid().to_string();
                let fingerprint = random.bytes();
                match self.side {
                    Side::Floor => {
                        let bytes = fingerprint.as_slice();
                        self.send(client, statement, &[&customer.customer_id, &CREDITS, &key, &bytes])
                            .await?;
                    }
                    _ => self.send(client, statement, &[&customer.user_id, &CREDITS, &key]).await?,
                }
            }
        }
        Ok(true)
    }

    async fn purchase(
        self,
        client: &Client,
        statement: &Statement,
        world: &World,
        (customer, key, session): (usize, &str, &str),
        random: &mut Random,
    ) -> Result<(), Failure> {
        let customer = &world.customers[customer];
        let money: [&(dyn ToSql + Sync); 2] = [&AMOUNT_MINOR, &CURRENCY];
        let [amount, currency] = money;
        match (self.side, self.kind) {
            (Side::Floor, Kind::Replay) => self.send(client, statement, &[&key]).await,
            (Side::Floor, _) => {
                let fingerprint = random.bytes();
                let bytes = fingerprint.as_slice();
                let arguments: [&(dyn ToSql + Sync); 7] =
                    [&customer.customer_id, &CREDITS, &key, &session, amount, currency, &bytes];
                self.send(client, statement, &arguments).await
            }
            _ => {
                let arguments: [&(dyn ToSql + Sync); 6] =
                    [&customer.user_id, &CREDITS, &key, &session, amount, currency];
                self.send(client, statement, &arguments).await
            }
        }
    }

    async fn send(
        self,
        client: &Client,
        statement: &Statement,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<(), Failure> {
        let row = client.query_one(statement, arguments).await?;
        let applied: bool = row.try_get(0)?;
        let detail: Option<&str> = row.try_get(2)?;
        let without_entry = self.kind.is_delivery() || self.kind == Kind::Resolve;
        let entry: bool = without_entry || row.try_get::<_, Option<i64>>(3)?.is_some();
        if (applied, detail) == self.kind.expected() && entry {
            return Ok(());
        }
        Err(format!("{self:?} answered applied = {applied}, detail = {detail:?}").into())
    }
}

/// So many applied requests are kept to be sent again.
const MAX_REPLAYS: usize = 5_000;
