-- Batches: many operations in one transaction, each answered as its single call would be.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;

-- 1. One row for each operation, in their order.
SELECT applied, reason, detail, entry_id IS NOT NULL AS entry, customer_id IS NOT NULL AS customer, credit_type, credits, balance, created_at <= clock_timestamp() AS dated
FROM apply_credit_batch('[
    {"op": "purchase", "user_id": "1", "credits": 100, "idempotency_key": "order-1", "stripe_session_id": "cs_1", "amount_minor": 900, "currency": "EUR",
     "expires_at": "2100-01-01T00:00:00Z", "metadata": {"from": "batch"}},
    {"op": "grant", "user_id": "1", "credits": 5, "idempotency_key": "gift-1", "credit_type": "gold", "priority": -1},
    {"op": "grant", "user_id": "two@example.com", "credits": 7, "idempotency_key": "gift-2"},
    {"op": "spend", "user_id": "1", "credits": 30, "idempotency_key": "image-1"}
]');
SELECT kind, credits, balance, source_ref, idempotency_key, metadata FROM credit_history('1');
SELECT credit_type, balance, available, next_expiry_at::date AS next_expiry, next_expiry_credits FROM (VALUES ('credits'), ('gold')) AS t (name), LATERAL credit_balance('1', name);

-- 2. The batch again, and single calls: replays of each other.
SELECT applied, reason, credits, balance
FROM apply_credit_batch('[
    {"op": "spend", "user_id": "1", "credits": 30, "idempotency_key": "image-1"},
    {"op": "purchase", "user_id": "1", "credits": 100, "idempotency_key": "order-1", "source_ref": "stripe:cs_1", "amount_minor": 900, "currency": "eur"}
]');
SELECT reason, balance FROM spend_credits('1', 30, 'image-1');
SELECT reason, balance FROM grant_credits('two@example.com', 7, 'gift-2');
SELECT reason FROM grant_credits('3', 10, 'single');
SELECT reason, balance FROM apply_credit_batch('[{"op": "grant", "user_id": "3", "credits": 10, "idempotency_key": "single"}]');

-- 3. Each is judged on its own: what is wrong with one spoils no other.
SELECT reason, detail, credits, balance
FROM apply_credit_batch('[
    {"op": "spend", "user_id": "3", "credits": 11, "idempotency_key": "j-1"},
    {"op": "grant", "user_id": "cus_nobody", "credits": 1, "idempotency_key": "j-2"},
    {"op": "grant", "user_id": "3", "credits": 1, "idempotency_key": "gift-2"},
    {"op": "purchase", "user_id": "3", "credits": 1, "idempotency_key": "j-3", "stripe_session_id": "cs_1"},
    {"op": "grant", "user_id": "3", "credits": 0, "idempotency_key": "j-4"},
    {"op": "grant", "user_id": "3", "credits": 5, "idempotency_key": "j-5"},
    {"op": "spend", "user_id": "3", "credits": 11, "idempotency_key": "j-1"},
    {"op": "spend", "user_id": "88", "credits": 1, "idempotency_key": "j-6"}
]');
SELECT found FROM resolve_billing_user('88');

