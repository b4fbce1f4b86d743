//! A machine for ceremonies: it runs from memory, the ceremony comes and goes on a stick, and nothing else is written.

use super::sticks::{pull_out, put_in};
use super::{Bench, START, Special, client, expect, last_lines, opened};
use crate::boot::{Accel, Emulation, Network, Running};
use crate::dev_ledger;
use crate::failure::Failure;
use crate::fat;
use crate::install;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a stick.
const STICK_BYTES: usize = 34 << 20;
/// Bytes of the disk that the machine is started from.
const DISK_BYTES: u64 = 256 << 20;

/// Longest wait for a question.
const PATIENCE: Duration = Duration::from_secs(60);

/// Roles and steps on an attested machine; `TOKEN` stands where a token is made.
pub(super) const SCRIPT: &str = r#"
format = 2
id = "small"
version = 1
title = "Small"
exceptions = ["officer"]
[attestation]
[[roles]]
id = "officer"
title = "Officer"
quorum = 1
officers = [{ id = "one" }, { id = "two" }]
TOKEN
[[steps]]
id = "seen"
title = "Seen"
do.observe = { by = "officer" }
"#;
pub(super) const TOKEN: &str = r#"
[[steps]]
id = "token"
title = "Token"
approve = ["officer"]
do.initialise-token = { token = "t" }
[[steps]]
id = "key"
title = "Key"
approve = ["officer"]
do.generate-key = { key = "consensus", label = "c", algorithm = "ed25519" }
"#;

pub(super) fn held_on_a_stick(bench: &Bench) -> Result<(), Failure> {
    let machine = machine(bench, "ceremony", Special::Ceremony)?;
    let folder = &machine.folder;
    let passphrase = officers_key(bench, folder)?;
    stick(folder, "hold", &SCRIPT.replace("TOKEN", ""))?;
    stick(folder, "rehearse", &SCRIPT.replace("TOKEN", TOKEN))?;
    let before = digest(&machine.disk)?;

    let mut running = machine.boot_with(Accel::Tcg)?;
    expect(&mut running, "STELE READY ceremony", START)?;
    answer(&mut running, "type a word:", "sh")?;
    expect(&mut running, "is none of the words", START)?;
    // At the keyboard that stands at the screen.
    expect(&mut running, "type a word:", PATIENCE)?;
    for key in ["h", "o", "l", "d", "ret"] {
        running.command(&format!("sendkey {key}"))?;
    }
    expect(&mut running, "no stick", START)?;

    put_in(&mut running, "hold", &folder.join("hold.img"))?;
    answer(&mut running, "type a word:", "hold")?;
    arrives(&mut running, &passphrase)?;
    observes(&mut running, &passphrase)?;
    expect(&mut running, "valid: ceremony by the script", START)?;
    expect(&mut running, "machine at the close: TPM", START)?;
    expect(&mut running, "has ended well", START)?;
    answer(&mut running, "type a word:", "check")?;
    expect(&mut running, "valid: ceremony by the script", START)?;
    expect(&mut running, "has ended well", START)?;
    // The ceremony's user reaches the TPM.
    answer(&mut running, "type a word:", "machine")?;
    expect(&mut running, "tpm_keys = ", START)?;
    expect(&mut running, "has ended well", START)?;
    pull_out(&mut running, "hold")?;

    put_in(&mut running, "rehearse", &folder.join("rehearse.img"))?;
    answer(&mut running, "type a word:", "rehearse")?;
    arrives(&mut running, &passphrase)?;
    answer(&mut running, "Enter to begin", "")?;
    answer(&mut running, "passphrase of one.key", &passphrase)?;
    answer(&mut running, "security officer's PIN", "never-shown-so-pin")?;
    answer(&mut running, "user PIN", "never-shown-pin")?;
    answer(&mut running, "user PIN", "never-shown-pin")?;
    answer(&mut running, "Enter to begin", "")?;
    answer(&mut running, "passphrase of one.key", &passphrase)?;
    observes(&mut running, &passphrase)?;
    expect(&mut running, "valid: REHEARSAL, not a ceremony", START)?;
    expect(&mut running, "has ended well", START)?;
    answer(&mut running, "type a word:", "off")?;
    // Its console ends a little before the emulator does.
    let deadline = Instant::now() + PATIENCE;
    while !running.is_over() {
        if Instant::now() > deadline {
            return Err(Failure::content(
                "the machine, which does not switch itself off; the last lines",
                last_lines(&running),
            ));
        }
        running.wait("no such line", Duration::from_millis(100))?;
        std::thread::sleep(Duration::from_millis(50));
    }
    if running.log.iter().any(|line| line.contains(&passphrase) || line.contains("never-shown")) {
        return Err(Failure::content("the console", "it shows what is typed in secret"));
    }
    if running.log.iter().any(|line| line.contains("eth0") || line.contains("vda")) {
        return Err(Failure::content("the machine", "it has a network card or a disk"));
    }
    if digest(&machine.disk)? != before {
        return Err(Failure::content("the disk", "something was written to it"));
    }
    taken_home(bench, folder)
}

