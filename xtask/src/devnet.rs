//! `cargo xtask devnet`: sets up, builds `stele`, and becomes `stele devnet`. A thin caller, so that an installed binary can do the same:
//! it knows no flag of devnet.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::setup;
use crate::workspace::{Workspace, run_to_end};

/// Replaces this process, so that signals and the terminal belong to `stele`. Returns only on failure.
pub fn run(workspace: &Workspace, flags: &[OsString]) -> Result<(), Failure> {
    setup::run(workspace)?;
    let stele = build(workspace, "dev")?;
    let error = Command::new(&stele).arg("devnet").args(flags).exec();
    Err(Failure::io(format!("starting {}", stele.display()), &error))
}

/// Builds the node's binary in a profile and returns its path.
///
/// Selecting one package, or no test, would resolve features without those that development dependencies add (tokio, subtle and others),
/// and half of the dependencies would be compiled a second time for `cargo xtask test`. One small test program in the selection makes
/// both commands resolve alike.
pub fn build(workspace: &Workspace, profile: &str) -> Result<PathBuf, Failure> {
    let selection = ["build", "--workspace", "--bin", "stele", "--test", "xtask_command_line", "--profile", profile];
    if !run_to_end(workspace.cargo().args(selection))? {
        return Err(Failure::new("building `stele` failed; the compiler's words are above", ""));
    }
    // Cargo keeps the folder name of its first days for the profile `dev`.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace.target_dir().join(folder).join("stele"))
}
