//! What the credit functions are to do, once more: plain, slow, and sharing nothing with the code that
//! does it but the words of its answers. Tests run both side by side.
//!
//! No total is kept: a balance is the sum of its entries, what is held the sum of the open holds. A call
//! works on a copy of the books, which takes their place only if the call is applied.

use std::collections::BTreeSet;

use super::EntryKind;
use crate::outcome::{Detail, Reason};

#[cfg(test)]
mod beside;

/// Seconds of any one epoch; the ends of the number line are the infinities.
pub type Seconds = i64;

/// An entry, a lot or a hold by its place in [`Books`].
pub type Place = usize;

/// The arguments of purchase, grant, spend and hold; each function looks at its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Order {
    pub user: Option<String>,
    pub credits: Option<i64>,
    pub key: Option<String>,
    pub credit_type: Option<String>,
    pub expires_at: Option<Seconds>,
    pub priority: Option<i32>,
    pub session_id: Option<String>,
    pub source_ref: Option<String>,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub ttl_seconds: Option<i32>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Purchase(Order),
    Grant(Order),
    Spend(Order),
    Hold(Order),
    /// The entry by its place; a place that is none is an id that is none.
    Reverse {
        entry: Option<Place>,
        key: Option<String>,
        credits: Option<i64>,
    },
    Capture {
        hold: Option<Place>,
        credits: Option<i64>,
    },
    Release {
        hold: Option<Place>,
    },
}

/// What a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As in the outcome row.
    pub reason: Reason,
    /// As in the outcome row.
    pub detail: Option<Detail>,
    /// What the row shows.
    pub shows: Shows,
}

/// What an outcome row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing.
    Nothing,
    /// An entry.
    Entry(Place),
    /// A hold, as [`Books::hold_status`] and [`Books::money`] say right after the call.
    Hold(Place),
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Entry {
    pub at: Seconds,
    pub user: String,
    pub credit_type: String,
    pub kind: EntryKind,
    pub credits: i64,
    pub balance_after: i64,
    /// None: the extension's own.
    pub key: Option<String>,
    pub source: Option<String>,
    pub reverses: Option<Place>,
    pub shortfall: i64,
    /// Of a capture.
    pub hold: Option<Place>,
    /// What the call asked for, to tell a replay.
    asked: Asked,
    /// What a spend or capture took: lots in the order of burning; the last is what lay on none.
    taken: Vec<Taken>,
}

/// The parameters that a replay must share.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Order {
        kind: EntryKind,
        user: String,
        credit_type: String,
        credits: i64,
        money: Option<(i64, String)>,
        source: Option<String>,
    },
    Hold {
        user: String,
        credit_type: String,
        credits: i64,
    },
    Reversal {
        entry: Place,
        credits: Option<i64>,
    },
    /// Of the extension itself.
    Own,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    /// None: from what lies on no lot.
    lot: Option<Place>,
    credits: i64,
    returned: i64,
}

/// Credits that expire or have a priority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Lot {
    /// The entry that made it.
    pub entry: Place,
    pub priority: i32,
    pub expires_at: Option<Seconds>,
    pub remaining: i64,
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Open,
    Captured,
    Released,
    Expired,
}

impl Status {
    /// As answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Captured => "captured",
            Status::Released => "released",
            Status::Expired => "expired",
        }
    }
}

/// Credits reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Hold {
    pub user: String,
    pub credit_type: String,
    pub credits: i64,
    pub key: String,
    pub expires_at: Seconds,
    /// As written: a hold that ran out is open until its customer is next written to.
    pub written: Status,
    pub captured: Option<i64>,
    /// What lies on which lot, in the order of burning.
    parts: Vec<(Place, i64)>,
}

/// What `credit_balance` answers of a known customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Money {
    pub balance: i64,
    pub held: i64,
    pub available: i64,
    pub next_expiry: Option<(Seconds, i64)>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Books {
    pub customers: BTreeSet<String>,
    pub entries: Vec<Entry>,
    pub lots: Vec<Lot>,
    pub holds: Vec<Hold>,
}

/// Whose credits of which type.
type Account<'a> = (&'a str, &'a str);

type Tried = Result<Shows, Answer>;

fn refused(detail: Detail) -> Answer {
    Answer { reason: Reason::Invalid, detail: Some(detail), shows: Shows::Nothing }
}

fn replayed(shows: Shows) -> Answer {
    Answer { reason: Reason::Replay, detail: None, shows }
}

