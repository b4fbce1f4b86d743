//! From a committed leader to a commit record (CONSENSUS.md §2.8, §0.10): a function of the committed prefix and the
//! leader's history alone.
//!
//! The garbage collection round is the DAG's, which moves with each commit to that commit's leader round less
//! `gc_depth`, so the next commit collects with a committed value. A second block of one author and round is walked
//! through but never output, whether the first was output by this commit or an earlier one; walking through it again
//! finds nothing new, so recovery need not remember it.

use crate::dag::{Dag, Place};
use crate::marks::Marks;
use std::sync::Arc;
use types::{Anchor, BlockHeader, BlockRef, CommitRecord, Committee, Digest, Hasher, Height, Round, TimestampMs};

/// The last commit, as the next one needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub height: Height,
    pub commit: Digest,
    pub leader: BlockRef,
    pub timestamp: TimestampMs,
}

/// Makes the next commit record and marks its blocks in the DAG. Headers come in the record's order.
pub(crate) fn linearize(
    dag: &mut Dag,
    committee: &Committee,
    tip: &Tip,
    leader: BlockRef,
    marks: &mut Marks,
) -> (CommitRecord, Vec<Arc<BlockHeader>>) {
    let timestamp = median_parent_time(dag, committee, &leader).map_or(tip.timestamp, |time| time.max(tip.timestamp));
    let mut collected = collect(dag, &leader);
    collected.sort_unstable();
    let (mut blocks, mut headers) = (Vec::with_capacity(collected.len()), Vec::with_capacity(collected.len()));
    for (round, _, place) in collected {
        if dag.is_output(round, place.author) {
            marks.twins_not_output += 1;
            continue;
        }
        dag.commit(place, true);
        let header = dag.entry(place).header.clone();
        blocks.push(header.block_ref());
        headers.push(header);
    }
    let record = CommitRecord { height: tip.height.next(), previous: tip.commit, leader, blocks, timestamp };
    (record, headers)
}

/// The leader's history that no commit took, with the keys of its order; marks it as taken.
fn collect(dag: &mut Dag, leader: &BlockRef) -> Vec<(Round, Digest, Place)> {
    let mut collected = Vec::new();
    let place = dag.find(leader).expect("a leader was accepted, and slots are decided before they are garbage");
    dag.commit_history(place, |place, header| {
        let order = Hasher::new("stele/order/1").with_encoded(&leader.digest);
        collected.push((place.round, order.with_encoded(&header.digest()).finish(), place));
    });
    collected
}

/// The stake-weighted median of the timestamps of the leader's parents in the round below: the lowest that at least
/// half of their stake does not exceed. `None` where they are genesis blocks.
fn median_parent_time(dag: &Dag, committee: &Committee, leader: &BlockRef) -> Option<TimestampMs> {
    let place = dag.find(leader)?;
    let mut times: Vec<(TimestampMs, u64)> = Vec::new();
    for ancestor in dag.entry(place).header.ancestors() {
        if ancestor.round.next() == leader.round
            && let Some(header) = dag.header(ancestor)
        {
            times.push((header.body().timestamp, committee.stake(ancestor.author).0));
        }
    }
    times.sort_unstable();
    let total: u64 = times.iter().map(|(_, stake)| stake).sum();
    let mut below = 0;
    times.into_iter().find_map(|(time, stake)| {
        below += stake;
        (below * 2 >= total).then_some(time)
    })
}

impl Tip {
    /// Before the first commit of an epoch.
    pub fn anchor(genesis: BlockRef, anchor: &Anchor) -> Self {
        let Anchor { height, commit, timestamp, .. } = *anchor;
        Self { height, commit, leader: genesis, timestamp }
    }

    /// Behind a commit.
    pub fn of(record: &CommitRecord) -> Self {
        Self { height: record.height, commit: record.digest(), leader: record.leader, timestamp: record.timestamp }
    }
}
