//! A naive transcription of CONSENSUS.md §2.7 with the values of §0.9: the leader table behind a committed prefix,
//! computed from the whole prefix.

use consensus::Config;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Hasher, Round};

/// A commit as the schedule sees it: its leader, and the blocks that it ordered.
pub type Ordered = (BlockRef, Vec<Arc<BlockHeader>>);

pub struct Table {
    config: Config,
    pub excluded: Vec<AuthorityIndex>,
}

impl Table {
    /// The table was last computed when the number of commits was a multiple of the interval.
    pub fn behind(config: &Config, prefix: &[Ordered]) -> Self {
        let (interval, window) =
            (config.parameters.schedule_interval_commits as usize, config.parameters.schedule_window_commits as usize);
        let prefix = &prefix[..prefix.len() - prefix.len() % interval];
        let windowed = prefix.len().saturating_sub(window)..prefix.len();
        let score = |author: AuthorityIndex| -> u64 {
            windowed.clone().map(|position| scored(config, prefix, position, author)).sum()
        };
        let mut ranking: Vec<(u64, AuthorityIndex)> =
            config.committee.indices().map(|author| (score(author), author)).collect();
        ranking.sort_unstable();
        let best = ranking.iter().map(|(score, _)| *score).max().unwrap_or(0);
        let proven = |author: &AuthorityIndex| {
            let evidence = prefix[windowed.clone()].iter().flat_map(|(_, headers)| headers);
            evidence.flat_map(|header| &header.body().misbehaviour).any(|evidence| evidence.culprit() == *author)
        };
        let mut leaving: Vec<AuthorityIndex> = config.committee.indices().filter(proven).collect();
        leaving.extend(ranking.iter().filter(|(score, _)| score * 2 < best).map(|(_, author)| *author));
        let mut excluded: Vec<AuthorityIndex> = Vec::new();
        for author in leaving {
            let stake: u64 = excluded.iter().map(|author| config.committee.stake(*author).0).sum();
            if excluded.contains(&author) {
                continue;
            }
            if stake + config.committee.stake(author).0 > (config.committee.total_stake().0 - 1) / 3 {
                break;
            }
            excluded.push(author);
        }
        Self { config: config.clone(), excluded }
    }

    pub fn leader(&self, round: Round) -> AuthorityIndex {
        let (chain, epoch) = (&self.config.chain, self.config.committee.epoch());
        let digest =
            Hasher::new("stele/leader/1").with_encoded(chain).with_encoded(&epoch).with_encoded(&round).finish();
        let mut low = [0; 16];
        low.copy_from_slice(&digest.as_bytes()[..16]);
        let eligible = self.config.committee.indices().filter(|author| !self.excluded.contains(author));
        // Everybody as often as his stake says.
        let tickets: Vec<AuthorityIndex> = eligible
            .flat_map(|author| std::iter::repeat_n(author, self.config.committee.stake(author).0 as usize))
            .collect();
        tickets[(u128::from_le_bytes(low) % tickets.len() as u128) as usize]
    }
}

/// What an author scored in one commit: the stake of everybody whose block in it stands on his block of the round below,
/// as often as one does.
fn scored(config: &Config, prefix: &[Ordered], position: usize, author: AuthorityIndex) -> u64 {
    let hears = |block: &&Arc<BlockHeader>| {
        block.ancestors().iter().any(|parent| parent.author == author && parent.round.0 + 1 == block.round().0)
    };
    prefix[position].1.iter().filter(hears).map(|block| config.committee.stake(block.author()).0).sum()
}
