//! All unsafe code of the extension, `heap` included. Each block says why it is sound.

pub mod heap;

use std::ffi::{CStr, CString};
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use pgrx::callconv::{Arg, ArgAbi, FcInfo};
use pgrx::datum::{Datum, TimestampWithTimeZone};
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::{
    FromDatum, IntoDatum, PgLogLevel, PgSqlErrorCode, PgTryBuilder, direct_function_call_as_datum, pg_sys,
};

use super::row::Row;
use crate::error::Result;

/// Microseconds since the Postgres epoch (2000-01-01 UTC), as `timestamptz` is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(i64);

/// Unix time of the Postgres epoch, in seconds.
const POSTGRES_EPOCH_UNIX: i64 = 946_684_800;
const MICROS: i64 = 1_000_000;

impl Time {
    /// Of a `timestamptz`.
    pub fn of(time: TimestampWithTimeZone) -> Time {
        Time(time.into_inner())
    }

    /// Of microseconds since the Postgres epoch.
    pub const fn of_micros(micros: i64) -> Time {
        Time(micros)
    }

    /// As microseconds since the Postgres epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Of Unix seconds; none where a `timestamptz` cannot hold it.
    pub fn of_unix(seconds: i64) -> Option<Time> {
        let micros = seconds.checked_sub(POSTGRES_EPOCH_UNIX)?.checked_mul(MICROS)?;
        TimestampWithTimeZone::try_from(micros).ok().map(Time::of)
    }

    /// As whole Unix seconds, rounded down; infinite times are at the ends of the number line.
    pub fn unix(self) -> i64 {
        match self.0 {
            i64::MIN | i64::MAX => self.0,
            micros => micros.div_euclid(MICROS) + POSTGRES_EPOCH_UNIX,
        }
    }

    /// So many seconds later.
    pub fn plus_seconds(self, seconds: i64) -> Time {
        Time(self.0.saturating_add(seconds.saturating_mul(MICROS)))
    }

    /// As a `timestamptz`; none where it cannot hold it.
    pub fn timestamp(self) -> Option<TimestampWithTimeZone> {
        TimestampWithTimeZone::try_from(self.0).ok()
    }
}

/// The clock.
pub fn now() -> Time {
    // SAFETY: reads the system clock; no state, no arguments.
    Time(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// Keeps other extensions and users from inventing settings under the prefix.
pub fn reserve_settings_prefix(prefix: &CStr) {
    // SAFETY: called from _PG_init with a valid C string, which Postgres copies.
    #[cfg(not(feature = "pg14"))]
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr())
    }
    // SAFETY: as above. It warns of such settings, and cannot forbid those that come later.
    #[cfg(feature = "pg14")]
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr())
    }
}

/// While it lives, statements are planned once for any argument, as nested loops over index scans.
///
/// A plan kept since a table was empty would else stay a scan of the whole table or index until the next
/// analyze. Nor are they compiled, which costs more than any of them takes. The planner's own variables are set, not the settings behind them: that costs nothing per call.
pub struct IndexPlans {
    switches: [bool; 6],
    plan_cache_mode: core::ffi::c_int,
}

impl IndexPlans {
    /// Begins.
    pub fn enter() -> IndexPlans {
        // SAFETY: a backend is single-threaded; all are plain variables that only the planner reads.
        unsafe {
            let before = IndexPlans {
                switches: [
                    pg_sys::enable_seqscan,
                    pg_sys::enable_bitmapscan,
                    pg_sys::enable_hashjoin,
                    pg_sys::enable_mergejoin,
                    pg_sys::enable_material,
                    pg_sys::jit_enabled,
                ],
                plan_cache_mode: pg_sys::plan_cache_mode,
            };
            IndexPlans::set([false; 6], pg_sys::PlanCacheMode::PLAN_CACHE_MODE_FORCE_GENERIC_PLAN as _);
            before
        }
    }

    unsafe fn set(switches: [bool; 6], plan_cache_mode: core::ffi::c_int) {
        // SAFETY: as above.
        unsafe {
            [
                pg_sys::enable_seqscan,
                pg_sys::enable_bitmapscan,
                pg_sys::enable_hashjoin,
                pg_sys::enable_mergejoin,
                pg_sys::enable_material,
                pg_sys::jit_enabled,
            ] = switches;
            pg_sys::plan_cache_mode = plan_cache_mode;
        }
    }
}

