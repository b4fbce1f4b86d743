//! What can be done to a running simulation: power, processes, links, clocks, load.

use crate::sim::Simulation;
use crate::sim::checks::Decisions;
use crate::sim::disk::Disk;
use crate::sim::links::Links;
use crate::sim::network::Network;
use crate::sim::node::{Machine, Node, Place};
use crate::sim::simulation::Event;
use crate::sim::violation::Violation;

/// What was done to a simulation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    crashes: u64,
    tails_lost: u64,
    disks_lost: u64,
    pub disks_reclaimed: u64,
    pub clock_alarms: u64,
    pub eras_begun: u64,
    pub eras_taken_over: u64,
    pub states_given: u64,
    pub changes_refused: u64,
    pub forgeries_refused: u64,
    pub old_epoch_ignored: u64,
    pub strangers_ignored: u64,
    hangs: u64,
    partitions: u64,
    cuts: u64,
    silences: u64,
    links_changed: u64,
    clock_jumps: u64,
}

impl Faults {
    /// Each kind with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("crashes", self.crashes),
            ("log-tails-lost", self.tails_lost),
            ("disks-lost", self.disks_lost),
            ("disks-reclaimed", self.disks_reclaimed),
            ("clock-alarms", self.clock_alarms),
            ("epochs-begun", self.eras_begun),
            ("epochs-learnt-late", self.eras_taken_over),
            ("states-given", self.states_given),
            ("changes-refused", self.changes_refused),
            ("forgeries-refused", self.forgeries_refused),
            ("old-epoch-ignored", self.old_epoch_ignored),
            ("strangers-ignored", self.strangers_ignored),
            ("hangs", self.hangs),
            ("partitions", self.partitions),
            ("cuts", self.cuts),
            ("silences", self.silences),
            ("links-changed", self.links_changed),
            ("clock-jumps", self.clock_jumps),
        ]
        .into_iter()
    }
}

impl Simulation {
    /// Takes a node down; what it had not synced is lost.
    pub fn crash(&mut self, node: u16) {
        let (at, me) = (Place(node.into()), Machine(node));
        self.disturbed();
        let Self { nodes, rng, now_us, .. } = self;
        let node = &mut nodes[at.0];
        let status = node.take_core().map(|core| core.status());
        let whole = node.disk.crash(*now_us, &node.devices, rng);
        self.faults.crashes += 1;
        self.faults.tails_lost += u64::from(!whole);
        // What peers have said of own blocks that are lost stands in no log: it is asked again.
        let reclaims = node.disk.own_blocks_lost(node.config.committee.epoch());
        node.before = status.filter(|_| whole && node.proposal.is_none() && !reclaims);
        node.hung = None;
        node.decisions = Decisions::default();
        node.clients.in_flight.retain(|block, _| node.disk.has_proposal(block));
        node.proposal = None;
        node.timer_us = None;
        node.newest.clear();
        node.payloads = Default::default();
        node.seen = Default::default();
        // Transactions that were in no durable block are the clients' to send again.
        node.clients.waiting.clear();
        self.announce(me, false);
    }

    /// Brings a node back from its disk.
    ///
    /// # Errors
    /// [`Violation`] if its disk does not bring it back to where it was.
    pub fn restart(&mut self, node: u16) -> Result<(), Violation> {
        let at = Place(node.into());
        if self.nodes[at.0].retired {
            return Ok(());
        }
        self.disturbed();
        let open_us = self.now_us + 1;
        let clients = &mut self.nodes[at.0].clients;
        clients.next_us = clients.next_us.max(open_us);
        self.recover(at)?;
        self.started(at);
        self.announce(Machine(node), true);
        self.check(at)
    }

    /// Takes a node down, and its disk with it; its sign-once guard is another device and survives, unless
    /// [`Simulation::lose_guard`] takes that too.
    pub fn lose_disk(&mut self, node: u16) {
        let at = Place(node.into());
        if self.nodes[at.0].core.is_some() {
            self.crash(node);
        }
        self.disturbed();
        let node = &mut self.nodes[at.0];
        node.disk = Disk::emptied(&node.devices, std::mem::take(&mut node.disk));
        node.clients.in_flight.clear();
        node.before = None;
        node.amnesia_ends_us = Some(u64::MAX);
        self.faults.disks_lost += 1;
    }

