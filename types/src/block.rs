//! Blocks of the DAG: a small signed header that travels first, and a payload of transactions that follows apart.
//!
//! A validator signs one [`RoundStatement`] a round. The block's digest is the digest of that statement, without the
//! signature, so that signing again with a randomised algorithm is no equivocation (CONSENSUS.md §0.1). The chain id is
//! part of the statement and not of the wire format: a header read for another chain simply does not verify.
//!
//! The digest of a body covers the digest of its proofs of misbehaviour, not the proofs themselves, so that a proof against
//! a block can show that block's body without the proofs that it holds in turn ([`crate::evidence`]).

use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use crate::digest::{ChainId, Digest, Hasher, SigningMessage};
use crate::epoch_key::StatementSignature;
use crate::evidence::Evidence;
use crate::merkle::{self, MerkleProof};
use crate::units::{AuthorityIndex, Epoch, Height, Round, TimestampMs};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Version of the header's encoding; 2 has the mark of the end of an epoch.
const VERSION: u8 = 2;
/// Domains of the digests that a statement holds.
const BODY_DOMAIN: &str = "stele/block-body/2";
const MISBEHAVIOUR_DOMAIN: &str = "stele/misbehaviour/1";
const VOTES_DOMAIN: &str = "stele/votes/1";

/// Most ancestors: one for each member of the largest committee.
pub const ANCESTORS_MAX: usize = crate::committee::COMMITTEE_MAX;
/// Most header votes in one block.
pub const VOTES_MAX: usize = 100;
/// Most proofs of misbehaviour in one block.
pub const EVIDENCE_MAX: usize = 8;
/// Most payload lanes; none are used yet.
pub const LANES_MAX: usize = 64;
/// Most blocks that one commit can order.
pub const COMMIT_BLOCKS_MAX: usize = 1 << 20;

/// Names a block: its round, its author, and the digest of its statement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// Round of the block.
    pub round: Round,
    /// Who made it.
    pub author: AuthorityIndex,
    /// Digest of its [`RoundStatement`].
    pub digest: Digest,
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{:?}", self.author, self.round, self.digest)
    }
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Encode for BlockRef {
    fn encode(&self, out: &mut Vec<u8>) {
        self.round.encode(out);
        self.author.encode(out);
        self.digest.encode(out);
    }
}

impl Decode for BlockRef {
    const ENCODED_LEN_MIN: usize = 8 + 2 + Digest::ENCODED_LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            round: Round::decode(reader)?,
            author: AuthorityIndex::decode(reader)?,
            digest: Digest::decode(reader)?,
        })
    }
}

/// A vote for the ledger header of a height, carried in a block and covered by its one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderVote {
    /// Height of the header.
    pub height: Height,
    /// Digest of the header.
    pub header: Digest,
}

impl Encode for HeaderVote {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.header.encode(out);
    }
}

impl Decode for HeaderVote {
    const ENCODED_LEN_MIN: usize = 8 + Digest::ENCODED_LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { height: Height::decode(reader)?, header: Digest::decode(reader)? })
    }
}

/// Digest of a list of votes, as a [`RoundStatement`] holds it.
pub fn votes_digest(votes: &[HeaderVote]) -> Digest {
    let mut encoded = Vec::with_capacity(4 + votes.len() * (8 + Digest::ENCODED_LEN));
    put_list(&mut encoded, votes);
    Hasher::new(VOTES_DOMAIN).with(&encoded).finish()
}

/// The one thing that a validator signs in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundStatement {
    /// The ledger.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Epoch,
    /// The round.
    pub round: Round,
    /// Who signs.
    pub author: AuthorityIndex,
    /// Digest of the [`BlockBody`].
    pub body_digest: Digest,
    /// Digest of the list of [`HeaderVote`]s.
    pub votes_digest: Digest,
}

impl RoundStatement {
    /// The block's digest.
    pub fn digest(&self) -> Digest {
        Hasher::new("stele/round-statement/1").with_encoded(self).finish()
    }

    /// What is signed.
    pub fn message(&self) -> SigningMessage {
        SigningMessage::round(&self.digest())
    }

    /// The reference to the block that this statement makes.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { round: self.round, author: self.author, digest: self.digest() }
    }
}

