//! Whether a result that takes minutes will have where to go: asked before the work, not after it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// Sees that a file can be written. What is in it stays as it is, and one that was not there is not there afterwards.
///
/// # Errors
/// Why it cannot be written.
pub fn look(path: &Path) -> io::Result<()> {
    // To open a pipe may wait for its reader, who would then see two writers.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(());
    }
    // A link counts as there, wherever it leads.
    let is_new = fs::symlink_metadata(path).is_err();
    OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    if is_new { fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_known_before_and_all_else_is_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        assert!(look(&path("absent/result.json")).is_err());
        assert!(look(dir.path()).is_err());
        fs::write(path("old.json"), b"of last week").expect("a file");
        look(&path("old.json")).expect("it can be written");
        assert_eq!(fs::read(path("old.json")).expect("a file"), b"of last week");
        look(&path("new.json")).expect("it can be written");
        assert!(!path("new.json").exists());
        std::os::unix::fs::symlink(path("new.json"), path("link.json")).expect("a link");
        look(&path("link.json")).expect("it can be written");
        assert!(fs::symlink_metadata(path("link.json")).is_ok());
        look(Path::new("/dev/null")).expect("it can be written");
    }
}
