//! The fast path: what a client and a node say to each other over QUIC, one message a frame of `transport`.
//!
//! A client sends [`Submit`] frames; its transactions are numbered 0, 1, 2, … in the order in which they were sent in
//! this session, and the node answers each number once, in any order: with a receipt, a refusal, or "busy". A frame
//! that does not decode ends the session, because the numbering would no longer be shared. Deliberately absent: queries
//! and proofs (JSON-RPC has them), signatures, retries.

use bytes::Bytes;
use types::codec::put_bytes;
use types::{AuthorityIndex, ChainId, Decode, DecodeError, Encode, Height, Outcome, Reader, Reject};

/// Version of both encodings: the first byte of every frame.
pub const PROTOCOL_VERSION: u8 = 1;
/// Most transactions of a [`Submit`] frame.
pub const SUBMIT_TRANSACTIONS_MAX: usize = 4096;
/// Most bytes of a [`Submit`] frame, version and length prefixes included.
pub const SUBMIT_BYTES_MAX: usize = 1 << 20;
/// Most events of an [`Events`] frame.
pub const EVENTS_MAX: usize = 16_384;
/// Most bytes of an [`Events`] frame.
pub const EVENTS_BYTES_MAX: usize = 1 + EVENTS_MAX * Event::ENCODED_MAX;

/// Client to node: raw transactions, in the order in which they are numbered.
///
/// Encoding: the version byte, then each transaction with a `u32` length prefix, until the frame ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submit {
    /// Encoded transactions, at least one.
    pub transactions: Vec<Bytes>,
}

impl Submit {
    /// The frame. Use [`SubmitFrame`] to build one within its limits.
    pub fn encode(&self) -> Bytes {
        let mut frame = vec![PROTOCOL_VERSION];
        for transaction in &self.transactions {
            put_bytes(&mut frame, transaction);
        }
        frame.into()
    }

    /// Reads a frame. The transactions share its memory; their contents are not looked at.
    ///
    /// # Errors
    /// [`DecodeError`]: unknown version, over a limit, cut short, or without a transaction.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = open(frame, "submit frame", SUBMIT_BYTES_MAX)?;
        let mut transactions = Vec::new();
        while reader.remaining() > 0 {
            if transactions.len() == SUBMIT_TRANSACTIONS_MAX {
                let (field, limit) = ("submitted transactions", SUBMIT_TRANSACTIONS_MAX);
                return Err(DecodeError::TooLong { field, length: limit + 1, limit });
            }
            transactions.push(frame.slice_ref(reader.bytes("submitted transaction", SUBMIT_BYTES_MAX)?));
        }
        if transactions.is_empty() {
            return Err(DecodeError::NotCanonical { field: "submit frame" });
        }
        Ok(Self { transactions })
    }
}

/// A [`Submit`] frame that is being filled, without a vector of its parts.
#[derive(Clone, Debug)]
pub struct SubmitFrame {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for SubmitFrame {
    fn default() -> Self {
        Self { bytes: vec![PROTOCOL_VERSION], count: 0 }
    }
}

impl SubmitFrame {
    /// Whether one more transaction of this many bytes fits.
    pub fn fits(&self, transaction_bytes: usize) -> bool {
        self.count < SUBMIT_TRANSACTIONS_MAX && self.bytes.len() + 4 + transaction_bytes <= SUBMIT_BYTES_MAX
    }

    /// Appends a transaction; `false`, and nothing done, where it does not fit.
    pub fn push(&mut self, transaction: &[u8]) -> bool {
        let fits = self.fits(transaction.len());
        if fits {
            put_bytes(&mut self.bytes, transaction);
            self.count += 1;
        }
        fits
    }

    /// Transactions so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frame; `None` without a transaction. Starts over.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.is_empty() { None } else { Some(std::mem::take(self).bytes.into()) }
    }
}

/// What a node tells a client. Sequence numbers are those of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first event of a session: who answers, for which ledger.
    Hello {
        /// The ledger.
        chain: ChainId,
        /// The validator.
        validator: AuthorityIndex,
    },
    /// The transaction was committed and executed, and the commit is durable on this node.
    Receipt {
        /// Number of the transaction in the session.
        sequence: u64,
        /// Height at which it stands.
        height: Height,
        /// Position among the transactions of that height.
        index: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// The transaction was not taken, and never will be in this form.
    Refused {
        /// Number of the transaction in the session.
        sequence: u64,
        /// Why.
        reject: Reject,
    },
    /// The transaction was not taken because a queue is full; it may be sent again, under a new number.
    Busy {
        /// Number of the transaction in the session.
        sequence: u64,
        /// When to try again.
        retry_after_ms: u32,
    },
}

