//! What is asked of an engine: items, and the batch they form. Knows no origin, no deadline and no engine.

use bytes::Bytes;
use types::{PublicKey, Signature, SigningMessage};

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A statement of the ledger: 47 bytes, held in place.
    Statement(SigningMessage),
    /// Any bytes; cheap to clone.
    Bytes(Bytes),
    /// The 32 bytes that the equation itself takes, hashed elsewhere: e of SM2 (GM/T 0003.2 §7.1 B3–B4, so that Z is in it
    /// already), the digest of ECDSA. Never valid under Ed25519, whose hash needs R.
    Prehashed([u8; 32]),
}

impl From<SigningMessage> for Message {
    fn from(statement: SigningMessage) -> Self {
        Self::Statement(statement)
    }
}

impl Message {
    /// The bytes to hash; `None` where they were hashed elsewhere.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Statement(statement) => Some(statement.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            Self::Prehashed(_) => None,
        }
    }

    /// The 32 bytes that were hashed elsewhere.
    pub fn prehashed(&self) -> Option<[u8; 32]> {
        match self {
            Self::Prehashed(digest) => Some(*digest),
            Self::Statement(_) | Self::Bytes(_) => None,
        }
    }
}

/// One question: does this signature hold for this message under this key? Of fixed size for curves: no allocation.
#[derive(Clone, Debug)]
pub struct Item {
    /// The key, any bytes of its length.
    pub key: PublicKey,
    /// What was signed.
    pub message: Message,
    /// The signature, any bytes of its length.
    pub signature: Signature,
}

impl Item {
    /// The reference verdict, one item by itself.
    pub fn verify_alone(&self) -> bool {
        match &self.message {
            Message::Statement(statement) => self.key.verify(statement, &self.signature).is_ok(),
            Message::Bytes(bytes) => self.key.verify_bytes(bytes, &self.signature).is_ok(),
            Message::Prehashed(digest) => self.key.verify_prehashed(digest, &self.signature).is_ok(),
        }
    }
}

/// How an engine goes about a batch. It changes the cost and never a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Mostly valid, it is hoped: one equation for many items, resolved to single ones where it fails.
    Together,
    /// From an origin whose batches failed lately: each item by itself, so that a bad one costs no neighbour anything.
    Singly,
}

/// Items that are verified in one go.
#[derive(Clone, Debug)]
pub struct Batch {
    items: Vec<Item>,
    path: Path,
}

impl Batch {
    /// A batch of `items`, in this order.
    pub fn new(items: Vec<Item>, path: Path) -> Self {
        Self { items, path }
    }

    /// The items, in the order of the verdicts.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How to go about it.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to verify.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
