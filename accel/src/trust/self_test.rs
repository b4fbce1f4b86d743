//! The known-answer test: a device works for nobody before it has passed.

use super::{Guarded, Trust};
use crate::engine::DeviceFault;
use crate::item::{Batch, Path};
use crate::verdicts::Verdicts;
use std::time::{Duration, Instant};

/// How long one look at the device lasts.
const LOOK: Duration = Duration::from_millis(50);

impl Trust {
    /// Asks everything that is known about each algorithm of the device, in one mixed batch in secret order.
    ///
    /// # Errors
    /// [`DeviceFault::WrongAnswer`] for any wrong verdict, and what the device itself says.
    pub(crate) fn self_test(&mut self, device: &mut Guarded, patience: Duration) -> Result<(), DeviceFault> {
        let mut known = Vec::new();
        for alg in device.supported() {
            known.extend(self.known.all(*alg));
        }
        for last in (1..known.len()).rev() {
            known.swap(last, self.dice.below(last + 1));
        }
        let (items, expected): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        self.counts.self_tests += 1;
        let verdicts = run_alone(device, &Batch::new(items, Path::Together), patience)?;
        if verdicts == Verdicts::from_bools(expected) { Ok(()) } else { Err(DeviceFault::WrongAnswer) }
    }
}

/// One batch on a device that has nothing else to do.
///
/// # Errors
/// What the device says; [`DeviceFault::TimedOut`] where it says nothing.
pub(crate) fn run_alone(device: &mut Guarded, batch: &Batch, patience: Duration) -> Result<Verdicts, DeviceFault> {
    let until = Instant::now() + patience;
    let ticket = device.submit(batch)?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match device.wait(left.min(LOOK))? {
            Some((done, verdicts)) if done == ticket => return Ok(verdicts),
            Some(_) => return Err(DeviceFault::WrongAnswer),
            None if left.is_zero() => {
                let waited_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
                return Err(DeviceFault::TimedOut { waited_ms });
            }
            None => {}
        }
    }
}
