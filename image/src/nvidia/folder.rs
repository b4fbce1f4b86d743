//! Reading the operator's folder:
//!
//! ```text
//! *.deb              the driver's packages
//! modules/*.ko       ready modules; they go before sources
//! patches/*.patch    changes of the sources, made with `patch -p1` in the order of their names
//! ```

use super::{DESCRIPTION, Driver, DriverError, FIRMWARE, Modules, NVML, Named, OPENED, Package, Source, VULKAN};
use crate::assemble::sha256_hex;
use crate::deb::{self, Control, Item};
use crate::elf::Elf;
use crate::failure::Failure;
use crate::modules;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of sources at most.
const SOURCE_MAX: usize = 1 << 30;
/// In a `Kbuild`, before the driver's version.
const VERSION_MARK: &str = "NV_VERSION_STRING=";

/// What the packages have together.
#[derive(Default)]
struct Found {
    packages: Vec<Package>,
    /// By the name under which they are needed; with the end of the file's own name, which tells the version.
    libraries: BTreeMap<String, (super::From, String)>,
    firmware: BTreeMap<String, super::From>,
    description: Option<super::From>,
    sources: Vec<Source>,
}

impl Driver {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let packages = files(folder, "deb")?;
        if packages.is_empty() {
            return Err(DriverError::Empty(folder.to_owned()).into());
        }
        let mut found = Found::default();
        for path in &packages {
            found.take(path)?;
        }
        let (ready, left_out) = ready(&folder.join("modules"))?;
        let patches = named(&files(&folder.join("patches"), "patch")?)?;
        Ok(found.driver(ready, patches, left_out)?)
    }
}

/// The files in a folder that end in a certain way, sorted; none where there is no folder.
fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>, Failure> {
    if end != "deb" && !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(Failure::io(format!("reading {}", folder.display())))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|found| found == end)).collect();
    paths.sort();
    Ok(paths)
}

fn named(paths: &[PathBuf]) -> Result<Vec<Named>, Failure> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    paths.iter().map(|path| Ok((name(path), read(path)?))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(Failure::io(format!("reading {}", path.display())))
}

/// Ready modules of the allow-list, and the names of others.
fn ready(folder: &Path) -> Result<(Vec<Named>, Vec<String>), Failure> {
    let allowed = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| modules::name_of(&name.to_string_lossy()));
        name.is_some_and(|name| modules::NVIDIA.contains(&&name[..]))
    };
    let (taken, left): (Vec<PathBuf>, Vec<PathBuf>) = files(folder, "ko")?.into_iter().partition(allowed);
    let left = left.iter().filter_map(|path| Some(format!("modules/{}", path.file_name()?.to_string_lossy())));
    Ok((named(&taken)?, left.collect()))
}

impl Found {
    fn take(&mut self, path: &Path) -> Result<(), Failure> {
        let file = path.display().to_string();
        let bytes = read(path)?;
        let about = |source| DriverError::Package { file: file.clone(), source };
        let control = Control::of(&bytes).map_err(about)?;
        if !matches!(control.architecture.as_str(), "amd64" | "all") {
            return Err(DriverError::Architecture { file, found: control.architecture }.into());
        }
        if self.packages.iter().any(|package| package.name == control.name) {
            return Err(DriverError::Twice(control.name).into());
        }
        let name = control.name.clone();
        let (mut licence, mut sources, mut bytes_of_sources) = (None, Vec::new(), 0);
        let taken = deb::unpack(&bytes, wanted, |path, item| {
            let Item::File(bytes, executable) = item else { return };
            if path.ends_with("/copyright") {
                licence = licence_of(&String::from_utf8_lossy(&bytes));
            } else if let Some(firmware) = path.split_once("lib/firmware/").map(|parts| parts.1) {
                self.firmware.insert(firmware.to_owned(), (bytes, name.clone()));
            } else if path.ends_with("nvidia_icd.json") {
                self.description = Some((bytes, name.clone()));
            } else if path.starts_with("usr/src/") {
                bytes_of_sources += bytes.len();
                if bytes_of_sources <= SOURCE_MAX {
                    sources.push((path, bytes, executable));
                }
            } else if let Some(soname) = Elf::parse(&bytes).ok().and_then(|elf| elf.soname()) {
                let version = path.split_once(".so.").map_or("", |parts| parts.1).to_owned();
                self.libraries.insert(soname, ((bytes, name.clone()), version));
            }
        });
        taken.map_err(about)?;
        if !sources.is_empty() {
            let reason = |reason| DriverError::Source { package: name.clone(), reason };
            let too_long = "they have more than a gigabyte";
            if bytes_of_sources > SOURCE_MAX {
                return Err(reason(too_long).into());
            }
            let files = unpacked(sources).map_err(about)?.ok_or_else(|| reason(too_long))?;
            self.sources.extend(below_kbuild(files).map(|files| Source {
                from: name.clone(),
                files,
                patches: Vec::new(),
            }));
        }
        let Control { name, version, .. } = control;
        self.packages.push(Package { name, version, sha256: sha256_hex(&bytes), licence });
        Ok(())
    }

