//! Key ceremonies from the command line: rehearsed, killed, resumed, verified, bound into a genesis.

use crate::process::{Ended, POLL, run_to_end, stele};
use hsm::ceremony::templates::TEMPLATES;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

/// Runs `stele ceremony …`.
fn ceremony(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(directory);
    command.arg("ceremony").args(arguments).env_remove("SOFTHSM2_CONF");
    run_to_end(command, directory)
}

fn good(directory: &Path, arguments: &[&str]) -> String {
    let ended = ceremony(directory, arguments);
    assert!(ended.status.success(), "{arguments:?}: {}", ended.message);
    ended.output
}

const REHEARSE: [&str; 8] =
    ["rehearse", "--script", "script.toml", "--answers", "answers.toml", "--out", "rehearsal", "--json"];

/// SoftHSM2 empties the file of a token before it writes it anew. A rehearsal that is killed in between has lost its throw-away
/// token, says that there is none or that it does not take its PIN, and has to be begun anew.
fn token_is_lost(tokens: &Path) -> bool {
    let tokens = std::fs::read_dir(tokens).into_iter().flatten().flatten();
    let length =
        |token: std::fs::DirEntry| std::fs::metadata(token.path().join("token.object")).map_or(0, |file| file.len());
    tokens.map(length).any(|length| length < WHOLE_TOKEN_BYTES)
}

/// One with its label, its serial number and both PINs has more.
const WHOLE_TOKEN_BYTES: u64 = 300;

#[test]
fn a_rehearsal_that_is_killed_again_and_again_goes_on_and_verifies() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dir = dir.path();
    good(dir, &["new", "validator-genesis", "--out", "script.toml", "--answers", "answers.toml"]);
    assert!(!ceremony(dir, &["new", "destroy", "--out", "script.toml"]).status.success(), "never overwritten");
    let (mut killed, mut lost) = (0, 0);
    // Each time when the transcript is a little longer; a run that ended by itself ends the loop.
    for length in (1..).map(|round: u64| 2_500 * round) {
        let mut command = stele(dir);
        command.arg("ceremony").args(REHEARSE).env_remove("SOFTHSM2_CONF");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let written = || std::fs::metadata(dir.join("rehearsal/transcript")).map_or(0, |file| file.len());
        let ended = loop {
            match child.try_wait().expect("ours") {
                Some(status) => break Some(status),
                None if written() >= length => break None,
                None => std::thread::sleep(POLL),
            }
        };
        match ended {
            Some(status) if status.success() => break,
            Some(status) => {
                let words = std::io::read_to_string(child.stderr.take().expect("piped")).expect("text");
                assert!(token_is_lost(&dir.join("rehearsal/throw-away/tokens")), "{status}: {words}");
                lost += 1;
                assert!(lost < 5, "{status}: {words}");
                std::fs::remove_dir_all(dir.join("rehearsal")).expect("its own folder");
            }
            None => {
                child.kill().expect("ours");
                child.wait().expect("ours");
                killed += 1;
            }
        }
    }
    assert!(killed > 0, "nobody was fast enough to kill it once");
    let report: Value = serde_json::from_str(&good(dir, &REHEARSE)).expect("JSON");
    assert_eq!((&report["valid"], &report["rehearsal"], &report["steps"]), (&true.into(), &true.into(), &14.into()));

    let shown = good(dir, &["verify", "rehearsal/transcript", "--script", "script.toml"]);
    assert!(shown.contains("REHEARSAL"), "{shown}");
    let root = report["root"].as_str().expect("a root");
    let words = good(dir, &["words", root]);
    assert_eq!(words.trim(), report["root_words"].as_str().expect("words"));
    assert_eq!(good(dir, &["words", words.trim()]).trim(), root);
    assert!(good(dir, &["print", "script.toml"]).contains("Validator genesis"));

    // No secret that was made for it is in what is left for everybody.
    let transcript = std::fs::read_to_string(dir.join("rehearsal/transcript")).expect("written");
    for entry in std::fs::read_dir(dir.join("rehearsal/throw-away")).expect("made") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if name.ends_with("pin") || name.ends_with(".passphrase") {
            assert!(!transcript.contains(&std::fs::read_to_string(&path).expect("text")), "{name}");
        }
    }

    let mut damaged = transcript.into_bytes();
    damaged[5000] ^= 1;
    std::fs::write(dir.join("damaged"), damaged).expect("own file");
    let ended = ceremony(dir, &["verify", "damaged", "--json"]);
    assert_eq!(ended.status.code(), Some(1));
    let report: Value = serde_json::from_str(&ended.output).expect("JSON");
    assert_eq!(report["valid"], false);
    assert!(report["entry"].is_u64() && report["reason"].as_str().expect("text").contains("entry "), "{report}");
}

#[test]
fn without_a_terminal_and_without_answers_it_says_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    good(dir.path(), &["new", "custody-drill", "--out", "script.toml"]);
    let ended = ceremony(dir.path(), &["run", "--script", "script.toml", "--module", "/none.so", "--out", "c"]);
    assert!(!ended.status.success());
    assert!(ended.message.contains("no terminal"), "{}", ended.message);
    assert!(!dir.path().join("c/transcript").exists(), "nothing was begun");
}

