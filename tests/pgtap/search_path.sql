-- A hostile session: its search_path begins with a schema whose functions, operators and types mask Postgres's own, and its
-- temporary schema holds tables named like billing's. No answer changes.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();
INSERT INTO billing.webhook_secrets (provider, secret) VALUES ('stripe', 'whsec_test');

-- A story through every kind of call, told as text. Nothing here is looked up by search_path: no SET clause may stand on this
-- function, because the path of the session is what is tested.
CREATE FUNCTION tap.story(place text) RETURNS text[] LANGUAGE plpgsql AS $story$
DECLARE
    told text[];
    line text;
    statement text;
    token text;
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.email, o.legacy_id, o.stripe_customer_id)
          FROM place.register_billing_user(user_id => '11111111-1111-1111-1111-111111111111', email => 'A@Example.com', legacy_id => 7, stripe_customer_id => 'cus_1') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.stripe_customer_id)
          FROM place.register_billing_user(legacy_id => 7, stripe_customer_id => 'cus_2') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail) FROM place.register_billing_user(legacy_id => 8, stripe_customer_id => 'cus_2') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.found, o.kind, o.email, o.detail) FROM place.resolve_billing_user('a@EXAMPLE.com') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.found, o.kind, o.detail) FROM place.resolve_billing_user('cus_2') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.credits, o.balance, o.credit_type)
          FROM place.apply_credit_purchase('7', 100, 'k1', 'cs_1', 999, 'EUR', metadata => '{"a": [1, null]}') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.credits, o.balance) FROM place.apply_credit_purchase('cus_2', 100, 'k1', 'cs_1', 999, 'eur') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.credits, o.balance) FROM place.apply_credit_purchase('7', 100, 'k2', 'cs_1') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.credits, o.balance) FROM place.grant_credits('7', 5, 'k3') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.credits, o.balance) FROM place.grant_credits('new@example.com', 5, 'k4') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.credits, o.balance) FROM place.spend_credits('7', 15, 'k5') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail) FROM place.spend_credits('7', 1000, 'k6') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.balance, o.held, o.available, o.credit_type) FROM place.credit_balance('7') o$$,
        $$SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', o.kind, o.credits, o.balance, o.source_ref, o.idempotency_key, o.metadata), ' ') FROM place.credit_history('7') o$$,
        $$SELECT pg_catalog.concat_ws('/', v.valid, v.detail) FROM place.verify_stripe_signature('{}', billing.sign_stripe_payload('{}', 'whsec_test')) v$$,
        $$SELECT pg_catalog.concat_ws('/', v.valid, v.detail) FROM place.verify_paystack_signature('{}', 'x') v$$,
        $$SELECT pg_catalog.concat_ws('/', v.valid, v.detail) FROM billing.verify_paystack_signature_with('x', billing.sign_paystack_payload('x', 'sk'), '{sk}') v$$,
        $$SELECT pg_catalog.concat_ws('/', v.valid, v.detail) FROM billing.verify_stripe_signature_with('x', billing.sign_stripe_payload('x', 'wh', 'epoch'), '{wh}', 1, 'epoch') v$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status, o.attempts, pg_catalog.set_config('test.token', o.claim_token::pg_catalog.text, true) IS NOT NULL)
          FROM place.claim_stripe_event('evt_1', 'invoice.paid', '{"a": 1}', 60) o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail) FROM place.claim_webhook_event('stripe', 'evt_1', 'invoice.paid') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.status) FROM place.fail_stripe_event('evt_1', pg_catalog.current_setting('test.token')::pg_catalog.uuid, 'no luck') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.attempts, pg_catalog.set_config('test.token', o.claim_token::pg_catalog.text, true) IS NOT NULL)
          FROM place.claim_stripe_event('evt_1', 'invoice.paid') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.result) FROM place.complete_stripe_event('evt_1', pg_catalog.current_setting('test.token')::pg_catalog.uuid, '{"b": 2}') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status, o.result) FROM place.claim_stripe_event('evt_1', 'invoice.paid') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status, o.result OPERATOR(pg_catalog.->>) 'balance')
          FROM (SELECT tap.event('evt_2', '7') AS body) b, place.process_stripe_webhook(b.body, billing.sign_stripe_payload(b.body, 'whsec_test')) o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail) FROM (SELECT tap.event('evt_3', '7') AS body) b,
          LATERAL (SELECT pg_catalog.set_config('request.headers', tap.headers(b.body), true)) h, place.stripe_webhook(b.body::pg_catalog.json) o$$,
        $$SELECT pg_catalog.current_setting('response.status')$$,
        $$SELECT billing.allow_account('acct_1')::pg_catalog.text$$,
        $$SELECT pg_catalog.concat_ws('/', billing.define_pack('starter', 100, 900, 'eur', expires_after => '1 year'), billing.define_pack('starter', 110, 950, 'EUR', 'gold', '1 month'))$$,
        $$SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', p.credits, p.credit_type, p.expires_after), ' ' ORDER BY p.valid_from) FROM billing.packs p$$,
        $$SELECT pg_catalog.string_agg(p.amount_minor::pg_catalog.text, ' ' ORDER BY p.valid_from) FROM billing.pack_prices p$$,
        $$SELECT pg_catalog.concat_ws('/', billing.define_plan('pro', 4000, 'ngn', 'month', 1, '{price_1,price_2}'), billing.define_plan('pro', 5000, 'ngn', 'month', 1, '{price_2,price_3}', per_branch => true))$$,
        $$SELECT pg_catalog.string_agg(p.price_id, ' ' ORDER BY p.price_id) FROM billing.plan_prices p$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status, o.amount_minor, o.branches) FROM place.start_subscription_payment('ref-1', '7', 'pro', 10000, 'NGN', '{b,a,b}', 'a', '{"c": 3}') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status) FROM place.start_subscription_payment('ref-1', 'a@example.com', 'pro', 10000, 'ngn', '{a,b}', 'a') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail) FROM place.start_subscription_payment('ref-2', '7', 'pro', 5001, 'ngn') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status) FROM place.verify_subscription_payment('ref-1', 'failed') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status, o.branches, o.paid_at, o.subscription_end OPERATOR(pg_catalog.>) pg_catalog.now())
          FROM place.verify_subscription_payment('ref-1', 'success', 10000, 'ngn', 'epoch') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.status, o.branches) FROM place.subscription_payment_status('ref-1') o$$,
        $$SELECT billing.set_users_table('auth_like.users', 'id', 'email')::pg_catalog.text$$,
        $$SELECT pg_catalog.concat_ws('/', o.found, o.kind, o.email) FROM place.resolve_billing_user('Table@Example.com') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.balance) FROM place.grant_credits('table@example.com', 1, 'k7') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.found, o.kind, o.email) FROM place.resolve_billing_user('Table@Example.com') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail) FROM place.grant_credits('nobody@example.com', 1, 'k8') o$$,
        $$SELECT billing.set_users_table()::pg_catalog.text$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.previous_status, o.status, o.current_period_end)
          FROM place.apply_subscription_update('{"id": "sub_1", "customer": "cus_2", "status": "active", "current_period_end": 4102444800, "metadata": {"user_id": "7"}}', '2026-01-01Z') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason, o.detail, o.previous_status, o.status)
          FROM place.apply_subscription_update('{"id": "sub_2", "customer": "cus_9", "status": "active"}', '2026-01-01Z') o$$,
        $$SELECT pg_catalog.concat_ws('/', o.applied, o.reason) FROM place.register_billing_user(legacy_id => 9, stripe_customer_id => 'cus_9') o$$,
        $$SELECT pg_catalog.concat_ws('/', s.subscription_id, s.status, s.active) FROM place.subscription_status('9') s$$,
        $$SELECT pg_catalog.concat_ws('/', pg_catalog.set_config('request.jwt.claims', '{"sub": "7"}', true), s.subscription_id, place.has_active_subscription())
          FROM place.my_subscription() s$$,
        $$SELECT pg_catalog.concat_ws('/', c.balance, c.available, place.has_credits(1), billing.current_customer_id() OPERATOR(pg_catalog.=) c.customer_id,
              (SELECT pg_catalog.count(*) FROM place.my_credit_history())) FROM place.my_credits() c$$,
        $$SELECT pg_catalog.concat('problems: ', pg_catalog.string_agg(a.problem, ' ')) FROM billing.access_audit() a$$,
        $$SELECT pg_catalog.concat_ws('/', pg_catalog.string_agg(h.check_name, ' '), (SELECT pg_catalog."substring"(m.told, 'billing_rpc_subscriptions[^#]*') FROM billing.metrics() AS m (told)))
          FROM billing.health() h WHERE NOT h.ok$$,
        $$SELECT pg_catalog.concat_ws('/', (SELECT pg_catalog.count(*) FROM billing.recent_events), (SELECT pg_catalog.count(*) FROM billing.unfinished_events), pg_catalog.sum(c.credits_balance))
          FROM billing.customer_credits c$$,
        $$SELECT pg_catalog.concat_ws('/', place.can_transition_subscription('active', 'canceled'), (SELECT pg_catalog.count(*) FROM place.pending_refetches()))$$,
        $$SELECT billing.set_refetch_source('auth_like.subscriptions')::pg_catalog.text$$,
        $$SELECT billing.set_refetch_source()::pg_catalog.text$$
    ] LOOP
        BEGIN
            EXECUTE pg_catalog.replace(statement, 'place.', pg_catalog.concat(place, '.')) INTO line;
        EXCEPTION WHEN OTHERS THEN
            line := pg_catalog.concat('ERROR ', SQLSTATE, ' ', SQLERRM);
        END;
        told := pg_catalog.array_append(told, line);
    END LOOP;
    RETURN told;
