//! Commit sync (CONSENSUS.md §2.9.4): a node that was left behind fetches ranges of commits from several peers at a
//! time, checks them against certificates, and hands them to the replica in order, while the others keep committing.
//!
//! Three parts: `ranges` decides whom to ask for what, `answer` checks what comes, and this file does the asking. It
//! runs as one task on the network's threads for as long as the node does, and sleeps while the node keeps up.

pub mod answer;
pub mod ranges;

use crate::replica::event::Fact;
use crate::replica::intake::Checker;
use crate::state_sync::join::Joiner;
use crate::status::{Status, SyncProgress};
use crate::wire::Request;
use crossbeam_channel::{Sender, TrySendError};
use ranges::{Order, Outcome, Ranges};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use transport::Mesh;
use types::{AuthorityIndex, Height};

/// How long a peer may take to answer with a range.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether a pause is over.
const LOOK: Duration = Duration::from_millis(50);
/// Pause after a state could not be had.
const STATE_PAUSE: Duration = Duration::from_secs(1);
/// After a state could not be had, commits are tried for so long before it is asked for again, if there are any.
const STATE_REST: Duration = Duration::from_secs(60);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(2);

/// Where the replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is so far behind that it wants commits instead of blocks.
    pub behind: bool,
    /// Its last commit.
    pub tip: Height,
    /// The last height executed.
    pub executed: Height,
    /// A height that some honest peer has executed.
    pub target: Height,
}

/// Fetches commits whenever the replica is behind.
pub struct CommitSync {
    /// To ask.
    pub mesh: Mesh,
    /// To check.
    pub checker: Checker,
    /// Where the replica stands.
    pub standing: watch::Receiver<Standing>,
    /// To the replica.
    pub replica: Sender<Fact>,
    /// Tells of progress.
    pub status: Arc<Status>,
    /// Takes a state where there are no commits to fetch, or too many.
    pub joiner: Joiner,
    /// Heights behind above which a state is taken.
    pub state_above_heights: u64,
}

type Ended = (Order, Outcome<Fact>);

impl CommitSync {
    /// Runs until the replica is gone.
    pub async fn run(mut self) {
        while self.standing.wait_for(|standing| standing.behind).await.is_ok() {
            if self.catch_up().await.is_none() {
                return;
            }
            self.status.synced();
        }
    }

    /// Until the replica has caught up; `None` when it is gone.
    async fn catch_up(&mut self) -> Option<()> {
        let start = Instant::now();
        let mut standing = self.standing.borrow_and_update().clone();
        let mut pace = Pace::new(standing.tip);
        let mut ranges = Ranges::new(standing.tip);
        let mut requests: JoinSet<Ended> = JoinSet::new();
        let mut waiting: Option<Fact> = None;
        let mut rest_until = start;
        tracing::info!(height = standing.tip.0, target = standing.target.0, "fetching commits from peers");
        while standing.behind {
            ranges.advance(standing.tip, standing.executed, standing.target);
            // The replica's queue is full only for moments.
            while let Some(fact) = waiting.take().or_else(|| ranges.ready()) {
                match self.replica.try_send(fact) {
                    Ok(()) => {}
                    Err(TrySendError::Full(fact)) => {
                        waiting = Some(fact);
                        break;
                    }
                    Err(TrySendError::Disconnected(_)) => return None,
                }
            }
            let linked = self.linked();
            let now_ms = |start: Instant| start.elapsed().as_millis() as u64;
            while let Some(order) = ranges.next(now_ms(start), &linked) {
                requests.spawn(ask(self.mesh.clone(), self.checker.clone(), order, self.replica.clone()));
            }
            let too_old = ranges.too_old(now_ms(start), &linked);
            let too_far = standing.target.0.saturating_sub(standing.tip.0) > self.state_above_heights;
            if too_old.is_some() || (too_far && Instant::now() >= rest_until) {
                if self.take_state(&standing, too_old).await {
                    return None;
                }
                tokio::time::sleep(STATE_PAUSE).await;
                rest_until = Instant::now() + STATE_REST;
                (ranges, requests) = (Ranges::new(standing.tip), JoinSet::new());
            }
            pace.tell(&self.status, &standing, ranges.peers_asked());
            tokio::select! {
                Some(ended) = requests.join_next() => {
                    if let Ok((order, outcome)) = ended {
                        ranges.ended(now_ms(start), order, outcome);
                    }
                }
                changed = self.standing.changed() => changed.ok()?,
                () = tokio::time::sleep(LOOK) => {}
            }
            standing = self.standing.borrow_and_update().clone();
        }
        tracing::info!(height = standing.tip.0, seconds = start.elapsed().as_secs_f64(), "caught up with peers");
        Some(())
    }

