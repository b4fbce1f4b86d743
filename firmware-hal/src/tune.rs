//! What of a machine's settings a node profits from, and why; and the putting in and taking back of them.
//!
//! What is wanted ([`settings()`]) is a function of files and the inventory and changes nothing. [`apply`] writes down what was
//! there before it writes anything, so that [`revert`] can put it back, after a crash as well. A setting lives until the
//! machine is started again; what only the kernel's command line can set is said and left to people.

mod applied;
mod hugepages;
mod settings;

pub use applied::{Outcome, TuneError, apply, revert};
pub use hugepages::{Hugepages, NoHugepages};
pub use settings::settings;

use crate::ethtool;
use crate::fact::{Reading, Why};
use crate::inventory::Inventory;
use crate::probe;
use crate::root::Root;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// One setting of the machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The file that shows it, and sets it where `how` is [`How::Write`].
    pub path: String,
    /// What it is now.
    #[serde(flatten)]
    pub now: Reading<String>,
    /// What it should be.
    pub wanted: Wanted,
    /// What a node has of it.
    pub why: &'static str,
    /// How it is set.
    pub how: How,
}

/// What a setting should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// This number, or more.
    AtLeast(u64),
    /// This number, or less.
    AtMost(u64),
    /// This word, alone or as the chosen one of several.
    Word(String),
    /// These processors.
    Cpus(Vec<u32>),
}

/// How a setting is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By writing to its file, or by the call that such a path stands for.
    Write,
    /// By this on the kernel's command line, at the next start.
    CommandLine(String),
}

impl Setting {
    /// Whether it is as wanted; `None` where nobody knows what it is.
    pub fn is_met(&self) -> Option<bool> {
        let Reading::Value(now) = &self.now else { return None };
        Some(self.wanted.is_met_by(now))
    }

    /// Whether [`apply`] would write it: it can be read, is not as wanted, and is set by writing.
    pub fn is_due(&self) -> bool {
        self.is_met() == Some(false) && self.how == How::Write
    }

    /// What to type to the same effect.
    pub fn command(&self) -> String {
        match &self.how {
            How::Write => command(&self.path, &self.wanted.text()),
            How::CommandLine(words) => format!("{words}    (on the kernel's command line, then start again)"),
        }
    }
}

/// How many settings are as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// As wanted.
    pub met: usize,
    /// Not as wanted.
    pub differing: usize,
    /// Those of them that [`apply`] would write.
    pub due: usize,
    /// Nobody knows.
    pub unknown: usize,
}

impl Tally {
    /// Counts them.
    pub fn of(settings: &[Setting]) -> Self {
        let count = |wanted: &dyn Fn(&Setting) -> bool| settings.iter().filter(|setting| wanted(setting)).count();
        Self {
            met: count(&|setting| setting.is_met() == Some(true)),
            differing: count(&|setting| setting.is_met() == Some(false)),
            due: count(&Setting::is_due),
            unknown: count(&|setting| setting.is_met().is_none()),
        }
    }

    /// Whether everything is known to be as wanted.
    pub fn is_tuned(&self) -> bool {
        self.differing == 0 && self.unknown == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { met, differing, due, unknown } = self;
        let all = met + differing + unknown;
        write!(f, "{differing} of {all} settings differ, `stele hw tune apply` sets {due}")?;
        if *unknown == 0 {
            Ok(())
        } else {
            write!(f, "; {unknown} of {all} settings are unknown, so it is not known to be tuned")
        }
    }
}

/// What to type to write a value to a path.
pub fn command(path: &str, value: &str) -> String {
    let channels = path.strip_prefix(ethtool::DIR).and_then(|path| path.split_once('/'));
    match (path.strip_prefix("/proc/sys/"), channels) {
        (Some(name), _) => format!("sysctl -w {}={value}", name.replace('/', ".")),
        (None, Some((interface, kind))) => format!("ethtool -L {interface} {kind} {value}"),
        (None, None) => format!("echo {value} > {path}"),
    }
}

