//! The page: one HTML file with everything in it, for a person who has one look.
//!
//! What was found stands first; the plots of an algorithm stand side by side; every number is in the table at the end.

use super::plot::{Plot, Series, escape, number};
use super::report::{Report, Row};
use super::table;
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The whole file.
pub fn page(report: &Report) -> String {
    let machine = &report.machine;
    let title = format!("stele bench {}", report.kind);
    let adapter = match (&report.adapter, &report.no_adapter) {
        (Some(adapter), _) => format!("{}, driver {} {}", adapter.name, adapter.driver, adapter.driver_info),
        (None, Some(why)) => format!("no GPU: {why}"),
        (None, None) => "not measured".into(),
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let mut facts = vec![
        ("processor", format!("{}, {} cores", machine.cpu, machine.cores)),
        ("used of it", machine.features.join(" ")),
        ("GPU", adapter),
        ("kernel", machine.kernel.clone()),
        ("stele", machine.version.to_owned()),
    ];
    facts.extend(report.options.iter().map(|(name, value)| (*name, value.clone())));
    let cells = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value)));
    add(&mut out, &format!("<dl>{}</dl>\n<ul class=\"found\">\n", cells.collect::<String>()));
    for line in table::findings(report) {
        add(&mut out, &format!("<li>{}</li>\n", escape(&line)));
    }
    add(&mut out, "</ul>\n");
    for alg in algorithms(&report.results) {
        add(&mut out, &format!("<section>\n<h2>{}</h2>\n<div class=\"plots\">\n", escape(alg)));
        for (caption, plot) in plots(report, alg) {
            add(&mut out, &format!("<figure><figcaption>{caption}</figcaption>\n{}</figure>\n", plot.svg()));
        }
        add(&mut out, "</div>\n</section>\n");
    }
    add(&mut out, "<section>\n<h2>All numbers</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr>");
    let (head, rows) = table::cells(report);
    head.iter().for_each(|cell| add(&mut out, &format!("<th>{}</th>", escape(cell))));
    add(&mut out, "</tr></thead>\n<tbody>\n");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        add(&mut out, &format!("<tr>{cells}</tr>\n"));
    }
    add(&mut out, "</tbody>\n</table>\n</div>\n</section>\n</body>\n</html>\n");
    out
}

fn add(out: &mut String, what: &str) {
    out.write_str(what).expect("a string takes every character");
}

fn algorithms(rows: &[Row]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for row in rows {
        if !found.contains(&row.alg) {
            found.push(row.alg);
        }
    }
    found
}

/// Rates, latencies, and how the engines compare.
fn plots<'a>(report: &'a Report, alg: &'static str) -> Vec<(&'a str, Plot<'a>)> {
    let x = if report.kind == "hash" { "leaves of a tree" } else { "items in a batch" };
    let rates = lines(report, alg, |row| row.items_per_s, "");
    let mut rates_and_peers = rates.clone();
    let (smallest, largest) = span(&rates);
    let colour = rates.len();
    for (place, (peer, rate)) in best_peers(report, alg).into_iter().enumerate() {
        let points = vec![(smallest, rate), (largest, rate)];
        rates_and_peers.push(Series { name: peer, colour: colour + place, dashed: true, points });
    }
    let even = report.break_even.iter().find(|one| one.alg == alg && !one.busy).and_then(|one| one.batch);
    let mark = even.map(|batch| (batch, format!("break-even {}", number(batch.ceil()))));
    let mut latencies = lines(report, alg, |row| row.p50_us, " p50");
    let mut tails = lines(report, alg, |row| row.p99_us, " p99");
    tails.iter_mut().for_each(|series| series.dashed = true);
    latencies.extend(tails);
    let mut plots = vec![
        (
            "Items a second",
            Plot { title: "items a second", x, y: "items/s", series: rates_and_peers, mark: mark.clone() },
        ),
        (
            "Latency of a batch, microseconds: median, and dashed the 99th percentile",
            Plot { title: "latency", x, y: "µs", series: latencies, mark: None },
        ),
    ];
    let ratios = ratios(report, alg);
    if !ratios.is_empty() {
        let plot = Plot { title: "GPU over CPU", x, y: "times the CPU's rate", series: ratios, mark };
        plots.push(("The GPU's rate over that of all CPU threads: it pays above 1", plot));
    }
    plots
}

