-- What everything says of itself: to psql's \d+, \df+ and \dT+, to readers of PostgREST's OpenAPI description (the first line
-- of a comment is the summary, what follows the description), and in docs/reference, which is made of these comments.
-- The examples run in make test-docs.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

-- Array types and the row types of tables have no life of their own (and are members from Postgres 17 on).
CREATE TEMP VIEW members AS
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc') AND d.deptype = 'e'
        AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                        WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND (t.typcategory = 'A' OR c.relkind <> 'c'));
SELECT cmp_ok((SELECT count(*) FROM members), '>', 80::bigint, 'the extension has members to look at');
SELECT is_empty(
    $$ SELECT pg_describe_object(classid, objid, 0) FROM members
       WHERE obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) IS NULL $$,
    'every function, table, view, sequence, type, the schema and the event trigger have a comment');

CREATE TEMP VIEW columns AS
    SELECT c.oid, c.oid::regclass AS relation, a.attname, a.attnum
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'v', 'm', 'c') AND (c.oid IN (SELECT objid FROM members WHERE classid = 'pg_class'::regclass)
        OR c.reltype IN (SELECT objid FROM members WHERE classid = 'pg_type'::regclass));
SELECT cmp_ok((SELECT count(*) FROM columns), '>', 300::bigint, 'they have columns to look at');
SELECT is_empty('SELECT relation, attname FROM columns WHERE col_description(oid, attnum) IS NULL',
    'every column of a table, a view and a composite type has a comment');
SELECT is_empty(
    $$ SELECT t.oid::regtype, e.enumlabel FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid JOIN members m ON m.objid = t.oid
       WHERE obj_description(t.oid, 'pg_type') !~ ('\m' || e.enumlabel || ' \(') $$,
    'the comment of an enum says what each of its values means');
SELECT is_empty(
    $$ SELECT rolname FROM pg_roles
       WHERE rolname IN ('billing_owner', 'billing_service', 'billing_webhook', 'billing_user', 'billing_monitor') AND shobj_description(oid, 'pg_authid') IS NULL $$,
    'every group role has a comment');

-- Functions.
CREATE TEMP TABLE described AS
    SELECT f.oid, f.signature, p.proname, p.provolatile AS volatility, p.prorettype::regtype::text AS answer,
        p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AS is_trigger, obj_description(f.oid, 'pg_proc') AS says
    FROM tap.functions f JOIN pg_proc p USING (oid);
ALTER TABLE described ADD paragraphs text[];
UPDATE described SET paragraphs = string_to_array(says, E'\n\n');

SELECT is_empty($$ SELECT signature, paragraphs[1] FROM described WHERE paragraphs[1] !~ '^[A-Z][^\n]{1,99}[.]$' $$,
    'the first paragraph is one sentence of at most 100 characters: the summary');
SELECT is_empty('SELECT signature FROM described WHERE coalesce(paragraphs[2], '''') !~ ''^[A-Z]?[^:]*[a-z]''',
    'a description follows');
SELECT is_empty(
    $$ SELECT signature, parameter FROM described d JOIN pg_proc p USING (oid), unnest(p.proargnames[1:p.pronargs]) parameter
       WHERE parameter <> '' AND split_part(says, E'\n\nExample: ', 1) !~ ('\m' || parameter || '\M') $$,
    'the description speaks of every parameter');
SELECT is_empty($$ SELECT signature FROM described WHERE says ~ '[ \n\t]$|\n\n\n|\r' $$, 'no white space is left over');
SELECT is_empty(
    $$ SELECT signature FROM described WHERE volatility = 'v' AND NOT is_trigger
       AND (SELECT count(*) FROM unnest(paragraphs) paragraph WHERE paragraph LIKE 'Answers: %') <> 1 $$,
    'what writes says what it answers');
SELECT is_empty(
    $$ SELECT signature FROM described, unnest(paragraphs) paragraph
       WHERE volatility = 'v' AND answer LIKE '%\_outcome' AND paragraph LIKE 'Answers: %' AND paragraph !~ '\mapplied\M' $$,
    'and names the reasons, where it answers with an outcome');
-- The words that no writer would think of are left to the writer; the reasons are these six.
SELECT is_empty(
    $$ SELECT signature FROM described, unnest(paragraphs) paragraph
       WHERE volatility = 'v' AND answer LIKE '%\_outcome' AND signature NOT LIKE 'billing.%' AND paragraph LIKE 'Answers: %' AND paragraph !~ '\minvalid\M' $$,
    'a client is told what is refused');

-- Who may call it: the paragraph says what the catalogue says.
SELECT is_empty(
    $$ SELECT signature, paragraph, may.for_whom
       FROM described d
       LEFT JOIN LATERAL (SELECT paragraph FROM unnest(d.paragraphs) paragraph WHERE paragraph LIKE 'For: %') said ON true,
           LATERAL (SELECT 'For: ' || coalesce(string_agg(r.role, ', ' ORDER BY r.role), 'operators') || '.' AS for_whom
                    FROM tap.roles r WHERE r.role LIKE 'billing\_%' AND r.role <> 'billing_owner'
                        AND has_function_privilege(r.role, d.oid, 'EXECUTE')) may
       WHERE NOT is_trigger AND paragraph IS DISTINCT FROM may.for_whom $$,
    'each comment says who may call the function');
SELECT is_empty(
    $$ SELECT signature FROM described
       WHERE NOT is_trigger AND (says !~ ('\n\nExample: (.*\W)?' || proname || '\W[^\n]*') OR says ~ '\n\nExample: .*\n\n') $$,
    'each ends with an example that names the function');

SELECT * FROM finish();
ROLLBACK;
