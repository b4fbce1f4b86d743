//! The backlog of the audit: accepts that have left and are to be verified again when the CPU has nothing better to do.

use super::canaries::Laden;
use crate::verdicts::Verdicts;
use std::collections::VecDeque;
use std::sync::Arc;

/// Accepts of one batch that are still to be looked at.
pub(crate) struct Audit {
    pub(crate) laden: Arc<Laden>,
    /// Numbers of the accepted items.
    pub(crate) numbers: Vec<usize>,
}

/// See the module. Bounded in items.
pub(crate) struct AuditBacklog {
    audits: VecDeque<Audit>,
    items: usize,
    items_max: usize,
}

impl AuditBacklog {
    pub(crate) fn new(items_max: usize) -> Self {
        Self { audits: VecDeque::new(), items: 0, items_max }
    }

    /// Takes the accepts of a batch in; gives the number of those for which there was no room.
    pub(crate) fn push(&mut self, laden: Arc<Laden>, verdicts: &Verdicts) -> usize {
        let mut numbers: Vec<usize> = (0..verdicts.len()).filter(|number| verdicts.get(*number)).collect();
        let room = self.items_max - self.items;
        let skipped = numbers.len().saturating_sub(room);
        numbers.truncate(room);
        if !numbers.is_empty() {
            self.items += numbers.len();
            self.audits.push_back(Audit { laden, numbers });
        }
        skipped
    }

    /// The next few, at most `items`, of one batch.
    pub(crate) fn take(&mut self, items: usize) -> Option<Audit> {
        let next = self.audits.front_mut()?;
        let numbers = next.numbers.split_off(next.numbers.len().saturating_sub(items));
        let taken = Audit { laden: Arc::clone(&next.laden), numbers };
        if next.numbers.is_empty() {
            self.audits.pop_front();
        }
        self.items -= taken.numbers.len();
        Some(taken)
    }

    /// Accepts that wait.
    pub(crate) fn items(&self) -> usize {
        self.items
    }
}
