-- Subscription payments that were started here, and the branches that they pay for.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.payments (
    customer_id uuid NOT NULL REFERENCES billing.customers,
    period interval NOT NULL,
    payment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    started_at timestamptz NOT NULL,
    paid_at timestamptz,
    verified_at timestamptz,
    subscription_end timestamptz,
    status text NOT NULL CHECK (status IN ('pending', 'success', 'failed')),
    reference text NOT NULL UNIQUE,
    plan text NOT NULL,
    currency text NOT NULL,
    main_branch_id text,
    branch_ids text[] NOT NULL,
    metadata jsonb NOT NULL,
    CHECK ((status = 'success') = (subscription_end IS NOT NULL))
);
CREATE INDEX payments_customer_id ON billing.payments (customer_id, subscription_end);
COMMENT ON TABLE billing.payments IS 'Subscription payments started here, each known by its provider''s reference.';
COMMENT ON COLUMN billing.payments.period IS 'How long a period it buys: the plan''s when it was started.';
COMMENT ON COLUMN billing.payments.amount_minor IS 'How much, in minor units: the plan''s price when it was started.';
COMMENT ON COLUMN billing.payments.started_at IS 'When it was started.';
COMMENT ON COLUMN billing.payments.paid_at IS 'When it was paid, as the provider says; else when it was verified.';
COMMENT ON COLUMN billing.payments.verified_at IS 'When its success became known here.';
COMMENT ON COLUMN billing.payments.subscription_end IS 'Until when it pays; set with its success.';
COMMENT ON COLUMN billing.payments.status IS 'pending, success or failed; a failed one may still succeed.';
COMMENT ON COLUMN billing.payments.reference IS 'The provider''s reference.';
COMMENT ON COLUMN billing.payments.currency IS 'ISO 4217, lower case.';
COMMENT ON COLUMN billing.payments.main_branch_id IS 'Which of the branches is the main one; null: none.';
COMMENT ON COLUMN billing.payments.branch_ids IS 'The branches that it was started for, sorted, each once.';
COMMENT ON COLUMN billing.payments.metadata IS 'What the caller wants to remember.';

CREATE TABLE billing.branch_subscriptions (
    payment_id bigint NOT NULL REFERENCES billing.payments,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    is_main_branch boolean NOT NULL,
    branch_id text NOT NULL,
    PRIMARY KEY (payment_id, branch_id)
);
COMMENT ON TABLE billing.branch_subscriptions IS 'The branches that a verified payment pays for, until its subscription_end.';
COMMENT ON COLUMN billing.branch_subscriptions.created_at IS 'When the payment was verified.';
COMMENT ON COLUMN billing.branch_subscriptions.is_main_branch IS 'Whether it is the payment''s main branch.';
COMMENT ON COLUMN billing.branch_subscriptions.branch_id IS 'The application''s id of the branch.';

SET LOCAL search_path TO @extschema@, pg_temp;
