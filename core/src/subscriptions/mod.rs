//! Subscriptions: their statuses, the order of what is said of them, and what each word changes.
//!
//! Events arrive in any order, several in one second, and their time counts whole seconds. So two times
//! are kept: `object_at` of the last subscription object applied, `status_at` of the last status set. A
//! subscription object fetched from the provider is the truth: it overrides what events have said before.

mod objects;
#[cfg(any(test, feature = "model"))]
pub mod orders;

use std::cmp::Reverse;

pub use crate::credits::account::Micros;
use crate::outcome::Detail;
pub use objects::Snapshot;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Rows of `pending_refetches` if the caller does not say, and at the most.
const REFETCH_ROWS: (i64, i64) = (100, 1_000);

/// How many rows a caller of `pending_refetches` gets; none for bad input.
pub fn refetch_rows(max_rows: Option<i32>) -> Option<i64> {
    let rows = max_rows.map_or(REFETCH_ROWS.0, i64::from);
    (rows > 0).then(|| rows.min(REFETCH_ROWS.1))
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The first payment is still to come.
    Incomplete,
    /// It never came.
    IncompleteExpired,
    /// In use, not paid for yet.
    Trialing,
    /// In use.
    Active,
    /// A payment failed and is tried again.
    PastDue,
    /// Payments failed, and are no longer tried.
    Unpaid,
    /// The trial ended without a way to pay.
    Paused,
    /// Over.
    Canceled,
}

use Status::*;

/// What may follow a status; each may follow itself. Nothing returns to incomplete, and nothing leaves
/// the two final ones.
const TRANSITIONS: [(Status, &[Status]); 8] = [
    (Incomplete, &[Incomplete, Trialing, Active, IncompleteExpired, Canceled]),
    (Trialing, &[Trialing, Active, PastDue, Unpaid, Paused, Canceled]),
    (Active, &[Trialing, Active, PastDue, Unpaid, Paused, Canceled]),
    (PastDue, &[Trialing, Active, PastDue, Unpaid, Paused, Canceled]),
    (Unpaid, &[Trialing, Active, PastDue, Unpaid, Paused, Canceled]),
    (Paused, &[Trialing, Active, PastDue, Unpaid, Paused, Canceled]),
    (IncompleteExpired, &[IncompleteExpired]),
    (Canceled, &[Canceled]),
];

/// What an invoice may move: paid ones to active, failed ones to past_due.
const MOVED_BY_INVOICE: [(Status, &[Status]); 2] =
    [(Active, &[Incomplete, PastDue, Unpaid]), (PastDue, &[Trialing, Active])];

impl Status {
    /// Every status.
    pub const ALL: [Status; 8] =
        [Incomplete, IncompleteExpired, Trialing, Active, PastDue, Unpaid, Paused, Canceled];

    /// As stored and answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Incomplete => "incomplete",
            IncompleteExpired => "incomplete_expired",
            Trialing => "trialing",
            Active => "active",
            PastDue => "past_due",
            Unpaid => "unpaid",
            Paused => "paused",
            Canceled => "canceled",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing comes after it.
    pub const fn is_final(self) -> bool {
        matches!(self, IncompleteExpired | Canceled)
    }

    /// How far on in a subscription's life: of two objects of one second the one further on wins.
    const fn rank(self) -> u8 {
        match self {
            Incomplete => 0,
            Trialing => 1,
            Active => 2,
            PastDue => 3,
            Unpaid => 4,
            Paused => 5,
            IncompleteExpired | Canceled => 6,
        }
    }

    /// Which of a customer's subscriptions is shown: the lower the better.
    const fn preference(self) -> u8 {
        match self {
            Active => 0,
            Trialing => 1,
            PastDue => 2,
            _ => 3,
        }
    }
}

/// Whether one status may follow another.
pub fn can_transition(from: Status, to: Status) -> bool {
    TRANSITIONS.iter().any(|(status, next)| *status == from && next.contains(&to))
}

/// The same for names of statuses; false for unknown ones.
pub fn can_transition_by_name(from: Option<&str>, to: Option<&str>) -> bool {
    let status = |text: Option<&str>| text.and_then(Status::parse);
    matches!((status(from), status(to)), (Some(from), Some(to)) if can_transition(from, to))
}

