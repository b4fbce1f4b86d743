//! The GPU engine behind the service, on whatever adapter there is: it passes the known-answer test, which asks more of it
//! than any honest batch, and each job gets the truth.

use crate::faults::own;
use crate::gpu::options;
use crate::service::job;
use accel::gpu::{ALGORITHMS, GpuEngine, Options};
use accel::{Device, DeviceConfig, DeviceError, DeviceState, Origin, Placement, Verifier, VerifierConfig};
use std::sync::mpsc::channel;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn the_gpu_passes_its_test_and_each_job_gets_the_truth() {
    // A software driver on a busy machine compiles kernels for a while.
    let device = DeviceConfig {
        placement: Placement::Device,
        timeout_ms: 120_000,
        self_test_timeout_ms: 300_000,
        ..DeviceConfig::default()
    };
    let open = || {
        let options = Options { algorithms: ALGORITHMS.to_vec(), ..options() };
        let engine = GpuEngine::open(&options).map_err(DeviceError::new)?;
        Ok(Box::new(engine) as Box<dyn Device>)
    };
    let verifier = Verifier::start_with_device(VerifierConfig { device, ..VerifierConfig::default() }, open).unwrap();
    assert_eq!(verifier.await_device(PATIENCE), DeviceState::Serving, "{:?}", verifier.stats().device);
    let (answers, answered) = channel();
    let mut submitted = 0;
    for (id, count) in [1, 40, 300, 1100].into_iter().enumerate() {
        // A mixture: as many of each algorithm, in turn.
        let bad: Vec<u32> = (0..count).filter(|i| i % 7 == 3).collect();
        let of_each = ALGORITHMS.map(|alg| own(alg, count, &bad));
        let items = (0..count as usize).flat_map(|i| of_each.iter().map(move |items| items[i].clone())).collect();
        verifier.submit(job(id as u32, Origin::Client(id as u64), items, &answers)).unwrap();
        let verdicts = answered.recv_timeout(PATIENCE).unwrap().1.unwrap();
        for (index, valid) in verdicts.iter().enumerate() {
            assert_eq!(valid, index / 4 % 7 != 3, "item {} of {}", index / 4, ALGORITHMS[index % 4]);
        }
        submitted += 4 * u64::from(count);
    }
    let stats = verifier.stats();
    assert_eq!((stats.device.engine.items, stats.cpu.items, stats.device_faults), (submitted, 0, 0));
    assert!(stats.device.trust.canaries >= 64 && stats.device.trust.canaries_wrong == 0);
}
