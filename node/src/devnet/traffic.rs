//! Transactions signed ahead: transfers of 1 between random accounts, each exactly as long as asked.
//!
//! Signing costs about as much as verifying, so it happens before the window, on all cores, up to [`AHEAD_BYTES_MAX`];
//! what goes beyond is signed during the run and counted, since it takes time from the validators.

use super::Rate;
use super::accounts::Accounts;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use types::{Amount, ChainId, Transaction, TransactionBody};

/// Transactions in a chunk.
const CHUNK: u64 = 512;
/// Most bytes that are signed ahead.
const AHEAD_BYTES_MAX: u64 = 1 << 30;
/// What `--rate max` is prepared for.
const MAX_TPS_EXPECTED: u64 = 45_000;
/// Chunks that are kept in stock once those signed ahead are used up.
const STOCK: u64 = 16;
/// How long after its intended send time a transaction stays valid.
const VALIDITY: Duration = Duration::from_secs(60);
/// Time for the network to start, in case signing ahead is done sooner.
const START_UP: Duration = Duration::from_secs(5);
/// Transactions that are signed to see what one costs.
const SIGNING_SAMPLE: u32 = 16;

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// For which ledger.
    pub chain: ChainId,
    /// Bytes of each transaction; at least [`Transaction::transfer_overhead`].
    pub payload: usize,
    /// How fast they will be sent.
    pub rate: Rate,
    /// For how long.
    pub duration: Duration,
}

impl Order {
    /// How many will be sent; `None` where only the run can tell.
    fn total(&self) -> Option<u64> {
        match self.rate {
            Rate::PerSecond(rate) => Some(count(rate.into(), self.duration)),
            Rate::Max => None,
        }
    }

    fn expected_tps(&self) -> u64 {
        match self.rate {
            Rate::PerSecond(rate) => rate.into(),
            Rate::Max => MAX_TPS_EXPECTED,
        }
    }

    fn ahead(&self) -> u64 {
        count(self.expected_tps(), self.duration).min(AHEAD_BYTES_MAX / self.payload as u64)
    }
}

fn count(tps: u64, duration: Duration) -> u64 {
    u64::try_from(u128::from(tps) * duration.as_millis() / 1000).unwrap_or(u64::MAX)
}

/// Signs on its own threads; gives out in order.
pub struct Presigner {
    shared: Arc<Shared>,
    current: std::vec::IntoIter<Bytes>,
    next_chunk: u64,
    taken: u64,
    ahead: u64,
}

struct Shared {
    state: Mutex<State>,
    room: Condvar,
    accounts: Accounts,
    order: Order,
    /// When the first transaction was expected to be sent, Unix milliseconds.
    start_ms: u64,
}

struct State {
    ready: BTreeMap<u64, Vec<Bytes>>,
    next: u64,
    limit: u64,
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl Presigner {
    /// Starts a thread for each core.
    pub fn start(accounts: Accounts, order: Order) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let ahead = order.ahead();
        let signing = signing_cost(&accounts).saturating_mul(u32::try_from(ahead / threads as u64).unwrap_or(u32::MAX));
        let start_ms = client::now_ms() + (START_UP + signing).as_millis() as u64;
        let state = State { ready: BTreeMap::new(), next: 0, limit: ahead.div_ceil(CHUNK), stop: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new(), accounts, order, start_ms });
        for _ in 0..threads {
            let shared = shared.clone();
            std::thread::spawn(move || sign_chunks(&shared));
        }
        Self { shared, current: Vec::new().into_iter(), next_chunk: 0, taken: 0, ahead }
    }

    /// How many are signed of those to be signed ahead.
    pub fn progress(&self) -> (u64, u64) {
        let ready = self.shared.state().ready.len() as u64 * CHUNK;
        (ready.min(self.ahead), self.ahead)
    }

    /// The next transaction; `None` where signing does not keep up, or all are given out.
    pub fn next(&mut self) -> Option<Bytes> {
        if self.current.len() == 0 {
            let mut state = self.shared.state();
            self.current = state.ready.remove(&self.next_chunk)?.into_iter();
            self.next_chunk += 1;
            let total = self.shared.order.total().map_or(u64::MAX, |total| total.div_ceil(CHUNK));
            state.limit = state.limit.max((self.next_chunk + STOCK).min(total));
            drop(state);
            self.shared.room.notify_all();
        }
        self.taken += 1;
        self.current.next()
    }

    /// How many were given out beyond those signed ahead.
    pub fn signed_late(&self) -> u64 {
        self.taken.saturating_sub(self.ahead)
    }

    /// How many were signed ahead.
    pub fn signed_ahead(&self) -> u64 {
        self.ahead
    }
}

impl Drop for Presigner {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.room.notify_all();
    }
}

fn sign_chunks(shared: &Shared) {
    loop {
        let mut state = shared.state();
        while !state.stop && state.next >= state.limit {
            state = shared.room.wait(state).expect("no code panics while it holds this lock");
        }
        if state.stop {
            return;
        }
        let chunk = state.next;
        state.next += 1;
        drop(state);
        let signed = sign_chunk(shared, chunk);
        shared.state().ready.insert(chunk, signed);
    }
}

