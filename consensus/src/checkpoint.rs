//! The state of consensus behind a commit: small, bit-exact, stored atomically with the state of execution.
//!
//! Absent: the set of committed blocks. Recovery rebuilds it from the commit records in the log.

use crate::config::Config;
use crate::counted::CountedAuthors;
use crate::epoch_end::EpochEnd;
use crate::schedule::{LeaderSchedule, ScheduleState};
use std::sync::Arc;
use types::{
    BlockHeader, BlockRef, CommitRecord, Decode, DecodeError, Digest, Encode, Height, Parameters, Reader, TimestampMs,
};

/// Version of the encoding.
const VERSION: u8 = 4;

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
    /// Whose marks of the epoch's end count.
    pub marked: CountedAuthors,
}

impl Checkpoint {
    /// The lowest height whose commit is needed to rebuild the checkpoint of `height`, in an epoch whose first commit has
    /// height `first`.
    pub fn rebuilt_from(parameters: &Parameters, first: Height, height: Height) -> Height {
        let marks = EpochEnd::follows_from(parameters, first, height);
        LeaderSchedule::follows_from(parameters, first, height).min(marks)
    }

    /// The checkpoint behind the last of `commits`, which a certificate vouches for: with it the whole of consensus
    /// follows from few commits, and nobody has to be believed. They are in rising order of heights without gaps, each
    /// with the headers of its blocks; `first` is the height of the epoch's first commit. `None` where there are none or
    /// they do not reach down to [`Checkpoint::rebuilt_from`].
    pub fn rebuild(config: &Config, first: Height, commits: &[(CommitRecord, Vec<Arc<BlockHeader>>)]) -> Option<Self> {
        let (lowest, last) = (&commits.first()?.0, &commits.last()?.0);
        let gapless = commits.iter().zip(lowest.height.0..).all(|((record, _), height)| record.height.0 == height);
        if !gapless || lowest.height > Self::rebuilt_from(&config.parameters, first, last.height) {
            return None;
        }
        let mut schedule = LeaderSchedule::from_height(config, first, lowest.height);
        let mut epoch_end = EpochEnd::new(config.committee.clone(), &config.parameters);
        for (_, headers) in commits {
            schedule.apply(headers);
            epoch_end.note(headers);
        }
        Some(Self {
            height: last.height,
            commit: last.digest(),
            leader: last.leader,
            timestamp: last.timestamp,
            schedule: schedule.state().clone(),
            marked: epoch_end.marked().clone(),
        })
    }
}

impl Encode for Checkpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.height.encode(out);
        self.commit.encode(out);
        self.leader.encode(out);
        self.timestamp.encode(out);
        self.schedule.encode(out);
        self.marked.encode(out);
    }
}

impl Decode for Checkpoint {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = u8::decode(reader)?;
        if version != VERSION {
            return Err(DecodeError::UnknownTag { field: "checkpoint version", value: version.into() });
        }
        Ok(Self {
            height: Height::decode(reader)?,
            commit: Digest::decode(reader)?,
            leader: BlockRef::decode(reader)?,
            timestamp: TimestampMs::decode(reader)?,
            schedule: ScheduleState::decode(reader)?,
            marked: CountedAuthors::decode(reader)?,
        })
    }
}
