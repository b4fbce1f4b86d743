//! Kernels for signatures on curves of prime order over 256-bit primes: SM2 with SM3, ECDSA on P-256 and on secp256k1, one
//! thread a signature, exact verdicts, no randomness. Puts together WGSL, constants and tables of each.
//!
//! A verdict takes three passes: `prepare_keys` (decompression, Z of SM2, multiples of the key), `hash` (e, ranges, scalars)
//! and `verify` (u₁·G + u₂·P and its x). An infinite sum is invalid. Deliberately absent: the device, and the CPU's way of
//! doing the same, with which the host compares.

pub(crate) mod numbers;
mod program;
#[cfg(test)]
mod tests;

use super::compress;
use super::field::{self, limbs, literal, montgomery_limbs};
use super::kernel::{self, KernelSource};
use numbers::{Number, Prime, add, add_points, multiples, number, sub};
use program::{MULTIPLES, PowerStep};

/// Parts of a scalar, each with its own table of multiples, so that all of them share their doublings.
const PARTS: u32 = 4;
/// Bits of a part: whole windows of either width.
const PART_BITS: u32 = 66;
/// Bits of a window of the scalar of the key. Wider ones are faster and take more memory a key: four bits 2.3 KiB and 4.6 for
/// five, for a sixth less work each; and twice the work for a key that is new.
const KEY_WINDOW_BITS: u32 = 3;
/// Bits of a window of the scalar of G.
const G_WINDOW_BITS: u32 = 11;
/// Multiples in each table of G.
const G_MULTIPLES: u32 = 1 << (G_WINDOW_BITS - 1);
const _: () = assert!(
    PART_BITS.is_multiple_of(KEY_WINDOW_BITS)
        && PART_BITS.is_multiple_of(G_WINDOW_BITS)
        && MULTIPLES == 1 << (KEY_WINDOW_BITS - 1)
);
/// Words of an affine point: two elements.
const POINT_WORDS: u32 = 18;
/// Words in front of a key's multiples.
const KEY_HEADER_WORDS: u32 = 16;
/// Words of a slot of the key table.
const KEY_WORDS: u32 = KEY_HEADER_WORDS + PARTS * MULTIPLES * POINT_WORDS;
/// Words of scratch an item: see layout.wgsl.
const SCRATCH_WORDS: u32 = 27;

/// y² = x³ + ax + b, of prime order.
struct Curve {
    p: Number,
    n: Number,
    a: Number,
    b: Number,
    g: [Number; 2],
    power_steps: &'static [PowerStep],
    double: &'static str,
}

/// GM/T 0003.5.
const SM2: Curve = Curve {
    p: number("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff"),
    n: number("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123"),
    a: number("fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"),
    b: number("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"),
    g: [
        number("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"),
        number("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"),
    ],
    // Exponents of all ones of lengths 2, 3, 6, 12, 15, 30, 31, 32; then 31 ones, a zero, 128 ones, 32 zeros, 62 ones.
    power_steps: &[
        (1, 1, 0, 0),
        (1, 1, 1, 0),
        (2, 3, 1, 1),
        (2, 6, 2, 2),
        (2, 3, 2, 1),
        (3, 15, 2, 2),
        (4, 1, 3, 0),
        (5, 1, 4, 0),
        (4, 33, 4, 5),
        (4, 32, 4, 5),
        (4, 32, 4, 5),
        (4, 32, 4, 5),
        (4, 64, 4, 5),
        (4, 30, 4, 3),
    ],
    double: include_str!("weierstrass/double_minus3.wgsl"),
};

