//! `stele hw`: what this machine is, what it has for the engines, which of that is used, and whether it answers rightly.
//!
//! Deliberately absent: speed, which is `stele bench`.

mod facts;
pub mod known_answers;
pub mod machine;
mod places;
mod tune;

use accel::gpu::{AdapterFacts, GpuEngine, Options, adapters};
use accel::{CpuEngine, Engine};
use clap::{Args, Subcommand};
use known_answers::{ALGORITHMS, known_answers};
use machine::Machine;
use miette::IntoDiagnostic;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use types::{AlgId, Digest};

/// Show what this machine is, and what of it is used.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  stele hw                  what there is
  stele hw --self-test      and whether every engine gives the known answers; status 1 where one does not
  stele hw --facts          every fact with the file it was read from; a policy may demand any of them
  stele hw --json
  stele hw --record DIR     what was read, as files: for a report, or for `--root DIR` elsewhere
  stele hw check --policy hardware.toml
  stele hw tune check       settings of this machine that a node profits from, and what to type
  stele hw placement        on which processors each part of a node belongs

A GPU needs a Vulkan driver and the Vulkan loader (Debian: libvulkan1, and mesa-vulkan-drivers or the vendor's driver).
A software adapter is never used unless it is named: the CPU engine is faster. What cannot be read is unknown, never false."
)]
pub struct HwArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Ask each engine questions whose answers are known. Compiling kernels may take a minute.
    #[arg(long)]
    self_test: bool,
    /// Print every fact of the machine with its source, and nothing else.
    #[arg(long)]
    facts: bool,
    #[command(flatten)]
    tree: facts::Tree,
    /// Write down what was read as a tree of files in a new directory, and print nothing else. Serial numbers are in it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["self_test", "facts"])]
    record: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Hold the machine against a policy: status 1 where it does not start a node.
    Check(facts::CheckArgs),
    Tune(tune::TuneArgs),
    Placement(places::PlacementArgs),
}

#[derive(Debug, Serialize)]
struct Found {
    machine: Machine,
    inventory: firmware_hal::Inventory,
    inventory_digest: Digest,
    cpu_engine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_self_test: Option<SelfTest>,
    adapters: Vec<Adapter>,
}

#[derive(Debug, Serialize)]
struct Adapter {
    #[serde(flatten)]
    facts: AdapterFacts,
    /// Whether `--engine auto` takes it.
    used: bool,
    /// Why not.
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_test: Option<SelfTest>,
}

