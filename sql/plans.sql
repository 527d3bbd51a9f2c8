-- Plans of subscriptions and subscription payments.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.plans (
    credits_grace interval NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    credits_per_period bigint NOT NULL CHECK (credits_per_period >= 0),
    interval_count integer NOT NULL CHECK (interval_count > 0),
    credits_expire boolean NOT NULL,
    per_branch boolean NOT NULL,
    plan text PRIMARY KEY,
    currency text NOT NULL,
    interval_unit text NOT NULL CHECK (interval_unit IN ('day', 'week', 'month', 'year')),
    credit_type text NOT NULL
);
COMMENT ON TABLE billing.plans IS 'How long a period lasts, what it costs, and which credits it grants; as billing.define_plan said last.';
COMMENT ON COLUMN billing.plans.credits_grace IS 'How long after the period''s end its credits expire, if they do.';
COMMENT ON COLUMN billing.plans.amount_minor IS 'What a period costs, in minor units; of each branch, if per_branch.';
COMMENT ON COLUMN billing.plans.credits_per_period IS 'Credits that a paid period grants.';
COMMENT ON COLUMN billing.plans.interval_count IS 'How many units a period lasts.';
COMMENT ON COLUMN billing.plans.credits_expire IS 'Whether a period''s credits expire after it.';
COMMENT ON COLUMN billing.plans.per_branch IS 'Whether the amount is one branch''s.';
COMMENT ON COLUMN billing.plans.currency IS 'ISO 4217, lower case.';
COMMENT ON COLUMN billing.plans.interval_unit IS 'day, week, month or year, of the calendar in UTC.';
COMMENT ON COLUMN billing.plans.credit_type IS 'Of which type its credits are.';

CREATE TABLE billing.plan_prices (
    price_id text PRIMARY KEY,
    plan text NOT NULL REFERENCES billing.plans
);
CREATE INDEX plan_prices_plan ON billing.plan_prices (plan);
COMMENT ON TABLE billing.plan_prices IS 'The providers'' price ids, each of one plan.';
COMMENT ON COLUMN billing.plan_prices.price_id IS 'Stripe''s price_... (or plan_...), Paystack''s PLN_...';
COMMENT ON COLUMN billing.plan_prices.plan IS 'The plan that it stands for.';

SET LOCAL search_path TO @extschema@, pg_temp;