impl Books {
    /// One call at that time.
    pub fn call(&mut self, call: &Call, now: Seconds) -> Answer {
        let mut next = self.clone();
        let tried = match call {
            Call::Purchase(order) => next.order(EntryKind::Purchase, order, now),
            Call::Grant(order) => next.order(EntryKind::Grant, order, now),
            Call::Spend(order) => next.order(EntryKind::Spend, order, now),
            Call::Hold(order) => next.hold(order, now),
            Call::Reverse { entry, key, credits } => next.reverse(*entry, key.as_deref(), *credits, now),
            Call::Capture { hold, credits } => next.capture(*hold, *credits, now),
            Call::Release { hold } => next.release(*hold, now),
        };
        match tried {
            Ok(shows) => {
                *self = next;
                Answer { reason: Reason::Applied, detail: None, shows }
            }
            Err(answer) => answer,
        }
    }

    /// `apply_credit_batch`: one call after the other. Operations that cannot be read come with their
    /// refusal.
    pub fn batch(&mut self, operations: &[Result<Call, Detail>], now: Seconds) -> Vec<Answer> {
        let one = |operation: &Result<Call, Detail>| match operation {
            Ok(call) => self.call(call, now),
            Err(detail) => refused(*detail),
        };
        operations.iter().map(one).collect()
    }

    /// `expire_credits` without a limit: how many accounts had something to settle.
    pub fn expire(&mut self, now: Seconds) -> usize {
        let mut settled = 0;
        for (user, credit_type) in self.accounts() {
            let before = self.clone();
            self.settle((&user, &credit_type), now);
            settled += usize::from(*self != before);
        }
        settled
    }

    /// Customers and credit types that ever had an entry.
    pub fn accounts(&self) -> BTreeSet<(String, String)> {
        self.entries.iter().map(|entry| (entry.user.clone(), entry.credit_type.clone())).collect()
    }

    /// `credit_balance`; none for an unknown customer.
    pub fn money(&self, user: &str, credit_type: &str, now: Seconds) -> Option<Money> {
        let account = (user, credit_type);
        self.customers.contains(user).then(|| Money {
            balance: self.balance(account),
            held: self.living_holds(account, now).map(|hold| hold.credits).sum(),
            available: self.available(account, now),
            next_expiry: self.next_expiry(account, now),
        })
    }

    /// `credit_balance_at`; none for an unknown customer.
    pub fn balance_at(&self, user: &str, credit_type: &str, at: Seconds) -> Option<i64> {
        let of = |entry: &&Entry| entry.of((user, credit_type)) && entry.at <= at;
        self.customers.contains(user).then(|| self.entries.iter().filter(of).map(|entry| entry.credits).sum())
    }

    /// What a hold is now.
    pub fn hold_status(&self, hold: &Hold, now: Seconds) -> Status {
        match hold.written {
            Status::Open if hold.expires_at <= now => Status::Expired,
            written => written,
        }
    }

    /// What of a lot is under holds, as written.
    pub fn lot_held(&self, lot: Place) -> i64 {
        self.holds
            .iter()
            .filter(|hold| hold.written == Status::Open)
            .flat_map(|hold| &hold.parts)
            .filter(|(on, _)| *on == lot)
            .map(|(_, credits)| credits)
            .sum()
    }

    /// What is under holds, as written.
    pub fn held_as_written(&self, user: &str, credit_type: &str) -> i64 {
        let of = |hold: &&Hold| hold.of((user, credit_type)) && hold.written == Status::Open;
        self.holds.iter().filter(of).map(|hold| hold.credits).sum()
    }

    /// The account's lots, in the order in which they are burnt.
    fn burning(&self, account: Account) -> Vec<Place> {
        let mut lots: Vec<Place> =
            (0..self.lots.len()).filter(|lot| self.entries[self.lots[*lot].entry].of(account)).collect();
        lots.sort_by_key(|lot| {
            let Lot { priority, expires_at, .. } = self.lots[*lot];
            (priority, expires_at.is_none(), expires_at, *lot)
        });
        lots
    }

    fn balance(&self, account: Account) -> i64 {
        self.entries.iter().filter(|entry| entry.of(account)).map(|entry| entry.credits).sum()
    }