impl Encode for RoundStatement {
    fn encode(&self, out: &mut Vec<u8>) {
        self.chain.encode(out);
        self.epoch.encode(out);
        self.round.encode(out);
        self.author.encode(out);
        self.body_digest.encode(out);
        self.votes_digest.encode(out);
    }
}

impl Decode for RoundStatement {
    const ENCODED_LEN_MIN: usize = 8 + 8 + 2 + 3 * Digest::ENCODED_LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            chain: ChainId::decode(reader)?,
            epoch: Epoch::decode(reader)?,
            round: Round::decode(reader)?,
            author: AuthorityIndex::decode(reader)?,
            body_digest: Digest::decode(reader)?,
            votes_digest: Digest::decode(reader)?,
        })
    }
}

/// What a header says of its payload, which travels apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadDescriptor {
    /// Merkle root over the transactions' raw bytes.
    pub root: Digest,
    /// Length of the encoded payload in bytes; 0 for an empty one, which is never sent.
    pub bytes: u32,
    /// Number of transactions.
    pub count: u32,
}

impl PayloadDescriptor {
    /// Of a block without transactions.
    pub fn empty() -> Self {
        Payload::empty().descriptor()
    }

    /// Whether there is nothing to send or wait for.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Encode for PayloadDescriptor {
    fn encode(&self, out: &mut Vec<u8>) {
        self.root.encode(out);
        self.bytes.encode(out);
        self.count.encode(out);
    }
}

impl Decode for PayloadDescriptor {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { root: Digest::decode(reader)?, bytes: u32::decode(reader)?, count: u32::decode(reader)? })
    }
}

/// Everything of a header but its place and its votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBody {
    /// The author's own last block first, then at most one of each other author; all of lower rounds.
    pub ancestors: Vec<BlockRef>,
    /// The author's clock.
    pub timestamp: TimestampMs,
    /// What the payload is.
    pub payload: PayloadDescriptor,
    /// Roots of payload lanes; empty until shards are spread over hosts.
    pub lane_roots: Vec<Digest>,
    /// Proofs against other validators.
    pub misbehaviour: Vec<Evidence>,
    /// The author has seen a change of committee or parameters decided, and proposes no more transactions in this epoch
    /// (CONSENSUS.md §2.11).
    pub end_of_epoch: bool,
}

impl BlockBody {
    /// Digest, as a [`RoundStatement`] holds it.
    pub fn digest(&self) -> Digest {
        self.digest_with(&self.misbehaviour_digest())
    }

    /// Digest of the proofs alone.
    pub(crate) fn misbehaviour_digest(&self) -> Digest {
        let mut encoded = Vec::new();
        put_list(&mut encoded, &self.misbehaviour);
        misbehaviour_digest(&encoded)
    }

    /// Digest of the body that has everything of this one but proofs with this digest.
    pub(crate) fn digest_with(&self, misbehaviour: &Digest) -> Digest {
        let mut content = Vec::with_capacity(128 + self.ancestors.len() * 48);
        self.encode_content(&mut content);
        body_digest(&content, misbehaviour)
    }

    /// Everything but the proofs.
    pub(crate) fn encode_content(&self, out: &mut Vec<u8>) {
        put_list(out, &self.ancestors);
        self.timestamp.encode(out);
        self.payload.encode(out);
        put_list(out, &self.lane_roots);
        out.push(self.end_of_epoch.into());
    }

    /// What [`Self::encode_content`] wrote, without proofs.
    pub(crate) fn decode_content(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ancestors: reader.list("ancestors", ANCESTORS_MAX)?,
            timestamp: TimestampMs::decode(reader)?,
            payload: PayloadDescriptor::decode(reader)?,
            lane_roots: reader.list("lane roots", LANES_MAX)?,
            misbehaviour: Vec::new(),
            end_of_epoch: match u8::decode(reader)? {
                0 => false,
                1 => true,
                tag => return Err(DecodeError::UnknownTag { field: "end of epoch", value: tag.into() }),
            },
        })
    }
}

fn body_digest(content: &[u8], misbehaviour: &Digest) -> Digest {
    Hasher::new(BODY_DOMAIN).with(content).with_encoded(misbehaviour).finish()
}

