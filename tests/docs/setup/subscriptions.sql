-- The table that the Stripe wrapper of Supabase Wrappers makes, and a clock.
CREATE SCHEMA stripe;
CREATE TABLE stripe.subscriptions (id text, attrs jsonb);

-- pg_cron belongs to one database of a server, and its clock is not what is tested. This one has the same call, and runs the
-- command at once: what is scheduled is a statement that works.
CREATE SCHEMA cron;
CREATE FUNCTION cron.schedule(job_name text, schedule text, command text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 1;
END $$;
