//! Nodes that are given a state, instead of the commits that lead to it: a machine that joins, and one that needs commits
//! which no member holds any more.
//!
//! A state is a height here, since nothing is executed: that of the last commit before an era. A log begins behind one, and
//! who asks for what lies below is told where.

use crate::sim::node::{Machine, Node, Place};
use crate::sim::simulation::Simulation;
use crate::sim::violation::Violation;

impl Simulation {
    /// A machine that was no member before starts, with the state behind the last commit.
    pub(crate) fn join(&mut self, machine: Machine, era: usize) -> Result<(), Violation> {
        let Some(me) = self.eras[era].member(machine) else { return Ok(()) };
        let at = Place(machine.index());
        self.install_state(at, era);
        let node = &mut self.nodes[at.0];
        node.retired = false;
        // Before its first block is made, which takes in all that its clients have given.
        (node.clients.period_us, node.clients.next_us) = (self.scenario.load_us, self.now_us + 1);
        node.clients.waiting.clear();
        self.enter(at, era, me)?;
        self.wake_clients(at);
        self.announce(machine, true);
        Ok(())
    }

    /// A node has the state with which an era begins, whatever it had before.
    fn install_state(&mut self, at: Place, era: usize) {
        let anchor = self.eras[era].anchor().height;
        let node = &mut self.nodes[at.0];
        node.disk.install(self.now_us, anchor, era);
        node.height = anchor;
    }

    /// A member's log begins with an era that lies ahead. Whoever else may have what comes before is asked first.
    pub(crate) fn take_state(&mut self, at: Place, era: usize) -> Result<(), Violation> {
        let node = &self.nodes[at.0];
        let begun = self.eras.get(era).is_some_and(|era| era.begun);
        let newest = self.newest_era();
        let holds = |other: &Node| {
            let counts = other.is_honest() && newest.member(other.machine).is_some();
            counts && other.holds(node.height.next())
        };
        if node.retired || !begun || era <= node.era || self.nodes.iter().any(holds) {
            return Ok(());
        }
        let Some(me) = self.eras[era].member(node.machine) else { return Ok(()) };
        self.faults.states_given += 1;
        self.install_state(at, era);
        self.enter(at, era, me)
    }

    /// The era with which a node's log begins.
    pub(crate) fn first_era_of_log(&self, node: &Node) -> Option<usize> {
        self.eras.iter().position(|era| era.anchor().height == node.disk.base())
    }
}
