//! Items whose verdict is known: honest ones under fresh secret keys and damaged copies of them, for canaries and for
//! measuring; together with the adversarial ones, for the self-test.
//!
//! The keys are drawn anew at each start, so that no device can have seen an item before. Each verdict was given by the
//! reference verifier; an algorithm that this build does not verify has no known items, and so never reaches a device.

use super::adversarial;
use super::dice::Dice;
use crate::closing::SIGNATURES;
use crate::item::{Item, Message};
use bytes::Bytes;
use types::{AlgId, Digest, SecretKey, Signature, SigningMessage};

/// Valid items an algorithm, and as many invalid ones.
const STOCK_ITEMS: usize = 32;

/// Lengths of messages in the stock: none, one byte, and both sides of every edge of a hash block. SHA-512 hashes R and
/// A before the message, SM2 hashes Z before it.
const LENGTHS: [usize; 17] = [0, 1, 23, 24, 31, 32, 47, 48, 55, 56, 63, 64, 111, 112, 175, 176, 300];

/// The known items of one algorithm.
struct Stock {
    alg: AlgId,
    valid: Vec<Item>,
    invalid: Vec<Item>,
}

/// See the module.
pub(crate) struct Known {
    stocks: Vec<Stock>,
}

impl Known {
    /// Items of every algorithm that this build verifies.
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let stocks = SIGNATURES.into_iter().filter(|alg| alg.supported()).filter_map(|alg| Stock::new(alg, dice));
        Self { stocks: stocks.collect() }
    }

    /// Whether there are items of this algorithm.
    pub(crate) fn has(&self, alg: AlgId) -> bool {
        self.stock(alg).is_some()
    }

    /// Any valid or any invalid item of an algorithm that there is stock of.
    pub(crate) fn draw(&self, alg: AlgId, valid: bool, dice: &mut Dice) -> Option<&Item> {
        let items = self.stock(alg).map(|stock| if valid { &stock.valid } else { &stock.invalid })?;
        items.get(dice.below(items.len()))
    }

    /// Everything about an algorithm, honest and adversarial, with the verdicts.
    pub(crate) fn all(&self, alg: AlgId) -> Vec<(Item, bool)> {
        let Some(stock) = self.stock(alg) else { return Vec::new() };
        let valid = stock.valid.iter().map(|item| (item.clone(), true));
        let invalid = stock.invalid.iter().map(|item| (item.clone(), false));
        let adversarial = adversarial::items(alg, &stock.valid[0]).into_iter().map(|item| {
            let valid = item.verify_alone();
            (item, valid)
        });
        valid.chain(invalid).chain(adversarial).collect()
    }

    fn stock(&self, alg: AlgId) -> Option<&Stock> {
        self.stocks.iter().find(|stock| stock.alg == alg)
    }
}

/// Valid items that look like those of transactions, each under a key of its own.
pub(crate) fn fresh(alg: AlgId, count: usize, dice: &mut Dice) -> Vec<Item> {
    let item = |_| {
        let secret = SecretKey::from_seed(alg, dice.bytes()).ok()?;
        let message = SigningMessage::transaction(&Digest::sha256(&dice.bytes::<32>()));
        Some(Item { key: secret.public_key(), message: message.into(), signature: secret.sign(&message) })
    };
    (0..count).filter_map(item).collect()
}

impl Stock {
    fn new(alg: AlgId, dice: &mut Dice) -> Option<Self> {
        let (mut valid, mut invalid) = (Vec::new(), Vec::new());
        for number in 0..STOCK_ITEMS {
            let secret = SecretKey::from_seed(alg, dice.bytes()).ok()?;
            let key = secret.public_key();
            let (message, signature) = match number {
                // Half of them look like a transaction's.
                _ if number % 2 == 0 => {
                    let statement = SigningMessage::transaction(&Digest::sha256(&dice.bytes::<32>()));
                    (Message::Statement(statement), secret.sign(&statement))
                }
                _ => {
                    let mut text = vec![0; LENGTHS[number / 2 % LENGTHS.len()]];
                    text.iter_mut().for_each(|byte| [*byte] = dice.bytes());
                    let signature = secret.sign_bytes(&text);
                    match key.prehash(&text).filter(|_| number % 8 == 1) {
                        Some(digest) => (Message::Prehashed(digest), signature),
                        None => (Message::Bytes(Bytes::from(text)), signature),
                    }
                }
            };
            let honest = Item { key, message, signature };
            invalid.push(damaged(&honest, number, dice));
            valid.push(honest);
        }
        // The reference has the last word: what it does not confirm is no known item.
        valid.retain(Item::verify_alone);
        invalid.retain(|item| !item.verify_alone());
        (valid.len() == STOCK_ITEMS && invalid.len() == STOCK_ITEMS).then_some(Self { alg, valid, invalid })
    }
}

/// A copy with one thing wrong: a bit of s, another message, or another key.
fn damaged(honest: &Item, number: usize, dice: &mut Dice) -> Item {
    let mut item = honest.clone();
    match number % 3 {
        0 => {
            let mut bytes = honest.signature.as_bytes().to_vec();
            // Within the lower 28 bytes of s under either byte order, so that s stays in range.
            let bit = dice.below(8 * 24);
            bytes[36 + bit / 8] ^= 1 << (bit % 8);
            if let Ok(signature) = Signature::from_parts(item.key.alg(), &bytes) {
                item.signature = signature;
            }
        }
        1 => item.message = SigningMessage::transaction(&Digest::sha256(&dice.bytes::<32>())).into(),
        _ => {
            if let Ok(other) = SecretKey::from_seed(item.key.alg(), dice.bytes()) {
                item.key = other.public_key();
            }
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_of_this_build_has_known_items_of_both_kinds() {
        let mut dice = Dice::new(Some([4; 32])).expect("a seed");
        let known = Known::new(&mut dice);
        for alg in SIGNATURES {
            assert_eq!(known.has(alg), alg.supported(), "{alg}");
            for (item, valid) in known.all(alg) {
                assert_eq!(item.verify_alone(), valid);
                assert_eq!(item.key.alg(), alg);
            }
            if known.has(alg) {
                let count = |valid| known.all(alg).iter().filter(|(_, is)| *is == valid).count();
                assert!(count(true) >= STOCK_ITEMS && count(false) >= STOCK_ITEMS + 10, "{alg}");
                assert!(known.draw(alg, true, &mut dice).expect("stock").verify_alone());
                assert!(!known.draw(alg, false, &mut dice).expect("stock").verify_alone());
                assert!(fresh(alg, 5, &mut dice).iter().all(Item::verify_alone));
            }
        }
        let all = known.all(AlgId::Ed25519);
        let small_order =
            all.iter().filter(|(item, valid)| *valid && item.signature.as_bytes()[32..] == [0; 32]).count();
        assert!(small_order >= 14 * 14, "{small_order}: every pair of small-order encodings is valid with s = 0");
    }
}
