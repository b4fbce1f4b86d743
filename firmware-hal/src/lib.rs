//! What a machine is: typed facts with their sources, taken once, and policies over them.
//!
//! Everything is read below an injectable [`Root`], so that a tree recorded on one machine answers on another, and is the
//! tests. Owns the reading of sysfs, procfs and EFI variables. What changes by the minute is [`health`]; only [`tune`] changes
//! anything. Deliberately absent: devices' own protocols.
//!
//! ```
//! use firmware_hal::{Inventory, Policy, Root};
//!
//! let machine = Inventory::take(&Root::system());
//! let policy = Policy::parse("[require]\n\"cpu.features\" = { contains = \"sse2\" }\n[warn]\n\"cpu.smt\" = false").unwrap();
//! for finding in policy.check(&machine) {
//!     println!("{finding}");
//! }
//! ```

pub mod catalogue;
mod ethtool;
mod fact;
pub mod health;
mod inventory;
mod listed;
mod named;
mod nvml;
pub mod placement;
mod policy;
mod probe;
mod root;
pub mod smart;
pub mod tune;

pub use fact::{Fact, Reading, Why};
pub use inventory::{
    Boot, Clock, Cpu, Crypto, Disk, Gpu, Identity, Inventory, Kernel, Memory, Nic, NumaNode, Nvme, Tpm, VERSION,
    Watchdog,
};
pub use listed::{Gap, Listed};
pub use named::Named;
pub use placement::{Place, Role, Unplaced, placement};
pub use policy::{Finding, Level, Policy, PolicyError};
pub use root::Root;
pub use tune::{How, Outcome, Setting, TuneError, Wanted};
