//! SQL statements of mending people by hand.

use billing_core::customers::{Customer, Uuid};
use pgrx::Uuid as PgUuid;

use super::{one, registration, run_registration};
use crate::error::Result;
use crate::pg::{self, Client, statements};

statements! {
    WHOLE(UUIDOID) =
        "SELECT c.customer_id, c.user_id, c.email, c.legacy_id, c.stripe_customer_id, c.paystack_customer_code,
                c.external_id, ARRAY(SELECT a.code FROM billing.customer_aliases a
                                     WHERE a.customer_id = c.customer_id ORDER BY a.created_at, a.code)
         FROM billing.customers c WHERE c.customer_id = $1";
    STANDING(UUIDOID) =
        "SELECT merged_into, forgotten_at IS NOT NULL FROM billing.customers WHERE customer_id = $1";
    MERGED_INTO(UUIDOID) direct = "SELECT merged_into FROM billing.customers WHERE customer_id = $1";
    ANY_MERGED(UUIDARRAYOID) =
        "SELECT customer_id FROM billing.customers WHERE merged_into IS NOT NULL AND customer_id = ANY ($1) LIMIT 1";
    LOCK_ALONE(UUIDOID) = "SELECT customer_id FROM billing.customers WHERE customer_id = $1 FOR UPDATE";
    WRITE(UUIDOID, UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID) =
        "UPDATE billing.customers SET
             user_id = $2, email = $3, legacy_id = $4, stripe_customer_id = $5, paystack_customer_code = $6,
             external_id = $7
         WHERE customer_id = $1 RETURNING customer_id";
    PUT_ALIAS(UUIDOID, TEXTOID) =
        "INSERT INTO billing.customer_aliases (customer_id, code) VALUES ($1, $2)
         ON CONFLICT (code) DO UPDATE SET customer_id = excluded.customer_id
         WHERE customer_aliases.customer_id <> excluded.customer_id";
    DROP_OTHER_ALIASES(UUIDOID, TEXTARRAYOID) =
        "DELETE FROM billing.customer_aliases WHERE customer_id = $1 AND code <> ALL ($2)";
    MARK_MERGED(UUIDOID, UUIDOID) =
        "UPDATE billing.customers SET merged_into = $2 WHERE customer_id = $1 RETURNING customer_id";
    FAMILY(UUIDOID) =
        "WITH RECURSIVE family AS (
             SELECT $1 AS customer_id
             UNION ALL
             SELECT c.customer_id FROM family f JOIN billing.customers c ON c.merged_into = f.customer_id)
         SELECT customer_id FROM family";
    MARK_FORGOTTEN(UUIDOID) =
        "UPDATE billing.customers SET forgotten_at = pg_catalog.clock_timestamp()
         WHERE customer_id = $1 RETURNING customer_id";
}

/// What an operator made of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: as any customer.
    Live,
    /// Part of that customer since.
    Merged(Uuid),
    /// Nobody's any more; the books are kept.
    Forgotten,
}

/// What an operator made of the customer; none if there is no such customer.
///
/// The schema of 0.1.0 has no such columns: there all customers live.
pub fn standing(client: &Client, customer_id: Uuid) -> Result<Option<Standing>> {
    if !pg::has_column(c"customers", c"merged_into") {
        return Ok(Some(Standing::Live));
    }
    STANDING.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?.first(|row| {
        Ok(match (row.maybe::<PgUuid>(1)?, row.get(2)?) {
            (Some(into), _) => Standing::Merged(*into.as_bytes()),
            (None, true) => Standing::Forgotten,
            (None, false) => Standing::Live,
        })
    })
}

/// Who the customer is part of in the end: itself, if of nobody.
pub fn heir(client: &Client, customer_id: Uuid) -> Result<Uuid> {
    let mut heir = customer_id;
    while let Some(into) = merged_into(client, heir)? {
        heir = into;
    }
    Ok(heir)
}

fn merged_into(client: &Client, customer_id: Uuid) -> Result<Option<Uuid>> {
    let found = MERGED_INTO
        .with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?
        .first(|row| row.maybe::<PgUuid>(1))?;
    Ok(found.flatten().map(|id| *id.as_bytes()))
}

/// Whether any of them is part of another one.
pub fn any_merged(client: &Client, customers: &[Uuid]) -> Result<bool> {
    let customers: Vec<PgUuid> = customers.iter().copied().map(PgUuid::from_bytes).collect();
    Ok(ANY_MERGED.with(|s| s.run(client, &[customers.into()]))?.len() > 0)
}

/// The customer with all aliases, the oldest first; none if there is no such customer.
pub fn whole(client: &Client, customer_id: Uuid) -> Result<Option<Customer>> {
    WHOLE
        .with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?
        .first(|row| Ok(Customer { customer_id, known: registration(row)?, aliases: row.get(8)? }))
}

/// Locks the customer's row so that nobody can refer to it either: who begins to write something of the
/// customer's waits, and who has begun is waited for.
pub fn lock_alone(client: &Client, customer_id: Uuid) -> Result<()> {
    one(LOCK_ALONE.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?)
}

/// Writes what two locked customers have from now on. An alias that moves keeps its age.
pub fn write(client: &Client, holder: Option<&Customer>, target: &Customer) -> Result<()> {
    for code in &target.aliases {
        let arguments = [PgUuid::from_bytes(target.customer_id).into(), code.as_str().into()];
        PUT_ALIAS.with(|s| s.run(client, &arguments))?;
    }
    for customer in holder.into_iter().chain([target]) {
        let arguments = [PgUuid::from_bytes(customer.customer_id).into(), customer.aliases.clone().into()];
        DROP_OTHER_ALIASES.with(|s| s.run(client, &arguments))?;
        one(run_registration(&WRITE, client, Some(customer.customer_id), &customer.known)?)?;
    }
    Ok(())
}

/// Notes whose part the customer is from now on.
pub fn mark_merged(client: &Client, from: Uuid, into: Uuid) -> Result<()> {
    let arguments = [PgUuid::from_bytes(from).into(), PgUuid::from_bytes(into).into()];
    one(MARK_MERGED.with(|s| s.run(client, &arguments))?)
}

/// The customer, and all who were merged into it, directly or by others.
pub fn family(client: &Client, customer_id: Uuid) -> Result<Vec<Uuid>> {
    FAMILY
        .with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?
        .all(|row| Ok(*row.get::<PgUuid>(1)?.as_bytes()))
}

/// Notes that the customer is nobody's any more.
pub fn mark_forgotten(client: &Client, customer_id: Uuid) -> Result<()> {
    one(MARK_FORGOTTEN.with(|s| s.run(client, &[PgUuid::from_bytes(customer_id).into()]))?)
}