    /// Loses what a node's sign-once guard remembers.
    pub fn lose_guard(&mut self, node: u16) {
        self.nodes[usize::from(node)].disk.lose_guard();
    }

    /// Stops a process without anybody being told; what comes for it queues up.
    pub fn hang(&mut self, node: u16) {
        self.disturbed();
        let node = &mut self.nodes[usize::from(node)];
        if node.core.is_some() {
            node.hung.get_or_insert_default();
            self.faults.hangs += 1;
        }
    }

    /// Lets a stopped process go on: everything that came meanwhile happens at once.
    pub fn resume(&mut self, node: u16) {
        let at = Place(node.into());
        let Some(missed) = self.nodes[at.0].hung.take() else { return };
        self.disturbed();
        for (life, event) in missed {
            self.schedule_for(self.now_us, at, life, event);
        }
    }

    /// Splits the committee; nodes that are not named are on a side of their own together.
    pub fn partition(&mut self, sides: &[&[u16]]) {
        let mut side = vec![0; self.scenario.size()];
        for (index, members) in (1u8..).zip(sides) {
            members.iter().for_each(|member| side[usize::from(*member)] = index);
        }
        self.faults.partitions += 1;
        self.relink(|network| network.set_sides(side));
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        let sides = vec![0; self.scenario.size()];
        self.relink(|network| network.set_sides(sides));
    }

    /// Ends every partition and cut, and gives links back their first behaviour.
    pub fn heal_all(&mut self) {
        let calm = self.calm_network.clone();
        self.relink(|network| network.restore(&calm));
    }

    /// Takes the link between two nodes away, or gives it back.
    pub fn set_cut(&mut self, a: u16, b: u16, cut: bool) {
        self.faults.cuts += u64::from(cut);
        self.relink(|network| network.set_cut(Machine(a), Machine(b), cut));
    }

    /// Swallows what one node sends to another, without telling either, or ends that.
    pub fn set_silent(&mut self, from: u16, to: u16, silent: bool) {
        self.faults.silences += u64::from(silent);
        self.disturbed();
        self.network.set_silent(Machine(from), Machine(to), silent);
    }

    /// Changes delays and losses of all links.
    pub fn set_links(&mut self, links: Links) {
        let size = self.scenario.size() as u16;
        for from in 0..size {
            (0..size).for_each(|to| self.set_link(from, to, links));
        }
    }

    /// Changes delays and losses from one node to another.
    pub fn set_link(&mut self, from: u16, to: u16, links: Links) {
        self.faults.links_changed += 1;
        self.disturbed();
        self.network.set_links(Machine(from), Machine(to), links);
    }

    /// Sets a node's wall clock forward, or back.
    pub fn jump_clock(&mut self, node: u16, ms: i64) {
        self.faults.clock_jumps += 1;
        self.clocks_differ = true;
        self.disturbed();
        self.nodes[usize::from(node)].clock.jump(ms);
    }

    /// Sets a node's wall clock right.
    pub fn reset_clock(&mut self, node: u16) {
        let now_us = self.now_us;
        self.nodes[usize::from(node)].clock.set_right(now_us);
    }

    /// Changes the speed of a node's clocks, in parts in a million.
    pub fn set_drift(&mut self, node: u16, ppm: i64) {
        let now_us = self.now_us;
        self.nodes[usize::from(node)].clock.set_drift(now_us, ppm);
    }

    /// Stops or resumes new transactions.
    pub fn set_load(&mut self, load: bool) {
        let (now_us, before) = (self.now_us, std::mem::replace(&mut self.load, load));
        for node in &mut self.nodes {
            // What came while there was load stays; nothing is made up for the time without.
            node.clients.arrive(now_us, before);
            node.clients.next_us = node.clients.next_us.max(now_us);
        }
        (0..self.nodes.len()).for_each(|at| self.wake_clients(Place(at)));
    }

    /// Changes how many transactions a second a node's clients send.
    pub fn set_rate(&mut self, node: u16, per_second: u64) {
        let (at, now_us, load) = (Place(node.into()), self.now_us, self.load);
        let clients = &mut self.nodes[at.0].clients;
        clients.arrive(now_us, load);
        clients.period_us = 1_000_000u64.checked_div(per_second).unwrap_or(0);
        clients.next_us = now_us + clients.period_us;
        self.wake_clients(at);
    }

