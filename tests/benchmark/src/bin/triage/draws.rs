//! Numbers and words as if by chance, but the same each time.

/// A sequence of numbers (`SplitMix64`).
pub struct Draws(u64);

impl Draws {
    /// The sequence with this beginning.
    pub fn new(beginning: u64) -> Self {
        Self(beginning)
    }

    /// One of some things.
    pub fn one_of<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        let remainder = self.next() % u64::try_from(things.len()).unwrap_or(u64::MAX);
        &things[usize::try_from(remainder).unwrap_or_default()]
    }

    /// A word of two to four syllables, in lower case.
    pub fn word(&mut self) -> String {
        const SYLLABLES: [&str; 24] = [
            "ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pra", "que", "ri", "so", "tu", "va", "wen",
            "xil", "yor", "zun", "stra", "chel", "ding", "ters",
        ];
        let count = *self.one_of(&[2, 3, 4]);
        (0..count).map(|_| *self.one_of(&SYLLABLES)).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
