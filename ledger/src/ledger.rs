//! The ledger: a chain of headers over a state, moved forward by one ordered commit at a time.

use crate::account::Account;
use crate::admission::{Admission, Admitted};
use crate::checkpoint::{LedgerCheckpoint, ResumeError};
use crate::engine::{Effects, Engine, Moment};
use crate::executed::{Executed, LiveChange, Work};
use crate::governance::Approvals;
use crate::input::CommitInput;
use crate::live::{LiveBucket, LiveSet};
use crate::lthash::{Accumulator, Element, LtHash};
use crate::proof;
use crate::screen::{Policy, Screen};
use crate::shard::Shard;
use crate::state::{StateFault, StateReader};
use crate::table::TableKey;
use crate::value::Value;
use std::num::NonZeroU16;
use std::sync::Arc;
use types::header::HEADER_VERSION;
use types::{
    Anchor, ChainId, Digest, EpochStart, Genesis, GenesisError, Height, LedgerEvent, LedgerHeader, Outcome, StateKey,
    TransactionBody, TransactionId,
};

/// Most shards, and so most worker threads; a larger number counts as this.
const SHARDS_MAX: u16 = 64;

/// Local knobs. None of them changes a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Values kept in memory, over all shards; about 180 bytes for an account. Values that storage may not hold yet are
    /// kept beyond this. Default 262,144.
    pub cached_values: usize,
    /// Fewest operations of a commit that are worth waking the shard workers for; a smaller one runs in line over the
    /// same shards. Workers wait for each other's values, so they pay only where each has a core of its own: 512 is good
    /// there, and `usize::MAX` where validators share cores. Default 4,096.
    pub parallel_min: usize,
    /// Keys the lookup tables, so that clients cannot make addresses collide in them. Any number that they do not know.
    pub table_seed: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { cached_values: 1 << 18, parallel_min: 4_096, table_seed: 0 }
    }
}

/// See the head of this file. One thread owns it; [`Ledger::screen`] is for the others.
pub struct Ledger {
    chain: ChainId,
    epoch: EpochStart,
    approvals: Approvals,
    policy: Policy,
    table_key: TableKey,
    shards: NonZeroU16,
    engine: Engine,
    live: LiveSet,
    state: LtHash,
    header: LedgerHeader,
    header_digest: Digest,
}

impl Ledger {
    /// A new ledger, with the result of height 0: its header and the accounts that genesis allocates, which storage must
    /// hold before the first commit is executed.
    ///
    /// # Errors
    /// [`GenesisError`] where [`Genesis::check`] would fail on the committee or the algorithms.
    pub fn genesis(
        genesis: &Genesis,
        shards: NonZeroU16,
        reader: Arc<dyn StateReader>,
        options: LedgerOptions,
    ) -> Result<(Self, Executed), GenesisError> {
        let start = EpochStart::first(genesis)?;
        let mut accounts: Vec<(StateKey, Value)> = genesis
            .accounts
            .iter()
            .map(|allocation| (allocation.address, Account { balance: allocation.balance, transfers_out: 0 }))
            .map(|(address, account)| (address.into(), account.into()))
            .collect();
        accounts.sort_unstable_by_key(|(key, _)| *key);
        let state = LtHash::of_state(accounts.iter().cloned(), [], &Approvals::default());
        let header = LedgerHeader {
            version: HEADER_VERSION,
            chain: genesis.chain_id(),
            epoch: start.epoch(),
            committee: start.committee.digest(),
            height: Height(0),
            previous: Digest::ZERO,
            commit: Digest::ZERO,
            transaction_root: proof::transaction_root([]),
            receipt_root: proof::receipt_root(&[]),
            state_digest: state.digest(),
            state_root: Digest::ZERO,
            timestamp: genesis.timestamp(),
            next_committee: None,
        };
        let work = Work { values_changed: accounts.len() as u64, expansions: accounts.len() as u64, ..Work::default() };
        let ledger = Self::over(genesis, start, header, state, shards, reader, options)?;
        let executed = Executed {
            header: ledger.header.clone(),
            header_digest: ledger.header_digest,
            receipts: Vec::new(),
            before: vec![None; accounts.len()],
            changes: accounts.into_iter().map(|(key, value)| (key, Some(value))).collect(),
            events: Vec::new(),
            certified: Vec::new(),
            live: LiveChange::default(),
            checkpoint: ledger.checkpoint(),
            closing: false,
            next_epoch: None,
            faulty: Vec::new(),
            work,
        };
        Ok((ledger, executed))
    }

