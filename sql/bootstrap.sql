-- The first thing to run: refusals with a hint, the schema, the group roles, and the types that
-- clients see. Everything here runs once per database, as the superuser who installs.
--
-- Every file of DDL pins the path while it runs: where no operator of pg_catalog fits exactly, one of the
-- target schema would be taken, and whoever may create there would run as that superuser.
SET LOCAL search_path TO pg_catalog, pg_temp;

DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = 'billing_rpc needs a database with encoding UTF8',
            HINT = 'Create the database with ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'billing') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_schema',
            MESSAGE = 'schema billing exists already',
            HINT = 'billing_rpc keeps its tables in a schema of that name: rename or drop the present one first.';
    END IF;
END
$$;

-- Nothing is older than this install: access.sql takes everything from everybody.
SELECT pg_catalog.set_config('billing_upgrade.members', '', true);

-- Two functions of one name would make PostgREST choose between them, and a like-named table or type
-- would break the install half way. A test compares this list with what the extension creates.
DO $$
DECLARE
    names CONSTANT pg_catalog.text[] := ARRAY[
        'billing_reason', 'credit_outcome', 'credit_balance', 'credit_entry', 'identity_outcome',
        'hold_outcome', 'payment_outcome', 'user_resolution', 'event_outcome', 'signature_verdict',
        'subscription_outcome', 'subscription_state', 'refetch_request',
        'resolve_billing_user', 'register_billing_user',
        'apply_credit_purchase', 'grant_credits', 'spend_credits', 'credit_balance_at', 'credit_history',
        'reverse_credit_entry', 'hold_credits', 'capture_hold', 'release_hold', 'apply_credit_batch',
        'start_subscription_payment', 'verify_subscription_payment', 'subscription_payment_status',
        'verify_stripe_signature', 'verify_paystack_signature',
        'claim_stripe_event', 'complete_stripe_event', 'fail_stripe_event',
        'claim_webhook_event', 'complete_webhook_event', 'fail_webhook_event',
        'process_stripe_webhook', 'process_paystack_webhook', 'stripe_webhook', 'paystack_webhook',
        'retry_webhook_events',
        'apply_subscription_update', 'can_transition_subscription', 'subscription_status', 'pending_refetches',
        'my_subscription', 'has_active_subscription', 'my_credits', 'my_credit_history', 'has_credits',
        'billing_dashboard'
    ];
    target CONSTANT pg_catalog.oid := '@extschema@'::pg_catalog.regnamespace;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = target AND proname = ANY (names))
        OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = target AND typname = ANY (names))
        OR EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = target AND relname = ANY (names))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = 'the target schema already holds a function, table or type of one of billing_rpc''s names',
            HINT = 'Install into a schema of its own: CREATE SCHEMA x; CREATE EXTENSION billing_rpc SCHEMA x.';
    END IF;
END
$$;

-- Roles belong to the cluster, not to the extension: they are made if missing and never dropped.
DO $$
DECLARE
    role_name pg_catalog.text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[
        'billing_owner',    -- owns all, runs the definer functions
        'billing_service',  -- every RPC
        'billing_webhook',  -- only the webhook endpoints
        'billing_user',     -- end users' own functions
        'billing_monitor'   -- views and reports
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- an install into another database has made it meanwhile
            END;
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'billing_owner' AND rolsuper) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_role_specification',
            MESSAGE = 'role billing_owner must not be a superuser',
            HINT = 'ALTER ROLE billing_owner NOSUPERUSER; the definer functions run as this role.';
    END IF;
END
$$;

-- Supabase's roles become members of the group roles that fit them.
DO $$
DECLARE
    pair record;
BEGIN
    FOR pair IN
        SELECT r.rolname, wanted.group_name
        FROM (VALUES ('service_role', 'billing_service'), ('authenticated', 'billing_user')) AS wanted (role_name, group_name)
        JOIN pg_catalog.pg_roles r ON r.rolname = wanted.role_name
    LOOP
        EXECUTE pg_catalog.format('GRANT %I TO %I', pair.group_name, pair.rolname);
        IF NOT pg_catalog.pg_has_role(pair.rolname, pair.group_name, 'USAGE') THEN
            RAISE WARNING USING
                MESSAGE = pg_catalog.format('role %s does not inherit what %s may do', pair.rolname, pair.group_name),
                -- From Postgres 16 on it is the membership that inherits or not, as the role did when it was made a member.
                HINT = pg_catalog.format('ALTER ROLE %1$s INHERIT; REVOKE %2$s FROM %1$s; GRANT %2$s TO %1$s;', pair.rolname, pair.group_name);
        END IF;
    END LOOP;
END
$$;

CREATE SCHEMA billing;
COMMENT ON SCHEMA billing IS
    'Tables, views and operators'' functions of billing_rpc. Not for exposing through PostgREST.';

CREATE TYPE @extschema@.billing_reason AS ENUM
    ('applied', 'replay', 'duplicate', 'invalid', 'ignored', 'failed');
COMMENT ON TYPE @extschema@.billing_reason IS
    'Why a call answered as it did: applied (this call made the change), replay (this very request was applied before), duplicate (another request stands for the same fact, or holds the claim), invalid (cannot be applied as asked), ignored (an authentic event without effect on purpose), failed (an authentic event that will be tried again).';

