//! A growing Bloom filter over every key named so far, so that a replay from the start need not look up each new key in the
//! rows.
//!
//! All probes of a key fall into one block of 64 bytes: one cache miss per key and layer instead of eight.

use crate::key::Key;

const BLOCKS_FIRST: usize = 1 << 14;
/// How much larger each layer is than the one before. Every look-up checks all layers, so there should be few.
const GROWTH: usize = 4;
/// The largest layer: 64 MB, sized for 33 million keys. Beyond that, the false positive rate rises and more new keys are
/// looked up without success.
const BLOCKS_MAX: usize = 1 << 20;
const KEYS_PER_BLOCK: usize = 32;
const PROBES: u32 = 8;

/// A filter over every key since the start. `None` if the start was missed.
pub struct Seen {
    layers: Option<Vec<Layer>>,
}

/// 512 bits.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u64; 8]);

struct Layer {
    blocks: Vec<Block>,
    n_keys: usize,
}

impl Seen {
    /// An empty filter if `from_start`, otherwise one that is never sure.
    pub fn new(from_start: bool) -> Self {
        Self { layers: from_start.then(|| vec![Layer::new(BLOCKS_FIRST)]) }
    }

    /// Sizes an empty filter for about `n_keys` keys, so that all fit into one layer and a look-up misses the caches once.
    pub fn expect(&mut self, n_keys: usize) {
        if let Some([first]) = self.layers.as_deref_mut()
            && first.n_keys == 0
        {
            let n_blocks = n_keys.div_ceil(KEYS_PER_BLOCK).next_power_of_two();
            *first = Layer::new(n_blocks.clamp(BLOCKS_FIRST, BLOCKS_MAX));
        }
    }

    /// Adds a key that a record or a row names.
    pub fn insert(&mut self, key: &Key) {
        let Some(layers) = &mut self.layers else { return };
        let hash = hash(key);
        if layers.iter().any(|layer| layer.contains(hash)) {
            return;
        }
        let n_blocks = layers.last().map_or(BLOCKS_FIRST, |layer| layer.blocks.len());
        let is_full = layers.last().is_none_or(|layer| layer.n_keys >= n_blocks * KEYS_PER_BLOCK);
        if is_full && n_blocks < BLOCKS_MAX {
            layers.push(Layer::new((n_blocks * GROWTH).min(BLOCKS_MAX)));
        }
        if let Some(layer) = layers.last_mut() {
            layer.insert(hash);
        }
    }

    /// Whether it is certain that no record and no row names this key.
    pub fn surely_not(&self, key: &Key) -> bool {
        let hash = hash(key);
        self.layers.as_ref().is_some_and(|layers| !layers.iter().any(|layer| layer.contains(hash)))
    }
}

/// The hashes that choose a key's block, and its bits in the block.
fn hash(key: &Key) -> (u64, u64) {
    let bytes = key.as_bytes();
    let half = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 of 16 bytes"));
    // A UUIDv7 varies little in its first half, so mix both.
    let first = u128::from(half(0) ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(half(8) ^ 0x8bb8_4b93_962e_acc9);
    let first = (first >> 64) as u64 ^ first as u64;
    let second = u128::from(first ^ half(8)) * 0x9e37_79b9_7f4a_7c15;
    (first, (second >> 64) as u64 ^ second as u64)
}

impl Layer {
    fn new(n_blocks: usize) -> Self {
        Self { blocks: vec![Block([0; 8]); n_blocks], n_keys: 0 }
    }

    fn block(&self, hash: (u64, u64)) -> usize {
        // The number of blocks is a power of two.
        hash.0 as usize & (self.blocks.len() - 1)
    }

    /// One bit in each of the block's eight words.
    fn bits(hash: (u64, u64)) -> impl Iterator<Item = u64> {
        (0..PROBES).map(move |n| 1 << (hash.1 >> (n * 6) & 63))
    }

    fn contains(&self, hash: (u64, u64)) -> bool {
        let block = &self.blocks[self.block(hash)];
        block.0.iter().zip(Self::bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    fn insert(&mut self, hash: (u64, u64)) {
        let block = self.block(hash);
        for (word, bit) in self.blocks[block].0.iter_mut().zip(Self::bits(hash)) {
            *word |= bit;
        }
        self.n_keys += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_seen_is_never_denied_and_few_others_are_suspected() {
        denies_none_and_suspects_few(Seen::new(true));
        let mut seen = Seen::new(true);
        seen.expect(500_000);
        denies_none_and_suspects_few(seen);
    }

    fn denies_none_and_suspects_few(mut seen: Seen) {
        let key = |n: u32| Key::named("test", &n.to_string());
        for n in 0..500_000 {
            seen.insert(&key(n));
        }
        assert!((0..500_000).all(|n| !seen.surely_not(&key(n))));
        let suspected = (500_000..600_000).filter(|&n| !seen.surely_not(&key(n))).count();
        assert!(suspected < 500, "{suspected} of 100,000");
    }

    #[test]
    fn a_filter_that_missed_the_start_is_never_sure() {
        assert!(!Seen::new(false).surely_not(&Key::GENESIS));
    }
}
