-- What every function says of itself, to psql's \df+ and, through PostgREST, to readers of the OpenAPI
-- description: the first line is the summary, the rest the description. What every comment has to say is in tests/pgtap/comments.sql.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- People.

COMMENT ON FUNCTION @extschema@.resolve_billing_user(text) IS $$Tells whom an identifier names, without making anybody.

The identifier is a uuid, a positive integer, an e-mail address, cus_..., CUS_... or, where external ids are on, any other text without white space. kind says which of these it is (or blank, placeholder, malformed); found is true where a customer is known by it. Reads only.

Details: user_id_blank, user_id_placeholder, user_id_malformed, unknown_user.

For: billing_service.

Example: SELECT found, kind FROM resolve_billing_user('ada@example.com');$$;

COMMENT ON FUNCTION @extschema@.register_billing_user(uuid, text, bigint, text, text, text) IS $$Makes a customer known by identifiers, or adds what is new to the one whom they name.

user_id, legacy_id and external_id are the application's own ids; email is compared in lower case; stripe_customer_id is cus_..., paystack_customer_code CUS_.... At least one identifier is needed; a provider code alone makes nobody. A further code becomes an alias. An email given together with the customer's own user_id, legacy_id or external_id replaces the old one. Failed events that wait for a code linked here are processed in the same call.

Answers: applied; replay (all known already); invalid with identity_conflict (the identifiers belong to different customers, or the customer has another one of that kind), unknown_user, identifier_missing or what is wrong with the form of one.

For: billing_service.

Example: SELECT reason, detail FROM register_billing_user(legacy_id => 7, email => 'ada@example.com', stripe_customer_id => 'cus_ada');$$;

COMMENT ON FUNCTION billing.move_identifier(text, uuid) IS $$Gives an identifier to the customer named, whoever has it.

identifier is of any kind, an alias too; customer_id is the customer's own id, as resolve_billing_user shows it. Credits stay where they are: only the name moves. With a provider code go the subscriptions that it pays for, and the events that waited for it are processed, as with any link. If it was the first code of who had it, that customer's oldest alias of the same provider takes its place. An e-mail replaces the one that the customer has. An identifier that nobody has is given all the same.

