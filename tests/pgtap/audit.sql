-- billing.access_audit(): nothing after an install; then each thing that may be opened, one at a time: it is told, what it advises
-- mends it, and then nothing is told again.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();
DO $$ DECLARE name text; BEGIN
    FOREACH name IN ARRAY '{anon,authenticated,authenticator}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN EXECUTE format('CREATE ROLE %I', name); END IF;
    END LOOP;
END $$;
CREATE ROLE "odd role";

SELECT is_empty('SELECT * FROM billing.access_audit()', 'nothing after the install');
SELECT is_empty('SELECT check_name FROM billing.health() WHERE NOT ok', 'nor has health anything to say');
SELECT is(tap.attempt(role, 'SELECT * FROM billing.access_audit()'), CASE WHEN 'billing_monitor' = role OR 'billing_owner' = role THEN 'ok' ELSE '42501' END, role || ' asks')
    FROM tap.roles;

-- What is intended is what is granted: the list, the catalogue, and the lists of these tests agree.
SELECT set_eq($$ SELECT role_name, object_type, object_name, privilege, false FROM billing.intended_grants() $$,
    $$ SELECT role_name, object_type, object_name, privilege, grantable FROM billing.present_grants() $$, 'what is granted is what is intended');
SELECT is_empty($$ SELECT role_name, object_type, object_name, privilege FROM billing.intended_grants() GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 $$, 'nothing is listed twice');

