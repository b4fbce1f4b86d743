//! Measures both engines with known items before a device serves. On the device's thread; the CPU's figures are those of
//! one thread, divided by their number, until real batches correct them.

use super::cost::Side;
use super::state::Shared;
use crate::engine::DeviceFault;
use crate::item::{Batch, Item, Path};
use crate::trust::{Guarded, Trust, run, run_alone};
use std::time::{Duration, Instant};

/// A small batch, on either engine.
const SMALL: usize = 64;
/// A large one on the CPU.
const CPU_LARGE: usize = 256;
/// A middle one on the device; the large one is measured only where it should not take longer than [`LARGE_TAKES_MAX`].
const MIDDLE: usize = 1024;
const LARGE_TAKES_MAX: Duration = Duration::from_millis(200);
/// Runs of each size, of which the fastest counts.
const RUNS: usize = 3;

/// Measures every algorithm that the device takes; the CPU only if asked to.
///
/// # Errors
/// What the device says, or [`DeviceFault::WrongAnswer`]: all items are valid.
pub(super) fn calibrate(
    shared: &Shared,
    device: &mut Guarded,
    trust: &mut Trust,
    cpu_threads: Option<usize>,
    patience: Duration,
) -> Result<(), DeviceFault> {
    for alg in device.supported().to_vec() {
        // Under different keys, because equal ones are cheaper; from the second run on their decoded forms are at hand.
        let items = trust.fresh(alg, CPU_LARGE);
        if let Some(threads) = cpu_threads {
            let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
            let small = (SMALL, on_cpu(trust, &items[..SMALL.min(items.len())])? / threads);
            let large = (CPU_LARGE, on_cpu(trust, &items)? / threads);
            shared.lock().cost.calibrate(Side::Cpu, alg, small, large);
        }
        let small = (SMALL, on_device(device, &items, SMALL, patience)?);
        let mut large = (MIDDLE, on_device(device, &items, MIDDLE, patience)?);
        let best = device.items_best().min(shared.lock().device.items_max);
        let takes = large.1 * u32::try_from(best.div_ceil(MIDDLE)).unwrap_or(u32::MAX);
        if best > MIDDLE && takes <= LARGE_TAKES_MAX {
            large = (best, on_device(device, &items, best, patience)?);
        }
        shared.lock().cost.calibrate(Side::Device, alg, small, large);
    }
    Ok(())
}

fn on_cpu(trust: &mut Trust, items: &[Item]) -> Result<Duration, DeviceFault> {
    let batch = Batch::new(items.to_vec(), Path::Together);
    fastest(|| run(trust.checker(), &batch).map(drop))
}

/// So many items on the device, over and over the same ones.
fn on_device(device: &mut Guarded, items: &[Item], count: usize, patience: Duration) -> Result<Duration, DeviceFault> {
    let batch = Batch::new(items.iter().cycle().take(count).cloned().collect(), Path::Together);
    fastest(|| {
        let verdicts = run_alone(device, &batch, patience)?;
        if verdicts.len() == batch.len() && verdicts.all_valid() { Ok(()) } else { Err(DeviceFault::WrongAnswer) }
    })
}

fn fastest(mut work: impl FnMut() -> Result<(), DeviceFault>) -> Result<Duration, DeviceFault> {
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        work()?;
        fastest = fastest.min(start.elapsed());
    }
    Ok(fastest)
}
