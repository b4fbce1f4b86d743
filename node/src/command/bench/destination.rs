//! Where a result goes: to the terminal, as a table or as JSON, and to files. That the files can be written is seen before
//! anything is measured, for a run takes minutes.

use super::{BenchError, failed_at};
use crate::result_file;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub struct Destination {
    /// For the JSON; none where it goes to standard output, or nowhere.
    json: Option<PathBuf>,
    to_stdout: bool,
    files: Vec<PathBuf>,
}

impl Destination {
    /// With a file for the JSON, where `-` is standard output in place of the table; and with files of these names in a
    /// directory, which is made.
    ///
    /// # Errors
    /// [`BenchError::Write`].
    pub fn look(json: Option<&Path>, directory: Option<&Path>, names: &[String]) -> Result<Self, BenchError> {
        let to_stdout = json.is_some_and(|file| file.as_os_str() == "-");
        let json = json.filter(|_| !to_stdout).map(Path::to_owned);
        let mut files = Vec::new();
        if let Some(directory) = directory {
            fs::create_dir_all(directory).map_err(failed_at(directory))?;
            files.extend(names.iter().map(|name| directory.join(name)));
        }
        json.iter().chain(&files).try_for_each(|path| result_file::look(path).map_err(failed_at(path)))?;
        Ok(Self { json, to_stdout, files })
    }

    /// Writes the table or the JSON to the terminal, the JSON to its file, and to the others what they hold, in the order of
    /// their names.
    ///
    /// # Errors
    /// [`BenchError::Write`].
    pub fn write(self, table: &str, json: &str, contents: &[&str]) -> Result<(), BenchError> {
        let text = if self.to_stdout { json } else { table };
        std::io::stdout().write_all(text.as_bytes()).map_err(failed_at(Path::new("standard output")))?;
        for (file, content) in self.json.iter().zip([json]).chain(self.files.iter().zip(contents.iter().copied())) {
            fs::write(file, content).map_err(failed_at(file))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_takes_no_result_is_told_before_the_run_and_the_old_result_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, out, nowhere) =
            (dir.path().join("old.json"), dir.path().join("out"), dir.path().join("absent/x.json"));
        fs::write(&old, b"of last week").expect("a file");
        let refused = Destination::look(Some(&nowhere), None, &[]);
        assert!(matches!(refused, Err(BenchError::Write { path, .. }) if path.ends_with("absent/x.json")));
        let names = ["log.json".to_owned(), "log.md".to_owned()];
        let refused = Destination::look(None, Some(&old), &names);
        assert!(matches!(refused, Err(BenchError::Write { path, .. }) if path.ends_with("old.json")));
        let place = Destination::look(Some(&old), Some(&out), &names).expect("all can be written");
        assert_eq!(fs::read(&old).expect("a file"), b"of last week");
        assert_eq!(fs::read_dir(&out).expect("a directory").count(), 0, "nothing is measured yet");
        place.write("", "{}\n", &["{}\n", "# log"]).expect("room");
        for (file, content) in [(old, "{}\n"), (out.join("log.json"), "{}\n"), (out.join("log.md"), "# log")] {
            assert_eq!(fs::read_to_string(file).expect("a file"), content);
        }
    }
}
