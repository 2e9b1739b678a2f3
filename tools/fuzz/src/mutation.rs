//! Changing inputs, the same way for the same seed.

/// Numbers that lengths, counts and offsets are lied with.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 33, 1 << 62, i64::MAX as u64, u64::MAX];

/// A source of changes (SplitMix64).
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// One that makes the same changes for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(len + 1), self.below(len + 1));
        a.min(b)..a.max(b)
    }

    /// One to four changes.
    pub fn mutate(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str]) {
        for _ in 0..=self.below(4) {
            self.change(input, others, words);
        }
    }

    fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str]) {
        if input.is_empty() {
            input.push(self.next() as u8);
            return;
        }
        let at = self.below(input.len());
        match self.below(if words.is_empty() { 8 } else { 10 }) {
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.next() as u8,
            2 | 3 => {
                let width = [2, 4, 8][self.below(3)];
                let number = NUMBERS[self.below(NUMBERS.len())].wrapping_sub(self.next() % 2).to_le_bytes();
                let end = input.len().min(at + width);
                input[at..end].copy_from_slice(&number[..end - at]);
            }
            4 => drop(input.drain(self.range(input.len()))),
            5 => {
                let piece = input[self.range(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            6 => input.truncate(at),
            7 if !others.is_empty() => {
                let other = &others[self.below(others.len())];
                let piece = other[self.range(other.len())].to_vec();
                let end = input.len().min(at + self.below(piece.len() + 1));
                input.splice(at..end, piece);
            }
            7 => input.push(self.next() as u8),
            _ => {
                let word = words[self.below(words.len())].bytes();
                input.splice(at..at, word);
            }
        }
    }
}

/// The first `count` inputs that come of `seeds`; a change may be changed again.
pub fn mutations<'a>(seeds: &'a [Vec<u8>], words: &'a [&'a str], count: usize) -> impl Iterator<Item = Vec<u8>> + 'a {
    /// Longer inputs would only be slower.
    const BYTES_MAX: usize = 64 << 10;
    let mut mutator = Mutator::new(1);
    let mut last = Vec::new();
    (0..count).map(move |_| {
        let mut input = match mutator.below(4) {
            0 if !last.is_empty() => std::mem::take(&mut last),
            _ if seeds.is_empty() => Vec::new(),
            _ => seeds[mutator.below(seeds.len())].clone(),
        };
        mutator.mutate(&mut input, seeds, words);
        input.truncate(BYTES_MAX);
        last.clone_from(&input);
        input
    })
}
