//! Every sequence of words on one subscription, in every order of arrival.
//!
//! A letter is what is said (an object of each status, an invoice paid or failed, the truth) and whether it
//! is said in the same second as the letter before or in a later one. All sequences up to a length are
//! tried here, each in every order in which it can arrive: 166,000 sequences of four letters, 4 million
//! arrivals. `ORDERS_LENGTH=5` tries longer ones. Tests of the extension say the shorter ones through SQL
//! (feature `model`), and compare with what is decided here.

use super::*;

/// What can be said of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An event shows it with that status.
    Object(Status),
    /// An invoice calls for that status: active once paid, past_due once failed.
    Invoice(Status),
    /// It was fetched with that status.
    Truth(Status),
}

/// A word, and when it was said.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// What.
    pub word: Word,
    /// Microseconds after a beginning: whole seconds, but for the truth.
    pub at: Micros,
}

/// What can be said. The truth has one status that ends a subscription and one that does not.
fn words() -> Vec<Word> {
    let mut words: Vec<Word> = Status::ALL.into_iter().map(Word::Object).collect();
    words.extend([Active, PastDue].map(Word::Invoice));
    words.extend([Active, Canceled].map(Word::Truth));
    words
}

/// Calls the body for every sequence of that length; how many there were.
pub fn each_sequence(length: usize, body: &mut impl FnMut(&[Said])) -> u64 {
    fn go(words: &[Word], length: usize, said: &mut Vec<Said>, body: &mut impl FnMut(&[Said])) -> u64 {
        if said.len() == length {
            body(said);
            return 1;
        }
        let now = said.last().map_or(0, |last| second(last.at));
        let steps = if said.is_empty() { 1..=1 } else { 0..=1 };
        let mut count = 0;
        for step in steps {
            for word in words {
                // The truth is observed within a second, and never twice at once; events count whole ones.
                let place = Micros::try_from(said.len()).unwrap_or_default();
                let within = if matches!(word, Word::Truth(_)) { MICROS_PER_SECOND / 2 + place } else { 0 };
                said.push(Said { word: *word, at: (now + step) * MICROS_PER_SECOND + within });
                count += go(words, length, said, body);
                said.pop();
            }
        }
        count
    }
    go(&words(), length, &mut Vec::new(), body)
}

/// Every order of so many things.
pub fn arrivals(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in arrivals(length - 1) {
        for place in 0..length {
            let mut order = shorter.clone();
            order.insert(place, length - 1);
            all.push(order);
        }
    }
    all
}

