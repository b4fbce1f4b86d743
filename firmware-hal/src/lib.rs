//! What a machine is: typed facts with their sources, taken once, and policies over them.
//!
//! Everything is read below an injectable [`Root`], so that a tree recorded on one machine answers on another, and is the
//! tests. Owns the reading of sysfs, procfs and EFI variables. Deliberately absent: what changes by the minute, devices'
//! own protocols; only [`tune`] changes anything.
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
mod fact;
mod inventory;
mod named;
mod policy;
mod probe;
mod root;
pub mod tune;

pub use fact::{Fact, Reading, Why};
pub use inventory::{
    Boot, Clock, Cpu, Disk, Gpu, Identity, Inventory, Kernel, Memory, Nic, NumaNode, Nvme, Tpm, VERSION, Watchdog,
};
pub use named::Named;
pub use policy::{Finding, Level, Policy, PolicyError};
pub use root::Root;
pub use tune::{How, Outcome, Setting, TuneError, Wanted};