impl Event {
    /// Longest encoding: that of an [`Event::Receipt`] of a transaction with events.
    pub const ENCODED_MAX: usize = 1 + 8 + 8 + 4 + 2 + types::Digest::ENCODED_LEN;

    const HELLO: u8 = 0;
    const RECEIPT: u8 = 1;
    const REFUSED: u8 = 2;
    const BUSY: u8 = 3;

    /// The transaction that is answered; `None` for [`Event::Hello`].
    pub fn sequence(&self) -> Option<u64> {
        match *self {
            Self::Hello { .. } => None,
            Self::Receipt { sequence, .. } | Self::Refused { sequence, .. } | Self::Busy { sequence, .. } => {
                Some(sequence)
            }
        }
    }
}

impl Encode for Event {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { chain, validator } => {
                out.push(Self::HELLO);
                chain.encode(out);
                validator.encode(out);
            }
            Self::Receipt { sequence, height, index, outcome } => {
                out.push(Self::RECEIPT);
                sequence.encode(out);
                height.encode(out);
                index.encode(out);
                outcome.encode(out);
            }
            Self::Refused { sequence, reject } => {
                out.push(Self::REFUSED);
                sequence.encode(out);
                reject.encode(out);
            }
            Self::Busy { sequence, retry_after_ms } => {
                out.push(Self::BUSY);
                sequence.encode(out);
                retry_after_ms.encode(out);
            }
        }
    }
}

impl Decode for Event {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            Self::HELLO => {
                Ok(Self::Hello { chain: ChainId::decode(reader)?, validator: AuthorityIndex::decode(reader)? })
            }
            Self::RECEIPT => Ok(Self::Receipt {
                sequence: u64::decode(reader)?,
                height: Height::decode(reader)?,
                index: u32::decode(reader)?,
                outcome: Outcome::decode(reader)?,
            }),
            Self::REFUSED => Ok(Self::Refused { sequence: u64::decode(reader)?, reject: Reject::decode(reader)? }),
            Self::BUSY => Ok(Self::Busy { sequence: u64::decode(reader)?, retry_after_ms: u32::decode(reader)? }),
            tag => Err(DecodeError::UnknownTag { field: "event", value: tag.into() }),
        }
    }
}

/// Node to client: one or more events.
///
/// Encoding: the version byte, then the events, until the frame ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The events, at least one and at most [`EVENTS_MAX`].
    pub events: Vec<Event>,
}

impl Events {
    /// The frame.
    pub fn encode(&self) -> Bytes {
        encode_events(&self.events)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`DecodeError`]: unknown version or event, over a limit, cut short, or without an event.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(frame, "events frame", EVENTS_BYTES_MAX)?;
        let mut events = Vec::new();
        while reader.remaining() > 0 {
            if events.len() == EVENTS_MAX {
                return Err(DecodeError::TooLong { field: "events", length: EVENTS_MAX + 1, limit: EVENTS_MAX });
            }
            events.push(Event::decode(&mut reader)?);
        }
        if events.is_empty() { Err(DecodeError::NotCanonical { field: "events frame" }) } else { Ok(Self { events }) }
    }
}

/// The [`Events`] frame of a slice of 1 to [`EVENTS_MAX`] events.
pub fn encode_events(events: &[Event]) -> Bytes {
    let mut frame = Vec::with_capacity(1 + events.len() * Event::ENCODED_MAX);
    frame.push(PROTOCOL_VERSION);
    for event in events {
        event.encode(&mut frame);
    }
    frame.into()
}

fn open<'a>(frame: &'a [u8], field: &'static str, limit: usize) -> Result<Reader<'a>, DecodeError> {
    if frame.len() > limit {
        return Err(DecodeError::TooLong { field, length: frame.len(), limit });
    }
    let mut reader = Reader::new(frame);
    match u8::decode(&mut reader)? {
        PROTOCOL_VERSION => Ok(reader),
        version => Err(DecodeError::UnknownTag { field: "protocol version", value: version.into() }),
    }
}

#[cfg(test)]
mod tests;
