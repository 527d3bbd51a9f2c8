//! Rows that are found, locked, inserted and changed without the executor.
//!
//! For the few statements on the way of every purchase, spend and delivery, and only where nothing about the table
//! asks for more: docs/decisions/below-the-executor.md has the argument. Whatever is not exactly as it is expected
//! here is left to the statement itself. Errors leave nothing behind: what is open belongs to the resource owner.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::{FromDatum, IntoDatum, direct_function_call_as_datum, is_a};

use crate::error::{Error, Result};
use crate::pg::shape::{Deed, Shape};

/// A datum of a row, with its type.
pub type Value = (Option<pg_sys::Datum>, pg_sys::Oid);

/// What a table's own checks and foreign keys are to the statement that writes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    /// Checks of the table that the store keeps by itself; any other is the executor's.
    pub checks: &'static [&'static CStr],
    /// Tables whose referenced row the call has locked against deletion.
    pub locked: &'static [&'static CStr],
    /// Whether a row that stands in the way is so rare that finding it may cost an error, where one is caught
    /// ([`hopeful`]).
    pub hopeful: bool,
}

/// What came of it.
pub enum Done {
    /// The rows that the statement answers with.
    Rows(Vec<Vec<Value>>),
    /// Nothing was done: it is the executor's.
    NotHere,
}

/// What is known of a statement's table, until any table's definition changes.
pub struct Route {
    generation: u64,
    /// None: it is the executor's.
    known: Option<Known>,
}

struct Known {
    table: pg_sys::Oid,
    /// By which to find a row.
    index: Option<pg_sys::Oid>,
    /// All of them, for a row that is inserted.
    indexes: Vec<Index>,
    /// Of the keys of a row to be found or locked, or of what is inserted or set.
    columns: Vec<i16>,
    /// Those of a row to be changed.
    keys: Vec<i16>,
    /// What is asked beyond the keys, with its argument.
    further: Vec<(i16, usize)>,
    answer: Vec<i16>,
    types: Vec<pg_sys::Oid>,
    width: usize,
    required: Vec<i16>,
    /// The identity column and its sequence.
    identity: Option<(i16, pg_sys::Oid)>,
}

struct Index {
    oid: pg_sys::Oid,
    unique: bool,
    keys: Vec<i16>,
    rows: Vec<Condition>,
}

/// A condition of a partial index.
enum Condition {
    Null(i16, bool),
    True(i16),
    Not(Box<Condition>),
    Any(Vec<Condition>),
    All(Vec<Condition>),
}

thread_local! {
    static GENERATION: Cell<u64> = const { Cell::new(0) };
    static HOPEFUL: Cell<bool> = const { Cell::new(false) };
}

/// Whether that is hoped now.
pub fn is_hopeful() -> bool {
    HOPEFUL.with(Cell::get)
}

/// Whether the statement is done here, as its table is now.
pub fn is_direct(shape: &Shape, kept: Kept, routes: &Routes) -> bool {
    route(shape, kept, routes).known.is_some()
}

/// Runs the body, if so, in the hope that no row stands in the way of those that it inserts: then a row needs no trial,
/// and one that is not new ends in 23505 once whoever inserts the other has committed. For a savepoint that
/// catches that, and then does without hope.
pub fn hopeful<T>(hope: bool, body: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOPEFUL.with(|hopeful| hopeful.set(self.0));
        }
    }
    let _restore = Restore(HOPEFUL.with(|hopeful| hopeful.replace(hope)));
    body()
}

/// Forgets what is known of tables whenever the definition of one changes.
pub fn watch_definitions() {
    unsafe extern "C-unwind" fn changed(_: pg_sys::Datum, _: pg_sys::Oid) {
        GENERATION.with(|generation| generation.set(generation.get() + 1));
    }
    // SAFETY: called once, from _PG_init; the callback touches nothing but a counter.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), pg_sys::Datum::null()) }
}

/// The kept knowledge of one statement.
pub type Routes = RefCell<Option<Rc<Route>>>;

fn route(shape: &Shape, kept: Kept, routes: &Routes) -> Rc<Route> {
    let generation = GENERATION.with(Cell::get);
    if let Some(route) = &*routes.borrow()
        && route.generation == generation
    {
        return Rc::clone(route);
    }
    // SAFETY: reads the catalogue.
    let known = unsafe { Known::of(shape, kept) };
    let route = Rc::new(Route { generation, known });
    *routes.borrow_mut() = Some(Rc::clone(&route));
    route
}

/// The same, with the table locked as the statement locks it: what others changed about the table until then is
/// known, and until the transaction ends nobody changes anything that the lock is there to keep.
fn locked_route(shape: &Shape, kept: Kept, routes: &Routes, mode: pg_sys::LOCKMODE) -> Rc<Route> {
    loop {
        let route = route(shape, kept, routes);
        if let Some(known) = &route.known {
            // SAFETY: the lock that opening the table would take.
            unsafe { pg_sys::LockRelationOid(known.table, mode) };
        }
        if route.generation == GENERATION.with(Cell::get) {
            return route;
        }
    }
}

/// A value as the type that the store reads.
pub fn value<T: IntoDatum + FromDatum>(value: Option<&Value>) -> Result<Option<T>> {
    let (datum, oid) = value.ok_or(Error::BrokenInvariant)?;
    if !T::is_compatible_with(*oid) {
        return Err(Error::BrokenInvariant);
    }
    // SAFETY: a column of that type, copied.
    Ok(datum.and_then(|datum| unsafe { T::from_polymorphic_datum(datum, false, *oid) }))
}

