//! SHA-512 (FIPS 180-4 §6.4) of eight messages of one block each, one a lane.
//!
//! R‖A‖M is one block for messages of at most 47 bytes, as every message of the ledger is. Longer ones: `sha2`.

use super::msm::transpose;
use crate::ed25519::round_constants::ROUND_CONSTANTS;
use core::arch::x86_64::*;

/// Longest input that fits one block with its padding.
pub(super) const INPUT_MAX: usize = 128 - 1 - 16;

/// The padded block of an input of at most [`INPUT_MAX`] bytes, given in parts.
pub(super) fn block(parts: [&[u8]; 3]) -> [u8; 128] {
    let mut block = [0; 128];
    let mut len = 0;
    for part in parts {
        block[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    block[len] = 0x80;
    block[120..].copy_from_slice(&(8 * len as u64).to_be_bytes());
    block
}

/// The digest of each block.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(super) fn digests(blocks: &[[u8; 128]; 8]) -> [[u8; 64]; 8] {
    let zero = _mm512_setzero_si512();
    let (mut first, mut second) = ([zero; 8], [zero; 8]);
    for (lane, block) in blocks.iter().enumerate() {
        // SAFETY: both loads are of 64 bytes within the 128 of the block, and may be unaligned.
        (first[lane], second[lane]) =
            unsafe { (_mm512_loadu_si512(block.as_ptr().cast()), _mm512_loadu_si512(block.as_ptr().add(64).cast())) };
    }
    let mut w = [zero; 16];
    w[..8].copy_from_slice(&transpose(&first));
    w[8..].copy_from_slice(&transpose(&second));
    for word in &mut w {
        *word = swap_bytes(*word);
    }

    let mut state = [zero; 8];
    for (word, start) in state.iter_mut().zip(START) {
        *word = _mm512_set1_epi64(start.cast_signed());
    }
    let start = state;
    for (round, constant) in ROUND_CONSTANTS.iter().enumerate() {
        if round >= 16 {
            w[round % 16] = scheduled(w[(round + 1) % 16], w[(round + 14) % 16], w[round % 16], w[(round + 9) % 16]);
        }
        let [a, b, c, d, e, f, g, h] = state;
        let choice = _mm512_ternarylogic_epi64::<0xca>(e, f, g);
        let majority = _mm512_ternarylogic_epi64::<0xe8>(a, b, c);
        let sum_e = xor(_mm512_ror_epi64::<14>(e), _mm512_ror_epi64::<18>(e), _mm512_ror_epi64::<41>(e));
        let sum_a = xor(_mm512_ror_epi64::<28>(a), _mm512_ror_epi64::<34>(a), _mm512_ror_epi64::<39>(a));
        let input = _mm512_add_epi64(w[round % 16], _mm512_set1_epi64(constant.cast_signed()));
        let t1 = _mm512_add_epi64(_mm512_add_epi64(h, input), _mm512_add_epi64(sum_e, choice));
        state = [_mm512_add_epi64(t1, _mm512_add_epi64(sum_a, majority)), a, b, c, _mm512_add_epi64(d, t1), e, f, g];
    }
    for (word, start) in state.iter_mut().zip(start) {
        *word = swap_bytes(_mm512_add_epi64(*word, start));
    }
    let mut digests = [[0; 64]; 8];
    for (digest, row) in digests.iter_mut().zip(transpose(&state)) {
        // SAFETY: the digest is 64 bytes, and the store may be unaligned.
        unsafe { _mm512_storeu_si512(digest.as_mut_ptr().cast(), row) };
    }
    digests
}

/// W(t) from W(t − 15), W(t − 2), W(t − 16), W(t − 7).
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn scheduled(w15: __m512i, w2: __m512i, w16: __m512i, w7: __m512i) -> __m512i {
    let s0 = xor(_mm512_ror_epi64::<1>(w15), _mm512_ror_epi64::<8>(w15), _mm512_srli_epi64::<7>(w15));
    let s1 = xor(_mm512_ror_epi64::<19>(w2), _mm512_ror_epi64::<61>(w2), _mm512_srli_epi64::<6>(w2));
    _mm512_add_epi64(_mm512_add_epi64(w16, w7), _mm512_add_epi64(s0, s1))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn swap_bytes(a: __m512i) -> __m512i {
    let order = _mm512_set4_epi32(0x0809_0a0b, 0x0c0d_0e0f, 0x0001_0203, 0x0405_0607);
    _mm512_shuffle_epi8(a, order)
}

/// FIPS 180-4 §5.3.5.
const START: [u64; 8] = [
    0x6a09e667f3bcc908,
    0xbb67ae8584caa73b,
    0x3c6ef372fe94f82b,
    0xa54ff53a5f1d36f1,
    0x510e527fade682d1,
    0x9b05688c2b3e6c1f,
    0x1f83d9abfb41bd6b,
    0x5be0cd19137e2179,
];

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha512};

    #[test]
    fn digests_agree_with_sha2_for_every_length_of_one_block() {
        if super::super::Lanes::detect().is_none() {
            return;
        }
        let input: Vec<u8> = (0..=255).collect();
        for len in 0..=INPUT_MAX {
            let inputs: [&[u8]; 8] = std::array::from_fn(|lane| &input[lane * 7..][..(len + lane) % (INPUT_MAX + 1)]);
            let blocks = inputs.map(|input| block([&input[..input.len() / 3], &input[input.len() / 3..], &[]]));
            // SAFETY: `detect` found all target features of the function.
            let digests = unsafe { digests(&blocks) };
            for (input, digest) in inputs.into_iter().zip(digests) {
                assert_eq!(digest[..], Sha512::digest(input)[..], "{} bytes", input.len());
            }
        }
    }
}
