//! People: SQL entry points, and how identifiers become customers.

use std::collections::{HashMap, HashSet};

use billing_core::customers::{
    Amendment, Identifier, ProviderCode, RawRegistration, Registration, RegistrationPlan, Uuid, jwt_subject,
    plan_registration,
};
use billing_core::outcome::{Detail, Reason, Refusal, invalid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{Uuid as PgUuid, pg_sys};

use crate::error::{Error, Result};
use crate::pg::{self, Client, Row, RowWriter};
use crate::{settings, subscriptions, webhooks};

mod end_users;
pub mod mend;
mod store;

use store::mend::Standing;
pub use store::{discard, serialize};

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn resolve_billing_user(identifier: default!(Option<&str>, "NULL")) -> Result<UserResolution, ErrorReport> {
    Ok(pg::read(|client| resolve(client, identifier))?)
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn register_billing_user(
    user_id: default!(Option<PgUuid>, "NULL"),
    email: default!(Option<&str>, "NULL"),
    legacy_id: default!(Option<i64>, "NULL"),
    stripe_customer_id: default!(Option<&str>, "NULL"),
    paystack_customer_code: default!(Option<&str>, "NULL"),
    external_id: default!(Option<&str>, "NULL"),
) -> Result<IdentityOutcome, ErrorReport> {
    let raw = RawRegistration {
        user_id: user_id.map(|id| *id.as_bytes()),
        email,
        legacy_id,
        stripe_customer_id,
        paystack_customer_code,
        external_id,
    };
    Ok(pg::write(|client| match Registration::parse(raw, external_ids()) {
        Ok(given) => register(client, given),
        Err(refusal) => Ok(IdentityOutcome::refused(refusal)),
    })?)
}

/// Whether texts of no other kind are user ids here and now.
pub fn external_ids() -> bool {
    settings::external_ids() || pg::application_user_id_type() == Some(pg_sys::TEXTOID)
}

/// Whom an identifier names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Person {
    /// A customer.
    Known(Uuid),
    /// Nobody yet: the first applied call makes the customer.
    New(Registration),
    /// Nobody, and nobody to be made.
    Unknown,
}

/// The customer whom a reading call asks for; none for bad input and unknown users.
pub fn known(client: &Client, user_id: Option<&str>) -> Result<Option<Uuid>> {
    match Identifier::classify(user_id, external_ids()) {
        Ok(identifier) => found(client, &identifier),
        Err(_) => Ok(None),
    }
}

/// The customer who makes the request, by its JWT; none for anybody else.
pub fn end_user(client: &Client) -> Result<Option<Uuid>> {
    let (claims, sub) = store::jwt(client)?;
    let Some(sub) = jwt_subject(claims.as_deref(), sub.as_deref()) else { return Ok(None) };
    match Identifier::of_subject(&sub, external_ids()) {
        Some(identifier) => found(client, &identifier),
        None => Ok(None),
    }
}

fn found(client: &Client, identifier: &Identifier) -> Result<Option<Uuid>> {
    Ok(match find(client, identifier)? {
        Person::Known(customer_id) => Some(customer_id),
        Person::New(_) | Person::Unknown => None,
    })
}

/// Finds who is meant.
pub fn find(client: &Client, identifier: &Identifier) -> Result<Person> {
    if let Identifier::StripeCustomer(_) | Identifier::PaystackCustomer(_) = identifier {
        return Ok(store::by_identifier(client, identifier)?.map_or(Person::Unknown, Person::Known));
    }
    match pg::application_user_id_type() {
        None => {
            let known = store::by_identifier(client, identifier)?;
            Ok(known.map_or_else(|| Person::New(Registration::of(identifier)), Person::Known))
        }
        Some(id_type) => find_application_user(client, id_type, identifier),
    }
}

/// Where the application's users are known, only they are anybody.
fn find_application_user(client: &Client, id_type: pg_sys::Oid, identifier: &Identifier) -> Result<Person> {
    if let Some(user) = application_user(client, id_type, identifier)? {
        return match Identifier::classify(Some(&user.id), true) {
            Ok(Identifier::Email(_)) | Err(_) => Ok(Person::Unknown),
            Ok(id) => {
                let known = store::by_identifier(client, &id)?;
                Ok(known.map_or_else(|| Person::New(Registration::of(&id)), Person::Known))
            }
        };
    }
    // An id of another kind than the table's names a customer whose own id the table knows.
    if let Identifier::Email(_) = identifier {
        return Ok(Person::Unknown);
    }
    let Some(customer_id) = store::by_identifier(client, identifier)? else { return Ok(Person::Unknown) };
    let known = store::profile(client, customer_id)?.unwrap_or_default();
    let own = own_ids(&known).into_iter().filter(|own| own != identifier);
    for own in own {
        if application_user(client, id_type, &own)?.is_some() {
            return Ok(Person::Known(customer_id));
        }
    }
    Ok(Person::Unknown)
}

fn own_ids(known: &Registration) -> Vec<Identifier<'_>> {
    let external = known.external_id.as_deref().map(Identifier::External);
    let ids = [known.user_id.map(Identifier::UserId), known.legacy_id.map(Identifier::LegacyId), external];
    ids.into_iter().flatten().collect()
}

