//! The directory of a devnet: made new, and removed at the end unless it was asked for.

use miette::{IntoDiagnostic, WrapErr, bail};
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, without the zero at its end (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;

/// A directory that belongs to this run alone.
#[derive(Debug)]
pub struct Site {
    path: PathBuf,
    kept: bool,
}

impl Site {
    /// Takes `data`, which must be absent or empty, or makes a directory among the temporary files.
    pub fn create(data: Option<&Path>, keep: bool) -> miette::Result<Self> {
        let path = match data {
            Some(data) => std::path::absolute(data).into_diagnostic()?,
            None => std::env::temp_dir().join(format!("stele-devnet-{}", std::process::id())),
        };
        if path.join("node-00/signer.sock").as_os_str().len() > SOCKET_PATH_MAX {
            bail!(
                help = "give a shorter --data, or set TMPDIR",
                "{} is too long: the path of a Unix socket has {SOCKET_PATH_MAX} bytes at most",
                path.display()
            );
        }
        let about = || format!("cannot use {} for the network's files", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&path).into_diagnostic().wrap_err_with(about)?;
        if std::fs::read_dir(&path).into_diagnostic().wrap_err_with(about)?.next().is_some() {
            bail!(
                help = "a devnet starts from nothing: give another --data, or remove that one",
                "{} is not empty",
                path.display()
            );
        }
        Ok(Self { path, kept: keep || data.is_some() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it outlives the run.
    pub fn kept(&self) -> bool {
        self.kept
    }

    /// Removes it, unless it was asked for.
    pub fn remove(self) {
        if !self.kept
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, content: &str) -> miette::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes()))
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot write {}", path.display()))
}