    /// Whether one more lost disk leaves at most f faulty.
    pub(crate) fn can_lose_a_disk(&self) -> bool {
        let committee = self.newest_committee();
        let forgets = |node: &Node| node.amnesia_ends_us.is_some_and(|ends_us| ends_us > self.now_us);
        let faulty = self.newest_stake_of(|node| !node.is_honest() || forgets(node));
        let heaviest = committee.indices().map(|member| committee.stake(member).0).max().unwrap_or(0);
        faulty + heaviest <= committee.faulty_max().0
    }

    /// Makes sure that a node hears of its next transaction.
    pub(crate) fn wake_clients(&mut self, at: Place) {
        let clients = &self.nodes[at.0].clients;
        if clients.period_us > 0 && self.nodes[at.0].core.is_some() {
            let next_us = clients.next_us.max(self.now_us);
            self.schedule(next_us, at, Event::Submit);
        }
    }

    /// Tells the others that a node is reachable or not.
    pub(crate) fn announce(&mut self, me: Machine, up: bool) {
        for peer in self.machines() {
            if self.network.is_up(me, peer) {
                let at_us = self.network.told_us(self.now_us, me, peer);
                for at in self.places_of(peer) {
                    self.schedule(at_us, at, Event::Link { peer: me, up });
                }
            }
        }
    }

    fn relink(&mut self, change: impl FnOnce(&mut Network)) {
        self.disturbed();
        let size = self.scenario.size() as u16;
        let pairs = || (0..size).flat_map(|a| (0..size).map(move |b| (Machine(a), Machine(b))));
        let before: Vec<bool> = pairs().map(|(a, b)| self.network.is_up(a, b)).collect();
        change(&mut self.network);
        for ((a, b), before) in pairs().zip(before) {
            let up = self.network.is_up(a, b);
            if up != before && self.nodes[b.index()].core.is_some() {
                let at_us = self.network.told_us(self.now_us, b, a);
                for at in self.places_of(a) {
                    self.schedule(at_us, at, Event::Link { peer: b, up });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Scenario;

    /// Nodes 0 and 1 cannot reach the round above which node 3 makes blocks again, so a second lost disk would stop them
    /// for good.
    #[test]
    fn a_second_disk_is_not_lost_before_the_first_node_has_made_a_block_again() {
        let mut simulation = Simulation::new(Scenario::new(1, 4));
        simulation.run_for(500).expect("nothing is violated");
        assert!(simulation.can_lose_a_disk());
        simulation.lose_disk(3);
        simulation.restart(3).expect("nothing is violated");
        while simulation.faults.disks_reclaimed == 0 {
            simulation.run_for(1).expect("nothing is violated");
        }
        simulation.crash(2);
        simulation.run_for(10_000).expect("nothing is violated");
        assert!(!simulation.can_lose_a_disk());
        simulation.restart(2).expect("nothing is violated");
        simulation.run_for(10_000).expect("nothing is violated");
        assert!(simulation.can_lose_a_disk());
    }
    /// The end of the old link is told over a slow path, the new link over a quick one.
    #[test]
    fn a_link_that_went_and_came_back_is_up() {
        let mut simulation = Simulation::new(Scenario::new(1, 4));
        simulation.run_for(100).expect("nothing is violated");
        simulation.set_links(Links { delay_us_min: 400_000, delay_us_max: 400_000, ..Links::default() });
        simulation.crash(1);
        simulation.heal_all();
        simulation.restart(1).expect("nothing is violated");
        // A node that restarts knows how its links stand; what it was told before is forgotten.
        simulation.crash(2);
        simulation.run_for(1).expect("nothing is violated");
        simulation.restart(2).expect("nothing is violated");
        simulation.run_for(1_000).expect("nothing is violated");
        for (node, peer) in [(0, 1), (2, 1), (1, 2), (3, 2)] {
            let core = simulation.nodes[node].core.as_ref().expect("it runs");
            assert!(core.synchronizer.is_up(types::AuthorityIndex(peer)), "{node} to {peer}");
        }
    }
}
