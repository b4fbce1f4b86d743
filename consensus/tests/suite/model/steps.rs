//! Single messages, timeouts, signatures, crashes and catching up, in any order: the pacemaker's promises.
//!
//! Everything ever sent may arrive at any time after what it stands on, or never; a timeout may pass whenever somebody
//! waits. With `all` false one validator never speaks, so that each round needs the other three and the space is small
//! enough for as many rounds as the commit rule looks at.

use super::{exhaust, fingerprint, torture};
use crate::replica::{Crash, Header, Replica, chain_led_by, disagreement, small_keys};
use consensus::sim::Keys;
use stateright::{Model, Property};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use types::{ChainId, Round};

struct Steps {
    keys: Arc<Keys>,
    chain: ChainId,
    /// How many validators speak: three or four.
    speaking: u16,
    rounds: u64,
    crashes: u32,
    adoptions: u32,
    timeouts: u32,
    /// Whether a block may arrive before what it stands on.
    disordered: bool,
    /// Whether blocks of the last round arrive, to which nobody answers.
    to_the_end: bool,
}

#[derive(Clone, Debug)]
struct State {
    replicas: Vec<Arc<Replica>>,
    crashes: u32,
    adoptions: u32,
    timeouts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The block of an author and round arrives.
    Deliver {
        to: u16,
        author: u16,
        round: u64,
    },
    TimeOut(u16),
    Sign(u16),
    Crash(u16, Crash),
    Adopt {
        to: u16,
        from: u16,
    },
}