    fn living_holds<'a>(&'a self, account: Account<'a>, now: Seconds) -> impl Iterator<Item = &'a Hold> + 'a {
        self.holds.iter().filter(move |hold| hold.of(account) && self.hold_status(hold, now) == Status::Open)
    }

    /// What of a lot neither is spent nor lies under a living hold.
    fn free(&self, account: Account, lot: Place, now: Seconds) -> i64 {
        let held: i64 = self
            .living_holds(account, now)
            .flat_map(|hold| &hold.parts)
            .filter(|(on, _)| *on == lot)
            .map(|(_, credits)| credits)
            .sum();
        self.lots[lot].remaining - held
    }

    fn is_expired(&self, lot: Place, now: Seconds) -> bool {
        self.lots[lot].expires_at.is_some_and(|at| at <= now)
    }

    /// balance - held - expired
    fn available(&self, account: Account, now: Seconds) -> i64 {
        let held: i64 = self.living_holds(account, now).map(|hold| hold.credits).sum();
        let expired: i64 = self
            .burning(account)
            .into_iter()
            .filter(|lot| self.is_expired(*lot, now))
            .map(|lot| self.free(account, lot, now))
            .sum();
        self.balance(account) - held - expired
    }

    /// What of the available credits lies on no lot.
    fn available_loose(&self, account: Account, now: Seconds) -> i64 {
        let in_lots: i64 = self
            .burning(account)
            .into_iter()
            .filter(|lot| !self.is_expired(*lot, now))
            .map(|lot| self.free(account, lot, now))
            .sum();
        self.available(account, now) - in_lots
    }

    fn next_expiry(&self, account: Account, now: Seconds) -> Option<(Seconds, i64)> {
        let ahead: Vec<(Seconds, i64)> = self
            .burning(account)
            .into_iter()
            .filter(|lot| !self.is_expired(*lot, now) && self.free(account, *lot, now) > 0)
            .filter_map(|lot| Some((self.lots[lot].expires_at?, self.free(account, lot, now))))
            .collect();
        let next = ahead.iter().map(|(at, _)| *at).min()?;
        Some((next, ahead.iter().filter(|(at, _)| *at == next).map(|(_, credits)| credits).sum()))
    }

    /// What every call that is applied does first.
    fn settle(&mut self, account: Account, now: Seconds) {
        for hold in &mut self.holds {
            if hold.of(account) && hold.written == Status::Open && hold.expires_at <= now {
                hold.written = Status::Expired;
            }
        }
        for lot in self.burning(account) {
            let free = self.free(account, lot, now);
            if self.is_expired(lot, now) && free > 0 {
                self.lots[lot].remaining -= free;
                self.enter(account, EntryKind::Expiry, -free, now, None, Asked::Own);
            }
        }
    }

    fn enter(
        &mut self,
        (user, credit_type): Account,
        kind: EntryKind,
        credits: i64,
        at: Seconds,
        key: Option<String>,
        asked: Asked,
    ) -> Place {
        self.entries.push(Entry {
            at,
            user: user.to_owned(),
            credit_type: credit_type.to_owned(),
            kind,
            credits,
            balance_after: self.balance((user, credit_type)) + credits,
            key,
            source: None,
            reverses: None,
            shortfall: 0,
            hold: None,
            asked,
            taken: Vec::new(),
        });
        self.entries.len() - 1
    }

    /// What stands for the key: the original if the request is the same.
    fn look_up(&self, key: &str, asked: &Asked) -> Result<(), Answer> {
        if let Some(entry) = self.entries.iter().position(|entry| entry.key.as_deref() == Some(key)) {
            let same = self.entries[entry].asked == *asked;
            return Err(if same {
                replayed(Shows::Entry(entry))
            } else {
                refused(Detail::IdempotencyKeyReused)
            });
        }
        if let Some(hold) = self.holds.iter().position(|hold| hold.key == key) {
            let same = self.holds[hold].asked() == *asked;
            return Err(if same {
                replayed(Shows::Hold(hold))
            } else {
                refused(Detail::IdempotencyKeyReused)
            });
        }
        Ok(())
    }

    fn order(&mut self, kind: EntryKind, order: &Order, now: Seconds) -> Tried {
        let form = Form::of(kind, order).map_err(refused)?;
        let account = (form.user.as_str(), form.credit_type.as_str());
        let signed = if kind == EntryKind::Spend { -form.credits } else { form.credits };
        let asked = Asked::Order {
            kind,
            user: form.user.clone(),
            credit_type: form.credit_type.clone(),
            credits: signed,
            money: form.money,
            source: form.source.clone(),
        };
        self.look_up(&form.key, &asked)?;
        if form.source.is_some()
            && let Some(entry) = self.entries.iter().position(|entry| entry.source == form.source)
        {
            return Err(Answer {
                reason: Reason::Duplicate,
                detail: Some(Detail::AlreadyCredited),
                shows: Shows::Entry(entry),
            });
        }
        if is_code(&form.user) {
            return Err(refused(Detail::UnknownUser));
        }
        self.settle(account, now);
        if kind == EntryKind::Spend {
            let taken = self.choose(account, form.credits, now)?;
            for part in &taken {
                self.take(part);
            }
            let entry = self.enter(account, kind, signed, now, Some(form.key), asked);
            self.entries[entry].taken = taken;
            return Ok(Shows::Entry(entry));
        }
        if self.balance(account).checked_add(form.credits).is_none() {
            return Err(refused(Detail::BalanceOverflow));
        }
        self.customers.insert(form.user.clone());
        let entry = self.enter(account, kind, signed, now, Some(form.key), asked);
        self.entries[entry].source = form.source;
        let priority = if kind == EntryKind::Grant { order.priority.unwrap_or(0) } else { 0 };
        if order.expires_at.is_some() || priority != 0 {
            let expires_at = order.expires_at;
            self.lots.push(Lot { entry, priority, expires_at, remaining: form.credits });
        }
        Ok(Shows::Entry(entry))
    }

    /// Which credits go first: the living lots as they burn, then what lies on none.
    fn choose(&self, account: Account, credits: i64, now: Seconds) -> Result<Vec<Taken>, Answer> {
        if credits > self.available(account, now) {
            return Err(refused(Detail::InsufficientCredits));
        }
        let mut wanted = credits;
        let mut taken = Vec::new();
        for lot in self.burning(account) {
            let part = if self.is_expired(lot, now) { 0 } else { self.free(account, lot, now).min(wanted) };
            wanted -= part;
            if part > 0 {
                taken.push(Taken { lot: Some(lot), credits: part, returned: 0 });
            }
        }
        taken.push(Taken { lot: None, credits: wanted, returned: 0 });
        Ok(taken)
    }

    fn take(&mut self, part: &Taken) {
        if let Some(lot) = part.lot {
            self.lots[lot].remaining -= part.credits;
        }
    }

    fn hold(&mut self, order: &Order, now: Seconds) -> Tried {
        let form = Form::of_hold(order).map_err(refused)?;
        let account = (form.user.as_str(), form.credit_type.as_str());
        let asked = Asked::Hold {
            user: form.user.clone(),
            credit_type: form.credit_type.clone(),
            credits: form.credits,
        };
        self.look_up(&form.key, &asked)?;
        if is_code(&form.user) {
            return Err(refused(Detail::UnknownUser));
        }
        self.settle(account, now);
        let parts = self.choose(account, form.credits, now)?;
        self.holds.push(Hold {
            expires_at: now + i64::from(order.ttl_seconds.unwrap_or(900)),
            credits: form.credits,
            written: Status::Open,
            captured: None,
            parts: parts.iter().filter_map(|part| Some((part.lot?, part.credits))).collect(),
            user: form.user,
            credit_type: form.credit_type,
            key: form.key,
        });
        Ok(Shows::Hold(self.holds.len() - 1))
    }

    fn capture(&mut self, hold: Option<Place>, credits: Option<i64>, now: Seconds) -> Tried {
        if credits.is_some_and(|credits| credits <= 0) {
            return Err(refused(Detail::CreditsNotPositive));
        }
        let (place, hold) = self.known_hold(hold)?;
        let credits = credits.unwrap_or(hold.credits);
        let about = |reason, detail| Answer { reason, detail, shows: Shows::Hold(place) };
        match self.hold_status(&hold, now) {
            Status::Open if credits > hold.credits => Err(about(Reason::Invalid, Some(Detail::ExceedsHold))),
            Status::Open => {
                self.settle((&hold.user, &hold.credit_type), now);
                self.holds[place].written = Status::Captured;
                self.holds[place].captured = Some(credits);
                let mut wanted = credits;
                let mut taken = Vec::new();
                for (lot, held) in hold.parts {
                    let part = Taken { lot: Some(lot), credits: held.min(wanted), returned: 0 };
                    wanted -= part.credits;
                    self.take(&part);
                    taken.push(part);
                }
                taken.push(Taken { lot: None, credits: wanted, returned: 0 });
                let account = (hold.user.as_str(), hold.credit_type.as_str());
                let entry = self.enter(account, EntryKind::Capture, -credits, now, None, Asked::Own);
                self.entries[entry].taken = taken;
                self.entries[entry].hold = Some(place);
                Ok(Shows::Hold(place))
            }
            Status::Captured if hold.captured == Some(credits) => Err(about(Reason::Replay, None)),
            _ => Err(about(Reason::Invalid, Some(Detail::HoldEnded))),
        }
    }

    fn release(&mut self, hold: Option<Place>, now: Seconds) -> Tried {
        let (place, hold) = self.known_hold(hold)?;
        let about = |reason, detail| Answer { reason, detail, shows: Shows::Hold(place) };
        match self.hold_status(&hold, now) {
            Status::Open => {
                self.settle((&hold.user, &hold.credit_type), now);
                self.holds[place].written = Status::Released;
                Ok(Shows::Hold(place))
            }
            Status::Released => Err(about(Reason::Replay, None)),
            _ => Err(about(Reason::Invalid, Some(Detail::HoldEnded))),
        }
    }

    fn known_hold(&self, hold: Option<Place>) -> Result<(Place, Hold), Answer> {
        let place = hold.ok_or(refused(Detail::HoldIdMissing))?;
        let hold = self.holds.get(place).ok_or(refused(Detail::UnknownHold))?;
        Ok((place, hold.clone()))
    }

    fn reverse(
        &mut self,
        entry: Option<Place>,
        key: Option<&str>,
        credits: Option<i64>,
        now: Seconds,
    ) -> Tried {
        let place = entry.ok_or(refused(Detail::EntryIdMissing))?;
        let key = checked_key(key).map_err(refused)?;
        if credits.is_some_and(|credits| credits <= 0) {
            return Err(refused(Detail::CreditsNotPositive));
        }
        let asked = Asked::Reversal { entry: place, credits };
        self.look_up(&key, &asked)?;
        let undone = self.entries.get(place).ok_or(refused(Detail::UnknownEntry))?.clone();
        let account = (undone.user.as_str(), undone.credit_type.as_str());
        if matches!(undone.kind, EntryKind::Reversal | EntryKind::Expiry | EntryKind::Adjustment) {
            return Err(refused(Detail::NotReversible));
        }
        let left = undone.credits.abs() - self.undone(place);
        if left == 0 {
            return Err(refused(Detail::NothingToReverse));
        }
        let credits = credits.unwrap_or(left);
        if credits > left {
            return Err(refused(Detail::ExceedsEntry));
        }
        self.settle(account, now);
        let (signed, shortfall) = if undone.credits > 0 {
            let there = match self.lots.iter().position(|lot| lot.entry == place) {
                Some(lot) => self.free(account, lot, now),
                None => self.available_loose(account, now),
            };
            let back = credits.min(there);
            if let Some(lot) = self.lots.iter_mut().find(|lot| lot.entry == place) {
                lot.remaining -= back;
            }
            (-back, credits - back)
        } else {
            if self.balance(account).checked_add(credits).is_none() {
                return Err(refused(Detail::BalanceOverflow));
            }
            self.give_back(place, credits, now);
            (credits, 0)
        };
        let entry = self.enter(account, EntryKind::Reversal, signed, now, Some(key), asked);
        self.entries[entry].reverses = Some(place);
        self.entries[entry].shortfall = shortfall;
        Ok(Shows::Entry(entry))
    }

    /// What reversals have made of an entry so far.
    fn undone(&self, place: Place) -> i64 {
        self.entries
            .iter()
            .filter(|entry| entry.reverses == Some(place))
            .map(|entry| entry.credits.abs() + entry.shortfall)
            .sum()
    }

    /// What was taken last comes back first; what came from a lot that has expired lies on none then.
    fn give_back(&mut self, place: Place, credits: i64, now: Seconds) {
        let mut wanted = credits;
        for index in (0..self.entries[place].taken.len()).rev() {
            let part = &mut self.entries[place].taken[index];
            let back = wanted.min(part.credits - part.returned);
            part.returned += back;
            wanted -= back;
            if let Some(lot) = part.lot
                && !self.is_expired(lot, now)
            {
                self.lots[lot].remaining += back;
            }
        }
    }
}

