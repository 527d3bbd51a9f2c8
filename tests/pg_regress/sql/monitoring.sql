-- How things are: views for people, and numbers for Prometheus. health() has a page of its own.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: events of Stripe's, signed and delivered.
CREATE FUNCTION told(n text, event_type text, object jsonb, OUT reason billing_reason, OUT detail text, OUT status text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.status FROM (SELECT jsonb_build_object('id', 'evt_' || n, 'type', event_type, 'livemode', true, 'created', 1700000000, 'data', jsonb_build_object('object', object))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
CREATE FUNCTION checkout(n text, parts jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT status text) LANGUAGE sql AS $$
    SELECT * FROM told(n, 'checkout.session.completed', jsonb_build_object('id', 'cs_' || n, 'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid',
        'amount_total', 100, 'currency', 'eur', 'metadata', jsonb_build_object('credits', '10', 'user_id', '1')) || parts)
$$;

-- 1. Some of each. Completed, with effect and without.
SELECT * FROM checkout('1');
SELECT * FROM told('2', 'product.created', '{"id": "prod_1", "object": "product"}');
-- Failed, with its body kept; dead; recorded.
SELECT * FROM checkout('3', '{"customer": "cus_3", "metadata": {"credits": "10"}}');
SET billing_rpc.max_attempts = 1;
SELECT * FROM checkout('4', '{"metadata": {"pack": "never", "user_id": "1"}}');
RESET billing_rpc.max_attempts;
SET billing_rpc.webhook_mode = 'record';
SELECT * FROM checkout('5');
RESET billing_rpc.webhook_mode;
-- Claimed by an application, which has no body to keep here: in hand, failed, done with a result of its own, in hand again after a failure.
SELECT reason FROM claim_stripe_event('evt_6', 'invoice.paid');
SELECT f.reason FROM claim_stripe_event('evt_7', 'invoice.paid') AS c, LATERAL fail_stripe_event('evt_7', c.claim_token, 'the mail server is away') AS f;
SELECT d.reason FROM claim_webhook_event('other', 'evt_8', 'ping') AS c, LATERAL complete_webhook_event('other', 'evt_8', c.claim_token, '{"detail": "mailed ada@example.com", "reason": "done"}') AS d;
SELECT f.reason FROM claim_stripe_event('evt_9', 'invoice.paid') AS c, LATERAL fail_stripe_event('evt_9', c.claim_token, 'no') AS f;
SELECT reason FROM claim_stripe_event('evt_9', 'invoice.paid');
-- Failed with its body kept, and then claimed by an application: due here, and claimed.
SELECT reason FROM claim_stripe_event('evt_3', 'checkout.session.completed');

-- 2. As whoever looks on.
SET ROLE billing_monitor;
-- Everything that is not completed is there, and once.
SELECT provider, event_id, event_type, status, attempts, next_attempt_at > now() AS due_later, lease_until > now() AS leased, error_detail FROM billing.unfinished_events ORDER BY event_id;
-- The newest first; what became of each, and of what an application says only what looks like a code.
SELECT provider, event_type, status, reason, detail, livemode, attempts, object_id, event_id FROM billing.recent_events;
SELECT event_id, status, error_detail, error_message FROM billing.failed_events;
-- Who has what, and what was booked; no e-mail, no key and no metadata.
RESET ROLE;
SELECT reason FROM grant_credits('ada@example.com', 5, 'a key of the caller''s', metadata => '{"note": "of the caller"}');
SELECT reason FROM hold_credits('1', 3, 'a hold');
SELECT reason FROM spend_credits('1', 2, 'a spend');
SELECT reason FROM grant_credits('9d6bd9a1-0000-4000-8000-000000000001', 7, 'bonus', 'bonus', '2090-01-01');
SET ROLE billing_monitor;
SELECT user_id, credit_type, credits_balance, held, in_lots, last_entry_at <= now() + interval '1 minute' AS dated FROM billing.customer_credits ORDER BY credits_balance;
SELECT kind, credits, balance_after, credit_type, amount_minor, currency, source_ref, event, livemode FROM billing.ledger_entries;
SELECT count(*) AS personal FROM (SELECT to_jsonb(c)::text AS told FROM billing.customer_credits AS c UNION ALL SELECT to_jsonb(e)::text FROM billing.ledger_entries AS e UNION ALL SELECT to_jsonb(r)::text FROM billing.recent_events AS r) AS every
WHERE told LIKE '%@%' OR told LIKE '%caller%';

-- 3. The same in numbers. (Left out: versions; the two counters, which are the server's and a second late; ages, which go on.)
SELECT line FROM regexp_split_to_table(billing.metrics(), '\n') AS line WHERE line !~ '^# (HELP|UNIT)' AND line !~ '^billing_rpc_(extension|health|\w+_total |oldest)';

-- 4. The newest hundred of each type, and no more; the oldest types are not crowded out by a busy one.
RESET ROLE;
INSERT INTO billing.webhook_events (received_at, attempts, provider, event_id, event_type, status, payload_summary)
    SELECT now() + n * interval '1 second', 1, 'stripe', 'evt_busy_' || n, 'busy', 'completed', '{}' FROM generate_series(1, 250) AS n;
SELECT event_type, count(*) FROM billing.recent_events GROUP BY 1 ORDER BY 1;
SELECT event_id FROM billing.recent_events LIMIT 2;
