//! Devices: NVMe controllers, disks, network interfaces, accelerators, encryption controllers.

use super::{chosen, each, each_that, numa_node};
use crate::ethtool;
use crate::fact::{Fact, Reading, Why};
use crate::inventory::{Crypto, Disk, Gpu, Nic, Nvme};
use crate::listed::Listed;
use crate::nvml::{self, Card};
use crate::root::Root;

const PCI: &str = "/sys/bus/pci/devices";

pub(crate) fn nvme(root: &Root) -> Listed<Nvme> {
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

pub(crate) fn disks(root: &Root) -> Listed<Disk> {
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

pub(crate) fn nics(root: &Root) -> Listed<Nic> {
    const DIR: &str = "/sys/class/net";
    // Bridges, tunnels and the loopback have no device.
    let device = |name: &str| root.is_there(&format!("{DIR}/{name}/device"));
    each_that(root.listing(DIR), device, |path| Nic {
        address: root.text(&format!("{path}/address")),
        driver: root.link_name(&format!("{path}/device/driver")),
        carrier: root.flag(&format!("{path}/carrier")),
        // −1 where nobody knows.
        speed_mbit: root.text(&format!("{path}/speed")).read_as(|text| match text.as_str() {
            "-1" => Reading::Unknown(Why::Unsupported),
            text => text.parse().map_or(Reading::Unknown(Why::Malformed), Reading::Value),
        }),
        mtu: root.number(&format!("{path}/mtu")),
        receive_queues: queues(root, path, "rx-"),
        receive_queues_max: receive_channels(root, path.rsplit('/').next().unwrap_or_default()).max,
        transmit_queues: queues(root, path, "tx-"),
        numa_node: numa_node(root, &format!("{path}/device/numa_node")),
    })
}

fn queues(root: &Root, path: &str, prefix: &str) -> Fact<u32> {
    let names = root.names(&format!("{path}/queues"));
    names.parsed(|names| u32::try_from(names.iter().filter(|name| name.starts_with(prefix)).count()).ok())
}

/// The channels that an interface receives on.
pub(crate) struct Channels {
    /// As [`Root::write`] sets them.
    pub path: String,
    pub now: Fact<u32>,
    pub max: Fact<u32>,
}

/// Drivers have channels that receive and send, or one kind for each; some can do both, and change only from what they do.
pub(crate) fn receive_channels(root: &Root, interface: &str) -> Channels {
    let number = |path: &str| root.number(path).parsed(|number| u32::try_from(number).ok());
    let of = |kind: &str| {
        let path = format!("{}{interface}/{kind}", ethtool::DIR);
        Channels { now: number(&path), max: number(&format!("{path}_max")), path }
    };
    let (combined, rx) = (of("combined"), of("rx"));
    if combined.now.value() == Some(&0) && rx.now.value().is_some_and(|now| *now > 0) { rx } else { combined }
}

pub(crate) fn gpus(root: &Root) -> Listed<Gpu> {
    each_that(
        root.listing(PCI),
        |name| is_accelerator(root, name),
        |path| {
            let vendor = root.text(&format!("{path}/vendor"));
            let address = path.rsplit('/').next().unwrap_or_default();
            let card = match vendor.value() {
                Some(vendor) if vendor == nvml::VENDOR => root.card(address),
                _ => Card::unknown(Why::Unsupported),
            };
            let width = |name: &str| root.number(&format!("{path}/{name}")).parsed(|lanes| u32::try_from(lanes).ok());
            Gpu {
                vendor,
                device: root.text(&format!("{path}/device")),
                class: root.text(&format!("{path}/class")),
                driver: root.link_name(&format!("{path}/driver")),
                numa_node: numa_node(root, &format!("{path}/numa_node")),
                link_width: width("current_link_width"),
                link_width_max: width("max_link_width"),
                link_mtps_max: root.text(&format!("{path}/max_link_speed")).read_as(|text| megatransfers(&text)),
                driver_version: told("nvmlSystemGetDriverVersion", card.driver_version),
                name: told("nvmlDeviceGetName", card.name),
                uuid: told("nvmlDeviceGetUUID", card.uuid),
                vbios: told("nvmlDeviceGetVbiosVersion", card.vbios),
                memory_bytes: told("nvmlDeviceGetMemoryInfo_v2", card.memory_bytes),
                ecc: told("nvmlDeviceGetEccMode", card.ecc),
            }
        },
    )
}

pub(crate) fn crypto(root: &Root) -> Listed<Crypto> {
    each_that(
        root.listing(PCI),
        |name| is_of_class(root, name, &["0x10"]),
        |path| Crypto {
            vendor: root.text(&format!("{path}/vendor")),
            device: root.text(&format!("{path}/device")),
            class: root.text(&format!("{path}/class")),
            driver: root.link_name(&format!("{path}/driver")),
            numa_node: numa_node(root, &format!("{path}/numa_node")),
        },
    )
}

/// PCI addresses of the accelerators that NVML knows.
pub(crate) fn nvidia_cards(root: &Root) -> Vec<String> {
    let names = root.names(PCI);
    let vendor = |name: &String| root.text(&format!("{PCI}/{name}/vendor"));
    let theirs = |name: &&String| vendor(name).value().is_some_and(|vendor| vendor == nvml::VENDOR);
    let names = names.value().into_iter().flatten().filter(theirs);
    names.filter(|name| is_accelerator(root, name).value() == Some(&true)).cloned().collect()
}

/// PCI base classes 03 (display controller) and 12 (processing accelerator).
fn is_accelerator(root: &Root, name: &str) -> Fact<bool> {
    is_of_class(root, name, &["0x03", "0x12"])
}

fn is_of_class(root: &Root, name: &str, classes: &[&str]) -> Fact<bool> {
    let class = root.text(&format!("{PCI}/{name}/class"));
    class.parsed(|class| Some(classes.iter().any(|wanted| class.starts_with(wanted))))
}

fn told<T>(call: &str, reading: Reading<T>) -> Fact<T> {
    Fact { source: call.to_owned(), reading }
}

/// `16.0 GT/s PCIe`, before Linux 5.8 `16 GT/s`, or `Unknown`.
fn megatransfers(text: &str) -> Reading<u64> {
    if text.starts_with("Unknown") {
        return Reading::Unknown(Why::Unsupported);
    }
    let parse = || {
        let number = text.split_once(" GT/s")?.0;
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        let digit: u64 = tenths.parse().ok().filter(|_| tenths.len() == 1)?;
        whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(digit * 100)
    };
    parse().map_or(Reading::Unknown(Why::Malformed), Reading::Value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_of_links_are_read_as_the_kernel_writes_them() {
        for (text, speed) in [("2.5 GT/s PCIe", 2500), ("16.0 GT/s PCIe", 16_000), ("8 GT/s", 8000)] {
            assert_eq!(megatransfers(text), Reading::Value(speed));
        }
        assert_eq!(megatransfers("Unknown"), Reading::Unknown(Why::Unsupported));
        for wrong in ["", "16", "16.05 GT/s", "99999999999999999999.0 GT/s", "-1.0 GT/s"] {
            assert_eq!(megatransfers(wrong), Reading::Unknown(Why::Malformed), "{wrong}");
        }
    }
}
