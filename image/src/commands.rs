//! The commands, each with its flags in a file of its own.

pub mod boot;
pub mod build;
pub mod configure;
pub mod lock;
pub mod test;
pub mod update;
pub mod verify;
