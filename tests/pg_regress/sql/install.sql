-- Installing: what is there afterwards, for whom, and when it is refused.
\pset null '(null)'
\set SHOW_CONTEXT never

-- Roles belong to the cluster: those that are missing are made, and none of them can log in.
CREATE EXTENSION billing_rpc;
SELECT rolname, rolsuper, rolcanlogin, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname LIKE 'billing\_%' ORDER BY rolname;

-- 1. What clients call is in the schema of the install. Reading functions are stable; every one that
-- runs with the owner's rights pins its search_path.
CREATE VIEW members AS
    SELECT p.oid, p.proname::text AS name, n.nspname::text AS schema, p.provolatile, p.prosecdef, p.proconfig, p.pronargs, p.pronargdefaults, p.proacl,
        pg_get_function_result(p.oid) AS result
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
    WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc');
SELECT name, result, CASE provolatile WHEN 's' THEN 'stable' WHEN 'v' THEN 'volatile' WHEN 'i' THEN 'immutable' END AS volatility
FROM members WHERE schema = 'public' ORDER BY name;
-- What operators call is in schema billing.
SELECT name, result, CASE provolatile WHEN 's' THEN 'stable' WHEN 'v' THEN 'volatile' WHEN 'i' THEN 'immutable' END AS volatility
FROM members WHERE schema = 'billing' ORDER BY name;
SELECT name AS without_pinned_path FROM members WHERE NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false);
-- Every parameter has a default, so that a call that omits one is answered with a row. (The endpoint's only one has no name.)
SELECT name AS without_defaults FROM members WHERE pronargs <> pronargdefaults;
SELECT reason, detail FROM grant_credits(credits => 5);
-- Each says what it is for, and how to call it.
SELECT name AS undescribed FROM members WHERE coalesce(obj_description(oid, 'pg_proc'), '') = '' OR (obj_description(oid, 'pg_proc') !~ 'Example: ' AND result NOT IN ('trigger', 'event_trigger'));
-- No name stands for two functions: PostgREST would have to choose.
SELECT name AS twice FROM members GROUP BY name, schema HAVING count(*) > 1;

-- The types that they answer with.
SELECT enum_range(NULL::billing_reason);
SELECT t.typname AS type, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
WHERE t.typnamespace = 'public'::regnamespace AND t.typtype = 'c' AND (SELECT relkind = 'c' FROM pg_class WHERE oid = t.typrelid)
GROUP BY t.typname ORDER BY t.typname \g (format=unaligned tuples_only=on)

-- 2. Nobody but the owner and the group roles may execute anything.
SELECT name AS open_to_all FROM members, LATERAL aclexplode(coalesce(proacl, acldefault('f', 10))) AS acl WHERE acl.grantee = 0;
SELECT acl.grantee::regrole AS who, count(*) FILTER (WHERE schema = 'public') AS of_clients, count(*) FILTER (WHERE schema = 'billing') AS of_operators
FROM members, LATERAL aclexplode(proacl) AS acl GROUP BY acl.grantee ORDER BY acl.grantee::regrole::text;
SELECT name AS of_billing_webhook FROM members WHERE has_function_privilege('billing_webhook', oid, 'EXECUTE') ORDER BY name;
SELECT name AS not_of_billing_service FROM members WHERE schema = 'public' AND NOT has_function_privilege('billing_service', oid, 'EXECUTE');
CREATE ROLE golden_visitor;
SET ROLE golden_visitor;
SELECT reason FROM grant_credits('7', 1000000, 'mine');
SELECT reason FROM stripe_webhook('{}');
SELECT count(*) FROM billing.ledger;
RESET ROLE;
-- The service calls functions; tables and operators' functions are out of its reach.
SET ROLE billing_service;
SELECT reason, balance FROM grant_credits('7', 10, 'gift');
SELECT count(*) FROM billing.ledger;
SELECT billing.add_webhook_secret('stripe', 'whsec_mine');
RESET ROLE;
-- The monitor sees that there are secrets, and none of them.
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
SET ROLE billing_monitor;
SELECT secret_id, provider, valid_until FROM billing.webhook_secret_list;
SELECT secret FROM billing.webhook_secrets;
RESET ROLE;

-- 3. Row security is on for every table, and each table and column says what it is for.
SELECT relname AS table, relrowsecurity AS row_security, relowner::regrole AS owner, obj_description(oid, 'pg_class') IS NOT NULL AS described
FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' ORDER BY relname;
SELECT attrelid::regclass AS table, attname AS undescribed FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL;
-- Even who is granted a table sees no row of it.
GRANT USAGE ON SCHEMA billing TO golden_visitor;
GRANT SELECT ON billing.ledger TO golden_visitor;
SET ROLE golden_visitor;
SELECT count(*) FROM billing.ledger;
RESET ROLE;
REVOKE SELECT ON billing.ledger FROM golden_visitor;
REVOKE USAGE ON SCHEMA billing FROM golden_visitor;
-- Dumps carry all rows but the secrets.
SELECT relname AS not_in_dumps FROM pg_class
WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'S') AND oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'billing_rpc')::oid[]) ORDER BY relname;

