//! Rows that go when heights are given up: receipts, events, and what leads to them. Headers, certificates, the order of
//! commits and the state stay: with them everything later is proven.

use super::{Batch, Place, TableError, Tables, document_key, history_key, transaction_key};
use ledger::claims_id;
use storage::state::Family;
use types::{BlockRef, Digest, Encode, Height, Outcome};

const PRUNED_KEY: &[u8] = b"pruned";
const LOG_BEGIN_KEY: &[u8] = b"log-begin";

/// What a height has rows under, besides its own number.
#[derive(Debug, Default)]
pub struct Rows {
    /// Documents that its transactions certified.
    pub documents: Vec<(Digest, Place)>,
}

impl Tables {
    /// The lowest height whose receipts and indexes are here; 0 where nothing was given up.
    pub fn pruned_below(&self) -> Result<Height, TableError> {
        Ok(self.row(Family::Meta, PRUNED_KEY)?.unwrap_or(Height(0)))
    }

    /// The oldest segment that the log must have: those before were given up, any other one that is gone is missing. `None`
    /// in a database that was made anew and has not been started with its log.
    pub fn log_begin(&self) -> Result<Option<u64>, TableError> {
        self.row(Family::Meta, LOG_BEGIN_KEY)
    }

    /// What a crash now would leave of [`Tables::log_begin`].
    pub fn persisted_log_begin(&self) -> Result<Option<u64>, TableError> {
        let row = self.db.persisted(Family::Meta, LOG_BEGIN_KEY)?;
        row.map(|row| super::decode(Family::Meta, &row)).transpose()
    }

    /// Has a batch remove what leads to a height: its transactions, what they certified, their events, its blocks.
    pub fn unlink(&self, batch: &mut Batch, height: Height, rows: &Rows) -> Result<(), TableError> {
        for (receipt, index) in self.receipts(height)?.unwrap_or_default().iter().zip(0..) {
            let place = Place { height, index };
            // An id that was claimed before leads to where it was claimed.
            if claims_id(receipt.outcome) && self.place(&receipt.transaction)? == Some(place) {
                batch.batch.delete(Family::TransactionIndex, &transaction_key(&receipt.transaction));
            }
            if let Outcome::Emitted(_) = receipt.outcome {
                for subject in self.events(place)?.iter().flat_map(types::LedgerEvent::subjects) {
                    batch.batch.delete(Family::TransactionIndex, &history_key(&subject, Some(place)));
                }
            }
        }
        for (document, place) in &rows.documents {
            batch.batch.delete(Family::TransactionIndex, &document_key(document, Some(*place)));
        }
        for block in self.commit_record(height)?.iter().flat_map(|record| &record.blocks) {
            batch.batch.delete(Family::BlockIndex, block.digest.as_bytes());
        }
        Ok(())
    }
}

impl Batch {
    /// Removes receipts and events below a height, and says so.
    pub fn prune_below(&mut self, from: Height, below: Height) {
        self.batch.delete_range(Family::Receipts, &from.0.to_be_bytes(), &below.0.to_be_bytes());
        self.batch.put(Family::Meta, PRUNED_KEY, &below.to_bytes());
    }

    /// Says which segment is the oldest that the log must have.
    pub fn log_begins_with(&mut self, segment: u64) {
        self.batch.put(Family::Meta, LOG_BEGIN_KEY, &segment.to_bytes());
    }

    /// The header of a block that the log gives up and that is still asked for: the last one of its author.
    pub fn keep_header(&mut self, block: &BlockRef, raw: &[u8]) {
        self.batch.put(Family::Headers, &super::synced::synced_key(block), raw);
    }
}
