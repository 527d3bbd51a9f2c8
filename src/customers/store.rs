//! SQL statements on customers, their aliases, and the application's users.

use billing_core::customers::{Amendment, Customer, Identifier, Registration, Uuid};
use pgrx::{Uuid as PgUuid, pg_sys};

use crate::error::{Error, Result};
use crate::pg::{self, Client, Columns, Rows, Statement, statements};

pub mod mend;

statements! {
    BY_USER_ID(UUIDOID) direct = "SELECT customer_id FROM billing.customers WHERE user_id = $1";
    BY_LEGACY_ID(INT8OID) direct = "SELECT customer_id FROM billing.customers WHERE legacy_id = $1";
    BY_EMAIL(TEXTOID) direct = "SELECT customer_id FROM billing.customers WHERE email = $1";
    BY_EXTERNAL_ID(TEXTOID) direct = "SELECT customer_id FROM billing.customers WHERE external_id = $1";
    BY_STRIPE_CODE(TEXTOID) direct =
        "SELECT customer_id FROM billing.customers WHERE stripe_customer_id = $1";
    BY_PAYSTACK_CODE(TEXTOID) direct =
        "SELECT customer_id FROM billing.customers WHERE paystack_customer_code = $1";
    BY_ALIAS(TEXTOID) direct = "SELECT customer_id FROM billing.customer_aliases WHERE code = $1";
    PROFILE(UUIDOID) direct =
        "SELECT customer_id, user_id, email, legacy_id, stripe_customer_id, paystack_customer_code, external_id
         FROM billing.customers WHERE customer_id = $1";
    OWNERS(UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID) =
        "SELECT c.customer_id, c.user_id, c.email, c.legacy_id, c.stripe_customer_id, c.paystack_customer_code,
                c.external_id, ARRAY(SELECT a.code FROM billing.customer_aliases a
                                     WHERE a.customer_id = c.customer_id AND a.code IN ($4, $5))
         FROM billing.customers c
         WHERE c.customer_id IN (
             SELECT customer_id FROM billing.customers WHERE user_id = $1
             UNION ALL SELECT customer_id FROM billing.customers WHERE email = $2
             UNION ALL SELECT customer_id FROM billing.customers WHERE legacy_id = $3
             UNION ALL SELECT customer_id FROM billing.customers WHERE stripe_customer_id = $4
             UNION ALL SELECT customer_id FROM billing.customers WHERE paystack_customer_code = $5
             UNION ALL SELECT customer_id FROM billing.customers WHERE external_id = $6
             UNION ALL SELECT customer_id FROM billing.customer_aliases WHERE code IN ($4, $5))
         ORDER BY c.customer_id";
    LOCK(UUIDOID) =
        "SELECT customer_id FROM billing.customers WHERE customer_id = $1 FOR NO KEY UPDATE";
    SERIALIZE(UUIDOID) =
        "UPDATE billing.customers SET created_at = created_at WHERE customer_id = $1 RETURNING customer_id";
    INSERT(UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID) =
        "INSERT INTO billing.customers
             (user_id, email, legacy_id, stripe_customer_id, paystack_customer_code, external_id)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING RETURNING customer_id";
    INSERT_ALL(UUIDARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID) =
        "INSERT INTO billing.customers (user_id, legacy_id, email, external_id)
         SELECT p.user_id, p.legacy_id, p.email, p.external_id
         FROM ROWS FROM (
             pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)
         ) WITH ORDINALITY AS p (user_id, legacy_id, email, external_id, place)
         ORDER BY p.place
         ON CONFLICT DO NOTHING
         RETURNING customer_id, user_id, email, legacy_id, stripe_customer_id, paystack_customer_code, external_id";
    INSERT_NOBODY(UUIDOID) =
        "INSERT INTO billing.customers (customer_id, forgotten_at) VALUES ($1, pg_catalog.clock_timestamp())
         ON CONFLICT DO NOTHING";
    EXISTING(UUIDARRAYOID) =
        "SELECT c.customer_id FROM pg_catalog.unnest($1) AS k (customer_id)
         JOIN billing.customers c ON c.customer_id = k.customer_id";
    DELETE(UUIDOID) = "DELETE FROM billing.customers WHERE customer_id = $1";
    AMEND(UUIDOID, UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID) =
        "UPDATE billing.customers SET
             user_id = coalesce($2, user_id), email = coalesce($3, email), legacy_id = coalesce($4, legacy_id),
             stripe_customer_id = coalesce($5, stripe_customer_id),
             paystack_customer_code = coalesce($6, paystack_customer_code),
             external_id = coalesce($7, external_id)
         WHERE customer_id = $1 RETURNING customer_id";
    ADD_ALIAS(UUIDOID, TEXTOID) =
        "INSERT INTO billing.customer_aliases (customer_id, code) VALUES ($1, $2)
         ON CONFLICT DO NOTHING RETURNING code";
    DELETE_ALIASES(UUIDOID) = "DELETE FROM billing.customer_aliases WHERE customer_id = $1";
    JWT() =
        "SELECT pg_catalog.current_setting('request.jwt.claims', true),
                pg_catalog.current_setting('request.jwt.claim.sub', true)";
    USER_BY_UUID(UUIDOID) =
        "SELECT u.id::text, u.email FROM billing.application_users u WHERE u.id = $1";
    USER_BY_INTEGER(INT8OID) =
        "SELECT u.id::text, u.email FROM billing.application_users u WHERE u.id = $1";
    USER_BY_TEXT(TEXTOID) =
        "SELECT u.id::text, u.email FROM billing.application_users u WHERE u.id = $1";
    USERS_BY_EMAIL(TEXTOID) =
        "SELECT u.id::text, u.email FROM billing.application_users u
         WHERE pg_catalog.lower(u.email) = $1 LIMIT 2";
}

