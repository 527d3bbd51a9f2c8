-- Whether an installed extension works at all: a signed webhook comes in, credits are booked, some are spent, the payment is
-- refunded. Run it in a database of its own, as a superuser: psql -X -v ON_ERROR_STOP=1 -v version=0.2.0 -f tests/smoke/smoke.sql
-- It ends with "smoke: 14 answers, all as they should be", or at the first answer that is another.
\set QUIET on
\set SHOW_CONTEXT never
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
\o /dev/null

CREATE EXTENSION billing_rpc;
CREATE TEMPORARY TABLE answers (what text);
GRANT ALL ON answers TO PUBLIC;
CREATE FUNCTION pg_temp.expect(what text, expected text, got text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF got IS DISTINCT FROM expected THEN
        RAISE EXCEPTION '%: expected %, got %', what, expected, coalesce(got, 'null');
    END IF;
    INSERT INTO answers VALUES (what);
END
$$;
-- A request as PostgREST makes it: headers and body in one transaction, the answer's status read back.
CREATE FUNCTION pg_temp.post(event text, secret text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    header text := billing.sign_stripe_payload(event, secret, now());
    outcome event_outcome;
BEGIN
    PERFORM set_config('request.headers', json_build_object('stripe-signature', header)::text, true);
    outcome := stripe_webhook(event::json);
    RETURN concat_ws(' ', current_setting('response.status', true), outcome.reason, outcome.detail);
END
$$;
CREATE FUNCTION pg_temp.event(id text, type text, object jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', id, 'object', 'event', 'type', type, 'livemode', false, 'created', extract(epoch FROM now())::bigint,
        'data', jsonb_build_object('object', object))::text
$$;
CREATE FUNCTION pg_temp.checkout(id text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.event(id, 'checkout.session.completed', '{"id": "cs_smoke", "object": "checkout.session", "mode": "payment", "payment_status": "paid",
        "amount_total": 900, "currency": "eur", "payment_intent": "pi_smoke", "metadata": {"credits": "100", "user_id": "8001"}}')
$$;
CREATE FUNCTION pg_temp.balance() RETURNS text LANGUAGE sql AS $$ SELECT balance::text FROM credit_balance('8001') $$;

\if :{?version}
SELECT pg_temp.expect('the version', :'version', extversion) FROM pg_extension WHERE extname = 'billing_rpc';
\else
SELECT pg_temp.expect('the version', default_version, installed_version) FROM pg_available_extensions WHERE name = 'billing_rpc';
\endif
-- Whoever posts may do that and nothing else.
SELECT pg_temp.expect('nobody may post yet', '0', count(*)::text) FROM pg_proc p, aclexplode(p.proacl) a WHERE p.oid = 'stripe_webhook(json)'::regprocedure AND a.grantee = 0;
SELECT billing.add_webhook_secret('stripe', 'whsec_smoke') IS NOT NULL AS stored \gset
SELECT pg_temp.expect('a secret is stored', 't', :'stored');

SELECT pg_temp.expect('a paid checkout', '200 applied', pg_temp.post(pg_temp.checkout('evt_smoke_1'), 'whsec_smoke'));
SELECT pg_temp.expect('its credits', '100', pg_temp.balance());
SELECT pg_temp.expect('delivered again', '200 replay', pg_temp.post(pg_temp.checkout('evt_smoke_1'), 'whsec_smoke'));
SELECT pg_temp.expect('a forged one', '400 invalid signature_mismatch', pg_temp.post(pg_temp.checkout('evt_smoke_2'), 'whsec_guessed'));
SELECT pg_temp.expect('30 are spent', 'applied -30 70', concat_ws(' ', reason, credits, balance)) FROM spend_credits('8001', 30, 'smoke-key-1');
SELECT pg_temp.expect('asked again', 'replay -30 70', concat_ws(' ', reason, credits, balance)) FROM spend_credits('8001', 30, 'smoke-key-1');
SELECT pg_temp.expect('more than there is', 'invalid insufficient_credits', concat_ws(' ', reason, detail)) FROM spend_credits('8001', 71, 'smoke-key-2');
SELECT pg_temp.expect('half of the payment is refunded', '200 applied', pg_temp.post(pg_temp.event('evt_smoke_3', 'charge.refunded',
    '{"id": "ch_smoke", "object": "charge", "amount": 900, "amount_refunded": 450, "payment_intent": "pi_smoke"}'), 'whsec_smoke'));
SELECT pg_temp.expect('half of its credits are gone', '20', pg_temp.balance());
SELECT pg_temp.expect('the books agree', '0', count(*)::text) FROM billing.reconcile();
SELECT pg_temp.expect('nobody has rights too many', '0', count(*)::text) FROM billing.access_audit();
\o
SELECT 'smoke: ' || count(*) || ' answers, all as they should be' FROM answers;
