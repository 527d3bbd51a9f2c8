-- The first part of every upgrade: what is in the extension already keeps the grants that its operators
-- gave it (the webhook endpoint to anon, say); access.sql, the last part, takes only what is new from everybody.
SET LOCAL search_path TO pg_catalog, pg_temp;

SELECT pg_catalog.set_config('billing_upgrade.members', COALESCE((
    SELECT pg_catalog.string_agg(pg_catalog.format('%s:%s', d.classid, d.objid), ' ')
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'::"char"
        AND e.extname = 'billing_rpc'::name
), ''), true);

-- audit.sql makes these anew, as it is today.
-- squawk-ignore ban-drop-function
DROP FUNCTION IF EXISTS billing.intended_grants(), billing.intended_policies(), billing.present_grants(), billing.audit_grants(), billing.audit_roles(), billing.audit_objects(), billing.access_audit();

