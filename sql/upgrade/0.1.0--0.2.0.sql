-- From 0.1.0 to 0.2.0: what changes in the schema. Additive, so that sessions with the former library go on
-- working after it, and the new library before it. COMMENT ON FUNCTION and all grants follow by themselves
-- (sql/comments.sql, sql/access.sql); everything else that the sources of a fresh install say is repeated here.

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
