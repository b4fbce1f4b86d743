//! Everything that a machine says of itself and that stays so until it is started again. Taken once; never changed.
//!
//! What changes by the minute (temperatures, errors, wear) is not here.

use crate::fact::Fact;
use crate::listed::Listed;
use crate::probe;
use crate::root::Root;
use serde::{Deserialize, Serialize};
use types::Digest;

/// Version of the structure: names that are given up or change their meaning raise it.
pub const VERSION: u32 = 1;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// [`VERSION`] when it was taken.
    pub version: u32,
    /// Maker and model, as its firmware says.
    pub identity: Identity,
    /// How it was started.
    pub boot: Boot,
    /// The kernel.
    pub kernel: Kernel,
    /// The processors.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
    /// NUMA nodes by number.
    pub numa: Listed<NumaNode>,
    /// The clock.
    pub clock: Clock,
    /// NVMe controllers by name.
    pub nvme: Listed<Nvme>,
    /// Block devices by name, without those in memory or over files.
    pub disks: Listed<Disk>,
    /// Network interfaces by name, without those that are not devices.
    pub nics: Listed<Nic>,
    /// Display and processing accelerators by PCI address.
    pub gpus: Listed<Gpu>,
    /// Encryption controllers by PCI address: HSMs, accelerators of cryptography, and parts of processors.
    pub crypto: Listed<Crypto>,
    /// The TPM.
    pub tpm: Tpm,
    /// Watchdogs by name.
    pub watchdogs: Listed<Watchdog>,
}

/// Maker and model (SMBIOS).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Who made the machine.
    pub vendor: Fact<String>,
    /// Which one it is.
    pub product: Fact<String>,
    /// Its serial number.
    pub serial: Fact<String>,
    /// Who made the main board.
    pub board_vendor: Fact<String>,
    /// Which one that is.
    pub board: Fact<String>,
    /// Who made the firmware.
    pub firmware_vendor: Fact<String>,
    /// Its version.
    pub firmware_version: Fact<String>,
    /// Its date, as it writes it.
    pub firmware_date: Fact<String>,
}

/// How the machine was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// By UEFI firmware.
    pub efi: Fact<bool>,
    /// Which signatures the firmware checked (UEFI §32.2).
    pub secure_boot: Fact<bool>,
    /// Whether the firmware takes any key (UEFI §32.3): Secure Boot then means nothing.
    pub setup_mode: Fact<bool>,
    /// `none`, `integrity` or `confidentiality`.
    pub lockdown: Fact<String>,
    /// The boot stub that measured the kernel, of a unified kernel image.
    pub stub: Fact<String>,
}

/// The kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its release.
    pub release: Fact<String>,
    /// How it was built.
    pub version: Fact<String>,
    /// What it was started with.
    pub command_line: Fact<String>,
    /// Processors that it leaves alone until they are asked for.
    pub isolated_cpus: Fact<Vec<u32>>,
    /// What taints it: 0 is nothing.
    pub tainted: Fact<u64>,
}

/// The processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model of the first.
    pub model: Fact<String>,
    /// Numbers of those that are in use.
    pub online: Fact<Vec<u32>>,
    /// Instruction sets and properties of the first, in rising order, by the kernel's names.
    pub features: Fact<Vec<String>>,
    /// Revision of its microcode.
    pub microcode: Fact<String>,
    /// Whether two logical processors share a core.
    pub smt: Fact<bool>,
    /// Which logical processors share a core, by the lowest of them.
    pub cores: Listed<Fact<Vec<u32>>>,
    /// What is known of hardware vulnerabilities, by name.
    pub vulnerabilities: Listed<Fact<String>>,
    /// How frequencies are chosen.
    pub governor: Fact<String>,
    /// Whether this is a virtual machine.
    pub hypervisor: Fact<bool>,
}

/// Main memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes that the kernel can use.
    pub bytes: Fact<u64>,
    /// Whether memory controllers report errors (EDAC): with none, ECC is not seen to be there.
    pub ecc: Fact<bool>,
    /// Reserved pages by their size in KiB.
    pub hugepages: Listed<Fact<u64>>,
    /// `always`, `madvise` or `never`.
    pub transparent_hugepages: Fact<String>,
    /// Bytes of swap space: secrets may be written there.
    pub swap_bytes: Fact<u64>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaNode {
    /// Its logical processors.
    pub cpus: Fact<Vec<u32>>,
    /// Its memory.
    pub bytes: Fact<u64>,
    /// Distance to each node, itself among them; 10 is itself (ACPI SLIT).
    pub distances: Fact<Vec<u32>>,
}

/// The clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// What the kernel tells time by.
    pub source: Fact<String>,
    /// What else it could.
    pub available: Fact<Vec<String>>,
}

