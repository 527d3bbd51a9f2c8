-- People mended by hand: an identifier moved, two customers made one, a person forgotten.
-- The functions are the operators': nobody else may call them, and they refuse bad input with 22023.
\pset null '(null)'
\set VERBOSITY terse
CREATE EXTENSION billing_rpc;

-- The customer of an identifier; who that is, by any of the names that do not change here.
CREATE FUNCTION pg_temp.who(identifier text) RETURNS uuid LANGUAGE sql AS
    $$ SELECT customer_id FROM resolve_billing_user(identifier) $$;
-- Everybody who is left, by what names them.
CREATE VIEW pg_temp.people AS
    SELECT c.legacy_id, c.user_id, c.email, c.external_id, c.stripe_customer_id AS stripe, c.paystack_customer_code AS paystack,
           ARRAY(SELECT a.code FROM billing.customer_aliases a WHERE a.customer_id = c.customer_id ORDER BY a.created_at, a.code) AS aliases,
           (SELECT sum(b.balance) FROM billing.balances b WHERE b.customer_id = c.customer_id) AS credits
    FROM billing.customers c ORDER BY c.created_at;

-- 1. Moving an identifier. Ada (7) bought as a guest with a second address; Bob (20) got one of Ada's codes.
SELECT reason FROM register_billing_user(legacy_id => 7, email => 'ada@example.com', stripe_customer_id => 'cus_ada');
SELECT reason FROM register_billing_user(legacy_id => 20, email => 'bob@example.com', stripe_customer_id => 'cus_bob');
SELECT reason FROM register_billing_user(legacy_id => 20, stripe_customer_id => 'cus_ada2');
SELECT reason FROM register_billing_user(legacy_id => 20, stripe_customer_id => 'cus_bob2');
SELECT reason, balance FROM grant_credits('cus_ada2', 10, 'for-ada2');

-- Without the operator nobody is moved.
SELECT reason, detail FROM register_billing_user(legacy_id => 7, stripe_customer_id => 'cus_ada2');

-- An alias goes, and is an alias again; credits stay where they are.
SELECT applied, reason, detail, legacy_id, stripe_customer_id FROM billing.move_identifier('cus_ada2', pg_temp.who('7'));
SELECT * FROM pg_temp.people;
-- Again: replay, and the same row.
SELECT applied, reason, detail, legacy_id, stripe_customer_id FROM billing.move_identifier('cus_ada2', pg_temp.who('7'));

-- The first code goes: the oldest alias takes its place.
SELECT reason FROM billing.move_identifier('cus_bob', pg_temp.who('7'));
SELECT * FROM pg_temp.people;
SELECT reason FROM billing.move_identifier('cus_bob', pg_temp.who('20'));
SELECT * FROM pg_temp.people;

-- An e-mail replaces the one before; who had it has none. One that nobody has is given.
SELECT reason, email FROM billing.move_identifier('Bob@Example.com', pg_temp.who('7'));
SELECT reason, email FROM billing.move_identifier('robert@example.com', pg_temp.who('20'));
SELECT found FROM resolve_billing_user('ada@example.com');

-- A second user id, legacy id or external id would make two people one.
SELECT reason, detail, customer_id FROM billing.move_identifier('20', pg_temp.who('7'));
SELECT reason FROM billing.move_identifier('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', pg_temp.who('7'));
SELECT reason, detail FROM billing.move_identifier('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', pg_temp.who('7'));

-- What cannot be is refused.
SELECT billing.move_identifier();
SELECT billing.move_identifier('', pg_temp.who('7'));
SELECT billing.move_identifier('user_2abc', pg_temp.who('7'));
SELECT billing.move_identifier('cus_ada', NULL);
SELECT billing.move_identifier('cus_ada', '00000000-0000-0000-0000-000000000000');

-- 2. With a provider code go its subscriptions, and what waited for it is processed.
CREATE FUNCTION pg_temp.subscription(id text, customer text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', id, 'object', 'subscription', 'customer', customer, 'status', 'active',
        'current_period_end', extract(epoch FROM now() + interval '10 days')::bigint, 'items', jsonb_build_object('data', '[]'::jsonb)) $$;
