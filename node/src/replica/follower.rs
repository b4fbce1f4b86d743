//! Takes the commits of an epoch that is over, in the replica's place: its end is proven, so that there is nothing left
//! to decide. Commits come from commit sync, checked against the epoch's own committee; they are logged, executed, and at
//! the last height the node starts again inside in the next epoch. A crash goes on from the state.

use crate::execution::{CommitBlock, Job, Order};
use crate::records;
use crate::replica::commit_sync::Standing;
use crate::replica::event::{Answer, CertifiedCommit, Ended, Fact, Failure};
use crate::status::{State, Status};
use crate::tables::BlockPlace;
use crossbeam_channel::{Receiver, Sender, select};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::log::Log;
use tokio::sync::watch;
use types::{AuthorityIndex, Digest, EpochChange, Height};

/// See the module.
pub struct Follower {
    /// The proof of the next epoch, with the last header of this one.
    pub change: EpochChange,
    /// The last commit that was handed to execution, and its digest.
    pub tip: (Height, Digest),
    /// The last height executed.
    pub executed: Height,
    /// Certified headers that are being executed.
    pub proven: BTreeMap<Height, Digest>,
    /// Peers whose link is up.
    pub linked: BTreeSet<AuthorityIndex>,
    /// The log.
    pub log: Arc<Log>,
    /// To execution.
    pub execution: Sender<Order>,
    /// Tells commit sync what is wanted.
    pub standing: watch::Sender<Standing>,
    /// What others read.
    pub status: Arc<Status>,
}

impl Follower {
    /// Runs until the last height is executed, it is told to stop, or a stage fails.
    pub fn run(mut self, facts: &Receiver<Fact>, answers: &Receiver<Answer>) -> Result<Ended, Failure> {
        loop {
            self.note_standing();
            let ended = select! {
                recv(answers) -> answer => match answer {
                    Ok(answer) => self.answer(answer)?,
                    Err(_) => Some(Ended::Stopped),
                },
                recv(facts) -> fact => match fact {
                    Ok(fact) => self.fact(fact)?,
                    Err(_) => Some(Ended::Stopped),
                },
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    fn fact(&mut self, fact: Fact) -> Result<Option<Ended>, Failure> {
        if let Some(ended) = fact.ends() {
            return Ok(Some(ended));
        }
        match fact {
            Fact::PeerUp(peer) => {
                self.linked.insert(peer);
                self.status.peer(peer, true);
            }
            Fact::PeerDown(peer) => {
                self.linked.remove(&peer);
                self.status.peer(peer, false);
            }
            Fact::Misbehaviour { peer, what } => self.status.misbehaviour(peer, what),
            Fact::Certified(commits) => commits.into_iter().try_for_each(|commit| self.adopt(commit))?,
            // Of epochs that this node will take part in later; questions, which others can answer; and what has ended
            // it above.
            Fact::Stop
            | Fact::StateReady
            | Fact::LaterEpochs
            | Fact::Header { .. }
            | Fact::Payload { .. }
            | Fact::Request { .. }
            | Fact::InvalidTransaction { .. }
            | Fact::Highest { .. }
            | Fact::OtherEpoch { .. }
            | Fact::LastCertified(_)
            | Fact::MovedOn(_)
            | Fact::Pooled => {}
        }
        Ok(None)
    }

    fn answer(&mut self, answer: Answer) -> Result<Option<Ended>, Failure> {
        match answer {
            Answer::Failed(failure) => Err(failure),
            // There is no desk.
            Answer::Signed(_) => Ok(None),
            Answer::Executed { height, header, .. } => {
                self.executed = height;
                if self.proven.remove(&height).is_some_and(|proven| proven != header) {
                    return Err(Failure::State(format!("height {height} gives another header than is certified")));
                }
                if height < self.change.last.height {
                    return Ok(None);
                }
                drop(self.execution.send(Order::Certified(Box::new(self.change.certificate.clone()))));
                self.status.certificates_stored(height);
                Ok(Some(Ended::EpochOver))
            }
        }
    }

    fn adopt(&mut self, commit: CertifiedCommit) -> Result<(), Failure> {
        let CertifiedCommit { record, header, blocks } = commit;
        let height = record.height;
        if height != self.tip.0.next() || height > self.change.last.height {
            return Ok(());
        }
        if record.previous != self.tip.1 {
            return Err(Failure::State(format!("the commit of height {height} does not follow the one that is here")));
        }
        let (mut placed, mut replay_from) = (Vec::with_capacity(blocks.len()), u64::MAX);
        for (header, received) in blocks {
            let parts: [&[u8]; 2] = [&records::block_part(&header), received.payload.raw()];
            let position = self.log.append_quiet(records::BLOCK, &parts)?;
            replay_from = replay_from.min(position.segment);
            placed.push(CommitBlock {
                block: header.block_ref(),
                contents: received.contents,
                origins: Vec::new(),
                place: BlockPlace { block: position, signed: None },
            });
        }
        self.tip = (height, record.digest());
        self.proven.insert(height, header);
        let last_of_epoch = height == self.change.last.height;
        // A commit has its leader's block at least.
        let job = Job { record, blocks: placed, checkpoint: None, last_of_epoch, replay_from, logged: false };
        drop(self.execution.send(Order::Commit(Box::new(job))));
        Ok(())
    }

    fn note_standing(&self) {
        self.status.set_state(if self.linked.is_empty() { State::NoQuorum } else { State::CatchingUp });
        let (tip, executed, target) = (self.tip.0, self.executed, self.change.last.height);
        // Without a link there is nobody to ask, and to have no answer would count against commits or a state.
        let standing = Standing { behind: !self.linked.is_empty(), tip, executed, target };
        self.standing.send_if_modified(|told| {
            let news = *told != standing;
            *told = standing;
            news
        });
    }
}
