-- The same contract in plain PL/pgSQL with pgcrypto, on the same tables in schema twin.
--
-- Written to be fast: no subtransaction on the way of credits, conditions as single expressions (which PL/pgSQL
-- evaluates without the executor), static SQL only, the digest computed only where it is needed. Where the
-- contract could be read either way the cheaper reading was taken: no table of users is consulted, and the
-- settings are constants.

CREATE SCHEMA crypto;
CREATE EXTENSION pgcrypto SCHEMA crypto;

CREATE TYPE twin.reason AS ENUM ('applied', 'replay', 'duplicate', 'invalid', 'ignored', 'failed');
CREATE TYPE twin.identity AS (kind text, value text);
CREATE TYPE twin.credit_outcome AS (
    applied boolean,
    reason twin.reason,
    detail text,
    entry_id bigint,
    customer_id uuid,
    credit_type text,
    credits bigint,
    balance bigint,
    created_at timestamptz
);
CREATE TYPE twin.event_outcome AS (
    applied boolean,
    reason twin.reason,
    detail text,
    provider text,
    event_id text,
    event_type text,
    status text,
    attempts integer,
    claim_token uuid,
    lease_until timestamptz,
    result jsonb
);

-- What kind of identifier a text is.
CREATE FUNCTION twin.identify(identifier text) RETURNS twin.identity
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF identifier IS NULL OR identifier !~ '[^\s\u0085\u00a0\u2000-\u200a\u2028\u2029\u202f\u3000]' THEN
        RETURN ROW('blank', NULL)::twin.identity;
    ELSIF identifier ~* '^(null|undefined|none|nan|<.*>|\{\{.*\}\}|\$\{.*\})$' THEN
        RETURN ROW('placeholder', NULL)::twin.identity;
    ELSIF identifier ~ '^cus_\S+$' AND octet_length(identifier) <= 255 THEN
        RETURN ROW('stripe_customer', identifier)::twin.identity;
    ELSIF identifier ~ '^CUS_\S+$' AND octet_length(identifier) <= 255 THEN
        RETURN ROW('paystack_customer', identifier)::twin.identity;
    ELSIF identifier ~* '^(\{([0-9a-f]{4}-?){7}[0-9a-f]{4}\}|([0-9a-f]{4}-?){7}[0-9a-f]{4})$' THEN
        RETURN ROW('uuid', identifier)::twin.identity;
    ELSIF identifier ~ '^0*[0-9]{1,19}$' AND identifier::numeric BETWEEN 1 AND 9223372036854775807 THEN
        RETURN ROW('integer', identifier)::twin.identity;
    ELSIF identifier ~ '^[^\s()<>\[\]:;,\\"@.]+(\.[^\s()<>\[\]:;,\\"@.]+)*@[[:alnum:]][[:alnum:]-]*(\.[[:alnum:]][[:alnum:]-]*)+$'
        AND octet_length(identifier) <= 254 THEN
        RETURN ROW('email', lower(identifier))::twin.identity;
    ELSIF current_setting('billing_rpc.external_ids', true) = 'on' AND identifier !~ '\s'
        AND octet_length(identifier) <= 255 THEN
        RETURN ROW('external', identifier)::twin.identity;
    END IF;
    RETURN ROW('malformed', NULL)::twin.identity;
END
$$;

-- The customer that an identifier names.
CREATE FUNCTION twin.find_customer(who twin.identity) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    found_id uuid;
BEGIN
    IF who.kind = 'uuid' THEN
        SELECT c.customer_id INTO found_id FROM twin.customers c WHERE c.user_id = who.value::uuid;
    ELSIF who.kind = 'integer' THEN
        SELECT c.customer_id INTO found_id FROM twin.customers c WHERE c.legacy_id = who.value::bigint;
    ELSIF who.kind = 'email' THEN
        SELECT c.customer_id INTO found_id FROM twin.customers c WHERE c.email = who.value;
    ELSIF who.kind = 'external' THEN
        SELECT c.customer_id INTO found_id FROM twin.customers c WHERE c.external_id = who.value;
    ELSE
        SELECT c.customer_id INTO found_id FROM twin.customers c WHERE c.stripe_customer_id = who.value
        UNION ALL SELECT c.customer_id FROM twin.customers c WHERE c.paystack_customer_code = who.value
        UNION ALL SELECT a.customer_id FROM twin.customer_aliases a WHERE a.code = who.value
        LIMIT 1;
    END IF;
    RETURN found_id;
