-- Installing: what is refused and how, other schemas, other installers, dropping and installing again.
-- Warnings cannot be caught in SQL, so these come from sessions of their own; they leave nothing behind.
\set noinherit `psql -X -q -A -t -c "BEGIN" -c "DROP EXTENSION billing_rpc" -c "DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ''service_role'') THEN CREATE ROLE service_role; CREATE ROLE authenticated; END IF; IF pg_has_role(''service_role'', ''billing_service'', ''MEMBER'') THEN REVOKE billing_service FROM service_role; END IF; END'" -c "ALTER ROLE service_role NOINHERIT" -c "CREATE EXTENSION billing_rpc SCHEMA public" -c "SELECT pg_has_role('service_role', 'billing_service', 'MEMBER'), pg_has_role('service_role', 'billing_service', 'USAGE')" -c "ROLLBACK" 2>&1 | tr '\n' ' '`
\set quiet `psql -X -q -A -t -c "SET client_min_messages = notice" -c "BEGIN" -c "DROP EXTENSION billing_rpc" -c "CREATE EXTENSION billing_rpc SCHEMA public" -c "ROLLBACK" 2>&1 | tr '\n' ' '`
\set notified `psql -X -q -A -t -c "LISTEN pgrst" -c "DROP EXTENSION billing_rpc" -c "CREATE EXTENSION billing_rpc SCHEMA public" 2>&1 | tr '\n' ' '`
\set ascii `psql -X -q -A -t -d postgres -c "CREATE DATABASE install_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0" 2>&1; psql -X -q -A -t -d install_ascii -c "CREATE EXTENSION billing_rpc" 2>&1 | tr '\n' ' '; psql -X -q -d postgres -c "DROP DATABASE install_ascii"`
-- A database where somebody else may create, and whose search_path, set for it, begins with their schema: it holds an operator, functions,
-- a type and a cast that each raise an error, and a view named like a table of ours.
\set trap `psql -X -q -v ON_ERROR_STOP=1 -d postgres -c "CREATE DATABASE install_trap TEMPLATE template0" && psql -X -q -v ON_ERROR_STOP=1 -d install_trap -f tests/pgtap/fixtures/trap.sql && psql -X -q -A -t -d install_trap -c "CREATE EXTENSION billing_rpc SCHEMA public" -c "SELECT reason, balance FROM public.grant_credits('7', 5, 'k')" -c "SELECT count(*) FROM billing.access_audit()" -c "SELECT lower('A')" 2>&1 | head -4 | tr '\n' ' '; psql -X -q -d postgres -c "DROP DATABASE install_trap"`
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

SELECT matches(:'noinherit'::text,
    '^WARNING:  role service_role does not inherit what billing_service may do HINT:  ALTER ROLE service_role INHERIT; REVOKE billing_service FROM service_role; GRANT billing_service TO service_role; t[|]f $',
    'a NOINHERIT service_role is warned about, with the statements that mend it, and made a member all the same');
SELECT is(:'quiet'::text, '', 'otherwise installing says nothing');
SELECT matches(:'notified'::text, '^Asynchronous notification "pgrst" with payload "reload schema" received', 'PostgREST is told to reload its schema');
SELECT matches(:'ascii'::text, '^ERROR:  billing_rpc needs a database with encoding UTF8 HINT:  Create the database with ENCODING ''UTF8''',
    'another encoding is refused');

SELECT is(:'trap'::text, 'applied|5 0 ERROR:  the trap was called CONTEXT:  PL/pgSQL function lower(pg_catalog.text) line 1 at RAISE ',
    'with a hostile search_path set for the database: installed, called and audited without stepping into a trap, and the trap was armed');

-- Twice, and by who may not.
SELECT matches(tap.refusal('CREATE EXTENSION billing_rpc'), '^42710 [|] extension "billing_rpc" already exists', 'a second install is refused by Postgres');
SELECT is(tap.refusal('CREATE EXTENSION IF NOT EXISTS billing_rpc'), NULL, 'IF NOT EXISTS does nothing');
SELECT is(tap.refusal('CREATE EXTENSION IF NOT EXISTS billing_rpc SCHEMA tap'), NULL, 'whatever schema it names');
SELECT is(extnamespace::regnamespace::text, 'public', 'it stays where it is') FROM pg_extension WHERE extname = 'billing_rpc';
SELECT is_empty('SELECT * FROM billing.access_audit()', 'and opens nothing');

