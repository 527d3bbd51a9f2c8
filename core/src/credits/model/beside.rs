//! The account of the extension beside the model: random steps, the same after each.
//!
//! [`Rows`] does with an [`Account`] what the extension does with its tables: load, settle, act, and write
//! only what the account says has changed, only if the call is applied.

use proptest::prelude::*;

use super::{Books, Call, Order, Place, Shows, Status};
use crate::credits::account::{Account, Lot, Part, RunOut, Use};
use crate::credits::{EntryKind, ReversalRequest};
use crate::outcome::Reason;

#[derive(Clone, Debug)]
enum Step {
    Grant { credits: i64, lives: Option<i64>, priority: i32 },
    Spend(i64),
    Hold { credits: i64, lives: i32 },
    Capture { hold: usize, credits: Option<i64> },
    Release(usize),
    Reverse { entry: usize, credits: Option<i64> },
    Advance(i64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let part = || proptest::option::of(1i64..30);
    prop_oneof![
        5 => (1i64..30, proptest::option::of(-1i64..9), -1i32..2)
            .prop_map(|(credits, lives, priority)| Step::Grant { credits, lives, priority }),
        5 => (1i64..40).prop_map(Step::Spend),
        3 => (1i64..30, 1i32..9).prop_map(|(credits, lives)| Step::Hold { credits, lives }),
        2 => (0usize..99, part()).prop_map(|(hold, credits)| Step::Capture { hold, credits }),
        1 => (0usize..99).prop_map(Step::Release),
        4 => (0usize..99, part()).prop_map(|(entry, credits)| Step::Reverse { entry, credits }),
        3 => (1i64..4).prop_map(Step::Advance),
        1 => Just(Step::Expire),
    ]
}

#[derive(Clone, Debug)]
struct HoldRow {
    credits: i64,
    parts: Vec<Part>,
    expires_at: i64,
    status: Status,
}

#[derive(Clone, Debug)]
struct EntryRow {
    kind: EntryKind,
    credits: i64,
    undone: i64,
    lot_id: Option<i64>,
    uses: Vec<Use>,
}

#[derive(Clone, Debug, Default)]
struct Rows {
    balance: i64,
    held: i64,
    in_lots: i64,
    lots: Vec<Lot>,
    holds: Vec<HoldRow>,
    entries: Vec<EntryRow>,
}

impl Rows {
    fn load(&self, now: i64) -> Account {
        let lots = self.lots.iter().filter(|lot| lot.remaining > 0).cloned().collect();
        let ran_out = |hold: &&(usize, &HoldRow)| hold.1.status == Status::Open && hold.1.expires_at <= now;
        let run_out = self.holds.iter().enumerate().collect::<Vec<_>>();
        let run_out = run_out
            .iter()
            .filter(ran_out)
            .map(|(place, hold)| RunOut {
                hold_id: [u8::try_from(*place).unwrap(); 16],
                credits: hold.credits,
                parts: hold.parts.clone(),
            })
            .collect();
        Account::new(self.balance, self.held, self.in_lots, lots, run_out)
    }

    fn enter(&mut self, kind: EntryKind, credits: i64) -> &mut EntryRow {
        self.entries.push(EntryRow { kind, credits, undone: 0, lot_id: None, uses: Vec::new() });
        self.entries.last_mut().unwrap()
    }

    fn write(&mut self, account: &Account) {
        (self.balance, self.held, self.in_lots) = (account.balance, account.held, account.in_lots);
        for changed in account.changed_lots() {
            let row = self.lots.iter_mut().find(|lot| lot.lot_id == changed.lot_id).unwrap();
            (row.remaining, row.held) = (changed.remaining, changed.held);
        }
    }

