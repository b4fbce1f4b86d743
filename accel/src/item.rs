//! What is asked of an engine: items, and the batch they form. Knows no origin, no deadline and no engine.

use types::{PublicKey, Signature, SigningMessage};

/// One question: does this signature hold for this message under this key? Of fixed size for curves: no allocation.
#[derive(Clone, Debug)]
pub struct Item {
    /// The key, any bytes of its length.
    pub key: PublicKey,
    /// What was signed.
    pub message: SigningMessage,
    /// The signature, any bytes of its length.
    pub signature: Signature,
}

impl Item {
    /// The reference verdict, one item by itself.
    pub fn verify_alone(&self) -> bool {
        self.key.verify(&self.message, &self.signature).is_ok()
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
