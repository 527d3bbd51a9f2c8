//! Books of an existing application, taken over: what runs as the owner once sql/adoption.sql has read the
//! application's tables with its caller's rights.
//!
//! Each function gets rows and answers, row by row, what became of them. What a rival is about to do is waited
//! for, and a row that has changed meanwhile is left for the next run.

use std::collections::{BTreeMap, HashMap};

use billing_core::adoption::{Target, Verdict, source};
use billing_core::credits::Source;
use billing_core::credits::credit_type as checked_type;
use billing_core::customers::{Identifier, Uuid};
use pgrx::Uuid as PgUuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::customers::{self, Person};
use crate::error::{Error, Result};
use crate::pg::{self, Client, Time};
use crate::{credits, webhooks};

mod store;

/// Whose balance a row is, then the credits of each opening entry that the customer has already.
#[pg_extern(stable, parallel_restricted, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn adoption_target(
    person: default!(Option<&str>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<Option<Vec<String>>, ErrorReport> {
    let Ok(identifier) = Identifier::classify(person, customers::external_ids()) else { return Ok(None) };
    let Ok(credit_type) = checked_type(credit_type) else { return Ok(None) };
    Ok(pg::read(|client| {
        let target = match customers::find(client, &identifier)? {
            Person::Known(customer_id) => Target::Customer(customer_id),
            Person::New(person) => Target::New(person),
            Person::Unknown => return Ok(None),
        };
        let Some(text) = target.to_text(|id| PgUuid::from_bytes(id).to_string()) else { return Ok(None) };
        let openings = match target {
            Target::Customer(customer_id) => credits::openings(client, customer_id, credit_type)?,
            Target::New(_) => Vec::new(),
        };
        let openings = openings.into_iter().map(|credits| credits.to_string());
        Ok::<_, Error>(Some(std::iter::once(text).chain(openings).collect()))
    })?)
}

/// The source that a text of the application's books names, in full.
#[pg_extern(immutable, parallel_safe, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn adoption_source(reference: default!(Option<&str>, "NULL")) -> Option<String> {
    Some(source(reference?)?.source_ref)
}

/// Opens balances; `targets` as `adoption_target` names them.
#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn adopt_balance_rows(
    targets: default!(Option<Vec<Option<String>>>, "NULL"),
    balances: default!(Option<Vec<Option<i64>>>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<Vec<String>, ErrorReport> {
    let (targets, balances) = (targets.unwrap_or_default(), balances.unwrap_or_default());
    if targets.len() != balances.len() || balances.iter().flatten().any(|balance| *balance < 0) {
        return Err(MALFORMED_ROWS.into());
    }
    let credit_type = checked_type(credit_type).map_err(|_| BAD_CREDIT_TYPE)?;
    let mut verdicts = vec![Verdict::Remaining; targets.len()];
    pg::write(|client| {
        if store::was_mirrored(client, credit_type)? {
            return Err(MIRRORED);
        }
        let customers = find_or_make(client, &targets)?;
        // Of two rows of one customer, whom a rival has registered meanwhile, neither is the right one.
        let mut rows: BTreeMap<Uuid, Option<(usize, i64)>> = BTreeMap::new();
        for (place, (customer_id, balance)) in customers.into_iter().zip(balances).enumerate() {
            if let (Some(customer_id), Some(balance)) = (customer_id, balance) {
                rows.entry(customer_id).and_modify(|first| *first = None).or_insert(Some((place, balance)));
            }
        }
        let rows: Vec<(Uuid, usize, i64)> = rows
            .into_iter()
            .filter_map(|(customer_id, row)| row.map(|(place, balance)| (customer_id, place, balance)))
            .collect();
        let opened = credits::open_balances(
            client,
            credit_type,
            &rows.iter().map(|(customer_id, _, balance)| (*customer_id, *balance)).collect::<Vec<_>>(),
        )?;
        for ((_, place, _), opened) in rows.iter().zip(opened) {
            verdicts[*place] = opened;
        }
        Ok::<_, Error>(())
    })?;
    Ok(told(&verdicts))
}

/// Keeps Stripe's events as processed at those times.
#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn adopt_event_rows(
    event_ids: default!(Option<Vec<Option<String>>>, "NULL"),
    event_types: default!(Option<Vec<Option<String>>>, "NULL"),
    processed_at: default!(Option<Vec<Option<TimestampWithTimeZone>>>, "NULL"),
    dry_run: default!(Option<bool>, "true"),
    max_rows: default!(Option<i64>, "NULL"),
) -> Result<Vec<String>, ErrorReport> {
    let ids = event_ids.unwrap_or_default();
    let types = event_types.unwrap_or_default();
    let times = processed_at.unwrap_or_default();
    if ids.len() != types.len() || ids.len() != times.len() {
        return Err(MALFORMED_ROWS.into());
    }
    let rows: Vec<webhooks::OldEvent> = ids
        .iter()
        .zip(&types)
        .zip(&times)
        .map(|((event_id, event_type), at)| webhooks::OldEvent {
            event_id: event_id.as_deref(),
            event_type: event_type.as_deref(),
            processed_at: at.map(Time::of),
        })
        .collect();
    let verdicts =
        pg::write(|client| webhooks::adopt(client, &rows, dry_run != Some(false), limit(max_rows)))?;
    Ok(told(&verdicts))
}

