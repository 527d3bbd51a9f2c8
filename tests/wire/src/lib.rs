//! What the wire tests share: clusters, sessions, the providers' signatures, and the books to compare with.

pub mod arguments;
pub mod books;
pub mod canaries;
pub mod cluster;
pub mod corpus;
pub mod ends;
pub mod paystack;
pub mod proxy;
pub mod session;
pub mod stripe;
pub mod torture;

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

/// ISO 8601 in UTC, of a Unix time.
pub fn iso(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Days since 0000-03-01: years then end with February.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A uuid from random bytes.
pub fn uuid(random: &mut StdRng) -> String {
    use rand::Rng;
    let hex = format!("{:032x}", random.random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
