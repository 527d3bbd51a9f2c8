-- Lets Stripe (and Paystack) post straight to PostgREST. As a superuser, in the application's database:
--
--   psql -d app -v stripe_secret=whsec_... -v paystack_secret=sk_... -f setup.sql
--
-- Leave out the secret of a provider that you do not use. It may be run again: a secret that is given again is one more.
\set ON_ERROR_STOP on
\set QUIET on
CREATE EXTENSION IF NOT EXISTS billing_rpc;

-- PostgREST logs in as authenticator, which may do nothing itself, and becomes anon for a request without a token.
SELECT format('CREATE ROLE %I %s', wanted.name, wanted.options)
FROM (VALUES ('authenticator', 'LOGIN NOINHERIT'), ('anon', 'NOLOGIN')) AS wanted (name, options)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) \gexec
GRANT anon TO authenticator;

-- The two webhook endpoints and nothing else. What lets a request in is its signature.
GRANT billing_webhook TO anon;

-- A delivery that waits too long is better given up: PostgREST answers 500, nothing was written, the provider delivers again.
ALTER ROLE anon SET lock_timeout = '5s';
ALTER ROLE anon SET statement_timeout = '15s';

\if :{?stripe_secret}
SELECT billing.add_webhook_secret('stripe', :'stripe_secret') AS secret_id \gset
\endif
\if :{?paystack_secret}
SELECT billing.add_webhook_secret('paystack', :'paystack_secret') AS secret_id \gset
\endif

-- What is for sale: the checkout names it in metadata.pack. Of your own, of course.
SELECT billing.define_pack('starter', 100, 900, 'eur') AS defined \gset

-- What anonymous callers may call now, and what was granted beyond the intended: the latter should be empty.
SELECT p.proname AS anon_may_call FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'billing_rpc'
WHERE has_function_privilege('anon', p.oid, 'EXECUTE') AND has_schema_privilege('anon', p.pronamespace, 'USAGE') ORDER BY 1;
SELECT * FROM billing.access_audit();
