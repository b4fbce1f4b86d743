//! Who may sign a validator's rounds: its consensus key, or an epoch key that the consensus key has certified.
//!
//! An HSM that takes 100 ms for a signature cannot sign every round in time. It signs an [`EpochKeyCertificate`] instead: for
//! some rounds of one epoch a key in the signer's memory signs in its place. The certificate travels with every signature,
//! so whoever has the committee can check a statement at any time, with no state: in the DAG, in a proof of misbehaviour, in
//! a certificate over a ledger header. A certificate ends with its rounds, and with the epoch at the latest; there is no
//! other revocation, and none could be seen by all validators at the same moment.
//!
//! Two certificates for the same rounds are no misbehaviour; two statements for one round are, whichever keys made them.

mod known;

pub use known::KnownCertificates;

use crate::block::RoundStatement;
use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::digest::{ChainId, Hasher, SigningMessage};
use crate::key::{PublicKey, Signature, SignatureError};
use crate::units::{AuthorityIndex, Epoch, Round};
use std::sync::Arc;
use thiserror::Error;

/// First byte of a certified signature, where a direct one has its algorithm.
const CERTIFIED: u8 = 0xc0;

/// The consensus key's word that for the rounds from `from` and below `until` another key signs in its place. Chain, epoch
/// and author are those of the statement that it comes with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EpochKeyCertificate {
    /// The key that signs.
    pub key: PublicKey,
    /// The first round.
    pub from: Round,
    /// The first round no more.
    pub until: Round,
    /// By the consensus key, over [`EpochKeyCertificate::message`].
    pub signature: Signature,
}

impl EpochKeyCertificate {
    /// What the consensus key signs.
    pub fn message(
        chain: ChainId,
        epoch: Epoch,
        author: AuthorityIndex,
        key: &PublicKey,
        from: Round,
        until: Round,
    ) -> SigningMessage {
        let digest = Hasher::new("stele/epoch-key/1")
            .with_encoded(&chain)
            .with_encoded(&epoch)
            .with_encoded(&author)
            .with_encoded(key)
            .with_encoded(&from)
            .with_encoded(&until)
            .finish();
        SigningMessage::epoch_key(&digest)
    }

    /// Whether it is for this round.
    pub fn covers(&self, round: Round) -> bool {
        self.from <= round && round < self.until
    }

    /// Whether `consensus_key` has certified it for the epoch and author of the statement.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, statement: &RoundStatement, consensus_key: &PublicKey) -> Result<(), SignatureError> {
        let RoundStatement { chain, epoch, author, .. } = *statement;
        let message = Self::message(chain, epoch, author, &self.key, self.from, self.until);
        consensus_key.verify(&message, &self.signature)
    }
}

impl Encode for EpochKeyCertificate {
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        self.from.encode(out);
        self.until.encode(out);
        self.signature.encode(out);
    }
}

impl Decode for EpochKeyCertificate {
    const ENCODED_LEN_MIN: usize = PublicKey::ENCODED_LEN_MIN + 8 + 8 + Signature::ENCODED_LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: PublicKey::decode(reader)?,
            from: Round::decode(reader)?,
            until: Round::decode(reader)?,
            signature: Signature::decode(reader)?,
        })
    }
}

/// Why a statement is not its author's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StatementError {
    /// The signature over the statement is wrong.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The consensus key has not certified the epoch key for this epoch.
    #[error("epoch key certificate: {0}")]
    Certificate(SignatureError),
    /// The epoch key is certified for other rounds.
    #[error("the epoch key is certified from round {from} and below {until}, the statement is of round {round}")]
    OutOfRange {
        /// Round of the statement.
        round: Round,
        /// First round of the certificate.
        from: Round,
        /// Its end, not in it.
        until: Round,
    },
}

/// An author's signature over a [`RoundStatement`].
///
/// Encoded, a direct one is a [`Signature`]; a certified one is a byte that is no algorithm's, the certificate, the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementSignature {
    /// By the consensus key.
    Direct(Signature),
    /// By an epoch key.
    Certified {
        /// What makes the epoch key the author's.
        certificate: Arc<EpochKeyCertificate>,
        /// By the epoch key.
        signature: Signature,
    },
}

