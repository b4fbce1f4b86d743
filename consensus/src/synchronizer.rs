//! What is missing and whom to ask for it (CONSENSUS.md §2.9.3): at once the peer that referenced it, after a round trip
//! two more, and so on with growing pauses, until it comes or is garbage.
//!
//! Deterministic: where the rules want a random peer, it is drawn from the block's digest and the attempt. Bounded: at
//! most [`WANTS_MAX`] headers and as many payloads are tracked; what does not fit is found again from the suspended
//! table when there is room.

use crate::config::Pacing;
use crate::pacemaker::Pacemaker;
use std::collections::{BTreeMap, BTreeSet};
use types::{AuthorityIndex, BlockRef, Round};

/// Most headers, and most payloads, that are asked for at a time.
const WANTS_MAX: usize = 8_192;
/// Most references in one request.
pub const REQUEST_REFS_MAX: usize = 128;
/// Longest pause between two requests for one thing.
const RETRY_MS_MAX: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Want {
    /// Who is asked next, or was asked last.
    peer: AuthorityIndex,
    attempts: u32,
    due_ms: u64,
}

/// One kind of missing thing.
#[derive(Clone, Debug, Default)]
struct Wants {
    items: BTreeMap<BlockRef, Want>,
    /// The same by due time: a poll touches only what is due.
    queue: BTreeSet<(u64, BlockRef)>,
    /// Something did not fit.
    overflow: bool,
}

/// References to ask each peer for.
pub(crate) type Requests = BTreeMap<AuthorityIndex, Vec<BlockRef>>;

/// Everything that is being asked for.
#[derive(Clone, Debug)]
pub(crate) struct Synchronizer {
    me: AuthorityIndex,
    retry_ms_min: u64,
    up: Vec<bool>,
    headers: Wants,
    payloads: Wants,
}

impl Synchronizer {
    pub fn new(me: AuthorityIndex, authors: usize, pacing: &Pacing) -> Self {
        Self {
            me,
            retry_ms_min: u64::from(pacing.retry_ms_min).max(1),
            up: vec![false; authors],
            headers: Wants::default(),
            payloads: Wants::default(),
        }
    }

    /// A link went up or down.
    pub fn set_up(&mut self, peer: AuthorityIndex, up: bool) {
        if let Some(slot) = self.up.get_mut(peer.index()) {
            *slot = up;
        }
    }

    /// Whether a link is up.
    pub fn is_up(&self, peer: AuthorityIndex) -> bool {
        self.up.get(peer.index()).copied().unwrap_or(false)
    }

    /// A header is missing that `peer` must have.
    pub fn want_header(&mut self, block: BlockRef, peer: AuthorityIndex, now_ms: u64) {
        self.headers.add(block, peer, now_ms);
    }

    /// A payload is missing that `peer` must have; asked for from `due_ms` on.
    pub fn want_payload(&mut self, block: BlockRef, peer: AuthorityIndex, due_ms: u64) {
        self.payloads.add(block, peer, due_ms);
    }

    /// A header came.
    pub fn have_header(&mut self, block: &BlockRef) {
        self.headers.remove(block);
    }

    /// A payload came, or its block is not wanted any more.
    pub fn have_payload(&mut self, block: &BlockRef) {
        self.payloads.remove(block);
    }

    /// Rounds up to `gc_round` are not wanted any more.
    pub fn collect_garbage(&mut self, gc_round: Round) {
        for wants in [&mut self.headers, &mut self.payloads] {
            while let Some((&block, _)) = wants.items.first_key_value()
                && block.round <= gc_round
            {
                wants.remove(&block);
            }
        }
    }

    /// Whether wants were turned away and there is room again; asked once.
    pub fn take_overflow(&mut self) -> bool {
        let room = |wants: &Wants| wants.overflow && wants.items.len() < WANTS_MAX / 2;
        let (headers, payloads) = (room(&self.headers), room(&self.payloads));
        self.headers.overflow &= !headers;
        self.payloads.overflow &= !payloads;
        headers || payloads
    }

