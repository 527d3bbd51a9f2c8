SELECT false, 'replay', NULL::text, entry_id, customer_id, credit_type, credits, balance_after, created_at
FROM floor.ledger WHERE idempotency_key = $1
