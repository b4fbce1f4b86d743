//! The guard against crashes at every byte, against damage, and against a naive model that never forgets.

use super::record::{HEADER_LEN, RECORD_MAX};
use super::simulated::SimulatedDisk;
use super::*;
use crate::error::StoreError;
use crate::refusal::Refusal;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use types::block::votes_digest;
use types::{Digest, Epoch, Height, Round, SecretKey};

const SMALL: Limits = Limits { rounds: 4, heights: 6, file_bytes: HEADER_LEN + RECORD_MAX + 1024 };

struct Bench {
    _dir: TempDir,
    path: PathBuf,
    identity: Identity,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let identity =
            Identity { chain: ChainId(Digest::sha256(b"chain")), author: AuthorityIndex(2), key: key().public_key() };
        let path = dir.path().join("guard");
        create(&path, &identity).expect("new file");
        Self { _dir: dir, path, identity }
    }

    fn open(&self) -> Guard {
        open(&self.path, &self.identity).expect("intact file")
    }

    fn failure(&self) -> StoreError {
        open(&self.path, &self.identity).err().expect("does not open")
    }

    /// Opens content that is in memory.
    fn open_in(&self, disk: &SimulatedDisk) -> Result<Guard, StoreError> {
        Guard::on_disk(Box::new(disk.clone()), &disk.content(), &self.identity, SMALL, machine())
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("own file")
    }

    fn write(&self, content: &[u8]) {
        std::fs::write(&self.path, content).expect("own file");
    }
}

fn machine() -> Witness {
    Witness::Machine(Digest::sha256(b"machine"))
}

fn create(path: &Path, identity: &Identity) -> Result<(), StartError> {
    Guard::create_with(path, identity, SMALL, &mut machine(), Floor::NONE, (Act::Created, 0))
}

fn open(path: &Path, identity: &Identity) -> Result<Guard, StoreError> {
    let (file, content) = LockedFile::open(path).map_err(|error| error.cause)?;
    Guard::on_disk(Box::new(file), &content, identity, SMALL, machine())
}

fn key() -> SecretKey {
    SecretKey::ed25519_from_seed([7; 32])
}

fn vote(height: u64, variant: u8) -> HeaderVote {
    HeaderVote { height: Height(height), header: Digest::sha256(&[variant]) }
}

fn statement(epoch: u64, round: u64, variant: u8, votes: &[HeaderVote]) -> RoundStatement {
    RoundStatement {
        chain: ChainId(Digest::sha256(b"chain")),
        epoch: Epoch(epoch),
        round: Round(round),
        author: AuthorityIndex(2),
        body_digest: Digest::sha256(&[variant]),
        votes_digest: votes_digest(votes),
    }
}

/// Approves and signs.
fn sign(guard: &mut Guard, round: u64, variant: u8, votes: &[HeaderVote]) -> Result<Approval, SignError> {
    let statement = statement(0, round, variant, votes);
    let approval = guard.approve(&statement, votes)?;
    guard.signed(&statement, &key().sign(&statement.message()));
    Ok(approval)
}

/// A file before and after one more record, which has votes enough to span sectors.
fn before_and_after() -> (Bench, Vec<u8>, Vec<u8>) {
    let bench = Bench::new();
    let mut guard = bench.open();
    assert_eq!(sign(&mut guard, 1, 1, &[vote(1, 1)]), Ok(Approval::Fresh));
    let before = bench.content();
    let votes: Vec<_> = (2..=40).map(|height| vote(height, 1)).collect();
    assert_eq!(sign(&mut guard, 2, 1, &votes), Ok(Approval::Fresh));
    let after = bench.content();
    drop(guard);
    (bench, before, after)
}

