//! The driver of NVIDIA's cards, out of a folder that the operator fills: packages whose licence lets him use them and nobody
//! pass them on, so the lock file cannot have them.
//!
//! From the packages come the libraries that Vulkan without a display and NVML need, the firmware that the kernel's modules
//! load, and the modules' sources; ready modules may lie beside them. All of it is one version of the driver, checked by what
//! the files themselves say. Packages are unpacked: their scripts never run, and what the image does not need stays out,
//! programs that run as root first of all.
//!
//! Absent: NVIDIA's self-extracting `.run`, which is a program; X, OpenGL, CUDA, video, ray tracing.

pub mod compile;
mod error;
mod folder;

pub use error::DriverError;

use crate::assemble::sha256_hex;
use crate::modinfo::Modinfo;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Vulkan's driver. NVIDIA's own description of it names `libGLX_nvidia.so.0`, which needs the libraries of X; this one has
/// the same three entry points and needs none.
pub const VULKAN: &str = "libEGL_nvidia.so.0";
/// What tells of heat, memory errors and clocks.
pub const NVML: &str = "libnvidia-ml.so.1";
/// Opened by [`VULKAN`] by name, so that nothing in its file says that they are needed: the driver itself, and its compiler
/// for SPIR-V.
pub const OPENED: [&str; 2] = ["libnvidia-eglcore.so", "libnvidia-glvkspirv.so"];
/// Where the Vulkan loader finds which driver there is.
pub const DESCRIPTION: &str = "usr/share/vulkan/icd.d/nvidia_icd.json";
/// Where the kernel looks for firmware.
pub const FIRMWARE: &str = "usr/lib/firmware";

/// A file with the package that it came from.
pub type From = (Vec<u8>, String);

/// A file with its name.
pub type Named = (String, Vec<u8>);

/// A package of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its hash.
    pub sha256: String,
    /// As its own copyright file names it.
    pub licence: Option<String>,
}

/// The kernel's half of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modules {
    /// Built by the operator: file names and contents.
    Ready(Vec<Named>),
    /// To be built.
    Source(Source),
}

/// The modules' sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The package that they are from.
    pub from: String,
    /// Paths below the folder with the `Kbuild`, contents, and whether they may be executed.
    pub files: Vec<(String, Vec<u8>, bool)>,
    /// The operator's changes, in the order in which they are made: names and contents.
    pub patches: Vec<Named>,
}

/// A whole driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its version.
    pub version: String,
    /// The packages, by name.
    pub packages: Vec<Package>,
    /// Libraries by the name under which they are needed.
    pub libraries: BTreeMap<String, From>,
    /// Firmware by its path below [`FIRMWARE`].
    pub firmware: BTreeMap<String, From>,
    /// Which Vulkan it speaks, and the package that says so.
    pub vulkan_api: (String, String),
    /// The kernel's half.
    pub modules: Modules,
    /// What lay in the folder and is not used.
    pub left_out: Vec<String>,
}

impl Driver {
    /// The names under which its libraries are to lie in the image; what these need comes with them.
    pub fn libraries_wanted(&self) -> Vec<String> {
        let opened = OPENED.map(|name| format!("{name}.{}", self.version));
        [VULKAN, NVML].map(str::to_owned).into_iter().chain(opened).collect()
    }

    /// What tells the Vulkan loader of the driver.
    pub fn description(&self) -> Vec<u8> {
        let library = format!("/usr/lib/x86_64-linux-gnu/{VULKAN}");
        let driver = json!({ "library_path": library, "api_version": self.vulkan_api.0 });
        format!("{:#}\n", json!({ "file_format_version": "1.0.0", "ICD": driver })).into_bytes()
    }

    /// Whether modules are for this kernel (`vermagic` as a module of the kernel's own package has it) and of this driver, and
    /// the firmware that they ask for is there.
    pub fn check_modules(&self, modules: &[Named], vermagic: &str) -> Result<(), crate::failure::Failure> {
        for (file, bytes) in modules {
            let told = Modinfo::read(file, bytes)?;
            if told.first("vermagic") != vermagic {
                let (found, wanted) = (told.first("vermagic").to_owned(), vermagic.to_owned());
                return Err(DriverError::Kernel { module: file.clone(), found, wanted }.into());
            }
            self.same(file, told.first("version"))?;
            if let Some(firmware) = told.all("firmware").find(|path| !self.firmware.contains_key(*path)) {
                return Err(DriverError::Firmware { module: file.clone(), firmware: firmware.to_owned() }.into());
            }
        }
        Ok(())
    }

    /// Whether a part has this driver's version.
    fn same(&self, part: &str, version: &str) -> Result<(), DriverError> {
        if version == self.version {
            return Ok(());
        }
        let (one, other) = ((VULKAN.to_owned(), self.version.clone()), (part.to_owned(), version.to_owned()));
        Err(DriverError::Versions { one, other })
    }

    /// The modules' sources, where they are to be built.
    pub fn source(&self) -> Option<&Source> {
        if let Modules::Source(source) = &self.modules { Some(source) } else { None }
    }

    /// The operator's changes of its sources: names and hashes.
    pub fn patches(&self) -> impl Iterator<Item = (&str, String)> {
        self.source().into_iter().flat_map(|source| &source.patches).map(|(name, bytes)| (&name[..], sha256_hex(bytes)))
    }

    /// For the report of a build: what was taken from whom, and what was not. `origins` tells it of files.
    pub fn report(&self, origins: &BTreeMap<String, String>) -> Value {
        let used = |package: &&Package| origins.values().any(|name| *name == package.name);
        let name = |package: &Package| format!("{} {}", package.name, package.version);
        let (taken, left): (Vec<&Package>, Vec<&Package>) = self.packages.iter().partition(used);
        let left: Vec<String> = left.into_iter().map(name).chain(self.left_out.clone()).collect();
        json!({
            "driver": format!("nvidia {}", self.version),
            "modules": match &self.modules {
                Modules::Ready(_) => "ready".to_owned(),
                Modules::Source(source) => format!("built from {}", source.from),
            },
            "packages": taken.into_iter().map(name).collect::<Vec<_>>(),
            "patches": self.patches().map(|(name, sha256)| format!("{name} {sha256}")).collect::<Vec<_>>(),
            "left_out": left,
            "redistributable": false,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
