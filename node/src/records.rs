//! Records of the log: what a node must find again after a crash.
//!
//! | kind | record | written |
//! |---|---|---|
//! | 1 | [`Proposal`]: own header without its signature, and payload | durable before the signer is asked |
//! | 2 | own signed header | after signing; its payload is in the proposal |
//! | 3 | another validator's header and payload | when the block enters the DAG |
//! | 4 | [`Commit`]: commit record and signature verdicts | durable before a client hears of it |
//! | 5 | nothing: all before it came from a backup, so that it may be older than what was signed | by `stele restore` |

use bytes::Bytes;
use types::codec::put_bytes;
use types::{
    AlgId, BlockBody, BlockHeader, ChainId, CommitRecord, Decode, DecodeError, Encode, HeaderVote, Reader,
    RoundStatement, Signature, block,
};

/// Kind of an own proposal.
pub const PROPOSAL: u8 = 1;
/// Kind of an own signed header.
pub const SIGNED: u8 = 2;
/// Kind of another validator's block.
pub const BLOCK: u8 = 3;
/// Kind of a commit.
pub const COMMIT: u8 = 4;

/// Kind of the mark that a restored log ends with.
pub const RESTORED: u8 = 5;

/// An own block before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What will be signed.
    pub statement: RoundStatement,
    /// The body under it.
    pub body: BlockBody,
    /// The votes under it.
    pub votes: Vec<HeaderVote>,
}

impl Proposal {
    /// Everything but the payload, which follows it in the record.
    pub fn to_part(&self) -> Bytes {
        let mut inner = Vec::new();
        self.statement.encode(&mut inner);
        self.body.encode(&mut inner);
        types::codec::put_list(&mut inner, &self.votes);
        prefixed(&inner)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let proposal = Self {
            statement: RoundStatement::decode(&mut reader)?,
            body: BlockBody::decode(&mut reader)?,
            votes: reader.list("votes", block::VOTES_MAX)?,
        };
        reader.finish()?;
        let honest = BlockHeader::statement_for(
            proposal.statement.chain,
            proposal.statement.epoch,
            proposal.statement.round,
            proposal.statement.author,
            &proposal.body,
            &proposal.votes,
        );
        if honest == proposal.statement { Ok(proposal) } else { Err(DecodeError::NotCanonical { field: "proposal" }) }
    }

    /// Splits a record of kind [`PROPOSAL`] into the proposal and its payload.
    pub fn parse(record: &Bytes) -> Result<(Self, Bytes), DecodeError> {
        let (head, payload) = split(record)?;
        Ok((Self::decode(&head)?, payload))
    }
}

/// The length-prefixed header that a record of kind [`BLOCK`] starts with; the payload follows it.
pub fn block_part(header: &BlockHeader) -> Bytes {
    prefixed(header.raw())
}

/// Splits a record of kind [`BLOCK`] into header and payload.
pub fn parse_block(chain: &ChainId, record: &Bytes) -> Result<(BlockHeader, Bytes), DecodeError> {
    let (header, payload) = split(record)?;
    Ok((BlockHeader::parse(chain, header)?, payload))
}

/// A commit, with one verdict for each transaction of its blocks, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The ordering.
    pub record: CommitRecord,
    /// Bit i is the verdict on transaction i; least significant bit first.
    pub verdicts: Vec<u8>,
}

impl Encode for Commit {
    fn encode(&self, out: &mut Vec<u8>) {
        self.record.encode(out);
        put_bytes(out, &self.verdicts);
    }
}

impl Decode for Commit {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let record = CommitRecord::decode(reader)?;
        Ok(Self { record, verdicts: reader.bytes("verdicts", reader.remaining())?.to_vec() })
    }
}

/// Packs verdicts as [`Commit::verdicts`] holds them.
pub fn pack_verdicts(verdicts: impl IntoIterator<Item = bool>) -> Vec<u8> {
    let mut packed = Vec::new();
    for (index, valid) in verdicts.into_iter().enumerate() {
        if index % 8 == 0 {
            packed.push(0);
        }
        packed[index / 8] |= u8::from(valid) << (index % 8);
    }
    packed
}

/// Verdict `index` of packed ones; an absent one is invalid.
pub fn verdict(packed: &[u8], index: usize) -> bool {
    packed.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

fn prefixed(bytes: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(4 + bytes.len());
    put_bytes(&mut out, bytes);
    out.into()
}

fn split(record: &Bytes) -> Result<(Bytes, Bytes), DecodeError> {
    let mut reader = Reader::new(record);
    let head = record.slice_ref(reader.bytes("record head", record.len())?);
    Ok((head, record.slice(reader.position()..)))
}

/// The header of a proposal under an empty signature: a stand-in until the signer has answered. It never leaves the
/// replica.
pub fn unsigned_header(proposal: &Proposal) -> BlockHeader {
    let none = Signature::from_parts(AlgId::Ed25519, &[0; 64]).expect("64 bytes are an Ed25519 signature");
    BlockHeader::new(proposal.statement, proposal.body.clone(), proposal.votes.clone(), none)
}

#[cfg(test)]
mod tests;
