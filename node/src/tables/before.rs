//! Rows of the snapshot that is being read: at which height, what the governance approved there, and what each key that
//! has changed since held at it. With them a node that was killed finds the state of that height again, and can compute
//! its root. They are there only until the root is known.

use super::{Batch, TableError, Tables};
use ledger::{Approvals, Value};
use storage::state::Family;
use types::{Decode, DecodeError, Digest, Encode, Height, Reader, StateKey};

const ROOT_KEY: &[u8] = b"state-root";
const PENDING_KEY: &[u8] = b"p";
const BUCKET: u8 = b'l';
const VALUE: u8 = b'v';
/// Behind all rows.
const END: &[u8] = &[0xff];

/// A state root that was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRoot {
    /// The height of the state.
    pub height: Height,
    /// Its root.
    pub root: Digest,
}

impl Encode for StateRoot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.root.encode(out);
    }
}

impl Decode for StateRoot {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { height: Height::decode(reader)?, root: Digest::decode(reader)? })
    }
}

/// A snapshot whose root is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSnapshot {
    /// Its height.
    pub height: Height,
    /// What the governance approved there.
    pub approvals: Approvals,
}

impl Encode for PendingSnapshot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.approvals.encode(out);
    }
}

impl Decode for PendingSnapshot {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { height: Height::decode(reader)?, approvals: Approvals::decode(reader)? })
    }
}

/// What a row of [`Family::Before`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeKey<'a> {
    /// A bucket of live ids of this height that was dropped.
    Bucket(Height),
    /// The snapshot.
    Pending,
    /// A value with this row key; rows of a key follow each other in the order of its changes.
    Value(&'a [u8]),
}

/// Reads the key of such a row.
pub fn before_key(key: &[u8]) -> Option<BeforeKey<'_>> {
    match key.split_first()? {
        (&BUCKET, height) => Some(BeforeKey::Bucket(Height(u64::from_be_bytes(height.try_into().ok()?)))),
        (&VALUE, rest) => rest.split_last_chunk::<8>().map(|(key, _)| BeforeKey::Value(key)),
        _ => (key == PENDING_KEY).then_some(BeforeKey::Pending),
    }
}

/// Reads what a value was: the encoded value, or `None` inside where there was none.
pub fn before_value(row: &[u8]) -> Option<Option<Vec<u8>>> {
    match row.split_first()? {
        (0, []) => Some(None),
        (1, value) => Some(Some(value.to_vec())),
        _ => None,
    }
}

impl Tables {
    /// The last state root that was computed.
    pub fn state_root(&self) -> Result<Option<StateRoot>, TableError> {
        self.row(Family::Meta, ROOT_KEY)
    }

    /// The snapshot whose root is not known yet.
    pub fn pending_snapshot(&self) -> Result<Option<PendingSnapshot>, TableError> {
        self.row(Family::Before, PENDING_KEY)
    }

    /// The stored bucket of live ids of a height.
    pub fn live_bucket_row(&self, height: Height) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.db.get(Family::LiveIds, &height.0.to_be_bytes())?)
    }
}

impl Batch {
    /// A snapshot is taken of what this batch leaves. One before it that has no root yet gets none.
    pub fn begin_snapshot(&mut self, pending: &PendingSnapshot) {
        self.batch.delete_range(Family::Before, &[], END);
        self.batch.put(Family::Before, PENDING_KEY, &pending.to_bytes());
    }

    /// The root of the snapshot is known.
    pub fn state_root(&mut self, root: &StateRoot) {
        self.batch.delete_range(Family::Before, &[], END);
        self.batch.put(Family::Meta, ROOT_KEY, &root.to_bytes());
    }

    /// This batch, of `height`, changes a key that held `value`.
    pub fn before(&mut self, height: Height, key: &StateKey, value: Option<&Value>) {
        let mut row_key = vec![VALUE];
        row_key.extend(key.to_row_key());
        row_key.extend(height.0.to_be_bytes());
        let mut row = vec![u8::from(value.is_some())];
        if let Some(value) = value {
            value.encode(&mut row);
        }
        self.batch.put(Family::Before, &row_key, &row);
    }

    /// This batch drops a bucket of live ids.
    pub fn before_bucket(&mut self, height: Height, bucket: &[u8]) {
        let mut key = vec![BUCKET];
        key.extend(height.0.to_be_bytes());
        self.batch.put(Family::Before, &key, bucket);
    }
}
