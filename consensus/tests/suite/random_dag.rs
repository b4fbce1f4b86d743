//! Random DAGs of valid blocks, with what makes commit rules go wrong: twins, missing leaders, partial parents, leaders
//! that half a round votes for, proofs of equivocation.

use crate::naive_schedule::Table;
use consensus::sim::{Keys, Rng};
use consensus::{Config, genesis_refs};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Committee, Evidence, Round};

type Header = Arc<BlockHeader>;

/// A committee and consensus parameters that bring the rare rules about; `stakes` of several weights or all alike.
pub fn random_keys(rng: &mut Rng, size: u64, equal: bool) -> Keys {
    let stakes: Vec<u64> = (0..size).map(|_| if equal { 1 } else { rng.between(1, 5) }).collect();
    let mut keys = Keys::with_stakes(&stakes);
    keys.parameters.gc_depth_rounds = [3, 6, 300][rng.between(0, 2) as usize];
    keys.parameters.schedule_interval_commits = [3, 5, 10_000][rng.between(0, 2) as usize];
    keys.parameters.schedule_window_commits = rng.between(2, 8);
    keys
}

/// Members that may be faulty: stake of at most f, drawn by lot.
fn faulty(committee: &Committee, rng: &mut Rng) -> Vec<bool> {
    let mut order: Vec<AuthorityIndex> = committee.indices().collect();
    rng.shuffle(&mut order);
    let (mut faulty, mut stake) = (vec![false; committee.size()], 0);
    for author in order {
        let with = stake + committee.stake(author).0;
        if with <= committee.faulty_max().0 {
            (faulty[author.index()], stake) = (true, with);
        }
    }
    faulty
}

/// A DAG in causal order. Only members with stake ≤ f make twins. How well a round's blocks know the one below changes
/// from round to round; for runs of rounds, half of the voters leave out the leader of the first table.
pub fn random_dag(keys: &Keys, rng: &mut Rng, rounds: u64) -> Vec<Header> {
    let committee = keys.committee().clone();
    let configs: Vec<Config> = committee.indices().map(|author| keys.config(author)).collect();
    let genesis = genesis_refs(&configs[0]);
    let (faulty, table) = (faulty(&committee, rng), Table::behind(&configs[0], &[]));
    let stake = |author: usize| committee.stake(AuthorityIndex(author as u16)).0;
    let mut by_author: Vec<Vec<BlockRef>> = genesis.iter().map(|block| vec![*block]).collect();
    let (mut below, mut dag): (Vec<Vec<BlockRef>>, Vec<Header>) = (by_author.clone(), Vec::new());
    let (mut proofs, mut starved_until, mut hermit): (Vec<Evidence>, u64, (usize, u64)) = (Vec::new(), 0, (0, 0));
    for round in 1..=rounds {
        let sparse = rng.between(0, 600);
        if rng.chance(60) {
            starved_until = round + rng.between(1, 14);
        }
        let starved = (round < starved_until).then(|| table.leader(Round(round - 1)).index());
        if hermit.1 < round && rng.chance(100) {
            hermit = (rng.between(0, committee.size() as u64 - 1) as usize, round + rng.between(2, 9));
        }
        let mut row: Vec<Vec<Header>> = vec![Vec::new(); committee.size()];
        let mut authors: Vec<usize> = (0..committee.size()).collect();
        rng.shuffle(&mut authors);
        let mut made = 0;
        for (turn, author) in authors.into_iter().enumerate() {
            // A quorum in every round, so that the DAG goes on.
            if made >= committee.quorum().0 && rng.chance(300) {
                continue;
            }
            made += stake(author);
            let twins = if faulty[author] && rng.chance(400) { 2 } else { 1 };
            for _ in 0..twins {
                let last = *by_author[author].last().unwrap();
                let own = if below[author].is_empty() { last } else { *pick(rng, &below[author]) };
                let mut ancestors = vec![own];
                let mut parents = if own.round.0 + 1 == round { stake(author) } else { 0 };
                let mut others: Vec<usize> = (0..committee.size()).filter(|other| *other != author).collect();
                rng.shuffle(&mut others);
                let shunned =
                    |other: usize| (turn % 2 == 0 && starved == Some(other)) || (round < hermit.1 && hermit.0 == other);
                others.sort_by_key(|other| shunned(*other));
                for other in others {
                    let wanted = parents < committee.quorum().0 || (!rng.chance(sparse) && !shunned(other));
                    if !below[other].is_empty() && wanted {
                        ancestors.push(*pick(rng, &below[other]));
                        parents += stake(other);
                    } else if !shunned(other) && rng.chance(200) && round > 1 {
                        let old = pick(rng, &by_author[other]);
                        if old.round.0 > 0 {
                            ancestors.push(*old);
                            parents += if old.round.0 + 1 == round { stake(other) } else { 0 };
                        }
                    }
                }
                let misbehaviour =
                    if proofs.is_empty() || !rng.chance(40) { vec![] } else { vec![pick(rng, &proofs).clone()] };
                let time = round * 10 + rng.between(0, 30);
                let header = keys.block(&configs[author], Round(round), ancestors, misbehaviour, time, 0);
                match row[author].first() {
                    Some(twin) if twin.digest() == header.digest() => continue,
                    Some(twin) => proofs.push(proof(twin, &header)),
                    None => {}
                }
                row[author].push(header.clone());
                dag.push(header);
            }
        }
        below = row.iter().map(|twins| twins.iter().map(|header| header.block_ref()).collect()).collect();
        below.iter().zip(&mut by_author).for_each(|(twins, all)| all.extend(twins));
    }
    dag
}

/// The proof that two blocks are one author's twins.
pub fn proof(one: &Header, other: &Header) -> Evidence {
    let mut twins = [one, other];
    twins.sort_by_key(|header| header.digest());
    let [first, second] = twins.map(|header| (*header.statement(), header.signature().clone()));
    Evidence::Equivocation { first, second }
}

pub fn pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.between(0, items.len() as u64 - 1) as usize]
}
