//! Where the HSM is, as far as PCI tells: an encryption controller that is no part of a processor. One that is reached over the
//! network or USB is not seen, and near to nothing: a call to it takes a thousand times what the way between sockets does.

use crate::inventory::{Crypto, Inventory};
use std::collections::BTreeSet;

/// AMD, Hygon and Intel: what their processors have of this class keeps keys for the firmware and signs for nobody.
const PROCESSORS: [&str; 3] = ["0x1022", "0x1d94", "0x8086"];

/// What can be said of it.
pub(super) enum Hsm {
    /// It, or each that it may be, is at this node.
    At { node: u32, names: String },
    /// The signer gains nothing by any place, for this reason.
    Nowhere(String),
}

pub(super) fn hsm(machine: &Inventory) -> Hsm {
    let is_own = |crypto: &Crypto| crypto.vendor.value().is_some_and(|vendor| PROCESSORS.contains(&vendor.as_str()));
    let found: Vec<_> = machine.crypto.iter().filter(|(_, crypto)| !is_own(crypto)).collect();
    let names = found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let nodes: BTreeSet<Option<u32>> = found.iter().map(|(_, crypto)| crypto.numa_node.value().copied()).collect();
    let nodes: Vec<Option<u32>> = nodes.into_iter().collect();
    if machine.crypto.gap().is_some() {
        return Hsm::Nowhere("which encryption controllers there are is unknown".to_owned());
    }
    match nodes[..] {
        [] => Hsm::Nowhere("no encryption controller to be near to".to_owned()),
        [Some(node)] => Hsm::At { node, names },
        [None] => Hsm::Nowhere(format!("the encryption controller {names} does not say where it is")),
        _ => Hsm::Nowhere(format!("several encryption controllers, and nobody knows which signs: {names}")),
    }
}
