-- Looking at the events: views for operators; purging what is done; customers made, changed and deleted at Stripe.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'), billing.add_webhook_secret('paystack', 'sk_test_example'); END $$;

-- For this page: an event of Stripe's, signed and delivered.
CREATE FUNCTION told(n text, event_type text, object jsonb, OUT reason billing_reason, OUT detail text, OUT status text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.status FROM (SELECT jsonb_build_object('id', 'evt_' || n, 'type', event_type, 'livemode', false, 'created', 1700000000, 'data', jsonb_build_object('object', object))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
CREATE FUNCTION checkout(n text, parts jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT status text) LANGUAGE sql AS $$
    SELECT * FROM told(n, 'checkout.session.completed', jsonb_build_object('id', 'cs_' || n, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid',
        'amount_total', 100, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '10', 'user_id', '1')) || parts)
$$;

-- 1. Some of each: completed, failed, dead, recorded, claimed.
SELECT * FROM checkout('1');
SELECT * FROM told('2', 'product.created', '{"id": "prod_1", "object": "product"}');
SELECT * FROM checkout('3', '{"customer": "cus_3", "metadata": {"credits": "10"}}');
SET billing_rpc.max_attempts = 1;
SELECT * FROM checkout('4', '{"metadata": {"pack": "never", "user_id": "1"}}');
RESET billing_rpc.max_attempts;
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM checkout('5');
RESET billing_rpc.webhook_mode;
SELECT reason FROM claim_stripe_event('evt_6', 'invoice.paid', '{"object_id": "in_1", "object_type": "invoice", "amount": 900, "email": "ada@example.com"}');
SELECT reason FROM claim_webhook_event('other', 'evt_1', 'ping');
SELECT reason FROM process_paystack_webhook('{"event":"x","data":{}}', billing.sign_paystack_payload('{"event":"x","data":{}}', 'sk_test_example'));

-- 2. How many, by provider and status.
SELECT provider, status, events, first_received_at <= last_received_at AS in_order, last_received_at <= clock_timestamp() AS dated FROM billing.event_status_counts ORDER BY provider, status;

-- 3. What failed, and why; what is tried again, and when; whether the body is here to do so.
SELECT provider, event_id, event_type, status, attempts, error_detail, error_message, next_attempt_at > received_at AS due_later, payload_kept, customer_code FROM billing.failed_events ORDER BY event_id;

-- 4. What nobody takes care of: nothing, yet.
SELECT * FROM billing.stuck_events;
-- A claim whose owner never came back, and events that have been due for more than ten minutes.
UPDATE billing.webhook_events SET lease_until = now() - interval '1 second' WHERE event_id = 'evt_6';
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '9 minutes' WHERE event_id = 'evt_3';
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '11 minutes' WHERE event_id = 'evt_5';
SELECT provider, event_id, event_type, status, attempts, stuck_since < now() AS since, problem FROM billing.stuck_events ORDER BY event_id;
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '11 minutes' WHERE event_id = 'evt_3';
SELECT event_id, problem FROM billing.stuck_events ORDER BY event_id;
-- Failed, and due, but without a body there is nobody here who could do it.
UPDATE billing.webhook_events SET payload = NULL WHERE event_id = 'evt_3';
SELECT event_id, problem FROM billing.stuck_events ORDER BY event_id;
-- A claim of which the body is kept is named once.
UPDATE billing.webhook_events SET payload = '{}', next_attempt_at = lease_until WHERE event_id = 'evt_6';
SELECT event_id, problem FROM billing.stuck_events ORDER BY event_id;

-- 5. Stripe's events by the column names that handlers of one's own use. Of a summary that somebody gives, only these four are kept.
SELECT event_id, event_type, received_at <= clock_timestamp() AS received, processed_at >= received_at AS processed, processing_status, error_message, payload_summary FROM billing.stripe_events ORDER BY event_id;

-- 6. Credits in total, of everybody together.
SELECT * FROM billing.credit_totals;

-- 7. Monitors read all of these, and no body.
SET ROLE billing_monitor;
SELECT (SELECT count(*) FROM billing.event_status_counts) > 0 AS counts, (SELECT count(*) FROM billing.failed_events) > 0 AS failed, (SELECT count(*) FROM billing.stuck_events) > 0 AS stuck,
    (SELECT count(*) FROM billing.stripe_events) > 0 AS stripe, (SELECT count(*) FROM billing.credit_totals) > 0 AS totals;
SELECT payload FROM billing.webhook_events;
RESET ROLE;

-- 8. Purging: bodies and results of what was completed long enough ago are dropped, the events themselves never.
SET billing_rpc.payload_retention = 'always';
SELECT * FROM checkout('10');
SELECT * FROM checkout('11');
SELECT * FROM checkout('12');
SELECT * FROM checkout('13', '{"metadata": {"pack": "never", "user_id": "1"}}');
RESET billing_rpc.payload_retention;
UPDATE billing.webhook_events SET received_at = received_at - interval '91 days', processed_at = processed_at - interval '91 days' WHERE event_id IN ('evt_1', 'evt_2', 'evt_4', 'evt_5', 'evt_10', 'evt_11', 'evt_13');
CREATE VIEW kept AS SELECT provider, event_id, status, payload IS NOT NULL AS body, result IS NOT NULL AS result FROM billing.webhook_events ORDER BY provider, event_id;
SELECT * FROM kept WHERE provider = 'stripe';
SELECT billing.purge_webhook_events('90 days', 1);
SELECT billing.purge_webhook_events('90 days', 1000);
SELECT billing.purge_webhook_events('90 days', 1000);
SELECT * FROM kept WHERE provider = 'stripe';
-- What was purged is still known: a replay, of which the result is gone.
SELECT * FROM checkout('1');
SELECT reason, detail, status, attempts, result FROM claim_stripe_event('evt_10', 'checkout.session.completed');
SELECT balance FROM credit_balance('1');
-- Zero is from now on backwards.
SELECT billing.purge_webhook_events('0', 1000) > 0 AS purged;
SELECT provider, event_id, status FROM kept WHERE body OR result;
-- Bad input.
SELECT billing.purge_webhook_events();
SELECT billing.purge_webhook_events('90 days');
SELECT billing.purge_webhook_events(NULL, 10);
SELECT billing.purge_webhook_events('90 days', 0);
SELECT billing.purge_webhook_events('-1 day', 10);
SELECT billing.purge_webhook_events('1 day -1 hour', 10);
SELECT billing.purge_webhook_events('100000 years', 10);
\echo :LAST_ERROR_SQLSTATE

-- 9. A customer made or changed at Stripe is linked to the user whom its metadata names: never by its own e-mail, though the metadata may name one.
SELECT n, t.* FROM (VALUES
    (20, 'created', '{"id": "cus_20", "metadata": {"user_id": "20"}}'::jsonb),
    (21, 'updated', '{"id": "cus_20", "metadata": {"user_id": "20"}}'),
    (22, 'updated', '{"id": "cus_21", "metadata": {"user_id": 20}}'),
    (23, 'created', '{"id": "cus_23", "email": "grace@example.com", "metadata": {}}'),
    (24, 'created', '{"id": "cus_23", "email": "grace@example.com"}'),
    (25, 'created', '{"id": "cus_23", "metadata": {"user_id": "{{user}}"}}'),
    (26, 'created', '{"id": "cus_23", "metadata": {"user_id": "grace@example.com"}}'),
    (27, 'updated', '{"id": "cus_20", "metadata": {"user_id": "27"}}'),
    (28, 'created', '{"id": "no code", "metadata": {"user_id": "28"}}'),
    (29, 'created', '{"metadata": {"user_id": "28"}}')
) AS given (n, what, object), LATERAL told(n::text, 'customer.' || what, object) AS t;
SELECT legacy_id, email, stripe_customer_id FROM billing.customers ORDER BY legacy_id;
SELECT code FROM billing.customer_aliases;
-- The link processes what waits for it, in the same call.
SELECT * FROM checkout('30', '{"customer": "cus_30", "metadata": {"credits": "10"}}');
SELECT * FROM told('31', 'customer.updated', '{"id": "cus_30", "metadata": {"user_id": "30"}}');
SELECT balance FROM credit_balance('30');
-- Deleted: credits and links stay.
SELECT * FROM told('32', 'customer.deleted', '{"id": "cus_30", "deleted": true}');
SELECT balance FROM credit_balance('cus_30');

-- 10. No personal data anywhere but in bodies of events that are not done.
SELECT count(*) FROM billing.webhook_events AS e WHERE (to_jsonb(e) - 'payload')::text LIKE '%@%';

-- The books are right, and tell of a claim that ran out more than ten minutes ago.
SELECT problem, reference FROM billing.reconcile();
UPDATE billing.webhook_events SET lease_until = now() - interval '11 minutes' WHERE event_id = 'evt_6';
SELECT problem, reference FROM billing.reconcile();
