//! What the replica says to peers: broadcasts, pushes, answers, and questions whose answers come back as facts.
//!
//! Nothing here waits. A frame for a peer whose queue is full is dropped and counted by the transport; the peer will ask
//! for what it misses.

use crate::replica::blocks::Blocks;
use crate::replica::event::Fact;
use crate::replica::intake::{Checker, OTHER_EPOCH};
use crate::replica::serve::Archive;
use crate::state_sync::snapshots::Snapshots;
use crate::topology::ANSWERS_IN_FLIGHT_MAX;
use crate::wire::{
    self, HEADERS_MAX, HeaderFrame, HighestResponse, PAYLOADS_MAX, PayloadFrame, RESPONSE_BYTES_SOFT, Request,
};
use bytes::Bytes;
use consensus::{Core, HighestBlocks};
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use transport::{Class, Mesh, Reply};
use types::{AuthorityIndex, BlockHeader, BlockRef, Epoch, Payload, Round};

/// How long a peer may take to answer a small question; the core asks others meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// A frame of pushed headers ends here; one more header is at most [`wire::HEADER_BYTES_MAX`].
const PUSH_BYTES_SOFT: usize = 256 << 10;
/// Headers in one answer at most.
const ANSWER_HEADERS_MAX: usize = 256;

/// See the module.
pub struct Outbox {
    me: AuthorityIndex,
    epoch: Epoch,
    mesh: Mesh,
    network: Handle,
    answers: Arc<Semaphore>,
    snapshots: Snapshots,
}

impl Outbox {
    /// Over a running mesh.
    pub fn new(me: AuthorityIndex, epoch: Epoch, mesh: Mesh, network: Handle, snapshots: Snapshots) -> Self {
        Self { me, epoch, mesh, network, answers: Arc::new(Semaphore::new(ANSWERS_IN_FLIGHT_MAX)), snapshots }
    }

    /// The mesh.
    pub fn mesh(&self) -> Mesh {
        self.mesh.clone()
    }

