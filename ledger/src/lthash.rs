//! The state digest: LtHash with 1024 lanes of 16 bits (Lewi, Kim, Maykov, Weis, "Securing Update Propagation with
//! Homomorphic Hashing", eprint 2019/227), each element expanded by BLAKE3's XOF under a key of its own.
//!
//! The hash of a set is the lane-wise sum of its elements' expansions, so a change costs the element that goes and the
//! element that comes, shards sum in any order, and the number of shards cannot be seen. An element is at most 64 bytes,
//! one BLAKE3 block, so that its expansion is exactly 32 compressions of the same block.

mod lanes;

use crate::account::Account;
use crate::value::Value;
use std::fmt;
use types::{Address, Decode, DecodeError, Digest, Encode, Hasher, Height, Reader, StateKey};

/// Lanes of the sum.
const LANES: usize = 1024;
/// Bytes of an expansion and of the sum.
const BYTES: usize = 2 * LANES;
/// Key of the expansion: the domain of state elements.
const KEY: &[u8; 32] = b"stele/state-element/1\0\0\0\0\0\0\0\0\0\0\0";
/// First byte of an account's element.
const ACCOUNT: u8 = 1;
/// First byte of the element of a height's live ids.
const LIVE: u8 = 2;
/// First byte of the element of the governance's approvals.
const APPROVALS: u8 = 3;
/// First byte of the element of any other value.
const VALUE: u8 = 4;

/// One element of the set: what is hashed.
#[derive(Clone, Copy)]
pub struct Element {
    bytes: [u8; Element::BYTES_MAX],
    length: usize,
}

impl Element {
    /// One block of BLAKE3.
    const BYTES_MAX: usize = 64;

    /// The element of a value under its key. An account stands in it as it is; of any other value a digest does, over the
    /// key and the value, because an element has no room for them.
    pub fn value(key: &StateKey, value: &Value) -> Self {
        if let (StateKey::Account(address), Value::Account(account)) = (key, value) {
            return Self::account(address, account);
        }
        let digest = Hasher::new("stele/state-value/1").with_encoded(key).with_encoded(value).finish();
        let mut element = [0; 1 + Digest::ENCODED_LEN];
        element[0] = VALUE;
        element[1] = digest.alg() as u8;
        element[2..].copy_from_slice(digest.as_bytes());
        Self::of(&element)
    }

    /// The element of an account.
    pub fn account(address: &Address, account: &Account) -> Self {
        let mut element = [0; 1 + 32 + Account::ENCODED_LEN];
        element[0] = ACCOUNT;
        element[1..33].copy_from_slice(address.as_bytes());
        element[33..49].copy_from_slice(&account.balance.0.to_le_bytes());
        element[49..].copy_from_slice(&account.transfers_out.to_le_bytes());
        Self::of(&element)
    }

    /// The element of the ids that a height claimed; `bucket` is [`crate::LiveBucket::digest`].
    pub fn live(height: Height, bucket: &Digest) -> Self {
        let mut element = [0; 1 + 8 + Digest::ENCODED_LEN];
        element[0] = LIVE;
        element[1..9].copy_from_slice(&height.0.to_le_bytes());
        element[9] = bucket.alg() as u8;
        element[10..].copy_from_slice(bucket.as_bytes());
        Self::of(&element)
    }

    /// The element of the governance's approvals; `approvals` is [`crate::Approvals::element`].
    pub fn approvals(approvals: &Digest) -> Self {
        let mut element = [0; 1 + Digest::ENCODED_LEN];
        element[0] = APPROVALS;
        element[1] = approvals.alg() as u8;
        element[2..].copy_from_slice(approvals.as_bytes());
        Self::of(&element)
    }

    fn of(element: &[u8]) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..element.len()].copy_from_slice(element);
        Self { bytes, length: element.len() }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Element")
    }
}

/// A sum in the making: elements are added and taken out, and at the end it is put in order.
pub struct Accumulator(lanes::Sum);

impl Default for Accumulator {
    fn default() -> Self {
        Self(lanes::Sum::zero())
    }
}

