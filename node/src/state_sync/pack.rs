//! A state in a directory: its rows in compressed chunks, and an index with the manifest. Snapshots that a node keeps and
//! those that are exported look alike.
//!
//! | file | what |
//! |---|---|
//! | `chunks` | the rows of each chunk, compressed with Snappy, one behind the other |
//! | `index` | the manifest; of each chunk its place in the file and its first row |
//! | `certified` | headers, certificates and commits below, once the root is certified (`certified.rs`) |
//!
//! Digests are over rows and not over what compression makes of them. Every chunk is checked when it is read.

mod packer;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use types::merkle::{leaf_hash, leaf_hashes, root_of_hashes};
use types::snapshot::{
    CHUNK_BYTES_MAX, RowKind, RowProof, RowRef, STATE_VERSION, StateChunk, StateManifest, StateProof,
};
use types::{Decode, DecodeError, Digest, Encode, Hasher, Height, MerkleProof, Reader, StateKey};

#[cfg(test)]
pub use packer::Packer;
pub use packer::pack;

/// Where the chunks stand.
pub const CHUNKS: &str = "chunks";
/// Where the manifest stands.
pub const INDEX: &str = "index";
/// Where headers and certificates stand.
pub const CERTIFIED: &str = "certified";
/// Longest key of a row.
const KEY_BYTES_MAX: usize = 64;
/// Most bytes of a compressed chunk.
pub const PACKED_BYTES_MAX: usize = CHUNK_BYTES_MAX + CHUNK_BYTES_MAX / 4;

/// Why a chunk is not that of its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// It does not unpack to as many bytes as it should have.
    #[error("it does not unpack")]
    Packing,
    /// It holds something else than rows, or not as many.
    #[error("it does not hold its rows")]
    Rows,
    /// Its rows have another root.
    #[error("its rows are others")]
    Root,
    /// The index says of another row that it is the first.
    #[error("its first row is not the one that the index names")]
    First,
}

/// Why a state in a directory cannot be read.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index is of another version, or damaged in its first byte.
    #[error("{} is of format {found}, and this release reads format {STATE_VERSION}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The format.
        found: u8,
    },
    /// A file does not decode.
    #[error("{}: {source}", path.display())]
    Index {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
    /// The index was changed.
    #[error("{}: its digest is another one", .0.display())]
    IndexDigest(PathBuf),
    /// The file of chunks has another length.
    #[error("{}: has {found} bytes where its index says {expected}", path.display())]
    Length {
        /// Which file.
        path: PathBuf,
        /// Bytes that there should be.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// A chunk is damaged.
    #[error("{}: chunk {index} is damaged: {source}", path.display())]
    Chunk {
        /// The file of chunks.
        path: PathBuf,
        /// Which.
        index: usize,
        /// How.
        source: ChunkError,
    },
    /// There is no such chunk.
    #[error("there is no chunk {0}")]
    NoChunk(usize),
}

/// Unpacks a chunk and checks it against its manifest. Allocates no more than the manifest says.
pub fn unpack(chunk: &StateChunk, packed: &[u8]) -> Result<Vec<u8>, ChunkError> {
    if snap::raw::decompress_len(packed).ok() != Some(chunk.bytes as usize) {
        return Err(ChunkError::Packing);
    }
    let rows = snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| ChunkError::Packing)?;
    let leaves = leaf_hashes(split(&rows).map_err(|_| ChunkError::Rows)?);
    if leaves.len() != chunk.rows as usize {
        return Err(ChunkError::Rows);
    }
    if root_of_hashes(leaves) == chunk.root { Ok(rows) } else { Err(ChunkError::Root) }
}

/// The rows of a chunk.
fn split(bytes: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let (mut reader, mut rows) = (Reader::new(bytes), Vec::new());
    while reader.remaining() > 0 {
        let start = reader.position();
        RowRef::read(&mut reader)?;
        rows.push(&bytes[start..reader.position()]);
    }
    Ok(rows)
}

/// The first row of a chunk, and where the packed chunk lies.
#[derive(Clone, Debug)]
struct Place {
    offset: u64,
    bytes: u32,
    kind: RowKind,
    key: Vec<u8>,
}

/// A state in a directory, ready to be read.
#[derive(Debug)]
pub struct Pack {
    dir: PathBuf,
    manifest: StateManifest,
    root: Digest,
    /// The height whose header carries the root.
    root_height: Height,
    places: Vec<Place>,
    file: File,
}

