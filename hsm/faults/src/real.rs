//! The module behind this one.

#![allow(unsafe_code)]

use cryptoki_sys::{CK_C_GetFunctionList, CK_FUNCTION_LIST, CKR_OK};
use std::path::Path;

/// Functions of the module; it stays loaded for ever.
pub(crate) type Real = &'static CK_FUNCTION_LIST;

/// Loads a module that is a file of the test's choice.
pub(crate) fn load(path: &Path) -> Option<Real> {
    // SAFETY: loading runs the library's initialisers; a PKCS#11 module is made to be loaded.
    let library = unsafe { libloading::Library::new(path) }.ok()?;
    // SAFETY: the symbol has this type in every PKCS#11 module (v2.40 §5.4).
    let entry: CK_C_GetFunctionList = unsafe { library.get(b"C_GetFunctionList\0") }.map(|symbol| *symbol).ok()?;
    // The functions are used until the process ends.
    std::mem::forget(library);
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: `list` can be written to.
    let outcome = unsafe { entry?(&raw mut list) };
    // SAFETY: a module that answers CKR_OK gave a pointer to its list, which lives as long as it is loaded.
    if outcome == CKR_OK { unsafe { list.as_ref() } } else { None }
}
