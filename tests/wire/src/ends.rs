//! What payments must come to, as the contract counts it: written from the contract, not from the code.

use std::collections::{BTreeMap, BTreeSet};

/// One payment that bought credits, and all that was told of it, in whatever order.
#[derive(Clone, Debug, Default)]
pub struct Payment {
    /// Credits bought; 0 if it bought nothing that is known.
    pub gave: i64,
    /// Minor units of the whole.
    pub amount: i64,
    /// `created` and `amount_refunded` of each charge.refunded.
    pub refunded: Vec<(i64, i64)>,
    /// By refund: `created` and amount of those that came to nothing.
    pub failed: BTreeMap<String, (i64, i64)>,
    /// By refund: the amount of those that were paid out one by one (Paystack).
    pub paid_out: BTreeMap<String, i64>,
    /// Disputes whose funds were withdrawn.
    pub withdrawn: BTreeSet<String>,
    /// Disputes whose funds came back.
    pub reinstated: BTreeSet<String>,
    /// Of the credits, undone by a caller before anything else was told.
    pub reversed: i64,
    /// Of the credits, spent before anything else was told.
    pub spent: i64,
}

impl Payment {
    /// Minor units refunded so far: what the latest charge.refunded says (of one second the highest), less
    /// refunds that failed after it, and those that add up.
    pub fn refunded_so_far(&self) -> i64 {
        let (at, told) = self.refunded.iter().copied().max().unwrap_or((i64::MAX, 0));
        let failed: i64 = self.failed.values().filter(|(when, _)| *when > at).map(|(_, amount)| amount).sum();
        (told - failed).max(0) + self.paid_out.values().sum::<i64>()
    }

    /// Whether a dispute holds the money: one once reinstated stays so.
    pub fn is_disputed(&self) -> bool {
        self.withdrawn.iter().any(|dispute| !self.reinstated.contains(dispute))
    }

    /// Credits that are to be undone by refunds and disputes.
    pub fn called_for(&self) -> i64 {
        let refunded = self.refunded_so_far();
        let share = if self.is_disputed() || refunded >= self.amount {
            self.gave
        } else {
            self.gave * refunded / self.amount
        };
        // What a caller reversed counts as undone already.
        (share - self.reversed).max(0)
    }

    /// What could not be taken, because it was spent. Right where nobody else shares the balance.
    pub fn shortfall(&self) -> i64 {
        (self.called_for() + self.spent + self.reversed - self.gave).max(0)
    }

    /// What is left of the credits.
    pub fn left(&self) -> i64 {
        self.gave - self.spent - self.reversed - self.called_for() + self.shortfall()
    }
}
