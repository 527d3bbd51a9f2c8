//! What the simplest statements say: those that can be done without the executor.
//!
//! A store writes them as SQL like all others; here the text is taken apart, once per backend. Whatever is not of
//! one of these three forms is none of them, and is left to the executor.

use std::ffi::CString;

/// A statement of one of the simplest forms, on a table of schema `billing`.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// Without its schema.
    pub table: CString,
    /// What it does.
    pub deed: Deed,
    /// The columns that it answers with; none for "whether there is one".
    pub answer: Vec<CString>,
}

/// What such a statement does; numbers are those of its arguments, from zero.
#[derive(Debug, PartialEq, Eq)]
pub enum Deed {
    /// `SELECT ... WHERE key = $1 AND ...`, by the key of an index.
    Find {
        /// In the order of the index.
        keys: Vec<CString>,
        /// `FOR UPDATE`
        lock: bool,
    },
    /// `INSERT ... VALUES ($1, ...) ON CONFLICT DO NOTHING`, with or without `OVERRIDING SYSTEM VALUE`
    Insert {
        /// In the order of the arguments.
        columns: Vec<CString>,
    },
    /// `UPDATE ... SET column = $n, ... WHERE key = $1 AND ...`, of a row that the call has locked.
    Update {
        /// The columns that are set, with their arguments.
        set: Vec<(CString, usize)>,
        /// The conditions: first those of an index, in its order, then others.
        when: Vec<(CString, usize)>,
    },
}

impl Shape {
    /// Takes a statement apart.
    pub fn of(sql: &str) -> Option<Shape> {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(rest) = sql.strip_prefix("SELECT ") {
            return Shape::of_select(rest);
        }
        match sql.strip_prefix("INSERT INTO billing.") {
            Some(rest) => Shape::of_insert(rest),
            None => Shape::of_update(sql.strip_prefix("UPDATE billing.")?),
        }
    }

    fn of_select(rest: &str) -> Option<Shape> {
        let (answer, rest) = rest.split_once(" FROM billing.")?;
        let (table, rest) = rest.split_once(" WHERE ")?;
        let (conditions, lock) = match rest.strip_suffix(" FOR UPDATE") {
            Some(conditions) => (conditions, true),
            None => (rest, false),
        };
        let mut keys = Vec::new();
        for (place, (column, argument)) in pairs(conditions, " AND ")?.into_iter().enumerate() {
            (place == argument).then_some(())?;
            keys.push(column);
        }
        Some(Shape { table: name(table)?, deed: Deed::Find { keys, lock }, answer: names(answer)? })
    }

    fn of_insert(rest: &str) -> Option<Shape> {
        let (table, rest) = rest.split_once(" (")?;
        let (columns, rest) = rest
            .split_once(") OVERRIDING SYSTEM VALUE VALUES (")
            .or_else(|| rest.split_once(") VALUES ("))?;
        let (values, rest) = rest.split_once(") ON CONFLICT ")?;
        let columns = names(columns)?;
        let in_order = values.split(", ").enumerate().all(|(place, value)| argument(value) == Some(place));
        (in_order && values.split(", ").count() == columns.len()).then_some(())?;
        let (_, answer) = rest.split_once("DO NOTHING RETURNING ")?;
        Some(Shape { table: name(table)?, deed: Deed::Insert { columns }, answer: names(answer)? })
    }

    fn of_update(rest: &str) -> Option<Shape> {
        let (table, rest) = rest.split_once(" SET ")?;
        let (set, rest) = rest.split_once(" WHERE ")?;
        let (when, answer) = rest.split_once(" RETURNING ")?;
        let deed = Deed::Update { set: pairs(set, ", ")?, when: pairs(when, " AND ")? };
        Some(Shape { table: name(table)?, deed, answer: names(answer)? })
    }
}

/// `column = $n`, so many times.
fn pairs(text: &str, between: &str) -> Option<Vec<(CString, usize)>> {
    let pair = |pair: &str| {
        let (column, value) = pair.split_once(" = ")?;
        Some((name(column)?, argument(value)?))
    };
    text.split(between).map(pair).collect()
}

fn names(text: &str) -> Option<Vec<CString>> {
    text.split(", ").map(name).collect()
}

fn name(text: &str) -> Option<CString> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (!text.is_empty() && text.bytes().all(plain)).then(|| CString::new(text).ok())?
}

/// The place of `$n`, from zero.
fn argument(text: &str) -> Option<usize> {
    text.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}