fn values(arguments: &[DatumWithOid]) -> Vec<Value> {
    let value =
        |argument: &DatumWithOid| (argument.datum().map(|datum| datum.sans_lifetime()), argument.oid());
    arguments.iter().map(value).collect()
}

/// Does what the statement says. `latest`: with a snapshot of now, as a writing call's statement has it, else with
/// the one that is active.
pub fn run(shape: &Shape, kept: Kept, routes: &Routes, latest: bool, arguments: &[DatumWithOid]) -> Done {
    let mode = match &shape.deed {
        Deed::Find { lock: false, .. } => READING,
        Deed::Find { lock: true, .. } => LOCKING,
        Deed::Insert { .. } | Deed::Update { .. } => WRITING,
    };
    let route = locked_route(shape, kept, routes, mode);
    let Some(known) = &route.known else { return Done::NotHere };
    let values = values(arguments);
    // SAFETY: the arguments live as long as the call, and each is of the type of its column, which is looked at; a
    // snapshot is active.
    let act = || unsafe {
        match &shape.deed {
            Deed::Find { lock: false, .. } => known.find(&values),
            Deed::Find { lock: true, .. } => known.lock(&values),
            Deed::Insert { .. } => known.insert(&values, kept.hopeful && is_hopeful()),
            Deed::Update { set, when } => known.update(&values, set, when),
        }
    };
    if latest { super::with_snapshot(super::Snapshot::Statement, act) } else { act() }
}

/// Waits until nobody is inserting or changing a row of that key; whether there is one then, whether or not a
/// snapshot shows it.
pub fn is_there(shape: &Shape, routes: &Routes, arguments: &[DatumWithOid]) -> Option<bool> {
    let route = locked_route(shape, Kept::default(), routes, READING);
    let known = route.known.as_ref()?;
    // SAFETY: as in `run`.
    unsafe {
        let values = values(arguments);
        known.is_there(&values)
    }
}

const READING: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const WRITING: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
/// `SELECT FOR UPDATE`
const LOCKING: pg_sys::LOCKMODE = pg_sys::RowShareLock as pg_sys::LOCKMODE;
const KEPT: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

impl Known {
    unsafe fn of(shape: &Shape, kept: Kept) -> Option<Known> {
        // SAFETY: lookups in the system caches with valid C strings; the table is closed again.
        unsafe {
            let schema = pg_sys::get_namespace_oid(c"billing".as_ptr(), true);
            let table = pg_sys::get_relname_relid(shape.table.as_ptr(), schema);
            if schema == pg_sys::InvalidOid || table == pg_sys::InvalidOid {
                return None;
            }
            let relation = pg_sys::table_open(table, READING);
            let known = Known::of_table(shape, kept, relation);
            pg_sys::table_close(relation, KEPT);
            known
        }
    }

    unsafe fn of_table(shape: &Shape, kept: Kept, relation: pg_sys::Relation) -> Option<Known> {
        // SAFETY: the relation is open; what is read of it is copied.
        unsafe {
            is_plain(relation).then_some(())?;
            let descriptor = (*relation).rd_att;
            let column = |name: &CStr| attribute(descriptor, name);
            let columns = |names: &[std::ffi::CString]| {
                names.iter().map(|name| column(name)).collect::<Option<Vec<i16>>>()
            };
            let width = usize::try_from((*descriptor).natts).ok()?;
            let mut types = Vec::with_capacity(width);
            let mut required = Vec::new();
            for number in 1..=i16::try_from(width).ok()? {
                let attribute = attribute_of(descriptor, number);
                types.push(if (*attribute).attisdropped {
                    pg_sys::InvalidOid
                } else {
                    (*attribute).atttypid
                });
                if (*attribute).attnotnull {
                    required.push(number);
                }
            }
            let mut known = Known {
                table: (*relation).rd_id,
                index: None,
                indexes: Vec::new(),
                columns: Vec::new(),
                keys: Vec::new(),
                further: Vec::new(),
                answer: columns(&shape.answer)?,
                types,
                width,
                required,
                identity: None,
            };
            let (indexes, all) = indexes(relation);
            match &shape.deed {
                Deed::Find { keys, .. } => {
                    known.columns = columns(keys)?;
                    known.can_compare(&known.columns).then_some(())?;
                    known.index = Some(by_key(&indexes, &known.columns)?);
                }
                Deed::Insert { columns: given } => {
                    (all && takes_inserts(relation, kept)).then_some(())?;
                    known.columns = columns(given)?;
                    known.identity = known.left_out(relation)?;
                    known.indexes = indexes;
                }
                Deed::Update { set, when } => {
                    let set: Vec<i16> = set.iter().map(|(name, _)| column(name)).collect::<Option<_>>()?;
                    (all && takes_updates(relation, kept)).then_some(())?;
                    indexes.iter().all(|index| !index.reads_any(&set)).then_some(())?;
                    let when: Vec<(i16, usize)> = when
                        .iter()
                        .map(|(name, place)| Some((column(name)?, *place)))
                        .collect::<Option<_>>()?;
                    let all: Vec<i16> = when.iter().map(|(column, _)| *column).collect();
                    let keys =
                        (1..=all.len()).rev().find(|count| by_key(&indexes, &all[..*count]).is_some())?;
                    (0..keys).all(|place| when[place].1 == place).then_some(())?;
                    known.can_compare(&all).then_some(())?;
                    known.index = by_key(&indexes, &all[..keys]);
                    known.keys = all[..keys].to_vec();
                    known.further = when[keys..].to_vec();
                    known.columns = set;
                }
            }
            Some(known)
        }
    }

