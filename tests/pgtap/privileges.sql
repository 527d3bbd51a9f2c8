-- The whole privilege matrix, every role by every schema, function, table, view, column, sequence and type, compared with what
-- was read and accepted: tests/privileges/plain.txt and supabase.txt. To accept another one: make accept KIND=privileges.
\set accepted `cat "tests/privileges/$(case $PGUSER in supabase_admin) echo supabase ;; *) echo plain ;; esac).txt"`
BEGIN;
\ir fixtures/helpers.sql
\ir fixtures/matrix.sql
SELECT no_plan();

-- White space aside: a wider column is no other privilege.
CREATE TEMP VIEW found AS SELECT regexp_replace(line, '\s+', ' ', 'g') AS line FROM tap.matrix;
CREATE TEMP TABLE accepted AS
    SELECT regexp_replace(line, '\s+', ' ', 'g') AS line FROM regexp_split_to_table(:'accepted', E'\n') AS line;
SELECT ok((SELECT count(*) FROM accepted) > 100, 'there is an accepted matrix');
SELECT is_empty('SELECT line FROM found EXCEPT SELECT line FROM accepted', 'nothing is there that was not accepted');
SELECT is_empty('SELECT line FROM accepted EXCEPT SELECT line FROM found', 'nothing that was accepted is gone');

-- It sees: a function, a column, a membership.
GRANT EXECUTE ON FUNCTION public.spend_credits TO fresh;
SELECT is((SELECT count(*) FROM (SELECT line FROM found EXCEPT SELECT line FROM accepted) AS changed), 1::bigint, 'one function granted changes one line');
GRANT SELECT (balance) ON billing.balances TO fresh;
SELECT isnt_empty('SELECT line FROM found WHERE line LIKE ''column billing.balances.balance %''', 'a column granted by itself shows');
GRANT billing_service TO fresh;
SELECT ok((SELECT count(*) FROM (SELECT line FROM found EXCEPT SELECT line FROM accepted) AS changed) > 30, 'a membership changes every line of that group');

SELECT * FROM finish();
ROLLBACK;