CREATE TYPE @extschema@.credit_outcome AS (
    applied boolean,
    reason @extschema@.billing_reason,
    detail text,
    entry_id bigint,
    customer_id uuid,
    credit_type text,
    credits bigint,
    balance bigint,
    created_at timestamptz
);
COMMENT ON TYPE @extschema@.credit_outcome IS
    'Answer of a call that writes to the ledger: credits are signed as in the ledger, balance is the balance right after that entry.';

CREATE TYPE @extschema@.hold_outcome AS (
    applied boolean,
    reason @extschema@.billing_reason,
    detail text,
    hold_id uuid,
    customer_id uuid,
    credit_type text,
    status text,
    credits bigint,
    captured_credits bigint,
    balance bigint,
    available bigint,
    expires_at timestamptz
);
COMMENT ON TYPE @extschema@.hold_outcome IS
    'Answer of a call on a hold, with the hold and the customer''s credits as they are now: status is open, captured, released or expired.';

CREATE TYPE @extschema@.credit_balance AS (
    customer_id uuid,
    credit_type text,
    balance bigint,
    held bigint,
    available bigint,
    next_expiry_at timestamptz,
    next_expiry_credits bigint
);
COMMENT ON TYPE @extschema@.credit_balance IS
    'A customer''s credits of one type: available is what can be spent now.';

CREATE TYPE @extschema@.credit_entry AS (
    entry_id bigint,
    kind text,
    credits bigint,
    balance bigint,
    credit_type text,
    reverses bigint,
    source_ref text,
    idempotency_key text,
    metadata jsonb,
    created_at timestamptz
);
COMMENT ON TYPE @extschema@.credit_entry IS
    'One entry of the ledger: kind is purchase, grant, spend, reversal, expiry, capture or adjustment; balance is the balance right after it.';

CREATE TYPE @extschema@.payment_outcome AS (
    applied boolean,
    reason @extschema@.billing_reason,
    detail text,
    reference text,
    status text,
    customer_id uuid,
    plan text,
    amount_minor bigint,
    currency text,
    paid_at timestamptz,
    subscription_end timestamptz,
    branches integer
);
COMMENT ON TYPE @extschema@.payment_outcome IS
    'Answer of a call on a subscription payment, with the payment as it is now: status is pending, success or failed; branches counts its branch subscriptions.';

CREATE TYPE @extschema@.user_resolution AS (
    found boolean,
    kind text,
    customer_id uuid,
    user_id uuid,
    email text,
    detail text
);
COMMENT ON TYPE @extschema@.user_resolution IS
    'Whom an identifier names: kind is blank, placeholder, stripe_customer, paystack_customer, uuid, integer, email, external or malformed.';

CREATE TYPE @extschema@.identity_outcome AS (
    applied boolean,
    reason @extschema@.billing_reason,
    detail text,
    customer_id uuid,
    user_id uuid,
    email text,
    legacy_id bigint,
    stripe_customer_id text,
    paystack_customer_code text,
    external_id text
);
COMMENT ON TYPE @extschema@.identity_outcome IS
    'Answer of register_billing_user, with the customer''s identifiers as they are after it.';

CREATE TYPE @extschema@.event_outcome AS (
    applied boolean,
    reason @extschema@.billing_reason,
    detail text,
    provider text,
    event_id text,
    event_type text,
    status text,
    attempts integer,
    claim_token uuid,
    lease_until timestamptz,
    result jsonb
);
COMMENT ON TYPE @extschema@.event_outcome IS
    'Answer of a call on a webhook event: status is recorded, processing, completed, failed or dead; claim_token only for who holds the claim.';

CREATE TYPE @extschema@.signature_verdict AS (
    valid boolean,
    detail text,
    signed_at timestamptz
);
COMMENT ON TYPE @extschema@.signature_verdict IS
    'Whether a webhook body is authentic; detail is null or secret_missing, tolerance_invalid, signature_missing, signature_malformed, signature_mismatch, signature_expired.';

CREATE TYPE @extschema@.subscription_outcome AS (
    applied boolean,
    reason @extschema@.billing_reason,
    detail text,
    provider text,
    subscription_id text,
    customer_id uuid,
    previous_status text,
    status text,
    current_period_end timestamptz,
    cancel_at_period_end boolean
);
COMMENT ON TYPE @extschema@.subscription_outcome IS
    'Answer of a call that changes a subscription, with the subscription as it is after it; customer_id is null while nobody here has its provider code.';

CREATE TYPE @extschema@.subscription_state AS (
    provider text,
    subscription_id text,
    customer_id uuid,
    plan text,
    status text,
    quantity bigint,
    current_period_end timestamptz,
    cancel_at_period_end boolean,
    trial_end timestamptz,
    active boolean
);
COMMENT ON TYPE @extschema@.subscription_state IS
    'A customer''s best subscription: active tells whether it can be used now.';

CREATE TYPE @extschema@.refetch_request AS (
    object_type text,
    object_id text,
    requested_reason text,
    requested_at timestamptz
);
COMMENT ON TYPE @extschema@.refetch_request IS
    'An object whose truth is to be fetched from the provider; object_type is subscription.';

SET LOCAL search_path TO @extschema@, pg_temp;
