//! Who leads a round, and who has lost that right: CONSENSUS.md §2.7 with the values of §0.9.
//!
//! A pure function of the chain, the committee and the committed prefix. The leader of a round is a choice weighted by
//! stake among the eligible: with E their stake, the first 16 bytes of H(chain ‖ epoch ‖ round), little endian, modulo
//! E, fall into the interval of one of them, in order of index.
//!
//! A block that has a block of the round below among its ancestors scores its own author's stake for the author of that
//! one, in the commit that orders it: who is heard in time by all scores all stake a round. Every
//! `schedule_interval_commits` commits the scores of the last `schedule_window_commits` are added up, and authors who
//! scored less than half of the best lose their right, lowest first, while their stake together stays ≤ f. Half, because
//! liars of stake f can then neither take the right from one whom the honest hear (N − f is more than half of N), nor keep
//! it for one whom only they hear (f is less than half of N − f). Before those go the ones against whom a commit of the
//! window holds a proof of equivocation or of an invalid transaction, within the same bound (§0.6).
//!
//! **\[derived\]** The source counts the votes that an author casts. What makes a leader slow is not how he votes but
//! how late he is heard, and a validator that reaches the others over a detour votes as often as they do.

use crate::config::Config;
use crate::counted::CountedAuthors;
use std::collections::VecDeque;
use std::sync::Arc;
use types::committee::COMMITTEE_MAX;
use types::{
    AuthorityIndex, BlockHeader, ChainId, Committee, Decode, DecodeError, Encode, Hasher, Height, Parameters, Reader,
    Round,
};

/// Longest window that genesis allows.
const WINDOW_MAX: usize = 10_000;

/// What the schedule remembers of the committed prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleState {
    /// For each commit of the window, oldest first: the score of each author in it.
    scores: VecDeque<Arc<[u64]>>,
    /// Who may not lead, in order.
    excluded: Vec<AuthorityIndex>,
    /// Those against whom a proof counts.
    convicted: CountedAuthors,
    /// Commits since the last recomputation.
    since_recompute: u64,
}

impl Encode for ScheduleState {
    fn encode(&self, out: &mut Vec<u8>) {
        let count = |items: usize| u32::try_from(items).expect("windows are far shorter than 2^32");
        count(self.scores.len()).encode(out);
        for scores in &self.scores {
            count(scores.len()).encode(out);
            scores.iter().for_each(|score| score.encode(out));
        }
        types::codec::put_list(out, &self.excluded);
        self.convicted.encode(out);
        self.since_recompute.encode(out);
    }
}

impl Decode for ScheduleState {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let commits = reader.length("scored commits", WINDOW_MAX)?;
        let mut scores = VecDeque::new();
        for _ in 0..commits {
            scores.push_back(reader.list::<u64>("scores", COMMITTEE_MAX)?.into());
        }
        Ok(Self {
            scores,
            excluded: reader.list("excluded", COMMITTEE_MAX)?,
            convicted: CountedAuthors::decode(reader)?,
            since_recompute: u64::decode(reader)?,
        })
    }
}

/// The leader of every round, as the committed prefix has it.
#[derive(Clone, Debug)]
pub struct LeaderSchedule {
    chain: ChainId,
    committee: Arc<Committee>,
    interval: u64,
    window: usize,
    state: ScheduleState,
    /// Stake of those who may lead.
    eligible: u64,
}

impl LeaderSchedule {
    /// Before the first commit: everybody may lead.
    pub fn new(config: &Config) -> Self {
        let committee = config.committee.clone();
        Self {
            chain: config.chain,
            interval: config.parameters.schedule_interval_commits,
            window: usize::try_from(config.parameters.schedule_window_commits).unwrap_or(WINDOW_MAX),
            state: ScheduleState::default(),
            eligible: committee.total_stake().0,
            committee,
        }
    }

    /// The lowest height from which on commits give the whole state behind `height`, in an epoch whose first commit has
    /// height `first`: the window of the last recomputation.
    pub(crate) fn follows_from(parameters: &Parameters, first: Height, height: Height) -> Height {
        let recomputed = (height.0 + 1).saturating_sub(first.0) / parameters.schedule_interval_commits
            * parameters.schedule_interval_commits;
        Height(first.0 + recomputed.saturating_sub(parameters.schedule_window_commits))
    }

    /// Before the commit of height `from` of an epoch whose first commit has height `first`, knowing nothing of those in
    /// between. Right again behind [`LeaderSchedule::follows_from`].
    pub(crate) fn from_height(config: &Config, first: Height, from: Height) -> Self {
        let mut schedule = Self::new(config);
        schedule.state.since_recompute = from.0.saturating_sub(first.0) % schedule.interval;
        schedule
    }