SELECT reason, detail FROM apply_subscription_update(pg_temp.subscription('sub_ada', 'cus_ada'));
SELECT reason, detail FROM apply_subscription_update(pg_temp.subscription('sub_ada2', 'cus_ada2'));
SELECT reason, detail FROM apply_subscription_update(pg_temp.subscription('sub_new', 'cus_new'));
SELECT reason FROM billing.move_identifier('cus_ada2', pg_temp.who('20'));
SELECT reason FROM billing.move_identifier('cus_new', pg_temp.who('20'));
SELECT s.subscription_id, c.legacy_id FROM billing.subscriptions s LEFT JOIN billing.customers c USING (customer_id) ORDER BY 1;

SELECT billing.add_webhook_secret('stripe', 'whsec_people');
CREATE FUNCTION pg_temp.deliver(event json) RETURNS event_outcome LANGUAGE sql AS $$
    SELECT process_stripe_webhook(event::text, billing.sign_stripe_payload(event::text, 'whsec_people')) $$;
SELECT billing.define_pack('small', 100, 900, 'eur');
SELECT reason, detail, status FROM pg_temp.deliver('{"id": "evt_late", "object": "event", "type": "checkout.session.completed", "created": 1790000000,
    "livemode": false, "data": {"object": {"id": "cs_late", "object": "checkout.session", "mode": "payment", "payment_status": "paid",
    "payment_intent": "pi_late", "amount_total": 900, "amount_subtotal": 900, "currency": "eur", "customer": "cus_late", "metadata": {"pack": "small"}}}}');
SELECT reason FROM billing.move_identifier('cus_late', pg_temp.who('7'));
SELECT status, error_detail FROM billing.webhook_events WHERE event_id = 'evt_late';
SELECT * FROM pg_temp.people;
SELECT * FROM billing.reconcile();

-- 3. Merging. Carol bought as a guest, by e-mail, and then signed up: two customers, with credits, lots,
-- a hold, a payment and a subscription each.
SELECT billing.define_plan('monthly', 500, 'ngn', 'month');
SELECT reason, balance FROM apply_credit_purchase('carol@guest.example', 100, 'guest-bought', amount_minor => 900, currency => 'eur', source_ref => 'stripe:pi_guest');
SELECT reason, balance FROM grant_credits('carol@guest.example', 20, 'guest-lot', expires_at => now() + interval '1 day', priority => -1);
SELECT reason, balance FROM grant_credits('carol@guest.example', 9, 'guest-used-up', expires_at => now() + interval '1 hour', priority => -5);
SELECT reason, balance FROM spend_credits('carol@guest.example', 9, 'guest-spent');
SELECT reason, balance FROM grant_credits('carol@guest.example', 7, 'guest-expired', expires_at => now() - interval '1 day');
SELECT reason, balance FROM grant_credits('carol@guest.example', 3, 'guest-tokens', credit_type => 'tokens');
SELECT reason, balance, available FROM hold_credits('carol@guest.example', 25, 'guest-hold');
SELECT reason FROM register_billing_user(email => 'carol@guest.example', stripe_customer_id => 'cus_carol_guest');
SELECT reason FROM apply_subscription_update(pg_temp.subscription('sub_guest', 'cus_carol_guest'));
SELECT reason FROM start_subscription_payment('ref-guest', 'carol@guest.example', 'monthly', 500, 'ngn');
SELECT reason FROM register_billing_user(legacy_id => 30, email => 'carol@example.com', stripe_customer_id => 'cus_carol');
SELECT reason, balance FROM grant_credits('30', 11, 'carol-own');
SELECT reason, balance FROM grant_credits('30', 2, 'carol-lot', expires_at => now() + interval '2 days', priority => -1);
SELECT pg_temp.who('carol@guest.example') AS guest, pg_temp.who('30') AS carol \gset

SELECT applied, reason, detail, customer_id = :'carol' AS same, legacy_id, email, stripe_customer_id FROM billing.merge_customers(:'guest', :'carol');
SELECT balance, held, available FROM credit_balance('30');
SELECT balance, held, available FROM credit_balance('30', 'tokens');
SELECT kind, credits, balance, metadata = jsonb_build_object('merged_from', :'guest') AS from_guest FROM credit_history('30');
-- The guest's books: what expired is written off, the rest has moved; nothing is left.
SELECT kind, credits, balance_after, credit_type FROM billing.ledger WHERE customer_id = :'guest' ORDER BY entry_id;
SELECT credit_type, balance, held, in_lots FROM billing.balances WHERE customer_id = :'guest' ORDER BY 1;
SELECT * FROM billing.reconcile();
SELECT * FROM pg_temp.people WHERE legacy_id = 30 OR legacy_id IS NULL;

