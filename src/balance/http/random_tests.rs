//! Chance with a seed, for tests: the same in every run.

/// SplitMix64.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("it fits");
        usize::try_from(self.next() % end).expect("it is less")
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Changes some bytes: replaces, removes, doubles, or puts in what is of use to a smuggler.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        const SPICE: [&[u8]; 14] = [
            b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\xff", b",", b";", b"\"",
            b"chunked", b"0", b"_",
        ];
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(4) {
                0 if at < bytes.len() => bytes[at] = self.next().to_le_bytes()[0],
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => {
                    let end = (at + self.below(30)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => drop(bytes.splice(at..at, self.pick(&SPICE).iter().copied())),
            }
        }
    }
}
