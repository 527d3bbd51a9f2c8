-- The application's own table of users: once it is named, whoever it does not know is unknown.
\pset null '(null)'
CREATE EXTENSION billing_rpc;

-- Supabase's auth.users: a table of another role, with row security and no policy.
CREATE ROLE golden_auth_admin;
CREATE SCHEMA auth AUTHORIZATION golden_auth_admin;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email varchar(255), secret_answer text, born date);
ALTER TABLE auth.users OWNER TO golden_auth_admin;
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
INSERT INTO auth.users (id, email) VALUES
    ('ada00000-0000-0000-0000-000000000000', 'Ada@Example.com'),
    ('b0b00000-0000-0000-0000-000000000000', 'bob@example.com'),
    ('cec11000-0000-0000-0000-000000000000', NULL);

-- 1. Naming it. Bad input is refused with 22023, and no word of it comes back. The name comes with its schema.
\set SHOW_CONTEXT never
SELECT billing.set_users_table('auth.people', 'id', 'email');
\echo :LAST_ERROR_SQLSTATE
SELECT billing.set_users_table('users', 'id', 'email');
SELECT billing.set_users_table('auth.users', 'uid', 'email');
SELECT billing.set_users_table('auth.users', 'born', 'email');
SELECT billing.set_users_table('auth.users', 'id', 'mail');
SELECT billing.set_users_table('auth.users', 'id', 'born');
SELECT billing.set_users_table('auth.users', NULL, 'email');
SELECT billing.set_users_table(NULL, 'id', 'email');
SELECT billing.set_users_table('auth.users; drop table auth.users', 'id', 'email');
\echo :LAST_ERROR_SQLSTATE
SELECT billing.set_users_table('auth.users', 'id', 'email');

-- Nothing was granted on the table: a view of whoever called reads it, and shows two columns.
SELECT has_table_privilege('billing_owner', 'auth.users', 'SELECT') AS owner_reads_table,
    has_table_privilege('billing_owner', 'billing.application_users', 'SELECT') AS owner_reads_view;
SELECT attname FROM pg_attribute WHERE attrelid = 'billing.application_users'::regclass AND attnum > 0 ORDER BY attnum;
SELECT grantee, privilege_type FROM information_schema.role_table_grants
WHERE table_name = 'application_users' AND grantee NOT IN ('postgres') ORDER BY 1, 2;

-- 2. A person of the table becomes a customer with the first applied call, as ever.
SELECT kind, found, detail FROM resolve_billing_user('ada00000-0000-0000-0000-000000000000');
SELECT reason, detail, balance FROM grant_credits('ada00000-0000-0000-0000-000000000000', 10, 'ada-1');
SELECT kind, found, user_id, email FROM resolve_billing_user('ada00000-0000-0000-0000-000000000000');

-- Nobody else does: strangers are unknown, integers and e-mails included.
SELECT identifier, reason, detail
FROM (VALUES ('dead0000-0000-0000-0000-000000000000'), ('7'), ('stranger@example.com'), ('cus_stranger')) AS given (identifier),
    LATERAL grant_credits(identifier, 10, 'stranger-1');
SELECT identifier, kind, found, detail
FROM (VALUES ('dead0000-0000-0000-0000-000000000000'), ('7'), ('stranger@example.com'), ('user_2abc')) AS given (identifier),
    LATERAL resolve_billing_user(identifier);
SELECT count(*) AS customers FROM billing.customers;

-- 3. An e-mail stands for the row that has it now, in any case of its letters.
SELECT reason, balance FROM grant_credits('ADA@example.com', 5, 'ada-2');
SELECT reason, balance FROM grant_credits('bob@example.com', 1, 'bob-1');
SELECT user_id, balance FROM billing.customers JOIN billing.balances USING (customer_id) ORDER BY user_id;
-- Bob takes over Ada's address. Her credits stay hers; the address is his.
UPDATE auth.users SET email = 'countess@example.com' WHERE id = 'ada00000-0000-0000-0000-000000000000';
UPDATE auth.users SET email = 'ada@example.com' WHERE id = 'b0b00000-0000-0000-0000-000000000000';
SELECT user_id, email FROM resolve_billing_user('ada@example.com');
SELECT user_id, email FROM resolve_billing_user('countess@example.com');
SELECT found, detail FROM resolve_billing_user('bob@example.com');
SELECT balance FROM credit_balance('ada@example.com');
-- A key used before, with the same words that now mean somebody else, is no replay.
SELECT reason, detail FROM grant_credits('ada@example.com', 5, 'ada-2');
SELECT reason, balance FROM grant_credits('countess@example.com', 5, 'ada-2');
-- Two rows with one address: it names nobody.
UPDATE auth.users SET email = 'ADA@EXAMPLE.COM' WHERE id = 'cec11000-0000-0000-0000-000000000000';
SELECT found, detail FROM resolve_billing_user('ada@example.com');
SELECT reason, detail FROM grant_credits('ada@example.com', 5, 'two-rows');
UPDATE auth.users SET email = NULL WHERE id = 'cec11000-0000-0000-0000-000000000000';

