//! The accepted blocks above the garbage collection round, by round and author, and what is known of each.
//!
//! Invariants: every ancestor of a block is here, or at or below [`Dag::gc_round`], or the block was adopted with a
//! certified commit. Blocks of one author and round stand in the order in which they were accepted. Deliberately absent:
//! blocks that wait for something, and every decision.

use std::collections::VecDeque;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Committee, Round, Stake};

/// Where a block stands in the DAG; stays true until garbage collection takes the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub round: Round,
    pub author: AuthorityIndex,
    /// Position among the author's blocks of the round.
    pub twin: usize,
}

/// A set of validators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthoritySet([u64; types::committee::COMMITTEE_MAX.div_ceil(64)]);

impl AuthoritySet {
    /// Adds a member; whether it is new.
    pub fn insert(&mut self, member: AuthorityIndex) -> bool {
        let (word, bit) = (member.index() / 64, 1u64 << (member.index() % 64));
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    pub fn contains(&self, member: AuthorityIndex) -> bool {
        self.0[member.index() / 64] & (1u64 << (member.index() % 64)) != 0
    }
}

/// A block and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub header: Arc<BlockHeader>,
    /// Author and twin of each ancestor in the round below that is in the DAG.
    pub parents: Box<[(AuthorityIndex, usize)]>,
    /// Part of a commit, with its whole history.
    pub committed: bool,
    /// In the history of the last own block.
    pub mine: bool,
    /// Who is known to have it.
    pub known: AuthoritySet,
}

/// One author's place in a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// The author's blocks, first accepted first; more than one is an equivocation.
    pub entries: Vec<Entry>,
    /// Whether a commit has output one of them; no commit outputs another.
    pub output: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub cells: Vec<Cell>,
    /// Stake of the authors with a block.
    pub stake: Stake,
}

/// The DAG.
#[derive(Clone, Debug)]
pub(crate) struct Dag {
    committee: Arc<Committee>,
    gc_round: Round,
    /// The first is of round `gc_round` + 1.
    rows: VecDeque<Row>,
    /// Highest accepted round of each author.
    highest: Vec<Round>,
    blocks: usize,
    /// Blocks with a payload that no commit has taken.
    loaded: usize,
}

impl Dag {
    pub fn new(committee: Arc<Committee>, gc_round: Round) -> Self {
        let highest = vec![Round(0); committee.size()];
        Self { committee, gc_round, rows: VecDeque::new(), highest, blocks: 0, loaded: 0 }
    }

    /// Adds an accepted block that is above the garbage collection round and not yet here.
    pub fn insert(&mut self, header: Arc<BlockHeader>) -> Place {
        let (round, author) = (header.round(), header.author());
        let index = self.row_index(round).expect("only blocks above the garbage collection round are inserted");
        let below = |ancestor: &BlockRef| -> Option<(AuthorityIndex, usize)> {
            if ancestor.round.next() != round {
                return None;
            }
            self.find(ancestor).map(|place| (place.author, place.twin))
        };
        let parents = header.ancestors().iter().filter_map(below).collect();
        while self.rows.len() <= index {
            let cells = (0..self.committee.size()).map(|_| Cell::default()).collect();
            self.rows.push_back(Row { cells, stake: Stake(0) });
        }
        let row = &mut self.rows[index];
        let cell = &mut row.cells[author.index()];
        if cell.entries.is_empty() {
            row.stake.0 += self.committee.stake(author).0;
        }
        let mut known = AuthoritySet::default();
        known.insert(author);
        self.loaded += usize::from(!header.body().payload.is_empty());
        cell.entries.push(Entry { header, parents, committed: false, mine: false, known });
        let highest = &mut self.highest[author.index()];
        *highest = (*highest).max(round);
        self.blocks += 1;
        Place { round, author, twin: cell.entries.len() - 1 }
    }

    /// Marks a block as part of a commit, and its cell as output if `output`.
    pub fn commit(&mut self, place: Place, output: bool) {
        let Some(index) = self.row_index(place.round) else { return };
        let Some(row) = self.rows.get_mut(index) else { return };
        let cell = &mut row.cells[place.author.index()];
        cell.output |= output;
        let entry = &mut cell.entries[place.twin];
        if !entry.committed {
            entry.committed = true;
            self.loaded -= usize::from(!entry.header.body().payload.is_empty());
        }
    }

    /// Notes that a peer has a block; with `history`, also everything below it.
    pub fn note_known(&mut self, place: Place, peer: AuthorityIndex, history: bool) {
        self.entry_mut(place).known.insert(peer);
        if history {
            self.walk_down(place, |entry| entry.known.insert(peer));
        }
    }

