-- A database that takes events and sells credits, and of which nobody has taken care for half an hour.
SET client_min_messages = warning;
SELECT billing.add_webhook_secret('stripe', 'whsec_setup', now() + interval '3 days');
SELECT billing.define_pack('starter', 100, 900, 'eur');

CREATE FUNCTION pg_temp.sold(event text, user_id text, pack text) RETURNS text LANGUAGE sql
RETURN (SELECT concat_ws(' ', o.reason, o.detail)
    FROM (SELECT jsonb_build_object('id', event, 'type', 'checkout.session.completed', 'livemode', true, 'data', jsonb_build_object('object', jsonb_build_object(
            'id', 'cs_' || event, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid', 'currency', 'eur', 'amount_subtotal', 900, 'amount_total', 900,
            'metadata', jsonb_build_object('user_id', user_id, 'pack', pack))))::text) AS sent (body),
        process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_setup')) AS o);
SELECT pg_temp.sold('evt_201', '7', 'starter');
SELECT pg_temp.sold('evt_202', '8', 'starter');
SELECT pg_temp.sold('evt_203', '7', 'jumbo');
SET billing_rpc.max_attempts = 1;
SELECT pg_temp.sold('evt_204', '{{user_id}}', 'starter');
RESET billing_rpc.max_attempts;
SELECT reason FROM claim_stripe_event('evt_205', 'invoice.paid');
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '25 minutes' WHERE event_id = 'evt_203';
SELECT spend_credits('7', 30, 'page-1'), spend_credits('8', 80, 'page-2');
