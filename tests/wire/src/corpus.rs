//! Real bodies: every JSON file of a folder is delivered twice, and what must never come of it is looked for.
//!
//! - An SQL error: raised to the caller, met within an event's savepoint, or in the server's log.
//! - A change by the second delivery of an event, in any row of any table. An event that failed is tried again
//!   by each delivery, so of its own row alone `attempts`, `claim_token` and `next_attempt_at` may move, and the
//!   time at which it met those who link the code that it waits for.
//! - A person's data outside `webhook_events.payload` and `billing.customers.email`: in another column, in an
//!   answer, in the server's log. Looked for are the texts that stand in the bodies under keys such as `email`,
//!   `name` or `line1`, in any case of letters. Not looked for: texts of less than three characters, digits alone
//!   of less than seven (they are part of any id), and words that stand somewhere under another key too, unless
//!   they hold an `@`. Texts of less than six characters are found only as whole words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::Database;
use crate::session::{Admin, Answer, Provider, Session};

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// One line per file.
    pub lines: Vec<String>,
    /// How often each answer came.
    pub tally: BTreeMap<String, usize>,
    /// How many texts about persons were looked for.
    pub personal: usize,
    /// What must not be.
    pub problems: Vec<String>,
}

/// A file that holds an event.
struct Sample {
    name: String,
    provider: Provider,
    body: String,
}

/// Delivers every file of the folder, each twice.
pub async fn run(database: &Database, folder: &Path) -> Report {
    let mut report = Report::default();
    let samples = samples(folder, &mut report);
    let personal = Personal::of(&samples);
    report.personal = personal.values.len();
    let log_before = database.cluster.log_text().len();
    let admin = database.admin().await;
    let mut gateway = database.gateway();
    for sample in &samples {
        deliver_twice(&admin, &mut gateway, sample, &personal, &mut report).await;
    }
    for (table, row) in rows(&admin).await {
        for (column, value) in row.as_object().into_iter().flatten() {
            let allowed = [("webhook_events", "payload"), ("customers", "email")];
            if !allowed.contains(&(table.as_str(), column.as_str())) {
                personal.accuse(&format!("column {table}.{column}"), value, &mut report);
            }
        }
    }
    // What a table and its column names say twice is one problem.
    let log = database.cluster.log_text().split_off(log_before);
    for line in log.lines() {
        if ["ERROR:", "FATAL:", "PANIC:"].iter().any(|level| line.contains(level)) {
            report.problems.push(format!("the server's log: {line}"));
        }
        personal.accuse("the server's log", &Value::from(line), &mut report);
    }
    report.problems.dedup();
    report
}

fn samples(folder: &Path, report: &mut Report) -> Vec<Sample> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut ids = BTreeSet::new();
    let mut samples = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a readable file");
        let Ok(mut event) = serde_json::from_str::<Value>(&text) else {
            report.problems.push(format!("{name}: no JSON"));
            continue;
        };
        let Some(provider) = sender(&event) else {
            report.problems.push(format!("{name}: an event of neither provider"));
            continue;
        };
        let id = event["id"].as_str().unwrap_or_default().to_owned();
        let body = if provider == Provider::Paystack || ids.insert(id.clone()) {
            text
        } else {
            // Another event of the same id would be a replay: this one gets an id of its own.
            event["id"] = format!("{id}_{number}").into();
            format!("{event:#}")
        };
        samples.push(Sample { name, provider, body });
    }
    if samples.is_empty() {
        report.problems.push(format!("no event in {}", folder.display()));
    }
    samples
}

/// Whose event it is, by its form.
fn sender(event: &Value) -> Option<Provider> {
    if event["id"].is_string() && event["type"].is_string() {
        Some(Provider::Stripe)
    } else if event["event"].is_string() && (event["data"].is_object() || event["data"].is_array()) {
        Some(Provider::Paystack)
    } else {
        None
    }
}

async fn deliver_twice(
    admin: &Admin,
    gateway: &mut Session,
    sample: &Sample,
    personal: &Personal,
    report: &mut Report,
) {
    let Some(first) = deliver(gateway, sample, personal, report).await else { return };
    let line = format!("{}  {}  ({})", first.str("event_type"), first.why(), sample.name);
    report.lines.push(line);
    *report.tally.entry(first.why()).or_default() += 1;
    let before = rows(admin).await;
    let Some(second) = deliver(gateway, sample, personal, report).await else { return };
    let after = rows(admin).await;
    let wanted = match first.reason() {
        "failed" | "invalid" => first.why(),
        _ => "replay".to_owned(),
    };
    let same_result = first.reason() == "replay" || second.get("result") == first.get("result");
    if second.why() != wanted || !same_result {
        report.problems.push(format!("{}: the second delivery is answered {second:?}", sample.name));
    }
    for table in changed_tables(&before, &after, &first) {
        report.problems.push(format!("{}: the second delivery changed {table}", sample.name));
    }
}

