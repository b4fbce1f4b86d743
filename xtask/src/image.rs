//! `cargo xtask image`: builds the image's own tool, and where an image is to be built the programs that go into it, and
//! becomes the tool. It knows none of its flags but those that name these programs.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::devnet;
use crate::failure::Failure;
use crate::setup;
use crate::workspace::{Workspace, run_to_end};

/// Replaces this process. Returns only on failure.
pub fn run(workspace: &Workspace, words: &[OsString]) -> Result<(), Failure> {
    let needed = |flag: &str| {
        let building = matches!(words.first().and_then(|word| word.to_str()), Some("build" | "test"));
        let given = words.iter().any(|word| word.to_str().is_some_and(|text| text.split('=').next() == Some(flag)));
        let help = words.iter().any(|word| word == "--help" || word == "-h");
        building && !given && !help
    };
    let mut more = Vec::new();
    if needed("--binaries") {
        setup::run(workspace)?;
        let stele = devnet::build(workspace, "dev")?;
        let folder = stele.parent().map(OsStr::new).unwrap_or_default().to_owned();
        more.extend(["--binaries".into(), folder]);
    }
    if needed("--init") {
        more.extend(["--init".into(), build_init(workspace)?.into()]);
    }
    if !run_to_end(workspace.cargo().args(["build", "--quiet", "--package", "stele-image"]))? {
        return Err(Failure::new("building the image's tool failed; the compiler's words are above", ""));
    }
    let tool = workspace.target_dir().join("debug/stele-image");
    let error = Command::new(&tool).args(words).args(more).exec();
    Err(Failure::io(format!("starting {}", tool.display()), &error))
}

/// Init stands alone inside the image, so it is linked statically; where it was built must not be told by its bytes.
fn build_init(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut cargo = workspace.cargo();
    // A folder of its own: the same program, linked otherwise, would change places with the tests' one at each build.
    let folder = workspace.target_dir().join("image-init");
    cargo.env("CARGO_TARGET_DIR", &folder).env_remove("CARGO_BUILD_BUILD_DIR");
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.args([
        "rustc",
        "--quiet",
        "--package",
        "stele-init",
        "--bin",
        "stele-init",
        "--",
        "-C",
        "target-feature=+crt-static",
    ]);
    cargo.arg(format!("--remap-path-prefix={}=.", workspace.root.display()));
    if !run_to_end(&mut cargo)? {
        return Err(Failure::new("building init failed; the compiler's words are above", "libc6-dev brings libc.a"));
    }
    Ok(folder.join("debug/stele-init"))
}
