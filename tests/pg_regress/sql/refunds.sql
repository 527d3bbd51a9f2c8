-- Refunds: credits are undone as far as the money went back, whatever the order in which Stripe tells of it.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: an event of Stripe's, made so many seconds after a beginning, signed and delivered.
CREATE FUNCTION deliver(event_id text, event_type text, at int, object jsonb) RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example'))
    FROM (SELECT jsonb_strip_nulls(jsonb_build_object('id', event_id, 'type', event_type, 'livemode', false, 'created', 1700000000 + at,
        'data', jsonb_build_object('object', object)))::text) AS body (b)
$$;
-- The answer, without what differs from run to run.
CREATE TYPE answer AS (reason billing_reason, detail text, credits bigint, balance bigint);
CREATE FUNCTION answer(outcome event_outcome) RETURNS answer LANGUAGE sql AS $$
    SELECT outcome.reason, outcome.detail, (outcome.result ->> 'credits')::bigint, (outcome.result ->> 'balance')::bigint
$$;
-- User n pays 9.00 EUR for 100 credits, in session cs_n by payment pi_n.
CREATE FUNCTION session(n text, parts jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', 'cs_' || n, 'mode', 'payment', 'payment_status', 'paid', 'amount_total', 900, 'currency', 'eur',
        'payment_intent', 'pi_' || n, 'metadata', jsonb_build_object('credits', '100', 'user_id', n)) || parts
$$;
CREATE FUNCTION bought(n text, at int = 0) RETURNS answer LANGUAGE sql AS $$
    SELECT answer(deliver('evt_' || n || '_bought', 'checkout.session.completed', at, session(n)))
$$;
-- So much of the 9.00 EUR of payment pi_n is refunded by now, in total.
CREATE FUNCTION refunded(event_id text, n text, minor bigint, at int) RETURNS answer LANGUAGE sql AS $$
    SELECT answer(deliver(event_id, 'charge.refunded', at,
        jsonb_build_object('id', 'ch_' || n, 'object', 'charge', 'amount', 900, 'amount_refunded', minor, 'payment_intent', 'pi_' || n)))
$$;
-- One refund of payment pi_n, and how it stands.
CREATE FUNCTION refund(event_id text, event_type text, id text, n text, minor bigint, status text, at int) RETURNS answer LANGUAGE sql AS $$
    SELECT answer(deliver(event_id, event_type, at,
        jsonb_build_object('id', id, 'object', 'refund', 'amount', minor, 'charge', 'ch_' || n, 'payment_intent', 'pi_' || n, 'status', status)))
$$;
-- What the ledger says of a user. Of all entries of a purchase together, the shortfall is the present one.
CREATE FUNCTION entries(who text) RETURNS TABLE (kind text, credits bigint, balance bigint, shortfall bigint, undoes text, by text) LANGUAGE sql AS $$
    SELECT l.kind, l.credits, l.balance_after, l.shortfall, o.source_ref, coalesce(l.event, regexp_replace(l.idempotency_key, '\d+', 'N', 'g'))
    FROM billing.ledger l LEFT JOIN billing.ledger o ON o.entry_id = l.reverses
    WHERE l.customer_id = (resolve_billing_user(who)).customer_id ORDER BY l.entry_id
$$;
CREATE VIEW charges AS
    SELECT payment_ref, source_ref, amount_minor, refunded_minor, extract(epoch FROM refunded_at)::bigint - 1700000000 AS at, refunds, disputes
    FROM billing.charges;

-- 1. In full: all credits of the purchase go. The entry that takes them names the event and the purchase.
SELECT * FROM bought('1');
SELECT * FROM refunded('evt_1', '1', 900, 10);
SELECT * FROM entries('1');
SELECT * FROM charges;
-- Delivered again: a replay. The same said by another event: nothing is left to be undone.
SELECT * FROM refunded('evt_1', '1', 900, 10);
SELECT * FROM refunded('evt_1_again', '1', 900, 11);
SELECT balance FROM credit_balance('1');
-- Undone is not unbought: the session is not credited a second time.
SELECT reason, detail FROM deliver('evt_1_other', 'checkout.session.completed', 12, session('1'));

-- 2. In part: the refunded share of the credits, rounded down; the whole only when all is refunded. Each event says how much is refunded in total.
SELECT * FROM bought('2');
SELECT minor, a.* FROM unnest('{8, 9, 300, 450, 899, 900, 950}'::int[]) WITH ORDINALITY AS told (minor, n), refunded('evt_2_' || minor, '2', minor, n::int) AS a;
SELECT sum(credits), sum(shortfall) FROM entries('2');

