//! What the three curves are: y² = x³ + ax + b over a prime p, and a generator G of prime order n, with a = −3 or a =
//! 0. Every point but that at infinity is a multiple of G, so the order is that of the whole group.

use super::montgomery::{Limbs, Modulus, Shape};
use super::table::BaseTable;
use std::sync::OnceLock;
use types::AlgId;

/// Which equation a signature (r, s) has to satisfy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// GM/T 0003.2 §7.1: x of `[s]G + [r + s]P`, plus e, is r.
    Sm2,
    /// FIPS 186-5 §6.4.2: x of `[e/s]G + [r/s]P` is r; and s ≤ (n − 1) / 2.
    Ecdsa,
}

/// A curve and what is signed on it.
pub(super) trait Curve: Copy + Send + Sync + 'static {
    /// Modulo p.
    type Field: Modulus;
    /// Modulo n.
    type Order: Modulus;
    const ALG: AlgId;
    const SCHEME: Scheme;
    /// Whether a = −3; else it is 0.
    const A_IS_MINUS_3: bool;
    const B: Limbs;
    /// x and y of G.
    const G: [Limbs; 2];

    /// Multiples of G, made at the first use and kept.
    fn base_table() -> &'static BaseTable;
}

macro_rules! curve {
    ($(#[$doc:meta])* $curve:ident, $field:ident = $p:expr, $order:ident = $n:expr, $($rest:item)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $curve;

        #[doc = concat!("Modulo the prime of the field of [`", stringify!($curve), "`].")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $field;

        impl Modulus for $field {
            const PRIME: Limbs = $p;
            const SHAPE: Shape = Shape::$curve;
        }

        #[doc = concat!("Modulo the order of [`", stringify!($curve), "`].")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $order;

        impl Modulus for $order {
            const PRIME: Limbs = $n;
            const SHAPE: Shape = Shape::Any;
        }

        impl Curve for $curve {
            type Field = $field;
            type Order = $order;
            $($rest)*

            fn base_table() -> &'static BaseTable {
                static TABLE: OnceLock<BaseTable> = OnceLock::new();
                TABLE.get_or_init(BaseTable::new::<Self>)
            }
        }
    };
}

curve! {
    /// The curve of GM/T 0003.5: p = 2^256 − 2^224 − 2^96 + 2^64 − 1.
    Sm2,
    Sm2Field = [0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000, 0xffff_ffff_ffff_ffff, 0xffff_fffe_ffff_ffff],
    Sm2Order = [0x53bb_f409_39d5_4123, 0x7203_df6b_21c6_052b, 0xffff_ffff_ffff_ffff, 0xffff_fffe_ffff_ffff],
    const ALG: AlgId = AlgId::Sm2Sm3;
    const SCHEME: Scheme = Scheme::Sm2;
    const A_IS_MINUS_3: bool = true;
    const B: Limbs = [0xddbc_bd41_4d94_0e93, 0xf397_89f5_15ab_8f92, 0x4d5a_9e4b_cf65_09a7, 0x28e9_fa9e_9d9f_5e34];
    const G: [Limbs; 2] = [
        [0x715a_4589_334c_74c7, 0x8fe3_0bbf_f266_0be1, 0x5f99_0446_6a39_c994, 0x32c4_ae2c_1f19_8119],
        [0x02df_32e5_2139_f0a0, 0xd0a9_877c_c62a_4740, 0x59bd_cee3_6b69_2153, 0xbc37_36a2_f4f6_779c],
    ];
}

curve! {
    /// P-256 of SP 800-186 §3.2.1.3: p = 2^256 − 2^224 + 2^192 + 2^96 − 1.
    P256,
    P256Field = [0xffff_ffff_ffff_ffff, 0x0000_0000_ffff_ffff, 0x0000_0000_0000_0000, 0xffff_ffff_0000_0001],
    P256Order = [0xf3b9_cac2_fc63_2551, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000],
    const ALG: AlgId = AlgId::EcdsaP256;
    const SCHEME: Scheme = Scheme::Ecdsa;
    const A_IS_MINUS_3: bool = true;
    const B: Limbs = [0x3bce_3c3e_27d2_604b, 0x651d_06b0_cc53_b0f6, 0xb3eb_bd55_7698_86bc, 0x5ac6_35d8_aa3a_93e7];
    const G: [Limbs; 2] = [
        [0xf4a1_3945_d898_c296, 0x7703_7d81_2deb_33a0, 0xf8bc_e6e5_63a4_40f2, 0x6b17_d1f2_e12c_4247],
        [0xcbb6_4068_37bf_51f5, 0x2bce_3357_6b31_5ece, 0x8ee7_eb4a_7c0f_9e16, 0x4fe3_42e2_fe1a_7f9b],
    ];
}

curve! {
    /// secp256k1 of SEC 2 §2.4.1: p = 2^256 − 2^32 − 977.
    Secp256k1,
    Secp256k1Field = [0xffff_fffe_ffff_fc2f, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff],
    Secp256k1Order = [0xbfd2_5e8c_d036_4141, 0xbaae_dce6_af48_a03b, 0xffff_ffff_ffff_fffe, 0xffff_ffff_ffff_ffff],
    const ALG: AlgId = AlgId::EcdsaSecp256k1;
    const SCHEME: Scheme = Scheme::Ecdsa;
    const A_IS_MINUS_3: bool = false;
    const B: Limbs = [7, 0, 0, 0];
    const G: [Limbs; 2] = [
        [0x59f2_815b_16f8_1798, 0x029b_fcdb_2dce_28d9, 0x55a0_6295_ce87_0b07, 0x79be_667e_f9dc_bbac],
        [0x9c47_d08f_fb10_d4b8, 0xfd17_b448_a685_5419, 0x5da4_fbfc_0e11_08a8, 0x483a_da77_26a3_c465],
    ];
}