-- Every provider code finds Carol; the guest's e-mail, one too many, nobody.
SELECT i, found, customer_id = :'carol' AS carol FROM unnest('{cus_carol,cus_carol_guest,carol@example.com,carol@guest.example}'::text[]) i, resolve_billing_user(i);
-- Lots burn in their order over both: the guest's, which expires first, then Carol's own.
SELECT reason, balance FROM spend_credits('30', 1, 'burn');
SELECT e.idempotency_key, l.remaining, l.held, l.customer_id = :'carol' AS carol FROM billing.lots l JOIN billing.ledger e USING (entry_id) ORDER BY l.lot_id;

-- Again: replay, nothing written. The other way round, another way, into nothing: refused.
SELECT applied, reason, customer_id = :'carol' AS same FROM billing.merge_customers(:'guest', :'carol');
SELECT billing.merge_customers(:'carol', :'guest');
SELECT billing.merge_customers(:'guest', pg_temp.who('7'));
SELECT billing.merge_customers(:'carol', :'carol');
SELECT billing.merge_customers(:'carol', NULL);
SELECT billing.merge_customers(NULL, :'carol');
SELECT billing.merge_customers(:'carol', '00000000-0000-0000-0000-000000000000');
SELECT billing.merge_customers('00000000-0000-0000-0000-000000000000', :'carol');
SELECT billing.forget_customer(:'guest');
SELECT billing.move_identifier('carol@guest.example', :'guest');

-- Old keys answer as before, number for number, to whatever names the customer now.
SELECT reason, credits, balance, customer_id = :'guest' AS guest FROM apply_credit_purchase('cus_carol_guest', 100, 'guest-bought', amount_minor => 900, currency => 'eur', source_ref => 'stripe:pi_guest');
SELECT reason, credits, balance FROM spend_credits('30', 9, 'guest-spent');
SELECT reason, detail FROM spend_credits('30', 8, 'guest-spent');
SELECT reason, detail FROM spend_credits('7', 9, 'guest-spent');
SELECT reason, status, credits FROM hold_credits('30', 25, 'guest-hold');
SELECT reason, status FROM start_subscription_payment('ref-guest', '30', 'monthly', 500, 'ngn');
SELECT reason, detail FROM apply_credit_purchase('30', 100, 'guest-bought-again', source_ref => 'stripe:pi_guest');
SELECT r ->> 'reason' AS reason, r ->> 'detail' AS detail FROM (
    SELECT to_jsonb(b) AS r FROM apply_credit_batch('[{"op": "spend", "user_id": "30", "credits": 9, "idempotency_key": "guest-spent"}]') b) x;

-- The hold goes on at Carol's, and so do the payment and the subscription.
SELECT reason, status, captured_credits, balance, available, customer_id = :'carol' AS carol FROM capture_hold((SELECT hold_id FROM billing.holds WHERE idempotency_key = 'guest-hold'), 21);
SELECT reason, status, customer_id = :'carol' AS carol FROM verify_subscription_payment('ref-guest', 'success', 500, 'ngn');
SELECT subscription_id, status FROM subscription_status('30') ORDER BY 1;
SELECT customer_id = :'carol' AS carol, count(*) FROM billing.subscriptions WHERE subscription_id = 'sub_guest' GROUP BY 1;

-- A refund of what the guest bought is taken from Carol; a spend of the guest's is given back to her, to the lot
-- that it came from, used up when it moved.
SELECT reason, detail FROM pg_temp.deliver('{"id": "evt_guest_refund", "object": "event", "type": "charge.refunded", "created": 1790000001, "livemode": false,
    "data": {"object": {"id": "ch_guest", "object": "charge", "payment_intent": "pi_guest", "amount": 900, "amount_refunded": 450}}}');
SELECT reason, credits, balance, customer_id = :'carol' AS carol FROM reverse_credit_entry((SELECT entry_id FROM billing.ledger WHERE idempotency_key = 'guest-spent'), 'guest-unspent');
SELECT kind, credits, balance FROM credit_history('30', 3);
SELECT remaining FROM billing.lots l JOIN billing.ledger e USING (entry_id) WHERE e.idempotency_key = 'guest-used-up';
-- An adjustment is not to be reversed.
SELECT reason, detail FROM reverse_credit_entry((SELECT max(entry_id) FROM billing.ledger WHERE kind = 'adjustment'), 'unmerge');
SELECT * FROM billing.reconcile();

