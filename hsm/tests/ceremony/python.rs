//! The independent verifier: same verdicts as ours, on good transcripts and on damaged ones, and at most 400 lines.

use crate::alone::alone;
use crate::rehearsals::{rehearse, shipped};
use hsm::ceremony::{Mode, Report, entry, verify};
use std::path::Path;
use std::process::{Command, Output};

/// Runs it; `None` where there is no Python of the version it needs.
pub fn run(transcript: &Path) -> Option<Output> {
    let recent = Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|out| out.status.success());
    if !recent {
        eprintln!("skipped: no python3 with tomllib (3.11)");
        return None;
    }
    let script = shipped().join("verify_transcript.py");
    Some(Command::new("python3").arg("-B").arg(script).arg(transcript).output().expect("python3 ran a moment ago"))
}

#[test]
fn it_says_what_we_say_of_a_whole_rehearsal_and_has_400_lines() {
    let text = std::fs::read_to_string(shipped().join("verify_transcript.py")).expect("ships");
    assert!(text.lines().count() <= 400, "{} lines", text.lines().count());
    alone("python::it_says_what_we_say_of_a_whole_rehearsal_and_has_400_lines", |directory| {
        let bytes = rehearse("validator-genesis", directory);
        let Some(output) = run(&directory.join("transcript")) else { return };
        let ours = serde_json::to_string_pretty(&Report::of(&verify(&bytes, None))).expect("serialises");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ours, "{output:?}");
        assert!(output.status.success());
    });
}

/// A generator of its own, so that a seed is a run for ever.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// One entry's text altered at random, and all hashes mended: what is left to notice it are the rules and signatures.
fn altered(texts: &[String], random: &mut Seeded) -> (usize, Vec<u8>) {
    let mut texts = texts.to_vec();
    let at = random.below(texts.len());
    let pieces =
        ["\"", "0", "1", "{}", ",", "null", "true", " ", "one", "two", "eve", "a", "f", ":", "[", "}", "\u{e9}", "-"];
    let text = &mut texts[at];
    let place = |text: &str, random: &mut Seeded| {
        let mut place = random.below(text.len());
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    let from = place(text, random);
    match random.below(4) {
        0 => text.insert_str(from, pieces[random.below(pieces.len())]),
        1 => drop(text.remove(from)),
        2 => {
            text.remove(from);
            text.insert_str(from, pieces[random.below(pieces.len())]);
        }
        _ => {
            // A field or value takes another one's place.
            let parts: Vec<_> = text.split(',').map(str::to_owned).collect();
            let (one, other) = (random.below(parts.len()), random.below(parts.len()));
            let mut parts = parts;
            parts.swap(one, other);
            *text = parts.join(",");
        }
    }
    let rehearsal = texts[0].contains("\"rehearsal\":true");
    let (mut bytes, mut head) = (Vec::new(), [0; 32]);
    for text in &texts {
        head = entry::hash(Mode::of(rehearsal), &head, text);
        bytes.extend_from_slice(entry::line(&head, text).as_bytes());
    }
    (at, bytes)
}

/// What the verifier says of many files, in one process: for each `ok`, or the number of the entry that it refuses.
const MANY: &str = "
import importlib.util, pathlib, re, sys
spec = importlib.util.spec_from_file_location('v', sys.argv[1]); v = importlib.util.module_from_spec(spec)
spec.loader.exec_module(v)
for number in range(int(sys.argv[3])):
    try:
        v.verify((pathlib.Path(sys.argv[2]) / str(number)).read_bytes()); print('ok')
    except v.Bad as bad:
        print(re.match(r'(?:after )?entry ([0-9]+)', str(bad)).group(1))
";

#[test]
fn altered_at_random_both_refuse_at_the_same_entry() {
    at_random(&crate::fake::transcript());
    at_random(&std::fs::read(shipped().join("vectors/attested")).expect("ships"));
}

fn at_random(good: &[u8]) {
    let lines = good.strip_suffix(b"\n").expect("whole lines").split(|byte| *byte == b'\n');
    let texts: Vec<_> = lines.map(|line| entry::split(line).expect("a line").1.to_owned()).collect();
    let directory = tempfile::tempdir().expect("temporary directory");
    if run(Path::new("/nonexistent")).is_none() {
        return;
    }
    let cases: usize = std::env::var("STELE_CEREMONY_CASES").map_or(40, |cases| cases.parse().expect("a number"));
    let mut random = Seeded(0x5eed);
    let mut ours = Vec::new();
    for number in 0..cases {
        let (_, bytes) = altered(&texts, &mut random);
        std::fs::write(directory.path().join(number.to_string()), &bytes).expect("own file");
        ours.push(match verify(&bytes, None) {
            Ok(_) => "ok".to_owned(),
            Err(invalid) => invalid.entry().expect("an entry").to_string(),
        });
    }
    let mut python = Command::new("python3");
    python.args(["-B", "-c", MANY]).arg(shipped().join("verify_transcript.py")).arg(directory.path());
    let output = python.arg(cases.to_string()).output().expect("python3 ran a moment ago");
    let theirs = String::from_utf8_lossy(&output.stdout);
    let theirs: Vec<_> = theirs.lines().collect();
    assert_eq!(theirs.len(), cases, "{output:?}");
    let mut differ = Vec::new();
    for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let bytes = std::fs::read(directory.path().join(number.to_string())).expect("own file");
        let altered = String::from_utf8_lossy(&bytes)
            .lines()
            .zip(&texts)
            .find(|(line, text)| !line.contains(*text))
            .map(|(line, _)| line.to_owned());
        if ours != theirs {
            differ.push(format!("case {number}: ours {ours}, theirs {theirs}: {altered:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
