//! Energy that was used, where the machine tells it.
//!
//! The processor: RAPL's packages under `/sys/class/powercap`, else hwmon's energy counters. The GPU: the power that
//! `nvidia-smi` reads, or hwmon's `power1_average` of an amdgpu, each over the time. All of it needs rights that a user may
//! not have: then it is not readable, which is no error.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const POWERCAP: &str = "/sys/class/powercap";
const HWMON: &str = "/sys/class/hwmon";
const SAMPLE_MS: &str = "100";

/// A counter of microjoules that starts again at its range.
#[derive(Clone, Debug)]
struct Counter {
    file: PathBuf,
    range_uj: u64,
}

/// What tells energy on this machine.
#[derive(Debug)]
pub struct Meters {
    counters: Vec<Counter>,
    gpu: Option<GpuPower>,
}

/// A moment to count from.
#[derive(Debug)]
pub struct Mark {
    counters: Vec<Option<u64>>,
    at: Instant,
}

/// Joules since a mark; `None` where they are not readable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Joules {
    /// Of the processor's packages.
    pub cpu: Option<f64>,
    /// Of the GPU.
    pub gpu: Option<f64>,
}

impl Meters {
    /// Looks for them. With `gpu`, also for that of a GPU.
    pub fn find(gpu: bool) -> Self {
        let mut counters = rapl(Path::new(POWERCAP));
        if counters.is_empty() {
            counters = hwmon_energy(Path::new(HWMON));
        }
        Self { counters, gpu: if gpu { GpuPower::start() } else { None } }
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        Mark { counters: self.counters.iter().map(|counter| read(&counter.file)).collect(), at: Instant::now() }
    }

    /// Since then.
    pub fn since(&self, mark: &Mark) -> Joules {
        let spent = self.counters.iter().zip(&mark.counters).map(|(counter, before)| {
            let (before, now) = ((*before)?, read(&counter.file)?);
            Some(now.checked_sub(before).unwrap_or((counter.range_uj + now).saturating_sub(before)))
        });
        let spent: Option<u64> = spent.sum();
        Joules {
            cpu: spent.filter(|_| !self.counters.is_empty()).map(|microjoules| microjoules as f64 / 1e6),
            gpu: self.gpu.as_ref().and_then(|gpu| gpu.joules_since(mark.at)),
        }
    }
}

fn read(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The packages alone: their domains are counted in them.
fn rapl(powercap: &Path) -> Vec<Counter> {
    let is_package =
        |domain: &PathBuf| fs::read_to_string(domain.join("name")).is_ok_and(|name| name.starts_with("package"));
    let counter = |domain: PathBuf| {
        let file = domain.join("energy_uj");
        read(&file)?;
        Some(Counter { range_uj: read(&domain.join("max_energy_range_uj")).unwrap_or(u64::MAX >> 1), file })
    };
    entries(powercap).into_iter().filter(is_package).filter_map(counter).collect()
}

/// What drivers like amd_energy call a socket.
fn hwmon_energy(hwmon: &Path) -> Vec<Counter> {
    let inputs = entries(hwmon).into_iter().flat_map(|chip| entries(&chip)).filter(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let label = file.with_file_name(name.replace("_input", "_label"));
        name.starts_with("energy")
            && name.ends_with("_input")
            && fs::read_to_string(label).is_ok_and(|label| label.starts_with("Esocket"))
    });
    inputs.filter(|file| read(file).is_some()).map(|file| Counter { file, range_uj: u64::MAX >> 1 }).collect()
}

/// Watts of a GPU, sampled in the background.
#[derive(Debug)]
struct GpuPower {
    samples: Arc<Mutex<Vec<(Instant, f64)>>>,
    child: Child,
}

impl GpuPower {
    /// `None` where `nvidia-smi` does not run or reads no power.
    fn start() -> Option<Self> {
        let mut command = Command::new("nvidia-smi");
        command.args(["--query-gpu=power.draw", "--format=csv,noheader,nounits", "--id=0", "--loop-ms", SAMPLE_MS]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let output = BufReader::new(child.stdout.take()?);
        let samples = Arc::new(Mutex::new(Vec::new()));
        let shared = samples.clone();
        let follow = move || {
            for line in output.lines().map_while(Result::ok) {
                if let Ok(watts) = line.trim().parse::<f64>() {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), watts));
                }
            }
        };
        thread::Builder::new().name("bench.power".into()).spawn(follow).ok()?;
        Some(Self { samples, child })
    }

    fn joules_since(&self, from: Instant) -> Option<f64> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        mean_since(&samples, from).map(|watts| watts * from.elapsed().as_secs_f64())
    }
}

impl Drop for GpuPower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Of the samples since then, or of a last one before that is no older than a second.
fn mean_since(samples: &[(Instant, f64)], from: Instant) -> Option<f64> {
    let first = samples.partition_point(|sample| sample.0 < from);
    let taken = match &samples[first..] {
        [] => samples
            .last()
            .filter(|last| from.duration_since(last.0) < Duration::from_secs(1))
            .map(std::slice::from_ref)?,
        taken => taken,
    };
    Some(taken.iter().map(|sample| sample.1).sum::<f64>() / taken.len() as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domain(root: &Path, directory: &str, name: &str, energy: &str) -> PathBuf {
        let path = root.join(directory);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("name"), name).unwrap();
        fs::write(path.join("max_energy_range_uj"), "1000000\n").unwrap();
        fs::write(path.join("energy_uj"), energy).unwrap();
        path.join("energy_uj")
    }

    #[test]
    fn packages_are_summed_and_a_counter_may_start_again() {
        let root = tempfile::tempdir().unwrap();
        let first = domain(root.path(), "intel-rapl:0", "package-0\n", "100\n");
        domain(root.path(), "intel-rapl:0:0", "core\n", "5\n");
        let second = domain(root.path(), "intel-rapl:1", "package-1\n", "999000\n");
        let meters = Meters { counters: rapl(root.path()), gpu: None };
        assert_eq!(meters.counters.len(), 2);
        let mark = meters.mark();
        fs::write(first, "2100").unwrap();
        fs::write(&second, "3000").unwrap();
        assert_eq!(meters.since(&mark), Joules { cpu: Some((2000.0 + 4000.0) / 1e6), gpu: None });
        fs::remove_file(second).unwrap();
        assert_eq!(meters.since(&mark).cpu, None, "a part would be a lie");
    }

    #[test]
    fn nothing_is_readable_where_there_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        let meters = Meters { counters: rapl(&root.path().join("none")), gpu: None };
        assert!(meters.counters.is_empty() && hwmon_energy(root.path()).is_empty());
        assert_eq!(meters.since(&meters.mark()), Joules::default());
    }

    #[test]
    fn power_is_the_mean_of_the_samples_in_the_time() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let samples = [(at(0), 50.0), (at(1000), 100.0), (at(2000), 300.0)];
        assert_eq!(mean_since(&samples, at(500)), Some(200.0));
        assert_eq!(mean_since(&samples, at(2500)), Some(300.0));
        assert_eq!(mean_since(&samples, at(9000)), None);
        assert_eq!(mean_since(&[], now), None);
    }
}
