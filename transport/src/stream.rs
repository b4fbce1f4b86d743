//! Frames over one QUIC stream, each way, in large strides.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::error::{LinkFault, Violation};
use crate::frame::{FrameParser, coalesce};
use crate::queue::SendQueue;

/// Bytes that a writer takes from its queue at a time.
const BATCH_BYTES: usize = 256 * 1024;
/// Chunks (packets' worth of stream data) that a reader takes from QUIC at a time.
const READ_CHUNKS: usize = 64;

/// Reads frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: quinn::RecvStream,
    parser: FrameParser,
    chunks: [Bytes; READ_CHUNKS],
    stall: Duration,
}

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream, frame_bytes_max: u32, stall: Duration) -> Self {
        let chunks = std::array::from_fn(|_| Bytes::new());
        Self { stream, parser: FrameParser::new(frame_bytes_max), chunks, stall }
    }

    /// Waits for bytes and appends the frames that they complete, if any. `false` at the stream's end between frames.
    /// Safe to cancel.
    pub(crate) async fn read(&mut self, frames: &mut Vec<Bytes>) -> Result<bool, LinkFault> {
        let reading = self.stream.read_chunks(&mut self.chunks);
        let read = if self.parser.mid_frame() {
            timeout(self.stall, reading).await.map_err(|_| Violation::FrameStalled)?
        } else {
            reading.await
        };
        let Some(count) = read.map_err(|e| read_fault(&e))? else {
            return if self.parser.mid_frame() { Err(Violation::StreamEnded.into()) } else { Ok(false) };
        };
        for chunk in &mut self.chunks[..count] {
            self.parser.push(std::mem::take(chunk), frames).map_err(|_| Violation::OversizeFrame)?;
        }
        Ok(true)
    }
}

/// Writes what `queue` holds until it is closed: whatever waits leaves together. `taken` sees the frames before they leave,
/// `written` learns their number and bytes.
pub(crate) async fn write_frames(
    queue: &SendQueue,
    stream: &mut quinn::SendStream,
    mut taken: impl FnMut(&[Bytes]),
    written: impl Fn(usize, usize),
) -> Result<(), LinkFault> {
    let (mut batch, mut chunks) = (Vec::new(), Vec::new());
    while let Some(counted) = queue.take(&mut batch, BATCH_BYTES).await {
        taken(&batch);
        let (frames, bytes) = (batch.len(), batch.iter().map(Bytes::len).sum());
        coalesce(&mut batch, &mut chunks);
        stream.write_all_chunks(&mut chunks).await.map_err(|e| write_fault(&e))?;
        chunks.clear();
        queue.written(counted);
        written(frames, bytes);
    }
    Ok(())
}

/// Reads `N` bytes that must come first on a stream.
pub(crate) async fn read_preface<const N: usize>(
    stream: &mut quinn::RecvStream,
    stall: Duration,
) -> Result<[u8; N], LinkFault> {
    let mut preface = [0; N];
    match timeout(stall, stream.read_exact(&mut preface)).await.map_err(|_| Violation::FrameStalled)? {
        Ok(()) => Ok(preface),
        Err(quinn::ReadExactError::ReadError(error)) => Err(read_fault(&error)),
        Err(quinn::ReadExactError::FinishedEarly(_)) => Err(Violation::StreamEnded.into()),
    }
}

fn read_fault(error: &quinn::ReadError) -> LinkFault {
    match error {
        quinn::ReadError::ConnectionLost(error) => LinkFault::from(error),
        _ => Violation::StreamEnded.into(),
    }
}

pub(crate) fn write_fault(error: &quinn::WriteError) -> LinkFault {
    match error {
        quinn::WriteError::ConnectionLost(error) => LinkFault::from(error),
        // Stopped: framed streams are read for as long as their connection lives.
        _ => Violation::StreamEnded.into(),
    }
}
