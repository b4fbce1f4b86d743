//! What happens next: events by time, then by order of scheduling.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A priority queue of events.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at_us: u64,
    sequence: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<E> Queue<E> {
    /// Something will happen.
    pub fn push(&mut self, at_us: u64, event: E) {
        self.heap.push(Entry { at_us, sequence: self.sequence, event });
        self.sequence += 1;
    }

    /// The next event up to a time, with its time.
    pub fn pop_until(&mut self, end_us: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.at_us > end_us {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at_us, entry.event))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at_us, other.sequence).cmp(&(self.at_us, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}
