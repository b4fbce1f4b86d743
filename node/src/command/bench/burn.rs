//! Keeps every core busy with something else, as execution keeps those of a validator.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Busy cores, until it is dropped.
#[derive(Debug)]
pub struct Burn {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Burn {
    /// A thread for each core.
    ///
    /// # Errors
    /// Those of the system when it starts no thread.
    pub fn start() -> std::io::Result<Self> {
        let mut burn = Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for core in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            let stop = burn.stop.clone();
            let work = move || {
                let mut digest = types::Digest::sha256(b"busy");
                while !stop.load(Ordering::Relaxed) {
                    digest = black_box(types::Digest::sha256(digest.as_bytes()));
                }
            };
            burn.threads.push(thread::Builder::new().name(format!("bench.busy.{core}")).spawn(work)?);
        }
        Ok(burn)
    }
}

impl Drop for Burn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