-- Two people to the application are two: nothing moves.
SELECT reason, detail, customer_id FROM billing.merge_customers(:'carol', pg_temp.who('7'));
-- Nor where a balance would be too much.
SELECT reason FROM grant_credits('dora@example.com', 9223372036854775807, 'dora');
SELECT reason, detail FROM billing.merge_customers(:'carol', pg_temp.who('dora@example.com'));
SELECT found, customer_id = :'carol' AS carol FROM resolve_billing_user('30');
SELECT credit_type, balance FROM billing.balances WHERE customer_id = pg_temp.who('dora@example.com');

-- A customer merged twice over: entries, lots and refunds find the last one.
SELECT reason FROM register_billing_user(user_id => 'd0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', email => 'caroline@example.com');
SELECT reason, email FROM billing.merge_customers(:'carol', pg_temp.who('caroline@example.com'));
SELECT reason, credits, balance, customer_id = pg_temp.who('30') AS last FROM reverse_credit_entry((SELECT entry_id FROM billing.ledger WHERE idempotency_key = 'guest-lot'), 'guest-ungranted');
SELECT reason FROM billing.merge_customers(:'guest', pg_temp.who('30'));
SELECT reason, balance FROM spend_credits('cus_carol_guest', 1, 'last');
SELECT e.idempotency_key, l.remaining, l.customer_id = pg_temp.who('30') AS last FROM billing.lots l JOIN billing.ledger e USING (entry_id) ORDER BY l.lot_id;
SELECT * FROM billing.reconcile();

-- 4. Forgetting. Everything that is known of Grace, and of her neighbour Heidi, whose things are hers.
SET billing_rpc.external_ids = on;
SET billing_rpc.payload_retention = always;
SELECT reason FROM register_billing_user(user_id => 'c0ffee00-0000-4000-8000-000000000042', email => 'Grace@Hopper.Example',
    legacy_id => 424242, stripe_customer_id => 'cus_grace', paystack_customer_code => 'CUS_grace', external_id => 'user_Grace');
SELECT reason FROM register_billing_user(legacy_id => 424242, stripe_customer_id => 'cus_grace_guest');
SELECT reason FROM register_billing_user(legacy_id => 4242421, email => 'heidi@hopper.example', stripe_customer_id => 'cus_grace_guest2');
SELECT pg_temp.who('cus_grace') AS grace, pg_temp.who('cus_grace_guest2') AS heidi \gset

-- Credits bought, a subscription with its request on the queue, a payment, and events of all fates.
CREATE FUNCTION pg_temp.event(id text, type text, object text) RETURNS json LANGUAGE sql AS $$
    SELECT format('{"id": "%s", "object": "event", "type": "%s", "created": 1790000000, "livemode": false, "data": {"object": %s}}', id, type, object)::json $$;
CREATE FUNCTION pg_temp.session(id text, rest text) RETURNS text LANGUAGE sql AS $$
    SELECT format('{"id": "cs_%s", "object": "checkout.session", "mode": "payment", "payment_status": "paid", "payment_intent": "pi_%s",
        "amount_total": 900, "amount_subtotal": 900, "currency": "eur", %s}', id, id, rest) $$;
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_bought', 'checkout.session.completed', pg_temp.session('bought',
    '"customer": "cus_grace", "customer_details": {"email": "GRACE@hopper.example", "name": "Grace"}, "metadata": {"pack": "small", "user_id": "424242"}')));
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_customer', 'customer.updated', '{"id": "cus_grace", "object": "customer", "email": "grace@hopper.example"}'));
-- failed for want of the code; for a pack that is not there; and Heidi's
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_failed', 'checkout.session.completed', pg_temp.session('failed',
    '"customer": "cus_grace", "metadata": {"pack": "large"}')));
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_failed_legacy', 'checkout.session.completed', pg_temp.session('failed_legacy',
    '"metadata": {"pack": "large", "user_id": "424242"}')));
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_heidi', 'checkout.session.completed', pg_temp.session('heidi',
    '"customer": "cus_grace_guest2", "metadata": {"pack": "large", "user_id": "4242421"}')));
-- an application's own, claimed and failed with words of its own
SELECT claim_token AS token FROM claim_stripe_event('evt_own', 'charge.succeeded') \gset
SELECT reason FROM fail_stripe_event('evt_own', :'token', 'no mail to Grace@Hopper.example');
SELECT claim_token AS token FROM claim_stripe_event('evt_done', 'charge.succeeded') \gset
SELECT reason FROM complete_stripe_event('evt_done', :'token', '{"mailed": "grace@hopper.example"}');
SELECT reason FROM apply_subscription_update(pg_temp.subscription('sub_grace', 'cus_grace_guest'));
INSERT INTO billing.refetch_queue VALUES (now(), 'subscription', 'sub_grace', 'always');
SELECT reason FROM start_subscription_payment('ref-grace', 'CUS_grace', 'monthly', 500, 'ngn');
SELECT reason FROM hold_credits('cus_grace', 5, 'held-for-grace');

