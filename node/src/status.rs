//! What a node knows of itself, for the RPC, the metrics and the live screen. Written by the stages as they go, read by
//! anyone; nothing here decides anything.

use crate::config::Restraint;
use crate::health::Condition;
use crate::progress::{Progress, Pulse};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use storage::log::LogFault;
use types::{AuthorityIndex, Digest, Epoch, Height, LedgerHeader, Reject, Round};

/// Longest certification time that is told apart: one minute.
const CERTIFIED_US_MAX: u64 = 60_000_000;

/// What a node is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Reading the log, executing what it holds, meeting peers.
    #[default]
    Starting,
    /// Without links to a quorum: nothing can be committed.
    NoQuorum,
    /// Taking part.
    Ready,
    /// Fetching what it missed.
    CatchingUp,
    /// Its own blocks of before are lost: it makes none until peers have said how far they went.
    Reclaiming {
        /// Peers that have not.
        waiting_for: Vec<AuthorityIndex>,
    },
    /// Its state contradicts a quorum, or more than f validators are faulty: no output, reads go on. With the reason.
    Halted(String),
    /// Finishing.
    Stopping,
}

/// Where the ledger stands on this node.
#[derive(Clone, Copy, Debug)]
pub struct Tip {
    /// Last executed height.
    pub height: Height,
    /// The epoch that it belongs to.
    pub epoch: Epoch,
    /// Digest of its header.
    pub header: Digest,
    /// Its BFT time in milliseconds.
    pub time_ms: u64,
    /// Transactions applied since genesis.
    pub committed: u64,
    /// Transactions with a rejected receipt since genesis.
    pub rejected: u64,
    /// Whether a change is decided that ends the epoch.
    pub closing: bool,
}

impl Tip {
    /// At a header with this digest; the counters are the caller's to fill in.
    pub fn at(header: &LedgerHeader, digest: Digest) -> Self {
        let (height, epoch, time_ms) = (header.height, header.epoch, header.timestamp.0);
        Self { height, epoch, header: digest, time_ms, committed: 0, rejected: 0, closing: false }
    }
}

/// Gauges of the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Round of consensus.
    pub round: Round,
    /// Round of the last own block.
    pub own_round: Round,
    /// Last ordered height.
    pub ordered: Height,
    /// Blocks in the DAG.
    pub dag_blocks: usize,
    /// Blocks that wait for history.
    pub suspended: usize,
    /// Blocks held by the replica.
    pub blocks: usize,
    /// Validators left out of leadership.
    pub excluded: usize,
    /// Transactions in the pool.
    pub pool: usize,
    /// By how many milliseconds the clock differs from a quorum's, while no blocks are made for that.
    pub clock_alarm_ms: u64,
}

/// How far a node that was left behind has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SyncProgress {
    /// The last height executed.
    pub height: Height,
    /// A height that the others have reached.
    pub target: Height,
    /// Heights executed a second, of late.
    pub heights_per_second: f64,
    /// Seconds until the target is reached at this pace, where there is one.
    pub seconds_left: Option<f64>,
    /// Peers that are being asked.
    pub peers: usize,
    /// Of the state that is fetched, where it is a state and not commits.
    pub state: Option<StateProgress>,
}

/// How much of a state is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateProgress {
    /// Bytes that are here.
    pub fetched_bytes: u64,
    /// Bytes of all of it.
    pub bytes: u64,
}

