//! The database's own check of all its files, filters, indexes and the rest of what a walk over the rows passes by. Its C
//! interface has it, its Rust interface does not.

#![allow(unsafe_code)]

use librocksdb_sys as ffi;
use rocksdb::{AsRawPtr, DB};
use std::ffi::CStr;
use std::ptr;

/// Reads every block of every file.
///
/// # Errors
/// What the database says of the first one that is not what was written.
pub(super) fn verify(db: &DB) -> Result<(), String> {
    let mut message = ptr::null_mut();
    // SAFETY: the database lives through the call, and `message` is a place for one pointer.
    unsafe { ffi::rocksdb_verify_checksum(db.as_raw_ptr(), &raw mut message) };
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: where it is set it is a string that ends with a zero, and ours.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: it came from the database and is not used again.
    unsafe { ffi::rocksdb_free(message.cast()) };
    Err(text)
}
