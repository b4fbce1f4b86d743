//! The result for a reader: a table for the terminal, and a page of Markdown with the formulas beside what was measured.

use super::{Row, STEM, Scale};
use crate::command::bench::columns::{Column, fixed, grid, padded};
use crate::command::bench::plot::number;
use consensus::sim::traffic::weight;
use std::fmt::Write;
use types::Digest;

const NODES: Column<Row> = ("validators", |row| row.nodes.to_string());

const SENT: [Column<Row>; 8] = [
    NODES,
    ("rounds/s", |row| fixed(row.rounds_per_second, 1)),
    ("bytes of a header", |row| fixed(row.header_bytes, 0)),
    ("sent by a node, B/s", |row| number(row.bytes_per_second)),
    ("own headers, B/s", |row| number(row.sent("own-headers"))),
    ("payloads, B/s", |row| number(row.sent("payloads"))),
    ("headers of all", |row| format!("{} %", fixed(row.header_share * 100.0, 1))),
    ("B a transaction, all nodes", |row| number(row.bytes_per_transaction)),
];

const CHECKED: [Column<Row>; 5] = [
    NODES,
    ("headers checked/s", |row| fixed(row.checks.headers_per_second, 0)),
    ("seen again/s", |row| fixed(row.checks.headers_again_per_second, 0)),
    ("transactions checked/s", |row| fixed(row.checks.transactions_per_second, 0)),
    ("checks a transaction", |row| fixed(row.checks.per_transaction, 3)),
];

const WAITED: [Column<Row>; 7] = [
    NODES,
    ("block p50, ms", |row| fixed(row.block_latency.p50_ms, 1)),
    ("in delays", |row| fixed(row.block_latency.p50_delays, 2)),
    ("submission p50, ms", |row| fixed(row.latency.p50_ms, 1)),
    ("in delays", |row| fixed(row.latency.p50_delays, 2)),
    ("p99, ms", |row| fixed(row.latency.p99_ms, 1)),
    ("mean, ms", |row| fixed(row.latency.mean_ms, 1)),
];

const OVER_PAPER: [Column<Row>; 10] = [
    NODES,
    ("rounds/s", |row| over_paper(row, "rounds_per_second")),
    ("bytes of a header", |row| over_paper(row, "header_bytes")),
    ("own headers, B/s", |row| over_paper(row, "own_header_bytes_per_second")),
    ("payloads, B/s", |row| over_paper(row, "payload_bytes_per_second")),
    ("B a transaction", |row| over_paper(row, "bytes_per_transaction")),
    ("headers checked/s", |row| over_paper(row, "header_checks_per_second")),
    ("checks a transaction", |row| over_paper(row, "checks_per_transaction")),
    ("block p50", |row| over_paper(row, "block_latency_ms")),
    ("submission p50", |row| over_paper(row, "latency_ms")),
];

fn over_paper(row: &Row, key: &str) -> String {
    row.over_paper.get(key).map_or("–".to_owned(), |ratio| fixed(*ratio, 3))
}

/// For the terminal.
pub fn table(scale: &Scale) -> String {
    let mut out = format!("{}\n\n", setting(scale));
    for columns in [&SENT[..], &CHECKED, &WAITED] {
        padded(&mut out, &scale.results, columns);
    }
    out
}

fn setting(scale: &Scale) -> String {
    let options = &scale.options;
    format!(
        "{} transactions/s of {} bytes in all, links of {} ms, {} simulated seconds, seed {}",
        options.transactions_per_second, options.transaction_bytes, options.link_ms, options.seconds, options.seed
    )
}

/// The page.
pub fn markdown(scale: &Scale) -> String {
    let options = &scale.options;
    let sizes: Vec<String> = scale.results.iter().map(|row| row.nodes.to_string()).collect();
    let mut out = format!(
        "# What consensus costs by the size of the committee\n\n\
         {}. Written by\n\n    \
         stele bench consensus --nodes {} --transactions-per-second {} --transaction-bytes {} --link-ms {} --seconds {} \
         --seed {} --out benches/results\n\n\
         The real core in the simulator, which takes bandwidth and computing as free: the same command gives the same\n\
         numbers on every machine. Bytes are those of the frames that a node hands to QUIC. All nodes are up and honest; a\n\
         header carries one vote for a ledger header, as there is about one commit a round.\n\n\
         ![bytes, checks and latency by size]({STEM}.svg)\n\n## Sent\n\n",
        setting(scale),
        sizes.join(","),
        options.transactions_per_second,
        options.transaction_bytes,
        options.link_ms,
        options.seconds,
        options.seed,
    );
    grid(&mut out, &scale.results, &SENT);
    others(&mut out, scale);
    out.push_str(
        "## Signatures checked by a node\n\nOne for each header when it is first seen, one for each transaction.\n\n",
    );
    grid(&mut out, &scale.results, &CHECKED);
    out.push_str("## Latency\n\nFrom the making of a block, and from submission, to the commit at the same node.\n\n");
    grid(&mut out, &scale.results, &WAITED);
    on_paper(&mut out, scale);
    heavy(&mut out, scale);
    out
}

