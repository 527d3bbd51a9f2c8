//! Real bodies: every file of a folder, with an id of its own, comes out with an outcome, twice.

use std::collections::BTreeMap;
use std::path::PathBuf;

use billing_wire::cluster::{Cluster, root};
use billing_wire::{Tested, figure, run};
use serde_json::Value;

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("corpus::every_file", || run(every_file()));
}

/// `BILLING_FIXTURES`, else the shared folder, if there is one; and in any case the project's own.
fn folders() -> Vec<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let given = match std::env::var_os("BILLING_FIXTURES") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(root().join("../shared/fixtures/stripe")).filter(|folder| folder.is_dir()),
    };
    std::iter::once(own).chain(given).collect()
}

fn files() -> Vec<(String, Value)> {
    let mut files = Vec::new();
    for folder in folders() {
        let before = files.len();
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path).expect("a readable file");
                let event = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
                files.push((path.file_name().expect("a name").to_string_lossy().into_owned(), event));
            }
        }
        assert!(files.len() > before, "no JSON file in {}", folder.display());
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    files
}

async fn every_file() {
    let database = Cluster::shared().database().await;
    let mut gateway = database.gateway();
    let mut tally: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let files = files();
    for (number, (name, event)) in files.iter().enumerate() {
        let mut event = event.clone();
        let id = format!("evt_corpus_{number}");
        event["id"] = id.clone().into();
        // As it is stored, and as it is sent: pretty, in the file's order.
        let body = format!("{event:#}");
        let first = gateway.deliver(&body).await;
        assert_eq!(first.answer.str("event_id"), id, "{name}: {first:?}");
        assert_eq!(first.answer.str("event_type"), event["type"].as_str().unwrap_or_default(), "{name}");
        let second = gateway.deliver(&body).await;
        assert_eq!((first.status, second.status), (200, 200), "{name}: {first:?}");
        match first.answer.reason() {
            "applied" | "ignored" | "duplicate" => {
                assert_eq!(second.answer.why(), "replay", "{name}");
                assert_eq!(second.answer.get("result"), first.answer.get("result"), "{name}");
            }
            // Kept, and tried again.
            "failed" => {
                assert_ne!(first.answer.str("detail"), "internal_error", "{name}");
                assert_eq!(second.answer.why(), first.answer.why(), "{name}");
                assert_eq!(second.answer.int("attempts"), 2, "{name}");
            }
            _ => panic!("{name}: {first:?}"),
        }
        tally.entry(first.answer.why()).or_default().push(name.clone());
    }
    let admin = database.admin().await;
    let stored = admin.number("SELECT count(*) FROM billing.webhook_events").await;
    assert_eq!(stored, i64::try_from(files.len()).unwrap());
    billing_wire::books::check_tables(&admin).await;
    for (why, names) in tally {
        figure(|| format!("{why}: {} files", names.len()));
    }
}
