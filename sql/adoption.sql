-- The books of an existing application, taken over. What reads the application's tables runs with its caller's
-- rights; what writes here gets rows as arguments and runs as the owner (src/adoption).
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.balance_mirrors (
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at timestamptz,
    credit_type text PRIMARY KEY,
    relation text NOT NULL,
    user_column text NOT NULL,
    balance_column text NOT NULL
);
COMMENT ON TABLE billing.balance_mirrors IS 'Columns of the application that are kept in step with balances, or were.';
COMMENT ON COLUMN billing.balance_mirrors.started_at IS 'When billing.mirror_balances named it.';
COMMENT ON COLUMN billing.balance_mirrors.ended_at IS 'When it was taken away; null while it is kept in step.';
COMMENT ON COLUMN billing.balance_mirrors.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.balance_mirrors.relation IS 'The table, with its schema.';
COMMENT ON COLUMN billing.balance_mirrors.user_column IS 'Its column of users.';
COMMENT ON COLUMN billing.balance_mirrors.balance_column IS 'Its column of balances.';

-- What a column of somebody else's table can be used as; null if there is no such column.
CREATE FUNCTION billing.adopted_column(source regclass DEFAULT NULL, column_name text DEFAULT NULL) RETURNS text
LANGUAGE sql
STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN b.typcategory = 'S' THEN 'text'
        WHEN b.oid = 'uuid'::regtype THEN 'uuid'
        WHEN b.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 'integer'
        WHEN b.oid = 'numeric'::regtype THEN 'numeric'
        WHEN b.oid = 'bool'::regtype THEN 'boolean'
        WHEN b.oid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN 'time'
        ELSE 'other'
    END
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = source AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
$$;

CREATE FUNCTION billing.adopt_balances(
    relation text DEFAULT NULL,
    user_column text DEFAULT NULL,
    balance_column text DEFAULT NULL,
    credit_type text DEFAULT 'credits',
    INOUT dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL,
    OUT rows bigint,
    OUT adopted bigint,
    OUT already bigint,
    OUT changed bigint,
    OUT users_not_found bigint,
    OUT duplicates bigint,
    OUT nulls bigint,
    OUT negatives bigint,
    OUT malformed bigint,
    OUT remaining bigint,
    OUT zeros bigint,
    OUT sum_rows numeric,
    OUT sum_adopted numeric,
    OUT sum_already numeric,
    OUT examples jsonb
)
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass := billing.find_relation(relation);
    wanted CONSTANT text := coalesce(credit_type, 'credits');
    targets text[];
    balances bigint[];
    verdicts text[];
