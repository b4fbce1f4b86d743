//! What a rebuilt database has besides what execution writes: the state of consensus, which follows from the last commits;
//! and proofs that the log need not hold, taken out of the database in use as far as they verify.

use super::replay::Replay;
use super::{RebuildError, Source};
use crate::config::STATE;
use crate::replica::serve::Archive;
use crate::state_sync::history::Commit;
use crate::tables::Tables;
use consensus::{Checkpoint, Config, Pacing};
use std::sync::Arc;
use storage::state::StateDb;
use types::{AuthorityIndex, BlockHeader, ChainId, Epoch, EpochChain, EpochChange, Height};

/// Writes the state of consensus behind the last height.
pub(super) fn set_consensus(source: &Source, tables: &Tables, replay: &mut Replay<'_>) -> Result<(), RebuildError> {
    let (epoch, height) = (replay.epoch().clone(), replay.height());
    let first = epoch.anchor.height.next();
    if height < first {
        // An epoch begins without.
        return Ok(());
    }
    let missing = || RebuildError::Consensus(height);
    let bottom = Checkpoint::rebuilt_from(&epoch.parameters, first, height);
    let commits = history(replay.archive(), source.chain(), height, bottom)?;
    let config = Config {
        chain: source.chain(),
        committee: Arc::new(epoch.committee.clone()),
        // What follows from commits is the same for every member.
        me: AuthorityIndex(0),
        parameters: epoch.parameters,
        anchor: epoch.anchor,
        pacing: Pacing::default(),
    };
    let checkpoint = Checkpoint::rebuild(&config, first, &commits).ok_or_else(missing)?;
    let mut applied = tables.applied()?.ok_or_else(missing)?;
    if checkpoint.commit != applied.ledger.header.commit {
        return Err(missing());
    }
    applied.consensus = Some(checkpoint);
    let mut batch = tables.batch();
    batch.applied(&applied);
    Ok(tables.commit(batch)?)
}

/// The commits from `bottom` to `top` with the headers of their blocks, rising.
pub(super) fn history(
    archive: &Archive,
    chain: ChainId,
    top: Height,
    bottom: Height,
) -> Result<Vec<Commit>, RebuildError> {
    let missing = || RebuildError::Consensus(top);
    let mut commits: Vec<Commit> = Vec::new();
    let mut next = top;
    while next >= bottom && next > Height(0) {
        let page = archive.history(next, bottom)?;
        if page.is_empty() {
            return Err(missing());
        }
        for commit in page {
            next = Height(commit.record.height.0 - 1);
            let parse = |raw| BlockHeader::parse(&chain, raw).map(Arc::new).map_err(|_| missing());
            commits.push((commit.record, commit.headers.into_iter().map(parse).collect::<Result<_, _>>()?));
        }
    }
    commits.reverse();
    Ok(commits)
}

/// Takes over the proofs of epochs that the log does not give: the certificate of an epoch's last height may have come from
/// a peer, and later epochs are learnt of before their commits.
pub(super) fn carry_over(source: &Source, tables: &Tables) -> Result<(), RebuildError> {
    // One that is damaged or gone has nothing to give: a node asks its peers again.
    let old = StateDb::open_read_only(source.data_dir.join(STATE), source.identity).ok();
    let Some(old) = old.map(|old| Tables::new(Arc::new(old))) else { return Ok(()) };
    let mut epochs = EpochChain::from_genesis(&source.genesis)?;
    let mut batch = tables.batch();
    loop {
        let epoch = Epoch(epochs.last().epoch().0 + 1);
        let known = match (tables.epoch_change(epoch)?, tables.epoch(epoch)?) {
            (Some(change), _) => Some(change),
            (None, Some(start)) => {
                let last = tables.header(start.anchor.height)?;
                let certificate = old.certificate(start.anchor.height).ok().flatten();
                last.zip(certificate).map(|(last, certificate)| EpochChange { start, last, certificate })
            }
            (None, None) => old.known_change(epoch).ok().flatten(),
        };
        let Some(change) = known else { break };
        let reached = tables.epoch(epoch)?.is_some();
        if epochs.push(change.clone()).is_err() {
            break;
        }
        if reached { batch.certificate(&change.certificate) } else { batch.known_change(&change) }
    }
    Ok(tables.commit(batch)?)
}
