//! Subscription payments: what may be started, and what a gateway's report does to a payment.

use crate::credits::Money;
use crate::credits::account::Micros;
use crate::customers::{Identifier, Uuid};
use crate::interval::Interval;
use crate::outcome::{Detail, Reason, Refusal, invalid};
use crate::plans::Plan;
use crate::text::{self, MAX_REFERENCE_BYTES, is_blank};

/// Branches of one payment at the most.
pub const MAX_BRANCHES: usize = 1_000;

/// How far a payment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Started; nothing final is known.
    Pending,
    /// Paid. This is for ever.
    Success,
    /// The last attempt failed; another one may succeed.
    Failed,
}

impl Status {
    /// As stored and answered.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Success => "success",
            Status::Failed => "failed",
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Status> {
        use Status::*;
        [Pending, Success, Failed].into_iter().find(|status| status.as_str() == text)
    }
}

/// The raw arguments of `start_subscription_payment`.
#[derive(Clone, Debug, Default)]
pub struct RawStart<'a> {
    /// Any text.
    pub reference: Option<&'a str>,
    /// Any text.
    pub user_id: Option<&'a str>,
    /// Any text.
    pub plan: Option<&'a str>,
    /// Any number.
    pub amount_minor: Option<i64>,
    /// Any text.
    pub currency: Option<&'a str>,
    /// Any texts; null reads as none.
    pub branch_ids: Option<Vec<Option<String>>>,
    /// Any text; null is no main branch.
    pub main_branch_id: Option<&'a str>,
    /// JSON text; null reads as `{}`.
    pub metadata: Option<&'a str>,
}

/// A well-formed request to start a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// The provider's reference: what makes the request idempotent.
    pub reference: &'a str,
    /// Who pays.
    pub user: Identifier<'a>,
    /// For which plan.
    pub plan: &'a str,
    /// How much.
    pub money: Money,
    /// For which branches: sorted, each once.
    pub branch_ids: Vec<String>,
    /// Which of them is the main one.
    pub main_branch_id: Option<&'a str>,
}

