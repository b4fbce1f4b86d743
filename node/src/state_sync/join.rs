//! The asking: offers from everybody, a manifest, its chunks from all who have them, the commits below; then the
//! database. What a peer answers is checked before it is used; who lies is named and asked no more.

use crate::replica::event::Fact;
use crate::replica::intake::Checker;
use crate::state_sync::certified::Unproven;
use crate::state_sync::chunks::{self, Chunks, Order, Outcome};
use crate::state_sync::history::{Commit, History};
use crate::state_sync::install::{Base, InstallError, Site};
use crate::state_sync::offers::{self, Source};
use crate::state_sync::pack;
use crate::state_sync::stream::StreamError;
use crate::status::{StateProgress, Status, SyncProgress};
use crate::tables::{TableError, Tables};
use crate::wire::Request;
use crate::wire::state::{ManifestResponse, OffersResponse, StateRequest};
use bytes::Bytes;
use consensus::Config;
use crossbeam_channel::Sender;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::{JoinSet, spawn_blocking};
use transport::{Mesh, RequestError};
use types::{AuthorityIndex, Decode, Digest, Encode, Epoch, EpochChange, Height, LedgerHeader, StateManifest};

/// How long a peer may take to answer a small question.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take for a chunk, or for commits.
pub const BULK_PATIENCE: Duration = Duration::from_secs(10);
/// Pause before peers are asked again for a state that they are preparing.
const PREPARING_PAUSE: Duration = Duration::from_millis(500);
/// How often they are asked again when others have one ready, and when nobody has.
const PREPARING_SHORT: u32 = 10;
const PREPARING_LONG: u32 = 600;
/// How often progress is told in the log.
const TELL: Duration = Duration::from_secs(2);

