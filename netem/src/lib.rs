//! An emulated network on one machine: hosts in network namespaces of their own, joined by a relay in this process that
//! delays, loses, duplicates, reorders, slows and cuts what passes from one to another.
//!
//! Every host has one interface (TUN) and one address, and so has this process's own namespace, the outside. Between the
//! outside and a host everything passes at once; between two hosts each direction has a [`Path`] that can be changed at any
//! time. What becomes of the n-th packet of a direction is a function of the seed alone. Nothing of the machine is changed
//! but for one interface, which goes with this process.
//!
//! Needs Linux with TUN and network namespaces, and the right to use them: root, or a user namespace
//! (`unshare --user --map-root-user --net`). Deliberately absent: what runs on the hosts, and IPv6.
//!
//! ```no_run
//! use netem::{Emulation, Path};
//! use std::{process::Command, time::Duration};
//!
//! let network = Emulation::start(4, 7)?;
//! network.set_all(Path { delay: Duration::from_millis(25), loss_ppm: 10_000, ..Path::default() });
//! let mut host = network.inside(2, || Command::new("ip").arg("address").spawn())?.unwrap();
//! # host.wait().unwrap();
//! # Ok::<(), netem::NetemError>(())
//! ```

mod emulation;
mod error;
mod namespace;
mod path;
mod relay;
mod tun;

pub use emulation::Emulation;
pub use error::NetemError;
pub use path::Path;
pub use relay::Counts;
