//! Blocks that wait for an ancestor or for their payload, released in causal order (CONSENSUS.md §2.3).
//!
//! Bounded by construction: per author at most two blocks in each of the next `gc_depth` rounds, plus those that
//! another waiting block asks for, up to a total. What goes beyond is dropped, lowest round first, and fetched again
//! when needed; first of all what nobody but its author needs. Otherwise a flood of blocks could, for as long as it lasts,
//! push out the one twin that honest blocks stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Round};

/// Payload notices kept for an author whose headers have not come.
const EARLY_PER_AUTHOR_MAX: usize = 256;

#[derive(Clone, Debug)]
struct Waiting {
    header: Arc<BlockHeader>,
    /// Ancestors that are not settled.
    missing: usize,
    has_payload: bool,
}

/// The table of waiting blocks.
#[derive(Clone, Debug)]
pub(crate) struct Suspended {
    blocks: BTreeMap<(Round, AuthorityIndex), Vec<Waiting>>,
    /// Who waits for a block, by that block.
    children: BTreeMap<BlockRef, Vec<BlockRef>>,
    /// Payloads that came before their header, by author.
    early: Vec<BTreeSet<BlockRef>>,
    per_author: Vec<usize>,
    per_author_max: usize,
    count: usize,
}

impl Suspended {
    pub fn new(authors: usize, gc_depth: u64) -> Self {
        let per_author_max = usize::try_from(gc_depth.saturating_mul(2)).unwrap_or(usize::MAX);
        Self {
            blocks: BTreeMap::new(),
            children: BTreeMap::new(),
            early: vec![BTreeSet::new(); authors],
            per_author: vec![0; authors],
            per_author_max,
            count: 0,
        }
    }

    /// Holds a block back until its `missing` ancestors and, unless `has_payload`, its payload are here. Returns the
    /// block that had to go for it, if any.
    pub fn insert(
        &mut self,
        header: Arc<BlockHeader>,
        missing: &[BlockRef],
        has_payload: bool,
    ) -> Option<Arc<BlockHeader>> {
        let block = header.block_ref();
        for ancestor in missing {
            self.children.entry(*ancestor).or_default().push(block);
        }
        let waiting = Waiting { header, missing: missing.len(), has_payload };
        self.blocks.entry((block.round, block.author)).or_default().push(waiting);
        self.per_author[block.author.index()] += 1;
        self.count += 1;
        if self.per_author[block.author.index()] <= self.per_author_max {
            return None;
        }
        let victim = self.dispensable(block.author)?;
        self.remove(&victim)
    }

    /// The waiting block of an author that goes first: of those that no block of another author stands on, directly or
    /// through the author's own, the one of the lowest round; or where there are none, of all.
    fn dispensable(&self, author: AuthorityIndex) -> Option<BlockRef> {
        let ((lowest, _), _) = self.blocks.first_key_value()?;
        let ((highest, _), _) = self.blocks.last_key_value()?;
        let (mut needed, mut victim, mut last) = (BTreeSet::new(), None, None);
        // Downward, so that it is known of a block whether it is needed before it is asked of those below.
        for round in (lowest.0..=highest.0).rev().map(Round) {
            for block in self.twins(round, author).map(|header| header.block_ref()) {
                let children = self.children.get(&block).into_iter().flatten();
                let mut needing = children.filter(|child| child.author != author || needed.contains(*child));
                if needing.next().is_some() {
                    needed.insert(block);
                } else {
                    victim = Some(block);
                }
                last = Some(block);
            }
        }
        victim.or(last)
    }

    /// Takes a block out, wherever it stands.
    pub fn remove(&mut self, block: &BlockRef) -> Option<Arc<BlockHeader>> {
        let waiting = self.take(block)?;
        for ancestor in waiting.header.ancestors() {
            if let Some(children) = self.children.get_mut(ancestor) {
                children.retain(|child| child != block);
                if children.is_empty() {
                    self.children.remove(ancestor);
                }
            }
        }
        Some(waiting.header)
    }

