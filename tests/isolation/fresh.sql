-- Makes a database that a spec has used fit for the next one, and prints what tells whether it is: the fingerprint of its
-- catalogue. Equal to that of the database all were copied from, nothing a spec made is left; else it is copied anew.
SET client_min_messages = error;
BEGIN;
DO $$
DECLARE
  helper regprocedure;
BEGIN
  FOR helper IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') LOOP
    EXECUTE format('DROP FUNCTION %s', helper);
  END LOOP;
  SET LOCAL session_replication_role = replica;
  EXECUTE (SELECT string_agg('DELETE FROM ' || oid::regclass, ';') FROM pg_class
           WHERE relnamespace = 'billing'::regnamespace AND relkind = 'r');
  PERFORM setval(oid, 1, false) FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relkind = 'S';
END $$;
COMMIT;
-- A row that was changed and changed back is another one: it has another xmin.
SELECT md5(string_agg(catalogue || row_oid || ' ' || row_xmin, ',' ORDER BY catalogue, row_oid, row_xmin))
FROM (
  SELECT 'class' AS catalogue, oid::text AS row_oid, xmin::text AS row_xmin FROM pg_class
  UNION ALL SELECT 'attribute', attrelid || '.' || attnum, xmin::text FROM pg_attribute
  UNION ALL SELECT 'procedure', oid::text, xmin::text FROM pg_proc
  UNION ALL SELECT 'type', oid::text, xmin::text FROM pg_type
  UNION ALL SELECT 'trigger', oid::text, xmin::text FROM pg_trigger
  UNION ALL SELECT 'event trigger', oid::text, xmin::text FROM pg_event_trigger
  UNION ALL SELECT 'policy', oid::text, xmin::text FROM pg_policy
  UNION ALL SELECT 'schema', oid::text, xmin::text FROM pg_namespace
  UNION ALL SELECT 'extension', oid::text, xmin::text FROM pg_extension
  UNION ALL SELECT 'rewrite', oid::text, xmin::text FROM pg_rewrite
  UNION ALL SELECT 'default acl', oid::text, xmin::text FROM pg_default_acl
  UNION ALL SELECT 'setting', setdatabase || '.' || setrole, xmin::text FROM pg_db_role_setting
) AS rows_of_the_catalogue;
