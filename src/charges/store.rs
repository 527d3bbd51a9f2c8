//! SQL statements on charges.

use billing_core::charges::{Charge, stored};
use billing_core::invoices::is_invoice;
use billing_core::webhooks::Provider;
use pgrx::datum::TimestampWithTimeZone;

use super::Locked;
use crate::error::{Error, Result};
use crate::pg::{self, Client, Rows, Time, statements};

statements! {
    KNOWN(TEXTOID) direct = "SELECT payment_ref FROM billing.charges WHERE payment_ref = $1";
    INSERT(TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID) direct =
        "INSERT INTO billing.charges (payment_ref, source_ref, amount_minor, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING RETURNING payment_ref";
    LOCK(TEXTOID) =
        "SELECT payment_ref, source_ref, amount_minor, refunded_minor, refunded_at, refunds::text, disputes::text,
                called_for::text
         FROM billing.charges WHERE payment_ref = $1 FOR UPDATE";
    TIE(TEXTOID, TEXTOID) =
        "UPDATE billing.charges SET source_ref = $2
         WHERE payment_ref = $1 AND (source_ref IS NULL OR source_ref = 'stripe:' || payment_ref)
             AND source_ref IS DISTINCT FROM $2
         RETURNING payment_ref";
    DELETE(TEXTOID) = "DELETE FROM billing.charges WHERE payment_ref = $1";
    UPDATE(TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, JSONBOID, JSONBOID) =
        "UPDATE billing.charges
         SET amount_minor = $2, refunded_minor = $3, refunded_at = $4, refunds = $5, disputes = $6
         WHERE payment_ref = $1 RETURNING payment_ref";
    NOTE_CALLED_FOR(TEXTOID, TEXTOID, INT8OID) =
        "UPDATE billing.charges
         SET called_for = CASE WHEN $3 > 0 THEN coalesce(called_for, '{}') || pg_catalog.jsonb_build_object($2, $3)
                          ELSE nullif(called_for - $2, '{}') END
         WHERE payment_ref = $1 RETURNING payment_ref";
    OTHERS_CALLED_FOR(TEXTOID, TEXTOID, TEXTOID) =
        "SELECT coalesce(pg_catalog.max((called_for ->> $3)::bigint), 0) FROM billing.charges
         WHERE source_ref = $1 AND payment_ref <> $2";
    PAYMENTS_OF(TEXTOID) =
        "SELECT payment_ref FROM billing.charges WHERE source_ref = $1 ORDER BY payment_ref";
    ENTRIES(TEXTOID, TEXTOID) =
        "SELECT customer_id, credit_type, entry_id, source_ref FROM billing.ledger WHERE source_ref = $1
         UNION ALL
         SELECT customer_id, credit_type, entry_id, source_ref FROM billing.ledger
         WHERE source_ref = $2 AND $2 IS DISTINCT FROM $1
         ORDER BY customer_id, credit_type, entry_id";
    // The grants of an invoice: '#' and '$' are neighbours, and sources are compared by bytes.
    INVOICE_ENTRIES(TEXTOID) =
        "SELECT customer_id, credit_type, entry_id, source_ref FROM billing.ledger
         WHERE source_ref >= $1 || '#' AND source_ref < $1 || '$'
         ORDER BY customer_id, credit_type, entry_id";
}

/// Whether the charge has a row, as far as is committed.
pub fn is_known(client: &Client, payment_ref: &str) -> Result<bool> {
    Ok(KNOWN.with(|s| s.run(client, &[payment_ref.into()]))?.len() == 1)
}

/// Inserts the charge's row; whether it was not there.
pub fn insert(
    client: &Client,
    payment_ref: &str,
    source_ref: Option<&str>,
    amount_minor: Option<i64>,
) -> Result<bool> {
    let created_at = pg::now().timestamp();
    let arguments = [payment_ref.into(), source_ref.into(), amount_minor.into(), created_at.into()];
    Ok(INSERT.with(|s| s.run(client, &arguments))?.len() == 1)
}

