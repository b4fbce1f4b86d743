//! What is measured: signatures over distinct messages under a chosen number of keys, a share of them wrong.
//!
//! Deterministic: the same options give the same bytes on every machine.

use accel::{Batch, Item, Message, Path};
use std::num::NonZeroUsize;
use std::thread;
use types::{AlgId, SecretKey, Signature};

/// Signatures that are made at least, however few the keys.
const ITEMS_MIN: usize = 4096;

/// How to make it.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// The algorithm.
    pub alg: AlgId,
    /// Bytes of each message.
    pub message_bytes: usize,
    /// Distinct keys.
    pub keys: usize,
    /// Invalid items in a hundred, spread evenly.
    pub invalid_percent: u8,
}

/// Items, and which of them are valid.
#[derive(Debug)]
pub struct Workload {
    items: Vec<Item>,
    valid: Vec<bool>,
}

/// Batches of one size that together hold every item, with their right verdicts.
#[derive(Debug)]
pub struct Batches {
    /// The batches.
    pub batches: Vec<Batch>,
    /// One list for each.
    pub valid: Vec<Vec<bool>>,
}

impl Workload {
    /// Makes at least `items_min` items on all cores.
    pub fn make(mix: Mix, items_min: usize) -> Self {
        let count = items_min.min(ITEMS_MIN).max(mix.keys);
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = count.div_ceil(threads).max(1);
        let made: Vec<Vec<(Item, bool)>> = thread::scope(|scope| {
            let part =
                |first: usize| scope.spawn(move || (first..(first + share).min(count)).map(|n| item(mix, n)).collect());
            let parts: Vec<_> = (0..count).step_by(share).map(part).collect();
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let (items, valid) = made.into_iter().flatten().unzip();
        Self { items, valid }
    }

    /// The items, singly.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Which items are valid.
    #[cfg(test)]
    pub fn valid(&self) -> &[bool] {
        &self.valid
    }

    /// Cut into batches; a batch larger than the workload repeats it.
    pub fn batches(&self, size: usize) -> Batches {
        let count = (self.items.len() / size).max(1);
        let places = |batch: usize| (batch * size..(batch + 1) * size).map(|place| place % self.items.len());
        let path = if self.valid.iter().all(|valid| *valid) { Path::Together } else { Path::Singly };
        Batches {
            batches: (0..count)
                .map(|batch| Batch::new(places(batch).map(|place| self.items[place].clone()).collect(), path))
                .collect(),
            valid: (0..count).map(|batch| places(batch).map(|place| self.valid[place]).collect()).collect(),
        }
    }
}

fn item(mix: Mix, number: usize) -> (Item, bool) {
    let mut seed = [0x5e; 32];
    seed[..8].copy_from_slice(&((number % mix.keys) as u64).to_le_bytes());
    let secret = SecretKey::from_seed(mix.alg, seed).expect("no such seed gives a zero scalar");
    let mut message = vec![0; mix.message_bytes];
    message.iter_mut().zip((number as u64).to_le_bytes()).for_each(|(to, from)| *to = from);
    let mut signature = secret.sign_bytes(&message).as_bytes().to_vec();
    let share = usize::from(mix.invalid_percent);
    let valid = number * share / 100 == (number + 1) * share / 100;
    if !valid {
        // Of r: what the equation finds out at its very end.
        signature[5] ^= 1;
    }
    let signature = Signature::from_parts(mix.alg, &signature).expect("the length did not change");
    (Item { key: secret.public_key(), message: Message::Bytes(message.into()), signature }, valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn verdicts_keys_and_lengths_are_as_asked_for() {
        for invalid_percent in [0, 1, 50, 100] {
            let mix = Mix { alg: AlgId::EcdsaSecp256k1, message_bytes: 47, keys: 3, invalid_percent };
            let made = Workload::make(mix, 200);
            assert_eq!(made.items().len(), 200);
            assert_eq!(made.valid().iter().filter(|valid| !**valid).count(), 2 * usize::from(invalid_percent));
            let keys: BTreeSet<_> = made.items().iter().map(|item| item.key.clone()).collect();
            assert_eq!(keys.len(), 3);
            assert!(made.items().iter().all(|item| item.message.bytes().is_some_and(|bytes| bytes.len() == 47)));
            for (item, valid) in made.items().iter().zip(made.valid()).take(8) {
                assert_eq!(item.verify_alone(), *valid);
            }
        }
    }

    #[test]
    fn batches_hold_every_item_once_and_larger_ones_repeat() {
        let mix = Mix { alg: AlgId::Ed25519, message_bytes: 8, keys: 40, invalid_percent: 50 };
        let made = Workload::make(mix, 40);
        let batches = made.batches(10);
        assert_eq!(batches.batches.len(), 4);
        assert_eq!(batches.valid.concat(), made.valid());
        let large = made.batches(100);
        assert_eq!((large.batches.len(), large.batches[0].len()), (1, 100));
        assert_eq!(large.valid[0][..40], large.valid[0][40..80]);
    }
}
