-- Subscription payments: started here, paid at the provider, verified here.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;
SELECT billing.define_plan('pro', 5000, 'NGN', 'month');
SELECT billing.define_plan('shops', 2000, 'ngn', 'month', per_branch => true);
SELECT billing.define_plan('yearly', 50000, 'ngn', 'year');
-- How far an end lies ahead, by the calendar.
CREATE FUNCTION ends(at timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(length, ', ') FROM unnest('{1 month,2 months,3 months,1 year}'::text[]) length
    WHERE at BETWEEN clock_timestamp() - interval '1 minute' + length::interval AND clock_timestamp() + length::interval
$$;
CREATE VIEW branches AS
    SELECT p.reference, b.branch_id, b.is_main_branch FROM billing.branch_subscriptions b JOIN billing.payments p USING (payment_id) ORDER BY p.payment_id, b.branch_id;

-- 1. Starting records what is about to be paid, and makes the customer.
SELECT applied, reason, detail, reference, status, customer_id IS NOT NULL AS customer, plan, amount_minor, currency, paid_at, subscription_end, branches
FROM start_subscription_payment('ref-1', 'Ada@example.com', 'pro', 5000, 'NGN', metadata => '{"cart": 7}');
SELECT p.status, c.email, p.period, p.metadata, p.branch_ids, p.started_at <= clock_timestamp() AS started FROM billing.payments p JOIN billing.customers c USING (customer_id);
SELECT applied, reason, detail, status, branches FROM subscription_payment_status('ref-1');

-- 2. The first success marks it, and pays until a calendar month from now.
SELECT applied, reason, detail, reference, status, customer_id IS NOT NULL AS customer, plan, amount_minor, currency, paid_at, ends(subscription_end), branches
FROM verify_subscription_payment('ref-1', 'success', 5000, 'NGN', '2026-03-01 10:00:00+00');
-- Whatever is said from then on is answered with the same numbers.
CREATE TABLE first AS SELECT status, customer_id, plan, amount_minor, currency, paid_at, subscription_end, branches FROM subscription_payment_status('ref-1');
SELECT v.applied, v.reason, v.detail, (v.status, v.customer_id, v.plan, v.amount_minor, v.currency, v.paid_at, v.subscription_end, v.branches) = (f.*) AS same
FROM first f, verify_subscription_payment('ref-1', 'success', 5000, 'ngn') v;
SELECT v.reason, v.detail, (v.status, v.customer_id, v.plan, v.amount_minor, v.currency, v.paid_at, v.subscription_end, v.branches) = (f.*) AS same
FROM first f, (VALUES ('failed', 5000, 'ngn', NULL), ('success', 1, 'usd', 'infinity'), ('ongoing', NULL, '?', NULL), (NULL, NULL, NULL, NULL), ('', -1, '', NULL)) said (status, amount, currency, paid_at),
    LATERAL verify_subscription_payment('ref-1', said.status, said.amount, said.currency, said.paid_at::timestamptz) v;
SELECT v.reason, v.detail, (v.status, v.customer_id, v.plan, v.amount_minor, v.currency, v.paid_at, v.subscription_end, v.branches) = (f.*) AS same
FROM first f, subscription_payment_status('ref-1') v;

-- 3. Starting again with the same parameters is a replay, and shows the payment as it is now. Metadata do not count.
SELECT applied, reason, detail, status, ends(subscription_end) FROM start_subscription_payment('ref-1', 'ada@EXAMPLE.com', 'pro', 5000, 'ngn');
-- Any identifier of the same customer is the same user.
SELECT reason FROM register_billing_user(email => 'ada@example.com', legacy_id => 7);
SELECT reason, status FROM start_subscription_payment('ref-1', '7', 'pro', 5000, 'ngn');
-- With other parameters the reference is taken, even if they could not be started at all.
SELECT reason, detail, reference, status FROM start_subscription_payment('ref-1', 'ben@example.com', 'pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-1', 'cus_nobody', 'pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-1', '7', 'yearly', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-1', '7', 'pro', 4999, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-1', '7', 'pro', 5000, 'usd');
SELECT reason, detail FROM start_subscription_payment('ref-1', '7', 'pro', 5000, 'ngn', '{a}');
-- Nobody is made by what is refused.
SELECT count(*) FROM billing.customers WHERE email = 'ben@example.com';

-- 4. What cannot be started.
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'gold', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'Pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', 5000, 'usd');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', 10000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'CUS_nobody', 'pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment();
SELECT reason, detail FROM start_subscription_payment(' ', 'ben@example.com', 'pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment(repeat('r', 256), 'ben@example.com', 'pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', '{{user}}', 'pro', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', NULL, 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', '', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', repeat('p', 64), 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', 5000);
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', -5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', 5000, 'naira');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', 5000, 'ngn', metadata => '[]');
SELECT reason, detail FROM start_subscription_payment('ref-2', 'ben@example.com', 'pro', 5000, 'ngn', metadata => jsonb_build_object('a', repeat('x', 17000)));
SELECT count(*) FROM billing.payments;