END
$$;

-- Applies a well-formed request: the one way that entries are written. Credits are signed.
CREATE FUNCTION twin.apply_entry(
    kind text, who twin.identity, credits bigint, idempotency_key text, source_ref text, payment_ref text,
    amount_minor bigint, currency text, credit_type text, metadata jsonb, event text, livemode boolean
) RETURNS twin.credit_outcome
LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_variable
DECLARE
    customer uuid;
    known uuid;
    entry record;
    made_customer boolean := false;
    made_balance boolean := false;
    made_charge boolean := false;
    before bigint;
    held bigint;
    last_entry_at timestamptz;
    after bigint;
    stored bigint;
    entry_id bigint;
    at timestamptz;
    refusal text;
BEGIN
    IF who.kind = 'uuid' THEN
        SELECT c.customer_id INTO known FROM twin.customers c WHERE c.user_id = who.value::uuid;
    ELSE
        known := twin.find_customer(who);
    END IF;
    customer := known;

    SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint
        INTO entry FROM twin.ledger e WHERE e.idempotency_key = idempotency_key;
    IF FOUND THEN
        IF entry.customer_id = customer AND entry.fingerprint = substring(crypto.digest(
            ROW(customer, kind, credit_type, credits, amount_minor, currency, source_ref)::text, 'sha256') FOR 16)
        THEN
            RETURN ROW(false, 'replay', NULL, entry.entry_id, entry.customer_id, entry.credit_type, entry.credits,
                entry.balance_after, entry.created_at)::twin.credit_outcome;
        END IF;
        RETURN ROW(false, 'invalid', 'idempotency_key_reused', NULL, NULL, NULL, NULL, NULL, NULL)::twin.credit_outcome;
    END IF;

    IF payment_ref IS NOT NULL THEN
        INSERT INTO twin.charges (payment_ref, source_ref) VALUES (payment_ref, source_ref)
            ON CONFLICT DO NOTHING;
        IF FOUND THEN
            made_charge := event IS NULL;
        ELSE
            PERFORM FROM twin.charges c WHERE c.payment_ref = payment_ref FOR UPDATE;
            IF event IS NOT NULL THEN
                UPDATE twin.charges c SET source_ref = source_ref
                    WHERE c.payment_ref = payment_ref
                        AND (c.source_ref IS NULL OR c.source_ref = 'stripe:' || c.payment_ref);
            END IF;
        END IF;
    END IF;

    <<attempt>>
    BEGIN
        IF source_ref IS NOT NULL THEN
            SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at
                INTO entry FROM twin.ledger e WHERE e.source_ref = source_ref
                UNION ALL
                SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at
                FROM twin.charges c JOIN twin.ledger e ON e.source_ref = 'stripe:' || c.payment_ref
                WHERE c.source_ref = source_ref
                LIMIT 1;
            IF NOT FOUND AND payment_ref IS NOT NULL THEN
                SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at
                    INTO entry FROM twin.ledger e WHERE e.source_ref = 'stripe:' || payment_ref
                    UNION ALL
                    SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at
                    FROM twin.charges c JOIN twin.ledger e ON e.source_ref = c.source_ref
                    WHERE c.payment_ref = payment_ref
                    LIMIT 1;
            END IF;
            IF FOUND THEN
                refusal := 'already_credited';
                EXIT attempt;
            END IF;
        END IF;

        WHILE customer IS NULL LOOP
            IF credits < 0 THEN
                refusal := 'insufficient_credits';
                EXIT attempt;
            ELSIF who.kind IN ('stripe_customer', 'paystack_customer') THEN
                refusal := 'unknown_user';
                EXIT attempt;
            END IF;
            INSERT INTO twin.customers (user_id, legacy_id, email, external_id)
                VALUES (
                    CASE WHEN who.kind = 'uuid' THEN who.value::uuid END,
                    CASE WHEN who.kind = 'integer' THEN who.value::bigint END,
                    CASE WHEN who.kind = 'email' THEN who.value END,
                    CASE WHEN who.kind = 'external' THEN who.value END)
                ON CONFLICT DO NOTHING RETURNING customer_id INTO customer;
            IF FOUND THEN
                made_customer := true;
            ELSE
                customer := twin.find_customer(who);
            END IF;
        END LOOP;

        LOOP
            SELECT b.balance, b.held, b.last_entry_at INTO before, held, last_entry_at
                FROM twin.balances b WHERE b.customer_id = customer AND b.credit_type = credit_type FOR UPDATE;
            EXIT WHEN FOUND;
            IF credits < 0 THEN
                refusal := 'insufficient_credits';
                EXIT attempt;
            END IF;
            INSERT INTO twin.balances (customer_id, credit_type, balance, last_entry_at)
                VALUES (customer, credit_type, 0, clock_timestamp()) ON CONFLICT DO NOTHING;
            made_balance := made_balance OR FOUND;
        END LOOP;
        IF credits < 0 AND before - held < -credits THEN
            refusal := 'insufficient_credits';
            EXIT attempt;
        ELSIF credits > 0 AND before > 9223372036854775807 - credits THEN
            refusal := 'balance_overflow';
            EXIT attempt;
        END IF;
        after := before + credits;
        at := greatest(clock_timestamp(), last_entry_at);

        INSERT INTO twin.ledger (customer_id, credit_type, kind, credits, balance_after, amount_minor, currency,
                idempotency_key, source_ref, payment_ref, fingerprint, event, livemode, metadata, created_at)
            VALUES (customer, credit_type, kind, credits, after, amount_minor, currency,
                idempotency_key, source_ref, payment_ref,
                substring(crypto.digest(
                    ROW(customer, kind, credit_type, credits, amount_minor, currency, source_ref)::text, 'sha256') FOR 16),
                event, livemode, coalesce(metadata, '{}'), at)
            ON CONFLICT DO NOTHING RETURNING ledger.entry_id INTO entry_id;
        IF NOT FOUND THEN
            EXIT attempt;
        END IF;
        UPDATE twin.balances b SET balance = after, last_entry_at = at
            WHERE b.customer_id = customer AND b.credit_type = credit_type AND b.balance = before
            RETURNING b.balance INTO stored;
        IF stored IS DISTINCT FROM after THEN
            RAISE EXCEPTION 'a billing row is not as the transaction left it' USING ERRCODE = 'data_corrupted';
        END IF;
        RETURN ROW(true, 'applied', NULL, entry_id, customer, credit_type, credits, after, at)::twin.credit_outcome;
    END;

    -- Not applied: nothing made on the way stays, and a rival's entry, committed meanwhile, is the answer.
    IF made_balance THEN
        DELETE FROM twin.balances b WHERE b.customer_id = customer AND b.credit_type = credit_type;
    END IF;
    IF made_customer THEN
        DELETE FROM twin.customers c WHERE c.customer_id = customer;
    END IF;
    IF made_charge THEN
        DELETE FROM twin.charges c WHERE c.payment_ref = payment_ref;
    END IF;
    SELECT e.entry_id, e.customer_id, e.credit_type, e.credits, e.balance_after, e.created_at, e.fingerprint,
            e.idempotency_key = idempotency_key AS same_key
        INTO entry FROM twin.ledger e
        WHERE e.idempotency_key = idempotency_key OR e.source_ref = source_ref
        ORDER BY 8 DESC LIMIT 1;
    IF FOUND AND entry.same_key THEN
        IF entry.fingerprint = substring(crypto.digest(ROW(entry.customer_id, kind, credit_type, credits, amount_minor,
            currency, source_ref)::text, 'sha256') FOR 16)
        THEN
            RETURN ROW(false, 'replay', NULL, entry.entry_id, entry.customer_id, entry.credit_type, entry.credits,
                entry.balance_after, entry.created_at)::twin.credit_outcome;
        END IF;
        RETURN ROW(false, 'invalid', 'idempotency_key_reused', NULL, NULL, NULL, NULL, NULL, NULL)::twin.credit_outcome;
    ELSIF FOUND THEN
        RETURN ROW(false, 'duplicate', 'already_credited', entry.entry_id, entry.customer_id, entry.credit_type,
            entry.credits, entry.balance_after, entry.created_at)::twin.credit_outcome;
    END IF;
    RETURN ROW(false, 'invalid', refusal, NULL, NULL, NULL, NULL, NULL, NULL)::twin.credit_outcome;
