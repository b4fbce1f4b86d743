//! Rows of the state database: which family holds what, under which key, in which encoding.
//!
//! Everything here can be rebuilt from the log. One batch a commit makes all rows of a height appear at once, together
//! with [`Applied`], which says where the log has to be read from after a crash.

use consensus::Checkpoint;
use ledger::{LedgerCheckpoint, LiveBucket, StateFault, StateReader, Value};
use std::sync::Arc;
use storage::log::LogPosition;
use storage::state::{Direction, Family, StateBatch, StateDb, StateError};
use thiserror::Error;
use types::codec::put_list;
use types::{
    AuthorityIndex, BlockRef, Certificate, CommitRecord, Decode, DecodeError, Digest, Encode, Height, LedgerEvent,
    LedgerHeader, Reader, Receipt, StateKey, TransactionId,
};

mod before;
mod epochs;
mod pruned;
mod synced;

pub use before::{BeforeKey, PendingSnapshot, StateRoot, before_key, before_value};
pub use pruned::Rows as PrunedRows;

/// Most receipts of one height: COMMIT_BLOCKS_MAX blocks never come together, this bounds a corrupt row.
const RECEIPTS_MAX: usize = 1 << 24;
const APPLIED_KEY: &[u8] = b"applied";

/// Why a row could not be read.
#[derive(Debug, Error)]
pub enum TableError {
    /// The database failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row does not decode: the database is damaged.
    #[error("a row of {family:?} does not decode: {source}")]
    Row {
        /// Which family.
        family: Family,
        /// Why.
        source: DecodeError,
    },
}

/// What the state has reached. Written with every commit.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Execution after its last height.
    pub ledger: LedgerCheckpoint,
    /// Consensus after the same height; none at genesis.
    pub consensus: Option<Checkpoint>,
    /// First segment of the log that a restart has to read.
    pub replay_from: u64,
    /// Transactions applied since genesis.
    pub committed: u64,
    /// Transactions rejected in receipts since genesis.
    pub rejected: u64,
}

impl Encode for Applied {
    fn encode(&self, out: &mut Vec<u8>) {
        self.ledger.encode(out);
        self.consensus.encode(out);
        self.replay_from.encode(out);
        self.committed.encode(out);
        self.rejected.encode(out);
    }
}

impl Decode for Applied {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ledger: LedgerCheckpoint::decode(reader)?,
            consensus: Option::decode(reader)?,
            replay_from: u64::decode(reader)?,
            committed: u64::decode(reader)?,
            rejected: u64::decode(reader)?,
        })
    }
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Height of its commit.
    pub height: Height,
    /// Its position among the transactions of that height.
    pub index: u32,
}

impl Encode for Place {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.index.encode(out);
    }
}

impl Decode for Place {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { height: Height::decode(reader)?, index: u32::decode(reader)? })
    }
}

/// Where the log holds a committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// The record with its payload: another's block, or an own proposal.
    pub block: LogPosition,
    /// Of an own block: the record with the signed header.
    pub signed: Option<LogPosition>,
}

impl Encode for BlockPlace {
    fn encode(&self, out: &mut Vec<u8>) {
        self.block.encode(out);
        self.signed.encode(out);
    }
}

impl Decode for BlockPlace {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { block: LogPosition::decode(reader)?, signed: Option::decode(reader)? })
    }
}

/// Typed access to the database. Cheap to clone; reads from any thread, written by the execution stage alone.
#[derive(Clone)]
pub struct Tables {
    db: Arc<StateDb>,
}

impl Tables {
    /// Over an open database.
    pub fn new(db: Arc<StateDb>) -> Self {
        Self { db }
    }

    /// Starts the batch of a commit.
    pub fn batch(&self) -> Batch {
        Batch { batch: self.db.batch() }
    }

    /// Writes a batch: all of it becomes readable at once.
    pub fn commit(&self, batch: Batch) -> Result<(), TableError> {
        Ok(self.db.commit(batch.batch)?)
    }

    /// Makes everything committed so far survive a crash without the log.
    pub fn flush(&self) -> Result<(), TableError> {
        Ok(self.db.flush()?)
    }

    /// What the state has reached; `None` in an empty database.
    pub fn applied(&self) -> Result<Option<Applied>, TableError> {
        self.row(Family::Meta, APPLIED_KEY)
    }

    /// A value of the state. Objects and grants lie in one family with accounts, under longer keys.
    pub fn value(&self, key: &StateKey) -> Result<Option<Value>, TableError> {
        let row = self.db.get(Family::Accounts, &key.to_row_key())?;
        let value = |row: Vec<u8>| Value::from_bytes(key, &row).map_err(|source| damaged(Family::Accounts, source));
        row.map(value).transpose()
    }

    /// The events of a transaction that was executed; none where it emitted none.
    pub fn events(&self, place: Place) -> Result<Vec<LedgerEvent>, TableError> {
        let Some(row) = self.db.get(Family::Receipts, &events_key(place))? else { return Ok(Vec::new()) };
        LedgerEvent::list_from_bytes(&row).map_err(|source| damaged(Family::Receipts, source))
    }

