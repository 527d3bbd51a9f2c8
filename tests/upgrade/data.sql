-- A database of a former release, in use: something of everything that its functions write, and a record of what they
-- answered. The schema of the extension is in the search path. The library is already that of the new release, so
-- all of this also shows that it serves the former schema until ALTER EXTENSION ... UPDATE.
\set QUIET on
\set ON_ERROR_STOP on
CREATE SCHEMA test;

CREATE TABLE test.calls (n bigint GENERATED ALWAYS AS IDENTITY, again text, call text, answer jsonb);
-- Makes a call, and keeps its answer; `again` is the reason that the same call has to answer from then on, with the
-- same numbers.
CREATE FUNCTION test.call(reason text, again text, call text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb;
BEGIN
    EXECUTE 'SELECT to_jsonb(answer) FROM ' || call || ' AS answer' INTO answer;
    IF answer ->> 'reason' IS DISTINCT FROM reason THEN
        RAISE EXCEPTION '% answered %, not %', call, answer, reason;
    END IF;
    INSERT INTO test.calls (again, call, answer) VALUES (again, call, answer);
    RETURN answer;
END $$;
-- A Stripe event, signed.
CREATE FUNCTION test.deliver(reason text, again text, event_id text, type text, object jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT test.call(reason, again, format('process_stripe_webhook(%L, billing.sign_stripe_payload(%1$L, %L))',
        jsonb_build_object('id', event_id, 'object', 'event', 'type', type, 'livemode', false, 'created', 1700000000,
            'data', jsonb_build_object('object', object))::text, 'whsec_upgrade'))
$$;
CREATE FUNCTION test.checkout(reason text, again text, n text, about jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT test.deliver(reason, again, 'evt_' || n, 'checkout.session.completed', jsonb_build_object('id', 'cs_' || n,
        'object', 'checkout.session', 'mode', 'payment', 'payment_status', 'paid', 'amount_total', 999, 'currency', 'eur',
        'payment_intent', 'pi_' || n) || about)
$$;

DO $$
DECLARE
    ann constant text := '00000000-0000-0000-0000-0000000000aa';
    answer jsonb;
BEGIN
    PERFORM billing.add_webhook_secret('stripe', 'whsec_upgrade'), billing.allow_account('acct_upgrade'),
        billing.define_pack('starter', 50, 999, 'eur'),
        billing.define_plan('pro', 900, 'eur', 'month', price_ids => '{price_pro}', credits_per_period => 100, per_branch => true);
    PERFORM test.call('applied', 'replay', $c$register_billing_user('00000000-0000-0000-0000-0000000000aa', 'ann@example.com', stripe_customer_id => 'cus_ann')$c$);
    PERFORM test.call('applied', 'replay', $c$register_billing_user('00000000-0000-0000-0000-0000000000aa', stripe_customer_id => 'cus_ann_guest')$c$);
    -- The ledger: every kind of entry, lots that live, expire and are used, a hold of each status.
    PERFORM test.call('applied', 'replay', format('apply_credit_purchase(%L, 100, %L, %L, 999, %L)', ann, 'k-buy', 'cs_by_hand', 'eur'));
    PERFORM test.call('applied', 'replay', format('grant_credits(%L, 30, %L, expires_at => now() + interval ''1 day'', priority => -1)', ann, 'k-grant'));
    PERFORM test.call('applied', 'replay', format('grant_credits(%L, 5, %L, expires_at => now() + interval ''50 ms'')', ann, 'k-brief'));
    PERFORM test.call('applied', 'replay', format('spend_credits(%L, 40, %L)', ann, 'k-spend')) FROM pg_sleep(0.06);
    answer := test.call('applied', 'replay', format('spend_credits(%L, 2, %L)', ann, 'k-undone'));
    PERFORM test.call('applied', 'replay', format('reverse_credit_entry(%s, %L)', answer ->> 'entry_id', 'k-undo'));
    PERFORM test.call('applied', 'replay', format('hold_credits(%L, 7, %L, 86400)', ann, 'k-open'));
    answer := test.call('applied', 'replay', format('hold_credits(%L, 8, %L)', ann, 'k-captured'));
    PERFORM test.call('applied', 'replay', format('capture_hold(%L, 3)', answer ->> 'hold_id'));
    answer := test.call('applied', 'replay', format('hold_credits(%L, 9, %L)', ann, 'k-released'));
    PERFORM test.call('applied', 'replay', format('release_hold(%L)', answer ->> 'hold_id'));
    PERFORM test.call('applied', 'replay', format('apply_credit_batch(%L)', jsonb_build_array(jsonb_build_object('op', 'grant', 'user_id', '77', 'credits', 4, 'idempotency_key', 'k-batch'))));
    -- Events: completed, refunded before and after, failed and waiting for its customer, claimed.
    PERFORM test.checkout('applied', 'replay', 'bought', jsonb_build_object('metadata', jsonb_build_object('user_id', ann, 'pack', 'starter')));
    PERFORM test.deliver('applied', 'replay', 'evt_refund', 'charge.refunded', '{"id": "ch_bought", "payment_intent": "pi_bought", "amount": 999, "amount_refunded": 999, "currency": "eur"}');
    PERFORM test.deliver('ignored', 'replay', 'evt_refund_first', 'charge.refunded', '{"id": "ch_later", "payment_intent": "pi_later", "amount": 999, "amount_refunded": 999, "currency": "eur"}');
    PERFORM test.checkout('failed', NULL, 'waits', '{"customer": "cus_waits", "metadata": {"credits": "60"}}');
    PERFORM test.call('applied', NULL, $c$claim_stripe_event('evt_claimed', 'some.type')$c$);
    -- Subscriptions, with an owner and without; an invoice; a payment for two branches, and one that is pending.
    PERFORM test.deliver('applied', 'replay', 'evt_sub', 'customer.subscription.created', '{"id": "sub_ann", "customer": "cus_ann", "status": "active", "items": {"data": [{"price": {"id": "price_pro"}, "quantity": 2, "current_period_end": 4000000000}]}}');
    PERFORM test.deliver('applied', 'replay', 'evt_sub_waits', 'customer.subscription.created', '{"id": "sub_waits", "customer": "cus_waits", "status": "trialing"}');
    PERFORM test.deliver('applied', 'replay', 'evt_invoice', 'invoice.paid', '{"id": "in_ann", "customer": "cus_ann", "billing_reason": "subscription_cycle", "subscription": "sub_ann", "lines": {"data": [{"amount": 900, "price": {"id": "price_pro"}, "period": {"end": 4000000000}}]}}');
    PERFORM test.deliver('ignored', 'replay', 'evt_refetch', 'customer.subscription.updated', '{"id": "sub_ann", "customer": "cus_ann", "status": "incomplete"}');
    PERFORM test.call('applied', 'replay', format('start_subscription_payment(%L, %L, %L, 1800, %L, %L)', 'ref-paid', ann, 'pro', 'eur', '{a,b}'));
    PERFORM test.call('applied', 'replay', format('verify_subscription_payment(%L, %L, 1800, %L)', 'ref-paid', 'success', 'eur'));
    PERFORM test.call('applied', 'replay', format('start_subscription_payment(%L, %L, %L, 900, %L)', 'ref-open', ann, 'pro', 'eur'));
END $$;

-- What each table holds, in the columns that it has now.
CREATE TABLE test.contents (relation text, columns text, rows bigint, digest text);
CREATE FUNCTION test.digest(relation text, columns text, OUT rows bigint, OUT digest text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT count(*), md5(string_agg(r::text, E''\n'' ORDER BY r::text)) FROM (SELECT %s FROM %s) r', columns, relation)
        INTO rows, digest;
END $$;
INSERT INTO test.contents
    SELECT t.relation, t.columns, d.rows, d.digest
    FROM (SELECT c.oid::regclass::text AS relation, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r' GROUP BY c.oid) t, LATERAL test.digest(t.relation, t.columns) d;
