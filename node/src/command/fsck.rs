//! `stele fsck`: whether what lies in a data directory is what was written there.
//!
//! The log is read from its first byte to its last: every record, every checksum, the chain through all groups. With
//! `--deep` its records are decoded, payloads are hashed, and all rows of the state database are read and summed up to
//! the state digest that validators signed ([`state`]). Everything that is wrong is named, not only the first. Nothing is
//! changed, unless a repair is asked for ([`crate::repair`]); a node that runs on the directory is in the way.

mod records;
mod repairs;
mod report;
mod state;
#[cfg(test)]
mod tests;

use super::backup::S3Args;
use super::place::{self, Place, PlaceArgs, PlaceError};
use super::progress::Progress;
use crate::backup::restore;
use crate::config::{LOG, STATE};
use crate::repair::RepairError;
use clap::Args;
use miette::Diagnostic;
use records::Records;
use report::Report;
use state::State;
use std::io::Write;
use std::process::ExitCode;
use storage::log::check::{self, Seen};
use storage::log::{Files, LogError};
use storage::state::{StateDb, StateError};
use thiserror::Error;
use types::ChainId;

/// Something is damaged.
const EXIT_DAMAGED: u8 = 1;
/// The work was not done.
const EXIT_FAILED: u8 = 2;

/// Check the data directory of a validator that is not running.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  stele fsck --data /var/lib/stele
  stele fsck --deep --data /var/lib/stele --json
  stele fsck --config node.toml --repair-from north --repair-from south
  stele fsck --data /var/lib/stele --genesis genesis.toml --repair-from /srv/backup

Reads the whole log: every checksum, and that no group is missing, moved or exchanged; and what the state database says of
itself. --deep also decodes each record, hashes each payload, reads every row of the state database and compares their sum
with the state digest of the last header. Nothing is changed, except with --repair-from. Of `snapshots` nothing is looked
at: a node checks its own whole after every start and whenever it reads them, gives up what is damaged, and has another at the
next height for one. The directory may be removed.

With --config log and state must be that validator's; with a genesis, of that ledger. Without either it is the log that says
whose the directory is, and a state that is another's is told as damaged.

Damage is named by segment, byte offset and kind: missing_segment, segment_header, version, other_identity,
swapped_segment, segment_length, unreadable, group_header, moved_group, chain, record, behind_state (the log ends before the
height that the state has), stray_file (a file in `log` that is none of its, named by `file`: no node starts beside it; move
it away); and with --deep undecodable, payload. What a power cut left unfinished at the end was never acknowledged and is no
damage; bytes that hold nothing, between groups and behind the last one, are not looked at.

What to do: --repair-from fetches the commits and blocks that the damage took, each proven by certificates, and writes
them with all that is left to a new log, from the first damaged segment on; it takes the place of the damaged one when it
is whole, and is checked again then. Own blocks that no commit has ordered cannot be proven and are not invented: the
validator asks its peers how far its own chain went before it makes another. Or put the directory aside and start the
validator with an empty one; it takes everything from its peers. Keep the guard of its signer in either case.

Exit status: 0 nothing is damaged; 1 something is; 2 it could not be checked: no log, or one that was never made whole; a
node that runs, or another command on the same directory; no right to read.")]
pub struct FsckArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Look into records and the state database as well.
    #[arg(long)]
    deep: bool,
    /// Make a damaged log whole, with what this one has: the name of a validator, which needs --config and the signer, or
    /// a backup. May be repeated; they are asked in this order.
    #[arg(long, value_name = "PEER|PLACE")]
    repair_from: Vec<String>,
    #[command(flatten)]
    s3: S3Args,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why the work was not done.
#[derive(Debug, Error, Diagnostic)]
enum FsckError {
    #[error("another process works on {dir}")]
    #[diagnostic(help(
        "stop the node that runs on it, for what it writes meanwhile would look like damage; or wait until another `stele fsck` or `stele rebuild` has ended"
    ))]
    InUse { dir: String },
    #[error("there is no log in {dir}")]
    #[diagnostic(help("--data is the directory that node.toml calls data_dir; it holds log and state"))]
    NoLog { dir: String },
    #[error("the log in {dir} was never made: the first start ended before its first segment was whole")]
    #[diagnostic(help(
        "nothing is lost, for nothing was written yet. See what the start said; if the disk was full, make room, and start the node again: it makes the log"
    ))]
    NeverMade { dir: String },
    #[error("a restore into {dir} is unfinished")]
    #[diagnostic(help("run the same `stele restore` again, or remove the `restoring` directory"))]
    RestoreUnfinished { dir: String },
    #[error("{dir} is of the ledger {found}, and the genesis is that of {expected}")]
    #[diagnostic(help("name the genesis of its ledger with --genesis, or the node's configuration with --config"))]
    OtherLedger { dir: String, found: ChainId, expected: ChainId },
    #[error("the log cannot be read")]
    Log(#[source] LogError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Repair(#[from] RepairError),
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("cannot write the report")]
    Write(#[source] std::io::Error),
}