/// About what one signature costs beside processes that are starting up.
fn signing_cost(accounts: &Accounts) -> Duration {
    let sign = |index: u32| std::hint::black_box(accounts.key(0).sign_bytes(&index.to_le_bytes()));
    // The first one builds tables.
    sign(0);
    let start = Instant::now();
    (1..=SIGNING_SAMPLE).for_each(|index| drop(sign(index)));
    start.elapsed() / SIGNING_SAMPLE * 3 / 2
}

fn sign_chunk(shared: &Shared, chunk: u64) -> Vec<Bytes> {
    let Shared { accounts, order, start_ms, .. } = shared;
    let overhead = Transaction::transfer_overhead(accounts.alg());
    let mut random = SplitMix(chunk);
    // One allocation for a chunk, and slices of it.
    let mut all = BytesMut::with_capacity(CHUNK as usize * order.payload);
    for index in chunk * CHUNK..(chunk + 1) * CHUNK {
        let from = random.below(accounts.len());
        let to = (from + 1 + random.below(accounts.len() - 1)) % accounts.len();
        let memo = random.bytes(order.payload - overhead);
        let due_ms = start_ms + index * 1000 / order.expected_tps();
        let valid_until_ms = due_ms + VALIDITY.as_millis() as u64;
        let body = TransactionBody::Transfer { to: accounts.address(to), amount: Amount(1), memo };
        let signed = Transaction::sign(&order.chain, accounts.key(from), valid_until_ms, index, body)
            .expect("--payload is checked to be within the limit of a memo");
        assert_eq!(signed.raw().len(), order.payload, "the overhead of a transfer is a constant");
        all.extend_from_slice(signed.raw());
    }
    let mut all = all.freeze();
    (0..CHUNK).map(|_| all.split_to(order.payload)).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): incompressible and reproducible; nothing secret comes from it.
pub struct SplitMix(pub u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Bytes {
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes.into()
    }
}

/// A clock for intended send times: when transaction `index` is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// When the first is due.
    pub start: Instant,
    /// How many a second.
    pub tps: u32,
}

impl Schedule {
    /// How many are due by now; the first one at the start itself.
    pub fn due(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return 0 };
        u64::try_from(elapsed.as_nanos() * u128::from(self.tps) / 1_000_000_000 + 1).unwrap_or(u64::MAX)
    }

    /// When transaction `index` is due, in microseconds after the start.
    pub fn due_us(&self, index: u64) -> u64 {
        u64::try_from(u128::from(index) * 1_000_000 / u128::from(self.tps)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{AlgId, Digest};

    fn order(rate: Rate) -> Order {
        let chain = ChainId(Digest::ZERO);
        Order { chain, payload: 300, rate, duration: Duration::from_millis(500) }
    }

    fn drain(presigner: &mut Presigner, count: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        while all.len() < count {
            match presigner.next() {
                Some(raw) => all.push(raw),
                None => std::thread::yield_now(),
            }
        }
        all
    }

    #[test]
    fn transactions_have_the_asked_size_and_differ_and_verify_under_every_algorithm() {
        AlgId::signing().for_each(asked_size_and_differ_and_verify);
    }

    fn asked_size_and_differ_and_verify(alg: AlgId) {
        let mut presigner = Presigner::start(Accounts::new(alg, 8), order(Rate::PerSecond(3000)));
        assert_eq!(presigner.signed_ahead(), 1500);
        let all = drain(&mut presigner, 1500);
        let chain = ChainId(Digest::ZERO);
        let parsed: Vec<_> = all.into_iter().map(|raw| Transaction::parse(&chain, raw).expect("just signed")).collect();
        assert!(parsed.iter().all(|transaction| transaction.raw().len() == 300));
        assert!(parsed.iter().step_by(100).all(|transaction| transaction.verify().is_ok()));
        let ids: std::collections::BTreeSet<_> = parsed.iter().map(Transaction::id).collect();
        assert_eq!(ids.len(), 1500);
        assert!(parsed.iter().all(|transaction| transaction.key().alg() == alg));
        assert!(parsed.iter().all(|transaction| match transaction.body() {
            TransactionBody::Transfer { to, amount, .. } => *amount == Amount(1) && *to != transaction.sender(),
            TransactionBody::Certify { .. } | TransactionBody::Govern { .. } | TransactionBody::Call(_) => false,
        }));
        assert_eq!(presigner.signed_late(), 0);
    }

    #[test]
    fn signing_goes_on_when_more_than_expected_is_taken() {
        let mut presigner = Presigner::start(Accounts::new(AlgId::Ed25519, 8), order(Rate::Max));
        let ahead = presigner.signed_ahead();
        drain(&mut presigner, ahead as usize + 2000);
        assert_eq!(presigner.signed_late(), 2000);
    }

    #[test]
    fn the_schedule_is_even() {
        let schedule = Schedule { start: Instant::now(), tps: 10_000 };
        assert_eq!(schedule.due(schedule.start + Duration::from_millis(10)), 101);
        assert_eq!(schedule.due_us(100), 10_000);
        assert_eq!(schedule.due(schedule.start), 1, "the first is due at once");
    }
}