-- 3. Out of order, the one that was made last counts; of one second the one with the highest amount.
SELECT * FROM bought('3');
SELECT * FROM refunded('evt_3a', '3', 600, 20);
SELECT * FROM refunded('evt_3b', '3', 300, 10);
SELECT * FROM refunded('evt_3c', '3', 450, 30);
SELECT * FROM refunded('evt_3d', '3', 700, 30);
SELECT * FROM refunded('evt_3e', '3', 500, 30);
SELECT balance FROM credit_balance('3');

-- 4. A refund that fails or is canceled after it was counted: its share comes back, once, by whichever event tells of it and however often.
SELECT * FROM bought('4');
SELECT * FROM refunded('evt_4a', '4', 900, 10);
SELECT * FROM refund('evt_4b', 'refund.failed', 're_4a', '4', 450, 'failed', 11);
SELECT * FROM refund('evt_4c', 'refund.updated', 're_4a', '4', 450, 'failed', 12);
SELECT * FROM refund('evt_4d', 'charge.refund.updated', 're_4a', '4', 450, 'failed', 13);
SELECT * FROM refund('evt_4e', 'charge.refund.updated', 're_4b', '4', 90, 'canceled', 14);
SELECT * FROM entries('4');
-- Refunds under way or done change nothing: charge.refunded tells what counts.
SELECT status, a.* FROM unnest('{pending, requires_action, succeeded, null}'::text[]) AS told (status), refund('evt_4_' || coalesce(status, 'none'), 'refund.updated', 're_4c', '4', 90, status, 15) AS a;
SELECT payment_ref, refunded_minor, at, refunds FROM charges WHERE payment_ref = 'pi_4';
-- A later charge.refunded has the failures before it in its amount already; those after it count, and those of the same second.
SELECT * FROM refunded('evt_4f', '4', 450, 20);
SELECT * FROM refund('evt_4g', 'refund.failed', 're_4d', '4', 90, 'failed', 20);
SELECT * FROM refund('evt_4h', 'refund.failed', 're_4e', '4', 90, 'failed', 19);
-- More failed than was refunded: nothing is called for, and nothing beyond the purchase comes back.
SELECT * FROM refund('evt_4i', 'refund.failed', 're_4f', '4', 9000, 'failed', 21);
SELECT balance FROM credit_balance('4');
-- The failure first, the refund that it is about afterwards: the same end.
SELECT * FROM bought('5');
SELECT * FROM refund('evt_5a', 'refund.failed', 're_5', '5', 450, 'failed', 11);
SELECT * FROM refunded('evt_5b', '5', 900, 10);
SELECT balance FROM credit_balance('5');
-- Told at two different seconds, in either order: it failed at the earlier one.
SELECT * FROM bought('6');
SELECT * FROM refund('evt_6a', 'refund.updated', 're_6', '6', 450, 'failed', 30);
SELECT * FROM refunded('evt_6b', '6', 450, 20);
SELECT * FROM refund('evt_6c', 'refund.failed', 're_6', '6', 450, 'failed', 10);
SELECT refunds FROM charges WHERE payment_ref = 'pi_6';

-- 5. Before its purchase: remembered, and the purchase is undone as soon as it comes. Its own answer is about the purchase.
SELECT * FROM refunded('evt_7a', '7', 450, 10);
SELECT * FROM charges WHERE payment_ref = 'pi_7';
SELECT * FROM bought('7');
SELECT * FROM entries('7');
SELECT payment_ref, source_ref FROM charges WHERE payment_ref = 'pi_7';
SELECT * FROM refunded('evt_7b', '7', 450, 11);
-- A refund under way of a payment that is not known is not worth a row.
SELECT * FROM refund('evt_8', 'refund.updated', 're_8', '8', 450, 'pending', 1);
SELECT * FROM charges WHERE payment_ref = 'pi_8';

