//! The lock file: every package that goes into an image, by name, version, place in a mirror's pool, length and SHA-256, with
//! the parts of the image that take from it. Which mirror serves it is the machine's own matter.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The lock file's only format.
const FORMAT: u32 = 1;

/// A part of an image that takes files from packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Boot loader and stub.
    Boot,
    /// The kernel of virtual machines.
    KernelCloud,
    /// The kernel of physical machines.
    KernelMetal,
    /// The C and C++ libraries.
    Runtime,
    /// What makes the file system of the state.
    State,
    /// The time service.
    Time,
    /// The software token of `dev`.
    Softhsm,
    /// A software Vulkan driver.
    Mesa,
    /// What NVIDIA's driver needs beside itself: the Vulkan loader.
    Nvidia,
    /// The headers of the kernel of virtual machines: modules are built with them.
    HeadersCloud,
    /// Those of the kernel of physical machines.
    HeadersMetal,
}

/// A pinned package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who takes from it.
    pub parts: Vec<Part>,
    /// Where it lies under a mirror's root.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// 1.
    pub format: u32,
    /// Sorted by name.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

impl Lock {
    /// A lock of these packages.
    pub fn of(mut packages: Vec<Package>) -> Self {
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Self { format: FORMAT, packages }
    }

    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::io(format!("reading {}", path.display())))?;
        Self::parse(&text).map_err(|reason| Failure::Lock { path: path.to_owned(), reason })
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if lock.format != FORMAT {
            return Err(format!("format {} is not known", lock.format));
        }
        for (index, package) in lock.packages.iter().enumerate() {
            let about = |what: &str| format!("package {}: {what}", package.name);
            let pool =
                package.file.starts_with("pool/") && !package.file.contains("..") && package.file.ends_with(".deb");
            if !pool || package.file.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(about("its file is not one of a mirror's pool"));
            }
            if package.sha256.len() != 64 || hex::decode(&package.sha256).is_err() {
                return Err(about("its SHA-256 is not 64 hexadecimal digits"));
            }
            if lock.packages[..index].iter().any(|other| other.name == package.name) {
                return Err(about("it is there twice"));
            }
        }
        Ok(lock)
    }

    /// As a file.
    pub fn to_text(&self) -> String {
        let head = "# What the image is made of. Renewed by `cargo xtask image lock`, never by hand.\n";
        head.to_owned() + &toml::to_string(self).expect("a list of plain tables is TOML")
    }

    /// The packages of some parts.
    pub fn of_parts<'a>(&'a self, parts: &'a [Part]) -> impl Iterator<Item = &'a Package> {
        self.packages.iter().filter(|package| package.parts.iter().any(|part| parts.contains(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Package {
        let file = format!("pool/main/{name}.deb");
        Package {
            name: name.into(),
            version: "1".into(),
            parts: vec![Part::Boot],
            file,
            bytes: 1,
            sha256: "0".repeat(64),
        }
    }

    #[test]
    fn what_is_written_is_read_in_order() {
        let lock = Lock::of(vec![package("b"), package("a")]);
        assert_eq!(Lock::parse(&lock.to_text()), Ok(lock.clone()));
        assert_eq!(lock.packages[0].name, "a");
    }

    #[test]
    fn each_mistake_is_named() {
        let with = |change: fn(&mut Package)| {
            let mut package = package("a");
            change(&mut package);
            Lock::parse(&Lock::of(vec![package]).to_text()).unwrap_err()
        };
        assert!(with(|p| p.file = "../etc/passwd".into()).contains("pool"));
        assert!(with(|p| p.sha256 = "zz".into()).contains("SHA-256"));
        let twice = Lock::of(vec![package("a"), package("a")]).to_text();
        assert!(Lock::parse(&twice).unwrap_err().contains("twice"));
        assert!(Lock::parse("format = 2\npackage = []").unwrap_err().contains("format 2"));
        assert!(Lock::parse("format = 1\npackage = []\nmirror = 1").is_err());
    }
}
