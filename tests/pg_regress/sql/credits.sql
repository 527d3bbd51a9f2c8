-- Credits: purchases, grants and spends, each applied once, and the ledger that keeps them.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;

-- 1. A purchase, a grant, a spend. `credits` is signed as in the ledger, `balance` is the balance right after.
SELECT applied, reason, detail, entry_id IS NOT NULL AS entry, customer_id IS NOT NULL AS customer, credit_type, credits, balance,
    created_at <= clock_timestamp() AS dated
FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 900, currency => 'EUR', source_ref => 'stripe:pi_1');
SELECT applied, reason, credits, balance FROM grant_credits('7', 20, 'gift-1');
SELECT applied, reason, credits, balance FROM spend_credits('7', 30, 'image-1');
SELECT customer_id IS NOT NULL AS customer, credit_type, balance, held, available, next_expiry_at, next_expiry_credits FROM credit_balance('7');
SELECT kind, credits, balance, credit_type, reverses, source_ref, idempotency_key, metadata FROM credit_history('7');

-- 2. The same request again is a replay: the original's row, number for number, whatever happened since.
SELECT applied, reason, detail, credits, balance
FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 900, currency => 'eur', source_ref => 'stripe:pi_1');
SELECT applied, reason, credits, balance FROM grant_credits('7', 20, 'gift-1');
SELECT reason, credits, balance FROM spend_credits('7', 30, 'image-1');
SELECT (SELECT entry_id FROM spend_credits('7', 30, 'image-1')) = (SELECT entry_id FROM credit_history('7', 1)) AS same_entry;
-- It is answered even if the same request would be refused today.
SELECT reason, balance FROM spend_credits('7', 90, 'image-2');
SELECT reason, balance FROM spend_credits('7', 30, 'image-1');
-- Another name of the same customer changes nothing; nor does what is no part of the request's fingerprint.
SELECT reason FROM register_billing_user(legacy_id => 7, email => 'seven@example.com');
SELECT reason, balance FROM grant_credits('seven@example.com', 20, 'gift-1');
SELECT reason, balance FROM grant_credits('007', 20, 'gift-1', metadata => '{"note": "other"}');

-- 3. The same key with other parameters is refused, by every call: there is one name space of keys.
SELECT reason, detail FROM grant_credits('8', 20, 'gift-1');
SELECT reason, detail FROM grant_credits('7', 21, 'gift-1');
SELECT reason, detail FROM grant_credits('7', 20, 'gift-1', credit_type => 'gold');
SELECT reason, detail FROM spend_credits('7', 20, 'gift-1');
SELECT reason, detail FROM apply_credit_purchase('7', 20, 'gift-1');
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 901, currency => 'eur', source_ref => 'stripe:pi_1');
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 900, currency => 'usd', source_ref => 'stripe:pi_1');
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 900, currency => 'eur', source_ref => 'stripe:pi_2');
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 900, currency => 'eur');
SELECT reason, detail FROM apply_credit_purchase('7', 100, 'order-1', source_ref => 'stripe:pi_1');
-- A refused request makes nobody: 8 is still unknown.
SELECT found FROM resolve_billing_user('8');

-- 4. Spending more than is available is refused; nothing is written, and the key stays free.
SELECT applied, reason, detail, entry_id, customer_id, credit_type, credits, balance, created_at FROM spend_credits('7', 1, 'image-3');
SELECT reason, detail FROM spend_credits('9', 1, 'image-3');
SELECT reason, detail FROM spend_credits('7', 9223372036854775807, 'image-3');
SELECT reason, balance FROM grant_credits('7', 5, 'gift-2');
SELECT reason, balance FROM spend_credits('7', 1, 'image-3');

-- 5. One source is credited once, by whichever key. The answer shows the entry that stands, and the key stays free.
SELECT reason, detail, credits, balance FROM apply_credit_purchase('7', 50, 'order-2', stripe_session_id => 'cs_1');
SELECT reason, detail, credits, balance FROM apply_credit_purchase('7', 50, 'order-3', stripe_session_id => 'cs_1');
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'order-3', source_ref => 'stripe:cs_1');
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'order-3', source_ref => 'stripe:pi_1');
SELECT found FROM resolve_billing_user('10');
SELECT reason, detail, balance FROM apply_credit_purchase('10', 70, 'order-3', source_ref => 'paystack:ref-1');
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'order-4', source_ref => 'paystack:ref-1');
-- stripe_session_id is short for a source; both are fine if they are alike.
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'order-5', stripe_session_id => 'cs_2', source_ref => 'stripe:cs_2');
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'order-6', stripe_session_id => 'cs_3', source_ref => 'stripe:cs_4');
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'order-6', stripe_session_id => 'cs_3', source_ref => 'stripe:pi_3');
-- What stands for a key comes before what stands for a source, and before the balance.
SELECT reason, detail FROM apply_credit_purchase('10', 70, 'gift-1', stripe_session_id => 'cs_1');
SELECT source_ref, reason, detail
FROM (VALUES ('cs_5'), ('stripe:'), ('stripe:cs_'), ('stripe:pi_'), ('stripe:ch_1'), ('stripe:in_1'), ('paystack:'), ('paystack:a b'),
    ('Stripe:pi_1'), ('paypal:1'), (''), (' '), ('stripe:pi_1 ')) AS given (source_ref),
    LATERAL apply_credit_purchase('10', 1, 'order-7', source_ref => source_ref);
