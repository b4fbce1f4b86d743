//! The threads between reader and writer: each takes a chunk, parses it and has it verified.
//!
//! Every thread has a CPU engine of its own, so chunks need nothing from each other and all cores are busy with any mix
//! of algorithms. Where there is a [`Gpu`], a thread hands it the chunks that it has room for.

use super::gpu::{self, Gpu};
use super::input::{Chunk, Line};
use super::output::Done;
use super::record::{Malformed, Question};
use super::{EngineChoice, VerifyError};
use accel::{Batch, CpuEngine, Engine, Item, Path, Verdicts};
use crossbeam_channel::{Receiver, Sender};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

/// Chunks a thread can have: one in work, one waiting for it, and some that wait for an earlier one to be written.
const CHUNKS_A_THREAD: usize = 4;
/// Decoded Ed25519 keys that a thread remembers.
const KEY_CACHE_ENTRIES: usize = 16_384;

/// Lines before which `auto` does not open a GPU: the threads are done with fewer while its kernels compile.
const GPU_FROM_INDEX: u64 = 65_536;

/// Engines that are ready to run.
pub struct Engines {
    cpu: Vec<CpuEngine>,
    gpu: GpuChoice,
}

/// Whether there is a GPU.
enum GpuChoice {
    /// Never.
    No,
    /// Once the input has shown to be long.
    Later { threads: usize },
    /// It serves; every chunk goes there.
    Now(Arc<Gpu>),
}

/// What the threads share.
pub struct Shared {
    cpu_items: AtomicU64,
    later: Option<usize>,
    gpu: OnceLock<Option<Arc<Gpu>>>,
    all_on_gpu: bool,
}

impl Shared {
    /// `cpu`, `gpu` or `cpu+gpu`: which engines had work.
    pub fn engines(&self) -> &'static str {
        let stats = self.gpu.get().and_then(Option::as_ref).map(|gpu| gpu.stats());
        let given_back = stats.as_ref().map_or(0, |stats| stats.cpu.items);
        let cpu = self.cpu_items.load(Ordering::Relaxed) + given_back;
        match (cpu, stats.map_or(0, |stats| stats.device.engine.items)) {
            (0, 0) if self.all_on_gpu => "gpu",
            (_, 0) => "cpu",
            (0, _) => "gpu",
            _ => "cpu+gpu",
        }
    }

    /// Faults of the device: what it lost was verified on the CPU.
    pub fn faults(&self) -> u64 {
        self.gpu.get().and_then(Option::as_ref).map_or(0, |gpu| gpu.stats().device_faults)
    }

    /// The GPU, if it is to have this chunk.
    fn gpu_for(&self, chunk: &Chunk) -> Option<&Arc<Gpu>> {
        if self.all_on_gpu {
            return self.gpu.get()?.as_ref();
        }
        let threads = self.later.filter(|_| chunk.first_index >= GPU_FROM_INDEX)?;
        // Where it does not open, the threads have it all; `auto` asks for no more.
        let open = || if gpu::present() { Gpu::open(None, threads).ok().map(Arc::new) } else { None };
        self.gpu.get_or_init(open).as_ref().filter(|gpu| gpu.is_free())
    }
}

/// A chunk whose lines are read, and whose questions are not answered yet.
struct Parsed {
    chunk: Chunk,
    /// What each line of the chunk is; an open question is the next of the items.
    lines: Vec<Answer>,
    items: Vec<Item>,
    done: Done,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The verdict of the next item.
    Asked,
    /// The key is no point.
    Invalid,
    /// Noted already.
    Malformed,
}

impl Engines {
    /// A CPU engine for each thread, and what `choice` says of a GPU.
    ///
    /// # Errors
    /// [`VerifyError`] where one does not start.
    pub fn start(choice: EngineChoice, adapter: Option<&str>, threads: usize) -> Result<Self, VerifyError> {
        let gpu = match (choice, adapter) {
            (EngineChoice::Cpu, _) => GpuChoice::No,
            (EngineChoice::Auto, None) => GpuChoice::Later { threads: 1 },
            // Who names an adapter wants it.
            (EngineChoice::Auto | EngineChoice::Gpu, adapter) => {
                GpuChoice::Now(Arc::new(Gpu::serving(adapter, threads)?))
            }
        };
        let cpu = (0..threads).map(|_| CpuEngine::new(1, KEY_CACHE_ENTRIES)).collect::<Result<_, _>>()?;
        Ok(Self { cpu, gpu })
    }

