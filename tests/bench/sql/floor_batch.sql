UPDATE floor.balances b
SET balance = b.balance + a.credits, last_entry_at = greatest($3::text::timestamptz, b.last_entry_at)
FROM ROWS FROM (unnest($1::uuid[]), unnest($2::bigint[])) AS a (customer_id, credits)
WHERE b.customer_id = a.customer_id AND b.credit_type = 'credits'
