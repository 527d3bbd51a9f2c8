-- @rows@ events in the shape that '@shape@' names, and no others.
TRUNCATE billing.webhook_events;
INSERT INTO billing.webhook_events
    (provider, event_id, event_type, status, attempts, received_at, processed_at, next_attempt_at, livemode,
     error_detail, error_message, payload_summary, result, payload)
SELECT 'stripe', 'evt_' || to_char(n, 'FM000000000000'), t.event_type, s.status, 1, t.received_at,
       CASE s.status WHEN 'completed' THEN t.received_at END,
       CASE s.status WHEN 'failed' THEN t.received_at + interval '30 minutes' END, true,
       CASE WHEN s.status <> 'completed' THEN 'unknown_user' END,
       CASE WHEN s.status <> 'completed' THEN 'Nobody is known by that identifier.' END,
       jsonb_build_object('id', 'evt_' || n, 'type', t.event_type),
       CASE WHEN s.status = 'completed' THEN jsonb '{"reason": "ignored", "detail": "nothing_to_do"}' END,
       CASE WHEN s.status <> 'completed' THEN '{"id": "evt_' || n || '"}' END
FROM generate_series(1, @rows@) AS n,
    LATERAL (SELECT CASE '@shape@'
            -- All at once, of thirty types, the first of which is most of them; one of ten failed.
            WHEN 'one hour' THEN 'type.' || CASE WHEN n % 10 < 7 THEN 0 ELSE n % 30 END
            -- Long and quiet, nothing ever failed.
            WHEN 'two months' THEN 'type.' || n % 30
            -- A service that puts an id into the type of each event.
            WHEN 'no two alike' THEN 'type.' || n END,
        now() - (@rows@ - n) * CASE '@shape@' WHEN 'two months' THEN interval '60 days' ELSE interval '1 hour' END
            / @rows@::float8) AS t (event_type, received_at),
    LATERAL (SELECT CASE WHEN '@shape@' <> 'one hour' OR n % 10 > 0 THEN 'completed'
                         WHEN n % 100 = 0 THEN 'dead' ELSE 'failed' END) AS s (status);
