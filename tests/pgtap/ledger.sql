-- The ledger is append-only: for the owner, for superusers, and where triggers are switched to replica.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

SELECT is(applied, true, 'a purchase to begin with') FROM apply_credit_purchase('a@example.com', 100, 'key');
CREATE TEMP TABLE before AS SELECT * FROM billing.ledger;

CREATE TEMP TABLE attempts (statement text);
INSERT INTO attempts VALUES
    ('UPDATE billing.ledger SET credits = 1'),
    ('UPDATE billing.ledger SET credits = 1 WHERE false'),
    ('UPDATE billing.ledger SET metadata = ''{"a": 1}'' WHERE idempotency_key = ''key'''),
    ('DELETE FROM billing.ledger'),
    ('DELETE FROM billing.ledger WHERE false'),
    ('DELETE FROM ONLY billing.ledger USING billing.customers c WHERE c.customer_id = ledger.customer_id'),
    ('TRUNCATE billing.ledger CASCADE'),
    ('TRUNCATE billing.ledger RESTART IDENTITY CASCADE'),
    ('TRUNCATE billing.ledger, billing.lots, billing.lot_uses, billing.hold_lots'),
    ('TRUNCATE billing.balances CASCADE'),
    ('TRUNCATE billing.customers CASCADE'),
    ('MERGE INTO billing.ledger USING billing.customers c ON c.customer_id = ledger.customer_id WHEN MATCHED THEN DELETE'),
    ('MERGE INTO billing.ledger USING billing.customers c ON c.customer_id = ledger.customer_id WHEN MATCHED THEN UPDATE SET credits = 2'),
    ('WITH gone AS (DELETE FROM billing.ledger RETURNING entry_id) SELECT count(*) FROM gone'),
    ('INSERT INTO billing.ledger OVERRIDING SYSTEM VALUE SELECT * FROM before ON CONFLICT (entry_id) DO UPDATE SET credits = 3');

SELECT matches(tap.refusal('TRUNCATE billing.ledger'), '^0A000', 'superuser: lots refer to the ledger');
SELECT is(tap.refusal(statement), '55000 | billing.ledger is append-only | Undo an entry by another one, not by changing it.',
    'superuser: ' || statement) FROM attempts;
SET LOCAL session_replication_role = replica;
SELECT is(tap.refusal(statement), '55000 | billing.ledger is append-only | Undo an entry by another one, not by changing it.',
    'superuser, as a replica: ' || statement) FROM attempts;
SET LOCAL session_replication_role = origin;
SELECT is(tap.attempt('billing_owner', statement), '55000', 'billing_owner: ' || statement)
    FROM attempts WHERE statement !~ 'before';
SELECT is(tap.attempt('billing_service', statement), '42501', 'billing_service: ' || statement)
    FROM attempts WHERE statement !~ 'before';

SELECT results_eq('SELECT * FROM billing.ledger', 'SELECT * FROM before', 'nothing has changed');
-- An entry is undone by another one, which leaves the first as it was.
SELECT is(r.credits, -100::bigint, 'the purchase undone') FROM before b, LATERAL reverse_credit_entry(b.entry_id, 'undo') AS r;
SELECT results_eq('SELECT * FROM billing.ledger WHERE reverses IS NULL', 'SELECT * FROM before', 'and still there');
-- What the balance rests on cannot be taken from under it either.
SELECT matches(tap.refusal('DELETE FROM billing.balances'), '^23503', 'a balance with entries stays');
SELECT matches(tap.refusal('DELETE FROM billing.customers'), '^23503', 'a customer with a balance stays');
SELECT matches(tap.refusal('UPDATE billing.balances SET balance = -1'), '^23514', 'a balance is never below zero');
-- Nor what lots and holds rest on.
SELECT is(applied, true, 'a lot') FROM grant_credits('a@example.com', 50, 'lot', expires_at => '2100-01-01');
SELECT is(applied, true, 'a hold on it') FROM hold_credits('a@example.com', 20, 'hold');
SELECT is(applied, true, 'a spend of it') FROM spend_credits('a@example.com', 10, 'spend');
SELECT matches(tap.refusal(statement), refusal, statement)
FROM (VALUES
    ('DELETE FROM billing.lots', '^23503'),
    ('DELETE FROM billing.holds', '^23503'),
    ('UPDATE billing.lots SET remaining = -1', '^23514'),
    ('UPDATE billing.lots SET held = remaining + 1', '^23514'),
    ('UPDATE billing.balances SET held = -1', '^23514'),
    ('UPDATE billing.balances SET in_lots = -1', '^23514'),
    ('UPDATE billing.holds SET status = ''lost''', '^23514'),
    ('UPDATE billing.lot_uses SET returned = credits + 1', '^23514')) AS given (statement, refusal);
SELECT is_empty('SELECT * FROM billing.reconcile()', 'the books are right');

SELECT * FROM finish();
ROLLBACK;
