-- Webhooks: a signed event comes in, and what it says is done once.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;

-- For this page: a body as Stripe sends it, and its delivery, signed now.
CREATE FUNCTION body(event_id text, event_type text, object jsonb, more jsonb = '{}') RETURNS text LANGUAGE sql AS $$
    SELECT (jsonb_build_object('id', event_id, 'object', 'event', 'type', event_type, 'livemode', false, 'created', 1700000000,
        'api_version', '2025-03-31.basil', 'data', jsonb_build_object('object', object)) || more)::text
$$;
CREATE FUNCTION deliver(event_id text, event_type text, object jsonb, more jsonb = '{}') RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) FROM body(event_id, event_type, object, more) AS b
$$;
-- A paid session that buys credits; what is given replaces parts of it.
CREATE FUNCTION session(id text, parts jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', id, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid',
        'amount_subtotal', 1000, 'amount_total', 900, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '100')) || parts
$$;
CREATE FUNCTION checkout(event_id text, id text, parts jsonb = '{}') RETURNS event_outcome LANGUAGE sql AS $$
    SELECT deliver(event_id, 'checkout.session.completed', session(id, parts))
$$;
-- The endpoint as PostgREST calls it: the headers in a setting, the HTTP status in another one afterwards.
CREATE FUNCTION post(body text, signature text, OUT reason billing_reason, OUT detail text, OUT http text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('request.headers', json_build_object('stripe-signature', signature, 'content-type', 'application/json')::text, true);
    SELECT e.reason, e.detail INTO post.reason, post.detail FROM stripe_webhook(body::json) AS e;
    http := current_setting('response.status');
END
$$;
CREATE FUNCTION posted(event_id text, event_type text, object jsonb, more jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT http text) LANGUAGE sql AS $$
    SELECT p.* FROM body(event_id, event_type, object, more) AS b, post(b, billing.sign_stripe_payload(b, 'whsec_example')) AS p
$$;

-- 1. What is not authentic, or no event, is `invalid`: nothing is stored.
SELECT * FROM post('{}', 't=1,v1=00');
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
SELECT * FROM post('{}', NULL);
SELECT * FROM post('{}', '');
SELECT * FROM post('{}', 'v1=00');
SELECT * FROM post('{}', 't=1700000000,v1=00');
SELECT * FROM post('{}', billing.sign_stripe_payload('{}', 'whsec_other'));
SELECT * FROM post('{}', billing.sign_stripe_payload('{}', 'whsec_example', now() - interval '10 min'));
SELECT what, p.*
FROM (VALUES ('[]'), ('null'), ('7'), ('{}'), ('{"id": "evt_1"}'), ('{"id": "evt_1", "type": "x"}'), ('{"id": "evt_1", "type": "x", "data": {}}'),
    ('{"id": "evt_1", "type": "x", "data": {"object": []}}'), ('{"id": 1, "type": "x", "data": {"object": {}}}'),
    ('{"id": " ", "type": "x", "data": {"object": {}}}'), ('{"id": "evt_1", "type": null, "data": {"object": {}}}')) AS given (what),
    LATERAL post(what, billing.sign_stripe_payload(what, 'whsec_example')) AS p;
-- Other callers may hand in what is no JSON at all.
SELECT what, reason, detail
FROM (VALUES (''), ('not json'), ('{'), ('{"id": "evt_1",}')) AS given (what),
    LATERAL process_stripe_webhook(what, billing.sign_stripe_payload(what, 'whsec_example'));
SELECT reason, detail FROM process_stripe_webhook();
-- Size comes before everything.
SET billing_rpc.max_payload_bytes = 20;
SELECT * FROM post('{"id": "evt_too_large"}', 'x');
RESET billing_rpc.max_payload_bytes;
-- The endpoint without any header, called by no PostgREST.
SELECT reason, detail FROM stripe_webhook('{}');
SELECT reason, detail FROM stripe_webhook(NULL);
SELECT count(*) AS events, (SELECT count(*) FROM billing.customers) AS customers FROM billing.webhook_events;

-- 2. A paid checkout credits the user that it names, and links the session's cus_... to them.
SELECT applied, reason, detail, provider, event_id, event_type, status, attempts, claim_token, lease_until, result - 'customer_id' - 'entry_id' AS result
FROM checkout('evt_1', 'cs_1', '{"customer": "cus_7", "payment_intent": "pi_1", "metadata": {"credits": "100", "user_id": "7"}}');
SELECT kind, credits, balance, source_ref, idempotency_key FROM credit_history('7');
SELECT amount_minor, currency, event, livemode FROM billing.ledger;
SELECT found, kind FROM resolve_billing_user('cus_7');
SELECT provider, event_id, event_type, status, livemode, account_id, api_version, occurred_at, object_id, object_type, customer_code, attempts,
    processed_at >= received_at AS processed, error_message, payload_summary, payload, unsigned
FROM billing.webhook_events \gx

-- Delivered again: a replay, with the result of the first time.
SELECT applied, reason, detail, status, attempts, result - 'customer_id' - 'entry_id' AS result
FROM checkout('evt_1', 'cs_1', '{"customer": "cus_7", "payment_intent": "pi_1", "metadata": {"credits": "100", "user_id": "7"}}');
-- What counts is the event's identity, not what it says the second time.
SELECT reason FROM checkout('evt_1', 'cs_other', '{"metadata": {"credits": "999", "user_id": "8"}}');
SELECT balance FROM credit_balance('7');

-- 3. One session is credited once: by another event id, by another user's name, by a call.
SELECT reason, detail, status FROM checkout('evt_2', 'cs_1', '{"customer": "cus_7", "payment_intent": "pi_1", "metadata": {"credits": "100", "user_id": "7"}}');
SELECT reason, detail, status FROM checkout('evt_3', 'cs_1', '{"metadata": {"credits": "100", "user_id": "1000"}}');
SELECT found FROM resolve_billing_user('1000');
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', stripe_session_id => 'cs_1');
-- The event told that session and payment are one fact.
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', source_ref => 'stripe:pi_1');
-- A call first, the event after it: by the session, and by the payment.
SELECT reason FROM apply_credit_purchase('7', 50, 'order-2', stripe_session_id => 'cs_2');
SELECT reason, detail FROM checkout('evt_4', 'cs_2', '{"payment_intent": "pi_2", "metadata": {"credits": "50", "user_id": "7"}}');
SELECT reason, detail FROM apply_credit_purchase('7', 50, 'order-3', source_ref => 'stripe:pi_2');
SELECT reason FROM apply_credit_purchase('7', 50, 'order-4', source_ref => 'stripe:pi_3');
SELECT reason, detail FROM checkout('evt_5', 'cs_3', '{"payment_intent": {"id": "pi_3", "object": "payment_intent"}, "metadata": {"credits": "50", "user_id": "7"}}');
SELECT balance FROM credit_balance('7');
SELECT payment_ref, source_ref FROM billing.charges ORDER BY payment_ref;

-- 4. Payment: not paid is not yet. async_payment_succeeded brings it later.
SELECT reason, detail, status FROM checkout('evt_6', 'cs_4', '{"payment_status": "unpaid", "metadata": {"credits": "10", "user_id": "9"}}');
SELECT found FROM resolve_billing_user('9');
SELECT reason, detail FROM deliver('evt_7', 'checkout.session.async_payment_succeeded', session('cs_4', '{"metadata": {"credits": "10", "user_id": "9"}}'));
SELECT reason, detail FROM deliver('evt_8', 'checkout.session.async_payment_succeeded', session('cs_4', '{"metadata": {"credits": "10", "user_id": "9"}}'));
SELECT reason, detail FROM checkout('evt_9', 'cs_5', '{"payment_status": "no_payment_required", "amount_total": 0, "metadata": {"credits": "1", "user_id": "9"}}');
SELECT balance FROM credit_balance('9');

-- 5. What it buys: only mode payment with credits, a positive integer as text or number.
SELECT metadata, reason, detail
FROM (VALUES ('{}', 1), ('{"credits": ""}', 2), ('{"credits": "0"}', 3), ('{"credits": "-5"}', 4), ('{"credits": "1.5"}', 5), ('{"credits": " 5"}', 6),
    ('{"credits": 1.5}', 7), ('{"credits": null}', 8), ('{"credits": "9223372036854775808"}', 9), ('{"credits": 5}', 10), ('{"credits": "5"}', 11)) AS given (metadata, n),
    LATERAL checkout('evt_buys_' || n, 'cs_buys_' || n, jsonb_build_object('metadata', metadata::jsonb || '{"user_id": "10"}'));
SELECT balance FROM credit_balance('10');
-- A merchant sells other things as well: nobody is made, and nothing linked.
SELECT reason, detail FROM checkout('evt_10', 'cs_6', '{"customer": "cus_11", "client_reference_id": "11", "metadata": {}}');
SELECT found FROM resolve_billing_user('11');
-- A pack that is not defined is a failure, to be tried again once it is.
SELECT reason, detail, status FROM checkout('evt_11', 'cs_7', '{"metadata": {"pack": "small", "credits": "5", "user_id": "10"}}');
-- A subscription or setup session links only.
SELECT reason, detail FROM checkout('evt_12', 'cs_8', '{"mode": "subscription", "customer": "cus_12", "metadata": {"credits": "5", "user_id": "12"}}');
SELECT balance FROM credit_balance('cus_12');
SELECT reason, detail FROM checkout('evt_13', 'cs_9', '{"mode": "setup", "customer": "cus_12", "client_reference_id": "12", "metadata": null}');
SELECT reason, detail FROM checkout('evt_14', 'cs_10', '{"mode": "setup", "customer": "cus_13", "customer_details": {"email": "x@example.com"}, "metadata": {}}');
SELECT reason, detail FROM checkout('evt_15', 'cs_11', '{"mode": "setup", "client_reference_id": "12"}');

-- 6. Whose it is: the first usable of metadata.user_id, client_reference_id, a known customer, the e-mail.
SELECT n, reason, detail
FROM (VALUES
    (1, '{"metadata": {"credits": "1", "user_id": "20"}, "client_reference_id": "21", "customer": "cus_7", "customer_details": {"email": "x@example.com"}}'::jsonb),
    (2, '{"metadata": {"credits": "1", "user_id": 20}}'),
    (3, '{"metadata": {"credits": "1", "user_id": "{{user_id}}"}, "client_reference_id": "21", "customer": "cus_21"}'),
    (4, '{"metadata": {"credits": "1", "user_id": ""}, "client_reference_id": "not a user", "customer": "cus_7"}'),
    (5, '{"metadata": {"credits": "1", "user_id": "undefined"}, "customer": {"id": "cus_7", "object": "customer"}}'),
    (6, '{"metadata": {"credits": "1"}, "customer": "cus_stranger", "customer_details": {"email": "Guest@Example.com"}}'),
    (7, '{"metadata": {"credits": "1"}, "customer": null, "customer_details": {"email": "guest@example.com"}}')
) AS given (n, parts), LATERAL checkout('evt_whose_' || n, 'cs_whose_' || n, parts);
SELECT source_ref, coalesce(legacy_id::text, email) AS whose FROM billing.ledger JOIN billing.customers USING (customer_id)
WHERE source_ref LIKE '%cs_whose%' ORDER BY entry_id;
-- An e-mail names who is credited, and links nothing.
SELECT found FROM resolve_billing_user('cus_stranger');
SELECT balance FROM credit_balance('guest@example.com');
-- The named user's cus_... is linked.
SELECT legacy_id FROM billing.customers WHERE stripe_customer_id = 'cus_21';
-- A further one becomes an alias: a guest checkout makes a new one each time.
SELECT reason, detail FROM checkout('evt_16', 'cs_12', '{"customer": "cus_7_guest", "metadata": {"credits": "1", "user_id": "7"}}');
SELECT code FROM billing.customer_aliases;
-- A cus_... that belongs to somebody else stays there; the credits go to whom the session names.
SELECT reason, detail, status FROM checkout('evt_17', 'cs_13', '{"customer": "cus_7", "metadata": {"credits": "1", "user_id": "22"}}');
SELECT reason, detail, status FROM checkout('evt_18', 'cs_14', '{"mode": "subscription", "customer": "cus_7_guest", "metadata": {"user_id": "22"}}');
SELECT balance FROM credit_balance('22');
SELECT legacy_id FROM billing.customers WHERE stripe_customer_id = 'cus_7';

-- 7. Nobody usable: the event fails, and waits for its cus_... to be linked. Its body is kept till then.
SELECT * FROM posted('evt_20', 'checkout.session.completed', session('cs_20', '{"customer": "cus_30", "metadata": {"credits": "30"}}'));
SELECT * FROM posted('evt_21', 'checkout.session.completed', session('cs_21', '{"customer": "cus_30", "metadata": {"credits": "5", "user_id": "null"}}'));
SELECT * FROM posted('evt_22', 'checkout.session.completed', session('cs_22', '{"metadata": {"credits": "5"}}'));
SELECT event_id, status, attempts, customer_code, error_detail, error_message, payload IS NOT NULL AS kept, next_attempt_at > received_at AS due_later
FROM billing.webhook_events WHERE status = 'failed' ORDER BY event_id;
-- Linking the code processes what waits for it, in the same call.
SELECT reason FROM register_billing_user(legacy_id => 30, stripe_customer_id => 'cus_30');
SELECT credits, balance, source_ref FROM credit_history('30');
SELECT event_id, status, attempts, customer_code, error_detail, error_message, payload IS NOT NULL AS kept, result ->> 'reason' AS reason
FROM billing.webhook_events WHERE event_id IN ('evt_20', 'evt_21', 'evt_22') ORDER BY event_id;
SELECT * FROM posted('evt_20', 'checkout.session.completed', session('cs_20', '{"customer": "cus_30", "metadata": {"credits": "30"}}'));
-- An alias does the same, and so does another session's link.
SELECT reason, detail FROM checkout('evt_23', 'cs_23', '{"customer": "cus_30_guest", "metadata": {"credits": "7"}}');
SELECT reason, detail FROM checkout('evt_24', 'cs_24', '{"customer": "cus_30_guest", "metadata": {"credits": "1", "user_id": "30"}}');
SELECT credits, balance, source_ref FROM credit_history('30', 2);
-- A failed event that is delivered again is simply tried again.
SELECT reason, detail, attempts FROM checkout('evt_25', 'cs_25', '{"customer": "cus_31", "metadata": {"credits": "7"}}');
SELECT reason, detail, attempts FROM checkout('evt_25', 'cs_25', '{"customer": "cus_31", "metadata": {"credits": "7"}}');
SELECT reason FROM register_billing_user(legacy_id => 31, stripe_customer_id => 'cus_31');
SELECT balance FROM credit_balance('31');

-- 8. What cannot be done is undone as a whole: no credits, no link, no customer.
SELECT reason, detail FROM grant_credits('40', 9223372036854775807, 'full');
SELECT reason, detail, status FROM checkout('evt_30', 'cs_30', '{"customer": "cus_40", "metadata": {"credits": "1", "user_id": "40"}}');
SELECT found FROM resolve_billing_user('cus_40');
SELECT parts, reason, detail
FROM (VALUES ('{"amount_total": "x"}'::jsonb, 1), ('{"amount_total": -1}', 2), ('{"currency": "euro"}', 3), ('{"currency": null}', 4), ('{"id": "pi_1"}', 5)) AS given (parts, n),
    LATERAL checkout('evt_odd_' || n, 'cs_odd_' || n, '{"metadata": {"credits": "1", "user_id": "41"}}'::jsonb || parts);
SELECT found FROM resolve_billing_user('41');

-- 9. Types that are not handled are recorded and acknowledged; a thin event carries no object.
SELECT * FROM posted('evt_40', 'product.created', '{"id": "prod_1", "object": "product"}');
SELECT * FROM posted('evt_40', 'product.created', '{"id": "prod_1", "object": "product"}');
SELECT reason, detail, status, attempts, result FROM deliver('evt_41', 'product.created', '{"id": "prod_1", "object": "product"}');
SELECT reason, detail, status
FROM (VALUES ('{"id": "evt_42", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered"}')) AS given (b),
    LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example'));
SELECT event_id, status, payload, payload_summary FROM billing.webhook_events WHERE event_id IN ('evt_40', 'evt_42') ORDER BY event_id;

-- 10. Connected accounts (Stripe Connect) are signed with the platform's secret: only those that are allowed count.
SELECT * FROM posted('evt_50', 'checkout.session.completed', session('cs_50', '{"metadata": {"credits": "1", "user_id": "50"}}'), '{"account": "acct_1"}');
SELECT billing.allow_account('acct_1');
SELECT * FROM posted('evt_51', 'checkout.session.completed', session('cs_51', '{"metadata": {"credits": "1", "user_id": "50"}}'), '{"account": "acct_1"}');
SELECT * FROM posted('evt_52', 'checkout.session.completed', session('cs_52', '{"metadata": {"credits": "1", "user_id": "50"}}'), '{"account": "acct_2"}');
-- What was ignored stays so.
SELECT * FROM posted('evt_50', 'checkout.session.completed', session('cs_50', '{"metadata": {"credits": "1", "user_id": "50"}}'), '{"account": "acct_1"}');
SELECT billing.allow_account('acct_1', false);
SELECT * FROM posted('evt_53', 'checkout.session.completed', session('cs_53', '{"metadata": {"credits": "1", "user_id": "50"}}'), '{"account": "acct_1"}');
SELECT event_id, account_id, status FROM billing.webhook_events WHERE account_id IS NOT NULL ORDER BY event_id;
SELECT billing.allow_account(' ');
SELECT billing.allow_account();
\echo :LAST_ERROR_SQLSTATE

-- 11. Modes: both are accepted, unless the setting says which.
SELECT mode, livemode, reason, detail
FROM (VALUES ('any', 'true'), ('any', 'false'), ('live', 'true'), ('live', 'false'), ('test', 'true'), ('test', 'false'), ('test', 'null')) AS given (mode, livemode),
    LATERAL set_config('billing_rpc.accepted_mode', mode, false) AS setting,
    LATERAL deliver('evt_mode_' || setting || livemode, 'checkout.session.completed',
        session('cs_mode_' || mode || livemode, '{"metadata": {"credits": "1", "user_id": "60"}}'), jsonb_build_object('livemode', livemode::jsonb));
RESET billing_rpc.accepted_mode;
SELECT livemode, count(*) FROM billing.ledger WHERE customer_id = (SELECT customer_id FROM resolve_billing_user('60')) GROUP BY livemode ORDER BY livemode;

-- 12. How long the body is kept. until_completed, the default, was shown above: only unfinished events hold it.
SET billing_rpc.payload_retention = 'always';
SELECT * FROM posted('evt_70', 'checkout.session.completed', session('cs_70', '{"metadata": {"credits": "1", "user_id": "70"}}'));
SELECT * FROM posted('evt_71', 'product.created', '{"id": "prod_1"}');
SELECT * FROM posted('evt_72', 'checkout.session.completed', session('cs_72', '{"metadata": {"credits": "1"}}'));
-- Without a body there is nothing to try again with: Stripe is asked (500) to deliver it again.
SET billing_rpc.payload_retention = 'none';
SELECT * FROM posted('evt_73', 'checkout.session.completed', session('cs_73', '{"metadata": {"credits": "1", "user_id": "70"}}'));
SELECT * FROM posted('evt_74', 'product.created', '{"id": "prod_1"}');
SELECT * FROM posted('evt_75', 'checkout.session.completed', session('cs_75', '{"customer": "cus_75", "metadata": {"credits": "1"}}'));
SELECT event_id, status, payload IS NOT NULL AS kept FROM billing.webhook_events WHERE event_id LIKE 'evt_7_' ORDER BY event_id;
SELECT reason FROM register_billing_user(legacy_id => 75, stripe_customer_id => 'cus_75');
SELECT balance FROM credit_balance('75');
SELECT * FROM posted('evt_75', 'checkout.session.completed', session('cs_75', '{"customer": "cus_75", "metadata": {"credits": "1"}}'));
RESET billing_rpc.payload_retention;

-- 13. Claimed elsewhere: come again (409). Dead: kept here (200), or not (500).
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_80', 'checkout.session.completed') \gset
SELECT * FROM posted('evt_80', 'checkout.session.completed', session('cs_80', '{"metadata": {"credits": "1", "user_id": "80"}}'));
SELECT reason FROM fail_stripe_event('evt_80', :'token', 'handed over');
SELECT * FROM posted('evt_80', 'checkout.session.completed', session('cs_80', '{"metadata": {"credits": "1", "user_id": "80"}}'));
SET billing_rpc.max_attempts = 1;
SELECT * FROM posted('evt_81', 'checkout.session.completed', session('cs_81', '{"metadata": {"credits": "1"}}'));
SELECT * FROM posted('evt_81', 'checkout.session.completed', session('cs_81', '{"metadata": {"credits": "1"}}'));
SELECT claim_token AS token FROM claim_stripe_event('evt_82', 'checkout.session.completed') \gset
SELECT reason, status FROM fail_stripe_event('evt_82', :'token', 'given up');
SELECT * FROM posted('evt_82', 'checkout.session.completed', session('cs_82', '{"metadata": {"credits": "1", "user_id": "80"}}'));
RESET billing_rpc.max_attempts;
SELECT reason, status FROM billing.revive_event('stripe', 'evt_82');
SELECT * FROM posted('evt_82', 'checkout.session.completed', session('cs_82', '{"metadata": {"credits": "1", "user_id": "80"}}'));
SELECT balance FROM credit_balance('80');

-- 14. Odd JSON is answered, never an error: duplicate keys, deep nesting, huge numbers, unpaired surrogates.
SELECT n, reason, detail
FROM (VALUES
    (1, '{"id": "evt_90", "id": "evt_91", "type": "x", "type": "y", "data": {"object": {}}}'),
    (2, '{"id": "evt_92", "type": "x", "data": {"object": {"deep": ' || repeat('[', 5000) || repeat(']', 5000) || '}}}'),
    (3, '{"id": "evt_93", "type": "x", "created": 1e400, "data": {"object": {"n": 1e99999}}}'),
    (4, '{"id": "evt_94", "type": "x", "data": {"object": {"name": "\ud800"}}}'),
    (5, '{"id": "evt_\ud800", "type": "x", "data": {"object": {}}}'),
    (6, '{"id": "evt_95\u0000", "type": "x", "data": {"object": {}}}'),
    (7, '{"id": "evt_96", "type": "checkout.session.completed", "data": {"object": {"id": "cs_96", "mode": "payment", "payment_status": "paid",
        "metadata": {"credits": "1", "credits": "2", "user_id": "96", "deep": ' || repeat('{"a":', 5000) || '1' || repeat('}', 5000) || '}, "amount_discount": 1e99999, "name": "\ud800"}}}'),
    (8, '{"id": "evt_97", "type": "checkout.session.completed", "data": {"object": {"id": "cs_97", "mode": "payment", "payment_status": "paid",
        "amount_total": 1e99999, "currency": "eur", "metadata": {"credits": "1", "user_id": "97"}}}}'),
    (9, '{"id": "evt_98", "type": "checkout.session.completed", "data": {"object": {"id": "cs_98", "mode": "payment", "payment_status": "paid",
        "metadata": {"credits": "1", "user_id": "9\u00008", "pack": null}}}}')
) AS given (n, what), LATERAL process_stripe_webhook(what, billing.sign_stripe_payload(what, 'whsec_example'));

-- 15. After all that: no personal data but in the bodies of events that are still open, and the books are right.
SELECT count(*) AS with_an_address FROM (SELECT e::text AS row FROM (SELECT event_id, payload_summary, result, error_message FROM billing.webhook_events) AS e) AS rows WHERE row LIKE '%@%';
SELECT status, count(*), count(*) FILTER (WHERE payload IS NOT NULL) AS with_body FROM billing.webhook_events GROUP BY status ORDER BY status;
SELECT count(*) AS wrong FROM billing.balances AS b
WHERE balance <> (SELECT sum(credits) FROM billing.ledger AS l WHERE (l.customer_id, l.credit_type) = (b.customer_id, b.credit_type));
