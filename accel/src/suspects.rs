//! Whose signatures failed lately. Bounded: the mark that would end first makes room. The clock is handed in.

use crate::closing::Origin;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Origins that are marked at once, at most.
const MARKS_MAX: usize = 1024;
/// How long a mark lasts after the last failure.
const MARK_LASTS: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Suspects {
    until: HashMap<Origin, Instant>,
}

impl Suspects {
    pub(crate) fn mark(&mut self, origin: Origin, now: Instant) {
        if self.until.len() >= MARKS_MAX && !self.until.contains_key(&origin) {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= MARKS_MAX {
                let first = self.until.iter().min_by_key(|(_, until)| **until).map(|(origin, _)| *origin);
                first.and_then(|origin| self.until.remove(&origin));
            }
        }
        self.until.insert(origin, now + MARK_LASTS);
    }

    /// Whether nobody is marked.
    pub(crate) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(crate) fn is_marked(&mut self, origin: Origin, now: Instant) -> bool {
        match self.until.get(&origin) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.until.remove(&origin);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lasts_from_the_last_failure_and_then_ends() {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        suspects.mark(Origin::Author(2), start);
        suspects.mark(Origin::Author(2), start + MARK_LASTS / 2);
        assert!(suspects.is_marked(Origin::Author(2), start + MARK_LASTS));
        assert!(!suspects.is_marked(Origin::Client(2), start));
        assert!(!suspects.is_marked(Origin::Author(2), start + MARK_LASTS * 2));
        assert!(suspects.until.is_empty());
    }

    #[test]
    fn marks_stay_bounded_and_the_oldest_makes_room() {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        for client in 0..2 * MARKS_MAX as u64 {
            suspects.mark(Origin::Client(client), start + Duration::from_micros(client));
        }
        assert_eq!(suspects.until.len(), MARKS_MAX);
        assert!(!suspects.is_marked(Origin::Client(0), start));
        assert!(suspects.is_marked(Origin::Client(2 * MARKS_MAX as u64 - 1), start));
    }
}
