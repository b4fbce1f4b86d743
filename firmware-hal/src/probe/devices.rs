//! Devices: NVMe controllers, disks, network interfaces, accelerators.

use super::{chosen, each, numa_node};
use crate::fact::{Fact, Reading};
use crate::inventory::{Disk, Gpu, Nic, Nvme};
use crate::root::Root;
use std::collections::BTreeMap;

pub(crate) fn nvme(root: &Root) -> BTreeMap<String, Nvme> {
    each(
        root,
        "/sys/class/nvme",
        |_| true,
        |path| Nvme {
            model: root.text(&format!("{path}/model")),
            serial: root.text(&format!("{path}/serial")),
            firmware: root.text(&format!("{path}/firmware_rev")),
            transport: root.text(&format!("{path}/transport")),
            state: root.text(&format!("{path}/state")),
            numa_node: numa_node(root, &format!("{path}/numa_node")),
        },
    )
}

pub(crate) fn disks(root: &Root) -> BTreeMap<String, Disk> {
    const NO_DEVICES: [&str; 5] = ["loop", "ram", "zram", "nbd", "fd"];
    let device = |name: &str| !NO_DEVICES.iter().any(|prefix| name.starts_with(prefix));
    each(root, "/sys/block", device, |path| Disk {
        // Sectors of 512 bytes, whatever the device's own are.
        bytes: root.number(&format!("{path}/size")).parsed(|sectors| sectors.checked_mul(512)),
        rotational: root.flag(&format!("{path}/queue/rotational")),
        scheduler: root.text(&format!("{path}/queue/scheduler")).parsed(|text| chosen(&text)),
        write_cache: root.text(&format!("{path}/queue/write_cache")),
        physical_block_bytes: root.number(&format!("{path}/queue/physical_block_size")),
        requests: root.number(&format!("{path}/queue/nr_requests")),
    })
}

pub(crate) fn nics(root: &Root) -> BTreeMap<String, Nic> {
    const DIR: &str = "/sys/class/net";
    // Bridges, tunnels and the loopback have no device.
    let device = |name: &str| root.is_there(&format!("{DIR}/{name}/device")).value() == Some(&true);
    each(root, DIR, device, |path| Nic {
        address: root.text(&format!("{path}/address")),
        driver: root.link_name(&format!("{path}/device/driver")),
        carrier: root.flag(&format!("{path}/carrier")),
        // −1 where nobody knows.
        speed_mbit: root.text(&format!("{path}/speed")).read_as(|text| match text.as_str() {
            "-1" => Reading::Unknown(crate::fact::Why::Unsupported),
            text => text.parse().map_or(Reading::Unknown(crate::fact::Why::Malformed), Reading::Value),
        }),
        mtu: root.number(&format!("{path}/mtu")),
        receive_queues: queues(root, path, "rx-"),
        transmit_queues: queues(root, path, "tx-"),
        numa_node: numa_node(root, &format!("{path}/device/numa_node")),
    })
}

fn queues(root: &Root, path: &str, prefix: &str) -> Fact<u32> {
    let names = root.names(&format!("{path}/queues"));
    names.parsed(|names| u32::try_from(names.iter().filter(|name| name.starts_with(prefix)).count()).ok())
}

pub(crate) fn gpus(root: &Root) -> BTreeMap<String, Gpu> {
    const DIR: &str = "/sys/bus/pci/devices";
    // PCI base classes 03 (display controller) and 12 (processing accelerator).
    let accelerator = |name: &str| {
        let class = root.text(&format!("{DIR}/{name}/class"));
        class.value().is_some_and(|class| class.starts_with("0x03") || class.starts_with("0x12"))
    };
    each(root, DIR, accelerator, |path| Gpu {
        vendor: root.text(&format!("{path}/vendor")),
        device: root.text(&format!("{path}/device")),
        class: root.text(&format!("{path}/class")),
        driver: root.link_name(&format!("{path}/driver")),
        numa_node: numa_node(root, &format!("{path}/numa_node")),
    })
}