impl Model for Steps {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let replica = |me| {
            let mut replica = Replica::new(&self.keys, self.chain, me, 0, &[]);
            // Signing is a step of its own where it may be cut off.
            replica.sign_at_once = self.crashes == 0;
            replica.allow(Round(self.rounds));
            Arc::new(replica)
        };
        let replicas = (0..self.speaking).map(replica).collect();
        vec![State { replicas, crashes: self.crashes, adoptions: self.adoptions, timeouts: self.timeouts }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if failure(state) {
            return;
        }
        for (to, replica) in (0..).zip(&state.replicas) {
            if replica.unsigned.is_some() {
                actions.push(Action::Sign(to));
            }
            for header in state.replicas.iter().flat_map(|other| &other.made) {
                let causal = || header.ancestors().iter().all(|ancestor| replica.holds(ancestor));
                let matters = self.to_the_end || header.round().0 < self.rounds;
                if matters && !replica.holds(&header.block_ref()) && (self.disordered || causal()) {
                    actions.push(Action::Deliver { to, author: header.author().0, round: header.round().0 });
                }
            }
            if state.timeouts > 0 && replica.waits() && replica.last_made().0 < self.rounds {
                actions.push(Action::TimeOut(to));
            }
            if state.crashes > 0 {
                actions.extend([Crash::LosesTail, Crash::LosesCheckpoint].map(|crash| Action::Crash(to, crash)));
            }
            if state.adoptions > 0 {
                let ahead = (0..).zip(&state.replicas).filter(|(_, other)| other.commits.len() > replica.commits.len());
                actions.extend(ahead.map(|(from, _)| Action::Adopt { to, from }));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let replicas = &mut state.replicas;
        match action {
            Action::Deliver { to, author, round } => {
                let made = &last.replicas[usize::from(author)].made;
                let header: &Header = made.iter().find(|header| header.round() == Round(round))?;
                Arc::make_mut(&mut replicas[usize::from(to)]).deliver(header);
            }
            Action::TimeOut(of) => {
                Arc::make_mut(&mut replicas[usize::from(of)]).time_out();
                state.timeouts -= 1;
            }
            Action::Sign(of) => Arc::make_mut(&mut replicas[usize::from(of)]).sign(),
            Action::Crash(of, crash) => {
                Arc::make_mut(&mut replicas[usize::from(of)]).crash(crash);
                state.crashes -= 1;
            }
            Action::Adopt { to, from } => {
                Arc::make_mut(&mut replicas[usize::from(to)]).adopt_from(&last.replicas[usize::from(from)]);
                state.adoptions -= 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("agreement, and no second block for a round", |_, state: &State| !failure(state)),
            Property::always("no round without an own block in the one before", |_, state: &State| {
                state.replicas.iter().all(|replica| unbroken(replica))
            }),
            Property::sometimes("everybody makes the last block", |model: &Self, state: &State| {
                state.replicas.iter().all(|replica| replica.last_made().0 == model.rounds)
            }),
        ];
        if self.rounds >= 3 {
            properties.push(Property::sometimes("a commit", |_, state: &State| {
                state.replicas.iter().any(|replica| !replica.commits.is_empty())
            }));
        }
        if self.speaking == 3 && self.rounds >= 5 {
            // With three of four speaking every block votes for every leader that speaks: once all is delivered, and
            // timeouts were enough for the leader who does not, everybody has decided as far as the rounds go.
            properties.push(Property::always(
                "when nothing is left to happen, all is decided",
                |model: &Self, state: &State| {
                    let mut actions = Vec::new();
                    model.actions(state, &mut actions);
                    !actions.is_empty()
                        || state.timeouts == 0
                        || state.replicas.iter().all(|replica| {
                            replica.last_made().0 == model.rounds
                                && replica.core.status().last_decided_round.0 + 2 == model.rounds
                        })
                },
            ));
        }
        properties
    }
}

fn failure(state: &State) -> bool {
    let replicas = &state.replicas;
    let differ = |one: &Replica| replicas.iter().any(|other| disagreement(&one.commits, &other.commits).is_some());
    let doubled = |one: &Replica| one.made.windows(2).any(|pair| pair[0].round() >= pair[1].round());
    replicas.iter().any(|replica| replica.wrong.is_some() || differ(replica) || doubled(replica))
}

/// A2, but for the catch-up of §2.10: who skipped rounds has decided them.
fn unbroken(replica: &Replica) -> bool {
    replica.made.windows(2).all(|pair| {
        let decided = replica.core.status().last_decided_round;
        pair[0].round().next() == pair[1].round() || pair[1].round() <= decided.next().next()
    })
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        fingerprint(self) == fingerprint(other)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.crashes, self.adoptions, self.timeouts).hash(hasher);
        self.replicas.hash(hasher);
    }
}

fn model(leaders: &[u16], speaking: u16, rounds: u64) -> Steps {
    let keys = Arc::new(small_keys());
    let chain = chain_led_by(&keys, leaders);
    Steps { keys, chain, speaking, rounds, crashes: 0, adoptions: 0, timeouts: 6, disordered: false, to_the_end: true }
}

#[test]
fn three_of_four_agree_in_every_interleaving() {
    exhaust("steps: 3 of 4 speak, 6 rounds", model(&[0, 3, 1], 3, 6));
    exhaust(
        "steps: 3 of 4 speak, 4 rounds, blocks before their history",
        Steps { disordered: true, ..model(&[0, 3, 1], 3, 4) },
    );
    if torture() {
        exhaust("steps: 3 of 4 speak, 9 rounds", Steps { timeouts: 12, ..model(&[0, 3, 1], 3, 9) });
    }
}

#[test]
fn a_crash_at_any_point_repeats_no_round() {
    let timely = |rounds| Steps { timeouts: 1, ..model(&[0, 1, 2, 0, 1], 3, rounds) };
    exhaust("steps: 3 of 4 speak, 4 rounds, 1 timeout, 1 crash", Steps { crashes: 1, ..timely(4) });
    exhaust("steps: 3 of 4 speak, 5 rounds, 1 timeout, 1 adoption", Steps { adoptions: 1, ..timely(5) });
    if torture() {
        exhaust(
            "steps: 3 of 4 speak, 6 rounds, 1 timeout, 1 crash, 1 adoption",
            Steps { crashes: 1, adoptions: 1, ..timely(6) },
        );
        exhaust(
            "steps: 3 of 4 speak, 5 rounds, 1 timeout, 2 crashes, 1 adoption",
            Steps { crashes: 2, adoptions: 1, ..timely(5) },
        );
    }
}

#[test]
fn four_of_four_agree_in_every_interleaving_of_two_rounds() {
    let four = |timeouts, rounds| Steps { timeouts, to_the_end: false, ..model(&[0, 1, 2], 4, rounds) };
    exhaust("steps: 4 of 4 speak, 2 rounds, 1 timeout", four(1, 2));
    if torture() {
        exhaust("steps: 4 of 4 speak, 2 rounds, 4 timeouts", four(4, 2));
        exhaust(
            "steps: 4 of 4 speak, 2 rounds, 1 timeout, delivered to the end",
            Steps { to_the_end: true, ..four(1, 2) },
        );
    }
}