/// One row of the application's users.
#[derive(Clone, Debug)]
pub struct ApplicationUser {
    /// The id as text.
    pub id: String,
    /// As the table has it.
    pub email: Option<String>,
}

/// The customer that the identifier names in `billing.customers`.
pub fn by_identifier(client: &Client, identifier: &Identifier) -> Result<Option<Uuid>> {
    let rows = match identifier {
        Identifier::UserId(id) => BY_USER_ID.with(|s| s.run(client, &[PgUuid::from_bytes(*id).into()])),
        Identifier::LegacyId(id) => BY_LEGACY_ID.with(|s| s.run(client, &[(*id).into()])),
        Identifier::Email(email) => BY_EMAIL.with(|s| s.run(client, &[email.as_str().into()])),
        Identifier::External(id) => BY_EXTERNAL_ID.with(|s| s.run(client, &[(*id).into()])),
        Identifier::StripeCustomer(code) => return by_code(client, &BY_STRIPE_CODE, code),
        Identifier::PaystackCustomer(code) => return by_code(client, &BY_PAYSTACK_CODE, code),
    }?;
    rows.first(customer_id)
}

/// A code is a column of its customer or an alias; both looks see the same moment, for it may go from one to the
/// other.
fn by_code(client: &Client, column: &'static Local, code: &str) -> Result<Option<Uuid>> {
    pg::at_once(client, |client| {
        let found = column.with(|s| s.run(client, &[code.into()]))?.first(customer_id)?;
        match found {
            None => BY_ALIAS.with(|s| s.run(client, &[code.into()]))?.first(customer_id),
            found => Ok(found),
        }
    })
}

fn customer_id(row: &Columns) -> Result<Uuid> {
    Ok(*row.get::<PgUuid>(1)?.as_bytes())
}

/// What is known of the customer.
pub fn profile(client: &Client, customer_id: Uuid) -> Result<Option<Registration>> {
    PROFILE.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?.first(registration)
}

