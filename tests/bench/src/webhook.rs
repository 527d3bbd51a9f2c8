//! Signed checkout bodies, as Stripe would send them now.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio_postgres::Client;

use crate::Failure;
use crate::calls::{Call, Kind, Side};
use crate::random::Random;
use crate::world::{WEBHOOK_SECRET, World};

/// About 3.6 kB with its ids.
const BODY: &str = include_str!("../checkout.json");

/// Makes and signs so many bodies, before any clock runs: distinct ones, but for those delivered again.
pub fn sign(world: &World, kind: Kind, count: usize) -> Result<(), Failure> {
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs().to_string();
    let mut random = Random::new(2);
    let mut bodies = world.bodies.borrow_mut();
    bodies.clear();
    for _ in 0..count {
        let body = match kind {
            Kind::Redelivery => {
                let sent = world.sent.borrow();
                sent.get(random.below(sent.len().max(1))).ok_or("nothing was sent yet")?.clone()
            }
            Kind::Ignored => checkout(world, &mut random).replace(TYPE, "price.updated"),
            _ => checkout(world, &mut random),
        };
        let secret = if kind == Kind::Forged { "whsec_of_somebody_else" } else { WEBHOOK_SECRET };
        let header = format!("t={now},v1={}", signature(secret, &now, &body)?);
        bodies.push((body, header));
    }
    Ok(())
}

const TYPE: &str = "checkout.session.completed";

/// One body.
pub fn checkout(world: &World, random: &mut Random) -> String {
    let customer = &world.customers[random.below(world.customers.len())];
    BODY.replace("@event@", &random.id("evt_1", 23))
        .replace("@session@", &random.session())
        .replace("@user@", &customer.user_id)
        .replace("@customer@", &customer.code)
        .replace("@payment@", &random.id("pi_3", 23))
}

/// The `v1` of a body at that time.
pub fn signature(secret: &str, timestamp: &str, body: &str) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    Ok(hex(&mac.finalize().into_bytes()))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a delivery wrote, without what differs from one to the next: ids, times, balances, digests.
const WRITTEN: &str = "SELECT jsonb_build_object(
        'event', (SELECT (to_jsonb(e) - '{claim_token,received_at,processed_at}'::text[])
                         #- '{result,entry_id}' #- '{result,balance}'
                  FROM @schema@.webhook_events e WHERE e.event_id = $1),
        'times', (SELECT count(received_at) + count(processed_at)
                   FROM @schema@.webhook_events e WHERE e.event_id = $1),
        'charges', (SELECT jsonb_agg(to_jsonb(c) - 'created_at') FROM @schema@.charges c
                    JOIN @schema@.ledger l ON l.payment_ref = c.payment_ref WHERE l.event = 'stripe:' || $1),
        'entries', (SELECT jsonb_agg(to_jsonb(l) - '{entry_id,created_at,balance_after,fingerprint}'::text[]
                                     || jsonb_build_object('digest', octet_length(l.fingerprint)))
                    FROM @schema@.ledger l WHERE l.event = 'stripe:' || $1)
    )::text";

/// One checkout delivered to each: what they write must be the same, or they are not to be compared.
pub async fn check_alike(client: &Client, world: &World) -> Result<(), Failure> {
    sign(world, Kind::Webhook, 1)?;
    let bodies = world.bodies.borrow().clone();
    let (body, _) = bodies.first().ok_or("no body")?;
    let event: serde_json::Value = serde_json::from_str(body)?;
    let event_id = event["id"].as_str().ok_or("an event has an id")?;
    let mut first: Option<String> = None;
    for (side, schema) in [(Side::Ours, "billing"), (Side::Twin, "twin"), (Side::Application, "app")] {
        *world.bodies.borrow_mut() = bodies.clone();
        let call = Call { side, kind: Kind::Webhook };
        let prepared = call.prepare(client).await?;
        call.make(client, &prepared, world, &mut Random::new(0)).await?;
        let written = WRITTEN.replace("@schema@", schema);
        let written: String = client.query_one(&written, &[&event_id]).await?.get(0);
        match &first {
            None => first = Some(written),
            Some(ours) if *ours == written => {}
            Some(ours) => return Err(format!("{schema} does not write the same\n{ours}\n{written}").into()),
        }
    }
    Ok(())
}
