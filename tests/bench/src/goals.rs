//! The requirements as a table: each has an id that stays, and counts by the worst of what was measured for it.

use serde_json::{Value, json};

use crate::report::{Judged, Verdict};

/// A row of the table.
struct Goal {
    id: &'static str,
    /// The measure, and what it has to be.
    measure: &'static str,
    least: &'static str,
    sources: &'static [Source],
}

/// Where its figures are: the section; the name of the figure, or all of the section; the number of clients.
struct Source {
    section: &'static str,
    name: Option<&'static str>,
    clients: Option<usize>,
}

/// Everything that a section requires.
const fn all_of(section: &'static str) -> Source {
    Source { section, name: None, clients: None }
}

/// One figure, in every setting in which something is required of it.
const fn figure(section: &'static str, name: &'static str) -> Source {
    Source { section, name: Some(name), clients: None }
}

const fn goal(
    id: &'static str,
    measure: &'static str,
    least: &'static str,
    sources: &'static [Source],
) -> Goal {
    Goal { id, measure, least, sources }
}

const GOALS: &[Goal] = &[
    goal(
        "purchase-floor",
        "purchase / floor, 1 and 8 clients",
        "at least 0.70",
        &[figure("purchase", "ours / floor")],
    ),
    goal(
        "spend-floor",
        "spend / floor, 1 and 8 clients",
        "at least 0.70",
        &[figure("spend", "ours / floor")],
    ),
    goal("purchase-twin", "purchase / twin", "at least 1.4", &[figure("purchase", "ours / twin")]),
    goal("webhook-twin", "whole webhook / twin", "at least 1.9", &[figure("webhook", "ours / twin")]),
    goal(
        "webhook-application",
        "whole webhook / application, 8 clients",
        "at least 2.7",
        &[Source { section: "webhook", name: Some("ours / application"), clients: Some(8) }],
    ),
    goal(
        "webhook-latency",
        "whole webhook, 8 clients",
        "p50 under 5 ms, p99 under 10 ms",
        &[figure("latency", "whole webhook, p50"), figure("latency", "whole webhook, p99")],
    ),
    goal(
        "resolve-latency",
        "resolving a user, 8 clients",
        "p50 under 5 ms, p99 under 10 ms",
        &[figure("latency", "resolving a user, p50"), figure("latency", "resolving a user, p99")],
    ),
    goal("replay-applied", "replay / applied", "at least 2", &[figure("replay", "replay / applied")]),
    goal("replay-wal", "WAL of a replay", "none", &[figure("wal", "ours replay")]),
    goal(
        "signature-openssl",
        "signature check of a 3.6 kB body / openssl's HMAC of the same bytes",
        "at least 0.7",
        &[all_of("signature")],
    ),
    goal(
        "batch-copy",
        "batch of 10,000 / COPY of the same rows",
        "at least 0.5",
        &[figure("batch", "batch / COPY")],
    ),
    goal(
        "hot-singles",
        "one hot customer, batch of 1,000 / 1,000 single calls",
        "at least 10",
        &[figure("hot", "batch / single calls")],
    ),
    goal(
        "size",
        "cost at 10^7 ledger entries and 10^6 customers / at 10^4 and 10^3",
        "at most 1.3",
        &[all_of("size")],
    ),
    goal("purchase-wal", "WAL of a purchase / floor", "at most 1.1", &[figure("wal", "purchase / floor")]),
    goal("webhook-wal", "WAL of a whole webhook", "at most 2,300 bytes", &[figure("wal", "webhook, ours")]),
    goal(
        "hot-updates",
        "balances updated HOT",
        "at least 95 %",
        &[figure("books", "HOT updates of balances"), figure("kept", "HOT updates of balances")],
    ),
    goal("memory", "private memory growth of one backend over 10^6 calls", "under 1 MB", &[all_of("memory")]),
    goal(
        "pooled",
        "500 connections through pgbouncer in transaction mode / 8 direct",
        "at least 0.90",
        &[figure("pooled", "pooled / direct")],
    ),
    goal(
        "pooled-answered",
        "the same: share of the connections that were answered",
        "all",
        &[figure("pooled", "connections that were answered")],
    ),
    goal(
        "policy",
        "credit_balance, has_credits in a row policy over 10^5 rows / a constant",
        "at most 1.2",
        &[all_of("policy")],
    ),
    goal(
        "large",
        "10^7 events: dashboard, health, metrics, retry scan, purge batch",
        "under a second each",
        &[all_of("large")],
    ),
    goal("lots", "a spend beside 1,000 used-up lots / beside none", "at least 0.90", &[all_of("lots")]),
    goal(
        "kept",
        "a session as old as the tables / a new one",
        "at least 0.90",
        &[figure("kept", "old / new")],
    ),
];

