//! Transcripts that somebody altered: with and without mending the hashes afterwards, as one can who has no officer's key.

use crate::fake::{SCRIPT, transcript};
use crate::python;
use hsm::ceremony::entry::{self, Entry, Event};
use hsm::ceremony::{Invalid, Mode, Refusal, Script, verify};

/// The entries of a transcript.
pub fn entries(bytes: &[u8]) -> Vec<Entry> {
    let lines = bytes.strip_suffix(b"\n").expect("whole lines").split(|byte| *byte == b'\n');
    lines.map(|line| Entry::parse(entry::split(line).expect("a line").1).expect("an entry")).collect()
}

/// Numbered and hashed anew.
pub fn mended(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut head = [0; 32];
    let rehearsal = matches!(&entries[0].event, Event::Start(start) if start.rehearsal);
    for (n, entry) in (0..).zip(entries) {
        let text = Entry { n, ..entry.clone() }.text();
        head = entry::hash(Mode::of(rehearsal), &head, &text);
        bytes.extend_from_slice(entry::line(&head, &text).as_bytes());
    }
    bytes
}

fn reason(bytes: &[u8]) -> Refusal {
    match verify(bytes, None).map(|_| ()) {
        Err(Invalid::Entry { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_transcript_itself_is_good_and_mending_it_changes_nothing() {
    let bytes = transcript();
    verify(&bytes, Some(Script::digest(SCRIPT.as_bytes()))).expect("good");
    assert_eq!(mended(&entries(&bytes)), bytes);
    let other = verify(&bytes, Some(Script::digest(b"another script"))).map(|_| ());
    assert!(matches!(other, Err(Invalid::OtherScript { .. })));
}

#[test]
fn every_byte_that_is_flipped_is_told_with_its_entry() {
    let bytes = transcript();
    let mut line = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = verify(&damaged, None).map(|_| ()).expect_err("damaged");
        // A flipped line end makes one line of two, or leaves the last one torn.
        assert_eq!(error.entry(), Some(line), "byte {at}: {error}");
        line += u64::from(bytes[at] == b'\n');
    }
}

#[test]
fn cut_anywhere_it_is_not_complete() {
    let bytes = transcript();
    let step = 97;
    for length in (0..bytes.len()).step_by(step) {
        assert!(verify(&bytes[..length], None).is_err(), "cut to {length}");
    }
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    for end in ends.filter(|end| *end < bytes.len()) {
        let error = verify(&bytes[..end], None).map(|_| ()).expect_err("cut");
        assert!(matches!(error, Invalid::Incomplete { .. }), "cut to {end}: {error}");
    }
    assert_eq!(verify(&[], None).map(|_| ()), Err(Invalid::Empty));
}

#[test]
fn entries_removed_swapped_or_doubled_are_told_even_with_mended_hashes() {
    let good = entries(&transcript());
    for at in 1..good.len() {
        let mut removed = good.clone();
        removed.remove(at);
        assert!(verify(&mended(&removed), None).is_err(), "without entry {at}");
        let mut doubled = good.clone();
        doubled.insert(at, good[at].clone());
        assert!(verify(&mended(&doubled), None).is_err(), "entry {at} twice");
        if at + 1 < good.len() && good[at].event != good[at + 1].event {
            let mut swapped = good.clone();
            swapped.swap(at, at + 1);
            // The signatures over the root stand in any order: each is over the same.
            let signatures = matches!((&good[at].event, &good[at + 1].event), (Event::Sign { .. }, Event::Sign { .. }));
            (swapped[at].time_ms, swapped[at + 1].time_ms) = (good[at].time_ms, good[at + 1].time_ms);
            assert_eq!(verify(&mended(&swapped), None).is_ok(), signatures, "entries {at} and {} swapped", at + 1);
        }
    }
}

#[test]
fn an_entry_after_the_end_is_refused() {
    let mut longer = entries(&transcript());
    let last = longer.last().expect("not empty").clone();
    longer.push(last);
    assert_eq!(reason(&mended(&longer)), Refusal::Complete);
}

/// Every class of damage by somebody who can mend hashes, by name.
fn forgeries() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = transcript();
    let good = entries(&bytes);
    let place = |wanted: fn(&Event) -> bool| good.iter().position(|entry| wanted(&entry.event)).expect("is there");
    let changed = |at: usize, change: &dyn Fn(&mut Entry)| {
        let mut entries = good.clone();
        change(&mut entries[at]);
        mended(&entries)
    };
    let start = |change: &dyn Fn(&mut entry::Start)| {
        changed(0, &|entry| {
            if let Event::Start(start) = &mut entry.event {
                change(start);
            }
        })
    };
    let answer = place(|event| matches!(event, Event::Answer { .. }));
    let approval = place(|event| matches!(event, Event::Approval { .. }));
    let result = place(|event| matches!(event, Event::Result { .. }));
    let sign = place(|event| matches!(event, Event::Sign { .. }));
    let present = place(|event| matches!(event, Event::Present { .. }));
    let open = place(|event| matches!(event, Event::Open {}));
    let without = |at: usize| {
        let mut entries = good.clone();
        entries.remove(at);
        mended(&entries)
    };
    let mut flipped = bytes.clone();
    flipped[3000] ^= 4;
    vec![
        ("a byte flipped", flipped),
        ("torn", bytes[..bytes.len() - 10].to_vec()),
        ("a rehearsal passed for real, or the other way round", start(&|start| start.rehearsal = !start.rehearsal)),
        ("the script altered", start(&|start| start.script = start.script.replace("quorum = 2", "quorum = 1"))),
        (
            "the script and its digest altered",
            start(&|start| {
                start.script = start.script.replace("quorum = 2", "quorum = 1");
                start.script_digest = Script::digest(start.script.as_bytes());
            }),
        ),
        ("the machine altered", start(&|start| start.machine.hostname = Some("other".to_owned()))),
        (
            "an answer altered",
            changed(answer, &|entry| {
                if let Event::Answer { answer, .. } = &mut entry.event {
                    *answer = "headline of yesterday".to_owned();
                }
            }),
        ),
        (
            "another officer's approval",
            changed(approval, &|entry| {
                if let Event::Approval { seat, .. } = &mut entry.event {
                    *seat = "eve".to_owned();
                }
            }),
        ),
        ("an approval removed: no quorum", without(approval)),
        ("a result removed", without(result)),
        ("a signature over the root removed", without(sign)),
        ("an officer removed: no quorum", without(present)),
        ("an officer twice", {
            let mut entries = good.clone();
            entries.insert(open, good[present].clone());
            mended(&entries)
        }),
        ("a step begins twice", {
            let mut entries = good.clone();
            let begin = place(|event| matches!(event, Event::Begin { .. }));
            entries.insert(begin, good[begin].clone());
            mended(&entries)
        }),
        ("the clock goes backwards", changed(good.len() - 2, &|entry| entry.time_ms = 1)),
        ("a time altered", changed(answer, &|entry| entry.time_ms += 1)),
        ("appended", [bytes.clone(), b"{}\n".to_vec()].concat()),
        ("not a transcript", b"hello\n".to_vec()),
        ("empty", Vec::new()),
    ]
}

#[test]
fn forgeries_are_told_by_both_verifiers() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("transcript");
    for (what, bytes) in forgeries() {
        let ours = verify(&bytes, None).map(|_| ());
        assert!(ours.is_err(), "{what}");
        std::fs::write(&path, &bytes).expect("own file");
        let Some(theirs) = python::run(&path) else { continue };
        assert_eq!(theirs.status.code(), Some(1), "{what}: {theirs:?}");
        let text = String::from_utf8_lossy(&theirs.stdout);
        assert!(text.contains("\"valid\": false"), "{what}: {theirs:?}");
        assert!(!text.contains("malformed") && theirs.stderr.is_empty(), "{what}: a reason in words: {theirs:?}");
        // Both name the same entry.
        let ours = ours.expect_err("asserted above");
        if let (Invalid::Entry { entry, .. }, true) = (&ours, text.contains("\"entry ")) {
            assert!(text.contains(&format!("\"entry {entry}:")), "{what}: ours {ours}, theirs {text}");
        }
    }
}

#[test]
fn a_good_transcript_with_p256_and_exceptions_is_good_for_both() {
    use crate::fake::{Box1, Table, run};
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut table = Table::new();
    table.except.insert("make", "the token has no P-256");
    for blocked in ["probe", "possess"] {
        table.except.insert(blocked, "there is no key");
    }
    run(directory.path(), SCRIPT, &mut table, &mut Box1::new()).expect("runs");
    for bytes in [transcript(), std::fs::read(directory.path().join("transcript")).expect("written")] {
        let report = hsm::ceremony::Report::of(&verify(&bytes, None));
        assert!(report.valid, "{report:?}");
        let path = directory.path().join("copy");
        std::fs::write(&path, &bytes).expect("own file");
        let Some(theirs) = python::run(&path) else { return };
        let ours = serde_json::to_string_pretty(&report).expect("serialises");
        assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim(), ours);
    }
}
