-- Claims: for an application that keeps its own webhook handler. One caller at a time gets an event.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;

-- 1. A new event: the claim is applied, with a token that nobody else gets.
SELECT applied, reason, detail, provider, event_id, event_type, status, attempts, claim_token IS NOT NULL AS token,
    lease_until - clock_timestamp() BETWEEN interval '299 s' AND interval '300 s' AS lease_of_300_s, result
FROM claim_stripe_event('evt_1', 'invoice.paid');
SELECT claim_token AS token FROM billing.webhook_events WHERE event_id = 'evt_1' \gset
-- While the lease lives, everybody else is told so, and not the token.
SELECT applied, reason, detail, status, attempts, claim_token, result FROM claim_stripe_event('evt_1', 'invoice.paid');
-- Completing it, once; the second time is a replay.
SELECT applied, reason, detail, event_type, status, attempts, result FROM complete_stripe_event('evt_1', :'token', '{"order": 7}');
SELECT applied, reason, detail, status, result FROM complete_stripe_event('evt_1', :'token', '{"order": 8}');
-- From now on, a claim is answered with what completing it left.
SELECT applied, reason, detail, status, attempts, claim_token, result FROM claim_stripe_event('evt_1', 'invoice.paid');
-- A completed event does not fail any more.
SELECT reason, detail FROM fail_stripe_event('evt_1', :'token', 'too late');

-- 2. A failure: kept for operators, due again after a back-off of about five minutes.
SELECT claim_token AS token FROM claim_stripe_event('evt_2', 'invoice.paid') \gset
SELECT applied, reason, status, attempts, claim_token FROM fail_stripe_event('evt_2', :'token', 'mail server down');
SELECT status, error_message, error_detail, next_attempt_at - clock_timestamp() BETWEEN interval '4 min' AND interval '5 min' AS in_five_minutes
FROM billing.webhook_events WHERE event_id = 'evt_2';
SELECT applied, reason FROM fail_stripe_event('evt_2', :'token', 'mail server down');
SELECT reason, detail FROM complete_stripe_event('evt_2', :'token');
-- Claiming it again does not wait for that: a new token, one attempt more; the old token is dead.
SELECT reason, attempts, claim_token <> :'token' AS new_token, claim_token AS second FROM claim_stripe_event('evt_2', 'invoice.paid') \gset
SELECT :'reason' AS reason, :'attempts' AS attempts, :'new_token' AS new_token;
SELECT reason, detail FROM complete_stripe_event('evt_2', :'token');
SELECT reason, detail FROM fail_stripe_event('evt_2', :'token', 'x');
-- The next back-off is twice as long, unless the caller says when.
SELECT reason FROM fail_stripe_event('evt_2', :'second', 'still down');
SELECT next_attempt_at - clock_timestamp() BETWEEN interval '8 min' AND interval '10 min' AS in_ten_minutes FROM billing.webhook_events WHERE event_id = 'evt_2';
SELECT claim_token AS token FROM claim_stripe_event('evt_2', 'invoice.paid') \gset
SELECT reason FROM fail_stripe_event('evt_2', :'token', 'try soon', 60);
SELECT next_attempt_at - clock_timestamp() BETWEEN interval '55 s' AND interval '60 s' AS in_a_minute, attempts FROM billing.webhook_events WHERE event_id = 'evt_2';

-- 3. A lease that runs out counts as a failure: whoever comes next gets the event.
SELECT reason, claim_token AS token FROM claim_stripe_event('evt_3', 'invoice.paid', lease_seconds => 1) \gset
SELECT reason, detail FROM claim_stripe_event('evt_3', 'invoice.paid');
SELECT pg_sleep(1.1);
SELECT reason, attempts, claim_token AS second FROM claim_stripe_event('evt_3', 'invoice.paid') \gset
SELECT :'reason' AS reason, :'attempts' AS attempts;
SELECT reason, detail FROM complete_stripe_event('evt_3', :'token');
SELECT reason FROM complete_stripe_event('evt_3', :'second');
-- The token completes even after its lease, as long as nobody else took the event.
SELECT claim_token AS token FROM claim_stripe_event('evt_4', 'invoice.paid', lease_seconds => 1) \gset
SELECT pg_sleep(1.1);
SELECT reason, status FROM complete_stripe_event('evt_4', :'token');

-- 4. After billing_rpc.max_attempts failures an event is dead, until an operator revives it.
SET billing_rpc.max_attempts = 2;
SELECT claim_token AS token FROM claim_stripe_event('evt_5', 'invoice.paid') \gset
SELECT reason, status FROM fail_stripe_event('evt_5', :'token', 'first');
SELECT claim_token AS token FROM claim_stripe_event('evt_5', 'invoice.paid') \gset
SELECT reason, status, attempts FROM fail_stripe_event('evt_5', :'token', 'second');
SELECT applied, reason, detail, status, attempts, claim_token FROM claim_stripe_event('evt_5', 'invoice.paid');
SELECT applied, reason, status, attempts FROM billing.revive_event('stripe', 'evt_5');
SELECT next_attempt_at <= clock_timestamp() AS due FROM billing.webhook_events WHERE event_id = 'evt_5';
SELECT reason, attempts FROM claim_stripe_event('evt_5', 'invoice.paid');
-- A lease that runs out on the last attempt is the end, too.
SELECT reason FROM claim_stripe_event('evt_6', 'invoice.paid', lease_seconds => 1);
SELECT pg_sleep(1.1);
SELECT reason, attempts FROM claim_stripe_event('evt_6', 'invoice.paid', lease_seconds => 1);
SELECT pg_sleep(1.1);
SELECT reason, detail, status, attempts FROM claim_stripe_event('evt_6', 'invoice.paid');
RESET billing_rpc.max_attempts;
-- What is not dead cannot be revived: 22023.
SELECT billing.revive_event('stripe', 'evt_1');
SELECT billing.revive_event('stripe', 'evt_unknown');
SELECT billing.revive_event();
\echo :LAST_ERROR_SQLSTATE

