//! Where the callers of one group wait. The writer's thread wakes one of them, and that one the others with one call into
//! the kernel: the writer's thread goes back to the disk, where to wake them all would take it as long as the disk does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::LogFault;

/// Shut until the group is durable, or never will be.
#[derive(Debug, Default)]
pub(super) struct Gate {
    outcome: OnceLock<Result<(), LogFault>>,
    /// Somebody waits for the outcome, and lets the others go.
    first_waits: AtomicBool,
    first_is_through: OnceLock<()>,
}

impl Gate {
    pub(super) fn wait(&self) -> Result<(), LogFault> {
        if !self.first_waits.swap(true, Ordering::Relaxed) {
            let outcome = *self.outcome.wait();
            self.first_is_through.get_or_init(|| ());
            return outcome;
        }
        self.first_is_through.wait();
        *self.outcome.wait()
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
        self.0.outcome.get_or_init(|| outcome);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.outcome.get_or_init(|| Err(LogFault::Closed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// What eight who wait are told, and one who comes late. The time is only for the test that fails.
    fn told(end: impl FnOnce(Keeper)) -> Vec<Result<(), LogFault>> {
        let keeper = Keeper::default();
        let (told, answers) = channel();
        let ask = |gate: Arc<Gate>| {
            let told = told.clone();
            std::thread::spawn(move || told.send(gate.wait()));
        };
        let late = keeper.gate();
        (0..8).for_each(|_| ask(keeper.gate()));
        while !late.first_waits.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        end(keeper);
        ask(late);
        (0..9).map(|_| answers.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever")).collect()
    }

    #[test]
    fn all_who_wait_and_who_come_late_hear_the_same() {
        assert_eq!(told(|keeper| keeper.open(Ok(()))), [Ok(()); 9]);
        assert_eq!(told(|keeper| keeper.open(Err(LogFault::DiskFull))), [Err(LogFault::DiskFull); 9]);
        assert_eq!(told(drop), [Err(LogFault::Closed); 9]);
    }
}
