//! Which processors each part of a node runs on, by what is near to what it works with: consensus and the network to the
//! interface, the log to the disk, verification to the GPU, the signer to the HSM. A function of the inventory; `stele` carries
//! it out.
//!
//! Each busy thread gets a core of its own, its siblings included, as far as cores go; verification gets what is left.
//! Deliberately absent: priorities, and machines so small that the scheduler knows better.

mod hsm;

use crate::inventory::Inventory;
use hsm::{Hsm, hsm};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Cores below which nothing is placed: the busy threads alone need five.
pub const CORES_MIN: usize = 8;
/// Cores of the network's threads.
const NETWORK_CORES: usize = 2;

/// A part of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ordering: one thread that everything waits for.
    Consensus,
    /// Decoding and checking of what peers send.
    Intake,
    /// The log's writer.
    Storage,
    /// Applying of commits, and the state database.
    Execution,
    /// QUIC and RPC.
    Network,
    /// The signer process, and the thread that asks it.
    Signer,
    /// Signatures of transactions.
    Verification,
}

/// Where a part runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The part.
    pub role: Role,
    /// Logical processors, rising.
    pub cpus: Vec<u32>,
    /// The NUMA node that they are on, if all are on one.
    pub numa_node: Option<u32>,
    /// What it is near to.
    pub why: String,
}

/// Why nothing is placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaced {
    /// The scheduler does better.
    #[error("{cores} cores are too few to be divided: below {CORES_MIN} the scheduler does better")]
    TooFewCores {
        /// Cores in use.
        cores: usize,
    },
    /// Nobody knows which processors there are.
    #[error("which processors are in use is unknown")]
    Unknown,
}

/// Cores that are still free, by node: each a list of logical processors.
struct Free(BTreeMap<u32, Vec<Vec<u32>>>);

impl Free {
    fn of(machine: &Inventory) -> Result<Self, Unplaced> {
        let online = machine.cpu.online.value().filter(|cpus| !cpus.is_empty()).ok_or(Unplaced::Unknown)?;
        let known: BTreeSet<u32> = online.iter().copied().collect();
        let (mut cores, mut placed) = (Vec::new(), BTreeSet::new());
        for siblings in machine.cpu.cores.values().filter_map(|core| core.value()) {
            let core: Vec<u32> =
                siblings.iter().copied().filter(|cpu| known.contains(cpu) && placed.insert(*cpu)).collect();
            cores.extend((!core.is_empty()).then_some(core));
        }
        // What no core claims is one by itself.
        cores.extend(online.iter().filter(|cpu| !placed.contains(cpu)).map(|cpu| vec![*cpu]));
        cores.sort_unstable();
        if cores.len() < CORES_MIN {
            return Err(Unplaced::TooFewCores { cores: cores.len() });
        }
        let mut free: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
        for core in cores {
            free.entry(node_of(machine, core[0])).or_default().push(core);
        }
        // The first core takes what interrupts nobody has steered elsewhere: it is taken last.
        free.values_mut().for_each(|cores| cores.reverse());
        Ok(Self(free))
    }

    /// Whether a node has any left.
    fn has(&self, node: u32) -> bool {
        self.0.get(&node).is_some_and(|cores| !cores.is_empty())
    }

    /// As many whole cores as there are, up to `count`, of a node, else of the one that has most.
    fn take(&mut self, node: u32, count: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let most = || self.0.iter().max_by_key(|(_, cores)| cores.len()).map(|(node, _)| *node);
            let Some(from) = self.has(node).then_some(node).or_else(most) else { break };
            taken.extend(
                self.0
                    .get_mut(&from)
                    .and_then(|cores| if cores.is_empty() { None } else { Some(cores.remove(0)) })
                    .unwrap_or_default(),
            );
        }
        taken.sort_unstable();
        taken
    }

    /// All that is left, of one node if it has any.
    fn rest(&mut self, node: u32) -> Vec<u32> {
        let near = self.0.remove(&node).unwrap_or_default();
        let cores = if near.is_empty() { std::mem::take(&mut self.0).into_values().flatten().collect() } else { near };
        let mut cpus: Vec<u32> = cores.into_iter().flatten().collect();
        cpus.sort_unstable();
        cpus
    }
}

