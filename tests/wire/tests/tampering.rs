//! Books changed behind the extension's back: `billing.reconcile()` names each kind of change.

use billing_wire::cluster::Cluster;
use billing_wire::session::{Admin, Call};
use billing_wire::{Tested, run};

pub fn add(add: &mut impl FnMut(&str, fn() -> Tested)) {
    add("tampering::reconcile_names_it", || run(reconcile_names_it()));
}

/// What is changed, by which statement, and every problem that is told then.
const CHANGES: &[(&str, &str, &[&str])] = &[
    ("nothing", "SELECT 1", &[]),
    (
        "a balance",
        "UPDATE billing.balances SET balance = balance + 1 WHERE credit_type = 'credits'",
        &["balance_differs_from_entries", "balance_differs_from_last_entry"],
    ),
    (
        "the balance after an entry",
        "UPDATE billing.ledger SET balance_after = balance_after + 1 WHERE idempotency_key = 'spend'",
        &["balance_after_differs_from_entries"],
    ),
    (
        "the balance after the last entry",
        "UPDATE billing.ledger SET balance_after = balance_after - 1
         WHERE entry_id = (SELECT max(entry_id) FROM billing.ledger WHERE credit_type = 'credits')",
        &["balance_after_differs_from_entries", "balance_differs_from_last_entry"],
    ),
    (
        "the credits of an entry",
        "UPDATE billing.ledger SET credits = credits - 1 WHERE idempotency_key = 'spend'",
        &["balance_after_differs_from_entries", "balance_differs_from_entries"],
    ),
    (
        "an entry taken away, the last",
        "DELETE FROM billing.ledger WHERE idempotency_key = 'reversal of the spend'",
        &["balance_differs_from_entries", "balance_differs_from_last_entry"],
    ),
    (
        "an entry's customer",
        "UPDATE billing.ledger SET credit_type = 'tokens' WHERE idempotency_key = 'reversal of the spend'",
        &["balance_after_differs_from_entries", "balance_differs_from_entries", "balance_differs_from_last_entry"],
    ),
    (
        "the time of an entry",
        "UPDATE billing.ledger SET created_at = created_at - interval '1 day' WHERE idempotency_key = 'spend'",
        &["entry_earlier_than_the_one_before"],
    ),
    (
        "what is held",
        "UPDATE billing.balances SET held = held + 1 WHERE credit_type = 'credits'",
        &["held_differs_from_open_holds"],
    ),
    (
        "a hold's credits",
        "UPDATE billing.holds SET credits = credits + 1",
        &["held_differs_from_open_holds"],
    ),
    (
        "the status of a hold",
        "UPDATE billing.holds SET status = 'released'",
        &["held_differs_from_open_holds", "lot_held_differs_from_open_holds"],
    ),
    (
        "what lies in lots",
        "UPDATE billing.balances SET in_lots = in_lots - 1 WHERE credit_type = 'credits'",
        &["in_lots_differs_from_lots"],
    ),
    (
        "what remains in a lot",
        "UPDATE billing.lots SET remaining = remaining - 1 WHERE credit_type = 'credits'",
        &["in_lots_differs_from_lots"],
    ),
    (
        "what remains in a lot, above the balance",
        "UPDATE billing.lots SET remaining = remaining + 1000 WHERE credit_type = 'credits';
         UPDATE billing.balances SET in_lots = in_lots + 1000 WHERE credit_type = 'credits'",
        &["lots_exceed_balance"],
    ),
    (
        "what is held of a lot",
        "UPDATE billing.lots SET held = held - 1 WHERE credit_type = 'credits'",
        &["lot_held_differs_from_open_holds"],
    ),
    (
        "which lots a hold lies on",
        "UPDATE billing.hold_lots SET credits = credits + 1",
        &["lot_held_differs_from_open_holds"],
    ),
    (
        "a reversal, above its purchase",
        "UPDATE billing.ledger SET shortfall = 1000 WHERE idempotency_key = 'reversal of the purchase'",
        &["reversals_exceed_entry"],
    ),
    (
        "a reversal, below zero",
        "UPDATE billing.ledger SET shortfall = -1000 WHERE idempotency_key = 'reversal of the purchase'",
        &["reversals_exceed_entry"],
    ),
    (
        "a reversal, of another and smaller entry",
        "UPDATE billing.ledger SET reverses = (SELECT entry_id FROM billing.ledger WHERE idempotency_key = 'small')
         WHERE idempotency_key = 'reversal of the spend'",
        &["reversals_exceed_entry"],
    ),
    (
        "an event left as being processed",
        "UPDATE billing.webhook_events SET lease_until = clock_timestamp() - interval '1 hour'",
        &["event_stuck"],
    ),
];

async fn reconcile_names_it() {
    let database = Cluster::shared().database().await;
    let mut client = database.application();
    let lot = |call: Call| call.with("priority", "int", Some("1".to_owned()));
    let mut do_it = async |call: Call| {
        let answer = client.call(&call).await;
        assert_eq!(answer.why(), "applied", "{call:?}");
        answer
    };
    do_it(Call::grant("7", 100, "loose")).await;
    do_it(lot(Call::grant("7", 50, "lot"))).await;
    do_it(Call::spend("7", 1, "small")).await;
    let spend = do_it(Call::spend("7", 9, "spend")).await;
    do_it(Call::hold("7", 60, "hold")).await;
    let purchase = do_it(Call::purchase("7", 30, "purchase")).await;
    do_it(Call::reverse(purchase.int("entry_id"), "reversal of the purchase", Some(10))).await;
    do_it(Call::reverse(spend.int("entry_id"), "reversal of the spend", Some(4))).await;
    do_it(lot(Call::grant("7", 5, "tokens")).with("credit_type", "text", Some("tokens".to_owned()))).await;
    do_it(Call::claim("evt_1")).await;

    let admin = database.admin().await;
    for (what, change, problems) in CHANGES {
        admin.run("BEGIN; ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only").await;
        admin.run(change).await;
        let told = told(&admin).await;
        admin.run("ROLLBACK").await;
        assert_eq!(told, *problems, "{what}");
    }
    assert_eq!(told(&admin).await, Vec::<String>::new(), "all is as it was");
    // The row says where it is, what it should be, and what it is.
    admin.run("UPDATE billing.balances SET held = held + 3 WHERE credit_type = 'credits'").await;
    let row = admin
        .text(
            "SELECT concat_ws('|', r.problem, c.legacy_id, r.credit_type, r.expected, r.found)
             FROM billing.reconcile() r JOIN billing.customers c USING (customer_id)",
        )
        .await;
    assert_eq!(row.as_deref(), Some("held_differs_from_open_holds|7|credits|60|63"));
}

async fn told(admin: &Admin) -> Vec<String> {
    admin
        .texts("SELECT DISTINCT problem FROM billing.reconcile() ORDER BY 1")
        .await
        .into_iter()
        .flatten()
        .collect()
}
