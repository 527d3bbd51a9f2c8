-- Who may do what: the one list that access.sql grants by, and what billing.access_audit() compares with it.
-- This file is run by every upgrade too, after sql/upgrade/begin.sql has dropped what it makes.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION billing.intended_grants()
RETURNS TABLE (role_name text, object_type text, object_name text, privilege text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- Every RPC.
    SELECT 'billing_service', 'function', name, 'EXECUTE' FROM unnest(ARRAY[
        'resolve_billing_user', 'register_billing_user',
        'apply_credit_purchase', 'grant_credits', 'spend_credits', 'reverse_credit_entry', 'apply_credit_batch',
        'hold_credits', 'capture_hold', 'release_hold',
        'credit_balance', 'credit_balance_at', 'credit_history',
        'start_subscription_payment', 'verify_subscription_payment', 'subscription_payment_status',
        'verify_stripe_signature', 'verify_paystack_signature',
        'claim_stripe_event', 'complete_stripe_event', 'fail_stripe_event',
        'claim_webhook_event', 'complete_webhook_event', 'fail_webhook_event',
        'process_stripe_webhook', 'process_paystack_webhook', 'stripe_webhook', 'paystack_webhook',
        'retry_webhook_events',
        'apply_subscription_update', 'can_transition_subscription', 'subscription_status', 'pending_refetches',
        'my_credits', 'my_credit_history', 'my_subscription', 'has_credits', 'has_active_subscription'
    ]) AS name
    UNION ALL
    -- Only the endpoints, which accept nothing that is not signed.
    SELECT 'billing_webhook', 'function', name, 'EXECUTE' FROM unnest(ARRAY['stripe_webhook', 'paystack_webhook']) AS name
    UNION ALL
    -- What an end user may ask about themselves; the policies call the last one with the reader's rights.
    SELECT 'billing_user', 'function', name, 'EXECUTE' FROM unnest(ARRAY[
        'my_credits', 'my_credit_history', 'my_subscription', 'has_credits', 'has_active_subscription',
        'billing.current_customer_id'
    ]) AS name
    UNION ALL
    -- What shows how things are, and no secret.
    SELECT 'billing_monitor', 'function', name, 'EXECUTE'
    FROM unnest(ARRAY['billing.reconcile', 'billing.access_audit', 'billing.health', 'billing.metrics', 'billing_dashboard']) AS name
    UNION ALL
    SELECT 'billing_monitor', 'view', name, 'SELECT' FROM unnest(ARRAY[
        'billing.webhook_secret_list', 'billing.credit_totals', 'billing.event_status_counts',
        'billing.failed_events', 'billing.stuck_events', 'billing.stripe_events',
        'billing.unfinished_events', 'billing.recent_events', 'billing.customer_credits', 'billing.ledger_entries'
    ]) AS name
    UNION ALL
    SELECT 'billing_monitor', 'schema', 'billing', 'USAGE'
$$;

-- The second wall: should somebody be granted the tables, they read their own rows and change none. Tables that
-- hold no customer's rows, or rows without a customer, have no policy: nobody reads them. The expressions are
-- written as Postgres shows them, so that they can be compared.
CREATE FUNCTION billing.intended_policies()
RETURNS TABLE (table_name text, expression text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'billing.' || name,
           '(customer_id = ( SELECT billing.current_customer_id() AS current_customer_id))'
    FROM unnest(ARRAY['customers', 'customer_aliases', 'balances', 'ledger', 'lots', 'holds', 'subscriptions', 'payments']) AS name
    UNION ALL
    -- Whoever reads these must be able to read what they belong to.
    SELECT 'billing.' || name, format(
        '(%1$s IN ( SELECT parent.%1$s FROM billing.%2$s parent WHERE (parent.customer_id = ( SELECT billing.current_customer_id() AS current_customer_id))))',
        key_column, parent)
    FROM (VALUES
        ('lot_uses', 'entry_id', 'ledger'),
        ('hold_lots', 'hold_id', 'holds'),
        ('branch_subscriptions', 'payment_id', 'payments')
    ) AS child (name, key_column, parent)
$$;

-- Everything that is granted on what belongs here, to anybody but the owner. Types are open to all: they hold nothing.
CREATE FUNCTION billing.present_grants()
RETURNS TABLE (role_name text, object_type text, object_name text, privilege text, grantable boolean, revoke text)
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    WITH members AS (
        SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'billing_rpc'
    ), relations AS (
        SELECT c.oid, 'billing.' || c.relname AS name, c.relowner, c.relacl,
               CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END AS kind
        FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ), objects AS (
        SELECT 'function' AS kind, CASE n.nspname WHEN 'billing' THEN 'billing.' ELSE '' END || p.proname AS name,
               p.proowner AS owner, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl,
               '' AS columns, 'FUNCTION ' || p.oid::regprocedure AS target
        FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
        JOIN pg_namespace n ON n.oid = p.pronamespace
        UNION ALL
        SELECT r.kind, r.name, r.relowner, r.relacl, '',
               CASE r.kind WHEN 'sequence' THEN 'SEQUENCE ' ELSE 'TABLE ' END || r.oid::regclass
        FROM relations r
        UNION ALL
        SELECT 'column', r.name || '.' || a.attname, r.relowner, a.attacl, format(' (%I)', a.attname), 'TABLE ' || r.oid::regclass
        FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid WHERE NOT a.attisdropped
        UNION ALL
        SELECT 'type', t.typname, t.typowner, t.typacl, '', 'TYPE ' || t.oid::regtype
        FROM members m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
        UNION ALL
        SELECT 'schema', n.nspname, n.nspowner, n.nspacl, '', 'SCHEMA billing'
        FROM pg_namespace n WHERE n.nspname = 'billing'
    )
    SELECT coalesce(r.rolname, 'PUBLIC'), o.kind, o.name, a.privilege_type, a.is_grantable,
           format('%s%s ON %s FROM %s;', a.privilege_type, o.columns, o.target, coalesce(quote_ident(r.rolname), 'PUBLIC'))
    FROM objects o, LATERAL aclexplode(o.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee <> o.owner AND (o.kind <> 'type' OR a.grantee <> 0)
$$;

-- Opening the webhook endpoints to anon is for the operator to decide, and so listed nowhere.
CREATE FUNCTION billing.audit_grants()
RETURNS TABLE (problem text, role_name text, object_type text, object_name text, privilege text, advice text)
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    WITH judged AS (
        SELECT g.*, EXISTS (
            SELECT FROM billing.intended_grants() i
            WHERE (i.role_name, i.object_type, i.object_name, i.privilege) = (g.role_name, g.object_type, g.object_name, g.privilege)
        ) OR (g.role_name = 'anon' AND g.object_type = 'function' AND g.object_name IN ('stripe_webhook', 'paystack_webhook'))
          OR (g.role_name = 'billing_owner' AND g.privilege = 'SELECT') AS intended
        FROM billing.present_grants() g
    )
    SELECT 'grant_not_intended', j.role_name, j.object_type, j.object_name, j.privilege, 'REVOKE ' || j.revoke
    FROM judged j WHERE NOT j.intended
    UNION ALL
    SELECT 'grant_option', j.role_name, j.object_type, j.object_name, j.privilege, 'REVOKE GRANT OPTION FOR ' || j.revoke
    FROM judged j WHERE j.intended AND j.grantable
    UNION ALL
    -- PostgREST may be configured in the database.
    SELECT 'schema_exposed', r.rolname, 'schema', 'billing', NULL,
           'Take billing out of pgrst.db_schemas: its functions are for operators.'
    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, LATERAL unnest(s.setconfig) AS setting
    WHERE setting ~ '^pgrst\.db_schemas?=' AND 'billing' = ANY (regexp_split_to_array(split_part(setting, '=', 2), '[\s",]+'))
        AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
    UNION ALL
    -- Whoever may create there can put a function of one of our names beside ours, for parameters that fit better.
    SELECT 'schema_open_to_all', 'PUBLIC', 'schema', n.nspname, 'CREATE', format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC;', n.nspname)
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace, LATERAL aclexplode(n.nspacl) a
    WHERE e.extname = 'billing_rpc' AND a.grantee = 0 AND a.privilege_type = 'CREATE'
$$;

-- The API's own roles for visitors and users must not lead further than this; other roles are the operator's.
CREATE FUNCTION billing.audit_roles()
RETURNS TABLE (problem text, role_name text, object_type text, object_name text, privilege text, advice text)
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    WITH groups AS (
        SELECT r.* FROM pg_roles r
        WHERE r.rolname IN ('billing_owner', 'billing_service', 'billing_webhook', 'billing_user', 'billing_monitor')
    )
    SELECT 'membership_not_intended', m.rolname, 'role', g.rolname, 'MEMBER', format('REVOKE %I FROM %I;', g.rolname, m.rolname)
    FROM pg_auth_members a JOIN groups g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    WHERE g.rolname = 'billing_owner'
    UNION ALL
    SELECT 'membership_not_intended', v.rolname, 'role', g.rolname, 'MEMBER',
           format('Take %I out of the roles through which it is a member of %I.', v.rolname, g.rolname)
    FROM groups g, pg_roles v
    WHERE v.rolname IN ('anon', 'authenticated') AND NOT v.rolsuper AND g.rolname <> 'billing_owner'
        AND (v.rolname, g.rolname) NOT IN (('anon', 'billing_webhook'), ('authenticated', 'billing_user'))
        AND pg_has_role(v.oid, g.oid, 'MEMBER')
    UNION ALL
    SELECT 'admin_option', m.rolname, 'role', g.rolname, 'ADMIN', format('REVOKE ADMIN OPTION FOR %I FROM %I;', g.rolname, m.rolname)
    FROM pg_auth_members a JOIN groups g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
    WHERE a.admin_option AND NOT m.rolsuper
    UNION ALL
    SELECT 'group_role_is_member', g.rolname, 'role', p.rolname, 'MEMBER', format('REVOKE %I FROM %I;', p.rolname, g.rolname)
    FROM pg_auth_members a JOIN groups g ON g.oid = a.member JOIN pg_roles p ON p.oid = a.roleid
    WHERE p.rolname <> 'billing_owner'
    UNION ALL
    SELECT 'role_attribute', g.rolname, 'role', g.rolname, attribute, format('ALTER ROLE %I NO%s;', g.rolname, attribute)
    FROM groups g, LATERAL (VALUES ('SUPERUSER', g.rolsuper), ('LOGIN', g.rolcanlogin), ('CREATEROLE', g.rolcreaterole),
        ('CREATEDB', g.rolcreatedb), ('REPLICATION', g.rolreplication), ('BYPASSRLS', g.rolbypassrls)) AS given (attribute, has_it)
    WHERE has_it
$$;

CREATE FUNCTION billing.audit_objects()
RETURNS TABLE (problem text, role_name text, object_type text, object_name text, privilege text, advice text)
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
    WITH members AS (
        SELECT i.type, i.identity, p.proconfig, c.oid AS relation, c.relkind, c.relrowsecurity,
               coalesce(p.proowner, c.relowner, t.typowner, n.nspowner) AS owner
        FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
        LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid,
            LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'billing_rpc'
            -- In Postgres 17 the types of arrays and of tables' rows are members too; their owner is that of what they belong to.
            AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
                SELECT FROM pg_depend f WHERE f.classid = d.classid AND f.objid = d.objid AND f.deptype = 'i'))
    ), policies AS (
        SELECT c.oid, i.table_name, p.polname, p.oid IS NOT NULL AND p.polname = 'own_rows' AND p.polpermissive
               AND p.polcmd = 'r' AND p.polroles = ARRAY[(SELECT r.oid FROM pg_roles r WHERE r.rolname = 'billing_user')]
               AND regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\s+', ' ', 'g') = i.expression AS intended
        FROM members m JOIN pg_class c ON c.oid = m.relation
        LEFT JOIN billing.intended_policies() i ON i.table_name = m.identity
        LEFT JOIN pg_policy p ON p.polrelid = c.oid
        WHERE i.table_name IS NOT NULL OR p.oid IS NOT NULL
    )
    SELECT 'owner_changed', o.rolname, m.type, m.identity, NULL,
           format('ALTER %s %s OWNER TO billing_owner;', upper(replace(m.type, 'composite type', 'type')), m.identity)
    FROM members m JOIN pg_roles o ON o.oid = m.owner
    WHERE o.rolname <> 'billing_owner' AND m.type <> 'sequence' -- follows its table
    UNION ALL
    SELECT 'search_path_not_pinned', NULL, m.type, m.identity, NULL,
           format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp;', m.identity)
    FROM members m
    WHERE m.type = 'function' AND NOT coalesce(m.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']
    UNION ALL
    SELECT 'row_security_off', NULL, m.type, m.identity, NULL, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', m.identity)
    FROM members m WHERE m.relkind = 'r' AND NOT m.relrowsecurity
    UNION ALL
    SELECT 'policy_not_intended', NULL, 'policy', format('%I on %s', p.polname, p.oid::regclass), NULL,
           format('DROP POLICY %I ON %s;', p.polname, p.oid::regclass)
    FROM policies p WHERE p.polname IS NOT NULL AND NOT coalesce(p.intended, false)
    UNION ALL
    SELECT 'policy_wanted', NULL, 'policy', 'own_rows on ' || i.table_name, NULL,
           format('CREATE POLICY own_rows ON %s FOR SELECT TO billing_user USING %s;', i.table_name, i.expression)
    FROM billing.intended_policies() i
    WHERE NOT EXISTS (SELECT FROM policies p WHERE p.table_name = i.table_name AND p.intended)
    UNION ALL
    SELECT 'ledger_not_append_only', NULL, 'table', 'billing.ledger', NULL,
           'ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;'
    WHERE NOT EXISTS (
        SELECT FROM pg_trigger t
        WHERE t.tgrelid = 'billing.ledger'::regclass AND t.tgname = 'ledger_append_only' AND t.tgenabled = 'A'
    )
$$;

CREATE FUNCTION billing.access_audit()
RETURNS TABLE (problem text, role_name text, object_type text, object_name text, privilege text, advice text)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM billing.audit_grants()
    UNION ALL SELECT * FROM billing.audit_roles()
    UNION ALL SELECT * FROM billing.audit_objects()
    ORDER BY 1, 2, 3, 4, 5
$$;

SET LOCAL search_path TO @extschema@, pg_temp;
