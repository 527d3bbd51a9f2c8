//! All credits of one customer become another's: balance by two entries, lots and open holds as they are.

use billing_core::credits::{EntryKind, merge_fingerprint, merge_keys};
use billing_core::customers::Uuid;
use billing_core::outcome::Refusal;
use pgrx::Uuid as PgUuid;

use super::ledger::Locked;
use super::store::{self, AccountKey, NewEntry, Origin};
use crate::error::{Error, Result};
use crate::pg::{self, Client};

/// Makes the balances that `into` lacks, before anybody is kept from writing something of `from`'s: who
/// makes balances for both at once is waited for here.
pub fn prepare_merge(client: &Client, into: Uuid, credit_types: &[String]) -> Result<()> {
    for credit_type in credit_types {
        store::insert_balance(client, AccountKey { customer_id: into, credit_type }, pg::now())?;
    }
    Ok(())
}

/// Moves all credits of those types. `family`: `from` and all who were merged into it before, who made its
/// lots. Refused only if a balance would be too much; then something is written that must be undone.
pub fn merge(
    client: &Client,
    from: Uuid,
    into: Uuid,
    credit_types: &[String],
    family: &[Uuid],
) -> Result<std::result::Result<bool, Refusal>> {
    let mut customers = [from, into];
    customers.sort_unstable();
    let mut first = Vec::with_capacity(credit_types.len());
    let mut second = Vec::with_capacity(credit_types.len());
    for (accounts, customer_id) in [&mut first, &mut second].into_iter().zip(customers) {
        for credit_type in credit_types {
            accounts.push(Locked::open_itself(client, AccountKey { customer_id, credit_type })?);
        }
    }
    let (givers, takers) = if customers[0] == from { (first, second) } else { (second, first) };
    let mut moved = false;
    for (mut giver, mut taker) in givers.into_iter().zip(takers) {
        let credits = giver.account.balance;
        if let Err(refusal) = taker.account.absorb(&mut giver.account) {
            return Ok(Err(refusal));
        }
        move_credits(client, &giver, &taker, credits)?;
        store::hand_over_lots(client, giver.key, into, family)?;
        store::hand_over_holds(client, giver.key, into)?;
        moved |= credits > 0;
    }
    Ok(Ok(moved))
}

/// Writes the entry that takes the credits away, the one that gives them, and both balances.
fn move_credits(client: &Client, giver: &Locked, taker: &Locked, credits: i64) -> Result<()> {
    let last = store::last_entry(client, giver.key)?.unwrap_or_default();
    let (key_from, key_into) = merge_keys(last);
    let sides = [
        (giver, -credits, key_from, "merged_into", taker.key.customer_id, 0),
        (taker, credits, key_into, "merged_from", giver.key.customer_id, giver.hold_count),
    ];
    for (side, credits, idempotency_key, word, other, new_holds) in sides {
        let metadata = format!("{{\"{word}\": \"{}\"}}", PgUuid::from_bytes(other));
        side.commit(client, new_holds, |client| {
            if credits == 0 {
                return Ok(Some(()));
            }
            let new = NewEntry {
                kind: EntryKind::Adjustment,
                credits,
                balance_after: side.account.balance,
                idempotency_key: &idempotency_key,
                fingerprint: merge_fingerprint(&other, credits),
                money: None,
                source: None,
                origin: Origin::default(),
                metadata: pg::jsonb(&metadata).map(Into::into),
                reverses: None,
                shortfall: None,
            };
            Ok(store::insert_entry(client, side.key, new, side.at)?.map(|_| ()))
        })?
        .ok_or(Error::BrokenInvariant)?;
    }
    Ok(())
}
