//! Constants of the field and of the curve, in limbs of 51 bits. Checked against curve25519-dalek by the tests of `lanes`.

use super::field::Limbs;

/// 2p, each limb near 2^52.
pub(super) const TWO_P: Limbs = [(1 << 52) - 38, (1 << 52) - 2, (1 << 52) - 2, (1 << 52) - 2, (1 << 52) - 2];
pub(super) const ONE: Limbs = [1, 0, 0, 0, 0];
pub(super) const ZERO: Limbs = [0; 5];
/// d = −121665/121666 (RFC 8032 §5.1).
pub(super) const D: Limbs = [929955233495203, 466365720129213, 1662059464998953, 2033849074728123, 1442794654840575];
pub(super) const D2: Limbs = [1859910466990425, 932731440258426, 1072319116312658, 1815898335770999, 633789495995903];
/// √−1 = 2^((p−1)/4).
pub(super) const SQRT_M1: Limbs =
    [1718705420411056, 234908883556509, 2233514472574048, 2117202627021982, 765476049583133];