/// Runs to the end and leaves the process with the documented status.
pub fn run(args: &FsckArgs) -> ExitCode {
    match work(args).and_then(|report| publish(&report, args.json).map(|()| report)) {
        Ok(report) if report.whole() => ExitCode::SUCCESS,
        Ok(_) => EXIT_DAMAGED.into(),
        Err(error) => {
            // A stream that is closed cannot be told.
            drop(writeln!(std::io::stderr(), "{:?}", miette::Report::from(error)));
            EXIT_FAILED.into()
        }
    }
}

fn work(args: &FsckArgs) -> Result<Report, FsckError> {
    let repaired = if args.repair_from.is_empty() { None } else { Some(repairs::repair(args)?) };
    let mut report = examine(&args.place.place()?, args.deep)?;
    report.repaired = repaired;
    Ok(report)
}

fn publish(report: &Report, json: bool) -> Result<(), FsckError> {
    let text = if json { report.to_json() } else { report.to_text() };
    std::io::stdout().write_all(text.as_bytes()).map_err(FsckError::Write)
}

fn examine(place: &Place, deep: bool) -> Result<Report, FsckError> {
    let data = &place.data_dir;
    let name = || data.display().to_string();
    if restore::is_unfinished(data) {
        return Err(FsckError::RestoreUnfinished { dir: name() });
    }
    let files = Files::inspect(&data.join(LOG)).map_err(|error| match error {
        LogError::InUse { .. } => FsckError::InUse { dir: name() },
        LogError::NoLog { .. } => FsckError::NoLog { dir: name() },
        error => FsckError::Log(error),
    })?;
    let identity = match place.identity {
        Some(identity) => identity,
        None => place::identity(data, &files).map_err(FsckError::Log)?.unwrap_or_default(),
    };
    let mut report = Report::new(deep);
    files.strays().map_err(FsckError::Log)?.into_iter().for_each(|file| report.stray(file));
    let opened = if data.join(STATE).exists() {
        match StateDb::inspect(data.join(STATE), identity) {
            Err(StateError::InUse { .. }) => return Err(FsckError::InUse { dir: name() }),
            Ok(database) => state::open(database),
            Err(error) => Err(error.into()),
        }
        .map_err(|error| report.state_failed(&error))
        .ok()
    } else {
        None
    };
    let chain = opened.as_ref().map(|opened| opened.chain());
    if let (Some(found), Some(expected)) = (chain, place.chain)
        && found != expected
    {
        return Err(FsckError::OtherLedger { dir: name(), found, expected });
    }
    let mut records = Records::new(chain.or(place.chain));
    let mut progress = Progress::new();
    let checked = check::check(&files, &identity, &mut |seen| {
        match seen {
            Seen::Segment { segment, left } => progress.segment(segment, left),
            Seen::Damage(damage) => report.damage(damage.segment, damage.offset, damage.kind.name()),
            Seen::Record { position, kind, payload } => {
                if !deep {
                    records.count(kind, payload);
                } else if let Some(wrong) = records.look(kind, payload) {
                    report.damage(position.segment, position.offset.into(), wrong);
                }
            }
        }
        Ok(())
    });
    let checked = checked.map_err(FsckError::Log)?;
    if checked.segments == 0 && !opened.as_ref().is_some_and(State::had_log) && report.state_error.is_none() {
        let never_ran = |dir| if opened.is_some() { FsckError::NeverMade { dir } } else { FsckError::NoLog { dir } };
        return Err(never_ran(name()));
    }
    report.log(&checked);
    if let Some(opened) = &opened {
        opened.compare_segments(&checked, &mut report);
        opened.compare_heights(&checked, records.last_commit(), &mut report);
        if deep {
            opened.sum(&mut report, &mut progress).map_err(FsckError::Thread)?;
        }
    }
    Ok(report)
}
