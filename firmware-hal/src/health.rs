//! How a machine is doing: temperatures, throttling, errors of its memory, wear of its disks. Looked at again and again; what
//! is said here is what the kernel's drivers say (hwmon, thermal_throttle, EDAC), NVMe controllers themselves, to whom may ask
//! them, and NVIDIA's library of its cards; what none of them says is not there.

mod gpu;

pub use gpu::Gpu;

use crate::fact::Why;
use crate::root::Root;
use crate::smart::Smart;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::mem;

/// Degrees below its critical temperature at which a part is hot.
const HOT_BELOW_CRITICAL: i64 = 10_000;

/// One look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// By sensor: the driver's name and the sensor's label or number.
    pub temperatures: BTreeMap<String, Temperature>,
    /// By memory controller.
    pub memory: BTreeMap<String, MemoryErrors>,
    /// How often processors were slowed down for their heat since the start, by processor.
    pub throttled: BTreeMap<u32, u64>,
    /// By NVMe controller.
    pub disks: BTreeMap<String, Smart>,
    /// NVIDIA's cards by PCI address, where their library is installed.
    pub gpus: BTreeMap<String, Gpu>,
}

/// Thousandths of a degree Celsius.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Temperature {
    /// Now.
    pub now: i64,
    /// Where the part begins to protect itself, or to fail, if its driver says.
    pub critical: Option<i64>,
}

/// Errors since the start of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryErrors {
    /// That were put right.
    pub corrected: u64,
    /// That were not.
    pub uncorrected: u64,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Trouble {
    /// Within ten degrees of critical.
    Hot {
        /// The sensor.
        sensor: String,
        /// Thousandths of a degree.
        now: i64,
        /// Thousandths of a degree.
        critical: i64,
    },
    /// At its critical temperature, or above.
    Critical {
        /// The sensor.
        sensor: String,
        /// Thousandths of a degree.
        now: i64,
        /// Thousandths of a degree.
        critical: i64,
    },
    /// Processors were slowed down since the last look.
    Throttled {
        /// How many of them.
        cpus: u64,
    },
    /// Memory errors were put right since the last look.
    MemoryCorrected {
        /// The controller.
        controller: String,
        /// How many.
        errors: u64,
    },
    /// Memory errors were not put right, at any time since the start: what is in memory cannot be relied on.
    MemoryUncorrected {
        /// The controller.
        controller: String,
        /// How many.
        errors: u64,
    },
    /// A disk has written as much as its maker vouches for, or more.
    DiskWorn {
        /// Its controller.
        controller: String,
        /// Share of its endurance, in percent.
        used_percent: u8,
    },
    /// A disk warns that it fails, or has lost data since the last look.
    DiskFailing {
        /// Its controller.
        controller: String,
        /// What it says.
        says: String,
    },
    /// A card slows itself down to protect itself, now.
    GpuThrottled {
        /// Its PCI address.
        card: String,
        /// From what.
        says: String,
    },
    /// A card's memory has errors that were not put right, at any time since its driver was loaded.
    GpuUncorrected {
        /// Its PCI address.
        card: String,
        /// How many.
        errors: u64,
    },
    /// A card has fallen off its bus, needs a reset, or keeps its driver from answering.
    GpuLost {
        /// Its PCI address.
        card: String,
        /// Which of these.
        why: Why,
    },
}

impl Trouble {
    /// Whether it is the trouble that was seen before, whatever its figures are now.
    pub fn is_still(&self, before: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(before) && self.part() == before.part()
    }

    /// The sensor, controller, disk or card that it is about.
    fn part(&self) -> Option<&str> {
        match self {
            Self::Hot { sensor, .. } | Self::Critical { sensor, .. } => Some(sensor),
            Self::MemoryCorrected { controller, .. }
            | Self::MemoryUncorrected { controller, .. }
            | Self::DiskWorn { controller, .. }
            | Self::DiskFailing { controller, .. } => Some(controller),
            Self::GpuThrottled { card, .. } | Self::GpuUncorrected { card, .. } | Self::GpuLost { card, .. } => {
                Some(card)
            }
            Self::Throttled { .. } => None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let degrees = |thousandths: &i64| *thousandths as f64 / 1e3;
        match self {
            Self::Hot { sensor, now, critical } => {
                write!(f, "{sensor} is hot: {:.0} °C, {:.0} is critical", degrees(now), degrees(critical))
            }
            Self::Critical { sensor, now, critical } => {
                write!(f, "{sensor} is critically hot: {:.0} °C of {:.0}", degrees(now), degrees(critical))
            }
            Self::Throttled { cpus } => write!(f, "{cpus} processors were slowed down for their heat"),
            Self::MemoryCorrected { controller, errors } => {
                write!(f, "{errors} memory errors at {controller} were put right since the last look")
            }
            Self::MemoryUncorrected { controller, errors } => {
                write!(f, "{errors} memory errors at {controller} could not be put right")
            }
            Self::DiskWorn { controller, used_percent } => {
                write!(f, "{controller} is worn: {used_percent} % of its endurance is used up; replace it")
            }
            Self::DiskFailing { controller, says } => write!(f, "{controller} is failing: {says}; replace it"),
            Self::GpuThrottled { card, says } => write!(f, "the GPU {card} slows itself down: {says}"),
            Self::GpuUncorrected { card, errors } => {
                write!(f, "{errors} memory errors of the GPU {card} could not be put right; reset it")
            }
            Self::GpuLost { card, why } => write!(f, "the GPU {card} is gone: {why}"),
        }
    }
}

impl Health {
    /// Looks. Takes milliseconds, and no rights but for the disks; a GPU's library that hangs takes ten seconds, once.
    pub fn take(root: &Root) -> Self {
        let (gpus, heat) = gpu::look(root);
        let mut temperatures = temperatures(root);
        temperatures.extend(heat);
        Self { temperatures, memory: memory(root), throttled: throttled(root), disks: disks(root), gpus }
    }

