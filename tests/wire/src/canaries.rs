//! Canaries: texts that stand nowhere else, and all the places where they may come to light.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rand::Rng;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls};

use crate::arguments::{self, Function};
use crate::cluster::{Database, program};
use crate::session::{Admin, config};

/// How a canary begins, where it is free to.
const MARK: &str = "canary0";

/// What was planted: each text with its kind.
#[derive(Default)]
pub struct Canaries(Mutex<Vec<(&'static str, String)>>);

impl Canaries {
    /// A new one, of lower-case letters and digits.
    pub fn plant(&self, kind: &'static str) -> String {
        let text = format!("{MARK}{:016x}", rand::rng().random::<u64>());
        self.note(kind, &text);
        text
    }

    /// A new one that is a uuid.
    pub fn plant_uuid(&self, kind: &'static str) -> String {
        let number = format!("{:012x}", rand::rng().random::<u64>() >> 16);
        let text = format!("ca4a2100-0000-4000-8000-{number}");
        self.note(kind, &text);
        text
    }

    /// A text made elsewhere: a signature, a token.
    pub fn note(&self, kind: &'static str, text: &str) {
        self.0.lock().expect("canaries").push((kind, text.to_lowercase()));
    }

    /// Which kinds the text holds, as it is or in hexadecimal digits.
    fn kinds_in(&self, text: &str) -> BTreeSet<&'static str> {
        let text = text.to_lowercase();
        let hex = |canary: &str| canary.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Most texts hold none: one look at what most of them begin with is enough.
        let (plain, in_hex) = (text.contains(MARK), text.contains(&hex(MARK)));
        let canaries = self.0.lock().expect("canaries");
        let held = canaries.iter().filter(|(_, canary)| match canary.starts_with(MARK) {
            true => (plain && text.contains(canary)) || (in_hex && text.contains(&hex(canary))),
            false => text.contains(canary),
        });
        held.map(|(kind, _)| *kind).collect()
    }

    /// What stands around the first canary of the kind.
    fn excerpt(&self, kind: &str, text: &str) -> String {
        let lower = text.to_lowercase();
        let canaries = self.0.lock().expect("canaries");
        let of_kind = canaries.iter().filter(|(known, _)| *known == kind);
        let at = of_kind.filter_map(|(_, canary)| lower.find(canary)).min().unwrap_or_default();
        let before: Vec<char> = lower[..at].chars().rev().take(200).collect();
        before.iter().rev().chain(&lower[at..].chars().take(200).collect::<Vec<_>>()).collect()
    }

    /// Every kind planted.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        self.0.lock().expect("canaries").iter().map(|(kind, _)| *kind).collect()
    }
}

/// Where canaries of which kind were seen, each place with the first text that held one.
#[derive(Default)]
pub struct Sightings(BTreeMap<&'static str, BTreeMap<String, String>>);

impl Sightings {
    /// Looks at a text that was found in the place.
    pub fn look(&mut self, canaries: &Canaries, place: &str, text: &str) {
        for kind in canaries.kinds_in(text) {
            let places = self.0.entry(kind).or_default();
            places.entry(place.to_owned()).or_insert_with(|| canaries.excerpt(kind, text));
        }
    }

    /// The places of a kind.
    pub fn of(&self, kind: &str) -> BTreeSet<&str> {
        self.first(kind).keys().map(|place| place.as_str()).collect()
    }

    /// The places of a kind, each with an excerpt of what was found there first.
    pub fn first(&self, kind: &str) -> BTreeMap<&String, &String> {
        self.0.get(kind).into_iter().flatten().collect()
    }
}

/// A client that hears everything: answers, errors, and messages down to DEBUG5.
pub struct Ear {
    client: Client,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    functions: BTreeMap<String, Function>,
}

impl Ear {
    /// Logs in as a superuser, who then becomes others.
    pub async fn connect(database: &Database, heard: &Arc<Mutex<Vec<(String, String)>>>) -> Ear {
        let mut config = config(&database.cluster, &database.name, "postgres");
        config.options("-c client_min_messages=debug5");
        let (client, mut connection) = config.connect(NoTls).await.expect("a connection");
        let heard = heard.clone();
        let listening = heard.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                let (place, text) = match message {
                    AsyncMessage::Notice(notice) => ("notice", format!("{notice:?}")),
                    AsyncMessage::Notification(told) => ("notification", told.payload().to_owned()),
                    _ => continue,
                };
                listening.lock().expect("heard").push((place.to_owned(), text));
            }
        });
        let all = arguments::functions(&database.admin().await).await;
        let functions = all.into_iter().map(|function| (function.name.clone(), function)).collect();
        Ear { client, heard, functions }
    }

    /// Every function, by name with its schema.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values()
    }

    /// Statements that name no canary.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A statement with bound values, each a text; the first column of its rows.
    pub async fn query(&self, sql: &str, values: &[&str]) -> Result<Vec<Option<String>>, Error> {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let answer = self.client.query(sql, &values).await;
        answer
            .map(|rows| rows.iter().map(|row| row.get(0)).collect())
            .inspect_err(|error| self.hear_error(error))
    }

    fn hear_error(&self, error: &Error) {
        self.heard.lock().expect("heard").push(("error".to_owned(), format!("{error:?}")));
    }

    /// The backend's number.
    pub async fn pid(&self) -> String {
        self.query("SELECT pg_backend_pid()::text", &[]).await.expect("a number").remove(0).expect("a number")
    }

    /// Calls a function, its arguments bound by name; the others are null.
    pub async fn call(&self, name: &str, given: &[(&str, &str)]) -> Result<Vec<Value>, Error> {
        let function = &self.functions[name];
        for (parameter, _) in given {
            assert!(
                function.parameters.iter().any(|known| known.name == *parameter),
                "{name} has no {parameter}"
            );
        }
        let value = |parameter: &arguments::Parameter| {
            given.iter().find(|(name, _)| *name == parameter.name).map(|(_, value)| (*value).to_owned())
        };
        self.call_with(function, &function.parameters.iter().map(value).collect::<Vec<_>>()).await
    }

    /// Calls a function with all its arguments.
    pub async fn call_with(
        &self,
        function: &Function,
        values: &[Option<String>],
    ) -> Result<Vec<Value>, Error> {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let rows = match self.client.query(&function.sql(), &values).await {
            Ok(rows) => rows,
            Err(error) => {
                self.hear_error(&error);
                return Err(error);
            }
        };
        let mut answers = Vec::new();
        for row in &rows {
            let text = row.get::<_, Option<&str>>(0).unwrap_or("null");
            self.heard.lock().expect("heard").push((format!("answer of {}", function.name), text.to_owned()));
            answers.push(serde_json::from_str(text).expect("JSON"));
        }
        Ok(answers)
    }
}