/// What a word does to what is stored; every object has these facts beside its status. None for an invoice
/// before its subscription, which only asks for the truth.
pub fn hear(stored: Option<&State>, said: Said, facts: &Facts) -> Option<Decision> {
    let object =
        |status| Snapshot { subscription_id: String::new(), status, facts: facts.clone(), user_id: None };
    match said.word {
        Word::Object(status) => Some(decide(stored, &object(status), Origin::Event { created: said.at })),
        Word::Truth(status) => {
            let origin = Origin::Truth { observed_at: said.at, dated: true };
            Some(decide(stored, &object(status), origin))
        }
        Word::Invoice(to) => stored.map(|stored| move_by_invoice(stored, to, Some(said.at), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds of every single step.
    fn check_step(before: &State, said: Said, decision: &Decision) {
        let told = || format!("{said:?} on {before:?}: {decision:?}");
        let Verdict::Store(after) = &decision.verdict else { return };
        let is_truth = matches!(said.word, Word::Truth(_));
        assert!(after.object_at >= before.object_at && after.status_at >= before.status_at, "{}", told());
        assert!(after.status_at >= after.object_at, "{}", told());
        if after.status != before.status {
            assert!(is_truth || !before.status.is_final(), "a final status stays: {}", told());
            assert!(is_truth || can_transition(before.status, after.status), "{}", told());
            assert!(Some(said.at) >= before.status_at, "an older word moves no status: {}", told());
        }
        if after.facts != before.facts || after.object_status != before.object_status {
            assert!(Some(said.at) >= before.object_at, "an older object brings nothing: {}", told());
        }
    }

    /// What is left after an arrival, and whether the truth was asked for on the way.
    fn arrive(facts: &Facts, said: &[Said], order: &[usize]) -> (Option<State>, bool) {
        let mut stored: Option<State> = None;
        let mut asked = false;
        for said in order.iter().map(|place| said[*place]) {
            let Some(decision) = hear(stored.as_ref(), said, facts) else {
                asked = true;
                continue;
            };
            if let Some(before) = &stored {
                check_step(before, said, &decision);
            }
            asked |= decision.refetch.is_some();
            if let Verdict::Store(state) = decision.verdict {
                stored = Some(state);
            }
        }
        (stored, asked)
    }

    /// The object that everybody should end with: the latest, of one second the one furthest on.
    fn newest(said: &[Said]) -> Option<(Micros, Status)> {
        let objects = said.iter().filter_map(|said| match said.word {
            Word::Object(status) | Word::Truth(status) => Some((said.at, status)),
            Word::Invoice(_) => None,
        });
        objects.max_by_key(|(at, status)| (*at, status.rank()))
    }

    /// Whether the validator lets each object follow every one that is before it or in its second.
    fn is_smooth(said: &[Said]) -> bool {
        let mut objects: Vec<(Micros, Status)> = Vec::new();
        for said in said {
            match said.word {
                Word::Object(status) => objects.push((said.at, status)),
                Word::Truth(_) | Word::Invoice(_) => return false,
            }
        }
        objects.sort_by_key(|(at, status)| (*at, status.rank()));
        let mut pairs =
            objects.iter().enumerate().flat_map(|(i, a)| objects[i + 1..].iter().map(move |b| (a, b)));
        pairs.all(|((_, a), (_, b))| can_transition(*a, *b))
    }

    fn check_sequence(facts: &Facts, said: &[Said], orders: &[Vec<usize>]) {
        let newest = newest(said);
        let smooth = is_smooth(said);
        let invoices = said.iter().any(|said| matches!(said.word, Word::Invoice(_)));
        let mut agreed: Option<State> = None;
        for order in orders {
            let (stored, asked) = arrive(facts, said, order);
            let told = || format!("{said:?} arriving as {order:?}: {stored:?}");
            let end = stored.as_ref().map(|state| (state.object_at, state.object_status));
            if smooth || !asked {
                assert_eq!(end, newest.map(|(at, status)| (Some(at), status)), "{}", told());
            }
            if (smooth || !asked) && !invoices {
                assert!(
                    stored.as_ref().is_none_or(|state| state.status == state.object_status),
                    "{}",
                    told()
                );
            }
            if smooth {
                let agreed = agreed.get_or_insert_with(|| stored.clone().unwrap());
                assert_eq!(Some(&*agreed), stored.as_ref(), "the order is irrelevant: {}", told());
            }
            // Whatever was said: the truth has the last word.
            let late = Said { word: Word::Truth(PastDue), at: 100 * MICROS_PER_SECOND };
            let decision = hear(stored.as_ref(), late, facts).unwrap();
            assert!(
                matches!(&decision.verdict, Verdict::Store(state) if state.status == PastDue),
                "{}",
                told()
            );
        }
    }

    fn check_up_to(length: usize) -> u64 {
        let facts = Facts { current_period_end: Some(1), ..Facts::default() };
        (1..=length)
            .map(|length| {
                let orders = arrivals(length);
                each_sequence(length, &mut |said| check_sequence(&facts, said, &orders))
            })
            .sum()
    }

    #[test]
    fn every_sequence_in_every_order_of_arrival() {
        let length = std::env::var("ORDERS_LENGTH").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
        let tried = check_up_to(length);
        let expected: u64 = (0..u32::try_from(length).unwrap()).map(|later| 12 * 24_u64.pow(later)).sum();
        assert_eq!(tried, expected, "12 words, then 12 of the same or a later second each");
    }
}