/// Sets everything that is due on a machine: first the channels of interfaces, since others bring other interrupts, then
/// the rest, as it is wanted of what is there now.
///
/// # Errors
/// As [`apply`], and where huge pages are wanted of a size that the machine does not have; then nothing was written.
pub fn apply_all(root: &Root, wishes: &[Hugepages], record: &Path) -> Result<Vec<Outcome>, TuneError> {
    hugepages::admit(&Inventory::take(root), wishes)?;
    let wanted = || settings(root, &Inventory::take(root), wishes).into_iter();
    let of_channels = |setting: &Setting| setting.path.starts_with(ethtool::DIR);
    let (channels, _): (Vec<_>, Vec<_>) = wanted().partition(of_channels);
    let mut outcomes = apply(root, &channels, record)?;
    let (_, rest): (Vec<_>, Vec<_>) = wanted().partition(of_channels);
    outcomes.extend(apply(root, &rest, record)?);
    Ok(outcomes)
}

impl Wanted {
    /// What to write.
    pub fn text(&self) -> String {
        match self {
            Self::AtLeast(number) | Self::AtMost(number) => number.to_string(),
            Self::Word(word) => word.clone(),
            Self::Cpus(cpus) => ranges(cpus),
        }
    }

    /// Whether a file that says this is as wanted.
    pub fn is_met_by(&self, now: &str) -> bool {
        match self {
            Self::AtLeast(least) => now.parse().is_ok_and(|now: u64| now >= *least),
            Self::AtMost(most) => now.parse().is_ok_and(|now: u64| now <= *most),
            Self::Word(word) => probe::chosen(now).as_ref() == Some(word),
            Self::Cpus(cpus) => probe::list(now).as_ref() == Some(cpus),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.is_met(), &self.how) {
            (Some(true), _) => "good",
            (Some(false), How::Write) => "set",
            (Some(false), _) => "by hand",
            (None, _) => "unknown",
        };
        let now = match &self.now {
            Reading::Value(now) => now.split_whitespace().collect::<Vec<_>>().join(" "),
            Reading::Unknown(why) => Why::words(*why).to_owned(),
        };
        write!(f, "{state:<8} {}: {now}", self.path)?;
        if let Some(why) = self.now.unknown() {
            write!(f, "\n         {}\n         to know it: {}", self.why, why.cure())?;
        }
        if self.is_met() == Some(false) {
            write!(f, "\n         {}\n         {}", self.why, self.command())?;
        }
        Ok(())
    }
}

/// Processors as the kernel writes them: `0-3,8`.
fn ranges(cpus: &[u32]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let Some(&first) = rest.first() {
        let run = rest.iter().zip(first..).take_while(|(cpu, expected)| *cpu == expected).count();
        let separator = if text.is_empty() { "" } else { "," };
        text += &match run {
            1 => format!("{separator}{first}"),
            _ => format!("{separator}{first}-{}", rest[run - 1]),
        };
        rest = &rest[run..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_written_as_they_are_read() {
        for cpus in [vec![], vec![0], vec![0, 1, 2, 3, 8, 10, 11], vec![5, 7]] {
            assert_eq!(probe::list(&ranges(&cpus)), Some(cpus));
        }
        assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
    }

    #[test]
    fn what_is_wanted_is_told_from_what_is_not() {
        assert!(Wanted::AtLeast(8).is_met_by("9") && !Wanted::AtLeast(8).is_met_by("7"));
        assert!(Wanted::AtMost(1).is_met_by("0") && !Wanted::AtMost(1).is_met_by("60"));
        assert!(Wanted::Word("none".into()).is_met_by("[none] mq-deadline"));
        assert!(!Wanted::Word("none".into()).is_met_by("none [mq-deadline]"));
        assert!(Wanted::Cpus(vec![0, 1, 2]).is_met_by("0-2") && !Wanted::Cpus(vec![0]).is_met_by("0-2"));
        for wanted in [Wanted::AtLeast(0), Wanted::AtMost(u64::MAX), Wanted::Cpus(vec![1])] {
            assert!(!wanted.is_met_by("nonsense"), "{wanted:?}");
        }
    }
}
