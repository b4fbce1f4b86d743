//! `stele bench execute`: what execution costs with nothing around it: no signatures, no disk, no network.
//!
//! Ordered commits go through the ledger that a node runs: admission, replay protection, rules, receipts, both Merkle
//! roots, the state digest, the header. On one core everything runs in line on one thread; with shards on workers the CPU
//! time of all threads counts, so that the answer does not depend on how many cores there are. Beside it stands what the
//! same transfers cost over a hash map with none of that. Deliberately absent: state that is read from a disk.

mod drawing;
pub(super) mod load;
mod text;

use super::BenchError;
use super::note;
use super::pages::{PageArgs, Pages};
use clap::Args;
use ledger::{Account, Ledger, LedgerOptions, MemoryState, Work};
use load::{Kind, Load, Shape};
use serde::Serialize;
use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::TransactionBody;

/// Stem of the files that `--out` makes.
const STEM: &str = "execute";
/// Transactions of a row's load, in whole commits; it is executed again and again from the start.
const LOAD: usize = 1 << 16;
/// Commits before the clock starts: keys are read, tables grow. A share of a load.
const WARM_UP_SHARE: usize = 4;

/// Measure execution alone.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench execute
  stele bench execute --json -
  stele bench execute --commit 4096 --accounts 10000 --seconds 3 --out results/

--out writes execute.json, .md and .svg.")]
pub struct ExecuteArgs {
    /// Transactions of a commit, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [1_024, 4_096, 16_384],
        value_parser = clap::value_parser!(u32).range(1..=16_384), value_name = "N")]
    commit: Vec<u32>,
    /// Accounts that transfers are between, by comma; any two are equally likely.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000],
        value_parser = clap::value_parser!(u32).range(64..=10_000_000), value_name = "N")]
    accounts: Vec<u32>,
    /// Shards that run on workers, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 16],
        value_parser = clap::value_parser!(u16).range(2..=64), value_name = "N")]
    shards: Vec<u16>,
    /// Seconds for each row, in which its load is executed once at least.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600), value_name = "N")]
    seconds: u32,
    #[command(flatten)]
    pages: PageArgs,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Engine {
    /// The ledger, on the calling thread.
    Stele,
    /// The ledger, a thread a shard.
    SteleWorkers,
    /// A hash map from address to balance.
    HashMap,
}

/// A line of the result.
#[derive(Clone, Debug, Serialize)]
struct Row {
    engine: Engine,
    /// `transfer`, `object` or `sale`.
    transactions: &'static str,
    accounts: u32,
    commit: usize,
    shards: u16,
    /// Percentage that spans shards; none where it was left to chance.
    cross_percent: Option<u32>,
    /// Transactions by CPU second: what one core does.
    per_cpu_s: f64,
    /// Transactions by second of the clock.
    per_s: f64,
    /// CPU time of a transaction, in microseconds.
    cpu_us: f64,
    /// The same over that of a local one with as many shards.
    of_local: Option<f64>,
    /// Elements that were expanded for the state digest, by transaction.
    expansions: f64,
    /// Values that shards sent each other, by transaction.
    values_sent: f64,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
struct Executions {
    kind: &'static str,
    cores: usize,
    seconds: u32,
    version: &'static str,
    results: Vec<Row>,
}

/// Measures and tells.
pub(super) fn run(args: &ExecuteArgs) -> Result<(), BenchError> {
    let destination = args.pages.look(STEM)?;
    let result = Executions {
        kind: "execute",
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        seconds: args.seconds,
        version: env!("CARGO_PKG_VERSION"),
        results: rows(args),
    };
    let (table, markdown, svg) = (text::table(&result), text::markdown(&result, args), drawing::svg(&result));
    Pages { result: &result, table, markdown, svg }.publish(destination)
}

fn rows(args: &ExecuteArgs) -> Vec<Row> {
    let budget = Duration::from_secs(args.seconds.into());
    let (mut rows, most) = (Vec::new(), |list: &[u32]| list.get(list.len() / 2).copied().unwrap_or(4_096));
    let (accounts, commit) = (most(&args.accounts), most(&args.commit) as usize);
    let shape = |kind, accounts, commit: usize, shards, cross| {
        let commits = (LOAD / commit).max(2);
        Shape { kind, accounts, active: None, commit, commits, shards, cross, snapshots: 0 }
    };
    for accounts in &args.accounts {
        for commit in &args.commit {
            note(&format!("transfers between {accounts} accounts, {commit} a commit"));
            rows.push(measure(Engine::Stele, shape(Kind::Transfer, *accounts, *commit as usize, 1, None), budget));
        }
    }
    note("the same over a hash map");
    rows.push(measure(Engine::HashMap, shape(Kind::Transfer, accounts, commit, 1, None), budget));
    for kind in [Kind::Object, Kind::Sale] {
        note(&format!("calls: {}", name(kind)));
        rows.push(measure(Engine::Stele, shape(kind, accounts, commit, 1, None), budget));
    }
    for shards in &args.shards {
        let mut local = None;
        for cross in [0, 10, 50, 100] {
            note(&format!("{shards} shards on workers, {cross} % across"));
            let shape = shape(Kind::Transfer, accounts, commit, *shards, Some(cross));
            let mut row = measure(Engine::SteleWorkers, shape, budget);
            row.of_local = Some(row.cpu_us / *local.get_or_insert(row.cpu_us));
            rows.push(row);
        }
    }
    rows
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Transfer => "transfer",
        Kind::Object => "object",
        Kind::Sale => "sale",
    }
}

/// What was spent on how much.
#[derive(Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
    transactions: usize,
    work: Work,
}

