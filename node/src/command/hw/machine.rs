//! What this machine is, as its kernel and its processor say.

use firmware_hal::{Inventory, Root};
use serde::Serialize;

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Instruction sets that the engines here make use of, where the processor has them.
    pub features: Vec<&'static str>,
    /// Those that they would make use of, and that it does not have.
    pub missing: Vec<&'static str>,
    /// Main memory in bytes; 0 where it is not told.
    pub memory_bytes: u64,
    /// The kernel and its release.
    pub kernel: String,
    /// The version of this program.
    pub version: &'static str,
}

impl Machine {
    /// Asks.
    pub fn look() -> Self {
        Self::of(&Inventory::take(&Root::system()))
    }

    /// Of an inventory of this machine.
    pub fn of(inventory: &Inventory) -> Self {
        let (features, missing): (Vec<_>, Vec<_>) = instruction_sets().into_iter().partition(|(_, there)| *there);
        let names = |list: Vec<(&'static str, bool)>| list.into_iter().map(|(name, _)| name).collect();
        Self {
            cpu: inventory.cpu.model.value().map_or(std::env::consts::ARCH, String::as_str).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            features: names(features),
            missing: names(missing),
            memory_bytes: inventory.memory.bytes.value().copied().unwrap_or(0),
            kernel: format!("Linux {}", inventory.kernel.release.value().map_or("", String::as_str)),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// What is looked for at run time, by the names that the kernel and other tools use.
#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<(&'static str, bool)> {
    vec![
        ("sha_ni", std::is_x86_feature_detected!("sha")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vl", std::is_x86_feature_detected!("avx512vl")),
        ("avx512_ifma", std::is_x86_feature_detected!("avx512ifma")),
        ("bmi2", std::is_x86_feature_detected!("bmi2")),
        ("adx", std::is_x86_feature_detected!("adx")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> Vec<(&'static str, bool)> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_and_their_absence_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |cpuinfo: &str, meminfo: &str| {
            std::fs::create_dir_all(dir.path().join("proc")).expect("own directory");
            std::fs::write(dir.path().join("proc/cpuinfo"), cpuinfo).expect("own directory");
            std::fs::write(dir.path().join("proc/meminfo"), meminfo).expect("own directory");
            Machine::of(&Inventory::take(&Root::at(dir.path())))
        };
        let told = of("processor\t: 0\nmodel name\t: A B @ 3 GHz\n", "MemTotal:       24 kB\n");
        assert_eq!((told.cpu.as_str(), told.memory_bytes), ("A B @ 3 GHz", 24 * 1024));
        let silent = of("", "MemTotal: x");
        assert_eq!((silent.cpu.as_str(), silent.memory_bytes), (std::env::consts::ARCH, 0));
        let machine = Machine::look();
        assert!(machine.cores > 0 && !machine.cpu.is_empty());
        assert!(machine.features.iter().all(|feature| !machine.missing.contains(feature)));
    }
}
