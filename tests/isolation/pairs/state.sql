-- Keeps what world.sql made, brings it back before each permutation, and tells what a permutation left behind.

CREATE SCHEMA world;

DO $$
DECLARE
  each_table regclass;
BEGIN
  FOR each_table IN SELECT oid FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r' LOOP
    EXECUTE format('CREATE TABLE world.%I AS TABLE %s', (SELECT relname FROM pg_class WHERE oid = each_table), each_table);
  END LOOP;
END $$;

-- Every table as it was. Values that sequences gave stay used: nothing may depend on them.
CREATE FUNCTION world.restore() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  ALTER TABLE billing.ledger DISABLE TRIGGER ledger_append_only;
  SET LOCAL session_replication_role = replica;
  EXECUTE (SELECT string_agg(format('DELETE FROM billing.%1$I; INSERT INTO billing.%1$I OVERRIDING SYSTEM VALUE TABLE world.%1$I', relname), ';')
           FROM pg_class WHERE relnamespace = 'world'::regnamespace AND relkind = 'r');
  SET LOCAL session_replication_role = origin;
  ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_append_only;
  -- What is due stays due for a moment only, however long the run: later it would be stuck, and what waits due as well.
  UPDATE billing.webhook_events SET lease_until = now() - interval '1 second' WHERE event_id = 'evt_lapsed';
  UPDATE billing.webhook_events SET next_attempt_at = now() - interval '1 second' WHERE event_id = 'evt_due';
  UPDATE billing.webhook_events SET next_attempt_at = now() + interval '1 day' WHERE event_id = 'evt_waiting';
  PERFORM billing.set_users_table(), billing.set_refetch_source();
  DROP VIEW IF EXISTS billing.vault_secrets;
END $$;

-- A time near the present is its distance in months, for no two runs have the same now.
CREATE FUNCTION world.moment(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN at BETWEEN now() - interval '2 days' AND now() + interval '2 years'
      THEN 'now+' || round(extract(epoch FROM at - now()) / (30.44 * 86400)) || 'mo'
      ELSE at::text END
$$;

-- A value without what differs from run to run: ids become the keys of what they stand for.
CREATE FUNCTION world.steady(name text, value jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  plain CONSTANT text := value #>> '{}';
BEGIN
  CASE
    WHEN jsonb_typeof(value) = 'null' THEN RETURN NULL;
    WHEN jsonb_typeof(value) = 'object' THEN
      RETURN (SELECT jsonb_object_agg(key, kept) FROM (SELECT key, world.steady(key, part.value) AS kept FROM jsonb_each(value) part) parts
              WHERE kept IS NOT NULL);
    WHEN jsonb_typeof(value) = 'array' THEN
      RETURN (SELECT jsonb_agg(world.steady(name, part.value)) FROM jsonb_array_elements(value) part);
    WHEN name = 'fingerprint' THEN RETURN NULL;
    WHEN name = 'secret_id' THEN RETURN (SELECT to_jsonb(concat_ws(' ', provider, nullif(secret, ''), vault_name)) FROM billing.webhook_secrets s WHERE s.secret_id = plain::bigint);
    WHEN name IN ('payload', 'claim_token') THEN RETURN '"some"';
    WHEN name IN ('customer_id', 'merged_into', 'merged_from') THEN
      RETURN coalesce((SELECT to_jsonb(known.name) FROM known WHERE known.customer_id = plain::uuid),
                      (SELECT to_jsonb(coalesce(left(user_id::text, 1), email, legacy_id::text, external_id, stripe_customer_id, paystack_customer_code))
                       FROM billing.customers c WHERE c.customer_id = plain::uuid), '"unknown"');
    WHEN name = 'user_id' THEN RETURN to_jsonb(left(plain, 1));
    WHEN name = 'hold_id' THEN RETURN (SELECT to_jsonb(idempotency_key) FROM billing.holds h WHERE h.hold_id = plain::uuid);
    WHEN name IN ('entry_id', 'reverses') THEN
      RETURN (SELECT to_jsonb(world.steady_key(idempotency_key)) FROM billing.ledger e WHERE e.entry_id = plain::bigint);
    WHEN name = 'lot_id' THEN RETURN (SELECT world.steady('entry_id', to_jsonb(entry_id)) FROM billing.lots l WHERE l.lot_id = plain::bigint);
    WHEN name = 'payment_id' THEN RETURN (SELECT to_jsonb(reference) FROM billing.payments p WHERE p.payment_id = plain::bigint);
    WHEN name = 'idempotency_key' THEN RETURN to_jsonb(world.steady_key(plain));
    WHEN plain ~ '^\d{4}-\d\d-\d\dT' THEN RETURN to_jsonb(world.moment(plain::timestamptz));
    ELSE RETURN value;
  END CASE;
END $$;

-- Keys that the extension derives itself end with the id, a number or a uuid, of what they are about.
CREATE FUNCTION world.steady_key(key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(key, 'billing_rpc:') THEN regexp_replace(key, ':(\d+|[0-9a-f-]{36})(?=:|$)', ':#', 'g') ELSE key END
$$;

-- A worker's next round, once all is quiet: everything is due.
CREATE FUNCTION world.round() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing.webhook_events SET next_attempt_at = now() - interval '1 second' WHERE status = 'failed';
  PERFORM retry_webhook_events(100);
  PERFORM billing.expire_credits(100), billing.purge_webhook_events('0 seconds', 100);
  RETURN 'done';
END $$;

-- The rows that are not as they were in the world, and those of the world that are no more; or every row. Then what
-- reconcile() finds wrong.
CREATE FUNCTION world.state(everything boolean = false) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  relation record;
BEGIN
  FOR relation IN
    SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum) AS key
    FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r' GROUP BY c.relname
  LOOP
    RETURN QUERY EXECUTE format(
      $q$ SELECT told.word || json_build_object('table', %1$L, 'key',
              (SELECT coalesce(string_agg(steady.row ->> k, '/'), '') FROM unnest(%2$L::text[]) k), 'row', steady.row)::text
          FROM (SELECT 'was: ' AS word, to_jsonb(w) AS row FROM (TABLE world.%1$I EXCEPT TABLE billing.%1$I) w WHERE NOT $1
                UNION ALL SELECT 'state: ', to_jsonb(b) FROM (TABLE billing.%1$I EXCEPT SELECT w.* FROM world.%1$I w WHERE NOT $1) b) AS told,
               LATERAL (SELECT world.steady('', told.row) AS row) AS steady $q$,
      relation.relname, relation.key) USING everything;
  END LOOP;
  RETURN QUERY SELECT 'state: ' || json_build_object('table', 'views', 'key', relname, 'row', jsonb_build_object('view', relname))
    FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relname IN ('application_users', 'refetch_source', 'vault_secrets');
  RETURN QUERY SELECT 'problem: ' || p.problem FROM billing.reconcile() p;
  RETURN QUERY SELECT 'end of state'::text;
END $$;
