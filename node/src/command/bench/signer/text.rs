//! The result for a reader: a table for the terminal, and a page of Markdown.

use super::{Row, STEM, Signers};
use crate::command::bench::columns::{Column, fixed, grid, padded};

const COLUMNS: [Column<Row>; 11] = [
    ("keys", |row| row.setup.store.to_owned()),
    ("rounds signed", |row| row.setup.mode.to_owned()),
    ("added, ms", |row| row.setup.added_latency_ms.to_string()),
    ("committed/s", |row| fixed(row.measured.committed_tps, 0)),
    ("of soft", |row| format!("{} %", fixed(row.of_soft_tps * 100.0, 1))),
    ("rounds/s", |row| fixed(row.measured.rounds_per_second, 1)),
    ("p50, ms", |row| fixed(row.measured.latency_ms.p50, 1)),
    ("p99, ms", |row| fixed(row.measured.latency_ms.p99, 1)),
    ("p50 over soft, ms", |row| fixed(row.over_soft_p50_ms, 1)),
    ("in signatures", |row| row.over_soft_p50_signatures.map_or("–".to_owned(), |count| fixed(count, 2))),
    ("signer p50, ms", |row| fixed(row.measured.signer_stats.p50_us as f64 / 1e3, 2)),
];

/// For the terminal.
pub fn table(signers: &Signers) -> String {
    let mut out = format!("{}\n\n", setting(signers));
    padded(&mut out, &signers.results, &COLUMNS);
    out
}

/// The page.
pub fn markdown(signers: &Signers) -> String {
    let mut latencies: Vec<u32> =
        signers.results.iter().map(|row| row.setup.added_latency_ms).filter(|ms| *ms > 0).collect();
    latencies.dedup();
    let latencies: Vec<String> = latencies.iter().map(u32::to_string).collect();
    let mut out = format!(
        "# What a slow HSM does to a network\n\n\
         {}. Written by\n\n    \
         stele bench signer --latency-ms {} --rate {} --validators {} --seconds {} --out benches/results\n\n\
         Each row is a devnet of its own: validators, signers and load generator on this machine. `direct`: the HSM signs\n\
         every round. `certified`: it certifies an epoch key in the signer's memory, which does. SoftHSM2 stands for the HSM,\n\
         and each of its signatures is delayed by what is added. Keys in files were measured first and last; the others are\n\
         compared with the mean of both.\n\n\
         ![throughput and latency by the time of a signature]({STEM}.svg)\n\n",
        setting(signers),
        latencies.join(","),
        signers.rate,
        signers.validators,
        signers.seconds,
    );
    grid(&mut out, &signers.results, &COLUMNS);
    out
}

fn setting(signers: &Signers) -> String {
    let Signers { validators, rate, seconds, cores, version, .. } = signers;
    format!(
        "{validators} validators on {cores} cores, {rate} transactions/s offered, {seconds} s a row, version {version}"
    )
}
