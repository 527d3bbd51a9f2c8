-- Customers, their balances and their entries, as purchases would have left them. The rows fit each other:
-- no foreign key needs to look.
SET session_replication_role = replica;

INSERT INTO billing.customers (user_id, stripe_customer_id)
SELECT gen_random_uuid(), 'cus_' || substr(md5(gen_random_uuid()::text), 1, 14)
FROM generate_series(1, @customers@);

CREATE TEMPORARY TABLE numbered AS
SELECT customer_id, row_number() OVER (ORDER BY customer_id) - 1 AS number FROM billing.customers;

INSERT INTO billing.balances (customer_id, credit_type, balance, last_entry_at)
SELECT customer_id, 'credits', 100::bigint * (@entries@ / @customers@), now() FROM numbered;

INSERT INTO billing.ledger
    (entry_id, created_at, credits, balance_after, amount_minor, customer_id, credit_type, kind, currency,
     idempotency_key, source_ref, fingerprint, metadata)
OVERRIDING SYSTEM VALUE
SELECT i + 1, now(), 100, 100::bigint * (i / @customers@ + 1), 1999, n.customer_id, 'credits', 'purchase', 'usd',
       gen_random_uuid()::text,
       'stripe:cs_test_a1' || md5(gen_random_uuid()::text) || substr(md5(gen_random_uuid()::text), 1, 24),
       decode(md5(i::text), 'hex'), '{}'
FROM generate_series(0, @entries@ - 1) AS i JOIN numbered n ON n.number = i % @customers@
ORDER BY i;

SELECT setval(pg_get_serial_sequence('billing.ledger', 'entry_id'), @entries@);
DROP TABLE numbered;
RESET session_replication_role;
