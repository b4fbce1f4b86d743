//! Which segments of the log a restart has to read: those that hold a block above the garbage collection round, and all
//! behind them.

use std::collections::VecDeque;
use types::Round;

/// Segments with the highest round of a block in each, rising.
#[derive(Debug)]
pub struct Segments {
    held: VecDeque<(u64, Round)>,
    first: u64,
}

impl Segments {
    /// Starts with everything from this segment on.
    pub fn new(first: u64) -> Self {
        Self { held: VecDeque::new(), first }
    }

    /// A block of this round was written to this segment.
    pub fn note(&mut self, segment: u64, round: Round) {
        match self.held.back_mut() {
            Some((last, highest)) if *last >= segment => *highest = (*highest).max(round),
            _ => self.held.push_back((segment, round)),
        }
    }

    /// Forgets segments without a block above `gc_round`, and says which is the first that is still needed.
    pub fn collect(&mut self, gc_round: Round) -> u64 {
        // The last one stays: what comes next is written there.
        while self.held.len() > 1 && self.held.front().is_some_and(|(_, highest)| *highest <= gc_round) {
            self.held.pop_front();
        }
        self.first = self.held.front().map_or(self.first, |(segment, _)| *segment);
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_needed_while_any_block_in_it_is() {
        let mut segments = Segments::new(0);
        for (segment, round) in [(0, 10), (0, 14), (1, 12), (1, 15), (2, 20)] {
            segments.note(segment, Round(round));
        }
        assert_eq!(segments.collect(Round(13)), 0);
        assert_eq!(segments.collect(Round(14)), 1);
        assert_eq!(segments.collect(Round(15)), 2);
        assert_eq!(segments.collect(Round(99)), 2, "the last segment is where the log goes on");
    }
}
