//! The new log: segments before the damage as they are, then all that is left, in its order, with what was fetched in
//! between.

use super::fetch::Fetch;
use super::find::{Found, block_of, signed_of};
use super::{Done, RepairError, Site};
use crate::durable;
use crate::rebuild::Source;
use crate::records::{self, Commit};
use crate::replica::event::CertifiedCommit;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use storage::log::check::{self, Seen};
use storage::log::io::SegmentReader;
use storage::log::{Files, Log, LogError, LogOptions};
use types::{ChainId, Decode, Digest, Encode, Height};

/// Heights that are asked for at a time.
const STRIDE: u64 = 64;

pub(super) fn write(
    source: &Source,
    site: &Site,
    files: &Files,
    found: &Found,
    first: u64,
    fetch: &mut dyn Fetch,
    progress: &mut dyn FnMut(Height),
) -> Result<Done, RepairError> {
    let dir = site.new_log();
    durable::remove_dir(&site.dir()).map_err(RepairError::file(&site.dir()))?;
    fs::create_dir_all(&dir).map_err(RepairError::file(&dir))?;
    let kept = keep_segments(site, files, first)?;
    let mut options = LogOptions::new(&dir, source.identity);
    options.segment_bytes = kept.segment_bytes.unwrap_or(options.segment_bytes);
    options.spare_segments = 1;
    let log = Log::open(options, Some(u64::MAX), &mut |_| Ok(()))?;
    let mut writing = Writing {
        chain: source.chain(),
        log: &log,
        found,
        fetch,
        progress,
        next: found.before.next(),
        fetched: BTreeMap::new(),
        added: BTreeSet::new(),
        done: Done::default(),
    };
    let copied = check::check(files, &source.identity, &mut |seen| match seen {
        Seen::Record { position, kind, payload } if position.segment >= first => Ok(writing.record(kind, payload)?),
        _ => Ok(()),
    });
    match copied {
        Ok(_) => {}
        Err(LogError::Visitor { position, source }) => {
            return Err(match source.downcast::<RepairError>() {
                Ok(error) => *error,
                Err(source) => LogError::Visitor { position, source }.into(),
            });
        }
        Err(error) => return Err(error.into()),
    }
    writing.fetch_up_to(found.last.next())?;
    let mut done = writing.done;
    done.height = found.last;
    log.append_durable(records::RESTORED, &[])?;
    drop(log);
    let checked = check::check(&Files::inspect(&dir)?, &source.identity, &mut |_| Ok(()))?;
    if checked.damaged > 0 {
        return Err(RepairError::StillDamaged(checked.damaged));
    }
    let whole = site.whole();
    // A log of which nothing was kept begins anew.
    let new_from = if kept.any { first } else { 0 };
    durable::put(&whole, new_from.to_string().as_bytes()).map_err(RepairError::file(&whole))?;
    Ok(done)
}

/// Segments before the damage.
struct Kept {
    /// Whether there are any.
    any: bool,
    /// Bytes of a segment.
    segment_bytes: Option<u64>,
}

/// Takes the segments before the first damaged one over. The last of them is copied: the new log goes on in it.
fn keep_segments(site: &Site, files: &Files, first: u64) -> Result<Kept, RepairError> {
    let segments = files.segments().map_err(RepairError::file(&site.log()))?;
    let bytes = segments.first().map(|segment| files.length(*segment)).transpose();
    let bytes = bytes.map_err(RepairError::file(&site.log()))?;
    let any = segments.first().is_some_and(|oldest| *oldest < first);
    for segment in segments.into_iter().filter(|segment| *segment < first) {
        let name = format!("{segment:020}.seg");
        let (from, to) = (site.log().join(&name), site.new_log().join(&name));
        if segment + 1 < first {
            fs::hard_link(&from, &to).map_err(RepairError::file(&to))?;
        } else {
            fs::copy(&from, &to).map_err(RepairError::file(&to))?;
            File::open(&to).and_then(|copy| copy.sync_all()).map_err(RepairError::file(&to))?;
        }
    }
    durable::sync_dir(&site.new_log()).map_err(RepairError::file(&site.new_log()))?;
    // A first segment that was shortened or exchanged has no length that a log could have.
    let segment_bytes = bytes.filter(|bytes| (16 << 10..=1 << 32).contains(bytes) && bytes.is_multiple_of(4096));
    Ok(Kept { any, segment_bytes })
}

