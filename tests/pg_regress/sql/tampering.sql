-- Somebody's own triggers on the tables of schema billing: a call whose rows change under its hands breaks off, rather
-- than write over what it did not know.
\set SHOW_CONTEXT never
CREATE EXTENSION billing_rpc;
SELECT reason, balance FROM grant_credits('1', 100, 'welcome');
CREATE VIEW books AS
    SELECT b.balance, b.held, (SELECT count(*) FROM billing.ledger) AS entries, (SELECT count(*) FROM billing.holds) AS holds,
        (SELECT count(*) FROM billing.reconcile()) AS problems
    FROM billing.balances b;

-- 1. A trigger changes the balance between the call's reading and its writing.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing.balances SET balance = balance + 1 WHERE customer_id = NEW.customer_id;
    RETURN NEW;
END
$$;
CREATE TRIGGER meddle BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION meddle();
CREATE TRIGGER meddle BEFORE INSERT ON billing.holds FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT reason FROM grant_credits('1', 10, 'grant');
SELECT reason FROM spend_credits('1', 10, 'spend');
SELECT reason FROM hold_credits('1', 10, 'hold');
SELECT reason FROM reverse_credit_entry(1, 'reversal');
SELECT reason FROM apply_credit_batch('[{"op": "spend", "user_id": "1", "credits": 10, "idempotency_key": "batch"}]');
DROP TRIGGER meddle ON billing.ledger;
DROP TRIGGER meddle ON billing.holds;
SELECT * FROM books;

-- 2. A trigger has the balance stored otherwise than it was written.
CREATE FUNCTION double() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.balance := NEW.balance * 2;
    RETURN NEW;
END
$$;
CREATE TRIGGER double BEFORE UPDATE ON billing.balances FOR EACH ROW EXECUTE FUNCTION double();
SELECT reason FROM spend_credits('1', 10, 'spend');
DROP TRIGGER double ON billing.balances;
SELECT * FROM books;

-- 3. A trigger swallows what is written.
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE UPDATE ON billing.balances FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT reason FROM spend_credits('1', 10, 'spend');
DROP TRIGGER swallow ON billing.balances;
CREATE TRIGGER swallow BEFORE INSERT ON billing.ledger FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT reason FROM spend_credits('1', 10, 'spend');
DROP TRIGGER swallow ON billing.ledger;
SELECT * FROM books;

-- Without them the same calls go on.
SELECT reason, balance FROM spend_credits('1', 10, 'spend');
SELECT * FROM books;
