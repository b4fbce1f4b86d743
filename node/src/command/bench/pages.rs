//! Where a bench of few rows goes: a table or JSON to the terminal, and JSON, Markdown and a plot as files.

use super::{BenchError, failed_at};
use clap::Args;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where to.
#[derive(Clone, Debug, Default, Args)]
pub struct PageArgs {
    /// File for the JSON; `-` is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Directory for the result as .json, .md and .svg; it is made.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A result in every form.
#[derive(Debug)]
pub struct Pages<'a, T> {
    /// Name of the files, without extension.
    pub stem: &'a str,
    /// What the JSON holds.
    pub result: &'a T,
    /// For the terminal.
    pub table: String,
    /// The page.
    pub markdown: String,
    /// The plot that the page shows.
    pub svg: String,
}

impl<T: Serialize> Pages<'_, T> {
    /// Writes what is asked for.
    ///
    /// # Errors
    /// [`BenchError::Write`].
    pub fn publish(self, to: &PageArgs) -> Result<(), BenchError> {
        let json =
            serde_json::to_string_pretty(self.result).expect("numbers, strings and lists have a JSON form") + "\n";
        let to_stdout = to.json.as_ref().is_some_and(|file| file.as_os_str() == "-");
        let text = if to_stdout { &json } else { &self.table };
        std::io::stdout().write_all(text.as_bytes()).map_err(failed_at(Path::new("standard output")))?;
        if let Some(file) = to.json.as_ref().filter(|_| !to_stdout) {
            fs::write(file, &json).map_err(failed_at(file))?;
        }
        if let Some(directory) = &to.out {
            fs::create_dir_all(directory).map_err(failed_at(directory))?;
            for (extension, content) in [("json", json), ("md", self.markdown), ("svg", self.svg)] {
                let file = directory.join(format!("{}.{extension}", self.stem));
                fs::write(&file, content).map_err(failed_at(&file))?;
            }
        }
        Ok(())
    }
}