    /// Has the state of peers take the place of this node's; `false` where it could not be had.
    async fn take_state(&mut self, standing: &Standing, oldest: Option<Height>) -> bool {
        match oldest {
            Some(oldest) => tracing::info!(
                next = standing.tip.next().0,
                oldest = oldest.0,
                "no peer has kept the commits that come next; taking a state"
            ),
            None => tracing::info!(height = standing.tip.0, target = standing.target.0, "far behind; taking a state"),
        }
        match self.joiner.run(standing.tip).await {
            Ok(height) => {
                tracing::info!(height = height.0, "the state of peers is here and is what its certificate says");
                // The node restarts inside; the queue is full only for moments.
                let replica = self.replica.clone();
                tokio::task::spawn_blocking(move || replica.send(Fact::StateReady).is_ok()).await.unwrap_or(false)
            }
            Err(error) => {
                tracing::warn!(%error, "no state could be taken from peers");
                false
            }
        }
    }

    fn linked(&self) -> BTreeSet<AuthorityIndex> {
        self.mesh.peers().iter().filter(|peer| peer.up).map(|peer| AuthorityIndex(peer.index)).collect()
    }
}

/// Asks one peer for one range and checks what it answers.
async fn ask(mesh: Mesh, checker: Checker, order: Order, replica: Sender<Fact>) -> Ended {
    let body = Request::Commits { from: order.from, to: order.to }.to_body();
    let Ok(answer) = mesh.request(order.peer.0, body, PATIENCE).await else { return (order, Outcome::Failed) };
    // Hashing megabytes would hold up the network's thread.
    let checked = tokio::task::spawn_blocking(move || answer::check(&checker, order.from, &answer)).await;
    let outcome = match checked {
        Ok(Ok(answer)) => match answer.commits.last() {
            Some(last) => {
                let last = last.record.height;
                Outcome::Commits { last, commits: Fact::Certified(answer.commits) }
            }
            None => Outcome::Nothing { oldest: answer.oldest, certified: answer.certified },
        },
        Ok(Err(what)) => {
            drop(replica.try_send(Fact::Misbehaviour { peer: order.peer, what }));
            Outcome::Lied
        }
        Err(_) => Outcome::Failed,
    };
    (order, outcome)
}

/// How fast it goes.
struct Pace {
    told: Instant,
    height: Height,
    heights_per_second: f64,
}

impl Pace {
    fn new(height: Height) -> Self {
        Self { told: Instant::now(), height, heights_per_second: 0.0 }
    }

    fn tell(&mut self, status: &Status, standing: &Standing, peers: usize) {
        let since = self.told.elapsed();
        let due = since >= TELL;
        if due {
            self.heights_per_second = (standing.executed.0.saturating_sub(self.height.0)) as f64 / since.as_secs_f64();
            (self.told, self.height) = (Instant::now(), standing.executed);
        }
        let remaining = standing.target.0.saturating_sub(standing.executed.0);
        let seconds_left = (self.heights_per_second > 0.0).then(|| remaining as f64 / self.heights_per_second);
        let progress = SyncProgress {
            height: standing.executed,
            target: standing.target,
            heights_per_second: self.heights_per_second,
            seconds_left,
            peers,
            state: None,
        };
        status.syncing(progress);
        if due {
            tracing::info!(
                height = standing.executed.0,
                target = standing.target.0,
                remaining,
                peers,
                heights_per_second = self.heights_per_second.round(),
                seconds_left = seconds_left.map(f64::round),
                "catching up"
            );
        }
    }
}