    /// How many chunks keep all engines busy.
    pub fn chunks_in_flight_max(&self) -> usize {
        let gpu = if matches!(self.gpu, GpuChoice::No) { 0 } else { gpu::CHUNKS_MAX };
        CHUNKS_A_THREAD * self.cpu.len() + gpu
    }

    /// Starts the threads. They end when `queue` does, or when nobody takes what is `done`.
    ///
    /// # Errors
    /// [`VerifyError::Thread`].
    pub fn spawn(
        self,
        queue: &Receiver<Chunk>,
        done: &Sender<Done>,
        lines: bool,
    ) -> Result<(Arc<Shared>, Vec<JoinHandle<()>>), VerifyError> {
        let (cpu_items, gpu) = (AtomicU64::new(0), OnceLock::new());
        let shared = Arc::new(match self.gpu {
            GpuChoice::No => Shared { cpu_items, later: None, gpu, all_on_gpu: false },
            GpuChoice::Later { threads } => Shared { cpu_items, later: Some(threads), gpu, all_on_gpu: false },
            GpuChoice::Now(open) => Shared { cpu_items, later: None, gpu: Some(open).into(), all_on_gpu: true },
        });
        let mut workers = Vec::new();
        for (number, mut engine) in self.cpu.into_iter().enumerate() {
            let (queue, done, shared) = (queue.clone(), done.clone(), shared.clone());
            let work = move || {
                for chunk in &queue {
                    let parsed = Parsed::new(chunk);
                    let sent = match shared.gpu_for(&parsed.chunk) {
                        Some(gpu) => {
                            on_gpu(gpu, parsed, &done, lines);
                            true
                        }
                        None => done.send(on_cpu(&mut engine, parsed, &shared, lines)).is_ok(),
                    };
                    if !sent {
                        return;
                    }
                }
            };
            let worker = Builder::new().name(format!("verify.{number}")).spawn(work);
            workers.push(worker.map_err(VerifyError::Thread)?);
        }
        Ok((shared, workers))
    }
}

fn on_cpu(engine: &mut CpuEngine, mut parsed: Parsed, shared: &Shared, lines: bool) -> Done {
    let batch = Batch::new(std::mem::take(&mut parsed.items), Path::Together);
    shared.cpu_items.fetch_add(batch.len() as u64, Ordering::Relaxed);
    let verdicts = engine.verify(&batch).expect("the CPU engine has no device that could fail");
    parsed.answer(&verdicts, lines)
}

fn on_gpu(gpu: &Gpu, mut parsed: Parsed, done: &Sender<Done>, lines: bool) {
    let done = done.clone();
    gpu.submit(std::mem::take(&mut parsed.items), move |verdicts| {
        // Of a fault hears only who waits while the service ends: then nobody takes what is done either.
        if let Ok(verdicts) = verdicts {
            done.send(parsed.answer(&verdicts, lines)).ok();
        }
    });
}

impl Parsed {
    fn new(chunk: Chunk) -> Self {
        let mut parsed = Self {
            lines: Vec::with_capacity(chunk.lines.len()),
            items: Vec::with_capacity(chunk.lines.len()),
            done: Done { sequence: chunk.sequence, ..Done::default() },
            chunk: Chunk::default(),
        };
        for Line { number, range } in &chunk.lines {
            let question = range.clone().ok_or(Malformed::LineTooLong);
            parsed.lines.push(match question.and_then(|range| Question::parse(&chunk.bytes[range])) {
                Ok(Question::Open(item)) => {
                    parsed.items.push(item);
                    Answer::Asked
                }
                Ok(Question::NoPoint) => Answer::Invalid,
                Err(reason) => {
                    parsed.done.malformed(*number, reason);
                    Answer::Malformed
                }
            });
        }
        // The bytes are not needed any more.
        parsed.chunk = Chunk { bytes: Vec::new(), ..chunk };
        parsed
    }

    fn answer(mut self, verdicts: &Verdicts, lines: bool) -> Done {
        let mut verdicts = verdicts.iter();
        for (index, line) in (self.chunk.first_index..).zip(&self.lines) {
            match line {
                Answer::Asked => {
                    let valid = verdicts.next().expect("one verdict for each item");
                    self.done.verdict(index, valid, lines);
                }
                Answer::Invalid => self.done.verdict(index, false, lines),
                Answer::Malformed => {}
            }
        }
        self.done
    }
}
