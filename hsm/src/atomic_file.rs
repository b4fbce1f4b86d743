//! Whole files that are either there, complete and durable, or not there. Mode 0600. The directory must be the
//! owner's: names beside the file are used for the copy in the making.

use crate::error::{ConfigError, Fault, StartError};
use rustix::fs::{CWD, RenameFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a new file; one that is there is left alone.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    create_from(path, &mut |_| Ok(content.to_vec()))
}

/// The same, with content that depends on the file itself.
pub(crate) fn create_from(path: &Path, content: &mut Content<'_>) -> io::Result<()> {
    write(path, content, RenameFlags::NOREPLACE).map(drop)
}

/// Writes a file in place of the one that is there and returns it, open for reading and writing.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    replace_from(path, &mut |_| Ok(content.to_vec()))
}

/// The same, with content that depends on the file itself.
pub(crate) fn replace_from(path: &Path, content: &mut Content<'_>) -> io::Result<File> {
    write(path, content, RenameFlags::empty())
}

/// Makes the content of a file that is there, and empty.
pub(crate) type Content<'a> = dyn FnMut(&File) -> io::Result<Vec<u8>> + 'a;

/// The name of the copy in the making.
pub(crate) fn in_the_making(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// What an operator is told of a failure to write `path`.
pub(crate) fn start_error(error: &io::Error, path: &Path) -> StartError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => ConfigError::KeyExists.about(path.display()),
        _ => Fault::Io.about(format_args!("{} ({error})", path.display())),
    }
}

fn write(path: &Path, content: &mut Content<'_>, flags: RenameFlags) -> io::Result<File> {
    let copy = in_the_making(path);
    let result = write_copy(&copy, content).and_then(|file| {
        rustix::fs::renameat_with(CWD, &copy, CWD, path, flags)?;
        Ok(file)
    });
    if result.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = std::fs::remove_file(&copy);
    }
    let file = result?;
    sync_directory_of(path)?;
    Ok(file)
}

fn write_copy(copy: &Path, content: &mut Content<'_>) -> io::Result<File> {
    match std::fs::remove_file(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(copy)?;
    let content = content(&file)?;
    file.write_all(&content)?;
    file.sync_all()?;
    Ok(file)
}

/// Makes the name of a file durable.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
