-- Run once for all tests of examples/: roles as PostgREST and Supabase have them, and the database that each test
-- gets a copy of. What is granted here is what the examples' README files tell their readers to grant.
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
CREATE ROLE billing_worker LOGIN;
CREATE ROLE backend LOGIN;

CREATE DATABASE examples TEMPLATE template0;
\connect examples
CREATE EXTENSION billing_rpc;
GRANT billing_service TO billing_worker, backend;
GRANT EXECUTE ON FUNCTION stripe_webhook(json), paystack_webhook(json) TO anon;
SELECT billing.add_webhook_secret('stripe', 'whsec_examples'), billing.add_webhook_secret('paystack', 'sk_examples');
SELECT billing.define_pack('starter', 100, 900, 'eur');
