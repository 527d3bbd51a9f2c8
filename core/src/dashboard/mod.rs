//! The dashboard: one page of HTML from a few numbers. No clock and no I/O; what is shown is what was handed in.
//!
//! Nothing here can write a value unescaped: see `html`.

use crate::credits::account::Micros;
use crate::webhooks::Status;

mod advice;
mod chart;
mod credits;
mod events;
mod figures;
mod health;
mod html;
mod page;
mod sample;
mod subscriptions;
mod troubles;

pub use page::{page, response_headers};
pub use sample::{Sample, sample};

/// How many hours of events are shown.
pub const HOURS: i64 = 48;
/// How many days of credits are shown.
pub const DAYS: i64 = 30;
/// How many credit types have a chart; of one more it is told that there are more.
pub const CREDIT_TYPES: usize = 6;

const SECOND: Micros = 1_000_000;
const HOUR: Micros = 3_600 * SECOND;
const DAY: Micros = 24 * HOUR;

/// The first moment of the first hour shown.
pub fn first_hour(now: Micros) -> Micros {
    now - now.rem_euclid(HOUR) - (HOURS - 1) * HOUR
}

/// The first moment of the first day shown, UTC.
pub fn first_day(now: Micros) -> Micros {
    now - now.rem_euclid(DAY) - (DAYS - 1) * DAY
}

/// All that the page shows.
#[derive(Clone, Debug, Default)]
pub struct Dashboard {
    /// The time of the page.
    pub now: Micros,
    /// Events received in the last hours.
    pub events: Events,
    /// Failed events that are tried again, the next one first.
    pub failed: Bounded<Trouble>,
    /// Events that failed too often, the latest first.
    pub dead: Bounded<Trouble>,
    /// Events whose lease ran out, the longest since first.
    pub ran_out: Bounded<Stuck>,
    /// Events due for long, the longest since first.
    pub overdue: Bounded<Stuck>,
    /// Recorded events that wait for a worker.
    pub recorded: Count,
    /// Claims that live.
    pub claimed: Count,
    /// Objects whose truth is to be fetched.
    pub refetches: Count,
    /// Credits of the last days.
    pub credits: Credits,
    /// Subscriptions by status.
    pub subscriptions: Subscriptions,
    /// The last entries of the ledger, the latest first.
    pub entries: Vec<Entry>,
    /// What was checked; none where nothing is.
    pub health: Vec<Check>,
}

/// Rows, as far as a bound; whether there are more.
#[derive(Clone, Debug)]
pub struct Bounded<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

impl<T> Default for Bounded<T> {
    fn default() -> Bounded<T> {
        Bounded { rows: Vec::new(), more: false }
    }
}

impl<T> Bounded<T> {
    /// Of rows that were read to one beyond the bound.
    pub fn of(mut rows: Vec<T>, bound: usize) -> Bounded<T> {
        let more = rows.len() > bound;
        rows.truncate(bound);
        Bounded { rows, more }
    }

    /// How many there are.
    pub fn count(&self) -> Count {
        Count { counted: i64::try_from(self.rows.len()).unwrap_or(i64::MAX), more: self.more }
    }
}

/// How many, counted as far as a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// At least so many.
    pub counted: i64,
    /// Whether there are more.
    pub more: bool,
}

/// Events received in the last hours.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// How many, by hour and status.
    pub hours: Vec<HourOfEvents>,
    /// How many, by type and status.
    pub types: Vec<TypeOfEvents>,
    /// From when on all are counted, where that is not the whole time shown.
    pub since: Option<Micros>,
    /// Whether there are more types than were looked at.
    pub more_types: bool,
}

/// So many events of one hour and status.
#[derive(Clone, Debug)]
pub struct HourOfEvents {
    /// Any moment of the hour.
    pub hour: Micros,
    /// Their status.
    pub status: Status,
    /// How many.
    pub events: i64,
}

/// So many events of one type and status.
#[derive(Clone, Debug)]
pub struct TypeOfEvents {
    /// The provider's name of the type.
    pub event_type: String,
    /// Their status.
    pub status: Status,
    /// How many.
    pub events: i64,
}

/// An event whose processing failed.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Whose event.
    pub provider: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's name of its type.
    pub event_type: String,
    /// When it was first heard of.
    pub received_at: Micros,
    /// When it is tried again.
    pub next_attempt_at: Option<Micros>,
    /// Claims so far.
    pub attempts: i32,
    /// The code of its last failure; none where the application failed it.
    pub detail: Option<String>,
    /// The sentence of its last failure.
    pub message: String,
    /// Whether its body is kept, so that it can be tried again here.
    pub payload_kept: bool,
}

/// An event that nobody takes care of.
#[derive(Clone, Debug, Default)]
pub struct Stuck {
    /// Whose event.
    pub provider: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's name of its type.
    pub event_type: String,
    /// Since when.
    pub since: Micros,
}

/// Credits of the last days.
#[derive(Clone, Debug, Default)]
pub struct Credits {
    /// Sums by credit type and day; the type with most entries first.
    pub days: Vec<DayOfCredits>,
    /// From when on all entries are summed, where that is not the whole time shown.
    pub since: Option<Micros>,
}

/// Credits of one type and day.
#[derive(Clone, Debug)]
pub struct DayOfCredits {
    /// The credit type.
    pub credit_type: String,
    /// Any moment of the day.
    pub day: Micros,
    /// What was added.
    pub added: i128,
    /// What was taken, as a positive number.
    pub taken: i128,
}

/// Subscriptions by status.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    /// How many of each status.
    pub statuses: Vec<StatusOfSubscriptions>,
    /// Whether there may be more than were counted.
    pub more: bool,
}

/// Subscriptions of one status.
#[derive(Clone, Debug, Default)]
pub struct StatusOfSubscriptions {
    /// The status.
    pub status: String,
    /// How many.
    pub subscriptions: i64,
    /// Of those, how many end with their period.
    pub ending: i64,
    /// Of those, how many belong to nobody known here.
    pub unlinked: i64,
}

/// An entry of the ledger.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Its number.
    pub entry_id: i64,
    /// When it was made.
    pub created_at: Micros,
    /// Whose credits: the customer's uuid.
    pub customer_id: String,
    /// What kind.
    pub kind: String,
    /// Signed.
    pub credits: i64,
    /// The balance after it.
    pub balance_after: i64,
    /// The credit type.
    pub credit_type: String,
    /// The business fact.
    pub source_ref: Option<String>,
}

/// One thing that `billing.health()` checked.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether all is well with it.
    pub ok: bool,
    /// What to do.
    pub advice: String,
}

#[cfg(test)]
mod tests;