END
$$;

CREATE FUNCTION twin.apply_credit_purchase(
    user_id text DEFAULT NULL, credits bigint DEFAULT NULL, idempotency_key text DEFAULT NULL,
    stripe_session_id text DEFAULT NULL, amount_minor bigint DEFAULT NULL, currency text DEFAULT NULL,
    credit_type text DEFAULT 'credits', expires_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT '{}',
    source_ref text DEFAULT NULL
) RETURNS twin.credit_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who twin.identity := twin.identify(user_id);
    refusal text;
    payment_ref text;
BEGIN
    credit_type := coalesce(credit_type, 'credits');
    refusal := CASE
        WHEN who.kind IN ('blank', 'placeholder', 'malformed') THEN 'user_id_' || who.kind
        WHEN credits IS NULL THEN 'credits_missing'
        WHEN credits <= 0 THEN 'credits_not_positive'
        WHEN idempotency_key IS NULL THEN 'idempotency_key_missing'
        WHEN idempotency_key !~ '\S' THEN 'idempotency_key_blank'
        WHEN octet_length(idempotency_key) > 255 THEN 'idempotency_key_too_long'
        WHEN starts_with(idempotency_key, 'billing_rpc:') THEN 'idempotency_key_reserved'
        WHEN amount_minor < 0 THEN 'amount_negative'
        WHEN currency !~ '^[A-Za-z]{3}$' THEN 'currency_invalid'
        WHEN amount_minor IS NOT NULL AND currency IS NULL THEN 'amount_without_currency'
        WHEN amount_minor IS NULL AND currency IS NOT NULL THEN 'currency_without_amount'
        WHEN credit_type !~ '\S' THEN 'credit_type_blank'
        WHEN octet_length(credit_type) > 63 THEN 'credit_type_too_long'
        WHEN expires_at IS NOT NULL THEN 'expires_at_unknown_to_the_twin'
        WHEN jsonb_typeof(metadata) <> 'object' THEN 'metadata_not_an_object'
        WHEN octet_length(metadata::text) > 16384 THEN 'metadata_too_large'
        WHEN stripe_session_id !~ '^cs_\S+$' OR octet_length(stripe_session_id) > 248 THEN 'stripe_session_id_invalid'
        WHEN source_ref !~ '^(stripe:(cs_|pi_)\S+|paystack:\S+)$' OR octet_length(source_ref) > 255 THEN 'source_ref_invalid'
        WHEN 'stripe:' || stripe_session_id <> source_ref THEN 'sources_differ'
    END;
    IF refusal IS NOT NULL THEN
        RETURN ROW(false, 'invalid', refusal, NULL, NULL, NULL, NULL, NULL, NULL)::twin.credit_outcome;
    END IF;
    IF stripe_session_id IS NOT NULL THEN
        source_ref := 'stripe:' || stripe_session_id;
    ELSIF source_ref ~ '^(stripe:pi_|paystack:)' THEN
        payment_ref := substr(source_ref, strpos(source_ref, ':') + 1);
    END IF;
    RETURN twin.apply_entry('purchase', who, credits, idempotency_key, source_ref, payment_ref, amount_minor,
        lower(currency), credit_type, metadata, NULL, NULL);
