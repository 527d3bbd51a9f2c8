-- Packs bought by checkout: the price that was valid when the session was made decides.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;

-- For this page: user 1 pays for a pack, in a session of the given parts, made so long ago.
CREATE FUNCTION event(n text, pack text, parts jsonb, ago interval) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', 'evt_' || n, 'type', 'checkout.session.completed', 'livemode', false, 'created', 1700000000,
        'data', jsonb_build_object('object', jsonb_build_object('id', 'cs_' || n, 'mode', 'payment', 'payment_status', 'paid', 'amount_subtotal', 900,
            'amount_total', 900, 'currency', 'eur', 'created', extract(epoch FROM clock_timestamp() - ago)::bigint,
            'metadata', jsonb_build_object('pack', pack, 'user_id', '1')) || parts))::text
$$;
CREATE FUNCTION pays(n text, pack text, parts jsonb = '{}', ago interval = '0', OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT credit_type text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, (e.result ->> 'credits')::bigint, e.result ->> 'credit_type'
    FROM event(n, pack, parts, ago) AS b, LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
-- All definitions so far were made a day earlier.
CREATE PROCEDURE a_day_passes() LANGUAGE sql AS $$
    UPDATE billing.packs SET valid_from = valid_from - interval '1 day' WHERE valid_from > '-infinity';
    UPDATE billing.pack_prices SET valid_from = valid_from - interval '1 day' WHERE valid_from > '-infinity'
$$;

-- 1. A pack at its price gives its credits. The ledger keeps what was paid.
SELECT billing.define_pack('starter', 100, 900, 'eur');
SELECT * FROM pays('1', 'starter');
SELECT credits, amount_minor, currency, source_ref FROM billing.ledger;

-- 2. A whole multiple of the price gives that many packs; any other amount is no price.
SELECT paid, p.* FROM unnest('{0,1,899,901,1800,1801,8100}'::int[]) AS given (paid), LATERAL pays('2_' || paid, 'starter', jsonb_build_object('amount_subtotal', paid, 'amount_total', paid)) AS p;

-- 3. What counts is the subtotal, before tax, shipping and promotion codes; the total is what was paid.
SELECT * FROM pays('3a', 'starter', '{"amount_subtotal": 900, "amount_total": 450}');
SELECT * FROM pays('3b', 'starter', '{"amount_subtotal": 900, "amount_total": 1071}');
SELECT * FROM pays('3c', 'starter', '{"amount_subtotal": 900, "amount_total": 0, "payment_status": "no_payment_required"}');
SELECT * FROM pays('3d', 'starter', '{"amount_subtotal": 450, "amount_total": 900}');
-- Without a subtotal the total counts; without either there is no saying.
SELECT * FROM pays('3e', 'starter', '{"amount_subtotal": null}');
SELECT * FROM pays('3f', 'starter', '{"amount_subtotal": null, "amount_total": 450}');
SELECT * FROM pays('3g', 'starter', '{"amount_subtotal": null, "amount_total": null}');
SELECT source_ref, credits, amount_minor FROM billing.ledger WHERE source_ref LIKE 'stripe:cs_3%' ORDER BY entry_id;

-- 4. Currencies: each has its price, whatever the case; one without a price is refused.
SELECT billing.define_pack('starter', 100, 1000, 'USD');
SELECT * FROM pays('4a', 'starter', '{"currency": "usd", "amount_subtotal": 2000}');
SELECT * FROM pays('4b', 'starter', '{"currency": "EUR"}');
SELECT * FROM pays('4c', 'starter', '{"currency": "usd"}');
SELECT * FROM pays('4d', 'starter', '{"currency": "gbp"}');
SELECT * FROM pays('4e', 'starter', '{"currency": "gbp", "amount_subtotal": 1}');
SELECT * FROM pays('4f', 'starter', '{"currency": null}');

-- 5. A new price is for the sessions that are made from then on: who has an older one open pays what it said.
SELECT billing.define_pack('starter', 120, 1200, 'eur');
CALL a_day_passes();
SELECT * FROM pays('5a', 'starter', '{}', '2 days');
SELECT * FROM pays('5b', 'starter', '{"amount_subtotal": 1200}', '2 days');
SELECT * FROM pays('5c', 'starter');
SELECT * FROM pays('5d', 'starter', '{"amount_subtotal": 2400}');
SELECT billing.define_pack('starter', 90, 800, 'eur');
CALL a_day_passes();
SELECT ago, amount, p.* FROM (VALUES (1, interval '3 days', 900), (2, '36 hours', 1200), (3, '1 hour', 800), (4, '3 days', 800), (5, '36 hours', 900), (6, '1 hour', 1200)) AS given (n, ago, amount),
    LATERAL pays('5_' || n, 'starter', jsonb_build_object('amount_subtotal', amount), ago) AS p;
-- The other currency kept its price. What the pack gives is the pack's own, in all currencies.
SELECT ago, p.* FROM unnest('{1 hour,36 hours,3 days}'::interval[]) WITH ORDINALITY AS given (ago, n), LATERAL pays('5_usd_' || n, 'starter', '{"currency": "usd", "amount_subtotal": 1000}', ago) AS p;
-- A session that does not say when it was made: the event's own time.
SELECT * FROM pays('5e', 'starter', '{"created": null}');
SELECT * FROM pays('5f', 'starter', '{"created": null, "amount_subtotal": 800}');

-- 6. A pack's credits may be of another type, and expire: counted from now, not from the session.
SELECT billing.define_pack('gold', 50, 5000, 'eur', credit_type => 'gold', expires_after => '1 year');
SELECT * FROM pays('6', 'gold', '{"amount_subtotal": 10000}', '30 days');
SELECT balance, available, next_expiry_credits, next_expiry_at BETWEEN now() + interval '1 year' - interval '1 hour' AND now() + interval '1 year' + interval '1 hour' AS in_a_year FROM credit_balance('1', 'gold');

-- 7. The pack wins over a number of credits. A blank, unknown or odd name is no pack.
SELECT n, p.* FROM (VALUES
    (1, '{"pack": "gold", "credits": "7", "user_id": "1"}'::jsonb), (2, '{"pack": "Gold", "credits": "7", "user_id": "1"}'), (3, '{"pack": "", "credits": "7", "user_id": "1"}'),
    (4, '{"pack": ["gold"], "user_id": "1"}'), (5, '{"pack": 7, "user_id": "1"}'), (6, '{"pack": null, "credits": "7", "user_id": "1"}'), (7, '{"pack": null, "user_id": "1"}')
) AS given (n, metadata), LATERAL pays('7_' || n, 'x', jsonb_build_object('amount_subtotal', 5000, 'metadata', metadata)) AS p;

-- 8. The user is judged before the price: a session of nobody waits for its cus_..., one at a wrong price for the price.
SELECT * FROM pays('8a', 'nothing', '{"metadata": {"pack": "nothing"}}');
SELECT * FROM pays('8b', 'nothing', '{"metadata": {"pack": "nothing", "user_id": "8"}, "customer": "cus_8"}');
-- Refused as a whole: nobody made, nothing linked.
SELECT found FROM resolve_billing_user('8');
SELECT found FROM resolve_billing_user('cus_8');

-- 9. What failed for want of a pack is processed once it is defined: the first definition is valid from ever.
SELECT * FROM pays('9a', 'late', '{"amount_subtotal": 300, "metadata": {"pack": "late", "user_id": "9"}}', '1 hour');
SELECT * FROM pays('9b', 'late', '{"amount_subtotal": 301, "metadata": {"pack": "late", "user_id": "9"}}', '1 hour');
SELECT event_id, status, attempts, error_detail, payload IS NOT NULL AS body_kept FROM billing.webhook_events WHERE event_id LIKE 'evt_9_' ORDER BY event_id;
SELECT billing.define_pack('late', 30, 300, 'eur');
-- Nothing is due yet: the first back-off is five minutes.
SELECT count(*) FROM retry_webhook_events();
UPDATE billing.webhook_events SET next_attempt_at = now() WHERE event_id LIKE 'evt_9_';
SELECT event_id, reason, detail, status, attempts FROM retry_webhook_events() ORDER BY event_id;
SELECT balance FROM credit_balance('9');
-- A wrong price is not mended by waiting: by the price, or by dismissing the event.
SELECT event_id, error_detail FROM billing.failed_events WHERE event_id LIKE 'evt_9_';

-- 10. A refund undoes the share of the pack's credits by what was charged.
SELECT * FROM pays('10', 'starter', '{"amount_subtotal": 1600, "amount_total": 800, "payment_intent": "pi_10"}');
SELECT reason, detail, result ->> 'credits' AS credits FROM (VALUES ('{"id": "evt_10r", "type": "charge.refunded", "created": 1700000001, "data": {"object":
    {"id": "ch_10", "amount": 800, "amount_refunded": 400, "payment_intent": "pi_10"}}}')) AS given (b), LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example'));

-- The books are right.
SELECT * FROM billing.reconcile();
