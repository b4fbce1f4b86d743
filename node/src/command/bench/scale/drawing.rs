//! Four plots by size of committee, as one SVG that needs nothing from anywhere else.

use super::{Row, Scale};
use crate::command::bench::plot::{HEIGHT, Plot, Series, WIDTH, escape};
use std::fmt::Write;

/// The page's style; what is not of an SVG in it matches nothing.
const STYLE: &str = include_str!("../page.css");
/// Room for the title above each plot.
const TITLE: f64 = 22.0;

type Of = fn(&Row) -> f64;

/// The whole file.
pub fn svg(scale: &Scale) -> String {
    let (width, height) = (2.0 * WIDTH, 2.0 * (HEIGHT + TITLE));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <style>\n{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" style=\"fill: var(--back)\"/>\n"
    );
    for (place, (title, unit, lines)) in plots().into_iter().enumerate() {
        let (left, top) = ((place % 2) as f64 * WIDTH, (place / 2) as f64 * (HEIGHT + TITLE));
        let series = lines.iter().enumerate().map(|(colour, line)| series(scale, colour, *line)).collect();
        let plot = Plot { title, x: "validators", y: unit, series, mark: None };
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", left + 62.0, top + 15.0, escape(title));
        out.push_str(&plot.svg_at(left, top + TITLE));
    }
    out.push_str("</svg>\n");
    out
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
                ("own headers", false, |row| sent(row, "own-headers")),
                ("payloads", false, |row| sent(row, "payloads")),
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

fn sent(row: &Row, kind: &str) -> f64 {
    row.sent_per_node.get(kind).map_or(0.0, |rate| rate.bytes_per_second)
}

fn series(scale: &Scale, colour: usize, (name, dashed, of): Line) -> Series {
    let points = scale.results.iter().map(|row| (f64::from(row.nodes), of(row)));
    let drawn = points.filter(|(_, y)| *y > 0.0 && y.is_finite()).collect();
    Series { name: name.into(), colour, dashed, points: drawn }
}
