//! The accepted blocks above the garbage collection round, by round and author, and what is known of each.
//!
//! Invariants: every ancestor of a block is here, or at or below [`Dag::gc_round`], or the block was adopted with a
//! certified commit. Blocks of one author and round stand in the order in which they were accepted. A block's ancestors
//! are looked up once, when it enters; from then on the DAG is walked by sets of authors, a row at a time. Deliberately
//! absent: blocks that wait for something, and every decision.

use crate::authorities::AuthoritySet;
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

/// A block and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub header: Arc<BlockHeader>,
    /// Authors whose first block of the round below is an ancestor.
    pub parents: AuthoritySet,
    /// The other ancestors that are in the DAG: second blocks of the round below, and older ones.
    pub others: Box<[Place]>,
    /// Part of a commit, with its whole history.
    pub committed: bool,
    /// Who is known to have it, unless it is the author's first of the round: then the row says.
    known: AuthoritySet,
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
    /// Whether an author has two.
    pub has_twins: bool,
    /// Authors whose first block is part of a commit.
    committed: AuthoritySet,
    /// For each validator, the authors whose first block he is known to have.
    known: Vec<AuthoritySet>,
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
    /// Room for walks, kept between them.
    stack: Vec<Place>,
}

impl Dag {
    pub fn new(committee: Arc<Committee>, gc_round: Round) -> Self {
        let highest = vec![Round(0); committee.size()];
        Self { committee, gc_round, rows: VecDeque::new(), highest, blocks: 0, loaded: 0, stack: Vec::new() }
    }

    /// Adds an accepted block that is above the garbage collection round and not yet here.
    pub fn insert(&mut self, header: Arc<BlockHeader>) -> Place {
        let (round, author) = (header.round(), header.author());
        let index = self.row_index(round).expect("only blocks above the garbage collection round are inserted");
        let (mut parents, mut others) = (AuthoritySet::default(), Vec::new());
        for place in header.ancestors().iter().filter_map(|ancestor| self.find(ancestor)) {
            if place.round.next() == round && place.twin == 0 {
                parents.insert(place.author);
            } else {
                others.push(place);
            }
        }
        let size = self.committee.size();
        while self.rows.len() <= index {
            let cells = (0..size).map(|_| Cell::default()).collect();
            let (committed, known) = (AuthoritySet::default(), vec![AuthoritySet::default(); size]);
            self.rows.push_back(Row { cells, stake: Stake(0), has_twins: false, committed, known });
        }
        let row = &mut self.rows[index];
        let cell = &mut row.cells[author.index()];
        if cell.entries.is_empty() {
            row.stake.0 += self.committee.stake(author).0;
        } else {
            row.has_twins = true;
        }
        self.loaded += usize::from(!header.body().payload.is_empty());
        let (others, known) = (others.into_boxed_slice(), AuthoritySet::default());
        cell.entries.push(Entry { header, parents, others, committed: false, known });
        let highest = &mut self.highest[author.index()];
        *highest = (*highest).max(round);
        self.blocks += 1;
        Place { round, author, twin: cell.entries.len() - 1 }
    }

    /// Marks a block as part of a commit, and its cell as output if `output`; whether it is new in a commit.
    pub fn commit(&mut self, place: Place, output: bool) -> bool {
        let Some(row) = self.row_mut(place.round) else { return false };
        let cell = &mut row.cells[place.author.index()];
        cell.output |= output;
        let entry = &mut cell.entries[place.twin];
        let fresh = !std::mem::replace(&mut entry.committed, true);
        let loaded = fresh && !entry.header.body().payload.is_empty();
        if place.twin == 0 {
            row.committed.insert(place.author);
        }
        self.loaded -= usize::from(loaded);
        fresh
    }

    /// Whether a validator is known to have a block.
    pub fn knows(&self, peer: AuthorityIndex, place: Place) -> bool {
        let Some(row) = self.row(place.round) else { return true };
        match place.twin {
            0 => row.known[peer.index()].contains(place.author),
            twin => row.cells[place.author.index()].entries[twin].known.contains(peer),
        }
    }

    /// Notes that a validator has a block; whether that is news.
    pub fn note_known(&mut self, peer: AuthorityIndex, place: Place) -> bool {
        let Some(row) = self.row_mut(place.round) else { return false };
        match place.twin {
            0 => row.known[peer.index()].insert(place.author),
            twin => row.cells[place.author.index()].entries[twin].known.insert(peer),
        }
    }

    /// Notes that a validator has a block and all its history; calls `learnt` for each block that is news.
    pub fn note_history_known(&mut self, peer: AuthorityIndex, place: Place, mut learnt: impl FnMut(Place)) {
        if self.note_known(peer, place) {
            learnt(place);
        }
        let mut stack = std::mem::take(&mut self.stack);
        stack.push(place);
        while let Some(place) = stack.pop() {
            let (parents, round) = (self.entry(place).parents, place.round.saturating_sub(1));
            if let Some(below) = self.row_mut(round) {
                let known = &mut below.known[peer.index()];
                let fresh = parents.without(known);
                known.add(&fresh);
                for place in fresh.iter().map(|author| Place { round, author, twin: 0 }) {
                    learnt(place);
                    stack.push(place);
                }
            }
            for other in 0..self.entry(place).others.len() {
                let other = self.entry(place).others[other];
                if self.note_known(peer, other) {
                    learnt(other);
                    stack.push(other);
                }
            }
        }
        self.stack = stack;
    }

    /// Marks a block and its history as part of a commit; calls `taken` for each block that is new in one.
    pub fn commit_history(&mut self, place: Place, mut taken: impl FnMut(Place, &BlockHeader)) {
        let mut stack = std::mem::take(&mut self.stack);
        stack.extend(self.commit(place, false).then_some(place));
        while let Some(place) = stack.pop() {
            let (entry, round) = (self.entry(place), place.round.saturating_sub(1));
            taken(place, &entry.header);
            let fresh = self.row(round).map(|below| entry.parents.without(&below.committed));
            for author in fresh.iter().flat_map(AuthoritySet::iter) {
                let parent = Place { round, author, twin: 0 };
                self.commit(parent, false);
                stack.push(parent);
            }
            for other in 0..self.entry(place).others.len() {
                let other = self.entry(place).others[other];
                stack.extend(self.commit(other, false).then_some(other));
            }
        }
        self.stack = stack;
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

    /// Authors whose first block of a round one validator is known to have, and another is not.
    pub fn known_apart(&self, round: Round, one: AuthorityIndex, other: AuthorityIndex) -> AuthoritySet {
        let apart = |row: &Row| row.known[one.index()].without(&row.known[other.index()]);
        self.row(round).map(apart).unwrap_or_default()
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

    fn row_mut(&mut self, round: Round) -> Option<&mut Row> {
        let index = self.row_index(round)?;
        self.rows.get_mut(index)
    }

    fn row_index(&self, round: Round) -> Option<usize> {
        round.0.checked_sub(self.gc_round.0 + 1).map(|index| index as usize)
    }
}

impl Entry {
    /// Which of an author's blocks of the round below is an ancestor.
    pub fn parent(&self, author: AuthorityIndex) -> Option<usize> {
        if self.parents.contains(author) {
            return Some(0);
        }
        let below = self.header.round().saturating_sub(1);
        self.others.iter().find(|other| other.author == author && other.round == below).map(|other| other.twin)
    }

    /// The ancestors of the round below that are not their author's first.
    pub fn second_parents(&self) -> impl Iterator<Item = Place> {
        let below = self.header.round().saturating_sub(1);
        self.others.iter().copied().filter(move |other| other.round == below)
    }
}
