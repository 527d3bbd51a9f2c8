-- Moving an existing application over: its balances, the events it has processed, the purchases it has credited.
\pset null '(null)'
\pset format unaligned
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SELECT billing.add_webhook_secret('stripe', 'whsec_golden') AS secret \gset
CREATE FUNCTION pg_temp.deliver(event text, event_type text, object jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s / %s, attempts %s', o.reason, coalesce(o.detail, o.result ->> 'detail'), o.attempts)
    FROM (SELECT jsonb_build_object('id', event, 'object', 'event', 'type', event_type, 'created', 1700000000, 'livemode', false,
              'data', jsonb_build_object('object', object))::text AS body) AS signed,
        process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_golden')) AS o
$$;
CREATE FUNCTION pg_temp.paid(event text, session text, payment text, user_id text, credits int) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.deliver(event, 'checkout.session.completed', jsonb_build_object('id', session, 'object', 'checkout.session',
        'mode', 'payment', 'payment_status', 'paid', 'payment_intent', payment, 'amount_total', 900, 'currency', 'eur',
        'metadata', jsonb_build_object('user_id', user_id, 'credits', credits)))
$$;

-- What there was before.
CREATE TABLE users (id bigint PRIMARY KEY, email text, credits_balance integer);
INSERT INTO users VALUES (1, 'ada@example.com', 100), (2, 'bob@example.com', 0), (3, 'cyd@example.com', -5), (4, 'dan@example.com', NULL);
CREATE TABLE stripe_events (event_id text, event_type text, processed_at timestamptz, processing_status text, error_message text);
INSERT INTO stripe_events VALUES
    ('evt_1', 'checkout.session.completed', '2026-01-02 03:04:05Z', 'completed', NULL),
    ('evt_2', 'checkout.session.completed', '2026-01-03 03:04:05Z', 'completed', NULL),
    ('evt_3', 'invoice.paid', NULL, 'failed', 'no such user'),
    ('evt_4', NULL, '2026-01-04 03:04:05Z', 'completed', NULL),
    ('evt_4', 'customer.created', NULL, 'pending', NULL),
    ('evt_5', 'customer.created', 'infinity', 'completed', NULL),
    (NULL, 'customer.created', '2026-01-04 03:04:05Z', 'completed', NULL),
    (' ', 'customer.created', '2026-01-04 03:04:05Z', 'completed', NULL);
CREATE TABLE credit_purchases (stripe_session_id text, user_id bigint, credits integer);
INSERT INTO credit_purchases VALUES ('cs_1', 1, 60), ('cs_1', 1, 60), ('stripe:pi_2', 1, 40), ('pi_2', 1, 40), ('T100200', 2, 5), ('in_1#gold', 2, 5),
    ('ch_3', 2, 5), ('sub_1', 2, 5), ('cs_4 ', 2, 5), (NULL, 2, 5);

-- 1. Balances. A dry run, which is the default, tells what would become of every row and writes nothing.
\x
SELECT * FROM billing.adopt_balances('public.users', 'id', 'credits_balance');
SELECT count(*) AS customers FROM billing.customers;
SELECT * FROM billing.adopt_balances('public.users', 'id', 'credits_balance', dry_run => false);
\x
-- Each is one entry of kind adjustment, made once, whatever becomes of the table afterwards.
SELECT c.legacy_id, e.kind, e.credits, e.balance_after, e.credit_type, e.metadata, e.idempotency_key = format('billing_rpc:adopt:balance:%s:credits', c.customer_id) AS own_key
FROM billing.ledger e JOIN billing.customers c USING (customer_id) ORDER BY 1;
UPDATE users SET credits_balance = 999 WHERE id = 1;
UPDATE users SET credits_balance = 15 WHERE id IN (3, 4);
SELECT rows, adopted, already, changed, negatives, nulls, sum_rows, sum_adopted, sum_already, examples FROM billing.adopt_balances('public.users', 'id', 'credits_balance', dry_run => false);
SELECT rows, adopted, already, changed, sum_rows, sum_adopted, sum_already FROM billing.adopt_balances('public.users', 'id', 'credits_balance', dry_run => false);
SELECT balance, available FROM credit_balance('1');
-- Renamed, or seen through a view: the same people, and so the same books.
ALTER TABLE users RENAME COLUMN credits_balance TO coins;
ALTER TABLE users RENAME TO members;
CREATE SCHEMA old;
CREATE VIEW old.members AS SELECT id::text AS "The Id", coins::numeric / 1 AS "its %I" FROM members;
SELECT rows, adopted, already FROM billing.adopt_balances('old.members', 'The Id', 'its %I', dry_run => false);
-- Another type of credits is another balance.
SELECT rows, adopted, already FROM billing.adopt_balances('public.members', 'id', 'coins', 'coins', false);
SELECT balance FROM credit_balance('1', 'coins');
-- It adds to what the customer has here by then, expiring credits and holds included.
SELECT reason, balance FROM grant_credits('90', 30, 'welcome');
SELECT reason, balance FROM grant_credits('91', 30, 'expired', expires_at => '2000-01-01');
SELECT reason FROM grant_credits('92', 30, 'lot', expires_at => '2100-01-01');
SELECT reason FROM hold_credits('92', 10, 'hold');
SELECT reason FROM grant_credits('93', 9223372036854775807, 'much');
CREATE TABLE latecomers (id integer, credits bigint);
INSERT INTO latecomers VALUES (90, 7), (91, 7), (92, 7), (93, 7);
SELECT rows, adopted, malformed, remaining, sum_adopted FROM billing.adopt_balances('public.latecomers', 'id', 'credits', dry_run => false);
SELECT who, b.balance, b.held, b.available FROM unnest('{90, 91, 92, 93}'::text[]) AS who, credit_balance(who) AS b ORDER BY 1;

-- 2. Whoever is no user, whoever is several rows and whatever is no number is left out, and named.
CREATE TABLE accounts (who text, amount numeric);
INSERT INTO accounts VALUES ('200', 5), ('{00000000-0000-0000-0000-0000000000aa}', 1), ('00000000-0000-0000-0000-0000000000AA', 2), ('Eve@Example.com', 3),
    ('eve@example.com', 4), ('fay@example.com', 6), ('gus@example.com', 1.5), ('hal@example.com', 'NaN'), ('ida@example.com', 'Infinity'),
    ('jon@example.com', 9223372036854775808), ('kim@example.com', 9223372036854775807), ('lou@example.com', -1), ('max@example.com', NULL),
    (NULL, 1), ('', 1), (' 7', 1), ('{{user_id}}', 1), ('user_2abc', 1), ('cus_unknown', 1);
\x
SELECT * FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false);
\x
-- Every row is counted once.
SELECT rows = adopted + already + users_not_found + duplicates + nulls + negatives + malformed + remaining AS all_counted
FROM billing.adopt_balances('public.accounts', 'who', 'amount');
-- Mended, a further run adopts just those.
DELETE FROM accounts WHERE who = 'Eve@Example.com';
UPDATE accounts SET amount = 1 WHERE who = 'gus@example.com';
SELECT adopted, already, duplicates, sum_adopted FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false);
-- One person by two names is two rows of one person, and neither is adopted.
SELECT reason FROM register_billing_user(legacy_id => 300, email => 'ned@example.com');
TRUNCATE accounts;
INSERT INTO accounts VALUES ('300', 5), ('ned@example.com', 5);
SELECT adopted, duplicates, examples FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false);

