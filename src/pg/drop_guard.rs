//! Refuses to drop the tables that hold the books while there are rows in them, whatever drops them.
//!
//! An event trigger (sql/guard.sql) sees to it that the library is loaded in every backend that drops
//! something; from then on the server asks here before it drops a table, one that falls by a cascade too.

use std::ffi::CStr;

use pgrx::{pg_extern, search_path};

use super::raw::{Dropped, before_drop};
use crate::error::{Error, Result};
use crate::settings;

const EXTENSION: &CStr = c"billing_rpc";
const BOOKS: [&CStr; 3] = [c"ledger", c"webhook_events", c"payments"];

/// Begins to watch, in this backend and for its lifetime.
pub fn register() {
    before_drop(judge);
}

/// Does nothing: to call it loads the library.
#[pg_extern(volatile, parallel_unsafe, schema = "billing")]
#[search_path(pg_catalog, pg_temp)]
fn watch_drops() {}

fn judge(dropped: &Dropped) -> Result<()> {
    if !settings::allow_drop() && holds_books(dropped) {
        return Err(Error::BooksHoldRows);
    }
    Ok(())
}

/// Whether one of the three goes with it, rows and all.
///
/// A table is known by its schema too, should it have been taken out of the extension. Such a one may fall
/// after the schema that it is in, hence the look into the schema.
fn holds_books(dropped: &Dropped) -> bool {
    match dropped {
        Dropped::Table(table) => {
            table.name().is_some_and(|name| BOOKS.contains(&name.as_c_str()))
                && (table.is_member_of(EXTENSION) || table.schema().is_member_of(EXTENSION))
                && table.has_rows()
        }
        Dropped::Schema(schema) => {
            schema.is_member_of(EXTENSION)
                && BOOKS.iter().any(|name| schema.table(name).is_some_and(|table| table.has_rows()))
        }
    }
}
