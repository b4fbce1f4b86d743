//! Transactions of a session without an answer, by their sequence number. Answers come nearly in order, so that a ring
//! with holes is all it takes.

use std::collections::VecDeque;

/// A ring of tags; slot 0 has sequence number `first`.
#[derive(Debug)]
pub(super) struct InFlight<K> {
    first: u64,
    slots: VecDeque<Option<K>>,
    open: usize,
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        Self { first: 0, slots: VecDeque::new(), open: 0 }
    }
}

impl<K> InFlight<K> {
    /// Gives the tag the next sequence number.
    pub(super) fn push(&mut self, tag: K) {
        self.slots.push_back(Some(tag));
        self.open += 1;
    }

    /// Takes out the tag of an answered number; `None` for a number never given, or answered before.
    pub(super) fn take(&mut self, sequence: u64) -> Option<K> {
        let slot = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let tag = self.slots.get_mut(slot)?.take()?;
        self.open -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        Some(tag)
    }

    /// How many have no answer.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Takes out all that have no answer, in order, and starts over at number 0.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = K> + use<K> {
        std::mem::take(self).slots.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_answered_once_in_any_order() {
        let mut in_flight = InFlight::default();
        (0..5).for_each(|tag| in_flight.push(tag));
        assert_eq!([3, 3, 0, 5, 1].map(|sequence| in_flight.take(sequence)), [Some(3), None, Some(0), None, Some(1)]);
        assert_eq!(in_flight.take(0), None);
        in_flight.push(5);
        assert_eq!((in_flight.take(5), in_flight.len()), (Some(5), 2));
        assert_eq!(in_flight.drain().collect::<Vec<_>>(), [2, 4]);
        in_flight.push(9);
        assert_eq!(in_flight.take(0), Some(9));
    }
}
