-- Paystack: events without ids of their own, payments that buy credits, refunds that add up.
\pset null '(null)'
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION billing_rpc;

-- For this page: a body, signed and delivered, and the answer without what differs from run to run. The first half of a digest is enough.
CREATE FUNCTION told(body text, OUT reason billing_reason, OUT detail text, OUT event_id text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT e.reason, e.detail, regexp_replace(e.event_id, ':[0-9a-f]{32}$', ':<digest>'), (e.result ->> 'credits')::bigint, (e.result ->> 'balance')::bigint
    FROM process_paystack_webhook(body, billing.sign_paystack_payload(body, 'sk_test_example')) AS e
$$;
-- A payment of 5,000.00 NGN for 100 credits, by user n; what is given replaces parts of it.
CREATE FUNCTION paid(n int, parts jsonb = '{}', OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT t.reason, t.detail, t.credits, t.balance FROM told(jsonb_build_object('event', 'charge.success', 'data', jsonb_build_object('id', 1000 + n, 'domain', 'test',
        'status', 'success', 'reference', 'ref-' || n, 'amount', 500000, 'currency', 'NGN', 'created_at', '2026-01-02T03:04:05.000Z', 'paid_at', '2026-01-02T03:05:06.000Z',
        'metadata', jsonb_build_object('credits', '100', 'user_id', n), 'customer', jsonb_build_object('customer_code', 'CUS_' || n, 'email', 'n' || n || '@example.com')) || parts)::text) AS t
$$;
-- So much of the payment of that reference was refunded, by the refund of that name.
CREATE FUNCTION refunded(reference text, refund text, amount jsonb, OUT reason billing_reason, OUT detail text, OUT credits bigint, OUT balance bigint) LANGUAGE sql AS $$
    SELECT t.reason, t.detail, t.credits, t.balance FROM told(jsonb_build_object('event', 'refund.processed', 'data', jsonb_build_object('domain', 'test',
        'status', 'processed', 'transaction_reference', reference, 'refund_reference', refund, 'amount', amount, 'currency', 'NGN'))::text) AS t
$$;

-- 1. Authenticity: the header is the HMAC-SHA512 of the body, keyed with the API secret key.
SELECT reason, detail FROM process_paystack_webhook('{}', '00');
SELECT billing.add_webhook_secret('paystack', 'sk_test_example') AS secret_id;
SELECT signature, reason, detail FROM unnest(ARRAY[NULL, '', '00', upper(billing.sign_paystack_payload('{}', 'sk_test_example')), billing.sign_paystack_payload('{}', 'sk_other')]) WITH ORDINALITY AS given (s, n),
    LATERAL (SELECT CASE WHEN n > 3 THEN '...' ELSE s END AS signature) AS shown, LATERAL process_paystack_webhook('{}', s);
SELECT reason, detail FROM process_paystack_webhook();
-- Then form: an event and data, an object or a list.
SELECT what, t.reason, t.detail FROM unnest(ARRAY['', '{', '[]', '{}', '{"event": "charge.success"}', '{"event": "charge.success", "data": 7}', '{"event": " ", "data": {"id": 1}}', '{"event": 7, "data": {"id": 1}}']) AS given (what),
    LATERAL told(what) AS t;
SELECT count(*) AS events FROM billing.webhook_events;

-- 2. Identity, made of what tells events apart. Of charge.* and transfer.*: the data's id, else its reference; one of them it must have.
SELECT t.event_id, t.reason, t.detail FROM unnest(ARRAY[
    '{"event": "charge.dispute.create", "data": {"id": 358950}}',
    '{"event": "charge.dispute.create", "data": {"id": "358950"}}',
    '{"event": "transfer.success", "data": {"id": null, "reference": "acv_9ee55786"}}',
    '{"event": "transfer.success", "data": {"id": " ", "reference": "acv_9ee55786"}}',
    '{"event": "transfer.failed", "data": {"reference": "acv_9ee55786"}}',
    '{"event": "transfer.failed", "data": {"id": 1.5}}',
    '{"event": "charge.success", "data": {"id": null}}',
    '{"event": "charge.success", "data": []}']) AS given (b), LATERAL told(b) AS t;
-- Of refund.*: which transaction, and which refund; a body's digest where the refund has no name.
SELECT t.event_id, t.reason, t.detail FROM unnest(ARRAY[
    '{"event": "refund.pending", "data": {"transaction_reference": "T1", "refund_reference": "132"}}',
    '{"event": "refund.pending", "data": {"id": 7, "transaction_reference": "T1", "refund_reference": 132}}',
    '{"event": "refund.pending", "data": {"transaction_reference": "T1", "refund_reference": null}}',
    '{"event": "refund.pending", "data": {}}']) AS given (b), LATERAL told(b) AS t;
-- Of all others: what it is about, if it says so, and the body's digest. The same bytes are the same event, other bytes another.
SELECT t.event_id, t.reason, t.detail FROM unnest(ARRAY[
    '{"event": "subscription.expiring_cards", "data": [{"brand": "visa"}]}',
    '{"event": "subscription.expiring_cards", "data": [{"brand": "visa"}]}',
    '{"event": "subscription.expiring_cards",  "data": [{"brand": "visa"}]}',
    '{"event": "paymentrequest.success", "data": {"invoice_code": "INV_1"}}',
    '{"event": "customeridentification.failed", "data": {"customer_code": "CUS_1"}}']) AS given (b), LATERAL told(b) AS t;
-- What is kept of an event: these columns, and no body once it is completed.
SELECT * FROM paid(1);
SELECT event_type, status, livemode, account_id, api_version, occurred_at, object_id, object_type, payload_summary, payload FROM billing.webhook_events WHERE event_id = 'charge.success:1001' \gx
-- Test and live are told apart by the domain.
SET billing_rpc.accepted_mode = 'live';
SELECT domain, p.* FROM unnest('{test,live,null}'::text[]) WITH ORDINALITY AS given (domain, n), LATERAL paid(9900 + n::int, jsonb_build_object('domain', domain, 'metadata', '{}'::jsonb)) AS p;
RESET billing_rpc.accepted_mode;

-- 3. A payment that succeeded buys credits for whom its metadata names, and links the CUS_... to them.
SELECT kind, credits, amount_minor, currency, source_ref, payment_ref, idempotency_key, event, livemode FROM billing.ledger;
SELECT legacy_id, email, paystack_customer_code FROM billing.customers;
-- Delivered again, under the same name or another: once. So with a call.
SELECT * FROM paid(1);
SELECT * FROM paid(1, '{"id": 7001}');
SELECT reason, detail FROM apply_credit_purchase('1', 100, 'order-1', source_ref => 'paystack:ref-1');
SELECT reason, balance FROM apply_credit_purchase('2', 100, 'order-2', source_ref => 'paystack:ref-2');
SELECT * FROM paid(2);
SELECT balance FROM credit_balance('2');

-- 4. Metadata is an object, or a text that holds one; amounts are numbers, or text.
SELECT n, p.* FROM (VALUES
    (3, '{"metadata": "{\"credits\": 100, \"user_id\": \"3\"}"}'::jsonb), (4, '{"amount": "500000"}'),
    (5, '{"metadata": 0}'), (6, '{"metadata": ""}'), (7, '{"metadata": "[1]"}'), (8, '{"metadata": {"credits": "0"}}'), (9, '{"metadata": {"user_id": "9"}}')
) AS given (n, parts), LATERAL paid(n, parts) AS p;
-- What did not succeed buys nothing; what is odd fails, and is kept.
SELECT n, p.* FROM (VALUES
    (10, '{"status": "failed"}'::jsonb), (11, '{"status": null}'), (12, '{"amount": -1}'), (13, '{"amount": "5000.00"}'), (14, '{"amount": 10.5}'), (15, '{"currency": null}'),
    (16, '{"reference": null}'), (17, '{"reference": "r 17"}'), (18, '{"amount": null}')
) AS given (n, parts), LATERAL paid(n, parts) AS p;
SELECT source_ref, amount_minor, currency FROM billing.ledger WHERE source_ref IN ('paystack:ref-3', 'paystack:ref-4', 'paystack:ref-18') ORDER BY entry_id;

-- 5. A pack at its price, valid when the payment was created.
SELECT billing.define_pack('naira', 40, 200000, 'ngn');
SELECT n, p.* FROM (VALUES (20, '{"amount": 200000}'::jsonb), (21, '{"amount": "600000"}'), (22, '{"amount": 199999}'), (23, '{"amount": 200000, "currency": "USD"}')) AS given (n, parts),
    LATERAL paid(n, parts || jsonb_build_object('metadata', jsonb_build_object('pack', 'naira', 'credits', 1, 'user_id', n))) AS p;
SELECT billing.define_pack('naira', 40, 300000, 'ngn');
SELECT n, p.* FROM (VALUES (24, '{"amount": 200000}'::jsonb), (25, '{"amount": 300000}'), (26, '{"amount": 300000, "created_at": "2999-01-01T00:00:00.000Z"}')) AS given (n, parts),
    LATERAL paid(n, parts || jsonb_build_object('metadata', jsonb_build_object('pack', 'naira', 'user_id', n))) AS p;

-- 6. Whose it is: metadata.user_id, then the CUS_... if it is known, then the e-mail, which links nothing.
SELECT * FROM paid(30, '{"metadata": {"credits": 1}, "customer": {"customer_code": "CUS_1", "email": "other@example.com"}}');
SELECT * FROM paid(31, '{"metadata": {"credits": 1, "user_id": "{{id}}"}, "customer": {"customer_code": "CUS_guest", "email": "Guest@Example.com"}}');
SELECT found FROM resolve_billing_user('CUS_guest');
SELECT email, balance FROM billing.customers JOIN billing.balances USING (customer_id) WHERE legacy_id IS NULL OR legacy_id = 1 ORDER BY email;
-- A CUS_... of somebody else stays there.
SELECT * FROM paid(32, '{"customer": {"customer_code": "CUS_1", "email": "x@example.com"}}');
-- Nobody: the event fails, and waits for its CUS_... to be linked.
SELECT * FROM paid(33, '{"metadata": {"credits": 5}, "customer": {"customer_code": "CUS_33"}}');
SELECT * FROM paid(34, '{"metadata": {"credits": 5}, "customer": {"customer_code": "CUS_33", "email": "not an address"}}');
SELECT * FROM paid(35, '{"metadata": {"credits": 5}, "customer": null}');
SELECT event_id, status, error_detail, customer_code, payload IS NOT NULL AS body_kept FROM billing.webhook_events WHERE error_detail = 'unknown_user' ORDER BY event_id;
SELECT reason FROM register_billing_user(legacy_id => 33, paystack_customer_code => 'CUS_33');
SELECT balance FROM credit_balance('CUS_33');
SELECT event_id, status, attempts FROM billing.webhook_events WHERE event_id IN ('charge.success:1033', 'charge.success:1034', 'charge.success:1035') ORDER BY event_id;

-- 7. Refunds of one transaction add up, each once; the amount may be text. The share is rounded down.
SELECT * FROM paid(40);
SELECT * FROM refunded('ref-40', 'a', '"165000"');
SELECT * FROM refunded('ref-40', 'a', '"165000"');
SELECT * FROM refunded('ref-40', 'b', '168000');
SELECT * FROM refunded('ref-40', 'c', '4999');
SELECT * FROM refunded('ref-40', 'd', '1');
SELECT * FROM refunded('ref-40', 'e', '500000');
SELECT * FROM refunded('ref-40', 'f', '1');
SELECT balance FROM credit_balance('40');
SELECT source_ref, amount_minor, refunded_minor, refunds FROM billing.charges WHERE payment_ref = 'ref-40';
-- Before the payment: remembered, and undone with it.
SELECT * FROM refunded('ref-41', 'a', '250000');
SELECT * FROM paid(41);
SELECT balance FROM credit_balance('41');
-- Of a payment that a call credited. Where nobody knows what was paid, a refund counts as a full one, until the payment's event tells.
SELECT reason FROM apply_credit_purchase('42', 100, 'order-42', source_ref => 'paystack:ref-42', amount_minor => 500000, currency => 'ngn');
SELECT * FROM refunded('ref-42', 'a', '250000');
SELECT reason FROM apply_credit_purchase('43', 100, 'order-43', source_ref => 'paystack:ref-43');
SELECT * FROM refunded('ref-43', 'a', '250000');
SELECT * FROM paid(43);
SELECT balance FROM credit_balance('43');
-- Even one that names no credits.
SELECT reason FROM apply_credit_purchase('44', 100, 'order-44', source_ref => 'paystack:ref-44');
SELECT * FROM refunded('ref-44', 'a', '250000');
SELECT * FROM paid(44, '{"metadata": null}');
SELECT balance FROM credit_balance('44');
-- One that did not succeed tells nothing.
SELECT reason FROM apply_credit_purchase('45', 100, 'order-45', source_ref => 'paystack:ref-45');
SELECT * FROM refunded('ref-45', 'a', '250000');
SELECT * FROM paid(45, '{"status": "failed"}');
SELECT balance FROM credit_balance('45');
-- Odd refunds fail; the other events of a refund have no effect.
SELECT n, t.reason, t.detail FROM unnest(ARRAY[
    '{"event": "refund.processed", "data": {"transaction_reference": "ref-1", "refund_reference": "x1"}}',
    '{"event": "refund.processed", "data": {"transaction_reference": "ref-1", "refund_reference": "x2", "amount": "50.5"}}',
    '{"event": "refund.processed", "data": {"transaction_reference": "ref-1", "refund_reference": "x3", "amount": -5}}',
    '{"event": "refund.processed", "data": {"refund_reference": "x4", "amount": 5}}',
    '{"event": "refund.processed", "data": []}',
    '{"event": "refund.failed", "data": {"transaction_reference": "ref-1", "refund_reference": "x6", "amount": 5}}',
    '{"event": "refund.processing", "data": {"transaction_reference": "ref-1", "refund_reference": "x7", "amount": 5}}']) WITH ORDINALITY AS given (b, n), LATERAL told(b) AS t;
SELECT balance FROM credit_balance('1');

-- 8. The endpoint as PostgREST calls it.
CREATE FUNCTION post(body text, signature text, OUT reason billing_reason, OUT detail text, OUT http text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('request.headers', json_build_object('x-paystack-signature', signature)::text, true);
    SELECT e.reason, e.detail INTO post.reason, post.detail FROM paystack_webhook(body::json) AS e;
    http := current_setting('response.status');
END
$$;
SELECT p.* FROM (VALUES ('{"event":"charge.success","data":{"id":1001}}'), ('{"event":"x","data":{}}'), ('{"event":"x"}'), ('{"event":"refund.processed","data":{"transaction_reference":"r","amount":"x"}}')) AS given (b),
    LATERAL post(b, billing.sign_paystack_payload(b, 'sk_test_example')) AS p;
SELECT * FROM post('{"event":"x","data":{}}', '00');
SELECT * FROM post('{"event":"x","data":{}}', NULL);

-- The books are right.
SELECT * FROM billing.reconcile();
