//! Replay protection: the ids of executed transactions that have not run out (CONSENSUS.md §0.5).
//!
//! Ids are replicated state. They live in buckets, one a height, and a bucket is one element of the state digest; it is
//! dropped as a whole by the first commit whose time is past the last `valid_until` in it. In memory an id is its first
//! 16 bytes: finding two transactions that share them takes 2^64 hashes, and gains a `Duplicate` for one's own second
//! transaction, on every node alike.

use crate::table::TableKey;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use types::codec::put_list;
use types::{Decode, DecodeError, Digest, Encode, Hasher, Height, Reader, TimestampMs, TransactionId};

/// Independently locked parts of the set.
const PARTS: usize = 64;
/// Most ids of a stored bucket.
const BUCKET_IDS_MAX: usize = 1 << 28;

/// The part of an id that is kept in memory.
pub(crate) type Prefix = [u8; 16];

pub(crate) fn prefix_of(id: &TransactionId) -> Prefix {
    *id.0.as_bytes().first_chunk().expect("a digest has 32 bytes")
}

/// The ids that one height claimed, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBucket {
    /// The height.
    pub height: Height,
    /// Latest `valid_until` among them.
    pub max_valid_until: TimestampMs,
    /// The ids.
    pub ids: Vec<TransactionId>,
}

impl LiveBucket {
    /// What stands in the state digest for the whole bucket.
    pub fn digest(&self) -> Digest {
        let mut content = Vec::with_capacity(12 + self.ids.len() * Digest::ENCODED_LEN);
        self.max_valid_until.encode(&mut content);
        put_list(&mut content, &self.ids);
        Hasher::new("stele/live-bucket/1").with(&content).finish()
    }
}

impl Encode for LiveBucket {
    fn encode(&self, out: &mut Vec<u8>) {
        self.height.encode(out);
        self.max_valid_until.encode(out);
        put_list(out, &self.ids);
    }
}

impl Decode for LiveBucket {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            height: Height::decode(reader)?,
            max_valid_until: TimestampMs::decode(reader)?,
            ids: reader.list("live ids", BUCKET_IDS_MAX)?,
        })
    }
}

/// The set of live ids, readable from any thread.
///
/// The locks are an exception to the rule of one owner: ingress asks for duplicates on its own threads at the rate of
/// submission, and only the executing thread writes, one id at a time.
#[derive(Debug)]
pub struct LiveIds {
    parts: Box<[RwLock<HashSet<Prefix, TableKey>>]>,
    count: AtomicU64,
    max: AtomicU64,
}

impl LiveIds {
    fn new(max: u64, key: TableKey) -> Self {
        let parts = (0..PARTS).map(|_| RwLock::new(HashSet::with_hasher(key))).collect();
        Self { parts, count: AtomicU64::new(0), max: AtomicU64::new(max) }
    }

    fn part(&self, prefix: &Prefix) -> &RwLock<HashSet<Prefix, TableKey>> {
        &self.parts[usize::from(prefix[15]) % PARTS]
    }

