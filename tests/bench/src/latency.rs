//! How long one call takes where several clients call at once, as the clients see it.

use crate::calls::{Call, Kind, Side};
use crate::measure::{Contender, order};
use crate::options::Options;
use crate::report::{Report, Requirement};
use crate::stats::Figures;
use crate::world::World;
use crate::{Failure, compare};

const CLIENTS: usize = 8;
/// Milliseconds that half of the calls, and ninety-nine of a hundred, may take.
const LIMITS: [(f64, &str, f64); 2] = [(0.50, "p50", 5.0), (0.99, "p99", 10.0)];
/// What is called; the last one is the first once more.
const CALLS: [(&str, Kind); 3] = [
    ("whole webhook", Kind::Webhook),
    ("resolving a user", Kind::Resolve),
    ("whole webhook once more", Kind::Webhook),
];

/// Each round measures each of them once; a quantile of a round is one figure.
pub async fn measure(world: &World, options: &Options, report: &mut Report) -> Result<(), Failure> {
    compare::prepare("webhook", world).await?;
    let mut contenders = Vec::new();
    for (name, kind) in CALLS {
        contenders.push(Contender::open(name, Call { side: Side::Ours, kind }, CLIENTS, None).await?);
    }
    for &on in &options.synchronous_commit {
        for contender in &contenders {
            contender.synchronous_commit(on).await?;
            contender.warm_up(world).await?;
        }
        let rounds = rounds(&contenders, world, options).await?;
        let mode = if on { "on" } else { "off" };
        report.heading(&format!("latency: {CLIENTS} clients, synchronous_commit {mode}"));
        tell(&rounds, report);
    }
    Ok(())
}

/// Of each contender, each round's latencies.
async fn rounds(
    contenders: &[Contender],
    world: &World,
    options: &Options,
) -> Result<Vec<Vec<Figures>>, Failure> {
    let mut rounds = vec![Vec::with_capacity(options.rounds); contenders.len()];
    for round in 0..options.rounds {
        for index in order(contenders.len(), round) {
            let latencies = contenders[index].latencies(world, CLIENTS, options.seconds).await?;
            rounds[index].push(Figures::new(latencies));
        }
    }
    Ok(rounds)
}

fn tell(rounds: &[Vec<Figures>], report: &mut Report) {
    let at = |place: usize, share: f64| -> Vec<f64> {
        rounds[place].iter().map(|round| round.quantile(share)).collect()
    };
    for (place, (name, _)) in CALLS.iter().enumerate() {
        for (share, short, most) in LIMITS {
            let (name, figures) = (format!("{name}, {short}"), Figures::new(at(place, share)));
            // The first once more is there for the control only.
            if place == 2 {
                report.figure(&name, &figures, "ms");
            } else {
                report.judged(&name, &figures, "ms", Requirement::Below(most));
            }
        }
    }
    let control = Figures::ratio(&at(2, 0.50), &at(0, 0.50));
    report.judged("control, p50", &control, "", Requirement::Same(0.10));
}
