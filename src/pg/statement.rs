//! Statements, prepared once per backend, planned for any argument, always by index; the simplest ones of the
//! hottest calls are done without the executor.

use std::cell::OnceCell;
use std::mem::ManuallyDrop;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, PgOid};
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiTupleTable};
use pgrx::{FromDatum, IntoDatum, Spi};

use super::raw;
use super::raw::heap::{self, Done, Kept, Routes, Value};
use super::shape::Shape;
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
    direct: Option<Direct>,
    // Never dropped: a backend's end must not call into a Postgres that is shutting down.
    reading: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
    writing: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
}

/// How a statement is done without the executor, where its table allows it.
struct Direct {
    kept: Kept,
    shape: OnceCell<Option<Shape>>,
    routes: Routes,
}

impl Direct {
    fn shape(&self, sql: &str) -> Option<&Shape> {
        self.shape.get_or_init(|| Shape::of(sql)).as_ref()
    }

    fn run(&self, sql: &str, sees: Sees, arguments: &[DatumWithOid]) -> Option<Vec<Vec<Value>>> {
        let shape = self.shape(sql)?;
        match heap::run(shape, self.kept, &self.routes, sees == Sees::Now, arguments) {
            Done::Rows(rows) => Some(rows),
            Done::NotHere => None,
        }
    }
}

#[cfg(any(test, feature = "pg_test"))]
thread_local! {
    static LEFT: std::cell::RefCell<Vec<&'static str>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Statements marked `direct` that were left to the executor since this was asked last.
#[cfg(any(test, feature = "pg_test"))]
pub fn left_to_executor() -> Vec<&'static str> {
    LEFT.take()
}

impl Statement {
    /// A statement, prepared when it is first run.
    pub const fn new(sql: &'static str, arguments: &'static [pg_sys::Oid]) -> Statement {
        Statement { sql, arguments, direct: None, reading: OnceCell::new(), writing: OnceCell::new() }
    }

    /// A statement that is done without the executor, where its table allows it: by a key of an index, one row
    /// inserted, or one row changed that the call has locked.
    pub const fn direct(sql: &'static str, arguments: &'static [pg_sys::Oid], kept: Kept) -> Statement {
        let direct = Direct { kept, shape: OnceCell::new(), routes: Routes::new(None) };
        Statement { sql, arguments, direct: Some(direct), reading: OnceCell::new(), writing: OnceCell::new() }
    }

    /// Runs the statement.
    pub fn run<'conn>(&self, client: &Client<'conn>, arguments: &[DatumWithOid]) -> Result<Rows<'conn>> {
        let direct = self.direct.as_ref().filter(|_| client.sees != Sees::Whole);
        if let Some(rows) = direct.and_then(|direct| direct.run(self.sql, client.sees, arguments)) {
            return Ok(Rows::Direct(rows));
        }
        #[cfg(any(test, feature = "pg_test"))]
        LEFT.with_borrow_mut(|left| left.extend(direct.map(|_| self.sql)));
        let kept = match client.sees {
            Sees::Now => &self.writing,
            Sees::Snapshot => &self.reading,
            Sees::Whole => return Ok(Rows::Table(client.spi.select(self.sql, None, arguments)?)),
        };
        let plan = match kept.get() {
            Some(plan) => plan,
            None => {
                let plan = self.prepare(client)?;
                kept.get_or_init(|| ManuallyDrop::new(plan))
            }
        };
        Ok(Rows::Table(client.spi.select(&**plan, None, arguments)?))
    }

    /// Whether it is done without the executor, as its table is now.
    pub fn is_direct(&self) -> bool {
        self.shape().is_some_and(|(direct, shape)| heap::is_direct(shape, direct.kept, &direct.routes))
    }

    /// Waits until nobody is inserting or changing a row of that key; whether there is one then, whatever a snapshot shows.
    /// None where only the executor can tell.
    pub fn is_there(&self, arguments: &[DatumWithOid]) -> Option<bool> {
        let (direct, shape) = self.shape()?;
        heap::is_there(shape, &direct.routes, arguments)
    }

    fn shape(&self) -> Option<(&Direct, &Shape)> {
        let direct = self.direct.as_ref()?;
        Some((direct, direct.shape(self.sql)?))
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

/// Declares the statements of a store: `NAME(TYPES) = "...";`, or `NAME(TYPES) direct = "...";` for one that is done
/// without the executor. One that writes says `direct[checks c"..", ..; locked c"..", ..; hopeful ..]`, as in [`Kept`].
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident($($oid:ident),*) $(direct $([$($kept:tt)*])?)? = $sql:expr;)*) => {
        thread_local! {
            $($(#[$meta])* static $name: $crate::pg::Statement = const {
                $crate::pg::statement!($sql, &[$(pgrx::pg_sys::$oid),*] $(, direct $([$($kept)*])?)?)
            };)*
        }
    };
}
pub(crate) use statements;

