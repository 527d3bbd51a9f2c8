-- Webhook events: one row per event for ever, whatever becomes of its payload.

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
COMMENT ON TABLE billing.webhook_events IS 'Every provider event that was verified or claimed, by (provider, event_id).';
COMMENT ON COLUMN billing.webhook_events.claim_token IS 'Of the last claim.';
COMMENT ON COLUMN billing.webhook_events.occurred_at IS 'The provider''s time of the event.';
COMMENT ON COLUMN billing.webhook_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.webhook_events.processed_at IS 'When it was completed.';
COMMENT ON COLUMN billing.webhook_events.lease_until IS 'When the claim runs out.';
COMMENT ON COLUMN billing.webhook_events.next_attempt_at IS 'When a failed event is due again.';
COMMENT ON COLUMN billing.webhook_events.attempts IS 'Claims so far.';
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
COMMENT ON COLUMN billing.allowed_accounts.account_id IS 'acct_...';