-- Every column of every table, searched for every identifier, whatever its type.
CREATE FUNCTION pg_temp.found(needles text[]) RETURNS TABLE (place text, rows bigint) LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT t.oid::regclass AS relation, a.attname
        FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid
        WHERE t.relnamespace = 'billing'::regnamespace AND t.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY t.relname, a.attnum
    LOOP
        place := c.relation || '.' || c.attname;
        EXECUTE format('SELECT count(*) FROM %s WHERE EXISTS (SELECT FROM unnest($1) n (needle) WHERE lower(%I::text) ~ needle)',
            c.relation, c.attname) INTO rows USING needles;
        IF rows > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;
\set identifiers '''{c0ffee00-0000-4000-8000-000000000042,"(^|[^a-z])grace@hopper","(^|[^0-9])424242([^0-9]|$)","cus_grace($|[^_a-z])","cus_grace_guest($|[^2])",user_grace}'''
SELECT * FROM pg_temp.found(:identifiers);

SELECT applied, reason, detail, customer_id = :'grace' AS same, user_id, email, legacy_id, stripe_customer_id, paystack_customer_code, external_id
FROM billing.forget_customer(:'grace');
SELECT * FROM pg_temp.found(:identifiers);

-- The books are as they were; what was not finished is dismissed; Heidi has all of hers.
SELECT reason FROM billing.forget_customer(:'grace');
SELECT balance, held FROM billing.balances WHERE customer_id = :'grace';
SELECT kind, credits, source_ref FROM billing.ledger WHERE customer_id = :'grace';
SELECT subscription_id, provider_customer, status FROM billing.subscriptions WHERE customer_id = :'grace';
SELECT reference, status FROM billing.payments WHERE customer_id = :'grace';
SELECT event_id, status, object_id, payload_summary, result ->> 'detail' AS detail, payload IS NOT NULL AS payload, error_message
FROM billing.webhook_events WHERE event_id LIKE ANY ('{evt_bought,evt_customer,evt_failed%,evt_heidi,evt_own,evt_done}') ORDER BY event_id;
SELECT found, email FROM resolve_billing_user('cus_grace_guest2');

-- A code of theirs is a stranger's from now on; whoever comes with an identifier of theirs is somebody new.
SELECT reason, detail FROM grant_credits('cus_grace', 1, 'after');
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_later', 'checkout.session.completed', pg_temp.session('later', '"customer": "cus_grace", "metadata": {"pack": "small"}')));
SELECT reason, customer_id = :'grace' AS same FROM grant_credits('424242', 1, 'after');
-- A refund of what they bought still finds its entry.
SELECT reason, detail FROM pg_temp.deliver(pg_temp.event('evt_refund', 'charge.refunded', '{"id": "ch_bought", "object": "charge", "payment_intent": "pi_bought",
    "amount": 900, "amount_refunded": 900, "customer": "cus_grace"}'));
SELECT balance, held FROM billing.balances WHERE customer_id = :'grace';
SELECT billing.move_identifier('424242', :'grace');
SELECT billing.forget_customer();
SELECT billing.forget_customer('00000000-0000-0000-0000-000000000000');
SELECT * FROM billing.reconcile();

-- Codes are compared as they are written: Stripe's cus_Nn is not Paystack's CUS_Nn, and a stranger's event stays.
SELECT reason, detail FROM pg_temp.deliver('{"id": "evt_stranger", "object": "event", "type": "checkout.session.completed", "created": 1790000009, "livemode": false,
    "data": {"object": {"id": "cs_stranger", "object": "checkout.session", "mode": "payment", "payment_status": "paid", "amount_total": 900, "currency": "eur",
        "customer": "cus_Nn", "metadata": {"credits": "7"}}}}');
SELECT reason FROM register_billing_user(legacy_id => 4242, paystack_customer_code => 'CUS_Nn');
SELECT reason FROM billing.forget_customer(pg_temp.who('4242'));
SELECT status, error_detail, payload IS NOT NULL AS kept FROM billing.webhook_events WHERE event_id = 'evt_stranger';
