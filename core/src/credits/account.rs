//! One balance with its lots and holds, as loaded under its lock, and what each call does to it.
//!
//! Every writing call first settles what has run out ([`Account::settle`]), then acts. The account keeps
//! note of what changed, so that only that is written.

use crate::customers::Uuid;
use crate::outcome::{Detail, Refusal, invalid};

/// A point in time, in microseconds of any one epoch.
pub type Micros = i64;

/// Credits of one grant or purchase that expire or have a priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Primary key; rises with age.
    pub lot_id: i64,
    /// The entry that made it.
    pub entry_id: i64,
    /// Lowest first.
    pub priority: i32,
    /// None: never.
    pub expires_at: Option<Micros>,
    /// What is left of it, held or not.
    pub remaining: i64,
    /// Of that, under holds.
    pub held: i64,
    /// Whether this call changed it.
    pub changed: bool,
}

impl Lot {
    /// What is neither spent nor held.
    pub const fn free(&self) -> i64 {
        self.remaining - self.held
    }

    /// Whether its credits can still be used.
    pub fn lives(&self, now: Micros) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }

    /// The order of burning: lowest priority number, earliest expiry, oldest.
    fn burns_at(&self) -> (i32, Micros, i64) {
        (self.priority, self.expires_at.unwrap_or(Micros::MAX), self.lot_id)
    }
}

/// So many credits of one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which lot.
    pub lot_id: i64,
    /// How many.
    pub credits: i64,
}

/// A hold whose lifetime is over, still counted in the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOut {
    /// Primary key.
    pub hold_id: Uuid,
    /// The whole hold.
    pub credits: i64,
    /// What of it lies on lots.
    pub parts: Vec<Part>,
}

/// Credits that expired and leave the balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOff {
    /// The entry whose lot expired.
    pub entry_id: i64,
    /// That lot.
    pub lot_id: i64,
    /// How many.
    pub credits: i64,
    /// The balance right after.
    pub balance_after: i64,
    /// What stays in the lot, under holds: lower each time, so that it numbers a lot's write-offs.
    pub left: i64,
}

/// What a spend or capture took from a lot, and what of that a reversal gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which lot.
    pub lot_id: i64,
    /// How many were taken.
    pub credits: i64,
    /// How many came back.
    pub returned: i64,
}

/// A locked balance with all that its credits lie on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Sum of all entries.
    pub balance: i64,
    /// Sum of the open holds.
    pub held: i64,
    /// Sum of what remains in lots.
    pub in_lots: i64,
    /// In the order of burning; those with nothing left may be missing.
    lots: Vec<Lot>,
    run_out: Vec<RunOut>,
}

impl Account {
    /// An account as loaded.
    pub fn new(balance: i64, held: i64, in_lots: i64, mut lots: Vec<Lot>, run_out: Vec<RunOut>) -> Account {
        lots.sort_by_key(Lot::burns_at);
        Account { balance, held, in_lots, lots, run_out }
    }

    /// Ends the holds that ran out and writes off what expired; which, in that order.
    pub fn settle(&mut self, now: Micros) -> (Vec<Uuid>, Vec<WriteOff>) {
        let ended = std::mem::take(&mut self.run_out);
        for hold in &ended {
            self.held -= hold.credits;
            for part in &hold.parts {
                self.change(part.lot_id, |lot| lot.held -= part.credits);
            }
        }
        let mut write_offs = Vec::new();
        for lot in self.lots.iter_mut().filter(|lot| !lot.lives(now) && lot.free() > 0) {
            let credits = lot.free();
            lot.remaining -= credits;
            lot.changed = true;
            self.in_lots -= credits;
            self.balance -= credits;
            write_offs.push(WriteOff {
                entry_id: lot.entry_id,
                lot_id: lot.lot_id,
                credits,
                balance_after: self.balance,
                left: lot.remaining,
            });
        }
        (ended.into_iter().map(|hold| hold.hold_id).collect(), write_offs)
    }

