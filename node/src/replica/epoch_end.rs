//! How this node gets from an epoch into the next one (CONSENSUS.md §2.11).
//!
//! Execution of the last height names the next epoch. It begins here once that height's header is certified, by votes in
//! blocks or by a certificate that a peer has kept: the replica ends, everything is flushed and taken apart, and the node
//! starts again inside. A crash on the way finds either the old epoch with its log, or the new one. Peers that have moved
//! on no longer make blocks of the old epoch; they serve its heights and certificates from their tables as long as they
//! keep them.

use crate::epochs;
use crate::execution::Order;
use crate::replica::commit_sync::answer;
use crate::replica::driver::{Loop, Replica};
use crate::replica::event::Fact;
use crate::wire::Request;
use consensus::Input;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use types::{AuthorityIndex, Certificate, Digest, Epoch, EpochStart, HeaderVote, Height};

/// How long a peer may take to answer with a certificate.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two questions for the last header's certificate: votes are usually faster.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// A node leaves an epoch that is over two ways to the farthest peer later, within these bounds.
const GRACE_MIN: Duration = Duration::from_millis(30);
const GRACE_MAX: Duration = Duration::from_millis(400);

/// How far the end of the epoch has come.
#[derive(Default)]
pub struct EpochEnd {
    /// The epoch's first height.
    first: Height,
    /// Whether a change is decided.
    closing: bool,
    /// The next epoch, once the last height is executed.
    pub next: Option<EpochStart>,
    /// The last certificate that was put together or fetched.
    pub certified: Option<HeaderVote>,
    /// When the last header was certified here: the next epoch can begin.
    over: Option<Instant>,
    /// Whether this node has no part in the next epoch, and waits until others have begun it.
    leaving: bool,
    asked: Option<Instant>,
    /// Peers whose blocks are of a later epoch.
    ahead: BTreeMap<AuthorityIndex, Epoch>,
}

impl EpochEnd {
    /// As recovery found it: whether a change is decided, the next epoch where the last height is executed, and the vote
    /// under its certificate where the next epoch has no part for this node.
    pub fn recovered(
        start: &EpochStart,
        decided: bool,
        next: Option<EpochStart>,
        certified: Option<HeaderVote>,
    ) -> Self {
        let first = start.anchor.height.next();
        Self { first, closing: decided || next.is_some(), next, certified, ..Self::default() }
    }
}

impl Replica {
    /// Goes on where a restart has interrupted the end of the epoch.
    pub(super) fn resume_end(&mut self, state: &mut Loop) {
        if self.pool.len() > 0 {
            // Left over from before this start.
            self.step(Input::Pending { local: true });
        }
        if state.epoch_end.closing {
            self.step(Input::Closing);
        }
        if state.epoch_end.next.is_some() {
            self.step(Input::Pending { local: true });
            self.end_if_certified(state);
        }
    }

    /// What execution says of the governance.
    pub(super) fn governed(&mut self, height: Height, closing: bool, next: Option<EpochStart>, state: &mut Loop) {
        if height == state.epoch_end.first {
            let epoch = self.checker.committee.epoch().0;
            tracing::info!(epoch, height = height.0, "the epoch's first height is executed");
        }
        if closing && !state.epoch_end.closing {
            state.epoch_end.closing = true;
            tracing::info!("a change of committee or parameters is decided; the epoch is ending");
            self.step(Input::Closing);
        }
        if let Some(next) = next {
            tracing::info!(next = next.epoch().0, height = next.anchor.height.0, "the epoch's last height is executed");
            state.epoch_end.next = Some(next);
            // Its votes are waited for.
            self.step(Input::Pending { local: true });
            self.end_if_certified(state);
        }
    }

    /// A certificate was put together.
    pub(super) fn certified(&mut self, vote: HeaderVote, state: &mut Loop) {
        if state.epoch_end.certified.is_none_or(|last| last.height < vote.height) {
            state.epoch_end.certified = Some(vote);
        }
        self.end_if_certified(state);
    }

    /// A certificate over the last header, from a peer. The signatures are verified.
    pub(super) fn last_certified(&mut self, certificate: Box<Certificate>, state: &mut Loop) {
        let vote = certificate.vote;
        drop(self.execution.send(Order::Certified(certificate)));
        self.certified(vote, state);
    }

