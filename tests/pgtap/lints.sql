-- The rules of Supabase's database linter (its numbers in front), as far as they can apply to what belongs to the extension. The
-- linter itself passes over what belongs to extensions; here nothing is passed over. Then everything is spoilt on purpose, and each rule must see it.
-- Left out: 0002, 0012, 0019, 0021, 0022, 0025, 0031 (about objects of Supabase's own), 0005 and 0020 (about use, not about shape), 0014 (the client
-- functions are to be where PostgREST looks for them; SCHEMA x puts them elsewhere).
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();
DO $$ DECLARE name text; BEGIN
    FOREACH name IN ARRAY '{anon,authenticated}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN EXECUTE format('CREATE ROLE %I', name); END IF;
    END LOOP;
END $$;

CREATE VIEW tap.policies AS
    SELECT p.*, r.name AS table_name, r.relrowsecurity, concat(pg_get_expr(polqual, polrelid), ' ', pg_get_expr(polwithcheck, polrelid)) AS expression
    FROM pg_policy p JOIN tap.relations r ON r.oid = p.polrelid;

CREATE VIEW tap.lints AS
    SELECT '0001 unindexed_foreign_keys' AS rule, concat(c.conrelid::regclass, ' ', c.conname) AS object
    FROM pg_constraint c JOIN tap.relations r ON r.oid = c.conrelid
    WHERE c.contype = 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
        AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
    UNION ALL
    -- Every function of a policy is in a subselect of its own, so that it is called once for a query.
    SELECT '0003 auth_rls_initplan', table_name || ' ' || polname FROM tap.policies
    WHERE regexp_replace(expression, 'SELECT [a-z_]+\.[a-z_]+\(\)', '', 'g') ~ '[a-z_]+\.[a-z_]+\('
    UNION ALL
    SELECT '0004 no_primary_key', r.name FROM tap.relations r
    WHERE r.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid AND i.indisprimary)
    UNION ALL
    SELECT '0006 multiple_permissive_policies', a.table_name || ' ' || a.polname FROM tap.policies a JOIN tap.policies b ON a.polrelid = b.polrelid AND a.oid < b.oid
    WHERE a.polpermissive AND b.polpermissive AND (a.polcmd = b.polcmd OR '*' IN (a.polcmd, b.polcmd))
        AND (a.polroles && b.polroles OR 0 = ANY (a.polroles || b.polroles))
    UNION ALL
    SELECT '0007 policy_exists_rls_disabled', table_name || ' ' || polname FROM tap.policies WHERE NOT relrowsecurity
    UNION ALL
    SELECT '0008 rls_enabled_no_policy', r.name FROM tap.relations r WHERE r.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid)
    UNION ALL
    SELECT '0009 duplicate_index', concat(a.indexrelid::regclass, ' ', b.indexrelid::regclass) FROM tap.relations r
    JOIN pg_index a ON a.indrelid = r.oid JOIN pg_index b ON b.indrelid = r.oid AND b.indexrelid > a.indexrelid
    WHERE replace(pg_get_indexdef(a.indexrelid), (SELECT relname FROM pg_class WHERE oid = a.indexrelid), '')
        = replace(pg_get_indexdef(b.indexrelid), (SELECT relname FROM pg_class WHERE oid = b.indexrelid), '')
    UNION ALL
    SELECT '0010 security_definer_view', r.name || ' ' || role FROM tap.relations r JOIN pg_class c USING (oid), unnest('{anon,authenticated}'::text[]) AS role
    WHERE r.relkind = 'v' AND has_table_privilege(role, r.oid, 'SELECT') AND NOT coalesce(c.reloptions, '{}') && '{security_invoker=on,security_invoker=true}'
    UNION ALL
    SELECT '0011 function_search_path_mutable', signature FROM tap.functions
    WHERE NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search\_path=%')
    UNION ALL
    SELECT '0013 rls_disabled_in_public', c.oid::regclass::text FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc') AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
    UNION ALL
    SELECT '0015 rls_references_user_metadata', table_name || ' ' || polname FROM tap.policies WHERE expression ~ 'user_?metadata'
    UNION ALL
    SELECT CASE relkind WHEN 'm' THEN '0016 materialized_view_in_api' ELSE '0017 foreign_table_in_api' END, name FROM tap.relations WHERE relkind IN ('m', 'f')
    UNION ALL
    SELECT '0018 unsupported_reg_types', concat(r.name, ' ', a.attname) FROM tap.relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE r.relkind = 'r' AND a.atttypid IN ('regcollation'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype, 'regoper'::regtype,
        'regoperator'::regtype, 'regproc'::regtype, 'regprocedure'::regtype, 'regclass'::regtype, 'regtype'::regtype, 'regrole'::regtype)
    UNION ALL
    -- 0026 and 0027, too: what cannot be read is in no schema of pg_graphql.
    SELECT '0023 sensitive_columns_exposed', r.name || ' ' || role FROM tap.relations r, unnest('{anon,authenticated}'::text[]) AS role
    WHERE r.relkind <> 'S' AND has_any_column_privilege(role, r.oid, 'SELECT')
    UNION ALL
    SELECT '0024 permissive_rls_policy', table_name || ' ' || polname FROM tap.policies WHERE expression ~ '^\(*true\)* *$' OR polcmd <> 'r'
    UNION ALL
    SELECT '0028 anon_security_definer_function_executable', signature FROM tap.functions WHERE prosecdef AND has_function_privilege('anon', oid, 'EXECUTE')
    UNION ALL
    SELECT '0029 authenticated_security_definer_function_executable', signature FROM tap.functions WHERE prosecdef AND has_function_privilege('authenticated', oid, 'EXECUTE')
    UNION ALL
    SELECT '0030 invalid_index', i.indexrelid::regclass::text FROM pg_index i JOIN tap.relations r ON r.oid = i.indrelid WHERE NOT i.indisvalid
    UNION ALL
    SELECT '0030 autovacuum_disabled', r.name FROM tap.relations r JOIN pg_class c USING (oid) WHERE c.reloptions && '{autovacuum_enabled=false,autovacuum_enabled=off}';

