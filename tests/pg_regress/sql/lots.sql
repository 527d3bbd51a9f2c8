-- Lots: credits of one purchase or grant that expire or have a priority. They are burnt before all others.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;
-- What is left of each lot, oldest first.
CREATE VIEW lots AS
    SELECT e.idempotency_key AS lot, l.priority, l.expires_at::date AS expires, l.remaining, l.held, c.legacy_id AS of
    FROM billing.lots l JOIN billing.ledger e USING (entry_id) JOIN billing.customers c ON c.customer_id = l.customer_id ORDER BY l.lot_id;
-- Time passes: a lot's expiry is over.
CREATE PROCEDURE time_passes(lot text) LANGUAGE sql AS $$
    UPDATE billing.lots l SET expires_at = clock_timestamp() - interval '1 second' FROM billing.ledger e WHERE e.entry_id = l.entry_id AND e.idempotency_key = lot
$$;

-- 1. An expiry, or a priority other than 0, makes a lot; neither makes none. The answer is the same.
SELECT applied, reason, detail, credits, balance FROM grant_credits('1', 10, 'plain');
SELECT reason, credits, balance FROM grant_credits('1', 20, 'june', expires_at => '2100-06-01Z');
SELECT reason, credits, balance FROM apply_credit_purchase('1', 30, 'may', expires_at => '2100-05-01Z', amount_minor => 900, currency => 'eur');
SELECT reason, credits, balance FROM grant_credits('1', 40, 'last', priority => 5);
SELECT reason, credits, balance FROM grant_credits('1', 50, 'zero', priority => 0);
SELECT lot, priority, expires, remaining, held FROM lots WHERE of = 1;
-- A balance tells how many credits run out next, and when.
SELECT balance, held, available, next_expiry_at::date AS next_expiry, next_expiry_credits FROM credit_balance('1');
SELECT reason, balance FROM grant_credits('1', 5, 'may-2', expires_at => '2100-05-01Z');
SELECT balance, next_expiry_at::date AS next_expiry, next_expiry_credits FROM credit_balance('1');

-- 2. Burning goes by lots first: lowest priority number, then earliest expiry (never is last), then oldest;
-- then the credits without a lot.
SELECT reason, balance FROM grant_credits('2', 100, 'b-plain');
SELECT reason, balance FROM grant_credits('2', 10, 'b-later', priority => 1, expires_at => '2100-01-01Z');
SELECT reason, balance FROM grant_credits('2', 10, 'b-july', expires_at => '2100-07-01Z');
SELECT reason, balance FROM grant_credits('2', 10, 'b-june', expires_at => '2100-06-01Z');
SELECT reason, balance FROM grant_credits('2', 10, 'b-june-2', expires_at => '2100-06-01Z');
SELECT reason, balance FROM grant_credits('2', 10, 'b-first', priority => -1);
SELECT reason, balance FROM grant_credits('2', 10, 'b-first-july', priority => -1, expires_at => '2100-07-01Z');
SELECT reason, credits, balance FROM generate_series(1, 8) AS n, LATERAL spend_credits('2', 8, 'burn-' || n);
SELECT balance, available, next_expiry_credits FROM credit_balance('2');
-- What each spend took from which lot is kept.
SELECT s.idempotency_key AS spend, string_agg(g.idempotency_key || ' ' || u.credits, ', ' ORDER BY l.priority, l.expires_at NULLS LAST, l.lot_id) AS took
FROM billing.lot_uses u JOIN billing.ledger s USING (entry_id) JOIN billing.lots l USING (lot_id) JOIN billing.ledger g ON g.entry_id = l.entry_id
GROUP BY s.entry_id, s.idempotency_key ORDER BY s.entry_id;

-- 3. Expired credits are not available, from that moment on, without any job. The balance includes them until they are
-- written off.
SELECT reason, balance FROM grant_credits('3', 10, 'e-plain');
SELECT reason, balance FROM grant_credits('3', 20, 'e-lot', expires_at => '2100-01-01Z');
SELECT reason, balance FROM spend_credits('3', 5, 'e-spend-1');
CALL time_passes('e-lot');
SELECT balance, held, available, next_expiry_at, next_expiry_credits FROM credit_balance('3');
-- A refused call writes nothing, so it does not write them off either.
SELECT reason, detail, balance FROM spend_credits('3', 11, 'e-spend-2');
SELECT balance, available FROM credit_balance('3');
-- The next call that writes does, just before its own entry.
SELECT reason, balance FROM spend_credits('3', 4, 'e-spend-2');
SELECT balance, available FROM credit_balance('3');
SELECT kind, credits, balance, reverses, source_ref FROM credit_history('3');
-- The entry that writes off names the one that made the lot, and its key is the extension's own.
SELECT x.idempotency_key ~ '^billing_rpc:expiry:' AS own_key, g.idempotency_key AS of
FROM billing.ledger x JOIN billing.ledger g ON g.entry_id = (x.metadata ->> 'entry_id')::bigint WHERE x.kind = 'expiry';
-- A replay shows what was, number for number.
SELECT reason, balance FROM grant_credits('3', 20, 'e-lot', expires_at => '2100-01-01Z');
SELECT reason, balance FROM spend_credits('3', 4, 'e-spend-2');

