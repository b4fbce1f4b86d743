//! Frames on a byte stream: a little-endian `u32` length, then that many bytes.
//!
//! Owns the parser, which never allocates more than one frame ahead of its bytes, and the coalescing of outgoing frames.
//! Deliberately absent: what frames contain, and streams.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;
/// A frame up to this long is copied out of the packet it came in: as a slice it would keep the whole receive buffer
/// (up to 64 KiB) alive for as long as it is stored.
const COPY_MAX: usize = 16 * 1024;
/// A frame up to this long is copied into the batch it is sent with. QUIC walks its list of unacknowledged segments for
/// each packet, so that many tiny segments cost more than the copy.
const INLINE_MAX: usize = 8192;

/// A frame announced more bytes than the limit of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {announced} bytes, where {limit} are allowed")]
pub struct OversizeFrame {
    /// What the prefix said.
    pub announced: u32,
    /// The limit.
    pub limit: u32,
}

/// Cuts a stream of chunks into frames, whatever the boundaries of the chunks.
#[derive(Debug)]
pub struct FrameParser {
    limit: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Between frames, or inside a prefix of which `have` bytes are here.
    Prefix { bytes: [u8; PREFIX_BYTES], have: usize },
    /// Inside a frame that began in an earlier chunk: `missing` more bytes.
    Body { buffer: BytesMut, missing: usize },
}

const BETWEEN: State = State::Prefix { bytes: [0; PREFIX_BYTES], have: 0 };

impl FrameParser {
    /// A parser that accepts frames of up to `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Self { limit, state: BETWEEN }
    }

    /// Takes the next chunk of the stream and appends the frames that it completes. After an error the stream is lost:
    /// the parser must not be used again.
    pub fn push(&mut self, mut chunk: Bytes, frames: &mut Vec<Bytes>) -> Result<(), OversizeFrame> {
        loop {
            match &mut self.state {
                State::Prefix { bytes, have } => {
                    let take = chunk.len().min(PREFIX_BYTES - *have);
                    bytes[*have..*have + take].copy_from_slice(&chunk[..take]);
                    chunk.advance(take);
                    *have += take;
                    if *have < PREFIX_BYTES {
                        return Ok(());
                    }
                    let announced = u32::from_le_bytes(*bytes);
                    if announced > self.limit {
                        return Err(OversizeFrame { announced, limit: self.limit });
                    }
                    let length = announced as usize;
                    if chunk.len() < length {
                        let mut buffer = BytesMut::with_capacity(length);
                        buffer.extend_from_slice(&chunk);
                        self.state = State::Body { missing: length - chunk.len(), buffer };
                        return Ok(());
                    }
                    let frame = chunk.split_to(length);
                    frames.push(if length <= COPY_MAX { Bytes::copy_from_slice(&frame) } else { frame });
                    self.state = BETWEEN;
                }
                State::Body { buffer, missing } => {
                    let take = chunk.len().min(*missing);
                    buffer.extend_from_slice(&chunk[..take]);
                    chunk.advance(take);
                    *missing -= take;
                    if *missing > 0 {
                        return Ok(());
                    }
                    frames.push(std::mem::take(buffer).freeze());
                    self.state = BETWEEN;
                }
            }
        }
    }

    /// Whether a frame has begun and is not complete.
    pub fn mid_frame(&self) -> bool {
        !matches!(self.state, State::Prefix { have: 0, .. })
    }
}

/// Lays `frames` out as few chunks: small ones copied together behind their prefixes, large ones as they are. The frames
/// are drained. Every frame must be shorter than 4 GiB, which the send queues ensure.
pub(crate) fn coalesce(frames: &mut Vec<Bytes>, chunks: &mut Vec<Bytes>) {
    let copied = |frame: &Bytes| PREFIX_BYTES + if frame.len() <= INLINE_MAX { frame.len() } else { 0 };
    let mut buffer = BytesMut::with_capacity(frames.iter().map(copied).sum());
    for frame in frames.drain(..) {
        buffer.put_u32_le(u32::try_from(frame.len()).expect("limits of frames are 32-bit"));
        if frame.len() <= INLINE_MAX {
            buffer.extend_from_slice(&frame);
        } else {
            chunks.push(buffer.split().freeze());
            chunks.push(frame);
        }
    }
    if !buffer.is_empty() {
        chunks.push(buffer.freeze());
    }
}