/// Answers for a real ceremony: keys in files, a token by its PIN files.
fn real_answers(directory: &Path, port: u16) -> String {
    let mut text = TEMPLATES[0].answers.replace("192.0.2.1:70", &format!("127.0.0.1:{port}"));
    for seat in ["administrator", "officer-1", "officer-3", "witness-1"] {
        let (key, pass) = (format!("{seat}.key"), format!("{seat}.pass"));
        let mut command = stele(directory);
        command.args(["key", "generate", "--out", &key, "--passphrase-file", &pass, "--new-passphrase"]);
        assert!(run_to_end(command, directory).status.success());
        let file = format!("{{ file = {{ path = \"{key}\", passphrase_file = \"{pass}\" }} }}");
        text = text.replacen("\"throw-away\"", &file, 1);
    }
    let module = hsm::softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2");
    for pin in ["pin", "so-pin"] {
        hsm::secret::create_random(&directory.join(pin)).expect("new file");
    }
    let token = format!("[token]\nmodule = \"{}\"\npin_file = \"pin\"\nso_pin_file = \"so-pin\"\n\n", module.display());
    text.replacen("[[officers]]", &format!("{token}[[officers]]"), 1)
}

#[test]
fn a_genesis_binds_real_ceremonies_and_refuses_rehearsals_and_strangers() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dir = dir.path();
    for folder in ["transcripts", "validators"] {
        std::fs::create_dir(dir.join(folder)).expect("own directory");
    }
    for (number, name) in (1..).zip(["north", "south"]) {
        let site = dir.join(name);
        std::fs::create_dir(&site).expect("own directory");
        hsm::softhsm::write_conf(&site).expect("own directory");
        std::fs::write(site.join("script.toml"), TEMPLATES[0].script).expect("own file");
        let answers = real_answers(&site, number).replace("\"north\"", &format!("{name:?}"));
        std::fs::write(site.join("answers.toml"), answers).expect("own file");
        let mut command = stele(&site);
        command.args([
            "ceremony",
            "run",
            "--script",
            "script.toml",
            "--answers",
            "answers.toml",
            "--out",
            "c",
            "--json",
        ]);
        let ended = run_to_end(command, &site);
        assert!(ended.status.success(), "{}", ended.message);
        let report: Value = serde_json::from_str(&ended.output).expect("JSON");
        assert_eq!(report["rehearsal"], false);
        std::fs::copy(site.join("c/transcript"), dir.join("transcripts").join(name)).expect("written");
        let file = dir.join("validators").join(format!("{name}.json"));
        std::fs::copy(site.join("c/validator.json"), file).expect("written");
    }
    let mut command = stele(dir);
    command.args(["genesis", "--name", "registry", "--validators", "validators", "--out", "draft.toml"]);
    let ended = run_to_end(command, dir);
    assert!(ended.status.success(), "{}", ended.message);

    let bind = ["genesis", "--genesis", "draft.toml", "--transcripts", "transcripts", "--out", "genesis.toml"];
    let script = ["--script", "north/script.toml"];
    let chain = good(dir, &[&bind[..], &script].concat());
    let genesis = types::Genesis::from_toml(&std::fs::read_to_string(dir.join("genesis.toml")).expect("written"));
    let genesis = genesis.expect("usable");
    assert_eq!((genesis.ceremonies.len(), genesis.chain_id().to_string().as_str()), (2, chain.trim()));
    let check = ["genesis", "--genesis", "genesis.toml", "--transcripts", "transcripts", "--check"];
    good(dir, &check);
    let draft = ["genesis", "--genesis", "draft.toml", "--transcripts", "transcripts", "--check"];
    assert!(!ceremony(dir, &draft).status.success(), "the draft is not bound");

    let machines = format!("tpm_keys = [\"000b{}\"]\n[registers]\n11 = [\"{}\"]\n", "07".repeat(32), "08".repeat(32));
    std::fs::write(dir.join("machines.toml"), machines).expect("own file");
    let elsewhere = ceremony(dir, &[&check[..], &["--machines", "machines.toml"]].concat());
    assert!(!elsewhere.status.success() && elsewhere.message.contains("the machine is not attested"), "{elsewhere:?}");

    let refused = |reason: &str| {
        let ended = ceremony(dir, &check);
        assert!(!ended.status.success() && ended.message.contains(reason), "{reason}: {}", ended.message);
    };
    std::fs::copy(dir.join("transcripts/north"), dir.join("transcripts/twice")).expect("own file");
    refused("not exactly one ceremony for validator");
    std::fs::write(dir.join("transcripts/twice"), "nothing").expect("own file");
    refused("twice is not what is wanted");
    std::fs::write(dir.join("answers.toml"), TEMPLATES[0].answers).expect("own file");
    std::fs::write(dir.join("script.toml"), TEMPLATES[0].script).expect("own file");
    good(dir, &REHEARSE);
    std::fs::copy(dir.join("rehearsal/transcript"), dir.join("transcripts/twice")).expect("own file");
    refused("a rehearsal, which proves nothing");
    std::fs::remove_file(dir.join("transcripts/twice")).expect("own file");
    std::fs::remove_file(dir.join("transcripts/south")).expect("own file");
    refused("not exactly one ceremony for validator");
}
