//! The bare-metal image: packages pinned in a lock file and our own binaries go in, a disk comes out, bit by bit the same
//! wherever it is built.
//!
//! All formats are written and read here, without external tools: what `image build` writes, `image verify` takes apart
//! again and recomputes. Pure modules (`fat`, `erofs`, `pe`, `uki`, `cpio`, `elf`, `deb`, `disk`) know bytes alone; `fetch`,
//! `assemble`, `boot` touch the world.
//!
//! Absent: the node's dependencies, and compiling anything but the modules of a driver that the operator brings.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod assemble;
pub mod boot;
pub mod configuration;
pub mod content;
pub mod cpio;
pub mod crates;
pub mod deb;
pub mod dev_ledger;
pub mod disk;
pub mod elf;
pub mod ending;
pub mod erofs;
pub mod failure;
pub mod fat;
pub mod fetch;
pub mod install;
pub mod kernel_line;
pub mod lock;
pub mod modinfo;
pub mod module_signature;
pub mod modules;
pub mod nvidia;
pub mod pe;
pub mod policy_key;
pub mod sbom;
pub mod scenarios;
pub mod scratch;
pub mod sign;
pub mod stick;
pub mod tables;
pub mod tree;
pub mod uki;
pub mod update;
pub mod verify;
