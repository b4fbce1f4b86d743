//! A ceremony with people: its prompts over a real pseudo-terminal, which `script` (util-linux) makes and types into.

use crate::process::{run_to_end, stele};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const CONTROL_C: &str = "\x03";
const CONTROL_U: &str = "\x15";
const BACKSPACE: &str = "\x7f";

const SCRIPT: &str = r#"
format = 1
id = "small"
version = 1
title = "Small"
exceptions = ["officer"]
[[roles]]
id = "officer"
title = "Officer"
quorum = 1
officers = [{ id = "one" }, { id = "two" }]
[[steps]]
id = "token"
title = "Token"
approve = ["officer"]
do.initialise-token = { token = "t" }
[[steps]]
id = "seen"
title = "Seen"
do.observe = { by = "officer" }
"#;

/// What is never shown and never written.
const PASSPHRASE: &str = "never-print-this-passphrase";
const PIN: &str = "never-print-this-pin";
const SO_PIN: &str = "never-print-that-so-pin";
const WRONG: &str = "never-print-a-wrong-one";

/// A command at a terminal, and somebody who types.
struct Typist {
    child: Child,
    keys: ChildStdin,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    seen: usize,
}

#[derive(Default)]
struct Screen {
    text: String,
    over: bool,
}

impl Typist {
    fn new(directory: &Path, arguments: &[&str]) -> Self {
        Self::with_descriptor(directory, arguments, "")
    }

