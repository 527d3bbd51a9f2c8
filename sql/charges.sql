-- Provider payments: what they paid for, and what refunds and disputes have said of them. One row is one
-- lock: whoever credits a payment and whoever undoes it take turns on it.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.charges (
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    refunded_at timestamptz,
    amount_minor bigint,
    refunded_minor bigint,
    payment_ref text PRIMARY KEY,
    source_ref text,
    refunds jsonb,
    disputes jsonb,
    called_for jsonb
);
CREATE INDEX charges_source_ref ON billing.charges (source_ref) WHERE source_ref IS NOT NULL;
COMMENT ON TABLE billing.charges IS 'One provider payment: what it paid for, and what refunds and disputes said of it.';
COMMENT ON COLUMN billing.charges.created_at IS 'When it was first heard of.';
COMMENT ON COLUMN billing.charges.refunded_at IS 'The provider''s time of the latest charge.refunded.';
COMMENT ON COLUMN billing.charges.amount_minor IS 'The whole charge in minor units, as an event about a refund told it.';
COMMENT ON COLUMN billing.charges.refunded_minor IS 'Refunded in total by that event, in minor units.';
COMMENT ON COLUMN billing.charges.payment_ref IS 'pi_..., ch_... or Paystack''s reference.';
COMMENT ON COLUMN billing.charges.source_ref IS 'The source that it paid for, as an event or call told.';
COMMENT ON COLUMN billing.charges.refunds IS 'By refund: its amount in minor units, and failed_at (Unix seconds) for one that came to nothing.';
COMMENT ON COLUMN billing.charges.disputes IS 'By dispute: withdrawn, or reinstated for good.';
COMMENT ON COLUMN billing.charges.called_for IS 'How many credits refunds and disputes called for to be undone when that was looked at last: by grant of an invoice, else by the payment itself.';

SET LOCAL search_path TO @extschema@, pg_temp;
