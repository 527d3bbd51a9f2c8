-- People: one row per customer, known by several identifiers.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.customers (
    customer_id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    user_id uuid,
    legacy_id bigint,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    email text,
    external_id text,
    stripe_customer_id text,
    paystack_customer_code text,
    merged_into uuid,
    forgotten_at timestamptz
);
-- Partial, so that an update of an identifier is no key update: it does not make the foreign-key
-- checks of others wait.
CREATE UNIQUE INDEX customers_user_id ON billing.customers (user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX customers_legacy_id ON billing.customers (legacy_id) WHERE legacy_id IS NOT NULL;
CREATE UNIQUE INDEX customers_email ON billing.customers (email) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX customers_external_id ON billing.customers (external_id) WHERE external_id IS NOT NULL;
CREATE UNIQUE INDEX customers_stripe_customer_id ON billing.customers (stripe_customer_id)
    WHERE stripe_customer_id IS NOT NULL;
CREATE UNIQUE INDEX customers_paystack_customer_code ON billing.customers (paystack_customer_code)
    WHERE paystack_customer_code IS NOT NULL;
CREATE INDEX customers_merged_into ON billing.customers (merged_into) WHERE merged_into IS NOT NULL;
COMMENT ON TABLE billing.customers IS 'Who owns credits and subscriptions; each identifier belongs to one customer.';
COMMENT ON COLUMN billing.customers.customer_id IS 'The customer''s own id, made here.';
COMMENT ON COLUMN billing.customers.user_id IS 'The application''s user id, where it is a uuid.';
COMMENT ON COLUMN billing.customers.legacy_id IS 'The application''s user id, where it is an integer from 1 on.';
COMMENT ON COLUMN billing.customers.created_at IS 'When the first applied call made the customer.';
COMMENT ON COLUMN billing.customers.email IS 'E-mail address, lower-cased.';
COMMENT ON COLUMN billing.customers.external_id IS 'The application''s user id, where it is any other text.';
COMMENT ON COLUMN billing.customers.stripe_customer_id IS 'The first cus_... linked; further ones are aliases.';
COMMENT ON COLUMN billing.customers.paystack_customer_code IS 'The first CUS_... linked; further ones are aliases.';
COMMENT ON COLUMN billing.customers.merged_into IS 'The customer that this one is part of since billing.merge_customers; its own entries stay here.';
COMMENT ON COLUMN billing.customers.forgotten_at IS 'When billing.forget_customer took all identifiers; the books stay.';

CREATE TABLE billing.customer_aliases (
    customer_id uuid NOT NULL REFERENCES billing.customers,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    code text PRIMARY KEY
);
CREATE INDEX customer_aliases_customer_id ON billing.customer_aliases (customer_id);
-- Who is forgotten must not live on in the planner's statistics.
ALTER TABLE billing.customers
    ALTER COLUMN user_id SET STATISTICS 0,
    ALTER COLUMN legacy_id SET STATISTICS 0,
    ALTER COLUMN email SET STATISTICS 0,
    ALTER COLUMN external_id SET STATISTICS 0,
    ALTER COLUMN stripe_customer_id SET STATISTICS 0,
    ALTER COLUMN paystack_customer_code SET STATISTICS 0;
ALTER TABLE billing.customer_aliases ALTER COLUMN code SET STATISTICS 0;
COMMENT ON TABLE billing.customer_aliases IS 'Further provider codes of a customer.';
COMMENT ON COLUMN billing.customer_aliases.customer_id IS 'Whose code it is.';
COMMENT ON COLUMN billing.customer_aliases.created_at IS 'When it was linked.';
COMMENT ON COLUMN billing.customer_aliases.code IS 'cus_... or CUS_...';

-- What an operator names, if it is there and can be read from; no error for any text.
CREATE FUNCTION billing.find_relation(relation text DEFAULT NULL) RETURNS regclass
LANGUAGE plpgsql
STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found regclass;
BEGIN
    -- Without a schema it is the application's, which the pinned path does not see.
    found := coalesce(to_regclass(relation), to_regclass('public.' || relation));
    RETURN (SELECT c.oid FROM pg_class c WHERE c.oid = found AND c.relkind IN ('r', 'p', 'v', 'm', 'f'));
EXCEPTION WHEN syntax_error OR invalid_name OR feature_not_supported OR undefined_table OR invalid_schema_name THEN
    RETURN NULL;
END
$$;

-- A view that the extension reads for its owner: whatever the database's default privileges grant on it to others is taken back.
CREATE FUNCTION billing.keep_for_owner(made regclass DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grantee text;
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_class c WHERE c.oid = made AND c.relnamespace = 'billing'::regnamespace AND c.relkind = 'v'
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'there is no such view in schema billing';
    END IF;
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class c, LATERAL aclexplode(c.relacl) a WHERE c.oid = made AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', made, grantee);
    END LOOP;
    EXECUTE format('GRANT SELECT ON %s TO billing_owner', made);
END
$$;

-- The application's table of users, seen through a view that belongs to whoever set it: billing_owner
-- reads the view without any right on the table, and row security of the table judges the view's owner.
-- The view is no member of the extension, so a dump carries it.
CREATE FUNCTION billing.set_users_table(
    relation text DEFAULT NULL,
    id_column text DEFAULT NULL,
    email_column text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass;
    id_type oid;
    id_expression text;
    email_expression text := 'NULL::text';
BEGIN
    -- One at a time: who comes second finds what the first has made.
    LOCK TABLE billing.customers IN SHARE UPDATE EXCLUSIVE MODE;
    IF relation IS NULL AND id_column IS NULL AND email_column IS NULL THEN
        IF to_regclass('billing.application_users') IS NOT NULL THEN
            DROP VIEW billing.application_users;
        END IF;
        RETURN;
    END IF;
    source := billing.find_relation(relation);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the users table does not exist',
            HINT = 'Name it with its schema, for instance auth.users.';
    END IF;
    SELECT a.atttypid INTO id_type FROM pg_attribute a
        WHERE a.attrelid = source AND a.attname = id_column AND a.attnum > 0 AND NOT a.attisdropped;
    id_expression := CASE
        WHEN id_type IN ('uuid'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype)
            THEN format('u.%I', id_column)
        WHEN id_type IN ('varchar'::regtype, 'bpchar'::regtype) THEN format('u.%I::text', id_column)
    END;
    IF id_expression IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the users table has no such id column, or one of another type',
            HINT = 'The id column is a uuid, an integer or text.';
    END IF;
    IF email_column IS NOT NULL THEN
        IF NOT EXISTS (
            SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = source AND a.attname = email_column AND a.attnum > 0 AND NOT a.attisdropped
                AND t.typcategory = 'S'
        ) THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the users table has no such e-mail column, or one of another type',
                HINT = 'The e-mail column is text; leave it out if there is none.';
        END IF;
        email_expression := format('u.%I::text', email_column);
    END IF;
    IF to_regclass('billing.application_users') IS NOT NULL THEN
        DROP VIEW billing.application_users;
    END IF;
    EXECUTE format('CREATE VIEW billing.application_users AS SELECT %s AS id, %s AS email FROM %s u',
        id_expression, email_expression, source);
    PERFORM billing.keep_for_owner('billing.application_users');
    COMMENT ON VIEW billing.application_users IS
        'The application''s users, as billing.set_users_table named them: whoever is not in here is unknown.';
END
$$;

SET LOCAL search_path TO @extschema@, pg_temp;