    /// A block was settled: takes out those that waited for nothing else.
    pub fn release(&mut self, settled: &BlockRef, ready: &mut Vec<Arc<BlockHeader>>) {
        for child in self.children.remove(settled).unwrap_or_default() {
            let Some(waiting) = self.waiting_mut(&child) else { continue };
            waiting.missing -= 1;
            if waiting.missing == 0 && waiting.has_payload {
                ready.extend(self.take(&child).map(|waiting| waiting.header));
            }
        }
    }

    /// A payload is here: takes its block out if it waited for nothing else. Remembered if the header is still to come
    /// and `expected` says that it may.
    pub fn payload_ready(&mut self, block: &BlockRef, expected: bool) -> Option<Arc<BlockHeader>> {
        if let Some(waiting) = self.waiting_mut(block) {
            waiting.has_payload = true;
            return if waiting.missing == 0 { self.take(block).map(|waiting| waiting.header) } else { None };
        }
        if let Some(early) = self.early.get_mut(block.author.index())
            && expected
            && early.len() < EARLY_PER_AUTHOR_MAX
        {
            early.insert(*block);
        }
        None
    }

    /// Whether the payload of a block came before its header; forgets it.
    pub fn take_early(&mut self, block: &BlockRef) -> bool {
        self.early[block.author.index()].remove(block)
    }

    /// Drops blocks up to `gc_round`, and takes out those that waited only for such.
    pub fn collect_garbage(
        &mut self,
        gc_round: Round,
        ready: &mut Vec<Arc<BlockHeader>>,
        mut dropped: impl FnMut(Arc<BlockHeader>),
    ) {
        while let Some(((round, _), twins)) = self.blocks.first_key_value() {
            if *round > gc_round {
                break;
            }
            let old: Vec<BlockRef> = twins.iter().map(|waiting| waiting.header.block_ref()).collect();
            old.iter().filter_map(|block| self.remove(block)).for_each(&mut dropped);
        }
        while let Some((block, _)) = self.children.first_key_value() {
            if block.round > gc_round {
                break;
            }
            let settled = *block;
            self.release(&settled, ready);
        }
        for early in &mut self.early {
            while early.first().is_some_and(|block| block.round <= gc_round) {
                early.pop_first();
            }
        }
    }

    /// The header of a waiting block.
    pub fn header(&self, block: &BlockRef) -> Option<&Arc<BlockHeader>> {
        self.twins(block.round, block.author).find(|header| header.digest() == block.digest)
    }

    /// The waiting blocks of an author and round.
    pub fn twins(&self, round: Round, author: AuthorityIndex) -> impl Iterator<Item = &Arc<BlockHeader>> {
        self.blocks.get(&(round, author)).into_iter().flatten().map(|waiting| &waiting.header)
    }

    /// The waiting block of an author's highest round.
    pub fn highest_of(&self, author: AuthorityIndex) -> Option<&Arc<BlockHeader>> {
        let mut rounds = self.blocks.iter().rev();
        let (_, twins) = rounds.find(|((_, of), _)| *of == author)?;
        twins.first().map(|waiting| &waiting.header)
    }

    /// Whether a waiting block asks for this one.
    pub fn is_wanted(&self, block: &BlockRef) -> bool {
        self.children.contains_key(block)
    }

    /// Everything that is asked for and not here, lowest round first, with a block that asks.
    pub fn missing(&self) -> impl Iterator<Item = (&BlockRef, &BlockRef)> {
        self.children
            .iter()
            .filter(|(block, _)| self.header(block).is_none())
            .filter_map(|(block, children)| children.first().map(|child| (block, child)))
    }

    /// Authors of the blocks that ask for this one.
    pub fn askers(&self, block: &BlockRef) -> impl Iterator<Item = AuthorityIndex> {
        self.children.get(block).into_iter().flatten().map(|child| child.author)
    }

    /// Number of waiting blocks.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Number of payload notices without a header.
    pub fn early_len(&self) -> usize {
        self.early.iter().map(BTreeSet::len).sum()
    }

