-- Events tried again: what is due, who may be due, and what becomes of it.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: a checkout session's event, signed and delivered.
CREATE FUNCTION checkout(n text, parts jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT status text, OUT attempts int) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.status, e.attempts FROM (SELECT jsonb_build_object('id', 'evt_' || n, 'type', 'checkout.session.completed', 'livemode', false, 'created', 1700000000,
        'data', jsonb_build_object('object', jsonb_build_object('id', 'cs_' || n, 'mode', 'payment', 'payment_status', 'paid', 'amount_total', 300, 'currency', 'eur',
            'metadata', jsonb_build_object('credits', '10', 'user_id', '1')) || parts))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
CREATE FUNCTION retried(max_events int = 100) RETURNS TABLE (reason billing_reason, detail text, event_id text, status text, attempts int, credits bigint) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.event_id, e.status, e.attempts, (e.result ->> 'credits')::bigint FROM retry_webhook_events(max_events) AS e
$$;
-- Time passes: what waits for its turn is due, what is claimed has run out. The event whose number is lowest has waited longest.
CREATE PROCEDURE time_passes() LANGUAGE sql AS $$
    UPDATE billing.webhook_events SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL;
    UPDATE billing.webhook_events e SET next_attempt_at = now() - interval '1 hour' + interval '1 minute' * o.n
    FROM (SELECT event_id, row_number() OVER (ORDER BY event_id) AS n FROM billing.webhook_events) AS o WHERE o.event_id = e.event_id AND next_attempt_at IS NOT NULL
$$;
-- An event's row, with what is random or a time shown as whether it is there.
CREATE VIEW events AS
    SELECT event_id, status, attempts, claim_token IS NOT NULL AS token, lease_until IS NOT NULL AS lease, next_attempt_at IS NOT NULL AS next, customer_code AS waits_for,
        error_detail, payload IS NOT NULL AS body FROM billing.webhook_events ORDER BY event_id;

-- 1. A failed event is due after a back-off, and not before: five minutes, less up to a tenth.
SELECT * FROM checkout('1', '{"metadata": {"pack": "small", "user_id": "1"}}');
SELECT * FROM events;
SELECT next_attempt_at - received_at BETWEEN interval '4 min 29 s' AND interval '5 min 1 s' AS in_five_minutes FROM billing.webhook_events;
SELECT * FROM retried();
CALL time_passes();
SELECT * FROM retried();
-- Each failure doubles it.
SELECT next_attempt_at - now() BETWEEN interval '8 min 59 s' AND interval '10 min 1 s' AS in_ten_minutes FROM billing.webhook_events;
SELECT billing.define_pack('small', 10, 300, 'eur');
CALL time_passes();
SELECT * FROM retried();
SELECT * FROM events;
-- Done is done: its delivery is a replay, and nothing is due.
SELECT * FROM checkout('1');
CALL time_passes();
SELECT * FROM retried();

-- 2. Recorded events are due at once, the longest waiting first.
SET billing_rpc.webhook_mode = 'record';
SELECT c.* FROM generate_series(10, 13) AS n, LATERAL checkout(n::text) AS c;
RESET billing_rpc.webhook_mode;
SELECT * FROM events WHERE event_id LIKE 'evt_1_';
CALL time_passes();
SELECT * FROM retried(1);
SELECT * FROM retried(2);
SELECT * FROM retried();
SELECT balance FROM credit_balance('1');

-- 3. A claim whose lease ran out is a failure as well, and is tried here as far as the body is kept; its old token is dead.
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM checkout('20');
RESET billing_rpc.webhook_mode;
SELECT claim_token AS token FROM claim_stripe_event('evt_20', 'checkout.session.completed') \gset
SELECT * FROM events WHERE event_id = 'evt_20';
SELECT * FROM retried();
CALL time_passes();
SELECT * FROM retried();
SELECT reason, detail FROM complete_stripe_event('evt_20', :'token');
SELECT reason, detail FROM fail_stripe_event('evt_20', :'token', 'too late');
SELECT * FROM events WHERE event_id = 'evt_20';
-- Who completes in time, or late but before anybody took the event over, keeps it.
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM checkout('21');
RESET billing_rpc.webhook_mode;
SELECT claim_token AS token FROM claim_stripe_event('evt_21', 'checkout.session.completed') \gset
CALL time_passes();
SELECT reason, detail, status, result FROM complete_stripe_event('evt_21', :'token', '"by hand"');
SELECT * FROM retried();
SELECT * FROM events WHERE event_id = 'evt_21';
-- A claim of which no body is kept is none of the worker's business: an application processes those.
SELECT claim_token AS token FROM claim_stripe_event('evt_22', 'checkout.session.completed') \gset
SELECT claim_token AS token2 FROM claim_stripe_event('evt_23', 'checkout.session.completed') \gset
SELECT reason, status FROM fail_stripe_event('evt_23', :'token2', 'by the application', 0);
CALL time_passes();
SELECT * FROM retried();
SELECT * FROM events WHERE event_id IN ('evt_22', 'evt_23');
-- Its delivery brings the body.
SELECT * FROM checkout('22');
SELECT * FROM checkout('23', '{"metadata": {"pack": "none", "user_id": "1"}}');
SELECT * FROM events WHERE event_id IN ('evt_22', 'evt_23');
SELECT reason FROM billing.dismiss_event('stripe', 'evt_23');

-- 4. Dead after max_attempts failures: no more attempts, by nobody, until it is revived.
SET billing_rpc.max_attempts = 2;
SELECT * FROM checkout('30', '{"metadata": {"pack": "late", "user_id": "1"}}');
CALL time_passes();
SELECT * FROM retried();
SELECT * FROM events WHERE event_id = 'evt_30';
CALL time_passes();
SELECT * FROM retried();
SELECT * FROM checkout('30');
SELECT reason, detail FROM claim_stripe_event('evt_30', 'checkout.session.completed');
SELECT status, attempts, error_detail, error_message, next_attempt_at, payload_kept FROM billing.failed_events;
-- Revived: due at once, with its attempts at 0, though the last error is still to be read.
SELECT applied, reason, detail, provider, event_id, event_type, status, attempts, claim_token, lease_until, result FROM billing.revive_event('stripe', 'evt_30');
SELECT * FROM events WHERE event_id = 'evt_30';
SELECT * FROM retried();
SELECT billing.define_pack('late', 10, 300, 'eur');
CALL time_passes();
SELECT * FROM retried();
SELECT * FROM events WHERE event_id = 'evt_30';
-- A lease that runs out on the last attempt: dead, by whoever comes next.
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM checkout('31');
RESET billing_rpc.webhook_mode;
SELECT attempts FROM claim_stripe_event('evt_31', 'checkout.session.completed');
CALL time_passes();
SELECT attempts FROM claim_stripe_event('evt_31', 'checkout.session.completed');
CALL time_passes();
SELECT * FROM retried();
SELECT * FROM events WHERE event_id = 'evt_31';
RESET billing_rpc.max_attempts;
-- A higher limit is for events to come: dead is dead.
SELECT * FROM checkout('31');
SELECT reason FROM billing.revive_event('stripe', 'evt_31');
SELECT * FROM retried();

-- 5. Dismissed: completed without effect, whether failed or dead. Delivered again it is a replay that says so.
SELECT * FROM checkout('40', '{"metadata": {"pack": "never", "user_id": "1"}}');
SELECT applied, reason, detail, provider, event_id, event_type, status, attempts, claim_token, lease_until, result FROM billing.dismiss_event('stripe', 'evt_40');
SELECT * FROM events WHERE event_id = 'evt_40';
SELECT e.reason, e.detail, e.status FROM checkout('40') AS e;
SELECT result FROM billing.webhook_events WHERE event_id = 'evt_40';
SET billing_rpc.max_attempts = 1;
SELECT * FROM checkout('41', '{"metadata": {"pack": "never", "user_id": "1"}}');
RESET billing_rpc.max_attempts;
SELECT reason, status FROM billing.dismiss_event('stripe', 'evt_41');
-- One that waits for a code waits no more.
SELECT * FROM checkout('42', '{"customer": "cus_42", "metadata": {"credits": "10"}}');
SELECT * FROM events WHERE event_id = 'evt_42';
SELECT reason, status FROM billing.dismiss_event('stripe', 'evt_42');
SELECT reason FROM register_billing_user(legacy_id => 42, stripe_customer_id => 'cus_42');
SELECT * FROM events WHERE event_id = 'evt_42';
SELECT balance FROM credit_balance('42');

-- 6. Only a dead event is revived, only a failed or dead one dismissed; whoever asks for something else is told so.
SELECT reason FROM billing.revive_event('stripe', 'evt_1');
SELECT reason FROM billing.revive_event('stripe', 'evt_nothing');
SELECT reason FROM billing.revive_event('paystack', 'evt_1');
SELECT reason FROM billing.revive_event();
SELECT * FROM checkout('43', '{"metadata": {"pack": "never", "user_id": "1"}}');
SELECT reason FROM billing.revive_event('stripe', 'evt_43');
\echo :LAST_ERROR_SQLSTATE
SELECT reason FROM billing.dismiss_event('stripe', 'evt_1');
SELECT reason FROM billing.dismiss_event('stripe', 'evt_nothing');
SELECT reason FROM billing.dismiss_event(NULL, ' ');
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_44', 'x') \gset
SELECT reason FROM billing.dismiss_event('stripe', 'evt_44');
\echo :LAST_ERROR_SQLSTATE
SELECT reason FROM complete_stripe_event('evt_44', :'token');

-- 7. One bad event holds up no other: each has its own turn, and what one had begun is undone alone.
SET billing_rpc.webhook_mode = 'record';
SELECT c.reason FROM (VALUES ('50', '{}'::jsonb), ('51', '{"metadata": {"credits": "x", "pack": "never", "user_id": "1"}}'), ('52', '{"amount_total": "x"}'), ('53', '{"metadata": {"credits": "10", "user_id": "53"}, "customer": "cus_53"}'),
    ('54', '{"metadata": {"credits": "9223372036854775807", "user_id": "53"}}'), ('55', '{"metadata": {"credits": "10"}, "customer": "cus_53"}'), ('56', '{}')) AS given (n, parts), LATERAL checkout(n, parts) AS c;
RESET billing_rpc.webhook_mode;
-- One whose body is broken, as nobody but a superuser could break it, and one whose processing ends in an SQL error.
UPDATE billing.webhook_events SET payload = '{' WHERE event_id = 'evt_50';
CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a stumbling block for user 1'; END $$;
CREATE TRIGGER stumble BEFORE INSERT ON billing.ledger FOR EACH ROW WHEN (new.source_ref = 'stripe:cs_56') EXECUTE FUNCTION stumble();
CALL time_passes();
SELECT * FROM retried();
SELECT event_id, status, attempts, error_detail, error_message FROM billing.failed_events WHERE event_id LIKE 'evt_5_' ORDER BY event_id;
SELECT balance FROM credit_balance('53');
-- What is mended goes through.
DROP TRIGGER stumble ON billing.ledger;
CALL time_passes();
SELECT * FROM retried() WHERE event_id = 'evt_56';

-- 8. A link made by a retried event processes what waits for the code in the same round, and says so.
SELECT * FROM checkout('60', '{"metadata": {"credits": "10"}, "customer": "cus_60"}');
SELECT * FROM checkout('61', '{"metadata": {"pack": "soon", "user_id": "60"}, "customer": "cus_60"}');
SELECT billing.define_pack('soon', 10, 300, 'eur');
UPDATE billing.webhook_events SET next_attempt_at = now() WHERE event_id = 'evt_61';
SELECT * FROM retried();
SELECT balance FROM credit_balance('60');

-- 9. Several at once, each with a body of its own; so many at the most as are asked for. Wrong input is a row.
SELECT max_events, r.* FROM unnest('{0,-1,-2147483648}'::int[]) AS given (max_events), LATERAL retried(max_events) AS r;
SELECT applied, reason, detail, provider, event_id, status FROM retry_webhook_events(0);
SELECT count(*) FROM retry_webhook_events(NULL);
SELECT count(*) FROM retry_webhook_events(2147483647);

-- 10. Modes are judged anew at each attempt: what is not accepted any more is completed without effect.
SELECT * FROM checkout('70', '{"metadata": {"pack": "never", "user_id": "1"}}');
UPDATE billing.webhook_events SET next_attempt_at = now() WHERE event_id = 'evt_70';
SET billing_rpc.accepted_mode = 'live';
SELECT * FROM retried();
RESET billing_rpc.accepted_mode;

-- The books are right.
SELECT * FROM billing.reconcile();
