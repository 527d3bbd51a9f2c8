//! A webhook as an application takes it: verified and read here, then statement by statement.
//!
//! A careful program with as few statements as do the job: everything in one transaction, all prepared,
//! duplicates left to the unique indexes, user and link looked up at once. The ways that a fresh checkout by a
//! linked customer does not take are errors here; they would cost nothing where they are not taken.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use crate::Failure;
use crate::webhook::signature;
use crate::world::WEBHOOK_SECRET;

/// In the order in which they are run, between BEGIN and COMMIT.
pub const STATEMENTS: [&str; 6] = [
    "INSERT INTO app.webhook_events
         (provider, event_id, event_type, status, attempts, received_at, occurred_at, claim_token, livemode,
          api_version, object_id, object_type, payload_summary)
     VALUES ('stripe', $1, $2, 'processing', 1, now(), to_timestamp($3::bigint), gen_random_uuid(), $4, $5, $6, $7,
             jsonb_build_object('id', $1::text, 'type', $2::text, 'object_id', $6::text, 'object_type', $7::text))
     ON CONFLICT (provider, event_id) DO NOTHING",
    "SELECT customer_id, stripe_customer_id FROM app.customers WHERE user_id = $1",
    "INSERT INTO app.charges (payment_ref, source_ref) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    "UPDATE app.balances SET balance = balance + $2, last_entry_at = greatest(clock_timestamp(), last_entry_at)
     WHERE customer_id = $1 AND credit_type = 'credits' RETURNING balance, last_entry_at",
    "INSERT INTO app.ledger
         (customer_id, credit_type, kind, credits, balance_after, amount_minor, currency, idempotency_key, source_ref,
          payment_ref, fingerprint, event, livemode, metadata, created_at)
     VALUES ($1, 'credits', 'purchase', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '{}', $12)
     RETURNING entry_id",
    "UPDATE app.webhook_events SET status = 'completed', processed_at = clock_timestamp(), result = $2::text::jsonb
     WHERE provider = 'stripe' AND event_id = $1",
];

/// What a checkout tells.
struct Checkout<'a> {
    event_id: &'a str,
    event_type: &'a str,
    created: i64,
    livemode: bool,
    api_version: &'a str,
    session: &'a str,
    object_type: &'a str,
    payment: &'a str,
    customer: &'a str,
    user: Uuid,
    credits: i64,
    amount_minor: i64,
    currency: &'a str,
}

/// Takes a delivery.
pub async fn deliver(
    client: &Client,
    prepared: &[Statement],
    body: &str,
    header: &str,
) -> Result<(), Failure> {
    verify(body, header)?;
    let event: Value = serde_json::from_str(body)?;
    let checkout = read(&event).ok_or("the checkout cannot be read")?;
    client.batch_execute("BEGIN").await?;
    apply(client, prepared, &checkout).await?;
    client.batch_execute("COMMIT").await?;
    Ok(())
}

fn verify(body: &str, header: &str) -> Result<(), Failure> {
    let item = |name: &str| header.split(',').find_map(|item| item.strip_prefix(name));
    let (Some(timestamp), Some(given)) = (item("t="), item("v1=")) else {
        return Err("the header is malformed".into());
    };
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    if now.abs_diff(timestamp.parse()?) > 300 || signature(WEBHOOK_SECRET, timestamp, body)? != given {
        return Err("the signature is refused".into());
    }
    Ok(())
}

fn read(event: &Value) -> Option<Checkout<'_>> {
    let session = event.pointer("/data/object")?;
    let metadata = &session["metadata"];
    let paid = session["mode"] == "payment" && session["payment_status"] == "paid";
    paid.then_some(())?;
    Some(Checkout {
        event_id: event["id"].as_str()?,
        event_type: event["type"].as_str()?,
        created: event["created"].as_i64()?,
        livemode: event["livemode"].as_bool()?,
        api_version: event["api_version"].as_str()?,
        session: session["id"].as_str()?,
        object_type: session["object"].as_str()?,
        payment: session["payment_intent"].as_str()?,
        customer: session["customer"].as_str()?,
        user: metadata["user_id"].as_str()?.parse().ok()?,
        credits: metadata["credits"].as_str()?.parse().ok()?,
        amount_minor: session["amount_total"].as_i64()?,
        currency: session["currency"].as_str()?,
    })
}

async fn apply(client: &Client, prepared: &[Statement], checkout: &Checkout<'_>) -> Result<(), Failure> {
    let [event, customer, charge, balance, entry, complete] = prepared else {
        return Err("not every statement is prepared".into());
    };
    let Checkout { event_id, event_type, created, livemode, api_version, session, object_type, .. } =
        checkout;
    let arguments: [&(dyn ToSql + Sync); 7] =
        [event_id, event_type, created, livemode, api_version, session, object_type];
    once(client.execute(event, &arguments).await?)?;

    let row: Row = client.query_one(customer, &[&checkout.user]).await?;
    let (customer_id, linked): (Uuid, Option<&str>) = (row.get(0), row.get(1));
    if linked != Some(checkout.customer) {
        return Err("the customer is not linked".into());
    }

    let source = format!("stripe:{session}");
    once(client.execute(charge, &[&checkout.payment, &source]).await?)?;
    let row = client.query_one(balance, &[&customer_id, &checkout.credits]).await?;
    let (after, at): (i64, std::time::SystemTime) = (row.get(0), row.get(1));
    let (key, origin) = (format!("billing_rpc:{source}"), format!("stripe:{event_id}"));
    let digest = Sha256::digest(format!("{customer_id}:{}:{source}", checkout.credits));
    let fingerprint = &digest[..16];
    let arguments: [&(dyn ToSql + Sync); 12] = [
        &customer_id,
        &checkout.credits,
        &after,
        &checkout.amount_minor,
        &checkout.currency,
        &key,
        &source,
        &checkout.payment,
        &fingerprint,
        &origin,
        livemode,
        &at,
    ];
    let entry_id: i64 = client.query_one(entry, &arguments).await?.get(0);

    let result = json!({
        "reason": "applied", "detail": null, "entry_id": entry_id, "customer_id": customer_id.to_string(),
        "credit_type": "credits", "credits": checkout.credits, "balance": after,
    });
    once(client.execute(complete, &[event_id, &result.to_string()]).await?)
}

fn once(rows: u64) -> Result<(), Failure> {
    if rows == 1 { Ok(()) } else { Err("the event or its payment is not new".into()) }
}
