//! `stele bench hash`: single messages and Merkle roots, under SHA-256 and SM3, beside a second implementation.

use super::report::{Report, Row, break_even};
use super::stopwatch::measure;
use super::verify::seconds;
use super::{BenchError, EngineChoice, Output, note};
use crate::command::hw::machine::Machine;
use accel::gpu::{Options, TreeEngine};
use clap::Args;
use sha2::{Digest as _, Sha256};
use sm3::Sm3;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;
use types::merkle::root_of_hashes;
use types::{AlgId, Digest};

/// Measure hashes and Merkle roots.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele bench hash
  stele bench hash --alg sm3 --leaves 1048576 --report out
  OPENSSL_ia32cap=:~0x20000000 stele bench hash --peers     aws-lc-rs as on a processor without SHA extensions

`sha2` takes the processor's SHA extensions by itself where they are (`stele hw` shows sha_ni). Trees are those of the
ledger, RFC 6962, over leaf hashes; with --peers those of SHA-256 also node by node.")]
pub struct HashArgs {
    /// Hashes, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = ["sha256", "sm3"].map(String::from),
        value_parser = clap::builder::PossibleValuesParser::new(["sha256", "sm3"]), value_name = "ALG")]
    alg: Vec<String>,
    /// Bytes of single messages, by comma.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 200, 1024, 16_384],
        value_parser = clap::value_parser!(u32).range(..=16_777_216), value_name = "N")]
    message_bytes: Vec<u32>,
    /// Leaves of Merkle trees, by comma; 1 to 16777216.
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 16_384, 131_072],
        value_parser = clap::value_parser!(u32).range(1..=16_777_216), value_name = "N")]
    leaves: Vec<u32>,
    /// Engines for trees; single messages are the CPU's.
    #[arg(long, value_enum, default_value_t = EngineChoice::All, value_name = "ENGINE")]
    engine: EngineChoice,
    /// Part of an adapter's name, in place of the best one; a software adapter is taken when it is named.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// A second implementation beside each: aws-lc-rs for SHA-256.
    #[arg(long)]
    peers: bool,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 0.5, value_parser = seconds, value_name = "N")]
    seconds: f64,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Measures, and puts the report together.
pub(super) fn run(args: &HashArgs) -> Result<Report, BenchError> {
    let budget = Duration::from_secs_f64(args.seconds);
    let (mut gpu, no_adapter) = open(args)?;
    let mut results = Vec::new();
    for alg in &args.alg {
        let sha256 = alg == "sha256";
        if args.engine != EngineChoice::Gpu {
            for bytes in &args.message_bytes {
                note(&format!("{alg}: messages of {bytes} bytes"));
                let mut row = message(sha256, *bytes as usize, budget);
                if args.peers && sha256 {
                    row.peers = peers(*bytes as usize, budget);
                }
                results.push(row);
            }
        }
        for leaves in &args.leaves {
            note(&format!("{alg}: a tree of {leaves} leaves"));
            let level = level(*leaves as usize);
            let (name, id) = if sha256 { ("sha256 tree", AlgId::Sha256) } else { ("sm3 tree", AlgId::Sm3) };
            if args.engine != EngineChoice::Gpu {
                let mut row =
                    if sha256 { ledger_tree(name, &level, budget) } else { tree::<Sm3>(name, &level, budget) };
                if args.peers && sha256 {
                    let one_by_one = tree::<Sha256>(name, &level, budget).items_per_s;
                    row.peers = BTreeMap::from([("sha2, one by one".to_owned(), one_by_one)]);
                }
                results.push(row);
            }
            if let Some(gpu) = &mut gpu {
                let right = if sha256 { root::<Sha256>(level.clone()) } else { root::<Sm3>(level.clone()) };
                results.push(tree_on_gpu(gpu, (name, id), &level, &right, budget)?);
            }
        }
    }
    Ok(Report {
        kind: "hash",
        machine: Machine::look(),
        adapter: gpu.as_ref().map(|engine| engine.adapter().clone()),
        no_adapter,
        options: BTreeMap::from([("measured", format!("{} s each", args.seconds))]),
        gpu_start: None,
        break_even: break_even(&results),
        results,
        notes: vec!["size is bytes of a message, or leaves of a tree; items are messages, or leaves".into()],
    })
}

/// The GPU, or why there is none where one could have been.
fn open(args: &HashArgs) -> Result<(Option<TreeEngine>, Option<String>), BenchError> {
    if args.engine == EngineChoice::Cpu {
        return Ok((None, None));
    }
    let allow_software = args.adapter.is_some();
    let options = Options { adapter: args.adapter.clone(), allow_software, ..Options::default() };
    match TreeEngine::open(&options) {
        Ok(engine) => Ok((Some(engine), None)),
        Err(error) if args.engine == EngineChoice::Gpu => Err(BenchError::NoGpu(error)),
        Err(error) => Ok((None, Some(error.to_string()))),
    }
}

/// Leaf hashes that differ.
fn level(leaves: usize) -> Vec<[u8; 32]> {
    let leaf = |leaf: u64| {
        let mut hash = [0x5a; 32];
        hash[..8].copy_from_slice(&leaf.to_le_bytes());
        hash
    };
    (0..leaves as u64).map(leaf).collect()
}