    /// Whether an id is live.
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.holds(&prefix_of(id))
    }

    /// Ids in the set.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether the set holds as many as the epoch allows.
    pub fn is_full(&self) -> bool {
        self.count() >= self.max.load(Ordering::Relaxed)
    }

    pub(crate) fn holds(&self, prefix: &Prefix) -> bool {
        // A set of plain values is whole even if a writer panicked between two of them; the same holds below.
        self.part(prefix).read().unwrap_or_else(PoisonError::into_inner).contains(prefix)
    }

    fn insert(&self, prefix: Prefix) -> bool {
        let fresh = self.part(&prefix).write().unwrap_or_else(PoisonError::into_inner).insert(prefix);
        if fresh {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        fresh
    }

    fn remove(&self, prefix: &Prefix) {
        if self.part(prefix).write().unwrap_or_else(PoisonError::into_inner).remove(prefix) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What is kept of a bucket in memory.
#[derive(Debug)]
struct Kept {
    digest: Digest,
    prefixes: Box<[Prefix]>,
}

/// The writing side: the set and its buckets, in the order in which they run out.
#[derive(Debug)]
pub(crate) struct LiveSet {
    ids: Arc<LiveIds>,
    buckets: BTreeMap<(TimestampMs, Height), Kept>,
}

impl LiveSet {
    pub(crate) fn new(max: u64, key: TableKey) -> Self {
        Self { ids: Arc::new(LiveIds::new(max, key)), buckets: BTreeMap::new() }
    }

    /// Takes in the bucket of a height; `false` where one of its ids was live already.
    pub(crate) fn insert(&mut self, bucket: &LiveBucket, digest: Digest) -> bool {
        let prefixes: Box<[Prefix]> = bucket.ids.iter().map(prefix_of).collect();
        let fresh = prefixes.iter().filter(|prefix| self.ids.insert(**prefix)).count() == prefixes.len();
        self.buckets.insert((bucket.max_valid_until, bucket.height), Kept { digest, prefixes }).is_none() && fresh
    }

    /// Drops the buckets of [`LiveSet::run_out`].
    pub(crate) fn drop_run_out(&mut self, time: TimestampMs) {
        while let Some(first) = self.buckets.first_entry() {
            if first.key().0 >= time {
                break;
            }
            for prefix in &first.remove().prefixes {
                self.ids.remove(prefix);
            }
        }
    }

    /// Buckets that a commit at `time` drops, with their digests, and the number of ids in them.
    pub(crate) fn run_out(&self, time: TimestampMs) -> (Vec<(Height, Digest)>, u64) {
        let (mut dropped, mut ids) = (Vec::new(), 0);
        for ((_, height), kept) in self.buckets.range(..(time, Height(0))) {
            dropped.push((*height, kept.digest));
            ids += kept.prefixes.len() as u64;
        }
        dropped.sort_unstable_by_key(|(height, _)| *height);
        (dropped, ids)
    }

    pub(crate) fn ids(&self) -> &Arc<LiveIds> {
        &self.ids
    }

    /// How many ids the next epoch allows.
    pub(crate) fn set_max(&self, max: u64) {
        self.ids.max.store(max, Ordering::Relaxed);
    }

    pub(crate) fn bucket_count(&self) -> u64 {
        self.buckets.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(height: u64, max_valid_until: u64, ids: &[&str]) -> LiveBucket {
        LiveBucket {
            height: Height(height),
            max_valid_until: TimestampMs(max_valid_until),
            ids: ids.iter().map(|id| TransactionId(Digest::sha256(id.as_bytes()))).collect(),
        }
    }

    #[test]
    fn a_bucket_runs_out_strictly_after_its_last_moment_whatever_the_order_of_heights() {
        let mut live = LiveSet::new(100, TableKey::new(0));
        let buckets = [bucket(1, 50, &["a", "b"]), bucket(2, 20, &["c"]), bucket(3, 50, &["d"])];
        for bucket in &buckets {
            assert!(live.insert(bucket, bucket.digest()));
        }
        assert_eq!(live.run_out(TimestampMs(20)).0, vec![]);
        assert_eq!(live.run_out(TimestampMs(21)), (vec![(Height(2), buckets[1].digest())], 1));
        live.drop_run_out(TimestampMs(21));
        assert_eq!((live.ids.count(), live.bucket_count()), (3, 2));
        let (dropped, ids) = live.run_out(TimestampMs(51));
        assert_eq!((dropped.iter().map(|(height, _)| height.0).collect::<Vec<_>>(), ids), (vec![1, 3], 3));
        live.drop_run_out(TimestampMs(51));
        assert_eq!((live.ids.count(), live.bucket_count()), (0, 0));
        assert!(!live.ids.contains(&buckets[0].ids[0]));
    }

    #[test]
    fn a_repeated_id_is_noticed() {
        let mut live = LiveSet::new(100, TableKey::new(0));
        let (first, second) = (bucket(1, 50, &["a"]), bucket(2, 50, &["b", "a"]));
        assert!(live.insert(&first, first.digest()));
        assert!(!live.insert(&second, second.digest()));
    }

    #[test]
    fn a_bucket_reads_back_and_its_digest_covers_order_and_time() {
        let one = bucket(1, 50, &["a", "b"]);
        assert_eq!(LiveBucket::from_bytes(&one.to_bytes()).as_ref(), Ok(&one));
        assert_ne!(one.digest(), bucket(1, 50, &["b", "a"]).digest());
        assert_ne!(one.digest(), bucket(1, 51, &["a", "b"]).digest());
    }
}
