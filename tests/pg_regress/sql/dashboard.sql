-- The dashboard: a page of HTML for whoever has billing_monitor. Here what it says; tests/pgtap/dashboard.sql has who may open it and what
-- becomes of markup in the data, tests/browser how it looks.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: the texts of all elements of one name, and a checkout signed and delivered.
CREATE FUNCTION texts(element text) RETURNS TABLE (said text) LANGUAGE sql AS $$
    SELECT replace(trim(regexp_replace(regexp_replace(m[1], '<[^>]*>', ' ', 'g'), '\s+', ' ', 'g')), '&#39;', '''')
    FROM regexp_matches(billing_dashboard(), format('<%1$s(?: [^>]*?)??>(.*?)</%1$s>', element), 'g') AS m
$$;
CREATE FUNCTION checkout(n text, parts jsonb = '{}', OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail FROM (SELECT jsonb_build_object('id', 'evt_' || n, 'type', 'checkout.session.completed', 'livemode', false, 'created', 1700000000,
            'data', jsonb_build_object('object', jsonb_build_object('id', 'cs_' || n, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid',
                'amount_total', 100, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '1200', 'user_id', '1')) || parts))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;

-- 1. PostgREST takes the content type from the name of the domain that the function returns.
SELECT pg_typeof(billing_dashboard()), split_part(billing_dashboard(), E'\n', 1) AS first_line;

-- 2. Nothing yet: the page says what comes next.
SELECT said FROM texts('title');
SELECT said FROM texts('h2');
SELECT said FROM texts('pre');
SELECT said FROM texts('svg');

-- 3. A purchase went well.
SELECT * FROM checkout('1');
SELECT said FROM texts('h2') LIMIT 1;
SELECT name, said FROM texts('dt') WITH ORDINALITY AS names (name, place) JOIN texts('dd') WITH ORDINALITY AS numbers (said, at) ON at = 2 * place - 1;
SELECT said FROM texts('desc');

-- 4. One is for nobody known, one buys what is not sold, one was claimed by somebody who never came back.
SELECT * FROM checkout('2', '{"metadata": {"credits": "10"}, "customer": "cus_2"}');
SET billing_rpc.max_attempts = 1;
SELECT * FROM checkout('3', '{"metadata": {"pack": "never", "user_id": "1"}}');
RESET billing_rpc.max_attempts;
SELECT reason FROM claim_stripe_event('evt_4', 'invoice.paid');
UPDATE billing.webhook_events SET lease_until = now() - interval '1 hour' WHERE event_id = 'evt_4';
SELECT said FROM texts('title') LIMIT 1;
SELECT said FROM texts('li') WHERE said LIKE '%event%' OR said LIKE '%claim%';
SELECT said FROM texts('h3');
-- Each reason with its sentence, and what to do.
SELECT said FROM texts('p') WHERE said LIKE 'Nobody%' OR said LIKE 'What to do%';
SELECT regexp_replace(said, '[-0-9]{10} [0-9:]{8} UTC', '<UTC>', 'g') AS said FROM texts('tbody') LIMIT 3;

-- 5. Once they are taken care of, all is well again.
DO $$ BEGIN PERFORM billing.dismiss_event('stripe', 'evt_2'), billing.dismiss_event('stripe', 'evt_3'); END $$;
SELECT (complete_stripe_event('evt_4', (claim_stripe_event('evt_4', 'invoice.paid')).claim_token)).reason;
SELECT said FROM texts('h2') LIMIT 1;

-- 6. It writes nothing, and is for nobody but monitors.
BEGIN READ ONLY;
SELECT length(billing_dashboard()) > 0 AS answered;
COMMIT;
CREATE ROLE golden_dashboard_visitor;
SET ROLE golden_dashboard_visitor;
SELECT billing_dashboard();
RESET ROLE;
DROP ROLE golden_dashboard_visitor;
