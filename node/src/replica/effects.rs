//! Carries out what the core asks for, in its order: own blocks, sending, asking, logging.

use crate::config::Restraint;
use crate::ingress;
use crate::records;
use crate::replica::blocks::Entry;
use crate::replica::contents::Contents;
use crate::replica::driver::{Loop, Replica};
use crate::replica::event::Failure;
use crate::status::State;
use crate::topology::EXECUTION_LAG_MAX;
use consensus::{Effect, Input, Misbehaviour};
use std::sync::Arc;
use std::time::Instant;
use storage::log::LogPosition;
use types::{BlockHeader, BlockRef, Evidence, Payload, Round};

impl Replica {
    /// Carries out effects until there are none.
    pub(super) fn carry_out(&mut self, state: &mut Loop) -> Result<(), Failure> {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.effect(effect, state)?;
            }
        }
        Ok(())
    }

    /// Once the machine is well again, the block that it was not to make.
    pub(super) fn propose_what_was_withheld(&mut self, state: &mut Loop) -> Result<(), Failure> {
        match state.withheld.take() {
            Some(effect) => self.effect(effect, state),
            None => Ok(()),
        }
    }

    pub(super) fn effect(&mut self, effect: Effect, state: &mut Loop) -> Result<(), Failure> {
        match effect {
            // As behind a slow disk: the core waits for its block and follows the others meanwhile.
            Effect::Propose { .. } if self.status.restraint() >= Restraint::Silence => state.withheld = Some(effect),
            Effect::Propose { round, ancestors, misbehaviour, end_of_epoch } => {
                self.propose(round, ancestors, misbehaviour, end_of_epoch, state)?
            }
            Effect::Broadcast { header } => {
                let payload = self.payload(&header.block_ref())?;
                self.outbox.broadcast(&header, payload.as_ref());
            }
            Effect::Push { to, headers } => self.outbox.push(to, &headers),
            Effect::Accepted { header } => self.accepted(&header)?,
            Effect::Commit { record, headers, checkpoint, last_of_epoch } => {
                self.commit(record, &headers, checkpoint, last_of_epoch, state)?
            }
            Effect::Dropped { block } => {
                if let Some(entry) = self.blocks.entry_mut(&block) {
                    self.pool.put_back(std::mem::take(&mut entry.origins));
                    self.step(Input::Pending { local: true });
                }
            }
            // What commits bring is not fetched block by block as well. The core asks again if they bring nothing.
            Effect::RequestHeaders { .. } | Effect::RequestPayload { .. } if self.is_catching_up(state) => {}
            Effect::RequestHeaders { from, refs, frontier } => {
                self.outbox.fetch_headers(from, refs, frontier, self.checker.clone(), self.facts.clone());
            }
            Effect::RequestPayload { from, blocks } => {
                let (held, missing): (Vec<_>, Vec<_>) =
                    blocks.into_iter().partition(|block| self.blocks.entry(block).is_some_and(Entry::is_whole));
                held.into_iter().for_each(|block| self.step(Input::PayloadReady { block }));
                if !missing.is_empty() {
                    self.outbox.fetch_payloads(from, missing, self.checker.clone(), self.facts.clone());
                }
            }
            Effect::ClockAlarm { offset_ms: Some(offset_ms) } => {
                tracing::error!(
                    offset_ms,
                    "the clocks of a quorum differ from this one's: no blocks are made until it is set"
                );
            }
            Effect::ClockAlarm { offset_ms: None } => tracing::warn!("the clock agrees with a quorum again"),
            Effect::RequestHighest { from } => {
                self.outbox.fetch_highest(from, self.checker.clone(), self.facts.clone());
            }
            Effect::Reclaimed { above } => self.reclaimed(above),
            Effect::Lagging { .. } => state.lag.said = Some(Instant::now()),
            Effect::AdoptRefused { height, reason } => {
                tracing::warn!(height = height.0, %reason, "a fetched commit did not fit");
            }
            Effect::Misbehaviour { peer, what } => {
                tracing::warn!(peer = peer.0, %what, "a peer broke the protocol");
                self.status.misbehaviour(peer, label(&what));
            }
            Effect::Halted { first, second } => {
                state.halted = true;
                tracing::error!(%first, %second, "two leaders of one slot are committed: more than f validators are faulty, output is halted");
                self.status.set_state(State::Halted(format!("leaders {first} and {second} are both committed")));
            }
        }
        Ok(())
    }

    pub(super) fn propose(
        &mut self,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        end_of_epoch: bool,
        state: &mut Loop,
    ) -> Result<(), Failure> {
        if state.halted {
            // Without an answer the core asks for no other block: a node whose state is wrong says nothing more.
            return Ok(());
        }
        state.proposed_at = Some(Instant::now());
        let lag = self.tip.0.0 - state.executed.0;
        let transactions = lag <= EXECUTION_LAG_MAX;
        let draft = self.proposer.draft(round, ancestors, misbehaviour, ingress::now(), transactions, end_of_epoch);
        if !draft.expired.is_empty() {
            self.receipts.refuse(draft.expired, types::Reject::Expired);
        }
        let block = draft.proposal.statement.block_ref();
        let (signer, proposal, status) = (self.signer.clone(), draft.proposal.clone(), Arc::clone(&self.status));
        // Durable before it is signed: the log's thread hands it on.
        let durable = move |result: Result<_, _>| match result {
            Ok(_) => drop(signer.try_send(proposal)),
            Err(fault) => status.log_failed(fault),
        };
        let parts: [&[u8]; 2] = [&draft.proposal.to_part(), draft.payload.raw()];
        let position = self.log.append(records::PROPOSAL, &parts, Box::new(durable))?;
        self.segments.note(position.segment, round);
        // The signature comes later; until then the entry stands under a header that nobody sees.
        let unsigned = records::unsigned_header(&draft.proposal);
        let transactions = draft.pending.iter().map(|pending| Arc::clone(&pending.transaction)).collect();
        let mut entry = Entry::bare(Arc::new(unsigned));
        entry.payload = Some(draft.payload);
        entry.contents = Some(Arc::new(Contents::verified(transactions)));
        entry.position = Some(position);
        entry.origins = draft.pending;
        self.blocks.put(block, entry);
        if self.pool.len() == 0 {
            self.step(Input::Pending { local: false });
        }
        Ok(())
    }

    /// A block entered the DAG: it goes to the log. An own one, and one that was read from the log, is there already,
    /// unless it is an own one that a lost disk held and peers gave back.
    pub(super) fn accepted(&mut self, header: &Arc<BlockHeader>) -> Result<(), Failure> {
        let block = header.block_ref();
        if self.blocks.entry(&block).is_some_and(|entry| entry.position.is_some()) {
            return Ok(());
        }
        let payload = self.payload(&block)?.unwrap_or_else(Payload::empty);
        let position = self.log_block(header, &payload)?;
        if let Some(entry) = self.blocks.entry_mut(&block) {
            entry.position = Some(position);
        }
        Ok(())
    }

    pub(super) fn log_block(&mut self, header: &BlockHeader, payload: &Payload) -> Result<LogPosition, Failure> {
        let position = self.log.append_quiet(records::BLOCK, &[&records::block_part(header), payload.raw()])?;
        self.segments.note(position.segment, header.round());
        Ok(position)
    }
}

/// Labels of the core's findings, for counters.
fn label(what: &Misbehaviour) -> &'static str {
    match what {
        Misbehaviour::InvalidHeader { .. } => "invalid_header",
        Misbehaviour::Equivocation(_) => "equivocation",
        Misbehaviour::InvalidTransaction(_) => "invalid_transaction",
        Misbehaviour::Flood { .. } => "flood",
        Misbehaviour::ForeignBlock { .. } => "foreign_block",
    }
}
