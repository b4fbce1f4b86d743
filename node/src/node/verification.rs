//! Starts signature verification as `node.toml` says: on the CPU, and on a GPU where one is allowed and usable.

use super::NodeError;
use crate::config::{GpuUse, Setup, VerifySection};
use accel::gpu::{GpuEngine, Options};
use accel::{Device, DeviceConfig, DeviceError, DeviceState, FAULT_KINDS, TrustConfig, Verifier, VerifierConfig};
use std::path::Path;
use std::time::Duration;

/// Directory, within the data directory, of what the GPU's driver has compiled.
const CACHE: &str = "gpu-cache";
/// How long a required GPU may take for its self-test and its measurement, once it is open.
const SELF_TEST: Duration = Duration::from_secs(180);

/// Where Linux shows GPUs: its own drivers, NVIDIA's, and the one of WSL.
const DEVICE_FILES: [&str; 4] = ["/dev/dri", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg"];

/// See the module.
pub(super) fn start(setup: &Setup) -> Result<Verifier, NodeError> {
    let section = &setup.config.verify;
    let config = config(section);
    let options = options(setup);
    match section.gpu {
        GpuUse::Forbid => Ok(Verifier::start(config)?),
        // The Vulkan loader would load every driver there is, Mesa's software one too: 50 MiB that nobody uses.
        GpuUse::Prefer if !is_software_wanted(section) && !DEVICE_FILES.iter().any(|file| Path::new(file).exists()) => {
            tracing::info!("this machine has no GPU, the CPU verifies signatures");
            Ok(Verifier::start(config)?)
        }
        GpuUse::Prefer => Ok(Verifier::start_with_device(config, move || match GpuEngine::open(&options) {
            Ok(engine) => Ok(Box::new(engine) as Box<dyn Device>),
            Err(reason) => Err(DeviceError::new(reason)),
        })?),
        GpuUse::Require => {
            let engine = GpuEngine::open(&options).map_err(|reason| NodeError::NoGpu { reason })?;
            let verifier = Verifier::start_with_device(config, move || Ok(Box::new(engine) as Box<dyn Device>))?;
            match verifier.await_device(SELF_TEST) {
                DeviceState::Serving => Ok(verifier),
                _ => Err(failed(&verifier)),
            }
        }
    }
}

fn is_software_wanted(section: &VerifySection) -> bool {
    section.allow_software || section.gpu_adapter.is_some()
}

fn failed(verifier: &Verifier) -> NodeError {
    let device = verifier.stats().device;
    let faults = FAULT_KINDS.iter().zip(device.faults).filter(|(_, count)| *count > 0).map(|(kind, _)| *kind);
    let faults: Vec<&str> = faults.collect();
    let faults = if faults.is_empty() { "it takes too long".to_owned() } else { faults.join(", ") };
    NodeError::GpuFailed { adapter: device.engine.name, faults }
}

fn config(section: &VerifySection) -> VerifierConfig {
    let trust = TrustConfig { sample_one_in: section.sample_one_in, audit: section.audit, ..TrustConfig::default() };
    let device =
        DeviceConfig { batch_items_max: section.gpu_batch_items_max as usize, trust, ..DeviceConfig::default() };
    VerifierConfig {
        threads: section.threads.into(),
        batch_items_max: section.batch_items_max as usize,
        linger_us: section.linger_us,
        queue_items_max: section.queue_items_max as usize,
        key_cache_entries: section.key_cache_entries as usize,
        device,
    }
}

/// Kernels are compiled for the algorithms that the genesis allows, and no others.
fn options(setup: &Setup) -> Options {
    let section = &setup.config.verify;
    let every = Options::default();
    let allowed = setup.genesis.algorithms().unwrap_or_default();
    let algorithms = every.algorithms.iter().copied().filter(|alg| allowed.contains(alg)).collect();
    Options {
        adapter: section.gpu_adapter.clone(),
        allow_software: section.allow_software,
        cache_dir: Some(setup.data_dir.join(CACHE)),
        slot_items_max: section.gpu_batch_items_max,
        key_slots: every.key_slots.max(section.gpu_batch_items_max),
        algorithms,
        ..every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_preferred_and_each_key_reaches_the_verifier() {
        let default: VerifySection = toml::from_str("").expect("all keys have defaults");
        assert_eq!((default.gpu, default.allow_software), (GpuUse::Prefer, false));
        let text = "gpu = \"require\"\ngpu_batch_items_max = 4096\nsample_one_in = 7\naudit = true\nlinger_us = 9";
        let section: VerifySection = toml::from_str(text).expect("known keys");
        assert_eq!(section.gpu, GpuUse::Require);
        let config = config(&section);
        assert_eq!((config.device.batch_items_max, config.linger_us), (4096, 9));
        assert_eq!((config.device.trust.sample_one_in, config.device.trust.audit), (7, true));
        assert!(toml::from_str::<VerifySection>("gpu = \"maybe\"").is_err());
    }

    #[test]
    fn a_required_gpu_that_is_not_there_is_told_with_what_to_do() {
        let error = NodeError::NoGpu { reason: accel::gpu::OpenError::OnlySoftware { present: "llvmpipe".into() } };
        assert!(error.to_string().contains("only software adapters were found (llvmpipe)"));
        let help = miette::Diagnostic::help(&error).expect("a help").to_string();
        assert!(help.contains("stele hw") && help.contains("libvulkan1") && help.contains("prefer"), "{help}");
    }
}
