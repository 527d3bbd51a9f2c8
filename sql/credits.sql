-- The credit ledger: balances that are locked, entries that never change, lots and holds.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.balances (
    customer_id uuid NOT NULL REFERENCES billing.customers,
    balance bigint NOT NULL CHECK (balance >= 0),
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    in_lots bigint NOT NULL DEFAULT 0 CHECK (in_lots >= 0),
    hold_count bigint NOT NULL DEFAULT 0,
    last_entry_at timestamptz NOT NULL,
    credit_type text NOT NULL,
    PRIMARY KEY (customer_id, credit_type)
) WITH (fillfactor = 70);
COMMENT ON TABLE billing.balances IS 'One row per customer and credit type: the row that every writing call locks.';
COMMENT ON COLUMN billing.balances.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.balances.balance IS 'Sum of all entries, in credits; never below zero.';
COMMENT ON COLUMN billing.balances.held IS 'Credits under open holds.';
COMMENT ON COLUMN billing.balances.in_lots IS 'What remains in lots: zero spares looking for them.';
COMMENT ON COLUMN billing.balances.hold_count IS 'Holds ever made: zero spares looking for their keys.';
COMMENT ON COLUMN billing.balances.last_entry_at IS 'created_at of the last entry: the next one is never earlier.';
COMMENT ON COLUMN billing.balances.credit_type IS 'Name of the kind of credits.';

-- reverses has no foreign key: nothing is ever deleted here, and a table that references itself makes
-- pg_dump warn of circular constraints.
CREATE TABLE billing.ledger (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL,
    credits bigint NOT NULL,
    balance_after bigint NOT NULL CHECK (balance_after >= 0),
    amount_minor bigint,
    reverses bigint,
    shortfall bigint,
    customer_id uuid NOT NULL,
    livemode boolean,
    credit_type text NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('purchase', 'grant', 'spend', 'reversal', 'expiry', 'capture', 'adjustment')),
    currency text,
    -- By bytes: compared faster, and the sources of one invoice lie beside each other.
    idempotency_key text COLLATE "C" NOT NULL,
    source_ref text COLLATE "C",
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
CREATE INDEX ledger_reverses ON billing.ledger (reverses) WHERE reverses IS NOT NULL;
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

CREATE TABLE billing.lots (
    lot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id bigint NOT NULL UNIQUE REFERENCES billing.ledger,
    expires_at timestamptz,
    remaining bigint NOT NULL CHECK (remaining >= 0),
    held bigint NOT NULL DEFAULT 0 CHECK (held >= 0 AND held <= remaining),
    customer_id uuid NOT NULL,
    priority integer NOT NULL,
    credit_type text NOT NULL,
    FOREIGN KEY (customer_id, credit_type) REFERENCES billing.balances
);
-- Only what is left is looked for: a customer with a thousand used-up lots burns as fast as one with none.
CREATE INDEX lots_live ON billing.lots (customer_id, credit_type) WHERE remaining > 0;
CREATE INDEX lots_expiring ON billing.lots (expires_at) WHERE remaining > held AND expires_at IS NOT NULL;
COMMENT ON TABLE billing.lots IS 'Credits of one grant or purchase that expire or have a priority.';
COMMENT ON COLUMN billing.lots.lot_id IS 'Rises with age.';
COMMENT ON COLUMN billing.lots.entry_id IS 'The grant or purchase that made it.';
COMMENT ON COLUMN billing.lots.expires_at IS 'When its credits run out; null: never.';
COMMENT ON COLUMN billing.lots.remaining IS 'Credits neither spent nor written off, held or not.';
COMMENT ON COLUMN billing.lots.held IS 'Of those, under open holds.';
COMMENT ON COLUMN billing.lots.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.lots.priority IS 'Lowest number is burnt first.';
COMMENT ON COLUMN billing.lots.credit_type IS 'Name of the kind of credits.';

