//! The two loops that the state digest spends its time in, compiled for what the processor has: expanding an element of
//! at most 64 bytes, and adding lanes. Every version gives the same bytes.
//!
//! BLAKE3's own XOF runs 16 blocks at a time under AVX-512 (0.4 µs an expansion), and one at a time on everything else
//! (2.5 µs), so there is a kernel for AVX2 here that runs 8 (0.8 µs).
#![allow(unsafe_code)]

use super::{BYTES, KEY, LANES};

/// BLAKE3's keyed XOF over an element.
pub(super) fn expand(element: &[u8], out: &mut [u8; BYTES]) {
    #[cfg(target_arch = "x86_64")]
    if x86::wanted() && element.len() <= x86::BLOCK {
        // SAFETY: `wanted` found AVX2.
        unsafe { x86::expand(element, out) };
        return;
    }
    blake3::Hasher::new_keyed(KEY).update(element).finalize_xof().fill(out);
}

/// Takes `old` out of the sum and puts `new` in.
pub(super) fn change(sum: &mut [u16; LANES], old: Option<&[u8; BYTES]>, new: Option<&[u8; BYTES]>) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was just found.
        unsafe { x86::change(sum, old, new) };
        return;
    }
    change_by_lane(sum, old, new);
}

#[inline(always)]
fn change_by_lane(sum: &mut [u16; LANES], old: Option<&[u8; BYTES]>, new: Option<&[u8; BYTES]>) {
    fn lanes(bytes: &[u8; BYTES]) -> impl Iterator<Item = u16> {
        bytes.as_chunks().0.iter().map(|lane| u16::from_le_bytes(*lane))
    }
    match (old, new) {
        (Some(old), Some(new)) => {
            for ((sum, old), new) in sum.iter_mut().zip(lanes(old)).zip(lanes(new)) {
                *sum = sum.wrapping_sub(old).wrapping_add(new);
            }
        }
        (Some(old), None) => sum.iter_mut().zip(lanes(old)).for_each(|(sum, old)| *sum = sum.wrapping_sub(old)),
        (None, Some(new)) => sum.iter_mut().zip(lanes(new)).for_each(|(sum, new)| *sum = sum.wrapping_add(new)),
        (None, None) => {}
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BYTES, KEY, LANES};
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_or_si256, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setr_epi32,
        _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_xor_si256,
    };

    /// Bytes of a BLAKE3 block.
    pub(super) const BLOCK: usize = 64;
    /// Blocks of output at a time.
    const WIDTH: usize = 8;
    /// BLAKE3 §2.2: the initialisation vector.
    const IV: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];
    /// BLAKE3 §2.2: CHUNK_START, CHUNK_END, ROOT and KEYED_HASH.
    const FLAGS: u32 = 1 | 2 | 8 | 16;
    /// BLAKE3 §2.2: the message permutation, applied between rounds.
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    /// Which message word each round uses where.
    const SCHEDULE: [[usize; 16]; 7] = {
        let mut schedule = [[0; 16]; 7];
        let mut round = 0;
        while round < 7 {
            let mut word = 0;
            while word < 16 {
                schedule[round][word] = if round == 0 { word } else { schedule[round - 1][PERMUTATION[word]] };
                word += 1;
            }
            round += 1;
        }
        schedule
    };

    /// Whether the kernel of this module is the best there is: AVX2 without the AVX-512 that BLAKE3's own kernel needs.
    pub(super) fn wanted() -> bool {
        let avx512 = std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl");
        std::is_x86_feature_detected!("avx2") && !avx512
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn change(sum: &mut [u16; LANES], old: Option<&[u8; BYTES]>, new: Option<&[u8; BYTES]>) {
        super::change_by_lane(sum, old, new);
    }

    /// BLAKE3's keyed XOF over one block, eight blocks of output at a time: a root compression that differs from block to
    /// block in its counter only.
    #[target_feature(enable = "avx2")]
    pub(super) fn expand(element: &[u8], out: &mut [u8; BYTES]) {
        let mut block = [0; BLOCK];
        block[..element.len()].copy_from_slice(element);
        let (mut message, mut key) = ([_mm256_setzero_si256(); 16], [_mm256_setzero_si256(); 8]);
        for (word, bytes) in message.iter_mut().zip(block.as_chunks().0) {
            *word = _mm256_set1_epi32(i32::from_le_bytes(*bytes));
        }
        for (word, bytes) in key.iter_mut().zip(KEY.as_chunks().0) {
            *word = _mm256_set1_epi32(i32::from_le_bytes(*bytes));
        }
        for (batch, out) in out.as_chunks_mut::<{ WIDTH * BLOCK }>().0.iter_mut().enumerate() {
            let first = _mm256_set1_epi32((batch * WIDTH) as i32);
            let counter = _mm256_add_epi32(first, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            compress(&key, &message, counter, element.len() as i32, out);
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn compress(
        key: &[__m256i; 8],
        message: &[__m256i; 16],
        counter: __m256i,
        length: i32,
        out: &mut [u8; WIDTH * BLOCK],
    ) {
        let rotate_16 = _mm256_setr_epi8(
            2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
        );
        let rotate_8 = _mm256_setr_epi8(
            1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
        );
        let iv = |word: usize| _mm256_set1_epi32(IV[word] as i32);
        let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
        let (zero, flags) = (_mm256_setzero_si256(), _mm256_set1_epi32(FLAGS as i32));
        let length = _mm256_set1_epi32(length);
        let mut v = [k0, k1, k2, k3, k4, k5, k6, k7, iv(0), iv(1), iv(2), iv(3), counter, zero, length, flags];
        macro_rules! mix {
            ($a:literal $b:literal $c:literal $d:literal, $x:expr, $y:expr) => {
                v[$a] = _mm256_add_epi32(_mm256_add_epi32(v[$a], v[$b]), $x);
                v[$d] = _mm256_shuffle_epi8(_mm256_xor_si256(v[$d], v[$a]), rotate_16);
                v[$c] = _mm256_add_epi32(v[$c], v[$d]);
                v[$b] = _mm256_xor_si256(v[$b], v[$c]);
                v[$b] = _mm256_or_si256(_mm256_srli_epi32::<12>(v[$b]), _mm256_slli_epi32::<20>(v[$b]));
                v[$a] = _mm256_add_epi32(_mm256_add_epi32(v[$a], v[$b]), $y);
                v[$d] = _mm256_shuffle_epi8(_mm256_xor_si256(v[$d], v[$a]), rotate_8);
                v[$c] = _mm256_add_epi32(v[$c], v[$d]);
                v[$b] = _mm256_xor_si256(v[$b], v[$c]);
                v[$b] = _mm256_or_si256(_mm256_srli_epi32::<7>(v[$b]), _mm256_slli_epi32::<25>(v[$b]));
            };
        }
        for words in &SCHEDULE {
            let m = |word: usize| message[words[word]];
            mix!(0 4 8 12, m(0), m(1));
            mix!(1 5 9 13, m(2), m(3));
            mix!(2 6 10 14, m(4), m(5));
            mix!(3 7 11 15, m(6), m(7));
            mix!(0 5 10 15, m(8), m(9));
            mix!(1 6 11 12, m(10), m(11));
            mix!(2 7 8 13, m(12), m(13));
            mix!(3 4 9 14, m(14), m(15));
        }
        for word in 0..8 {
            store(out, word, _mm256_xor_si256(v[word], v[word + 8]));
            store(out, word + 8, _mm256_xor_si256(v[word + 8], key[word]));
        }
    }

    /// Writes one word of each of the eight blocks.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn store(out: &mut [u8; WIDTH * BLOCK], word: usize, lanes: __m256i) {
        // SAFETY: both types are 32 bytes without padding, and every bit pattern is eight integers.
        let lanes: [u32; WIDTH] = unsafe { std::mem::transmute(lanes) };
        for (block, lane) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(lanes) {
            block[4 * word..4 * word + 4].copy_from_slice(&lane.to_le_bytes());
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_avx2_kernel_agrees_with_blake3_on_every_length() {
            if !std::is_x86_feature_detected!("avx2") {
                return;
            }
            for length in 0..=BLOCK {
                let element: Vec<u8> = (0..length).map(|byte| (byte * 37 + length) as u8).collect();
                let (mut ours, mut theirs) = ([0; BYTES], [0; BYTES]);
                // SAFETY: AVX2 was just found.
                unsafe { expand(&element, &mut ours) };
                blake3::Hasher::new_keyed(KEY).update(&element).finalize_xof().fill(&mut theirs);
                assert_eq!(ours, theirs, "{length} bytes");
            }
        }
    }
}
