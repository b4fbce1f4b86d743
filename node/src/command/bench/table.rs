//! The report as text: what was found, then a row for each measurement.

use super::plot::number;
use super::report::{Report, Row, StartTimes};
use std::fmt::Write;

/// For the terminal.
pub fn table(report: &Report) -> String {
    let machine = &report.machine;
    let mut out = format!("{}, {} cores: {}\n", machine.cpu, machine.cores, machine.features.join(" "));
    match (&report.adapter, &report.no_adapter) {
        (Some(adapter), _) => {
            add(&mut out, &format!("{}, driver {} {}\n", adapter.name, adapter.driver, adapter.driver_info));
        }
        (None, Some(why)) => add(&mut out, &format!("no GPU: {why}\n")),
        (None, None) => {}
    }
    let (head, rows) = cells(report);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter().map(|row| row[column].chars().count()).chain([head[column].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    add(&mut out, "\n");
    for row in std::iter::once(&head).chain(&rows) {
        let line = row.iter().zip(&widths).enumerate().fold(String::new(), |line, (column, (cell, width))| {
            // Names to the left, numbers to the right.
            if column < 2 { format!("{line}{cell:<width$}  ") } else { format!("{line}{cell:>width$}  ") }
        });
        add(&mut out, &format!("{}\n", line.trim_end()));
    }
    add(&mut out, "\n");
    for line in findings(report) {
        add(&mut out, &format!("{line}\n"));
    }
    out
}

fn add(out: &mut String, what: &str) {
    out.write_str(what).expect("a string takes every character");
}

/// The names of the columns, and a line for each row. A column that would be empty is left out.
pub fn cells(report: &Report) -> (Vec<String>, Vec<Vec<String>>) {
    type Column = (&'static str, fn(&Row) -> Option<String>);
    let size = if report.kind == "hash" { "size" } else { "batch" };
    let columns: [Column; 16] = [
        ("algorithm", |row| Some(row.alg.to_owned())),
        ("engine", |row| Some(row.engine.clone())),
        (size, |row| Some(row.batch.to_string())),
        ("threads", |row| (row.threads > 0).then(|| row.threads.to_string())),
        ("CPU busy", |row| row.busy.then(|| "yes".into())),
        ("items/s", |row| Some(number(row.items_per_s))),
        ("p50 µs", |row| Some(number(row.p50_us))),
        ("p99 µs", |row| Some(number(row.p99_us))),
        ("CPU µs/item", |row| row.cpu_us_per_item.map(number)),
        ("J/item CPU", |row| row.cpu_joules_per_item.map(|joules| format!("{joules:.2e}"))),
        ("J/item GPU", |row| row.gpu_joules_per_item.map(|joules| format!("{joules:.2e}"))),
        ("pack ns", |row| Some(number(row.split_ns_per_item?.pack))),
        ("upload ns", |row| Some(number(row.split_ns_per_item?.upload?))),
        ("keys ns", |row| Some(number(row.split_ns_per_item?.prepare_keys?))),
        ("compute ns", |row| Some(number(row.split_ns_per_item?.hash? + row.split_ns_per_item?.verify?))),
        ("read-back ns", |row| Some(number(row.split_ns_per_item?.read_back?))),
    ];
    let full: Vec<_> = columns.iter().filter(|(_, of)| report.results.iter().any(|row| of(row).is_some())).collect();
    let mut head: Vec<String> = full.iter().map(|(name, _)| (*name).to_owned()).collect();
    let peers: std::collections::BTreeSet<&String> = report.results.iter().flat_map(|row| row.peers.keys()).collect();
    head.extend(peers.iter().map(|peer| format!("{peer}/s")));
    let line = |row: &Row| {
        let own = full.iter().map(|(_, of)| of(row).unwrap_or_default());
        own.chain(peers.iter().map(|peer| row.peers.get(*peer).map_or(String::new(), |rate| number(*rate)))).collect()
    };
    (head, report.results.iter().map(line).collect())
}

/// What the rows come to, a sentence each.
pub fn findings(report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    for one in &report.break_even {
        let busy = if one.busy { " with the CPU busy" } else { "" };
        found.push(match one.batch {
            Some(batch) => format!(
                "{}: the GPU pays from {} items in a batch on{busy}; at its best it does {:.1} times what all CPU threads do",
                one.alg,
                number(batch.ceil()),
                one.best_ratio
            ),
            None => format!(
                "{}: the GPU does not pay at any batch measured{busy}; at its best it does {:.2} times what all CPU threads do",
                one.alg, one.best_ratio
            ),
        });
    }
    if let Some(start) = &report.gpu_start {
        found.push(format!("GPU start, nothing on disk: {}", says(&start.cold)));
        found.push(format!("GPU start, compiled code on disk: {}", says(&start.warm)));
    }
    let readable = |of: fn(&Row) -> Option<f64>| report.results.iter().any(|row| of(row).is_some());
    if !readable(|row| row.cpu_joules_per_item) {
        found.push("energy of the CPU: not readable".into());
    }
    if report.adapter.is_some() && !readable(|row| row.gpu_joules_per_item) {
        found.push("energy of the GPU: not readable".into());
    }
    found.extend(report.notes.iter().cloned());
    found
}

fn says(times: &StartTimes) -> String {
    let each: Vec<_> = times.pipelines.iter().map(|(alg, seconds)| format!("{alg} {seconds:.2} s")).collect();
    let first: Vec<_> = times.first_batch.iter().map(|(alg, seconds)| format!("{alg} {seconds:.2} s")).collect();
    let (each, first) = (each.join(", "), first.join(", "));
    format!("{:.2} s in all; pipelines {each}; first batch {first}", times.total)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn columns_without_a_value_are_left_out_and_energy_is_said_to_be_unreadable() {
        let report = report();
        let (head, rows) = cells(&report);
        assert!(head.contains(&"ed25519-dalek/s".to_owned()) && !head.contains(&"J/item CPU".to_owned()));
        assert!(!head.contains(&"CPU busy".to_owned()) && !head.contains(&"upload ns".to_owned()));
        assert!(rows.iter().all(|row| row.len() == head.len()));
        let text = table(&report);
        for words in ["energy of the CPU: not readable", "the GPU pays from", "no GPU: none", "a note", "20M"] {
            assert!(text.contains(words), "no `{words}` in\n{text}");
        }
    }

    #[test]
    fn a_gpu_that_never_pays_is_said_so() {
        let mut report = report();
        report.break_even[0].batch = None;
        report.break_even[0].best_ratio = 0.21;
        assert!(table(&report).contains("does not pay at any batch measured; at its best it does 0.21 times"));
    }
}