/// Whether the second of two records is there. The first must be, in any case.
fn second_is_known(bench: &Bench, content: &[u8]) -> bool {
    let disk = SimulatedDisk::new(content, 0);
    let mut guard = bench.open_in(&disk).expect("no damage");
    let first = statement(0, 1, 2, &[]);
    let refusal = guard.approve(&first, &[]).expect_err("another statement for a signed round");
    assert!(matches!(refusal, SignError::Refused(Refusal::SecondStatement { .. } | Refusal::BelowMark { .. })));
    let second = guard.mark().expect("at least one record").round == Round(2);
    // Either way the guard goes on: with another statement for a round that was never approved, and after it.
    assert_eq!(sign(&mut guard, 2, 2, &[]).is_ok(), !second);
    assert_eq!(sign(&mut guard, 3, 1, &[]), Ok(Approval::Fresh));
    let again = bench.open_in(&disk).expect("no damage");
    assert_eq!(again.mark().map(|mark| mark.round), Some(Round(3)));
    second
}

#[test]
fn a_write_cut_at_any_byte_leaves_the_old_or_the_new_state() {
    let (bench, before, after) = before_and_after();
    let start = before.iter().rposition(|byte| *byte != 0).expect("a record") + 1;
    let end = after.iter().rposition(|byte| *byte != 0).expect("a record") + 1;
    for cut in start..=end {
        let content = [&after[..cut], &before[cut..]].concat();
        assert_eq!(second_is_known(&bench, &content), cut == end, "cut at {cut} of {start}..{end}");
        let shortened = bench.open_in(&SimulatedDisk::new(&after[..cut], 0));
        assert_eq!(shortened.err(), Some(ConfigError::GuardDamaged.into()), "no crash shortens a file");
    }
}

#[test]
fn a_write_of_which_any_sectors_are_missing_leaves_the_old_state() {
    let (bench, before, after) = before_and_after();
    let changed: Vec<usize> =
        (0..after.len() / 512).filter(|n| before[n * 512..][..512] != after[n * 512..][..512]).collect();
    assert!(changed.len() >= 3, "the record spans sectors");
    for written in 0..1u32 << changed.len() {
        let mut content = before.clone();
        for (_, n) in changed.iter().enumerate().filter(|(bit, _)| written >> bit & 1 == 1) {
            content[n * 512..][..512].copy_from_slice(&after[n * 512..][..512]);
        }
        assert_eq!(second_is_known(&bench, &content), written + 1 == 1 << changed.len(), "sectors {written:b}");
    }
}

#[test]
fn no_altered_byte_makes_the_guard_forget() {
    let (bench, _, after) = before_and_after();
    let end = after.iter().rposition(|byte| *byte != 0).expect("a record") + 1;
    for at in 0..end {
        for bit in 0..8 {
            let mut content = after.clone();
            content[at] ^= 1 << bit;
            let opened = bench.open_in(&SimulatedDisk::new(&content, 0));
            let cause = opened.err().unwrap_or_else(|| panic!("bit {bit} of byte {at} is not noticed"));
            assert_eq!(cause, ConfigError::GuardDamaged.into());
        }
    }
}

#[test]
fn a_file_of_another_identity_missing_or_empty_does_not_open() {
    let bench = Bench::new();
    for other in [
        Identity { chain: ChainId(Digest::sha256(b"other")), ..bench.identity.clone() },
        Identity { author: AuthorityIndex(3), ..bench.identity.clone() },
        Identity { key: SecretKey::ed25519_from_seed([8; 32]).public_key(), ..bench.identity.clone() },
    ] {
        let cause = open(&bench.path, &other).err().expect("another's file");
        assert_eq!(cause, ConfigError::GuardForeign.into());
    }
    for length in [0, 1, HEADER_LEN - 1] {
        bench.write(&bench.content()[..length.min(bench.content().len())]);
        assert_eq!(bench.failure(), ConfigError::GuardDamaged.into());
    }
    std::fs::remove_file(&bench.path).expect("own file");
    assert_eq!(bench.failure(), ConfigError::GuardMissing.into());
    assert!(!bench.path.exists(), "a missing file is never made by opening it");
}

