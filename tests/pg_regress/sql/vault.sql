-- Webhook secrets that Supabase Vault keeps: named here, read there at each use, shown nowhere.
\pset null '(null)'
\set VERBOSITY terse
CREATE EXTENSION billing_rpc;
CREATE FUNCTION pg_temp.verdict(secret text) RETURNS text LANGUAGE sql AS $$
    SELECT concat(valid, ' ', detail) FROM verify_stripe_signature('{}', billing.sign_stripe_payload('{}', secret)) $$;

-- Without a vault it is refused, and says what to do.
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT billing.use_vault_secret('stripe', 'stripe_webhook');
\set VERBOSITY terse

-- A vault of the same shape. Nobody but its owner may read it.
CREATE SCHEMA vault;
CREATE TABLE vault.secrets (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE, description text NOT NULL DEFAULT '', secret text NOT NULL,
    key_id uuid, nonce bytea, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE VIEW vault.decrypted_secrets AS
    SELECT id, name, description, secret, convert_from(decode(secret, 'base64'), 'UTF8') AS decrypted_secret, key_id, nonce, created_at, updated_at
    FROM vault.secrets;
INSERT INTO vault.secrets (name, secret) VALUES
    ('stripe_webhook', encode('whsec_in_the_vault', 'base64')), ('another', encode('nobody''s business', 'base64')), ('blank', encode('  ', 'base64'));

-- Bad input.
SELECT billing.use_vault_secret();
SELECT billing.use_vault_secret('paypal', 'stripe_webhook');
SELECT billing.use_vault_secret('stripe', ' ');
SELECT billing.use_vault_secret('stripe', repeat('x', 256));

SELECT pg_temp.verdict('whsec_in_the_vault');
SELECT billing.use_vault_secret('stripe', 'stripe_webhook') AS secret_id;
SELECT pg_temp.verdict('whsec_in_the_vault'), pg_temp.verdict('whsec_other');
-- Again: the same number. For the other provider: one more.
SELECT billing.use_vault_secret('stripe', 'stripe_webhook') AS secret_id;
SELECT billing.use_vault_secret('paystack', 'stripe_webhook') AS secret_id;
SELECT concat(valid, ' ', detail) FROM verify_paystack_signature('{}', billing.sign_paystack_payload('{}', 'whsec_in_the_vault'));

-- Beside a stored one, both count.
SELECT billing.add_webhook_secret('stripe', 'whsec_stored') AS secret_id;
SELECT pg_temp.verdict('whsec_stored'), pg_temp.verdict('whsec_in_the_vault');

-- Changed in the vault: the new one counts from the next use on.
UPDATE vault.secrets SET secret = encode('whsec_rotated', 'base64') WHERE name = 'stripe_webhook';
SELECT pg_temp.verdict('whsec_in_the_vault'), pg_temp.verdict('whsec_rotated');

-- One that the vault does not have, and a blank one, are as none: above all, the empty secret opens nothing.
SELECT billing.use_vault_secret('stripe', 'not there') IS NOT NULL AS named, billing.use_vault_secret('stripe', 'blank') IS NOT NULL AS named_too;
SELECT valid, detail FROM billing.verify_stripe_signature_with('{}', billing.sign_stripe_payload('{}', 'x'), '{""}');
SELECT pg_temp.verdict('whsec_rotated');
SELECT billing.retire_webhook_secret(secret_id) FROM billing.webhook_secret_list WHERE vault_name IS DISTINCT FROM 'not there' AND provider = 'stripe';
SELECT pg_temp.verdict('whsec_rotated'), pg_temp.verdict('whsec_stored');

-- The list shows names and no values.
SELECT secret_id, provider, valid_until IS NOT NULL AS ended, vault_name FROM billing.webhook_secret_list ORDER BY secret_id;
SELECT secret = '' AS blank, vault_name FROM billing.webhook_secrets WHERE vault_name IS NOT NULL ORDER BY secret_id;

-- The extension sees the names in use and no others (stripe_webhook is Paystack's still), and may not read the vault itself.
SET ROLE billing_owner;
SELECT name FROM billing.vault_secrets ORDER BY name;
SELECT count(*) FROM vault.decrypted_secrets;
RESET ROLE;
SELECT r.rolname, has_table_privilege(r.rolname, 'billing.vault_secrets', 'SELECT') FROM pg_roles r
WHERE r.rolname LIKE 'billing\_%' ORDER BY 1;

-- Nobody who may not read the vault can let the extension do it for them.
CREATE ROLE regress_vault_nobody;
GRANT USAGE ON SCHEMA billing TO regress_vault_nobody;
GRANT EXECUTE ON FUNCTION billing.use_vault_secret(text, text) TO regress_vault_nobody;
SET ROLE regress_vault_nobody;
SELECT billing.use_vault_secret('stripe', 'another');
RESET ROLE;
DROP OWNED BY regress_vault_nobody;
DROP ROLE regress_vault_nobody;

-- The vault gone: stored secrets work on.
SELECT billing.add_webhook_secret('stripe', 'whsec_after') AS secret_id;
SET client_min_messages = warning;
DROP SCHEMA vault CASCADE;
SELECT pg_temp.verdict('whsec_after'), pg_temp.verdict('whsec_rotated');