-- All that the catalogues hold, so that what a drop leaves behind is seen wherever it is.
CREATE FUNCTION tap.catalogue() RETURNS TABLE (kind text, thing text) LANGUAGE sql AS $$
    SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' UNION ALL
    SELECT 'relation', oid::regclass::text FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace UNION ALL
    SELECT 'function', oid::regprocedure::text FROM pg_proc UNION ALL
    SELECT 'type', oid::regtype::text FROM pg_type WHERE typnamespace <> 'pg_toast'::regnamespace UNION ALL
    SELECT 'operator', oid::regoperator::text FROM pg_operator UNION ALL
    SELECT 'cast', concat(castsource::regtype, castfunc, casttarget::regtype) FROM pg_cast UNION ALL
    SELECT 'policy', polname || polrelid::regclass FROM pg_policy UNION ALL
    SELECT 'trigger', tgname || tgrelid::regclass FROM pg_trigger UNION ALL
    SELECT 'event trigger', evtname FROM pg_event_trigger UNION ALL
    SELECT 'publication', pubname FROM pg_publication UNION ALL
    SELECT 'setting', array_to_string(setconfig, ' ') FROM pg_db_role_setting UNION ALL
    SELECT 'default privileges', concat(defaclnamespace, defaclobjtype, defaclacl) FROM pg_default_acl UNION ALL
    SELECT 'acl of a schema', nspname || array_to_string(nspacl, ' ') FROM pg_namespace WHERE nspname <> 'public' UNION ALL
    SELECT 'rights kept in mind', count(*)::text FROM pg_init_privs UNION ALL
    SELECT 'comments', count(*)::text FROM pg_description WHERE classoid <> 'pg_class'::regclass UNION ALL
    SELECT 'shared dependencies of the owner', count(*)::text FROM pg_shdepend
        WHERE refobjid = 'billing_owner'::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;

-- The names that clients see, and everything that a drop must take along.
CREATE TEMP TABLE names AS
    SELECT DISTINCT p.proname::text AS name FROM tap.functions f JOIN pg_proc p USING (oid) WHERE NOT f.internal
    UNION SELECT name FROM tap.types;
CREATE TEMP TABLE installed AS
    SELECT signature, proacl::text AS acl, provolatile, prosecdef, obj_description(oid) AS comment FROM tap.functions WHERE signature LIKE 'billing.%'
    UNION ALL SELECT name, relacl::text, relkind, relrowsecurity, obj_description(oid) FROM tap.relations;
SELECT is(applied, true, 'a plan is kept by this session') FROM grant_credits('a@example.com', 1, 'before');

SET LOCAL billing_rpc.allow_drop = on;
DROP EXTENSION billing_rpc;
CREATE TEMP TABLE left_behind AS SELECT * FROM tap.catalogue();
CREATE EXTENSION billing_rpc SCHEMA public;
SELECT ok((SELECT count(*) FROM (SELECT * FROM tap.catalogue() EXCEPT SELECT * FROM left_behind) AS made) > 200, 'an install makes many things');
DROP EXTENSION billing_rpc;
SELECT is_empty('SELECT * FROM tap.catalogue() EXCEPT SELECT * FROM left_behind UNION ALL (SELECT * FROM left_behind EXCEPT SELECT * FROM tap.catalogue())',
    'a drop leaves nothing behind');
