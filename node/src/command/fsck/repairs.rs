//! Whom a repair asks, as the operator names them.

use super::{FsckArgs, FsckError};
use crate::backup::depot::Depot;
use crate::command::progress::Progress;
use crate::committees::Checkers;
use crate::config::{STATE, Setup};
use crate::rebuild::{Source, hold};
use crate::repair::fetch::{Fetch, FromBackup, FromPeers, Several};
use crate::repair::{self, Done, RepairError};
use crate::tables::Tables;
use std::path::Path;
use std::sync::Arc;
use storage::state::StateDb;

/// Repairs the log that the options name.
pub(super) fn repair(args: &FsckArgs) -> Result<Done, FsckError> {
    let source = args.place.source()?;
    // Before links to peers, whose port a node that runs has.
    if !repair::is_unfinished(&source.data_dir) {
        drop(hold(&source).map_err(RepairError::from)?);
    }
    let (places, names): (Vec<_>, Vec<_>) = args.repair_from.iter().cloned().partition(|from| is_place(from));
    let mut asked: Vec<Box<dyn Fetch>> = Vec::new();
    if let Some(name) = names.first() {
        let config = args.place.config().ok_or_else(|| RepairError::NoConfig(name.clone()))?;
        let setup = Setup::load(config, true).map_err(crate::command::place::PlaceError::from)?;
        let checkers = checkers(&source).map_err(RepairError::from)?;
        asked.push(Box::new(FromPeers::connect(&setup, checkers, &names)?));
    }
    for place in places {
        let depot = Depot::open(&place, args.s3.s3.as_deref()).map_err(|error| RepairError::Backup(error.into()))?;
        asked.push(Box::new(FromBackup::new(depot, (*source.genesis).clone())));
    }
    let mut progress = Progress::new();
    let done = repair::repair(&source, &mut Several(asked), &mut |height| {
        progress.say(|| format!("repair: height {height}"));
    })?;
    Ok(done)
}

/// The committees that the state proves, or the first one alone where there is no state.
fn checkers(source: &Source) -> Result<Checkers, crate::committees::CommitteeError> {
    match StateDb::open_read_only(source.data_dir.join(STATE), source.identity) {
        Ok(database) => Checkers::of_node(&source.genesis, &Tables::new(Arc::new(database))),
        Err(_) => Checkers::of_genesis(&source.genesis),
    }
}

/// Validators' names are no paths.
fn is_place(from: &str) -> bool {
    from.contains('/') || from.starts_with('.') || Path::new(from).is_dir()
}
