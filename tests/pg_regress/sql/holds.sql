-- Holds: credits reserved for a while, to be captured or released.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;
-- Time passes: a hold's lifetime, or a lot's, is over.
CREATE PROCEDURE time_passes(key text) LANGUAGE sql AS $$
    UPDATE billing.holds SET created_at = created_at - interval '1 year', expires_at = clock_timestamp() - interval '1 second' WHERE idempotency_key = key;
    UPDATE billing.lots l SET expires_at = clock_timestamp() - interval '1 second' FROM billing.ledger e WHERE e.entry_id = l.entry_id AND e.idempotency_key = key
$$;
-- A hold by the key that it was made with.
CREATE FUNCTION hold(key text) RETURNS uuid LANGUAGE sql AS $$ SELECT hold_id FROM billing.holds WHERE idempotency_key = key $$;
CREATE VIEW lots AS
    SELECT e.idempotency_key AS lot, l.remaining, l.held, c.legacy_id AS of
    FROM billing.lots l JOIN billing.ledger e USING (entry_id) JOIN billing.customers c ON c.customer_id = l.customer_id ORDER BY l.lot_id;

-- 1. A hold takes nothing from the balance, but what it holds is not available.
SELECT reason, balance FROM grant_credits('1', 100, 'welcome');
SELECT applied, reason, detail, hold_id IS NOT NULL AS hold, customer_id IS NOT NULL AS customer, credit_type, status, credits, captured_credits, balance, available,
    expires_at BETWEEN clock_timestamp() + interval '14 minutes' AND clock_timestamp() + interval '15 minutes' AS fifteen_minutes
FROM hold_credits('1', 60, 'render-1');
SELECT balance, held, available FROM credit_balance('1');
SELECT reason, detail FROM spend_credits('1', 41, 'greedy');
SELECT reason, detail, hold_id, status, balance FROM hold_credits('1', 41, 'greedy');
SELECT reason, balance FROM spend_credits('1', 40, 'modest');
-- A hold is no entry of the ledger.
SELECT kind, credits, balance FROM credit_history('1');

-- 2. Capturing spends the whole hold, or the part given and releases the rest.
SELECT applied, reason, detail, status, credits, captured_credits, balance, available FROM capture_hold(hold('render-1'), 25);
SELECT kind, credits, balance, metadata FROM credit_history('1', 1);
SELECT reason, status, balance, available FROM hold_credits('1', 30, 'render-2');
SELECT reason, status, credits, captured_credits, balance, available FROM capture_hold(hold('render-2'));
-- Releasing spends nothing, and writes no entry.
SELECT reason, status, balance, available FROM hold_credits('1', 5, 'render-3');
SELECT applied, reason, detail, status, credits, captured_credits, balance, available FROM release_hold(hold('render-3'));
SELECT kind, credits, balance FROM credit_history('1');
-- The key of a capture's entry is the extension's own.
SELECT idempotency_key = 'billing_rpc:capture:' || hold('render-2') AS own_key FROM credit_history('1', 1);

-- 3. A hold ends once. The same end again is a replay; another one is refused, with the hold as it is.
SELECT applied, reason, detail, status, captured_credits, balance, available FROM capture_hold(hold('render-1'), 25);
SELECT reason, detail, status, captured_credits, balance FROM capture_hold(hold('render-1'), 24);
SELECT reason, detail, status, captured_credits, balance FROM capture_hold(hold('render-1'), 60);
SELECT reason, detail, status, captured_credits, balance FROM capture_hold(hold('render-1'));
SELECT reason, detail, status, captured_credits, balance FROM release_hold(hold('render-1'));
-- Captured whole: saying so, or saying how many, is the same.
SELECT reason, detail FROM capture_hold(hold('render-2'));
SELECT reason, detail FROM capture_hold(hold('render-2'), 30);
SELECT reason, detail, status FROM release_hold(hold('render-3'));
SELECT reason, detail, status FROM capture_hold(hold('render-3'));
SELECT reason, detail, status FROM capture_hold(hold('render-3'), 5);