/// What was sent besides own headers and payloads.
fn others(out: &mut String, scale: &Scale) {
    let rest = |row: &Row| {
        let kinds = row.sent_per_node.iter().filter(|(kind, _)| !["own-headers", "payloads"].contains(*kind));
        kinds.map(|(kind, rate)| format!("{kind} {} B/s", number(rate.bytes_per_second))).collect::<Vec<_>>().join(", ")
    };
    let said: Vec<String> = scale
        .results
        .iter()
        .filter(|row| !rest(row).is_empty())
        .map(|row| format!("{} validators: {}", row.nodes, rest(row)))
        .collect();
    match said.is_empty() {
        true => out.push_str("Nothing else was sent: no header had to be passed on or asked for.\n\n"),
        false => {
            let _ = writeln!(out, "Besides, a node sent, of {}.\n", said.join("; of "));
        }
    }
}

fn on_paper(out: &mut String, scale: &Scale) {
    let options = &scale.options;
    let Some(row) = scale.results.last() else { return };
    let paper = &row.paper;
    let _ = write!(
        out,
        "## On paper\n\n\
         n validators, T = {} transactions of b = {} bytes a second, a round of τ = {:.1} ms (link, sync of the log,\n\
         signature), R = 1/τ = {:.2} rounds a second.\n\n\
         - A header: H = {:.0} + {} n bytes, with all of the round below as ancestors, one vote ({} of the {:.0}) and an\n  \
         Ed25519 signature.\n\
         - Own headers sent by a node: (n − 1) R (1 + H) bytes a second; by all, n (n − 1) R (1 + H).\n\
         - Payloads sent by a node: (n − 1) (T/n (4 + b) + {} R).\n\
         - Bytes of all nodes for a transaction: n (headers + payloads) / T.\n\
         - Signatures checked by a node: (n − 1) R + T a second, 1 + (n − 1) R / T for a transaction.\n\
         - Commit of a block: 4 τ (the next leader refers to it, votes, certificates, their way back; 3 τ for a leader's\n  \
         own), and from submission half a round more, 4.5 τ.\n\nMeasured over paper:\n\n",
        options.transactions_per_second,
        options.transaction_bytes,
        1e3 / paper.rounds_per_second,
        paper.rounds_per_second,
        paper.header_bytes_fixed,
        weight::REF,
        weight::VOTE,
        paper.header_bytes_fixed,
        weight::REF,
    );
    grid(out, &scale.results, &OVER_PAPER);
    out.push_str(
        "Headers are shorter than on paper because a node moves on with a quorum of the round below, and over equal links the\n\
         rest comes a moment later. Paper is what it can cost at most.\n\n",
    );
}

/// What weighs most at the largest size, and what other encodings of the same header would save.
fn heavy(out: &mut String, scale: &Scale) {
    let Some(row) = scale.results.last() else { return };
    let (n, rounds) = (f64::from(row.nodes), row.rounds_per_second);
    let ancestors = row.header_bytes - row.paper.header_bytes_fixed;
    let rest = row.bytes_per_second * (1.0 - row.header_share);
    let with = |header: f64| {
        let headers = (n - 1.0) * rounds * (1.0 + header);
        format!(
            "header {header:.0} B, a node sends {}B/s, {:.0} % of it headers",
            number(headers + rest),
            headers / (headers + rest) * 100.0
        )
    };
    let (bitmap, refs) = ((n / 8.0).ceil(), ancestors / weight::REF as f64);
    // The own last block in full, the round of the others once.
    let shared = row.paper.header_bytes_fixed + weight::REF as f64 + bitmap + 8.0;
    let digests = shared + (refs - 1.0) * Digest::ENCODED_LEN as f64;
    let one = shared + Digest::ENCODED_LEN as f64;
    let _ = write!(
        out,
        "## What is heavy at {} validators, and what would lower it\n\n\
         Headers are {:.0} % of what is sent: {}B/s, {:.0} Mbit/s, from each node, whatever the load; {:.0} of the {:.0} bytes of a\n\
         header are references to ancestors. A node checks {:.0} headers a second beside {:.0} transactions. By arithmetic\n\
         over the same rounds, not built:\n\n\
         - References without round and author (a bitmap of the round below and a digest each): {}.\n\
         - A bitmap of the round below and one digest over all references, the list on request by who cannot fill it in from\n  \
         blocks that it holds: {}.\n\
         - Half as many rounds a second (a longer least delay between own blocks): half of the headers' bytes and checks, {:.0} ms\n  \
         instead of {:.0} ms to the commit of a transaction.\n\
         - More load: headers do not grow with it. At ten times the transactions they are {:.0} % of what is sent.\n",
        row.nodes,
        row.header_share * 100.0,
        number(row.bytes_per_second * row.header_share),
        row.bytes_per_second * row.header_share * 8.0 / 1e6,
        ancestors,
        row.header_bytes,
        row.checks.headers_per_second,
        row.checks.transactions_per_second,
        with(digests),
        with(one),
        row.latency.p50_ms * 2.0,
        row.latency.p50_ms,
        row.header_share / (row.header_share + (1.0 - row.header_share) * 10.0) * 100.0,
    );
}
