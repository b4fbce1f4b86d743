//! Which of two ways to make a group durable is the faster one here and now: a synchronous write (`RWF_DSYNC`), or a
//! write with a linked `fdatasync`.
//!
//! Nobody can say it beforehand. A synchronous write costs less CPU, and is faster on an idle machine or a disk with FUA;
//! but without FUA its flush waits for a worker of the kernel, which on a machine with more to run than cores comes a tick
//! late, while `fdatasync` runs on a worker of our ring. So both are timed and the faster one is taken; the other has a trial
//! now and then. A trial is several groups in a row: one alone would be held up by those of the other way around it.
//!
//! What trials lose is a debt that the groups of the way taken pay off, so however slow the other way is, it costs less
//! than a hundredth. Deliberately absent: clocks, and what the group holds; both ways promise the same.

/// Groups of a trial.
const TRIAL: u32 = 16;
/// Groups from the start of a trial to that of the next, at least.
const TRIAL_EVERY: u32 = 8 * TRIAL;
/// A group pays off one part in so many of its time.
const PAID_OFF: u64 = 128;
/// A running mean is over about so many groups: most are quick and few very slow, and it is the few that make the
/// difference on a busy machine.
const WINDOW: u64 = 64;

/// How a group is made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SyncWay {
    /// One write with `RWF_DSYNC`.
    Dsync,
    /// A write with a linked `fdatasync`.
    #[default]
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
        self.nanoseconds = (self.nanoseconds * (self.weight - 1) + nanoseconds) / self.weight;
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct SyncChoice {
    /// The way that is taken, and the mean of it.
    way: SyncWay,
    mean: Mean,
    /// Mean of the other way, from its last trial or from when it was taken.
    other: Mean,
    /// Groups until the next trial may begin.
    pause: u32,
    /// Groups of the trial that are still to go.
    trial: u32,
    /// What trials lost, in nanoseconds.
    debt: u64,
}

impl Default for SyncChoice {
    fn default() -> Self {
        let way = SyncWay::default();
        // The first trial is early: nothing is known of the other way.
        Self { way, mean: Mean::default(), other: Mean::default(), pause: TRIAL, trial: 0, debt: 0 }
    }
}

impl SyncChoice {
    /// The way for the next group.
    pub(super) fn pick(&mut self) -> SyncWay {
        self.pause = self.pause.saturating_sub(1);
        if self.pause == 0 && self.debt == 0 && self.mean.weight > 0 {
            self.pause = TRIAL_EVERY;
            self.trial = TRIAL;
            // What it was like long ago says nothing.
            self.other = Mean::default();
        }
        if self.trial == 0 {
            return self.way;
        }
        self.trial -= 1;
        self.way.other()
    }

    /// A group took so long.
    pub(super) fn took(&mut self, way: SyncWay, nanoseconds: u64) {
        // A second is long enough to be the slower one, and keeps the sums from overflow.
        let nanoseconds = nanoseconds.min(1_000_000_000);
        if way == self.way {
            self.mean.add(nanoseconds);
            self.debt = self.debt.saturating_sub(nanoseconds / PAID_OFF);
        } else {
            self.other.add(nanoseconds);
            self.debt += nanoseconds.saturating_sub(self.mean.nanoseconds);
            if self.debt > u64::from(TRIAL) * self.mean.nanoseconds {
                self.trial = 0;
            }
        }
        let tried = self.trial == 0 && self.other.weight >= u64::from(TRIAL / 2);
        if tried && self.other.nanoseconds < self.mean.nanoseconds {
            self.way = self.way.other();
            std::mem::swap(&mut self.mean, &mut self.other);
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
    fn the_faster_way_is_found_at_the_start_and_after_a_change() {
        let mut choice = SyncChoice::default();
        run(&mut choice, 2 * TRIAL, 80, 120);
        assert_eq!(choice.way, SyncWay::Dsync, "an idle machine");
        // Busy: the very next groups are slow themselves.
        run(&mut choice, 2, 4000, 120);
        assert_eq!(choice.way, SyncWay::Linked, "a busy machine");
        let mut choice = SyncChoice::default();
        assert!(run(&mut choice, 1000, 120, 80) < 2 * TRIAL, "a disk that likes the other way");
        // Only a trial can find that the other way has become the faster one.
        run(&mut choice, 2 * TRIAL_EVERY, 60, 80);
        assert_eq!(choice.way, SyncWay::Dsync);
    }

    #[test]
    fn trials_cost_less_than_a_hundredth_however_slow_the_other_way_is() {
        for (dsync_us, linked_us) in [(110, 100), (150, 100), (300, 100), (4000, 100), (100, 4000), (400_000, 100)] {
            let mut choice = SyncChoice::default();
            run(&mut choice, 2 * TRIAL, dsync_us, linked_us);
            let groups = 1 << 20;
            let dsync = run(&mut choice, groups, dsync_us, linked_us);
            let other = if dsync_us > linked_us { dsync } else { groups - dsync };
            let (lost, best) = (u64::from(other) * dsync_us.abs_diff(linked_us), dsync_us.min(linked_us));
            assert!(lost * 100 < u64::from(groups) * best, "{dsync_us} {linked_us}: {other} of {groups}");
            assert!(other > 0, "{dsync_us} {linked_us}: it is tried again");
        }
    }

    #[test]
    fn a_way_that_is_mostly_quick_but_at_times_very_slow_is_the_slower_one() {
        let mut choice = SyncChoice::default();
        let (mut dsync, groups) = (0, 25_600);
        for group in 0..groups {
            let way = choice.pick();
            dsync += u32::from(way == SyncWay::Dsync);
            let slow = if group % 5 == 0 { 8_000_000 } else { 80_000 };
            choice.took(way, if way == SyncWay::Dsync { slow } else { 120_000 });
        }
        assert!(dsync < groups / 100, "{dsync} of {groups}");
    }

    #[test]
    fn one_slow_group_changes_nothing_for_long() {
        let mut choice = SyncChoice::default();
        run(&mut choice, 10 * TRIAL_EVERY, 400, 100);
        choice.took(SyncWay::Linked, 8_000_000);
        assert!(run(&mut choice, 2 * TRIAL_EVERY, 400, 100) <= 3 * TRIAL);
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