-- 6. What is spent cannot be taken back: it is the entry's shortfall, and not collected later.
SELECT * FROM bought('9');
SELECT reason, balance FROM spend_credits('9', 80, 'spend-9');
SELECT * FROM refunded('evt_9a', '9', 450, 10);
SELECT reason, balance FROM grant_credits('9', 40, 'gift-9');
SELECT * FROM refunded('evt_9b', '9', 450, 11);
-- More is refunded: that is taken from whatever is there without a lot.
SELECT * FROM refunded('evt_9c', '9', 540, 12);
-- When refunds fail, the shortfall shrinks first, then credits come back.
SELECT * FROM refund('evt_9d', 'refund.failed', 're_9a', '9', 180, 'failed', 13);
SELECT * FROM refund('evt_9e', 'refund.failed', 're_9b', '9', 360, 'failed', 14);
SELECT * FROM entries('9');
-- Credits under a hold are not there to be taken.
SELECT * FROM bought('10');
SELECT reason, available FROM hold_credits('10', 70, 'hold-10');
SELECT * FROM refunded('evt_10', '10', 900, 10);
SELECT balance, held, available FROM credit_balance('10');
SELECT kind, credits, shortfall FROM entries('10');

-- 7. What a caller undid of the purchase counts, and is not given back by Stripe's word.
SELECT * FROM bought('11');
SELECT reason, credits, balance FROM reverse_credit_entry((SELECT entry_id FROM billing.ledger WHERE source_ref = 'stripe:cs_11'), 'by-hand', 30);
SELECT * FROM refunded('evt_11a', '11', 180, 10);
SELECT * FROM refunded('evt_11b', '11', 450, 11);
SELECT reason, credits, balance FROM reverse_credit_entry((SELECT entry_id FROM billing.ledger WHERE source_ref = 'stripe:cs_11'), 'by-hand-2', 10);
SELECT * FROM refunded('evt_11c', '11', 900, 12);
SELECT reason, detail FROM reverse_credit_entry((SELECT entry_id FROM billing.ledger WHERE source_ref = 'stripe:cs_11'), 'by-hand-3');
SELECT * FROM refund('evt_11d', 'refund.failed', 're_11', '11', 900, 'failed', 13);
SELECT * FROM entries('11');
-- Also one that comes after the refund, as long as events call for no less than before; more is taken only beyond all that is undone.
SELECT * FROM bought('23');
SELECT * FROM refunded('evt_23a', '23', 450, 10);
SELECT reason, credits, balance FROM reverse_credit_entry((SELECT entry_id FROM billing.ledger WHERE source_ref = 'stripe:cs_23'), 'by-hand-23', 20);
SELECT * FROM refund('evt_23b', 'refund.updated', 're_23', '23', 450, 'succeeded', 11);
SELECT * FROM refunded('evt_23c', '23', 540, 12);
-- When they call for less, what is undone comes down to that, but never below what was undone by hand.
SELECT * FROM refund('evt_23d', 'refund.failed', 're_23', '23', 270, 'failed', 13);
SELECT * FROM refund('evt_23e', 'refund.failed', 're_23b', '23', 270, 'failed', 14);
SELECT * FROM entries('23');

-- 8. Credits with an expiry are taken from their lot, and go back to it while it lives.
SELECT reason, balance FROM grant_credits('12', 7, 'gift-12');
SELECT reason, balance FROM apply_credit_purchase('12', 100, 'order-12', amount_minor => 900, currency => 'eur', source_ref => 'stripe:pi_12', expires_at => '2100-01-01Z');
SELECT reason, balance FROM spend_credits('12', 60, 'spend-12');
SELECT * FROM refunded('evt_12a', '12', 450, 10);
SELECT * FROM refund('evt_12b', 'refund.failed', 're_12', '12', 180, 'failed', 11);
SELECT balance, available, next_expiry_credits FROM credit_balance('12');
-- Expired meanwhile: what the lot had is written off before, there is nothing to take; and what comes back comes back for good, in no lot.
UPDATE billing.lots SET expires_at = clock_timestamp() - interval '1 second';
SELECT * FROM refunded('evt_12c', '12', 900, 20);
SELECT * FROM refund('evt_12d', 'refund.failed', 're_12b', '12', 900, 'failed', 21);
SELECT balance, available, next_expiry_credits FROM credit_balance('12');
SELECT * FROM entries('12');

