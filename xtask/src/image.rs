//! `cargo xtask image`: builds the image's own tool, and where an image is to be built the programs that go into it, and
//! becomes the tool. Of its flags it knows those that name these programs, the one with which it compiles, and the flavour:
//! machines get the profile `release`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::devnet;
use crate::failure::Failure;
use crate::packages::{Package, on_path};
use crate::setup;
use crate::workspace::{Workspace, run_to_end};

/// The compiler of Debian's kernel: a driver's modules are built as the kernel was.
const COMPILER: Package = Package::new("gcc-12", "builds the modules of a driver for the image's kernel", || {
    on_path("x86_64-linux-gnu-gcc-12")
});

/// Replaces this process. Returns only on failure.
pub fn run(workspace: &Workspace, words: &[OsString]) -> Result<(), Failure> {
    let command = words.first().and_then(|word| word.to_str());
    let building =
        matches!(command, Some("build" | "test")) && !words.iter().any(|word| word == "--help" || word == "-h");
    let given =
        |flag: &str| words.iter().any(|word| word.to_str().is_some_and(|text| text.split('=').next() == Some(flag)));
    let needed = |flag: &str| building && !given(flag);
    if building && given("--nvidia") {
        setup::need(&[COMPILER])?;
    }
    let (needs_binaries, needs_init) = (needed("--binaries"), needed("--init"));
    let (mut words, mut more) = (words.to_vec(), Vec::new());
    if needs_binaries {
        setup::run(workspace)?;
        let profile = match take(&mut words, "--profile") {
            Some(profile) => profile,
            None if command == Some("build") && value(&words, "--flavour").is_none_or(|flavour| flavour != "dev") => {
                "release".to_owned()
            }
            None => "dev".to_owned(),
        };
        let stele = devnet::build(workspace, &profile)?;
        let folder = stele.parent().map(OsStr::new).unwrap_or_default().to_owned();
        more.extend(["--binaries".into(), folder]);
    }
    if command == Some("build") && needed("--sources") {
        more.extend(["--sources".into(), workspace.root.clone().into()]);
    }
    if needs_init {
        more.extend(["--init".into(), build_init(workspace)?.into()]);
    }
    if !run_to_end(workspace.cargo().args(["build", "--quiet", "--package", "stele-image"]))? {
        return Err(Failure::new("building the image's tool failed; the compiler's words are above", ""));
    }
    let tool = workspace.target_dir().join("debug/stele-image");
    let error = Command::new(&tool).args(words).args(more).exec();
    Err(Failure::io(format!("starting {}", tool.display()), &error))
}

/// Where a flag stands, how many words it takes, and its value, in either form.
fn find<'a>(words: &'a [OsString], flag: &str) -> Option<(usize, usize, &'a str)> {
    words.iter().enumerate().find_map(|(at, word)| {
        let rest = word.to_str()?.strip_prefix(flag)?;
        match rest.strip_prefix('=') {
            Some(value) => Some((at, 1, value)),
            None if rest.is_empty() => Some((at, 2, words.get(at + 1)?.to_str()?)),
            None => None,
        }
    })
}

fn value<'a>(words: &'a [OsString], flag: &str) -> Option<&'a str> {
    find(words, flag).map(|(_, _, value)| value)
}

/// The value of a flag that the tool does not know.
fn take(words: &mut Vec<OsString>, flag: &str) -> Option<String> {
    let (at, count, value) = find(words, flag)?;
    let value = value.to_owned();
    words.drain(at..at + count);
    Some(value)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn flags_are_found_in_either_form_and_taken_with_their_value() {
        let line = words("build --flavour dev --profile=release --out x");
        assert_eq!(value(&line, "--flavour"), Some("dev"));
        assert_eq!(value(&line, "--flav"), None);
        assert_eq!(value(&words("build --flavour"), "--flavour"), None);
        for form in ["build --profile=release --out x", "build --profile release --out x"] {
            let mut line = words(form);
            assert_eq!(take(&mut line, "--profile").as_deref(), Some("release"));
            assert_eq!((line.clone(), take(&mut line, "--profile")), (words("build --out x"), None));
        }
    }
}
