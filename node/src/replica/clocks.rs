//! How long the way to each peer is, how far its clock differs from this one, and when this one is set: measured here,
//! judged by the core.

use crate::ingress;
use crate::replica::driver::{Loop, Replica};
use consensus::Input;
use std::time::{Duration, Instant};
use types::{AuthorityIndex, BlockHeader, TimestampMs};

/// How often delays to peers are taken from the links.
const DELAYS_EVERY: Duration = Duration::from_millis(500);

/// The wall clock was set if it moves by so much more, or less, than the monotonic one between two looks at both. Less is
/// what time services correct by running faster or slower.
const STEP_MS: i64 = 50;
/// Two clocks that were read further apart than this were not read at the same time.
const SAME_TIME: Duration = Duration::from_millis(10);

/// The wall clock beside the monotonic one, which nobody can set.
#[derive(Debug)]
pub(super) struct StepWatch {
    started: Instant,
    /// The wall clock where the monotonic one was zero, in milliseconds.
    zero_ms: Option<i64>,
}

impl Default for StepWatch {
    fn default() -> Self {
        Self { started: Instant::now(), zero_ms: None }
    }
}

impl StepWatch {
    /// How far the wall clock was set forward since the last look, in milliseconds.
    fn look(&mut self) -> Option<i64> {
        let before = self.started.elapsed();
        let wall = ingress::now();
        let after = self.started.elapsed();
        if after - before > SAME_TIME { None } else { self.seen(wall, after) }
    }

    fn seen(&mut self, wall: TimestampMs, monotonic: Duration) -> Option<i64> {
        let zero_ms = signed(wall).saturating_sub(monotonic.as_millis() as i64);
        let before = self.zero_ms.replace(zero_ms)?;
        let by_ms = zero_ms.saturating_sub(before);
        (by_ms.abs() >= STEP_MS).then_some(by_ms)
    }
}

fn signed(time: TimestampMs) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

impl Replica {
    /// Tells the core when the wall clock was set.
    pub(super) fn watch_clock(&mut self, state: &mut Loop) {
        if let Some(by_ms) = state.step_watch.look() {
            tracing::warn!(by_ms, "the wall clock was set");
            self.step(Input::ClockStepped { by_ms });
        }
    }

    /// Half the round trip to each peer, and the time that an own block takes to become durable and signed.
    pub(super) fn measure_delays(&mut self, state: &mut Loop) {
        if state.delays_at.is_some_and(|at| at.elapsed() < DELAYS_EVERY) {
            return;
        }
        state.delays_at = Some(Instant::now());
        for (peer, rtt) in self.outbox.round_trips() {
            let one_way_us = (rtt / 2 + state.signing).as_micros() as u64;
            state.on_the_wire.insert(peer, rtt / 2);
            self.step(Input::Rtt { peer, one_way_us });
        }
    }

    /// Compares clocks by a header that its author has just made: the first of its round or a later one. How long it took to
    /// become durable and signed there is not known here, and this node's own time for it says nothing: a slow disk of its own
    /// would make all others look fast.
    pub(super) fn compare_clocks(&mut self, header: &BlockHeader, from: AuthorityIndex, state: &mut Loop) {
        let Some(on_the_wire) = state.on_the_wire.get(&from).copied() else { return };
        let newest = state.newest.entry(from).or_default();
        if header.author() == from && header.round() > *newest {
            *newest = header.round();
            self.watch_clock(state);
            let on_the_wire_ms = on_the_wire.as_millis() as i64;
            let offset_ms = signed(header.body().timestamp).saturating_add(on_the_wire_ms) - signed(ingress::now());
            self.step(Input::Clock { peer: from, offset_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_runs() {
        let mut watch = StepWatch::default();
        let mut seen = |wall: u64, monotonic| watch.seen(TimestampMs(wall), Duration::from_millis(monotonic));
        assert_eq!(seen(1_000_000, 10), None, "the first look");
        assert_eq!(seen(1_007_049, 7_010), None, "49 ms of drift");
        assert_eq!(seen(1_001_349, 7_110), Some(-5_800));
        assert_eq!(seen(1_001_350, 7_111), None, "told once");
        assert_eq!(seen(1_007_150, 7_111), Some(5_800));
        assert_eq!(seen(0, 7_112), Some(-1_007_151), "1970");
    }
}
