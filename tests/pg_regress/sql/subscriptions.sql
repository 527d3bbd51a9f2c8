-- Subscriptions: the truth on them, whose they are, and who may use what.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SET timezone = 'UTC';
-- A Stripe subscription, as the API answers it.
CREATE FUNCTION sub(id text, customer text, status text, parts jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', id, 'object', 'subscription', 'customer', customer, 'status', status, 'livemode', false,
        'current_period_start', 4099766400, 'current_period_end', 4102444800, 'cancel_at_period_end', false,
        'items', '{"data": [{"price": {"id": "price_pro"}, "quantity": 2}]}'::jsonb) || parts
$$;
SELECT reason FROM register_billing_user('ada00000-0000-0000-0000-000000000000', 'ada@example.com', 7, 'cus_ada');

-- 1. The truth is stored, whatever its status; the same again is a replay, number for number.
SELECT applied, reason, detail, provider, subscription_id, customer_id IS NOT NULL AS customer, previous_status, status, current_period_end, cancel_at_period_end
FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'past_due'), '2026-01-01 12:00:00.5Z');
SELECT applied, reason, detail, provider, subscription_id, customer_id IS NOT NULL AS customer, previous_status, status, current_period_end, cancel_at_period_end
FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'past_due'), '2026-01-01 12:00:00.5Z');
-- Later truth: any status may follow any other, and even an ended subscription comes back.
SELECT reason, previous_status, status FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'canceled'), '2026-01-01 12:00:01Z');
SELECT reason, previous_status, status FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'active'), '2026-01-01 12:00:02Z');
SELECT reason, previous_status, status FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'active'), '2026-01-01 12:00:02Z');
-- Older truth is stale, and shows what stands.
SELECT reason, detail, previous_status, status FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'unpaid'), '2026-01-01 12:00:01.5Z');
-- Without a time it is as new as the call; the same once more is a replay still.
SELECT reason, previous_status, status FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'active', '{"quantity": 5}'));
SELECT reason, previous_status, status FROM apply_subscription_update(sub('sub_ada', 'cus_ada', 'active', '{"quantity": 5}'));
SELECT object_at > '2026-06-01' AS just_now, object_at = status_at AS together, is_truth FROM billing.subscriptions;

-- 2. What is shown. A price stands for its plan.
SELECT provider, subscription_id, status, quantity, current_period_end, cancel_at_period_end, trial_end, active FROM subscription_status('ada@example.com');
SELECT subscription_id FROM subscription_status('7') UNION ALL SELECT subscription_id FROM subscription_status('cus_ada');
-- Nobody, nothing and nonsense: nulls.
SELECT subscription_status('8'), subscription_status('cus_nobody'), subscription_status(''), subscription_status();
SELECT count(*) AS customers FROM billing.customers;

-- 3. Old and new shapes of the object say the same: the period on the subscription or on its items, plan or price, an expanded customer.
SELECT reason FROM apply_subscription_update('{"id": "sub_old", "customer": "cus_old", "status": "active", "current_period_start": 1700000000,
    "current_period_end": 1702592000, "quantity": 3, "plan": {"id": "price_pro"}}', '2026-01-01Z');
SELECT reason FROM apply_subscription_update('{"id": "sub_new", "customer": {"id": "cus_old", "object": "customer"}, "status": "active", "items": {"data": [
    {"price": {"id": "price_pro"}, "quantity": 3, "current_period_start": 1700000000, "current_period_end": 1702592000}]}}', '2026-01-01Z');
SELECT subscription_id, provider_customer, status, price_ids, quantity, current_period_start, current_period_end, cancel_at_period_end
FROM billing.subscriptions WHERE provider_customer = 'cus_old' ORDER BY subscription_id DESC;

-- 4. What it must have is an id, a customer and a known status; anything else may be missing or odd.
SELECT reason, detail, subscription_id, status FROM apply_subscription_update();
SELECT left(object::text, 60) AS object, reason, detail
FROM (VALUES ('[]'::jsonb), ('"sub_1"'), ('null'), ('{}'), (sub(NULL, 'cus_1', 'active')), (sub('', 'cus_1', 'active')), (sub('sub_1', NULL, 'active')),
    (sub('sub_1', 'CUS_1', 'active')), (sub('sub_1', 'ada', 'active')), (sub('sub_1', 'cus_1', NULL)), (sub('sub_1', 'cus_1', 'ended'))) AS given (object),
    LATERAL apply_subscription_update(object);
SELECT at, reason, detail FROM (VALUES ('infinity'::timestamptz), ('-infinity')) AS given (at), LATERAL apply_subscription_update(sub('sub_1', 'cus_1', 'active'), at);
SELECT reason, status, current_period_end, cancel_at_period_end
FROM apply_subscription_update('{"id": "sub_odd", "customer": "cus_odd", "status": "active", "items": 7, "quantity": "2", "current_period_end": 1e300,
    "cancel_at": -99999999999999, "trial_end": {}, "metadata": [], "cancel_at_period_end": "yes"}', '2026-01-01Z');