impl Drop for IndexPlans {
    fn drop(&mut self) {
        // SAFETY: as above; pgrx turns a Postgres error into an unwinding panic, so this runs then too.
        unsafe { IndexPlans::set(self.switches, self.plan_cache_mode) }
    }
}

/// Whether the transaction looks at one snapshot from its beginning to its end.
pub fn keeps_one_snapshot() -> bool {
    // SAFETY: a plain variable of a single-threaded backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as core::ffi::c_int }
}

/// A snapshot that a body is run with.
#[derive(Clone, Copy)]
pub enum Snapshot {
    /// Of what is committed now, whatever the transaction's own is.
    Latest,
    /// That of a statement that begins now.
    Statement,
}

/// Runs the body with that snapshot as the active one.
pub fn with_snapshot<T>(snapshot: Snapshot, body: impl FnOnce() -> T) -> T {
    // SAFETY: a snapshot is pushed and popped in pairs; an error in between ends the (sub)transaction,
    // which pops what is left.
    unsafe {
        pg_sys::PushActiveSnapshot(match snapshot {
            Snapshot::Latest => pg_sys::GetLatestSnapshot(),
            Snapshot::Statement => pg_sys::GetTransactionSnapshot(),
        });
        let answer = body();
        pg_sys::PopActiveSnapshot();
        answer
    }
}

/// Runs the body with memory of its own, which is given back when it is done: for many statements of one call. What
/// it answers must not lie in that memory.
pub fn in_passing<T: Copy>(body: impl FnOnce() -> T) -> T {
    // SAFETY: a child of the current context, made and deleted in pairs; an error deletes it with its parent.
    unsafe {
        let own = pg_sys::AllocSetContextCreateExtended(
            pg_sys::CurrentMemoryContext,
            c"billing_rpc in passing".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let before = pg_sys::MemoryContextSwitchTo(own);
        let answer = body();
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextDelete(own);
        answer
    }
}

/// How a gate is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Beside others who share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// What the gates of one kind are about; its number names them among all advisory locks: the first four
/// bytes of SHA-256 of "billing_rpc", and the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    /// Which payments belong to a source: exclusive for who ties one, shared for who credits.
    Sources = 0x57bc_dbec,
    /// What an idempotency key stands for: exclusive for holds, shared for entries.
    Keys = 0x57bc_dbed,
    /// Who has an event before it has a row: exclusive for whoever is about to insert it.
    Events = 0x57bc_dbee,
}

/// Waits until nobody else is at the gate, runs the body there, and leaves again: from then on there is a row that
/// others can wait for.
pub fn in_gate<T>(gates: Gates, number: u32, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let tag = pg_sys::LOCKTAG {
        // SAFETY: a plain variable.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: gates as u32,
        locktag_field3: number,
        // As pg_advisory_xact_lock(int4, int4) has it.
        locktag_field4: 2,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: a lock of the transaction, which Postgres releases if the body ends in an error.
    unsafe { pg_sys::LockAcquire(&tag, MODE, false, false) };
    let answer = body()?;
    // SAFETY: acquired above, by the same resource owner.
    unsafe { pg_sys::LockRelease(&tag, MODE, false) };
    Ok(answer)
}

/// A random uuid (version 4).
pub fn random_uuid() -> Option<pgrx::Uuid> {
    // SAFETY: a function without arguments, which answers with a uuid.
    unsafe {
        let datum = direct_function_call_as_datum(pg_sys::gen_random_uuid, &[])?;
        pgrx::Uuid::from_polymorphic_datum(datum, false, pg_sys::UUIDOID)
    }
}

/// Waits until nobody else is at the gate in a way that excludes this, and stays there until the end of the
/// transaction: for facts that have no row yet which both sides could lock.
pub fn gate(gates: Gates, number: u16, sharing: Sharing) {
    let arguments = [Some(pg_sys::Datum::from(gates as i32)), Some(pg_sys::Datum::from(i32::from(number)))];
    let lock = match sharing {
        Sharing::Shared => pg_sys::pg_advisory_xact_lock_shared_int4,
        Sharing::Exclusive => pg_sys::pg_advisory_xact_lock_int4,
    };
    // SAFETY: takes an advisory lock, which Postgres releases at the end of the transaction.
    unsafe { direct_function_call_as_datum(lock, &arguments) };
}

/// Milliseconds after which a lock counts as not free: above what a moment's queue for a page takes, far
/// below `deadlock_timeout`.
const FREE_LOCK_MILLISECONDS: core::ffi::c_int = 10;

/// Runs the body so that waiting for any lock ends in 55P03 almost at once.
///
/// For what cannot keep to the order of locks: inside a [`savepoint`], which answers [`Ended::Busy`].
pub fn only_free_locks<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(core::ffi::c_int);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: as below.
            unsafe { pg_sys::LockTimeout = self.0 }
        }
    }
    // SAFETY: a plain variable of a single-threaded backend, read when a wait for a lock begins.
    let _restore = unsafe {
        let before = Restore(pg_sys::LockTimeout);
        pg_sys::LockTimeout = FREE_LOCK_MILLISECONDS;
        before
    };
    body()
}