impl StatementSignature {
    /// Whether the owner of `consensus_key` made the statement.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn verify(&self, statement: &RoundStatement, consensus_key: &PublicKey) -> Result<(), StatementError> {
        self.verify_with(statement, consensus_key, |certificate| certificate.verify(statement, consensus_key))
    }

    /// [`StatementSignature::verify`], where the caller says whether a certificate holds: it is the same for thousands of
    /// statements.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn verify_with(
        &self,
        statement: &RoundStatement,
        consensus_key: &PublicKey,
        certified: impl FnOnce(&Arc<EpochKeyCertificate>) -> Result<(), SignatureError>,
    ) -> Result<(), StatementError> {
        let (key, signature) = match self {
            Self::Direct(signature) => (consensus_key, signature),
            Self::Certified { certificate, signature } => {
                let EpochKeyCertificate { from, until, .. } = **certificate;
                if !certificate.covers(statement.round) {
                    return Err(StatementError::OutOfRange { round: statement.round, from, until });
                }
                certified(certificate).map_err(StatementError::Certificate)?;
                (&certificate.key, signature)
            }
        };
        Ok(key.verify(&statement.message(), signature)?)
    }

    /// The signature over the statement, by whichever key.
    pub fn signature(&self) -> &Signature {
        match self {
            Self::Direct(signature) | Self::Certified { signature, .. } => signature,
        }
    }
}

impl From<Signature> for StatementSignature {
    fn from(signature: Signature) -> Self {
        Self::Direct(signature)
    }
}

impl Encode for StatementSignature {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Direct(signature) => signature.encode(out),
            Self::Certified { certificate, signature } => {
                out.push(CERTIFIED);
                certificate.encode(out);
                signature.encode(out);
            }
        }
    }
}

