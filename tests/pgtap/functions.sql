-- Every function of the extension, one by one: who may execute it, whether it runs as its owner, whether it reads only.
-- A function without a line here fails the first test.
BEGIN;
\ir fixtures/helpers.sql
SELECT no_plan();

-- may: the group roles that may execute it, beside billing_owner. volatility: v writes, s reads, i computes.
CREATE TEMP TABLE expected (signature text PRIMARY KEY, volatility "char", definer boolean, may text[]);
INSERT INTO expected VALUES
    -- people
    ('resolve_billing_user(text)', 's', true, '{service}'),
    ('register_billing_user(uuid, text, bigint, text, text, text)', 'v', true, '{service}'),
    ('billing.set_users_table(text, text, text)', 'v', false, '{}'),
    ('billing.move_identifier(text, uuid)', 'v', true, '{}'),
    ('billing.merge_customers(uuid, uuid)', 'v', true, '{}'),
    ('billing.forget_customer(uuid)', 'v', true, '{}'),
    -- credits
    ('apply_credit_purchase(text, bigint, text, text, bigint, text, text, timestamp with time zone, jsonb, text)', 'v', true, '{service}'),
    ('grant_credits(text, bigint, text, text, timestamp with time zone, integer, jsonb)', 'v', true, '{service}'),
    ('spend_credits(text, bigint, text, text, jsonb)', 'v', true, '{service}'),
    ('credit_balance(text, text)', 's', true, '{service}'),
    ('credit_balance_at(text, timestamp with time zone, text)', 's', true, '{service}'),
    ('credit_history(text, integer, bigint, text)', 's', true, '{service}'),
    ('reverse_credit_entry(bigint, text, bigint, jsonb)', 'v', true, '{service}'),
    ('hold_credits(text, bigint, text, integer, text, jsonb)', 'v', true, '{service}'),
    ('capture_hold(uuid, bigint)', 'v', true, '{service}'),
    ('release_hold(uuid)', 'v', true, '{service}'),
    ('apply_credit_batch(jsonb)', 'v', true, '{service}'),
    ('my_credits(text)', 's', true, '{service, user}'),
    ('my_credit_history(integer, bigint, text)', 's', true, '{service, user}'),
    ('has_credits(bigint, text)', 's', true, '{service, user}'),
    ('billing.expire_credits(integer)', 'v', true, '{}'),
    ('billing.reconcile()', 's', true, '{monitor}'),
    ('billing.refuse_ledger_change()', 'v', false, '{}'),
    -- adoption
    ('billing.adopted_column(regclass, text)', 's', false, '{}'),
    ('billing.adopt_balances(text, text, text, text, boolean, bigint)', 'v', false, '{}'),
    ('billing.adopt_stripe_events(text, text, text, text, boolean, bigint)', 'v', false, '{}'),
    ('billing.adopt_sources(text, text, boolean, bigint)', 'v', false, '{}'),
    ('billing.mirror_balances(text, text, text, text)', 'v', false, '{}'),
    ('billing.mirror_changes()', 'v', false, '{}'),
    ('billing.adoption_target(text, text)', 's', true, '{}'),
    ('billing.adoption_source(text)', 'i', false, '{}'),
    ('billing.adopt_balance_rows(text[], bigint[], text)', 'v', true, '{}'),
    ('billing.adopt_event_rows(text[], text[], timestamp with time zone[], boolean, bigint)', 'v', true, '{}'),
    ('billing.adopt_source_rows(text[], boolean, bigint)', 'v', true, '{}'),
    -- access
    ('billing.current_customer_id()', 's', true, '{user}'),
    ('billing.access_audit()', 's', true, '{monitor}'),
    ('billing.health()', 's', true, '{monitor}'),
    ('billing.metrics()', 's', true, '{monitor}'),
    ('billing.intended_grants()', 'i', false, '{}'),
    ('billing.intended_policies()', 'i', false, '{}'),
    ('billing.present_grants()', 's', false, '{}'),
    ('billing.keep_for_owner(regclass)', 'v', false, '{}'),
    ('billing.audit_grants()', 's', false, '{}'),
    ('billing.audit_roles()', 's', false, '{}'),
    ('billing.audit_objects()', 's', false, '{}'),
    -- dashboard
    ('billing_dashboard()', 's', true, '{monitor}'),
    -- dropping
    ('billing.watch_drops()', 'v', false, '{}'),
    ('billing.guard_drops()', 'v', true, '{}'),
    -- signatures
    ('verify_stripe_signature(text, text, integer)', 's', true, '{service}'),
    ('verify_paystack_signature(text, text)', 's', true, '{service}'),
    ('billing.verify_stripe_signature_with(bytea, text, text[], integer, timestamp with time zone)', 's', false, '{}'),
    ('billing.verify_paystack_signature_with(bytea, text, text[])', 'i', false, '{}'),
    ('billing.sign_stripe_payload(text, text, timestamp with time zone)', 's', false, '{}'),
    ('billing.sign_paystack_payload(text, text)', 'i', false, '{}'),
    ('billing.add_webhook_secret(text, text, timestamp with time zone)', 'v', true, '{}'),
    ('billing.retire_webhook_secret(bigint, timestamp with time zone)', 'v', true, '{}'),
    ('billing.use_vault_secret(text, text)', 'v', false, '{}'),
    -- packs and plans
    ('billing.define_pack(text, bigint, bigint, text, text, interval)', 'v', true, '{}'),
    ('billing.define_plan(text, bigint, text, text, integer, text[], bigint, boolean, interval, text, boolean)', 'v', true, '{}'),
    -- payments
    ('start_subscription_payment(text, text, text, bigint, text, text[], text, jsonb)', 'v', true, '{service}'),
    ('verify_subscription_payment(text, text, bigint, text, timestamp with time zone)', 'v', true, '{service}'),
    ('subscription_payment_status(text)', 's', true, '{service}'),
    -- subscriptions
    ('apply_subscription_update(jsonb, timestamp with time zone)', 'v', true, '{service}'),
    ('can_transition_subscription(text, text)', 'i', false, '{service}'),
    ('subscription_status(text)', 's', true, '{service}'),
    ('pending_refetches(integer)', 's', true, '{service}'),
    ('my_subscription()', 's', true, '{service, user}'),
    ('has_active_subscription(text)', 's', true, '{service, user}'),
    ('billing.set_refetch_source(text)', 'v', false, '{}'),
    ('billing.find_relation(text)', 's', false, '{}'),
    -- webhooks
    ('stripe_webhook(json)', 'v', true, '{service, webhook}'),
    ('paystack_webhook(json)', 'v', true, '{service, webhook}'),
    ('process_stripe_webhook(text, text)', 'v', true, '{service}'),
    ('process_paystack_webhook(text, text)', 'v', true, '{service}'),
    ('retry_webhook_events(integer)', 'v', true, '{service}'),
    ('billing.dismiss_event(text, text)', 'v', true, '{}'),
    ('billing.purge_webhook_events(interval, integer)', 'v', true, '{}'),
    ('claim_stripe_event(text, text, jsonb, integer)', 'v', true, '{service}'),
    ('complete_stripe_event(text, uuid, jsonb)', 'v', true, '{service}'),
    ('fail_stripe_event(text, uuid, text, integer)', 'v', true, '{service}'),
    ('claim_webhook_event(text, text, text, jsonb, integer)', 'v', true, '{service}'),
    ('complete_webhook_event(text, text, uuid, jsonb)', 'v', true, '{service}'),
    ('fail_webhook_event(text, text, uuid, text, integer)', 'v', true, '{service}'),
    ('billing.allow_account(text, boolean)', 'v', true, '{}'),
    ('billing.revive_event(text, text)', 'v', true, '{}');

