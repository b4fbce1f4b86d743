//! Which adapters there are, what they can do, and which one an engine may use. Opens no device.

use serde::Serialize;
use thiserror::Error;

/// What the kernels need beyond plain compute shaders.
const FEATURES: wgpu::Features = wgpu::Features::SHADER_INT64;
/// Storage buffers that a kernel binds.
const STORAGE_BUFFERS: u32 = 7;

/// An adapter as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterFacts {
    /// Its name; also what an operator selects it by.
    pub name: String,
    /// PCI vendor id; 0x10005 is Mesa's software driver.
    pub vendor: u32,
    /// PCI device id.
    pub device: u32,
    /// PCI address, where the driver tells it.
    pub pci_bus_id: String,
    /// `discrete-gpu`, `integrated-gpu`, `virtual-gpu`, `cpu` or `other`.
    pub device_type: &'static str,
    /// Name of the driver.
    pub driver: String,
    /// Version of the driver, as it says.
    pub driver_info: String,
    /// Optional features that are there and used: `SHADER_INT64`, `TIMESTAMP_QUERY`, `PIPELINE_CACHE`.
    pub features: Vec<&'static str>,
    /// Largest buffer that a kernel may bind, in bytes.
    pub binding_bytes_max: u64,
    /// Largest buffer, in bytes.
    pub buffer_bytes_max: u64,
    /// Workgroups in one dimension of a dispatch.
    pub workgroups_max: u32,
    /// Why no engine can run on it; `None` if one can.
    pub unusable: Option<Unusable>,
}

impl AdapterFacts {
    /// Whether it computes in software.
    pub fn is_software(&self) -> bool {
        self.device_type == "cpu"
    }
}

/// Why an adapter cannot carry an engine.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
pub enum Unusable {
    /// The kernels compute with 64-bit integers.
    #[error("it has no 64-bit integers in shaders (SHADER_INT64)")]
    NoInt64,
    /// Too few storage buffers.
    #[error("a shader may bind {found} storage buffers, {STORAGE_BUFFERS} are needed")]
    StorageBuffers {
        /// What it offers.
        found: u32,
    },
}

/// Why no engine was opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// No Vulkan driver, or no loader.
    #[error("no Vulkan adapter was found: is a driver and the Vulkan loader (libvulkan1) installed?")]
    NoAdapter,
    /// None has the name.
    #[error("no adapter's name contains `{wanted}`; there are: {present}")]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// The names that there are.
        present: String,
    },
    /// There are only software drivers, and those were not allowed.
    #[error("only software adapters were found ({present}), which are slower than the CPU engine")]
    OnlySoftware {
        /// Their names.
        present: String,
    },
    /// It cannot run the kernels.
    #[error("the adapter {name} cannot be used: {reason}")]
    Unusable {
        /// Which.
        name: String,
        /// Why.
        reason: Unusable,
    },
    /// The driver refused to open the device.
    #[error("the driver of {name} refused the device: {reason}")]
    Refused {
        /// Which.
        name: String,
        /// In the driver's words.
        reason: String,
    },
    /// A kernel did not compile.
    #[error("the kernel {kernel} did not compile on {name}: {reason}")]
    Kernel {
        /// Which adapter.
        name: String,
        /// Which kernel.
        kernel: &'static str,
        /// In the compiler's words.
        reason: String,
    },
    /// No memory for the buffers.
    #[error("{name} has no memory for the buffers; a smaller slot_items_max needs less")]
    OutOfMemory {
        /// Which adapter.
        name: String,
    },
}

/// All Vulkan adapters, in the order of the loader. Empty where there is no driver or no loader.
pub fn adapters() -> Vec<AdapterFacts> {
    enumerate().iter().map(facts).collect()
}

/// Every Vulkan adapter.
fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    // The validation layers are a developer's tool; the kernels are validated by naga.
    descriptor.flags = wgpu::InstanceFlags::empty();
    pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::VULKAN))
}

