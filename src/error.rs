//! The few things that are SQL errors, and their SQLSTATE, message and hint: all in this file.
//!
//! Business answers are rows. Errors from Postgres itself (serialization failures, lock timeouts,
//! missing rights) pass through untouched. No text here carries a value.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::spi::SpiError;

/// An error of the extension's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A row is not what the statements before it made it: the transaction must not commit.
    BrokenInvariant,
    /// A rival committed what this transaction's snapshot cannot see: to be sent again.
    ConcurrentUpdate,
    /// An operator's function was called with an argument that it refuses; the sentence says which.
    BadArgument(&'static str),
    /// A table of the books is about to be dropped with rows in it.
    BooksHoldRows,
}

/// What every function inside the extension returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<SpiError> for Error {
    /// SPI itself fails only where a statement and its Rust side disagree.
    fn from(_: SpiError) -> Error {
        Error::BrokenInvariant
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> ErrorReport {
        match error {
            Error::BrokenInvariant => ErrorReport::new(
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
                "a billing row is not as the transaction left it; nothing of this call is kept",
                "billing_rpc",
            )
            .set_hint("Look for triggers or rules on the tables of schema billing, then try again."),
            Error::ConcurrentUpdate => ErrorReport::new(
                PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
                "could not serialize access due to concurrent update",
                "billing_rpc",
            ),
            Error::BadArgument(sentence) => {
                ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, sentence, "billing_rpc")
            }
            // sql/guard.sql says the same where the library cannot be loaded.
            Error::BooksHoldRows => ErrorReport::new(
                PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                "the books of billing_rpc would be dropped: its ledger, webhook events or payments hold rows",
                "billing_rpc",
            )
            .set_hint(
                "Dump the database first. To drop them on purpose, as a superuser in this session: \
                 SET billing_rpc.allow_drop = on;",
            ),
        }
    }
}
