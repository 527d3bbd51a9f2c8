-- Events of Stripe's subscriptions: in any order, several in one second, twice.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SET timezone = 'UTC';
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
-- An event of sub_1, so many seconds after the first.
CREATE SEQUENCE event_number;
CREATE FUNCTION deliver(event_type text, seconds int, status text, parts jsonb = '{}') RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example'))
    FROM CAST(jsonb_build_object('id', 'evt_' || nextval('event_number'), 'type', 'customer.subscription.' || event_type, 'livemode', false,
        'created', 1700000000::bigint + seconds, 'data', jsonb_build_object('object', jsonb_build_object('id', 'sub_1', 'object', 'subscription', 'customer', 'cus_1',
        'status', status, 'current_period_end', 4102444800, 'items', '{"data": [{"price": {"id": "price_pro"}, "quantity": 1}]}'::jsonb) || parts)) AS text) AS body
$$;
CREATE VIEW stored AS SELECT status, extract(epoch FROM object_at)::int - 1700000000 AS object_at, extract(epoch FROM status_at)::int - 1700000000 AS status_at,
    current_period_end, (SELECT string_agg(requested_reason, ' ') FROM billing.refetch_queue) AS wanted FROM billing.subscriptions WHERE subscription_id = 'sub_1';

-- 1. The life of a subscription. Nobody has its cus_... yet: stored all the same.
SELECT applied, reason, detail, status FROM deliver('created', 0, 'incomplete');
SELECT * FROM stored;
SELECT reason, detail FROM deliver('updated', 10, 'trialing');
SELECT reason, detail FROM register_billing_user(legacy_id => 7, stripe_customer_id => 'cus_1');
SELECT status, active FROM subscription_status('7');
SELECT reason, detail FROM deliver('updated', 20, 'active');
SELECT reason, detail FROM deliver('updated', 30, 'past_due');
SELECT reason, detail FROM deliver('paused', 40, 'paused');
SELECT reason, detail FROM deliver('resumed', 50, 'active');
SELECT * FROM stored;

-- 2. An older one comes late: stale, and nothing changes.
SELECT reason, detail FROM deliver('updated', 45, 'unpaid');
-- Of one second: an identical one is stale; one less far is stale, and the truth is asked for; the one further on wins.
SELECT reason, detail FROM deliver('updated', 50, 'active');
SELECT * FROM stored;
SELECT reason, detail FROM deliver('updated', 50, 'trialing');
SELECT * FROM stored;
SELECT reason, detail FROM deliver('updated', 50, 'past_due');
SELECT reason, detail FROM deliver('updated', 50, 'past_due', '{"current_period_end": 4102444801}');
SELECT * FROM stored;
DELETE FROM billing.refetch_queue;

-- 3. It ends, and no event brings it back: the truth is asked for, once.
SELECT reason, detail FROM deliver('deleted', 60, 'canceled');
SELECT reason, detail FROM deliver('updated', 70, 'active');
SELECT reason, detail FROM deliver('updated', 80, 'active');
SELECT * FROM stored;
SELECT object_type, object_id, requested_reason FROM pending_refetches();
-- The truth: it is alive. Events older than it are stale from now on, later ones count.
SELECT reason, previous_status, status FROM apply_subscription_update('{"id": "sub_1", "customer": "cus_1", "status": "active"}');
SELECT count(*) FROM pending_refetches();
SELECT reason, detail FROM deliver('deleted', 90, 'canceled');
SELECT reason, detail FROM deliver('deleted', 2000000000, 'active');
SELECT status, active FROM subscription_status('7');

-- 4. What is not a subscription fails, and is kept to be tried again.
SELECT reason, detail, status FROM deliver('updated', 0, 'no such status', '{"id": "sub_2"}');
SELECT reason, detail, status FROM deliver('updated', 0, 'active', '{"id": "sub_2", "customer": null}');
SELECT error_message FROM billing.webhook_events WHERE status = 'failed';

-- 5. metadata.user_id names and links; what waited for the cus_... is processed in the same call.
SELECT reason, detail FROM deliver('created', 0, 'active', '{"id": "sub_3", "customer": "cus_3"}');
SELECT reason, detail FROM deliver('created', 0, 'active', '{"id": "sub_4", "customer": "cus_3", "metadata": {"user_id": "8"}}');
SELECT subscription_id, status FROM billing.subscriptions JOIN billing.customers USING (customer_id) WHERE legacy_id = 8 ORDER BY subscription_id;
SELECT reason, detail FROM deliver('created', 0, 'active', '{"id": "sub_5", "customer": "cus_3", "metadata": {"user_id": "9"}}');
SELECT count(*) AS made FROM billing.customers WHERE legacy_id = 9;

-- 6. With billing_rpc.refetch = always every event asks for the truth.
SET billing_rpc.refetch = always;
SELECT reason, detail FROM deliver('updated', 10, 'past_due', '{"id": "sub_3", "customer": "cus_3"}');
SELECT object_id, requested_reason FROM pending_refetches();
