//! What billing_rpc decides, without Postgres, clock or I/O.
#![forbid(unsafe_code)]