fn node_of(machine: &Inventory, cpu: u32) -> u32 {
    let has = |cpus: Option<&Vec<u32>>| cpus.is_some_and(|cpus| cpus.contains(&cpu));
    let found = machine.numa.iter().find(|(_, node)| has(node.cpus.value()));
    found.and_then(|(name, _)| name.parse().ok()).unwrap_or(0)
}

/// Where each part of a node belongs on a machine.
///
/// # Errors
/// Where it is too small, or does not tell its processors.
pub fn placement(machine: &Inventory) -> Result<Vec<Place>, Unplaced> {
    let mut free = Free::of(machine)?;
    let linked = machine.nics.iter().filter(|(_, nic)| nic.carrier.value() == Some(&true));
    let nic = linked.max_by_key(|(name, nic)| (nic.speed_mbit.value().copied(), std::cmp::Reverse(name.as_str())));
    let (network, near_nic) = near(nic.map(|(name, nic)| (name, nic.numa_node.value())), "interface", 0);
    let disk = machine.nvme.iter().find(|(_, nvme)| nvme.state.value().is_none_or(|state| state == "live"));
    let (disk, near_disk) = near(disk.map(|(name, nvme)| (name, nvme.numa_node.value())), "disk", network);
    let gpu = machine.gpus.iter().next().map(|(name, gpu)| (name, gpu.numa_node.value()));
    let (gpu, near_gpu) = near(gpu, "GPU", network);

    let mut places = Vec::new();
    let mut place = |role, cpus: Vec<u32>, why: &str| {
        let nodes: BTreeSet<u32> = cpus.iter().map(|cpu| node_of(machine, *cpu)).collect();
        let numa_node = nodes.first().copied().filter(|_| nodes.len() == 1);
        places.push(Place { role, cpus, numa_node, why: why.to_owned() });
    };
    place(Role::Consensus, free.take(network, 1), &near_nic);
    place(Role::Storage, free.take(disk, 1), &near_disk);
    place(Role::Execution, free.take(disk, 1), &near_disk);
    place(Role::Intake, free.take(network, 1), &near_nic);
    let shared = free.take(network, NETWORK_CORES);
    place(Role::Network, shared.clone(), &near_nic);
    // It sleeps most of the time: a core of its own is worth it only where the bus to the HSM is another.
    let beside = |why: String| format!("beside the network: {why}");
    let (cpus, why) = match hsm(machine) {
        Hsm::Nowhere(why) => (shared, beside(why)),
        Hsm::At { node, names } if node == network => {
            (shared, beside(format!("near the encryption controller {names}")))
        }
        Hsm::At { node, names } if free.has(node) => {
            (free.take(node, 1), format!("near the encryption controller {names}"))
        }
        Hsm::At { names, .. } => (shared, beside(format!("no core is free near the encryption controller {names}"))),
    };
    place(Role::Signer, cpus, &why);
    place(Role::Verification, free.rest(gpu), &format!("what is left, {near_gpu}"));
    places.sort_by_key(|place| place.role);
    Ok(places)
}