    /// The one column that a row gets a number for by itself, with its sequence; none at all if a column that is left
    /// out has any other default.
    unsafe fn left_out(&self, relation: pg_sys::Relation) -> Option<Option<(i16, pg_sys::Oid)>> {
        // SAFETY: the relation is open; lookups in the system caches.
        unsafe {
            let mut identity = None;
            for number in 1..=i16::try_from(self.width).ok()? {
                if self.columns.contains(&number) {
                    continue;
                }
                let attribute = attribute_of((*relation).rd_att, number);
                if (*attribute).attisdropped {
                    continue;
                }
                if (*attribute).attidentity as u8 == b'a' && identity.is_none() {
                    #[cfg(any(feature = "pg17", feature = "pg18"))]
                    let table = relation;
                    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
                    let table = (*relation).rd_id;
                    let sequence = pg_sys::getIdentitySequence(table, number, true);
                    (sequence != pg_sys::InvalidOid).then_some(())?;
                    identity = Some((number, sequence));
                } else if (*attribute).atthasdef {
                    return None;
                }
            }
            Some(identity)
        }
    }

    /// Opens table and index for the body, and closes them again; nothing for a key that is null, which is equal to
    /// nothing.
    unsafe fn by_index<T>(
        &self,
        values: &[Value],
        snapshot: pg_sys::Snapshot,
        mode: pg_sys::LOCKMODE,
        body: impl FnOnce(pg_sys::Relation, &mut dyn FnMut() -> *mut pg_sys::TupleTableSlot) -> T,
    ) -> Option<T> {
        // SAFETY: what is opened is closed, or an error ends the (sub)transaction, which closes it; the scan keys
        // have the type and the collation of the index.
        unsafe {
            let relation = pg_sys::table_open(self.table, mode);
            let index = pg_sys::index_open(self.index?, READING);
            let mut keys: [pg_sys::ScanKeyData; 4] = std::mem::zeroed();
            let count = usize::try_from((*(*index).rd_index).indnkeyatts).unwrap_or_default();
            let mut usable = count <= keys.len() && count <= values.len();
            for (place, key) in keys.iter_mut().take(count).enumerate() {
                let (Some((Some(datum), oid)), true) = (values.get(place).copied(), usable) else {
                    usable = false;
                    break;
                };
                let collation = *(*index).rd_indcollation.add(place);
                pg_sys::ScanKeyEntryInitialize(
                    key,
                    0,
                    i16::try_from(place + 1).unwrap_or_default(),
                    pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                    pg_sys::InvalidOid,
                    collation,
                    equality(oid).unwrap_or(pg_sys::InvalidOid),
                    datum,
                );
            }
            let mut answer = None;
            if usable {
                let number = core::ffi::c_int::try_from(count).unwrap_or_default();
                let scan = begin_scan(relation, index, snapshot, number);
                pg_sys::index_rescan(scan, keys.as_mut_ptr(), number, std::ptr::null_mut(), 0);
                let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
                let mut next = || {
                    let forward = pg_sys::ScanDirection::ForwardScanDirection;
                    if pg_sys::index_getnext_slot(scan, forward, slot) { slot } else { std::ptr::null_mut() }
                };
                answer = Some(body(relation, &mut next));
                pg_sys::index_endscan(scan);
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::index_close(index, KEPT);
            pg_sys::table_close(relation, KEPT);
            answer
        }
    }

    /// What the statement answers of the row in the slot, copied.
    unsafe fn answer(&self, relation: pg_sys::Relation, slot: *mut pg_sys::TupleTableSlot) -> Vec<Value> {
        // SAFETY: the slot holds a row of the relation; its copy lives in the memory context of the call.
        unsafe {
            let mut owned = false;
            let tuple = pg_sys::heap_copytuple(pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut owned));
            self.answer_of(relation, tuple)
        }
    }

    unsafe fn answer_of(&self, relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) -> Vec<Value> {
        self.answer.iter().map(|number| unsafe { self.column(relation, tuple, *number) }).collect()
    }

    unsafe fn column(&self, relation: pg_sys::Relation, tuple: pg_sys::HeapTuple, number: i16) -> Value {
        // SAFETY: a row of the relation.
        unsafe {
            let mut null = true;
            let datum = pg_sys::SPI_getbinval(tuple, (*relation).rd_att, number.into(), &mut null);
            ((!null).then_some(datum), self.type_of(number))
        }
    }

    fn can_compare(&self, columns: &[i16]) -> bool {
        columns.iter().all(|number| equality(self.type_of(*number)).is_some())
    }

    fn type_of(&self, number: i16) -> pg_sys::Oid {
        usize::try_from(number - 1)
            .ok()
            .and_then(|place| self.types.get(place).copied())
            .unwrap_or(pg_sys::InvalidOid)
    }