-- 4. An expiry already past is accepted, and its credits are never available. Granting writes off as spending does.
SELECT reason, balance FROM grant_credits('4', 7, 'past-1', expires_at => '2000-01-01');
SELECT balance, available, next_expiry_credits FROM credit_balance('4');
SELECT reason, detail FROM spend_credits('4', 1, 'past-2');
SELECT reason, balance FROM apply_credit_purchase('4', 3, 'past-3', expires_at => '1970-01-01');
SELECT balance, available FROM credit_balance('4');
SELECT reason, balance FROM grant_credits('4', 2, 'past-4');
SELECT kind, credits, balance FROM credit_history('4');
-- All that is due is written off at once, also where nothing is left.
SELECT reason, balance FROM grant_credits('5', 1, 'all-1', expires_at => '2100-01-01Z');
SELECT reason, balance FROM grant_credits('5', 2, 'all-2', expires_at => '2100-01-01Z');
SELECT reason, balance FROM spend_credits('5', 1, 'all-3');
CALL time_passes('all-1');
CALL time_passes('all-2');
SELECT reason, balance FROM grant_credits('5', 10, 'all-4');
SELECT kind, credits, balance FROM credit_history('5');

-- 5. What is no part of the request: with another expiry or priority it is still a replay, and the lot stays as it is.
SELECT reason, balance FROM grant_credits('6', 10, 'terms', expires_at => '2100-01-01Z', priority => 3);
SELECT reason, balance FROM grant_credits('6', 10, 'terms', expires_at => '2100-02-01Z', priority => 4);
SELECT reason, balance FROM grant_credits('6', 10, 'terms');
SELECT lot, priority, expires, remaining FROM lots WHERE of = 6;
SELECT reason, detail FROM grant_credits('6', 11, 'terms', expires_at => '2100-01-01Z', priority => 3);
-- A source is credited once, lot or no lot; and a refusal makes no lot.
SELECT reason, detail FROM apply_credit_purchase('6', 5, 'terms-2', stripe_session_id => 'cs_1', expires_at => '2100-01-01Z');
SELECT reason, detail, balance FROM apply_credit_purchase('6', 5, 'terms-3', stripe_session_id => 'cs_1', expires_at => '2100-01-01Z');
SELECT count(*) AS lots, sum(remaining) AS remaining FROM lots WHERE of = 6;

-- 6. An expiry is a finite time; null is never. A priority is any integer; null is 0.
SELECT at, reason, detail FROM (VALUES ('infinity'), ('-infinity'), ('294276-12-31 23:59:59Z'), ('4714-11-24 00:00:00Z BC'), (NULL)) AS given (at),
    LATERAL grant_credits('7', 1, 'at-' || coalesce(at, 'null'), expires_at => at::timestamptz);
SELECT at, reason, detail FROM (VALUES ('infinity'), ('-infinity')) AS given (at), LATERAL apply_credit_purchase('7', 1, 'buy-' || at, expires_at => at::timestamptz);
SELECT priority, reason, detail FROM (VALUES (-2147483648), (2147483647), (NULL)) AS given (priority),
    LATERAL grant_credits('7', 1, 'priority-' || coalesce(priority::text, 'null'), priority => priority);
SELECT lot, priority, expires IS NULL AS lasts, remaining FROM lots WHERE of = 7;
SELECT balance, available, next_expiry_credits FROM credit_balance('7');
-- Other things are wrong first.
SELECT reason, detail FROM grant_credits('7', 0, 'at-wrong', expires_at => 'infinity');
SELECT reason, detail FROM grant_credits('7', 1, 'plain', expires_at => 'infinity');

-- 7. Credit types are apart: a lot of one is not burnt for another.
SELECT reason, balance FROM grant_credits('8', 10, 'gold-1', credit_type => 'gold', expires_at => '2100-01-01Z');
SELECT reason, balance FROM grant_credits('8', 10, 'credits-1');
SELECT reason, detail FROM spend_credits('8', 11, 'credits-2');
SELECT reason, balance FROM spend_credits('8', 10, 'credits-2');
SELECT credit_type, balance, next_expiry_credits FROM (VALUES ('credits'), ('gold')) AS t (name), LATERAL credit_balance('8', name);

-- 8. 64 bits are the limit, with lots too; what expired makes room.
SELECT reason, balance FROM grant_credits('9', 9223372036854775807, 'huge-1', expires_at => '2100-01-01Z');
SELECT reason, detail FROM grant_credits('9', 1, 'huge-2', priority => 1);
CALL time_passes('huge-1');
SELECT reason, balance FROM grant_credits('9', 1, 'huge-2', priority => 1);


-- The books are right.
SELECT * FROM billing.reconcile();