    /// The ledger as it stood after the height of a checkpoint. `live` are the buckets that storage holds for it, in any
    /// order: those added up to that height and not dropped. `start` is the epoch of the next height.
    ///
    /// # Errors
    /// [`ResumeError`] where checkpoint, genesis and live ids do not belong together. The accounts are not looked at;
    /// an audit compares [`LtHash::of_state`] with [`LedgerCheckpoint::state`].
    pub fn resume(
        genesis: &Genesis,
        start: EpochStart,
        checkpoint: LedgerCheckpoint,
        live: impl IntoIterator<Item = LiveBucket>,
        shards: NonZeroU16,
        reader: Arc<dyn StateReader>,
        options: LedgerOptions,
    ) -> Result<Self, ResumeError> {
        let LedgerCheckpoint { header, state, live_ids, live_buckets, approvals } = checkpoint;
        let (expected, found) = (genesis.chain_id(), header.chain);
        if expected != found {
            return Err(ResumeError::OtherChain { expected, found });
        }
        let (expected, found) = (header.state_digest, state.digest());
        if expected != found {
            return Err(ResumeError::StateDigest { expected, found });
        }
        let in_epoch = match header.next_committee {
            Some(next) => {
                next == EpochStart::digest_of(&start.committee, &start.parameters)
                    && start.anchor == Anchor::of(&header)
            }
            None => header.committee == start.committee.digest() && header.height >= start.anchor.height,
        };
        if !in_epoch {
            return Err(ResumeError::OtherEpoch);
        }
        let mut ledger = Self::over(genesis, start, header, state, shards, reader, options)?;
        ledger.approvals = approvals;
        let mut fresh = true;
        for bucket in live {
            let digest = bucket.digest();
            fresh &= bucket.height <= ledger.header.height && ledger.live.insert(&bucket, digest);
        }
        let (ids, buckets) = (ledger.live.ids().count(), ledger.live.bucket_count());
        if !fresh || (ids, buckets) != (live_ids, live_buckets) {
            let (expected_ids, expected_buckets) = (live_ids, live_buckets);
            return Err(ResumeError::LiveIds { ids, buckets, expected_ids, expected_buckets });
        }
        Ok(ledger)
    }

    /// Executes the next commit. What it returns must be stored, at once or later; see [`Ledger::persisted`].
    ///
    /// # Errors
    /// [`StateFault`] where storage fails; the ledger is unchanged and the commit may be tried again.
    ///
    /// # Panics
    /// Where the commit is not the next one or its time runs backwards: both would be a bug of ordering.
    pub fn execute(&mut self, input: CommitInput) -> Result<Executed, StateFault> {
        assert_eq!(input.height, self.header.height.next(), "commits are executed one after the other");
        assert!(input.timestamp >= self.header.timestamp, "BFT time never runs backwards");
        let (run_out, run_out_ids) = self.live.run_out(input.timestamp);
        let Admitted { operations, mut receipts, claimed, faulty, approvals } =
            self.admission(run_out_ids).admit(&input);
        let (effects, transaction_root) =
            self.engine.run(operations, Moment { height: input.height, time: input.timestamp }, || {
                proof::transaction_root(receipts.iter().map(|receipt| receipt.transaction))
            });
        let Effects { rejects, events, values, before, state, mut work } = effects?;
        for (position, reject) in rejects {
            receipts[position as usize].outcome = Outcome::Rejected(reject);
        }
        for (position, events) in &events {
            receipts[*position as usize].outcome = Outcome::Emitted(LedgerEvent::digest(events));
        }
        self.state.combine(&state);
        work.expansions += run_out.len() as u64 + u64::from(claimed.is_some());
        self.change_live(&input, &run_out, claimed.as_ref());
        if let Some(approvals) = approvals {
            work.expansions += self.change_approvals(approvals);
        }
        let closing = self.approvals.decided().is_some();
        let next = input.last_of_epoch.then(|| self.policy.electorate.next_epoch(&self.approvals));
        if next.is_some() {
            work.expansions += self.change_approvals(Approvals::default());
        }
        self.header = LedgerHeader {
            version: HEADER_VERSION,
            chain: self.chain,
            epoch: self.epoch.epoch(),
            committee: self.epoch.committee.digest(),
            height: input.height,
            previous: self.header_digest,
            commit: input.commit,
            transaction_root,
            receipt_root: proof::receipt_root(&receipts),
            state_digest: self.state.digest(),
            state_root: input.state_root,
            timestamp: input.timestamp,
            next_committee: next.as_ref().map(|(committee, parameters)| EpochStart::digest_of(committee, parameters)),
        };
        self.header_digest = self.header.digest();
        let next_epoch = next.map(|(committee, parameters)| {
            let start = EpochStart { committee, parameters, anchor: Anchor::of(&self.header) };
            self.enter(start.clone());
            start
        });
        let certified = input.transactions.iter().zip(&receipts).filter_map(certified).collect();
        Ok(Executed {
            header: self.header.clone(),
            header_digest: self.header_digest,
            receipts,
            changes: values,
            before,
            events,
            certified,
            live: LiveChange { added: claimed, dropped: run_out.into_iter().map(|(height, _)| height).collect() },
            checkpoint: self.checkpoint(),
            closing,
            next_epoch,
            faulty,
            work,
        })
    }

