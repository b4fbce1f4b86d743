//! What the kernel's command line tells init. It lies inside the signed and measured unified kernel image, so whoever
//! trusts that trusts this. A line without a root hash is refused: there is no way to boot without verity.

use crate::gpt::Guid;
use crate::hsm_link::{HsmLink, HsmLinkError};
use crate::verity::RootHash;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What the machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// A validator with its state on disk.
    Validator,
    /// A ceremony's machine: nothing is written, there is no network.
    Ceremony,
    /// A validator for tests, with a software token.
    Dev,
}

/// Where the initial file system of a ceremony has the root with its hashes: it runs from memory alone.
pub const MEMORY_ROOT: &str = "root.img";

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Validator, Self::Ceremony, Self::Dev];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Ceremony => "ceremony",
            Self::Dev => "dev",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Flavour {
    type Err = BootLineError;
    fn from_str(text: &str) -> Result<Self, BootLineError> {
        Self::ALL.into_iter().find(|flavour| flavour.name() == text).ok_or(BootLineError::Flavour)
    }
}

/// Whether the state's partition is encrypted under a key that is sealed to the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// A machine whose state cannot be sealed, or is not, does not start.
    Required,
    /// A new state is sealed where there is a TPM and the image brings a signed policy.
    IfPossible,
    /// A new state is not.
    Never,
}

impl Seal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Required, Self::IfPossible, Self::Never];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::IfPossible => "if-possible",
            Self::Never => "never",
        }
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Seal {
    type Err = BootLineError;
    fn from_str(text: &str) -> Result<Self, BootLineError> {
        Self::ALL.into_iter().find(|seal| seal.name() == text).ok_or(BootLineError::Seal)
    }
}

/// Why a command line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BootLineError {
    /// A key that must be there once is missing or there twice.
    #[error("the command line must have {0} once")]
    Count(&'static str),
    /// A root hash that is not 64 hexadecimal digits.
    #[error("the root hash is not 64 hexadecimal digits")]
    RootHash,
    /// A number that is none, or 0.
    #[error("{0} is not a positive number")]
    Number(&'static str),
    /// An unknown flavour.
    #[error("the flavour is none of validator, ceremony, dev")]
    Flavour,
    /// An unknown way to keep the state.
    #[error("stele.seal is none of required, if-possible, never")]
    Seal,
    /// A link to an HSM that is none.
    #[error("stele.hsm: {0}")]
    Hsm(#[from] HsmLinkError),
    /// A link to an HSM on a machine that has networks anyway.
    #[error("stele.hsm is for a ceremony alone")]
    HsmElsewhere,
}

/// Our part of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLine {
    /// What the machine is for.
    pub flavour: Flavour,
    /// The root hash of the root file system.
    pub root: RootHash,
    /// Blocks of the root file system; the tree begins behind them.
    pub data_blocks: u64,
    /// Counts up with each release; configuration and updates tell by it what is older.
    pub release: u64,
    /// Whether the state is sealed.
    pub seal: Seal,
    /// A ceremony's link to its HSM, where it has one.
    pub hsm: Option<HsmLink>,
}

const ROOT: &str = "stele.root";
const BLOCKS: &str = "stele.blocks";
const FLAVOUR: &str = "stele.flavour";
const RELEASE: &str = "stele.release";
const SEAL: &str = "stele.seal";
const HSM: &str = "stele.hsm";

impl BootLine {
    /// The GUID of the partition that holds this root: the first half of the hash, so that a kernel finds its own root and
    /// no other one.
    pub fn partition(&self) -> Guid {
        partition_of(&self.root)
    }

    /// Reads it out of a whole command line.
    pub fn parse(line: &str) -> Result<Self, BootLineError> {
        let one = |key: &'static str| {
            let mut values = line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(BootLineError::Count(key)),
            }
        };
        let number = |key| match one(key)?.parse() {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(BootLineError::Number(key)),
        };
        let hash = one(ROOT)?;
        let mut root = [0; 32];
        if hash.len() != 64 || !hash.is_ascii() {
            return Err(BootLineError::RootHash);
        }
        for (index, byte) in root.iter_mut().enumerate() {
            let digits = &hash[2 * index..2 * index + 2];
            let valid = digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| valid).ok_or(BootLineError::RootHash)?;
        }
        // A word that cannot be understood is not taken for one that is not there.
        let optional = |key: &'static str| if line.contains(key) { one(key).map(Some) } else { Ok(None) };
        // Releases from before it was there have none.
        let seal = optional(SEAL)?.map_or(Ok(Seal::Never), str::parse)?;
        let hsm = optional(HSM)?.map(str::parse).transpose()?;
        let (data_blocks, release, flavour) = (number(BLOCKS)?, number(RELEASE)?, one(FLAVOUR)?.parse()?);
        if hsm.is_some() && flavour != Flavour::Ceremony {
            return Err(BootLineError::HsmElsewhere);
        }
        Ok(Self { flavour, root, data_blocks, release, seal, hsm })
    }
}

