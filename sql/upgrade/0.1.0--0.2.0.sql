-- From 0.1.0 to 0.2.0: what changes in the schema. Additive, so that sessions with the former library go on
-- working after it, and the new library before it. COMMENT ON FUNCTION and all grants follow by themselves
-- (sql/comments.sql, sql/access.sql); everything else that the sources of a fresh install say is repeated here.
SET LOCAL search_path TO pg_catalog, pg_temp;

