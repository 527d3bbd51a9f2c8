//! Which events are read where there are too many: the newest of all types, back to one and the same moment.

use crate::credits::account::Micros;

/// How far back events are read, and how many of each type at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The earliest moment.
    pub since: Micros,
    /// The most events of each type, in the order in which the types were given.
    pub bounds: Vec<i32>,
}

/// Chooses the moment since which about `events` were received, judged by how long ago the newest ones of each type
/// began: `begun` says when the one after the newest `probe` of it was received, none where a type has no
/// more. Where it was busier before that, the bounds keep the sum of all below twice as many, beside the probes.
pub fn sample(now: Micros, earliest: Micros, begun: &[Option<Micros>], probe: i32, events: i32) -> Sample {
    // Events in so many years' time: rates as integers.
    const LONG: i128 = 1_000_000_000_000_000_000;
    let (probe, events) = (i128::from(probe), i128::from(events));
    let rate = |begun: &Option<Micros>| {
        begun.map_or(0, |begun| probe * LONG / (i128::from(now) - i128::from(begun)).max(1))
    };
    let all: i128 = begun.iter().map(rate).sum();
    let bound = |begun| {
        // A bound that is reached tells that there are more; so it lies above what there is of a type with few.
        let share = if all > 0 { 2 * events * rate(begun) / all } else { 0 };
        i32::try_from(share.max(probe) + 1).unwrap_or(i32::MAX)
    };
    let reach = if all > 0 { events * LONG / all } else { i128::MAX };
    let since = i64::try_from(i128::from(now).saturating_sub(reach)).unwrap_or(earliest);
    Sample { since: since.clamp(earliest, now.max(earliest)), bounds: begun.iter().map(bound).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Micros = 1_000_000_000;

    #[test]
    fn few_events_are_read_back_to_the_earliest() {
        assert_eq!(sample(NOW, 7, &[None, None], 100, 1_000), Sample { since: 7, bounds: vec![101, 101] });
        assert_eq!(sample(NOW, 7, &[], 100, 1_000), Sample { since: 7, bounds: Vec::new() });
    }

    #[test]
    fn many_are_read_back_to_where_the_wanted_number_began() {
        // 100 in a million: 1,000 in ten million. The quiet type is read as far.
        let one = sample(NOW, 0, &[Some(NOW - 1_000_000), None], 100, 1_000);
        assert_eq!(one, Sample { since: NOW - 10_000_000, bounds: vec![2_001, 101] });
        // Three and one together four times as fast.
        let two = sample(NOW, 0, &[Some(NOW - 1_000_000), Some(NOW - 3_000_000)], 100, 1_000);
        assert_eq!(two, Sample { since: NOW - 7_500_000, bounds: vec![1_501, 500] });
    }

    #[test]
    fn all_at_this_very_moment_and_in_the_future() {
        assert_eq!(sample(NOW, 0, &[Some(NOW)], 100, 1_000).since, NOW - 10);
        assert_eq!(sample(NOW, 0, &[Some(NOW + 5)], 100, 1_000).since, NOW - 10);
    }

    proptest! {
        #[test]
        fn never_more_than_twice_beside_the_probes(
            begun in proptest::collection::vec(proptest::option::of(0..NOW), 0..200),
            earliest in 0..NOW,
            events in 1..1_000_000,
        ) {
            let sample = sample(NOW, earliest, &begun, 100, events);
            prop_assert!((earliest..=NOW).contains(&sample.since));
            prop_assert!(sample.bounds.iter().all(|bound| *bound > 100));
            let sum: i64 = sample.bounds.iter().map(|bound| i64::from(*bound)).sum();
            prop_assert!(sum <= 2 * i64::from(events) + 101 * i64::try_from(begun.len()).unwrap());
        }
    }
}
