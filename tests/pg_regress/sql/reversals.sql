-- Reversals: a purchase, grant, spend or capture undone, in whole or in part, by an entry of its own.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;
-- An entry by its key.
CREATE FUNCTION entry(key text) RETURNS bigint LANGUAGE sql AS $$ SELECT entry_id FROM billing.ledger WHERE idempotency_key = key $$;
CREATE PROCEDURE time_passes(lot text) LANGUAGE sql AS $$
    UPDATE billing.lots SET expires_at = clock_timestamp() - interval '1 second' WHERE entry_id = entry(lot)
$$;
CREATE VIEW lots AS
    SELECT e.idempotency_key AS lot, l.remaining, l.held, c.legacy_id AS of
    FROM billing.lots l JOIN billing.ledger e USING (entry_id) JOIN billing.customers c ON c.customer_id = l.customer_id ORDER BY l.lot_id;
-- What each reversal undid, and what was missing.
CREATE VIEW reversals AS
    SELECT o.idempotency_key AS undone, r.idempotency_key AS by, r.credits, r.balance_after AS balance, r.shortfall, c.legacy_id AS of
    FROM billing.ledger r JOIN billing.ledger o ON o.entry_id = r.reverses JOIN billing.customers c ON c.customer_id = r.customer_id ORDER BY r.entry_id;

-- 1. A purchase is undone: the credits go, and the history says which entry was undone.
SELECT reason, balance FROM apply_credit_purchase('1', 100, 'order', amount_minor => 900, currency => 'eur', stripe_session_id => 'cs_1');
SELECT applied, reason, detail, entry_id = entry('undo') AS new_entry, customer_id IS NOT NULL AS customer, credit_type, credits, balance, created_at <= clock_timestamp() AS dated
FROM reverse_credit_entry(entry('order'), 'undo', metadata => '{"why": "refund"}');
SELECT kind, credits, balance, reverses = entry('order') AS of_order, source_ref, idempotency_key, metadata FROM credit_history('1');
-- What stands for the source stands: undone is not unbought.
SELECT reason, detail, balance FROM apply_credit_purchase('1', 100, 'order-2', stripe_session_id => 'cs_1');
SELECT reason, balance FROM apply_credit_purchase('1', 100, 'order', amount_minor => 900, currency => 'eur', stripe_session_id => 'cs_1');

-- 2. In parts: each takes what it names, null what is left; more than is left is refused.
SELECT reason, balance FROM grant_credits('2', 100, 'gift');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('gift'), 'part-1', 30);
SELECT reason, detail, credits, balance FROM reverse_credit_entry(entry('gift'), 'part-2', 71);
SELECT reason, credits, balance FROM reverse_credit_entry(entry('gift'), 'part-2', 20);
SELECT reason, credits, balance FROM reverse_credit_entry(entry('gift'), 'part-3');
SELECT reason, detail FROM reverse_credit_entry(entry('gift'), 'part-4');
SELECT reason, detail FROM reverse_credit_entry(entry('gift'), 'part-4', 1);

-- 3. The same request again is a replay, also where it would be refused today; the same key with another entry
-- or other credits is not the same request. Metadata is no part of it.
SELECT applied, reason, detail, credits, balance FROM reverse_credit_entry(entry('gift'), 'part-1', 30);
SELECT reason, credits, balance FROM reverse_credit_entry(entry('gift'), 'part-3', metadata => '{"note": "other"}');
SELECT reason, detail FROM reverse_credit_entry(entry('gift'), 'part-1', 31);
SELECT reason, detail FROM reverse_credit_entry(entry('gift'), 'part-1');
SELECT reason, detail FROM reverse_credit_entry(entry('gift'), 'part-3', 50);
SELECT reason, detail FROM reverse_credit_entry(entry('order'), 'part-1', 30);
-- One name space of keys.
SELECT reason, detail FROM reverse_credit_entry(entry('order'), 'gift');
SELECT reason, detail FROM grant_credits('2', 30, 'part-1');
SELECT reason, detail FROM spend_credits('2', 30, 'part-1');
SELECT reason FROM grant_credits('2', 1, 'more');
SELECT reason FROM hold_credits('2', 1, 'held');
SELECT reason, detail FROM reverse_credit_entry(entry('more'), 'held');
SELECT reason, detail FROM hold_credits('2', 1, 'part-1');
SELECT reason FROM release_hold((SELECT hold_id FROM billing.holds WHERE idempotency_key = 'held'));