impl Entry {
    fn of(&self, (user, credit_type): Account) -> bool {
        self.user == user && self.credit_type == credit_type
    }
}

impl Hold {
    fn of(&self, (user, credit_type): Account) -> bool {
        self.user == user && self.credit_type == credit_type
    }

    fn asked(&self) -> Asked {
        let Hold { user, credit_type, credits, .. } = self.clone();
        Asked::Hold { user, credit_type, credits }
    }
}

/// Arguments that are well formed.
struct Form {
    user: String,
    credits: i64,
    key: String,
    credit_type: String,
    money: Option<(i64, String)>,
    source: Option<String>,
}

impl Form {
    fn of(kind: EntryKind, order: &Order) -> Result<Form, Detail> {
        let user = checked_user(order.user.as_deref())?;
        let credits = checked_credits(order.credits)?;
        let key = checked_key(order.key.as_deref())?;
        let purchase = kind == EntryKind::Purchase;
        let money =
            if purchase { checked_money(order.amount_minor, order.currency.as_deref())? } else { None };
        let credit_type = checked_type(order.credit_type.as_deref())?;
        if kind != EntryKind::Spend && matches!(order.expires_at, Some(Seconds::MIN | Seconds::MAX)) {
            return Err(Detail::ExpiresAtInfinite);
        }
        let source = if purchase { checked_source(order)? } else { None };
        Ok(Form { user, credits, key, credit_type, money, source })
    }

