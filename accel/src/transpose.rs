//! Eight vectors of eight words, turned from rows to columns in AVX-512: how lanes meet memory.

use core::arch::x86_64::*;

/// Rows to columns, 8 × 8 words. Its own inverse.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
pub(crate) fn transpose(r: &[__m512i; 8]) -> [__m512i; 8] {
    let [c0, c2, c4, c6] = quarter(
        _mm512_unpacklo_epi64(r[0], r[1]),
        _mm512_unpacklo_epi64(r[2], r[3]),
        _mm512_unpacklo_epi64(r[4], r[5]),
        _mm512_unpacklo_epi64(r[6], r[7]),
    );
    let [c1, c3, c5, c7] = quarter(
        _mm512_unpackhi_epi64(r[0], r[1]),
        _mm512_unpackhi_epi64(r[2], r[3]),
        _mm512_unpackhi_epi64(r[4], r[5]),
        _mm512_unpackhi_epi64(r[6], r[7]),
    );
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

/// Columns 0, 2, 4, 6 from pairs of rows whose words at even places stand side by side; 1, 3, 5, 7 from the odd ones.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn quarter(p: __m512i, q: __m512i, r: __m512i, s: __m512i) -> [__m512i; 4] {
    let low = [_mm512_shuffle_i64x2::<0x88>(p, q), _mm512_shuffle_i64x2::<0x88>(r, s)];
    let high = [_mm512_shuffle_i64x2::<0xdd>(p, q), _mm512_shuffle_i64x2::<0xdd>(r, s)];
    [
        _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
        _mm512_shuffle_i64x2::<0xdd>(low[0], low[1]),
        _mm512_shuffle_i64x2::<0xdd>(high[0], high[1]),
    ]
}