-- 4. What is not there any more cannot be taken back: the entry says how much was missing, and it is not collected later.
SELECT reason, balance FROM apply_credit_purchase('3', 100, 's-order');
SELECT reason, balance FROM spend_credits('3', 70, 's-spend');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('s-order'), 's-undo-1', 80);
SELECT reason, credits, balance FROM reverse_credit_entry(entry('s-order'), 's-undo-2');
SELECT undone, by, credits, balance, shortfall FROM reversals WHERE of = 3;
SELECT reason, balance FROM grant_credits('3', 50, 's-later');
SELECT reason, detail FROM reverse_credit_entry(entry('s-order'), 's-undo-3');
SELECT balance, available FROM credit_balance('3');
-- Credits under a hold are not there to be taken.
SELECT reason, available FROM hold_credits('3', 45, 's-hold');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('s-later'), 's-undo-3');
SELECT by, credits, shortfall FROM reversals WHERE by = 's-undo-3';
SELECT balance, held, available FROM credit_balance('3');

-- 5. A purchase or grant with a lot is undone from that lot, one without from what lies in no lot.
SELECT reason, balance FROM grant_credits('4', 10, 'w-plain');
SELECT reason, balance FROM grant_credits('4', 20, 'w-lot', expires_at => '2100-01-01Z');
SELECT reason, balance FROM spend_credits('4', 15, 'w-spend');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('w-lot'), 'w-undo-lot');
SELECT lot, remaining FROM lots WHERE of = 4;
SELECT reason, credits, balance FROM reverse_credit_entry(entry('w-plain'), 'w-undo-plain', 4);
SELECT undone, credits, balance, shortfall FROM reversals WHERE of = 4;
SELECT reason, balance FROM grant_credits('5', 10, 'v-plain');
SELECT reason, balance FROM grant_credits('5', 20, 'v-lot', priority => 1);
SELECT reason, balance FROM spend_credits('5', 25, 'v-spend');
SELECT reason, balance FROM grant_credits('5', 20, 'v-lot-2', priority => 1);
-- 5 are left without a lot, 20 in the other lot: neither pays for what came from elsewhere.
SELECT reason, credits, balance FROM reverse_credit_entry(entry('v-lot'), 'v-undo-lot');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('v-plain'), 'v-undo-plain');
SELECT undone, credits, balance, shortfall FROM reversals WHERE of = 5;
SELECT lot, remaining FROM lots WHERE of = 5;
-- A lot that expired has nothing left: what ran out is written off, and the whole is missing.
SELECT reason, balance FROM grant_credits('6', 8, 'u-lot', expires_at => '2100-01-01Z');
CALL time_passes('u-lot');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('u-lot'), 'u-undo');
SELECT kind, credits, balance FROM credit_history('6');
SELECT undone, credits, shortfall FROM reversals WHERE of = 6;
-- Of a lot under a hold, the free part.
SELECT reason, balance FROM grant_credits('7', 10, 't-lot', expires_at => '2100-01-01Z');
SELECT reason, available FROM hold_credits('7', 6, 't-hold');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('t-lot'), 't-undo');
SELECT lot, remaining, held FROM lots WHERE of = 7;
SELECT balance, held, available FROM credit_balance('7');

