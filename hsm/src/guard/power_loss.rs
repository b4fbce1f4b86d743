//! The guard over a disk that dies at any operation and loses any sectors that were not synced. What was acknowledged
//! before must be known after; these tests fail when a sync is taken out of the journal.

use super::record::{HEADER_LEN, RECORD_MAX};
use super::simulated::SimulatedDisk;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use types::block::votes_digest;
use types::{Digest, Epoch, Height, Round, SecretKey};

const SMALL: Limits = Limits { rounds: 4, heights: 6, file_bytes: HEADER_LEN + RECORD_MAX + 1024 };
/// A round, a variant of its body, and heights with variants of their headers.
type Ask = (u64, u8, Vec<(u64, u8)>);

fn machine() -> Witness {
    Witness::Machine(Digest::sha256(b"machine"))
}

/// One life of a signer: what it is asked for, when its disk fails, and how it ends.
#[derive(Clone, Debug)]
struct Life {
    asks: Vec<Ask>,
    lives: u64,
    power_loss: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let votes = prop_oneof![
        4 => prop::collection::vec((0..30u64, 0..2u8), 0..3),
        1 => prop::collection::vec((0..30u64, Just(0)), 30..60),
    ];
    let asks = prop::collection::vec((0..40u64, 0..2u8, votes), 1..40);
    (asks, 0..60u64, any::<bool>()).prop_map(|(asks, lives, power_loss)| Life { asks, lives, power_loss })
}

/// The process dies between write and sync; the next one reads the record, answers on it, and then the power goes.
#[test]
fn a_record_that_only_the_process_before_saw_is_durable_before_it_is_answered_on() {
    let key = SecretKey::ed25519_from_seed([7; 32]);
    let chain = ChainId(Digest::sha256(b"chain"));
    let identity = Identity { chain, author: AuthorityIndex(2), key: key.public_key() };
    let statement = |variant| RoundStatement {
        chain,
        epoch: Epoch(0),
        round: Round(1),
        author: AuthorityIndex(2),
        body_digest: Digest::sha256(&[variant]),
        votes_digest: votes_digest(&[]),
    };
    for seed in 0..32 {
        let disk = SimulatedDisk::guard(&identity, SMALL, &mut machine(), seed);
        let open =
            || Guard::on_disk(Box::new(disk.clone()), &disk.content(), &identity, SMALL, machine()).expect("no damage");
        let mut first = open();
        disk.fail_after(1);
        assert_eq!(first.approve(&statement(1), &[]), Err(Fault::GuardWrite.into()));
        disk.fail_after(u64::MAX);
        assert_eq!(first.approve(&statement(1), &[]), Err(Fault::GuardWrite.into()), "not before a restart");
        assert_eq!(open().approve(&statement(1), &[]), Ok(Approval::Known(None)));
        disk.lose_power();
        let other = open().approve(&statement(2), &[]);
        assert!(matches!(other, Err(SignError::Refused(_))), "seed {seed}: {other:?}");
    }
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
        let disk = SimulatedDisk::guard(&identity, SMALL, &mut machine(), seed);
        let (mut rounds, mut heights) = (BTreeMap::new(), BTreeMap::new());
        for life in lives {
            disk.fail_after(life.lives);
            match Guard::on_disk(Box::new(disk.clone()), &disk.content(), &identity, SMALL, machine()) {
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
                disk.lose_power();
            }
        }
    }
}
