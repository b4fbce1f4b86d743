//! Who is asked for commits: validators over the node's own links, and backups. What they give is proven before it is used.

use super::RepairError;
use crate::backup::depot::Depot;
use crate::backup::read::{Reading, Runs};
use crate::committees::Checkers;
use crate::config::Setup;
use crate::identity::SignerIdentity;
use crate::node::links;
use crate::replica::commit_sync::answer;
use crate::replica::event::CertifiedCommit;
use crate::replica::intake::Refused;
use crate::wire::{CommitsResponse, Request};
use hsm::SignerClient;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use transport::{EventLimits, Mesh, event_channel};
use types::{Genesis, Height};

/// How long a validator may take to answer, and how long a link may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);
const LINK: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// Gives commits.
pub trait Fetch {
    /// Proven commits from a height on, at least one, up to about another.
    fn commits(&mut self, from: Height, to: Height) -> Result<Vec<CertifiedCommit>, RepairError>;
}

/// Asks one after the other.
pub struct Several(pub Vec<Box<dyn Fetch>>);

impl Fetch for Several {
    fn commits(&mut self, from: Height, to: Height) -> Result<Vec<CertifiedCommit>, RepairError> {
        let mut last = RepairError::Nobody { height: from, reason: None };
        for fetch in &mut self.0 {
            match fetch.commits(from, to) {
                Ok(commits) => return Ok(commits),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A backup or an archive. What is asked for rises, so the range that was asked for last is gone on with: each is got and
/// checked once. Memory: one range, and the commits of a run.
pub struct FromBackup {
    depot: Depot,
    genesis: Genesis,
    at: Option<(Reading, Runs)>,
}

impl FromBackup {
    /// Of the ledger of this genesis.
    pub fn new(depot: Depot, genesis: Genesis) -> Self {
        Self { depot, genesis, at: None }
    }

    /// Begins the range of a height. The manifest is read anew: since the last range a backup may have been added to.
    fn begin(&self, height: Height) -> Result<(Reading, Runs), RepairError> {
        let mut reading = Reading::open(&self.depot, Some(self.genesis.clone()))?;
        let ranges = &reading.manifest.ranges;
        let index = ranges.iter().position(|range| (range.from..=range.to).contains(&height));
        let index = index.ok_or(RepairError::Nobody { height, reason: None })?;
        reading.skip(index);
        let runs = reading.runs(&self.depot, index)?;
        Ok((reading, runs))
    }
}

impl Fetch for FromBackup {
    fn commits(&mut self, from: Height, _to: Height) -> Result<Vec<CertifiedCommit>, RepairError> {
        let nobody = RepairError::Nobody { height: from, reason: None };
        // Before another range is got, the last one is let go of.
        let (mut reading, mut runs) = match self.at.take().filter(|(_, runs)| runs.holds(from)) {
            Some(at) => at,
            None => self.begin(from)?,
        };
        while let Some(mut commits) = reading.next_run(&mut runs)? {
            commits.retain(|commit| commit.record.height >= from);
            if !commits.is_empty() {
                self.at = Some((reading, runs));
                return Ok(commits);
            }
        }
        Err(nobody)
    }
}

/// Validators.
pub struct FromPeers {
    runtime: Runtime,
    mesh: Mesh,
    /// Whom to ask, by their places in the committee.
    peers: Vec<(u16, String)>,
    checkers: Checkers,
}

impl FromPeers {
    /// Links to validators of the last committee that is known, by their names, as this node.
    pub fn connect(setup: &Setup, checkers: Checkers, names: &[String]) -> Result<Self, RepairError> {
        let links = |error: Box<dyn std::error::Error + Send + Sync>| RepairError::Links(error);
        let signer = SignerClient::connect(&setup.signer_socket).map_err(|error| links(error.into()))?;
        let plan = setup.in_epoch(checkers.last(), signer.public_keys()).map_err(|error| links(error.into()))?;
        let members = plan.committee.authorities();
        let peer = |name: &String| {
            let place = members.iter().position(|member| member.name == *name);
            let known = members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
            let unknown = RepairError::UnknownPeer { name: name.clone(), known };
            place.map(|place| (place as u16, name.clone())).ok_or(unknown)
        };
        let peers = names.iter().map(peer).collect::<Result<_, _>>()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| links(error.into()))?;
        let secret = links::reset_secret(&plan).map_err(|error| links(error.into()))?;
        let (sink, mut events) = event_channel(EventLimits::default());
        let config = links::mesh_config(&plan, secret);
        let mesh = runtime.block_on(Mesh::start(config, SignerIdentity::new(signer, &plan), sink));
        let mesh = mesh.map_err(|error| links(error.into()))?;
        // What peers send of their own accord is for a node.
        runtime.spawn(async move { while events.recv().await.is_some() {} });
        Ok(Self { runtime, mesh, peers, checkers })
    }

    fn ask(&mut self, peer: u16, from: Height, to: Height) -> Result<Option<Vec<CertifiedCommit>>, Refused> {
        let since = Instant::now();
        let up = |mesh: &Mesh| mesh.peers().iter().any(|status| status.index == peer && status.up);
        while !up(&self.mesh) {
            if since.elapsed() > LINK {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
        let body = Request::Commits { from, to }.to_body();
        let Ok(answer) = self.runtime.block_on(self.mesh.request(peer, body, PATIENCE)) else { return Ok(None) };
        let response = CommitsResponse::parse(&answer).map_err(|_| "undecodable_commits")?;
        let Some(last) = response.commits.last() else { return Ok(None) };
        let checker = self.checkers.of_epoch(last.header.epoch).map_err(|_| "commits_of_an_unknown_epoch")?;
        let commits = answer::check_response(checker, from, response)?.commits;
        Ok(Some(commits).filter(|commits| !commits.is_empty()))
    }
}

impl Fetch for FromPeers {
    fn commits(&mut self, from: Height, to: Height) -> Result<Vec<CertifiedCommit>, RepairError> {
        let mut reason = None;
        for (peer, name) in self.peers.clone() {
            match self.ask(peer, from, to) {
                Ok(Some(commits)) => return Ok(commits),
                Ok(None) => tracing::warn!(name, height = from.0, "a peer has not given the commits it was asked for"),
                Err(refused) => {
                    tracing::warn!(name, height = from.0, refused, "what a peer gave is not what was certified");
                    reason = Some(refused);
                }
            }
        }
        Err(RepairError::Nobody { height: from, reason })
    }
}