/// Keeps sources as credited.
#[pg_extern(volatile, parallel_unsafe, security_definer, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn adopt_source_rows(
    sources: default!(Option<Vec<Option<String>>>, "NULL"),
    dry_run: default!(Option<bool>, "true"),
    max_rows: default!(Option<i64>, "NULL"),
) -> Result<Vec<String>, ErrorReport> {
    let read: Vec<Option<Source>> =
        sources.unwrap_or_default().iter().map(|text| source(text.as_deref()?)).collect();
    let good: Vec<&Source> = read.iter().flatten().collect();
    let verdicts =
        pg::write(|client| credits::adopt_sources(client, &good, dry_run != Some(false), limit(max_rows)))?;
    let mut verdicts = verdicts.into_iter();
    let all: Vec<Verdict> = read
        .iter()
        .map(|source| match source {
            Some(_) => verdicts.next().unwrap_or(Verdict::Remaining),
            None => Verdict::Malformed,
        })
        .collect();
    Ok(told(&all))
}

const MALFORMED_ROWS: Error = Error::BadArgument("the rows to adopt are malformed");
/// What a mirror wrote to the application's table is no opening balance.
const MIRRORED: Error = Error::BadArgument(
    "balances of this credit type are mirrored, or were: what a mirror wrote cannot be adopted",
);
const BAD_CREDIT_TYPE: Error = Error::BadArgument("the credit type is blank or too long");

/// How many rows may be adopted; null is no limit.
fn limit(max_rows: Option<i64>) -> usize {
    max_rows.map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or_default())
}

fn told(verdicts: &[Verdict]) -> Vec<String> {
    verdicts.iter().map(|verdict| verdict.as_str().to_owned()).collect()
}

/// The customers of the targets, those missing made in the order of locking.
fn find_or_make(client: &Client, targets: &[Option<String>]) -> Result<Vec<Option<Uuid>>> {
    let mut new = HashMap::new();
    let mut customers = Vec::with_capacity(targets.len());
    for (place, target) in targets.iter().enumerate() {
        let target = target.as_deref().and_then(Target::parse);
        customers.push(match target {
            Some(Target::Customer(customer_id)) => Some(customer_id),
            Some(Target::New(person)) => {
                new.insert(place, person);
                None
            }
            None => None,
        });
    }
    let named: Vec<Uuid> = customers.iter().flatten().copied().collect();
    let existing = customers::existing(client, &named)?;
    customers.iter_mut().for_each(|customer| *customer = customer.filter(|id| existing.contains(id)));
    let (places, people): (Vec<usize>, Vec<_>) = new.into_iter().unzip();
    for (place, made) in places.into_iter().zip(customers::find_or_make_all(client, &people)?) {
        customers[place] = made;
    }
    Ok(customers)
}
