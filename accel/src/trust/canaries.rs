//! Canaries: items with known verdicts at secret random places of a batch, so that a device which answers without looking,
//! or looks and sees wrong, is caught by the batch itself. What it cannot show is in the module above.

use super::dice::Dice;
use super::known::Known;
use crate::closing::Load;
use crate::item::{Batch, Item, Path};
use crate::verdicts::Verdicts;

/// Canaries of each verdict and algorithm in a small batch.
const CANARIES_MIN: usize = 2;
/// One more of each for so many items.
const ITEMS_A_CANARY: usize = 4096;
/// And no more than so many.
const CANARIES_MAX: usize = 16;

/// Canaries in a batch of so many items of so many algorithms, at most.
pub(crate) fn canaries_max(items: usize, algorithms: usize) -> usize {
    2 * algorithms * (CANARIES_MIN + items / ITEMS_A_CANARY).min(CANARIES_MAX)
}

/// A batch with canaries in it. Positions are those in the batch; numbers are those of the items without canaries.
pub(crate) struct Laden {
    batch: Batch,
    /// Positions of the canaries, ascending, and their verdicts.
    canaries: Vec<(usize, bool)>,
}

impl Laden {
    /// Strews canaries over the items.
    pub(crate) fn new(items: Vec<Item>, path: Path, known: &Known, dice: &mut Dice) -> Self {
        let mut drawn = Vec::new();
        for (_, alg, count) in Load::of(&items).parts() {
            let each = (CANARIES_MIN + count / ITEMS_A_CANARY).min(CANARIES_MAX);
            for valid in [true, false] {
                drawn.extend((0..each).filter_map(|_| known.draw(alg, valid, dice).map(|item| (item.clone(), valid))));
            }
        }
        for last in (1..drawn.len()).rev() {
            drawn.swap(last, dice.below(last + 1));
        }
        let len = items.len() + drawn.len();
        let positions = dice.distinct(drawn.len(), len);
        let canaries = positions.iter().zip(&drawn).map(|(position, (_, valid))| (*position, *valid)).collect();
        let (mut laden, mut items) = (Vec::with_capacity(len), items.into_iter());
        for (position, (canary, _)) in positions.into_iter().zip(drawn) {
            let between = position - laden.len();
            laden.extend(items.by_ref().take(between));
            laden.push(canary);
        }
        laden.extend(items);
        Self { batch: Batch::new(laden, path), canaries }
    }

    /// What the device gets.
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Number of canaries.
    pub(crate) fn canaries(&self) -> usize {
        self.canaries.len()
    }

    /// Number of items without canaries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.batch.len() - self.canaries.len()
    }

    /// The item with this number.
    pub(crate) fn item(&self, number: usize) -> &Item {
        &self.batch.items()[self.position(number)]
    }

    /// Copies of the items with these numbers.
    pub(crate) fn copies(&self, numbers: impl IntoIterator<Item = usize>) -> Vec<Item> {
        numbers.into_iter().map(|number| self.item(number).clone()).collect()
    }

    /// How many canaries have the wrong verdict.
    pub(crate) fn wrong(&self, verdicts: &Verdicts) -> usize {
        self.canaries.iter().filter(|(position, valid)| verdicts.get(*position) != *valid).count()
    }

    /// The verdicts of the items alone.
    pub(crate) fn strip(&self, verdicts: &Verdicts) -> Verdicts {
        let mut canaries = self.canaries.iter().map(|(position, _)| *position).peekable();
        let own = verdicts.iter().enumerate().filter(|(position, _)| canaries.next_if_eq(position).is_none());
        Verdicts::from_bools(own.map(|(_, valid)| valid))
    }

    /// Where an item stands: behind every canary that has no more than `number` items before it.
    fn position(&self, number: usize) -> usize {
        let (mut low, mut high) = (0, self.canaries.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.canaries[middle].0 - middle <= number { low = middle + 1 } else { high = middle }
        }
        number + low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::known::fresh;
    use types::AlgId;

    #[test]
    fn items_keep_their_order_and_verdicts_and_canaries_their_secret() {
        let mut dice = Dice::new(Some([5; 32])).expect("a seed");
        let known = Known::new(&mut dice);
        let stock = fresh(AlgId::Ed25519, 32, &mut dice);
        let mut first_positions = std::collections::HashSet::new();
        for len in [0, 1, 2, 10, 63, 64, 5000] {
            let items: Vec<Item> = stock.iter().cycle().take(len).cloned().collect();
            let laden = Laden::new(items.clone(), Path::Together, &known, &mut dice);
            let each = if len == 0 { 0 } else { CANARIES_MIN + len / ITEMS_A_CANARY };
            assert_eq!((laden.len(), laden.canaries()), (len, 2 * each));
            for (number, item) in items.iter().enumerate() {
                assert_eq!(laden.item(number).signature, item.signature, "item {number} of {len}");
            }
            let truth = Verdicts::from_bools(laden.batch().items().iter().map(Item::verify_alone));
            assert_eq!(laden.wrong(&truth), 0);
            assert_eq!(laden.wrong(&Verdicts::all_invalid(truth.len())), each);
            assert_eq!(laden.wrong(&Verdicts::from_bools((0..truth.len()).map(|_| true))), each);
            assert!(laden.strip(&truth).all_valid());
            assert_eq!(laden.strip(&truth).len(), len);
            first_positions.extend(laden.canaries.first().copied());
        }
        assert!(first_positions.len() > 3);
    }

    #[test]
    fn stripped_verdicts_belong_to_their_items() {
        let mut dice = Dice::new(Some([6; 32])).expect("a seed");
        let known = Known::new(&mut dice);
        let (valid, invalid) = (fresh(AlgId::Ed25519, 1, &mut dice), known.draw(AlgId::Ed25519, false, &mut dice));
        let invalid = invalid.expect("stock").clone();
        let items: Vec<Item> = (0..70).map(|i| if i % 7 == 3 { invalid.clone() } else { valid[0].clone() }).collect();
        let laden = Laden::new(items, Path::Together, &known, &mut dice);
        let truth = Verdicts::from_bools(laden.batch().items().iter().map(Item::verify_alone));
        assert_eq!(laden.strip(&truth).invalid().collect::<Vec<_>>(), (0..10).map(|i| 7 * i + 3).collect::<Vec<_>>());
    }
}
