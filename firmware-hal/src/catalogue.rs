//! Every fact by its name, with what to do where it is not as it should be. A policy may name these and no others; a name
//! with `*` stands for one of each device.

use serde_json::Value;
use std::fmt;

/// What is known of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the way to it through the inventory.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it says.
    pub about: &'static str,
    /// What to do where it is not as it should be.
    pub cure: Cure,
}

/// What the values of a fact are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list of numbers.
    Numbers,
    /// A list of words.
    Words,
}

impl Kind {
    /// Whether a value is of it.
    pub fn has(self, value: &Value) -> bool {
        let all = |is: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(is));
        match self {
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_u64(),
            Self::Text => value.is_string(),
            Self::Numbers => all(Value::is_u64),
            Self::Words => all(Value::is_string),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Numbers => "a list of numbers",
            Self::Words => "a list of words",
        })
    }
}

/// What to do where a fact is not as it should be, by where it should go. Empty where nothing changes it but another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cure {
    /// To true, to a greater number, to a list that has more, or to another text.
    pub up: &'static str,
    /// To false, to a smaller number, to a list that has less, or to another text.
    pub down: &'static str,
    /// To know it at all, where that takes more than [`crate::Why::cure`] says.
    pub told: &'static str,
}

impl Cure {
    const fn told(self, told: &'static str) -> Self {
        Self { told, ..self }
    }
}

const NONE: Cure = Cure { up: "", down: "", told: "" };

const fn both(cure: &'static str) -> Cure {
    Cure { up: cure, down: cure, told: "" }
}

const fn each(up: &'static str, down: &'static str) -> Cure {
    Cure { up, down, told: "" }
}

const fn fact(name: &'static str, kind: Kind, about: &'static str, cure: Cure) -> Entry {
    Entry { name, kind, about, cure }
}

