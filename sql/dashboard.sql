-- What the dashboard answers with, and what it needs to find failures without looking at what went well.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- PostgREST takes a function's content type from the name of the domain that it returns, in whatever schema
-- that is. Here, because an application may well have one of that name where the functions are; whoever may open the page
-- has USAGE on this schema, which PostgREST needs for the cast that it writes.
CREATE DOMAIN billing."text/html" AS text;
COMMENT ON DOMAIN billing."text/html" IS 'A page of HTML; PostgREST sends what a function returns in it as text/html.';

SET LOCAL search_path TO @extschema@, pg_temp;