impl<'a> Start<'a> {
    /// Validates the form, in the order of the parameters.
    pub fn parse(raw: RawStart<'a>, external_ids: bool) -> Result<Start<'a>, Refusal> {
        let reference = text::REFERENCE.check(raw.reference).map_err(invalid)?;
        let user =
            Identifier::classify(raw.user_id, external_ids).map_err(|unusable| invalid(unusable.detail()))?;
        let plan = text::PLAN.check(raw.plan).map_err(invalid)?;
        let money = money(raw.amount_minor, raw.currency).map_err(invalid)?;
        let branch_ids = parse_branch_ids(raw.branch_ids.unwrap_or_default()).map_err(invalid)?;
        if let Some(main) = raw.main_branch_id
            && !branch_ids.iter().any(|branch| branch == main)
        {
            return Err(invalid(Detail::MainBranchUnknown));
        }
        if let Some(metadata) = raw.metadata {
            text::check_object(metadata, Detail::MetadataNotAnObject, Detail::MetadataTooLarge)
                .map_err(invalid)?;
        }
        Ok(Start { reference, user, plan, money, branch_ids, main_branch_id: raw.main_branch_id })
    }

    /// Whether the payment was started by this very request; who pays is for the caller to compare.
    pub fn started(&self, payment: &Payment) -> bool {
        self.reference == payment.reference
            && self.plan == payment.plan
            && self.money == payment.money
            && self.branch_ids == payment.branch_ids
            && self.main_branch_id == payment.main_branch_id.as_deref()
    }

    /// Whether that is what the plan costs.
    pub fn check_price(&self, plan: &Plan) -> Result<(), Detail> {
        if self.money.currency != plan.price.currency {
            return Err(Detail::CurrencyMismatch);
        }
        if plan.amount_for(self.branch_ids.len()) != Some(self.money.amount_minor) {
            return Err(Detail::AmountMismatch);
        }
        Ok(())
    }
}

/// An amount that is needed, with its currency.
fn money(amount_minor: Option<i64>, currency: Option<&str>) -> Result<Money, Detail> {
    Money::parse(amount_minor, currency)?.ok_or(Detail::AmountMissing)
}

fn parse_branch_ids(given: Vec<Option<String>>) -> Result<Vec<String>, Detail> {
    let mut ids = given.into_iter().collect::<Option<Vec<String>>>().ok_or(Detail::BranchIdBlank)?;
    for id in &ids {
        if is_blank(id) {
            return Err(Detail::BranchIdBlank);
        }
        if id.len() > MAX_REFERENCE_BYTES {
            return Err(Detail::BranchIdTooLong);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MAX_BRANCHES {
        return Err(Detail::TooManyBranches);
    }
    Ok(ids)
}

/// A payment as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Primary key.
    pub payment_id: i64,
    /// Who pays.
    pub customer_id: Uuid,
    /// The provider's reference.
    pub reference: String,
    /// For which plan.
    pub plan: String,
    /// How much.
    pub money: Money,
    /// What is bought: so long a period, whatever the plan says by now.
    pub period: Interval,
    /// How far it has come.
    pub status: Status,
    /// For which branches: sorted, each once.
    pub branch_ids: Vec<String>,
    /// Which of them is the main one.
    pub main_branch_id: Option<String>,
    /// When it was paid.
    pub paid_at: Option<Micros>,
    /// Until when it pays.
    pub subscription_end: Option<Micros>,
    /// How many branch subscriptions it has.
    pub branches: i64,
}

impl Payment {
    /// What is said of the payment besides its numbers.
    pub fn detail(&self) -> Option<Detail> {
        (self.status == Status::Failed).then_some(Detail::PaymentFailed)
    }
}

/// The raw arguments of `verify_subscription_payment`, but the reference.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawReport<'a> {
    /// Any text.
    pub gateway_status: Option<&'a str>,
    /// Any number.
    pub amount_minor: Option<i64>,
    /// Any text.
    pub currency: Option<&'a str>,
    /// Any time; null is now.
    pub paid_at: Option<Micros>,
}

/// What a gateway says of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// So much was paid, then; none: just now.
    Success(Money, Option<Micros>),
    /// The attempt failed, or was given up.
    Failed,
    /// Anything else: nothing final.
    Pending,
}

impl Report {
    /// Validates the form, in the order of the parameters. Only a success needs its amount.
    pub fn parse(raw: &RawReport) -> Result<Report, Detail> {
        let status = raw.gateway_status.ok_or(Detail::GatewayStatusMissing)?;
        if is_blank(status) {
            return Err(Detail::GatewayStatusBlank);
        }
        let paid = Money::parse(raw.amount_minor, raw.currency)?;
        if let Some(Micros::MIN | Micros::MAX) = raw.paid_at {
            return Err(Detail::PaidAtInfinite);
        }
        Ok(match status {
            "success" => Report::Success(paid.ok_or(Detail::AmountMissing)?, raw.paid_at),
            "failed" | "abandoned" => Report::Failed,
            _ => Report::Pending,
        })
    }
}

/// What a report does to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is paid from now on.
    Succeed(Option<Micros>),
    /// Its attempt failed.
    Fail,
    /// Nothing changes: the payment as it stands is the answer.
    Replay,
    /// Nothing changes, because of this.
    Refuse(Refusal),
}