    fn waiting_mut(&mut self, block: &BlockRef) -> Option<&mut Waiting> {
        let twins = self.blocks.get_mut(&(block.round, block.author))?;
        twins.iter_mut().find(|waiting| waiting.header.digest() == block.digest)
    }

    fn take(&mut self, block: &BlockRef) -> Option<Waiting> {
        let key = (block.round, block.author);
        let twins = self.blocks.get_mut(&key)?;
        let position = twins.iter().position(|waiting| waiting.header.digest() == block.digest)?;
        let waiting = twins.remove(position);
        if twins.is_empty() {
            self.blocks.remove(&key);
        }
        self.per_author[block.author.index()] -= 1;
        self.count -= 1;
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Keys;

    #[test]
    fn what_became_garbage_is_waited_for_no_more() {
        let (keys, mut table) = (Keys::generate(4), Suspended::new(4, 8));
        let block = |author: u16, round: u64, ancestors: Vec<BlockRef>| {
            keys.block(&keys.config(AuthorityIndex(author)), Round(round), ancestors, Vec::new(), 1, 1)
        };
        let (garbage, kept) = (block(1, 2, Vec::new()).block_ref(), block(1, 4, Vec::new()).block_ref());
        let old = block(2, 2, vec![garbage]);
        let on_garbage = block(2, 5, vec![garbage]);
        let on_both = block(3, 5, vec![garbage, kept]);
        let no_payload = block(0, 5, vec![garbage]);
        table.insert(old.clone(), &[block(1, 1, Vec::new()).block_ref()], true);
        table.insert(on_garbage.clone(), &[garbage], true);
        table.insert(on_both.clone(), &[garbage, kept], true);
        table.insert(no_payload.clone(), &[garbage], false);
        let (mut ready, mut dropped) = (Vec::new(), Vec::new());
        table.collect_garbage(Round(2), &mut ready, |header| dropped.push(header));
        assert_eq!((ready.as_slice(), dropped.as_slice()), (&[on_garbage][..], &[old][..]));
        assert_eq!(table.missing().map(|(missing, _)| *missing).collect::<Vec<_>>(), [kept]);
        assert_eq!(table.payload_ready(&no_payload.block_ref(), true), Some(no_payload));
        table.release(&kept, &mut ready);
        assert_eq!((ready.last(), table.len()), (Some(&on_both), 0));
    }

    /// Author 1 floods a table of four of his blocks; a block of author 0 stands on 1@5, and so on 1@4.
    #[test]
    fn a_flood_pushes_out_itself_and_not_what_others_stand_on() {
        let (keys, mut table) = (Keys::generate(4), Suspended::new(4, 2));
        let block = |author: u16, round: u64, ancestors: Vec<BlockRef>, nonce: u64| {
            keys.block(&keys.config(AuthorityIndex(author)), Round(round), ancestors, Vec::new(), 1, nonce)
        };
        let below = block(1, 3, Vec::new(), 1).block_ref();
        let lower = block(1, 4, vec![below], 1);
        let upper = block(1, 5, vec![lower.block_ref()], 1);
        let standing = block(0, 6, vec![upper.block_ref()], 1);
        assert!(table.insert(standing, &[upper.block_ref()], true).is_none());
        assert!(table.insert(upper.clone(), &[lower.block_ref()], true).is_none());
        assert!(table.insert(lower.clone(), &[below], true).is_none());
        // A flood above and below, each of its blocks on the one before.
        let mut before = below;
        let mut pushed_out = 0;
        for (index, round) in [2, 3, 4, 5, 6, 7, 8, 9].into_iter().enumerate() {
            let junk = block(1, round, vec![before], 100 + index as u64);
            before = junk.block_ref();
            let gone = table.insert(junk, &[below], false);
            assert!(gone.as_ref().is_none_or(|gone| ![lower.digest(), upper.digest()].contains(&gone.digest())));
            pushed_out += usize::from(gone.is_some());
        }
        assert_eq!((pushed_out, table.len()), (6, 5));
        let mut ready = Vec::new();
        table.release(&below, &mut ready);
        assert!(ready.iter().any(|header| header.digest() == lower.digest()), "it waits for nothing else");
    }
}