-- 9. Credits that a call applied for are undone just so. By the payment as its source, before or after:
SELECT reason, balance FROM apply_credit_purchase('13', 100, 'order-13', source_ref => 'stripe:pi_13', amount_minor => 900, currency => 'eur');
SELECT * FROM refunded('evt_13', '13', 300, 10);
SELECT * FROM refunded('evt_14', '14', 300, 10);
SELECT reason, credits, balance FROM apply_credit_purchase('14', 100, 'order-14', source_ref => 'stripe:pi_14');
SELECT reason, credits, balance FROM apply_credit_purchase('14', 100, 'order-14', source_ref => 'stripe:pi_14');
SELECT balance FROM credit_balance('14');
SELECT reason, detail FROM apply_credit_purchase('14', 100, 'order-14-2', source_ref => 'stripe:pi_14');
SELECT * FROM entries('14');
-- By the session: an event has to tell which payment it had, even one that sells nothing here.
SELECT reason, balance FROM apply_credit_purchase('15', 100, 'order-15', stripe_session_id => 'cs_15');
SELECT * FROM refunded('evt_15a', '15', 300, 10);
SELECT reason, detail FROM deliver('evt_15b', 'checkout.session.completed', 5, session('15', '{"metadata": {}}'));
SELECT * FROM entries('15');
SELECT * FROM refunded('evt_15c', '15', 600, 11);
SELECT payment_ref, source_ref FROM charges WHERE payment_ref = 'pi_15';
-- The event that tells first, the refund, then the call.
SELECT reason, detail FROM deliver('evt_16a', 'checkout.session.completed', 5, session('16', '{"metadata": {}}'));
SELECT * FROM refunded('evt_16b', '16', 900, 10);
SELECT reason, credits, balance FROM apply_credit_purchase('16', 100, 'order-16', stripe_session_id => 'cs_16');
SELECT * FROM entries('16');
-- The event sells what a call has sold already: credited once, and what was refunded is undone with it.
SELECT reason, balance FROM apply_credit_purchase('17', 100, 'order-17', stripe_session_id => 'cs_17');
SELECT * FROM refunded('evt_17a', '17', 450, 10);
SELECT * FROM bought('17');
SELECT balance FROM credit_balance('17');
-- A refused call leaves no charge behind.
SELECT reason, detail FROM apply_credit_purchase('18', 0, 'order-18', source_ref => 'stripe:pi_18');
SELECT reason, detail FROM apply_credit_purchase('cus_stranger', 1, 'order-18', source_ref => 'stripe:pi_18');
SELECT count(*) AS charges FROM charges WHERE payment_ref = 'pi_18';

-- 10. In a batch as one by one, and what later operations spend they no longer find.
SELECT * FROM refunded('evt_19', '19', 900, 10);
SELECT reason, detail, credits, balance FROM apply_credit_batch('[
    {"op": "purchase", "user_id": "19", "credits": 100, "idempotency_key": "b-1", "source_ref": "stripe:pi_19"},
    {"op": "purchase", "user_id": "20", "credits": 100, "idempotency_key": "b-2", "source_ref": "stripe:pi_20"},
    {"op": "purchase", "user_id": "20", "credits": 100, "idempotency_key": "b-3", "source_ref": "stripe:pi_19"},
    {"op": "spend", "user_id": "19", "credits": 1, "idempotency_key": "b-4"},
    {"op": "spend", "user_id": "20", "credits": 30, "idempotency_key": "b-5"}]');
SELECT * FROM refunded('evt_20', '20', 900, 10);
SELECT * FROM entries('19');
SELECT * FROM entries('20');
-- By a session of which an event told the payment before.
SELECT reason, detail FROM deliver('evt_24a', 'checkout.session.completed', 5, session('24', '{"metadata": {}}'));
SELECT * FROM refunded('evt_24b', '24', 300, 10);
SELECT reason, balance FROM apply_credit_batch('[{"op": "purchase", "user_id": "24", "credits": 100, "idempotency_key": "b-6", "stripe_session_id": "cs_24"},
    {"op": "spend", "user_id": "24", "credits": 67, "idempotency_key": "b-7"}]');
SELECT * FROM entries('24');

