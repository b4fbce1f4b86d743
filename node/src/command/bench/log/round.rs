//! Writers that append for a while, each waiting for its record before it makes the next; and how long that took.
//!
//! A writer is a thread. For the log alone it can also be one of many that share a thread, as in a node, where nobody
//! waits: the log calls back. Deliberately absent: what the engines are.

use super::engines::{Engine, EngineFault};
use crate::devnet::SplitMix;
use crate::metrics::Usage;
use hdrhistogram::Histogram;
use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Length of the kernel's tick in user space: USER_HZ is 100 on every Linux port that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// What several rounds came to.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Records made durable.
    pub records: u64,
    /// How long the rounds took together.
    pub wall: Duration,
    /// CPU time of this process meanwhile, user and system.
    pub cpu: Duration,
    /// CPU time of all other processes meanwhile.
    pub others: Duration,
    /// From the call to the answer, microseconds.
    pub micros: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let (wall, cpu, others) = Default::default();
        Self { records: 0, wall, cpu, others, micros: histogram() }
    }
}

/// Up to a minute, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds and precision are valid constants")
}

/// Adds the time since `before`.
pub fn record(micros: &mut Histogram<u64>, before: Instant) {
    micros.saturating_record(u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
}

impl Tally {
    /// Lets `writers` threads append records of `bytes` for `time`.
    pub fn threads(
        &mut self,
        engine: &Engine,
        bytes: usize,
        writers: usize,
        time: Duration,
    ) -> Result<(), EngineFault> {
        let stop = AtomicBool::new(false);
        let start = Barrier::new(writers + 1);
        let write = |writer: usize| {
            let mut micros = histogram();
            let mut payload = noise(writer as u64, bytes);
            start.wait();
            while !stop.load(Ordering::Relaxed) {
                number(&mut payload, micros.len());
                let before = Instant::now();
                engine.append(&payload)?;
                record(&mut micros, before);
            }
            Ok(micros)
        };
        let write = &write;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
            start.wait();
            self.timed(|tally| {
                thread::sleep(time);
                stop.store(true, Ordering::Relaxed);
                let mut failed = Ok(());
                for thread in threads {
                    match thread.join().expect("a writer of the bench does not panic") {
                        Ok(micros) => tally.add(&micros),
                        Err(fault) => failed = Err(fault),
                    }
                }
                failed
            })
        })
    }

    /// Lets this thread append for `writers` that are nothing but a record on its way each.
    pub fn callbacks(
        &mut self,
        engine: &Engine,
        bytes: usize,
        writers: usize,
        time: Duration,
    ) -> Result<(), EngineFault> {
        let (answer, answers) = channel();
        let mut payload = noise(7, bytes);
        let start = |payload: &[u8]| {
            let (answer, before) = (answer.clone(), Instant::now());
            // Nobody listens any more once a fault has ended the round.
            engine.start(payload, move |result| drop(answer.send((before, result))));
        };
        self.timed(|tally| {
            let mut micros = histogram();
            let begun = Instant::now();
            for writer in 0..writers {
                number(&mut payload, writer as u64);
                start(&payload);
            }
            let mut waiting = writers;
            while waiting > 0 {
                let (before, result) = answers.recv().expect("this thread keeps a sender");
                result?;
                record(&mut micros, before);
                if begun.elapsed() < time {
                    number(&mut payload, micros.len());
                    start(&payload);
                } else {
                    waiting -= 1;
                }
            }
            tally.add(&micros);
            Ok(())
        })
    }

    fn timed<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let (began, busy, cpu) = (Instant::now(), machine(), Usage::now().cpu);
        let result = work(self);
        self.wall += began.elapsed();
        let own = Usage::now().cpu.saturating_sub(cpu);
        self.cpu += own;
        self.others += machine().saturating_sub(busy).saturating_sub(own);
        result
    }

    fn add(&mut self, micros: &Histogram<u64>) {
        self.records += micros.len();
        self.micros.add(micros).expect("both have the same bounds");
    }
}

/// CPU time that all processes together have used since the machine started. What cannot be read counts as nothing.
fn machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal: `proc(5)`.
    let fields = stat.split_ascii_whitespace().skip(1).take(8).map(|field| field.parse::<u32>().unwrap_or(0));
    fields.enumerate().filter(|(place, _)| !matches!(place, 3 | 4)).map(|(_, ticks)| TICK * ticks).sum()
}

/// Makes the record unlike the ones before.
fn number(payload: &mut [u8], number: u64) {
    if let Some(head) = payload.first_chunk_mut() {
        *head = number.to_le_bytes();
    }
}

/// Bytes that nothing compresses, others for each seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    SplitMix(seed).bytes(bytes).into()
}