/// The identifiers of a row that begins like `billing.customers` is read here.
fn registration(row: &Columns) -> Result<Registration> {
    Ok(Registration {
        user_id: row.maybe::<PgUuid>(2)?.map(|id| *id.as_bytes()),
        email: row.maybe(3)?,
        legacy_id: row.maybe(4)?,
        stripe_customer_id: row.maybe(5)?,
        paystack_customer_code: row.maybe(6)?,
        external_id: row.maybe(7)?,
    })
}

/// Every customer that holds one of the identifiers, in the order of locking.
pub fn owners(client: &Client, given: &Registration) -> Result<Vec<Customer>> {
    let rows = run_registration(&OWNERS, client, None, given)?;
    rows.all(|row| {
        Ok(Customer {
            customer_id: *row.get::<PgUuid>(1)?.as_bytes(),
            known: registration(row)?,
            aliases: row.get(8)?,
        })
    })
}

/// What PostgREST tells of the request's token: all claims as JSON, and `sub` alone as older versions do.
pub fn jwt(client: &Client) -> Result<(Option<String>, Option<String>)> {
    let row = JWT.with(|s| s.run(client, &[]))?.first(|row| Ok((row.maybe(1)?, row.maybe(2)?)))?;
    row.ok_or(Error::BrokenInvariant)
}

/// Locks the customer's row against other changes of its identifiers.
pub fn lock(client: &Client, customer_id: Uuid) -> Result<()> {
    one(LOCK.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?)
}

/// Locks the customer's row for a decision that reads other rows of theirs.
///
/// The row is written, not only locked: at REPEATABLE READ and above, who waited for a rival would go on
/// with a snapshot that lacks what the rival wrote; so the call ends in 40001.
pub fn serialize(client: &Client, customer_id: Uuid) -> Result<()> {
    one(SERIALIZE.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?)
}

/// Makes a customer of the identifiers; none if any of them belongs to somebody, or is about to.
///
/// A provider code stands either in `billing.customers` or in `billing.customer_aliases`. Whoever
/// links one first inserts it into both, so that the unique indexes of both decide: two who link one
/// code wait for each other, and at the higher isolation levels the later one ends in 40001.
pub fn claim(client: &Client, identifiers: &Registration) -> Result<Option<Uuid>> {
    let rows = run_registration(&INSERT, client, None, identifiers)?;
    let Some(customer_id) = rows.first(|row| Ok(*row.get::<PgUuid>(1)?.as_bytes()))? else {
        return Ok(None);
    };
    let codes = [&identifiers.stripe_customer_id, &identifiers.paystack_customer_code];
    let mut free = true;
    for code in codes.into_iter().flatten() {
        free = free && add_alias(client, customer_id, code)?;
    }
    if codes.iter().any(|code| code.is_some()) {
        DELETE_ALIASES.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?;
    }
    if !free {
        discard(client, customer_id)?;
    }
    Ok(free.then_some(customer_id))
}

/// Makes customers of people without provider codes, in the order given; those whom nobody was before.
pub fn insert_all(client: &Client, people: &[&Registration]) -> Result<Vec<(Uuid, Registration)>> {
    let user_ids: Vec<_> = people.iter().map(|person| person.user_id.map(PgUuid::from_bytes)).collect();
    let legacy_ids: Vec<_> = people.iter().map(|person| person.legacy_id).collect();
    let emails: Vec<_> = people.iter().map(|person| person.email.clone()).collect();
    let external_ids: Vec<_> = people.iter().map(|person| person.external_id.clone()).collect();
    let arguments = [user_ids.into(), legacy_ids.into(), emails.into(), external_ids.into()];
    INSERT_ALL
        .with(|s| s.run(client, &arguments))?
        .all(|row| Ok((*row.get::<PgUuid>(1)?.as_bytes(), registration(row)?)))
}