-- 5. Branches. The price is one branch's; repeated ids count once; branch subscriptions come with the success.
SELECT reason, detail FROM start_subscription_payment('shops-1', '7', 'shops', 6000, 'ngn', '{a,b}');
SELECT reason, status, branches FROM start_subscription_payment('shops-1', '7', 'shops', 4000, 'ngn', '{b,a,b}', 'b');
SELECT reason FROM start_subscription_payment('shops-1', '7', 'shops', 4000, 'ngn', '{a,b}', 'b');
SELECT reason, detail FROM start_subscription_payment('shops-1', '7', 'shops', 4000, 'ngn', '{a,b}', 'a');
SELECT reason, detail FROM start_subscription_payment('shops-1', '7', 'shops', 4000, 'ngn', '{a,c}', 'a');
SELECT * FROM branches;
SELECT reason, status, ends(subscription_end), branches FROM verify_subscription_payment('shops-1', 'success', 4000, 'ngn');
SELECT * FROM branches;
SELECT reason, branches FROM verify_subscription_payment('shops-1', 'success', 4000, 'ngn');
-- Without branches it costs as one. Where the plan is not per branch, branches cost nothing more.
SELECT reason, amount_minor FROM start_subscription_payment('shops-2', '7', 'shops', 2000, 'ngn');
SELECT reason, branches FROM verify_subscription_payment('shops-2', 'success', 2000, 'ngn');
SELECT reason, amount_minor FROM start_subscription_payment('pro-branches', '8', 'pro', 5000, 'ngn', '{x,y,z}');
-- A branch that has its row already keeps it; all rows are counted.
INSERT INTO billing.branch_subscriptions (payment_id, branch_id, is_main_branch) SELECT payment_id, branch, true FROM billing.payments, unnest('{extra,y}'::text[]) branch WHERE reference = 'pro-branches';
SELECT reason, branches FROM verify_subscription_payment('pro-branches', 'success', 5000, 'ngn');
SELECT * FROM branches WHERE reference = 'pro-branches';
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 2000, 'ngn', '{a}', 'b');
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 2000, 'ngn', '{a}', '');
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 2000, 'ngn', main_branch_id => 'a');
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 2000, 'ngn', '{NULL}');
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 4000, 'ngn', '{a," "}');
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 2000, 'ngn', ARRAY[repeat('b', 256)]);
SELECT reason, detail FROM start_subscription_payment('shops-3', '7', 'shops', 2002000, 'ngn', (SELECT array_agg('branch-' || n) FROM generate_series(1, 1001) n));
SELECT reason, amount_minor FROM start_subscription_payment('shops-3', '7', 'shops', 2000000, 'ngn', (SELECT array_agg('branch-' || n % 1000) FROM generate_series(1, 3000) n), 'branch-999');
SELECT reason, branches FROM verify_subscription_payment('shops-3', 'success', 2000000, 'ngn');
SELECT count(*), count(*) FILTER (WHERE is_main_branch) AS main FROM branches WHERE reference = 'shops-3';
-- Null is no branch, and an array of arrays is the branches in it.
SELECT reason, status FROM start_subscription_payment('shops-4', '7', 'shops', 2000, 'ngn', NULL, NULL, NULL);
SELECT reason, amount_minor FROM start_subscription_payment('shops-5', '7', 'shops', 8000, 'ngn', '{{a,b},{c,d}}', 'd');

