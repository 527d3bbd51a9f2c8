-- Every table, view and sequence, and the schema: who may do what, row security, what a dump carries, comments.
-- A relation without a line here fails the first test.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

-- dumped: pg_dump takes the rows along. read_by: the group roles that may SELECT, beside billing_owner.
CREATE TEMP TABLE expected (name text PRIMARY KEY, kind "char", dumped boolean, read_by text[]);
INSERT INTO expected VALUES
    ('billing.customers', 'r', true, '{}'),
    ('billing.customer_aliases', 'r', true, '{}'),
    ('billing.balances', 'r', true, '{}'),
    ('billing.ledger', 'r', true, '{}'),
    ('billing.ledger_entry_id_seq', 'S', true, '{}'),
    ('billing.lots', 'r', true, '{}'),
    ('billing.lots_lot_id_seq', 'S', true, '{}'),
    ('billing.lot_uses', 'r', true, '{}'),
    ('billing.holds', 'r', true, '{}'),
    ('billing.hold_lots', 'r', true, '{}'),
    ('billing.credit_totals', 'v', false, '{monitor}'),
    ('billing.event_status_counts', 'v', false, '{monitor}'),
    ('billing.failed_events', 'v', false, '{monitor}'),
    ('billing.stuck_events', 'v', false, '{monitor}'),
    ('billing.stripe_events', 'v', false, '{monitor}'),
    ('billing.unfinished_events', 'v', false, '{monitor}'),
    ('billing.recent_events', 'v', false, '{monitor}'),
    ('billing.customer_credits', 'v', false, '{monitor}'),
    ('billing.ledger_entries', 'v', false, '{monitor}'),
    ('billing.charges', 'r', true, '{}'),
    ('billing.webhook_events', 'r', true, '{}'),
    ('billing.allowed_accounts', 'r', true, '{}'),
    ('billing.packs', 'r', true, '{}'),
    ('billing.pack_prices', 'r', true, '{}'),
    ('billing.plans', 'r', true, '{}'),
    ('billing.plan_prices', 'r', true, '{}'),
    ('billing.payments', 'r', true, '{}'),
    ('billing.payments_payment_id_seq', 'S', true, '{}'),
    ('billing.branch_subscriptions', 'r', true, '{}'),
    ('billing.subscriptions', 'r', true, '{}'),
    ('billing.refetch_queue', 'r', true, '{}'),
    ('billing.code_meetings', 'r', true, '{}'),
    ('billing.balance_mirrors', 'r', true, '{}'),
    -- the secrets are in no dump
    ('billing.webhook_secrets', 'r', false, '{}'),
    ('billing.webhook_secrets_secret_id_seq', 'S', false, '{}'),
    ('billing.webhook_secret_list', 'v', false, '{monitor}');

SELECT set_eq('SELECT name, relkind FROM tap.relations', 'SELECT name, kind FROM expected', 'these relations, no others');

SELECT set_eq(
    $$ SELECT r.role, t.name, privilege
       FROM tap.roles r, tap.relations t, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) privilege
       WHERE t.relkind <> 'S' AND has_table_privilege(r.role, t.oid, privilege) $$,
    $$ SELECT r.role, e.name, privilege
       FROM tap.roles r, expected e, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) privilege
       WHERE e.kind <> 'S' AND (r.stands_for = 'owner' OR r.stands_for = ANY (e.read_by) AND privilege = 'SELECT') $$,
    'tables and views are with these roles, no others');
SELECT set_eq(
    $$ SELECT r.role, t.name, privilege FROM tap.roles r, tap.relations t, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) privilege
       WHERE t.relkind <> 'S' AND has_any_column_privilege(r.role, t.oid, privilege) $$,
    $$ SELECT r.role, e.name, privilege FROM tap.roles r, expected e, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) privilege
       WHERE e.kind <> 'S' AND (r.stands_for = 'owner' OR r.stands_for = ANY (e.read_by) AND privilege = 'SELECT') $$,
    'nor does anybody have a single column');
SELECT set_eq(
    $$ SELECT r.role, t.name, privilege FROM tap.roles r, tap.relations t, unnest('{USAGE,SELECT,UPDATE}'::text[]) privilege
       WHERE t.relkind = 'S' AND has_sequence_privilege(r.role, t.oid, privilege) $$,
    $$ SELECT r.role, e.name, privilege FROM tap.roles r, expected e, unnest('{USAGE,SELECT,UPDATE}'::text[]) privilege
       WHERE e.kind = 'S' AND r.stands_for = 'owner' $$,
    'sequences are with their owner');
