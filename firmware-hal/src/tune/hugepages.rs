//! Huge pages that are set aside from other memory, as many as an operator asks for. A node asks for none itself: it is content
//! with transparent ones where a library asks for them, and what is set aside and not used is lost to the state's cache. So
//! nothing is wanted of them unless a count is given, for a PKCS#11 module, a driver or a program beside the node that takes them.

use super::{Setting, TuneError, Wanted};
use crate::inventory::Inventory;
use crate::root::Root;
use std::collections::BTreeMap;
use std::str::FromStr;

/// So many pages of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// Size of one, KiB.
    pub kib: u64,
    /// How many, over all nodes. 0 gives those back that there are.
    pub count: u64,
}

/// A text is no count of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write KIB=COUNT: the size of a page in KiB and how many of them, as in 2048=512")]
pub struct NoHugepages;

impl FromStr for Hugepages {
    type Err = NoHugepages;

    fn from_str(text: &str) -> Result<Self, NoHugepages> {
        let (kib, count) = text.split_once('=').ok_or(NoHugepages)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| NoHugepages);
        Ok(Self { kib: number(kib)?, count: number(count)? })
    }
}

/// Refuses sizes that a machine does not have, where it is known which it has.
pub(super) fn admit(machine: &Inventory, wishes: &[Hugepages]) -> Result<(), TuneError> {
    let sizes = &machine.memory.hugepages;
    let unknown = |wish: &&Hugepages| sizes.gap().is_none() && !sizes.contains_key(&wish.kib.to_string());
    let Some(wish) = wishes.iter().find(unknown) else { return Ok(()) };
    let known = sizes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(TuneError::NoSuchPages { kib: wish.kib, known: if known.is_empty() { "none".to_owned() } else { known } })
}

/// Whether a file counts them.
pub(super) fn is_count(path: &str) -> bool {
    path.ends_with("/nr_hugepages")
}

/// What is wanted of each node that has memory, or of the machine where it has but one: even shares, and what is left over on
/// the first nodes. Of several wishes for a size the last one counts.
pub(super) fn settings(root: &Root, machine: &Inventory, wishes: &[Hugepages]) -> Vec<Setting> {
    let wishes: BTreeMap<u64, u64> = wishes.iter().map(|wish| (wish.kib, wish.count)).collect();
    let with_memory = machine.numa.iter().filter(|(_, node)| node.bytes.value() != Some(&0));
    let mut nodes: Vec<u32> = with_memory.filter_map(|(number, _)| number.parse().ok()).collect();
    nodes.sort_unstable();
    let mut found = Vec::new();
    for (kib, count) in wishes {
        let file = format!("hugepages-{kib}kB/nr_hugepages");
        let mut want = |dir: &str, count: u64| {
            let why =
                "asked for with --hugepages; memory that is set aside for whoever asks for such pages, and no one else";
            found.push(super::settings::setting(root, format!("{dir}/{file}"), Wanted::Word(count.to_string()), why));
        };
        if nodes.len() < 2 || machine.numa.gap().is_some() {
            want("/sys/kernel/mm/hugepages", count);
            continue;
        }
        let (each, over) = (count / nodes.len() as u64, count % nodes.len() as u64);
        for (index, node) in (0..).zip(&nodes) {
            let dir = format!("/sys/devices/system/node/node{node}/hugepages");
            want(&dir, each + u64::from(index < over));
        }
    }
    found
}
