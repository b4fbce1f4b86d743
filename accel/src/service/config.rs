//! The knobs of a verifier.

use crate::trust::TrustConfig;

/// The knobs of a [`Verifier`](crate::Verifier).
#[derive(Clone, Copy, Debug)]
pub struct VerifierConfig {
    /// Threads of the CPU engine. Default 1, at least 1.
    pub threads: usize,
    /// A batch closes at once with this many items; on the CPU none is larger but of one job. Default 1,024.
    pub batch_items_max: usize,
    /// How long the oldest job waits for company while the engine is idle, in microseconds. Default 500.
    pub linger_us: u32,
    /// Items that may wait in all. Default 65,536.
    pub queue_items_max: usize,
    /// Decoded keys to remember, about 450 bytes each. Default 32,768.
    pub key_cache_entries: usize,
    /// What concerns a device alone.
    pub device: DeviceConfig,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            batch_items_max: 1024,
            linger_us: 500,
            queue_items_max: 65_536,
            key_cache_entries: 32_768,
            device: DeviceConfig::default(),
        }
    }
}

/// Who gets what a device could take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Whoever is thought to be done first, by a cost model that is measured on this machine.
    Measured,
    /// The device, whatever it costs.
    Device,
}

/// The knobs of a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceConfig {
    /// Items in a batch at most, but of one job; no more than the device's best in any case. Default 65,536.
    pub batch_items_max: usize,
    /// Who gets what a device could take. Default [`Placement::Measured`].
    pub placement: Placement,
    /// How long a batch may take beyond ten times what it was thought to, in milliseconds. Default 2,000.
    pub timeout_ms: u32,
    /// The same for the known-answer test, in which kernels are compiled. Default 120,000.
    pub self_test_timeout_ms: u32,
    /// The pause after the first fault, in milliseconds; it doubles with each that follows. Default 1,000.
    pub quarantine_ms_min: u32,
    /// The longest pause after a device failed; after it answered wrongly, 64 times this. Default 64,000.
    pub quarantine_ms_max: u32,
    /// How much of what it says is checked.
    pub trust: TrustConfig,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            batch_items_max: 65_536,
            placement: Placement::Measured,
            timeout_ms: 2_000,
            self_test_timeout_ms: 120_000,
            quarantine_ms_min: 1_000,
            quarantine_ms_max: 64_000,
            trust: TrustConfig::default(),
        }
    }
}