/// How a savepoint ended.
pub enum Ended<T, R> {
    /// Kept.
    Done(T),
    /// Undone, because the body refused.
    Refused(R),
    /// Undone, because a lock was not free.
    Busy,
    /// Undone, because of an error that is not for the caller to retry; its SQLSTATE.
    Error(String),
}

/// Which errors a savepoint answers instead of letting them through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// None.
    Through,
    /// All but those that a caller should retry (classes 40 and 53, 55P03, 57014), that end the session
    /// (57P..), or that say a row is broken (XX).
    Answered,
    /// 23505 only: a row that was hoped to be new is not.
    NotNew,
    /// All but those of `Answered`, and a row said to be broken: one event of many must not stand in the others' way.
    OfOneEvent,
    /// Those, and 55P03 as [`Ended::Busy`]: it is our own doing ([`only_free_locks`]).
    OfOneEventOrBusy,
}

/// Runs the body in a savepoint: kept if it says `Ok(Ok(_))`, undone otherwise.
pub fn savepoint<T, R>(errors: Errors, body: impl FnOnce() -> Result<Result<T, R>>) -> Result<Ended<T, R>> {
    // SAFETY: the calls that PL/pgSQL makes for a block with EXCEPTION, in the same order: the memory
    // context and resource owner of before are put back after the subtransaction has ended.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let caught = PgTryBuilder::new(AssertUnwindSafe(|| Caught::Nothing(body())))
            .catch_others(|cause| Caught::Cause(Box::new(cause)))
            .catch_rust_panic(|cause| Caught::Cause(Box::new(cause)))
            .execute();
        if matches!(caught, Caught::Nothing(Ok(Ok(_)))) {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        match caught {
            Caught::Nothing(Ok(Ok(value))) => Ok(Ended::Done(value)),
            Caught::Nothing(Ok(Err(refusal))) => Ok(Ended::Refused(refusal)),
            Caught::Nothing(Err(error)) => Err(error),
            Caught::Cause(cause) => match verdict(&cause, errors) {
                Some(ended) => Ok(ended),
                None => cause.rethrow(),
            },
        }
    }
}

enum Caught<T> {
    Nothing(T),
    Cause(Box<CaughtError>),
}

/// What an error inside a savepoint is answered with; none if it must go through.
fn verdict<T, R>(cause: &CaughtError, errors: Errors) -> Option<Ended<T, R>> {
    if errors == Errors::Through {
        return None;
    }
    let CaughtError::PostgresError(report) = cause else { return None };
    let code = report.sql_error_code();
    if errors == Errors::NotNew {
        return (code == PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION).then(|| Ended::Error(sqlstate(code)));
    }
    if code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE {
        return (errors == Errors::OfOneEventOrBusy).then_some(Ended::Busy);
    }
    let state = sqlstate(code);
    let goes_through = ["40", "53", "57"].iter().any(|class| state.starts_with(class))
        || (errors == Errors::Answered && state.starts_with("XX"));
    (!goes_through).then_some(Ended::Error(state))
}

/// The five characters of an SQLSTATE.
fn sqlstate(code: PgSqlErrorCode) -> String {
    let packed = code as u32;
    (0..5).map(|place| char::from((packed >> (6 * place) & 0x3f) as u8 + b'0')).collect()
}