-- What is told after a statement; then the advice is followed, statement by statement, and what is told after that. Nothing is kept.
CREATE FUNCTION tap.audited(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    told text;
    mended text;
    advice text;
    advices text[];
BEGIN
    EXECUTE statement;
    SET LOCAL ROLE billing_monitor;
    SELECT string_agg(concat_ws(' ', a.problem, a.role_name, a.privilege, a.object_type, a.object_name), '; '), array_agg(a.advice)
        INTO told, advices FROM billing.access_audit() a;
    RESET ROLE;
    FOREACH advice IN ARRAY coalesce(advices, '{}') LOOP
        IF advice ~ ';$' THEN EXECUTE advice; END IF;
    END LOOP;
    SELECT string_agg(concat_ws(' ', a.problem, a.object_name), '; ') INTO mended FROM billing.access_audit() a;
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = concat_ws(' | still ', coalesce(told, 'nothing'), mended);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;

SELECT is(tap.audited(statement), told, statement) FROM (VALUES
    -- Intended, or the operator's to decide.
    ('SELECT 1', 'nothing'),
    ('GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO anon', 'nothing'),
    ('GRANT EXECUTE ON FUNCTION paystack_webhook(json) TO anon', 'nothing'),
    ('GRANT billing_webhook TO anon', 'nothing'),
    ('GRANT billing_service TO "odd role"', 'nothing'),
    ('GRANT billing_monitor TO "odd role"', 'nothing'),
    ('GRANT billing_user TO authenticated', 'nothing'),
    -- Grants.
    ('GRANT EXECUTE ON FUNCTION spend_credits TO fresh', 'grant_not_intended fresh EXECUTE function spend_credits'),
    ('GRANT EXECUTE ON FUNCTION spend_credits TO "odd role"', 'grant_not_intended odd role EXECUTE function spend_credits'),
    ('GRANT EXECUTE ON FUNCTION grant_credits TO anon', 'grant_not_intended anon EXECUTE function grant_credits'),
    ('GRANT EXECUTE ON FUNCTION grant_credits TO PUBLIC', 'grant_not_intended PUBLIC EXECUTE function grant_credits'),
    ('GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO PUBLIC', 'grant_not_intended PUBLIC EXECUTE function stripe_webhook'),
    ('GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO authenticated', 'grant_not_intended authenticated EXECUTE function stripe_webhook'),
    ('GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO anon WITH GRANT OPTION', 'grant_option anon EXECUTE function stripe_webhook'),
    ('GRANT EXECUTE ON FUNCTION spend_credits TO billing_service WITH GRANT OPTION', 'grant_option billing_service EXECUTE function spend_credits'),
    ('GRANT EXECUTE ON FUNCTION spend_credits TO billing_user', 'grant_not_intended billing_user EXECUTE function spend_credits'),
    ('GRANT EXECUTE ON FUNCTION billing.add_webhook_secret TO billing_service', 'grant_not_intended billing_service EXECUTE function billing.add_webhook_secret'),
    ('GRANT EXECUTE ON FUNCTION billing.refuse_ledger_change() TO PUBLIC', 'grant_not_intended PUBLIC EXECUTE function billing.refuse_ledger_change'),
    ('GRANT SELECT ON billing.ledger TO fresh', 'grant_not_intended fresh SELECT table billing.ledger'),
    ('GRANT SELECT, TRUNCATE ON billing.webhook_secrets TO billing_monitor', 'grant_not_intended billing_monitor SELECT table billing.webhook_secrets; grant_not_intended billing_monitor TRUNCATE table billing.webhook_secrets'),
    ('GRANT SELECT (balance), UPDATE (balance) ON billing.balances TO fresh', 'grant_not_intended fresh SELECT column billing.balances.balance; grant_not_intended fresh UPDATE column billing.balances.balance'),
    ('GRANT SELECT ON billing.failed_events TO fresh', 'grant_not_intended fresh SELECT view billing.failed_events'),
    ('GRANT SELECT ON billing.failed_events TO billing_monitor WITH GRANT OPTION', 'grant_option billing_monitor SELECT view billing.failed_events'),
    ('GRANT DELETE ON billing.failed_events TO billing_monitor', 'grant_not_intended billing_monitor DELETE view billing.failed_events'),
    ('GRANT USAGE ON SEQUENCE billing.ledger_entry_id_seq TO fresh', 'grant_not_intended fresh USAGE sequence billing.ledger_entry_id_seq'),
    ('GRANT USAGE ON TYPE credit_outcome TO fresh', 'grant_not_intended fresh USAGE type credit_outcome'),
    ('GRANT USAGE ON SCHEMA billing TO authenticated', 'grant_not_intended authenticated USAGE schema billing'),
    ('GRANT CREATE ON SCHEMA billing TO billing_monitor', 'grant_not_intended billing_monitor CREATE schema billing'),
    ('GRANT CREATE ON SCHEMA public TO PUBLIC', 'schema_open_to_all PUBLIC CREATE schema public'),
    ('ALTER ROLE authenticator SET pgrst.db_schemas = ''public, billing''', 'schema_exposed authenticator schema billing | still schema_exposed billing'),
    ('ALTER ROLE authenticator SET pgrst.db_schemas = ''public, my_billing, billings''', 'nothing'),
    ('ALTER DATABASE ' || quote_ident(current_database()) || ' SET pgrst.db_schema = ''billing''', 'schema_exposed schema billing | still schema_exposed billing'),
    -- The application's users are read through a view that is made later, under the database's default privileges.
    ('CREATE TABLE public.people (id uuid, email text); SELECT billing.set_users_table(''public.people'', ''id'', ''email'')', 'nothing'),
    ('CREATE TABLE public.subs (id text, attrs jsonb); SELECT billing.set_refetch_source(''public.subs'')', 'nothing'),
    ('CREATE TABLE public.people (id uuid, email text); SELECT billing.set_users_table(''public.people'', ''id'', ''email''); GRANT SELECT ON billing.application_users TO anon',
        'grant_not_intended anon SELECT view billing.application_users'),
    -- Roles.
    ('GRANT billing_owner TO fresh', 'membership_not_intended fresh MEMBER role billing_owner'),
    ('GRANT billing_owner TO billing_service', 'membership_not_intended billing_service MEMBER role billing_owner'),
    ('GRANT billing_service TO anon', 'membership_not_intended anon MEMBER role billing_service | still membership_not_intended billing_service'),
    ('GRANT billing_service TO fresh; GRANT fresh TO authenticated', 'membership_not_intended authenticated MEMBER role billing_service | still membership_not_intended billing_service'),
    ('GRANT billing_monitor TO authenticated', 'membership_not_intended authenticated MEMBER role billing_monitor | still membership_not_intended billing_monitor'),
    ('GRANT billing_user TO anon', 'membership_not_intended anon MEMBER role billing_user | still membership_not_intended billing_user'),
    ('GRANT billing_webhook TO fresh WITH ADMIN OPTION', 'admin_option fresh ADMIN role billing_webhook'),
    ('GRANT pg_read_all_data TO billing_monitor', 'group_role_is_member billing_monitor MEMBER role pg_read_all_data'),
    ('ALTER ROLE billing_service LOGIN', 'role_attribute billing_service LOGIN role billing_service'),
    ('ALTER ROLE billing_owner BYPASSRLS CREATEROLE', 'role_attribute billing_owner BYPASSRLS role billing_owner; role_attribute billing_owner CREATEROLE role billing_owner'),
    ('ALTER ROLE billing_owner SUPERUSER', 'role_attribute billing_owner SUPERUSER role billing_owner'),
    -- Owners.
    ('ALTER TABLE billing.ledger OWNER TO "odd role"', 'owner_changed odd role table billing.ledger'),
    ('ALTER FUNCTION billing.reconcile() OWNER TO "odd role"', 'owner_changed odd role function billing.reconcile()'),
    ('ALTER TYPE credit_outcome OWNER TO "odd role"', 'owner_changed odd role type public.credit_outcome'),
    ('ALTER VIEW billing.failed_events OWNER TO "odd role"', 'owner_changed odd role view billing.failed_events'),
    -- Functions.
    ('ALTER FUNCTION grant_credits RESET search_path', 'search_path_not_pinned function public.grant_credits(pg_catalog.text,bigint,pg_catalog.text,pg_catalog.text,timestamp with time zone,integer,pg_catalog.jsonb)'),
    ('ALTER FUNCTION billing.reconcile() SET search_path = public, pg_catalog', 'search_path_not_pinned function billing.reconcile()'),
    ('ALTER FUNCTION billing.reconcile() SET work_mem = ''64MB''', 'nothing'),
    -- Tables and policies.
    ('ALTER TABLE billing.ledger DISABLE ROW LEVEL SECURITY', 'row_security_off table billing.ledger'),
    ('DROP POLICY own_rows ON billing.ledger', 'policy_wanted policy own_rows on billing.ledger'),
    ('ALTER POLICY own_rows ON billing.ledger USING (true)', 'policy_not_intended policy own_rows on billing.ledger; policy_wanted policy own_rows on billing.ledger'),
    ('ALTER POLICY own_rows ON billing.lot_uses TO PUBLIC', 'policy_not_intended policy own_rows on billing.lot_uses; policy_wanted policy own_rows on billing.lot_uses'),
    ('ALTER POLICY own_rows ON billing.ledger RENAME TO other', 'policy_not_intended policy other on billing.ledger; policy_wanted policy own_rows on billing.ledger'),
    ('CREATE POLICY more ON billing.ledger FOR INSERT TO billing_user WITH CHECK (true)', 'policy_not_intended policy more on billing.ledger'),
    ('CREATE POLICY more ON billing.webhook_secrets USING (true)', 'policy_not_intended policy more on billing.webhook_secrets'),
    ('ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only', 'ledger_not_append_only table billing.ledger'),
    ('ALTER TABLE billing.ledger ENABLE TRIGGER ledger_append_only', 'ledger_not_append_only table billing.ledger')
) AS cases (statement, told);

SELECT * FROM finish();
ROLLBACK;
