//! Epochs: where one begins, and the proof that it follows from the one before (CONSENSUS.md §2.11).
//!
//! The last ledger header of an epoch names the next one by [`EpochStart::digest_of`], and a certificate of the old
//! committee covers that header. So a chain of [`EpochChange`]s leads from genesis to the present committee, and whoever
//! trusts the genesis needs to trust nobody else.

use crate::certificate::{Certificate, CertificateError};
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::committee::Committee;
use crate::digest::{ChainId, Digest, Hasher};
use crate::genesis::{Genesis, GenesisError, Parameters};
use crate::header::LedgerHeader;
use crate::units::{Epoch, Height, TimestampMs};
use thiserror::Error;

/// The point of the ledger that an epoch goes on from: the last height of the epoch before, or genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The height.
    pub height: Height,
    /// Digest of its ledger header, from which the blocks of round 0 derive; [`Digest::ZERO`] at genesis.
    pub header: Digest,
    /// Digest of its commit record; [`Digest::ZERO`] at genesis.
    pub commit: Digest,
    /// Its BFT time.
    pub timestamp: TimestampMs,
}

impl Anchor {
    /// The start of a ledger.
    pub fn genesis(timestamp: TimestampMs) -> Self {
        Self { height: Height(0), header: Digest::ZERO, commit: Digest::ZERO, timestamp }
    }

    /// Behind a ledger header, the last one of an epoch.
    pub fn of(header: &LedgerHeader) -> Self {
        Self { height: header.height, header: header.digest(), commit: header.commit, timestamp: header.timestamp }
    }
}

impl Encode for Anchor {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.header.encode(out);
        self.commit.encode(out);
        self.timestamp.encode(out);
    }
}

impl Decode for Anchor {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            height: Height::decode(reader)?,
            header: Digest::decode(reader)?,
            commit: Digest::decode(reader)?,
            timestamp: TimestampMs::decode(reader)?,
        })
    }
}

/// Everything that an epoch begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Its validators; they name the epoch.
    pub committee: Committee,
    /// Its parameters.
    pub parameters: Parameters,
    /// What it goes on from.
    pub anchor: Anchor,
}

impl EpochStart {
    /// The first epoch.
    ///
    /// # Errors
    /// [`GenesisError::Committee`].
    pub fn first(genesis: &Genesis) -> Result<Self, GenesisError> {
        Ok(Self {
            committee: genesis.committee()?,
            parameters: genesis.parameters.clone(),
            anchor: Anchor::genesis(genesis.timestamp()),
        })
    }

    /// Which epoch.
    pub fn epoch(&self) -> Epoch {
        self.committee.epoch()
    }

    /// What [`LedgerHeader::next_committee`] holds for an epoch with this committee and these parameters.
    pub fn digest_of(committee: &Committee, parameters: &Parameters) -> Digest {
        Hasher::new("stele/next-epoch/1").with_encoded(&committee.digest()).with_encoded(parameters).finish()
    }
}

impl Encode for EpochStart {
    fn encode(&self, out: &mut Vec<u8>) {
        self.committee.encode(out);
        self.parameters.encode(out);
        self.anchor.encode(out);
    }
}

impl Decode for EpochStart {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            committee: Committee::decode(reader)?,
            parameters: Parameters::decode(reader)?,
            anchor: Anchor::decode(reader)?,
        })
    }
}

/// Why an epoch does not follow from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EpochChangeError {
    /// Not the next one.
    #[error("epoch {found} does not follow epoch {before}")]
    Order {
        /// The epoch before.
        before: Epoch,
        /// What is said to follow it.
        found: Epoch,
    },
    /// The header is of another ledger, epoch or committee, or below the epoch's start.
    #[error("the last header is not of the epoch before")]
    OtherEpoch,
    /// The header names no next epoch, or another one.
    #[error("the last header does not name this committee with these parameters")]
    NotNamed,
    /// The epoch goes on from elsewhere than behind the header.
    #[error("the epoch does not go on from the last header")]
    Anchor,
    /// The certificate is over another header.
    #[error("the certificate is over another header")]
    OtherHeader,
    /// The certificate proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The proof that an epoch follows from the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochChange {
    /// The new epoch.
    pub start: EpochStart,
    /// Last ledger header of the epoch before.
    pub last: LedgerHeader,
    /// The old committee's certificate over it.
    pub certificate: Certificate,
}