/// The type of the id column of `billing.application_users`; none if no users table is set.
pub fn application_user_id_type() -> Option<pg_sys::Oid> {
    // SAFETY: lookups in the system caches with valid C strings; a missing name gives InvalidOid.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"billing".as_ptr(), true);
        let view = pg_sys::get_relname_relid(c"application_users".as_ptr(), schema);
        if view == pg_sys::InvalidOid {
            return None;
        }
        Some(pg_sys::get_atttype(view, 1))
    }
}

/// Whether `billing.refetch_source` is there.
pub fn refetch_source_is_set() -> bool {
    // SAFETY: lookups in the system caches with valid C strings; a missing name gives InvalidOid.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"billing".as_ptr(), true);
        pg_sys::get_relname_relid(c"refetch_source".as_ptr(), schema) != pg_sys::InvalidOid
    }
}

/// Whether schema `billing` has a table or view of that name.
pub fn has_relation(name: &CStr) -> bool {
    // SAFETY: lookups in the system caches with valid C strings; a missing name gives InvalidOid.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"billing".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema) != pg_sys::InvalidOid
    }
}

/// Whether a table of schema `billing` has the column: a database may still be at a former schema.
pub fn has_column(table: &CStr, column: &CStr) -> bool {
    // SAFETY: lookups in the system caches with valid C strings; a missing name gives InvalidOid, or zero.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"billing".as_ptr(), true);
        let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
        pg_sys::get_attnum(table, column.as_ptr()) != 0
    }
}

/// What is about to be dropped: nobody else has it open, and all that is in it is still there.
pub enum Dropped {
    /// A table.
    Table(Table),
    /// A schema.
    Schema(Schema),
}

/// A table, by its oid.
pub struct Table(pg_sys::Oid);

/// A schema, by its oid.
pub struct Schema(pg_sys::Oid);

impl Schema {
    /// Whether the extension of that name has it as a member.
    pub fn is_member_of(&self, extension: &CStr) -> bool {
        is_member_of(pg_sys::NamespaceRelationId, self.0, extension)
    }

    /// The table of that name in it.
    pub fn table(&self, name: &CStr) -> Option<Table> {
        // SAFETY: a lookup in the system cache with a valid C string.
        let table = unsafe { pg_sys::get_relname_relid(name.as_ptr(), self.0) };
        (table != pg_sys::InvalidOid).then_some(Table(table))
    }
}

impl Table {
    /// Its name.
    pub fn name(&self) -> Option<CString> {
        // SAFETY: a lookup in the system cache; the name is a copy in the current memory context, or null.
        unsafe {
            let name = pg_sys::get_rel_name(self.0);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())
        }
    }

    /// Whether the extension of that name has it as a member.
    pub fn is_member_of(&self, extension: &CStr) -> bool {
        is_member_of(pg_sys::RelationRelationId, self.0, extension)
    }

    /// The schema that holds it.
    pub fn schema(&self) -> Schema {
        // SAFETY: a lookup in the system cache; what is missing gives InvalidOid.
        Schema(unsafe { pg_sys::get_rel_namespace(self.0) })
    }

    /// Whether it holds a row that is committed or this transaction's own.
    ///
    /// Without SPI: in the middle of a drop the table's indexes, triggers and policies may be gone already.
    pub fn has_rows(&self) -> bool {
        const LOCK: pg_sys::LOCKMODE = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: the table exists until the caller returns; the drop has this very lock on it, so nobody
        // can add a row after the snapshot; everything that is opened is closed, or an error ends the
        // (sub)transaction, which closes it.
        unsafe {
            let table = pg_sys::table_open(self.0, LOCK);
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
            let none = std::ptr::null_mut();
            let scan = pg_sys::systable_beginscan(table, pg_sys::InvalidOid, false, snapshot, 0, none);
            let found = !pg_sys::systable_getnext(scan).is_null();
            pg_sys::systable_endscan(scan);
            pg_sys::UnregisterSnapshot(snapshot);
            pg_sys::table_close(table, pg_sys::NoLock as pg_sys::LOCKMODE);
            found
        }
    }
}

/// In the middle of a drop the extension itself may be gone already: then only its members still say that they
/// belong to one, and count as members of this.
fn is_member_of(class: pg_sys::Oid, object: pg_sys::Oid, extension: &CStr) -> bool {
    // SAFETY: lookups in the catalogue; what is missing gives InvalidOid or null, and a name is a copy in the
    // current memory context.
    unsafe {
        let owner = pg_sys::getExtensionOfObject(class, object);
        if owner == pg_sys::InvalidOid {
            return false;
        }
        let name = pg_sys::get_extension_name(owner);
        name.is_null() || CStr::from_ptr(name) == extension
    }
}