BEGIN
    dry_run := coalesce(dry_run, true);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation to adopt from does not exist',
            HINT = 'Name it with its schema, for instance public.users.';
    END IF;
    IF coalesce(billing.adopted_column(source, user_column), 'none') NOT IN ('uuid', 'integer', 'text') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such user column, or one of another type',
            HINT = 'The user column is a uuid, an integer or text.';
    END IF;
    IF coalesce(billing.adopted_column(source, balance_column), 'none') NOT IN ('integer', 'numeric') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such balance column, or one of another type',
            HINT = 'The balance column is an integer or numeric; a view can cast it.';
    END IF;
    IF wanted !~ '[^[:space:]]' OR octet_length(wanted) > 63 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the credit type is blank or too long';
    END IF;
    IF max_rows <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows is a number above zero';
    END IF;
    -- Whose rows are several is left out altogether: nobody knows which of them is right. Only where customers who
    -- were all adopted before have been merged since do several rows of one customer stand for what they are.
    EXECUTE format($query$
        WITH source AS MATERIALIZED (
            SELECT r.%1$I::text AS person, r.%2$I::numeric AS balance, billing.adoption_target(r.%1$I::text, $1) AS found
            FROM %3$s r
        ), resolved AS (
            SELECT s.person, s.balance, s.found[1] AS target, cardinality(s.found) - 1 AS openings,
                   (SELECT sum(o.credits::numeric) FROM unnest(s.found[2:]) AS o (credits)) AS opened,
                   count(*) OVER of_target AS rows_of_target, sum(s.balance) OVER of_target AS balance_of_target
            FROM source s WINDOW of_target AS (PARTITION BY s.found[1])
        ), judged AS (
            SELECT r.*, CASE
                WHEN r.target IS NULL THEN 'users_not_found'
                WHEN r.openings >= r.rows_of_target THEN
                    CASE WHEN r.balance_of_target = r.opened THEN 'already' ELSE 'changed' END
                WHEN r.rows_of_target > 1 THEN 'duplicates'
                WHEN r.balance IS NULL THEN 'nulls'
                WHEN r.balance IN ('NaN', 'Infinity', '-Infinity') OR r.balance <> trunc(r.balance)
                    OR abs(r.balance) > 9223372036854775807 THEN 'malformed'
                WHEN r.balance < 0 THEN 'negatives'
                ELSE 'adopted'
            END AS verdict
            FROM resolved r
        ), placed AS (
            SELECT j.*, row_number() OVER (
                PARTITION BY j.verdict ORDER BY j.target COLLATE "C", j.person COLLATE "C", j.balance) AS place
            FROM judged j
        )
        SELECT count(*),
               count(*) FILTER (WHERE verdict IN ('already', 'changed')),
               count(*) FILTER (WHERE verdict = 'changed'),
               count(*) FILTER (WHERE verdict = 'users_not_found'),
               count(*) FILTER (WHERE verdict = 'duplicates'),
               count(*) FILTER (WHERE verdict = 'nulls'),
               count(*) FILTER (WHERE verdict = 'negatives'),
               count(*) FILTER (WHERE verdict = 'malformed'),
               count(*) FILTER (WHERE verdict = 'adopted' AND place <= $2),
               count(*) FILTER (WHERE verdict = 'adopted' AND place > $2),
               count(*) FILTER (WHERE verdict = 'adopted' AND place <= $2 AND balance = 0),
               coalesce(sum(balance) FILTER (WHERE balance NOT IN ('NaN', 'Infinity', '-Infinity')), 0),
               coalesce(sum(balance) FILTER (WHERE verdict = 'adopted' AND place <= $2), 0),
               coalesce(sum(opened / rows_of_target) FILTER (WHERE verdict IN ('already', 'changed')), 0),
               coalesce(array_agg(target ORDER BY place) FILTER (WHERE verdict = 'adopted' AND place <= $2), '{}'),
               coalesce(array_agg(balance::bigint ORDER BY place) FILTER (WHERE verdict = 'adopted' AND place <= $2), '{}'),
               coalesce((
                   SELECT jsonb_object_agg(e.verdict, e.people) FROM (
                       SELECT verdict, jsonb_agg(person ORDER BY place) AS people FROM placed
                       WHERE place <= 20 AND verdict NOT IN ('adopted', 'already') GROUP BY verdict
                   ) e), '{}')
        FROM placed
        $query$, user_column, balance_column, source)
    INTO rows, already, changed, users_not_found, duplicates, nulls, negatives, malformed, adopted, remaining, zeros,
        sum_rows, sum_adopted, sum_already, targets, balances, examples
    USING wanted, coalesce(max_rows, 9223372036854775807);
    sum_already := round(sum_already);
    IF dry_run OR adopted = 0 THEN
        RETURN;
    END IF;
    verdicts := billing.adopt_balance_rows(targets, balances, wanted);
    SELECT count(*) FILTER (WHERE a.verdict = 'adopted'), count(*) FILTER (WHERE a.verdict = 'adopted' AND a.balance = 0),
           coalesce(sum(a.balance) FILTER (WHERE a.verdict = 'adopted'), 0),
           malformed + count(*) FILTER (WHERE a.verdict = 'malformed'), remaining + count(*) FILTER (WHERE a.verdict = 'remaining')
    INTO adopted, zeros, sum_adopted, malformed, remaining
    FROM unnest(verdicts, balances) AS a (verdict, balance);
