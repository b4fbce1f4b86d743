//! The loop that the state digest spends its time in, compiled for what the processor has: expanding an element of at most 64
//! bytes, and adding it to a sum or taking it out. Every version gives the same sum.
//!
//! An expansion is 32 blocks of BLAKE3's output that differ in their counter alone, so the vector kernels make 8 or 16 side by
//! side, the same word of each in one vector. Putting the blocks in their order would cost as much as a round of BLAKE3 for
//! each expansion; here the sum lies in the kernel's order too, and is put in order once, when it is asked for.
#![allow(unsafe_code)]

use super::{BYTES, Element, KEY, LANES};

/// What the sum is made by, and so the order of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// BLAKE3's own output, block by block.
    InOrder,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The best that the processor has.
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw") {
            return Self::Avx512;
        } else if std::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::InOrder
    }

    /// Blocks side by side.
    fn width(self) -> usize {
        match self {
            Self::InOrder => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
        }
    }
}

/// Lanes, aligned to the widest vector.
#[derive(Clone)]
#[repr(C, align(64))]
struct Aligned([u16; LANES]);

/// A sum in the order of the kernel that makes it.
#[derive(Clone)]
pub(super) struct Sum {
    kernel: Kernel,
    lanes: Box<Aligned>,
}

impl Sum {
    pub(super) fn zero() -> Self {
        Self::with(Kernel::best())
    }

    fn with(kernel: Kernel) -> Self {
        Self { kernel, lanes: Box::new(Aligned([0; LANES])) }
    }

