-- The hottest statements are done without the executor, as long as a table is as the extension made it. What an
-- operator adds to one counts all the same, from the next call on, in sessions too that have called before.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
CREATE EXTENSION amcheck;
SELECT billing.add_webhook_secret('stripe', 'whsec_example') IS NOT NULL AS secret;
CREATE FUNCTION deliver(event_id text, session text, credits text) RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example'))
    FROM (SELECT jsonb_build_object('id', event_id, 'object', 'event', 'type', 'checkout.session.completed', 'livemode', true,
        'created', 1700000000, 'data', jsonb_build_object('object', jsonb_build_object('id', session,
            'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid', 'payment_intent', 'pi_' || event_id,
            'amount_total', 999, 'currency', 'eur', 'metadata', jsonb_build_object('user_id', '7', 'credits', credits))))::text AS body) AS signed
$$;
-- Everything that the indexes of a table should have is in them, and nothing else.
CREATE FUNCTION check_tables() RETURNS TABLE (tables bigint, indexes bigint, problems bigint) LANGUAGE plpgsql AS $$
BEGIN
    SELECT count(DISTINCT i.indrelid), count(bt_index_check(i.indexrelid, true) IS NOT NULL) INTO tables, indexes
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r';
    SELECT count(*) INTO problems FROM pg_class c, LATERAL verify_heapam(c.oid) v
        WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r';
    problems := problems + (SELECT count(*) FROM billing.reconcile());
    RETURN NEXT;
END
$$;

-- 1. Purchases, spends, holds, deliveries that go well, that are delivered again and that fail; then every entry of
-- every index is looked for.
DO $$
DECLARE
    n int;
BEGIN
    FOR n IN 1..300 LOOP
        PERFORM apply_credit_purchase((n % 7 + 7)::text, 100, 'key ' || n, stripe_session_id => 'cs_' || n, amount_minor => 5, currency => 'eur');
        PERFORM spend_credits((n % 7 + 7)::text, 3, 'spent ' || n, metadata => jsonb_build_object('text', repeat('x', n * 40)));
        PERFORM deliver('evt_' || n, 'cs_event_' || n, '5');
        PERFORM deliver('evt_' || n, 'cs_event_' || n, '5');
        IF n % 10 = 0 THEN
            PERFORM hold_credits((n % 7 + 7)::text, 1, 'held ' || n);
            PERFORM deliver('evt_ignored_' || n, 'cs_ignored_' || n, 'none');
        END IF;
    END LOOP;
