//! From items to the words that kernels read: fixed-size items, padded message blocks, keys to prepare.
//!
//! | buffer | layout, in 32-bit words |
//! |---|---|
//! | items | [`ITEM_WORDS`] each: 0–7 R or r, 8–15 s, 16 key slot, 17 first block ÷ 16 words, 18 blocks of the hash |
//! | new keys | [`KEY_WORDS`] each: 0–7 the key's 32 bytes or x, 8 parity of y, 9 slot, 10 whether it is well formed |
//! | blocks | the stream that the algorithm hashes, padded, byte for byte |
//!
//! Integers of Weierstrass curves go from big-endian bytes to words, least significant first; Ed25519's bytes are little-endian already.
//! Nothing here decides a verdict, except that an item whose key and signature do not fit together gets none.

use super::keys::KeySlots;
use crate::item::{Item, Message};
use types::AlgId;

/// Words of an item.
pub(super) const ITEM_WORDS: usize = 20;
/// Words of a key to prepare.
pub(super) const KEY_WORDS: usize = 12;
/// Longer messages are hashed where they are: on the device one of them would hold up its whole workgroup.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;
/// Most bytes of blocks that one item takes: the longest message, 64 bytes in front, padding.
pub(super) const BLOCK_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 + 256;

/// How an algorithm's hash reads its message.
struct Hashing {
    block_bytes: usize,
    /// Bytes of the message's length at the end of the last block.
    length_bytes: usize,
}

/// One launch: items of one algorithm, ready to be copied.
pub(super) struct Packed {
    pub(super) alg: AlgId,
    pub(super) items: Vec<u32>,
    pub(super) new_keys: Vec<u32>,
    pub(super) blocks: Vec<u8>,
    /// Position in the batch of each item.
    pub(super) positions: Vec<u32>,
}

/// Where an item goes.
pub(super) enum Fit {
    /// It was packed.
    Packed,
    /// The launch is full: it goes into the next.
    Full,
    /// It is not for the device: see [`MESSAGE_BYTES_MAX`].
    OnHost,
    /// Key and signature are of different algorithms, or an Ed25519 message came without its bytes: invalid.
    Mismatched,
}

impl Packed {
    pub(super) fn new(alg: AlgId) -> Self {
        Self { alg, items: Vec::new(), new_keys: Vec::new(), blocks: Vec::new(), positions: Vec::new() }
    }

    pub(super) fn begin(&mut self, alg: AlgId) {
        self.alg = alg;
        self.items.clear();
        self.new_keys.clear();
        self.blocks.clear();
        self.positions.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    pub(super) fn keys(&self) -> usize {
        self.new_keys.len() / KEY_WORDS
    }

    /// Adds item number `position` of a batch, within the launch's bounds.
    pub(super) fn push(&mut self, item: &Item, position: u32, keys: &mut KeySlots, bounds: &Bounds) -> Fit {
        if item.key.alg() != item.signature.alg() {
            return Fit::Mismatched;
        }
        if item.message.bytes().is_some_and(|bytes| bytes.len() > MESSAGE_BYTES_MAX) {
            return Fit::OnHost;
        }
        if self.len() == bounds.items || self.blocks.len() + BLOCK_BYTES_MAX > bounds.block_bytes {
            return Fit::Full;
        }
        let (Ok(r), Ok(s)) = (
            <&[u8; 32]>::try_from(&item.signature.as_bytes()[..32]),
            <&[u8; 32]>::try_from(&item.signature.as_bytes()[32..]),
        ) else {
            return Fit::Mismatched;
        };
        let edwards = self.alg == AlgId::Ed25519;
        let first_block = self.blocks.len() / 64;
        let blocks = match (&item.message, edwards) {
            (Message::Prehashed(_), true) => return Fit::Mismatched,
            (Message::Prehashed(digest), false) => {
                self.blocks.extend_from_slice(digest);
                self.blocks.resize(self.blocks.len() + 32, 0);
                0
            }
            (message, _) => self.push_stream(item, message.bytes().unwrap_or_default()),
        };
        let mut bytes = [0; 33];
        bytes[..item.key.as_bytes().len()].copy_from_slice(item.key.as_bytes());
        let (slot, new) = keys.slot_of(&bytes);
        if new {
            self.push_key(&bytes, slot);
        }
        let words = if edwards { little_endian } else { big_endian };
        self.items.extend(words(r));
        self.items.extend(words(s));
        self.items.extend([slot, u32::try_from(first_block).expect("bounded by the buffer"), blocks, 0]);
        self.positions.push(position);
        Fit::Packed
    }

    /// Appends what the algorithm hashes, padded; the number of the hash's blocks.
    fn push_stream(&mut self, item: &Item, message: &[u8]) -> u32 {
        let start = self.blocks.len();
        let hashing = match self.alg {
            AlgId::Ed25519 => {
                self.blocks.extend_from_slice(&item.signature.as_bytes()[..32]);
                self.blocks.extend_from_slice(item.key.as_bytes());
                Hashing { block_bytes: 128, length_bytes: 16 }
            }
            AlgId::Sm2Sm3 => {
                // Z, which the device knows with the key.
                self.blocks.resize(start + 32, 0);
                Hashing { block_bytes: 64, length_bytes: 8 }
            }
            _ => Hashing { block_bytes: 64, length_bytes: 8 },
        };
        self.blocks.extend_from_slice(message);
        let bits = (self.blocks.len() - start) as u64 * 8;
        self.blocks.push(0x80);
        let padded = (self.blocks.len() - start + hashing.length_bytes).next_multiple_of(hashing.block_bytes);
        self.blocks.resize(start + padded - 8, 0);
        self.blocks.extend_from_slice(&bits.to_be_bytes());
        u32::try_from(padded / hashing.block_bytes).expect("bounded by the longest message")
    }

    fn push_key(&mut self, key: &[u8; 33], slot: u32) {
        let (bytes, parity, well_formed) = match self.alg {
            AlgId::Ed25519 => (little_endian(key.first_chunk().expect("33 bytes hold 32")), 0, 1),
            _ => {
                let well_formed = u32::from(key[0] == 2 || key[0] == 3);
                (big_endian(key.last_chunk().expect("33 bytes hold 32")), u32::from(key[0] & 1), well_formed)
            }
        };
        self.new_keys.extend(bytes);
        self.new_keys.extend([parity, slot, well_formed, 0]);
    }
}

/// What a launch may hold.
pub(super) struct Bounds {
    pub(super) items: usize,
    pub(super) block_bytes: usize,
}

fn little_endian(bytes: &[u8; 32]) -> [u32; 8] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|index| u32::from_le_bytes(words[index]))
}

