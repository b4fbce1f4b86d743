//! Where things lie and how child cargo calls run. Owns the environment of every child, so that all commands build with the same
//! settings and nothing is compiled twice.
//!
//! Intermediate files (`build-dir`) are shared by all clones of a user under the cache folder; finished binaries go to the clone's own
//! `target/`. The members' artefacts in it belong to one clone at a time ([`crate::cache`]). Cargo's own lock serialises concurrent
//! builds. `cargo xtask clean-cache` empties it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::rocksdb_archive;

/// The clone and this user's cache.
#[derive(Debug)]
pub struct Workspace {
    /// The repository's root.
    pub root: PathBuf,
    /// `$XDG_CACHE_HOME/stele` or `~/.cache/stele`.
    pub cache: PathBuf,
    /// The folder with `librocksdb.a` that children link.
    pub rocksdb_lib_dir: PathBuf,
    /// Whether the user brings an own archive by `ROCKSDB_LIB_DIR`.
    pub rocksdb_is_foreign: bool,
}

impl Workspace {
    /// Finds the clone from cargo's environment and the cache from the user's.
    pub fn locate() -> Result<Self, Failure> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map(Path::to_owned).unwrap_or(manifest);
        if !root.join("Cargo.lock").exists() {
            return Err(Failure::new(
                format!("{} holds no Cargo.lock", root.display()),
                "run this as `cargo xtask` from inside the clone",
            ));
        }
        let cache = match std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
            Some(path) => path,
            None => std::env::var_os("HOME")
                .map(|home| PathBuf::from(home).join(".cache"))
                .ok_or_else(|| Failure::new("neither HOME nor XDG_CACHE_HOME is set", "set XDG_CACHE_HOME"))?,
        }
        .join("stele");
        let foreign = std::env::var_os("ROCKSDB_LIB_DIR").map(PathBuf::from);
        let rocksdb_is_foreign = foreign.is_some();
        let rocksdb_lib_dir = match foreign {
            Some(dir) => dir,
            None => cache.join("rocksdb").join(rocksdb_archive::key(&root)?),
        };
        Ok(Self { root, cache, rocksdb_lib_dir, rocksdb_is_foreign })
    }

    /// The shared folder of intermediate files.
    pub fn build_dir(&self) -> PathBuf {
        self.cache.join("target")
    }

    /// Whether builds go to the shared folder: unless the user says otherwise.
    pub fn shares_build_dir(&self) -> bool {
        std::env::var_os("CARGO_TARGET_DIR").is_none() && std::env::var_os("CARGO_BUILD_BUILD_DIR").is_none()
    }

    /// The folder of finished binaries.
    pub fn target_dir(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// A cargo call at the root, in the settings that all commands share.
    pub fn cargo(&self) -> Command {
        let mut cargo = self.bare_cargo();
        if self.shares_build_dir() {
            cargo.env("CARGO_BUILD_BUILD_DIR", self.build_dir());
        }
        cargo.env("ROCKSDB_LIB_DIR", &self.rocksdb_lib_dir).env("ROCKSDB_STATIC", "1");
        cargo
    }

    /// A cargo call without our target and archive settings.
    pub fn bare_cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        self.drop_outer_cargo(&mut cargo);
        cargo
    }

    /// Removes what `cargo run` added to our environment: build scripts that watch such variables would otherwise run again whenever
    /// a build alternates between `cargo xtask` and plain cargo.
    fn drop_outer_cargo(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") else { return };
        let target = self.target_dir();
        let own: Vec<_> = std::env::split_paths(&paths)
            .filter(|path| {
                let text = path.to_string_lossy();
                !path.starts_with(&target) && !text.contains("/rustlib/") && !text.contains("/toolchains/")
            })
            .collect();
        match std::env::join_paths(&own) {
            Ok(joined) if !own.is_empty() => command.env("LD_LIBRARY_PATH", joined),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

/// Runs a command to its end with its output on our terminal.
pub fn run_to_end(command: &mut Command) -> Result<bool, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.status().map(|status| status.success()).map_err(|error| Failure::io(format!("starting {name}"), &error))
}

/// The standard output of a short command, trimmed; `None` when it is absent or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(std::process::Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