-- 4. Registering follows the same rule.
SELECT reason, detail, user_id, email FROM register_billing_user(user_id => 'dead0000-0000-0000-0000-000000000000');
SELECT reason, detail FROM register_billing_user(email => 'stranger@example.com', stripe_customer_id => 'cus_x');
SELECT reason, detail FROM register_billing_user(legacy_id => 7);
SELECT reason, user_id, stripe_customer_id
FROM register_billing_user(user_id => 'ada00000-0000-0000-0000-000000000000', stripe_customer_id => 'cus_ada');
-- The e-mail names the row that has it: Bob's id comes with it.
SELECT reason, user_id, stripe_customer_id FROM register_billing_user(email => 'ada@example.com', stripe_customer_id => 'cus_bob');
-- An e-mail and an id of two rows are a conflict.
SELECT reason, detail FROM register_billing_user(user_id => 'ada00000-0000-0000-0000-000000000000', email => 'ada@example.com');
-- A person of the table may have an integer of an older table, too, and is found by it.
SELECT reason, user_id, legacy_id FROM register_billing_user(user_id => 'ada00000-0000-0000-0000-000000000000', legacy_id => 7);
SELECT found, user_id FROM resolve_billing_user('7');
SELECT found, user_id FROM resolve_billing_user('cus_ada');

-- 5. Somebody leaves the table: unknown from now on. What was applied before is still a replay.
DELETE FROM auth.users WHERE id = 'ada00000-0000-0000-0000-000000000000';
SELECT identifier, found, detail
FROM (VALUES ('ada00000-0000-0000-0000-000000000000'), ('7'), ('countess@example.com')) AS given (identifier),
    LATERAL resolve_billing_user(identifier);
SELECT reason, detail FROM spend_credits('ada00000-0000-0000-0000-000000000000', 1, 'ada-3');
SELECT balance FROM credit_balance('ada00000-0000-0000-0000-000000000000');
SELECT reason, detail, balance FROM grant_credits('ada00000-0000-0000-0000-000000000000', 10, 'ada-1');

-- A checkout that names strangers only is nobody's; one whom the table knows is passed on to.
SELECT billing.add_webhook_secret('stripe', 'whsec_example') AS secret_id;
CREATE FUNCTION checkout(id text, parts jsonb) RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example'))
    FROM CAST(jsonb_build_object('id', 'evt_' || id, 'type', 'checkout.session.completed', 'data', jsonb_build_object('object',
        '{"mode": "payment", "payment_status": "paid", "metadata": {"credits": "3"}}' || jsonb_build_object('id', 'cs_' || id) || parts)) AS text) AS b
$$;
SELECT reason, detail FROM checkout('1', '{"client_reference_id": "dead0000-0000-0000-0000-000000000000", "customer_details": {"email": "stranger@example.com"}}');
SELECT reason, detail FROM checkout('2', '{"client_reference_id": "dead0000-0000-0000-0000-000000000000", "customer_details": {"email": "ada@example.com"}}');
SELECT reason, detail FROM checkout('3', '{"client_reference_id": "cec11000-0000-0000-0000-000000000000", "customer": "cus_cecil"}');
SELECT user_id, source_ref FROM billing.ledger JOIN billing.customers USING (customer_id) WHERE source_ref IS NOT NULL ORDER BY entry_id;

-- 6. A table whose ids are integers.
CREATE TABLE members (member_no int PRIMARY KEY, mail text);
INSERT INTO members VALUES (1, 'one@example.com'), (2, 'two@example.com');
SELECT billing.set_users_table('public.members', 'member_no', 'mail');
SELECT identifier, reason, detail, balance
FROM (VALUES ('1'), ('3'), ('2147483648'), ('TWO@example.com'), ('b0b00000-0000-0000-0000-000000000000')) AS given (identifier),
    LATERAL grant_credits(identifier, 1, 'member:' || identifier);
SELECT legacy_id, email FROM billing.customers WHERE legacy_id < 7 ORDER BY legacy_id;

-- 7. A table whose ids are text: external ids are on with it. No e-mail column is no e-mail.
CREATE TABLE accounts (account text PRIMARY KEY);
INSERT INTO accounts VALUES ('user_2abc'), ('42'), ('ada@example.org');
SELECT billing.set_users_table('public.accounts', 'account');
SELECT identifier, who.kind, did.reason, did.detail
FROM (VALUES ('user_2abc'), ('user_stranger'), ('42'), ('43'), ('ada@example.org'), ('two words')) AS given (identifier),
    LATERAL resolve_billing_user(identifier) AS who, LATERAL grant_credits(identifier, 1, 'account:' || identifier) AS did;
SELECT reason, external_id FROM register_billing_user(external_id => 'user_2abc', stripe_customer_id => 'cus_2abc');

-- 8. A view will do as well. All null takes the table away: everybody is welcome again.
CREATE VIEW staff AS SELECT account AS id FROM accounts WHERE account LIKE 'user%';
SELECT billing.set_users_table('public.staff', 'id');
SELECT found FROM resolve_billing_user('user_2abc');
SELECT billing.set_users_table();
SELECT reason, detail FROM grant_credits('99', 1, 'welcome');
SELECT billing.set_users_table();
SELECT to_regclass('billing.application_users') IS NULL AS gone;

-- 9. Only a superuser names it: nobody else may so much as call it.
SET ROLE billing_service;
SELECT billing.set_users_table('auth.users', 'id', 'email');
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA auth CASCADE;
DROP ROLE golden_auth_admin;