impl Spent {
    fn on<T>(&mut self, transactions: usize, run: impl FnOnce() -> T) -> T {
        let (began, cpu) = (Instant::now(), cpu_time());
        let result = black_box(run());
        self.cpu += cpu_time().saturating_sub(cpu);
        self.wall += began.elapsed();
        self.transactions += transactions;
        result
    }
}

fn measure(engine: Engine, shape: Shape, budget: Duration) -> Row {
    let load = Load::draw(shape);
    let (mut spent, began) = (Spent::default(), Instant::now());
    loop {
        match engine {
            Engine::HashMap => over_a_hash_map(&load, &mut spent),
            Engine::Stele => over_the_ledger(&load, 1, usize::MAX, &mut spent),
            Engine::SteleWorkers => over_the_ledger(&load, shape.shards, 0, &mut spent),
        }
        // The clock of the row, not of what is measured: setting up costs more than executing.
        if began.elapsed() >= budget {
            break;
        }
    }
    let each = |value: f64| value / spent.transactions as f64;
    let cpu_us = each(spent.cpu.as_secs_f64() * 1e6);
    Row {
        engine,
        transactions: name(shape.kind),
        accounts: shape.accounts,
        commit: shape.commit,
        shards: shape.shards,
        cross_percent: shape.cross,
        per_cpu_s: 1e6 / cpu_us,
        per_s: spent.transactions as f64 / spent.wall.as_secs_f64(),
        cpu_us,
        of_local: None,
        expansions: each(spent.work.expansions as f64),
        values_sent: each(spent.work.values_sent as f64),
    }
}

/// Executes a load once, and counts all of it but its beginning.
fn over_the_ledger(load: &Load, shards: u16, parallel_min: usize, spent: &mut Spent) {
    let state = Arc::new(MemoryState::default());
    let options = LedgerOptions { parallel_min, ..LedgerOptions::default() };
    let shards = NonZeroU16::new(shards).expect("the flag has a range");
    let (mut ledger, start) = Ledger::genesis(&load.genesis, shards, state.clone(), options).expect("a sound genesis");
    state.apply(&start.changes);
    let mut uncounted = Spent::default();
    let warm_up = load.measured.len() / WARM_UP_SHARE;
    let before = load.before.iter().map(|input| (input, false));
    let measured = load.measured.iter().zip(0..).map(|(input, index)| (input, index >= warm_up));
    for (input, counted) in before.chain(measured) {
        let (input, count) = (input.clone(), input.transactions.len());
        let into = if counted { &mut *spent } else { &mut uncounted };
        let executed = into.on(count, || ledger.execute(input)).expect("the state is in memory");
        into.work += executed.work;
        let refused = executed.receipts.iter().filter(|receipt| !receipt.outcome.is_applied()).count();
        assert_eq!(refused, 0, "the load is one of sound transactions");
        state.apply(&executed.changes);
        ledger.persisted(executed.header.height);
    }
}

/// The same transfers, with nothing but balances.
fn over_a_hash_map(load: &Load, spent: &mut Spent) {
    let mut accounts: HashMap<_, _> = load
        .genesis
        .accounts
        .iter()
        .map(|allocation| (allocation.address, Account { balance: allocation.balance, transfers_out: 0 }))
        .collect();
    for input in &load.measured {
        spent.on(input.transactions.len(), || {
            for entry in &input.transactions {
                let Ok(transaction) = &entry.transaction else { continue };
                let TransactionBody::Transfer { to, amount, .. } = transaction.body() else { continue };
                let Some(from) = accounts.get_mut(&transaction.sender()) else { continue };
                let Some(left) = from.balance.checked_sub(*amount) else { continue };
                (from.balance, from.transfers_out) = (left, from.transfers_out + 1);
                let to = accounts.entry(*to).or_default();
                let Some(sum) = to.balance.checked_add(*amount) else { continue };
                to.balance = sum;
            }
        });
    }
    black_box(&accounts);
}

/// CPU time of all threads of this process; zero where the system does not say, and rates are infinite then.
pub(super) fn cpu_time() -> Duration {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    }
    Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_executed_to_the_last_transaction_and_cross_as_often_as_they_say() {
        for (kind, cross, sent) in
            [(Kind::Transfer, Some(0), 0.0), (Kind::Transfer, Some(100), 2.0), (Kind::Sale, None, f64::NAN)]
        {
            let shape =
                Shape { kind, accounts: 64, active: None, commit: 50, commits: 8, shards: 4, cross, snapshots: 0 };
            let load = Load::draw(shape);
            let mut spent = Spent::default();
            over_the_ledger(&load, 4, 0, &mut spent);
            assert_eq!(spent.transactions, 300, "two commits of eight warm up");
            let each = spent.work.values_sent as f64 / spent.transactions as f64;
            assert!(sent.is_nan() || each == sent, "{kind:?}: {each} values");
        }
    }

    #[test]
    fn every_form_holds_every_row() {
        let row = |engine, cross_percent| Row {
            engine,
            transactions: "transfer",
            accounts: 64,
            commit: 10,
            shards: 2,
            cross_percent,
            per_cpu_s: 1e6,
            per_s: 1e6,
            cpu_us: 1.0,
            of_local: cross_percent.map(|_| 1.0),
            expansions: 2.0,
            values_sent: 0.0,
        };
        let results = vec![
            row(Engine::Stele, None),
            row(Engine::HashMap, None),
            row(Engine::SteleWorkers, Some(0)),
            row(Engine::SteleWorkers, Some(100)),
        ];
        let executions = Executions { kind: "execute", cores: 2, seconds: 1, version: "0", results };
        assert_eq!(text::table(&executions).matches("transfer").count(), 4);
        assert!(drawing::svg(&executions).contains("<svg"));
    }
}
