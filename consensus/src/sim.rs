//! A deterministic simulator of whole committees, for tests and for `stele simulate`.
//!
//! Real cores, a priority queue of events, links that delay, lose, duplicate and reorder, partitions, disks that lose
//! what was not synced, signers with a sign-once guard, one kind of adversary. The same seed gives the same trace, byte
//! for byte. [`Violation`] lists what is checked after every step.
//!
//! Signatures are constant bytes: verifying them is the driver's job and not the core's, so they are neither made nor
//! checked here. Digests are real.
//!
//! ```
//! use consensus::sim::{Scenario, Simulation};
//!
//! let mut committee = Simulation::new(Scenario::new(7, 4));
//! committee.run_for(1_000).expect("nothing is violated");
//! committee.crash(2);
//! committee.run_for(1_000).expect("nothing is violated");
//! committee.restart(2).expect("its disk brings it back");
//! committee.run_for(1_000).expect("nothing is violated");
//! assert!(committee.height(2).0 > 10);
//! ```

mod adversary;
mod checks;
mod clock;
mod disk;
mod driver;
mod eras;
mod faults;
mod held;
mod inspect;
mod keys;
mod links;
mod liveness;
mod mix;
mod network;
mod node;
mod proposing;
mod queue;
mod report;
mod rng;
pub mod scenario;
mod sending;
mod simulation;
mod states;
mod svg;
mod timeline;
mod trace;
pub mod traffic;
mod violation;

pub use adversary::AdversaryKind;
pub use keys::Keys;
pub use links::{Distribution, Links};
pub use mix::{Fault, Mix};
pub use report::{Expect, Latency, Report, Window};
pub use rng::Rng;
pub use scenario::{Bounds, ClockPlan, Devices, LinkPlan, Scenario};
pub use simulation::Simulation;
pub use timeline::{Action, Membership, Planned, When, Who};
pub use traffic::{MessageKind, Traffic};
pub use violation::Violation;
