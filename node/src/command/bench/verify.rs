//! `stele bench verify`: every algorithm, on every engine, at every batch size, with the CPU idle and busy.

use super::burn::Burn;
use super::energy::{Joules, Meters};
use super::report::{Report, Row, Split, break_even};
use super::stopwatch::{Measured, measure};
use super::workload::{Batches, Mix, Workload};
use super::{BenchError, EngineChoice, Output, gpu_start, note, peers};
use crate::command::hw::machine::Machine;
use crate::devnet::usage;
use accel::gpu::{GpuEngine, OpenError, Options, Timings};
use accel::{Batch, CpuEngine, Device, DeviceFault, Engine, Verdicts};
use clap::{Args, builder::PossibleValuesParser};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use types::AlgId;

/// How long an answer of a device is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Measure signature checks.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench verify                                             everything, about two minutes
  stele bench verify --alg sm2 --engine cpu --peers              one algorithm beside public implementations
  stele bench verify --batch 1,1024,65536,1048576 --keys 1000000 --message-bytes 200 --invalid 1 --report out
  stele bench verify --adapter llvmpipe --seconds 0.2            also a software adapter, because it is named

Keys: with no more of them than --key-cache, keys are decoded once and known from then on, as those of validators and
busy accounts are; with more, they are decoded anew. `items/s` of a GPU is with batches in flight at once; latencies are
those of a batch by itself. Every verdict is checked.")]
pub struct VerifyArgs {
    /// Algorithms, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = ["ed25519", "sm2", "p256", "secp256k1"].map(String::from),
        value_parser = PossibleValuesParser::new(["ed25519", "sm2", "p256", "secp256k1"]), value_name = "ALG")]
    alg: Vec<String>,
    /// Engines.
    #[arg(long, value_enum, default_value_t = EngineChoice::All, value_name = "ENGINE")]
    engine: EngineChoice,
    /// Part of an adapter's name, in place of the best one; a software adapter is taken when it is named.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Items in a batch, by comma; 1 to 1048576.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256, 1024, 4096, 16_384, 65_536],
        value_parser = clap::value_parser!(u32).range(1..=1_048_576), value_name = "N")]
    batch: Vec<u32>,
    /// CPU threads, by comma; one and all of them where it is not given.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    threads: Vec<u16>,
    /// Measure everything a second time while each core is busy with something else.
    #[arg(long)]
    busy: bool,
    /// Invalid items in a hundred.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    invalid: u8,
    /// Bytes of a message.
    #[arg(long, default_value_t = 47, value_parser = clap::value_parser!(u32).range(8..=1_048_576), value_name = "N")]
    message_bytes: u32,
    /// Distinct keys.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=4_194_304), value_name = "N")]
    keys: u32,
    /// Keys that an engine remembers.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=4_194_304), value_name = "N")]
    key_cache: u32,
    /// Items of a GPU's launch; the engine's own choice where it is not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(64..=1_048_576), value_name = "N")]
    slot_items: Option<u32>,
    /// A GPU's launches in flight; the engine's own choice where it is not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16), value_name = "N")]
    slots: Option<u32>,
    /// Public implementations over the same items on one thread: crates, and `openssl speed` where it is installed.
    #[arg(long)]
    peers: bool,
    /// Do not measure a cold and a warm start of the GPU, which on some drivers take a minute.
    #[arg(long)]
    skip_start: bool,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 1.0, value_parser = seconds, value_name = "N")]
    seconds: f64,
    #[command(flatten)]
    pub(super) output: Output,
}

/// A time that a person waits for.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.001 to 3600 seconds".into()) }
}

impl VerifyArgs {
    fn algorithms(&self) -> Vec<AlgId> {
        let names = [("ed25519", AlgId::Ed25519), ("sm2", AlgId::Sm2Sm3), ("p256", AlgId::EcdsaP256)];
        let alg =
            |wanted: &String| names.iter().find(|(name, _)| name == wanted).map_or(AlgId::EcdsaSecp256k1, |one| one.1);
        self.alg.iter().map(alg).collect()
    }

    fn threads(&self) -> Vec<usize> {
        let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut threads: Vec<usize> = self.threads.iter().map(|threads| usize::from(*threads)).collect();
        if threads.is_empty() {
            threads = vec![1, all];
        }
        threads.sort_unstable();
        threads.dedup();
        threads
    }

    /// How a GPU engine is opened.
    fn gpu_options(&self) -> Options {
        let mut options = Options {
            adapter: self.adapter.clone(),
            allow_software: self.adapter.is_some(),
            key_slots: self.key_cache,
            ..Options::default()
        };
        options.algorithms.retain(|alg| self.algorithms().contains(alg));
        options.slot_items_max = self.slot_items.unwrap_or(options.slot_items_max);
        options.slots = self.slots.unwrap_or(options.slots);
        options
    }