/// What a subscription object says beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `cus_...` or `CUS_...`
    pub provider_customer: String,
    /// What is paid for, sorted: the plan is found by these.
    pub price_ids: Vec<String>,
    /// Of the first item that has one.
    pub quantity: Option<i64>,
    /// Begin of the period that is paid for.
    pub current_period_start: Option<Micros>,
    /// Its end.
    pub current_period_end: Option<Micros>,
    /// When it is set to end, if it is.
    pub cancel_at: Option<Micros>,
    /// End of the trial.
    pub trial_end: Option<Micros>,
    /// Whether it ends with the period that is paid for.
    pub cancel_at_period_end: bool,
}

impl Facts {
    /// When it ends by itself, if that is settled.
    pub fn ends_at(&self) -> Option<Micros> {
        self.cancel_at.or(self.current_period_end.filter(|_| self.cancel_at_period_end))
    }
}

/// Whether a subscription counts as active: it is in use, and its end, if one is set, lies ahead.
pub fn is_active(status: Status, ends_at: Option<Micros>, now: Micros) -> bool {
    matches!(status, Active | Trialing) && ends_at.is_none_or(|end| end > now)
}

/// The order in which a customer's subscriptions are shown, best first: those that count as active,
/// then by status, then by the latest period end.
pub fn order_of_showing(status: Status, active: bool, period_end: Option<Micros>) -> impl Ord {
    (!active, status.preference(), Reverse(period_end))
}

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where it stands.
    pub status: Status,
    /// What the last object applied said beside its status.
    pub facts: Facts,
    /// The status that the last object applied had; an invoice may have moved `status` since, or an
    /// older object may not have been allowed to.
    pub object_status: Status,
    /// Of the last object applied; none where the provider tells no times.
    pub object_at: Option<Micros>,
    /// Of the last status set; never before `object_at`.
    pub status_at: Option<Micros>,
    /// Whether the last object applied was the truth.
    pub is_truth: bool,
}

/// Where an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An event of that time, in whole seconds.
    Event {
        /// When it happened.
        created: Micros,
    },
    /// Fetched from the provider.
    Truth {
        /// Taken just before fetching.
        observed_at: Micros,
        /// Whether anybody said when; else it is the time of the call.
        dated: bool,
    },
    /// An event of a provider that tells no times.
    Untimed,
}

/// Why the truth is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refetch {
    /// The validator forbade what an event said.
    TransitionNotAllowed,
    /// Two differing objects of one second, or a final status older than the one that stands.
    StaleEvent,
    /// Setting `billing_rpc.refetch` is `always`.
    Always,
}

impl Refetch {
    /// As stored and answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refetch::TransitionNotAllowed => Detail::TransitionNotAllowed.as_str(),
            Refetch::StaleEvent => Detail::StaleEvent.as_str(),
            Refetch::Always => "always",
        }
    }
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is applied: the subscription is to be stored so.
    Store(State),
    /// This truth was applied before.
    Replay,
    /// It changes nothing.
    Ignore(Detail),
}

/// A verdict, and whether the truth is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the object.
    pub verdict: Verdict,
    /// Why the truth is wanted, if it is.
    pub refetch: Option<Refetch>,
}

impl Decision {
    const fn of(verdict: Verdict) -> Decision {
        Decision { verdict, refetch: None }
    }

    fn forbidden(refetch: bool) -> Decision {
        let refetch = refetch.then_some(Refetch::TransitionNotAllowed);
        Decision { verdict: Verdict::Ignore(Detail::TransitionNotAllowed), refetch }
    }

    fn stale(refetch: bool) -> Decision {
        let refetch = refetch.then_some(Refetch::StaleEvent);
        Decision { verdict: Verdict::Ignore(Detail::StaleEvent), refetch }
    }
}

/// Decides what an object changes.
pub fn decide(stored: Option<&State>, object: &Snapshot, origin: Origin) -> Decision {
    let Some(stored) = stored else { return Decision::of(Verdict::Store(first(object, origin))) };
    match origin {
        Origin::Event { created } => by_event(stored, object, created),
        Origin::Truth { observed_at, dated } => by_truth(stored, object, observed_at, dated),
        Origin::Untimed if can_transition(stored.status, object.status) => {
            Decision::of(Verdict::Store(untimed(stored, object)))
        }
        Origin::Untimed => Decision::forbidden(false),
    }
}

/// The first word on a subscription sets any status.
fn first(object: &Snapshot, origin: Origin) -> State {
    let at = match origin {
        Origin::Event { created } => Some(created),
        Origin::Truth { observed_at, .. } => Some(observed_at),
        Origin::Untimed => None,
    };
    State {
        status: object.status,
        facts: object.facts.clone(),
        object_status: object.status,
        object_at: at,
        status_at: at,
        is_truth: matches!(origin, Origin::Truth { .. }),
    }
}