fn misbehaviour_digest(encoded: &[u8]) -> Digest {
    Hasher::new(MISBEHAVIOUR_DOMAIN).with(encoded).finish()
}

impl Encode for BlockBody {
    fn encode(&self, out: &mut Vec<u8>) {
        self.encode_content(out);
        put_list(out, &self.misbehaviour);
    }
}

impl Decode for BlockBody {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let content = Self::decode_content(reader)?;
        Ok(Self { misbehaviour: reader.list("misbehaviour", EVIDENCE_MAX)?, ..content })
    }
}

/// A signed header. Immutable: its digest and raw bytes are computed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    statement: RoundStatement,
    digest: Digest,
    body: BlockBody,
    votes: Vec<HeaderVote>,
    signature: StatementSignature,
    raw: Bytes,
}

impl BlockHeader {
    /// Puts a signed header together. Whether the signature verifies is the caller's matter.
    pub fn new(
        statement: RoundStatement,
        body: BlockBody,
        votes: Vec<HeaderVote>,
        signature: impl Into<StatementSignature>,
    ) -> Self {
        let signature = signature.into();
        let mut raw = Vec::with_capacity(256 + body.ancestors.len() * 48 + votes.len() * 48);
        raw.push(VERSION);
        statement.epoch.encode(&mut raw);
        statement.round.encode(&mut raw);
        statement.author.encode(&mut raw);
        body.encode(&mut raw);
        put_list(&mut raw, &votes);
        signature.encode(&mut raw);
        Self { digest: statement.digest(), statement, body, votes, signature, raw: raw.into() }
    }

    /// The statement that `author` would sign for a block.
    pub fn statement_for(
        chain: ChainId,
        epoch: Epoch,
        round: Round,
        author: AuthorityIndex,
        body: &BlockBody,
        votes: &[HeaderVote],
    ) -> RoundStatement {
        RoundStatement { chain, epoch, round, author, body_digest: body.digest(), votes_digest: votes_digest(votes) }
    }

    /// Reads a header of the ledger `chain` that takes all of `raw`, which it keeps without copying.
    ///
    /// # Errors
    /// [`DecodeError`]; neither signature nor validity is looked at.
    pub fn parse(chain: &ChainId, raw: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&raw);
        let version = u8::decode(&mut reader)?;
        if version != VERSION {
            return Err(DecodeError::UnknownTag { field: "block version", value: version.into() });
        }
        let (epoch, round) = (Epoch::decode(&mut reader)?, Round::decode(&mut reader)?);
        let author = AuthorityIndex::decode(&mut reader)?;
        // There is one encoding of a value, so the digests are taken over the bytes as they came.
        let body_start = reader.position();
        let mut body = BlockBody::decode_content(&mut reader)?;
        let proofs_start = reader.position();
        body.misbehaviour = reader.list("misbehaviour", EVIDENCE_MAX)?;
        let misbehaviour = misbehaviour_digest(&raw[proofs_start..reader.position()]);
        let body_digest = body_digest(&raw[body_start..proofs_start], &misbehaviour);
        let votes_start = reader.position();
        let votes: Vec<HeaderVote> = reader.list("votes", VOTES_MAX)?;
        let votes_digest = Hasher::new(VOTES_DOMAIN).with(&raw[votes_start..reader.position()]).finish();
        let signature = StatementSignature::decode(&mut reader)?;
        reader.finish()?;
        let statement = RoundStatement { chain: *chain, epoch, round, author, body_digest, votes_digest };
        Ok(Self { digest: statement.digest(), statement, body, votes, signature, raw })
    }

    /// Round, author and digest.
    pub fn block_ref(&self) -> BlockRef {
        BlockRef { round: self.statement.round, author: self.statement.author, digest: self.digest }
    }

    /// What is signed.
    pub fn statement(&self) -> &RoundStatement {
        &self.statement
    }

    /// The block's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.statement.epoch
    }

    /// The round.
    pub fn round(&self) -> Round {
        self.statement.round
    }

    /// Who made it.
    pub fn author(&self) -> AuthorityIndex {
        self.statement.author
    }

    /// Ancestors, time, payload, misbehaviour.
    pub fn body(&self) -> &BlockBody {
        &self.body
    }

    /// Its ancestors.
    pub fn ancestors(&self) -> &[BlockRef] {
        &self.body.ancestors
    }

    /// Its votes for ledger headers.
    pub fn votes(&self) -> &[HeaderVote] {
        &self.votes
    }

    /// The signature over [`RoundStatement::message`].
    pub fn signature(&self) -> &StatementSignature {
        &self.signature
    }

    /// The encoding.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

