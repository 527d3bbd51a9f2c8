//! Signed checkout bodies, as Stripe would send them now.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Failure;
use crate::random::Random;
use crate::world::{WEBHOOK_SECRET, World};

/// About 3.6 kB with its ids.
const BODY: &str = include_str!("../checkout.json");

/// Signs so many distinct bodies, before any clock runs.
pub fn sign(world: &World, count: usize) -> Result<(), Failure> {
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs().to_string();
    let mut random = Random::new(2);
    let mut bodies = world.bodies.borrow_mut();
    bodies.clear();
    for _ in 0..count {
        let customer = &world.customers[random.below(world.customers.len())];
        let body = BODY
            .replace("@event@", &random.id("evt_1", 23))
            .replace("@session@", &random.session())
            .replace("@user@", &customer.user_id)
            .replace("@customer@", &customer.code)
            .replace("@payment@", &random.id("pi_3", 23));
        let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes())?;
        mac.update(now.as_bytes());
        mac.update(b".");
        mac.update(body.as_bytes());
        let signature: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        bodies.push((body, format!("t={now},v1={signature}")));
    }
    Ok(())
}
