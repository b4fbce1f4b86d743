//! Faults that a scenario plans: at a time or again and again, for ever or for a while.

use crate::sim::Simulation;
use crate::sim::eras::Change;
use crate::sim::links::Links;
use crate::sim::node::Machine;
use crate::sim::simulation::Control;
use crate::sim::violation::Violation;
use types::Stake;

/// Whom something happens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// These.
    Nodes(Vec<u16>),
    /// So many honest ones, drawn each time.
    Random(u16),
}

/// What a change of the committee does to a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// A machine that never was a member becomes one, with this stake.
    Add(u64),
    /// A member is one no longer, for good.
    Remove,
    /// A member has new keys.
    Rekey,
}

/// Something that is done to a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The power of a node goes.
    Crash(Who),
    /// A node comes back from its disk.
    Restart(Who),
    /// The power of a node goes and with it its disk, and every second time what its sign-once guard remembers.
    LoseDisk(Who),
    /// A process stops without anybody being told, as by SIGSTOP.
    Hang(Who),
    /// It goes on.
    Resume(Who),
    /// Sides that cannot speak with each other; nodes that are not named are on one together.
    Partition(Vec<Vec<u16>>),
    /// A random partition into two sides.
    Split,
    /// Every partition, cut and changed link is as at the start.
    Heal,
    /// No connection between any of the first and any of the second.
    Cut(Who, Who),
    /// What any of the first sends to any of the second is swallowed.
    Silence(Who, Who),
    /// Links from any of the first to any of the second change.
    Relink(Who, Who, Links),
    /// The wall clock of a node is set forward, or back.
    JumpClock(Who, i64),
    /// Validators are added, removed or get new keys, one after the other, each by a change of epoch.
    Membership(Membership, Who),
    /// A node's clients send so many transactions a second.
    Load(Who, u64),
}

/// When something happens, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    At(u64),
    /// Again and again, with pauses between the first two, from the third to the fourth.
    Every {
        /// Shortest pause.
        pause_ms_min: u64,
        /// Longest pause.
        pause_ms_max: u64,
        /// From when on.
        from_ms: u64,
        /// Until when.
        until_ms: u64,
    },
}

/// An action with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it happens.
    pub when: When,
    /// What happens.
    pub action: Action,
    /// After how long it is undone, shortest and longest, in milliseconds; `None` for never.
    pub lasts_ms: Option<(u64, u64)>,
}

impl Simulation {
    /// Puts the whole timeline into the queue.
    pub(crate) fn plan(&mut self) {
        for index in 0..self.scenario.timeline.len() {
            let at_ms = match self.scenario.timeline[index].when {
                When::At(at_ms) => at_ms,
                When::Every { pause_ms_min, pause_ms_max, from_ms, .. } => {
                    from_ms + self.rng.between(pause_ms_min, pause_ms_max)
                }
            };
            self.control(at_ms * 1_000, Control::Planned(index));
        }
    }

    /// The time of a planned action has come.
    pub(crate) fn planned(&mut self, index: usize) -> Result<(), Violation> {
        let Planned { when, action, lasts_ms } = self.scenario.timeline[index].clone();
        if let When::Every { pause_ms_min, pause_ms_max, until_ms, .. } = when {
            let next_ms = self.now_ms() + self.rng.between(pause_ms_min, pause_ms_max).max(1);
            if next_ms < until_ms {
                self.control(next_ms * 1_000, Control::Planned(index));
            }
        }
        let lasts_us = lasts_ms.map(|(min, max)| self.rng.between(min, max) * 1_000);
        let undo = self.act_out(action)?;
        if let (Some(lasts_us), Some(undo)) = (lasts_us, undo) {
            self.control(self.now_us + lasts_us, Control::Act(Box::new(undo)));
        }
        Ok(())
    }

