//! Certificates in the making: votes for ledger headers are collected from the blocks that carry them.
//!
//! Bounded: only heights within a window above the last certified one are collected, and each validator's first vote for
//! a height is the only one that counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Certificate, Committee, Digest, HeaderStatement, HeaderVote, Height};

/// Heights above the last certified one for which votes are kept.
const WINDOW: u64 = 4096;

/// See the module.
pub struct Certificates {
    committee: Arc<Committee>,
    certified: Height,
    votes: BTreeMap<Height, BTreeMap<AuthorityIndex, (Digest, Arc<BlockHeader>)>>,
    /// Highest height that each validator voted for.
    highest: Vec<Height>,
}

impl Certificates {
    /// Starts above a height that is certified, or genesis.
    pub fn new(committee: Arc<Committee>, certified: Height) -> Self {
        let highest = vec![Height(0); committee.size()];
        Self { committee, certified, votes: BTreeMap::new(), highest }
    }

    /// Counts the votes of a verified header, and gives the certificates that they complete, in rising order.
    pub fn count(&mut self, header: &Arc<BlockHeader>) -> Vec<Certificate> {
        let author = header.author();
        let mut complete = Vec::new();
        for vote in header.votes() {
            if let Some(highest) = self.highest.get_mut(author.index()) {
                *highest = (*highest).max(vote.height);
            }
            if vote.height <= self.certified || vote.height.0 > self.certified.0 + WINDOW {
                continue;
            }
            let votes = self.votes.entry(vote.height).or_default();
            votes.entry(author).or_insert_with(|| (vote.header, Arc::clone(header)));
            let agreeing = votes.iter().filter(|(_, (digest, _))| *digest == vote.header);
            if self.committee.is_quorum(agreeing.clone().map(|(author, _)| *author)) {
                let statements = agreeing.map(|(_, (_, header))| HeaderStatement::from(&**header)).collect();
                complete.push(Certificate { vote: *vote, statements });
                self.votes.remove(&vote.height);
            }
        }
        complete.sort_by_key(Certificate::height);
        complete
    }

    /// Forgets votes up to a height whose certificate was written. Heights between may still complete in any order, so
    /// the floor follows only without gaps or when the window would overflow.
    pub fn certified_up_to(&mut self, height: Height) {
        if height > self.certified {
            self.certified = height;
            self.votes = self.votes.split_off(&height.next());
        }
    }

    /// The height that an honest validator has executed for certain: the highest that validators with stake ≥ f + 1
    /// have voted for.
    pub fn credible_height(&self) -> Height {
        let mut by_height: Vec<_> =
            self.committee.indices().map(|author| (self.highest[author.index()], author)).collect();
        by_height.sort_unstable_by(|a, b| b.cmp(a));
        let mut stake = 0;
        for (height, author) in by_height {
            stake += self.committee.stake(author).0;
            if stake >= self.committee.validity().0 {
                return height;
            }
        }
        Height(0)
    }

    /// Votes that contradict a header of our own: (height, digest voted for) by stake ≥ f + 1.
    pub fn contradicts(&self, height: Height, own: Digest) -> Option<HeaderVote> {
        let votes = self.votes.get(&height)?;
        let against: Vec<_> = votes.iter().filter(|(_, (digest, _))| *digest != own).collect();
        let stake: u64 = against.iter().map(|(author, _)| self.committee.stake(**author).0).sum();
        let (_, (header, _)) = against.first()?;
        (stake >= self.committee.validity().0).then_some(HeaderVote { height, header: *header })
    }
}

#[cfg(test)]
mod tests;
