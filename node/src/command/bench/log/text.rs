//! The result for a reader: a table for the terminal, and a page of Markdown.

use super::{Durability, GroupCommit, Row, STEM, Scan};
use crate::command::bench::columns::{Column, fixed, grid, padded};

const ROWS: [Column<Row>; 10] = [
    ("engine", |row| row.engine.name().to_owned()),
    ("record, bytes", |row| row.record_bytes.to_string()),
    ("writers", |row| row.writers.to_string()),
    ("records/s", |row| fixed(row.records_per_s, 0)),
    ("MB/s", |row| fixed(row.bytes_per_s / 1e6, 1)),
    ("of RocksDB", |row| row.of_rocksdb.map_or("–".to_owned(), |times| format!("{} ×", fixed(times, 2)))),
    ("p50, µs", |row| row.p50_us.to_string()),
    ("p99, µs", |row| row.p99_us.to_string()),
    ("CPU s/GB", |row| fixed(row.cpu_s_per_gb, 2)),
    ("others, cores", |row| fixed(row.other_cores, 2)),
];

const GROUPS: [Column<GroupCommit>; 9] = [
    ("record, bytes", |row| row.record_bytes.to_string()),
    ("writers", |row| row.writers.to_string()),
    ("groups", |row| row.groups.to_string()),
    ("group, bytes", |row| row.group_bytes.to_string()),
    ("p50, µs", |row| row.p50_us.to_string()),
    ("p99, µs", |row| row.p99_us.to_string()),
    ("bare p50, µs", |row| row.bare_p50_us.to_string()),
    ("bare p99, µs", |row| row.bare_p99_us.to_string()),
    ("p99 of bare", |row| format!("{} ×", fixed(row.p99_us as f64 / row.bare_p99_us.max(1) as f64, 2))),
];

const SCANS: [Column<Scan>; 7] = [
    ("record, bytes", |row| row.record_bytes.to_string()),
    ("records", |row| row.records.to_string()),
    ("MB", |row| fixed(row.bytes as f64 / 1e6, 0)),
    ("overhead, %", |row| fixed(row.overhead_percent, 2)),
    ("scan, GB/s", |row| fixed(row.scan_gb_per_s, 2)),
    ("bare read, GB/s", |row| fixed(row.bare_gb_per_s, 2)),
    ("scan, s", |row| fixed(row.seconds, 2)),
];

const READ_BACK: &str = "The log read back as a start does it, every checksum, and its files as they are, past the page cache where the log is:";
const CALLBACKS: &str = "The log alone, its writers sharing one thread that it calls back, as in a node:";
const COMMITS: &str = "A group of the log, and pwrite + fdatasync of as many bytes by one thread:";

/// For the terminal.
pub fn table(result: &Durability) -> String {
    let mut out = format!("{}\n\n", setting(result));
    padded(&mut out, &result.results, &ROWS);
    out.push_str(&format!("{CALLBACKS}\n\n"));
    padded(&mut out, &result.callbacks, &ROWS);
    out.push_str(&format!("{COMMITS}\n\n"));
    padded(&mut out, &result.group_commits, &GROUPS);
    out.push_str(&format!("{READ_BACK}\n\n"));
    padded(&mut out, &result.scans, &SCANS);
    out
}

/// The page.
pub fn markdown(result: &Durability) -> String {
    let mut out = format!(
        "# What it costs to make a record durable\n\n\
         {}. Written by\n\n    \
         stele bench log --seconds {} --rounds {} --out benches/results\n\n\
         Every writer is a thread that waits for its record before it makes the next. `stele`: the log. `rocksdb`: a `put`\n\
         with sync; its log is recycled, and it neither compacts nor compresses. `file`: each writer's own `pwrite` and\n\
         `fdatasync` into a file that is there already. They took turns, round by round. `others`: cores that other\n\
         processes kept busy meanwhile. CPU is user and system time of the process for 10^9 bytes of records.\n\n\
         ![records a second and 99th percentile by the number of writers]({STEM}.svg)\n\n",
        setting(result),
        result.seconds,
        result.rounds,
    );
    grid(&mut out, &result.results, &ROWS);
    out.push_str(&format!("{CALLBACKS}\n\n"));
    grid(&mut out, &result.callbacks, &ROWS);
    out.push_str(&format!("{COMMITS}\n\n"));
    grid(&mut out, &result.group_commits, &GROUPS);
    out.push_str(&format!("{READ_BACK}\n\n"));
    grid(&mut out, &result.scans, &SCANS);
    out
}

fn setting(result: &Durability) -> String {
    let Durability { seconds, rounds, cores, version, backend, direct, groups_in_flight, .. } = result;
    let cache = if *direct { "direct I/O" } else { "through the page cache" };
    format!(
        "{cores} cores, {seconds} s a row in {rounds} rounds; log by {backend}, {cache}, groups on their way: \
         {groups_in_flight}; version {version}"
    )
}
