//! Epochs of a simulation, and how nodes pass from one into the next (CONSENSUS.md §2.11).
//!
//! An *era* is an epoch with the machines that are its members. A change is decided at a height: all hear of it when they
//! commit that height. Members mark the end; the commit with marks of a quorum is the last. From then on their blocks carry
//! a vote for its ledger header; votes of stake Q are its certificate, with which a node enters the next era: a new core,
//! whose genesis derives from that header. A node that hears blocks of a later era asks their sender for commits, up to the
//! end of its own, and for the certificate there. Round numbers begin anew; heights go on.
//!
//! What a driver has to refuse is refused here: headers of other epochs, headers that their author's key in this epoch has
//! not signed, and machines that are no members. Deliberately absent: execution, so headers are made up from commits; and
//! state, which is given in [`crate::sim::states`].

use crate::config::Config;
use crate::engine::Core;
use crate::input::Input;
use crate::recovery::Recovered;
use crate::sim::checks::Decisions;
use crate::sim::disk::Record;
use crate::sim::driver::ANSWER_COMMITS_MAX;
use crate::sim::keys::key;
use crate::sim::network::Message;
use crate::sim::node::{Machine, Node, Place};
use crate::sim::scenario::Scenario;
use crate::sim::simulation::{Control, Event, Simulation};
use crate::sim::violation::Violation;
use std::sync::Arc;
use types::Change as Governance;
use types::{Anchor, AuthorityIndex, BlockHeader, CommitRecord, Committee, Epoch, Hasher, HeaderVote, Height, Stake};

/// Least time between two questions to peers that are in a later era, in microseconds.
const ASK_AHEAD_US: u64 = 500_000;

/// An epoch with its members' machines.
#[derive(Debug)]
pub(crate) struct Era {
    /// As its first member has it.
    config: Config,
    /// The machine of each member, in order.
    machines: Vec<Machine>,
    /// Height whose execution decides to end it.
    pub closes_at: Option<Height>,
    /// What was decided.
    change: Option<Change>,
    /// A node has entered it.
    pub begun: bool,
}

/// What is done to the committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A machine becomes a member, behind all others.
    Add(Machine, Stake),
    /// A member is one no longer.
    Remove(Machine),
    /// A member has new keys; it gets hold of them in time.
    Rekey(Machine),
}

