-- What the guard of the books watches is all that can take the extension along.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

-- Whatever a member depends on and is no member itself, a cascade can come from. Postgres' own objects are in no row here.
SELECT set_eq(
    $$ WITH members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc')
           UNION SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE extname = 'billing_rpc')
       SELECT DISTINCT i.type, i.identity
       FROM members m JOIN pg_depend d USING (classid, objid), LATERAL pg_identify_object(d.refclassid, d.refobjid, 0) i
       WHERE (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM members)
           -- parts of members: row types, the indexes of constraints and the like
           AND NOT EXISTS (SELECT FROM pg_depend p JOIN members o ON o.classid = p.refclassid AND o.objid = p.refobjid
               WHERE p.classid = d.refclassid AND p.objid = d.refobjid AND p.deptype IN ('i', 'a')) $$,
    $$ VALUES ('schema', 'public'), ('language', 'plpgsql') $$,
    'the extension hangs on its schema and on a language, and on nothing else');
SELECT set_eq(
    $$ SELECT unnest(evttags) FROM pg_event_trigger WHERE evtname = 'billing_rpc_drop_guard' $$,
    $$ VALUES ('DROP EXTENSION'), ('DROP SCHEMA'), ('DROP LANGUAGE'), ('DROP OWNED'), ('DROP TABLE') $$,
    'those are watched, with the extension itself, its owner, and tables taken out of it');
SELECT is(evtenabled, 'A', 'whatever session_replication_role is') FROM pg_event_trigger WHERE evtname = 'billing_rpc_drop_guard';
SELECT is(deptype, 'e', 'the event trigger is a member: it goes with the extension')
    FROM pg_event_trigger e JOIN pg_depend d ON d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.refclassid = 'pg_extension'::regclass
    WHERE e.evtname = 'billing_rpc_drop_guard';
SELECT is(tap.refusal('DROP EVENT TRIGGER billing_rpc_drop_guard'),
    '2BP01 | cannot drop event trigger billing_rpc_drop_guard because extension billing_rpc requires it | You can drop extension billing_rpc instead.',
    'and not alone');

-- Right alone does not do it.
SELECT is(applied, true, 'there is a row') FROM grant_credits('a@example.com', 1, 'guarded');
SELECT is(tap.attempt(role, 'DROP EXTENSION billing_rpc CASCADE'), '42501', role || ' cannot drop it by right') FROM tap.roles;
SELECT is(tap.refusal('DROP EXTENSION billing_rpc CASCADE'),
    '2BP01 | the books of billing_rpc would be dropped: its ledger, webhook events or payments hold rows'
    ' | Dump the database first. To drop them on purpose, as a superuser in this session: SET billing_rpc.allow_drop = on;',
    'a superuser is refused as well');
SELECT is(tap.attempt('fresh', 'CREATE TEMP TABLE ledger AS SELECT 1 AS a; DROP TABLE ledger'), 'ok', 'tables of others go, whoever drops them');

SELECT * FROM finish();
ROLLBACK;