impl Pack {
    /// Opens it. Chunks are checked when they are read.
    pub fn open(dir: &Path) -> Result<Self, PackError> {
        let chunks = dir.join(CHUNKS);
        let (manifest, root_height, places) = index(dir)?;
        let file = File::open(&chunks).map_err(|source| PackError::Io { path: chunks.clone(), source })?;
        let found = file.metadata().map_err(|source| PackError::Io { path: chunks.clone(), source })?.len();
        let expected = places.last().map_or(0, |place| place.offset + u64::from(place.bytes));
        if found != expected {
            return Err(PackError::Length { path: chunks, expected, found });
        }
        let root = manifest.root();
        Ok(Self { dir: dir.to_owned(), manifest, root, root_height, places, file })
    }

    /// What a directory will hold when it is whole.
    pub fn index_of(dir: &Path) -> Result<StateManifest, PackError> {
        index(dir).map(|(manifest, _, _)| manifest)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it consists of.
    pub fn manifest(&self) -> &StateManifest {
        &self.manifest
    }

    /// The height of the state.
    pub fn height(&self) -> Height {
        self.manifest.summary.height
    }

    /// What names it.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The height whose header carries the root.
    pub fn root_height(&self) -> Height {
        self.root_height
    }

    /// Bytes of all packed chunks.
    pub fn packed_bytes(&self) -> u64 {
        self.places.last().map_or(0, |place| place.offset + u64::from(place.bytes))
    }

    /// Bytes of a packed chunk.
    pub fn packed_len(&self, index: usize) -> Option<u32> {
        self.places.get(index).map(|place| place.bytes)
    }

    /// A chunk as it lies in the file, checked.
    pub fn packed(&self, index: usize) -> Result<Vec<u8>, PackError> {
        self.read(index).map(|(packed, _)| packed)
    }

    /// The rows of a chunk, checked.
    pub fn rows(&self, index: usize) -> Result<Vec<u8>, PackError> {
        self.read(index).map(|(_, rows)| rows)
    }

    fn read(&self, index: usize) -> Result<(Vec<u8>, Vec<u8>), PackError> {
        let (Some(place), Some(chunk)) = (self.places.get(index), self.manifest.chunks.get(index)) else {
            return Err(PackError::NoChunk(index));
        };
        let mut packed = vec![0; place.bytes as usize];
        let io = |source| PackError::Io { path: self.dir.join(CHUNKS), source };
        self.file.read_exact_at(&mut packed, place.offset).map_err(io)?;
        let rows = unpack(chunk, &packed).map_err(|source| self.damaged(index, source))?;
        // The root is over the rows alone: what the index says of them is checked here.
        let first = RowRef::read(&mut Reader::new(&rows)).map_err(|_| self.damaged(index, ChunkError::Rows))?;
        if first.place() != (place.kind, &place.key[..]) {
            return Err(self.damaged(index, ChunkError::First));
        }
        Ok((packed, rows))
    }

    fn damaged(&self, index: usize, source: ChunkError) -> PackError {
        PackError::Chunk { path: self.dir.join(CHUNKS), index, source }
    }

    /// All rows, one chunk behind the other; a damaged one ends them with a [`PackError`] inside the error. Tells of each
    /// chunk, and how many there are.
    pub fn stream(&self, mut tell: impl FnMut(usize, usize)) -> impl Read {
        let count = self.manifest.chunks.len();
        Rows::new(count, move |index| {
            let rows = self.rows(index).map_err(io::Error::other)?;
            tell(index + 1, count);
            Ok(rows)
        })
    }

    /// Proves what the state holds under a key. Reads one chunk, or two at their seam.
    pub fn prove(&self, key: &StateKey) -> Result<StateProof, PackError> {
        let row_key = key.to_row_key();
        let wanted = (RowKind::Value, &row_key[..]);
        let behind = self.places.partition_point(|place| (place.kind, &place.key[..]) <= wanted);
        let summary = self.manifest.summary.clone();
        let Some(at) = behind.checked_sub(1) else {
            let rows = if self.places.is_empty() { Vec::new() } else { vec![self.row(0, |_| 0)?] };
            return Ok(StateProof { summary, rows });
        };
        // How many rows of the chunk are at or below the key.
        let rows = self.rows(at)?;
        let split = split(&rows).map_err(|_| self.damaged(at, ChunkError::Rows))?;
        let place = |row: &&[u8]| RowRef::read(&mut Reader::new(row)).is_ok_and(|row| row.place() <= wanted);
        let position = split.partition_point(place).saturating_sub(1);
        let count = split.len();
        let found = RowRef::read(&mut Reader::new(split[position])).is_ok_and(|row| row.place() == wanted);
        let mut proven = vec![self.proof_of(at, &split, position)];
        if !found {
            if position + 1 < count {
                proven.push(self.proof_of(at, &split, position + 1));
            } else if at + 1 < self.places.len() {
                proven.push(self.row(at + 1, |_| 0)?);
            }
        }
        Ok(StateProof { summary, rows: proven })
    }

    fn row(&self, chunk: usize, which: impl FnOnce(usize) -> usize) -> Result<RowProof, PackError> {
        let rows = self.rows(chunk)?;
        let split = split(&rows).map_err(|_| self.damaged(chunk, ChunkError::Rows))?;
        Ok(self.proof_of(chunk, &split, which(split.len())))
    }

    fn proof_of(&self, chunk: usize, rows: &[&[u8]], row: usize) -> RowProof {
        let leaves = leaf_hashes(rows.iter().copied());
        let chunks = self.manifest.chunks.iter().map(|chunk| leaf_hash(&chunk.to_bytes())).collect();
        RowProof {
            row: rows[row].to_vec(),
            in_chunk: MerkleProof::build(leaves, row).expect("the row is one of them"),
            chunk: self.manifest.chunks[chunk],
            in_state: MerkleProof::build(chunks, chunk).expect("the chunk is one of them"),
        }
    }
}

fn index_digest(content: &[u8]) -> Digest {
    Hasher::new("stele/state-index/1").with(content).finish()
}

fn index(dir: &Path) -> Result<(StateManifest, Height, Vec<Place>), PackError> {
    let path = dir.join(INDEX);
    let bytes = std::fs::read(&path).map_err(|source| PackError::Io { path: path.clone(), source })?;
    if let Some(found) = bytes.first().copied().filter(|found| *found != STATE_VERSION) {
        return Err(PackError::Version { path, found });
    }
    let (content, digest) = bytes.split_at(bytes.len().saturating_sub(Digest::ENCODED_LEN));
    if index_digest(content).to_bytes() != digest {
        return Err(PackError::IndexDigest(path));
    }
    read_index(content).map_err(|source| PackError::Index { path, source })
}

fn read_index(content: &[u8]) -> Result<(StateManifest, Height, Vec<Place>), DecodeError> {
    let mut reader = Reader::new(content);
    let (manifest, root_height) = (StateManifest::decode(&mut reader)?, Height::decode(&mut reader)?);
    let (mut places, mut offset) = (Vec::with_capacity(manifest.chunks.len()), 0);
    for _ in 0..manifest.chunks.len() {
        let (bytes, tag) = (u32::decode(&mut reader)?, u8::decode(&mut reader)?);
        let kind = RowKind::from_tag(tag);
        let kind = kind.ok_or(DecodeError::UnknownTag { field: "state row", value: tag.into() })?;
        if bytes as usize > PACKED_BYTES_MAX {
            return Err(DecodeError::NotCanonical { field: "packed chunk" });
        }
        places.push(Place { offset, bytes, kind, key: reader.bytes("row key", KEY_BYTES_MAX)?.to_vec() });
        offset += u64::from(bytes);
    }
    reader.finish()?;
    Ok((manifest, root_height, places))
}

/// The rows of chunks, one behind the other.
pub struct Rows<F> {
    chunk: F,
    count: usize,
    next: usize,
    rows: Vec<u8>,
    read: usize,
}

impl<F: FnMut(usize) -> io::Result<Vec<u8>>> Rows<F> {
    /// Of so many chunks; `chunk` gives the rows of one.
    pub fn new(count: usize, chunk: F) -> Self {
        Self { chunk, count, next: 0, rows: Vec::new(), read: 0 }
    }
}

impl<F: FnMut(usize) -> io::Result<Vec<u8>>> Read for Rows<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.rows.len() {
            if self.next == self.count {
                return Ok(0);
            }
            (self.rows, self.read) = ((self.chunk)(self.next)?, 0);
            self.next += 1;
        }
        let taken = out.len().min(self.rows.len() - self.read);
        out[..taken].copy_from_slice(&self.rows[self.read..self.read + taken]);
        self.read += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
