-- From 0.1.0 to 0.2.0: what changes in the schema. Additive, so that sessions with the former library go on
-- working after it, and the new library before it. COMMENT ON FUNCTION, all grants and policies follow by themselves
-- (sql/audit.sql, sql/comments.sql, sql/access.sql); everything else that the sources of a fresh install say is repeated here.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- End users.
CREATE FUNCTION @extschema@.my_credits(credit_type text DEFAULT 'credits') RETURNS @extschema@.credit_balance
LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'my_credits_wrapper';
CREATE FUNCTION @extschema@.my_credit_history(
    max_rows integer DEFAULT 50,
    before_entry_id bigint DEFAULT NULL,
    credit_type text DEFAULT 'credits'
) RETURNS SETOF @extschema@.credit_entry
LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'my_credit_history_wrapper';
CREATE FUNCTION @extschema@.has_credits(credits bigint DEFAULT NULL, credit_type text DEFAULT 'credits') RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'has_credits_wrapper';
CREATE FUNCTION billing.current_customer_id() RETURNS uuid
LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'current_customer_id_wrapper';

-- People mended: who became part of whom, who was forgotten.
ALTER TABLE billing.customers ADD COLUMN merged_into uuid;
ALTER TABLE billing.customers ADD COLUMN forgotten_at timestamptz;
CREATE INDEX customers_merged_into ON billing.customers (merged_into) WHERE merged_into IS NOT NULL;
COMMENT ON COLUMN billing.customers.merged_into IS 'The customer that this one is part of since billing.merge_customers; its own entries stay here.';
COMMENT ON COLUMN billing.customers.forgotten_at IS 'When billing.forget_customer took all identifiers; the books stay.';
CREATE FUNCTION billing.move_identifier(identifier text DEFAULT NULL, customer_id uuid DEFAULT NULL) RETURNS @extschema@.identity_outcome
LANGUAGE c VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'move_identifier_wrapper';
CREATE FUNCTION billing.merge_customers(from_id uuid DEFAULT NULL, into_id uuid DEFAULT NULL) RETURNS @extschema@.identity_outcome
LANGUAGE c VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'merge_customers_wrapper';
CREATE FUNCTION billing.forget_customer(customer_id uuid DEFAULT NULL) RETURNS @extschema@.identity_outcome
LANGUAGE c VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'forget_customer_wrapper';

-- Secrets and personal data stay out of the planner's statistics, where they would outlive their rows.
ALTER TABLE billing.webhook_secrets ALTER COLUMN secret SET STATISTICS 0;
ALTER TABLE billing.customers
    ALTER COLUMN user_id SET STATISTICS 0,
    ALTER COLUMN legacy_id SET STATISTICS 0,
    ALTER COLUMN email SET STATISTICS 0,
    ALTER COLUMN external_id SET STATISTICS 0,
    ALTER COLUMN stripe_customer_id SET STATISTICS 0,
    ALTER COLUMN paystack_customer_code SET STATISTICS 0;
ALTER TABLE billing.customer_aliases ALTER COLUMN code SET STATISTICS 0;
ALTER TABLE billing.webhook_events
    ALTER COLUMN claim_token SET STATISTICS 0,
    ALTER COLUMN payload SET STATISTICS 0;
-- What ANALYZE wrote there before.
DELETE FROM pg_statistic s USING pg_attribute a
WHERE a.attrelid = s.starelid AND a.attnum = s.staattnum AND a.attstattarget = 0
    AND a.attrelid IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r');

-- 0.1.0 took what others had been granted on this schema for its own doing (see access.sql).
DELETE FROM pg_init_privs
WHERE classoid = 'pg_namespace'::regclass AND objoid = '@extschema@'::regnamespace AND privtype = 'e';
UPDATE pg_init_privs p
SET initprivs = ARRAY(
    SELECT item FROM unnest(p.initprivs) AS item, LATERAL aclexplode(ARRAY[item]) AS granted
    WHERE granted.grantee IN (0, granted.grantor)
    GROUP BY item
)
WHERE p.classoid = 'pg_namespace'::regclass AND p.objoid = '@extschema@'::regnamespace AND p.privtype = 'i';

