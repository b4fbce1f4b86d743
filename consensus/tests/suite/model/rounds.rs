//! Safety and recovery of progress under an adversary who decides what each block stands on.
//!
//! A block stands on blocks of lower rounds alone, so every DAG comes about when members take turns, round by round.
//! In its turn a member gets all blocks below its round, and makes its own; a *deviation* is a member that sleeps, does
//! not get the blocks of one author, or crashes; or a faulty author who makes none, leaves a parent out, or makes twins.
//! Of twins each member is sent one or the other, and gets both only where somebody's history has both. All runs with up to a number of deviations are explored.
//! After them every round is synchronous, which is the fairness that progress is held against.

use super::fingerprint;
use crate::replica::{Crash, Header, Replica, chain_led_by, disagreement, small_keys};
use consensus::sim::Keys;
use consensus::{Config, HighestBlocks, genesis_refs};
use stateright::{Model, Property};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use types::{AuthorityIndex, BlockRef, ChainId, CommitRecord, Round};

pub struct Rounds {
    keys: Arc<Keys>,
    chain: ChainId,
    /// The highest authors are faulty, this many.
    faulty: u16,
    rounds: u64,
    deviations: u32,
    /// Of the deviations, how many may be crashes, and how many commits may be adopted.
    crashes: u32,
    adoptions: u32,
    /// Only what splits the honest: the faulty always tell them apart, and they may leave each other out.
    pub splits_only: bool,
}

#[derive(Clone, Debug)]
pub struct State {
    /// Whose turn it is.
    round: u64,
    turn: u16,
    honest: Vec<Arc<Replica>>,
    /// All blocks, by author.
    blocks: Vec<Vec<Header>>,
    /// Gets everything.
    observer: Arc<Replica>,
    deviations: u32,
    crashes: u32,
    adoptions: u32,
    /// The last round with a deviation, or in which a member that lost its disk may not be heard.
    disturbed: u64,
}

/// For how many rounds a member that has lost its disk makes no block, or one that comes late.
const SILENT_ROUNDS: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An honest member gets the blocks of lower rounds, but for one author's, and of twins the first or the
    /// second.
    Act { without: Option<u16>, second_twin: bool },
    /// An honest member does nothing in this round.
    Sleep,
    /// An honest member loses power; its turn goes on.
    Crash(Crash),
    /// An honest member loses power between making its proposal durable and signing it.
    CrashUnsigned(Crash),
    /// An honest member makes its block, which nobody need have, and loses its disk. What peers say of its own chain it
    /// hears at once, or when its next turn comes; a faulty peer says that there is nothing.
    LoseDisk { heard_at_once: bool },
    /// An honest member takes over the next commit of the one that has most; its turn goes on.
    Adopt,
    /// A faulty member makes its block on all others, but for one author's.
    Make { without: Option<u16> },
    /// A faulty member makes one block on all others, and a second one without one author's, or on the same.
    Twins { without: Option<u16> },
    /// A faulty member makes a block on all others but the honest second, and one on all but the honest first.
    Split,
    /// A faulty member makes no block.
    Withhold,
}

impl Rounds {
    fn honest(&self) -> u16 {
        4 - self.faulty
    }

    /// The faulty author's block: on his first or last own block, and on one block of each other author.
    fn forge(&self, state: &State, author: u16, without: Option<u16>, variant: u64) -> Option<Header> {
        let mut config: Config = self.keys.config(AuthorityIndex(author));
        config.chain = self.chain;
        let genesis = genesis_refs(&config);
        let below = state.round - 1;
        let latest = |of: u16| -> BlockRef {
            let mut known = state.blocks[usize::from(of)]
                .iter()
                .filter(|header| header.round().0 <= below)
                .map(|header| header.block_ref());
            let newest = known.clone().map(|block| block.round).max();
            let mut newest = known.by_ref().filter(|block| Some(block.round) == newest);
            let first = newest.next();
            // The second twin goes on from the second twin.
            newest.next().filter(|_| variant > 0).or(first).unwrap_or(genesis[usize::from(of)])
        };
        let own = latest(author);
        let others = (0..4).filter(|other| *other != author && Some(*other) != without).map(latest);
        // Those that are old already need not be named again; genesis blocks only by the first round.
        let others = others.filter(|block| block.round.0 == below);
        let ancestors: Vec<BlockRef> = std::iter::once(own).chain(others).collect();
        let parents = ancestors.iter().filter(|block| block.round.0 == below).count();
        (parents >= 3)
            .then(|| self.keys.block(&config, Round(state.round), ancestors, Vec::new(), state.round * 10 + variant, 0))
    }

    fn hear_peers(&self, state: &State, replica: &mut Replica) {
        let me = replica.me();
        for peer in state.honest.iter().filter(|peer| peer.me() != me) {
            replica.hear(peer.me(), peer.core.highest_blocks(me));
        }
        (self.honest()..4).for_each(|peer| replica.hear(AuthorityIndex(peer), HighestBlocks::default()));
    }