SELECT stripe_session_id, reason, detail
FROM (VALUES (''), ('  '), ('cs_'), ('pi_1'), ('stripe:cs_5'), ('cs_a b')) AS given (stripe_session_id),
    LATERAL apply_credit_purchase('10', 1, 'order-7', stripe_session_id => stripe_session_id);
SELECT reason, detail FROM apply_credit_purchase('10', 1, 'order-8', source_ref => 'paystack:' || repeat('x', 246));
SELECT reason, detail FROM apply_credit_purchase('10', 1, 'order-9', source_ref => 'paystack:' || repeat('x', 247));

-- 6. Money: an amount in minor units beside its currency, both or none.
SELECT amount_minor, currency, reason, detail
FROM (VALUES (900, NULL), (NULL, 'eur'), (-1, 'eur'), (900, ''), (900, 'euro'), (900, 'e1r'), (900, ' eur'), (900, 'é€'), (0, 'eur'), (9223372036854775807, 'Jpy'))
    AS given (amount_minor, currency),
    LATERAL apply_credit_purchase('11', 1, 'money-' || coalesce(amount_minor::text, 'null'), amount_minor => amount_minor, currency => currency);
SELECT amount_minor, currency FROM billing.ledger WHERE idempotency_key LIKE 'money-%' ORDER BY entry_id;

-- 7. Wrong input is a row, never an error. Nothing at all is missing everything.
SELECT applied, reason, detail FROM apply_credit_purchase();
SELECT applied, reason, detail FROM grant_credits();
SELECT applied, reason, detail FROM spend_credits();
SELECT asked, reason, detail
FROM (VALUES (NULL::bigint), (0), (-1), (-9223372036854775808)) AS given (asked), LATERAL grant_credits('12', asked, 'wrong-1');
SELECT idempotency_key, reason, detail
FROM (VALUES (NULL), (''), (' '), (U&'\2003'), ('billing_rpc:x'), ('Billing_rpc:x')) AS given (idempotency_key), LATERAL grant_credits('12', 1, idempotency_key);
SELECT octet_length(idempotency_key), reason, detail
FROM (VALUES (repeat('k', 255)), (repeat('k', 256)), (repeat('é', 127)), (repeat('é', 128))) AS given (idempotency_key), LATERAL grant_credits('12', 1, idempotency_key);
SELECT given_type, reason, detail, credit_type
FROM (VALUES (NULL, 1), ('', 2), (' ', 3), ('Gold', 4), ('gold', 5), (repeat('t', 63), 6), (repeat('t', 64), 7)) AS given (given_type, n),
    LATERAL grant_credits('12', 1, 'type-' || n, credit_type => given_type);
SELECT left(metadata::text, 20) AS metadata, reason, detail
FROM (VALUES (NULL::jsonb, 1), ('{}', 2), ('{"a": {"b": [1, null]}}', 3), ('[]', 4), ('null', 5), ('"text"', 6), ('7', 7),
    (jsonb_build_object('k', repeat('x', 16384 - 9)), 8), (jsonb_build_object('k', repeat('x', 16384 - 8)), 9)) AS given (metadata, n),
    LATERAL grant_credits('13', 1, 'metadata-' || n, metadata => metadata);
SELECT idempotency_key, left(metadata::text, 24) AS metadata FROM credit_history('13') ORDER BY entry_id;
-- An expiry or a priority makes a lot of the credits (more of that in lots.sql).
SELECT reason, detail FROM grant_credits('14', 1, 'later-1', expires_at => '2100-01-01');
SELECT reason, detail FROM grant_credits('14', 1, 'later-2', priority => -1);
SELECT reason, detail FROM apply_credit_purchase('14', 1, 'later-3', expires_at => '2000-01-01');
SELECT reason, detail FROM grant_credits('14', 1, 'later-4', priority => NULL);