    unsafe fn find(&self, values: &[Value]) -> Done {
        if !self.fits(values) {
            return Done::NotHere;
        }
        // SAFETY: a snapshot is active: that of the calling query, or the one just pushed.
        unsafe {
            let snapshot = pg_sys::GetActiveSnapshot();
            let rows = self.by_index(values, snapshot, READING, |relation, next| {
                let mut rows = Vec::new();
                loop {
                    let slot = next();
                    if slot.is_null() {
                        return rows;
                    }
                    rows.push(self.answer(relation, slot));
                }
            });
            Done::Rows(rows.unwrap_or_default())
        }
    }

    /// Locks the one row as `FOR UPDATE` does, as it is once nobody else has it.
    unsafe fn lock(&self, values: &[Value]) -> Done {
        if !self.fits(values) {
            return Done::NotHere;
        }
        // SAFETY: as `find`; the table is a heap, whose own way of locking is called as the executor calls it.
        unsafe {
            pg_sys::PreventCommandIfReadOnly(c"SELECT FOR UPDATE".as_ptr());
            let snapshot = pg_sys::GetActiveSnapshot();
            let locked = self.by_index(values, snapshot, LOCKING, |relation, next| {
                let slot = next();
                if slot.is_null() {
                    return Some(Vec::new());
                }
                let mut owned = false;
                let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut owned);
                let mut at = (*tuple).t_self;
                match lock_tuple(relation, &mut at, snapshot, slot) {
                    Lock::Got(moved) => {
                        let row = self.answer(relation, slot);
                        // A key that changed meanwhile is for the executor, which asks the condition again.
                        let same = !moved || self.has_keys(relation, slot, values);
                        same.then(|| vec![row])
                    }
                    Lock::Gone => Some(Vec::new()),
                    Lock::Unclear => None,
                }
            });
            match locked {
                None => Done::Rows(Vec::new()),
                Some(Some(rows)) => Done::Rows(rows),
                Some(None) => Done::NotHere,
            }
        }
    }

    unsafe fn has_keys(
        &self,
        relation: pg_sys::Relation,
        slot: *mut pg_sys::TupleTableSlot,
        values: &[Value],
    ) -> bool {
        // SAFETY: as `answer`.
        unsafe {
            let mut owned = false;
            let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut owned);
            self.columns.iter().zip(values).all(|(number, (given, oid))| {
                let (found, _) = self.column(relation, tuple, *number);
                match (found, given) {
                    (Some(found), Some(given)) => is_equal(*oid, found, *given),
                    _ => false,
                }
            })
        }
    }

    /// Inserts the row; if another stands in its way, nothing, and the executor finds out which.
    unsafe fn insert(&self, values: &[Value], hopeful: bool) -> Done {
        // SAFETY: the row is formed by the relation's own descriptor, from datums of its columns' types.
        unsafe {
            if !self.fits(values) {
                return Done::NotHere;
            }
            pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
            let mut datums = vec![pg_sys::Datum::null(); self.width];
            let mut nulls = vec![true; self.width];
            let mut put = |number: i16, datum: Option<pg_sys::Datum>| {
                if let (Ok(place), Some(datum)) = (usize::try_from(number - 1), datum) {
                    (datums[place], nulls[place]) = (datum, false);
                }
            };
            for (number, (datum, _)) in self.columns.iter().zip(values) {
                put(*number, *datum);
            }
            if let Some((number, sequence)) = self.identity {
                put(
                    number,
                    direct_function_call_as_datum(
                        pg_sys::nextval_oid,
                        &[Some(pg_sys::Datum::from(sequence))],
                    ),
                );
            }
            if self.required.iter().any(|number| nulls[usize::try_from(number - 1).unwrap_or_default()]) {
                return Done::NotHere;
            }
            let relation = pg_sys::table_open(self.table, WRITING);
            let tuple = pg_sys::heap_form_tuple((*relation).rd_att, datums.as_mut_ptr(), nulls.as_mut_ptr());
            let inserted = if hopeful {
                self.insert_new(relation, tuple, &datums, &nulls);
                true
            } else {
                self.insert_on_trial(relation, tuple, &datums, &nulls)
            };
            let done =
                if inserted { Done::Rows(vec![self.answer_of(relation, tuple)]) } else { Done::NotHere };
            pg_sys::table_close(relation, KEPT);
            pg_sys::CommandCounterIncrement();
            done
        }
    }

    /// Whether each argument has the type of its column.
    fn fits(&self, values: &[Value]) -> bool {
        values.len() == self.columns.len()
            && self.columns.iter().zip(values).all(|(number, (_, oid))| self.type_of(*number) == *oid)
    }

    /// As `INSERT` inserts: a unique index that has the key already raises 23505.
    unsafe fn insert_new(
        &self,
        relation: pg_sys::Relation,
        tuple: pg_sys::HeapTuple,
        datums: &[pg_sys::Datum],
        nulls: &[bool],
    ) {
        // SAFETY: as below.
        unsafe {
            (*tuple).t_tableOid = self.table;
            pg_sys::heap_insert(relation, tuple, pg_sys::GetCurrentCommandId(true), 0, std::ptr::null_mut());
            for index in &self.indexes {
                index.insert(relation, tuple, datums, nulls, pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES);
            }
        }
    }

    /// As `INSERT ... ON CONFLICT DO NOTHING` inserts: on trial, until every unique index has taken it.
    unsafe fn insert_on_trial(
        &self,
        relation: pg_sys::Relation,
        tuple: pg_sys::HeapTuple,
        datums: &[pg_sys::Datum],
        nulls: &[bool],
    ) -> bool {
        // SAFETY: the steps and their order are those of the executor for a table without triggers on inserting;
        // whoever finds the row meanwhile waits for the token, which is released in either case.
        unsafe {
            let transaction = pg_sys::GetCurrentTransactionId();
            let token = pg_sys::SpeculativeInsertionLockAcquire(transaction);
            let header = (*tuple).t_data;
            (*header).t_ctid.ip_blkid.bi_hi = (token >> 16) as u16;
            (*header).t_ctid.ip_blkid.bi_lo = (token & 0xffff) as u16;
            (*header).t_ctid.ip_posid = pg_sys::SpecTokenOffsetNumber as u16;
            (*tuple).t_tableOid = self.table;
            let options = pg_sys::HEAP_INSERT_SPECULATIVE as core::ffi::c_int;
            let command = pg_sys::GetCurrentCommandId(true);
            pg_sys::heap_insert(relation, tuple, command, options, std::ptr::null_mut());
            let mut alone = true;
            for index in &self.indexes {
                let unique = pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL;
                alone = alone && index.insert(relation, tuple, datums, nulls, unique);
            }
            if alone {
                pg_sys::heap_finish_speculative(relation, &mut (*tuple).t_self);
            } else {
                pg_sys::heap_abort_speculative(relation, &mut (*tuple).t_self);
            }
            pg_sys::SpeculativeInsertionLockRelease(transaction);
            alone
        }
    }

    /// Changes the one row, which the call has locked.
    unsafe fn update(
        &self,
        values: &[Value],
        set: &[(std::ffi::CString, usize)],
        when: &[(std::ffi::CString, usize)],
    ) -> Done {
        // SAFETY: as `find` and `insert`; no index has any of the columns, and nobody else can change a locked row.
        unsafe {
            let given: Option<Vec<Value>> =
                set.iter().map(|(_, place)| values.get(*place).copied()).collect();
            let Some(given) = given.filter(|given| self.fits(given)) else { return Done::NotHere };
            let keys = when.len() - self.further.len();
            let typed = self.keys.iter().zip(values).all(|(number, (_, oid))| self.type_of(*number) == *oid);
            if !typed || values.len() < keys {
                return Done::NotHere;
            }
            pg_sys::PreventCommandIfReadOnly(c"UPDATE".as_ptr());
            let snapshot = pg_sys::GetActiveSnapshot();
            let found = self.by_index(&values[..keys], snapshot, WRITING, |_, next| {
                let slot = next();
                if slot.is_null() {
                    return None;
                }
                let mut owned = false;
                Some(pg_sys::heap_copytuple(pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut owned)))
            });
            let Some(Some(before)) = found else { return Done::Rows(Vec::new()) };
            let relation = pg_sys::table_open(self.table, WRITING);
            let as_expected = self.further.iter().all(|(number, place)| {
                matches!(
                    (self.column(relation, before, *number).0, values.get(*place)),
                    (Some(found), Some((Some(expected), oid))) if is_equal(*oid, found, *expected)
                )
            });
            let done =
                if as_expected { self.change(relation, before, &given) } else { Done::Rows(Vec::new()) };
            pg_sys::table_close(relation, KEPT);
            pg_sys::CommandCounterIncrement();
            done
        }
    }

    unsafe fn change(&self, relation: pg_sys::Relation, before: pg_sys::HeapTuple, given: &[Value]) -> Done {
        // SAFETY: as `update`; writing the row is left to Postgres, indexes included where it does not stay on
        // its page.
        unsafe {
            let mut datums = vec![pg_sys::Datum::null(); self.width];
            let mut nulls = vec![true; self.width];
            let mut replaced = vec![false; self.width];
            for (number, (datum, _)) in self.columns.iter().zip(given) {
                let Ok(place) = usize::try_from(number - 1) else { return Done::NotHere };
                (datums[place], nulls[place]) = (datum.unwrap_or(pg_sys::Datum::null()), datum.is_none());
                replaced[place] = true;
                if datum.is_none() && self.required.contains(number) {
                    return Done::NotHere;
                }
            }
            let after = pg_sys::heap_modify_tuple(
                before,
                (*relation).rd_att,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
                replaced.as_mut_ptr(),
            );
            pg_sys::CatalogTupleUpdate(relation, &mut (*before).t_self, after);
            Done::Rows(vec![self.answer_of(relation, after)])
        }
    }

    /// Waits until nobody is inserting, changing or deleting such a row; whether there is one.
    unsafe fn is_there(&self, values: &[Value]) -> Option<bool> {
        self.fits(values).then_some(())?;
        enum Found {
            Nothing,
            Row,
            Rival(pg_sys::TransactionId, u32, pg_sys::ItemPointerData),
        }
        // SAFETY: the look that a unique index takes before it lets a row in: with a snapshot that shows what is
        // not committed, and then the wait for its transaction or its token, nothing being open meanwhile.
        unsafe {
            loop {
                let mut dirty = pg_sys::SnapshotData {
                    snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
                    ..Default::default()
                };
                let snapshot: pg_sys::Snapshot = &mut dirty;
                let found = self.by_index(values, snapshot, READING, |_, next| {
                    let slot = next();
                    if slot.is_null() {
                        Found::Nothing
                    } else if (*snapshot).xmin != pg_sys::InvalidTransactionId {
                        Found::Rival((*snapshot).xmin, (*snapshot).speculativeToken, (*slot).tts_tid)
                    } else if (*snapshot).xmax != pg_sys::InvalidTransactionId {
                        Found::Rival((*snapshot).xmax, 0, (*slot).tts_tid)
                    } else {
                        Found::Row
                    }
                });
                match found {
                    None | Some(Found::Nothing) => return Some(false),
                    Some(Found::Row) => return Some(true),
                    Some(Found::Rival(rival, 0, mut at)) => {
                        let relation = pg_sys::table_open(self.table, READING);
                        pg_sys::XactLockTableWait(
                            rival,
                            relation,
                            &mut at,
                            pg_sys::XLTW_Oper::XLTW_InsertIndex,
                        );
                        pg_sys::table_close(relation, KEPT);
                    }
                    Some(Found::Rival(rival, token, _)) => pg_sys::SpeculativeInsertionWait(rival, token),
                }
            }
        }
    }
}

