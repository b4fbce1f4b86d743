//! The guard's fence over a TPM simulator.

use crate::config::{FenceConfig, TpmFence};
use crate::error::{ConfigError, Fault, StoreError};
use crate::guard::{Activation, Approval, Floor, Guard, Identity};
use crate::refusal::{Refusal, Slot};
use crate::{SignError, StartError};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tpm::simulator::Simulator;
use types::block::votes_digest;
use types::{AuthorityIndex, ChainId, Digest, Epoch, Height, Round, RoundStatement, SecretKey};

const INDEX: u32 = 0x0180_0000;
const ROUNDS: u64 = 16;

struct Bench {
    tpm: Simulator,
    dir: TempDir,
    fence: FenceConfig,
}

impl Bench {
    fn new() -> Self {
        let tpm = Simulator::start();
        let dir = tempfile::tempdir().expect("temporary directory");
        let fence = FenceConfig::Tpm(TpmFence { device: tpm.socket(), index: INDEX, rounds: ROUNDS });
        Self { tpm, dir, fence }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("guard")
    }

    fn create(&self) -> Result<(), StartError> {
        Guard::create(&self.path(), &identity(1), &self.fence, 0)
    }

    fn open(&self) -> Result<Guard, StoreError> {
        self.open_at(&self.path())
    }

    fn open_at(&self, path: &Path) -> Result<Guard, StoreError> {
        Guard::open(path, &identity(1), &self.fence).map_err(|error| error.cause)
    }
}

fn identity(author: u16) -> Identity {
    let key = SecretKey::ed25519_from_seed([7; 32]).public_key();
    Identity { chain: ChainId(Digest::sha256(b"chain")), author: AuthorityIndex(author), key }
}

fn sign(guard: &mut Guard, round: u64, variant: u8) -> Result<Approval, SignError> {
    let statement = RoundStatement {
        chain: identity(1).chain,
        epoch: Epoch(0),
        round: Round(round),
        author: AuthorityIndex(1),
        body_digest: Digest::sha256(&[variant]),
        votes_digest: votes_digest(&[]),
    };
    guard.approve(&statement, &[])
}

#[test]
fn a_restored_guard_file_is_told_by_the_tpm_and_a_crash_is_healed() {
    let mut bench = Bench::new();
    bench.create().expect("a new TPM");
    let mut guard = bench.open().expect("a new file");
    assert_eq!(sign(&mut guard, 1, 1), Ok(Approval::Fresh));
    let backup = std::fs::read(bench.path()).expect("own file");
    for round in 2..3 * ROUNDS {
        assert_eq!(sign(&mut guard, round, 1), Ok(Approval::Fresh));
        guard.settle().expect("the TPM answers");
    }
    drop(guard);
    bench.tpm.restart();
    let after_crash = bench.open().expect("the newest file").floor().from.round;
    assert!(after_crash.0 >= 3 * ROUNDS && after_crash.0 <= 4 * ROUNDS, "{after_crash}");

    let newest = std::fs::read(bench.path()).expect("own file");
    // In place, so that nothing else tells.
    std::fs::write(bench.path(), backup).expect("own file");
    assert_eq!(bench.open().err(), Some(ConfigError::GuardStale.into()));
    std::fs::write(bench.path(), newest).expect("own file");
    let mut guard = bench.open().expect("the newest file");
    assert!(matches!(sign(&mut guard, 3 * ROUNDS, 2), Err(SignError::Refused(Refusal::Fenced { from, .. }))
        if from.round == after_crash));
    assert_eq!(sign(&mut guard, after_crash.0, 2), Ok(Approval::Fresh));
    guard.close().expect("the TPM answers");
    drop(guard);
    let mut guard = bench.open().expect("the newest file");
    assert_eq!(sign(&mut guard, after_crash.0 + 1, 2), Ok(Approval::Fresh), "an orderly end loses nothing");
}

