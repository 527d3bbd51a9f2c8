-- Subscriptions as their providers tell of them, and the questions that are open about them.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.subscriptions (
    customer_id uuid REFERENCES billing.customers,
    object_at timestamptz,
    status_at timestamptz,
    current_period_start timestamptz,
    current_period_end timestamptz,
    cancel_at timestamptz,
    trial_end timestamptz,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    quantity bigint,
    cancel_at_period_end boolean NOT NULL,
    is_truth boolean NOT NULL,
    livemode boolean,
    provider text NOT NULL,
    subscription_id text NOT NULL,
    provider_customer text NOT NULL,
    status text NOT NULL CHECK (status IN
        ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled')),
    object_status text NOT NULL,
    previous_status text,
    price_ids text[] NOT NULL,
    PRIMARY KEY (provider, subscription_id)
);
CREATE INDEX subscriptions_customer_id ON billing.subscriptions (customer_id);
CREATE INDEX subscriptions_waiting ON billing.subscriptions (provider_customer) WHERE customer_id IS NULL;
COMMENT ON TABLE billing.subscriptions IS 'Subscriptions by (provider, subscription_id), as the provider''s objects and invoices left them.';
COMMENT ON COLUMN billing.subscriptions.customer_id IS 'Whose it is; null until its provider_customer is linked.';
COMMENT ON COLUMN billing.subscriptions.object_at IS 'Time of the last subscription object applied; null where the provider tells no times.';
COMMENT ON COLUMN billing.subscriptions.status_at IS 'Time of the last status set, by an object or by an invoice; never before object_at.';
COMMENT ON COLUMN billing.subscriptions.current_period_start IS 'Begin of the period that is paid for.';
COMMENT ON COLUMN billing.subscriptions.cancel_at IS 'When it is set to end, if it is.';
COMMENT ON COLUMN billing.subscriptions.trial_end IS 'End of the trial.';
COMMENT ON COLUMN billing.subscriptions.created_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.subscriptions.quantity IS 'How many are subscribed.';
COMMENT ON COLUMN billing.subscriptions.cancel_at_period_end IS 'Whether it ends with the period that is paid for.';
COMMENT ON COLUMN billing.subscriptions.is_truth IS 'Whether the last object applied was fetched from the provider.';
COMMENT ON COLUMN billing.subscriptions.livemode IS 'Real money or test mode, where the provider says so.';
COMMENT ON COLUMN billing.subscriptions.provider IS 'stripe or paystack.';
COMMENT ON COLUMN billing.subscriptions.subscription_id IS 'sub_... or SUB_...';
COMMENT ON COLUMN billing.subscriptions.provider_customer IS 'cus_... or CUS_...';
COMMENT ON COLUMN billing.subscriptions.status IS 'incomplete, incomplete_expired, trialing, active, past_due, unpaid, paused or canceled.';
COMMENT ON COLUMN billing.subscriptions.object_status IS 'The status that the last object applied had; an invoice may have moved status since.';
COMMENT ON COLUMN billing.subscriptions.previous_status IS 'The status before the last object was applied.';
COMMENT ON COLUMN billing.subscriptions.price_ids IS 'What is paid for; the plan is found by these when the subscription is read.';

CREATE TABLE billing.refetch_queue (
    requested_at timestamptz NOT NULL,
    object_type text NOT NULL,
    object_id text NOT NULL,
    requested_reason text NOT NULL,
    PRIMARY KEY (object_type, object_id)
);
CREATE INDEX refetch_queue_requested_at ON billing.refetch_queue (requested_at);
COMMENT ON TABLE billing.refetch_queue IS 'Objects whose truth is to be fetched from the provider; each once.';
COMMENT ON COLUMN billing.refetch_queue.requested_at IS 'When it was last asked for.';
COMMENT ON COLUMN billing.refetch_queue.object_id IS 'The provider''s id of the object.';
COMMENT ON COLUMN billing.refetch_queue.requested_reason IS 'Why: the detail of the event that asked last, or always, as billing_rpc.refetch says.';

-- Who stores a subscription of an unknown code (or fails an event for want of it), and who links that code, do
-- not see each other's rows while neither has committed. Both write this row after their own: one waits, and then sees what the other left.
CREATE TABLE billing.code_meetings (
    met_at timestamptz NOT NULL,
    code text PRIMARY KEY
);
COMMENT ON TABLE billing.code_meetings IS 'Provider codes that were linked, or that a subscription or an event waited for: linking and waiting meet at its row.';
COMMENT ON COLUMN billing.code_meetings.met_at IS 'When somebody last did either.';
COMMENT ON COLUMN billing.code_meetings.code IS 'cus_... or CUS_...';

-- The relation that the truth is read from, seen through a view that belongs to whoever set it: see
-- billing.set_users_table.
CREATE FUNCTION billing.set_refetch_source(relation text DEFAULT NULL) RETURNS void
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

SET LOCAL search_path TO @extschema@, pg_temp;