-- 6. A spend is undone: the credits come back.
SELECT reason, balance FROM grant_credits('8', 10, 'a-plain');
SELECT reason, balance FROM spend_credits('8', 10, 'a-spend');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('a-spend'), 'a-undo-1', 4);
SELECT reason, credits, balance FROM reverse_credit_entry(entry('a-spend'), 'a-undo-2');
SELECT reason, detail FROM reverse_credit_entry(entry('a-spend'), 'a-undo-3');
SELECT undone, by, credits, balance, shortfall FROM reversals WHERE of = 8;
-- They come back to the lots that they came from, as if less had been spent: to no lot first, then to the lot that was burnt last.
SELECT reason, balance FROM grant_credits('9', 10, 'c-plain');
SELECT reason, balance FROM grant_credits('9', 10, 'c-second', expires_at => '2100-07-01Z');
SELECT reason, balance FROM grant_credits('9', 10, 'c-first', expires_at => '2100-06-01Z');
SELECT reason, balance FROM spend_credits('9', 25, 'c-spend');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('c-spend'), 'c-undo-1', 3);
SELECT string_agg(lot || ' ' || remaining, ', ' ORDER BY lot) AS lots FROM lots WHERE of = 9;
SELECT reason, credits, balance FROM reverse_credit_entry(entry('c-spend'), 'c-undo-2', 4);
SELECT string_agg(lot || ' ' || remaining, ', ' ORDER BY lot) AS lots FROM lots WHERE of = 9;
SELECT reason, credits, balance FROM reverse_credit_entry(entry('c-spend'), 'c-undo-3', 9);
SELECT string_agg(lot || ' ' || remaining, ', ' ORDER BY lot) AS lots FROM lots WHERE of = 9;
SELECT reason, credits, balance FROM reverse_credit_entry(entry('c-spend'), 'c-undo-4');
SELECT string_agg(lot || ' ' || remaining, ', ' ORDER BY lot) AS lots FROM lots WHERE of = 9;
-- What came from a lot that has expired meanwhile comes back all the same, in no lot: it does not expire any more.
SELECT reason, balance FROM grant_credits('10', 10, 'd-lot', expires_at => '2100-01-01Z');
SELECT reason, balance FROM grant_credits('10', 10, 'd-lives', expires_at => '2100-06-01Z');
SELECT reason, balance FROM spend_credits('10', 14, 'd-spend');
CALL time_passes('d-lot');
SELECT reason, credits, balance FROM reverse_credit_entry(entry('d-spend'), 'd-undo');
SELECT lot, remaining FROM lots WHERE of = 10;
SELECT balance, available, next_expiry_credits FROM credit_balance('10');

-- 7. A capture is a spend as well.
SELECT reason, balance FROM grant_credits('11', 10, 'f-lot', priority => 1);
SELECT hold_id FROM hold_credits('11', 8, 'f-hold') \gset
SELECT reason, balance FROM capture_hold(:'hold_id', 6);
SELECT reason, credits, balance FROM reverse_credit_entry(entry('billing_rpc:capture:' || :'hold_id'), 'f-undo', 5);
SELECT lot, remaining, held FROM lots WHERE of = 11;
-- The hold stays captured.
SELECT reason, status, captured_credits, balance FROM capture_hold(:'hold_id', 6);

-- 8. A reversal, an expiry or an adjustment cannot be undone.
SELECT reason, detail FROM reverse_credit_entry(entry('undo'), 'undo-the-undo');
SELECT DISTINCT reason, detail FROM billing.ledger, LATERAL reverse_credit_entry(entry_id, 'undo-expiry') WHERE kind = 'expiry';

-- 9. Wrong input is a row, never an error.
SELECT applied, reason, detail, entry_id, credits, balance FROM reverse_credit_entry();
SELECT reason, detail FROM reverse_credit_entry(idempotency_key => 'x');
SELECT reason, detail FROM reverse_credit_entry(1);
SELECT id, reason, detail FROM (VALUES (0::bigint), (-1), (9223372036854775807), (-9223372036854775808)) AS given (id), LATERAL reverse_credit_entry(id, 'x');
SELECT key, reason, detail FROM (VALUES (''), (' '), ('billing_rpc:x')) AS given (key), LATERAL reverse_credit_entry(1, key);
SELECT reason, detail FROM reverse_credit_entry(1, repeat('k', 256));
SELECT asked, reason, detail FROM (VALUES (0::bigint), (-1), (-9223372036854775808), (9223372036854775807)) AS given (asked), LATERAL reverse_credit_entry(entry('more'), 'x', asked);
SELECT metadata, reason, detail FROM (VALUES ('[]'::jsonb), ('null'), ('"text"'), (NULL)) AS given (metadata), LATERAL reverse_credit_entry(entry('more'), 'm', metadata => metadata);
-- 64 bits are the limit of a balance, for what comes back too.
SELECT reason FROM grant_credits('12', 9223372036854775807, 'huge-1');
SELECT reason, balance FROM spend_credits('12', 9223372036854775807, 'huge-2');
SELECT reason FROM grant_credits('12', 1, 'huge-3');
SELECT reason, detail FROM reverse_credit_entry(entry('huge-2'), 'huge-4');
SELECT reason, balance FROM reverse_credit_entry(entry('huge-2'), 'huge-5', 9223372036854775806);

-- The books are right.
SELECT * FROM billing.reconcile();
