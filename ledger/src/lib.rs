//! Deterministic sharded execution: what an ordered commit does to the accounts, and the ledger header that says so.
//!
//! Owns the rules of transfers, deposit certificates, contracts and the governance, replay protection, receipts, the whole-state digest
//! ([`LtHash`]), ledger headers, and the shards that hold hot accounts. The same committed prefix gives the same headers
//! for any number of shards. Deliberately absent: clocks, randomness, files, sockets, async, floating point, and
//! signature verification; values are read through [`StateReader`] and verdicts come with the input. Threads appear
//! only as shard workers behind [`Ledger::execute`].
//!
//! ```
//! use ledger::{CommitInput, Ledger, LedgerOptions, MemoryState, OrderedTransaction};
//! use std::{num::NonZeroU16, sync::Arc};
//! use types::*;
//!
//! # let authority = |seed: u8| Authority {
//! #     name: format!("v{seed}"),
//! #     consensus_key: SecretKey::ed25519_from_seed([seed; 32]).public_key(),
//! #     transport_key: SecretKey::ed25519_from_seed([seed + 100; 32]).public_key(),
//! #     stake: Stake(1),
//! #     peer_address: "127.0.0.1:1".parse().unwrap(),
//! #     client_address: "127.0.0.1:2".parse().unwrap(),
//! #     rpc_address: "127.0.0.1:3".parse().unwrap(),
//! # };
//! let alice = SecretKey::ed25519_from_seed([1; 32]);
//! let bob = SecretKey::ed25519_from_seed([2; 32]).public_key().address();
//! let genesis = Genesis {
//!     ceremonies: Vec::new(),
//!     name: "example".into(),
//!     created_ms: 1_000,
//!     signature_algorithms: vec!["ed25519".into()],
//!     parameters: Parameters::default(),
//!     governance: Governance::default(),
//!     validators: vec![authority(10)],
//!     accounts: vec![Allocation { address: alice.public_key().address(), balance: Amount(100) }],
//! };
//! let state = Arc::new(MemoryState::default());
//! let (mut ledger, start) =
//!     Ledger::genesis(&genesis, NonZeroU16::MIN, state.clone(), LedgerOptions::default()).unwrap();
//! state.apply(&start.changes);
//!
//! let transfer = TransactionBody::Transfer { to: bob, amount: Amount(25), memo: Default::default() };
//! let transaction = Transaction::sign(&genesis.chain_id(), &alice, 2_000, 0, transfer).unwrap();
//! let block = BlockRef { round: Round(1), author: AuthorityIndex(0), digest: Digest::ZERO };
//! let executed = ledger
//!     .execute(CommitInput {
//!         height: Height(1),
//!         commit: Digest::sha256(b"the commit record"),
//!         timestamp: TimestampMs(1_500),
//!         state_root: Digest::ZERO,
//!         last_of_epoch: false,
//!         transactions: vec![OrderedTransaction {
//!             transaction: Ok(Arc::new(transaction)),
//!             signature_valid: true,
//!             block,
//!             index: 0,
//!         }],
//!     })
//!     .unwrap();
//! assert_eq!(executed.receipts[0].outcome, Outcome::Applied);
//! assert_eq!(executed.header.previous, start.header_digest);
//! ```

pub mod proof;

mod account;
mod admission;
mod checkpoint;
mod contracts;
mod engine;
mod executed;
mod governance;
mod input;
mod ledger;
mod live;
mod lthash;
mod rules;
mod screen;
mod shard;
mod state;
mod table;
mod value;

pub use account::Account;
pub use checkpoint::{LedgerCheckpoint, ResumeError};
pub use executed::{Executed, FaultyEntry, LiveChange, Work};
pub use governance::Approvals;
pub use input::{CommitInput, OrderedTransaction, Undecodable};
pub use ledger::{Ledger, LedgerOptions};
pub use live::{LiveBucket, LiveIds};
pub use lthash::{Accumulator, Element, LtHash};
pub use rules::{CALL_SLOTS_MAX, claims_id, is_author_fault};
pub use screen::Screen;
pub use shard::{SLOTS, shard_of, slot_of};
pub use state::{MemoryState, StateFault, StateReader};
pub use value::Value;
