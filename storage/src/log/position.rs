//! Where a record lies. Deliberately absent: anything about the record itself.

use types::codec::{Decode, DecodeError, Encode, Reader};

/// Place of a record in the log: the segment and the byte offset of its record header. Ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Number of the segment, from 0.
    pub segment: u64,
    /// Byte offset of the record header in its segment.
    pub offset: u32,
}

impl Encode for LogPosition {
    fn encode(&self, out: &mut Vec<u8>) {
        self.segment.encode(out);
        self.offset.encode(out);
    }
}

impl Decode for LogPosition {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { segment: u64::decode(reader)?, offset: u32::decode(reader)? })
    }
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}