fn by_event(stored: &State, object: &Snapshot, created: Micros) -> Decision {
    if Some(created) < stored.object_at {
        // The truth's time has parts of a second, an event's has none: within the truth's own second
        // nobody knows which was first.
        let in_its_second = stored.object_at.is_some_and(|at| second(at) == second(created));
        return Decision::stale(in_its_second && differs(stored, object));
    }
    if Some(created) == stored.object_at && !is_further_on(stored, object) {
        return Decision::stale(differs(stored, object));
    }
    if Some(created) < stored.status_at {
        // Withholding a final status would leave a subscription alive that has ended.
        let ended = object.status.is_final() && object.status != stored.status;
        return Decision {
            verdict: Verdict::Store(but_its_status(stored, object, created, false)),
            refetch: ended.then_some(Refetch::StaleEvent),
        };
    }
    if !can_transition(stored.status, object.status) {
        return Decision::forbidden(true);
    }
    Decision::of(Verdict::Store(first(object, Origin::Event { created })))
}

fn by_truth(stored: &State, object: &Snapshot, observed_at: Micros, dated: bool) -> Decision {
    let same = stored.is_truth && !differs(stored, object);
    if same && (Some(observed_at) == stored.object_at || (!dated && stored.status == stored.object_status)) {
        return Decision::of(Verdict::Replay);
    }
    if Some(observed_at) < stored.object_at {
        // It may have been fetched later than it says: the request on the queue, if there is one, stays open.
        return Decision::stale(differs(stored, object));
    }
    Decision::of(Verdict::Store(if Some(observed_at) < stored.status_at {
        but_its_status(stored, object, observed_at, true)
    } else {
        first(object, Origin::Truth { observed_at, dated })
    }))
}

fn but_its_status(stored: &State, object: &Snapshot, at: Micros, is_truth: bool) -> State {
    State {
        status: stored.status,
        facts: object.facts.clone(),
        object_status: object.status,
        object_at: Some(at),
        status_at: stored.status_at,
        is_truth,
    }
}

/// An event without a time; a period end that it leaves out is the one of before: it tells when the
/// next payment would be, and after a cancellation there is none.
fn untimed(stored: &State, object: &Snapshot) -> State {
    let mut state = first(object, Origin::Untimed);
    state.facts.current_period_end = state.facts.current_period_end.or(stored.facts.current_period_end);
    state
}

const fn second(at: Micros) -> i64 {
    at.div_euclid(MICROS_PER_SECOND)
}

fn differs(stored: &State, object: &Snapshot) -> bool {
    stored.object_status != object.status || stored.facts != object.facts
}

/// Whether the object is further on than the one that was applied last: by status, then by period end.
fn is_further_on(stored: &State, object: &Snapshot) -> bool {
    let applied = (stored.object_status.rank(), stored.facts.current_period_end);
    (object.status.rank(), object.facts.current_period_end) > applied
}

