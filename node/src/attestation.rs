//! Attestations as documents, and what a verifier makes of one.
//!
//! What an attestation says is proven by its two signatures ([`hsm::attestation`]). Whether that is what it should say is
//! decided here, against the nonce and the ledger of the asker, and against a [`Policy`]: which TPMs there are, and which
//! values their registers may have.

pub mod enrolment;
mod policy;
#[cfg(test)]
mod tests;

pub use policy::{Policy, PolicyError, roots};

use client::rpc::{AttestationInfo, EVENT_LOG_BYTES_MAX, HexBytes};
use hsm::attestation::{Attestation, Nonce};
use hsm::{PublicKeys, SignError, SignerClient};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;
use tpm::event_log::{self, EventLog};
use tpm::quote::{Quote, Value};
use types::{Authority, ChainId, DecodeError, Signature};

/// Why a document is none.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// A field of another length.
    #[error("`{0}` has another length than it should")]
    Length(&'static str),
    /// A register that there is not.
    #[error("there is no register {0}")]
    Register(u8),
    /// The transport key's signature.
    #[error("`signature` does not decode: {0}")]
    Signature(#[from] DecodeError),
}

/// The document of an attestation.
pub fn info(attestation: &Attestation, event_log: Option<Vec<u8>>) -> AttestationInfo {
    let Attestation { chain, keys, nonce, quote, signature } = attestation;
    AttestationInfo {
        chain: *chain,
        consensus_key: keys.consensus.clone(),
        transport_key: keys.transport.clone(),
        nonce: HexBytes(nonce.to_vec()),
        tpm_key: HexBytes(quote.key.clone()),
        quote: HexBytes(quote.statement.clone()),
        quote_signature: HexBytes(quote.signature.clone()),
        registers: quote.registers.iter().map(|(at, value)| (*at, HexBytes(value.to_vec()))).collect(),
        signature: HexBytes::encode(signature),
        event_log: event_log.map(HexBytes),
    }
}

/// The document of this machine's attestation over a nonce, made by its signer. Takes tenths of a second.
///
/// # Errors
/// [`SignError`] where the signer makes none.
pub fn own(signer: &SignerClient, nonce: &Nonce) -> Result<AttestationInfo, SignError> {
    let log = event_log::read(Path::new(event_log::KERNELS), EVENT_LOG_BYTES_MAX);
    Ok(info(&signer.attest(nonce)?, log))
}

/// The attestation in a document.
fn read(info: &AttestationInfo) -> Result<Attestation, DocumentError> {
    let value = |(at, value): (&u8, &HexBytes)| -> Result<(u8, Value), DocumentError> {
        let known = *at <= tpm::pcr::PCR_MAX;
        let value = value.0.as_slice().try_into().map_err(|_| DocumentError::Length("registers"))?;
        if known { Ok((*at, value)) } else { Err(DocumentError::Register(*at)) }
    };
    Ok(Attestation {
        chain: info.chain,
        keys: PublicKeys { consensus: info.consensus_key.clone(), transport: info.transport_key.clone() },
        nonce: info.nonce.0.as_slice().try_into().map_err(|_| DocumentError::Length("nonce"))?,
        quote: Quote {
            key: info.tpm_key.0.clone(),
            statement: info.quote.0.clone(),
            signature: info.quote_signature.0.clone(),
            registers: info.registers.iter().map(value).collect::<Result<_, _>>()?,
        },
        signature: info.signature.decode::<Signature>()?,
    })
}

/// What a verifier expects.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// What was sent.
    pub nonce: Nonce,
    /// Of which ledger the validator should be.
    pub chain: ChainId,
    /// Whose keys it may be: names and keys.
    pub validators: &'a [(String, PublicKeys)],
    /// Which machine it should be.
    pub policy: Option<&'a Policy>,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As it should be.
    Holds,
    /// Not as it should be.
    Fails,
    /// Nobody said how it should be.
    Unchecked,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// In words.
    pub found: String,
}

/// What a verifier makes of an attestation.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Nothing fails.
    pub holds: bool,
    /// Whose machine it is, by its keys.
    pub validator: Option<String>,
    /// Which TPM it is: the name of its attestation key, which policies list.
    pub tpm_key_name: HexBytes,
    /// Starts of the machine since the TPM was made or cleared.
    pub resets: Option<u32>,
    /// The registers.
    pub registers: BTreeMap<u8, HexBytes>,
    /// Everything that was looked at, in order.
    pub checks: Vec<Check>,
}

