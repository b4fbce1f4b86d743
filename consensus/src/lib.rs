//! The DAG protocol as a sans-io state machine, and its simulator.
//!
//! [`Core`] is one validator's consensus: Mysticeti's uncertified DAG and commit rule with the create-before-advance
//! pacemaker (`CONSENSUS.md`). It is told facts ([`Input`]) and gives orders ([`Effect`]); the same facts in the same
//! order always give the same orders. What is committed depends on the DAG alone, never on time or on the order in which
//! blocks came.
//!
//! Deliberately absent: clock, randomness, threads, files, sockets, floats and hash maps; signatures and payload bytes;
//! execution. [`sim`] runs many cores over simulated links and disks.
//!
//! ```
//! use consensus::{Core, Effect, Input, sim};
//! use types::AuthorityIndex;
//!
//! // A committee of one orders by itself.
//! let keys = sim::Keys::generate(1);
//! let config = keys.config(AuthorityIndex(0));
//! let mut core = Core::new(config.clone(), 0);
//! let (mut now, mut effects, mut commits) = (0, Vec::new(), 0);
//! core.step(now, Input::Tick, &mut effects);
//! while commits < 3 {
//!     for effect in std::mem::take(&mut effects) {
//!         match effect {
//!             // A real driver makes the block durable and has it signed before it answers.
//!             Effect::Propose { round, ancestors, misbehaviour, .. } => {
//!                 let header = keys.block(&config, round, ancestors, misbehaviour, now, 0);
//!                 core.step(now, Input::Proposed { header }, &mut effects);
//!             }
//!             Effect::Commit { record, .. } => {
//!                 commits += 1;
//!                 assert_eq!(record.height.0, commits);
//!             }
//!             _ => {}
//!         }
//!     }
//!     now = core.next_timer().unwrap_or(now).max(now);
//!     core.step(now, Input::Tick, &mut effects);
//! }
//! ```

mod ancestors;
mod authorities;
pub mod checkpoint;
mod committer;
pub mod config;
mod counted;
mod dag;
mod delays;
pub mod effect;
mod engine;
mod epoch_end;
pub mod input;
mod linearizer;
pub mod marks;
mod pacemaker;
mod reclaim;
pub mod recovery;
pub mod schedule;
pub mod sim;
mod suspended;
mod synchronizer;
pub mod validity;
mod wall_clock;

pub use checkpoint::Checkpoint;
pub use config::{Config, Pacing, Thresholds, genesis_refs};
pub use counted::CountedAuthors;
pub use effect::{AdoptError, Effect, Misbehaviour, Reclaiming, Status};
pub use engine::Core;
pub use epoch_end::EpochEnd;
pub use input::{HighestBlocks, Input};
pub use marks::Marks;
pub use recovery::{RecoverError, Recovered};
pub use schedule::LeaderSchedule;
pub use synchronizer::REQUEST_REFS_MAX;
pub use validity::{InvalidHeader, Validity};