async fn deliver(
    gateway: &mut Session,
    sample: &Sample,
    personal: &Personal,
    report: &mut Report,
) -> Option<Answer> {
    let signature = sample.provider.sign(&sample.body);
    let delivered = match gateway.try_deliver_signed(sample.provider, &sample.body, &signature).await {
        Ok(delivered) => delivered,
        Err(error) => {
            report.problems.push(format!("{}: raised {error:?}", sample.name));
            return None;
        }
    };
    let answer = delivered.answer;
    if answer.str("detail") == "internal_error" {
        report.problems.push(format!("{}: met an SQL error within", sample.name));
    }
    let told = Value::Object(answer.0.clone());
    personal.accuse(&format!("the answer to {}", sample.name), &told, report);
    Some(answer)
}

/// Every row of every table, with the table's name.
async fn rows(admin: &Admin) -> Vec<(String, Value)> {
    let tables = admin
        .texts(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'billing'::regnamespace
                 AND relkind IN ('r', 'p', 'm') ORDER BY 1",
        )
        .await;
    let select = |table: &String| format!("SELECT '{table}' || to_jsonb(t)::text FROM billing.{table} t");
    let all: Vec<String> = tables.iter().flatten().map(select).collect();
    let rows = admin.texts(&format!("{} ORDER BY 1", all.join(" UNION ALL "))).await;
    let split = |row: &String| {
        let (table, json) = row.split_at(row.find('{').expect("a row"));
        (table.to_owned(), serde_json::from_str(json).expect("a row as JSON"))
    };
    rows.iter().flatten().map(split).collect()
}

/// The tables in which anything differs, but for the attempt that a failed event counts in its own row.
fn changed_tables(
    before: &[(String, Value)],
    after: &[(String, Value)],
    answer: &Answer,
) -> BTreeSet<String> {
    let comparable = |rows: &[(String, Value)]| -> BTreeSet<(String, String)> {
        let settled = |(table, row): &(String, Value)| {
            let mut row = row.clone();
            let own = table == "webhook_events"
                && row["status"] == "failed"
                && &row["provider"] == answer.get("provider")
                && &row["event_id"] == answer.get("event_id");
            if table == "code_meetings" && answer.reason() == "failed" {
                row["met_at"] = Value::Null;
            }
            if let Some(columns) = row.as_object_mut().filter(|_| own) {
                for column in ["attempts", "claim_token", "next_attempt_at"] {
                    columns.remove(column);
                }
            }
            (table.clone(), row.to_string())
        };
        rows.iter().map(settled).collect()
    };
    let (before, after) = (comparable(before), comparable(after));
    before.symmetric_difference(&after).map(|(table, _)| table.clone()).collect()
}

/// Texts about persons, in lower case, with the key that they stood under.
struct Personal {
    values: BTreeMap<String, String>,
}

/// Whether texts under the key are about a person.
fn is_personal(key: &str) -> bool {
    const KEYS: [&str; 16] = [
        "email",
        "name",
        "first_name",
        "last_name",
        "account_name",
        "account_number",
        "customer_name",
        "phone",
        "address",
        "line1",
        "line2",
        "city",
        "postal_code",
        "ip",
        "ip_address",
        "customer_purchase_ip",
    ];
    let key = key.to_lowercase();
    KEYS.contains(&key.as_str())
        || ["email", "email_address", "phone", "_address"].iter().any(|end| key.ends_with(end))
}

impl Personal {
    fn of(samples: &[Sample]) -> Personal {
        let mut values = BTreeMap::new();
        let mut others = BTreeSet::new();
        for sample in samples {
            let body: Value = serde_json::from_str(&sample.body).expect("JSON");
            collect("", &body, &mut values, &mut others);
        }
        values.retain(|text, _: &mut String| {
            let length = text.chars().count();
            let digits = text.chars().all(|char| char.is_ascii_digit());
            let common = others.contains(text) && !text.contains('@');
            length >= 3 && !(digits && length < 7) && !common
        });
        Personal { values }
    }

    /// Writes down what is found in the value, without repeating it.
    fn accuse(&self, place: &str, value: &Value, report: &mut Report) {
        let mut texts = Vec::new();
        flatten(value, &mut texts);
        for text in texts {
            let text = text.to_lowercase();
            for (personal, key) in &self.values {
                if holds(&text, personal) {
                    let problem = format!("{place}: holds a text that stands under {key} in a body");
                    if !report.problems.contains(&problem) {
                        report.problems.push(problem);
                    }
                }
            }
        }
    }
}

fn collect(key: &str, value: &Value, values: &mut BTreeMap<String, String>, others: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                collect(key, value, values, others);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|value| collect(key, value, values, others)),
        Value::String(text) => {
            // Metadata may be a text that holds an object.
            if let Ok(inner @ Value::Object(_)) = serde_json::from_str(text) {
                collect(key, &inner, values, others);
            }
            let text = text.trim().to_lowercase();
            if is_personal(key) {
                values.insert(text, key.to_owned());
            } else {
                others.insert(text);
            }
        }
        _ => {}
    }
}

fn flatten(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                texts.push(key.clone());
                flatten(value, texts);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|value| flatten(value, texts)),
        Value::String(text) => texts.push(text.clone()),
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => texts.push(number.to_string()),
    }
}

/// Short texts only as whole words.
fn holds(text: &str, personal: &str) -> bool {
    if personal.chars().count() >= 6 {
        return text.contains(personal);
    }
    text.match_indices(personal).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + personal.len()..].chars().next();
        !before.into_iter().chain(after).any(char::is_alphanumeric)
    })
}
