-- Checkout sessions: what each kind of session and each of their events comes to.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: an event about a session, signed and delivered. What is given replaces parts of a paid session that buys 100 credits.
CREATE FUNCTION told(event_id text, what text, session_id text, parts jsonb = '{}',
    OUT reason billing_reason, OUT detail text, OUT status text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.status, (e.result ->> 'credits')::bigint, (e.result ->> 'balance')::bigint
    FROM (SELECT jsonb_build_object('id', event_id, 'type', 'checkout.session.' || what, 'livemode', false, 'created', 1700000000,
        'data', jsonb_build_object('object', jsonb_build_object('id', session_id, 'object', 'checkout.session', 'mode', 'payment',
            'payment_status', 'paid', 'amount_total', 900, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '100')) || parts))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
CREATE FUNCTION buys(user_id text) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('metadata', jsonb_build_object('credits', '100', 'user_id', user_id)) $$;
CREATE VIEW people AS
    SELECT c.legacy_id, c.email, c.stripe_customer_id, (SELECT string_agg(a.code, ' ' ORDER BY a.code) FROM billing.customer_aliases a WHERE a.customer_id = c.customer_id) AS aliases,
        (SELECT b.balance FROM billing.balances b WHERE b.customer_id = c.customer_id) AS balance
    FROM billing.customers c ORDER BY c.created_at;

-- 1. Paid when it is completed: credited. The ledger keeps what was paid.
SELECT * FROM told('evt_1', 'completed', 'cs_1', buys('1'));
SELECT kind, credits, amount_minor, currency, source_ref, idempotency_key, event, livemode FROM billing.ledger;

-- 2. Not paid yet: nobody is made, nothing linked. Then the money arrives.
SELECT * FROM told('evt_2a', 'completed', 'cs_2', '{"payment_status": "unpaid", "customer": "cus_2"}' || buys('2'));
SELECT * FROM people WHERE legacy_id = 2;
SELECT * FROM told('evt_2b', 'async_payment_succeeded', 'cs_2', '{"customer": "cus_2"}' || buys('2'));
SELECT * FROM people WHERE legacy_id = 2;
-- The two in the other order: once all the same.
SELECT * FROM told('evt_3a', 'async_payment_succeeded', 'cs_3', buys('3'));
SELECT * FROM told('evt_3b', 'completed', 'cs_3', '{"payment_status": "unpaid"}' || buys('3'));
SELECT * FROM told('evt_3c', 'completed', 'cs_3', buys('3'));

-- 3. The money never arrives, or nobody finishes the session: acknowledged, whatever the session says of itself.
SELECT * FROM told('evt_4a', 'async_payment_failed', 'cs_4', '{"payment_status": "unpaid"}' || buys('4'));
SELECT * FROM told('evt_4b', 'async_payment_failed', 'cs_4', buys('4'));
SELECT * FROM told('evt_4c', 'expired', 'cs_4', '{"payment_status": "unpaid"}' || buys('4'));
SELECT * FROM told('evt_4d', 'expired', 'cs_4', buys('4'));
-- Nor does a type of tomorrow count.
SELECT * FROM told('evt_4e', 'rewound', 'cs_4', buys('4'));
SELECT found FROM resolve_billing_user('4');

-- 4. No payment required: a voucher for the whole. That counts as paid; anything but these two words does not.
SELECT * FROM told('evt_5', 'completed', 'cs_5', '{"payment_status": "no_payment_required", "amount_total": 0}' || buys('5'));
SELECT payment_status, t.* FROM unnest('{unpaid,PAID,"",null}'::text[]) WITH ORDINALITY AS s (payment_status, n),
    LATERAL told('evt_5_' || n, 'completed', 'cs_5_' || n, jsonb_build_object('payment_status', payment_status) || buys('5')) AS t;

-- 5. One session under two event ids, and the other events of a session that is credited: once. Who is named only the second time is not made.
SELECT * FROM told('evt_6a', 'completed', 'cs_6', buys('6'));
SELECT * FROM told('evt_6b', 'completed', 'cs_6', buys('6'));
SELECT * FROM told('evt_6c', 'completed', 'cs_6', '{"customer": "cus_6b", "metadata": {"credits": "7", "user_id": "60"}}');
SELECT found FROM resolve_billing_user('60');
SELECT * FROM told('evt_6d', 'expired', 'cs_6', buys('6'));
SELECT balance FROM credit_balance('6');
-- The second time may still link, where it names somebody who is known.
SELECT * FROM told('evt_6e', 'completed', 'cs_6', '{"customer": "cus_6"}' || buys('6'));
SELECT * FROM people WHERE legacy_id = 6;

-- 6. An event and a call, in either order: credited once, by the session and by the payment.
SELECT reason, balance FROM apply_credit_purchase('7', 100, 'order-7', stripe_session_id => 'cs_7', amount_minor => 900, currency => 'eur');
SELECT * FROM told('evt_7', 'completed', 'cs_7', '{"payment_intent": "pi_7"}' || buys('7'));
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-7b', source_ref => 'stripe:pi_7');
SELECT * FROM told('evt_8', 'completed', 'cs_8', '{"payment_intent": "pi_8"}' || buys('8'));
SELECT reason, detail, balance FROM apply_credit_purchase('8', 100, 'order-8', stripe_session_id => 'cs_8', source_ref => 'stripe:cs_8');
SELECT reason, detail FROM apply_credit_purchase('8', 100, 'order-8', source_ref => 'stripe:pi_8');
SELECT reason, balance FROM apply_credit_purchase('9', 100, 'order-9', source_ref => 'stripe:pi_9');
SELECT * FROM told('evt_9', 'completed', 'cs_9', '{"payment_intent": "pi_9"}' || buys('9'));
SELECT reason, detail FROM apply_credit_purchase('9', 100, 'order-9b', stripe_session_id => 'cs_9');
SELECT payment_ref, source_ref FROM billing.charges ORDER BY payment_ref;
-- The key that the extension derives for a session is nobody else's.
SELECT reason, detail FROM apply_credit_purchase('8', 100, 'billing_rpc:stripe:cs_8');

-- 7. Sessions that sell other things: mode payment without credits. They link nobody, but tie the payment to the session, for the case that a call credits it.
SELECT * FROM told('evt_10', 'completed', 'cs_10', '{"customer": "cus_10", "client_reference_id": "10", "payment_intent": "pi_10", "metadata": {"order": "book"}}');
SELECT found FROM resolve_billing_user('10');
SELECT payment_ref, source_ref FROM billing.charges WHERE payment_ref = 'pi_10';
SELECT reason, detail FROM apply_credit_purchase('10', 5, 'order-10', source_ref => 'stripe:pi_10');
SELECT reason, detail FROM apply_credit_purchase('10', 5, 'order-10b', stripe_session_id => 'cs_10');
-- An unknown mode is none that buys.
SELECT mode, t.* FROM unnest('{donation,"",null}'::text[]) WITH ORDINALITY AS m (mode, n),
    LATERAL told('evt_11_' || n, 'completed', 'cs_11_' || n, jsonb_build_object('mode', mode) || buys('11')) AS t;

-- 8. Modes subscription and setup link only, whatever the metadata says of credits; nothing to link, or linked already, is no failure.
SELECT n, t.reason, t.detail FROM (VALUES
    (1, '{"mode": "subscription", "customer": "cus_12", "metadata": {"credits": "100", "user_id": "12"}}'::jsonb),
    (2, '{"mode": "setup", "payment_status": "no_payment_required", "customer": "cus_12", "client_reference_id": "12", "metadata": {}}'),
    (3, '{"mode": "subscription", "customer": "cus_13", "metadata": {}}'),
    (4, '{"mode": "subscription", "customer": "cus_13", "customer_details": {"email": "ada@example.com"}, "metadata": {}}'),
    (5, '{"mode": "subscription", "client_reference_id": "13", "metadata": {}}'),
    (6, '{"mode": "subscription", "payment_status": "unpaid", "customer": "cus_13", "metadata": {"user_id": "13"}}'),
    (7, '{"mode": "setup", "customer": "cus_12", "metadata": {"user_id": "14"}}'),
    (8, '{"mode": "setup", "customer": "cus_12_more", "client_reference_id": "12"}'),
    (9, '{"mode": "setup", "customer": "not a code", "client_reference_id": "12"}')
) AS given (n, parts), LATERAL told('evt_12_' || n, 'completed', 'cs_12_' || n, parts) AS t;
SELECT * FROM people WHERE stripe_customer_id LIKE 'cus_1%' OR legacy_id IN (13, 14) OR email IS NOT NULL;

-- 9. A guest checkout makes a new cus_... each time: a further one is an alias, and finds the customer as the first does.
SELECT * FROM told('evt_15a', 'completed', 'cs_15a', '{"customer": "cus_15"}' || buys('15'));
SELECT * FROM told('evt_15b', 'completed', 'cs_15b', '{"customer": "cus_15_guest"}' || buys('15'));
SELECT * FROM told('evt_15c', 'completed', 'cs_15c', '{"customer": "cus_15_guest"}');
SELECT * FROM people WHERE legacy_id = 15;

-- 10. A cus_... that belongs to somebody else stays there: the purchase is applied to whom it names, and says so. Also for somebody new.
SELECT * FROM told('evt_16a', 'completed', 'cs_16a', '{"customer": "cus_15"}' || buys('1'));
SELECT * FROM told('evt_16b', 'completed', 'cs_16b', '{"customer": "cus_15_guest"}' || buys('16'));
SELECT * FROM people WHERE legacy_id IN (1, 15, 16);
-- Anyone can set client_reference_id in a payment link's URL; it decides after metadata.user_id.
SELECT * FROM told('evt_16c', 'completed', 'cs_16c', '{"client_reference_id": "15"}' || buys('16'));
SELECT * FROM told('evt_16d', 'completed', 'cs_16d', '{"client_reference_id": "16", "customer": "cus_15"}');

-- 11. A session without a proper id cannot be credited; where it buys nothing, the id is not needed.
SELECT n, t.* FROM (VALUES
    (1, '{"id": "in_1"}'::jsonb), (2, '{"id": null}'), (3, '{"id": "cs_"}'), (4, '{"id": "cs_a b"}'), (5, '{"id": "in_1", "metadata": {}}'), (6, '{"id": "cs_17", "payment_intent": "p i"}')
) AS given (n, parts), LATERAL told('evt_17_' || n, 'completed', 'cs_x', buys('17') || parts) AS t;
SELECT source_ref, payment_ref FROM billing.ledger WHERE customer_id = (SELECT customer_id FROM resolve_billing_user('17'));

-- The books are right.
SELECT * FROM billing.reconcile();
