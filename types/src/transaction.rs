//! Transactions: what a client signs.
//!
//! A transaction is parsed once, where it enters, and then passed around with its raw bytes, its id and its parsed
//! fields. The id covers everything but the signature, and the signature covers the id, so two signatures over one body
//! are one transaction.

use crate::address::Address;
use crate::alg::AlgId;
use crate::codec::{Decode, DecodeError, Encode, Reader, put_bytes};
use crate::digest::{ChainId, Digest, Hasher, SigningMessage};
use crate::governance::Change;
use crate::key::{PublicKey, SecretKey, Signature, SignatureError};
use crate::reject::Reject;
use crate::units::{Epoch, TimestampMs};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Version of the encoding.
const VERSION: u8 = 1;
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
        amount: u64,
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
}

impl TransactionBody {
    const TRANSFER: u8 = 1;
    const CERTIFY: u8 = 2;
    const GOVERN: u8 = 3;

    fn check(&self) -> Result<(), DecodeError> {
        let length = match self {
            Self::Transfer { memo, .. } | Self::Certify { memo, .. } => memo.len(),
            Self::Govern { .. } => 0,
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
        }
    }

    fn decode(raw: &Bytes, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            Self::TRANSFER => {
                let (to, amount) = (Address::decode(reader)?, u64::decode(reader)?);
                Ok(Self::Transfer { to, amount, memo: memo(raw, reader)? })
            }
            Self::CERTIFY => Ok(Self::Certify { document: Digest::decode(reader)?, memo: memo(raw, reader)? }),
            Self::GOVERN => {
                Ok(Self::Govern { epoch: Epoch::decode(reader)?, change: Box::new(Change::decode(reader)?) })
            }
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

/// A parsed transaction; its signature is not verified yet unless its owner says so.
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
        body.check()?;
        // Room for most memos, so that the buffer does not grow step by step.
        let mut raw = Vec::with_capacity(512);
        raw.push(VERSION);
        chain.encode(&mut raw);
        valid_until_ms.encode(&mut raw);
        nonce.encode(&mut raw);
        key.encode(&mut raw);
        body.encode(&mut raw);
        sign(&SigningMessage::transaction(&id_of(&raw).0))?.encode(&mut raw);
        Self::parse(chain, raw.into()).map_err(|error| match error {
            TransactionError::Decode(error) => error.into(),
            TransactionError::WrongChain(_) => unreachable!("signed for this very ledger"),
        })
    }

    /// Reads a transaction that takes all of `raw`, which it keeps without copying.
    ///
    /// # Errors
    /// [`TransactionError`]; the signature is not looked at.
    pub fn parse(chain: &ChainId, raw: Bytes) -> Result<Self, TransactionError> {
        let mut reader = Reader::new(&raw);
        let version = u8::decode(&mut reader)?;
        if version != VERSION {
            return Err(DecodeError::UnknownTag { field: "transaction version", value: version.into() }.into());
        }
        let named = ChainId::decode(&mut reader)?;
        if named != *chain {
            return Err(TransactionError::WrongChain(named));
        }
        let (valid_until, nonce) = (TimestampMs::decode(&mut reader)?, u64::decode(&mut reader)?);
        let key = PublicKey::decode(&mut reader)?;
        let body = TransactionBody::decode(&raw, &mut reader)?;
        let id = id_of(&raw[..reader.position()]);
        let signature = Signature::decode(&mut reader)?;
        reader.finish()?;
        Ok(Self { id, sender: key.address(), key, valid_until, nonce, body, signature, raw })
    }

    /// Bytes that a transfer without a memo takes under a signature algorithm; the rest up to a wanted size is memo.
    pub const fn transfer_overhead(alg: AlgId) -> usize {
        let (key, signature) = (1 + alg.public_key_len(), 1 + alg.signature_len());
        let body = 1 + 32 + 8 + 4;
        1 + Digest::ENCODED_LEN + 8 + 8 + key + body + signature
    }

    /// The encoding, as it was received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The digest of everything but the signature.
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

    /// The signature over [`Transaction::message`].
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the signature covers.
    pub fn message(&self) -> SigningMessage {
        SigningMessage::transaction(&self.id.0)
    }

    /// The reference verdict on its signature.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.key.verify(&self.message(), &self.signature)
    }
}

fn id_of(unsigned: &[u8]) -> TransactionId {
    TransactionId(Hasher::new("stele/transaction/1").with(unsigned).finish())
}
