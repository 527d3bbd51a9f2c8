-- @customers@ customers, their balances and @entries@ entries, all of them purchases: one of ten by a webhook, which left an event and a
-- charge as well. The rows fit each other: no foreign key needs to look.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';

-- Indexes are built when all rows are there, which is quicker by far. They stay what they are: dropped and made anew they
-- would no longer be the extension's.
UPDATE pg_index SET indisready = false, indisvalid = false
WHERE indrelid IN ('billing.customers'::regclass, 'billing.balances'::regclass, 'billing.ledger'::regclass,
                   'billing.charges'::regclass, 'billing.webhook_events'::regclass);

INSERT INTO billing.customers (customer_id, user_id, stripe_customer_id)
SELECT md5('customer' || n)::uuid, md5('user' || n)::uuid, 'cus_' || substr(md5('code' || n), 1, 14)
FROM generate_series(0, @customers@ - 1) AS n;

INSERT INTO billing.balances (customer_id, credit_type, balance, last_entry_at)
SELECT customer_id, 'credits', 100::bigint * (@entries@ / @customers@), now() FROM billing.customers;

INSERT INTO billing.ledger
    (entry_id, created_at, credits, balance_after, amount_minor, livemode, customer_id, credit_type, kind, currency,
     idempotency_key, source_ref, payment_ref, fingerprint, event, metadata)
OVERRIDING SYSTEM VALUE
SELECT i + 1, now(), 100, 100::bigint * (i / @customers@ + 1), 1999, false, md5('customer' || i % @customers@)::uuid,
       'credits', 'purchase', 'usd', 'billing_rpc:stripe:cs_test_a1' || a || substr(a, 1, 24),
       'stripe:cs_test_a1' || a || substr(a, 1, 24), CASE WHEN i % 10 = 0 THEN 'pi_3' || substr(a, 1, 23) END,
       decode(a, 'hex'), CASE WHEN i % 10 = 0 THEN 'stripe:evt_1' || substr(a, 1, 23) END, '{}'
FROM generate_series(0, @entries@ - 1) AS i, md5('entry' || i) AS a;
SELECT setval(pg_get_serial_sequence('billing.ledger', 'entry_id'), @entries@);

INSERT INTO billing.charges (created_at, payment_ref, source_ref)
SELECT created_at, payment_ref, source_ref FROM billing.ledger WHERE event IS NOT NULL;

INSERT INTO billing.webhook_events
    (claim_token, occurred_at, received_at, processed_at, attempts, livemode, provider, event_id, event_type, status,
     api_version, object_id, object_type, payload_summary, result)
SELECT md5(event)::uuid, created_at, created_at, created_at, 1, livemode, 'stripe', substr(event, 8),
       'checkout.session.completed', 'completed', '2025-03-31.basil', substr(source_ref, 8), 'checkout.session',
       jsonb_build_object('id', substr(event, 8), 'type', 'checkout.session.completed',
                          'object_id', substr(source_ref, 8), 'object_type', 'checkout.session'),
       jsonb_build_object('detail', NULL, 'reason', 'applied', 'balance', balance_after, 'credits', credits,
                          'entry_id', entry_id, 'credit_type', credit_type, 'customer_id', customer_id)
FROM billing.ledger WHERE event IS NOT NULL;

REINDEX TABLE billing.customers;
REINDEX TABLE billing.balances;
REINDEX TABLE billing.ledger;
REINDEX TABLE billing.charges;
REINDEX TABLE billing.webhook_events;
RESET maintenance_work_mem;
RESET synchronous_commit;
RESET session_replication_role;
