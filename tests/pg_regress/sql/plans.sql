-- Plans: periods, prices, price ids, and the credits that they grant.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION billing_rpc;
CREATE VIEW plans AS
    SELECT plan, amount_minor, currency, interval_count || ' ' || interval_unit AS period, credits_per_period AS credits, credit_type,
        credits_expire AS expire, credits_grace AS grace, per_branch,
        (SELECT string_agg(price_id, ',' ORDER BY price_id) FROM billing.plan_prices i WHERE i.plan = p.plan) AS price_ids
    FROM billing.plans p ORDER BY plan;

-- 1. What is left out reads as the default; so does null.
SELECT billing.define_plan('basic', 1000, 'NGN', 'month');
SELECT billing.define_plan('free', 0, 'eur', 'year', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT billing.define_plan('pro', 5000, 'ngn', 'week', 2, '{price_2,PLN_1,price_2}', 500, false, '1 day', 'gold', true);
SELECT * FROM plans;

-- 2. Again: replaced as a whole, price ids included.
SELECT billing.define_plan('pro', 6000, 'usd', 'day', 30, '{price_3,price_2}');
SELECT * FROM plans WHERE plan = 'pro';

-- 3. A price id stands for one plan. It can be moved by giving it up first.
SELECT billing.define_plan('basic', 1000, 'ngn', 'month', price_ids => '{price_9,price_2}');
SELECT * FROM plans WHERE plan IN ('basic', 'pro');
SELECT billing.define_plan('pro', 6000, 'usd', 'day', 30, '{price_3}');
SELECT billing.define_plan('basic', 1000, 'ngn', 'month', price_ids => '{price_9,price_2}');
SELECT * FROM plans WHERE plan IN ('basic', 'pro');

-- 4. Bad input is refused, and nothing is written. Error texts hold no value.
SELECT billing.define_plan();
SELECT billing.define_plan('', 1, 'eur', 'day');
SELECT billing.define_plan(repeat('x', 64), 1, 'eur', 'day');
SELECT billing.define_plan('p', NULL, 'eur', 'day');
SELECT billing.define_plan('p', -1, 'eur', 'day');
SELECT billing.define_plan('p', 1, NULL, 'day');
SELECT billing.define_plan('p', 1, 'e', 'day');
SELECT billing.define_plan('p', 1, 'eur');
SELECT billing.define_plan('p', 1, 'eur', 'days');
SELECT billing.define_plan('p', 1, 'eur', 'DAY');
SELECT billing.define_plan('p', 1, 'eur', 'day', 0);
SELECT billing.define_plan('p', 1, 'eur', 'day', -1);
SELECT billing.define_plan('p', 1, 'eur', 'day', 36526);
SELECT billing.define_plan('p', 1, 'eur', 'year', 101);
SELECT billing.define_plan('p', 1, 'eur', 'year', 2147483647);
SELECT billing.define_plan('p', 1, 'eur', 'day', price_ids => '{a,NULL}');
SELECT billing.define_plan('p', 1, 'eur', 'day', price_ids => '{""}');
SELECT billing.define_plan('p', 1, 'eur', 'day', price_ids => '{a b}');
SELECT billing.define_plan('p', 1, 'eur', 'day', price_ids => ARRAY[repeat('x', 256)]);
SELECT billing.define_plan('p', 1, 'eur', 'day', price_ids => (SELECT array_agg('price_' || n) FROM generate_series(1, 1001) n));
SELECT billing.define_plan('p', 1, 'eur', 'day', credits_per_period => -1);
SELECT billing.define_plan('p', 1, 'eur', 'day', credits_grace => '-1 second');
SELECT billing.define_plan('p', 1, 'eur', 'day', credits_grace => '101 years');
SELECT billing.define_plan('p', 1, 'eur', 'day', credit_type => '');
DO $$ BEGIN PERFORM billing.define_plan(); EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLSTATE; END $$;
SELECT plan FROM billing.plans WHERE plan = 'p';
-- The largest are accepted.
SELECT billing.define_plan(repeat('x', 63), 9223372036854775807, 'eur', 'year', 100, (SELECT array_agg('price_x' || n) FROM generate_series(1, 1000) n),
    9223372036854775807, true, '100 years', repeat('y', 63), true);
SELECT amount_minor, period, credits, grace, length(price_ids) FROM plans WHERE plan LIKE 'xxx%';
