//! Which of two ways to make a group durable is the faster one here and now: a synchronous write (`RWF_DSYNC`), or a
//! write with a linked `fdatasync`.
//!
//! Nobody can say it beforehand. A synchronous write costs less CPU, and is faster on an idle machine or a disk with FUA;
//! but without FUA its flush waits for a worker of the kernel, which on a machine with more to run than cores comes a tick
//! late, while `fdatasync` runs on a worker of our ring. So both are timed and the faster one is taken; the other is
//! tried now and then. Deliberately absent: clocks, and what the group holds; both ways promise the same.

/// One group of so many goes the other way. Few enough that the slower way is not the 99th percentile.
const PROBE_EVERY: u32 = 256;
/// A running mean is over about so many groups: most are quick and few very slow, and it is the few that make the
/// difference on a busy machine.
const WINDOW: u64 = 64;

/// How a group is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncWay {
    /// One write with `RWF_DSYNC`.
    Dsync,
    /// A write with a linked `fdatasync`.
    Linked,
}

impl SyncWay {
    fn other(self) -> Self {
        match self {
            Self::Dsync => Self::Linked,
            Self::Linked => Self::Dsync,
        }
    }
}

/// Running mean of times.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    nanoseconds: u64,
    /// Times in it, up to [`WINDOW`].
    weight: u64,
}

impl Mean {
    fn add(&mut self, nanoseconds: u64) {
        self.weight = (self.weight + 1).min(WINDOW);
        // A second is long enough to be the slower one, and keeps the sum from overflow.
        let new = nanoseconds.min(1_000_000_000);
        self.nanoseconds = (self.nanoseconds * (self.weight - 1) + new) / self.weight;
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SyncChoice {
    dsync: Mean,
    linked: Mean,
    picked: u32,
}

impl SyncChoice {
    /// The way for the next group.
    pub(super) fn pick(&mut self) -> SyncWay {
        self.picked = self.picked.wrapping_add(1);
        // A little better is not enough: its bad days are worse.
        let faster = self.dsync.weight > 0 && self.dsync.nanoseconds < self.linked.nanoseconds / 8 * 7;
        let best = if faster { SyncWay::Dsync } else { SyncWay::Linked };
        if self.picked.is_multiple_of(PROBE_EVERY) { best.other() } else { best }
    }

    /// A group took so long.
    pub(super) fn took(&mut self, way: SyncWay, nanoseconds: u64) {
        match way {
            SyncWay::Dsync => self.dsync.add(nanoseconds),
            SyncWay::Linked => self.linked.add(nanoseconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks `count` ways that take so long each; how many of them were synchronous writes.
    fn run(choice: &mut SyncChoice, count: u32, dsync_us: u64, linked_us: u64) -> u32 {
        let mut dsync = 0;
        for _ in 0..count {
            let way = choice.pick();
            dsync += u32::from(way == SyncWay::Dsync);
            choice.took(way, 1000 * if way == SyncWay::Dsync { dsync_us } else { linked_us });
        }
        dsync
    }

    #[test]
    fn the_faster_way_is_taken_and_the_other_tried_now_and_then() {
        let mut choice = SyncChoice::default();
        assert_eq!(run(&mut choice, 10 * PROBE_EVERY, 4000, 120), 10, "a busy machine");
        // The machine falls idle: found out by the next trials.
        run(&mut choice, 400 * PROBE_EVERY, 90, 120);
        let idle = run(&mut choice, 10 * PROBE_EVERY, 90, 120);
        assert_eq!(idle, 10 * (PROBE_EVERY - 1), "an idle machine");
        // Busy again: found out by the very next groups, as they are slow themselves.
        run(&mut choice, 4, 4000, 120);
        assert!(run(&mut choice, PROBE_EVERY, 4000, 120) <= 1);
    }

    #[test]
    fn a_way_that_is_mostly_quick_but_at_times_very_slow_is_the_slower_one() {
        let mut choice = SyncChoice::default();
        let mut dsync = 0;
        for group in 0..100 * PROBE_EVERY {
            let way = choice.pick();
            dsync += u32::from(way == SyncWay::Dsync);
            let slow = if group.is_multiple_of(5) { 8_000_000 } else { 80_000 };
            choice.took(way, if way == SyncWay::Dsync { slow } else { 120_000 });
        }
        assert!(dsync < 200, "{dsync} of {}", 100 * PROBE_EVERY);
    }

    #[test]
    fn one_slow_group_changes_nothing_for_long() {
        let mut choice = SyncChoice::default();
        run(&mut choice, 10 * PROBE_EVERY, 400, 100);
        choice.took(SyncWay::Linked, 8_000_000);
        assert_eq!(run(&mut choice, 2 * PROBE_EVERY, 400, 100), 2);
    }

    #[test]
    fn absurd_times_overflow_nothing() {
        let mut choice = SyncChoice::default();
        for way in [SyncWay::Dsync, SyncWay::Linked] {
            for time in [0, u64::MAX, u64::MAX, 0] {
                choice.took(way, time);
            }
        }
        choice.pick();
    }
}
