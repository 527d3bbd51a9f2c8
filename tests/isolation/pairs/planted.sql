-- Operations that do what the extension never may: a check that does not find them is none. planted.txt says where they are found.

-- Reads, decides, and writes what it had read: whatever was written in between is lost.
CREATE FUNCTION careless_spend() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  a CONSTANT uuid := (SELECT customer_id FROM billing.customers WHERE stripe_customer_id = 'cus_A');
  before CONSTANT bigint := (SELECT b.balance FROM billing.balances b WHERE b.customer_id = a);
BEGIN
  UPDATE billing.balances b SET balance = before - 10 WHERE b.customer_id = a;
  INSERT INTO billing.ledger (customer_id, credit_type, kind, credits, balance_after, idempotency_key, fingerprint, metadata, created_at)
  VALUES (a, 'credits', 'spend', -10, before - 10, 'careless', '\x00', '{}', clock_timestamp());
  RETURN before - 10;
END $$;

-- Looks, and inserts if there is none.
CREATE FUNCTION careless_claim() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM billing.webhook_events WHERE event_id = 'evt_new') THEN
    RETURN 'duplicate';
  END IF;
  INSERT INTO billing.webhook_events (provider, event_id, event_type, status, attempts, payload_summary, received_at)
  VALUES ('stripe', 'evt_new', 'invoice.paid', 'recorded', 0, '{}', clock_timestamp());
  RETURN 'applied';
END $$;

-- Takes a charge after a balance, when all others take it before.
CREATE FUNCTION backwards() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM billing.balances FOR UPDATE;
  PERFORM FROM billing.payments FOR UPDATE;
  PERFORM FROM billing.charges FOR UPDATE;
  RETURN 'applied';
END $$;

-- Skips what is in use, and nobody comes back for it.
CREATE FUNCTION forgetful_link() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM billing.customers WHERE stripe_customer_id = 'cus_A' FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    UPDATE billing.customers SET email = 'kept@example.com' WHERE stripe_customer_id = 'cus_A';
  END IF;
  RETURN 'applied';
END $$;

-- Buys for whom it found, and does not ask whose part that customer has become since.
CREATE FUNCTION heirless_purchase() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  owner CONSTANT uuid := coalesce((SELECT customer_id FROM billing.customers WHERE stripe_customer_id = 'cus_C'),
                                  (SELECT customer_id FROM billing.customer_aliases WHERE code = 'cus_C'));
  after bigint;
BEGIN
  UPDATE billing.balances b SET balance = b.balance + 10 WHERE b.customer_id = owner RETURNING b.balance INTO after;
  INSERT INTO billing.ledger (customer_id, credit_type, kind, credits, balance_after, idempotency_key, fingerprint, metadata, created_at)
  VALUES (owner, 'credits', 'purchase', 10, after, 'heirless', '\x00', '{}', clock_timestamp());
  RETURN after;
END $$;