    /// Behind a checkpoint. `None` if the state is not of this committee and these parameters.
    pub fn restore(config: &Config, state: ScheduleState) -> Option<Self> {
        let mut schedule = Self::new(config);
        let size = schedule.committee.size();
        let fits = state.scores.iter().all(|scores| scores.len() == size)
            && state.scores.len() <= schedule.window
            && state.excluded.iter().all(|author| author.index() < size)
            && state.excluded.is_sorted()
            && state.convicted.fits(&schedule.committee, schedule.window as u64);
        let excluded: u64 = state.excluded.iter().map(|author| schedule.committee.stake(*author).0).sum();
        if !fits || excluded > schedule.committee.faulty_max().0 {
            return None;
        }
        schedule.eligible -= excluded;
        schedule.state = state;
        Some(schedule)
    }

    /// The leader of a round under the present table.
    pub fn leader(&self, round: Round) -> AuthorityIndex {
        let digest = Hasher::new("stele/leader/1")
            .with_encoded(&self.chain)
            .with_encoded(&self.committee.epoch())
            .with_encoded(&round)
            .finish();
        let (low, _) = digest.as_bytes().split_first_chunk::<16>().expect("a digest has 32 bytes");
        let mut point = (u128::from_le_bytes(*low) % u128::from(self.eligible)) as u64;
        for author in self.committee.indices() {
            if self.state.excluded.contains(&author) {
                continue;
            }
            let stake = self.committee.stake(author).0;
            if point < stake {
                return author;
            }
            point -= stake;
        }
        unreachable!("the point lies below the stake of those who may lead")
    }

    /// Takes in the next commit, the headers of its blocks; whether the table changed.
    pub fn apply(&mut self, headers: &[Arc<BlockHeader>]) -> bool {
        let mut scores = vec![0u64; self.committee.size()];
        for header in headers {
            let stake = self.committee.stake(header.author()).0;
            for parent in header.ancestors().iter().filter(|ancestor| ancestor.round.next() == header.round()) {
                // Stakes may come near 2^62, and one commit can hold many rounds.
                let score = &mut scores[parent.author.index()];
                *score = score.saturating_add(stake);
            }
        }
        let state = &mut self.state;
        let proofs = headers.iter().flat_map(|header| &header.body().misbehaviour);
        state.convicted.note(self.window as u64, proofs.map(|evidence| evidence.culprit()));
        state.scores.push_back(scores.into());
        if state.scores.len() > self.window {
            state.scores.pop_front();
        }
        state.since_recompute += 1;
        if state.since_recompute < self.interval {
            return false;
        }
        state.since_recompute = 0;
        self.recompute()
    }

    /// Who may not lead, in order.
    pub fn excluded(&self) -> &[AuthorityIndex] {
        &self.state.excluded
    }

    /// What a checkpoint holds.
    pub fn state(&self) -> &ScheduleState {
        &self.state
    }