/// See the module. The locks are held for single assignments.
pub struct Status {
    started: Instant,
    state: Mutex<State>,
    tip: Mutex<Option<Tip>>,
    gauges: Mutex<Gauges>,
    certified: AtomicU64,
    certified_us: Mutex<Histogram<u64>>,
    peers: Mutex<BTreeMap<AuthorityIndex, bool>>,
    receipts: AtomicU64,
    admitted: AtomicU64,
    busy: AtomicU64,
    refused: Mutex<BTreeMap<Reject, u64>>,
    misbehaviour: Mutex<BTreeMap<(AuthorityIndex, &'static str), u64>>,
    execution_queue: AtomicUsize,
    log_fault: Mutex<Option<LogFault>>,
    log_scrubbed: AtomicU64,
    log_damaged: AtomicU64,
    sync: Mutex<Option<SyncProgress>>,
    epoch_behind: AtomicBool,
    pulse: Arc<Pulse>,
    condition: Arc<Condition>,
}

impl Status {
    /// Of a node that starts now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            state: Mutex::default(),
            tip: Mutex::default(),
            gauges: Mutex::default(),
            certified: AtomicU64::new(0),
            certified_us: Mutex::new(Histogram::new_with_max(CERTIFIED_US_MAX, 2).expect("two digits up to a minute")),
            peers: Mutex::default(),
            receipts: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            refused: Mutex::default(),
            misbehaviour: Mutex::default(),
            execution_queue: AtomicUsize::new(0),
            log_fault: Mutex::default(),
            log_scrubbed: AtomicU64::new(0),
            log_damaged: AtomicU64::new(0),
            sync: Mutex::default(),
            epoch_behind: AtomicBool::default(),
            pulse: Arc::default(),
            condition: Arc::default(),
        }
    }

    /// Of a node that starts again inside. What was counted for clients goes on; what is said of peers, whose places in
    /// the committee may be others now, begins anew.
    pub fn go_on(&self) -> Self {
        let count = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        self.pulse.rest();
        Self {
            started: self.started,
            tip: Mutex::new(self.tip()),
            certified: count(&self.certified),
            certified_us: Mutex::new(lock(&self.certified_us).clone()),
            receipts: count(&self.receipts),
            admitted: count(&self.admitted),
            busy: count(&self.busy),
            refused: Mutex::new(self.refusals()),
            pulse: Arc::clone(&self.pulse),
            condition: Arc::clone(&self.condition),
            ..Self::new()
        }
    }

    /// Up to which height certificates are stored.
    pub fn certificates_stored(&self, height: Height) {
        self.certified.fetch_max(height.0, Ordering::Relaxed);
    }

    /// Changes the state. A halted node stays halted.
    pub fn set_state(&self, state: State) {
        let mut current = lock(&self.state);
        if !matches!(*current, State::Halted(_)) && *current != state {
            tracing::info!(?state, "state changed");
            *current = state;
        }
    }

    /// Whether honest peers are in a later epoch.
    pub fn set_epoch_behind(&self, behind: bool) {
        self.epoch_behind.store(behind, Ordering::Relaxed);
    }

    /// Whether this node may have missed an epoch: it has no quorum, or honest peers are in a later one.
    pub fn may_miss_an_epoch(&self) -> bool {
        self.epoch_behind.load(Ordering::Relaxed) || self.state() == State::NoQuorum
    }

    /// A commit was applied.
    pub fn applied(&self, tip: Tip) {
        *lock(&self.tip) = Some(tip);
    }

    /// A certificate was assembled, this long after its height was ordered here.
    pub fn certified(&self, height: Height, after: Duration) {
        self.certified.fetch_max(height.0, Ordering::Relaxed);
        lock(&self.certified_us).saturating_record(after.as_micros() as u64);
    }

    /// Gauges of the protocol, after each pass of the replica.
    pub fn protocol(&self, core: &consensus::Status, pool: usize, blocks: usize) {
        // A clock that is wrong, or a machine that is not well, keeps this node from proposing, and no new start mends it.
        let waiting = pool > 0
            && self.state() == State::Ready
            && core.clock_alarm_ms.is_none()
            && self.restraint() < Restraint::Silence;
        self.pulse.pass(Instant::now(), core.round, waiting);
        *lock(&self.gauges) = Gauges {
            round: core.round,
            own_round: core.last_own_round,
            ordered: core.last_commit_height,
            dag_blocks: core.dag_blocks,
            suspended: core.suspended,
            excluded: core.excluded.len(),
            blocks,
            pool,
            clock_alarm_ms: core.clock_alarm_ms.map_or(0, i64::unsigned_abs),
        };
    }

    /// A link came up or went down.
    pub fn peer(&self, peer: AuthorityIndex, up: bool) {
        lock(&self.peers).insert(peer, up);
    }

    /// Receipts were sent to clients.
    pub fn receipts_delivered(&self, count: u64) {
        self.receipts.fetch_add(count, Ordering::Relaxed);
    }

    /// Transactions went into the pool.
    pub fn admitted(&self, count: u64) {
        self.admitted.fetch_add(count, Ordering::Relaxed);
    }

    /// Transactions were sent back because a queue was full.
    pub fn busy(&self, count: u64) {
        self.busy.fetch_add(count, Ordering::Relaxed);
    }

    /// Transactions were refused at the door.
    pub fn refused(&self, reject: Reject, count: u64) {
        *lock(&self.refused).entry(reject).or_default() += count;
    }

    /// A peer broke a rule.
    pub fn misbehaviour(&self, peer: AuthorityIndex, what: &'static str) {
        let mut counts = lock(&self.misbehaviour);
        let count = counts.entry((peer, what)).or_default();
        *count += 1;
        if count.is_power_of_two() {
            tracing::warn!(peer = peer.0, what, count = *count, "a peer broke a rule");
        }
    }

    /// Commits that wait for execution.
    pub fn set_execution_queue(&self, commits: usize) {
        self.execution_queue.store(commits, Ordering::Relaxed);
    }

    /// The log failed.
    pub fn log_failed(&self, fault: LogFault) {
        *lock(&self.log_fault) = Some(fault);
    }

    /// So many bytes of the log were read again.
    pub fn log_scrubbed(&self, bytes: u64) {
        self.log_scrubbed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many places of the log have turned out to be damaged so far.
    pub fn log_damaged_at_least(&self, places: u64) {
        self.log_damaged.fetch_max(places, Ordering::Relaxed);
    }

    /// So many places of the whole log are damaged.
    pub fn log_damaged(&self, places: u64) {
        self.log_damaged.store(places, Ordering::Relaxed);
    }

    /// Commits are being fetched.
    pub fn syncing(&self, progress: SyncProgress) {
        *lock(&self.sync) = Some(progress);
    }

    /// No commits are being fetched any more.
    pub fn synced(&self) {
        *lock(&self.sync) = None;
    }

    /// How far a node that was left behind has come; none while it keeps up.
    pub fn sync(&self) -> Option<SyncProgress> {
        *lock(&self.sync)
    }

    /// How the node gets on, for whoever watches it.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// How the machine is, for whoever looks after it.
    pub fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition)
    }

    /// How far the node holds back for its machine's health.
    pub fn restraint(&self) -> Restraint {
        self.condition.restraint()
    }

    /// How the node gets on.
    pub fn progress(&self) -> Progress {
        self.pulse.judge(Instant::now())
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the node is doing.
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Where the ledger stands; none before the first height is known.
    pub fn tip(&self) -> Option<Tip> {
        *lock(&self.tip)
    }

    /// Gauges of the protocol.
    pub fn gauges(&self) -> Gauges {
        *lock(&self.gauges)
    }

    /// Highest certified height.
    pub fn certified_height(&self) -> Height {
        Height(self.certified.load(Ordering::Relaxed))
    }

    /// Time from ordering to certificate at a quantile, in milliseconds.
    pub fn certified_ms(&self, quantile: f64) -> f64 {
        lock(&self.certified_us).value_at_quantile(quantile) as f64 / 1e3
    }

    /// Peers whose link is up.
    pub fn peers_up(&self) -> u32 {
        lock(&self.peers).values().filter(|up| **up).count() as u32
    }

    /// Receipts sent to clients.
    pub fn receipts(&self) -> u64 {
        self.receipts.load(Ordering::Relaxed)
    }

    /// Transactions that went into the pool.
    pub fn admitted_count(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Transactions that were sent back because a queue was full.
    pub fn busy_count(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Transactions refused at the door, by reason.
    pub fn refusals(&self) -> BTreeMap<Reject, u64> {
        lock(&self.refused).clone()
    }

    /// Broken rules, by peer and rule.
    pub fn misbehaviours(&self) -> BTreeMap<(AuthorityIndex, &'static str), u64> {
        lock(&self.misbehaviour).clone()
    }

    /// Commits that wait for execution.
    pub fn execution_queue(&self) -> usize {
        self.execution_queue.load(Ordering::Relaxed)
    }

    /// Why the log failed, if it did.
    pub fn log_fault(&self) -> Option<LogFault> {
        *lock(&self.log_fault)
    }

    /// Bytes of the log that were read again since the start, and how many places of it are damaged.
    pub fn log_scrub(&self) -> (u64, u64) {
        (self.log_scrubbed.load(Ordering::Relaxed), self.log_damaged.load(Ordering::Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section is one assignment or one count: a panic elsewhere leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_starts_again_inside_goes_on_counting_and_knows_no_peer() {
        let before = Status::new();
        before.set_state(State::Ready);
        before.peer(AuthorityIndex(3), true);
        before.admitted(5);
        before.refused(Reject::Overdraft, 2);
        before.certified(Height(7), Duration::from_millis(3));
        let after = before.go_on();
        assert_eq!((after.state(), after.peers_up()), (State::Starting, 0));
        assert_eq!(after.refusals(), BTreeMap::from([(Reject::Overdraft, 2)]));
        assert_eq!((after.certified_height(), after.admitted_count()), (Height(7), 5));
        let earlier = before.uptime();
        assert!(after.certified_ms(1.0) > 0.0 && after.uptime() >= earlier);
    }
}