    /// What to ask for now: headers, payloads. `hint` names peers that should have a block.
    pub fn poll(
        &mut self,
        now_ms: u64,
        pacemaker: &Pacemaker,
        hint: impl Fn(&BlockRef) -> Vec<AuthorityIndex>,
    ) -> (Requests, Requests) {
        let Self { me, retry_ms_min, up, headers, payloads } = self;
        let chooser = Chooser { me: *me, up, retry_ms_min: *retry_ms_min, pacemaker };
        (headers.poll(now_ms, &chooser, &hint), payloads.poll(now_ms, &chooser, &hint))
    }

    /// When [`Self::poll`] has something to do.
    pub fn next_due(&self) -> Option<u64> {
        [&self.headers, &self.payloads]
            .into_iter()
            .filter_map(|wants| wants.queue.first())
            .map(|(due_ms, _)| *due_ms)
            .min()
    }

    /// Number of headers and of payloads asked for.
    pub fn len(&self) -> (usize, usize) {
        (self.headers.items.len(), self.payloads.items.len())
    }
}

impl Wants {
    fn add(&mut self, block: BlockRef, peer: AuthorityIndex, due_ms: u64) {
        if self.items.contains_key(&block) {
            return;
        }
        if self.items.len() >= WANTS_MAX {
            self.overflow = true;
            return;
        }
        self.items.insert(block, Want { peer, attempts: 0, due_ms });
        self.queue.insert((due_ms, block));
    }

    fn remove(&mut self, block: &BlockRef) {
        if let Some(want) = self.items.remove(block) {
            self.queue.remove(&(want.due_ms, *block));
        }
    }

    fn poll(
        &mut self,
        now_ms: u64,
        chooser: &Chooser<'_>,
        hint: &impl Fn(&BlockRef) -> Vec<AuthorityIndex>,
    ) -> Requests {
        let mut requests = Requests::new();
        let mut due: Vec<BlockRef> =
            self.queue.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).map(|(_, block)| *block).collect();
        // What the cap on a request cuts off are the highest rounds: they stand on the others.
        due.sort_unstable();
        for block in due {
            let want = self.items.get_mut(&block).expect("the queue holds what is wanted");
            self.queue.remove(&(want.due_ms, block));
            let mut slowest = chooser.retry_ms_min;
            for peer in chooser.choose(&block, want, hint) {
                let refs = requests.entry(peer).or_default();
                if refs.len() < REQUEST_REFS_MAX {
                    refs.push(block);
                    slowest = slowest.max(chooser.pacemaker.one_way_ms(peer) * 2);
                }
            }
            want.attempts += 1;
            want.due_ms = now_ms + (slowest << want.attempts.min(6).saturating_sub(1)).min(RETRY_MS_MAX.max(slowest));
            self.queue.insert((want.due_ms, block));
        }
        requests
    }
}

struct Chooser<'a> {
    me: AuthorityIndex,
    up: &'a [bool],
    retry_ms_min: u64,
    pacemaker: &'a Pacemaker,
}

impl Chooser<'_> {
    /// First the peer that told us; later one of those that should have it, and one drawn by lot.
    fn choose(
        &self,
        block: &BlockRef,
        want: &mut Want,
        hint: &impl Fn(&BlockRef) -> Vec<AuthorityIndex>,
    ) -> Vec<AuthorityIndex> {
        if want.attempts == 0 && self.usable(want.peer) {
            return vec![want.peer];
        }
        let turn = want.attempts as usize;
        let hints: Vec<AuthorityIndex> =
            hint(block).into_iter().chain([block.author]).filter(|peer| self.usable(*peer)).collect();
        let everybody: Vec<AuthorityIndex> =
            (0..self.up.len() as u16).map(AuthorityIndex).filter(|peer| self.usable(*peer)).collect();
        let mut chosen = Vec::with_capacity(2);
        if let Some(peer) = hints.get(turn % hints.len().max(1)) {
            chosen.push(*peer);
        }
        let (seed, _) = block.digest.as_bytes().split_first_chunk::<8>().expect("a digest has 32 bytes");
        let lot = u64::from_le_bytes(*seed).wrapping_add(want.attempts.into()) % (everybody.len().max(1) as u64);
        if let Some(peer) = everybody.get(lot as usize)
            && !chosen.contains(peer)
        {
            chosen.push(*peer);
        }
        chosen
    }

    fn usable(&self, peer: AuthorityIndex) -> bool {
        peer != self.me && self.up.get(peer.index()).copied().unwrap_or(false)
    }
}
