//! Many SHA-256 hashes at once: sixteen messages side by side in the lanes of AVX-512, where the processor has it. A lane costs
//! less than half of what the processor's own SHA instructions take for one message, because those wait for each other. Every
//! version gives the same bytes.
#![allow(unsafe_code)]

use sha2::Digest as _;

/// SHA-256 of `prefix` and the content, for each content.
pub(super) fn hash_each<'a>(prefix: u8, contents: impl IntoIterator<Item = &'a [u8]>) -> Vec<[u8; 32]> {
    let mut contents = contents.into_iter();
    let mut hashes = Vec::with_capacity(contents.size_hint().0);
    #[cfg(target_arch = "x86_64")]
    if x86::is_there() {
        let mut group = [&[][..]; x86::LANES];
        loop {
            let mut count = 0;
            for (place, content) in group.iter_mut().zip(&mut contents) {
                *place = content;
                count += 1;
            }
            if x86::is_worth_it(&group[..count]) {
                // SAFETY: `is_there` found what it needs.
                let all = unsafe { x86::hash(prefix, &group[..count]) };
                hashes.extend_from_slice(&all[..count]);
            } else {
                hashes.extend(group[..count].iter().map(|content| hash_one(prefix, content)));
            }
            if count < x86::LANES {
                return hashes;
            }
        }
    }
    hashes.extend(contents.map(|content| hash_one(prefix, content)));
    hashes
}

