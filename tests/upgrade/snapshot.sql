-- All that the catalogue says of the extension, one fact a line, without anything that differs from one database to
-- the next (oids, sizes, times): two databases print the same exactly if users could not tell them apart.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET search_path TO pg_catalog, pg_temp;
LOAD 'billing_rpc';

CREATE TEMP VIEW members AS
    SELECT d.classid, d.objid
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'billing_rpc';
CREATE TEMP VIEW relations AS
    SELECT c.* FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;
CREATE FUNCTION pg_temp.acl(aclitem[]) RETURNS text LANGUAGE sql AS
    $$SELECT coalesce((SELECT string_agg(a::text, ', ' ORDER BY a::text) FROM unnest($1) a), 'default')$$;

\echo == extension
SELECT format('version %s, in schema %s, relocatable %s, owner %s', extversion, extnamespace::regnamespace, extrelocatable,
    extowner::regrole)
FROM pg_extension WHERE extname = 'billing_rpc';
SELECT format('dumped: %s %s', c.relation::regclass, c.condition)
FROM pg_extension, unnest(extconfig, extcondition) c (relation, condition) WHERE extname = 'billing_rpc'
ORDER BY c.relation::regclass::text;

\echo == members
SELECT pg_describe_object(classid, objid, 0) FROM members ORDER BY 1;

\echo == schemas
SELECT format('%s: owner %s, rights %s, %s', n.nspname, n.nspowner::regrole, pg_temp.acl(n.nspacl), obj_description(n.oid, 'pg_namespace'))
FROM pg_namespace n JOIN members m ON m.objid = n.oid AND m.classid = 'pg_namespace'::regclass;

\echo == functions
SELECT format(E'%s\nowner %s, rights %s, cost %s, rows %s\n%s\n', pg_get_functiondef(p.oid), p.proowner::regrole, pg_temp.acl(p.proacl),
    p.procost, p.prorows, obj_description(p.oid, 'pg_proc'))
FROM pg_proc p JOIN members m ON m.objid = p.oid AND m.classid = 'pg_proc'::regclass ORDER BY p.oid::regprocedure::text;

\echo == types
SELECT format('%s: kind %s, owner %s, rights %s, values %s, %s', t.oid::regtype, t.typtype, t.typowner::regrole, pg_temp.acl(t.typacl),
    (SELECT string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
    obj_description(t.oid, 'pg_type'))
FROM pg_type t JOIN members m ON m.objid = t.oid AND m.classid = 'pg_type'::regclass ORDER BY t.oid::regtype::text;

\echo == relations
SELECT format('%s: kind %s, persistence %s, access %s, options %s, row security %s forced %s, replica identity %s, owner %s, rights %s, %s',
    c.oid::regclass, c.relkind, c.relpersistence, a.amname, c.reloptions, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
    c.relowner::regrole, pg_temp.acl(c.relacl), obj_description(c.oid, 'pg_class'))
FROM relations c LEFT JOIN pg_am a ON a.oid = c.relam ORDER BY c.oid::regclass::text;

\echo == columns
SELECT format('%s.%s %s: %s, not null %s, default %s, identity %s, generated %s, collation %s, storage %s, compression %s, statistics %s, options %s, rights %s, %s',
    a.attrelid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum),
    a.attidentity, a.attgenerated, a.attcollation, a.attstorage, a.attcompression, a.attstattarget,
    -- pg_attver is the server's own count of changes.
    ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\_attver=%' ORDER BY o), pg_temp.acl(a.attacl),
    col_description(a.attrelid, a.attnum))
FROM pg_attribute a
WHERE a.attnum > 0 AND a.attrelid IN (
    SELECT oid FROM relations
    UNION ALL SELECT t.typrelid FROM pg_type t JOIN members m ON m.objid = t.oid AND m.classid = 'pg_type'::regclass)
ORDER BY a.attrelid::regclass::text, a.attnum;

\echo == constraints
SELECT format('%s %s: %s, validated %s, %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid), c.convalidated,
    obj_description(c.oid, 'pg_constraint'))
FROM pg_constraint c JOIN relations r ON r.oid = c.conrelid ORDER BY c.conrelid::regclass::text, c.conname;

\echo == indexes
SELECT format('%s: valid %s, ready %s, replica identity %s, options %s, %s', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indisreplident, c.reloptions,
    obj_description(c.oid, 'pg_class'))
FROM pg_index i JOIN relations r ON r.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid ORDER BY i.indexrelid::regclass::text;

\echo == triggers
SELECT format('%s: enabled %s, %s', pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal ORDER BY t.tgrelid::regclass::text, t.tgname;
SELECT format('%s on %s %s: %s, enabled %s, %s', t.evtname, t.evtevent, t.evttags, t.evtfoid::regprocedure, t.evtenabled,
    obj_description(t.oid, 'pg_event_trigger'))
FROM pg_event_trigger t JOIN members m ON m.objid = t.oid AND m.classid = 'pg_event_trigger'::regclass ORDER BY t.evtname;

\echo == policies
SELECT format('%s %s: for %s, permissive %s, to %s, using %s, with check %s, %s', p.polrelid::regclass, p.polname, p.polcmd, p.polpermissive,
    (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE o::regrole::text END, ' ' ORDER BY o::regrole::text) FROM unnest(p.polroles) o),
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), obj_description(p.oid, 'pg_policy'))
FROM pg_policy p JOIN relations r ON r.oid = p.polrelid ORDER BY p.polrelid::regclass::text, p.polname;

\echo == views
SELECT format(E'%s:\n%s\n', r.oid::regclass, pg_get_viewdef(r.oid)) FROM relations r WHERE r.relkind = 'v' ORDER BY r.oid::regclass::text;

\echo == sequences
SELECT format('%s: %s from %s to %s, start %s, by %s, cache %s, cycle %s', s.seqrelid::regclass, s.seqtypid::regtype, s.seqmin, s.seqmax, s.seqstart,
    s.seqincrement, s.seqcache, s.seqcycle)
FROM pg_sequence s JOIN relations r ON r.oid = s.seqrelid ORDER BY s.seqrelid::regclass::text;

\echo == initial rights, which dumps compare with
SELECT format('%s: %s %s', pg_describe_object(i.classoid, i.objoid, i.objsubid), i.privtype, pg_temp.acl(i.initprivs))
FROM pg_init_privs i JOIN members m ON m.classid = i.classoid AND m.objid = i.objoid ORDER BY 1;

\echo == dependencies
SELECT DISTINCT format('%s -> %s (%s)', pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), d.deptype)
FROM pg_depend d JOIN members m ON m.classid = d.classid AND m.objid = d.objid ORDER BY 1;

\echo == settings
SELECT format('%s: %s %s, default %s, from %s to %s, values %s, %s, %s', name, vartype, unit, boot_val, min_val, max_val, enumvals, context,
    short_desc)
FROM pg_settings WHERE name LIKE 'billing\_rpc.%' ORDER BY name;