/// Judges a report. A paid payment stays paid, whatever is said.
pub fn judge(payment: &Payment, report: &Report) -> Verdict {
    match (payment.status, report) {
        (Status::Success, _) | (Status::Failed, Report::Failed) => Verdict::Replay,
        (_, Report::Success(paid, _)) if paid.currency != payment.money.currency => {
            Verdict::Refuse(invalid(Detail::CurrencyMismatch))
        }
        (_, Report::Success(paid, _)) if paid.amount_minor != payment.money.amount_minor => {
            Verdict::Refuse(invalid(Detail::AmountMismatch))
        }
        (_, Report::Success(_, paid_at)) => Verdict::Succeed(*paid_at),
        (Status::Pending, Report::Failed) => Verdict::Fail,
        (_, Report::Pending) => {
            Verdict::Refuse(Refusal { reason: Reason::Ignored, detail: Detail::PaymentPending })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::IntervalUnit;
    use proptest::prelude::*;

    fn texts(ids: &[&str]) -> Option<Vec<Option<String>>> {
        Some(ids.iter().map(|id| Some((*id).to_owned())).collect())
    }

    fn raw() -> RawStart<'static> {
        RawStart {
            reference: Some("ref-1"),
            user_id: Some("7"),
            plan: Some("pro"),
            amount_minor: Some(10_000),
            currency: Some("NGN"),
            ..RawStart::default()
        }
    }

    fn plan(per_branch: bool) -> Plan {
        Plan {
            plan: "pro".to_owned(),
            price: Money { amount_minor: 5_000, currency: "ngn".to_owned() },
            interval_unit: IntervalUnit::Month,
            interval_count: 1,
            credits_per_period: 0,
            credits_expire: true,
            credits_grace: Interval::default(),
            credit_type: "credits".to_owned(),
            per_branch,
        }
    }

    fn payment(status: Status) -> Payment {
        Payment {
            payment_id: 1,
            customer_id: [1; 16],
            reference: "ref-1".to_owned(),
            plan: "pro".to_owned(),
            money: Money { amount_minor: 10_000, currency: "ngn".to_owned() },
            period: Interval { months: 1, ..Interval::default() },
            status,
            branch_ids: vec!["a".to_owned(), "b".to_owned()],
            main_branch_id: Some("b".to_owned()),
            paid_at: None,
            subscription_end: None,
            branches: 0,
        }
    }

    #[test]
    fn of_a_payment_only_failure_is_said() {
        assert_eq!(payment(Status::Failed).detail(), Some(Detail::PaymentFailed));
        assert_eq!(payment(Status::Pending).detail(), None);
        assert_eq!(payment(Status::Success).detail(), None);
    }

    #[test]
    fn statuses_are_stored_by_these_words() {
        for (status, word) in
            [(Status::Pending, "pending"), (Status::Success, "success"), (Status::Failed, "failed")]
        {
            assert_eq!(status.as_str(), word);
            assert_eq!(Status::parse(word), Some(status));
        }
        assert_eq!(Status::parse("Success"), None);
    }

    #[test]
    fn a_branch_has_an_id_of_bounded_length() {
        let longest = "x".repeat(MAX_REFERENCE_BYTES);
        assert_eq!(parse_branch_ids(vec![Some(longest.clone())]), Ok(vec![longest]));
    }

    #[test]
    fn branches_are_a_set() {
        let start = Start::parse(
            RawStart { branch_ids: texts(&["b", "a", "b"]), main_branch_id: Some("b"), ..raw() },
            false,
        )
        .unwrap();
        assert_eq!(start.branch_ids, ["a", "b"]);
        assert!(start.started(&payment(Status::Success)));
        for (change, other) in [
            ("reference", Start { reference: "ref-2", ..start.clone() }),
            ("plan", Start { plan: "basic", ..start.clone() }),
            ("branches", Start { branch_ids: vec!["b".to_owned()], ..start.clone() }),
            ("main branch", Start { main_branch_id: None, ..start.clone() }),
            ("amount", Start { money: Money { amount_minor: 1, ..start.money.clone() }, ..start.clone() }),
            (
                "currency",
                Start { money: Money { currency: "usd".to_owned(), ..start.money.clone() }, ..start.clone() },
            ),
        ] {
            assert!(!other.started(&payment(Status::Success)), "another {change}");
        }
    }

    #[test]
    fn forms_are_validated() {
        let long = "x".repeat(256);
        let many = |count: usize| Some((0..count).map(|n| Some(n.to_string())).collect::<Vec<_>>());
        for (raw, detail) in [
            (RawStart { reference: None, ..raw() }, Detail::ReferenceMissing),
            (RawStart { reference: Some("\u{2003}"), ..raw() }, Detail::ReferenceBlank),
            (RawStart { reference: Some(&long), ..raw() }, Detail::ReferenceTooLong),
            (RawStart { user_id: None, ..raw() }, Detail::UserIdBlank),
            (RawStart { plan: None, ..raw() }, Detail::PlanMissing),
            (RawStart { plan: Some(""), ..raw() }, Detail::PlanBlank),
            (RawStart { plan: Some(&long), ..raw() }, Detail::PlanTooLong),
            (RawStart { amount_minor: None, currency: None, ..raw() }, Detail::AmountMissing),
            (RawStart { amount_minor: None, ..raw() }, Detail::CurrencyWithoutAmount),
            (RawStart { currency: None, ..raw() }, Detail::AmountWithoutCurrency),
            (RawStart { amount_minor: Some(-1), ..raw() }, Detail::AmountNegative),
            (RawStart { currency: Some("naira"), ..raw() }, Detail::CurrencyInvalid),
            (RawStart { branch_ids: Some(vec![None]), ..raw() }, Detail::BranchIdBlank),
            (RawStart { branch_ids: texts(&["a", " "]), ..raw() }, Detail::BranchIdBlank),
            (RawStart { branch_ids: texts(&[&long]), ..raw() }, Detail::BranchIdTooLong),
            (RawStart { branch_ids: many(1_001), ..raw() }, Detail::TooManyBranches),
            (RawStart { main_branch_id: Some("a"), ..raw() }, Detail::MainBranchUnknown),
            (
                RawStart { branch_ids: texts(&["a"]), main_branch_id: Some(""), ..raw() },
                Detail::MainBranchUnknown,
            ),
            (RawStart { metadata: Some("[]"), ..raw() }, Detail::MetadataNotAnObject),
        ] {
            assert_eq!(Start::parse(raw, false).unwrap_err(), invalid(detail));
        }
        assert!(Start::parse(RawStart { branch_ids: many(1_000), ..raw() }, false).is_ok());
    }

    #[test]
    fn the_price_is_the_plans_times_its_branches_where_they_count() {
        let start = |branches: &[&str]| {
            Start::parse(RawStart { branch_ids: texts(branches), ..raw() }, false).unwrap()
        };
        assert_eq!(start(&["a", "b"]).check_price(&plan(true)), Ok(()));
        assert_eq!(start(&["a", "b", "a"]).check_price(&plan(true)), Ok(()), "repeated ones count once");
        assert_eq!(start(&["a", "b", "c"]).check_price(&plan(true)), Err(Detail::AmountMismatch));
        assert_eq!(start(&["a", "b"]).check_price(&plan(false)), Err(Detail::AmountMismatch));
        assert_eq!(start(&[]).check_price(&plan(true)), Err(Detail::AmountMismatch), "none costs as one");
        let dollars = Start { money: Money { currency: "usd".to_owned(), ..start(&[]).money }, ..start(&[]) };
        assert_eq!(dollars.check_price(&plan(true)), Err(Detail::CurrencyMismatch));
    }

    #[test]
    fn reports_are_read() {
        let report =
            |gateway_status| RawReport { gateway_status: Some(gateway_status), ..RawReport::default() };
        let paid = RawReport { amount_minor: Some(5), currency: Some("NGN"), ..report("success") };
        let money = Money { amount_minor: 5, currency: "ngn".to_owned() };
        assert_eq!(Report::parse(&paid), Ok(Report::Success(money, None)));
        assert_eq!(Report::parse(&report("failed")), Ok(Report::Failed));
        assert_eq!(Report::parse(&report("abandoned")), Ok(Report::Failed));
        for other in ["ongoing", "pending", "reversed", "Success", " success"] {
            assert_eq!(Report::parse(&report(other)), Ok(Report::Pending), "{other}");
        }
        for (raw, detail) in [
            (RawReport::default(), Detail::GatewayStatusMissing),
            (report(""), Detail::GatewayStatusBlank),
            (report("success"), Detail::AmountMissing),
            (RawReport { amount_minor: Some(5), ..report("failed") }, Detail::AmountWithoutCurrency),
            (RawReport { paid_at: Some(Micros::MAX), ..paid }, Detail::PaidAtInfinite),
            (RawReport { paid_at: Some(Micros::MIN), ..paid }, Detail::PaidAtInfinite),
        ] {
            assert_eq!(Report::parse(&raw), Err(detail));
        }
        let ancient = RawReport { paid_at: Some(Micros::MIN + 1), ..paid };
        assert!(matches!(Report::parse(&ancient), Ok(Report::Success(_, Some(_)))));
    }

    fn success(amount_minor: i64, currency: &str) -> Report {
        Report::Success(Money { amount_minor, currency: currency.to_owned() }, Some(3))
    }

    #[test]
    fn the_whole_table() {
        let ignored = Verdict::Refuse(Refusal { reason: Reason::Ignored, detail: Detail::PaymentPending });
        let wrong = |detail| Verdict::Refuse(invalid(detail));
        for (report, pending, failed) in [
            (success(10_000, "ngn"), Verdict::Succeed(Some(3)), Verdict::Succeed(Some(3))),
            (success(9_999, "ngn"), wrong(Detail::AmountMismatch), wrong(Detail::AmountMismatch)),
            (success(10_000, "usd"), wrong(Detail::CurrencyMismatch), wrong(Detail::CurrencyMismatch)),
            (success(1, "usd"), wrong(Detail::CurrencyMismatch), wrong(Detail::CurrencyMismatch)),
            (Report::Failed, Verdict::Fail, Verdict::Replay),
            (Report::Pending, ignored, ignored),
        ] {
            assert_eq!(judge(&payment(Status::Pending), &report), pending, "{report:?}");
            assert_eq!(judge(&payment(Status::Failed), &report), failed, "{report:?}");
            assert_eq!(judge(&payment(Status::Success), &report), Verdict::Replay, "{report:?}");
        }
    }

    fn any_report() -> impl Strategy<Value = Report> {
        prop_oneof![
            Just(success(10_000, "ngn")),
            Just(success(9_999, "ngn")),
            Just(success(10_000, "usd")),
            Just(Report::Failed),
            Just(Report::Pending),
        ]
    }

    proptest! {
        #[test]
        fn in_any_order_the_right_success_is_applied_once(reports in proptest::collection::vec(any_report(), 0..12)) {
            let mut payment = payment(Status::Pending);
            let mut successes = 0;
            for report in &reports {
                match judge(&payment, report) {
                    Verdict::Succeed(_) => {
                        successes += 1;
                        payment.status = Status::Success;
                    }
                    Verdict::Fail => payment.status = Status::Failed,
                    Verdict::Replay | Verdict::Refuse(_) => {}
                }
            }
            let paid = reports.contains(&success(10_000, "ngn"));
            prop_assert_eq!(successes, i32::from(paid));
            prop_assert_eq!(payment.status == Status::Success, paid);
            prop_assert_eq!(payment.status == Status::Failed, !paid && reports.contains(&Report::Failed));
        }

        #[test]
        fn any_branches_are_read_or_refused(ids in proptest::collection::vec(proptest::option::of(".{0,3}"), 0..9)) {
            if let Ok(branches) = parse_branch_ids(ids.clone()) {
                prop_assert!(branches.is_sorted_by(|a, b| a < b));
                prop_assert!(ids.iter().flatten().all(|id| branches.contains(id)));
                prop_assert!(branches.len() <= ids.len());
            } else {
                prop_assert!(ids.iter().any(|id| id.as_deref().is_none_or(is_blank)));
            }
        }

        #[test]
        fn any_report_is_read_or_refused(status: Option<String>, amount: Option<i64>, currency: Option<String>, at: Option<i64>) {
            let raw = RawReport {
                gateway_status: status.as_deref(),
                amount_minor: amount,
                currency: currency.as_deref(),
                paid_at: at,
            };
            let _ = Report::parse(&raw);
        }
    }
}