    /// `redirection` is for the shell that starts the command.
    fn with_descriptor(directory: &Path, arguments: &[&str], redirection: &str) -> Self {
        let inner = stele(directory);
        let words = std::iter::once(inner.get_program()).chain(arguments.iter().map(|word| word.as_ref()));
        let line = words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
        let line = format!("exec {line} {redirection}");
        // Whoever runs the tests in the background of a shell has taught them to ignore control-C.
        let mut outer = Command::new("env");
        outer.args([
            "--default-signal=INT",
            "script",
            "--quiet",
            "--return",
            "--echo",
            "always",
            "--command",
            &line,
            "/dev/null",
        ]);
        outer.current_dir(directory).env("SHELL", "/bin/sh").env_remove("SOFTHSM2_CONF");
        let mut child = outer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("env is part of coreutils");
        let (keys, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let screen = Arc::new((Mutex::new(Screen::default()), Condvar::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            loop {
                let count = output.read(&mut bytes).unwrap_or(0);
                let mut screen = shown.0.lock().unwrap_or_else(PoisonError::into_inner);
                screen.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                screen.over = count == 0;
                shown.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { child, keys, screen, seen: 0 }
    }

    /// Waits until that appears behind what appeared before.
    fn sees(&mut self, text: &str) {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |screen: &mut Screen| !screen.over && !screen.text[self.seen..].contains(text);
        let (screen, _) = self.screen.1.wait_timeout_while(screen, PATIENCE, missing).unwrap();
        let found = screen.text[self.seen..].find(text);
        self.seen += found.unwrap_or_else(|| panic!("{text:?} does not appear:\n{}", screen.text)) + text.len();
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// At a prompt, a line.
    fn answers(&mut self, prompt: &str, line: &str) {
        self.sees(prompt);
        self.types(&format!("{line}\n"));
    }

    /// How it ended, and all that was shown.
    fn end(mut self) -> (ExitStatus, String) {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (screen, timeout) = self.screen.1.wait_timeout_while(screen, PATIENCE, |screen| !screen.over).unwrap();
        assert!(!timeout.timed_out(), "it does not end:\n{}", screen.text);
        let text = screen.text.clone();
        drop(screen);
        (self.child.wait().expect("our child"), text)
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        // The terminal goes with it, and with that the command.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with the script and an officer's key.
fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("script.toml"), SCRIPT).expect("own directory");
    let passphrase = dir.path().join("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).expect("own directory");
    std::fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("own file");
    let mut command = stele(dir.path());
    command.args(["key", "generate", "--out", "one.key", "--passphrase-file", "passphrase"]);
    assert!(run_to_end(command, dir.path()).status.success());
    std::fs::remove_file(passphrase).expect("own file");
    dir
}

const REHEARSE: [&str; 6] = ["ceremony", "rehearse", "--script", "script.toml", "--out", "out"];

fn nothing_secret(directory: &Path, shown: &str) {
    let transcript = std::fs::read_to_string(directory.join("out/transcript")).expect("written");
    for secret in [PASSPHRASE, PIN, SO_PIN, WRONG] {
        assert!(!shown.contains(secret) && !transcript.contains(secret), "{secret} is shown or written:\n{shown}");
    }
}

/// The officer comes in, without a mistake.
fn arrives(typist: &mut Typist) {
    typist.answers("Who is next?", "one");
    typist.answers("name of the person:", "Ada");
    typist.answers("key file of", "one.key");
    // Once to show the key, once to sign that he is there.
    typist.answers("passphrase of one.key: ", PASSPHRASE);
    typist.answers("passphrase of one.key: ", PASSPHRASE);
    typist.answers("Who is next?", "");
}

#[test]
fn officers_who_mistype_are_asked_again_and_what_is_hidden_is_never_shown() {
    let dir = prepared();
    let mut typist = Typist::new(dir.path(), &[&REHEARSE[..], &["--json"]].concat());
    typist.answers("Who is next?", "nobody");
    typist.sees("there is no such seat");
    // A wrong passphrase, then one that is taken back in two ways.
    typist.answers("Who is next?", "one");
    typist.answers("name of the person:", "Ada");
    typist.answers("key file of", "one.key");
    typist.answers("passphrase of one.key: ", WRONG);
    typist.sees("wrong passphrase");
    typist.answers("Who is next?", "one");
    typist.answers("name of the person:", "Ada");
    typist.answers("key file of", "one.key");
    typist.answers("passphrase of one.key: ", &format!("{WRONG}{CONTROL_U}{PASSPHRASE}x{BACKSPACE}"));
    typist.answers("passphrase of one.key: ", PASSPHRASE);
    typist.answers("Who is next?", "");
    typist.answers("Enter to begin", "yes");
    typist.sees("only Enter begins the step");
    typist.answers("Enter to begin", "");
    typist.answers("passphrase of one.key: ", PASSPHRASE);
    typist.answers("security officer's PIN: ", SO_PIN);
    typist.answers("user PIN: ", PIN);
    typist.answers("user PIN: ", PIN);
    typist.answers("Enter to begin", "");
    typist.answers("Initials", "AE");
    typist.answers("passphrase of one.key: ", PASSPHRASE);
    let (status, shown) = typist.end();
    assert!(status.success(), "{shown}");
    // The terminal shows what is typed, or its silence would prove nothing.
    assert!(shown.contains("nobody") && shown.contains("one.key") && shown.contains("Ada"), "{shown}");
    nothing_secret(dir.path(), &shown);
    let report = shown.find("\n{").map(|at| &shown[at..]).expect("the verdict");
    let report: Value = serde_json::from_str(report).expect("JSON");
    assert_eq!((&report["valid"], &report["rehearsal"]), (&true.into(), &true.into()));
}

#[test]
fn control_c_at_a_hidden_prompt_gives_up_and_leaves_a_terminal_that_shows_what_is_typed() {
    let dir = prepared();
    let mut typist = Typist::new(dir.path(), &REHEARSE);
    typist.answers("Who is next?", "one");
    typist.answers("name of the person:", "Ada");
    typist.answers("key file of", "one.key");
    typist.sees("passphrase of one.key: ");
    typist.types(&format!("{WRONG}{CONTROL_C}"));
    typist.sees("given up");
    typist.answers("Who is next?", "stop");
    typist.sees("stop");
    typist.sees("run the same command again");
    let (status, shown) = typist.end();
    assert_eq!(status.code(), Some(1), "{shown}");
    nothing_secret(dir.path(), &shown);

    // At a prompt that is shown it is the signal that it always is; the ceremony goes on in the step that it was in.
    let mut typist = Typist::new(dir.path(), &REHEARSE);
    arrives(&mut typist);
    typist.sees("Enter to begin");
    typist.types(CONTROL_C);
    let (status, _) = typist.end();
    assert!(!status.success());
    let mut typist = Typist::new(dir.path(), &REHEARSE);
    typist.sees("an approval of step \"token\"");
    let transcript = std::fs::read_to_string(dir.path().join("out/transcript")).expect("written");
    assert!(transcript.contains("\"resume\"") && transcript.contains("Ada"), "{transcript}");
}

#[test]
fn answers_can_leave_pins_to_a_prompt_and_to_a_descriptor() {
    let dir = prepared();
    let module = hsm::softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2");
    let answers = format!(
        "format = 1\n[token]\nmodule = {module:?}\npin_file = \"prompt\"\nso_pin_file = \"fd:7\"\n\
         [[officers]]\nseat = \"one\"\nname = \"Ada\"\n\
         key = {{ file = {{ path = \"one.key\", passphrase_file = \"prompt\" }} }}\n[steps.seen]\ninitials = \"AE\"\n"
    );
    std::fs::write(dir.path().join("answers.toml"), answers).expect("own directory");
    std::fs::write(dir.path().join("so-pin"), SO_PIN).expect("own directory");
    // `script` hands the line to a shell.
    let given = [&REHEARSE[..], &["--answers", "answers.toml", "--json"]].concat();
    let mut typist = Typist::with_descriptor(dir.path(), &given, "7< so-pin");
    typist.answers("one: passphrase of", PASSPHRASE);
    typist.answers("user PIN: ", PIN);
    typist.answers("user PIN: ", PIN);
    let (status, shown) = typist.end();
    assert!(status.success(), "{shown}");
    nothing_secret(dir.path(), &shown);
}
