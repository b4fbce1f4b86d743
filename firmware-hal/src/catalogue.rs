//! Every fact by its name, with what to do where it is not as it should be. A policy may name these and no others; a name
//! with `*` stands for one of each device.

/// What is known of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the way to it through the inventory.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    /// How it is changed; empty where nothing changes it but another machine.
    pub cure: &'static str,
}

const fn fact(name: &'static str, about: &'static str, cure: &'static str) -> Entry {
    Entry { name, about, cure }
}

/// All of them, in the order of the inventory.
pub const CATALOGUE: &[Entry] = &[
    fact("identity.vendor", "who made the machine", ""),
    fact("identity.product", "which model it is", ""),
    fact("identity.serial", "its serial number", "run as root, who alone may read it"),
    fact("identity.board_vendor", "who made the main board", ""),
    fact("identity.board", "which board it is", ""),
    fact("identity.firmware_vendor", "who made the firmware", ""),
    fact("identity.firmware_version", "version of the firmware", "update the firmware by its maker's instructions"),
    fact("identity.firmware_date", "date of the firmware", "update the firmware by its maker's instructions"),
    fact("boot.efi", "started by UEFI firmware", "choose UEFI boot in the firmware's setup"),
    fact(
        "boot.secure_boot",
        "the firmware checked signatures",
        "enrol the keys and switch Secure Boot on in the firmware's setup",
    ),
    fact("boot.setup_mode", "the firmware takes any key", "enrol a platform key (PK)"),
    fact("boot.lockdown", "what root may do to the kernel", "boot with lockdown=integrity, or with Secure Boot on"),
    fact("boot.stub", "the stub that measured the kernel", "boot a unified kernel image"),
    fact("kernel.release", "release of the kernel", "install another kernel"),
    fact("kernel.version", "how the kernel was built", "install another kernel"),
    fact("kernel.command_line", "what the kernel was started with", "change the boot entry"),
    fact("kernel.isolated_cpus", "processors left alone", "boot with isolcpus=LIST"),
    fact(
        "kernel.tainted",
        "what taints the kernel; 0 is nothing",
        "see Documentation/admin-guide/tainted-kernels of the kernel",
    ),
    fact("cpu.model", "model of the processor", ""),
    fact("cpu.online", "processors in use", "echo 1 > /sys/devices/system/cpu/cpuN/online"),
    fact("cpu.features", "instruction sets", "a newer processor; in a virtual machine, let the guest see the host's"),
    fact("cpu.microcode", "revision of the microcode", "install the maker's microcode package and reboot"),
    fact("cpu.smt", "two threads share a core", "echo off > /sys/devices/system/cpu/smt/control, or boot with nosmt"),
    fact("cpu.cores.*", "which processors share a core", ""),
    fact("cpu.vulnerabilities.*", "a hardware vulnerability", "update kernel and microcode; remove mitigations=off"),
    fact(
        "cpu.governor",
        "how frequencies are chosen",
        "echo performance > /sys/devices/system/cpu/cpuN/cpufreq/scaling_governor",
    ),
    fact("cpu.hypervisor", "a virtual machine", ""),
    fact("memory.bytes", "main memory", ""),
    fact(
        "memory.ecc",
        "memory errors are reported",
        "use ECC memory, and load the EDAC driver of the memory controller",
    ),
    fact("memory.hugepages.*", "reserved huge pages", "echo N > /sys/kernel/mm/hugepages/hugepages-KIBkB/nr_hugepages"),
    fact(
        "memory.transparent_hugepages",
        "huge pages without asking",
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    ),
    fact("memory.swap_bytes", "swap space", "swapoff --all, and remove it from /etc/fstab"),
    fact("numa.*.cpus", "processors of a node", ""),
    fact("numa.*.bytes", "memory of a node", ""),
    fact("numa.*.distances", "distances between nodes", ""),
    fact("clock.source", "what tells time", "boot with clocksource=tsc where the processor's is stable"),
    fact("clock.available", "what could tell time", ""),
    fact("nvme.*.model", "model of an NVMe controller", ""),
    fact("nvme.*.serial", "its serial number", ""),
    fact("nvme.*.firmware", "its firmware", "update it with nvme fw-download and fw-commit"),
    fact("nvme.*.transport", "how it is connected", ""),
    fact("nvme.*.state", "whether it works", "see the kernel's log"),
    fact("nvme.*.numa_node", "the node that it is nearest to", "another slot"),
    fact("disks.*.bytes", "size of a disk", ""),
    fact("disks.*.rotational", "the disk turns", "a solid-state disk"),
    fact("disks.*.scheduler", "who orders requests", "echo none > /sys/block/NAME/queue/scheduler"),
    fact("disks.*.write_cache", "whether acknowledged writes may still be lost", "a disk with power-loss protection"),
    fact("disks.*.physical_block_bytes", "the unit that it writes whole", ""),
    fact("disks.*.requests", "requests at a time", "echo N > /sys/block/NAME/queue/nr_requests"),
    fact("nics.*.address", "address of a network interface", ""),
    fact("nics.*.driver", "its driver", ""),
    fact("nics.*.carrier", "there is a link", "plug it in; ip link set NAME up"),
    fact("nics.*.speed_mbit", "speed of the link", "another cable, transceiver or port"),
    fact("nics.*.mtu", "largest packet", "ip link set NAME mtu N"),
    fact("nics.*.receive_queues", "queues to receive on", "stele hw tune apply, or ethtool -L NAME combined N"),
    fact("nics.*.receive_queues_max", "queues that it could have", "another interface or driver"),
    fact("nics.*.transmit_queues", "queues to send on", "ethtool -L NAME combined N"),
    fact("nics.*.numa_node", "the node that it is nearest to", "another slot"),
    fact("gpus.*.vendor", "PCI vendor of an accelerator", ""),
    fact("gpus.*.device", "which one it is", ""),
    fact("gpus.*.class", "PCI class", ""),
    fact("gpus.*.driver", "its kernel driver", "install the maker's driver"),
    fact("gpus.*.numa_node", "the node that it is nearest to", "another slot"),
    fact("gpus.*.link_width", "lanes in use", "another slot, one with as many lanes; seat the card anew"),
    fact("gpus.*.link_width_max", "lanes that it could use", ""),
    fact("gpus.*.link_mtps_max", "its fastest link, megatransfers a second", ""),
    fact("gpus.*.driver_version", "version of NVIDIA's driver", "install another driver, with its libnvidia-ml.so.1"),
    fact("gpus.*.name", "model of an NVIDIA card", "install the driver's libnvidia-ml.so.1"),
    fact("gpus.*.uuid", "which card it is", "install the driver's libnvidia-ml.so.1"),
    fact("gpus.*.vbios", "its firmware", "update it with the maker's tools"),
    fact("gpus.*.memory_bytes", "its memory", ""),
    fact("gpus.*.ecc", "its memory corrects errors", "nvidia-smi --ecc-config=1, then start the machine again"),
    fact("tpm.version", "version of the TPM", "switch the TPM on in the firmware's setup"),
    fact("tpm.pcrs.*", "a platform configuration register", ""),
    fact("tpm.event_log", "the log of what was measured", "boot with UEFI firmware that measures"),
    fact("watchdogs.*.identity", "a watchdog", ""),
    fact("watchdogs.*.timeout_s", "when it resets the machine", "WDIOC_SETTIMEOUT, or the driver's parameter"),
    fact("watchdogs.*.active", "it counts", "whoever feeds it opens /dev/watchdogN"),
    fact("watchdogs.*.no_way_out", "nothing stops it", "load its driver with nowayout=1"),
];

/// The entry of a fact, or of a pattern of facts: `nvme.nvme0.model` and `nvme.*.model` have the same.
pub fn entry(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| fits(entry.name, name))
}

/// Whether a name fits a pattern, part by part. Names of devices hold no dots, but for PCI addresses, whose last part they
/// are: `gpus.0000:01:00.0.driver`. So a star takes as many parts as are left over.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let middle = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    middle.is_some_and(|middle| !middle.is_empty())
}