SELECT quantity, current_period_end, price_ids, cancel_at, trial_end, cancel_at_period_end FROM billing.subscriptions WHERE subscription_id = 'sub_odd';

-- 5. A cus_... that nobody has: the subscription waits, and linking gives it to its customer in the same call.
SELECT applied, reason, detail, customer_id FROM apply_subscription_update(sub('sub_bob', 'cus_bob', 'trialing', '{"trial_end": 4102444800}'), '2026-01-01Z');
SELECT applied, reason, detail, customer_id FROM apply_subscription_update(sub('sub_bob', 'cus_bob', 'trialing', '{"trial_end": 4102444800}'), '2026-01-01Z');
SELECT reason, detail FROM apply_subscription_update(sub('sub_bob2', 'cus_bob', 'canceled'), '2026-01-01Z');
SELECT reason FROM register_billing_user(legacy_id => 8, stripe_customer_id => 'cus_bob');
SELECT subscription_id, c.legacy_id FROM billing.subscriptions LEFT JOIN billing.customers c USING (customer_id) ORDER BY subscription_id;
SELECT subscription_id, status, trial_end, active FROM subscription_status('8');
-- A further code becomes an alias, and what waits for it is found all the same.
SELECT reason, detail FROM apply_subscription_update(sub('sub_bob3', 'cus_bob_guest', 'active'), '2026-01-01Z');
SELECT reason FROM register_billing_user(legacy_id => 8, stripe_customer_id => 'cus_bob_guest');
SELECT subscription_id, status FROM subscription_status('cus_bob');

-- metadata.user_id names and links, as in a checkout: an unknown user is made, ...
SELECT reason, detail, customer_id IS NOT NULL AS customer FROM apply_subscription_update(sub('sub_eve', 'cus_eve', 'active', '{"metadata": {"user_id": "9"}}'), '2026-01-01Z');
SELECT legacy_id, stripe_customer_id FROM billing.customers WHERE legacy_id = 9;
-- ... a code that is somebody else's stays theirs, and the subscription with it, ...
SELECT reason, detail, customer_id = (SELECT customer_id FROM billing.customers WHERE legacy_id = 9) AS eves
FROM apply_subscription_update(sub('sub_eve2', 'cus_eve', 'active', '{"metadata": {"user_id": "10"}}'), '2026-01-01Z');
SELECT count(*) AS made FROM billing.customers WHERE legacy_id = 10;
-- ... and an unfilled template names nobody. What is stale links nobody either.
SELECT reason, detail, customer_id FROM apply_subscription_update(sub('sub_tpl', 'cus_tpl', 'active', '{"metadata": {"user_id": "{{user_id}}"}}'), '2026-01-02Z');
SELECT reason, detail, customer_id FROM apply_subscription_update(sub('sub_tpl', 'cus_tpl', 'active', '{"metadata": {"user_id": "11"}}'), '2026-01-01Z');
SELECT count(*) AS made FROM billing.customers WHERE legacy_id = 11;
-- Linking processes what waits for the code: here a checkout that nobody could be credited for.
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
SELECT reason, detail FROM (SELECT '{"id": "evt_1", "type": "checkout.session.completed", "livemode": false, "created": 1700000000, "data": {"object": {"id": "cs_1",
    "mode": "payment", "payment_status": "paid", "customer": "cus_zoe", "metadata": {"credits": "5"}}}}' AS body) AS b,
    LATERAL process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example'));
SELECT reason FROM apply_subscription_update(sub('sub_zoe', 'cus_zoe', 'active', '{"metadata": {"user_id": "12"}}'), '2026-01-01Z');
SELECT balance FROM credit_balance('12');

-- 6. The best of several: active before trialing, past_due and the others, then the latest period end.
SELECT reason FROM register_billing_user(legacy_id => 20, stripe_customer_id => 'cus_best');
-- Volatile, so that it sees what the same query has just applied.
CREATE FUNCTION shown_after(reason billing_reason) RETURNS subscription_state LANGUAGE sql VOLATILE AS $$ SELECT * FROM subscription_status('20') $$;
SELECT given.id, given.status, given.period_end, did.reason, best.subscription_id AS best
FROM (VALUES ('sub_a', 'canceled', 4110000000), ('sub_b', 'unpaid', 4100000000), ('sub_c', 'past_due', 4000000000), ('sub_d', 'trialing', 4000000000),
    ('sub_e', 'active', 4000000000), ('sub_f', 'active', 4000000001), ('sub_g', 'active', 3999999999)) AS given (id, status, period_end),
    LATERAL apply_subscription_update(sub(given.id, 'cus_best', given.status, jsonb_build_object('current_period_end', given.period_end)), '2026-01-01Z') AS did,
    LATERAL shown_after(did.reason) AS best;
