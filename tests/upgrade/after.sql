-- After the upgrade: one line a fact that must hold, "ok" or "not ok" first. Run in the database of data.sql.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' '
CREATE FUNCTION test.fact(holds boolean, what text) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN holds THEN 'ok ' ELSE 'not ok ' END || what $$;

SELECT test.fact(extversion = :'version', 'the version is ' || :'version') FROM pg_extension WHERE extname = 'billing_rpc';
SELECT test.fact(d.rows = c.rows AND d.digest IS NOT DISTINCT FROM c.digest, 'every row is still in ' || c.relation)
FROM test.contents c, LATERAL test.digest(c.relation, c.columns) d ORDER BY c.relation;
SELECT test.fact(count(*) = 0, 'reconcile() is empty') FROM billing.reconcile();

-- The same calls again: the answers of then, number for number.
CREATE FUNCTION test.again(call text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb;
BEGIN
    EXECUTE 'SELECT to_jsonb(answer) FROM ' || call || ' AS answer' INTO answer;
    RETURN answer;
END $$;
SELECT test.fact(a.answer = c.answer || jsonb_build_object('applied', false, 'reason', c.again, 'detail', a.answer -> 'detail')
        -- A hold and a payment are answered as they are now.
        || CASE WHEN c.call ~ '^(hold|capture|release|start)' THEN a.answer - '{applied,reason,hold_id,customer_id,credit_type,credits,reference,plan,amount_minor,currency}'::text[] ELSE '{}' END
        -- A completed event's token and lease are gone, and an event that was ignored keeps why in its result.
        || CASE WHEN c.call LIKE 'process%' THEN jsonb_build_object('claim_token', null, 'lease_until', null) ELSE '{}' END,
    format('again %s: %s', c.again, left(replace(c.call, E'\n', ' '), 60)))
FROM test.calls c, LATERAL test.again(c.call) AS a (answer) WHERE c.again IS NOT NULL ORDER BY c.n;

-- What waited goes on: the customer is linked, and their event and subscription follow.
SELECT test.fact(test.again($c$register_billing_user('00000000-0000-0000-0000-0000000000bb', stripe_customer_id => 'cus_waits')$c$) ->> 'reason' = 'applied', 'a waiting code is linked');
SELECT test.fact(count(*) = 1, 'its event is done') FROM billing.webhook_events WHERE event_id = 'evt_waits' AND status = 'completed';
SELECT test.fact((credit_balance('cus_waits')).balance = 60, 'its credits are there');
SELECT test.fact((subscription_status('cus_waits')).status = 'trialing', 'its subscription is attached');
SELECT test.fact((test.checkout('applied', 'replay', 'later', '{"metadata": {"user_id": "99", "credits": "10"}}')) ->> 'reason' = 'applied', 'a purchase that was refunded before');
SELECT test.fact((credit_balance('99')).balance = 0, 'is undone');
SELECT test.fact(count(*) = 0, 'reconcile() is empty still') FROM billing.reconcile();