#[test]
fn an_existing_file_is_never_made_anew() {
    let bench = Bench::new();
    assert_eq!(sign(&mut bench.open(), 5, 1, &[]), Ok(Approval::Fresh));
    let error = create(&bench.path, &bench.identity).expect_err("exists");
    assert_eq!(error.cause, ConfigError::KeyExists.into());
    assert_eq!(bench.open().mark().map(|mark| mark.round), Some(Round(5)));
}

#[test]
fn a_second_guard_on_one_file_is_refused_even_after_compactions() {
    let bench = Bench::new();
    let mut guard = bench.open();
    for round in 1..100 {
        assert_eq!(sign(&mut guard, round, 1, &[]), Ok(Approval::Fresh));
        assert_eq!(bench.failure(), ConfigError::GuardLocked.into());
    }
    drop(guard);
    assert_eq!(bench.open().mark().map(|mark| mark.round), Some(Round(99)));
}

#[test]
fn a_compaction_that_fails_signs_nothing_and_is_tried_again() {
    let bench = Bench::new();
    let mut guard = bench.open();
    let obstacle = crate::atomic_file::in_the_making(&bench.path);
    std::fs::create_dir(&obstacle).expect("own directory");
    let mut round = 0;
    let error = loop {
        round += 1;
        if let Err(error) = sign(&mut guard, round, 1, &[]) {
            break error;
        }
    };
    assert_eq!(error, Fault::GuardCompaction.into());
    std::fs::remove_dir(&obstacle).expect("own directory");
    assert_eq!(sign(&mut guard, round, 2, &[]), Ok(Approval::Fresh), "the failed round was never approved");
    drop(guard);
    assert_eq!(bench.open().mark().map(|mark| mark.round), Some(Round(round)));
}

#[test]
fn an_identical_request_gets_its_signature_again_also_after_a_restart() {
    let bench = Bench::new();
    let mut guard = bench.open();
    let votes = [vote(1, 1), vote(2, 1)];
    assert_eq!(sign(&mut guard, 1, 1, &votes), Ok(Approval::Fresh));
    let signature = key().sign(&statement(0, 1, 1, &votes).message());
    assert_eq!(sign(&mut guard, 1, 1, &votes), Ok(Approval::Known(Some(signature.clone()))));
    assert_eq!(sign(&mut guard, 2, 1, &votes), Ok(Approval::Fresh), "the same votes again are no second header");
    drop(guard);
    let mut guard = bench.open();
    assert_eq!(sign(&mut guard, 1, 1, &votes), Ok(Approval::Known(Some(signature))), "written with the next record");
    assert_eq!(sign(&mut guard, 2, 1, &votes), Ok(Approval::Known(None)), "the last one is signed again");
}

#[test]
fn refusals_carry_both_digests() {
    let bench = Bench::new();
    let mut guard = bench.open();
    let slot = |round| Slot { epoch: Epoch(0), round: Round(round) };
    let digest = |round, variant, votes: &[HeaderVote]| statement(0, round, variant, votes).digest();
    assert_eq!(sign(&mut guard, 5, 1, &[vote(7, 1)]), Ok(Approval::Fresh));
    assert_eq!(
        sign(&mut guard, 5, 2, &[]),
        Err(Refusal::SecondStatement {
            slot: slot(5),
            approved: digest(5, 1, &[vote(7, 1)]),
            asked: digest(5, 2, &[])
        }
        .into())
    );
    assert_eq!(
        sign(&mut guard, 4, 2, &[]),
        Err(Refusal::BelowMark {
            slot: slot(4),
            mark: slot(5),
            approved: digest(5, 1, &[vote(7, 1)]),
            asked: digest(4, 2, &[])
        }
        .into())
    );
    let (voted, asked) = (Digest::sha256(&[1]), Digest::sha256(&[2]));
    let second = Err(Refusal::SecondHeader { height: Height(7), voted, asked }.into());
    assert_eq!(sign(&mut guard, 6, 1, &[vote(7, 2)]), second);
    let within = Err(Refusal::SecondHeader { height: Height(8), voted, asked }.into());
    assert_eq!(sign(&mut guard, 6, 1, &[vote(8, 1), vote(8, 2)]), within);
    let many: Vec<_> = (8..20).map(|height| vote(height, 1)).collect();
    assert_eq!(sign(&mut guard, 6, 1, &many), Ok(Approval::Fresh));
    let forgotten = Err(Refusal::ForgottenHeight { height: Height(7), floor: Height(13) }.into());
    assert_eq!(sign(&mut guard, 7, 1, &[vote(7, 1)]), forgotten);
}

