//! What must hold after every step of a simulation.

use crate::checkpoint::Checkpoint;
use crate::effect::Status;
use crate::engine::Core;
use crate::sim::violation::Violation;
use std::collections::{BTreeMap, VecDeque};
use types::{AuthorityIndex, BlockRef, CommitRecord, Digest, Encode, Height, Round, TimestampMs};

/// Commits whose checkpoints are kept to compare with.
const CHECKPOINTS_KEPT: usize = 4_096;

/// What all honest nodes agreed on so far.
#[derive(Debug)]
pub(crate) struct Agreement {
    /// Digests of the records, from height 1 on.
    commits: Vec<Digest>,
    leaders: Vec<BlockRef>,
    /// The last checkpoints.
    checkpoints: VecDeque<Checkpoint>,
    time: TimestampMs,
    /// By era: what was output, and what its author sent.
    output: Vec<Table>,
    own: Vec<Table>,
    checkpoint_bytes_max: usize,
}

/// By author, then by round.
type Table = Vec<Vec<Option<Digest>>>;

impl Agreement {
    pub fn new() -> Self {
        Self {
            commits: Vec::new(),
            leaders: Vec::new(),
            checkpoints: VecDeque::new(),
            time: TimestampMs(0),
            output: Vec::new(),
            own: Vec::new(),
            checkpoint_bytes_max: 0,
        }
    }

    /// An honest node committed.
    pub fn committed(
        &mut self,
        node: AuthorityIndex,
        era: usize,
        record: &CommitRecord,
        checkpoint: &Checkpoint,
    ) -> Result<(), Violation> {
        let (height, index) = (record.height, record.height.0 as usize - 1);
        if let Some(digest) = self.commits.get(index) {
            if *digest != record.digest() {
                return Err(Violation::Disagreement { node, height });
            }
            let same = self.checkpoint(index).is_none_or(|kept| kept == checkpoint);
            return if same { Ok(()) } else { Err(Violation::Checkpoint { node, height }) };
        }
        self.commits.push(record.digest());
        self.leaders.push(record.leader);
        if height.0.is_multiple_of(16) {
            self.checkpoint_bytes_max = self.checkpoint_bytes_max.max(checkpoint.to_bytes().len());
        }
        self.checkpoints.push_back(checkpoint.clone());
        if self.checkpoints.len() > CHECKPOINTS_KEPT {
            self.checkpoints.pop_front();
        }
        if record.timestamp < self.time {
            return Err(Violation::TimeBackwards { height });
        }
        self.time = record.timestamp;
        for block in &record.blocks {
            if place(&mut self.output, era, block).replace(block.digest).is_some() {
                return Err(Violation::OutputTwice(*block));
            }
        }
        Ok(())
    }

    /// An honest node sent an own block.
    pub fn sent(&mut self, era: usize, block: &BlockRef) -> Result<(), Violation> {
        let sent = place(&mut self.own, era, block);
        if *sent.get_or_insert(block.digest) == block.digest {
            return Ok(());
        }
        Err(Violation::Equivocated { author: block.author, round: block.round })
    }

    /// The highest commit of any honest node.
    pub fn height(&self) -> Height {
        Height(self.commits.len() as u64)
    }

    /// The leaders of all commits, in order.
    pub fn leaders(&self) -> &[BlockRef] {
        &self.leaders
    }

    /// The state behind a commit, counted from 0, if it is kept.
    pub fn checkpoint(&self, index: usize) -> Option<&Checkpoint> {
        let oldest = self.commits.len() - self.checkpoints.len();
        self.checkpoints.get(index.checked_sub(oldest)?)
    }

    /// The most bytes that a checkpoint took, of every sixteenth.
    pub fn checkpoint_bytes_max(&self) -> usize {
        self.checkpoint_bytes_max
    }

    /// Whether a commit output this block.
    pub fn is_output(&self, era: usize, block: &BlockRef) -> bool {
        let row = self.output.get(era).and_then(|table| table.get(block.author.index()));
        row.and_then(|row| row.get(block.round.0 as usize)) == Some(&Some(block.digest))
    }
}

