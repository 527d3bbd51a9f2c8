-- Signatures: whether a webhook's body is what Stripe or Paystack sent.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;

-- 1. The header that Stripe would send, and what Paystack would, made here for tests and demos.
SELECT billing.sign_stripe_payload('{"id":"evt_1"}', 'whsec_example', to_timestamp(1700000000));
SELECT billing.sign_paystack_payload('{"event":"charge.success"}', 'sk_example');
-- Without a secret there is no signature.
SELECT billing.sign_stripe_payload('{}', NULL);
SELECT billing.sign_stripe_payload('{}', ' ');
SELECT billing.sign_paystack_payload('{}', '');
\echo :LAST_ERROR_SQLSTATE

-- A body signed at a known time, and the digits of its signature.
SELECT '{"id":"evt_1"}' AS body, 'whsec_example' AS secret,
    split_part(billing.sign_stripe_payload('{"id":"evt_1"}', 'whsec_example', to_timestamp(1700000000)), 'v1=', 2) AS v1,
    split_part(billing.sign_stripe_payload('{"id":"evt_1"}', 'whsec_old', to_timestamp(1700000000)), 'v1=', 2) AS old
\gset
-- The check at a given time, with given secrets: reads nothing, so every case can be shown.
CREATE FUNCTION check_header(header text, secrets text[] = '{whsec_example}', tolerance int = 300, at bigint = 1700000000) RETURNS signature_verdict
LANGUAGE sql AS $$ SELECT billing.verify_stripe_signature_with('{"id":"evt_1"}', header, secrets, tolerance, to_timestamp(at)) $$;

-- 2. Stripe's header: t=<unix>,v1=<hex>. One matching v1 is enough, wherever it stands; empty and unknown items are skipped.
SELECT replace(replace(header, :'v1', '<right>'), :'old', '<old>') AS header, valid, detail, signed_at
FROM (VALUES
    ('t=1700000000,v1=' || :'v1'),
    ('v1=' || :'v1' || ',t=1700000000'),
    ('t=1700000000,v1=' || :'old' || ',v1=' || :'v1'),
    ('t=1700000000,v1=' || :'v1' || ',v1=' || :'old'),
    ('t=1700000000,v0=abc,v1=' || :'v1' || ',x,=,y=1,,'),
    ('t=1700000000,v1=' || :'old'),
    ('t=1700000000,v0=' || :'v1'),
    ('t=1700000000'),
    ('t=1700000000,v1='),
    ('t=1700000000,v1=' || upper(:'v1')),
    ('t=1700000000,v1=' || :'v1' || '0'),
    ('t=1700000000,v1= ' || :'v1'),
    ('t=1700000000, v1=' || :'v1'),
    ('t=1700000001,v1=' || :'v1'),
    ('v1=' || :'v1'),
    ('t=1700000000,t=1700000000,v1=' || :'v1'),
    ('t=01700000000,v1=' || :'v1'),
    ('t=+1700000000,v1=' || :'v1'),
    ('t=-1,v1=' || :'v1'),
    (' t=1700000000,v1=' || :'v1'),
    ('t= 1700000000,v1=' || :'v1'),
    ('t=1.7e9,v1=' || :'v1'),
    ('t=,v1=' || :'v1'),
    ('t=9223372036854775808,v1=' || :'v1'),
    ('T=1700000000,v1=' || :'v1'),
    ('anything'), (' '), (''), (NULL)
) AS given (header), LATERAL check_header(header);

-- Another body, another white space even, is not what was signed.
SELECT valid, detail
FROM (VALUES ('{"id":"evt_1"}'), ('{"id": "evt_1"}'), (E'{"id":"evt_1"}\n'), (''), (NULL)) AS given (body),
    LATERAL billing.verify_stripe_signature_with(body::bytea, 't=1700000000,v1=' || :'v1', '{whsec_example}', 300, to_timestamp(1700000000));
-- Bytes that are no text have a verdict like any others.
SELECT valid, detail FROM billing.verify_stripe_signature_with('\xff00fe', 't=1700000000,v1=' || :'v1', '{whsec_example}', 300, to_timestamp(1700000000));

-- 3. Time, in whole seconds, both ways. Zero is zero seconds, never "no check"; below zero is refused. Null is 300.
SELECT at - 1700000000 AS seconds_later, tolerance, valid, detail, signed_at
FROM (VALUES (1700000300, 300), (1700000301, 300), (1699999700, 300), (1699999699, 300), (1700000300, NULL), (1700000301, NULL),
    (1700000000, 0), (1700000001, 0), (1700000000, -1), (1700000000, -2147483648), (1800000000, 2147483647)) AS given (at, tolerance),
    LATERAL check_header('t=1700000000,v1=' || :'v1', tolerance => tolerance, at => at);
SELECT valid, detail
FROM (VALUES ('infinity'::timestamptz), ('-infinity'), (NULL)) AS given (at),
    LATERAL billing.verify_stripe_signature_with('{"id":"evt_1"}', 't=1700000000,v1=' || :'v1', '{whsec_example}', 300, at);