    /// What a call does after settling; none: refused.
    fn act(&mut self, account: &mut Account, step: &Step, now: i64) -> Option<()> {
        let taken = |parts: &[Part]| -> Vec<Use> {
            parts.iter().map(|part| Use { lot_id: part.lot_id, credits: part.credits, returned: 0 }).collect()
        };
        match *step {
            Step::Grant { credits, lives, priority } => {
                account.add(credits).ok()?;
                let entry_id = i64::try_from(self.entries.len()).unwrap();
                let makes = lives.is_some() || priority != 0;
                let lot_id = makes.then(|| i64::try_from(self.lots.len()).unwrap());
                self.enter(EntryKind::Grant, credits).lot_id = lot_id;
                if let Some(lot_id) = lot_id {
                    account.in_lots += credits;
                    let expires_at = lives.map(|lives| now + lives);
                    let (remaining, held, changed) = (credits, 0, false);
                    self.lots.push(Lot { lot_id, entry_id, priority, expires_at, remaining, held, changed });
                }
            }
            Step::Spend(credits) => {
                let parts = account.spend(credits, now).ok()?;
                self.enter(EntryKind::Spend, -credits).uses = taken(&parts);
            }
            Step::Hold { credits, lives } => {
                let parts = account.hold(credits, now).ok()?;
                let expires_at = now + i64::from(lives);
                self.holds.push(HoldRow { credits, parts, expires_at, status: Status::Open });
            }
            Step::Capture { hold, credits } => {
                let hold = self.holds.get_mut(hold)?;
                let credits = credits.unwrap_or(hold.credits);
                if hold.status != Status::Open || hold.expires_at <= now || credits > hold.credits {
                    return None;
                }
                hold.status = Status::Captured;
                let parts = account.end_hold(hold.credits, &hold.parts, credits);
                self.enter(EntryKind::Capture, -credits).uses = taken(&parts);
            }
            Step::Release(hold) => {
                let hold = self.holds.get_mut(hold)?;
                if hold.status != Status::Open || hold.expires_at <= now {
                    return None;
                }
                hold.status = Status::Released;
                account.end_hold(hold.credits, &hold.parts, 0);
            }
            Step::Reverse { entry, credits } => self.reverse(account, entry, credits, now)?,
            Step::Advance(_) | Step::Expire => {}
        }
        Some(())
    }

    fn reverse(&mut self, account: &mut Account, entry: usize, credits: Option<i64>, now: i64) -> Option<()> {
        let row = self.entries.get_mut(entry)?;
        let request = ReversalRequest::parse(Some(0), Some("k"), credits, None).unwrap();
        let credits = request.credits_of(row.kind, row.credits, row.undone).ok()?;
        if row.credits > 0 {
            let taken = account.undo_credit(credits, row.lot_id);
            row.undone += credits;
            self.enter(EntryKind::Reversal, -taken);
            return Some(());
        }
        let in_lots: i64 = row.uses.iter().map(|used| used.credits).sum();
        let returned: i64 = row.uses.iter().map(|used| used.returned).sum();
        let loose = (-row.credits - in_lots) - (row.undone - returned);
        for used in &row.uses {
            let lot = self.lots.iter().find(|lot| lot.lot_id == used.lot_id).unwrap();
            if lot.remaining == 0 {
                account.add_lot(lot.clone());
            }
        }
        account.undo_spend(credits, loose, &mut row.uses, now).ok()?;
        row.undone += credits;
        self.enter(EntryKind::Reversal, credits);
        Some(())
    }

