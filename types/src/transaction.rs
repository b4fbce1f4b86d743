//! Transactions: what a client signs.
//!
//! A transaction is parsed once, where it enters, and then passed around with its raw bytes, its id and its parsed
//! fields. The id covers everything but the signatures, and each signature covers the id, so two signatures over one body
//! are one transaction. A call of contracts may have parties that sign besides the sender ([`Call::cosigners`]).

use crate::address::Address;
use crate::alg::AlgId;
use crate::amount::Amount;
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes};
use crate::contract::Call;
use crate::digest::{ChainId, Digest, Hasher, SigningMessage};
use crate::governance::Change;
use crate::key::{PublicKey, SecretKey, Signature, SignatureError};
use crate::reject::Reject;
use crate::units::{Epoch, TimestampMs};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

mod draft;

pub use draft::Draft;
use draft::not_the_sender;

/// Version of the encoding.
const VERSION: u8 = 2;
/// Name of the memo in errors.
const MEMO: &str = "memo";
/// Most bytes of a memo; the size limit of genesis is usually lower.
const MEMO_MAX: usize = 1 << 16;

/// The digest of a transaction's body without its signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(pub Digest);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Encode for TransactionId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for TransactionId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Digest::decode(reader).map(Self)
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionBody {
    /// Moves an amount from the sender's account to another, which is created where it does not exist.
    Transfer {
        /// Receiver.
        to: Address,
        /// Units of the ledger's one currency; not zero.
        amount: Amount,
        /// Free bytes, kept in the block.
        memo: Bytes,
    },
    /// Deposit certificate: puts the digest of a document on the ledger; its receipt's BFT time says when.
    Certify {
        /// Digest of the document.
        document: Digest,
        /// Free bytes, kept in the block.
        memo: Bytes,
    },
    /// Approval of a change of committee or parameters by the sender, a member of the governance.
    Govern {
        /// The epoch that the change would end; in another one the approval is void.
        epoch: Epoch,
        /// The change.
        change: Box<Change>,
    },
    /// Steps of contracts.
    Call(Box<Call>),
}

impl TransactionBody {
    const TRANSFER: u8 = 1;
    const CERTIFY: u8 = 2;
    const GOVERN: u8 = 3;
    const CALL: u8 = 4;

    /// Who signs besides the sender.
    pub fn cosigners(&self) -> &[PublicKey] {
        match self {
            Self::Call(call) => &call.cosigners,
            Self::Transfer { .. } | Self::Certify { .. } | Self::Govern { .. } => &[],
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let length = match self {
            Self::Transfer { memo, .. } | Self::Certify { memo, .. } => memo.len(),
            Self::Govern { .. } => 0,
            Self::Call(call) => {
                call.check()?;
                call.memo.len()
            }
        };
        if length > MEMO_MAX { Err(DecodeError::TooLong { field: MEMO, length, limit: MEMO_MAX }) } else { Ok(()) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Transfer { to, amount, memo } => {
                out.push(Self::TRANSFER);
                to.encode(out);
                amount.encode(out);
                put_bytes(out, memo);
            }
            Self::Certify { document, memo } => {
                out.push(Self::CERTIFY);
                document.encode(out);
                put_bytes(out, memo);
            }
            Self::Govern { epoch, change } => {
                out.push(Self::GOVERN);
                epoch.encode(out);
                change.encode(out);
            }
            Self::Call(call) => {
                out.push(Self::CALL);
                call.encode(out);
            }
        }
    }

    fn decode(raw: &Bytes, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            Self::TRANSFER => {
                let (to, amount) = (Address::decode(reader)?, Amount::decode(reader)?);
                Ok(Self::Transfer { to, amount, memo: memo(raw, reader)? })
            }
            Self::CERTIFY => Ok(Self::Certify { document: Digest::decode(reader)?, memo: memo(raw, reader)? }),
            Self::GOVERN => {
                Ok(Self::Govern { epoch: Epoch::decode(reader)?, change: Box::new(Change::decode(reader)?) })
            }
            Self::CALL => Ok(Self::Call(Box::new(Call::decode(reader, |reader| memo(raw, reader))?))),
            tag => Err(DecodeError::UnknownTag { field: "transaction body", value: tag.into() }),
        }
    }
}