    /// The transactions whose events are about an object or a grant, oldest first, from `from` on, at most `limit`.
    pub fn history(&self, subject: &StateKey, from: Place, limit: usize) -> Result<Vec<Place>, TableError> {
        self.places(&history_key(subject, None), &history_key(subject, Some(from)), limit)
    }

    /// The ledger header of a height.
    pub fn header(&self, height: Height) -> Result<Option<LedgerHeader>, TableError> {
        self.row(Family::Headers, &header_key(b'h', height))
    }

    /// The certificate of a height, once enough votes were seen.
    pub fn certificate(&self, height: Height) -> Result<Option<Certificate>, TableError> {
        self.row(Family::Headers, &header_key(b'c', height))
    }

    /// The highest height whose certificate is stored; genesis needs none.
    pub fn last_certified(&self) -> Result<Height, TableError> {
        let Some(row) =
            self.db.iterate(Family::Headers, &header_key(b'c', Height(u64::MAX)), Direction::Reverse).next()
        else {
            return Ok(Height(0));
        };
        let (key, value) = row?;
        if key.first() != Some(&b'c') {
            return Ok(Height(0));
        }
        Ok(decode::<Certificate>(Family::Headers, &value)?.height())
    }

    /// The ordering of a height.
    pub fn commit_record(&self, height: Height) -> Result<Option<CommitRecord>, TableError> {
        self.row(Family::Commits, &height.0.to_be_bytes())
    }

    /// The receipts of a height, in order.
    pub fn receipts(&self, height: Height) -> Result<Option<Vec<Receipt>>, TableError> {
        let Some(row) = self.db.get(Family::Receipts, &height.0.to_be_bytes())? else { return Ok(None) };
        let mut reader = Reader::new(&row);
        let receipts = reader.list("receipts", RECEIPTS_MAX).map_err(|source| damaged(Family::Receipts, source))?;
        Ok(Some(receipts))
    }

    /// Where a transaction stands.
    pub fn place(&self, id: &TransactionId) -> Result<Option<Place>, TableError> {
        self.row(Family::TransactionIndex, &transaction_key(id))
    }

    /// The transactions that certified a document, oldest first, at most `limit`.
    pub fn document(&self, document: &Digest, limit: usize) -> Result<Vec<Place>, TableError> {
        let prefix = document_key(document, None);
        self.places(&prefix, &prefix, limit)
    }

    fn places(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Place>, TableError> {
        let mut places = Vec::new();
        for row in self.db.iterate(Family::TransactionIndex, from, Direction::Forward) {
            let (key, value) = row?;
            if !key.starts_with(prefix) || places.len() == limit {
                break;
            }
            places.push(decode(Family::TransactionIndex, &value)?);
        }
        Ok(places)
    }

    /// Where the log holds a committed block.
    pub fn block_place(&self, block: &Digest) -> Result<Option<BlockPlace>, TableError> {
        self.row(Family::BlockIndex, block.as_bytes())
    }

    /// The highest committed block of an author.
    pub fn last_block(&self, author: AuthorityIndex) -> Result<Option<BlockRef>, TableError> {
        self.row(Family::Meta, &author_key(author))
    }

    /// What a crash now would leave of [`Tables::applied`].
    pub fn persisted_applied(&self) -> Result<Option<Applied>, TableError> {
        let row = self.db.persisted(Family::Meta, APPLIED_KEY)?;
        row.map(|row| decode(Family::Meta, &row)).transpose()
    }

    /// The database, for those who hold it as it is at a moment.
    pub fn database(&self) -> Arc<StateDb> {
        Arc::clone(&self.db)
    }

    /// All live transaction ids, by bucket.
    pub fn live_buckets(&self) -> Result<Vec<LiveBucket>, TableError> {
        let mut buckets = Vec::new();
        for row in self.db.iterate(Family::LiveIds, &[], Direction::Forward) {
            let (_, value) = row?;
            buckets.push(decode(Family::LiveIds, &value)?);
        }
        Ok(buckets)
    }

    fn row<T: Decode>(&self, family: Family, key: &[u8]) -> Result<Option<T>, TableError> {
        self.db.get(family, key)?.map(|row| decode(family, &row)).transpose()
    }
}

impl StateReader for Tables {
    fn value(&self, key: &StateKey) -> Result<Option<Value>, StateFault> {
        Tables::value(self, key).map_err(|error| StateFault::Read(Box::new(error)))
    }

    fn values(&self, keys: &[StateKey]) -> Result<Vec<Option<Value>>, StateFault> {
        let row_keys: Vec<_> = keys.iter().map(StateKey::to_row_key).collect();
        let rows = self.db.multi_get(Family::Accounts, &row_keys);
        let rows = rows.map_err(|error| StateFault::Read(Box::new(error)))?;
        let value = |(row, key): (Option<Vec<u8>>, &StateKey)| {
            let decoded = row.map(|row| Value::from_bytes(key, &row)).transpose();
            decoded.map_err(|source| StateFault::Damaged { key: *key, source })
        };
        rows.into_iter().zip(keys).map(value).collect()
    }
}

/// The rows of one commit.
pub struct Batch {
    batch: StateBatch,
}

impl Batch {
    /// What the state reaches with this batch.
    pub fn applied(&mut self, applied: &Applied) {
        self.batch.put(Family::Meta, APPLIED_KEY, &applied.to_bytes());
    }

