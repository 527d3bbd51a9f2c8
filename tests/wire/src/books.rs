//! The books that a test keeps itself, to compare with what the server says and holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use crate::session::{Admin, Answer};

/// Every answer to the messages of a test. A fact is what must happen once; a message is one call or one
/// event about it, sent any number of times.
#[derive(Debug, Default)]
pub struct Books {
    facts: BTreeMap<String, Fact>,
    messages: BTreeMap<String, Message>,
    /// Answers by reason and detail.
    pub tally: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Fact {
    applied: Vec<String>,
    entries: BTreeSet<i64>,
    credits: BTreeSet<i64>,
}

#[derive(Debug, Default)]
struct Message {
    fact: String,
    originals: Vec<Map<String, Value>>,
    replays: Vec<Map<String, Value>>,
}

impl Books {
    /// Writes down an answer.
    pub fn note(&mut self, fact: &str, message: &str, answer: &Answer) {
        *self.tally.entry(answer.why()).or_default() += 1;
        let book = self.facts.entry(fact.to_owned()).or_default();
        if answer.reason() == "applied" {
            book.applied.push(message.to_owned());
        }
        let result = answer.0.get("result").and_then(Value::as_object);
        let entry = answer.0.get("entry_id").or_else(|| result?.get("entry_id"));
        book.entries.extend(entry.and_then(Value::as_i64));
        let credits = answer.0.get("credits").or_else(|| result?.get("credits"));
        book.credits.extend(credits.and_then(Value::as_i64));
        let page = self.messages.entry(message.to_owned()).or_default();
        page.fact = fact.to_owned();
        let is_event = answer.0.contains_key("event_id");
        match answer.reason() {
            "applied" => page.originals.push(answer.numbers()),
            // A delivery that proves to be a duplicate is completed, so that it is an original too.
            "duplicate" if is_event && answer.str("status") == "completed" => {
                page.originals.push(answer.numbers());
            }
            "replay" => page.replays.push(answer.numbers()),
            _ => {}
        }
    }

    /// Joins what another client wrote down.
    pub fn join(&mut self, other: Books) {
        for (fact, theirs) in other.facts {
            let ours = self.facts.entry(fact).or_default();
            ours.applied.extend(theirs.applied);
            ours.entries.extend(theirs.entries);
            ours.credits.extend(theirs.credits);
        }
        for (message, theirs) in other.messages {
            let ours = self.messages.entry(message).or_default();
            ours.fact = theirs.fact;
            ours.originals.extend(theirs.originals);
            ours.replays.extend(theirs.replays);
        }
        for (why, count) in other.tally {
            *self.tally.entry(why).or_default() += count;
        }
    }

    /// How often a fact was answered `applied`.
    pub fn applied(&self, fact: &str) -> usize {
        self.facts.get(fact).map_or(0, |fact| fact.applied.len())
    }

    /// How many answers began so.
    pub fn count(&self, why: &str) -> u64 {
        self.tally.iter().filter(|(told, _)| told.starts_with(why)).map(|(_, count)| count).sum()
    }

    /// Nothing twice: no fact applied more than once or seen as two entries, every replay the original
    /// number for number.
    pub fn check_nothing_twice(&self) {
        for (name, fact) in &self.facts {
            assert!(fact.applied.len() <= 1, "{name} was applied more than once: {fact:?}");
            assert!(fact.entries.len() <= 1, "{name} was shown as different entries: {fact:?}");
            assert!(fact.credits.len() <= 1, "{name} was shown with different credits: {fact:?}");
        }
        for (name, message) in &self.messages {
            assert!(message.originals.len() <= 1, "{name} has two originals: {message:?}");
            let original = message.originals.first().or(message.replays.first());
            for replay in &message.replays {
                // Only who got the claim is told its token.
                assert_eq!(Some(replay), original, "{name} is replayed otherwise");
            }
        }
    }
}

/// Checks what holds of the tables whatever happened before.
pub async fn check_tables(admin: &Admin) {
    let none = |what: &'static str, sql: &'static str| async move {
        let rows = admin.texts(sql).await;
        assert!(rows.is_empty(), "{what}: {rows:?}");
    };
    none(
        "a balance is not the sum of its entries, or not what the last one says",
        "SELECT concat_ws(' ', b.customer_id, b.credit_type, b.balance, l.total, l.last)
         FROM billing.balances b FULL JOIN (
             SELECT customer_id, credit_type, sum(credits) AS total,
                    (array_agg(balance_after ORDER BY entry_id DESC))[1] AS last
             FROM billing.ledger GROUP BY 1, 2) l USING (customer_id, credit_type)
         WHERE b.balance IS DISTINCT FROM l.total OR b.balance IS DISTINCT FROM l.last",
    )
    .await;
    none(
        "an entry's balance is not the sum up to it, or is below zero, or its time goes backwards",
        "SELECT concat_ws(' ', entry_id, credits, balance_after, running, created_at, before)
         FROM (SELECT *, sum(credits) OVER w AS running, lag(created_at) OVER w AS before FROM billing.ledger
               WINDOW w AS (PARTITION BY customer_id, credit_type ORDER BY entry_id)) e
         WHERE balance_after <> running OR balance_after < 0 OR created_at < before",
    )
    .await;
    none(
        "an entry without its customer, or a balance",
        "SELECT l.entry_id::text FROM billing.ledger l
         LEFT JOIN billing.customers c USING (customer_id) WHERE c.customer_id IS NULL",
    )
    .await;
    none(
        "a key or a source twice, read without an index",
        "SELECT idempotency_key || '' FROM billing.ledger GROUP BY 1 HAVING count(*) > 1
         UNION ALL SELECT source_ref || '' FROM billing.ledger
         WHERE source_ref IS NOT NULL GROUP BY 1 HAVING count(*) > 1",
    )
    .await;
    none(
        "an event is left as being processed, or completed without a result",
        "SELECT event_id || ' ' || status FROM billing.webhook_events
         WHERE event_type <> 'wire.test'
             AND (status = 'processing' OR (status = 'completed' AND result IS NULL) OR lease_until IS NOT NULL)",
    )
    .await;
    none(
        "an event met an unexpected error",
        "SELECT event_id || ' ' || error_message FROM billing.webhook_events WHERE error_detail = 'internal_error'",
    )
    .await;
    none(
        "a summary holds more than it may",
        "SELECT payload_summary::text FROM billing.webhook_events
         WHERE payload_summary - ARRAY['id', 'type', 'object_id', 'object_type'] <> '{}'",
    )
    .await;
    none(
        "a completed event keeps its body",
        "SELECT event_id FROM billing.webhook_events WHERE status = 'completed' AND payload IS NOT NULL",
    )
    .await;
}

/// Every balance, by `customer_id type`.
pub async fn balances(admin: &Admin) -> HashMap<String, i64> {
    let rows =
        admin.texts("SELECT customer_id || ' ' || credit_type || ' ' || balance FROM billing.balances").await;
    let split = |row: &String| {
        let (account, balance) = row.rsplit_once(' ').expect("three columns");
        (account.to_owned(), balance.parse().expect("a balance"))
    };
    rows.iter().flatten().map(split).collect()
}