END
$$;

CREATE FUNCTION twin.spend_credits(
    user_id text DEFAULT NULL, credits bigint DEFAULT NULL, idempotency_key text DEFAULT NULL,
    credit_type text DEFAULT 'credits', metadata jsonb DEFAULT '{}'
) RETURNS twin.credit_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who twin.identity := twin.identify(user_id);
    refusal text;
BEGIN
    credit_type := coalesce(credit_type, 'credits');
    refusal := CASE
        WHEN who.kind IN ('blank', 'placeholder', 'malformed') THEN 'user_id_' || who.kind
        WHEN credits IS NULL THEN 'credits_missing'
        WHEN credits <= 0 THEN 'credits_not_positive'
        WHEN idempotency_key IS NULL THEN 'idempotency_key_missing'
        WHEN idempotency_key !~ '\S' THEN 'idempotency_key_blank'
        WHEN octet_length(idempotency_key) > 255 THEN 'idempotency_key_too_long'
        WHEN starts_with(idempotency_key, 'billing_rpc:') THEN 'idempotency_key_reserved'
        WHEN credit_type !~ '\S' THEN 'credit_type_blank'
        WHEN octet_length(credit_type) > 63 THEN 'credit_type_too_long'
        WHEN jsonb_typeof(metadata) <> 'object' THEN 'metadata_not_an_object'
        WHEN octet_length(metadata::text) > 16384 THEN 'metadata_too_large'
    END;
    IF refusal IS NOT NULL THEN
        RETURN ROW(false, 'invalid', refusal, NULL, NULL, NULL, NULL, NULL, NULL)::twin.credit_outcome;
    END IF;
    RETURN twin.apply_entry('spend', who, -credits, idempotency_key, NULL, NULL, NULL, NULL, credit_type, metadata,
        NULL, NULL);
