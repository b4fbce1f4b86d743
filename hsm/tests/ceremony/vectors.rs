//! The vectors that stand beside the format: the same bytes for ever.

use crate::fake::transcript;
use crate::rehearsals::shipped;
use hsm::ceremony::statement::Purpose;
use hsm::ceremony::{Mode, Report, verify};
use serde_json::{Value, json};

const PURPOSES: [(&str, Purpose); 10] = [
    ("entry", Purpose::Entry),
    ("attendance", Purpose::Attendance),
    ("approval", Purpose::Approval),
    ("exception", Purpose::Exception),
    ("possession", Purpose::Possession),
    ("key-id", Purpose::KeyId),
    ("rotation", Purpose::Rotation),
    ("revocation", Purpose::Revocation),
    ("root", Purpose::Root),
    ("machine", Purpose::Machine),
];

fn statements() -> Value {
    let parts: [&[u8]; 3] = [&[0xa5; 32], b"step", "é".as_bytes()];
    let one = |mode: Mode, name: &str, purpose: Purpose| {
        json!({
            "purpose": name,
            "rehearsal": mode.is_rehearsal(),
            "parts": parts.map(hex::encode),
            "hash": hex::encode(purpose.digest(mode, &parts).as_bytes()),
            "message": hex::encode(purpose.message(mode, &parts)),
        })
    };
    let all = [Mode::Real, Mode::Rehearsal].map(|mode| PURPOSES.map(|(name, purpose)| one(mode, name, purpose)));
    Value::from(all.concat())
}

fn files() -> [(&'static str, Vec<u8>); 3] {
    let transcript = transcript();
    let report = Report::of(&verify(&transcript, None));
    let pretty = |value: &Value| format!("{}\n", serde_json::to_string_pretty(value).expect("serialises")).into_bytes();
    let report = format!("{}\n", serde_json::to_string_pretty(&report).expect("serialises")).into_bytes();
    [("transcript", transcript), ("report.json", report), ("statements.json", pretty(&statements()))]
}

#[test]
fn what_is_made_today_is_what_was_written_down() {
    for (name, bytes) in files() {
        let written = std::fs::read(shipped().join("vectors").join(name)).expect("ships");
        assert!(written == bytes, "{name} is another one than the vector");
    }
}

#[test]
#[ignore = "writes the vectors; a change of the format is a new version"]
fn write_the_vectors() {
    let folder = shipped().join("vectors");
    std::fs::create_dir_all(&folder).expect("own folder");
    for (name, bytes) in files() {
        std::fs::write(folder.join(name), bytes).expect("own file");
    }
}