-- 4. Its lifetime over, a hold counts for nothing, without any job having run, and can no longer be captured.
SELECT reason, status, available FROM hold_credits('2', 1, 'too-early');
SELECT reason, balance FROM grant_credits('2', 10, 'start');
SELECT reason, status, available FROM hold_credits('2', 10, 'slow', ttl_seconds => 60);
CALL time_passes('slow');
SELECT balance, held, available FROM credit_balance('2');
SELECT applied, reason, detail, status, captured_credits, balance, available FROM capture_hold(hold('slow'));
SELECT reason, detail, status FROM release_hold(hold('slow'));
SELECT reason, detail, status FROM capture_hold(hold('slow'), 11);
SELECT reason, balance FROM spend_credits('2', 10, 'fast');
SELECT reason, detail, status, balance, available FROM capture_hold(hold('slow'));
SELECT kind, credits, balance FROM credit_history('2');
-- A lifetime of one second, really waited for.
SELECT reason, balance FROM grant_credits('2', 10, 'start-2');
SELECT reason, available FROM hold_credits('2', 10, 'quick', ttl_seconds => 1);
SELECT pg_sleep(1.1);
SELECT reason, detail, status, available FROM capture_hold(hold('quick'));

-- 5. The same request again is a replay, and shows the hold and the credits as they are now.
SELECT reason, balance FROM grant_credits('3', 100, 'r-start');
SELECT reason, status, credits, balance, available FROM hold_credits('3', 40, 'r-hold');
SELECT applied, reason, detail, status, credits, balance, available FROM hold_credits('3', 40, 'r-hold');
SELECT hold_id = hold('r-hold') AS same_hold FROM hold_credits('3', 40, 'r-hold');
SELECT reason, balance FROM spend_credits('3', 60, 'r-spend');
SELECT reason, status, credits, captured_credits, balance, available FROM hold_credits('3', 40, 'r-hold');
SELECT reason FROM capture_hold(hold('r-hold'), 1);
SELECT reason, status, credits, captured_credits, balance, available FROM hold_credits('3', 40, 'r-hold');
-- Neither lifetime nor metadata is part of the request; customer, credit type and credits are.
SELECT reason, status FROM hold_credits('3', 40, 'r-hold', ttl_seconds => 1, metadata => '{"note": "other"}');
SELECT reason FROM register_billing_user(legacy_id => 3, email => 'three@example.com');
SELECT reason, status FROM hold_credits('three@example.com', 40, 'r-hold');
SELECT reason, detail, hold_id, status FROM hold_credits('3', 41, 'r-hold');
SELECT reason, detail FROM hold_credits('1', 40, 'r-hold');
SELECT reason, detail FROM hold_credits('3', 40, 'r-hold', credit_type => 'gold');

-- 6. One name space of keys: a hold's key is no other call's, and the other way round, whoever calls.
SELECT reason, detail FROM spend_credits('3', 40, 'r-hold');
SELECT reason, detail FROM grant_credits('3', 40, 'r-hold');
SELECT reason, detail FROM apply_credit_purchase('3', 40, 'r-hold');
SELECT reason, detail FROM grant_credits('77', 40, 'r-hold');
SELECT reason, detail FROM hold_credits('3', 60, 'r-spend');
SELECT reason, detail FROM hold_credits('1', 1, 'r-start');
SELECT found FROM resolve_billing_user('77');
-- A refused hold leaves its key free.
SELECT reason, detail FROM hold_credits('3', 40, 'r-free');
SELECT reason, balance FROM grant_credits('3', 40, 'r-free');

-- 7. Holds lie on lots as spends burn them, and what is captured burns them in the same order.
SELECT reason, balance FROM grant_credits('4', 10, 'l-plain');
SELECT reason, balance FROM grant_credits('4', 10, 'l-july', expires_at => '2100-07-01Z');
SELECT reason, balance FROM grant_credits('4', 10, 'l-june', expires_at => '2100-06-01Z');
SELECT reason, balance, available FROM hold_credits('4', 24, 'l-hold');
SELECT lot, remaining, held FROM lots WHERE of = 4;
-- Nothing of the lots is free any more, so nothing of them can run out.
SELECT balance, held, available, next_expiry_at, next_expiry_credits FROM credit_balance('4');
SELECT reason, balance, available FROM capture_hold(hold('l-hold'), 13);
SELECT lot, remaining, held FROM lots WHERE of = 4;
SELECT available, next_expiry_at::date AS next_expiry, next_expiry_credits FROM credit_balance('4');