-- 4. The same key or source twice answers as two calls would.
SELECT reason, detail, credits, balance
FROM apply_credit_batch('[
    {"op": "grant", "user_id": "4", "credits": 5, "idempotency_key": "t-1"},
    {"op": "grant", "user_id": "4", "credits": 5, "idempotency_key": "t-1"},
    {"op": "grant", "user_id": "4", "credits": 6, "idempotency_key": "t-1"},
    {"op": "purchase", "user_id": "4", "credits": 5, "idempotency_key": "t-2", "source_ref": "stripe:pi_1"},
    {"op": "purchase", "user_id": "5", "credits": 5, "idempotency_key": "t-3", "source_ref": "stripe:pi_1"},
    {"op": "purchase", "user_id": "5", "credits": 5, "idempotency_key": "t-3", "source_ref": "stripe:pi_2"},
    {"op": "purchase", "user_id": "6", "credits": 5, "idempotency_key": "t-4", "source_ref": "stripe:pi_2"}
]');
-- Somebody for whom everything was refused is not made, nor is anything else kept of it.
SELECT identifier, found FROM (VALUES ('5'), ('6')) AS given (identifier), LATERAL resolve_billing_user(identifier);
SELECT payment_ref FROM billing.charges ORDER BY payment_ref;
-- Credits granted in a batch can be spent in it, and the other way round not before they are granted.
SELECT reason, detail, credits, balance
FROM apply_credit_batch('[
    {"op": "spend", "user_id": "7", "credits": 5, "idempotency_key": "o-1"},
    {"op": "grant", "user_id": "7", "credits": 5, "idempotency_key": "o-2"},
    {"op": "spend", "user_id": "7", "credits": 5, "idempotency_key": "o-1"}
]');
-- Lots are burnt, and written off, as by single calls.
SELECT reason, detail, credits, balance
FROM apply_credit_batch('[
    {"op": "grant", "user_id": "8", "credits": 5, "idempotency_key": "l-1"},
    {"op": "grant", "user_id": "8", "credits": 5, "idempotency_key": "l-2", "expires_at": "2000-01-01"},
    {"op": "grant", "user_id": "8", "credits": 5, "idempotency_key": "l-3", "expires_at": "2100-01-01"},
    {"op": "spend", "user_id": "8", "credits": 11, "idempotency_key": "l-4"},
    {"op": "spend", "user_id": "8", "credits": 6, "idempotency_key": "l-5"}
]');
SELECT kind, credits, balance FROM credit_history('8');
-- A refused operation writes nothing off; whatever comes after it in the batch sees the same credits as a single call would.
SELECT reason, detail, credits, balance
FROM apply_credit_batch('[
    {"op": "grant", "user_id": "9", "credits": 5, "idempotency_key": "m-1", "expires_at": "2000-01-01"},
    {"op": "spend", "user_id": "9", "credits": 1, "idempotency_key": "m-2"}
]');
SELECT balance, available FROM credit_balance('9');
SELECT * FROM billing.reconcile();
SELECT reason, detail, credits, balance
FROM apply_credit_batch('[
    {"op": "spend", "user_id": "9", "credits": 1, "idempotency_key": "m-2"},
    {"op": "grant", "user_id": "9", "credits": 7, "idempotency_key": "m-3", "priority": 1},
    {"op": "grant", "user_id": "9", "credits": 3, "idempotency_key": "m-4", "priority": -1},
    {"op": "grant", "user_id": "9", "credits": 2, "idempotency_key": "m-5", "expires_at": "2000-01-02"},
    {"op": "spend", "user_id": "9", "credits": 4, "idempotency_key": "m-2"},
    {"op": "spend", "user_id": "9", "credits": 7, "idempotency_key": "m-6"}
]');
SELECT kind, credits, balance FROM credit_history('9');
SELECT e.idempotency_key AS lot, l.remaining FROM billing.lots l JOIN billing.ledger e USING (entry_id) WHERE e.idempotency_key LIKE 'm-%' ORDER BY l.lot_id;
-- A hold's key is no operation's.
SELECT reason FROM hold_credits('7', 1, 'h-1');
SELECT reason FROM grant_credits('7', 1, 'h-2');
SELECT reason FROM hold_credits('7', 1, 'h-3');
SELECT reason, detail FROM apply_credit_batch('[{"op": "grant", "user_id": "7", "credits": 1, "idempotency_key": "h-3"}]');

