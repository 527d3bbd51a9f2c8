-- A database that has been used, with something to look after.
SET client_min_messages = warning;
SELECT billing.add_webhook_secret('stripe', 'whsec_setup');
SELECT billing.define_pack('starter', 100, 900, 'eur');
SELECT billing.define_plan('pro', 5000, 'ngn', 'month');
SELECT register_billing_user(legacy_id => 7, stripe_customer_id => 'cus_7');
SELECT grant_credits('guest@example.com', 40, 'setup-guest'), grant_credits('ada@example.com', 20, 'setup-ada'), grant_credits('8', 10, 'setup-8');

CREATE FUNCTION pg_temp.deliver(event_id text, object text) RETURNS text LANGUAGE sql
RETURN (SELECT concat_ws(' ', o.reason, o.detail)
    FROM (SELECT format('{"id": "%s", "type": "checkout.session.completed", "livemode": false, "data": {"object":
        {"id": "cs_%s", "mode": "payment", "payment_status": "paid", "currency": "eur", %s}}}', event_id, event_id, object)) AS event (body),
        process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_setup')) AS o);
SELECT pg_temp.deliver('evt_101', '"amount_subtotal": 900, "amount_total": 900, "customer": "cus_7", "metadata": {"pack": "starter"}');
SELECT pg_temp.deliver('evt_102', '"amount_subtotal": 900, "amount_total": 900, "customer": "cus_nobody", "metadata": {"pack": "starter"}');
SELECT pg_temp.deliver('evt_103', '"amount_subtotal": 700, "amount_total": 700, "customer": "cus_7", "metadata": {"pack": "starter"}');
SET billing_rpc.max_attempts = 1;
SELECT pg_temp.deliver('evt_104', '"amount_subtotal": 900, "amount_total": 900, "customer": "cus_7", "metadata": {"pack": "jumbo"}');
RESET billing_rpc.max_attempts;
-- No worker has run for a while, and one failure is old.
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '20 minutes' WHERE event_id = 'evt_102';
UPDATE billing.webhook_events SET received_at = now() - interval '31 days' WHERE event_id = 'evt_103';

SELECT start_subscription_payment('order-77', '7', 'pro', 5000, 'ngn');
UPDATE billing.payments SET started_at = now() - interval '1 hour';
INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at)
    VALUES ('subscription', 'sub_9', 'transition_not_allowed', now() - interval '1 hour');
-- The page adds secrets of its own, from the first on.
DELETE FROM billing.webhook_secrets;
ALTER TABLE billing.webhook_secrets ALTER COLUMN secret_id RESTART WITH 1;

-- pg_cron belongs to one database of a server, and its clock is not what is tested. This one has the same call, and runs the
-- command at once: what is scheduled is a statement that works.
CREATE SCHEMA cron;
CREATE FUNCTION cron.schedule(job_name text, schedule text, command text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 1;
END $$;
