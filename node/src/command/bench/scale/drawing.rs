//! Four plots by size of committee, as one SVG that needs nothing from anywhere else.

use super::{Row, Scale};
use crate::command::bench::plot::{Plot, Series};
use crate::command::bench::sheet::sheet;

type Of = fn(&Row) -> f64;

/// The whole file.
pub fn svg(scale: &Scale) -> String {
    let plot = |(title, unit, lines): (&'static str, &'static str, Vec<Line>)| {
        let series = lines.iter().enumerate().map(|(colour, line)| series(scale, colour, *line)).collect();
        Plot { title, x: "validators", y: unit, series, mark: None }
    };
    sheet(&plots().map(plot))
}

/// Name, whether it is the formula's, and value.
type Line = (&'static str, bool, Of);

fn plots() -> [(&'static str, &'static str, Vec<Line>); 4] {
    [
        (
            "What a node sends; dashed: by formula",
            "bytes/s",
            vec![
                ("all", false, |row| row.bytes_per_second),
                ("own headers", false, |row| row.sent("own-headers")),
                ("payloads", false, |row| row.sent("payloads")),
                ("headers, paper", true, |row| row.paper.own_header_bytes_per_second),
                ("payloads, paper", true, |row| row.paper.payload_bytes_per_second),
            ],
        ),
        (
            "Sent by all nodes for a transaction; dashed: by formula",
            "bytes",
            vec![
                ("all", false, |row| row.bytes_per_transaction),
                ("of it headers", false, |row| row.bytes_per_transaction * row.header_share),
                ("all, paper", true, |row| row.paper.bytes_per_transaction),
            ],
        ),
        (
            "Signatures that a node checks",
            "checks/s",
            vec![
                ("transactions", false, |row| row.checks.transactions_per_second),
                ("headers", false, |row| row.checks.headers_per_second),
                ("headers, paper", true, |row| row.paper.header_checks_per_second),
            ],
        ),
        (
            "Latency of commit, in one-way delays",
            "delays",
            vec![
                ("submission", false, |row| row.latency.p50_delays),
                ("its p99", true, |row| row.latency.p99_ms * row.latency.p50_delays / row.latency.p50_ms),
                ("block", false, |row| row.block_latency.p50_delays),
            ],
        ),
    ]
}

fn series(scale: &Scale, colour: usize, (name, dashed, of): Line) -> Series {
    let points = scale.results.iter().map(|row| (f64::from(row.nodes), of(row)));
    let drawn = points.filter(|(_, y)| *y > 0.0 && y.is_finite()).collect();
    Series { name: name.into(), colour, dashed, points: drawn }
}