    fn recompute(&mut self) -> bool {
        let sum = |author: AuthorityIndex| -> u128 {
            self.state.scores.iter().map(|scores| u128::from(scores[author.index()])).sum()
        };
        let mut ranking: Vec<(u128, AuthorityIndex)> =
            self.committee.indices().map(|author| (sum(author), author)).collect();
        ranking.sort_unstable();
        let best = ranking.last().map_or(0, |(score, _)| *score);
        let low = ranking.iter().filter(|(score, _)| score * 2 < best).map(|(_, author)| *author);
        let (mut excluded, mut stake): (Vec<AuthorityIndex>, u64) = (Vec::new(), 0);
        for author in self.state.convicted.authors().chain(low) {
            let with = stake + self.committee.stake(author).0;
            if excluded.contains(&author) {
                continue;
            }
            if with > self.committee.faulty_max().0 {
                break;
            }
            excluded.push(author);
            stake = with;
        }
        excluded.sort_unstable();
        let changed = excluded != self.state.excluded;
        self.state.excluded = excluded;
        self.eligible = self.committee.total_stake().0 - stake;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Keys;
    use types::{BlockRef, Digest};

    fn schedule(stakes: &[u64]) -> (Keys, LeaderSchedule) {
        let mut keys = Keys::with_stakes(stakes);
        (keys.parameters.schedule_interval_commits, keys.parameters.schedule_window_commits) = (5, 10);
        let schedule = LeaderSchedule::new(&keys.config(AuthorityIndex(0)));
        (keys, schedule)
    }

    fn leaders(schedule: &LeaderSchedule, rounds: u64) -> Vec<u16> {
        (1..=rounds).map(|round| schedule.leader(Round(round)).0).collect()
    }

    /// Commits of a round each, with a block of everybody, all of which stand on blocks of `heard` alone.
    fn commit(keys: &Keys, schedule: &mut LeaderSchedule, heard: &[u16], count: u64, from: u64) -> bool {
        let mut changed = false;
        for round in from..from + count {
            let parent = |author: &u16| BlockRef {
                round: Round(round - 1),
                author: AuthorityIndex(*author),
                digest: Digest::ZERO,
            };
            let parents: Vec<BlockRef> = heard.iter().map(parent).collect();
            let headers: Vec<_> = keys
                .committee()
                .indices()
                .map(|author| keys.block(&keys.config(author), Round(round), parents.clone(), Vec::new(), 0, 0))
                .collect();
            changed |= schedule.apply(&headers);
        }
        changed
    }

    /// Computed apart, from the description at the top of this file.
    #[test]
    fn the_choice_of_leaders_is_pinned() {
        let (_, equal) = schedule(&[1; 4]);
        assert_eq!(leaders(&equal, 24), [3, 0, 2, 1, 0, 1, 1, 2, 0, 0, 3, 2, 2, 0, 0, 2, 0, 1, 1, 1, 2, 0, 2, 3]);
        let (_, weighted) = schedule(&[5, 1, 1, 1]);
        assert_eq!(leaders(&weighted, 24), [3, 0, 2, 1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 3]);
    }

    #[test]
    fn a_heavier_validator_leads_more_often() {
        let (_, schedule) = schedule(&[3, 1, 1, 1]);
        let led = leaders(&schedule, 6_000).into_iter().filter(|leader| *leader == 0).count();
        assert!((2_800..3_200).contains(&led), "{led} of 6,000 with half the stake");
    }

    #[test]
    fn who_is_not_heard_in_time_loses_the_lead_until_he_is() {
        let (keys, mut schedule) = schedule(&[1; 4]);
        assert!(!commit(&keys, &mut schedule, &[0, 1, 2, 3], 10, 2));
        assert!(commit(&keys, &mut schedule, &[0, 1, 3], 10, 12));
        assert_eq!(schedule.excluded(), [AuthorityIndex(2)]);
        assert!(!leaders(&schedule, 200).contains(&2));
        let state = ScheduleState::from_bytes(&schedule.state().to_bytes()).expect("it reads back");
        let restored = LeaderSchedule::restore(&keys.config(AuthorityIndex(1)), state).expect("it fits");
        assert_eq!(leaders(&restored, 50), leaders(&schedule, 50));
        assert!(commit(&keys, &mut schedule, &[0, 1, 2, 3], 10, 22));
        assert_eq!(schedule.excluded(), []);
    }

    #[test]
    fn no_more_than_f_lose_the_lead() {
        let (keys, mut schedule) = schedule(&[1; 4]);
        commit(&keys, &mut schedule, &[0, 1], 10, 2);
        assert_eq!(schedule.excluded(), [AuthorityIndex(2)], "f is 1, and the lowest of two equals goes");
        let (keys, mut heavy) = self::schedule(&[1, 1, 1, 4]);
        commit(&keys, &mut heavy, &[0, 1, 2], 10, 2);
        assert_eq!(heavy.excluded(), [], "more than f is never left out");
    }
    /// Of seven, two do not stand on a third's blocks, and then they alone do.
    #[test]
    fn liars_neither_take_the_lead_from_one_who_is_heard_nor_keep_it_for_one_who_is_not() {
        let (keys, mut schedule) = schedule(&[1; 7]);
        let mut commit = |liars: &[u16], others: &[u16], from: u64| {
            for round in from..from + 10 {
                let headers: Vec<_> = (0..7u16)
                    .map(|author| {
                        let parents = if author < 2 { liars } else { others };
                        let parent = |of: &u16| BlockRef {
                            round: Round(round - 1),
                            author: AuthorityIndex(*of),
                            digest: Digest::ZERO,
                        };
                        let parents = parents.iter().map(parent).collect();
                        keys.block(&keys.config(AuthorityIndex(author)), Round(round), parents, Vec::new(), 0, 0)
                    })
                    .collect();
                schedule.apply(&headers);
            }
            schedule.excluded().to_vec()
        };
        assert_eq!(commit(&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5, 6], 2), []);
        assert_eq!(commit(&[0, 1, 2, 3, 4, 5, 6], &[0, 2, 3, 4, 5, 6], 12), [AuthorityIndex(1)]);
    }
}
