-- The books, checked against each other.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE FUNCTION billing.reconcile()
RETURNS TABLE (problem text, customer_id uuid, credit_type text, reference text, expected bigint, found bigint)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH entries AS (
        SELECT e.customer_id, e.credit_type, e.entry_id, e.credits, e.balance_after, e.created_at,
               sum(e.credits) OVER account AS running,
               lag(e.created_at) OVER account AS created_before,
               row_number() OVER (PARTITION BY e.customer_id, e.credit_type ORDER BY e.entry_id DESC) AS from_last
        FROM billing.ledger e
        WINDOW account AS (PARTITION BY e.customer_id, e.credit_type ORDER BY e.entry_id)
    ), open_holds AS (
        SELECT h.customer_id, h.credit_type, sum(h.credits) AS credits
        FROM billing.holds h WHERE h.status = 'open' GROUP BY h.customer_id, h.credit_type
    ), lots AS (
        SELECT l.customer_id, l.credit_type, sum(l.remaining) AS remaining
        FROM billing.lots l GROUP BY l.customer_id, l.credit_type
    ), reversals AS (
        SELECT r.reverses AS entry_id, sum(r.credits) AS credits, sum(coalesce(r.shortfall, 0)) AS shortfall
        FROM billing.ledger r WHERE r.reverses IS NOT NULL GROUP BY r.reverses
    )
    SELECT 'balance_differs_from_entries', b.customer_id, b.credit_type, NULL::text,
           coalesce(e.running, 0)::bigint, b.balance
    FROM billing.balances b
    LEFT JOIN entries e ON e.customer_id = b.customer_id AND e.credit_type = b.credit_type AND e.from_last = 1
    WHERE coalesce(e.running, 0) <> b.balance
    UNION ALL
    SELECT 'balance_differs_from_last_entry', b.customer_id, b.credit_type, e.entry_id::text, e.balance_after, b.balance
    FROM billing.balances b
    JOIN entries e ON e.customer_id = b.customer_id AND e.credit_type = b.credit_type AND e.from_last = 1
    WHERE e.balance_after <> b.balance
    UNION ALL
    SELECT 'balance_after_differs_from_entries', e.customer_id, e.credit_type, e.entry_id::text,
           e.running::bigint, e.balance_after
    FROM entries e WHERE e.running <> e.balance_after
    UNION ALL
    SELECT 'entry_earlier_than_the_one_before', e.customer_id, e.credit_type, e.entry_id::text, NULL, NULL
    FROM entries e WHERE e.created_at < e.created_before
    UNION ALL
    SELECT 'held_differs_from_open_holds', b.customer_id, b.credit_type, NULL, coalesce(h.credits, 0)::bigint, b.held
    FROM billing.balances b
    LEFT JOIN open_holds h ON h.customer_id = b.customer_id AND h.credit_type = b.credit_type
    WHERE coalesce(h.credits, 0) <> b.held
    UNION ALL
    SELECT 'in_lots_differs_from_lots', b.customer_id, b.credit_type, NULL, coalesce(l.remaining, 0)::bigint, b.in_lots
    FROM billing.balances b
    LEFT JOIN lots l ON l.customer_id = b.customer_id AND l.credit_type = b.credit_type
    WHERE coalesce(l.remaining, 0) <> b.in_lots
    UNION ALL
    SELECT 'lots_exceed_balance', b.customer_id, b.credit_type, NULL, b.balance, l.remaining::bigint
    FROM billing.balances b
    JOIN lots l ON l.customer_id = b.customer_id AND l.credit_type = b.credit_type
    WHERE l.remaining > b.balance
    UNION ALL
    SELECT 'lot_held_differs_from_open_holds', l.customer_id, l.credit_type, l.lot_id::text,
           coalesce(p.credits, 0)::bigint, l.held
    FROM billing.lots l
    LEFT JOIN (
        SELECT p.lot_id, sum(p.credits) AS credits
        FROM billing.hold_lots p JOIN billing.holds h ON h.hold_id = p.hold_id
        WHERE h.status = 'open' GROUP BY p.lot_id
    ) p ON p.lot_id = l.lot_id
    WHERE coalesce(p.credits, 0) <> l.held
    UNION ALL
    SELECT 'reversals_exceed_entry', e.customer_id, e.credit_type, e.entry_id::text, abs(e.credits),
           (CASE WHEN e.credits < 0 THEN r.credits ELSE r.shortfall - r.credits END)::bigint
    FROM reversals r JOIN billing.ledger e ON e.entry_id = r.entry_id
    WHERE (CASE WHEN e.credits < 0 THEN r.credits ELSE r.shortfall - r.credits END) NOT BETWEEN 0 AND abs(e.credits)
    UNION ALL
    SELECT 'event_stuck', NULL, NULL, v.provider || ':' || v.event_id, NULL, NULL
    FROM billing.webhook_events v
    WHERE v.status = 'processing' AND v.lease_until < clock_timestamp() - interval '10 minutes'
$$;

SET LOCAL search_path TO @extschema@, pg_temp;
