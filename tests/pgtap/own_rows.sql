-- The second wall. Nobody is granted the tables; here somebody does grant them, with all rights but TRUNCATE (which row security
-- does not judge). Two users then read their own rows of every table, and change none.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

-- On Supabase users come as authenticated; elsewhere as some member of billing_user.
SELECT CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN 'authenticated' ELSE 'end_user' END AS end_user \gset
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN CREATE ROLE end_user IN ROLE billing_user; END IF;
END $$;

-- Something of everything for two customers, and rows that are nobody's.
CREATE FUNCTION tap.live(person text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM register_billing_user(user_id => person::uuid, email => n || '@example.com', stripe_customer_id => 'cus_' || n);
    PERFORM register_billing_user(user_id => person::uuid, stripe_customer_id => 'cus_more_' || n);
    PERFORM apply_credit_purchase(person, 100, 'purchase ' || n, 'cs_' || n, 999, 'eur');
    PERFORM grant_credits(person, 20, 'grant ' || n, priority => 1);
    PERFORM spend_credits(person, 5, 'spend ' || n);
    PERFORM hold_credits(person, 5, 'hold ' || n);
    PERFORM start_subscription_payment('ref_' || n, person, 'pro', 1, 'ngn', ARRAY['branch ' || n]);
    PERFORM verify_subscription_payment('ref_' || n, 'success', 1, 'ngn');
    PERFORM apply_subscription_update(jsonb_build_object('id', 'sub_' || n, 'customer', 'cus_' || n, 'status', 'active'), now());
END $$;
SELECT lives_ok($$ SELECT billing.define_pack('starter', 1, 1, 'ngn'), billing.define_plan('pro', 1, 'ngn', 'month', price_ids => '{price_1}'),
    billing.add_webhook_secret('stripe', 'whsec_test'), billing.allow_account('acct_1') $$, 'a catalogue and a secret');
SELECT lives_ok($$ SELECT tap.live('aaaaaaaa-0000-4000-8000-000000000000', 1), tap.live('bbbbbbbb-0000-4000-8000-000000000000', 2) $$, 'two users with all that a user may have');
SELECT lives_ok($$ SELECT process_stripe_webhook(tap.event('evt_1', 'aaaaaaaa-0000-4000-8000-000000000000'), billing.sign_stripe_payload(tap.event('evt_1', 'aaaaaaaa-0000-4000-8000-000000000000'), 'whsec_test')) $$, 'an event');
INSERT INTO billing.refetch_queue VALUES (now(), 'subscription', 'sub_1', 'conflict');
INSERT INTO billing.balance_mirrors VALUES (now(), NULL, 'credits', 'public.users', 'id', 'credits_balance');
INSERT INTO billing.charges (payment_ref, source_ref) VALUES ('pi_1', 'stripe:cs_1');
SELECT is(reason::text, 'applied', 'a subscription of nobody') FROM apply_subscription_update('{"id": "sub_0", "customer": "cus_0", "status": "active"}', now());

-- Which rows are whose, told by the tables themselves.
CREATE TEMP TABLE owned (name text PRIMARY KEY, belongs text);
INSERT INTO owned SELECT 'billing.' || name, 't.customer_id' FROM unnest('{customers,customer_aliases,balances,ledger,lots,holds,payments,subscriptions}'::text[]) AS name;
INSERT INTO owned VALUES
    ('billing.lot_uses', '(SELECT p.customer_id FROM billing.ledger p WHERE p.entry_id = t.entry_id)'),
    ('billing.hold_lots', '(SELECT p.customer_id FROM billing.holds p WHERE p.hold_id = t.hold_id)'),
    ('billing.branch_subscriptions', '(SELECT p.customer_id FROM billing.payments p WHERE p.payment_id = t.payment_id)');
CREATE TEMP TABLE closed AS SELECT 'billing.' || name AS name
    FROM unnest('{charges,webhook_events,webhook_secrets,allowed_accounts,packs,pack_prices,plans,plan_prices,refetch_queue,code_meetings,balance_mirrors}'::text[]) AS name;
SELECT set_eq('SELECT name FROM tap.relations WHERE relkind = ''r''', 'SELECT name FROM owned UNION SELECT name FROM closed', 'every table is either customers'' or closed');
SELECT set_eq('SELECT table_name FROM billing.intended_policies()', 'SELECT name FROM owned', 'every customers'' table has a policy, no other one has');

CREATE FUNCTION tap.rows(relation text, condition text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    found text[];
BEGIN
    EXECUTE format('SELECT coalesce(array_agg(t::text ORDER BY t::text), ''{}'') FROM %s t WHERE %s', relation, condition) INTO found;
    RETURN found;
END $$;
-- What a role reads with a token's sub; or how it is refused.
CREATE FUNCTION tap.reads(role_name text, sub text, relation text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    found text[];
BEGIN
    PERFORM set_config('request.jwt.claims', json_build_object('sub', sub)::text, true);
    EXECUTE format('SET LOCAL ROLE %I', role_name);
    EXECUTE format('SELECT coalesce(array_agg(t::text ORDER BY t::text), ''{}'') FROM %s t', relation) INTO found;
    RESET ROLE;
    RETURN found;
EXCEPTION WHEN insufficient_privilege THEN
    RESET ROLE;
    RETURN ARRAY[SQLERRM];
END $$;
CREATE TEMP TABLE users AS SELECT customer_id, user_id::text AS sub FROM billing.customers;
SELECT is((SELECT count(*) FROM users), 2::bigint, 'there are two customers');

SELECT is(tap.reads(:'end_user', u.sub, o.name), ARRAY['permission denied for schema billing'], 'the first wall: no ' || o.name) FROM owned o, users u;
GRANT USAGE ON SCHEMA billing TO :end_user, fresh;
GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA billing TO :end_user, fresh;

SELECT isnt(tap.rows(o.name, format('%s = %L', o.belongs, u.customer_id)), '{}', 'there is something of ' || left(u.sub, 1) || ' in ' || o.name) FROM owned o, users u;
SELECT is(tap.reads(:'end_user', u.sub, o.name), tap.rows(o.name, format('%s = %L', o.belongs, u.customer_id)), left(u.sub, 1) || ' reads their own of ' || o.name)
    FROM owned o, users u;
SELECT isnt(tap.rows(c.name, 'true'), '{}', 'there is something in ' || c.name) FROM closed c;
SELECT is(tap.reads(:'end_user', u.sub, c.name), '{}', left(u.sub, 1) || ' reads nothing of ' || c.name) FROM closed c, users u;
SELECT is(tap.reads(:'end_user', sub, o.name), '{}', 'nobody: ' || coalesce(sub, 'null') || ' reads nothing of ' || o.name)
    FROM owned o, unnest(ARRAY[NULL, '', '1@example.com', 'cus_1', 'cccccccc-0000-4000-8000-000000000000']) AS sub;
SELECT is(tap.reads('fresh', u.sub, o.name), '{}', 'who is no member of billing_user reads nothing of ' || o.name) FROM owned o, users u;

-- Nothing is changed through it.
CREATE FUNCTION tap.writes(role_name text, sub text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM set_config('request.jwt.claims', json_build_object('sub', sub)::text, true);
    EXECUTE format('SET LOCAL ROLE %I', role_name);
    EXECUTE statement;
    GET DIAGNOSTICS n = ROW_COUNT;
    RESET ROLE;
    RETURN n;
EXCEPTION WHEN insufficient_privilege OR object_not_in_prerequisite_state THEN
    RESET ROLE;
    RETURN SQLERRM;
END $$;
CREATE TEMP TABLE before AS SELECT t.name, tap.rows(t.name, 'true') AS rows FROM tap.relations t WHERE t.relkind = 'r';
SELECT is(tap.writes(:'end_user', u.sub, format('INSERT INTO %s DEFAULT VALUES', b.name)),
    format('new row violates row-level security policy for table "%s"', split_part(b.name, '.', 2)), left(u.sub, 1) || ' adds nothing to ' || b.name) FROM before b, users u;
SELECT is(tap.writes(:'end_user', u.sub, format('UPDATE %s SET %I = %2$I', b.name,
        (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = b.name::regclass AND a.attnum > 0 AND a.attidentity = '' ORDER BY a.attnum LIMIT 1))),
    CASE b.name WHEN 'billing.ledger' THEN 'billing.ledger is append-only' ELSE '0' END, left(u.sub, 1) || ' changes nothing in ' || b.name) FROM before b, users u;
SELECT is(tap.writes(:'end_user', u.sub, 'DELETE FROM ' || b.name),
    CASE b.name WHEN 'billing.ledger' THEN 'billing.ledger is append-only' ELSE '0' END, left(u.sub, 1) || ' deletes nothing of ' || b.name) FROM before b, users u;
SELECT is_empty('SELECT name FROM before b WHERE b.rows <> tap.rows(b.name, ''true'')', 'every row is as it was');

-- Who makes the request is found out once for a query, however many rows there are.
SELECT lives_ok($$ SELECT spend_credits('aaaaaaaa-0000-4000-8000-000000000000', 1, 'more ' || n) FROM generate_series(1, 50) n $$, 'more entries');
SET LOCAL track_functions = 'all';
CREATE FUNCTION tap.calls(relation text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    before bigint := coalesce(pg_stat_get_xact_function_calls('billing.current_customer_id()'::regprocedure), 0);
BEGIN
    PERFORM set_config('request.jwt.claims', '{"sub": "aaaaaaaa-0000-4000-8000-000000000000"}', true);
    SET LOCAL ROLE end_user_of_test;
    EXECUTE 'SELECT count(*) FROM ' || relation;
    RESET ROLE;
    RETURN pg_stat_get_xact_function_calls('billing.current_customer_id()'::regprocedure) - before;
END $$;
CREATE ROLE end_user_of_test IN ROLE :end_user;
SELECT ok(cardinality(tap.reads('end_user_of_test', 'aaaaaaaa-0000-4000-8000-000000000000', 'billing.ledger')) > 50, 'more than 50 entries are read');
SELECT is(tap.calls('billing.ledger'), 1::bigint, 'with one call');
-- A child's policy reads its parent, whose policy looks as well.
SELECT is(tap.calls('billing.lot_uses'), 2::bigint, 'with two');

-- A parent that is not granted is not read round about.
REVOKE SELECT ON billing.ledger, billing.holds, billing.payments FROM :end_user;
SELECT is(tap.reads(:'end_user', u.sub, child), ARRAY['permission denied for table ' || parent], child || ' needs ' || parent)
    FROM users u, (VALUES ('billing.lot_uses', 'ledger'), ('billing.hold_lots', 'holds'), ('billing.branch_subscriptions', 'payments')) AS v (child, parent);

SELECT * FROM finish();
ROLLBACK;