pub(super) fn facts(adapter: &wgpu::Adapter) -> AdapterFacts {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let named = [
        ("SHADER_INT64", wgpu::Features::SHADER_INT64),
        ("TIMESTAMP_QUERY", wgpu::Features::TIMESTAMP_QUERY),
        ("PIPELINE_CACHE", wgpu::Features::PIPELINE_CACHE),
    ];
    let unusable = if !features.contains(FEATURES) {
        Some(Unusable::NoInt64)
    } else if limits.max_storage_buffers_per_shader_stage < STORAGE_BUFFERS {
        Some(Unusable::StorageBuffers { found: limits.max_storage_buffers_per_shader_stage })
    } else {
        None
    };
    AdapterFacts {
        name: info.name,
        vendor: info.vendor,
        device: info.device,
        pci_bus_id: info.device_pci_bus_id,
        device_type: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete-gpu",
            wgpu::DeviceType::IntegratedGpu => "integrated-gpu",
            wgpu::DeviceType::VirtualGpu => "virtual-gpu",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        },
        driver: info.driver,
        driver_info: info.driver_info,
        features: named.into_iter().filter(|(_, bit)| features.contains(*bit)).map(|(name, _)| name).collect(),
        binding_bytes_max: limits.max_storage_buffer_binding_size,
        buffer_bytes_max: limits.max_buffer_size,
        workgroups_max: limits.max_compute_workgroups_per_dimension,
        unusable,
    }
}

/// The adapter to use: the first whose name contains `wanted`, else the best: discrete, integrated, virtual, other; a
/// software driver last and only if it is allowed.
pub(super) fn choose(wanted: Option<&str>, allow_software: bool) -> Result<(wgpu::Adapter, AdapterFacts), OpenError> {
    let all: Vec<_> = enumerate().into_iter().map(|adapter| (facts(&adapter), adapter)).collect();
    let described: Vec<_> = all.iter().map(|(facts, _)| facts).collect();
    let index = pick(&described, wanted, allow_software)?;
    let (facts, adapter) = all.into_iter().nth(index).expect("the index is of this list");
    Ok((adapter, facts))
}

fn pick(all: &[&AdapterFacts], wanted: Option<&str>, allow_software: bool) -> Result<usize, OpenError> {
    let names = || all.iter().map(|facts| facts.name.as_str()).collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        return Err(OpenError::NoAdapter);
    }
    let index = match wanted {
        Some(wanted) => all
            .iter()
            .position(|facts| facts.name.contains(wanted))
            .ok_or_else(|| OpenError::NotFound { wanted: wanted.to_owned(), present: names() })?,
        None => {
            let rank = |facts: &AdapterFacts| match facts.device_type {
                "discrete-gpu" => 0,
                "integrated-gpu" => 1,
                "virtual-gpu" => 2,
                "other" => 3,
                _ => 4,
            };
            let allowed = all.iter().enumerate().filter(|(_, facts)| allow_software || !facts.is_software());
            // An adapter that can run the kernels goes before a better kind that cannot.
            let best = allowed.min_by_key(|(_, facts)| (facts.unusable.is_some(), rank(facts))).map(|(index, _)| index);
            best.ok_or_else(|| OpenError::OnlySoftware { present: names() })?
        }
    };
    match &all[index].unusable {
        Some(reason) => Err(OpenError::Unusable { name: all[index].name.clone(), reason: reason.clone() }),
        None => Ok(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, device_type: &'static str, unusable: Option<Unusable>) -> AdapterFacts {
        AdapterFacts {
            name: name.into(),
            vendor: 0,
            device: 0,
            pci_bus_id: String::new(),
            device_type,
            driver: String::new(),
            driver_info: String::new(),
            features: Vec::new(),
            binding_bytes_max: 0,
            buffer_bytes_max: 0,
            workgroups_max: 0,
            unusable,
        }
    }

    #[test]
    fn the_best_usable_adapter_is_taken_and_software_only_when_allowed() {
        let (software, old, new) = (
            adapter("llvmpipe", "cpu", None),
            adapter("old", "discrete-gpu", Some(Unusable::NoInt64)),
            adapter("new", "integrated-gpu", None),
        );
        assert_eq!(pick(&[&software, &old, &new], None, true), Ok(2));
        assert_eq!(pick(&[&software], None, true), Ok(0));
        assert!(matches!(pick(&[&software], None, false), Err(OpenError::OnlySoftware { .. })));
        assert_eq!(pick(&[&new, &software], Some("llvm"), false), Ok(1), "who names it wants it");
        assert!(matches!(pick(&[&old], None, false), Err(OpenError::Unusable { reason: Unusable::NoInt64, .. })));
        assert!(matches!(pick(&[&new], Some("H200"), false), Err(OpenError::NotFound { .. })));
        assert_eq!(pick(&[], None, true), Err(OpenError::NoAdapter));
    }
}