impl Index {
    /// The index as far as it can be written here.
    unsafe fn of(relation: pg_sys::Relation) -> Option<Index> {
        // SAFETY: an open index; what is read of it is copied.
        unsafe {
            let form = (*relation).rd_index;
            let plain = (*(*relation).rd_rel).relam == pg_sys::BTREE_AM_OID
                && (*form).indisvalid
                && (*form).indisready
                && (*form).indislive
                && (*form).indimmediate
                && !(*form).indisexclusion
                && (*form).indnkeyatts == (*form).indnatts;
            plain.then_some(())?;
            let count = usize::try_from((*form).indnkeyatts).ok()?;
            let keys = (*form).indkey.values.as_slice(count).to_vec();
            keys.iter().all(|key| *key > 0).then_some(())?;
            let rows = conditions(pg_sys::RelationGetIndexPredicate(relation))?;
            Some(Index { oid: (*relation).rd_id, unique: (*form).indisunique, keys, rows })
        }
    }

    /// Whether keys or condition read any of the columns.
    fn reads_any(&self, columns: &[i16]) -> bool {
        columns
            .iter()
            .any(|column| self.keys.contains(column) || self.rows.iter().any(|row| row.reads(*column)))
    }

    /// Inserts the row's entry; false if a unique index has such a key already, or may have.
    unsafe fn insert(
        &self,
        relation: pg_sys::Relation,
        tuple: pg_sys::HeapTuple,
        datums: &[pg_sys::Datum],
        nulls: &[bool],
        unique: pg_sys::IndexUniqueCheck::Type,
    ) -> bool {
        if !self.rows.iter().all(|condition| condition.holds(datums, nulls) == Some(true)) {
            return true;
        }
        let place = |key: &i16| usize::try_from(key - 1).unwrap_or_default();
        let mut keys: Vec<pg_sys::Datum> = self.keys.iter().map(|key| datums[place(key)]).collect();
        let mut missing: Vec<bool> = self.keys.iter().map(|key| nulls[place(key)]).collect();
        let unique = if self.unique { unique } else { pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO };
        // SAFETY: a B-tree, which takes nothing from the description of the index that is passed along.
        unsafe {
            let index = pg_sys::index_open(self.oid, WRITING);
            let mut described =
                pg_sys::IndexInfo { type_: pg_sys::NodeTag::T_IndexInfo, ..Default::default() };
            let alone = pg_sys::index_insert(
                index,
                keys.as_mut_ptr(),
                missing.as_mut_ptr(),
                &mut (*tuple).t_self,
                relation,
                unique,
                false,
                &mut described,
            );
            pg_sys::index_close(index, KEPT);
            alone || !self.unique
        }
    }
}

