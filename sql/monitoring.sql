-- How things are: views for people, beside those of the nouns. What is judged and told in numbers is in
-- src/monitoring.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE VIEW billing.unfinished_events AS
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.received_at, v.next_attempt_at, v.lease_until, v.error_detail
    FROM billing.webhook_events v
    WHERE v.next_attempt_at IS NOT NULL AND v.payload IS NOT NULL AND v.status <> 'completed'
    UNION ALL
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.received_at, v.next_attempt_at, v.lease_until, v.error_detail
    FROM billing.webhook_events v
    WHERE v.lease_until IS NOT NULL AND (v.next_attempt_at IS NULL OR v.payload IS NULL) AND v.status <> 'completed'
    UNION ALL
    SELECT v.provider, v.event_id, v.event_type, v.status, v.attempts, v.received_at, v.next_attempt_at, v.lease_until, v.error_detail
    FROM billing.webhook_events v
    WHERE v.error_message IS NOT NULL AND v.lease_until IS NULL AND (v.next_attempt_at IS NULL OR v.payload IS NULL) AND v.status <> 'completed';
COMMENT ON VIEW billing.unfinished_events IS
    'Events that are not completed, each once: recorded, claimed, failed and dead ones. Found by indexes, however many completed ones there are.';
COMMENT ON COLUMN billing.unfinished_events.provider IS 'Whose event.';
COMMENT ON COLUMN billing.unfinished_events.event_id IS 'Its id.';
COMMENT ON COLUMN billing.unfinished_events.event_type IS 'Its type.';
COMMENT ON COLUMN billing.unfinished_events.status IS 'recorded, processing, failed or dead.';
COMMENT ON COLUMN billing.unfinished_events.attempts IS 'Claims so far.';
COMMENT ON COLUMN billing.unfinished_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.unfinished_events.next_attempt_at IS 'When it is due to be processed here; null where it is not.';
COMMENT ON COLUMN billing.unfinished_events.lease_until IS 'When its claim runs out.';
COMMENT ON COLUMN billing.unfinished_events.error_detail IS 'The code of its last failure.';

CREATE VIEW billing.recent_events AS
    WITH RECURSIVE types (event_type, place) AS (
        (SELECT v.event_type, 1 FROM billing.webhook_events v ORDER BY v.event_type LIMIT 1)
        UNION ALL
        SELECT (SELECT v.event_type FROM billing.webhook_events v WHERE v.event_type > t.event_type ORDER BY v.event_type LIMIT 1), t.place + 1
        FROM types t WHERE t.event_type IS NOT NULL AND t.place < 1000
    )
    SELECT e.received_at, e.provider, e.event_type, e.status, e.reason, e.detail, e.livemode, e.attempts, e.object_id, e.event_id
    FROM types t, LATERAL (
        SELECT v.received_at, v.provider, v.event_type, v.status, v.livemode, v.attempts, v.object_id, v.event_id,
               -- Of what an application says that completes events itself, only what looks like a code is shown.
               pg_catalog."substring"(v.result ->> 'reason', '^[a-z_]{1,63}$') AS reason,
               COALESCE(v.error_detail, pg_catalog."substring"(v.result ->> 'detail', '^[a-z_]{1,63}$')) AS detail
        FROM billing.webhook_events v WHERE v.event_type = t.event_type ORDER BY v.received_at DESC LIMIT 100
    ) e
    ORDER BY e.received_at DESC;
COMMENT ON VIEW billing.recent_events IS
    'The newest 100 events of each type, newest first, and what became of them: quick, however many there are (of the first 1,000 types). Add LIMIT.';