fn memo(raw: &Bytes, reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    Ok(raw.slice_ref(reader.bytes(MEMO, MEMO_MAX)?))
}

/// Why bytes are not a transaction of this ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// Not canonical.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of another ledger.
    #[error("made for ledger {0}")]
    WrongChain(ChainId),
}

impl From<TransactionError> for Reject {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::WrongChain(_) => Reject::WrongChain,
            TransactionError::Decode(DecodeError::UnknownAlgorithm(_)) => Reject::AlgorithmNotAllowed,
            TransactionError::Decode(_) => Reject::Malformed,
        }
    }
}

/// A signature by a party that is not the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cosignature {
    signer: Address,
    signature: Signature,
}

/// What stands before the signatures.
struct Fields {
    valid_until: TimestampMs,
    nonce: u64,
    key: PublicKey,
    body: TransactionBody,
}

impl Fields {
    fn decode(chain: &ChainId, raw: &Bytes, reader: &mut Reader<'_>) -> Result<Self, TransactionError> {
        let version = u8::decode(reader)?;
        if version != VERSION {
            return Err(DecodeError::UnknownTag { field: "transaction version", value: version.into() }.into());
        }
        let named = ChainId::decode(reader)?;
        if named != *chain {
            return Err(TransactionError::WrongChain(named));
        }
        let (valid_until, nonce) = (TimestampMs::decode(reader)?, u64::decode(reader)?);
        Ok(Self { valid_until, nonce, key: PublicKey::decode(reader)?, body: TransactionBody::decode(raw, reader)? })
    }
}

/// A parsed transaction; its signatures are not verified yet unless its owner says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    raw: Bytes,
    id: TransactionId,
    sender: Address,
    key: PublicKey,
    valid_until: TimestampMs,
    nonce: u64,
    body: TransactionBody,
    signature: Signature,
    cosignatures: Vec<Cosignature>,
}

impl Transaction {
    /// Builds and signs. `nonce` tells apart transactions that are otherwise equal.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] for a memo over the limit of the encoding.
    pub fn sign(
        chain: &ChainId,
        key: &SecretKey,
        valid_until_ms: u64,
        nonce: u64,
        body: TransactionBody,
    ) -> Result<Self, DecodeError> {
        Self::sign_with(chain, &key.public_key(), valid_until_ms, nonce, body, |message| Ok(key.sign(message)))
    }

    /// [`Transaction::sign`] for a key that is elsewhere: `sign` makes its signature over the message, and is not asked for
    /// a transaction that cannot be.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] for a memo over the limit of the encoding; what `sign` says.
    pub fn sign_with<E: From<DecodeError>>(
        chain: &ChainId,
        key: &PublicKey,
        valid_until_ms: u64,
        nonce: u64,
        body: TransactionBody,
        sign: impl FnOnce(&SigningMessage) -> Result<Signature, E>,
    ) -> Result<Self, E> {
        let draft = Draft::new(chain, key, valid_until_ms, nonce, body)?;
        let signature = sign(&draft.message())?;
        Ok(draft.finish(&[signature])?)
    }

    /// Builds and signs for all parties, whose keys are at hand: the sender's first, the others in any order.
    ///
    /// # Errors
    /// [`DecodeError`] where the body is not canonical, or a signer's key is not among `keys`.
    pub fn sign_together(
        chain: &ChainId,
        keys: &[&SecretKey],
        valid_until_ms: u64,
        nonce: u64,
        body: TransactionBody,
    ) -> Result<Self, DecodeError> {
        let missing = DecodeError::NotCanonical { field: "signers" };
        let sender = keys.first().ok_or(missing)?.public_key();
        let draft = Draft::new(chain, &sender, valid_until_ms, nonce, body)?;
        let message = draft.message();
        let signature = |signer: &PublicKey| {
            let key = keys.iter().find(|key| key.public_key() == *signer).ok_or(missing)?;
            Ok(key.sign(&message))
        };
        let signatures: Result<Vec<_>, DecodeError> = draft.signers().iter().map(signature).collect();
        draft.finish(&signatures?)
    }

