-- The application's old column of balances, kept in step for code that still reads it.
\pset null '(null)'
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
CREATE ROLE golden_app;
CREATE TABLE users (id bigint PRIMARY KEY, email text, credits_balance integer CHECK (credits_balance <= 1000), changed_by text);
ALTER TABLE users OWNER TO golden_app;
INSERT INTO users VALUES (1, 'ada@example.com', 100), (2, 'bob@example.com', 0), (3, 'cyd@example.com', -5);

-- 1. What is not adopted yet would be written over: refused.
SELECT billing.mirror_balances('public.users', 'id', 'credits_balance');
\echo :LAST_ERROR_SQLSTATE
SELECT adopted, negatives FROM billing.adopt_balances('public.users', 'id', 'credits_balance', dry_run => false);
SELECT billing.mirror_balances('public.users', 'id', 'credits_balance');
SELECT credit_type, relation, user_column, balance_column, ended_at FROM billing.balance_mirrors;

-- 2. Every change is there at once, and gone with its transaction. What is held is not available.
SELECT reason, balance FROM apply_credit_purchase('1', 50, 'order-1');
SELECT reason, balance FROM spend_credits('1', 20, 'use-1');
SELECT reason, available FROM hold_credits('1', 30, 'hold-1');
SELECT id, credits_balance FROM users ORDER BY id;
BEGIN;
SELECT reason, balance FROM spend_credits('1', 100, 'use-2');
SELECT credits_balance FROM users WHERE id = 1;
ROLLBACK;
SELECT credits_balance FROM users WHERE id = 1;
-- A batch writes all at once; who has no row in the table is passed over.
SELECT reason, balance FROM apply_credit_batch('[{"op": "grant", "user_id": "1", "credits": 1, "idempotency_key": "b1"},
    {"op": "grant", "user_id": "2", "credits": 2, "idempotency_key": "b2"}, {"op": "grant", "user_id": "9", "credits": 9, "idempotency_key": "b9"}]');
SELECT id, credits_balance FROM users ORDER BY id;
-- Other types of credits are not mirrored there.
SELECT reason, balance FROM grant_credits('1', 5, 'bonus', 'bonus');
SELECT credits_balance FROM users WHERE id = 1;

-- 3. It is written with the rights of the table's owner, and of nobody else.
CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed_by := current_user; RETURN NEW; END $$;
CREATE TRIGGER who BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note_who();
SELECT reason FROM grant_credits('2', 1, 'who');
SELECT id, credits_balance, changed_by FROM users WHERE id = 2;
SELECT count(*) AS may_write FROM pg_proc p, LATERAL aclexplode(p.proacl) a
WHERE p.proname ~ '^mirror_[0-9a-f]{16}$' AND pg_get_userbyid(a.grantee) NOT IN ('golden_app', 'billing_owner');

-- 4. What cannot be written stops nobody: the balance changes, with a warning.
SELECT reason, balance FROM grant_credits('1', 5000, 'too much for the check');
ALTER TABLE users RENAME COLUMN credits_balance TO coins;
SELECT reason, balance FROM grant_credits('2', 1, 'no such column');
SELECT id, coins FROM users ORDER BY id;
SELECT * FROM billing.reconcile();
-- Named again, it goes on; what was missed comes with the next change.
SELECT billing.mirror_balances('public.users', 'id', 'coins');
SELECT reason, balance FROM grant_credits('2', 1, 'renamed');
SELECT id, coins FROM users ORDER BY id;

-- 5. What a mirror wrote is no opening balance.
INSERT INTO users VALUES (9, 'new@example.com', 9);
SELECT adopted FROM billing.adopt_balances('public.users', 'id', 'coins');
SELECT adopted FROM billing.adopt_balances('public.users', 'id', 'coins', dry_run => false);
\echo :LAST_ERROR_SQLSTATE

-- 6. Text columns hold ids of any kind, or e-mails.
SET billing_rpc.external_ids = on;
CREATE TABLE accounts (name varchar(99) PRIMARY KEY, coins numeric);
INSERT INTO accounts VALUES ('user_2abc', 0), ('ada@example.com', 0), ('aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee', 0);
SELECT adopted FROM billing.adopt_balances('public.accounts', 'name', 'coins', 'coins', false);
SELECT billing.mirror_balances('public.accounts', 'name', 'coins', 'coins');
SELECT reason FROM grant_credits('user_2abc', 1, 'a', 'coins');
SELECT reason FROM grant_credits('ada@example.com', 2, 'b', 'coins');
SELECT reason FROM grant_credits('{AAAAAAAABBBB4CCC8DDDEEEEEEEEEEEE}', 3, 'c', 'coins');
SELECT * FROM accounts ORDER BY coins;
RESET billing_rpc.external_ids;

-- 7. Taken away.
SELECT billing.mirror_balances();
SELECT reason, balance FROM grant_credits('2', 100, 'unseen');
SELECT coins FROM users WHERE id = 2;
SELECT credit_type, ended_at IS NOT NULL AS ended FROM billing.balance_mirrors ORDER BY 1;
SELECT billing.mirror_balances(credit_type => 'coins');
SELECT count(*) AS left_over FROM pg_proc WHERE proname ~ '^mirror_[0-9a-f]{16}$';
SELECT billing.mirror_balances();

-- 8. Bad input is refused with 22023.
CREATE VIEW seen AS SELECT * FROM users;
SELECT billing.mirror_balances('public.nothing', 'id', 'coins');
SELECT billing.mirror_balances('public.seen', 'id', 'coins');
SELECT billing.mirror_balances('public.users', 'nothing', 'coins');
SELECT billing.mirror_balances('public.users', 'id', 'email');
SELECT billing.mirror_balances(NULL, 'id', 'coins');
SELECT billing.mirror_balances('public.users', 'id', 'coins', ' ');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE users, accounts CASCADE;
DROP ROLE golden_app;