-- 6. What the gateway may say before the success: a wrong success marks nothing, a failed attempt may be followed by a right one.
SELECT reason FROM start_subscription_payment('ref-3', 'cleo@example.com', 'pro', 5000, 'ngn');
SELECT applied, reason, detail, status, subscription_end FROM verify_subscription_payment('ref-3', 'ongoing');
SELECT applied, reason, detail, status, subscription_end FROM verify_subscription_payment('ref-3', 'success', 4999, 'ngn');
SELECT applied, reason, detail, status, subscription_end FROM verify_subscription_payment('ref-3', 'success', 5000, 'usd');
SELECT applied, reason, detail, status FROM verify_subscription_payment('ref-3', 'abandoned');
SELECT applied, reason, detail, status FROM verify_subscription_payment('ref-3', 'failed', 5000, 'ngn');
SELECT applied, reason, detail, status FROM verify_subscription_payment('ref-3', 'pending');
SELECT applied, reason, detail, status FROM subscription_payment_status('ref-3');
SELECT applied, reason, detail, status FROM start_subscription_payment('ref-3', 'cleo@example.com', 'pro', 5000, 'ngn');
SELECT applied, reason, detail, status, paid_at <= clock_timestamp() AS paid, ends(subscription_end) FROM verify_subscription_payment('ref-3', 'success', 5000, 'ngn');
SELECT applied, reason, detail, status FROM verify_subscription_payment('ref-3', 'failed');
-- Bad input, and payments that nobody started.
SELECT reason, detail, reference, status FROM verify_subscription_payment();
SELECT reason, detail FROM verify_subscription_payment('');
SELECT reason, detail FROM verify_subscription_payment(repeat('r', 256), 'success', 5000, 'ngn');
SELECT reason, detail, reference, status FROM verify_subscription_payment('ref-unheard', 'success', 5000, 'ngn');
SELECT reason, detail FROM verify_subscription_payment('ref-unheard', 'failed');
SELECT reason, detail FROM verify_subscription_payment('shops-4');
SELECT reason, detail FROM verify_subscription_payment('shops-4', '');
SELECT reason, detail FROM verify_subscription_payment('shops-4', 'success');
SELECT reason, detail FROM verify_subscription_payment('shops-4', 'success', 2000);
SELECT reason, detail FROM verify_subscription_payment('shops-4', 'success', currency => 'ngn');
SELECT reason, detail FROM verify_subscription_payment('shops-4', 'success', -1, 'ngn');
SELECT reason, detail FROM verify_subscription_payment('shops-4', 'success', 2000, 'ngn', 'infinity');
SELECT reason, detail FROM verify_subscription_payment('shops-4', 'success', 2000, 'ngn', '-infinity');
SELECT reason, detail, reference FROM subscription_payment_status('ref-unheard');
SELECT reason, detail, reference FROM subscription_payment_status();
SELECT reason, detail, reference FROM subscription_payment_status(' ');
-- An ancient time is the provider's word.
SELECT reason, paid_at FROM verify_subscription_payment('shops-4', 'success', 2000, 'ngn', '4714-11-24 00:00:00+00 BC');