    /// Reads a transaction that takes all of `raw`, which it keeps without copying.
    ///
    /// # Errors
    /// [`TransactionError`]; the signatures are not looked at.
    pub fn parse(chain: &ChainId, raw: Bytes) -> Result<Self, TransactionError> {
        let mut reader = Reader::new(&raw);
        let Fields { valid_until, nonce, key, body } = Fields::decode(chain, &raw, &mut reader)?;
        let id = id_of(&raw[..reader.position()]);
        let (sender, signature) = (key.address(), Signature::decode(&mut reader)?);
        let cosigners = body.cosigners();
        let mut cosignatures = Vec::with_capacity(cosigners.len());
        for cosigner in cosigners {
            let signature = Signature::decode(&mut reader)?;
            cosignatures.push(Cosignature { signer: cosigner.address(), signature });
        }
        reader.finish()?;
        not_the_sender(sender, cosignatures.iter().map(|cosignature| cosignature.signer))?;
        Ok(Self { id, sender, key, valid_until, nonce, body, signature, cosignatures, raw })
    }

    /// Bytes that a transfer without a memo takes under a signature algorithm; the rest up to a wanted size is memo.
    pub const fn transfer_overhead(alg: AlgId) -> usize {
        let (key, signature) = (1 + alg.public_key_len(), 1 + alg.signature_len());
        let body = 1 + 32 + Amount::ENCODED_LEN_MIN + 4;
        1 + Digest::ENCODED_LEN + 8 + 8 + key + body + signature
    }

    /// The encoding, as it was received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The digest of everything but the signatures.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The account that signs.
    pub fn sender(&self) -> Address {
        self.sender
    }

    /// The key that signs.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The last moment at which it may be executed.
    pub fn valid_until(&self) -> TimestampMs {
        self.valid_until
    }

    /// What tells it apart from one that is otherwise equal.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// What it does.
    pub fn body(&self) -> &TransactionBody {
        &self.body
    }

    /// The sender's signature over [`Transaction::message`].
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Every key with the signature that it is said to have made over [`Transaction::message`], the sender's first: 1 to
    /// [`crate::contract::SIGNERS_MAX`] of them, all of which must hold.
    pub fn claims(&self) -> impl Iterator<Item = (&PublicKey, &Signature)> {
        let others = self.cosignatures.iter().map(|cosignature| &cosignature.signature);
        [(&self.key, &self.signature)].into_iter().chain(self.body.cosigners().iter().zip(others))
    }

    /// Number of [`Transaction::claims`].
    pub fn claim_count(&self) -> usize {
        1 + self.cosignatures.len()
    }

    /// Whether the account is the sender's or a cosigner's.
    pub fn is_signed_by(&self, account: &Address) -> bool {
        self.sender == *account || self.cosignatures.iter().any(|cosignature| cosignature.signer == *account)
    }

    /// What every signature covers.
    pub fn message(&self) -> SigningMessage {
        SigningMessage::transaction(&self.id.0)
    }

    /// The reference verdict on its signatures.
    ///
    /// # Errors
    /// [`SignatureError`] of the first that does not hold.
    pub fn verify(&self) -> Result<(), SignatureError> {
        let message = self.message();
        self.claims().try_for_each(|(key, signature)| key.verify(&message, signature))
    }
}

fn id_of(unsigned: &[u8]) -> TransactionId {
    TransactionId(Hasher::new("stele/transaction/1").with(unsigned).finish())
}
