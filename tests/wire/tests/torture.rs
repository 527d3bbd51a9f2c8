//! A few seconds of `make torture`: see src/torture.

use std::time::Duration;

use billing_wire::torture::{Asked, Blow, torture};
use billing_wire::{Tested, figure, run};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("torture::a_few_seconds", || run(a_few_seconds()));
}

async fn a_few_seconds() {
    let asked = Asked {
        clients: 24,
        duration: Duration::from_secs(4),
        blows: vec![Blow::Stop],
        pooler: false,
        talkative: false,
    };
    let report = torture(asked).await;
    assert!(report.wrong.is_empty(), "{report}");
    // One that disturbs nobody shows nothing.
    assert!(report.was_disturbed(), "{report}");
    figure(|| report.to_string().replace('\n', "\n    "));
}