/// The era of an epoch.
pub(crate) fn era_of(epoch: Epoch) -> usize {
    // Epochs count from 1; what an adversary makes up may be anything.
    usize::try_from(epoch.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

impl Era {
    /// The first epoch.
    pub fn first(scenario: &Scenario) -> Self {
        let config = scenario.keys.config(AuthorityIndex(0));
        let machines = config.committee.indices().map(|member| Machine(member.0)).collect();
        Self { config, machines, closes_at: None, change: None, begun: true }
    }

    /// The validators.
    pub fn committee(&self) -> &Arc<Committee> {
        &self.config.committee
    }

    /// The configuration of a member.
    pub fn config_of(&self, me: AuthorityIndex) -> Config {
        Config { me, ..self.config.clone() }
    }

    /// Which member a machine is.
    pub fn member(&self, machine: Machine) -> Option<AuthorityIndex> {
        let place = self.machines.iter().position(|member| *member == machine)?;
        Some(AuthorityIndex(place as u16))
    }

    /// Where a member runs.
    pub fn machine(&self, member: AuthorityIndex) -> Option<Machine> {
        self.machines.get(member.index()).copied()
    }

    /// What it goes on from.
    pub fn anchor(&self) -> &Anchor {
        &self.config.anchor
    }

    /// The vote for the last header of the era before it.
    fn vote(&self) -> HeaderVote {
        HeaderVote { height: self.config.anchor.height, header: self.config.anchor.header }
    }

    /// The era behind a last commit.
    fn after(&self, change: Change, last: &CommitRecord) -> Option<Self> {
        let name = |machine: Machine| format!("validator-{}", machine.0);
        let next = self.config.committee.epoch().0 + 1;
        let key = |machine: Machine, kind: u8| key(machine.index(), kind, next);
        let governance = match change {
            Change::Add(machine, stake) => {
                let mut validator = self.config.committee.authorities().first()?.clone();
                (validator.name, validator.stake) = (name(machine), stake);
                (validator.consensus_key, validator.transport_key) = (key(machine, 1), key(machine, 2));
                Governance::Add { validator }
            }
            Change::Remove(machine) => Governance::Remove { name: name(machine) },
            Change::Rekey(machine) => Governance::Rekey {
                name: name(machine),
                consensus_key: key(machine, 1),
                transport_key: key(machine, 2),
            },
        };
        let (committee, parameters) = governance.apply(&self.config.committee, &self.config.parameters).ok()?;
        let of = |name: &str| name.strip_prefix("validator-").and_then(|number| number.parse().ok()).map(Machine);
        let machines = committee.authorities().iter().map(|authority| of(&authority.name)).collect::<Option<_>>()?;
        let commit = last.digest();
        let header = Hasher::new("simulated ledger header").with_encoded(&commit).with_encoded(&committee.digest());
        let anchor = Anchor { height: last.height, header: header.finish(), commit, timestamp: last.timestamp };
        let config = Config { committee: Arc::new(committee), parameters, anchor, ..self.config.clone() };
        Some(Self { config, machines, closes_at: None, change: None, begun: false })
    }
}

impl Simulation {
    /// All machines, in order.
    pub(crate) fn machines(&self) -> impl Iterator<Item = Machine> + use<> {
        (0..self.scenario.size() as u16).map(Machine)
    }

    /// Epochs that have begun.
    pub(crate) fn epochs(&self) -> usize {
        self.eras.iter().filter(|era| era.begun).count()
    }

    /// The last era that anybody has entered.
    pub(crate) fn newest_era(&self) -> &Era {
        self.eras.iter().rfind(|era| era.begun).expect("the first era begins at once")
    }

    /// Its committee.
    pub(crate) fn newest_committee(&self) -> &Arc<Committee> {
        self.newest_era().committee()
    }

    /// The stake in it of the machines that are so.
    pub(crate) fn newest_stake_of(&self, so: impl Fn(&Node) -> bool) -> u64 {
        let era = self.newest_era();
        let machines = self.nodes[..self.scenario.size()].iter().filter(|node| so(node));
        machines.filter_map(|node| era.member(node.machine)).map(|member| era.committee().stake(member).0).sum()
    }

    /// Members of the committee that all changes lead to which are decided or wait.
    pub(crate) fn members_to_be(&self) -> usize {
        let last = self.eras.last().expect("there is a first epoch");
        let changes = last.change.iter().chain(&self.changes);
        changes.fold(last.committee().size(), |members, change| match change {
            Change::Add(..) => members + 1,
            Change::Remove(_) => members.saturating_sub(1),
            Change::Rekey(_) => members,
        })
    }

    /// Changes the committee, after the changes that wait already.
    pub(crate) fn change_committee(&mut self, change: Change) {
        self.changes.push_back(change);
        self.decide_next();
    }

    /// Has the next change decided, unless one is under way. What cannot be is refused: a change of what is not there, a
    /// committee that has no members or more faulty ones than it stands.
    fn decide_next(&mut self) {
        let newest = self.eras.last().expect("there is a first epoch");
        if !newest.begun || newest.closes_at.is_some() {
            return;
        }
        let nowhere = CommitRecord {
            height: Height(0),
            previous: newest.anchor().commit,
            leader: crate::genesis_refs(&newest.config)[0],
            blocks: Vec::new(),
            timestamp: newest.anchor().timestamp,
        };
        while let Some(change) = self.changes.pop_front() {
            let again = matches!(change, Change::Add(machine, _) if self.was_member(machine));
            let fits = newest.after(change, &nowhere).filter(|next| {
                let honest = |member: &AuthorityIndex| {
                    let machine = next.machine(*member);
                    machine.is_some_and(|machine| self.nodes[machine.index()].is_honest())
                };
                let all = next.committee().indices();
                let faulty: u64 = all.filter(|at| !honest(at)).map(|at| next.committee().stake(at).0).sum();
                faulty <= next.committee().faulty_max().0
            });
            if fits.is_some() && !again {
                let height = Height(self.agreement.height().0 + 1);
                self.trace.fault(self.now_us, format_args!("{change:?} is decided at height {height}"));
                let newest = self.eras.last_mut().expect("there is a first epoch");
                (newest.change, newest.closes_at) = (Some(change), Some(height));
                return;
            }
            self.faults.changes_refused += 1;
        }
    }

    /// Whether a machine is or was a member. One that was does not come back.
    pub(crate) fn was_member(&self, machine: Machine) -> bool {
        self.eras.iter().any(|era| era.member(machine).is_some())
    }

    /// The era in which a machine becomes a member.
    pub(crate) fn first_era_of(&self, machine: Machine) -> Option<usize> {
        self.eras.iter().position(|era| era.member(machine).is_some())
    }

    /// What execution says of the decision to end an era, at its height and above.
    pub(crate) fn tell_closing(&mut self, at: Place, height: Height) -> Result<(), Violation> {
        let decided = self.eras[self.nodes[at.0].era].closes_at;
        if decided.is_some_and(|decided| height >= decided) { self.step(at, Input::Closing) } else { Ok(()) }
    }

    /// A node has committed the last commit of its era.
    pub(crate) fn reached_end(&mut self, at: Place, last: &CommitRecord) -> Result<(), Violation> {
        let era = self.nodes[at.0].era;
        self.nodes[at.0].at_end = true;
        if era + 1 == self.eras.len() {
            let Some(change) = self.eras[era].change else { return Ok(()) };
            let next = self.eras[era].after(change, last).expect("what is decided was seen to fit");
            self.eras.push(next);
        }
        if self.eras[era + 1].anchor().commit != last.digest() && self.nodes[at.0].is_honest() {
            return Err(Violation::AnotherEnd { node: self.nodes[at.0].number(), height: last.height });
        }
        self.step(at, Input::Pending { local: true })
    }

    /// The vote that the blocks of a node carry behind the end of its era.
    pub(crate) fn end_vote(&self, at: Place) -> Option<HeaderVote> {
        let node = &self.nodes[at.0];
        let next = self.eras.get(node.era + 1).filter(|_| node.at_end)?;
        Some(next.vote())
    }

    /// A node has accepted a block: perhaps one with a vote for the end of its era.
    pub(crate) fn count_end_vote(&mut self, at: Place, header: &BlockHeader) {
        let node = &mut self.nodes[at.0];
        let Some(next) = self.eras.get(node.era + 1) else { return };
        if header.votes().contains(&next.vote()) {
            node.end_votes.insert(header.author());
        }
        if node.at_end && node.config.committee.is_quorum(node.end_votes.iter().copied()) {
            self.schedule(self.now_us, at, Event::NextEra);
        }
    }

    /// A node holds a certificate for the end of its era.
    pub(crate) fn enter_next_era(&mut self, at: Place) -> Result<(), Violation> {
        let (era, machine) = (self.nodes[at.0].era + 1, self.nodes[at.0].machine);
        if !self.nodes[at.0].at_end || era >= self.eras.len() {
            return Ok(());
        }
        self.begin(era);
        match self.eras[era].member(machine) {
            Some(me) => self.enter(at, era, me),
            None => {
                self.leave(at);
                Ok(())
            }
        }
    }

    /// A machine is a member no longer: an honest one stops, with its clients; another goes on as it likes.
    fn leave(&mut self, at: Place) {
        let node = &mut self.nodes[at.0];
        node.retired = true;
        node.clients.period_us = 0;
        node.clients.waiting.clear();
        node.clients.in_flight.clear();
        if node.is_honest() {
            node.take_core();
            let machine = node.machine;
            self.announce(machine, false);
        }
    }

    /// The first node enters an era: machines that join it start, and what waits is decided.
    fn begin(&mut self, era: usize) {
        if std::mem::replace(&mut self.eras[era].begun, true) {
            return;
        }
        self.faults.eras_begun += 1;
        let joining: Vec<Machine> = {
            let was = |machine: &Machine| self.eras[era - 1].member(*machine).is_some();
            self.eras[era].machines.iter().copied().filter(|machine| !was(machine)).collect()
        };
        for machine in joining {
            self.control(self.now_us, Control::Join(machine, era));
        }
        self.decide_next();
    }

    pub(crate) fn enter(&mut self, at: Place, era: usize, me: AuthorityIndex) -> Result<(), Violation> {
        let now_us = self.now_us;
        let config = self.eras[era].config_of(me);
        let kind = self.scenario.adversaries.iter().rfind(|(machine, _)| Machine(*machine) == self.nodes[at.0].machine);
        let adversary = kind.map(|(_, kind)| kind.build(config.committee.size()));
        let node = &mut self.nodes[at.0];
        node.take_core();
        if node.is_honest() && node.height != config.anchor.height {
            return Err(Violation::AnotherEnd { node: node.number(), height: node.height });
        }
        (node.era, node.me, node.config) = (era, me, config.clone());
        (node.at_end, node.retired) = (false, false);
        node.end_votes.clear();
        node.asked_ahead_us.clear();
        node.newest.clear();
        node.adversary = adversary;
        node.life += 1;
        (node.proposal, node.timer_us, node.before) = (None, None, None);
        node.decisions = Decisions::default();
        node.seen = Default::default();
        // What the old epoch did not take it never will.
        for block in node.clients.in_flight.keys().copied().collect::<Vec<_>>() {
            node.clients.requeue(&block);
        }
        node.disk.append(now_us, Record::Era(era));
        let own_blocks_lost = node.disk.own_blocks_lost(config.committee.epoch());
        let recovered = Recovered { own_blocks_lost, ..Recovered::default() };
        let mut effects = Vec::new();
        let core = Core::recover(config, recovered, node.clock.local_ms(now_us), &mut effects)
            .map_err(|reason| Violation::Unrecoverable { node: node.number(), reason })?;
        node.core = Some(core);
        self.trace.fault(now_us, format_args!("{} enters epoch {}", at.0, era + 1));
        self.carry_out(at, effects)?;
        self.started(at);
        if !self.nodes[at.0].clients.waiting.is_empty() {
            self.step(at, Input::Pending { local: true })?;
        }
        Ok(())
    }

    /// Something from a machine that is in another era, or pretends to be.
    pub(crate) fn other_era_says(
        &mut self,
        at: Place,
        from: Machine,
        era: usize,
        message: Message,
    ) -> Result<(), Violation> {
        let node = &mut self.nodes[at.0];
        match message {
            Message::RequestCommits(height) => {
                if let Some(answer) = self.commits_for(at, era, height) {
                    self.transmit(at, from, answer, true);
                }
            }
            Message::Commits(commits) => return self.adopt(at, from, &commits),
            Message::NextEra(next) if next == node.era + 1 && node.at_end => {
                self.faults.eras_taken_over += 1;
                return self.enter_next_era(at);
            }
            Message::State(next) => return self.take_state(at, next),
            Message::Block { .. } | Message::Headers(_) if era < node.era => self.faults.old_epoch_ignored += 1,
            Message::Block { .. } | Message::Headers(_) if self.eras.get(era).is_some_and(|era| era.begun) => {
                let asked = node.asked_ahead_us.get(&from);
                let due = asked.is_none_or(|asked| asked + ASK_AHEAD_US <= self.now_us);
                if due && !node.retired {
                    node.asked_ahead_us.insert(from, self.now_us);
                    let height = node.height.next();
                    self.transmit(at, from, Message::RequestCommits(height), false);
                }
            }
            _ => self.faults.strangers_ignored += 1,
        }
        Ok(())
    }

    /// Commits of an asker's era from a height on; behind its end, the certificate for that; below where the log begins,
    /// the state there.
    pub(crate) fn commits_for(&self, at: Place, era: usize, height: Height) -> Option<Message> {
        let node = &self.nodes[at.0];
        let end = self.eras.get(era.checked_add(1)?).map(|next| next.anchor().height);
        if height <= node.disk.base() {
            return self.first_era_of_log(node).map(Message::State);
        }
        let mut commits = node.disk.commits_from(height, ANSWER_COMMITS_MAX);
        commits.retain(|(record, _)| end.is_none_or(|end| record.height <= end));
        let over = node.era > era && end.is_some_and(|end| height == end.next());
        match commits.is_empty() {
            false => Some(Message::Commits(Arc::new(commits))),
            true => over.then_some(Message::NextEra(era + 1)),
        }
    }

    /// Whether a header's author has signed it with the key that it has in a node's epoch.
    pub(crate) fn is_signed(&self, at: Place, header: &BlockHeader) -> bool {
        let author = self.nodes[at.0].config.committee.authority(header.author());
        author.is_some_and(|author| {
            header.signature().signature().as_bytes().starts_with(author.consensus_key.as_bytes())
        })
    }

    /// Counts and refuses a header that is not.
    pub(crate) fn admit(&mut self, at: Place, header: &BlockHeader) -> bool {
        let signed = self.is_signed(at, header);
        self.faults.forgeries_refused += u64::from(!signed);
        signed
    }
}
