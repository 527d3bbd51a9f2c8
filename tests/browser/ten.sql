-- About ten rows of everything, made as clients make them, in a database that has just got the extension.
SELECT billing.add_webhook_secret('stripe', 'whsec_ten'), billing.define_plan('pro', 2900, 'eur', 'month', price_ids => '{price_pro}') \g /dev/null

CREATE FUNCTION pg_temp.told(event_id text, event_type text, object jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', e.reason, e.detail) FROM (SELECT jsonb_build_object('id', event_id, 'type', event_type, 'livemode', false,
            'created', extract(epoch FROM now())::bigint, 'data', jsonb_build_object('object', object))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_ten')) AS e
$$;
CREATE FUNCTION pg_temp.checkout(n text, parts jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.told('evt_' || n, 'checkout.session.completed', jsonb_build_object('id', 'cs_' || n, 'object', 'checkout.session', 'mode', 'payment',
        'payment_status', 'paid', 'amount_total', 900, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '100', 'user_id', '1')) || parts)
$$;

-- Three that went well, one for nobody known, one that is dead, one of the application's own, one recorded, one claimed and left alone.
SELECT pg_temp.checkout('1'), pg_temp.checkout('2', '{"customer": "cus_2"}'), pg_temp.told('evt_3', 'product.created', '{"id": "prod_1", "object": "product"}') \g /dev/null
SELECT pg_temp.checkout('4', '{"customer": "cus_4", "metadata": {"credits": "10"}}') \g /dev/null
SET billing_rpc.max_attempts = 1;
SELECT pg_temp.checkout('5', '{"metadata": {"pack": "never", "user_id": "1"}}') \g /dev/null
RESET billing_rpc.max_attempts;
SELECT claim_token AS token FROM claim_webhook_event('mailer', 'msg_1', 'delivery.bounced') \gset
SELECT reason FROM fail_webhook_event('mailer', 'msg_1', :'token', 'the mail server timed out') \g /dev/null
SET billing_rpc.webhook_mode = 'record';
SELECT pg_temp.checkout('6') \g /dev/null
RESET billing_rpc.webhook_mode;
SELECT reason FROM claim_stripe_event('evt_7', 'invoice.paid') \g /dev/null
UPDATE billing.webhook_events SET lease_until = now() - interval '1 hour' WHERE event_id = 'evt_7';
UPDATE billing.webhook_events SET next_attempt_at = now() - interval '1 hour' WHERE event_id = 'evt_6';

-- Credits of two types, and subscriptions of somebody and of nobody.
SELECT grant_credits('ada@example.com', 50, 'ten 1'), spend_credits('1', 30, 'ten 2'), grant_credits('1', 7, 'ten 3', 'render_minutes'),
    reverse_credit_entry((SELECT min(entry_id) FROM billing.ledger), 'ten 4', 5) \g /dev/null
SELECT pg_temp.told('evt_8', 'customer.subscription.created', '{"id": "sub_1", "object": "subscription", "customer": "cus_2", "status": "active",
        "items": {"data": [{"price": {"id": "price_pro"}, "quantity": 1}]}}'),
    pg_temp.told('evt_9', 'customer.subscription.created', '{"id": "sub_2", "object": "subscription", "customer": "cus_9", "status": "trialing", "items": {"data": []}}') \g /dev/null
INSERT INTO billing.refetch_queue (requested_at, object_type, object_id, requested_reason) VALUES (now(), 'subscription', 'sub_1', 'transition_not_allowed');
