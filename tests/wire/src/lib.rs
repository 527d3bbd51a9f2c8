//! What the wire tests share: clusters, sessions, Stripe's signature, and the books to compare with.

pub mod books;
pub mod cluster;
pub mod session;
pub mod stripe;

use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::OnceLock;

/// What a test answers: the first broken expectation ends it.
pub type Tested = Result<(), libtest_mimic::Failed>;

/// Whether the stated sizes are run (`BILLING_LONG=1`) or small ones.
pub fn long() -> bool {
    std::env::var("BILLING_LONG").is_ok_and(|value| value == "1")
}

/// The size for this run.
pub fn sized(small: usize, stated: usize) -> usize {
    if long() { stated } else { small }
}

/// The seed of this run; `BILLING_SEED` repeats one.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("BILLING_SEED") {
        Ok(seed) => seed.parse().expect("BILLING_SEED is a number"),
        Err(_) => rand::random::<u32>().into(),
    })
}

/// Random numbers of one part of a test, the same for the same seed.
pub fn random(part: u64) -> StdRng {
    StdRng::seed_from_u64(seed() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Says a figure, in long runs only.
pub fn figure(text: impl FnOnce() -> String) {
    if long() {
        println!("    {}", text());
    }
}

/// Runs the body of a test on a runtime of its own.
pub fn run<F: Future<Output = ()>>(body: F) -> Tested {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(body);
    Ok(())
}

/// A uuid from random bytes.
pub fn uuid(random: &mut StdRng) -> String {
    use rand::Rng;
    let hex = format!("{:032x}", random.random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
