//! Simulated links: which are up, when and how often a message arrives, and what its bytes cost at the sender.
//!
//! A cut link says so to both ends after its delay; a *silent* one swallows messages and says nothing, as a wire does
//! before the transport gives up.

use crate::input::HighestBlocks;
use crate::sim::links::Links;
use crate::sim::node::Machine;
use crate::sim::rng::Rng;
use crate::sim::traffic::{MessageKind, weight};
use std::sync::Arc;
use types::{BlockHeader, BlockRef, CommitRecord, Epoch, Height, Round};

/// Of an answer without commits.
const NO_COMMITS: [(&CommitRecord, [&BlockHeader; 0]); 0] = [];

fn plain(headers: &[Arc<BlockHeader>]) -> impl Iterator<Item = &BlockHeader> {
    headers.iter().map(Arc::as_ref)
}

/// What nodes send each other.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Somebody's own new block, with its payload if that came along.
    Block {
        header: Arc<BlockHeader>,
        payload: bool,
    },
    Headers(Arc<Vec<Arc<BlockHeader>>>),
    Payload(BlockRef, u32),
    RequestHeaders(Arc<(Vec<BlockRef>, Vec<Round>)>),
    RequestPayload(Arc<Vec<BlockRef>>),
    RequestCommits(Height),
    RequestHighest,
    Highest(Box<HighestBlocks>),
    Commits(Arc<Vec<(CommitRecord, Vec<Arc<BlockHeader>>)>>),
    /// The certificate over the last header of an era, which names the committee of the next: of this one, counted
    /// from 0.
    NextEra(usize),
    /// What was asked for lies below the log, which begins with this era: the state there, and the certificates up to it.
    State(usize),
}

impl Message {
    /// The frames that it is, with their bytes; `asked` for by the receiver or not.
    pub fn frames(&self, asked: bool) -> [Option<(MessageKind, u64)>; 2] {
        let one = |kind, bytes| [Some((kind, bytes)), None];
        match self {
            Self::Block { header, payload } => {
                let behind = payload.then(|| weight::payload(header.body().payload.bytes));
                [
                    Some((MessageKind::OwnHeader, weight::own_header(header))),
                    behind.map(|bytes| (MessageKind::Payload, bytes)),
                ]
            }
            Self::Headers(headers) if asked => one(MessageKind::HeadersAnswer, weight::headers_answer(plain(headers))),
            Self::Headers(headers) => one(MessageKind::RelayedHeaders, weight::relayed_headers(plain(headers))),
            Self::Payload(_, bytes) if asked => one(MessageKind::PayloadsAnswer, weight::payloads_answer([*bytes])),
            Self::Payload(_, bytes) => one(MessageKind::Payload, weight::payload(*bytes)),
            Self::RequestHeaders(request) => {
                one(MessageKind::HeadersRequest, weight::headers_request(request.0.len(), request.1.len()))
            }
            Self::RequestPayload(blocks) => one(MessageKind::PayloadsRequest, weight::payloads_request(blocks.len())),
            Self::RequestCommits(_) => one(MessageKind::CommitsRequest, weight::COMMITS_REQUEST),
            Self::RequestHighest => one(MessageKind::HighestRequest, weight::HIGHEST_REQUEST),
            Self::Highest(blocks) => {
                let headers = [blocks.asker.as_deref(), blocks.peer.as_deref()];
                one(MessageKind::HighestAnswer, weight::highest_answer(headers))
            }
            Self::Commits(commits) => {
                let commits = commits.iter().map(|(record, headers)| (record, plain(headers)));
                one(MessageKind::CommitsAnswer, weight::commits_answer(commits))
            }
            Self::NextEra(_) | Self::State(_) => one(MessageKind::CommitsAnswer, weight::commits_answer(NO_COMMITS)),
        }
    }

    /// The epoch of the headers in it, if it has any.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Block { header, .. } => Some(header.epoch()),
            Self::Headers(headers) => headers.first().map(|header| header.epoch()),
            _ => None,
        }
    }

    /// Payloads yield to headers on a busy wire.
    pub fn is_bulk(&self) -> bool {
        matches!(self, Self::Payload(..) | Self::Commits(_))
    }
}

/// State of one direction of a link.
#[derive(Clone, Copy, Debug)]
struct Wire {
    links: Links,
    cut: bool,
    silent: bool,
    /// When the last message, and the last payload, arrives.
    last: [u64; 2],
    /// When the receiver hears of the last change of the link.
    told_us: u64,
}

/// How every link stands, without what is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkState {
    wires: Vec<(Links, bool, bool)>,
    side: Vec<u8>,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    size: usize,
    wires: Vec<Wire>,
    /// The side of each node in a partition.
    side: Vec<u8>,
    /// Bytes that a node sends in a second; 0 for any number.
    uplink_bytes_s: u64,
    /// When each node's wire is free for headers, and for payloads.
    free: Vec<[u64; 2]>,
}

