//! Reads ranges, and believes nothing: the SHA-256 of the manifest, the certificates of committees that are proven from
//! genesis on, and the chain of headers from one range to the next.
//!
//! ```text
//! range   "STELEARC", version, ledger, then frames to the end
//! frame   {length} answer to a request for commits, as validators give it to each other
//! ```

use super::depot::Depot;
use super::{BackupError, Kept, Manifest, Range};
use crate::committees::Checkers;
use crate::replica::commit_sync::answer;
use crate::replica::event::CertifiedCommit;
use crate::replica::intake::Checker;
use crate::wire::CommitsResponse;
use bytes::Bytes;
use types::{Certificate, ChainId, Digest, Encode, EpochChange, Genesis, Height, Reader};

const MAGIC: &[u8; 8] = b"STELEARC";
const VERSION: u32 = 1;
/// Epochs in a backup: far more than a ledger ever has.
const EPOCHS_MAX: usize = 1 << 20;

/// What a range begins with.
pub fn head(ledger: ChainId) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    ledger.encode(&mut out);
    out
}

/// Adds a frame to a range.
pub fn put_frame(range: &mut Vec<u8>, frame: &[u8]) {
    range.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    range.extend_from_slice(frame);
}

/// The frames of a range, sharing its memory.
pub fn frames(name: &str, ledger: ChainId, range: &Bytes) -> Result<Vec<Bytes>, BackupError> {
    let damaged = |what| BackupError::Damaged { name: name.to_owned(), what };
    let head = head(ledger);
    let (magic, version) = (&head[..8], &head[8..12]);
    if !range.starts_with(magic) {
        return Err(damaged("it is no range of a ledger"));
    }
    let found = range.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    if found > VERSION {
        return Err(BackupError::Newer { found: found.into(), known: VERSION.into() });
    }
    if &range[8..12] != version || range.get(12..head.len()) != Some(&head[12..]) {
        return Err(damaged("it is of another ledger"));
    }
    let (mut rest, mut found) = (range.slice(head.len()..), Vec::new());
    while !rest.is_empty() {
        let length = rest.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        let whole = length.filter(|length| rest.len() - 4 >= *length);
        let length = whole.ok_or_else(|| damaged("it ends early"))?;
        found.push(rest.slice(4..4 + length));
        rest = rest.slice(4 + length..);
    }
    Ok(found)
}

/// Whether heights follow each other, from one run to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follow {
    last: Option<(Height, Digest)>,
}

impl Follow {
    /// Behind a height with this header.
    pub fn behind(height: Height, header: Digest) -> Self {
        Self { last: Some((height, header)) }
    }

    /// The last height and its header.
    pub fn last(&self) -> Option<(Height, Digest)> {
        self.last
    }

    /// Checks a run from a height on, and gives its heights with the digests of their headers; at least one.
    pub fn check(
        &mut self,
        checker: &Checker,
        from: Height,
        response: CommitsResponse,
    ) -> Result<Vec<(Height, CertifiedCommit)>, BackupError> {
        let refused = |reason| BackupError::Refused { from, reason };
        let previous = response.commits.first().map(|commit| commit.header.previous);
        let answer = answer::check_response(checker, from, response).map_err(refused)?;
        let follows = self.last.is_none_or(|(last, header)| last.next() == from && previous == Some(header));
        if !follows {
            return Err(refused("broken_header_chain"));
        }
        let heights: Vec<_> = answer.commits.into_iter().map(|commit| (commit.record.height, commit)).collect();
        let (last, commit) = heights.last().ok_or_else(|| refused("no_commits"))?;
        self.last = Some((*last, commit.header));
        Ok(heights)
    }
}

/// A backup that is being read.
pub struct Reading {
    /// What it consists of.
    pub manifest: Manifest,
    /// The genesis that it is checked against.
    pub genesis: Genesis,
    checkers: Checkers,
    follow: Follow,
    /// The certificate over the last height that was read.
    pub certificate: Option<Certificate>,
}

impl Reading {
    /// Opens a backup of the ledger of `genesis`, or of the one that it brings along.
    pub fn open(depot: &Depot, genesis: Option<Genesis>) -> Result<Self, BackupError> {
        let manifest = Manifest::read(depot)?;
        let own = manifest.genesis.get(depot)?;
        let genesis = match genesis {
            Some(genesis) => genesis,
            None => {
                let text = String::from_utf8(own)
                    .map_err(|_| BackupError::Damaged { name: manifest.genesis.file.clone(), what: "it is no text" })?;
                Genesis::from_toml(&text)?
            }
        };
        let (expected, found) = (genesis.chain_id(), manifest.ledger);
        if expected != found {
            return Err(BackupError::OtherLedger { expected, found });
        }
        let mut checkers = Checkers::of_genesis(&genesis)?;
        if let Some(kept) = &manifest.epochs {
            for change in epochs(kept, depot)? {
                checkers.push(change)?;
            }
        }
        Ok(Self { manifest, genesis, checkers, follow: Follow::default(), certificate: None })
    }

