//! Set-up: what the distribution lacks is installed with apt, RocksDB is compiled once. Part of every other command; when nothing is
//! missing it costs milliseconds and says one line. Deliberately absent: downloads from anywhere but the distribution's own mirrors and
//! cargo's registry.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Instant;

use crate::cache;
use crate::console::duration;
use crate::failure::Failure;
use crate::os_release::OsRelease;
use crate::packages::{self, PACKAGES, Package};
use crate::rocksdb_archive;
use crate::workspace::{Workspace, output_of, run_to_end};

/// Shown by `--help`.
pub const HELP: &str = "\
Installs what the distribution lacks (Debian 12, Ubuntu 22.04 or newer, as root) and compiles RocksDB once for this user.
A second run changes nothing.

Usage: cargo xtask setup [--check]

  --check   only list what is there and what is missing; exit code 1 when something is missing
";

/// Installs what is missing.
pub fn run(workspace: &Workspace) -> Result<(), Failure> {
    let started = Instant::now();
    check_rust()?;
    cache::claim(workspace)?;
    let missing = packages::missing();
    if missing.is_empty() && rocksdb_archive::is_present(workspace) {
        println!("set-up: nothing is missing ({})", duration(started.elapsed()));
        return Ok(());
    }
    // Two clones may set up at once: the second waits and then finds everything done.
    let _lock = lock(workspace)?;
    let missing = packages::missing();
    if !missing.is_empty() {
        install(&missing)?;
    }
    rocksdb_archive::ensure(workspace)?;
    println!("set-up: complete ({})", duration(started.elapsed()));
    Ok(())
}

/// Installs what a command needs beyond that.
pub fn need(packages: &[Package]) -> Result<(), Failure> {
    let missing: Vec<_> = packages.iter().filter(|package| !package.is_present()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Lists every requirement; true when nothing is missing.
pub fn list(workspace: &Workspace) -> bool {
    let release = OsRelease::read();
    println!("distribution: {}{}", release.name, if release.is_tested() { "" } else { " (not one that is tested)" });
    let rust = check_rust();
    show(rust.is_ok(), &format!("rustc {}", env!("CARGO_PKG_RUST_VERSION")), "or newer");
    let mut complete = rust.is_ok();
    for package in PACKAGES {
        let present = package.is_present();
        complete &= present;
        show(present, package.name, package.reason);
    }
    let archive = rocksdb_archive::is_present(workspace);
    show(archive, "RocksDB archive", &workspace.rocksdb_lib_dir.display().to_string());
    complete &= archive;
    println!("{}", if complete { "nothing is missing" } else { "`cargo xtask setup` brings what is missing" });
    complete
}

fn show(present: bool, name: &str, text: &str) {
    println!("  {:<8} {name:<20} {text}", if present { "present" } else { "MISSING" });
}

/// Cargo refuses to build this program with an older compiler; this catches a `RUSTC` that differs from cargo's own.
fn check_rust() -> Result<(), Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found = output_of(Command::new(rustc).arg("--version")).unwrap_or_default();
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    if version_of(&found) >= version_of(&format!("rustc {wanted}")) {
        return Ok(());
    }
    let found = if found.is_empty() { "none".to_owned() } else { found };
    Err(Failure::new(format!("Rust {wanted} or newer is needed, found: {found}"), "`rustup update stable`"))
}

fn version_of(text: &str) -> (u32, u32) {
    let mut parts =
        text.split_whitespace().nth(1).unwrap_or_default().split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn install(missing: &[&Package]) -> Result<(), Failure> {
    let release = OsRelease::read();
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    println!("The distribution ({}) lacks:", release.name);
    for package in missing {
        println!("  {:<20} {}", package.name, package.reason);
    }
    let command = format!("apt-get install -y --no-install-recommends {}", names.join(" "));
    if !release.has_apt() {
        return Err(Failure::new(
            "these packages carry Debian's names, and this distribution has no apt-get",
            "install their equivalents by hand, then run the command again",
        ));
    }
    // The owner of /proc/self is the effective user.
    if std::fs::metadata("/proc/self").map(|data| data.uid()).unwrap_or(u32::MAX) != 0 {
        return Err(Failure::new(
            "installing them needs root",
            format!("sudo apt-get update && sudo {command}   (then run the same cargo command again)"),
        ));
    }
    if !release.is_tested() {
        println!("Debian 12 and Ubuntu 22.04 or newer are tested; trying all the same.");
    }
    // An index that cannot be refreshed in part (one mirror down) may still hold what we need: the install decides.
    if !run_to_end(apt().arg("update").arg("-q"))? {
        println!("apt-get update failed; trying to install from the index that is there");
    }
    let installed = run_to_end(apt().args(["install", "-y", "-q", "--no-install-recommends"]).args(&names))?;
    let still: Vec<_> = missing.iter().filter(|package| !package.is_present()).map(|package| package.name).collect();
    match (installed, still.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(Failure::new(
            format!("apt-get succeeded, but these are still not found: {}", still.join(", ")),
            "`cargo xtask setup --check` lists what was looked for",
        )),
        (false, _) => {
            Err(Failure::new("apt-get failed; its own words are above", format!("once it is mended: {command}")))
        }
    }
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
    apt
}

/// Held until dropped.
fn lock(workspace: &Workspace) -> Result<File, Failure> {
    let path = workspace.cache.join("setup.lock");
    let refused = |error: std::io::Error| Failure::io(format!("locking {}", path.display()), &error);
    std::fs::create_dir_all(&workspace.cache).map_err(refused)?;
    let file = File::create(&path).map_err(refused)?;
    if file.try_lock().is_err() {
        println!("another set-up of this user is running; waiting for it");
        file.lock().map_err(refused)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_versions_compare_by_number() {
        assert_eq!(version_of("rustc 1.95.0 (59807616e 2026-04-14)"), (1, 95));
        assert_eq!(version_of("rustc 1.100.0-nightly"), (1, 100));
        assert!(version_of("rustc 1.100.0") > version_of("rustc 1.95"));
        assert_eq!(version_of(""), (0, 0));
    }
}
