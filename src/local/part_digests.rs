//! The MD5 of a content and of each of its parts, in one pass over the bytes.
//!
//! An MD5 is a chain: each step waits for the one before, and a processor that could do several things at once does one. Two
//! digests of the same bytes side by side keep it busy, so that the second one costs next to nothing (`make bench-hot-paths`
//! shows it). A multipart upload needs both: one for each part, so that S3 refuses bytes that were damaged on the way, and one
//! of the whole for the catalog.

use crate::model::{Digest, MD5_BLOCK, Parts};

const BLOCK: usize = MD5_BLOCK as usize;

/// A word of the state, of the whole and of the part.
type Pair = [u32; 2];

/// Before the first block (RFC 1321, section 3.3).
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// How far each step of a round rotates; four numbers a round (RFC 1321, section 3.4).
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// `floor(2^32 * abs(sin(i + 1)))`, one a step (RFC 1321, section 3.4).
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// Digests what it is given, as a whole and in parts.
#[derive(Debug)]
pub struct PartDigests {
    state: [Pair; 4],
    part_size: u64,
    /// Bytes of the parts that are complete.
    before: u64,
    /// Bytes of the part at hand.
    in_part: u64,
    /// What does not fill a block yet.
    rest: [u8; BLOCK],
    rest_length: usize,
    parts: Vec<Digest>,
}

impl PartDigests {
    /// In parts of `part_size` bytes, rounded up to whole blocks.
    pub fn new(part_size: u64) -> Self {
        Self {
            state: START.map(|word| [word; 2]),
            part_size: part_size.max(1).next_multiple_of(MD5_BLOCK),
            before: 0,
            in_part: 0,
            rest: [0; BLOCK],
            rest_length: 0,
            parts: Vec::new(),
        }
    }

    /// The next bytes, of any length.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if self.rest_length > 0 {
            let taken = bytes.len().min(BLOCK - self.rest_length);
            self.rest[self.rest_length..self.rest_length + taken].copy_from_slice(&bytes[..taken]);
            self.rest_length += taken;
            bytes = &bytes[taken..];
            if self.rest_length < BLOCK {
                return;
            }
            let block = self.rest;
            self.rest_length = 0;
            self.take_blocks(&block);
        }
        let whole = bytes.len() / BLOCK * BLOCK;
        let (blocks, rest) = bytes.split_at(whole);
        self.take_blocks(blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_length = rest.len();
    }

    fn take_blocks(&mut self, mut blocks: &[u8]) {
        while !blocks.is_empty() {
            let room = usize::try_from(self.part_size - self.in_part).unwrap_or(usize::MAX);
            // A part is whole blocks, so what is left of it is, too.
            let (now, later) = blocks.split_at(blocks.len().min(room));
            compress(&mut self.state, now);
            self.in_part += now.len() as u64;
            if self.in_part == self.part_size {
                self.end_part(&[]);
            }
            blocks = later;
        }
    }

    fn end_part(&mut self, rest: &[u8]) {
        let length = self.in_part + rest.len() as u64;
        self.parts.push(finish(self.state, rest, length, 1));
        for (words, start) in self.state.iter_mut().zip(START) {
            words[1] = start;
        }
        self.before += length;
        self.in_part = 0;
    }

    /// Of the whole, and of its parts.
    pub fn finish(mut self) -> (Digest, Parts) {
        let (rest, length) = (self.rest, self.rest_length);
        let rest = &rest[..length];
        let whole = finish(self.state, rest, self.before + self.in_part + length as u64, 0);
        if self.in_part > 0 || length > 0 || self.parts.is_empty() {
            self.end_part(rest);
        }
        (whole, Parts { size: self.part_size, digests: self.parts })
    }
}

