//! Time of the core alone: `core_round/n` accepts the n blocks of a round, own proposal and commit included. Divide by n
//! for the cost of an accepted block. Criterion's throughput is in blocks.

use consensus::sim::Keys;
use consensus::{Core, Effect, Input};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader};

/// Rounds fed in one measured batch: far more than `gc_depth`, so that collection is part of it.
const ROUNDS: u64 = 1_000;

/// Each round's headers of a full DAG in which everybody references everybody.
fn full_dag(keys: &Keys) -> Vec<Vec<Arc<BlockHeader>>> {
    let configs: Vec<_> = keys.committee().indices().map(|author| keys.config(author)).collect();
    let mut below = consensus::genesis_refs(&configs[0]);
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let row: Vec<_> = configs
            .iter()
            .map(|config| {
                let mut ancestors = below.clone();
                let own = ancestors.remove(config.me.index());
                ancestors.insert(0, own);
                keys.block(config, types::Round(round), ancestors, Vec::new(), round * 5, 0)
            })
            .collect();
        below = row.iter().map(|header| header.block_ref()).collect();
        rounds.push(row);
    }
    rounds
}

/// Feeds the DAG to validator 0, whose proposals are answered with its own blocks of it.
fn run(keys: &Keys, dag: &[Vec<Arc<BlockHeader>>]) -> u64 {
    let me = AuthorityIndex(0);
    let mut core = Core::new(keys.config(me), 0);
    let (mut effects, mut commits) = (Vec::new(), 0);
    for peer in keys.committee().indices().skip(1) {
        core.step(0, Input::PeerUp { peer }, &mut effects);
    }
    for (now, row) in (1u64..).map(|round| round * 5).zip(dag) {
        let own = row[0].clone();
        core.step(now, Input::Pending { local: true }, &mut effects);
        core.step(now, Input::Proposed { header: own }, &mut effects);
        for header in &row[1..] {
            core.step(now, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
        }
        core.step(now + 5, Input::Tick, &mut effects);
        commits += effects.iter().filter(|effect| matches!(effect, Effect::Commit { .. })).count() as u64;
        effects.clear();
    }
    assert!(commits + 5 > ROUNDS, "{commits} commits in {ROUNDS} rounds");
    commits
}

fn core_round(c: &mut Criterion) {
    let mut group = c.benchmark_group("core_round");
    group.sample_size(10);
    for size in [4u16, 10, 31] {
        let keys = Keys::generate(size);
        let dag = full_dag(&keys);
        group.throughput(Throughput::Elements(ROUNDS * u64::from(size)));
        group.bench_function(size.to_string(), |b| {
            b.iter_batched(|| (), |()| run(&keys, &dag), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, core_round);
criterion_main!(benches);
