//! What validators say to each other: frames pushed over the mesh, and requests with their responses.
//!
//! Owns the encoding and its limits. Deliberately absent: who sends what when. Every message starts with its tag; a
//! message that does not decode is the sender's misbehaviour.

// Named by its path, for the fuzz targets take this file in by its own.
#[path = "wire/state.rs"]
pub mod state;

use bytes::Bytes;
use state::StateRequest;
use types::codec::{put_bytes, put_list};
use types::committee::COMMITTEE_MAX;
use types::{
    BlockRef, Certificate, CommitRecord, Decode, DecodeError, Encode, Height, LedgerHeader, Outcome, Reader, Round,
};

/// Most headers in one frame or response.
pub const HEADERS_MAX: usize = 1024;
/// Most payloads in one response.
pub const PAYLOADS_MAX: usize = 64;
/// Most commits in one response.
pub const COMMITS_MAX: usize = 512;
/// Most bytes of one header: a full committee of ancestors, a full list of votes and of evidence, with one transaction in it.
pub const HEADER_BYTES_MAX: usize = 128 << 10;
/// A response stops growing here; the requester asks again for the rest.
pub const RESPONSE_BYTES_SOFT: usize = 4 << 20;

/// A frame of class `Header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFrame {
    /// The sender's own new block.
    Own(Bytes),
    /// Headers of others that the receiver is not known to have.
    Relayed(Vec<Bytes>),
}

impl HeaderFrame {
    /// Encodes.
    pub fn to_frame(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Own(header) => {
                out.reserve(1 + header.len());
                out.push(1);
                out.extend_from_slice(header);
            }
            Self::Relayed(headers) => {
                out.push(2);
                put_all(&mut out, headers);
            }
        }
        out.into()
    }

    /// Decodes, sharing the frame's memory.
    pub fn parse(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        match u8::decode(&mut reader)? {
            1 => Ok(Self::Own(frame.slice(1..))),
            2 => {
                let headers = take_all(frame, &mut reader, "headers", HEADERS_MAX, HEADER_BYTES_MAX)?;
                reader.finish()?;
                Ok(Self::Relayed(headers))
            }
            tag => Err(DecodeError::UnknownTag { field: "header frame", value: tag.into() }),
        }
    }
}

/// A frame of class `Payload`: the transactions of one block of the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFrame {
    /// Which block.
    pub block: BlockRef,
    /// Its encoded payload.
    pub payload: Bytes,
}

impl PayloadFrame {
    /// Encodes; one copy for all receivers.
    pub fn to_frame(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + self.payload.len());
        self.block.encode(&mut out);
        out.extend_from_slice(&self.payload);
        out.into()
    }

    /// Decodes, sharing the frame's memory.
    pub fn parse(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let block = BlockRef::decode(&mut reader)?;
        Ok(Self { block, payload: frame.slice(reader.position()..) })
    }
}

/// What a validator asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Headers by reference, and what lies between them and the requester's frontier.
    Headers {
        /// What is missing.
        refs: Vec<BlockRef>,
        /// For each author, the highest round that the requester has accepted.
        frontier: Vec<Round>,
    },
    /// Payloads by reference.
    Payloads(Vec<BlockRef>),
    /// Commits of a range of heights, with their blocks and what became of their transactions.
    Commits {
        /// First height.
        from: Height,
        /// Last height that is wanted; the answer may end before it, or a little above it where it finds no certificate.
        to: Height,
    },
    /// A state, or a part of one.
    State(StateRequest),
    /// From a validator that has lost its disk: its own highest block, and the answering one's last.
    Highest,
    /// The attestation of the answering validator's machine, over these bytes: the document of docs/attestation.md.
    Attestation([u8; 32]),
}

impl Request {
    /// Encodes.
    pub fn to_body(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Headers { refs, frontier } => {
                out.push(1);
                put_list(&mut out, refs);
                put_list(&mut out, frontier);
            }
            Self::Payloads(refs) => {
                out.push(2);
                put_list(&mut out, refs);
            }
            Self::Commits { from, to } => {
                out.push(3);
                from.encode(&mut out);
                to.encode(&mut out);
            }
            Self::State(request) => {
                out.push(4);
                request.encode(&mut out);
            }
            Self::Highest => out.push(5),
            Self::Attestation(nonce) => {
                out.push(6);
                out.extend_from_slice(nonce);
            }
        }
        out.into()
    }

    /// Decodes.
    pub fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let request = match u8::decode(&mut reader)? {
            1 => Self::Headers {
                refs: reader.list("header references", HEADERS_MAX)?,
                frontier: reader.list("frontier", COMMITTEE_MAX)?,
            },
            2 => Self::Payloads(reader.list("payload references", PAYLOADS_MAX)?),
            3 => Self::Commits { from: Height::decode(&mut reader)?, to: Height::decode(&mut reader)? },
            4 => Self::State(StateRequest::decode(&mut reader)?),
            5 => Self::Highest,
            6 => Self::Attestation(reader.array()?),
            tag => return Err(DecodeError::UnknownTag { field: "request", value: tag.into() }),
        };
        reader.finish()?;
        Ok(request)
    }
}

/// Answer to [`Request::Headers`]: those that are known, in any order.
pub fn headers_response(headers: &[Bytes]) -> Bytes {
    let mut out = Vec::new();
    put_all(&mut out, headers);
    out.into()
}

