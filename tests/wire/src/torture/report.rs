//! What a run prints.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::chaos::Scene;
use super::{Asked, Blow, Tally};
use crate::proxy::Cut;

/// What a run saw, and what was wrong.
#[derive(Debug)]
pub struct Report {
    pub asked: Asked,
    pub worked: Duration,
    pub whole: Duration,
    pub tally: Tally,
    /// Of the sending again at the end.
    pub resent: Tally,
    pub pooled: bool,
    pub commits: u64,
    pub cuts: [u64; 5],
    pub scene: Arc<Scene>,
    pub entries: usize,
    pub wrong: Vec<String>,
}

impl Report {
    /// Whether clients were cut off, backends ended and statements cancelled, and requests sent again.
    pub fn was_disturbed(&self) -> bool {
        let done = &self.scene.done;
        let counts = [&done.terminated, &done.cancelled].map(|count| count.load(Ordering::Relaxed));
        self.cuts.iter().sum::<u64>() > 0 && counts.iter().all(|count| *count > 0) && self.tally.doubts > 0
    }
}

/// How many of what is wrong are shown.
const SHOWN: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let calls = self.tally.answered();
        writeln!(
            f,
            "seed {}, {} clients, {:.0?} of work, {:.0?} in all",
            crate::seed(),
            self.asked.clients,
            self.worked,
            self.whole
        )?;
        writeln!(
            f,
            "{calls} answers, {} entries in the ledger, {} answers to what was sent again",
            self.entries,
            self.resent.answered()
        )?;
        let mut function = "";
        for ((name, why), count) in &self.tally.answers {
            if *name != function {
                write!(f, "{}  {name}:", if function.is_empty() { "" } else { "\n" })?;
                function = name;
            }
            write!(f, " {} {count},", if why.is_empty() { "answered" } else { why })?;
        }
        writeln!(f)?;
        write!(f, "failed attempts by SQLSTATE:")?;
        for (code, count) in &self.tally.errors {
            write!(f, " {} {count},", if code.is_empty() { "connection lost or refused" } else { code })?;
        }
        writeln!(
            f,
            " without an answer in time {}; {} in doubt, and sent again",
            self.tally.hung, self.tally.doubts
        )?;
        if self.asked.pooler && !self.pooled {
            writeln!(f, "left out: pgbouncer is not installed")?;
        }
        if self.asked.blows.contains(&Blow::FullDisk) && self.scene.disks.lock().expect("disks").is_empty() {
            writeln!(f, "left out: full disks, for which root has to mount a small one")?;
        }
        write!(f, "connections cut, of {} commits:", self.commits)?;
        for (cut, count) in Cut::ALL.iter().zip(self.cuts) {
            write!(f, " {} {count},", cut.name())?;
        }
        let done = &self.scene.done;
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        writeln!(
            f,
            "\nbackends terminated {}, killed {}; server stopped at once {}; full disks {}; promotions {}",
            count(&done.terminated),
            count(&done.killed),
            count(&done.stopped),
            count(&done.full_disks),
            count(&done.promotions)
        )?;
        write!(
            f,
            "statements cancelled {}, of those waiting for locks {}:",
            count(&done.cancelled),
            count(&done.cancelled_waiting_for_locks)
        )?;
        for (wait, count) in done.waits.lock().expect("waits").iter() {
            write!(f, " {wait} {count},")?;
        }
        writeln!(f, "\nsteps left out, because what they needed had been refused: {}", self.tally.skipped)?;
        if self.wrong.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "a bound, to two digits")]
            let bound = 3.0 / calls.max(1) as f64;
            return write!(
                f,
                "wrong answers: none; with 95 % confidence fewer than {bound:.1e} of all answers are (3/N)"
            );
        }
        write!(f, "WRONG: {}", self.wrong.len())?;
        for wrong in self.wrong.iter().take(SHOWN) {
            write!(f, "\n  {wrong}")?;
        }
        Ok(())
    }
}
