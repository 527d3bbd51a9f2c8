-- Credit packs: what they give and what they cost, each with its times of validity. What was valid at
-- a time is the latest row that is valid from then or before; the first is valid from ever.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE TABLE billing.packs (
    valid_from timestamptz NOT NULL,
    expires_after interval,
    credits bigint NOT NULL CHECK (credits > 0),
    pack text NOT NULL,
    credit_type text NOT NULL,
    PRIMARY KEY (pack, valid_from)
);
COMMENT ON TABLE billing.packs IS 'What a credit pack gives; one row more each time that this changes.';
COMMENT ON COLUMN billing.packs.valid_from IS 'The whole second from which on it gives that; -infinity for the first row.';
COMMENT ON COLUMN billing.packs.expires_after IS 'How long its credits live; null: for ever.';
COMMENT ON COLUMN billing.packs.credits IS 'What one pack gives.';
COMMENT ON COLUMN billing.packs.pack IS 'Its name, as in the metadata of a checkout.';
COMMENT ON COLUMN billing.packs.credit_type IS 'Of which type its credits are.';

CREATE TABLE billing.pack_prices (
    valid_from timestamptz NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    pack text NOT NULL,
    currency text NOT NULL,
    PRIMARY KEY (pack, currency, valid_from)
);
COMMENT ON TABLE billing.pack_prices IS 'What a credit pack costs in a currency; one row more each time that this changes.';
COMMENT ON COLUMN billing.pack_prices.valid_from IS 'The whole second from which on it costs that; -infinity for the first row.';
COMMENT ON COLUMN billing.pack_prices.amount_minor IS 'What one pack costs, in minor units.';
COMMENT ON COLUMN billing.pack_prices.currency IS 'ISO 4217, lower case.';

SET LOCAL search_path TO @extschema@, pg_temp;