    /// Says that every read through [`StateReader`] from now on sees all changes up to this height. Until then the
    /// values that were changed stay in memory, so a caller that never says it never frees them.
    pub fn persisted(&mut self, height: Height) {
        self.engine.persisted(height);
    }

    /// The last height and its header.
    pub fn tip(&self) -> (Height, &LedgerHeader) {
        (self.header.height, &self.header)
    }

    /// Digest of the last header.
    pub fn header_digest(&self) -> Digest {
        self.header_digest
    }

    /// What [`Ledger::resume`] continues from.
    pub fn checkpoint(&self) -> LedgerCheckpoint {
        LedgerCheckpoint {
            header: self.header.clone(),
            state: self.state.clone(),
            live_ids: self.live.ids().count(),
            live_buckets: self.live.bucket_count(),
            approvals: self.approvals.clone(),
        }
    }

    /// The epoch of the next height.
    pub fn epoch(&self) -> &EpochStart {
        &self.epoch
    }

    /// What the governance approves.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// The cheap checks of ingress, for any thread.
    pub fn screen(&self) -> Screen {
        Screen::new(self.policy.clone(), Arc::clone(self.live.ids()))
    }

    fn over(
        genesis: &Genesis,
        start: EpochStart,
        header: LedgerHeader,
        state: LtHash,
        shards: NonZeroU16,
        reader: Arc<dyn StateReader>,
        options: LedgerOptions,
    ) -> Result<Self, GenesisError> {
        let shards = shards.min(NonZeroU16::new(SHARDS_MAX).expect("SHARDS_MAX is not zero"));
        let values = options.cached_values.div_ceil(usize::from(shards.get()));
        let table_key = TableKey::new(options.table_seed);
        let shard = |_| Shard::new(values, header.height, table_key);
        Ok(Self {
            chain: header.chain,
            approvals: Approvals::default(),
            policy: Policy::new(genesis, &start)?,
            table_key,
            shards,
            engine: Engine::new((0..shards.get()).map(shard).collect(), options.parallel_min, reader),
            live: LiveSet::new(start.parameters.live_ids_max, table_key),
            epoch: start,
            state,
            header_digest: header.digest(),
            header,
        })
    }

    fn admission(&self, run_out_ids: u64) -> Admission<'_> {
        let live = self.live.ids();
        Admission {
            policy: &self.policy,
            live,
            approvals: &self.approvals,
            room: (self.epoch.parameters.live_ids_max + run_out_ids).saturating_sub(live.count()),
            shards: self.shards,
            table_key: self.table_key,
        }
    }

    /// Goes on in the next epoch, under its rules.
    fn enter(&mut self, start: EpochStart) {
        self.policy = self.policy.next(&start);
        self.live.set_max(start.parameters.live_ids_max);
        self.epoch = start;
    }

    /// Puts other approvals in the place of those there are, in the state digest too. Gives the expansions it took.
    fn change_approvals(&mut self, approvals: Approvals) -> u64 {
        let mut change = Accumulator::default();
        let (before, after) = (self.approvals.element(), approvals.element());
        before.iter().for_each(|before| change.remove(&Element::approvals(before)));
        after.iter().for_each(|after| change.add(&Element::approvals(after)));
        self.state.combine(&change.sum());
        self.approvals = approvals;
        u64::from(before.is_some()) + u64::from(after.is_some())
    }

    /// Drops the buckets that have run out and takes in the new one, in the set and in the state digest.
    fn change_live(&mut self, input: &CommitInput, run_out: &[(Height, Digest)], claimed: Option<&LiveBucket>) {
        let mut change = Accumulator::default();
        run_out.iter().for_each(|(height, digest)| change.remove(&Element::live(*height, digest)));
        self.live.drop_run_out(input.timestamp);
        if let Some(bucket) = claimed {
            let digest = bucket.digest();
            change.add(&Element::live(bucket.height, &digest));
            assert!(self.live.insert(bucket, digest), "admission claims only ids that are not live");
        }
        self.state.combine(&change.sum());
    }
}

fn certified(
    (entry, receipt): (&crate::input::OrderedTransaction, &types::Receipt),
) -> Option<(Digest, TransactionId)> {
    match (receipt.outcome, entry.transaction.as_ref().ok()?.body()) {
        (Outcome::Applied, TransactionBody::Certify { document, .. }) => Some((*document, receipt.transaction)),
        _ => None,
    }
}