Answers: applied, with what the customer has now; replay (it is the customer's already); invalid / identity_conflict (the customer has another user id, legacy id or external id). An identifier that can name nobody and a customer who is not there, was merged or was forgotten are refused with SQLSTATE 22023.

For: operators.

Example: SELECT m.reason, m.email FROM resolve_billing_user('7') u, billing.move_identifier('ada@example.com', u.customer_id) m;$$;

COMMENT ON FUNCTION billing.merge_customers(uuid, uuid) IS $$Makes two customers one: all that the first has is the second's from now on.

from_id and into_id are customers' own ids, as resolve_billing_user shows them. Balances move by two entries of kind adjustment per credit type, exactly once; lots move with their expiry and priority, open holds as they are, subscriptions, payments and identifiers too. Provider codes become aliases where the customer has one; of two e-mails the one of into_id stays, and the other names nobody from then on. The entries of from_id stay where they are; what is asked of them later (a replay, a refund, a reversal, the capture of a hold) is answered from the books of into_id. There is no way back.

Answers: applied, with what the customer has now; replay (merged before, and nothing has come since); invalid / identity_conflict (both have a user id, a legacy id or an external id); invalid / balance_overflow. Unknown, forgotten and otherwise merged customers, and one customer twice, are refused with SQLSTATE 22023.

For: operators.

Example: SELECT m.reason, m.email FROM resolve_billing_user('guest@example.com') f, resolve_billing_user('7') i, billing.merge_customers(f.customer_id, i.customer_id) m WHERE f.found;$$;

COMMENT ON FUNCTION billing.forget_customer(uuid) IS $$Takes every identifier of a customer out of the books, and keeps the books.

customer_id is the customer's own id, as resolve_billing_user shows it. Gone are user id, legacy id, e-mail, external id, provider codes and aliases; the codes kept with subscriptions; and of every event about the person its body, what it waits for, and a provider code as its object. Events that are not finished are dismissed with it: look at billing.failed_events first. Entries, payments and subscriptions stay, under a customer whom nothing names any more. What the application itself wrote into metadata, idempotency keys, references and branch ids is in the ledger for good: keep personal data out of them. Cancel a running subscription at the provider first: what it still sends is stored as a stranger's. Looks at every event once, which takes a while where there are millions.

Answers: applied; replay (forgotten before). A customer who is not there, or was merged into another one, is refused with SQLSTATE 22023.

For: operators.

Example: SELECT f.reason FROM resolve_billing_user('cus_grace') u, billing.forget_customer(u.customer_id) f WHERE u.found;$$;

-- Credits.

COMMENT ON FUNCTION @extschema@.apply_credit_purchase(text, bigint, text, text, bigint, text, text, timestamptz, jsonb, text) IS $$Credits a purchase, once per idempotency key and once per source.

user_id is any identifier; credits is a number above zero, of credit_type; idempotency_key, at most 255 bytes, names the request: the same key with other parameters is refused; metadata is a JSON object of at most 16 KiB that the entry keeps; amount_minor is what was paid, in minor units of currency (cents), and both come together. The source is what was paid for: stripe_session_id (cs_..., short for stripe:cs_...) or source_ref (stripe:cs_..., stripe:pi_... or paystack:<reference>). With expires_at the credits make a lot of their own: burnt before those that never expire, and never available once it is over.

Answers: applied, with the entry and the balance right after it; replay (the same request again: the original's row); duplicate / already_credited (the source was credited by another key, call or event; the key stays free); invalid with what is wrong, idempotency_key_reused above all.

For: billing_service.

Example: SELECT reason, credits, balance FROM apply_credit_purchase('7', 100, 'order-1', amount_minor => 900, currency => 'eur', source_ref => 'stripe:pi_1');$$;

COMMENT ON FUNCTION @extschema@.grant_credits(text, bigint, text, text, timestamptz, integer, jsonb) IS $$Gives credits that nobody paid for, once per idempotency key.

user_id is any identifier; credits is a number above zero, of credit_type; idempotency_key, at most 255 bytes, names the request: the same key with other parameters is refused; metadata is a JSON object of at most 16 KiB that the entry keeps. With expires_at, or a priority other than 0, the credits make a lot of their own: the lowest priority number is burnt first, then the earliest expiry; once expired, credits are never available.

Answers: applied, with the entry and the balance right after it; replay (the same request again: the original's row); invalid with what is wrong.

For: billing_service.

Example: SELECT reason, balance FROM grant_credits('ada@example.com', 20, 'welcome:ada');$$;

COMMENT ON FUNCTION @extschema@.spend_credits(text, bigint, text, text, jsonb) IS $$Takes credits that are available, once per idempotency key.

user_id is any identifier; credits is a number above zero, of credit_type, and shows below zero in the answer and in the ledger; idempotency_key, at most 255 bytes, names the request: the same key with other parameters is refused; metadata is a JSON object of at most 16 KiB that the entry keeps. Nobody is made by spending.

Answers: applied, with the entry and the balance right after it; replay (the same request again: the original's row); invalid / insufficient_credits (nothing is written and the key stays free); invalid with what else is wrong.

For: billing_service.

Example: SELECT reason, detail, balance FROM spend_credits('7', 1, 'image:42');$$;

COMMENT ON FUNCTION @extschema@.credit_balance(text, text) IS $$A customer's credits of one type: balance, held and available.

user_id is any identifier. balance, held and available are credits of credit_type: available is what can be spent now, held is reserved by open holds, next_expiry_credits run out at next_expiry_at. A known customer without entries has 0; an unknown one, or bad input, gives nulls. Reads only.

For: billing_service.

Example: SELECT balance, available FROM credit_balance('7');$$;

COMMENT ON FUNCTION @extschema@.credit_history(text, integer, bigint, text) IS $$A customer's entries of one credit type, newest first.

user_id is any identifier; the entries are those of credit_type. At most max_rows of them (50 if not given, never more than 1000), older than before_entry_id if that is given: hand in the last entry_id seen to get the next page. Bad input or an unknown user gives no rows. Reads only.

For: billing_service.

Example: SELECT entry_id, kind, credits, balance FROM credit_history('7', 10);$$;

-- End users.

COMMENT ON FUNCTION @extschema@.my_credits(text) IS $$The credits of whoever makes the request.

credit_type is the kind of credits. Who that is comes from the sub of the request's JWT: a uuid is the user id, digits are the legacy id, other text is an external id where these are on. Nulls for anybody else, and for bad input; a known customer without entries has 0. Otherwise as credit_balance. Reads only.

For: billing_service, billing_user.

Example: SELECT balance, available FROM my_credits();$$;

COMMENT ON FUNCTION @extschema@.my_credit_history(integer, bigint, text) IS $$The entries of whoever makes the request, of one credit type, newest first.

The entries are those of credit_type. At most max_rows of them (50 if not given, never more than 1000), older than before_entry_id if that is given: hand in the last entry_id seen to get the next page. Who makes the request is told as in my_credits; no rows for anybody else, and for bad input. Reads only.

For: billing_service, billing_user.

Example: SELECT entry_id, kind, credits, balance FROM my_credit_history(10);$$;

COMMENT ON FUNCTION @extschema@.has_credits(bigint, text) IS $$Tells whether whoever makes the request has so many credits available: for row policies.

credits is a number above zero, of credit_type; neither held nor expired ones count. False for unknown users, and where credits is null or not above zero. Who makes the request is told as in my_credits. In a policy, write it as a subselect, so that it runs once and not for every row. Reads only, and keeps nothing back: spend_credits decides.

For: billing_service, billing_user.

Example: SELECT has_credits(10);$$;

COMMENT ON FUNCTION billing.current_customer_id() IS $$The customer who makes the request: what the row policies of schema billing compare with.

Who that is is told as in my_credits; null for anybody else. For billing_user, because policies run with the rights of whoever reads. Reads only.

For: billing_user.

Example: SELECT billing.current_customer_id();$$;

-- Signatures.

COMMENT ON FUNCTION @extschema@.verify_stripe_signature(text, text, integer) IS $$Checks a Stripe-Signature header over a raw body, with the stored secrets.

payload is the raw body, byte for byte what Stripe sent; signature_header is the Stripe-Signature header. tolerance_seconds is how far the signed time may be from now, both ways; null is billing_rpc.signature_tolerance_seconds, and 0 means zero seconds. valid is true or false, never null; signed_at is known once a signature matched. Reads only.

Details, in their order: secret_missing, tolerance_invalid, signature_missing, signature_malformed, signature_mismatch, signature_expired.

For: billing_service.

Example: SELECT valid, detail FROM verify_stripe_signature('{"id":"evt_1"}', billing.sign_stripe_payload('{"id":"evt_1"}', 'whsec_example'));$$;

COMMENT ON FUNCTION @extschema@.verify_paystack_signature(text, text) IS $$Checks an x-paystack-signature header over a raw body, with the stored secrets.

payload is the raw body, byte for byte; signature is the lower-case hex HMAC-SHA512 of the body. It carries no time. valid is true or false, never null. Reads only.

Details, in their order: secret_missing, signature_missing, signature_mismatch.

For: billing_service.

Example: SELECT valid, detail FROM verify_paystack_signature('{"event":"charge.success"}', billing.sign_paystack_payload('{"event":"charge.success"}', 'sk_example'));$$;

-- Claims.

COMMENT ON FUNCTION @extschema@.claim_stripe_event(text, text, jsonb, integer) IS $$Asks for the right to process a Stripe event: for an application that keeps its own webhook handler.

event_id (evt_...) and event_type have at most 255 bytes. payload_summary may hold object_id and object_type; nothing else of it is kept. lease_seconds is how long the claim lasts, 1 second to 30 days; null is billing_rpc.claim_lease_seconds.

Answers: applied, with a claim_token (process it, then complete_stripe_event or fail_stripe_event); replay (completed before, with its result); duplicate / in_progress (somebody holds it); duplicate / dead (failed too often); invalid with what is wrong. An event that failed, or whose lease ran out, is claimed anew with attempts one higher.

For: billing_service.

Example: SELECT reason, claim_token FROM claim_stripe_event('evt_1', 'invoice.paid');$$;

COMMENT ON FUNCTION @extschema@.complete_stripe_event(text, uuid, jsonb) IS $$Completes a claimed Stripe event.

event_id is as it was claimed; claim_token is what the claim answered; result, at most 16 KiB, is what later claims of the event are answered.

Answers: applied; replay (completed before with that token); invalid / claim_lost (the token no longer holds the event), unknown_event, claim_token_missing, result_too_large.

For: billing_service.

Example: SELECT reason FROM complete_stripe_event('evt_2', '00000000-0000-0000-0000-000000000000', '{"order": 7}');$$;

COMMENT ON FUNCTION @extschema@.fail_stripe_event(text, uuid, text, integer) IS $$Gives a claimed Stripe event back as failed, to be tried again.

event_id is as it was claimed; claim_token is what the claim answered; error_message is kept for operators. The next attempt is due after retry_in_seconds, 0 seconds to 30 days; null is a back-off from 5 minutes, doubling, at most 24 hours. After billing_rpc.max_attempts failures the event is dead until billing.revive_event.

Answers: applied, with the status (failed or dead); replay (failed before with that token); invalid / claim_lost, unknown_event, error_message_missing and the like.

For: billing_service.

Example: SELECT reason, status FROM fail_stripe_event('evt_3', '00000000-0000-0000-0000-000000000000', 'mail server down');$$;

COMMENT ON FUNCTION @extschema@.claim_webhook_event(text, text, text, jsonb, integer) IS $$Asks for the right to process an event of any provider; otherwise as claim_stripe_event.

provider is a name of at most 63 bytes; event_id and event_type have at most 255, and ids are told apart per provider. Of payload_summary only object_id and object_type are kept; lease_seconds is how long the claim lasts, 1 second to 30 days.

Answers: applied, with a claim_token; replay, duplicate / in_progress, duplicate / dead; invalid with what is wrong.

For: billing_service.

Example: SELECT reason, claim_token FROM claim_webhook_event('github', '7f1c', 'push');$$;

COMMENT ON FUNCTION @extschema@.complete_webhook_event(text, text, uuid, jsonb) IS $$Completes a claimed event of any provider; otherwise as complete_stripe_event.

provider and event_id are as they were claimed; claim_token is what the claim answered; result, at most 16 KiB, is what later claims are answered.

Answers: applied; replay; invalid with claim_lost, unknown_event, claim_token_missing or result_too_large.

For: billing_service.

Example: SELECT reason FROM complete_webhook_event('github', '7f1d', '00000000-0000-0000-0000-000000000000');$$;

COMMENT ON FUNCTION @extschema@.fail_webhook_event(text, text, uuid, text, integer) IS $$Gives a claimed event of any provider back as failed; otherwise as fail_stripe_event.

provider and event_id are as they were claimed; claim_token is what the claim answered; error_message is kept for operators; the next attempt is due after retry_in_seconds, 0 seconds to 30 days; null is a back-off from 5 minutes.

Answers: applied, with the status failed or dead; replay; invalid with claim_lost, unknown_event, error_message_missing and the like.

For: billing_service.

Example: SELECT reason, status FROM fail_webhook_event('github', '7f1e', '00000000-0000-0000-0000-000000000000', 'disk full', 60);$$;

-- Webhooks.

COMMENT ON FUNCTION @extschema@.process_stripe_webhook(text, text) IS $$Takes a Stripe webhook from any caller: verifies, records and applies it, once per event id.

payload is the raw body, byte for byte; signature_header is the Stripe-Signature header.

Answers: applied; replay (this event was completed before, with its result); duplicate / already_credited (another event or call credited the same checkout), in_progress, dead; ignored, with why the event has no effect; failed, with why: the event is kept and can be tried again; invalid for what is not authentic or not an event: nothing is stored.

For: billing_service.

Example: SELECT o.reason, o.detail FROM (VALUES ('{"id": "evt_4", "type": "product.created", "livemode": false, "data": {"object": {"id": "prod_1"}}}')) AS event (body), process_stripe_webhook(body, billing.sign_stripe_payload(body, 'whsec_example')) AS o;$$;

COMMENT ON FUNCTION @extschema@.stripe_webhook(json) IS $$The endpoint that Stripe posts to through PostgREST: POST /rpc/stripe_webhook.

The body is the whole request body, the signature comes from the request's Stripe-Signature header, and the HTTP status goes out with the answer: 200 where nothing more is needed of Stripe, 400 for what is not authentic or not an event, 409 while the event is claimed elsewhere, 500 where Stripe should deliver it again, 503 while billing_rpc.webhook_mode is off. Grant it to the role of anonymous requests, as the example does: what is not signed is refused.

Answers: as process_stripe_webhook: applied, replay, duplicate, ignored, failed or invalid.

For: billing_service, billing_webhook.

Example: GRANT EXECUTE ON FUNCTION stripe_webhook(json) TO anon;$$;

COMMENT ON FUNCTION @extschema@.process_paystack_webhook(text, text) IS $$Takes a Paystack webhook from any caller: verifies, records and applies it, once per event.

payload is the raw body, byte for byte; signature is the x-paystack-signature header. Paystack gives events no id: it is put together from the event's name, the ids in its data and, where these do not tell events apart, the body's SHA-256.

Answers: as process_stripe_webhook: applied, replay, duplicate, ignored, failed or invalid.

For: billing_service.

Example: SELECT o.reason, o.detail FROM (VALUES ('{"event": "transfer.success", "data": {"id": 1, "domain": "test"}}')) AS event (body), process_paystack_webhook(body, billing.sign_paystack_payload(body, 'sk_example')) AS o;$$;

COMMENT ON FUNCTION @extschema@.paystack_webhook(json) IS $$The endpoint that Paystack posts to through PostgREST: POST /rpc/paystack_webhook.

The body is the whole request body, the signature comes from the request's x-paystack-signature header, and the HTTP status goes out with the answer, as with stripe_webhook. Grant it to the role of anonymous requests, as the example does: what is not signed is refused.

Answers: as process_paystack_webhook: applied, replay, duplicate, ignored, failed or invalid.

For: billing_service, billing_webhook.

Example: GRANT EXECUTE ON FUNCTION paystack_webhook(json) TO anon;$$;

COMMENT ON FUNCTION @extschema@.retry_webhook_events(integer) IS $$Processes the events that are due: call it once a minute.

Due are recorded events, failed ones whose time has come and claims that ran out, as far as their payload is kept. At most max_events of them (100 if not given), longest due first; one row for each that was processed, with its outcome. Each event is on its own: one that fails again holds up no other. Several workers may run at once and share the work: an event that somebody else holds is left for the next round, uncounted.

Answers: applied, ignored, duplicate or failed, as the event's delivery would; duplicate / dead for a claim that ran out for the last time; invalid / max_events_invalid, one row.

For: billing_service.

Example: SELECT event_id, reason, detail FROM retry_webhook_events(50);$$;

-- Operators.

COMMENT ON FUNCTION billing.dismiss_event(text, text) IS $$Completes a failed or dead event without effect: it is not tried again.

provider and event_id are as billing.failed_events shows them. For good: the event has no effect, and its deliveries answer replay from then on, with the result ignored / dismissed.

Answers: applied. No failed or dead event of that provider and id: refused with SQLSTATE 22023.

For: operators.

Example: SELECT reason FROM billing.dismiss_event('stripe', 'evt_5');$$;

COMMENT ON FUNCTION billing.purge_webhook_events(interval, integer) IS $$Drops payload and result of completed events; their identities stay for ever.

older_than is how long ago they were completed, zero or more; max_rows is how many are looked after in this call. Recorded, failed and dead events are never touched.

Answers: how many were purged; call again until that is 0. Bad input is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.purge_webhook_events('90 days', 10000);$$;

COMMENT ON FUNCTION billing.add_webhook_secret(text, text, timestamptz) IS $$Stores a webhook secret; several may be valid at once, so that they can be rotated.

provider is stripe or paystack; secret is the whole text, whsec_ included; valid_until null means until it is retired. The secret is never shown again.

Answers: the secret's number, secret_id. A blank secret or another provider is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.add_webhook_secret('stripe', 'whsec_...');$$;

COMMENT ON FUNCTION billing.use_vault_secret(text, text) IS $$Uses a webhook secret that Supabase Vault keeps, read there at each use.

provider is stripe or paystack; vault_name is the name of the secret in the vault, up to 255 bytes. Whoever calls this must be allowed to read vault.decrypted_secrets: the extension reads only the names given here, through a view of the caller's. A secret that the vault does not have, or a blank one, is as none; one changed in the vault counts from the next delivery on. billing.retire_webhook_secret ends it as any other. The names go into no dump: call this again after a restore.

Answers: the secret's number, secret_id; again with the same name, the same number. Without a vault, or with another provider or a blank name, it is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.use_vault_secret('stripe', 'stripe_webhook_secret');$$;

COMMENT ON FUNCTION billing.retire_webhook_secret(bigint, timestamptz) IS $$Ends a webhook secret, now or at the time given.

secret_id is as billing.webhook_secret_list shows it; at is when it ends, now if it is not given.

Answers: nothing. An unknown one is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.retire_webhook_secret(1, now() + interval '1 day');$$;

COMMENT ON FUNCTION billing.verify_stripe_signature_with(bytea, text, text[], integer, timestamptz) IS $$Checks a Stripe-Signature header with secrets given by the caller, at a time given by the caller.

For tests and tools; nothing is read or written. payload is the raw body, signature_header the header, secrets are those to try. tolerance_seconds null is 300, at null is now. Otherwise as verify_stripe_signature.

For: operators.

Example: SELECT valid, detail FROM billing.verify_stripe_signature_with('{}', billing.sign_stripe_payload('{}', 'whsec_x', to_timestamp(1700000000)), '{whsec_x}', 300, to_timestamp(1700000000));$$;

COMMENT ON FUNCTION billing.verify_paystack_signature_with(bytea, text, text[]) IS $$Checks an x-paystack-signature header with secrets given by the caller.

For tests and tools; nothing is read or written. payload is the raw body, signature the header, secrets are those to try. Otherwise as verify_paystack_signature.

For: operators.

Example: SELECT valid, detail FROM billing.verify_paystack_signature_with('{}', billing.sign_paystack_payload('{}', 'sk_x'), '{sk_x}');$$;

COMMENT ON FUNCTION billing.sign_stripe_payload(text, text, timestamptz) IS $$Makes the Stripe-Signature header that Stripe would send: for tests and demos.

payload is the body, secret the whole text, whsec_ included; at is the time of signing, null is now. A missing or blank secret is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.sign_stripe_payload('{}', 'whsec_x', to_timestamp(1700000000));$$;

COMMENT ON FUNCTION billing.sign_paystack_payload(text, text) IS $$Makes the x-paystack-signature header that Paystack would send: for tests and demos.

payload is the body, secret the API's secret key. A missing or blank secret is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.sign_paystack_payload('{}', 'sk_x');$$;

COMMENT ON FUNCTION billing.revive_event(text, text) IS $$Makes a dead event due at once, with its attempts at 0.

provider and event_id are as billing.failed_events shows them. It is processed by the next retry_webhook_events, if its body is kept, or by its next delivery.

Answers: applied, with the status failed. No dead event of that provider and id: refused with SQLSTATE 22023.

For: operators.

Example: SELECT reason, status FROM billing.revive_event('stripe', 'evt_6');$$;

COMMENT ON FUNCTION billing.allow_account(text, boolean) IS $$Processes the events of a Stripe Connect account from now on, or (allowed false) no longer.

account_id is Stripe's acct_.... Events of connected accounts that are not allowed are ignored / connected_account.

Answers: nothing. A missing or blank account id is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.allow_account('acct_1');$$;

COMMENT ON FUNCTION billing.find_relation(text) IS $$Finds the table, view or foreign table that an operator names.

relation is a name, with its schema unless that is public, quoted where need be. Null where there is nothing of that name to read from, whatever the text. For the functions that take a relation.

For: operators.

Example: SELECT billing.find_relation('auth.users');$$;

COMMENT ON FUNCTION billing.set_users_table(text, text, text) IS $$Names the application's table of users: from then on whoever it does not know is unknown_user.

relation is the table's name, with its schema unless that is public; id_column a uuid, an integer or text; email_column may be null. All null takes it away. Called by a superuser, whose view billing.application_users reads the table for the extension: nothing is granted on the table itself.

Answers: nothing. What does not exist or does not fit is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.set_users_table('auth.users', 'id', 'email');$$;

COMMENT ON FUNCTION billing.refuse_ledger_change() IS $$Trigger: keeps billing.ledger append-only, for superusers too.

UPDATE, DELETE and TRUNCATE are refused with SQLSTATE 55000.$$;

-- Lots, holds, reversals, batches.

COMMENT ON FUNCTION @extschema@.credit_balance_at(text, timestamptz, text) IS $$A customer's balance at a past time.

user_id is any identifier. Counts every entry of credit_type up to and including at; held, available and next expiry are null. Nulls for an unknown user or a null time; 0 before the first entry. Reads only.

For: billing_service.

Example: SELECT balance FROM credit_balance_at('ada@example.com', now() - interval '1 month');$$;

COMMENT ON FUNCTION @extschema@.reverse_credit_entry(bigint, text, bigint, jsonb) IS $$Undoes a purchase, grant, spend or capture, in part or (credits null) what is left of it.

entry_id is the entry's number in the ledger; credits is how many to undo, above zero; idempotency_key, at most 255 bytes, names the request: the same key with other parameters is refused; metadata is a JSON object of at most 16 KiB that the new entry keeps. A purchase or grant is undone from its own lot, or from the available credits without a lot; what is missing there is not collected later but recorded as the entry's shortfall. What a spend or capture gives back returns to the lots it came from while they live.

Answers: applied; replay; invalid with unknown_entry, not_reversible, nothing_to_reverse, exceeds_entry, or what is wrong with an argument.

For: billing_service.

Example: SELECT reason, credits, balance FROM reverse_credit_entry(42, 'undo-42');$$;

COMMENT ON FUNCTION @extschema@.hold_credits(text, bigint, text, integer, text, jsonb) IS $$Reserves credits for a while: neither spent nor available.

user_id is any identifier; credits is a number above zero, of credit_type; idempotency_key, at most 255 bytes, names the request: the same key with other parameters is refused; metadata is a JSON object of at most 16 KiB that the hold keeps. ttl_seconds is 1 to 31622400 (366 days); after it the hold counts for nothing, without any job having run. A replay shows the hold as it is now.

Answers: applied; replay; invalid with insufficient_credits, ttl_seconds_invalid, or what is wrong with an argument.

For: billing_service.

Example: SELECT hold_id, available FROM hold_credits('ada@example.com', 10, 'render-7', ttl_seconds => 600);$$;

COMMENT ON FUNCTION @extschema@.capture_hold(uuid, bigint) IS $$Spends a hold, the whole of it or (credits) a part, and releases the rest.

hold_id is what hold_credits answered; credits is how many to spend, above zero and at most what is held; null is all of them.

Answers: applied; replay (captured with the same credits before); invalid with hold_ended (captured otherwise, released, or run out: status tells), exceeds_hold, credits_not_positive, unknown_hold.

For: billing_service.

Example: SELECT reason, captured_credits, balance FROM capture_hold('6f1d5d3e-0000-4000-8000-000000000000', 7);$$;

COMMENT ON FUNCTION @extschema@.release_hold(uuid) IS $$Ends a hold without spending: its credits are available again.

hold_id is what hold_credits answered.

Answers: applied; replay (released before); invalid with hold_ended (captured or run out: status tells) or unknown_hold.

For: billing_service.

Example: SELECT reason, available FROM release_hold('6f1d5d3e-0000-4000-8000-000000000000');$$;

COMMENT ON FUNCTION @extschema@.apply_credit_batch(jsonb) IS $$Applies many operations in one transaction; one row per operation, in their order.

An operation is {"op": "purchase" | "grant" | "spend", ...} with that function's parameters as further keys; expires_at is an ISO 8601 time with an offset. Each is judged on its own, as its single call would be. At most 100,000 operations.

Answers: for each operation what its single call would answer (applied, replay, duplicate, invalid), or invalid with operation_malformed, unknown_operation, unknown_parameter or parameter_type_mismatch; for all together one row, invalid with operations_not_an_array or too_many_operations; no rows for [].

For: billing_service.

Example: SELECT reason, credits FROM apply_credit_batch('[{"op": "grant", "user_id": "7", "credits": 5, "idempotency_key": "b-1"}]');$$;

COMMENT ON FUNCTION billing.expire_credits(integer) IS $$Writes off expired credits and ends holds that ran out, before the customers' next call does.

Looks at max_rows lots and holds at the most; accounts locked elsewhere are left for the next run, so several workers may run at once. Nothing depends on it: what has run out never counts as available.

Answers: how many accounts were settled; 0 when nothing is left. Bad input is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.expire_credits(1000);$$;

COMMENT ON FUNCTION billing.reconcile() IS $$Checks the books against each other; no rows means all is well.

One row for each difference: problem names it, reference the entry, lot or event, expected and found are credits. Reads whole tables: for operators, not for hot paths.

For: billing_monitor.

Example: SELECT problem, expected, found FROM billing.reconcile();$$;

-- Packs and plans.

COMMENT ON FUNCTION billing.define_pack(text, bigint, bigint, text, text, interval) IS $$Defines a credit pack and its price in one currency.

credits, a number above zero of type credit_type, is what one pack gives; amount_minor, minor units of currency above zero, is what it costs; expires_after, a positive interval of at most 100 years, is how long its credits live, null for ever. The names of pack and type have at most 63 bytes.

Called again it changes what the pack gives (in every currency), and its price in that currency, from the present whole second on; prices in other currencies stay. A payment is judged by what was valid when it began. The first definition is valid from ever.

Answers: nothing. Bad input is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.define_pack('starter', 100, 900, 'eur', expires_after => interval '1 year');$$;

COMMENT ON FUNCTION billing.define_plan(text, bigint, text, text, integer, text[], bigint, boolean, interval, text, boolean) IS $$Defines a plan, or replaces it.

amount_minor, zero or more minor units of currency, is what a period of interval_count times interval_unit (day, week, month or year; at most 100 years) costs; per_branch makes it the price of one branch. price_ids are all the providers' price ids of the plan (Stripe's price_..., Paystack's PLN_...), at most 1000; one that stands for another plan is refused.

credits_per_period, zero or more of type credit_type, are granted by each paid period; with credits_expire they expire credits_grace (zero to 100 years) after its end. A payment that was started keeps the amount and the period that it was started with.

Answers: nothing. Bad input, and a price id of another plan, are refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.define_plan('pro', 5000, 'ngn', 'month', price_ids => '{price_1,PLN_1}', credits_per_period => 500);$$;

-- Subscription payments.

COMMENT ON FUNCTION @extschema@.start_subscription_payment(text, text, text, bigint, text, text[], text, jsonb) IS $$Records a subscription payment that is about to be made, by its provider's reference.

user_id is any identifier; an unknown one makes the customer. amount_minor (minor units) and currency must be the plan's price, times the number of distinct branches (at least 1) if the plan is per branch. branch_ids, at most 1000, count once each; main_branch_id is one of them, or null. reference and branch ids have at most 255 bytes; metadata is a JSON object of at most 16 KiB. What is bought is fixed here: defining the plan anew does not change it.

Answers: applied, with the pending payment; replay (started by the same request before: the payment as it is now); invalid with idempotency_key_reused (the reference stands for another request), unknown_plan, currency_mismatch, amount_mismatch, unknown_user, or what is wrong with an argument.

For: billing_service.

Example: SELECT reason, status FROM start_subscription_payment('ref_1', 'ada@example.com', 'pro', 5000, 'ngn');$$;

COMMENT ON FUNCTION @extschema@.verify_subscription_payment(text, text, bigint, text, timestamptz) IS $$Applies what the payment gateway says of a payment that was started.

reference is that of the start. gateway_status is Paystack's: success, failed, abandoned (which is failed), anything else is still pending. Only a success needs amount_minor (minor units) and currency, which must be those of the start. paid_at null is now. The first right success marks the payment, gives each of its branches a subscription, and sets subscription_end: the plan's calendar period, in UTC, after now or after the end of what the customer has paid for that plan, whichever is later.

Answers: applied (success, or detail payment_failed); replay (a paid payment, whatever is said, or failed again); ignored / payment_pending; invalid with amount_mismatch, currency_mismatch, unknown_payment, or what is wrong with an argument.

For: billing_service.

Example: SELECT reason, status, subscription_end FROM verify_subscription_payment('ref_2', 'success', 5000, 'ngn');$$;

COMMENT ON FUNCTION @extschema@.subscription_payment_status(text) IS $$A subscription payment as it is now, by its reference.

Answers with reason replay, for nothing is changed; an unknown reference is invalid / unknown_payment. Reads only.

For: billing_service.

Example: SELECT status, subscription_end, branches FROM subscription_payment_status('ref_2');$$;
-- Subscriptions.

COMMENT ON FUNCTION @extschema@.apply_subscription_update(jsonb, timestamptz) IS $$Takes a subscription object freshly fetched from Stripe: the truth, whatever events have said.

subscription is the object as Stripe's API answers it, of any API version; it has an id, a customer and a known status. observed_at is a time taken just before it was fetched; null is the time at which pending_refetches says it was asked for, else now. The truth may set any status, even on a subscription that had ended; events older than it are stale from then on; a request on the queue that is not later than it is done with. metadata.user_id names and links the user, as in a checkout.

Answers: applied, with the status before and after; applied / customer_unlinked (nobody here has its cus_... yet; linking it gives the subscription to its customer), applied / link_refused (its cus_... belongs to somebody else than metadata.user_id); replay (the same truth again); ignored / stale_event (something newer was applied before); invalid / object_malformed, observed_at_infinite.

For: billing_service.

Example: SELECT reason, status FROM apply_subscription_update('{"id": "sub_1", "customer": "cus_ada", "status": "active"}', now());$$;

COMMENT ON FUNCTION @extschema@.can_transition_subscription(text, text) IS $$Tells whether an event may change a subscription's status from one to the other.

from_status and to_status are names of statuses, as Stripe has them. A status may stay as it is. incomplete may become trialing, active, incomplete_expired or canceled; trialing, active, past_due, unpaid and paused may become each other or canceled; nothing leaves canceled or incomplete_expired. False for names that are no status, and for null. Looks at nothing but its arguments.

For: billing_service.

Example: SELECT can_transition_subscription('past_due', 'active');$$;

COMMENT ON FUNCTION @extschema@.subscription_status(text) IS $$A customer's best subscription.

Best is active before trialing, past_due and the others, then by the latest period end. user_id is any identifier. plan is the plan that the subscription's price stands for; active is true while it can be used: status active or trialing, and its end, if one is set, still ahead. Nulls for an unknown user, one without a subscription, or bad input. Reads only.

For: billing_service.

Example: SELECT plan, status, active FROM subscription_status('ada@example.com');$$;

COMMENT ON FUNCTION @extschema@.pending_refetches(integer) IS $$The subscriptions whose truth is wanted: for a worker that fetches them from Stripe.

At most max_rows of them (100 if not given, never more than 1000), the longest waiting first. Fetch each and hand it to apply_subscription_update, with a time taken just before fetching; that takes it off. Bad input gives no rows. Reads only.

For: billing_service.

Example: SELECT object_id, requested_reason FROM pending_refetches(10);$$;

COMMENT ON FUNCTION @extschema@.my_subscription() IS $$The best subscription of whoever makes the request.

Who that is comes from the sub of the request's JWT: a uuid is the user id, digits are the legacy id, other text is an external id where these are on. Nulls for anybody else, and for users without a subscription. Otherwise as subscription_status. Reads only.

For: billing_service, billing_user.

Example: SELECT plan, status, active FROM my_subscription();$$;

COMMENT ON FUNCTION @extschema@.has_active_subscription(text) IS $$Tells whether whoever makes the request has an active subscription: for row policies.

plan names the plan that it must be to; null is any. False for unknown users and unknown plans. Who makes the request is told as in my_subscription. In a policy, write it as a subselect, so that it runs once and not for every row. Reads only.

For: billing_service, billing_user.

Example: SELECT has_active_subscription('pro');$$;

COMMENT ON FUNCTION billing.set_refetch_source(text) IS $$Names a relation that the truth on subscriptions is read from.

It is read in the same call in which the truth is wanted. relation is its name, with its schema unless that is public: a table, view or foreign table with a column id of type text and a column attrs of type jsonb, as the Stripe foreign data wrapper of Supabase Wrappers has. Null takes it away. What is not found there, or cannot be read, goes on the queue. Called by a superuser, whose view billing.refetch_source reads the relation for the extension.

Answers: nothing. What does not exist or does not fit is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.set_refetch_source('stripe.subscriptions');$$;

-- The dashboard.

COMMENT ON FUNCTION @extschema@.billing_dashboard() IS $$The state of billing as one page of HTML, for a browser.

Events received by hour of the last 48 and by type, failures by reason with what to do, events that nobody takes care of, credits in and out by day of the last 30, subscriptions by status, the last 20 entries of the ledger; charts are inline SVG with a table of the same numbers, times are UTC. It reads about 50000 events and as many entries, the newest, and says from when on where there are more. No e-mail, payload, metadata or idempotency key is on it, and every value is escaped; nothing on it runs, and it fetches nothing.

PostgREST sends it as text/html to a caller with role billing_monitor who asks for that (GET /rpc/billing_dashboard, Accept: text/html), with the headers Cache-Control no-store, Content-Security-Policy, Referrer-Policy and X-Content-Type-Options. Reads only.

For: billing_monitor.

Example: SELECT billing_dashboard();$$;

-- Access.

COMMENT ON FUNCTION billing.health() IS $$Says what needs an operator's hand: one row for each check, always all of them, in a fixed order.

ok is true where there is nothing to do, and advice is null then; else advice is one sentence with the statement to run. The checks: events_due (for more than 10 minutes: no worker runs), leases_ran_out, failing_events, dead_events, both_modes, secret_missing, secret_ending (within 7 days), e2e_test_mode, webhook_mode, refetch_queue, old_payloads, sources, access, version. Settings are judged as the asking session has them. Quick however many events there are: indexes and a few rows of each type are looked at, no table is read whole. Reads only.

For: billing_monitor.

Example: SELECT check_name, advice FROM billing.health() WHERE NOT ok;$$;

COMMENT ON FUNCTION billing.metrics() IS $$Tells how things are in numbers, as one text in the form of OpenMetrics 1.0, for Prometheus.

Families are named billing_rpc_...: events (unfinished ones by provider and status, counted up to 100,000), ages in seconds, credits by credit type, holds, subscriptions, customers, secrets' ends, health by check, and two counters (events and entries) that the server's statistics keep. Customers, balances and subscriptions are counted whole, events never. No personal data. Reads only.

For: billing_monitor.

Example: SELECT billing.metrics();$$;

COMMENT ON FUNCTION billing.access_audit() IS $$Lists every right beyond the intended ones, and what else has been opened since the install.

problem is one of: grant_not_intended, grant_option (an intended grant that may be passed on), membership_not_intended (somebody is a member of billing_owner, or anon or authenticated of a group role that is not theirs), admin_option, group_role_is_member, role_attribute (a group role may log in, or more), owner_changed, search_path_not_pinned, row_security_off, policy_not_intended, policy_wanted, ledger_not_append_only, schema_exposed (PostgREST is told to serve schema billing), schema_open_to_all (everybody may create in the schema of the client functions). advice is the statement that mends it. Opening the webhook endpoints to anon, and members of billing_service, billing_webhook, billing_user and billing_monitor beside anon and authenticated, are the operator's to decide and not listed. Empty is good. Reads only.

For: billing_monitor.

Example: SELECT problem, role_name, object_name, advice FROM billing.access_audit();$$;

COMMENT ON FUNCTION billing.intended_grants() IS $$Lists every grant that the install makes: nobody else has any right here.

object_name is without a schema for what clients call. Looks at nothing.

For: operators.

Example: SELECT object_name FROM billing.intended_grants() WHERE role_name = 'billing_user';$$;

COMMENT ON FUNCTION billing.intended_policies() IS $$Lists the policies of row security that the install makes.

There is one for each table that holds customers' rows: expression says which of them a member of billing_user may read once somebody grants the table. Looks at nothing.

For: operators.

Example: SELECT table_name, expression FROM billing.intended_policies();$$;

COMMENT ON FUNCTION billing.present_grants() IS $$Lists every grant that there is on what belongs to billing_rpc, to anybody but its owner.

revoke is the rest of the statement REVOKE ... that takes it back. Reads only.

For: operators.

Example: SELECT role_name, privilege, object_name FROM billing.present_grants() WHERE role_name = 'billing_webhook';$$;

COMMENT ON FUNCTION billing.audit_grants() IS $$The part of billing.access_audit() that looks at grants and schemas.

Reads only.

For: operators.

Example: SELECT problem, advice FROM billing.audit_grants();$$;

COMMENT ON FUNCTION billing.audit_roles() IS $$The part of billing.access_audit() that looks at the group roles and their members.

Reads only.

For: operators.

Example: SELECT problem, advice FROM billing.audit_roles();$$;

COMMENT ON FUNCTION billing.audit_objects() IS $$The part of billing.access_audit() that looks at owners, functions, tables and policies.

Reads only.

For: operators.

Example: SELECT problem, advice FROM billing.audit_objects();$$;

COMMENT ON FUNCTION billing.keep_for_owner(regclass) IS $$Takes a view of schema billing from everybody but its owner, and lets billing_owner read it.

For billing.set_users_table and the like, whose views are made under the database's default privileges. The view is named by its regclass.

Answers: nothing.

For: operators.

Example: SELECT billing.keep_for_owner('billing.refetch_source');$$;

-- Adoption.

COMMENT ON FUNCTION billing.adopt_balances(text, text, text, text, boolean, bigint) IS $$Takes an existing application's balances over, each as one opening entry of kind adjustment.

relation is a table, view or foreign table, named with its schema unless that is public, and read with the rights of whoever calls this. user_column is a uuid, an integer or text and names people as every user_id does; who is unknown is made a customer. balance_column is an integer or numeric, in credits of credit_type. dry_run is true unless said otherwise: then nothing is written, and the report says what would be. max_rows adopts at most that many in this call, so that a large table is taken in transactions of their own: call it again until remaining is 0. The opening entry adds to what the customer has here already. Its key is made of customer and credit type, so a second run, of this or another relation, adopts nobody twice, whatever has become of the balance since.

Answers: a report. Every row is counted once, in one of: adopted (in a dry run: would be), already (in an earlier run), users_not_found (null, no identifier, or nobody by the users table), duplicates (several rows of one person: none of them is adopted), nulls, negatives, malformed (a fraction, or more than 64 bits, alone or with what is here), remaining (beyond max_rows, or changed by somebody meanwhile). Beside that: changed, of those adopted already, how many show another balance now than was adopted; zeros, how many adopted ones are of 0 credits; sum_rows of all balances, sum_adopted, sum_already; examples, per cause the first 20 people as user_column names them. What is left out can be mended in the relation and adopted by a further run. A relation or column that is not there, or of another type, and a max_rows below 1 are refused with SQLSTATE 22023.

For: operators.

Example: SELECT adopted, sum_adopted, examples FROM billing.adopt_balances('public.users', 'id', 'credits_balance');$$;

COMMENT ON FUNCTION billing.adopt_stripe_events(text, text, text, text, boolean, bigint) IS $$Takes over which of Stripe's events an existing application has processed: they answer replay here.

relation is a table, view or foreign table, named with its schema unless that is public, and read with the rights of whoever calls this. id_column holds evt_..., type_column the type (null if there is no such column; an event whose type is missing is adopted as unknown). processed_column is a time (null: not processed) or a boolean; a time without a zone is read in the session's. dry_run is true unless said otherwise: then nothing is written. max_rows adopts at most that many in this call. An event that stands here as recorded, failed or dead, or whose lease ran out, is completed too; one that somebody holds by a live lease is left.

Answers: a report. Every row is counted once, in one of: adopted (in a dry run: would be), already (completed here before), in_progress (claimed by a live lease), not_processed, duplicates (further rows of an event: it was processed if one of them says so), malformed (no id, or one that is blank or too long), remaining (beyond max_rows). examples has the first 20 ids of those in progress and malformed. A relation or column that is not there, or of another type, and a max_rows below 1 are refused with SQLSTATE 22023.

For: operators.

Example: SELECT adopted, not_processed FROM billing.adopt_stripe_events('public.stripe_events', 'event_id', 'event_type', 'processed_at');$$;

COMMENT ON FUNCTION billing.adopt_sources(text, text, boolean, bigint) IS $$Takes over which purchases an existing application has credited: they are duplicates here.

relation is a table, view or foreign table, named with its schema unless that is public, and read with the rights of whoever calls this. From then on each of them answers duplicate / already_credited. source_column is text: cs_..., pi_... and in_...#<plan>, with or without stripe: in front, and any other reference as Paystack's, with or without paystack:. dry_run is true unless said otherwise: then nothing is written. max_rows adopts at most that many in this call. Credits are not given: adopt the balances for that. A refund of such a purchase is ignored / nothing_to_undo or unknown_payment, as its credits are part of the adopted balance: take them back by hand.

Answers: a report. Every row is counted once, in one of: adopted (in a dry run: would be), already (credited or adopted here before, by this name or by that of the same payment), duplicates (further rows of a source), nulls, malformed (no source), remaining (beyond max_rows). examples has the first 20 malformed ones. A relation or column that is not there, or of another type, and a max_rows below 1 are refused with SQLSTATE 22023.

For: operators.

Example: SELECT adopted, duplicates FROM billing.adopt_sources('public.credit_purchases', 'stripe_session_id');$$;

COMMENT ON FUNCTION billing.mirror_balances(text, text, text, text) IS $$Keeps a column of the application's own table in step with the credits here.

For code that still reads that column. relation is a table, named with its schema unless that is public; user_column is a uuid, an integer or text, and the rows of a customer are those that hold their user id, legacy id, external id or e-mail (in lower case); balance_column is an integer or numeric. From then on every change of a balance of credit_type is written there in the same transaction: balance less what is held, with expired credits until they are written off. All null (but credit_type): taken away.

Answers: nothing. Nothing is written when it begins, so the column must hold what was adopted: a table with rows that billing.adopt_balances would still adopt is refused, and once a type is mirrored no more of it is adopted. Only a superuser can call it.

The column is written with the rights of the table's owner, after the balance is locked: code that locks a user's row and then calls a function of the extension for the same user may end in 40P01, and should be sent again. A customer without a row is passed over. If the column cannot be written, the balance changes all the same, with a WARNING. Triggers are not in dumps: after a restore, call it again. A relation or column that is not there, or of another type, is refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.mirror_balances('public.users', 'id', 'credits_balance');$$;

COMMENT ON FUNCTION billing.mirror_changes() IS $$Writes changed balances to the column that mirrors them.

The function of the triggers that billing.mirror_balances makes.$$;

COMMENT ON FUNCTION billing.adoption_target(text, text) IS $$Whose balance a row of an adopted relation is.

The first element names the person, the others are the credits of each opening entry that they have of credit_type already; null for nobody. For billing.adopt_balances. Reads only.

For: operators.

Example: SELECT billing.adoption_target('7');$$;

COMMENT ON FUNCTION billing.adoption_source(text) IS $$The source that a text of an adopted relation names, in full; null for none.

Of a reference as billing.adopt_sources reads it, for that function. Reads nothing.

For: operators.

Example: SELECT billing.adoption_source('cs_test_1');$$;

COMMENT ON FUNCTION billing.adopted_column(regclass, text) IS $$What a column of an adopted relation can be used as; null if there is none.

For the column column_name of the relation source: text, uuid, integer, numeric, boolean, time or other. For the functions that adopt. Reads only.

For: operators.

Example: SELECT billing.adopted_column('public.users', 'id');$$;

COMMENT ON FUNCTION billing.adopt_balance_rows(text[], bigint[], text) IS $$Opens balances: the writing part of billing.adopt_balances.

targets are named as billing.adoption_target names them, balances are in credits of credit_type.

Answers: for each row, adopted, malformed (too large to add) or remaining. Lists of different lengths and a balance below zero are refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.adopt_balance_rows(ARRAY['person:7'], ARRAY[100]);$$;

COMMENT ON FUNCTION billing.adopt_event_rows(text[], text[], timestamptz[], boolean, bigint) IS $$Keeps Stripe's events as processed: the writing part of billing.adopt_stripe_events.

event_ids, event_types and processed_at are lists of one length; a null time is now. With dry_run nothing is written; at most max_rows are adopted.

Answers: for each row, adopted, already, in_progress, malformed or remaining. Lists of different lengths are refused with SQLSTATE 22023.

For: operators.

Example: SELECT billing.adopt_event_rows(ARRAY['evt_1'], ARRAY['invoice.paid'], ARRAY[now()]);$$;

COMMENT ON FUNCTION billing.adopt_source_rows(text[], boolean, bigint) IS $$Keeps sources as credited: the writing part of billing.adopt_sources.

sources are named as billing.adopt_sources reads them. With dry_run nothing is written; at most max_rows are adopted.

Answers: for each row, adopted, already, malformed or remaining.

For: operators.

Example: SELECT billing.adopt_source_rows(ARRAY['cs_test_1']);$$;

COMMENT ON FUNCTION billing.watch_drops() IS $$Loads the library into this session, and does nothing else.

A session with the library asks before it drops a table of the books; the event trigger billing_rpc_drop_guard calls this, so that every session that drops something has it.

Answers: nothing.

For: operators.

Example: SELECT billing.watch_drops();$$;

COMMENT ON FUNCTION billing.guard_drops() IS $$Event trigger: keeps the books from being dropped while they hold rows.

The function of billing_rpc_drop_guard. It loads the library, which then asks before each table is dropped. Where the library cannot be loaded, because its file is missing or the session still has an older one, it refuses whatever might drop the extension while the ledger, the webhook events or the payments hold rows: DROP EXTENSION, DROP SCHEMA, DROP OWNED and DROP LANGUAGE, with 2BP01. Every drop goes through where billing_rpc.allow_drop is on.$$;

-- Columns of what functions answer, and of views; sequences.

COMMENT ON COLUMN @extschema@.credit_outcome.applied IS 'Whether this call made the change: true exactly when reason is applied.';
COMMENT ON COLUMN @extschema@.credit_outcome.reason IS 'Why it answered so: one of the six values of billing_reason.';
COMMENT ON COLUMN @extschema@.credit_outcome.detail IS 'A stable code that says more, or null; all codes are in the documentation of reasons.';
COMMENT ON COLUMN @extschema@.credit_outcome.entry_id IS 'The entry of the ledger; null where there is none.';
COMMENT ON COLUMN @extschema@.credit_outcome.customer_id IS 'The customer''s own id.';
COMMENT ON COLUMN @extschema@.credit_outcome.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN @extschema@.credit_outcome.credits IS 'Credits of the entry, signed: below zero for a spend.';
COMMENT ON COLUMN @extschema@.credit_outcome.balance IS 'The balance right after that entry, in credits; null where there is no entry.';
COMMENT ON COLUMN @extschema@.credit_outcome.created_at IS 'When the entry was written.';

COMMENT ON COLUMN @extschema@.hold_outcome.applied IS 'Whether this call made the change: true exactly when reason is applied.';
COMMENT ON COLUMN @extschema@.hold_outcome.reason IS 'Why it answered so: one of the six values of billing_reason.';
COMMENT ON COLUMN @extschema@.hold_outcome.detail IS 'A stable code that says more, or null; all codes are in the documentation of reasons.';
COMMENT ON COLUMN @extschema@.hold_outcome.hold_id IS 'Names the hold to capture_hold and release_hold.';
COMMENT ON COLUMN @extschema@.hold_outcome.customer_id IS 'The customer''s own id.';
COMMENT ON COLUMN @extschema@.hold_outcome.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN @extschema@.hold_outcome.status IS 'open, captured, released or expired, as it is now.';
COMMENT ON COLUMN @extschema@.hold_outcome.credits IS 'Credits reserved.';
COMMENT ON COLUMN @extschema@.hold_outcome.captured_credits IS 'Of those, spent by the capture.';
COMMENT ON COLUMN @extschema@.hold_outcome.balance IS 'The customer''s credits of that type now, held ones included.';
COMMENT ON COLUMN @extschema@.hold_outcome.available IS 'Of those, what can be spent now.';
COMMENT ON COLUMN @extschema@.hold_outcome.expires_at IS 'When the hold runs out.';

COMMENT ON COLUMN @extschema@.credit_balance.customer_id IS 'The customer''s own id; null where nobody is known by the identifier.';
COMMENT ON COLUMN @extschema@.credit_balance.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN @extschema@.credit_balance.balance IS 'All credits: held ones, and expired ones that are not written off yet, included.';
COMMENT ON COLUMN @extschema@.credit_balance.held IS 'Of those, reserved by open holds.';
COMMENT ON COLUMN @extschema@.credit_balance.available IS 'Of those, what can be spent now.';
COMMENT ON COLUMN @extschema@.credit_balance.next_expiry_at IS 'When the next credits run out; null if none do.';
COMMENT ON COLUMN @extschema@.credit_balance.next_expiry_credits IS 'How many run out then.';

COMMENT ON COLUMN @extschema@.credit_entry.entry_id IS 'Number of the entry; hand it in as before_entry_id to get what came before.';
COMMENT ON COLUMN @extschema@.credit_entry.kind IS 'purchase, grant, spend, reversal, expiry, capture or adjustment.';
COMMENT ON COLUMN @extschema@.credit_entry.credits IS 'Signed: what the entry adds to the balance.';
COMMENT ON COLUMN @extschema@.credit_entry.balance IS 'The balance right after the entry, in credits.';
COMMENT ON COLUMN @extschema@.credit_entry.credit_type IS 'Name of the kind of credits.';
COMMENT ON COLUMN @extschema@.credit_entry.reverses IS 'The entry that this one undoes, in whole or in part; else null.';
COMMENT ON COLUMN @extschema@.credit_entry.source_ref IS 'What was paid for: stripe:cs_..., stripe:pi_..., paystack:<reference>; null where nothing was.';
COMMENT ON COLUMN @extschema@.credit_entry.idempotency_key IS 'The caller''s key, or one derived here (billing_rpc:...).';
COMMENT ON COLUMN @extschema@.credit_entry.metadata IS 'The caller''s JSON object.';
COMMENT ON COLUMN @extschema@.credit_entry.created_at IS 'When the entry was written.';

COMMENT ON COLUMN @extschema@.payment_outcome.applied IS 'Whether this call made the change: true exactly when reason is applied.';
COMMENT ON COLUMN @extschema@.payment_outcome.reason IS 'Why it answered so: one of the six values of billing_reason.';
COMMENT ON COLUMN @extschema@.payment_outcome.detail IS 'A stable code that says more, or null; all codes are in the documentation of reasons.';
COMMENT ON COLUMN @extschema@.payment_outcome.reference IS 'The provider''s reference of the payment.';
COMMENT ON COLUMN @extschema@.payment_outcome.status IS 'pending, success or failed, as it is now.';
COMMENT ON COLUMN @extschema@.payment_outcome.customer_id IS 'The customer''s own id.';
COMMENT ON COLUMN @extschema@.payment_outcome.plan IS 'Name of the plan that is paid for.';
COMMENT ON COLUMN @extschema@.payment_outcome.amount_minor IS 'What is to be paid, in minor units of the currency.';
COMMENT ON COLUMN @extschema@.payment_outcome.currency IS 'ISO 4217, lower case.';
COMMENT ON COLUMN @extschema@.payment_outcome.paid_at IS 'When the provider says that it was paid.';
COMMENT ON COLUMN @extschema@.payment_outcome.subscription_end IS 'Until when the customer has paid for the plan.';
COMMENT ON COLUMN @extschema@.payment_outcome.branches IS 'How many branch subscriptions the payment has: 0 until it is paid.';

COMMENT ON COLUMN @extschema@.user_resolution.found IS 'Whether a customer is known by the identifier.';
COMMENT ON COLUMN @extschema@.user_resolution.kind IS 'blank, placeholder, stripe_customer, paystack_customer, uuid, integer, email, external or malformed.';
COMMENT ON COLUMN @extschema@.user_resolution.customer_id IS 'The customer''s own id.';
COMMENT ON COLUMN @extschema@.user_resolution.user_id IS 'The application''s id of the user, where it is a uuid.';
COMMENT ON COLUMN @extschema@.user_resolution.email IS 'The customer''s e-mail address, lower-cased.';
COMMENT ON COLUMN @extschema@.user_resolution.detail IS 'Why nobody was found, as a stable code; else null.';

COMMENT ON COLUMN @extschema@.identity_outcome.applied IS 'Whether this call made the change: true exactly when reason is applied.';
COMMENT ON COLUMN @extschema@.identity_outcome.reason IS 'Why it answered so: one of the six values of billing_reason.';
COMMENT ON COLUMN @extschema@.identity_outcome.detail IS 'A stable code that says more, or null; all codes are in the documentation of reasons.';
COMMENT ON COLUMN @extschema@.identity_outcome.customer_id IS 'The customer''s own id.';
COMMENT ON COLUMN @extschema@.identity_outcome.user_id IS 'The application''s id of the user, where it is a uuid.';
COMMENT ON COLUMN @extschema@.identity_outcome.email IS 'The e-mail address, lower-cased.';
COMMENT ON COLUMN @extschema@.identity_outcome.legacy_id IS 'The application''s id of the user, where it is an integer.';
COMMENT ON COLUMN @extschema@.identity_outcome.stripe_customer_id IS 'The first cus_...; further ones are aliases.';
COMMENT ON COLUMN @extschema@.identity_outcome.paystack_customer_code IS 'The first CUS_...; further ones are aliases.';
COMMENT ON COLUMN @extschema@.identity_outcome.external_id IS 'The application''s id of the user, where it is other text.';

COMMENT ON COLUMN @extschema@.event_outcome.applied IS 'Whether this call made the change: true exactly when reason is applied.';
COMMENT ON COLUMN @extschema@.event_outcome.reason IS 'Why it answered so: one of the six values of billing_reason.';
COMMENT ON COLUMN @extschema@.event_outcome.detail IS 'A stable code that says more, or null; all codes are in the documentation of reasons.';
COMMENT ON COLUMN @extschema@.event_outcome.provider IS 'stripe, paystack, or the name that the application claims its events by.';
COMMENT ON COLUMN @extschema@.event_outcome.event_id IS 'The provider''s id of the event; of Paystack''s, one put together here.';
COMMENT ON COLUMN @extschema@.event_outcome.event_type IS 'The provider''s name of what happened.';
COMMENT ON COLUMN @extschema@.event_outcome.status IS 'recorded, processing, completed, failed or dead, as it is now.';
COMMENT ON COLUMN @extschema@.event_outcome.attempts IS 'How often processing has begun.';
COMMENT ON COLUMN @extschema@.event_outcome.claim_token IS 'For who holds the claim, to complete or fail it; else null.';
COMMENT ON COLUMN @extschema@.event_outcome.lease_until IS 'When the claim runs out.';
COMMENT ON COLUMN @extschema@.event_outcome.result IS 'What the event was completed with.';

COMMENT ON COLUMN @extschema@.signature_verdict.valid IS 'Whether the body is authentic; never null.';
COMMENT ON COLUMN @extschema@.signature_verdict.detail IS 'Null, or why not: secret_missing, tolerance_invalid, signature_missing, signature_malformed, signature_mismatch, signature_expired.';
COMMENT ON COLUMN @extschema@.signature_verdict.signed_at IS 'When Stripe signed it, once a signature matched; Paystack does not say.';

COMMENT ON COLUMN @extschema@.subscription_outcome.applied IS 'Whether this call made the change: true exactly when reason is applied.';
COMMENT ON COLUMN @extschema@.subscription_outcome.reason IS 'Why it answered so: one of the six values of billing_reason.';
COMMENT ON COLUMN @extschema@.subscription_outcome.detail IS 'A stable code that says more, or null; all codes are in the documentation of reasons.';
COMMENT ON COLUMN @extschema@.subscription_outcome.provider IS 'stripe or paystack.';
COMMENT ON COLUMN @extschema@.subscription_outcome.subscription_id IS 'The provider''s id of the subscription.';
COMMENT ON COLUMN @extschema@.subscription_outcome.customer_id IS 'The customer''s own id; null while nobody here has its provider code.';
COMMENT ON COLUMN @extschema@.subscription_outcome.previous_status IS 'The status before this call; null if it was not known.';
COMMENT ON COLUMN @extschema@.subscription_outcome.status IS 'The status after this call.';
COMMENT ON COLUMN @extschema@.subscription_outcome.current_period_end IS 'When the period that is paid for ends.';
COMMENT ON COLUMN @extschema@.subscription_outcome.cancel_at_period_end IS 'Whether it ends then.';

COMMENT ON COLUMN @extschema@.subscription_state.provider IS 'stripe or paystack.';
COMMENT ON COLUMN @extschema@.subscription_state.subscription_id IS 'The provider''s id of the subscription.';
COMMENT ON COLUMN @extschema@.subscription_state.customer_id IS 'The customer''s own id.';
COMMENT ON COLUMN @extschema@.subscription_state.plan IS 'Name of the plan that its price stands for; null if none does.';
COMMENT ON COLUMN @extschema@.subscription_state.status IS 'incomplete, trialing, active, past_due, unpaid, paused, canceled or incomplete_expired.';
COMMENT ON COLUMN @extschema@.subscription_state.quantity IS 'How many of the price are subscribed to.';
COMMENT ON COLUMN @extschema@.subscription_state.current_period_end IS 'When the period that is paid for ends.';
COMMENT ON COLUMN @extschema@.subscription_state.cancel_at_period_end IS 'Whether it ends then.';
COMMENT ON COLUMN @extschema@.subscription_state.trial_end IS 'When the trial ends or ended; null without one.';
COMMENT ON COLUMN @extschema@.subscription_state.active IS 'Whether it can be used now: status active or trialing, and its end, if one is set, still ahead.';

COMMENT ON COLUMN @extschema@.refetch_request.object_type IS 'What is to be fetched: subscription.';
COMMENT ON COLUMN @extschema@.refetch_request.object_id IS 'The provider''s id of the object to fetch.';
COMMENT ON COLUMN @extschema@.refetch_request.requested_reason IS 'Why the truth is wanted, as a stable code.';
COMMENT ON COLUMN @extschema@.refetch_request.requested_at IS 'When it was asked for.';

COMMENT ON COLUMN billing.webhook_secret_list.secret_id IS 'Names the secret to billing.retire_webhook_secret.';
COMMENT ON COLUMN billing.webhook_secret_list.provider IS 'stripe or paystack.';
COMMENT ON COLUMN billing.webhook_secret_list.created_at IS 'When it was added.';
COMMENT ON COLUMN billing.webhook_secret_list.valid_until IS 'When it ends; null: until it is retired.';
COMMENT ON COLUMN billing.webhook_secret_list.vault_name IS 'The name of the secret in Supabase Vault that is read instead; null for one that is kept here.';

COMMENT ON SEQUENCE billing.ledger_entry_id_seq IS 'Numbers the entries of the ledger.';
COMMENT ON SEQUENCE billing.lots_lot_id_seq IS 'Numbers the lots.';
COMMENT ON SEQUENCE billing.payments_payment_id_seq IS 'Numbers the subscription payments.';
COMMENT ON SEQUENCE billing.webhook_secrets_secret_id_seq IS 'Numbers the webhook secrets.';

-- Columns whose first comments, of 0.1.0, said too little: an upgrade says what an install says.
COMMENT ON COLUMN billing.lot_uses.entry_id IS 'The entry, a spend or capture, that took credits of the lot.';
COMMENT ON COLUMN billing.lot_uses.lot_id IS 'The lot that they were taken of.';
COMMENT ON COLUMN billing.lot_uses.credits IS 'How many credits it took.';
COMMENT ON COLUMN billing.hold_lots.hold_id IS 'The hold that reserves credits of the lot.';
COMMENT ON COLUMN billing.hold_lots.lot_id IS 'The lot that they are reserved of.';
COMMENT ON COLUMN billing.credit_totals.in_lots IS 'Of all balances, the credits that are in lots.';
COMMENT ON COLUMN billing.pack_prices.pack IS 'Name of the pack that costs this.';
COMMENT ON COLUMN billing.payments.customer_id IS 'The customer who pays.';
COMMENT ON COLUMN billing.payments.payment_id IS 'Number of the payment here; the provider knows it by its reference.';
COMMENT ON COLUMN billing.payments.plan IS 'Name of the plan that is paid for.';
COMMENT ON COLUMN billing.branch_subscriptions.payment_id IS 'The payment that pays for the branch.';
COMMENT ON COLUMN billing.plans.plan IS 'Name of the plan, as start_subscription_payment takes it.';
COMMENT ON COLUMN billing.subscriptions.current_period_end IS 'End of the present period.';
COMMENT ON COLUMN billing.refetch_queue.object_type IS 'What is to be fetched: subscription.';
COMMENT ON COLUMN billing.webhook_events.claim_token IS 'Token of the last claim: whoever has it completes or fails the event.';
COMMENT ON COLUMN billing.webhook_events.attempts IS 'How often the event was claimed or processed.';
COMMENT ON COLUMN billing.allowed_accounts.account_id IS 'Stripe''s id of the connected account, acct_....';
COMMENT ON COLUMN billing.event_status_counts.provider IS 'stripe, paystack, or the name that an application claims its events by.';
COMMENT ON COLUMN billing.event_status_counts.events IS 'How many events of that provider have that status.';
COMMENT ON COLUMN billing.failed_events.provider IS 'stripe, paystack, or the name that an application claims its events by.';
COMMENT ON COLUMN billing.failed_events.event_id IS 'The provider''s id of the event.';
COMMENT ON COLUMN billing.failed_events.event_type IS 'The provider''s name of what happened.';
COMMENT ON COLUMN billing.failed_events.status IS 'failed (to be tried again) or dead (given up).';
COMMENT ON COLUMN billing.failed_events.attempts IS 'How often the event was claimed or processed.';
COMMENT ON COLUMN billing.stuck_events.provider IS 'stripe, paystack, or the name that an application claims its events by.';
COMMENT ON COLUMN billing.stuck_events.event_id IS 'The provider''s id of the event.';
COMMENT ON COLUMN billing.stuck_events.event_type IS 'The provider''s name of what happened.';
COMMENT ON COLUMN billing.stuck_events.attempts IS 'How often the event was claimed or processed.';
COMMENT ON COLUMN billing.stripe_events.event_id IS 'Stripe''s id of the event, evt_....';
COMMENT ON COLUMN billing.stripe_events.event_type IS 'Stripe''s name of what happened.';

-- The group roles belong to the cluster: a comment that somebody gave one stays.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT r.oid, r.rolname, wanted.says
        FROM (VALUES
            ('billing_owner', 'Owns what billing_rpc makes, and runs its functions. For nobody to be a member of.'),
            ('billing_service', 'May call every client function of billing_rpc, for any customer: for backends.'),
            ('billing_webhook', 'May call the webhook endpoints of billing_rpc, and nothing else.'),
            ('billing_user', 'May ask billing_rpc about themselves: for signed-in end users.'),
            ('billing_monitor', 'May read how billing_rpc is doing: its views and reports, no secret, no webhook body.')
        ) AS wanted (role_name, says)
        JOIN pg_catalog.pg_roles r ON r.rolname = wanted.role_name
    LOOP
        IF pg_catalog.shobj_description(described.oid, 'pg_authid') IS NULL THEN
            BEGIN
                EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', described.rolname, described.says);
            EXCEPTION WHEN unique_violation THEN
                NULL; -- an install into another database has said it meanwhile
            END;
        END IF;
    END LOOP;
END
$$;

SET LOCAL search_path TO @extschema@, pg_temp;