END $story$;

-- The helpers of the story must not be fooled either.
ALTER FUNCTION tap.event(text, text) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION tap.headers(text) SET search_path = pg_catalog, pg_temp;
CREATE SCHEMA auth_like;
CREATE TABLE auth_like.users (id uuid, email text);
CREATE TABLE auth_like.subscriptions (id text, attrs jsonb);
INSERT INTO auth_like.users VALUES ('33333333-3333-3333-3333-333333333333', 'TABLE@example.com');

-- The masks: each raises an error if it is ever called.
CREATE SCHEMA evil;
-- Open to all: a schema that billing_owner may not use would be passed over.
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.trap() RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the trap was called''; END';
DO $$
DECLARE
    f record;
BEGIN
    -- Every function of Postgres that has one of these names is masked, with the very same arguments.
    FOR f IN
        SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.prorettype
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
            AND p.proname IN ('now', 'clock_timestamp', 'lower', 'upper', 'length', 'octet_length', 'gen_random_uuid', 'format', 'set_config',
                'current_setting', 'concat', 'concat_ws', 'replace', 'left', 'to_regclass', 'nextval', 'array_append', 'jsonb_typeof',
                'btrim', 'ltrim', 'rtrim', 'md5', 'sha256', 'encode', 'decode', 'position', 'strpos', 'substr', 'substring', 'greatest',
                'texteq', 'int8eq', 'uuid_eq', 'int8pl', 'textcat', 'timestamptz_le', 'json_build_object', 'to_jsonb', 'hashtext')
            AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) t JOIN pg_type ON pg_type.oid = t
                            WHERE typtype = 'p' OR typname IN ('internal', 'cstring'))
            AND NOT EXISTS (SELECT FROM pg_type WHERE oid = p.prorettype AND typtype = 'p')
    LOOP
        EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''%s was called''''; END''',
            f.proname, f.arguments, f.prorettype::regtype, f.proname);
    END LOOP;
