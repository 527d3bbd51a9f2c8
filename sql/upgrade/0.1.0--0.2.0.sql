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
CREATE INDEX webhook_events_failures ON billing.webhook_events (next_attempt_at) WHERE error_message IS NOT NULL;
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
    FROM billing.balances b GROUP BY b.credit_type ORDER BY b.credit_type;
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
    FROM billing.balances b JOIN billing.customers c ON c.customer_id = b.customer_id;
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

