//! The end user of a request, for row policies.

use pgrx::Uuid as PgUuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::end_user;
use crate::error::Result;
use crate::pg;

// Written out: pgrx would declare a function without parameters STRICT.
#[pg_extern(
    stable,
    parallel_restricted,
    security_definer,
    schema = "billing",
    sql = "CREATE FUNCTION billing.current_customer_id() RETURNS uuid \
           LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO pg_catalog, pg_temp \
           AS 'MODULE_PATHNAME', 'current_customer_id_wrapper';"
)]
fn current_customer_id() -> Result<Option<PgUuid>, ErrorReport> {
    Ok(pg::read(end_user)?.map(PgUuid::from_bytes))
}