fn application_user(
    client: &Client,
    id_type: pg_sys::Oid,
    identifier: &Identifier,
) -> Result<Option<store::ApplicationUser>> {
    match identifier {
        Identifier::UserId(id) => {
            store::application_user(client, id_type, &PgUuid::from_bytes(*id).to_string())
        }
        Identifier::LegacyId(id) => store::application_user(client, id_type, &id.to_string()),
        Identifier::External(id) => store::application_user(client, id_type, id),
        Identifier::Email(email) => {
            let mut users = store::application_users_by_email(client, email)?;
            Ok(if users.len() == 1 { users.pop() } else { None })
        }
        Identifier::StripeCustomer(_) | Identifier::PaystackCustomer(_) => Ok(None),
    }
}

/// Whether the identifier is that customer's, whatever the application's table says today, or of whom the
/// customer has become part of. `person`: whom it names today.
pub fn is_known_as(
    client: &Client,
    person: &Person,
    identifier: &Identifier,
    customer_id: Uuid,
) -> Result<bool> {
    if *person == Person::Known(customer_id) {
        return Ok(true);
    }
    let known = store::by_identifier(client, identifier)?;
    if known == Some(customer_id) {
        return Ok(true);
    }
    let heir = heir(client, customer_id)?;
    Ok(*person == Person::Known(heir) || known == Some(heir))
}

/// Whether any of the customers was merged into another.
pub fn any_merged(client: &Client, customers: &[Uuid]) -> Result<bool> {
    if customers.is_empty() || !pg::has_column(c"customers", c"merged_into") {
        return Ok(false);
    }
    let look = |client: &Client| store::mend::any_merged(client, customers);
    let merged = look(client)?;
    if pg::keeps_one_snapshot() && pg::read_latest(look)? != merged {
        return Err(Error::ConcurrentUpdate);
    }
    Ok(merged)
}

/// Who the customer is now: the one whom an operator merged it into, else itself.
pub fn heir(client: &Client, customer_id: Uuid) -> Result<Uuid> {
    if !pg::has_column(c"customers", c"merged_into") {
        return Ok(customer_id);
    }
    let look = |client: &Client| store::mend::heir(client, customer_id);
    let heir = look(client)?;
    // An older snapshot may show the customer as it was.
    if pg::keeps_one_snapshot() && pg::read_latest(look)? != heir {
        return Err(Error::ConcurrentUpdate);
    }
    Ok(heir)
}

/// The customer of a person who is about to be credited, and whether this call made it.
pub fn find_or_make(client: &Client, person: &Person) -> Result<Option<(Uuid, bool)>> {
    let registration = match person {
        Person::Known(customer_id) => return Ok(Some((*customer_id, false))),
        Person::Unknown => return Ok(None),
        Person::New(registration) => registration,
    };
    for _ in 0..MAX_ROUNDS {
        if let Some(owner) = store::owners(client, registration)?.first() {
            return Ok(Some((owner.customer_id, false)));
        }
        if let Some(customer_id) = store::claim(client, registration)? {
            return Ok(Some((customer_id, true)));
        }
    }
    Err(Error::BrokenInvariant)
}

/// The identifier as bytes that sort and compare as the identifier does: who makes several customers makes
/// them in this order.
pub fn name(identifier: &Identifier) -> Vec<u8> {
    let (kind, bytes): (u8, &[u8]) = match identifier {
        Identifier::StripeCustomer(code) => (0, code.as_bytes()),
        Identifier::PaystackCustomer(code) => (1, code.as_bytes()),
        Identifier::UserId(id) => (2, id),
        Identifier::LegacyId(id) => (3, &id.to_be_bytes()),
        Identifier::Email(email) => (4, email.as_bytes()),
        Identifier::External(id) => (5, id.as_bytes()),
    };
    [&[kind], bytes].concat()
}