-- 11. Objects that lack what it takes: the event fails, and is kept. A charge without a payment intent goes by its own id, which paid for nothing here.
SELECT n, answer.* FROM (VALUES
    (1, 'charge.refunded', '{"id": "ch_1"}'::jsonb),
    (2, 'charge.refunded', '{"id": "ch_1", "amount": 900}'),
    (3, 'charge.refunded', '{"id": "ch_1", "amount": 900, "amount_refunded": -1}'),
    (4, 'charge.refunded', '{"id": "ch_1", "amount": "900", "amount_refunded": 900}'),
    (5, 'charge.refunded', '{"id": "ch_1", "amount": 900, "amount_refunded": 4.5}'),
    (6, 'charge.refunded', '{"amount": 900, "amount_refunded": 900, "payment_intent": "pi_1"}'),
    (7, 'refund.failed', '{"id": "re_1", "amount": 900}'),
    (8, 'refund.failed', '{"id": "re_1", "charge": "ch_1"}'),
    (9, 'refund.updated', '{"amount": 900, "charge": "ch_1", "status": "failed"}'),
    (10, 'charge.refunded', '{"id": "ch_old", "amount": 900, "amount_refunded": 900}'),
    (11, 'refund.failed', '{"id": "re_old", "amount": 900, "charge": {"id": "ch_old"}}'),
    (12, 'refund.updated', '{"id": "re_old", "charge": "ch_old", "status": "pending"}')
) AS given (n, event_type, object), LATERAL answer(deliver('evt_odd_' || n, event_type, 1, object));
SELECT reason, detail FROM deliver('evt_undated', 'charge.refunded', NULL, '{"id": "ch_1", "amount": 1, "amount_refunded": 1}');
SELECT status, error_detail, count(*) FROM billing.webhook_events WHERE status <> 'completed' GROUP BY status, error_detail;
SELECT * FROM charges WHERE payment_ref LIKE 'ch%';
-- The payment intent as an object.
SELECT * FROM bought('21');
SELECT answer.* FROM answer(deliver('evt_21', 'charge.refunded', 1, '{"id": "ch_21", "amount": 900, "amount_refunded": 900, "payment_intent": {"id": "pi_21"}}'));
-- What comes back must fit into 64 bits.
SELECT * FROM bought('22');
SELECT * FROM refunded('evt_22a', '22', 900, 10);
SELECT reason FROM grant_credits('22', 9223372036854775800, 'huge');
SELECT * FROM refund('evt_22b', 'refund.failed', 're_22', '22', 900, 'failed', 11);
SELECT refunds FROM charges WHERE payment_ref = 'pi_22';
SELECT reason FROM spend_credits('22', 9223372036854775000, 'less');
SELECT * FROM refund('evt_22b', 'refund.failed', 're_22', '22', 900, 'failed', 11);

-- 12. In whatever order all this comes, it ends alike: 120 users, each with another order of the same five.
CREATE FUNCTION orders(things text[]) RETURNS SETOF text[] LANGUAGE sql AS $$
    WITH RECURSIVE chosen (done, left_over) AS (
        SELECT ARRAY[]::text[], things UNION ALL SELECT done || thing, array_remove(left_over, thing) FROM chosen, unnest(left_over) AS thing)
    SELECT done FROM chosen WHERE left_over = '{}'
$$;
CREATE PROCEDURE happens(thing text, n text) LANGUAGE plpgsql AS $$
BEGIN
    CASE thing
        WHEN 'bought' THEN PERFORM bought(n);
        WHEN 'called' THEN PERFORM apply_credit_purchase(n, 100, 'order-' || n, stripe_session_id => 'cs_' || n);
        WHEN 'tied' THEN PERFORM deliver('evt_' || n || '_tied', 'checkout.session.completed', 0, session(n, '{"metadata": {}}'));
        WHEN 'third' THEN PERFORM refunded('evt_' || n || '_third', n, 300, 10);
        WHEN 'half' THEN PERFORM refunded('evt_' || n || '_half', n, 450, 20);
        WHEN 'tenth failed' THEN PERFORM refund('evt_' || n || '_failed', 'refund.failed', 're_' || n, n, 90, 'failed', 30);
        WHEN 'told again' THEN PERFORM refund('evt_' || n || '_again', 'refund.updated', 're_' || n, n, 90, 'failed', 31);
    END CASE;
END
$$;
CREATE PROCEDURE happen(first_user int, things text[]) LANGUAGE plpgsql AS $$
DECLARE
    in_order text[];
    n int := first_user;
    thing text;
BEGIN
    FOR in_order IN SELECT orders(things) LOOP
        FOREACH thing IN ARRAY in_order LOOP CALL happens(thing, n::text); END LOOP;
        n := n + 1;
    END LOOP;
END
$$;
CALL happen(1000, '{bought,third,half,tenth failed,told again}');
CALL happen(2000, '{called,tied,third,half,tenth failed}');
SELECT legacy_id / 1000 AS thousand, balance, undone, count(*)
FROM billing.customers JOIN billing.balances USING (customer_id), LATERAL (SELECT sum(credits) AS undone FROM billing.ledger l WHERE l.customer_id = customers.customer_id AND kind = 'reversal') AS reversals
WHERE legacy_id >= 1000 GROUP BY 1, 2, 3 ORDER BY 1;

-- The books are right.
SELECT * FROM billing.reconcile();
