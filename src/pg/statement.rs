//! Statements, prepared once per backend, planned for any argument, always by index.

use std::cell::OnceCell;
use std::mem::ManuallyDrop;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, PgOid};
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiTupleTable};
use pgrx::{FromDatum, IntoDatum, Spi};

use super::raw;
use crate::error::{Error, Result};

/// One SQL statement of a store.
pub struct Statement {
    sql: &'static str,
    arguments: &'static [pg_sys::Oid],
    fresh: bool,
    // Never dropped: a backend's end must not call into a Postgres that is shutting down.
    plan: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
}

impl Statement {
    /// A statement. `fresh`: sees what others committed until now, and what this call wrote; else
    /// it reads the snapshot of the calling query.
    pub const fn new(fresh: bool, sql: &'static str, arguments: &'static [pg_sys::Oid]) -> Statement {
        Statement { sql, arguments, fresh, plan: OnceCell::new() }
    }

    /// Runs the statement.
    pub fn run<'conn>(&self, client: &SpiClient<'conn>, arguments: &[DatumWithOid]) -> Result<Rows<'conn>> {
        let plan = match self.plan.get() {
            Some(plan) => plan,
            None => {
                let plan = self.prepare(client)?;
                self.plan.get_or_init(|| ManuallyDrop::new(plan))
            }
        };
        Ok(Rows(client.select(&**plan, None, arguments)?))
    }

    fn prepare(&self, client: &SpiClient) -> Result<OwnedPreparedStatement> {
        let types: Vec<PgOid> = self.arguments.iter().map(|oid| PgOid::from(*oid)).collect();
        let plan = if self.fresh {
            client.prepare_mut(self.sql, &types)?
        } else {
            client.prepare(self.sql, &types)?
        };
        Ok(plan.keep())
    }
}

/// Declares the statements of a store: `fresh NAME(TYPES) = "..."` or `snapshot NAME(TYPES) = "..."`.
macro_rules! statements {
    ($($freshness:ident $name:ident($($oid:ident),*) = $sql:expr;)*) => {
        thread_local! {
            $(static $name: $crate::pg::Statement = const {
                $crate::pg::Statement::new(
                    $crate::pg::statements!(@ $freshness), $sql, &[$(pgrx::pg_sys::$oid),*])
            };)*
        }
    };
    (@ fresh) => { true };
    (@ snapshot) => { false };
}
pub(crate) use statements;

/// The rows that a statement gave.
pub struct Rows<'conn>(SpiTupleTable<'conn>);

impl Rows<'_> {
    /// How many rows were returned.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first row, read by the closure; none if there is no row.
    pub fn first<T>(self, read: impl FnOnce(&Columns) -> Result<T>) -> Result<Option<T>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        read(&Columns(self.0.first())).map(Some)
    }

    /// Every row, read by the closure.
    pub fn all<T>(self, mut read: impl FnMut(&Columns) -> Result<T>) -> Result<Vec<T>> {
        let mut table = self.0;
        let mut rows = Vec::with_capacity(table.len());
        while table.next().is_some() {
            let columns = Columns(table);
            rows.push(read(&columns)?);
            table = columns.0;
        }
        Ok(rows)
    }
}

/// The row at hand.
pub struct Columns<'conn>(SpiTupleTable<'conn>);

impl Columns<'_> {
    /// A column that may be null; counted from one.
    pub fn maybe<T: IntoDatum + FromDatum>(&self, ordinal: usize) -> Result<Option<T>> {
        Ok(self.0.get(ordinal)?)
    }

    /// A column that is never null; counted from one.
    pub fn get<T: IntoDatum + FromDatum>(&self, ordinal: usize) -> Result<T> {
        self.maybe(ordinal)?.ok_or(Error::BrokenInvariant)
    }
}

/// Runs the body of a writing call.
pub fn write<T>(body: impl FnOnce(&SpiClient) -> Result<T>) -> Result<T> {
    let _plans = raw::IndexPlans::enter();
    Spi::connect_mut(|client| body(client))
}

/// Runs the body of a reading call.
pub fn read<T>(body: impl FnOnce(&SpiClient) -> Result<T>) -> Result<T> {
    let _plans = raw::IndexPlans::enter();
    Spi::connect(|client| body(client))
}
