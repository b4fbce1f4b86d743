//! Packages out of the machine's own mirrors into a cache, by hash; and the lock file's renewal from what the mirrors have
//! today. Downloads go through apt, so that its proxies and its checks of the mirror's signature hold.
//!
//! A package in the cache is hashed each time it is taken: a damaged cache heals itself.

use crate::failure::Failure;
use crate::lock::{Lock, Package, Part};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is pinned: a package, or the newest whose name lies between prefix and suffix; and who takes from it.
const WANTED: &[(&str, &str, Part)] = &[
    ("systemd-boot-efi", "", Part::Boot),
    ("linux-image-6.12.", "-cloud-amd64", Part::KernelCloud),
    ("linux-image-6.12.", "+deb12-amd64", Part::KernelMetal),
    ("libc6", "", Part::Runtime),
    ("libgcc-s1", "", Part::Runtime),
    ("libstdc++6", "", Part::Runtime),
    ("e2fsprogs", "", Part::State),
    ("libext2fs2", "", Part::State),
    ("libcom-err2", "", Part::State),
    ("libblkid1", "", Part::State),
    ("libuuid1", "", Part::State),
    ("chrony", "", Part::Time),
    ("libcap2", "", Part::Time),
    ("libseccomp2", "", Part::Time),
    ("libgnutls30", "", Part::Time),
    ("libnettle8", "", Part::Time),
    ("libhogweed6", "", Part::Time),
    ("libgmp10", "", Part::Time),
    ("libp11-kit0", "", Part::Time),
    ("libffi8", "", Part::Time),
    ("libidn2-0", "", Part::Time),
    ("libunistring2", "", Part::Time),
    ("libtasn1-6", "", Part::Time),
    ("libsofthsm2", "", Part::Softhsm),
    ("libssl3", "", Part::Softhsm),
    ("libsqlite3-0", "", Part::Softhsm),
    ("libvulkan1", "", Part::Nvidia),
];
/// Libraries of the software Vulkan driver.
const MESA: &[&str] = &[
    "libvulkan1",
    "mesa-vulkan-drivers",
    "libdrm2",
    "libdrm-amdgpu1",
    "libllvm15",
    "libelf1",
    "libexpat1",
    "libffi8",
    "libedit2",
    "libtinfo6",
    "libz3-4",
    "libxml2",
    "libicu72",
    "liblzma5",
    "libbsd0",
    "libmd0",
    "libx11-xcb1",
    "libxcb1",
    "libxcb-dri3-0",
    "libxcb-present0",
    "libxcb-randr0",
    "libxcb-shm0",
    "libxcb-sync1",
    "libxcb-xfixes0",
    "libxau6",
    "libxdmcp6",
    "libxshmfence1",
    "libwayland-client0",
    "zlib1g",
    "libzstd1",
];

/// A cache of packages.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    offline: bool,
}

impl Cache {
    /// The cache in a folder, which is made when it is needed. `offline`: nothing is downloaded.
    pub fn new(folder: PathBuf, offline: bool) -> Self {
        Self { folder, offline }
    }

    /// The bytes of a package, downloaded if need be.
    pub fn take(&self, package: &Package) -> Result<Vec<u8>, Failure> {
        let path = self.folder.join(format!("{}.deb", package.sha256));
        if let Ok(bytes) = std::fs::read(&path)
            && hash(&bytes) == package.sha256
        {
            return Ok(bytes);
        }
        let gone = || Failure::Gone { name: package.name.clone(), version: package.version.clone() };
        if self.offline {
            let reason = format!("{} {} is not in {}", package.name, package.version, self.folder.display());
            return Err(Failure::unfit(reason, "--offline downloads nothing: build once without it, or give --cache"));
        }
        std::fs::create_dir_all(&self.folder).map_err(Failure::io(format!("making {}", self.folder.display())))?;
        let new = self.folder.join(format!("{}.new", package.sha256));
        let mut wrong = None;
        for mirror in mirrors() {
            let from = format!("{}/{}", mirror.trim_end_matches('/'), package.file);
            let _ = std::fs::remove_file(&new);
            let mut helper = Command::new("/usr/lib/apt/apt-helper");
            helper.args(["-o", "APT::Sandbox::User=root", "download-file", &from]).arg(&new);
            let done = helper.stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.map_err(Failure::io("starting apt-helper"))?;
            let Ok(bytes) = std::fs::read(&new) else { continue };
            let found = hash(&bytes);
            if found == package.sha256 {
                std::fs::rename(&new, &path).map_err(Failure::io(format!("keeping {}", path.display())))?;
                return Ok(bytes);
            }
            wrong = Some(Failure::WrongPackage { name: package.name.clone(), found });
        }
        let _ = std::fs::remove_file(&new);
        Err(wrong.unwrap_or_else(gone))
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The roots of the mirrors that apt is told of, each once.
fn mirrors() -> Vec<String> {
    let folder = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = folder.collect();
    files.push("/etc/apt/sources.list".into());
    files.sort();
    let texts = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        for uri in mirrors_of(&text) {
            if !found.contains(&uri) {
                found.push(uri);
            }
        }
    }
    found
}

/// The mirrors of one file, in either of apt's formats.
fn mirrors_of(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words = lines.filter_map(|line| {
        let stanza = line.strip_prefix("URIs:");
        let single = line.strip_prefix("deb ").map(|rest| match rest.trim().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        });
        stanza.or(single.map(|rest| rest.split_ascii_whitespace().next().unwrap_or_default()))
    });
    words.flat_map(str::split_ascii_whitespace).filter(|word| word.contains("://")).map(str::to_owned).collect()
}

