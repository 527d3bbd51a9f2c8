//! A Postgres database as its own billing backend.
pgrx::pg_module_magic!();