impl Network {
    pub fn new(size: usize, links: Links, uplink_bytes_s: u64) -> Self {
        let wire = Wire { links, cut: false, silent: false, last: [0; 2], told_us: 0 };
        Self { size, wires: vec![wire; size * size], side: vec![0; size], uplink_bytes_s, free: vec![[0; 2]; size] }
    }

    /// Takes a link away, or gives it back.
    pub fn set_cut(&mut self, a: Machine, b: Machine, cut: bool) {
        self.wire_mut(a, b).cut = cut;
        self.wire_mut(b, a).cut = cut;
    }

    /// Makes one direction swallow what it is given, or ends that.
    pub fn set_silent(&mut self, from: Machine, to: Machine, silent: bool) {
        self.wire_mut(from, to).silent = silent;
    }

    /// Puts each node on a side; links between sides are down.
    pub fn set_sides(&mut self, side: Vec<u8>) {
        self.side = side;
    }

    /// Changes delays and losses of one direction.
    pub fn set_links(&mut self, from: Machine, to: Machine, links: Links) {
        self.wire_mut(from, to).links = links;
    }

    /// Delays and losses of one direction.
    pub fn links(&self, from: Machine, to: Machine) -> &Links {
        &self.wires[from.index() * self.size + to.index()].links
    }

    /// How every link stands.
    pub fn state(&self) -> NetworkState {
        let wires = self.wires.iter().map(|wire| (wire.links, wire.cut, wire.silent)).collect();
        NetworkState { wires, side: self.side.clone() }
    }

    /// Puts every link back.
    pub fn restore(&mut self, state: &NetworkState) {
        self.side.clone_from(&state.side);
        for (wire, (links, cut, silent)) in self.wires.iter_mut().zip(&state.wires) {
            (wire.links, wire.cut, wire.silent) = (*links, *cut, *silent);
        }
    }

    /// Whether a connection stands.
    pub fn is_up(&self, from: Machine, to: Machine) -> bool {
        from != to
            && !self.wires[from.index() * self.size + to.index()].cut
            && self.side[from.index()] == self.side[to.index()]
    }

    /// When copies of a message sent now arrive: none, one or two; and when those of a payload that follows it do, if
    /// they come apart.
    pub fn arrival(
        &mut self,
        rng: &mut Rng,
        now_us: u64,
        (from, to): (Machine, Machine),
        bytes: u64,
        bulk: bool,
    ) -> [Option<u64>; 2] {
        if !self.is_up(from, to) {
            return [None; 2];
        }
        let sent = self.sent_at(now_us, from, bytes, bulk);
        let wire = &mut self.wires[from.index() * self.size + to.index()];
        let links = wire.links;
        let mut late = 0;
        while links.loss_permille > 0 && rng.chance(links.loss_permille) {
            if !links.retransmit || late > 8 {
                return [None; 2];
            }
            late += 1;
        }
        if wire.silent {
            return [None; 2];
        }
        let once = |wire: &mut Wire, rng: &mut Rng| {
            let extra = if bulk && links.payload_us_max > 0 { rng.between(0, links.payload_us_max) } else { 0 };
            let arrival = sent + extra + links.delay_us(rng) + late * 3 * links.typical_us();
            if links.reorder {
                return arrival;
            }
            let last = &mut wire.last[usize::from(bulk)];
            *last = (*last).max(arrival);
            *last
        };
        let first = once(wire, rng);
        let twice = links.duplicate_permille > 0 && rng.chance(links.duplicate_permille);
        let second = twice.then(|| once(wire, rng));
        [Some(first), second]
    }

    /// When `to` hears that its link to `from` is up or down now: never before it hears of an earlier change.
    pub fn told_us(&mut self, now_us: u64, from: Machine, to: Machine) -> u64 {
        let wire = self.wire_mut(from, to);
        wire.told_us = wire.told_us.max(now_us + wire.links.typical_us());
        wire.told_us
    }

    /// Whether payloads come with their headers between two nodes.
    pub fn is_inline(&self, from: Machine, to: Machine) -> bool {
        self.uplink_bytes_s == 0 && self.links(from, to).payload_us_max == 0
    }

    /// When the last byte leaves the sender.
    fn sent_at(&mut self, now_us: u64, from: Machine, bytes: u64, bulk: bool) -> u64 {
        let Some(takes_us) = (bytes * 1_000_000).checked_div(self.uplink_bytes_s) else { return now_us };
        let [headers, payloads] = &mut self.free[from.index()];
        if bulk {
            *payloads = (*payloads).max(*headers).max(now_us) + takes_us;
            *payloads
        } else {
            *headers = (*headers).max(now_us) + takes_us;
            *headers
        }
    }

    fn wire_mut(&mut self, from: Machine, to: Machine) -> &mut Wire {
        &mut self.wires[from.index() * self.size + to.index()]
    }
}
