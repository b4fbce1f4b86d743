//! Items at the edges of each algorithm's rules, where implementations differ. Their verdicts are the reference's.

use crate::item::Item;
use curve25519_dalek::constants::EIGHT_TORSION;
use types::{AlgId, PublicKey, Signature};

/// L of Ed25519, little-endian (RFC 8032 §5.1).
const ED25519_L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// n of SM2 (GM/T 0003.5), P-256 (FIPS 186) and secp256k1 (SEC 2), big-endian in hexadecimal digits.
const ORDERS: [(AlgId, &str); 3] = [
    (AlgId::Sm2Sm3, "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123"),
    (AlgId::EcdsaP256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    (AlgId::EcdsaSecp256k1, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
];

/// The items of an algorithm, made from a valid one.
pub(super) fn items(alg: AlgId, honest: &Item) -> Vec<Item> {
    match alg {
        AlgId::Ed25519 => ed25519(honest),
        _ => ORDERS.into_iter().find(|(known, _)| *known == alg).map_or_else(Vec::new, |(_, n)| curve(honest, n)),
    }
}

fn with(honest: &Item, key: Option<&[u8]>, signature: &[u8]) -> Option<Item> {
    let alg = honest.key.alg();
    let key = match key {
        Some(bytes) => PublicKey::from_parts(alg, bytes).ok()?,
        None => honest.key.clone(),
    };
    Some(Item { key, message: honest.message.clone(), signature: Signature::from_parts(alg, signature).ok()? })
}

/// The 14 encodings of points of small order, six of them not canonical; each as A and as R with s = 0 (valid, all 196) and
/// with s = L (invalid); and encodings around p, alone in either place.
fn ed25519(honest: &Item) -> Vec<Item> {
    let near_p = |low: u8, sign: u8| {
        let mut encoding = [0xff; 32];
        (encoding[0], encoding[31]) = (low, 0x7f | sign);
        encoding
    };
    let mut small: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    let mut one_negative = [0; 32];
    (one_negative[0], one_negative[31]) = (1, 0x80);
    small.extend([one_negative, near_p(0xec, 0x80)]);
    small.extend([(0xed, 0), (0xed, 0x80), (0xee, 0), (0xee, 0x80)].map(|(low, sign)| near_p(low, sign)));

    let mut items = Vec::new();
    for (number, key) in small.iter().enumerate() {
        for r in &small {
            items.extend(with(honest, Some(key), &[*r, [0; 32]].concat()));
        }
        items.extend(with(honest, Some(key), &[small[number], ED25519_L].concat()));
    }
    let signature = honest.signature.as_bytes();
    let (r, s) = signature.split_at(32);
    for low in 0xe8..=0xff {
        for sign in [0, 0x80] {
            let edge = near_p(low, sign);
            items.extend(with(honest, Some(&edge), signature));
            items.extend(with(honest, None, &[edge.as_slice(), s].concat()));
            items.extend(with(honest, Some(&edge), &[edge, [0; 32]].concat()));
        }
    }
    // y from 2 on: some decode, some do not.
    for y in 2..18_u8 {
        let mut edge = [0; 32];
        edge[0] = y;
        items.extend(with(honest, Some(&edge), signature));
    }
    // s + L, the same number, and all bits set.
    let mut sum = [0_u8; 32];
    let mut carry = 0_u16;
    for (digit, (a, b)) in sum.iter_mut().zip(s.iter().zip(ED25519_L)) {
        carry += u16::from(*a) + u16::from(b);
        *digit = (carry & 0xff) as u8;
        carry >>= 8;
    }
    items.extend([sum, ED25519_L, [0xff; 32], [0; 32]].iter().flat_map(|s| with(honest, None, &[r, s].concat())));
    items
}

/// r and s at 0, 1, n − 1, n, n + 1 and 2^256 − 1; s negated; keys at the edges of x and with every first byte.
fn curve(honest: &Item, n: &str) -> Vec<Item> {
    let n: Vec<u8> = (0..32).filter_map(|i| u8::from_str_radix(n.get(2 * i..2 * i + 2)?, 16).ok()).collect();
    let moved = |by: i8| {
        let mut bytes = n.clone();
        // No order ends in 00 or ff, so nothing is carried.
        bytes[31] = bytes[31].wrapping_add_signed(by);
        bytes
    };
    let small = |low: u8| {
        let mut bytes = vec![0; 32];
        bytes[31] = low;
        bytes
    };
    let (r, s) = honest.signature.as_bytes().split_at(32);
    let mut edges = vec![small(0), small(1), small(2), moved(-1), n.clone(), moved(1), vec![0xff; 32]];
    edges.push(r.to_vec());
    edges.push(s.to_vec());
    let mut negated = n.clone();
    let mut borrow = 0_i16;
    for (digit, s) in negated.iter_mut().zip(s).rev() {
        let value = i16::from(*digit) - i16::from(*s) - borrow;
        borrow = i16::from(value < 0);
        *digit = value.rem_euclid(256) as u8;
    }
    edges.push(negated);
    let mut items = Vec::new();
    for r in &edges {
        items.extend(edges.iter().flat_map(|s| with(honest, None, &[r.as_slice(), s].concat())));
    }
    let signature = honest.signature.as_bytes();
    let key = honest.key.as_bytes();
    for first in [0, 1, 2, 3, 4, 5, 0xff] {
        items.extend(with(honest, Some(&[&[first], &key[1..]].concat()), signature));
        for x in [vec![0; 32], vec![0xff; 32], small(1), small(5), n.clone()] {
            items.extend(with(honest, Some(&[&[first], x.as_slice()].concat()), signature));
        }
    }
    items
}
