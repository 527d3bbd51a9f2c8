-- What is there before every permutation, so that any two operations of operations.txt meet on it. Made once by calls
-- such as an application makes, kept in a copy, and brought back from that copy before each permutation (state.sql).

CREATE EXTENSION IF NOT EXISTS billing_rpc;

-- Signed deliveries of events that were made so many seconds after a beginning.
CREATE FUNCTION deliver(event text, event_type text, at int, object jsonb, secret text = 'whsec_test') RETURNS event_outcome LANGUAGE sql AS $$
  SELECT process_stripe_webhook(body, billing.sign_stripe_payload(body, secret))
  FROM (SELECT jsonb_build_object('id', event, 'object', 'event', 'type', event_type, 'livemode', false,
      'created', 1700000000 + at, 'data', jsonb_build_object('object', object))::text AS body) AS signed
$$;
CREATE FUNCTION deliver_paystack(event_type text, object jsonb) RETURNS event_outcome LANGUAGE sql AS $$
  SELECT process_paystack_webhook(body, billing.sign_paystack_payload(body, 'sk_test'))
  FROM (SELECT jsonb_build_object('event', event_type, 'data', '{"domain": "test"}'::jsonb || object)::text AS body) AS signed
$$;
-- The same through the endpoints, as PostgREST calls them.
CREATE FUNCTION post(event text, event_type text, at int, object jsonb) RETURNS event_outcome LANGUAGE plpgsql AS $$
DECLARE
  body CONSTANT text := jsonb_build_object('id', event, 'object', 'event', 'type', event_type, 'livemode', false,
      'created', 1700000000 + at, 'data', jsonb_build_object('object', object));
BEGIN
  PERFORM set_config('request.headers',
      json_build_object('stripe-signature', billing.sign_stripe_payload(body, 'whsec_test'))::text, true);
  RETURN stripe_webhook(body::json);
END $$;
CREATE FUNCTION post_paystack(event_type text, object jsonb) RETURNS event_outcome LANGUAGE plpgsql AS $$
DECLARE
  body CONSTANT text := jsonb_build_object('event', event_type, 'data', '{"domain": "test"}'::jsonb || object);
BEGIN
  PERFORM set_config('request.headers',
      json_build_object('x-paystack-signature', billing.sign_paystack_payload(body, 'sk_test'))::text, true);
  RETURN paystack_webhook(body::json);
END $$;

-- What a paid session says, with what is given added; a subscription; an invoice of it; a charge.
CREATE FUNCTION session(id text, parts jsonb) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'mode', 'payment', 'payment_status', 'paid', 'amount_total', 900, 'currency', 'eur') || parts
$$;
CREATE FUNCTION subscription(id text, customer text, status text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'object', 'subscription', 'customer', customer, 'status', status)
$$;
CREATE FUNCTION invoice(id text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', id, 'customer', 'cus_A', 'billing_reason', 'subscription_cycle',
      'parent', '{"subscription_details": {"subscription": "sub_1"}}'::jsonb,
      'lines', '{"data": [{"amount": 900, "pricing": {"price_details": {"price": "price_pro"}}, "period": {"end": 4102444800}}]}'::jsonb)
$$;
CREATE FUNCTION charge(payment text, refunded bigint) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', 'ch_of_' || payment, 'amount', 900, 'amount_refunded', refunded, 'payment_intent', payment)
$$;

-- What an application may have beside the extension: its users, and subscriptions as Stripe tells them.
CREATE TABLE people (id uuid PRIMARY KEY, email text);
INSERT INTO people VALUES ('11111111-1111-1111-1111-111111111111', 'a@example.com'), ('22222222-2222-2222-2222-222222222222', 'b@example.com');
CREATE TABLE stripe_subscriptions (id text PRIMARY KEY, attrs jsonb);
INSERT INTO stripe_subscriptions VALUES ('sub_1', subscription('sub_1', 'cus_A', 'paused'));

-- A vault, as Supabase has one; here its secrets are only turned round, not encrypted.
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE, secret text NOT NULL);
CREATE VIEW vault.decrypted_secrets AS SELECT id, name, secret, reverse(secret) AS decrypted_secret FROM vault.secrets;
INSERT INTO vault.secrets (name, secret) VALUES ('webhook', reverse('whsec_vault'));

