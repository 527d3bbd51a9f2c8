//! Comparisons of calls: who is compared with whom, and what is required of it.

use crate::calls::{Call, Kind, Side};
use crate::measure::{Contender, in_turns};
use crate::report::{Requirement, Setting, Wanted};
use crate::world::{self, World};
use crate::{Bench, Failure, resources, webhook};

/// One after the other, on the same sessions.
const FEW: &[usize] = &[1, 8];
const MANY: &[usize] = &[1, 8, 32];

struct Comparison {
    title: &'static str,
    contenders: &'static [(&'static str, Side, Kind)],
    clients: &'static [usize],
    /// By the number of clients.
    ratios: fn(usize) -> Vec<Wanted>,
}

const PURCHASE: Comparison = Comparison {
    title: "purchase",
    contenders: &[
        ("ours", Side::Ours, Kind::Purchase),
        ("twin in PL/pgSQL", Side::Twin, Kind::Purchase),
        ("floor of bare SQL", Side::Floor, Kind::Purchase),
        ("ours once more", Side::Ours, Kind::Purchase),
    ],
    clients: MANY,
    ratios: |clients| vec![of_the_floor(clients), at_least("ours / twin", 0, 1, 1.4), once_more(3, 0)],
};

const SPEND: Comparison = Comparison {
    title: "spend",
    contenders: &[
        ("ours", Side::Ours, Kind::Spend),
        ("twin in PL/pgSQL", Side::Twin, Kind::Spend),
        ("floor of bare SQL", Side::Floor, Kind::Spend),
        ("ours once more", Side::Ours, Kind::Spend),
    ],
    clients: MANY,
    ratios: |clients| vec![of_the_floor(clients), ratio("ours / twin", 0, 1), once_more(3, 0)],
};

const REPLAY: Comparison = Comparison {
    title: "replay",
    contenders: &[
        ("ours replay", Side::Ours, Kind::Replay),
        ("twin replay", Side::Twin, Kind::Replay),
        ("floor lookup by key", Side::Floor, Kind::Replay),
        ("ours applied", Side::Ours, Kind::Purchase),
        ("ours replay once more", Side::Ours, Kind::Replay),
    ],
    clients: FEW,
    ratios: |_| {
        vec![
            at_least("replay / applied", 0, 3, 2.0),
            ratio("ours / twin", 0, 1),
            ratio("ours / floor's lookup", 0, 2),
            once_more(4, 0),
        ]
    },
};

const WEBHOOK: Comparison = Comparison {
    title: "webhook, signed checkout body",
    contenders: &[
        ("ours", Side::Ours, Kind::Webhook),
        ("twin in PL/pgSQL", Side::Twin, Kind::Webhook),
        ("application over a driver", Side::Application, Kind::Webhook),
        ("ours once more", Side::Ours, Kind::Webhook),
    ],
    clients: MANY,
    ratios: |clients| {
        let application = match clients {
            1 => at_least("ours / application", 0, 2, 1.5),
            8 => at_least("ours / application", 0, 2, 2.7),
            _ => ratio("ours / application", 0, 2),
        };
        vec![at_least("ours / twin", 0, 1, 1.9), application, once_more(3, 0)]
    },
};

const DELIVERIES: Comparison = Comparison {
    title: "deliveries that change no balance",
    contenders: &[
        ("applied", Side::Ours, Kind::Webhook),
        ("delivered again", Side::Ours, Kind::Redelivery),
        ("type without effect", Side::Ours, Kind::Ignored),
        ("signature refused", Side::Ours, Kind::Forged),
        ("applied once more", Side::Ours, Kind::Webhook),
    ],
    clients: FEW,
    ratios: |_| {
        vec![
            ratio("replay / applied", 1, 0),
            ratio("ignored / applied", 2, 0),
            ratio("refused / applied", 3, 0),
            once_more(4, 0),
        ]
    },
};

fn ratio(name: &'static str, of: usize, to: usize) -> Wanted {
    Wanted { name, of, to, requirement: None }
}

fn at_least(name: &'static str, of: usize, to: usize, least: f64) -> Wanted {
    Wanted { name, of, to, requirement: Some(Requirement::AtLeast(least)) }
}

/// More clients than that wait for two cores, whatever they call: stated, not judged.
fn of_the_floor(clients: usize) -> Wanted {
    if clients <= 8 { at_least("ours / floor", 0, 2, 0.70) } else { ratio("ours / floor", 0, 2) }
}

/// Two measurements of one thing.
pub fn once_more(of: usize, to: usize) -> Wanted {
    Wanted { name: "control", of, to, requirement: Some(Requirement::Same(0.05)) }
}

/// The section of that name.
pub async fn section(bench: &mut Bench, name: &str) -> Result<(), Failure> {
    let comparison = match name {
        "purchase" => &PURCHASE,
        "spend" => &SPEND,
        "replay" => &REPLAY,
        "webhook" => &WEBHOOK,
        "deliveries" => &DELIVERIES,
        _ => return Err("there is no such comparison".into()),
    };
    prepare(name, &bench.world).await?;
    compare(comparison, bench).await
}

async fn compare(comparison: &Comparison, bench: &mut Bench) -> Result<(), Failure> {
    let Bench { world, options, report, started, .. } = bench;
    let most = comparison.clients.iter().copied().max().unwrap_or(1);
    let mut contenders = Vec::new();
    for &(name, side, kind) in comparison.contenders {
        contenders.push(Contender::open(name, Call { side, kind }, most, None).await?);
    }
    for &on in &options.synchronous_commit {
        for contender in &contenders {
            contender.synchronous_commit(on).await?;
            contender.warm_up(world).await?;
        }
        for &clients in comparison.clients {
            let mode = if on { "on" } else { "off" };
            let title = comparison.title;
            crate::progress(*started)(&format!("{title}: clients {clients}, synchronous_commit {mode}"));
            let worlds = vec![&*world; contenders.len()];
            let named = in_turns(&contenders, &worlds, clients, options.rounds, options.seconds).await?;
            report.comparison(Setting::calls(title, clients, on), &named, &(comparison.ratios)(clients));
        }
    }
    // What was written is seen at once where commits wait for the disk.
    for contender in &contenders {
        contender.synchronous_commit(true).await?;
    }
    report.resources(comparison.title, &resources::measure(&contenders, world).await?);
    Ok(())
}

/// What has to be there before a section's sessions are opened.
pub async fn prepare(section: &str, world: &World) -> Result<(), Failure> {
    match section {
        "replay" => remember(world, Kind::Purchase, &[Side::Ours, Side::Twin, Side::Floor]).await,
        "webhook" => {
            let control = world::connect(None).await?;
            webhook::check_alike(&control, world).await?;
            remember(world, Kind::Webhook, &[Side::Ours, Side::Twin, Side::Application]).await?;
            // A plan that is made and kept while its tables are empty scans them ever after.
            Ok(control.batch_execute("VACUUM ANALYZE").await?)
        }
        "deliveries" => remember(world, Kind::Webhook, &[Side::Ours]).await,
        _ => Ok(()),
    }
}

/// Has each side apply requests that can be sent again.
async fn remember(world: &World, kind: Kind, sides: &[Side]) -> Result<(), Failure> {
    for side in sides {
        let contender = Contender::open("", Call { side: *side, kind }, 4, None).await?;
        contender.synchronous_commit(false).await?;
        contender.calls(world, 500).await?;
    }
    Ok(())
}
