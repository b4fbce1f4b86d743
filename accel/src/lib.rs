//! Batches of public work on the best device present: signatures are checked here, many at a time.
//!
//! Four ideas, kept apart:
//!
//! * *What is asked*: an [`Item`] is one (key, message, signature); a [`Batch`] goes to an engine whole; the answer is one
//!   verdict an item, [`Verdicts`], and each verdict equals that of [`types::PublicKey::verify`], bit for bit.
//! * *How it is checked*: an [`Engine`]. [`CpuEngine`] is always present and is the oracle of every other one. A device
//!   that fails answers [`DeviceFault`], which is never a verdict.
//! * *When a batch closes*: [`closing`], pure and without a clock; the threads around it are the [`Verifier`], which gives
//!   each batch to the CPU or to a [`Device`], by what either is measured to take.
//! * *What is believed of a device*: nothing that was not checked as far as [`TrustConfig`] says. A wrong answer is a
//!   fault too.
//!
//! Deliberately absent: the network, the ledger's rules (a verdict says nothing about balances), secrets of any kind.
//!
//! ```
//! use accel::{Item, Job, Origin, Priority, Verifier, VerifierConfig};
//! use std::time::{Duration, Instant};
//! use types::{Digest, SecretKey, SigningMessage};
//!
//! let verifier = Verifier::start(VerifierConfig::default()).unwrap();
//! let alice = SecretKey::ed25519_from_seed([1; 32]);
//! let message = SigningMessage::transaction(&Digest::sha256(b"a transfer"));
//! let item = Item { key: alice.public_key(), message: message.into(), signature: alice.sign(&message) };
//! let (done, verdicts) = std::sync::mpsc::channel();
//! let job = Job {
//!     origin: Origin::Client(1),
//!     priority: Priority::Ingress,
//!     deadline: Instant::now() + Duration::from_millis(5),
//!     items: vec![item],
//!     done: Box::new(move |result| drop(done.send(result))),
//! };
//! verifier.submit(job).unwrap();
//! assert!(verdicts.recv().unwrap().unwrap().all_valid());
//! ```

pub mod closing;
mod cpu;
pub mod device;
pub mod ed25519;
mod engine;
pub mod gpu;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod item;
mod key_cache;
mod service;
mod stats;
mod suspects;
#[cfg(target_arch = "x86_64")]
mod transpose;
mod trust;
mod verdicts;
pub mod weierstrass;

pub use closing::{Origin, Priority};
pub use cpu::{CpuEngine, CpuEngineError};
pub use device::{Device, DeviceError, DeviceState, Ticket};
pub use engine::{DeviceFault, Engine, FAULT_KINDS};
pub use item::{Batch, Item, Message, Path};
pub use service::{Busy, DeviceConfig, Done, Job, Placement, StartError, Verifier, VerifierConfig};
pub use stats::{BATCH_SIZE_CLASSES, CostFigures, DeviceStats, EngineStats, TrustCounts, VerifyStats};
pub use trust::TrustConfig;
pub use verdicts::Verdicts;