    /// A call: all of it, or nothing.
    fn call(&mut self, step: &Step, now: i64) -> bool {
        let mut next = self.clone();
        let mut account = next.load(now);
        let (ended, write_offs) = account.settle(now);
        for hold_id in ended {
            next.holds[usize::from(hold_id[0])].status = Status::Expired;
        }
        for write_off in write_offs {
            next.enter(EntryKind::Expiry, -write_off.credits);
        }
        if next.act(&mut account, step, now).is_none() {
            return false;
        }
        next.write(&account);
        *self = next;
        true
    }
}

fn call_of(step: &Step, number: usize, now: i64) -> Option<Call> {
    let key = Some(number.to_string());
    let order = |credits: &i64| Order {
        user: Some("7".to_owned()),
        credits: Some(*credits),
        key: key.clone(),
        ..Order::default()
    };
    Some(match step {
        Step::Grant { credits, lives, priority } => Call::Grant(Order {
            expires_at: lives.map(|lives| now + lives),
            priority: Some(*priority),
            ..order(credits)
        }),
        Step::Spend(credits) => Call::Spend(order(credits)),
        Step::Hold { credits, lives } => Call::Hold(Order { ttl_seconds: Some(*lives), ..order(credits) }),
        Step::Capture { hold, credits } => Call::Capture { hold: Some(*hold), credits: *credits },
        Step::Release(hold) => Call::Release { hold: Some(*hold) },
        Step::Reverse { entry, credits } => {
            Call::Reverse { entry: Some(*entry), key: key.clone(), credits: *credits }
        }
        Step::Advance(_) | Step::Expire => return None,
    })
}

/// Names that most often mean something.
fn within(step: Step, rows: &Rows) -> Step {
    match step {
        Step::Capture { hold, credits } => Step::Capture { hold: hold % (rows.holds.len() + 1), credits },
        Step::Release(hold) => Step::Release(hold % (rows.holds.len() + 1)),
        Step::Reverse { entry, credits } => {
            Step::Reverse { entry: entry % (rows.entries.len() + 1), credits }
        }
        step => step,
    }
}

fn compare(books: &Books, rows: &Rows, now: i64) {
    let entries = |(kind, credits): (EntryKind, i64)| (kind.as_str(), credits);
    assert_eq!(
        books.entries.iter().map(|entry| entries((entry.kind, entry.credits))).collect::<Vec<_>>(),
        rows.entries.iter().map(|entry| entries((entry.kind, entry.credits))).collect::<Vec<_>>()
    );
    let lot = |place: Place| (books.lots[place].remaining, books.lot_held(place));
    assert_eq!(
        (0..books.lots.len()).map(lot).collect::<Vec<_>>(),
        rows.lots.iter().map(|lot| (lot.remaining, lot.held)).collect::<Vec<_>>()
    );
    assert_eq!(
        books.holds.iter().map(|hold| hold.written).collect::<Vec<_>>(),
        rows.holds.iter().map(|hold| hold.status).collect::<Vec<_>>()
    );
    let Some(money) = books.money("7", "credits", now) else { return };
    let mut account = rows.load(now);
    account.settle(now);
    assert_eq!(
        (money.balance, money.held, money.available, money.next_expiry),
        (rows.balance, account.held, account.available(), account.next_expiry())
    );
    let in_lots: i64 = books.lots.iter().map(|lot| lot.remaining).sum();
    assert_eq!((books.held_as_written("7", "credits"), in_lots), (rows.held, rows.in_lots));
    assert!(account.available_loose() >= 0);
}

proptest! {
    #[test]
    fn the_account_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut books, mut rows, mut now) = (Books::default(), Rows::default(), 0);
        for (number, step) in steps.into_iter().enumerate() {
            let step = within(step, &rows);
            if let Step::Advance(by) = step {
                now += by;
            }
            match call_of(&step, number, now) {
                Some(call) => {
                    let answer = books.call(&call, now);
                    // What the model answers as a replay is one more call without effect here.
                    let applied = rows.call(&step, now);
                    prop_assert_eq!(answer.reason == Reason::Applied, applied, "{:?}: {:?}", step, answer);
                    prop_assert!(applied || !matches!(answer.shows, Shows::Entry(_)));
                }
                None if matches!(step, Step::Expire) => {
                    let due = books.expire(now) > 0;
                    if due {
                        rows.call(&step, now);
                    }
                }
                None => {}
            }
            compare(&books, &rows, now);
        }
    }
}