SELECT is((SELECT thing FROM left_behind WHERE kind = 'shared dependencies of the owner'), '0', 'nothing belongs to billing_owner, or is granted to it, that was not there before');
SELECT is_empty($$ SELECT nspname FROM pg_namespace WHERE nspname = 'billing' $$, 'dropping takes the schema along');
SELECT is_empty($$ SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname IN (SELECT name FROM names) $$, 'the functions');
SELECT is_empty($$ SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typname IN (SELECT name FROM names) $$, 'and the types');
SELECT isnt_empty($$ SELECT rolname FROM pg_roles WHERE rolname = 'billing_owner' $$, 'the roles stay: they belong to the cluster');
SELECT is(tap.attempt('fresh', 'CREATE EXTENSION billing_rpc'), '42501', 'only a superuser installs');
GRANT CREATE ON DATABASE :"DBNAME" TO fresh;
GRANT CREATE ON SCHEMA public TO fresh;
SELECT is(tap.attempt('fresh', 'CREATE EXTENSION billing_rpc'), '42501', 'not one who may create in the database');
SELECT is(tap.attempt('postgres', 'CREATE EXTENSION billing_rpc'), CASE :'fixture' WHEN 'supabase' THEN '42501' ELSE 'ok' END, 'nor Supabase''s postgres');
DROP EXTENSION IF EXISTS billing_rpc;
REVOKE CREATE ON DATABASE :"DBNAME" FROM fresh;
REVOKE CREATE ON SCHEMA public FROM fresh;

-- Refused where one of its names is taken: by a function, whatever its arguments, by a type, a table, a view, a sequence, an index.
CREATE SCHEMA taken;
CREATE FUNCTION tap.install_beside(made text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE made;
    EXECUTE 'CREATE EXTENSION billing_rpc SCHEMA taken';
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = 'installed';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, hint);
END $$;
\set refused '42710 | the target schema already holds a function, table or type of one of billing_rpc\'s names | Install into a schema of its own: CREATE SCHEMA x; CREATE EXTENSION billing_rpc SCHEMA x.'
SELECT is(tap.install_beside(format('CREATE FUNCTION taken.%I(date) RETURNS int LANGUAGE sql AS ''SELECT 1''', name)), :'refused', 'a function ' || name) FROM names;
SELECT is(tap.install_beside(format('CREATE TYPE taken.%I AS (a int)', name)), :'refused', 'a type ' || name) FROM names;
SELECT is(tap.install_beside(format('CREATE TABLE taken.%I (a int)', name)), :'refused', 'a table ' || name) FROM names;
SELECT is(tap.install_beside('CREATE VIEW taken.grant_credits AS SELECT 1'), :'refused', 'a view');
SELECT is(tap.install_beside('CREATE SEQUENCE taken.spend_credits'), :'refused', 'a sequence');
SELECT is(tap.install_beside('CREATE DOMAIN taken.credit_entry AS text'), :'refused', 'a domain');
SELECT is(tap.install_beside('CREATE PROCEDURE taken.credit_balance() LANGUAGE sql AS ''SELECT 1'''), :'refused', 'a procedure');
SELECT is(tap.install_beside('CREATE SCHEMA billing'),
    '42P06 | schema billing exists already | billing_rpc keeps its tables in a schema of that name: rename or drop the present one first.', 'a schema billing');
SELECT is(tap.install_beside('CREATE TABLE taken.billing (a int); CREATE FUNCTION public.grant_credits(date) RETURNS int LANGUAGE sql AS ''SELECT 1'''),
    'P0001 | installed | ', 'other names, and the same names in other schemas, are nobody''s business');
SELECT is(tap.install_beside('ALTER ROLE billing_owner SUPERUSER'),
    '0P000 | role billing_owner must not be a superuser | ALTER ROLE billing_owner NOSUPERUSER; the definer functions run as this role.',
    'an owner who is a superuser');
SELECT is_empty($$ SELECT nspname FROM pg_namespace WHERE nspname = 'billing' $$, 'a refused install leaves nothing');

