-- Runs the example of every function's comment as it stands in the catalogue, each in a transaction that is rolled back,
-- and prints a line for each that does not do what an example should: run, answer a row that is not all nulls, and
-- succeed, where it says whether it did.
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.problem(example text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answers jsonb;
    problem text;
BEGIN
    BEGIN
        IF example NOT LIKE 'SELECT%' THEN
            EXECUTE example;
        ELSE
            EXECUTE format('SELECT jsonb_agg(to_jsonb(answer)) FROM (%s) AS answer', rtrim(example, ';')) INTO answers;
            problem := CASE
                WHEN answers IS NULL THEN 'answers no row'
                WHEN jsonb_path_exists(answers, '$[*] ? (@.reason == "invalid" || @.reason == "failed")') THEN 'is refused: ' || answers::text
                WHEN jsonb_path_exists(answers, '$[*] ? (@.valid == false)') THEN 'is not valid: ' || answers::text
                WHEN NOT jsonb_path_exists(answers, '$[*].* ? (@ != null)') THEN 'answers nulls'
            END;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'EX000'; -- undoes it
    EXCEPTION WHEN SQLSTATE 'EX000' THEN
        RETURN problem;
    WHEN OTHERS THEN
        RETURN 'ends in ' || SQLSTATE || ': ' || SQLERRM;
    END;
END $$;

CREATE TEMP TABLE judged AS
    SELECT p.oid::regprocedure AS function, pg_temp.problem(substring(obj_description(p.oid, 'pg_proc') FROM '\n\nExample: (.*)$')) AS problem
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype);
-- No rows are the good answer of these.
UPDATE judged SET problem = NULL
    WHERE problem = 'answers no row' AND function::text ~ '^billing\.(access_audit|audit_\w+|reconcile)\(';

\pset tuples_only on
\pset format unaligned
SELECT 'FAILED the example of ' || function || ' ' || problem FROM judged WHERE problem IS NOT NULL;
SELECT '::judged ' || count(*) || ' ' || count(problem) FROM judged;
