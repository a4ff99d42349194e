//! Random numbers by seed (SplitMix64), so that what failed once fails again.

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(crate) fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Small and large ones, of both signs.
    pub(crate) fn number(&mut self) -> i64 {
        let bits = self.below(64);
        (self.next() >> bits) as i64 * if self.below(2) == 0 { 1 } else { -1 }
    }

    pub(crate) fn text(&mut self) -> String {
        (0..self.below(9)).map(|_| *self.one_of(&['a', 'Z', '0', ' ', '"', 'ü', '漢', '\u{1f600}'])).collect()
    }
}
