//! How makes of tokens differ, as data: what is compiled in stands in `hsm/profiles`, an operator can bring a file of his
//! own. A profile changes numbers and limits, never what is checked.

use crate::config::Pkcs11Config;
use crate::error::{ConfigError, StartError};
use serde::Deserialize;

/// CKM_EDDSA and CKM_ECDSA.
const EDDSA: u64 = 0x1057;
const ECDSA: u64 = 0x1041;

/// One make of token. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// As in `profile = "…"`.
    pub name: String,
    /// For people.
    pub about: String,
    /// Parts of the maker's or model's name, by which `stele hsm conformance` suggests the profile.
    #[serde(default)]
    pub makers: Vec<String>,
    /// Where each fact was read or tested.
    pub sources: Vec<String>,
    /// Numbers of the mechanisms.
    #[serde(default)]
    pub mechanisms: MechanismNumbers,
    /// How CKA_EC_POINT is encoded. All three encodings are accepted in any case; `stele hsm conformance` compares.
    #[serde(default)]
    pub ec_point: Option<PointEncoding>,
    /// Whether CKA_ID can be chosen when a key is made. `false`: it is left to the token, and keys are found by label.
    #[serde(default = "yes")]
    pub cka_id_free: bool,
    /// Whether a token that was lost works again only after C_Finalize and C_Initialize.
    #[serde(default = "yes")]
    pub reinitialise_after_loss: bool,
    /// Most sessions of the token, all programs together.
    #[serde(default)]
    pub sessions_max: Option<u32>,
    /// Seconds after which the token ends an idle session.
    #[serde(default)]
    pub idle_timeout_s: Option<u64>,
    /// How keys can be backed up.
    #[serde(default)]
    pub backup: Backup,
}

/// Numbers of the mechanisms, CKM_….
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MechanismNumbers {
    /// Ed25519 over the message; CKM_EDDSA.
    pub eddsa: u64,
    /// ECDSA over a digest; CKM_ECDSA.
    pub ecdsa: u64,
    /// SM2; there is no standard one. Without it a key on the curve of SM2 is refused.
    pub sm2: Option<Sm2Mechanism>,
}

impl Default for MechanismNumbers {
    fn default() -> Self {
        Self { eddsa: EDDSA, ecdsa: ECDSA, sm2: None }
    }
}

/// A vendor's mechanism for SM2 signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sm2Mechanism {
    /// Its number, from 0x80000000.
    pub number: u64,
    /// What it takes.
    pub input: Sm2Input,
}

/// What a mechanism for SM2 takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sm2Input {
    /// e = SM3(Z ‖ M) (GM/T 0003.2 §6.1), with the default user id.
    Digest,
    /// M; the token computes Z with the default user id.
    Message,
}

/// Encodings of CKA_EC_POINT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointEncoding {
    /// The point alone (PKCS#11 3.1).
    Raw,
    /// In a DER OCTET STRING (SoftHSM 2).
    OctetString,
    /// In a DER BIT STRING (a reading of PKCS#11 3.0).
    BitString,
}

/// How keys can be backed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    /// Not at all: a second key and a rotation take its place.
    #[default]
    None,
    /// By the vendor's own means, outside of PKCS#11.
    VendorClone,
    /// By C_WrapKey, which needs an extractable key.
    Wrap,
}

fn yes() -> bool {
    true
}

const COMPILED_IN: [&str; 6] = [
    include_str!("../../profiles/generic.toml"),
    include_str!("../../profiles/softhsm2.toml"),
    include_str!("../../profiles/kryoptic.toml"),
    include_str!("../../profiles/yubihsm2.toml"),
    include_str!("../../profiles/cloudhsm.toml"),
    include_str!("../../profiles/sm2-vendor.toml"),
];

/// All that are compiled in; the first is used where none is named.
pub fn compiled_in() -> Vec<Profile> {
    COMPILED_IN.iter().map(|text| toml::from_str(text).expect("checked by a test")).collect()
}

/// The profile that a configuration asks for.
///
/// # Errors
/// [`ConfigError::ProfileUnusable`] for an unknown name, a file that does not parse, and a name together with a file.
pub fn of(config: &Pkcs11Config) -> Result<Profile, StartError> {
    let unusable = |what: &dyn std::fmt::Display| ConfigError::ProfileUnusable.about(what);
    match (&config.profile, &config.profile_file) {
        (None, None) => Ok(compiled_in().swap_remove(0)),
        (Some(name), None) => {
            let found = compiled_in().into_iter().find(|profile| profile.name == *name);
            found.ok_or_else(|| unusable(&format_args!("profile {name:?}")))
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| unusable(&format_args!("{} ({error})", path.display())))?;
            toml::from_str(&text)
                .map_err(|error: toml::de::Error| unusable(&format_args!("{} ({})", path.display(), error.message())))
        }
        (Some(name), Some(_)) => Err(unusable(&format_args!("profile {name:?} and a profile_file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_parses_has_sources_and_names_of_its_own() {
        let profiles = compiled_in();
        assert_eq!(profiles[0].name, "generic");
        for profile in &profiles {
            assert!(!profile.sources.is_empty() && !profile.about.is_empty(), "{}", profile.name);
            assert_eq!(profiles.iter().filter(|other| other.name == profile.name).count(), 1);
        }
    }

    #[test]
    fn an_unknown_profile_or_key_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("profile.toml");
        let config = |profile: Option<&str>, file: bool| Pkcs11Config {
            profile: profile.map(str::to_owned),
            profile_file: file.then(|| path.clone()),
            ..Pkcs11Config::new("module".into(), "token", "pin".into())
        };
        let reason = |config| of(&config).expect_err("refused").cause;
        assert_eq!(reason(config(Some("no such make"), false)), ConfigError::ProfileUnusable.into());
        assert_eq!(reason(config(None, true)), ConfigError::ProfileUnusable.into());
        std::fs::write(&path, "name = 'mine'\nabout = ''\nsources = []\npin = '1234'").expect("own directory");
        assert_eq!(reason(config(None, true)), ConfigError::ProfileUnusable.into());
        std::fs::write(&path, "name = 'mine'\nabout = ''\nsources = []").expect("own directory");
        assert_eq!(of(&config(None, true)).map(|profile| profile.name), Ok("mine".to_owned()));
        assert_eq!(reason(config(Some("generic"), true)), ConfigError::ProfileUnusable.into());
        assert_eq!(of(&config(Some("softhsm2"), false)).map(|profile| profile.name), Ok("softhsm2".to_owned()));
    }
}
