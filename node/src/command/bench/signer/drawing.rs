//! Throughput, latency and rounds by the time of a signature.

use super::{Row, SOFT, Signers};
use crate::command::bench::plot::{Plot, Series};
use crate::command::bench::sheet::sheet;

type Of = fn(&Row) -> f64;

const PLOTS: [(&str, &str, Of); 4] = [
    ("Committed transactions", "transactions/s", |row| row.measured.committed_tps),
    ("Median latency; dashed: keys in files", "ms", |row| row.measured.latency_ms.p50),
    ("99th percentile of latency", "ms", |row| row.measured.latency_ms.p99),
    ("Rounds of consensus", "rounds/s", |row| row.measured.rounds_per_second),
];

/// The whole file.
pub fn svg(signers: &Signers) -> String {
    sheet(&PLOTS.map(|(title, y, of)| {
        let series = [line(signers, 0, "direct", of), line(signers, 1, "certified", of), soft(signers, of)];
        Plot { title, x: "added to a signature of the HSM, ms", y, series: series.into(), mark: None }
    }))
}

fn line(signers: &Signers, colour: usize, mode: &str, of: Of) -> Series {
    let delayed = signers.results.iter().filter(|row| row.setup.mode == mode && row.setup.added_latency_ms > 0);
    let points =
        delayed.map(|row| (f64::from(row.setup.added_latency_ms), of(row))).filter(|(_, y)| *y > 0.0).collect();
    Series { name: mode.to_owned(), colour, dashed: false, points }
}

/// Keys in files, as a level line.
fn soft(signers: &Signers, of: Of) -> Series {
    let rows: Vec<f64> = signers.results.iter().filter(|row| row.setup == SOFT).map(of).collect();
    let level = rows.iter().sum::<f64>() / rows.len().max(1) as f64;
    let added = || signers.results.iter().map(|row| f64::from(row.setup.added_latency_ms)).filter(|ms| *ms > 0.0);
    let ends = [added().fold(f64::MAX, f64::min), added().fold(0.0, f64::max)];
    let points = if level > 0.0 && ends[1] > 0.0 { ends.map(|ms| (ms, level)).into() } else { Vec::new() };
    Series { name: "soft".to_owned(), colour: 2, dashed: true, points }
}