    /// Takes a block and its history into the own history; calls `included` for each block that is new there.
    pub fn include(&mut self, place: Place, mut included: impl FnMut(&BlockRef)) {
        let entry = self.entry_mut(place);
        entry.mine = true;
        included(&entry.header.block_ref());
        self.walk_down(place, |entry| {
            let fresh = !std::mem::replace(&mut entry.mine, true);
            if fresh {
                included(&entry.header.block_ref());
            }
            fresh
        });
    }

    /// Forgets rounds up to `gc_round`; calls `dropped` for each block in them that no commit took.
    pub fn collect_garbage(&mut self, gc_round: Round, mut dropped: impl FnMut(&Arc<BlockHeader>)) {
        while self.gc_round < gc_round {
            self.gc_round = self.gc_round.next();
            let Some(row) = self.rows.pop_front() else {
                self.gc_round = gc_round;
                return;
            };
            for entry in row.cells.iter().flat_map(|cell| &cell.entries) {
                self.blocks -= 1;
                if !entry.committed {
                    self.loaded -= usize::from(!entry.header.body().payload.is_empty());
                    dropped(&entry.header);
                }
            }
        }
    }

    /// Rounds up to this one are gone and can no longer be committed.
    pub fn gc_round(&self) -> Round {
        self.gc_round
    }

    /// Highest round with a row.
    pub fn highest_round(&self) -> Round {
        Round(self.gc_round.0 + self.rows.len() as u64)
    }

    /// Highest accepted round of each author, in order.
    pub fn frontier(&self) -> &[Round] {
        &self.highest
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.blocks
    }

    /// Whether a payload waits for a commit.
    pub fn has_load(&self) -> bool {
        self.loaded > 0
    }

    /// The row of a round, if a block is or was expected in it.
    pub fn row(&self, round: Round) -> Option<&Row> {
        self.rows.get(self.row_index(round)?)
    }

    /// Stake of the authors with a block in a round; all of it for round 0.
    pub fn stake_at(&self, round: Round) -> Stake {
        if round == Round(0) { self.committee.total_stake() } else { self.row(round).map_or(Stake(0), |row| row.stake) }
    }

    /// An author's blocks of a round.
    pub fn entries(&self, round: Round, author: AuthorityIndex) -> &[Entry] {
        self.row(round).and_then(|row| row.cells.get(author.index())).map_or(&[], |cell| &cell.entries)
    }

    /// Whether a commit has output a block of this author and round.
    pub fn is_output(&self, round: Round, author: AuthorityIndex) -> bool {
        self.row(round).is_some_and(|row| row.cells[author.index()].output)
    }

    /// Finds a block.
    pub fn find(&self, block: &BlockRef) -> Option<Place> {
        let entries = self.entries(block.round, block.author);
        let twin = entries.iter().position(|entry| entry.header.digest() == block.digest)?;
        Some(Place { round: block.round, author: block.author, twin })
    }

    /// Whether nothing waits for this block any more: it is here, or garbage.
    pub fn is_settled(&self, block: &BlockRef) -> bool {
        block.round <= self.gc_round || self.find(block).is_some()
    }

    /// The header of a block.
    pub fn header(&self, block: &BlockRef) -> Option<&Arc<BlockHeader>> {
        self.find(block).map(|place| &self.entry(place).header)
    }

    /// The block at a place.
    pub fn entry(&self, place: Place) -> &Entry {
        &self.entries(place.round, place.author)[place.twin]
    }

    /// The block at a place, to note something of it.
    pub fn entry_mut(&mut self, place: Place) -> &mut Entry {
        let index = self.row_index(place.round).expect("a place is above the garbage collection round");
        &mut self.rows[index].cells[place.author.index()].entries[place.twin]
    }

    /// Visits the blocks below one, never below a block for which `fresh` says no.
    fn walk_down(&mut self, from: Place, mut fresh: impl FnMut(&mut Entry) -> bool) {
        let mut stack = vec![self.entry(from).header.clone()];
        while let Some(header) = stack.pop() {
            for ancestor in header.ancestors() {
                let Some(place) = self.find(ancestor) else { continue };
                let entry = self.entry_mut(place);
                if fresh(entry) {
                    stack.push(entry.header.clone());
                }
            }
        }
    }

    fn row_index(&self, round: Round) -> Option<usize> {
        round.0.checked_sub(self.gc_round.0 + 1).map(|index| index as usize)
    }
}
