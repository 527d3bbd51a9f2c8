WITH changed AS (
    UPDATE floor.balances
    SET balance = balance - $2, last_entry_at = greatest(clock_timestamp(), last_entry_at)
    WHERE customer_id = $1 AND credit_type = 'credits' AND balance - held >= $2
    RETURNING customer_id, credit_type, balance, last_entry_at
)
INSERT INTO floor.ledger
    (created_at, credits, balance_after, customer_id, credit_type, kind, idempotency_key, fingerprint, metadata)
SELECT last_entry_at, -$2, balance, customer_id, credit_type, 'spend', $3, $4, '{}'
FROM changed
RETURNING true, 'applied', NULL::text, entry_id, customer_id, credit_type, credits, balance_after, created_at
