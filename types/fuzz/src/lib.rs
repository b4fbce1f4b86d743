//! The fuzz targets' checks. The parsers of frames are taken from their crates by path, without the network stack around
//! them, so that a target builds in seconds.

pub mod checks;
pub mod frames;

#[allow(dead_code, missing_docs)]
#[path = "../../../transport/src/frame.rs"]
mod frame;
#[allow(dead_code, missing_docs)]
#[path = "../../../client/src/protocol.rs"]
mod protocol;
#[allow(dead_code, missing_docs)]
#[path = "../../../node/src/records.rs"]
mod records;
#[allow(dead_code, missing_docs)]
#[path = "../../../node/src/wire.rs"]
mod wire;