-- 5. Any provider: an event is known by provider and id together.
SELECT reason, provider, claim_token AS token FROM claim_webhook_event('github', 'evt_1', 'push') \gset
SELECT :'reason' AS reason, :'provider' AS provider;
SELECT reason, detail FROM complete_webhook_event('stripe', 'evt_1', :'token');
SELECT reason, detail FROM complete_webhook_event('gitlab', 'evt_1', :'token');
SELECT reason FROM complete_webhook_event('github', 'evt_1', :'token');
SELECT reason, claim_token AS token FROM claim_webhook_event('github', 'evt_2', 'push') \gset
SELECT reason, status FROM fail_webhook_event('github', 'evt_2', :'token', 'disk full', 0);
-- claim_stripe_event is claim_webhook_event for stripe.
SELECT reason, status FROM claim_webhook_event('stripe', 'evt_1', 'invoice.paid');

-- 6. The summary keeps four things, whoever gave it; nothing personal stays.
SELECT reason FROM claim_stripe_event('evt_7', 'invoice.paid',
    '{"id": "evt_other", "type": "other", "object_id": "in_1", "object_type": "invoice", "email": "ada@example.com", "amount": 7}');
SELECT reason FROM claim_stripe_event('evt_8', 'invoice.paid', '{"object_id": 7, "object_type": " "}');
SELECT payload_summary, object_id, object_type, payload FROM billing.webhook_events WHERE event_id IN ('evt_7', 'evt_8') ORDER BY event_id;
SELECT count(*) AS with_an_address FROM billing.webhook_events AS event WHERE event::text LIKE '%@%';

-- 7. Wrong input is a row, never an error.
SELECT reason, detail FROM claim_stripe_event();
SELECT reason, detail FROM claim_webhook_event();
SELECT reason, detail FROM complete_stripe_event();
SELECT reason, detail FROM fail_stripe_event();
SELECT left(id, 4) AS id, reason, detail FROM (VALUES (NULL), (''), (U&'\2003'), (repeat('e', 256))) AS given (id), LATERAL claim_stripe_event(id, 'x');
SELECT reason, detail FROM claim_stripe_event(repeat('e', 255), repeat('t', 255));
SELECT left(type, 4) AS type, reason, detail FROM (VALUES (NULL), (' '), (repeat('t', 256))) AS given (type), LATERAL claim_stripe_event('evt_9', type);
SELECT octet_length(name), reason, detail FROM (VALUES (NULL), (''), (repeat('p', 63)), (repeat('p', 64))) AS given (name), LATERAL claim_webhook_event(name, 'evt_9', 'x');
SELECT summary, reason, detail FROM (VALUES ('[]'::jsonb), ('null'), ('"x"'), ('{}')) AS given (summary), LATERAL claim_stripe_event('evt_10', 'x', summary);
SELECT reason, detail FROM claim_stripe_event('evt_11', 'x', jsonb_build_object('k', repeat('x', 16384)));
SELECT lease, reason, detail FROM (VALUES (0), (-1), (2592001), (-2147483648), (2592000)) AS given (lease), LATERAL claim_stripe_event('evt_12', 'x', lease_seconds => lease);
SELECT claim_token AS token FROM claim_stripe_event('evt_13', 'x') \gset
SELECT reason, detail FROM complete_stripe_event('evt_13', NULL);
SELECT reason, detail FROM complete_stripe_event('evt_13', '00000000-0000-0000-0000-000000000000');
SELECT reason, detail FROM complete_stripe_event('evt_unknown', :'token');
SELECT reason, detail FROM complete_stripe_event('evt_13', :'token', jsonb_build_object('k', repeat('x', 16384)));
SELECT reason, detail FROM fail_stripe_event('evt_13', :'token', NULL);
SELECT reason, detail FROM fail_stripe_event('evt_13', :'token', '  ');
SELECT reason, detail FROM fail_stripe_event('evt_13', :'token', repeat('x', 16385));
SELECT seconds, reason, detail FROM (VALUES (-1), (2592001), (2147483647)) AS given (seconds), LATERAL fail_stripe_event('evt_13', :'token', 'x', seconds);
SELECT reason, detail FROM fail_stripe_event('evt_unknown', :'token', 'x');
-- All that left the claim as it was. Any JSON is a result, null too.
SELECT reason, result FROM complete_stripe_event('evt_13', :'token', 'null');
SELECT reason, result FROM claim_stripe_event('evt_13', 'x');