struct Writing<'a> {
    chain: ChainId,
    log: &'a Log,
    found: &'a Found,
    fetch: &'a mut dyn Fetch,
    progress: &'a mut dyn FnMut(Height),
    /// The height of the next commit of the new log.
    next: Height,
    fetched: BTreeMap<Height, CertifiedCommit>,
    /// Blocks that were fetched and written.
    added: BTreeSet<Digest>,
    done: Done,
}

impl Writing<'_> {
    /// A record that is left.
    fn record(&mut self, kind: u8, payload: &[u8]) -> Result<(), RepairError> {
        if kind == records::COMMIT {
            let record = Commit::from_bytes(payload)?.record;
            if record.height >= self.next {
                self.fetch_up_to(record.height)?;
                let mut missing = Vec::new();
                for block in &record.blocks {
                    if !self.found.has(&block.digest)? {
                        missing.push(*block);
                    }
                }
                if !missing.is_empty() {
                    let commit = self.get(record.height)?;
                    if commit.record != record {
                        return Err(RepairError::OtherCommit(record.height));
                    }
                    self.add_blocks(&commit)?;
                }
                self.next = record.height.next();
                (self.progress)(record.height);
            }
        } else if let Some(block) = block_of(&self.chain, kind, payload)?.or(signed_of(&self.chain, kind, payload)?) {
            // Of an own block that lost one of its two records the other is of no use: it is fetched whole, or given up.
            let is_own = matches!(kind, records::PROPOSAL | records::SIGNED);
            if self.added.contains(&block) || is_own && !self.found.has(&block)? {
                return Ok(());
            }
        }
        self.log.append_quiet(kind, &[payload])?;
        self.done.kept += 1;
        Ok(())
    }

    /// Fetches all commits below a height that the new log lacks.
    fn fetch_up_to(&mut self, height: Height) -> Result<(), RepairError> {
        // What came with a state from peers was never in the log.
        self.next = self.next.max(height.min(self.found.synced.next()));
        while self.next < height {
            let commit = self.get(self.next)?;
            self.add_blocks(&commit)?;
            let mut verdicts = Vec::new();
            for (_, received) in &commit.blocks {
                verdicts.extend_from_slice(received.contents.verdicts().unwrap_or_default());
            }
            let record = Commit { record: commit.record, verdicts: records::pack_verdicts(verdicts) };
            self.log.append_quiet(records::COMMIT, &[&record.to_bytes()])?;
            self.done.commits.push(self.next);
            (self.progress)(self.next);
            self.next = self.next.next();
        }
        Ok(())
    }

    fn add_blocks(&mut self, commit: &CertifiedCommit) -> Result<(), RepairError> {
        for (header, received) in &commit.blocks {
            if self.found.has(&header.digest())? || !self.added.insert(header.digest()) {
                continue;
            }
            self.log.append_quiet(records::BLOCK, &[&records::block_part(header), received.payload.raw()])?;
            self.done.blocks += 1;
        }
        Ok(())
    }

    fn get(&mut self, height: Height) -> Result<CertifiedCommit, RepairError> {
        if let Some(commit) = self.fetched.remove(&height) {
            return Ok(commit);
        }
        // What lies before was passed.
        self.fetched.clear();
        let to = Height(self.found.last.0.min(height.0 + STRIDE - 1));
        let commits = self.fetch.commits(height, to)?;
        self.fetched = commits.into_iter().map(|commit| (commit.record.height, commit)).collect();
        self.fetched.remove(&height).ok_or(RepairError::Nobody { height, reason: None })
    }
}
