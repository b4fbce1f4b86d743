//! Power that goes at any moment: the ceremony goes on in the step it was in, and nothing is made twice.

use crate::fake::{Box1, SCRIPT, Table, run, start};
use hsm::ceremony::conduct::{ConductError, TRANSCRIPT};
use hsm::ceremony::{Report, Transcript, TranscriptError, verify};
use hsm::pkcs11::admin::AdminError;
use hsm::{ConfigError, StoreError};
use std::path::Path;
use std::process::Command;

#[test]
fn stopped_after_every_act_of_people_it_goes_on_and_makes_one_key() {
    let mut stops = 0;
    loop {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut device = Box1::new();
        let mut table = Table { patience: stops, ..Table::new() };
        let complete = run(directory.path(), SCRIPT, &mut table, &mut device).is_ok();
        if complete {
            assert!(stops > 20, "people act more often than {stops} times");
            return;
        }
        let mut table = Table { now_ms: 2_000_000, ..Table::new() };
        run(directory.path(), SCRIPT, &mut table, &mut device).expect("goes on");
        let bytes = std::fs::read(directory.path().join(TRANSCRIPT)).expect("written");
        let report = Report::of(&verify(&bytes, None));
        assert!(report.valid && report.steps == 5, "stopped after {stops}: {report:?}");
        assert_eq!(device.made, 1);
        stops += 1;
    }
}

#[test]
fn cut_at_every_byte_of_the_last_lines_it_goes_on() {
    let whole = crate::fake::transcript();
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    // One cut in the middle of each line, and one before its end.
    let mut start = 0;
    for (number, line) in lines.iter().enumerate() {
        for cut in [line.len() / 2, line.len() - 1] {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join(TRANSCRIPT);
            std::fs::write(&path, &whole[..start + cut]).expect("own file");
            let resumed = Transcript::resume(&path);
            if number == 0 {
                assert!(
                    matches!(resumed, Err(TranscriptError::Damaged { .. })),
                    "without a first entry there is nothing"
                );
                continue;
            }
            let resumed = resumed.expect("a torn last line");
            assert_eq!(resumed.ceremony().entries(), number as u64);
            assert_eq!(std::fs::read(&path).expect("cut"), whole[..start], "the torn line is gone");
        }
        start += line.len();
    }
}

#[test]
fn damage_that_is_no_interruption_is_refused_and_left_alone() {
    let mut damaged = crate::fake::transcript();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join(TRANSCRIPT);
    std::fs::write(&path, &damaged).expect("own file");
    assert!(matches!(Transcript::resume(&path), Err(TranscriptError::Damaged { .. })));
    assert_eq!(std::fs::read(&path).expect("as it was"), damaged);
}

#[test]
fn a_request_without_an_answer_is_made_again_and_takes_the_key_that_is_there() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join(TRANSCRIPT);
    let mut device = Box1::new();
    run(directory.path(), SCRIPT, &mut Table::new(), &mut device).expect("runs");
    let whole = std::fs::read(&path).expect("written");
    // The power went when the key was made and its result was not yet written.
    let text = String::from_utf8(whole).expect("text");
    let request = text.find("{\"generate\":").expect("is there");
    let end = request + text[request..].find('\n').expect("ends") + 1;
    std::fs::write(&path, &text[..end]).expect("own file");
    run(directory.path(), SCRIPT, &mut Table { now_ms: 2_000_000, ..Table::new() }, &mut device).expect("goes on");
    assert_eq!(device.made, 1);
    assert!(Report::of(&verify(&std::fs::read(&path).expect("written"), None)).valid);
}

#[test]
fn another_token_after_an_interruption_is_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    run(directory.path(), SCRIPT, &mut Table { patience: 12, ..Table::new() }, &mut Box1::new()).expect_err("stopped");
    let mut other = Box1 { serial: "43", ..Box1::new() };
    let error = run(directory.path(), SCRIPT, &mut Table { now_ms: 2_000_000, ..Table::new() }, &mut other);
    assert!(matches!(error, Err(ConductError::Device(_))), "{error:?}");
}

#[test]
fn a_device_that_fails_leaves_its_reason_and_the_step_is_tried_again() {
    let failures = [
        AdminError::Full,
        StoreError::Config(ConfigError::TokenWriteProtected).into(),
        StoreError::Config(ConfigError::TokenUninitialised).into(),
        StoreError::Config(ConfigError::PinIncorrect).into(),
        StoreError::Config(ConfigError::KeyAmbiguous).into(),
    ];
    for failure in failures {
        let directory = tempfile::tempdir().expect("temporary directory");
        let reason = failure.to_string();
        let mut device = Box1 { failure: Some(failure), ..Box1::new() };
        let error = run(directory.path(), SCRIPT, &mut Table::new(), &mut device).expect_err("fails");
        assert!(error.to_string().contains(&reason), "{error}");
        run(directory.path(), SCRIPT, &mut Table { now_ms: 2_000_000, ..Table::new() }, &mut device).expect("goes on");
        let text = std::fs::read_to_string(directory.path().join(TRANSCRIPT)).expect("written");
        assert_eq!(text.matches("{\"failure\":").count(), 1);
        assert!(text.contains(&reason));
    }
}

#[test]
fn two_programs_do_not_write_one_transcript_and_none_is_overwritten() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join(TRANSCRIPT);
    let held = Transcript::create(&path, &start(SCRIPT, false)).expect("new");
    assert!(matches!(Transcript::resume(&path), Err(TranscriptError::Busy(_))));
    assert!(matches!(Transcript::create(&path, &start(SCRIPT, false)), Err(TranscriptError::Exists(_))));
    drop(held);
    Transcript::resume(&path).expect("free");
}

#[test]
fn a_full_disk_stops_it_and_it_goes_on_when_there_is_room() {
    const TEST: &str = "interruptions::a_full_disk_stops_it_and_it_goes_on_when_there_is_room";
    const DIRECTORY: &str = "STELE_TEST_SMALL_DISK";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return on_a_small_disk(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    // A mount of this process alone; it goes when the process does.
    let mut again = Command::new("unshare");
    again.args(["--mount", "--"]).arg(std::env::current_exe().expect("this test"));
    again.args(["--exact", TEST, "--nocapture"]).env(DIRECTORY, directory.path());
    match again.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare failed") => {
            eprintln!("skipped: no right to mount a small disk");
        }
        Ok(output) => panic!("{output:?}"),
        Err(_) => eprintln!("skipped: no unshare"),
    }
}

fn on_a_small_disk(directory: &Path) {
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory);
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("size=32k") {
        eprintln!("skipped: no right to mount a small disk");
        return;
    }
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, [0; 26 << 10]).expect("fits");
    let mut device = Box1::new();
    let mut table = Table::new();
    let error = run(directory, SCRIPT, &mut table, &mut device).expect_err("the disk is full");
    let full = std::io::ErrorKind::StorageFull;
    assert!(
        matches!(&error, ConductError::Transcript(TranscriptError::Disk { source, .. }) if source.kind() == full),
        "{error:?}"
    );
    let bytes = std::fs::read(directory.join(TRANSCRIPT)).expect("is there");
    assert_eq!(bytes.last(), Some(&b'\n'), "what did not fit was cut back");
    std::fs::remove_file(ballast).expect("own file");
    run(directory, SCRIPT, &mut table, &mut device).expect("goes on");
    assert_eq!(device.made, 1);
    assert!(Report::of(&verify(&std::fs::read(directory.join(TRANSCRIPT)).expect("written"), None)).valid);
}