-- A schema of its own, on which nobody has any right, called from any search_path: the answers are rows of its types.
CREATE FUNCTION tap.calls(place text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    EXECUTE format($q$
        SELECT concat_ws(' ', o.applied, o.reason, o.balance, pg_typeof(o)::oid = to_regtype('%1$I.credit_outcome'), pg_typeof(o.reason)::oid = to_regtype('%1$I.billing_reason'))
        FROM %1$I.apply_credit_purchase('b@example.com', 10, 'k1') o $q$, place) INTO STRICT line;
    EXECUTE format($q$ SELECT concat_ws(' ', $1, b.balance, b.available, (SELECT string_agg(h.kind || h.credits, ' ') FROM %1$I.credit_history('b@example.com') h))
        FROM %1$I.credit_balance('b@example.com') b $q$, place) INTO STRICT line USING line;
    EXECUTE format($q$ SELECT concat_ws(' ', $1, row_to_json(r)->>'reason', (r).detail) FROM %1$I.register_billing_user(email => 'b@example.com', legacy_id => 5) r $q$, place) INTO STRICT line USING line;
    EXECUTE format($q$ SELECT concat_ws(' ', $1, (r).kind) FROM %1$I.resolve_billing_user('5') r $q$, place) INTO STRICT line USING line;
    PERFORM billing.add_webhook_secret('stripe', 'whsec_test');
    EXECUTE format($q$ SELECT concat_ws(' ', $1, o.reason, o.status, o.result->>'balance')
        FROM tap.event('evt_1', '5') b, %1$I.process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_test')) o $q$, place) INTO STRICT line USING line;
    EXECUTE format($q$ SELECT concat_ws(' ', $1, v.valid) FROM %1$I.verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_test')) v $q$, place) INTO STRICT line USING line;
    EXECUTE format($q$ SELECT concat_ws(' ', $1, c.reason, (%1$I.complete_stripe_event('evt_2', c.claim_token)).reason) FROM %1$I.claim_stripe_event('evt_2', 'x') c $q$, place) INTO STRICT line USING line;
    RETURN line;
END $$;
\set answers 't applied 10 t t 10 10 purchase10 applied integer applied completed 110 t applied applied'

SAVEPOINT named;
CREATE SCHEMA x;
REVOKE ALL ON SCHEMA x FROM PUBLIC;
CREATE EXTENSION billing_rpc SCHEMA x;
SELECT is(extnamespace::regnamespace::text, 'x', 'into a schema of its own') FROM pg_extension WHERE extname = 'billing_rpc';
SELECT is(tap.calls('x'), :'answers', 'called with its schema''s name');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND proname IN (SELECT name FROM names) $$, 'public stays clean');
SELECT is(tap.attempt('fresh', 'SELECT x.grant_credits(''a@example.com'', 1, ''k'')'), '42501', 'a stranger has no right on x');
SELECT is(tap.attempt('billing_service', 'SELECT x.grant_credits(''a@example.com'', 1, ''k'')'), 'ok', 'the group roles may use x');
SELECT is_empty($$ SELECT signature FROM tap.functions WHERE has_function_privilege('fresh', oid, 'EXECUTE') $$, 'a stranger may call nothing there');
ROLLBACK TO named;

SAVEPOINT odd;
CREATE SCHEMA "Odd Name";
CREATE EXTENSION billing_rpc SCHEMA "Odd Name";
SET LOCAL search_path = pg_catalog;
SELECT tap.calls('Odd Name') AS odd \gset
ROLLBACK TO odd;
SELECT is(:'odd'::text, :'answers', 'a name in need of quotes, called from another search_path');

-- Types of the same names earlier in the session's path do not confuse the answers.
SAVEPOINT masked;
CREATE SCHEMA x;
CREATE EXTENSION billing_rpc SCHEMA x;
CREATE TYPE public.credit_outcome AS (wrong text);
CREATE TYPE public.billing_reason AS ENUM ('wrong');
CREATE TYPE public.event_outcome AS (wrong text);
SELECT is(tap.calls('x'), :'answers', 'types of the same names in the session''s path are not taken');
ROLLBACK TO masked;

-- A hostile target schema: whoever may create there has made operators and functions for exactly the types that the install
-- script compares, where Postgres itself has none and would convert. They would run as the installing superuser.
SAVEPOINT hostile;
CREATE SCHEMA hostile;
DO $$
DECLARE
    pair record;
    n int := 0;
BEGIN
    FOR pair IN
        SELECT l.oid::regtype AS l, r.oid::regtype AS r, op
        FROM pg_type l, pg_type r, unnest('{=,<>,||}'::text[]) op
        WHERE l.typnamespace = 'pg_catalog'::regnamespace AND r.typnamespace = 'pg_catalog'::regnamespace
            AND l.typname IN ('oid', 'regclass', 'regnamespace', 'regproc', 'regprocedure', 'regrole', 'regtype', 'name', 'text', 'char', 'bool', 'int2', 'int4', 'int8', 'varchar')
            AND r.typname IN ('oid', 'regclass', 'regnamespace', 'regproc', 'regprocedure', 'regrole', 'regtype', 'name', 'text', 'char', 'bool', 'int2', 'int4', 'int8', 'varchar')
            AND NOT EXISTS (SELECT FROM pg_operator o WHERE o.oprname = op AND o.oprleft = l.oid AND o.oprright = r.oid)
    LOOP
        n := n + 1;
        EXECUTE format('CREATE FUNCTION hostile.trap_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$BEGIN RAISE EXCEPTION ''%1$s hostile %4$s''; END$f$',
            n, pair.l, pair.r, CASE pair.op WHEN '||' THEN 'text' ELSE 'bool' END);
        EXECUTE format('CREATE OPERATOR hostile.%s (FUNCTION = hostile.trap_%s, LEFTARG = %s, RIGHTARG = %s)', pair.op, n, pair.l, pair.r);
        EXECUTE format('COMMENT ON FUNCTION hostile.trap_%s(%s, %s) IS %L', n, pair.l, pair.r, concat_ws(' ', pair.l, pair.op, pair.r));
    END LOOP;
END $$;
SELECT is((SELECT coalesce(obj_description(to_regproc('hostile.trap_' || substring(refusal FROM 'P0001 [|] ([0-9]+) hostile'))), refusal)
    FROM tap.refusal('CREATE EXTENSION billing_rpc SCHEMA hostile') refusal), NULL, 'a hostile target schema: the install script calls nothing of it');
ROLLBACK TO hostile;

-- Again, by the session that had it before: kept plans find the new tables.
CREATE EXTENSION billing_rpc SCHEMA public;
SELECT is(tap.calls('public'), :'answers', 'dropped and installed again, it works in the same session');
SELECT is(applied, true, 'and knows nothing of before') FROM grant_credits('a@example.com', 1, 'before');
SELECT set_eq(
    $$ SELECT signature, proacl::text AS acl, provolatile, prosecdef, obj_description(oid) AS comment FROM tap.functions WHERE signature LIKE 'billing.%'
       UNION ALL SELECT name, relacl::text, relkind, relrowsecurity, obj_description(oid) FROM tap.relations $$,
    'SELECT * FROM installed', 'it is what it was');

-- By another superuser: all is billing_owner's again.
DROP EXTENSION billing_rpc;
CREATE ROLE another SUPERUSER;
SET LOCAL ROLE another;
CREATE EXTENSION billing_rpc SCHEMA public;
RESET ROLE;
SELECT is_empty($$ SELECT signature FROM tap.functions WHERE proowner <> 'billing_owner'::regrole
    UNION ALL SELECT name FROM tap.relations WHERE relowner <> 'billing_owner'::regrole
    UNION ALL SELECT name FROM tap.types WHERE typowner <> 'billing_owner'::regrole $$, 'another superuser installs: the owner is billing_owner');
SELECT is_empty($$ SELECT signature FROM tap.functions f, aclexplode(f.proacl) a WHERE pg_get_userbyid(a.grantee) NOT LIKE 'billing\_%'
    UNION ALL SELECT name FROM tap.relations r, aclexplode(r.relacl) a WHERE pg_get_userbyid(a.grantee) NOT LIKE 'billing\_%' $$, 'and nothing is granted to the installer or others');
SELECT is(tap.calls('public'), :'answers', 'and it works');

-- With the application's users named, dropping says what depends, and CASCADE takes the view along.
CREATE TABLE public.people (id uuid, email text);
SELECT billing.set_users_table('public.people', 'id', 'email');
SELECT matches(tap.refusal('DROP EXTENSION billing_rpc'), '^2BP01', 'the view of the application''s users stops a plain drop');
DROP EXTENSION billing_rpc CASCADE;
SELECT isnt_empty('SELECT relname FROM pg_class WHERE oid = ''public.people''::regclass', 'CASCADE leaves the application''s table alone');

SELECT * FROM finish();
ROLLBACK;
