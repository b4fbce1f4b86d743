//! A tree of files as a server with two nodes has them. Contents are written as its kernel writes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What NVML says of a card in good order, as `stele hw --record` writes it.
pub const CARD: &str = r#"{"driver_version":{"value":"580.95.05"},"name":{"value":"NVIDIA H200"},
"uuid":{"value":"GPU-0f3b1c2d-0000-1111-2222-333344445555"},"vbios":{"value":"96.00.AF.00.01"},
"memory_bytes":{"value":150754820096},"memory_used_bytes":{"value":4096},"ecc":{"value":true},
"ecc_corrected":{"value":12},"ecc_uncorrected":{"value":0},"temperature":{"value":41},
"temperature_slowdown":{"value":92},"slowed":{"value":1},"power_mw":{"value":76000},"power_limit_mw":{"value":700000}}"#;

/// A directory that stands for the root of a machine.
pub struct Tree(TempDir);

impl Tree {
    pub fn empty() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn place(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }

    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let place = self.place(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, content).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        let place = self.place(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(target, place).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.place(path)).unwrap();
    }

    /// Puts a file in the place of a directory, which then cannot be listed.
    pub fn hide(&self, dir: &str) {
        let place = self.place(dir);
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        self.put(dir, "");
    }

    /// Two sockets, NVMe and network on the second, a GPU on the first, TPM 2.0, Secure Boot, a watchdog.
    pub fn server() -> Self {
        let tree = Self::empty();
        tree.put(
            "/proc/cpuinfo",
            "processor\t: 0\nmodel name\t: Example 9000 32-Core\nmicrocode\t: 0xa0011d1\nflags\t\t: fpu sse2 sha_ni avx2\n\n\
             processor\t: 1\nmodel name\t: Example 9000 32-Core\nmicrocode\t: 0xa0011d1\nflags\t\t: fpu sse2 sha_ni avx2\n",
        );
        tree.put("/proc/meminfo", "MemTotal:       527951264 kB\nMemFree:  1 kB\nSwapTotal:             0 kB\n");
        tree.put("/proc/cmdline", "root=/dev/dm-0 isolcpus=2-3 lockdown=integrity\n");
        for (name, text) in [("osrelease", "6.12.9\n"), ("version", "#1 SMP\n"), ("tainted", "0\n")] {
            tree.put(&format!("/proc/sys/kernel/{name}"), text);
        }
        let cpu = "/sys/devices/system/cpu";
        tree.put(&format!("{cpu}/online"), "0-3\n");
        tree.put(&format!("{cpu}/isolated"), "2-3\n");
        tree.put(&format!("{cpu}/smt/active"), "1\n");
        for (number, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            tree.put(&format!("{cpu}/cpu{number}/topology/thread_siblings_list"), format!("{siblings}\n"));
        }
        tree.put(&format!("{cpu}/cpu0/cpufreq/scaling_governor"), "performance\n");
        tree.put(&format!("{cpu}/vulnerabilities/meltdown"), "Not affected\n");
        tree.put(&format!("{cpu}/vulnerabilities/retbleed"), "Mitigation: untrained return thunk\n");
        tree.put(&format!("{cpu}/vulnerabilities/mds"), "Vulnerable: No microcode\n");
        tree.put("/sys/devices/system/edac/mc/mc0/size_mb", "65536\n");
        tree.put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
        tree.put("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
        tree.put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        for (node, cpus, distance) in [(0, "0,2", "10 32"), (1, "1,3", "32 10")] {
            let dir = format!("/sys/devices/system/node/node{node}");
            tree.put(&format!("{dir}/cpulist"), format!("{cpus}\n"));
            tree.put(&format!("{dir}/distance"), format!("{distance}\n"));
            tree.put(
                &format!("{dir}/meminfo"),
                format!("Node {node} MemTotal:       263975632 kB\nNode {node} MemFree: 5 kB\n"),
            );
        }
        let clock = "/sys/devices/system/clocksource/clocksource0";
        tree.put(&format!("{clock}/current_clocksource"), "tsc\n");
        tree.put(&format!("{clock}/available_clocksource"), "tsc hpet acpi_pm \n");
        for (name, text) in [
            ("model", "EXAMPLE MZ1L2960                        \n"),
            ("serial", "S6CANE0T0\n"),
            ("firmware_rev", "GDC7\n"),
            ("transport", "pcie\n"),
            ("state", "live\n"),
            ("numa_node", "1\n"),
        ] {
            tree.put(&format!("/sys/class/nvme/nvme0/{name}"), text);
        }
        for (name, text) in [
            ("size", "1875385008\n"),
            ("queue/rotational", "0\n"),
            ("queue/scheduler", "[none] mq-deadline \n"),
            ("queue/write_cache", "write through\n"),
            ("queue/physical_block_size", "4096\n"),
            ("queue/nr_requests", "1023\n"),
        ] {
            tree.put(&format!("/sys/block/nvme0n1/{name}"), text);
        }
        tree.put("/sys/block/loop0/size", "0\n");
        for (name, text) in [
            ("address", "b8:3f:d2:00:00:01\n"),
            ("carrier", "1\n"),
            ("speed", "100000\n"),
            ("mtu", "9000\n"),
            ("device/numa_node", "1\n"),
        ] {
            tree.put(&format!("/sys/class/net/eth0/{name}"), text);
        }
        for queue in ["rx-0", "rx-1", "tx-0"] {
            tree.put(&format!("/sys/class/net/eth0/queues/{queue}/uevent"), "");
        }
        for (name, number) in
            [("rx", 0), ("rx_max", 0), ("tx", 0), ("tx_max", 0), ("combined", 2), ("combined_max", 63)]
        {
            tree.put(&format!("/ethtool/eth0/{name}"), format!("{number}\n"));
        }
        tree.link("/sys/class/net/eth0/device/driver", "../../../../bus/pci/drivers/mlx5_core");
        tree.put("/sys/class/net/lo/address", "00:00:00:00:00:00\n");
        for (address, class, vendor, node) in [
            ("0000:01:00.0", "0x030200", "0x10de", "0"),
            ("0000:81:00.0", "0x020000", "0x15b3", "1"),
            ("0000:17:00.0", "0x100000", "0x177d", "0"),
        ] {
            let dir = format!("/sys/bus/pci/devices/{address}");
            for (name, text) in [("class", class), ("vendor", vendor), ("device", "0x2335"), ("numa_node", node)] {
                tree.put(&format!("{dir}/{name}"), format!("{text}\n"));
            }
        }
        tree.link("/sys/bus/pci/devices/0000:01:00.0/driver", "../../../../bus/pci/drivers/nvidia");
        for (name, text) in
            [("current_link_width", "8"), ("max_link_width", "16"), ("max_link_speed", "32.0 GT/s PCIe")]
        {
            tree.put(&format!("/sys/bus/pci/devices/0000:01:00.0/{name}"), format!("{text}\n"));
        }
        tree.put("/nvml/0000:01:00.0", CARD);
        for (name, text) in [
            ("sys_vendor", "Example Inc.\n"),
            ("product_name", "R7525\n"),
            ("product_serial", "ABC123\n"),
            ("board_vendor", "Example Inc.\n"),
            ("board_name", "0PYVT1\n"),
            ("bios_vendor", "Example Inc.\n"),
            ("bios_version", "2.14.1\n"),
            ("bios_date", "02/28/2026\n"),
        ] {
            tree.put(&format!("/sys/class/dmi/id/{name}"), text);
        }
        tree.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        let efi = "/sys/firmware/efi/efivars";
        let global = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        tree.put(&format!("{efi}/SecureBoot-{global}"), [6, 0, 0, 0, 1]);
        tree.put(&format!("{efi}/SetupMode-{global}"), [6, 0, 0, 0, 0]);
        let stub: Vec<u8> = "systemd-stub 257\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        tree.put(&format!("{efi}/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), [vec![6, 0, 0, 0], stub].concat());
        tree.put("/sys/class/tpm/tpm0/tpm_version_major", "2\n");
        tree.put("/sys/class/tpm/tpm0/pcr-sha256/11", format!("{}\n", "AB".repeat(32)));
        tree.put("/sys/kernel/security/tpm0/binary_bios_measurements", [0; 8]);
        for (name, text) in
            [("identity", "iTCO_wdt\n"), ("timeout", "30\n"), ("state", "inactive\n"), ("nowayout", "0\n")]
        {
            tree.put(&format!("/sys/class/watchdog/watchdog0/{name}"), text);
        }
        tree
    }
}