    /// Does something; returns what undoes it, if anything does.
    pub(crate) fn act_out(&mut self, action: Action) -> Result<Option<Action>, Violation> {
        self.trace.fault(self.now_us, format_args!("{action:?}"));
        match action {
            Action::Crash(who) => {
                let nodes = self.draw(&who);
                let up: Vec<u16> = nodes.into_iter().filter(|node| self.status(*node).is_some()).collect();
                up.iter().for_each(|node| self.crash(*node));
                return Ok(Some(Action::Restart(Who::Nodes(up))));
            }
            Action::LoseDisk(who) => {
                let nodes = self.draw(&who);
                for node in &nodes {
                    self.lose_disk(*node);
                    if self.rng.chance(500) {
                        self.lose_guard(*node);
                    }
                }
                return Ok(Some(Action::Restart(Who::Nodes(nodes))));
            }
            Action::Restart(who) => {
                for node in self.draw(&who) {
                    if self.status(node).is_none() {
                        self.restart(node)?;
                    }
                }
            }
            Action::Hang(who) => {
                let nodes = self.draw(&who);
                nodes.iter().for_each(|node| self.hang(*node));
                return Ok(Some(Action::Resume(Who::Nodes(nodes))));
            }
            Action::Resume(who) => self.draw(&who).into_iter().for_each(|node| self.resume(node)),
            Action::Partition(sides) => {
                let sides: Vec<&[u16]> = sides.iter().map(Vec::as_slice).collect();
                self.partition(&sides);
                return Ok(Some(Action::Heal));
            }
            Action::Split => {
                let mut order: Vec<u16> = (0..self.scenario.size() as u16).collect();
                self.rng.shuffle(&mut order);
                let first = self.rng.between(1, order.len().max(2) as u64 - 1) as usize;
                self.partition(&[&order[..first.min(order.len())]]);
                return Ok(Some(Action::Heal));
            }
            Action::Heal => self.heal_all(),
            Action::Cut(first, second) => {
                for (a, b) in self.draw_pairs(&first, &second) {
                    self.set_cut(a, b, true);
                }
                return Ok(Some(Action::Heal));
            }
            Action::Silence(first, second) => {
                for (from, to) in self.draw_pairs(&first, &second) {
                    self.set_silent(from, to, true);
                }
                return Ok(Some(Action::Heal));
            }
            Action::Relink(first, second, links) => {
                for (from, to) in self.draw_pairs(&first, &second) {
                    self.set_link(from, to, links);
                }
                return Ok(Some(Action::Heal));
            }
            Action::JumpClock(who, ms) => {
                let nodes = self.draw(&who);
                nodes.iter().for_each(|node| self.jump_clock(*node, ms));
                return Ok(Some(Action::JumpClock(Who::Nodes(nodes), -ms)));
            }
            Action::Membership(what, who) => {
                for node in self.draw(&who) {
                    self.change_committee(match what {
                        Membership::Add(stake) => Change::Add(Machine(node), Stake(stake)),
                        Membership::Remove => Change::Remove(Machine(node)),
                        Membership::Rekey => Change::Rekey(Machine(node)),
                    });
                }
            }
            Action::Load(who, per_second) => {
                let nodes = self.draw(&who);
                nodes.iter().for_each(|node| self.set_rate(*node, per_second));
                let before = 1_000_000u64.checked_div(self.scenario.load_us).unwrap_or(0);
                return Ok(Some(Action::Load(Who::Nodes(nodes), before)));
            }
        }
        Ok(None)
    }

    /// The nodes that are meant.
    fn draw(&mut self, who: &Who) -> Vec<u16> {
        match who {
            Who::Nodes(nodes) => nodes.clone(),
            Who::Random(count) => {
                let honest = |node: &u16| {
                    self.nodes[usize::from(*node)].is_honest() && self.newest_era().member(Machine(*node)).is_some()
                };
                let mut order: Vec<u16> = (0..self.scenario.size() as u16).filter(honest).collect();
                self.rng.shuffle(&mut order);
                order.truncate(usize::from(*count));
                order.sort_unstable();
                order
            }
        }
    }

    fn draw_pairs(&mut self, first: &Who, second: &Who) -> Vec<(u16, u16)> {
        let (first, second) = (self.draw(first), self.draw(second));
        let pairs = first.iter().flat_map(|a| second.iter().map(move |b| (*a, *b)));
        pairs.filter(|(a, b)| a != b).collect()
    }
}
