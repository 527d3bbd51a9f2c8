//! What the extension needs of Postgres beyond pgrx's own face, made safe to use.
//!
//! `raw` holds all the unsafe code there is; `statement` the statements that a backend prepares once.

pub mod drop_guard;
mod interval;
mod raw;
mod row;
pub mod shape;
mod statement;

pub use interval::{interval, interval_of};
pub use raw::heap::{Kept, hopeful, is_hopeful, watch_definitions};
pub use raw::{
    Ended, Errors, Gates, JsonArgument, JsonText, JsonbArgument, JsonbDatum, Sharing, Time,
    application_user_id_type, gate, has_column, has_relation, in_gate, in_passing, jsonb, keeps_one_snapshot,
    now, only_free_locks, random_uuid, refetch_source_is_set, reserve_settings_prefix, savepoint,
};
pub use row::{Row, RowWriter};
#[cfg(any(test, feature = "pg_test"))]
pub use statement::left_to_executor;
pub use statement::{Client, Columns, Rows, Statement, at_once, read, read_latest, survey, write};

pub(crate) use row::sql_row;
pub(crate) use statement::{statement, statements};
