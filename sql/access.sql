-- The last thing to run: who owns what, who may call what. Everything is taken from everybody first,
-- because a database may have default privileges that grant to roles by name (Supabase has).
-- In an upgrade only what is new there is taken from everybody: sql/upgrade/begin.sql lists the rest,
-- which keeps what its operators granted since.
SET LOCAL search_path TO pg_catalog, pg_temp;

DO $$
DECLARE
    extension CONSTANT oid := (SELECT e.oid FROM pg_catalog.pg_extension e WHERE e.extname = 'billing_rpc'::name);
    older CONSTANT text[] := pg_catalog.string_to_array(pg_catalog.current_setting('billing_upgrade.members'), ' ');
    member record;
    grantee record;
BEGIN
    FOR member IN
        SELECT i.type, i.identity, d.classid, d.objid
        FROM pg_catalog.pg_depend d, LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
        WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = extension AND d.deptype = 'e'
            AND i.type IN ('function', 'table', 'view', 'type', 'composite type', 'schema')
            -- In Postgres 17 the types of arrays and of tables' rows are members too; their owner follows by itself.
            AND NOT (d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND EXISTS (
                SELECT FROM pg_catalog.pg_depend f WHERE f.classid = d.classid AND f.objid = d.objid AND f.deptype = 'i'))
            AND pg_catalog.format('%s:%s', d.classid, d.objid) <> ALL (older)
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO billing_owner',
            pg_catalog.replace(member.type, 'composite type', 'type'), member.identity);
    END LOOP;

    FOR member IN
        SELECT o.kind, o.identity, o.acl
        FROM pg_catalog.pg_depend d
        JOIN (
            SELECT p.tableoid AS classid, p.oid AS objid, 'FUNCTION' AS kind,
                p.oid::pg_catalog.regprocedure::text AS identity, p.proacl AS acl
            FROM pg_catalog.pg_proc p
            UNION ALL
            SELECT c.tableoid, c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                c.oid::pg_catalog.regclass::text, c.relacl
            FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT t.tableoid, t.oid, 'TYPE', t.oid::pg_catalog.regtype::text, t.typacl
            FROM pg_catalog.pg_type t WHERE t.typtype IN ('c', 'd', 'e')
            UNION ALL
            SELECT n.tableoid, n.oid, 'SCHEMA', n.nspname::text, n.nspacl FROM pg_catalog.pg_namespace n
        ) o ON o.classid = d.classid AND o.objid = d.objid
        WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = extension AND d.deptype = 'e'
            AND pg_catalog.format('%s:%s', d.classid, d.objid) <> ALL (older)
    LOOP
        IF member.kind <> 'TYPE' THEN
            EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM PUBLIC', member.kind, member.identity);
        END IF;
        FOR grantee IN
            SELECT DISTINCT r.rolname
            FROM pg_catalog.aclexplode(member.acl) a JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
            WHERE r.rolname <> 'billing_owner'
        LOOP
            EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %I', member.kind, member.identity, grantee.rolname);
        END LOOP;
    END LOOP;
END
$$;

-- GRANT in a script notes all that is granted on the object as the extension's own doing, and dumps leave that
-- out. The schema is not ours: what others were granted on it before belongs into dumps, so the note is taken back.
DO $$
DECLARE
    target CONSTANT oid := '@extschema@'::regnamespace;
    former CONSTANT aclitem[] := (
        SELECT i.initprivs FROM pg_init_privs i WHERE i.classoid = 'pg_namespace'::regclass AND i.objoid = target
    );
BEGIN
    GRANT USAGE ON SCHEMA @extschema@ TO billing_service, billing_webhook, billing_user, billing_monitor;
    IF former IS NULL THEN
        DELETE FROM pg_init_privs WHERE classoid = 'pg_namespace'::regclass AND objoid = target;
    ELSE
        UPDATE pg_init_privs SET initprivs = former WHERE classoid = 'pg_namespace'::regclass AND objoid = target;
    END IF;
END
$$;

-- What billing.intended_grants() lists is granted, where it is not yet; a name in it that is nobody's stops the
-- install.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT g.*, o.identity
        FROM billing.intended_grants() g
        LEFT JOIN (
            SELECT i.type, i.identity, CASE i.schema WHEN 'billing' THEN 'billing.' ELSE '' END || coalesce(p.proname, i.name) AS name
            FROM pg_depend d
            JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'billing_rpc'
            LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid,
                LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
            WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
        ) o ON o.type = g.object_type AND o.name = g.object_name
        WHERE NOT EXISTS (
            SELECT FROM billing.present_grants() p
            WHERE (p.role_name, p.object_type, p.object_name, p.privilege) = (g.role_name, g.object_type, g.object_name, g.privilege)
        )
    LOOP
        EXECUTE format('GRANT %s ON %s %s TO %I', wanted.privilege,
            CASE wanted.object_type WHEN 'view' THEN 'TABLE' ELSE wanted.object_type END, wanted.identity, wanted.role_name);
    END LOOP;
    FOR wanted IN
        SELECT * FROM billing.intended_policies() i
        WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = i.table_name::regclass AND p.polname = 'own_rows')
    LOOP
        EXECUTE format('CREATE POLICY own_rows ON %s FOR SELECT TO billing_user USING %s', wanted.table_name, wanted.expression);
    END LOOP;
END
$$;

-- Row security on every table: beside the owner's definer functions, only who has a policy above sees rows. Only
-- where it is not on yet, as that waits for whoever uses the table.
DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.classid = c.tableoid AND d.objid = c.oid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'r' AND NOT c.relrowsecurity
            AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'billing_rpc')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    END LOOP;
END
$$;

-- Every table and sequence goes into dumps, but the secrets.
SELECT pg_catalog.pg_extension_config_dump('billing.customers', '');
SELECT pg_catalog.pg_extension_config_dump('billing.customer_aliases', '');
SELECT pg_catalog.pg_extension_config_dump('billing.balances', '');
SELECT pg_catalog.pg_extension_config_dump('billing.ledger', '');
SELECT pg_catalog.pg_extension_config_dump('billing.ledger_entry_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('billing.lots', '');
SELECT pg_catalog.pg_extension_config_dump('billing.lots_lot_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('billing.lot_uses', '');
SELECT pg_catalog.pg_extension_config_dump('billing.holds', '');
SELECT pg_catalog.pg_extension_config_dump('billing.hold_lots', '');
SELECT pg_catalog.pg_extension_config_dump('billing.charges', '');
SELECT pg_catalog.pg_extension_config_dump('billing.webhook_events', '');
SELECT pg_catalog.pg_extension_config_dump('billing.allowed_accounts', '');
SELECT pg_catalog.pg_extension_config_dump('billing.packs', '');
SELECT pg_catalog.pg_extension_config_dump('billing.pack_prices', '');
SELECT pg_catalog.pg_extension_config_dump('billing.plans', '');
SELECT pg_catalog.pg_extension_config_dump('billing.plan_prices', '');
SELECT pg_catalog.pg_extension_config_dump('billing.payments', '');
SELECT pg_catalog.pg_extension_config_dump('billing.payments_payment_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('billing.branch_subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('billing.subscriptions', '');
SELECT pg_catalog.pg_extension_config_dump('billing.refetch_queue', '');
SELECT pg_catalog.pg_extension_config_dump('billing.code_meetings', '');
SELECT pg_catalog.pg_extension_config_dump('billing.balance_mirrors', '');

NOTIFY pgrst, 'reload schema';

SET LOCAL search_path TO @extschema@, pg_temp;
