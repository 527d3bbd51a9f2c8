//! Events that an application processed before they came here.

use std::collections::{BTreeMap, HashSet};

use billing_core::adoption::{Verdict, event_id, event_type};
use billing_core::outcome::Detail;
use billing_core::webhooks::Summary;

use super::{claims, delivery, effects, store};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Time};

/// A row of the application's books.
pub struct OldEvent<'a> {
    pub event_id: Option<&'a str>,
    pub event_type: Option<&'a str>,
    pub processed_at: Option<Time>,
}

/// Keeps Stripe's events as completed, at most so many that are not yet; in a dry run only says what would
/// become of them.
pub fn adopt(client: &Client, rows: &[OldEvent], dry_run: bool, at_most: usize) -> Result<Vec<Verdict>> {
    let now = pg::now();
    let mut verdicts = vec![Verdict::Already; rows.len()];
    // In the order of locking, each once.
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        match event_id(row.event_id) {
            Some(id) => drop(places.entry(id).or_insert(place)),
            None => verdicts[place] = Verdict::Malformed,
        }
    }
    let ids = places.keys().map(|id| (*id).to_owned()).collect();
    let states = store::states(client, ids, now)?;
    let mut chosen = Vec::new();
    for (id, place) in places {
        verdicts[place] = match states.get(id) {
            Some((_, true)) => Verdict::Already,
            Some((true, false)) => Verdict::InProgress,
            _ if chosen.len() < at_most => {
                chosen.push((
                    summary(id, &rows[place]),
                    rows[place].processed_at.unwrap_or(now).min(now),
                    place,
                ));
                Verdict::Adopted
            }
            _ => Verdict::Remaining,
        };
    }
    if !dry_run && !chosen.is_empty() {
        write(client, chosen, now, &mut verdicts)?;
    }
    Ok(verdicts)
}

fn summary(id: &str, row: &OldEvent) -> Summary {
    let event_type = event_type(row.event_type).to_owned();
    Summary { id: id.to_owned(), event_type, object_id: None, object_type: None }
}

fn write(
    client: &Client,
    chosen: Vec<(Summary, Time, usize)>,
    now: Time,
    verdicts: &mut [Verdict],
) -> Result<()> {
    let (events, places): (Vec<(Summary, Time)>, Vec<usize>) =
        chosen.into_iter().map(|(summary, at, place)| ((summary, at), place)).unzip();
    let result = delivery::result_json(&effects::Effect::ignored(Detail::Adopted));
    let adopted = store::adopt(client, &events, now, &result, claims::keeps_payload())?;
    let left: HashSet<&str> =
        events.iter().map(|(summary, _)| summary.id.as_str()).filter(|id| !adopted.contains(*id)).collect();
    if left.is_empty() {
        return Ok(());
    }
    // A rival was faster.
    let states = store::states(client, left.iter().map(|id| (*id).to_owned()).collect(), now)?;
    for ((summary, _), place) in events.iter().zip(places) {
        if left.contains(summary.id.as_str()) {
            verdicts[place] = match states.get(&summary.id).ok_or(Error::BrokenInvariant)? {
                (true, _) => Verdict::InProgress,
                _ => Verdict::Already,
            };
        }
    }
    Ok(())
}