/// The transactions of a block, as raw bytes and the place of each in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    raw: Bytes,
    /// Start and length of each transaction in `raw`.
    places: Arc<[(u32, u32)]>,
}

impl Payload {
    /// Without transactions.
    pub fn empty() -> Self {
        Self { raw: Bytes::new(), places: Arc::new([]) }
    }

    /// From raw transactions, in order.
    pub fn build<T: AsRef<[u8]>>(transactions: impl IntoIterator<Item = T>) -> Self {
        let (mut raw, mut places) = (Vec::new(), Vec::new());
        for transaction in transactions {
            let transaction = transaction.as_ref();
            let start = u32::try_from(raw.len() + 4).expect("payload limits are far below 4 GiB");
            put_bytes(&mut raw, transaction);
            places.push((start, raw.len() as u32 - start));
        }
        Self { raw: raw.into(), places: places.into() }
    }

    /// Reads the framing of a payload, of at most `count_max` transactions; the transactions are not looked at.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn parse(raw: Bytes, count_max: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&raw);
        let mut places = Vec::new();
        while reader.remaining() > 0 {
            if places.len() == count_max {
                return Err(DecodeError::TooLong { field: "payload", length: count_max + 1, limit: count_max });
            }
            let length = reader.length("transaction", raw.len())?;
            let start = reader.position();
            reader.take(length)?;
            places.push((start as u32, length as u32));
        }
        Ok(Self { places: places.into(), raw })
    }

    /// What a header says of it. Hashes every byte.
    pub fn descriptor(&self) -> PayloadDescriptor {
        PayloadDescriptor {
            root: merkle::root_of_hashes(merkle::leaf_hashes(self.slices())),
            bytes: self.raw.len() as u32,
            count: self.places.len() as u32,
        }
    }

    /// Proves that the transaction at `index` is part of this payload; `None` where there is none. Hashes every byte.
    pub fn prove(&self, index: usize) -> Option<MerkleProof> {
        MerkleProof::build(merkle::leaf_hashes(self.slices()), index)
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The encoding.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The raw transactions, in order, sharing the payload's memory.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = Bytes> + '_ {
        self.places.iter().map(|(start, length)| self.raw.slice(*start as usize..(*start + *length) as usize))
    }

    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|(start, length)| &self.raw[*start as usize..(*start + *length) as usize])
    }
}

/// A header together with its payload.
#[derive(Clone, Debug)]
pub struct Block {
    /// The signed header.
    pub header: Arc<BlockHeader>,
    /// Its payload; the descriptor in the header was checked against it.
    pub payload: Payload,
}

/// One decided leader and the part of its history that no earlier commit ordered. Ordering only: execution comes later
/// (CONSENSUS.md §0.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// Position; the ledger header of the same height certifies this record.
    pub height: Height,
    /// Digest of the record before, [`Digest::ZERO`] at height 1.
    pub previous: Digest,
    /// The leader.
    pub leader: BlockRef,
    /// The ordered blocks, the leader among them.
    pub blocks: Vec<BlockRef>,
    /// BFT time: max(previous, stake-weighted median over the leader's round r − 1 parents).
    pub timestamp: TimestampMs,
}

impl CommitRecord {
    /// Digest, chained through `previous`.
    pub fn digest(&self) -> Digest {
        Hasher::new("stele/commit/1").with_encoded(self).finish()
    }
}

impl Encode for CommitRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.previous.encode(out);
        self.leader.encode(out);
        put_list(out, &self.blocks);
        self.timestamp.encode(out);
    }
}

impl Decode for CommitRecord {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            height: Height::decode(reader)?,
            previous: Digest::decode(reader)?,
            leader: BlockRef::decode(reader)?,
            blocks: reader.list("committed blocks", COMMIT_BLOCKS_MAX)?,
            timestamp: TimestampMs::decode(reader)?,
        })
    }
}
