-- A tour in psql, from an empty database to a refund: \i tour.sql
-- It runs in one transaction that is taken back at the end, so nothing is left behind; do not run it in the database
-- of a live application all the same. Needs the extension, and a superuser for what operators do.
\set ON_ERROR_STOP on
\pset null '-'
\pset footer off
BEGIN;

\echo
\echo '1. Operators: a secret for the webhooks, something to sell, a plan.'
SELECT billing.add_webhook_secret('stripe', 'whsec_tour') \g /dev/null
SELECT billing.define_pack('tour-pack', 100, 900, 'eur') \g /dev/null
SELECT billing.define_plan('tour-plan', 1900, 'eur', 'month', price_ids => '{price_tour}', credits_per_period => 500) \g /dev/null

\echo
\echo '2. A welcome gift. Sent twice, given once.'
SELECT reason, credits, balance FROM grant_credits('tour@example.com', 20, 'tour:welcome');
SELECT reason, credits, balance FROM grant_credits('tour@example.com', 20, 'tour:welcome');

\echo
\echo '3. A webhook of Stripe: a paid checkout, signed. Delivered twice, credited once.'
SELECT '{"id": "evt_tour_1", "type": "checkout.session.completed", "livemode": false, "data": {"object": {'
    '"id": "cs_tour", "mode": "payment", "payment_status": "paid", "amount_subtotal": 900, "amount_total": 900, "currency": "eur",'
    '"payment_intent": "pi_tour", "customer": "cus_tour", "metadata": {"pack": "tour-pack", "user_id": "tour@example.com"}}}}' AS body \gset
SELECT reason, detail, result ->> 'balance' AS balance
FROM process_stripe_webhook(:'body', billing.sign_stripe_payload(:'body', 'whsec_tour'));
SELECT reason, detail FROM process_stripe_webhook(:'body', billing.sign_stripe_payload(:'body', 'whsec_tour'));

\echo
\echo '4. The success page reports the same session: it is credited already.'
SELECT reason, detail FROM apply_credit_purchase('cus_tour', 100, 'tour:order', stripe_session_id => 'cs_tour');

\echo
\echo '5. Spending, and more than there is.'
SELECT reason, credits, balance FROM spend_credits('tour@example.com', 30, 'tour:image');
SELECT reason, detail, balance FROM spend_credits('tour@example.com', 500, 'tour:film');

\echo
\echo '6. A job of unknown cost: reserve, then pay for what it took.'
SELECT hold_id, reason, available FROM hold_credits('tour@example.com', 50, 'tour:job') \gset
SELECT reason, status, captured_credits, balance, available FROM capture_hold(:'hold_id', 35);

\echo
\echo '7. Half the money goes back, and so does half of what it bought.'
SELECT '{"id": "evt_tour_2", "type": "charge.refunded", "livemode": false, "created": 1700000000, "data": {"object": {'
    '"id": "ch_tour", "amount": 900, "amount_refunded": 450, "payment_intent": "pi_tour"}}}' AS body \gset
SELECT reason, result ->> 'credits' AS credits, result ->> 'balance' AS balance
FROM process_stripe_webhook(:'body', billing.sign_stripe_payload(:'body', 'whsec_tour'));

\echo
\echo '8. A subscription.'
SELECT reason, status FROM apply_subscription_update('{"id": "sub_tour", "customer": "cus_tour", "status": "active",
    "items": {"data": [{"price": {"id": "price_tour"}, "quantity": 1, "current_period_end": 4102444800}]}}');
SELECT plan, status, active FROM subscription_status('tour@example.com');

\echo
\echo '9. The books.'
SELECT kind, credits, balance FROM credit_history('tour@example.com');
SELECT balance, held, available FROM credit_balance('tour@example.com');
SELECT count(*) AS problems FROM billing.reconcile();

ROLLBACK;
