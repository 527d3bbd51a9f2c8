-- A business that has been running for a month, for looking at the dashboard: rows made directly, as their times lie in the
-- past. Nothing here is random, so that two runs give the same page but for the clock.
\set ON_ERROR_STOP on
BEGIN;

-- A number from 0 to 1 that depends on the text alone.
CREATE FUNCTION pg_temp.chance(of text) RETURNS float8 LANGUAGE sql AS $$ SELECT ('x' || left(md5(of), 7))::bit(28)::int / 268435456.0 $$;
-- Fewer at night, most in the evening.
CREATE FUNCTION pg_temp.busy(at timestamptz) RETURNS float8 LANGUAGE sql AS
    $$ SELECT 0.55 - 0.45 * cos(2 * pi() * (extract(hour FROM at AT TIME ZONE 'UTC') - 3) / 24) $$;

CREATE TEMP TABLE happened AS
SELECT at, 'evt_1S' || upper(left(md5(h.at::text || n), 20)) AS event_id, pg_temp.chance(h.at::text || n) AS c
FROM generate_series(date_trunc('hour', now()) - interval '47 hours', now(), interval '1 hour') AS hour,
    LATERAL generate_series(1, (4 + 60 * pg_temp.busy(hour) * (0.7 + 0.6 * pg_temp.chance(hour::text)))::int) AS n,
    LATERAL (SELECT hour + interval '1 hour' * pg_temp.chance(n || hour::text)) AS h (at)
WHERE h.at < now();

INSERT INTO billing.webhook_events (provider, event_id, event_type, status, attempts, received_at, processed_at, livemode, payload_summary)
SELECT 'stripe', event_id,
    CASE WHEN c < 0.34 THEN 'checkout.session.completed' WHEN c < 0.52 THEN 'invoice.paid' WHEN c < 0.66 THEN 'customer.subscription.updated'
        WHEN c < 0.76 THEN 'invoice_payment.paid' WHEN c < 0.84 THEN 'customer.created' WHEN c < 0.90 THEN 'customer.subscription.created'
        WHEN c < 0.94 THEN 'charge.refunded' WHEN c < 0.97 THEN 'invoice.payment_failed' ELSE 'customer.subscription.deleted' END,
    'completed', 1, at, at + interval '40 ms', true, '{}'
FROM happened;

-- What went wrong.
INSERT INTO billing.webhook_events (provider, event_id, event_type, status, attempts, received_at, next_attempt_at, livemode,
    error_detail, error_message, payload_summary, payload, customer_code)
VALUES
    ('stripe', 'evt_1SKq7xLkdIwHu7ix0b5wT2aP', 'checkout.session.completed', 'failed', 3, now() - interval '95 minutes', now() + interval '25 minutes', true,
        'unknown_user', 'Nobody is known by that identifier.', '{}', '{}', 'cus_SxPq4'),
    ('stripe', 'evt_1SKrD2LkdIwHu7ixnQ8mV4cE', 'checkout.session.completed', 'failed', 2, now() - interval '31 minutes', now() + interval '9 minutes', true,
        'unknown_user', 'Nobody is known by that identifier.', '{}', '{}', 'cus_SxRw9'),
    ('stripe', 'evt_1SJz8mLkdIwHu7ixY3kPd0Rf', 'checkout.session.completed', 'dead', 10, now() - interval '41 hours', NULL, true,
        'amount_mismatch', 'The amount is not the price, nor a whole multiple of it where that is allowed.', '{}', '{}', NULL),
    ('paystack', 'charge.success:4099260516', 'charge.success', 'failed', 1, now() - interval '4 minutes', now() + interval '2 minutes', true,
        'unknown_pack', 'There is no such credit pack.', '{}', '{}', NULL),
    ('mailer', 'msg_0193f1c7', 'delivery.bounced', 'failed', 4, now() - interval '6 hours', now() + interval '50 minutes', NULL,
        NULL, 'connection to the mail server timed out', '{}', NULL, NULL);
