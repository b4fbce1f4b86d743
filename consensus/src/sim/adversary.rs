//! Members that do not keep the rules, one file for each kind.
//!
//! An adversary runs an honest core and has a dishonest driver: it changes what the core wants to propose and to send,
//! and adds messages of its own. It can sign for itself alone. Two cores with one identity (`twins`) need nothing but a
//! network that tells them apart, so that kind has no hooks.

mod ancient_referencer;
mod dropper;
mod equivocator;
mod flooder;
mod future_rounder;
mod removed_talker;
mod selective_sender;
mod twins;
mod vote_liar;
mod withholder;

use crate::config::Config;
use crate::engine::Core;
use crate::sim::Keys;
use crate::sim::network::Message;
use crate::sim::rng::Rng;
use std::fmt;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Evidence, Round};

pub(crate) use twins::Sides;

/// What an adversary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdversaryKind {
    /// Signs two blocks for every round and sends each to some of the others.
    Equivocator {
        /// Whether all equivocators send their first blocks to the same members.
        coalition: bool,
    },
    /// Publishes its blocks only when it leads, late, and to some of the others.
    Withholder {
        /// How late, in microseconds.
        delay_us: u64,
        /// Chance of each peer to be sent them, in a thousand.
        share_permille: u64,
    },
    /// Sends its own blocks to the first members of the committee only.
    SelectiveSender {
        /// To how many.
        peers: u16,
    },
    /// References the oldest blocks that validity allows, instead of the newest.
    AncientReferencer,
    /// Signs blocks of rounds that are far ahead, on parents that do not exist.
    FutureRounder {
        /// How far ahead, in rounds.
        ahead: u64,
    },
    /// Never votes for a leader if a quorum of parents is left without it.
    VoteLiar,
    /// Sends blocks that cannot be accepted, and requests, all the time.
    Flooder {
        /// Messages a second to each peer.
        per_second: u64,
    },
    /// Two cores and two disks with one identity; each of the others hears from one of them, for a while.
    Twins {
        /// How long, in milliseconds.
        switch_ms: u64,
    },
    /// Keeps the rules until it is removed from the committee, and then goes on: with its blocks of the old epoch, and with
    /// blocks of the new one in everybody's name.
    RemovedTalker,
    /// Sends what a peer was not sent with some chance, each time it makes a block.
    Dropper {
        /// The chance in a thousand; 0 stands for one in the size of the committee.
        share_permille: u64,
    },
}

impl AdversaryKind {
    /// Its name in scenario files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Equivocator { .. } => "equivocator",
            Self::Withholder { .. } => "withholder",
            Self::SelectiveSender { .. } => "selective-sender",
            Self::AncientReferencer => "ancient-referencer",
            Self::FutureRounder { .. } => "future-rounder",
            Self::VoteLiar => "vote-liar",
            Self::Flooder { .. } => "flooder",
            Self::Twins { .. } => "twins",
            Self::RemovedTalker => "removed-talker",
            Self::Dropper { .. } => "dropper",
        }
    }

    /// Every kind that needs no plan, with usual values.
    pub fn all() -> [Self; 9] {
        [
            Self::Equivocator { coalition: false },
            Self::Withholder { delay_us: 450_000, share_permille: 500 },
            Self::SelectiveSender { peers: 1 },
            Self::AncientReferencer,
            Self::FutureRounder { ahead: 50 },
            Self::VoteLiar,
            Self::Flooder { per_second: 200 },
            Self::Twins { switch_ms: 1_000 },
            Self::Dropper { share_permille: 0 },
        ]
    }

    pub(crate) fn build(self, size: usize) -> Box<dyn Adversary> {
        match self {
            Self::Equivocator { coalition } => Box::new(equivocator::Equivocator { coalition }),
            Self::Withholder { delay_us, share_permille } => {
                Box::new(withholder::Withholder::new(size, delay_us, share_permille))
            }
            Self::SelectiveSender { peers } => Box::new(selective_sender::SelectiveSender { peers }),
            Self::AncientReferencer => Box::new(ancient_referencer::AncientReferencer),
            Self::FutureRounder { ahead } => Box::new(future_rounder::FutureRounder { ahead }),
            Self::VoteLiar => Box::new(vote_liar::VoteLiar),
            Self::Flooder { per_second } => Box::new(flooder::Flooder::new(per_second)),
            Self::Twins { .. } => Box::new(twins::Twin),
            Self::RemovedTalker => Box::new(removed_talker::RemovedTalker),
            Self::Dropper { share_permille: 0 } => Box::new(dropper::Dropper::new(size, 1_000 / size as u64)),
            Self::Dropper { share_permille } => Box::new(dropper::Dropper::new(size, share_permille)),
        }
    }
}

