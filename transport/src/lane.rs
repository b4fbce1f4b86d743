//! A channel bounded in items and in bytes, from the readers of streams to the process.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::limits::EventLimits;

/// Bytes are counted in units of this many, so that a lane of 4 TiB still fits a permit count.
const UNIT: usize = 256;

#[derive(Debug)]
pub(crate) struct LaneSender<T> {
    items: mpsc::Sender<(T, u32)>,
    units: Arc<Semaphore>,
    units_max: u32,
}

#[derive(Debug)]
pub(crate) struct LaneReceiver<T> {
    items: mpsc::Receiver<(T, u32)>,
    units: Arc<Semaphore>,
}

impl<T> Clone for LaneSender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), units: self.units.clone(), units_max: self.units_max }
    }
}

/// The process no longer listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

pub(crate) fn lane<T>(limits: EventLimits) -> (LaneSender<T>, LaneReceiver<T>) {
    let units_max = (limits.bytes / UNIT as u32).max(1);
    let units = Arc::new(Semaphore::new(units_max as usize));
    let (sender, receiver) = mpsc::channel((limits.events as usize).max(1));
    (LaneSender { items: sender, units: units.clone(), units_max }, LaneReceiver { items: receiver, units })
}

impl<T> LaneSender<T> {
    /// Waits for room, first come first served, then hands the item over. Safe to cancel.
    pub(crate) async fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        // An item larger than the lane takes all of it.
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(u32::MAX).min(self.units_max);
        let permit = self.units.acquire_many(units).await.map_err(|_| Closed)?;
        let slot = self.items.reserve().await.map_err(|_| Closed)?;
        permit.forget();
        slot.send((item, units));
        Ok(())
    }
}

impl<T> LaneReceiver<T> {
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let (item, units) = self.items.recv().await?;
        self.units.add_permits(units as usize);
        Some(item)
    }

    pub(crate) fn try_recv(&mut self) -> Option<T> {
        let (item, units) = self.items.try_recv().ok()?;
        self.units.add_permits(units as usize);
        Some(item)
    }
}