    /// Runs a task on the network's threads.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.network.spawn(task));
    }

    /// An own block to everybody: the header first, and never behind payload bytes.
    pub fn broadcast(&self, header: &BlockHeader, payload: Option<&Payload>) {
        self.drop_full(self.mesh.broadcast(Class::Header, HeaderFrame::Own(header.raw().clone()).to_frame()));
        if let Some(payload) = payload.filter(|payload| !payload.is_empty()) {
            let frame = PayloadFrame { block: header.block_ref(), payload: payload.raw().clone() };
            self.drop_full(self.mesh.broadcast(Class::Payload, frame.to_frame()));
        }
    }

    fn drop_full<T>(&self, sent: Result<T, transport::SendError>) {
        if let Err(error) = sent {
            tracing::debug!(%error, "a frame was not sent");
        }
    }

    /// History that a peer is not known to have, in frames well below the limit of their class.
    pub fn push(&self, to: AuthorityIndex, headers: &[Arc<BlockHeader>]) {
        let (mut frame, mut bytes) = (Vec::new(), 0);
        let send = |frame: &mut Vec<Bytes>| {
            let relayed = HeaderFrame::Relayed(std::mem::take(frame));
            self.drop_full(self.mesh.send(to.0, Class::Header, relayed.to_frame()));
        };
        for header in headers {
            bytes += header.raw().len();
            frame.push(header.raw().clone());
            if bytes > PUSH_BYTES_SOFT || frame.len() == HEADERS_MAX {
                send(&mut frame);
                bytes = 0;
            }
        }
        if !frame.is_empty() {
            send(&mut frame);
        }
    }

    /// Answers a peer: from memory at once, from the log on a blocking thread.
    pub fn answer(
        &self,
        core: &Core,
        blocks: &Blocks,
        archive: &Archive,
        peer: AuthorityIndex,
        request: Request,
        reply: Reply,
    ) {
        let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else {
            return tracing::debug!(peer = peer.0, "too many questions at a time; one is not answered");
        };
        let archive = archive.clone();
        match request {
            Request::Headers { refs, frontier } => {
                let known = core.headers_above(&refs, &frontier, ANSWER_HEADERS_MAX);
                let missing: Vec<_> = refs.into_iter().filter(|wanted| core.header(wanted).is_none()).collect();
                let known: Vec<Bytes> = known.iter().map(|header| header.raw().clone()).collect();
                if missing.is_empty() {
                    send(reply, wire::headers_response(&known));
                } else {
                    self.network.spawn_blocking(move || {
                        let old = archive.headers(&missing).unwrap_or_default();
                        send(reply, wire::headers_response(&[known, old].concat()));
                        drop(permit);
                    });
                }
            }
            Request::Payloads(refs) => {
                let (mut found, mut logged, mut missing, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
                for block in refs {
                    match blocks.entry(&block).map(|entry| (entry.payload.as_ref(), entry.position)) {
                        Some((Some(payload), _)) if bytes <= RESPONSE_BYTES_SOFT => {
                            bytes += payload.raw().len();
                            found.push(PayloadFrame { block, payload: payload.raw().clone() });
                        }
                        Some((Some(_), _)) => {}
                        Some((None, Some(position))) => logged.push((block, position)),
                        _ => missing.push(block),
                    }
                }
                self.network.spawn_blocking(move || {
                    for (block, position) in logged {
                        if bytes <= RESPONSE_BYTES_SOFT
                            && let Ok(payload) = archive.payload_at(position)
                        {
                            bytes += payload.raw().len();
                            found.push(PayloadFrame { block, payload: payload.raw().clone() });
                        }
                    }
                    if bytes <= RESPONSE_BYTES_SOFT {
                        found.extend(archive.payloads(&missing).unwrap_or_default());
                    }
                    send(reply, wire::payloads_response(&found));
                    drop(permit);
                });
            }
            Request::Highest => {
                let (known, epoch) = (core.highest_blocks(peer), self.epoch);
                let raw = |header: Option<Arc<BlockHeader>>| header.map(|header| header.raw().clone());
                let (asker, peer_last) = (raw(known.asker), raw(known.peer));
                if asker.is_some() {
                    return send(reply, HighestResponse { asker, peer: peer_last }.to_body());
                }
                self.network.spawn_blocking(move || {
                    // What is older than the blocks in memory was committed, or is garbage.
                    match archive.last_header(peer, epoch) {
                        Ok(asker) => send(reply, HighestResponse { asker, peer: peer_last }.to_body()),
                        Err(error) => tracing::error!(%error, "a peer's last block could not be read"),
                    }
                    drop(permit);
                });
            }
            Request::State(request) => self.snapshots.answer(&self.network, request, reply),
            // The intake has answered it.
            Request::Attestation(_) => {}
            Request::Commits { from, to } => {
                self.network.spawn_blocking(move || {
                    match archive.commits(from, to) {
                        Ok(response) => send(reply, response.to_body()),
                        Err(error) => tracing::error!(%error, "commits could not be read for a peer"),
                    }
                    drop(permit);
                });
            }
        }
    }

    /// Asks for headers; each that checks comes back as a fact.
    pub fn fetch_headers(
        &self,
        from: AuthorityIndex,
        refs: Vec<BlockRef>,
        frontier: Vec<Round>,
        checker: Checker,
        facts: Sender<Fact>,
    ) {
        let mesh = self.mesh.clone();
        self.spawn(async move {
            let body = Request::Headers { refs, frontier }.to_body();
            let Ok(answer) = mesh.request(from.0, body, PATIENCE).await else { return };
            let checked = wire::parse_headers_response(&answer)
                .map_err(|_| "undecodable_headers")
                .and_then(|headers| headers.into_iter().map(|raw| checker.header(raw)).collect::<Result<Vec<_>, _>>());
            deliver(checked, from, &facts, |header| Fact::Header { header, from });
        });
    }

    /// Asks a peer how far the own chain went; a checked answer comes back as a fact.
    pub fn fetch_highest(&self, from: AuthorityIndex, checker: Checker, facts: Sender<Fact>) {
        let mesh = self.mesh.clone();
        self.spawn(async move {
            let Ok(answer) = mesh.request(from.0, Request::Highest.to_body(), PATIENCE).await else { return };
            let check = |header: Option<Bytes>| header.map(|raw| checker.header(raw)).transpose();
            let checked = HighestResponse::parse(&answer)
                .map_err(|_| "undecodable_highest")
                .and_then(|answer| Ok(HighestBlocks { asker: check(answer.asker)?, peer: check(answer.peer)? }));
            deliver(checked.map(|blocks| vec![blocks]), from, &facts, |blocks| Fact::Highest { peer: from, blocks });
        });
    }

    /// Asks for payloads; each that checks comes back as a fact.
    pub fn fetch_payloads(&self, from: AuthorityIndex, blocks: Vec<BlockRef>, checker: Checker, facts: Sender<Fact>) {
        // The core's requests may be longer than those of payloads are.
        for wanted in blocks.chunks(PAYLOADS_MAX).map(<[BlockRef]>::to_vec) {
            let (mesh, checker, facts) = (self.mesh.clone(), checker.clone(), facts.clone());
            self.spawn(async move {
                let body = Request::Payloads(wanted.clone()).to_body();
                let Ok(answer) = mesh.request(from.0, body, PATIENCE).await else { return };
                let checked =
                    wire::parse_payloads_response(&answer).map_err(|_| "undecodable_payloads").and_then(|frames| {
                        let asked = frames.into_iter().filter(|frame| wanted.contains(&frame.block));
                        asked.map(|frame| checker.payload(frame)).collect::<Result<Vec<_>, _>>()
                    });
                deliver(checked, from, &facts, |received| Fact::Payload { received, from });
            });
        }
    }

    /// Round trips of the links that are up.
    pub fn round_trips(&self) -> Vec<(AuthorityIndex, Duration)> {
        let up = self.mesh.peers().into_iter().filter(|peer| peer.up && peer.index != self.me.0);
        up.map(|peer| (AuthorityIndex(peer.index), Duration::from_micros(peer.rtt_us))).collect()
    }
}

/// Answers. A peer that has gone away asks again when it is back.
fn send(reply: Reply, answer: Bytes) {
    if let Err(error) = reply.send(answer) {
        tracing::debug!(%error, "an answer was not sent");
    }
}

fn deliver<T>(
    checked: Result<Vec<T>, &'static str>,
    peer: AuthorityIndex,
    facts: &Sender<Fact>,
    fact: impl Fn(T) -> Fact,
) {
    match checked {
        Ok(values) => values.into_iter().for_each(|value| drop(facts.try_send(fact(value)))),
        // It has moved on, or not yet.
        Err(OTHER_EPOCH) => {}
        Err(what) => drop(facts.try_send(Fact::Misbehaviour { peer, what })),
    }
}
