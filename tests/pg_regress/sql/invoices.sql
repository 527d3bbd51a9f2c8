-- Invoices: what a paid or failed one moves, and the credits that a paid period of a plan includes.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN PERFORM billing.add_webhook_secret('stripe', 'whsec_example'); END $$;
-- Credits per month: 100 of pro, 10 of team, both until three hours after the period; 7 gold that stay; of free none.
DO $$ BEGIN
    PERFORM billing.define_plan('pro', 900, 'eur', 'month', price_ids => '{price_pro,price_pro_yearly}', credits_per_period => 100);
    PERFORM billing.define_plan('team', 300, 'eur', 'month', price_ids => '{price_team}', credits_per_period => 10);
    PERFORM billing.define_plan('gold', 500, 'eur', 'month', price_ids => '{price_gold}', credits_per_period => 7, credits_expire => false, credit_type => 'gold');
    PERFORM billing.define_plan('graceful', 500, 'eur', 'month', price_ids => '{price_graceful}', credits_per_period => 5, credits_grace => '2 days');
    PERFORM billing.define_plan('free', 0, 'eur', 'month', price_ids => '{price_free}');
END $$;

-- For this page: an event of Stripe's, made so many seconds after a beginning, signed and delivered.
CREATE FUNCTION deliver(event_id text, event_type text, at int, object jsonb, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, (e.result ->> 'credits')::bigint, (e.result ->> 'balance')::bigint
    FROM (SELECT jsonb_build_object('id', event_id, 'type', event_type, 'livemode', false, 'created', 1700000000 + at,
        'data', jsonb_build_object('object', object))::text) AS body (b),
        LATERAL process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) AS e