END
$$;

CREATE FUNCTION billing.adopt_stripe_events(
    relation text DEFAULT NULL,
    id_column text DEFAULT NULL,
    type_column text DEFAULT NULL,
    processed_column text DEFAULT NULL,
    INOUT dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL,
    OUT rows bigint,
    OUT adopted bigint,
    OUT already bigint,
    OUT in_progress bigint,
    OUT not_processed bigint,
    OUT duplicates bigint,
    OUT malformed bigint,
    OUT remaining bigint,
    OUT examples jsonb
)
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass := billing.find_relation(relation);
    processed_as text;
    page record;
    tally record;
    busy text[] := '{}';
    bad text[] := '{}';
    read_so_far bigint := 0;
BEGIN
    dry_run := coalesce(dry_run, true);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation to adopt from does not exist',
            HINT = 'Name it with its schema, for instance public.stripe_events.';
    END IF;
    IF billing.adopted_column(source, id_column) IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such id column, or one of another type', HINT = 'The id column is text.';
    END IF;
    IF type_column IS NOT NULL AND billing.adopted_column(source, type_column) IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such type column, or one of another type',
            HINT = 'The type column is text; null if there is none.';
    END IF;
    processed_as := coalesce(billing.adopted_column(source, processed_column), 'none');
    IF processed_as NOT IN ('time', 'boolean') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such processed column, or one of another type',
            HINT = 'The processed column is a time or a boolean; a view can compute one.';
    END IF;
    IF max_rows <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows is a number above zero';
    END IF;
    rows := 0; adopted := 0; already := 0; in_progress := 0; not_processed := 0; duplicates := 0; malformed := 0; remaining := 0;
    -- An event that stands in several rows was processed if one of them says so.
    FOR page IN EXECUTE format($query$
        WITH source AS (
            SELECT r.%1$I::text AS id, %2$s AS type, %3$s AS processed, %4$s AS at FROM %5$s r
        ), events AS (
            SELECT s.id, min(s.type) AS type, bool_or(coalesce(s.processed, false)) AS processed, min(s.at) AS at, count(*) AS rows,
                   (row_number() OVER (ORDER BY s.id COLLATE "C") - 1) / 10000 AS page
            FROM source s GROUP BY s.id
        )
        SELECT sum(e.rows)::bigint AS rows,
               coalesce(sum(CASE WHEN e.id IS NULL THEN e.rows END), 0)::bigint AS nameless,
               count(*) FILTER (WHERE e.id IS NOT NULL AND NOT e.processed) AS not_processed,
               coalesce(sum(CASE WHEN e.id IS NOT NULL THEN e.rows - 1 END), 0)::bigint AS duplicates,
               array_agg(e.id ORDER BY e.id COLLATE "C") FILTER (WHERE e.id IS NOT NULL AND e.processed) AS ids,
               array_agg(e.type ORDER BY e.id COLLATE "C") FILTER (WHERE e.id IS NOT NULL AND e.processed) AS types,
               array_agg(e.at ORDER BY e.id COLLATE "C") FILTER (WHERE e.id IS NOT NULL AND e.processed) AS times
        FROM events e GROUP BY e.page ORDER BY e.page
        $query$,
        id_column,
        CASE WHEN type_column IS NULL THEN 'NULL::text' ELSE format('r.%I::text', type_column) END,
        format(CASE processed_as WHEN 'time' THEN 'r.%I IS NOT NULL' ELSE 'r.%I' END, processed_column),
        format(CASE processed_as WHEN 'time' THEN 'CASE WHEN isfinite(r.%1$I) THEN r.%1$I::timestamptz END' ELSE 'NULL::timestamptz' END, processed_column),
        source)
    LOOP
        rows := rows + page.rows;
        malformed := malformed + page.nameless;
        not_processed := not_processed + page.not_processed;
        duplicates := duplicates + page.duplicates;
        SELECT count(*) FILTER (WHERE v.verdict = 'adopted') AS adopted, count(*) FILTER (WHERE v.verdict = 'already') AS already,
               count(*) FILTER (WHERE v.verdict = 'in_progress') AS in_progress,
               count(*) FILTER (WHERE v.verdict = 'malformed') AS malformed,
               count(*) FILTER (WHERE v.verdict = 'remaining') AS remaining,
               coalesce(array_agg(v.id) FILTER (WHERE v.verdict = 'in_progress'), '{}') AS busy,
               coalesce(array_agg(v.id) FILTER (WHERE v.verdict = 'malformed'), '{}') AS bad
        INTO tally
        FROM unnest(
            billing.adopt_event_rows(page.ids, page.types, page.times, dry_run, max_rows - adopted), page.ids
        ) AS v (verdict, id);
        adopted := adopted + tally.adopted;
        already := already + tally.already;
        in_progress := in_progress + tally.in_progress;
        malformed := malformed + tally.malformed;
        remaining := remaining + tally.remaining;
        busy := (busy || tally.busy)[1:20];
        bad := (bad || tally.bad)[1:20];
        IF rows - read_so_far >= 10000 THEN
            read_so_far := rows;
            RAISE NOTICE '% rows read so far, % events adopted', rows, adopted;
        END IF;
    END LOOP;
    examples := jsonb_strip_nulls(jsonb_build_object(
        'in_progress', CASE WHEN busy <> '{}' THEN to_jsonb(busy) END, 'malformed', CASE WHEN bad <> '{}' THEN to_jsonb(bad) END));
