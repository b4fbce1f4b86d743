//! The state of the module and what becomes of a call before it reaches the module behind.

use crate::control::{Control, Return, fits};
use crate::forward::Function;
use crate::real::{Real, load};
use crate::stats::{AFTER_REJECTION, StatsFile};
use cryptoki_sys::*;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a call is about, which decides how it fails when the token is out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Module,
    Slot,
    Session(CK_SESSION_HANDLE),
}

/// Inode, time and length: what a rewritten file has different.
type Stamp = (u64, i64, i64, u64);

#[derive(Default)]
pub(crate) struct Shim {
    real: Option<Real>,
    pub(crate) control: Control,
    stamp: Option<Stamp>,
    counts: BTreeMap<usize, u64>,
    since_read: BTreeMap<usize, u64>,
    stats: Option<(PathBuf, StatsFile)>,
    random: u64,
    /// Open sessions and their slots.
    pub(crate) sessions: BTreeMap<CK_SESSION_HANDLE, CK_SLOT_ID>,
    /// The token was removed and returned, and needs C_Finalize before any session works.
    dead: bool,
    rejected: bool,
    logins_after_rejection: u64,
}

/// How often a call that hangs looks whether it still does.
const HANG: Duration = Duration::from_millis(5);

static SHIM: Mutex<Option<Shim>> = Mutex::new(None);

/// A guard of the state, made at the first call.
pub(crate) struct Locked(MutexGuard<'static, Option<Shim>>);

impl std::ops::Deref for Locked {
    type Target = Shim;
    fn deref(&self) -> &Shim {
        self.0.as_ref().expect("made by lock()")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Shim {
        self.0.as_mut().expect("made by lock()")
    }
}

pub(crate) fn lock() -> Locked {
    let mut guard = SHIM.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_with(Shim::default);
    Locked(guard)
}

/// As [`lock`], with the control as the file has it now; a file that cannot be read fails the call that follows.
pub(crate) fn steered() -> Locked {
    let mut shim = lock();
    let _ = shim.read_control();
    shim
}

/// Counts a call, waits as long as it is to take, and gives the module behind, or the code that the call returns.
pub(crate) fn enter(function: Function, scope: Scope) -> Result<Real, CK_RV> {
    let (delay, outcome) = {
        let mut shim = lock();
        shim.read_control()?;
        let call = shim.count(function);
        (shim.control.latency_ms.get(function.name()).copied(), shim.outcome(function, scope, call))
    };
    if let Some(delay) = delay {
        std::thread::sleep(Duration::from_millis(delay));
    }
    while lock().hangs(function)? {
        std::thread::sleep(HANG);
    }
    outcome
}

/// The module behind, for a call that only asks for a length: not counted, not delayed, and it fails only where the
/// token or the session is gone.
pub(crate) fn enter_for_length(scope: Scope) -> Result<Real, CK_RV> {
    let mut shim = lock();
    shim.read_control()?;
    shim.reachable(scope)?;
    shim.real.ok_or(CKR_GENERAL_ERROR)
}

impl Shim {
    fn hangs(&mut self, function: Function) -> Result<bool, CK_RV> {
        self.read_control()?;
        Ok(self.control.hang.iter().any(|pattern| fits(pattern, function.name())))
    }

    /// Reads the control file where it has changed.
    fn read_control(&mut self) -> Result<(), CK_RV> {
        let path = std::env::var_os(crate::CONTROL_VARIABLE).map(PathBuf::from).ok_or(CKR_GENERAL_ERROR)?;
        let stamp = |found: Metadata| (found.ino(), found.mtime(), found.mtime_nsec(), found.len());
        let stamp = std::fs::metadata(&path).map(stamp).map_err(|_| CKR_GENERAL_ERROR)?;
        if self.stamp == Some(stamp) {
            return Ok(());
        }
        let text = std::fs::read_to_string(&path).map_err(|_| CKR_GENERAL_ERROR)?;
        let new: Control = toml::from_str(&text).map_err(|error| {
            eprintln!("{}: {error}", path.display());
            CKR_GENERAL_ERROR
        })?;
        if self.real.is_none() {
            self.real = Some(load(&new.module).ok_or(CKR_GENERAL_ERROR)?);
        }
        if new.seed != self.control.seed || self.stamp.is_none() {
            self.random = new.seed;
        }
        if new.incarnation != self.control.incarnation {
            self.rejected = false;
        }
        if new.stats.as_ref() != self.stats.as_ref().map(|(path, _)| path) {
            self.stats = new.stats.clone().and_then(|path| Some((path.clone(), StatsFile::create(&path)?)));
        }
        let removed = (!new.token.present && self.control.token.present)
            || (self.stamp.is_some() && new.token.removals > self.control.token.removals);
        self.since_read.clear();
        self.control = new;
        self.stamp = Some(stamp);
        if removed {
            self.remove();
        }
        Ok(())
    }

    /// All sessions end, and with them the login.
    fn remove(&mut self) {
        match self.control.token.returns {
            Return::UntilFinalize => self.dead = true,
            Return::Reopen => {
                let real = self.real.expect("loaded with the first control");
                let mut slots: Vec<_> = self.sessions.values().copied().collect();
                slots.dedup();
                slots.into_iter().for_each(|slot| crate::lifecycle::close_all(real, slot));
            }
        }
        self.sessions.clear();
    }

    fn count(&mut self, function: Function) -> u64 {
        let index = function as usize;
        let count = self.counts.entry(index).or_default();
        *count += 1;
        if let Some((_, file)) = &self.stats {
            file.put(index, function.name(), *count);
        }
        let since = self.since_read.entry(index).or_default();
        *since += 1;
        *since
    }

    fn outcome(&mut self, function: Function, scope: Scope, call: u64) -> Result<Real, CK_RV> {
        self.reachable(scope)?;
        let name = function.name();
        if let Some(code) = self.control.fault.iter().find_map(|fault| fault.hits(name, call)) {
            return Err(code);
        }
        for index in 0..self.control.random.len() {
            let (chance, choice) = (self.next_random(), self.next_random());
            if let Some(code) = self.control.random[index].draw(name, chance, choice) {
                return Err(code);
            }
        }
        self.real.ok_or(CKR_GENERAL_ERROR)
    }

    fn reachable(&self, scope: Scope) -> Result<(), CK_RV> {
        let present = self.control.token.present;
        match scope {
            Scope::Slot if !present => Err(CKR_TOKEN_NOT_PRESENT),
            Scope::Session(_) if !present => Err(CKR_DEVICE_REMOVED),
            Scope::Session(handle) if self.dead || !self.sessions.contains_key(&handle) => {
                Err(CKR_SESSION_HANDLE_INVALID)
            }
            _ => Ok(()),
        }
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// After C_Finalize the token is as it was before.
    pub(crate) fn finalised(&mut self) {
        self.sessions.clear();
        self.dead = false;
    }

    /// Before a login: whether a PIN was rejected in this incarnation is what the count is about.
    pub(crate) fn before_login(&mut self) {
        self.logins_after_rejection += u64::from(self.rejected);
        if let Some((_, file)) = &self.stats {
            file.put(Function::COUNT, AFTER_REJECTION, self.logins_after_rejection);
        }
    }

    pub(crate) fn after_login(&mut self, outcome: CK_RV) {
        self.rejected |= matches!(
            outcome,
            CKR_PIN_INCORRECT | CKR_PIN_LOCKED | CKR_PIN_EXPIRED | CKR_PIN_INVALID | CKR_PIN_LEN_RANGE
        );
    }
}
