//! Where a bench of few rows goes: a table or JSON to the terminal, and JSON, Markdown and a plot as files.

use super::BenchError;
use super::destination::Destination;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

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

impl PageArgs {
    /// The destination, before anything is measured; its files have the name `stem`.
    ///
    /// # Errors
    /// [`BenchError::Write`].
    pub fn look(&self, stem: &str) -> Result<Destination, BenchError> {
        let names = ["json", "md", "svg"].map(|extension| format!("{stem}.{extension}"));
        Destination::look(self.json.as_deref(), self.out.as_deref(), &names)
    }
}

/// A result in every form.
#[derive(Debug)]
pub struct Pages<'a, T> {
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
    pub fn publish(self, to: Destination) -> Result<(), BenchError> {
        let json =
            serde_json::to_string_pretty(self.result).expect("numbers, strings and lists have a JSON form") + "\n";
        to.write(&self.table, &json, &[&json, &self.markdown, &self.svg])
    }
}
