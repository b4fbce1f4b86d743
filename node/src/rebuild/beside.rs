//! The database of a node, read beside its process or without one; and what an operator does where it cannot be.

use super::Source;
use crate::config::{LOG, STATE};
use crate::tables::Tables;
use miette::Diagnostic;
use std::path::PathBuf;
use std::sync::Arc;
use storage::state::{StateDb, StateError};
use thiserror::Error;

/// Why the state of a data directory cannot be read.
#[derive(Debug, Error, Diagnostic)]
pub enum Unreadable {
    /// The log is there alone.
    #[error("{}: there is no state database", .0.display())]
    #[diagnostic(help("the log is there: stop the node, and `stele rebuild` makes the state anew from it"))]
    Lost(PathBuf),
    /// Neither log nor state is there.
    #[error("{}: there is neither a log nor a state", .0.display())]
    #[diagnostic(help(
        "name the node.toml of the node, or the directory that it calls data_dir; the node must have run once"
    ))]
    NeverRan(PathBuf),
    /// It is marked as another's.
    #[error("{}: the state belongs to another ledger or another validator", .0.display())]
    #[diagnostic(help("check --config, or --data and --genesis"))]
    Foreign(PathBuf),
    /// It is damaged, or not to be read by this user.
    #[error("{}: the state cannot be read", state.display())]
    #[diagnostic(help(
        "`stele fsck --deep` says what is damaged; with the node stopped `stele rebuild` makes the state anew from the log"
    ))]
    Damaged {
        /// The database.
        state: PathBuf,
        /// What is wrong.
        source: StateError,
    },
}

impl Source {
    /// The state as it was last flushed. Takes no lock, so that a node may go on.
    pub fn tables(&self) -> Result<Tables, Unreadable> {
        let state = self.data_dir.join(STATE);
        match StateDb::open_read_only(&state, self.identity) {
            Ok(database) => Ok(Tables::new(Arc::new(database))),
            Err(_) if !state.exists() && self.data_dir.join(LOG).exists() => Err(Unreadable::Lost(state)),
            Err(_) if !state.exists() => Err(Unreadable::NeverRan(self.data_dir.clone())),
            Err(StateError::OtherIdentity { .. }) => Err(Unreadable::Foreign(state)),
            Err(source) => Err(Unreadable::Damaged { state, source }),
        }
    }
}