    /// What a key holds from now on; `None` where it holds nothing.
    pub fn value(&mut self, key: &StateKey, value: Option<&Value>) {
        let row = key.to_row_key();
        match value {
            Some(value) => self.batch.put(Family::Accounts, &row, &value.to_bytes()),
            None => self.batch.delete(Family::Accounts, &row),
        }
    }

    /// The events of a transaction, found again under what they are about.
    pub fn events(&mut self, place: Place, events: &[LedgerEvent]) {
        self.batch.put(Family::Receipts, &events_key(place), &LedgerEvent::list_to_bytes(events));
        for subject in events.iter().flat_map(LedgerEvent::subjects) {
            self.batch.put(Family::TransactionIndex, &history_key(&subject, Some(place)), &place.to_bytes());
        }
    }

    /// A height's header, ordering and receipts, and the place of each of its transactions.
    pub fn height(&mut self, header: &LedgerHeader, record: Option<&CommitRecord>, receipts: &[Receipt]) {
        let height = header.height;
        self.batch.put(Family::Headers, &header_key(b'h', height), &header.to_bytes());
        if let Some(record) = record {
            self.batch.put(Family::Commits, &height.0.to_be_bytes(), &record.to_bytes());
        }
        let mut row = Vec::with_capacity(4 + receipts.len() * 35);
        put_list(&mut row, receipts);
        self.batch.put(Family::Receipts, &height.0.to_be_bytes(), &row);
    }

    /// The header of a height that was not executed here.
    pub fn header(&mut self, header: &LedgerHeader) {
        self.batch.put(Family::Headers, &header_key(b'h', header.height), &header.to_bytes());
    }

    /// Where a transaction stands.
    pub fn place(&mut self, id: &TransactionId, place: Place) {
        self.batch.put(Family::TransactionIndex, &transaction_key(id), &place.to_bytes());
    }

    /// A transaction that certified a document.
    pub fn document(&mut self, document: &Digest, place: Place) {
        self.batch.put(Family::TransactionIndex, &document_key(document, Some(place)), &place.to_bytes());
    }

    /// Where the log holds a committed block.
    pub fn block_place(&mut self, block: &Digest, place: &BlockPlace) {
        self.batch.put(Family::BlockIndex, block.as_bytes(), &place.to_bytes());
    }

    /// The highest block of its author in a commit.
    pub fn last_block(&mut self, block: &BlockRef) {
        self.batch.put(Family::Meta, &author_key(block.author), &block.to_bytes());
    }

    /// A certificate that was assembled.
    pub fn certificate(&mut self, certificate: &Certificate) {
        self.batch.put(Family::Headers, &header_key(b'c', certificate.height()), &certificate.to_bytes());
    }

    /// The ids that a height claimed.
    pub fn live_bucket(&mut self, bucket: &LiveBucket) {
        self.batch.put(Family::LiveIds, &bucket.height.0.to_be_bytes(), &bucket.to_bytes());
    }

    /// A bucket of ids that have all expired.
    pub fn drop_live_bucket(&mut self, height: Height) {
        self.batch.delete(Family::LiveIds, &height.0.to_be_bytes());
    }
}

fn author_key(author: AuthorityIndex) -> [u8; 3] {
    let mut key = [b'b'; 3];
    key[1..].copy_from_slice(&author.0.to_be_bytes());
    key
}

fn header_key(kind: u8, height: Height) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&height.0.to_be_bytes());
    key
}

fn transaction_key(id: &TransactionId) -> [u8; 33] {
    let mut key = [b't'; 33];
    key[1..].copy_from_slice(id.0.as_bytes());
    key
}

fn document_key(document: &Digest, place: Option<Place>) -> Vec<u8> {
    let mut key = vec![b'd'];
    document.encode(&mut key);
    if let Some(place) = place {
        key.extend_from_slice(&place.height.0.to_be_bytes());
        key.extend_from_slice(&place.index.to_be_bytes());
    }
    key
}

/// Behind the receipts of its height.
fn events_key(place: Place) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&place.height.0.to_be_bytes());
    key[8..].copy_from_slice(&place.index.to_be_bytes());
    key
}

fn history_key(subject: &StateKey, place: Option<Place>) -> Vec<u8> {
    let mut key = vec![b's'];
    subject.encode(&mut key);
    if let Some(place) = place {
        key.extend_from_slice(&events_key(place));
    }
    key
}

fn decode<T: Decode>(family: Family, row: &[u8]) -> Result<T, TableError> {
    T::from_bytes(row).map_err(|source| damaged(family, source))
}

fn damaged(family: Family, source: DecodeError) -> TableError {
    TableError::Row { family, source }
}