    /// What is wrong, given the look before.
    pub fn troubles(&self, before: &Self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for (sensor, Temperature { now, critical }) in &self.temperatures {
            let (sensor, now) = (sensor.clone(), *now);
            match *critical {
                Some(critical) if now >= critical => troubles.push(Trouble::Critical { sensor, now, critical }),
                Some(critical) if now >= critical - HOT_BELOW_CRITICAL => {
                    troubles.push(Trouble::Hot { sensor, now, critical });
                }
                _ => {}
            }
        }
        let slowed = |(cpu, count): &(&u32, &u64)| before.throttled.get(cpu).is_some_and(|before| before < count);
        let cpus = self.throttled.iter().filter(slowed).count() as u64;
        troubles.extend((cpus > 0).then_some(Trouble::Throttled { cpus }));
        for (controller, errors) in &self.memory {
            let known = before.memory.get(controller).map_or(errors.corrected, |before| before.corrected);
            let corrected = errors.corrected.saturating_sub(known);
            if corrected > 0 {
                troubles.push(Trouble::MemoryCorrected { controller: controller.clone(), errors: corrected });
            }
            if errors.uncorrected > 0 {
                let errors = errors.uncorrected;
                troubles.push(Trouble::MemoryUncorrected { controller: controller.clone(), errors });
            }
        }
        for (controller, disk) in &self.disks {
            let (controller, used_percent) = (controller.clone(), disk.used_percent);
            let lost =
                before.disks.get(&controller).map_or(0, |before| disk.media_errors.saturating_sub(before.media_errors));
            let mut says: Vec<String> = disk.warnings.iter().map(|&warning| warning.to_owned()).collect();
            says.extend((lost > 0).then(|| format!("{lost} media errors since the last look")));
            if !says.is_empty() {
                troubles.push(Trouble::DiskFailing { controller: controller.clone(), says: says.join(", ") });
            }
            if used_percent >= 100 {
                troubles.push(Trouble::DiskWorn { controller, used_percent });
            }
        }
        troubles.extend(self.gpus.iter().flat_map(|(address, card)| card.troubles(address, before.gpus.get(address))));
        troubles
    }
}

fn temperatures(root: &Root) -> BTreeMap<String, Temperature> {
    const DIR: &str = "/sys/class/hwmon";
    let degrees = |path: String| root.text(&path).value().and_then(|text| text.parse::<i64>().ok());
    let mut found = BTreeMap::new();
    for device in root.names(DIR).value().into_iter().flatten() {
        let dir = format!("{DIR}/{device}");
        let driver = root.text(&format!("{dir}/name")).value().cloned().unwrap_or_else(|| device.clone());
        let files = root.names(&dir);
        let sensors =
            files.value().into_iter().flatten().filter_map(|name| name.strip_suffix("_input")?.strip_prefix("temp"));
        for sensor in sensors {
            let Some(now) = degrees(format!("{dir}/temp{sensor}_input")) else { continue };
            let label = root.text(&format!("{dir}/temp{sensor}_label"));
            let name = label.value().map_or_else(|| sensor.to_owned(), String::clone);
            // Drivers of disks and of older boards know a highest, and no critical temperature. 0 and below is not set.
            let limit = |kind: &str| degrees(format!("{dir}/temp{sensor}_{kind}")).filter(|limit| *limit > 0);
            let critical = limit("crit").or_else(|| limit("max"));
            // Two devices may have one driver.
            let device = device.trim_start_matches("hwmon");
            found.insert(format!("{driver}-{device} {name}"), Temperature { now, critical });
        }
    }
    found
}

fn memory(root: &Root) -> BTreeMap<String, MemoryErrors> {
    const DIR: &str = "/sys/devices/system/edac/mc";
    let names = root.names(DIR);
    let controllers = names.value().into_iter().flatten().filter(|name| name.starts_with("mc"));
    let count = |controller: &str, kind: &str| root.number(&format!("{DIR}/{controller}/{kind}")).value().copied();
    let errors = |controller: &String| {
        let (corrected, uncorrected) = (count(controller, "ce_count")?, count(controller, "ue_count")?);
        Some((controller.clone(), MemoryErrors { corrected, uncorrected }))
    };
    controllers.filter_map(errors).collect()
}

fn throttled(root: &Root) -> BTreeMap<u32, u64> {
    const DIR: &str = "/sys/devices/system/cpu";
    let names = root.names(DIR);
    let cpus = names.value().into_iter().flatten().filter_map(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
    let count = |cpu| root.number(&format!("{DIR}/cpu{cpu}/thermal_throttle/core_throttle_count")).value().copied();
    cpus.filter_map(|cpu| Some((cpu, count(cpu)?))).collect()
}

fn disks(root: &Root) -> BTreeMap<String, Smart> {
    let names = root.names("/sys/class/nvme");
    let asked = |name: &String| Some((name.clone(), Smart::parse(root.smart_page(name).value()?)?));
    names.value().into_iter().flatten().filter_map(asked).collect()
}
