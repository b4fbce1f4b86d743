//! What a committee says and checks, counted: messages and bytes by kind, and signatures that have to be verified.
//!
//! Bytes are those of the node's frames, requests and answers, which `node/src/wire.rs` encodes and whose tests compare
//! them with [`weight`]. Deliberately absent: what lies below, which is the prefix of each frame (4 bytes), QUIC, UDP and
//! IP; and of fetched commits the parts that ordering does not know, which are ledger header, outcomes and certificate.

use crate::sim::held::Held;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Round};

/// Encoded bytes of messages.
pub mod weight {
    use types::{BlockHeader, CommitRecord, Digest, Encode};

    /// A block reference: round, author, digest.
    pub const REF: u64 = 8 + 2 + Digest::ENCODED_LEN as u64;
    /// A vote for a ledger header: height, digest.
    pub const VOTE: u64 = 8 + Digest::ENCODED_LEN as u64;
    const TAG: u64 = 1;
    const LENGTH: u64 = 4;

    /// The frame with an own new header.
    pub fn own_header(header: &BlockHeader) -> u64 {
        TAG + header.raw().len() as u64
    }

    /// The frame with a payload of so many bytes.
    pub fn payload(bytes: u32) -> u64 {
        REF + u64::from(bytes)
    }

    /// A frame of headers that are passed on.
    pub fn relayed_headers<'a>(headers: impl IntoIterator<Item = &'a BlockHeader>) -> u64 {
        TAG + headers_answer(headers)
    }

    /// The answer to a request for headers.
    pub fn headers_answer<'a>(headers: impl IntoIterator<Item = &'a BlockHeader>) -> u64 {
        LENGTH + headers.into_iter().map(|header| LENGTH + header.raw().len() as u64).sum::<u64>()
    }

    /// A request for so many headers, with the frontier of so many authors.
    pub fn headers_request(refs: usize, authors: usize) -> u64 {
        TAG + LENGTH + refs as u64 * REF + LENGTH + authors as u64 * 8
    }

    /// A request for so many payloads.
    pub fn payloads_request(refs: usize) -> u64 {
        TAG + LENGTH + refs as u64 * REF
    }

    /// The answer with payloads of so many bytes each.
    pub fn payloads_answer(payloads: impl IntoIterator<Item = u32>) -> u64 {
        LENGTH + payloads.into_iter().map(|bytes| LENGTH + payload(bytes)).sum::<u64>()
    }

    /// A request for a range of commits.
    pub const COMMITS_REQUEST: u64 = TAG + 8 + 8;

    /// The answer to that, as far as ordering knows it: records, headers and payloads.
    pub fn commits_answer<'a, H>(commits: impl IntoIterator<Item = (&'a CommitRecord, H)>) -> u64
    where
        H: IntoIterator<Item = &'a BlockHeader>,
    {
        let block =
            |header: &BlockHeader| LENGTH + header.raw().len() as u64 + LENGTH + u64::from(header.body().payload.bytes);
        let commit = |(record, headers): (&CommitRecord, H)| {
            record.to_bytes().len() as u64 + headers.into_iter().map(block).sum::<u64>()
        };
        8 + 8 + LENGTH + commits.into_iter().map(commit).sum::<u64>()
    }

    /// A request of a validator without its disk.
    pub const HIGHEST_REQUEST: u64 = TAG;

    /// The answer to that.
    pub fn highest_answer(headers: [Option<&BlockHeader>; 2]) -> u64 {
        headers.into_iter().map(|header| TAG + header.map_or(0, |header| LENGTH + header.raw().len() as u64)).sum()
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// The sender's own new header.
    OwnHeader,
    /// The payload behind it, or behind a header that is passed on.
    Payload,
    /// Headers of others that the receiver is not known to have.
    RelayedHeaders,
    /// A question for headers.
    HeadersRequest,
    /// What answers it.
    HeadersAnswer,
    /// A question for payloads.
    PayloadsRequest,
    /// What answers it.
    PayloadsAnswer,
    /// A question for commits.
    CommitsRequest,
    /// What answers it.
    CommitsAnswer,
    /// A question how far the own chain went.
    HighestRequest,
    /// What answers it.
    HighestAnswer,
}

impl MessageKind {
    /// All of them, each with its name, in the order of the declaration.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::OwnHeader, "own-headers"),
        (Self::Payload, "payloads"),
        (Self::RelayedHeaders, "relayed-headers"),
        (Self::HeadersRequest, "headers-requests"),
        (Self::HeadersAnswer, "headers-answers"),
        (Self::PayloadsRequest, "payloads-requests"),
        (Self::PayloadsAnswer, "payloads-answers"),
        (Self::CommitsRequest, "commits-requests"),
        (Self::CommitsAnswer, "commits-answers"),
        (Self::HighestRequest, "highest-requests"),
        (Self::HighestAnswer, "highest-answers"),
    ];
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub messages: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

/// Signatures that have to be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// One for each header that a node sees for the first time.
    pub headers: u64,
    /// Headers that came once more. A driver that remembers what it has checked checks none of them.
    pub headers_again: u64,
    /// One for each transaction of each block that a node accepts, its own among them.
    pub transactions: u64,
}

/// Everything that all nodes have sent and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    sent: [Amount; MessageKind::ALL.len()],
    /// What was checked.
    pub checks: Checks,
}

impl Traffic {
    /// A message was sent, delivered or not.
    pub(crate) fn send(&mut self, kind: MessageKind, bytes: u64) {
        self.sent[kind as usize] += Amount { messages: 1, bytes };
    }

    /// What was sent of a kind.
    pub fn of(&self, kind: MessageKind) -> Amount {
        self.sent[kind as usize]
    }

    /// What was sent of all kinds.
    pub fn total(&self) -> Amount {
        self.sent.into_iter().fold(Amount::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }

    /// What came after an earlier count of the same simulation.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = *self;
        later.sent.iter_mut().zip(earlier.sent).for_each(|(amount, before)| *amount -= before);
        later.checks.headers -= earlier.checks.headers;
        later.checks.headers_again -= earlier.checks.headers_again;
        later.checks.transactions -= earlier.checks.transactions;
        later
    }
}

/// Which headers a node has seen, as far back as it matters.
#[derive(Debug, Default)]
pub(crate) struct SeenHeaders(Held<()>);

impl SeenHeaders {
    /// A node is given headers by a peer.
    pub fn see(&mut self, me: AuthorityIndex, header: &Arc<BlockHeader>, checks: &mut Checks) {
        let block = header.block_ref();
        if block.author == me || self.0.contains(&block) {
            checks.headers_again += 1;
        } else {
            self.0.insert(block, ());
            checks.headers += 1;
        }
    }

    /// Blocks up to this round are garbage.
    pub fn forget_through(&mut self, round: Round) {
        self.0.forget_through(round);
    }
}
