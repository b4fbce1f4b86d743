//! A PKCS#11 module in front of another one that delays, hangs, limits, breaks and falsifies its calls on demand, and counts
//! them. For tests alone: it is built with them, and no installation, image or package holds it.
//!
//! The environment variable [`CONTROL_VARIABLE`] names a TOML file, a [`Control`], which is read again whenever it has
//! changed: rewriting it steers a process that already runs. The file holds no secrets, and neither do the counts.
//! What is not mentioned in it passes through unchanged. A call of C_Sign for the length alone does not count. Deliberately absent: PKCS#11 3.x interfaces, callbacks, and any
//! knowledge of who calls.
//!
//! Functions are those of PKCS#11 v2.40, by their names (`C_Sign`); codes likewise (`CKR_DEVICE_ERROR`).

mod answers;
mod codes;
mod control;
mod forward;
mod handles;
mod lifecycle;
mod real;
mod shim;
mod stats;

pub use control::{Answer, Control, Fault, PointEncoding, RandomFaults, Return, Token};
pub use stats::Stats;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_OK};
use std::path::PathBuf;

/// The environment variable that names the control file.
pub const CONTROL_VARIABLE: &str = "STELE_PKCS11_FAULTS";

/// The module, where Cargo puts it for the test that runs.
///
/// # Panics
/// If the test was not built by Cargo together with this package.
pub fn module() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let built = test.ancestors().skip(1).take(2).flat_map(|directory| {
        [directory.join("libstele_pkcs11_faults.so"), directory.join("deps/libstele_pkcs11_faults.so")]
    });
    built.into_iter().find(|path| path.is_file()).expect("built as a dependency of the test")
}

/// Entry point of the module (PKCS#11 v2.40 §5.4).
///
/// # Safety
/// `list` is null or can be written to.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: the caller's promise. Callers read the list and never write to it, as the standard has it.
    unsafe { *list = (&raw const lifecycle::LIST).cast_mut() };
    CKR_OK
}
