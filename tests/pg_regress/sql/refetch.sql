-- The queue of subscriptions whose truth is wanted, and the relation that it can be read from.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SET timezone = 'UTC';

-- 1. A worker asks what is wanted, the longest waiting first; every subscription is there once.
INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at) VALUES
    ('subscription', 'sub_2', 'stale_event', '2026-01-01 12:00:02Z'),
    ('subscription', 'sub_1', 'transition_not_allowed', '2026-01-01 12:00:01Z'),
    ('subscription', 'sub_3', 'always', '2026-01-01 12:00:03Z');
SELECT * FROM pending_refetches();
SELECT object_id FROM pending_refetches(1);
SELECT count(*) FROM pending_refetches(NULL);
SELECT count(*) FROM pending_refetches(0);
SELECT count(*) FROM pending_refetches(-1);

-- 2. The truth takes its request off the queue, unless it was asked for after that truth was observed.
SELECT reason, detail FROM apply_subscription_update('{"id": "sub_1", "customer": "cus_1", "status": "active"}', '2026-01-01 12:00:00.9Z');
SELECT object_id FROM pending_refetches();
SELECT reason, detail FROM apply_subscription_update('{"id": "sub_1", "customer": "cus_1", "status": "active"}', '2026-01-01 12:00:01Z');
SELECT object_id FROM pending_refetches();
-- Truth without a time is as old as the request that it answers.
SELECT reason, detail FROM apply_subscription_update('{"id": "sub_2", "customer": "cus_1", "status": "active"}');
SELECT object_at, status_at FROM billing.subscriptions WHERE subscription_id = 'sub_2';
-- Once more is a replay: there is nothing left to answer.
SELECT reason, detail FROM apply_subscription_update('{"id": "sub_2", "customer": "cus_1", "status": "active"}');
-- Something newer than the request came in between. Truth that says the same as what stands ends it; other truth is stale, and leaves it for later truth.
INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at) VALUES ('subscription', 'sub_2', 'always', '2026-01-01 12:00:01Z');
SELECT reason, detail, status FROM apply_subscription_update('{"id": "sub_2", "customer": "cus_1", "status": "canceled"}');
SELECT object_id, requested_at > '2026-06-01' AS renewed FROM pending_refetches();
SELECT reason, detail, status FROM apply_subscription_update('{"id": "sub_2", "customer": "cus_1", "status": "canceled"}');
SELECT object_id FROM pending_refetches();
INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at) VALUES ('subscription', 'sub_2', 'always', '2026-01-01 12:00:01Z');
SELECT reason, detail, status FROM apply_subscription_update('{"id": "sub_2", "customer": "cus_1", "status": "canceled"}');
SELECT object_id FROM pending_refetches();

-- 3. Naming a relation. It has a text id and attrs in JSON; bad input is refused with 22023, and no word of it comes back.
CREATE SCHEMA stripe;
CREATE TABLE stripe.subscriptions (id text PRIMARY KEY, customer text, attrs jsonb);
CREATE TABLE stripe.no_attrs (id text);
CREATE TABLE stripe.other_types (id bigint, attrs text);
SELECT billing.set_refetch_source('stripe.nothing');
\echo :LAST_ERROR_SQLSTATE
SELECT billing.set_refetch_source('subscriptions');
SELECT billing.set_refetch_source('');
SELECT billing.set_refetch_source('stripe.no_attrs');
\echo :LAST_ERROR_SQLSTATE
SELECT billing.set_refetch_source('stripe.other_types');
SELECT billing.set_refetch_source('stripe.subscriptions; drop table stripe.subscriptions');
SELECT to_regclass('billing.refetch_source') IS NULL AS none_set;
SELECT billing.set_refetch_source('stripe.subscriptions');
-- Nothing was granted on the relation: a view of whoever called reads it.
SELECT has_table_privilege('billing_owner', 'stripe.subscriptions', 'SELECT') AS owner_reads_table,
    has_table_privilege('billing_owner', 'billing.refetch_source', 'SELECT') AS owner_reads_view;
SELECT grantee, privilege_type FROM information_schema.role_table_grants WHERE table_name = 'refetch_source' AND grantee <> 'postgres' ORDER BY 1, 2;
-- Another one takes its place; null takes it away, once and again.
CREATE VIEW stripe.some AS SELECT id::varchar AS id, attrs::json AS attrs FROM stripe.subscriptions;
SELECT billing.set_refetch_source('stripe.some');
SELECT billing.set_refetch_source();
SELECT billing.set_refetch_source();
SELECT to_regclass('billing.refetch_source') IS NULL AS gone;
-- Only a superuser names it.
SET ROLE billing_service;
SELECT billing.set_refetch_source('stripe.subscriptions');
RESET ROLE;
