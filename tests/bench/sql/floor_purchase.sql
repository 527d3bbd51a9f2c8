WITH changed AS (
    UPDATE floor.balances
    SET balance = balance + $2, last_entry_at = greatest(clock_timestamp(), last_entry_at)
    WHERE customer_id = $1 AND credit_type = 'credits'
    RETURNING customer_id, credit_type, balance, last_entry_at
)
INSERT INTO floor.ledger
    (created_at, credits, balance_after, amount_minor, customer_id, credit_type, kind, currency, idempotency_key,
     source_ref, fingerprint, metadata)
SELECT last_entry_at, $2, balance, $5, customer_id, credit_type, 'purchase', $6, $3, 'stripe:' || $4, $7, '{}'
FROM changed
RETURNING true, 'applied', NULL::text, entry_id, customer_id, credit_type, credits, balance_after, created_at
