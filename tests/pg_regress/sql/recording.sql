-- What is done with deliveries: processed, recorded for later, or refused; how long bodies are kept; events without a signature for end-to-end tests.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'), billing.add_webhook_secret('paystack', 'sk_test_example'); END $$;

-- For this page: a checkout session's event; what is given replaces parts of the session, or of the event.
CREATE FUNCTION event(n text, parts jsonb = '{}', more jsonb = '{}') RETURNS text LANGUAGE sql AS $$
    SELECT (jsonb_build_object('id', 'evt_' || n, 'type', 'checkout.session.completed', 'livemode', false, 'created', 1700000000,
        'data', jsonb_build_object('object', jsonb_build_object('id', 'cs_' || n, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid',
            'amount_total', 100, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '10', 'user_id', '1')) || parts)) || more)::text
$$;
-- The endpoint as PostgREST calls it: the headers in a setting, the HTTP status in another one afterwards.
CREATE FUNCTION post(body text, headers json, OUT reason billing_reason, OUT detail text, OUT status text, OUT attempts int, OUT http text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('request.headers', headers::text, true), set_config('response.status', '', true);
    SELECT e.reason, e.detail, e.status, e.attempts INTO post.reason, post.detail, post.status, post.attempts FROM stripe_webhook(body::json) AS e;
    http := current_setting('response.status');
END
$$;
CREATE FUNCTION posted(n text, parts jsonb = '{}', more jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT status text, OUT attempts int, OUT http text) LANGUAGE sql AS $$
    SELECT p.* FROM event(n, parts, more) AS b, post(b, json_build_object('stripe-signature', billing.sign_stripe_payload(b, 'whsec_example'))) AS p
$$;
CREATE VIEW events AS
    SELECT event_id, status, attempts, error_detail, payload IS NOT NULL AS body, next_attempt_at IS NOT NULL AS next, lease_until IS NOT NULL AS lease, result ->> 'reason' AS result, result ->> 'detail' AS detail
    FROM billing.webhook_events ORDER BY event_id;

-- 1. Off: nothing is looked at and nothing stored; the provider is told to come back.
SET billing_rpc.webhook_mode = 'off';
SELECT * FROM posted('1');
SELECT * FROM post('{}', '{}');
SELECT reason, detail FROM process_stripe_webhook('not an event', 'not a signature');
SELECT reason, detail FROM process_paystack_webhook('not an event', 'not a signature');
SELECT count(*) FROM billing.webhook_events;
-- Calls of an application are no deliveries.
SELECT reason FROM apply_credit_purchase('1', 1, 'by-call');
RESET billing_rpc.webhook_mode;

-- 2. Record: verified as ever; what is not authentic or no event is refused.
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM post('{}', '{"stripe-signature": "t=1,v1=00"}');
SELECT p.* FROM (VALUES ('{}')) AS given (b), LATERAL post(b, json_build_object('stripe-signature', billing.sign_stripe_payload(b, 'whsec_example'))) AS p;
-- All else is kept, with its body, and nothing is done: not even what has no effect anyway is judged.
SELECT * FROM posted('10', '{"customer": "cus_10", "metadata": {"credits": "10", "user_id": "10"}}');
SELECT * FROM posted('11', '{}', '{"type": "product.created"}');
SELECT * FROM posted('12', '{}', '{"account": "acct_1"}');
SELECT found FROM resolve_billing_user('10');
SELECT * FROM events;
-- Delivered again in this mode: the same answer.
SELECT * FROM posted('10', '{"customer": "cus_10", "metadata": {"credits": "10", "user_id": "10"}}');
-- Paystack's too.
SELECT reason, detail, event_id, status, attempts FROM (VALUES ('{"event": "charge.success", "data": {"id": 1, "reference": "r", "status": "success", "metadata": {"credits": 1, "user_id": 10}}}')) AS given (b),
    LATERAL process_paystack_webhook(b, billing.sign_paystack_payload(b, 'sk_test_example'));
-- The payload is kept whatever the retention.
SET billing_rpc.payload_retention = 'none';
SELECT * FROM posted('13');
SELECT body FROM events WHERE event_id = 'evt_13';
RESET billing_rpc.payload_retention;
RESET billing_rpc.webhook_mode;
-- Delivered again in mode process: done, its first attempt.
SELECT * FROM posted('10', '{"customer": "cus_10", "metadata": {"credits": "10", "user_id": "10"}}');
-- The worker goes by no mode: what was recorded is processed whenever it runs.
SET billing_rpc.webhook_mode = 'record';
SELECT event_id, reason, detail, status, attempts FROM retry_webhook_events() ORDER BY event_id;
RESET billing_rpc.webhook_mode;
SELECT * FROM events;
SELECT balance FROM credit_balance('cus_10');

-- 3. Record meets events in every standing. Completed: a replay.
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM posted('10');
-- Claimed by a live lease: it is somebody else's now, come back later.
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_20', 'checkout.session.completed') \gset
SELECT * FROM posted('20');
SELECT * FROM events WHERE event_id = 'evt_20';
-- The lease ran out: the body is kept, and the event due.
UPDATE billing.webhook_events SET lease_until = now() - interval '1 second' WHERE event_id = 'evt_20';
SELECT * FROM posted('20');
SELECT * FROM events WHERE event_id = 'evt_20';
-- Failed, with no body till now: the same.
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_21', 'checkout.session.completed') \gset
SELECT reason, status FROM fail_stripe_event('evt_21', :'token', 'by the application', 0);
SELECT * FROM posted('21');
SELECT * FROM events WHERE event_id = 'evt_21';
-- Failed, with its body: it keeps its turn.
SET billing_rpc.webhook_mode = 'process';
SELECT * FROM posted('22', '{"metadata": {"pack": "never", "user_id": "1"}}');
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM posted('22', '{"metadata": {"pack": "never", "user_id": "1"}}');
SELECT * FROM events WHERE event_id = 'evt_22';
-- Dead: 200 where the body is kept; else 500, for it could not be revived without one.
SET billing_rpc.max_attempts = 1;
SET billing_rpc.webhook_mode = 'process';
SELECT * FROM posted('23', '{"metadata": {"pack": "never", "user_id": "1"}}');
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM posted('23', '{"metadata": {"pack": "never", "user_id": "1"}}');
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_24', 'checkout.session.completed') \gset
SELECT reason, status FROM fail_stripe_event('evt_24', :'token', 'by the application');
SELECT * FROM posted('24');
-- A lease that ran out on the last attempt: kept, to be found dead by the next who looks. (So is evt_20, now that one attempt is all there is.)
SELECT reason FROM claim_stripe_event('evt_25', 'checkout.session.completed');
UPDATE billing.webhook_events SET lease_until = now() - interval '1 second' WHERE event_id = 'evt_25';
SELECT * FROM posted('25');
RESET billing_rpc.webhook_mode;
SELECT event_id, reason, detail, status, attempts FROM retry_webhook_events() ORDER BY event_id;
RESET billing_rpc.max_attempts;
SELECT * FROM events WHERE event_id LIKE 'evt_2_';

-- 4. Retention of bodies in mode process: of those that completed, of those that failed, and of those without effect.
SELECT retention, p.reason, p.http FROM (VALUES (1, 'none'), (2, 'until_completed'), (3, 'always')) AS given (n, retention), LATERAL set_config('billing_rpc.payload_retention', retention, false) AS s,
    LATERAL (VALUES ('a', '{}'::jsonb, '{}'::jsonb), ('b', '{"metadata": {"pack": "never", "user_id": "1"}}', '{}'), ('c', '{}', '{"type": "product.created"}')) AS what (x, parts, more), LATERAL posted('3' || n || x || left(s, 0), parts, more) AS p;
SELECT event_id, status, body FROM events WHERE event_id LIKE 'evt_3_%';
-- A body once kept stays as long as the setting says when the event completes, not when it came.
RESET billing_rpc.payload_retention;
SELECT billing.define_pack('never', 10, 100, 'eur');
UPDATE billing.webhook_events SET next_attempt_at = now() WHERE status = 'failed';
SET billing_rpc.payload_retention = 'always';
SELECT event_id, reason, detail FROM retry_webhook_events() WHERE event_id LIKE 'evt_3_%' ORDER BY event_id;
SELECT event_id, status, body FROM events WHERE event_id LIKE 'evt_3_b';
RESET billing_rpc.payload_retention;
-- Failed without a body: only the provider can bring it again.
SELECT * FROM posted('31b', '{"metadata": {"credits": "1", "user_id": "1"}}');

-- 5. Connected accounts and modes, through the endpoint: acknowledged with 200, without a trace of the body.
SELECT * FROM posted('40', '{}', '{"account": "acct_1"}');
SELECT billing.allow_account('acct_1');
SELECT * FROM posted('41', '{}', '{"account": "acct_1"}');
SELECT * FROM posted('40', '{}', '{"account": "acct_1"}');
SELECT a, p.reason, p.detail FROM (VALUES (1, '"acct_2"'::jsonb), (2, '""'), (3, '7'), (4, 'null'), (5, '{"id": "acct_1"}')) AS given (n, a), LATERAL posted('42' || n, '{}', jsonb_build_object('account', a)) AS p;
SELECT mode, p.reason, p.detail, p.http FROM (VALUES (1, 'live'), (2, 'test')) AS given (n, mode), LATERAL set_config('billing_rpc.accepted_mode', mode, false) AS s, LATERAL posted('43' || n || left(s, 0)) AS p;
RESET billing_rpc.accepted_mode;
SELECT event_id, status, livemode, account_id, payload FROM billing.webhook_events WHERE event_id LIKE 'evt_4%' ORDER BY event_id;

-- 6. Headers: their names are lower-cased by PostgREST; what is not there, or no text, is missing.
SELECT h, p.reason, p.detail, p.http FROM unnest('{"{}","{\"Stripe-Signature\": \"t=1,v1=0\"}","{\"stripe-signature\": null}","{\"stripe-signature\": 7}","{\"stripe-signature\": \"\"}","{\"stripe-signature\": \"x\"}","[]","7"}'::text[]) AS given (h), LATERAL post('{}', h::json) AS p;
SELECT set_config('request.headers', 'not json', false);
SELECT reason, detail FROM stripe_webhook('{}');
SELECT set_config('request.headers', '', false);
SELECT reason, detail FROM stripe_webhook('{}');
SELECT reason, detail FROM paystack_webhook(NULL);
SET billing_rpc.max_payload_bytes = 20;
SELECT * FROM posted('50');
RESET billing_rpc.max_payload_bytes;
-- Without a secret it is the server that is not ready.
UPDATE billing.webhook_secrets SET valid_until = now() - interval '1 second' WHERE provider = 'stripe';
SELECT * FROM posted('51');
UPDATE billing.webhook_secrets SET valid_until = NULL WHERE provider = 'stripe';

-- 7. End-to-end tests: an event without any signature comes in only in this mode, only if its livemode is the boolean false, with a warning, and is marked.
SELECT p.* FROM event('60') AS b, post(b, '{}') AS p;
SET billing_rpc.e2e_test_mode = on;
SELECT p.* FROM event('60') AS b, post(b, '{}') AS p;
SELECT event_id, status, unsigned FROM billing.webhook_events WHERE event_id = 'evt_60';
SELECT p.* FROM event('60') AS b, post(b, '{}') AS p;
SELECT livemode, p.reason, p.detail FROM unnest('{true,null,0,"\"false\""}'::jsonb[]) WITH ORDINALITY AS given (livemode, n), LATERAL event('61' || n, '{}', jsonb_build_object('livemode', livemode)) AS b, LATERAL post(b, '{}') AS p;
-- A signature that is there is judged, be it empty or wrong; so is form.
SELECT h, p.reason, p.detail FROM unnest('{"{\"stripe-signature\": \"\"}","{\"stripe-signature\": \"t=1,v1=00\"}"}'::text[]) AS given (h), LATERAL event('62') AS b, LATERAL post(b, h::json) AS p;
SELECT b, p.reason, p.detail FROM unnest(ARRAY['{}', '{"livemode": false}', '[]']) AS given (b), LATERAL post(b, '{}') AS p;
SELECT p.* FROM posted('63') AS p;
-- A signed event stays signed; one that failed unsigned and comes again signed stays marked.
SELECT event_id, unsigned FROM billing.webhook_events WHERE event_id = 'evt_63';
SELECT p.* FROM event('64', '{"metadata": {"credits": "1", "user_id": "null"}}') AS b, post(b, '{}') AS p;
SELECT p.* FROM posted('64', '{"metadata": {"credits": "1", "user_id": "1"}}') AS p;
SELECT event_id, unsigned FROM billing.webhook_events WHERE event_id = 'evt_64';
-- Paystack's by its domain.
SELECT reason, detail, status FROM process_paystack_webhook('{"event": "x", "data": {"domain": "test"}}');
SELECT reason, detail, status FROM process_paystack_webhook('{"event": "x", "data": {"domain": "live"}}');
-- With the mode off or recording: as ever.
SET billing_rpc.webhook_mode = 'record';
SELECT p.* FROM event('65') AS b, post(b, '{}') AS p;
RESET billing_rpc.webhook_mode;
SELECT event_id, reason, status FROM retry_webhook_events() WHERE event_id = 'evt_65';
-- A body that came unsigned for an event that an application had claimed before.
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_68', 'checkout.session.completed') \gset
SELECT reason, status FROM fail_stripe_event('evt_68', :'token', 'by the application', 0);
SET billing_rpc.webhook_mode = 'record';
SELECT p.* FROM event('68') AS b, post(b, '{}') AS p;
RESET billing_rpc.webhook_mode;
SELECT event_id, status, unsigned FROM billing.webhook_events WHERE event_id = 'evt_68';
-- Once an event of live mode is stored, the setting has no effect any more.
SELECT * FROM posted('66', '{}', '{"livemode": true, "type": "product.created"}');
SELECT p.* FROM event('67') AS b, post(b, '{}') AS p;
SELECT p.reason FROM posted('67') AS p;
RESET billing_rpc.e2e_test_mode;

-- The books are right.
SELECT * FROM billing.reconcile();