/// The name of somebody who is known by one identifier.
fn only_name(person: &Registration) -> Vec<u8> {
    let email = person.email.clone().map(Identifier::Email);
    own_ids(person).first().or(email.as_ref()).map(name).unwrap_or_default()
}

/// The customers of people who are known by one identifier each; who is missing is made. None for whom a
/// rival takes away at this very moment.
pub fn find_or_make_all(client: &Client, people: &[Registration]) -> Result<Vec<Option<Uuid>>> {
    let mut names: Vec<(Vec<u8>, &Registration)> =
        people.iter().map(|person| (only_name(person), person)).collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    names.dedup_by(|one, other| one.0 == other.0);
    let mut customers = HashMap::with_capacity(names.len());
    for chunk in names.chunks(PEOPLE_PER_STATEMENT) {
        let people: Vec<&Registration> = chunk.iter().map(|(_, person)| *person).collect();
        for (customer_id, known) in store::insert_all(client, &people)? {
            customers.insert(only_name(&known), customer_id);
        }
        for (name, person) in chunk {
            if !customers.contains_key(name)
                && let Some(owner) = store::owners(client, person)?.first()
            {
                customers.insert(name.clone(), owner.customer_id);
            }
        }
        pgrx::check_for_interrupts!();
    }
    Ok(people.iter().map(|person| customers.get(&only_name(person)).copied()).collect())
}

/// Those of the customers that there are.
pub fn existing(client: &Client, customers: &[Uuid]) -> Result<HashSet<Uuid>> {
    let mut found = HashSet::with_capacity(customers.len());
    for chunk in customers.chunks(PEOPLE_PER_STATEMENT) {
        found.extend(store::existing(client, chunk)?);
    }
    Ok(found)
}

/// Bounds the memory of one statement's arguments.
const PEOPLE_PER_STATEMENT: usize = 10_000;

/// Makes a customer whom nothing names or will name, once.
pub fn make_nobody(client: &Client, customer_id: Uuid) -> Result<()> {
    store::insert_nobody(client, customer_id)
}

/// The customer, and all who were merged into it.
pub fn family(client: &Client, customer_id: Uuid) -> Result<Vec<Uuid>> {
    store::mend::family(client, customer_id)
}

/// How often a decision is taken anew because a rival was faster; each round sees what the rival
/// committed, so that a second one is rare and a third rarer.
const MAX_ROUNDS: usize = 100;

fn resolve(client: &Client, text: Option<&str>) -> Result<UserResolution> {
    let mut resolution = UserResolution::default();
    let identifier = match Identifier::classify(text, external_ids()) {
        Ok(identifier) => identifier,
        Err(unusable) => {
            resolution.kind = unusable.kind();
            resolution.detail = Some(unusable.detail());
            return Ok(resolution);
        }
    };
    resolution.kind = identifier.kind();
    let Person::Known(customer_id) = find(client, &identifier)? else {
        resolution.detail = Some(Detail::UnknownUser);
        return Ok(resolution);
    };
    let known = store::profile(client, customer_id)?.unwrap_or_default();
    resolution.customer_id = Some(customer_id);
    resolution.user_id = known.user_id;
    resolution.email = known.email;
    if let Some(id_type) = pg::application_user_id_type()
        && let Some(user) = application_user(client, id_type, &identifier)?
    {
        resolution.email = user.email.map(|email| email.to_lowercase());
    }
    Ok(resolution)
}

/// Registers the identifiers, then processes what waits for a code among them.
fn register(client: &Client, given: Registration) -> Result<IdentityOutcome> {
    let given = match pg::application_user_id_type() {
        None => given,
        // What is known already is answered as before, whoever has left the application's table.
        Some(_) if plan_registration(&given, &store::owners(client, &given)?) == RegistrationPlan::Replay => {
            given
        }
        Some(id_type) => match with_application_user(client, id_type, given)? {
            Ok(given) => given,
            Err(detail) => return Ok(IdentityOutcome::refused(invalid(detail))),
        },
    };
    let registered = match settle(client, &given)? {
        Ok(registered) => registered,
        Err(detail) => return Ok(IdentityOutcome::refused(invalid(detail))),
    };
    webhooks::process_waiting(client, registered.codes)?;
    let owners = store::owners(client, &given)?;
    let owner = owners.into_iter().next().ok_or(Error::BrokenInvariant)?;
    let reason = if registered.changed { Reason::Applied } else { Reason::Replay };
    Ok(IdentityOutcome { reason, detail: None, customer_id: Some(owner.customer_id), known: owner.known })
}