-- Any relation will do, of any schema, and any type over a good one; of a table with row security the caller sees what it shows them.
CREATE DOMAIN old.coins AS bigint CHECK (VALUE < 1000);
CREATE TABLE old.parts (id char(4), coins old.coins) PARTITION BY LIST (id);
CREATE TABLE old.part PARTITION OF old.parts DEFAULT;
ALTER TABLE old.parts ENABLE ROW LEVEL SECURITY;
INSERT INTO old.parts VALUES ('501', 1), ('502', 2);
CREATE MATERIALIZED VIEW old.kept AS SELECT id::int + 10 AS id, coins::smallint FROM old.parts;
SELECT rows, adopted, sum_adopted FROM billing.adopt_balances('old.parts', 'id', 'coins', dry_run => false);
SELECT rows, adopted, sum_adopted FROM billing.adopt_balances('old.kept', 'id', 'coins', dry_run => false);
CREATE TABLE old.empty (id uuid, coins int);
SELECT rows, adopted, sum_rows, sum_adopted, examples FROM billing.adopt_balances('old.empty', 'id', 'coins', dry_run => false);
-- A row that cannot be read ends the call, and nothing of it is done.
CREATE VIEW old.broken AS SELECT id, coins / (id::int - 502) AS coins FROM old.parts;
SELECT rows FROM billing.adopt_balances('old.broken', 'id', 'coins', 'broken', false);
SELECT count(*) FROM billing.balances WHERE credit_type = 'broken';

