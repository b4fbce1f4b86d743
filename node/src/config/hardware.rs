//! `[hardware]` of node.toml: what the machine must be, where threads run, and what is done about its health.

use firmware_hal::health::Trouble;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// What the machine must be, and what is done where it is not well.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HardwareSection {
    /// Path of a policy, as `stele hw check` takes it: the node starts only on a machine that meets it. Default none.
    pub policy: Option<PathBuf>,
    /// Whether threads are put on the processors that `stele hw placement` shows. Default no.
    pub placement: Placement,
    /// What is done about the machine's health.
    pub health: HealthSection,
}

/// Who decides on which processors threads run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// The scheduler.
    #[default]
    None,
    /// The node, by what is near to what, where there are cores enough.
    Auto,
}

/// What the node does about each trouble of its machine, which is always told. Default nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// A sensor within ten degrees of its critical temperature.
    pub hot: Restraint,
    /// A sensor at its critical temperature.
    pub critical: Restraint,
    /// Processors that slow down for their heat.
    pub throttled: Restraint,
    /// Memory errors that were put right.
    pub memory_corrected: Restraint,
    /// Memory errors that were not.
    pub memory_uncorrected: Restraint,
    /// An NVMe disk that has used up its endurance; seen only where the node may ask the controller.
    pub disk_worn: Restraint,
    /// An NVMe disk that warns that it fails, or has lost data; likewise.
    pub disk_failing: Restraint,
    /// An NVIDIA card that slows itself down to protect itself; seen only where the driver's `libnvidia-ml.so.1` is installed.
    pub gpu_throttled: Restraint,
    /// Memory errors of such a card that were not put right; likewise.
    pub gpu_uncorrected: Restraint,
    /// Such a card that has fallen off its bus, needs a reset, or keeps its driver from answering; likewise.
    pub gpu_lost: Restraint,
}

impl HealthSection {
    /// What is done about a trouble.
    pub fn against(&self, trouble: &Trouble) -> Restraint {
        match trouble {
            Trouble::Hot { .. } => self.hot,
            Trouble::Critical { .. } => self.critical,
            Trouble::Throttled { .. } => self.throttled,
            Trouble::MemoryCorrected { .. } => self.memory_corrected,
            Trouble::MemoryUncorrected { .. } => self.memory_uncorrected,
            Trouble::DiskWorn { .. } => self.disk_worn,
            Trouble::DiskFailing { .. } => self.disk_failing,
            Trouble::GpuThrottled { .. } => self.gpu_throttled,
            Trouble::GpuUncorrected { .. } => self.gpu_uncorrected,
            Trouble::GpuLost { .. } => self.gpu_lost,
        }
    }
}

/// How far a node holds back, from the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restraint {
    /// Not at all.
    #[default]
    None,
    /// It takes no transactions from clients: they are told that it is busy.
    Shed,
    /// It makes no blocks either, and so signs nothing; it follows what the others order.
    Silence,
    /// It stops cleanly.
    Stop,
}

impl fmt::Display for Restraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Shed => "shed",
            Self::Silence => "silence",
            Self::Stop => "stop",
        })
    }
}
