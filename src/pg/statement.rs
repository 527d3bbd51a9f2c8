//! Statements, prepared once per backend, planned for any argument, always by index.

use std::cell::OnceCell;
use std::mem::ManuallyDrop;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, PgOid};
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiTupleTable};
use pgrx::{FromDatum, IntoDatum, Spi};

use super::raw;
use crate::error::{Error, Result};

/// The connection of one call to the backend's executor.
pub struct Client<'conn> {
    spi: &'conn SpiClient<'conn>,
    sees: Sees,
}

/// What the statements of a call see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The snapshot of the calling query: for reading calls.
    Snapshot,
    /// What others committed until now, and what this call wrote: for writing calls, which wait for
    /// locks and must not decide by what was true before.
    Now,
    /// The snapshot, for a look at whole tables.
    Whole,
}

/// One SQL statement of a store.
pub struct Statement {
    sql: &'static str,
    arguments: &'static [pg_sys::Oid],
    // Never dropped: a backend's end must not call into a Postgres that is shutting down.
    reading: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
    writing: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
}

impl Statement {
    /// A statement, prepared when it is first run.
    pub const fn new(sql: &'static str, arguments: &'static [pg_sys::Oid]) -> Statement {
        Statement { sql, arguments, reading: OnceCell::new(), writing: OnceCell::new() }
    }

    /// Runs the statement.
    pub fn run<'conn>(&self, client: &Client<'conn>, arguments: &[DatumWithOid]) -> Result<Rows<'conn>> {
        let kept = match client.sees {
            Sees::Now => &self.writing,
            Sees::Snapshot => &self.reading,
            Sees::Whole => return Ok(Rows(client.spi.select(self.sql, None, arguments)?)),
        };
        let plan = match kept.get() {
            Some(plan) => plan,
            None => {
                let plan = self.prepare(client)?;
                kept.get_or_init(|| ManuallyDrop::new(plan))
            }
        };
        Ok(Rows(client.spi.select(&**plan, None, arguments)?))
    }

    fn prepare(&self, client: &Client) -> Result<OwnedPreparedStatement> {
        let types: Vec<PgOid> = self.arguments.iter().map(|oid| PgOid::from(*oid)).collect();
        let plan = match client.sees {
            Sees::Now => client.spi.prepare_mut(self.sql, &types)?,
            Sees::Snapshot | Sees::Whole => client.spi.prepare(self.sql, &types)?,
        };
        Ok(plan.keep())
    }
}

/// Declares the statements of a store: `NAME(TYPES) = "...";`
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident($($oid:ident),*) = $sql:expr;)*) => {
        thread_local! {
            $($(#[$meta])* static $name: $crate::pg::Statement = const {
                $crate::pg::Statement::new($sql, &[$(pgrx::pg_sys::$oid),*])
            };)*
        }
    };
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
pub fn write<T>(body: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    let _plans = raw::IndexPlans::enter();
    Spi::connect_mut(|client| body(&Client { spi: client, sees: Sees::Now }))
}

/// Runs the body of a reading call.
pub fn read<T>(body: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    let _plans = raw::IndexPlans::enter();
    Spi::connect(|client| body(&Client { spi: client, sees: Sees::Snapshot }))
}

/// Runs the body of a call that counts whole tables. An index is no way to read all of one: its statements are planned
/// by costs, anew each time, and may be given parallel workers, which kept plans never are.
pub fn survey<T>(body: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    Spi::connect(|client| body(&Client { spi: client, sees: Sees::Whole }))
}

/// Runs a look at what is committed now, whatever the transaction's own snapshot shows.
///
/// In a savepoint, because pgrx lets a statement use the active snapshot only where the (sub)transaction has
/// written nothing yet; otherwise it takes the transaction's own.
pub fn read_latest<T>(body: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    let look = || raw::with_latest_snapshot(|| read(body)).map(Ok::<T, ()>);
    match raw::savepoint(raw::Errors::Through, look)? {
        raw::Ended::Done(answer) => Ok(answer),
        raw::Ended::Refused(()) | raw::Ended::Busy | raw::Ended::Error(_) => Err(Error::BrokenInvariant),
    }
}
