//! What this machine is, as its kernel and its processor say.

use serde::Serialize;
use std::fs;

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
        let (features, missing): (Vec<_>, Vec<_>) = instruction_sets().into_iter().partition(|(_, there)| *there);
        let names = |list: Vec<(&'static str, bool)>| list.into_iter().map(|(name, _)| name).collect();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            features: names(features),
            missing: names(missing),
            memory_bytes: memory_bytes(&read("/proc/meminfo")).unwrap_or(0),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
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

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_and_their_absence_is_taken() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: A B @ 3 GHz\n"), Some("A B @ 3 GHz".into()));
        assert_eq!(memory_bytes("MemTotal:       24 kB\n"), Some(24 * 1024));
        assert_eq!((cpu_model(""), memory_bytes("MemTotal: x")), (None, None));
        let machine = Machine::look();
        assert!(machine.cores > 0 && !machine.cpu.is_empty());
        assert!(machine.features.iter().all(|feature| !machine.missing.contains(feature)));
    }
}
