//! Random histories, in SQL and in the reference model side by side: after every step the outcome, the
//! balances, the lots, the holds and the new entries are the same. What differs is cut down to a short
//! script.
//!
//! The clock is moved on by moving the stored times back. The model's time is what it was moved by, and
//! stands still between; expiries lie on half hours and it moves by whole hours, so that the minutes which
//! really pass decide nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use billing_core::credits::model::{Answer as Told, Books, Call as Asked, Hold, Money, Order, Place, Shows};
use billing_core::outcome::{Detail, Reason};
use billing_wire::cluster::{Cluster, Database};
use billing_wire::session::{Admin, Answer, Call, Session};
use billing_wire::{Tested, figure, iso, random, run, seed, sized};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};
use tokio_postgres::Statement;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("ledger_model::sql_and_model_agree", || run(sql_and_model_agree()));
    add("ledger_model::a_failing_history_is_cut_down", || run(a_failing_history_is_cut_down()));
}

const HOUR: i64 = 3_600;
const TYPES: [&str; 2] = ["credits", "tokens"];
const STEPS_OF_A_CASE: usize = 250;
/// Then a new database, so that tables stay small.
const CASES_OF_A_DATABASE: usize = 20;

type Same = Result<(), String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Purchase,
    Grant,
    Spend,
    Hold,
}

/// Entries and holds are named by their keys, so that a step means the same when others are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum EntryName {
    Null,
    Nobodys(i64),
    Key(String),
    /// Of the capture of the hold with that key.
    Capture(String),
    /// The write-off of that number.
    Expiry(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HoldName {
    Null,
    Nobodys,
    Key(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    Order(Kind, Order),
    /// What cannot be read, and why.
    Unreadable(String, Detail),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Order(Kind, Order),
    Reverse {
        entry: EntryName,
        key: Option<String>,
        credits: Option<i64>,
    },
    Capture {
        hold: HoldName,
        credits: Option<i64>,
    },
    Release {
        hold: HoldName,
    },
    Batch(Vec<Operation>),
    Advance {
        hours: i64,
    },
    /// With the smallest limit again and again, or with none.
    Expire {
        bit_by_bit: bool,
    },
    BalanceAt {
        user: String,
        credit_type: String,
        at: i64,
    },
}

/// One database, connected and prepared.
struct Bench {
    admin: Admin,
    client: Session,
    books: Statement,
    shift: Statement,
}

/// What SQL holds of a case: balances as told and as stored, lots, holds, entries after a number.
const BOOKS: &str = "SELECT jsonb_build_object(
    'told', (SELECT jsonb_agg(jsonb_build_array(u, t, b.customer_id, b.balance, b.held, b.available,
                 extract(epoch FROM b.next_expiry_at)::bigint, b.next_expiry_credits) ORDER BY u, t)
             FROM unnest($1::text[]) u, unnest($2::text[]) t, public.credit_balance(u, t) b),
    'stored', (SELECT coalesce(jsonb_agg(jsonb_build_array(c.legacy_id::text, b.credit_type, b.balance, b.held,
                   b.in_lots) ORDER BY c.legacy_id::text, b.credit_type), '[]')
               FROM billing.customers c JOIN billing.balances b USING (customer_id)
               WHERE c.legacy_id = ANY ($1::text[]::bigint[])),
    'lots', (SELECT coalesce(jsonb_agg(jsonb_build_array(l.entry_id, l.priority,
                 extract(epoch FROM l.expires_at)::bigint, l.remaining, l.held) ORDER BY l.lot_id), '[]')
             FROM billing.lots l WHERE l.entry_id > $3),
    'holds', (SELECT coalesce(jsonb_agg(jsonb_build_array(h.idempotency_key, h.status, h.credits,
                  h.captured_credits) ORDER BY n.place), '[]')
              FROM unnest($5::text[]) WITH ORDINALITY n (key, place)
              JOIN billing.holds h ON h.idempotency_key = n.key),
    'entries', (SELECT coalesce(jsonb_agg(jsonb_build_object('entry_id', e.entry_id, 'user', c.legacy_id::text,
                    'credit_type', e.credit_type, 'kind', e.kind, 'credits', e.credits,
                    'balance_after', e.balance_after, 'key', e.idempotency_key, 'source', e.source_ref,
                    'reverses', e.reverses, 'shortfall', e.shortfall,
                    'at', extract(epoch FROM e.created_at)::bigint) ORDER BY e.entry_id), '[]')
                FROM billing.ledger e JOIN billing.customers c USING (customer_id) WHERE e.entry_id > $4)
    )::text";

/// Times go back by so many seconds.
const SHIFT: &str = "WITH by AS (SELECT $1::bigint * interval '1 second' AS by),
    a AS (UPDATE billing.ledger SET created_at = created_at - by FROM by WHERE entry_id > $2),
    b AS (UPDATE billing.lots SET expires_at = expires_at - by FROM by WHERE entry_id > $2 AND expires_at IS NOT NULL),
    c AS (UPDATE billing.holds SET created_at = created_at - by, expires_at = expires_at - by,
              ended_at = ended_at - by FROM by WHERE idempotency_key = ANY ($3))
    UPDATE billing.balances b SET last_entry_at = last_entry_at - by FROM by, billing.customers c
    WHERE c.customer_id = b.customer_id AND c.legacy_id = ANY ($4::text[]::bigint[])";

impl Bench {
    async fn of(database: &Database) -> Bench {
        let admin = database.admin().await;
        // That entries never change is shown elsewhere; here their times have to.
        admin.run("ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only").await;
        let books = admin.client().prepare(BOOKS).await.expect("the books' statement");
        let shift = admin.client().prepare(SHIFT).await.expect("the shift's statement");
        Bench { admin, client: database.application(), books, shift }
    }

    async fn new(cluster: &Arc<Cluster>) -> Bench {
        Bench::of(&cluster.database().await).await
    }
}

/// A history in the making: the model, and which of the server's numbers stand for what in it.
struct Case<'a> {
    bench: &'a mut Bench,
    users: Vec<String>,
    prefix: String,
    model: Books,
    /// The model's clock, in seconds.
    now: i64,
    /// Unix time at which that was zero.
    base: i64,
    /// The last entry before the case.
    first_entry: i64,
    last_entry: i64,
    entry_ids: Vec<i64>,
    hold_ids: Vec<String>,
    customers: HashMap<String, String>,
    script: Vec<String>,
    /// Answers by reason and detail, entries by kind.
    tally: BTreeMap<String, usize>,
}

