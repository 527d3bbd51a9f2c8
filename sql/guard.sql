-- The books are not dropped with rows in them: neither by DROP EXTENSION nor by what takes the extension along. The
-- library judges (src/pg/drop_guard.rs); this has it loaded in time.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION billing.guard_drops() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM billing.watch_drops();
EXCEPTION WHEN OTHERS THEN
    -- The library's file is missing, or this session still has the one of an earlier release. Nobody then tells what
    -- falls by a cascade; so what never can go wrong goes through, and for all else there is a way out.
    IF TG_TAG = 'DROP TABLE'
        OR pg_catalog.lower(pg_catalog.current_setting('billing_rpc.allow_drop', true)) IN ('on', 'true', 'yes', '1')
    THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM billing.ledger) OR EXISTS (SELECT FROM billing.webhook_events) OR EXISTS (SELECT FROM billing.payments) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'dependent_objects_still_exist',
            MESSAGE = 'the books of billing_rpc might be dropped: its ledger, webhook events or payments hold rows, and its library cannot be loaded',
            HINT = 'Connect anew; if that does not help, install the library again. To drop without it, in this session: SET billing_rpc.allow_drop = on;';
    END IF;
END
$$;

-- Those by which the extension can go: itself, its schema, the language of its functions, its owner, and a table that
-- was taken out of it before.
CREATE EVENT TRIGGER billing_rpc_drop_guard ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP LANGUAGE', 'DROP OWNED', 'DROP TABLE')
    EXECUTE FUNCTION billing.guard_drops();
-- Also where session_replication_role is replica.
ALTER EVENT TRIGGER billing_rpc_drop_guard ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER billing_rpc_drop_guard IS
    'Keeps the books of billing_rpc from being dropped while they hold rows; billing_rpc.allow_drop = on lets them go.';

SET LOCAL search_path TO @extschema@, pg_temp;