END
$$;

-- Why a Stripe signature is refused; null if it is valid.
CREATE FUNCTION twin.stripe_signature_refusal(payload text, signature_header text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    item text;
    stamp text;
    stamps integer := 0;
    signatures text[] := '{}';
    key text;
    keys text[];
    signed bytea;
    matched boolean := false;
BEGIN
    SELECT array_agg(s.secret) INTO keys FROM twin.webhook_secrets s
        WHERE s.provider = 'stripe' AND s.secret ~ '\S'
            AND (s.valid_until IS NULL OR s.valid_until > clock_timestamp());
    IF keys IS NULL THEN
        RETURN 'secret_missing';
    ELSIF signature_header IS NULL OR signature_header = '' THEN
        RETURN 'signature_missing';
    END IF;
    FOREACH item IN ARRAY string_to_array(signature_header, ',') LOOP
        IF starts_with(item, 't=') THEN
            stamp := substr(item, 3);
            stamps := stamps + 1;
        ELSIF starts_with(item, 'v1=') THEN
            signatures := signatures || substr(item, 4);
        END IF;
    END LOOP;
    IF stamps <> 1 OR stamp !~ '^(0|[1-9][0-9]{0,17})$' THEN
        RETURN 'signature_malformed';
    END IF;
    signed := convert_to(stamp || '.' || payload, 'UTF8');
    FOREACH key IN ARRAY keys LOOP
        matched := matched
            OR encode(crypto.hmac(signed, convert_to(key, 'UTF8'), 'sha256'), 'hex') = ANY (signatures);
    END LOOP;
    IF NOT matched THEN
        RETURN 'signature_mismatch';
    ELSIF abs(floor(extract(epoch FROM clock_timestamp())) - stamp::bigint) > 300 THEN
        RETURN 'signature_expired';
    END IF;
    RETURN NULL;
END
$$;

-- Links a provider code to a customer: linked, stood or refused.
CREATE FUNCTION twin.link(customer uuid, code text) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    owner uuid := twin.find_customer(ROW('stripe_customer', code)::twin.identity);
BEGIN
    IF owner IS NOT NULL THEN
        RETURN CASE WHEN owner = customer THEN 'stood' ELSE 'refused' END;
    END IF;
    UPDATE twin.customers c SET stripe_customer_id = code
        WHERE c.customer_id = customer AND c.stripe_customer_id IS NULL;
    IF NOT FOUND THEN
        INSERT INTO twin.customer_aliases (customer_id, code) VALUES (customer, code);
    END IF;
    RETURN 'linked';
END
$$;

-- Checkout: what a session buys, for whom. Null: an effect that the caller records; else why it failed.
CREATE FUNCTION twin.apply_checkout(
    event jsonb, OUT reason twin.reason, OUT detail text, OUT failure text, OUT entry twin.credit_outcome
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    session jsonb := event #> '{data,object}';
    session_id text := session ->> 'id';
    payment text := CASE jsonb_typeof(session -> 'payment_intent')
        WHEN 'string' THEN session ->> 'payment_intent'
        WHEN 'object' THEN session #>> '{payment_intent,id}' END;
    code text := CASE jsonb_typeof(session -> 'customer')
        WHEN 'string' THEN session ->> 'customer'
        WHEN 'object' THEN session #>> '{customer,id}' END;
    wanted text := session #>> '{metadata,credits}';
    candidate text;
    who twin.identity;
    named boolean := true;
BEGIN
    IF session_id !~ '^cs_\S+$' OR session_id IS NULL THEN
        failure := 'object_malformed';
        RETURN;
    ELSIF coalesce(session ->> 'payment_status' NOT IN ('paid', 'no_payment_required'), true) THEN
        reason := 'ignored'; detail := 'payment_pending';
        RETURN;
    ELSIF session ->> 'mode' IS DISTINCT FROM 'payment' OR wanted IS NULL OR wanted !~ '^[0-9]{1,18}$'
        OR wanted::bigint = 0 THEN
        reason := 'ignored'; detail := 'not_a_credit_purchase';
        RETURN;
    END IF;
    FOREACH candidate IN ARRAY ARRAY[session #>> '{metadata,user_id}', session ->> 'client_reference_id', code,
        session #>> '{customer_details,email}']
    LOOP
        who := twin.identify(candidate);
        named := named AND who.kind <> 'stripe_customer';
        EXIT WHEN who.kind NOT IN ('blank', 'placeholder', 'malformed', 'stripe_customer')
            OR (who.kind = 'stripe_customer' AND twin.find_customer(who) IS NOT NULL);
        who := NULL;
    END LOOP;
    IF who IS NULL THEN
        failure := 'unknown_user';
        RETURN;
    END IF;
    entry := twin.apply_entry('purchase', who, wanted::bigint, 'billing_rpc:stripe:' || session_id,
        'stripe:' || session_id, payment, (session ->> 'amount_total')::bigint, lower(session ->> 'currency'),
        'credits', '{}', 'stripe:' || (event ->> 'id'), (event ->> 'livemode')::boolean);
    IF entry.reason = 'applied' THEN
        reason := 'applied';
        IF named AND code ~ '^cus_\S+$' AND twin.link(entry.customer_id, code) = 'refused' THEN
            detail := 'link_refused';
        END IF;
    ELSIF entry.reason IN ('replay', 'duplicate') OR entry.detail = 'idempotency_key_reused' THEN
        reason := 'duplicate'; detail := 'already_credited';
    ELSE
        failure := entry.detail;
    END IF;
END
$$;

CREATE FUNCTION twin.process_stripe_webhook(payload text DEFAULT NULL, signature_header text DEFAULT NULL)
RETURNS twin.event_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    refusal text;
    body jsonb;
    id text;
    type text;
    object jsonb;
    at timestamptz := clock_timestamp();
    token uuid;
    tries integer := 1;
    ignored text;
    standing record;
    effect record;
    outcome jsonb;
    message text;
BEGIN
    IF octet_length(payload) > 1048576 THEN
        refusal := 'payload_too_large';
    ELSE
        refusal := twin.stripe_signature_refusal(payload, signature_header);
    END IF;
    IF refusal IS NULL THEN
        BEGIN
            body := payload::jsonb;
        EXCEPTION WHEN data_exception OR syntax_error OR program_limit_exceeded THEN
            refusal := 'payload_malformed';
        END;
    END IF;
    IF refusal IS NULL THEN
        id := body ->> 'id';
        type := body ->> 'type';
        object := body #> '{data,object}';
        IF jsonb_typeof(body -> 'id') IS DISTINCT FROM 'string' OR jsonb_typeof(body -> 'type') IS DISTINCT FROM 'string'
            OR jsonb_typeof(object) IS DISTINCT FROM 'object' OR octet_length(id) > 255 OR octet_length(type) > 255 THEN
            refusal := 'payload_malformed';
        END IF;
    END IF;
    IF refusal IS NOT NULL THEN
        RETURN ROW(false, 'invalid', refusal, 'stripe', NULL, NULL, NULL, NULL, NULL, NULL, NULL)::twin.event_outcome;
    END IF;

    -- An event without effect is one row, complete as it arrives.
    IF body ->> 'account' IS NOT NULL
        AND NOT EXISTS (SELECT FROM twin.allowed_accounts a WHERE a.account_id = body ->> 'account') THEN
        ignored := 'connected_account';
    ELSIF type NOT IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded') THEN
        ignored := 'event_type_not_handled';
    END IF;
    IF ignored IS NOT NULL THEN
        outcome := jsonb_build_object('reason', 'ignored', 'detail', ignored);
        INSERT INTO twin.webhook_events (provider, event_id, event_type, status, attempts, received_at, processed_at,
                occurred_at, livemode, account_id, api_version, object_id, object_type, payload_summary, result)
            VALUES ('stripe', id, type, 'completed', 1, at, at,
                to_timestamp((body ->> 'created')::bigint), (body ->> 'livemode')::boolean,
                body ->> 'account', body ->> 'api_version', object ->> 'id', object ->> 'object',
                jsonb_build_object('id', id, 'type', type, 'object_id', object ->> 'id', 'object_type', object ->> 'object'),
                outcome)
            ON CONFLICT (provider, event_id) DO NOTHING;
        IF FOUND THEN
            RETURN ROW(false, 'ignored', ignored, 'stripe', id, type, 'completed', 1, NULL, NULL, outcome)::twin.event_outcome;
        END IF;
    END IF;

    -- The claim lives and dies with this transaction: it needs no lease.
    INSERT INTO twin.webhook_events (provider, event_id, event_type, status, attempts, received_at,
            occurred_at, claim_token, livemode, account_id, api_version, object_id, object_type, payload_summary)
        VALUES ('stripe', id, type, 'processing', 1, at,
            to_timestamp((body ->> 'created')::bigint), gen_random_uuid(), (body ->> 'livemode')::boolean,
            body ->> 'account', body ->> 'api_version', object ->> 'id', object ->> 'object',
            jsonb_build_object('id', id, 'type', type, 'object_id', object ->> 'id', 'object_type', object ->> 'object'))
        ON CONFLICT (provider, event_id) DO NOTHING RETURNING claim_token INTO token;
    IF NOT FOUND THEN
        UPDATE twin.webhook_events e SET status = 'processing', attempts = e.attempts + 1,
                claim_token = gen_random_uuid(), lease_until = NULL, next_attempt_at = NULL
            WHERE e.provider = 'stripe' AND e.event_id = id
                AND (e.status IN ('recorded', 'failed') OR (e.status = 'processing' AND e.lease_until <= at))
            RETURNING e.claim_token, e.attempts INTO token, tries;
        IF NOT FOUND THEN
            SELECT e.event_type, e.status, e.attempts, e.result INTO standing
                FROM twin.webhook_events e WHERE e.provider = 'stripe' AND e.event_id = id;
            RETURN ROW(false, CASE standing.status WHEN 'completed' THEN 'replay' ELSE 'duplicate' END,
                CASE standing.status WHEN 'processing' THEN 'in_progress' WHEN 'dead' THEN 'dead' END,
                'stripe', id, standing.event_type, standing.status, standing.attempts, NULL, NULL,
                standing.result)::twin.event_outcome;
        END IF;
    END IF;

    BEGIN
        IF ignored IS NULL THEN
            effect := twin.apply_checkout(body);
        ELSE
            SELECT 'ignored'::twin.reason AS reason, ignored AS detail, NULL AS failure,
                NULL::twin.credit_outcome AS entry INTO effect;
        END IF;
        IF effect.failure IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = effect.failure;
        END IF;
    EXCEPTION
        WHEN raise_exception THEN
            refusal := SQLERRM;
        WHEN transaction_rollback OR insufficient_resources OR lock_not_available OR query_canceled
            OR data_corrupted THEN
            RAISE;
        WHEN OTHERS THEN
            refusal := 'internal_error';
            message := 'SQLSTATE ' || SQLSTATE;
    END;
    IF refusal IS NOT NULL THEN
        UPDATE twin.webhook_events e SET status = CASE WHEN tries >= 10 THEN 'dead' ELSE 'failed' END,
                error_detail = refusal, error_message = message, lease_until = NULL, payload = process_stripe_webhook.payload,
                next_attempt_at = at + least(interval '300 seconds' * 2 ^ (tries - 1), interval '1 day')
            WHERE e.provider = 'stripe' AND e.event_id = id AND e.claim_token = token;
        RETURN ROW(false, 'failed', refusal, 'stripe', id, type, 'failed', tries, NULL, NULL, NULL)::twin.event_outcome;
    END IF;

    outcome := jsonb_build_object('reason', effect.reason, 'detail', effect.detail,
        'entry_id', (effect.entry).entry_id, 'customer_id', (effect.entry).customer_id,
        'credit_type', (effect.entry).credit_type, 'credits', (effect.entry).credits,
        'balance', (effect.entry).balance);
    UPDATE twin.webhook_events e SET status = 'completed', processed_at = clock_timestamp(), result = outcome,
            lease_until = NULL, next_attempt_at = NULL, error_detail = NULL, error_message = NULL,
            customer_code = NULL, payload = NULL
        WHERE e.provider = 'stripe' AND e.event_id = id AND e.status = 'processing' AND e.claim_token = token;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a billing row is not as the transaction left it' USING ERRCODE = 'data_corrupted';
    END IF;
    RETURN ROW(effect.reason = 'applied', effect.reason, effect.detail, 'stripe', id, type, 'completed', tries, NULL,
        NULL, outcome)::twin.event_outcome;
END
$$;
