//! Where the callers of one group wait. One call into the kernel lets all of them go, where a wake-up each would keep the
//! writer's thread from the disk for longer than the disk takes.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::LogFault;

/// Shut until the group is durable, or never will be.
#[derive(Debug, Default)]
pub(super) struct Gate {
    outcome: Mutex<Option<Result<(), LogFault>>>,
    opened: Condvar,
}

impl Gate {
    pub(super) fn wait(&self) -> Result<(), LogFault> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *outcome {
                Some(outcome) => return outcome,
                None => outcome = self.opened.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Opens a gate, at the latest when it is dropped: nobody waits for a thread that has died.
#[derive(Debug, Default)]
pub(super) struct Keeper(Arc<Gate>);

impl Keeper {
    pub(super) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.0)
    }

    /// Lets everybody go.
    pub(super) fn open(self, outcome: Result<(), LogFault>) {
        self.settle(outcome);
    }

    fn settle(&self, outcome: Result<(), LogFault>) {
        let mut settled = self.0.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.is_none() {
            *settled = Some(outcome);
            drop(settled);
            self.0.opened.notify_all();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.settle(Err(LogFault::Closed));
    }
}
