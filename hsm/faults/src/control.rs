//! The control file: what is to go wrong.

use crate::codes::Code;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What is to go wrong. Unknown keys are refused; functions are named as in the standard, `*` is each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The module behind this one. Read once, when the first function is called.
    pub module: PathBuf,
    /// Where [`crate::Stats`] are written.
    #[serde(default)]
    pub stats: Option<PathBuf>,
    /// Of the random faults; another seed starts them anew.
    #[serde(default)]
    pub seed: u64,
    /// Another value means that the caller counts as another process: it may try a PIN that was rejected before.
    #[serde(default)]
    pub incarnation: u64,
    /// Most sessions at a time; further ones get CKR_SESSION_COUNT.
    #[serde(default)]
    pub sessions_max: Option<u64>,
    /// Whether C_GetTokenInfo tells `sessions_max`.
    #[serde(default)]
    pub tells_sessions_max: bool,
    /// Mechanisms that are not listed.
    #[serde(default)]
    pub mechanisms_hidden: Vec<u64>,
    /// How CKA_EC_POINT is encoded; as the module has it where absent.
    #[serde(default)]
    pub ec_point: Option<PointEncoding>,
    /// How C_Sign answers; as the module does where absent.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// Label of the private key that signs for [`Answer::OtherKey`].
    #[serde(default)]
    pub other_key: String,
    /// Of each slot.
    #[serde(default)]
    pub token: Token,
    /// Milliseconds that each call of a function takes longer.
    #[serde(default)]
    pub latency_ms: BTreeMap<String, u64>,
    /// Functions whose calls do not return, for as long as the file names them.
    #[serde(default)]
    pub hang: Vec<String>,
    /// The first that fits a call is its outcome.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// Faults by chance.
    #[serde(default)]
    pub random: Vec<RandomFaults>,
}

/// The token and its flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whether it is in its slot.
    #[serde(default = "present")]
    pub present: bool,
    /// How often it was removed so far. A rise makes old sessions invalid, also where nobody called meanwhile.
    #[serde(default)]
    pub removals: u64,
    /// What its return needs.
    #[serde(default, rename = "return")]
    pub returns: Return,
    /// Bits of CK_TOKEN_INFO.flags that are set.
    #[serde(default)]
    pub flags_set: u64,
    /// Bits of CK_TOKEN_INFO.flags that are cleared.
    #[serde(default)]
    pub flags_clear: u64,
}

fn present() -> bool {
    true
}

impl Default for Token {
    fn default() -> Self {
        Self { present: true, removals: 0, returns: Return::default(), flags_set: 0, flags_clear: 0 }
    }
}

/// What a token that was removed needs after its return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Return {
    /// C_Finalize and C_Initialize; until then every session is invalid, new ones too, as with YubiHSM 2.
    #[default]
    UntilFinalize,
    /// New sessions and a login.
    Reopen,
}

/// Encodings of CKA_EC_POINT that modules use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointEncoding {
    /// The point alone.
    Raw,
    /// In a DER OCTET STRING.
    OctetString,
    /// In a DER BIT STRING.
    BitString,
}

/// Wrong answers of C_Sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// One bit of the signature is wrong.
    FlippedBit,
    /// The signature lacks its last byte.
    Short,
    /// Another key signed, see [`Control::other_key`].
    OtherKey,
}

/// Calls that fail. Calls are counted from when the control file was read, the first is 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    function: String,
    code: Code,
    #[serde(default)]
    nth: Option<u64>,
}

impl Fault {
    /// Every call from now on returns the code.
    ///
    /// # Panics
    /// For a code without a name.
    pub fn every(function: &str, code: &str) -> Self {
        Self { function: function.to_owned(), code: Code::parse(code).expect("a return code"), nth: None }
    }

    /// The n-th call from now returns the code.
    ///
    /// # Panics
    /// For a code without a name.
    pub fn nth(function: &str, nth: u64, code: &str) -> Self {
        Self { nth: Some(nth), ..Self::every(function, code) }
    }

    pub(crate) fn hits(&self, function: &str, call: u64) -> Option<u64> {
        let hit = fits(&self.function, function) && self.nth.is_none_or(|nth| nth == call);
        hit.then_some(self.code.0)
    }
}

/// Calls that fail by chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFaults {
    function: String,
    rate: f64,
    codes: Vec<Code>,
}

impl RandomFaults {
    /// That share of calls returns one of the codes.
    ///
    /// # Panics
    /// For a code without a name.
    pub fn new(function: &str, rate: f64, codes: &[&str]) -> Self {
        let codes = codes.iter().map(|code| Code::parse(code).expect("a return code")).collect();
        Self { function: function.to_owned(), rate, codes }
    }

    /// The outcome for two random numbers.
    pub(crate) fn draw(&self, function: &str, chance: u64, choice: u64) -> Option<u64> {
        let hit = fits(&self.function, function) && (chance >> 11) as f64 / (1u64 << 53) as f64 <= self.rate;
        hit.then(|| self.codes.get((choice % self.codes.len().max(1) as u64) as usize)).flatten().map(|code| code.0)
    }
}

pub(crate) fn fits(pattern: &str, function: &str) -> bool {
    pattern == "*" || pattern == function
}

impl Control {
    /// Nothing goes wrong.
    pub fn through(module: PathBuf) -> Self {
        Self { module, ..Self::default() }
    }

    /// Puts the file in place at once, so that no reader sees half of it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let half = path.with_extension("half");
        std::fs::write(&half, text)?;
        std::fs::rename(&half, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_unknown_names_are_refused() {
        let control = Control {
            sessions_max: Some(2),
            ec_point: Some(PointEncoding::BitString),
            answer: Some(Answer::OtherKey),
            latency_ms: [("C_Sign".to_owned(), 7)].into(),
            hang: vec!["C_Login".to_owned()],
            fault: vec![Fault::every("*", "CKR_DEVICE_ERROR"), Fault::nth("C_Sign", 3, "0x80000005")],
            random: vec![RandomFaults::new("C_Login", 0.25, &["CKR_GENERAL_ERROR"])],
            ..Control::through("/module.so".into())
        };
        let text = toml::to_string(&control).expect("a table");
        assert_eq!(toml::from_str::<Control>(&text).expect("our own"), control);
        for wrong in ["module = 'm'\npin = '1'", "module = 'm'\n[[fault]]\nfunction = '*'\ncode = 'CKR_NONE'"] {
            assert!(toml::from_str::<Control>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_call_that_was_named_fails() {
        let third = Fault::nth("C_Sign", 3, "CKR_DEVICE_ERROR");
        let hits: Vec<_> = (1..=4).map(|call| third.hits("C_Sign", call).is_some()).collect();
        assert_eq!(hits, [false, false, true, false]);
        assert_eq!(third.hits("C_SignInit", 3), None);
        assert!(Fault::every("*", "CKR_DEVICE_ERROR").hits("C_SignInit", 9).is_some());
    }

    #[test]
    fn a_rate_of_nothing_never_hits_and_of_one_always() {
        let codes = ["CKR_DEVICE_ERROR"];
        for chance in [1 << 11, u64::MAX / 2, u64::MAX] {
            assert_eq!(RandomFaults::new("*", 0.0, &codes).draw("C_Sign", chance, 0), None);
            assert!(RandomFaults::new("*", 1.0, &codes).draw("C_Sign", chance, 5).is_some());
            assert_eq!(RandomFaults::new("*", 1.0, &[]).draw("C_Sign", chance, 0), None);
        }
    }
}
