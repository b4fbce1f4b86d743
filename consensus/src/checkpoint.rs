//! The state of consensus behind a commit: small, bit-exact, stored atomically with the state of execution.
//!
//! Absent: the set of committed blocks. Recovery rebuilds it from the commit records in the log.

use crate::schedule::ScheduleState;
use types::{BlockRef, Decode, DecodeError, Digest, Encode, Height, Reader, TimestampMs};

/// State behind one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Height of the commit.
    pub height: Height,
    /// Digest of its record.
    pub commit: Digest,
    /// Its leader.
    pub leader: BlockRef,
    /// Its BFT time.
    pub timestamp: TimestampMs,
    /// Scores and exclusions.
    pub schedule: ScheduleState,
}

impl Encode for Checkpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(1);
        self.height.encode(out);
        self.commit.encode(out);
        self.leader.encode(out);
        self.timestamp.encode(out);
        self.schedule.encode(out);
    }
}

impl Decode for Checkpoint {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u8::decode(reader)?;
        if version != 1 {
            return Err(DecodeError::UnknownTag { field: "checkpoint version", value: version.into() });
        }
        Ok(Self {
            height: Height::decode(reader)?,
            commit: Digest::decode(reader)?,
            leader: BlockRef::decode(reader)?,
            timestamp: TimestampMs::decode(reader)?,
            schedule: ScheduleState::decode(reader)?,
        })
    }
}
