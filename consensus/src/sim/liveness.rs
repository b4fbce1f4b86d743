//! Whether honest nodes get on, checked every now and then: with a bound in time, while nothing is disturbed and at most f
//! are faulty.

use crate::sim::Simulation;
use crate::sim::node::Node;
use crate::sim::violation::Violation;
use types::Height;

impl Simulation {
    /// What honest nodes were given is committed in time, and they are level.
    pub(crate) fn check_liveness(&mut self) -> Result<(), Violation> {
        let Some(bound_ms) = self.scenario.bounds.liveness_ms else { return Ok(()) };
        let (now_us, bound_us) = (self.now_us, bound_ms * 1_000);
        self.tops.push_back((now_us, self.agreement.height()));
        while self.tops.get(1).is_some_and(|(at_us, _)| at_us + bound_us <= now_us) {
            self.tops.pop_front();
        }
        let since_us = self.disturbed_us;
        if since_us + bound_us > now_us || self.network.state() != self.calm_network {
            return Ok(());
        }
        if self.newest_stake_of(|node| !node.is_sound()) > self.newest_committee().faulty_max().0 {
            return Ok(());
        }
        let top = self.tops.front().map_or(Height(0), |(_, top)| *top);
        let member = |node: &&Node| self.newest_era().member(node.machine).is_some();
        for node in self.nodes.iter().filter(|node| node.is_sound()).filter(member) {
            let coming = (node.clients.period_us > 0 && self.load).then_some(node.clients.next_us);
            let oldest_us = node.clients.oldest_us().into_iter().chain(coming).min();
            if let Some(at_us) = oldest_us.filter(|at_us| (*at_us).max(since_us) + bound_us < now_us) {
                return Err(Violation::Stalled { node: node.number(), submitted_ms: at_us / 1_000, bound_ms });
            }
            if node.height < top {
                return Err(Violation::Behind { node: node.number(), height: node.height, top });
            }
        }
        Ok(())
    }
}