type BeforeDrop = fn(&Dropped) -> Result<()>;

/// Who is asked, and whom the hook belonged to before: written once, while the library is loaded.
static ASKED: OnceLock<(BeforeDrop, pg_sys::object_access_hook_type)> = OnceLock::new();

/// Has it asked before any table or schema is dropped; an error ends the statement that drops.
pub fn before_drop(ask: BeforeDrop) {
    // SAFETY: called from _PG_init; the hook is a plain variable of a single-threaded process, and what it
    // holds is called with whatever it is given here.
    unsafe {
        if ASKED.set((ask, pg_sys::object_access_hook)).is_ok() {
            pg_sys::object_access_hook = Some(object_access);
        }
    }
}

/// Called by the server at every access that somebody might want to know of, so it leaves at once mostly.
///
/// Has nothing to clean up, so an error of the hook before may pass through it as through C.
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: core::ffi::c_int,
    argument: *mut core::ffi::c_void,
) {
    if let Some((_, Some(before))) = ASKED.get() {
        // SAFETY: called as the server would have called it.
        unsafe { before(access, class, object, part, argument) };
    }
    if access == pg_sys::ObjectAccessType::OAT_DROP && part == 0 {
        // SAFETY: a guarded function, called with arguments of its types.
        unsafe { dropped(class, object) };
    }
}

/// Asks about tables and schemas; indexes, views, functions and the like are nobody's concern.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn dropped(class: pg_sys::Oid, object: pg_sys::Oid) {
    let dropped = match class {
        // SAFETY: a lookup in the system cache.
        pg_sys::RelationRelationId => match unsafe { pg_sys::get_rel_relkind(object) } as u8 {
            pg_sys::RELKIND_RELATION => Dropped::Table(Table(object)),
            _ => return,
        },
        pg_sys::NamespaceRelationId => Dropped::Schema(Schema(object)),
        _ => return,
    };
    if let Some((ask, _)) = ASKED.get()
        && let Err(error) = ask(&dropped)
    {
        ErrorReport::from(error).report(PgLogLevel::ERROR);
    }
}

/// A `jsonb` argument: its text to look at, its datum to be stored as it came.
pub struct JsonbArgument {
    datum: pg_sys::Datum,
    text: String,
}

impl JsonbArgument {
    /// A document written as text, where an argument would be.
    pub fn of_text(text: &str) -> Option<JsonbArgument> {
        Some(JsonbArgument { datum: jsonb(text)?.0, text: text.to_owned() })
    }

    /// The document as text, as Postgres writes it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The document for a statement.
    pub fn datum(&self) -> pgrx::datum::DatumWithOid<'_> {
        // SAFETY: the datum is the jsonb that the caller passed; it lives as long as the call.
        unsafe {
            let datum = std::mem::transmute::<pg_sys::Datum, Datum<'_>>(self.datum);
            pgrx::datum::DatumWithOid::new_from_datum(Some(datum), pg_sys::JSONBOID)
        }
    }
}

impl FromDatum for JsonbArgument {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller says that the datum is a jsonb; jsonb_out reads it, detoasting if needed,
        // and returns a palloc'd C string in the database's encoding, UTF-8.
        unsafe {
            let text = direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(datum)])?;
            let text = CStr::from_ptr(text.cast_mut_ptr()).to_string_lossy().into_owned();
            Some(JsonbArgument { datum, text })
        }
    }
}

/// A stored `jsonb` as text, as Postgres writes it.
pub struct JsonText(pub String);

impl FromDatum for JsonText {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller says that the datum is a jsonb.
        unsafe { JsonbArgument::from_polymorphic_datum(datum, is_null, oid).map(|json| JsonText(json.text)) }
    }
}

impl IntoDatum for JsonText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        jsonb(&self.0).and_then(IntoDatum::into_datum)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

/// A `json` argument: the very bytes that the caller sent.
pub struct JsonArgument(pub String);

impl FromDatum for JsonArgument {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: a json is stored as a text is.
        unsafe { String::from_polymorphic_datum(datum, is_null, oid).map(JsonArgument) }
    }
}

