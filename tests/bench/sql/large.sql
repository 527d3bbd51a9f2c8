-- As years of deliveries leave it: @events@ events of 347 days, and a tenth as many customers with balances. Of each 1,000 events one is
-- of test mode, one failed or is dead, one waits; everything else is completed. What is tried here is mostly reading: the
-- foreign keys are not looked at, and the books do not balance. The oldest third of the events has been purged, and lies where
-- a search begins.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = 'billing.webhook_events'::regclass;

INSERT INTO billing.webhook_events
    (received_at, processed_at, next_attempt_at, attempts, livemode, provider, event_id, event_type, status,
     error_detail, error_message, payload_summary, result, payload)
SELECT at, CASE WHEN status = 'completed' THEN at END,
       CASE WHEN status IN ('failed', 'recorded') THEN now() + interval '1 day' END, 1, n % 1000 <> 1,
       CASE WHEN n % 10 = 0 THEN 'paystack' ELSE 'stripe' END, 'evt_' || lpad(n::text, 12, '0'), 'type.' || n % 40, status,
       CASE WHEN status IN ('failed', 'dead') THEN 'unknown_user' END,
       CASE WHEN status IN ('failed', 'dead') THEN 'Nobody is known by that identifier.' END,
       '{"id": "evt", "type": "type", "object_id": "in_1", "object_type": "invoice"}',
       CASE WHEN status = 'completed' AND n > @events@ / 3 THEN jsonb '{"reason": "ignored", "detail": "nothing_to_do"}' END,
       CASE WHEN status <> 'completed' THEN '{}' END
FROM generate_series(1, @events@) AS n,
    LATERAL (SELECT now() - (@events@ - n) * (interval '347 days' / @events@) AS at,
        CASE n % 1000 WHEN 2 THEN CASE WHEN n % 20000 = 2 THEN 'dead' ELSE 'failed' END
            WHEN 3 THEN 'recorded' ELSE 'completed' END AS status) AS made;
REINDEX TABLE billing.webhook_events;

INSERT INTO billing.customers (customer_id, legacy_id)
SELECT lpad(to_hex(n), 32, '0')::uuid, n FROM generate_series(1, @events@ / 10) AS n;

INSERT INTO billing.balances (customer_id, balance, last_entry_at, credit_type)
SELECT lpad(to_hex(n), 32, '0')::uuid, 1000000000000, now(), CASE WHEN n % 5 = 0 THEN 'bonus' ELSE 'credits' END
FROM generate_series(1, @events@ / 10) AS n;

INSERT INTO billing.ledger
    (created_at, credits, balance_after, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
SELECT now(), 5, 5, lpad(to_hex(n), 32, '0')::uuid, CASE WHEN n % 5 = 0 THEN 'bonus' ELSE 'credits' END, 'grant',
       'large_' || n, '', '{}'
FROM generate_series(1, @events@ / 10) AS n;

INSERT INTO billing.subscriptions
    (cancel_at_period_end, is_truth, provider, subscription_id, provider_customer, status, object_status, price_ids)
SELECT false, false, 'stripe', 'sub_' || n, 'cus_' || n, (ARRAY['active', 'past_due', 'canceled'])[1 + n % 3], 'active', '{}'
FROM generate_series(1, @events@ / 20) AS n;

INSERT INTO billing.holds
    (created_at, expires_at, credits, customer_id, credit_type, idempotency_key, fingerprint, metadata)
SELECT now(), now() + interval '1 day', 1, lpad(to_hex(n), 32, '0')::uuid,
       CASE WHEN n % 5 = 0 THEN 'bonus' ELSE 'credits' END, 'large_' || n, '', '{}'
FROM generate_series(1, @events@ / 100) AS n;

RESET maintenance_work_mem;
RESET synchronous_commit;
RESET session_replication_role;