    fn described(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("invalid", format!("{} %", self.invalid)),
            ("message", format!("{} bytes", self.message_bytes)),
            ("keys", format!("{} distinct, {} remembered", self.keys, self.key_cache)),
            ("measured", format!("{} s each", self.seconds)),
        ])
    }
}

/// One engine that is measured.
enum Contender {
    Cpu(Box<CpuEngine>, usize),
    Gpu(Box<GpuEngine>),
}

/// Measures, and puts the report together.
pub(super) fn run(args: &VerifyArgs) -> Result<Report, BenchError> {
    let mut no_adapter = None;
    let gpu = match args.engine {
        EngineChoice::Cpu => None,
        choice => match GpuEngine::open(&args.gpu_options()) {
            Ok(engine) => Some(engine),
            Err(error) if choice == EngineChoice::Gpu => return Err(BenchError::NoGpu(error)),
            Err(error) => {
                no_adapter = Some(reason(&error));
                None
            }
        },
    };
    let adapter = gpu.as_ref().map(|engine| engine.adapter().clone());
    let gpu_start = match &gpu {
        Some(_) if !args.skip_start => Some(gpu_start::cold_and_warm(args.adapter.as_deref(), &args.algorithms())?),
        _ => None,
    };
    let mut contenders = Vec::new();
    if args.engine != EngineChoice::Gpu {
        for threads in args.threads() {
            let engine = CpuEngine::new(threads, args.key_cache as usize)?;
            contenders.push(Contender::Cpu(Box::new(engine), threads));
        }
    }
    contenders.extend(gpu.map(|engine| Contender::Gpu(Box::new(engine))));
    let (results, notes) = measure_all(args, &mut contenders)?;
    Ok(Report {
        kind: "verify",
        machine: Machine::look(),
        adapter,
        no_adapter,
        options: args.described(),
        gpu_start,
        break_even: break_even(&results),
        results,
        notes,
    })
}

fn reason(error: &OpenError) -> String {
    error.to_string()
}

fn measure_all(args: &VerifyArgs, contenders: &mut [Contender]) -> Result<(Vec<Row>, Vec<String>), BenchError> {
    let meters = Meters::find(contenders.iter().any(|one| matches!(one, Contender::Gpu(_))));
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    let largest = args.batch.iter().copied().max().unwrap_or(1) as usize;
    for alg in args.algorithms() {
        note(&format!("{alg}: making {} signatures", args.keys));
        let mix = Mix {
            alg,
            message_bytes: args.message_bytes as usize,
            keys: args.keys as usize,
            invalid_percent: args.invalid,
        };
        let workload = Workload::make(mix, largest);
        let beside =
            if args.peers { peers::measure(alg, &workload, budget(args), &mut notes) } else { BTreeMap::new() };
        for batch in &args.batch {
            let batches = workload.batches(*batch as usize);
            for busy in [false, true].into_iter().filter(|busy| !busy || args.busy) {
                let burn = busy.then(Burn::start).transpose().map_err(BenchError::Burn)?;
                for contender in contenders.iter_mut() {
                    if !contender.supports(alg) {
                        continue;
                    }
                    let mut row = contender.measure(alg, &batches, budget(args), &meters, busy)?;
                    if row.engine == "cpu" && row.threads == 1 && !busy {
                        row.peers.clone_from(&beside);
                    }
                    note(&format!("{alg} {} ×{} at {batch}: {:.0}/s", row.engine, row.threads, row.items_per_s));
                    rows.push(row);
                }
                drop(burn);
            }
        }
    }
    Ok((rows, notes))
}

fn budget(args: &VerifyArgs) -> Duration {
    Duration::from_secs_f64(args.seconds)
}

impl Contender {
    fn supports(&self, alg: AlgId) -> bool {
        match self {
            Self::Cpu(engine, _) => engine.supports(alg),
            Self::Gpu(engine) => Engine::supports(&**engine, alg),
        }
    }

    fn measure(
        &mut self,
        alg: AlgId,
        batches: &Batches,
        budget: Duration,
        meters: &Meters,
        busy: bool,
    ) -> Result<Row, BenchError> {
        let size = batches.batches[0].len();
        let mut row = Row { alg: alg.name(), batch: size, busy, ..Row::default() };
        let failed = |engine: &str, wrong: Wrong| wrong.named(engine, size, alg.name());
        let (engine, threads) = match self {
            Self::Cpu(_, threads) => ("cpu", *threads),
            Self::Gpu(_) => ("gpu", 0),
        };
        (row.engine, row.threads) = (engine.into(), threads);
        let pid = std::process::id();
        let (cpu_before, mark) = (usage::cpu(pid), meters.mark());
        let (alone, items) = match self {
            Self::Cpu(engine, _) => {
                let alone = alone(&mut **engine, batches, budget).map_err(|wrong| failed("CPU", wrong))?;
                (alone, (alone.all_runs() * size as u64) as f64)
            }
            Self::Gpu(engine) => {
                let before = engine.timings();
                let alone = alone(&mut **engine, batches, budget / 2).map_err(|wrong| failed("GPU", wrong))?;
                row.split_ns_per_item = split(before, engine.timings());
                let runs = overlapped(engine, batches, budget / 2).map_err(|wrong| failed("GPU", wrong))?;
                row.items_per_s = runs.0 * size as f64;
                (alone, ((alone.all_runs() + runs.1) * size as u64) as f64)
            }
        };
        let Joules { cpu, gpu } = meters.since(&mark);
        row.cpu_joules_per_item = cpu.map(|joules| joules / items);
        row.gpu_joules_per_item = gpu.map(|joules| joules / items);
        // With every core busy, the process's time is that of the others.
        row.cpu_us_per_item = (!busy).then(|| (usage::cpu(pid) - cpu_before).as_secs_f64() * 1e6 / items);
        row.items_per_s = row.items_per_s.max(alone.per_s * size as f64);
        (row.p50_us, row.p99_us) = (alone.p50_us, alone.p99_us);
        Ok(row)
    }
}