/// The node of a device and what to say of it; where nobody knows, another's.
fn near(device: Option<(&String, Option<&u32>)>, what: &str, otherwise: u32) -> (u32, String) {
    match device {
        Some((name, Some(node))) => (*node, format!("near the {what} {name}")),
        Some((name, None)) => (otherwise, format!("the {what} {name} does not say where it is")),
        None => (otherwise, format!("no {what} to be near to")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Fact, Reading};
    use crate::root::Root;

    fn known<T>(value: T) -> Fact<T> {
        Fact { source: String::new(), reading: Reading::Value(value) }
    }

    /// Two sockets of sixteen cores with two threads each, whose encryption controllers nobody has listed; the interface and the disk on the second, a GPU on the first.
    fn server() -> Inventory {
        let mut machine = Inventory::take(&Root::at("/nonexistent"));
        machine.cpu.online = known((0..64).collect());
        machine.cpu.cores = (0..32).map(|core| (format!("{core:02}"), known(vec![core, core + 32]))).collect();
        let tree = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            ("sys/devices/system/node/node0/cpulist", "0-15,32-47"),
            ("sys/devices/system/node/node1/cpulist", "16-31,48-63"),
            ("sys/class/net/eth0/carrier", "1"),
            ("sys/class/net/eth0/speed", "100000"),
            ("sys/class/net/eth0/device/numa_node", "1"),
            ("sys/class/net/eth1/carrier", "1"),
            ("sys/class/net/eth1/speed", "1000"),
            ("sys/class/net/eth1/device/numa_node", "0"),
            ("sys/class/nvme/nvme0/state", "live"),
            ("sys/class/nvme/nvme0/numa_node", "1"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030200"),
            ("sys/bus/pci/devices/0000:01:00.0/numa_node", "0"),
        ] {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below")).expect("a folder");
            std::fs::write(path, format!("{text}\n")).expect("a file");
        }
        let devices = Inventory::take(&Root::at(tree.path()));
        Inventory { numa: devices.numa, nics: devices.nics, nvme: devices.nvme, gpus: devices.gpus, ..machine }
    }

    fn of(places: &[Place], role: Role) -> &Place {
        places.iter().find(|place| place.role == role).expect("every part has a place")
    }

    #[test]
    fn each_part_is_near_to_what_it_works_with() {
        let places = placement(&server()).expect("it is large enough");
        for role in [Role::Consensus, Role::Storage, Role::Execution, Role::Intake, Role::Network] {
            assert_eq!(of(&places, role).numa_node, Some(1), "{role:?}");
        }
        let verification = of(&places, Role::Verification);
        assert_eq!((verification.numa_node, verification.cpus.len()), (Some(0), 32), "{verification:?}");
        assert!(verification.why.contains("0000:01:00.0") && of(&places, Role::Network).why.contains("eth0"));
        assert_eq!(of(&places, Role::Consensus).cpus.len(), 2, "a core with both of its threads");
    }

    /// An encryption controller: address, class, vendor and node.
    type Controller = (&'static str, &'static str, &'static str, &'static str);

    /// The server with encryption controllers in it.
    fn with_crypto(controllers: &[Controller]) -> Inventory {
        let tree = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(tree.path().join("sys/bus/pci/devices")).expect("a folder");
        for (address, class, vendor, node) in controllers {
            let dir = tree.path().join("sys/bus/pci/devices").join(address);
            std::fs::create_dir_all(&dir).expect("a folder");
            for (name, text) in [("class", class), ("vendor", vendor), ("numa_node", node)] {
                std::fs::write(dir.join(name), format!("{text}\n")).expect("a file");
            }
        }
        Inventory { crypto: Inventory::take(&Root::at(tree.path())).crypto, ..server() }
    }

    #[test]
    fn the_signer_is_near_its_hsm() {
        let places = placement(&with_crypto(&[("0000:17:00.0", "0x100000", "0x177d", "0")])).expect("large enough");
        let signer = of(&places, Role::Signer);
        assert_eq!((signer.numa_node, signer.cpus.len()), (Some(0), 2), "{signer:?}");
        assert!(signer.why.contains("0000:17:00.0"), "{signer:?}");
        for place in places.iter().filter(|place| place.role != Role::Signer) {
            assert!(place.cpus.iter().all(|cpu| !signer.cpus.contains(cpu)), "{place:?}");
        }
        // On the node of the network it is beside that, and costs no core.
        let places = placement(&with_crypto(&[("0000:c1:00.0", "0x108000", "0x168a", "1")])).expect("large enough");
        let signer = of(&places, Role::Signer);
        assert_eq!(signer.cpus, of(&places, Role::Network).cpus);
        assert!(signer.why.contains("0000:c1:00.0"), "{signer:?}");
    }

    #[test]
    fn where_the_hsm_is_unknown_the_signer_is_beside_the_network() {
        let cases: [(&[Controller], &str); 5] = [
            (&[], "no encryption controller"),
            // The processor's own: every AMD EPYC has several of them.
            (
                &[("0000:23:00.1", "0x108000", "0x1022", "0"), ("0000:05:00.1", "0x108000", "0x8086", "0")],
                "no encryption controller",
            ),
            (&[("0000:17:00.0", "0x100000", "0x177d", "-1")], "0000:17:00.0 does not say"),
            (&[("0000:17:00.0", "0x100000", "0x177d", "0"), ("0000:c1:00.0", "0x108000", "0x168a", "1")], "several"),
            (&[("0000:17:00.0", "0x100000", "0x177d", "0"), ("0000:18:00.0", "0x100000", "0x177d", "-1")], "several"),
        ];
        for (controllers, why) in cases {
            let places = placement(&with_crypto(controllers)).expect("large enough");
            let signer = of(&places, Role::Signer);
            assert_eq!(signer.cpus, of(&places, Role::Network).cpus, "{controllers:?}");
            assert!(signer.why.contains(why), "{controllers:?}: {}", signer.why);
        }
        let unlisted = of(&placement(&server()).expect("large enough"), Role::Signer).why.clone();
        assert!(unlisted.contains("which encryption controllers there are is unknown"), "{unlisted}");
        // Two on one node leave no doubt.
        let two = [("0000:17:00.0", "0x100000", "0x177d", "0"), ("0000:18:00.0", "0x100000", "0x177d", "0")];
        assert_eq!(of(&placement(&with_crypto(&two)).expect("large enough"), Role::Signer).numa_node, Some(0));
    }

    #[test]
    fn an_hsm_on_a_node_without_a_free_core_does_not_push_the_signer_elsewhere() {
        let mut machine = with_crypto(&[("0000:17:00.0", "0x100000", "0x177d", "0")]);
        machine.cpu.online = known((16..32).collect());
        let places = placement(&machine).expect("large enough");
        let signer = of(&places, Role::Signer);
        assert_eq!(signer.cpus, of(&places, Role::Network).cpus);
        assert!(signer.why.contains("no core is free near the encryption controller 0000:17:00.0"), "{}", signer.why);
    }

    #[test]
    fn busy_threads_share_no_core() {
        for cores in [8, 9, 13, 64] {
            let mut machine = Inventory::take(&Root::at("/nonexistent"));
            machine.cpu.online = known((0..cores).collect());
            let places = placement(&machine).expect("it is large enough");
            let mut seen = BTreeSet::new();
            for place in places.iter().filter(|place| place.role != Role::Signer) {
                assert!(!place.cpus.is_empty(), "{cores} cores, {:?}", place.role);
                assert!(place.cpus.iter().all(|cpu| seen.insert(*cpu)), "{cores} cores, {:?}", place.role);
            }
            assert_eq!(seen.len(), cores as usize);
        }
    }

    #[test]
    fn small_and_silent_machines_are_left_to_the_scheduler() {
        let mut machine = Inventory::take(&Root::at("/nonexistent"));
        assert_eq!(placement(&machine), Err(Unplaced::Unknown));
        machine.cpu.online = known((0..7).collect());
        assert_eq!(placement(&machine), Err(Unplaced::TooFewCores { cores: 7 }));
    }

    #[test]
    fn a_node_that_runs_out_of_cores_takes_from_the_others() {
        let mut machine = server();
        // The second socket has but two cores in use.
        machine.cpu.online = known((0..18).chain(32..50).collect());
        let places = placement(&machine).expect("it is large enough");
        assert_eq!(of(&places, Role::Consensus).numa_node, Some(1));
        assert!(places.iter().all(|place| !place.cpus.is_empty()));
    }
}
