//! The result for a reader: a table for the terminal, and a page of Markdown.

use super::{Engine, ExecuteArgs, Executions, Row, STEM};
use crate::command::bench::columns::{Column, fixed, grid, padded};

const COLUMNS: [Column<Row>; 10] = [
    ("engine", |row| engine(row.engine).to_owned()),
    ("transactions", |row| row.transactions.to_owned()),
    ("accounts", |row| row.accounts.to_string()),
    ("a commit", |row| row.commit.to_string()),
    ("shards", |row| row.shards.to_string()),
    ("across", |row| row.cross_percent.map_or("–".to_owned(), |percent| format!("{percent} %"))),
    ("per core and s", |row| fixed(row.per_cpu_s, 0)),
    ("CPU, µs", |row| fixed(row.cpu_us, 2)),
    ("of local", |row| row.of_local.map_or("–".to_owned(), |share| fixed(share, 2))),
    ("expansions", |row| fixed(row.expansions, 2)),
];

fn engine(engine: Engine) -> &'static str {
    match engine {
        Engine::Stele => "stele, one thread",
        Engine::SteleWorkers => "stele, a thread a shard",
        Engine::HashMap => "hash map",
    }
}

/// For the terminal.
pub fn table(executions: &Executions) -> String {
    let mut out = format!("{}\n\n", setting(executions));
    padded(&mut out, &executions.results, &COLUMNS);
    out
}

/// The page.
pub fn markdown(executions: &Executions, args: &ExecuteArgs) -> String {
    let list = |list: &[u32]| list.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let shards: Vec<u32> = args.shards.iter().map(|shards| u32::from(*shards)).collect();
    let mut out = format!(
        "# What execution costs\n\n\
         {}. Written by\n\n    \
         stele bench execute --commit {} --accounts {} --shards {} --seconds {} --out benches/results\n\n\
         The whole ledger between an ordered commit and its header, with state in memory: admission, replay protection,\n\
         rules, receipts, both Merkle roots, the state digest. Transfers are 512 bytes, and any two accounts are equally\n\
         likely. `per core and s` is transactions by CPU second of all threads, so that it says the same on any number of\n\
         cores and beside other load. An `expansion` is an element of the state digest, 32 compressions of BLAKE3: a changed\n\
         account costs two a commit, so few accounts and large commits need few. `of local` compares the CPU of a row with\n\
         that of local transfers on as many shards. A `sale` is an object against an amount, signed by two; the hash map does\n\
         the transfers with no id, receipt, root or digest.\n\n\
         ![CPU by share of transfers across shards]({STEM}.svg)\n\n",
        setting(executions),
        list(&args.commit),
        list(&args.accounts),
        list(&shards),
        args.seconds,
    );
    grid(&mut out, &executions.results, &COLUMNS);
    out
}

fn setting(executions: &Executions) -> String {
    let Executions { cores, seconds, version, .. } = executions;
    format!("{cores} cores, {seconds} s a row, version {version}")
}
