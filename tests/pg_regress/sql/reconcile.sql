-- billing.reconcile checks the books against each other; billing.credit_totals sums them up.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
CREATE FUNCTION entry(key text) RETURNS bigint LANGUAGE sql AS $$ SELECT entry_id FROM billing.ledger WHERE idempotency_key = key $$;
-- What it finds, with the customer's own id, and an entry's key instead of its number.
CREATE VIEW found AS
    SELECT r.problem, c.legacy_id AS of, r.credit_type, coalesce(e.idempotency_key, r.reference) AS reference, r.expected, r.found
    FROM billing.reconcile() r LEFT JOIN billing.customers c USING (customer_id)
        LEFT JOIN billing.ledger e ON e.entry_id = CASE WHEN r.problem ~ 'entry|entries' THEN r.reference::bigint END
    ORDER BY r.problem, r.credit_type, r.reference;
CREATE VIEW gone_wrong AS SELECT customer_id FROM billing.customers WHERE legacy_id = 1;

-- 1. Books as the functions keep them: no rows, whatever happened.
SELECT * FROM billing.reconcile();
SELECT * FROM billing.credit_totals;
SELECT reason FROM grant_credits('1', 100, 'plain');
SELECT reason FROM grant_credits('1', 20, 'lot', expires_at => '2100-01-01');
SELECT reason FROM grant_credits('1', 7, 'past', expires_at => '2000-01-01');
SELECT reason FROM spend_credits('1', 30, 'spend');
SELECT reason FROM hold_credits('1', 10, 'open');
SELECT reason FROM grant_credits('1', 5, 'lot-2', expires_at => '2100-01-01');
SELECT reason FROM hold_credits('1', 8, 'open-2');
SELECT reason FROM reverse_credit_entry(entry('spend'), 'undo', 6);
SELECT reason FROM reverse_credit_entry(entry('lot-2'), 'undo-lot');
SELECT reason FROM apply_credit_purchase('2', 50, 'other');
SELECT reason FROM grant_credits('2', 9, 'gold', credit_type => 'gold');
SELECT reason FROM claim_webhook_event('github', 'push-1', 'push');
SELECT * FROM billing.reconcile();

-- 2. The totals, by credit type.
SELECT * FROM billing.credit_totals ORDER BY credit_type;

-- 3. One row for each thing that does not fit. (Only a superuser can make such a mess, and by hand.)
BEGIN;
UPDATE billing.balances SET balance = balance + 1 WHERE customer_id = (TABLE gone_wrong);
SELECT * FROM found;
ROLLBACK;
BEGIN;
UPDATE billing.balances SET balance = 1 WHERE customer_id = (TABLE gone_wrong);
SELECT * FROM found;
ROLLBACK;
BEGIN;
UPDATE billing.balances SET held = held + 1 WHERE customer_id = (TABLE gone_wrong);
SELECT * FROM found;
ROLLBACK;
BEGIN;
UPDATE billing.holds SET status = 'released' WHERE idempotency_key = 'open-2';
SELECT problem, of, expected, found FROM found;
ROLLBACK;
BEGIN;
UPDATE billing.balances SET in_lots = in_lots + 1 WHERE customer_id = (TABLE gone_wrong);
SELECT * FROM found;
ROLLBACK;
BEGIN;
UPDATE billing.lots SET remaining = remaining + 1000 WHERE entry_id = entry('lot');
SELECT * FROM found;
ROLLBACK;
-- The ledger cannot be changed, but a superuser can add to it.
BEGIN;
INSERT INTO billing.ledger (created_at, credits, balance_after, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
SELECT '2000-01-01', 1, 5, customer_id, 'credits', 'adjustment', 'by hand', '', '{}' FROM gone_wrong;
SELECT * FROM found;
ROLLBACK;
BEGIN;
INSERT INTO billing.ledger (created_at, credits, balance_after, reverses, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
SELECT clock_timestamp(), 25, balance + 25, entry('spend'), customer_id, 'credits', 'reversal', 'by hand', '', '{}' FROM gone_wrong JOIN billing.balances USING (customer_id);
UPDATE billing.balances SET balance = balance + 25 WHERE customer_id = (TABLE gone_wrong);
SELECT * FROM found;
ROLLBACK;
-- An event whose claim ran out more than ten minutes ago, and nobody took it over.
BEGIN;
UPDATE billing.webhook_events SET lease_until = clock_timestamp() - interval '9 minutes';
SELECT * FROM found;
UPDATE billing.webhook_events SET lease_until = clock_timestamp() - interval '11 minutes';
SELECT * FROM found;
ROLLBACK;
SELECT * FROM billing.reconcile();

-- 4. billing_monitor may look at both, and at nothing behind them; the service has its own functions.
SET ROLE billing_monitor;
SELECT count(*) FROM billing.reconcile();
SELECT credit_type, balance FROM billing.credit_totals ORDER BY credit_type;
SELECT count(*) FROM billing.balances;
SET ROLE billing_service;
SELECT count(*) FROM billing.reconcile();
RESET ROLE;
