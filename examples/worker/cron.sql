-- The worker's work inside the database, with pg_cron, for who does not fetch subscriptions from Stripe.
-- Run as a superuser in the database that has pg_cron (cron.database_name). Running it again replaces the jobs.

-- Events that are due, every minute. One call takes up to 100, and skips what another call is at.
SELECT cron.schedule('billing: retry events', '* * * * *', 'SELECT count(*) FROM retry_webhook_events()');

-- Credits that ran out are never available, with or without this; it dates their expiry entries to the hour.
SELECT cron.schedule('billing: expire credits', '7 * * * *', 'SELECT billing.expire_credits(10000)');

-- Answers and bodies of events completed a quarter of a year ago. Their ids stay for ever.
SELECT cron.schedule('billing: purge events', '23 3 * * *', $$SELECT billing.purge_webhook_events('90 days', 100000)$$);
