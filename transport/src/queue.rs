//! A bounded queue of frames towards one receiver, between callers that never wait and the one task that writes.
//!
//! Bytes count as queued until they are handed to QUIC, whose send window bounds what comes after.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::error::SendError;
use crate::limits::QueueLimits;

/// What a frame costs besides its bytes, so that a queue of empty frames is bounded in bytes as well.
const OVERHEAD: usize = 32;

#[derive(Debug)]
pub(crate) struct SendQueue {
    frame_bytes_max: u32,
    limits: QueueLimits,
    // Held for a push or a drain; never across an await.
    state: Mutex<State>,
    ready: Notify,
    space: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl SendQueue {
    /// A closed queue: it takes frames from [`SendQueue::open`] on.
    pub(crate) fn new(frame_bytes_max: u32, limits: QueueLimits) -> Self {
        Self { frame_bytes_max, limits, state: Mutex::default(), ready: Notify::new(), space: Notify::new() }
    }

    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Drops what waits and refuses what comes, until the next [`SendQueue::open`].
    pub(crate) fn close(&self) {
        *self.lock() = State::default();
        self.ready.notify_one();
        self.space.notify_waiters();
    }

    /// Queues a frame, or says at once why not.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > self.frame_bytes_max as usize {
            return Err(SendError::TooLarge);
        }
        let mut state = self.lock();
        if !state.open {
            return Err(SendError::Down);
        }
        let bytes = state.bytes + frame.len() + OVERHEAD;
        // A frame of the largest size is always let into an empty queue.
        let full = state.bytes > 0 && bytes > self.limits.bytes as usize;
        if full || state.frames.len() >= self.limits.frames as usize {
            return Err(SendError::Full);
        }
        state.bytes = bytes;
        state.frames.push_back(frame);
        let first = state.frames.len() == 1;
        drop(state);
        if first {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Queues a frame, waiting for room.
    pub(crate) async fn push_wait(&self, frame: Bytes) -> Result<(), SendError> {
        loop {
            let mut space = std::pin::pin!(self.space.notified());
            // Registered before the attempt, so that room made in between is not missed.
            space.as_mut().enable();
            match self.push(frame.clone()) {
                Err(SendError::Full) => space.await,
                done => return done,
            }
        }
    }

    /// Waits for frames and moves up to `bytes_max` bytes of them, at least one, into `batch`. Returns what they count
    /// for [`SendQueue::written`], or `None` once closed.
    pub(crate) async fn take(&self, batch: &mut Vec<Bytes>, bytes_max: usize) -> Option<usize> {
        loop {
            {
                let mut state = self.lock();
                if !state.open {
                    return None;
                }
                let mut bytes = 0;
                while bytes < bytes_max
                    && let Some(frame) = state.frames.pop_front()
                {
                    bytes += frame.len() + OVERHEAD;
                    batch.push(frame);
                }
                if bytes > 0 {
                    return Some(bytes);
                }
            }
            self.ready.notified().await;
        }
    }

    /// A batch was handed to QUIC: its room is free again.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.space.notify_waiters();
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}
