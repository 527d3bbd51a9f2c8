-- billing.expire_credits: writing off what ran out, without waiting for the customers' next call. Nothing depends on it.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
-- Time passes: a hold's lifetime is over.
CREATE PROCEDURE time_passes(key text) LANGUAGE sql AS $$ UPDATE billing.holds SET expires_at = clock_timestamp() - interval '1 second' WHERE idempotency_key = key $$;
CREATE VIEW accounts AS
    SELECT c.legacy_id AS of, b.credit_type, b.balance, b.held, b.in_lots, (SELECT string_agg(status, ' ' ORDER BY h.created_at) FROM billing.holds h
        WHERE h.customer_id = b.customer_id AND h.credit_type = b.credit_type) AS holds
    FROM billing.balances b JOIN billing.customers c USING (customer_id) ORDER BY 1, 2;

-- Nothing to do.
SELECT billing.expire_credits(100);

-- 1. Expired lots are written off, and holds that ran out end. The answer is the number of accounts that were settled.
SELECT reason, balance FROM grant_credits('1', 10, 'a-plain');
SELECT reason, balance FROM grant_credits('1', 20, 'a-lot', expires_at => '2000-01-01');
SELECT reason, balance FROM grant_credits('2', 10, 'b-plain');
SELECT reason, available FROM hold_credits('2', 4, 'b-hold');
SELECT reason, balance FROM grant_credits('3', 10, 'c-plain');
SELECT reason, available FROM hold_credits('3', 4, 'c-hold');
SELECT reason, balance FROM grant_credits('3', 30, 'c-lot', credit_type => 'gold', expires_at => '2000-01-01');
SELECT reason, balance FROM grant_credits('4', 40, 'd-lives', expires_at => '2100-01-01');
CALL time_passes('b-hold');
SELECT * FROM accounts;
SELECT available FROM generate_series(1, 4) AS n, LATERAL credit_balance(n::text);
SELECT billing.expire_credits(100);
SELECT * FROM accounts;
-- What was available is as before, for what ran out never was.
SELECT available FROM generate_series(1, 4) AS n, LATERAL credit_balance(n::text);
SELECT kind, credits, balance FROM credit_history('1');
-- There is nothing left to do.
SELECT billing.expire_credits(100);

-- 2. Credits under a hold stay until the hold ends.
SELECT reason, balance FROM grant_credits('5', 10, 'e-lot', expires_at => '2100-01-01');
SELECT reason, available FROM hold_credits('5', 6, 'e-hold');
UPDATE billing.lots SET expires_at = '2000-01-01' WHERE entry_id = (SELECT entry_id FROM billing.ledger WHERE idempotency_key = 'e-lot');
SELECT billing.expire_credits(100);
SELECT * FROM accounts WHERE of = 5;
SELECT billing.expire_credits(100);
CALL time_passes('e-hold');
SELECT billing.expire_credits(100);
SELECT * FROM accounts WHERE of = 5;
SELECT kind, credits, balance FROM credit_history('5');

-- 3. A run looks at so many lots and holds at the most, the longest overdue first; the next run does the rest.
SELECT reason, count(*) FROM generate_series(1, 7) AS n, LATERAL grant_credits((100 + n)::text, n, 'f-' || n, expires_at => '2000-01-01'::timestamptz + n * interval '1 day') GROUP BY reason;
SELECT billing.expire_credits(3);
SELECT of, balance FROM accounts WHERE of > 100;
SELECT billing.expire_credits(3);
SELECT billing.expire_credits(3);
SELECT billing.expire_credits(3);
-- Several lots of one account are written off together.
SELECT reason, count(*) FROM generate_series(1, 5) AS n, LATERAL apply_credit_batch(jsonb_build_array(
    jsonb_build_object('op', 'grant', 'user_id', '200', 'credits', n, 'idempotency_key', 'g-' || n, 'expires_at', '2100-01-01'))) GROUP BY reason;
UPDATE billing.lots SET expires_at = '2000-01-01' WHERE expires_at = '2100-01-01' AND entry_id IN (SELECT entry_id FROM billing.ledger WHERE idempotency_key LIKE 'g-%');
SELECT billing.expire_credits(1);
SELECT kind, credits, balance FROM credit_history('200');

-- 4. For operators: bad input is refused, and nobody else may call it.
SELECT billing.expire_credits();
\echo :LAST_ERROR_SQLSTATE
SELECT billing.expire_credits(0);
SELECT billing.expire_credits(-1);
SET ROLE billing_service;
SELECT billing.expire_credits(1);
RESET ROLE;

-- The books are right.
SELECT * FROM billing.reconcile();