impl fmt::Display for BootLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FLAVOUR}={} {RELEASE}={} {SEAL}={} ", self.flavour, self.release, self.seal)?;
        if let Some(link) = &self.hsm {
            write!(f, "{HSM}={link} ")?;
        }
        write!(f, "{BLOCKS}={} {ROOT}=", self.data_blocks)?;
        self.root.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The GUID of the partition with a root of this hash.
pub fn partition_of(root: &RootHash) -> Guid {
    let mut id = [0; 16];
    id.copy_from_slice(&root[..16]);
    Guid(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> BootLine {
        BootLine {
            flavour: Flavour::Dev,
            root: [0xAB; 32],
            data_blocks: 77,
            release: 3,
            seal: Seal::Required,
            hsm: None,
        }
    }

    #[test]
    fn what_is_written_is_read_among_other_words() {
        assert_eq!(BootLine::parse(&format!("quiet {} panic=-1", line())), Ok(line()));
    }

    #[test]
    fn a_missing_or_doubled_root_hash_is_refused() {
        let text = line().to_string();
        assert_eq!(BootLine::parse("quiet"), Err(BootLineError::Count(ROOT)));
        let doubled = format!("{text} {ROOT}={}", "0".repeat(64));
        assert_eq!(BootLine::parse(&doubled), Err(BootLineError::Count(ROOT)));
        assert_eq!(BootLine::parse(&text.replace("ab", "AB")), Err(BootLineError::RootHash));
        assert_eq!(BootLine::parse(&text.replace("=77", "=0")), Err(BootLineError::Number(BLOCKS)));
        assert_eq!(BootLine::parse(&text.replace("=dev", "=shell")), Err(BootLineError::Flavour));
    }

    /// A word too many must not make a demand go away.
    #[test]
    fn a_seal_that_cannot_be_understood_is_refused_and_a_missing_one_demands_nothing() {
        let text = line().to_string();
        assert_eq!(BootLine::parse(&text.replace("=required", "=maybe")), Err(BootLineError::Seal));
        assert_eq!(BootLine::parse(&format!("{text} stele.seal=never")), Err(BootLineError::Count(SEAL)));
        let before = text.replace(" stele.seal=required", "");
        assert_eq!(BootLine::parse(&before).map(|line| line.seal), Ok(Seal::Never));
    }

    #[test]
    fn a_link_to_an_hsm_is_a_ceremonys_alone() {
        let link = "igc,192.0.2.6,192.0.2.5:1792".parse().ok();
        let with = BootLine { flavour: Flavour::Ceremony, hsm: link, ..line() };
        assert_eq!(BootLine::parse(&with.to_string()), Ok(with.clone()));
        let elsewhere = BootLine { flavour: Flavour::Validator, ..with.clone() };
        assert_eq!(BootLine::parse(&elsewhere.to_string()), Err(BootLineError::HsmElsewhere));
        let doubled = format!("{with} {HSM}=igc,192.0.2.6,192.0.2.7:1");
        assert_eq!(BootLine::parse(&doubled), Err(BootLineError::Count(HSM)));
        let broken = with.to_string().replace(":1792", "");
        assert_eq!(BootLine::parse(&broken), Err(BootLineError::Hsm(HsmLinkError::Addresses)));
    }

    proptest! {
        #[test]
        fn any_text_is_an_error_or_a_line(text: String) {
            let _ = BootLine::parse(&format!("{ROOT}={text} {text}"));
        }
    }
}