/// Decides what an invoice's payment moves: to active once paid, to past_due once failed. It judges the
/// status only. `at` and `period_end` are none where the provider does not tell them: Stripe's subscription
/// object tells the period, Paystack's paid invoice does.
pub fn move_by_invoice(
    stored: &State,
    to: Status,
    at: Option<Micros>,
    period_end: Option<Micros>,
) -> Decision {
    let movable =
        MOVED_BY_INVOICE.iter().any(|(target, from)| *target == to && from.contains(&stored.status));
    // A late one never shortens what is known.
    let renewed = to == Active && period_end > stored.facts.current_period_end;
    let calls_for_something = movable || (renewed && stored.status == Active);
    if !calls_for_something {
        return Decision::of(Verdict::Ignore(Detail::NothingToDo));
    }
    if at.is_some() && at < stored.status_at {
        return Decision::stale(false);
    }
    if !can_transition(stored.status, to) {
        return Decision::forbidden(at.is_some());
    }
    let mut state = State { status: to, status_at: at.or(stored.status_at), ..stored.clone() };
    if renewed {
        state.facts.current_period_end = period_end;
    }
    Decision::of(Verdict::Store(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_rule() {
        let alive = [Trialing, Active, PastDue, Unpaid, Paused];
        for from in Status::ALL {
            for to in Status::ALL {
                let expected = from == to
                    || (from == Incomplete && [Active, Trialing, IncompleteExpired, Canceled].contains(&to))
                    || (alive.contains(&from) && (alive.contains(&to) || to == Canceled));
                assert_eq!(can_transition(from, to), expected, "{from:?} to {to:?}");
                assert_eq!(can_transition_by_name(Some(from.as_str()), Some(to.as_str())), expected);
            }
            assert_eq!(Status::parse(from.as_str()), Some(from));
            assert!(!can_transition_by_name(Some(from.as_str()), None));
            assert!(!can_transition_by_name(None, Some(from.as_str())));
            assert!(!can_transition_by_name(Some(from.as_str()), Some("ACTIVE")));
        }
        for (to, from) in MOVED_BY_INVOICE {
            assert!(from.iter().all(|from| can_transition(*from, to)), "an invoice moves within the table");
        }
    }

    /// The picture of docs/subscriptions.md. Statuses that may become each other stand in one box.
    fn picture() -> String {
        let next = |status| TRANSITIONS.iter().find(|(from, _)| *from == status).unwrap().1;
        let boxed: Vec<Status> =
            next(Active).iter().copied().filter(|to| next(*to) == next(Active)).collect();
        let mut lines = vec!["```mermaid".to_owned(), "stateDiagram-v2".to_owned()];
        lines.push("    state \"each to each\" as in_use {".to_owned());
        lines.extend(boxed.iter().map(|status| format!("        {}", status.as_str())));
        lines.push("    }".to_owned());
        let mut arrow = |from: &str, to: &str| lines.push(format!("    {from} --> {to}"));
        for to in next(Active).iter().filter(|to| !boxed.contains(to)) {
            arrow("in_use", to.as_str());
        }
        for (from, next) in TRANSITIONS.iter().filter(|(from, _)| !boxed.contains(from)) {
            for to in next.iter().filter(|to| *to != from) {
                arrow(from.as_str(), to.as_str());
            }
            if from.is_final() {
                arrow(from.as_str(), "[*]");
            }
        }
        lines.push("```".to_owned());
        lines.join("\n")
    }

    #[test]
    fn the_docs_show_the_table() {
        let page = include_str!("../../../docs/subscriptions.md");
        assert!(page.contains(&picture()), "docs/subscriptions.md should hold:\n{}", picture());
    }

    fn object(status: Status, period_end: Micros) -> Snapshot {
        Snapshot {
            subscription_id: String::new(),
            status,
            facts: Facts { current_period_end: Some(period_end), ..Facts::default() },
            user_id: None,
        }
    }

    const SECOND: Micros = MICROS_PER_SECOND;

    fn event(stored: Option<&State>, object: &Snapshot, at: Micros) -> Decision {
        decide(stored, object, Origin::Event { created: at })
    }

    fn truth(stored: Option<&State>, object: &Snapshot, at: Micros) -> Decision {
        decide(stored, object, Origin::Truth { observed_at: at, dated: true })
    }

    fn stored(decision: Decision) -> State {
        match decision.verdict {
            Verdict::Store(state) => state,
            other => panic!("{other:?}"),
        }
    }

    const STALE: Verdict = Verdict::Ignore(Detail::StaleEvent);

    #[test]
    fn the_first_word_sets_any_status() {
        for status in Status::ALL {
            let state = stored(event(None, &object(status, 1), 5 * SECOND));
            assert_eq!(
                (state.status, state.object_at, state.status_at),
                (status, Some(5 * SECOND), Some(5 * SECOND))
            );
        }
    }

    #[test]
    fn of_one_second_the_one_further_on_wins() {
        let at = 5 * SECOND;
        let active = stored(event(None, &object(Active, 1), at));
        assert_eq!(event(Some(&active), &object(Active, 1), at), Decision::stale(false), "identical");
        assert_eq!(event(Some(&active), &object(Incomplete, 1), at), Decision::stale(true), "less far");
        assert_eq!(stored(event(Some(&active), &object(PastDue, 1), at)).status, PastDue);
        let renewed = stored(event(Some(&active), &object(Active, 2), at));
        assert_eq!(renewed.facts.current_period_end, Some(2), "the later period end");
        assert_eq!(event(Some(&renewed), &object(Active, 1), at), Decision::stale(true));
        let mut twin = object(Active, 1);
        twin.facts.quantity = Some(2);
        assert_eq!(event(Some(&active), &twin, at), Decision::stale(true), "neither is further on");
        let incomplete = stored(event(None, &object(Incomplete, 1), at));
        assert_eq!(event(Some(&incomplete), &object(PastDue, 1), at), Decision::forbidden(true));
    }

    #[test]
    fn what_an_older_object_may_still_bring() {
        let active = stored(event(None, &object(PastDue, 1), 5 * SECOND));
        assert_eq!(event(Some(&active), &object(Unpaid, 9), 4 * SECOND), Decision::stale(false));
        let moved = stored(move_by_invoice(&active, Active, Some(9 * SECOND), None));
        assert_eq!(
            (moved.status, moved.object_at, moved.status_at),
            (Active, Some(5 * SECOND), Some(9 * SECOND))
        );
        let newer = event(Some(&moved), &object(PastDue, 2), 7 * SECOND);
        assert_eq!(newer.refetch, None, "no end is withheld");
        let newer = stored(newer);
        assert_eq!((newer.status, newer.facts.current_period_end), (Active, Some(2)), "all but its status");
        assert_eq!((newer.object_at, newer.status_at), (Some(7 * SECOND), Some(9 * SECOND)));
        assert_eq!(event(Some(&newer), &object(PastDue, 2), 7 * SECOND), Decision::stale(false), "identical");
        let ended = event(Some(&newer), &object(Canceled, 2), 8 * SECOND);
        assert_eq!(ended.refetch, Some(Refetch::StaleEvent), "a withheld end is asked about");
        assert_eq!(stored(ended).status, Active);
        assert_eq!(stored(event(Some(&newer), &object(PastDue, 2), 9 * SECOND)).status, PastDue);
    }

    #[test]
    fn the_truth_overrides_the_validator_and_what_was_before() {
        let over = stored(event(None, &object(Canceled, 1), 5 * SECOND));
        assert_eq!(event(Some(&over), &object(Active, 1), 6 * SECOND), Decision::forbidden(true));
        let at = 7 * SECOND + 500_000;
        let alive = stored(truth(Some(&over), &object(Active, 1), at));
        assert_eq!((alive.status, alive.object_at, alive.status_at), (Active, Some(at), Some(at)));
        assert_eq!(event(Some(&alive), &object(Canceled, 1), 6 * SECOND), Decision::stale(false));
        assert_eq!(
            event(Some(&alive), &object(Canceled, 1), 7 * SECOND),
            Decision::stale(true),
            "its own second"
        );
        assert_eq!(event(Some(&alive), &object(Active, 1), 7 * SECOND), Decision::stale(false));
        assert_eq!(truth(Some(&alive), &object(Active, 1), at).verdict, Verdict::Replay);
        assert_eq!(truth(Some(&alive), &object(Active, 1), at - 1), Decision::stale(false));
        assert_eq!(truth(Some(&alive), &object(Paused, 1), at - 1), Decision::stale(true));
        assert_eq!(stored(truth(Some(&alive), &object(Active, 1), at + 1)).object_at, Some(at + 1));
        assert_eq!(stored(truth(Some(&alive), &object(Incomplete, 1), at)).status, Incomplete);
        let undated = Origin::Truth { observed_at: at + 1, dated: false };
        assert_eq!(decide(Some(&alive), &object(Active, 1), undated).verdict, Verdict::Replay);
        assert_eq!(stored(decide(Some(&alive), &object(Paused, 1), undated)).status, Paused);
        let failed = stored(move_by_invoice(&alive, PastDue, Some(9 * SECOND), None));
        assert_eq!(truth(Some(&failed), &object(Active, 1), at).verdict, Verdict::Replay, "the same again");
        assert_eq!(stored(truth(Some(&failed), &object(Active, 3), 8 * SECOND)).status, PastDue);
        assert_eq!(stored(truth(Some(&failed), &object(Active, 3), 9 * SECOND)).status, Active);
    }

    #[test]
    fn invoices_move_what_they_may() {
        for from in Status::ALL {
            let state = stored(event(None, &object(from, 1), 5 * SECOND));
            for to in [Active, PastDue] {
                let movable = match to {
                    Active => matches!(from, Incomplete | PastDue | Unpaid),
                    _ => matches!(from, Active | Trialing),
                };
                let decision = move_by_invoice(&state, to, Some(5 * SECOND), None);
                if movable {
                    let moved = stored(decision);
                    assert_eq!((moved.status, moved.object_status), (to, from));
                    assert_eq!(move_by_invoice(&state, to, Some(4 * SECOND), None).verdict, STALE);
                    assert_eq!(stored(move_by_invoice(&state, to, None, None)).status, to);
                } else {
                    assert_eq!(decision.verdict, Verdict::Ignore(Detail::NothingToDo), "{from:?} to {to:?}");
                }
            }
        }
    }

    #[test]
    fn where_no_times_are_told_the_validator_alone_judges() {
        let say = |stored: Option<&State>, object: &Snapshot| decide(stored, object, Origin::Untimed);
        let active = stored(say(None, &object(Active, 1)));
        assert_eq!((active.object_at, active.status_at), (None, None));
        let mut ending = object(Active, 1);
        ending.facts.current_period_end = None;
        ending.facts.cancel_at_period_end = true;
        let ending = stored(say(Some(&active), &ending));
        assert_eq!(ending.facts.ends_at(), Some(1), "the period end of before");
        let over = stored(say(Some(&ending), &object(Canceled, 1)));
        assert_eq!(say(Some(&over), &object(Active, 2)), Decision::forbidden(false), "nothing is queued");
        let paid = move_by_invoice(&over, Active, None, None);
        assert_eq!(paid.verdict, Verdict::Ignore(Detail::NothingToDo));
    }

    #[test]
    fn a_paid_invoice_may_tell_the_period() {
        let active = stored(decide(None, &object(Active, 1), Origin::Untimed));
        let renewed = stored(move_by_invoice(&active, Active, None, Some(2)));
        assert_eq!((renewed.status, renewed.facts.current_period_end), (Active, Some(2)));
        let again = move_by_invoice(&renewed, Active, None, Some(2));
        assert_eq!(again.verdict, Verdict::Ignore(Detail::NothingToDo));
        let late = move_by_invoice(&renewed, Active, None, Some(1));
        assert_eq!(late.verdict, Verdict::Ignore(Detail::NothingToDo));
        let failed = stored(move_by_invoice(&renewed, PastDue, None, Some(3)));
        assert_eq!((failed.status, failed.facts.current_period_end), (PastDue, Some(2)));
        assert_eq!(stored(move_by_invoice(&failed, Active, None, Some(3))).facts.current_period_end, Some(3));
        let over = stored(decide(None, &object(Canceled, 1), Origin::Untimed));
        let late = move_by_invoice(&over, Active, None, Some(2));
        assert_eq!(late.verdict, Verdict::Ignore(Detail::NothingToDo));
    }

    #[test]
    fn reasons_to_refetch_are_stored_by_these_names() {
        let names =
            [Refetch::TransitionNotAllowed, Refetch::StaleEvent, Refetch::Always].map(Refetch::as_str);
        assert_eq!(names, ["transition_not_allowed", "stale_event", "always"]);
    }

    #[test]
    fn refetch_rows_have_bounds() {
        assert_eq!(refetch_rows(None), Some(100));
        assert_eq!(refetch_rows(Some(1)), Some(1));
        assert_eq!(refetch_rows(Some(0)), None);
        assert_eq!(refetch_rows(Some(i32::MAX)), Some(1_000));
    }

    #[test]
    fn active_until_it_ends() {
        let mut facts = Facts { current_period_end: Some(10), ..Facts::default() };
        assert_eq!(facts.ends_at(), None);
        facts.cancel_at_period_end = true;
        assert_eq!(facts.ends_at(), Some(10));
        facts.cancel_at = Some(7);
        assert_eq!(facts.ends_at(), Some(7));
        for status in Status::ALL {
            let usable = matches!(status, Active | Trialing);
            assert_eq!(is_active(status, None, 5), usable, "{status:?}");
            assert_eq!(is_active(status, Some(6), 5), usable);
            assert!(!is_active(status, Some(5), 5));
        }
    }

    #[test]
    fn the_best_comes_first() {
        let mut shown = [
            (Canceled, false, Some(9)),
            (PastDue, false, Some(9)),
            (Trialing, false, Some(2)),
            (Active, false, Some(9)),
            (Trialing, true, Some(9)),
            (Active, true, None),
            (Active, true, Some(2)),
            (Active, true, Some(3)),
        ];
        shown.sort_by_key(|shown| order_of_showing(shown.0, shown.1, shown.2));
        let expected = [
            (Active, 3),
            (Active, 2),
            (Active, 0),
            (Trialing, 9),
            (Active, 9),
            (Trialing, 2),
            (PastDue, 9),
            (Canceled, 9),
        ];
        assert_eq!(shown.iter().map(|s| (s.0, s.2.unwrap_or(0))).collect::<Vec<_>>(), expected);
    }
}