INSERT INTO billing.webhook_events (provider, event_id, event_type, status, attempts, received_at, lease_until, next_attempt_at, livemode, payload_summary, payload)
VALUES
    ('stripe', 'evt_1SKrTbLkdIwHu7ixJ6vC1sNo', 'invoice.paid', 'processing', 1, now() - interval '40 seconds', now() + interval '4 minutes', NULL, true, '{}', NULL),
    ('stripe', 'evt_1SKqNcLkdIwHu7ixF2tB8uWd', 'customer.subscription.updated', 'processing', 1, now() - interval '70 minutes', now() - interval '65 minutes', NULL, true, '{}', NULL);

-- Customers, and what they bought and spent.
INSERT INTO billing.customers (customer_id, legacy_id)
SELECT md5('customer' || n)::uuid, n FROM generate_series(1, 60) AS n;
INSERT INTO billing.balances (customer_id, balance, last_entry_at, credit_type)
SELECT c.customer_id, 0, now(), t FROM billing.customers c, unnest('{credits,render_minutes}'::text[]) AS t;

INSERT INTO billing.ledger (created_at, credits, balance_after, amount_minor, currency, customer_id, livemode, credit_type, kind, idempotency_key, source_ref, fingerprint, metadata)
SELECT e.at, e.credits, 0, NULL, NULL, md5('customer' || (1 + (e.c * 59)::int))::uuid, true, e.credit_type, e.kind, 'demo ' || e.credit_type || e.n || e.at,
    CASE e.kind WHEN 'purchase' THEN 'stripe:cs_live_' || left(md5(e.credit_type || e.n || e.at), 16) END, '', '{}'
FROM (
    SELECT d.at, d.n, d.credit_type, d.c, k.kind, CASE
        WHEN k.kind = 'purchase' THEN (ARRAY[100, 500, 500, 2000])[1 + floor(d.d * 4)::int]
        WHEN k.kind = 'grant' THEN 50 WHEN k.kind = 'expiry' THEN -30 WHEN k.kind = 'reversal' THEN -100
        ELSE -(20 + 320 * d.d)::int END AS credits
    FROM (
        SELECT day + interval '1 day' * pg_temp.chance(n || day::text) AS at, n, t.credit_type, pg_temp.chance('c' || n || day) AS c, pg_temp.chance('d' || n || day) AS d
        FROM (VALUES ('credits', 34), ('render_minutes', 9)) AS t (credit_type, a_day),
            generate_series(date_trunc('day', now()) - interval '29 days', now(), interval '1 day') WITH ORDINALITY AS days (day, place),
            LATERAL generate_series(1, (t.a_day * (0.5 + place / 40.0) * (0.75 + 0.5 * pg_temp.chance(t.credit_type || day))
                * CASE WHEN extract(isodow FROM day) > 5 THEN 0.55 ELSE 1 END)::int) AS n
    ) AS d, LATERAL (SELECT CASE WHEN d.c < 0.26 THEN 'purchase' WHEN d.c < 0.33 THEN 'grant' WHEN d.c < 0.36 THEN 'expiry' WHEN d.c < 0.38 THEN 'reversal' ELSE 'spend' END) AS k (kind)
    WHERE d.at < now()
) AS e ORDER BY e.at;
-- The balance that goes with each of the last entries, which are the ones shown.
ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only;
UPDATE billing.ledger SET balance_after = 400 + abs(credits) + (entry_id * 37) % 900 WHERE entry_id > (SELECT max(entry_id) - 20 FROM billing.ledger);
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;

INSERT INTO billing.subscriptions (customer_id, provider, subscription_id, provider_customer, status, object_status, cancel_at_period_end, is_truth, price_ids)
SELECT CASE WHEN n % 97 > 0 THEN md5('customer' || (1 + n % 60))::uuid END, 'stripe', 'sub_' || n, 'cus_' || n, s.status, s.status, s.status = 'active' AND n % 19 = 0, false, '{}'
FROM (VALUES ('active', 1, 412), ('trialing', 413, 461), ('past_due', 462, 478), ('paused', 479, 482), ('incomplete', 483, 488), ('canceled', 489, 575)) AS s (status, first, last),
    generate_series(s.first, s.last) AS n;
INSERT INTO billing.refetch_queue (requested_at, object_type, object_id, requested_reason)
VALUES (now() - interval '8 minutes', 'subscription', 'sub_471', 'transition_not_allowed');
COMMIT;
