-- Health: what needs an operator's hand, one row for each check. Each is made to fail here, and mended by what it advises.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;

-- 1. Nothing set up, and nothing to do; for monitors, and for nobody else.
SET ROLE billing_monitor;
SELECT * FROM billing.health();
RESET ROLE;
SET ROLE billing_service;
SELECT * FROM billing.health();
RESET ROLE;

-- For this page: what has advice, and signed events.
CREATE VIEW unwell AS SELECT check_name, advice FROM billing.health() WHERE NOT ok;
CREATE FUNCTION told(n text, live boolean DEFAULT true, parts jsonb DEFAULT '{"user_id": "1"}', OUT reason billing_reason, OUT detail text, OUT status text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.status
    FROM (SELECT jsonb_build_object('id', 'evt_' || n, 'type', 'checkout.session.completed', 'livemode', live, 'created', 1700000000, 'data', jsonb_build_object('object',
            jsonb_build_object('id', 'cs_' || n, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid', 'amount_total', 100, 'currency', 'eur',
                'metadata', '{"credits": "10"}' || parts)))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;

-- 2. An endpoint is opened, and there is no secret to check what it is sent.
GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO billing_user;
SELECT check_name FROM unwell;
REVOKE EXECUTE ON FUNCTION stripe_webhook(json) FROM billing_user;
SELECT check_name FROM unwell;
CREATE ROLE golden_gateway;
GRANT billing_webhook TO golden_gateway;
SELECT * FROM unwell;
SELECT billing.add_webhook_secret('stripe', 'whsec_example');
SELECT * FROM unwell;
-- Whoever was given one endpoint by name needs a secret of that provider.
GRANT EXECUTE ON FUNCTION paystack_webhook(json) TO golden_gateway;
SELECT check_name FROM unwell;
REVOKE EXECUTE ON FUNCTION paystack_webhook(json) FROM golden_gateway;
-- After a restore: deliveries are here, and the secrets are not.
REVOKE billing_webhook FROM golden_gateway;
SELECT * FROM told('1');
BEGIN;
DELETE FROM billing.webhook_secrets;
SELECT check_name FROM unwell;
ROLLBACK;
-- Who verifies events elsewhere and only claims them here needs none.
SELECT reason FROM claim_webhook_event('paystack', 'charge.success:1', 'charge.success');
SELECT check_name FROM unwell;

-- 3. The last secret of a provider ends within a week, or has ended: one that lasts is added.
SELECT billing.retire_webhook_secret(1, now() + interval '8 days');
SELECT * FROM unwell;
SELECT billing.retire_webhook_secret(1, now() + interval '6 days');
SELECT * FROM unwell;
SELECT billing.retire_webhook_secret(1);
SELECT check_name FROM unwell;
SELECT billing.add_webhook_secret('paystack', 'sk_test_example');
SELECT check_name FROM unwell;
SELECT billing.add_webhook_secret('stripe', 'whsec_example');
SELECT * FROM unwell;
SELECT billing.retire_webhook_secret(3, 'infinity');
SELECT * FROM unwell;
-- One that a vault keeps counts for as long as the vault has it, and whoever named it may read it.
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (name text, secret text);
CREATE VIEW vault.decrypted_secrets AS SELECT name, secret AS decrypted_secret FROM vault.secrets;
INSERT INTO vault.secrets VALUES ('paystack_key', 'sk_test_example');
SELECT billing.retire_webhook_secret(2);
SELECT check_name FROM unwell;
SELECT billing.use_vault_secret('paystack', 'paystack_key');
SELECT check_name FROM unwell;
UPDATE vault.secrets SET name = 'another';
SELECT check_name FROM unwell;
UPDATE vault.secrets SET name = 'paystack_key';
SELECT check_name FROM unwell;

-- 4. Events of test mode come in beside those of live mode, and both are processed.
SELECT * FROM told('2', false);
SELECT * FROM unwell;
SET billing_rpc.accepted_mode = 'live';
SELECT * FROM unwell;
SELECT * FROM told('3', false);
RESET billing_rpc.accepted_mode;
UPDATE billing.webhook_events SET livemode = true WHERE NOT livemode;
SELECT * FROM unwell;
-- Live ones are found by the newest and the oldest of each type: before and behind many of test mode.
INSERT INTO billing.webhook_events (received_at, attempts, livemode, provider, event_id, event_type, status, payload_summary)
    SELECT now() - interval '1 year', 1, false, 'stripe', 'evt_test_' || n, 'checkout.session.completed', 'completed', '{}' FROM generate_series(1, 300) AS n;
SELECT check_name FROM unwell;
UPDATE billing.webhook_events SET received_at = now() - interval '2 years' WHERE livemode;
SELECT check_name FROM unwell;
DELETE FROM billing.webhook_events WHERE NOT livemode;
SELECT check_name FROM unwell;

-- 5. Nobody processes what is due: here, what was recorded.
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM told('5');
SELECT * FROM unwell;
RESET billing_rpc.webhook_mode;
SELECT * FROM unwell;
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '9 minutes' WHERE event_id = 'evt_5';
SELECT * FROM unwell;
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '11 minutes' WHERE event_id = 'evt_5';
SELECT * FROM unwell;
SELECT reason, event_id FROM retry_webhook_events();
SELECT * FROM unwell;
SET billing_rpc.webhook_mode = 'off';
SELECT check_name FROM unwell;
RESET billing_rpc.webhook_mode;

-- 6. A claim ran out, and nobody came back.
SELECT reason, event_id FROM claim_stripe_event('evt_6', 'invoice.paid') AS claimed;
UPDATE billing.webhook_events SET lease_until = now() - interval '9 minutes' WHERE event_id = 'evt_6';
SELECT * FROM unwell;
UPDATE billing.webhook_events SET lease_until = now() - interval '11 minutes' WHERE event_id = 'evt_6';
SELECT * FROM unwell;
SELECT e.reason FROM claim_stripe_event('evt_6', 'invoice.paid') AS c, LATERAL complete_stripe_event('evt_6', c.claim_token) AS e;
SELECT * FROM unwell;

-- 7. An event fails again and again; a first failure is nothing yet.
SELECT * FROM told('7', true, '{"pack": "unheard", "user_id": "1"}');
SELECT * FROM unwell;
SELECT * FROM told('7', true, '{"pack": "unheard", "user_id": "1"}');
SELECT * FROM unwell;
SELECT * FROM told('7', true, '{"pack": "unheard", "user_id": "1"}');
SELECT * FROM unwell;
-- At last it is dead.
SET billing_rpc.max_attempts = 4;
SELECT * FROM told('7', true, '{"pack": "unheard", "user_id": "1"}');
RESET billing_rpc.max_attempts;
SELECT * FROM unwell;
SELECT reason FROM billing.revive_event('stripe', 'evt_7');
SELECT * FROM unwell;
SELECT reason FROM billing.dismiss_event('stripe', 'evt_7');
SELECT * FROM unwell;
-- One that was only claimed here, and whose body is not kept, is seen as well.
SET billing_rpc.max_attempts = 1;
SELECT e.status FROM claim_stripe_event('evt_8', 'invoice.paid') AS c, LATERAL fail_stripe_event('evt_8', c.claim_token, 'not today') AS e;
RESET billing_rpc.max_attempts;
SELECT check_name FROM unwell;
SELECT reason FROM billing.dismiss_event('stripe', 'evt_8');

-- 8. Unsigned events of test mode would be let in.
SET billing_rpc.e2e_test_mode = on;
SELECT * FROM unwell;
RESET billing_rpc.e2e_test_mode;
SELECT * FROM unwell;

-- 9. Nobody fetches the truth about a subscription.
INSERT INTO billing.refetch_queue VALUES (now() - interval '9 minutes', 'subscription', 'sub_9', 'stale_event');
SELECT * FROM unwell;
UPDATE billing.refetch_queue SET requested_at = now() - interval '11 minutes';
SELECT * FROM unwell;
SELECT reason, detail FROM apply_subscription_update('{"id": "sub_9", "object": "subscription", "customer": "cus_9", "status": "active", "items": {"data": []}, "created": 1700000000}');
SELECT * FROM unwell;

-- 10. Bodies of completed events are kept longer than need be.
SET billing_rpc.payload_retention = 'always';
SELECT * FROM told('10');
RESET billing_rpc.payload_retention;
UPDATE billing.webhook_events SET received_at = received_at - interval '89 days', processed_at = processed_at - interval '89 days' WHERE event_id = 'evt_10';
SELECT * FROM unwell;
UPDATE billing.webhook_events SET processed_at = processed_at - interval '2 days' WHERE event_id = 'evt_10';
SELECT * FROM unwell;
SELECT billing.purge_webhook_events('90 days', 10000) > 0 AS purged;
SELECT * FROM unwell;

-- 11. Whoever named the users table may not read it any more.
CREATE ROLE golden_keeper;
GRANT USAGE, CREATE ON SCHEMA billing TO golden_keeper;
CREATE TABLE people (id bigint, email text, name text);
GRANT SELECT ON people TO golden_keeper;
SELECT billing.set_users_table('public.people', 'id', 'email');
ALTER VIEW billing.application_users OWNER TO golden_keeper;
REVOKE USAGE, CREATE ON SCHEMA billing FROM golden_keeper;
SELECT * FROM unwell;
REVOKE SELECT ON people FROM golden_keeper;
SELECT * FROM unwell;
-- The columns that are read are enough.
GRANT SELECT (id, email) ON people TO golden_keeper;
SELECT * FROM unwell;
REVOKE SELECT ON billing.application_users FROM billing_owner;
SELECT check_name FROM unwell;
GRANT SELECT ON billing.application_users TO billing_owner;
SELECT billing.set_users_table();
REVOKE SELECT (id, email) ON people FROM golden_keeper;
SELECT * FROM unwell;

-- 12. Somebody was given more than intended.
GRANT SELECT ON billing.customers TO golden_keeper;
SELECT * FROM unwell;
REVOKE SELECT ON billing.customers FROM golden_keeper;
SELECT * FROM unwell;

-- 13. The library is newer than the schema.
BEGIN;
UPDATE pg_extension SET extversion = '0.1.0' WHERE extname = 'billing_rpc';
SELECT * FROM unwell;
ROLLBACK;
SELECT * FROM unwell;

-- 14. Several at once, in the order of always; and metrics say the same.
SET billing_rpc.e2e_test_mode = on;
SET billing_rpc.webhook_mode = 'off';
SELECT billing.retire_webhook_secret(3);
SELECT check_name FROM unwell;
SELECT line FROM regexp_split_to_table(billing.metrics(), '\n') AS line WHERE line ~ '^billing_rpc_health.* 0$';

DROP ROLE golden_keeper;
DROP ROLE golden_gateway;