/// Pins what the mirrors have now.
pub fn renew() -> Result<Lock, Failure> {
    let names = asked("apt-cache", &["pkgnames", "linux-image-6.12."])?;
    let mut packages: Vec<Package> = Vec::new();
    let mesa = MESA.iter().map(|name| (*name, "", Part::Mesa));
    for (prefix, suffix, part) in WANTED.iter().copied().chain(mesa) {
        let name = if suffix.is_empty() { Some(prefix.to_owned()) } else { newest(&names, prefix, suffix) };
        let missing = || Failure::unfit(format!("no mirror has {prefix}…{suffix}"), "`apt-get update`, then again");
        let name = name.ok_or_else(missing)?;
        if let Some(known) = packages.iter_mut().find(|known| known.name == name) {
            known.parts.push(part);
            continue;
        }
        packages.push(shown(&name, part)?.ok_or_else(missing)?);
    }
    // Modules are built for one kernel: its headers are those of the same release, not the newest ones.
    let kernels: Vec<(String, Part)> =
        packages.iter().filter_map(|package| Some((package.name.clone(), *package.parts.first()?))).collect();
    for (kernel, part) in kernels {
        for (name, part) in headers_of(&kernel, part) {
            let missing = || Failure::unfit(format!("no mirror has {name}"), "`apt-get update`, then again");
            match packages.iter_mut().find(|known| known.name == name) {
                Some(known) => known.parts.push(part),
                None => packages.push(shown(&name, part)?.ok_or_else(missing)?),
            }
        }
    }
    Ok(Lock::of(packages))
}

/// What the mirrors have of a package.
fn shown(name: &str, part: Part) -> Result<Option<Package>, Failure> {
    Ok(parse(&asked("apt-cache", &["show", "--no-all-versions", name])?, part))
}

/// The packages with the headers and the build programs of a kernel's package; none for other packages.
fn headers_of(kernel: &str, part: Part) -> Vec<(String, Part)> {
    let (part, end) = match part {
        Part::KernelCloud => (Part::HeadersCloud, "-cloud-amd64"),
        Part::KernelMetal => (Part::HeadersMetal, "-amd64"),
        _ => return Vec::new(),
    };
    let version = kernel.strip_prefix("linux-image-").and_then(|release| release.strip_suffix(end));
    let names = version.map(|version| {
        [
            format!("linux-headers-{version}{end}"),
            format!("linux-headers-{version}-common"),
            format!("linux-kbuild-{version}"),
        ]
    });
    names.into_iter().flatten().map(|name| (name, part)).collect()
}

fn asked(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).output().map_err(Failure::io(format!("starting {program}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The name with the highest numbers between prefix and suffix.
fn newest(names: &str, prefix: &str, suffix: &str) -> Option<String> {
    let middle = |name: &str| Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned());
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let middle = middle(name)?;
        let middle = middle.strip_suffix("+deb12").unwrap_or(&middle).to_owned();
        middle.split('.').map(|part| part.parse().ok()).collect()
    };
    names.lines().filter_map(|name| Some((numbers(name)?, name))).max().map(|(_, name)| name.to_owned())
}

fn parse(text: &str, part: Part) -> Option<Package> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
    Some(Package {
        name: field("Package")?,
        version: field("Version")?,
        parts: vec![part],
        file: field("Filename")?,
        bytes: field("Size")?.parse().ok()?,
        sha256: field("SHA256")?,
    })
}

/// Where packages are kept where nothing else is said.
pub fn default_folder() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let base =
        base.ok_or_else(|| Failure::unfit("neither HOME nor XDG_CACHE_HOME is set", "set one, or give --cache"))?;
    Ok(base.join("stele/image-packages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(bytes: &[u8]) -> Package {
        let sha256 = hash(bytes);
        Package { name: "a".into(), version: "1".into(), parts: vec![], file: "pool/a.deb".into(), bytes: 1, sha256 }
    }

    #[test]
    fn the_cache_gives_what_matches_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned(), true);
        let package = package(b"content");
        assert!(matches!(cache.take(&package), Err(Failure::Unfit { .. })));
        let path = folder.path().join(format!("{}.deb", package.sha256));
        std::fs::write(&path, b"content").unwrap();
        assert_eq!(cache.take(&package).unwrap(), b"content");
        std::fs::write(&path, b"damaged").unwrap();
        assert!(cache.take(&package).unwrap_err().to_string().contains("without it"));
    }

    #[test]
    fn mirrors_are_found_in_both_formats() {
        let text = "Types: deb\nURIs: http://one.example/debian http://two.example/debian\n# deb http://no.example x main\n\
                    deb [arch=amd64 signed-by=/k] http://three.example/d x main\n";
        assert_eq!(
            mirrors_of(text),
            ["http://one.example/debian", "http://two.example/debian", "http://three.example/d"]
        );
    }

    #[test]
    fn headers_are_those_of_the_kernel() {
        let names: Vec<String> =
            headers_of("linux-image-6.1+deb12-cloud-amd64", Part::KernelCloud).into_iter().map(|one| one.0).collect();
        assert_eq!(
            names,
            ["linux-headers-6.1+deb12-cloud-amd64", "linux-headers-6.1+deb12-common", "linux-kbuild-6.1+deb12"]
        );
        assert!(headers_of("libc6", Part::Runtime).is_empty());
    }

    #[test]
    fn the_newest_kernel_is_the_one_with_the_highest_numbers() {
        let names =
            "k-6.9+deb12-amd64\nk-6.100+deb12-amd64\nk-6.99+deb12-amd64\nk-6.101+deb12-amd64-dbg\nk-6.102-rt-amd64";
        assert_eq!(newest(names, "k-", "-amd64").as_deref(), Some("k-6.100+deb12-amd64"));
    }
}