-- 3. In batches: so many in a call, until nothing remains.
TRUNCATE accounts;
INSERT INTO accounts SELECT n::text, n FROM generate_series(1001, 1007) AS n;
SELECT adopted, already, remaining, sum_rows, sum_adopted FROM billing.adopt_balances('public.accounts', 'who', 'amount', max_rows => 3);
SELECT adopted, already, remaining, sum_adopted FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false, max_rows => 3);
SELECT adopted, already, remaining, sum_adopted FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false, max_rows => 3);
SELECT adopted, already, remaining, sum_adopted FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false, max_rows => 3);
SELECT adopted, already, remaining, sum_rows, sum_already FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false, max_rows => 3);

-- 4. Where the application's users are known, nobody else is adopted; an e-mail stands for the row that has it now.
CREATE TABLE app_users (id uuid PRIMARY KEY, mail text);
INSERT INTO app_users VALUES ('ada00000-0000-0000-0000-000000000000', 'Ada@App.example'), ('b0b00000-0000-0000-0000-000000000000', 'bob@app.example');
SELECT billing.set_users_table('public.app_users', 'id', 'mail') AS named \gset
TRUNCATE accounts;
INSERT INTO accounts VALUES ('ada@app.example', 10), ('b0b00000-0000-0000-0000-000000000000', 20), ('nobody@app.example', 30), ('ccc00000-0000-0000-0000-000000000000', 40);
SELECT adopted, users_not_found, sum_adopted, examples FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false);
SELECT user_id, email FROM billing.customers WHERE user_id IS NOT NULL AND user_id::text !~ '^0000' ORDER BY 1;
SELECT billing.set_users_table() AS named \gset

-- 5. Customers who were merged have one balance each in the old books, and all of it is adopted.
TRUNCATE accounts;
INSERT INTO accounts VALUES ('401', 10), ('guest@example.com', 20);
SELECT adopted FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false);
SELECT reason FROM resolve_billing_user('guest@example.com') AS g, resolve_billing_user('401') AS p, billing.merge_customers(g.customer_id, p.customer_id);
SELECT adopted, already, changed, duplicates, sum_already FROM billing.adopt_balances('public.accounts', 'who', 'amount', dry_run => false);
SELECT balance FROM credit_balance('guest@example.com');

-- 6. Events. Side by side with the old handler, they are recorded here; the old handler has processed evt_1, evt_2, evt_4 and evt_5.
SET billing_rpc.webhook_mode = record;
SELECT pg_temp.paid('evt_1', 'cs_1', 'pi_1', '1', 60);
SELECT pg_temp.paid('evt_6', 'cs_6', 'pi_6', '1', 7);
SET billing_rpc.webhook_mode = process;
SELECT reason FROM claim_stripe_event('evt_2', 'checkout.session.completed');
\x
SELECT * FROM billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processed_at');
SELECT * FROM billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processed_at', dry_run => false);
\x
SELECT event_id, event_type, status, attempts, received_at = processed_at AS here_since, processed_at < now() - interval '1 day' AS long_ago, payload IS NOT NULL AS body, result, payload_summary
FROM billing.webhook_events WHERE status = 'completed' ORDER BY 1;
-- Delivered again, they have no effect.
SELECT pg_temp.paid('evt_1', 'cs_1', 'pi_1', '1', 60);
SELECT reason, result ->> 'detail' AS detail FROM claim_stripe_event('evt_5', 'customer.created');
-- A worker's claim keeps its event until it ends or its lease runs out; who comes back later has lost it.
UPDATE billing.webhook_events SET lease_until = now() - interval '1 second' WHERE event_id = 'evt_2';
SELECT claim_token AS token FROM billing.webhook_events WHERE event_id = 'evt_2' \gset
SELECT adopted, already, in_progress FROM billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processed_at', dry_run => false);
SELECT reason, detail FROM complete_stripe_event('evt_2', :'token');
-- Failed and dead ones are settled too. A boolean column will do, a type is not needed.
SELECT pg_temp.paid('evt_7', 'cs_7', 'pi_7', 'nobody', 7);
SELECT pg_temp.paid('evt_8', 'cs_8', 'pi_8', 'nobody', 7);
UPDATE billing.webhook_events SET status = 'dead', next_attempt_at = NULL WHERE event_id = 'evt_8';
CREATE VIEW handled AS SELECT e::varchar(50) AS id, d AS done FROM (VALUES ('evt_7', true), ('evt_8', true), ('evt_9', false), ('evt_10', NULL)) AS v (e, d);
SELECT rows, adopted, not_processed FROM billing.adopt_stripe_events('public.handled', 'id', NULL, 'done', dry_run => false);
SELECT event_id, event_type, status, error_detail, next_attempt_at, payload FROM billing.webhook_events WHERE event_id IN ('evt_7', 'evt_8') ORDER BY 1;
-- In batches.
CREATE VIEW many_events AS SELECT 'evt_m' || n AS id, now() AS done FROM generate_series(1, 5) AS n;
SELECT adopted, already, remaining FROM billing.adopt_stripe_events('public.many_events', 'id', NULL, 'done', max_rows => 3);
SELECT adopted, already, remaining FROM billing.adopt_stripe_events('public.many_events', 'id', NULL, 'done', false, 3);
SELECT adopted, already, remaining FROM billing.adopt_stripe_events('public.many_events', 'id', NULL, 'done', false, 3);

