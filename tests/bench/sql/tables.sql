-- The tables of schema billing once more, in schema @schema@: the same columns, defaults, checks, indexes,
-- storage parameters, foreign keys and triggers, taken from the catalogue.

CREATE SCHEMA @schema@;

DO $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT c.relname AS name, c.reloptions AS options
        FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('CREATE TABLE @schema@.%I (LIKE billing.%1$I INCLUDING ALL)', item.name);
        IF item.options IS NOT NULL THEN
            EXECUTE format('ALTER TABLE @schema@.%I SET (%s)', item.name, array_to_string(item.options, ', '));
        END IF;
    END LOOP;

    FOR item IN
        SELECT t.relname AS name, c.conname AS member, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
        WHERE t.relnamespace = 'billing'::regnamespace AND c.contype = 'f'
    LOOP
        EXECUTE format('ALTER TABLE @schema@.%I ADD CONSTRAINT %I %s',
            item.name, item.member, replace(item.definition, 'billing.', '@schema@.'));
    END LOOP;

    FOR item IN
        SELECT t.relname AS name, g.tgname AS member, pg_get_triggerdef(g.oid) AS definition, g.tgenabled AS enabled
        FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
        WHERE t.relnamespace = 'billing'::regnamespace AND t.relkind = 'r' AND NOT g.tgisinternal
    LOOP
        EXECUTE replace(item.definition, ' ON billing.', ' ON @schema@.');
        IF item.enabled = 'A' THEN
            EXECUTE format('ALTER TABLE @schema@.%I ENABLE ALWAYS TRIGGER %I', item.name, item.member);
        END IF;
    END LOOP;

    -- What is compared must be the same: as many indexes, and constraints that read alike.
    IF EXISTS (
        SELECT c.relname, pg_get_indexdef(i.indexrelid) IS NOT NULL
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r'
            AND NOT EXISTS (
                SELECT FROM pg_index j JOIN pg_class d ON d.oid = j.indrelid
                WHERE d.relnamespace = '@schema@'::regnamespace AND d.relname = c.relname
                    AND split_part(pg_get_indexdef(j.indexrelid), ' USING ', 2)
                        = split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2)
                    AND j.indisunique = i.indisunique)
    ) OR (
        SELECT count(*) FILTER (WHERE t.relnamespace = 'billing'::regnamespace)
            <> count(*) FILTER (WHERE t.relnamespace = '@schema@'::regnamespace)
        FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
    ) THEN
        RAISE EXCEPTION 'the tables in schema @schema@ are not those of schema billing';
    END IF;
END
$$;
