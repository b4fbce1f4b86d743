//! The intake: decodes and checks what peers send, on a thread of its own, so that the replica only sees values.
//!
//! Here end: bytes that do not decode, headers with wrong signatures, blocks relayed as if they were the sender's own,
//! and payloads over the limits. What needs history is the consensus core's matter.

use crate::machines::{Asked, Door};
use crate::replica::contents::Contents;
use crate::replica::event::{Fact, ReceivedPayload};
use crate::wire::{HeaderFrame, PayloadFrame, Request};
use bytes::Bytes;
use crossbeam_channel::Sender;
use std::sync::Arc;
use transport::{Class, MeshEvent};
use types::{AuthorityIndex, BlockHeader, ChainId, Committee, Epoch, Evidence, KnownCertificates, Parameters, Payload};

/// Checks that need the epoch's committee and parameters and nothing else. Shared by the intake and by those who ask peers.
#[derive(Clone)]
pub struct Checker {
    /// The ledger.
    pub chain: ChainId,
    /// The committee.
    pub committee: Arc<Committee>,
    /// Limits of the epoch.
    pub parameters: Parameters,
    /// Epoch key certificates that hold.
    certificates: Arc<KnownCertificates>,
}

/// Why bytes of a peer were not taken: the label of its misbehaviour.
pub type Refused = &'static str;

/// A header of another epoch: no misbehaviour, peers do not move on at the same moment.
pub const OTHER_EPOCH: Refused = "header_of_another_epoch";

impl Checker {
    /// For the blocks of an epoch.
    pub fn new(chain: ChainId, committee: Arc<Committee>, parameters: Parameters) -> Self {
        Self { chain, committee, parameters, certificates: Arc::default() }
    }

    /// A header whose author is in the committee and whose signature verifies.
    pub fn header(&self, raw: Bytes) -> Result<Arc<BlockHeader>, Refused> {
        let header = BlockHeader::parse(&self.chain, raw).map_err(|_| "undecodable_header")?;
        if header.epoch() != self.committee.epoch() {
            return Err(OTHER_EPOCH);
        }
        let author = self.committee.authority(header.author()).ok_or("unknown_author")?;
        self.certificates
            .verify(header.signature(), header.statement(), &author.consensus_key)
            .map_err(|_| "header_signature")?;
        header.body().misbehaviour.iter().try_for_each(|evidence| self.evidence(evidence))?;
        Ok(Arc::new(header))
    }

    /// Evidence whose signatures verify and whose transaction is invalid: nobody is accused by hearsay.
    fn evidence(&self, evidence: &Evidence) -> Result<(), Refused> {
        let culprit = self.committee.authority(evidence.culprit()).ok_or("evidence_unknown_author")?;
        for (statement, signature) in evidence.signed() {
            signature.verify(statement, &culprit.consensus_key).map_err(|_| "evidence_signature")?;
        }
        match evidence {
            Evidence::InvalidTransaction(proof) if !proof.is_invalid(&self.chain) => Err("evidence_valid_transaction"),
            Evidence::InvalidTransaction(_) | Evidence::Equivocation { .. } => Ok(()),
        }
    }

    /// A payload within the limits, hashed and parsed. The cost is the sender's to cause, so it is bounded by the limits.
    pub fn payload(&self, frame: PayloadFrame) -> Result<ReceivedPayload, Refused> {
        if frame.payload.len() > self.parameters.block_payload_bytes_max as usize {
            return Err("payload_too_large");
        }
        let payload = Payload::parse(frame.payload, self.parameters.block_transactions_max as usize)
            .map_err(|_| "undecodable_payload")?;
        let contents = Arc::new(Contents::parse(&self.chain, &payload));
        Ok(ReceivedPayload { block: frame.block, descriptor: payload.descriptor(), payload, contents })
    }
}

/// Runs until the mesh or the replica is gone.
pub fn run(checker: &Checker, mut door: Door, mut asked: Asked, replica: &Sender<Fact>) {
    while let Some(event) = door.next() {
        let facts = match event {
            MeshEvent::Up { peer } => vec![Fact::PeerUp(AuthorityIndex(peer))],
            MeshEvent::Down { peer, .. } => vec![Fact::PeerDown(AuthorityIndex(peer))],
            MeshEvent::Frame { peer, class, bytes } => {
                let peer = AuthorityIndex(peer);
                frame(checker, peer, class, bytes.clone()).unwrap_or_else(|what| match what {
                    OTHER_EPOCH => {
                        epoch_of(checker, &bytes).map(|epoch| Fact::OtherEpoch { peer, epoch }).into_iter().collect()
                    }
                    what => vec![Fact::Misbehaviour { peer, what }],
                })
            }
            MeshEvent::Request { peer, body, reply } => {
                let peer = AuthorityIndex(peer);
                match Request::parse(&body) {
                    Ok(Request::Attestation(nonce)) => {
                        asked.answer(peer, nonce, reply);
                        vec![]
                    }
                    Ok(request) => vec![Fact::Request { peer, request, reply }],
                    Err(_) => vec![Fact::Misbehaviour { peer, what: "undecodable_request" }],
                }
            }
        };
        for fact in facts {
            if replica.send(fact).is_err() {
                return;
            }
        }
    }
}

/// The epoch of an own block that a peer sent; of relayed ones nothing is said.
fn epoch_of(checker: &Checker, frame: &Bytes) -> Option<Epoch> {
    let HeaderFrame::Own(raw) = HeaderFrame::parse(frame).ok()? else { return None };
    Some(BlockHeader::parse(&checker.chain, raw).ok()?.epoch())
}

fn frame(checker: &Checker, peer: AuthorityIndex, class: Class, bytes: Bytes) -> Result<Vec<Fact>, Refused> {
    match class {
        Class::Header => match HeaderFrame::parse(&bytes).map_err(|_| "undecodable_frame")? {
            HeaderFrame::Own(raw) => {
                let header = checker.header(raw)?;
                // Only the author may send a block as its own: a relay cannot dress up as the source.
                if header.author() == peer {
                    Ok(vec![Fact::Header { header, from: peer }])
                } else {
                    Err("block_of_another_as_own")
                }
            }
            HeaderFrame::Relayed(headers) => {
                let check = |raw| checker.header(raw).map(|header| Fact::Header { header, from: peer });
                headers.into_iter().map(check).collect()
            }
        },
        Class::Payload => {
            let frame = PayloadFrame::parse(&bytes).map_err(|_| "undecodable_frame")?;
            // Payloads of others come only as answers to requests.
            if frame.block.author == peer {
                Ok(vec![Fact::Payload { received: checker.payload(frame)?, from: peer }])
            } else {
                Err("payload_of_another")
            }
        }
        Class::Sync => Err("unexpected_class"),
    }
}

#[cfg(test)]
mod tests;
