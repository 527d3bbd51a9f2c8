-- What end users may ask about themselves: my_credits, my_credit_history, has_credits. Who they are comes from the
-- sub of the request's token and from nothing else.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SELECT reason FROM register_billing_user(user_id => 'ada00000-0000-0000-0000-000000000000', email => 'ada@example.com', stripe_customer_id => 'cus_ada');
SELECT reason, balance FROM grant_credits('ada@example.com', 100, 'gift');
SELECT reason, balance FROM grant_credits('ada@example.com', 5, 'gone', expires_at => '2000-01-01');
SELECT reason, balance FROM grant_credits('ada@example.com', 7, 'gold', credit_type => 'gold');
SELECT reason, balance FROM spend_credits('ada@example.com', 10, 'spend');
SELECT reason, available FROM hold_credits('ada@example.com', 20, 'hold');
SELECT reason, balance FROM grant_credits('8', 1000, 'of another');
SELECT reason FROM register_billing_user(legacy_id => 9);

-- 1. A user sees what a server sees of them.
SET ROLE billing_user;
SET request.jwt.claims = '{"sub": "ada00000-0000-0000-0000-000000000000", "role": "authenticated", "email": "eve@example.com"}';
SELECT credit_type, balance, held, available, next_expiry_at FROM my_credits();
SELECT credit_type, balance, available FROM my_credits('gold');
SELECT kind, credits, balance, idempotency_key FROM my_credit_history();
SELECT kind, credits, balance FROM my_credit_history(credit_type => 'gold');
RESET ROLE;
SELECT (SELECT c FROM my_credits() c) = (SELECT c FROM credit_balance('ada@example.com') c) AS credits,
    (SELECT array_agg(h) FROM my_credit_history() h) = (SELECT array_agg(h) FROM credit_history('ada@example.com') h) AS history;
SET ROLE billing_user;
-- By pages.
SELECT entry_id AS last FROM my_credit_history(1) \gset
SELECT count(*) AS all, count(*) FILTER (WHERE entry_id < :last) AS before_last FROM my_credit_history();
SELECT count(*), bool_and(entry_id < :last) FROM my_credit_history(before_entry_id => :last);
-- Available: neither held nor expired.
SELECT has_credits(70) AS just, has_credits(71) AS too_many, has_credits(7, 'gold') AS gold, has_credits(8, 'gold') AS too_many_gold, has_credits(1, 'silver') AS silver;

-- 2. Bad input: nulls, no rows, false. An explicit null is the default.
SELECT balance, available FROM my_credits(NULL);
SELECT left(given, 12) AS credit_type, length(given), balance, has_credits(1, given), (SELECT count(*) FROM my_credit_history(credit_type => given)) AS entries
FROM (VALUES (''), (' '), (repeat('x', 63)), (repeat('x', 64)), (repeat('x', 1000000)), ('no such type')) AS v (given), my_credits(given);
SELECT has_credits() AS missing, has_credits(NULL) AS of_null, has_credits(0) AS of_zero, has_credits(-1) AS of_less, has_credits(9223372036854775807) AS of_most, has_credits(-9223372036854775808) AS of_least;
SELECT given, (SELECT count(*) FROM my_credit_history(given)) AS entries FROM (VALUES (NULL), (0), (-1), (1), (2147483647), (-2147483648)) AS v (given);
SELECT given, (SELECT count(*) FROM my_credit_history(10, given)) AS entries FROM (VALUES (NULL), (0), (-1), (9223372036854775807), (-9223372036854775808)) AS v (given);

-- 3. Somebody without entries has 0, somebody unknown has nothing.
SET request.jwt.claims = '{"sub": "9"}';
SELECT credit_type, balance, available, has_credits(1) FROM my_credits();
SET request.jwt.claims = '{"sub": "4711"}';
SELECT balance, has_credits(1), (SELECT count(*) FROM my_credit_history()) AS entries FROM my_credits();