#[test]
fn two_signers_on_one_tpm_do_not_both_go_on() {
    let bench = Bench::new();
    bench.create().expect("a new TPM");
    let copy = bench.dir.path().join("copy");
    std::fs::copy(bench.path(), &copy).expect("own directory");
    let mut first = bench.open().expect("a new file");
    let mut second = bench.open_at(&copy).expect("nothing tells them apart yet");
    assert_eq!(sign(&mut first, 1, 1), Ok(Approval::Fresh));
    assert_eq!(sign(&mut second, 1, 2), Err(ConfigError::GuardStale.into()));
    assert_eq!(sign(&mut first, 2, 1), Ok(Approval::Fresh));
}

#[test]
fn another_tpm_or_a_taken_index_is_told_and_an_operators_word_heals_it() {
    let mut bench = Bench::new();
    bench.create().expect("a new TPM");
    sign(&mut bench.open().expect("a new file"), 1, 1).expect("above all");
    let other = Guard::create(&bench.dir.path().join("other"), &identity(2), &bench.fence, 0);
    assert_eq!(other.expect_err("an index for each").cause, ConfigError::FenceForeign.into());
    std::fs::rename(bench.path(), bench.dir.path().join("lost")).expect("own directory");
    assert_eq!(bench.create().expect_err("there was a signer").cause, ConfigError::FenceForeign.into());
    std::fs::rename(bench.dir.path().join("lost"), bench.path()).expect("own directory");

    bench.tpm.replace();
    assert_eq!(bench.open().err(), Some(ConfigError::FenceMissing.into()));
    let from = Floor { from: Slot { epoch: Epoch(0), round: Round(50) }, votes_above: Height(9) };
    let activated = Guard::activate(&bench.path(), &identity(1), &bench.fence, Activation::From(from), 7);
    assert_eq!(activated.expect("the index is made"), from);
    let mut guard = bench.open().expect("vouched for");
    assert!(matches!(sign(&mut guard, 49, 1), Err(SignError::Refused(Refusal::Fenced { .. }))));
    assert_eq!(sign(&mut guard, 50, 1), Ok(Approval::Fresh));
}

#[test]
fn a_tpm_that_is_away_stops_what_is_not_reserved_and_nothing_else() {
    let mut bench = Bench::new();
    bench.create().expect("a new TPM");
    let mut guard = bench.open().expect("a new file");
    sign(&mut guard, 1, 1).expect("above all");
    bench.tpm.stop();
    let last = (2..).take_while(|round| sign(&mut guard, *round, 1).is_ok()).last().expect("some are reserved");
    assert_eq!(last, ROUNDS);
    assert_eq!(sign(&mut guard, last + 1, 1), Err(Fault::FenceSilent.into()));
    assert_eq!(bench.open().err(), Some(ConfigError::GuardLocked.into()));
    bench.tpm.restart();
    assert_eq!(sign(&mut guard, last + 1, 1), Ok(Approval::Fresh));
    drop(guard);
    bench.tpm.stop();
    assert_eq!(bench.open().err(), Some(ConfigError::FenceUnusable.into()));
}

#[test]
fn what_is_no_tpm_and_what_is_out_of_bounds_is_told() {
    let bench = Bench::new();
    let with = |device: &Path, index, rounds| {
        let fence = FenceConfig::Tpm(TpmFence { device: device.to_owned(), index, rounds });
        Guard::create(&bench.path(), &identity(1), &fence, 0).expect_err("not usable")
    };
    let socket = bench.tpm.socket();
    for (error, word) in [
        (with(Path::new("/dev/null"), INDEX, 16), "not one of a TPM"),
        (with(Path::new("/nonexistent"), INDEX, 16), "No such file"),
        (with(&socket, 0x0100_0000, 16), "index"),
        (with(&socket, INDEX, 1), "rounds"),
    ] {
        assert_eq!(error.cause, ConfigError::FenceUnusable.into());
        assert!(error.subject.contains(word), "{error}");
    }
    assert!(!bench.path().exists());
}
