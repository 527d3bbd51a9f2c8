//! What only a backend can see: savepoints, planner switches, and answers of Postgres itself that the core
//! must agree with.

#[pgrx::pg_schema]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use billing_core::customers::parse_uuid;
    use pgrx::prelude::*;
    use pgrx::{Uuid, pg_sys};

    use crate::error::Error;
    use crate::pg::{self, Ended};

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
        let busy = pg::savepoint::<(), ()>(pg::Errors::AnsweredAndBusy, || {
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