END
$$;
SELECT status, count(*), count(claim_token) AS tokens FROM billing.webhook_events GROUP BY status ORDER BY status;
SELECT count(*) AS entries, sum(credits) AS credits FROM billing.ledger;
SELECT problems, tables = (SELECT count(*) FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r') AS all_tables
FROM check_tables();

-- 2. What is rolled back was not, row by row.
BEGIN;
SELECT reason FROM apply_credit_purchase('7', 1, 'undone', stripe_session_id => 'cs_undone');
SAVEPOINT before;
SELECT reason FROM spend_credits('7', 1, 'undone too');
ROLLBACK TO before;
SELECT reason FROM spend_credits('7', 1, 'undone too');
ROLLBACK;
SELECT reason FROM apply_credit_purchase('7', 1, 'undone', stripe_session_id => 'cs_undone');

-- 3. An operator's trigger fires.
CREATE TABLE heard (what text, entry_id bigint);
CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.heard VALUES (TG_TABLE_NAME || ' ' || lower(TG_OP), CASE TG_TABLE_NAME WHEN 'ledger' THEN (to_jsonb(NEW) ->> 'entry_id')::bigint END);
    RETURN NULL;
END
$$;
GRANT INSERT ON heard TO billing_owner;
CREATE TRIGGER hear AFTER INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION hear();
CREATE TRIGGER hear AFTER UPDATE ON billing.balances FOR EACH ROW EXECUTE FUNCTION hear();
CREATE TRIGGER hear AFTER INSERT ON billing.webhook_events FOR EACH ROW EXECUTE FUNCTION hear();
CREATE TRIGGER hear AFTER INSERT ON billing.charges FOR EACH STATEMENT EXECUTE FUNCTION hear();
SELECT reason FROM spend_credits('7', 1, 'heard');
SELECT reason FROM deliver('evt_heard', 'cs_heard', '5');
SELECT what, h.entry_id = (SELECT max(l.entry_id) FROM billing.ledger l) AS last_entry FROM heard h ORDER BY what, entry_id;
DROP TRIGGER hear ON billing.ledger;
DROP TRIGGER hear ON billing.balances;
DROP TRIGGER hear ON billing.webhook_events;
DROP TRIGGER hear ON billing.charges;

-- 4. An operator's check refuses, at every table.
ALTER TABLE billing.ledger ADD CONSTRAINT no_thirteen CHECK (credits <> 13);
SELECT reason FROM apply_credit_purchase('7', 13, 'thirteen');
SELECT reason, detail FROM deliver('evt_thirteen', 'cs_thirteen', '13');
SELECT reason FROM apply_credit_batch('[{"op": "grant", "user_id": "7", "credits": 13, "idempotency_key": "batch"}]');
ALTER TABLE billing.ledger DROP CONSTRAINT no_thirteen;
SELECT reason FROM retry_webhook_events();
UPDATE billing.webhook_events SET next_attempt_at = now() WHERE status = 'failed';
SELECT reason, result ->> 'credits' AS credits FROM retry_webhook_events();

-- 5. An operator's foreign key is looked at, a unique index decides, and any other index has its entries.
CREATE TABLE currencies (currency text PRIMARY KEY);
INSERT INTO currencies VALUES ('eur');
GRANT SELECT, UPDATE ON currencies TO billing_owner;
ALTER TABLE billing.ledger ADD CONSTRAINT known_currency FOREIGN KEY (currency) REFERENCES currencies;
SELECT reason FROM apply_credit_purchase('7', 1, 'dollars', amount_minor => 1, currency => 'usd');
SELECT reason FROM apply_credit_purchase('7', 1, 'euros', amount_minor => 1, currency => 'eur');
ALTER TABLE billing.ledger DROP CONSTRAINT known_currency;
CREATE UNIQUE INDEX once_a_day ON billing.ledger (amount_minor) WHERE amount_minor > 1000000;
SELECT reason FROM apply_credit_purchase('7', 1, 'million', amount_minor => 1000001, currency => 'eur');
SELECT reason FROM apply_credit_purchase('7', 1, 'million more', amount_minor => 1000001, currency => 'eur');
CREATE INDEX by_metadata ON billing.ledger USING gin (metadata);
SELECT reason FROM spend_credits('7', 1, 'indexed', metadata => '{"by": "gin"}');
SET enable_seqscan = off;
SELECT idempotency_key FROM billing.ledger WHERE metadata @> '{"by": "gin"}';
RESET enable_seqscan;
DROP INDEX billing.by_metadata, billing.once_a_day;

-- 6. Where nothing may be written nothing is.
BEGIN READ ONLY;
SELECT reason FROM spend_credits('7', 1, 'read only');
ROLLBACK;
BEGIN READ ONLY;
SELECT reason FROM deliver('evt_read_only', 'cs_read_only', '5');
ROLLBACK;
BEGIN READ ONLY;
SELECT balance > 0 AS has_credits FROM credit_balance('7');
ROLLBACK;

-- 7. A key that stands is found whatever the way, and a row that was not read keeps what it does not concern.
SELECT reason FROM apply_credit_purchase('7', 1, 'euros', amount_minor => 1, currency => 'eur');
SELECT reason, detail FROM apply_credit_purchase('7', 2, 'other', stripe_session_id => 'cs_event_1');
SELECT problems FROM check_tables();