/// Looks at a document.
///
/// # Errors
/// [`DocumentError`] where it is none; what is wrong with one that is stands in the verdict.
pub fn judge(info: &AttestationInfo, expected: &Expected<'_>) -> Result<Verdict, DocumentError> {
    let attestation = read(info)?;
    let verified = attestation.verify();
    let resets = verified.as_ref().ok().map(|statement| statement.resets);
    let found = expected.validators.iter().find(|(_, keys)| *keys == attestation.keys);
    let validator = found.map(|(name, _)| name.clone());
    let mut checks = vec![
        Check::of(
            "signatures",
            verified.is_ok(),
            match &verified {
                Ok(_) => "of the TPM and of the validator's transport key, bound to each other".to_owned(),
                Err(error) => error.to_string(),
            },
        ),
        Check::of(
            "nonce",
            attestation.nonce == expected.nonce,
            match attestation.nonce == expected.nonce {
                true => "the one that was sent".to_owned(),
                false => format!("another one: {}", info.nonce),
            },
        ),
        Check::of("ledger", attestation.chain == expected.chain, format!("{}", attestation.chain)),
        Check::of(
            "validator",
            validator.is_some(),
            match &validator {
                Some(name) => name.clone(),
                None => format!("no validator that is looked for has transport key {}", attestation.keys.transport),
            },
        ),
    ];
    let tpm_key_name = attestation.quote.key_name();
    let unchecked = |what, found| Check { what, standing: Standing::Unchecked, found };
    match expected.policy {
        Some(policy) => checks.extend(policy.check(&attestation.quote)),
        None => checks.push(unchecked("machine", "no --policy says which TPM and which registers it should be".into())),
    }
    checks.push(match &info.event_log {
        Some(log) => adds_up(&log.0, &attestation.quote.registers, expected.policy.is_some_and(Policy::wants_log)),
        None if expected.policy.is_some_and(Policy::wants_log) => {
            Check::of("event log", false, "the policy wants one, and there is none".to_owned())
        }
        None => unchecked("event log", "there is none".to_owned()),
    });
    Ok(Verdict {
        holds: checks.iter().all(|check| check.standing != Standing::Fails),
        validator,
        tpm_key_name: HexBytes(tpm_key_name),
        resets,
        registers: info.registers.clone(),
        checks,
    })
}

/// The policy that a document's machine fulfils as it stands.
///
/// # Errors
/// [`DocumentError`].
pub fn policy_of(info: &AttestationInfo) -> Result<Policy, DocumentError> {
    Ok(Policy::of(&read(info)?.quote))
}

impl Check {
    fn of(what: &'static str, holds: bool, found: String) -> Self {
        Self { what, standing: if holds { Standing::Holds } else { Standing::Fails }, found }
    }
}

/// The name and the keys of a validator.
pub fn keys_of(validator: &Authority) -> (String, PublicKeys) {
    let (consensus, transport) = (validator.consensus_key.clone(), validator.transport_key.clone());
    (validator.name.clone(), PublicKeys { consensus, transport })
}

/// Whether what the firmware lists adds up to what the TPM holds. Where nobody asked for that, it is told all the same.
fn adds_up(bytes: &[u8], registers: &BTreeMap<u8, Value>, wanted: bool) -> Check {
    let graded = |holds: bool, found: String| {
        let check = Check::of("event log", holds, found);
        if holds || wanted { check } else { Check { standing: Standing::Unchecked, ..check } }
    };
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(error) => return graded(false, error.to_string()),
    };
    let replayed = log.replay();
    let differs = |(at, value): (&u8, &Value)| {
        let holds = replayed.get(at).unwrap_or(&[0; 32]) == value;
        (!holds).then(|| at.to_string())
    };
    let differ: Vec<String> = registers.iter().filter_map(differs).collect();
    let count = log.events.len();
    match differ.is_empty() {
        true => graded(true, format!("its {count} events give exactly these registers")),
        false => graded(false, format!("its {count} events do not give registers {}", differ.join(", "))),
    }
}
