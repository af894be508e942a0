//! Keys that were surely never named: a Bloom filter that grows, so that a replay from the start need not ask the rows about
//! each new key.

use crate::key::Key;

const BITS_FIRST: u64 = 1 << 22;
const BITS_PER_KEY: u64 = 10;
const PROBES: u64 = 6;

/// A filter over every key since the start, or nothing if the start was not seen.
pub struct Seen {
    layers: Option<Vec<Layer>>,
}

struct Layer {
    bits: Vec<u64>,
    n_keys: u64,
}

impl Seen {
    /// An empty filter, or one that is never sure.
    pub fn new(from_start: bool) -> Self {
        Self { layers: from_start.then(|| vec![Layer::new(BITS_FIRST)]) }
    }

    /// A record or a row names this key.
    pub fn insert(&mut self, key: &Key) {
        let Some(layers) = &mut self.layers else { return };
        if layers.iter().any(|layer| layer.contains(key)) {
            return;
        }
        let n_bits = layers.last().map_or(BITS_FIRST, Layer::n_bits);
        if layers.last().is_none_or(|layer| layer.n_keys * BITS_PER_KEY > n_bits) {
            layers.push(Layer::new(n_bits * 2));
        }
        if let Some(layer) = layers.last_mut() {
            layer.insert(key);
        }
    }

    /// No record and no row names this key.
    pub fn surely_not(&self, key: &Key) -> bool {
        self.layers.as_ref().is_some_and(|layers| !layers.iter().any(|layer| layer.contains(key)))
    }
}

impl Layer {
    fn new(n_bits: u64) -> Self {
        let words = usize::try_from(n_bits / 64).expect("a filter that fits into memory");
        Self { bits: vec![0; words], n_keys: 0 }
    }

    fn n_bits(&self) -> u64 {
        self.bits.len() as u64 * 64
    }

    fn probes(&self, key: &Key) -> impl Iterator<Item = (usize, u64)> + use<> {
        let n_bits = self.n_bits();
        let bytes = key.as_bytes();
        let half = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 of 16 bytes"));
        // A UUIDv7 varies little in its first half, so mix both before probing.
        let first = (half(0) ^ half(8).rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let step = (half(8) ^ first.rotate_left(31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        (0..PROBES).map(move |n| {
            let bit = (first.wrapping_add(step.wrapping_mul(n)) >> 8) % n_bits;
            (usize::try_from(bit / 64).expect("within the filter"), 1 << (bit % 64))
        })
    }

    fn contains(&self, key: &Key) -> bool {
        self.probes(key).all(|(word, bit)| self.bits[word] & bit != 0)
    }

    fn insert(&mut self, key: &Key) {
        for (word, bit) in self.probes(key) {
            self.bits[word] |= bit;
        }
        self.n_keys += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_seen_is_never_denied_and_few_others_are_suspected() {
        let mut seen = Seen::new(true);
        let key = |n: u32| Key::named("test", &n.to_string());
        for n in 0..500_000 {
            seen.insert(&key(n));
        }
        assert!((0..500_000).all(|n| !seen.surely_not(&key(n))));
        let suspected = (500_000..600_000).filter(|&n| !seen.surely_not(&key(n))).count();
        assert!(suspected < 5_000, "{suspected} of 100,000");
    }

    #[test]
    fn a_filter_that_missed_the_start_is_never_sure() {
        assert!(!Seen::new(false).surely_not(&Key::GENESIS));
    }
}
