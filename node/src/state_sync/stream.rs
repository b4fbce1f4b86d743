//! The rows of a state: all values in rising order of their row keys, then all buckets of live ids in rising order of
//! heights, then the approvals of the governance if there are any. The same state has the same rows on every node.
//!
//! Long buckets and approvals go on over several rows, so that any row fits a chunk. Keys rise strictly, so a row cannot
//! be hidden behind another of the same key: what is summed is what is stored.
//!
//! A snapshot that is taken later than the state's height still has it, as long as the rows with what keys held before
//! are there ([`crate::tables::BeforeKey`]): that is how a node that was killed finds the state again.

use crate::tables::{BeforeKey, before_key, before_value};
use ledger::{Accumulator, Approvals, Element, LiveBucket, LtHash, Value};
use std::io::{self, Read, Write};
use storage::state::{Family, StateError, StateIterator, StateSnapshot};
use thiserror::Error;
use types::snapshot::{CHUNK_BYTES_MAX, ROW_VALUE_BYTES_MAX, RowKind, put_row};
use types::{Decode, DecodeError, Encode, Height, StateKey};

/// Longest key of a row.
const KEY_BYTES_MAX: u32 = 64;

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
    /// A row of the own database that says what a key held before.
    #[error("what the state held before cannot be read")]
    Before,
    /// More chunks than there may be.
    #[error("the state is too large for a snapshot")]
    TooLarge,
    /// The node stops.
    #[error("the node stops")]
    Stopped,
}

/// Writes the state of a snapshot as it stands, with the approvals behind it.
pub fn write(snapshot: &StateSnapshot<'_>, approvals: &Approvals, out: &mut impl Write) -> Result<(), StreamError> {
    let mut row = Vec::new();
    each(snapshot, None, approvals, |kind, key, value| {
        row.clear();
        put_row(&mut row, kind, key, value);
        Ok(out.write_all(&row)?)
    })
}

/// Gives every row of the state behind a height, or of the state as it stands in the snapshot, which may be taken later.
pub fn each(
    snapshot: &StateSnapshot<'_>,
    at: Option<Height>,
    approvals: &Approvals,
    mut emit: impl FnMut(RowKind, &[u8], &[u8]) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let mut before = Before::of(snapshot, at)?;
    for row in snapshot.iterate_all(Family::Accounts) {
        let (key, value) = row?;
        while let Some((key, old)) = before.value_up_to(&key, false)? {
            if let Some(old) = old {
                emit(RowKind::Value, &key, &old)?;
            }
        }
        match before.value_up_to(&key, true)? {
            Some((_, Some(old))) => emit(RowKind::Value, &key, &old)?,
            Some(_) => {}
            None => emit(RowKind::Value, &key, &value)?,
        }
    }
    while let Some((key, old)) = before.value_up_to(&[0xff; 64], false)? {
        if let Some(old) = old {
            emit(RowKind::Value, &key, &old)?;
        }
    }
    let mut bucket = |height: &[u8], value: &[u8]| {
        (0u32..)
            .zip(value.chunks(ROW_VALUE_BYTES_MAX))
            .try_for_each(|(part, value)| emit(RowKind::LiveIds, &[height, &part.to_be_bytes()].concat(), value))
    };
    let mut dropped = before.buckets.into_iter().peekable();
    for row in snapshot.iterate_all(Family::LiveIds) {
        let (key, value) = row?;
        let height = height_of(&key);
        if at.is_some_and(|at| height > at) {
            continue;
        }
        while let Some((height, value)) = dropped.next_if(|(dropped, _)| *dropped < height) {
            bucket(&height.0.to_be_bytes(), &value)?;
        }
        bucket(&key, &value)?;
    }
    for (height, value) in dropped {
        bucket(&height.0.to_be_bytes(), &value)?;
    }
    if *approvals != Approvals::default() {
        for (part, value) in (0u32..).zip(approvals.to_bytes().chunks(ROW_VALUE_BYTES_MAX)) {
            emit(RowKind::Approvals, &part.to_be_bytes(), value)?;
        }
    }
    Ok(())
}

