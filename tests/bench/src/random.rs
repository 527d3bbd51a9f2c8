//! Ids as providers and callers make them, from a small generator.

use uuid::Uuid;

/// SplitMix64: fast, and good enough to spread keys over an index.
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Random {
        let clock = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        Random(clock ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A random uuid, as callers use for idempotency keys.
    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }

    /// `<prefix>` and so many letters and digits.
    pub fn id(&mut self, prefix: &str, length: usize) -> String {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut id = String::with_capacity(prefix.len() + length);
        id.push_str(prefix);
        for _ in 0..length {
            id.push(char::from(LETTERS[self.below(62)]));
        }
        id
    }

    /// A checkout session's id.
    pub fn session(&mut self) -> String {
        self.id("cs_test_a1", 56)
    }

    /// Sixteen bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        self.uuid().into_bytes()
    }
}