macro_rules! same {
    ($found:expr, $expected:expr, $($what:tt)+) => {{
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            return Err(format!("{}: {found:?} instead of {expected:?}", format!($($what)+)));
        }
    }};
}

impl<'a> Case<'a> {
    async fn new(bench: &'a mut Bench, number: usize) -> Case<'a> {
        let first_entry = bench.admin.number("SELECT coalesce(max(entry_id), 0) FROM billing.ledger").await;
        let base = bench.admin.number("SELECT extract(epoch FROM clock_timestamp())::bigint").await;
        Case {
            bench,
            users: (1..=4).map(|user| (number * 10 + user).to_string()).collect(),
            prefix: format!("c{number}_"),
            model: Books::default(),
            now: 0,
            base,
            first_entry,
            last_entry: first_entry,
            entry_ids: Vec::new(),
            hold_ids: Vec::new(),
            customers: HashMap::new(),
            script: Vec::new(),
            tally: BTreeMap::new(),
        }
    }

    /// Takes one step on both sides, and compares.
    async fn step(&mut self, step: &Step) -> Same {
        match step {
            Step::Advance { hours } => self.advance(*hours).await?,
            Step::Expire { bit_by_bit } => self.expire(*bit_by_bit).await?,
            Step::BalanceAt { user, credit_type, at } => self.balance_at(user, credit_type, *at).await?,
            Step::Batch(operations) => self.batch(operations).await?,
            _ => self.single(step).await?,
        }
        Ok(())
    }

    async fn single(&mut self, step: &Step) -> Same {
        let (asked, call) = self.translate(step);
        self.script.push(self.sql(step));
        let answers = self.bench.client.try_rows(&call).await.map_err(|error| format!("{error:?}"))?;
        same!(answers.len(), 1, "rows");
        let told = self.model.call(&asked, self.now);
        if let (Reason::Applied, Asked::Hold(_)) = (told.reason, &asked) {
            self.hold_ids.push(answers[0].0["hold_id"].as_str().unwrap_or_default().to_owned());
        }
        self.compare_books().await?;
        self.compare_answer(&answers[0], &told)?;
        *self.tally.entry(answers[0].why()).or_default() += 1;
        Ok(())
    }

    async fn batch(&mut self, operations: &[Operation]) -> Same {
        let call = Call::batch(&self.json(operations));
        self.script.push(self.batch_sql(operations));
        let answers = self.bench.client.try_rows(&call).await.map_err(|error| format!("{error:?}"))?;
        let read = |operation: &Operation| match operation {
            Operation::Order(kind, order) => Ok(asked(*kind, order)),
            Operation::Unreadable(_, detail) => Err(*detail),
        };
        let operations: Vec<_> = operations.iter().map(read).collect();
        let told = self.model.batch(&operations, self.now);
        self.compare_books().await?;
        same!(answers.len(), told.len(), "rows of a batch");
        for (answer, told) in answers.iter().zip(&told) {
            self.compare_answer(answer, told)?;
            *self.tally.entry(answer.why()).or_default() += 1;
        }
        Ok(())
    }

    async fn advance(&mut self, hours: i64) -> Same {
        self.script.push(shift_sql(hours));
        self.now += hours * HOUR;
        let holds: Vec<&str> = self.model.holds.iter().map(|hold| hold.key.as_str()).collect();
        let client = self.bench.admin.client();
        let by = hours * HOUR;
        client
            .execute(&self.bench.shift, &[&by, &self.first_entry, &holds, &self.users])
            .await
            .map_err(|error| format!("{error:?}"))?;
        self.compare_books().await
    }

    async fn expire(&mut self, bit_by_bit: bool) -> Same {
        let limit = if bit_by_bit { 1 } else { 1_000_000 };
        let sql = format!("SELECT billing.expire_credits({limit})");
        self.script.push(format!("{sql};"));
        let mut settled = 0;
        loop {
            let more = self.bench.admin.number(&sql).await;
            settled += more;
            if more == 0 || !bit_by_bit {
                break;
            }
        }
        let expected = i64::try_from(self.model.expire(self.now)).unwrap_or_default();
        same!(settled, expected, "accounts settled");
        self.compare_books().await
    }

    async fn balance_at(&mut self, user: &str, credit_type: &str, at: i64) -> Same {
        let call = Call::of("credit_balance_at")
            .with("user_id", "text", Some(user.to_owned()))
            .with("at", "timestamptz", Some(self.time(at)))
            .with("credit_type", "text", Some(credit_type.to_owned()));
        let late = at - self.now;
        self.script.push(format!(
            "SELECT * FROM public.credit_balance_at('{user}', clock_timestamp() + interval '{late} s', '{credit_type}');"
        ));
        let answers = self.bench.client.try_rows(&call).await.map_err(|error| format!("{error:?}"))?;
        let balance = self.model.balance_at(user, credit_type, at);
        let mut expected = Map::new();
        for column in ["customer_id", "credit_type", "balance"] {
            expected.insert(column.to_owned(), Value::Null);
        }
        for column in ["held", "available", "next_expiry_at", "next_expiry_credits"] {
            expected.insert(column.to_owned(), Value::Null);
        }
        if let Some(balance) = balance {
            expected.insert("customer_id".to_owned(), json!(self.customers.get(user)));
            expected.insert("credit_type".to_owned(), json!(credit_type));
            expected.insert("balance".to_owned(), json!(balance));
        }
        same!(answers, vec![Answer(expected)], "balance at {late} s from now");
        Ok(())
    }

    /// The server's time for one of the model's, as its text.
    fn time(&self, at: i64) -> String {
        match at {
            i64::MIN => "-infinity".to_owned(),
            i64::MAX => "infinity".to_owned(),
            at => iso(self.base + at - self.now),
        }
    }

    fn entry_place(&self, name: &EntryName) -> Option<Place> {
        use billing_core::credits::EntryKind;
        let found = |of: &dyn Fn(usize) -> bool| (0..self.model.entries.len()).find(|place| of(*place));
        let place = match name {
            EntryName::Null => return None,
            EntryName::Nobodys(_) => None,
            EntryName::Key(key) => {
                found(&|place| self.model.entries[place].key.as_deref() == Some(key.as_str()))
            }
            EntryName::Capture(key) => {
                let hold = self.model.holds.iter().position(|hold| hold.key == *key);
                hold.and_then(|hold| found(&|place| self.model.entries[place].hold == Some(hold)))
            }
            EntryName::Expiry(nth) => (0..self.model.entries.len())
                .filter(|place| self.model.entries[*place].kind == EntryKind::Expiry)
                .nth(*nth),
        };
        Some(place.unwrap_or(usize::MAX))
    }

    fn hold_place(&self, name: &HoldName) -> Option<Place> {
        match name {
            HoldName::Null => None,
            HoldName::Nobodys => Some(usize::MAX),
            HoldName::Key(key) => {
                Some(self.model.holds.iter().position(|hold| hold.key == *key).unwrap_or(usize::MAX))
            }
        }
    }

    /// The same step for the model and for the server.
    fn translate(&self, step: &Step) -> (Asked, Call) {
        match step {
            Step::Order(kind, order) => (asked(*kind, order), self.call_of(*kind, order)),
            Step::Reverse { entry, key, credits } => {
                let place = self.entry_place(entry);
                let id = match (entry, place) {
                    (EntryName::Nobodys(id), _) => Some(*id),
                    (_, None) => None,
                    (_, Some(place)) => Some(self.entry_ids.get(place).copied().unwrap_or(-1)),
                };
                let call = Call::of("reverse_credit_entry")
                    .with("entry_id", "bigint", id.map(|id| id.to_string()))
                    .with("idempotency_key", "text", key.clone())
                    .with("credits", "bigint", credits.map(|credits| credits.to_string()));
                (Asked::Reverse { entry: place, key: key.clone(), credits: *credits }, call)
            }
            Step::Capture { hold, credits } => {
                let place = self.hold_place(hold);
                let call = Call::of("capture_hold").with("hold_id", "uuid", self.hold_id(place));
                let call = call.with("credits", "bigint", credits.map(|credits| credits.to_string()));
                (Asked::Capture { hold: place, credits: *credits }, call)
            }
            Step::Release { hold } => {
                let place = self.hold_place(hold);
                let call = Call::of("release_hold").with("hold_id", "uuid", self.hold_id(place));
                (Asked::Release { hold: place }, call)
            }
            other => unreachable!("{other:?} is no single call"),
        }
    }

    fn hold_id(&self, place: Option<Place>) -> Option<String> {
        let nobodys = "ffffffff-ffff-4fff-bfff-ffffffffffff";
        place.map(|place| self.hold_ids.get(place).cloned().unwrap_or(nobodys.to_owned()))
    }

    fn call_of(&self, kind: Kind, order: &Order) -> Call {
        let function = match kind {
            Kind::Purchase => "apply_credit_purchase",
            Kind::Grant => "grant_credits",
            Kind::Spend => "spend_credits",
            Kind::Hold => "hold_credits",
        };
        let parameters = parameters(kind, order, |at| self.time(at));
        parameters.into_iter().fold(Call::of(function), |call, (name, sql_type, value)| {
            call.with(
                name,
                sql_type,
                value.map(|value| match value {
                    Value::String(text) => text,
                    number => number.to_string(),
                }),
            )
        })
    }

    fn json(&self, operations: &[Operation]) -> String {
        let one = |operation: &Operation| match operation {
            Operation::Unreadable(json, _) => json.clone(),
            Operation::Order(kind, order) => {
                let op = match kind {
                    Kind::Purchase => "purchase",
                    Kind::Grant => "grant",
                    _ => "spend",
                };
                let mut object = Map::new();
                object.insert("op".to_owned(), json!(op));
                for (name, _, value) in parameters(*kind, order, |at| self.time(at)) {
                    object.insert(name.to_owned(), json!(value));
                }
                Value::Object(object).to_string()
            }
        };
        format!("[{}]", operations.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    /// The step as a statement that can stand in a script.
    fn sql(&self, step: &Step) -> String {
        let literal = |value: &Option<String>| match value {
            None => "NULL".to_owned(),
            Some(text) => format!("'{}'", text.replace('\'', "''")),
        };
        let number = |value: &Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let hold_sql = |hold: &HoldName| match hold {
            HoldName::Null => "NULL".to_owned(),
            HoldName::Nobodys => "gen_random_uuid()".to_owned(),
            HoldName::Key(key) => {
                format!("(SELECT hold_id FROM billing.holds WHERE idempotency_key = '{key}')")
            }
        };
        let entry_of =
            |key: &str| format!("(SELECT entry_id FROM billing.ledger WHERE idempotency_key = {key})");
        match step {
            Step::Order(kind, order) => {
                let mut call = self.call_of(*kind, order).literal_sql();
                if let Some(at) = order.expires_at
                    && !matches!(at, i64::MIN | i64::MAX)
                {
                    let relative = format!("clock_timestamp() + interval '{} s'", at - self.now);
                    call = call.replace(&format!("'{}'::timestamptz", self.time(at)), &relative);
                }
                format!("{call};")
            }
            Step::Reverse { entry, key, credits } => {
                let entry = match entry {
                    EntryName::Null => "NULL".to_owned(),
                    EntryName::Nobodys(id) => id.to_string(),
                    EntryName::Key(key) => entry_of(&literal(&Some(key.clone()))),
                    EntryName::Capture(key) => entry_of(&format!(
                        "'billing_rpc:capture:' || {}",
                        hold_sql(&HoldName::Key(key.clone()))
                    )),
                    EntryName::Expiry(nth) => format!(
                        "(SELECT entry_id FROM billing.ledger WHERE kind = 'expiry' ORDER BY entry_id OFFSET {nth} LIMIT 1)"
                    ),
                };
                format!(
                    "SELECT * FROM public.reverse_credit_entry({entry}, {}, {});",
                    literal(key),
                    number(credits)
                )
            }
            Step::Capture { hold, credits } => {
                format!("SELECT * FROM public.capture_hold({}, {});", hold_sql(hold), number(credits))
            }
            Step::Release { hold } => format!("SELECT * FROM public.release_hold({});", hold_sql(hold)),
            other => unreachable!("{other:?} is no single call"),
        }
    }

    /// The batch as a statement that can stand in a script: its times are relative to the clock.
    fn batch_sql(&self, operations: &[Operation]) -> String {
        let mut json = self.json(operations).replace('\'', "''").replace('%', "%%");
        let mut times = String::new();
        for operation in operations {
            if let Operation::Order(_, Order { expires_at: Some(at), .. }) = operation
                && !matches!(*at, i64::MIN | i64::MAX)
                && json.contains(&self.time(*at))
            {
                json = json.replacen(&self.time(*at), "%s", 1);
                write!(times, ", clock_timestamp() + interval '{} s'", at - self.now).expect("memory");
            }
        }
        format!("SELECT * FROM public.apply_credit_batch(format('{json}'{times})::jsonb);")
    }

    async fn compare_books(&mut self) -> Same {
        let keys: Vec<&str> = self.model.holds.iter().map(|hold| hold.key.as_str()).collect();
        let types: Vec<&str> = TYPES.to_vec();
        let client = self.bench.admin.client();
        let row = client
            .query_one(&self.bench.books, &[&self.users, &types, &self.first_entry, &self.last_entry, &keys])
            .await
            .map_err(|error| format!("{error:?}"))?;
        let books: Value = serde_json::from_str(row.get(0)).map_err(|error| error.to_string())?;
        self.compare_entries(&books["entries"])?;
        self.compare_balances(&books["told"])?;
        self.compare_stored(&books["stored"])?;
        let lot = |place: usize| {
            let lot = &self.model.lots[place];
            let expires_at = lot.expires_at.map(|at| self.base + at - self.now);
            json!([
                self.entry_ids[lot.entry],
                lot.priority,
                expires_at,
                lot.remaining,
                self.model.lot_held(place)
            ])
        };
        let lots: Vec<Value> = (0..self.model.lots.len()).map(lot).collect();
        same!(
            books["lots"].to_string(),
            Value::Array(lots).to_string(),
            "lots (entry, priority, expiry, remaining, held)"
        );
        let hold = |hold: &Hold| json!([hold.key, hold.written.as_str(), hold.credits, hold.captured]);
        let holds: Vec<Value> = self.model.holds.iter().map(hold).collect();
        same!(
            books["holds"].to_string(),
            Value::Array(holds).to_string(),
            "holds (key, status, credits, captured)"
        );
        Ok(())
    }

    /// New entries, account by account: between accounts the order is free.
    fn compare_entries(&mut self, rows: &Value) -> Same {
        let rows = rows.as_array().cloned().unwrap_or_default();
        let known = self.entry_ids.len();
        self.entry_ids.resize(self.model.entries.len(), 0);
        let mut new: Vec<Place> = (known..self.model.entries.len()).collect();
        for row in &rows {
            let of = |place: &Place| {
                let entry = &self.model.entries[*place];
                row["user"] == json!(entry.user) && row["credit_type"] == json!(entry.credit_type)
            };
            let Some(at) = new.iter().position(of) else { return Err(format!("an entry too many: {row}")) };
            let place = new.remove(at);
            self.entry_ids[place] = row["entry_id"].as_i64().unwrap_or_default();
            self.compare_entry(place, row)?;
            self.last_entry = self.last_entry.max(self.entry_ids[place]);
        }
        match new.first() {
            None => Ok(()),
            Some(place) => Err(format!("an entry is missing: {:?}", self.model.entries[*place])),
        }
    }

    fn compare_entry(&self, place: Place, row: &Value) -> Same {
        let entry = &self.model.entries[place];
        same!(row["kind"], json!(entry.kind.as_str()), "kind of {row}");
        same!(row["credits"], json!(entry.credits), "credits of {row}");
        same!(row["balance_after"], json!(entry.balance_after), "balance_after of {row}");
        same!(row["source"], json!(entry.source), "source of {row}");
        same!(row["shortfall"].as_i64().unwrap_or_default(), entry.shortfall, "shortfall of {row}");
        let reverses = entry.reverses.map(|place| self.entry_ids[place]);
        same!(row["reverses"], json!(reverses), "what {row} reverses");
        match &entry.key {
            Some(key) => same!(row["key"], json!(key), "key of {row}"),
            None => {
                let own = row["key"].as_str().is_some_and(|key| key.starts_with("billing_rpc:"));
                same!(own, true, "the extension's own key in {row}");
            }
        }
        let late = row["at"].as_i64().unwrap_or_default() - (self.base + entry.at - self.now);
        same!((-2..HOUR / 2).contains(&late), true, "time of {row}, late by {late} s");
        Ok(())
    }

    fn compare_balances(&mut self, rows: &Value) -> Same {
        same!(rows.as_array().map_or(0, Vec::len), self.users.len() * TYPES.len(), "balances told");
        for row in rows.as_array().into_iter().flatten() {
            let (Some(user), Some(credit_type)) = (row[0].as_str(), row[1].as_str()) else { continue };
            if let Some(customer) = row[2].as_str() {
                let known = self.customers.entry(user.to_owned()).or_insert_with(|| customer.to_owned());
                same!(customer, known.as_str(), "customer of {user}");
            }
            let nobody = json!([user, credit_type, null, null, null, null, null, null]);
            let expected = self.model.money(user, credit_type, self.now).map_or(nobody, |money| {
                let at = money.next_expiry.map(|(at, _)| self.base + at - self.now);
                let credits = money.next_expiry.map(|(_, credits)| credits);
                let customer = self.customers.get(user);
                let Money { balance, held, available, .. } = money;
                json!([user, credit_type, customer, balance, held, available, at, credits])
            });
            same!(
                row.to_string(),
                expected.to_string(),
                "credit_balance (user, type, customer, balance, held, available, next expiry, its credits)"
            );
        }
        Ok(())
    }

    fn compare_stored(&self, rows: &Value) -> Same {
        let mut expected: Vec<Value> = Vec::new();
        for (user, credit_type) in self.model.accounts() {
            let of = |entry: Place| {
                let entry = &self.model.entries[entry];
                entry.user == user && entry.credit_type == credit_type
            };
            let balance: i64 = (0..self.model.entries.len())
                .filter(|place| of(*place))
                .map(|place| self.model.entries[place].credits)
                .sum();
            let in_lots: i64 =
                self.model.lots.iter().filter(|lot| of(lot.entry)).map(|lot| lot.remaining).sum();
            let held = self.model.held_as_written(&user, &credit_type);
            expected.push(json!([user, credit_type, balance, held, in_lots]));
        }
        same!(
            rows.to_string(),
            Value::Array(expected).to_string(),
            "billing.balances (user, type, balance, held, in_lots)"
        );
        Ok(())
    }

    fn compare_answer(&self, answer: &Answer, told: &Told) -> Same {
        let why = (answer.reason(), answer.get("detail").as_str());
        same!(why, (told.reason.as_str(), told.detail.map(Detail::as_str)), "answer {answer:?}");
        let mut expected = Map::new();
        expected.insert("applied".to_owned(), json!(told.reason == Reason::Applied));
        expected.insert("reason".to_owned(), json!(told.reason.as_str()));
        expected.insert("detail".to_owned(), json!(told.detail.map(Detail::as_str)));
        let mut found = answer.0.clone();
        let time = found.remove("created_at").or_else(|| found.remove("expires_at"));
        same!(time.is_some_and(|time| time.is_string()), told.shows != Shows::Nothing, "time in {answer:?}");
        match told.shows {
            Shows::Nothing => expected.extend(
                found
                    .keys()
                    .filter(|key| !expected.contains_key(*key))
                    .map(|key| (key.clone(), Value::Null))
                    .collect::<Vec<_>>(),
            ),
            Shows::Entry(place) => {
                let entry = &self.model.entries[place];
                expected.insert("entry_id".to_owned(), json!(self.entry_ids[place]));
                expected.insert("customer_id".to_owned(), json!(self.customers.get(&entry.user)));
                expected.insert("credit_type".to_owned(), json!(entry.credit_type));
                expected.insert("credits".to_owned(), json!(entry.credits));
                expected.insert("balance".to_owned(), json!(entry.balance_after));
            }
            Shows::Hold(place) => {
                let hold = &self.model.holds[place];
                let money = self.model.money(&hold.user, &hold.credit_type, self.now);
                expected.insert("hold_id".to_owned(), json!(self.hold_ids.get(place)));
                expected.insert("customer_id".to_owned(), json!(self.customers.get(&hold.user)));
                expected.insert("credit_type".to_owned(), json!(hold.credit_type));
                expected.insert("status".to_owned(), json!(self.model.hold_status(hold, self.now).as_str()));
                expected.insert("credits".to_owned(), json!(hold.credits));
                expected.insert("captured_credits".to_owned(), json!(hold.captured));
                expected.insert("balance".to_owned(), json!(money.map(|money| money.balance)));
                expected.insert("available".to_owned(), json!(money.map(|money| money.available)));
            }
        }
        same!(Answer(found), Answer(expected), "outcome");
        Ok(())
    }

    /// Everything that can run out does, so that nothing of this case is due in the next; then the history.
    async fn end(&mut self) -> Same {
        self.step(&Step::Advance { hours: 100_000 }).await?;
        self.step(&Step::Expire { bit_by_bit: false }).await?;
        for user in self.users.clone() {
            for credit_type in TYPES {
                self.compare_history(&user, credit_type).await?;
            }
        }
        let wrong = self
            .bench
            .admin
            .texts(&format!(
                "SELECT e.entry_id::text FROM billing.ledger e JOIN billing.customers c USING (customer_id)
                 WHERE e.entry_id > {} AND e.entry_id % 5 = 0
                     AND (public.credit_balance_at(c.legacy_id::text, e.created_at, e.credit_type)).balance
                         IS DISTINCT FROM (
                         SELECT l.balance_after FROM billing.ledger l
                         WHERE l.customer_id = e.customer_id AND l.credit_type = e.credit_type
                             AND l.created_at <= e.created_at ORDER BY l.entry_id DESC LIMIT 1)",
                self.first_entry
            ))
            .await;
        same!(wrong, Vec::new(), "credit_balance_at the very time of entries");
        Ok(())
    }

    /// The whole history, in small pages.
    async fn compare_history(&mut self, user: &str, credit_type: &str) -> Same {
        let mut told = Vec::new();
        let mut before: Option<i64> = None;
        loop {
            let call = Call::history(user)
                .with("credit_type", "text", Some(credit_type.to_owned()))
                .with("max_rows", "int", Some("37".to_owned()))
                .with("before_entry_id", "bigint", before.map(|id| id.to_string()));
            let page = self.bench.client.try_rows(&call).await.map_err(|error| format!("{error:?}"))?;
            let Some(last) = page.last() else { break };
            before = Some(last.int("entry_id"));
            told.extend(page.into_iter().map(|entry| {
                json!([
                    entry.get("entry_id"),
                    entry.get("kind"),
                    entry.get("credits"),
                    entry.get("balance"),
                    entry.get("reverses"),
                    entry.get("source_ref"),
                ])
            }));
        }
        let expected: Vec<Value> = (0..self.model.entries.len())
            .rev()
            .filter(|place| {
                let entry = &self.model.entries[*place];
                entry.user == user && entry.credit_type == credit_type
            })
            .map(|place| {
                let entry = &self.model.entries[place];
                let reverses = entry.reverses.map(|place| self.entry_ids[place]);
                json!([
                    self.entry_ids[place],
                    entry.kind.as_str(),
                    entry.credits,
                    entry.balance_after,
                    reverses,
                    entry.source
                ])
            })
            .collect();
        same!(told, expected, "history of {user} {credit_type}");
        Ok(())
    }
}

fn asked(kind: Kind, order: &Order) -> Asked {
    match kind {
        Kind::Purchase => Asked::Purchase(order.clone()),
        Kind::Grant => Asked::Grant(order.clone()),
        Kind::Spend => Asked::Spend(order.clone()),
        Kind::Hold => Asked::Hold(order.clone()),
    }
}

/// The parameters of a function, with their types; those that are null are given as null.
fn parameters(
    kind: Kind,
    order: &Order,
    time: impl Fn(i64) -> String,
) -> Vec<(&'static str, &'static str, Option<Value>)> {
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let mut parameters = vec![
        ("user_id", "text", text(&order.user)),
        ("credits", "bigint", order.credits.map(Value::from)),
        ("idempotency_key", "text", text(&order.key)),
        ("credit_type", "text", text(&order.credit_type)),
    ];
    let expires_at = ("expires_at", "timestamptz", order.expires_at.map(|at| Value::from(time(at))));
    match kind {
        Kind::Purchase => parameters.extend([
            ("stripe_session_id", "text", text(&order.session_id)),
            ("source_ref", "text", text(&order.source_ref)),
            ("amount_minor", "bigint", order.amount_minor.map(Value::from)),
            ("currency", "text", text(&order.currency)),
            expires_at,
        ]),
        Kind::Grant => parameters.extend([expires_at, ("priority", "int", order.priority.map(Value::from))]),
        Kind::Spend => {}
        Kind::Hold => parameters.push(("ttl_seconds", "int", order.ttl_seconds.map(Value::from))),
    }
    parameters
}

fn shift_sql(hours: i64) -> String {
    let by = format!("interval '{hours} hours'");
    format!(
        "UPDATE billing.ledger SET created_at = created_at - {by};
UPDATE billing.lots SET expires_at = expires_at - {by};
UPDATE billing.holds SET created_at = created_at - {by}, expires_at = expires_at - {by};
UPDATE billing.balances SET last_entry_at = last_entry_at - {by};"
    )
}

/// Draws steps; what it knows of the state only makes them more interesting.
struct Drawing<'a> {
    random: &'a mut StdRng,
    done: &'a [Step],
    number: usize,
}

impl Drawing<'_> {
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn step(&mut self, case: &Case) -> Step {
        match self.random.random_range(0..100) {
            0..20 => self.order(case, Kind::Grant),
            20..31 => self.order(case, Kind::Purchase),
            31..51 => self.order(case, Kind::Spend),
            51..62 => self.order(case, Kind::Hold),
            62..69 => Step::Capture { hold: self.hold(case), credits: self.part(case) },
            69..73 => Step::Release { hold: self.hold(case) },
            73..83 => Step::Reverse {
                entry: self.entry(case),
                key: self.key(case),
                credits: if self.one_in(2) { None } else { self.credits(20) },
            },
            83..86 => Step::Batch(self.operations(case)),
            86..91 => self.again().unwrap_or(Step::Advance { hours: 1 }),
            91..97 => {
                let most = if self.one_in(8) { 100 } else { 8 };
                Step::Advance { hours: self.random.random_range(1..=most) }
            }
            97 => Step::Expire { bit_by_bit: self.one_in(2) },
            _ => {
                let user = self.user(case).unwrap_or_default();
                let at = case.now - HOUR / 2 - HOUR * self.random.random_range(-1..40);
                let credit_type = TYPES.choose(self.random).copied().unwrap_or_default().to_owned();
                Step::BalanceAt { user: user.replace('\'', ""), credit_type, at }
            }
        }
    }

    /// Any earlier call, word for word.
    fn again(&mut self) -> Option<Step> {
        let recent = self.done.len().saturating_sub(60);
        let calls: Vec<&Step> = self.done[recent..]
            .iter()
            .filter(|step| {
                !matches!(step, Step::Advance { .. } | Step::Expire { .. } | Step::BalanceAt { .. })
            })
            .collect();
        calls.choose(self.random).map(|step| (*step).clone())
    }

    fn order(&mut self, case: &Case, kind: Kind) -> Step {
        Step::Order(kind, self.arguments(case, kind))
    }

    fn arguments(&mut self, case: &Case, kind: Kind) -> Order {
        let mut order = Order { user: self.user(case), key: self.key(case), ..Order::default() };
        order.credit_type = self.credit_type();
        let (user, credit_type) =
            (order.user.clone().unwrap_or_default(), order.credit_type.as_deref().unwrap_or("credits"));
        let money = case.model.money(&user, credit_type, case.now);
        order.credits = match (kind, money, self.random.random_range(0..100)) {
            (Kind::Spend | Kind::Hold, Some(money), 0..12) => Some(money.available),
            (Kind::Spend | Kind::Hold, Some(money), 12..18) => Some(money.available + 1),
            (Kind::Spend | Kind::Hold, Some(money), 18..30) => Some(money.available / 2),
            (Kind::Grant | Kind::Purchase, Some(money), 0) => Some(i64::MAX - money.balance),
            (Kind::Grant | Kind::Purchase, Some(money), 1) if money.balance > 0 => {
                Some(i64::MAX - money.balance + 1)
            }
            _ => self.credits(60),
        };
        match kind {
            Kind::Purchase => {
                self.money(&mut order);
                self.source(case, &mut order);
                order.expires_at = self.expiry(case, 3);
            }
            Kind::Grant => {
                order.expires_at = self.expiry(case, 2);
                order.priority = match self.random.random_range(0..20) {
                    0 => Some(i32::MIN),
                    1 => Some(i32::MAX),
                    2..8 => Some(self.random.random_range(-2..=2)),
                    8..14 => Some(0),
                    _ => None,
                };
            }
            Kind::Spend => {}
            Kind::Hold => {
                order.ttl_seconds = match self.random.random_range(0..40) {
                    0 => Some(0),
                    1 => Some(i32::MAX),
                    2 => Some(-1),
                    3 => Some(31_622_400),
                    4 => Some(31_622_401),
                    5..12 => None,
                    _ => Some(1_800 + 3_600 * self.random.random_range(0..30)),
                };
            }
        }
        order
    }

    fn user(&mut self, case: &Case) -> Option<String> {
        if self.one_in(40) {
            let bad =
                [None, Some(""), Some(" "), Some("null"), Some("what is it"), Some("cus_nobody"), Some("0")];
            return bad.choose(self.random).copied().flatten().map(str::to_owned);
        }
        let user = if self.one_in(30) { 3 } else { self.random.random_range(0..3) };
        case.users.get(user).cloned()
    }

    fn key(&mut self, case: &Case) -> Option<String> {
        self.number += 1;
        let new = format!("{}{}_{}", case.prefix, case.script.len(), self.number);
        match self.random.random_range(0..100) {
            0 => None,
            1 => {
                let bad = ["", "\t ", "billing_rpc:mine"].map(str::to_owned);
                bad.choose(self.random).cloned()
            }
            2 => Some(format!("{new}{}", "x".repeat(256 - new.len()))),
            3 => Some(format!("{new}{}", "x".repeat(255 - new.len()))),
            4..8 => {
                let keys: Vec<&String> =
                    case.model.entries.iter().filter_map(|entry| entry.key.as_ref()).collect();
                keys.choose(self.random).map_or(Some(new), |key| Some((*key).clone()))
            }
            8..10 => case.model.holds.choose(self.random).map_or(Some(new), |hold| Some(hold.key.clone())),
            _ => Some(new),
        }
    }

    fn credits(&mut self, most: i64) -> Option<i64> {
        match self.random.random_range(0..100) {
            0 => None,
            1 => Some(0),
            2 => Some(-self.random.random_range(1..5)),
            3 => [i64::MIN, i64::MAX].choose(self.random).copied(),
            _ => Some(self.random.random_range(1..=most)),
        }
    }

    fn credit_type(&mut self) -> Option<String> {
        match self.random.random_range(0..100) {
            0 => Some(String::new()),
            1 => Some("t".repeat(64)),
            2..40 => None,
            40..70 => Some("credits".to_owned()),
            _ => Some("tokens".to_owned()),
        }
    }

    fn expiry(&mut self, case: &Case, often: u32) -> Option<i64> {
        if self.one_in(60) {
            return [i64::MIN, i64::MAX].choose(self.random).copied();
        }
        self.one_in(often).then(|| case.now + HOUR / 2 + HOUR * self.random.random_range(-2..30))
    }

    fn money(&mut self, order: &mut Order) {
        let (amount, currency) = match self.random.random_range(0..20) {
            0 => (Some(-1), Some("usd")),
            1 => (Some(100), None),
            2 => (None, Some("usd")),
            3 => (Some(100), Some("us")),
            4..8 => (Some(self.random.random_range(0..300)), Some("USD")),
            8..12 => (Some(i64::MAX), Some("eur")),
            _ => (None, None),
        };
        order.amount_minor = amount;
        order.currency = currency.map(str::to_owned);
    }

    fn source(&mut self, case: &Case, order: &mut Order) {
        let id = format!("{}{}", case.prefix, self.random.random_range(0..30));
        match self.random.random_range(0..20) {
            0..3 => order.session_id = Some(format!("cs_{id}")),
            3..5 => order.source_ref = Some(format!("stripe:cs_{id}")),
            5..7 => order.source_ref = Some(format!("stripe:pi_{id}")),
            7..9 => order.source_ref = Some(format!("paystack:{id}")),
            9 => {
                order.session_id = Some(format!("cs_{id}"));
                order.source_ref = Some(format!("stripe:cs_{id}"));
            }
            10 => {
                order.session_id = Some(format!("cs_{id}"));
                order.source_ref = Some(format!("paystack:{id}"));
            }
            11 => order.session_id = Some("pi_1".to_owned()),
            12 => order.source_ref = Some("stripe:in_1".to_owned()),
            _ => {}
        }
    }

    fn hold(&mut self, case: &Case) -> HoldName {
        if self.one_in(30) {
            return if self.one_in(2) { HoldName::Null } else { HoldName::Nobodys };
        }
        let recent = case.model.holds.len().saturating_sub(8);
        case.model.holds[recent..]
            .choose(self.random)
            .map_or(HoldName::Nobodys, |hold| HoldName::Key(hold.key.clone()))
    }

    fn part(&mut self, case: &Case) -> Option<i64> {
        match self.random.random_range(0..10) {
            0..4 => None,
            4..6 => case.model.holds.last().map(|hold| hold.credits),
            _ => self.credits(20),
        }
    }

    fn entry(&mut self, case: &Case) -> EntryName {
        use billing_core::credits::EntryKind;
        if self.one_in(30) {
            let none = [0, -1, i64::MIN, i64::MAX].map(EntryName::Nobodys);
            return none.choose(self.random).cloned().unwrap_or(EntryName::Null);
        }
        if self.one_in(8) {
            let captured: Vec<_> = case.model.holds.iter().filter(|hold| hold.captured.is_some()).collect();
            if let Some(hold) = captured.choose(self.random) {
                return EntryName::Capture(hold.key.clone());
            }
        }
        let recent = case.model.entries.len().saturating_sub(40);
        let Some(place) = (recent..case.model.entries.len()).collect::<Vec<_>>().choose(self.random).copied()
        else {
            return EntryName::Null;
        };
        let entry = &case.model.entries[place];
        match (&entry.key, entry.kind) {
            (Some(key), _) => EntryName::Key(key.clone()),
            (None, EntryKind::Expiry) => EntryName::Expiry(
                case.model.entries[..place].iter().filter(|entry| entry.kind == EntryKind::Expiry).count(),
            ),
            _ => EntryName::Null,
        }
    }

    fn operations(&mut self, case: &Case) -> Vec<Operation> {
        let mut operations: Vec<Operation> = Vec::new();
        for _ in 0..self.random.random_range(0..8) {
            let again = self.one_in(8).then(|| operations.choose(self.random).cloned()).flatten();
            operations.push(again.unwrap_or_else(|| self.operation(case)));
        }
        operations
    }

    fn operation(&mut self, case: &Case) -> Operation {
        if self.one_in(12) {
            use Detail::*;
            let unreadable = [
                ("null", OperationMalformed),
                ("7", OperationMalformed),
                ("{}", OperationMalformed),
                (r#"{"op": null}"#, OperationMalformed),
                (r#"{"op": "hold"}"#, UnknownOperation),
                (r#"{"op": "spend", "priority": 1}"#, UnknownParameter),
                (r#"{"op": "spend", "ttl_seconds": 1}"#, UnknownParameter),
                (r#"{"op": "grant", "credits": "5"}"#, ParameterTypeMismatch),
                (r#"{"op": "grant", "user_id": 5}"#, ParameterTypeMismatch),
                (r#"{"op": "grant", "credits": 1e30}"#, ParameterTypeMismatch),
            ];
            let (json, detail) =
                unreadable.choose(self.random).copied().unwrap_or(("null", OperationMalformed));
            return Operation::Unreadable(json.to_owned(), detail);
        }
        let kind = [Kind::Purchase, Kind::Grant, Kind::Spend].choose(self.random).copied();
        let kind = kind.unwrap_or(Kind::Spend);
        Operation::Order(kind, self.arguments(case, kind))
    }
}

/// What a failing history comes to.
struct Failure {
    steps: Vec<Step>,
    why: String,
}

/// One random history.
async fn history(bench: &mut Bench, number: usize) -> Result<BTreeMap<String, usize>, Failure> {
    let mut random = random(0x1ed6 + number as u64);
    let mut case = Case::new(bench, number).await;
    let mut done: Vec<Step> = Vec::new();
    for number in 0..STEPS_OF_A_CASE {
        let step = Drawing { random: &mut random, done: &done, number: number * 100 }.step(&case);
        done.push(step.clone());
        if let Err(why) = case.step(&step).await {
            return Err(Failure { steps: done, why });
        }
    }
    if let Err(why) = case.end().await {
        return Err(Failure { steps: done, why });
    }
    for entry in &case.model.entries {
        let short = if entry.shortfall > 0 { " with a shortfall" } else { "" };
        *case.tally.entry(format!("{}{short}", entry.kind.as_str())).or_default() += 1;
    }
    Ok(case.tally)
}

/// The same steps in a database of their own: what differs, and the statements up to there.
async fn again(cluster: &Arc<Cluster>, number: usize, steps: &[Step]) -> Option<(String, Vec<String>)> {
    let mut bench = Bench::new(cluster).await;
    let mut case = Case::new(&mut bench, number).await;
    for step in steps {
        if let Err(why) = case.step(step).await {
            return Some((why, case.script));
        }
    }
    match case.end().await {
        Ok(()) => None,
        Err(why) => Some((why, case.script)),
    }
}

/// Leaves out what can be left out: halves, then smaller pieces, then single operations of batches; and
/// moves the clock once instead of several times.
async fn cut_down<F>(mut steps: Vec<Step>, fails: impl Fn(Vec<Step>) -> F) -> Vec<Step>
where
    F: Future<Output = bool>,
{
    let mut piece = steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = steps.len();
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + piece).min(steps.len()));
            if fails(fewer.clone()).await {
                steps = fewer;
            } else {
                at += piece;
            }
        }
        if piece > 1 {
            piece = piece.div_ceil(2);
        } else if steps.len() == before {
            break;
        }
    }
    let mut place = 0;
    while place + 1 < steps.len() {
        let mut fewer = steps.clone();
        if let [Step::Advance { hours: one }, Step::Advance { hours: two }] = steps[place..place + 2] {
            fewer.splice(place..place + 2, [Step::Advance { hours: one + two }]);
            if fails(fewer.clone()).await {
                steps = fewer;
                continue;
            }
        }
        place += 1;
    }
    for place in 0..steps.len() {
        let mut at = 0;
        while let Step::Batch(operations) = &steps[place]
            && at < operations.len()
        {
            let mut operations = operations.clone();
            operations.remove(at);
            let mut fewer = steps.clone();
            fewer[place] = Step::Batch(operations);
            if fails(fewer.clone()).await {
                steps = fewer;
            } else {
                at += 1;
            }
        }
    }
    steps
}

async fn report(cluster: &Arc<Cluster>, number: usize, failure: Failure) -> String {
    let length = failure.steps.len();
    let steps = cut_down(failure.steps, async |steps| again(cluster, number, &steps).await.is_some()).await;
    let seed = seed();
    match again(cluster, number, &steps).await {
        None => format!("seed {seed}, case {number}: {} (not again in a database of its own)", failure.why),
        Some((why, script)) => format!(
            "seed {seed}, case {number}, {length} steps cut down to {}: {why}\n\
             ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only;\n{}\n-- {why}",
            steps.len(),
            script.join("\n")
        ),
    }
}

async fn sql_and_model_agree() {
    let cluster = Cluster::shared();
    let cases = sized(6, 800);
    let workers = 2;
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            let mut tally = BTreeMap::new();
            let mine: Vec<usize> = (worker..cases).step_by(workers).collect();
            for some in mine.chunks(CASES_OF_A_DATABASE) {
                let mut bench = Bench::new(&cluster).await;
                for number in some {
                    match history(&mut bench, *number + 1).await {
                        Ok(more) => join(&mut tally, more),
                        Err(failure) => panic!("{}", report(&cluster, *number + 1, failure).await),
                    }
                }
                let problems = bench.admin.texts("SELECT to_jsonb(p)::text FROM billing.reconcile() p").await;
                assert!(problems.is_empty(), "seed {}, cases {some:?}: {problems:?}", seed());
            }
            tally
        });
    }
    let mut tally = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        join(&mut tally, done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let steps = cases * STEPS_OF_A_CASE;
    figure(|| format!("{steps} steps in {cases} histories, {:.0} steps/s", steps as f64 / seconds));
    figure(|| format!("{tally:?}"));
    // A sample that shows nothing proves nothing.
    for often in [
        "applied",
        "replay",
        "duplicate / already_credited",
        "invalid / insufficient_credits",
        "invalid / idempotency_key_reused",
        "invalid / hold_ended",
        "invalid / exceeds_entry",
        "invalid / not_reversible",
        "expiry",
        "capture",
        "reversal",
        "reversal with a shortfall",
    ] {
        assert!(tally.contains_key(often), "seed {}: no {often} in {tally:?}", seed());
    }
}

fn join(tally: &mut BTreeMap<String, usize>, more: BTreeMap<String, usize>) {
    for (what, count) in more {
        *tally.entry(what).or_default() += count;
    }
}

/// The cutting down itself, with a server that is right and an expectation that is not.
async fn a_failing_history_is_cut_down() {
    let wrong = |steps: &[Step]| {
        let spent = steps.iter().any(|step| matches!(step, Step::Order(Kind::Spend, _)));
        let granted = |operation: &Operation| matches!(operation, Operation::Order(Kind::Grant, _));
        spent && steps.iter().any(|step| matches!(step, Step::Batch(all) if all.iter().any(granted)))
    };
    let order = |kind| Operation::Order(kind, Order::default());
    let mut steps = vec![Step::Advance { hours: 1 }; 40];
    steps[7] = Step::Batch(vec![order(Kind::Spend), order(Kind::Grant), order(Kind::Purchase)]);
    steps[21] = Step::Order(Kind::Spend, Order::default());
    steps[33] = Step::Order(Kind::Spend, Order::default());
    let short = cut_down(steps, async |steps| wrong(&steps)).await;
    assert_eq!(
        short,
        [Step::Batch(vec![order(Kind::Grant)]), Step::Order(Kind::Spend, Order::default())],
        "one batch of one operation, and one spend"
    );
    for (unix, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_798_761_599, "2026-12-31T23:59:59Z"),
        (-1, "1969-12-31T23:59:59Z"),
    ] {
        assert_eq!(iso(unix), text);
    }
}
