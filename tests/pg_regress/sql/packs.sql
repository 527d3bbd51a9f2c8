-- Credit packs: what they give, what they cost, and since when.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE EXTENSION billing_rpc;
-- Time passes: whatever was defined today was defined an hour earlier.
CREATE PROCEDURE time_passes() LANGUAGE sql AS $$
    UPDATE billing.packs SET valid_from = valid_from - interval '1 hour' WHERE valid_from > '-infinity';
    UPDATE billing.pack_prices SET valid_from = valid_from - interval '1 hour' WHERE valid_from > '-infinity'
$$;
CREATE VIEW packs AS
    SELECT pack, row_number() OVER (PARTITION BY pack ORDER BY valid_from) AS row, valid_from = '-infinity' AS from_ever, credits, credit_type, expires_after
    FROM billing.packs ORDER BY pack, row;
CREATE VIEW prices AS
    SELECT pack, currency, row_number() OVER (PARTITION BY pack, currency ORDER BY valid_from) AS row, valid_from = '-infinity' AS from_ever, amount_minor
    FROM billing.pack_prices ORDER BY pack, currency, row;

-- 1. The first definition is valid from ever.
SELECT billing.define_pack('starter', 100, 900, 'eur');
SELECT billing.define_pack('gold', 50, 1000, 'EUR', credit_type => 'gold', expires_after => '1 year');
SELECT * FROM packs;
SELECT * FROM prices;

-- 2. Another currency: one more price, also from ever. The pack is the same.
SELECT billing.define_pack('starter', 100, 1000, 'usd');
SELECT * FROM packs WHERE pack = 'starter';
SELECT * FROM prices WHERE pack = 'starter';

-- 3. Another amount: the former price of that currency ends in the present whole second.
SELECT billing.define_pack('starter', 100, 1200, 'eur');
SELECT * FROM packs WHERE pack = 'starter';
SELECT * FROM prices WHERE pack = 'starter';
SELECT valid_from = date_trunc('second', valid_from) AS whole_second, valid_from BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() AS just_now
FROM billing.pack_prices WHERE valid_from > '-infinity';

-- 4. The same again: no row more. The name of a currency is compared without regard to case.
SELECT billing.define_pack('starter', 100, 1200, 'EUR');
SELECT * FROM prices WHERE pack = 'starter';

-- 5. In one second the last definition counts, also one that goes back. Later ones are rows of their own.
CALL time_passes();
DO $$ BEGIN
    -- Not across the end of a second.
    PERFORM pg_sleep(1 - extract(milliseconds FROM clock_timestamp()) % 1000 / 1000) WHERE extract(milliseconds FROM clock_timestamp()) % 1000 > 500;
    PERFORM billing.define_pack('starter', 100, 1300, 'eur');
    PERFORM billing.define_pack('starter', 100, 1400, 'eur');
    PERFORM billing.define_pack('starter', 100, 1200, 'eur');
END $$;
SELECT * FROM prices WHERE pack = 'starter' AND currency = 'eur';
-- A clock that was put back makes no row before the last.
UPDATE billing.pack_prices SET valid_from = '2999-01-01' WHERE pack = 'starter' AND currency = 'eur' AND valid_from = (SELECT max(valid_from) FROM billing.pack_prices);
SELECT billing.define_pack('starter', 100, 1500, 'eur');
SELECT * FROM prices WHERE pack = 'starter' AND currency = 'eur';

-- 6. What a pack gives changes for all its currencies; the prices stay.
SELECT billing.define_pack('starter', 120, 1000, 'usd');
CALL time_passes();
SELECT billing.define_pack('starter', 120, 1000, 'usd', expires_after => '30 days');
CALL time_passes();
-- A month is not thirty days.
SELECT billing.define_pack('starter', 120, 1000, 'usd', expires_after => '1 month');
CALL time_passes();
SELECT billing.define_pack('starter', 120, 1000, 'usd', credit_type => 'bonus', expires_after => '1 month');
CALL time_passes();
SELECT billing.define_pack('starter', 120, 1000, 'usd', 'bonus', '1 month');
SELECT billing.define_pack('starter', 120, 1000, 'usd', NULL, NULL);
SELECT * FROM packs WHERE pack = 'starter';
SELECT * FROM prices WHERE pack = 'starter' AND currency = 'usd';

-- 7. Bad input is refused. Error texts hold no value.
SELECT billing.define_pack();
SELECT billing.define_pack(NULL, 1, 1, 'eur');
SELECT billing.define_pack('', 1, 1, 'eur');
SELECT billing.define_pack(E'\u2003', 1, 1, 'eur');
SELECT billing.define_pack(repeat('x', 64), 1, 1, 'eur');
SELECT billing.define_pack('p', NULL, 1, 'eur');
SELECT billing.define_pack('p', 0, 1, 'eur');
SELECT billing.define_pack('p', -1, 1, 'eur');
SELECT billing.define_pack('p', 1, NULL, 'eur');
SELECT billing.define_pack('p', 1, 0, 'eur');
SELECT billing.define_pack('p', 1, -1, 'eur');
SELECT billing.define_pack('p', 1, 1);
SELECT billing.define_pack('p', 1, 1, 'euro');
SELECT billing.define_pack('p', 1, 1, 'eu1');
SELECT billing.define_pack('p', 1, 1, 'eur', ' ');
SELECT billing.define_pack('p', 1, 1, 'eur', repeat('x', 64));
SELECT billing.define_pack('p', 1, 1, 'eur', expires_after => '0');
SELECT billing.define_pack('p', 1, 1, 'eur', expires_after => '-1 day');
SELECT billing.define_pack('p', 1, 1, 'eur', expires_after => '1 month -1 day');
SELECT billing.define_pack('p', 1, 1, 'eur', expires_after => '100 years 1 second');
SELECT billing.define_pack('p', 1, 1, 'eur', expires_after => '178000000 years');
-- The SQLSTATE says whose fault it is.
DO $$ BEGIN PERFORM billing.define_pack(); EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLSTATE; END $$;
SELECT pack FROM billing.packs WHERE pack = 'p';
-- The largest and the longest are accepted.
SELECT billing.define_pack(repeat('x', 63), 9223372036854775807, 9223372036854775807, 'eur', repeat('y', 63), '100 years');
SELECT credits, amount_minor, expires_after FROM billing.packs JOIN billing.pack_prices USING (pack) WHERE pack LIKE 'xxx%';
