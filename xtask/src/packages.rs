//! The table of what the distribution must provide, why, and how to see that it is there. Detection looks at files only, so it is
//! exact even for a library that was installed by hand, and costs microseconds.

use std::path::{Path, PathBuf};

/// One package of the distribution.
#[derive(Debug)]
pub struct Package {
    /// Debian's name.
    pub name: &'static str,
    /// What breaks without it.
    pub reason: &'static str,
    present: fn() -> bool,
}

impl Package {
    /// A package that only some commands need.
    pub const fn new(name: &'static str, reason: &'static str, present: fn() -> bool) -> Self {
        Self { name, reason, present }
    }

    /// Whether the machine has what this package brings.
    pub fn is_present(&self) -> bool {
        (self.present)()
    }
}

/// Everything beyond Rust and a C linker, in the order of installation.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "g++",
        reason: "compiles RocksDB (C++20) and the C parts of lz4 and AWS-LC",
        present: || on_path("cc") && on_path("c++"),
    },
    Package {
        name: "libclang-dev",
        reason: "RocksDB's bindings are generated from its C header at build time",
        present: libclang,
    },
    Package {
        name: "softhsm2",
        reason: "the PKCS#11 token that holds each validator's key in devnet and in the tests",
        present: || on_path("softhsm2-util") && any_library("softhsm/libsofthsm2.so"),
    },
    Package {
        name: "swtpm",
        reason: "a TPM 2.0 simulator, for the tests of the signer's fence",
        present: || on_path("swtpm"),
    },
    Package {
        name: "swtpm-tools",
        reason: "makes simulators with the certificates of a maker, for the tests of enrolment (with gnutls-bin's certtool)",
        present: || on_path("swtpm_setup") && on_path("swtpm_localca") && on_path("certtool"),
    },
    Package {
        name: "iproute2",
        reason: "makes virtual network interfaces, for the tests of their channels",
        present: || on_path("ip"),
    },
    Package {
        name: "make",
        reason: "builds the modules of a GPU's driver for the image, and their tests' stand-ins",
        present: || on_path("make"),
    },
    Package {
        name: "patch",
        reason: "makes an operator's changes of such a driver's sources",
        present: || on_path("patch"),
    },
    Package {
        name: "strace",
        reason: "delays system calls, for the test of a validator on a slow disk",
        present: || on_path("strace"),
    },
    Package {
        name: "libvulkan1",
        reason: "the Vulkan loader, for signature verification on GPUs",
        present: || any_library("libvulkan.so.1"),
    },
    Package {
        name: "mesa-vulkan-drivers",
        reason: "a software Vulkan driver, so that the GPU path runs on machines without a GPU",
        present: || {
            ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"]
                .iter()
                .any(|dir| entries(Path::new(dir)).iter().any(|name| name.starts_with("lvp_icd")))
        },
    },
];

/// The packages that this machine lacks.
pub fn missing() -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| !package.is_present()).collect()
}

/// Whether a program is on the search path.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The shared library and the compiler's own headers (`stddef.h`), without which bindgen finds no basic type. Whoever sets
/// `LIBCLANG_PATH` brings both.
fn libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let llvm = || entries(Path::new("/usr/lib")).into_iter().filter(|name| name.starts_with("llvm-"));
    let library =
        library_dirs().into_iter().chain(llvm().map(|name| Path::new("/usr/lib").join(name).join("lib"))).any(|dir| {
            entries(&dir).iter().any(|name| name.starts_with("libclang") && name.contains(".so") && is_c_api(name))
        });
    let headers = llvm().any(|name| {
        let versions = Path::new("/usr/lib").join(name).join("lib/clang");
        entries(&versions).iter().any(|version| versions.join(version).join("include/stddef.h").exists())
    });
    library && headers
}

/// `libclang.so`, `libclang-14.so.1`, but not `libclang-cpp.so`.
fn is_c_api(name: &str) -> bool {
    !name.starts_with("libclang-cpp")
}

fn any_library(name: &str) -> bool {
    library_dirs().iter().any(|dir| dir.join(name).exists())
}

fn library_dirs() -> Vec<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [multiarch.as_str(), "/usr/lib", "/usr/lib64", "/usr/local/lib"].iter().map(PathBuf::from).collect()
}

fn entries(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_says_why_it_is_needed() {
        for package in PACKAGES {
            assert!(package.reason.len() > 20, "{} has no reason", package.name);
        }
    }

    #[test]
    fn the_cpp_library_is_not_the_c_api() {
        assert!(is_c_api("libclang.so"));
        assert!(is_c_api("libclang-14.so.1"));
        assert!(!is_c_api("libclang-cpp.so.14"));
    }

    #[test]
    fn a_program_that_does_not_exist_is_not_found() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }
}
