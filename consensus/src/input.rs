//! What a core can be told. Facts only: nothing here asks for anything.

use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Evidence};

/// A fact from the driver.
#[derive(Clone, Debug)]
pub enum Input {
    /// A header arrived. The driver has verified its signature and those of its evidence, and holds it back while its
    /// timestamp is more than 500 ms ahead of the wall clock; every other check of CONSENSUS.md §2.2 is the core's.
    Header {
        /// The header.
        header: Arc<BlockHeader>,
        /// The peer that sent it, not always its author.
        from: AuthorityIndex,
    },
    /// The payload of a block is here and matches its header's descriptor. Never needed for an empty payload; may come
    /// before the header. A driver that holds a payload when [`Effect::RequestPayload`](crate::Effect) asks for it
    /// answers with this again.
    PayloadReady {
        /// The block.
        block: BlockRef,
    },
    /// The own block asked for by [`Effect::Propose`](crate::Effect) is durable and signed.
    Proposed {
        /// The block's header.
        header: Arc<BlockHeader>,
    },
    /// Whether transactions, or votes for headers with transactions in them, wait here for a block.
    Pending {
        /// Whether something waits.
        local: bool,
    },
    /// A change of committee or parameters was decided: execution has seen it, or found it in the state after a restart.
    /// Own blocks carry the mark of the epoch's end from now on.
    Closing,
    /// A commit that the driver fetched and checked against a certificate. Applied exactly like an own decision, in
    /// order of height; payloads are known to the driver.
    Adopt {
        /// The commit.
        record: CommitRecord,
        /// Headers of its blocks; those in the DAG may be left out.
        headers: Vec<Arc<BlockHeader>>,
    },
    /// A peer asked for headers. The driver answers it with [`Core::headers_above`](crate::Core::headers_above) and from
    /// its log; the core learns which links are bad.
    Asked {
        /// The peer.
        peer: AuthorityIndex,
        /// What it asked for.
        refs: Vec<BlockRef>,
    },
    /// A link to a peer is up.
    PeerUp {
        /// The peer.
        peer: AuthorityIndex,
    },
    /// A link to a peer is down.
    PeerDown {
        /// The peer.
        peer: AuthorityIndex,
    },
    /// A measurement for a peer: half its round trip plus its reported sync and signing time.
    Rtt {
        /// The peer.
        peer: AuthorityIndex,
        /// In microseconds.
        one_way_us: u64,
    },
    /// A peer's signed block holds an invalid transaction: the driver's finding, with everything verified.
    Evidence {
        /// The proof.
        evidence: Box<Evidence>,
    },
    /// A peer's wall clock was compared with the own one.
    Clock {
        /// The peer.
        peer: AuthorityIndex,
        /// Its clock less the own one, in milliseconds: the timestamp of a header that came from its author straight after
        /// it was made, plus half a round trip, less the time of arrival.
        offset_ms: i64,
    },
    /// The own wall clock was set, as a clock that cannot be set shows. Told before anything that is measured by it since.
    ClockStepped {
        /// How far forward, in milliseconds; negative for back.
        by_ms: i64,
    },
    /// A peer answered [`Effect::RequestHighest`](crate::Effect); signatures are verified.
    Highest {
        /// The peer.
        peer: AuthorityIndex,
        /// What it said.
        blocks: HighestBlocks,
    },
    /// The operator takes it on himself that own blocks may be signed twice, and has the core propose without the answers
    /// that are missing.
    AcceptLostDisk,
    /// Time passed; due when [`Core::next_timer`](crate::Core::next_timer) is reached, harmless at any time.
    Tick,
}

/// What a validator tells a peer that has lost its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HighestBlocks {
    /// The asker's highest block that the answering validator holds.
    pub asker: Option<Arc<BlockHeader>>,
    /// The answering validator's last own block.
    pub peer: Option<Arc<BlockHeader>>,
}