    /// Ends lots before their time and writes off what is free of them; what is held goes when its hold
    /// ends.
    pub fn end_lots(&mut self, lot_ids: &[i64], now: Micros) -> Vec<WriteOff> {
        for lot in self.lots.iter_mut().filter(|lot| lot_ids.contains(&lot.lot_id)) {
            lot.expires_at = Some(now);
        }
        self.lots.sort_by_key(Lot::burns_at);
        self.settle(now).1
    }

    /// What a settled account can spend.
    pub const fn available(&self) -> i64 {
        self.balance - self.held
    }

    /// When credits of a settled account run out next, and how many.
    pub fn next_expiry(&self) -> Option<(Micros, i64)> {
        let expiring = || self.lots.iter().filter(|lot| lot.free() > 0);
        let at = expiring().filter_map(|lot| lot.expires_at).min()?;
        let credits = expiring().filter(|lot| lot.expires_at == Some(at)).map(Lot::free).sum();
        Some((at, credits))
    }

    /// Of that, what lies on no lot.
    pub fn available_loose(&self) -> i64 {
        let held_in_lots: i64 = self.lots.iter().map(|lot| lot.held).sum();
        (self.balance - self.in_lots) - (self.held - held_in_lots)
    }

    /// The lots that this call changed.
    pub fn changed_lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots.iter().filter(|lot| lot.changed)
    }

    /// Adds credits that lie on no lot.
    pub fn add(&mut self, credits: i64) -> Result<(), Refusal> {
        self.balance = self.balance.checked_add(credits).ok_or(invalid(Detail::BalanceOverflow))?;
        Ok(())
    }

    /// Adds a lot just made.
    pub fn add_lot(&mut self, lot: Lot) {
        self.in_lots += lot.remaining;
        let place = self.lots.partition_point(|other| other.burns_at() <= lot.burns_at());
        self.lots.insert(place, lot);
    }

    /// Takes over all of another settled account: balance, lots, and what is held of both.
    pub fn absorb(&mut self, from: &mut Account) -> Result<(), Refusal> {
        self.add(from.balance)?;
        let absorbed = std::mem::take(from);
        self.held += absorbed.held;
        self.in_lots += absorbed.in_lots;
        self.lots.extend(absorbed.lots);
        self.lots.sort_by_key(Lot::burns_at);
        Ok(())
    }

    /// Takes credits from a settled account; which lots gave how much, in the order of burning.
    pub fn spend(&mut self, credits: i64, now: Micros) -> Result<Vec<Part>, Refusal> {
        let parts = self.choose(credits, now)?;
        for part in &parts {
            self.take(part.lot_id, part.credits);
        }
        self.balance -= credits;
        Ok(parts)
    }

    /// Reserves credits of a settled account; which lots they lie on, in the order of burning.
    pub fn hold(&mut self, credits: i64, now: Micros) -> Result<Vec<Part>, Refusal> {
        let parts = self.choose(credits, now)?;
        for part in &parts {
            self.change(part.lot_id, |lot| lot.held += part.credits);
        }
        self.held += credits;
        Ok(parts)
    }

    /// Ends a hold of `held` credits on those lots, and spends `captured` of them; which lots gave how
    /// much. Nothing captured: a release.
    pub fn end_hold(&mut self, held: i64, parts: &[Part], captured: i64) -> Vec<Part> {
        let mut parts = parts.to_vec();
        parts.sort_by_key(|part| self.lot(part.lot_id).map(Lot::burns_at));
        let mut wanted = captured;
        let mut spent = Vec::new();
        for part in parts {
            self.change(part.lot_id, |lot| lot.held -= part.credits);
            let credits = part.credits.min(wanted);
            if credits > 0 {
                self.take(part.lot_id, credits);
                spent.push(Part { lot_id: part.lot_id, credits });
                wanted -= credits;
            }
        }
        self.held -= held;
        self.balance -= captured;
        spent
    }

    /// Undoes a purchase or grant, from its own lot or from what lies on none: how many credits were
    /// there to be taken. The rest is the shortfall.
    pub fn undo_credit(&mut self, credits: i64, lot_id: Option<i64>) -> i64 {
        let there = match lot_id {
            Some(lot_id) => self.lot(lot_id).map_or(0, Lot::free),
            None => self.available_loose(),
        };
        let taken = credits.min(there).max(0);
        if let Some(lot_id) = lot_id {
            self.take(lot_id, taken);
        }
        self.balance -= taken;
        taken
    }

    /// Gives back what was undone of a purchase or grant: to its lot while that lives, else to the credits
    /// on no lot.
    pub fn give_back(&mut self, credits: i64, lot_id: Option<i64>, now: Micros) -> Result<(), Refusal> {
        self.add(credits)?;
        let Some(lot_id) = lot_id else { return Ok(()) };
        if credits > 0 && self.lot(lot_id).is_some_and(|lot| lot.lives(now)) {
            self.change(lot_id, |lot| lot.remaining += credits);
            self.in_lots += credits;
        }
        Ok(())
    }

    /// Gives back credits of a spend or capture: to the credits on no lot first, then to the lots, last
    /// taken first, as if less had been spent. What came from a lot that has expired lies on none then.
    /// `uses` is what the entry took from lots, in the order of burning; `loose` what of the rest has not
    /// come back yet.
    pub fn undo_spend(
        &mut self,
        credits: i64,
        loose: i64,
        uses: &mut [Use],
        now: Micros,
    ) -> Result<(), Refusal> {
        self.add(credits)?;
        let mut left = credits - credits.min(loose);
        for used in uses.iter_mut().rev() {
            let back = left.min(used.credits - used.returned);
            used.returned += back;
            left -= back;
            let lives = self.lot(used.lot_id).is_some_and(|lot| lot.lives(now));
            if lives && back > 0 {
                self.change(used.lot_id, |lot| lot.remaining += back);
                self.in_lots += back;
            }
        }
        Ok(())
    }

    fn choose(&self, credits: i64, now: Micros) -> Result<Vec<Part>, Refusal> {
        if credits > self.available() {
            return Err(invalid(Detail::InsufficientCredits));
        }
        let mut left = credits;
        let mut parts = Vec::new();
        for lot in self.lots.iter().filter(|lot| lot.lives(now) && lot.free() > 0) {
            let taken = lot.free().min(left);
            if taken > 0 {
                parts.push(Part { lot_id: lot.lot_id, credits: taken });
                left -= taken;
            }
        }
        Ok(parts)
    }

    fn take(&mut self, lot_id: i64, credits: i64) {
        self.in_lots -= credits;
        self.change(lot_id, |lot| lot.remaining -= credits);
    }

    /// The lot of that number, if it was loaded.
    pub fn lot(&self, lot_id: i64) -> Option<&Lot> {
        self.lots.iter().find(|lot| lot.lot_id == lot_id)
    }

    fn change(&mut self, lot_id: i64, change: impl FnOnce(&mut Lot)) {
        if let Some(lot) = self.lots.iter_mut().find(|lot| lot.lot_id == lot_id) {
            change(lot);
            lot.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(lot_id: i64, priority: i32, expires_at: Option<Micros>, remaining: i64) -> Lot {
        Lot { lot_id, entry_id: lot_id * 10, priority, expires_at, remaining, held: 0, changed: false }
    }

    fn account(balance: i64, lots: Vec<Lot>) -> Account {
        let in_lots = lots.iter().map(|lot| lot.remaining).sum();
        Account::new(balance, 0, in_lots, lots, Vec::new())
    }

    #[test]
    fn absorbing_moves_everything_and_loses_nothing() {
        let mut from = account(30, vec![lot(1, 0, Some(50), 10), lot(4, -1, None, 5)]);
        let mut into = account(7, vec![lot(2, 0, Some(60), 3), lot(3, 0, Some(40), 2)]);
        from.hold(8, 0).expect("enough");
        into.hold(6, 0).expect("enough");
        into.absorb(&mut from).expect("fits");
        assert_eq!(from, Account::default());
        assert_eq!((into.balance, into.held, into.in_lots), (37, 14, 20));
        assert_eq!(into.available(), 23);
        let order: Vec<i64> = into.lots.iter().map(|lot| lot.lot_id).collect();
        assert_eq!(order, [4, 3, 1, 2], "burnt in the order of both");
        assert_eq!(into.available_loose(), into.available() - 20 + 5 + 3 + 3 + 2);
        let mut full = account(i64::MAX, Vec::new());
        let before = full.clone();
        let mut one = account(1, Vec::new());
        assert_eq!(full.absorb(&mut one), Err(invalid(Detail::BalanceOverflow)));
        assert_eq!((full, one.balance), (before, 1));
    }

    fn parts(parts: &[(i64, i64)]) -> Vec<Part> {
        parts.iter().map(|(lot_id, credits)| Part { lot_id: *lot_id, credits: *credits }).collect()
    }

    #[test]
    fn burning_goes_by_priority_then_expiry_then_age_then_loose() {
        let lots =
            vec![lot(1, 0, None, 5), lot(2, 0, Some(90), 5), lot(3, -1, None, 5), lot(4, 0, Some(90), 5)];
        let mut account = account(30, lots);
        let taken = account.spend(23, 50).unwrap();
        assert_eq!(taken, parts(&[(3, 5), (2, 5), (4, 5), (1, 5)]));
        assert_eq!((account.balance, account.in_lots, account.available_loose()), (7, 0, 7));
    }

    #[test]
    fn what_gives_nothing_is_no_part() {
        let mut account =
            account(30, vec![lot(1, 0, Some(50), 5), lot(2, 0, Some(60), 5), lot(3, 0, None, 5)]);
        let held = account.hold(8, 0).unwrap();
        assert_eq!(held, parts(&[(1, 5), (2, 3)]));
        assert_eq!(account.end_hold(8, &held, 5), parts(&[(1, 5)]));
        assert_eq!(account.spend(20, 60).unwrap(), parts(&[(3, 5)]), "expired, though not written off yet");
    }

    #[test]
    fn a_lot_that_gets_nothing_back_is_not_changed() {
        let mut account = account(30, vec![lot(1, 0, None, 10), lot(2, 1, None, 10)]);
        account.give_back(0, Some(1), 0).unwrap();
        assert_eq!(account.changed_lots().count(), 0);
        let mut uses = [1, 2].map(|lot_id| Use { lot_id, credits: 5, returned: 0 });
        account.undo_spend(5, 0, &mut uses, 0).unwrap();
        assert_eq!(account.changed_lots().map(|lot| lot.lot_id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_lot_just_made_counts_and_has_its_place_in_the_order() {
        let mut account = account(30, vec![lot(1, 0, Some(90), 5), lot(2, 1, None, 5)]);
        account.add_lot(lot(3, 0, None, 7));
        assert_eq!((account.in_lots, account.available_loose()), (17, 13));
        assert_eq!(account.spend(30, 0).unwrap(), parts(&[(1, 5), (3, 7), (2, 5)]));
        assert_eq!((account.balance, account.in_lots), (0, 0));
    }

    #[test]
    fn what_expired_is_written_off_but_not_what_is_held() {
        let mut account = account(30, vec![lot(1, 0, Some(50), 20)]);
        assert_eq!(account.hold(15, 40).unwrap(), parts(&[(1, 15)]));
        let (ended, written_off) = account.settle(50);
        assert!(ended.is_empty());
        assert_eq!(
            written_off,
            [WriteOff { entry_id: 10, lot_id: 1, credits: 5, balance_after: 25, left: 15 }]
        );
        assert_eq!((account.balance, account.available()), (25, 10));
        assert_eq!(account.end_hold(15, &parts(&[(1, 15)]), 6), parts(&[(1, 6)]));
        assert_eq!((account.balance, account.held), (19, 0));
        assert_eq!(account.settle(50).1[0].credits, 9);
        assert_eq!((account.balance, account.available()), (10, 10));
    }

    #[test]
    fn a_hold_that_ran_out_counts_for_nothing() {
        let mut held = lot(1, 0, None, 10);
        held.held = 4;
        let run_out = RunOut { hold_id: [1; 16], credits: 6, parts: parts(&[(1, 4)]) };
        let mut account = Account::new(20, 6, 10, vec![held], vec![run_out]);
        assert_eq!(account.settle(0), (vec![[1; 16]], Vec::new()));
        assert_eq!((account.held, account.available(), account.available_loose()), (0, 20, 10));
        assert_eq!(account.next_expiry(), None);
        assert_eq!(account.spend(21, 0), Err(invalid(Detail::InsufficientCredits)));
    }

    #[test]
    fn a_lot_ended_before_its_time_keeps_what_is_held() {
        let mut account = account(30, vec![lot(1, 0, Some(90), 20), lot(2, 0, Some(80), 5)]);
        assert_eq!(account.hold(8, 10).unwrap(), parts(&[(2, 5), (1, 3)]));
        let written_off = account.end_lots(&[1], 10);
        assert_eq!(written_off.iter().map(|off| (off.lot_id, off.credits)).collect::<Vec<_>>(), [(1, 17)]);
        assert_eq!((account.balance, account.available()), (13, 5));
        assert_eq!(account.next_expiry(), None);
    }

    #[test]
    fn a_purchase_is_undone_from_its_own_lot_or_from_loose_credits() {
        let mut account = account(30, vec![lot(1, 0, None, 20)]);
        assert_eq!(account.spend(15, 0).unwrap(), parts(&[(1, 15)]));
        assert_eq!(account.undo_credit(20, Some(1)), 5);
        assert_eq!(account.undo_credit(7, None), 7);
        assert_eq!(account.undo_credit(7, None), 3);
        assert_eq!(account.undo_credit(7, None), 0);
        assert_eq!((account.balance, account.in_lots), (0, 0));
    }

    #[test]
    fn what_was_undone_comes_back_to_a_living_lot() {
        let mut account = account(30, vec![lot(1, 0, Some(50), 20)]);
        assert_eq!(account.undo_credit(20, Some(1)), 20);
        account.give_back(5, Some(1), 10).unwrap();
        assert_eq!((account.balance, account.in_lots, account.lot(1).unwrap().remaining), (15, 5, 5));
        account.give_back(5, Some(1), 50).unwrap();
        account.give_back(5, None, 50).unwrap();
        assert_eq!((account.balance, account.in_lots), (25, 5));
        assert_eq!(account.give_back(i64::MAX, None, 50), Err(invalid(Detail::BalanceOverflow)));
    }

    #[test]
    fn what_was_spent_comes_back_last_first_and_to_living_lots() {
        let mut account = account(30, vec![lot(1, 0, Some(50), 10), lot(2, 0, None, 10)]);
        let taken = account.spend(25, 0).unwrap();
        let mut uses: Vec<Use> = taken
            .iter()
            .map(|part| Use { lot_id: part.lot_id, credits: part.credits, returned: 0 })
            .collect();
        account.undo_spend(8, 5, &mut uses, 10).unwrap();
        assert_eq!((account.balance, account.in_lots, account.lot(2).unwrap().remaining), (13, 3, 3));
        account.undo_spend(17, 0, &mut uses, 60).unwrap();
        assert_eq!((account.balance, account.in_lots, account.lot(2).unwrap().remaining), (30, 10, 10));
        assert_eq!(account.lot(1).unwrap().remaining, 0, "an expired lot gets nothing back");
        assert!(uses.iter().all(|used| used.returned == used.credits));
    }

    #[test]
    fn a_balance_stays_within_64_bits() {
        let mut account = account(i64::MAX - 1, Vec::new());
        assert!(account.add(1).is_ok());
        assert_eq!(account.add(1), Err(invalid(Detail::BalanceOverflow)));
        assert_eq!(account.balance, i64::MAX);
    }
}
