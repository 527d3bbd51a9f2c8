-- The truth read in the same call in which it is wanted: from a table of the foreign table's shape, and from a server that does not answer.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SET timezone = 'UTC';
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
CREATE SEQUENCE event_number;
CREATE FUNCTION deliver(subscription text, seconds int, status text) RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example'))
    FROM CAST(jsonb_build_object('id', 'evt_' || nextval('event_number'), 'type', 'customer.subscription.updated', 'livemode', false,
        'created', 1700000000::bigint + seconds, 'data', jsonb_build_object('object', jsonb_build_object('id', subscription, 'object', 'subscription',
        'customer', 'cus_1', 'status', status))) AS text) AS body
$$;
CREATE VIEW stored AS SELECT subscription_id, status, is_truth, (SELECT string_agg(object_id, ' ' ORDER BY object_id) FROM billing.refetch_queue) AS wanted
    FROM billing.subscriptions ORDER BY subscription_id;
CREATE SCHEMA stripe;
CREATE TABLE stripe.subscriptions (id text PRIMARY KEY, customer text, attrs jsonb);
INSERT INTO stripe.subscriptions VALUES
    ('sub_alive', 'cus_1', '{"id": "sub_alive", "customer": "cus_1", "status": "active", "metadata": {"user_id": "7"}}'),
    ('sub_odd', 'cus_1', '{"id": "sub_odd", "customer": "cus_1", "status": "no such status"}'),
    ('sub_other', 'cus_1', '{"id": "sub_alive", "customer": "cus_1", "status": "active"}');
SELECT billing.set_refetch_source('stripe.subscriptions');

-- 1. Nothing is read where nothing is wanted.
SELECT reason, detail FROM deliver('sub_alive', 0, 'canceled');
SELECT * FROM stored;
-- The validator forbids what the event says, so the truth is read, and counts; the user whom it names is linked.
SELECT reason, detail FROM deliver('sub_alive', 10, 'past_due');
SELECT * FROM stored;
SELECT subscription_id, status, active FROM subscription_status('7');
SELECT reason, detail FROM deliver('sub_alive', 20, 'past_due');

-- 2. No row there, an object that cannot be read, or another one's: the queue.
SELECT reason FROM unnest('{sub_none, sub_odd, sub_other}'::text[]) AS s, LATERAL deliver(s, 0, 'canceled');
SELECT reason, detail FROM unnest('{sub_none, sub_odd, sub_other}'::text[]) AS s, LATERAL deliver(s, 10, 'active');
SELECT * FROM stored;
DELETE FROM billing.refetch_queue;

-- 3. Reading fails: the queue, and the event is answered as ever.
CREATE FUNCTION stripe.fails() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the API says no'; END $$;
CREATE VIEW stripe.failing AS SELECT id, stripe.fails() AS attrs FROM stripe.subscriptions;
SELECT billing.set_refetch_source('stripe.failing');
SELECT reason, detail FROM deliver('sub_odd', 20, 'active');
SELECT object_id, requested_reason FROM pending_refetches();
DELETE FROM billing.refetch_queue;
-- Another database, reached through postgres_fdw.
CREATE EXTENSION postgres_fdw;
CREATE DATABASE refetch_source_far;
SELECT current_database() AS here, current_setting('port') AS port, split_part(current_setting('unix_socket_directories'), ',', 1) AS socket \gset
\c refetch_source_far
CREATE TABLE subscriptions (id text, attrs jsonb);
INSERT INTO subscriptions VALUES ('sub_odd', '{"id": "sub_odd", "customer": "cus_1", "status": "trialing"}');
\c :here
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'socket', port :'port', dbname 'refetch_source_far');
CREATE USER MAPPING FOR CURRENT_USER SERVER far;
CREATE FOREIGN TABLE stripe.far (id text, attrs jsonb) SERVER far OPTIONS (schema_name 'public', table_name 'subscriptions');
SELECT billing.set_refetch_source('stripe.far');
SELECT reason, detail FROM deliver('sub_odd', 25, 'active');
SELECT status, is_truth FROM stored WHERE subscription_id = 'sub_odd';
SELECT reason, detail FROM apply_subscription_update('{"id": "sub_odd", "customer": "cus_1", "status": "canceled"}');
-- It goes away: the event is answered, and the queue holds the request.
SELECT count(*) AS closed FROM postgres_fdw_disconnect_all();
DROP DATABASE refetch_source_far WITH (FORCE);
SELECT o.reason, o.detail FROM CAST(jsonb_build_object('id', 'evt_far', 'type', 'customer.subscription.updated', 'livemode', false, 'created', extract(epoch FROM now())::bigint + 60,
    'data', jsonb_build_object('object', jsonb_build_object('id', 'sub_odd', 'object', 'subscription', 'customer', 'cus_1', 'status', 'active'))) AS text) AS body,
    LATERAL process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example')) o;
SELECT object_id, requested_reason FROM pending_refetches();
DELETE FROM billing.refetch_queue;
-- A server that cannot be reached.
CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', connect_timeout '2');
CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere;
CREATE FOREIGN TABLE stripe.far_away (id text, attrs jsonb) SERVER nowhere OPTIONS (schema_name 'stripe', table_name 'subscriptions');
SELECT billing.set_refetch_source('stripe.far_away');
SELECT reason FROM deliver('sub_away', 0, 'canceled');
SELECT reason, detail FROM deliver('sub_away', 30, 'active');
SELECT object_id, requested_reason FROM pending_refetches();
DELETE FROM billing.refetch_queue;
-- The relation is gone: so is the view that read it.
DROP SCHEMA stripe CASCADE;
SELECT reason, detail FROM deliver('sub_away', 40, 'active');
SELECT object_id FROM pending_refetches();

-- 4. With billing_rpc.refetch = always every event is followed by the truth.
CREATE TABLE truth (id text PRIMARY KEY, attrs json);
INSERT INTO truth VALUES ('sub_new', '{"id": "sub_new", "customer": "cus_1", "status": "active", "quantity": 3}');
SELECT billing.set_refetch_source('public.truth');
SET billing_rpc.refetch = always;
SELECT reason, detail FROM deliver('sub_new', 0, 'trialing');
SELECT status, quantity FROM billing.subscriptions WHERE subscription_id = 'sub_new';
SELECT billing.set_refetch_source();
