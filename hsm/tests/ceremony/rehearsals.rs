//! The scripts that ship, each with the answers that ship.

use crate::alone::alone;
use hsm::ceremony::unattended::Unattended;
use hsm::ceremony::{Attester, Ceremony, Invalid, Mode, Report, verify};
use std::path::{Path, PathBuf};

/// The folder of scripts.
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ceremonies")
}

/// Rehearses a script that ships; its transcript.
pub fn rehearse(name: &str, directory: &Path) -> Vec<u8> {
    let script = std::fs::read(shipped().join(format!("{name}.toml"))).expect("ships");
    let answers = shipped().join(format!("{name}.answers.toml"));
    let run = Unattended {
        script: &script,
        answers: &answers,
        mode: Mode::Rehearsal,
        directory,
        program: "test",
        attester: &Attester::default(),
    };
    let root = run.run(Box::new(std::io::sink())).expect("rehearses");
    let bytes = std::fs::read(directory.join("transcript")).expect("written");
    let ceremony = verify(&bytes, None).expect("valid");
    assert_eq!(Report::of(&Ok(ceremony)).root, Some(root));
    // Once more changes nothing.
    assert_eq!(run.run(Box::new(std::io::sink())).expect("complete"), root);
    assert_eq!(std::fs::read(directory.join("transcript")).expect("written"), bytes);
    bytes
}

fn check(name: &str, steps: usize, look: impl Fn(&Ceremony, &Path)) {
    alone(&format!("rehearsals::{}", name.replace('-', "_")), |directory| {
        let bytes = rehearse(name, directory);
        let verdict: Result<Ceremony, Invalid> = verify(&bytes, None);
        let report = Report::of(&verdict);
        assert_eq!((report.valid, report.steps, report.exceptions.len()), (true, steps, 0));
        assert_eq!((report.rehearsal, report.signers.len()), (Some(true), 4));
        look(&verdict.expect("valid"), directory);
    });
}

#[test]
fn validator_genesis() {
    check("validator-genesis", 14, |ceremony, directory| {
        let text = std::fs::read_to_string(directory.join("validator.json")).expect("written");
        let key = ceremony.key("consensus").expect("made");
        assert!(key.probed);
        assert!(text.contains(&format!("\"consensus_key\": \"{}\"", key.public)));
        let token = ceremony.token().expect("opened");
        assert!(token.model.contains("SoftHSM"), "{token:?}");
        assert!(!token.serial.is_empty());
    });
}

#[test]
fn rotate_validator() {
    check("rotate-validator", 12, |ceremony, directory| {
        assert_eq!(ceremony.keys().count(), 4);
        assert!(directory.join("rotate-consensus.json").is_file());
    });
}

#[test]
fn destroy() {
    check("destroy", 9, |ceremony, directory| {
        assert_eq!(ceremony.keys().count(), 0, "nothing is left");
        assert!(directory.join("revoke-transport.json").is_file());
    });
}

#[test]
fn custody_drill() {
    check("custody-drill", 6, |ceremony, _| assert!(ceremony.key("consensus").expect("found").probed));
}