impl EpochChange {
    /// Checks everything, given that the epoch `before` is right.
    ///
    /// # Errors
    /// [`EpochChangeError`].
    pub fn verify(&self, chain: ChainId, before: &EpochStart) -> Result<(), EpochChangeError> {
        let Self { start, last, certificate } = self;
        if before.epoch().0.checked_add(1) != Some(start.epoch().0) {
            return Err(EpochChangeError::Order { before: before.epoch(), found: start.epoch() });
        }
        let of_before = last.chain == chain
            && last.epoch == before.epoch()
            && last.committee == before.committee.digest()
            && last.height > before.anchor.height;
        if !of_before {
            return Err(EpochChangeError::OtherEpoch);
        }
        if last.next_committee != Some(EpochStart::digest_of(&start.committee, &start.parameters)) {
            return Err(EpochChangeError::NotNamed);
        }
        if start.anchor != Anchor::of(last) {
            return Err(EpochChangeError::Anchor);
        }
        if certificate.vote.height != last.height || certificate.vote.header != last.digest() {
            return Err(EpochChangeError::OtherHeader);
        }
        Ok(certificate.verify(chain, &before.committee)?)
    }
}

impl Encode for EpochChange {
    fn encode(&self, out: &mut Vec<u8>) {
        self.start.encode(out);
        self.last.encode(out);
        self.certificate.encode(out);
    }
}

impl Decode for EpochChange {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            start: EpochStart::decode(reader)?,
            last: LedgerHeader::decode(reader)?,
            certificate: Certificate::decode(reader)?,
        })
    }
}

/// The epochs of a ledger from one that is trusted on, as far as they are proven: from genesis, or from the epoch that
/// one's own state has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochChain {
    chain: ChainId,
    trusted: EpochStart,
    changes: Vec<EpochChange>,
}

impl EpochChain {
    /// Nothing but the epoch that is trusted.
    pub fn new(chain: ChainId, trusted: EpochStart) -> Self {
        Self { chain, trusted, changes: Vec::new() }
    }

    /// Takes the next epoch in.
    ///
    /// # Errors
    /// [`EpochChangeError`]; then the chain is as it was.
    pub fn push(&mut self, change: EpochChange) -> Result<(), EpochChangeError> {
        change.verify(self.chain, self.last())?;
        self.changes.push(change);
        Ok(())
    }

    /// Trust in a genesis.
    ///
    /// # Errors
    /// [`GenesisError::Committee`].
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, GenesisError> {
        Ok(Self::new(genesis.chain_id(), EpochStart::first(genesis)?))
    }

    /// The ledger.
    pub fn ledger(&self) -> ChainId {
        self.chain
    }

    /// The last epoch that is proven.
    pub fn last(&self) -> &EpochStart {
        self.changes.last().map_or(&self.trusted, |change| &change.start)
    }

    /// One of the epochs from the trusted one to the last.
    pub fn epoch(&self, epoch: Epoch) -> Option<&EpochStart> {
        let after = epoch.0.checked_sub(self.trusted.epoch().0)?;
        match usize::try_from(after).ok()?.checked_sub(1) {
            None => Some(&self.trusted),
            Some(index) => self.changes.get(index).map(|change| &change.start),
        }
    }

    /// The proofs, in order: what follows the trusted epoch.
    pub fn changes(&self) -> &[EpochChange] {
        &self.changes
    }
}