SELECT set_eq(
    $$ SELECT DISTINCT coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, 'PUBLIC') AS grantee, t.name, a.privilege_type, a.is_grantable
       FROM tap.relations t, aclexplode(coalesce(t.relacl, acldefault(CASE t.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", t.relowner))) a
       WHERE a.grantee <> t.relowner $$,
    $$ SELECT 'billing_' || reader AS grantee, e.name, 'SELECT' AS privilege_type, false AS is_grantable FROM expected e, unnest(e.read_by) reader $$,
    'nothing is granted to any other role, whatever the default privileges say');

-- The schema.
SELECT set_eq(
    $$ SELECT role, privilege FROM tap.roles, unnest('{USAGE,CREATE}'::text[]) privilege WHERE has_schema_privilege(role, 'billing', privilege) $$,
    $$ VALUES ('billing_owner', 'USAGE'), ('billing_owner', 'CREATE'), ('billing_monitor', 'USAGE') $$,
    'schema billing is open to billing_monitor alone');
SELECT set_eq(
    $$ SELECT DISTINCT coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, 'PUBLIC') AS grantee, a.privilege_type, a.is_grantable
       FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'billing' AND a.grantee <> n.nspowner $$,
    $$ VALUES ('billing_monitor', 'USAGE', false) $$,
    'nothing on the schema is granted to any other role');

-- Owners.
SELECT is_empty('SELECT name FROM tap.relations WHERE relowner <> ''billing_owner''::regrole', 'relations belong to billing_owner');
SELECT is_empty('SELECT name FROM tap.types WHERE typowner <> ''billing_owner''::regrole', 'types belong to billing_owner');
SELECT is((SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'billing'), 'billing_owner', 'the schema belongs to billing_owner');

-- Types: usable, and granted to nobody by name.
SELECT is_empty(
    $$ SELECT t.name, a.grantee::regrole FROM tap.types t, aclexplode(t.typacl) a WHERE a.grantee NOT IN (0, t.typowner) $$,
    'no type is granted to a role by name');

-- Row security.
SELECT is_empty('SELECT name FROM tap.relations WHERE relkind IN (''r'', ''p'') AND NOT relrowsecurity', 'row security is on for every table');

-- Dumps.
SELECT set_eq(
    $$ SELECT config::regclass::text FROM pg_extension, unnest(extconfig) config WHERE extname = 'billing_rpc' $$,
    'SELECT name FROM expected WHERE dumped', 'a dump carries every table and sequence but the secrets');
SELECT is_empty(
    $$ SELECT config::regclass, condition FROM pg_extension, unnest(extconfig, extcondition) AS c (config, condition)
       WHERE extname = 'billing_rpc' AND condition <> '' $$,
    'a dump carries every row');

-- The order of columns: fixed width first, so that rows stay narrow; what a later release added is at the end.
CREATE TEMP TABLE added_later (name text, attname name);
INSERT INTO added_later VALUES ('billing.customers', 'merged_into'), ('billing.customers', 'forgotten_at');
SELECT is_empty(
    $$ SELECT t.name, a.attname FROM tap.relations t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0
       WHERE t.relkind = 'r' AND a.attlen > 0 AND (t.name, a.attname) NOT IN (SELECT l.name, l.attname FROM added_later l)
         AND EXISTS (SELECT FROM pg_attribute b WHERE b.attrelid = t.oid AND b.attnum BETWEEN 1 AND a.attnum - 1 AND b.attlen < 0) $$,
    'columns of fixed width come first');
-- Nothing is ever deleted from lots, so what refers to them needs no index for that.
SELECT is_empty(
    $$ SELECT con.conrelid::regclass, con.conname FROM pg_constraint con JOIN tap.relations t ON t.oid = con.conrelid
       WHERE con.contype = 'f' AND con.confrelid <> 'billing.lots'::regclass AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = con.conrelid
           AND (i.indkey::int2[])[0:cardinality(con.conkey) - 1] @> con.conkey) $$,
    'foreign keys are indexed');

-- Comments.
SELECT is_empty('SELECT name FROM tap.relations WHERE relkind <> ''S'' AND obj_description(oid, ''pg_class'') IS NULL',
    'every table and view has a comment');
SELECT is_empty(
    $$ SELECT t.name, a.attname FROM tap.relations t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
       WHERE t.relkind = 'r' AND col_description(t.oid, a.attnum) IS NULL $$,
    'every column of a table has a comment');
SELECT is_empty('SELECT name FROM tap.types WHERE obj_description(oid, ''pg_type'') IS NULL', 'every type has a comment');
SELECT isnt(obj_description('billing'::regnamespace, 'pg_namespace'), NULL, 'the schema has a comment');
SELECT is_empty($$ SELECT extname FROM pg_extension WHERE extname = 'billing_rpc' AND obj_description(oid, 'pg_extension') IS NULL $$,
    'the extension has a comment');

SELECT * FROM finish();
ROLLBACK;
