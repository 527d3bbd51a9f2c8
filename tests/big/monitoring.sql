-- health(), metrics() and the views that say they are quick, on a large database: ten million events, a million customers with
-- balances, half a million subscriptions; each within a second, when it has been run before. Takes some
-- minutes and 6 GB; psql -v events=100000 tries it with fewer. Run by scripts/test_big_monitoring.sh.
\set ON_ERROR_STOP on
\pset pager off
\if :{?events} \else \set events 10000000 \endif
CREATE EXTENSION IF NOT EXISTS billing_rpc;

-- As years of deliveries leave it: of each 1,000 events one is of test mode, one failed, one waits; everything else is completed. Written
-- to the tables directly, without the checks of foreign keys, as what is tried here is reading.
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO billing.webhook_events (received_at, processed_at, next_attempt_at, attempts, livemode, provider, event_id, event_type, status,
    error_detail, error_message, payload_summary, result, payload)
SELECT at, CASE WHEN status = 'completed' THEN at END, CASE WHEN status IN ('failed', 'recorded') THEN now() + interval '1 hour' END, 1, n % 1000 <> 1,
    CASE WHEN n % 10 = 0 THEN 'paystack' ELSE 'stripe' END, 'evt_' || lpad(n::text, 12, '0'), 'type.' || n % 40, status,
    CASE WHEN status IN ('failed', 'dead') THEN 'unknown_user' END, CASE WHEN status IN ('failed', 'dead') THEN 'Nobody is known by that identifier.' END,
    '{"id": "evt", "type": "type", "object_id": "in_1", "object_type": "invoice"}',
    CASE WHEN status = 'completed' THEN jsonb '{"reason": "ignored", "detail": "nothing_to_do"}' END, CASE WHEN status <> 'completed' THEN '{}' END
FROM (SELECT n, now() - (:events - n) * interval '3 seconds' AS at,
        CASE n % 1000 WHEN 2 THEN CASE WHEN n % 20000 = 2 THEN 'dead' ELSE 'failed' END WHEN 3 THEN 'recorded' ELSE 'completed' END AS status
      FROM generate_series(1, :events) AS n) AS made
ON CONFLICT DO NOTHING;
INSERT INTO billing.customers (customer_id, legacy_id) SELECT lpad(to_hex(n), 32, '0')::uuid, n FROM generate_series(1, :events / 10) AS n ON CONFLICT DO NOTHING;
INSERT INTO billing.balances (customer_id, balance, last_entry_at, credit_type)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 1000000000000, now(), CASE WHEN n % 5 = 0 THEN 'bonus' ELSE 'credits' END FROM generate_series(1, :events / 10) AS n ON CONFLICT DO NOTHING;
INSERT INTO billing.ledger (created_at, credits, balance_after, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
    SELECT now(), 5, 5, lpad(to_hex(n), 32, '0')::uuid, 'credits', 'grant', 'big_' || n, '', '{}' FROM generate_series(1, :events / 10) AS n ON CONFLICT DO NOTHING;
INSERT INTO billing.subscriptions (cancel_at_period_end, is_truth, provider, subscription_id, provider_customer, status, object_status, price_ids)
    SELECT false, false, 'stripe', 'sub_' || n, 'cus_' || n, (ARRAY['active', 'past_due', 'canceled'])[1 + n % 3], 'active', '{}' FROM generate_series(1, :events / 20) AS n ON CONFLICT DO NOTHING;
INSERT INTO billing.holds (created_at, expires_at, credits, customer_id, credit_type, idempotency_key, fingerprint, metadata)
    SELECT now(), now() + interval '1 hour', 1, lpad(to_hex(n), 32, '0')::uuid, 'credits', 'big_' || n, '', '{}' FROM generate_series(1, :events / 100) AS n ON CONFLICT DO NOTHING;
RESET session_replication_role;
VACUUM ANALYZE;

-- Each statement three times, as whoever looks on; the best counts, for others may be using the machine.
CREATE TEMP TABLE took (what text, run int, milliseconds numeric, answer bigint);
GRANT ALL ON took TO billing_monitor;
CREATE FUNCTION pg_temp.time(what text, statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    answer bigint;
    began timestamptz;
BEGIN
    FOR run IN 1..3 LOOP
        began := clock_timestamp();
        EXECUTE statement INTO answer;
        INSERT INTO took VALUES (what, run, round(extract(epoch FROM clock_timestamp() - began) * 1000, 1), answer);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION pg_temp.time(text, text) TO billing_monitor;
SET ROLE billing_monitor;
SELECT pg_temp.time('health()', 'SELECT count(*) FROM billing.health() WHERE NOT ok'),
    pg_temp.time('metrics()', 'SELECT length(billing.metrics())'),
    pg_temp.time('failed_events', 'SELECT count(*) FROM billing.failed_events'),
    pg_temp.time('stuck_events', 'SELECT count(*) FROM billing.stuck_events'),
    pg_temp.time('unfinished_events', 'SELECT count(*) FROM billing.unfinished_events'),
    pg_temp.time('recent_events', 'SELECT count(*) FROM billing.recent_events'),
    pg_temp.time('ledger_entries', 'SELECT count(*) FROM (SELECT FROM billing.ledger_entries LIMIT 20) AS e'),
    pg_temp.time('credit_totals', 'SELECT count(*) FROM billing.credit_totals');
RESET ROLE;
SELECT what, min(milliseconds) AS best, max(milliseconds) AS worst, min(answer) AS answer FROM took GROUP BY what ORDER BY best DESC;
-- Numbers are the tables' own, and nothing took longer than a second.
SELECT line FROM regexp_split_to_table(billing.metrics(), '\n') AS line WHERE line ~ '^billing_rpc_(unfinished|outstanding|customers|open_holds|subscriptions)';
DO $$ BEGIN
    IF EXISTS (SELECT FROM took GROUP BY what HAVING min(milliseconds) > 1000) THEN RAISE 'something took longer than a second'; END IF;
END $$;