    /// Goes on behind ranges that were read before.
    pub fn skip(&mut self, ranges: usize) {
        if let Some(range) = ranges.checked_sub(1).and_then(|last| self.manifest.ranges.get(last)) {
            self.follow = Follow::behind(range.to, range.header);
        }
    }

    /// The proofs of all epochs after the first.
    pub fn epochs(&self) -> &[EpochChange] {
        self.checkers.changes()
    }

    /// Gets a range, to be checked run by run.
    pub fn runs(&self, depot: &Depot, index: usize) -> Result<Runs, BackupError> {
        let range = self.manifest.ranges[index].clone();
        let bytes = Bytes::from(range.kept.get(depot)?);
        let frames = frames(&range.kept.file, self.manifest.ledger, &bytes)?.into_iter();
        Ok(Runs { next: range.from, range, frames })
    }

    /// Checks the next run of a range, and gives its commits, at least one; `None` behind the last, which ends where the
    /// manifest says.
    pub fn next_run(&mut self, runs: &mut Runs) -> Result<Option<Vec<CertifiedCommit>>, BackupError> {
        let range = &runs.range;
        let Some(frame) = runs.frames.next() else {
            let whole = self.follow.last() == Some((range.to, range.header));
            return if whole {
                Ok(None)
            } else {
                Err(BackupError::Contradictory("a range does not end where it says"))
            };
        };
        let damaged = |what| BackupError::Damaged { name: range.kept.file.clone(), what };
        let response = CommitsResponse::parse(&frame).map_err(|_| damaged("its commits do not decode"))?;
        let last = response.commits.last().ok_or_else(|| damaged("a frame has no commits"))?;
        let checker = self.checkers.of_epoch(last.header.epoch)?;
        let certificate = response.certificate.clone();
        let heights = self.follow.check(checker, runs.next, response)?;
        self.certificate = certificate;
        runs.next = heights.last().map_or(runs.next, |(height, _)| height.next());
        Ok(Some(heights.into_iter().map(|(_, commit)| commit).collect()))
    }

    /// Reads a range, checks all of it, and gives every commit to `take`.
    pub fn range(
        &mut self,
        depot: &Depot,
        index: usize,
        take: &mut dyn FnMut(CertifiedCommit) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let mut runs = self.runs(depot, index)?;
        while let Some(commits) = self.next_run(&mut runs)? {
            commits.into_iter().try_for_each(&mut *take)?;
        }
        Ok(())
    }
}

/// What is left of a range that is being read; all of its bytes are held.
pub struct Runs {
    range: Range,
    frames: std::vec::IntoIter<Bytes>,
    next: Height,
}

impl Runs {
    /// Whether a height is still to come.
    pub fn holds(&self, height: Height) -> bool {
        (self.next..=self.range.to).contains(&height)
    }
}

fn epochs(kept: &Kept, depot: &Depot) -> Result<Vec<EpochChange>, BackupError> {
    let bytes = kept.get(depot)?;
    let damaged = |_| BackupError::Damaged { name: kept.file.clone(), what: "the proofs of epochs do not decode" };
    let mut reader = Reader::new(&bytes);
    let changes = reader.list("epochs", EPOCHS_MAX).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    Ok(changes)
}

/// What was found in a backup that is whole.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// The ledger.
    pub ledger: ChainId,
    /// First height.
    pub from: Option<Height>,
    /// Last height.
    pub to: Option<Height>,
    /// Digest of the last header.
    pub header: Option<Digest>,
    /// Ranges.
    pub ranges: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Transactions, rejected ones and bytes that are none included.
    pub transactions: u64,
}

/// Reads and checks all of a backup. `progress` hears of every height, with the last one.
///
/// # Errors
/// [`BackupError`] at the first thing that is wrong.
pub fn verify(
    depot: &Depot,
    genesis: Option<Genesis>,
    progress: &mut dyn FnMut(Height, Height),
) -> Result<Verified, BackupError> {
    let mut reading = Reading::open(depot, genesis)?;
    let heights = reading.manifest.heights();
    if heights.is_none() {
        return Err(BackupError::Contradictory("it has no heights"));
    }
    if let Some(config) = &reading.manifest.config {
        config.get(depot)?;
    }
    let (mut blocks, mut transactions) = (0, 0);
    for index in 0..reading.manifest.ranges.len() {
        reading.range(depot, index, &mut |commit| {
            blocks += commit.blocks.len() as u64;
            let contents = commit.blocks.iter().map(|(_, received)| received.contents.transactions().len() as u64);
            transactions += contents.sum::<u64>();
            progress(commit.record.height, heights.map_or(Height(0), |(_, last)| last));
            Ok(())
        })?;
    }
    Ok(Verified {
        ledger: reading.manifest.ledger,
        from: heights.map(|(from, _)| from),
        to: heights.map(|(_, to)| to),
        header: reading.follow.last().map(|(_, header)| header),
        ranges: reading.manifest.ranges.len(),
        bytes: reading.manifest.bytes(),
        blocks,
        transactions,
    })
}