/// Those of them that there are.
pub fn existing(client: &Client, customers: &[Uuid]) -> Result<Vec<Uuid>> {
    let customers: Vec<PgUuid> = customers.iter().copied().map(PgUuid::from_bytes).collect();
    EXISTING.with(|s| s.run(client, &[customers.into()]))?.all(|row| Ok(*row.get::<PgUuid>(1)?.as_bytes()))
}

/// Makes a customer without identifiers, marked as forgotten: none is ever added. Nothing if it is there.
pub fn insert_nobody(client: &Client, customer_id: Uuid) -> Result<()> {
    INSERT_NOBODY.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?;
    Ok(())
}

fn add_alias(client: &Client, customer_id: Uuid, code: &str) -> Result<bool> {
    let arguments = [PgUuid::from_bytes(customer_id).into(), code.into()];
    Ok(ADD_ALIAS.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Takes back a customer that this very call made.
pub fn discard(client: &Client, customer_id: Uuid) -> Result<()> {
    DELETE.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?;
    Ok(())
}

/// Gives a locked customer what is new; the identifiers were claimed just before.
pub fn amend(client: &Client, customer_id: Uuid, amendment: &Amendment) -> Result<()> {
    if amendment.columns != Registration::default() {
        one(run_registration(&AMEND, client, Some(customer_id), &amendment.columns)?)?;
    }
    for alias in &amendment.aliases {
        if !add_alias(client, customer_id, alias)? {
            return Err(Error::BrokenInvariant);
        }
    }
    Ok(())
}

/// The application's user of that id, by the type of its id column; none where the type cannot hold
/// such an id.
pub fn application_user(client: &Client, id_type: pg_sys::Oid, id: &str) -> Result<Option<ApplicationUser>> {
    let rows = match id_type {
        pg_sys::UUIDOID => match billing_core::customers::parse_uuid(id) {
            Some(id) => USER_BY_UUID.with(|s| s.run(client, &[PgUuid::from_bytes(id).into()])),
            None => return Ok(None),
        },
        pg_sys::TEXTOID => USER_BY_TEXT.with(|s| s.run(client, &[id.into()])),
        _ => match id.parse::<i64>() {
            Ok(id) => USER_BY_INTEGER.with(|s| s.run(client, &[id.into()])),
            Err(_) => return Ok(None),
        },
    }?;
    Ok(application_users(rows)?.pop())
}

/// The application's users that have the e-mail now; more than one is ambiguous.
pub fn application_users_by_email(client: &Client, email: &str) -> Result<Vec<ApplicationUser>> {
    application_users(USERS_BY_EMAIL.with(|s| s.run(client, &[email.into()]))?)
}

fn application_users(rows: Rows) -> Result<Vec<ApplicationUser>> {
    rows.all(|row| Ok(ApplicationUser { id: row.maybe(1)?.unwrap_or_default(), email: row.maybe(2)? }))
}

type Local = std::thread::LocalKey<Statement>;

fn run_registration<'conn>(
    statement: &'static Local,
    client: &Client<'conn>,
    customer_id: Option<Uuid>,
    given: &Registration,
) -> Result<Rows<'conn>> {
    let mut arguments = Vec::with_capacity(7);
    if let Some(id) = customer_id {
        arguments.push(PgUuid::from_bytes(id).into());
    }
    arguments.extend([
        given.user_id.map(PgUuid::from_bytes).into(),
        text(&given.email),
        given.legacy_id.into(),
        text(&given.stripe_customer_id),
        text(&given.paystack_customer_code),
        text(&given.external_id),
    ]);
    statement.with(|s| s.run(client, &arguments))
}

fn text(value: &Option<String>) -> pgrx::datum::DatumWithOid<'_> {
    value.as_deref().into()
}

fn one(rows: Rows) -> Result<()> {
    if rows.len() == 1 { Ok(()) } else { Err(Error::BrokenInvariant) }
}
