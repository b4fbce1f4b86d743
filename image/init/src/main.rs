//! The first process of the image, and the only one that supervises: it mounts, checks, configures, starts the signer and the
//! node as users of their own, watches them, feeds the hardware's watchdog with the node's progress, and blesses a release
//! that works.
//!
//! It fails closed: whatever goes wrong before the services run ends in a restart of the machine, so that the boot loader
//! can count the attempt and fall back to the release before. There is no shell to fall into.
//!
//! Absent: a general service manager, and every command that a person could type.

#![allow(unsafe_code, reason = "system calls that no crate here wraps; each block is one call")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blessing;
mod ceremony;
mod clock;
mod configuration;
mod console;
mod device_mapper;
mod disks;
mod gpu;
mod health;
mod identity;
mod journal;
mod kernel_modules;
mod memory_root;
mod mounts;
mod network;
mod pin;
mod releases;
mod sealed;
mod services;
mod state;
mod sticks;
mod vendor;
mod watchdog;

use image_formats::boot_line::{BootLine, BootLineError, Flavour};
use kernel_modules::{Modules, Part};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// Before a machine that cannot go on starts again: time to read why.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// Why the machine cannot go on.
#[derive(Debug, Error)]
pub enum Fault {
    /// The system refused something.
    #[error("{about}: {source}")]
    System {
        /// What was attempted.
        about: String,
        /// Its words.
        source: std::io::Error,
    },
    /// The command line.
    #[error("the command line: {0}")]
    Line(#[from] BootLineError),
    /// Something that must be there once is missing, or there more than once.
    #[error("{0}")]
    Machine(String),
    /// The state.
    #[error("the state: {0}")]
    State(String),
    /// The configuration.
    #[error("the configuration: {0}")]
    Configuration(String),
}

impl Fault {
    /// Of a system call.
    pub fn system(about: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let about = about.into();
        move |source| Self::System { about, source }
    }
}

/// Prints a line with the seconds since the kernel's start.
pub fn say(text: impl fmt::Display) {
    println!("stele-init[{:.2}]: {text}", uptime_s());
}

/// Seconds since the kernel's start.
pub fn uptime_s() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn main() {
    if std::process::id() != 1 {
        eprintln!("this is the image's first process; it does nothing elsewhere");
        std::process::exit(2);
    }
    std::panic::set_hook(Box::new(|panic| say(panic)));
    let outcome = std::panic::catch_unwind(run);
    if let Ok(Err(fault)) = outcome {
        say(format_args!("STELE FAILED: {fault}"));
    }
    std::thread::sleep(RESTART_DELAY);
    restart();
}

/// Syncs and restarts the machine.
pub fn restart() -> ! {
    // SAFETY: neither call touches memory of ours.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_AUTOBOOT);
    }
    // Without its first process the kernel panics, and `panic=-1` restarts at once.
    std::process::exit(1);
}

/// What the loader has measured into PCR 11, for whoever reads the console.
fn tell_measurement() {
    if let Ok(value) = std::fs::read_to_string("/sys/class/tpm/tpm0/pcr-sha256/11") {
        say(format_args!("PCR 11 {}", value.trim().to_ascii_lowercase()));
    }
}

/// Services lock memory and hold many files; there is nobody else on the machine to take from.
fn raise_limits() {
    for (resource, value) in [(libc::RLIMIT_MEMLOCK, libc::RLIM_INFINITY), (libc::RLIMIT_NOFILE, 65_536)] {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: the pointer is to a live structure.
        if unsafe { libc::setrlimit(resource, &limit) } != 0 {
            say(format_args!("a limit was not raised: {}", std::io::Error::last_os_error()));
        }
    }
}

fn run() -> Result<(), Fault> {
    mounts::first()?;
    console::take()?;
    let text = std::fs::read_to_string("/proc/cmdline").map_err(Fault::system("reading /proc/cmdline"))?;
    let line = BootLine::parse(&text)?;
    say(format_args!("release {} of {}; seal the state: {}", line.release, line.flavour, line.seal));
    tell_measurement();
    raise_limits();
    if line.flavour == Flavour::Ceremony {
        return ceremony(&line);
    }
    let trusted = std::fs::read("/trusted.key").map_err(Fault::system("reading the trusted key"))?;
    let trusted: [u8; 32] =
        trusted.try_into().map_err(|_| Fault::Configuration("the trusted key has no 32 bytes".into()))?;
    let policies = sealed::Policies::of_image();
    let early = Modules::open(kernel_modules::EARLY)?;
    early.load(Part::Needed);
    let disk = match disks::look_for_root(&line)? {
        Some(disk) => disk,
        None => {
            early.load(Part::All);
            disks::find_root(&line)?
        }
    };
    say(format_args!("root on {}", disk.root.display()));
    let root = device_mapper::verity(&disk.root, &line)?;
    mounts::switch_root(&root)?;
    services::read_ahead();
    let late = Modules::open(kernel_modules::LATE)?;
    late.load(Part::Needed);
    mounts::told_by_firmware();
    // A validator without its card still verifies.
    if let Err(fault) = gpu::offer(Path::new(kernel_modules::LATE)) {
        say(fault);
    }
    let dog = watchdog::Watchdog::arm();
    state::mount(&disk, line.seal, policies.as_ref())?;
    identity::identify()?;
    let machine = configuration::take(&disk, &trusted, || early.load(Part::All))?;
    state::has_room()?;
    if let (Some(module), Flavour::Dev) = (&machine.try_module, line.flavour) {
        let answer = late.ask(module).and_then(|has| if has { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) });
        say(format_args!(
            "STELE MODULE {module}: {}",
            answer.map_or_else(|error| error.to_string(), |()| "loaded".into())
        ));
    }
    network::configure(&machine)?;
    services::supervise(&line, &machine, &disk, &trusted, dog, [early, late])
}

/// From memory alone: there is no disk to look for, no state, no configuration and no network but the HSM's.
fn ceremony(line: &BootLine) -> Result<(), Fault> {
    Modules::open(kernel_modules::EARLY)?.load(Part::All);
    let root = device_mapper::verity(&memory_root::attach()?, line)?;
    mounts::switch_root(&root)?;
    let late = Modules::open(kernel_modules::LATE)?;
    late.load(Part::All);
    mounts::told_by_firmware();
    ceremony::offer(watchdog::Watchdog::arm(), line.hsm.as_ref(), &late)
}
