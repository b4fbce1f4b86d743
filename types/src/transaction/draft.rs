//! Transactions before they are signed: what several parties look at, pass around and sign.
//!
//! Deliberately absent: keys; and how the parties reach each other.

use super::{Fields, Transaction, TransactionBody, TransactionError, TransactionId, VERSION, id_of};
use crate::address::Address;
use crate::codec::{DecodeError, Encode, Reader};
use crate::digest::{ChainId, SigningMessage};
use crate::key::{PublicKey, Signature};
use crate::units::TimestampMs;
use bytes::Bytes;

/// A transaction that waits for its signatures: what the parties of a call pass around.
///
/// ```
/// use types::{ChainId, Digest, Draft, SecretKey, TransactionBody};
///
/// let (chain, alice) = (ChainId(Digest::sha256(b"an example genesis")), SecretKey::ed25519_from_seed([1; 32]));
/// let body = TransactionBody::Certify { document: Digest::sha256(b"a document"), memo: Default::default() };
/// let draft = Draft::new(&chain, &alice.public_key(), 1_700_000_060_000, 7, body).unwrap();
/// let signature = alice.sign(&draft.message());
/// assert!(draft.finish(&[signature]).unwrap().verify().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    chain: ChainId,
    unsigned: Vec<u8>,
    signers: Vec<PublicKey>,
    valid_until: TimestampMs,
    body: TransactionBody,
}

impl Draft {
    /// Everything of a transaction but its signatures. `nonce` tells apart transactions that are otherwise equal.
    ///
    /// # Errors
    /// [`DecodeError`] where nobody would read it: a memo or a list over the limit of the encoding, or out of order.
    pub fn new(
        chain: &ChainId,
        sender: &PublicKey,
        valid_until_ms: u64,
        nonce: u64,
        body: TransactionBody,
    ) -> Result<Self, DecodeError> {
        body.check()?;
        // Room for most memos, so that the buffer does not grow step by step.
        let mut unsigned = Vec::with_capacity(512);
        unsigned.push(VERSION);
        chain.encode(&mut unsigned);
        valid_until_ms.encode(&mut unsigned);
        nonce.encode(&mut unsigned);
        sender.encode(&mut unsigned);
        body.encode(&mut unsigned);
        let cosigners = body.cosigners();
        not_the_sender(sender.address(), cosigners.iter().map(PublicKey::address))?;
        let signers = [sender].into_iter().chain(cosigners).cloned().collect();
        Ok(Self { chain: *chain, unsigned, signers, valid_until: TimestampMs(valid_until_ms), body })
    }

    /// Reads [`Draft::unsigned`].
    ///
    /// # Errors
    /// As [`Transaction::parse`].
    pub fn parse(chain: &ChainId, unsigned: Bytes) -> Result<Self, TransactionError> {
        let mut reader = Reader::new(&unsigned);
        let fields = Fields::decode(chain, &unsigned, &mut reader)?;
        reader.finish()?;
        let cosigners = fields.body.cosigners();
        not_the_sender(fields.key.address(), cosigners.iter().map(PublicKey::address))?;
        let signers = [&fields.key].into_iter().chain(cosigners).cloned().collect();
        let Fields { valid_until, body, .. } = fields;
        Ok(Self { chain: *chain, unsigned: unsigned.to_vec(), signers, valid_until, body })
    }

    /// The encoding without signatures.
    pub fn unsigned(&self) -> &[u8] {
        &self.unsigned
    }

    /// What it will do.
    pub fn body(&self) -> &TransactionBody {
        &self.body
    }

    /// The last moment at which it may be executed.
    pub fn valid_until(&self) -> TimestampMs {
        self.valid_until
    }

    /// The id that the transaction will have.
    pub fn id(&self) -> TransactionId {
        id_of(&self.unsigned)
    }

    /// What every party signs.
    pub fn message(&self) -> SigningMessage {
        SigningMessage::transaction(&self.id().0)
    }

    /// Whose signatures it needs, the sender's first: the order in which [`Draft::finish`] takes them.
    pub fn signers(&self) -> &[PublicKey] {
        &self.signers
    }

    /// The transaction with its signatures, which are not verified.
    ///
    /// # Errors
    /// [`DecodeError`] where there is another number of signatures than of signers.
    pub fn finish(self, signatures: &[Signature]) -> Result<Transaction, DecodeError> {
        let Self { chain, unsigned: mut raw, .. } = self;
        signatures.iter().for_each(|signature| signature.encode(&mut raw));
        Transaction::parse(&chain, raw.into()).map_err(|error| match error {
            TransactionError::Decode(error) => error,
            TransactionError::WrongChain(_) => unreachable!("signed for this very ledger"),
        })
    }
}

/// The sender signs once.
pub(super) fn not_the_sender(sender: Address, mut cosigners: impl Iterator<Item = Address>) -> Result<(), DecodeError> {
    if cosigners.any(|cosigner| cosigner == sender) {
        return Err(DecodeError::NotCanonical { field: "cosigners" });
    }
    Ok(())
}
