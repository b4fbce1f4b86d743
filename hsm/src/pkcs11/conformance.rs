//! What a module does where modules differ, found out by asking it, and whether a validator's keys can live behind it.
//!
//! It works on a token of its own, which it initialises in a free slot, or on a slot that was named. There it makes keys
//! with labels of their own and deletes them again; a named slot is not asked to reject a PIN, because that counts. What
//! takes hands, as removing a token does, is absent: the tests of this repository have a module for it.

mod algorithms;
mod probes;

use super::policy::{self, Failure};
use super::profile::{PointEncoding, Profile, compiled_in};
use super::token::{load, read_pin};
use crate::error::{ConfigError, Fault, StartError, StoreError};
use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use serde::Serialize;
use std::path::PathBuf;
use types::AlgId;

/// Label of the token that is made where no slot is named.
const TOKEN_LABEL: &str = "stele-conformance";

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Options {
    /// The module.
    pub module: PathBuf,
    /// A slot with a token; a free one is initialised where absent.
    pub slot: Option<u64>,
    /// File with the token's user PIN, or with the one that a new token gets.
    pub pin_file: Option<PathBuf>,
    /// File with the SO PIN that a new token gets.
    pub so_pin_file: Option<PathBuf>,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As Stele needs it.
    Fine,
    /// Worth knowing; Stele copes, or does not use it.
    Note,
    /// Stele cannot use it as it is.
    Fails,
}

/// One line of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The case.
    pub case: &'static str,
    /// What the module did.
    pub found: String,
    /// What that means.
    pub standing: Standing,
}

/// The matrix of a module, and the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The module's path.
    pub module: PathBuf,
    /// Library and token, as they say of themselves.
    pub token: String,
    /// What was made and deleted.
    pub made: Vec<String>,
    /// What stays: a token that was initialised, and what could not be deleted.
    pub left: Vec<String>,
    /// The matrix.
    pub rows: Vec<Row>,
    /// Algorithms that a validator's keys in this token can have, the preferred one first.
    #[serde(serialize_with = "names")]
    pub algorithms: Vec<AlgId>,
    /// Whether Stele can use the token.
    pub usable: bool,
    /// Name of the profile to configure.
    pub profile: String,
}

fn names<S: serde::Serializer>(algorithms: &[AlgId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(algorithms.iter().map(|alg| alg.name()))
}

/// The token under examination.
struct Bench<'a> {
    module: &'a Pkcs11,
    slot: Slot,
    /// Tells the token from others wherever its slot is.
    serial: String,
    pin: AuthPin,
    rows: Vec<Row>,
    made: Vec<String>,
}

impl Bench<'_> {
    fn row(&mut self, case: &'static str, standing: Standing, found: impl Into<String>) {
        self.rows.push(Row { case, found: found.into(), standing });
    }

    /// A session that may write, logged in.
    fn session(&self) -> Result<Session, Failure> {
        let session = self.module.open_rw_session(self.slot)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(cryptoki::error::RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(error.into()),
        }
    }
}

/// A return code as a word.
fn code(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("{function:?}: {code:?}"),
        other => format!("{other:?}"),
    }
}

/// Examines a module. `announce` is told what will be made, before it is.
///
/// # Errors
/// [`StartError`] where there is nothing to examine: no module, no slot, or a PIN that is not accepted.
pub fn run(options: &Options, announce: &mut dyn FnMut(&str)) -> Result<Report, StartError> {
    let module = load(&options.module)?;
    let outcome = examine(options, &module, announce);
    // The report is what counts.
    let _ = module.clone().finalize();
    outcome
}

fn examine(options: &Options, module: &Pkcs11, announce: &mut dyn FnMut(&str)) -> Result<Report, StartError> {
    let about = |failure: Failure| failure.error.about(options.module.display());
    let (slot, pin, ours) = prepare(options, module, announce)?;
    let info = module.get_token_info(slot).map_err(|error| about(error.into()))?;
    let library = module.get_library_info().map_err(|error| about(error.into()))?;
    let serial = info.serial_number().to_owned();
    let mut bench = Bench { module, slot, serial, pin, rows: Vec::new(), made: Vec::new() };
    announce(&format!(
        "makes keys named stele-conformance-… in token {:?} and deletes them; makes no other change",
        info.label()
    ));
    let token = format!(
        "{} ({}), PKCS#11 {}; token {} of {}, firmware {}",
        library.library_description().trim(),
        library.manufacturer_id().trim(),
        library.cryptoki_version(),
        info.model().trim(),
        info.manufacturer_id().trim(),
        info.firmware_version(),
    );
    let session = bench.session().map_err(about)?;
    probes::of_token(&mut bench, &info);
    let found = algorithms::examine(&mut bench, &session);
    drop(session);
    let profile = suggest(&library.manufacturer_id().to_lowercase(), &info);
    if let (Some(expected), Some(encoding)) = (profile.ec_point, found.ec_point) {
        let standing = if expected == encoding { Standing::Fine } else { Standing::Note };
        bench.row("CKA_EC_POINT as the profile says", standing, format!("{encoding:?}, {expected:?} expected"));
    }
    probes::of_sessions(&mut bench, found.sample.as_deref());
    let mut left = clean(&bench).map_err(about)?;
    if ours {
        left.push(format!("token {TOKEN_LABEL:?}, without keys"));
        probes::of_pin(&mut bench);
    }
    let fails = bench.rows.iter().any(|row| row.standing == Standing::Fails);
    Ok(Report {
        module: options.module.clone(),
        token,
        made: bench.made,
        left,
        rows: bench.rows,
        usable: !found.algorithms.is_empty() && !fails,
        algorithms: found.algorithms,
        profile: profile.name,
    })
}