-- 5. An operation is {"op": "purchase" | "grant" | "spend", ...} with that function's parameters as further keys: another op or
-- key, or a value of another JSON type, is refused. Null is "not given", as everywhere.
SELECT operation, reason, detail
FROM unnest(ARRAY[
    'null', '7', '"grant"', '[]', '{}', '{"op": null}', '{"op": 7}', '{"op": ""}', '{"op": "Grant"}', '{"op": "refund"}', '{"op": "hold"}', '{"op": "reverse"}',
    '{"op": "grant"}',
    '{"op": "grant", "user": "9"}', '{"op": "spend", "priority": 1}', '{"op": "spend", "expires_at": null}', '{"op": "purchase", "priority": 0}',
    '{"op": "grant", "source_ref": "stripe:pi_9"}', '{"op": "grant", "amount_minor": 1, "currency": "eur"}',
    '{"op": "grant", "user_id": 9}', '{"op": "grant", "user_id": "9", "credits": "5"}', '{"op": "grant", "credits": 5.5}', '{"op": "grant", "credits": 1e30}',
    '{"op": "grant", "credits": 9223372036854775808}', '{"op": "grant", "credits": true}', '{"op": "grant", "idempotency_key": 1}', '{"op": "grant", "credit_type": []}',
    '{"op": "grant", "priority": 2147483648}', '{"op": "grant", "expires_at": 4102444800}',
    '{"op": "grant", "user_id": "12", "credits": 1, "idempotency_key": "p-1", "metadata": []}',
    '{"op": "grant", "user_id": "12", "credits": 1, "idempotency_key": "p-1", "metadata": "text"}',
    '{"op": "grant", "user_id": "12", "credits": 1, "idempotency_key": "p-1", "credit_type": " "}',
    '{"op": "grant", "user_id": "12", "credits": 1, "idempotency_key": "p-1", "expires_at": "infinity"}',
    '{"op": "grant", "user_id": "12", "credits": 1, "idempotency_key": "billing_rpc:p"}',
    '{"op": "grant", "user_id": "12", "credits": 1, "idempotency_key": "p-1", "credit_type": null, "expires_at": null, "priority": null, "metadata": null}'
]) WITH ORDINALITY AS given (operation, n), LATERAL apply_credit_batch(jsonb_build_array(operation::jsonb)) ORDER BY n;
-- A time is ISO 8601 with an offset, or a date, which begins at midnight UTC.
SELECT at, reason, detail
FROM (VALUES ('2100-01-01T00:00:00Z'), ('2100-01-01 01:30:00.25+01:30'), ('2100-01-01'), ('2100-01-01T00:00:00'), ('2100-02-30'), ('tomorrow'), ('now'), ('')) AS given (at),
    LATERAL apply_credit_batch(jsonb_build_array(jsonb_build_object('op', 'grant', 'user_id', '10', 'credits', 1, 'idempotency_key', at, 'expires_at', at)));
SELECT e.idempotency_key AS given, l.expires_at FROM billing.lots l JOIN billing.ledger e USING (entry_id) WHERE e.idempotency_key LIKE '2100-%' ORDER BY lot_id;

-- 6. The batch as a whole: null, or what is not an array, is one row; an empty array none; at most 100,000 operations.
SELECT operations, applied, reason, detail FROM (VALUES (NULL::jsonb), ('null'), ('{}'), ('{"op": "grant"}'), ('7'), ('"[]"'), ('[]')) AS given (operations)
    LEFT JOIN LATERAL apply_credit_batch(operations) ON true;
SELECT reason, detail FROM apply_credit_batch();
SELECT reason, detail, count(*) FROM apply_credit_batch((SELECT jsonb_agg(0) FROM generate_series(1, 100001))) GROUP BY reason, detail;
SELECT reason, detail, count(*) FROM apply_credit_batch((SELECT jsonb_agg(0) FROM generate_series(1, 100000))) GROUP BY reason, detail;
-- A thousand customers, ten operations each.
SELECT reason, count(*), sum(credits) FROM apply_credit_batch((
    SELECT jsonb_agg(jsonb_build_object('op', CASE n % 10 WHEN 9 THEN 'spend' ELSE 'grant' END, 'user_id', (1000 + n / 10)::text, 'credits', 1 + n % 10, 'idempotency_key', 'many-' || n) ORDER BY n)
    FROM generate_series(0, 9999) AS n)) GROUP BY reason;
SELECT DISTINCT balance FROM generate_series(1000, 1999) AS n, LATERAL credit_balance(n::text);

-- 7. All or nothing: what undoes the transaction undoes every operation.
BEGIN;
SELECT reason, balance FROM apply_credit_batch('[{"op": "grant", "user_id": "11", "credits": 5, "idempotency_key": "r-1"}]');
ROLLBACK;
SELECT found FROM resolve_billing_user('11');

-- The books are right.
SELECT * FROM billing.reconcile();
