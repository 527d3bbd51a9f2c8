-- From 0.1.0 to 0.2.0: what changes in the schema. Additive, so that sessions with the former library go on
-- working after it, and the new library before it. COMMENT ON FUNCTION, all grants and policies follow by themselves
-- (sql/audit.sql, sql/comments.sql, sql/access.sql); everything else that the sources of a fresh install say is repeated here.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- All that is changed, locked once and in the order of all calls, so that an upgrade waits for who uses the tables and
-- does not stand in a circle with them.
LOCK TABLE billing.webhook_events, billing.subscriptions, billing.customers, billing.customer_aliases, billing.payments,
    billing.branch_subscriptions, billing.balances, billing.ledger, billing.lots, billing.lot_uses, billing.holds, billing.hold_lots,
    billing.webhook_secrets IN ACCESS EXCLUSIVE MODE;

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
-- Not concurrently, which no script of an extension can: it is empty, and takes one look at the table.
-- squawk-ignore require-concurrent-index-creation
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

-- The views that the extension reads for its owner are kept from whom default privileges name.
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

-- A name without a schema is found in public.
CREATE OR REPLACE FUNCTION billing.find_relation(relation text DEFAULT NULL) RETURNS regclass
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
CREATE OR REPLACE FUNCTION billing.set_users_table(
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

CREATE OR REPLACE FUNCTION billing.set_refetch_source(relation text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass;
BEGIN
    -- One at a time: who comes second finds what the first has made.
    LOCK TABLE billing.refetch_queue IN SHARE UPDATE EXCLUSIVE MODE;
    IF relation IS NULL THEN
        IF to_regclass('billing.refetch_source') IS NOT NULL THEN
            DROP VIEW billing.refetch_source;
        END IF;
        RETURN;
    END IF;
    source := billing.find_relation(relation);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the refetch source does not exist',
            HINT = 'Name it with its schema, for instance stripe.subscriptions.';
    END IF;
    IF 2 <> (
        SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped
            AND (a.attname = 'id' AND a.atttypid IN ('text'::regtype, 'varchar'::regtype)
                OR a.attname = 'attrs' AND a.atttypid IN ('jsonb'::regtype, 'json'::regtype))
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the refetch source lacks the columns that it must have',
            HINT = 'It has a column id of type text and a column attrs of type jsonb.';
    END IF;
    IF to_regclass('billing.refetch_source') IS NOT NULL THEN
        DROP VIEW billing.refetch_source;
    END IF;
    -- No cast of a column that has the right type: a foreign server is then asked for the one row.
    EXECUTE format('CREATE VIEW billing.refetch_source AS SELECT r.id, r.attrs FROM %s r', source);
    PERFORM billing.keep_for_owner('billing.refetch_source');
    COMMENT ON VIEW billing.refetch_source IS
        'Subscriptions at the provider, as billing.set_refetch_source named them: the truth is read from here.';
END
$$;

CREATE FUNCTION billing.watch_drops() RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'watch_drops_wrapper';

-- The books are not dropped with rows in them: neither by DROP EXTENSION nor by what takes the extension along. The
-- library judges (src/pg/drop_guard.rs); this has it loaded in time.

CREATE FUNCTION billing.guard_drops() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM billing.watch_drops();
EXCEPTION WHEN OTHERS THEN
    -- The library's file is missing, or this session still has the one of an earlier release. Nobody then tells what
    -- falls by a cascade; so what never can go wrong goes through, and for all else there is a way out.
    IF TG_TAG = 'DROP TABLE'
        OR pg_catalog.lower(pg_catalog.current_setting('billing_rpc.allow_drop', true)) IN ('on', 'true', 'yes', '1')
    THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM billing.ledger) OR EXISTS (SELECT FROM billing.webhook_events) OR EXISTS (SELECT FROM billing.payments) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'dependent_objects_still_exist',
            MESSAGE = 'the books of billing_rpc might be dropped: its ledger, webhook events or payments hold rows, and its library cannot be loaded',
            HINT = 'Connect anew; if that does not help, install the library again. To drop without it, in this session: SET billing_rpc.allow_drop = on;';
    END IF;
END
$$;

-- Those by which the extension can go: itself, its schema, the language of its functions, its owner, and a table that
-- was taken out of it before.
CREATE EVENT TRIGGER billing_rpc_drop_guard ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP LANGUAGE', 'DROP OWNED', 'DROP TABLE')
    EXECUTE FUNCTION billing.guard_drops();
-- Also where session_replication_role is replica.
ALTER EVENT TRIGGER billing_rpc_drop_guard ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER billing_rpc_drop_guard IS
    'Keeps the books of billing_rpc from being dropped while they hold rows; billing_rpc.allow_drop = on lets them go.';

-- Webhook secrets that Supabase Vault keeps.
ALTER TABLE billing.webhook_secrets ADD COLUMN vault_name text;
COMMENT ON COLUMN billing.webhook_secrets.secret IS 'The secret itself, whsec_ included; blank where vault_name says where it is.';
COMMENT ON COLUMN billing.webhook_secrets.vault_name IS 'The name of a secret in Supabase Vault that is read instead, at each use.';
CREATE OR REPLACE VIEW billing.webhook_secret_list AS
    SELECT secret_id, provider, created_at, valid_until, vault_name FROM billing.webhook_secrets;

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

-- Monitoring: failures, events of test mode and unsigned ones are found by index; views for people; health and metrics. The
-- indexes are empty of what goes well in live mode, and take one look at the table.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX webhook_events_failures ON billing.webhook_events (next_attempt_at, received_at) WHERE error_message IS NOT NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX webhook_events_test ON billing.webhook_events (unsigned) WHERE NOT livemode OR unsigned;
CREATE OR REPLACE VIEW billing.event_status_counts AS
    SELECT v.provider, v.status, pg_catalog.count(*) AS events, pg_catalog.min(v.received_at) AS first_received_at,
           pg_catalog.max(v.received_at) AS last_received_at
    FROM billing.webhook_events v GROUP BY v.provider, v.status ORDER BY v.provider, v.status;
CREATE OR REPLACE VIEW billing.failed_events AS
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.error_detail, v.error_message,
           v.received_at, v.next_attempt_at, v.payload IS NOT NULL AS payload_kept, v.customer_code
    FROM billing.webhook_events v WHERE v.error_message IS NOT NULL AND v.status IN ('failed', 'dead')
    ORDER BY v.received_at DESC;
CREATE OR REPLACE VIEW billing.credit_totals AS
    SELECT b.credit_type, pg_catalog.count(*) AS customers, pg_catalog.sum(b.balance) AS balance,
           pg_catalog.sum(b.held) AS held, pg_catalog.sum(b.in_lots) AS in_lots
    FROM billing.balances b
    -- Adopted sources are entries of nobody.
    WHERE b.customer_id <> 'ad097ed0-0000-8000-8000-000000000000'
    GROUP BY b.credit_type ORDER BY b.credit_type;
CREATE VIEW billing.unfinished_events AS
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.received_at, v.next_attempt_at, v.lease_until, v.error_detail
    FROM billing.webhook_events v
    WHERE v.next_attempt_at IS NOT NULL AND v.payload IS NOT NULL AND v.status <> 'completed'
    UNION ALL
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.received_at, v.next_attempt_at, v.lease_until, v.error_detail
    FROM billing.webhook_events v
    WHERE v.lease_until IS NOT NULL AND (v.next_attempt_at IS NULL OR v.payload IS NULL) AND v.status <> 'completed'
    UNION ALL
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.received_at, v.next_attempt_at, v.lease_until, v.error_detail
    FROM billing.webhook_events v
    WHERE v.error_message IS NOT NULL AND v.lease_until IS NULL AND (v.next_attempt_at IS NULL OR v.payload IS NULL) AND v.status <> 'completed';
COMMENT ON VIEW billing.unfinished_events IS
    'Events that are not completed, each once: recorded, claimed, failed and dead ones. Found by indexes, however many completed ones there are.';
COMMENT ON COLUMN billing.unfinished_events.provider IS 'Whose event.';
COMMENT ON COLUMN billing.unfinished_events.event_id IS 'Its id.';
COMMENT ON COLUMN billing.unfinished_events.event_type IS 'Its type.';
COMMENT ON COLUMN billing.unfinished_events.status IS 'recorded, processing, failed or dead.';
COMMENT ON COLUMN billing.unfinished_events.attempts IS 'Claims so far.';
COMMENT ON COLUMN billing.unfinished_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.unfinished_events.next_attempt_at IS 'When it is due to be processed here; null where it is not.';
COMMENT ON COLUMN billing.unfinished_events.lease_until IS 'When its claim runs out.';
COMMENT ON COLUMN billing.unfinished_events.error_detail IS 'The code of its last failure.';

CREATE VIEW billing.recent_events AS
    WITH RECURSIVE types (event_type, place) AS (
        (SELECT v.event_type, 1 FROM billing.webhook_events v ORDER BY v.event_type LIMIT 1)
        UNION ALL
        SELECT (SELECT v.event_type FROM billing.webhook_events v WHERE v.event_type > t.event_type ORDER BY v.event_type LIMIT 1), t.place + 1
        FROM types t WHERE t.event_type IS NOT NULL AND t.place < 1000
    )
    SELECT e.received_at, e.provider, e.event_type, e.status, e.reason, e.detail, e.livemode, e.attempts, e.object_id, e.event_id
    FROM types t, LATERAL (
        SELECT v.received_at, v.provider, v.event_type, v.status, v.livemode, v.attempts, v.object_id, v.event_id,
               -- Of what an application says that completes events itself, only what looks like a code is shown.
               pg_catalog."substring"(v.result ->> 'reason', '^[a-z_]{1,63}$') AS reason,
               COALESCE(v.error_detail, pg_catalog."substring"(v.result ->> 'detail', '^[a-z_]{1,63}$')) AS detail
        FROM billing.webhook_events v WHERE v.event_type = t.event_type ORDER BY v.received_at DESC LIMIT 100
    ) e
    ORDER BY e.received_at DESC;
COMMENT ON VIEW billing.recent_events IS
    'The newest 100 events of each type, newest first, and what became of them: quick, however many there are (of the first 1,000 types). Add LIMIT.';
COMMENT ON COLUMN billing.recent_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.recent_events.provider IS 'Whose event.';
COMMENT ON COLUMN billing.recent_events.event_type IS 'Its type.';
COMMENT ON COLUMN billing.recent_events.status IS 'recorded, processing, completed, failed or dead.';
COMMENT ON COLUMN billing.recent_events.reason IS 'With what outcome it was completed.';
COMMENT ON COLUMN billing.recent_events.detail IS 'The code that says why: of its last failure, or of its outcome.';
COMMENT ON COLUMN billing.recent_events.livemode IS 'Real money or test mode, where the event says so.';
COMMENT ON COLUMN billing.recent_events.attempts IS 'Claims so far.';
COMMENT ON COLUMN billing.recent_events.object_id IS 'The provider''s id of what it is about.';
COMMENT ON COLUMN billing.recent_events.event_id IS 'Its id.';

CREATE VIEW billing.customer_credits AS
    SELECT b.customer_id, COALESCE(c.user_id::text, c.legacy_id::text, c.external_id) AS user_id, b.credit_type, b.balance AS credits_balance,
           b.held, b.in_lots, b.last_entry_at
    FROM billing.balances b JOIN billing.customers c ON c.customer_id = b.customer_id
    WHERE b.customer_id <> 'ad097ed0-0000-8000-8000-000000000000';
COMMENT ON VIEW billing.customer_credits IS
    'What each customer has, by credit type, under the column names that tables of one''s own use; no e-mail and no provider code.';
COMMENT ON COLUMN billing.customer_credits.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.customer_credits.user_id IS 'The application''s id of that person, as text; null where only an e-mail or a provider code is known.';
COMMENT ON COLUMN billing.customer_credits.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.customer_credits.credits_balance IS 'Sum of all entries, in credits; expired ones count until they are written off.';
COMMENT ON COLUMN billing.customer_credits.held IS 'Of that, under open holds.';
COMMENT ON COLUMN billing.customer_credits.in_lots IS 'Of that, in lots: credits that expire or have a priority.';
COMMENT ON COLUMN billing.customer_credits.last_entry_at IS 'When the balance last changed.';

CREATE VIEW billing.ledger_entries AS
    SELECT e.entry_id, e.created_at, e.customer_id, e.kind, e.credits, e.balance_after, e.credit_type, e.amount_minor, e.currency,
           e.source_ref, e.reverses, e.shortfall, e.event, e.livemode
    FROM billing.ledger e ORDER BY e.entry_id DESC;
COMMENT ON VIEW billing.ledger_entries IS
    'The ledger, newest entry first, without the callers'' own texts (idempotency key, metadata). Add LIMIT, or a condition on entry_id.';
COMMENT ON COLUMN billing.ledger_entries.entry_id IS 'Rises with time within a customer and credit type.';
COMMENT ON COLUMN billing.ledger_entries.created_at IS 'When it was written.';
COMMENT ON COLUMN billing.ledger_entries.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.ledger_entries.kind IS 'purchase, grant, spend, reversal, expiry, capture or adjustment.';
COMMENT ON COLUMN billing.ledger_entries.credits IS 'Signed: what the entry adds to the balance.';
COMMENT ON COLUMN billing.ledger_entries.balance_after IS 'The balance right after the entry.';
COMMENT ON COLUMN billing.ledger_entries.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.ledger_entries.amount_minor IS 'What was paid, in minor units of the currency.';
COMMENT ON COLUMN billing.ledger_entries.currency IS 'ISO 4217, lower case.';
COMMENT ON COLUMN billing.ledger_entries.source_ref IS 'The business fact: stripe:cs_..., stripe:pi_..., paystack:<reference>.';
COMMENT ON COLUMN billing.ledger_entries.reverses IS 'The entry that this one undoes, in whole or in part.';
COMMENT ON COLUMN billing.ledger_entries.shortfall IS 'Credits that could not be taken back, as a change.';
COMMENT ON COLUMN billing.ledger_entries.event IS '<provider>:<event id> of the event behind it.';
COMMENT ON COLUMN billing.ledger_entries.livemode IS 'Of that event: real money or test mode.';
CREATE FUNCTION billing.health() RETURNS TABLE (check_name text, ok boolean, advice text)
LANGUAGE c STRICT STABLE SECURITY DEFINER PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'health_wrapper';
CREATE FUNCTION billing.metrics() RETURNS text
LANGUAGE c STRICT STABLE SECURITY DEFINER PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'metrics_wrapper';

-- The dashboard.
CREATE DOMAIN billing."text/html" AS text;
COMMENT ON DOMAIN billing."text/html" IS 'A page of HTML; PostgREST sends what a function returns in it as text/html.';
CREATE FUNCTION @extschema@.billing_dashboard() RETURNS billing."text/html"
LANGUAGE c STABLE PARALLEL UNSAFE SECURITY DEFINER SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'billing_dashboard_wrapper';
-- The books of an existing application, taken over: what runs as the owner, then what reads with its caller's rights.
CREATE FUNCTION billing.adoption_target(person text DEFAULT NULL, credit_type text DEFAULT 'credits') RETURNS text[]
LANGUAGE c STABLE SECURITY DEFINER PARALLEL RESTRICTED
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'adoption_target_wrapper';
CREATE FUNCTION billing.adoption_source(reference text DEFAULT NULL) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'adoption_source_wrapper';
CREATE FUNCTION billing.adopt_balance_rows(targets text[] DEFAULT NULL, balances bigint[] DEFAULT NULL, credit_type text DEFAULT 'credits') RETURNS text[]
LANGUAGE c VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'adopt_balance_rows_wrapper';
CREATE FUNCTION billing.adopt_event_rows(
    event_ids text[] DEFAULT NULL,
    event_types text[] DEFAULT NULL,
    processed_at timestamptz[] DEFAULT NULL,
    dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL
) RETURNS text[]
LANGUAGE c VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'adopt_event_rows_wrapper';
CREATE FUNCTION billing.adopt_source_rows(sources text[] DEFAULT NULL, dry_run boolean DEFAULT true, max_rows bigint DEFAULT NULL) RETURNS text[]
LANGUAGE c VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path TO pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'adopt_source_rows_wrapper';

CREATE TABLE billing.balance_mirrors (
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at timestamptz,
    credit_type text PRIMARY KEY,
    relation text NOT NULL,
    user_column text NOT NULL,
    balance_column text NOT NULL
);
COMMENT ON TABLE billing.balance_mirrors IS 'Columns of the application that are kept in step with balances, or were.';
COMMENT ON COLUMN billing.balance_mirrors.started_at IS 'When billing.mirror_balances named it.';
COMMENT ON COLUMN billing.balance_mirrors.ended_at IS 'When it was taken away; null while it is kept in step.';
COMMENT ON COLUMN billing.balance_mirrors.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.balance_mirrors.relation IS 'The table, with its schema.';
COMMENT ON COLUMN billing.balance_mirrors.user_column IS 'Its column of users.';
COMMENT ON COLUMN billing.balance_mirrors.balance_column IS 'Its column of balances.';

-- What a column of somebody else's table can be used as; null if there is no such column.
CREATE FUNCTION billing.adopted_column(source regclass DEFAULT NULL, column_name text DEFAULT NULL) RETURNS text
LANGUAGE sql
STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN b.typcategory = 'S' THEN 'text'
        WHEN b.oid = 'uuid'::regtype THEN 'uuid'
        WHEN b.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN 'integer'
        WHEN b.oid = 'numeric'::regtype THEN 'numeric'
        WHEN b.oid = 'bool'::regtype THEN 'boolean'
        WHEN b.oid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN 'time'
        ELSE 'other'
    END
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = source AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
$$;

CREATE FUNCTION billing.adopt_balances(
    relation text DEFAULT NULL,
    user_column text DEFAULT NULL,
    balance_column text DEFAULT NULL,
    credit_type text DEFAULT 'credits',
    INOUT dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL,
    OUT rows bigint,
    OUT adopted bigint,
    OUT already bigint,
    OUT changed bigint,
    OUT users_not_found bigint,
    OUT duplicates bigint,
    OUT nulls bigint,
    OUT negatives bigint,
    OUT malformed bigint,
    OUT remaining bigint,
    OUT zeros bigint,
    OUT sum_rows numeric,
    OUT sum_adopted numeric,
    OUT sum_already numeric,
    OUT examples jsonb
)
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass := billing.find_relation(relation);
    wanted CONSTANT text := coalesce(credit_type, 'credits');
    targets text[];
    balances bigint[];
    verdicts text[];
BEGIN
    dry_run := coalesce(dry_run, true);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation to adopt from does not exist',
            HINT = 'Name it with its schema, for instance public.users.';
    END IF;
    IF coalesce(billing.adopted_column(source, user_column), 'none') NOT IN ('uuid', 'integer', 'text') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such user column, or one of another type',
            HINT = 'The user column is a uuid, an integer or text.';
    END IF;
    IF coalesce(billing.adopted_column(source, balance_column), 'none') NOT IN ('integer', 'numeric') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such balance column, or one of another type',
            HINT = 'The balance column is an integer or numeric; a view can cast it.';
    END IF;
    IF wanted !~ '[^[:space:]]' OR octet_length(wanted) > 63 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the credit type is blank or too long';
    END IF;
    IF max_rows <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows is a number above zero';
    END IF;
    -- Whose rows are several is left out altogether: nobody knows which of them is right. Only where customers who
    -- were all adopted before have been merged since do several rows of one customer stand for what they are.
    EXECUTE format($query$
        WITH source AS MATERIALIZED (
            SELECT r.%1$I::text AS person, r.%2$I::numeric AS balance, billing.adoption_target(r.%1$I::text, $1) AS found
            FROM %3$s r
        ), resolved AS (
            SELECT s.person, s.balance, s.found[1] AS target, cardinality(s.found) - 1 AS openings,
                   (SELECT sum(o.credits::numeric) FROM unnest(s.found[2:]) AS o (credits)) AS opened,
                   count(*) OVER of_target AS rows_of_target, sum(s.balance) OVER of_target AS balance_of_target
            FROM source s WINDOW of_target AS (PARTITION BY s.found[1])
        ), judged AS (
            SELECT r.*, CASE
                WHEN r.target IS NULL THEN 'users_not_found'
                WHEN r.openings >= r.rows_of_target THEN
                    CASE WHEN r.balance_of_target = r.opened THEN 'already' ELSE 'changed' END
                WHEN r.rows_of_target > 1 THEN 'duplicates'
                WHEN r.balance IS NULL THEN 'nulls'
                WHEN r.balance IN ('NaN', 'Infinity', '-Infinity') OR r.balance <> trunc(r.balance)
                    OR abs(r.balance) > 9223372036854775807 THEN 'malformed'
                WHEN r.balance < 0 THEN 'negatives'
                ELSE 'adopted'
            END AS verdict
            FROM resolved r
        ), placed AS (
            SELECT j.*, row_number() OVER (
                PARTITION BY j.verdict ORDER BY j.target COLLATE "C", j.person COLLATE "C", j.balance) AS place
            FROM judged j
        )
        SELECT count(*),
               count(*) FILTER (WHERE verdict IN ('already', 'changed')),
               count(*) FILTER (WHERE verdict = 'changed'),
               count(*) FILTER (WHERE verdict = 'users_not_found'),
               count(*) FILTER (WHERE verdict = 'duplicates'),
               count(*) FILTER (WHERE verdict = 'nulls'),
               count(*) FILTER (WHERE verdict = 'negatives'),
               count(*) FILTER (WHERE verdict = 'malformed'),
               count(*) FILTER (WHERE verdict = 'adopted' AND place <= $2),
               count(*) FILTER (WHERE verdict = 'adopted' AND place > $2),
               count(*) FILTER (WHERE verdict = 'adopted' AND place <= $2 AND balance = 0),
               coalesce(sum(balance) FILTER (WHERE balance NOT IN ('NaN', 'Infinity', '-Infinity')), 0),
               coalesce(sum(balance) FILTER (WHERE verdict = 'adopted' AND place <= $2), 0),
               coalesce(sum(opened / rows_of_target) FILTER (WHERE verdict IN ('already', 'changed')), 0),
               coalesce(array_agg(target ORDER BY place) FILTER (WHERE verdict = 'adopted' AND place <= $2), '{}'),
               coalesce(array_agg(balance::bigint ORDER BY place) FILTER (WHERE verdict = 'adopted' AND place <= $2), '{}'),
               coalesce((
                   SELECT jsonb_object_agg(e.verdict, e.people) FROM (
                       SELECT verdict, jsonb_agg(person ORDER BY place) AS people FROM placed
                       WHERE place <= 20 AND verdict NOT IN ('adopted', 'already') GROUP BY verdict
                   ) e), '{}')
        FROM placed
        $query$, user_column, balance_column, source)
    INTO rows, already, changed, users_not_found, duplicates, nulls, negatives, malformed, adopted, remaining, zeros,
        sum_rows, sum_adopted, sum_already, targets, balances, examples
    USING wanted, coalesce(max_rows, 9223372036854775807);
    sum_already := round(sum_already);
    IF dry_run OR adopted = 0 THEN
        RETURN;
    END IF;
    verdicts := billing.adopt_balance_rows(targets, balances, wanted);
    SELECT count(*) FILTER (WHERE a.verdict = 'adopted'), count(*) FILTER (WHERE a.verdict = 'adopted' AND a.balance = 0),
           coalesce(sum(a.balance) FILTER (WHERE a.verdict = 'adopted'), 0),
           malformed + count(*) FILTER (WHERE a.verdict = 'malformed'), remaining + count(*) FILTER (WHERE a.verdict = 'remaining')
    INTO adopted, zeros, sum_adopted, malformed, remaining
    FROM unnest(verdicts, balances) AS a (verdict, balance);
END
$$;

CREATE FUNCTION billing.adopt_stripe_events(
    relation text DEFAULT NULL,
    id_column text DEFAULT NULL,
    type_column text DEFAULT NULL,
    processed_column text DEFAULT NULL,
    INOUT dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL,
    OUT rows bigint,
    OUT adopted bigint,
    OUT already bigint,
    OUT in_progress bigint,
    OUT not_processed bigint,
    OUT duplicates bigint,
    OUT malformed bigint,
    OUT remaining bigint,
    OUT examples jsonb
)
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass := billing.find_relation(relation);
    processed_as text;
    page record;
    tally record;
    busy text[] := '{}';
    bad text[] := '{}';
    read_so_far bigint := 0;
BEGIN
    dry_run := coalesce(dry_run, true);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation to adopt from does not exist',
            HINT = 'Name it with its schema, for instance public.stripe_events.';
    END IF;
    IF billing.adopted_column(source, id_column) IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such id column, or one of another type', HINT = 'The id column is text.';
    END IF;
    IF type_column IS NOT NULL AND billing.adopted_column(source, type_column) IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such type column, or one of another type',
            HINT = 'The type column is text; null if there is none.';
    END IF;
    processed_as := coalesce(billing.adopted_column(source, processed_column), 'none');
    IF processed_as NOT IN ('time', 'boolean') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such processed column, or one of another type',
            HINT = 'The processed column is a time or a boolean; a view can compute one.';
    END IF;
    IF max_rows <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows is a number above zero';
    END IF;
    rows := 0; adopted := 0; already := 0; in_progress := 0; not_processed := 0; duplicates := 0; malformed := 0; remaining := 0;
    -- An event that stands in several rows was processed if one of them says so.
    FOR page IN EXECUTE format($query$
        WITH source AS (
            SELECT r.%1$I::text AS id, %2$s AS type, %3$s AS processed, %4$s AS at FROM %5$s r
        ), events AS (
            SELECT s.id, min(s.type) AS type, bool_or(coalesce(s.processed, false)) AS processed, min(s.at) AS at, count(*) AS rows,
                   (row_number() OVER (ORDER BY s.id COLLATE "C") - 1) / 10000 AS page
            FROM source s GROUP BY s.id
        )
        SELECT sum(e.rows)::bigint AS rows,
               coalesce(sum(CASE WHEN e.id IS NULL THEN e.rows END), 0)::bigint AS nameless,
               count(*) FILTER (WHERE e.id IS NOT NULL AND NOT e.processed) AS not_processed,
               coalesce(sum(CASE WHEN e.id IS NOT NULL THEN e.rows - 1 END), 0)::bigint AS duplicates,
               array_agg(e.id ORDER BY e.id COLLATE "C") FILTER (WHERE e.id IS NOT NULL AND e.processed) AS ids,
               array_agg(e.type ORDER BY e.id COLLATE "C") FILTER (WHERE e.id IS NOT NULL AND e.processed) AS types,
               array_agg(e.at ORDER BY e.id COLLATE "C") FILTER (WHERE e.id IS NOT NULL AND e.processed) AS times
        FROM events e GROUP BY e.page ORDER BY e.page
        $query$,
        id_column,
        CASE WHEN type_column IS NULL THEN 'NULL::text' ELSE format('r.%I::text', type_column) END,
        format(CASE processed_as WHEN 'time' THEN 'r.%I IS NOT NULL' ELSE 'r.%I' END, processed_column),
        format(CASE processed_as WHEN 'time' THEN 'CASE WHEN isfinite(r.%1$I) THEN r.%1$I::timestamptz END' ELSE 'NULL::timestamptz' END, processed_column),
        source)
    LOOP
        rows := rows + page.rows;
        malformed := malformed + page.nameless;
        not_processed := not_processed + page.not_processed;
        duplicates := duplicates + page.duplicates;
        SELECT count(*) FILTER (WHERE v.verdict = 'adopted') AS adopted, count(*) FILTER (WHERE v.verdict = 'already') AS already,
               count(*) FILTER (WHERE v.verdict = 'in_progress') AS in_progress,
               count(*) FILTER (WHERE v.verdict = 'malformed') AS malformed,
               count(*) FILTER (WHERE v.verdict = 'remaining') AS remaining,
               coalesce(array_agg(v.id) FILTER (WHERE v.verdict = 'in_progress'), '{}') AS busy,
               coalesce(array_agg(v.id) FILTER (WHERE v.verdict = 'malformed'), '{}') AS bad
        INTO tally
        FROM unnest(
            billing.adopt_event_rows(page.ids, page.types, page.times, dry_run, max_rows - adopted), page.ids
        ) AS v (verdict, id);
        adopted := adopted + tally.adopted;
        already := already + tally.already;
        in_progress := in_progress + tally.in_progress;
        malformed := malformed + tally.malformed;
        remaining := remaining + tally.remaining;
        busy := (busy || tally.busy)[1:20];
        bad := (bad || tally.bad)[1:20];
        IF rows - read_so_far >= 10000 THEN
            read_so_far := rows;
            RAISE NOTICE '% rows read so far, % events adopted', rows, adopted;
        END IF;
    END LOOP;
    examples := jsonb_strip_nulls(jsonb_build_object(
        'in_progress', CASE WHEN busy <> '{}' THEN to_jsonb(busy) END, 'malformed', CASE WHEN bad <> '{}' THEN to_jsonb(bad) END));
END
$$;

CREATE FUNCTION billing.adopt_sources(
    relation text DEFAULT NULL,
    source_column text DEFAULT NULL,
    INOUT dry_run boolean DEFAULT true,
    max_rows bigint DEFAULT NULL,
    OUT rows bigint,
    OUT adopted bigint,
    OUT already bigint,
    OUT duplicates bigint,
    OUT nulls bigint,
    OUT malformed bigint,
    OUT remaining bigint,
    OUT examples jsonb
)
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    source regclass := billing.find_relation(relation);
    page record;
    tally record;
    bad text[] := '{}';
    read_so_far bigint := 0;
BEGIN
    dry_run := coalesce(dry_run, true);
    IF source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation to adopt from does not exist',
            HINT = 'Name it with its schema, for instance public.credit_purchases.';
    END IF;
    IF billing.adopted_column(source, source_column) IS DISTINCT FROM 'text' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the relation has no such source column, or one of another type', HINT = 'The source column is text.';
    END IF;
    IF max_rows <= 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_rows is a number above zero';
    END IF;
    rows := 0; adopted := 0; already := 0; duplicates := 0; nulls := 0; malformed := 0; remaining := 0;
    -- Sorted as charges are locked: by what stands behind the provider.
    FOR page IN EXECUTE format($query$
        WITH source AS MATERIALIZED (
            SELECT r.%1$I::text AS value, billing.adoption_source(r.%1$I::text) AS source FROM %2$s r
        ), sources AS (
            SELECT s.source, CASE WHEN s.source IS NULL THEN s.value END AS bad, count(*) AS rows,
                   (row_number() OVER (ORDER BY regexp_replace(s.source, '^[a-z]+:', '') COLLATE "C", s.source COLLATE "C") - 1) / 10000 AS page
            FROM source s GROUP BY s.source, CASE WHEN s.source IS NULL THEN s.value END
        )
        SELECT sum(s.rows)::bigint AS rows,
               coalesce(sum(CASE WHEN s.source IS NULL AND s.bad IS NULL THEN s.rows END), 0)::bigint AS nulls,
               coalesce(sum(CASE WHEN s.bad IS NOT NULL THEN s.rows END), 0)::bigint AS malformed,
               coalesce(sum(CASE WHEN s.source IS NOT NULL THEN s.rows - 1 END), 0)::bigint AS duplicates,
               array_agg(s.source) FILTER (WHERE s.source IS NOT NULL) AS sources,
               coalesce(array_agg(s.bad ORDER BY s.bad COLLATE "C") FILTER (WHERE s.bad IS NOT NULL), '{}') AS bad
        FROM sources s GROUP BY s.page ORDER BY s.page
        $query$, source_column, source)
    LOOP
        rows := rows + page.rows;
        nulls := nulls + page.nulls;
        malformed := malformed + page.malformed;
        duplicates := duplicates + page.duplicates;
        bad := (bad || page.bad)[1:20];
        SELECT count(*) FILTER (WHERE v.verdict = 'adopted') AS adopted, count(*) FILTER (WHERE v.verdict = 'already') AS already,
               count(*) FILTER (WHERE v.verdict = 'remaining') AS remaining
        INTO tally
        FROM unnest(billing.adopt_source_rows(page.sources, dry_run, max_rows - adopted)) AS v (verdict);
        adopted := adopted + tally.adopted;
        already := already + tally.already;
        remaining := remaining + tally.remaining;
        IF rows - read_so_far >= 10000 THEN
            read_so_far := rows;
            RAISE NOTICE '% rows read so far, % sources adopted', rows, adopted;
        END IF;
    END LOOP;
    examples := CASE WHEN bad <> '{}' THEN jsonb_build_object('malformed', bad) ELSE '{}' END;
END
$$;

-- Runs after each statement that wrote balances of some type which is mirrored. What cannot be written (a table that
-- is gone, a column renamed, a number too large) must not stop who is buying or spending.
CREATE FUNCTION billing.mirror_changes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names text[];
    credits bigint[];
BEGIN
    SELECT array_agg(n.name ORDER BY n.name COLLATE "C"), array_agg(w.balance - w.held ORDER BY n.name COLLATE "C") INTO names, credits
    FROM written w JOIN billing.customers c ON c.customer_id = w.customer_id, LATERAL (
        SELECT c.user_id::text AS name WHERE TG_ARGV[2] IN ('uuid', 'text')
        UNION ALL SELECT c.legacy_id::text WHERE TG_ARGV[2] IN ('integer', 'text')
        UNION ALL SELECT unnest(ARRAY[c.external_id, c.email]) WHERE TG_ARGV[2] = 'text'
    ) n
    WHERE w.credit_type = TG_ARGV[1] AND n.name IS NOT NULL;
    IF names IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        EXECUTE format('SELECT billing.%I($1, $2)', TG_ARGV[0]) USING names, credits;
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR syntax_error_or_access_rule_violation OR invalid_schema_name
        OR object_not_in_prerequisite_state OR feature_not_supported OR plpgsql_error
    THEN
        RAISE WARNING USING MESSAGE = 'a balance could not be written to the column that mirrors it',
            HINT = 'Call billing.mirror_balances again, or without arguments to end it.';
    END;
    RETURN NULL;
END
$$;

-- The column is written with the rights of its table's owner, by a function of theirs that does only that.
CREATE FUNCTION billing.mirror_balances(
    relation text DEFAULT NULL,
    user_column text DEFAULT NULL,
    balance_column text DEFAULT NULL,
    credit_type text DEFAULT 'credits'
) RETURNS void
LANGUAGE plpgsql
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mirrored CONSTANT text := coalesce(credit_type, 'credits');
    writer CONSTANT text := 'mirror_' || left(encode(sha256(convert_to(coalesce(credit_type, 'credits'), 'UTF8')), 'hex'), 16);
    source regclass;
    owner name;
    user_kind text;
    former name;
    grantee text;
BEGIN
    -- One at a time: who comes second finds what the first has made.
    LOCK TABLE billing.balance_mirrors IN SHARE ROW EXCLUSIVE MODE;
    IF relation IS NOT NULL OR user_column IS NOT NULL OR balance_column IS NOT NULL THEN
        source := (SELECT c.oid FROM pg_class c WHERE c.oid = billing.find_relation(relation) AND c.relkind IN ('r', 'p'));
        IF source IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table to mirror balances to does not exist',
                HINT = 'Name a table with its schema, for instance public.users.';
        END IF;
        user_kind := billing.adopted_column(source, user_column);
        IF coalesce(user_kind, 'none') NOT IN ('uuid', 'integer', 'text') THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table has no such user column, or one of another type',
                HINT = 'The user column is a uuid, an integer or text.';
        END IF;
        IF coalesce(billing.adopted_column(source, balance_column), 'none') NOT IN ('integer', 'numeric') THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table has no such balance column, or one of another type',
                HINT = 'The balance column is an integer or numeric.';
        END IF;
        IF mirrored !~ '[^[:space:]]' OR octet_length(mirrored) > 63 THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the credit type is blank or too long';
        END IF;
        -- Else the next purchase of somebody who is not adopted yet would write over the only record of what they had.
        IF NOT EXISTS (SELECT FROM billing.balance_mirrors m WHERE m.credit_type = mirrored)
            AND (SELECT a.adopted > 0 OR a.remaining > 0 FROM billing.adopt_balances(relation, user_column, balance_column, mirrored) a)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'the table has balances that are not adopted yet',
                HINT = 'Call billing.adopt_balances for it first, with dry_run => false.';
        END IF;
    END IF;
    -- A dump carries the function and not the triggers.
    FOR former IN
        SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = 'billing.balances'::regclass AND t.tgname IN (writer || '_insert', writer || '_update')
    LOOP
        EXECUTE format('DROP TRIGGER %I ON billing.balances', former);
    END LOOP;
    IF to_regprocedure(format('billing.%I(text[], bigint[])', writer)) IS NOT NULL THEN
        EXECUTE format('DROP FUNCTION billing.%I(text[], bigint[])', writer);
    END IF;
    IF source IS NULL THEN
        UPDATE billing.balance_mirrors m SET ended_at = clock_timestamp() WHERE m.credit_type = mirrored AND m.ended_at IS NULL;
        RETURN;
    END IF;
    EXECUTE format($function$
        CREATE FUNCTION billing.%1$I(names text[], credits bigint[]) RETURNS void
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS $body$
            UPDATE %2$s AS u SET %3$I = m.credits FROM unnest(names, credits) AS m (name, credits)
            WHERE u.%4$I = m.name%5$s AND u.%3$I IS DISTINCT FROM m.credits
        $body$ $function$,
        writer, source, balance_column, user_column, CASE user_kind WHEN 'text' THEN '' WHEN 'uuid' THEN '::uuid' ELSE '::bigint' END);
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_proc p, LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.proname = writer AND p.pronamespace = 'billing'::regnamespace AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION billing.%I(text[], bigint[]) FROM %s', writer, grantee);
    END LOOP;
    EXECUTE format('GRANT EXECUTE ON FUNCTION billing.%I(text[], bigint[]) TO billing_owner', writer);
    SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class c WHERE c.oid = source;
    EXECUTE format('ALTER FUNCTION billing.%I(text[], bigint[]) OWNER TO %I', writer, owner);
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON billing.balances REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION billing.mirror_changes(%L, %L, %L)', writer || '_insert', writer, mirrored, user_kind);
    EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON billing.balances REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION billing.mirror_changes(%L, %L, %L)', writer || '_update', writer, mirrored, user_kind);
    INSERT INTO billing.balance_mirrors AS m (credit_type, relation, user_column, balance_column)
    SELECT mirrored, format('%I.%I', n.nspname, c.relname), mirror_balances.user_column, mirror_balances.balance_column
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = source
    ON CONFLICT ON CONSTRAINT balance_mirrors_pkey DO UPDATE
    SET started_at = clock_timestamp(), ended_at = NULL, relation = excluded.relation, user_column = excluded.user_column,
        balance_column = excluded.balance_column;
END
$$;
