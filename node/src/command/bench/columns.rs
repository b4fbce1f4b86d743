//! Rows under named columns: padded for a terminal, or as a table of Markdown.

use std::fmt::Write;

/// A heading and what stands under it for a row.
pub type Column<R> = (&'static str, fn(&R) -> String);

/// Padded to the right, for a terminal.
pub fn padded<R>(out: &mut String, rows: &[R], columns: &[Column<R>]) {
    let lines = cells(rows, columns);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  "));
    }
    out.push('\n');
}

/// Markdown.
pub fn grid<R>(out: &mut String, rows: &[R], columns: &[Column<R>]) {
    for (place, line) in cells(rows, columns).iter().enumerate() {
        let _ = writeln!(out, "| {} |", line.join(" | "));
        if place == 0 {
            let _ = writeln!(out, "|{}", "---:|".repeat(line.len()));
        }
    }
    out.push('\n');
}

/// With so many digits behind the point.
pub fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

fn cells<R>(rows: &[R], columns: &[Column<R>]) -> Vec<Vec<String>> {
    let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let line = |row: &R| columns.iter().map(|(_, of)| of(row)).collect();
    std::iter::once(head).chain(rows.iter().map(line)).collect()
}