    fn of_hold(order: &Order) -> Result<Form, Detail> {
        let user = checked_user(order.user.as_deref())?;
        let credits = checked_credits(order.credits)?;
        let key = checked_key(order.key.as_deref())?;
        if order.ttl_seconds.is_some_and(|seconds| !(1..=31_622_400).contains(&seconds)) {
            return Err(Detail::TtlSecondsInvalid);
        }
        let credit_type = checked_type(order.credit_type.as_deref())?;
        Ok(Form { user, credits, key, credit_type, money: None, source: None })
    }
}

/// Provider codes: nobody here is linked to one.
fn is_code(user: &str) -> bool {
    user.starts_with("cus_") || user.starts_with("CUS_")
}

/// Only what the tests use: integers, provider codes, and what is none of the known kinds.
fn checked_user(user: Option<&str>) -> Result<String, Detail> {
    let user = user.unwrap_or_default();
    if user.trim().is_empty() {
        return Err(Detail::UserIdBlank);
    }
    if ["null", "undefined", "none", "nan"].contains(&user.to_lowercase().as_str()) {
        return Err(Detail::UserIdPlaceholder);
    }
    if is_code(user) || user.parse::<i64>().is_ok_and(|number| number > 0) {
        return Ok(user.to_owned());
    }
    Err(Detail::UserIdMalformed)
}