-- 8. Credits under a hold do not expire until the hold ends: they can be captured after their lot's expiry.
SELECT reason, balance FROM grant_credits('5', 10, 'x-plain');
SELECT reason, balance FROM grant_credits('5', 20, 'x-lot', expires_at => '2100-01-01Z');
SELECT reason, available FROM hold_credits('5', 8, 'x-captured');
SELECT reason, available FROM hold_credits('5', 7, 'x-released');
CALL time_passes('x-lot');
-- 20 in the lot, 15 of them held: 5 are expired.
SELECT balance, held, available FROM credit_balance('5');
SELECT reason, balance FROM spend_credits('5', 1, 'x-spend-1');
SELECT lot, remaining, held FROM lots WHERE of = 5;
SELECT reason, status, balance, available FROM capture_hold(hold('x-captured'), 6);
-- What the capture left over, and what is released, is expired at once; the next call writes it off.
SELECT balance, held, available FROM credit_balance('5');
SELECT reason, status, balance, available FROM release_hold(hold('x-released'));
SELECT balance, held, available FROM credit_balance('5');
SELECT reason, balance FROM spend_credits('5', 1, 'x-spend-2');
SELECT balance, held, available FROM credit_balance('5');
SELECT kind, credits, balance FROM credit_history('5');
-- A hold on a lot, both over: the credits are gone.
SELECT reason, balance FROM grant_credits('6', 9, 'xx-lot', expires_at => '2100-01-01Z');
SELECT reason, available FROM hold_credits('6', 9, 'xx-hold');
CALL time_passes('xx-lot');
CALL time_passes('xx-hold');
SELECT balance, held, available FROM credit_balance('6');
SELECT reason, detail, status FROM capture_hold(hold('xx-hold'));
SELECT reason, balance FROM grant_credits('6', 1, 'xx-next');
SELECT kind, credits, balance FROM credit_history('6');

-- 9. Wrong input is a row, never an error.
SELECT applied, reason, detail, hold_id, status, balance, expires_at FROM hold_credits();
SELECT reason, detail FROM hold_credits('1');
SELECT reason, detail FROM hold_credits('1', 1);
SELECT asked, reason, detail FROM (VALUES (0::bigint), (-1), (-9223372036854775808), (9223372036854775807)) AS given (asked), LATERAL hold_credits('1', asked, 'wrong');
SELECT key, reason, detail FROM (VALUES (''), (' '), ('billing_rpc:x')) AS given (key), LATERAL hold_credits('1', 1, key);
SELECT reason, detail FROM hold_credits('1', 1, repeat('k', 256));
SELECT ttl, reason, detail, round(extract(epoch FROM expires_at - clock_timestamp()) / 60) AS minutes
FROM (VALUES (-1), (0), (1), (31622400), (31622401), (-2147483648), (2147483647), (NULL)) AS given (ttl),
    LATERAL hold_credits('1', 1, 'ttl-' || coalesce(ttl::text, 'null'), ttl_seconds => ttl);
SELECT type, reason, detail FROM (VALUES (''), (' '), (repeat('t', 64)), ('gold'), (NULL)) AS given (type), LATERAL hold_credits('1', 1, 'type', credit_type => type);
SELECT metadata, reason, detail FROM (VALUES ('[]'::jsonb), ('null'), ('7'), ('{"job": 7}'), (NULL)) AS given (metadata), LATERAL hold_credits('1', 1, 'metadata', metadata => metadata);
SELECT metadata FROM billing.holds WHERE idempotency_key = 'metadata';
-- Nobody is made, and nobody unknown has anything.
SELECT reason, detail FROM hold_credits('88', 1, 'nobody');
SELECT reason, detail FROM hold_credits('cus_nobody', 1, 'nobody');
SELECT reason, detail FROM hold_credits('undefined', 1, 'nobody');
SELECT found FROM resolve_billing_user('88');
-- Ends.
SELECT applied, reason, detail, hold_id, status FROM capture_hold();
SELECT applied, reason, detail, hold_id, status FROM release_hold();
SELECT reason, detail FROM capture_hold('00000000-0000-0000-0000-000000000000');
SELECT reason, detail FROM release_hold('00000000-0000-0000-0000-000000000000');
SELECT reason, available FROM hold_credits('4', 5, 'open');
SELECT asked, reason, detail, status FROM (VALUES (0::bigint), (-1), (6), (9223372036854775807), (-9223372036854775808)) AS given (asked), LATERAL capture_hold(hold('open'), asked);
SELECT reason, status, captured_credits FROM capture_hold(hold('open'), 5);

-- 10. Credit types are apart.
SELECT reason FROM grant_credits('9', 5, 'gold-1', credit_type => 'gold');
SELECT reason, credit_type, balance, available FROM hold_credits('9', 5, 'gold-2', credit_type => 'gold');
SELECT reason, detail FROM hold_credits('9', 5, 'gold-3');
SELECT reason, credit_type, balance FROM capture_hold(hold('gold-2'));

-- The books are right.
SELECT * FROM billing.reconcile();