-- 4. Secrets: any of several may match; blank ones are as none.
SELECT secrets, valid, detail
FROM (VALUES ('{whsec_old,whsec_example}'::text[]), ('{whsec_old}'), ('{example}'), ('{}'), (NULL), ('{"",NULL," "}'), ('{"",whsec_example}')) AS given (secrets),
    LATERAL check_header('t=1700000000,v1=' || :'v1', secrets);
-- The order of judgement: secret, tolerance, header, match, time.
SELECT valid, detail FROM check_header(NULL, '{}', -1);
SELECT valid, detail FROM check_header(NULL, tolerance => -1);
SELECT valid, detail FROM check_header('', at => 0);
SELECT valid, detail FROM check_header('v1=x', at => 0);
SELECT valid, detail FROM check_header('t=1700000000,v1=x', at => 0);
SELECT valid, detail FROM check_header('t=1700000000,v1=' || :'v1', at => 0);

-- 5. Paystack's header: the lower-case hex HMAC-SHA512 of the body. It carries no time.
SELECT billing.sign_paystack_payload('{}', 'sk_example') AS paystack \gset
SELECT replace(lower(replace(signature, :'paystack', '<right>')), :'paystack', '<RIGHT>') AS signature, valid, detail, signed_at
FROM (VALUES (:'paystack'), (upper(:'paystack')), (:'paystack' || '0'), (' ' || :'paystack'), ('x'), (' '), (''), (NULL)) AS given (signature),
    LATERAL billing.verify_paystack_signature_with('{}', signature, '{sk_old,sk_example}');
SELECT valid, detail FROM billing.verify_paystack_signature_with('{ }', :'paystack', '{sk_example}');
SELECT valid, detail FROM billing.verify_paystack_signature_with('{}', :'paystack', '{}');

-- 6. Stored secrets. None yet:
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_example'));
SELECT valid, detail FROM verify_paystack_signature('{}', :'paystack');
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
SELECT valid, detail, signed_at IS NOT NULL AS dated FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_example'));
SELECT valid, detail FROM verify_paystack_signature('{}', :'paystack');
SELECT billing.add_webhook_secret('paystack', 'sk_example') AS secret_id;
SELECT valid, detail FROM verify_paystack_signature('{}', :'paystack');
-- A secret is one provider's.
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'sk_example'));

-- Rotation: the new one beside the old one, then the old one ends.
SELECT billing.add_webhook_secret('stripe', 'whsec_new') AS secret_id;
SELECT secret, valid, detail
FROM (VALUES ('whsec_example'), ('whsec_new'), ('whsec_other')) AS given (secret), LATERAL verify_stripe_signature('{}', billing.sign_stripe_payload('{}', secret));
SELECT billing.retire_webhook_secret(1);
SELECT secret, valid, detail
FROM (VALUES ('whsec_example'), ('whsec_new')) AS given (secret), LATERAL verify_stripe_signature('{}', billing.sign_stripe_payload('{}', secret));
-- An end that lies ahead; one that has passed.
SELECT billing.retire_webhook_secret(1, 'infinity');
SELECT valid FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_example'));
SELECT billing.add_webhook_secret('stripe', 'whsec_past', '2000-01-01') AS secret_id;
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_past'));
-- The list shows none of them.
SELECT secret_id, provider, created_at <= clock_timestamp() AS created, valid_until FROM billing.webhook_secret_list ORDER BY secret_id;
SELECT count(*) AS leaks FROM billing.webhook_secret_list AS list WHERE list::text ~ 'whsec|sk_';

-- Bad input of operators is refused with 22023.
SELECT billing.add_webhook_secret('paypal', 'x');
SELECT billing.add_webhook_secret(NULL, 'x');
SELECT billing.add_webhook_secret('stripe', ' ');
SELECT billing.add_webhook_secret('stripe');
SELECT billing.retire_webhook_secret(99);
SELECT billing.retire_webhook_secret(NULL);
\echo :LAST_ERROR_SQLSTATE

-- 7. The tolerance is a setting, unless the call brings its own.
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_new', now() - interval '1 hour'));
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_new', now() + interval '1 hour'));
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_new', now() - interval '1 hour'), 4000);
SET billing_rpc.signature_tolerance_seconds = 7200;
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_new', now() - interval '1 hour'));
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_new', now() - interval '1 hour'), 60);
SELECT valid, detail FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_new'), -1);
SET billing_rpc.signature_tolerance_seconds = -1;
RESET billing_rpc.signature_tolerance_seconds;

-- Nothing at all has a verdict.
SELECT valid, detail FROM verify_stripe_signature();
SELECT valid, detail FROM verify_paystack_signature();
SELECT valid, detail FROM billing.verify_stripe_signature_with();
SELECT valid, detail FROM billing.verify_paystack_signature_with();
