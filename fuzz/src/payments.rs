//! A payment as a caller starts it and as a gateway tells of it: a line for each of reference, user, plan,
//! currency, main branch, metadata, status, amount and time, then a branch per line.

use billing_core::interval::Interval;
use billing_core::payments::{Payment, RawReport, RawStart, Report, Start, Status, Verdict, judge};

use super::{identifiers, is_reference, stripe, text};

/// The target.
pub fn payments(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut lines = text.lines();
    let [reference, user_id, plan, currency, main_branch_id, metadata, gateway_status] =
        [(); 7].map(|()| lines.next().filter(|line| *line != "null"));
    let [amount_minor, paid_at] = [(); 2].map(|()| lines.next()?.parse::<i64>().ok());
    let branch = |line: &str| Some(line.to_owned()).filter(|line| line != "null");
    let branch_ids = Some(lines.map(branch).collect());
    let raw =
        RawStart { reference, user_id, plan, amount_minor, currency, branch_ids, main_branch_id, metadata };
    let report = Report::parse(&RawReport { gateway_status, amount_minor, currency, paid_at });
    if let Ok(report) = &report {
        is_final_only_if_said(report, gateway_status);
    }
    let Ok(start) = Start::parse(raw.clone(), true) else { return };
    assert_eq!(Start::parse(raw, true).as_ref(), Ok(&start));
    is_sound(&start);
    if let Ok(report) = &report {
        judged(&start, report);
    }
}

fn is_sound(start: &Start) {
    assert!(is_reference(start.reference) && is_reference(start.plan) && start.plan.len() <= 63);
    identifiers::is_sound(&start.user);
    stripe::money(&start.money);
    assert!(start.branch_ids.len() <= 1_000 && start.branch_ids.iter().all(|id| is_reference(id)));
    assert!(start.branch_ids.is_sorted_by(|one, next| one < next));
    assert!(start.main_branch_id.is_none_or(|main| start.branch_ids.iter().any(|id| id == main)));
}

fn is_final_only_if_said(report: &Report, status: Option<&str>) {
    match report {
        Report::Success(money, paid_at) => {
            assert_eq!(status, Some("success"));
            stripe::money(money);
            // What a timestamptz holds came as one, so only its infinities are looked for.
            assert!(paid_at.is_none_or(|at| at != i64::MIN && at != i64::MAX));
        }
        Report::Failed => assert!(matches!(status, Some("failed" | "abandoned"))),
        Report::Pending => assert!(!matches!(status, None | Some("success" | "failed" | "abandoned"))),
    }
}

/// What is paid stays paid; and only what was asked for makes it so.
fn judged(start: &Start, report: &Report) {
    for status in [Status::Pending, Status::Success, Status::Failed] {
        let payment = Payment {
            payment_id: 1,
            customer_id: [1; 16],
            reference: start.reference.to_owned(),
            plan: start.plan.to_owned(),
            money: start.money.clone(),
            period: Interval::default(),
            status,
            branch_ids: start.branch_ids.clone(),
            main_branch_id: start.main_branch_id.map(str::to_owned),
            paid_at: None,
            subscription_end: None,
            branches: 0,
        };
        assert!(start.started(&payment));
        let right = matches!(report, Report::Success(money, _) if *money == start.money);
        let verdict = judge(&payment, report);
        assert_eq!(matches!(verdict, Verdict::Succeed(_)), right && status != Status::Success);
        assert!(status != Status::Success || verdict == Verdict::Replay);
    }
}