/// Where the application's users are known: the e-mail stands for the row that has it now, and one of
/// the ids must be known there.
fn with_application_user(
    client: &Client,
    id_type: pg_sys::Oid,
    mut given: Registration,
) -> Result<Result<Registration, Detail>> {
    let mut known = false;
    for id in own_ids(&given) {
        known |= application_user(client, id_type, &id)?.is_some();
    }
    if let Some(email) = given.email.clone() {
        let Some(user) = application_user(client, id_type, &Identifier::Email(email))? else {
            return Ok(Err(Detail::UnknownUser));
        };
        let of_email = match Identifier::classify(Some(&user.id), true) {
            Ok(Identifier::Email(_)) | Err(_) => return Ok(Err(Detail::UnknownUser)),
            Ok(id) => Registration::of(&id),
        };
        let same = |a: &Registration| {
            of_email.user_id.is_none_or(|id| a.user_id.is_none_or(|given| given == id))
                && of_email.legacy_id.is_none_or(|id| a.legacy_id.is_none_or(|given| given == id))
                && (of_email.external_id.is_none()
                    || a.external_id.is_none()
                    || a.external_id == of_email.external_id)
        };
        if !same(&given) {
            return Ok(Err(Detail::IdentityConflict));
        }
        given.user_id = given.user_id.or(of_email.user_id);
        given.legacy_id = given.legacy_id.or(of_email.legacy_id);
        given.external_id = given.external_id.or(of_email.external_id);
        known = true;
        // The table is what e-mails are looked up in; a copy that somebody else still has is left.
        if foreign_email(client, &given)? {
            given.email = None;
        }
    }
    if known {
        return Ok(Ok(given));
    }
    for owner in store::owners(client, &given)? {
        for id in own_ids(&owner.known) {
            if application_user(client, id_type, &id)?.is_some() {
                return Ok(Ok(given));
            }
        }
    }
    Ok(Err(Detail::UnknownUser))
}

/// Whether the e-mail stands at a customer who holds none of the other identifiers.
fn foreign_email(client: &Client, given: &Registration) -> Result<bool> {
    let email = Registration { email: given.email.clone(), ..Registration::default() };
    let holder = store::owners(client, &email)?.into_iter().next();
    let others = Registration { email: None, ..given.clone() };
    let person = store::owners(client, &others)?.into_iter().next();
    Ok(match (holder, person) {
        (Some(holder), Some(person)) => holder.customer_id != person.customer_id,
        (Some(_), None) => true,
        (None, _) => false,
    })
}

/// What registering came to.
struct Registered {
    customer_id: Uuid,
    changed: bool,
    /// Provider codes that became the customer's.
    codes: Vec<String>,
}

/// Decides and writes, anew whenever a rival was faster.
fn settle(client: &Client, given: &Registration) -> Result<Result<Registered, Detail>> {
    for _ in 0..MAX_ROUNDS {
        let owners = store::owners(client, given)?;
        match plan_registration(given, &owners) {
            RegistrationPlan::Refuse(detail) => return Ok(Err(detail)),
            RegistrationPlan::Replay => {
                let customer_id = owners.first().ok_or(Error::BrokenInvariant)?.customer_id;
                return Ok(Ok(Registered { customer_id, changed: false, codes: Vec::new() }));
            }
            RegistrationPlan::Create => {
                if let Some(customer_id) = store::claim(client, given)? {
                    let codes = [&given.stripe_customer_id, &given.paystack_customer_code];
                    let codes = codes.into_iter().flatten().cloned().collect();
                    let codes = attach_waiting(client, customer_id, codes)?;
                    return Ok(Ok(Registered { customer_id, changed: true, codes }));
                }
            }
            RegistrationPlan::Amend(_) => {
                let customer_id = owners.first().ok_or(Error::BrokenInvariant)?.customer_id;
                store::lock(client, customer_id)?;
                let owners = store::owners(client, given)?;
                if let RegistrationPlan::Amend(amendment) = plan_registration(given, &owners)
                    && owners.first().is_some_and(|owner| owner.customer_id == customer_id)
                    && amend(client, customer_id, &amendment)?
                {
                    let codes = attach_waiting(client, customer_id, amendment.codes())?;
                    return Ok(Ok(Registered { customer_id, changed: true, codes }));
                }
            }
        }
    }
    Err(Error::BrokenInvariant)
}