/// With the processor's SHA instructions where it has them.
pub(super) fn hash_one(prefix: u8, content: &[u8]) -> [u8; 32] {
    sha2::Sha256::new().chain_update([prefix]).chain_update(content).finalize().into()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, __mmask16, _mm_set_epi64x, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_loadu_si512,
        _mm512_mask_add_epi32, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8,
        _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
        _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };

    /// Messages side by side.
    pub(super) const LANES: usize = 16;
    /// Lanes that have to have work for a round of all of them to cost less than one by one; measured, with SHA instructions.
    const LANES_WORTH_IT: usize = 8;
    /// Bytes of a block.
    const BLOCK: usize = 64;
    /// FIPS 180-4 §5.3.3.
    const INITIAL: [u32; 8] =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    /// FIPS 180-4 §4.2.2.
    #[rustfmt::skip]
    const ROUND: [u32; 64] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ];

    /// Whether the processor has what [`hash`] needs.
    pub(super) fn is_there() -> bool {
        std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw")
    }

    /// Whether the contents are many enough, and alike enough in length, that lanes are not idle for most of the time.
    pub(super) fn is_worth_it(contents: &[&[u8]]) -> bool {
        let (mut all, mut most) = (0, 0);
        for blocks in contents.iter().map(|content| blocks(content)) {
            (all, most) = (all + blocks, most.max(blocks));
        }
        all >= LANES_WORTH_IT * most.max(1)
    }

    /// Blocks of a message: a byte of prefix, the content, at least nine bytes of padding (FIPS 180-4 §5.1.1).
    fn blocks(content: &[u8]) -> usize {
        (content.len() + 1 + 9).div_ceil(BLOCK)
    }

    /// SHA-256 of `prefix` and the content, for each of at most [`LANES`] contents.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn hash(prefix: u8, contents: &[&[u8]]) -> [[u8; 32]; LANES] {
        let mut state = [_mm512_setzero_si512(); 8];
        for (word, initial) in state.iter_mut().zip(INITIAL) {
            *word = _mm512_set1_epi32(initial as i32);
        }
        let mut lanes = [[0; BLOCK]; LANES];
        let most = contents.iter().map(|content| blocks(content)).max().unwrap_or(0);
        for index in 0..most {
            let mut busy: __mmask16 = 0;
            for (place, (lane, content)) in lanes.iter_mut().zip(contents).enumerate() {
                if index < blocks(content) {
                    busy |= 1 << place;
                    fill(lane, prefix, content, index);
                }
            }
            compress(&mut state, &lanes, busy);
        }
        // SAFETY: eight vectors are eight times sixteen integers, without padding, and every bit pattern is one.
        let words: [[u32; LANES]; 8] = unsafe { std::mem::transmute(state) };
        let mut hashes = [[0; 32]; LANES];
        for (lane, hash) in hashes.iter_mut().enumerate() {
            for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(&words) {
                *bytes = word[lane].to_be_bytes();
            }
        }
        hashes
    }

    /// Block `index` of a message.
    fn fill(block: &mut [u8; BLOCK], prefix: u8, content: &[u8], index: usize) {
        let start = BLOCK * index;
        // All but the first block begin a byte later in the message than in the content.
        if let Some(whole) = start.checked_sub(1).and_then(|start| content.get(start..start + BLOCK)) {
            block.copy_from_slice(whole);
            return;
        }
        *block = [0; BLOCK];
        let (skip, rest) = match start.checked_sub(1) {
            None => {
                block[0] = prefix;
                (1, content)
            }
            Some(start) => (0, content.get(start..).unwrap_or_default()),
        };
        let count = rest.len().min(BLOCK - skip);
        block[skip..skip + count].copy_from_slice(&rest[..count]);
        // The content may have ended with the block before, and the mark that follows it stand there.
        let end = 1 + content.len();
        if (start..start + BLOCK).contains(&end) {
            block[end - start] = 0x80;
        }
        if index + 1 == blocks(content) {
            block[BLOCK - 8..].copy_from_slice(&(8 * end as u64).to_be_bytes());
        }
    }

    /// One block in each lane that is busy; the others stay as they are. FIPS 180-4 §6.2.2.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn compress(state: &mut [__m512i; 8], lanes: &[[u8; BLOCK]; LANES], busy: __mmask16) {
        let big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
        let mut words = [_mm512_setzero_si512(); 16];
        for (word, lane) in words.iter_mut().zip(lanes) {
            // SAFETY: a block is as long as the vector, and the load needs no alignment.
            *word = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(lane.as_ptr().cast()) }, big_endian);
        }
        transpose(&mut words);
        macro_rules! add {
            ($a:expr, $b:expr) => { _mm512_add_epi32($a, $b) };
            ($a:expr, $b:expr, $($more:expr),+) => { add!(_mm512_add_epi32($a, $b), $($more),+) };
        }
        macro_rules! xor {
            ($a:expr, $b:expr, $c:expr) => {
                _mm512_ternarylogic_epi32::<0x96>($a, $b, $c)
            };
        }
        macro_rules! rotate {
            ($a:expr, $by:literal) => {
                _mm512_ror_epi32::<$by>($a)
            };
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        for (round, constant) in ROUND.into_iter().enumerate() {
            let word = |back: usize| words[(round + 16 - back) % 16];
            if round >= 16 {
                let (w15, w2) = (word(15), word(2));
                let small_0 = xor!(rotate!(w15, 7), rotate!(w15, 18), _mm512_srli_epi32::<3>(w15));
                let small_1 = xor!(rotate!(w2, 17), rotate!(w2, 19), _mm512_srli_epi32::<10>(w2));
                words[round % 16] = add!(word(16), small_0, add!(word(7), small_1));
            }
            let constant = _mm512_set1_epi32(constant as i32);
            let big_1 = xor!(rotate!(e, 6), rotate!(e, 11), rotate!(e, 25));
            let choice = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
            let t1 = add!(h, constant, words[round % 16], add!(big_1, choice));
            let big_0 = xor!(rotate!(a, 2), rotate!(a, 13), rotate!(a, 22));
            let majority = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
            (h, g, f, e) = (g, f, e, add!(d, t1));
            (d, c, b, a) = (c, b, a, add!(t1, big_0, majority));
        }
        for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *word = _mm512_mask_add_epi32(*word, busy, *word, new);
        }
    }

    /// Sixteen vectors of sixteen words: word `i` of vector `j` goes to word `j` of vector `i`.
    #[target_feature(enable = "avx512f")]
    fn transpose(rows: &mut [__m512i; 16]) {
        let mut other = [_mm512_setzero_si512(); 16];
        for pair in 0..8 {
            let (low, high) = (rows[2 * pair], rows[2 * pair + 1]);
            other[2 * pair] = _mm512_unpacklo_epi32(low, high);
            other[2 * pair + 1] = _mm512_unpackhi_epi32(low, high);
        }
        for four in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|row| other[4 * four + row]);
            rows[4 * four] = _mm512_unpacklo_epi64(a, c);
            rows[4 * four + 1] = _mm512_unpackhi_epi64(a, c);
            rows[4 * four + 2] = _mm512_unpacklo_epi64(b, d);
            rows[4 * four + 3] = _mm512_unpackhi_epi64(b, d);
        }
        for row in 0..4 {
            for half in [0, 8] {
                let (a, b) = (rows[half + row], rows[half + row + 4]);
                other[half + row] = _mm512_shuffle_i32x4::<0x88>(a, b);
                other[half + row + 4] = _mm512_shuffle_i32x4::<0xdd>(a, b);
            }
        }
        for row in 0..8 {
            let (a, b) = (other[row], other[row + 8]);
            rows[row] = _mm512_shuffle_i32x4::<0x88>(a, b);
            rows[row + 8] = _mm512_shuffle_i32x4::<0xdd>(a, b);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::hash_one;
        use super::*;

        /// Of every length around the ends of blocks, in every number of lanes, side by side with others.
        #[test]
        fn every_lane_agrees_with_one_by_one_on_every_length() {
            if !is_there() {
                return;
            }
            let contents: Vec<Vec<u8>> =
                (0..300).map(|length| (0..length).map(|byte| (byte * 7 + length) as u8).collect()).collect();
            for start in 0..contents.len() - LANES {
                for step in [1, 17] {
                    let count = 1 + start % LANES;
                    let some: Vec<&[u8]> =
                        (0..count).map(|lane| &contents[(start + step * lane) % contents.len()][..]).collect();
                    // SAFETY: `is_there` found what it needs.
                    let hashes = unsafe { hash(1, &some) };
                    for (hash, content) in hashes.iter().zip(&some) {
                        assert_eq!(*hash, hash_one(1, content), "{} bytes", content.len());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hashes_are_those_of_one_by_one_whatever_their_number_and_lengths() {
        for count in [0, 1, 7, 8, 15, 16, 17, 31, 33, 100] {
            for length in [|_| 64, |place| 500 + place % 9, |place| if place % 16 == 3 { 40_000 } else { place }] {
                let contents: Vec<Vec<u8>> = (0..count).map(|place| vec![place as u8; length(place)]).collect();
                let expected: Vec<_> = contents.iter().map(|content| hash_one(0, content)).collect();
                assert_eq!(hash_each(0, contents.iter().map(Vec::as_slice)), expected, "{count} messages");
            }
        }
    }
}