impl Condition {
    unsafe fn of(node: *mut pg_sys::Node) -> Option<Condition> {
        // SAFETY: a node of an index predicate, read as what its tag says.
        unsafe {
            if is_a(node, pg_sys::NodeTag::T_Var) {
                return Some(Condition::True((*node.cast::<pg_sys::Var>()).varattno));
            }
            if is_a(node, pg_sys::NodeTag::T_NullTest) {
                let test = node.cast::<pg_sys::NullTest>();
                let null = (*test).nulltesttype == pg_sys::NullTestType::IS_NULL;
                return match Condition::of((*test).arg.cast())? {
                    Condition::True(column) if !(*test).argisrow => Some(Condition::Null(column, null)),
                    _ => None,
                };
            }
            is_a(node, pg_sys::NodeTag::T_BoolExpr).then_some(())?;
            let all = node.cast::<pg_sys::BoolExpr>();
            let mut parts = conditions((*all).args)?;
            Some(match (*all).boolop {
                pg_sys::BoolExprType::AND_EXPR => Condition::All(parts),
                pg_sys::BoolExprType::OR_EXPR => Condition::Any(parts),
                _ => Condition::Not(Box::new(parts.pop()?)),
            })
        }
    }

    fn reads(&self, column: i16) -> bool {
        match self {
            Condition::Null(read, _) | Condition::True(read) => *read == column,
            Condition::Not(part) => part.reads(column),
            Condition::Any(parts) | Condition::All(parts) => parts.iter().any(|part| part.reads(column)),
        }
    }

