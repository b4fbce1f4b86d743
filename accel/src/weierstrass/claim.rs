//! From signatures to what the curve has to say of them: that a sum `[a]G + [b]P` has a certain x.
//!
//! Here is all that tells SM2 from ECDSA: ranges, hashing, and arithmetic modulo n. The inversions of ECDSA are done
//! for a whole batch at once. Deliberately absent: points.

use super::Entry;
use super::curve::{Curve, Scheme};
use super::montgomery::{Limbs, Modulus, Residue, add, invert_all, less, limbs_from_be, subtract};
use super::table::KeyTable;
use crate::item::Message;
use sha2::{Digest as _, Sha256};
use sm3::Sm3;
use std::sync::Arc;

/// Length in bits and bytes of the user id of GM/T 0009 §10.
const USER_ID: [u8; 18] = *b"\0\x801234567812345678";

/// A decoded key.
pub(super) struct Key {
    /// Apart, so that keys by the thousand are handed on without copying their tables.
    pub(super) table: Box<KeyTable>,
    /// Z of GM/T 0003.2 §5.5; zero under ECDSA.
    z: [u8; 32],
}

impl Key {
    pub(super) fn new<C: Curve>(table: Box<KeyTable>) -> Self {
        let z = match C::SCHEME {
            Scheme::Ecdsa => [0; 32],
            Scheme::Sm2 => {
                let point = table.point::<C>();
                let a = subtract(&C::Field::PRIME, &[3, 0, 0, 0]).0;
                let numbers = [a, C::B, C::G[0], C::G[1], point.x.number(), point.y.number()];
                let hasher = numbers.iter().fold(Sm3::new().chain_update(USER_ID), |hasher, number| {
                    hasher.chain_update(super::montgomery::limbs_to_be(number))
                });
                hasher.finalize().into()
            }
        };
        Self { table, z }
    }

    /// e, as 32 bytes.
    fn digest<C: Curve>(&self, message: &Message) -> [u8; 32] {
        let bytes = match message {
            Message::Prehashed(digest) => return *digest,
            Message::Statement(statement) => statement.as_bytes(),
            Message::Bytes(bytes) => bytes.as_ref(),
        };
        match C::SCHEME {
            Scheme::Sm2 => Sm3::new().chain_update(self.z).chain_update(bytes).finalize().into(),
            Scheme::Ecdsa => Sha256::digest(bytes).into(),
        }
    }
}

/// Holds iff `[base]G + [of_key]P` is not at infinity and its x is one of the given ones.
pub(super) struct Claim<'a> {
    /// Position of the entry.
    pub(super) index: usize,
    pub(super) key: &'a Key,
    /// Below n.
    pub(super) base: Limbs,
    /// Below n, and not zero.
    pub(super) of_key: Limbs,
    /// Below n.
    pub(super) x: Limbs,
    /// `x` + n, where that is below p.
    pub(super) x_above: Option<Limbs>,
}

impl<'a> Claim<'a> {
    fn new<C: Curve>(index: usize, key: &'a Key, base: Limbs, of_key: Limbs, x: Limbs) -> Self {
        let (above, carry) = add(&x, &C::Order::PRIME);
        let x_above = (!carry && less(&above, &C::Field::PRIME)).then_some(above);
        Self { index, key, base, of_key, x, x_above }
    }
}

/// A signature in range, with its e.
struct Parsed<'a> {
    index: usize,
    key: &'a Key,
    r: Limbs,
    s: Limbs,
    e: Limbs,
}

/// The claims of those entries whose key decoded and whose numbers are in range. The others are invalid as they are.
/// The key of an entry is that of `keys` at the place that `key_of` has for it.
pub(super) fn claims<'a, C: Curve>(
    entries: &[Entry<'_>],
    key_of: &[usize],
    keys: &'a [Option<Arc<Key>>],
) -> Vec<Claim<'a>> {
    let parsed = entries.iter().zip(key_of).enumerate().filter_map(|(index, (entry, place))| {
        let key = keys[*place].as_deref()?;
        let (r, s) = numbers::<C>(entry.signature)?;
        Some(Parsed { index, key, r, s, e: limbs_from_be(&key.digest::<C>(entry.message)) })
    });
    match C::SCHEME {
        Scheme::Sm2 => parsed.filter_map(sm2_claim::<C>).collect(),
        Scheme::Ecdsa => ecdsa_claims::<C>(&parsed.collect::<Vec<_>>()),
    }
}

/// r and s, both from 1 to n − 1, and s to (n − 1) / 2 for ECDSA.
fn numbers<C: Curve>(signature: &[u8; 64]) -> Option<(Limbs, Limbs)> {
    let (halves, _) = signature.as_chunks::<32>();
    let (r, s) = (limbs_from_be(&halves[0]), limbs_from_be(&halves[1]));
    let in_range = |number: &Limbs| *number != [0; 4] && less(number, &C::Order::PRIME);
    // n is odd, so s and n − s are never equal.
    let low = || less(&s, &subtract(&C::Order::PRIME, &s).0);
    (in_range(&r) && in_range(&s) && (C::SCHEME == Scheme::Sm2 || low())).then_some((r, s))
}

/// Modulo n.
type Scalar<C> = Residue<<C as Curve>::Order>;

/// B5 to B7 of GM/T 0003.2 §7.1: t = r + s is not zero, and x of `[s]G + [t]P` is r − e.
fn sm2_claim<'a, C: Curve>(Parsed { index, key, r, s, e }: Parsed<'a>) -> Option<Claim<'a>> {
    // Sums and differences are the same in Montgomery form and out of it.
    let [r, s] = [r, s].map(Scalar::<C>::from_montgomery);
    let e = Scalar::<C>::from_montgomery(Scalar::<C>::reduced_limbs(&e));
    let t = r.add(&s);
    (!t.is_zero()).then(|| Claim::new::<C>(index, key, *s.montgomery(), *t.montgomery(), *r.sub(&e).montgomery()))
}

/// x of `[e/s]G + [r/s]P` is r.
fn ecdsa_claims<'a, C: Curve>(parsed: &[Parsed<'a>]) -> Vec<Claim<'a>> {
    let mut inverses: Vec<Scalar<C>> = parsed.iter().map(|parsed| Residue::reduced(&parsed.s)).collect();
    invert_all(&mut inverses);
    let claim = |(&Parsed { index, key, r, e, .. }, inverse): (&Parsed<'a>, Scalar<C>)| {
        let e = Scalar::<C>::reduced_limbs(&e);
        Claim::new::<C>(index, key, inverse.times_number(&e), inverse.times_number(&r), r)
    };
    parsed.iter().zip(inverses).map(claim).collect()
}