impl Accumulator {
    /// Puts an element in.
    pub fn add(&mut self, element: &Element) {
        self.0.change::<true>(element);
    }

    /// Takes an element out.
    pub fn remove(&mut self, element: &Element) {
        self.0.change::<false>(element);
    }

    /// What it has come to.
    pub fn sum(&self) -> LtHash {
        LtHash(self.0.in_order())
    }
}

impl fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sum().fmt(f)
    }
}

/// The sum over a set of elements, or over a change to it.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u16; LANES]>);

impl Default for LtHash {
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl LtHash {
    /// Adds the sum of another set or change.
    pub fn combine(&mut self, other: &LtHash) {
        for (lane, other) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*other);
        }
    }

    /// The digest that stands in a ledger header.
    pub fn digest(&self) -> Digest {
        Hasher::new("stele/state-digest/1").with_encoded(self).finish()
    }

    /// The sum over a whole state, from its parts: what an audit of a snapshot compares.
    pub fn of_state<'a>(
        values: impl IntoIterator<Item = (StateKey, Value)>,
        live: impl IntoIterator<Item = &'a crate::LiveBucket>,
        approvals: &crate::Approvals,
    ) -> Self {
        let mut sum = Accumulator::default();
        values.into_iter().for_each(|(key, value)| sum.add(&Element::value(&key, &value)));
        live.into_iter().for_each(|bucket| sum.add(&Element::live(bucket.height, &bucket.digest())));
        approvals.element().iter().for_each(|approvals| sum.add(&Element::approvals(approvals)));
        sum.sum()
    }
}

impl fmt::Debug for LtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LtHash({:?})", self.digest())
    }
}

impl Encode for LtHash {
    fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(BYTES);
        for lane in self.0.iter() {
            out.extend_from_slice(&lane.to_le_bytes());
        }
    }
}

impl Decode for LtHash {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut sum = Self::default();
        for (lane, bytes) in sum.0.iter_mut().zip(reader.take(BYTES)?.as_chunks().0) {
            *lane = u16::from_le_bytes(*bytes);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Amount;

    fn element(seed: u8, units: u128) -> Element {
        Element::account(&Address::from_bytes([seed; 32]), &Account { balance: Amount(units), transfers_out: 0 })
    }

    #[test]
    fn the_order_of_changes_cannot_be_seen_and_a_removed_element_leaves_nothing() {
        let (a, b, c) = (element(1, 1), element(2, 2), element(2, 3));
        let (mut one, mut other) = (Accumulator::default(), Accumulator::default());
        one.add(&a);
        one.add(&b);
        one.remove(&b);
        one.add(&c);
        other.add(&c);
        other.add(&a);
        assert_eq!(one.sum().digest(), other.sum().digest());
        one.remove(&a);
        one.remove(&c);
        assert_eq!(one.sum(), LtHash::default());
    }

    #[test]
    fn sums_of_parts_combine_to_the_sum_of_all() {
        let (mut one, mut other, mut both) = (Accumulator::default(), Accumulator::default(), Accumulator::default());
        for seed in 0..9 {
            let part = if seed % 2 == 0 { &mut one } else { &mut other };
            part.add(&element(seed, 5));
            both.add(&element(seed, 5));
        }
        let mut sum = one.sum();
        sum.combine(&other.sum());
        assert_eq!(sum, both.sum());
    }

    #[test]
    fn one_element_twice_is_not_none() {
        let a = element(1, 1);
        let mut sum = Accumulator::default();
        sum.add(&a);
        sum.add(&a);
        assert_ne!(sum.sum(), LtHash::default(), "a sum under XOR would be forgeable");
    }

    #[test]
    fn the_encoding_reads_back_and_takes_nothing_shorter() {
        let mut sum = Accumulator::default();
        sum.add(&element(7, 7));
        let sum = sum.sum();
        let bytes = sum.to_bytes();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(LtHash::from_bytes(&bytes), Ok(sum));
        assert!(LtHash::from_bytes(&bytes[1..]).is_err());
    }
}
