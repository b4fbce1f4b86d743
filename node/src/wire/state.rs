//! Messages of state sync: offers of snapshots, their manifests and chunks, and the commits below them.

use crate::wire::{HEADER_BYTES_MAX, put_all};
use bytes::Bytes;
use types::codec::put_list;
use types::{
    Certificate, CommitRecord, Decode, DecodeError, Digest, Encode, Height, LedgerHeader, Reader, StateManifest,
};

/// Most snapshots in an offer.
const OFFERS_MAX: usize = 8;
/// Most commits in an answer about the commits below a snapshot.
pub const HISTORY_MAX: usize = 1024;

/// What an empty node asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRequest {
    /// Which snapshots there are. A peer that has none ready makes one.
    Offers,
    /// A manifest by the root of its state.
    Manifest(Digest),
    /// A chunk of the state with this manifest, packed.
    Chunk {
        /// Root of the state.
        manifest: Digest,
        /// Which, from 0.
        index: u32,
    },
    /// Commits with the headers of their blocks, from a height downward.
    History {
        /// Highest height.
        top: Height,
        /// Lowest height that is wanted; the answer may end above it.
        bottom: Height,
    },
}

impl Encode for StateRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Offers => out.push(1),
            Self::Manifest(manifest) => {
                out.push(2);
                manifest.encode(out);
            }
            Self::Chunk { manifest, index } => {
                out.push(3);
                manifest.encode(out);
                index.encode(out);
            }
            Self::History { top, bottom } => {
                out.push(4);
                top.encode(out);
                bottom.encode(out);
            }
        }
    }
}

impl Decode for StateRequest {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Offers),
            2 => Ok(Self::Manifest(Digest::decode(reader)?)),
            3 => Ok(Self::Chunk { manifest: Digest::decode(reader)?, index: u32::decode(reader)? }),
            4 => Ok(Self::History { top: Height::decode(reader)?, bottom: Height::decode(reader)? }),
            tag => Err(DecodeError::UnknownTag { field: "state request", value: tag.into() }),
        }
    }
}

/// A snapshot that a peer offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its height.
    pub height: Height,
    /// Its root. The same state has the same one on every peer.
    pub manifest: Digest,
    /// Bytes of its rows.
    pub bytes: u64,
}

impl Encode for Offer {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.manifest.encode(out);
        self.bytes.encode(out);
    }
}

impl Decode for Offer {
    const ENCODED_LEN_MIN: usize = 8 + Digest::ENCODED_LEN + 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (height, manifest) = (Height::decode(reader)?, Digest::decode(reader)?);
        Ok(Self { height, manifest, bytes: u64::decode(reader)? })
    }
}

/// Answer to [`StateRequest::Offers`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffersResponse {
    /// What is ready.
    pub offers: Vec<Offer>,
    /// Whether one is being made: it pays to ask again.
    pub preparing: bool,
}

impl Encode for OffersResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.offers);
        out.push(u8::from(self.preparing));
    }
}

impl Decode for OffersResponse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offers = reader.list("offers", OFFERS_MAX)?;
        match u8::decode(reader)? {
            0 => Ok(Self { offers, preparing: false }),
            1 => Ok(Self { offers, preparing: true }),
            tag => Err(DecodeError::UnknownTag { field: "preparing", value: tag.into() }),
        }
    }
}

/// What vouches for a state: the header of its height, and a later one with its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The header of the state's height.
    pub header: LedgerHeader,
    /// The certificate over it. Of genesis, for which nobody votes, one without statements.
    pub certificate: Certificate,
    /// The header that carries the root, and its certificate; none for the state that an epoch begins with, as long as
    /// the epoch has not come so far.
    pub root: Option<(LedgerHeader, Certificate)>,
}

impl Encode for Certified {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        self.certificate.encode(out);
        out.push(u8::from(self.root.is_some()));
        if let Some((header, certificate)) = &self.root {
            header.encode(out);
            certificate.encode(out);
        }
    }
}

impl Decode for Certified {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (header, certificate) = (LedgerHeader::decode(reader)?, Certificate::decode(reader)?);
        let root = match u8::decode(reader)? {
            0 => None,
            1 => Some((LedgerHeader::decode(reader)?, Certificate::decode(reader)?)),
            tag => return Err(DecodeError::UnknownTag { field: "certified root", value: tag.into() }),
        };
        Ok(Self { header, certificate, root })
    }
}

/// Answer to [`StateRequest::Manifest`]: the manifest, and what vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestResponse {
    /// The manifest.
    pub manifest: StateManifest,
    /// What vouches for it.
    pub certified: Certified,
}

impl Encode for ManifestResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        self.manifest.encode(out);
        self.certified.encode(out);
    }
}

impl Decode for ManifestResponse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { manifest: StateManifest::decode(reader)?, certified: Certified::decode(reader)? })
    }
}

/// A commit without the payloads of its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitWithHeaders {
    /// The ordering.
    pub record: CommitRecord,
    /// Header of each block of the record, in its order.
    pub headers: Vec<Bytes>,
}

/// Answer to [`StateRequest::History`]: commits in falling order of heights without gaps, from the asked one on.
pub fn history_response(commits: &[CommitWithHeaders]) -> Bytes {
    let mut out = Vec::new();
    (commits.len() as u32).encode(&mut out);
    for commit in commits {
        commit.record.encode(&mut out);
        put_all(&mut out, &commit.headers);
    }
    out.into()
}

/// Reads a [`history_response`] of a peer.
pub fn parse_history_response(body: &Bytes) -> Result<Vec<CommitWithHeaders>, DecodeError> {
    parse_history(body, HISTORY_MAX)
}

/// Reads a [`history_response`] of at most so many commits.
pub fn parse_history(body: &Bytes, commits_max: usize) -> Result<Vec<CommitWithHeaders>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut commits = Vec::new();
    for _ in 0..reader.length("commits", commits_max)? {
        let record = CommitRecord::decode(&mut reader)?;
        let headers = super::take_all(body, &mut reader, "headers", record.blocks.len(), HEADER_BYTES_MAX)?;
        commits.push(CommitWithHeaders { record, headers });
    }
    reader.finish()?;
    Ok(commits)
}
