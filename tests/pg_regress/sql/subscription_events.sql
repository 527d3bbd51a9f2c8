-- Subscriptions as events tell of them, in any order: Stripe's, which carry a time, and Paystack's, which carry none.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN
    PERFORM billing.add_webhook_secret('stripe', 'whsec_example');
    PERFORM billing.add_webhook_secret('paystack', 'sk_test_example');
    PERFORM billing.define_plan('pro', 900, 'eur', 'month', price_ids => '{price_pro,PLN_pro}');
END $$;

-- For this page: an event of Stripe's, made so many seconds after a beginning, signed and delivered.
CREATE FUNCTION deliver(event_id text, event_type text, at int, object jsonb, OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail
    FROM (SELECT jsonb_build_object('id', event_id, 'type', event_type, 'livemode', false, 'created', 1700000000 + at,
        'data', jsonb_build_object('object', object))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
-- Subscription sub_n of cus_n to pro, until 2100; what is given replaces parts of it.
CREATE FUNCTION sub(n text, status text, parts jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', 'sub_' || n, 'object', 'subscription', 'customer', 'cus_' || n, 'status', status,
        'items', '{"data": [{"price": {"id": "price_pro"}, "quantity": 1, "current_period_end": 4102444800}]}'::jsonb) || parts
$$;
-- So told by an event of that second; each call is an event of its own.
CREATE SEQUENCE told_events;
CREATE FUNCTION told(n text, status text, at int, parts jsonb = '{}', what text = 'updated', OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT * FROM deliver('evt_told_' || nextval('told_events'), 'customer.subscription.' || what, at, sub(n, status, parts))
$$;
-- Whose it is, and when an object and a status were last applied, in seconds after the beginning.
CREATE VIEW subs AS SELECT s.subscription_id AS id, c.legacy_id AS whose, s.status, s.object_status, extract(epoch FROM s.object_at)::bigint - 1700000000 AS object_at,
        extract(epoch FROM s.status_at)::bigint - 1700000000 AS status_at, s.quantity
    FROM billing.subscriptions s LEFT JOIN billing.customers c USING (customer_id) ORDER BY s.subscription_id;
CREATE VIEW queue AS SELECT object_id, requested_reason FROM billing.refetch_queue ORDER BY requested_at;

-- 1. The usual life of a subscription, in its order.
SELECT reason FROM register_billing_user(legacy_id => 1, stripe_customer_id => 'cus_1');
SELECT what, status, at, t.* FROM (VALUES ('created', 'incomplete', 0), ('updated', 'trialing', 1), ('updated', 'active', 2), ('updated', 'past_due', 3), ('updated', 'unpaid', 4),
    ('updated', 'active', 5), ('paused', 'paused', 6), ('resumed', 'active', 7), ('deleted', 'canceled', 8)) AS given (what, status, at), LATERAL told('1', status, at, '{}', what) AS t;
SELECT * FROM subs;
SELECT provider, provider_customer, price_ids, current_period_end, cancel_at_period_end, previous_status, is_truth, livemode FROM billing.subscriptions;
SELECT result FROM billing.webhook_events WHERE event_id = 'evt_told_1';
SELECT subscription_id, plan, status, quantity, active FROM subscription_status('1');
-- The types pending_update_applied, trial_will_end and others have no effect.
SELECT what, t.* FROM unnest('{trial_will_end,pending_update_applied,pending_update_expired,rewound}'::text[]) AS given (what), LATERAL told('1', 'active', 9, '{}', what) AS t;
-- The same life backwards: the end is the same. What is withheld as stale was all known by then.
SELECT what, status, at, t.* FROM (VALUES ('deleted', 'canceled', 8), ('resumed', 'active', 7), ('paused', 'paused', 6), ('updated', 'active', 5), ('updated', 'past_due', 3), ('created', 'incomplete', 0)) AS given (what, status, at),
    LATERAL told('1b', status, at, '{"customer": "cus_1"}', what) AS t;
SELECT * FROM subs;
SELECT count(*) FROM queue;
-- What was deleted is over, whatever its object says; incomplete_expired stays that.
SELECT * FROM told('1c', 'active', 0, '{"customer": "cus_1"}', 'deleted');
SELECT * FROM told('1d', 'incomplete_expired', 0, '{"customer": "cus_1"}', 'deleted');
SELECT id, status FROM subs WHERE id > 'sub_1b';

-- 2. A cus_... that nobody has: stored all the same. Linking attaches it, whoever links: a checkout, a customer's event, a call.
SELECT n, t.* FROM unnest('{2a,2b,2c,2d,2e}'::text[]) AS n, LATERAL told(n, 'active', 0) AS t;
SELECT * FROM subs WHERE id LIKE 'sub_2%';
SELECT * FROM deliver('evt_2a', 'checkout.session.completed', 0, '{"id": "cs_2a", "mode": "subscription", "payment_status": "paid", "customer": "cus_2a", "subscription": "sub_2a", "metadata": {"user_id": "21"}}');
SELECT * FROM deliver('evt_2b', 'customer.created', 0, '{"id": "cus_2b", "object": "customer", "email": "ada@example.com", "metadata": {"user_id": "22"}}');
SELECT * FROM deliver('evt_2c', 'customer.updated', 0, '{"id": "cus_2c", "object": "customer", "metadata": {"user_id": 22}}');
SELECT reason FROM register_billing_user(legacy_id => 24, stripe_customer_id => 'cus_2d');
SELECT * FROM subs WHERE id LIKE 'sub_2%';
-- Linked already, nobody named, or deleted: nothing changes.
SELECT * FROM deliver('evt_2f', 'customer.updated', 0, '{"id": "cus_2b", "object": "customer", "metadata": {"user_id": "22"}}');
SELECT * FROM deliver('evt_2g', 'customer.updated', 0, '{"id": "cus_2e", "object": "customer", "email": "ada@example.com"}');
SELECT * FROM deliver('evt_2h', 'customer.deleted', 0, '{"id": "cus_2b", "object": "customer", "metadata": {"user_id": "22"}}');
SELECT * FROM deliver('evt_2i', 'customer.updated', 0, '{"id": "cus_2b", "object": "customer", "metadata": {"user_id": "24"}}');
SELECT * FROM subs WHERE id LIKE 'sub_2%';
-- Later words on a linked one say so no more.
SELECT * FROM told('2e', 'past_due', 1);
SELECT * FROM told('2a', 'past_due', 1);

-- 3. metadata.user_id names whose it is and links, as in a checkout; a new user is made.
SELECT * FROM told('3', 'active', 0, '{"metadata": {"user_id": "31"}}');
SELECT legacy_id, stripe_customer_id FROM billing.customers WHERE legacy_id = 31;
-- A cus_... of somebody else stays there, and so does the subscription: link_refused.
SELECT * FROM told('3b', 'active', 0, '{"customer": "cus_3", "metadata": {"user_id": "32"}}');
SELECT * FROM subs WHERE id LIKE 'sub_3%';
SELECT found FROM resolve_billing_user('32');
-- Blank, unfilled and malformed names are none. What is stale or forbidden links nobody.
SELECT name, t.* FROM unnest(ARRAY[' ', '{{user_id}}', 'no body', 'null']) WITH ORDINALITY AS given (name, i), LATERAL told('3c' || i, 'active', 5, jsonb_build_object('metadata', jsonb_build_object('user_id', name))) AS t;
SELECT * FROM told('3c1', 'active', 4, '{"metadata": {"user_id": "33"}}');
SELECT * FROM told('3c1', 'canceled', 6);
SELECT * FROM told('3c1', 'active', 7, '{"metadata": {"user_id": "33"}}');
SELECT found FROM resolve_billing_user('33');
-- The subscription moves to another cus_...: it follows.
SELECT reason FROM register_billing_user(legacy_id => 34, stripe_customer_id => 'cus_34');
SELECT * FROM told('3', 'active', 1, '{"customer": "cus_34"}');
SELECT * FROM told('3', 'active', 2, '{"customer": "cus_nobody"}');
SELECT * FROM subs WHERE id = 'sub_3';

-- 4. Old news is stale. The same event again is its replay; the same said by another event in the same second is stale too.
SELECT * FROM told('4', 'active', 10);
SELECT * FROM told('4', 'past_due', 9);
SELECT * FROM told('4', 'active', 10);
SELECT * FROM deliver('evt_4', 'customer.subscription.updated', 11, sub('4', 'active'));
SELECT * FROM deliver('evt_4', 'customer.subscription.updated', 11, sub('4', 'active'));
SELECT count(*) FROM queue WHERE object_id = 'sub_4';
-- Two differing objects of one second: the one further on wins, whichever comes first, and the truth is asked for when the other comes second.
SELECT n, status, t.* FROM (VALUES ('4a', 'incomplete'), ('4a', 'active'), ('4b', 'active'), ('4b', 'incomplete')) AS given (n, status), LATERAL told(n, status, 0) AS t;
SELECT id, status FROM subs WHERE id IN ('sub_4a', 'sub_4b');
SELECT * FROM queue;
-- Of one status the later period wins.
SELECT * FROM told('4c', 'active', 0, '{"current_period_end": 4102444800}');
SELECT * FROM told('4c', 'active', 0, '{"current_period_end": 4105123200}');
SELECT * FROM told('4c', 'active', 0, '{"current_period_end": 4102444800, "quantity": 9}');
SELECT current_period_end, quantity FROM billing.subscriptions WHERE subscription_id = 'sub_4c';
-- Within one second the validator still judges: what lies further on, but cannot follow, is forbidden.
SELECT * FROM told('4d', 'incomplete', 0);
SELECT * FROM told('4d', 'past_due', 0);
SELECT * FROM queue;

-- 5. Forbidden transitions change nothing, and put the subscription on the queue, once. The truth takes it off, and has the last word.
DELETE FROM billing.refetch_queue;
SELECT * FROM told('5', 'canceled', 0, '{}', 'deleted');
SELECT * FROM told('5', 'active', 1);
SELECT * FROM told('5', 'trialing', 2);
SELECT * FROM subs WHERE id = 'sub_5';
SELECT * FROM queue;
SELECT reason, detail, previous_status, status FROM apply_subscription_update(sub('5', 'active'));
SELECT * FROM queue;
-- What was said before that truth is stale; what comes later is judged against it.
SELECT * FROM told('5', 'past_due', 3);
SELECT * FROM deliver('evt_5', 'customer.subscription.deleted', extract(epoch FROM clock_timestamp())::int - 1700000000 + 60, sub('5', 'canceled'));
SELECT status, is_truth FROM billing.subscriptions WHERE subscription_id = 'sub_5';
-- From every status to every other: the first is told at second 0, the second at second 1.
SELECT from_status, string_agg(to_status, ' ' ORDER BY place) FILTER (WHERE t.reason = 'applied') AS may_become, count(*) FILTER (WHERE t.detail = 'transition_not_allowed') AS forbidden
FROM unnest('{incomplete,trialing,active,past_due,unpaid,paused,incomplete_expired,canceled}'::text[]) WITH ORDINALITY AS f (from_status, line),
    unnest('{incomplete,trialing,active,past_due,unpaid,paused,incomplete_expired,canceled}'::text[]) WITH ORDINALITY AS s (to_status, place),
    LATERAL (SELECT a.reason AS first FROM told('5x' || line || place, from_status, 0) AS a) AS a, LATERAL told('5x' || line || place, CASE WHEN a.first = 'applied' THEN to_status END, 1) AS t
GROUP BY from_status, line ORDER BY line;
SELECT count(*) FROM queue;

-- 6. refetch = always: every event of a subscription asks for the truth; also one that changes nothing.
DELETE FROM billing.refetch_queue;
SET billing_rpc.refetch = 'always';
SELECT * FROM told('6', 'active', 5);
SELECT * FROM queue;
DELETE FROM billing.refetch_queue;
SELECT * FROM told('6', 'active', 4);
SELECT * FROM queue;
SELECT * FROM told('6', 'incomplete', 6);
SELECT * FROM queue;
RESET billing_rpc.refetch;
SELECT reason FROM apply_subscription_update(sub('6', 'active'));

-- 7. A relation that has the truth is read in the same call: nothing is queued.
CREATE TABLE public.truth (id text, attrs jsonb);
SELECT billing.set_refetch_source('public.truth');
INSERT INTO truth VALUES ('sub_7', sub('7', 'past_due', '{"metadata": {"user_id": "71"}}'));
SELECT * FROM told('7', 'canceled', 0);
SELECT * FROM told('7', 'active', 1);
SELECT status, is_truth, customer_id = (resolve_billing_user('71')).customer_id AS linked FROM billing.subscriptions WHERE subscription_id = 'sub_7';
SELECT * FROM queue;
-- Whose invoice waited for that link is served at once. (The answer is about the event itself.)
SELECT billing.define_plan('team', 300, 'eur', 'month', price_ids => '{price_team}', credits_per_period => 10);
SELECT * FROM deliver('evt_7b_paid', 'invoice.paid', 0, '{"id": "in_7b", "customer": "cus_7b", "billing_reason": "subscription_cycle", "subscription": "sub_7b", "lines": {"data": [{"amount": 300, "price": "price_team", "period": {"end": 4102444800}}]}}');
INSERT INTO truth VALUES ('sub_7b', sub('7b', 'active', '{"metadata": {"user_id": "72"}}'));
SELECT * FROM told('7b', 'canceled', 0);
SELECT * FROM told('7b', 'active', 1);
SELECT status FROM billing.webhook_events WHERE event_id = 'evt_7b_paid';
SELECT balance FROM credit_balance('72');
-- No row there, one of something else, one that is no subscription, or a relation that fails: the queue.
INSERT INTO truth VALUES ('sub_7d', sub('7x', 'active')), ('sub_7e', '[]'), ('sub_7f', sub('7f', 'ended')), ('sub_7g', NULL);
SELECT n, t.* FROM unnest('{7c,7d,7e,7f,7g}'::text[]) AS n, LATERAL (SELECT a.reason AS first FROM told(n, 'canceled', 0) AS a) AS a, LATERAL told(n, CASE WHEN a.first = 'applied' THEN 'active' END, 1) AS t;
SELECT * FROM queue;
DELETE FROM billing.refetch_queue;
ALTER TABLE truth RENAME COLUMN attrs TO attributes;
CREATE VIEW public.broken AS SELECT 'sub_7h'::text AS id, jsonb_build_object('n', 1 / (random() * 0)) AS attrs;
SELECT billing.set_refetch_source('public.broken');
SELECT * FROM told('7h', 'canceled', 0);
SELECT * FROM told('7h', 'active', 1);
SELECT * FROM queue;
SELECT billing.set_refetch_source();

-- 8. Objects that lack what a subscription must have fail, and are kept; thin events and those without a time are answered.
SELECT what, t.* FROM (VALUES (1, 'no id', sub('8', 'active', '{"id": null}')), (2, 'no customer', sub('8', 'active', '{"customer": null}')), (3, 'other customer', sub('8', 'active', '{"customer": "acct_1"}')),
    (4, 'no status', sub('8', 'active', '{"status": null}')), (5, 'new status', sub('8', 'hibernating')), (6, 'empty', '{}'), (7, 'too long', sub(repeat('8', 300), 'active')), (8, 'odd parts', sub('8', 'active', '{"items": 7, "quantity": -1, "metadata": []}'))) AS given (i, what, object),
    LATERAL deliver('evt_odd_' || i, 'customer.subscription.updated', 0, object) AS t;
SELECT event_id, status, payload IS NOT NULL AS kept FROM billing.webhook_events WHERE event_id LIKE 'evt_odd_%' AND status <> 'completed' ORDER BY event_id;
SELECT * FROM subs WHERE id LIKE 'sub_8%';
SELECT b, e.reason, e.detail FROM unnest(ARRAY['{"id": "evt_8t", "object": "v2.core.event", "type": "customer.subscription.updated"}', '{"id": "evt_8u", "type": "customer.subscription.updated"}',
    '{"id": "evt_8v", "type": "customer.subscription.updated", "data": {"object": null}}']) AS b, LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e;
-- Without a time, or with one that no timestamp holds, an event is as new as its delivery.
SELECT e.reason, e.detail FROM (SELECT jsonb_build_object('id', 'evt_' || n, 'type', 'customer.subscription.updated', 'created', created, 'data', jsonb_build_object('object', sub(n, 'active')))::text AS b
    FROM (VALUES ('8w', 'null'::jsonb), ('8x', '"1700000000"'), ('8y', '99999999999999')) AS given (n, created)) AS body, LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e;
SELECT subscription_id, object_at > clock_timestamp() - interval '1 minute' AS just_now FROM billing.subscriptions WHERE subscription_id BETWEEN 'sub_8w' AND 'sub_8y' ORDER BY 1;

-- 9. Paystack's events: the validator alone judges them, in the order in which they come; nothing is queued.
CREATE FUNCTION paystack(what text, n text, parts jsonb = '{}', OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail FROM (SELECT jsonb_build_object('event', what, 'data', jsonb_build_object('domain', 'test', 'subscription_code', 'SUB_' || n, 'status', 'active', 'amount', 90000,
        'plan', '{"plan_code": "PLN_pro"}'::jsonb, 'customer', jsonb_build_object('customer_code', 'CUS_' || n, 'email', 'n' || n || '@example.com'), 'next_payment_date', '2100-01-01T00:00:00.000Z') || parts)::text) AS body (b),
        LATERAL process_paystack_webhook(b, billing.sign_paystack_payload(b, 'sk_test_example')) AS e
$$;
CREATE VIEW paystack_subs AS SELECT s.subscription_id AS id, c.legacy_id AS whose, s.status, s.current_period_end::date AS period_end, s.cancel_at_period_end AS ends, s.object_at, s.price_ids
    FROM billing.subscriptions s LEFT JOIN billing.customers c USING (customer_id) WHERE provider = 'paystack' ORDER BY s.subscription_id;
SELECT * FROM paystack('subscription.create', '9');
SELECT * FROM paystack_subs;
SELECT reason FROM register_billing_user(legacy_id => 9, paystack_customer_code => 'CUS_9');
SELECT provider, subscription_id, plan, status, current_period_end, cancel_at_period_end, active FROM subscription_status('9');
-- The same body again is its replay.
SELECT * FROM paystack('subscription.create', '9');
-- It will not renew: active until the period's end, which the event need not name.
SELECT * FROM paystack('subscription.not_renew', '9', '{"status": "non-renewing", "next_payment_date": null}');
SELECT * FROM paystack_subs;
-- An invoice of it: failed, then paid, with the new period. Only made, or not paid: nothing.
CREATE FUNCTION paystack_invoice(what text, n text, parts jsonb, OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT * FROM paystack(what, n, jsonb_build_object('subscription_code', null, 'invoice_code', 'INV_' || n, 'subscription', jsonb_build_object('subscription_code', 'SUB_' || n)) || parts)
$$;
SELECT * FROM paystack_invoice('invoice.create', '9', '{"paid": 0}');
SELECT * FROM paystack_invoice('invoice.payment_failed', '9', '{"paid": 0}');
SELECT * FROM paystack_subs;
SELECT * FROM paystack_invoice('invoice.update', '9', '{"paid": false}');
SELECT * FROM paystack_invoice('invoice.update', '9', '{"paid": true, "period_end": "2100-02-01T00:00:00.000Z"}');
SELECT * FROM paystack_subs;
-- Each month's invoice of an active one brings the new period; told again, late, or without a period, there is nothing to do.
SELECT period_end, i.* FROM (VALUES ('2100-03-01T00:00:00.000Z', 1), ('2100-03-01T00:00:00.000Z', 2), ('2100-02-01T00:00:00.000Z', 3), (NULL, 4)) AS given (period_end, amount),
    LATERAL paystack_invoice('invoice.update', '9', jsonb_build_object('paid', 1, 'period_end', period_end, 'amount', amount)) AS i;
SELECT * FROM paystack_subs;
SELECT subscription_id, current_period_end, active FROM subscription_status('9');
-- Of an unknown one, or of none: nothing.
SELECT * FROM paystack_invoice('invoice.update', '9x', '{"paid": 1}');
SELECT * FROM paystack('invoice.update', '9', '{"paid": 1}');
-- Disabled, or complete: over. Nothing leaves that.
SELECT * FROM paystack('subscription.disable', '9', '{"status": "complete", "next_payment_date": null}');
SELECT * FROM paystack('subscription.create', '9', '{"amount": 1}');
SELECT * FROM paystack_invoice('invoice.update', '9', '{"paid": true, "amount": 2}');
SELECT * FROM paystack_subs;
SELECT * FROM queue WHERE object_id LIKE 'SUB%';
-- metadata.user_id names and links here too; a CUS_... of somebody else stays there.
SELECT * FROM paystack('subscription.create', '9b', '{"metadata": {"user_id": "92"}}');
SELECT * FROM paystack('subscription.create', '9c', '{"customer": {"customer_code": "CUS_9b"}, "metadata": {"user_id": "93"}}');
SELECT id, whose FROM paystack_subs;
SELECT what, t.* FROM (VALUES ('no code', '{"subscription_code": null}'::jsonb), ('no customer', '{"customer": {}}'), ('Stripe''s', '{"customer": {"customer_code": "cus_9"}}')) AS given (what, parts), LATERAL paystack('subscription.create', '9d', parts) AS t;
SELECT * FROM paystack('subscription.expiring_cards', '9');
