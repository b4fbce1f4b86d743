//! Records a second and their 99th percentile, by the number of writers.

use super::engines::Kind;
use super::{Durability, Row};
use crate::command::bench::plot::{Plot, Series};
use crate::command::bench::sheet::sheet;

type Of = fn(&Row) -> f64;

const PANELS: [(&str, &str, Of); 2] = [
    ("Durable records", "records/s", |row| row.records_per_s),
    ("99th percentile, from the call until durable", "µs", |row| row.p99_us as f64),
];

/// The whole file.
pub fn svg(result: &Durability) -> String {
    let mut sizes: Vec<u32> = result.results.iter().map(|row| row.record_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let panels = sizes.iter().flat_map(|size| PANELS.map(|panel| (*size, panel)));
    let titled: Vec<_> = panels.map(|(size, panel)| (format!("{}, {size} bytes", panel.0), size, panel)).collect();
    let plots: Vec<_> = titled.iter().map(|(title, size, (_, y, of))| plot(result, title, *size, y, *of)).collect();
    sheet(&plots)
}

fn plot<'a>(result: &Durability, title: &'a str, size: u32, y: &'a str, of: Of) -> Plot<'a> {
    let line = |name: &str, colour: usize, dashed: bool, rows: &[Row], kind: Kind| {
        let own = rows.iter().filter(|row| row.engine == kind && row.record_bytes == size);
        let mut points: Vec<_> = own.map(|row| (f64::from(row.writers), of(row))).filter(|(_, y)| *y > 0.0).collect();
        points.sort_by(|left, right| left.0.total_cmp(&right.0));
        Series { name: name.to_owned(), colour, dashed, points }
    };
    let threads = Kind::ALL.iter().enumerate();
    let mut series: Vec<_> =
        threads.map(|(place, kind)| line(kind.name(), place, false, &result.results, *kind)).collect();
    series.push(line("stele, called back", 0, true, &result.callbacks, Kind::Stele));
    Plot { title, x: "writers", y, series, mark: None }
}
