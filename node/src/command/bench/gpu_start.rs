//! From nothing to the first verdict of a GPU, cold and warm.
//!
//! Drivers keep compiled code of their own, in memory and on disk, so each start is in a process of its own: the first with
//! an empty directory in place of every such place, the second with what the first left there.

use super::BenchError;
use super::report::{GpuStart, StartTimes};
use crate::command::hw::known_answers::known_answers;
use accel::Engine;
use accel::gpu::{GpuEngine, Options};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use types::AlgId;

/// Where drivers are told to keep compiled code: NVIDIA's, Mesa's, and what others take for a home of caches.
const DRIVER_CACHES: [&str; 3] = ["__GL_SHADER_DISK_CACHE_PATH", "MESA_SHADER_CACHE_DIR", "XDG_CACHE_HOME"];

/// Open a GPU engine once and print how long it took, as JSON.
#[derive(Clone, Debug, Args)]
pub struct GpuStartArgs {
    /// Where compiled code is kept.
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// Part of an adapter's name.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Algorithms, by comma.
    #[arg(long, value_delimiter = ',', value_name = "ALG")]
    alg: Vec<String>,
}

/// The child's part.
pub(super) fn run(args: &GpuStartArgs) -> Result<(), BenchError> {
    let algorithms = accel::gpu::ALGORITHMS.into_iter().filter(|alg| args.alg.iter().any(|name| name == alg.name()));
    let options = Options {
        adapter: args.adapter.clone(),
        allow_software: args.adapter.is_some(),
        cache_dir: Some(args.cache.clone()),
        algorithms: algorithms.collect(),
        ..Options::default()
    };
    // Signing and the reference's verdicts are not what is measured.
    let questions: Vec<_> = options.algorithms.iter().map(|alg| (*alg, known_answers(*alg))).collect();
    let started = Instant::now();
    let mut engine = GpuEngine::open(&options).map_err(BenchError::NoGpu)?;
    let pipelines = engine.open_times().kernels.iter().map(|(alg, took)| (alg.name().to_owned(), took.as_secs_f64()));
    let mut times = StartTimes {
        pipelines: pipelines.collect(),
        first_batch: BTreeMap::new(),
        open: started.elapsed().as_secs_f64(),
        total: 0.0,
    };
    for (alg, (batch, right)) in &questions {
        let before = Instant::now();
        let (name, items) = (alg.name(), batch.len());
        let verdicts = engine.verify(batch).map_err(|fault| BenchError::Fault {
            engine: "GPU".into(),
            batch: items,
            alg: name,
            fault,
        })?;
        times.first_batch.insert(name.to_owned(), before.elapsed().as_secs_f64());
        let wrong = verdicts.iter().zip(right).filter(|(found, right)| found != *right).count();
        if wrong > 0 {
            return Err(BenchError::WrongVerdicts { engine: "GPU".into(), batch: items, alg: name, wrong });
        }
    }
    times.total = started.elapsed().as_secs_f64();
    let json = serde_json::to_string(&times).expect("numbers and names have a JSON form");
    writeln!(std::io::stdout(), "{json}").map_err(BenchError::GpuStart)
}

/// Starts twice.
pub(super) fn cold_and_warm(adapter: Option<&str>, algorithms: &[AlgId]) -> Result<GpuStart, BenchError> {
    super::note("GPU: a cold and a warm start");
    let directory = Scratch::make().map_err(BenchError::GpuStart)?;
    let once = || start(&directory.0, adapter, algorithms).map_err(BenchError::GpuStart);
    Ok(GpuStart { cold: once()?, warm: once()? })
}

fn start(cache: &Path, adapter: Option<&str>, algorithms: &[AlgId]) -> std::io::Result<StartTimes> {
    let names: Vec<_> = algorithms.iter().map(|alg| alg.name()).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "gpu-start", "--alg", &names.join(","), "--cache"]).arg(cache);
    command.args(adapter.into_iter().flat_map(|name| ["--adapter", name]));
    for variable in DRIVER_CACHES {
        command.env(variable, cache);
    }
    let ended = command.stderr(std::process::Stdio::inherit()).output()?;
    let wrong = |why: String| Error::new(ErrorKind::InvalidData, why);
    if !ended.status.success() {
        return Err(wrong(format!("it ended with {}", ended.status)));
    }
    serde_json::from_slice(&ended.stdout).map_err(|error| wrong(error.to_string()))
}

/// An empty directory, removed with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> std::io::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| Error::other(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("stele-bench-{}", hex::encode(name)));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