-- Form comes before replay, replay before duplicate, duplicate before the rest.
SELECT reason, detail FROM grant_credits('7', 0, 'gift-1');
SELECT reason, detail FROM apply_credit_purchase('cus_stranger', 50, 'order-10', stripe_session_id => 'cs_1');
SELECT reason, detail FROM grant_credits('cus_stranger', 20, 'gift-1');

-- 8. 64 bits are the limit of a balance.
SELECT reason, balance FROM grant_credits('15', 9223372036854775807, 'huge-1');
SELECT applied, reason, detail, balance FROM grant_credits('15', 1, 'huge-2');
SELECT reason, balance FROM spend_credits('15', 9223372036854775807, 'huge-3');
SELECT reason, balance FROM grant_credits('15', 1, 'huge-2');

-- 9. Credit types are apart.
SELECT reason, balance FROM grant_credits('16', 10, 'apart-1');
SELECT reason, credit_type, balance FROM grant_credits('16', 3, 'apart-2', credit_type => 'gold');
SELECT reason, detail FROM spend_credits('16', 5, 'apart-3', credit_type => 'gold');
SELECT credit_type, balance, available FROM credit_balance('16');
SELECT credit_type, balance, available FROM credit_balance('16', 'gold');
SELECT credit_type, balance, available FROM credit_balance('16', 'silver');
SELECT credit_type, balance, available FROM credit_balance('16', NULL);
SELECT kind, credits, credit_type FROM credit_history('16', credit_type => 'gold');

-- 10. Reading. A known customer without entries has 0; an unknown one, or bad input, null. Nobody is made.
SELECT reason FROM register_billing_user(legacy_id => 17);
SELECT customer_id IS NOT NULL AS customer, credit_type, balance, held, available FROM credit_balance('17');
SELECT * FROM credit_balance('18');
SELECT * FROM credit_balance();
SELECT * FROM credit_balance('not a user');
SELECT * FROM credit_balance('17', ' ');
SELECT count(*) FROM credit_history('18');
SELECT count(*) FROM credit_history();
SELECT count(*) FROM credit_history('17');
-- History: newest first, by pages.
SELECT count(*) FILTER (WHERE reason = 'applied') AS applied FROM generate_series(1, 1005) AS n, LATERAL grant_credits('17', n, 'page-' || n);
SELECT credits, balance FROM credit_history('17', 3);
SELECT credits, balance FROM credit_history('17', 3, (SELECT min(entry_id) FROM credit_history('17', 3)));
SELECT max_rows, count(credits) FROM (VALUES (NULL), (-1), (0), (1), (1000), (1001), (2147483647)) AS given (max_rows)
    LEFT JOIN LATERAL credit_history('17', max_rows) ON true GROUP BY max_rows ORDER BY max_rows NULLS FIRST;
SELECT before_entry_id, count(credits) FROM (VALUES (NULL), (-9223372036854775808), (0), (9223372036854775807)) AS given (before_entry_id)
    LEFT JOIN LATERAL credit_history('17', 5, before_entry_id) ON true GROUP BY before_entry_id ORDER BY before_entry_id NULLS FIRST;

-- 11. The ledger adds up, for every customer and credit type.
SELECT count(*) AS accounts, count(*) FILTER (WHERE balance = total AND balance = last) AS right_ones
FROM billing.balances AS b, LATERAL (
    SELECT sum(credits) AS total, (array_agg(balance_after ORDER BY entry_id DESC))[1] AS last
    FROM billing.ledger AS l WHERE (l.customer_id, l.credit_type) = (b.customer_id, b.credit_type)) AS entries;
-- Later entries are never earlier.
SELECT bool_and(created_at >= before) AS in_order
FROM (SELECT created_at, lag(created_at) OVER (PARTITION BY customer_id, credit_type ORDER BY entry_id) AS before FROM billing.ledger) AS entries;
-- It is append-only, for superusers too; by whatever way they try.
UPDATE billing.ledger SET credits = 0;
DELETE FROM billing.ledger;
SET client_min_messages = warning;
TRUNCATE billing.ledger CASCADE;
\echo :LAST_ERROR_SQLSTATE
RESET client_min_messages;
SET session_replication_role = replica;
DELETE FROM billing.ledger;
RESET session_replication_role;
-- A balance below zero is impossible, whoever tries.
\set VERBOSITY terse
UPDATE billing.balances SET balance = -1;
\set VERBOSITY default

-- 12. A balance that is not what the transaction made it: nothing of the call is kept.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER meddle BEFORE UPDATE ON billing.balances FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT reason, balance FROM grant_credits('17', 1, 'meddled');
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER meddle ON billing.balances;
SELECT reason FROM grant_credits('17', 1, 'meddled');
