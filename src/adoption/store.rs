//! SQL statements on mirrors of balances.

use crate::error::Result;
use crate::pg::{Client, statements};

statements! {
    MIRROR(TEXTOID) = "SELECT credit_type FROM billing.balance_mirrors WHERE credit_type = $1";
}

/// Whether balances of that type are written to a column of the application, or ever were.
pub fn was_mirrored(client: &Client, credit_type: &str) -> Result<bool> {
    Ok(MIRROR.with(|s| s.run(client, &[credit_type.into()]))?.len() > 0)
}
