-- The group roles, who is a member of them, and what each may really do: by calling, not by asking the catalogue.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

SELECT set_eq(
    $$ SELECT rolname, rolsuper, rolcanlogin, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles
       WHERE rolname LIKE 'billing\_%' $$,
    $$ SELECT name::name, false AS super, false AS login, false AS createrole, false AS createdb, false AS bypassrls, false AS replication
       FROM unnest('{billing_owner,billing_service,billing_webhook,billing_user,billing_monitor}'::text[]) name $$,
    'five group roles, none of which can log in or has a special right');
SELECT set_eq(
    $$ SELECT m.member::regrole::text AS member, m.roleid::regrole::text AS granted, m.admin_option FROM pg_auth_members m
       WHERE m.roleid::regrole::text LIKE 'billing\_%' $$,
    $$ SELECT member, granted, false AS admin_option FROM (VALUES ('service_role', 'billing_service'), ('authenticated', 'billing_user')) AS m (member, granted)
       WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = member) $$,
    'Supabase''s roles, where they are, are members of their groups');
SELECT is_empty($$ SELECT roleid::regrole FROM pg_auth_members WHERE member::regrole::text LIKE 'billing\_%' $$,
    'the group roles are members of nothing');

SELECT isnt(billing.add_webhook_secret('stripe', 'whsec_test'), NULL, 'a secret');

-- Each function called with nothing but nulls, as every role: a row, or 42501.
CREATE TEMP TABLE calls AS
    SELECT f.oid, f.signature, format('SELECT * FROM %s(%s)', f.oid::regproc,
        (SELECT string_agg('NULL::' || format_type(t, NULL), ', ' ORDER BY n)
         FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n))) AS statement
    FROM tap.functions f JOIN pg_proc p USING (oid) WHERE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype);
SELECT is(
    (SELECT string_agg(r.role || ' ' || c.signature, ', ') FROM tap.roles r, calls c
     WHERE (tap.attempt(r.role, c.statement) = '42501')
        = (has_function_privilege(r.role, c.oid, 'EXECUTE')
           AND (c.signature !~ '^billing\.' OR has_schema_privilege(r.role, 'billing', 'USAGE')))
        -- set_users_table and set_refetch_source run as their caller and make a view as such
        AND c.signature !~ 'set_users_table|set_refetch_source'),
    NULL, 'calling agrees with the catalogue');
SELECT is(
    (SELECT string_agg(DISTINCT tap.attempt('billing_service', c.statement) || ' ' || c.signature, ', ') FROM calls c
     -- the page is for monitors
     WHERE c.signature !~ '^billing\.' AND c.signature <> 'billing_dashboard()' AND tap.attempt('billing_service', c.statement) <> 'ok'),
    NULL, 'whatever billing_service calls with nulls answers with a row');

-- No role reads the tables; billing_monitor sees that there is a secret, not which.
SELECT is_empty(
    $$ SELECT r.role, t.name FROM tap.roles r, tap.relations t
       WHERE r.role <> 'billing_owner' AND t.relkind <> 'S'
         AND NOT (r.role = 'billing_monitor' AND t.relkind = 'v')
         AND tap.attempt(r.role, 'SELECT * FROM ' || t.name) <> '42501' $$,
    'reading a table is refused');
SELECT is(tap.attempt('billing_monitor', 'SELECT * FROM billing.webhook_secret_list'), 'ok', 'billing_monitor sees the list of secrets');
SELECT is_empty($$ SELECT webhook_secret_list FROM billing.webhook_secret_list WHERE webhook_secret_list::text LIKE '%whsec%' $$,
    'which shows none');
SELECT is(tap.attempt('billing_monitor', 'SELECT secret FROM billing.webhook_secrets'), '42501', 'and not the secrets');

SELECT is(tap.attempt('billing_monitor', 'SELECT * FROM billing.credit_totals'), 'ok', 'billing_monitor sees the totals');
SELECT is(tap.attempt('billing_monitor', 'SELECT * FROM billing.reconcile()'), 'ok', 'and has the books checked');
SELECT is(tap.attempt('billing_monitor', 'SELECT billing.expire_credits(1)'), '42501', 'but writes nothing off');
SELECT is(tap.attempt('billing_service', 'SELECT billing.expire_credits(1)'), '42501', 'nor does billing_service');

-- Supabase's postgres, who is no superuser: a member of service_role and authenticated, with CREATEROLE.
SELECT is(tap.attempt('postgres', statement), CASE WHEN :'fixture' = 'supabase' THEN wanted ELSE 'ok' END, 'postgres on ' || :'fixture' || ': ' || statement)
FROM (VALUES
    ('SELECT * FROM public.credit_balance(''a@example.com'')', 'ok'),
    ('SELECT billing.add_webhook_secret(''stripe'', ''whsec_other'')', '42501'),
    ('SELECT * FROM billing.access_audit()', '42501'),
    ('INSERT INTO billing.webhook_secrets (provider, secret) VALUES (''stripe'', ''whsec_other'')', '42501'),
    ('UPDATE billing.balances SET balance = 0', '42501'),
    ('ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only', '42501'),
    ('ALTER FUNCTION public.grant_credits RESET search_path', '42501'),
    ('DROP EXTENSION billing_rpc', '42501'),
    ('SET billing_rpc.e2e_test_mode = on', '42501'),
    ('ALTER ROLE billing_owner SUPERUSER', '42501')
) AS v (statement, wanted)
WHERE :'fixture' = 'supabase' OR statement ~ '^SELECT';

-- Row security is the second wall: with the tables granted, a stranger still sees no row.
SELECT ok((SELECT applied FROM grant_credits('a@example.com', 5, 'key', priority => 1)), 'credits of somebody');
SELECT ok((SELECT applied FROM spend_credits('a@example.com', 1, 'key-2')), 'and a spend');
SELECT ok((SELECT applied FROM hold_credits('a@example.com', 2, 'key-3')), 'and a hold');
SELECT ok(bool_and(defined IS NOT NULL), 'a catalogue') FROM (VALUES (billing.define_pack('starter', 1, 1, 'ngn')::text),
    (billing.define_plan('pro', 1, 'ngn', 'month', price_ids => '{price_1}')::text)) AS v (defined);
SELECT ok((SELECT applied FROM start_subscription_payment('ref-1', 'a@example.com', 'pro', 1, 'ngn', '{branch}')), 'a payment');
SELECT is((SELECT branches FROM verify_subscription_payment('ref-1', 'success', 1, 'ngn')), 1, 'that is paid, for a branch');
CREATE FUNCTION tap.seen(role_name text, relation text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role_name);
    EXECUTE 'SELECT count(*) FROM ' || relation INTO n;
    RESET ROLE;
    RETURN n;
END $$;
GRANT USAGE ON SCHEMA billing TO fresh;
GRANT SELECT ON ALL TABLES IN SCHEMA billing TO fresh;
SELECT is(tap.seen('fresh', name), 0::bigint, 'with SELECT granted, ' || name || ' shows a stranger nothing')
    FROM tap.relations WHERE relkind = 'r';

SELECT * FROM finish();
ROLLBACK;
