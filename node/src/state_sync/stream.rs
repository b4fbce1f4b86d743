//! The encoding of a state: all values in rising order of their row keys, then all buckets of live ids in rising order of
//! heights, then the approvals of the governance if there are any, each as a tag, its key and its value. The same state has the same bytes on every node.
//!
//! Keys rise strictly, so a row cannot be hidden behind another of the same key: what is summed is what is stored.

use ledger::{Approvals, Expansion, LiveBucket, LtHash, Value};
use std::io::{self, Read, Write};
use storage::state::{Family, StateError, StateSnapshot};
use thiserror::Error;
use types::{Decode, DecodeError, Encode, StateKey};

/// Families that make up a state, in their order, with their tags.
const FAMILIES: [(u8, Family); 2] = [(1, Family::Accounts), (2, Family::LiveIds)];
/// Tag of the approvals, which have no key.
const APPROVALS: u8 = 3;
/// Longest row: a bucket of live ids is by far the longest value.
const ROW_BYTES_MAX: u32 = 1 << 30;
/// What is reserved for a row before its bytes are there.
const ROW_RESERVE: usize = 1 << 16;

/// Whether the rows of a family are part of a state.
pub fn is_part(family: Family) -> bool {
    FAMILIES.iter().any(|(_, part)| *part == family)
}

/// Why a state cannot be written down or read.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A row that no honest node writes.
    #[error("row {row} is not one of a state: {what}")]
    Row {
        /// Which row.
        row: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Writes the state of a snapshot, with the approvals behind it.
pub fn write(snapshot: &StateSnapshot<'_>, approvals: &Approvals, out: &mut impl Write) -> Result<(), StreamError> {
    let mut write = |tag: u8, key: &[u8], value: &[u8]| {
        out.write_all(&[tag])?;
        [key, value].into_iter().try_for_each(|part| {
            out.write_all(&(part.len() as u32).to_le_bytes())?;
            out.write_all(part)
        })
    };
    for (tag, family) in FAMILIES {
        for row in snapshot.iterate_all(family) {
            let (key, value) = row?;
            write(tag, &key, &value)?;
        }
    }
    if *approvals != Approvals::default() {
        write(APPROVALS, &[], &approvals.to_bytes())?;
    }
    Ok(())
}

/// A row of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it belongs.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What the rows of a state add up to.
#[derive(Clone, Debug)]
pub struct Total {
    /// The sum behind the state digest.
    pub sum: LtHash,
    /// Buckets of live ids.
    pub live_buckets: u64,
    /// Ids in them.
    pub live_ids: u64,
    /// What the governance approves.
    pub approvals: Approvals,
}

/// Reads a state to its end, gives each row to `take`, and adds them up.
pub fn read<E: From<StreamError>>(
    input: &mut impl Read,
    mut take: impl FnMut(Row) -> Result<(), E>,
) -> Result<Total, E> {
    let (mut sum, mut expansion) = (LtHash::default(), Expansion::zeroed());
    let (mut live_buckets, mut live_ids, mut approvals) = (0, 0, Approvals::default());
    let mut last: Option<(u8, Vec<u8>)> = None;
    for row in 0.. {
        let wrong = |what| StreamError::Row { row, what };
        let Some(tag) = tag(input).map_err(StreamError::Io)? else { break };
        let (key, value) = (part(input, row)?, part(input, row)?);
        if last.as_ref().is_some_and(|(last_tag, last_key)| (*last_tag, last_key) >= (tag, &key)) {
            return Err(wrong("keys do not rise").into());
        }
        let undecodable = |_: DecodeError| wrong("it does not decode");
        last = Some((tag, key.clone()));
        if tag == APPROVALS && key.is_empty() {
            approvals = Approvals::from_bytes(&value).map_err(undecodable)?;
            sum.combine(&LtHash::of_state([], [], &approvals));
            continue;
        }
        let (_, family) = *FAMILIES.iter().find(|(known, _)| *known == tag).ok_or_else(|| wrong("unknown tag"))?;
        if family == Family::Accounts {
            let key = StateKey::from_row_key(&key).ok_or_else(|| wrong("its key is none of a state"))?;
            expansion.value(&key, &Value::from_bytes(&key, &value).map_err(undecodable)?);
        } else {
            let bucket = LiveBucket::from_bytes(&value).map_err(undecodable)?;
            if key != bucket.height.0.to_be_bytes() {
                return Err(wrong("its key is not its height").into());
            }
            (live_buckets, live_ids) = (live_buckets + 1, live_ids + bucket.ids.len() as u64);
            expansion.live(bucket.height, &bucket.digest());
        }
        sum.add(&expansion);
        take(Row { family, key, value })?;
    }
    Ok(Total { sum, live_buckets, live_ids, approvals })
}

fn tag(input: &mut impl Read) -> io::Result<Option<u8>> {
    let mut tag = [0];
    loop {
        match input.read(&mut tag) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(tag[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn part(input: &mut impl Read, row: u64) -> Result<Vec<u8>, StreamError> {
    let wrong = |what| StreamError::Row { row, what };
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(|_| wrong("it ends early"))?;
    let length = u32::from_le_bytes(length);
    if length > ROW_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    // What is allocated is in proportion to what is there, not to what the length promises.
    let mut bytes = Vec::with_capacity((length as usize).min(ROW_RESERVE));
    input.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() == length as usize { Ok(bytes) } else { Err(wrong("it ends early")) }
}

#[cfg(test)]
mod tests;