    fn end_if_certified(&mut self, state: &mut Loop) {
        let (Some(next), Some(vote)) = (&state.epoch_end.next, state.epoch_end.certified) else { return };
        let anchor = next.anchor;
        if vote.height != anchor.height || state.epoch_end.over.is_some() {
            return;
        }
        if vote.header != anchor.header {
            return self.halt(anchor.height, anchor.header, vote.header, state);
        }
        self.status.certificates_stored(anchor.height);
        if self.stays(next) {
            state.epoch_end.over = Some(Instant::now());
        } else if !std::mem::replace(&mut state.epoch_end.leaving, true) {
            tracing::warn!(
                epoch = next.epoch().0,
                "the next epoch has no part for this validator; it serves this one until others have begun it"
            );
            let (next, facts) = (next.clone(), self.facts.clone());
            self.outbox.spawn(async move {
                epochs::has_begun(next.clone()).await;
                // The queue is full only for moments; it blocks one of the runtime's own threads for these.
                drop(tokio::task::spawn_blocking(move || facts.send(Fact::MovedOn(Box::new(next))).is_ok()).await);
            });
        }
    }

    /// Time until this node leaves the epoch that is over; none while it is not over. Its links end with it, so it waits
    /// for what it has sent to arrive: who lacks a vote for the last header would have to ask for its certificate.
    pub(super) fn until_over(&self, state: &Loop) -> Option<Duration> {
        let over = state.epoch_end.over?;
        let farthest = self.linked.iter().filter_map(|peer| state.on_the_wire.get(peer)).max();
        let way = farthest.map_or(Duration::ZERO, |on_the_wire| *on_the_wire + state.signing);
        Some((way * 2).clamp(GRACE_MIN, GRACE_MAX).saturating_sub(over.elapsed()))
    }

    /// Whether the next committee has this validator with its present keys.
    fn stays(&self, next: &EpochStart) -> bool {
        let own = self.checker.committee.authority(self.me).expect("a replica runs in an epoch that it is a member of");
        next.committee.authorities().iter().any(|other| {
            (&other.name, &other.consensus_key, &other.transport_key)
                == (&own.name, &own.consensus_key, &own.transport_key)
        })
    }

    /// Asks for the last header's certificate, in case those who voted have moved on.
    pub(super) fn ask_for_the_end(&mut self, state: &mut Loop) {
        let Some(next) = &state.epoch_end.next else { return };
        let early = state.epoch_end.asked.get_or_insert_with(Instant::now).elapsed() < ASK_EVERY;
        if early || state.epoch_end.over.is_some() || state.epoch_end.leaving {
            return;
        }
        state.epoch_end.asked = Some(Instant::now());
        let (height, header): (Height, Digest) = (next.anchor.height, next.anchor.header);
        let turn = self.now_ms() as usize / ASK_EVERY.as_millis() as usize;
        let Some(peer) = self.linked.iter().nth(turn % self.linked.len().max(1)).copied() else { return };
        let (mesh, checker, facts) = (self.outbox.mesh(), self.checker.clone(), self.facts.clone());
        self.outbox.spawn(async move {
            let body = Request::Commits { from: height, to: height }.to_body();
            let Ok(body) = mesh.request(peer.0, body, PATIENCE).await else { return };
            let wanted = HeaderVote { height, header };
            let found = tokio::task::spawn_blocking(move || answer::certificate(&checker, wanted, &body)).await;
            if let Ok(Some(certificate)) = found {
                // A full queue: it is asked for again.
                drop(facts.try_send(Fact::LastCertified(Box::new(certificate))));
            }
        });
    }

    /// A peer's block is of another epoch. Old ones are on their way from those who are late, and mean nothing.
    pub(super) fn other_epoch(&mut self, peer: AuthorityIndex, epoch: Epoch, state: &mut Loop) {
        if epoch > self.checker.committee.epoch() {
            state.epoch_end.ahead.insert(peer, epoch);
        }
    }

    /// Whether an honest peer is in a later epoch, so that this node lacks commits or the last certificate.
    pub(super) fn is_epoch_behind(&self, state: &Loop) -> bool {
        let committee = &self.checker.committee;
        let stake: u64 = state.epoch_end.ahead.keys().map(|peer| committee.stake(*peer).0).sum();
        state.epoch_end.next.is_none() && stake >= committee.validity().0
    }
}
