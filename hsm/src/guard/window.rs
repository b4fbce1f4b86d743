//! What the guard remembers: the last rounds and heights, and the rule that decides. No files.

use super::Limits;
use super::record::{CHUNK_VOTES_MAX, Record};
use super::standing::{Floor, Standing};
use crate::refusal::{Refusal, Slot};
use std::collections::BTreeMap;
use types::{Digest, HeaderVote, Height, Signature};

struct Approved {
    digest: Digest,
    signature: Option<Signature>,
}

pub(super) struct Window {
    limits: Limits,
    rounds: BTreeMap<Slot, Approved>,
    heights: BTreeMap<Height, Digest>,
    /// Highest height that left `heights`.
    forgotten: Option<Height>,
}

impl Window {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, rounds: BTreeMap::new(), heights: BTreeMap::new(), forgotten: None }
    }

    pub(super) fn mark(&self) -> Option<Slot> {
        self.rounds.last_key_value().map(|(slot, _)| *slot)
    }

    /// The highest height that may not be voted for anew, and the highest that was voted for.
    pub(super) fn votes(&self) -> (Height, Height) {
        let forgotten = self.forgotten.unwrap_or(Height(0));
        (forgotten, self.heights.last_key_value().map_or(forgotten, |(height, _)| *height))
    }

    /// `Ok(None)` for a new statement that contradicts nothing and is not below the floor; `Ok(Some(…))` for one that was
    /// approved before.
    pub(super) fn judge(
        &self,
        slot: Slot,
        asked: &Digest,
        votes: &[HeaderVote],
        floor: &Floor,
    ) -> Result<Option<Option<Signature>>, Refusal> {
        if let Some(Approved { digest, signature }) = self.rounds.get(&slot) {
            // The digest covers the votes, so there is nothing else to compare.
            return if digest == asked {
                Ok(Some(signature.clone()))
            } else {
                Err(Refusal::SecondStatement { slot, approved: *digest, asked: *asked })
            };
        }
        if let Some((mark, Approved { digest, .. })) = self.rounds.last_key_value()
            && slot <= *mark
        {
            return Err(Refusal::BelowMark { slot, mark: *mark, approved: *digest, asked: *asked });
        }
        if slot < floor.from {
            return Err(Refusal::Fenced { slot, from: floor.from, asked: *asked });
        }
        let mut given = BTreeMap::new();
        for HeaderVote { height, header } in votes {
            let voted = self.heights.get(height).copied().unwrap_or(*given.entry(height).or_insert(*header));
            if voted != *header {
                return Err(Refusal::SecondHeader { height: *height, voted, asked: *header });
            }
            let lowest = self.forgotten.unwrap_or(Height(0)).max(floor.votes_above);
            // Height 0 may itself be the forgotten one.
            let any = self.forgotten.is_some() || lowest > Height(0);
            if any && *height <= lowest && !self.heights.contains_key(height) {
                return Err(Refusal::ForgottenHeight { height: *height, floor: lowest });
            }
        }
        Ok(None)
    }

    pub(super) fn approved(&mut self, slot: Slot, digest: Digest, votes: &[HeaderVote]) {
        self.rounds.insert(slot, Approved { digest, signature: None });
        if self.rounds.len() > self.limits.rounds {
            self.rounds.pop_first();
        }
        self.heights.extend(votes.iter().map(|vote| (vote.height, vote.header)));
        while self.heights.len() > self.limits.heights {
            self.forgotten = self.heights.pop_first().map(|(height, _)| height);
        }
    }

    /// Whether the signature belongs to a remembered statement and was not known.
    pub(super) fn signed(&mut self, slot: Slot, digest: &Digest, signature: &Signature) -> bool {
        match self.rounds.get_mut(&slot) {
            Some(approved) if approved.digest == *digest && approved.signature.is_none() => {
                approved.signature = Some(signature.clone());
                true
            }
            _ => false,
        }
    }

    /// Takes in a record of the file; false where it contradicts what came before.
    pub(super) fn replay(&mut self, record: Record) -> bool {
        match record {
            Record::Approval { slot, digest, votes, signature, .. } => {
                let consistent = matches!(self.judge(slot, &digest, &votes, &Floor::NONE), Ok(None));
                if consistent {
                    self.approved(slot, digest, &votes);
                }
                if let Some((slot, signature)) = signature
                    && let Some(approved) = self.rounds.get_mut(&slot)
                {
                    approved.signature = Some(signature);
                }
                consistent
            }
            Record::Votes { forgotten, votes } => {
                self.forgotten = self.forgotten.max(forgotten);
                self.heights.extend(votes.iter().map(|vote| (vote.height, vote.header)));
                true
            }
            Record::Standing(_) => true,
        }
    }

    /// Everything that is remembered, and the file's standing, as records for a new file.
    pub(super) fn records(&self, standing: Standing) -> Vec<Record> {
        let votes: Vec<_> = self.heights.iter().map(|(&height, &header)| HeaderVote { height, header }).collect();
        let mut records =
            vec![Record::Standing(standing), Record::Votes { forgotten: self.forgotten, votes: Vec::new() }];
        let chunks = votes.chunks(CHUNK_VOTES_MAX);
        records.extend(chunks.map(|votes| Record::Votes { forgotten: None, votes: votes.to_vec() }));
        records.extend(self.rounds.iter().map(|(&slot, approved)| Record::Approval {
            slot,
            digest: approved.digest,
            votes: Vec::new(),
            signature: approved.signature.clone().map(|signature| (slot, signature)),
            reservation: None,
        }));
        records
    }
}