fn place<'a>(tables: &'a mut Vec<Table>, era: usize, block: &BlockRef) -> &'a mut Option<Digest> {
    if tables.len() <= era {
        tables.resize_with(era + 1, Vec::new);
    }
    let (table, author) = (&mut tables[era], block.author.index());
    if table.len() <= author {
        table.resize_with(author + 1, Vec::new);
    }
    let row = &mut table[author];
    let round = usize::try_from(block.round.0).expect("a simulation is short");
    if row.len() <= round {
        row.resize(round + 1, None);
    }
    &mut row[round]
}

/// What a core has decided above its last commit, under one leader table: the leader, or a skip.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decisions {
    /// How often the table had changed.
    table: u64,
    slots: BTreeMap<Round, Option<BlockRef>>,
}

impl Decisions {
    /// Compares with what the core has decided now.
    pub fn compare(&mut self, node: AuthorityIndex, core: &Core) -> Result<(), Violation> {
        let table = core.marks().schedule_changes;
        if table != self.table {
            *self = Self { table, slots: BTreeMap::new() };
        }
        for (round, decision) in core.committer.decided() {
            if *self.slots.entry(round).or_insert(decision) != decision {
                return Err(Violation::DecidedOtherwise { node, round });
            }
        }
        let last = core.committer.last_decided();
        self.slots.retain(|round, _| *round > last);
        Ok(())
    }

    /// A commit was handed out: it is what was decided, and so are the skips below it. A step of the core that changed
    /// the table may have committed on both sides of the change, so of such a step nothing is known.
    pub fn committed(&mut self, node: AuthorityIndex, leader: &BlockRef, table: u64) -> Result<(), Violation> {
        if table != self.table {
            return Ok(());
        }
        let above = self.slots.split_off(&leader.round.next());
        let below = std::mem::replace(&mut self.slots, above);
        let otherwise = below.into_iter().find(|(round, decision)| {
            let expected = (*round == leader.round).then_some(*leader);
            *decision != expected
        });
        otherwise.map_or(Ok(()), |(round, _)| Err(Violation::DecidedOtherwise { node, round }))
    }
}

/// Whether a core's tables are within their bounds.
pub(crate) fn bounded(node: AuthorityIndex, status: &Status, size: usize, gc_depth: u64) -> Result<(), Violation> {
    let depth = gc_depth as usize;
    let rounds = (status.highest_round.0 - status.gc_round.0.min(status.highest_round.0)) as usize;
    let per_table = [
        ("suspended", status.suspended, size * (2 * depth + 1)),
        ("early payloads", status.early_payloads, size * 256),
        ("missing headers", status.missing_headers, 8_192),
        ("missing payloads", status.missing_payloads, 8_192),
        ("blocks of the DAG", status.dag_blocks, 2 * size * (rounds + 1)),
    ];
    let over = per_table.into_iter().find(|(_, count, most)| count > most);
    over.map_or(Ok(()), |(what, count, _)| Err(Violation::Unbounded { node, what, count }))
}

