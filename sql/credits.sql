-- The credit ledger: balances that are locked, entries that never change, charges that tie payments
-- to what they paid for.

CREATE TABLE billing.balances (
    customer_id uuid NOT NULL REFERENCES billing.customers,
    balance bigint NOT NULL CHECK (balance >= 0),
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    last_entry_at timestamptz NOT NULL,
    credit_type text NOT NULL,
    PRIMARY KEY (customer_id, credit_type)
) WITH (fillfactor = 70);
COMMENT ON TABLE billing.balances IS 'One row per customer and credit type: the row that every writing call locks.';
COMMENT ON COLUMN billing.balances.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.balances.balance IS 'Sum of all entries, in credits; never below zero.';
COMMENT ON COLUMN billing.balances.held IS 'Credits under open holds.';
COMMENT ON COLUMN billing.balances.last_entry_at IS 'created_at of the last entry: the next one is never earlier.';
COMMENT ON COLUMN billing.balances.credit_type IS 'Name of the kind of credits.';

CREATE TABLE billing.ledger (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL,
    credits bigint NOT NULL,
    balance_after bigint NOT NULL CHECK (balance_after >= 0),
    amount_minor bigint,
    reverses bigint REFERENCES billing.ledger,
    shortfall bigint,
    customer_id uuid NOT NULL,
    livemode boolean,
    credit_type text NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('purchase', 'grant', 'spend', 'reversal', 'expiry', 'capture', 'adjustment')),
    currency text,
    idempotency_key text NOT NULL,
    source_ref text,
    payment_ref text,
    fingerprint bytea NOT NULL,
    event text,
    metadata jsonb NOT NULL,
    FOREIGN KEY (customer_id, credit_type) REFERENCES billing.balances,
    CHECK ((amount_minor IS NULL) = (currency IS NULL))
);
CREATE UNIQUE INDEX ledger_idempotency_key ON billing.ledger (idempotency_key);
CREATE UNIQUE INDEX ledger_source_ref ON billing.ledger (source_ref) WHERE source_ref IS NOT NULL;
CREATE INDEX ledger_history ON billing.ledger (customer_id, credit_type, entry_id);
COMMENT ON TABLE billing.ledger IS 'Append-only: every change of a balance, with the balance right after it.';
COMMENT ON COLUMN billing.ledger.entry_id IS 'Rises with time within a customer and credit type.';
COMMENT ON COLUMN billing.ledger.created_at IS 'The clock under the balance lock; never earlier than the entry before.';
COMMENT ON COLUMN billing.ledger.credits IS 'Signed: what the entry adds to the balance.';
COMMENT ON COLUMN billing.ledger.balance_after IS 'The balance right after the entry.';
COMMENT ON COLUMN billing.ledger.amount_minor IS 'What was paid, in minor units of the currency.';
COMMENT ON COLUMN billing.ledger.reverses IS 'The entry that this one undoes, in whole or in part.';
COMMENT ON COLUMN billing.ledger.shortfall IS 'Credits that could not be taken back, as a change.';
COMMENT ON COLUMN billing.ledger.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.ledger.livemode IS 'Of the event behind it: real money or test mode.';
COMMENT ON COLUMN billing.ledger.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.ledger.kind IS 'purchase, grant, spend, reversal, expiry, capture or adjustment.';
COMMENT ON COLUMN billing.ledger.currency IS 'ISO 4217, lower case.';
COMMENT ON COLUMN billing.ledger.idempotency_key IS 'The caller''s key, or one derived here (billing_rpc:...).';
COMMENT ON COLUMN billing.ledger.source_ref IS 'The business fact: stripe:cs_..., stripe:pi_..., paystack:<reference>; credited once.';
COMMENT ON COLUMN billing.ledger.payment_ref IS 'The payment, as refunds and disputes name it, where known at the time.';
COMMENT ON COLUMN billing.ledger.fingerprint IS 'Of the request''s parameters: the same key with others is refused.';
COMMENT ON COLUMN billing.ledger.event IS '<provider>:<event id> of the event behind it.';
COMMENT ON COLUMN billing.ledger.metadata IS 'The caller''s JSON object.';

CREATE FUNCTION billing.refuse_ledger_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'billing.ledger is append-only',
        HINT = 'Undo an entry by another one, not by changing it.';
END
$$;
CREATE TRIGGER ledger_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_ledger_change();
-- Also where session_replication_role is replica: copying rows in is an insert, nothing else is needed.
ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;

CREATE TABLE billing.charges (
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    payment_ref text PRIMARY KEY,
    source_ref text
);
CREATE INDEX charges_source_ref ON billing.charges (source_ref) WHERE source_ref IS NOT NULL;
COMMENT ON TABLE billing.charges IS 'One provider payment, and what it paid for.';
COMMENT ON COLUMN billing.charges.created_at IS 'When it was first heard of.';
COMMENT ON COLUMN billing.charges.payment_ref IS 'pi_..., ch_... or Paystack''s reference.';
COMMENT ON COLUMN billing.charges.source_ref IS 'The source that it paid for, as an event or call told.';