/// Everything that the database and the server show at this moment.
pub async fn look_everywhere(
    database: &Database,
    canaries: &Canaries,
    heard: &Mutex<Vec<(String, String)>>,
) -> Sightings {
    let admin = database.admin().await;
    let mut seen = Sightings::default();
    look_at_rows(&admin, canaries, &mut seen).await;
    for text in admin.texts("SELECT query FROM public.pg_stat_statements").await.iter().flatten() {
        seen.look(canaries, "pg_stat_statements", text);
    }
    let statistics = "SELECT jsonb_build_object('place', tablename || '.' || attname, 'values', concat(
                          most_common_vals::text, histogram_bounds::text, most_common_elems::text))::text
                      FROM pg_stats WHERE schemaname = 'billing'";
    for row in admin.texts(statistics).await.iter().flatten() {
        let row: Value = serde_json::from_str(row).expect("JSON");
        let place = format!("statistics of {}", row["place"].as_str().unwrap_or_default());
        seen.look(canaries, &place, row["values"].as_str().unwrap_or_default());
    }
    seen.look(canaries, "dump", &dump(database));
    // What was logged until now is in the file once this line is.
    let end = format!("the end {:x}", rand::rng().random::<u64>());
    admin.run(&format!("DO $$ BEGIN RAISE LOG '{end}'; END $$")).await;
    let mut log = String::new();
    for _ in 0..100 {
        log = database.cluster.log_text();
        if log.contains(&end) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(log.contains(&end), "the log does not come to its end");
    seen.look(canaries, "log", &log);
    for (place, text) in heard.lock().expect("heard").iter() {
        seen.look(canaries, place, text);
    }
    seen
}

/// Every column of every row of every table and view of the database that is not Postgres's own, and what is
/// said about them: settings, comments.
async fn look_at_rows(admin: &Admin, canaries: &Canaries, seen: &mut Sightings) {
    let relations = admin
        .texts(
            "SELECT c.oid::regclass::text FROM pg_class c
             WHERE c.relkind IN ('r', 'p', 'm', 'v') AND c.relnamespace::regnamespace::text IN ('billing', 'public')
                 AND c.relname NOT LIKE 'pg\\_stat\\_statements%'
             UNION ALL SELECT unnest(ARRAY['pg_db_role_setting', 'pg_description', 'pg_shdescription', 'pg_proc'])",
        )
        .await;
    for relation in relations.iter().flatten() {
        let rows = admin.texts(&format!("SELECT to_jsonb(t)::text FROM {relation} t")).await;
        for row in rows.iter().flatten() {
            if canaries.kinds_in(row).is_empty() {
                continue;
            }
            let row: Value = serde_json::from_str(row).expect("JSON");
            for (column, value) in row.as_object().into_iter().flatten() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let relation = relation.trim_start_matches("billing.");
                seen.look(canaries, &format!("column {relation}.{column}"), &text);
            }
        }
    }
}

fn dump(database: &Database) -> String {
    let answer = Command::new(program("pg_dump"))
        .args(["-U", "postgres", "-h", &database.cluster.host, "-p", &database.cluster.port.to_string()])
        .arg(&database.name)
        .output()
        .expect("pg_dump runs");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8_lossy(&answer.stdout).into_owned()
}