fn checked_credits(credits: Option<i64>) -> Result<i64, Detail> {
    let credits = credits.ok_or(Detail::CreditsMissing)?;
    if credits > 0 { Ok(credits) } else { Err(Detail::CreditsNotPositive) }
}

fn checked_key(key: Option<&str>) -> Result<String, Detail> {
    let key = key.ok_or(Detail::IdempotencyKeyMissing)?;
    if key.trim().is_empty() {
        Err(Detail::IdempotencyKeyBlank)
    } else if key.len() > 255 {
        Err(Detail::IdempotencyKeyTooLong)
    } else if key.starts_with("billing_rpc:") {
        Err(Detail::IdempotencyKeyReserved)
    } else {
        Ok(key.to_owned())
    }
}

fn checked_type(credit_type: Option<&str>) -> Result<String, Detail> {
    let credit_type = credit_type.unwrap_or("credits");
    if credit_type.trim().is_empty() {
        Err(Detail::CreditTypeBlank)
    } else if credit_type.len() > 63 {
        Err(Detail::CreditTypeTooLong)
    } else {
        Ok(credit_type.to_owned())
    }
}

fn checked_money(amount: Option<i64>, currency: Option<&str>) -> Result<Option<(i64, String)>, Detail> {
    if amount.is_some_and(|amount| amount < 0) {
        return Err(Detail::AmountNegative);
    }
    if currency.is_some_and(|code| code.len() != 3 || !code.chars().all(|c| c.is_ascii_alphabetic())) {
        return Err(Detail::CurrencyInvalid);
    }
    match (amount, currency) {
        (Some(amount), Some(currency)) => Ok(Some((amount, currency.to_lowercase()))),
        (Some(_), None) => Err(Detail::AmountWithoutCurrency),
        (None, Some(_)) => Err(Detail::CurrencyWithoutAmount),
        (None, None) => Ok(None),
    }
}

