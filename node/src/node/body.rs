//! What runs an epoch over the parts that every node has: the replica of a member, or the follower of a node whose state
//! is in an epoch that is over.

use crate::config::Plan;
use crate::execution::{Order, Receipts};
use crate::node::NodeError;
use crate::pool::Pool;
use crate::replica::certificates::Certificates;
use crate::replica::commit_sync::Standing;
use crate::replica::driver::Replica;
use crate::replica::event::{Answer, Ended, Fact, Failure};
use crate::replica::follower::Follower;
use crate::replica::intake::Checker;
use crate::replica::lost_disk::LostDisk;
use crate::replica::outbox::Outbox;
use crate::replica::proposer::Proposer;
use crate::replica::recovery::Member;
use crate::replica::serve::Archive;
use crate::replica::signer_desk;
use crate::status::Status;
use accel::Verifier;
use crossbeam_channel::{Receiver, Sender};
use hsm::SignerClient;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use storage::log::Log;
use tokio::sync::watch;
use types::{Digest, EpochChange, Height};

/// See the module.
pub(super) struct Body<'a> {
    pub(super) plan: &'a Plan,
    pub(super) signer: Arc<SignerClient>,
    /// The last applied header.
    pub(super) header: (Height, Digest),
    pub(super) log: Arc<Log>,
    pub(super) archive: Archive,
    pub(super) checker: Checker,
    pub(super) outbox: Outbox,
    pub(super) execution: Sender<Order>,
    pub(super) answers: Sender<Answer>,
    pub(super) facts: Sender<Fact>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) pool: Arc<Pool>,
    pub(super) receipts: Receipts,
    pub(super) status: Arc<Status>,
    pub(super) started: Instant,
}

impl Body<'_> {
    /// Takes part in the present epoch.
    pub(super) fn take_part(
        self,
        member: Member,
        facts: &Receiver<Fact>,
        answers: &Receiver<Answer>,
    ) -> Result<Result<Ended, Failure>, NodeError> {
        let (plan, epoch) = (self.plan, self.plan.epoch.epoch());
        let Member { core, mut epoch_end, .. } = member;
        let lost_disk = member.own_blocks_lost.then(|| LostDisk::new(member.own_floor, plan.accept_lost_disk));
        let stopping = Arc::new(AtomicBool::new(false));
        let (proposals, desk) = signer_desk::start(self.signer, self.answers, Arc::clone(&stopping))?;
        if let Some(unsigned) = member.unsigned {
            // No round is ever burned: the identical statement is asked for again.
            drop(proposals.send(unsigned));
        }
        let parameters = plan.epoch.parameters.clone();
        let mut proposer = Proposer::new(plan.chain, epoch, plan.me, parameters, Arc::clone(&self.pool));
        member.owed.into_iter().for_each(|vote| proposer.vote(vote));
        proposer.voted_up_to(member.voted);
        let mut certificates = Certificates::new(Arc::clone(&plan.committee), member.certified);
        for certificate in member.headers.iter().flat_map(|header| certificates.count(header)).collect::<Vec<_>>() {
            certificates.certified_up_to(certificate.height());
            epoch_end.certified = Some(certificate.vote);
            drop(self.execution.send(Order::Certified(Box::new(certificate))));
        }
        let replica = Replica {
            me: plan.me,
            core,
            effects: member.effects,
            blocks: member.blocks,
            proposer,
            certificates,
            segments: member.segments,
            executed: std::iter::once(self.header).collect(),
            proven: BTreeMap::new(),
            tip: member.tip,
            replayed: member.replayed,
            log: self.log,
            archive: self.archive,
            checker: self.checker,
            linked: BTreeSet::new(),
            outbox: self.outbox,
            execution: self.execution,
            signer: proposals,
            facts: self.facts,
            lost_disk,
            standing: self.standing,
            verifier: self.verifier,
            pool: self.pool,
            receipts: self.receipts,
            status: self.status,
            started: self.started,
            epoch_end,
        };
        let outcome = replica.run(facts, answers);
        stopping.store(true, Ordering::Relaxed);
        drop(desk.join());
        Ok(outcome)
    }

    /// Takes the commits that are left of an epoch that is over.
    pub(super) fn follow(
        self,
        change: EpochChange,
        tip: (Height, Digest),
        facts: &Receiver<Fact>,
        answers: &Receiver<Answer>,
    ) -> Result<Ended, Failure> {
        let follower = Follower {
            change,
            tip,
            executed: tip.0,
            proven: BTreeMap::new(),
            linked: BTreeSet::new(),
            log: self.log,
            execution: self.execution,
            standing: self.standing,
            status: self.status,
        };
        follower.run(facts, answers)
    }
}
