-- What the examples in the functions' comments find: people, credits, events and payments of those names.
SET client_min_messages = warning;
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
CREATE SCHEMA stripe;
CREATE TABLE stripe.subscriptions (id text, attrs jsonb);
CREATE SCHEMA vault;
CREATE TABLE vault.decrypted_secrets (name text, decrypted_secret text);
INSERT INTO vault.decrypted_secrets VALUES ('stripe_webhook_secret', 'whsec_vault');
DO $$ BEGIN CREATE ROLE anon NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
-- An application that is taken over.
CREATE TABLE public.users (id bigint PRIMARY KEY, email text, credits_balance bigint);
INSERT INTO public.users VALUES (11, 'old@example.com', 30);
CREATE TABLE public.stripe_events (event_id text PRIMARY KEY, event_type text, processed_at timestamptz, processing_status text, error_message text);
INSERT INTO public.stripe_events VALUES ('evt_old', 'checkout.session.completed', now(), 'completed', NULL);
CREATE TABLE public.credit_purchases (stripe_session_id text PRIMARY KEY);
INSERT INTO public.credit_purchases VALUES ('cs_old');

SELECT billing.add_webhook_secret('stripe', 'whsec_example'), billing.add_webhook_secret('paystack', 'sk_example');
SELECT billing.set_refetch_source('stripe.subscriptions');
SELECT billing.define_plan('pro', 5000, 'ngn', 'month', price_ids => '{price_1,PLN_1}', credits_per_period => 500);

-- The person of most examples is 7, ada@example.com and cus_ada, and makes the request.
SELECT register_billing_user(legacy_id => 7, email => 'ada@example.com', stripe_customer_id => 'cus_ada');
SELECT adopted FROM billing.adopt_balances('public.users', 'id', 'credits_balance', dry_run => false);
SELECT register_billing_user(email => 'guest@example.com');
SELECT register_billing_user(legacy_id => 9, stripe_customer_id => 'cus_grace');
SELECT set_config('request.jwt.claims', '{"sub": "7"}', false);
ALTER TABLE billing.ledger ALTER COLUMN entry_id RESTART WITH 42;
SELECT grant_credits('7', 200, 'examples');
SELECT hold_credits('7', 20, 'examples-hold');
UPDATE billing.holds SET hold_id = '6f1d5d3e-0000-4000-8000-000000000000';
SELECT apply_subscription_update('{"id": "sub_7", "customer": "cus_ada", "status": "active",
    "items": {"data": [{"price": {"id": "price_1"}, "quantity": 1, "current_period_end": 4102444800}]}}', '2026-01-01Z');
SELECT start_subscription_payment('ref_2', '7', 'pro', 5000, 'ngn');

-- Events that are claimed, failed, dead and recorded.
SELECT claim_stripe_event('evt_2', 'invoice.paid'), claim_stripe_event('evt_3', 'invoice.paid'),
    claim_webhook_event('github', '7f1d', 'push'), claim_webhook_event('github', '7f1e', 'push');
UPDATE billing.webhook_events SET claim_token = '00000000-0000-0000-0000-000000000000';
SELECT f.reason FROM claim_stripe_event('evt_5', 'invoice.paid') c, fail_stripe_event('evt_5', c.claim_token, 'mail server down') f;
SET billing_rpc.max_attempts = 1;
SELECT f.reason FROM claim_stripe_event('evt_6', 'invoice.paid') c, fail_stripe_event('evt_6', c.claim_token, 'mail server down') f;
RESET billing_rpc.max_attempts;
SET billing_rpc.webhook_mode = 'record';
SELECT o.reason FROM (VALUES ('{"id": "evt_7", "type": "product.created", "livemode": false, "data": {"object": {"id": "prod_1"}}}')) AS event (body),
    process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example')) AS o;
RESET billing_rpc.webhook_mode;
INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at) VALUES ('subscription', 'sub_9', 'transition_not_allowed', now());
