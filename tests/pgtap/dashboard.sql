-- The dashboard: as PostgREST asks for it; markup in every text; what of the books is on it; that it never reads a table whole.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

-- The domain's name is the content type.
SELECT is(concat_ws(' ', t.typtype, format_type(t.typbasetype, NULL)), 'd text', 'a domain over text')
    FROM pg_type t WHERE t.oid = 'billing."text/html"'::regtype;
SELECT is(t.typowner::regrole::text, 'billing_owner', 'it belongs to billing_owner') FROM pg_type t WHERE t.oid = 'billing."text/html"'::regtype;
SELECT is_empty($$ SELECT a.grantee::regrole FROM pg_type t, aclexplode(t.typacl) a
    WHERE t.oid = 'billing."text/html"'::regtype AND a.grantee NOT IN (0, t.typowner) $$, 'nobody is granted it by name, whatever the default privileges say');
SELECT isnt(obj_description('billing."text/html"'::regtype, 'pg_type'), NULL, 'it has a comment');
CREATE DOMAIN public."text/html" AS text;
SELECT is(tap.refusal('DROP DOMAIN public."text/html"'), NULL, 'an application may have one of its own beside it');

-- PostgREST casts what a function of a media type returns by that domain's name, with the rights of the caller.
CREATE FUNCTION tap.get(role_name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    page text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role_name);
    SELECT "billing"."text/html"(_postgrest_t.pgrst_scalar) INTO page FROM (SELECT "public"."billing_dashboard"() AS pgrst_scalar) _postgrest_t;
    RESET ROLE;
    RETURN page;
END $$;
GRANT billing_monitor TO fresh;
SELECT matches(tap.get(role), '^<!doctype html>\n<html lang="en">.*</html>$', role || ' gets the page')
    FROM unnest('{billing_monitor,billing_owner,fresh}'::text[]) AS role;
SELECT is(tap.attempt(role, 'SELECT billing_dashboard()'), '42501', role || ' does not')
    FROM unnest('{billing_service,billing_user,billing_webhook}'::text[]) AS role;

-- Headers for PostgREST, behind those that another function has set, once.
SELECT set_config('response.headers', '[{"X-Request": "7"}]', true) \g /dev/null
SELECT matches(tap.get('billing_monitor') || tap.get('billing_monitor'), '^<!doctype', 'twice in one transaction');
SELECT results_eq($$ SELECT h.name, h.value FROM json_array_elements(current_setting('response.headers')::json) AS e, LATERAL json_each_text(e) AS h (name, value) $$,
    $$ VALUES ('X-Request', '7'), ('Cache-Control', 'no-store'),
        ('Content-Security-Policy', 'default-src ''none''; style-src ''unsafe-inline''; img-src data:; base-uri ''none''; form-action ''none''; frame-ancestors ''none'''),
        ('Referrer-Policy', 'no-referrer'), ('X-Content-Type-Options', 'nosniff') $$, 'not to be stored, nor framed');
SAVEPOINT reading;
SET TRANSACTION READ ONLY;
SELECT matches(tap.get('billing_monitor'), '^<!doctype', 'in a transaction that only reads, as PostgREST''s GET is');
ROLLBACK TO reading;

-- Markup in every text.
\ir ../browser/ten.sql
CREATE FUNCTION tap.shown(page text) RETURNS SETOF text LANGUAGE sql AS
    $$ SELECT DISTINCT m[1] FROM regexp_matches(page, 'alert\(([a-z_]+\.[a-z_]+)\)', 'g') AS m $$;
SELECT is_empty('SELECT tap.shown(billing_dashboard())', 'nothing is planted yet');
\ir ../browser/planted.sql
SELECT set_eq('SELECT column_name FROM planted WHERE in_rows < 0',
    $$ VALUES ('ledger.kind'), ('plans.interval_unit'), ('subscriptions.status'), ('webhook_events.status') $$,
    'markup is in every text but those that a constraint names the values of');
SELECT is_empty($$ SELECT column_name FROM planted WHERE in_rows = 0 AND split_part(column_name, '.', 1) IN ('webhook_events', 'ledger', 'subscriptions', 'refetch_queue') $$,
    'of all that the page reads there are rows');
SELECT billing_dashboard() AS page \gset
-- A new column has to be named here before it may be on the page: no personal data, no secret, no body, nothing that a caller keeps for itself.
SELECT set_eq(format('SELECT tap.shown(%L)', :'page'), $$ VALUES ('webhook_events.provider'), ('webhook_events.event_id'), ('webhook_events.event_type'),
        ('webhook_events.error_detail'), ('webhook_events.error_message'), ('ledger.credit_type'), ('ledger.source_ref') $$,
    'these columns are on the page, no others');
SELECT is((SELECT count(*) FROM regexp_matches(:'page', 'alert\(', 'g')),
    (SELECT count(*) FROM regexp_matches(:'page', '&lt;script&gt;alert\([a-z_.]+\)&lt;/script&gt;&quot;&#39;&amp;', 'g')), 'each of them escaped');
SELECT ok(:'page' !~ '<script', 'there is no script');
SELECT ok(:'page' !~ 'example\.com', 'nor an e-mail');

-- However many there are: by indexes alone, with the planner as it is, before any ANALYZE.
TRUNCATE billing.webhook_events;
INSERT INTO billing.webhook_events (provider, event_id, event_type, status, attempts, received_at, error_message, payload_summary)
SELECT 'many', n, 'type ' || n % 3, CASE WHEN n % 10 = 0 THEN 'dead' ELSE 'completed' END, 1, now() - n * interval '1 second',
    CASE WHEN n % 10 = 0 THEN 'x' END, '{}' FROM generate_series(1, 20000) AS n;
INSERT INTO billing.ledger (created_at, credits, balance_after, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
SELECT now(), 1, 1, b.customer_id, b.credit_type, 'grant', 'many ' || n, '', '{}'
FROM generate_series(1, 20000) AS n, (SELECT customer_id, credit_type FROM billing.balances LIMIT 1) AS b;
CREATE TEMP TABLE scans AS SELECT relname, seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE schemaname = 'billing';
CREATE TEMP VIEW scanned AS SELECT relname, s.seq_scan - b.seq_scan AS whole, s.idx_tup_fetch - b.idx_tup_fetch AS by_index
    FROM pg_stat_xact_user_tables s JOIN scans b USING (relname) WHERE schemaname = 'billing';
SELECT billing_dashboard() AS page \gset
SELECT matches(:'page'::text, 'at least 1\u202f000 events are dead', 'counted as far as a bound, and said so');
SELECT is_empty('SELECT relname FROM scanned WHERE whole > 0', 'no table is read from end to end');
-- An index read from end to end is as slow. All events are counted; of each of the three types a hundred and one are looked at before,
-- and one to find it; of the dead ones a thousand and one. Health looks at the newest and the oldest hundred of each type for live mode, at the
-- oldest hundred for bodies kept too long, each time at one to find the type, and at one dead event.
SELECT is((SELECT by_index FROM scanned WHERE relname = 'webhook_events'),
    20000 + 3 * 101 + 3 + 1001 + 3 * (200 + 1) + 3 * (100 + 1) + 1::bigint, 'so many events are looked at');
SELECT is((SELECT by_index FROM scanned WHERE relname = 'ledger'), (SELECT count(*) FROM billing.ledger) + 20, 'and all entries, as there are not too many');

SELECT * FROM finish();
ROLLBACK;
