//! What only a backend can see: savepoints, planner switches, and answers of Postgres itself that the core
//! must agree with.

#[pgrx::pg_schema]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use billing_core::credits::Money;
    use billing_core::customers::parse_uuid;
    use billing_core::interval::Interval;
    use billing_core::outcome::{Detail, Reason};
    use billing_core::plans::{IntervalUnit, Plan};
    use pgrx::prelude::*;
    use pgrx::{Uuid, pg_sys};

    use crate::error::Error;
    use crate::pg::{self, Ended};
    use crate::{packs, payments, plans};

    fn rows() -> i64 {
        Spi::get_one("SELECT count(*) FROM savepoint_test").unwrap().unwrap()
    }

    fn savepoint(body: &str) -> Ended<(), ()> {
        pg::savepoint(pg::Errors::Answered, || {
            Spi::run("INSERT INTO savepoint_test VALUES (1)").unwrap();
            Spi::run(body).unwrap();
            Ok(Ok(()))
        })
        .unwrap()
    }

    /// Purchases, spends, holds, replays, deliveries and reads, each once.
    const HOT_CALLS: &str = "SELECT apply_credit_purchase('7', 100, 'p', stripe_session_id => 'cs_1', amount_minor => 1, currency => 'eur');
        SELECT apply_credit_purchase('7', 100, 'p', stripe_session_id => 'cs_1', amount_minor => 1, currency => 'eur');
        SELECT apply_credit_purchase('7', 100, 'i', source_ref => 'stripe:pi_1');
        SELECT spend_credits('7', 1, 's');
        SELECT hold_credits('7', 1, 'h');
        SELECT spend_credits('7', 1, 't');
        SELECT apply_credit_batch('[{\"op\": \"spend\", \"user_id\": \"7\", \"credits\": 1, \"idempotency_key\": \"b\"}]');
        SELECT credit_balance('7'), resolve_billing_user('cus_1'), resolve_billing_user('7');
        SELECT process_stripe_webhook(b, billing.sign_stripe_payload(b, 'whsec_example')) FROM (VALUES
            ('{\"id\":\"evt_1\",\"type\":\"checkout.session.completed\",\"data\":{\"object\":{\"id\":\"cs_2\",\"mode\":\"payment\",\"payment_status\":\"paid\",\"payment_intent\":\"pi_2\",\"amount_total\":1,\"currency\":\"eur\",\"customer\":\"cus_1\",\"metadata\":{\"user_id\":\"7\",\"credits\":\"5\"}}}}'),
            ('{\"id\":\"evt_2\",\"type\":\"price.updated\",\"data\":{\"object\":{}}}'),
            ('{\"id\":\"evt_1\",\"type\":\"checkout.session.completed\",\"data\":{\"object\":{}}}')) AS bodies (b);
        SELECT claim_stripe_event('evt_3', 'x');
        SELECT complete_stripe_event('evt_3', claim_token) FROM billing.webhook_events WHERE event_id = 'evt_3';";

    #[pg_test]
    fn the_hot_calls_are_done_without_the_executor() {
        Spi::run("SELECT billing.add_webhook_secret('stripe', 'whsec_example')").unwrap();
        Spi::run("SELECT register_billing_user(legacy_id => 7)").unwrap();
        pg::left_to_executor();
        Spi::run(HOT_CALLS).unwrap();
        assert_eq!(pg::left_to_executor(), Vec::<&str>::new());
        let applied = "SELECT count(*) FROM billing.webhook_events WHERE result ->> 'reason' = 'applied' AND status = 'completed'";
        assert_eq!(Spi::get_one::<i64>(applied).unwrap(), Some(1));
        assert_eq!(Spi::get_one::<i64>("SELECT count(*) FROM billing.ledger").unwrap(), Some(6));
    }

    #[pg_test]
    fn a_table_that_asks_for_more_is_left_to_the_executor() {
        let left = |ddl: &str, undo: &str| {
            Spi::run(ddl).unwrap();
            pg::left_to_executor();
            Spi::run("SELECT grant_credits('7', 1, gen_random_uuid()::text)").unwrap();
            let left = pg::left_to_executor();
            Spi::run(undo).unwrap();
            left.iter().filter(|sql| sql.starts_with("INSERT INTO billing.ledger")).count()
        };
        Spi::run("SELECT grant_credits('7', 1, 'first')").unwrap();
        assert_eq!(left("SELECT 1", "SELECT 1"), 0);
        for (ddl, undo) in [
            ("CREATE INDEX extra ON billing.ledger USING hash (kind)", "DROP INDEX billing.extra"),
            ("CREATE INDEX extra ON billing.ledger (lower(kind))", "DROP INDEX billing.extra"),
            ("CREATE INDEX extra ON billing.ledger (kind) WHERE credits > 5", "DROP INDEX billing.extra"),
            (
                "ALTER TABLE billing.ledger ADD CONSTRAINT extra CHECK (credits <> 0)",
                "ALTER TABLE billing.ledger DROP CONSTRAINT extra",
            ),
            (
                "ALTER TABLE billing.ledger ADD COLUMN extra int DEFAULT 1",
                "ALTER TABLE billing.ledger DROP COLUMN extra",
            ),
            (
                "CREATE FUNCTION extra() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                 CREATE TRIGGER extra AFTER INSERT ON billing.ledger EXECUTE FUNCTION extra()",
                "DROP TRIGGER extra ON billing.ledger",
            ),
        ] {
            assert_eq!(left(ddl, undo), 1, "{ddl}");
            assert_eq!(left("SELECT 1", "SELECT 1"), 0, "after {undo}");
        }
        // What asks for nothing more.
        assert_eq!(
            left(
                "CREATE INDEX extra ON billing.ledger (kind, credits) WHERE reverses IS NULL",
                "DROP INDEX billing.extra"
            ),
            0
        );
    }

    #[pg_test]
    fn only_the_simplest_statements_have_a_shape() {
        use crate::pg::shape::{Deed, Shape};
        let shape = Shape::of("SELECT a, b FROM billing.t\n  WHERE c = $1 AND d = $2 FOR UPDATE").unwrap();
        assert_eq!((shape.table.as_c_str(), shape.answer.len()), (c"t", 2));
        assert_eq!(shape.deed, Deed::Find { keys: vec![c"c".into(), c"d".into()], lock: true });
        let insert = "INSERT INTO billing.t (a, b) VALUES ($1, $2) ON CONFLICT (a) DO NOTHING RETURNING a";
        assert_eq!(Shape::of(insert).unwrap().deed, Deed::Insert { columns: vec![c"a".into(), c"b".into()] });
        let update = Shape::of("UPDATE billing.t SET a = $2 WHERE c = $1 AND a = $3 RETURNING a").unwrap();
        let expected =
            Deed::Update { set: vec![(c"a".into(), 1)], when: vec![(c"c".into(), 0), (c"a".into(), 2)] };
        assert_eq!(update.deed, expected);
        for sql in [
            "SELECT a FROM other.t WHERE c = $1",
            "SELECT a FROM billing.t WHERE c = $2",
            "SELECT a FROM billing.t WHERE c = $1 OR d = $2",
            "SELECT a FROM billing.t WHERE c > $1",
            "SELECT a FROM billing.t WHERE c = $1 LIMIT 1",
            "SELECT a::text FROM billing.t WHERE c = $1",
            "SELECT a FROM billing.t t WHERE c = $1",
            "SELECT a FROM billing.t WHERE c = $1 FOR UPDATE SKIP LOCKED",
            "INSERT INTO billing.t (a) VALUES (1) ON CONFLICT DO NOTHING RETURNING a",
            "INSERT INTO billing.t (a, b) VALUES ($2, $1) ON CONFLICT DO NOTHING RETURNING a",
            "INSERT INTO billing.t (a, b) VALUES ($1) ON CONFLICT DO NOTHING RETURNING a",
            "INSERT INTO billing.t (a) VALUES ($1) RETURNING a",
            "INSERT INTO billing.t (a) VALUES ($1) ON CONFLICT DO UPDATE SET a = $1 RETURNING a",
            "UPDATE billing.t SET a = a + 1 WHERE c = $1 RETURNING a",
            "UPDATE billing.t SET a = $2 WHERE c = $1",
            "DELETE FROM billing.t WHERE c = $1",
        ] {
            assert_eq!(Shape::of(sql), None, "{sql}");
        }
    }

    #[pg_test]
    fn a_savepoint_keeps_what_is_done_and_undoes_the_rest() {
        Spi::run("CREATE TEMP TABLE savepoint_test (n int)").unwrap();
        assert!(matches!(savepoint("SELECT 1"), Ended::Done(())));
        assert_eq!(rows(), 1);
        let refused = pg::savepoint(pg::Errors::Answered, || {
            Spi::run("INSERT INTO savepoint_test VALUES (2)").unwrap();
            Ok(Err::<(), _>("no"))
        });
        assert!(matches!(refused, Ok(Ended::Refused("no"))));
        assert_eq!(rows(), 1);
        assert!(matches!(savepoint("SELECT 1/0"), Ended::Error(state) if state == "22012"));
        assert_eq!(rows(), 1, "and the transaction goes on");
        let broken = pg::savepoint(pg::Errors::Answered, || Err::<Result<(), ()>, _>(Error::BrokenInvariant));
        assert_eq!(broken.err(), Some(Error::BrokenInvariant));
    }

    #[pg_test(error = "try again")]
    fn a_savepoint_lets_through_what_a_caller_should_retry() {
        Spi::run("CREATE TEMP TABLE savepoint_test (n int)").unwrap();
        savepoint("DO $$ BEGIN RAISE EXCEPTION 'try again' USING ERRCODE = 'serialization_failure'; END $$");
    }

    #[pg_test(error = "not now")]
    fn a_savepoint_lets_through_a_lock_timeout_of_the_caller() {
        Spi::run("CREATE TEMP TABLE savepoint_test (n int)").unwrap();
        savepoint("DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'lock_not_available'; END $$");
    }

    #[pg_test]
    fn a_lock_that_is_not_free_is_answered_where_that_was_asked_for() {
        let busy = pg::savepoint::<(), ()>(pg::Errors::OfOneEventOrBusy, || {
            pg::only_free_locks(|| {
                Spi::run("DO $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = 'lock_not_available'; END $$")
                    .unwrap();
            });
            Ok(Ok(()))
        });
        assert!(matches!(busy, Ok(Ended::Busy)));
        let timeout: Option<String> = Spi::get_one("SHOW lock_timeout").unwrap();
        assert_eq!(timeout.as_deref(), Some("0"));
        // SAFETY: a plain variable of this single-threaded backend.
        assert_eq!(unsafe { pg_sys::LockTimeout }, 0, "also after an error");
    }

    #[pg_test]
    fn the_planner_is_as_before_after_a_call_and_after_an_error() {
        // SAFETY: plain variables of this single-threaded backend.
        let switches =
            || unsafe { (pg_sys::enable_seqscan, pg_sys::enable_hashjoin, pg_sys::plan_cache_mode) };
        let before = switches();
        pg::write(|_| {
            assert_ne!(switches(), before);
            Ok(())
        })
        .unwrap();
        assert_eq!(switches(), before);
        let failed = pg::savepoint::<(), ()>(pg::Errors::Answered, || {
            pg::write(|_| {
                Spi::run("SELECT 1/0").unwrap();
                Ok(())
            })?;
            Ok(Ok(()))
        });
        assert!(matches!(failed, Ok(Ended::Error(_))));
        assert_eq!(switches(), before);
    }

    #[pg_test]
    fn uuids_are_read_as_postgres_reads_them() {
        let forms = [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0e-ebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "{}",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ];
        Spi::run(
            "CREATE FUNCTION pg_temp.read_uuid(t text) RETURNS uuid LANGUAGE plpgsql AS
             $$ BEGIN RETURN t::uuid; EXCEPTION WHEN invalid_text_representation THEN RETURN NULL; END $$",
        )
        .unwrap();
        for form in forms {
            let theirs: Option<Uuid> =
                Spi::get_one_with_args("SELECT pg_temp.read_uuid($1)", &[form.into()]).unwrap();
            assert_eq!(parse_uuid(form), theirs.map(|uuid| *uuid.as_bytes()), "{form}");
        }
    }

    #[pg_test]
    fn times_are_counted_as_postgres_counts_them() {
        for unix in [0, 946_684_800, -1, 1_700_000_000, 253_402_300_799] {
            let theirs: Option<TimestampWithTimeZone> =
                Spi::get_one_with_args("SELECT to_timestamp($1::float8)", &[(unix as f64).into()]).unwrap();
            let ours = pg::Time::of_unix(unix).unwrap();
            assert_eq!(ours.timestamp(), theirs, "{unix}");
            assert_eq!(ours.unix(), unix);
        }
        assert_eq!(pg::Time::of_unix(i64::MAX), None);
        assert_eq!(pg::Time::of(TimestampWithTimeZone::positive_infinity()).unix(), i64::MAX);
    }

    fn bought(paid: i64, currency: &str, at: &str) -> Result<(i64, String), Detail> {
        let at: Option<TimestampWithTimeZone> =
            Spi::get_one_with_args("SELECT $1::timestamptz", &[at.into()]).unwrap();
        let paid = Money { amount_minor: paid, currency: currency.to_owned() };
        pg::write(|client| packs::price(client, "starter", &paid, at.map(pg::Time::of)))
            .unwrap()
            .map(|bought| (bought.credits, bought.credit_type))
    }

    #[pg_test]
    fn a_payment_buys_by_the_price_of_its_time() {
        Spi::run(
            "SELECT billing.define_pack('starter', 100, 900, 'eur');
             SELECT billing.define_pack('starter', 100, 1000, 'usd', 'credits');
             INSERT INTO billing.pack_prices VALUES ('2026-03-01 12:00:00+00', 1200, 'starter', 'eur');
             INSERT INTO billing.packs VALUES ('2026-03-02 12:00:00+00', NULL, 110, 'starter', 'gold');",
        )
        .unwrap();
        let credits = |credits, credit_type: &str| Ok((credits, credit_type.to_owned()));
        assert_eq!(
            bought(1_800, "eur", "-infinity"),
            credits(200, "credits"),
            "the first price is from ever"
        );
        assert_eq!(bought(900, "eur", "2026-03-01 11:59:59+00"), credits(100, "credits"));
        assert_eq!(bought(900, "eur", "2026-03-01 12:00:00+00"), Err(Detail::AmountMismatch));
        assert_eq!(bought(1_200, "eur", "2026-03-01 12:00:00+00"), credits(100, "credits"));
        assert_eq!(bought(1_200, "eur", "2026-03-02 12:00:00+00"), credits(110, "gold"));
        assert_eq!(
            bought(1_000, "usd", "2026-03-02 12:00:00+00"),
            credits(110, "gold"),
            "whatever the currency"
        );
        assert_eq!(bought(1_000, "ngn", "2026-03-02 12:00:00+00"), Err(Detail::CurrencyMismatch));
        assert_eq!(bought(0, "usd", "infinity"), Err(Detail::AmountMismatch));
        let unknown = pg::write(|client| {
            packs::price(client, "unheard of", &Money { amount_minor: 900, currency: "eur".to_owned() }, None)
        });
        assert_eq!(unknown, Ok(Err(Detail::UnknownPack)));
    }

    #[pg_test]
    fn a_packs_credits_expire_by_the_calendar_from_now() {
        Spi::run("SELECT billing.define_pack('starter', 100, 900, 'eur', expires_after => '100 years')")
            .unwrap();
        let paid = Money { amount_minor: 900, currency: "eur".to_owned() };
        let bought = pg::write(|client| packs::price(client, "starter", &paid, None)).unwrap().unwrap();
        let (bought, expires_at) = (bought.credits, bought.expires_at.and_then(pg::Time::timestamp));
        assert_eq!(bought, 100);
        let in_a_century: Option<bool> = Spi::get_one_with_args(
            "SELECT $1 AT TIME ZONE 'UTC' BETWEEN (now() AT TIME ZONE 'UTC') + interval '100 years'
                 AND (clock_timestamp() AT TIME ZONE 'UTC') + interval '100 years'",
            &[expires_at.into()],
        )
        .unwrap();
        assert_eq!(in_a_century, Some(true));
    }

    #[pg_test]
    fn plans_are_found_by_name_and_by_price_id() {
        Spi::run(
            "SELECT billing.define_plan('pro', 5000, 'NGN', 'month', 3, '{price_1,PLN_1}', 500, false, '1 mon 2 days 3 hours',
                                        'gold', true)",
        )
        .unwrap();
        let expected = Plan {
            plan: "pro".to_owned(),
            price: Money { amount_minor: 5_000, currency: "ngn".to_owned() },
            interval_unit: IntervalUnit::Month,
            interval_count: 3,
            credits_per_period: 500,
            credits_expire: false,
            credits_grace: Interval { months: 1, days: 2, micros: 3 * 3_600_000_000 },
            credit_type: "gold".to_owned(),
            per_branch: true,
        };
        let found = pg::write(|client| {
            Ok([
                plans::by_name(client, "pro")?,
                plans::by_price(client, "price_1")?,
                plans::by_price(client, "PLN_1")?,
            ])
        });
        assert_eq!(found, Ok([Some(expected.clone()), Some(expected.clone()), Some(expected)]));
        let lost = pg::read(|client| Ok([plans::by_name(client, "Pro")?, plans::by_price(client, "pro")?]));
        assert_eq!(lost, Ok([None, None]));
    }

    #[pg_test]
    fn an_event_verifies_a_payment_as_a_call_does() {
        Spi::run(
            "SELECT billing.define_plan('pro', 5000, 'ngn', 'month');
             SELECT start_subscription_payment('ref-1', '7', 'pro', 5000, 'ngn');
             SELECT start_subscription_payment('ref-2', '7', 'pro', 5000, 'ngn');
             SELECT start_subscription_payment('ref-3', '8', 'pro', 5000, 'ngn');",
        )
        .unwrap();
        let now = pg::now();
        let says = |reference: &str, amount: i64, currency: &str| {
            pg::write(|client| payments::verify_from_event(client, reference, amount, currency, Some(now)))
                .unwrap()
                .map(|outcome| (outcome.reason, outcome.detail))
        };
        assert_eq!(says("ref-unheard", 5_000, "ngn"), None);
        assert_eq!(says("ref-1", 4_999, "ngn"), Some((Reason::Invalid, Some(Detail::AmountMismatch))));
        assert_eq!(says("ref-1", 5_000, "usd"), Some((Reason::Invalid, Some(Detail::CurrencyMismatch))));
        assert_eq!(says("ref-1", 5_000, "naira"), Some((Reason::Invalid, Some(Detail::CurrencyInvalid))));
        assert_eq!(says("ref-1", 5_000, "NGN"), Some((Reason::Applied, None)));
        assert_eq!(says("ref-1", 1, "usd"), Some((Reason::Replay, None)));
        let paid_at: Option<TimestampWithTimeZone> =
            Spi::get_one("SELECT paid_at FROM subscription_payment_status('ref-1')").unwrap();
        assert_eq!(paid_at, now.timestamp());
    }

    #[pg_test]
    fn running_payments_are_the_verified_ones_whose_end_lies_ahead() {
        Spi::run(
            "SELECT billing.define_plan('pro', 5000, 'ngn', 'month');
             SELECT billing.define_plan('yearly', 50000, 'ngn', 'year');
             SELECT start_subscription_payment('month-1', '7', 'pro', 5000, 'ngn');
             SELECT start_subscription_payment('month-2', '7', 'pro', 5000, 'ngn');
             SELECT start_subscription_payment('year-1', '7', 'yearly', 50000, 'ngn');
             SELECT start_subscription_payment('pending', '7', 'pro', 5000, 'ngn');
             SELECT start_subscription_payment('other', '8', 'pro', 5000, 'ngn');
             SELECT verify_subscription_payment(reference, 'success', amount, 'ngn')
             FROM (VALUES ('month-1', 5000), ('month-2', 5000), ('year-1', 50000), ('other', 5000)) paid (reference, amount);",
        )
        .unwrap();
        let customer: Option<Uuid> =
            Spi::get_one("SELECT customer_id FROM billing.customers WHERE legacy_id = 7").unwrap();
        let customer = *customer.unwrap().as_bytes();
        let days = |days: i64| pg::now().plus_seconds(days * 86_400);
        let at = |time| pg::read(|client| payments::running(client, customer, time)).unwrap();
        let names = |time| at(time).into_iter().map(|running| running.reference).collect::<Vec<_>>();
        assert_eq!(names(pg::now()), ["year-1", "month-2", "month-1"], "the latest end first");
        assert_eq!(names(days(40)), ["year-1", "month-2"]);
        assert_eq!(names(days(90)), ["year-1"]);
        assert!(names(days(400)).is_empty());
        let year = at(days(90)).pop().unwrap();
        assert_eq!(year.plan, "yearly");
        assert_eq!(names(year.subscription_end), Vec::<String>::new(), "the end itself is not ahead");
    }

    #[pg_test]
    fn periods_end_by_the_calendar_in_utc_whatever_the_session_says() {
        Spi::run("SET LOCAL timezone = 'America/New_York'").unwrap();
        for (from, months, days, to) in [
            ("2026-01-31 10:00:00+00", 1, 0, Some("2026-02-28 10:00:00+00")),
            ("2028-01-31 10:00:00+00", 1, 0, Some("2028-02-29 10:00:00+00")),
            ("2028-02-29 00:00:00+00", 12, 0, Some("2029-02-28 00:00:00+00")),
            // Across the hour that New York leaves out, and before its midnight.
            ("2026-03-08 02:30:00+00", 0, 1, Some("2026-03-09 02:30:00+00")),
            ("2026-01-01 00:30:00+00", 1, 0, Some("2026-02-01 00:30:00+00")),
            ("289999-12-31 00:00:00+00", 1_200, 0, Some("290099-12-31 00:00:00+00")),
            ("290000-01-01 00:00:00+00", 0, 1, None),
            ("infinity", 0, 1, None),
            ("-infinity", 0, 1, None),
        ] {
            let [from, to]: [Option<TimestampWithTimeZone>; 2] = [Some(from), to]
                .map(|at| Spi::get_one_with_args("SELECT $1::timestamptz", &[at.into()]).unwrap());
            let interval = Interval { months, days, micros: 0 };
            let after = pg::write(|client| plans::after(client, pg::Time::of(from.unwrap()), interval));
            assert_eq!(after.unwrap().and_then(pg::Time::timestamp), to, "{from:?}");
        }
    }

    #[pg_test]
    fn the_install_refuses_over_every_name_that_it_makes() {
        let bootstrap = include_str!("../sql/bootstrap.sql");
        let names: Option<Vec<String>> = Spi::get_one(
            "SELECT array_agg(DISTINCT name::text) FROM (
                 SELECT p.proname AS name FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
                 WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
                     AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc')
                     AND p.pronamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'billing_rpc')
                 UNION ALL
                 SELECT t.typname FROM pg_depend d JOIN pg_type t ON t.oid = d.objid
                 WHERE d.classid = 'pg_type'::regclass AND d.deptype = 'e' AND t.typtype IN ('c', 'e')
                     AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'billing_rpc')
                     AND t.typnamespace = (SELECT extnamespace FROM pg_extension WHERE extname = 'billing_rpc')
             ) made",
        )
        .unwrap();
        let names = names.unwrap();
        assert!(names.len() > 20);
        for name in names {
            assert!(bootstrap.contains(&format!("'{name}'")), "{name} is missing in sql/bootstrap.sql");
        }
    }
}