-- 4. Whatever else a token may hold is nobody. (Claims as PostgREST 10 and later sets them, then the single claim of older ones.)
RESET ROLE;
SELECT reason, status FROM apply_subscription_update('{"id": "sub_8", "customer": "cus_8", "status": "active", "metadata": {"user_id": "8"}}', '2026-01-01Z');
CREATE FUNCTION asked(setting text, token text, OUT balance bigint, OUT has boolean, OUT entries bigint, OUT subscription text, OUT active boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config(setting, token, false);
    SELECT c.balance, has_credits(1), (SELECT count(*) FROM my_credit_history()), (my_subscription()).subscription_id, has_active_subscription()
        INTO balance, has, entries, subscription, active FROM my_credits() c;
END $$;
SET ROLE billing_user;
SELECT claims, asked.* FROM (VALUES
    ('{"sub": "8"}'),
    ('none'), ('{'), ('{"sub": "8"'), ('"8"'), ('8'), ('null'), ('true'), ('[]'), ('["8"]'), ('[{"sub": "8"}]'), ('{"sub": "8"} {}'),
    ('{}'), ('{"sub": null}'), ('{"sub": 8}'), ('{"sub": 8.0}'), ('{"sub": true}'), ('{"sub": ["8"]}'), ('{"sub": {"sub": "8"}}'),
    ('{"sub": ""}'), ('{"sub": " "}'), ('{"sub": " 8"}'), ('{"sub": "8\n"}'), ('{"sub": "08x"}'), ('{"sub": "0"}'), ('{"sub": "-8"}'), ('{"sub": "8.0"}'), ('{"sub": "8\u0000"}'), ('{"sub": "\ud800"}'),
    ('{"sub": "ada@example.com"}'), ('{"sub": "cus_ada"}'), ('{"sub": "CUS_ada"}'), ('{"sub": "null"}'), ('{"sub": "undefined"}'), ('{"sub": "{{sub}}"}'), ('{"sub": "<sub>"}'), ('{"sub": "user_2abc"}'),
    ('{"SUB": "8"}'), ('{"Sub": "8"}'), ('{"user_id": "8"}'), ('{"email": "ada@example.com"}'), ('{"user_metadata": {"sub": "8"}}')
) AS given (claims), asked('request.jwt.claims', claims);
SELECT asked.* FROM asked('request.jwt.claims', '{"sub": "' || repeat('8', 1000000) || '"}');
-- These are somebody: another form of the same id, other white space, a character written as an escape.
SELECT claims, balance FROM (VALUES ('{"sub": "{ADA00000-0000-0000-0000-000000000000}"}'), ('	{ "aud": "x", "sub" : "\u0038" } ')) AS given (claims), asked('request.jwt.claims', claims);

-- 5. Both settings: the claims decide, also where they are about nobody. An empty text, as the setting is left after the
-- transaction that set it, is no claims.
SET request.jwt.claims = '{"sub": "8"}';
SET request.jwt.claim.sub = '9';
SELECT balance FROM my_credits();
SET request.jwt.claims = '{}';
SELECT balance FROM my_credits();
SET request.jwt.claims = 'none';
SELECT balance FROM my_credits();
SET request.jwt.claims = '';
SELECT balance FROM my_credits();
SET request.jwt.claim.sub = '8';
SELECT balance FROM my_credits();
SELECT sub, asked.* FROM (VALUES ('8'), (''), (' '), ('ada@example.com'), ('cus_ada'), ('null'), ('{"sub": "8"}'), ('"8"')) AS given (sub), asked('request.jwt.claim.sub', sub);
\c
SET ROLE billing_user;
SELECT current_setting('request.jwt.claims', true) AS never_set, balance, has_credits(1) FROM my_credits();
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "8"}';
SELECT balance FROM my_credits();
COMMIT;
SELECT current_setting('request.jwt.claims', true) AS left_empty, balance, has_credits(1) FROM my_credits();

-- 6. They write nothing: a transaction that may only read will do, and nobody was made by asking.
BEGIN READ ONLY;
SET LOCAL request.jwt.claims = '{"sub": "8"}';
SELECT balance, has_credits(1000), (SELECT count(*) FROM my_credit_history()) AS entries FROM my_credits();
COMMIT;
RESET ROLE;
SELECT count(*) AS customers FROM billing.customers;
-- Others may not ask.
CREATE ROLE end_users_visitor;
SET ROLE end_users_visitor;
SELECT my_credits();
SELECT has_credits(1);
SELECT my_credit_history();
SELECT billing.current_customer_id();
RESET ROLE;
DROP ROLE end_users_visitor;

-- 7. In a policy, as a subselect: called once for a query, whatever the number of rows.
CREATE TABLE renderings (rendering_id int);
INSERT INTO renderings SELECT generate_series(1, 1000);
ALTER TABLE renderings ENABLE ROW LEVEL SECURITY;
CREATE POLICY solvent ON renderings FOR SELECT TO billing_user USING ((SELECT has_credits(50)));
GRANT SELECT ON renderings TO billing_user;
SET track_functions = 'all';
SET ROLE billing_user;
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "8"}';
SELECT count(*) FROM renderings;
SELECT pg_stat_get_xact_function_calls('has_credits(bigint, text)'::regprocedure) AS calls;
COMMIT;
BEGIN;
SET LOCAL request.jwt.claims = '{"sub": "9"}';
SELECT count(*) FROM renderings;
COMMIT;
RESET ROLE;

-- 8. Where the application's users are known, who has left is nobody.
CREATE TABLE members (id bigint PRIMARY KEY);
INSERT INTO members VALUES (8);
SELECT billing.set_users_table('public.members', 'id');
SET ROLE billing_user;
SET request.jwt.claims = '{"sub": "8"}';
SELECT balance, has_credits(1) FROM my_credits();
RESET ROLE;
DELETE FROM members;
SET ROLE billing_user;
SELECT balance, has_credits(1) FROM my_credits();