END
$$;

CREATE FUNCTION billing.adopt_sources(
    relation text DEFAULT NULL,
    source_column text DEFAULT NULL,
    INOUT dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL,
    OUT rows bigint,
    OUT adopted bigint,
    OUT already bigint,
    OUT duplicates bigint,
    OUT nulls bigint,
    OUT malformed bigint,
    OUT remaining bigint,
    OUT examples jsonb
)
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass := billing.find_relation(relation);
    page record;
    tally record;
    bad text[] := '{}';
    read_so_far bigint := 0;
BEGIN
    dry_run := coalesce(dry_run, true);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation to adopt from does not exist',
            HINT = 'Name it with its schema, for instance public.credit_purchases.';
    END IF;
    IF billing.adopted_column(source, source_column) IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such source column, or one of another type', HINT = 'The source column is text.';
    END IF;
    IF max_rows <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows is a number above zero';
    END IF;
    rows := 0; adopted := 0; already := 0; duplicates := 0; nulls := 0; malformed := 0; remaining := 0;
    -- Sorted as charges are locked: by what stands behind the provider.
    FOR page IN EXECUTE format($query$
        WITH source AS MATERIALIZED (
            SELECT r.%1$I::text AS value, billing.adoption_source(r.%1$I::text) AS source FROM %2$s r
        ), sources AS (
            SELECT s.source, CASE WHEN s.source IS NULL THEN s.value END AS bad, count(*) AS rows,
                   (row_number() OVER (ORDER BY regexp_replace(s.source, '^[a-z]+:', '') COLLATE "C", s.source COLLATE "C") - 1) / 10000 AS page
            FROM source s GROUP BY s.source, CASE WHEN s.source IS NULL THEN s.value END
        )
        SELECT sum(s.rows)::bigint AS rows,
               coalesce(sum(CASE WHEN s.source IS NULL AND s.bad IS NULL THEN s.rows END), 0)::bigint AS nulls,
               coalesce(sum(CASE WHEN s.bad IS NOT NULL THEN s.rows END), 0)::bigint AS malformed,
               coalesce(sum(CASE WHEN s.source IS NOT NULL THEN s.rows - 1 END), 0)::bigint AS duplicates,
               array_agg(s.source) FILTER (WHERE s.source IS NOT NULL) AS sources,
               coalesce(array_agg(s.bad ORDER BY s.bad COLLATE "C") FILTER (WHERE s.bad IS NOT NULL), '{}') AS bad
        FROM sources s GROUP BY s.page ORDER BY s.page
        $query$, source_column, source)
    LOOP
        rows := rows + page.rows;
        nulls := nulls + page.nulls;
        malformed := malformed + page.malformed;
        duplicates := duplicates + page.duplicates;
        bad := (bad || page.bad)[1:20];
        SELECT count(*) FILTER (WHERE v.verdict = 'adopted') AS adopted, count(*) FILTER (WHERE v.verdict = 'already') AS already,
               count(*) FILTER (WHERE v.verdict = 'remaining') AS remaining
        INTO tally
        FROM unnest(billing.adopt_source_rows(page.sources, dry_run, max_rows - adopted)) AS v (verdict);
        adopted := adopted + tally.adopted;
        already := already + tally.already;
        remaining := remaining + tally.remaining;
        IF rows - read_so_far >= 10000 THEN
            read_so_far := rows;
            RAISE NOTICE '% rows read so far, % sources adopted', rows, adopted;
        END IF;
    END LOOP;
    examples := CASE WHEN bad <> '{}' THEN jsonb_build_object('malformed', bad) ELSE '{}' END;
