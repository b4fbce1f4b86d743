//! Snapshots that a start finds, checked whole: a byte that the disk has changed is found before somebody asks for it. What
//! vouches for them is proven from genesis on, as whoever copies them would; what cannot be proven is written anew out of
//! the database.

use super::kept::remove;
use super::{Kept, Shared};
use crate::state_sync::certified::Vouched;
use crate::state_sync::pack::CERTIFIED;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A node that is told to stop does not wait longer for it.
const NAP: Duration = Duration::from_millis(10);

impl Shared {
    /// Those that a start has found, the newest first.
    fn found(&self) -> Vec<Arc<Kept>> {
        self.lock().kept.values().rev().cloned().collect()
    }

    /// Takes over what is proven of what the files say.
    pub(super) fn check_vouched(&self) {
        for kept in self.found() {
            let proven = || -> Result<Option<Vouched>, Box<dyn Error>> {
                let Some(vouched) = Vouched::read(kept.pack.dir())? else { return Ok(None) };
                vouched.prove(&kept.pack, &self.service.genesis)?;
                Ok(Some(vouched))
            };
            match proven() {
                Ok(vouched) => drop(vouched.map(|vouched| kept.set_vouched(vouched))),
                Err(error) => {
                    let path = kept.pack.dir().join(CERTIFIED);
                    tracing::warn!(%error, path = %path.display(), "what vouches for a snapshot is damaged; it is written anew");
                    remove(&path);
                }
            }
        }
    }

    /// Reads every chunk once, as fast as peers may have them.
    pub(super) fn check_chunks(&self) {
        let (begun, mut bytes) = (Instant::now(), 0.0);
        for kept in self.found() {
            for index in 0..kept.pack.manifest().chunks.len() {
                if self.is_stopping() {
                    return;
                }
                if let Err(error) = kept.pack.packed(index) {
                    self.discard(&kept, &error);
                    break;
                }
                bytes += f64::from(kept.pack.packed_len(index).unwrap_or(0));
                let due = Duration::from_secs_f64(bytes / self.service.bytes_per_second as f64);
                while begun.elapsed() < due && !self.is_stopping() {
                    std::thread::sleep(NAP);
                }
            }
        }
    }
}