END $$;
CREATE FUNCTION evil.coalesce(text, text) RETURNS text LANGUAGE sql AS 'SELECT evil.trap()';
-- Every operator of these names, for the types that billing's tables have.
DO $$
DECLARE
    o record;
    n int := 0;
BEGIN
    FOR o IN
        SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS result FROM pg_operator
        WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
            AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '||', '~~', '~', '->', '->>')
            AND oprleft IN ('text'::regtype, 'int8'::regtype, 'int4'::regtype, 'uuid'::regtype, 'timestamptz'::regtype, 'bool'::regtype,
                'jsonb'::regtype, 'bytea'::regtype, 'name'::regtype, 'oid'::regtype, 'interval'::regtype)
            AND oprright IN ('text'::regtype, 'int8'::regtype, 'int4'::regtype, 'uuid'::regtype, 'timestamptz'::regtype, 'bool'::regtype,
                'jsonb'::regtype, 'bytea'::regtype, 'name'::regtype, 'oid'::regtype, 'interval'::regtype)
    LOOP
        n := n + 1;
        EXECUTE format('CREATE FUNCTION evil.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''operator %s was called''''; END''',
            n, o.l, o.r, o.result, o.oprname);
        EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.operator_%s, LEFTARG = %s, RIGHTARG = %s)', o.oprname, n, o.l, o.r);
    END LOOP;