/// Pads the rest of a content of `length` bytes and gives the digest of one of the two (RFC 1321, sections 3.1, 3.2 and 3.5).
fn finish(mut state: [Pair; 4], rest: &[u8], length: u64, which: usize) -> Digest {
    let mut last = [0; 2 * BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    let padded = if rest.len() < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
    last[padded - 8..padded].copy_from_slice(&length.wrapping_mul(8).to_le_bytes());
    compress(&mut state, &last[..padded]);
    let mut digest = [0; 16];
    for (bytes, words) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&words[which].to_le_bytes());
    }
    Digest(digest)
}

/// Takes whole blocks into both states.
fn compress(state: &mut [Pair; 4], blocks: &[u8]) {
    let mut now = *state;
    for block in blocks.chunks_exact(BLOCK) {
        let mut words = [0; 16];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let before = now;
        round(&mut now, &words, 0, |i| i, |x, y, z| z ^ (x & (y ^ z)));
        round(&mut now, &words, 1, |i| 5 * i + 1, |x, y, z| (x & z).wrapping_add(y & !z));
        round(&mut now, &words, 2, |i| 3 * i + 5, |x, y, z| x ^ y ^ z);
        round(&mut now, &words, 3, |i| 7 * i, |x, y, z| y ^ (x | !z));
        for (now, before) in now.iter_mut().zip(before) {
            *now = [now[0].wrapping_add(before[0]), now[1].wrapping_add(before[1])];
        }
    }
    *state = now;
}

/// Sixteen steps in both lanes, each `a = b + ((a + mix(b, c, d) + word + sine) <<< shift)`.
#[inline(always)]
fn round(
    state: &mut [Pair; 4],
    words: &[u32; 16],
    number: usize,
    place: impl Fn(usize) -> usize,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    let step = |i: usize, a: Pair, b: Pair, c: Pair, d: Pair| {
        let (word, sine, shift) = (words[place(i) % 16], SINES[16 * number + i], SHIFTS[number][i % 4]);
        let lane = |lane: usize| {
            let sum = a[lane].wrapping_add(word).wrapping_add(sine).wrapping_add(mix(b[lane], c[lane], d[lane]));
            sum.rotate_left(shift).wrapping_add(b[lane])
        };
        [lane(0), lane(1)]
    };
    let [mut a, mut b, mut c, mut d] = *state;
    // Counted by hand, since the compiler unrolls this and keeps both lanes in plain registers; it makes slow vectors of a `for`.
    let mut i = 0;
    while i < 16 {
        a = step(i, a, b, c, d);
        d = step(i + 1, d, a, b, c);
        c = step(i + 2, c, d, a, b);
        b = step(i + 3, b, c, d, a);
        i += 4;
    }
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};
    use proptest::prelude::*;

    use super::*;

    fn md5(bytes: &[u8]) -> Digest {
        Digest(Md5::digest(bytes).into())
    }

    #[test]
    fn digests_are_those_of_rfc_1321() {
        // Section A.5.
        for (text, hex) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            let mut digests = PartDigests::new(5 << 20);
            digests.update(text.as_bytes());
            let (whole, parts) = digests.finish();
            assert_eq!((whole.to_hex().as_str(), parts.digests.as_slice()), (hex, &[whole][..]));
        }
    }

    proptest! {
        #[test]
        fn the_whole_and_every_part_are_as_the_library_digests_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..1500),
            blocks in 1..9_u64,
            pieces in proptest::collection::vec(0..400_usize, 0..8),
        ) {
            let mut digests = PartDigests::new(blocks * 64);
            let mut rest = &bytes[..];
            for piece in pieces {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                digests.update(now);
                rest = later;
            }
            digests.update(rest);
            let (whole, parts) = digests.finish();
            prop_assert_eq!(whole, md5(&bytes));
            let expected: Vec<Digest> = match bytes.is_empty() {
                true => vec![md5(&[])],
                false => bytes.chunks(blocks as usize * 64).map(md5).collect(),
            };
            prop_assert_eq!(parts, Parts { size: blocks * 64, digests: expected });
        }
    }
}