/// Why no state was taken this time. All but faults of this node are tried again.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Nobody offers one above the own height.
    #[error("no peer offers a state above height {0}")]
    NothingOffered(Height),
    /// All who had it are gone or have lied.
    #[error("nobody is left who has the state of height {0}")]
    Abandoned(Height),
    /// A file.
    #[error("the fetched state cannot be stored: {0}")]
    Io(#[from] io::Error),
    /// The database.
    #[error("the fetched state cannot be installed: {0}")]
    Install(#[from] InstallError),
    /// A task of this node died.
    #[error("a task of state sync ended unexpectedly")]
    Task,
}

/// Fetches a state.
pub struct Joiner {
    /// To ask.
    pub mesh: Mesh,
    /// To check.
    pub checker: Checker,
    /// To rebuild consensus.
    pub config: Config,
    /// Height of the epoch's first commit.
    pub first: Height,
    /// The node's own state, such as it is.
    pub tables: Tables,
    /// What the new database is marked with.
    pub identity: [u8; 32],
    /// Where it is put together.
    pub site: Site,
    /// Names who lies.
    pub replica: Sender<Fact>,
    /// Tells of progress.
    pub status: Arc<Status>,
    /// Peers that are asked no more.
    pub banished: BTreeSet<AuthorityIndex>,
    /// How long a peer may take for a chunk; [`BULK_PATIENCE`].
    pub bulk_patience: Duration,
}

impl Joiner {
    /// Fetches a state above `above` and makes it ready to be exchanged for the present one.
    pub async fn run(&mut self, above: Height) -> Result<Height, JoinError> {
        let begun = self.begun();
        let source = self.choose(above, begun.as_ref().map(|begun| begun.manifest.root())).await?;
        let height = source.offer.height;
        let described = match begun.filter(|begun| begun.manifest.root() == source.offer.manifest) {
            Some(begun) => begun,
            None => self.manifest(&source).await?,
        };
        tracing::info!(
            height = height.0,
            bytes = source.offer.bytes,
            peers = source.peers.len(),
            "taking the state from peers"
        );
        let peers = self.chunks(&described, &source).await?;
        let commits = self.history(&described, &peers).await?;
        self.build(described, commits, &source).await?;
        Ok(height)
    }

    /// What was begun before a crash.
    fn begun(&self) -> Option<ManifestResponse> {
        let bytes = std::fs::read(self.site.manifest()).ok()?;
        let begun = ManifestResponse::from_bytes(&bytes).ok()?;
        self.vouched_for(&begun).ok().map(|()| begun)
    }

    async fn choose(&mut self, above: Height, begun: Option<Digest>) -> Result<Source, JoinError> {
        for asked in 0.. {
            let mut questions = JoinSet::new();
            for peer in self.mesh.peers().iter().filter(|peer| peer.up).map(|peer| AuthorityIndex(peer.index)) {
                if !self.banished.contains(&peer) {
                    let asked = ask(self.mesh.clone(), peer, StateRequest::Offers, PATIENCE);
                    questions.spawn(async move { (peer, asked.await) });
                }
            }
            let mut answers = BTreeMap::new();
            while let Some(answered) = questions.join_next().await {
                let Ok((peer, Some(answer))) = answered else { continue };
                match OffersResponse::from_bytes(&answer) {
                    Ok(answer) => drop(answers.insert(peer, answer)),
                    Err(_) => self.banish(peer, "undecodable_offers"),
                }
            }
            // Who prepares one will soon offer what others offer already, but is not waited for long.
            let preparing = answers.values().any(|answer| answer.preparing);
            if (!preparing || asked >= PREPARING_SHORT)
                && let Some(source) = offers::choose(&answers, above, begun)
            {
                return Ok(source);
            }
            if !preparing || asked >= PREPARING_LONG {
                break;
            }
            if asked == 0 {
                tracing::info!(above = above.0, "peers are preparing a state; waiting for it");
            }
            tokio::time::sleep(PREPARING_PAUSE).await;
        }
        Err(JoinError::NothingOffered(above))
    }

    async fn manifest(&mut self, source: &Source) -> Result<ManifestResponse, JoinError> {
        for peer in &source.peers {
            let request = StateRequest::Manifest(source.offer.manifest);
            let Some(answer) = ask(self.mesh.clone(), *peer, request, BULK_PATIENCE).await else { continue };
            let decoded = ManifestResponse::from_bytes(&answer).ok();
            if decoded.as_ref().is_some_and(|decoded| self.is_of_another_epoch(&decoded.certified.header)) {
                // Not asked again in this epoch, and no lie: the peer has moved on, and so will this node.
                self.banished.insert(*peer);
                continue;
            }
            let described = decoded.filter(|described| {
                described.manifest.root() == source.offer.manifest
                    && described.manifest.summary.height == source.offer.height
                    && described.manifest.summary.bytes == source.offer.bytes
                    && self.vouched_for(described).is_ok()
            });
            let Some(described) = described else {
                self.banish(*peer, "manifest_not_certified");
                continue;
            };
            self.site.clear()?;
            self.site.prepare()?;
            std::fs::write(self.site.manifest(), described.to_bytes())?;
            return Ok(described);
        }
        Err(JoinError::Abandoned(source.offer.height))
    }

    /// Whether a state is of no use in this node's epoch: it is of another one, and not the one that this epoch begins
    /// with; or it is behind the last height of this epoch, and what follows is not known here.
    fn is_of_another_epoch(&self, header: &LedgerHeader) -> bool {
        let anchor = self.config.anchor.height;
        header.height != anchor && (header.epoch != self.checker.committee.epoch() || header.next_committee.is_some())
    }

    /// Whether a manifest is the one that certified headers of this ledger stand for. Without a root, which only the
    /// state that the epoch begins with may lack, its chunks are only checked against what a peer says; the sum over all
    /// of them against the header.
    fn vouched_for(&self, described: &ManifestResponse) -> Result<(), Unproven> {
        let ManifestResponse { manifest, certified } = described;
        certified.vouch(manifest, self.checker.chain, &self.checker.committee, &self.config.anchor)
    }

    /// Fetches what is missing of the file. Gives the peers that are left.
    async fn chunks(
        &mut self,
        described: &ManifestResponse,
        source: &Source,
    ) -> Result<BTreeSet<AuthorityIndex>, JoinError> {
        let (path, manifest) = (self.site.stream(), Arc::new(described.manifest.clone()));
        let opening = Arc::clone(&manifest);
        let opened = spawn_blocking(move || chunks::open(&path, &opening)).await.map_err(|_| JoinError::Task)?;
        let (file, missing) = opened?;
        let (file, count, name) = (Arc::new(file), manifest.chunks.len(), source.offer.manifest);
        let mut stored = count - missing.len();
        if stored > 0 {
            tracing::info!(stored, count, "going on with a state that was begun before");
        }
        let (start, mut told) = (Instant::now(), Instant::now());
        let height = manifest.summary.height;
        let now_ms = || start.elapsed().as_millis() as u64;
        let mut plan = Chunks::new(missing, &source.peers);
        let mut requests: JoinSet<(Order, io::Result<Outcome>)> = JoinSet::new();
        loop {
            while let Some(order) = plan.next(now_ms()) {
                let (mesh, file, manifest) = (self.mesh.clone(), Arc::clone(&file), Arc::clone(&manifest));
                let patience = self.bulk_patience;
                requests.spawn(async move {
                    let request = StateRequest::Chunk { manifest: name, index: order.index };
                    let body = Request::State(request).to_body();
                    let chunk = match mesh.request(order.peer.0, body, patience).await {
                        Ok(chunk) => chunk,
                        Err(RequestError::Declined | RequestError::Full) => return (order, Ok(Outcome::Refused)),
                        Err(_) => return (order, Ok(Outcome::Failed)),
                    };
                    let stored = spawn_blocking(move || chunks::store(&file, &manifest, order.index, &chunk)).await;
                    (order, stored.unwrap_or(Ok(Outcome::Failed)))
                });
            }
            if plan.is_asked() && requests.is_empty() {
                return Ok(plan.peers());
            }
            if plan.is_abandoned() && requests.is_empty() {
                return Err(JoinError::Abandoned(height));
            }
            self.tell(&manifest, stored, plan.peers().len(), &mut told);
            tokio::select! {
                Some(ended) = requests.join_next() => {
                    let Ok((order, outcome)) = ended else { return Err(JoinError::Task) };
                    let outcome = outcome?;
                    stored += usize::from(outcome == Outcome::Stored);
                    if outcome == Outcome::Lied {
                        self.banish(order.peer, "chunk_not_of_its_manifest");
                    }
                    plan.ended(now_ms(), order, outcome);
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    fn tell(&self, manifest: &StateManifest, stored: usize, peers: usize, told: &mut Instant) {
        let (summary, count) = (&manifest.summary, manifest.chunks.len().max(1));
        let fetched_bytes = (u128::from(summary.bytes) * stored as u128 / count as u128) as u64;
        let state = StateProgress { fetched_bytes, bytes: summary.bytes };
        let progress = SyncProgress { target: summary.height, peers, state: Some(state), ..SyncProgress::default() };
        self.status.syncing(progress);
        if told.elapsed() >= TELL {
            *told = Instant::now();
            tracing::info!(
                height = summary.height.0,
                fetched_bytes = state.fetched_bytes,
                bytes = state.bytes,
                peers,
                "fetching the state"
            );
        }
    }

    async fn history(
        &mut self,
        described: &ManifestResponse,
        peers: &BTreeSet<AuthorityIndex>,
    ) -> Result<Vec<Commit>, JoinError> {
        let mut history = History::below(&described.certified.header, &self.checker.parameters, self.first);
        let mut left = peers.clone();
        while let Some((top, bottom)) = history.wanted() {
            let Some(peer) = left.first().copied() else {
                return Err(JoinError::Abandoned(described.manifest.summary.height));
            };
            let request = StateRequest::History { top, bottom };
            let Some(answer) = ask(self.mesh.clone(), peer, request, BULK_PATIENCE).await else {
                left.remove(&peer);
                continue;
            };
            let checker = self.checker.clone();
            let taken = spawn_blocking(move || {
                let taken = history.take(&checker, &answer);
                (history, taken)
            });
            let (back, taken) = taken.await.map_err(|_| JoinError::Task)?;
            history = back;
            if let Err(what) = taken {
                left.remove(&peer);
                // A peer may have given up what it had; the rest cannot happen to an honest one.
                if what != "history_without_commits" {
                    self.banish(peer, what);
                }
            }
        }
        Ok(history.into_commits())
    }

    async fn build(
        &mut self,
        described: ManifestResponse,
        commits: Vec<Commit>,
        source: &Source,
    ) -> Result<(), JoinError> {
        let replay_from = match self.tables.applied() {
            Ok(applied) => applied.map_or(0, |applied| applied.replay_from),
            Err(error) => return Err(InstallError::Table(error).into()),
        };
        let ManifestResponse { manifest, certified } = described;
        let epochs = self.epochs().map_err(InstallError::Table)?;
        let certificate = certified.proven_certificate(&self.config.anchor, &epochs);
        let base = Base { header: certified.header, certificate, commits, epochs, first: self.first, replay_from };
        let (site, config, identity) = (self.site.clone(), self.config.clone(), self.identity);
        let build = move || {
            let file = File::open(site.stream())?;
            let rows = |index: usize| {
                let packed = chunks::slot(&file, index as u32)?;
                pack::unpack(&manifest.chunks[index], &packed).map_err(io::Error::other)
            };
            let root = manifest.root();
            site.build(identity, &config, &base, &root, &mut pack::Rows::new(manifest.chunks.len(), rows))
        };
        let built = spawn_blocking(build).await.map_err(|_| JoinError::Task)?;
        if matches!(built, Err(InstallError::OtherState | InstallError::Stream(StreamError::Row { .. }))) {
            // All chunks were the manifest's, so all who offered it lied.
            source.peers.iter().for_each(|peer| self.banish(*peer, "state_not_of_its_header"));
            self.site.clear()?;
        }
        built?;
        Ok(())
    }

    /// The proofs of all epochs up to the present one: those that the own state has reached, then those that are known.
    fn epochs(&self) -> Result<Vec<EpochChange>, TableError> {
        let mut found = Vec::new();
        let present = self.config.committee.epoch();
        let mut epoch = Epoch(1);
        while epoch < present {
            epoch = epoch.next();
            let reached = self.tables.epoch_change(epoch)?;
            found.extend(match reached {
                Some(reached) => Some(reached),
                None => self.tables.known_change(epoch)?,
            });
        }
        Ok(found)
    }

    fn banish(&mut self, peer: AuthorityIndex, what: &'static str) {
        self.banished.insert(peer);
        drop(self.replica.try_send(Fact::Misbehaviour { peer, what }));
    }
}

async fn ask(mesh: Mesh, peer: AuthorityIndex, request: StateRequest, patience: Duration) -> Option<Bytes> {
    mesh.request(peer.0, Request::State(request).to_body(), patience).await.ok()
}

#[cfg(test)]
mod tests;