type Key = (bool, String, usize);

fn curves(report: &Report, alg: &str, y: impl Fn(&Row) -> f64) -> BTreeMap<Key, Vec<(f64, f64)>> {
    let mut curves: BTreeMap<Key, Vec<(f64, f64)>> = BTreeMap::new();
    for row in report.results.iter().filter(|row| row.alg == alg) {
        let key = (row.busy, row.engine.clone(), row.threads);
        curves.entry(key).or_default().push((row.batch as f64, y(row)));
    }
    curves.values_mut().for_each(|points| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    curves
}

fn lines(report: &Report, alg: &str, y: impl Fn(&Row) -> f64, suffix: &str) -> Vec<Series> {
    let name = |(busy, engine, threads): &Key| {
        let threads = if *threads == 0 { String::new() } else { format!(" ×{threads}") };
        format!("{engine}{threads}{}{suffix}", if *busy { " busy" } else { "" })
    };
    let curves = curves(report, alg, y).into_iter().enumerate();
    curves.map(|(colour, (key, points))| Series { name: name(&key), colour, dashed: false, points }).collect()
}

fn span(series: &[Series]) -> (f64, f64) {
    let xs = || series.iter().flat_map(|series| series.points.iter().map(|point| point.0));
    (xs().fold(f64::MAX, f64::min), xs().fold(0.0, f64::max))
}

fn best_peers(report: &Report, alg: &str) -> BTreeMap<String, f64> {
    let mut best: BTreeMap<String, f64> = BTreeMap::new();
    for (peer, rate) in report.results.iter().filter(|row| row.alg == alg).flat_map(|row| &row.peers) {
        let known = best.entry(peer.clone()).or_default();
        *known = known.max(*rate);
    }
    best
}

fn ratios(report: &Report, alg: &str) -> Vec<Series> {
    let curves = curves(report, alg, |row| row.items_per_s);
    let mut series = Vec::new();
    for (colour, busy) in [false, true].into_iter().enumerate() {
        let of =
            |engine: &str| curves.iter().rfind(|((b, e, _), _)| *b == busy && e == engine).map(|(_, points)| points);
        let (Some(cpu), Some(gpu)) = (of("cpu"), of("gpu")) else { continue };
        let over = |(batch, rate): &(f64, f64)| {
            let other = cpu.iter().find(|point| point.0 == *batch)?.1;
            Some((*batch, rate / other))
        };
        let name = if busy { "CPU busy" } else { "CPU idle" }.into();
        series.push(Series { name, colour, dashed: false, points: gpu.iter().filter_map(over).collect() });
    }
    series
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_page_holds_every_row_and_asks_nobody_for_anything() {
        let report = report();
        let page = page(&report);
        assert_eq!(page.matches("<tr>").count(), 1 + report.results.len());
        assert_eq!(page.matches("<svg").count(), 3);
        for foreign in ["http:", "https:", "<script", "url(", "@import", "src="] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("none &lt;found&gt; &amp; none &quot;used&quot;") && !page.contains("<found>"));
        for tag in ["figure", "section", "ul", "dl", "table", "svg", "div"] {
            assert_eq!(page.matches(&format!("<{tag}")).count(), page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn the_ratio_is_against_all_threads() {
        let found = ratios(&report(), "ed25519");
        assert_eq!(found.len(), 1);
        let last = found[0].points.last().unwrap();
        assert!((last.1 - 20e6 / (90e3 * 15.0)).abs() < 1e-9);
    }
}
