//! A node's clocks beside the simulation's time: a monotonic one that drifts, and a wall clock that also jumps.

/// Clocks of one node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Parts in a million that the node's seconds are too fast; negative for too slow.
    drift_ppm: i64,
    /// How far the wall clock is off, in milliseconds.
    offset_ms: i64,
    /// The same when the node last looked.
    noticed_ms: i64,
    /// Simulated and local time where the drift was last changed, in microseconds.
    since_us: u64,
    local_us: u64,
}

const MILLION: u64 = 1_000_000;
/// Less than the difference at which a node stops proposing.
const RIGHT_MS: u64 = 400;

impl Clock {
    pub fn new(offset_ms: i64, drift_ppm: i64) -> Self {
        Self { offset_ms, noticed_ms: offset_ms, drift_ppm, since_us: 0, local_us: 0 }
    }

    /// The wall clock is set.
    pub fn jump(&mut self, ms: i64) {
        self.offset_ms = self.offset_ms.saturating_add(ms);
    }

    /// The wall clock is set right.
    pub fn set_right(&mut self, now_us: u64) {
        self.offset_ms = (now_us / 1_000) as i64 - self.local_ms(now_us) as i64;
    }

    /// How far the wall clock was set forward since this was last asked, as the monotonic one shows.
    pub fn stepped(&mut self) -> Option<i64> {
        let by_ms = self.offset_ms.saturating_sub(std::mem::replace(&mut self.noticed_ms, self.offset_ms));
        (by_ms != 0).then_some(by_ms)
    }

    /// Whether the wall clock was set right, or nearly.
    pub fn is_right(&self) -> bool {
        self.offset_ms.unsigned_abs() < RIGHT_MS
    }

    /// The monotonic clock runs at another speed from now on.
    pub fn set_drift(&mut self, now_us: u64, drift_ppm: i64) {
        *self = Self { local_us: self.local_us(now_us), since_us: now_us, drift_ppm, ..*self };
    }

    /// The monotonic clock, in microseconds.
    pub fn local_us(&self, now_us: u64) -> u64 {
        let elapsed = now_us - self.since_us;
        if self.drift_ppm == 0 {
            return self.local_us + elapsed;
        }
        self.local_us + (u128::from(elapsed) * u128::from(self.speed()) / u128::from(MILLION)) as u64
    }

    /// The monotonic clock in milliseconds.
    pub fn local_ms(&self, now_us: u64) -> u64 {
        self.local_us(now_us) / 1_000
    }

    /// The simulated time at which the monotonic clock shows this.
    pub fn when_us(&self, local_ms: u64) -> u64 {
        let ahead = (local_ms * 1_000).saturating_sub(self.local_us);
        if self.drift_ppm == 0 {
            return self.since_us + ahead;
        }
        self.since_us + (u128::from(ahead) * u128::from(MILLION)).div_ceil(u128::from(self.speed())) as u64
    }

    /// The wall clock, in milliseconds since the epoch of the simulation; never below it.
    pub fn wall_ms(&self, now_us: u64) -> u64 {
        self.local_ms(now_us).saturating_add_signed(self.offset_ms)
    }

    fn speed(&self) -> u64 {
        MILLION.saturating_add_signed(self.drift_ppm).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_on_a_drifting_clock_is_never_early() {
        for drift_ppm in [-200_000, -37, 0, 41, 500_000] {
            let mut clock = Clock::new(0, drift_ppm);
            for step in 1..200 {
                clock.set_drift(step * 7_919, if step % 2 == 0 { drift_ppm } else { -drift_ppm / 2 });
                let (now, local) = (step * 7_919, clock.local_ms(step * 7_919) + step);
                let at = clock.when_us(local);
                assert!(at >= now && clock.local_ms(at) == local, "drift {drift_ppm}, step {step}");
            }
        }
    }

    #[test]
    fn wall_clocks_jump_and_monotonic_ones_do_not() {
        let mut clock = Clock::new(-50, 0);
        assert_eq!(clock.wall_ms(20_000), 0, "never below zero");
        clock.jump(1_050);
        assert_eq!((clock.wall_ms(20_000), clock.local_ms(20_000)), (1_020, 20));
        assert_eq!((clock.stepped(), clock.stepped()), (Some(1_050), None), "a step is seen once");
    }
}