-- 7. Sources.
\x
SELECT * FROM billing.adopt_sources('public.credit_purchases', 'stripe_session_id');
SELECT * FROM billing.adopt_sources('public.credit_purchases', 'stripe_session_id', dry_run => false);
\x
SELECT adopted, already FROM billing.adopt_sources('public.credit_purchases', 'stripe_session_id', dry_run => false);
-- Whoever credits them again is told, and sees nobody's entry: it belongs to a customer whom nothing names.
SELECT reason, detail, credits, balance, credit_type, customer_id FROM apply_credit_purchase('2', 60, 'again', stripe_session_id => 'cs_1');
SELECT reason, detail FROM apply_credit_purchase('2', 60, 'again', source_ref => 'stripe:pi_2');
SELECT reason, detail FROM apply_credit_purchase('2', 60, 'again', source_ref => 'paystack:T100200');
SELECT reason, detail, credits FROM apply_credit_batch('[{"op": "purchase", "user_id": "2", "credits": 60, "idempotency_key": "again", "stripe_session_id": "cs_1"}]');
-- A session and its payment are one fact: it is enough that one of them was adopted.
SELECT pg_temp.paid('evt_20', 'cs_1', 'pi_20', '2', 60);
SELECT pg_temp.paid('evt_21', 'cs_21', 'pi_2', '2', 60);
SELECT reason, detail FROM apply_credit_purchase('2', 60, 'again', source_ref => 'stripe:pi_20');
SELECT reason, detail FROM apply_credit_purchase('2', 60, 'again', stripe_session_id => 'cs_21');
-- And one that was credited here is not adopted beside that.
SELECT pg_temp.paid('evt_22', 'cs_22', 'pi_22', '2', 60);
CREATE VIEW more_sources AS SELECT s FROM unnest('{cs_22, pi_22, pi_23, cs_24, pi_25}'::text[]) AS s;
SELECT adopted, already, remaining FROM billing.adopt_sources('public.more_sources', 's', max_rows => 2);
SELECT adopted, already, remaining FROM billing.adopt_sources('public.more_sources', 's', false, 2);
SELECT adopted, already, remaining FROM billing.adopt_sources('public.more_sources', 's', false, 2);
SELECT source_ref, credits FROM billing.ledger WHERE source_ref ~ '_2[2-5]$' ORDER BY 1;
-- A refund of an adopted purchase takes nothing: what was bought is part of the adopted balance. It is taken back by hand.
SELECT pg_temp.deliver('evt_30', 'charge.refunded', '{"id": "ch_2", "payment_intent": "pi_2", "amount": 900, "amount_refunded": 900}');
SELECT pg_temp.deliver('evt_31', 'charge.refunded', '{"id": "ch_1", "payment_intent": "pi_1", "amount": 900, "amount_refunded": 900}');
SELECT reason, credits FROM spend_credits('1', 60, 'refund of pi_1');
-- Nobody is the customer of adopted sources, and nobody becomes it.
SELECT detail FROM resolve_billing_user('ad097ed0-0000-8000-8000-000000000000');
SELECT reason FROM billing.forget_customer('ad097ed0-0000-8000-8000-000000000000');
SELECT billing.merge_customers(r.customer_id, 'ad097ed0-0000-8000-8000-000000000000') FROM resolve_billing_user('1') AS r;
SELECT billing.merge_customers('ad097ed0-0000-8000-8000-000000000000', r.customer_id) FROM resolve_billing_user('1') AS r;
SELECT billing.move_identifier('1', 'ad097ed0-0000-8000-8000-000000000000');