SELECT set_eq('SELECT signature FROM tap.functions', 'SELECT signature FROM expected', 'these functions, no others');

-- Who may execute what, as Postgres judges it: by own right, by PUBLIC, by membership.
SELECT set_eq(
    $$ SELECT r.role, f.signature FROM tap.roles r, tap.functions f WHERE has_function_privilege(r.role, f.oid, 'EXECUTE') $$,
    $$ SELECT r.role, e.signature FROM tap.roles r, expected e
       WHERE r.stands_for = 'owner' OR r.stands_for = ANY (e.may) $$,
    'EXECUTE is with these roles, no others');
SELECT set_eq(
    $$ SELECT DISTINCT coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, 'PUBLIC') AS grantee, f.signature, a.is_grantable
       FROM tap.functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a WHERE a.grantee <> f.proowner $$,
    $$ SELECT 'billing_' || who AS grantee, e.signature, false AS is_grantable FROM expected e, unnest(e.may) who $$,
    'EXECUTE is granted to group roles, without grant option, whatever the default privileges say');

SELECT set_eq('SELECT signature, provolatile FROM tap.functions', 'SELECT signature, volatility FROM expected', 'volatility');
SELECT set_eq('SELECT signature, prosecdef FROM tap.functions', 'SELECT signature, definer FROM expected', 'security definer');
SELECT is_empty('SELECT signature FROM tap.functions WHERE proowner <> ''billing_owner''::regrole', 'all belong to billing_owner');
SELECT is_empty(
    $$ SELECT signature FROM tap.functions WHERE proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}' $$,
    'every search_path is pg_catalog, pg_temp');
SELECT is_empty('SELECT signature FROM tap.functions f JOIN pg_proc p USING (oid) WHERE p.proisstrict AND p.pronargs > 0', 'a null argument never gives a null row');
SELECT is_empty('SELECT signature FROM tap.functions WHERE prosecdef AND proparallel = ''s''',
    'what runs as its owner stays in the leader');

-- Every parameter has a default, and no name is there twice: PostgREST need not choose.
SELECT is_empty(
    $$ SELECT f.signature FROM tap.functions f JOIN pg_proc p USING (oid)
       WHERE p.pronargdefaults <> p.pronargs AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND p.proname NOT LIKE '%\_webhook' $$,
    'every parameter has a default');
SELECT is_empty(
    $$ SELECT p.proname FROM tap.functions f JOIN pg_proc p USING (oid) GROUP BY p.proname HAVING count(*) > 1 $$,
    'no function is overloaded');
SELECT set_eq(
    $$ SELECT f.signature FROM tap.functions f JOIN pg_proc p USING (oid)
       WHERE NOT f.internal AND p.prorettype NOT IN (SELECT oid FROM tap.types) AND p.prorettype <> 'boolean'::regtype $$,
    $$ VALUES ('billing_dashboard()') $$, 'clients get a row of a composite type, or a page');
SELECT is(p.proargnames, NULL, 'the endpoint''s parameter is unnamed: PostgREST passes the raw body')
    FROM pg_proc p WHERE p.oid = 'public.stripe_webhook(json)'::regprocedure;

SELECT * FROM finish();
ROLLBACK;
