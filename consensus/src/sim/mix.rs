//! Random faults from the seed: storms of every kind of fault, each followed by a calm in which everything that honest
//! nodes were given must be committed.

use crate::sim::Simulation;
use crate::sim::adversary::AdversaryKind;
use crate::sim::links::Links;
use crate::sim::rng::Rng;
use crate::sim::simulation::Control;
use crate::sim::timeline::{Action, Membership, Who};
use crate::sim::violation::Violation;

/// A kind of fault that a storm draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One node loses power and comes back.
    Crash,
    /// All nodes lose power at once.
    PowerCut,
    /// One node loses its disk too.
    Amnesia,
    /// One process hangs.
    Hang,
    /// The committee splits in two.
    Partition,
    /// Two nodes lose their connection.
    Cut,
    /// What one node sends to another is swallowed.
    Silence,
    /// All links of a node lose, duplicate and reorder.
    BadLinks,
    /// A node's wall clock jumps.
    ClockJump,
    /// A node's clients send many transactions.
    Burst,
    /// A validator is added or removed, or gets new keys.
    Membership,
}

impl Fault {
    /// Every kind, with its name in scenario files.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Crash, "crash"),
        (Self::PowerCut, "power-cut"),
        (Self::Amnesia, "amnesia"),
        (Self::Hang, "hang"),
        (Self::Partition, "partition"),
        (Self::Cut, "cut"),
        (Self::Silence, "silence"),
        (Self::BadLinks, "bad-links"),
        (Self::ClockJump, "clock-jump"),
        (Self::Burst, "burst"),
        (Self::Membership, "membership"),
    ];
}

/// A schedule of random faults. Times are in milliseconds, shortest and longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Kinds to draw from.
    pub faults: Vec<Fault>,
    /// How long a storm takes.
    pub storm_ms: (u64, u64),
    /// Pause between two faults of a storm.
    pub pause_ms: (u64, u64),
    /// How long a fault lasts.
    pub lasts_ms: (u64, u64),
    /// How long the calm after a storm takes; more than the liveness bound, or nothing is checked.
    pub calm_ms: u64,
    /// Most members that are adversaries, of random kinds; at most f.
    pub adversaries_max: u16,
    /// Kinds to draw from.
    pub adversary_kinds: Vec<AdversaryKind>,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            faults: Fault::ALL.iter().map(|(fault, _)| *fault).filter(|fault| *fault != Fault::Membership).collect(),
            storm_ms: (2_000, 15_000),
            pause_ms: (50, 2_000),
            lasts_ms: (0, 4_000),
            calm_ms: 12_000,
            adversaries_max: 0,
            adversary_kinds: AdversaryKind::all().to_vec(),
        }
    }
}

impl Mix {
    /// Who is an adversary in this run.
    pub(crate) fn adversaries(&self, size: u16, rng: &mut Rng) -> Vec<(u16, AdversaryKind)> {
        if self.adversary_kinds.is_empty() {
            return Vec::new();
        }
        let mut members: Vec<u16> = (0..size).collect();
        rng.shuffle(&mut members);
        members.truncate(rng.between(0, self.adversaries_max.into()) as usize);
        let mut kind = || self.adversary_kinds[rng.between(0, self.adversary_kinds.len() as u64 - 1) as usize];
        members.into_iter().map(|member| (member, kind())).collect()
    }
}

/// Where a run of a mix stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weather {
    /// A storm begins.
    Storm,
    /// The next fault of a storm that ends at this time.
    Gust { until_us: u64 },
}

impl Simulation {
    /// The weather changes.
    pub(crate) fn weather(&mut self, weather: Weather) -> Result<(), Violation> {
        let Some(mix) = self.scenario.mix.clone() else { return Ok(()) };
        let draw = |simulation: &mut Self, (min, max): (u64, u64)| simulation.rng.between(min, max) * 1_000;
        let until_us = match weather {
            Weather::Storm => self.now_us + draw(self, mix.storm_ms),
            Weather::Gust { until_us } if self.now_us < until_us => {
                self.gust(&mix)?;
                until_us
            }
            Weather::Gust { .. } => {
                self.clear_up()?;
                self.control(self.now_us + mix.calm_ms * 1_000, Control::Weather(Weather::Storm));
                return Ok(());
            }
        };
        let next_us = (self.now_us + draw(self, mix.pause_ms).max(1_000)).min(until_us);
        self.control(next_us, Control::Weather(Weather::Gust { until_us }));
        Ok(())
    }

    /// One random fault.
    fn gust(&mut self, mix: &Mix) -> Result<(), Violation> {
        let Some(last) = mix.faults.len().checked_sub(1) else { return Ok(()) };
        let one = || Who::Random(1);
        let action = match mix.faults[self.rng.between(0, last as u64) as usize] {
            Fault::Crash => Action::Crash(one()),
            Fault::PowerCut => Action::Crash(Who::Random(u16::MAX)),
            Fault::Amnesia if !self.can_lose_a_disk() => return Ok(()),
            Fault::Amnesia => Action::LoseDisk(one()),
            Fault::Hang => Action::Hang(one()),
            Fault::Partition => Action::Split,
            Fault::Cut => Action::Cut(one(), one()),
            Fault::Silence => Action::Silence(one(), one()),
            Fault::BadLinks => {
                let loss_permille = self.rng.between(1, 300);
                let usual = self.scenario.links;
                let delay_us_max = usual.delay_us_max * self.rng.between(1, 4);
                let bad = Links { loss_permille, duplicate_permille: 50, reorder: true, delay_us_max, ..usual };
                Action::Relink(one(), Who::Random(u16::MAX), bad)
            }
            Fault::ClockJump => Action::JumpClock(one(), self.rng.between(0, 20_000) as i64 - 10_000),
            Fault::Membership => self.draw_membership(),
            Fault::Burst => Action::Load(one(), self.rng.between(100, 2_000)),
        };
        let lasts_us = self.rng.between(mix.lasts_ms.0, mix.lasts_ms.1) * 1_000;
        if let Some(undo) = self.act_out(action)? {
            self.control(self.now_us + lasts_us, Control::Act(Box::new(undo)));
        }
        Ok(())
    }

    /// A change that leaves at least four members.
    fn draw_membership(&mut self) -> Action {
        let spare = self.machines().find(|machine| !self.was_member(*machine));
        let members = self.members_to_be();
        match (self.rng.between(0, 3), spare) {
            (0, Some(machine)) => Action::Membership(Membership::Add(1), Who::Nodes(vec![machine.0])),
            (1, _) if members > 4 => Action::Membership(Membership::Remove, Who::Random(1)),
            _ => Action::Membership(Membership::Rekey, Who::Random(1)),
        }
    }

    /// Everything is mended, and stays so until the next storm.
    fn clear_up(&mut self) -> Result<(), Violation> {
        self.forget_undos();
        self.trace.fault(self.now_us, format_args!("calm"));
        self.heal_all();
        for node in 0..self.scenario.size() as u16 {
            self.resume(node);
            self.reset_clock(node);
            self.set_rate(node, 1_000_000u64.checked_div(self.scenario.load_us).unwrap_or(0));
            if self.status(node).is_none() {
                self.restart(node)?;
            }
        }
        Ok(())
    }
}
