-- Webhook secrets: readable by the definer functions only, in no dump.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.webhook_secrets (
    secret_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    valid_until timestamptz,
    provider text NOT NULL,
    secret text NOT NULL,
    vault_name text
);
CREATE INDEX webhook_secrets_provider ON billing.webhook_secrets (provider);
-- ANALYZE copies values of a column into the planner's statistics, where they outlive their rows; here and
-- below it leaves out what is secret or personal. No plan needs it: these columns are found by unique index.
ALTER TABLE billing.webhook_secrets ALTER COLUMN secret SET STATISTICS 0;
COMMENT ON TABLE billing.webhook_secrets IS 'Signing secrets; several may be valid at once, so that they can be rotated. Left out of dumps.';
COMMENT ON COLUMN billing.webhook_secrets.secret_id IS 'Names the secret to billing.retire_webhook_secret.';
COMMENT ON COLUMN billing.webhook_secrets.created_at IS 'When it was added.';
COMMENT ON COLUMN billing.webhook_secrets.valid_until IS 'When it ends; null: until it is retired.';
COMMENT ON COLUMN billing.webhook_secrets.provider IS 'stripe or paystack.';
COMMENT ON COLUMN billing.webhook_secrets.secret IS 'The secret itself, whsec_ included; blank where vault_name says where it is.';
COMMENT ON COLUMN billing.webhook_secrets.vault_name IS 'The name of a secret in Supabase Vault that is read instead, at each use.';

CREATE VIEW billing.webhook_secret_list AS
    SELECT secret_id, provider, created_at, valid_until, vault_name FROM billing.webhook_secrets;
COMMENT ON VIEW billing.webhook_secret_list IS 'The secrets, without showing one.';

-- A secret that Supabase Vault keeps: named here, read at each use. billing_owner may not read the vault, and
-- need not: it reads a view of whoever called this, which shows the names in use and no others. The view is no
-- member of the extension, so a dump carries it (and the names in use do not go along, as no secret does).
CREATE FUNCTION billing.use_vault_secret(provider text DEFAULT NULL, vault_name text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    number bigint;
BEGIN
    -- One at a time: who comes second finds what the first has made.
    LOCK TABLE billing.webhook_secrets IN SHARE UPDATE EXCLUSIVE MODE;
    IF provider IS NULL OR provider NOT IN ('stripe', 'paystack') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the provider is stripe or paystack';
    END IF;
    IF vault_name IS NULL OR vault_name !~ '[^[:space:]]' OR octet_length(vault_name) > 255 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the name of the vault''s secret is missing, blank or too long';
    END IF;
    IF 2 <> (
        SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = to_regclass('vault.decrypted_secrets') AND a.attname IN ('name', 'decrypted_secret')
            AND a.atttypid = 'text'::regtype AND NOT a.attisdropped
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'there is no vault in this database',
            HINT = 'Supabase Vault has the view vault.decrypted_secrets (CREATE EXTENSION supabase_vault); without it use billing.add_webhook_secret.';
    END IF;
    IF to_regclass('billing.vault_secrets') IS NULL THEN
        CREATE VIEW billing.vault_secrets WITH (security_barrier) AS
            SELECT s.name, s.decrypted_secret FROM vault.decrypted_secrets s
            WHERE s.name IN (SELECT w.vault_name FROM billing.webhook_secrets w WHERE w.valid_until IS NULL OR w.valid_until > now());
        PERFORM billing.keep_for_owner('billing.vault_secrets');
        COMMENT ON VIEW billing.vault_secrets IS
            'The vault''s secrets that billing.use_vault_secret named, and no others.';
    END IF;
    SELECT w.secret_id INTO number FROM billing.webhook_secrets w
        WHERE w.provider = use_vault_secret.provider AND w.vault_name = use_vault_secret.vault_name AND w.valid_until IS NULL
        ORDER BY w.secret_id LIMIT 1;
    IF number IS NULL THEN
        INSERT INTO billing.webhook_secrets (provider, secret, vault_name)
            VALUES (use_vault_secret.provider, '', use_vault_secret.vault_name) RETURNING secret_id INTO number;
    END IF;
    RETURN number;
END
$$;

SET LOCAL search_path TO @extschema@, pg_temp;