    fn act(&self, state: &State, replica: &mut Replica, without: Option<u16>, second_twin: bool) {
        let (round, me) = (state.round, replica.me().0);
        for below in 1..round {
            for author in (0..4).filter(|author| *author != me && Some(*author) != without) {
                let made = &state.blocks[usize::from(author)];
                let mut twins = made.iter().filter(|header| header.round().0 == below);
                let first = twins.next();
                let chosen = twins.next().filter(|_| second_twin).or(first);
                chosen.into_iter().for_each(|header| pull(&state.blocks, replica, header));
            }
        }
        if replica.is_reclaiming() {
            self.hear_peers(state, replica);
        }
        replica.allow(Round(round));
        for _ in 0..2 {
            if replica.last_made().0 < round {
                replica.time_out();
            }
        }
    }
}

/// What a member signed stays signed, whatever it remembers.
fn publish(blocks: &mut Vec<Header>, replica: &Replica) {
    let fresh: Vec<Header> = replica.made.iter().filter(|header| !blocks.contains(header)).cloned().collect();
    blocks.extend(fresh);
}

/// Delivers a block after its history.
fn pull(blocks: &[Vec<Header>], replica: &mut Replica, header: &Header) {
    if replica.holds(&header.block_ref()) {
        return;
    }
    for ancestor in header.ancestors() {
        let below = blocks[ancestor.author.index()].iter().find(|header| header.block_ref() == *ancestor);
        if let Some(below) = below.filter(|below| !replica.holds(&below.block_ref())) {
            pull(blocks, replica, below);
        }
    }
    replica.deliver(header);
}