    fn driver(self, ready: Vec<Named>, patches: Vec<Named>, mut left_out: Vec<String>) -> Result<Driver, DriverError> {
        let missing = |what: &str, package| DriverError::Missing { what: what.to_owned(), package };
        let vulkan = self.libraries.get(VULKAN).ok_or_else(|| missing(VULKAN, "libegl-nvidia0"))?;
        let version = vulkan.1.clone();
        let (description, from) = self.description.ok_or_else(|| missing(DESCRIPTION, "nvidia-vulkan-common"))?;
        let api = serde_json::from_slice::<serde_json::Value>(&description);
        let api = api.ok().and_then(|told| Some(told.get("ICD")?.get("api_version")?.as_str()?.to_owned()));
        let api = api.ok_or_else(|| missing("the version of Vulkan in its description", "nvidia-vulkan-common"))?;
        let vulkan_api = (api, from);
        let one = || (VULKAN.to_owned(), version.clone());
        // Names of two kinds: with the version in them, and with one of their own kind.
        let places = [(NVML, "libnvidia-ml1"), (OPENED[0], "libnvidia-eglcore"), (OPENED[1], "libnvidia-glvkspirv")];
        for (name, package) in places {
            let mut found = self.libraries.iter().filter(|library| library.0.starts_with(name));
            let (soname, (_, of_it)) = found.next().ok_or_else(|| missing(name, package))?;
            if *of_it != version {
                return Err(DriverError::Versions { one: one(), other: (soname.clone(), of_it.clone()) });
            }
        }
        let folder = format!("nvidia/{version}/");
        let (firmware, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.firmware.into_iter().partition(|file| file.0.starts_with(&folder));
        if firmware.is_empty() {
            let of_it = |path: &String| path.split('/').nth(1).unwrap_or_default().to_owned();
            return Err(match other.keys().next() {
                Some(path) => DriverError::Versions { one: one(), other: (path.clone(), of_it(path)) },
                None => missing(&format!("{FIRMWARE}/{folder}"), "firmware-nvidia-gsp"),
            });
        }
        left_out.extend(other.into_keys());
        let modules = if ready.is_empty() {
            let mut sources = self.sources.into_iter();
            let mut source = sources.next().ok_or(DriverError::NoModules)?;
            if let Some(second) = sources.next() {
                return Err(DriverError::Twice(format!("a source of the modules ({}, {})", source.from, second.from)));
            }
            let of_it = version_of(&source).unwrap_or_default();
            if of_it != version {
                return Err(DriverError::Versions { one: one(), other: (source.from, of_it) });
            }
            source.patches = patches;
            Modules::Source(source)
        } else {
            if !ready.iter().any(|module| module.0 == "nvidia.ko") {
                return Err(DriverError::NoModules);
            }
            left_out.extend(patches.into_iter().map(|patch| format!("patches/{}", patch.0)));
            Modules::Ready(ready)
        };
        let libraries = self.libraries.into_iter().map(|(name, (file, _))| (name, file)).collect();
        Ok(Driver { version, packages: self.packages, libraries, firmware, vulkan_api, modules, left_out })
    }
}

/// What can be of use in a package.
fn wanted(path: &str) -> bool {
    if !deb::is_plain(path) {
        return false;
    }
    let library = path.contains("lib/x86_64-linux-gnu/") || path.starts_with("usr/lib64/");
    let firmware = path.contains("lib/firmware/nvidia/");
    let description = path.ends_with("vulkan/icd.d/nvidia_icd.json");
    let licence = path.starts_with("usr/share/doc/") && path.ends_with("/copyright");
    library && path.contains(".so.") || firmware || description || licence || path.starts_with("usr/src/")
}

type Files = Vec<(String, Vec<u8>, bool)>;

/// Sources with those that lie packed among them; `None` where that is too much.
fn unpacked(sources: Files) -> Result<Option<Files>, deb::DebError> {
    let (packed, mut files): (Files, Files) = sources.into_iter().partition(|file| file.0.ends_with(".tar.xz"));
    let mut bytes_in_all: usize = files.iter().map(|file| file.1.len()).sum();
    for (_, archive, _) in packed {
        deb::unpack_xz(
            &archive,
            |_| true,
            |path, item| {
                if let Item::File(bytes, executable) = item {
                    bytes_in_all += bytes.len();
                    if bytes_in_all <= SOURCE_MAX {
                        files.push((path, bytes, executable));
                    }
                }
            },
        )?;
    }
    Ok(Some(files).filter(|_| bytes_in_all <= SOURCE_MAX))
}

/// The files below the folder with the driver's `Kbuild`, by their paths from there.
fn below_kbuild(files: Files) -> Option<Files> {
    let of_driver = |file: &&(String, Vec<u8>, bool)| {
        file.0.ends_with("/Kbuild") && String::from_utf8_lossy(&file.1).contains(VERSION_MARK)
    };
    let folder = files.iter().find(of_driver)?.0.strip_suffix("Kbuild")?.to_owned();
    let below = files.into_iter().filter_map(|(path, bytes, executable)| {
        let path = path.strip_prefix(&folder).filter(|path| deb::is_plain(path))?.to_owned();
        Some((path, bytes, executable))
    });
    Some(below.collect())
}

/// The version in a `Kbuild`: `-DNV_VERSION_STRING=\"550.163.01\"`.
fn version_of(source: &Source) -> Option<String> {
    let kbuild = source.files.iter().find(|file| file.0 == "Kbuild")?;
    let text = String::from_utf8_lossy(&kbuild.1);
    let value = text.split_once(VERSION_MARK)?.1.trim_start_matches(['\\', '"']);
    Some(value.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next()?.to_owned())
}

/// The licence of a package's first files, where its copyright file is one for machines (DEP 5).
fn licence_of(text: &str) -> Option<String> {
    let files = text.starts_with("Format:").then(|| text.split_once("\nFiles:"))??.1;
    let name = files.lines().find_map(|line| line.strip_prefix("License:"))?.trim();
    Some(name.to_owned()).filter(|name| !name.is_empty())
}
