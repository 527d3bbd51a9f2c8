-- The books are not dropped by one word: with rows in the ledger, the webhook events or the payments, whatever would
-- take the extension along is refused. Each attempt is the first thing that its session does (\c).
\pset null '(null)'
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE SCHEMA api;
CREATE EXTENSION billing_rpc SCHEMA api;

-- 1. Without a row in the three it goes as any extension goes, and leaves no event trigger behind.
SELECT billing.define_pack('starter', 100, 900, 'eur') AS defined;
SELECT evtname, evtevent, evtenabled, evttags FROM pg_event_trigger;
\c
DROP EXTENSION billing_rpc;
SELECT evtname FROM pg_event_trigger;

-- 2. One row in any one of them is enough.
CREATE EXTENSION billing_rpc SCHEMA api;
SELECT reason FROM api.grant_credits('7', 10, 'gift');
\c
DROP EXTENSION billing_rpc;
\c
DROP EXTENSION billing_rpc CASCADE;
SET billing_rpc.allow_drop = on;
DROP EXTENSION billing_rpc;
\c
CREATE EXTENSION billing_rpc SCHEMA api;
SELECT reason FROM api.claim_stripe_event('evt_1', 'invoice.paid');
\c
DROP EXTENSION billing_rpc;
SET billing_rpc.allow_drop = on;
DROP EXTENSION billing_rpc;
\c
CREATE EXTENSION billing_rpc SCHEMA api;
SELECT billing.define_plan('monthly', 500, 'ngn', 'month') AS defined;
SELECT reason FROM api.start_subscription_payment('ref_1', '7', 'monthly', 500, 'ngn');
\c
DROP EXTENSION billing_rpc;
SET billing_rpc.allow_drop = on;
DROP EXTENSION billing_rpc;
\c
-- A row of the very transaction that drops counts as well.
BEGIN;
CREATE EXTENSION billing_rpc SCHEMA api;
SELECT reason FROM api.grant_credits('7', 10, 'gift');
DROP EXTENSION billing_rpc;
ROLLBACK;

-- 3. Nor along with anything else: its schema, the language of its functions, whoever installed it.
CREATE ROLE golden_owner SUPERUSER;
SET ROLE golden_owner;
CREATE EXTENSION billing_rpc SCHEMA api;
RESET ROLE;
SELECT reason FROM api.grant_credits('7', 10, 'gift');
\c
DROP SCHEMA api CASCADE;
\c
DROP EXTENSION plpgsql CASCADE;
\c
ALTER EXTENSION plpgsql DROP LANGUAGE plpgsql;
\c
DROP LANGUAGE plpgsql CASCADE;
\c
ALTER EXTENSION plpgsql ADD LANGUAGE plpgsql;
\c
DROP OWNED BY golden_owner;
\c
DROP OWNED BY golden_owner CASCADE;
-- By Postgres' own rules its parts do not go alone, not even with the owner of them all.
\c
DROP SCHEMA billing CASCADE;
DROP TABLE billing.ledger CASCADE;
DO $$
BEGIN
    DROP OWNED BY billing_owner CASCADE;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '%', regexp_replace(SQLERRM, 'function .*[)]|table .* because', 'a part of it');
END $$;
-- And a table does not go after it was taken out of the extension.
\c
BEGIN;
ALTER EXTENSION billing_rpc DROP TABLE billing.ledger;
DROP TABLE billing.ledger CASCADE;
ROLLBACK;
\c
BEGIN;
ALTER EXTENSION billing_rpc DROP TABLE billing.ledger;
DROP EXTENSION billing_rpc CASCADE;
ROLLBACK;
-- Nor where triggers are off, as replication and restores have it.
\c
SET session_replication_role = replica;
DROP EXTENSION billing_rpc;
-- All is as it was.
\c
SELECT reason FROM api.grant_credits('7', 10, 'gift');
SELECT count(*) FROM billing.ledger;
SELECT * FROM billing.reconcile();

-- 4. What does not touch the books is nobody's business: other tables, of anybody, also by the same names.
CREATE ROLE golden_visitor;
GRANT CREATE ON DATABASE :DBNAME TO golden_visitor;
SET ROLE golden_visitor;
CREATE SCHEMA shop;
CREATE TABLE shop.ledger AS SELECT 1 AS entry_id;
CREATE TABLE shop.payments AS SELECT 1 AS payment_id;
CREATE TEMP TABLE webhook_events AS SELECT 1 AS event_id;
DROP TABLE webhook_events, shop.payments;
DROP SCHEMA shop CASCADE;
DROP OWNED BY golden_visitor;
RESET ROLE;

-- 5. On purpose: a superuser says so, for the session or the transaction.
SET ROLE golden_visitor;
SET billing_rpc.allow_drop = on;
RESET ROLE;
\c
-- Said by somebody else before the library was loaded, it does not count.
SET ROLE golden_visitor;
SET billing_rpc.allow_drop = on;
RESET ROLE;
DROP EXTENSION billing_rpc;
\c
BEGIN;
SET LOCAL billing_rpc.allow_drop = on;
DROP EXTENSION billing_rpc;
ROLLBACK;
DROP EXTENSION billing_rpc;

-- 6. Without the library (its file was removed before the extension), nobody can tell what falls by a cascade. What
-- might take the books along is refused, the rest goes through, and there is a way out.
UPDATE pg_proc SET probin = '$libdir/billing_rpc_is_gone' WHERE oid = 'billing.watch_drops()'::regprocedure;
\c
CREATE TEMP TABLE scratch ();
DROP TABLE scratch;
CREATE SCHEMA scratch;
DROP EXTENSION billing_rpc CASCADE;
DROP SCHEMA scratch;
DROP OWNED BY golden_visitor;
SET billing_rpc.allow_drop = on;
DROP SCHEMA scratch;
-- So it is in a session that still has the library of an earlier release, which knows nothing of this.
UPDATE pg_proc SET probin = '$libdir/pgoutput' WHERE oid = 'billing.watch_drops()'::regprocedure;
\c
DROP EXTENSION billing_rpc;
UPDATE pg_proc SET probin = '$libdir/billing_rpc' WHERE oid = 'billing.watch_drops()'::regprocedure;
\c
DROP EXTENSION billing_rpc;
SET billing_rpc.allow_drop = on;
DROP EXTENSION billing_rpc;
SELECT evtname FROM pg_event_trigger;
REVOKE CREATE ON DATABASE :DBNAME FROM golden_visitor;
DROP ROLE golden_visitor, golden_owner;