/// An NVMe controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nvme {
    /// Which one it is.
    pub model: Fact<String>,
    /// Its serial number.
    pub serial: Fact<String>,
    /// Its firmware.
    pub firmware: Fact<String>,
    /// `pcie`, `tcp`, `rdma` or `fc`.
    pub transport: Fact<String>,
    /// `live` when it works.
    pub state: Fact<String>,
    /// The node that it is nearest to.
    pub numa_node: Fact<u32>,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its size.
    pub bytes: Fact<u64>,
    /// Whether it turns.
    pub rotational: Fact<bool>,
    /// Which scheduler orders requests to it.
    pub scheduler: Fact<String>,
    /// `write back` where it acknowledges what it may still lose unless it is flushed, else `write through`.
    pub write_cache: Fact<String>,
    /// The unit that it writes whole.
    pub physical_block_bytes: Fact<u64>,
    /// Requests that it is given at a time.
    pub requests: Fact<u64>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its address.
    pub address: Fact<String>,
    /// Its driver.
    pub driver: Fact<String>,
    /// Whether there is a link.
    pub carrier: Fact<bool>,
    /// Speed of the link, Mbit/s.
    pub speed_mbit: Fact<u64>,
    /// Bytes of the largest packet.
    pub mtu: Fact<u64>,
    /// Queues that it receives on.
    pub receive_queues: Fact<u32>,
    /// Queues that it could receive on: its `combined` channels, or its `rx` channels where it has none.
    pub receive_queues_max: Fact<u32>,
    /// Queues that it sends on.
    pub transmit_queues: Fact<u32>,
    /// The node that it is nearest to.
    pub numa_node: Fact<u32>,
}

/// A graphics or processing accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// PCI vendor, hexadecimal: `0x10de` is NVIDIA, `0x1002` AMD, `0x8086` Intel.
    pub vendor: Fact<String>,
    /// PCI device.
    pub device: Fact<String>,
    /// PCI class: `0x0300…` displays, `0x0302…` computes, `0x1200…` accelerates.
    pub class: Fact<String>,
    /// Its kernel driver.
    pub driver: Fact<String>,
    /// The node that it is nearest to.
    pub numa_node: Fact<u32>,
    /// Lanes of its PCI Express link that are in use.
    pub link_width: Fact<u32>,
    /// Lanes that it could use.
    pub link_width_max: Fact<u32>,
    /// The fastest link that it could have, megatransfers a second and lane: 16000 is PCI Express 4, 32000 is 5. The present
    /// one is not here, since it changes with the load.
    pub link_mtps_max: Fact<u64>,
    /// Version of its maker's driver. This and what follows only NVML tells, of NVIDIA's cards.
    pub driver_version: Fact<String>,
    /// Which model it is.
    pub name: Fact<String>,
    /// Which one of them it is.
    pub uuid: Fact<String>,
    /// Its firmware.
    pub vbios: Fact<String>,
    /// Its memory.
    pub memory_bytes: Fact<u64>,
    /// Whether errors of its memory are put right and counted.
    pub ecc: Fact<bool>,
}

/// An encryption controller. PCI does not tell an HSM from an accelerator, nor does any HSM that stands in the network, or hangs
/// on USB, appear here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crypto {
    /// PCI vendor, hexadecimal.
    pub vendor: Fact<String>,
    /// PCI device.
    pub device: Fact<String>,
    /// PCI class: `0x1000…` of networks and computing, `0x1010…` of entertainment, `0x1080…` other.
    pub class: Fact<String>,
    /// Its kernel driver.
    pub driver: Fact<String>,
    /// The node that it is nearest to.
    pub numa_node: Fact<u32>,
}

/// The TPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tpm {
    /// 2 for TPM 2.0.
    pub version: Fact<u64>,
    /// Platform configuration registers of the SHA-256 bank, by number, hexadecimal.
    pub pcrs: Listed<Fact<String>>,
    /// Whether the firmware has left its log of what it measured.
    pub event_log: Fact<bool>,
}

/// A watchdog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// What it is.
    pub identity: Fact<String>,
    /// Seconds without a sign of life after which it resets the machine.
    pub timeout_s: Fact<u64>,
    /// Whether it counts now.
    pub active: Fact<bool>,
    /// Whether nothing stops it once it counts.
    pub no_way_out: Fact<bool>,
}

impl Inventory {
    /// Asks the machine whose files are under the root. Takes no rights; what needs some is unknown without.
    pub fn take(root: &Root) -> Self {
        Self {
            version: VERSION,
            identity: probe::identity(root),
            boot: probe::boot(root),
            kernel: probe::kernel(root),
            cpu: probe::cpu(root),
            memory: probe::memory(root),
            numa: probe::numa(root),
            clock: probe::clock(root),
            nvme: probe::nvme(root),
            disks: probe::disks(root),
            nics: probe::nics(root),
            gpus: probe::gpus(root),
            crypto: probe::crypto(root),
            tpm: probe::tpm(root),
            watchdogs: probe::watchdogs(root),
        }
    }

    /// SHA-256 over its JSON without white space, in which keys stand in the order of this file and names rise.
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("facts are strings, numbers, flags and lists");
        Digest::sha256(&json)
    }
}
