//! A machine for ceremonies: `stele ceremony` on the console, as a user who owns nothing, over a folder on a stick that is
//! mounted for as long as a command runs. There are five words to type, and no shell behind them.
//!
//! Absent: the machine's own disks (the image has no drivers for them), a network but the one link to an HSM that the image was built
//! with, and anything that is kept but on the stick.

mod people;
mod stick;

use crate::configuration::SIGNER_USER;
use crate::kernel_modules::{Modules, Part};
use crate::network::link::{self, Link};
use crate::services;
use crate::watchdog::Watchdog;
use crate::{Fault, say, vendor};
use image_formats::hsm_link::HsmLink;
use people::People;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use stick::Stick;

/// What each of them must have (PKCS #11, 5.1).
const ENTRY: &[u8] = b"C_GetFunctionList\0";
const TICK: Duration = Duration::from_millis(100);

const OFFER: &str = "
  rehearse   practise on a throw-away token; writes ceremony/rehearsal
  hold       hold the ceremony, or go on with it; writes ceremony/out
  check      check ceremony/out/transcript
  machine    what this machine's TPM says of it; writes ceremony/machine.toml
  off        switch the machine off
Put the stick with the folder `ceremony` in, and type a word:";

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Rehearse,
    Hold,
    Check,
    Machine,
    Off,
}

impl Wish {
    fn parse(line: &str) -> Option<Self> {
        match line.trim() {
            "rehearse" => Some(Self::Rehearse),
            "hold" => Some(Self::Hold),
            "check" => Some(Self::Check),
            "machine" => Some(Self::Machine),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    /// The words of `stele` in the ceremony's folder. `answers`: whether the folder has some.
    fn words(self, module: Option<&Path>, answers: bool) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Rehearse => &["ceremony", "rehearse", "--script", "script.toml", "--out", "rehearsal"],
            Self::Hold => &["ceremony", "run", "--script", "script.toml", "--out", "out"],
            Self::Check => &["ceremony", "verify", "out/transcript", "--script", "script.toml"],
            Self::Machine => &["attest", "here", "--out", "machine.toml"],
            Self::Off => &[],
        };
        let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        if matches!(self, Self::Rehearse | Self::Hold) && answers {
            words.extend(["--answers".to_owned(), "answers.toml".to_owned()]);
        } else if let (Self::Hold, Some(module)) = (self, module) {
            words.extend(["--module".to_owned(), module.display().to_string()]);
        }
        words
    }
}

/// Offers it until somebody switches the machine off.
pub fn offer(mut dog: Watchdog, hsm: Option<&HsmLink>, late: &Modules) -> Result<(), Fault> {
    say("STELE READY ceremony");
    let mut told = format!("\nThe clock says {}.\n", date(now_s()));
    loop {
        // Anew each time: with the end of a session its terminal is hung up for all who have it open.
        let mut people = People::at_consoles()?;
        people.tell(&format!("{told}{OFFER}\n"));
        let line = people.line(&mut dog)?;
        told = match Wish::parse(&line) {
            None => format!("{line:?} is none of the words\n"),
            Some(Wish::Off) => {
                people.tell("switching off\n");
                power_off();
            }
            // What goes wrong with a stick or a program is for the people to see, who are there.
            Some(wish) => match attend(wish, &people, &mut dog, hsm, late) {
                Ok(ended) => format!("\nstele {ended}; the stick may be pulled out\n"),
                Err(fault) => format!("\n{fault}\n"),
            },
        };
    }
}

