//! What end users may ask about their own credits. Who they are comes from the request's token; nobody is made.

use billing_core::credits::{credit_type as checked_type, history_rows};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::store::{self, AccountKey, HistoryEntry};
use super::{CreditBalance, balance_now, ledger};
use crate::customers;
use crate::error::Result;
use crate::pg::{self, Client};

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn my_credits(credit_type: default!(Option<&str>, "'credits'")) -> Result<CreditBalance, ErrorReport> {
    Ok(pg::read(|client| match account(client, credit_type)? {
        Some(key) => balance_now(client, key),
        None => Ok(CreditBalance::default()),
    })?)
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn my_credit_history(
    max_rows: default!(Option<i32>, "50"),
    before_entry_id: default!(Option<i64>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<SetOfIterator<'static, HistoryEntry>, ErrorReport> {
    let entries = pg::read(|client| {
        let Some(rows) = history_rows(max_rows) else { return Ok(Vec::new()) };
        let Some(key) = account(client, credit_type)? else { return Ok(Vec::new()) };
        store::history(client, key, before_entry_id.unwrap_or(i64::MAX), rows)
    })?;
    Ok(SetOfIterator::new(entries))
}

#[pg_extern(stable, parallel_restricted, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn has_credits(
    credits: default!(Option<i64>, "NULL"),
    credit_type: default!(Option<&str>, "'credits'"),
) -> Result<bool, ErrorReport> {
    Ok(pg::read(|client| {
        let Some(credits) = credits.filter(|credits| *credits > 0) else { return Ok(false) };
        let Some(key) = account(client, credit_type)? else { return Ok(false) };
        Ok(ledger::look(client, key)?.is_some_and(|(account, _)| account.available() >= credits))
    })?)
}

/// The account of whoever makes the request; none for anybody else, and for what is no credit type.
fn account<'a>(client: &Client, credit_type: Option<&'a str>) -> Result<Option<AccountKey<'a>>> {
    let Ok(credit_type) = checked_type(credit_type) else { return Ok(None) };
    let customer_id = customers::end_user(client)?;
    Ok(customer_id.map(|customer_id| AccountKey { customer_id, credit_type }))
}
