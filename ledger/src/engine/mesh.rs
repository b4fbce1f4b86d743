//! How shard workers exchange the values of cross-shard transactions: one inbox each, bounded, values in parcels.
//!
//! For every cross-shard operation each participant sends the others the values of its keys, once, when the operation
//! heads its queues. A worker never blocks on a full inbox without emptying its own, so inboxes cannot deadlock; a worker that
//! must give up raises a flag that all others look at whenever they receive.

use super::threads::{AtomicU64, INBOX_PARCELS_EACH, PARCEL_VALUES, Receiver, Sender, TrySendError, bounded, thread};
use crate::value::Value;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The value of one key at its place in the order.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Index of the operation in the commit.
    pub(super) operation: u32,
    /// Which of the keys that the operation declares.
    pub(super) key: u8,
    pub(super) value: Option<Value>,
}

/// Values of one commit. An empty one only wakes.
#[derive(Debug)]
struct Parcel {
    sequence: u64,
    values: Vec<Sent>,
}

/// Another worker gave up on this commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned;

/// One worker's end of the exchange.
#[derive(Debug)]
pub(super) struct Mesh {
    me: usize,
    /// Counts commits; parcels of an abandoned one may still be in an inbox when the next begins.
    sequence: u64,
    inbox: Receiver<Parcel>,
    peers: Arc<[Sender<Parcel>]>,
    abandoned: Arc<AtomicU64>,
    outbox: Vec<Vec<Sent>>,
    arrived: Vec<Sent>,
    sent: u64,
}

impl Mesh {
    /// The ends of `count` workers.
    pub(super) fn connect(count: usize) -> Vec<Self> {
        let (peers, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| bounded(count * INBOX_PARCELS_EACH)).unzip();
        let (peers, abandoned): (Arc<[_]>, _) = (peers.into(), Arc::new(AtomicU64::new(0)));
        let end = |(me, inbox)| Self {
            me,
            sequence: 0,
            inbox,
            peers: Arc::clone(&peers),
            abandoned: Arc::clone(&abandoned),
            outbox: vec![Vec::new(); count],
            arrived: Vec::new(),
            sent: 0,
        };
        inboxes.into_iter().enumerate().map(end).collect()
    }

    /// Starts a commit; `sequence` is the same for all workers and never used again.
    pub(super) fn begin(&mut self, sequence: u64) {
        self.sequence = sequence;
        self.outbox.iter_mut().for_each(Vec::clear);
        self.arrived.clear();
        self.sent = 0;
    }

    /// The shard that this end belongs to.
    pub(super) fn me(&self) -> u16 {
        u16::try_from(self.me).expect("shards are counted in 16 bits")
    }

    /// Number of shards.
    pub(super) fn shards(&self) -> NonZeroU16 {
        let count = u16::try_from(self.peers.len()).expect("shards are counted in 16 bits");
        NonZeroU16::new(count).expect("this end belongs to a shard")
    }

    /// Values sent in this commit.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a value, now or with others at the next [`Mesh::flush`].
    pub(super) fn send(&mut self, to: u16, value: Sent) -> Result<(), Abandoned> {
        let to = usize::from(to);
        self.sent += 1;
        self.outbox[to].push(value);
        if self.outbox[to].len() >= PARCEL_VALUES { self.flush_to(to) } else { Ok(()) }
    }

    /// Sends everything that waits to be sent.
    pub(super) fn flush(&mut self) -> Result<(), Abandoned> {
        (0..self.peers.len()).try_for_each(|to| self.flush_to(to))
    }

    /// Values that have arrived; waits for some where there are none. To be called after [`Mesh::flush`].
    pub(super) fn receive(&mut self, values: &mut Vec<Sent>) -> Result<(), Abandoned> {
        while self.arrived.is_empty() {
            // The peers' ends hold a sender to this inbox, so it cannot be disconnected while this end exists.
            let parcel = self.inbox.recv().map_err(|_| Abandoned)?;
            self.unpack(parcel)?;
        }
        values.append(&mut self.arrived);
        Ok(())
    }

    /// Makes all other workers give up on this commit.
    pub(super) fn abandon(&self) {
        self.abandoned.store(self.sequence, Ordering::Release);
        for (peer, sender) in self.peers.iter().enumerate() {
            if peer != self.me {
                // A full inbox wakes its owner without this parcel.
                let _ = sender.try_send(Parcel { sequence: self.sequence, values: Vec::new() });
            }
        }
    }

    fn flush_to(&mut self, to: usize) -> Result<(), Abandoned> {
        if self.outbox[to].is_empty() {
            return Ok(());
        }
        let mut parcel = Parcel { sequence: self.sequence, values: std::mem::take(&mut self.outbox[to]) };
        loop {
            parcel = match self.peers[to].try_send(parcel) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(parcel)) => parcel,
                Err(TrySendError::Disconnected(_)) => return Err(Abandoned),
            };
            while let Ok(arrived) = self.inbox.try_recv() {
                self.unpack(arrived)?;
            }
            self.check()?;
            thread::yield_now();
        }
    }

    fn unpack(&mut self, mut parcel: Parcel) -> Result<(), Abandoned> {
        if parcel.sequence == self.sequence {
            self.arrived.append(&mut parcel.values);
        }
        self.check()
    }

    fn check(&self) -> Result<(), Abandoned> {
        if self.abandoned.load(Ordering::Acquire) == self.sequence { Err(Abandoned) } else { Ok(()) }
    }
}