/// The table, as the report file holds it. What was not measured says so.
pub fn rows(judged: &[Judged]) -> Value {
    GOALS.iter().map(|goal| row(goal, judged)).collect()
}

fn row(goal: &Goal, judged: &[Judged]) -> Value {
    let of_goal: Vec<&Judged> =
        judged.iter().filter(|one| goal.sources.iter().any(|source| source.fits(one))).collect();
    let worst = of_goal.iter().min_by(|a, b| a.reach().total_cmp(&b.reach()));
    // One that is missed counts, however good the others are; so does one of which nothing is known.
    let verdict = of_goal.iter().map(|one| one.verdict).max_by_key(|verdict| gravity(*verdict));
    let several = of_goal.windows(2).any(|two| two[0].name != two[1].name);
    json!({
        "id": goal.id,
        "measure": goal.measure,
        "least": goal.least,
        "verdict": verdict.map_or("not measured", Verdict::text),
        "settings": of_goal.len(),
        "several_figures": several,
        "worst": worst.map(|worst| worst.json()),
    })
}

impl Source {
    fn fits(&self, judged: &Judged) -> bool {
        self.section == judged.section
            && self.name.is_none_or(|name| name == judged.name)
            && self.clients.is_none_or(|clients| Some(clients) == judged.clients)
    }
}

fn gravity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Met => 0,
        Verdict::NotReached => 1,
        Verdict::Unsure => 2,
        Verdict::Missed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Requirement;
    use crate::stats::Figures;

    fn judged(clients: usize, figure: f64, verdict: Verdict) -> Judged {
        Judged {
            section: "webhook",
            name: "ours / application".to_owned(),
            setting: format!("webhook: {clients} clients"),
            clients: Some(clients),
            requirement: Requirement::AtLeast(2.7),
            figures: Figures::new(vec![figure]),
            unit: String::new(),
            processor: None,
            verdict,
        }
    }

    fn row_of(id: &str, judged: &[Judged]) -> Value {
        let Value::Array(rows) = rows(judged) else { return Value::Null };
        rows.into_iter().find(|row| row["id"] == id).unwrap_or_default()
    }

    #[test]
    fn the_worst_setting_counts() {
        let row = row_of(
            "webhook-application",
            &[judged(1, 1.0, Verdict::Missed), judged(8, 2.9, Verdict::Met), judged(8, 2.8, Verdict::Met)],
        );
        assert_eq!(row["verdict"], "met");
        assert_eq!(row["settings"], 2);
        assert_eq!(row["worst"]["figures"]["median"], 2.8);
    }

    #[test]
    fn one_miss_is_a_miss() {
        let row = row_of(
            "webhook-application",
            &[judged(8, 2.6, Verdict::Missed), judged(8, 2.5, Verdict::Unsure), judged(8, 2.8, Verdict::Met)],
        );
        assert_eq!(row["verdict"], "missed");
    }

    #[test]
    fn nothing_measured_is_said() {
        assert_eq!(row_of("webhook-application", &[])["verdict"], "not measured");
    }

    #[test]
    fn ids_are_distinct() {
        let mut ids: Vec<&str> = GOALS.iter().map(|goal| goal.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), GOALS.len());
    }
}