/// All of them, in the order of the inventory.
pub const CATALOGUE: &[Entry] = &[
    fact("identity.vendor", Kind::Text, "who made the machine", NONE),
    fact("identity.product", Kind::Text, "which model it is", NONE),
    fact("identity.serial", Kind::Text, "its serial number", NONE.told("run as root, who alone may read it")),
    fact("identity.board_vendor", Kind::Text, "who made the main board", NONE),
    fact("identity.board", Kind::Text, "which board it is", NONE),
    fact("identity.firmware_vendor", Kind::Text, "who made the firmware", NONE),
    fact(
        "identity.firmware_version",
        Kind::Text,
        "version of the firmware",
        both("update the firmware by its maker's instructions"),
    ),
    fact(
        "identity.firmware_date",
        Kind::Text,
        "date of the firmware",
        both("update the firmware by its maker's instructions"),
    ),
    fact(
        "boot.efi",
        Kind::Flag,
        "started by UEFI firmware",
        each("choose UEFI boot in the firmware's setup", "choose legacy boot in the firmware's setup"),
    ),
    fact(
        "boot.secure_boot",
        Kind::Flag,
        "the firmware checked signatures",
        each(
            "enrol the keys and switch Secure Boot on in the firmware's setup",
            "switch Secure Boot off in the firmware's setup",
        ),
    ),
    fact(
        "boot.setup_mode",
        Kind::Flag,
        "the firmware takes any key",
        each("delete the platform key (PK) in the firmware's setup", "enrol a platform key (PK)"),
    ),
    fact(
        "boot.lockdown",
        Kind::Text,
        "what root may do to the kernel",
        both("boot with lockdown=WORD; Secure Boot brings integrity in many kernels"),
    ),
    fact(
        "boot.stub",
        Kind::Text,
        "the stub that measured the kernel",
        both("boot a unified kernel image that has the stub"),
    ),
    fact("kernel.release", Kind::Text, "release of the kernel", both("install another kernel")),
    fact("kernel.version", Kind::Text, "how the kernel was built", both("install another kernel")),
    fact("kernel.command_line", Kind::Text, "what the kernel was started with", both("change the boot entry")),
    fact("kernel.isolated_cpus", Kind::Numbers, "processors left alone", both("boot with isolcpus=LIST")),
    fact(
        "kernel.tainted",
        Kind::Number,
        "what taints the kernel; 0 is nothing",
        both("see Documentation/admin-guide/tainted-kernels of the kernel"),
    ),
    fact("cpu.model", Kind::Text, "model of the processor", NONE),
    fact(
        "cpu.online",
        Kind::Numbers,
        "processors in use",
        each("echo 1 > /sys/devices/system/cpu/cpuN/online", "echo 0 > /sys/devices/system/cpu/cpuN/online"),
    ),
    fact(
        "cpu.features",
        Kind::Words,
        "instruction sets",
        each(
            "a newer processor; in a virtual machine, let the guest see the host's",
            "boot with clearcpuid=NAME; in a virtual machine, hide it from the guest",
        ),
    ),
    fact(
        "cpu.microcode",
        Kind::Text,
        "revision of the microcode",
        both("install the maker's microcode package and reboot"),
    ),
    fact(
        "cpu.smt",
        Kind::Flag,
        "two threads share a core",
        each(
            "echo on > /sys/devices/system/cpu/smt/control, or switch it on in the firmware's setup; remove nosmt",
            "echo off > /sys/devices/system/cpu/smt/control, or boot with nosmt",
        ),
    ),
    fact("cpu.cores.*", Kind::Numbers, "which processors share a core", NONE),
    fact(
        "cpu.vulnerabilities.*",
        Kind::Text,
        "a hardware vulnerability",
        both("update kernel and microcode; remove mitigations=off"),
    ),
    fact(
        "cpu.governor",
        Kind::Text,
        "how frequencies are chosen",
        both("echo WORD > /sys/devices/system/cpu/cpuN/cpufreq/scaling_governor"),
    ),
    fact("cpu.hypervisor", Kind::Flag, "a virtual machine", each("a virtual machine", "a machine of its own")),
    fact("memory.bytes", Kind::Number, "main memory", NONE),
    fact(
        "memory.ecc",
        Kind::Flag,
        "memory errors are reported",
        each("use ECC memory, and load the EDAC driver of the memory controller", "use memory without ECC")
            .told("load the EDAC driver of the memory controller"),
    ),
    fact(
        "memory.hugepages.*",
        Kind::Number,
        "reserved huge pages",
        both(
            "stele hw tune apply --hugepages KIB=N, or echo N > /sys/kernel/mm/hugepages/hugepages-KIBkB/nr_hugepages",
        ),
    ),
    fact(
        "memory.transparent_hugepages",
        Kind::Text,
        "huge pages without asking",
        both("echo WORD > /sys/kernel/mm/transparent_hugepage/enabled"),
    ),
    fact(
        "memory.swap_bytes",
        Kind::Number,
        "swap space",
        each("swapon, and /etc/fstab", "swapoff --all, and remove it from /etc/fstab"),
    ),
    fact("numa.*.cpus", Kind::Numbers, "processors of a node", NONE),
    fact("numa.*.bytes", Kind::Number, "memory of a node", NONE),
    fact("numa.*.distances", Kind::Numbers, "distances between nodes", NONE),
    fact(
        "clock.source",
        Kind::Text,
        "what tells time",
        both("boot with clocksource=WORD: tsc where the processor's is stable"),
    ),
    fact("clock.available", Kind::Words, "what could tell time", NONE),
    fact("nvme.*.model", Kind::Text, "model of an NVMe controller", NONE),
    fact("nvme.*.serial", Kind::Text, "its serial number", NONE),
    fact("nvme.*.firmware", Kind::Text, "its firmware", both("update it with nvme fw-download and fw-commit")),
    fact("nvme.*.transport", Kind::Text, "how it is connected", NONE),
    fact("nvme.*.state", Kind::Text, "whether it works", both("see the kernel's log")),
    fact("nvme.*.numa_node", Kind::Number, "the node that it is nearest to", both("another slot")),
    fact("disks.*.bytes", Kind::Number, "size of a disk", NONE),
    fact("disks.*.rotational", Kind::Flag, "the disk turns", each("a disk that turns", "a solid-state disk")),
    fact("disks.*.scheduler", Kind::Text, "who orders requests", both("echo WORD > /sys/block/NAME/queue/scheduler")),
    fact(
        "disks.*.write_cache",
        Kind::Text,
        "whether acknowledged writes may still be lost",
        both("another disk: one with power-loss protection writes through"),
    ),
    fact("disks.*.physical_block_bytes", Kind::Number, "the unit that it writes whole", NONE),
    fact("disks.*.requests", Kind::Number, "requests at a time", both("echo N > /sys/block/NAME/queue/nr_requests")),
    fact("nics.*.address", Kind::Text, "address of a network interface", NONE),
    fact("nics.*.driver", Kind::Text, "its driver", NONE),
    fact(
        "nics.*.carrier",
        Kind::Flag,
        "there is a link",
        each("plug it in; ip link set NAME up", "unplug it; ip link set NAME down"),
    ),
    fact("nics.*.speed_mbit", Kind::Number, "speed of the link", both("another cable, transceiver or port")),
    fact("nics.*.mtu", Kind::Number, "largest packet", both("ip link set NAME mtu N")),
    fact(
        "nics.*.receive_queues",
        Kind::Number,
        "queues to receive on",
        each("stele hw tune apply, or ethtool -L NAME combined N", "ethtool -L NAME combined N"),
    ),
    fact("nics.*.receive_queues_max", Kind::Number, "queues that it could have", both("another interface or driver")),
    fact("nics.*.transmit_queues", Kind::Number, "queues to send on", both("ethtool -L NAME combined N")),
    fact("nics.*.numa_node", Kind::Number, "the node that it is nearest to", both("another slot")),
    fact("gpus.*.vendor", Kind::Text, "PCI vendor of an accelerator", NONE),
    fact("gpus.*.device", Kind::Text, "which one it is", NONE),
    fact("gpus.*.class", Kind::Text, "PCI class", NONE),
    fact("gpus.*.driver", Kind::Text, "its kernel driver", both("install another driver")),
    fact("gpus.*.numa_node", Kind::Number, "the node that it is nearest to", both("another slot")),
    fact(
        "gpus.*.link_width",
        Kind::Number,
        "lanes in use",
        each("another slot, one with as many lanes; seat the card anew", "another slot, one with fewer lanes"),
    ),
    fact("gpus.*.link_width_max", Kind::Number, "lanes that it could use", NONE),
    fact("gpus.*.link_mtps_max", Kind::Number, "its fastest link, megatransfers a second", NONE),
    fact(
        "gpus.*.driver_version",
        Kind::Text,
        "version of NVIDIA's driver",
        both("install another driver, with its libnvidia-ml.so.1").told("install the driver's libnvidia-ml.so.1"),
    ),
    fact("gpus.*.name", Kind::Text, "model of an NVIDIA card", NONE.told("install the driver's libnvidia-ml.so.1")),
    fact("gpus.*.uuid", Kind::Text, "which card it is", NONE.told("install the driver's libnvidia-ml.so.1")),
    fact(
        "gpus.*.vbios",
        Kind::Text,
        "its firmware",
        both("update it with the maker's tools").told("install the driver's libnvidia-ml.so.1"),
    ),
    fact("gpus.*.memory_bytes", Kind::Number, "its memory", NONE.told("install the driver's libnvidia-ml.so.1")),
    fact(
        "gpus.*.ecc",
        Kind::Flag,
        "its memory corrects errors",
        each(
            "nvidia-smi --ecc-config=1, then start the machine again",
            "nvidia-smi --ecc-config=0, then start the machine again",
        )
        .told("install the driver's libnvidia-ml.so.1"),
    ),
    fact("crypto.*.vendor", Kind::Text, "PCI vendor of an encryption controller, as an HSM is one", NONE),
    fact("crypto.*.device", Kind::Text, "which one it is", NONE),
    fact("crypto.*.class", Kind::Text, "PCI class", NONE),
    fact("crypto.*.driver", Kind::Text, "its kernel driver", both("install another driver")),
    fact("crypto.*.numa_node", Kind::Number, "the node that it is nearest to", both("another slot")),
    fact(
        "tpm.version",
        Kind::Number,
        "version of the TPM",
        each("switch the TPM 2.0 on in the firmware's setup", "choose the other TPM, or none, in the firmware's setup"),
    ),
    fact("tpm.pcrs.*", Kind::Text, "a platform configuration register", NONE),
    fact(
        "tpm.event_log",
        Kind::Flag,
        "the log of what was measured",
        each("boot with UEFI firmware that measures", "boot without UEFI"),
    ),
    fact("watchdogs.*.identity", Kind::Text, "a watchdog", NONE),
    fact(
        "watchdogs.*.timeout_s",
        Kind::Number,
        "when it resets the machine",
        both("WDIOC_SETTIMEOUT, or the driver's parameter"),
    ),
    fact(
        "watchdogs.*.active",
        Kind::Flag,
        "it counts",
        each("whoever feeds it opens /dev/watchdogN", "stop whoever feeds it"),
    ),
    fact(
        "watchdogs.*.no_way_out",
        Kind::Flag,
        "nothing stops it",
        each("load its driver with nowayout=1", "load its driver with nowayout=0"),
    ),
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