fn checked_source(order: &Order) -> Result<Option<String>, Detail> {
    let names = |text: &str, start: &str| {
        text.len() > start.len() && text.starts_with(start) && !text.contains(char::is_whitespace)
    };
    if order.session_id.as_ref().is_some_and(|id| !names(id, "cs_")) {
        return Err(Detail::StripeSessionIdInvalid);
    }
    let known = ["stripe:cs_", "stripe:pi_", "paystack:"];
    if order.source_ref.as_ref().is_some_and(|source| !known.iter().any(|start| names(source, start))) {
        return Err(Detail::SourceRefInvalid);
    }
    let session = order.session_id.as_ref().map(|id| format!("stripe:{id}"));
    match (session, order.source_ref.clone()) {
        (Some(session), Some(source)) if session != source => Err(Detail::SourcesDiffer),
        (session, source) => Ok(session.or(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Seconds = 3_600;

    fn order(credits: i64, key: &str) -> Order {
        Order {
            user: Some("7".to_owned()),
            credits: Some(credits),
            key: Some(key.to_owned()),
            ..Order::default()
        }
    }

    fn grant(credits: i64, key: &str, expires_at: Option<Seconds>, priority: i32) -> Call {
        Call::Grant(Order { expires_at, priority: Some(priority), ..order(credits, key) })
    }

    fn spend(credits: i64, key: &str) -> Call {
        Call::Spend(order(credits, key))
    }

    fn hold(credits: i64, key: &str, ttl: i32) -> Call {
        Call::Hold(Order { ttl_seconds: Some(ttl), ..order(credits, key) })
    }

    fn reverse(entry: Place, key: &str, credits: Option<i64>) -> Call {
        Call::Reverse { entry: Some(entry), key: Some(key.to_owned()), credits }
    }

    fn applied(books: &mut Books, call: &Call, now: Seconds) -> Shows {
        let answer = books.call(call, now);
        assert_eq!(answer.reason, Reason::Applied, "{call:?}: {answer:?}");
        answer.shows
    }

    fn detail(books: &mut Books, call: &Call, now: Seconds) -> Option<Detail> {
        let before = books.clone();
        let answer = books.call(call, now);
        assert_eq!((answer.reason, &before), (Reason::Invalid, &*books));
        answer.detail
    }

    fn remaining(books: &Books) -> Vec<i64> {
        books.lots.iter().map(|lot| lot.remaining).collect()
    }

    fn numbers(books: &Books, now: Seconds) -> (i64, i64, i64) {
        let money = books.money("7", "credits", now).unwrap();
        (money.balance, money.held, money.available)
    }

    #[test]
    fn a_month_with_a_bonus_that_runs_out() {
        let mut books = Books::default();
        assert_eq!(books.money("7", "credits", 0), None);
        assert_eq!(detail(&mut books, &spend(1, "s"), 0), Some(Detail::InsufficientCredits));
        applied(&mut books, &Call::Purchase(order(100, "bought")), 0);
        applied(&mut books, &grant(30, "bonus", Some(10 * HOUR), 0), HOUR);
        assert_eq!(
            books.money("7", "credits", HOUR).unwrap().next_expiry,
            Some((10 * HOUR, 30)),
            "the bonus"
        );
        applied(&mut books, &spend(20, "first"), 2 * HOUR);
        assert_eq!((numbers(&books, 2 * HOUR), remaining(&books)), ((110, 0, 110), vec![10]));
        // The bonus is over: not available at once, written off with the next spend.
        assert_eq!(numbers(&books, 10 * HOUR), (110, 0, 100));
        assert_eq!(detail(&mut books, &spend(101, "much"), 10 * HOUR), Some(Detail::InsufficientCredits));
        applied(&mut books, &spend(1, "second"), 11 * HOUR);
        let credits: Vec<i64> = books.entries.iter().map(|entry| entry.credits).collect();
        assert_eq!(credits, [100, 30, -20, -10, -1]);
        assert_eq!((numbers(&books, 11 * HOUR), remaining(&books)), ((99, 0, 99), vec![0]));
        assert_eq!(books.balance_at("7", "credits", 2 * HOUR), Some(110));
        assert_eq!(books.balance_at("7", "credits", -1), Some(0));
        assert_eq!(books.balance_at("8", "credits", 0), None);
    }

    #[test]
    fn lots_burn_by_priority_then_expiry_then_age_then_the_rest() {
        let mut books = Books::default();
        applied(&mut books, &grant(5, "loose", None, 0), 0);
        applied(&mut books, &grant(5, "never", None, 1), 0);
        applied(&mut books, &grant(5, "late", Some(9 * HOUR), 1), 0);
        applied(&mut books, &grant(5, "soon", Some(8 * HOUR), 1), 0);
        applied(&mut books, &grant(5, "soon too", Some(8 * HOUR), 1), 0);
        applied(&mut books, &grant(5, "first", None, -1), 0);
        for (key, left) in [
            ("a", vec![5, 5, 5, 5, 0]),
            ("b", vec![5, 5, 0, 5, 0]),
            ("c", vec![5, 5, 0, 0, 0]),
            ("d", vec![5, 0, 0, 0, 0]),
            ("e", vec![0, 0, 0, 0, 0]),
        ] {
            applied(&mut books, &spend(5, key), HOUR);
            assert_eq!(remaining(&books), left, "{key}");
        }
        assert_eq!(numbers(&books, HOUR), (5, 0, 5));
    }

    #[test]
    fn a_hold_keeps_what_expires_under_it() {
        let mut books = Books::default();
        applied(&mut books, &grant(10, "lot", Some(2 * HOUR), 0), 0);
        applied(&mut books, &grant(10, "loose", None, 0), 0);
        let (hour, held) = (HOUR as i32, Shows::Hold(0));
        assert_eq!(applied(&mut books, &hold(14, "h", 9 * hour), HOUR), held);
        assert_eq!(numbers(&books, HOUR), (20, 14, 6));
        assert_eq!(numbers(&books, 3 * HOUR), (20, 14, 6), "held credits do not expire");
        let capture = |credits| Call::Capture { hold: Some(0), credits: Some(credits) };
        assert_eq!(detail(&mut books, &capture(15), 3 * HOUR), Some(Detail::ExceedsHold));
        assert_eq!(applied(&mut books, &capture(4), 3 * HOUR), held);
        assert_eq!(numbers(&books, 3 * HOUR), (16, 0, 10), "six of the lot are over with the hold");
        assert_eq!(books.call(&capture(4), 3 * HOUR), replayed(held));
        assert_eq!(detail(&mut books, &capture(5), 3 * HOUR), Some(Detail::HoldEnded));
        assert_eq!(detail(&mut books, &Call::Release { hold: Some(0) }, 3 * HOUR), Some(Detail::HoldEnded));
        assert_eq!(books.expire(3 * HOUR), 1);
        assert_eq!((numbers(&books, 3 * HOUR), books.expire(3 * HOUR)), ((10, 0, 10), 0));
    }

    #[test]
    fn a_hold_that_ran_out_counts_for_nothing() {
        let mut books = Books::default();
        applied(&mut books, &grant(10, "g", None, 0), 0);
        applied(&mut books, &hold(10, "h", 60), 0);
        assert_eq!(detail(&mut books, &spend(1, "s"), 59), Some(Detail::InsufficientCredits));
        assert_eq!(numbers(&books, 60), (10, 0, 10));
        assert_eq!(
            detail(&mut books, &Call::Capture { hold: Some(0), credits: None }, 60),
            Some(Detail::HoldEnded)
        );
        assert_eq!(books.holds[0].written, Status::Open);
        applied(&mut books, &spend(10, "s"), 60);
        assert_eq!(books.holds[0].written, Status::Expired);
    }

    #[test]
    fn reversals_take_back_and_give_back() {
        let mut books = Books::default();
        applied(&mut books, &grant(10, "lot", Some(5 * HOUR), 0), 0); // entry 0, lot 0
        applied(&mut books, &grant(10, "never", None, 3), 0); // entry 1, lot 1
        applied(&mut books, &grant(10, "loose", None, 0), 0); // entry 2
        applied(&mut books, &spend(25, "s"), HOUR); // entry 3: 10 of lot 0, 10 of lot 1, 5 loose
        assert_eq!(detail(&mut books, &reverse(3, "r", Some(26)), HOUR), Some(Detail::ExceedsEntry));
        applied(&mut books, &reverse(3, "r1", Some(8)), HOUR);
        assert_eq!(remaining(&books), [0, 3], "the loose five first, then what was taken last");
        applied(&mut books, &reverse(3, "r2", None), 5 * HOUR);
        assert_eq!(remaining(&books), [0, 10], "the first lot has expired");
        assert_eq!(numbers(&books, 5 * HOUR), (30, 0, 30));
        assert_eq!(detail(&mut books, &reverse(3, "r3", None), HOUR), Some(Detail::NothingToReverse));
        assert_eq!(detail(&mut books, &reverse(4, "r3", None), HOUR), Some(Detail::NotReversible));
        assert_eq!(detail(&mut books, &reverse(9, "r3", None), HOUR), Some(Detail::UnknownEntry));
        // The expired grant has nothing to take back from, the loose one has all of its own and more.
        applied(&mut books, &reverse(0, "r4", Some(4)), 5 * HOUR);
        applied(&mut books, &reverse(1, "r5", None), 5 * HOUR);
        applied(&mut books, &reverse(2, "r6", None), 5 * HOUR);
        let last: Vec<_> = books.entries[6..].iter().map(|entry| (entry.credits, entry.shortfall)).collect();
        assert_eq!(last, [(0, 4), (-10, 0), (-10, 0)]);
        assert_eq!(numbers(&books, 5 * HOUR), (10, 0, 10));
    }

    #[test]
    fn one_key_one_request_and_one_source_one_credit() {
        let mut books = Books::default();
        let purchase = |key: &str, source: &str| {
            Call::Purchase(Order { source_ref: Some(source.to_owned()), ..order(5, key) })
        };
        let first = applied(&mut books, &purchase("k", "stripe:cs_1"), 0);
        assert_eq!(books.call(&purchase("k", "stripe:cs_1"), 9), replayed(first));
        assert_eq!(detail(&mut books, &purchase("k", "stripe:cs_2"), 9), Some(Detail::IdempotencyKeyReused));
        let again = books.call(&purchase("k2", "stripe:cs_1"), 9);
        assert_eq!((again.reason, again.shows), (Reason::Duplicate, first));
        applied(&mut books, &hold(5, "h", 60), 0);
        assert_eq!(detail(&mut books, &spend(5, "h"), 0), Some(Detail::IdempotencyKeyReused));
        assert_eq!(detail(&mut books, &hold(5, "k", 60), 0), Some(Detail::IdempotencyKeyReused));
        let outcomes = books.batch(
            &[Ok(grant(1, "b", None, 0)), Err(Detail::UnknownOperation), Ok(grant(1, "b", None, 0))],
            0,
        );
        let reasons: Vec<Reason> = outcomes.iter().map(|answer| answer.reason).collect();
        assert_eq!(reasons, [Reason::Applied, Reason::Invalid, Reason::Replay]);
    }

    #[test]
    fn a_balance_stays_within_64_bits() {
        let mut books = Books::default();
        applied(&mut books, &grant(i64::MAX, "most", None, 0), 0);
        assert_eq!(detail(&mut books, &grant(1, "more", None, 0), 0), Some(Detail::BalanceOverflow));
        applied(&mut books, &spend(5, "s"), 0);
        applied(&mut books, &grant(5, "fill", None, 0), 0);
        assert_eq!(detail(&mut books, &reverse(1, "r", None), 0), Some(Detail::BalanceOverflow));
    }
}