-- 8. Side by side to the end: what the old handler has not processed is processed here, and nothing twice.
SELECT event_id, reason, detail, result ->> 'credits' AS credits FROM retry_webhook_events() ORDER BY 1;
SELECT pg_temp.paid('evt_6', 'cs_6', 'pi_6', '1', 7);
SELECT * FROM billing.reconcile();
SELECT credit_type, balance FROM billing.credit_totals ORDER BY 1;
-- Adopted sources are entries of nobody, whom no total and no list counts.
SELECT DISTINCT credit_type FROM billing.customer_credits ORDER BY 1;
SELECT billing.metrics() ~ 'adopted_sources' AS told,
    substring(billing.metrics(), 'billing_rpc_customers (\d+)')::bigint - count(*) AS counted_too_many
FROM billing.customers WHERE customer_id <> 'ad097ed0-0000-8000-8000-000000000000';

-- A name without a schema is found in public.
SELECT rows FROM billing.adopt_balances('members', 'id', 'coins');

-- 9. Bad input is refused with 22023, and no word of it comes back.
SELECT billing.adopt_balances('public.nothing', 'id', 'coins');
\echo :LAST_ERROR_SQLSTATE
SELECT billing.adopt_balances('public.members; DROP TABLE members', 'id', 'coins');
SELECT billing.adopt_balances();
SELECT billing.adopt_balances('public.members', 'nothing', 'coins');
SELECT billing.adopt_balances('public.members', 'id', 'nothing');
SELECT billing.adopt_balances('public.members', NULL, NULL);
SELECT billing.adopt_balances('public.members', 'id', 'email');
SELECT billing.adopt_balances('public.stripe_events', 'processed_at', 'event_id');
SELECT billing.adopt_balances('public.members', 'id', 'coins', '');
SELECT billing.adopt_balances('public.members', 'id', 'coins', repeat('x', 64));
SELECT billing.adopt_balances('public.members', 'id', 'coins', max_rows => 0);
SELECT billing.adopt_stripe_events();
SELECT billing.adopt_stripe_events('public.stripe_events', 'id', 'event_type', 'processed_at');
SELECT billing.adopt_stripe_events('public.stripe_events', 'event_id', 'processed_at', 'processed_at');
SELECT billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processing_status');
SELECT billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', NULL);
SELECT billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processed_at', max_rows => -1);
SELECT billing.adopt_sources();
SELECT billing.adopt_sources('public.credit_purchases', 'user_id');
SELECT billing.adopt_sources('public.credit_purchases', 'stripe_session_id', max_rows => 0);
\echo :LAST_ERROR_SQLSTATE
-- What writes is called with rows that were read; by hand it does no more than that.
SELECT billing.adopt_balance_rows('{person:7001, customer:00000000-0000-0000-0000-000000000000, person:cus_7, seven, NULL, person:7001}', '{1, 1, 1, 1, 1, 1}');
SELECT billing.adopt_balance_rows('{person:7001, person:7002}', '{5, 6}');
SELECT billing.adopt_balance_rows('{person:7003}', '{-1}');
SELECT billing.adopt_balance_rows('{person:7003}', '{}');
SELECT billing.adopt_event_rows('{evt_70, evt_70, NULL}', '{a, b, c}', '{2026-01-01, NULL, NULL}');
SELECT billing.adopt_event_rows('{evt_70}', '{}', '{}');
SELECT billing.adopt_source_rows('{cs_70, stripe:cs_70, cs_71, "", NULL}', max_rows => 1);
SELECT billing.adopt_balance_rows(), billing.adopt_event_rows(), billing.adopt_source_rows();
-- An explicit null reads as the default: a dry run, of credits.
SELECT dry_run, rows, already FROM billing.adopt_balances('public.members', 'id', 'coins', NULL, NULL, NULL);
-- A relation is read with the rights of whoever calls.
CREATE ROLE golden_adopter;
GRANT USAGE ON SCHEMA billing TO golden_adopter;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA billing TO golden_adopter;
SET ROLE golden_adopter;
SELECT billing.adopt_balances('public.members', 'id', 'coins');
SELECT billing.adopt_sources('billing.ledger', 'source_ref');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT SELECT ON members TO golden_adopter;
SET ROLE golden_adopter;
SELECT rows, adopted, already FROM billing.adopt_balances('public.members', 'id', 'coins', dry_run => false);
RESET ROLE;
