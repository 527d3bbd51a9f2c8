-- Webhook events: one row per event for ever, whatever becomes of its payload.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.webhook_events (
    claim_token uuid,
    occurred_at timestamptz,
    received_at timestamptz NOT NULL,
    processed_at timestamptz,
    lease_until timestamptz,
    next_attempt_at timestamptz,
    attempts integer NOT NULL,
    livemode boolean,
    unsigned boolean NOT NULL DEFAULT false,
    provider text NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    status text NOT NULL CHECK (status IN ('recorded', 'processing', 'completed', 'failed', 'dead')),
    account_id text,
    api_version text,
    object_id text,
    object_type text,
    customer_code text,
    error_detail text,
    error_message text,
    payload_summary jsonb NOT NULL,
    result jsonb,
    payload text,
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX webhook_events_by_type ON billing.webhook_events (event_type, received_at DESC);
CREATE INDEX webhook_events_waiting ON billing.webhook_events (customer_code) WHERE customer_code IS NOT NULL;
-- A delivery that goes well leaves both of these columns null from beginning to end: its row stays out of
-- these indexes, and completing it changes no index at all.
CREATE INDEX webhook_events_due ON billing.webhook_events (next_attempt_at)
    WHERE next_attempt_at IS NOT NULL AND payload IS NOT NULL;
CREATE INDEX webhook_events_leases ON billing.webhook_events (lease_until) WHERE lease_until IS NOT NULL;
-- Events that failed, also those that can only be delivered again, and dead ones (never due any more): of an event that goes well
-- no failure is ever told, so it stays out of here too.
CREATE INDEX webhook_events_failures ON billing.webhook_events (next_attempt_at, received_at) WHERE error_message IS NOT NULL;
-- Events of test mode, and unsigned ones: a row of live mode is in here only if nobody signed it.
CREATE INDEX webhook_events_test ON billing.webhook_events (unsigned) WHERE NOT livemode OR unsigned;
-- A body that is dropped must not live on in the planner's statistics, nor a claim's token be read there.
ALTER TABLE billing.webhook_events
    ALTER COLUMN claim_token SET STATISTICS 0,
    ALTER COLUMN payload SET STATISTICS 0;
COMMENT ON TABLE billing.webhook_events IS 'Every provider event that was verified or claimed, by (provider, event_id).';
COMMENT ON COLUMN billing.webhook_events.occurred_at IS 'The provider''s time of the event.';
COMMENT ON COLUMN billing.webhook_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.webhook_events.processed_at IS 'When it was completed.';
COMMENT ON COLUMN billing.webhook_events.lease_until IS 'When the claim runs out.';
COMMENT ON COLUMN billing.webhook_events.next_attempt_at IS 'When a recorded or failed event, or one whose lease runs out, is due to be processed here.';
COMMENT ON COLUMN billing.webhook_events.livemode IS 'Real money or test mode, where the event says so.';
COMMENT ON COLUMN billing.webhook_events.unsigned IS 'Let in without a signature, for end-to-end tests.';
COMMENT ON COLUMN billing.webhook_events.provider IS 'stripe, paystack, or whatever a claim named.';
COMMENT ON COLUMN billing.webhook_events.event_id IS 'The provider''s id of the event.';
COMMENT ON COLUMN billing.webhook_events.event_type IS 'The provider''s name of its type.';
COMMENT ON COLUMN billing.webhook_events.status IS 'recorded, processing, completed, failed or dead.';
COMMENT ON COLUMN billing.webhook_events.account_id IS 'The connected account it belongs to.';
COMMENT ON COLUMN billing.webhook_events.api_version IS 'The API version that shaped it.';
COMMENT ON COLUMN billing.webhook_events.object_id IS 'The id of what it is about.';
COMMENT ON COLUMN billing.webhook_events.object_type IS 'The type of what it is about.';
COMMENT ON COLUMN billing.webhook_events.customer_code IS 'The provider code that it waits for to be linked.';
COMMENT ON COLUMN billing.webhook_events.error_detail IS 'The code of its last failure.';
COMMENT ON COLUMN billing.webhook_events.error_message IS 'The sentence of its last failure.';
COMMENT ON COLUMN billing.webhook_events.payload_summary IS 'id, type, object_id and object_type, and nothing else.';
COMMENT ON COLUMN billing.webhook_events.result IS 'What completing it left; answered on replay.';
COMMENT ON COLUMN billing.webhook_events.payload IS 'The whole body, as long as billing_rpc.payload_retention says.';

CREATE TABLE billing.allowed_accounts (
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    account_id text PRIMARY KEY
);
COMMENT ON TABLE billing.allowed_accounts IS 'Stripe Connect accounts whose events are processed.';
COMMENT ON COLUMN billing.allowed_accounts.created_at IS 'When billing.allow_account named it.';

CREATE VIEW billing.event_status_counts AS
    SELECT v.provider, v.status, pg_catalog.count(*) AS events, pg_catalog.min(v.received_at) AS first_received_at,
           pg_catalog.max(v.received_at) AS last_received_at
    FROM billing.webhook_events v GROUP BY v.provider, v.status ORDER BY v.provider, v.status;
COMMENT ON VIEW billing.event_status_counts IS 'How many events there are, by provider and status.';
COMMENT ON COLUMN billing.event_status_counts.status IS 'recorded, processing, completed, failed or dead.';
COMMENT ON COLUMN billing.event_status_counts.first_received_at IS 'When the oldest of them was first heard of.';
COMMENT ON COLUMN billing.event_status_counts.last_received_at IS 'When the newest of them was first heard of.';

CREATE VIEW billing.failed_events AS
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.error_detail, v.error_message,
           v.received_at, v.next_attempt_at, v.payload IS NOT NULL AS payload_kept, v.customer_code
    FROM billing.webhook_events v WHERE v.error_message IS NOT NULL AND v.status IN ('failed', 'dead')
    ORDER BY v.received_at DESC;
COMMENT ON VIEW billing.failed_events IS
    'Events whose processing failed: failed ones are tried again, dead ones wait for billing.revive_event or billing.dismiss_event.';
COMMENT ON COLUMN billing.failed_events.error_detail IS 'The code of its last failure.';
COMMENT ON COLUMN billing.failed_events.error_message IS 'The sentence of its last failure.';
COMMENT ON COLUMN billing.failed_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.failed_events.next_attempt_at IS 'When it is due again; null for dead ones.';
COMMENT ON COLUMN billing.failed_events.payload_kept IS 'Whether its body is kept, so that it can be tried again here; else the provider must deliver it again.';
COMMENT ON COLUMN billing.failed_events.customer_code IS 'The provider code that it waits for to be linked.';

CREATE VIEW billing.stuck_events AS
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.lease_until AS stuck_since,
           'lease_ran_out' AS problem
    FROM billing.webhook_events v
    WHERE v.lease_until IS NOT NULL AND v.lease_until < pg_catalog.clock_timestamp() AND v.status = 'processing'
    UNION ALL
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.next_attempt_at, 'overdue'
    FROM billing.webhook_events v
    WHERE v.next_attempt_at IS NOT NULL AND v.payload IS NOT NULL AND v.status IN ('recorded', 'failed')
        AND v.next_attempt_at < pg_catalog.clock_timestamp() - interval '10 minutes';
COMMENT ON VIEW billing.stuck_events IS
    'Events that nobody takes care of: claimed by somebody who never came back, or due for more than ten minutes (is retry_webhook_events scheduled?).';
COMMENT ON COLUMN billing.stuck_events.status IS 'processing, recorded or failed.';
COMMENT ON COLUMN billing.stuck_events.stuck_since IS 'When its lease ran out, or when it was due.';
COMMENT ON COLUMN billing.stuck_events.problem IS 'lease_ran_out or overdue.';

CREATE VIEW billing.stripe_events AS
    SELECT v.event_id, v.event_type, v.received_at, v.processed_at, v.status AS processing_status,
           v.error_message, v.payload_summary
    FROM billing.webhook_events v WHERE v.provider = 'stripe';
COMMENT ON VIEW billing.stripe_events IS
    'Stripe''s events by the column names that handlers of one''s own use: their monitoring queries keep working.';
COMMENT ON COLUMN billing.stripe_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.stripe_events.processed_at IS 'When it was completed.';
COMMENT ON COLUMN billing.stripe_events.processing_status IS 'recorded, processing, completed, failed or dead.';
COMMENT ON COLUMN billing.stripe_events.error_message IS 'The sentence of its last failure.';
COMMENT ON COLUMN billing.stripe_events.payload_summary IS 'id, type, object_id and object_type.';

SET LOCAL search_path TO @extschema@, pg_temp;
