//! Main memory and its nodes, from /proc/meminfo and sysfs.

use super::{chosen, cpus, each};
use crate::fact::Fact;
use crate::inventory::{Memory, NumaNode};
use crate::listed::Listed;
use crate::root::Root;

pub(crate) fn memory(root: &Root) -> Memory {
    let info = root.text("/proc/meminfo");
    let bytes = |name: &'static str| info.clone().parsed(move |text| kib(&text, name)?.checked_mul(1024));
    let controllers = root.names("/sys/devices/system/edac/mc");
    let hugepages = each(
        root,
        "/sys/kernel/mm/hugepages",
        |name| page_kib(name).is_some(),
        |path| root.number(&format!("{path}/nr_hugepages")),
    );
    Memory {
        bytes: bytes("MemTotal:"),
        ecc: controllers.parsed(|names| Some(names.iter().any(|name| name.starts_with("mc")))),
        hugepages: hugepages.filter_map(|(name, fact)| Some((page_kib(&name)?.to_string(), fact))),
        transparent_hugepages: root.text("/sys/kernel/mm/transparent_hugepage/enabled").parsed(|text| chosen(&text)),
        swap_bytes: bytes("SwapTotal:"),
    }
}

pub(crate) fn numa(root: &Root) -> Listed<NumaNode> {
    let number = |name: &str| name.strip_prefix("node")?.parse::<u32>().ok();
    let nodes = each(root, "/sys/devices/system/node", |name| number(name).is_some(), |path| node(root, path));
    nodes.filter_map(|(name, node)| Some((number(&name)?.to_string(), node)))
}

fn node(root: &Root, path: &str) -> NumaNode {
    let bytes: Fact<u64> = root.text(&format!("{path}/meminfo")).parsed(|text| {
        let line = text.lines().find(|line| line.contains(" MemTotal:"))?;
        amount_kib(line.split_once("MemTotal:")?.1)?.checked_mul(1024)
    });
    NumaNode {
        cpus: cpus(root, &format!("{path}/cpulist")),
        bytes,
        distances: root
            .text(&format!("{path}/distance"))
            .parsed(|text| text.split_whitespace().map(|distance| distance.parse().ok()).collect()),
    }
}

/// `hugepages-2048kB`.
fn page_kib(name: &str) -> Option<u64> {
    name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
}

fn kib(text: &str, name: &str) -> Option<u64> {
    amount_kib(text.lines().find_map(|line| line.strip_prefix(name))?)
}

fn amount_kib(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse().ok()
}