macro_rules! statement {
    ($sql:expr, $types:expr) => {
        $crate::pg::Statement::new($sql, $types)
    };
    ($sql:expr, $types:expr, direct) => {
        $crate::pg::Statement::direct($sql, $types, $crate::pg::Kept { checks: &[], locked: &[], hopeful: false })
    };
    ($sql:expr, $types:expr, direct [checks $($check:literal),*; locked $($locked:literal),*; hopeful $hopeful:literal]) => {
        $crate::pg::Statement::direct(
            $sql,
            $types,
            $crate::pg::Kept { checks: &[$($check),*], locked: &[$($locked),*], hopeful: $hopeful },
        )
    };
}
pub(crate) use statement;

/// The rows that a statement gave.
pub enum Rows<'conn> {
    /// By the executor.
    Table(SpiTupleTable<'conn>),
    /// Without it.
    Direct(Vec<Vec<Value>>),
}

impl Rows<'_> {
    /// How many rows were returned.
    pub fn len(&self) -> usize {
        match self {
            Rows::Table(table) => table.len(),
            Rows::Direct(rows) => rows.len(),
        }
    }

    /// The first row, read by the closure; none if there is no row.
    pub fn first<T>(self, read: impl FnOnce(&Columns) -> Result<T>) -> Result<Option<T>> {
        match self {
            Rows::Table(table) if table.is_empty() => Ok(None),
            Rows::Table(table) => read(&Columns::Table(table.first())).map(Some),
            Rows::Direct(rows) => rows.into_iter().next().map(|row| read(&Columns::Direct(row))).transpose(),
        }
    }

    /// Every row, read by the closure.
    pub fn all<T>(self, mut read: impl FnMut(&Columns) -> Result<T>) -> Result<Vec<T>> {
        let mut table = match self {
            Rows::Table(table) => table,
            Rows::Direct(rows) => return rows.into_iter().map(|row| read(&Columns::Direct(row))).collect(),
        };
        let mut rows = Vec::with_capacity(table.len());
        while table.next().is_some() {
            let columns = Columns::Table(table);
            rows.push(read(&columns)?);
            let Columns::Table(at) = columns else { break };
            table = at;
        }
        Ok(rows)
    }
}

/// The row at hand.
pub enum Columns<'conn> {
    /// By the executor.
    Table(SpiTupleTable<'conn>),
    /// Without it.
    Direct(Vec<Value>),
}

impl Columns<'_> {
    /// A column that may be null; counted from one.
    pub fn maybe<T: IntoDatum + FromDatum>(&self, ordinal: usize) -> Result<Option<T>> {
        match self {
            Columns::Table(table) => Ok(table.get(ordinal)?),
            Columns::Direct(row) => heap::value(row.get(ordinal - 1)),
        }
    }

    /// Whether a column is not null; counted from one.
    pub fn has(&self, ordinal: usize) -> Result<bool> {
        match self {
            Columns::Table(table) => Ok(table.get_datum_by_ordinal(ordinal)?.is_some()),
            Columns::Direct(row) => {
                row.get(ordinal - 1).map(|(datum, _)| datum.is_some()).ok_or(Error::BrokenInvariant)
            }
        }
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

/// Runs several looks that all see what is committed now, and the same.
pub fn at_once<T>(client: &Client, body: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    if client.sees != Sees::Now {
        return body(client);
    }
    raw::with_snapshot(raw::Snapshot::Statement, || body(&Client { spi: client.spi, sees: Sees::Snapshot }))
}

/// Runs a look at what is committed now, whatever the transaction's own snapshot shows.
///
/// In a savepoint, because pgrx lets a statement use the active snapshot only where the (sub)transaction has
/// written nothing yet; otherwise it takes the transaction's own.
pub fn read_latest<T>(body: impl FnOnce(&Client) -> Result<T>) -> Result<T> {
    let look = || raw::with_snapshot(raw::Snapshot::Latest, || read(body)).map(Ok::<T, ()>);
    match raw::savepoint(raw::Errors::Through, look)? {
        raw::Ended::Done(answer) => Ok(answer),
        raw::Ended::Refused(()) | raw::Ended::Busy | raw::Ended::Error(_) => Err(Error::BrokenInvariant),
    }
}
