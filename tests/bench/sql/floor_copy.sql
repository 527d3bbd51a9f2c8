COPY floor.ledger
    (created_at, credits, balance_after, amount_minor, customer_id, credit_type, kind, currency, idempotency_key,
     source_ref, fingerprint, metadata)
FROM STDIN