-- 4. Settings: only superusers change them, and nobody invents one.
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'billing\_rpc.%' ORDER BY name;
SET billing_rpc.secret = 'whsec_example';
SET billing_rpc.claim_lease_seconds = 0;
SET billing_rpc.payload_retention = 'sometimes';
SET ROLE golden_visitor;
SET billing_rpc.accepted_mode = 'test';
RESET ROLE;
DROP ROLE golden_visitor;

-- 5. Another schema: the functions are there, the tables where they always are.
SET billing_rpc.allow_drop = on;
DROP VIEW members;
DROP EXTENSION billing_rpc;
CREATE SCHEMA api;
CREATE EXTENSION billing_rpc SCHEMA api;
SELECT reason, balance FROM api.grant_credits('7', 10, 'gift');
SET search_path = pg_catalog;
SELECT reason, balance FROM api.grant_credits('7', 10, 'gift');
SELECT pg_typeof(api.credit_balance('7'));
RESET search_path;
-- It stays where it was installed.
ALTER EXTENSION billing_rpc SET SCHEMA public;
DROP EXTENSION billing_rpc;

-- 6. Refused: a function, table or type of one of our names is there, whatever its parameters.
CREATE FUNCTION grant_credits() RETURNS void LANGUAGE sql AS '';
CREATE EXTENSION billing_rpc;
DROP FUNCTION grant_credits();
CREATE TABLE credit_balance (user_id int);
CREATE EXTENSION billing_rpc;
-- The way out that the hint names.
CREATE EXTENSION billing_rpc SCHEMA api;
SELECT reason FROM api.grant_credits('7', 10, 'gift');
DROP EXTENSION billing_rpc;
DROP TABLE credit_balance;
CREATE TYPE billing_reason AS ENUM ('mine');
CREATE EXTENSION billing_rpc;
DROP TYPE billing_reason;
-- A schema named billing is there.
CREATE SCHEMA billing;
CREATE EXTENSION billing_rpc;
DROP SCHEMA billing;

-- 7. Supabase's roles become members, and its default privileges open nothing.
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role NOINHERIT;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO anon, authenticated, service_role;
CREATE EXTENSION billing_rpc;
SELECT member::regrole, roleid::regrole FROM pg_auth_members WHERE roleid::regrole::text LIKE 'billing%' ORDER BY 1, 2;
SELECT role, count(*) FILTER (WHERE has_function_privilege(role, p.oid, 'EXECUTE')) AS may_execute
FROM (VALUES ('anon'), ('authenticated')) AS given (role), pg_proc p
WHERE p.oid IN (SELECT objid FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc') AND deptype = 'e' AND classid = 'pg_proc'::regclass)
GROUP BY role ORDER BY role;
SELECT role, has_schema_privilege(role, 'billing', 'USAGE') AS usage, count(*) FILTER (WHERE has_table_privilege(role, c.oid, 'SELECT, INSERT, UPDATE, DELETE')) AS tables
FROM (VALUES ('anon'), ('authenticated'), ('service_role')) AS given (role), pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'v')
GROUP BY role ORDER BY role;
-- The statements that the warning named; then the service may call.
ALTER ROLE service_role INHERIT; REVOKE billing_service FROM service_role; GRANT billing_service TO service_role;
SET ROLE service_role;
SELECT reason FROM grant_credits('7', 10, 'gift');
RESET ROLE;
-- The one line that opens the endpoint: still only the endpoint.
GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO anon;
SET ROLE anon;
SELECT reason, detail FROM stripe_webhook('{}');
SELECT reason FROM grant_credits('7', 10, 'more');
RESET ROLE;

DROP EXTENSION billing_rpc;
DROP OWNED BY anon, authenticated, service_role;
DROP ROLE anon, authenticated, service_role;

-- 8. A database that cannot hold every text is refused.
CREATE DATABASE golden_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c golden_latin1
CREATE EXTENSION billing_rpc;
\c regress_install
DROP DATABASE golden_latin1;
