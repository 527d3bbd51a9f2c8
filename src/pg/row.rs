//! Composite answers: a struct that names its columns in order becomes one SQL row.

use billing_core::outcome::{Detail, Reason};
use pgrx::IntoDatum;

pub use super::raw::RowWriter;

/// A struct that answers as a composite type.
pub trait Row: Sized {
    /// Writes every column, in the order of the SQL type.
    fn write(self, row: &mut RowWriter);
}

impl RowWriter {
    /// Writes the three columns that every outcome begins with.
    pub fn outcome(&mut self, reason: Reason, detail: Option<Detail>) -> &mut RowWriter {
        self.column(Some(reason == Reason::Applied)).label(reason.as_str()).column(detail.map(Detail::as_str))
    }

    /// Writes as many nulls.
    pub fn nulls(&mut self, count: usize) -> &mut RowWriter {
        for _ in 0..count {
            self.column(None::<bool>);
        }
        self
    }

    /// Writes the next column.
    pub fn column<T: IntoDatum>(&mut self, value: Option<T>) -> &mut RowWriter {
        self.push(value.and_then(IntoDatum::into_datum));
        self
    }
}

/// Ties a [`Row`] to the SQL type of that name.
macro_rules! sql_row {
    ($row:ty, $name:literal) => {
        pgrx::impl_sql_translatable!($row, $name);

        // SAFETY: `RowWriter` forms the tuple from the descriptor of the very call's result type.
        unsafe impl pgrx::callconv::BoxRet for $row {
            unsafe fn box_into<'fcx>(
                self,
                fcinfo: &mut pgrx::callconv::FcInfo<'fcx>,
            ) -> pgrx::datum::Datum<'fcx> {
                unsafe { $crate::pg::RowWriter::answer(self, fcinfo) }
            }
        }
    };
}
pub(crate) use sql_row;
