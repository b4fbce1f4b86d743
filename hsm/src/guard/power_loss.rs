//! The guard over a disk that dies at any operation and loses any sectors that were not synced. What was acknowledged
//! before must be known after; these tests fail when a sync is taken out of the journal.

use super::disk::{Disk, ExchangeError};
use super::record::{HEADER_LEN, RECORD_MAX};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use types::block::votes_digest;
use types::{Digest, Epoch, Height, Round, SecretKey};

const SMALL: Limits = Limits { rounds: 4, heights: 6, file_bytes: HEADER_LEN + RECORD_MAX + 1024 };
const SECTOR: usize = 512;

/// A file's content as a process sees it and as a power loss leaves it.
struct Platters {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Operations until the disk fails; after that all do.
    lives: u32,
    /// Chooses what is lost.
    seed: u64,
}

impl Platters {
    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether this operation still happens.
    fn live(&mut self) -> bool {
        let alive = self.lives > 0;
        self.lives = self.lives.saturating_sub(1);
        alive
    }

    /// Each sector that was not synced is kept or lost.
    fn lose_power(&mut self) {
        self.durable.resize(self.seen.len(), 0);
        for start in (0..self.seen.len()).step_by(SECTOR) {
            let end = (start + SECTOR).min(self.seen.len());
            if self.seen[start..end] != self.durable[start..end] && self.random() % 2 == 0 {
                self.durable[start..end].copy_from_slice(&self.seen[start..end]);
            }
        }
        self.seen = self.durable.clone();
    }
}

#[derive(Clone)]
struct FaultyDisk(Arc<Mutex<Platters>>);

impl FaultyDisk {
    fn with<T>(&self, act: impl FnOnce(&mut Platters) -> T) -> T {
        act(&mut self.0.lock().expect("one thread"))
    }
}

impl Disk for FaultyDisk {
    fn write(&mut self, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.with(|disk| {
            // A failing write may still have done its work, or a part of it.
            let alive = disk.live();
            let written = if alive { bytes.len() } else { disk.random() as usize % (bytes.len() + 1) };
            let end = offset + written;
            let length = disk.seen.len().max(end);
            disk.seen.resize(length, 0);
            disk.seen[offset..end].copy_from_slice(&bytes[..written]);
            if alive { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|disk| {
            if !disk.live() {
                return Err(io::ErrorKind::Other.into());
            }
            disk.durable = disk.seen.clone();
            Ok(())
        })
    }

    fn exchange(&mut self, content: &[u8]) -> Result<(), ExchangeError> {
        self.with(|disk| {
            if disk.live() {
                (disk.seen, disk.durable) = (content.to_vec(), content.to_vec());
                return Ok(());
            }
            if disk.random() % 2 == 0 {
                return Err(ExchangeError::Undone(io::ErrorKind::StorageFull.into()));
            }
            if disk.random() % 2 == 0 {
                (disk.seen, disk.durable) = (content.to_vec(), content.to_vec());
            }
            Err(ExchangeError::Unknown(io::ErrorKind::Other.into()))
        })
    }
}

/// One life of a signer: what it is asked for, when its disk fails, and how it ends.
#[derive(Clone, Debug)]
struct Life {
    asks: Vec<(u64, u8, Vec<(u64, u8)>)>,
    lives: u32,
    power_loss: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let votes = prop_oneof![
        4 => prop::collection::vec((0..30u64, 0..2u8), 0..3),
        1 => prop::collection::vec((0..30u64, Just(0)), 30..60),
    ];
    let asks = prop::collection::vec((0..40u64, 0..2u8, votes), 1..40);
    (asks, 0..60u32, any::<bool>()).prop_map(|(asks, lives, power_loss)| Life { asks, lives, power_loss })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_forgotten_whenever_the_disk_or_the_process_dies(
        lives in prop::collection::vec(life(), 1..8),
        seed in any::<u64>(),
    ) {
        let key = SecretKey::ed25519_from_seed([7; 32]);
        let chain = ChainId(Digest::sha256(b"chain"));
        let identity = Identity { chain, author: AuthorityIndex(2), key: key.public_key() };
        let content = journal::empty(&identity, SMALL.file_bytes);
        let disk = FaultyDisk(Arc::new(Mutex::new(Platters { seen: content.clone(), durable: content, lives: 0, seed })));
        let (mut rounds, mut heights) = (BTreeMap::new(), BTreeMap::new());
        for life in lives {
            let content = disk.with(|disk| {
                disk.lives = life.lives;
                disk.seen.clone()
            });
            match Guard::on_disk(Box::new(disk.clone()), &content, &identity, SMALL) {
                Ok(mut guard) => for (round, variant, votes) in life.asks {
                    let votes: Vec<_> = votes
                        .into_iter()
                        .map(|(height, variant)| HeaderVote { height: Height(height), header: Digest::sha256(&[variant]) })
                        .collect();
                    let statement = RoundStatement {
                        chain,
                        epoch: Epoch(0),
                        round: Round(round),
                        author: AuthorityIndex(2),
                        body_digest: Digest::sha256(&[variant]),
                        votes_digest: votes_digest(&votes),
                    };
                    // What is approved is signed, and from then on out in the world.
                    if guard.approve(&statement, &votes).is_ok() {
                        guard.signed(&statement, &key.sign(&statement.message()));
                        prop_assert_eq!(*rounds.entry(round).or_insert(statement.digest()), statement.digest());
                        for vote in &votes {
                            prop_assert_eq!(*heights.entry(vote.height).or_insert(vote.header), vote.header);
                        }
                    }
                },
                Err(cause) => {
                    // The only reason not to open is a disk that fails again; it never leaves what looks like damage.
                    prop_assert_eq!(cause, Fault::GuardWrite.into());
                }
            }
            if life.power_loss {
                disk.with(Platters::lose_power);
            }
        }
    }
}
