//! Small files and directories that are on the disk when a call returns: whole or not there, whatever the moment of a crash.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Writes a file in place of what is there: under another name, with the extension `new`, until it is whole.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut out = File::create(&new)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&new, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a directory with all that is in it, if it is there.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("manifest.json");
        for content in [&b"first"[..], b"2"] {
            put(&path, content).expect("room");
            assert_eq!(fs::read(&path).expect("it is there"), content);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
        assert!(put(&dir.path().join("absent/file"), b"").is_err());
        remove_dir(&dir.path().join("absent")).expect("that is no error");
    }
}