fn big_endian(bytes: &[u8; 32]) -> [u32; 8] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|index| u32::from_be_bytes(words[7 - index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use types::{PublicKey, SecretKey, Signature};

    const WIDE: Bounds = Bounds { items: 100, block_bytes: 1 << 20 };

    fn item(length: usize) -> Item {
        let secret = SecretKey::ed25519_from_seed([7; 32]);
        let message = vec![0xaa; length];
        let signature = secret.sign_bytes(&message);
        Item { key: secret.public_key(), message: Message::Bytes(Bytes::from(message)), signature }
    }

    #[test]
    fn messages_are_padded_as_sha_512_pads_them() {
        let mut keys = KeySlots::new(8);
        for length in [0, 1, 46, 47, 48, 63, 64, 175, 176, MESSAGE_BYTES_MAX] {
            let mut packed = Packed::new(AlgId::Ed25519);
            assert!(matches!(packed.push(&item(length), 5, &mut keys, &WIDE), Fit::Packed));
            let blocks = (64 + length + 17).div_ceil(128);
            assert_eq!((packed.blocks.len(), packed.items[18]), (128 * blocks, blocks as u32), "{length}");
            assert_eq!(packed.blocks[64 + length], 0x80);
            assert_eq!(packed.blocks[packed.blocks.len() - 8..], ((64 + length as u64) * 8).to_be_bytes());
            assert!(packed.blocks.len() <= BLOCK_BYTES_MAX);
            assert_eq!(packed.positions, [5]);
        }
        assert_eq!(keys.counts().1, 1, "one key");
    }

    #[test]
    fn what_does_not_fit_is_said_so_and_leaves_no_trace() {
        let mut keys = KeySlots::new(8);
        let mut packed = Packed::new(AlgId::Ed25519);
        assert!(matches!(packed.push(&item(MESSAGE_BYTES_MAX + 1), 0, &mut keys, &WIDE), Fit::OnHost));
        let mut other = item(3);
        other.signature = Signature::from_parts(AlgId::Sm2Sm3, &[1; 64]).expect("64 bytes");
        assert!(matches!(packed.push(&other, 0, &mut keys, &WIDE), Fit::Mismatched));
        let digest = Item { message: Message::Prehashed([0; 32]), ..item(3) };
        assert!(matches!(packed.push(&digest, 0, &mut keys, &WIDE), Fit::Mismatched));
        let none = Bounds { items: 0, block_bytes: 1 << 20 };
        assert!(matches!(packed.push(&item(3), 0, &mut keys, &none), Fit::Full));
        assert_eq!((packed.len(), packed.items.len(), packed.blocks.len(), packed.keys()), (0, 0, 0, 0));
    }

    #[test]
    fn integers_of_weierstrass_curves_become_words_from_the_least_significant() {
        let mut keys = KeySlots::new(8);
        let mut packed = Packed::new(AlgId::EcdsaP256);
        let mut key = [9; 33];
        (key[0], key[32]) = (3, 1);
        let mut signature = [0; 64];
        (signature[31], signature[32]) = (5, 0x80);
        let item = Item {
            key: PublicKey::from_parts(AlgId::EcdsaP256, &key).expect("33 bytes"),
            message: Message::Prehashed([0xee; 32]),
            signature: Signature::from_parts(AlgId::EcdsaP256, &signature).expect("64 bytes"),
        };
        assert!(matches!(packed.push(&item, 0, &mut keys, &WIDE), Fit::Packed));
        assert_eq!((packed.items[0], packed.items[15], packed.items[18]), (5, 0x8000_0000, 0));
        assert_eq!((packed.new_keys[0], packed.new_keys[8], packed.new_keys[10]), (0x0909_0901, 1, 1));
        assert_eq!((packed.blocks.len(), &packed.blocks[..32]), (64, &[0xee; 32][..]));
    }
}