macro_rules! argument {
    ($argument:ty, $sql:literal) => {
        // SAFETY: unboxed by its FromDatum, from an argument that is declared to be of the SQL type; the
        // entry points take it as an Option, so a null never gets to the unchecked way.
        unsafe impl<'fcx> ArgAbi<'fcx> for $argument {
            unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
                unsafe { arg.unbox_arg_using_from_datum().unwrap_unchecked() }
            }

            unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> pgrx::nullable::Nullable<Self> {
                unsafe { arg.unbox_arg_using_from_datum().into() }
            }
        }

        pgrx::impl_sql_translatable!($argument, arg_only = $sql);
    };
}

argument!(JsonbArgument, "jsonb");
argument!(JsonArgument, "json");

/// JSON text that was written here, as a `jsonb` for a statement or an answer.
pub fn jsonb(text: &str) -> Option<JsonbDatum> {
    let text = CString::new(text).ok()?;
    // SAFETY: jsonb_in reads a valid C string.
    let datum = unsafe {
        direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(pg_sys::Datum::from(text.as_ptr()))])
    };
    datum.map(JsonbDatum)
}

/// A `jsonb` made here.
#[derive(Clone, Copy)]
pub struct JsonbDatum(pg_sys::Datum);

impl IntoDatum for JsonbDatum {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

/// Writes one row of the call's own result type.
pub struct RowWriter {
    descriptor: pg_sys::TupleDesc,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl RowWriter {
    /// Answers the call with the row.
    ///
    /// # Safety
    /// `fcinfo` is that of a function declared to return the row's composite type, or a set of it.
    pub unsafe fn answer<'fcx>(row: impl Row, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the descriptor is looked up by the type that the function is declared to return, and
        // is released after the tuple has been formed in the caller's memory context.
        unsafe {
            let descriptor = result_descriptor(fcinfo);
            let width = usize::try_from((*descriptor).natts).unwrap_or_default();
            let mut writer =
                RowWriter { descriptor, values: Vec::with_capacity(width), nulls: Vec::with_capacity(width) };
            row.write(&mut writer);
            assert!(writer.values.len() == width, "a row has as many columns as its type");
            let tuple =
                pg_sys::heap_form_tuple(descriptor, writer.values.as_mut_ptr(), writer.nulls.as_mut_ptr());
            let datum = pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data);
            if (*descriptor).tdrefcount >= 0 {
                pg_sys::DecrTupleDescRefCount(descriptor);
            }
            fcinfo.return_raw_datum(datum)
        }
    }

    /// Writes the next column.
    pub(super) fn push(&mut self, datum: Option<pg_sys::Datum>) {
        self.nulls.push(datum.is_none());
        self.values.push(datum.unwrap_or(pg_sys::Datum::null()));
    }

    /// Writes the next column, a label of the enum that is the column's type.
    pub fn label(&mut self, label: &'static str) -> &mut RowWriter {
        let datum = CString::new(label).ok().and_then(|label| {
            // SAFETY: the descriptor is alive while the row is written, a column that it does not have gives
            // InvalidOid (and is noticed by the width afterwards), and enum_in reads a valid C string.
            unsafe {
                let column = core::ffi::c_int::try_from(self.values.len() + 1).ok()?;
                let enum_type = pg_sys::SPI_gettypeid(self.descriptor, column);
                if enum_type == pg_sys::InvalidOid {
                    return None;
                }
                direct_function_call_as_datum(
                    pg_sys::enum_in,
                    &[Some(pg_sys::Datum::from(label.as_ptr())), Some(pg_sys::Datum::from(enum_type))],
                )
            }
        });
        self.push(datum);
        self
    }
}

/// The descriptor of what the function returns, by the type of the call: right in any schema and for
/// any search_path.
unsafe fn result_descriptor(fcinfo: &FcInfo) -> pg_sys::TupleDesc {
    // SAFETY: flinfo is set for every call through the function manager.
    unsafe {
        let function = (*fcinfo.as_mut_ptr()).flinfo;
        let mut result_type = pg_sys::get_fn_expr_rettype(function);
        if result_type == pg_sys::InvalidOid {
            result_type = pg_sys::get_func_rettype((*function).fn_oid);
        }
        pg_sys::lookup_rowtype_tupdesc(result_type, -1)
    }
}
