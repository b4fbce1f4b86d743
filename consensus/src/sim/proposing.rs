//! Own blocks: what a simulated node puts into them, and the way over its disk and its signer.

use crate::sim::adversary::Draft;
use crate::sim::disk::Record;
use crate::sim::node::{OwnBlock, Place};
use crate::sim::simulation::{Event, Simulation};
use types::{BlockRef, Evidence, Round};

impl Simulation {
    /// Makes the own block, and has it synced and signed. Returns whether transactions are left for the next one.
    pub(crate) fn propose(
        &mut self,
        at: Place,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        end_of_epoch: bool,
    ) -> bool {
        let now_us = self.now_us;
        let timestamp_ms = self.nodes[at.0].clock.wall_ms(now_us);
        let mut draft = Draft { round, ancestors, misbehaviour, timestamp_ms };
        self.as_adversary(at, |adversary, view| adversary.propose(view, &mut draft));
        let Draft { round, ancestors, misbehaviour, timestamp_ms } = draft;
        let (open, bytes, sync_us) = (self.load, self.scenario.transaction_bytes, self.nodes[at.0].devices.sync_us);
        let vote = self.end_vote(at);
        let node = &mut self.nodes[at.0];
        node.clients.arrive(now_us, open);
        let room = (node.config.parameters.block_payload_bytes_max / (bytes + 4).max(1)).max(1);
        let room = if end_of_epoch { 0 } else { room.min(node.config.parameters.block_transactions_max) as usize };
        let left = node.clients.waiting.split_off(room.min(node.clients.waiting.len()));
        let transactions = std::mem::replace(&mut node.clients.waiting, left);
        node.nonce += 1;
        let nonce = if transactions.is_empty() { 0 } else { node.nonce };
        let payload = self.scenario.keys.payload(transactions.len() as u32, bytes);
        let keys = &self.scenario.keys;
        let header = if end_of_epoch {
            keys.last_block_with(&node.config, round, ancestors, misbehaviour, timestamp_ms, vote)
        } else {
            keys.block_with(&node.config, round, ancestors, misbehaviour, timestamp_ms, nonce, payload)
        };
        if !transactions.is_empty() {
            let own = OwnBlock { made_us: now_us, submitted_us: transactions };
            node.clients.in_flight.insert(header.block_ref(), own);
            node.payloads.insert(header.block_ref(), ());
        }
        let length = node.disk.append(now_us, Record::Proposed(header.clone()));
        node.proposal = Some(header);
        let left = !node.clients.waiting.is_empty();
        let next = (node.clients.period_us > 0 && !left).then_some(node.clients.next_us);
        self.schedule(now_us + sync_us, at, Event::Synced { length });
        if let Some(next) = next {
            self.schedule(next.max(now_us), at, Event::Submit);
        }
        left || vote.is_some()
    }
}
