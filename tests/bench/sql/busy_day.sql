-- @rows@ entries of one day in twenty credit types, and a tenth as many subscriptions. The books do not balance.
INSERT INTO billing.customers (customer_id) SELECT md5(n::text)::uuid FROM generate_series(1, 1000) AS n;
INSERT INTO billing.balances (customer_id, balance, last_entry_at, credit_type)
SELECT c.customer_id, 0, now(), 'type ' || t FROM billing.customers AS c, generate_series(0, 19) AS t;
INSERT INTO billing.ledger
    (created_at, credits, balance_after, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
SELECT now() - (@rows@ - n) * interval '1 day' / @rows@::float8, CASE WHEN n % 3 = 0 THEN 100 ELSE -40 END, 1000,
       md5((1 + n % 1000)::text)::uuid, 'type ' || n % 20, CASE WHEN n % 3 = 0 THEN 'grant' ELSE 'spend' END,
       'key ' || to_char(n, 'FM000000000000'), '', '{}'
FROM generate_series(1, @rows@) AS n;
INSERT INTO billing.subscriptions
    (provider, subscription_id, provider_customer, status, object_status, cancel_at_period_end, is_truth, price_ids)
SELECT 'stripe', 'sub_' || to_char(n, 'FM000000000000'), 'cus_' || n,
       CASE WHEN n % 5 = 0 THEN 'canceled' ELSE 'active' END, 'active', false, false, '{}'
FROM generate_series(1, @rows@ / 10) AS n;
