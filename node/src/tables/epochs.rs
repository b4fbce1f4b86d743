//! Rows of epochs: those that the state has reached, and proofs of later ones.

use super::{Batch, TableError, Tables, decode, header_key};
use storage::state::{Direction, Family};
use types::{Encode, Epoch, EpochChange, EpochStart, Height};

impl Tables {
    /// The start of an epoch, once its committee is named by the last header of the one before.
    pub fn epoch(&self, epoch: Epoch) -> Result<Option<EpochStart>, TableError> {
        self.row(Family::Headers, &epoch_key(epoch))
    }

    /// The proof of an epoch that the state has reached; none of the first, which genesis names, and of one whose last
    /// height before it is not certified yet.
    pub fn epoch_change(&self, epoch: Epoch) -> Result<Option<EpochChange>, TableError> {
        let Some(start) = self.epoch(epoch)? else { return Ok(None) };
        let (last, certificate) = (self.header(start.anchor.height)?, self.certificate(start.anchor.height)?);
        Ok(last.zip(certificate).map(|(last, certificate)| EpochChange { start, last, certificate }))
    }

    /// The proof of an epoch that was learnt of before the state has reached it.
    pub fn known_change(&self, epoch: Epoch) -> Result<Option<EpochChange>, TableError> {
        self.row(Family::Headers, &known_key(epoch))
    }

    /// The epoch that the state has reached: that of the next height.
    pub fn last_epoch(&self) -> Result<Option<EpochStart>, TableError> {
        let last = epoch_key(Epoch(u64::MAX));
        let Some(row) = self.db.iterate(Family::Headers, &last, Direction::Reverse).next() else { return Ok(None) };
        let (key, value) = row?;
        if key.first() == last.first() { decode(Family::Headers, &value).map(Some) } else { Ok(None) }
    }
}

impl Batch {
    /// The start of an epoch.
    pub fn epoch(&mut self, start: &EpochStart) {
        self.batch.put(Family::Headers, &epoch_key(start.epoch()), &start.to_bytes());
    }

    /// An epoch and its proof, where the state comes from elsewhere.
    pub fn epoch_change(&mut self, change: &EpochChange) {
        self.epoch(&change.start);
        self.header(&change.last);
        self.certificate(&change.certificate);
    }

    /// The proof of an epoch that the state has not reached.
    pub fn known_change(&mut self, change: &EpochChange) {
        self.batch.put(Family::Headers, &known_key(change.start.epoch()), &change.to_bytes());
    }
}

fn epoch_key(epoch: Epoch) -> [u8; 9] {
    header_key(b'e', Height(epoch.0))
}

fn known_key(epoch: Epoch) -> [u8; 9] {
    header_key(b'k', Height(epoch.0))
}