-- 7. Payments for one plan add up, each from the end of the one before; other plans and other customers are not touched.
SELECT reason FROM start_subscription_payment('dora-1', 'dora@example.com', 'pro', 5000, 'ngn');
SELECT reason FROM start_subscription_payment('dora-2', 'dora@example.com', 'pro', 5000, 'ngn');
SELECT reason FROM start_subscription_payment('dora-3', 'dora@example.com', 'yearly', 50000, 'ngn');
SELECT ends(subscription_end) FROM verify_subscription_payment('dora-2', 'success', 5000, 'ngn');
SELECT subscription_end = (SELECT subscription_end + interval '1 month' FROM subscription_payment_status('dora-2')) AS a_month_later
FROM verify_subscription_payment('dora-1', 'success', 5000, 'ngn');
SELECT ends(subscription_end) FROM verify_subscription_payment('dora-3', 'success', 50000, 'ngn');
-- An end that is over counts from now.
UPDATE billing.payments SET subscription_end = '2020-01-01' WHERE reference IN ('dora-1', 'dora-2');
SELECT reason FROM start_subscription_payment('dora-4', 'dora@example.com', 'pro', 5000, 'ngn');
SELECT ends(subscription_end) FROM verify_subscription_payment('dora-4', 'success', 5000, 'ngn');
-- The calendar is UTC's: the end of January plus a month is the end of February, also in the hours where the session has another day.
CREATE FUNCTION extend(plan text, amount bigint, present_end timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE name text := gen_random_uuid();
BEGIN
    PERFORM start_subscription_payment(name || '/1', name, plan, amount, 'ngn');
    PERFORM start_subscription_payment(name || '/2', name, plan, amount, 'ngn');
    PERFORM verify_subscription_payment(name || '/1', 'success', amount, 'ngn');
    UPDATE billing.payments SET subscription_end = present_end WHERE reference = name || '/1';
    RETURN (SELECT subscription_end FROM verify_subscription_payment(name || '/2', 'success', amount, 'ngn'));
END $$;
SET timezone = 'Pacific/Auckland';
CREATE TABLE ends AS
    SELECT present_end, plan, extend(plan, amount, present_end) AS new_end
    FROM (VALUES ('2095-01-31 10:00:00+00'::timestamptz, 'pro', 5000), ('2096-01-31 23:30:00+00', 'pro', 5000), ('2096-02-29 23:30:00+00', 'pro', 5000),
        ('2096-02-29 00:00:00+00', 'yearly', 50000), ('2100-01-30 12:00:00+00', 'pro', 5000), ('2099-12-31 23:59:59.999999+00', 'pro', 5000)) given (present_end, plan, amount);
SET timezone = 'UTC';
SELECT * FROM ends ORDER BY present_end;
-- Later than a timestamp can say.
SELECT reason FROM start_subscription_payment('late-1', 'late@example.com', 'pro', 5000, 'ngn');
SELECT reason FROM start_subscription_payment('late-2', 'late@example.com', 'pro', 5000, 'ngn');
SELECT reason FROM verify_subscription_payment('late-1', 'success', 5000, 'ngn');
UPDATE billing.payments SET subscription_end = '294276-12-31' WHERE reference = 'late-1';
SELECT reason, detail, status FROM verify_subscription_payment('late-2', 'success', 5000, 'ngn');

-- 8. What was bought is what was started: the plan may be defined anew, the payment keeps its price and period.
SELECT reason FROM start_subscription_payment('old-1', 'eve@example.com', 'pro', 5000, 'ngn');
SELECT billing.define_plan('pro', 90000, 'usd', 'year');
SELECT reason, amount_minor FROM start_subscription_payment('old-1', 'eve@example.com', 'pro', 5000, 'ngn');
SELECT reason, detail FROM verify_subscription_payment('old-1', 'success', 90000, 'usd');
SELECT reason, amount_minor, currency, ends(subscription_end) FROM verify_subscription_payment('old-1', 'success', 5000, 'ngn');
SELECT reason, detail FROM start_subscription_payment('old-2', 'eve@example.com', 'pro', 5000, 'ngn');
-- A free plan is started and verified like any other.
SELECT billing.define_plan('free', 0, 'ngn', 'month');
SELECT reason, amount_minor FROM start_subscription_payment('free-1', 'eve@example.com', 'free', 0, 'ngn');
SELECT reason, ends(subscription_end) FROM verify_subscription_payment('free-1', 'success', 0, 'ngn');

-- 9. A users table decides who may pay.
CREATE TABLE members (id bigint PRIMARY KEY, email text);
INSERT INTO members VALUES (70, 'member@example.com');
SELECT billing.set_users_table('public.members', 'id', 'email');
SELECT reason FROM start_subscription_payment('member-1', 'Member@example.com', 'free', 0, 'ngn');
SELECT reason, detail FROM start_subscription_payment('member-2', 'stranger@example.com', 'free', 0, 'ngn');
SELECT reason FROM start_subscription_payment('member-1', '70', 'free', 0, 'ngn');
-- Who has left it still gets the replay.
DELETE FROM members;
SELECT reason FROM start_subscription_payment('member-1', '70', 'free', 0, 'ngn');