-- Customers by their names here, whatever becomes of their identifiers.
CREATE TABLE known (name text PRIMARY KEY, customer_id uuid NOT NULL);
INSERT INTO known VALUES ('A', 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'), ('C', 'cccccccc-cccc-cccc-cccc-cccccccccccc');
CREATE FUNCTION customer(name text) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT customer_id FROM known WHERE known.name = $1 $$;

-- Tokens of claims, by event: an old token is still what its worker has.
CREATE TABLE tokens (event_id text PRIMARY KEY, token uuid);
CREATE FUNCTION token(event text) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT token FROM tokens WHERE event_id = event $$;
CREATE FUNCTION entry(key text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT entry_id FROM billing.ledger WHERE idempotency_key = key $$;
CREATE FUNCTION hold(key text) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT hold_id FROM billing.holds WHERE idempotency_key = key $$;

DO $$
DECLARE
  a CONSTANT text := '11111111-1111-1111-1111-111111111111';
  c CONSTANT text := 'cus_C';
BEGIN
  -- Two customers of known ids, so that their locks have one order in every run.
  INSERT INTO billing.customers (customer_id, user_id) VALUES (customer('A'), a::uuid);
  INSERT INTO billing.customers (customer_id, email) VALUES (customer('C'), 'c@example.com');
  -- The catalogue.
  PERFORM billing.add_webhook_secret('stripe', 'whsec_test');
  PERFORM billing.add_webhook_secret('paystack', 'sk_test');
  PERFORM billing.define_pack('small', 100, 900, 'eur');
  PERFORM billing.define_plan('pro', 1000, 'eur', 'month', price_ids => ARRAY['price_pro'], credits_per_period => 100, per_branch => true);
  -- The first: credits without a lot, with one, expired ones; a purchase that a charge paid for; a hold.
  PERFORM register_billing_user(user_id => a::uuid, stripe_customer_id => 'cus_A');
  PERFORM grant_credits(a, 100, 'loose');
  PERFORM grant_credits(a, 60, 'lot', expires_at => '2100-01-01');
  PERFORM apply_credit_purchase(a, 50, 'bought', source_ref => 'stripe:pi_bought', amount_minor => 900, currency => 'eur');
  PERFORM apply_credit_purchase(a, 80, 'by-paystack', source_ref => 'paystack:bought', amount_minor => 800, currency => 'ngn');
  PERFORM hold_credits(a, 30, 'held', ttl_seconds => 86400);
  PERFORM grant_credits(a, 40, 'expired', expires_at => '2000-01-01');
  -- The second, by another name than a user id, so that the two can be merged: credits without a lot, with one; a
  -- purchase by an event; a hold; a subscription; a payment that is started.
  PERFORM register_billing_user(email => 'c@example.com', stripe_customer_id => c);
  PERFORM grant_credits(c, 40, 'loose_of_c');
  PERFORM grant_credits(c, 30, 'lot_of_c', expires_at => '2100-01-01');
  PERFORM deliver('evt_C', 'checkout.session.completed', 0, session('cs_C', '{"payment_intent": "pi_C", "customer": "cus_C", "metadata": {"credits": "25"}}'));
  PERFORM hold_credits(c, 20, 'held_of_c', ttl_seconds => 86400);
  PERFORM deliver('evt_sub_C', 'customer.subscription.created', 0, subscription('sub_C', 'cus_C', 'active'));
  PERFORM start_subscription_payment('pay_C', c, 'pro', 1000, 'eur', ARRAY['south']);
  -- The first one's subscription, one that waits for cus_N to be linked, and a payment that is started.
  PERFORM deliver('evt_sub_1', 'customer.subscription.created', 0, subscription('sub_1', 'cus_A', 'active'));
  PERFORM deliver('evt_sub_N', 'customer.subscription.created', 0, subscription('sub_N', 'cus_N', 'active'));
  PERFORM start_subscription_payment('pay_1', a, 'pro', 2000, 'eur', ARRAY['north', 'south']);
  -- Events in every state: done; claimed; claimed by a worker that is gone; waiting for cus_N; failed and due; dead.
  PERFORM deliver('evt_done', 'customer.deleted', 0, '{"id": "cus_A"}');
  INSERT INTO tokens SELECT event_id, claim_token FROM claim_stripe_event('evt_claimed', 'invoice.paid', lease_seconds => 86400);
  INSERT INTO tokens SELECT event_id, claim_token FROM claim_stripe_event('evt_lapsed', 'invoice.paid');
  PERFORM deliver('evt_waiting', 'checkout.session.completed', 0, session('cs_waiting', '{"customer": "cus_N", "metadata": {"credits": "7"}}'));
  PERFORM deliver('evt_due', 'checkout.session.completed', 0,
      session('cs_due', jsonb_build_object('metadata', jsonb_build_object('pack', 'big', 'user_id', a))));
  SET LOCAL billing_rpc.max_attempts = 1;
  PERFORM deliver('evt_dead', 'checkout.session.completed', 0,
      session('cs_dead', jsonb_build_object('metadata', jsonb_build_object('pack', 'big', 'user_id', a))));
  UPDATE billing.webhook_events SET lease_until = now() - interval '1 minute' WHERE event_id = 'evt_lapsed';
  UPDATE billing.webhook_events SET next_attempt_at = now() - interval '1 minute' WHERE event_id = 'evt_due';
END $$;