    /// Adds the expansion of an element, or takes it out.
    pub(super) fn change<const ADD: bool>(&mut self, element: &Element) {
        let lanes = &mut self.lanes.0;
        match self.kernel {
            Kernel::InOrder => in_order::<ADD>(element, lanes),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `best` found AVX2.
            Kernel::Avx2 => unsafe { avx2::change::<ADD>(element, lanes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `best` found AVX-512.
            Kernel::Avx512 => unsafe { avx512::change::<ADD>(element, lanes) },
        }
    }

    /// The lanes in the order of BLAKE3's output.
    pub(super) fn in_order(&self) -> Box<[u16; LANES]> {
        let mut ordered = Box::new([0; LANES]);
        let width = self.kernel.width();
        // Two lanes a word, sixteen words a block.
        for (place, lanes) in self.lanes.0.as_chunks::<2>().0.iter().enumerate() {
            let (batch, word, block) = (place / (16 * width), place / width % 16, place % width);
            let at = 2 * ((batch * width + block) * 16 + word);
            ordered[at..at + 2].copy_from_slice(lanes);
        }
        ordered
    }
}

fn in_order<const ADD: bool>(element: &Element, sum: &mut [u16; LANES]) {
    let mut expansion = [0; BYTES];
    blake3::Hasher::new_keyed(KEY).update(element.as_bytes()).finalize_xof().fill(&mut expansion);
    for (sum, lane) in sum.iter_mut().zip(expansion.as_chunks().0) {
        let lane = u16::from_le_bytes(*lane);
        *sum = if ADD { sum.wrapping_add(lane) } else { sum.wrapping_sub(lane) };
    }
}

#[cfg(target_arch = "x86_64")]
mod blake3_block {
    /// BLAKE3 §2.2: the initialisation vector.
    pub(super) const IV: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];
    /// BLAKE3 §2.2: CHUNK_START, CHUNK_END, ROOT and KEYED_HASH.
    pub(super) const FLAGS: u32 = 1 | 2 | 8 | 16;
    /// BLAKE3 §2.2: the message permutation, applied between rounds.
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    /// Which message word each round uses where.
    pub(super) const SCHEDULE: [[usize; 16]; 7] = {
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

    /// Little-endian words.
    pub(super) fn words<const WORDS: usize>(bytes: &[u8]) -> [i32; WORDS] {
        let mut words = [0; WORDS];
        words.iter_mut().zip(bytes.as_chunks().0).for_each(|(word, bytes)| *word = i32::from_le_bytes(*bytes));
        words
    }
}

/// The kernel over the vectors of the module that it stands in: BLAKE3's keyed root compression of one block, as many blocks
/// of output side by side as a vector has words, each word added to the sum's vector of the same place.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        pub(super) fn change<const ADD: bool>(element: &Element, sum: &mut [u16; LANES]) {
            let message: [i32; 16] = words(&element.bytes);
            let key: [i32; 8] = words(KEY);
            let key = |word: usize| set(key[word]);
            let iv = |word: usize| set(IV[word] as i32);
            let lanes = sum.as_chunks_mut::<{ 32 * WIDTH }>().0;
            for (batch, lanes) in lanes.iter_mut().enumerate() {
                let counter = add(set((batch * WIDTH) as i32), counters());
                let (length, flags) = (set(element.length as i32), set(FLAGS as i32));
                let mut v = [
                    key(0), key(1), key(2), key(3), key(4), key(5), key(6), key(7),
                    iv(0), iv(1), iv(2), iv(3), counter, set(0), length, flags,
                ];
                macro_rules! mix {
                    ($a:literal $b:literal $c:literal $d:literal, $x:expr, $y:expr) => {
                        v[$a] = add(add(v[$a], v[$b]), set($x));
                        v[$d] = rotate_16(xor(v[$d], v[$a]));
                        v[$c] = add(v[$c], v[$d]);
                        v[$b] = rotate_12(xor(v[$b], v[$c]));
                        v[$a] = add(add(v[$a], v[$b]), set($y));
                        v[$d] = rotate_8(xor(v[$d], v[$a]));
                        v[$c] = add(v[$c], v[$d]);
                        v[$b] = rotate_7(xor(v[$b], v[$c]));
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
                for (word, lanes) in lanes.as_chunks_mut::<{ 2 * WIDTH }>().0.iter_mut().enumerate() {
                    let high = if word < 8 { v[word + 8] } else { key(word - 8) };
                    accumulate::<ADD>(lanes, xor(v[word], high));
                }
            }
        }

        /// Adds a vector to lanes, or takes it out.
        #[target_feature(enable = $features)]
        fn accumulate<const ADD: bool>(lanes: &mut [u16; 2 * WIDTH], change: Vector) {
            let place = lanes.as_mut_ptr().cast();
            // SAFETY: the lanes are as long as the vector, and neither access needs alignment.
            unsafe {
                let sum = load(place);
                store(place, if ADD { add_lanes(sum, change) } else { take_lanes(sum, change) });
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::blake3_block::{FLAGS, IV, SCHEDULE, words};
    use super::{Element, KEY, LANES};
    use std::arch::x86_64::{
        __m256i as Vector, _mm256_add_epi16 as add_lanes, _mm256_add_epi32 as add, _mm256_loadu_si256 as load,
        _mm256_or_si256, _mm256_set1_epi32 as set, _mm256_setr_epi8, _mm256_setr_epi32, _mm256_shuffle_epi8,
        _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256 as store, _mm256_sub_epi16 as take_lanes,
        _mm256_xor_si256 as xor,
    };

    /// Words of a vector.
    const WIDTH: usize = 8;

    #[target_feature(enable = "avx2")]
    fn counters() -> Vector {
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)
    }

    #[target_feature(enable = "avx2")]
    fn rotate_16(words: Vector) -> Vector {
        let by = _mm256_setr_epi8(
            2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
        );
        _mm256_shuffle_epi8(words, by)
    }

    #[target_feature(enable = "avx2")]
    fn rotate_12(words: Vector) -> Vector {
        _mm256_or_si256(_mm256_srli_epi32::<12>(words), _mm256_slli_epi32::<20>(words))
    }

    #[target_feature(enable = "avx2")]
    fn rotate_8(words: Vector) -> Vector {
        let by = _mm256_setr_epi8(
            1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
        );
        _mm256_shuffle_epi8(words, by)
    }

    #[target_feature(enable = "avx2")]
    fn rotate_7(words: Vector) -> Vector {
        _mm256_or_si256(_mm256_srli_epi32::<7>(words), _mm256_slli_epi32::<25>(words))
    }

    kernel!("avx2");
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::blake3_block::{FLAGS, IV, SCHEDULE, words};
    use super::{Element, KEY, LANES};
    use std::arch::x86_64::{
        __m512i as Vector, _mm512_add_epi16 as add_lanes, _mm512_add_epi32 as add, _mm512_loadu_si512 as load,
        _mm512_ror_epi32, _mm512_set1_epi32 as set, _mm512_setr_epi32, _mm512_storeu_si512 as store,
        _mm512_sub_epi16 as take_lanes, _mm512_xor_si512 as xor,
    };

    /// Words of a vector.
    const WIDTH: usize = 16;

    #[target_feature(enable = "avx512f")]
    fn counters() -> Vector {
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    }

    #[target_feature(enable = "avx512f")]
    fn rotate_16(words: Vector) -> Vector {
        _mm512_ror_epi32::<16>(words)
    }

    #[target_feature(enable = "avx512f")]
    fn rotate_12(words: Vector) -> Vector {
        _mm512_ror_epi32::<12>(words)
    }

    #[target_feature(enable = "avx512f")]
    fn rotate_8(words: Vector) -> Vector {
        _mm512_ror_epi32::<8>(words)
    }

    #[target_feature(enable = "avx512f")]
    fn rotate_7(words: Vector) -> Vector {
        _mm512_ror_epi32::<7>(words)
    }

    kernel!("avx512f,avx512bw");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels() -> Vec<Kernel> {
        let mut kernels = vec![Kernel::InOrder];
        #[cfg(target_arch = "x86_64")]
        {
            let best = Kernel::best();
            kernels.extend([Kernel::Avx2].into_iter().filter(|_| best != Kernel::InOrder));
            kernels.extend([Kernel::Avx512].into_iter().filter(|kernel| best == *kernel));
        }
        kernels
    }

    #[test]
    fn every_kernel_agrees_with_blake3_on_every_length() {
        for kernel in kernels() {
            let (mut sum, mut expected) = (Sum::with(kernel), [0_u16; LANES]);
            for length in 0..=Element::BYTES_MAX {
                let bytes: Vec<u8> = (0..length).map(|byte| (byte * 37 + length) as u8).collect();
                let element = Element::of(&bytes);
                if length % 3 == 2 {
                    sum.change::<false>(&element);
                } else {
                    sum.change::<true>(&element);
                }
                let mut expansion = [0; BYTES];
                blake3::Hasher::new_keyed(KEY).update(&bytes).finalize_xof().fill(&mut expansion);
                for (lane, bytes) in expected.iter_mut().zip(expansion.as_chunks().0) {
                    let change = u16::from_le_bytes(*bytes);
                    *lane = if length % 3 == 2 { lane.wrapping_sub(change) } else { lane.wrapping_add(change) };
                }
                assert_eq!(*sum.in_order(), expected, "{kernel:?}, {length} bytes");
            }
        }
    }
}