/// One command, from the stick's mounting to its end.
fn attend(
    wish: Wish,
    people: &People,
    dog: &mut Watchdog,
    hsm: Option<&HsmLink>,
    late: &Modules,
) -> Result<String, Fault> {
    // Sticks and tokens that came in the meantime may be of a kind that was not there before.
    late.load(Part::All);
    let stick = Stick::find()?;
    stick::lend_tokens(SIGNER_USER);
    for machine in ["/dev/tpmrm0", tpm::event_log::KERNELS] {
        services::lend(machine, SIGNER_USER)?;
    }
    let folder = stick.folder();
    let module = only_module(Path::new(vendor::FOLDER));
    let mut command = Command::new("/usr/bin/stele");
    command.args(wish.words(module.as_deref(), folder.join("answers.toml").exists()));
    command.env_clear().envs(vendor::environment()?).current_dir(&folder).uid(SIGNER_USER).gid(SIGNER_USER);
    let (input, output, errors) = people.at_work()?;
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    people::give_terminal(&mut command);
    // Only a real ceremony has a token that may be far away.
    let _link = match hsm.filter(|_| wish == Wish::Hold) {
        Some(hsm) => {
            link::confine(&mut command, hsm.hsm.port())?;
            Some(Link::raise(hsm)?)
        }
        None => None,
    };
    let mut child = command.spawn().map_err(Fault::system("starting stele"))?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(Fault::system("waiting for stele"))? {
            break status;
        }
        dog.feed();
        std::thread::sleep(TICK);
    };
    // Whatever a vendor's module has started does not keep the stick busy.
    // SAFETY: the call takes two numbers; from the first process it spares that process alone.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    drop(stick);
    Ok(if status.success() { "has ended well".to_owned() } else { format!("has ended with {status}") })
}

/// The module of a bundle, where it has one and not several.
fn only_module(folder: &Path) -> Option<PathBuf> {
    let has_entry = |path: &PathBuf| {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.is_ok() && bytes.windows(ENTRY.len()).any(|window| window == ENTRY)
    };
    let mut found = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(has_entry);
    found.next().filter(|_| found.next().is_none())
}

fn power_off() -> ! {
    // SAFETY: neither call touches memory of ours.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    crate::restart()
}

fn now_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() as i64)
}

/// A moment as `2026-11-21 03:16 UTC`; the date by Howard Hinnant, "chrono-compatible low-level date algorithms".
fn date(seconds: i64) -> String {
    let shifted = seconds.div_euclid(86_400) + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600) / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_words_are_understood_and_nothing_else() {
        let words = [
            ("hold\r\n", Wish::Hold),
            (" rehearse\n", Wish::Rehearse),
            ("check", Wish::Check),
            ("machine\n", Wish::Machine),
            ("off", Wish::Off),
        ];
        for (line, wish) in words {
            assert_eq!(Wish::parse(line), Some(wish));
        }
        for line in ["", "sh", "hold; sh", "Hold", "off now"] {
            assert_eq!(Wish::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_ceremony_has_the_vendors_module_and_a_rehearsal_has_not() {
        let module = Some(Path::new("/usr/lib/pkcs11/vendor.so"));
        let last = |wish: Wish, answers| wish.words(module, answers).pop().unwrap();
        assert_eq!(last(Wish::Hold, false), "/usr/lib/pkcs11/vendor.so");
        assert_eq!(last(Wish::Rehearse, false), "rehearsal");
        assert_eq!(
            (last(Wish::Hold, true), last(Wish::Rehearse, true)),
            ("answers.toml".into(), "answers.toml".into())
        );
        assert_eq!(last(Wish::Check, true), "script.toml");
        assert_eq!(last(Wish::Machine, true), "machine.toml");
    }

    #[test]
    fn a_bundle_with_two_modules_has_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libusb.so"), "a library").unwrap();
        assert_eq!(only_module(folder.path()), None);
        std::fs::write(folder.path().join("one.so"), "x\0C_GetFunctionList\0y").unwrap();
        assert_eq!(only_module(folder.path()), Some(folder.path().join("one.so")));
        std::fs::write(folder.path().join("two.so"), "C_GetFunctionList\0").unwrap();
        assert_eq!(only_module(folder.path()), None);
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(1_763_695_000), "2025-11-21 03:16 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
    }
}
