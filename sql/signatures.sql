-- Webhook secrets: readable by the definer functions only, in no dump.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.webhook_secrets (
    secret_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    valid_until timestamptz,
    provider text NOT NULL,
    secret text NOT NULL
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
COMMENT ON COLUMN billing.webhook_secrets.secret IS 'The secret itself, whsec_ included.';

CREATE VIEW billing.webhook_secret_list AS
    SELECT secret_id, provider, created_at, valid_until FROM billing.webhook_secrets;
COMMENT ON VIEW billing.webhook_secret_list IS 'The secrets, without showing one.';

SET LOCAL search_path TO @extschema@, pg_temp;
