-- Subscription payments that Paystack's events verify, as a call does: the same payment, once, whoever is first.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION billing_rpc;
DO $$ BEGIN
    PERFORM billing.add_webhook_secret('paystack', 'sk_test_example');
    PERFORM billing.define_plan('pro', 5000, 'NGN', 'month');
    PERFORM billing.define_plan('shops', 2000, 'ngn', 'month', per_branch => true);
END $$;

-- For this page: Paystack's charge.success for a reference, signed and delivered; what is given replaces parts of it.
CREATE FUNCTION charged(id int, reference text, amount bigint, parts jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT status text, OUT attempts int) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, e.status, e.attempts
    FROM (SELECT jsonb_build_object('event', 'charge.success', 'data', jsonb_build_object('id', id, 'domain', 'test', 'status', 'success', 'reference', reference, 'amount', amount, 'currency', 'NGN',
        'paid_at', '2026-03-01T10:00:00.000Z', 'metadata', '', 'customer', jsonb_build_object('customer_code', 'CUS_' || reference, 'email', reference || '@example.com')) || parts)::text) AS body (b),
        LATERAL process_paystack_webhook(b, billing.sign_paystack_payload(b, 'sk_test_example')) AS e
$$;
-- How far an end lies ahead, by the calendar.
CREATE FUNCTION ends(at timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(length, ', ') FROM unnest('{1 month,2 months,3 months}'::text[]) length
    WHERE at BETWEEN clock_timestamp() - interval '1 minute' + length::interval AND clock_timestamp() + length::interval
$$;
CREATE VIEW paid AS SELECT reference, status, paid_at, ends(subscription_end), (SELECT count(*) FROM billing.branch_subscriptions b WHERE b.payment_id = p.payment_id) AS branches FROM billing.payments p ORDER BY payment_id;

-- 1. The event of a started reference verifies it: paid when the event says, a month from now. It buys no credits and makes nobody.
SELECT reason FROM start_subscription_payment('ref-1', '7', 'pro', 5000, 'ngn');
SELECT * FROM charged(1, 'ref-1', 5000, '{"metadata": {"credits": 100, "user_id": "8"}}');
SELECT * FROM paid;
SELECT legacy_id, email, paystack_customer_code FROM billing.customers;
SELECT count(*) FROM billing.ledger;
-- The same event again, and the same payment told by another event: replays.
SELECT * FROM charged(1, 'ref-1', 5000);
SELECT * FROM charged(1001, 'ref-1', 5000);
SELECT event_id, status, result FROM billing.webhook_events ORDER BY event_id;
-- Who asks after the event is told of the same payment, number for number; whatever a later event says of it.
SELECT v.reason, v.detail, v.status, v.paid_at, ends(v.subscription_end) FROM verify_subscription_payment('ref-1', 'success', 5000, 'ngn', '2026-04-01Z') AS v;
SELECT * FROM charged(1002, 'ref-1', 1, '{"currency": "USD"}');
SELECT * FROM paid;

-- 2. What is paid for shows: provider paystack, the reference as its id, until its end.
SELECT provider, subscription_id, plan, status, quantity, ends(current_period_end), cancel_at_period_end, trial_end, active FROM subscription_status('7');
SET ROLE billing_user;
SET request.jwt.claims = '{"sub": "7"}';
SELECT has_active_subscription() AS any, has_active_subscription('pro') AS pro, has_active_subscription('shops') AS shops;
SELECT subscription_id, active FROM my_subscription();
RESET ROLE;
RESET request.jwt.claims;

-- 3. Verified by a call first: the event completes as a replay.
SELECT reason FROM start_subscription_payment('ref-3', '7', 'pro', 5000, 'ngn');
SELECT reason, status, paid_at, ends(subscription_end) FROM verify_subscription_payment('ref-3', 'success', 5000, 'ngn', '2026-03-02Z');
SELECT * FROM charged(3, 'ref-3', 5000);
SELECT * FROM paid;
-- The next one adds to it, by event.
SELECT reason FROM start_subscription_payment('ref-3b', '7', 'pro', 5000, 'ngn');
SELECT * FROM charged(31, 'ref-3b', 5000);
SELECT * FROM paid;
SELECT subscription_id, ends(current_period_end) FROM subscription_status('7');

-- 4. A wrong amount or currency marks nothing: the event fails and is kept. A call with the right one can still come, and then the event has nothing left to do.
SELECT reason FROM start_subscription_payment('ref-4', '9', 'shops', 4000, 'ngn', '{a,b}', 'a');
SELECT * FROM charged(4, 'ref-4', 3999);
SELECT * FROM charged(41, 'ref-4', 4000, '{"currency": "USD"}');
SELECT * FROM charged(42, 'ref-4', 4000, '{"amount": null}');
SELECT * FROM charged(43, 'ref-4', 4000, '{"amount": "40.00"}');
SELECT event_id, status, error_detail, payload IS NOT NULL AS kept FROM billing.webhook_events WHERE status = 'failed' ORDER BY event_id;
SELECT * FROM paid WHERE reference = 'ref-4';
SELECT subscription_status('9');
-- Tried again while nothing has changed, it fails again.
UPDATE billing.webhook_events SET next_attempt_at = clock_timestamp() WHERE status = 'failed';
SELECT event_id, reason, detail, status, attempts FROM retry_webhook_events() ORDER BY event_id;
SELECT * FROM charged(44, 'ref-4', 4000, '{"amount": "4000"}');
SELECT * FROM paid WHERE reference = 'ref-4';
SELECT branch_id, is_main_branch FROM billing.branch_subscriptions ORDER BY branch_id;
UPDATE billing.webhook_events SET next_attempt_at = clock_timestamp() WHERE status = 'failed';
SELECT event_id, reason, detail, status, attempts FROM retry_webhook_events() ORDER BY event_id;

-- 5. What did not succeed verifies nothing; a failed attempt may be followed by a success.
SELECT reason FROM start_subscription_payment('ref-5', '10', 'pro', 5000, 'ngn');
SELECT * FROM charged(5, 'ref-5', 5000, '{"status": "failed"}');
SELECT * FROM charged(51, 'ref-5', 5000, '{"status": null}');
SELECT reason, status FROM verify_subscription_payment('ref-5', 'failed', 5000, 'ngn');
SELECT * FROM charged(52, 'ref-5', 5000);
SELECT * FROM paid WHERE reference = 'ref-5';

-- 6. Before the start the reference is unknown here: no payment, and no credits. A payment started afterwards is verified by whatever comes next.
SELECT * FROM charged(6, 'ref-6', 5000);
SELECT reason FROM start_subscription_payment('ref-6', '11', 'pro', 5000, 'ngn');
SELECT status FROM subscription_payment_status('ref-6');
SELECT * FROM charged(6, 'ref-6', 5000);
SELECT reason, status FROM verify_subscription_payment('ref-6', 'success', 5000, 'ngn');
-- References are told apart by every letter.
SELECT reason FROM start_subscription_payment('ref-6b', '11', 'pro', 5000, 'ngn');
SELECT * FROM charged(61, 'REF-6b', 5000);
SELECT status FROM subscription_payment_status('ref-6b');

-- 7. Without a time of payment, it was paid when it was told.
SELECT reason FROM start_subscription_payment('ref-7', '12', 'pro', 5000, 'ngn');
SELECT * FROM charged(7, 'ref-7', 5000, '{"paid_at": null}');
SELECT paid_at > clock_timestamp() - interval '1 minute' AS just_now FROM subscription_payment_status('ref-7');

-- 8. A refund of a subscription payment gave no credits that could be undone, whatever becomes of the payment; the payment stays paid.
CREATE FUNCTION refunded(reference text, refund text, OUT reason billing_reason, OUT detail text) LANGUAGE sql AS $$
    SELECT e.reason, e.detail FROM (SELECT jsonb_build_object('event', 'refund.processed', 'data', jsonb_build_object('domain', 'test', 'status', 'processed', 'transaction_reference', reference, 'refund_reference', refund, 'amount', '5000', 'currency', 'NGN'))::text) AS body (b),
        LATERAL process_paystack_webhook(b, billing.sign_paystack_payload(b, 'sk_test_example')) AS e
$$;
SELECT reference, r.* FROM unnest('{ref-1,ref-6b,ref-none}'::text[]) AS given (reference), LATERAL refunded(reference, 'a') AS r;
SELECT status FROM subscription_payment_status('ref-1');
SELECT payment_ref FROM billing.charges ORDER BY payment_ref;