/// Locks the charge's row; none if there is none.
pub fn lock(client: &Client, payment_ref: &str) -> Result<Option<Locked>> {
    LOCK.with(|s| s.run(client, &[payment_ref.into()]))?.first(|row| {
        let json = |ordinal| Ok::<_, Error>(row.maybe::<String>(ordinal)?.unwrap_or_else(|| "{}".to_owned()));
        Ok(Locked {
            payment_ref: row.get(1)?,
            source_ref: row.maybe(2)?,
            new: false,
            charge: Charge {
                amount_minor: row.maybe(3)?,
                refunded_minor: row.maybe(4)?.unwrap_or_default(),
                refunded_at: row.maybe::<TimestampWithTimeZone>(5)?.map(|at| Time::of(at).unix()),
                refunds: stored(&json(6)?).ok_or(Error::BrokenInvariant)?,
                disputes: stored(&json(7)?).ok_or(Error::BrokenInvariant)?,
            },
            called_for: serde_json::from_str(&json(8)?).map_err(|_| Error::BrokenInvariant)?,
        })
    })
}

/// Tells a locked charge which session it paid for, if it does not know; whether that is new.
pub fn tie(client: &Client, payment_ref: &str, source_ref: &str) -> Result<bool> {
    Ok(TIE.with(|s| s.run(client, &[payment_ref.into(), source_ref.into()]))?.len() == 1)
}

/// Takes back a charge that this very call made.
pub fn discard(client: &Client, payment_ref: &str) -> Result<()> {
    DELETE.with(|s| s.run(client, &[payment_ref.into()]))?;
    Ok(())
}

/// Writes what is known of a locked charge.
pub fn update(client: &Client, payment_ref: &str, charge: &Charge) -> Result<()> {
    let arguments = [
        payment_ref.into(),
        charge.amount_minor.into(),
        charge.refunded_at.map(|_| charge.refunded_minor).into(),
        charge.refunded_at.and_then(Time::of_unix).and_then(Time::timestamp).into(),
        (!charge.refunds.is_empty()).then(|| pg::jsonb(&charge.refunds_json())).flatten().into(),
        (!charge.disputes.is_empty()).then(|| pg::jsonb(&charge.disputes_json())).flatten().into(),
    ];
    one(UPDATE.with(|s| s.run(client, &arguments))?)
}

/// Remembers how many credits of the source are called for to be undone.
pub fn note_called_for(client: &Client, payment_ref: &str, source_ref: &str, called_for: i64) -> Result<()> {
    one(NOTE_CALLED_FOR
        .with(|s| s.run(client, &[payment_ref.into(), source_ref.into(), called_for.into()]))?)
}

/// The most credits of one grant of the invoice that any other charge of it called for.
pub fn others_called_for(client: &Client, invoice: &str, payment_ref: &str, grant: &str) -> Result<i64> {
    OTHERS_CALLED_FOR
        .with(|s| s.run(client, &[invoice.into(), payment_ref.into(), grant.into()]))?
        .first(|row| row.get(1))?
        .ok_or(Error::BrokenInvariant)
}

fn one(rows: Rows) -> Result<()> {
    if rows.len() == 1 { Ok(()) } else { Err(Error::BrokenInvariant) }
}

/// The payments that events tied to the source.
pub fn payments_of(client: &Client, source_ref: &str) -> Result<Vec<String>> {
    PAYMENTS_OF.with(|s| s.run(client, &[source_ref.into()]))?.all(|row| row.get(1))
}

/// The entries of a source, with the source of each, in the order of locking: of an invoice those of all
/// its plans.
pub fn entries_of(client: &Client, source_ref: &str, itself: Option<&str>) -> Result<Vec<(i64, String)>> {
    let rows = if is_invoice(source_ref) {
        INVOICE_ENTRIES.with(|s| s.run(client, &[source_ref.into()]))
    } else {
        ENTRIES.with(|s| s.run(client, &[source_ref.into(), itself.into()]))
    };
    rows?.all(|row| Ok((row.get(3)?, row.get(4)?)))
}

/// The entries that the charge paid for: by what it is tied to, or by the payment itself as the source.
pub fn entries(client: &Client, provider: Provider, locked: &Locked) -> Result<Vec<(i64, String)>> {
    let itself = format!("{}:{}", provider.as_str(), locked.payment_ref);
    match &locked.source_ref {
        Some(source_ref) => entries_of(client, source_ref, Some(&itself)),
        None => entries_of(client, &itself, None),
    }
}