fn tree_on_gpu(
    engine: &mut TreeEngine,
    (name, id): (&'static str, AlgId),
    level: &[[u8; 32]],
    right: &[u8; 32],
    budget: Duration,
) -> Result<Row, BenchError> {
    let leaf = |hash: &[u8; 32]| Digest::from_parts(id, *hash).expect("both are digest algorithms");
    let leaves: Vec<Digest> = level.iter().map(leaf).collect();
    let named = |fault| BenchError::Fault { engine: "GPU".into(), batch: leaves.len(), alg: name, fault };
    let measured = measure(budget, |_| {
        let root = engine.root_of_hashes(id, &leaves).map_err(named)?;
        if root.as_bytes()[..] == right[..] {
            Ok(())
        } else {
            Err(BenchError::WrongVerdicts { engine: "GPU".into(), batch: leaves.len(), alg: name, wrong: 1 })
        }
    })?;
    Ok(Row {
        alg: name,
        engine: "gpu".into(),
        batch: leaves.len(),
        items_per_s: measured.per_s * leaves.len() as f64,
        p50_us: measured.p50_us,
        p99_us: measured.p99_us,
        ..Row::default()
    })
}

fn message(sha256: bool, bytes: usize, budget: Duration) -> Row {
    let data = vec![0x5a; bytes];
    let row = |alg| Row { alg, batch: bytes, ..Row::default() };
    if sha256 {
        timed(row("sha256"), 1, budget, || {
            black_box(Sha256::digest(black_box(&data)));
        })
    } else {
        timed(row("sm3"), 1, budget, || {
            black_box(Sm3::digest(black_box(&data)));
        })
    }
}

/// As the ledger makes it.
fn ledger_tree(alg: &'static str, level: &[[u8; 32]], budget: Duration) -> Row {
    let leaf = |hash: &[u8; 32]| Digest::from_parts(AlgId::Sha256, *hash).expect("a digest algorithm");
    let leaves: Vec<Digest> = level.iter().map(leaf).collect();
    let row = Row { alg, batch: level.len(), ..Row::default() };
    timed(row, level.len(), budget, || {
        black_box(root_of_hashes(leaves.clone()));
    })
}

fn tree<H: sha2::Digest>(alg: &'static str, level: &[[u8; 32]], budget: Duration) -> Row {
    let row = Row { alg, batch: level.len(), ..Row::default() };
    timed(row, level.len(), budget, || {
        black_box(root::<H>(level.to_vec()));
    })
}

/// The same tree under any hash, node by node.
fn root<H: sha2::Digest>(mut level: Vec<[u8; 32]>) -> [u8; 32] {
    while level.len() > 1 {
        let pairs = level.len().div_ceil(2);
        for pair in 0..pairs {
            if let Some(right) = level.get(2 * pair + 1) {
                let hash = H::new().chain_update([1]).chain_update(level[2 * pair]).chain_update(right).finalize();
                level[pair].copy_from_slice(&hash);
            } else {
                level[pair] = level[2 * pair];
            }
        }
        level.truncate(pairs);
    }
    level[0]
}

fn peers(bytes: usize, budget: Duration) -> BTreeMap<String, f64> {
    let data = vec![0x5a; bytes];
    let aws = timed(Row::default(), 1, budget, || {
        black_box(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, black_box(&data)));
    });
    BTreeMap::from([("aws-lc-rs".to_owned(), aws.items_per_s)])
}

/// A row of `items` for each call. A call takes less than a clock's reading, so many are timed at once.
fn timed(row: Row, items: usize, budget: Duration, call: impl Fn()) -> Row {
    let calls = if items > 1 { 1 } else { 256 };
    let measured = measure(budget, |_| {
        (0..calls).for_each(|_| call());
        Ok::<_, Infallible>(())
    });
    let measured = measured.unwrap_or_default();
    Row {
        engine: "cpu".into(),
        threads: 1,
        items_per_s: measured.per_s * (calls * items) as f64,
        p50_us: measured.p50_us / calls as f64,
        p99_us: measured.p99_us / calls as f64,
        ..row
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: HashArgs,
    }

    #[test]
    fn the_tree_is_that_of_the_ledger() {
        for leaves in [1, 2, 3, 7, 64, 100] {
            let level: Vec<Digest> = (0..leaves as u32).map(|leaf| Digest::sha256(&leaf.to_le_bytes())).collect();
            let bytes: Vec<[u8; 32]> =
                level.iter().map(|hash| hash.as_bytes().as_slice().try_into().unwrap()).collect();
            assert_eq!(root::<Sha256>(bytes), root_of_hashes(level).as_bytes()[..], "{leaves} leaves");
        }
    }

    #[test]
    fn a_small_run_has_a_row_for_each_size_and_hash() {
        let arguments = [
            "hash",
            "--seconds",
            "0.001",
            "--message-bytes",
            "0,64",
            "--leaves",
            "1,100",
            "--peers",
            "--engine",
            "cpu",
        ];
        let report = run(&Cli::try_parse_from(arguments).unwrap().args).unwrap();
        let rows: Vec<_> = report.results.iter().map(|row| (row.alg, row.batch)).collect();
        let expected = ["sha256", "sm3"].map(|alg| [(alg, 0), (alg, 64)]);
        assert_eq!((&rows[..2], &rows[4..6]), (&expected[0][..], &expected[1][..]));
        assert_eq!((rows[2], rows[7]), (("sha256 tree", 1), ("sm3 tree", 100)));
        assert!(report.results.iter().all(|row| row.items_per_s > 0.0));
        assert!(report.results[1].peers["aws-lc-rs"] > 0.0 && report.results[4].peers.is_empty());
    }
}
