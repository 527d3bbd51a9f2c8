-- The settings: their defaults, who may set them, and that nobody invents one.
-- What a session sets before the library is loaded is settled at loading, so that is tried in sessions of its own.
\set early `psql -X -q -A -t -v VERBOSITY=sqlstate -c "SET ROLE fresh" -c "SET billing_rpc.external_ids = on" -c "RESET ROLE" -c "SELECT kind FROM public.resolve_billing_user('user_2x')" -c "SHOW billing_rpc.external_ids" 2>&1 | tr '\n' ' '`
\set unknown `psql -X -q -A -t -c "SET billing_rpc.xyz = 1" -c "SELECT found FROM public.resolve_billing_user('7')" -c "SHOW billing_rpc.xyz" 2>&1 | tr '\n' ' '`
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();
SELECT is(found, false, 'the library is loaded') FROM resolve_billing_user('7');

CREATE TEMP TABLE expected (name text, setting text, unit text, vartype text, wrong text);
INSERT INTO expected VALUES
    ('billing_rpc.signature_tolerance_seconds', '300', NULL, 'integer', '-1'),
    ('billing_rpc.claim_lease_seconds', '300', NULL, 'integer', '0'),
    ('billing_rpc.max_attempts', '10', NULL, 'integer', '0'),
    ('billing_rpc.max_payload_bytes', '1048576', NULL, 'integer', '0'),
    ('billing_rpc.payload_retention', 'until_completed', NULL, 'enum', 'sometimes'),
    ('billing_rpc.webhook_mode', 'process', NULL, 'enum', 'sometimes'),
    ('billing_rpc.e2e_test_mode', 'off', NULL, 'bool', 'maybe'),
    ('billing_rpc.accepted_mode', 'any', NULL, 'enum', 'both'),
    ('billing_rpc.refetch', 'conflict', NULL, 'enum', 'never'),
    ('billing_rpc.external_ids', 'off', NULL, 'bool', 'maybe'),
    ('billing_rpc.allow_drop', 'off', NULL, 'bool', 'maybe');

SELECT set_eq('SELECT name, setting, unit, vartype FROM pg_settings WHERE name LIKE ''billing\_rpc.%''',
    'SELECT name, setting, unit, vartype FROM expected', 'these settings with these defaults, no others');
SELECT is_empty('SELECT name FROM pg_settings WHERE name LIKE ''billing\_rpc.%'' AND context <> ''superuser''', 'superusers set them');
SELECT is_empty('SELECT name FROM pg_settings WHERE name LIKE ''billing\_rpc.%'' AND coalesce(short_desc, '''') !~ ''^[A-Z].*[.]$''',
    'each is described in a sentence');
SELECT is_empty('SELECT name FROM pg_settings WHERE name LIKE ''billing\_rpc.%'' AND coalesce(extra_desc, '''') !~ ''[.]$''',
    'and says more of itself: docs/reference shows it');

SELECT is(tap.attempt(r.role, format('SET LOCAL %s = %L', e.name, e.setting)), '42501', r.role || ' may not set ' || e.name)
    FROM tap.roles r, expected e;
SELECT is(tap.attempt('billing_owner', 'SELECT set_config(''billing_rpc.external_ids'', ''on'', true)'), '42501',
    'nor by set_config, nor the owner of the functions');
SELECT is(tap.attempt('fresh', 'ALTER ROLE fresh SET billing_rpc.external_ids = on'), '42501', 'nor for its own later sessions');
SELECT is(tap.attempt('fresh', 'RESET billing_rpc.external_ids'), '42501', 'nor by RESET');
SELECT is(tap.attempt(session_user::text, format('SET LOCAL %s = %L', name, setting)), 'ok', 'a superuser may set ' || name) FROM expected;
SELECT is(tap.attempt(session_user::text, format('SET LOCAL %s = %L', name, wrong)), '22023', wrong || ' is refused for ' || name) FROM expected;

GRANT SET ON PARAMETER billing_rpc.external_ids TO fresh;
SELECT is(tap.attempt('fresh', 'SET LOCAL billing_rpc.external_ids = off'), 'ok', 'whom a superuser grants SET may set it');
SELECT is(tap.attempt('fresh', 'SET LOCAL billing_rpc.accepted_mode = live'), '42501', 'and that one only');

SELECT matches(tap.refusal('SET LOCAL billing_rpc.xyz = 1'), '^42602 .*billing_rpc.xyz', 'an unknown setting is refused to a superuser');
SELECT is(tap.attempt('fresh', 'SET LOCAL billing_rpc.xyz = 1'), '42602', 'and to everybody else');
SELECT is(tap.refusal('SHOW billing_rpc.xyz'), '42704 | unrecognized configuration parameter "billing_rpc.xyz"', 'and does not exist');
SELECT is(tap.attempt('fresh', 'SET LOCAL billing_rpcx.xyz = 1'), 'ok', 'other prefixes are other people''s');

SELECT is(:'early'::text, 'WARNING:  42501 malformed off ', 'what a user sets before the library is loaded has no effect');
SELECT matches(:'unknown'::text, 'WARNING: .*invalid configuration parameter name "billing_rpc.xyz", removing it.* f ERROR: +unrecognized configuration parameter',
    'an unknown one set before is taken away at loading');

-- No setting holds a secret.
SELECT is_empty($$ SELECT name FROM pg_settings WHERE name LIKE 'billing\_rpc.%' AND name ~ 'secret|key|password' $$, 'no setting is a secret');

SELECT * FROM finish();
ROLLBACK;