CREATE TABLE billing.lot_uses (
    entry_id bigint NOT NULL REFERENCES billing.ledger,
    lot_id bigint NOT NULL REFERENCES billing.lots,
    credits bigint NOT NULL CHECK (credits > 0),
    returned bigint NOT NULL DEFAULT 0 CHECK (returned >= 0 AND returned <= credits),
    PRIMARY KEY (entry_id, lot_id)
);
COMMENT ON TABLE billing.lot_uses IS 'What a spend or capture took from which lot, so that a reversal can give it back there.';
COMMENT ON COLUMN billing.lot_uses.returned IS 'Of those, undone by reversals.';

CREATE TABLE billing.holds (
    hold_id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    credits bigint NOT NULL CHECK (credits > 0),
    captured_credits bigint,
    customer_id uuid NOT NULL,
    credit_type text NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'captured', 'released', 'expired')),
    idempotency_key text NOT NULL,
    fingerprint bytea NOT NULL,
    metadata jsonb NOT NULL,
    FOREIGN KEY (customer_id, credit_type) REFERENCES billing.balances
);
CREATE UNIQUE INDEX holds_idempotency_key ON billing.holds (idempotency_key);
CREATE INDEX holds_open ON billing.holds (customer_id, credit_type) WHERE status = 'open';
CREATE INDEX holds_running_out ON billing.holds (expires_at) WHERE status = 'open';
COMMENT ON TABLE billing.holds IS 'Credits reserved: neither spent nor available.';
COMMENT ON COLUMN billing.holds.hold_id IS 'Names the hold to capture_hold and release_hold.';
COMMENT ON COLUMN billing.holds.created_at IS 'When it was made.';
COMMENT ON COLUMN billing.holds.expires_at IS 'From then on it counts for nothing, whether or not its row says so yet.';
COMMENT ON COLUMN billing.holds.ended_at IS 'When it was captured or released, or seen to have run out.';
COMMENT ON COLUMN billing.holds.credits IS 'Credits reserved.';
COMMENT ON COLUMN billing.holds.captured_credits IS 'Of those, spent; the rest was released.';
COMMENT ON COLUMN billing.holds.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.holds.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.holds.status IS 'open, captured, released or expired.';
COMMENT ON COLUMN billing.holds.idempotency_key IS 'The caller''s key; one name space with the ledger''s.';
COMMENT ON COLUMN billing.holds.fingerprint IS 'Of the request''s parameters: the same key with others is refused.';
COMMENT ON COLUMN billing.holds.metadata IS 'The caller''s JSON object.';

CREATE TABLE billing.hold_lots (
    hold_id uuid NOT NULL REFERENCES billing.holds,
    lot_id bigint NOT NULL REFERENCES billing.lots,
    credits bigint NOT NULL CHECK (credits > 0),
    PRIMARY KEY (hold_id, lot_id)
);
COMMENT ON TABLE billing.hold_lots IS 'Which lots a hold lies on.';
COMMENT ON COLUMN billing.hold_lots.credits IS 'Credits of the hold on that lot.';

CREATE VIEW billing.credit_totals AS
    SELECT b.credit_type, pg_catalog.count(*) AS customers, pg_catalog.sum(b.balance) AS balance,
           pg_catalog.sum(b.held) AS held, pg_catalog.sum(b.in_lots) AS in_lots
    FROM billing.balances b
    -- Adopted sources are entries of nobody.
    WHERE b.customer_id <> 'ad097ed0-0000-8000-8000-000000000000'
    GROUP BY b.credit_type ORDER BY b.credit_type;
COMMENT ON VIEW billing.credit_totals IS 'Credits of all customers, by credit type.';
COMMENT ON COLUMN billing.credit_totals.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.credit_totals.customers IS 'Customers who have a balance of that type.';
COMMENT ON COLUMN billing.credit_totals.balance IS 'Sum of their balances, in credits.';
COMMENT ON COLUMN billing.credit_totals.held IS 'Of that, under open holds.';

SET LOCAL search_path TO @extschema@, pg_temp;
