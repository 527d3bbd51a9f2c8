//! Batches: many operations in one transaction, each answered as its single call would be.
//!
//! All locks are taken first, in their one order, so that two batches over the same customers never wait
//! for each other; then each operation goes the way of a single call.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use billing_core::credits::Request;
use billing_core::credits::batch::{Operation, parse};
use billing_core::customers::Uuid;
use billing_core::outcome::{Reason, Refusal};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::store::{self, AccountKey, Origin};
use super::{CreditOutcome, Metadata, apply_as};
use crate::customers::{self, Person};
use crate::error::Result;
use crate::pg::{self, Client, JsonbArgument};

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn apply_credit_batch(
    operations: default!(Option<JsonbArgument>, "NULL"),
) -> Result<SetOfIterator<'static, CreditOutcome>, ErrorReport> {
    let outcomes = match parse(operations.as_ref().map(JsonbArgument::text)) {
        Ok(operations) => run(&operations)?,
        Err(refusal) => vec![CreditOutcome::refused(refusal)],
    };
    Ok(SetOfIterator::new(outcomes))
}

/// Operations between two looks at whether the caller wants to cancel.
const OPERATIONS_PER_CHECK: usize = 100;

fn run(operations: &[std::result::Result<Operation, Refusal>]) -> Result<Vec<CreditOutcome>> {
    let external_ids = customers::external_ids();
    let requests: Vec<_> = operations
        .iter()
        .map(|operation| {
            let (kind, raw) = operation.as_ref().map_err(|refusal| *refusal)?.call();
            Request::parse(kind, &raw, external_ids).map(|request| (request, raw.metadata))
        })
        .collect();
    // Each step has an executor connection of its own, whose memory goes with it.
    let mut prepared = pg::write(|client| Prepared::lock(client, &requests))?;
    let mut outcomes = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        if index % OPERATIONS_PER_CHECK == 0 {
            pgrx::check_for_interrupts!();
        }
        outcomes.push(match request {
            Err(refusal) => CreditOutcome::refused(*refusal),
            Ok((request, metadata)) => prepared.apply(request, *metadata)?,
        });
    }
    pg::write(|client| prepared.take_back(client))?;
    Ok(outcomes)
}

type Parsed<'a> = std::result::Result<(Request<'a>, Option<&'a str>), Refusal>;

/// Who is meant by the operations, and what was made for them to be locked.
struct Prepared {
    people: HashMap<String, Person>,
    charges: BTreeSet<String>,
    customers: BTreeSet<Uuid>,
    balances: BTreeSet<(Uuid, String)>,
}

impl Prepared {
    /// Locks charges, makes missing customers, locks balances: each in sorted order.
    fn lock(client: &Client, requests: &[Parsed]) -> Result<Prepared> {
        let mut prepared = Prepared {
            people: HashMap::new(),
            charges: BTreeSet::new(),
            customers: BTreeSet::new(),
            balances: BTreeSet::new(),
        };
        let requests = || requests.iter().flatten().map(|(request, _)| request);
        let sources: BTreeMap<&str, &str> = requests()
            .filter_map(|request| request.source.as_ref())
            .filter_map(|source| Some((source.payment_ref.as_deref()?, source.source_ref.as_str())))
            .collect();
        for (payment_ref, source_ref) in sources {
            if store::lock_charge(client, payment_ref, source_ref)? {
                prepared.charges.insert(payment_ref.to_owned());
            }
        }
        let credited: BTreeMap<String, &Request> = requests()
            .filter(|request| request.credits > 0)
            .map(|request| (name(request), request))
            .collect();
        for (name, request) in &credited {
            prepared.find_or_make(client, name, request)?;
        }
        for request in requests() {
            if let Entry::Vacant(vacant) = prepared.people.entry(name(request)) {
                vacant.insert(customers::find(client, &request.user)?);
            }
        }
        prepared.lock_balances(client, requests())?;
        Ok(prepared)
    }

    fn find_or_make(&mut self, client: &Client, name: &str, request: &Request) -> Result<()> {
        let person = customers::find(client, &request.user)?;
        let person = match customers::find_or_make(client, &person)? {
            None => Person::Unknown,
            Some((customer_id, made)) => {
                if made {
                    self.customers.insert(customer_id);
                }
                Person::Known(customer_id)
            }
        };
        self.people.insert(name.to_owned(), person);
        Ok(())
    }

    fn lock_balances<'a>(
        &mut self,
        client: &Client,
        requests: impl Iterator<Item = &'a Request<'a>>,
    ) -> Result<()> {
        let mut accounts: BTreeMap<(Uuid, &str), bool> = BTreeMap::new();
        for request in requests {
            if let Some(Person::Known(customer_id)) = self.people.get(&name(request)) {
                *accounts.entry((*customer_id, &request.credit_type)).or_default() |= request.credits > 0;
            }
        }
        for ((customer_id, credit_type), credited) in accounts {
            let key = AccountKey { customer_id, credit_type };
            if store::lock_balance(client, key)?.is_none()
                && credited
                && store::insert_balance(client, key, pg::now())?
            {
                self.balances.insert((customer_id, credit_type.to_owned()));
            }
        }
        Ok(())
    }

    /// One operation, as its single call. What it is the first to use is no longer to be taken back.
    fn apply(&mut self, request: &Request, metadata: Option<&str>) -> Result<CreditOutcome> {
        let person = self.people.get(&name(request)).unwrap_or(&Person::Unknown);
        let metadata = metadata.map_or(Metadata::None, Metadata::Text);
        let outcome = pg::write(|client| apply_as(client, request, person, Origin::default(), &metadata))?;
        if let (Reason::Applied, Some(entry)) = (outcome.reason, &outcome.entry) {
            self.customers.remove(&entry.customer_id);
            self.balances.remove(&(entry.customer_id, entry.credit_type.clone()));
            if let Some(payment_ref) = request.source.as_ref().and_then(|source| source.payment_ref.as_ref())
            {
                self.charges.remove(payment_ref);
            }
        }
        Ok(outcome)
    }

    /// Takes back what was made for operations that were refused in the end.
    fn take_back(&self, client: &Client) -> Result<()> {
        for (customer_id, credit_type) in &self.balances {
            store::discard_balance(client, AccountKey { customer_id: *customer_id, credit_type })?;
        }
        for customer_id in &self.customers {
            customers::discard(client, *customer_id)?;
        }
        for payment_ref in &self.charges {
            store::discard_charge(client, payment_ref)?;
        }
        Ok(())
    }
}

/// The identifier as a key that sorts and compares as the identifier does.
fn name(request: &Request) -> String {
    format!("{:?}", request.user)
}
