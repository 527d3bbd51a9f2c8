//! What billing_rpc decides, without Postgres, clock or I/O.
//!
//! Every call runs the same way: an entry point of the extension hands its raw arguments to this
//! crate, which parses and validates them; the extension loads and locks rows; this crate decides;
//! the extension writes. Time, randomness and rows come in as arguments, so everything here is a
//! pure function that a plain `cargo test` can try.
#![forbid(unsafe_code)]

pub mod adoption;
pub mod charges;
pub mod checkout;
pub mod credits;
pub mod customers;
pub mod dashboard;
pub mod interval;
pub mod invoices;
pub mod json;
pub mod monitoring;
pub mod openmetrics;
pub mod outcome;
pub mod packs;
pub mod payments;
pub mod paystack;
pub mod plans;
pub mod signatures;
pub mod subscriptions;
pub mod text;
pub mod time;
pub mod webhooks;