    /// In the three values of SQL.
    fn holds(&self, datums: &[pg_sys::Datum], nulls: &[bool]) -> Option<bool> {
        let place = |column: &i16| usize::try_from(column - 1).unwrap_or_default();
        match self {
            Condition::Null(column, null) => Some(nulls[place(column)] == *null),
            Condition::True(column) => (!nulls[place(column)]).then(|| datums[place(column)].value() != 0),
            Condition::Not(part) => part.holds(datums, nulls).map(|holds| !holds),
            Condition::Any(parts) => decided(parts, true, datums, nulls),
            Condition::All(parts) => decided(parts, false, datums, nulls),
        }
    }
}

/// What several conditions come to where one of that truth decides.
fn decided(parts: &[Condition], by: bool, datums: &[pg_sys::Datum], nulls: &[bool]) -> Option<bool> {
    let mut known = true;
    for part in parts {
        match part.holds(datums, nulls) {
            Some(holds) if holds == by => return Some(by),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(!by)
}

unsafe fn conditions(list: *mut pg_sys::List) -> Option<Vec<Condition>> {
    if list.is_null() {
        return Some(Vec::new());
    }
    // SAFETY: a list of nodes.
    unsafe {
        let count = usize::try_from((*list).length).ok()?;
        let cells = std::slice::from_raw_parts((*list).elements, count);
        cells.iter().map(|cell| Condition::of(cell.ptr_value.cast())).collect()
    }
}

/// The indexes of the table, and whether these are all: some are of a kind that only the executor reads and writes.
unsafe fn indexes(relation: pg_sys::Relation) -> (Vec<Index>, bool) {
    // SAFETY: an open table; its indexes are closed again.
    unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        if list.is_null() {
            return (Vec::new(), true);
        }
        let count = usize::try_from((*list).length).unwrap_or_default();
        let cells = std::slice::from_raw_parts((*list).elements, count);
        let mut indexes = Vec::with_capacity(count);
        for cell in cells {
            let index = pg_sys::index_open(cell.oid_value, READING);
            indexes.extend(Index::of(index));
            pg_sys::index_close(index, KEPT);
        }
        // Those that decide come first, so that what they refuse is in no other.
        indexes.sort_by_key(|index| (!index.unique, index.oid.to_u32()));
        let all = indexes.len() == count;
        (indexes, all)
    }
}

/// The index with exactly these keys that has a row for every value of them.
fn by_key(indexes: &[Index], keys: &[i16]) -> Option<pg_sys::Oid> {
    let whole = |index: &&Index| {
        index.keys == keys
            && index
                .rows
                .iter()
                .all(|row| matches!(row, Condition::Null(column, false) if keys.contains(column)))
    };
    indexes.iter().find(whole).map(|index| index.oid)
}

/// Whether the relation is a heap of its own, without rules.
unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    // SAFETY: an open relation.
    unsafe {
        let form = (*relation).rd_rel;
        (*form).relkind as u8 == pg_sys::RELKIND_RELATION
            && !(*form).relispartition
            && !(*form).relhassubclass
            && !(*form).relforcerowsecurity
            && (*relation).rd_rules.is_null()
            && (*relation).rd_tableam == pg_sys::GetHeapamTableAmRoutine()
    }
}

/// Whether inserting asks for nothing but the row and its index entries.
unsafe fn takes_inserts(relation: pg_sys::Relation, kept: Kept) -> bool {
    // SAFETY: an open table.
    unsafe {
        checks_are_kept(relation, kept)
            && triggers(
                relation,
                |all| {
                    !(all.trig_insert_before_row
                        || all.trig_insert_instead_row
                        || all.trig_insert_before_statement
                        || all.trig_insert_after_statement
                        || all.trig_insert_new_table)
                },
                |trigger| {
                    const ON_INSERT: i16 = pg_sys::TRIGGER_TYPE_INSERT as i16;
                    trigger.tgtype & ON_INSERT == 0 || references_one_of(trigger, kept.locked)
                },
            )
    }
}

/// Whether updating columns that are in no index asks for nothing but the row.
unsafe fn takes_updates(relation: pg_sys::Relation, kept: Kept) -> bool {
    // SAFETY: an open table.
    unsafe {
        checks_are_kept(relation, kept)
            && triggers(
                relation,
                |all| {
                    !(all.trig_update_before_row
                        || all.trig_update_instead_row
                        || all.trig_update_before_statement
                        || all.trig_update_after_statement
                        || all.trig_update_old_table
                        || all.trig_update_new_table)
                },
                |trigger| {
                    // Of foreign keys, which have nothing to do while their columns stay as they are.
                    const ON_UPDATE: i16 = pg_sys::TRIGGER_TYPE_UPDATE as i16;
                    trigger.tgtype & ON_UPDATE == 0 || trigger.tgisinternal
                },
            )
    }
}

unsafe fn triggers(
    relation: pg_sys::Relation,
    all: impl FnOnce(&pg_sys::TriggerDesc) -> bool,
    each: impl Fn(&pg_sys::Trigger) -> bool,
) -> bool {
    // SAFETY: an open table, whose triggers live as long as it is open.
    unsafe {
        let Some(triggers) = (*relation).trigdesc.as_ref() else { return true };
        let count = usize::try_from(triggers.numtriggers).unwrap_or_default();
        all(triggers) && std::slice::from_raw_parts(triggers.triggers, count).iter().all(each)
    }
}