/// The host checks what is on the sticks.
fn taken_home(bench: &Bench, folder: &Path) -> Result<(), Failure> {
    for (name, place, kind) in [("hold", "out", "valid: ceremony"), ("rehearse", "rehearsal", "valid: REHEARSAL")] {
        let volume = std::fs::read(folder.join(format!("{name}.img"))).map_err(Failure::io("reading a stick"))?;
        let files = fat::read(&volume).map_err(|error| Failure::content("a stick", error))?;
        let path = format!("ceremony/{place}/transcript");
        let transcript = files.iter().find(|file| file.0 == path);
        let (_, bytes) = transcript.ok_or_else(|| Failure::content("a stick", format!("it has no {path}")))?;
        let home = folder.join(format!("{name}.transcript"));
        std::fs::write(&home, bytes).map_err(Failure::io("writing a transcript"))?;
        let told = dev_ledger::run(&bench.stele, &["ceremony", "verify", &home.display().to_string()], folder)?;
        if !told.contains(kind) {
            return Err(Failure::content(path, told));
        }
    }
    Ok(())
}

/// A card and a disk are there to be left alone.
pub(super) fn machine(bench: &Bench, name: &str, special: Special<'_>) -> Result<Emulation, Failure> {
    let folder = bench.folder(name)?;
    let image = (bench.make)(special)?.image;
    let path = folder.join("disk.img");
    let file = File::create_new(&path).map_err(Failure::io("making a disk"))?;
    file.set_len(DISK_BYTES).map_err(Failure::io("making a disk"))?;
    install::install(&image, &file, DISK_BYTES)?;
    let mut machine = Emulation::new(&path, &folder);
    machine.network = Network::User(Vec::new());
    machine.tpm = true;
    machine.more = ["-device", "qemu-xhci,id=usb"].map(str::to_owned).into();
    Ok(machine)
}

/// Makes the officer's key; its passphrase.
pub(super) fn officers_key(bench: &Bench, folder: &Path) -> Result<String, Failure> {
    client::Account::new(&bench.stele, folder, "one")?;
    let passphrase = std::fs::read_to_string(folder.join("one.pass")).map_err(Failure::io("reading a passphrase"))?;
    Ok(passphrase.trim().to_owned())
}

pub(super) fn stick(folder: &Path, name: &str, script: &str) -> Result<(), Failure> {
    let key = std::fs::read(folder.join("one.key")).map_err(Failure::io("reading a key"))?;
    let files = [("ceremony/script.toml".to_owned(), script.as_bytes().to_vec()), ("ceremony/one.key".to_owned(), key)];
    let volume = fat::write(&files, STICK_BYTES).map_err(|error| Failure::content("a stick", error))?;
    std::fs::write(folder.join(format!("{name}.img")), volume).map_err(Failure::io("making a stick"))
}

pub(super) fn answer(running: &mut Running, question: &str, line: &str) -> Result<(), Failure> {
    expect(running, question, PATIENCE)?;
    running.type_line(line)
}

/// The officer comes in, and everybody is there.
fn arrives(running: &mut Running, passphrase: &str) -> Result<(), Failure> {
    answer(running, "Who is next?", "one")?;
    answer(running, "name of the person:", "Ada")?;
    answer(running, "key file of", "one.key")?;
    answer(running, "passphrase of one.key", passphrase)?;
    answer(running, "passphrase of one.key", passphrase)?;
    answer(running, "Who is next?", "")
}

/// The step that has no token.
fn observes(running: &mut Running, passphrase: &str) -> Result<(), Failure> {
    answer(running, "Enter to begin", "")?;
    answer(running, "Initials", "AE")?;
    answer(running, "passphrase of one.key", passphrase)
}

fn digest(path: &Path) -> Result<[u8; 32], Failure> {
    let mut bytes = Vec::new();
    opened(path)?.read_to_end(&mut bytes).map_err(Failure::io("reading a disk"))?;
    Ok(Sha256::digest(bytes).into())
}