/// What a core that lost nothing came back without, or with too much of.
pub(crate) fn difference(before: &Status, after: &Status) -> Option<&'static str> {
    let fields = [
        ("height", before.last_commit_height == after.last_commit_height),
        ("leader", before.last_leader_round == after.last_leader_round),
        ("last decided round", before.last_decided_round == after.last_decided_round),
        ("garbage collection round", before.gc_round == after.gc_round),
        ("highest round", before.highest_round == after.highest_round),
        ("last own round", before.last_own_round == after.last_own_round),
        ("leader table", before.excluded == after.excluded),
        ("number of blocks", before.dag_blocks == after.dag_blocks),
    ];
    fields.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleState;

    const NODE: AuthorityIndex = AuthorityIndex(2);

    fn block(round: u64, salt: u8) -> BlockRef {
        BlockRef { round: Round(round), author: AuthorityIndex(0), digest: Digest::sha256(&[salt]) }
    }

    fn commit(height: u64, blocks: &[BlockRef], time: u64) -> (CommitRecord, Checkpoint) {
        let leader = *blocks.last().expect("a commit has a block");
        let timestamp = TimestampMs(time);
        let record =
            CommitRecord { height: Height(height), previous: Digest::ZERO, leader, blocks: blocks.to_vec(), timestamp };
        let commit = record.digest();
        let checkpoint = Checkpoint {
            height: record.height,
            commit,
            leader,
            timestamp,
            schedule: ScheduleState::default(),
            marked: Default::default(),
        };
        (record, checkpoint)
    }

    #[test]
    fn another_record_another_state_an_old_time_and_a_second_output_are_noticed() {
        let mut agreement = Agreement::new();
        let (first, behind) = commit(1, &[block(1, 1)], 50);
        assert_eq!(agreement.committed(NODE, 0, &first, &behind), Ok(()));
        assert_eq!(agreement.committed(NODE, 0, &first, &behind), Ok(()));
        let height = Height(1);
        let (other, behind_other) = commit(1, &[block(1, 2)], 50);
        assert_eq!(
            agreement.committed(NODE, 0, &other, &behind_other),
            Err(Violation::Disagreement { node: NODE, height })
        );
        let odd = Checkpoint { timestamp: TimestampMs(51), ..behind };
        assert_eq!(agreement.committed(NODE, 0, &first, &odd), Err(Violation::Checkpoint { node: NODE, height }));
        let (back, behind) = commit(2, &[block(2, 1)], 49);
        let height = Height(2);
        assert_eq!(agreement.committed(NODE, 0, &back, &behind), Err(Violation::TimeBackwards { height }));
        let (twice, behind) = commit(3, &[block(1, 1)], 50);
        assert_eq!(agreement.committed(NODE, 0, &twice, &behind), Err(Violation::OutputTwice(block(1, 1))));
        let equivocated = Violation::Equivocated { author: AuthorityIndex(0), round: Round(7) };
        assert_eq!((agreement.sent(0, &block(7, 1)), agreement.sent(0, &block(7, 2))), (Ok(()), Err(equivocated)));
    }

    #[test]
    fn a_commit_that_is_not_what_was_decided_is_noticed() {
        let decided = |slots: &[(u64, Option<BlockRef>)]| Decisions {
            table: 0,
            slots: slots.iter().map(|(round, decision)| (Round(*round), *decision)).collect(),
        };
        let leader = block(5, 1);
        let otherwise = |round| Err(Violation::DecidedOtherwise { node: NODE, round: Round(round) });
        assert_eq!(decided(&[(4, None), (5, Some(leader)), (6, None)]).committed(NODE, &leader, 0), Ok(()));
        assert_eq!(decided(&[(4, Some(block(4, 1)))]).committed(NODE, &leader, 0), otherwise(4));
        assert_eq!(decided(&[(5, Some(block(5, 2)))]).committed(NODE, &leader, 0), otherwise(5));
        assert_eq!(decided(&[(5, None)]).committed(NODE, &leader, 0), otherwise(5));
        assert_eq!(decided(&[(5, None)]).committed(NODE, &leader, 1), Ok(()), "the table has changed");
    }

    #[test]
    fn tables_beyond_their_bounds_and_a_node_that_came_back_as_another_are_named() {
        let status = Core::new(crate::sim::Keys::generate(4).config(NODE), 0).status();
        assert_eq!(bounded(NODE, &status, 4, 20), Ok(()));
        let full = Status { suspended: 165, ..status.clone() };
        let what = "suspended";
        assert_eq!(bounded(NODE, &full, 4, 20), Err(Violation::Unbounded { node: NODE, what, count: 165 }));
        assert_eq!(difference(&status, &status.clone()), None);
        assert_eq!(difference(&status, &Status { last_own_round: Round(9), ..status.clone() }), Some("last own round"));
    }
}