/// Whether a trigger is the check of a foreign key to one of the tables.
fn references_one_of(trigger: &pg_sys::Trigger, tables: &[&CStr]) -> bool {
    // SAFETY: lookups in the system caches with valid C strings.
    let referenced = |table: &&CStr| unsafe {
        let schema = pg_sys::get_namespace_oid(c"billing".as_ptr(), true);
        pg_sys::get_relname_relid(table.as_ptr(), schema) == trigger.tgconstrrelid
    };
    trigger.tgisinternal
        && trigger.tgfoid == pg_sys::Oid::from(pg_sys::F_RI_FKEY_CHECK_INS)
        && tables.iter().any(referenced)
}

unsafe fn checks_are_kept(relation: pg_sys::Relation, kept: Kept) -> bool {
    // SAFETY: an open table.
    unsafe {
        let Some(constraints) = (*(*relation).rd_att).constr.as_ref() else { return true };
        let count = usize::from(constraints.num_check);
        #[cfg(feature = "pg18")]
        let generated = constraints.has_generated_stored || constraints.has_generated_virtual;
        #[cfg(not(feature = "pg18"))]
        let generated = constraints.has_generated_stored;
        !generated
            && (0..count).all(|place| {
                let name = CStr::from_ptr((*constraints.check.add(place)).ccname);
                kept.checks.contains(&name)
            })
    }
}

unsafe fn attribute(descriptor: pg_sys::TupleDesc, name: &CStr) -> Option<i16> {
    // SAFETY: a valid descriptor and C string.
    let number = unsafe { pg_sys::SPI_fnumber(descriptor, name.as_ptr()) };
    i16::try_from(number).ok().filter(|number| *number > 0)
}

unsafe fn attribute_of(descriptor: pg_sys::TupleDesc, number: i16) -> pg_sys::Form_pg_attribute {
    // SAFETY: a column of the descriptor.
    unsafe {
        #[cfg(feature = "pg18")]
        return pg_sys::TupleDescAttr(descriptor, core::ffi::c_int::from(number - 1));
        #[cfg(not(feature = "pg18"))]
        (*descriptor).attrs.as_mut_ptr().add(usize::try_from(number - 1).unwrap_or_default())
    }
}

/// The function that compares two values of the type.
fn equality(oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    Some(pg_sys::Oid::from(match oid {
        pg_sys::TEXTOID => pg_sys::F_TEXTEQ,
        pg_sys::UUIDOID => pg_sys::F_UUID_EQ,
        pg_sys::INT8OID => pg_sys::F_INT8EQ,
        _ => return None,
    }))
}

/// Whether two values are the same, by their bytes: so are all that are compared here.
unsafe fn is_equal(oid: pg_sys::Oid, one: pg_sys::Datum, other: pg_sys::Datum) -> bool {
    // SAFETY: both are of that type, and not null.
    unsafe {
        match oid {
            pg_sys::INT8OID => one.value() == other.value(),
            pg_sys::UUIDOID => {
                pgrx::Uuid::from_polymorphic_datum(one, false, oid)
                    == pgrx::Uuid::from_polymorphic_datum(other, false, oid)
            }
            pg_sys::TEXTOID => {
                <&str>::from_polymorphic_datum(one, false, oid)
                    == <&str>::from_polymorphic_datum(other, false, oid)
            }
            _ => false,
        }
    }
}

unsafe fn begin_scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: core::ffi::c_int,
) -> pg_sys::IndexScanDesc {
    // SAFETY: both are open, and the snapshot outlives the scan.
    unsafe {
        #[cfg(feature = "pg18")]
        return pg_sys::index_beginscan(relation, index, snapshot, std::ptr::null_mut(), keys, 0);
        #[cfg(not(feature = "pg18"))]
        pg_sys::index_beginscan(relation, index, snapshot, keys, 0)
    }
}

enum Lock {
    /// And whether it is another version than the one that was found.
    Got(bool),
    Gone,
    Unclear,
}

unsafe fn lock_tuple(
    relation: pg_sys::Relation,
    at: pg_sys::ItemPointer,
    snapshot: pg_sys::Snapshot,
    slot: *mut pg_sys::TupleTableSlot,
) -> Lock {
    // SAFETY: the function of the table's access method, called like every other function of Postgres.
    unsafe {
        let Some(tuple_lock) = (*(*relation).rd_tableam).tuple_lock else { return Lock::Unclear };
        let mut failure = pg_sys::TM_FailureData::default();
        let one_snapshot = super::keeps_one_snapshot();
        let mut flags = pg_sys::TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS as u8;
        if !one_snapshot {
            flags |= pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION as u8;
        }
        let command = pg_sys::GetCurrentCommandId(true);
        let result = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            tuple_lock(
                relation,
                at,
                snapshot,
                slot,
                command,
                pg_sys::LockTupleMode::LockTupleExclusive,
                pg_sys::LockWaitPolicy::LockWaitBlock,
                flags,
                &mut failure,
            )
        });
        match result {
            pg_sys::TM_Result::TM_Ok => Lock::Got(failure.traversed),
            pg_sys::TM_Result::TM_Deleted if !one_snapshot => Lock::Gone,
            // The executor knows the right error.
            _ => Lock::Unclear,
        }
    }
}
