//! What is wanted of this machine. Each setting with the reason that an operator is owed before he changes it.

use super::{How, Hugepages, Setting, Wanted, hugepages};
use crate::fact::{Reading, Why};
use crate::inventory::{Disk, Inventory};
use crate::listed::Listed;
use crate::probe;
use crate::root::Root;
use std::collections::BTreeSet;

/// Bytes that a UDP socket should hold for a node that is busy: 100 ms of a gigabit a second fit in 12 MiB.
const SOCKET_BYTES: u64 = 4 << 20;
/// More receive queues than this bring nothing: QUIC packets of a committee come from few addresses.
const QUEUES_MAX: usize = 16;
/// Processors from which on some are better left to the node alone.
const CPUS_TO_ISOLATE_FROM: usize = 16;

/// All settings that apply to a machine, those that are as wanted among them. Of huge pages only what is asked for.
pub fn settings(root: &Root, machine: &Inventory, wishes: &[Hugepages]) -> Vec<Setting> {
    let mut found = kernel(root, machine);
    found.extend(hugepages::settings(root, machine, wishes));
    found.extend(disks(root, machine));
    found.extend(processors(root, machine));
    found.extend(interfaces(root, machine));
    found
}

pub(super) fn setting(root: &Root, path: impl Into<String>, wanted: Wanted, why: &'static str) -> Setting {
    let path = path.into();
    Setting { now: root.text(&path).reading, path, wanted, why, how: How::Write }
}

/// A setting, or several, of which it is not even known whether they are there: `path` should tell.
fn unknown(path: impl Into<String>, unknown: Why, wanted: Wanted, why: &'static str) -> Setting {
    Setting { path: path.into(), now: Reading::Unknown(unknown), wanted, why, how: How::Write }
}

/// One for a list that may lack devices.
fn unlisted<T>(list: &Listed<T>, wanted: Wanted, why: &'static str) -> Option<Setting> {
    list.gap().map(|gap| unknown(&gap.source, gap.unknown, wanted, why))
}

fn word(word: &str) -> Wanted {
    Wanted::Word(word.to_owned())
}

fn kernel(root: &Root, machine: &Inventory) -> Vec<Setting> {
    let sockets = "a burst of blocks waits in the socket instead of being dropped and sent again";
    let mut found = vec![
        setting(root, "/proc/sys/net/core/rmem_default", Wanted::AtLeast(SOCKET_BYTES), sockets),
        setting(root, "/proc/sys/net/core/wmem_default", Wanted::AtLeast(SOCKET_BYTES), sockets),
        setting(
            root,
            "/proc/sys/net/core/netdev_max_backlog",
            Wanted::AtLeast(10_000),
            "packets that come faster than one processor takes them wait instead of being dropped",
        ),
        setting(
            root,
            "/proc/sys/vm/swappiness",
            Wanted::AtMost(1),
            "tables of the state stay in memory, and keys are not written to a disk",
        ),
        setting(
            root,
            "/sys/kernel/mm/transparent_hugepage/enabled",
            word("madvise"),
            "the kernel does not stop threads to gather large pages that nobody asked for",
        ),
    ];
    // Kernels before 6.6 have no such switch and always allow it.
    let uring = "/proc/sys/kernel/io_uring_disabled";
    if root.is_there(uring).value() != Some(&false) {
        let why = "the log writes through io_uring; without it a thread writes, at some 2 to 3 times the cost";
        found.push(setting(root, uring, Wanted::AtMost(0), why));
    }
    let why = "threads are placed by hand; the kernel would move their memory behind them";
    if machine.numa.len() > 1 {
        found.push(setting(root, "/proc/sys/kernel/numa_balancing", word("0"), why));
    }
    found.extend(unlisted(&machine.numa, word("0"), why));
    let why = "time is read some hundred times a millisecond, and others take a call";
    let clocks = &machine.clock.available;
    match &clocks.reading {
        Reading::Value(sources) if sources.iter().any(|source| source == "tsc") => {
            let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
            found.push(setting(root, path, word("tsc"), why));
        }
        Reading::Value(_) => {}
        Reading::Unknown(reason) => found.push(unknown(&clocks.source, *reason, word("tsc"), why)),
    }
    found
}

