//! The only place that signs for a validator: two key stores behind [`Signer`], the sign-once [`guard`], and the signer
//! process with its typed socket protocol.
//!
//! Invariants: a statement's record is durable before its signature exists; one digest a round and one header a height,
//! for ever; no private key, PIN or passphrase leaves the signer process, is logged, or comes from a flag or the
//! environment. Deliberately absent: consensus, networking, and any request to sign arbitrary bytes.
//!
//! ```
//! use hsm::provision;
//! use hsm::config::{KeystoreConfig, StoreConfig};
//! use hsm::secret;
//!
//! let dir = tempfile::tempdir().unwrap();
//! let passphrase_file = dir.path().join("passphrase");
//! secret::create_random(&passphrase_file).unwrap();
//! let store = StoreConfig::Keystore(KeystoreConfig { path: dir.path().join("keys.stele"), passphrase_file });
//!
//! let keys = provision::generate(&store, None).unwrap();
//! assert_ne!(keys.consensus, keys.transport);
//! ```

mod atomic_file;
pub mod attestation;
pub mod ceremony;
pub mod child;
pub mod client;
pub mod command;
pub mod config;
mod delayed;
pub mod endorsement;
mod epoch_key;
pub mod error;
pub mod evidence;
pub mod guard;
pub mod guard_file;
pub mod handshake;
pub mod hexadecimal;
pub mod keystore;
pub mod machines;
pub mod pkcs11;
pub mod process;
pub mod protocol;
pub mod provision;
pub mod refusal;
pub mod secret;
pub mod server;
pub mod service;
pub mod signer;
pub mod softhsm;
pub mod stats;

pub use child::SignerChild;
pub use client::SignerClient;
pub use config::{SignerConfig, StoreConfig};
pub use error::{ConfigError, Fault, SignError, StartError, StoreError};
pub use refusal::Refusal;
pub use signer::{KeyRole, PublicKeys, Signer};
pub use stats::Stats;
