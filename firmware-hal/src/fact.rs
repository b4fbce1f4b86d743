//! A fact: what was read, and from where. What could not be read is *unknown*, with the reason; it is never taken for
//! false, zero or empty.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What was read from a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact<T> {
    /// Path on the machine, or the name of the instruction or call.
    pub source: String,
    /// What it said.
    #[serde(flatten)]
    pub reading: Reading<T>,
}

/// What a source said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// This.
    Value(T),
    /// Nothing that can be used.
    Unknown(Why),
}

/// Why something is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The source is not there.
    Absent,
    /// Reading it takes rights that this process does not have.
    Denied,
    /// It is there and does not answer: the driver or the device cannot tell.
    Unsupported,
    /// It says something that makes no sense here.
    Malformed,
    /// It says more than is read of any source.
    TooLarge,
    /// The device has fallen off its bus, or answers nothing more until it is reset.
    Lost,
    /// It does not answer in time.
    Silent,
}

impl Why {
    /// What makes it known.
    pub fn cure(self) -> &'static str {
        match self {
            Self::Absent => "mount what it is in (/sys, /proc, efivarfs), and load the driver that makes it",
            Self::Denied => "ask as root, or as a user who may read it",
            Self::Unsupported => "another driver, firmware or device; the kernel's log may tell why this one is silent",
            Self::Malformed | Self::TooLarge => "look at what stands there: no kernel writes that",
            Self::Lost | Self::Silent => "see the kernel's log, and reset the device",
        }
    }

    /// In words, to follow "unknown: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::Absent => "the source is not there",
            Self::Denied => "reading it takes more rights",
            Self::Unsupported => "the driver or the device cannot tell",
            Self::Malformed => "what it says makes no sense",
            Self::TooLarge => "it says more than is read",
            Self::Lost => "the device is lost until it is reset",
            Self::Silent => "it does not answer",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl<T> Reading<T> {
    /// The value, if it is known.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why there is none.
    pub fn unknown(&self) -> Option<Why> {
        match self {
            Self::Value(_) => None,
            Self::Unknown(why) => Some(*why),
        }
    }
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn value(&self) -> Option<&T> {
        self.reading.value()
    }

    /// Makes something else of the value; `None` says that it makes no sense.
    pub fn parsed<U>(self, parse: impl FnOnce(T) -> Option<U>) -> Fact<U> {
        let reading = match self.reading {
            Reading::Value(value) => parse(value).map_or(Reading::Unknown(Why::Malformed), Reading::Value),
            Reading::Unknown(why) => Reading::Unknown(why),
        };
        Fact { source: self.source, reading }
    }

    /// As [`Fact::parsed`], where a value may also say that it is not known.
    pub fn read_as<U>(self, read: impl FnOnce(T) -> Reading<U>) -> Fact<U> {
        let reading = match self.reading {
            Reading::Value(value) => read(value),
            Reading::Unknown(why) => Reading::Unknown(why),
        };
        Fact { source: self.source, reading }
    }
}