/// What an adversary sees when it acts.
pub(crate) struct View<'a> {
    pub me: AuthorityIndex,
    pub config: &'a Config,
    pub keys: &'a Keys,
    pub core: &'a Core,
    pub rng: &'a mut Rng,
    /// Of a validator that was removed: the epoch that goes on without it.
    pub removed_from: Option<Config>,
    /// Blocks that it made beside those of its core, to be given to peers that ask.
    pub made: Vec<Arc<BlockHeader>>,
}

impl View<'_> {
    /// Everybody else.
    pub fn peers(&self) -> impl Iterator<Item = AuthorityIndex> + use<> {
        let me = self.me;
        self.config.committee.indices().filter(move |peer| *peer != me)
    }

    /// Who leads a round as far as its core knows.
    pub fn leader(&self, round: Round) -> AuthorityIndex {
        self.core.schedule.leader(round)
    }

    /// A block of its own.
    pub fn block(&mut self, round: Round, ancestors: Vec<BlockRef>, time_ms: u64, nonce: u64) -> Arc<BlockHeader> {
        self.keys.block(self.config, round, ancestors, Vec::new(), time_ms, nonce)
    }
}

/// What the core wants to propose.
#[derive(Debug)]
pub(crate) struct Draft {
    pub round: Round,
    pub ancestors: Vec<BlockRef>,
    pub misbehaviour: Vec<Evidence>,
    pub timestamp_ms: u64,
}

/// Something to be sent.
#[derive(Debug)]
pub(crate) struct Sending {
    pub to: AuthorityIndex,
    pub message: Message,
    /// From now on.
    pub delay_us: u64,
}

impl Sending {
    /// A block with its payload, at once.
    pub fn block(to: AuthorityIndex, header: &Arc<BlockHeader>) -> Self {
        Self { to, message: Message::Block { header: header.clone(), payload: false }, delay_us: 0 }
    }
}

/// The dishonest part of a driver.
pub(crate) trait Adversary: fmt::Debug + Send {
    /// Changes what is proposed.
    fn propose(&mut self, _view: &mut View<'_>, _draft: &mut Draft) {}

    /// Sends an own new block, or something else.
    fn broadcast(&mut self, view: &mut View<'_>, header: &Arc<BlockHeader>, out: &mut Vec<Sending>) {
        out.extend(view.peers().map(|peer| Sending::block(peer, header)));
    }

    /// Whether a message of another kind is sent, `asked` for by the peer or not.
    fn passes(&mut self, _me: AuthorityIndex, _to: AuthorityIndex, _message: &Message, _asked: bool) -> bool {
        true
    }

    /// Time between two calls of [`Self::act`].
    fn period_us(&self) -> Option<u64> {
        None
    }

    /// Does something by itself.
    fn act(&mut self, _view: &mut View<'_>, _out: &mut Vec<Sending>) {}
}

/// Whether a message hands out a block of one author.
pub(crate) fn hands_out(message: &Message, author: AuthorityIndex) -> bool {
    match message {
        Message::Headers(headers) => headers.iter().any(|header| header.author() == author),
        Message::Block { header, .. } => header.author() == author,
        Message::Payload(block, _) => block.author == author,
        _ => false,
    }
}
