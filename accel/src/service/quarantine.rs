//! How long a device that failed is left alone. Pure.

use super::config::DeviceConfig;
use crate::engine::DeviceFault;
use std::time::Duration;

/// Batches without a fault after which all is forgotten. Passing the self-test is not enough: a device may know that one.
const FORGIVEN_AFTER: u32 = 256;
/// A device that answers wrongly may in the end be left alone this much longer than one that is merely gone.
const LIES_FACTOR: u32 = 64;

pub(super) struct Quarantine {
    next: Duration,
    min: Duration,
    max: Duration,
    good: u32,
}

impl Quarantine {
    pub(super) fn new(config: &DeviceConfig) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let min = ms(config.quarantine_ms_min);
        Self { next: min, min, max: ms(config.quarantine_ms_max).max(min), good: 0 }
    }

    /// The pause after a fault.
    pub(super) fn pause(&mut self, fault: DeviceFault) -> Duration {
        let (growth, max) = match fault {
            DeviceFault::WrongAnswer => (4, self.max * LIES_FACTOR),
            _ => (2, self.max),
        };
        let pause = self.next;
        // Never shorter than before: a device that has lied does not come back sooner for being lost in between.
        self.next = self.next.max((self.next * growth).min(max));
        self.good = 0;
        pause
    }

    /// A batch went well.
    pub(super) fn good(&mut self) {
        self.good = self.good.saturating_add(1);
        if self.good >= FORGIVEN_AFTER {
            self.next = self.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bounds_and_lies_count_for_more() {
        let (config, s) = (DeviceConfig::default(), |s| Duration::from_secs(s));
        let mut lost = Quarantine::new(&config);
        let pauses: Vec<Duration> = (0..9).map(|_| lost.pause(DeviceFault::Lost)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64].map(s));
        let mut liar = Quarantine::new(&config);
        let pauses: Vec<Duration> = (0..8).map(|_| liar.pause(DeviceFault::WrongAnswer)).collect();
        assert_eq!(pauses, [1, 4, 16, 64, 256, 1024, 4096, 4096].map(s));
        assert_eq!(liar.pause(DeviceFault::Lost), s(4096));
        assert_eq!(liar.pause(DeviceFault::Lost), s(4096));
    }

    #[test]
    fn only_many_good_batches_in_a_row_make_up_for_a_fault() {
        let mut quarantine = Quarantine::new(&DeviceConfig::default());
        for _ in 0..3 {
            quarantine.pause(DeviceFault::Lost);
            (1..FORGIVEN_AFTER).for_each(|_| quarantine.good());
        }
        assert_eq!(quarantine.pause(DeviceFault::Lost), Duration::from_secs(8));
        (0..FORGIVEN_AFTER).for_each(|_| quarantine.good());
        assert_eq!(quarantine.pause(DeviceFault::Lost), Duration::from_secs(1));
    }
}
