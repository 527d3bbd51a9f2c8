-- Disputes: while the funds are withdrawn, all that the payment bought is undone; once they are reinstated, it is as before.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: an event of Stripe's, signed and delivered, and its answer without what differs from run to run.
CREATE FUNCTION deliver(event_id text, event_type text, at int, object jsonb, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, (e.result ->> 'credits')::bigint, (e.result ->> 'balance')::bigint
    FROM (SELECT jsonb_build_object('id', event_id, 'type', event_type, 'livemode', false, 'created', 1700000000 + at,
        'data', jsonb_build_object('object', object))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
-- User n pays 9.00 EUR for 100 credits, by payment pi_n.
CREATE FUNCTION bought(n text, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT * FROM deliver('evt_' || n || '_bought', 'checkout.session.completed', 0,
        jsonb_build_object('id', 'cs_' || n, 'mode', 'payment', 'payment_status', 'paid', 'amount_total', 900, 'currency', 'eur',
            'payment_intent', 'pi_' || n, 'metadata', jsonb_build_object('credits', '100', 'user_id', n)))
$$;
-- The funds of dispute dp_x about payment pi_n: withdrawn, or reinstated.
CREATE FUNCTION funds(event_id text, done text, x text, n text, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT * FROM deliver(event_id, 'charge.dispute.funds_' || done, 0,
        jsonb_build_object('id', 'dp_' || x, 'object', 'dispute', 'amount', 900, 'charge', 'ch_' || n, 'payment_intent', 'pi_' || n))
$$;
CREATE FUNCTION refunded(event_id text, n text, minor bigint, at int, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT * FROM deliver(event_id, 'charge.refunded', at,
        jsonb_build_object('id', 'ch_' || n, 'amount', 900, 'amount_refunded', minor, 'payment_intent', 'pi_' || n))
$$;
CREATE FUNCTION entries(who text) RETURNS TABLE (kind text, credits bigint, balance bigint, shortfall bigint, undoes text, event text) LANGUAGE sql AS $$
    SELECT l.kind, l.credits, l.balance_after, l.shortfall, o.source_ref, l.event
    FROM billing.ledger l LEFT JOIN billing.ledger o ON o.entry_id = l.reverses
    WHERE l.customer_id = (resolve_billing_user(who)).customer_id ORDER BY l.entry_id
$$;

-- 1. Withdrawn: all is undone. Reinstated: all is back.
SELECT * FROM bought('1');
SELECT * FROM funds('evt_1a', 'withdrawn', '1', '1');
SELECT * FROM funds('evt_1b', 'reinstated', '1', '1');
SELECT * FROM entries('1');
SELECT payment_ref, source_ref, amount_minor, disputes FROM billing.charges;
-- Delivered again: replays. Told by other events: nothing changes, for a dispute once reinstated stays so.
SELECT * FROM funds('evt_1a', 'withdrawn', '1', '1');
SELECT * FROM funds('evt_1b', 'reinstated', '1', '1');
SELECT * FROM funds('evt_1c', 'withdrawn', '1', '1');
SELECT * FROM funds('evt_1d', 'reinstated', '1', '1');
SELECT balance FROM credit_balance('1');

-- 2. Reinstated comes first: the withdrawal after it has no effect.
SELECT * FROM bought('2');
SELECT * FROM funds('evt_2a', 'reinstated', '2', '2');
SELECT * FROM funds('evt_2b', 'withdrawn', '2', '2');
SELECT balance FROM credit_balance('2');

-- 3. Two disputes about one payment: the credits are away as long as either has the funds.
SELECT * FROM bought('3');
SELECT * FROM funds('evt_3a', 'withdrawn', '3a', '3');
SELECT * FROM funds('evt_3b', 'withdrawn', '3b', '3');
SELECT * FROM funds('evt_3c', 'reinstated', '3a', '3');
SELECT * FROM funds('evt_3d', 'reinstated', '3b', '3');
SELECT balance FROM credit_balance('3');

-- 4. After a refund the dispute takes the rest, and gives the rest back.
SELECT * FROM bought('4');
SELECT * FROM refunded('evt_4a', '4', 450, 10);
SELECT * FROM funds('evt_4b', 'withdrawn', '4', '4');
SELECT * FROM funds('evt_4c', 'reinstated', '4', '4');
SELECT balance FROM credit_balance('4');

-- 5. A refund after the dispute is noted, and counts when the funds are back.
SELECT * FROM bought('5');
SELECT * FROM funds('evt_5a', 'withdrawn', '5', '5');
SELECT * FROM refunded('evt_5b', '5', 300, 10);
SELECT * FROM funds('evt_5c', 'reinstated', '5', '5');
SELECT * FROM entries('5');
-- A full refund: there is nothing to give back.
SELECT * FROM bought('6');
SELECT * FROM funds('evt_6a', 'withdrawn', '6', '6');
SELECT * FROM refunded('evt_6b', '6', 900, 10);
SELECT * FROM funds('evt_6c', 'reinstated', '6', '6');
SELECT balance FROM credit_balance('6');

-- 6. What is spent meanwhile is the shortfall. It shrinks first, so who spent all gets nothing back twice.
SELECT * FROM bought('7');
SELECT reason, balance FROM spend_credits('7', 60, 'spend-7');
SELECT * FROM funds('evt_7a', 'withdrawn', '7', '7');
SELECT * FROM funds('evt_7b', 'reinstated', '7', '7');
SELECT * FROM entries('7');

-- 7. Before the purchase: remembered. The purchase comes and is undone; or the dispute was over by then.
SELECT * FROM funds('evt_8a', 'withdrawn', '8', '8');
SELECT * FROM bought('8');
SELECT balance FROM credit_balance('8');
SELECT * FROM funds('evt_8b', 'reinstated', '8', '8');
SELECT * FROM funds('evt_9a', 'reinstated', '9', '9');
SELECT * FROM bought('9');
SELECT * FROM funds('evt_9b', 'withdrawn', '9', '9');
SELECT balance FROM credit_balance('9');
-- By a call.
SELECT * FROM funds('evt_10a', 'withdrawn', '10', '10');
SELECT reason, credits, balance FROM apply_credit_purchase('10', 100, 'order-10', source_ref => 'stripe:pi_10');
SELECT * FROM entries('10');

-- 8. The other events of a dispute move no funds, and have no effect.
SELECT event_type, d.* FROM unnest('{created, updated, closed}'::text[]) AS happened (what), LATERAL (SELECT 'charge.dispute.' || what AS event_type) AS t,
    LATERAL deliver('evt_other_' || what, event_type, 0, '{"id": "dp_3a", "charge": "ch_3", "payment_intent": "pi_3", "status": "lost"}') AS d;
-- A dispute without an id, or about no payment; one about a charge that paid for nothing here, and its time is not needed.
SELECT n, d.reason, d.detail FROM (VALUES
    (1, '{"charge": "ch_1", "payment_intent": "pi_1"}'::jsonb), (2, '{"id": "dp_1"}'), (3, '{"id": " ", "charge": "ch_1"}'), (4, '{"id": "dp_old", "charge": "ch_old"}')
) AS given (n, object), LATERAL deliver('evt_odd_' || n, 'charge.dispute.funds_withdrawn', 0, object) AS d;
SELECT reason, detail FROM deliver('evt_undated', 'charge.dispute.funds_withdrawn', NULL, '{"id": "dp_1b", "charge": "ch_1", "payment_intent": "pi_1"}');
SELECT balance FROM credit_balance('1');

-- The books are right.
SELECT * FROM billing.reconcile();
