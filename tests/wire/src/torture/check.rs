//! What the clients were told, and what their plans come to, compared with what the database holds.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::client::{Record, Sent};
use super::plan::{Facts, PERIOD_CREDITS};
use crate::session::{Admin, Answer};

/// An entry of the ledger.
#[derive(Debug)]
struct Entry {
    id: i64,
    customer: String,
    user: i64,
    credits: i64,
    balance: i64,
    key: String,
    source: String,
    event: String,
    reverses: i64,
    shortfall: i64,
}

/// The ledger, by key and by id.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
    by_id: HashMap<i64, usize>,
    by_source: HashMap<String, Vec<usize>>,
}

impl Ledger {
    /// Reads all of it.
    pub async fn read(admin: &Admin) -> Ledger {
        let sql = "SELECT l.entry_id, l.customer_id::text, coalesce(c.legacy_id, 0), l.credits, l.balance_after,
                          l.idempotency_key COLLATE \"default\", coalesce(l.source_ref, ''), coalesce(l.event, ''),
                          coalesce(l.reverses, 0), coalesce(l.shortfall, 0)
                   FROM billing.ledger l JOIN billing.customers c USING (customer_id) ORDER BY l.entry_id";
        let rows = admin.client().query(sql, &[]).await.expect("the ledger");
        let entries: Vec<Entry> = rows
            .iter()
            .map(|row| Entry {
                id: row.get(0),
                customer: row.get(1),
                user: row.get(2),
                credits: row.get(3),
                balance: row.get(4),
                key: row.get(5),
                source: row.get(6),
                event: row.get(7),
                reverses: row.get(8),
                shortfall: row.get(9),
            })
            .collect();
        let by_key = entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        let by_id = entries.iter().enumerate().map(|(at, entry)| (entry.id, at)).collect();
        let mut by_source: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.source.is_empty()) {
            by_source.entry(entry.source.clone()).or_default().push(at);
        }
        Ledger { entries, by_key, by_id, by_source }
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    fn of_key(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).map(|at| &self.entries[*at])
    }

    fn of_id(&self, id: i64) -> Option<&Entry> {
        self.by_id.get(&id).map(|at| &self.entries[*at])
    }

    fn of_source(&self, source: &str) -> Vec<&Entry> {
        self.by_source.get(source).into_iter().flatten().map(|at| &self.entries[*at]).collect()
    }
}

/// An answer about an entry, whether a call gave it or it is the result of an event.
fn shows(answer: &serde_json::Map<String, Value>, entry: &Entry) -> bool {
    let number = |column: &str| answer.get(column).and_then(Value::as_i64);
    number("entry_id") == Some(entry.id)
        && number("credits") == Some(entry.credits)
        && number("balance") == Some(entry.balance)
        && answer.get("customer_id").and_then(Value::as_str) == Some(&entry.customer)
}