impl Model for Rounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let faulty: Vec<u16> = (self.honest()..4).collect();
        let replica = |me| Arc::new(Replica::new(&self.keys, self.chain, me, 0, &faulty));
        vec![State {
            round: 1,
            turn: 0,
            honest: (0..self.honest()).map(replica).collect(),
            blocks: vec![Vec::new(); 4],
            observer: replica(3),
            deviations: self.deviations,
            crashes: self.crashes,
            adoptions: self.adoptions,
            disturbed: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.round > self.rounds || failure(state).is_some() {
            return;
        }
        let below: Vec<usize> = (0..4)
            .map(|author| state.blocks[author].iter().filter(|header| header.round().0 + 1 == state.round).count())
            .collect();
        let omitted = |actions: &mut Vec<Action>, make: &dyn Fn(Option<u16>) -> Action| {
            let others = (0..4u16).filter(|author| *author != state.turn && below[usize::from(*author)] > 0);
            actions.extend(others.map(|author| make(Some(author))));
        };
        if self.splits_only {
            if state.turn >= self.honest() {
                return actions.push(Action::Split);
            }
            for second_twin in [false, true] {
                actions.push(Action::Act { without: None, second_twin });
                if state.round > 1 {
                    actions.push(Action::Act { without: Some(1 - state.turn), second_twin });
                }
            }
            return;
        }
        if state.turn >= self.honest() {
            actions.push(Action::Make { without: None });
            if state.deviations > 0 {
                actions.extend([Action::Withhold, Action::Twins { without: None }]);
                omitted(actions, &|without| Action::Make { without });
                omitted(actions, &|without| Action::Twins { without });
            }
            return;
        }
        actions.push(Action::Act { without: None, second_twin: false });
        let twins = below.iter().any(|made| *made > 1);
        if twins {
            actions.push(Action::Act { without: None, second_twin: true });
        }
        if state.deviations > 0 {
            actions.push(Action::Sleep);
            omitted(actions, &|without| Action::Act { without, second_twin: false });
            if twins {
                omitted(actions, &|without| Action::Act { without, second_twin: true });
            }
            if state.crashes > 0 {
                for crash in [Crash::LosesTail, Crash::LosesCheckpoint] {
                    actions.extend([Action::Crash(crash), Action::CrashUnsigned(crash)]);
                }
                actions.extend([true, false].map(|heard_at_once| Action::LoseDisk { heard_at_once }));
            }
        }
        let most = state.honest.iter().map(|replica| replica.commits.len()).max().unwrap_or(0);
        if state.adoptions > 0 && most > state.honest[usize::from(state.turn)].commits.len() {
            actions.push(Action::Adopt);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let (index, mut ends) = (usize::from(state.turn), true);
        match action {
            Action::Make { without } => {
                let block = self.forge(last, state.turn, without, 0);
                state.blocks[index].extend(block);
            }
            Action::Twins { without } => {
                let twins = [self.forge(last, state.turn, None, 0), self.forge(last, state.turn, without, 1)];
                state.blocks[index].extend(twins.into_iter().flatten());
            }
            Action::Split => {
                let twins = [self.forge(last, state.turn, Some(1), 0), self.forge(last, state.turn, Some(0), 1)];
                state.blocks[index].extend(twins.into_iter().flatten());
            }
            Action::Withhold | Action::Sleep => {}
            Action::Act { .. }
            | Action::Crash(_)
            | Action::CrashUnsigned(_)
            | Action::LoseDisk { .. }
            | Action::Adopt => {
                let replica = Arc::make_mut(&mut state.honest[index]);
                match action {
                    Action::LoseDisk { heard_at_once } => {
                        self.act(last, replica, None, false);
                        publish(&mut state.blocks[index], replica);
                        replica.lose_disk();
                        if heard_at_once {
                            self.hear_peers(last, replica);
                        }
                    }
                    Action::Act { without, second_twin } => self.act(last, replica, without, second_twin),
                    Action::Crash(crash) => {
                        replica.crash(crash);
                        ends = false;
                    }
                    Action::CrashUnsigned(crash) => {
                        replica.sign_at_once = false;
                        self.act(last, replica, None, false);
                        replica.crash(crash);
                        replica.sign_at_once = true;
                        replica.sign();
                        self.act(last, replica, None, false);
                    }
                    _ => {
                        let best = last.honest.iter().max_by_key(|other| other.commits.len())?;
                        replica.adopt_from(best);
                        ends = false;
                    }
                }
                publish(&mut state.blocks[index], replica);
            }
        }
        match action {
            Action::Act { without: None, .. } | Action::Make { without: None } => {}
            Action::Adopt => state.adoptions -= 1,
            _ => {
                state.deviations -= 1;
                let lost = matches!(action, Action::LoseDisk { .. });
                state.disturbed = state.round + if lost { SILENT_ROUNDS } else { 0 };
                state.crashes -=
                    u32::from(matches!(action, Action::Crash(_) | Action::CrashUnsigned(_) | Action::LoseDisk { .. }));
            }
        }
        if ends {
            state.turn += 1;
            if state.turn == 4 {
                (state.round, state.turn) = (state.round + 1, 0);
                let observer = Arc::make_mut(&mut state.observer);
                let all: Vec<&Header> =
                    state.blocks.iter().flatten().filter(|header| header.round().0 + 1 == state.round).collect();
                all.into_iter().for_each(|header| pull(&state.blocks, observer, header));
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the honest agree, and break no rule", |_, state: &State| failure(state).is_none()),
            Property::always("an undisturbed committee decides every slot", |model: &Self, state: &State| {
                let over = state.round > model.rounds && model.faulty <= 1;
                !over || state.disturbed + 6 > model.rounds || settled(model, state)
            }),
            Property::sometimes("a slot is skipped", |_, state: &State| skips(state)),
            Property::sometimes("something is committed", |_, state: &State| !state.observer.commits.is_empty()),
        ]
    }
}

fn failure(state: &State) -> Option<String> {
    let replicas = || state.honest.iter().chain([&state.observer]);
    if let Some(wrong) = replicas().find_map(|replica| replica.wrong.clone()) {
        return Some(wrong);
    }
    let longest: &[CommitRecord] =
        replicas().map(|replica| replica.commits.as_slice()).max_by_key(|commits| commits.len())?;
    replicas()
        .find_map(|replica| {
            disagreement(&replica.commits, longest).map(|height| format!("{} at {height}", replica.me()))
        })
        .or_else(|| doubled(&state.blocks[..state.honest.len()]))
}

/// An honest member with two blocks in a round.
fn doubled(blocks: &[Vec<Header>]) -> Option<String> {
    blocks.iter().flatten().find_map(|header| {
        let same = blocks[header.author().index()].iter().filter(|other| other.round() == header.round()).count();
        (same > 1).then(|| format!("{} has a twin", header.block_ref()))
    })
}

/// After six rounds without a deviation everybody is in the last round and has decided every slot that can be.
fn settled(model: &Rounds, state: &State) -> bool {
    let decided = |replica: &Replica| replica.core.status().last_decided_round.0;
    let honest = |replica: &Arc<Replica>| replica.last_made().0 == model.rounds && decided(replica) + 3 >= model.rounds;
    state.honest.iter().all(honest) && decided(&state.observer) + 2 >= model.rounds
}

fn skips(state: &State) -> bool {
    state.observer.core.status().last_decided_round.0 > state.observer.commits.len() as u64
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        fingerprint(self) == fingerprint(other)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.round, self.turn, self.deviations, self.crashes, self.adoptions, self.disturbed).hash(hasher);
        self.honest.hash(hasher);
        for header in self.blocks.iter().flatten() {
            header.block_ref().hash(hasher);
        }
        self.observer.commits.last().map(CommitRecord::digest).hash(hasher);
    }
}

pub fn model(leaders: &[u16], faulty: u16, rounds: u64, deviations: u32, crashes: u32, adoptions: u32) -> Rounds {
    let keys = Arc::new(small_keys());
    let chain = chain_led_by(&keys, leaders);
    Rounds { keys, chain, faulty, rounds, deviations, crashes, adoptions, splits_only: false }
}
