-- The one line that opens the endpoint: anon may then deliver, and nothing else.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN CREATE ROLE anon NOLOGIN; END IF;
END $$;
SELECT isnt(billing.add_webhook_secret('stripe', 'whsec_test'), NULL, 'a secret');

SELECT is(tap.attempt('anon', 'SELECT * FROM stripe_webhook(''{}''::json)'), '42501', 'closed to anon at first');
GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO anon;

-- As PostgREST calls it: role, headers, then the function with the raw body.
CREATE FUNCTION tap.post(role_name text, body text, headers text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    PERFORM set_config('request.headers', headers, true), set_config('response.status', '', true);
    EXECUTE format('SET LOCAL ROLE %I', role_name);
    SELECT concat_ws(' ', o.reason, o.detail, o.status) INTO answer
        FROM stripe_webhook(body::json) o;
    answer := concat_ws(' ', current_setting('response.status'), answer);
    RESET ROLE;
    RETURN answer;
END $$;

SELECT tap.event('evt_1', 'a@example.com') AS body \gset
SELECT is(tap.post('anon', :'body', tap.headers(:'body')), '200 applied completed', 'a signed event is applied');
SELECT is(balance, 100::bigint, 'and credits') FROM credit_balance('a@example.com');
SELECT is(tap.post('anon', :'body', tap.headers(:'body')), '200 replay completed', 'delivered again: replay');
SELECT is(tap.post('anon', :'body', '{}'), '400 invalid signature_missing', 'without a signature: 400');
SELECT is(tap.post('anon', :'body', ''), '400 invalid signature_missing', 'without any header: 400');
SELECT is(tap.post('anon', :'body' || ' ', tap.headers(:'body')), '400 invalid signature_mismatch', 'one space more: 400');
SELECT is(tap.post('anon', '{}', tap.headers('{}')), '400 invalid not_an_event', 'signed, but no event: 400');
SELECT is(tap.post('anon', '[]', tap.headers('[]')), '400 invalid not_an_event', 'a list: 400');
SELECT is((SELECT count(*) FROM billing.webhook_events), 1::bigint, 'what is refused is not stored');

-- Nothing else is open to anon.
SELECT set_eq('SELECT signature FROM tap.functions WHERE has_function_privilege(''anon'', oid, ''EXECUTE'')',
    $$ VALUES ('stripe_webhook(json)') $$, 'anon may execute the endpoint alone');
SELECT is_empty($$ SELECT name FROM tap.relations WHERE has_table_privilege('anon', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') $$,
    'anon has no table');
SELECT ok(NOT has_schema_privilege('anon', 'billing', 'USAGE'), 'anon does not see into schema billing');
SELECT is(tap.attempt('anon', 'SELECT * FROM credit_balance(''a@example.com'')'), '42501', 'a balance is refused to anon');
SELECT is(tap.attempt('anon', 'SELECT * FROM process_stripe_webhook(''{}'', '''')'), '42501', 'so is the other way in');

-- A member of billing_webhook has the endpoints as well, without a grant of its own.
GRANT billing_webhook TO fresh;
SELECT is(tap.post('fresh', :'body', tap.headers(:'body')), '200 replay completed', 'a member of billing_webhook delivers');
SELECT set_eq('SELECT signature FROM tap.functions WHERE has_function_privilege(''fresh'', oid, ''EXECUTE'')',
    $$ VALUES ('stripe_webhook(json)'), ('paystack_webhook(json)') $$, 'and may do nothing else');

SELECT * FROM finish();
ROLLBACK;
