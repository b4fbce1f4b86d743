//! The formats that the builder of the image, its verifier and its init share: the GUID partition table, the hash tree of
//! dm-verity, the kernel's command line as far as it is ours, the signed bundle of a machine's configuration and the part of it
//! that init reads, a signed release, the header of a sealed state, and the signed policies under which it opens.
//!
//! Everything here is a function from bytes to values and back. Absent: files, devices, system calls. Whatever is decoded
//! may come from a damaged disk or a stranger's stick: decoders return errors, never panic, and allocate no more than their
//! input is long.
//!
//! ```
//! use stele_image_formats::verity::Tree;
//! let data = vec![7; 3 * 4096];
//! let tree = Tree::over(&data).unwrap();
//! assert!(tree.covers(&data));
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod boot_line;
pub mod bundle;
pub mod crc32;
pub mod environment;
pub mod field;
pub mod gpt;
pub mod hsm_link;
pub mod machine;
pub mod policies;
pub mod release;
pub mod sealed_state;
pub mod verity;
