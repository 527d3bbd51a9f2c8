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
            FROM pg_catalog.pg_type t WHERE t.typtype IN ('c', 'e')
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

GRANT USAGE ON SCHEMA @extschema@ TO billing_service, billing_webhook, billing_user, billing_monitor;

-- billing_service: every RPC.
GRANT EXECUTE ON FUNCTION
    @extschema@.resolve_billing_user(text),
    @extschema@.register_billing_user(uuid, text, bigint, text, text, text),
    @extschema@.apply_credit_purchase(text, bigint, text, text, bigint, text, text, timestamptz, jsonb, text),
    @extschema@.grant_credits(text, bigint, text, text, timestamptz, integer, jsonb),
    @extschema@.spend_credits(text, bigint, text, text, jsonb),
    @extschema@.credit_balance(text, text),
    @extschema@.credit_balance_at(text, timestamptz, text),
    @extschema@.reverse_credit_entry(bigint, text, bigint, jsonb),
    @extschema@.hold_credits(text, bigint, text, integer, text, jsonb),
    @extschema@.capture_hold(uuid, bigint),
    @extschema@.release_hold(uuid),
    @extschema@.apply_credit_batch(jsonb),
    @extschema@.credit_history(text, integer, bigint, text),
    @extschema@.start_subscription_payment(text, text, text, bigint, text, text[], text, jsonb),
    @extschema@.verify_subscription_payment(text, text, bigint, text, timestamptz),
    @extschema@.subscription_payment_status(text),
    @extschema@.verify_stripe_signature(text, text, integer),
    @extschema@.verify_paystack_signature(text, text),
    @extschema@.claim_stripe_event(text, text, jsonb, integer),
    @extschema@.complete_stripe_event(text, uuid, jsonb),
    @extschema@.fail_stripe_event(text, uuid, text, integer),
    @extschema@.claim_webhook_event(text, text, text, jsonb, integer),
    @extschema@.complete_webhook_event(text, text, uuid, jsonb),
    @extschema@.fail_webhook_event(text, text, uuid, text, integer),
    @extschema@.process_stripe_webhook(text, text),
    @extschema@.process_paystack_webhook(text, text),
    @extschema@.stripe_webhook(json),
    @extschema@.paystack_webhook(json),
    @extschema@.retry_webhook_events(integer),
    @extschema@.apply_subscription_update(jsonb, timestamptz),
    @extschema@.can_transition_subscription(text, text),
    @extschema@.subscription_status(text),
    @extschema@.pending_refetches(integer),
    @extschema@.my_subscription(),
    @extschema@.has_active_subscription(text)
TO billing_service;

-- billing_user: what an end user may ask about themselves.
GRANT EXECUTE ON FUNCTION @extschema@.my_subscription(), @extschema@.has_active_subscription(text) TO billing_user;

-- billing_webhook: only the endpoints, which accept nothing that is not signed.
GRANT EXECUTE ON FUNCTION @extschema@.stripe_webhook(json), @extschema@.paystack_webhook(json) TO billing_webhook;

-- billing_monitor: what shows how things are, and no secret.
GRANT USAGE ON SCHEMA billing TO billing_monitor;
GRANT SELECT ON billing.webhook_secret_list, billing.credit_totals, billing.event_status_counts,
    billing.failed_events, billing.stuck_events, billing.stripe_events TO billing_monitor;
GRANT EXECUTE ON FUNCTION billing.reconcile() TO billing_monitor;

-- Row security on every table: nobody but the owner's definer functions sees a row. Only where it is not on
-- yet, as that waits for whoever uses the table.
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

NOTIFY pgrst, 'reload schema';

SET LOCAL search_path TO @extschema@, pg_temp;
