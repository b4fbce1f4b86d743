//! What a vendor's bundle tells the programs that load its module.

use crate::Fault;
use image_formats::environment;
use std::io::ErrorKind;

/// Where the bundle lies.
pub const FOLDER: &str = "/usr/lib/pkcs11";

/// The environment that it wants; none where there is no bundle, or it wants none.
pub fn environment() -> Result<Vec<(String, String)>, Fault> {
    let path = format!("{FOLDER}/{}", environment::FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => environment::parse(&text).map_err(|error| Fault::Machine(format!("{path}: {error}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Fault::system(format!("reading {path}"))(error)),
    }
}