/// SEC 2, NIST SP 800-186 §3.2.1.3.
const P256: Curve = Curve {
    p: number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    n: number("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    a: number("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc"),
    b: number("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    g: [
        number("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        number("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    ],
    // As for SM2 up to 32 ones; then 31 zeros, a one, 96 zeros, 94 ones.
    power_steps: &[
        (1, 1, 0, 0),
        (1, 1, 1, 0),
        (2, 3, 1, 1),
        (2, 6, 2, 2),
        (2, 3, 2, 1),
        (3, 15, 2, 2),
        (4, 1, 3, 0),
        (5, 1, 4, 0),
        (4, 32, 5, 0),
        (4, 128, 4, 5),
        (4, 32, 4, 5),
        (4, 30, 4, 3),
    ],
    double: include_str!("weierstrass/double_minus3.wgsl"),
};

/// SEC 2 §2.4.1.
const SECP256K1: Curve = Curve {
    p: number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
    n: number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
    a: [0; 4],
    b: [7, 0, 0, 0],
    g: [
        number("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
        number("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"),
    ],
    // Ones of lengths 2, 3, 6, 9, 11, 22, 44, 88, 176, 220, 223; then a zero, 22 ones, 00001011.
    power_steps: &[
        (1, 1, 0, 0),
        (2, 1, 1, 0),
        (3, 3, 2, 2),
        (3, 3, 3, 2),
        (3, 2, 3, 1),
        (3, 11, 3, 3),
        (4, 22, 3, 3),
        (5, 44, 4, 4),
        (5, 88, 5, 5),
        (5, 44, 5, 4),
        (5, 3, 5, 2),
        (5, 23, 5, 3),
        (5, 5, 5, 0),
        (5, 3, 5, 1),
    ],
    double: include_str!("weierstrass/double_zero.wgsl"),
};

/// SM2 with SM3 under the default user id, `1234567812345678` (GM/T 0009).
pub(crate) fn sm2() -> KernelSource {
    let mut assembly = Assembly::new(&SM2);
    let mut identified = vec![0, 128];
    identified.extend_from_slice(b"1234567812345678");
    for part in [&SM2.a, &SM2.b, &SM2.g[0], &SM2.g[1]] {
        identified.extend(part.iter().rev().flat_map(|word| word.to_be_bytes()));
    }
    let prefix: Vec<u32> =
        identified.chunks(4).map(|word| word.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))).collect();
    let z_state = sm3_state(&prefix[..32]);
    let z_prefix = assembly.constants.len();
    assembly.constants.extend(&prefix[32..]);
    assembly.source += &format!(
        "const Z_PREFIX = {z_prefix}u;\nconst Z_STATE = {};\nconst Z_BITS = {}u;\n\
         const HASH_INITIAL = {};\nconst MESSAGE_AFTER_Z = true;\nconst S_LIMIT = N;\n",
        compress::words(&z_state),
        (identified.len() + 64) * 8,
        compress::words(&compress::SM3_INITIAL),
    );
    assembly.source += &compress::sm3();
    assembly.source += include_str!("weierstrass/identify_sm2.wgsl");
    assembly.source += include_str!("weierstrass/scalars_sm2.wgsl");
    assembly.finish("sm2-sm3")
}

/// ECDSA on P-256 with SHA-256, low s.
pub(crate) fn p256() -> KernelSource {
    ecdsa(&P256, "ecdsa-p256")
}

/// ECDSA on secp256k1 with SHA-256, low s.
pub(crate) fn secp256k1() -> KernelSource {
    ecdsa(&SECP256K1, "ecdsa-secp256k1")
}

fn ecdsa(curve: &Curve, label: &'static str) -> KernelSource {
    let mut assembly = Assembly::new(curve);
    let order = Prime::new(curve.n);
    // s is low up to (n − 1)/2, that is, below (n + 1)/2.
    let half = std::array::from_fn(|word| curve.n[word] >> 1 | curve.n.get(word + 1).map_or(0, |above| above << 63));
    let limbs_30: [i32; 9] = std::array::from_fn(|limb| {
        (0..30).filter(|at| limb * 30 + at < 256 && numbers::bit(&curve.n, limb * 30 + at)).map(|at| 1 << at).sum()
    });
    let low = curve.n[0] as u32;
    let inverse = (0..5).fold(low, |inverse, _| inverse.wrapping_mul(2u32.wrapping_sub(low.wrapping_mul(inverse))));
    assembly.source += &format!(
        "const HASH_INITIAL = {};\nconst MESSAGE_AFTER_Z = false;\nconst S_LIMIT = {};\nconst N_MONTGOMERY = {};\n\
         const N_LIMBS_30 = {};\nconst N_INVERSE_30 = {};\n",
        compress::words(&compress::SHA256_INITIAL),
        words(&add(&half, &[1, 0, 0, 0]).0),
        literal(&limbs(&order.power_of_two(2 * field::MONTGOMERY_BITS))),
        literal(&limbs_30),
        inverse & ((1 << 30) - 1),
    );
    assembly.source += &field::functions("n", &order);
    assembly.source += &compress::sha256();
    assembly.source += include_str!("weierstrass/identify_none.wgsl");
    assembly.source += include_str!("weierstrass/inverse.wgsl");
    assembly.source += include_str!("weierstrass/scalars_ecdsa.wgsl");
    assembly.finish(label)
}

/// A kernel as it grows.
struct Assembly {
    source: String,
    constants: Vec<u32>,
    double: &'static str,
}

impl Assembly {
    fn new(curve: &Curve) -> Self {
        let field = Prime::new(curve.p);
        let mut constants = Vec::new();
        let mut put = |limbs: [i32; field::LIMBS]| constants.extend(limbs.map(|limb| limb as u32));
        let given = [field.power_of_two(field::MONTGOMERY_BITS), curve.a, curve.b];
        given.iter().for_each(|element| put(montgomery_limbs(&field, element)));
        put(montgomery_limbs(&field, &[1, 0, 0, 0]));
        put(limbs(&[1, 0, 0, 0]));
        let program_at = constants.len();
        let program = program::program(curve);
        constants.extend(&program);
        let multiples_at = constants.len() as u32;
        let mut base = curve.g;
        for _ in 0..PARTS {
            let points = multiples(&field, &curve.a, &base, G_MULTIPLES as usize);
            let limbs = points.iter().flatten().flat_map(|coordinate| montgomery_limbs(&field, coordinate));
            constants.extend(limbs.map(|limb| limb as u32));
            base = (0..PART_BITS).fold(base, |point, _| add_points(&field, &curve.a, &point, &point));
        }
        let schedule_at = constants.len();
        let schedule = schedule(multiples_at);
        constants.extend(schedule.iter().flatten());
        let mut source = field::shared_functions();
        source += kernel::BINDINGS;
        source += include_str!("weierstrass/layout.wgsl");
        source += &format!(
            "const KEY_WORDS = {KEY_WORDS}u;\nconst P = {};\nconst N = {};\nconst P_LESS_N = {};\nconst N_LIMBS = {};\n\
             const ONE = {};\nconst PLAIN_ONE = {};\nconst HALVES_KEY = {};\nconst HALVES_G = {};\n\
             const GIVEN_REGISTERS = {}u;\nconst REGISTER_X = {}u;\nconst REGISTER_Y = {}u;\n\
             const PROGRAM = {program_at}u;\nconst PROGRAM_WORDS = {}u;\nconst SCHEDULE = {schedule_at}u;\n\
             const STEPS = {}u;\nconst OP_DOUBLE = {}u;\n\
             const OP_MUL = {}u;\nconst OP_ADD_MULTIPLE = {}u;\nconst OP_LOAD = {}u;\nconst OP_STORE = {}u;\n",
            words(&curve.p),
            words(&curve.n),
            words(&sub(&curve.p, &curve.n).0),
            literal(&limbs(&curve.n)),
            literal(&montgomery_limbs(&field, &[1, 0, 0, 0])),
            literal(&limbs(&[1, 0, 0, 0])),
            halves(KEY_WINDOW_BITS),
            halves(G_WINDOW_BITS),
            program::GIVEN_REGISTERS,
            program::X,
            program::Y,
            program.len(),
            schedule.len(),
            program::OP_DOUBLE,
            program::OP_MUL,
            program::OP_ADD_MULTIPLE,
            program::OP_LOAD,
            program::OP_STORE,
        );
        source += &field::functions("p", &field);
        source += include_str!("weierstrass/words.wgsl");
        Self { source, constants, double: curve.double }
    }

    fn finish(self, label: &'static str) -> KernelSource {
        let source = [
            &self.source,
            include_str!("weierstrass/prepare.wgsl"),
            include_str!("weierstrass/hash.wgsl"),
            include_str!("weierstrass/verify.wgsl"),
            self.double,
        ];
        KernelSource {
            label,
            source: source.concat(),
            constants: self.constants,
            key_words: KEY_WORDS,
            scratch_words: SCRATCH_WORDS,
        }
    }
}

/// A WGSL expression of the type `Words`.
fn words(number: &Number) -> String {
    let words: Vec<u32> = number.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect();
    compress::words(&words)
}

/// The number with half a window's value in each window.
pub(super) fn halves(window_bits: u32) -> String {
    let mut words = [0u32; 9];
    for bit in (window_bits - 1..PARTS * PART_BITS).step_by(window_bits as usize) {
        words[bit as usize / 32] |= 1 << (bit % 32);
    }
    format!("array<u32, 9>({})", words.map(|word| format!("{word}u")).join(", "))
}

/// Which windows are added when, from the top of the parts down, in the words that verify.wgsl reads.
fn schedule(g_multiples_at: u32) -> Vec<[u32; 2]> {
    let mut steps = Vec::new();
    let mut reached = PART_BITS;
    for bit in (0..PART_BITS).rev() {
        for part in 0..PARTS {
            let key_at = KEY_HEADER_WORDS + part * MULTIPLES * POINT_WORDS;
            let g_at = g_multiples_at + part * G_MULTIPLES * POINT_WORDS;
            for (of_g, width, table) in [(0, KEY_WINDOW_BITS, key_at), (1, G_WINDOW_BITS, g_at)] {
                if bit % width == 0 {
                    // Before the first addition there is nothing to double.
                    let doublings = if reached == PART_BITS { 0 } else { reached - bit };
                    steps.push([width | doublings << 5 | of_g << 10 | (part * PART_BITS + bit) << 16, table]);
                    reached = bit;
                }
            }
        }
    }
    steps
}

/// State of SM3 after whole blocks.
fn sm3_state(blocks: &[u32]) -> [u32; 8] {
    let mut state = compress::SM3_INITIAL;
    for block in blocks.chunks_exact(16) {
        let mut w: Vec<u32> = block.to_vec();
        for j in 16..68 {
            let x = w[j - 16] ^ w[j - 9] ^ w[j - 3].rotate_left(15);
            w.push(x ^ x.rotate_left(15) ^ x.rotate_left(23) ^ w[j - 13].rotate_left(7) ^ w[j - 6]);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for j in 0..64 {
            let t = (if j < 16 { 0x79cc4519u32 } else { 0x7a879d8a }).rotate_left(j as u32 % 32);
            let (ff, gg) = if j < 16 { (a ^ b ^ c, e ^ f ^ g) } else { (a & b | a & c | b & c, e & f | !e & g) };
            let ss1 = a.rotate_left(12).wrapping_add(e).wrapping_add(t).rotate_left(7);
            let tt1 = ff.wrapping_add(d).wrapping_add(ss1 ^ a.rotate_left(12)).wrapping_add(w[j] ^ w[j + 4]);
            let tt2 = gg.wrapping_add(h).wrapping_add(ss1).wrapping_add(w[j]);
            (d, c, b, a) = (c, b.rotate_left(9), a, tt1);
            (h, g, f, e) = (g, f.rotate_left(19), e, tt2 ^ tt2.rotate_left(9) ^ tt2.rotate_left(17));
        }
        for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *word ^= new;
        }
    }
    state
}