/// A clock that goes backwards changes nothing, because nobody looks at one: times are handed in for the record.
#[test]
fn no_clock_decides_anything() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut places = vec![sources.join("guard"), sources.join("guard.rs")];
    while let Some(file) = places.pop() {
        if file.is_dir() {
            let entries = std::fs::read_dir(&file).expect("the sources are there");
            places.extend(entries.map(|entry| entry.expect("readable").path()));
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source file");
        for clock in
            [concat!("System", "Time"), concat!("Inst", "ant"), concat!("UNIX_", "EPOCH"), "chrono", "clock_gettime"]
        {
            let own = file.ends_with("tests.rs");
            assert!(own || !text.contains(clock), "{clock} in {}", file.display());
        }
    }
}

/// One step of the property test.
#[derive(Clone, Debug)]
enum Step {
    Ask {
        epoch: u64,
        round: u64,
        variant: u8,
        votes: Vec<(u64, u8)>,
    },
    /// The process dies and a new one opens the file.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let votes = prop::collection::vec((0..24u64, 0..2u8), 0..4);
    prop_oneof![
        12 => (0..2u64, 0..60u64, 0..2u8, votes)
            .prop_map(|(epoch, round, variant, votes)| Step::Ask { epoch, round, variant, votes }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_two_digests_for_a_round_or_a_height_whatever_is_asked(steps in prop::collection::vec(step(), 1..200)) {
        let bench = Bench::new();
        let disk = SimulatedDisk::new(&bench.content(), 0);
        let mut guard = bench.open_in(&disk).expect("a new file");
        let (mut rounds, mut heights) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            let Step::Ask { epoch, round, variant, votes } = step else {
                guard = bench.open_in(&disk).expect("no damage");
                continue;
            };
            let votes: Vec<_> = votes.into_iter().map(|(height, variant)| vote(height, variant)).collect();
            let statement = statement(epoch, round, variant, &votes);
            let slot = (epoch, round);
            match guard.approve(&statement, &votes) {
                Ok(approval) => {
                    prop_assert_eq!(rounds.contains_key(&slot), matches!(approval, Approval::Known(_)));
                    prop_assert_eq!(*rounds.entry(slot).or_insert(statement.digest()), statement.digest());
                    for vote in &votes {
                        prop_assert_eq!(*heights.entry(vote.height).or_insert(vote.header), vote.header);
                    }
                    guard.signed(&statement, &key().sign(&statement.message()));
                }
                Err(SignError::Refused(_)) => {
                    // A statement above all, whose votes are new and agree, is never refused.
                    let above = rounds.last_key_value().is_none_or(|(last, _)| slot > *last);
                    let new = votes.iter().all(|vote| heights.last_key_value().is_none_or(|(last, _)| vote.height > *last));
                    let agree = votes.iter().all(|a| votes.iter().all(|b| a.height != b.height || a.header == b.header));
                    prop_assert!(!(above && new && agree));
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
            let mark = guard.mark().map(|mark| (mark.epoch.0, mark.round.0));
            prop_assert_eq!(mark, rounds.last_key_value().map(|(slot, _)| *slot));
        }
    }

    #[test]
    fn random_bytes_never_panic(content in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = record::parse_header(&content);
        let _ = record::Record::parse(&content);
        let bench = Bench::new();
        let mut file = bench.content();
        file.truncate(HEADER_LEN);
        file.extend_from_slice(&content);
        let _ = bench.open_in(&SimulatedDisk::new(&file, 0));
    }
}