/// The keys that a record is about, with the answer of each.
fn keyed(record: &Record) -> Vec<(String, &Answer)> {
    match &record.sent {
        Sent::Call(call) => match call.function() {
            "apply_credit_batch" => record
                .answers
                .iter()
                .enumerate()
                .map(|(place, answer)| (format!("{}_{place}", record.name), answer))
                .collect(),
            "apply_credit_purchase" | "grant_credits" | "spend_credits" | "reverse_credit_entry" => {
                record.answers.iter().map(|answer| (record.name.clone(), answer)).collect()
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// What was acknowledged and is not there with the same numbers; what was refused and is there all the same; what was
/// called a replay without any attempt before it.
pub fn acknowledged(records: &[Record], facts: &Facts, ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    for record in records {
        for (key, answer) in keyed(record) {
            let entry = ledger.of_key(&key);
            let right = match (answer.reason(), entry) {
                ("applied" | "replay", Some(entry)) => {
                    let asked =
                        facts.asked.get(&key).is_none_or(|asked| *asked == (entry.credits, entry.user));
                    shows(&answer.0, entry) && asked && (answer.reason() == "applied" || record.doubts > 0)
                }
                ("duplicate", None) => {
                    ledger.of_id(answer.int("entry_id")).is_some_and(|entry| shows(&answer.0, entry))
                }
                ("invalid", None) => {
                    ["insufficient_credits", "nothing_to_reverse", "exceeds_entry", "not_reversible"]
                        .contains(&answer.str("detail"))
                }
                _ => false,
            };
            if !right {
                wrong.push(format!("{key}: answered {answer:?}, and there is {entry:?}"));
            }
        }
        if let (Sent::Event { .. }, Some(answer)) = (&record.sent, record.answers.first()) {
            let result = answer.get("result").as_object();
            let told = result.filter(|result| result.get("entry_id").is_some_and(|id| !id.is_null()));
            if let Some(told) = told {
                let entry = told["entry_id"].as_i64().and_then(|id| ledger.of_id(id));
                if !entry.is_some_and(|entry| shows(told, entry)) {
                    wrong.push(format!("{}: answered {answer:?}, and there is {entry:?}", record.name));
                }
            }
            // Somebody's retry, or the link of its code, may have finished it before.
            let known = ["applied", "ignored", "duplicate", "failed", "replay"].contains(&answer.reason());
            if !known || (answer.reason() == "failed" && answer.str("detail") != "unknown_user") {
                wrong.push(format!("{}: answered {answer:?}", record.name));
            }
        }
    }
    wrong
}

/// Of what was acknowledged before a server took over that had not heard of all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Entries and events that were acknowledged, before and after.
    pub acknowledged: usize,
    /// Of those, not there with the same numbers.
    pub lost: usize,
    /// Of those, entries whose id is another entry's now.
    pub ids_given_again: usize,
}

/// Counts what was acknowledged and is not there.
pub async fn lost(records: &[Record], ledger: &Ledger, admin: &Admin) -> Lost {
    let events = admin.texts("SELECT event_id FROM billing.webhook_events").await;
    let events: HashSet<String> = events.into_iter().flatten().collect();
    let mut count = Lost::default();
    for record in records {
        for (key, answer) in keyed(record) {
            if !["applied", "replay"].contains(&answer.reason()) {
                continue;
            }
            count.acknowledged += 1;
            if !ledger.of_key(&key).is_some_and(|entry| shows(&answer.0, entry)) {
                count.lost += 1;
                let other = ledger.of_id(answer.int("entry_id")).is_some_and(|entry| entry.key != key);
                count.ids_given_again += usize::from(other);
            }
        }
        if let (Sent::Event { .. }, Some(answer)) = (&record.sent, record.answers.first()) {
            count.acknowledged += 1;
            count.lost += usize::from(!events.contains(answer.str("event_id")));
        }
    }
    count
}

/// Holds and their ends.
pub async fn holds(records: &[Record], admin: &Admin) -> Vec<String> {
    let rows = admin
        .texts(
            "SELECT concat_ws('|', hold_id, idempotency_key, credits, status, captured_credits) FROM billing.holds",
        )
        .await;
    let rows: HashMap<String, String> = rows
        .into_iter()
        .flatten()
        .filter_map(|row| row.split_once('|').map(|(id, rest)| (id.to_owned(), rest.to_owned())))
        .collect();
    let keys: HashSet<&str> = rows.values().filter_map(|row| row.split('|').next()).collect();
    let mut ended: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for record in records {
        let Sent::Call(call) = &record.sent else { continue };
        let Some(answer) = record.answers.first() else { continue };
        let function = call.function();
        if !["hold_credits", "capture_hold", "release_hold"].contains(&function) {
            continue;
        }
        let happened = ["applied", "replay"].contains(&answer.reason());
        if answer.reason() == "applied" && function != "hold_credits" {
            *ended.entry(answer.str("hold_id").to_owned()).or_default() += 1;
        }
        let row = rows.get(answer.str("hold_id")).map(String::as_str).unwrap_or_default();
        let parts: Vec<&str> = row.split('|').collect();
        let right = match (function, happened) {
            ("hold_credits", true) => {
                parts.len() > 2 && parts[0] == record.name && parts[1] == answer.int("credits").to_string()
            }
            ("hold_credits", false) => {
                answer.why() == "invalid / insufficient_credits" && !keys.contains(record.name.as_str())
            }
            ("capture_hold", true) => {
                parts.len() > 3 && parts[2..] == ["captured", &answer.int("captured_credits").to_string()]
            }
            ("release_hold", true) => parts.len() > 2 && parts[2] == "released",
            _ => ["invalid / hold_ended", "invalid / exceeds_hold"].contains(&answer.why().as_str()),
        };
        if !right {
            wrong.push(format!("{function} {}: answered {answer:?}, and there is {row}", record.name));
        }
    }
    wrong.extend(
        ended
            .iter()
            .filter(|(_, ends)| **ends > 1)
            .map(|(hold, ends)| format!("hold {hold} ended {ends} times")),
    );
    wrong
}

/// Every entry is somebody's doing: a key that was answered `applied` or `replay`, an event that was delivered, a
/// capture that was acknowledged, or credits that ran out.
pub fn explained(records: &[Record], ledger: &Ledger) -> Vec<String> {
    let mut keys: HashSet<String> = HashSet::new();
    let mut events: HashSet<String> = HashSet::new();
    for record in records {
        for (key, answer) in keyed(record) {
            if ["applied", "replay"].contains(&answer.reason()) {
                keys.insert(key);
            }
        }
        match (&record.sent, record.answers.first()) {
            (Sent::Event { provider, .. }, _) => {
                let provider = format!("{provider:?}").to_lowercase();
                events.insert(format!(
                    "{provider}:{}",
                    record.answers.first().map_or("", |answer| answer.str("event_id"))
                ));
            }
            (Sent::Call(call), Some(answer))
                if call.function() == "capture_hold" && answer.reason() != "invalid" =>
            {
                keys.insert(format!("billing_rpc:capture:{}", answer.str("hold_id")));
            }
            _ => {}
        }
    }
    let unexplained = |entry: &&Entry| {
        !(keys.contains(&entry.key) || events.contains(&entry.event) || entry.key.starts_with("billing_rpc:expiry:")
            // A purchase by call whose refund was told before it.
            || entry.key.starts_with("billing_rpc:undo:") && ledger.of_id(entry.reverses).is_some())
    };
    ledger.entries.iter().filter(unexplained).map(|entry| format!("nobody asked for {entry:?}")).collect()
}

/// What all plans come to, compared with the ledger: sales, refunds, invoices, and each customer's sum.
pub async fn facts(records: &[Record], facts: &Facts, ledger: &Ledger, admin: &Admin) -> Vec<String> {
    let mut wrong = Vec::new();
    let once = |source: &str, credits: i64, user: i64| {
        let found = ledger.of_source(source);
        let right = found.len() == 1 && (found[0].credits, found[0].user) == (credits, user);
        (!right).then(|| format!("{source} is to be {credits} of {user}, once: {found:?}"))
    };
    wrong.extend(facts.sales.iter().filter_map(|(source, (credits, user))| once(source, *credits, *user)));
    wrong.extend(facts.invoices.iter().filter_map(|(source, user)| once(source, PERIOD_CREDITS, *user)));

    let mut undone: HashMap<i64, (i64, i64)> = HashMap::new();
    for entry in ledger.entries.iter().filter(|entry| entry.reverses != 0) {
        let sum = undone.entry(entry.reverses).or_default();
        sum.0 -= entry.credits;
        sum.1 += entry.shortfall;
    }
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for (source, payment) in &facts.payments {
        let Some(entry) = ledger.of_source(source).first().copied() else { continue };
        let (credits, shortfall) = undone.get(&entry.id).copied().unwrap_or_default();
        if credits + shortfall != payment.called_for() {
            wrong.push(format!(
                "{source}: {credits} undone and {shortfall} short, {} called for",
                payment.called_for()
            ));
        }
        *sums.entry(entry.user).or_default() -= payment.called_for() - shortfall;
    }
    // What was asked for, as the plan has it; of the answers only whether it happened.
    let mut sold: HashSet<&str> = HashSet::new();
    for record in records {
        for (key, answer) in keyed(record) {
            if !["applied", "replay"].contains(&answer.reason()) {
                continue;
            }
            if let Some(entry) = ledger.of_key(&key).filter(|entry| !entry.source.is_empty()) {
                sold.insert(&entry.source);
            }
            match facts.asked.get(&key) {
                Some((credits, user)) => *sums.entry(*user).or_default() += credits,
                // A reversal: of as much as was answered.
                None => {
                    *sums.entry(ledger.of_key(&key).map_or(0, |entry| entry.user)).or_default() +=
                        answer.int("credits")
                }
            }
        }
    }
    let mut captured: BTreeMap<&str, (&str, i64)> = BTreeMap::new();
    for record in records {
        if let (Sent::Call(call), Some(answer)) = (&record.sent, record.answers.first())
            && call.function() == "capture_hold"
            && ["applied", "replay"].contains(&answer.reason())
        {
            captured
                .insert(answer.str("hold_id"), (answer.str("customer_id"), answer.int("captured_credits")));
        }
    }
    let customers: HashMap<&str, i64> =
        ledger.entries.iter().map(|entry| (entry.customer.as_str(), entry.user)).collect();
    for (customer, credits) in captured.values() {
        *sums.entry(customers.get(customer).copied().unwrap_or_default()).or_default() -= credits;
    }
    let sales = facts.sales.iter().filter(|(source, _)| !sold.contains(source.as_str()));
    for (_, (credits, user)) in sales {
        *sums.entry(*user).or_default() += credits;
    }
    for user in facts.invoices.values() {
        *sums.entry(*user).or_default() += PERIOD_CREDITS;
    }
    // When credits ran out is the server's to say.
    for entry in ledger.entries.iter().filter(|entry| entry.key.starts_with("billing_rpc:expiry:")) {
        *sums.entry(entry.user).or_default() += entry.credits;
    }
    let balances = admin
        .texts("SELECT c.legacy_id || ' ' || b.balance FROM billing.balances b JOIN billing.customers c USING (customer_id)")
        .await;
    for row in balances.iter().flatten() {
        let (user, balance) = row.split_once(' ').expect("two columns");
        let expected = user.parse().ok().and_then(|user: i64| sums.remove(&user)).unwrap_or_default();
        if balance != expected.to_string() {
            wrong.push(format!("customer {user} has {balance}, and what was answered comes to {expected}"));
        }
    }
    wrong.extend(
        sums.iter()
            .filter(|(_, sum)| **sum != 0)
            .map(|(user, sum)| format!("customer {user} has nothing, and is to have {sum}")),
    );
    wrong
}

/// Subscriptions, payments, links and claims.
pub async fn others(facts: &Facts, claims: &BTreeMap<String, (u32, u32)>, admin: &Admin) -> Vec<String> {
    let mut wrong = Vec::new();
    let table = |sql: &'static str| async move {
        let rows = admin.texts(sql).await;
        let split = |row: &String| row.split_once(' ').map(|(key, rest)| (key.to_owned(), rest.to_owned()));
        rows.iter().flatten().filter_map(split).collect::<HashMap<String, String>>()
    };
    let mut compare = |what: &str, found: &HashMap<String, String>, key: &str, expected: String| {
        let found = found.get(key);
        if found != Some(&expected) {
            wrong.push(format!("{what} {key} is to be {expected}: {found:?}"));
        }
    };
    let subscriptions = table(
        "SELECT s.subscription_id || ' ' || concat_ws(' ', s.status, c.legacy_id)
         FROM billing.subscriptions s LEFT JOIN billing.customers c USING (customer_id)",
    )
    .await;
    for (subscription, status) in &facts.subscriptions {
        let user = facts.codes[&format!("cus_{subscription}")];
        compare("subscription", &subscriptions, subscription, format!("{status} {user}"));
    }
    let codes = table(
        "SELECT code || ' ' || c.legacy_id FROM billing.customer_aliases JOIN billing.customers c USING (customer_id)
         UNION ALL SELECT stripe_customer_id || ' ' || legacy_id FROM billing.customers",
    )
    .await;
    for (code, user) in &facts.codes {
        compare("code", &codes, code, user.to_string());
    }
    let payments = table(
        "SELECT p.reference || ' ' || concat_ws(' ', p.status, c.legacy_id,
             (SELECT count(*) FROM billing.branch_subscriptions b WHERE b.payment_id = p.payment_id) = cardinality(p.branch_ids))
         FROM billing.payments p JOIN billing.customers c USING (customer_id)",
    )
    .await;
    for (reference, user) in &facts.started {
        compare("payment", &payments, reference, format!("success {user} t"));
    }
    // Each payment of a customer prolongs: no two end alike, and as many months are paid as payments were made.
    let lost = admin
        .texts(
            "SELECT concat_ws(' ', 'customer', c.legacy_id, 'paid', count(*), 'months, and ends are', count(DISTINCT p.subscription_end))
             FROM billing.payments p JOIN billing.customers c USING (customer_id) WHERE p.status = 'success'
             GROUP BY c.legacy_id HAVING count(*) <> count(DISTINCT p.subscription_end)",
        )
        .await;
    wrong.extend(lost.into_iter().flatten());
    let events = table("SELECT event_id || ' ' || status || ' ' || attempts FROM billing.webhook_events WHERE event_type = 'wire.test'").await;
    for (event, (granted, doubted)) in claims {
        let row = events.get(event).and_then(|row| row.split_once(' '));
        let attempts = row.and_then(|(_, attempts)| attempts.parse::<u32>().ok()).unwrap_or_default();
        let right = row.is_some_and(|(status, _)| status == "completed")
            && (*granted..=granted + doubted).contains(&attempts);
        if !right {
            wrong.push(format!("claim {event}: {granted} granted, {doubted} in doubt: {row:?}"));
        }
    }
    wrong
}