END
$$;

-- Runs after each statement that wrote balances of some type which is mirrored. What cannot be written (a table that
-- is gone, a column renamed, a number too large) must not stop who is buying or spending.
CREATE FUNCTION billing.mirror_changes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names text[];
    credits bigint[];
BEGIN
    SELECT array_agg(n.name ORDER BY n.name COLLATE "C"), array_agg(w.balance - w.held ORDER BY n.name COLLATE "C") INTO names, credits
    FROM written w JOIN billing.customers c ON c.customer_id = w.customer_id, LATERAL (
        SELECT c.user_id::text AS name WHERE TG_ARGV[2] IN ('uuid', 'text')
        UNION ALL SELECT c.legacy_id::text WHERE TG_ARGV[2] IN ('integer', 'text')
        UNION ALL SELECT unnest(ARRAY[c.external_id, c.email]) WHERE TG_ARGV[2] = 'text'
    ) n
    WHERE w.credit_type = TG_ARGV[1] AND n.name IS NOT NULL;
    IF names IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        EXECUTE format('SELECT billing.%I($1, $2)', TG_ARGV[0]) USING names, credits;
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR syntax_error_or_access_rule_violation OR invalid_schema_name
        OR object_not_in_prerequisite_state OR feature_not_supported OR plpgsql_error
    THEN
        RAISE WARNING USING MESSAGE = 'a balance could not be written to the column that mirrors it',
            HINT = 'Call billing.mirror_balances again, or without arguments to end it.';
    END;
    RETURN NULL;
END
$$;

-- The column is written with the rights of its table's owner, by a function of theirs that does only that.
CREATE FUNCTION billing.mirror_balances(
    relation text DEFAULT NULL,
    user_column text DEFAULT NULL,
    balance_column text DEFAULT NULL,
    credit_type text DEFAULT 'credits'
) RETURNS void
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mirrored CONSTANT text := coalesce(credit_type, 'credits');
    writer CONSTANT text := 'mirror_' || left(encode(sha256(convert_to(coalesce(credit_type, 'credits'), 'UTF8')), 'hex'), 16);
    source regclass;
    owner name;
    user_kind text;
    former name;
    grantee text;