fn disks(root: &Root, machine: &Inventory) -> Vec<Setting> {
    let why = "the log gives its writes in the order that it wants; flash has nothing to be sorted for";
    let of = |(name, disk): (&String, &Disk)| match &disk.rotational.reading {
        Reading::Value(true) => None,
        Reading::Value(false) => Some(setting(root, format!("/sys/block/{name}/queue/scheduler"), word("none"), why)),
        Reading::Unknown(reason) => Some(unknown(&disk.rotational.source, *reason, word("none"), why)),
    };
    machine.disks.iter().filter_map(of).chain(unlisted(&machine.disks, word("none"), why)).collect()
}

fn processors(root: &Root, machine: &Inventory) -> Vec<Setting> {
    let online = machine.cpu.online.value().map_or(&[][..], Vec::as_slice);
    let governor = |cpu: &u32| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    // Machines without control over frequencies, virtual ones mostly, have no such file.
    let with_governor = online.iter().map(governor).filter(|path| root.is_there(path).value() != Some(&false));
    let why = "a processor that has to wake from a low frequency is late with every round";
    let mut found: Vec<Setting> = with_governor.map(|path| setting(root, path, word("performance"), why)).collect();
    if let Some(reason) = machine.cpu.online.reading.unknown() {
        found.push(unknown(&machine.cpu.online.source, reason, word("performance"), why));
    }
    if online.len() >= CPUS_TO_ISOLATE_FROM {
        let isolated = &machine.kernel.isolated_cpus;
        // Any set that an operator has chosen is as good.
        let chosen = isolated.value().filter(|cpus| !cpus.is_empty());
        let alone = chosen.map_or(&online[online.len() - 4..], Vec::as_slice);
        let cpus = super::ranges(alone);
        found.push(Setting {
            path: isolated.source.clone(),
            now: isolated.clone().parsed(|cpus| Some(super::ranges(&cpus))).reading,
            wanted: Wanted::Cpus(alone.to_vec()),
            why: "consensus and the log's writer are not held up by whatever else runs",
            how: How::CommandLine(format!("isolcpus={cpus} nohz_full={cpus} rcu_nocbs={cpus}")),
        });
    }
    found
}

/// Interrupts and queues of each interface near the memory that it writes to.
fn interfaces(root: &Root, machine: &Inventory) -> Vec<Setting> {
    let mut found = Vec::new();
    for (name, nic) in &machine.nics {
        let near = nic.numa_node.value().and_then(|node| machine.numa.get(&node.to_string()));
        let near: Option<&Vec<u32>> = near.and_then(|node| node.cpus.value()).filter(|cpus| !cpus.is_empty());
        if let Some(cpus) = near.filter(|_| machine.numa.len() > 1) {
            let interrupts = root.names(&format!("/sys/class/net/{name}/device/msi_irqs"));
            let why = "packets are taken where the interface has put them, not across the sockets";
            found.extend(interrupts.value().into_iter().flatten().map(|number| {
                let path = format!("/proc/irq/{number}/smp_affinity_list");
                setting(root, path, Wanted::Cpus(cpus.clone()), why)
            }));
        }
        let cpus = near.or(machine.cpu.online.value()).map_or(1, Vec::len);
        if nic.speed_mbit.value().is_some_and(|mbit| *mbit >= 10_000) {
            let channels = probe::receive_channels(root, name);
            let most = channels.max.value().map_or(usize::MAX, |max| *max as usize);
            let queues = QUEUES_MAX.min(cpus.max(1)).min(most);
            let why = "packets of several peers are taken by several processors; the link may be down for a moment";
            found.push(setting(root, channels.path, Wanted::AtLeast(queues as u64), why));
        }
    }
    let why = "queues and interrupts of each interface are near the memory that it writes to";
    found.extend(unlisted(&machine.nics, Wanted::AtLeast(1), why));
    // The same interrupt may serve two interfaces of one device.
    let mut once = BTreeSet::new();
    found.retain(|setting| setting.how != How::Write || once.insert(setting.path.clone()));
    found
}