-- What is told on purpose, and why.
CREATE TEMP TABLE known (rule text, object text);
-- Nothing is ever deleted from lots, so nothing looks for what refers to them.
INSERT INTO known SELECT '0001 unindexed_foreign_keys', object FROM unnest('{billing.lot_uses lot_uses_lot_id_fkey,billing.hold_lots hold_lots_lot_id_fkey}'::text[]) AS object;
-- Customers' accounts: what refers to them is found by partial indexes and by the ledger's own, and no account is ever deleted that has any.
INSERT INTO known SELECT '0001 unindexed_foreign_keys', object
    FROM unnest('{billing.lots lots_customer_id_credit_type_fkey,billing.holds holds_customer_id_credit_type_fkey}'::text[]) AS object;
-- Closed to everybody: no rows of a customer, or none that a customer is to read.
INSERT INTO known SELECT '0008 rls_enabled_no_policy', 'billing.' || name FROM unnest('{charges,webhook_events,webhook_secrets,allowed_accounts,
    packs,pack_prices,plans,plan_prices,refetch_queue,code_meetings,balance_mirrors}'::text[]) AS name;
-- What end users are to call; each looks at the caller's own rows only, and writes nothing. On plain Postgres authenticated is a member of nothing.
INSERT INTO known SELECT '0029 authenticated_security_definer_function_executable', signature
    FROM unnest(ARRAY['my_credits(text)', 'my_credit_history(integer, bigint, text)', 'my_subscription()', 'has_credits(bigint, text)',
        'has_active_subscription(text)', 'billing.current_customer_id()']) AS signature WHERE :'fixture' = 'supabase';
SELECT is_empty('SELECT rule, object FROM tap.lints EXCEPT SELECT rule, object FROM known', 'the linter has nothing to say');
SELECT is_empty('SELECT rule, object FROM known EXCEPT SELECT rule, object FROM tap.lints', 'and the exceptions are none too many');

-- Spoilt.
CREATE TEMP TABLE rules AS SELECT DISTINCT substring(definition FROM 1) AS rule
    FROM regexp_matches(pg_get_viewdef('tap.lints'::regclass), '''(0\d{3} [a-z_]+)''', 'g') AS m (found), unnest(m.found) AS definition;
SELECT is((SELECT count(*) FROM rules), 20::bigint, 'so many rules');
CREATE TABLE billing.spoilt (entry_id bigint REFERENCES billing.ledger, kind regrole, n int) WITH (autovacuum_enabled = false);
ALTER EXTENSION billing_rpc ADD TABLE billing.spoilt;
CREATE INDEX spoilt_one ON billing.spoilt (n);
CREATE INDEX spoilt_two ON billing.spoilt (n);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'billing.spoilt_two'::regclass;
CREATE POLICY one ON billing.spoilt USING (true);
CREATE POLICY two ON billing.spoilt FOR SELECT USING (n = (SELECT 1) AND current_setting('user_metadata') = 'x' AND billing.current_customer_id() IS NULL);
CREATE TABLE billing.closed (n int PRIMARY KEY);
ALTER TABLE billing.closed ENABLE ROW LEVEL SECURITY;
CREATE MATERIALIZED VIEW billing.kept AS SELECT 1 AS n;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE billing.far (n int) SERVER nowhere;
GRANT USAGE ON SCHEMA billing TO anon;
GRANT SELECT ON billing.failed_events TO anon;
ALTER FUNCTION billing.reconcile() RESET search_path;
GRANT EXECUTE ON FUNCTION billing.reconcile() TO anon, authenticated;
SELECT is_empty('SELECT rule FROM rules r WHERE NOT EXISTS (SELECT FROM (SELECT * FROM tap.lints EXCEPT SELECT * FROM known) AS l WHERE l.rule = r.rule)',
    'every rule sees what it is for');

SELECT * FROM finish();
ROLLBACK;
