//! `stele export`: blocks, transactions and receipts of a data directory as tables, verified on the way.
//!
//! Reads what the node's process has written, beside it or without it, and changes nothing there. Every height is taken in
//! as if a stranger had sent it: under a certificate of its committee, whose epoch is proven from genesis on, down to the
//! last byte of its blocks. What the disk has lost or altered is therefore never exported. Deliberately absent: heights
//! whose certificate or state the node has not flushed yet, and those whose blocks its log has given up.

mod error;
mod manifest;
mod output;
mod rows;
mod sink;
#[cfg(test)]
mod tests;
mod verify;

use crate::committees::Checkers;
use crate::config::LOG;
use crate::rebuild::Source;
use crate::replica::commit_sync::answer;
use crate::replica::event::CertifiedCommit;
use crate::replica::serve::Archive;
use crate::tables::{Place, Tables};
pub use error::ExportError;
use output::Output;
use serde::Serialize;
pub use sink::Format;
use std::path::PathBuf;
use std::sync::Arc;
use storage::log::LogReader;
use types::{Height, LedgerEvent, LedgerHeader, Outcome};
pub use verify::{Damage, Verified, Wrong, verify};

/// Most heights that are asked for at once.
const STRIDE: u64 = 256;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where to.
    pub dir: PathBuf,
    /// As what.
    pub format: Format,
    /// From which height on; by default the one after the last that the directory holds, or the first that the node has.
    /// With the first that the directory holds it goes on as well, so that a command may be given again.
    pub from: Option<Height>,
    /// Up to which; by default the last that is certified.
    pub to: Option<Height>,
    /// Heights in a part.
    pub part_heights: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// First height that was added.
    pub from: Option<Height>,
    /// Last height.
    pub to: Option<Height>,
    /// Heights that were added.
    pub heights: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Transactions in them, with those that were rejected and bytes that are none.
    pub transactions: u64,
    /// Last height that could have been exported now.
    pub certified: Height,
    /// Parts that the directory holds.
    pub parts: usize,
    /// First height that it holds.
    pub held_from: Option<Height>,
    /// Last one.
    pub held_to: Option<Height>,
    /// Files of earlier runs. They are there and as long as the manifest says; what is in them was not read.
    pub kept_files: usize,
}

/// Adds to a directory what a node's data has. `progress` hears of every height, with the last one that is to come.
///
/// # Errors
/// [`ExportError`]: finished parts stay, and the next export goes on behind them.
pub fn run(source: &Source, wanted: &Wanted, progress: &mut dyn FnMut(&Done, Height)) -> Result<Done, ExportError> {
    if wanted.to == Some(Height(0)) {
        return Err(ExportError::NoHeight);
    }
    let tables = source.tables()?;
    let log = LogReader::open(&source.data_dir.join(LOG), source.identity)?;
    let archive = Archive::new(source.chain(), Arc::new(log), tables.clone());
    let mut checkers = Checkers::of_node(&source.genesis, &tables)?;
    let certified = archive.certified()?;
    if let Some(wanted) = [wanted.from, wanted.to].into_iter().flatten().find(|wanted| *wanted > certified) {
        return Err(ExportError::NotYet { wanted, certified });
    }
    let mut output = Output::open(&wanted.dir, source.chain(), wanted.format)?;
    let to = wanted.to.unwrap_or(certified);
    let mut next = first(&archive, &output, wanted.from)?;
    if wanted.to.is_some() && next > to.next() {
        return Err(ExportError::Empty { from: next, to });
    }
    let mut done = Done { certified, kept_files: output.manifest().files().count(), ..Done::default() };
    let mut before = output.last();
    while next <= to {
        let run = certified_run(&archive, &mut checkers, next, to)?;
        for (commit, header, outcomes) in run {
            let (height, digest) = (header.height, commit.header);
            if height > to {
                break;
            }
            if before.is_some_and(|(below, above)| below.next() != height || above != header.previous) {
                return Err(ExportError::Refused { from: height, reason: "broken_header_chain" });
            }
            let events = events_of(&tables, height, &outcomes)?;
            let committee = &checkers.of_epoch(header.epoch)?.committee;
            output.put(height, digest, rows::of(&commit, &header, &outcomes, &events, committee))?;
            (before, next) = (Some((height, digest)), height.next());
            done.count(&commit, &outcomes, height);
            progress(&done, to);
            if output.open_heights() >= wanted.part_heights {
                output.finish_part()?;
            }
        }
    }
    output.finish_part()?;
    done.parts = output.manifest().parts.len();
    (done.held_from, done.held_to) = output.manifest().heights().unzip();
    Ok(done)
}

impl Done {
    fn count(&mut self, commit: &CertifiedCommit, outcomes: &[Outcome], height: Height) {
        self.from = self.from.or(Some(height));
        self.to = Some(height);
        self.heights += 1;
        self.blocks += commit.blocks.len() as u64;
        self.transactions += outcomes.len() as u64;
    }
}

/// Where to begin.
fn first(archive: &Archive, output: &Output, from: Option<Height>) -> Result<Height, ExportError> {
    let from = from.map(|from| Height(from.0.max(1)));
    let next = match (output.manifest().heights(), from) {
        (Some((first, held)), Some(from)) if from != first && from != held.next() => {
            return Err(ExportError::NotNext { held, wanted: from });
        }
        (Some((_, held)), _) => held.next(),
        (None, Some(from)) => from,
        (None, None) => return Ok(archive.oldest(Height(1))?),
    };
    let oldest = archive.oldest(next)?;
    if oldest > next { Err(ExportError::Released { wanted: next, oldest }) } else { Ok(next) }
}

/// The events of a height's transactions, which are those whose digests stand in the certified receipts.
fn events_of(
    tables: &Tables,
    height: Height,
    outcomes: &[Outcome],
) -> Result<Vec<(u32, Vec<LedgerEvent>)>, ExportError> {
    let mut all = Vec::new();
    for (outcome, index) in outcomes.iter().zip(0..) {
        let Outcome::Emitted(digest) = outcome else { continue };
        let events = tables.events(Place { height, index })?;
        if LedgerEvent::digest(&events) != *digest {
            return Err(ExportError::Refused { from: height, reason: "events_of_another_receipt" });
        }
        all.push((index, events));
    }
    Ok(all)
}

type Checked = (CertifiedCommit, LedgerHeader, Vec<Outcome>);

/// Some commits from a height on, checked. At least one.
fn certified_run(
    archive: &Archive,
    checkers: &mut Checkers,
    from: Height,
    to: Height,
) -> Result<Vec<Checked>, ExportError> {
    let refused = |reason| ExportError::Refused { from, reason };
    let response = archive.commits(from, Height(to.0.min(from.0 + STRIDE - 1)))?;
    let last = response.commits.last().ok_or_else(|| refused("blocks_or_certificate_missing"))?;
    let checker = checkers.of_epoch(last.header.epoch)?;
    let plain = response.commits.iter().map(|commit| (commit.header.clone(), commit.outcomes.clone()));
    let plain: Vec<_> = plain.collect();
    let answer = answer::check_response(checker, from, response).map_err(refused)?;
    Ok(answer.commits.into_iter().zip(plain).map(|(commit, (header, outcomes))| (commit, header, outcomes)).collect())
}