impl Decode for StatementSignature {
    const ENCODED_LEN_MIN: usize = Signature::ENCODED_LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.peek() != Some(CERTIFIED) {
            return Ok(Self::Direct(Signature::decode(reader)?));
        }
        reader.take(1)?;
        let certificate = Arc::new(EpochKeyCertificate::decode(reader)?);
        Ok(Self::Certified { certificate, signature: Signature::decode(reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlgId, Digest, SecretKey};

    #[test]
    fn the_mark_of_a_certified_signature_is_no_algorithm() {
        assert!(AlgId::ALL.into_iter().all(|alg| alg as u8 != CERTIFIED));
    }

    struct Author {
        consensus: SecretKey,
        epoch_key: SecretKey,
        statement: RoundStatement,
    }

    impl Author {
        fn new() -> Self {
            let key = |seed| SecretKey::ed25519_from_seed([seed; 32]);
            let digest = Digest::sha256(b"any");
            let statement = RoundStatement {
                chain: ChainId(digest),
                epoch: Epoch(3),
                round: Round(100),
                author: AuthorityIndex(2),
                body_digest: digest,
                votes_digest: digest,
            };
            Self { consensus: key(1), epoch_key: key(2), statement }
        }

        fn certified(&self, from: u64, until: u64) -> StatementSignature {
            let (key, from, until) = (self.epoch_key.public_key(), Round(from), Round(until));
            let RoundStatement { chain, epoch, author, .. } = self.statement;
            let message = EpochKeyCertificate::message(chain, epoch, author, &key, from, until);
            let certificate = EpochKeyCertificate { key, from, until, signature: self.consensus.sign(&message) };
            let signature = self.epoch_key.sign(&self.statement.message());
            StatementSignature::Certified { certificate: Arc::new(certificate), signature }
        }

        fn verdict(&self, signature: &StatementSignature) -> Result<(), StatementError> {
            signature.verify(&self.statement, &self.consensus.public_key())
        }
    }

    #[test]
    fn a_certified_key_signs_in_its_rounds_alone() {
        let author = Author::new();
        for (from, until) in [(100, 101), (0, u64::MAX), (1, 500)] {
            assert_eq!(author.verdict(&author.certified(from, until)), Ok(()));
        }
        for (from, until) in [(101, 200), (0, 100), (100, 100), (200, 50)] {
            let out = StatementError::OutOfRange { round: Round(100), from: Round(from), until: Round(until) };
            assert_eq!(author.verdict(&author.certified(from, until)), Err(out));
        }
    }

    #[test]
    fn a_certificate_is_for_one_chain_epoch_author_key_and_range() {
        let author = Author::new();
        let wrong = Err(StatementError::Certificate(SignatureError::Invalid(crate::InvalidSignature)));
        let other = |change: fn(&mut RoundStatement)| {
            let mut other = Author::new();
            change(&mut other.statement);
            // The epoch key signs what it is asked to; the certificate is of the first statement's epoch.
            let StatementSignature::Certified { certificate, .. } = author.certified(0, 1_000) else { unreachable!() };
            let signature = other.epoch_key.sign(&other.statement.message());
            other.verdict(&StatementSignature::Certified { certificate, signature })
        };
        assert_eq!(other(|_| ()), Ok(()));
        assert_eq!(other(|statement| statement.round = Round(7)), Ok(()));
        assert_eq!(other(|statement| statement.epoch = Epoch(4)), wrong);
        assert_eq!(other(|statement| statement.author = AuthorityIndex(1)), wrong);
        assert_eq!(other(|statement| statement.chain = ChainId(Digest::sha256(b"other"))), wrong);
        let altered = |change: fn(&mut EpochKeyCertificate)| {
            let StatementSignature::Certified { mut certificate, signature } = author.certified(0, 1_000) else {
                unreachable!()
            };
            change(Arc::make_mut(&mut certificate));
            author.verdict(&StatementSignature::Certified { certificate, signature })
        };
        assert_eq!(altered(|certificate| certificate.until = Round(1_001)), wrong);
        assert_eq!(altered(|certificate| certificate.from = Round(1)), wrong);
        assert_eq!(altered(|certificate| certificate.key = SecretKey::ed25519_from_seed([9; 32]).public_key()), wrong);
    }

    /// What is known of one author, chain, epoch or key says nothing of another.
    #[test]
    fn known_certificates_change_no_verdict() {
        let known = KnownCertificates::default();
        let author = Author::new();
        let signature = author.certified(0, 1_000);
        let mut others = vec![(author.statement, author.consensus.public_key())];
        let mut other = |change: fn(&mut RoundStatement)| {
            let mut statement = author.statement;
            change(&mut statement);
            others.push((statement, author.consensus.public_key()));
        };
        other(|statement| statement.epoch = Epoch(4));
        other(|statement| statement.chain = ChainId(Digest::sha256(b"other")));
        other(|statement| statement.author = AuthorityIndex(7));
        other(|statement| statement.round = Round(1_000));
        others.push((author.statement, author.epoch_key.public_key()));
        for turn in 0..3 {
            for (statement, key) in &others {
                let verdict = known.verify(&signature, statement, key);
                assert_eq!(verdict, signature.verify(statement, key), "turn {turn}, {statement:?}");
                assert_eq!(verdict.is_ok(), (statement, key) == (&others[0].0, &others[0].1));
            }
        }
    }

    #[test]
    fn another_keys_signature_is_not_the_authors_with_or_without_a_certificate() {
        let author = Author::new();
        let wrong = Err(StatementError::Signature(SignatureError::Invalid(crate::InvalidSignature)));
        let message = author.statement.message();
        assert_eq!(author.verdict(&author.consensus.sign(&message).into()), Ok(()));
        assert_eq!(author.verdict(&author.epoch_key.sign(&message).into()), wrong);
        let StatementSignature::Certified { certificate, .. } = author.certified(0, 1_000) else { unreachable!() };
        let signature = author.consensus.sign(&message);
        assert_eq!(author.verdict(&StatementSignature::Certified { certificate, signature }), wrong);
    }

    #[test]
    fn both_kinds_read_back_and_no_part_of_them_does() {
        let author = Author::new();
        let direct = StatementSignature::Direct(author.consensus.sign(&author.statement.message()));
        assert_eq!(direct.to_bytes(), direct.signature().to_bytes());
        for signature in [direct, author.certified(3, 9)] {
            let bytes = signature.to_bytes();
            assert_eq!(StatementSignature::from_bytes(&bytes), Ok(signature));
            assert!((0..bytes.len()).all(|cut| StatementSignature::from_bytes(&bytes[..cut]).is_err()));
        }
    }
}
