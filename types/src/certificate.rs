//! Certificates: proof that stake ≥ Q voted for a ledger header. No signature is made for them; a certificate is made of
//! round statements with the vote lists that they cover (CONSENSUS.md §0.1).

use crate::block::{BlockHeader, HeaderVote, RoundStatement, VOTES_MAX, votes_digest};
use crate::codec::{Decode, DecodeError, Encode, Reader, put_list};
use crate::committee::{COMMITTEE_MAX, Committee};
use crate::digest::{ChainId, Digest};
use crate::epoch_key::{StatementError, StatementSignature};
use crate::units::{AuthorityIndex, Epoch, Height, Round};
use thiserror::Error;

/// One validator's signed round with the votes in it, as much of a block as a certificate needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderStatement {
    /// The round in which it was signed.
    pub round: Round,
    /// Who signed.
    pub author: AuthorityIndex,
    /// Digest of the block's body.
    pub body_digest: Digest,
    /// The votes of that block.
    pub votes: Vec<HeaderVote>,
    /// The signature over the round statement.
    pub signature: StatementSignature,
}

impl From<&BlockHeader> for HeaderStatement {
    fn from(header: &BlockHeader) -> Self {
        Self {
            round: header.round(),
            author: header.author(),
            body_digest: header.statement().body_digest,
            votes: header.votes().to_vec(),
            signature: header.signature().clone(),
        }
    }
}

impl HeaderStatement {
    fn statement(&self, chain: ChainId, epoch: Epoch) -> RoundStatement {
        RoundStatement {
            chain,
            epoch,
            round: self.round,
            author: self.author,
            body_digest: self.body_digest,
            votes_digest: votes_digest(&self.votes),
        }
    }
}

impl Encode for HeaderStatement {
    fn encode(&self, out: &mut Vec<u8>) {
        self.round.encode(out);
        self.author.encode(out);
        self.body_digest.encode(out);
        put_list(out, &self.votes);
        self.signature.encode(out);
    }
}

impl Decode for HeaderStatement {
    const ENCODED_LEN_MIN: usize = 8 + 2 + Digest::ENCODED_LEN + 4 + StatementSignature::ENCODED_LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            round: Round::decode(reader)?,
            author: AuthorityIndex::decode(reader)?,
            body_digest: Digest::decode(reader)?,
            votes: reader.list("votes", VOTES_MAX)?,
            signature: StatementSignature::decode(reader)?,
        })
    }
}

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The statements are not in strictly rising order of authors.
    #[error("statements are not in strictly rising order of their authors")]
    Order,
    /// An author who is not in the committee.
    #[error("validator {0} is not in the committee")]
    UnknownAuthor(AuthorityIndex),
    /// A statement without a vote for the header.
    #[error("validator {0} did not vote for this header")]
    NoVote(AuthorityIndex),
    /// A wrong signature.
    #[error("validator {author}: {source}")]
    Signature {
        /// Whose.
        author: AuthorityIndex,
        /// What is wrong.
        source: StatementError,
    },
    /// Stake below Q.
    #[error("stake {stake} of {quorum} needed")]
    NoQuorum {
        /// Stake of the voters.
        stake: u64,
        /// Stake that is needed.
        quorum: u64,
    },
}

/// Round statements from stake ≥ Q that vote for one ledger header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The vote that they share.
    pub vote: HeaderVote,
    /// One statement an author, in rising order of authors.
    pub statements: Vec<HeaderStatement>,
}

impl Certificate {
    /// Checks everything: authors, votes, signatures, stake.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, chain: ChainId, committee: &Committee) -> Result<(), CertificateError> {
        let (mut stake, mut last) = (0, None);
        for statement in &self.statements {
            let author = statement.author;
            if last.replace(author).is_some_and(|last| last >= author) {
                return Err(CertificateError::Order);
            }
            let member = committee.authority(author).ok_or(CertificateError::UnknownAuthor(author))?;
            if !statement.votes.contains(&self.vote) {
                return Err(CertificateError::NoVote(author));
            }
            statement
                .signature
                .verify(&statement.statement(chain, committee.epoch()), &member.consensus_key)
                .map_err(|source| CertificateError::Signature { author, source })?;
            stake += member.stake.0;
        }
        let quorum = committee.quorum().0;
        if stake >= quorum { Ok(()) } else { Err(CertificateError::NoQuorum { stake, quorum }) }
    }

    /// Height of the certified header.
    pub fn height(&self) -> Height {
        self.vote.height
    }
}

impl Encode for Certificate {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        put_list(out, &self.statements);
    }
}

impl Decode for Certificate {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { vote: HeaderVote::decode(reader)?, statements: reader.list("statements", COMMITTEE_MAX)? })
    }
}