/// What an engine answered.
#[derive(Debug, Serialize)]
struct SelfTest {
    passed: bool,
    /// What was asked of it and how it went.
    algorithms: Vec<Answered>,
    /// Why it could not even be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Answered {
    alg: AlgName,
    asked: usize,
    wrong: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// An algorithm by its name.
#[derive(Debug, Serialize)]
struct AlgName(&'static str);

/// Runs to the end; status 1 where an engine that is used does not answer rightly.
pub fn run(args: &HwArgs) -> miette::Result<ExitCode> {
    match (&args.action, &args.record) {
        (Some(Action::Check(check)), _) => return facts::check(check),
        (Some(Action::Placement(placement)), _) => return places::run(placement),
        (Some(Action::Tune(tune)), _) => return tune::run(tune),
        (None, Some(dir)) => return facts::record(&args.tree, dir),
        (None, None) if args.facts || args.tree.is_recorded() => return facts::list(&args.tree, args.json),
        (None, None) => {}
    }
    let machine = facts::take(&args.tree)?;
    let mut cpu = CpuEngine::new(1, 64).into_diagnostic()?;
    let cpu_self_test = args.self_test.then(|| ask(&mut cpu, Instant::now()));
    let all = adapters();
    let best = best(&all);
    let adapters =
        all.into_iter().enumerate().map(|(index, facts)| adapter(facts, best == Some(index), args.self_test));
    let found = Found {
        machine: Machine::of(&machine),
        inventory_digest: machine.digest(),
        inventory: machine,
        cpu_engine: cpu.name().to_owned(),
        cpu_self_test,
        adapters: adapters.collect(),
    };
    let text = if args.json { serde_json::to_string_pretty(&found).into_diagnostic()? + "\n" } else { table(&found) };
    std::io::stdout().write_all(text.as_bytes()).into_diagnostic()?;
    let mut tests =
        found.adapters.iter().filter(|adapter| adapter.used).filter_map(|adapter| adapter.self_test.as_ref());
    let passed = tests.all(|test| test.passed) && found.cpu_self_test.is_none_or(|test| test.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The one that an engine takes by itself: the rule of `accel::gpu`.
fn best(all: &[AdapterFacts]) -> Option<usize> {
    let rank = |facts: &AdapterFacts| match facts.device_type {
        "discrete-gpu" => 0,
        "integrated-gpu" => 1,
        "virtual-gpu" => 2,
        _ => 3,
    };
    let fit = all.iter().enumerate().filter(|(_, facts)| facts.unusable.is_none() && !facts.is_software());
    fit.min_by_key(|(_, facts)| rank(facts)).map(|(index, _)| index)
}

fn adapter(facts: AdapterFacts, used: bool, self_test: bool) -> Adapter {
    let reason = match &facts.unusable {
        Some(reason) => Some(reason.to_string()),
        None if used => None,
        None if facts.is_software() => Some("it computes in software, slower than the CPU engine".to_owned()),
        None => Some("another adapter is better".to_owned()),
    };
    let self_test = (self_test && facts.unusable.is_none()).then(|| {
        let started = Instant::now();
        let options = Options { adapter: Some(facts.name.clone()), allow_software: true, ..Options::default() };
        match GpuEngine::open(&options) {
            Ok(mut engine) => ask(&mut engine, started),
            Err(error) => SelfTest {
                passed: false,
                algorithms: Vec::new(),
                error: Some(error.to_string()),
                seconds: started.elapsed().as_secs_f64(),
            },
        }
    });
    Adapter { used, reason, self_test, facts }
}

fn ask(engine: &mut dyn Engine, started: Instant) -> SelfTest {
    let supported: Vec<_> = ALGORITHMS.into_iter().filter(|alg| engine.supports(*alg)).collect();
    let answer = |alg: AlgId| {
        let (batch, right) = known_answers(alg);
        match engine.verify(&batch) {
            Ok(verdicts) => {
                let wrong = verdicts.iter().zip(&right).filter(|(found, right)| found != *right).count();
                Answered { alg: AlgName(alg.name()), asked: batch.len(), wrong, fault: None }
            }
            Err(fault) => {
                Answered { alg: AlgName(alg.name()), asked: batch.len(), wrong: 0, fault: Some(fault.to_string()) }
            }
        }
    };
    let algorithms: Vec<_> = supported.into_iter().map(answer).collect();
    let passed = !algorithms.is_empty() && algorithms.iter().all(|one| one.wrong == 0 && one.fault.is_none());
    SelfTest { passed, algorithms, error: None, seconds: started.elapsed().as_secs_f64() }
}

/// For people.
fn table(found: &Found) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let machine = &found.machine;
    let mut line =
        |name: &str, value: &str| writeln!(out, "{name:<14}{value}").expect("a string takes every character");
    line("processor", &format!("{}, {} cores", machine.cpu, machine.cores));
    line("used of it", &machine.features.join(" "));
    if !machine.missing.is_empty() {
        line("it lacks", &machine.missing.join(" "));
    }
    line("memory", &format!("{:.1} GiB", machine.memory_bytes as f64 / (1u64 << 30) as f64));
    line("kernel", &machine.kernel);
    for (name, value) in facts::summary(&found.inventory) {
        line(name, &value);
    }
    line("CPU engine", &found.cpu_engine);
    if let Some(test) = &found.cpu_self_test {
        line("  self-test", &verdict(test));
    }
    if found.adapters.is_empty() {
        line(
            "adapters",
            "none: no Vulkan driver or no Vulkan loader (libvulkan1) was found; the CPU does all the work",
        );
    }
    for adapter in &found.adapters {
        let facts = &adapter.facts;
        line("adapter", &format!("{}, {}", facts.name, facts.device_type));
        line("  driver", &format!("{} {}", facts.driver, facts.driver_info));
        line("  ids", &format!("vendor {:#06x}, device {:#06x} {}", facts.vendor, facts.device, facts.pci_bus_id));
        line("  features", &facts.features.join(" "));
        let mib = |bytes: u64| bytes >> 20;
        line(
            "  limits",
            &format!(
                "a binding {} MiB, a buffer {} MiB, {} workgroups",
                mib(facts.binding_bytes_max),
                mib(facts.buffer_bytes_max),
                facts.workgroups_max
            ),
        );
        line("  used", &adapter.reason.as_ref().map_or("yes".to_owned(), |reason| format!("no: {reason}")));
        if let Some(test) = &adapter.self_test {
            line("  self-test", &verdict(test));
        }
    }
    out
}

fn verdict(test: &SelfTest) -> String {
    if let Some(error) = &test.error {
        return format!("failed: {error}");
    }
    let one = |answered: &Answered| match &answered.fault {
        Some(fault) => format!("{}: {fault}", answered.alg.0),
        None => format!("{} {}/{} right", answered.alg.0, answered.asked - answered.wrong, answered.asked),
    };
    let all: Vec<_> = test.algorithms.iter().map(one).collect();
    let word = if test.passed { "passed" } else { "FAILED" };
    let took = Duration::from_secs_f64(test.seconds);
    format!("{word} in {took:.1?}: {}", all.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use accel::{Batch, DeviceFault, Verdicts};

    fn facts(name: &str, device_type: &'static str, unusable: bool) -> AdapterFacts {
        AdapterFacts {
            name: name.into(),
            vendor: 0x10de,
            device: 1,
            pci_bus_id: String::new(),
            device_type,
            driver: "d".into(),
            driver_info: "1".into(),
            features: vec![],
            binding_bytes_max: 128 << 20,
            buffer_bytes_max: 1 << 31,
            workgroups_max: 65_535,
            unusable: unusable.then_some(accel::gpu::Unusable::NoInt64),
        }
    }

    #[test]
    fn the_best_adapter_that_can_is_used_and_the_others_say_why_not() {
        let all = [
            facts("soft", "cpu", false),
            facts("small", "integrated-gpu", false),
            facts("old", "discrete-gpu", true),
            facts("big", "discrete-gpu", false),
        ];
        assert_eq!(best(&all), Some(3));
        assert_eq!(best(&all[..3]), Some(1));
        assert_eq!(best(&all[..1]), None);
        let why =
            |index: usize| adapter(all[index].clone(), best(&all) == Some(index), false).reason.unwrap_or_default();
        assert!(why(0).contains("software") && why(1).contains("better") && why(2).contains("SHADER_INT64"));
        assert_eq!(why(3), "");
    }

    /// Accepts everything.
    struct Liar;
    impl Engine for Liar {
        fn name(&self) -> &'static str {
            "liar"
        }
        fn supports(&self, _: AlgId) -> bool {
            true
        }
        fn verify(&mut self, batch: &Batch) -> Result<Verdicts, DeviceFault> {
            Ok(Verdicts::from_bools(vec![true; batch.len()]))
        }
    }

    #[test]
    fn the_self_test_passes_the_cpu_and_fails_a_liar() {
        let mut cpu = CpuEngine::new(1, 64).unwrap();
        assert!(ask(&mut cpu, Instant::now()).passed);
        let lied = ask(&mut Liar, Instant::now());
        assert!(!lied.passed && lied.algorithms.iter().all(|answered| answered.wrong == 32));
        assert!(verdict(&lied).starts_with("FAILED"));
    }
}
