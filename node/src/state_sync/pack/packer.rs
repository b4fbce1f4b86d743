//! Writes a state: rows become chunks, chunks a file and a root.

use super::{CHUNKS, INDEX, Place, index_digest};
use crate::durable;
use crate::state_sync::stream::{self, StreamError};
use ledger::Approvals;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::state::StateSnapshot;
use types::codec::put_bytes;
use types::merkle::{leaf_hashes, root_of_hashes};
use types::snapshot::{CHUNK_BYTES_MAX, CHUNKS_MAX, RowKind, StateChunk, StateManifest, StateSummary, put_row};
use types::{Encode, Height, LedgerHeader};

/// Cuts rows into chunks, and writes them to a directory where there is one.
pub struct Packer<'a> {
    out: Option<BufWriter<File>>,
    stop: &'a AtomicBool,
    packer: snap::raw::Encoder,
    chunk: Vec<u8>,
    /// Where each row of the chunk ends.
    ends: Vec<usize>,
    first: Option<(RowKind, Vec<u8>)>,
    chunks: Vec<StateChunk>,
    places: Vec<Place>,
    rows: u64,
    bytes: u64,
}

impl<'a> Packer<'a> {
    /// Writes to this directory, or nowhere. A file that cannot be written is given up; the root is computed anyway.
    pub fn new(dir: Option<&Path>, stop: &'a AtomicBool) -> Self {
        let create = |dir: &Path| {
            std::fs::create_dir_all(dir)?;
            File::create(dir.join(CHUNKS))
        };
        let file = dir.and_then(|dir| create(dir).map_err(|error| not_written(&error)).ok());
        Self {
            out: file.map(|file| BufWriter::with_capacity(1 << 20, file)),
            stop,
            packer: snap::raw::Encoder::new(),
            chunk: Vec::with_capacity(CHUNK_BYTES_MAX),
            ends: Vec::new(),
            first: None,
            chunks: Vec::new(),
            places: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes the next row.
    pub fn row(&mut self, kind: RowKind, key: &[u8], value: &[u8]) -> Result<(), StreamError> {
        if self.chunk.len() + 9 + key.len() + value.len() > CHUNK_BYTES_MAX {
            self.close()?;
        }
        put_row(&mut self.chunk, kind, key, value);
        self.ends.push(self.chunk.len());
        self.first.get_or_insert_with(|| (kind, key.to_vec()));
        Ok(())
    }

    fn close(&mut self) -> Result<(), StreamError> {
        let Some((kind, key)) = self.first.take() else { return Ok(()) };
        if self.stop.load(Ordering::Relaxed) {
            return Err(StreamError::Stopped);
        }
        if self.chunks.len() == CHUNKS_MAX {
            return Err(StreamError::TooLarge);
        }
        let (rows, bytes) = (self.ends.len() as u32, self.chunk.len() as u32);
        let ranges = [0].into_iter().chain(self.ends.iter().copied()).zip(&self.ends);
        let root = root_of_hashes(leaf_hashes(ranges.map(|(start, end)| &self.chunk[start..*end])));
        self.chunks.push(StateChunk { rows, bytes, root });
        self.ends.clear();
        self.rows += u64::from(rows);
        self.bytes += u64::from(bytes);
        if let Some(out) = &mut self.out {
            let packed = self.packer.compress_vec(&self.chunk).map_err(io::Error::other);
            match packed.and_then(|packed| out.write_all(&packed).map(|()| packed.len())) {
                Ok(packed) => {
                    let offset = self.places.last().map_or(0, |last| last.offset + u64::from(last.bytes));
                    self.places.push(Place { offset, bytes: packed as u32, kind, key });
                }
                Err(error) => {
                    not_written(&error);
                    self.out = None;
                }
            }
        }
        self.chunk.clear();
        Ok(())
    }

    /// Ends the state of a header, whose root another will carry. Says whether the files were written, and are durable.
    pub fn finish(
        mut self,
        header: &LedgerHeader,
        root_height: Height,
        dir: Option<&Path>,
    ) -> Result<(StateManifest, bool), StreamError> {
        self.close()?;
        let summary = StateSummary {
            chain: header.chain,
            height: header.height,
            header: header.digest(),
            timestamp: header.timestamp,
            rows: self.rows,
            bytes: self.bytes,
            chunks: self.chunks.len() as u32,
            chunk_root: StateManifest::root_of(&self.chunks),
        };
        let manifest = StateManifest { summary, chunks: self.chunks };
        let Some((dir, out)) = dir.zip(self.out) else { return Ok((manifest, false)) };
        let written = write_index(dir, &manifest, root_height, &self.places)
            .and_then(|()| out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all())
            .and_then(|()| durable::sync_dir(dir));
        if let Err(error) = &written {
            not_written(error);
        }
        Ok((manifest, written.is_ok()))
    }
}

fn not_written(error: &io::Error) {
    tracing::error!(%error, "a snapshot of the state cannot be written; its root is computed without it");
}

fn write_index(dir: &Path, manifest: &StateManifest, root_height: Height, places: &[Place]) -> io::Result<()> {
    let mut content = manifest.to_bytes();
    root_height.encode(&mut content);
    for place in places {
        place.bytes.encode(&mut content);
        content.push(place.kind as u8);
        put_bytes(&mut content, &place.key);
    }
    let digest = index_digest(&content);
    digest.encode(&mut content);
    let mut file = File::create(dir.join(INDEX))?;
    file.write_all(&content)?;
    file.sync_all()
}

/// Computes the root of the state behind `header`, from a snapshot of the database at that height or later, and writes
/// the state to `dir` where it can.
pub fn pack(
    snapshot: &StateSnapshot<'_>,
    header: &LedgerHeader,
    approvals: &Approvals,
    root_height: Height,
    dir: Option<&Path>,
    stop: &AtomicBool,
) -> Result<(StateManifest, bool), StreamError> {
    let mut packer = Packer::new(dir, stop);
    stream::each(snapshot, Some(header.height), approvals, |kind, key, value| packer.row(kind, key, value))?;
    packer.finish(header, root_height, dir)
}