COMMENT ON COLUMN billing.recent_events.received_at IS 'When it was first heard of here.';
COMMENT ON COLUMN billing.recent_events.provider IS 'Whose event.';
COMMENT ON COLUMN billing.recent_events.event_type IS 'Its type.';
COMMENT ON COLUMN billing.recent_events.status IS 'recorded, processing, completed, failed or dead.';
COMMENT ON COLUMN billing.recent_events.reason IS 'With what outcome it was completed.';
COMMENT ON COLUMN billing.recent_events.detail IS 'The code that says why: of its last failure, or of its outcome.';
COMMENT ON COLUMN billing.recent_events.livemode IS 'Real money or test mode, where the event says so.';
COMMENT ON COLUMN billing.recent_events.attempts IS 'Claims so far.';
COMMENT ON COLUMN billing.recent_events.object_id IS 'The provider''s id of what it is about.';
COMMENT ON COLUMN billing.recent_events.event_id IS 'Its id.';

CREATE VIEW billing.customer_credits AS
    SELECT b.customer_id, COALESCE(c.user_id::text, c.legacy_id::text, c.external_id) AS user_id, b.credit_type, b.balance AS credits_balance,
           b.held, b.in_lots, b.last_entry_at
    FROM billing.balances b JOIN billing.customers c ON c.customer_id = b.customer_id
    WHERE b.customer_id <> 'ad097ed0-0000-8000-8000-000000000000';
COMMENT ON VIEW billing.customer_credits IS
    'What each customer has, by credit type, under the column names that tables of one''s own use; no e-mail and no provider code.';
COMMENT ON COLUMN billing.customer_credits.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.customer_credits.user_id IS 'The application''s id of that person, as text; null where only an e-mail or a provider code is known.';
COMMENT ON COLUMN billing.customer_credits.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.customer_credits.credits_balance IS 'Sum of all entries, in credits; expired ones count until they are written off.';
COMMENT ON COLUMN billing.customer_credits.held IS 'Of that, under open holds.';
COMMENT ON COLUMN billing.customer_credits.in_lots IS 'Of that, in lots: credits that expire or have a priority.';
COMMENT ON COLUMN billing.customer_credits.last_entry_at IS 'When the balance last changed.';

CREATE VIEW billing.ledger_entries AS
    SELECT e.entry_id, e.created_at, e.customer_id, e.kind, e.credits, e.balance_after, e.credit_type, e.amount_minor, e.currency,
           e.source_ref, e.reverses, e.shortfall, e.event, e.livemode
    FROM billing.ledger e ORDER BY e.entry_id DESC;
COMMENT ON VIEW billing.ledger_entries IS
    'The ledger, newest entry first, without the callers'' own texts (idempotency key, metadata). Add LIMIT, or a condition on entry_id.';
COMMENT ON COLUMN billing.ledger_entries.entry_id IS 'Rises with time within a customer and credit type.';
COMMENT ON COLUMN billing.ledger_entries.created_at IS 'When it was written.';
COMMENT ON COLUMN billing.ledger_entries.customer_id IS 'Whose credits.';
COMMENT ON COLUMN billing.ledger_entries.kind IS 'purchase, grant, spend, reversal, expiry, capture or adjustment.';
COMMENT ON COLUMN billing.ledger_entries.credits IS 'Signed: what the entry adds to the balance.';
COMMENT ON COLUMN billing.ledger_entries.balance_after IS 'The balance right after the entry.';
COMMENT ON COLUMN billing.ledger_entries.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN billing.ledger_entries.amount_minor IS 'What was paid, in minor units of the currency.';
COMMENT ON COLUMN billing.ledger_entries.currency IS 'ISO 4217, lower case.';
COMMENT ON COLUMN billing.ledger_entries.source_ref IS 'The business fact: stripe:cs_..., stripe:pi_..., paystack:<reference>.';
COMMENT ON COLUMN billing.ledger_entries.reverses IS 'The entry that this one undoes, in whole or in part.';
COMMENT ON COLUMN billing.ledger_entries.shortfall IS 'Credits that could not be taken back, as a change.';
COMMENT ON COLUMN billing.ledger_entries.event IS '<provider>:<event id> of the event behind it.';
COMMENT ON COLUMN billing.ledger_entries.livemode IS 'Of that event: real money or test mode.';

SET LOCAL search_path TO @extschema@, pg_temp;