/// Reads a [`headers_response`].
pub fn parse_headers_response(body: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let mut reader = Reader::new(body);
    let headers = take_all(body, &mut reader, "headers", HEADERS_MAX, HEADER_BYTES_MAX)?;
    reader.finish()?;
    Ok(headers)
}

/// Answer to [`Request::Highest`]: headers of the asker's highest block and of the answering validator's last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HighestResponse {
    /// The asker's, if one is known.
    pub asker: Option<Bytes>,
    /// The answering validator's own, if it has made one.
    pub peer: Option<Bytes>,
}

impl HighestResponse {
    /// Encodes.
    pub fn to_body(&self) -> Bytes {
        let mut out = Vec::new();
        for header in [&self.asker, &self.peer] {
            out.push(u8::from(header.is_some()));
            header.iter().for_each(|header| put_bytes(&mut out, header));
        }
        out.into()
    }

    /// Decodes, sharing the body's memory.
    pub fn parse(body: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut header = || match u8::decode(&mut reader)? {
            0 => Ok(None),
            1 => Ok(Some(body.slice_ref(reader.bytes("header", HEADER_BYTES_MAX)?))),
            tag => Err(DecodeError::UnknownTag { field: "highest block", value: tag.into() }),
        };
        let response = Self { asker: header()?, peer: header()? };
        reader.finish()?;
        Ok(response)
    }
}

/// Answer to [`Request::Payloads`]: payload frames of those that are known.
pub fn payloads_response(payloads: &[PayloadFrame]) -> Bytes {
    let mut out = Vec::new();
    put_all(&mut out, &payloads.iter().map(PayloadFrame::to_frame).collect::<Vec<_>>());
    out.into()
}

/// Reads a [`payloads_response`].
pub fn parse_payloads_response(body: &Bytes) -> Result<Vec<PayloadFrame>, DecodeError> {
    let mut reader = Reader::new(body);
    let frames = take_all(body, &mut reader, "payloads", PAYLOADS_MAX, body.len())?;
    reader.finish()?;
    frames.iter().map(PayloadFrame::parse).collect()
}

/// One commit with everything that is needed to apply it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitWithBlocks {
    /// The ordering.
    pub record: CommitRecord,
    /// What it did to the ledger. Names the record, and through [`LedgerHeader::previous`] the header before.
    pub header: LedgerHeader,
    /// What became of each transaction, in order. With the transactions' ids they are the receipts of the header's root,
    /// so that no signature need be verified again (CONSENSUS.md §0.7).
    pub outcomes: Vec<Outcome>,
    /// Header and payload of each block of the record, in its order.
    pub blocks: Vec<(Bytes, Bytes)>,
}

/// Answer to [`Request::Commits`]: commits in rising order of heights without gaps. The certificate is over the last
/// one's ledger header, which names all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitsResponse {
    /// The commits; empty where the peer has none, or no certificate for any.
    pub commits: Vec<CommitWithBlocks>,
    /// The certificate over the last ledger header; there is one exactly where there are commits.
    pub certificate: Option<Certificate>,
    /// The lowest height that the peer can serve from the one asked for on: where it is higher than that one, the log holds
    /// nothing below. A hint.
    pub oldest: Height,
    /// The highest height that the peer has a certificate for. A hint.
    pub certified: Height,
}

impl CommitsResponse {
    /// Encodes.
    pub fn to_body(&self) -> Bytes {
        let mut out = Vec::new();
        self.oldest.encode(&mut out);
        self.certified.encode(&mut out);
        (self.commits.len() as u32).encode(&mut out);
        for commit in &self.commits {
            commit.record.encode(&mut out);
            commit.header.encode(&mut out);
            put_list(&mut out, &commit.outcomes);
            for (header, payload) in &commit.blocks {
                put_bytes(&mut out, header);
                put_bytes(&mut out, payload);
            }
        }
        self.certificate.encode(&mut out);
        out.into()
    }

    /// Decodes, sharing the body's memory.
    pub fn parse(body: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (oldest, certified) = (Height::decode(&mut reader)?, Height::decode(&mut reader)?);
        let count = reader.length("commits", COMMITS_MAX)?;
        let mut commits = Vec::new();
        for _ in 0..count {
            let record = CommitRecord::decode(&mut reader)?;
            let header = LedgerHeader::decode(&mut reader)?;
            let outcomes = reader.list("outcomes", body.len())?;
            let mut blocks = Vec::new();
            for _ in 0..record.blocks.len() {
                let header = body.slice_ref(reader.bytes("header", HEADER_BYTES_MAX)?);
                blocks.push((header, body.slice_ref(reader.bytes("payload", body.len())?)));
            }
            commits.push(CommitWithBlocks { record, header, outcomes, blocks });
        }
        let certificate: Option<Certificate> = Option::decode(&mut reader)?;
        reader.finish()?;
        if certificate.is_some() == commits.is_empty() {
            return Err(DecodeError::NotCanonical { field: "commits" });
        }
        Ok(Self { commits, certificate, oldest, certified })
    }
}

fn put_all(out: &mut Vec<u8>, items: &[Bytes]) {
    (items.len() as u32).encode(out);
    for item in items {
        put_bytes(out, item);
    }
}

fn take_all(
    frame: &Bytes,
    reader: &mut Reader<'_>,
    field: &'static str,
    count_max: usize,
    bytes_max: usize,
) -> Result<Vec<Bytes>, DecodeError> {
    let count = reader.length(field, count_max)?;
    (0..count).map(|_| Ok(frame.slice_ref(reader.bytes(field, bytes_max)?))).collect()
}

#[cfg(test)]
pub mod tests;