$$;
-- A line of an invoice: a price, and the month after 2100-01-01 that it pays for; what is given replaces parts of it.
CREATE FUNCTION item(price text, month int = 1, parts jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('amount', 900, 'quantity', 1, 'pricing', jsonb_build_object('price_details', jsonb_build_object('price', price)),
        'period', jsonb_build_object('end', extract(epoch FROM timestamptz '2100-01-01Z' + make_interval(months => month))::bigint)) || parts
$$;
CREATE FUNCTION lines(VARIADIC lines jsonb[] = '{}') RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('lines', jsonb_build_object('data', to_jsonb(lines))) $$;
-- Invoice in_x of subscription sub_n and customer cus_n, for a month of pro; what is given replaces parts of it.
CREATE FUNCTION invoice(x text, n text, parts jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', 'in_' || x, 'object', 'invoice', 'customer', 'cus_' || n, 'billing_reason', 'subscription_cycle',
        'parent', jsonb_build_object('type', 'subscription_details', 'subscription_details', jsonb_build_object('subscription', 'sub_' || n))) || lines(item('price_pro')) || parts
$$;
-- The same, paid; or what else the event says of it.
CREATE FUNCTION paid(x text, n text, parts jsonb = '{}', at int = 0, event_type text = 'invoice.paid', OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT * FROM deliver('evt_' || x || '_' || event_type, event_type, at, invoice(x, n, parts))
$$;
-- User n, whose Stripe customer is cus_n, and subscription sub_n of theirs, so told at the beginning.
CREATE FUNCTION subscribes(n text, status text = 'active', OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT register_billing_user(legacy_id => n::bigint, stripe_customer_id => 'cus_' || n);
    SELECT d.reason, d.detail FROM deliver('evt_sub_' || n, 'customer.subscription.created', 0, jsonb_build_object('id', 'sub_' || n, 'customer', 'cus_' || n, 'status', status)) AS d
$$;
CREATE FUNCTION entries(n text) RETURNS TABLE (kind text, credits bigint, balance bigint, credit_type text, shortfall bigint, source_ref text, event text) LANGUAGE sql AS $$
    SELECT l.kind, l.credits, l.balance_after, l.credit_type, l.shortfall, l.source_ref, l.event
    FROM billing.ledger l WHERE l.customer_id = (resolve_billing_user(n)).customer_id ORDER BY l.entry_id
$$;
CREATE FUNCTION lots(n text) RETURNS TABLE (source_ref text, remaining bigint, held bigint, expires text) LANGUAGE sql AS $$
    SELECT e.source_ref, l.remaining, l.held, CASE WHEN l.expires_at < clock_timestamp() THEN 'ended' ELSE to_char(l.expires_at, 'YYYY-MM-DD HH24:MI') END
    FROM billing.lots l JOIN billing.ledger e USING (entry_id) WHERE l.customer_id = (resolve_billing_user(n)).customer_id ORDER BY l.lot_id
$$;
-- When an object and a status were last applied, in seconds after the beginning.
CREATE VIEW subs AS SELECT subscription_id AS id, status, object_status, extract(epoch FROM object_at)::bigint - 1700000000 AS object_at, extract(epoch FROM status_at)::bigint - 1700000000 AS status_at
    FROM billing.subscriptions ORDER BY subscription_id;

-- 1. A paid period grants what its plan includes, once: to whom cus_... is linked, until the period's end and the grace.
SELECT * FROM subscribes('1');
SELECT * FROM paid('1', '1');
SELECT * FROM entries('1');
SELECT * FROM lots('1');
SELECT idempotency_key, amount_minor, currency, payment_ref, livemode FROM billing.ledger;
-- Delivered again: the replay, number for number. Stripe's second event of the same payment, and the same by another event: granted before.
SELECT * FROM paid('1', '1');
SELECT * FROM paid('1', '1', event_type => 'invoice.payment_succeeded');
SELECT * FROM deliver('evt_other', 'invoice.paid', 0, invoice('1', '1'));
SELECT count(*) FROM entries('1');
-- The next period's invoice.
SELECT * FROM paid('1b', '1', lines(item('price_pro', 2)), event_type => 'invoice.payment_succeeded');
SELECT * FROM paid('1b', '1', lines(item('price_pro', 2)));

-- 2. The older shapes say the same: the subscription on the invoice, price or plan on the line, ids as objects, the payment on the invoice.
SELECT * FROM subscribes('2');
SELECT x, p.* FROM (VALUES
    ('2a', '{"subscription": "sub_2", "lines": {"data": [{"amount": 900, "price": {"id": "price_pro"}, "period": {"end": 4105123200}}]}, "payment_intent": "pi_2a", "charge": "ch_2a"}'::jsonb),
    ('2b', '{"subscription": {"id": "sub_2"}, "customer": {"id": "cus_2"}, "lines": {"data": [{"amount": 300, "plan": {"id": "price_team"}, "period": {"end": 4105123200}}]}, "charge": {"id": "ch_2b"}}'),
    ('2c', '{"subscription": "sub_2", "lines": {"data": [{"amount": 500, "price": "price_gold"}]}}')
) AS given (x, parts), LATERAL paid(x, '2', parts || '{"parent": null}') AS p;
SELECT * FROM entries('2');
SELECT payment_ref, source_ref FROM billing.charges;
-- Not of a subscription: nothing to do with us, whatever it sells.
SELECT * FROM paid('2d', '2', '{"parent": null}');
SELECT * FROM paid('2e', '2', '{"parent": {"type": "quote_details", "quote_details": {"quote": "qt_1"}}, "subscription": null}');
-- Other events of invoices have no effect.
SELECT event_type, p.* FROM unnest('{invoice.created,invoice.finalized,invoice.updated,invoice.voided,invoice.upcoming}'::text[]) AS t (event_type), LATERAL paid('2f', '2', event_type => event_type) AS p;

-- 3. Which lines count: no prorations, nothing that costs nothing, and only prices that stand for a plan with credits. A discount or the customer's balance is not looked at.
SELECT * FROM subscribes('3');
SELECT what, p.reason, p.detail, p.credits FROM (VALUES
    ('3a', 'proration', lines(item('price_pro', 1, '{"proration": true}'))),
    ('3b', 'proration, now', lines(item('price_pro', 1, '{"parent": {"subscription_item_details": {"proration": true}}}'))),
    ('3c', 'of an item', lines(item('price_pro', 1, '{"parent": {"invoice_item_details": {"proration": true}}}'))),
    ('3d', 'a credit note', lines(item('price_pro', 1, '{"amount": -900}'))),
    ('3e', 'nothing', lines(item('price_pro', 1, '{"amount": 0}'))),
    ('3f', 'other price', lines(item('price_other'))),
    ('3g', 'no credits', lines(item('price_free'))),
    ('3h', 'no price', lines(item('price_pro', 1, '{"pricing": null}'))),
    ('3i', 'no lines', lines()),
    ('3j', 'quantity', lines(item('price_team', 1, '{"quantity": 25, "amount": 7500}'))),
    ('3k', 'discounted', lines(item('price_pro', 1, '{"discount_amounts": [{"amount": 900}]}')) || '{"total": 0, "amount_paid": 0, "starting_balance": -900}')
) AS given (x, what, parts), LATERAL paid(x, '3', parts) AS p;
-- Why it was made: threshold and manual invoices grant nothing; an upgrade's whole new period does.
SELECT billing_reason, p.reason, p.detail, p.credits FROM unnest('{manual,subscription_threshold,subscription_update,subscription,quote_accept,null}'::text[]) WITH ORDINALITY AS given (billing_reason, i),
    LATERAL paid('3r' || i, '3', jsonb_build_object('billing_reason', billing_reason)) AS p;
-- The first invoice of a trial costs nothing, and grants.
SELECT * FROM paid('3t', '3', '{"billing_reason": "subscription_create"}' || lines(item('price_pro', 7, '{"amount": 0}')));
SELECT * FROM paid('3u', '3', '{"billing_reason": "subscription_cycle"}' || lines(item('price_pro', 8, '{"amount": 0}')));
-- What is odd fails, and is kept: an amount that is none, a period without end where credits expire with it.
SELECT what, p.reason, p.detail, p.credits FROM (VALUES
    ('3v', 'amount', lines(item('price_pro', 1, '{"amount": "900"}'))),
    ('3w', 'no amount', lines(item('price_pro', 1, '{"amount": null}'))),
    ('3x', 'no end', lines(item('price_pro', 1, '{"period": {}}'))),
    ('3y', 'far end', lines(item('price_pro', 1, '{"period": {"end": 9000000000000000}}'))),
    ('3z', 'a line', lines('7')),
    ('3z2', 'no id', '{"id": null}'),
    ('3z3', 'no end, kept', lines(item('price_gold', 1, '{"period": null}')))
) AS given (x, what, parts), LATERAL paid(x, '3', parts) AS p;

-- 4. Several lines, several plans. Of one plan once, until the latest end; another price of the same plan is the same plan.
SELECT * FROM subscribes('4');
SELECT * FROM paid('4a', '4', lines(item('price_pro', 1), item('price_team', 1), item('price_pro_yearly', 12), item('price_gold', 1), item('price_other', 1), item('price_team', 2, '{"proration": true}')));
SELECT * FROM entries('4');
SELECT * FROM lots('4');
SELECT credit_type, balance FROM credit_balance('4') UNION ALL SELECT credit_type, balance FROM credit_balance('4', 'gold');
-- An invoice of which one plan was granted before, and the other was not: no plan twice. (The catalogue changed in between.)
SELECT * FROM subscribes('40');
SELECT * FROM paid('40a', '40', lines(item('price_pro', 1), item('price_new', 1)));
SELECT billing.define_plan('new', 100, 'eur', 'month', price_ids => '{price_new}', credits_per_period => 3);
SELECT * FROM deliver('evt_in_40a_again', 'invoice.payment_succeeded', 0, invoice('40a', '40', lines(item('price_pro', 1), item('price_new', 1))));
SELECT kind, credits, balance, source_ref FROM entries('40');

-- 5. The next grant of a plan ends the former lot: what is left of it is written off in the same call. Other plans' lots stay.
SELECT * FROM subscribes('5');
SELECT * FROM paid('5a', '5', lines(item('price_pro', 1), item('price_team', 1)));
SELECT reason, balance FROM grant_credits('5', 1, 'gift-5', expires_at => '2100-01-20Z');
SELECT reason, balance FROM spend_credits('5', 31, 'spend-5');
SELECT * FROM paid('5b', '5', lines(item('price_pro', 2)));
SELECT * FROM entries('5');
SELECT * FROM lots('5');
-- The late invoice of a month before still grants, and ends nothing that runs longer.
SELECT * FROM paid('5c', '5', lines(item('price_pro', 1)));
SELECT * FROM lots('5');
SELECT * FROM paid('5d', '5', lines(item('price_pro', 3)));
SELECT * FROM lots('5');
SELECT balance, held, available FROM credit_balance('5');
-- One so late that its period is over: granted, and never available.
SELECT * FROM subscribes('50');
SELECT * FROM paid('50a', '50', lines(item('price_pro', -1100)));
SELECT balance, available FROM credit_balance('50');
-- Credits under a hold when the lot ends are the hold's until it ends: captured, or given back and gone.
SELECT * FROM subscribes('51');
SELECT * FROM paid('51a', '51', lines(item('price_pro', 1)));
SELECT reason, balance, available FROM hold_credits('51', 30, 'hold-51a');
SELECT reason, balance, available FROM hold_credits('51', 20, 'hold-51b');
SELECT * FROM paid('51b', '51', lines(item('price_pro', 2)));
SELECT * FROM entries('51');
SELECT * FROM lots('51');
SELECT balance, held, available FROM credit_balance('51');
SELECT h.reason, h.captured_credits, h.balance, h.available FROM billing.holds b, capture_hold(b.hold_id, 25) AS h WHERE b.idempotency_key = 'hold-51a';
SELECT h.reason, h.balance, h.available FROM billing.holds b, release_hold(b.hold_id) AS h WHERE b.idempotency_key = 'hold-51b';
SELECT balance, held, available FROM credit_balance('51');
SELECT reason, balance FROM spend_credits('51', 100, 'spend-51');
SELECT kind, credits, balance FROM entries('51');
SELECT * FROM lots('51');
-- Another grace; credits that never expire lie on no lot, and no next grant ends them.
SELECT * FROM subscribes('52');
SELECT * FROM paid('52a', '52', lines(item('price_graceful', 1), item('price_gold', 1)));
SELECT * FROM paid('52b', '52', lines(item('price_gold', 2)));
SELECT * FROM entries('52');
SELECT * FROM lots('52');
-- A plan that no longer lets credits expire: the lot of before ends with the next grant all the same.
SELECT billing.define_plan('graceful', 500, 'eur', 'month', price_ids => '{price_graceful}', credits_per_period => 5, credits_expire => false);
SELECT * FROM paid('52c', '52', lines(item('price_graceful', 2)));
SELECT kind, credits, balance, source_ref FROM entries('52') WHERE credit_type = 'credits';

-- 6. What a paid invoice moves: incomplete, past_due and unpaid to active. A failed one: active and trialing to past_due. Nothing else.
CREATE FUNCTION moved(n int, status text, event_type text, parts jsonb = '{}', at int = 5, OUT reason billing_reason, OUT detail text, OUT becomes text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM subscribes(n::text, status);
    SELECT p.reason, p.detail INTO moved.reason, moved.detail FROM paid(n::text, n::text, lines() || parts, at, event_type) AS p;
    becomes := (SELECT s.status || CASE WHEN s.status <> s.object_status THEN ', object ' || s.object_status ELSE '' END || ' at ' || s.status_at FROM subs s WHERE s.id = 'sub_' || n);
END
$$;
SELECT status, m.* FROM unnest('{incomplete,trialing,active,past_due,unpaid,paused,incomplete_expired,canceled}'::text[]) WITH ORDINALITY AS s (status, i), LATERAL moved(600 + i::int, status, 'invoice.paid') AS m;
SELECT status, m.* FROM unnest('{incomplete,trialing,active,past_due,unpaid,paused,incomplete_expired,canceled}'::text[]) WITH ORDINALITY AS s (status, i), LATERAL moved(610 + i::int, status, 'invoice.payment_failed') AS m;
SELECT count(*) AS asked FROM pending_refetches();
-- Only periods speak of the status: the reasons create and cycle, or none.
SELECT billing_reason, m.* FROM unnest('{subscription_create,subscription_cycle,null,subscription_update,subscription_threshold,manual}'::text[]) WITH ORDINALITY AS s (billing_reason, i),
    LATERAL moved(620 + i::int, 'past_due', 'invoice.paid', jsonb_build_object('billing_reason', billing_reason)) AS m;
SELECT * FROM moved(627, 'past_due', 'invoice.paid', '{"billing_reason": "subscription_update"}' || lines(item('price_pro')));
SELECT * FROM moved(628, 'active', 'invoice.payment_failed', '{"billing_reason": "manual"}');
-- Older than the status that stands: stale. Of the same second: judged. A stale invoice still grants its credits.
SELECT at, m.* FROM (VALUES (-1), (0), (1)) AS given (at), LATERAL moved(640 + at, 'past_due', 'invoice.paid', at => at) AS m;
SELECT * FROM moved(645, 'past_due', 'invoice.paid', lines(item('price_pro')), -1);
SELECT balance FROM credit_balance('645');
SELECT * FROM moved(646, 'past_due', 'invoice.paid', lines(item('price_pro')), 1);
-- Two invoices of one subscription, told in the wrong order: the later one has the word.
SELECT * FROM subscribes('650');
SELECT * FROM paid('650a', '650', lines(), 20, 'invoice.payment_failed');
SELECT * FROM paid('650b', '650', lines(), 10);
SELECT * FROM paid('650c', '650', lines(), 30);
SELECT * FROM paid('650d', '650', lines(), 25, 'invoice.payment_failed');
-- A newer object than the last one, but older than the status that an invoice set: all but its status.
SELECT reason, detail FROM deliver('evt_650', 'customer.subscription.updated', 15, '{"id": "sub_650", "customer": "cus_650", "status": "past_due", "quantity": 3}');
SELECT s.*, b.quantity FROM subs s JOIN billing.subscriptions b ON b.subscription_id = s.id WHERE id = 'sub_650';

-- 7. An invoice before its subscription: it grants, and the truth is asked for.
DELETE FROM billing.refetch_queue;
SELECT reason FROM register_billing_user(legacy_id => 70, stripe_customer_id => 'cus_70');
SELECT * FROM paid('70', '70');
SELECT * FROM paid('70b', '70', lines(), event_type => 'invoice.payment_failed');
SELECT object_type, object_id, requested_reason FROM pending_refetches();
SELECT * FROM subs WHERE id = 'sub_70';
-- One that says nothing of the status asks nothing.
SELECT * FROM paid('71', '71', '{"billing_reason": "manual"}');
SELECT count(*) FROM pending_refetches();
-- Then the subscription comes: first word, any status. The request stands until the truth comes.
SELECT * FROM subscribes('70', 'incomplete');
SELECT count(*) FROM pending_refetches();
SELECT reason, previous_status, status FROM apply_subscription_update('{"id": "sub_70", "customer": "cus_70", "status": "active"}');
SELECT count(*) FROM pending_refetches();
-- Where the truth can be read in the same call, it is; whoever it names is granted the credits.
CREATE TABLE truth (id text, attrs jsonb);
SELECT billing.set_refetch_source('public.truth');
INSERT INTO truth VALUES ('sub_72', '{"id": "sub_72", "customer": "cus_72", "status": "active", "metadata": {"user_id": "72"}}');
SELECT * FROM paid('72', '72');
SELECT subscription_id, status, active FROM subscription_status('72');
SELECT count(*) FROM pending_refetches();
SELECT billing.set_refetch_source();

-- 8. An invoice before its customer is linked: nobody can be credited, so all waits for the link, which does it in the same call.
SELECT * FROM paid('80', '80');
SELECT event_id, status, error_detail, customer_code FROM billing.webhook_events WHERE event_id LIKE 'evt_80%';
SELECT count(*) FROM pending_refetches();
SELECT * FROM paid('80b', '80', lines(item('price_team', 2)), 5);
SELECT reason FROM register_billing_user(legacy_id => 80, stripe_customer_id => 'cus_80');
SELECT kind, credits, balance, source_ref FROM entries('80');
SELECT event_id, status, attempts, customer_code, result ->> 'reason' AS reason FROM billing.webhook_events WHERE event_id LIKE 'evt_80%' ORDER BY event_id;
SELECT object_id, requested_reason FROM pending_refetches();
-- Without anything to grant there is nothing to wait for: the status moves.
SELECT reason, detail FROM deliver('evt_sub_81', 'customer.subscription.created', 0, '{"id": "sub_81", "customer": "cus_81", "status": "incomplete"}');
SELECT * FROM paid('81', '81', lines(item('price_other')));
SELECT * FROM subs WHERE id = 'sub_81';
-- An unlinked one that does grant moves nothing until it is linked: all of an event is there, or none.
SELECT reason, detail FROM deliver('evt_sub_82', 'customer.subscription.created', 0, '{"id": "sub_82", "customer": "cus_82", "status": "incomplete"}');
SELECT * FROM paid('82', '82');
SELECT * FROM subs WHERE id = 'sub_82';
SELECT reason, detail FROM deliver('evt_link_82', 'checkout.session.completed', 9, '{"id": "cs_82", "mode": "subscription", "payment_status": "paid", "customer": "cus_82", "client_reference_id": "82"}');
SELECT subscription_id, status, active FROM subscription_status('82');
SELECT balance FROM credit_balance('82');
-- metadata.user_id in the subscription's details names whose it is, and links; in the older shape too.
SELECT * FROM paid('83', '83', '{"parent": {"subscription_details": {"subscription": "sub_83", "metadata": {"user_id": "83"}}}}');
SELECT * FROM paid('84', '84', '{"parent": null, "subscription": "sub_84", "subscription_details": {"metadata": {"user_id": 84}}}');
SELECT legacy_id, stripe_customer_id, (credit_balance(legacy_id::text)).balance FROM billing.customers WHERE legacy_id IN (83, 84) ORDER BY 1;
-- Linking alone is something done; a template names nobody.
SELECT * FROM paid('85', '85', '{"billing_reason": "manual", "parent": {"subscription_details": {"subscription": "sub_85", "metadata": {"user_id": "85"}}}}');
SELECT * FROM paid('85b', '85', '{"billing_reason": "manual", "parent": {"subscription_details": {"subscription": "sub_85", "metadata": {"user_id": "85"}}}}');
SELECT * FROM paid('86', '86', '{"parent": {"subscription_details": {"subscription": "sub_86", "metadata": {"user_id": "{{user_id}}"}}}}');
SELECT found FROM resolve_billing_user('cus_85') UNION ALL SELECT found FROM resolve_billing_user('cus_86');
-- A cus_... of somebody else stays there: whom the invoice names is granted, and it says so.
SELECT * FROM paid('87', '83', '{"parent": {"subscription_details": {"subscription": "sub_83", "metadata": {"user_id": "87"}}}}');
SELECT * FROM paid('87b', '83', lines() || '{"parent": {"subscription_details": {"subscription": "sub_83", "metadata": {"user_id": "87"}}}}', event_type => 'invoice.payment_failed');
SELECT legacy_id, stripe_customer_id, (credit_balance(legacy_id::text)).balance FROM billing.customers WHERE legacy_id IN (83, 87) ORDER BY 1;

-- 9. Which payment paid an invoice is told by an event of its own; of the older shapes by the invoice or by the charge.
CREATE FUNCTION tied(x text, payment jsonb, event_id text = NULL, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT * FROM deliver(coalesce(event_id, 'evt_tie_' || x), 'invoice_payment.paid', 0, jsonb_build_object('id', 'inpay_' || x, 'object', 'invoice_payment', 'invoice', 'in_' || x, 'payment', payment))
$$;
-- So much of payment pi_x is refunded by now; what is given replaces parts of the charge.
CREATE FUNCTION refunded(x text, minor bigint, at int, parts jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT * FROM deliver('evt_re_' || x || '_' || at, 'charge.refunded', at, jsonb_build_object('id', 'ch_' || x, 'amount', 900, 'amount_refunded', minor, 'payment_intent', 'pi_' || x) || parts)
$$;
SELECT * FROM subscribes('90');
SELECT * FROM paid('90', '90');
SELECT * FROM tied('90', '{"type": "payment_intent", "payment_intent": "pi_90"}');
SELECT * FROM tied('90', '{"type": "payment_intent", "payment_intent": "pi_90"}', 'evt_tie_90_again');
SELECT * FROM refunded('90', 301, 10);
SELECT * FROM refunded('90', 900, 20);
SELECT * FROM entries('90');
SELECT * FROM lots('90');
-- A third is back: the refund of the rest failed.
SELECT * FROM deliver('evt_fail_90', 'refund.failed', 30, '{"id": "re_90", "amount": 599, "charge": "ch_90", "payment_intent": "pi_90", "status": "failed"}');
SELECT balance, available FROM credit_balance('90');
SELECT * FROM lots('90');
-- Paid elsewhere: there is no payment to remember.
SELECT * FROM tied('90b', '{"type": "out_of_band_payment"}');
SELECT * FROM tied('90c', '{"type": "charge", "charge": "ch_90c"}');
SELECT x, t.* FROM (VALUES ('90d', 'null'::jsonb), ('90e', '{"payment_intent": "p i"}'), ('90f', '7')) AS given (x, payment), LATERAL tied(x, payment) AS t;
SELECT payment_ref, source_ref FROM billing.charges WHERE payment_ref LIKE '%90%' ORDER BY 1;
-- The tie before the invoice; the refund before the tie, and before both.
SELECT * FROM subscribes('91');
SELECT * FROM tied('91a', '{"payment_intent": "pi_91a"}');
SELECT * FROM paid('91a', '91');
SELECT * FROM refunded('91a', 450, 10);
SELECT * FROM subscribes('92');
SELECT * FROM paid('92', '92');
SELECT * FROM refunded('92', 450, 10);
SELECT * FROM tied('92', '{"payment_intent": "pi_92"}');
SELECT * FROM entries('92');
SELECT * FROM subscribes('93');
SELECT * FROM refunded('93', 450, 10);
SELECT * FROM tied('93', '{"payment_intent": "pi_93"}');
SELECT * FROM paid('93', '93');
SELECT * FROM entries('93');
-- Told of a payment that was refunded, an invoice delivered by a second event changes nothing more.
SELECT * FROM paid('93', '93', event_type => 'invoice.payment_succeeded');
SELECT balance FROM credit_balance('93');
-- The older shapes: the payment on the invoice, the invoice on the charge.
SELECT * FROM subscribes('94');
SELECT * FROM paid('94', '94', '{"payment_intent": "pi_94"}');
SELECT * FROM refunded('94', 90, 10);
SELECT * FROM subscribes('95');
SELECT * FROM paid('95', '95');
SELECT * FROM refunded('95', 90, 10, '{"invoice": "in_95"}');
SELECT * FROM refunded('96', 90, 10, '{"invoice": {"id": "in_96"}}');
SELECT * FROM subscribes('96');
SELECT * FROM paid('96', '96');
SELECT n, balance FROM unnest('{94,95,96}'::text[]) AS n, LATERAL credit_balance(n);
-- A charge without a payment intent.
SELECT * FROM subscribes('97');
SELECT * FROM paid('97', '97', '{"charge": "ch_97"}');
SELECT * FROM refunded('97', 900, 10, '{"payment_intent": null}');
-- A dispute takes all of it, and gives all of it back.
SELECT * FROM subscribes('98');
SELECT * FROM paid('98', '98', '{"payment_intent": "pi_98"}');
SELECT reason, balance FROM spend_credits('98', 30, 'spend-98');
SELECT * FROM deliver('evt_dp_98a', 'charge.dispute.funds_withdrawn', 10, '{"id": "dp_98", "charge": "ch_98", "payment_intent": "pi_98", "amount": 900}');
SELECT * FROM deliver('evt_dp_98b', 'charge.dispute.funds_reinstated', 20, '{"id": "dp_98", "charge": "ch_98", "payment_intent": "pi_98", "amount": 900}');
SELECT kind, credits, balance, shortfall FROM entries('98');
SELECT * FROM lots('98');
-- A partial refund of an invoice over two plans: the share of each, rounded down.
SELECT * FROM subscribes('99');
SELECT * FROM paid('99', '99', lines(item('price_pro'), item('price_team'), item('price_gold')) || '{"payment_intent": "pi_99"}');
SELECT * FROM refunded('99', 140, 10);
SELECT kind, credits, balance, credit_type, source_ref FROM entries('99');
SELECT * FROM refunded('99', 900, 20);
SELECT credit_type, balance FROM credit_balance('99') UNION ALL SELECT credit_type, balance FROM credit_balance('99', 'gold');
-- A refund of a period whose lot the next one ended: nothing is left to take.
SELECT * FROM subscribes('100');
SELECT * FROM paid('100a', '100', lines(item('price_pro', 1)) || '{"payment_intent": "pi_100a"}');
SELECT * FROM paid('100b', '100', lines(item('price_pro', 2)) || '{"payment_intent": "pi_100b"}');
SELECT * FROM refunded('100a', 900, 10);
SELECT kind, credits, balance, shortfall FROM entries('100');
-- An invoice paid by two payments: what is told of one does not undo what was told of the other.
SELECT * FROM subscribes('102');
SELECT * FROM paid('102', '102');
SELECT * FROM tied('102', '{"payment_intent": "pi_102"}');
SELECT * FROM refunded('102', 450, 10);
SELECT * FROM tied('102', '{"payment_intent": "pi_102b"}', 'evt_tie_102b');
SELECT kind, credits, balance, shortfall, event FROM entries('102');
-- Nobody knows the invoice: the refund is remembered.
SELECT * FROM refunded('101', 900, 10);
SELECT * FROM tied('101', '{"payment_intent": "pi_101"}');
SELECT payment_ref, source_ref, refunded_minor FROM billing.charges WHERE payment_ref = 'pi_101';

-- The books are right, and only what is odd or has nobody is left.
SELECT * FROM billing.reconcile();
SELECT event_id, error_detail FROM billing.webhook_events WHERE status <> 'completed' ORDER BY event_id;
