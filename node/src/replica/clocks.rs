//! How long the way to each peer is, and how far its clock differs from this one: measured here, judged by the core.

use crate::ingress;
use crate::replica::driver::{Loop, Replica};
use consensus::Input;
use std::time::{Duration, Instant};
use types::{AuthorityIndex, BlockHeader, TimestampMs};

/// How often delays to peers are taken from the links.
const DELAYS_EVERY: Duration = Duration::from_millis(500);

impl Replica {
    /// Half the round trip to each peer, and the time that an own block takes to become durable and signed.
    pub(super) fn measure_delays(&mut self, state: &mut Loop) {
        if state.delays_at.is_some_and(|at| at.elapsed() < DELAYS_EVERY) {
            return;
        }
        state.delays_at = Some(Instant::now());
        for (peer, rtt) in self.outbox.round_trips() {
            let one_way_us = (rtt / 2 + state.signing).as_micros() as u64;
            state.one_way_ms.insert(peer, (one_way_us / 1_000) as i64);
            self.step(Input::Rtt { peer, one_way_us });
        }
    }

    /// Compares clocks by a header that its author has just made: the first of its round or a later one.
    pub(super) fn compare_clocks(&mut self, header: &BlockHeader, from: AuthorityIndex, state: &mut Loop) {
        let Some(one_way_ms) = state.one_way_ms.get(&from).copied() else { return };
        let newest = state.newest.entry(from).or_default();
        if header.author() == from && header.round() > *newest {
            *newest = header.round();
            let signed = |time: TimestampMs| i64::try_from(time.0).unwrap_or(i64::MAX);
            let offset_ms = signed(header.body().timestamp).saturating_add(one_way_ms) - signed(ingress::now());
            self.step(Input::Clock { peer: from, offset_ms });
        }
    }
}
