//! Seeded schedules of faults against the real signer service over SoftHSM2 behind the module with faults: each draws
//! faults, requests, restarts, removal and return. After each: never two statements signed for one slot, never a wrong
//! signature, never a PIN tried twice, never a crash, and the signer signs again once the faults have stopped.
//!
//! `STELE_HSM_SCHEDULES` is how many are run; `STELE_HSM_SEED` the first one's seed. A failure names its seed.

#[path = "schedules/schedule.rs"]
mod schedule;

use hsm::softhsm;
use std::process::Command;

/// As many as take half a minute on two cores.
const SCHEDULES: u64 = 240;
/// Processes side by side: most of a schedule is waiting for the pauses of a token that is left alone.
const WORKERS: u64 = 8;

const SHARE: &str = "STELE_TEST_SHARE";
const TEST: &str = "a_signer_survives_every_schedule_of_faults_and_signs_nothing_twice";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn a_signer_survives_every_schedule_of_faults_and_signs_nothing_twice() {
    let (count, first) = (number("STELE_HSM_SCHEDULES").unwrap_or(SCHEDULES), number("STELE_HSM_SEED").unwrap_or(0));
    if let Some(share) = number(SHARE) {
        let seeds = (first..first + count).filter(|seed| seed % WORKERS == share);
        return schedule::run(seeds);
    }
    // Each worker has a token of its own, which all its schedules share.
    let workers: Vec<_> = (0..WORKERS)
        .map(|share| {
            let directory = tempfile::tempdir().expect("temporary directory");
            let conf = softhsm::write_conf(directory.path()).expect("own directory");
            let mut worker = Command::new(std::env::current_exe().expect("this test"));
            worker.args(["--exact", TEST, "--nocapture"]).env(SHARE, share.to_string());
            worker.env(softhsm::CONF_VARIABLE, conf);
            worker.env(pkcs11_faults::CONTROL_VARIABLE, directory.path().join("faults.toml"));
            worker.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            (directory, worker.spawn().expect("runs again"))
        })
        .collect();
    let mut failed = Vec::new();
    for (_directory, worker) in workers {
        let output = worker.wait_with_output().expect("our child");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() {
            text.lines().filter(|line| line.starts_with("Seen")).for_each(|line| println!("{line}"));
        } else {
            failed.push(text);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