/// What ends a measurement.
enum Wrong {
    Fault(DeviceFault),
    Verdicts(usize),
}

impl Wrong {
    fn named(self, engine: &str, batch: usize, alg: &'static str) -> BenchError {
        let engine = engine.to_owned();
        match self {
            Self::Fault(fault) => BenchError::Fault { engine, batch, alg, fault },
            Self::Verdicts(wrong) => BenchError::WrongVerdicts { engine, batch, alg, wrong },
        }
    }
}

/// One batch after the other.
fn alone(engine: &mut dyn Engine, batches: &Batches, budget: Duration) -> Result<Measured, Wrong> {
    measure(budget, |run| {
        let place = run % batches.batches.len();
        let verdicts = engine.verify(&batches.batches[place]).map_err(Wrong::Fault)?;
        check(&verdicts, &batches.valid[place], run < batches.batches.len())
    })
}

/// Every verdict the first time that a batch is answered, their number from then on, which costs next to nothing.
fn check(verdicts: &Verdicts, valid: &[bool], all: bool) -> Result<(), Wrong> {
    let expected = valid.iter().filter(|valid| **valid).count();
    let wrong = if all {
        verdicts.iter().zip(valid).filter(|(found, right)| found != *right).count()
    } else {
        verdicts.valid_count().abs_diff(expected)
    };
    if wrong == 0 && verdicts.len() == valid.len() { Ok(()) } else { Err(Wrong::Verdicts(wrong)) }
}

/// As many batches in flight as the device has slots; batches a second, and how many there were.
fn overlapped(engine: &mut GpuEngine, batches: &Batches, budget: Duration) -> Result<(f64, u64), Wrong> {
    let depth = engine.slots().max(2);
    let submit = |engine: &mut GpuEngine, run: usize| {
        let batch: &Batch = &batches.batches[run % batches.batches.len()];
        engine.submit(batch).map(|ticket| (ticket, run)).map_err(Wrong::Fault)
    };
    let mut flying = BTreeMap::new();
    let (mut submitted, mut answered) = (0, 0u64);
    let started = Instant::now();
    loop {
        while flying.len() < depth && started.elapsed() < budget {
            let (ticket, run) = submit(engine, submitted)?;
            submitted += 1;
            flying.insert(ticket, run);
        }
        if flying.is_empty() {
            return Ok((answered as f64 / started.elapsed().as_secs_f64(), answered));
        }
        let timed_out = Wrong::Fault(DeviceFault::TimedOut { waited_ms: ANSWER_MAX.as_millis() as u32 });
        let (ticket, verdicts) = engine.wait(ANSWER_MAX).ok_or(timed_out)?;
        let Some(run) = flying.remove(&ticket) else { continue };
        let verdicts = verdicts.map_err(Wrong::Fault)?;
        check(&verdicts, &batches.valid[run % batches.batches.len()], false)?;
        answered += 1;
    }
}

/// What an item took of each part; `None` where no launch came back.
fn split(before: Timings, after: Timings) -> Option<Split> {
    let items = after.items.checked_sub(before.items).filter(|items| *items > 0)? as f64;
    let share = |of: fn(&Timings) -> u64| of(&after).saturating_sub(of(&before)) as f64 / items;
    // A device without timestamps leaves zeros.
    let timed = |of: fn(&Timings) -> u64| Some(share(of)).filter(|share| *share > 0.0);
    let ticks = share(|timings| timings.verify_ns) > 0.0;
    Some(Split {
        pack: share(|timings| timings.pack_ns),
        upload: timed(|timings| timings.upload_ns),
        prepare_keys: if ticks { Some(share(|timings| timings.prepare_keys_ns)) } else { None },
        hash: timed(|timings| timings.hash_ns),
        verify: timed(|timings| timings.verify_ns),
        read_back: timed(|timings| timings.read_back_ns),
    })
}

#[cfg(test)]
mod tests;