SELECT subscription_id, status FROM subscription_status('20');
-- One whose last period is over is no longer active, although no event has said so yet.
SELECT reason, cancel_at_period_end FROM apply_subscription_update(sub('sub_f', 'cus_best', 'active', '{"current_period_end": 1700000000, "cancel_at_period_end": true}'), '2026-01-02Z');
SELECT reason, cancel_at_period_end FROM apply_subscription_update(sub('sub_e', 'cus_best', 'active', '{"current_period_end": 1700000000, "cancel_at": 1700000000}'), '2026-01-02Z');
SELECT reason, cancel_at_period_end FROM apply_subscription_update(sub('sub_g', 'cus_best', 'active', '{"cancel_at": 1700000000}'), '2026-01-02Z');
SELECT subscription_id, status, active FROM subscription_status('20');
SELECT reason FROM apply_subscription_update(sub('sub_d', 'cus_best', 'incomplete'), '2026-01-02Z');
SELECT subscription_id, status, cancel_at_period_end, active FROM subscription_status('20');

-- 7. The statuses and what may follow them.
SELECT from_status, string_agg(to_status, ' ' ORDER BY place) FILTER (WHERE can_transition_subscription(from_status, to_status)) AS may_become
FROM unnest('{incomplete, incomplete_expired, trialing, active, past_due, unpaid, paused, canceled}'::text[]) WITH ORDINALITY AS s (to_status, place),
    unnest('{incomplete, trialing, active, past_due, unpaid, paused, incomplete_expired, canceled}'::text[]) WITH ORDINALITY AS f (from_status, line)
GROUP BY from_status, line ORDER BY line;
SELECT can_transition_subscription('active', 'Active'), can_transition_subscription('active', NULL), can_transition_subscription(NULL, 'active'), can_transition_subscription();

-- 8. End users: who they are comes from the JWT's sub, and from nothing else.
SET ROLE billing_user;
SELECT my_subscription(), has_active_subscription();
SET request.jwt.claims = '{"sub": "ada00000-0000-0000-0000-000000000000", "role": "authenticated"}';
SELECT subscription_id, status, active FROM my_subscription();
SELECT has_active_subscription() AS any, has_active_subscription(NULL) AS of_null, has_active_subscription('no such plan') AS of_none, has_active_subscription('') AS of_blank;
SET request.jwt.claims = '{"sub": "8"}';
SELECT subscription_id, has_active_subscription() FROM my_subscription();
SELECT claims AS nobody, set_config('request.jwt.claims', claims, false) = claims AS claimed, (my_subscription()).subscription_id, has_active_subscription()
FROM (VALUES ('{"sub": "ada@example.com"}'), ('{"sub": "cus_ada"}'), ('{"sub": ""}'), ('{"sub": null}'), ('{"sub": 7}'), ('{"email": "ada@example.com"}'), ('[]'), ('none')) AS given (claims);
-- Older versions of PostgREST set each claim by itself.
SET request.jwt.claims = '';
SET request.jwt.claim.sub = '7';
SELECT subscription_id FROM my_subscription();
RESET request.jwt.claim.sub;
-- External ids are somebody only where they are on.
RESET ROLE;
SET billing_rpc.external_ids = on;
SELECT reason FROM apply_subscription_update(sub('sub_ext', 'cus_ext', 'active', '{"metadata": {"user_id": "user_2abc"}}'), '2026-01-01Z');
SET request.jwt.claims = '{"sub": "user_2abc"}';
SELECT subscription_id FROM my_subscription();
SET billing_rpc.external_ids = off;
SELECT my_subscription() IS NULL AS nobody;
-- Everything else is out of an end user's reach. Nobody was made by asking.
SET ROLE billing_user;
SELECT subscription_id FROM subscription_status('7');
SELECT reason FROM apply_subscription_update('{}');
RESET ROLE;
SET request.jwt.claims = '{"sub": "4711"}';
SELECT my_subscription() IS NULL AS unknown, (SELECT count(*) FROM billing.customers WHERE legacy_id = 4711) AS made;

-- In a policy: the rows are there for subscribers.
CREATE TABLE reports (report_id int);
INSERT INTO reports SELECT generate_series(1, 1000);
ALTER TABLE reports ENABLE ROW LEVEL SECURITY;
CREATE POLICY subscribers ON reports FOR SELECT TO billing_user USING ((SELECT has_active_subscription()));
GRANT SELECT ON reports TO billing_user;
SET ROLE billing_user;
SET request.jwt.claims = '{"sub": "7"}';
SELECT count(*) FROM reports;
SET request.jwt.claims = '{"sub": "20"}';
SELECT count(*) FROM reports;
RESET ROLE;
