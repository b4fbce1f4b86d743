//! Whether a result that takes minutes will have where to go: asked before the work, not after it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file that can be written. What is in it stays as it is until then; one that was not there is made, and goes again
/// where nothing was written to it.
#[derive(Debug)]
pub struct ResultFile {
    made: Option<PathBuf>,
}

impl ResultFile {
    /// Opens the file to write.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn look(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path);
        // To open a pipe may wait for its reader, who would then see two writers.
        if found.as_ref().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Ok(Self { made: None });
        }
        OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        Ok(Self { made: found.is_err().then(|| path.to_owned()) })
    }
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        if let Some(path) = &self.made
            && fs::metadata(path).is_ok_and(|file| file.len() == 0)
        {
            // One that stays is empty, and says nothing wrong.
            drop(fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_known_before_and_one_that_can_is_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        assert!(ResultFile::look(&path("absent/result.json")).is_err());
        assert!(ResultFile::look(dir.path()).is_err());
        fs::write(path("old.json"), b"of last week").expect("a file");
        drop(ResultFile::look(&path("old.json")).expect("it can be written"));
        assert_eq!(fs::read(path("old.json")).expect("a file"), b"of last week");
        // A run that fails leaves nothing, and one that does not leaves its result.
        drop(ResultFile::look(&path("new.json")).expect("it can be written"));
        assert!(!path("new.json").exists());
        let looked = ResultFile::look(&path("new.json")).expect("it can be written");
        fs::write(path("new.json"), b"a result").expect("a file");
        drop(looked);
        assert_eq!(fs::read(path("new.json")).expect("a file"), b"a result");
        assert!(ResultFile::look(Path::new("/dev/null")).is_ok());
    }
}
