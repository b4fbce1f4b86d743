//! What a node keeps: [`log`], the append log that is the only durable truth, and [`state`], everything that can be
//! rebuilt from it, in RocksDB. [`sim`] is a disk that loses, tears and fails on demand.
//!
//! ```
//! use storage::log::{Log, LogOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let mut options = LogOptions::new(dir.path(), [7; 32]);
//! options.segment_bytes = 1 << 20;
//! let log = Log::open(options, None, &mut |_record| Ok(()))?;
//! let (sender, receiver) = std::sync::mpsc::channel();
//! let position = log.append(1, &[b"head", b"body"], Box::new(move |durable| drop(sender.send(durable))))?;
//! assert_eq!(receiver.recv()?, Ok(position));
//! assert_eq!(log.read(position)?.payload, "headbody");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod log;
pub mod sim;
pub mod state;
