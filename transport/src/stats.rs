//! What an endpoint counts. Counters only grow; [`TransportStats`] is a reading of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{LinkFault, Violation};
use crate::mesh::Class;

/// Why a handshake, arriving or leaving, did not become a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Too many handshakes in progress, or too many sessions.
    Busy,
    /// The address starts more handshakes than allowed.
    RateLimited,
    /// A key outside the roster, not the one pinned, or a signature that does not verify. We refused.
    Key,
    /// The other side refused our key.
    KeyByPeer,
    /// It did not finish in time.
    TimedOut,
    /// Anything else that QUIC or TLS found wrong.
    Protocol,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Busy, Self::RateLimited, Self::Key, Self::KeyByPeer, Self::TimedOut, Self::Protocol];

    /// A short stable name, for metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::RateLimited => "rate_limited",
            Self::Key => "key",
            Self::KeyByPeer => "key_by_peer",
            Self::TimedOut => "timed_out",
            Self::Protocol => "protocol",
        }
    }
}

impl From<LinkFault> for Refusal {
    fn from(fault: LinkFault) -> Self {
        match fault {
            LinkFault::KeyRefused { by_peer: false } => Self::Key,
            LinkFault::KeyRefused { by_peer: true } => Self::KeyByPeer,
            LinkFault::TimedOut => Self::TimedOut,
            LinkFault::Busy => Self::Busy,
            _ => Self::Protocol,
        }
    }
}

/// Frames and their bytes, length prefixes not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames handed to QUIC.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames received whole.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames refused because the queue was full.
    pub dropped_full: u64,
}

/// A reading of an endpoint's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportStats {
    /// Handshakes that became links or sessions.
    pub handshakes_accepted: u64,
    /// Handshakes answered with a demand for proof of address.
    pub handshakes_retried: u64,
    /// Handshakes that failed, by [`Refusal::ALL`].
    pub handshakes_refused: [u64; Refusal::ALL.len()],
    /// Connections cut for misbehaviour, by [`Violation::ALL`].
    pub violations: [u64; Violation::ALL.len()],
    /// Traffic by [`Class::ALL`]. On the clients' endpoint all of it stands under [`Class::Payload`].
    pub classes: [Traffic; Class::ALL.len()],
    /// Requests sent.
    pub requests_sent: u64,
    /// Requests that ended without an answer.
    pub requests_failed: u64,
    /// Requests received.
    pub requests_received: u64,
    /// Sessions dropped because their queue was full.
    pub slow_dropped: u64,
    /// Frames that were sent a second time because their path loses packets.
    pub copies_sent: u64,
    /// Frames that were delivered from their copy, ahead of their stream.
    pub copies_used: u64,
}

impl TransportStats {
    /// Failed handshakes for one reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        position(&Refusal::ALL, &refusal).map_or(0, |at| self.handshakes_refused[at])
    }

    /// Connections cut for one violation.
    pub fn violation(&self, violation: Violation) -> u64 {
        position(&Violation::ALL, &violation).map_or(0, |at| self.violations[at])
    }

    /// Traffic of one class.
    pub fn class(&self, class: Class) -> Traffic {
        self.classes[class as usize]
    }
}

fn position<T: PartialEq>(all: &[T], one: &T) -> Option<usize> {
    all.iter().position(|x| x == one)
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) retried: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    violations: [AtomicU64; Violation::ALL.len()],
    classes: [TrafficCounters; Class::ALL.len()],
    pub(crate) requests_sent: AtomicU64,
    pub(crate) requests_failed: AtomicU64,
    pub(crate) requests_received: AtomicU64,
    pub(crate) slow_dropped: AtomicU64,
    pub(crate) copies_sent: AtomicU64,
    pub(crate) copies_used: AtomicU64,
}

#[derive(Debug, Default)]
struct TrafficCounters {
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    received_frames: AtomicU64,
    received_bytes: AtomicU64,
    dropped_full: AtomicU64,
}

/// Adds one.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(crate) fn refused(&self, refusal: Refusal) {
        if let Some(at) = position(&Refusal::ALL, &refusal) {
            bump(&self.refused[at]);
        }
    }

    pub(crate) fn violated(&self, violation: Violation) {
        if let Some(at) = position(&Violation::ALL, &violation) {
            bump(&self.violations[at]);
        }
    }

    pub(crate) fn sent(&self, class: Class, frames: usize, bytes: usize) {
        let counters = &self.classes[class as usize];
        counters.sent_frames.fetch_add(frames as u64, Relaxed);
        counters.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn received(&self, class: Class, frames: usize, bytes: usize) {
        let counters = &self.classes[class as usize];
        counters.received_frames.fetch_add(frames as u64, Relaxed);
        counters.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn dropped_full(&self, class: Class) {
        bump(&self.classes[class as usize].dropped_full);
    }

    pub(crate) fn read(&self) -> TransportStats {
        let one = |c: &AtomicU64| c.load(Relaxed);
        TransportStats {
            handshakes_accepted: one(&self.accepted),
            handshakes_retried: one(&self.retried),
            handshakes_refused: self.refused.each_ref().map(one),
            violations: self.violations.each_ref().map(one),
            classes: self.classes.each_ref().map(|c| Traffic {
                sent_frames: one(&c.sent_frames),
                sent_bytes: one(&c.sent_bytes),
                received_frames: one(&c.received_frames),
                received_bytes: one(&c.received_bytes),
                dropped_full: one(&c.dropped_full),
            }),
            requests_sent: one(&self.requests_sent),
            requests_failed: one(&self.requests_failed),
            requests_received: one(&self.requests_received),
            slow_dropped: one(&self.slow_dropped),
            copies_sent: one(&self.copies_sent),
            copies_used: one(&self.copies_used),
        }
    }
}