/// The slot to work in, its PIN, and whether the token was initialised for this.
fn prepare(
    options: &Options,
    module: &Pkcs11,
    announce: &mut dyn FnMut(&str),
) -> Result<(Slot, AuthPin, bool), StartError> {
    let about = |error: StoreError| error.about(options.module.display());
    let short = |error: Error| about(policy::short(&error));
    let pin = |file: &Option<PathBuf>| file.as_deref().map_or_else(random_pin, read_pin);
    let slots = module.get_slots_with_token().map_err(short)?;
    if let Some(wanted) = options.slot {
        let slot = slots.into_iter().find(|slot| slot.id() == wanted);
        let slot = slot.ok_or_else(|| ConfigError::TokenAbsent.about(format_args!("slot {wanted}")))?;
        let file = options.pin_file.as_deref();
        let file = file.ok_or_else(|| ConfigError::SecretUnreadable.about(format_args!("the PIN of slot {wanted}")))?;
        return Ok((slot, read_pin(file)?, false));
    }
    let (used, free): (Vec<_>, Vec<_>) = slots
        .into_iter()
        .filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)))
        .partition(|(_, info)| info.token_initialized());
    let free = free.first().map(|(slot, _)| *slot);
    let free = free.ok_or_else(|| ConfigError::TokenAbsent.about("no slot is free; name one with a token"))?;
    announce(&format!("initialises a token {TOKEN_LABEL:?} in free slot {}", free.id()));
    let (pin, so_pin) = (pin(&options.pin_file)?, pin(&options.so_pin_file)?);
    module.init_token(free, &so_pin, TOKEN_LABEL).map_err(short)?;
    // Modules may move the token to another slot. One of an earlier run, with another PIN, has the same label.
    let new = |slot: &Slot| {
        module.get_token_info(*slot).is_ok_and(|info| {
            info.token_initialized()
                && info.label() == TOKEN_LABEL
                && used.iter().all(|(_, old)| old.serial_number() != info.serial_number())
        })
    };
    let slot = module.get_slots_with_token().map_err(short)?.into_iter().find(new);
    let slot = slot.ok_or_else(|| about(Fault::TokenGone.into()))?;
    let session = module.open_rw_session(slot).map_err(short)?;
    session.login(UserType::So, Some(&so_pin)).map_err(short)?;
    session.init_pin(&pin).map_err(short)?;
    session.logout().map_err(short)?;
    Ok((slot, pin, true))
}

/// Long enough for every module, short enough too.
fn random_pin() -> Result<AuthPin, StartError> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|_| Fault::Randomness.about("a PIN"))?;
    Ok(AuthPin::new(hex::encode(random).into()))
}

/// The profile that a maker's name fits, the generic one else.
fn suggest(library: &str, info: &TokenInfo) -> Profile {
    let told = format!("{library} {} {}", info.manufacturer_id(), info.model()).to_lowercase();
    let mut profiles = compiled_in();
    let fits = |profile: &Profile| profile.makers.iter().any(|maker| told.contains(&maker.to_lowercase()));
    let index = profiles.iter().position(fits).unwrap_or(0);
    profiles.swap_remove(index)
}

/// Deletes what was made; names what stays.
fn clean(bench: &Bench<'_>) -> Result<Vec<String>, Failure> {
    let session = bench.session()?;
    let mut left = Vec::new();
    for label in &bench.made {
        for object in session.find_objects(&[Attribute::Label(label.as_bytes().to_vec())])? {
            if let Err(error) = session.destroy_object(object) {
                left.push(format!("{label}: {}", code(&error)));
            }
        }
    }
    Ok(left)
}

/// Which of the three encodings an attribute of a key of this algorithm has.
fn encoding(alg: AlgId, bytes: &[u8]) -> Option<PointEncoding> {
    let lengths: &[usize] = if alg == AlgId::Ed25519 { &[32] } else { &[33, 64, 65] };
    if lengths.contains(&bytes.len()) {
        return Some(PointEncoding::Raw);
    }
    match bytes.first()? {
        0x04 => Some(PointEncoding::OctetString),
        0x03 => Some(PointEncoding::BitString),
        _ => None,
    }
}
