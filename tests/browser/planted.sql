-- Markup in every text of every table of the extension, found by the catalogue: each text becomes a script that names its own
-- column, then what it was. pg_temp.planted says into how many rows; -1 is what a constraint keeps out. For a superuser, in a database to be thrown away.
CREATE TEMP TABLE planted (column_name text, in_rows bigint);
SET session_replication_role = replica; -- no foreign keys
ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only;
DO $$
DECLARE
    found record;
    marker text;
    value text;
    part text;
    planted bigint;
BEGIN
    FOR found IN
        SELECT a.attrelid::regclass AS relation, a.attname, a.atttypid, c.relname || '.' || a.attname AS name
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'text[]'::regtype, 'jsonb'::regtype, 'json'::regtype)
        ORDER BY c.relname, a.attnum
    LOOP
        marker := '<script>alert(' || found.name || ')</script>"''&';
        value := CASE
            WHEN found.atttypid IN ('text'::regtype, 'varchar'::regtype) THEN format('%L || coalesce(%I, ctid::text)', marker, found.attname)
            WHEN found.atttypid = 'text[]'::regtype THEN format('ARRAY[%L]', marker)
            ELSE format('json_build_object(%1$L, %1$L)', marker) END;
        planted := 0;
        -- Into nulls too, where those may be something else.
        FOREACH part IN ARRAY ARRAY['true', format('%I IS NOT NULL', found.attname)] LOOP
            BEGIN
                EXECUTE format('UPDATE %s SET %I = %s WHERE %s', found.relation, found.attname, value, part);
                GET DIAGNOSTICS planted = ROW_COUNT;
                EXIT;
            EXCEPTION WHEN check_violation THEN
                planted := -1;
            END;
        END LOOP;
        INSERT INTO pg_temp.planted VALUES (found.name, planted);
    END LOOP;
END
$$;
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;
RESET session_replication_role;
