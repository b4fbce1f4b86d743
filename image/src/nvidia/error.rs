//! Why a folder is no driver. It is the operator's own matter each time, so each says what to do.

use crate::deb::DebError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a driver is refused.
#[derive(Debug, Error)]
pub enum DriverError {
    /// A folder without a package.
    #[error(
        "{0} has no Debian packages\n  help: put the driver's .deb files there, as docs/image/hardware.md lists them"
    )]
    Empty(PathBuf),
    /// A file that is no package.
    #[error("{file}: {source}")]
    Package {
        /// Which one.
        file: String,
        /// Why.
        source: DebError,
    },
    /// One for other machines.
    #[error("{file} is for {found}\n  help: the image is for amd64; take the package from there")]
    Architecture {
        /// Which one.
        file: String,
        /// What it is for.
        found: String,
    },
    /// The same package twice.
    #[error("{0} is there twice\n  help: leave the one whose version the other packages have")]
    Twice(String),
    /// Something that the driver does not work without.
    #[error("no package in the folder has {what}\n  help: Debian has it in {package}")]
    Missing {
        /// What.
        what: String,
        /// Where Debian has it.
        package: &'static str,
    },
    /// Two versions of the driver.
    #[error(
        "{} is of version {}, {} of version {}\n  help: libraries, firmware and modules must be of one version",
        one.0, one.1, other.0, other.1
    )]
    Versions {
        /// One file and its version.
        one: (String, String),
        /// Another.
        other: (String, String),
    },
    /// Neither modules nor sources.
    #[error(
        "there is no driver for the kernel\n  help: put in nvidia-open-kernel-source, or ready modules as modules/nvidia.ko"
    )]
    NoModules,
    /// A module for another kernel.
    #[error(
        "{module} is for the kernel {found:?}, the image has {wanted:?}\n  help: build it for that kernel, or put in the \
         sources (nvidia-open-kernel-source) instead"
    )]
    Kernel {
        /// Which module.
        module: String,
        /// Its vermagic.
        found: String,
        /// The kernel's.
        wanted: String,
    },
    /// Firmware that a module asks for.
    #[error(
        "{module} loads {firmware}, which no package in the folder has\n  help: Debian has it in firmware-nvidia-gsp"
    )]
    Firmware {
        /// Which module.
        module: String,
        /// What it loads.
        firmware: String,
    },
    /// Sources that cannot be built.
    #[error("the sources in {package}: {reason}")]
    Source {
        /// Whose.
        package: String,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A change that does not fit.
    #[error("{file} does not fit the sources:\n{words}")]
    Patch {
        /// Which one.
        file: String,
        /// What `patch` said.
        words: String,
    },
    /// The compiler.
    #[error(
        "the modules cannot be built:\n{0}\n  help: a newer driver may know this kernel; or put a change of its sources into \
         the folder as patches/NAME.patch"
    )]
    Compile(String),
}