END $$;
-- Types: named like the extension's, and like Postgres's.
CREATE TYPE evil.billing_reason AS ENUM ('evil');
CREATE TYPE evil.credit_outcome AS (evil text);
CREATE TYPE evil.event_outcome AS (evil text);
CREATE DOMAIN evil.uuid AS text;
CREATE DOMAIN evil.jsonb AS text;
CREATE DOMAIN evil.timestamptz AS text;
-- A cast that answers before text's own input function would.
CREATE TYPE evil.label AS ENUM ('a');
CREATE FUNCTION evil.to_label(text) RETURNS evil.label LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''a cast was called''; END';
CREATE CAST (text AS evil.label) WITH FUNCTION evil.to_label(text) AS IMPLICIT;
CREATE CAST (evil.label AS text) WITH INOUT AS IMPLICIT;
-- Tables of every name in schema billing, and a view.
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'v') LOOP
        EXECUTE format('CREATE TEMP TABLE %I (evil text)', r.relname);
        EXECUTE format('CREATE TABLE evil.%I (evil text)', r.relname);
    END LOOP;
    CREATE TEMP TABLE application_users (id text, email text);
    GRANT ALL ON ALL TABLES IN SCHEMA evil, pg_temp TO PUBLIC;
END $$;

-- The hostile session comes first: what a backend prepares once and keeps is prepared under the masks.
SAVEPOINT hostile;
SET LOCAL search_path = evil, pg_temp, pg_catalog, public;
SELECT tap.story('public') AS hostile \gset
ROLLBACK TO hostile;

SAVEPOINT calm;
SELECT tap.story('public') AS calm \gset
ROLLBACK TO calm;
SELECT is((:'calm'::text[])[1], 't/applied/a@example.com/7/cus_1', 'the story begins');
SELECT is_empty(format('SELECT line FROM unnest(%L::text[]) line WHERE line LIKE ''ERROR%%''', :'calm'), 'the story is told without an error');
SELECT is(h.line, c.line, 'line ' || c.n || ': ' || c.line)
    FROM unnest(:'calm'::text[]) WITH ORDINALITY AS c (line, n) JOIN unnest(:'hostile'::text[]) WITH ORDINALITY AS h (line, n) USING (n) ORDER BY n;

-- No path at all.
SAVEPOINT empty;
SET LOCAL search_path = '';
SELECT tap.story('public') AS empty \gset
ROLLBACK TO empty;
SELECT is(:'empty'::text, :'calm', 'with an empty search_path every answer is the same');

-- What the session inherits from others' functions: pinned in each definer function, see functions.sql. The trap works:
SELECT matches(tap.refusal('SET LOCAL search_path = evil, pg_catalog; SELECT lower(''A'')'), 'lower was called', 'the masks do mask');
SELECT matches(tap.refusal('SET LOCAL search_path = evil, pg_catalog; SELECT ''a''::text = ''a''::text'), 'operator = was called', 'so do the operators');

SELECT * FROM finish();
ROLLBACK;
