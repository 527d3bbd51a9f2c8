-- Looking back: the balance at a past time, and the history by pages.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
-- When an entry was made.
CREATE FUNCTION made(key text) RETURNS timestamptz LANGUAGE sql AS $$ SELECT created_at FROM billing.ledger WHERE idempotency_key = key $$;
CREATE FUNCTION entry(key text) RETURNS bigint LANGUAGE sql AS $$ SELECT entry_id FROM billing.ledger WHERE idempotency_key = key $$;

SELECT clock_timestamp() AS before_all \gset
SELECT reason, balance FROM grant_credits('1', 100, 'first');
SELECT reason, balance FROM grant_credits('1', 9, 'other', credit_type => 'gold');
SELECT reason, balance FROM spend_credits('1', 30, 'second');
SELECT reason, balance FROM grant_credits('2', 1000, 'stranger');
SELECT clock_timestamp() AS between \gset
SELECT reason, balance FROM grant_credits('1', 5, 'third', expires_at => '2000-01-01');
SELECT reason, balance FROM spend_credits('1', 70, 'fourth');

-- 1. The balance counts every entry up to and including that time.
SELECT customer_id IS NOT NULL AS customer, credit_type, balance FROM credit_balance_at('1', made('first'));
SELECT balance FROM credit_balance_at('1', made('first') - interval '1 microsecond');
SELECT balance FROM credit_balance_at('1', made('second'));
SELECT balance FROM credit_balance_at('1', made('second') - interval '1 microsecond');
SELECT balance FROM credit_balance_at('1', :'between');
SELECT balance FROM credit_balance_at('1', made('third'));
-- The third's credits were written off at the time of the fourth, together with it.
SELECT balance FROM credit_balance_at('1', made('fourth'));
SELECT balance FROM credit_balance_at('1', clock_timestamp());
SELECT balance FROM credit_balance_at('1', 'infinity');
SELECT balance FROM credit_balance('1');
-- Before the first entry: 0.
SELECT credit_type, balance FROM credit_balance_at('1', :'before_all');
SELECT balance FROM credit_balance_at('1', '-infinity');
-- What was held, available, or about to expire then is not kept: null.
SELECT held, available, next_expiry_at, next_expiry_credits FROM credit_balance_at('1', clock_timestamp());
-- Credit types are apart.
SELECT credit_type, balance FROM credit_balance_at('1', clock_timestamp(), 'gold');
SELECT credit_type, balance FROM credit_balance_at('1', made('first'), 'gold');
SELECT credit_type, balance FROM credit_balance_at('1', clock_timestamp(), 'silver');
SELECT credit_type, balance FROM credit_balance_at('1', clock_timestamp(), NULL);

-- 2. Unknown people and bad input: nulls. Nobody is made. A known customer without entries has 0.
SELECT * FROM credit_balance_at();
SELECT * FROM credit_balance_at('1');
SELECT * FROM credit_balance_at('3', clock_timestamp());
SELECT * FROM credit_balance_at('not a user', clock_timestamp());
SELECT * FROM credit_balance_at('1', clock_timestamp(), ' ');
SELECT found FROM resolve_billing_user('3');
SELECT reason FROM register_billing_user(legacy_id => 3);
SELECT credit_type, balance, available FROM credit_balance_at('3', clock_timestamp());

-- 3. It agrees with the ledger at every entry's time, however many there are and whoever wrote in between.
SELECT reason, count(*) FROM generate_series(1, 300) AS n, LATERAL grant_credits(CASE n % 3 WHEN 0 THEN '4' ELSE '5' END, n, 'many-' || n) GROUP BY reason;
SELECT count(*) AS entries,
    count(*) FILTER (WHERE at.balance = (SELECT sum(l.credits) FROM billing.ledger l
        WHERE l.customer_id = e.customer_id AND l.credit_type = e.credit_type AND l.created_at <= e.created_at)) AS right_ones
FROM billing.ledger e JOIN billing.customers c USING (customer_id), LATERAL credit_balance_at(c.legacy_id::text, e.created_at, e.credit_type) AS at;

-- 4. History is newest first. The last entry of a page names the next page.
SELECT credits, balance FROM credit_history('4', 3);
SELECT min(entry_id) AS last FROM credit_history('4', 3) \gset
SELECT credits, balance FROM credit_history('4', 3, :last);
-- What is written meanwhile moves no page.
SELECT reason, balance FROM grant_credits('4', 1, 'meanwhile');
SELECT credits, balance FROM credit_history('4', 3, :last);
-- All pages together are all entries, each once.
WITH RECURSIVE pages AS (
    SELECT array_agg(entry_id ORDER BY entry_id DESC) AS page FROM credit_history('4', 7)
    UNION ALL
    SELECT next.page FROM pages, LATERAL (SELECT array_agg(entry_id ORDER BY entry_id DESC) AS page FROM credit_history('4', 7, page[cardinality(page)])) AS next
    WHERE next.page IS NOT NULL
)
SELECT count(DISTINCT page) AS pages, count(*) AS entries, count(DISTINCT entry_id) AS different, count(*) = (SELECT count(*) FROM credit_history('4', 1000)) AS whole
FROM pages, unnest(page) AS entry_id;
-- Another customer's entry is as good a place to go on from as one's own; nothing of that customer is shown.
SELECT credits, balance FROM credit_history('1', 2, entry('stranger'));
SELECT kind, credits FROM credit_history('1', before_entry_id => entry('first'));
-- Every kind of entry is there, with what it is about.
SELECT hold_id FROM hold_credits('5', 10, 'hold') \gset
SELECT reason FROM capture_hold(:'hold_id', 4);
SELECT reason FROM reverse_credit_entry(entry('many-1'), 'undo', 1, metadata => '{"why": "test"}');
SELECT reason FROM apply_credit_purchase('5', 10, 'order', amount_minor => 100, currency => 'eur', source_ref => 'paystack:ref', expires_at => '2000-01-01');
SELECT reason FROM spend_credits('5', 1, 'spend');
SELECT kind, credits, reverses = entry('many-1') AS of_many_1, source_ref, CASE WHEN idempotency_key ~ '^billing_rpc:' THEN 'the extension''s' ELSE idempotency_key END AS key,
    CASE kind WHEN 'expiry' THEN jsonb_build_object('entry_id', metadata ->> 'entry_id' = entry('order')::text) ELSE metadata END AS metadata
FROM credit_history('5', 6);