/// Gives the customer the subscriptions that wait for the codes just linked; in one order, because two
/// who link the same codes meet at each.
fn attach_waiting(client: &Client, customer_id: Uuid, mut codes: Vec<String>) -> Result<Vec<String>> {
    codes.sort_unstable();
    for code in &codes {
        subscriptions::attach(client, code, customer_id)?;
    }
    Ok(codes)
}

/// Gives a locked customer what is new; false if somebody else got one of the identifiers first.
fn amend(client: &Client, customer_id: Uuid, amendment: &Amendment) -> Result<bool> {
    let Some(gate) = store::claim(client, &amendment.claims())? else { return Ok(false) };
    store::discard(client, gate)?;
    store::amend(client, customer_id, amendment)?;
    Ok(true)
}

/// What linking a provider code came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The code is the customer's from now on.
    Made(Uuid),
    /// It was already.
    Stood,
    /// It belongs to somebody else, and stays there.
    Refused,
}

/// Links a provider code to a person; a new one is made with it.
pub fn link(client: &Client, person: &Person, code: ProviderCode) -> Result<Link> {
    let registration = match person {
        Person::Unknown => return Ok(Link::Refused),
        Person::New(registration) => registration.clone(),
        Person::Known(customer_id) => return link_known(client, *customer_id, code),
    };
    Ok(match settle(client, &registration.with_code(code))? {
        Ok(registered) if registered.changed => Link::Made(registered.customer_id),
        Ok(_) => Link::Stood,
        Err(_) => Link::Refused,
    })
}

fn link_known(client: &Client, customer_id: Uuid, code: ProviderCode) -> Result<Link> {
    let wanted = Registration::default().with_code(code);
    let mut customer_id = customer_id;
    for _ in 0..MAX_ROUNDS {
        if let Some(owner) = store::by_identifier(client, &code.identifier())? {
            return Ok(if owner == customer_id { Link::Stood } else { Link::Refused });
        }
        store::lock(client, customer_id)?;
        match store::mend::standing(client, customer_id)? {
            Some(Standing::Live) => {}
            Some(Standing::Merged(into)) => {
                customer_id = into;
                continue;
            }
            // As if it had been linked first, and forgotten with all else.
            Some(Standing::Forgotten) => return Ok(Link::Stood),
            None => return Ok(Link::Refused),
        }
        let known = store::profile(client, customer_id)?.ok_or(Error::BrokenInvariant)?;
        let owner = billing_core::customers::Customer { customer_id, known, aliases: Vec::new() };
        if let RegistrationPlan::Amend(amendment) = plan_registration(&wanted, &[owner])
            && amend(client, customer_id, &amendment)?
        {
            attach_waiting(client, customer_id, amendment.codes())?;
            return Ok(Link::Made(customer_id));
        }
    }
    Err(Error::BrokenInvariant)
}

/// SQL type `user_resolution`.
#[derive(Debug, Default)]
struct UserResolution {
    kind: &'static str,
    customer_id: Option<Uuid>,
    user_id: Option<Uuid>,
    email: Option<String>,
    detail: Option<Detail>,
}

impl Row for UserResolution {
    fn write(self, row: &mut RowWriter) {
        row.column(Some(self.customer_id.is_some()))
            .column(Some(self.kind))
            .column(self.customer_id.map(PgUuid::from_bytes))
            .column(self.user_id.map(PgUuid::from_bytes))
            .column(self.email)
            .column(self.detail.map(Detail::as_str));
    }
}

pg::sql_row!(UserResolution, "user_resolution");

/// SQL type `identity_outcome`.
#[derive(Debug)]
struct IdentityOutcome {
    reason: Reason,
    detail: Option<Detail>,
    customer_id: Option<Uuid>,
    known: Registration,
}

impl IdentityOutcome {
    fn refused(refusal: Refusal) -> IdentityOutcome {
        IdentityOutcome {
            reason: refusal.reason,
            detail: Some(refusal.detail),
            customer_id: None,
            known: Registration::default(),
        }
    }
}

impl Row for IdentityOutcome {
    fn write(self, row: &mut RowWriter) {
        row.outcome(self.reason, self.detail)
            .column(self.customer_id.map(PgUuid::from_bytes))
            .column(self.known.user_id.map(PgUuid::from_bytes))
            .column(self.known.email)
            .column(self.known.legacy_id)
            .column(self.known.stripe_customer_id)
            .column(self.known.paystack_customer_code)
            .column(self.known.external_id);
    }
}

pg::sql_row!(IdentityOutcome, "identity_outcome");