BEGIN
    -- One at a time: who comes second finds what the first has made.
    LOCK TABLE billing.balance_mirrors IN SHARE ROW EXCLUSIVE MODE;
    IF relation IS NOT NULL OR user_column IS NOT NULL OR balance_column IS NOT NULL THEN
        source := (SELECT c.oid FROM pg_class c WHERE c.oid = billing.find_relation(relation) AND c.relkind IN ('r', 'p'));
        IF source IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table to mirror balances to does not exist',
                HINT = 'Name a table with its schema, for instance public.users.';
        END IF;
        user_kind := billing.adopted_column(source, user_column);
        IF coalesce(user_kind, 'none') NOT IN ('uuid', 'integer', 'text') THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table has no such user column, or one of another type',
                HINT = 'The user column is a uuid, an integer or text.';
        END IF;
        IF coalesce(billing.adopted_column(source, balance_column), 'none') NOT IN ('integer', 'numeric') THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table has no such balance column, or one of another type',
                HINT = 'The balance column is an integer or numeric.';
        END IF;
        IF mirrored !~ '[^[:space:]]' OR octet_length(mirrored) > 63 THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the credit type is blank or too long';
        END IF;
        -- Else the next purchase of somebody who is not adopted yet would write over the only record of what they had.
        IF NOT EXISTS (SELECT FROM billing.balance_mirrors m WHERE m.credit_type = mirrored)
            AND (SELECT a.adopted > 0 OR a.remaining > 0 FROM billing.adopt_balances(relation, user_column, balance_column, mirrored) a)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table has balances that are not adopted yet',
                HINT = 'Call billing.adopt_balances for it first, with dry_run => false.';
        END IF;
    END IF;
    -- A dump carries the function and not the triggers.
    FOR former IN
        SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = 'billing.balances'::regclass AND t.tgname IN (writer || '_insert', writer || '_update')
    LOOP
        EXECUTE format('DROP TRIGGER %I ON billing.balances', former);
    END LOOP;
    IF to_regprocedure(format('billing.%I(text[], bigint[])', writer)) IS NOT NULL THEN
        EXECUTE format('DROP FUNCTION billing.%I(text[], bigint[])', writer);
    END IF;
    IF source IS NULL THEN
        UPDATE billing.balance_mirrors m SET ended_at = clock_timestamp() WHERE m.credit_type = mirrored AND m.ended_at IS NULL;
        RETURN;
    END IF;
    EXECUTE format($function$
        CREATE FUNCTION billing.%1$I(names text[], credits bigint[]) RETURNS void
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS $body$
            UPDATE %2$s AS u SET %3$I = m.credits FROM unnest(names, credits) AS m (name, credits)
            WHERE u.%4$I = m.name%5$s AND u.%3$I IS DISTINCT FROM m.credits
        $body$ $function$,
        writer, source, balance_column, user_column, CASE user_kind WHEN 'text' THEN '' WHEN 'uuid' THEN '::uuid' ELSE '::bigint' END);
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_proc p, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.proname = writer AND p.pronamespace = 'billing'::regnamespace AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION billing.%I(text[], bigint[]) FROM %s', writer, grantee);
    END LOOP;
    EXECUTE format('GRANT EXECUTE ON FUNCTION billing.%I(text[], bigint[]) TO billing_owner', writer);
    SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class c WHERE c.oid = source;
    EXECUTE format('ALTER FUNCTION billing.%I(text[], bigint[]) OWNER TO %I', writer, owner);
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON billing.balances REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION billing.mirror_changes(%L, %L, %L)', writer || '_insert', writer, mirrored, user_kind);
    EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON billing.balances REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION billing.mirror_changes(%L, %L, %L)', writer || '_update', writer, mirrored, user_kind);
    INSERT INTO billing.balance_mirrors AS m (credit_type, relation, user_column, balance_column)
    SELECT mirrored, format('%I.%I', n.nspname, c.relname), mirror_balances.user_column, mirror_balances.balance_column
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = source
    ON CONFLICT ON CONSTRAINT balance_mirrors_pkey DO UPDATE
    SET started_at = clock_timestamp(), ended_at = NULL, relation = excluded.relation, user_column = excluded.user_column,
        balance_column = excluded.balance_column;
END
$$;

SET LOCAL search_path TO @extschema@, pg_temp;