fn height_of(key: &[u8]) -> Height {
    Height(key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

/// A key, and what it held; `None` where it held nothing.
type Held = (Vec<u8>, Option<Vec<u8>>);

/// What was changed since the height of a state, as it was.
struct Before<'a> {
    rows: Option<StateIterator<'a>>,
    next: Option<Held>,
    /// The key that was given last: of several changes of a key the first tells what it held.
    last: Vec<u8>,
    buckets: Vec<(Height, Vec<u8>)>,
}

impl<'a> Before<'a> {
    fn of(snapshot: &'a StateSnapshot<'_>, at: Option<Height>) -> Result<Self, StreamError> {
        let mut before = Self { rows: None, next: None, last: Vec::new(), buckets: Vec::new() };
        let Some(at) = at else { return Ok(before) };
        let mut rows = snapshot.iterate_all(Family::Before);
        for row in rows.by_ref() {
            let (key, value) = row?;
            match before_key(&key).ok_or(StreamError::Before)? {
                BeforeKey::Bucket(height) if height <= at => before.buckets.push((height, value.into_vec())),
                BeforeKey::Bucket(_) | BeforeKey::Pending => {}
                BeforeKey::Value(key) => {
                    before.next = Some((key.to_vec(), before_value(&value).ok_or(StreamError::Before)?));
                    break;
                }
            }
        }
        before.rows = Some(rows);
        Ok(before)
    }

    /// The next one whose key is below `key`, or is `key` where `equal`.
    fn value_up_to(&mut self, key: &[u8], equal: bool) -> Result<Option<Held>, StreamError> {
        let wanted = |next: &Held| if equal { next.0 == key } else { next.0[..] < *key };
        let Some(found) = self.next.take_if(|next| wanted(next)) else { return Ok(None) };
        self.last.clone_from(&found.0);
        for row in self.rows.iter_mut().flatten() {
            let (key, value) = row?;
            let Some(BeforeKey::Value(key)) = before_key(&key) else { return Err(StreamError::Before) };
            if *key != self.last {
                self.next = Some((key.to_vec(), before_value(&value).ok_or(StreamError::Before)?));
                break;
            }
        }
        Ok(Some(found))
    }
}

/// A row of a state's database.
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

/// A value that goes on over several rows.
struct Parts {
    kind: RowKind,
    /// Key without the number of the part.
    key: Vec<u8>,
    next: u32,
    value: Vec<u8>,
}

/// Reads a state to its end, gives each row of its database to `take`, and adds them up.
pub fn read<E: From<StreamError>>(
    input: &mut impl Read,
    mut take: impl FnMut(Row) -> Result<(), E>,
) -> Result<Total, E> {
    let mut total = Total { sum: LtHash::default(), live_buckets: 0, live_ids: 0, approvals: Approvals::default() };
    let (mut sum, mut parts) = (Accumulator::default(), None::<Parts>);
    let mut last: Option<(RowKind, Vec<u8>)> = None;
    for row in 0.. {
        let wrong = |what| StreamError::Row { row, what };
        let Some(tag) = tag(input).map_err(StreamError::Io)? else { break };
        let kind = RowKind::from_tag(tag).ok_or_else(|| wrong("unknown tag"))?;
        let (key, value) = (part(input, row, KEY_BYTES_MAX)?, part(input, row, CHUNK_BYTES_MAX as u32)?);
        if last.as_ref().is_some_and(|(last_kind, last_key)| (*last_kind, last_key) >= (kind, &key)) {
            return Err(wrong("keys do not rise").into());
        }
        last = Some((kind, key.clone()));
        if kind == RowKind::Value {
            let state_key = StateKey::from_row_key(&key).ok_or_else(|| wrong("its key is none of a state"))?;
            let decoded = Value::from_bytes(&state_key, &value).map_err(|_| wrong("it does not decode"))?;
            sum.add(&Element::value(&state_key, &decoded));
            take(Row { family: Family::Accounts, key, value })?;
            continue;
        }
        let expected = if kind == RowKind::LiveIds { 8 } else { 0 };
        let (whole, number) = key.split_at_checked(expected).ok_or_else(|| wrong("its key is none of a state"))?;
        let number: [u8; 4] = number.try_into().map_err(|_| wrong("its key is none of a state"))?;
        let number = u32::from_be_bytes(number);
        if value.is_empty() || value.len() > ROW_VALUE_BYTES_MAX {
            return Err(wrong("its length is none of a part").into());
        }
        match &mut parts {
            Some(parts) if parts.kind == kind && parts.key == whole => {
                if number != parts.next || parts.value.len() % ROW_VALUE_BYTES_MAX != 0 {
                    return Err(wrong("parts do not follow each other").into());
                }
                parts.next += 1;
                parts.value.extend_from_slice(&value);
            }
            _ if number != 0 => return Err(wrong("parts do not follow each other").into()),
            _ => {
                let begun = Parts { kind, key: whole.to_vec(), next: 1, value };
                if let Some(whole) = parts.replace(begun) {
                    finish(whole, row, &mut total, &mut sum, &mut take)?;
                }
            }
        }
    }
    if let Some(whole) = parts {
        finish(whole, u64::MAX, &mut total, &mut sum, &mut take)?;
    }
    total.sum = sum.sum();
    Ok(total)
}

/// A value of several rows is whole.
fn finish<E: From<StreamError>>(
    parts: Parts,
    row: u64,
    total: &mut Total,
    sum: &mut Accumulator,
    take: &mut impl FnMut(Row) -> Result<(), E>,
) -> Result<(), E> {
    let wrong = |what| StreamError::Row { row, what };
    let undecodable = |_: DecodeError| wrong("it does not decode");
    let Parts { kind, key, value, .. } = parts;
    if kind == RowKind::Approvals {
        total.approvals = Approvals::from_bytes(&value).map_err(undecodable)?;
        total.approvals.element().iter().for_each(|approvals| sum.add(&Element::approvals(approvals)));
        return Ok(());
    }
    let bucket = LiveBucket::from_bytes(&value).map_err(undecodable)?;
    if key != bucket.height.0.to_be_bytes() {
        return Err(wrong("its key is not its height").into());
    }
    total.live_buckets += 1;
    total.live_ids += bucket.ids.len() as u64;
    sum.add(&Element::live(bucket.height, &bucket.digest()));
    take(Row { family: Family::LiveIds, key, value })
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

fn part(input: &mut impl Read, row: u64, limit: u32) -> Result<Vec<u8>, StreamError> {
    let wrong = |what| StreamError::Row { row, what };
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(|_| wrong("it ends early"))?;
    let length = u32::from_le_bytes(length);
    if length > limit {
        return Err(wrong("it is too long"));
    }
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes).map_err(|_| wrong("it ends early"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
