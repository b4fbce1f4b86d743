//! Checks what lies on the disk while the log goes on being written: every group of the segments before the one that is
//! written to. Bytes that the disk has changed are found here long before somebody asks for them.
//!
//! Deliberately absent: the segment that is written to, whose groups may be half there when they are read, and so a last
//! group before it that is gone without a trace; the next pass finds that.

use super::check::{Seen, check};
use super::io::SegmentReader;
use super::{Log, LogError};
use std::io;
use std::ops::ControlFlow;
use thiserror::Error;

impl Log {
    /// Reads the segments that are full, past the page cache where the log is written past it, and shows all of them to
    /// `see`, which can end the pass. Segments that are released meanwhile are no damage. Memory: one group, and what is
    /// read ahead.
    ///
    /// # Errors
    /// [`LogError::Io`] where segments cannot be listed or read. What is damaged is no error: it is seen.
    pub fn scrub(&self, see: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>) -> Result<(), LogError> {
        let last = self.shared.lock().writer.durable_segment();
        if self.oldest_segment() == last {
            return Ok(());
        }
        let mut read = 0;
        let full = UpTo { disk: self.shared.disk.as_ref(), last };
        let outcome = check(&full, &self.shared.identity, &mut |seen| {
            if let Seen::Segment { segment, .. } = seen {
                read = segment;
            }
            let flow = match seen {
                // Its first group has told whether the chain goes on.
                Seen::Segment { .. } if read == last => ControlFlow::Break(()),
                Seen::Damage(_) if read < self.oldest_segment() => ControlFlow::Continue(()),
                seen => see(seen),
            };
            if flow.is_break() { Err(Ended.into()) } else { Ok(()) }
        });
        match outcome {
            Err(LogError::Visitor { source, .. }) if source.is::<Ended>() => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// The pass is over.
#[derive(Debug, Error)]
#[error("the pass is over")]
struct Ended;

/// A disk without what was begun since.
struct UpTo<'a> {
    disk: &'a dyn SegmentReader,
    last: u64,
}

impl SegmentReader for UpTo<'_> {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut segments = self.disk.segments()?;
        segments.retain(|segment| *segment <= self.last);
        Ok(segments)
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        self.disk.length(segment)
    }

    fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read(segment, offset, into)
    }
}
